"""Points, attributes and loads of households in groups; threads that play processes."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from distgan import config
from distgan.anonymity.dp.bank import Budget
from distgan.errors import UserError


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


class Ranks:
    """Threads that play the processes: `total` adds the arrays of all and gives each the sum."""

    def __init__(self, number: int) -> None:
        self.barrier = threading.Barrier(number)
        self.arrays: list[np.ndarray | None] = [None] * number

    def total(self, rank: int) -> Callable[[np.ndarray], np.ndarray]:
        def reduce(array: np.ndarray) -> np.ndarray:
            self.arrays[rank] = array
            self.barrier.wait(60)
            result = np.sum(self.arrays, axis=0)
            self.barrier.wait(60)
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
            thread.join(120)
        return results


def settings_of_privacy(**changes: Any) -> config.Privacy:
    chosen = {"epsilon": 2.0, "delta": 1e-5, "insecure_seed": 0}
    return config.Privacy(**(chosen | {"log_size_range": (-2.0, 2.0)} | changes))


def budget_of(latent_dim: int = 2, **changes: Any) -> Budget:
    return Budget(settings_of_privacy(**changes), latent_dim)
