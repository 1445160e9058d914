"""The only home of faiss: its import with the right kernels, devices, exact indices."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from distgan.errors import UserError

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


@cache
def _import_faiss() -> Any:
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
    return int(_import_faiss().omp_get_max_threads())


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
    faiss = _import_faiss()
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


def _make_index(device: str, dim: int) -> Any:
    """Make an exact index of centroids on `device`, for squared distances."""
    faiss = _import_faiss()
    if device == "cpu":
        return faiss.IndexFlatL2(dim)
    config = faiss.GpuIndexFlatConfig()
    config.device = int(device.partition(":")[2])
    return faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), dim, config)


def _describe_device(device: str) -> str:
    if device != "cpu":
        return f"{device} (faiss)"
    threads = _import_faiss().omp_get_max_threads()
    return f"cpu ({threads} thread{'' if threads == 1 else 's'})"


def find_nearest_centroid(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the number of the nearest centroid: [n, d], [k, d] float32 -> [n] int64."""
    index = _make_index(choose_device(), values.shape[1])
    index.add(np.ascontiguousarray(centroids, dtype=np.float32))
    starts = range(0, len(values), ROWS_AT_ONCE)
    parts = [index.search(values[start : start + ROWS_AT_ONCE], 1)[1][:, 0] for start in starts]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


@dataclass(frozen=True)
class Lists:
    """Limits of search: how many points are searched exhaustively, and the lists of an inverted file for
    more.

    Attributes:
        exact: points up to which every distance is computed.
        number: of lists, of so many points.
        probed: lists that are searched for each query; a near point in another one is missed.
        rounds: of k-means that place the lists' centres; 0: points drawn at random are the centres.
    """

    exact: int
    number: Callable[[int], int]
    probed: int
    rounds: int


DRAWN_LISTS = Lists(4096, lambda points: min(4096, round(4 * points**0.5)), probed=3, rounds=0)
CLUSTERED_LISTS = Lists(
    20_000, lambda points: max(1, min(int(4 * points**0.5), points // 256)), probed=8, rounds=8
)


def _make_lists(points: np.ndarray, lists: Lists, seed: int) -> Any:
    """Make an index of float32 points [n, d], with inverted lists where they are many."""
    faiss = _import_faiss()
    index = faiss.IndexFlatL2(points.shape[1])
    if len(points) > lists.exact:
        quantizer, number = faiss.IndexFlatL2(points.shape[1]), lists.number(len(points))
        index = faiss.IndexIVFFlat(quantizer, points.shape[1], number)
        index.nprobe = lists.probed
        if lists.rounds:
            index.cp.seed, index.cp.niter, index.cp.max_points_per_centroid = seed + 1, lists.rounds, 64
            index.train(points)
        else:
            centres = np.sort(np.random.default_rng(seed).permutation(len(points))[:number])
            quantizer.add(points[centres])
            index.train(points[centres])  # only says that the centres stand
    index.add(points)
    return index


def find_nearest(
    queries: np.ndarray, points: np.ndarray, count: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances to and numbers of nearest points, ascending: [q, d], [n, d] float32 -> [q, count]
    each.

    Of many points only some are compared (`DRAWN_LISTS`: as good as k-means for this, and for nothing).
    Places beyond what was found have distance infinity and number -1.
    """
    queries, points = (np.ascontiguousarray(rows, np.float32) for rows in (queries, points))
    squares, places = _make_lists(points, DRAWN_LISTS, seed).search(queries, count)
    return np.where(places < 0, np.inf, np.sqrt(np.maximum(squares, 0))), places


def find_neighbours(points: np.ndarray, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest other points of every point, by Euclidean distance; of many only some are compared
    (`CLUSTERED_LISTS`).

    Args:
        points: [n, d].
        count: neighbours of each, at most n - 1.

    Returns:
        Squared distances and places, [n, count] each; inf and -1 where there are fewer.
    """
    parts = [part[1:] for part in iterate_neighbours(points, count, seed)]
    distances, places = (np.concatenate(side) for side in zip(*parts))
    return distances, places


def iterate_neighbours(
    points: np.ndarray, count: int, seed: int = 0
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield what `find_neighbours` returns in blocks, with the points that each is of."""
    count = max(1, min(count, len(points) - 1))
    points = np.ascontiguousarray(points, np.float32)
    index = _make_lists(points, CLUSTERED_LISTS, seed)
    for first in range(0, len(points), ROWS_AT_ONCE):
        rows = slice(first, min(first + ROWS_AT_ONCE, len(points)))
        distances, places = index.search(points[rows], count + 1)
        places = places.astype(np.int64)
        own = places == np.arange(rows.start, rows.stop)[:, None]
        distances[own] = np.inf  # the point itself; among equals it may not be the first, or be crowded out
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        distances, places = np.take_along_axis(distances, order, 1), np.take_along_axis(places, order, 1)
        places[~np.isfinite(distances)] = -1
        yield rows, distances, places
