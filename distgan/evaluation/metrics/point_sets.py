"""Distances between two sets of points or numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist
from scipy.stats import wasserstein_distance

Array = NDArray[Any]


def compute_wasserstein(one: Array, two: Array) -> Array:
    """Return the Wasserstein-1 distance of the known values of each column: [n, Q], [m, Q] -> [Q]; NaN where
    one set has none.
    """
    found = np.full(one.shape[1], np.nan)
    for column, pair in enumerate(zip(one.T, two.T)):
        known = [values[~np.isnan(values)] for values in pair]
        if min(map(len, known)):
            found[column] = wasserstein_distance(*known)
    return found


def compute_frechet(one: Array, two: Array) -> float:
    """Return the Fréchet distance of the Gaussians fitted to two sets of points [n, E], [m, E], with n, m >=
    2.

    |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁^½ Σ₂ Σ₁^½)^½), Dowson and Landau 1982.
    """
    first, second = (np.atleast_2d(np.cov(points, rowvar=False)) for points in (one, two))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum()
    return float(np.square(one.mean(0) - two.mean(0)).sum() + np.trace(first) + np.trace(second) - 2 * cross)


def compute_mmd(one: Array, two: Array) -> float:
    """Return the unbiased squared maximum mean discrepancy of [n, E] and [m, E], n, m >= 2 (Gretton et al.
    2012, eq. 3).

    k(x, y) = exp(-|x - y|² / 2 s²), s the median distance in `one`. It can be below 0.
    """
    width = 2 * max(float(np.median(pdist(one))), 1e-12) ** 2

    def average_kernel(gaps: Array) -> float:
        return float(np.exp(-np.square(gaps) / width).mean())

    return average_kernel(pdist(one)) + average_kernel(pdist(two)) - 2 * average_kernel(cdist(one, two))
