"""Budgets that mean something, and banks made from noisy sums."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from distgan import config
from distgan.anonymity import private_bank as private_bank_module
from distgan.anonymity.bank import Bank
from distgan.anonymity.dp.bank import Sums
from distgan.anonymity.dp.mechanism import UNIT
from distgan.anonymity.manifest import find_violations
from distgan.anonymity.private_bank import choose_cells
from distgan.errors import UserError
from distgan.pipeline.build_bank import format_summary
from tests.helpers.groups import (
    HEAD,
    budget_of,
    household_data,
    private_bank,
    silent,
)


def test_a_meaningless_budget_is_refused() -> None:
    with pytest.raises(UserError, match=r"noise of about \d+ entities to groups of 21"):
        budget_of(epsilon=0.1).check(21, 1)
    budget_of(epsilon=4.0).check(21, 1)


def test_a_delta_that_gives_somebody_away_is_refused() -> None:
    with pytest.raises(UserError, match="tenth of 1 / 600"):
        budget_of(delta=1e-3).check_delta(600.2)
    budget_of(delta=1e-4).check_delta(600.2)


def test_a_release_of_too_many_numbers_for_its_part_of_delta_is_refused() -> None:
    budget = silent(budget_of(delta=1e-13))
    scale = math.ceil(2.0 * UNIT)
    most = int(1e-3 * 1e-13 / 4 * 8 * scale**2 / (1 + math.exp(2.0)))
    assert 10 < most < 1000
    budget.release(np.zeros(most, np.int64), 2.0, 1.0)
    with pytest.raises(UserError, match=rf"{most + 1} numbers, too many for privacy\.delta 1e-13"):
        budget.release(np.zeros(most + 1, np.int64), 2.0, 1.0)


def test_no_mean_is_beyond_the_radius_whatever_the_noise() -> None:
    """A point is at most as long as the radius, so a longer mean is noise alone."""
    sums = Sums(np.full(2, 40.0), np.array([[80.0, 0.0], [0.0, 20.0]]), np.zeros((2, 4)))
    settings, budget = config.Bank(condition_dim=2), budget_of(clip=3.0)
    bank = private_bank_module.make_private_bank(sums, np.ones(2), settings, budget, HEAD)
    np.testing.assert_allclose(
        bank.conditions * bank.scale + bank.centre, [[3.0, 0.0], [0.0, 1.5]], atol=1e-6
    )


def test_no_group_of_the_minimum_size_is_refused() -> None:
    sums = Sums(np.array([3.0, -2.0]), np.zeros((2, 2)), np.zeros((2, 4)))
    with pytest.raises(
        UserError, match="largest of 2 groups has 3 entities, below the minimum group size of 21"
    ):
        private_bank_module.make_private_bank(
            sums, np.ones(2), config.Bank(condition_dim=2), budget_of(), HEAD
        )


def test_a_private_bank_is_near_the_exact_one() -> None:
    data = household_data(groups=3)
    exact = np.stack([data["points"][data["groups"] == group].mean(axis=0) for group in range(3)])
    size = np.log(np.linalg.norm(data["attributes"][:, 0], axis=1))
    sizes = [size[data["groups"] == group].mean() for group in range(3)]
    banks = [private_bank(seed) for seed in range(12)]
    for found, expected in (
        (np.mean([bank.conditions + bank.centre for bank in banks], axis=0), exact),
        (np.mean([bank.attributes_mean[:, 0, 1] for bank in banks], axis=0), sizes),
    ):
        np.testing.assert_allclose(found, expected, atol=0.2)
    assert all(abs(bank.sizes.sum() - 600) < 60 for bank in banks)


def test_noisy_counts_are_not_stated_as_exact() -> None:
    bank = private_bank(0)
    text = format_summary(bank, config.Config())
    assert f"each of about {min(bank.sizes)} entities or more (counted with noise); membership" in text


def test_a_private_bank_proves_its_promise_and_a_forged_one_is_found(tmp_path: Path) -> None:
    private_bank(insecure_seed=None).save(tmp_path / "bank")
    assert find_violations(tmp_path / "bank") == []
    kept = Bank.load(tmp_path / "bank").guarantee
    assert kept is not None
    assert kept.tracing_bound == pytest.approx(norm.cdf(1 / (1.99 * math.sqrt(2))), abs=0.002)
    assert kept.head == HEAD
    path = tmp_path / "bank" / "manifest.json"
    honest = json.loads(path.read_text())
    for forged, violation in (
        ({"epsilon": 0.5}, "its noise gives delta"),
        ({"delta": 9.99e-6}, "its noise gives delta"),
        ({"mechanism": "normal"}, "privacy.mechanism"),
        ({"ledger": {"lines": 0, "digest": "0" * 32}}, "privacy.ledger.lines"),
    ):
        path.write_text(json.dumps(honest | {"privacy": honest["privacy"] | forged}))
        assert any(violation in found for found in find_violations(tmp_path / "bank")), forged


def test_a_private_bank_keeps_no_cell_too_small_for_the_largest_share(tmp_path: Path) -> None:
    sums = Sums(np.array([30.0, 18.5, 80.0]), np.zeros((3, 1)), np.zeros((3, 4)))
    settings = config.Bank(condition_dim=1, max_share=0.05)
    bank = private_bank_module.make_private_bank(sums, np.ones(1), settings, budget_of(), HEAD)
    assert choose_cells(sums, settings).tolist() == [True, False, True]
    bank.save(tmp_path / "bank")
    assert Bank.load(tmp_path / "bank").sizes.tolist() == [30, 80]


def test_repeatable_noise_never_passes_for_private(tmp_path: Path) -> None:
    private_bank(seed=1).save(tmp_path / "bank")
    assert "can be reproduced" in find_violations(tmp_path / "bank")[0]
