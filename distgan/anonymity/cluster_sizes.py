"""The dissolution of clusters below the minimum size into their neighbours."""

from dataclasses import replace

import numpy as np

from distgan.anonymity.clustering import Clustering, sum_by_label
from distgan.anonymity.faiss_backend import ROWS_AT_ONCE, find_nearest_centroid
from distgan.anonymity.sampling import normalise_rows, to_float32
from distgan.errors import UserError

REFINEMENTS = 3


def dissolve_small_clusters(
    points: np.ndarray, clustering: Clustering, entities: np.ndarray, minimum_size: int
) -> Clustering:
    """Dissolve small clusters until each holds at least `minimum_size` distinct entities, then tighten the
    rest.

    The smaller half of the clusters below the minimum size gives its members to their nearest other
    clusters, again and again. Then points move to the mean that is nearest, as in k-means, as long as that
    lowers the inertia and no cluster falls below the minimum size. An entity's several points (windows of
    one home) count once in each group.

    Args:
        points: [n, d] all points of `clustering`.
        entities: [n] integer code of the entity behind each point.

    Raises:
        UserError: there are fewer entities than the minimum size.
    """
    codes, num_entities = _encode(entities)
    if num_entities < minimum_size:
        raise UserError(
            f"{num_entities} entities are fewer than the minimum group size of {minimum_size}; add "
            "series, or lower bank.condition_dim or bank.min_members"
        )
    values = _compute_centre(points, clustering.spherical)
    labels = _dissolve(values, clustering.assignment.copy(), codes, minimum_size)
    means, within = _tighten(values, labels)
    for _ in range(REFINEMENTS):
        closer = _dissolve(values, find_nearest_centroid(values, means), codes, minimum_size)
        closer_means, closer_within = _tighten(values, closer)
        if closer_within >= within * (1 - 1e-4):
            break
        labels, means, within = closer, closer_means, closer_within
    total = _compute_squares(values)
    before = _tighten(values, clustering.assignment)[1]
    centroids = _tighten(normalise_rows(points) if clustering.spherical else points, labels)[0]
    return replace(
        clustering,
        centroids=normalise_rows(centroids) if clustering.spherical else centroids.astype(np.float32),
        assignment=labels,
        sizes=np.bincount(labels),
        inertia=within,
        loss=(within - before) / total if total > 0 else 0.0,
    )


def compute_scatter(points: np.ndarray, spherical: bool = False) -> float:
    """Return the sum of squared distances from the mean, of the points or of their directions: [n, d] -> a
    number.
    """
    return _compute_squares(_compute_centre(points, spherical))


def _compute_centre(points: np.ndarray, spherical: bool) -> np.ndarray:
    values = normalise_rows(points) if spherical else to_float32(points)
    return values - values.mean(axis=0, dtype=np.float64).astype(np.float32)


def _compute_squares(values: np.ndarray) -> float:
    return float(np.einsum("nd,nd->", values, values, dtype=float))


def _encode(entities: np.ndarray) -> tuple[np.ndarray, int]:
    """Return entities as 0 .. E-1, and E."""
    unique, codes = np.unique(np.asarray(entities), return_inverse=True)
    return codes.astype(np.int64), len(unique)


def count_entities(labels: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """Count the distinct entities behind each label: [n] in 0..k-1, [n] codes from 0 -> [k]."""
    num_entities = int(codes.max(initial=-1)) + 1
    if num_entities == len(codes) and len(np.unique(codes)) == num_entities:  # one point each
        return np.bincount(labels, minlength=k)
    pairs = np.unique(labels.astype(np.int64) * num_entities + codes)
    return np.bincount(pairs // num_entities, minlength=k)


def _dissolve(values: np.ndarray, labels: np.ndarray, codes: np.ndarray, minimum_size: int) -> np.ndarray:
    """Return labels 0 .. G-1, each with at least `minimum_size` distinct entities, from any labels."""
    while True:
        alive, labels = np.unique(labels, return_inverse=True)
        counts = count_entities(labels, codes, len(alive))
        small = np.flatnonzero(counts < minimum_size)
        if not len(small):
            return labels.astype(np.int64)
        means = _tighten(values, labels)[0].astype(np.float32)
        goes = small[np.argsort(counts[small], kind="stable")][: (len(small) + 1) // 2]
        stays = np.setdiff1d(np.arange(len(alive)), goes)
        moved = np.flatnonzero(np.isin(labels, goes))
        labels[moved] = stays[find_nearest_centroid(values[moved], means[stays])]


def _tighten(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Return means of the labels 0 .. k-1, [k, d] float64, and the sum of squared distances to them."""
    k = int(labels.max()) + 1
    sizes = np.maximum(np.bincount(labels, minlength=k), 1)
    means = sum_by_label(np.asarray(values, np.float64), labels, k) / sizes[:, None]
    within = 0.0
    for start in range(0, len(values), ROWS_AT_ONCE):
        span = slice(start, start + ROWS_AT_ONCE)
        within += float(np.sum((values[span] - means[labels[span]]) ** 2))
    return means, within
