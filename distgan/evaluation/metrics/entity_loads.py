"""Figures of each load: base load and zeros, ramps and flat steps, nights, days, weeks, and low runs.

For loads: values that are never negative, several steps a day, whole days. A figure is one number for each
entity; two sets are compared by the Wasserstein-1 distance of its distribution over entities, in units of the
distance between two random sets of real entities of the same sizes. The mean of these ratios is one for
halves of the real series; their geometric mean is below: 0.92 for two sets of 100 homes of London, 0.74 for
two of 17, whose distances grow less than by the root of their sizes. The Vendi score of standardised figures
counts how many different entities a set holds (Friedman and Dieng 2023).

The night is the quarter of the day in which real loads are lowest.

Shapes: n series, L steps, C channels, D days, P steps a day, Q figures.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distgan.evaluation.metrics import vendi
from distgan.evaluation.metrics.point_sets import compute_wasserstein
from distgan.rng import make_keyed_generator

Array = NDArray[Any]

ZERO = 1e-6  # of the mean: below it, a reading is zero
FLAT = 0.05  # of the mean: a smaller change between two steps is near-flat
LOW = 0.5  # of the median day: a day below is low
CYCLES = (4, 40)  # a year: of daily totals, slower than weeks and faster than seasons
NIGHT = 0.25  # of a day
SPLITS = 40  # of real series into two halves, to measure the distance between real sets
REACH = 5.0  # standard deviations that a figure is from the median, at most
SMALLEST_FIGURE = 1e-6  # whose logarithm is taken, at least
SMALLEST, LARGEST = 0.05, 50.0  # ratio of one figure to its unit, at least and at most

FIGURES: dict[str, str] = {
    "mean": "mean",
    "variation": "standard deviation over the mean",
    "peak": "highest value over the mean",
    "high": "99 % quantile over the mean",
    "middle": "median over the mean",
    "low": "10 % quantile over the median",
    "base": "1 % quantile over the median",
    "zeros": "share of zero readings",
    "any_zero": "1 if any reading is zero",
    "flat": "share of near-flat steps: a change below 5 % of the mean",
    "ramp": "median change between two steps over the mean",
    "steep": "99 % quantile of the changes over the mean",
    "turns": "share of steps at which a rise and a fall meet",
    "lag_step": "autocorrelation to the next step",
    "lag_day": "autocorrelation to the same time on the next day",
    "lag_week": "autocorrelation to the same time in the next week",
    "night": "mean of the nights over the mean",
    "night_change": "median change from night to night over the mean of the nights",
    "night_variation": "median standard deviation within a night over the mean of the nights",
    "weekend": "mean on days 6 and 7 of the record's weeks over the mean of all",
    "day_variation": "standard deviation of the daily totals over their mean",
    "season": "share of the variance of daily totals below 4 cycles a year",
    "weeks": "share of the variance of daily totals at 4 to 40 cycles a year",
    "low_run": "longest run of days below half the median day",
}
COUNTS = ("low_run",)  # taken as log(1 + x)
POSITIVE = (
    "mean",
    "variation",
    "peak",
    "high",
    "ramp",
    "steep",
    "night_change",
    "night_variation",
    "day_variation",
)


FEWEST_STEPS = 2  # a day
FEWEST_DAYS = 14
FEWEST_ENTITIES = 4  # that settle the unit of distances


def are_loads(real: Array, steps_per_day: float) -> bool:
    """Return whether real series [n, L] are never negative, with several steps a day, for two weeks at
    least.
    """
    measured = real[np.isfinite(real)]
    return bool(
        steps_per_day >= FEWEST_STEPS
        and real.shape[1] >= FEWEST_DAYS * steps_per_day
        and abs(steps_per_day - round(steps_per_day)) < 1e-6
        and len(measured)
        and measured.min() >= 0
        and measured.max() > 0
    )


@dataclass(frozen=True)
class Layout:
    """The division of a record: steps of a day, which of them are the night, which days of a week are 6 and
    7.
    """

    steps_per_day: int
    night: Array  # [P] bool
    first_weekday: int = 0


def fit_layout(real: Array, steps_per_day: float, first_weekday: int = 0) -> Layout:
    """Find the night of real loads [n, L]: the quarter of the day, in one piece, with the lowest mean."""
    per_day = round(steps_per_day)
    days = real.shape[1] // per_day
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        profile = np.nanmean(real[:, : days * per_day].reshape(-1, per_day), axis=0)
    width = max(1, round(NIGHT * per_day))
    sums = [np.take(profile, np.arange(first, first + width), mode="wrap").sum() for first in range(per_day)]
    night = np.zeros(per_day, bool)
    night[(int(np.argmin(sums)) + np.arange(width)) % per_day] = True
    return Layout(per_day, night, first_weekday)


def measure_loads(values: Array, layout: Layout) -> Array:
    """Compute all `FIGURES` of each load, float64: [n, L] -> [n, Q]; NaN where a figure does not exist."""
    parts = [
        _measure_block(values[first : first + 256].astype(np.float64), layout)
        for first in range(0, len(values), 256)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, len(FIGURES)))


def _measure_block(values: Array, layout: Layout) -> Array:
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # a series that is missing throughout
        mean = np.nanmean(values, axis=1)
        found = {
            **_describe_values(values, mean),
            **_describe_changes(values, mean),
            **_describe_days(values, mean, layout),
        }
    table = np.stack([np.broadcast_to(found[name], len(values)) for name in FIGURES], axis=1)
    return np.where(np.isfinite(table), table, np.nan)


def _describe_values(values: Array, mean: Array) -> dict[str, Array]:
    counts = (~np.isnan(values)).sum(1)
    low, tenth, middle, high, peak = np.nanquantile(values, [0.01, 0.1, 0.5, 0.99, 1.0], axis=1)
    zeros = (values <= ZERO * mean[:, None]).sum(1) / counts
    return {
        "mean": mean,
        "variation": np.nanstd(values, axis=1) / mean,
        "peak": peak / mean,
        "high": high / mean,
        "middle": middle / mean,
        "low": tenth / middle,
        "base": low / middle,
        "zeros": zeros,
        "any_zero": (zeros > 0).astype(float),
    }


def _describe_changes(values: Array, mean: Array) -> dict[str, Array]:
    changes = np.diff(values, axis=1)
    sizes = np.abs(changes)
    known = (~np.isnan(sizes)).sum(1)
    meetings = changes[:, 1:] * changes[:, :-1]
    middle, steep = np.nanquantile(sizes, [0.5, 0.99], axis=1)
    return {
        "flat": (sizes < FLAT * mean[:, None]).sum(1) / known,
        "ramp": middle / mean,
        "steep": steep / mean,
        "turns": (meetings < 0).sum(1) / (~np.isnan(meetings)).sum(1),
    }


def _describe_days(values: Array, mean: Array, layout: Layout) -> dict[str, Array]:
    per_day = layout.steps_per_day
    days = values.shape[1] // per_day
    folded = values[:, : days * per_day].reshape(len(values), days, per_day)
    nights = folded[..., layout.night]
    night = np.nanmean(nights, axis=2)
    base = np.nanmean(night, axis=1)
    totals = np.nanmean(folded, axis=2)
    middle = np.nanmean(totals, axis=1)
    weekend = (np.arange(days) + layout.first_weekday) % 7 >= 5
    season, weeks = _split_variance(totals, middle)
    deviations = values - mean[:, None]
    return {
        "lag_step": _correlate(deviations, 1),
        "lag_day": _correlate(deviations, per_day),
        "lag_week": _correlate(deviations, 7 * per_day),
        "night": base / mean,
        "night_change": np.nanmedian(np.abs(np.diff(night, axis=1)), axis=1) / base,
        "night_variation": np.nanmedian(np.nanstd(nights, axis=2), axis=1) / base,
        "weekend": np.nanmean(totals[:, weekend], axis=1) / middle,
        "day_variation": np.nanstd(totals, axis=1) / middle,
        "season": season,
        "weeks": weeks,
        "low_run": _find_longest_run(totals < LOW * np.nanmedian(totals, axis=1, keepdims=True)),
    }


def _correlate(deviations: Array, lag: int) -> Array:
    """Return the autocorrelation over measured pairs: [n, L] of mean 0 -> [n]; NaN where the record is
    shorter than the lag.
    """
    if lag >= deviations.shape[1]:
        return np.full(len(deviations), np.nan)
    products = np.nanmean(deviations[:, lag:] * deviations[:, :-lag], axis=1)
    return products / np.nanmean(np.square(deviations), axis=1)


def _split_variance(totals: Array, mean: Array) -> tuple[Array, Array]:
    """Return the shares of the variance of daily totals below and within `CYCLES`: [n, D] -> 2 x [n]."""
    filled = np.where(np.isnan(totals), 0, totals - mean[:, None])
    power = np.square(np.abs(np.fft.rfft(filled, axis=1)))[:, 1:]
    power[:, (totals.shape[1] - 1) // 2 :] /= 2  # the highest frequency of an even number has no mirror image
    cycles = np.arange(1, power.shape[1] + 1) * 365.25 / totals.shape[1]
    whole = power.sum(1)
    low, high = CYCLES
    return power[:, cycles < low].sum(1) / whole, power[:, (cycles >= low) & (cycles <= high)].sum(1) / whole


def _find_longest_run(flags: Array) -> Array:
    """Return the length of the longest run of true values in each row: [n, D] -> [n]."""
    longest = run = np.zeros(len(flags))
    for column in flags.T:
        run = (run + 1) * column
        longest = np.maximum(longest, run)
    return longest


# -------------------------------------------------------------------------------------------------- two sets


@dataclass(frozen=True)
class Unit:
    """The distance between two random sets of real entities, and the centre and scale of their figures.

    Attributes:
        distance: [Q] Wasserstein-1 distance of two sets of one entity each, as it falls with the root of
            their sizes. centre, scale: [Q] of the real figures.
        smallest_mean: `SMALLEST_FIGURE` of the real loads' median mean.
    """

    distance: Array
    centre: Array
    scale: Array
    smallest_mean: float

    def place(self, figures: Array) -> Array:
        """Return points for the Vendi score, in standard deviations of real figures, at most `REACH`: [n, Q]
        twice.
        """
        points = (even_out(figures, self.smallest_mean) - self.centre) / self.scale
        return np.nan_to_num(np.clip(points, -REACH, REACH), nan=0.0)


def fit_unit(real: Array) -> Unit:
    """Fit the unit of distances to figures of real entities [n, Q]: the mean over random halves."""
    means = real[:, list(FIGURES).index("mean")]
    smallest = SMALLEST_FIGURE * float(np.median(means[means > 0])) if (means > 0).any() else SMALLEST_FIGURE
    real = even_out(real, smallest)
    rng = make_keyed_generator(0, 0, "load figures unit")
    half = len(real) // 2
    found = []
    for _ in range(SPLITS):
        order = rng.permutation(len(real))
        found.append(compute_wasserstein(real[order[:half]], real[order[half:]]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a figure that no load has: nights without any load
        distance = np.nanmean(found, axis=0) / np.sqrt(1 / half + 1 / (len(real) - half))
        centre, scale = np.nanmedian(real, axis=0), np.nanstd(real, axis=0)
    return Unit(distance, centre, np.where(scale > 0, scale, 1.0), smallest)


def even_out(figures: Array, smallest_mean: float) -> Array:
    """Take logarithms of figures that are positive and wide, so that they can be compared: [n, Q] -> [n, Q].

    Args:
        smallest_mean: in the unit of the loads, of which all other figures are free.
    """
    result = np.array(figures, np.float64)
    for place, name in enumerate(FIGURES):
        if name in POSITIVE:
            least = smallest_mean if name == "mean" else SMALLEST_FIGURE
            result[:, place] = np.log(np.maximum(result[:, place], least))
        elif name in COUNTS:
            result[:, place] = np.log1p(result[:, place])
    return result


def compare_units(parts: tuple[int, int], wholes: tuple[int, int]) -> float:
    """Return the expected distance of two real sets of some sizes over that of sets of other sizes: a ratio
    of parts times this varies as distances do, from which the error of the whole sets' ratio follows.
    """
    return math.sqrt(sum(1 / size for size in parts) / sum(1 / size for size in wholes))


def compare_loads(real: Array, made: Array, unit: Unit) -> Array:
    """Return the distance of each figure over that between real sets of these sizes: [n, Q], [m, Q] -> [Q];
    NaN without a unit.
    """
    expected = unit.distance * np.sqrt(1 / len(real) + 1 / len(made))
    found = compute_wasserstein(*(even_out(each, unit.smallest_mean) for each in (real, made)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, np.clip(found / expected, SMALLEST, LARGEST), np.nan)


def average_ratios(ratios: Array) -> float:
    """Return the geometric mean over figures."""
    known = ratios[np.isfinite(ratios)]
    return float(np.exp(np.log(known).mean())) if len(known) else float("nan")


# ----------------------------------------------------------------------------------------- for a table


@dataclass(frozen=True)
class LoadGrid:
    """Layout and unit, fixed from real loads before any candidate is measured; `width` is that of the Vendi
    score's kernel.
    """

    layout: Layout
    unit: Unit
    width: float

    def measure(self, values: Array) -> Array:
        """Compute the figures: [n, L] -> [n, Q]."""
        return measure_loads(values, self.layout)


def fit_load_grid(real: Array, steps_per_day: float) -> LoadGrid | None:
    """Fit the grid to the first channel of real series [n, L, C]; return None where they are no loads, or too
    few.
    """
    if len(real) < FEWEST_ENTITIES or not are_loads(real[..., 0], steps_per_day):
        return None
    layout = fit_layout(real[..., 0], steps_per_day)
    figures = measure_loads(real[..., 0], layout)
    unit = fit_unit(figures)
    return LoadGrid(layout, unit, vendi.fit_width(unit.place(figures)))
