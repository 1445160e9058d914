"""MiniRocket: how often fixed dilated convolutions of a series exceed a bias (Dempster, Schmidt and Webb
2021).

All 84 kernels of nine taps with three weights of 2 and six of -1 are used, at up to 32 dilations that grow
geometrically from 1 to where the kernel is as long as the series. Biases are quantiles (a low-discrepancy
sequence) of the kernel's outputs on random series. A feature is the proportion of positive values of output
minus bias, over all places for one half of the kernels and over those without padding for the other half.
Only the series that settle the biases are random; they are drawn from a fixed seed.

Differences from the paper: of several channels, each is taken alone, and beside them sums of pairs in which
both vary as much; of long series the outputs can be read at every `stride`-th place only, which leaves
proportions as they are.

Shapes: n series, C channels, L steps, T places, D dilations, F features.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distgan.rng import make_keyed_generator

Array = NDArray[Any]

TAPS = 9
TRIPLES = tuple(combinations(range(TAPS), 3))  # the taps of weight 2: 84 kernels
FEATURES = 9996  # 84 x 119, as published
MOST_DILATIONS = 32  # of one kernel, as published
PAIRS = 6  # of channels that are summed, at most
BIAS_SERIES = 16  # that settle the biases of one dilation
VALUES_AT_ONCE = 40_000  # of a block of series: what stays in the processor's cache
WORDS = 255  # of eight counts of one byte, that cannot overflow


@dataclass(frozen=True)
class MiniRocket:
    """Fitted kernels.

    Attributes:
        mixes: the channels that are summed before they are convolved.
        scales: [C] of the channels in a sum: their deviations within series, whose units may differ.
        dilations: [D] steps between taps.
        counts: [D] features of each kernel at each dilation.
        biases: of each mix, [84 Σ counts] float32, in the order of dilations and kernels.
        stride: steps between the places where outputs are read.
    """

    mixes: tuple[tuple[int, ...], ...]
    scales: Array
    dilations: Array
    counts: Array
    biases: tuple[Array, ...]
    stride: int = 1

    def compute_features(self, series: Array) -> Array:
        """Compute proportions of positive values: float32 [n, C, L] without gaps -> float32 [n, F]."""
        n, _, length = series.shape
        width = sum(len(biases) for biases in self.biases)
        found = np.empty((n, width), np.float32)
        rows = max(1, VALUES_AT_ONCE // max(1, length // self.stride))
        for first in range(0, n, rows):
            start = 0
            for mix, biases in zip(self.mixes, self.biases):
                block = _sum_channels(series[first : first + rows], mix, self.scales)
                found[first : first + rows, start : start + len(biases)] = self._compute_block(block, biases)
                start += len(biases)
        return found

    def _compute_block(self, series: Array, biases: Array) -> Array:
        """Compute the same for a block of one mix: [n, L] -> [n, len(biases)]."""
        found = np.empty((len(biases), len(series)), np.float32)
        place = 0
        for index, (dilation, count) in enumerate(zip(self.dilations, self.counts)):
            inside = _find_inside(series.shape[1], int(dilation), self.stride)
            counters: dict[int, _Counter] = {}
            for kernel, output in enumerate(_convolve_all(series, int(dilation), self.stride)):
                used = output if (index + kernel) % 2 == 0 else output[:, inside]
                if used.shape[1] not in counters:
                    counters[used.shape[1]] = _Counter(used.shape)
                counter = counters[used.shape[1]]
                for bias in biases[place : place + count]:
                    found[place] = counter.compute_share_above(used, bias)
                    place += 1
        return found.T


class _Counter:
    """A counter of the values in each row that exceed a bias; eight bytes are added at once."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.rows, self.width = shape
        words = -(-self.width // 8)
        self.blocks = max(1, -(-words // WORDS))
        self.words = -(-words // self.blocks)
        self.flags = np.zeros((self.rows, self.blocks * self.words * 8), np.bool_)
        self.view = self.flags.view(np.uint64).reshape(self.rows, self.blocks, self.words)

    def compute_share_above(self, values: Array, bias: float) -> Array:
        """Return the share above the bias: [n, T] -> [n]."""
        np.greater(values, bias, out=self.flags[:, : self.width])
        sums = self.view.sum(2).view(np.uint8)
        return sums.sum(1, dtype=np.float32) / np.float32(self.width)


def fit_minirocket(
    series: Array,
    *,
    features: int = FEATURES,
    dilations: int = MOST_DILATIONS,
    stride: int = 1,
    seed: int = 0,
) -> MiniRocket:
    """Fit kernels to series like these: float32 [n, C, L] without gaps; random ones determine the biases.

    Args:
        features: of all mixes together, at most; at least 84 for each.
        dilations: of one kernel, at most.
    """
    _, channels, length = series.shape
    rng = make_keyed_generator(seed, 0, "minirocket")
    pairs = list(combinations(range(channels), 2))
    chosen = sorted(rng.permutation(len(pairs))[:PAIRS])
    mixes = (*((channel,) for channel in range(channels)), *(pairs[place] for place in chosen))
    steps, counts = choose_dilations(length, max(1, features // len(TRIPLES) // len(mixes)), dilations)
    scales = _measure_scales(series)
    biases = tuple(
        _fit_biases(_sum_channels(series, mix, scales), steps, counts, stride, rng) for mix in mixes
    )
    return MiniRocket(mixes, scales, steps, counts, biases, stride)


def choose_dilations(length: int, features: int, most: int = MOST_DILATIONS) -> tuple[Array, Array]:
    """Return dilations [D] and the number of features of one kernel at each [D], which sum to `features`.

    Exponents of 2 are even from 0 to log2((L - 1) / 8); what falls on one whole number is taken together.
    """
    slots = min(features, most)
    last = np.log2(max(length - 1, TAPS - 1) / (TAPS - 1))
    dilations, counts = np.unique(np.logspace(0, last, slots, base=2).astype(np.int32), return_counts=True)
    counts = (counts * (features / slots)).astype(int)
    missing = features - int(counts.sum())
    counts += missing // len(counts) + (np.arange(len(counts)) < missing % len(counts))
    return dilations, counts


def choose_stride(length: int, places: int, steps_per_day: float) -> int:
    """Return the stride that leaves about `places` places of a series and does not divide the day, so that
    each hour is sampled alike.
    """
    stride = max(1, length // places)
    while stride > 1 and np.gcd(stride, max(round(steps_per_day), 1) * 7) > 1:
        stride -= 1
    return stride


def _measure_scales(series: Array) -> Array:
    """Return the deviation of each channel within series, 1 where none varies: [n, C, L] -> float32 [C]."""
    deviations = np.sqrt(series.var(axis=2, dtype=np.float64).mean(axis=0))
    return np.where(deviations > 0, deviations, 1).astype(np.float32)


def _sum_channels(series: Array, mix: tuple[int, ...], scales: Array) -> Array:
    """Return a channel, or the sum of some in units of their scales: [n, C, L] -> [n, L]."""
    places = list(mix)
    return series[:, mix[0]] if len(mix) == 1 else (series[:, places] / scales[places, None]).sum(1)


def _find_inside(length: int, dilation: int, stride: int) -> slice:
    """Return the places whose taps all lie in the series; all places where there are none."""
    padding = (TAPS // 2) * dilation
    first, last = -(-padding // stride), (length - 1 - padding) // stride
    return slice(first, last + 1) if last >= first else slice(None)


def _convolve_all(series: Array, dilation: int, stride: int) -> Iterator[Array]:
    """Compute a third of every kernel's output, in the order of `TRIPLES`: [n, L] -> 84 times [n, T].

    Σ w x = 3 (x_i + x_j + x_k) - Σ x, so a third of it takes one addition from that of a pair. The array that
    is yielded is used again.
    """
    taps, third = _shift_taps(series, dilation, stride)
    pair, output = np.empty_like(third), np.empty_like(third)
    for i in range(TAPS - 2):
        one = taps[i] - third
        for j in range(i + 1, TAPS - 1):
            np.add(one, taps[j], out=pair)
            for k in range(j + 1, TAPS):
                np.add(pair, taps[k], out=output)
                yield output


def _convolve_one_by_one(series: Array, rows: Array, dilation: int, stride: int) -> Array:
    """Compute a third of each kernel's output on the row of its own, to the bit that of `_convolve_all`:
    [n, L], [84] -> [84, T].
    """
    taps, third = _shift_taps(series, dilation, stride)
    stacked = np.stack(taps)
    i, j, k = np.array(TRIPLES).T
    return np.asarray(stacked[i, rows] - third[rows] + stacked[j, rows] + stacked[k, rows])


def _shift_taps(series: Array, dilation: int, stride: int) -> tuple[list[Array], Array]:
    """Return what lies under each tap, and a third of its sum: [n, L] -> 9 times [n, T], [n, T]."""
    length = series.shape[1]
    padding = (TAPS // 2) * dilation
    padded = np.pad(series, ((0, 0), (padding, padding)))
    taps = [
        np.ascontiguousarray(padded[:, tap * dilation : tap * dilation + length : stride])
        for tap in range(TAPS)
    ]
    third = taps[0] / np.float32(3)
    for tap in taps[1:]:
        third += tap / np.float32(3)
    return taps, third


def _fit_biases(
    series: Array, dilations: Array, counts: Array, stride: int, rng: np.random.Generator
) -> Array:
    """Return quantiles of the outputs on a random series of each kernel and dilation: [n, L] -> [84 Σ
    counts].
    """
    total = len(TRIPLES) * int(counts.sum())
    levels = (np.arange(1, total + 1) * ((np.sqrt(5) + 1) / 2)) % 1
    found = np.empty(total, np.float32)
    place = 0
    for dilation, count in zip(dilations, counts):
        drawn = rng.permutation(len(series))[:BIAS_SERIES]
        chosen = rng.integers(len(drawn), size=len(TRIPLES))
        outputs = _convolve_one_by_one(series[drawn], chosen, int(dilation), stride)
        part = slice(place, place + len(TRIPLES) * count)
        found[part] = _read_quantiles(outputs, levels[part].reshape(len(TRIPLES), count)).ravel()
        place = part.stop
    return found


def _read_quantiles(values: Array, levels: Array) -> Array:
    """Return quantiles at levels of its own for each row, as `np.quantile` interpolates: [n, T], [n, q] ->
    [n, q].
    """
    ordered = np.sort(values, axis=1)
    position = levels * (values.shape[1] - 1)
    below = position.astype(int)
    low = np.take_along_axis(ordered, below, axis=1)
    high = np.take_along_axis(ordered, np.minimum(below + 1, values.shape[1] - 1), axis=1)
    share, gap = position - below, high - low
    return np.where(share < 0.5, low + gap * share, high - gap * (1 - share))
