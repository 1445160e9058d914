"""Conditions of a training: group means or fresh subsets, and research banks that are refused elsewhere."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distgan.anonymity.bank import Bank
from distgan.anonymity.conditioning import Conditioner
from distgan.anonymity.groups import (
    GroupedSeries,
    count_effective_members,
    merge_small_groups,
)
from distgan.anonymity.manifest import find_violations
from distgan.errors import UserError
from tests.helpers.groups import SLACK, bank_of, household_data, make_bank_of, members_of, settings_of_bank


def conditions_of(
    training: str, rows: list[int], sample: list[int], step: int = 3, seed: int = 5
) -> np.ndarray:
    conditioner = Conditioner(bank_of(), members_of(), training=training, seed=seed)
    return conditioner.make_drawn(torch.tensor(rows), torch.tensor(sample), step).numpy()[:, 2:]


def test_mean_training_gives_the_banks_conditions() -> None:
    bank, members = bank_of(), members_of()
    found = conditions_of("mean", [0, 5, 17], [0, 1, 2])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, bank.conditions[members.groups[[0, 5, 17]]])


def test_only_the_discriminator_gets_a_series_own_location_and_scale() -> None:
    data = household_data()
    bank, members = bank_of(), members_of()
    conditioner = Conditioner(bank, members, seed=5)
    rows, sample = torch.arange(600), torch.arange(600)
    own = torch.from_numpy(data["attributes"].astype(np.float32))
    real, drawn = conditioner.make_real(rows, sample, 3, own), conditioner.make_drawn(rows, sample, 3)
    np.testing.assert_allclose(real[:, :2], bank.standardise_attributes(data["attributes"]), atol=1e-5)
    np.testing.assert_array_equal(real[:, 2:], drawn[:, 2:])
    other = conditioner.make_drawn(rows, sample, 4)
    assert (other[:, :2] != drawn[:, :2]).all()
    half = conditioner.make_drawn(rows[300:], sample[300:], 3)
    np.testing.assert_array_equal(half, drawn[300:])


def test_subset_training_depends_on_seed_step_and_sample_alone() -> None:
    whole = conditions_of("subset", [0, 5, 17, 90], [0, 1, 2, 3])
    halves = [conditions_of("subset", [0, 5], [0, 1]), conditions_of("subset", [17, 90], [2, 3])]
    np.testing.assert_array_equal(whole, np.concatenate(halves))
    for other in (
        conditions_of("subset", [0], [9]),
        conditions_of("subset", [0], [0], step=4),
        conditions_of("subset", [0], [0], seed=6),
    ):
        assert not np.array_equal(whole[:1], other)


def test_subset_training_is_right_on_average_and_never_one_latent() -> None:
    bank, members = bank_of(), members_of()
    conditioner = Conditioner(bank, members, training="subset", seed=0)
    rows = torch.zeros(3000, dtype=torch.int64)
    found = conditioner.make_drawn(rows, torch.arange(3000), 0).numpy()[:, 2:]
    group = members.groups[0]
    np.testing.assert_allclose(found.mean(axis=0), bank.conditions[group], atol=0.05)
    points = (members.points - bank.centre) / bank.scale
    # a mean of at least k members varies no more than the deviation over √k
    assert found.std(axis=0).max() <= points[members.groups == group].std(axis=0).max() / np.sqrt(
        bank.minimum_group_size
    )
    assert np.abs(found[:, None] - points[members.groups == group]).max(axis=2).min() > 0


@pytest.mark.parametrize("deviation", [1.5, 0.0])  # the largest share is what decides; the minimum size
def test_every_subset_keeps_the_minimum_size_and_the_largest_share(deviation: float) -> None:
    data = household_data(n=400, groups=2)
    data["loads"] = np.random.default_rng(1).lognormal(0, deviation, 400)
    settings = settings_of_bank()
    bank = make_bank_of(data, settings)
    members = merge_small_groups(GroupedSeries(data["points"], data["loads"], data["groups"]), settings, 1)
    conditioner = Conditioner(bank, members, training="subset")
    in_order = np.lexsort([members.entities, members.groups])
    for seed in range(50):
        part = in_order[conditioner.draw_part(0, np.random.default_rng(seed))]
        assert np.all(members.groups[part] == 0)
        weights, carried = members.weights[part], members.weights[part] * members.loads[part]
        assert len(np.unique(members.entities[part])) >= bank.minimum_group_size
        assert count_effective_members(weights / weights.sum()) >= bank.minimum_group_size * (1 - 1e-9)
        assert carried.max() <= settings.max_share * carried.sum() * SLACK


def test_another_bank_is_refused() -> None:
    with pytest.raises(UserError, match="groups"):
        Conditioner(bank_of(groups=6), members_of(groups=2))


def study_of(training: str, tmp_path: Path, **changes: Any) -> Bank:
    bank = bank_of(settings_of_bank(training=training, min_members=1, **changes), groups=30, n=60)
    bank.save(tmp_path / "bank")
    return Bank.load(tmp_path / "bank")


def test_a_research_bank_of_probes_does_what_the_fork_does_and_is_refused(tmp_path: Path) -> None:
    bank = study_of("probes", tmp_path, probes=4)
    assert min(bank.sizes) < 15
    assert max(bank.effective) <= 4
    assert "for research only (bank.training probes)" in find_violations(tmp_path / "bank")[0]
    owned = dataclasses.replace(bank, owners=tuple(map(int, bank.sizes)))  # more than its four probes
    owned.save(tmp_path / "owned")
    assert len(find_violations(tmp_path / "owned")) == len(find_violations(tmp_path / "bank"))
    wide = settings_of_bank(training="probes", condition_dim=1000, min_members=1)
    assert bank_of(wide, dim=1000, groups=6).conditions.shape == (6, 1000)


def test_probes_are_means_of_few_members() -> None:
    settings = settings_of_bank(training="probes", min_members=1, probes=2)
    bank, members = bank_of(settings), members_of(settings)
    conditioner = Conditioner(bank, members, training="probes", seed=1)
    found = conditioner.make_drawn(torch.zeros(20, dtype=torch.int64), torch.arange(20), 0).numpy()[:, 2:]
    inside = (members.points[members.groups == members.groups[0]] - bank.centre) / bank.scale
    pairs = ((inside[:, None] + inside[None]) / 2).reshape(-1, 2)
    for condition in found:
        assert np.abs(pairs - condition).max(axis=1).min() < 1e-5


def test_leave_one_out_gives_its_left_out_member_away(tmp_path: Path) -> None:
    """Why it is for research only: from the group's mean and the series' condition follows the latent."""
    settings = settings_of_bank(training="leave_one_out")
    bank, members = bank_of(settings), members_of(settings)
    conditioner = Conditioner(bank, members, training="leave_one_out")
    found = conditioner.make_drawn(torch.tensor([3]), torch.tensor([0]), 0).numpy()[0, 2:]
    inside = members.points[members.groups == members.groups[3]].astype(np.float64)
    n, mean = len(inside), inside.mean(axis=0)
    left_out = n * mean - (n - 1) * (found * bank.scale + bank.centre)
    np.testing.assert_allclose(left_out, members.points[3], atol=1e-3)
    bank.save(tmp_path / "bank")
    assert "never release" in find_violations(tmp_path / "bank")[0]
