"""Noise of the calibrated scale, an accountant that others confirm, an outlier that cannot be told."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate
from scipy.stats import norm
from test_conditions import household_data

from distgan import conditions, config, privacy
from distgan.conditions import Bank, verify
from distgan.errors import Mismatch, UserError


def settings_of(**changes: Any) -> config.Privacy:
    told = {"epsilon": 2.0, "delta": 1e-5, "insecure_seed": 0}
    return config.Privacy(**(told | {"log_size_range": (-2.0, 2.0)} | changes))


def budget_of(entities: int = 600, latent_dim: int = 2, **changes: Any) -> privacy.Budget:
    return privacy.Budget.of(settings_of(**changes), latent_dim, entities)


# ------------------------------------------------------------------------------------------------- noise


@pytest.mark.parametrize(("epsilon", "multiplier"), [(1, 3.73), (2, 1.99), (4, 1.08), (8, 0.60)])
def test_calibration_gives_the_published_noise(epsilon: float, multiplier: float) -> None:
    assert privacy.noise_multiplier(epsilon, 1e-5) == pytest.approx(multiplier, abs=0.006)


@pytest.mark.parametrize(("epsilon", "multiplier"), [(0.5, 2.0), (1, 3.73), (4, 1.08)])
def test_delta_is_the_integral_of_its_definition(epsilon: float, multiplier: float) -> None:
    """δ = ∫ max(0, p(x) − e^ε q(x)) dx, of normals one sensitivity apart."""

    def excess(x: float) -> float:
        return max(0.0, norm.pdf(x, 1, multiplier) - math.exp(epsilon) * norm.pdf(x, 0, multiplier))

    start = 0.5 + epsilon * multiplier**2
    delta, _ = integrate.quad(excess, start, start + 12 * multiplier, epsabs=1e-14, limit=200)
    assert privacy.gaussian_delta(epsilon, multiplier) == pytest.approx(delta, rel=1e-4)


def test_what_dp_accounting_says_is_spent_is_what_was_asked() -> None:
    """Its privacy loss distributions against our closed form: both parts together are the budget."""
    budget = budget_of()
    parts = [budget.directions_multiplier, budget.sums_multiplier]
    assert privacy.together(parts) == pytest.approx(budget.multiplier)
    assert privacy.spent(parts, 1e-5) == pytest.approx(2.0, rel=privacy.SLACK)


def test_noise_has_the_calibrated_scale_and_is_the_systems_own() -> None:
    budget = budget_of(entities=50)
    points, attributes = np.zeros((50, 3)), np.zeros((50, 4))
    sums = privacy.noisy_sums(points, attributes, np.zeros(50, int), 400, budget)
    drawn = np.concatenate(
        [sums.counts[1:], sums.attributes[1:].ravel(), sums.points[1:].ravel() / budget.radius]
    )
    assert drawn.std() == pytest.approx(budget.sums_multiplier * math.sqrt(6), rel=0.05)
    moments = [privacy.noisy_moments(np.zeros((9, 2)), budget) for _ in range(2000)]
    unit = budget.directions_multiplier * math.sqrt(2) / 9
    assert np.std([mean[0] for mean, _ in moments]) == pytest.approx(unit * budget.radius, rel=0.06)
    scatter = [covariance[0, 1] + mean[0] * mean[1] for mean, covariance in moments]
    assert np.std(scatter) == pytest.approx(unit * budget.radius**2, rel=0.06)
    one, two = (privacy.Noise().normal((4,)) for _ in range(2))
    assert not np.array_equal(one, two)
    assert privacy.Noise().normal((4000,)).std() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(privacy.Noise(3).normal((4,)), privacy.Noise(3).normal((4,)))


def test_no_entity_adds_more_than_the_sensitivity() -> None:
    """With any number of series, however far out."""
    rng = np.random.default_rng(0)
    latents = (10.0 ** rng.integers(-3, 9, (300, 1)) * rng.standard_normal((300, 5))).astype(np.float32)
    entities = rng.integers(0, 40, 300)
    spread = np.exp(rng.normal(0, 20, (300, 2)))
    attributes = np.stack([rng.normal(0, 1e6, (300, 2)), spread], axis=-1)
    records = privacy.entity_means(latents, entities, 2.0)
    values = privacy.attribute_means(attributes, entities, settings_of())
    assert np.linalg.norm(records.astype(float), axis=1).max() <= 2.0
    assert np.linalg.norm(values, axis=1).max() <= math.sqrt(8)
    together = np.concatenate([records / 2.0, values, np.ones((len(values), 1))], axis=1)
    assert np.linalg.norm(together, axis=1).max() <= privacy.sensitivity(2)


def test_moments_are_those_of_the_latents_but_for_noise() -> None:
    latents = (np.random.default_rng(0).standard_normal((20000, 3)) * [2, 1, 0.5] + [1, 0, 0]).astype(
        np.float32
    )
    budget = budget_of(entities=20000, clip=20.0, delta=1e-6)
    mean, covariance = privacy.noisy_moments(privacy.entity_means(latents, np.arange(20000), 20.0), budget)
    np.testing.assert_allclose(mean, [1, 0, 0], atol=0.05)
    np.testing.assert_allclose(covariance, np.diag([4, 1, 0.25]), atol=0.4)


# ------------------------------------------------------------------------------------------------ budgets


def test_a_meaningless_budget_is_refused() -> None:
    with pytest.raises(UserError, match=r"noise of about \d+ entities to groups of 21"):
        budget_of(epsilon=0.1).check(21, 1)
    budget_of(epsilon=4.0).check(21, 1)


def test_a_delta_that_gives_somebody_away_is_refused() -> None:
    with pytest.raises(UserError, match="tenth of 1 / 600"):
        budget_of(delta=1e-3)


def test_no_group_above_the_floor_is_refused() -> None:
    sums = privacy.Sums(np.array([3.0, -2.0]), np.zeros((2, 2)), np.zeros((2, 4)))
    with pytest.raises(UserError, match="the largest of 2 groups counts 3 entities, below the floor of 21"):
        conditions.private_bank(sums, np.ones(2), config.Bank(condition_dim=2), budget_of())


def test_the_ledger_adds_up_and_refuses_what_would_be_spent_twice(tmp_path: Path) -> None:
    ledger, budget = privacy.Ledger(tmp_path / "ledger.jsonl"), budget_of()
    for name, multiplier in (
        ("directions", budget.directions_multiplier),
        ("groups", budget.sums_multiplier),
    ):
        with ledger.spending(name, budget, multiplier, "latents"):
            pass
    assert [entry["state"] for entry in ledger.entries()] == ["started", "released"] * 2
    assert ledger.released()[-1]["epsilon_so_far"] == pytest.approx(2.0, rel=privacy.SLACK)
    with pytest.raises(Mismatch, match="would be spent"), ledger.spending("groups", budget, 5.0, "latents"):
        pass
    assert ledger.kept("groups", tmp_path, "latents")
    with pytest.raises(Mismatch, match="is gone") as caught:
        ledger.kept("groups", tmp_path / "bank", "latents")
    assert caught.value.exit_code == 5


def test_a_release_that_failed_is_not_counted(tmp_path: Path) -> None:
    ledger, budget = privacy.Ledger(tmp_path / "ledger.jsonl"), budget_of()
    with pytest.raises(RuntimeError), ledger.spending("groups", budget, budget.sums_multiplier, "latents"):
        raise RuntimeError
    assert not ledger.kept("groups", tmp_path / "bank", "latents")
    with ledger.spending("groups", budget, budget.sums_multiplier, "latents"):
        pass
    assert len(ledger.released()) == 1


def test_a_line_cut_off_by_a_kill_counts_as_not_written(tmp_path: Path) -> None:
    ledger, budget = privacy.Ledger(tmp_path / "ledger.jsonl"), budget_of()
    for _ in range(2):
        with ledger.spending("groups", budget, 9.0, "latents"):
            pass
        whole = len(ledger.entries())
        with open(ledger.path, "a") as file:
            file.write('{"name": "gro')
        assert len(ledger.entries()) == whole
    assert whole == 4


@pytest.mark.parametrize("line", [0, 1])
def test_a_changed_ledger_is_found(tmp_path: Path, line: int) -> None:
    ledger, budget = privacy.Ledger(tmp_path / "ledger.jsonl"), budget_of()
    for multiplier in (9.0, 9.0):
        with ledger.spending("groups", budget, multiplier, "latents"):
            pass
    lines = ledger.path.read_text().splitlines()
    lines[line] = lines[line].replace("9.0", "90.0")
    ledger.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(Mismatch, match=f"line {line + 2} was changed"):
        ledger.entries()


# -------------------------------------------------------------------------------------------------- banks


def private_bank(seed: int = 0, n: int = 600, **changes: Any) -> Bank:
    data = household_data(n=n, groups=3)
    budget = budget_of(entities=n, clip=8.0, **({"insecure_seed": seed} | changes))
    records = privacy.entity_means(data["points"], np.arange(n), budget.radius)
    values = privacy.attribute_means(data["attributes"], np.arange(n), budget.settings)
    sums = privacy.noisy_sums(records, values, data["groups"], 3, budget)
    return conditions.private_bank(sums, np.ones(2), config.Bank(condition_dim=2), budget)[0]


def test_noisy_sums_come_back_as_they_were_drawn(tmp_path: Path) -> None:
    """Of several cells: counts and sums are columns of one array."""
    data, budget = household_data(n=600, groups=3), budget_of(entities=600, clip=8.0, insecure_seed=0)
    records = privacy.entity_means(data["points"], np.arange(600), budget.radius)
    values = privacy.attribute_means(data["attributes"], np.arange(600), budget.settings)
    sums = privacy.noisy_sums(records, values, data["groups"], 3, budget)
    sums.save(tmp_path / "sums.safetensors")
    back = privacy.Sums.load(tmp_path / "sums.safetensors")
    for name in ("counts", "points", "attributes"):
        np.testing.assert_array_equal(getattr(back, name), getattr(sums, name))


def test_nothing_is_drawn_of_other_latents(tmp_path: Path) -> None:
    ledger, budget = privacy.Ledger(tmp_path / "ledger.jsonl"), budget_of()
    with ledger.spending("groups", budget, 9.0, "latents"):
        pass
    with pytest.raises(Mismatch, match="of other latents"):
        ledger.kept("groups", tmp_path, "others")


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


def test_a_private_bank_proves_its_promise_and_a_forged_one_is_found(tmp_path: Path) -> None:
    private_bank(insecure_seed=None).save(tmp_path / "bank")
    assert verify(tmp_path / "bank") == []
    kept = Bank.load(tmp_path / "bank").promise
    assert kept is not None
    assert kept.tracing_bound == pytest.approx(norm.cdf(1 / (1.99 * math.sqrt(2))), abs=0.002)
    path = tmp_path / "bank" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["privacy"]["epsilon"] = 0.5
    path.write_text(json.dumps(manifest))
    assert any("its noise gives delta" in violation for violation in verify(tmp_path / "bank"))


def test_a_private_bank_keeps_no_cell_too_small_for_the_largest_share(tmp_path: Path) -> None:
    sums = privacy.Sums(np.array([30.0, 18.5, 80.0]), np.zeros((3, 1)), np.zeros((3, 4)))
    settings = config.Bank(condition_dim=1, max_share=0.05)
    bank, keeps = conditions.private_bank(sums, np.ones(1), settings, budget_of(entities=128))
    assert keeps.tolist() == [True, False, True]
    bank.save(tmp_path / "bank")
    assert Bank.load(tmp_path / "bank").sizes.tolist() == [30, 80]


def test_repeatable_noise_never_passes_for_private(tmp_path: Path) -> None:
    private_bank(seed=1).save(tmp_path / "bank")
    assert "can be repeated" in verify(tmp_path / "bank")[0]


# ----------------------------------------------------------------------------------------- a planted outlier


def released_with_and_without_the_outlier(
    epsilon: float | None, worlds: int = 300
) -> tuple[np.ndarray, np.ndarray]:
    """An attacker's score in worlds where a home far from all others is in the bank, and where it is not.

    The attacker knows everybody else: the score is how far the released numbers lean to the outlier's.
    """
    data = household_data(n=120, groups=1)
    outlier = np.array([[60.0, -60.0]], np.float32)
    scores: tuple[list[float], list[float]] = ([], [])
    budget = budget_of(entities=121, clip=8.0, delta=1e-5, **({"epsilon": epsilon} if epsilon else {}))
    direction = outlier[0] / np.linalg.norm(outlier[0])
    for inside in (0, 1):
        points = np.concatenate([data["points"], outlier[:inside]])
        n = len(points)
        for _ in range(worlds):
            if epsilon is None:
                told = points.mean(axis=0)
                scores[inside].append(float(told @ direction))
                continue
            records = privacy.entity_means(points, np.arange(n), budget.radius)
            sums = privacy.noisy_sums(records, np.zeros((n, 4)), np.zeros(n, int), 1, budget)
            best = sums.points[0] @ direction / budget.radius + sums.counts[0]  # along what the outlier adds
            scores[inside].append(float(best))
    return np.array(scores[0]), np.array(scores[1])


def test_an_outlier_is_traced_without_privacy_and_not_beyond_its_bound_with() -> None:
    without, present = released_with_and_without_the_outlier(None)
    assert np.mean(present[:, None] > without[None, :]) == 1.0
    for epsilon in (1.0, 4.0):
        absent, present = released_with_and_without_the_outlier(epsilon, worlds=400)
        success = np.mean(present[:, None] > absent[None, :])
        bound = privacy.tracing_bound(privacy.noise_multiplier(epsilon, 1e-5))
        assert 0.5 - 0.06 < success < bound + 0.06  # 0.06: three deviations of 400 worlds
        threshold = np.quantile(absent, 0.9)
        hits, false_alarms = np.mean(present > threshold), np.mean(absent > threshold)
        assert hits <= math.exp(epsilon) * false_alarms + 1e-5 + 0.07
