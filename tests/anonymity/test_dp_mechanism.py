"""Discrete Gaussian noise: calibrated, on the grid of the sums, and as private as it says."""

import math

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from distgan.anonymity.dp import mechanism
from distgan.anonymity.dp.bank import sum_cells, sum_moments
from distgan.anonymity.dp.mechanism import UNIT, Noise
from distgan.errors import UserError
from tests.helpers.groups import budget_of, silent


@pytest.mark.parametrize(("epsilon", "multiplier"), [(1, 3.73), (2, 1.99), (4, 1.08), (8, 0.60)])
def test_calibration_gives_the_published_noise(epsilon: float, multiplier: float) -> None:
    assert mechanism.compute_multiplier(epsilon, 1e-5) == pytest.approx(multiplier, abs=0.006)


@pytest.mark.parametrize(("epsilon", "multiplier"), [(0.5, 2.0), (1, 3.73), (4, 1.08)])
def test_delta_is_the_integral_of_its_definition(epsilon: float, multiplier: float) -> None:
    """δ = ∫ max(0, p(x) − e^ε q(x)) dx, of normals one sensitivity apart."""

    def excess(x: float) -> float:
        return max(0.0, norm.pdf(x, 1, multiplier) - math.exp(epsilon) * norm.pdf(x, 0, multiplier))

    start = 0.5 + epsilon * multiplier**2
    delta, _ = integrate.quad(excess, start, start + 12 * multiplier, epsabs=1e-14, limit=200)
    assert mechanism.compute_delta(epsilon, multiplier) == pytest.approx(delta, rel=1e-4)


def discrete_gaussian(scale: int, shift: int, reach: int) -> np.ndarray:
    """P(k) of N_Z(shift, scale²) for k = -reach .. reach."""
    weights = np.exp(-((np.arange(-reach, reach + 1) - shift) ** 2) / (2 * scale**2))
    return weights / np.exp(-(np.arange(-40 * scale, 40 * scale + 1) ** 2) / (2 * scale**2)).sum()


@pytest.mark.parametrize("shift", [(20, 0), (12, 16), (-16, 12)])
@pytest.mark.parametrize(("epsilon", "scale"), [(1.0, 40), (2.0, 40), (4.0, 22)])
def test_the_discrete_mechanism_has_the_delta_of_the_normal_one_and_the_gap(
    shift: tuple[int, int], epsilon: float, scale: int
) -> None:
    """By sums over the plane, of neighbours 20 grid steps apart in any direction."""
    reach = 14 * scale
    zero = discrete_gaussian(scale, 0, reach)
    there = np.outer(*(discrete_gaussian(scale, by, reach) for by in shift))
    delta = np.maximum(there - math.exp(epsilon) * np.outer(zero, zero), 0).sum()
    gap = (1 + math.exp(epsilon)) * mechanism.bound_rounding_gap(2, scale)
    assert delta <= mechanism.compute_delta(epsilon, scale / 20) + gap
    assert delta == pytest.approx(mechanism.compute_delta(epsilon, scale / 20), rel=0.1)
    assert delta <= zcdp_delta(epsilon, scale / 20)


def zcdp_delta(epsilon: float, multiplier: float) -> float:
    """δ at ε of a 1/(2 multiplier²)-zCDP mechanism (Canonne, Kamath and Steinke 2020, Corollary 13)."""
    rho = 1 / (2 * multiplier**2)

    def log_delta(log_excess: float) -> float:
        alpha = 1 + math.exp(log_excess)
        return (alpha - 1) * (alpha * rho - epsilon) - log_excess + alpha * math.log1p(-1 / alpha)

    return float(math.exp(minimize_scalar(log_delta, bounds=(-12, 12), method="bounded").fun))


@pytest.mark.parametrize("scale", [1, 2, 7])
def test_the_gap_bounds_the_distance_to_rounded_normal_numbers(scale: int) -> None:
    edges = (np.arange(-40 * scale, 40 * scale + 2) - 0.5) / scale
    distance = np.abs(np.diff(norm.cdf(edges)) - discrete_gaussian(scale, 0, 40 * scale)).sum() / 2
    assert 0.1 * mechanism.bound_rounding_gap(1, scale) < distance <= mechanism.bound_rounding_gap(1, scale)


def test_what_dp_accounting_says_is_spent_is_what_was_asked() -> None:
    """Its privacy loss distributions against our closed form: both parts together are the budget."""
    budget = budget_of()
    parts = [budget.directions_multiplier, budget.sums_multiplier]
    assert mechanism.compose_multipliers(parts) == pytest.approx(budget.multiplier)
    spent = mechanism.compose_epsilon([mechanism.Spending(part) for part in parts], 1e-5)
    assert spent == pytest.approx(2.0, rel=mechanism.SLACK)
    assert mechanism.compute_delta(2.0, budget.multiplier) <= 1e-5 * (1 - mechanism.RESERVE)


def test_drawn_noise_is_discrete_gaussian() -> None:
    """OpenDP's, by a χ² test against its definition."""
    drawn = Noise().add(np.full(40_000, 1000, np.int64), 3) - 1000
    expected = discrete_gaussian(3, 0, 9) * len(drawn)
    seen = np.bincount(np.clip(drawn + 10, 0, 20), minlength=21)
    tail = (len(drawn) - expected.sum()) / 2
    found = stats.chisquare(seen, [tail, *expected, tail], sum_check=False)
    assert found.pvalue > 1e-6
    assert not np.array_equal(
        Noise().add(np.zeros(4, np.int64), UNIT), Noise().add(np.zeros(4, np.int64), UNIT)
    )
    one, other = (Noise(3).add(np.zeros(4, np.int64), UNIT) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_opendp_and_the_theorem_agree_on_what_a_vector_costs() -> None:
    """ρ = 1/(2m²) of zero-concentrated privacy (Canonne, Kamath and Steinke 2020, Theorem 14)."""
    dp = pytest.importorskip("opendp.prelude")
    dp.enable_features("contrib")
    vectors = dp.vector_domain(dp.atom_domain(T="i64"))
    measurement = dp.m.make_gaussian(vectors, dp.l2_distance(T="f64"), scale=3.0 * UNIT)
    assert measurement.map(float(UNIT)) == pytest.approx(1 / 18)


@pytest.mark.parametrize("insecure_seed", [None, 0])
def test_noise_has_the_calibrated_scale_and_lies_on_the_grid(insecure_seed: int | None) -> None:
    budget = budget_of(insecure_seed=insecure_seed)
    rng = np.random.default_rng(0)
    points, attributes = rng.normal(0, 0.1, (50, 3)), rng.uniform(-1, 1, (50, 4))
    sums = sum_cells(points, attributes, np.zeros(50, int), 400, budget)
    drawn = np.concatenate([sums.counts[1:], sums.attributes[1:].ravel(), sums.points[1:].ravel()])
    assert drawn.std() == pytest.approx(budget.sums_multiplier * math.sqrt(6), rel=0.05)
    moments = [sum_moments(np.zeros((9, 2)), budget) for _ in range(600)]
    unit = budget.directions_multiplier * math.sqrt(2 + 1 / 16)
    for numbers, scale in (
        ([each.points[0] for each in moments], unit),
        ([each.products[0, 1] for each in moments], unit),
        ([each.products[0, 0] for each in moments], unit),
        ([each.count - 9 for each in moments], 4 * unit),
    ):
        assert np.std(numbers) == pytest.approx(scale, rel=0.15)
    every = [
        *sums.to_tensors().values(),
        *(array for each in moments[:50] for array in each.to_tensors().values()),
    ]
    for numbers in every:
        assert (np.asarray(numbers) * UNIT == np.rint(np.asarray(numbers) * UNIT)).all()
    assert all((each.products == each.products.T).all() for each in moments)


def test_more_numbers_than_delta_pays_for_are_refused() -> None:
    with pytest.raises(UserError, match=r"too many for privacy\.delta"):
        silent(budget_of(delta=1e-19, epsilon=8.0)).release(np.zeros(1000, np.int64), 1.0, 1.0)
