"""The number of clusters, by silhouette or elbow."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import silhouette_score

from distgan.anonymity.clustering import KMeans, run_kmeans
from distgan.anonymity.faiss_backend import find_nearest_centroid
from distgan.anonymity.sampling import Blocks, Reduce, sample_points
from distgan.progress import Progress

SILHOUETTE_POINTS = 2000  # of which all distances are taken
MOST_TRIES = 12  # numbers of clusters


@dataclass(frozen=True)
class Choice:
    """The results of each k that was tried, and the k chosen."""

    counts: np.ndarray  # [m] int64, rising
    inertia: np.ndarray  # [m] over all points
    silhouette: np.ndarray  # [m] mean over a sample, -1 .. 1
    criterion: str
    count: int


def choose_count(
    blocks: Blocks,
    among: tuple[int, int],
    criterion: str,
    *,
    search: KMeans,
    reduce: Reduce,
    shown: bool = True,
) -> Choice:
    """Choose k between the two numbers `among`, by about a dozen tries spaced evenly in their logarithm.

    "silhouette": the k with the highest mean silhouette (Rousseeuw 1987): how much nearer a point is to its
    own cluster than to the next one, (b - a) / max(a, b). It has an optimum inside the range and does not
    move when the range does, which the elbow cannot say: hence the default.
    "elbow": where the inertia bends most over log k, i.e. lies farthest below the straight line between the
    ends (Satopää et al. 2011, Kneedle). What a notebook's eye does; it depends on the range.

    Silhouettes are those of a sample of the points, the same on any number of processes.

    Args:
        shown: whether this process shows progress.

    Raises:
        UserError: as `run_kmeans`.
    """
    counts = list_candidates(*among)
    sample = sample_points(blocks, SILHOUETTE_POINTS, search.seed, search.spherical, reduce)
    inertia, silhouette = np.zeros(len(counts)), np.zeros(len(counts))
    with Progress("cluster: numbers of clusters", len(counts), "tries", shown) as progress:
        for number, k in enumerate(counts):
            found = run_kmeans(blocks, int(k), search=search, reduce=reduce)
            inertia[number] = found.inertia
            silhouette[number] = compute_silhouette(sample, found.centroids)
            progress.advance()
    best = int(np.argmax(silhouette)) if criterion == "silhouette" else find_elbow(counts, inertia)
    return Choice(counts, inertia, silhouette, criterion, int(counts[best]))


def list_candidates(lowest: int, highest: int) -> np.ndarray:
    """Return at most `MOST_TRIES` whole numbers from `lowest` to `highest`, evenly in their logarithm."""
    return np.unique(np.rint(np.geomspace(lowest, highest, MOST_TRIES)).astype(np.int64))


def find_elbow(counts: np.ndarray, inertia: np.ndarray) -> int:
    """Return the position of the point farthest below the line between the ends of inertia over log k."""
    across = np.log(counts / counts[0]) / np.log(counts[-1] / counts[0])
    fall = inertia[0] - inertia[-1]
    up = (inertia - inertia[-1]) / fall if fall > 0 else np.zeros(len(counts))
    return int(np.argmax(1 - across - up))


def compute_silhouette(sample: np.ndarray, centroids: np.ndarray) -> float:
    """Return the mean silhouette of a sample [m, d] under the nearest of the centroids; 0 for a single
    cluster.
    """
    labels = find_nearest_centroid(sample, centroids)
    held = len(np.unique(labels))
    return float(silhouette_score(sample, labels)) if 1 < held < len(sample) else 0.0
