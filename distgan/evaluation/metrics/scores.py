"""The scores, as data (`SCORES`): each compares the descriptors of a candidate set with those of a target
set.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.spatial.distance import cdist

from distgan.evaluation.metrics import vendi
from distgan.evaluation.metrics.c2st import compute_held_out_accuracy
from distgan.evaluation.metrics.descriptors import (
    DURATION_LEVELS,
    Array,
    Descriptors,
    ReferenceGrid,
    average_weekdays,
)
from distgan.evaluation.metrics.entity_loads import average_ratios, compare_loads
from distgan.evaluation.metrics.gaps import average_known
from distgan.evaluation.metrics.point_sets import compute_frechet, compute_mmd, compute_wasserstein

NEIGHBOURS = 5
ROWS_AT_ONCE = 512  # of a matrix of distances
VENDI_SERIES = 250  # of each set, whose kernel is decomposed
MMD_SERIES = 1000  # of each set whose distances are all taken
NEAR_COPY = 0.25  # distance beyond which no series is a near copy: a correlation of 0.97
IDENTICAL = 1e-3  # distance that rounding makes
OF_ALL = ("repeats", "copies", "nearness")  # scores of a whole set: its size makes no difference

Function = Callable[[Descriptors, Descriptors, ReferenceGrid], float]


@dataclass(frozen=True)
class Score:
    """One column of the table. `better` gives the direction; `nearer` means nearer to `best`."""

    name: str
    title: str
    group: Literal["values", "rhythm", "diversity", "two-sample tests", "copies"]
    function: Function | None  # of descriptors; None where a network is trained on the series themselves
    better: Literal["lower", "higher", "nearer"]
    best: float
    meaning: str

    def compute_loss(self, value: float) -> float:
        """Return 0 at best, growing with how bad `value` is: ratios count alike on both sides of 1."""
        if self.better == "nearer":
            return abs(math.log(max(value, 1e-6) / self.best))
        return abs(value - self.best)


def _pool_cdf(cdf: Array, measured: Array) -> Array:
    weight = measured / np.maximum(measured.sum(0, keepdims=True), 1)
    return np.einsum("ncg,nc->cg", cdf.astype(np.float64), weight, optimize=True)


def _compute_transport(first: Array, second: Array, grid: Array, scale: Array) -> float:
    """Return the Wasserstein-1 distance of distribution functions [C, G], in units of `scale`, mean over
    channels.
    """
    gaps = np.abs(first - second)
    return float(np.mean(np.trapezoid(gaps, grid, axis=-1) / scale))


def compute_value_distance(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    one, two = (_pool_cdf(t.value_cdf, t.measured) for t in (target, candidate))
    return _compute_transport(one, two, grid.value_grid, grid.value_scale)


def compute_value_gap(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    one, two = (_pool_cdf(t.value_cdf, t.measured) for t in (target, candidate))
    return float(np.abs(one - two).max(-1).mean())


def compute_ramp_distance(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    one, two = (_pool_cdf(t.ramp_cdf, t.changes) for t in (target, candidate))
    return _compute_transport(one, two, grid.ramp_grid, grid.ramp_scale)


def _compare_entities(target: Array, candidate: Array, scale: Array) -> float:
    """Return the Wasserstein-1 distance of a number of entities, [n, C] and [m, C], in units of `scale`, mean
    over channels.
    """
    return float(np.mean(compute_wasserstein(target, candidate) / scale))


def _compute_entity_scale(values: Array, grid: ReferenceGrid) -> Array:
    spread = np.nanstd(values, axis=0)
    return np.where(spread > 1e-9 * grid.value_scale, spread, grid.value_scale)


def compute_level_distance(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    return _compare_entities(target.level, candidate.level, _compute_entity_scale(target.level, grid))


def compute_spread_distance(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    return _compare_entities(target.spread, candidate.spread, _compute_entity_scale(target.spread, grid))


def _make_curve_error(descriptor: str, average: Callable[[Array], Array] = average_known) -> Function:
    """Return a score: the mean absolute difference of the populations' mean curves; NaN without any."""

    def compute_error(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
        one, two = getattr(target, descriptor), getattr(candidate, descriptor)
        if not one[0].size:
            return math.nan
        gaps = np.abs(average(one) - average(two))
        known = gaps[~np.isnan(gaps)]  # what one of the sets has nowhere is not compared
        return float(known.mean()) if known.size else math.nan

    compute_error.__name__ = f"{descriptor}_error"
    return compute_error


def _convert_to_decibels(shares: Array) -> Array:
    return 10 * np.log10(shares.mean(0, dtype=np.float64) + 1e-7)


def compute_spectrum_distance(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    gaps = _convert_to_decibels(target.bands) - _convert_to_decibels(candidate.bands)
    return float(np.sqrt(np.square(gaps).mean()))


def compute_line_error(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    if not grid.lines:
        return math.nan
    return float(np.abs(_convert_to_decibels(target.lines) - _convert_to_decibels(candidate.lines)).mean())


def compute_duration_error(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    gaps = np.abs(target.duration.mean(0, dtype=np.float64) - candidate.duration.mean(0, dtype=np.float64))
    return float(np.trapezoid(gaps, DURATION_LEVELS, axis=-1).mean())


def _make_entity_distance(descriptor: str) -> Function:
    """Return a score: the distance of an entity number's distributions, in standard deviations between real
    entities.
    """

    def compute_distance(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
        one, two = getattr(target, descriptor), getattr(candidate, descriptor)
        return _compare_entities(one, two, np.maximum(np.nanstd(one, axis=0), 1e-2))

    compute_distance.__name__ = f"{descriptor}_distance"
    return compute_distance


def compute_peak_distance(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    peaks = [np.arcsinh(descriptors.duration[..., -1]) for descriptors in (target, candidate)]
    return _compare_entities(peaks[0], peaks[1], np.maximum(np.std(peaks[0], axis=0), 1e-2))


def _compute_radii(points: Array, k: int) -> Array:
    """Return the distance from each point to its k-th neighbour in the same set, [n]; k at most n - 1."""
    radii = []
    for first in range(0, len(points), ROWS_AT_ONCE):
        gaps = cdist(points[first : first + ROWS_AT_ONCE], points)
        gaps[np.arange(len(gaps)), np.arange(first, first + len(gaps))] = np.inf
        radii.append(np.partition(gaps, k - 1, axis=1)[:, k - 1])
    return np.concatenate(radii)


def compute_diversity(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    count = min(len(target), len(candidate))  # nearest neighbours come closer in larger sets
    if count < 2:
        return math.nan
    real, made = (_compute_radii(descriptors.points[:count], 1).mean() for descriptors in (target, candidate))
    return float(made / max(real, 1e-12))


@dataclass(frozen=True)
class Balls:
    """Balls around the points of two sets, to their k-th neighbour, and the points of the other set in
    them.
    """

    k: int
    around_candidates: Array  # [m] target balls that hold the candidate
    around_targets: Array  # [n] whether some candidate's ball holds the target
    covered: Array  # [n] whether the target's own ball holds a candidate


@lru_cache(maxsize=1)
def _make_balls(target: Descriptors, candidate: Descriptors) -> Balls | None:
    """Return the balls of two sets; None where one set has no neighbours."""
    k = min(NEIGHBOURS, len(target) - 1, len(candidate) - 1)
    if k < 1:
        return None
    real, made = (_compute_radii(descriptors.points, k) for descriptors in (target, candidate))
    around_targets, covered = np.zeros(len(target), bool), np.zeros(len(target), bool)
    counts = []
    for first in range(0, len(candidate), ROWS_AT_ONCE):
        span = slice(first, first + ROWS_AT_ONCE)
        gaps = cdist(target.points, candidate.points[span])
        inside = gaps <= real[:, None]
        counts.append(inside.sum(0))
        covered |= inside.any(1)
        around_targets |= (gaps <= made[None, span]).any(1)
    return Balls(k, np.concatenate(counts), around_targets, covered)


def compute_precision(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    balls = _make_balls(target, candidate)
    return math.nan if balls is None else float((balls.around_candidates > 0).mean())


def compute_recall(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    balls = _make_balls(target, candidate)
    return math.nan if balls is None else float(balls.around_targets.mean())


def compute_density(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    balls = _make_balls(target, candidate)  # Naeem et al. 2020, eq. 4
    return math.nan if balls is None else float(balls.around_candidates.mean() / balls.k)


def compute_coverage(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    balls = _make_balls(target, candidate)  # Naeem et al. 2020, eq. 5
    return math.nan if balls is None else float(balls.covered.mean())


def compute_context_fid(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    if min(len(target), len(candidate)) < 2 or not target.embedding.shape[1]:
        return math.nan
    return compute_frechet(target.embedding, candidate.embedding)


def compute_mean_discrepancy(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    if min(len(target), len(candidate)) < 2 or not target.embedding.shape[1]:
        return math.nan
    return compute_mmd(target.embedding[:MMD_SERIES], candidate.embedding[:MMD_SERIES])


def compute_classifier_accuracy(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    return compute_held_out_accuracy(target, candidate, "kernels")


def compute_minirocket_accuracy(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    if grid.rocket is None:
        return math.nan
    return compute_held_out_accuracy(target, candidate, "rocket")


def compute_load_distance(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    if grid.loads is None:
        return math.nan
    return average_ratios(compare_loads(target.figures, candidate.figures, grid.loads.unit))


def compute_vendi_ratio(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    count = min(len(target), len(candidate), VENDI_SERIES)
    if grid.loads is None or count < 2:
        return math.nan
    points = [grid.loads.unit.place(descriptors.figures[:count]) for descriptors in (target, candidate)]
    real, made = (vendi.count_effectively(each, grid.loads.width) for each in points)
    return made / real


def _find_copy_distance(target: Descriptors) -> float:
    """Return a distance real entities practically never have: half their 5 % quantile to training series, and
    `NEAR_COPY` at most.
    """
    return float(np.clip(0.5 * np.quantile(target.to_training, 0.05), IDENTICAL, NEAR_COPY))


def compute_copies(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    """A series as near to unseen real ones follows what all of them do (a boiler on a timer): no copy."""
    common = np.maximum(0.5 * candidate.to_target, IDENTICAL)
    return float((candidate.to_training <= np.minimum(_find_copy_distance(target), common)).mean())


def compute_repeats(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    return float((candidate.to_own <= _find_copy_distance(target)).mean())


def compute_nearness(target: Descriptors, candidate: Descriptors, grid: ReferenceGrid) -> float:
    return float(np.median(candidate.to_training) / max(np.median(candidate.to_target), 1e-12))


SCORES: tuple[Score, ...] = (
    Score(
        "value_distance", "Value distribution", "values", compute_value_distance, "lower", 0.0,
        "how far values must be moved to match the real distribution, in standard deviations (Wasserstein-1)",
    ),
    Score(
        "value_gap", "Largest distribution gap", "values", compute_value_gap, "lower", 0.0,
        "largest difference between the two distribution functions, 0 to 1 (as in a Kolmogorov–Smirnov test)",
    ),
    Score(
        "level_distance", "Location of entities", "values", compute_level_distance, "lower", 0.0,
        "how differently the entities' mean values are distributed, in standard deviations between real "
        "entities",
    ),
    Score(
        "spread_distance", "Scale of entities", "values", compute_spread_distance, "lower", 0.0,
        "the same for how much each entity varies over time (its standard deviation)",
    ),
    Score(
        "duration", "Load-duration curve", "values", compute_duration_error, "lower", 0.0,
        "difference of the mean sorted curves, each series at mean 0 and standard deviation 1: peaks and "
        "base load",
    ),
    Score(
        "peaks", "Peaks of entities", "values", compute_peak_distance, "lower", 0.0,
        "how differently the entities' highest values stand out, in standard deviations between entities",
    ),
    Score(
        "skew", "Skewness of entities", "values", _make_entity_distance("skew"), "lower", 0.0,
        "the same for how lopsided each entity's values are",
    ),
    Score(
        "kurtosis", "Kurtosis of entities", "values", _make_entity_distance("tails"), "lower", 0.0,
        "the same for how heavy the tails of each entity's values are (log kurtosis)",
    ),
    Score(
        "ramp_distance", "Step-to-step changes", "values", compute_ramp_distance, "lower", 0.0,
        "how far the distribution of changes from one step to the next is off, in real standard deviations",
    ),
    Score(
        "load_figures", "Load figures", "values", compute_load_distance, "lower", 0.0,
        "how differently 24 figures of each load (base load, zeros, ramps, nights, low runs …) are "
        "distributed, over what random sets of real loads differ; the geometric mean: 0.9 for a hundred real "
        "loads, 0.75 for twenty",
    ),
    Score(
        "acf_short", "Autocorrelation", "rhythm", _make_curve_error("acf_short"), "lower", 0.0,
        "mean difference in how strongly a value resembles the one some time before: up to two weeks, or a "
        "dozen steps of more than a day",
    ),
    Score(
        "acf_long", "Autocorrelation beyond two weeks", "rhythm", _make_curve_error("acf_long"), "lower", 0.0,
        "the same at selected distances from three weeks on",
    ),
    Score(
        "spectrum", "Spectrum", "rhythm", compute_spectrum_distance, "lower", 0.0,
        "difference of the power spectra over all time scales, in decibels",
    ),
    Score(
        "lines", "Day and week lines", "rhythm", compute_line_error, "lower", 0.0,
        "difference of the power that repeats exactly by day, half day and week, in decibels",
    ),
    Score(
        "daily_profile", "Daily profile", "rhythm", _make_curve_error("day"), "lower", 0.0,
        "difference between the mean days, each series scaled to mean 0 and standard deviation 1",
    ),
    Score(
        "weekly_profile", "Weekly profile", "rhythm", _make_curve_error("week"), "lower", 0.0,
        "difference between the mean weeks, scaled likewise",
    ),
    Score(
        "weekdays", "Weekdays", "rhythm", _make_curve_error("week", average_weekdays), "lower", 0.0,
        "the same, each week less its mean day: how weekdays differ from one another",
    ),
    Score(
        "season", "Course over the record", "rhythm", _make_curve_error("season"), "lower", 0.0,
        "difference between the mean courses over the whole record, scaled likewise",
    ),
    Score(
        "months", "Months", "rhythm", _make_curve_error("months"), "lower", 0.0,
        "difference of the mean and of the scale in each month of the record, scaled likewise",
    ),
    Score(
        "channels", "Correlation of channels", "rhythm", _make_curve_error("channels"), "lower", 0.0,
        "mean difference in how the channels move together",
    ),
    Score(
        "diversity", "Diversity", "diversity", compute_diversity, "nearer", 1.0,
        "distance to the nearest neighbour in the same set, relative to real series; near 0 is collapse",
    ),
    Score(
        "vendi", "Vendi score", "diversity", compute_vendi_ratio, "nearer", 1.0,
        "how many effectively different loads the set holds, by these figures, over how many as many real "
        "loads do",
    ),
    Score(
        "coverage", "Coverage", "diversity", compute_coverage, "higher", 1.0,
        "share of real series that have a series of the set in their neighbourhood",
    ),
    Score(
        "recall", "Recall", "diversity", compute_recall, "higher", 1.0,
        "share of real series that lie among the series of the set",
    ),
    Score(
        "precision", "Precision", "diversity", compute_precision, "higher", 1.0,
        "share of the set that lies among real series",
    ),
    Score(
        "density", "Density", "diversity", compute_density, "nearer", 1.0,
        "how many real neighbourhoods a series of the set falls in, relative to what is expected",
    ),
    Score(
        "repeats", "Repeated series", "diversity", compute_repeats, "lower", 0.0,
        "share of the set that nearly repeats another series of the set",
    ),
    Score(
        "c2st", "Classifier two-sample test", "two-sample tests", compute_classifier_accuracy, "lower", 0.5,
        "how often a classifier on random convolutions over hours, days and weeks is right about series of "
        "the set and real ones that it was not trained on; 0.5 is guessing",
    ),
    Score(
        "minirocket", "Two-sample test, MiniRocket", "two-sample tests", compute_minirocket_accuracy,
        "lower", 0.5,
        "the same with MiniRocket's features of whole series: all 84 kernels at 12 dilations",
    ),
    Score(
        "context_fid", "Fréchet distance", "two-sample tests", compute_context_fid, "lower", 0.0,
        "distance of the two sets as Gaussians in a fixed embedding of random convolutions; not comparable "
        "to published Context-FID, whose encoder is trained anew each time",
    ),
    Score(
        "mmd", "Maximum mean discrepancy", "two-sample tests", compute_mean_discrepancy, "lower", 0.0,
        "difference of the two sets as distributions in that embedding (squared, Gaussian kernel, unbiased)",
    ),
    Score(
        "discriminative", "Discriminative score", "two-sample tests", None, "lower", 0.0,
        "TimeGAN's: |accuracy - 0.5| of a small recurrent network on held-out series; below 0.02 it says "
        "nothing",
    ),
    Score(
        "discriminative_32", "Discriminative score, 32 units", "two-sample tests", None, "lower", 0.0,
        "the same with a larger network, which sees what the small one overlooks",
    ),
    Score(
        "predictive", "Predictive score", "two-sample tests", None, "lower", 0.0,
        "TimeGAN's: mean error, on real series scaled to 0 to 1, of a network trained on the set to predict "
        "one step ahead; real series do not reach 0 either",
    ),
    *(
        Score(f"{kind}_{name}", f"{kind.capitalize()} score, {title}", "two-sample tests", None, "lower", 0.0,
              f"the {kind} score with {title} of 32 units (evaluate.backbones)")
        for name, title in (("cnn", "a CNN"), ("transformer", "a transformer"))
        for kind in ("discriminative", "predictive")
    ),
    Score(
        "copies", "Near copies of training series", "copies", compute_copies, "lower", 0.0,
        "share of the set that is far closer to a training series than unseen real series ever are",
    ),
    Score(
        "nearness", "Nearness to training", "copies", compute_nearness, "nearer", 1.0,
        "distance to the nearest training series relative to the nearest held-out one; near 0 means copying, "
        "while 1 does not prove its absence",
    ),
)  # fmt: skip

BY_NAME = {score.name: score for score in SCORES}
