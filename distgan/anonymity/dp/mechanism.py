"""Discrete Gaussian noise on integers: its amount, its source, and the privacy of it.

**Mechanism.** The sums are vectors of whole numbers, q(D) in Z^n, in steps of 1 / `UNIT`. Of neighbouring
databases ‖q(D) − q(D')‖₂ <= Δ, an exact bound on integers (contributions.py). Released is q(D) + N_Z(0, σ²)ⁿ,
where N_Z is the discrete Gaussian P(k) ∝ exp(−k² / 2σ²) of Canonne, Kamath and Steinke (2020, "The Discrete
Gaussian for Differential Privacy"), drawn by OpenDP with exact arithmetic from the operating system's
generator. Every released number lies on the same grid, whatever the database, so its low bits tell nothing.

**Guarantee in n dimensions.** Let M be this mechanism and R(D) = round(q(D) + N(0, σ²)ⁿ), to whole numbers.

1. R is post-processing of the normal mechanism, so with m = σ / Δ it is 1/m-Gaussian-DP (Dong, Roth and Su
   2022) and (ε, δ_m(ε))-private, δ_m as in `compute_delta` (Balle and Wang 2018, Theorem 8); several
   adaptive releases compose to 1/m² = Σ 1/mᵢ².
2. q(D) is whole, so R and M differ, coordinate by coordinate, by that of round(N(0, σ²)) and N_Z(0, σ²). The
   midpoint rule's error with Peano's kernel (at most 1/8) and ∫|f''| = 4 φ(1) / σ² of the normal density f
   give Σ_k |P(round = k) − f(k)| <= φ(1) / 2σ² < 0.121 / σ²; Poisson's summation gives |Σ f(k) − 1| <= 2.01
   exp(−2π²σ²). So the total variation is at most 1 / 8σ² for σ >= 1 a coordinate, and at most
   `bound_rounding_gap` = n / 8σ² for n of them, added up over the releases (hybrid argument).
3. Hence M is (ε, δ_m(ε) + (1 + e^ε) · gap)-private, and no attack's AUC is above Φ(1 / m√2) + 2 · gap. The
   noise is calibrated to δ · (1 − `RESERVE`), and a release for which the gap would need more than that part
   is refused.

By CKS' Theorem 14 M is also 1/(2m²)-zCDP, without any gap; its (ε, δ) after their Corollary 13 is looser.
The only home of opendp and dp-accounting.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from scipy.special import log_ndtr

from distgan import rng
from distgan.errors import UserError

UNIT = 1 << 30  # grid steps in a length of 1
RESERVE = 1e-3  # part of delta for the gap between the discrete Gaussian and the rounded normal
RELEASES = 4  # of a run at most, which share RESERVE: directions, groups, encoder, one network
SLACK = 1e-3  # relative; dp-accounting rounds what was spent up by less
MISSING = (
    "privacy.epsilon needs opendp and dp-accounting, and {} is not installed; pip install 'distgan[privacy]'"
)


def compute_delta(epsilon: float, multiplier: float) -> float:
    """Return δ at ε of normal noise with deviation `multiplier` x sensitivity (Balle and Wang 2018, Theorem
    8).

    δ = Φ(1/2σ − εσ) − e^ε Φ(−1/2σ − εσ)
    """
    near, far = 1 / (2 * multiplier) - epsilon * multiplier, -1 / (2 * multiplier) - epsilon * multiplier
    return float(np.exp(log_ndtr(near)) - np.exp(epsilon + log_ndtr(far)))


def compute_multiplier(epsilon: float, delta: float) -> float:
    """Return the least normal noise, in sensitivities, that is (ε, δ)-private."""
    from scipy.optimize import brentq  # half a second to import, and every stage reads the bank's manifest

    low, high = 1e-3, 1.0
    while compute_delta(epsilon, high) > delta:
        high *= 2
    root = brentq(lambda sigma: compute_delta(epsilon, sigma) - delta, low, high, xtol=1e-12, rtol=1e-12)
    return float(root) * (1 + 1e-9)


def bound_rounding_gap(numbers: int, scale: int) -> float:
    """Return the total variation between `numbers` discrete and rounded normal ones of deviation `scale` >=
    1.
    """
    return numbers / (8 * scale**2)


def compute_tracing_bound(multiplier: float) -> float:
    """Return the AUC that no attack exceeds: Φ(1/(σ√2)), of two normals 1/σ apart (Dong et al. 2022)."""
    return NormalDist().cdf(1 / (multiplier * math.sqrt(2)))


def compose_multipliers(multipliers: Sequence[float]) -> float:
    """Return the multiplier of several adaptive releases together: 1/σ² adds up (Dong et al. 2022, Corollary
    2).
    """
    return 1 / math.sqrt(sum(1 / multiplier**2 for multiplier in multipliers))


@dataclass(frozen=True)
class Spending:
    """The spending of one part of a run: `steps` sums with normal noise of `multiplier` sensitivities, each
    over entities of which every one is taken with probability `rate`, independently (Poisson sampling).
    """

    multiplier: float
    rate: float = 1.0
    steps: int = 1


def compose_epsilon(spendings: Sequence[Spending], delta: float, interval: float = 1e-4) -> float:
    """Return ε of adaptive releases together, by dp-accounting's privacy loss distributions: an upper bound.

    Neighbours differ by one entity, added or removed. The releases are of the rounded normal mechanism at δ ·
    (1 − `RESERVE`); the rest of δ pays for the gap.

    Args:
        interval: of the discretised losses; a coarser one is quicker, and its bound is higher.

    Raises:
        UserError: dp-accounting is not installed.
    """
    return _account(tuple(spendings), delta * (1 - RESERVE), interval)


@lru_cache(maxsize=512)
def _account(spendings: tuple[Spending, ...], delta: float, interval: float) -> float:
    try:
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
        from dp_accounting.pld import PLDAccountant
    except ImportError:
        raise UserError(MISSING.format("dp-accounting")) from None
    accountant = PLDAccountant(value_discretization_interval=interval)
    for each in spendings:
        event = GaussianDpEvent(each.multiplier)
        accountant.compose(event if each.rate == 1 else PoissonSampledDpEvent(each.rate, event), each.steps)
    return float(accountant.get_epsilon(delta))


class Noise:
    """Discrete Gaussian noise from the operating system's generator; repeatable only for tests, by a seed.

    Raises:
        UserError: opendp is not installed.
    """

    def __init__(self, insecure_seed: int | None = None) -> None:
        self._insecure = (
            None if insecure_seed is None else rng.make_keyed_generator(insecure_seed, 0, "insecure noise")
        )
        if insecure_seed is None:
            try:
                import opendp.prelude
            except ImportError:
                raise UserError(MISSING.format("opendp")) from None
            self._opendp = opendp.prelude
            self._opendp.enable_features("contrib")

    def add(self, sums: np.ndarray, scale: int) -> np.ndarray:
        """Return whole `sums` plus independent N_Z(0, scale²): int64 of any shape -> int64 of that shape."""
        assert sums.dtype == np.int64 and scale >= 1, (sums.dtype, scale)
        if self._insecure is not None:
            return sums + np.rint(self._insecure.standard_normal(sums.shape) * scale).astype(np.int64)
        dp = self._opendp
        vectors = dp.vector_domain(dp.atom_domain(T="i64"))
        release = dp.m.make_gaussian(vectors, dp.l2_distance(T="f64"), scale=float(scale))
        return np.array(release(sums.ravel().tolist()), np.int64).reshape(sums.shape)
