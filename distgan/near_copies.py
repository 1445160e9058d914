"""Near copies of one series under several owners' names: who is the same person.

Two series are near copies if, after a shift in time, a change of sign or direction, a scale and an offset,
half of one or more is that of the other up to noise of a few percent. Three steps keep this affordable:

1. *Candidates.* Windows around local maxima, standardised and shortened to a few numbers, meet windows of
   other owners in a nearest-neighbour search; pairs of series that meet several times at one lag are
   candidates. So are series whose amplitude spectra are alike, which no circular shift, no scale and no
   reversal changes. The work grows as n^1.5 and the memory is bounded (`MOST_WINDOWS`).
2. *Fit.* Of each candidate, blocks of time are fitted by least trimmed squares: the best half decides.
3. *Information.* What a series has in common with the population (its first principal components, the
   rhythm of day and week) identifies nobody: the residual must be small against the series' *own* part, and
   that part must have enough degrees of freedom that chance does not explain the likeness among all pairs and
   lags. Flat, sparse or purely periodic series are therefore no copies of one another.

Shapes: n series, L steps, C channels, P pairs, B blocks of time. NaN where missing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import fft
from scipy.ndimage import maximum_filter1d
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from distgan import clustering, draws

Array = np.ndarray
Read = Callable[[Array], Array]  # rows [n] -> float32 [n, L, C]

MAX_RESIDUAL = 0.02  # 1 - r² of the matched half: noise of a tenth of the deviations in both, say
MAX_OWN_RESIDUAL = 0.25  # of the variance of the series' own part
LEAST_DEGREES = 6.0  # of freedom of the own part
CHANCE = 0.01  # expected number of chance pairs in the whole set, at most
HOPELESS = 0.5  # residual after one step of a fit, above which the fit is given up
EQUAL = 1e-6  # smallest residual that float32 tells apart
MATCHED = 0.5  # of the series, at least

WINDOW_POINTS, WINDOW_NUMBERS = 64, 32  # a window is resampled to so many points, kept as so many DCT numbers
MOST_ANCHORS = 64  # of a series and channel
MOST_WINDOWS = 4_000_000  # of all series and channels together: 512 MB
LIKENESS = 0.2  # squared distance over squared length of two windows that are taken for alike
NEIGHBOURS = 8
SPECTRUM_BINS, SPECTRUM_NUMBERS = 512, 64
PAIRS_AT_LEAST = 2_000  # of few series, all pairs are candidates
CANDIDATES = 8  # of a series by its windows
HALF_CORRELATION, WHOLE_CORRELATION = 0.3, 0.8  # of the whole series, that a copy of half or of all has

MOST_BLOCKS, LEAST_BLOCK = 64, 4  # blocks of time, and steps of one
VALUES_AT_ONCE = 4_000_000
NET_VALUES, MOST_NET = 16_000_000, 512  # of the sample that tells what is common
COMPONENTS, PER_COMPONENT = 16, 8


@dataclass(frozen=True)
class Population:
    """The series to compare: `read` gives rows, `owners` [n] int64 says whose they are."""

    read: Read
    owners: Array
    length: int
    channels: int
    steps_per_day: float
    seed: int = 0

    @property
    def size(self) -> int:
        return len(self.owners)

    def blocks(self, values: int = VALUES_AT_ONCE) -> Iterator[tuple[int, Array]]:
        """All series in order, (first row, [m, L, C])."""
        rows = max(1, values // (self.length * self.channels))
        for first in range(0, self.size, rows):
            yield first, self.read(np.arange(first, min(first + rows, self.size)))


@dataclass(frozen=True)
class Candidates:
    """Pairs of rows with the lag at which they may match: second[t] ~ first[t - lag], circularly."""

    first: Array  # [P] int64
    second: Array  # [P]
    lag: Array  # [P] steps
    reverse: Array  # [P] bool: the second is reversed in time before the shift

    @staticmethod
    def join(parts: "Sequence[Candidates]") -> "Candidates":
        """All distinct candidates, in order."""
        columns = [
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("first", "second", "lag", "reverse")
        ]
        unique = np.unique(np.stack([column.astype(np.int64) for column in columns], axis=1), axis=0)
        return Candidates(unique[:, 0], unique[:, 1], unique[:, 2], unique[:, 3].astype(bool))


def find_near_copies(population: Population) -> Array:
    """Return the pairs of rows of different owners that are near copies: int64 [P, 2], first < second."""
    if len(np.unique(population.owners)) < 2:
        return np.empty((0, 2), np.int64)
    equal = find_equal(population)
    candidates = Candidates.join([find_by_windows(population), find_by_spectra(population)])
    common = Common.learn(population)
    near = [
        np.stack([part.first, part.second], axis=1)[confirm(population, common, part)]
        for part in in_chunks(candidates, population)
    ]
    pairs = np.concatenate([equal, *near])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def merge_owners(owners: Sequence[str], pairs: Array) -> list[str]:
    """Give the owners of near copies one name, the first in the alphabet: [n] names, [P, 2] rows -> [n].

    Everybody else keeps their name, so a split by a keyed hash of the name moves nobody else.
    """
    names, codes = np.unique(np.asarray(owners, dtype=str), return_inverse=True)
    edges = codes[np.asarray(pairs, np.int64).reshape(-1, 2)]
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(names), len(names)))
    component = connected_components(graph, directed=False)[1]
    first = np.full(component.max() + 1, len(names))
    np.minimum.at(first, component, np.arange(len(names)))
    return [str(name) for name in names[first[component[codes]]]]


# --------------------------------------------------------------------------------------------- exact copies


def find_equal(population: Population) -> Array:
    """Pairs of series that agree bit by bit, each with the next: int64 [P, 2]; informative ones alone."""
    seen: dict[int, int] = {}
    found = []
    for first, values in population.blocks():
        told = np.flatnonzero(degrees_in_time(changes(values)).max(axis=1) >= LEAST_DEGREES)
        for place in told.tolist():
            row, key = first + place, hash(values[place].tobytes())
            if key in seen and population.owners[seen[key]] != population.owners[row]:
                found.append((seen[key], row))
            seen[key] = row
    return np.array(found, np.int64).reshape(-1, 2)


def changes(values: Array) -> Array:
    """Steps from one value to the next, 0 where one is missing: [n, L, C] -> [n, L - 1, C]."""
    return np.nan_to_num(np.diff(values, axis=1))


def degrees_in_time(values: Array) -> Array:
    """How many steps carry the energy, (Σx²)² / Σx⁴: [n, L, C] -> [n, C]."""
    squares = np.square(values, dtype=np.float64)
    return np.square(squares.sum(axis=1)) / np.maximum(np.square(squares).sum(axis=1), 1e-300)


# ------------------------------------------------------------------------------------- candidates by windows


def find_by_windows(population: Population) -> Candidates:
    """Candidates that share windows around local maxima at one lag."""
    size, length = population.size, population.length
    radius = max(4, length // 128)
    most = int(np.clip(MOST_WINDOWS // (size * population.channels), 4, MOST_ANCHORS))
    keys = []
    for channel in range(population.channels):
        rows, times, numbers = describe_windows(population, channel, radius, most)
        if len(rows) < 2:
            continue
        distances, places = clustering.find_neighbours(numbers, NEIGHBOURS, population.seed)
        lengths = np.einsum("nd,nd->n", numbers, numbers)[:, None]
        alike = (distances <= LIKENESS * lengths) & (places >= 0)
        here, there = np.nonzero(alike)[0], places[alike]
        apart = population.owners[rows[here]] != population.owners[rows[there]]
        here, there = here[apart], there[apart]
        swap = rows[here] > rows[there]
        here, there = np.where(swap, there, here), np.where(swap, here, there)
        lag = times[there] - times[here]
        keys.append((rows[here] * size + rows[there]) * 2 * length + lag + length)
    return most_met(np.concatenate(keys or [np.empty(0, np.int64)]), size, length, radius)


def most_met(keys: Array, size: int, length: int, radius: int) -> Candidates:
    """For each series the `CANDIDATES` pairs and lags that were met most often.

    Noise moves a maximum by a step or two, so lags within a quarter of the window's radius count together.
    """
    pairs, lag = np.divmod(keys, 2 * length)
    coarse, counts, index = _count(pairs * 2 * length + lag // max(1, radius // 4))
    lags = np.zeros(len(coarse))
    np.add.at(lags, index, lag - length)
    lags = np.rint(lags / np.maximum(counts, 1)).astype(np.int64)
    pairs = coarse // (2 * length)
    first, second = np.divmod(pairs, size)
    keep = np.zeros(len(pairs), bool)
    for side in (first, second):
        order = np.lexsort((-counts, side))
        rank = np.arange(len(order)) - np.searchsorted(side[order], side[order])
        keep[order[rank < CANDIDATES]] = True
    return Candidates(first[keep], second[keep], lags[keep], np.zeros(int(keep.sum()), bool))


def _count(keys: Array) -> tuple[Array, Array, Array]:
    unique, index, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return unique, counts, index


def describe_windows(
    population: Population, channel: int, radius: int, most: int
) -> tuple[Array, Array, Array]:
    """Windows of one channel around its local maxima: row [m], time of the maximum [m], numbers [m, 32]."""
    rows, times, numbers = [], [], []
    for first, values in population.blocks():
        filled = held(values[..., channel])
        places, at = local_maxima(filled, np.isnan(values[..., channel]), radius)
        windows = filled[places[:, None], at[:, None] + np.arange(-2 * radius, 2 * radius)]
        shapes, height = standardise(windows, 2 * radius)
        order = np.lexsort((-height, places))
        rank = np.arange(len(order)) - np.searchsorted(places[order], places[order])
        chosen = order[(rank < most) & (height[order] > 0)]
        rows.append(places[chosen] + first)
        times.append(at[chosen])
        numbers.append(shorten(shapes[chosen]))
    return np.concatenate(rows), np.concatenate(times), np.concatenate(numbers)


def held(values: Array) -> Array:
    """[n, L] with gaps at the last measured value, or the first one before that; 0 for an empty one."""
    measured = ~np.isnan(values)
    steps = np.arange(values.shape[1])
    latest = np.maximum.accumulate(np.where(measured, steps, -1), axis=1)
    start = np.argmax(measured, axis=1)[:, None]
    return np.nan_to_num(np.take_along_axis(values, np.where(latest < 0, start, latest), axis=1))


def local_maxima(values: Array, missing: Array, radius: int) -> tuple[Array, Array]:
    """Rows and times of values that none within the radius exceeds, whose window is inside and measured."""
    peak = values >= maximum_filter1d(values, 2 * radius + 1, axis=1, mode="nearest")
    peak[:, 1:] &= values[:, 1:] > values[:, :-1]  # the first of equals
    peak[:, : 2 * radius] = False
    peak[:, max(0, values.shape[1] - 2 * radius) :] = False
    rows, times = np.nonzero(peak)
    gaps = np.concatenate([np.zeros((len(values), 1), np.int64), np.cumsum(missing, axis=1)], axis=1)
    known = gaps[rows, times + 2 * radius] - gaps[rows, times - 2 * radius] <= radius // 2
    return rows[known], times[known]


def standardise(windows: Array, centre: int) -> tuple[Array, Array]:
    """Windows [m, W] of mean 0 and deviation 1, and their height at the centre (0 for flat ones)."""
    centred = windows - windows.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    varies = deviation > 1e-5 * np.abs(windows).max(axis=1, keepdims=True, initial=0)
    shapes = np.where(varies, centred / np.where(varies, deviation, 1), 0)
    return shapes, shapes[:, centre]


def shorten(shapes: Array) -> Array:
    """[m, W] -> [m, 32]: low numbers of the cosine transform, of at most 64 points."""
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


# ------------------------------------------------------------------------------------- candidates by spectra


def find_by_spectra(population: Population) -> Candidates:
    """Candidates of which the amplitude spectra are near; the lag is where they correlate best."""
    size = population.size
    count = int(np.clip(PAIRS_AT_LEAST // size, 4, size - 1)) if size > 4 else size - 1
    numbers = describe_spectra(population)
    places = clustering.find_neighbours(numbers, count, population.seed)[1]
    first, second = np.repeat(np.arange(size), places.shape[1]), places.reshape(-1)
    first, second = np.minimum(first, second), np.maximum(first, second)
    keep = (first >= 0) & (population.owners[first] != population.owners[second])
    pairs = np.unique(np.stack([first[keep], second[keep]], axis=1), axis=0)
    parts = [
        best_lags(population, *pairs[at : at + step].T)
        for step in [_pairs_at_once(population)]
        for at in range(0, len(pairs), step)
    ]
    empty = np.empty(0, np.int64)
    return Candidates.join(parts or [Candidates(empty, empty, empty, empty.astype(bool))])


def describe_spectra(population: Population) -> Array:
    """[n, 64]: amplitudes of the lowest frequencies of all channels, after what all have, projected."""
    bins = min(SPECTRUM_BINS, population.length // 2)
    rng = draws.generator(population.seed, 0, "projection of spectra")
    width = bins * population.channels
    turn = rng.standard_normal((width, SPECTRUM_NUMBERS), dtype=np.float32) / np.float32(
        SPECTRUM_NUMBERS**0.5
    )
    found = []
    for _, values in population.blocks():
        amplitudes = np.abs(fft.rfft(unit(values), axis=1)[:, 1 : bins + 1]).reshape(len(values), -1)
        found.append(amplitudes / np.maximum(np.linalg.norm(amplitudes, axis=1, keepdims=True), 1e-12) @ turn)
    numbers = np.concatenate(found)
    return np.asarray(numbers - numbers.mean(axis=0), np.float32)


def unit(values: Array) -> Array:
    """Gaps filled, mean 0 and length 1 in every channel: [n, L, C]."""
    filled = np.stack([held(values[..., c]) for c in range(values.shape[2])], axis=2)
    filled = filled - filled.mean(axis=1, keepdims=True)
    return filled / np.maximum(np.sqrt(np.square(filled).sum(axis=1, keepdims=True)), 1e-12)


def best_lags(population: Population, first: Array, second: Array) -> Candidates:
    """Where each pair correlates best, as it stands and with the second reversed, and lag 0; where the
    correlation is so low that not even a half can be a copy, none.
    """
    one, other = (fft.rfft(unit(population.read(rows)), axis=1) for rows in (first, second))
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
    return Candidates.join(found)


# --------------------------------------------------------------------------------------------- what is common


@dataclass(frozen=True)
class Common:
    """What a series shares with the others: an orthonormal basis [C, L, q] of channel-wise shapes."""

    basis: Array

    @classmethod
    def learn(cls, population: Population) -> "Common":
        """Principal components of a sample without near copies, and the waves of day and week.

        A sample of which no two series are alike keeps a copy that stands under many names from becoming
        a component, which would hide it.
        """
        length, channels = population.length, population.channels
        most = int(np.clip(NET_VALUES // (length * channels), 16, MOST_NET))
        rng = draws.generator(population.seed, 0, "sample of near copies")
        rows = np.sort(rng.permutation(population.size)[: 2 * most])
        sample = unit(population.read(rows))
        net = distinct(sample)[:most]
        number = min(COMPONENTS, len(net) // PER_COMPONENT)
        waves = calendar_waves(length, population.steps_per_day)
        bases = []
        for channel in range(channels):
            shapes = sample[net, :, channel].astype(np.float64)
            gram = shapes @ shapes.T
            strongest = np.linalg.eigh(gram)[1][:, ::-1][:, :number]
            bases.append(np.linalg.qr(np.concatenate([waves, shapes.T @ strongest], axis=1))[0])
        return cls(np.stack(bases).astype(np.float32))

    def own_part(self, shapes: Array) -> Array:
        """Standardised series -> what is left of each: [n, L, C] both."""
        told = np.einsum("nlc,clq->ncq", shapes, self.basis, optimize=True)
        return shapes - np.einsum("ncq,clq->nlc", told, self.basis, optimize=True)


def distinct(sample: Array) -> Array:
    """Places of a greedy choice of series [n, L, C] of which no two are alike at lag 0."""
    flat = sample.reshape(len(sample), -1)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    alike = np.square(flat @ flat.T) > 1 - MAX_RESIDUAL
    chosen: list[int] = []
    for place in range(len(sample)):
        if not alike[place, chosen].any():
            chosen.append(place)
    return np.array(chosen, np.int64)


def calendar_waves(length: int, steps_per_day: float) -> Array:
    """[L, w]: a constant, and the waves of day and week with their first overtones, as far as they fit."""
    time = np.arange(length)
    periods = [steps_per_day / k for k in (1, 2, 3, 4)] + [7 * steps_per_day / k for k in (1, 2, 3)]
    angles = [2 * np.pi * time / period for period in periods if 2 < period <= length / 2]
    waves = [np.ones(length), *(wave(angle) for angle in angles for wave in (np.cos, np.sin))]
    return np.stack(waves, axis=1)


# ----------------------------------------------------------------------------------------------- confirmation


def _pairs_at_once(population: Population) -> int:
    return max(1, VALUES_AT_ONCE // (4 * population.length * population.channels))


def in_chunks(candidates: Candidates, population: Population) -> Iterator[Candidates]:
    step = _pairs_at_once(population)
    for at in range(0, len(candidates.first), step):
        part = slice(at, at + step)
        yield Candidates(
            candidates.first[part], candidates.second[part], candidates.lag[part], candidates.reverse[part]
        )


def confirm(population: Population, common: Common, candidates: Candidates) -> Array:
    """Which candidates are near copies: [P] bool."""
    first, second = (population.read(rows) for rows in (candidates.first, candidates.second))
    aligned = align(second, candidates)
    matched = Match.fit(first, aligned)
    likely = np.flatnonzero(matched.share_of_channels(matched.residual <= MAX_RESIDUAL))
    found = np.zeros(len(first), bool)
    if len(likely):
        part = matched.take(likely)
        shapes = [unit(values[likely]) for values in (first, second)]
        parts = [(whole, common.own_part(whole)) for whole in shapes]
        whole, own = (align(each, candidates, likely) for each in parts[1])
        parts[1] = (whole, own)
        pairs = 2 * np.log10(population.size) + np.log10(population.length)
        found[likely] = part.share_of_channels(part.tells(parts, pairs))
    return found


def align(values: Array, candidates: Candidates, chosen: Array | slice = slice(None)) -> Array:
    """Bring the second series of each pair to the first: reversed if asked, then moved by the lag."""
    length = values.shape[1]
    time = np.arange(length)[None]
    lag, reverse = candidates.lag[chosen][:, None], candidates.reverse[chosen][:, None]
    source = np.where(reverse, lag - time, time + lag) % length
    return np.take_along_axis(values, source[:, :, None], axis=1)


@dataclass(frozen=True)
class Match:
    """Pairs fitted over the better half of their blocks of time.

    Attributes:
        residual: [P, C] 1 - r² over the chosen blocks, inf where nothing varies or too little is measured.
        chosen: [P, B, C] bool, the blocks.
        informative: [P, C] bool, channels in which either series varies at all.
    """

    residual: Array
    chosen: Array
    informative: Array
    length: int

    @cached_property
    def steps(self) -> Array:
        """[P, L, C] bool: the steps of the chosen blocks."""
        return np.repeat(self.chosen, np.diff(block_edges(self.length)), axis=1)

    def take(self, rows: Array) -> "Match":
        return Match(self.residual[rows], self.chosen[rows], self.informative[rows], self.length)

    def share_of_channels(self, holds: Array) -> Array:
        """Whether it holds in more than half of the channels that vary, or in the only one: [P, C] -> [P]."""
        return 2 * (holds & self.informative).sum(axis=1) > np.maximum(self.informative.sum(axis=1), 1)

    @classmethod
    def fit(cls, first: Array, second: Array) -> "Match":
        """[P, L, C] twice."""
        sums = block_sums(first, second)
        half = (sums[..., 0].sum(axis=1) * MATCHED)[:, None]
        best, blocks = np.full(first.shape[::2], np.inf), np.zeros(sums.shape[:3], bool)
        number = sums.shape[1]
        starts = [np.ones(number, bool)]
        starts += [np.arange(number) // -(-number // 4) == quarter for quarter in range(4)]
        for start in starts:
            rows = np.arange(len(sums))
            chosen = np.broadcast_to(start[None, :, None], sums.shape[:3])
            for limit in (HOPELESS, np.inf, np.inf):  # the first step leaves few
                slope, offset = regress(sums[rows], chosen)
                chosen = least_half(sums[rows], slope, offset, half[rows])
                residual = unexplained(sums[rows], chosen)
                hopeful = residual.min(axis=1) <= limit
                rows, chosen, residual = rows[hopeful], chosen[hopeful], residual[hopeful]
            better = residual < best[rows]
            best[rows] = np.where(better, residual, best[rows])
            blocks[rows] = np.where(better[:, None], chosen, blocks[rows])
        measured = np.minimum(*((~np.isnan(each)).sum(axis=1) for each in (first, second)))
        best[sums[..., 0].sum(axis=1) < MATCHED * measured] = np.inf
        varies = [
            np.nanmax(each, axis=1, initial=-np.inf) > np.nanmin(each, axis=1, initial=np.inf)
            for each in (first, second)
        ]
        return cls(best, blocks, varies[0] | varies[1], first.shape[1])

    def tells(self, parts: Sequence[tuple[Array, Array]], log_pairs: float) -> Array:
        """Whether the likeness is of the series' own parts, and beyond chance: [P, C] bool.

        Args:
            parts: of either series, standardised and aligned: the whole and its own part, [P, L, C] each.
            log_pairs: log10 of the number of pairs and lags that were looked at.
        """
        degrees, share = np.inf, np.inf
        for whole, own in parts:
            energy, inside = (self._deviations(each) for each in (whole, own))
            degrees = np.minimum(degrees, np.minimum(degrees_in_time(inside), degrees_in_spectrum(inside)))
            part = np.square(inside).sum(axis=1) / np.maximum(np.square(energy).sum(axis=1), 1e-12)
            share = np.minimum(share, part)
        relative = np.maximum(self.residual, EQUAL) / np.maximum(share, 1e-12)
        # That D independent numbers agree up to a part of their variance has a chance of part^(D/2), and the
        # better half was chosen, of 2^D choices.
        beyond = log_pairs + degrees / 2 * np.log10(np.maximum(4 * relative, EQUAL)) < np.log10(CHANCE)
        return (relative <= MAX_OWN_RESIDUAL) & (degrees >= LEAST_DEGREES) & beyond

    def _deviations(self, values: Array) -> Array:
        """From the mean over the chosen steps, 0 elsewhere: [P, L, C] -> [P, L, C]."""
        count = np.maximum(self.steps.sum(axis=1, keepdims=True), 1)
        mean = (values * self.steps).sum(axis=1, keepdims=True) / count
        return (values - mean) * self.steps


def block_edges(length: int) -> Array:
    """[B + 1] steps at which blocks of time begin, and the end."""
    number = int(np.clip(length // LEAST_BLOCK, 1, MOST_BLOCKS))
    return np.arange(number + 1) * length // number


def block_sums(first: Array, second: Array) -> Array:
    """n, Σa, Σb, Σa², Σab, Σb² of each block, of deviations from the series' means: [P, B, C, 6] float64."""
    known = ~np.isnan(first) & ~np.isnan(second)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    parts = []
    for each in (first, second):
        values = np.where(known, each, 0).astype(np.float64)
        centred = np.where(known, values - values.sum(axis=1, keepdims=True) / count, 0)
        size = np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / count)
        parts.append(centred / np.where(size > 0, size, 1))
    a, b = parts
    edges = block_edges(first.shape[1])[:-1]
    return np.stack(
        [
            np.add.reduceat(each, edges, axis=1)
            for each in (known.astype(np.float64), a, b, a * a, a * b, b * b)
        ],
        axis=-1,
    )


def regress(sums: Array, chosen: Array) -> tuple[Array, Array]:
    """Slope and offset of b on a over the chosen blocks: [P, 1, C] each."""
    n, a, b, aa, ab, _ = np.moveaxis((sums * chosen[..., None]).sum(axis=1, keepdims=True), -1, 0)
    n = np.maximum(n, 1)
    variance = aa - a * a / n
    slope = np.where(variance > 1e-9 * n, (ab - a * b / n) / np.maximum(variance, 1e-300), 0)
    return slope, (b - slope * a) / n


def least_half(sums: Array, slope: Array, offset: Array, half: Array) -> Array:
    """The blocks of the least mean squared residual that hold half of what both measured: [P, B, C] bool."""
    n, a, b, aa, ab, bb = np.moveaxis(sums, -1, 0)
    squared = bb + slope**2 * aa + n * offset**2 - 2 * slope * ab - 2 * offset * b + 2 * slope * offset * a
    mean = np.where(n > 0, squared / np.maximum(n, 1), np.inf)
    order = np.argsort(mean, axis=1, kind="stable")
    before = np.cumsum(np.take_along_axis(n, order, axis=1), axis=1) - np.take_along_axis(n, order, axis=1)
    chosen = np.zeros(n.shape, bool)
    np.put_along_axis(chosen, order, before < half, axis=1)
    return chosen & (n > 0)


def unexplained(sums: Array, chosen: Array) -> Array:
    """1 - r² over the chosen blocks: [P, C]; inf where one of the two does not vary there."""
    n, a, b, aa, ab, bb = np.moveaxis((sums * chosen[..., None]).sum(axis=1), -1, 0)
    n = np.maximum(n, 1)
    of_a, of_b, both = aa - a * a / n, bb - b * b / n, ab - a * b / n
    varies = (of_a > 1e-6 * n) & (of_b > 1e-6 * n)
    r2 = np.square(both) / np.where(varies, of_a * of_b, 1)
    return np.where(varies, np.maximum(1 - r2, 0), np.inf)


def degrees_in_spectrum(values: Array) -> Array:
    """How many independent numbers the power spectrum holds, 2 (Σp)² / Σp²: [n, L, C] -> [n, C]."""
    power = np.square(np.abs(fft.rfft(values, axis=1)))
    return 2 * np.square(power.sum(axis=1)) / np.maximum(np.square(power).sum(axis=1), 1e-300)
