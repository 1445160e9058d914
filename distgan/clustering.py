"""Clusters of latents, and groups with enough distinct entities in each. The only home of faiss.

k-means here is Lloyd's, exact and streamed: faiss finds a start on a sample that fits in memory, then every
pass assigns all points and takes the mean of all members. Neither the start nor the sums depend on the order
of the points or on how many processes share them:

- the sample is keyed by the *content* of the points (the smallest hashes win), not by their position;
- sums are of integers, points rounded to a grid so fine that float64 adds them without error, in any order.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix
from sklearn.cluster import kmeans_plusplus
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_info

from distgan import draws
from distgan.errors import UserError

Blocks = Callable[[], Iterator[np.ndarray]]
Reduce = Callable[[np.ndarray], np.ndarray]

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
QUERIES_AT_ONCE = (
    1024  # faiss' default of 4096 makes blocks of distances that fall out of the cache: a fifth slower
)
CHOICE_OF_KERNELS = "OPENBLAS_CORETYPE"
KERNELS = {  # what numpy's OpenBLAS calls a processor, and the best that an old one has for it
    "SapphireRapids": "SkylakeX",
    "Cooperlake": "SkylakeX",
    "SkylakeX": "SkylakeX",
    "Zen": "Zen",
    "Haswell": "Haswell",
}
ROWS_AT_ONCE = 65_536
REFINEMENTS = 3
SILHOUETTE_POINTS = 2000  # of which all distances are taken
FEW_POINTS = 4096  # among which the nearest are found by looking at all
CELLS_PER_ROOT, MOST_CELLS = 4, 4096  # of an inverted file: per square root of its points, and at most
CELLS_VISITED = 3


@dataclass(frozen=True)
class Clustering:
    """Which cluster each point is in.

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


# ----------------------------------------------------------------------------------------------- faiss itself


@cache
def _faiss() -> Any:
    """faiss, checked.

    Raises:
        UserError: it is absent, broken, or two builds overwrote each other.
    """
    installed = [name for name in ("faiss-cpu", "faiss-gpu") if _is_installed(name)]
    remove = "pip uninstall -y faiss-cpu faiss-gpu"
    if len(installed) > 1:
        raise UserError(
            "faiss-cpu and faiss-gpu are both installed and overwrite each other's files; keep one: "
            f"{remove}, then pip install 'distgan[cpu]' or 'distgan[gpu]'"
        )
    try:
        with right_kernels():
            import faiss
    except ImportError:
        raise UserError(
            "faiss is not installed and clustering needs it; pip install 'distgan[cpu]' (20 MB) or "
            "'distgan[gpu]' (NVIDIA, 1.5 GB)"
        ) from None
    except (RuntimeError, OSError) as error:
        raise UserError(f"faiss does not load ({error}); {remove}, then pip install 'distgan[cpu]'") from None
    if not hasattr(faiss, "Clustering"):
        raise UserError(
            f"the faiss installation is an empty shell (another build was removed over it); {remove}, then "
            "pip install 'distgan[cpu]' or 'distgan[gpu]'"
        )
    faiss.cvar.distance_compute_blas_query_bs = QUERIES_AT_ONCE
    return faiss


@contextmanager
def right_kernels() -> Iterator[None]:
    """Around the first import of faiss: its matrix products in the kernels of this processor.

    faiss' wheels bring an OpenBLAS of 2021, which takes a processor that came later (Sapphire Rapids) for a
    Pentium 4: its products are four times slower there. numpy's OpenBLAS is newer and knows it.
    """
    found = {library.get("architecture") for library in threadpool_info()}
    kernels = next((old for new, old in KERNELS.items() if new in found), None)
    if kernels is None or CHOICE_OF_KERNELS in os.environ:
        yield
        return
    os.environ[CHOICE_OF_KERNELS] = kernels  # OpenBLAS reads it when it is loaded
    try:
        yield
    finally:
        del os.environ[CHOICE_OF_KERNELS]


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def choose_device(wanted: str = "auto") -> str:
    """ "auto" (a GPU if faiss can use one), "cpu", or "cuda:N" -> "cpu" or "cuda:N".

    faiss itself falls back to the CPU without a word, so what it can do is asked first.

    Raises:
        UserError: a GPU is wanted that faiss cannot use.
    """
    faiss = _faiss()
    gpus = faiss.get_num_gpus() if "GPU" in faiss.get_compile_options() else 0
    if wanted == "auto":
        return "cuda:0" if gpus else "cpu"
    if wanted == "cpu":
        return wanted
    kind, _, number = wanted.partition(":")
    if kind != "cuda" or not (number or "0").isdigit():
        raise UserError(f"clustering device {wanted!r} is unknown; use auto, cpu, or cuda:N")
    if int(number or 0) >= gpus:
        raise UserError(
            f"clustering device {wanted} is not there: faiss sees {gpus} GPUs; use cpu"
            + ("" if gpus else ", or install 'distgan[gpu]' on a machine with NVIDIA GPUs")
        )
    return f"cuda:{int(number or 0)}"


def _index(device: str, dim: int) -> Any:
    """An exact index of centroids on `device`, for squared distances."""
    faiss = _faiss()
    if device == "cpu":
        return faiss.IndexFlatL2(dim)
    config = faiss.GpuIndexFlatConfig()
    config.device = int(device.partition(":")[2])
    return faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), dim, config)


def _described(device: str) -> str:
    if device != "cpu":
        return f"{device} (faiss)"
    threads = _faiss().omp_get_max_threads()
    return f"cpu ({threads} thread{'' if threads == 1 else 's'})"


# ----------------------------------------------------------------------------------------- the start's sample


@dataclass
class _Sample:
    """The points with the smallest hashes, without repeats, and how often each occurs; `size` at most."""

    size: int
    seed: int
    hashes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    points: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    def offer(self, points: np.ndarray) -> None:
        hashes = _hash(points, self.seed)
        if len(self.hashes) == self.size:
            low = hashes <= self.hashes[-1]
            hashes, points = hashes[low], points[low]
        self.add(hashes, points, np.ones(len(hashes), np.int64))

    def add(self, hashes: np.ndarray, points: np.ndarray, counts: np.ndarray) -> None:
        if len(hashes):
            self.waiting.append((hashes, points.copy(), counts))
        if sum(len(part[0]) for part in self.waiting) > max(self.size // 2, ROWS_AT_ONCE):
            self.settle()

    def settle(self) -> None:
        """Merge what waits, in one sort; what falls out now can never come back, so the counts stay exact."""
        if not self.waiting:
            return
        held = [(self.hashes, self.points, self.counts)] if len(self.hashes) else []
        hashes, points, counts = (np.concatenate(part) for part in zip(*held, *self.waiting))
        self.waiting = []
        unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        total = np.bincount(inverse, weights=counts).astype(np.int64)
        self.hashes = unique[: self.size]
        self.points = points[first[: self.size]]
        self.counts = total[: self.size]


def _hash(points: np.ndarray, seed: int) -> np.ndarray:
    """Multilinear hash of each row's bits, then the finaliser of SplitMix64: [n, d] float32 -> [n] uint64."""
    words = (points + np.float32(0)).view(np.uint32).astype(np.uint64)  # + 0: minus zero is zero
    keys = draws.generator(seed, 0, "clustering sample").integers(
        0, 2**64, points.shape[1] + 1, dtype=np.uint64
    )
    mixed = (words * (keys[1:] | np.uint64(1))).sum(axis=1, dtype=np.uint64) + keys[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _place(reduce: Reduce) -> tuple[int, int]:
    """(my number, how many we are), known from sums alone: each process draws a lot until all lots differ."""
    while True:
        lot = int.from_bytes(os.urandom(2), "little")
        lots = np.zeros(2**16)
        lots[lot] = 1
        lots = reduce(lots)
        if lots.max() == 1:
            return int(lots[:lot].sum()), int(lots.sum())


def _shared(sample: _Sample, dim: int, reduce: Reduce) -> _Sample:
    """The sample of all processes together, the same on each."""
    sample.settle()
    number, processes = _place(reduce)
    if processes == 1:
        return sample
    together = _Sample(sample.size, sample.seed)
    rows = int(reduce(np.array([len(sample.hashes)], np.float64))[0])
    for turn in range(processes):
        packed = np.zeros((min(sample.size, rows), 3 + dim))
        if turn == number:
            held = len(sample.hashes)
            packed[:held, 0] = sample.hashes >> np.uint64(32)
            packed[:held, 1] = sample.hashes & np.uint64(2**32 - 1)
            packed[:held, 2] = sample.counts
            packed[:held, 3:] = sample.points.reshape(held, dim)
        packed = reduce(packed)
        packed = packed[packed[:, 2] > 0]
        high, low = packed[:, 0].astype(np.uint64), packed[:, 1].astype(np.uint64)
        together.add(
            (high << np.uint64(32)) | low, packed[:, 3:].astype(np.float32), packed[:, 2].astype(int)
        )
    together.settle()
    return together


# ------------------------------------------------------------------------------------------------ k-means


@dataclass(frozen=True)
class _Points:
    """The points as every pass sees them: moved near zero, where float32 distances are precise."""

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
            points = _directions(block) if self.spherical else _float32(block)
            yield points - self.shift


def _float32(block: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(block, dtype=np.float32)


def _directions(block: np.ndarray) -> np.ndarray:
    """Rows of length one; a row of zeros has no direction and stays."""
    length = np.linalg.norm(np.asarray(block, np.float64), axis=1, keepdims=True)
    return _float32(block / np.where(length > 0, length, 1))


def _surveyed(blocks: Blocks, k: int, seed: int, spherical: bool, reduce: Reduce) -> _Points:
    """One pass: count, check, measure, sample.

    Raises:
        UserError: values that are not finite or are huge, fewer points than k, or differing widths.
    """
    sample = _Sample(max(POINTS_PER_CENTROID * k, SMALLEST_SAMPLE), seed)
    rows, unusable, dim, reach = 0, 0, 0, np.zeros(300)
    for block in blocks():
        points = _directions(block) if spherical else _float32(block)
        finite = np.isfinite(points).all(axis=1)
        rows, unusable, dim = rows + len(points), unusable + int((~finite).sum()), points.shape[1]
        sample.offer(points[finite])
        reach[np.frexp(np.abs(points[finite]).max(initial=0))[1] + 150] = 1
    total, unusable_total, dims, holders = reduce(np.array([rows, unusable, dim, dim > 0], np.float64))
    reach = reduce(reach)
    _check_points(int(total), k, int(unusable_total), float(np.flatnonzero(reach).max(initial=0)) - 150)
    dim = int(dims / holders)
    shared = _shared(sample, dim, reduce)
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
            f"{unusable} of {total} latents hold NaN or infinity: the encoder diverged; run it again with a "
            "lower encoder.learning_rate (--stages encoder)"
        )
    if total < k:
        raise UserError(f"{total} latents cannot make {k} clusters; set clusters.count to {total} or less")
    if exponent > LARGEST_VALUE_EXPONENT:
        raise UserError(f"latents reach 2^{exponent:.0f}, above 2^{LARGEST_VALUE_EXPONENT}; rescale them")


def kmeans(
    blocks: Blocks,
    k: int,
    *,
    iterations: int,
    restarts: int,
    seed: int,
    spherical: bool = False,
    reduce: Reduce = lambda array: array,
    progress: Callable[[int, int], None] | None = None,
    device: str = "auto",
) -> Clustering:
    """Lloyd's k-means over all points of all processes.

    Args:
        blocks: gives this process' points anew at each call, [any, d] at a time.
        iterations: passes over all points, at most; fewer when no point moves any more.
        restarts: starts tried on the sample, of which the tightest is kept.
        spherical: compare directions only; centroids have length one.
        reduce: sums a float64 array over processes. Same centroids whatever their number.
        progress: called after each pass with (passes done, passes at most).
        device: see `choose_device`.

    Raises:
        UserError: NaN, fewer points than k, or no faiss for the device.
    """
    device = choose_device(device)
    points = _surveyed(blocks, k, seed, spherical, reduce)
    centroids = _start(points, k, restarts, seed, device)
    centroids = centroids[np.lexsort(centroids.T[::-1])]  # numbers that hardly hang on rounding
    index = _index(device, points.dim)
    assignment = np.full(points.rows, -1, np.int32)
    for done in range(1, iterations + 1):
        sums, sizes, moved, squares = _pass(points, centroids, index, assignment, reduce)
        means = _means(sums, sizes, centroids, spherical)
        revived = _reseed(means, sizes, points.sample, index) if done < iterations else False
        if progress is not None:
            progress(done, iterations)
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
        device=_described(device),
        spherical=spherical,
        iterations=done,
    )


def _start(points: _Points, k: int, restarts: int, seed: int, device: str) -> np.ndarray:
    """The tightest of some short k-means runs on the sample: [k, d] float32.

    Each begins with greedy k-means++ (several candidates a step: one such start beats ten plain ones) on a
    part of the sample. Where the sample has no more than k distinct points, they are the centroids.
    """
    if len(points.sample) <= k:
        return points.sample.copy()
    rng = draws.generator(seed, 0, "clustering start")
    best, least = points.sample[:k], np.inf
    for _ in range(restarts):
        seeds = _greedy(points, k, rng) if k <= MOST_GREEDY else _in_rounds(points, k, rng, device)
        centroids = _short_run(points, seeds, device)
        inertia = _sample_inertia(points, centroids, device) if restarts > 1 else 0.0
        if inertia < least:
            best, least = centroids, inertia
    return best


def _greedy(points: _Points, k: int, rng: np.random.Generator) -> np.ndarray:
    """Greedy k-means++: several candidates for each next seed. One such start beats ten plain ones."""
    few = min(len(points.sample), max(SEEDING_POINTS_PER_CENTROID * k, SMALLEST_SEEDING))
    part = rng.choice(len(points.sample), few, replace=False)
    seeds, _ = kmeans_plusplus(
        points.sample[part], k, sample_weight=points.counts[part], random_state=int(rng.integers(2**31))
    )
    return seeds


def _in_rounds(points: _Points, k: int, rng: np.random.Generator, device: str) -> np.ndarray:
    """k-means++ with many draws a round, so that distances are matrix products: [k, d].

    After Bahmani et al. 2012 (k-means||), but a round draws exactly its number, without replacement: the
    smallest of exponential times with rates D² (Efraimidis and Spirakis 2006).
    """
    few = min(len(points.sample), SEEDING_POINTS_PER_CENTROID * k)
    sample, counts = points.sample[:few], points.counts[:few]  # the smallest hashes: a random part
    chosen = rng.choice(few, 1, p=counts / counts.sum())
    latest, distance = chosen, np.full(few, np.inf)
    index = _index(device, points.dim)
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


def _short_run(points: _Points, seeds: np.ndarray, device: str) -> np.ndarray:
    """A few iterations of faiss' k-means on a part of the sample, then the rest once: [k, d] float32."""
    faiss, k = _faiss(), len(seeds)
    few = min(len(points.sample), max(BATCH_POINTS * k, SMALLEST_BATCH))
    settings = faiss.ClusteringParameters()
    settings.niter, settings.spherical = BATCH_ITERATIONS, points.spherical
    settings.min_points_per_centroid, settings.max_points_per_centroid = 1, few
    clustering = faiss.Clustering(points.dim, k, settings)
    faiss.copy_array_to_vector(np.ascontiguousarray(seeds, np.float32).ravel(), clustering.centroids)
    weights = points.counts[:few].astype(np.float32) if points.counts.max() > 1 else None
    clustering.train(points.sample[:few], _index(device, points.dim), weights)
    centroids = faiss.vector_to_array(clustering.centroids).reshape(seeds.shape).astype(np.float32)
    return _online(points, centroids, few, device)


def _online(points: _Points, centroids: np.ndarray, first: int, device: str) -> np.ndarray:
    """One look at the sample from `first` on, in small batches that move each centroid to the mean of all it
    has seen (Sculley 2010): as much progress as several iterations. [k, d] -> [k, d] float32.
    """
    k, index = len(centroids), _index(device, points.dim)
    moving = centroids.astype(np.float64)
    seen = np.full(k, points.counts[:first].sum() / k / 2)  # half: these were iterations with older centroids
    for start in range(first, len(points.sample), ONLINE_POINTS * k):
        span = slice(start, start + ONLINE_POINTS * k)
        index.reset()
        index.add(moving.astype(np.float32))
        labels = index.search(points.sample[span], 1)[1][:, 0]
        counts = points.counts[span].astype(np.float64)
        arrived = np.bincount(labels, weights=counts, minlength=k)
        sums = _sums(points.sample[span] * counts[:, None], labels, k)
        seen += arrived
        moving += (sums - arrived[:, None] * moving) / seen[:, None]
    return _directions(moving) if points.spherical else moving.astype(np.float32)


def _sample_inertia(points: _Points, centroids: np.ndarray, device: str) -> float:
    index = _index(device, points.dim)
    index.add(centroids)
    return float(points.counts @ index.search(points.sample, 1)[0][:, 0].astype(np.float64))


def _pass(
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
        sums += _sums(np.rint(block / np.float64(points.grid)), labels, k)
        first = span.stop
    tally = reduce(tally)
    sums, sizes, rest = tally[: k * dim].reshape(k, dim), tally[k * dim : -2], tally[-2:]
    return sums * points.grid, sizes.astype(np.int64), int(rest[0]), float(rest[1])


def _sums(points: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Sum of the points of each label: [n, d] float64, [n] -> [k, d]."""
    ones = csc_matrix((np.ones(len(labels)), labels, np.arange(len(labels) + 1)), shape=(k, len(labels)))
    return ones @ points


def _means(sums: np.ndarray, sizes: np.ndarray, old: np.ndarray, spherical: bool) -> np.ndarray:
    """Means of members (directions, if spherical), float32; a cluster without members stays where it was."""
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


# ------------------------------------------------------------------------------------------------ how many


@dataclass(frozen=True)
class Choice:
    """What each k that was tried gave, and the k chosen."""

    counts: np.ndarray  # [m] int64, rising
    inertia: np.ndarray  # [m] over all points
    silhouette: np.ndarray  # [m] mean over a sample, -1 .. 1
    criterion: str
    count: int


def choose_count(
    blocks: Blocks, lowest: int, highest: int, criterion: str, *, seed: int, reduce: Reduce, **told: Any
) -> Choice:
    """k between `lowest` and `highest`, by about a dozen tries spaced evenly in their logarithm.

    "silhouette": the k with the highest mean silhouette (Rousseeuw 1987): how much nearer a point is to its
    own cluster than to the next one, (b - a) / max(a, b). It has an optimum inside the range and does not
    move when the range does, which the elbow cannot say: hence the default.
    "elbow": where the inertia bends most over log k, i.e. lies farthest below the straight line between the
    ends (Satopää et al. 2011, Kneedle). What a notebook's eye does; it depends on the range.

    Silhouettes are those of a sample of the points, the same on any number of processes.

    Args:
        told: what else `kmeans` is told.

    Raises:
        UserError: as `kmeans`.
    """
    counts = candidates(lowest, highest)
    spherical = bool(told.get("spherical", False))
    sample = _shared_sample(blocks, SILHOUETTE_POINTS, seed, spherical, reduce)
    inertia, silhouette = np.zeros(len(counts)), np.zeros(len(counts))
    for number, k in enumerate(counts):
        found = kmeans(blocks, int(k), seed=seed, reduce=reduce, **told)
        inertia[number] = found.inertia
        silhouette[number] = mean_silhouette(sample, found.centroids)
    best = int(np.argmax(silhouette)) if criterion == "silhouette" else elbow(counts, inertia)
    return Choice(counts, inertia, silhouette, criterion, int(counts[best]))


def candidates(lowest: int, highest: int, most: int = 12) -> np.ndarray:
    """At most `most` whole numbers from `lowest` to `highest`, evenly in their logarithm."""
    return np.unique(np.rint(np.geomspace(lowest, highest, most)).astype(np.int64))


def elbow(counts: np.ndarray, inertia: np.ndarray) -> int:
    """Position of the point farthest below the line between the ends of inertia over log k."""
    across = np.log(counts / counts[0]) / np.log(counts[-1] / counts[0])
    fall = inertia[0] - inertia[-1]
    up = (inertia - inertia[-1]) / fall if fall > 0 else np.zeros(len(counts))
    return int(np.argmax(1 - across - up))


def mean_silhouette(sample: np.ndarray, centroids: np.ndarray) -> float:
    """Of a sample [m, d] under the nearest of the centroids; 0 where it all lies in one cluster."""
    labels = nearest(sample, centroids)
    held = len(np.unique(labels))
    return float(silhouette_score(sample, labels)) if 1 < held < len(sample) else 0.0


def _shared_sample(blocks: Blocks, size: int, seed: int, spherical: bool, reduce: Reduce) -> np.ndarray:
    """At most `size` distinct points of all processes, by their content: [m, d] float32."""
    sample, dim = _Sample(size, seed), 0
    for block in blocks():
        sample.offer(_directions(block) if spherical else _float32(block))
        dim = block.shape[1]
    widths, holders = reduce(np.array([dim, dim > 0], np.float64))
    return _shared(sample, int(widths / max(holders, 1)), reduce).points


# ----------------------------------------------------------------------------------------------------- groups


def groups_of_at_least(
    points: np.ndarray, clustering: Clustering, entities: np.ndarray, floor: int
) -> Clustering:
    """Dissolve small clusters until each one holds at least `floor` distinct entities, then tighten the rest.

    The smaller half of the clusters below the floor gives its members to their nearest other clusters, again
    and again. Then points move to the mean that is nearest, as in k-means, as long as that lowers the
    inertia and the floor holds. An entity's several points (windows of one home) count once in each group.

    Args:
        points: [n, d] all points of `clustering`.
        entities: [n] integer code of the entity behind each point.

    Raises:
        UserError: there are fewer entities than the floor.
    """
    codes, num_entities = _codes(entities)
    if num_entities < floor:
        raise UserError(
            f"{num_entities} entities are fewer than the {floor} that one group needs; bring more series, or "
            "lower bank.condition_dim or bank.min_members"
        )
    values = _centred(points, clustering.spherical)
    labels = _dissolved(values, clustering.assignment.copy(), codes, floor)
    means, within = _tight(values, labels)
    for _ in range(REFINEMENTS):
        closer = _dissolved(values, nearest(values, means), codes, floor)
        closer_means, closer_within = _tight(values, closer)
        if closer_within >= within * (1 - 1e-4):
            break
        labels, means, within = closer, closer_means, closer_within
    total = _squares(values)
    before = _tight(values, clustering.assignment)[1]
    centroids = _tight(_directions(points) if clustering.spherical else points, labels)[0]
    return replace(
        clustering,
        centroids=_directions(centroids) if clustering.spherical else centroids.astype(np.float32),
        assignment=labels,
        sizes=np.bincount(labels),
        inertia=within,
        loss=(within - before) / total if total > 0 else 0.0,
    )


def scatter(points: np.ndarray, spherical: bool = False) -> float:
    """Sum of squared distances from the mean, of the points or of their directions: [n, d] -> a number."""
    return _squares(_centred(points, spherical))


def _centred(points: np.ndarray, spherical: bool) -> np.ndarray:
    values = _directions(points) if spherical else _float32(points)
    return values - values.mean(axis=0, dtype=np.float64).astype(np.float32)


def _squares(values: np.ndarray) -> float:
    return float(np.einsum("nd,nd->", values, values, dtype=float))


def _codes(entities: np.ndarray) -> tuple[np.ndarray, int]:
    """Entities as 0 .. E-1, and E."""
    unique, codes = np.unique(np.asarray(entities), return_inverse=True)
    return codes.astype(np.int64), len(unique)


def distinct_entities(labels: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """How many distinct entities stand behind each label: [n] in 0..k-1, [n] codes from 0 -> [k]."""
    num_entities = int(codes.max(initial=-1)) + 1
    if num_entities == len(codes) and len(np.unique(codes)) == num_entities:  # one point each
        return np.bincount(labels, minlength=k)
    pairs = np.unique(labels.astype(np.int64) * num_entities + codes)
    return np.bincount(pairs // num_entities, minlength=k)


def _dissolved(values: np.ndarray, labels: np.ndarray, codes: np.ndarray, floor: int) -> np.ndarray:
    """Labels 0 .. G-1 with at least `floor` distinct entities behind each, from labels with any number."""
    while True:
        alive, labels = np.unique(labels, return_inverse=True)
        counts = distinct_entities(labels, codes, len(alive))
        small = np.flatnonzero(counts < floor)
        if not len(small):
            return labels.astype(np.int64)
        means = _tight(values, labels)[0].astype(np.float32)
        goes = small[np.argsort(counts[small], kind="stable")][: (len(small) + 1) // 2]
        stays = np.setdiff1d(np.arange(len(alive)), goes)
        moved = np.flatnonzero(np.isin(labels, goes))
        labels[moved] = stays[nearest(values[moved], means[stays])]


def nearest(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Number of the nearest centroid: [n, d], [k, d] float32 -> [n] int64."""
    index = _index(choose_device(), values.shape[1])
    index.add(np.ascontiguousarray(centroids, dtype=np.float32))
    starts = range(0, len(values), ROWS_AT_ONCE)
    parts = [index.search(values[start : start + ROWS_AT_ONCE], 1)[1][:, 0] for start in starts]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _tight(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Means of the labels 0 .. k-1, [k, d] float64, and the sum of squared distances to them."""
    k = int(labels.max()) + 1
    sizes = np.maximum(np.bincount(labels, minlength=k), 1)
    means = _sums(np.asarray(values, np.float64), labels, k) / sizes[:, None]
    within = 0.0
    for start in range(0, len(values), ROWS_AT_ONCE):
        span = slice(start, start + ROWS_AT_ONCE)
        within += float(np.sum((values[span] - means[labels[span]]) ** 2))
    return means, within


def nearest_few(
    queries: np.ndarray, points: np.ndarray, count: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Distances to and numbers of nearest points, ascending: [q, d], [n, d] float32 -> [q, count] each.

    All points are compared where they are few. Of many, only those in the cells of an inverted file that
    are nearest to the query: a nearest point in another cell is missed. Places beyond what was found have
    distance infinity and number -1.
    """
    faiss = _faiss()
    queries, points = (np.ascontiguousarray(rows, np.float32) for rows in (queries, points))
    if len(points) <= FEW_POINTS:
        index = faiss.IndexFlatL2(points.shape[1])
    else:
        cells = min(MOST_CELLS, round(CELLS_PER_ROOT * len(points) ** 0.5))
        quantizer = faiss.IndexFlatL2(points.shape[1])
        centres = np.sort(np.random.default_rng(seed).permutation(len(points))[:cells])
        quantizer.add(points[centres])  # as good as k-means for this, and for nothing
        index = faiss.IndexIVFFlat(quantizer, points.shape[1], cells)
        index.nprobe = CELLS_VISITED
        index.train(points[centres])  # only says that the centres stand
    index.add(points)
    squares, places = index.search(queries, count)
    return np.where(places < 0, np.inf, np.sqrt(np.maximum(squares, 0))), places.astype(np.int64)


# ------------------------------------------------------------------------------------------------- neighbours

EXACT_POINTS = 20_000  # up to here every distance is computed
POINTS_PER_LIST = 256  # of an inverted file, beyond
PROBED_LISTS = 8


def find_neighbours(points: np.ndarray, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest other points of every point, by Euclidean distance.

    Up to `EXACT_POINTS` the search is exhaustive. Beyond, an inverted file (k-means lists, of which the
    `PROBED_LISTS` nearest are searched) keeps the work below n^1.5: a neighbour across the border of two far
    lists may then be missed.

    Args:
        points: [n, d].
        count: neighbours of each, at most n - 1.

    Returns:
        Squared distances and places, [n, count] each; inf and -1 where there are fewer.
    """
    faiss = _faiss()
    points = np.ascontiguousarray(points, np.float32)
    count = max(1, min(count, len(points) - 1))
    if len(points) <= EXACT_POINTS:
        index = faiss.IndexFlatL2(points.shape[1])
    else:
        lists = max(1, min(int(4 * len(points) ** 0.5), len(points) // POINTS_PER_LIST))
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(points.shape[1]), points.shape[1], lists)
        index.nprobe = PROBED_LISTS
        index.cp.seed, index.cp.niter, index.cp.max_points_per_centroid = seed + 1, 8, 64
        index.train(points)
    index.add(points)
    distances, places = index.search(points, count + 1)
    own = places == np.arange(len(points))[:, None]
    distances[own] = np.inf  # the point itself; among equals it may not be the first, or be crowded out
    order = np.argsort(distances, axis=1, kind="stable")[:, :count]
    distances, places = np.take_along_axis(distances, order, 1), np.take_along_axis(places, order, 1)
    places[~np.isfinite(distances)] = -1
    return distances, places
