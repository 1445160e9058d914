"""The test of a pair of series for near copies: a robust fit beyond what the population shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import fft

from distgan.anonymity.copy_pairs import (
    CHANCE,
    COMPONENTS,
    EQUAL,
    HOPELESS,
    LEAST_BLOCK,
    LEAST_DEGREES,
    LEAST_STEPS,
    MATCHED,
    MAX_ELSEWHERE,
    MAX_OWN_RESIDUAL,
    MAX_RESIDUAL,
    MAX_WHITE_RESIDUAL,
    MOST_BLOCKS,
    MOST_NET,
    NET_VALUES,
    PER_COMPONENT,
    STRIKING,
    VALUES_AT_ONCE,
    Array,
    Candidates,
    Population,
    count_time_degrees,
    normalise,
)
from distgan.rng import make_keyed_generator


@dataclass(frozen=True)
class CommonShapes:
    """The shapes that series share: an orthonormal basis [C, L, q] of channel-wise shapes."""

    basis: Array

    @classmethod
    def fit(cls, population: Population) -> "CommonShapes":
        """Fit principal components of a sample without near copies, and the waves of day and week.

        A sample of which no two series are alike keeps a copy that stands under many names from becoming
        a component, which would hide it.
        """
        length, channels = population.length, population.channels
        most = int(np.clip(NET_VALUES // (length * channels), 16, MOST_NET))
        rng = make_keyed_generator(population.seed, 0, "sample of near copies")
        rows = np.sort(rng.permutation(population.size)[: 2 * most])
        sample = np.empty((len(rows), length, channels), np.float32)
        step = max(1, VALUES_AT_ONCE // (4 * length * channels))
        for at in range(0, len(rows), step):  # gaps are filled with index arrays twice as large
            sample[at : at + step] = normalise(population.read(rows[at : at + step]))
        net = choose_distinct(sample)[:most]
        number = min(COMPONENTS, len(net) // PER_COMPONENT)
        waves = make_calendar_waves(length, population.steps_per_day)
        bases = []
        for channel in range(channels):
            shapes = sample[net, :, channel].astype(np.float64)
            gram = shapes @ shapes.T
            strongest = np.linalg.eigh(gram)[1][:, ::-1][:, :number]
            bases.append(np.linalg.qr(np.concatenate([waves, shapes.T @ strongest], axis=1))[0])
        return cls(np.stack(bases).astype(np.float32))

    def remove_common(self, shapes: Array) -> Array:
        """Return standardised series without the common shapes: [n, L, C] both."""
        shared = np.einsum("nlc,clq->ncq", shapes, self.basis, optimize=True)
        return shapes - np.einsum("ncq,clq->nlc", shared, self.basis, optimize=True)


def choose_distinct(sample: Array) -> Array:
    """Return the places of a greedy choice of series [n, L, C] of which no two are alike at lag 0."""
    flat = sample.reshape(len(sample), -1)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    alike = np.square(flat @ flat.T) > 1 - MAX_RESIDUAL
    chosen: list[int] = []
    for place in range(len(sample)):
        if not alike[place, chosen].any():
            chosen.append(place)
    return np.array(chosen, np.int64)


def make_calendar_waves(length: int, steps_per_day: float) -> Array:
    """Return [L, w]: a constant, and the waves of day and week with their first overtones, as far as they
    fit.
    """
    time = np.arange(length)
    periods = [steps_per_day / k for k in (1, 2, 3, 4)] + [7 * steps_per_day / k for k in (1, 2, 3)]
    angles = [2 * np.pi * time / period for period in periods if 2 < period <= length / 2]
    waves = [np.ones(length), *(wave(angle) for angle in angles for wave in (np.cos, np.sin))]
    return np.stack(waves, axis=1)


def confirm_copies(
    population: Population, common: CommonShapes, candidates: Candidates, values: Sequence[Array]
) -> Array:
    """Return which candidates are near copies: [P] bool.

    Args:
        values: the first and the second series of each pair, [P, L, C] each.
    """
    first, second = values
    aligned = align(second, candidates)
    matched = Match.fit(first, aligned)
    likely = np.flatnonzero(matched.holds_in_most_channels(matched.residual <= MAX_WHITE_RESIDUAL))
    found = np.zeros(len(first), bool)
    if len(likely):
        part = matched.take(likely)
        shapes = [normalise(values[likely]) for values in (first, second)]
        parts = [(whole, common.remove_common(whole)) for whole in shapes]
        whole, own = (align(each, candidates, likely) for each in parts[1])
        parts[1] = (whole, own)
        pairs = 2 * np.log10(population.size) + np.log10(population.length)
        measured = ~np.isnan(first[likely]) & ~np.isnan(aligned[likely])
        fitted = part.fit_line(parts[0][0], whole, measured)
        close = (part.residual <= MAX_RESIDUAL) | part.has_white_residual(fitted[1], measured)
        varying = measured & (find_varying_steps(first[likely]) | find_varying_steps(aligned[likely]))
        holds = part.is_distinctive(parts, pairs) & part.holds_elsewhere((parts[0][1], own), fitted, varying)
        found[likely] = part.holds_in_most_channels(close & holds)
    return found


def find_varying_steps(values: Array) -> Array:
    """Return the steps whose value is not that of the step before or after: [n, L, C] bool; False where
    missing.
    """
    differs = values[:, 1:] != values[:, :-1]
    found = ~np.isnan(values)
    found[:, 1:] &= differs
    found[:, :-1] &= differs
    return found


def align(values: Array, candidates: Candidates, chosen: Array | slice = slice(None)) -> Array:
    """Bring the second series of each pair to the first: reversed if asked, then moved by the lag."""
    length = values.shape[1]
    aligned = np.empty_like(values)
    for row, (lag, reverse) in enumerate(zip(candidates.lag[chosen] % length, candidates.reverse[chosen])):
        if reverse:  # step t is step lag - t of the other
            aligned[row, : lag + 1] = values[row, lag::-1]
            aligned[row, lag + 1 :] = values[row, :lag:-1]
        else:  # step t is step t + lag
            aligned[row, : length - lag] = values[row, lag:]
            aligned[row, length - lag :] = values[row, :lag]
    return aligned


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
        return np.repeat(self.chosen, np.diff(list_block_edges(self.length)), axis=1)

    def take(self, rows: Array) -> "Match":
        return Match(self.residual[rows], self.chosen[rows], self.informative[rows], self.length)

    def holds_in_most_channels(self, holds: Array) -> Array:
        """Return whether it holds in more than half of the varying channels, or in the only one: [P, C] ->
        [P].
        """
        return 2 * (holds & self.informative).sum(axis=1) > np.maximum(self.informative.sum(axis=1), 1)

    @classmethod
    def fit(cls, first: Array, second: Array) -> "Match":
        """Fit pairs of [P, L, C]."""
        sums = sum_blocks(first, second)
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
                chosen = choose_least_half(sums[rows], slope, offset, half[rows])
                residual = compute_unexplained(sums[rows], chosen)
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

    def is_distinctive(self, parts: Sequence[tuple[Array, Array]], log_pairs: float) -> Array:
        """Return whether the likeness is of the series' own parts, and beyond chance: [P, C] bool.

        Args:
            parts: of either series, standardised and aligned: the whole and its own part, [P, L, C] each.
            log_pairs: log10 of the number of pairs and lags that were looked at.
        """
        degrees, share = np.inf, np.inf
        for whole, own in parts:
            energy, inside = (self._remove_mean(each) for each in (whole, own))
            degrees = np.minimum(
                degrees, np.minimum(count_time_degrees(inside), count_spectral_degrees(inside))
            )
            part = np.square(inside).sum(axis=1) / np.maximum(np.square(energy).sum(axis=1), 1e-12)
            share = np.minimum(share, part)
        relative = np.maximum(self.residual, EQUAL) / np.maximum(share, 1e-12)
        # That D independent numbers agree up to a part of their variance has a chance of part^(D/2), and the
        # better half was chosen, of 2^D choices.
        beyond = log_pairs + degrees / 2 * np.log10(np.maximum(4 * relative, EQUAL)) < np.log10(CHANCE)
        return (relative <= MAX_OWN_RESIDUAL) & (degrees >= LEAST_DEGREES) & beyond

    def fit_line(self, first: Array, second: Array, measured: Array) -> tuple[Array, Array]:
        """Return the slope of the second on the first over the chosen steps, [P, 1, C], and the residual, 0
        elsewhere: [P, L, C].
        """
        a, b = (remove_mean(each, measured & self.steps) for each in (first, second))
        slope = (a * b).sum(axis=1, keepdims=True) / np.maximum((a * a).sum(axis=1, keepdims=True), 1e-300)
        return slope, b - slope * a

    def has_white_residual(self, left: Array, measured: Array) -> Array:
        """Return whether a residual [P, L, C] is uncorrelated from step to step: [P, C] bool.

        Up to twice the error of a correlation, or a tenth.
        """
        together = (measured & self.steps)[:, 1:] & (measured & self.steps)[:, :-1]
        products = (left[:, 1:] * left[:, :-1] * together).sum(axis=1)
        memory = products / np.maximum(np.square(left).sum(axis=1), 1e-300)
        return np.abs(memory) <= np.maximum(0.1, 2 / np.sqrt(np.maximum(together.sum(axis=1), 1)))

    def holds_elsewhere(self, owns: Sequence[Array], fitted: tuple[Array, Array], varying: Array) -> Array:
        """Return whether the fit also explains a part of the series' own parts without the most striking
        steps: [P, C] bool.

        Args:
            owns: the own part of either series, aligned, [P, L, C] each.
            fitted: as `fit_line` returns it.
            varying: [P, L, C] the measured steps that are no part of a run of one value.
        """
        usable = self.steps & varying
        slope, left = fitted
        owns = [scale * remove_mean(own, usable) for scale, own in zip((slope, 1), owns)]
        sizes = [np.abs(own) / np.maximum(own.std(axis=1, keepdims=True), 1e-30) for own in owns]
        striking = np.where(usable, np.maximum(*sizes), np.nan)
        number = usable.sum(axis=1, keepdims=True)
        place = np.maximum(np.floor((1 - STRIKING) * number).astype(np.int64) - 1, 0)
        edge = np.take_along_axis(np.sort(striking, axis=1), place, axis=1)  # missing ones last
        rest = usable & (striking <= edge)
        energy = np.minimum(*(np.square(remove_mean(own, rest)).sum(axis=1) for own in owns))
        unexplained = np.square(remove_mean(left, rest)).sum(axis=1)
        return (rest.sum(axis=1) >= LEAST_STEPS) & (unexplained <= MAX_ELSEWHERE * energy)

    def _remove_mean(self, values: Array) -> Array:
        """Return deviations from the mean over the chosen steps, 0 elsewhere: [P, L, C] -> [P, L, C]."""
        return remove_mean(values, self.steps)


def remove_mean(values: Array, chosen: Array) -> Array:
    """Return deviations from the mean over the chosen steps, 0 elsewhere: [P, L, C] -> [P, L, C]."""
    kept = np.where(chosen, values, 0)
    mean = kept.sum(axis=1, keepdims=True) / np.maximum(chosen.sum(axis=1, keepdims=True), 1)
    return np.where(chosen, kept - mean, 0)


def list_block_edges(length: int) -> Array:
    """Return the [B + 1] steps at which blocks of time begin, and the end."""
    number = int(np.clip(length // LEAST_BLOCK, 1, MOST_BLOCKS))
    return np.arange(number + 1) * length // number


def sum_blocks(first: Array, second: Array) -> Array:
    """Return n, Σa, Σb, Σa², Σab, Σb² of each block, of deviations from the series' means: [P, B, C, 6]
    float64.
    """
    known = ~np.isnan(first) & ~np.isnan(second)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    gaps = None if known.all() else ~known
    a, b = (_standardise_in_place(each.astype(np.float64), gaps, count) for each in (first, second))
    edges = list_block_edges(first.shape[1])
    sums = np.empty((len(a), len(edges) - 1, a.shape[2], 6))
    sums[..., 0] = np.diff(edges)[:, None] if gaps is None else np.add.reduceat(known, edges[:-1], 1, float)
    sums[..., 1] = np.add.reduceat(a, edges[:-1], axis=1)
    sums[..., 2] = np.add.reduceat(b, edges[:-1], axis=1)
    products = np.empty_like(a)
    for place, pair in enumerate(((a, a), (a, b), (b, b)), 3):
        sums[..., place] = np.add.reduceat(np.multiply(*pair, out=products), edges[:-1], axis=1)
    return sums


def _standardise_in_place(values: Array, gaps: Array | None, count: Array) -> Array:
    """Bring series [P, L, C] to mean 0 and deviation 1 over what is measured in both; gaps become 0."""
    if gaps is not None:
        values[gaps] = 0
    values -= values.sum(axis=1, keepdims=True) / count
    if gaps is not None:
        values[gaps] = 0
    size = np.sqrt(np.einsum("plc,plc->pc", values, values)[:, None] / count)
    values /= np.where(size > 0, size, 1)
    return values


def regress(sums: Array, chosen: Array) -> tuple[Array, Array]:
    """Return slope and offset of b on a over the chosen blocks: [P, 1, C] each."""
    n, a, b, aa, ab, _ = np.moveaxis((sums * chosen[..., None]).sum(axis=1, keepdims=True), -1, 0)
    n = np.maximum(n, 1)
    variance = aa - a * a / n
    slope = np.where(variance > 1e-9 * n, (ab - a * b / n) / np.maximum(variance, 1e-300), 0)
    return slope, (b - slope * a) / n


def choose_least_half(sums: Array, slope: Array, offset: Array, half: Array) -> Array:
    """Return the blocks of the least mean squared residual that hold half of what both measured: [P, B, C]
    bool.
    """
    n, a, b, aa, ab, bb = np.moveaxis(sums, -1, 0)
    squared = bb + slope**2 * aa + n * offset**2 - 2 * slope * ab - 2 * offset * b + 2 * slope * offset * a
    mean = np.where(n > 0, squared / np.maximum(n, 1), np.inf)
    order = np.argsort(mean, axis=1, kind="stable")
    before = np.cumsum(np.take_along_axis(n, order, axis=1), axis=1) - np.take_along_axis(n, order, axis=1)
    chosen = np.zeros(n.shape, bool)
    np.put_along_axis(chosen, order, before < half, axis=1)
    return chosen & (n > 0)


def compute_unexplained(sums: Array, chosen: Array) -> Array:
    """Return 1 - r² over the chosen blocks: [P, C]; inf where one of the two does not vary there."""
    n, a, b, aa, ab, bb = np.moveaxis((sums * chosen[..., None]).sum(axis=1), -1, 0)
    n = np.maximum(n, 1)
    of_a, of_b, both = aa - a * a / n, bb - b * b / n, ab - a * b / n
    varies = (of_a > 1e-6 * n) & (of_b > 1e-6 * n)
    r2 = np.square(both) / np.where(varies, of_a * of_b, 1)
    return np.where(varies, np.maximum(1 - r2, 0), np.inf)


def count_spectral_degrees(values: Array) -> Array:
    """Return the number of independent numbers in the power spectrum, 2 (Σp)² / Σp²: [n, L, C] -> [n, C]."""
    power = np.square(np.abs(fft.rfft(values, axis=1)))
    return 2 * np.square(power.sum(axis=1)) / np.maximum(np.square(power).sum(axis=1), 1e-300)
