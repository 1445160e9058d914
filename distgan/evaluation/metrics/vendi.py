"""Vendi score: how many different entities a set holds (Friedman and Dieng, TMLR 2023).

exp(-Σ λ ln λ), λ the eigenvalues of K / n. The kernel is k(x, y) = exp(-|x - y|² / 2 s²) with s a fixed share
of the median distance between real entities. By a kernel of angles, entities that hardly differ would be as
diverse as real ones. The score grows with the number of entities, so sets are compared at one size.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist

Array = NDArray[Any]

WIDTH = 0.75  # s, in median distances of real entities


def fit_width(real: Array) -> float:
    """Return the width of the kernel, from points of real entities [n, P]; 1 for points that coincide."""
    median = float(np.median(pdist(real))) if len(real) > 1 else 0.0
    return WIDTH * median if median > 0 else 1.0


def count_effectively(points: Array, width: float) -> float:
    """Return the Vendi score of points [n, P]: from 1 (all alike) to n (all different)."""
    kernel = np.exp(-np.square(cdist(points, points) / width) / 2)
    values = np.linalg.eigvalsh(kernel / len(points))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))
