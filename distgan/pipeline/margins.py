"""Whole numbers of series in the cells of a table whose margins are given."""

from collections.abc import Mapping, Sequence

import numpy as np

ROUNDS = 200  # of proportional fitting
SMALLEST = 1e-12


def fit_proportions(
    sizes: np.ndarray, cells: np.ndarray, margins: Sequence[Mapping[int, int]], count: int
) -> np.ndarray:
    """Scale cells until their sums are the margins (iterative proportional fitting, Deming and Stephan 1940):
    [k] -> float64 [k]. Where cells that are absent make this impossible, the sums come near.
    """
    found = sizes / sizes.sum() * count
    for _ in range(ROUNDS):
        for place, margin in enumerate(margins):
            for code, wanted in margin.items():
                inside = cells[:, place] == code
                total = found[inside].sum()
                if total > SMALLEST:
                    found[inside] *= wanted / total
    return found


def meet_margins(
    sizes: np.ndarray, cells: np.ndarray, margins: Sequence[Mapping[int, int]], count: int
) -> np.ndarray | None:
    """Return how many series each cell gets so that all margins are met exactly: int64 [k], or None where no
    whole numbers do. Of all that do, those nearest to the fitted proportions (a linear program in whole
    numbers).

    Args:
        sizes: [k] of the cells, in proportion to which series are wanted.
        cells: [k, S] the value of each cell for each margin.
        margins: for each of S attributes, value -> number of series; each sums to `count`.
    """
    target, k = fit_proportions(sizes, cells, margins, count), len(sizes)
    rows, wanted = [np.ones(k)], [float(count)]
    for place, margin in enumerate(margins):
        for code, number in margin.items():
            rows.append((cells[:, place] == code).astype(np.float64))
            wanted.append(float(number))
    exact = np.array(rows)
    # variables: n, d with d >= |n - target|; the sum of d is least
    above = np.concatenate([np.eye(k), -np.eye(k)], axis=1)
    below = np.concatenate([-np.eye(k), -np.eye(k)], axis=1)
    from scipy.optimize import Bounds, LinearConstraint, milp  # slow to import, and few runs have margins

    found = milp(
        np.concatenate([np.zeros(k), np.ones(k)]),
        integrality=np.concatenate([np.ones(k), np.zeros(k)]),
        bounds=Bounds(0, np.inf),
        constraints=[
            LinearConstraint(np.concatenate([exact, 0 * exact], axis=1), wanted, wanted),
            LinearConstraint(above, -np.inf, target),
            LinearConstraint(below, -np.inf, -target),
        ],
    )
    if found.x is None:
        return None
    counts: np.ndarray = np.rint(found.x[:k]).astype(np.int64)
    return counts
