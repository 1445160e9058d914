"""Series to compare, and pairs of them that may be copies."""

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from distgan.files import writing_temporary

Array = np.ndarray
Read = Callable[[Array], Array]  # rows [n] -> float32 [n, L, C]

MAX_RESIDUAL = 0.02  # 1 - r² of the matched half: noise of a tenth of the deviations in both, say
MAX_WHITE_RESIDUAL = 0.15  # where the residual is white, as noise of the measurement is
MAX_OWN_RESIDUAL = 0.25  # of the variance of the series' own part
LEAST_DEGREES = 6.0  # of freedom of the own part
CHANCE = 0.01  # expected number of chance pairs in the whole set, at most
HOPELESS = 0.5  # residual after one step of a fit, above which the fit is given up
EQUAL = 1e-6  # smallest residual that float32 resolves
MATCHED = 0.5  # of the series, at least
FAR_OUT = ((0.25, 50.0), (0.05, 20.0), (0.01, 10.0))  # quantile on either side, so many of their distances
STRIKING = 0.2  # of the matched steps: those farthest out, without which a likeness must still show
MAX_ELSEWHERE = 0.75  # residual in the others, of the variance of the series' own parts there
LEAST_STEPS = 16  # of those others

WINDOW_POINTS, WINDOW_NUMBERS = 64, 32  # a window is resampled to so many points, kept as so many DCT numbers
MOST_ANCHORS = 32  # of a series and channel
MOST_WINDOWS = 16_000_000  # of all series and channels together: 2 GB of a temporary file
LIKENESS = 0.2  # squared distance over squared length of two windows that are taken for alike
NEIGHBOURS = 8
SPECTRUM_BINS, SPECTRUM_NUMBERS = 512, 64
PAIRS_AT_LEAST = 2_000  # of few series, all pairs are candidates
CANDIDATES, FEW_CANDIDATES = 8, 2  # of a series by its windows; few where anchors are fewer than the most
MEETINGS, ANCHORS_PER_MEETING = 3, 8  # windows that a candidate shares at least, fewer where anchors are few
CLOSENESS = 0.7  # of fewer windows, on average; of 8 pairs that meet in two of 16, 7 do so by chance
HALF_CORRELATION, WHOLE_CORRELATION = 0.3, 0.8  # of the whole series, that a copy of half or of all has

MOST_BLOCKS, LEAST_BLOCK = 64, 4  # blocks of time, and steps of one
VALUES_AT_ONCE = 4_000_000
SCRATCH_BYTES = 2**26  # of an array from which on it is kept in a file
NET_VALUES, MOST_NET = 16_000_000, 512  # of the sample that tells what is common
COMPONENTS, PER_COMPONENT = 16, 8


@dataclass(frozen=True)
class Population:
    """The series to compare: `read` returns rows, `owners` [n] int64 are their owners."""

    read: Read
    owners: Array
    length: int
    channels: int
    steps_per_day: float
    seed: int = 0

    @property
    def size(self) -> int:
        return len(self.owners)

    def iterate_blocks(self, values: int = VALUES_AT_ONCE) -> Iterator[tuple[int, Array]]:
        """Yield all series in order, (first row, [m, L, C])."""
        rows = max(1, values // (self.length * self.channels))
        for first in range(0, self.size, rows):
            yield first, self.read(np.arange(first, min(first + rows, self.size)))

    def read_pairs(self, first: Array, second: Array) -> tuple[Array, Array]:
        """Return the series of pairs, [P, L, C] twice: each is read once, in rising order."""
        rows, places = number_once(first, second)
        values = self.read(rows)
        return values[places[0]], values[places[1]]

    def without_outliers(self) -> "Population":
        """Return the population with values far outside of each series' range as missing.

        Sentinels such as -9999 and the spikes of a new meter stand at the same times in many series, and
        would outweigh everything that is a person's own.
        """
        bounds = [compute_far_bounds(values) for _, values in self.iterate_blocks()]
        low, high = (np.concatenate(part) for part in zip(*bounds))

        def read(rows: Array) -> Array:
            values = self.read(rows)
            outside = (values < low[rows][:, None]) | (values > high[rows][:, None])
            return np.where(outside, np.float32(np.nan), values)

        return replace(self, read=read)


@dataclass(frozen=True)
class Candidates:
    """Pairs of rows with the lag at which they may match: second[t] ~ first[t - lag], circularly."""

    first: Array  # [P] int64
    second: Array  # [P]
    lag: Array  # [P] steps
    reverse: Array  # [P] bool: the second is reversed in time before the shift

    @staticmethod
    def join(parts: "Sequence[Candidates]", population: Population) -> "Candidates":
        """Return all distinct candidates, in order; each is one number meanwhile, for memory's sake."""
        size, length = population.size, population.length
        keys = [
            ((part.first * size + part.second) * length + part.lag % length) * 2 + part.reverse
            for part in parts
        ]
        unique, reverse = np.divmod(np.unique(np.concatenate([*keys, np.empty(0, np.int64)])), 2)
        pairs, lag = np.divmod(unique, length)
        return Candidates(*np.divmod(pairs, size), lag, reverse.astype(bool))


def make_scratch(shape: tuple[int, ...]) -> Array:
    """Return an array of float32; a large one in a temporary file without a name, which ends with it.

    Raises:
        UserError, DiskFull: the folder of temporary files (TMPDIR) cannot be written, or has no room for it.
    """
    size = 4 * math.prod(shape)
    if size < SCRATCH_BYTES:
        return np.empty(shape, np.float32)
    with writing_temporary(), tempfile.TemporaryFile() as file:
        if hasattr(os, "posix_fallocate"):  # a mapped file would end the process where the disk is full
            os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, np.float32, "r+", shape=shape)


class Spill:
    """Numbers of one kind that are appended to a temporary file without a name, then read as one array.

    Raises:
        UserError, DiskFull: the folder of temporary files (TMPDIR) cannot be written, or has no room.
    """

    def __init__(self, kind: type) -> None:
        self.kind, self.size = kind, 0
        with writing_temporary():
            self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  it ends with the object

    def append(self, values: Array) -> None:
        left = memoryview(np.asarray(values, self.kind).tobytes())
        with writing_temporary():
            while left:  # a disk that fills up takes a part
                left = left[self.file.write(left) :]
        self.size += len(values)

    def read(self) -> Array:
        if not self.size:
            return np.empty(0, self.kind)
        return np.memmap(self.file, self.kind, "r", shape=(self.size,))


def compute_far_bounds(values: Array) -> tuple[Array, Array]:
    """Return bounds beyond which a value is no reading: [n, L, C] -> [n, C] twice.

    They stand off the quartiles by `FAR_OUT` of their distance, or off farther quantiles where those
    coincide; a series of almost one value has none.
    """
    ordered = np.sort(values, axis=1)  # missing ones last
    known = (~np.isnan(ordered)).sum(axis=1, keepdims=True)
    low, high = (np.full(values.shape[::2], end, np.float32) for end in (-np.inf, np.inf))
    for part, width in reversed(FAR_OUT):
        places = [(share * np.maximum(known - 1, 0)).astype(np.int64) for share in (part, 1 - part)]
        first, last = (np.take_along_axis(ordered, place, axis=1)[:, 0] for place in places)
        wide = last > first  # not where nothing was measured
        low = np.where(wide, first - width * (last - first), low)
        high = np.where(wide, last + width * (last - first), high)
    return low, high


def compute_changes(values: Array) -> Array:
    """Return changes from one value to the next, 0 where one is missing: [n, L, C] -> [n, L - 1, C]."""
    return np.nan_to_num(np.diff(values, axis=1))


def count_time_degrees(values: Array) -> Array:
    """Return how many steps carry the energy, (Σx²)² / Σx⁴: [n, L, C] -> [n, C]."""
    squares = np.square(values, dtype=np.float64)
    return np.square(squares.sum(axis=1)) / np.maximum(np.square(squares).sum(axis=1), 1e-300)


def number_once(first: Array, second: Array) -> tuple[Array, Array]:
    """Return the different rows of pairs, ascending [n], and where both of each pair stand there: [2, P]."""
    rows, places = np.unique(np.stack([first, second]), return_inverse=True)
    return rows, places.reshape(2, -1)


def fill_forward(values: Array) -> Array:
    """Fill gaps of [n, L] with the last measured value, or the first one before that; 0 for an empty row."""
    filled, missing = np.nan_to_num(values), np.isnan(values)
    rows = np.flatnonzero(missing.any(axis=1))
    if len(rows):  # most series are whole
        measured = ~missing[rows]
        latest = np.maximum.accumulate(np.where(measured, np.arange(values.shape[1]), -1), axis=1)
        start = np.argmax(measured, axis=1)[:, None]
        places = np.where(latest < 0, start, latest)
        filled[rows] = np.nan_to_num(np.take_along_axis(values[rows], places, axis=1))
    return filled


def normalise(values: Array) -> Array:
    """Fill gaps, and scale to mean 0 and length 1 in every channel: [n, L, C]."""
    filled = np.stack([fill_forward(values[..., c]) for c in range(values.shape[2])], axis=2)
    filled = filled - filled.mean(axis=1, keepdims=True)
    return filled / np.maximum(np.sqrt(np.square(filled).sum(axis=1, keepdims=True)), 1e-12)


def choose_chunk_size(population: Population) -> int:
    """Return how many pairs of series are compared at a time."""
    return max(1, VALUES_AT_ONCE // (4 * population.length * population.channels))


def split_chunks(candidates: Candidates, population: Population) -> Iterator[Candidates]:
    step = choose_chunk_size(population)
    for at in range(0, len(candidates.first), step):
        part = slice(at, at + step)
        yield Candidates(
            candidates.first[part], candidates.second[part], candidates.lag[part], candidates.reverse[part]
        )
