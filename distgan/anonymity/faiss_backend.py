"""The only home of faiss: its import with the right kernels, devices, exact indices."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from distgan.errors import UserError

# faiss' default of 4096 makes blocks of distances that exceed the cache: a fifth slower.
QUERIES_AT_ONCE = 1024
CHOICE_OF_KERNELS = "OPENBLAS_CORETYPE"
KERNELS = {  # what numpy's OpenBLAS calls a processor, and the best that an old one has for it
    "SapphireRapids": "SkylakeX",
    "Cooperlake": "SkylakeX",
    "SkylakeX": "SkylakeX",
    "Zen": "Zen",
    "Haswell": "Haswell",
}
FEWEST_PRODUCTS = 20
ROWS_AT_ONCE = 65_536


@cache
def import_faiss() -> Any:
    """Import faiss and check it.

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
        with use_right_kernels():
            import faiss
    except ImportError:
        raise UserError(
            "faiss is not installed and clustering needs it; pip install 'distgan[cpu]' (20 MB) or "
            "'distgan[gpu]' (NVIDIA, 1.5 GB)"
        ) from None
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"faiss cannot be imported ({error}); {remove}, then pip install 'distgan[cpu]' or 'distgan[gpu]'"
        ) from None
    if not hasattr(faiss, "Clustering"):
        raise UserError(
            "the faiss installation has no files, because another build was removed after it was "
            f"installed; {remove}, then pip install 'distgan[cpu]' or 'distgan[gpu]'"
        )
    faiss.cvar.distance_compute_blas_query_bs = QUERIES_AT_ONCE
    return faiss


def count_threads() -> int:
    """Return how many threads faiss uses, which OMP_NUM_THREADS limits."""
    return int(import_faiss().omp_get_max_threads())


@contextmanager
def use_right_kernels() -> Iterator[None]:
    """Import faiss first within this context: its matrix products then use the kernels of this processor.

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
    """Choose "cpu" or "cuda:N": "auto" (a GPU if faiss can use one), "cpu", or "cuda:N" -> "cpu" or "cuda:N".

    faiss itself falls back to the CPU without a word, so what it can do is asked first.

    Raises:
        UserError: a GPU is wanted that faiss cannot use.
    """
    faiss = import_faiss()
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
            f"clustering device {wanted} is not available: faiss sees {gpus} GPUs; use cpu"
            + ("" if gpus else ", or install 'distgan[gpu]' on a machine with NVIDIA GPUs")
        )
    return f"cuda:{int(number or 0)}"


def make_index(device: str, dim: int) -> Any:
    """Make an exact index of centroids on `device`, for squared distances."""
    faiss = import_faiss()
    if device == "cpu":
        return faiss.IndexFlatL2(dim)
    config = faiss.GpuIndexFlatConfig()
    config.device = int(device.partition(":")[2])
    return faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), dim, config)


def describe_device(device: str) -> str:
    """Return e.g. "cpu (2 threads)"."""
    if device != "cpu":
        return f"{device} (faiss)"
    threads = import_faiss().omp_get_max_threads()
    return f"cpu ({threads} thread{'' if threads == 1 else 's'})"


@contextmanager
def use_matrix_products() -> Iterator[None]:
    """Compute distances by matrix products however few the points are, as faiss did before 1.15.

    Since then it compares pair by pair below 128,000 numbers, which takes 3 ns a distance in few dimensions
    instead of .05. Distances are rounded differently: for points near zero, whose nearest centroid is sought.
    """
    settings = import_faiss().cvar
    before = settings.distance_compute_blas_threshold
    settings.distance_compute_blas_threshold = FEWEST_PRODUCTS
    try:
        yield
    finally:
        settings.distance_compute_blas_threshold = before


@use_matrix_products()
def find_nearest_centroid(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the number of the nearest centroid: [n, d], [k, d] float32 -> [n] int64."""
    index = make_index(choose_device(), values.shape[1])
    index.add(np.ascontiguousarray(centroids, dtype=np.float32))
    starts = range(0, len(values), ROWS_AT_ONCE)
    parts = [index.search(values[start : start + ROWS_AT_ONCE], 1)[1][:, 0] for start in starts]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


EXACT_NEAREST = 4096  # points up to which every distance is computed; more are searched in inverted lists
DRAWN_LISTS, PROBED_LISTS = 4096, 3  # at most so many lists, and those of them that are searched for a query


def _make_lists(points: np.ndarray) -> Any:
    """Make an index of float32 points [n, d], with inverted lists around drawn points where they are many."""
    faiss = import_faiss()
    index = faiss.IndexFlatL2(points.shape[1])
    if len(points) > EXACT_NEAREST:
        number = min(DRAWN_LISTS, round(4 * len(points) ** 0.5))
        quantizer = faiss.IndexFlatL2(points.shape[1])
        index = faiss.IndexIVFFlat(quantizer, points.shape[1], number)
        index.nprobe = PROBED_LISTS
        centres = np.sort(np.random.default_rng(0).permutation(len(points))[:number])
        quantizer.add(points[centres])
        index.train(points[centres])  # only says that the centres stand
    index.add(points)
    return index


def find_nearest(queries: np.ndarray, points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distances to and numbers of nearest points, ascending: [q, d], [n, d] float32 -> [q, count]
    each.

    Of many points only some are compared: lists around drawn points, which find as many as lists around the
    centroids of k-means, without its cost.
    Places beyond what was found have distance infinity and number -1.
    """
    queries, points = (np.ascontiguousarray(rows, np.float32) for rows in (queries, points))
    squares, places = _make_lists(points).search(queries, count)
    return np.where(places < 0, np.inf, np.sqrt(np.maximum(squares, 0))), places


EXACT_NEIGHBOURS = 20_000  # points up to which every distance is computed
POINTS_PER_LIST, MOST_LISTS, SEARCHED_LISTS = 1024, 8192, 8  # of more points
LISTS_AROUND = 256  # a list, among which those to search for its points are chosen
CODED_PER_NEIGHBOUR = 3  # points that are near by their codes, whose distances are then computed
QUERIES_PER_BLOCK = 2048  # with the numbers of their neighbours they stay in the processor's cache


def find_neighbours(points: np.ndarray, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest other points of every point, by Euclidean distance; of many only some are compared.

    Args:
        points: [n, d].
        count: neighbours of each, at most n - 1.

    Returns:
        Squared distances and places, [n, count] each; inf and -1 where there are fewer.
    """
    count = max(1, min(count, len(points) - 1))
    squares, places = np.empty((len(points), count), np.float32), np.empty((len(points), count), np.int64)
    for rows, *found in iterate_neighbours(points, count, seed):
        squares[rows], places[rows] = found
    return squares, places


def iterate_neighbours(
    points: np.ndarray, count: int, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield what `find_neighbours` returns in blocks, with the numbers of the points that each is of.

    Many points are searched by codes of four bits a number, in lists; points of one list follow one another,
    since they are compared with the same lists. The points themselves may be mapped from a file: memory holds
    their codes and d / 2 + 16 bytes a point.
    """
    count = max(1, min(count, len(points) - 1))
    points = np.ascontiguousarray(points, np.float32)
    if len(points) <= EXACT_NEIGHBOURS:
        index, order = import_faiss().IndexFlatL2(points.shape[1]), np.arange(len(points))
        index.add(points)
    else:
        index, order = _make_codes(points, seed)
        lists = _Lists.of(index)
    for first in range(0, len(points), QUERIES_PER_BLOCK):
        rows = order[first : first + QUERIES_PER_BLOCK]
        own = points[rows]
        if len(points) <= EXACT_NEIGHBOURS:
            squares, places = index.search(own, count + 1)
        else:
            searched = lists.find_nearest(own, first)
            unread = np.zeros(searched.shape, np.float32)  # distances to lists, which codes do not use
            places = index.search_preassigned(own, CODED_PER_NEIGHBOUR * count + 1, searched, unread)[1]
            squares = _compute_squares(points, own, places)
        squares[places == rows[:, None]] = np.inf  # itself; among equals it may not be first, or crowded out
        nearest = np.argsort(squares, axis=1, kind="stable")[:, :count]
        squares, places = np.take_along_axis(squares, nearest, 1), np.take_along_axis(places, nearest, 1)
        places[~np.isfinite(squares)] = -1
        yield rows, squares, places


def _compute_squares(points: np.ndarray, own: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return squared distances from [n, d] to the points at `places` [n, k]: [n, k]; inf where it is -1."""
    # `take` copies rows three times faster than an index in brackets
    apart = np.take(points, places.reshape(-1), axis=0, mode="wrap").reshape(*places.shape, -1)
    apart -= own[:, None]
    squares = np.asarray(np.einsum("nkd,nkd->nk", apart, apart))
    squares[places < 0] = np.inf
    return squares


@dataclass(frozen=True)
class _Lists:
    """The inverted lists of an index: centroids [k, d], the nearest lists of each [k, m], and where each ends
    among the points list by list, [k].
    """

    centroids: np.ndarray
    around: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, index: Any) -> "_Lists":
        centroids = index.quantizer.reconstruct_n(0, index.nlist)
        around = index.quantizer.search(centroids, min(LISTS_AROUND, index.nlist))[1]
        sizes = [index.invlists.list_size(each) for each in range(index.nlist)]
        return cls(centroids, around, np.cumsum(sizes))

    def find_nearest(self, points: np.ndarray, first: int) -> np.ndarray:
        """Return the lists to search for points [n, d] that follow one another list by list from place
        `first`: [n, SEARCHED_LISTS].

        They are sought around a point's own list: comparing with thousands of lists takes as long as the
        search itself.
        """
        number = min(SEARCHED_LISTS, self.around.shape[1])
        found, at = np.empty((len(points), number), np.int64), 0
        while at < len(points):
            own = np.searchsorted(self.ends, first + at, side="right")
            rows = slice(at, min(int(self.ends[own]) - first, len(points)))
            some = self.around[own]
            centres = self.centroids[some]
            apart = np.square(centres).sum(axis=1) - 2 * points[rows] @ centres.T
            found[rows] = some[np.argpartition(apart, number - 1, axis=1)[:, :number]]
            at = rows.stop
        return found


def _make_codes(points: np.ndarray, seed: int) -> tuple[Any, np.ndarray]:
    """Return an index of float32 points [n, d] by codes in inverted lists, and the points' numbers list by
    list, [n].
    """
    faiss, (size, width) = import_faiss(), points.shape
    number = int(np.clip(size // POINTS_PER_LIST, 1, MOST_LISTS))
    quantizer = faiss.IndexFlatL2(width)
    index = faiss.IndexIVFPQFastScan(quantizer, width, number, width, 4)
    index.by_residual, index.nprobe = False, SEARCHED_LISTS
    index.cp.seed, index.cp.niter, index.cp.max_points_per_centroid = seed + 1, 8, 64
    drawn = np.random.default_rng(seed).permutation(size)[: 64 * max(256, number)]
    index.train(points[np.sort(drawn)])
    for first in range(0, size, ROWS_AT_ONCE):
        index.add(points[first : first + ROWS_AT_ONCE])
    lists = [(each, index.invlists.list_size(each)) for each in range(index.nlist)]
    order = [faiss.rev_swig_ptr(index.invlists.get_ids(each), count) for each, count in lists if count]
    return index, np.concatenate(order)
