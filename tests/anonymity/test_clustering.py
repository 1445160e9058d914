"""k-means that depends on the points alone, and groups that always hold enough distinct entities."""

import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgan.anonymity import cluster_count, clustering, faiss_backend, sampling
from distgan.anonymity.cluster_sizes import dissolve_small_clusters
from distgan.anonymity.clustering import Clustering, kmeans
from distgan.anonymity.faiss_backend import choose_device
from distgan.errors import UserError
from tests.helpers.groups import Ranks


def mixture(n: int, dim: int = 6, parts: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = 4 * rng.standard_normal((parts, dim))
    return (centres[rng.integers(parts, size=n)] + rng.standard_normal((n, dim))).astype(np.float32)


def in_blocks(points: np.ndarray, size: int = 100) -> Callable[[], Iterator[np.ndarray]]:
    return lambda: (points[start : start + size] for start in range(0, len(points), size))


def cluster(points: np.ndarray, k: int, **changes: object) -> Clustering:
    told = {"iterations": 50, "restarts": 3, "seed": 0} | changes
    return kmeans(in_blocks(points), k, **told)  # type: ignore[arg-type]


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
    other = kmeans(in_blocks(points[order], size), 9, iterations=50, restarts=3, seed=0)
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
    sample = sampling._Sample(20, seed=3)
    for block in in_blocks(points, 64)():
        sample.offer(block)
    sample.settle()
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
    assert clustering._reseed(centroids, np.array([4, 0, 0]), sample, faiss_backend._index("cpu", 1))
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


def apart(parts: int, each: int = 60) -> np.ndarray:
    """Parts far from one another in the plane."""
    angles = 2 * np.pi * np.arange(parts) / parts
    centres = 40 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    noise = np.random.default_rng(0).standard_normal((parts * each, 2))
    return (centres.repeat(each, axis=0) + noise).astype(np.float32)


@pytest.mark.parametrize("criterion", ["silhouette", "elbow"])
def test_both_criteria_find_clear_parts(criterion: str) -> None:
    told = {"seed": 0, "reduce": lambda array: array, "iterations": 20, "restarts": 1}
    choice = cluster_count.choose_count(in_blocks(apart(6)), 2, 13, criterion, **told)
    assert choice.count == 6
    assert np.all(np.diff(choice.inertia) <= 0.05 * choice.inertia[0])


def test_silhouettes_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import silhouette_score

    points = mixture(500)
    found = cluster(points, 5, iterations=200)
    expected = silhouette_score(points, found.assignment)
    assert cluster_count.mean_silhouette(points, found.centroids) == pytest.approx(expected, abs=1e-4)
    assert cluster_count.mean_silhouette(points, found.centroids[:1]) == 0


def test_the_choice_is_the_same_on_two_processes() -> None:
    points = apart(4)
    told = {"seed": 3, "iterations": 10, "restarts": 1}
    one = cluster_count.choose_count(in_blocks(points), 2, 8, "silhouette", reduce=lambda a: a, **told)
    ranks, parts = Ranks(2), (points[:50], points[50:])
    found = ranks.run(
        lambda rank: cluster_count.choose_count(
            in_blocks(parts[rank]), 2, 8, "silhouette", reduce=ranks.total(rank), **told
        )
    )
    for each in found:
        np.testing.assert_array_equal(each.silhouette, one.silhouette)  # type: ignore[attr-defined]
        np.testing.assert_allclose(each.inertia, one.inertia)  # type: ignore[attr-defined]


def test_the_elbow_is_the_bend() -> None:
    counts = np.array([2, 4, 8, 16, 32])
    assert cluster_count.find_elbow(counts, np.array([100.0, 60, 20, 18, 16])) == 2
    assert cluster_count.find_elbow(counts, np.ones(5)) == 0


def test_seeding_in_rounds_is_nearly_as_good_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    points = mixture(8000, parts=60)
    one_by_one = [cluster(points, 60, restarts=1, seed=seed).inertia for seed in range(3)]
    monkeypatch.setattr(clustering, "MOST_GREEDY", 0)
    in_rounds = [cluster(points, 60, restarts=1, seed=seed).inertia for seed in range(3)]
    assert np.median(in_rounds) <= 1.2 * np.median(one_by_one)


# ------------------------------------------------------------------------------------------------- faiss


def test_the_device_is_checked_and_told() -> None:
    import faiss

    assert cluster(mixture(50), 2, device="cpu").device.startswith("cpu (")
    beyond = f"cuda:{faiss.get_num_gpus()}"
    with pytest.raises(UserError, match=f"{beyond} is not available: faiss sees {faiss.get_num_gpus()} GPUs"):
        choose_device(beyond)
    with pytest.raises(UserError, match="unknown"):
        choose_device("tpu")


@pytest.mark.gpu
def test_a_gpu_finds_what_the_cpu_finds() -> None:
    import faiss

    if "GPU" not in faiss.get_compile_options() or not faiss.get_num_gpus():
        pytest.skip("faiss sees no GPU")
    points = mixture(5000)
    on_gpu, on_cpu = (cluster(points, 20, device=device) for device in ("cuda:0", "cpu"))
    assert on_gpu.device == "cuda:0 (faiss)"
    assert on_gpu.inertia == pytest.approx(on_cpu.inertia, rel=0.01)


@pytest.fixture
def unchecked() -> Iterator[None]:
    faiss_backend._faiss.cache_clear()
    yield
    faiss_backend._faiss.cache_clear()


@pytest.mark.usefixtures("unchecked")
def test_two_builds_of_faiss_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cpu", "gpu"):
        folder = tmp_path / f"faiss_{name}-1.15.1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: faiss-{name}\nVersion: 1.15.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"both installed.*pip uninstall -y faiss-cpu faiss-gpu"):
        choose_device()


@pytest.mark.usefixtures("unchecked")
def test_an_empty_shell_of_faiss_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", types.ModuleType("faiss"))
    with pytest.raises(UserError, match=r"another build was removed.*pip uninstall"):
        choose_device()


@pytest.mark.usefixtures("unchecked")
def test_absent_faiss_names_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"distgan\[cpu\].*distgan\[gpu\]"):
        choose_device()


# ------------------------------------------------------------------------------------------------ groups


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


@given(case=adversarial_points(), k=st.integers(1, 60), floor=st.integers(1, 60))
@settings(max_examples=120, deadline=None)
def test_groups_always_hold_the_floor(case: tuple[np.ndarray, np.ndarray], k: int, floor: int) -> None:
    points, entities = case
    before = cluster(points, min(k, len(points)), restarts=1, iterations=5)
    num_entities = len(np.unique(entities))
    if num_entities < floor:
        with pytest.raises(
            UserError, match=f"{num_entities} entities are fewer than the minimum group size of {floor}"
        ):
            dissolve_small_clusters(points, before, entities, floor)
        return
    found = dissolve_small_clusters(points, before, entities, floor)
    assert found.assignment.shape == (len(points),)
    assert found.sizes.sum() == len(points)
    for number in range(len(found.sizes)):
        assert len(np.unique(entities[found.assignment == number])) >= floor
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
    floor = 25
    before = cluster(points, 4000 // floor)
    after = dissolve_small_clusters(points, before, np.arange(4000), floor)
    total = np.sum((points - points.mean(axis=0)) ** 2)
    assert before.sizes.min() < floor <= after.sizes.min()
    assert after.loss == pytest.approx((after.inertia - before.inertia) / total, rel=1e-2)
    assert after.loss < 0.05


def test_faiss_multiplies_with_the_kernels_of_this_processor() -> None:
    """Its wheel's OpenBLAS takes newer processors for a Pentium 4; numpy's own says what this one is."""
    code = """
from distgan.anonymity import faiss_backend
import threadpoolctl
faiss_backend._faiss()
for library in threadpoolctl.threadpool_info():
    print(library.get("architecture"), "faiss" in library["filepath"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = [line.split() for line in done.stdout.splitlines()]
    theirs = {kernels for kernels, of_faiss in found if of_faiss == "True" and kernels != "None"}
    newer = {kernels for kernels, of_faiss in found if of_faiss == "False"} & set(faiss_backend.KERNELS)
    if not theirs or not newer:
        pytest.skip("faiss or numpy multiplies with another library than OpenBLAS")
    assert theirs == {faiss_backend.KERNELS[kernels] for kernels in newer}


def test_a_choice_of_kernels_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(faiss_backend.CHOICE_OF_KERNELS, "Nehalem")
    with faiss_backend.use_right_kernels():
        assert os.environ[faiss_backend.CHOICE_OF_KERNELS] == "Nehalem"
    assert os.environ[faiss_backend.CHOICE_OF_KERNELS] == "Nehalem"
