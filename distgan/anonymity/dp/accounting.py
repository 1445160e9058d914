"""The division of a whole run's budget before anything is spent: encoder, bank, and the network that learns
from real series, the discriminator or the generator (`Family.private_network`).

Each part gets a share of 1/m², m the multiplier of the normal mechanism that spends (ε, δ) at once: sums
of all entities have the multiplier m / √share; a training has the noise at which its steps alone spend
what that multiplier would. Composition costs a little more than 1/m² says, so all three are then given more
noise by one factor, the least with which dp-accounting finds no more than ε for all together.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from distgan import config
from distgan.anonymity.dp import lattice, mechanism
from distgan.anonymity.dp.bank import Budget
from distgan.anonymity.dp.mechanism import RELEASES, RESERVE, Spending, compose_epsilon
from distgan.errors import UserError

COARSE, FINE = 1e-3, 2e-4  # intervals of discretised losses: to search, and to state
LEAST_NOISE, MOST_NOISE = 0.2, 1000.0  # in clipping lengths
TOLERANCE = 1e-3  # relative: so little less than ε is spent
MOST_STEPS = 1 << 24  # that `find_steps` looks at


@dataclass(frozen=True)
class Plan:
    """The planned spending of (epsilon, delta) in each part of a run.

    Attributes:
        parts: the encoder, the bank, whose two releases are one part, and last the network that learns from
            real series.
        total: ε of all parts, at most epsilon.
    """

    epsilon: float
    delta: float
    parts: Mapping[str, Spending]
    total: float

    @property
    def network(self) -> str:
        """The name of the last part: discriminator or generator."""
        return list(self.parts)[-1]

    def spend_alone(self) -> dict[str, float]:
        """Return ε of each part by itself; together they spend less than the sum."""
        return {name: compose_epsilon([part], self.delta, COARSE) for name, part in self.parts.items()}


def make_plan(settings: config.Config) -> Plan:
    """Return the plan of a run with `privacy.end_to_end`; it follows from settings alone.

    Raises:
        UserError: no noise that can be drawn keeps to the budget; dp-accounting is not installed.
    """
    chosen = settings.privacy
    assert chosen.epsilon is not None and chosen.owners is not None
    network = settings.model.private_network
    shares = {"encoder": chosen.encoder_share, "bank": chosen.bank_share}
    shares[network] = 1 - sum(shares.values())
    trainings = {
        "encoder": (settings.encoder.batch_size / chosen.owners, settings.encoder.steps),
        network: (settings.train.batch_size / chosen.owners, settings.train.steps),
    }
    return _search_plan(chosen.epsilon, chosen.delta, tuple(shares.items()), tuple(trainings.items()))


@lru_cache
def _search_plan(
    epsilon: float,
    delta: float,
    shares: tuple[tuple[str, float], ...],
    trainings: tuple[tuple[str, tuple[float, int]], ...],
) -> Plan:
    """Return the plan for a share of 1/m² of each part, and the sampling rate and steps of each training."""
    whole = mechanism.compute_multiplier(epsilon, delta * (1 - RESERVE))
    trained, parts = dict(trainings), {}
    for name, share in shares:
        parts[name] = Spending(whole / math.sqrt(share))
        if name in trained:
            alone = _find_epsilon(parts[name].multiplier, delta)
            parts[name] = Spending(find_noise(*trained[name], alone, delta), *trained[name])

    def scale_parts(factor: float) -> dict[str, Spending]:
        return {name: replace(part, multiplier=factor * part.multiplier) for name, part in parts.items()}

    def compute_total(factor: float) -> float:
        return compose_epsilon(list(scale_parts(factor).values()), delta, FINE)

    factor = _find_least_noise(compute_total, epsilon, (0.9, 1.5))
    return Plan(epsilon, delta, scale_parts(factor), compute_total(factor))


def find_noise(rate: float, steps: int, epsilon: float, delta: float) -> float:
    """Return the least multiplier with which `steps` sampled sums spend no more than (epsilon, delta).

    Raises:
        UserError: it is beyond what can be drawn.
    """

    def compute_total(multiplier: float) -> float:
        return compose_epsilon([Spending(multiplier, rate, steps)], delta, COARSE)

    if compute_total(MOST_NOISE) > epsilon:
        raise UserError(
            f"{steps:,} steps at a sampling rate of {rate:.3g} need more noise than can be used for epsilon "
            f"{epsilon:.3g}; take fewer steps, smaller batches, or raise privacy.epsilon"
        )
    return _find_least_noise(compute_total, epsilon, (LEAST_NOISE, 4.0), most=MOST_NOISE)


def find_steps(rate: float, multiplier: float, epsilon: float, delta: float) -> int:
    """Return how many steps of this rate and noise a budget buys, or up to 0.5 % less; 0 if not one.

    More than `MOST_STEPS` are not tried.
    """
    low, high = 0, 1
    while high < MOST_STEPS and compose_epsilon([Spending(multiplier, rate, high)], delta, COARSE) <= epsilon:
        low, high = high, 2 * high
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        if compose_epsilon([Spending(multiplier, rate, middle)], delta, COARSE) <= epsilon:
            low = middle
        else:
            high = middle
    return low


def _find_epsilon(multiplier: float, delta: float) -> float:
    """Return ε of the normal mechanism (Balle and Wang 2018), the inverse of `mechanism.compute_delta`."""
    from scipy.optimize import brentq  # half a second to import

    wanted = delta * (1 - RESERVE)
    high = 1.0
    while mechanism.compute_delta(high, multiplier) > wanted:
        high *= 2
    return float(brentq(lambda epsilon: mechanism.compute_delta(epsilon, multiplier) - wanted, 0, high))


def _find_least_noise(
    total: Callable[[float], float], epsilon: float, around: tuple[float, float], most: float = math.inf
) -> float:
    """Return about the least noise at which a decreasing `total` is at most ε: never more than ε is spent."""
    low, high = around
    while total(high) > epsilon:
        low, high = high, min(2 * high, most)
    while total(low) <= epsilon and low > LEAST_NOISE / 2:
        low, high = low / 2, low
    while high - low > 1e-4 * high:
        middle = math.sqrt(low * high)
        found = total(middle)
        if found <= epsilon:
            high = middle
            if found >= epsilon * (1 - TOLERANCE):
                break
        else:
            low = middle
    return high


def make_budget(settings: config.Config, latent_dim: int) -> Budget:
    """Return the bank's budget: all of (ε, δ), or its part of a run that is private end to end."""
    if not settings.privacy.end_to_end:
        return Budget(settings.privacy, latent_dim)
    return Budget(settings.privacy, latent_dim, planned=make_plan(settings).parts["bank"].multiplier)


# ------------------------------------------------------------------------------------------------- the grid


def choose_grid_unit(multiplier: float) -> int:
    """Return the grid steps of a clipping length, so that noise of `lattice.SCALE` steps is `multiplier`
    lengths, or a little more.
    """
    return math.floor(lattice.SCALE / multiplier)


def refuse_gap(name: str, numbers: int, spending: Spending, budget: tuple[float, float]) -> None:
    """Refuse a training whose discrete noise is too far, over all numbers and steps, from the normal one.

    Args:
        numbers: weights of the network.
        budget: (ε, δ).

    Raises:
        UserError: it would need more of δ than is set aside for it.
    """
    epsilon, delta = budget
    each = mechanism.bound_rounding_gap(numbers, math.floor(lattice.SCALE)) + numbers * lattice.DISTANCE
    if (1 + math.exp(epsilon)) * spending.steps * each > RESERVE * delta / RELEASES:
        raise UserError(
            f"{spending.steps:,} private steps of the {name} with {numbers:,} weights need more than "
            f"privacy.delta {delta:g} sets aside for the grid of the noise; take fewer steps, or raise "
            "privacy.delta"
        )
