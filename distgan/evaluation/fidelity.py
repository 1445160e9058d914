"""Scores of synthetic series against real series that no network has seen, each beside its floors.

A score alone says little, so every table has five rows, scored by the same functions against the same
target:

    model          the synthetic series
    real hold-out  other real entities, never trained on: what a perfect generator would reach
    copier         the training series themselves: perfect on fidelity, useless for privacy
    mean curve     the mean training curve, repeated: realistic on average, no diversity
    shuffled hours training series with their hours permuted: right values, no rhythm

The target is the hold-out. The `real hold-out` row is the reference split (a third set of real entities)
against it; where that split is too small, the hold-out is cut into two halves, one the target of all rows,
one the real row. The copier's fidelity is a second draw of the same: training series are real, and
independent of the target. A model is called like real only when it is no worse than the better of the two.
Distances between finite sets never reach zero and shrink with their sizes, so all rows are compared at one
size, the smallest, averaged over random draws. The ± is the standard error over the choice of entities: the
spread over random halves of both sets, the same for all rows.

Shapes: n series, L steps, C channels. Values are in original units, NaN where missing. A score that does
not exist for the data (weekly profile of three days) is NaN here and null in the report.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse
from scipy.spatial.distance import cdist

from distgan.draws import generator
from distgan.errors import UserError

Array = NDArray[Any]

MODEL, REAL, COPIER, MEAN_CURVE, SHUFFLED = (
    "model",
    "real hold-out",
    "copier",
    "mean curve",
    "shuffled hours",
)
ROWS = {
    MODEL: "the synthetic series",
    REAL: "other real series, never trained on: what a perfect generator would reach",
    COPIER: "the training series, copied: perfect at imitation, worthless as anonymisation",
    MEAN_CURVE: "the mean training curve, repeated: right on average, nothing varies",
    SHUFFLED: "training series with their hours shuffled: right values, no rhythm",
}
LONG_LAGS_DAYS = (21, 28, 42, 56, 91, 121, 182, 273, 328, 365, 546, 728, 1092)
NUM_BANDS = 40  # of the spectrum, evenly spaced in log frequency
NUM_SEASONS = 52  # blocks a record is cut into: weeks, for a year
DURATION_LEVELS = np.concatenate([[0, 0.001, 0.005], np.linspace(0.01, 0.99, 99), [0.995, 0.999, 1]])
SPACE_DIMS = 12  # principal directions of the feature space in which neighbours are counted
NEIGHBOURS = 5
VALUE_DRAWS, NOISE_DRAWS = 12, 24
SMALLEST_REAL_ROW = 4


# ------------------------------------------------------------------------------------------------ descriptors


@dataclass(frozen=True)
class Ruler:
    """What is fixed from real series before any candidate is measured."""

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


@dataclass(frozen=True)
class Traits:
    """What is remembered of each series, [n, …]; the description of a set is a mean over its rows."""

    measured: Array  # [n, C] number of values that are not missing
    value_cdf: Array  # [n, C, G] share of values at or below the grid
    ramp_cdf: Array  # [n, C, G]
    level: Array  # [n, C] mean
    spread: Array  # [n, C] standard deviation
    acf_short: Array  # [n, C, lags]
    acf_long: Array  # [n, C, lags]
    bands: Array  # [n, C, bands] share of variance
    lines: Array  # [n, C, lines] share of variance
    day: Array  # [n, C, D] mean standardised value by time of day
    week: Array  # [n, C, W]
    season: Array  # [n, C, S]
    duration: Array  # [n, C, levels] sorted standardised values
    channels: Array  # [n, C(C-1)/2] correlations between channels
    points: Array  # [n, P] place in the feature space
    to_training: Array  # [n] distance to the nearest training series, 0 (same shape) to 2 (mirrored)
    to_target: Array  # [n] distance to the nearest target series
    to_own: Array  # [n] distance to the nearest other series of the same set

    def __len__(self) -> int:
        return len(self.level)

    def take(self, rows: Array) -> "Traits":
        return Traits(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def standardise(values: Array) -> tuple[Array, Array, Array]:
    """Each series to mean 0, spread 1: [n, L, C] -> float32 [n, C, L], level [n, C], spread [n, C].

    Missing values and constant series become 0.
    """
    series = np.moveaxis(np.asarray(values, dtype=np.float32), 1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # a channel that is missing throughout is NaN, and said so
        level: Array = np.asarray(np.nanmean(series, axis=-1, dtype=np.float64))
        centred = series - level[..., None].astype(np.float32)
        spread: Array = np.asarray(np.sqrt(np.nanmean(np.square(centred), axis=-1, dtype=np.float64)))
    constant = ~(spread > 1e-6 * np.abs(level))
    scale = np.where(constant, 1.0, spread)[..., None].astype(np.float32)
    standard = np.where(np.isnan(centred), np.float32(0), centred / scale)
    standard[constant] = 0
    return standard, level, np.where(constant, 0 * spread, spread)


def make_ruler(real: Array, steps_per_day: float) -> Ruler:
    """Grids, scales, lags and bands from real series [n, L, C]."""
    _, length, channels = real.shape
    ramps = np.diff(real, axis=1)
    values = [real[..., c][~np.isnan(real[..., c])] for c in range(channels)]
    steps = [ramps[..., c][~np.isnan(ramps[..., c])] for c in range(channels)]
    fortnight = min(max(round(14 * steps_per_day), 12), int(0.9 * length))  # or a dozen steps
    long = np.unique(np.round(np.array(LONG_LAGS_DAYS) * steps_per_day).astype(int))
    first_bands = np.unique(np.round(np.geomspace(1, max(length // 2, 2), NUM_BANDS)).astype(int))
    cycles = length / steps_per_day  # days in the record
    lines = [("day", cycles), ("half day", 2 * cycles), ("week", cycles / 7)]
    return Ruler(
        steps_per_day=steps_per_day,
        length=length,
        value_grid=np.stack([_grid(v) for v in values]),
        ramp_grid=np.stack([_grid(v) for v in steps]),
        value_scale=np.array([_scale(v) for v in values]),
        ramp_scale=np.array([_scale(v) for v in steps]),
        short_lags=np.arange(1, fortnight + 1, math.ceil(max(fortnight, 1) / 700)),
        long_lags=long[(long > fortnight) & (long <= 0.9 * length)],
        bands=first_bands[first_bands <= length // 2],
        lines=tuple(
            (name, _line(f, length)) for name, f in lines if 2 <= f <= length / 2 - 1
        ),  # two cycles at least, and below Nyquist
    )


def _scale(values: Array) -> float:
    spread = float(values.std(dtype=np.float64)) if len(values) else 0.0
    return spread if spread > 0 else 1.0


def _grid(values: Array) -> Array:
    """Where to read distribution functions: [G] quantiles, even steps, and steps far beyond both ends."""
    if not len(values):
        values = np.zeros(1)
    low, high, scale = float(values.min()), float(values.max()), _scale(values)
    beyond = scale * np.geomspace(1e-3, 1e4, 60)
    inside = np.concatenate(
        [np.quantile(values, np.linspace(0, 1, 402)[1:-1]), np.linspace(low, high, 202)[1:-1]]
    )
    return np.concatenate([low - beyond[::-1], [low], np.sort(inside), [high], high + beyond])


def _line(frequency: float, length: int) -> Array:
    nearest = round(frequency)
    return np.array([f for f in (nearest - 1, nearest, nearest + 1) if 1 <= f <= length // 2])


def describe(values: Array, ruler: Ruler) -> Traits:
    """Traits of [n, L, C] series, but for their places and neighbours (see `Measure`)."""
    standard, level, spread = standardise(values)
    mask = ~np.isnan(np.moveaxis(values, 1, 2))
    short, long = _autocorrelation(standard, mask, ruler.short_lags, ruler.long_lags)
    bands, lines = _spectrum(standard, ruler)
    n, length = len(values), ruler.length
    per_day = ruler.steps_per_day
    hours = min(max(round(per_day), 1), 96)
    time = np.arange(length) + 1e-6
    day = (time / per_day % 1 * hours).astype(int) if hours >= 2 and length >= 2 * per_day else None
    fine = 7 * min(hours, 24)
    week = (time / per_day / 7 % 1 * fine).astype(int) if per_day >= 1 and length >= 14 * per_day else None
    season = (time * NUM_SEASONS / length).astype(int) if length >= 2 * NUM_SEASONS else None
    blank = np.zeros(n)
    return Traits(
        measured=mask.sum(-1).astype(np.float64),
        value_cdf=_distribution(values, ruler.value_grid),
        ramp_cdf=_distribution(np.diff(values, axis=1), ruler.ramp_grid),
        level=level,
        spread=spread,
        acf_short=short,
        acf_long=long,
        bands=bands,
        lines=lines,
        day=fold(standard, mask, day, hours),
        week=fold(standard, mask, week, fine),
        season=fold(standard, mask, season, NUM_SEASONS),
        duration=_duration(standard, mask),
        channels=_channel_correlations(standard),
        points=np.zeros((n, 0)),
        to_training=blank,
        to_target=blank,
        to_own=blank,
    )


def _distribution(values: Array, grid: Array) -> Array:
    """Share of each series' measured values at or below each grid point: [n, L, C], [C, G] -> [n, C, G]."""
    n, _, channels = values.shape
    shares = np.zeros((n, channels, grid.shape[1]), dtype=np.float32)
    ordered = np.sort(values, axis=1)  # NaN last
    counts = (~np.isnan(values)).sum(1)
    for i in range(n):
        for c in range(channels):
            count = counts[i, c]
            shares[i, c] = np.searchsorted(ordered[i, :count, c], grid[c], side="right") / max(count, 1)
    return shares


def _autocorrelation(standard: Array, mask: Array, short: Array, long: Array) -> tuple[Array, Array]:
    """Correlation of each series with itself over measured pairs: [n, C, L] -> 2 x [n, C, lags]."""
    length = standard.shape[-1]
    size = fft.next_fast_len(2 * length, real=True)

    def products(signal: Array) -> Array:
        power = np.square(np.abs(fft.rfft(signal, size, axis=-1)))
        return fft.irfft(power, size, axis=-1)

    sums = products(standard)
    pairs: Array = np.broadcast_to(length - np.arange(size, dtype=np.float32), sums.shape)
    if not mask.all():
        pairs = products(mask.astype(np.float32))

    def at(lags: Array) -> Array:
        values = sums[..., lags] / np.maximum(pairs[..., lags], 1)
        return np.clip(values, -1.5, 1.5)

    return at(short), at(long)


def autocorrelation(values: Array, lags: Array) -> Array:
    """Correlation of each series with itself at the given lags (steps): [n, L, C] -> [n, C, lags]."""
    return _autocorrelation(standardise(values)[0], ~np.isnan(np.moveaxis(values, 1, 2)), lags, lags[:0])[0]


def _spectrum(standard: Array, ruler: Ruler) -> tuple[Array, Array]:
    """Share of variance in each band and at each line: [n, C, L] -> [n, C, bands], [n, C, lines]."""
    power = np.square(np.abs(fft.rfft(standard, axis=-1)))
    power[..., 0] = 0
    power /= np.maximum(power.sum(-1, keepdims=True), 1e-12)
    bands = np.add.reduceat(power, ruler.bands, axis=-1)
    lines = [power[..., frequencies].sum(-1) for _, frequencies in ruler.lines]
    return bands, np.stack(lines, -1) if lines else np.zeros((*bands.shape[:2], 0))


def fold(standard: Array, mask: Array, position: Array | None, size: int) -> Array:
    """Mean by position in the period, over measured values: [n, C, L], [L] in 0..size-1 -> [n, C, size]."""
    n, channels, length = standard.shape
    if position is None:
        return np.zeros((n, channels, 0))
    pick = sparse.csr_array((np.ones(length, np.float32), (np.arange(length), position)), (length, size))
    sums = standard.reshape(-1, length) @ pick
    counts = mask.reshape(-1, length).astype(np.float32) @ pick
    return (sums / np.maximum(counts, 1)).reshape(n, channels, size)


def _duration(standard: Array, mask: Array) -> Array:
    """Each series' load-duration curve, standardised: quantiles of its measured values, [n, C, levels]."""
    ordered = np.sort(np.where(mask, standard, np.inf), axis=-1)
    last = np.maximum(mask.sum(-1, keepdims=True) - 1, 0)
    places = np.round(DURATION_LEVELS * last).astype(int)
    values = np.take_along_axis(ordered, places, axis=-1)
    return np.where(np.isfinite(values), values, 0)


def _channel_correlations(standard: Array) -> Array:
    n, channels, length = standard.shape
    if channels < 2:
        return np.zeros((n, 0))
    products = np.einsum("nil,njl->nij", standard, standard, optimize=True) / length
    first, second = np.triu_indices(channels, 1)
    return products[:, first, second]


# ---------------------------------------------------------------------------------------------- feature space


@dataclass(frozen=True)
class Space:
    """A compact space of traits, fitted on real series only: shape, rhythm, level and spread weigh alike."""

    centre: Array  # [F]
    weight: Array  # [F]
    axes: Array  # [F, P]
    level_centre: Array  # [C]
    level_scale: Array  # [C]

    def place(self, traits: Traits) -> Array:
        """[n, P] coordinates."""
        raw, _ = _features(traits, self.level_centre, self.level_scale)
        return ((np.nan_to_num(raw, nan=0.0) - self.centre) * self.weight) @ self.axes


def _features(traits: Traits, centre: Array, scale: Array) -> tuple[Array, list[int]]:
    """Features [n, F] and the width of each block."""
    lags = traits.acf_short.shape[-1]
    some_lags = np.unique(np.geomspace(1, max(lags, 1), 12).astype(int)) - 1
    levels = np.linspace(0, len(DURATION_LEVELS) - 1, 11).astype(int)
    blocks = [
        np.arcsinh((traits.level - centre) / scale),
        np.log(traits.spread / scale + 1e-3),
        traits.duration[..., levels],
        traits.acf_short[..., some_lags[some_lags < lags]],
        np.log10(traits.bands + 1e-6),
        traits.day,
        traits.season,
    ]
    flat = [block.reshape(len(traits), -1) for block in blocks]
    flat = [block for block in flat if block.shape[1]]
    return np.concatenate(flat, 1).astype(np.float64), [block.shape[1] for block in flat]


def fit_space(traits: Traits) -> Space:
    """Feature space of real traits: every block scaled to unit variance, then principal directions."""
    centre, scale = np.nanmedian(traits.level, 0), np.nanstd(traits.level, 0)
    scale = np.where(scale > 0, scale, np.maximum(np.nanmean(traits.spread, 0), 1e-12))
    raw, widths = _features(traits, centre, scale)
    raw = np.nan_to_num(raw, nan=0.0)
    mean = raw.mean(0)
    totals = np.array([block.var(0).sum() for block in np.split(raw, np.cumsum(widths)[:-1], 1)])
    weight = np.repeat(1 / np.sqrt(np.where(totals > 1e-12, totals, 1.0)), widths)
    _, _, directions = np.linalg.svd((raw - mean) * weight, full_matrices=False)
    return Space(mean, weight, directions[:SPACE_DIMS].T, centre, scale)


def nearest(candidates: Array, others: Array, *, same: bool = False, block: int = 256) -> Array:
    """Distance from each standardised series [n, C, L] to the nearest of `others` [m, C, L]: [n].

    It is sqrt(2 (1 - r)), r the correlation over all channels; inf where there is none. `same` leaves out
    each series itself.
    """
    unit, bank = _unit(candidates), _unit(others)
    result = np.full(len(unit), np.inf)
    if len(bank) <= int(same):
        return result
    for first in range(0, len(unit), block):
        products = unit[first : first + block] @ bank.T
        if same:
            products[np.arange(len(products)), np.arange(first, first + len(products))] = -np.inf
        best = products.argmax(1)
        gaps = unit[first : first + block] - bank[best]  # the difference itself: 1 - r cancels near a copy
        result[first : first + block] = np.sqrt(np.square(gaps).sum(1))
    return result


def _unit(standard: Array) -> Array:
    flat = standard.reshape(len(standard), -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)


# ----------------------------------------------------------------------------------------------------- scores

Function = Callable[[Traits, Traits, Ruler], float]


@dataclass(frozen=True)
class Score:
    """One column of the table. `better` says in which direction; `nearer` means nearer to `best`."""

    name: str
    title: str
    group: Literal["values", "rhythm", "diversity", "copies"]
    function: Function
    better: Literal["lower", "higher", "nearer"]
    best: float
    meaning: str

    def loss(self, value: float) -> float:
        """0 at best, growing with how bad `value` is: ratios count alike on both sides of 1."""
        if self.better == "nearer":
            return abs(math.log(max(value, 1e-6) / self.best))
        return abs(value - self.best)


def _pooled(cdf: Array, measured: Array) -> Array:
    weight = measured / np.maximum(measured.sum(0, keepdims=True), 1)
    return np.einsum("ncg,nc->cg", cdf.astype(np.float64), weight, optimize=True)


def _transport(first: Array, second: Array, grid: Array, scale: Array) -> float:
    """Wasserstein-1 distance of distribution functions [C, G], in units of `scale`, mean over channels."""
    gaps = np.abs(first - second)
    return float(np.mean(np.trapezoid(gaps, grid, axis=-1) / scale))


def value_distance(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    one, two = (_pooled(t.value_cdf, t.measured) for t in (target, candidate))
    return _transport(one, two, ruler.value_grid, ruler.value_scale)


def value_gap(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    one, two = (_pooled(t.value_cdf, t.measured) for t in (target, candidate))
    return float(np.abs(one - two).max(-1).mean())


def ramp_distance(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    one, two = (_pooled(t.ramp_cdf, t.measured) for t in (target, candidate))
    return _transport(one, two, ruler.ramp_grid, ruler.ramp_scale)


def _across_entities(target: Array, candidate: Array, scale: Array) -> float:
    """Wasserstein-1 between two small samples of entities [n, C], [m, C]: the mean gap of their quantiles."""
    levels = (np.arange(200) + 0.5) / 200
    gaps = np.abs(np.nanquantile(target, levels, axis=0) - np.nanquantile(candidate, levels, axis=0)).mean(0)
    return float(np.mean(gaps / scale))


def _entity_scale(values: Array, ruler: Ruler) -> Array:
    spread = np.nanstd(values, axis=0)
    return np.where(spread > 1e-9 * ruler.value_scale, spread, ruler.value_scale)


def level_distance(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    return _across_entities(target.level, candidate.level, _entity_scale(target.level, ruler))


def spread_distance(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    return _across_entities(target.spread, candidate.spread, _entity_scale(target.spread, ruler))


def _mean_curve_error(trait: str) -> Function:
    """Mean absolute difference of the populations' mean curves; NaN where the curve does not exist."""

    def error(target: Traits, candidate: Traits, ruler: Ruler) -> float:
        one, two = getattr(target, trait), getattr(candidate, trait)
        if not one[0].size:
            return math.nan
        return float(np.abs(one.mean(0, dtype=np.float64) - two.mean(0, dtype=np.float64)).mean())

    error.__name__ = f"{trait}_error"
    return error


def _decibels(shares: Array) -> Array:
    return 10 * np.log10(shares.mean(0, dtype=np.float64) + 1e-7)


def spectrum_distance(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    gaps = _decibels(target.bands) - _decibels(candidate.bands)
    return float(np.sqrt(np.square(gaps).mean()))


def line_error(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    if not ruler.lines:
        return math.nan
    return float(np.abs(_decibels(target.lines) - _decibels(candidate.lines)).mean())


def duration_error(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    gaps = np.abs(target.duration.mean(0, dtype=np.float64) - candidate.duration.mean(0, dtype=np.float64))
    return float(np.trapezoid(gaps, DURATION_LEVELS, axis=-1).mean())


def _own_distances(points: Array) -> Array:
    gaps = cdist(points, points)
    np.fill_diagonal(gaps, np.inf)
    return gaps


def diversity(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    count = min(len(target), len(candidate))  # nearest neighbours come closer in larger sets
    if count < 2:
        return math.nan
    real = _own_distances(target.points[:count]).min(1).mean()
    return float(_own_distances(candidate.points[:count]).min(1).mean() / max(real, 1e-12))


def _balls(target: Traits, candidate: Traits) -> tuple[Array, Array, Array, int] | None:
    """Distances target x candidate, each set's radius to its k-th neighbour, and k."""
    k = min(NEIGHBOURS, len(target) - 1, len(candidate) - 1)
    if k < 1:
        return None
    radii = [np.partition(_own_distances(t.points), k - 1, axis=1)[:, k - 1] for t in (target, candidate)]
    return cdist(target.points, candidate.points), radii[0], radii[1], k


def precision(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    balls = _balls(target, candidate)
    return math.nan if balls is None else float((balls[0] <= balls[1][:, None]).any(0).mean())


def recall(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    balls = _balls(target, candidate)
    return math.nan if balls is None else float((balls[0] <= balls[2][None, :]).any(1).mean())


def density(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    balls = _balls(target, candidate)  # Naeem et al. 2020, eq. 4
    return math.nan if balls is None else float((balls[0] <= balls[1][:, None]).sum(0).mean() / balls[3])


def coverage(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    balls = _balls(target, candidate)  # Naeem et al. 2020, eq. 5
    return math.nan if balls is None else float((balls[0].min(1) <= balls[1]).mean())


def _close(target: Traits) -> float:
    """A distance real entities practically never have: half their 5 % quantile to training series."""
    return 0.5 * float(np.quantile(target.to_training, 0.05))


def copies(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    return float((candidate.to_training <= max(_close(target), 1e-3)).mean())


def repeats(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    return float((candidate.to_own <= max(_close(target), 1e-3)).mean())


def nearness(target: Traits, candidate: Traits, ruler: Ruler) -> float:
    return float(np.median(candidate.to_training) / max(np.median(candidate.to_target), 1e-12))


SCORES: tuple[Score, ...] = (
    Score(
        "value_distance", "Value distribution", "values", value_distance, "lower", 0.0,
        "how far values must be moved to match the real distribution, in standard deviations (Wasserstein-1)",
    ),
    Score(
        "value_gap", "Largest distribution gap", "values", value_gap, "lower", 0.0,
        "largest difference between the two distribution functions, 0 to 1 (as in a Kolmogorov–Smirnov test)",
    ),
    Score(
        "level_distance", "Level of entities", "values", level_distance, "lower", 0.0,
        "how differently the entities' mean values are spread, in standard deviations between real entities",
    ),
    Score(
        "spread_distance", "Spread of entities", "values", spread_distance, "lower", 0.0,
        "the same for how much each entity varies over time",
    ),
    Score(
        "duration", "Load-duration curve", "values", duration_error, "lower", 0.0,
        "difference of the mean sorted curves, each series at mean 0 and spread 1: peaks and base load",
    ),
    Score(
        "ramp_distance", "Step-to-step changes", "values", ramp_distance, "lower", 0.0,
        "how far the distribution of changes from one step to the next is off, in real standard deviations",
    ),
    Score(
        "acf_short", "Autocorrelation to two weeks", "rhythm", _mean_curve_error("acf_short"), "lower", 0.0,
        "mean difference in how strongly a value resembles the one some hours or days before",
    ),
    Score(
        "acf_long", "Autocorrelation to a year", "rhythm", _mean_curve_error("acf_long"), "lower", 0.0,
        "the same at selected distances from three weeks on",
    ),
    Score(
        "spectrum", "Spectrum", "rhythm", spectrum_distance, "lower", 0.0,
        "difference of the power spectra over all time scales, in decibels",
    ),
    Score(
        "lines", "Day and week lines", "rhythm", line_error, "lower", 0.0,
        "difference of the power that repeats exactly by day, half day and week, in decibels",
    ),
    Score(
        "daily_profile", "Daily profile", "rhythm", _mean_curve_error("day"), "lower", 0.0,
        "difference between the mean days, each series scaled to mean 0 and spread 1",
    ),
    Score(
        "weekly_profile", "Weekly profile", "rhythm", _mean_curve_error("week"), "lower", 0.0,
        "difference between the mean weeks, scaled likewise",
    ),
    Score(
        "season", "Course of the year", "rhythm", _mean_curve_error("season"), "lower", 0.0,
        "difference between the mean courses over the whole record, scaled likewise",
    ),
    Score(
        "channels", "Correlation of channels", "rhythm", _mean_curve_error("channels"), "lower", 0.0,
        "mean difference in how the channels move together",
    ),
    Score(
        "diversity", "Diversity", "diversity", diversity, "nearer", 1.0,
        "distance to the nearest neighbour in the same set, relative to real series; near 0 is collapse",
    ),
    Score(
        "coverage", "Coverage", "diversity", coverage, "higher", 1.0,
        "share of real series that have a series of the set in their neighbourhood",
    ),
    Score(
        "recall", "Recall", "diversity", recall, "higher", 1.0,
        "share of real series that lie among the series of the set",
    ),
    Score(
        "precision", "Precision", "diversity", precision, "higher", 1.0,
        "share of the set that lies among real series",
    ),
    Score(
        "density", "Density", "diversity", density, "nearer", 1.0,
        "how many real neighbourhoods a series of the set falls in, relative to what is expected",
    ),
    Score(
        "repeats", "Repeated series", "diversity", repeats, "lower", 0.0,
        "share of the set that nearly repeats another series of the set",
    ),
    Score(
        "copies", "Near copies of training series", "copies", copies, "lower", 0.0,
        "share of the set that is far closer to a training series than unseen real series ever are",
    ),
    Score(
        "nearness", "Nearness to training (smoke alarm)", "copies", nearness, "nearer", 1.0,
        "distance to the nearest training series relative to the nearest held-out one; near 0 means copying, "
        "while 1 does not prove its absence",
    ),
)  # fmt: skip


# ----------------------------------------------------------------------------------------------------- floors


def sides(holdout: Array, seed: int, reference: Array | None = None) -> tuple[Array, Array]:
    """The target of all rows and the series of the real row, both never trained on.

    A reference split of fair size is the real row; otherwise the hold-out is cut into halves. A hold-out of
    one series is the target, and there is no real row.
    """
    if reference is not None and len(reference) >= max(SMALLEST_REAL_ROW, len(holdout) / 3):
        return holdout, reference
    order = generator(seed, 0, "fidelity halves").permutation(len(holdout))
    half = (len(holdout) + 1) // 2
    return holdout[order[:half]], holdout[order[half:]]


def floors(train: Array, holdout: Array, seed: int, reference: Array | None = None) -> dict[str, Array]:
    """The series of every row but the model's: row -> [n, L, C]."""
    rng = generator(seed, 0, "fidelity shuffled hours")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a step that is missing everywhere stays missing
        mean = np.asarray(np.nanmean(train, axis=0, dtype=np.float64), dtype=np.float32)
    shuffled = np.stack([series[rng.permutation(len(series))] for series in train])
    return {
        REAL: sides(holdout, seed, reference)[1],
        COPIER: train,
        MEAN_CURVE: np.repeat(mean[None], len(holdout), axis=0),
        SHUFFLED: shuffled,
    }


class Measure:
    """Everything that is the same for all rows: ruler, feature space, training and target series.

    Args:
        train, target: [n, L, C] in original units, NaN where missing.
    """

    def __init__(self, train: Array, target: Array, steps_per_day: float) -> None:
        real = np.concatenate([target, train])
        self.ruler = make_ruler(real, steps_per_day)
        self._training = standardise(train)[0]
        self._target = standardise(target)[0]
        self.space = fit_space(describe(real, self.ruler))
        self.target = self.traits(target, is_target=True)

    def traits(self, values: Array, *, is_target: bool = False) -> Traits:
        """All traits of [n, L, C] series; the target's own distances leave out the series itself."""
        bare = describe(values, self.ruler)
        standard = standardise(values)[0]
        own = nearest(standard, standard, same=True)
        return replace(
            bare,
            points=self.space.place(bare),
            to_training=nearest(standard, self._training),
            to_target=own if is_target else nearest(standard, self._target),
            to_own=own,
        )

    def scores(self, candidate: Traits, target: Traits | None = None) -> dict[str, float]:
        """Every score of a set against the target, by name."""
        return {score.name: score.function(target or self.target, candidate, self.ruler) for score in SCORES}


# ------------------------------------------------------------------------------------------------------ table


def _averaged(measure: Measure, candidate: Traits, size: int, seed: int, draws: int) -> dict[str, float]:
    """Scores at `size` series, the mean over random draws of them."""
    rng = generator(seed, 0, "fidelity draws")
    results = []
    for _ in range(draws if size < len(candidate) or len(candidate) < len(measure.target) else 1):
        target = measure.target.take(rng.permutation(len(measure.target)))
        results.append(measure.scores(candidate.take(rng.permutation(len(candidate))[:size]), target))
    return {name: float(np.mean([result[name] for result in results])) for name in results[0]}


def _halved(measure: Measure, candidate: Traits, size: int, seed: int) -> list[dict[str, float]]:
    """Scores between random halves of both sets; the same halves of the target whatever the candidate."""
    half, target_half = min(len(candidate) // 2, size), len(measure.target) // 2
    if min(half, target_half) < 2:
        return []
    results = []
    for draw in range(NOISE_DRAWS):
        target = generator(seed, draw, "fidelity half target").permutation(len(measure.target))[:target_half]
        rows = generator(seed, draw, "fidelity half").permutation(len(candidate))[:half]
        results.append(measure.scores(candidate.take(rows), measure.target.take(target)))
    return results


def _noise(halves: list[dict[str, float]]) -> dict[str, float]:
    """Standard error of every score over the choice of entities."""
    return {s.name: float(np.std([h[s.name] for h in halves])) if halves else math.nan for s in SCORES}


def _noise_to(halves: list[dict[str, float]], real: list[dict[str, float]]) -> dict[str, float]:
    """Standard error of the difference of losses from those of a row of real series, draw by draw."""
    if not (halves and real):
        return dict.fromkeys(BY_NAME, math.nan)
    return {
        s.name: float(np.std([s.loss(h[s.name]) - s.loss(r[s.name]) for h, r in zip(halves, real)]))
        for s in SCORES
    }


def _capped(values: Array, limit: int, seed: int, purpose: str) -> Array:
    if len(values) <= limit:
        return values
    return values[np.sort(generator(seed, 0, f"fidelity {purpose}").permutation(len(values))[:limit])]


def _check(sets: dict[str, Array | None]) -> None:
    """
    Raises:
        UserError: an empty set, or sets of different lengths or channels.
    """
    shapes = {name: np.shape(values) for name, values in sets.items() if values is not None}
    for name, shape in shapes.items():
        if len(shape) != 3:
            raise UserError(f"{name} series have shape {shape}; [series, steps, channels] is expected")
        if not shape[0]:
            raise UserError(
                f"no {name} series to compare with; raise data.splits.{name} or read more entities"
            )
        if shape[1:] != shapes["train"][1:]:
            raise UserError(
                f"{name} series are {shape[1]} steps x {shape[2]} channels, train series "
                f"{shapes['train'][1]} x {shapes['train'][2]}; both must come from one run"
            )


def evaluate(
    train: Array,
    holdout: Array,
    synthetic: Array,
    reference: Array | None = None,
    *,
    steps_per_day: float,
    seed: int = 0,
    max_series: int = 1000,
    owners: dict[str, int] | None = None,
    floor_sets: dict[str, Array] | None = None,
) -> dict[str, Any]:
    """Score the synthetic series and their floors; everything in the answer is ready for JSON (NaN is None).

    Args:
        train, holdout, synthetic, reference: [n, L, C] in original units, NaN where missing.
        steps_per_day: 24 for hourly series; may be a fraction.
        max_series: of each set, at most, are compared.
        owners: number of owners (what a split never parts) per split, to say how much the numbers can bear.
        floor_sets: further rows, by name.

    Raises:
        UserError: an empty set, or sets that do not fit together.
    """
    reference = reference if reference is not None and len(reference) else None
    _check({"train": train, "holdout": holdout, "synthetic": synthetic, "reference": reference})
    counts = {
        "train": len(train),
        "holdout": len(holdout),
        "reference": 0 if reference is None else len(reference),
        "synthetic": len(synthetic),
    }
    train, holdout, synthetic = (
        _capped(np.asarray(values, dtype=np.float32), max_series, seed, name)
        for name, values in (("train", train), ("holdout", holdout), ("synthetic", synthetic))
    )
    reference = None if reference is None else _capped(reference, max_series, seed, "reference")
    target, real = sides(holdout, seed, reference)
    measure = Measure(train, target, steps_per_day)
    sets = {MODEL: synthetic, **floors(train, holdout, seed, reference), **(floor_sets or {})}
    traits = {name: measure.traits(values) for name, values in sets.items() if len(values)}
    size = min(len(target), *(len(rows) for rows in traits.values()))
    halves = {name: _halved(measure, rows, size, seed) for name, rows in traits.items()}
    rows = [
        {
            "name": name,
            "meaning": ROWS.get(name, ""),
            "n": len(rows),
            "values": _clean(_averaged(measure, rows, size, seed, VALUE_DRAWS)),
            "noise": _clean(_noise(halves[name])),
            "noise_to": {
                real: _clean(_noise_to(halves[name], halves.get(real, []))) for real in (REAL, COPIER)
            },
        }
        for name, rows in traits.items()
    ]
    table = {
        "n": {**counts, "target": len(target), "compared": size},
        "owners": owners or {},
        "real_row": "reference split"
        if real is reference
        else "half of the hold-out"
        if len(real)
        else "none",
        "scores": [
            {key: getattr(score, key) for key in ("name", "title", "group", "better", "best", "meaning")}
            for score in SCORES
        ],
        "rows": rows,
        "lags": {"acf_long_steps": measure.ruler.long_lags.tolist()},
    }
    return {**table, **judge(table)}


def _clean(values: dict[str, float]) -> dict[str, float | None]:
    return {name: round(value, 6) if math.isfinite(value) else None for name, value in values.items()}


# ---------------------------------------------------------------------------------------------------- verdict

RHYTHM = ("acf_short", "spectrum", "daily_profile", "weekly_profile")
VARIETY = ("value_distance", "spread_distance", "diversity")
BY_NAME = {score.name: score for score in SCORES}


def judge(table: dict[str, Any]) -> dict[str, Any]:
    """Verdict from a table of `evaluate`: {"verdict": [{tone, text}], "standing", "blind_to_copier"}."""
    rows = {row["name"]: row for row in table["rows"]}
    model = rows[MODEL]
    standing = {
        score.name: _standing(score, rows, model)
        for score in SCORES
        if model["values"][score.name] is not None
    }
    blind = [score.name for score in SCORES if _like_real(rows.get(COPIER), rows, score, REAL)]
    sentences = [
        _against_real(standing, rows),
        *(_against_floor(rows, floor) for floor in (MEAN_CURVE, SHUFFLED) if floor in rows),
        _variety(model["values"]),
        _copies(model, rows),
        _blindness(blind, standing),
        *_evidence(table),
    ]
    return {
        "standing": standing,
        "blind_to_copier": blind,
        "verdict": [sentence for sentence in sentences if sentence],
    }


def _loss(row: dict[str, Any] | None, score: Score) -> float:
    value = None if row is None else row["values"][score.name]
    return math.nan if value is None else score.loss(value)


def _like_real(row: dict[str, Any] | None, rows: dict[str, Any], score: Score, real: str) -> bool:
    """Whether a row is as good as a row of real series, or worse by less than two standard errors."""
    loss, bar = _loss(row, score), _loss(rows.get(real), score)
    if row is None or not (math.isfinite(loss) and math.isfinite(bar)):
        return False
    return loss <= bar + max(2 * (row["noise_to"][real][score.name] or 0.0), 1e-9)


def _bar(rows: dict[str, Any], score: Score) -> str:
    """The row of real series that comes closer to the target; copies are no bar for what looks for copies."""
    both = {
        name: _loss(rows.get(name), score) for name in ([REAL] if score.group == "copies" else [REAL, COPIER])
    }
    return min(both, key=lambda name: both[name] if math.isfinite(both[name]) else math.inf)


def _standing(score: Score, rows: dict[str, Any], model: dict[str, Any]) -> str:
    """`real`: like real series within the noise; `floor`: no better than the worse floor; else `between`."""
    if _like_real(model, rows, score, _bar(rows, score)):
        return "real"
    below = [_loss(rows.get(name), score) for name in (MEAN_CURVE, SHUFFLED)]
    worst = max((loss for loss in below if math.isfinite(loss)), default=math.inf)
    return "floor" if _loss(model, score) >= worst else "between"


def _sentence(tone: str, text: str) -> dict[str, str]:
    return {"tone": tone, "text": text}


def _titles(names: Sequence[str]) -> str:
    titles = [BY_NAME[name].title.lower() for name in names]
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}" if titles else ""


def _judged(standing: dict[str, str]) -> list[str]:
    return [name for name in standing if BY_NAME[name].group != "copies"]


def _against_real(standing: dict[str, str], rows: dict[str, Any]) -> dict[str, str]:
    if REAL not in rows:
        return _sentence(
            "note", "There were too few held-out series to say what a perfect generator would reach."
        )
    judged = _judged(standing)
    like = [name for name in judged if standing[name] == "real"]
    text = (
        f"On {len(like)} of {len(judged)} scores the synthetic series are as close to the held-out ones "
        "as real series are, within two standard errors"
    )
    ratios = {}
    for name in set(judged) - set(like):
        score = BY_NAME[name]
        ratios[name] = _loss(rows[MODEL], score) / max(_loss(rows[_bar(rows, score)], score), 1e-3)
    worst = sorted(ratios, key=lambda name: (-ratios[name], name))[:3]
    text += f"; furthest off: {_titles(worst)}." if worst else "."
    tone = "good" if len(like) >= 0.7 * len(judged) else "warn" if len(like) >= 0.3 * len(judged) else "bad"
    return _sentence(tone, text)


def _against_floor(rows: dict[str, Any], floor: str) -> dict[str, str]:
    """The model against a floor, and by name on what this floor is meant to be bad at."""
    scores = [s for s in SCORES if s.group != "copies" and math.isfinite(_loss(rows[MODEL], s))]
    better = [s.name for s in scores if _loss(rows[MODEL], s) < _loss(rows[floor], s)]
    must = [name for name in (VARIETY if floor == MEAN_CURVE else RHYTHM) if name in {s.name for s in scores}]
    lost = [name for name in must if name not in better]
    article = "the mean curve" if floor == MEAN_CURVE else "series with shuffled hours"
    text = f"Closer to real than {article} on {len(better)} of {len(scores)} scores"
    if lost:
        return _sentence("bad", f"{text}, but not on {_titles(lost)}, where that floor is easily beaten.")
    return _sentence("good", f"{text}, {_titles(must)} included." if must else f"{text}.")


def _variety(values: dict[str, float | None]) -> dict[str, str] | None:
    ratio, repeated = values["diversity"], values["repeats"] or 0.0
    if ratio is None:
        return None
    text = f"Synthetic series differ from one another {ratio:.2f} times as much as real ones do"
    if repeated > 0:
        text += f", and {repeated:.0%} of them nearly repeat another"
    if ratio < 0.5 or repeated > 0.05:
        return _sentence("bad", text + ": the generator has collapsed onto few curves.")
    return _sentence("good" if 0.75 <= ratio <= 1.33 else "warn", text + ".")


def _copies(model: dict[str, Any], rows: dict[str, Any]) -> dict[str, str]:
    share, ratio = model["values"]["copies"] or 0.0, model["values"]["nearness"]
    real = rows.get(REAL, {"values": {"nearness": None}})["values"]["nearness"]
    if share > 0:
        return _sentence("bad", f"{share:.1%} of the synthetic series are near copies of training series.")
    text = "No synthetic series is a near copy of a training series"
    if ratio is not None:
        text += f"; they lie {ratio:.2f} times as far from training series as from held-out ones"
        text += f" (other real series: {real:.2f})" if real is not None else ""
    alarm = ratio is not None and ratio < 0.8 * min(real or 1.0, 1.0)
    end = ", suspiciously close to training." if alarm else ". This is a smoke alarm, not a privacy test."
    return _sentence("bad" if alarm else "note", text + end)


def _blindness(blind: list[str], standing: dict[str, str]) -> dict[str, str] | None:
    judged = [name for name in blind if name in standing]
    seeing = [name for name in standing if name not in blind]
    if not judged:
        return None
    text = f"{len(judged)} of {len(standing)} scores cannot tell a copier from an honest generator"
    return _sentence("note", f"{text}; only {_titles(seeing)} can." if seeing else f"{text}: none can here.")


def _evidence(table: dict[str, Any]) -> list[dict[str, str]]:
    sizes, owners = table["n"], table["owners"]
    few = owners.get("holdout", sizes["holdout"])
    who = f"{sizes['holdout']} held-out series"
    if owners.get("holdout", sizes["holdout"]) != sizes["holdout"]:
        who += f" of only {owners['holdout']} owners"
    if few >= 30:
        return []
    return [_sentence("warn", f"The real side is {who}: differences that are not large may be chance.")]
