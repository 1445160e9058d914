"""Descriptors of a set of series, computed before it is compared: distributions, rhythms, feature-space
points.

Shapes: n series, L steps, C channels, G points of a grid, D hours of a day, F features, P coordinates. Values
are in original units, NaN where missing.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse

from distgan.evaluation.metrics.entity_loads import LoadGrid, fit_load_grid
from distgan.evaluation.metrics.gaps import average_known
from distgan.evaluation.metrics.kernels import Kernels, fit_kernels
from distgan.evaluation.metrics.minirocket import TAPS, MiniRocket, choose_stride, fit_minirocket

Array = NDArray[Any]

LONG_LAGS_DAYS = (21, 28, 42, 56, 91, 121, 182, 273, 328, 365, 546, 728, 1092)
NUM_BANDS = 40  # of the spectrum, evenly spaced in log frequency
NUM_SEASONS = 52  # blocks a record is cut into: weeks, for a year
DURATION_LEVELS = np.concatenate([[0, 0.001, 0.005], np.linspace(0.01, 0.99, 99), [0.995, 0.999, 1]])
MONTH_DAYS = 365.25 / 12
SPACE_DIMS = 12  # principal directions of the feature space in which neighbours are counted
AT_ONCE = 256  # series that are described together: what that needs in memory
GRID_VALUES = 2_000_000  # whose quantiles say where distributions are read, at most
FEWEST_PAIRS = 0.05  # of those of a whole series, that settle an autocorrelation
ROCKET_FEATURES, ROCKET_DILATIONS, ROCKET_PLACES = 1008, 12, 1000  # of MiniRocket in every row of a table
SPACE_SERIES = 4000  # real series that fit the spaces, at most

# ------------------------------------------------------------------------------------------------ descriptors


@dataclass(frozen=True)
class ReferenceGrid:
    """Grids, scales and lags, fixed from real series before any candidate is measured."""

    steps_per_day: float
    length: int
    value_grid: Array  # [C, G] where distribution functions are read
    ramp_grid: Array  # [C, G]
    value_scale: Array  # [C] standard deviation of the real values
    ramp_scale: Array  # [C]
    short_lags: Array  # steps, up to two weeks
    long_lags: Array  # steps, three weeks to years
    bands: Array  # first frequency of each band, in cycles per record
    lines: tuple[tuple[str, Array], ...]  # name, frequencies (cycles per record) of the day and week lines
    kernels: Kernels  # random convolutions
    rocket: MiniRocket | None  # None for series of fewer steps than it has taps
    loads: LoadGrid | None  # None for series that are no loads


@dataclass(frozen=True, eq=False)
class Descriptors:
    """Descriptors of each series, [n, …]; the description of a set is a mean over its rows."""

    measured: Array  # [n, C] number of values that are not missing
    changes: Array  # [n, C] number of neighbouring steps of which neither is missing
    value_cdf: Array  # [n, C, G] share of values at or below the grid
    ramp_cdf: Array  # [n, C, G]
    level: Array  # [n, C] mean
    spread: Array  # [n, C] standard deviation
    sizes: Array  # [n, 2 C] both on a curved scale, standardised by real series
    skew: Array  # [n, C] third standardised moment
    tails: Array  # [n, C] log of the fourth, ln 3 for a Gaussian
    acf_short: Array  # [n, C, lags]
    acf_long: Array  # [n, C, lags]
    bands: Array  # [n, C, bands] share of variance
    lines: Array  # [n, C, lines] share of variance
    day: Array  # [n, C, D] mean standardised value by time of day
    week: Array  # [n, C, W]
    season: Array  # [n, C, S]
    months: Array  # [n, C, 2 M] mean and spread of the standardised values in each month of the record
    duration: Array  # [n, C, levels] sorted standardised values
    channels: Array  # [n, C(C-1)/2] correlations between channels
    kernels: Array  # [n, F] what random convolutions see, standardised by real series
    embedding: Array  # [n, E] the same along its principal directions
    points: Array  # [n, P] place in the feature space
    rocket: Array  # [n, R] what MiniRocket sees: proportions of positive values
    figures: Array  # [n, Q] figures of loads; Q is 0 where series are none
    owner: Array  # [n] number of the owner, to keep its series together
    to_training: Array  # [n] distance to the nearest training series, 0 (same shape) to 2 (mirrored)
    to_target: Array  # [n] distance to the nearest target series
    to_own: Array  # [n] distance to the nearest other series of the same set

    def __len__(self) -> int:
        return len(self.level)

    def take(self, rows: Array) -> "Descriptors":
        return Descriptors(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @staticmethod
    def join(parts: "Sequence[Descriptors]") -> "Descriptors":
        names = [field.name for field in fields(Descriptors)]
        return Descriptors(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        )


def standardise(values: Array) -> tuple[Array, Array, Array]:
    """Scale each series to mean 0, spread 1: [n, L, C] -> float32 [n, C, L], level [n, C], spread [n, C].

    Missing values and constant series become 0.
    """
    series = np.moveaxis(np.asarray(values, dtype=np.float32), 1, 2)
    with warnings.catch_warnings():
        # numpy warns of channels without any measured value; they are NaN.
        warnings.simplefilter("ignore", RuntimeWarning)
        level: Array = np.asarray(np.nanmean(series, axis=-1, dtype=np.float64))
        centred = series - level[..., None].astype(np.float32)
        spread: Array = np.asarray(np.sqrt(np.nanmean(np.square(centred), axis=-1, dtype=np.float64)))
    constant = ~(spread > 1e-6 * np.abs(level))
    scale = np.where(constant, 1.0, spread)[..., None].astype(np.float32)
    standard = np.where(np.isnan(centred), np.float32(0), centred / scale)
    standard[constant] = 0
    return standard, level, np.where(constant, 0 * spread, spread)


def make_reference_grid(real: Array, steps_per_day: float) -> ReferenceGrid:
    """Compute grids, scales, lags and bands from real series [n, L, C]."""
    n, length, channels = real.shape
    ramps = np.diff(real, axis=1)
    values = [real[..., c][~np.isnan(real[..., c])] for c in range(channels)]
    steps = [ramps[..., c][~np.isnan(ramps[..., c])] for c in range(channels)]
    fortnight = _find_fortnight(length, steps_per_day)
    long = np.unique(np.round(np.array(LONG_LAGS_DAYS) * steps_per_day).astype(int))
    first_bands = np.unique(np.round(np.geomspace(1, max(length // 2, 2), NUM_BANDS)).astype(int))
    cycles = length / steps_per_day  # days in the record
    lines = [("day", cycles), ("half day", 2 * cycles), ("week", cycles / 7)]
    return ReferenceGrid(
        steps_per_day=steps_per_day,
        length=length,
        value_grid=np.stack([_make_grid(v) for v in values]),
        ramp_grid=np.stack([_make_grid(v) for v in steps]),
        value_scale=np.array([_measure_scale(v) for v in values]),
        ramp_scale=np.array([_measure_scale(v) for v in steps]),
        short_lags=list_short_lags(length, steps_per_day),
        long_lags=long[(long > fortnight) & (long <= 0.9 * length)],
        bands=first_bands[first_bands <= length // 2],
        # At least two cycles, and below the Nyquist frequency.
        lines=tuple((name, _find_line(f, length)) for name, f in lines if 2 <= f <= length / 2 - 1),
        kernels=fit_kernels(standardise(real[:: max(1, n // 64)])[0], steps_per_day),
        rocket=_fit_rocket(real[:: max(1, n // 64)], steps_per_day),
        loads=fit_load_grid(real, steps_per_day),
    )


def _find_fortnight(length: int, steps_per_day: float) -> int:
    """Return two weeks in steps, or a dozen steps, but no more than nine tenths of the record."""
    return min(max(round(14 * steps_per_day), 12), int(0.9 * length))


def list_short_lags(length: int, steps_per_day: float) -> Array:
    """Return lags of an autocorrelation up to two weeks, in steps, 700 at most."""
    fortnight = _find_fortnight(length, steps_per_day)
    return np.arange(1, fortnight + 1, math.ceil(max(fortnight, 1) / 700))


def _fit_rocket(real: Array, steps_per_day: float) -> MiniRocket | None:
    if real.shape[1] < TAPS:
        return None
    stride = choose_stride(real.shape[1], ROCKET_PLACES, steps_per_day)
    settings = {"features": ROCKET_FEATURES, "dilations": ROCKET_DILATIONS, "stride": stride}
    return fit_minirocket(fill_gaps(real), **settings)


def fill_gaps(values: Array) -> Array:
    """Move channels before steps and fill gaps with the series' mean: [n, L, C] -> float32 [n, C, L]."""
    series = np.moveaxis(np.asarray(values, dtype=np.float32), 1, 2)
    missing = np.isnan(series)
    if not missing.any():
        return series
    counts = np.maximum((~missing).sum(-1, keepdims=True), 1)
    middle = np.where(missing, 0, series).sum(-1, keepdims=True, dtype=np.float64) / counts
    return np.where(missing, middle.astype(np.float32), series)


def _measure_scale(values: Array) -> float:
    spread = float(values.std(dtype=np.float64)) if len(values) else 0.0
    return spread if spread > 0 else 1.0


def _make_grid(values: Array) -> Array:
    """Return the points [G] of distribution functions: quantiles, even steps, and steps far beyond both
    ends.
    """
    if not len(values):
        values = np.zeros(1)
    low, high, scale = float(values.min()), float(values.max()), _measure_scale(values)
    beyond = scale * np.geomspace(1e-3, 1e4, 60)
    some = values[:: math.ceil(len(values) / GRID_VALUES)]
    inside = np.concatenate(
        [np.quantile(some, np.linspace(0, 1, 402)[1:-1]), np.linspace(low, high, 202)[1:-1]]
    )
    return np.concatenate([low - beyond[::-1], [low], np.sort(inside), [high], high + beyond])


def _find_line(frequency: float, length: int) -> Array:
    nearest = round(frequency)
    return np.array([f for f in (nearest - 1, nearest, nearest + 1) if 1 <= f <= length // 2])


def compute_descriptors(values: Array, grid: ReferenceGrid) -> Descriptors:
    """Compute descriptors of [n, L, C] series, except their points and neighbours (see `Measure`)."""
    starts = range(0, max(len(values), 1), AT_ONCE)
    return Descriptors.join([_compute_block(values[start : start + AT_ONCE], grid) for start in starts])


def _compute_block(values: Array, grid: ReferenceGrid) -> Descriptors:
    """Compute the same for a block of series."""
    standard, level, spread = standardise(values)
    mask = ~np.isnan(np.moveaxis(values, 1, 2))
    short, long = _correlate_lags(standard, mask, grid.short_lags, grid.long_lags)
    bands, lines = _compute_spectrum(standard, grid)
    n, places = len(values), _find_places(grid)
    skew, tails = _compute_moments(standard, mask)
    blank, unit = np.zeros(n), grid.value_scale
    return Descriptors(
        measured=mask.sum(-1).astype(np.float64),
        changes=(mask[..., 1:] & mask[..., :-1]).sum(-1).astype(np.float64),
        value_cdf=_compute_distribution(values, grid.value_grid),
        ramp_cdf=_compute_distribution(np.diff(values, axis=1), grid.ramp_grid),
        level=level,
        spread=spread,
        sizes=np.nan_to_num(np.concatenate([np.arcsinh(level / unit), np.log(spread / unit + 1e-3)], 1)),
        skew=skew,
        tails=tails,
        acf_short=short,
        acf_long=long,
        bands=bands,
        lines=lines,
        day=fold(standard, mask, *places["day"]),
        week=fold(standard, mask, *places["week"]),
        season=fold(standard, mask, *places["season"]),
        months=_fold_moments(standard, mask, *places["months"]),
        duration=_compute_duration(standard, mask),
        channels=_correlate_channels(standard, mask),
        kernels=grid.kernels.compute_features(standard, mask),
        embedding=np.zeros((n, 0)),
        points=np.zeros((n, 0)),
        rocket=np.zeros((n, 0)) if grid.rocket is None else grid.rocket.compute_features(fill_gaps(values)),
        figures=np.zeros((n, 0)) if grid.loads is None else grid.loads.measure(values[..., 0]),
        owner=np.arange(n),
        to_training=blank,
        to_target=blank,
        to_own=blank,
    )


def _find_places(grid: ReferenceGrid) -> dict[str, tuple[Array | None, int]]:
    """Return by period the place of each step in it, [L] from 0, and the number of places: the hour of the
    day and of the week, the part and the month of the record. None where the record is too short for it.
    """
    length, per_day, time = grid.length, grid.steps_per_day, np.arange(grid.length) + 1e-6
    hours = min(max(round(per_day), 1), 96)
    fine = 7 * min(hours, 24)
    months = int(length / per_day / MONTH_DAYS)
    found: dict[str, tuple[Array | None, int]] = dict.fromkeys(("day", "week", "season", "months"), (None, 0))
    if hours >= 2 and length >= 2 * per_day:
        found["day"] = (time / per_day % 1 * hours).astype(int), hours
    if per_day >= 1 and length >= 14 * per_day:
        found["week"] = (time / per_day / 7 % 1 * fine).astype(int), fine
    if length >= 2 * NUM_SEASONS:
        found["season"] = (time * NUM_SEASONS / length).astype(int), NUM_SEASONS
    if 2 <= months < length:
        found["months"] = np.minimum((time / per_day / MONTH_DAYS).astype(int), months - 1), months
    return found


def _compute_distribution(values: Array, grid: Array) -> Array:
    """Return the share of measured values at or below each grid point: [n, L, C], [C, G] -> [n, C, G]."""
    n, _, channels = values.shape
    shares = np.zeros((n, channels, grid.shape[1]), dtype=np.float32)
    ordered = np.sort(values, axis=1)  # NaN last
    counts = (~np.isnan(values)).sum(1)
    for i in range(n):
        for c in range(channels):
            count = counts[i, c]
            shares[i, c] = np.searchsorted(ordered[i, :count, c], grid[c], side="right") / max(count, 1)
    return shares


def _correlate_lags(standard: Array, mask: Array, short: Array, long: Array) -> tuple[Array, Array]:
    """Return the autocorrelation of each series over measured pairs: [n, C, L] -> 2 x [n, C, lags]; NaN where
    there are few.
    """
    length = standard.shape[-1]
    size = fft.next_fast_len(2 * length, real=True)

    def sum_products(signal: Array) -> Array:
        power = np.square(np.abs(fft.rfft(signal, size, axis=-1)))
        return fft.irfft(power, size, axis=-1)

    sums = sum_products(standard)
    pairs: Array = np.broadcast_to(length - np.arange(size, dtype=np.float32), sums.shape)
    if not mask.all():
        pairs = sum_products(mask.astype(np.float32))

    def read_lags(lags: Array) -> Array:
        values = np.clip(sums[..., lags] / np.maximum(pairs[..., lags], 1), -1.5, 1.5)
        enough = pairs[..., lags] > FEWEST_PAIRS * (length - lags)
        return values if enough.all() else np.where(enough, values, np.float32(np.nan))

    return read_lags(short), read_lags(long)


def compute_autocorrelation(values: Array, lags: Array) -> Array:
    """Return the autocorrelation of each series at the given lags (steps): [n, L, C] -> [n, C, lags]."""
    return _correlate_lags(standardise(values)[0], ~np.isnan(np.moveaxis(values, 1, 2)), lags, lags[:0])[0]


def _compute_spectrum(standard: Array, grid: ReferenceGrid) -> tuple[Array, Array]:
    """Return the share of variance in each band and at each line: [n, C, L] -> [n, C, bands], [n, C,
    lines].
    """
    power = np.square(np.abs(fft.rfft(standard, axis=-1)))
    power[..., 0] = 0
    power[..., (standard.shape[-1] + 1) // 2 :] /= 2  # the fastest wave of an even number is not doubled
    power /= np.maximum(power.sum(-1, keepdims=True), 1e-12)
    bands = np.add.reduceat(power, grid.bands, axis=-1)
    lines = [power[..., frequencies].sum(-1) for _, frequencies in grid.lines]
    return bands, np.stack(lines, -1) if lines else np.zeros((*bands.shape[:2], 0))


def fold(standard: Array, mask: Array, position: Array | None, size: int) -> Array:
    """Average measured values by position in the period: [n, C, L], [L] in 0..size-1 -> [n, C, size]; NaN
    where none is measured.
    """
    n, channels, length = standard.shape
    if position is None:
        return np.zeros((n, channels, 0))
    pick = sparse.csr_array((np.ones(length, np.float32), (np.arange(length), position)), (length, size))
    sums = standard.reshape(-1, length) @ pick
    counts = mask.reshape(-1, length).astype(np.float32) @ pick
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.float32(np.nan))
    return means.reshape(n, channels, size)


def average_weekdays(week: Array) -> Array:
    """Return the mean week less its mean day, how weekdays differ: [n, C, 7 D] -> [C, 7 D]."""
    means = average_known(week)
    days = means.reshape(*means.shape[:-1], 7, -1) if means.size else means
    return (days - days.mean(-2, keepdims=True)).reshape(means.shape) if means.size else means


def _fold_moments(standard: Array, mask: Array, position: Array | None, size: int) -> Array:
    """Return mean and spread by position, concatenated: [n, C, L] -> [n, C, 2 size]."""
    means = fold(standard, mask, position, size)
    squares = fold(np.square(standard), mask, position, size)
    return np.concatenate([means, np.sqrt(np.maximum(squares - np.square(means), 0))], -1)


def _compute_moments(standard: Array, mask: Array) -> tuple[Array, Array]:
    """Return skewness and log kurtosis of each series, those of a Gaussian where it is constant: [n, C, L] ->
    2 x [n, C].
    """
    counts = np.maximum(mask.sum(-1), 1)
    squares = np.square(standard)  # gaps are 0
    third, fourth = (np.einsum("ncl,ncl->nc", squares, other) / counts for other in (standard, squares))
    return third, np.log(np.where(fourth > 0, np.maximum(fourth, 1), 3))


def _compute_duration(standard: Array, mask: Array) -> Array:
    """Return each series' standardised load-duration curve, quantiles of its measured values: [n, C,
    levels].
    """
    ordered = np.sort(np.where(mask, standard, np.inf), axis=-1)
    last = np.maximum(mask.sum(-1, keepdims=True) - 1, 0)
    places = np.round(DURATION_LEVELS * last).astype(int)
    values = np.take_along_axis(ordered, places, axis=-1)
    return np.where(np.isfinite(values), values, 0)


def _correlate_channels(standard: Array, mask: Array) -> Array:
    """Return correlations over steps at which both channels are measured, NaN without: [n, C, L] -> [n,
    C(C-1)/2].
    """
    n, channels, length = standard.shape
    if channels < 2:
        return np.zeros((n, 0))
    products = np.einsum("nil,njl->nij", standard, standard, optimize=True)
    if mask.all():
        products /= length
    else:
        there = mask.astype(np.float32)
        pairs = np.einsum("nil,njl->nij", there, there, optimize=True)
        products = np.where(pairs > 0, products / np.maximum(pairs, 1), np.nan)
    first, second = np.triu_indices(channels, 1)
    return products[:, first, second]


# ---------------------------------------------------------------------------------------------- feature space


@dataclass(frozen=True)
class Space:
    """A compact space of descriptors, fitted on real series only; shape, rhythm, location and scale have
    equal weight.
    """

    centre: Array  # [F]
    weight: Array  # [F]
    axes: Array  # [F, P]
    level_centre: Array  # [C]
    level_scale: Array  # [C]

    def place(self, descriptors: Descriptors) -> Array:
        """Return coordinates [n, P]."""
        raw, _ = _join_features(descriptors, self.level_centre, self.level_scale)
        return ((np.where(np.isnan(raw), self.centre, raw) - self.centre) * self.weight) @ self.axes


def _join_features(descriptors: Descriptors, centre: Array, scale: Array) -> tuple[Array, list[int]]:
    """Return features [n, F] and the width of each block."""
    lags = descriptors.acf_short.shape[-1]
    some_lags = np.unique(np.geomspace(1, max(lags, 1), 12).astype(int)) - 1
    levels = np.linspace(0, len(DURATION_LEVELS) - 1, 11).astype(int)
    blocks = [
        np.arcsinh((descriptors.level - centre) / scale),
        np.log(descriptors.spread / scale + 1e-3),
        descriptors.duration[..., levels],
        descriptors.acf_short[..., some_lags[some_lags < lags]],
        np.log10(descriptors.bands + 1e-6),
        descriptors.day,
        descriptors.season,
    ]
    flat = [block.reshape(len(descriptors), -1) for block in blocks]
    flat = [block for block in flat if block.shape[1]]
    return np.concatenate(flat, 1).astype(np.float64), [block.shape[1] for block in flat]


def fit_space(descriptors: Descriptors) -> Space:
    """Fit the feature space of real descriptors: scale every block to unit variance, take principal
    directions.
    """
    centre, scale = np.nanmedian(descriptors.level, 0), np.nanstd(descriptors.level, 0)
    scale = np.where(scale > 0, scale, np.maximum(np.nanmean(descriptors.spread, 0), 1e-12))
    raw, widths = _join_features(descriptors, centre, scale)
    mean = np.nan_to_num(average_known(raw))  # what a series has not measured is taken to be average
    raw = np.where(np.isnan(raw), mean, raw)
    totals = np.array([block.var(0).sum() for block in np.split(raw, np.cumsum(widths)[:-1], 1)])
    weight = np.repeat(1 / np.sqrt(np.where(totals > 1e-12, totals, 1.0)), widths)
    _, _, directions = np.linalg.svd((raw - mean) * weight, full_matrices=False)
    return Space(mean, weight, directions[:SPACE_DIMS].T, centre, scale)
