"""Points, attributes and loads of households in groups, banks of them, and threads that play processes."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from distgan import config
from distgan.anonymity import private_bank as private_bank_module
from distgan.anonymity.bank import Bank, make_bank
from distgan.anonymity.dp import contributions
from distgan.anonymity.dp.bank import Budget, sum_cells, sum_moments
from distgan.anonymity.dp.ledger import Head
from distgan.anonymity.dp.mechanism import UNIT, Noise
from distgan.anonymity.groups import (
    GroupedSeries,
    Members,
    merge_small_groups,
)
from distgan.errors import UserError
from tests.helpers.processes import PATIENCE


def settings_of_bank(**changes: Any) -> config.Bank:
    return config.Bank(**({"condition_dim": 2, "min_members": 15} | changes))


def household_data(
    n: int = 600, dim: int = 2, channels: int = 1, groups: int = 6, seed: int = 0
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(groups, size=n)
    spread = rng.lognormal(0.2, 0.3, (n, channels))
    return {
        "points": (3 * rng.standard_normal((groups, dim))[labels] + rng.standard_normal((n, dim))).astype(
            "f"
        ),
        "attributes": np.stack([spread * rng.normal(2, 0.1, (n, channels)), spread], axis=-1),
        "loads": rng.lognormal(0, 1, n),
        "groups": labels,
    }


def grouped(data: dict[str, Any]) -> GroupedSeries:
    """`data` as `household_data` gives it, perhaps with entities."""
    return GroupedSeries(**{name: value for name, value in data.items() if name != "attributes"})


def make_bank_of(data: dict[str, Any], settings: config.Bank) -> Bank:
    return make_bank(grouped(data), data["attributes"], settings)


class Ranks:
    """Threads that play the processes: `total` adds the arrays of all and gives each the sum."""

    def __init__(self, number: int) -> None:
        self.barrier = threading.Barrier(number)
        self.arrays: list[np.ndarray | None] = [None] * number

    def total(self, rank: int) -> Callable[[np.ndarray], np.ndarray]:
        def reduce(array: np.ndarray) -> np.ndarray:
            self.arrays[rank] = array
            self.barrier.wait(PATIENCE)
            result = np.sum(self.arrays, axis=0)
            self.barrier.wait(PATIENCE)
            return result

        return reduce

    def run(self, work: Callable[[int], object]) -> list[object]:
        results: list[object] = [None] * len(self.arrays)

        def one(rank: int) -> None:
            try:
                results[rank] = work(rank)
            except UserError as error:
                results[rank] = error

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(len(results))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        return results


def settings_of_privacy(**changes: Any) -> config.Privacy:
    chosen = {"epsilon": 2.0, "delta": 1e-5, "insecure_seed": 0}
    return config.Privacy(**(chosen | {"log_rms_range": (-2.0, 2.0)} | changes))


def budget_of(latent_dim: int = 2, **changes: Any) -> Budget:
    return Budget(settings_of_privacy(**changes), latent_dim)


SLACK = 1 + 1e-11


def bank_of(settings: config.Bank | None = None, **changes: Any) -> Bank:
    return make_bank_of(household_data(**changes), settings or settings_of_bank())


def members_of(settings: config.Bank | None = None, **changes: Any) -> Members:
    data = household_data(**changes)
    return merge_small_groups(grouped(data), settings or settings_of_bank(), data["attributes"].shape[1])


HEAD = Head(4, "0" * 32)


FIVE = 5  # deviations: what chance reaches once in two million


class Silent(Noise):
    """No noise at all, so that a test sees the whole sums."""

    def add(self, sums: np.ndarray, scale: int) -> np.ndarray:
        return sums


def silent(budget: Budget) -> Budget:
    budget.__dict__["noise"] = Silent(0)
    return budget


def wild_entities(rng: np.random.Generator, entities: int, dim: int, channels: int) -> dict[str, np.ndarray]:
    """Series of entities, of any size: zeros, subnormal, at the radius, huge."""
    codes = np.concatenate([np.arange(entities), rng.integers(0, entities, entities)])
    size = rng.choice([0.0, 1e-310, 1e-3, 1.0, 2.0, np.nextafter(2.0, 3), 1e9, 1e150], (len(codes), 1))
    direction = rng.standard_normal((len(codes), dim))
    direction[::5, 1:] = 0  # along an axis
    latents = size * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    scale = np.exp(rng.normal(0, rng.choice([0.1, 20]), (len(codes), channels)))
    location = rng.normal(0, rng.choice([1.0, 1e6]), (len(codes), channels))
    return {"codes": codes, "latents": latents, "attributes": np.stack([location, scale], axis=-1)}


def whole_sums(
    data: dict[str, np.ndarray], members: np.ndarray, directions: np.ndarray, cells: int
) -> list[Any]:
    """Both releases of the entities `members` without noise, as Python's whole numbers."""
    keep = np.isin(data["codes"], members)
    codes = np.unique(data["codes"][keep], return_inverse=True)[1]
    budget = silent(budget_of(clip=2.0))
    records = contributions.average_entities(data["latents"][keep], codes, 2.0)
    moments = sum_moments(records, budget)
    points = contributions.make_entity_points(data["latents"][keep], codes, directions, 2.0)
    values = contributions.average_attributes(data["attributes"][keep], codes, budget.settings)
    centroids = np.random.default_rng(0).standard_normal((cells, directions.shape[1]))
    sums = sum_cells(points, values, contributions.find_nearest_cells(points, centroids), cells, budget)
    triangle = moments.products[np.triu_indices(len(moments.points))]
    first = np.concatenate([[moments.count / contributions.COUNT_WEIGHT], moments.points, triangle])
    second = np.concatenate([array.ravel() for array in sums.to_tensors().values()])
    return [[int(number) for number in array * UNIT] for array in (first, second)]


def private_bank(seed: int = 0, n: int = 600, **changes: Any) -> Bank:
    data = household_data(n=n, groups=3)
    budget = budget_of(clip=8.0, **({"insecure_seed": seed} | changes))
    records = contributions.average_entities(data["points"], np.arange(n), budget.radius)
    values = contributions.average_attributes(data["attributes"], np.arange(n), budget.settings)
    sums = sum_cells(records, values, data["groups"], 3, budget)
    return private_bank_module.make_private_bank(sums, np.ones(2), config.Bank(condition_dim=2), budget, HEAD)
