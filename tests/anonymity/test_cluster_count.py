"""How many clusters: both criteria find clear parts, by any number of processes."""

import numpy as np
import pytest

from distgan.anonymity import cluster_count
from distgan.anonymity.clustering import KMeans
from tests.helpers.groups import Ranks
from tests.helpers.points import cluster, in_blocks, mixture


def apart(parts: int, each: int = 60) -> np.ndarray:
    """Parts far from one another in the plane."""
    angles = 2 * np.pi * np.arange(parts) / parts
    centres = 40 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    noise = np.random.default_rng(0).standard_normal((parts * each, 2))
    return (centres.repeat(each, axis=0) + noise).astype(np.float32)


@pytest.mark.parametrize("criterion", ["silhouette", "elbow"])
def test_both_criteria_find_clear_parts(criterion: str) -> None:
    search = KMeans(iterations=20, restarts=1, seed=0)
    choice = cluster_count.choose_count(
        in_blocks(apart(6)), (2, 13), criterion, search=search, reduce=lambda array: array
    )
    assert choice.count == 6
    assert np.all(np.diff(choice.inertia) <= 0.05 * choice.inertia[0])


def test_silhouettes_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import silhouette_score

    points = mixture(500)
    found = cluster(points, 5, iterations=200)
    expected = silhouette_score(points, found.assignment)
    assert cluster_count.compute_silhouette(points, found.centroids) == pytest.approx(expected, abs=1e-4)
    assert cluster_count.compute_silhouette(points, found.centroids[:1]) == 0


def test_the_choice_is_the_same_on_two_processes() -> None:
    points = apart(4)
    search = KMeans(iterations=10, restarts=1, seed=3)
    one = cluster_count.choose_count(
        in_blocks(points), (2, 8), "silhouette", reduce=lambda a: a, search=search
    )
    ranks, parts = Ranks(2), (points[:50], points[50:])
    found = ranks.run(
        lambda rank: cluster_count.choose_count(
            in_blocks(parts[rank]), (2, 8), "silhouette", reduce=ranks.total(rank), search=search
        )
    )
    for each in found:
        np.testing.assert_array_equal(each.silhouette, one.silhouette)  # type: ignore[attr-defined]
        np.testing.assert_allclose(each.inertia, one.inertia)  # type: ignore[attr-defined]


def test_the_elbow_is_the_bend() -> None:
    counts = np.array([2, 4, 8, 16, 32])
    assert cluster_count.find_elbow(counts, np.array([100.0, 60, 20, 18, 16])) == 2
    assert cluster_count.find_elbow(counts, np.ones(5)) == 0
