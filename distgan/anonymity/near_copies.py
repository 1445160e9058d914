"""Find near copies of one series under several owners' names, who are then one person.

Two series are near copies if, after a shift in time, a change of sign or direction, a scale and an offset,
half of one or more is that of the other up to noise of a few percent. Values far outside of a series' range
(sentinels) count as missing. Three steps keep this affordable:

1. *Candidates.* Windows around local extrema, brought to one sign and direction, standardised and shortened
   to a few numbers, meet windows of other owners in a nearest-neighbour search; pairs of series that meet
   several times at one lag are candidates. So are series whose amplitude spectra are alike, which no
   circular shift, no scale and no reversal changes. Windows wait in a temporary file; of more than
   `MOST_WINDOWS` each series has fewer.
2. *Fit.* Of each candidate, blocks of time are fitted by least trimmed squares: the best half decides. The
   residual must be a few percent, or a bit more where it is white, as noise of a measurement is; what two
   neighbours do differently goes on for several steps.
3. *Information.* What a series has in common with the population (its first principal components, the
   rhythm of day and week) identifies nobody: the residual must be small against the series' *own* part, and
   that part must have enough degrees of freedom that chance does not explain the likeness among all pairs and
   lags. Flat, sparse or purely periodic series are therefore no copies of one another. And the likeness must
   not hang on a few striking steps or on constant runs: what happened to a whole town (an outage, a spike
   after a change of meters) makes nobody the same person.

Shapes: n series, L steps, C channels, P pairs, B blocks of time. NaN where missing.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from distgan.anonymity import faiss_backend
from distgan.anonymity.copy_candidates import find_by_spectra, find_by_windows
from distgan.anonymity.copy_match import CommonShapes, confirm_copies
from distgan.anonymity.copy_pairs import (
    LEAST_DEGREES,
    Array,
    Candidates,
    Population,
    compute_changes,
    count_time_degrees,
    split_chunks,
)
from distgan.data import workers
from distgan.memory import trim_heap
from distgan.progress import Progress

MOST_THREADS = 8  # each holds about 0.1 GiB


def find_near_copies(population: Population) -> Array:
    """Return the pairs of rows of different owners that are near copies: int64 [P, 2], first < second."""
    if len(np.unique(population.owners)) < 2:
        return np.empty((0, 2), np.int64)
    trim_heap()  # of what reading a table has freed
    equal = find_equal_pairs(population)
    population = population.without_outliers()
    candidates = Candidates.join([find_by_windows(population), find_by_spectra(population)], population)
    common = CommonShapes.fit(population)
    pairs = np.concatenate([equal, *confirm_in_threads(population, common, candidates)])
    trim_heap()
    return np.unique(np.sort(pairs, axis=1), axis=0)


def confirm_in_threads(
    population: Population, common: CommonShapes, candidates: Candidates
) -> Iterator[Array]:
    """Yield the candidates that are near copies, [P, 2] rows: series are read here, and fitted in as many
    threads as faiss uses, at most `MOST_THREADS`, each of which holds a chunk.
    """

    def read(part: Candidates) -> tuple[Candidates, tuple[Array, Array]]:
        return part, population.read_pairs(part.first, part.second)

    def fit(chunk: tuple[Candidates, tuple[Array, Array]]) -> tuple[int, Array]:
        part, values = chunk
        chosen = confirm_copies(population, common, part, values)
        return len(part.first), np.stack([part.first, part.second], axis=1)[chosen]

    threads = min(MOST_THREADS, faiss_backend.count_threads())
    chunks = map(read, split_chunks(candidates, population))
    with (
        workers.open_threads(threads) as pool,
        Progress("near copies", len(candidates.first), "pairs") as progress,
    ):
        for number, near in workers.map_ahead(pool, fit, chunks, ahead=threads):
            progress.advance(number)
            yield near


def merge_owners(owners: Sequence[str], pairs: Array) -> list[str]:
    """Give the owners of near copies one name, the first in the alphabet: [n] names, [P, 2] rows -> [n].

    Everybody else keeps their name, so a split by a keyed hash of the name moves nobody else.
    """
    names, codes = np.unique(np.asarray(owners, dtype=str), return_inverse=True)
    edges = codes[np.asarray(pairs, np.int64).reshape(-1, 2)]
    from scipy.sparse import coo_matrix  # slow to import, and most stages look for no copies
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(names), len(names)))
    component = connected_components(graph, directed=False)[1]
    first = np.full(component.max() + 1, len(names))
    np.minimum.at(first, component, np.arange(len(names)))
    return [str(name) for name in names[first[component[codes]]]]


def find_equal_pairs(population: Population) -> Array:
    """Return pairs of series that agree bit by bit, each with the next: int64 [P, 2]; informative ones
    alone.
    """
    seen: dict[int, int] = {}
    found = []
    for first, values in population.iterate_blocks():
        informative = np.flatnonzero(count_time_degrees(compute_changes(values)).max(axis=1) >= LEAST_DEGREES)
        for place in informative.tolist():
            row, key = first + place, hash(values[place].tobytes())
            if key in seen and population.owners[seen[key]] != population.owners[row]:
                found.append((seen[key], row))
            seen[key] = row
    return np.array(found, np.int64).reshape(-1, 2)
