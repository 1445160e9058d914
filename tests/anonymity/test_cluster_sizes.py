"""Clusters always hold enough distinct owners."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgan.anonymity.cluster_sizes import dissolve_small_clusters
from distgan.errors import UserError
from tests.helpers.points import cluster, mixture


@st.composite
def adversarial_points(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Points and entities in shapes that break k-means: repeats, outliers, a giant blob, many windows."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, dim = draw(st.integers(2, 300)), draw(st.integers(1, 5))
    shape = draw(st.sampled_from(["mixture", "same", "few values", "outliers", "blob", "line", "tiny"]))
    points = rng.standard_normal((n, dim))
    if shape == "mixture":
        points += 20 * rng.integers(0, 6, (n, 1))
    elif shape == "same":
        points[:] = points[0]
    elif shape == "few values":
        points = rng.integers(0, 2, (n, dim)).astype(float)
    elif shape == "outliers":
        points[: max(1, n // 10)] *= 1e5
    elif shape == "blob":
        points[n // 20 :] *= 1e-3
        points[: n // 20] += 100
    elif shape == "line":
        points = np.outer(2.0 ** rng.integers(0, 30, n), np.ones(dim))
    elif shape == "tiny":
        points *= 1e-20
    windows = draw(st.sampled_from([1, 1, 2, 7]))
    entities = rng.integers(0, max(1, n // windows), n) if windows > 1 else rng.permutation(n) + 1000
    return points.astype(np.float32), entities


@given(case=adversarial_points(), k=st.integers(1, 60), minimum_size=st.integers(1, 60))
@settings(max_examples=120, deadline=None)
def test_groups_always_hold_the_minimum_size(
    case: tuple[np.ndarray, np.ndarray], k: int, minimum_size: int
) -> None:
    points, entities = case
    before = cluster(points, min(k, len(points)), restarts=1, iterations=5)
    num_entities = len(np.unique(entities))
    if num_entities < minimum_size:
        with pytest.raises(UserError, match=f"{num_entities} entities are fewer than the .* {minimum_size}"):
            dissolve_small_clusters(points, before, entities, minimum_size)
        return
    found = dissolve_small_clusters(points, before, entities, minimum_size)
    assert found.assignment.shape == (len(points),)
    assert found.sizes.sum() == len(points)
    for number in range(len(found.sizes)):
        assert len(np.unique(entities[found.assignment == number])) >= minimum_size
        mean = points[found.assignment == number].mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(found.centroids[number], mean, rtol=1e-3, atol=1e-3 * np.abs(points).max())
    assert np.isfinite(found.loss)
    assert found.loss <= 1 + 1e-6


def test_groups_that_hold_already_stay() -> None:
    points = mixture(2000)
    before = cluster(points, 8)
    after = dissolve_small_clusters(points, before, np.arange(2000), int(before.sizes.min()))
    np.testing.assert_array_equal(before.assignment, after.assignment)
    assert after.loss == pytest.approx(0, abs=1e-9)


def test_windows_of_one_home_count_once() -> None:
    points = np.concatenate([np.zeros((50, 2)), np.ones((50, 2))]).astype(np.float32)
    entities = np.concatenate([np.full(50, 7), np.arange(100, 150)])
    before = cluster(points, 2)
    assert len(before.sizes) == 2
    assert len(dissolve_small_clusters(points, before, entities, 2).sizes) == 1


def test_grouping_costs_little_and_says_how_much() -> None:
    points = mixture(4000, parts=40)
    minimum_size = 25
    before = cluster(points, 4000 // minimum_size)
    after = dissolve_small_clusters(points, before, np.arange(4000), minimum_size)
    total = np.sum((points - points.mean(axis=0)) ** 2)
    assert before.sizes.min() < minimum_size <= after.sizes.min()
    assert after.loss == pytest.approx((after.inertia - before.inertia) / total, rel=1e-2)
    assert after.loss < 0.05
