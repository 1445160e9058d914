"""The two private releases of a bank: moments of the latents for the directions, then sums of every group.

Nothing here divides by, or decides by, how many entities there are: that number, too, is known only with
noise.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from distgan import config
from distgan.anonymity.dp import contributions, mechanism
from distgan.anonymity.dp.mechanism import UNIT, Noise
from distgan.config.bounds import round_down
from distgan.errors import UserError

LARGEST_COUNT_NOISE = 0.5  # of the minimum group size: with more, a count says little of a group
SMALLEST_VARIANCE = 1e-4  # of the greatest one, where noise drowns a direction


@dataclass(frozen=True)
class Budget:
    """(ε, δ) for the whole bank, divided: a part for the directions, the rest for the groups' sums.

    Attributes:
        planned: the multiplier of the bank, where (ε, δ) are of a whole run (accounting.py).
    """

    settings: config.Privacy
    latent_dim: int
    planned: float | None = None

    @property
    def epsilon(self) -> float:
        assert self.settings.epsilon is not None
        return self.settings.epsilon

    @property
    def delta(self) -> float:
        return self.settings.delta

    @property
    def radius(self) -> float:
        """Length at which latents are clipped."""
        return self.settings.clip or math.sqrt(self.latent_dim)

    @cached_property
    def multiplier(self) -> float:
        if self.planned is not None:
            return self.planned
        return mechanism.compute_multiplier(self.epsilon, self.settings.delta * (1 - mechanism.RESERVE))

    @property
    def directions_multiplier(self) -> float:
        return self.multiplier / math.sqrt(self.settings.directions_share)

    @property
    def sums_multiplier(self) -> float:
        return self.multiplier / math.sqrt(1 - self.settings.directions_share)

    @cached_property
    def noise(self) -> Noise:
        return Noise(self.settings.insecure_seed)

    def compute_count_noise(self, channels: int) -> float:
        """Return the deviation of the noise on a group's number of entities."""
        return self.sums_multiplier * contributions.compute_groups_sensitivity(channels)

    def check(self, fewest: int, channels: int) -> None:
        """Refuse noise that would drown groups of the minimum size.

        Raises:
            UserError: it would.
        """
        noise = self.compute_count_noise(channels)
        if noise > LARGEST_COUNT_NOISE * fewest:
            raise UserError(
                f"privacy.epsilon {self.epsilon:g} adds noise of about {noise:.0f} entities to groups "
                f"of {fewest} or more, so the result would be noise only; raise privacy.epsilon, or "
                f"raise bank.min_members to {math.ceil(noise / LARGEST_COUNT_NOISE)}"
            )

    def check_delta(self, entities: float) -> None:
        """Refuse a δ that is no small chance for so many entities.

        Args:
            entities: with noise; the exact number must not decide whether there is a release.

        Raises:
            UserError: it is above a tenth of 1 / entities.
        """
        if self.settings.delta * max(entities, 1) > 0.1:
            raise UserError(
                f"privacy.delta {self.settings.delta:g} is above a tenth of 1 / {entities:.0f} "
                "entities, which would allow the release of one entity's data; use "
                f"{round_down(0.1 / entities)} or less, in another run_dir"
            )

    def release(self, sums: np.ndarray, multiplier: float, sensitivity: float) -> np.ndarray:
        """Return whole sums with the noise of one release, in units: int64 [...] -> float64 [...], on the
        grid.

        Raises:
            UserError: so many numbers need more of δ than is set aside for them.
        """
        scale = math.ceil(multiplier * sensitivity * UNIT)
        gap = (1 + math.exp(self.epsilon)) * mechanism.bound_rounding_gap(sums.size, scale)
        if gap > mechanism.RESERVE * self.settings.delta / mechanism.RELEASES:
            raise UserError(
                f"one private release has {sums.size} numbers, too many for privacy.delta "
                f"{self.settings.delta:g}; lower clusters.count or encoder.latent_dim, or raise "
                "privacy.delta"
            )
        return self.noise.add(sums, scale) / UNIT


# ----------------------------------------------------------------------------------------- the moments


@dataclass(frozen=True)
class Moments:
    """Noisy sums over all entities of 1, x and x·xᵀ, x in radii: the source of the directions."""

    count: float
    points: np.ndarray  # [d]
    products: np.ndarray  # [d, d], symmetric

    def to_tensors(self) -> dict[str, np.ndarray]:
        return {"count": np.array([self.count]), "points": self.points, "products": self.products}

    @staticmethod
    def from_tensors(tensors: dict[str, np.ndarray]) -> "Moments":
        return Moments(float(tensors["count"][0]), tensors["points"], tensors["products"])

    def compute_mean_and_covariance(self, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """Return mean [d] and covariance [d, d] of the entities' latents."""
        number = max(self.count, 1.0)
        mean = self.points / number
        return mean * radius, (self.products / number - np.outer(mean, mean)) * radius**2


def sum_moments(records: np.ndarray, budget: Budget) -> Moments:
    """Sum 1, x and x·xᵀ over the entities' clipped latents [E, d], with noise (Dwork et al. 2014, Analyze
    Gauss).
    """
    dim = records.shape[1]
    points = contributions.round_points(records, budget.radius)
    sums = np.zeros(1 + dim + dim * (dim + 1) // 2, np.int64)
    for block in contributions.make_moment_vectors(points):
        sums += block.sum(axis=0)
    noisy = budget.release(sums, budget.directions_multiplier, contributions.compute_moments_sensitivity())
    products = np.zeros((dim, dim))
    products[np.triu_indices(dim)] = noisy[1 + dim :]
    products += np.triu(products, 1).T
    return Moments(float(noisy[0]) * contributions.COUNT_WEIGHT, noisy[1 : 1 + dim], products)


def compute_variances(covariance: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return [K] variances along directions [d, K] of a released covariance; never below a small part."""
    along = np.einsum("dk,de,ek->k", directions.astype(float), covariance, directions.astype(float))
    return np.maximum(along, SMALLEST_VARIANCE * max(float(along.max()), 1e-12))


# ------------------------------------------------------------------------------------------ the groups


@dataclass(frozen=True)
class Sums:
    """Noisy sums over the entities of each cell; every number is a whole multiple of 1 / `UNIT`."""

    counts: np.ndarray  # [k] float64, not whole
    points: np.ndarray  # [k, K], in radii
    attributes: np.ndarray  # [k, 4C], see `contributions.average_attributes`

    def to_tensors(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @staticmethod
    def from_tensors(tensors: dict[str, np.ndarray]) -> "Sums":
        return Sums(**tensors)


def sum_cells(
    points: np.ndarray, attributes: np.ndarray, cells: np.ndarray, number: int, budget: Budget
) -> Sums:
    """Sum and count every cell's entities with noise. An entity is in one cell.

    Args:
        points: [E, K] projected latents, no longer than the radius.
        attributes: [E, 4C], see `contributions.average_attributes`.
        cells: [E] in 0 .. number - 1.
    """
    channels, dim = attributes.shape[1] // 4, points.shape[1]
    vectors = contributions.make_group_vectors(contributions.round_points(points, budget.radius), attributes)
    exact = np.zeros((number, vectors.shape[1]), np.int64)
    np.add.at(exact, cells, vectors)
    sums = budget.release(exact, budget.sums_multiplier, contributions.compute_groups_sensitivity(channels))
    return Sums(sums[:, 0], sums[:, 1 : 1 + dim], sums[:, 1 + dim :])
