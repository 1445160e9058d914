"""Clusters of latents: exact k-means over all processes.

k-means here is Lloyd's, exact and streamed: faiss finds a start on a sample that fits in memory, then every
pass assigns all points and takes the mean of all members. Neither the start nor the sums depend on the order
of the points or on how many processes share them:

- the sample is keyed by the *content* of the points (the smallest hashes win), not by their position;
- sums are of integers, points rounded to a grid so fine that float64 adds them without error, in any order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix
from sklearn.cluster import kmeans_plusplus

from distgan.anonymity.faiss_backend import (
    choose_device,
    describe_device,
    import_faiss,
    make_index,
    use_matrix_products,
)
from distgan.anonymity.sampling import Blocks, PointSample, Reduce, merge_samples, normalise_rows, to_float32
from distgan.errors import UserError
from distgan.rng import make_keyed_generator

POINTS_PER_CENTROID = 64  # in the start's sample
BATCH_ITERATIONS, BATCH_POINTS = 4, 16  # Lloyd's on so many points per centroid, then the rest of the sample
ONLINE_POINTS = 2  # per centroid, after which the centroids move: one look at each point of the rest
SMALLEST_SAMPLE = 65_536
SMALLEST_BATCH = 16_384
SEEDING_POINTS_PER_CENTROID = 8
SMALLEST_SEEDING = 4096
MOST_GREEDY = 512  # centroids that are seeded one at a time; more in rounds
ROUND = 4  # a round adds this part of the seeds that stand: 1 in 4
LARGEST_VALUE_EXPONENT = 50  # squares of 2^50 ~ 1e15 still fit in float32, summed over any dimension


@dataclass(frozen=True)
class Clustering:
    """The cluster of each point.

    Every centroid is the mean of all its members (its direction, if `spherical`); no cluster is empty, so
    fewer than the k asked for come back where the points have fewer distinct values than k.
    """

    centroids: np.ndarray  # [k, d] float32
    assignment: np.ndarray  # [n] int64, of this process' points
    sizes: np.ndarray  # [k] int64, points in each, over all processes
    inertia: float  # sum over all points of the squared distance to the centroid
    device: str  # what computed it: "cpu (2 threads)" or "cuda:0 (faiss)"
    spherical: bool = False
    iterations: int = 0  # passes over all points
    loss: float = 0.0  # share of the total inertia given up for groups of enough entities; below 0 if gained


@dataclass(frozen=True)
class _Points:
    """The points of every pass: moved near zero, where float32 distances are precise."""

    blocks: Blocks
    spherical: bool
    dim: int
    rows: int  # of this process
    total: int  # of all processes
    shift: np.ndarray  # [d] float32
    grid: float  # coordinates are summed as whole multiples of this
    sample: np.ndarray  # [m, d] float32, moved like the rest, the same on every process
    counts: np.ndarray  # [m] how often each point of the sample occurs

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks():
            points = normalise_rows(block) if self.spherical else to_float32(block)
            yield points - self.shift


def _survey(blocks: Blocks, k: int, seed: int, spherical: bool, reduce: Reduce) -> _Points:
    """Count, check, measure and sample the points in one pass.

    Raises:
        UserError: values that are not finite or are huge, fewer points than k, or differing widths.
    """
    sample = PointSample(max(POINTS_PER_CENTROID * k, SMALLEST_SAMPLE), seed)
    rows, unusable, dim, reach = 0, 0, 0, np.zeros(300)
    for block in blocks():
        points = normalise_rows(block) if spherical else to_float32(block)
        finite = np.isfinite(points).all(axis=1)
        rows, unusable, dim = rows + len(points), unusable + int((~finite).sum()), points.shape[1]
        sample.offer(points[finite])
        reach[np.frexp(np.abs(points[finite]).max(initial=0))[1] + 150] = 1
    total, unusable_total, dims, holders = reduce(np.array([rows, unusable, dim, dim > 0], np.float64))
    reach = reduce(reach)
    _check_points(int(total), k, int(unusable_total), float(np.flatnonzero(reach).max(initial=0)) - 150)
    dim = int(dims / holders)
    shared = merge_samples(sample, dim, reduce)
    shift = np.zeros(dim, np.float32)
    if not spherical:
        shift = np.average(shared.points.astype(np.float64), axis=0, weights=shared.counts).astype(np.float32)
    exponent = int(np.flatnonzero(reach).max()) - 150 + 1  # moving can double the largest value
    grid = 2.0 ** (exponent + int(np.ceil(np.log2(total))) - 52)
    return _Points(
        blocks, spherical, dim, rows, int(total), shift, grid, shared.points - shift, shared.counts
    )


def _check_points(total: int, k: int, unusable: int, exponent: float) -> None:
    if unusable:
        raise UserError(
            f"{unusable} of {total} latents contain NaN or infinity, so the encoder has diverged; "
            "run the stage encoder again with a lower encoder.learning_rate"
        )
    if total < k:
        raise UserError(
            f"clusters.count is {k}, but there are only {total} latents; set clusters.count to "
            f"{total} or less"
        )
    if exponent > LARGEST_VALUE_EXPONENT:
        raise UserError(f"latents reach 2^{exponent:.0f}, above 2^{LARGEST_VALUE_EXPONENT}; rescale them")


@dataclass(frozen=True)
class KMeans:
    """The settings of the search for clusters.

    Attributes:
        iterations: passes over all points, at most; fewer when no point moves any more.
        restarts: starts tried on the sample, of which the tightest is kept.
        spherical: compare directions only; centroids have length one.
        device: see `choose_device`.
    """

    iterations: int
    restarts: int
    seed: int
    spherical: bool = False
    device: str = "auto"


@use_matrix_products()
def run_kmeans(
    blocks: Blocks,
    k: int,
    *,
    search: KMeans,
    reduce: Reduce = lambda array: array,
    progress: Callable[[int, int], None] | None = None,
) -> Clustering:
    """Run Lloyd's k-means over all points of all processes.

    Args:
        blocks: gives this process' points anew at each call, [any, d] at a time.
        reduce: sums a float64 array over processes. Same centroids whatever their number.
        progress: called after each pass with (passes done, passes at most).

    Raises:
        UserError: NaN, fewer points than k, or no faiss for the device.
    """
    device = choose_device(search.device)
    points = _survey(blocks, k, search.seed, search.spherical, reduce)
    centroids = _choose_start(points, k, search.restarts, search.seed, device)
    centroids = centroids[np.lexsort(centroids.T[::-1])]  # numbers that hardly hang on rounding
    index = make_index(device, points.dim)
    assignment = np.full(points.rows, -1, np.int32)
    for done in range(1, search.iterations + 1):
        sums, sizes, moved, squares = _assign_points(points, centroids, index, assignment, reduce)
        means = _compute_means(sums, sizes, centroids, search.spherical)
        revived = _reseed(means, sizes, points.sample, index) if done < search.iterations else False
        if progress is not None:
            progress(done, search.iterations)
        centroids = means
        if moved == 0 and not revived:
            break
    # Σ‖x − c‖² = Σ‖x‖² − 2 Σ c·S + Σ n‖c‖², in float64, of points near zero
    inertia = squares - 2 * np.sum(centroids * sums) + np.sum(sizes * np.sum(centroids.astype(float) ** 2, 1))
    alive = sizes > 0
    return Clustering(
        centroids=(centroids + points.shift)[alive],
        assignment=(np.cumsum(alive) - 1)[assignment].astype(np.int64),
        sizes=sizes[alive],
        inertia=max(float(inertia), 0.0),
        device=describe_device(device),
        spherical=search.spherical,
        iterations=done,
    )


def _choose_start(points: _Points, k: int, restarts: int, seed: int, device: str) -> np.ndarray:
    """Return the tightest of some short k-means runs on the sample: [k, d] float32.

    Each begins with greedy k-means++ (several candidates a step: one such start beats ten plain ones) on a
    part of the sample. Where the sample has no more than k distinct points, they are the centroids.
    """
    if len(points.sample) <= k:
        return points.sample.copy()
    rng = make_keyed_generator(seed, 0, "clustering start")
    best, least = points.sample[:k], np.inf
    for _ in range(restarts):
        seeds = (
            _seed_greedily(points, k, rng) if k <= MOST_GREEDY else _seed_in_rounds(points, k, rng, device)
        )
        centroids = _run_briefly(points, seeds, device)
        inertia = _compute_inertia(points, centroids, device) if restarts > 1 else 0.0
        if inertia < least:
            best, least = centroids, inertia
    return best


def _seed_greedily(points: _Points, k: int, rng: np.random.Generator) -> np.ndarray:
    """Run greedy k-means++: several candidates for each next seed. One such start beats ten plain ones."""
    few = min(len(points.sample), max(SEEDING_POINTS_PER_CENTROID * k, SMALLEST_SEEDING))
    part = rng.choice(len(points.sample), few, replace=False)
    seeds, _ = kmeans_plusplus(
        points.sample[part], k, sample_weight=points.counts[part], random_state=int(rng.integers(2**31))
    )
    return seeds


def _seed_in_rounds(points: _Points, k: int, rng: np.random.Generator, device: str) -> np.ndarray:
    """Run k-means++ with many draws a round, so that distances are matrix products: [k, d].

    After Bahmani et al. 2012 (k-means||), but a round draws exactly its number, without replacement: the
    smallest of exponential times with rates D² (Efraimidis and Spirakis 2006).
    """
    few = min(len(points.sample), SEEDING_POINTS_PER_CENTROID * k)
    sample, counts = points.sample[:few], points.counts[:few]  # the smallest hashes: a random part
    chosen = rng.choice(few, 1, p=counts / counts.sum())
    latest, distance = chosen, np.full(few, np.inf)
    index = make_index(device, points.dim)
    while len(chosen) < k:
        index.reset()
        index.add(sample[latest])
        distance = np.minimum(distance, np.maximum(index.search(sample, 1)[0][:, 0], 0))
        distance[chosen] = 0
        times = rng.standard_exponential(few) / np.maximum(counts * distance, 1e-300)
        times[chosen] = np.inf
        number = min(k - len(chosen), max(1, len(chosen) // ROUND))
        latest = np.argpartition(times, number - 1)[:number]
        chosen = np.concatenate([chosen, latest])
    return sample[chosen]


def _run_briefly(points: _Points, seeds: np.ndarray, device: str) -> np.ndarray:
    """Run a few iterations of faiss' k-means on a part of the sample, then the rest once: [k, d] float32."""
    faiss, k = import_faiss(), len(seeds)
    few = min(len(points.sample), max(BATCH_POINTS * k, SMALLEST_BATCH))
    settings = faiss.ClusteringParameters()
    settings.niter, settings.spherical = BATCH_ITERATIONS, points.spherical
    settings.min_points_per_centroid, settings.max_points_per_centroid = 1, few
    clustering = faiss.Clustering(points.dim, k, settings)
    faiss.copy_array_to_vector(np.ascontiguousarray(seeds, np.float32).ravel(), clustering.centroids)
    weights = points.counts[:few].astype(np.float32) if points.counts.max() > 1 else None
    clustering.train(points.sample[:few], make_index(device, points.dim), weights)
    centroids = faiss.vector_to_array(clustering.centroids).reshape(seeds.shape).astype(np.float32)
    return _update_online(points, centroids, few, device)


def _update_online(points: _Points, centroids: np.ndarray, first: int, device: str) -> np.ndarray:
    """Pass over the sample from `first` on once, in small batches that move each centroid to the mean of all
    its points so far (Sculley 2010): as much progress as several iterations. [k, d] -> [k, d] float32.
    """
    k, index = len(centroids), make_index(device, points.dim)
    moving = centroids.astype(np.float64)
    seen = np.full(k, points.counts[:first].sum() / k / 2)  # half: these were iterations with older centroids
    for start in range(first, len(points.sample), ONLINE_POINTS * k):
        span = slice(start, start + ONLINE_POINTS * k)
        index.reset()
        index.add(moving.astype(np.float32))
        labels = index.search(points.sample[span], 1)[1][:, 0]
        counts = points.counts[span].astype(np.float64)
        arrived = np.bincount(labels, weights=counts, minlength=k)
        sums = sum_by_label(points.sample[span] * counts[:, None], labels, k)
        seen += arrived
        moving += (sums - arrived[:, None] * moving) / seen[:, None]
    return normalise_rows(moving) if points.spherical else moving.astype(np.float32)


def _compute_inertia(points: _Points, centroids: np.ndarray, device: str) -> float:
    index = make_index(device, points.dim)
    index.add(centroids)
    return float(points.counts @ index.search(points.sample, 1)[0][:, 0].astype(np.float64))


def _assign_points(
    points: _Points, centroids: np.ndarray, index: Any, assignment: np.ndarray, reduce: Reduce
) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Assign every point to its nearest centroid (in place).

    Returns: sums of members [k, d] float64, sizes [k] int64, points that changed cluster, Σ‖x‖²; over all
        processes.
    """
    k, dim = centroids.shape
    index.reset()
    index.add(centroids)
    tally = np.zeros(k * dim + k + 2)
    sums, sizes, rest = tally[: k * dim].reshape(k, dim), tally[k * dim : -2], tally[-2:]
    first = 0
    for block in points:
        labels = index.search(block, 1)[1][:, 0]
        span = slice(first, first + len(block))
        rest += np.count_nonzero(assignment[span] != labels), np.einsum("nd,nd->", block, block, dtype=float)
        assignment[span] = labels
        sizes += np.bincount(labels, minlength=k)
        sums += sum_by_label(np.rint(block / np.float64(points.grid)), labels, k)
        first = span.stop
    tally = reduce(tally)
    sums, sizes, rest = tally[: k * dim].reshape(k, dim), tally[k * dim : -2], tally[-2:]
    return sums * points.grid, sizes.astype(np.int64), int(rest[0]), float(rest[1])


def sum_by_label(points: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Sum the points of each label: [n, d] float64, [n] -> [k, d]."""
    ones = csc_matrix((np.ones(len(labels)), labels, np.arange(len(labels) + 1)), shape=(k, len(labels)))
    return ones @ points


def _compute_means(sums: np.ndarray, sizes: np.ndarray, old: np.ndarray, spherical: bool) -> np.ndarray:
    """Return means of members (directions, if spherical), float32; a cluster without members stays where it
    was.
    """
    means = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], old)
    if spherical:
        length = np.linalg.norm(means, axis=1, keepdims=True)
        means = np.where(length > 0, means / np.where(length > 0, length, 1), old)
    return means.astype(np.float32)


def _reseed(centroids: np.ndarray, sizes: np.ndarray, sample: np.ndarray, index: Any) -> bool:
    """Move centroids without members (in place) to the sample's points that lie farthest from any centroid.

    Returns whether any moved; none does where every point already has a centroid of its own.
    """
    dead = np.flatnonzero(sizes == 0)
    if not len(dead):
        return False
    index.reset()
    index.add(centroids[sizes > 0])
    nearest = index.search(sample, 1)[1][:, 0]
    distance = np.sum((sample - centroids[sizes > 0][nearest]) ** 2, axis=1)
    revived = False
    for cluster in dead:
        farthest = int(np.argmax(distance))
        if distance[farthest] <= 0:
            break
        centroids[cluster] = sample[farthest]
        distance = np.minimum(distance, np.sum((sample - sample[farthest]) ** 2, axis=1))
        revived = True
    return revived
