"""Differential privacy of the bank: how much noise, from where, on what, and what has been spent.

Two databases are neighbours if one has an entity (a household) more, with all its series. What is released of
the entities are sums over them, each entity's part cut off at a known length, plus normal noise (Dwork and
Roth 2014, calibrated after Balle and Wang 2018). What is computed from released sums costs nothing more. The
only home of dp-accounting.
"""

import hashlib
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr

from distgan import config, draws
from distgan.errors import Mismatch, UserError, writing
from distgan.files import read_tensors, write_tensors
from distgan.levels import steadiness_and_size

SLACK = 1e-3  # relative; dp-accounting rounds what was spent up by less
LARGEST_COUNT_NOISE = 0.5  # of the floor: with more, a count says little of a group
SMALLEST_VARIANCE = 1e-4  # of the cut-off's square, where noise drowns a direction
COVERED = (
    "Covered: the bank, i.e. every group's condition, size, level and spread, against whoever knows all "
    "other entities and has unlimited means."
)
NOT_COVERED = (
    "Not covered: the weights of encoder, discriminator and generator, and the synthetic series, which were "
    "made with real series at hand. Do not publish encoder or discriminator. The encoder, the scaler and the "
    "number of entities are taken as given."
)


# --------------------------------------------------------------------------------------- the normal mechanism


def gaussian_delta(epsilon: float, multiplier: float) -> float:
    """δ at ε of normal noise with deviation `multiplier` x sensitivity (Balle and Wang 2018, Theorem 8).

    δ = Φ(1/2σ − εσ) − e^ε Φ(−1/2σ − εσ)
    """
    near, far = 1 / (2 * multiplier) - epsilon * multiplier, -1 / (2 * multiplier) - epsilon * multiplier
    return float(np.exp(log_ndtr(near)) - np.exp(epsilon + log_ndtr(far)))


def noise_multiplier(epsilon: float, delta: float) -> float:
    """The least noise, in sensitivities, that is (ε, δ)-private."""
    low, high = 1e-3, 1.0
    while gaussian_delta(epsilon, high) > delta:
        high *= 2
    root = brentq(lambda sigma: gaussian_delta(epsilon, sigma) - delta, low, high, xtol=1e-12, rtol=1e-12)
    return float(root) * (1 + 1e-9)


def tracing_bound(multiplier: float) -> float:
    """AUC that no attack exceeds: Φ(1/(σ√2)), of two normals 1/σ apart (Dong et al. 2022)."""
    return NormalDist().cdf(1 / (multiplier * math.sqrt(2)))


def together(multipliers: Sequence[float]) -> float:
    """What several adaptive releases amount to: 1/σ² adds up (Dong et al. 2022, Corollary 2)."""
    return 1 / math.sqrt(sum(1 / multiplier**2 for multiplier in multipliers))


def spent(multipliers: Sequence[float], delta: float) -> float:
    """ε of several releases together, by dp-accounting's privacy loss distributions: an upper bound.

    Raises:
        UserError: dp-accounting is not installed.
    """
    try:
        from dp_accounting import GaussianDpEvent
        from dp_accounting.pld import PLDAccountant
    except ImportError:
        raise UserError(
            "privacy.epsilon needs dp-accounting to account for what is spent; pip install 'distgan[privacy]'"
        ) from None
    accountant = PLDAccountant()
    for multiplier in multipliers:
        accountant.compose(GaussianDpEvent(multiplier))
    return float(accountant.get_epsilon(delta))


class Noise:
    """Standard normal numbers from the operating system's generator; repeatable only for tests, by a seed.

    Numbers are rounded to multiples of 2^-20: the low bits of a float64 can tell what was added to it
    (Mironov 2012). What is left of that gap is not accounted.
    """

    GRID = 2.0**-20

    def __init__(self, insecure_seed: int | None = None) -> None:
        self._next: Callable[[], float]
        if insecure_seed is None:
            secure = random.SystemRandom()
            self._next = lambda: secure.normalvariate(0.0, 1.0)
        else:
            self._next = draws.generator(insecure_seed, 0, "insecure noise").standard_normal

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        numbers = np.array([self._next() for _ in range(math.prod(shape))], np.float64)
        return np.rint(numbers.reshape(shape) / self.GRID) * self.GRID


@dataclass(frozen=True)
class Budget:
    """(ε, δ) for the whole bank, divided: a part for the narrow directions, the rest for the groups' sums."""

    settings: config.Privacy
    latent_dim: int
    entities: int

    @classmethod
    def of(cls, settings: config.Privacy, latent_dim: int, entities: int) -> "Budget":
        """
        Raises:
            UserError: δ is no small chance for so many entities.
        """
        if settings.delta > 0.1 / entities:
            raise UserError(
                f"privacy.delta {settings.delta:g} is above a tenth of 1 / {entities} entities: it would "
                f"allow to give somebody away; use {0.1 / entities:.0e} or less"
            )
        return cls(settings, latent_dim, entities)

    @property
    def epsilon(self) -> float:
        assert self.settings.epsilon is not None
        return self.settings.epsilon

    @property
    def radius(self) -> float:
        """Length at which latents are cut off."""
        return self.settings.clip or math.sqrt(self.latent_dim)

    @cached_property
    def multiplier(self) -> float:
        return noise_multiplier(self.epsilon, self.settings.delta)

    @property
    def directions_multiplier(self) -> float:
        return self.multiplier / math.sqrt(self.settings.directions_share)

    @property
    def sums_multiplier(self) -> float:
        return self.multiplier / math.sqrt(1 - self.settings.directions_share)

    @cached_property
    def noise(self) -> Noise:
        return Noise(self.settings.insecure_seed)

    def count_noise(self, channels: int) -> float:
        """Deviation of the noise on a group's number of entities."""
        return self.sums_multiplier * sensitivity(channels)

    def check(self, floor: int, channels: int) -> None:
        """
        Raises:
            UserError: noise would drown groups of the floor's size.
        """
        noise = self.count_noise(channels)
        if noise > LARGEST_COUNT_NOISE * floor:
            raise UserError(
                f"privacy.epsilon {self.epsilon:g} adds noise of about {noise:.0f} entities to groups of "
                f"{floor} or more, so that nothing meaningful is left; raise privacy.epsilon or "
                f"bank.min_members (to {math.ceil(noise / LARGEST_COUNT_NOISE)})"
            )


# ------------------------------------------------------------------------------------------- what is released


def sensitivity(channels: int) -> float:
    """Length of what one entity adds: a cut-off latent and 1; per channel two values and their squares."""
    return math.sqrt(2 + 4 * channels)


def entity_means(latents: np.ndarray, entities: np.ndarray, radius: float) -> np.ndarray:
    """The mean of every entity's latents, each cut off at the radius: [n, d], [n] codes -> [E, d] float32."""
    latents = np.asarray(latents, np.float64)
    if not np.isfinite(latents).all():
        raise UserError("latents hold NaN or infinity; run the encoder again with a lower learning rate")
    length = np.linalg.norm(latents, axis=1, keepdims=True)
    inside = radius * (1 - 1e-6)  # room for float32
    cut = latents * np.minimum(1, inside / np.maximum(length, 1e-30))
    return _means(cut, entities).astype(np.float32)


def attribute_means(attributes: np.ndarray, entities: np.ndarray, settings: config.Privacy) -> np.ndarray:
    """Every entity's steadiness and size (levels.py), cut off, brought to [-1, 1], and their squares.

    [n, C, 2] level and spread, [n] codes -> [E, 4C]: C x (steadiness, size), then C x their squares.
    """
    low, high = ranges(settings)
    values = (steadiness_and_size(attributes) - low) / (high - low) * 2 - 1
    values = np.clip(values, -1, 1).reshape(len(values), -1)
    return _means(np.concatenate([values, values**2], axis=1), entities)


def ranges(settings: config.Privacy) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest steadiness and size."""
    low, high = zip(settings.steadiness_range, settings.log_size_range)
    return np.array(low), np.array(high)


def _means(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    sizes = np.bincount(codes)
    return np.stack([np.bincount(codes, weights=column) / sizes for column in values.T], axis=1)


def noisy_moments(records: np.ndarray, budget: Budget) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d] and covariance [d, d] of the entities' cut-off latents [E, d], from sums with noise.

    Σ x/R and the upper triangle of Σ x·xᵀ/R² (Dwork et al. 2014, Analyze Gauss): one entity changes each by 1
    in length at most, and both by √2. The number of entities is taken as given.
    """
    unit = records.astype(np.float64) / budget.radius
    deviation = budget.directions_multiplier * math.sqrt(2)
    noise = np.triu(budget.noise.normal((unit.shape[1], unit.shape[1]))) * deviation
    scatter = (unit.T @ unit + noise + np.triu(noise, 1).T) / len(unit)
    mean = (unit.sum(axis=0) + deviation * budget.noise.normal((unit.shape[1],))) / len(unit)
    return mean * budget.radius, (scatter - np.outer(mean, mean)) * budget.radius**2


def variances_along(covariance: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """[K] variances along the directions [d, K], from a released covariance; never below a small part."""
    along = np.einsum("dk,de,ek->k", directions.astype(float), covariance, directions.astype(float))
    return np.maximum(along, SMALLEST_VARIANCE * max(float(along.max()), 1e-12))


@dataclass(frozen=True)
class Sums:
    """Noisy sums over the entities of each cell, in units of the entities' values."""

    counts: np.ndarray  # [k] float64, not whole
    points: np.ndarray  # [k, K]
    attributes: np.ndarray  # [k, 4C], see `attribute_means`

    def save(self, path: Path) -> None:
        write_tensors(path, {name: getattr(self, name) for name in self.__dataclass_fields__}, private=True)

    @staticmethod
    def load(path: Path) -> "Sums":
        return Sums(**read_tensors(path))


def noisy_sums(
    points: np.ndarray, attributes: np.ndarray, cells: np.ndarray, number: int, budget: Budget
) -> Sums:
    """Sum and number of every cell's entities with noise. An entity is in one cell.

    Args:
        points: [E, K] narrow latents, no longer than the radius.
        attributes: [E, 4C], see `attribute_means`.
        cells: [E] in 0 .. number - 1.
    """
    channels, dim = attributes.shape[1] // 4, points.shape[1]
    length = np.linalg.norm(points, axis=1, keepdims=True)
    unit = points / np.maximum(length, budget.radius)  # float32 may have made a length a little longer
    values = np.concatenate([np.ones((len(points), 1)), unit, attributes], axis=1)
    longest = float(np.linalg.norm(values, axis=1).max())
    assert longest <= sensitivity(channels) * (1 + 1e-9), f"{longest} is longer than the sensitivity"
    columns = [np.bincount(cells, weights=column, minlength=number) for column in values.T]
    exact = np.stack(columns, axis=1).astype(np.float64)
    sums = exact + budget.sums_multiplier * sensitivity(channels) * budget.noise.normal(exact.shape)
    return Sums(sums[:, 0], sums[:, 1 : 1 + dim] * budget.radius, sums[:, 1 + dim :])


# ------------------------------------------------------------------------------------------------- the ledger


class Ledger:
    """Every private release of a run, a line of JSON each, with the hash of the line before it.

    Raises (any method):
        Mismatch: a line was changed, or removed from the middle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[dict[str, Any]]:
        found, before = [], ""
        for number, line in enumerate(self._lines()):
            try:
                entry = json.loads(line)
                follows = entry["before"] == before
            except (json.JSONDecodeError, KeyError, TypeError):
                follows = False
            if not follows:
                raise Mismatch(f"{self.path} line {number + 1} was changed; what was spent cannot be known")
            found.append(entry)
            before = _digest(line)
        return found

    def released(self) -> list[dict[str, Any]]:
        return [entry for entry in self.entries() if entry["state"] == "released"]

    def kept(self, name: str, result: Path, source: str) -> bool:
        """Whether `name` was released before and its result is still there, to be used again.

        Raises:
            Mismatch: it was released, of another source, or the result is gone: drawing again would spend
                twice.
        """
        of = [entry.get("source", source) for entry in self.released() if entry["name"] == name]
        if not of:
            return False
        if source not in of:
            raise Mismatch(
                f"{self.path} says that {name} were released of other latents than the run now holds; a "
                "second draw would spend the budget twice: restore them, or choose another run_dir and count "
                "both"
            )
        if not result.exists():
            raise Mismatch(
                f"{self.path} says that {name} were released, but {result} is gone; a second draw would "
                "spend the budget twice: restore it, or choose another run_dir and count both"
            )
        return True

    @contextmanager
    def spending(self, name: str, budget: Budget, multiplier: float, source: str) -> Iterator[None]:
        """Around drawing noise and saving the result: noted before, and as released after.

        Args:
            source: a digest of what the result is of, which is never drawn of another.

        Raises:
            Mismatch: with this release more than the budget would be spent.
        """
        before = [entry["multiplier"] for entry in self.released()]
        epsilon = spent([*before, multiplier], budget.settings.delta)
        if epsilon > budget.epsilon * (1 + SLACK):
            raise Mismatch(
                f"{self.path}: with {name}, epsilon {epsilon:.3g} would be spent, above privacy.epsilon "
                f"{budget.epsilon:g}; choose another run_dir and count both"
            )
        entry = {
            "name": name,
            "multiplier": multiplier,
            "source": source,
            "delta": budget.settings.delta,
            "epsilon_so_far": epsilon,
            "unit": "entity, added or removed with all its series",
            "entities": budget.entities,
            "insecure": budget.settings.insecure_seed is not None,
        }
        self._append({**entry, "state": "started"})
        yield
        self._append({**entry, "state": "released"})

    def _lines(self) -> list[str]:
        """Whole lines; one that a kill cut off in the middle counts as not written."""
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def _append(self, entry: dict[str, Any]) -> None:
        self.entries()  # the chain holds up to here
        lines = self._lines()
        before = _digest(lines[-1]) if lines else ""
        line = json.dumps({**entry, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "before": before})
        with writing(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.truncate(sum(len(line.encode()) + 1 for line in lines))
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:16]
