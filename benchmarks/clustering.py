"""How fast and how tight k-means is, beside the libraries' own, on one machine and the same points.

    python benchmarks/clustering.py                        1 M x 64, k = 4096, three seeds: half an hour
    python benchmarks/clustering.py --rows 5000000 --k 1000 --seeds 1
    python benchmarks/clustering.py --smoke                everything once, tiny, in seconds
    python benchmarks/clustering.py --disk                 10 M x 64 streamed from disk, ours alone
    python benchmarks/clustering.py --groups               groups of at least k, beside k-means-constrained,
                                                           which has to be installed for it

Every run is a process of its own. Time is CPU-seconds of all its threads, without making or loading points;
`mse` is the mean squared distance of all points to the nearest centroid, by one exact search; memory is the
peak over what the process held before. The best library call is the cheapest whose mse is at most 0.5 % above
ours. The last line is JSON.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from distgan.anonymity import cluster_sizes, clustering, faiss_backend
from distgan.anonymity.clustering import KMeans

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ROWS_AT_ONCE = 65_536
PARTS, INNER = 2000, 24  # of the mixture that the points are drawn from
TOLERANCE = 1.005
PASSES = 2  # of ours over all points, after its start on a sample
OURS = "distgan"


def make_points(path: Path, rows: int, dim: int) -> None:
    """A mixture of 2000 normals in 24 dimensions, turned into `dim`, with noise: [rows, dim] float32."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((PARTS, INNER), dtype=np.float32)
    turn = rng.standard_normal((INNER, dim), dtype=np.float32) / np.float32(INNER**0.5)
    with open(path, "wb") as file:
        for first in range(0, rows, ROWS_AT_ONCE):
            n = min(ROWS_AT_ONCE, rows - first)
            inner = centres[rng.integers(PARTS, size=n)] + rng.standard_normal((n, INNER), dtype=np.float32)
            (inner @ turn + np.float32(0.3) * rng.standard_normal((n, dim), dtype=np.float32)).tofile(file)


def load_points(path: Path, dim: int) -> np.ndarray:
    return np.fromfile(path, np.float32).reshape(-1, dim)


def from_disk(path: Path, dim: int) -> Callable[[], Iterator[np.ndarray]]:
    """Blocks read anew at each pass; nothing stays in memory."""

    def blocks() -> Iterator[np.ndarray]:
        with open(path, "rb") as file:
            while len(block := np.fromfile(file, np.float32, ROWS_AT_ONCE * dim)):
                yield block.reshape(-1, dim)

    return blocks


# ------------------------------------------------------------------------------------------------ the methods


def ours(points: np.ndarray, k: int, seed: int) -> np.ndarray:

    spans = range(0, len(points), ROWS_AT_ONCE)
    found = clustering.run_kmeans(
        lambda: (points[first : first + ROWS_AT_ONCE] for first in spans),
        k,
        search=KMeans(iterations=PASSES, restarts=1, seed=seed, device="cpu"),
    )
    return found.centroids


def faiss_kmeans(iterations: int, per_centroid: int) -> Callable[[np.ndarray, int, int], np.ndarray]:
    def run(points: np.ndarray, k: int, seed: int) -> np.ndarray:
        import faiss

        kmeans = faiss.Kmeans(
            points.shape[1],
            k,
            niter=iterations,
            seed=seed,
            max_points_per_centroid=per_centroid,
            min_points_per_centroid=1,
        )
        kmeans.train(points)
        return kmeans.centroids

    return run


def minibatch(passes: int) -> Callable[[np.ndarray, int, int], np.ndarray]:
    """Random start: its cheapest use; its k-means++ start alone costs minutes."""

    def run(points: np.ndarray, k: int, seed: int) -> np.ndarray:
        from sklearn.cluster import MiniBatchKMeans

        settings: dict[str, Any] = {"batch_size": 4096, "n_init": 1, "max_no_improvement": None}
        found = MiniBatchKMeans(
            k, init="random", max_iter=passes, compute_labels=False, random_state=seed, **settings
        )
        return found.fit(points).cluster_centers_.astype(np.float32)

    return run


def lloyd(points: np.ndarray, k: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    found = KMeans(k, init="random", n_init=1, max_iter=10, tol=0, random_state=seed)
    return found.fit(points).cluster_centers_.astype(np.float32)


ALL = 10**9
AS_IT_COMES = ", as it comes"  # with the kernels that faiss finds by itself; all others with the right ones
METHODS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    OURS: ours,
    "faiss 10 iterations": faiss_kmeans(10, ALL),
    "faiss 10 iterations" + AS_IT_COMES: faiss_kmeans(10, ALL),
    "faiss 7 iterations": faiss_kmeans(7, ALL),
    "faiss 5 iterations": faiss_kmeans(5, ALL),
    "faiss 10, 128 points/centroid": faiss_kmeans(10, 128),
    "faiss 10, 64 points/centroid": faiss_kmeans(10, 64),
    "sklearn MiniBatchKMeans 2 passes": minibatch(2),
    "sklearn MiniBatchKMeans 4 passes": minibatch(4),
    "sklearn KMeans 10 iterations": lloyd,
}
ONCE = ("sklearn KMeans 10 iterations", "faiss 10 iterations" + AS_IT_COMES)  # too slow for every seed


# --------------------------------------------------------------------------------------- one run, one process


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def mean_square(points: np.ndarray, centroids: np.ndarray) -> float:
    import faiss

    index = faiss.IndexFlatL2(points.shape[1])
    index.add(np.ascontiguousarray(centroids))
    return float(index.search(points, 1)[0].mean(dtype=float))


def measure(method: str, path: Path, dim: int, k: int, seed: int) -> dict[str, float]:
    import sklearn.cluster  # noqa: F401 (so that imports are not timed)

    with nullcontext() if method.endswith(AS_IT_COMES) else faiss_backend.use_right_kernels():
        import faiss
    faiss.omp_get_max_threads()
    points = load_points(path, dim)
    before, began, clock = peak_mib(), time.process_time(), time.perf_counter()
    centroids = METHODS[method](points, k, seed)
    spent = {"cpu_s": time.process_time() - began, "wall_s": time.perf_counter() - clock}
    memory = peak_mib() - before
    return spent | {"memory_mib": memory, "mse": mean_square(points, centroids)}


def sgemm() -> dict[str, float]:
    """The machine's float32 matrix product: GFLOP per CPU-second, the best of five."""
    a, b = np.random.default_rng(0).standard_normal((2, 2048, 2048), dtype=np.float32)
    a @ b
    best = 0.0
    for _ in range(5):
        began = time.process_time()
        a @ b
        best = max(best, 2 * 2048**3 / 1e9 / (time.process_time() - began))
    return {"gflops": best}


def stream(path: Path, dim: int, k: int) -> dict[str, float]:
    """Ours on points that are read from disk at every pass; the peak is of the whole process."""

    began, clock = time.process_time(), time.perf_counter()
    found = clustering.run_kmeans(
        from_disk(path, dim), k, search=KMeans(iterations=2, restarts=1, seed=0, device="cpu")
    )
    spent = {"cpu_s": time.process_time() - began, "wall_s": time.perf_counter() - clock}
    rows = int(found.sizes.sum())
    return spent | {"peak_mib": peak_mib(), "mse": found.inertia / rows, "rows": rows}


def grouped(method: str, path: Path, dim: int, k: int, minimum_size: int) -> dict[str, float]:
    """Groups of at least `minimum_size` points: ours, or k-means-constrained (a minimum-cost flow)."""
    points = load_points(path, dim)
    if method == OURS:
        pass
    else:
        from k_means_constrained import KMeansConstrained
    before, began = peak_mib(), time.process_time()
    if method == OURS:
        found = clustering.run_kmeans(
            lambda: iter([points]), k, search=KMeans(iterations=25, restarts=1, seed=0)
        )
        labels = cluster_sizes.dissolve_small_clusters(
            points, found, np.arange(len(points)), minimum_size
        ).assignment
    else:
        labels = KMeansConstrained(
            k, size_min=minimum_size, n_init=1, max_iter=5, random_state=0
        ).fit_predict(points)
    spent = time.process_time() - began
    sizes = np.bincount(labels)
    means = np.stack([np.bincount(labels, weights=column) / sizes for column in points.T], axis=1)
    within = float(((points - means[labels]) ** 2).sum() / ((points - points.mean(0)) ** 2).sum())
    return {
        "cpu_s": spent,
        "memory_mib": peak_mib() - before,
        "loss": within,
        "groups": len(sizes),
        "smallest": int(sizes.min()),
    }


def child(*arguments: object) -> dict[str, Any]:
    """Run `--child …` in a fresh process; what it prints last."""
    command = [sys.executable, __file__, "--child", json.dumps([str(a) for a in arguments])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def as_child(arguments: list[str]) -> dict[str, Any]:
    kind, *rest = arguments
    if kind == "sgemm":
        return sgemm()
    path, dim, k = Path(rest[0]), int(rest[1]), int(rest[2])
    if kind == "stream":
        return stream(path, dim, k)
    if kind == "grouped":
        return grouped(rest[3], path, dim, k, int(rest[4]))
    return measure(rest[3], path, dim, k, int(rest[4]))


# ------------------------------------------------------------------------------------------------ the reports


def compare(rows: int, dim: int, k: int, seeds: int, methods: list[str], place: Path) -> dict[str, Any]:
    points = place / "points.f32"
    make_points(points, rows, dim)
    peak = child("sgemm")["gflops"]
    print(f"{rows:,} x {dim}, k = {k}; sgemm {peak:.0f} GFLOP per CPU-second\n", flush=True)
    print("| method | seed | CPU-s | wall s | mse | memory MiB |\n|---|---:|---:|---:|---:|---:|", flush=True)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for seed in range(seeds):  # all methods of a seed one after the other: A B C A B C
        for name in methods:
            if name in ONCE and seed:
                continue
            found = child("measure", points, dim, k, name, seed)
            if "error" in found:
                print(f"| {name} | {seed} | failed: {found['error']} |", flush=True)
                continue
            runs[name].append(found)
            print(
                f"| {name} | {seed} | {found['cpu_s']:.1f} | {found['wall_s']:.1f} | {found['mse']:.4f} | "
                f"{found['memory_mib']:.0f} |",
                flush=True,
            )
    return summary(rows, dim, k, peak, {name: found for name, found in runs.items() if found})


def median(runs: list[dict[str, float]], what: str) -> float:
    return statistics.median(run[what] for run in runs)


def summary(
    rows: int, dim: int, k: int, peak: float, runs: dict[str, list[dict[str, float]]]
) -> dict[str, Any]:

    if OURS not in runs:
        return {"benchmark": "clustering", "rows": rows, "dim": dim, "k": k, "runs": runs}
    cost = {name: median(found, "cpu_s") for name, found in runs.items()}
    mse = {name: median(found, "mse") for name, found in runs.items()}
    reaching = {n: cost[n] for n in runs if n != OURS and mse[n] <= TOLERANCE * mse[OURS]}
    best = min(reaching, key=reaching.__getitem__, default=None)
    batch = min(rows, max(clustering.BATCH_POINTS * k, clustering.SMALLEST_BATCH))
    sample = min(rows, max(clustering.POINTS_PER_CENTROID * k, clustering.SMALLEST_SAMPLE))
    looked = batch * clustering.BATCH_ITERATIONS + sample - batch + PASSES * rows
    products = 2 * dim * k * (looked + clustering.SEEDING_POINTS_PER_CENTROID * k) / 1e9
    reference = "faiss 10 iterations"
    return {
        "benchmark": "clustering",
        "rows": rows,
        "dim": dim,
        "k": k,
        "seeds": max(len(found) for found in runs.values()),
        "machine": f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}",
        "cpu_seconds": {name: round(value, 1) for name, value in cost.items()},
        "mse": {name: round(value, 4) for name, value in mse.items()},
        "memory_mib": {name: round(median(found, "memory_mib")) for name, found in runs.items()},
        "best_library_call": best,
        "speed_vs_best": round(cost[best] / cost[OURS], 2) if best else None,
        "speed_vs_faiss10": round(cost[reference] / cost[OURS], 2) if reference in cost else None,
        "sgemm_gflops_per_cpu_s": round(peak, 1),
        "sgemm_share": round(products / cost[OURS] / peak, 2),
    }


def disk(rows: int, dim: int, k: int, place: Path) -> dict[str, Any]:
    points = place / "points.f32"
    make_points(points, rows, dim)
    found = child("stream", points, dim, k)
    print(f"{rows:,} x {dim} from disk, k = {k}: {found}", flush=True)
    return {"benchmark": "clustering from disk", "dim": dim, "k": k} | found


def groups(sizes: list[int], place: Path) -> dict[str, Any]:
    points, found = place / "points.f32", {}
    print("| rows | method | CPU-s | memory MiB | within / total | groups | smallest |")
    print("|---:|---|---:|---:|---:|---:|---:|", flush=True)
    for rows in sizes:
        make_points(points, rows, 8)
        for name in (OURS, "k-means-constrained"):
            row = found[f"{name} {rows}"] = child("grouped", points, 8, rows // 50, name, 41)
            if "error" in row:
                print(f"| {rows} | {name} | failed: {row['error']} |", flush=True)
                continue
            print(
                f"| {rows} | {name} | {row['cpu_s']:.1f} | {row['memory_mib']:.0f} | {row['loss']:.4f} | "
                f"{row['groups']} | {row['smallest']} |",
                flush=True,
            )
    return {"benchmark": "groups of at least 41", "runs": found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--k", type=int, default=4096)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="NAME")
    parser.add_argument("--smoke", action="store_true", help="tiny, in seconds")
    parser.add_argument("--disk", action="store_true", help="10 M rows unless --rows is given, k 1000")
    parser.add_argument("--groups", nargs="*", type=int, help="numbers of rows (2000 5000 by default)")
    parser.add_argument("--place", type=Path, help="where points are kept for the time of the run")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(as_child(json.loads(given.child))))
        return
    with tempfile.TemporaryDirectory(dir=given.place) as place:
        if given.groups is not None:
            last = groups(given.groups or [2000, 5000], Path(place))
        elif given.disk:
            last = disk(10_000_000 if given.rows == 1_000_000 else given.rows, given.dim, 1000, Path(place))
        elif given.smoke:
            last = compare(20_000, 16, 300, 1, given.methods, Path(place))
        else:
            last = compare(given.rows, given.dim, given.k, given.seeds, given.methods, Path(place))
    print(json.dumps(last))


if __name__ == "__main__":
    main()
