"""Pairs of series that may be near copies: shared windows at one lag, and spectra."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from scipy import fft
from scipy.ndimage import maximum_filter1d

from distgan.anonymity import faiss_backend
from distgan.anonymity.copy_pairs import (
    ANCHORS_PER_MEETING,
    CANDIDATES,
    CLOSENESS,
    FEW_CANDIDATES,
    HALF_CORRELATION,
    LIKENESS,
    MEETINGS,
    MOST_ANCHORS,
    MOST_WINDOWS,
    NEIGHBOURS,
    PAIRS_AT_LEAST,
    SPECTRUM_BINS,
    SPECTRUM_NUMBERS,
    WHOLE_CORRELATION,
    WINDOW_NUMBERS,
    WINDOW_POINTS,
    Array,
    Candidates,
    Population,
    Spill,
    choose_chunk_size,
    fill_forward,
    make_scratch,
    normalise,
    number_once,
)
from distgan.memory import scale_buffer, trim_heap
from distgan.progress import Progress
from distgan.rng import make_keyed_generator

KEYS_AT_ONCE = 2_000_000  # meetings that are counted at a time
SPECTRA_AT_ONCE = 65_536  # series whose mean spectrum is taken away at a time
SAMPLED_KEYS = 100_000  # by which they are divided
FLAT = 1e-5  # of the largest value: windows that deviate less are flat up to rounding


def find_by_windows(population: Population) -> Candidates:
    """Find candidates that share windows around local extrema at one lag, in one direction of time."""
    size, length = population.size, population.length
    assert size**2 * 4 * length < 2**63, f"the pairs of {size:,} series of {length:,} steps have no number"
    radius = max(4, length // 128)
    most = int(np.clip(MOST_WINDOWS // (size * population.channels), 4, MOST_ANCHORS))
    meetings = Meetings()
    for channel in range(population.channels):
        windows = describe_windows(population, channel, radius, most)
        if len(windows.rows) < 2:
            continue
        meet_windows(windows, population, meetings)
        del windows
        trim_heap()  # of the index' lists, which grew piece by piece
    least = min(MEETINGS, max(1, most // ANCHORS_PER_MEETING))
    kept = CANDIDATES if most == MOST_ANCHORS else FEW_CANDIDATES
    return find_most_met(meetings, population, radius, least, kept)


class Meetings:
    """Like windows of two owners, in files.

    Attributes:
        keys: pair, direction and lag (raised by the length in the same direction) as one number: int64.
        closeness: of the windows, 1 for equal ones and 0 at the limit: float32.
    """

    def __init__(self) -> None:
        self.keys, self.closeness = Spill(np.int64), Spill(np.float32)

    def iterate_parts(self, population: Population) -> Iterator[tuple[Array, Array]]:
        """Yield keys and closeness of the first pairs, of the next, and so on: about `KEYS_AT_ONCE` each,
        however unevenly series meet others (what is alike in all of them meets the same few).
        """
        keys, closeness = self.keys.read(), self.closeness.read()
        step = max(1, scale_buffer(KEYS_AT_ONCE))
        for first, last in self._divide_pairs(keys, 4 * population.length, step):
            found = [(keys[:0], closeness[:0])]
            for at in range(0, len(keys), step):
                chosen = (first <= keys[at : at + step]) & (keys[at : at + step] < last)
                found.append((keys[at : at + step][chosen], closeness[at : at + step][chosen]))
            some_keys, some_closeness = zip(*found)
            yield np.concatenate(some_keys), np.concatenate(some_closeness)

    @staticmethod
    def _divide_pairs(keys: Array, width: int, step: int) -> Iterator[tuple[int, int]]:
        """Yield ranges [first, last) that hold about `step` keys each, and all `width` keys of a pair or
        none.
        """
        drawn = np.sort(keys[:: max(1, len(keys) // SAMPLED_KEYS)]) // width * width
        parts = -(-len(keys) // step)
        inner = drawn[np.arange(1, parts) * len(drawn) // max(1, parts)]
        bounds = [0, *np.unique(inner[inner > 0]).tolist(), np.iinfo(np.int64).max]
        yield from pairwise(bounds)


def meet_windows(windows: "Windows", population: Population, meetings: Meetings) -> None:
    """Add the meetings of like windows of two owners."""
    size, length = population.size, population.length
    rows, times, numbers = windows.rows, windows.times, windows.numbers
    with Progress("near copies", len(rows), "windows") as progress:
        for span, distances, places in faiss_backend.iterate_neighbours(numbers, NEIGHBOURS, population.seed):
            own = numbers[span]
            limits = LIKENESS * np.einsum("nd,nd->n", own, own)[:, None]
            alike = (distances <= limits) & (places >= 0)
            closeness = (1 - distances / np.maximum(limits, 1e-30))[alike]
            here, there = span[np.nonzero(alike)[0]], places[alike]
            apart = population.owners[rows[here]] != population.owners[rows[there]]
            here, there, closeness = here[apart], there[apart], closeness[apart]
            swap = rows[here] > rows[there]
            here, there = np.where(swap, there, here), np.where(swap, here, there)
            reverse = windows.reverse[here] != windows.reverse[there]
            lag = times[there] + np.where(reverse, times[here], length - times[here])
            pairs = rows[here].astype(np.int64) * size + rows[there]
            meetings.keys.append((pairs * 2 + reverse) * 2 * length + lag)
            meetings.closeness.append(closeness)
            progress.advance(len(span))


def find_most_met(
    meetings: Meetings, population: Population, radius: int, least: int, kept: int
) -> Candidates:
    """Return for each series the `kept` pairs and lags whose windows met at least `least` times and are most
    alike, summed over the meetings.

    Noise moves an extremum by a step or two, so lags within a quarter of the window's radius count together.
    """
    size, length = population.size, population.length
    found, fresh = list[Met](), 0
    for keys, closeness in meetings.iterate_parts(population):
        found.append(_count_meetings(keys, closeness, length, radius, least))
        fresh += len(found[-1].pairs)
        if fresh > max(scale_buffer(KEYS_AT_ONCE), len(found[0].pairs)):
            found, fresh = [Met.join(found).keep_most_alike(size, kept)], 0
    most = Met.join(found).keep_most_alike(size, kept)
    return Candidates(*np.divmod(most.pairs, size), most.lags.astype(np.int64), most.reverse)


@dataclass(frozen=True)
class Met:
    """Pairs, each with a direction and lag at which windows met often enough, by ascending pair."""

    pairs: Array  # [P] int64: first · size + second
    reverse: Array  # [P] bool
    lags: Array  # [P] int32
    closeness: Array  # [P] summed over the meetings

    @staticmethod
    def join(parts: "list[Met]") -> "Met":
        """Return all, in order."""
        columns = ([getattr(part, field.name) for part in parts] for field in fields(Met))
        return Met(*map(np.concatenate, columns))

    def keep_most_alike(self, size: int, kept: int) -> "Met":
        """Return those that are among the `kept` most alike ones of the first or of the second series."""
        keep = np.zeros(len(self.pairs), bool)
        for side in np.divmod(self.pairs, size):
            order = np.lexsort((-self.closeness, side))
            rank = np.arange(len(order)) - np.searchsorted(side[order], side[order])
            keep[order[rank < kept]] = True
        return Met(self.pairs[keep], self.reverse[keep], self.lags[keep], self.closeness[keep])


def _count_meetings(keys: Array, closeness: Array, length: int, radius: int, least: int) -> Met:
    """Return what met `MEETINGS` times, or `least` times with windows as close as those of copies are."""
    pairs, lag = np.divmod(keys, 2 * length)
    coarse, index, counts = np.unique(
        pairs * 2 * length + lag // max(1, radius // 4), return_inverse=True, return_counts=True
    )
    pairs, reverse = np.divmod(coarse // (2 * length), 2)
    means = np.rint(np.bincount(index, lag, len(coarse)) / np.maximum(counts, 1))
    lags = (means - np.where(reverse, 0, length)).astype(np.int32)
    summed = np.bincount(index, closeness, len(coarse))
    enough = (counts >= MEETINGS) | ((counts >= least) & (summed >= CLOSENESS * least))
    return Met(pairs[enough], reverse[enough].astype(bool), lags[enough], summed[enough])


@dataclass(frozen=True)
class Windows:
    """Windows around extrema: row [m], time of the extremum [m], whether it was reversed in time [m], numbers
    [m, 32].
    """

    rows: Array
    times: Array
    reverse: Array
    numbers: Array


def describe_windows(population: Population, channel: int, radius: int, most: int) -> Windows:
    """Describe windows of one channel around its most outstanding local extrema, `most` of a series.

    A minimum is described upside down, and a window with more in its first half from its end, so that copies
    of any sign and direction have the same numbers.
    """
    shape = (population.size * most, WINDOW_NUMBERS)
    numbers = make_scratch(shape)
    found, count = [], 0
    for first, values in population.iterate_blocks():
        filled, missing = fill_forward(values[..., channel]), np.isnan(values[..., channel])
        filled = filled - filled.mean(axis=1, keepdims=True)
        sides = [find_maxima(sign * filled, missing, radius) for sign in (1, -1)]
        places, at, height = (np.concatenate(part) for part in zip(*sides))
        sign = np.repeat(np.array([1, -1], np.float32), [len(side[0]) for side in sides])
        order = np.lexsort((-height, places))
        rank = np.arange(len(order)) - np.searchsorted(places[order], places[order])
        chosen = order[(rank < most) & (height[order] > 0)]
        places, at, sign = places[chosen], at[chosen], sign[chosen, None]
        shapes = standardise(
            sign * filled[places[:, None], at[:, None] + np.arange(-2 * radius, 2 * radius + 1)]
        )
        reverse = shapes @ np.arange(-2 * radius, 2 * radius + 1, dtype=np.float32) < 0
        shapes[reverse] = shapes[reverse, ::-1]
        found.append(((places + first).astype(np.int32), at.astype(np.int32), reverse))
        numbers[count : count + len(places)] = shorten(shapes)
        count += len(places)
    rows, times, reversed_ones = (np.concatenate(part) for part in zip(*found))
    return Windows(rows, times, reversed_ones, numbers[:count])


def find_maxima(values: Array, missing: Array, radius: int) -> tuple[Array, Array, Array]:
    """Return rows and times of values that none within the radius exceeds, whose window is inside and
    measured; and how far each stands above its window's mean, in deviations, 0 in a flat one.
    """
    steps = 4 * radius + 1
    peak = values >= maximum_filter1d(values, 2 * radius + 1, axis=1, mode="nearest")
    peak[:, 1:] &= values[:, 1:] > values[:, :-1]  # the first of equals
    peak[:, : 2 * radius] = False
    peak[:, max(0, values.shape[1] - 2 * radius) :] = False
    rows, times = np.nonzero(peak)
    first, last = times - 2 * radius, times + 2 * radius + 1

    def sum_windows(each: Array) -> Array:
        total = np.zeros((len(each), each.shape[1] + 1))
        np.cumsum(each, axis=1, out=total[:, 1:])
        return total[rows, last] - total[rows, first]

    known = sum_windows(missing) <= radius // 2
    mean = sum_windows(values) / steps
    deviation = np.sqrt(np.maximum(sum_windows(np.square(values, dtype=np.float64)) / steps - mean**2, 0))
    largest = np.abs(values).max(axis=1, initial=0)[rows]
    varies = deviation > FLAT * largest
    height = np.where(varies, (values[rows, times] - mean) / np.where(varies, deviation, 1), 0)
    return rows[known], times[known], height[known]


def standardise(windows: Array) -> Array:
    """Scale windows [m, W] to mean 0 and deviation 1; flat ones to 0."""
    centred = windows - windows.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    varies = deviation > FLAT * np.abs(windows).max(axis=1, keepdims=True, initial=0)
    return np.where(varies, centred / np.where(varies, deviation, 1), 0)


def shorten(shapes: Array) -> Array:
    """Return [m, W] -> [m, 32]: low numbers of the cosine transform, of at most 64 points."""
    steps = shapes.shape[1]
    points = min(WINDOW_POINTS, steps)
    edges = np.arange(points) * steps // points
    pooled = np.add.reduceat(shapes, edges, axis=1) / np.diff(np.append(edges, steps))
    if not len(pooled):
        return np.empty((0, WINDOW_NUMBERS), np.float32)
    numbers = fft.dct(pooled, axis=1, norm="ortho")[:, 1 : WINDOW_NUMBERS + 1]
    padded = np.zeros((len(numbers), WINDOW_NUMBERS), np.float32)
    padded[:, : numbers.shape[1]] = numbers
    return padded


def find_by_spectra(population: Population) -> Candidates:
    """Find candidates with close amplitude spectra; the lag is that of the best correlation."""
    size = population.size
    count = int(np.clip(PAIRS_AT_LEAST // size, 4, size - 1)) if size > 4 else size - 1
    numbers = describe_spectra(population)
    places = faiss_backend.find_neighbours(numbers, count, population.seed)[1]
    first, second = np.repeat(np.arange(size), places.shape[1]), places.reshape(-1)
    first, second = np.minimum(first, second), np.maximum(first, second)
    keep = (first >= 0) & (population.owners[first] != population.owners[second])
    pairs = np.unique(first[keep] * size + second[keep])
    step, parts = choose_chunk_size(population), []
    with Progress("near copies", len(pairs), "pairs by spectra") as progress:
        for at in range(0, len(pairs), step):
            some = pairs[at : at + step]
            parts.append(find_best_lags(population, *np.divmod(some, size)))
            progress.advance(len(some))
    return Candidates.join(parts, population)


def describe_spectra(population: Population) -> Array:
    """Return [n, 64]: amplitudes of the lowest frequencies of all channels, without the common part,
    projected.
    """
    bins = min(SPECTRUM_BINS, population.length // 2)
    rng = make_keyed_generator(population.seed, 0, "projection of spectra")
    width = bins * population.channels
    turn = rng.standard_normal((width, SPECTRUM_NUMBERS), dtype=np.float32) / np.float32(
        SPECTRUM_NUMBERS**0.5
    )
    numbers = make_scratch((population.size, SPECTRUM_NUMBERS))
    total = np.zeros(SPECTRUM_NUMBERS)
    for first, values in population.iterate_blocks():
        amplitudes = np.abs(fft.rfft(normalise(values), axis=1)[:, 1 : bins + 1]).reshape(len(values), -1)
        sizes = np.maximum(np.linalg.norm(amplitudes, axis=1, keepdims=True), 1e-12)
        found = np.asarray(amplitudes / sizes @ turn, np.float32)
        numbers[first : first + len(values)] = found
        total += found.sum(axis=0, dtype=np.float64)
    mean = np.asarray(total / population.size, np.float32)
    for first in range(0, population.size, SPECTRA_AT_ONCE):
        numbers[first : first + SPECTRA_AT_ONCE] -= mean
    return numbers


def find_best_lags(population: Population, first: Array, second: Array) -> Candidates:
    """Return the lags at which each pair correlates best, as it stands and with the second reversed, and lag
    0; none where the correlation is so low that not even a half can be a copy.
    """
    rows, places = number_once(first, second)
    spectra = fft.rfft(normalise(population.read(rows)), axis=1)
    one, other = spectra[places[0]], spectra[places[1]]
    found = []
    for spectrum, reverse in ((other, False), (other.conj(), True)):  # the conjugate: of the series reversed
        products = (one.conj() * spectrum).sum(axis=2) / population.channels
        curve = np.abs(fft.irfft(products, n=population.length, axis=1))
        best = curve.argmax(axis=1)
        lags = [-best % population.length] if reverse else [best, np.zeros_like(best)]
        heights = [curve.max(axis=1), curve[:, 0]]
        for lag, height in zip(lags, heights):
            keep = height >= (WHOLE_CORRELATION if reverse else HALF_CORRELATION)
            flags = np.full(int(keep.sum()), reverse)
            found.append(Candidates(first[keep], second[keep], lag[keep], flags))
    return Candidates.join(found, population)
