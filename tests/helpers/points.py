"""Mixtures of points, and their clusters."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from distgan.anonymity.clustering import Clustering, KMeans, run_kmeans


def mixture(n: int, dim: int = 6, parts: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = 4 * rng.standard_normal((parts, dim))
    return (centres[rng.integers(parts, size=n)] + rng.standard_normal((n, dim))).astype(np.float32)


def in_blocks(points: np.ndarray, size: int = 100) -> Callable[[], Iterator[np.ndarray]]:
    return lambda: (points[start : start + size] for start in range(0, len(points), size))


def cluster(points: np.ndarray, k: int, **changes: object) -> Clustering:
    options: dict[str, Any] = {"iterations": 50, "restarts": 3, "seed": 0} | changes
    search = KMeans(
        **{field.name: options.pop(field.name) for field in fields(KMeans) if field.name in options}
    )
    return run_kmeans(in_blocks(points), k, search=search, **options)
