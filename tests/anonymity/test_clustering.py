"""k-means that depends on the points alone, and groups that always hold enough distinct entities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgan.anonymity import clustering, faiss_backend, sampling
from distgan.anonymity.cluster_sizes import dissolve_small_clusters
from distgan.anonymity.clustering import Clustering, KMeans, run_kmeans
from distgan.errors import UserError
from tests.helpers.groups import Ranks
from tests.helpers.points import cluster, in_blocks, mixture


def test_centroids_are_the_means_of_all_members() -> None:
    points = mixture(3000)
    found = cluster(points, 8)
    for number in range(8):
        own = points[found.assignment == number].astype(np.float64)
        np.testing.assert_allclose(found.centroids[number], own.mean(axis=0), atol=1e-5)
        assert found.sizes[number] == len(own)
    squares = np.sum((points - found.centroids[found.assignment].astype(np.float64)) ** 2)
    assert found.inertia == pytest.approx(squares, rel=1e-6)


def test_every_point_is_in_its_nearest_cluster_once_stable() -> None:
    points = mixture(2000)
    found = cluster(points, 12, iterations=200)
    distance = np.sum((points[:, None].astype(np.float64) - found.centroids) ** 2, axis=2)
    own = distance[np.arange(len(points)), found.assignment]
    assert found.iterations < 200
    assert np.all(own <= distance.min(axis=1) + 1e-4)


def test_finds_the_parts_of_a_mixture_as_well_as_scikit_learn() -> None:
    from sklearn.cluster import KMeans

    points = mixture(3000, parts=10)
    reference = KMeans(10, n_init=10, random_state=0).fit(points).inertia_
    assert cluster(points, 10).inertia <= 1.001 * reference


@given(seed=st.integers(0, 10**6), size=st.integers(1, 700))
@settings(max_examples=15, deadline=None)
def test_neither_order_nor_block_size_changes_the_clusters(seed: int, size: int) -> None:
    points = mixture(700, seed=1)
    order = np.random.default_rng(seed).permutation(len(points))
    one = cluster(points, 9)
    other = run_kmeans(in_blocks(points[order], size), 9, search=KMeans(iterations=50, restarts=3, seed=0))
    np.testing.assert_array_equal(one.centroids, other.centroids)
    np.testing.assert_array_equal(one.assignment[order], other.assignment)


@pytest.mark.parametrize("shares", [(1000, 1000), (1500, 500), (700, 0, 1300)])
@pytest.mark.parametrize("spherical", [False, True])
def test_several_processes_find_what_one_finds(
    shares: tuple[int, ...], spherical: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clustering, "SMALLEST_SAMPLE", 300)  # so that the sample is a part of the points
    monkeypatch.setattr(clustering, "POINTS_PER_CENTROID", 20)
    points = np.concatenate([mixture(1500), mixture(100)[:1].repeat(500, axis=0)])
    points = points[np.random.default_rng(0).permutation(len(points))]
    one = cluster(points, 20, spherical=spherical)
    parts = np.split(points, np.cumsum(shares)[:-1])
    ranks = Ranks(len(shares))
    found = ranks.run(lambda rank: cluster(parts[rank], 20, spherical=spherical, reduce=ranks.total(rank)))
    for each in found:
        assert isinstance(each, Clustering)
        np.testing.assert_array_equal(each.centroids, one.centroids)
        np.testing.assert_array_equal(each.sizes, one.sizes)
        assert each.inertia == pytest.approx(one.inertia, rel=1e-9)
    np.testing.assert_array_equal(np.concatenate([each.assignment for each in found]), one.assignment)


def test_every_process_hears_of_a_nan_on_one() -> None:
    parts = [mixture(100), mixture(100)]
    parts[1][3, 2] = np.nan
    ranks = Ranks(2)
    found = ranks.run(lambda rank: cluster(parts[rank], 3, reduce=ranks.total(rank)))
    assert all(isinstance(each, UserError) and "NaN" in str(each) for each in found)


def test_the_sample_counts_repeats_and_takes_each_value_once() -> None:
    values = mixture(50)
    points = values[np.random.default_rng(0).integers(50, size=5000)]
    sample = sampling.PointSample(20, seed=3)
    for block in in_blocks(points, 64)():
        sample.offer(block)
    sample._merge_pending()
    assert len(np.unique(sample.points, axis=0)) == 20
    for point, count in zip(sample.points, sample.counts):
        assert count == np.sum(np.all(points == point, axis=1))


def test_seeds_reproduce_and_differ() -> None:
    points = np.random.default_rng(0).standard_normal((1500, 5)).astype(np.float32)
    same = [cluster(points, 30, restarts=1, iterations=3, seed=seed) for seed in (4, 4, 5)]
    np.testing.assert_array_equal(same[0].centroids, same[1].centroids)
    assert not np.array_equal(same[0].centroids, same[2].centroids)


def test_restarts_keep_the_tightest() -> None:
    points = mixture(2000, parts=25)
    once = [cluster(points, 25, restarts=1, seed=seed).inertia for seed in range(6)]
    assert cluster(points, 25, restarts=10).inertia <= np.median(once)


def test_far_from_zero_is_as_good_as_near() -> None:
    near = mixture(1000)
    far = (near + np.float32(4096)).astype(np.float32)
    assert cluster(far, 8).inertia == pytest.approx(cluster(near, 8).inertia, rel=1e-3)


def test_spherical_compares_directions_only() -> None:
    rng = np.random.default_rng(0)
    points = mixture(600, parts=4)
    scaled = (points * rng.uniform(0.1, 10, (600, 1))).astype(np.float32)
    one, other = cluster(points, 4, spherical=True), cluster(scaled, 4, spherical=True)
    joint = np.unique(np.stack([one.assignment, other.assignment]), axis=1)
    assert joint.shape[1] == 4  # the same partition, whatever the lengths
    np.testing.assert_allclose(np.linalg.norm(one.centroids, axis=1), 1, rtol=1e-5)
    groups = dissolve_small_clusters(points, one, np.arange(600), 200)
    np.testing.assert_allclose(np.linalg.norm(groups.centroids, axis=1), 1, rtol=1e-5)


def test_a_cluster_without_members_is_seeded_again() -> None:
    sample = np.array([[0.0], [1.0], [9.0], [10.0]], np.float32)
    centroids = np.array([[0.5], [50.0], [60.0]], np.float32)
    assert clustering._reseed(centroids, np.array([4, 0, 0]), sample, faiss_backend.make_index("cpu", 1))
    assert centroids[1] == 10.0
    assert centroids[2] in (0.0, 1.0, 9.0)


@pytest.mark.parametrize("distinct", [1, 3])
def test_repeated_points_give_no_empty_clusters(distinct: int) -> None:
    points = mixture(distinct).repeat(50, axis=0)
    found = cluster(points, 10)
    assert len(found.sizes) == distinct
    assert found.sizes.min() >= 50
    assert found.inertia == pytest.approx(0, abs=1e-6)


def test_as_many_clusters_as_points() -> None:
    found = cluster(mixture(12), 12)
    assert sorted(found.assignment) == list(range(12))


def test_progress_counts_passes() -> None:
    seen: list[tuple[int, int]] = []
    found = cluster(mixture(500), 5, iterations=30, progress=lambda done, most: seen.append((done, most)))
    assert seen == [(done, 30) for done in range(1, found.iterations + 1)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_unusable_values_are_refused(value: float) -> None:
    points = mixture(100)
    points[7, 1] = value
    with pytest.raises(UserError, match="1 of 100 latents contain NaN or infinity"):
        cluster(points, 3)


def test_huge_values_are_refused() -> None:
    with pytest.raises(UserError, match="rescale"):
        cluster(mixture(100) * np.float32(1e30), 3)


def test_fewer_points_than_clusters_names_both_numbers() -> None:
    with pytest.raises(UserError, match=r"clusters\.count is 8, but there are only 7 latents"):
        cluster(mixture(7), 8)


# ------------------------------------------------------------------------------------------- how many


def test_seeding_in_rounds_is_nearly_as_good_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    points = mixture(8000, parts=60)
    one_by_one = [cluster(points, 60, restarts=1, seed=seed).inertia for seed in range(3)]
    monkeypatch.setattr(clustering, "MOST_GREEDY", 0)
    in_rounds = [cluster(points, 60, restarts=1, seed=seed).inertia for seed in range(3)]
    assert np.median(in_rounds) <= 1.2 * np.median(one_by_one)
