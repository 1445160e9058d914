"""Classifier two-sample tests on MiniRocket features: can a ridge classifier distinguish synthetic from real
series?

All series of both sides are classified, each by a classifier that saw none of its owner's series:
cross-validation in `FOLDS` parts by owner. The sides weigh alike however many series they have. The ridge has
the strength with the least squared error where each owner of the training part is left out in turn; these
errors follow from one eigendecomposition, block by block. Items are whole series, weeks of them, the signs of
their step-to-step differences, or their daily totals.

The interval of 95 % counts owners: for each side a Wilson interval of its share of right answers, with as
many trials as the variance between owners is worth, and the two are combined as a mean of independent shares
(Zou and Donner 2008). It holds for the classifiers as trained: the training parts overlap, so accuracies of
repeated samples vary by a quarter more than it says (of 15 to 60 owners a side, simulated, it covered 81 to
94 %). The margins of the verdict (`two_sample_table.py`) take that up.

Shapes: n series, L steps, C channels, m items, F features.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from distgan.evaluation.metrics.descriptors import Array
from distgan.evaluation.metrics.gaps import copy_gaps
from distgan.evaluation.metrics.minirocket import FEATURES, TAPS, choose_stride, fit_minirocket
from distgan.rng import make_keyed_generator

FOLDS = 5
FEWEST_OWNERS = 5  # of each side
STRENGTHS = np.logspace(-4, 1, 11)  # of the ridge, in mean squared lengths of an item's features
MOST_ITEMS = 2000  # of both sides together, that weeks are drawn to
MOST_WEEKS = 8  # of a series
LEVEL_SHARE = 0.05  # of the features' squared length, that location and scale have
BIAS_ITEMS = 200  # of both sides together, that settle the biases of the kernels
QUANTILE = 1.959964  # of the normal distribution, for 95 %


@dataclass(frozen=True)
class Sample:
    """One side: series [n, L, C] in original units, NaN where missing, and the owner of each, by default one
    each.
    """

    values: Array
    owners: Array | None = None

    @property
    def codes(self) -> Array:
        """The owner of each series as a number from 0: [n]."""
        owners = np.arange(len(self.values)) if self.owners is None else np.asarray(self.owners)
        return np.unique(owners, return_inverse=True)[1]


@dataclass(frozen=True)
class Items:
    """The items to classify: float32 [m, C, l], and the series each comes from [m]."""

    values: Array
    series: Array


@dataclass(frozen=True)
class Accuracy:
    """Balanced accuracy with its 95 % interval, and the area under the ROC curve of the scores."""

    value: float
    low: float
    high: float
    auc: float
    items: int
    owners: tuple[int, int]


@dataclass(frozen=True)
class Effort:
    """The amount of computation: features of the transform, and about how many places of a series are
    read.
    """

    features: int = FEATURES
    places: int = 1 << 30
    seed: int = 0


FULL = Effort()


# ---------------------------------------------------------------------------------------------------- items


def cut_series(values: Array, steps_per_day: float, count: int, rng: np.random.Generator) -> Items:
    """Return whole series."""
    return Items(np.moveaxis(values, 1, 2), np.arange(len(values)))


def cut_weeks(values: Array, steps_per_day: float, count: int, rng: np.random.Generator) -> Items:
    """Cut `count` weeks of each series, spread over the record, each at random within its part of it; those
    of which less than half is measured are left out.
    """
    week = round(7 * steps_per_day)
    weeks = values.shape[1] // week
    count = min(count, weeks)
    places = (np.arange(count) + rng.random((len(values), count))) * weeks / count
    steps = places.astype(int)[..., None] * week + np.arange(week)
    rows = np.arange(len(values))
    items = values[rows[:, None, None], steps]  # [n, count, week, C]
    found = np.moveaxis(items.reshape(-1, week, values.shape[2]), 1, 2)
    there = np.isnan(found).mean(axis=(1, 2)) <= 0.5
    return Items(found[there], np.repeat(rows, count)[there])


def cut_signs(values: Array, steps_per_day: float, count: int, rng: np.random.Generator) -> Items:
    """Return signs of the differences of neighbouring steps: the texture, independent of the values."""
    return Items(np.moveaxis(np.sign(np.diff(values, axis=1)), 1, 2), np.arange(len(values)))


def cut_days(values: Array, steps_per_day: float, count: int, rng: np.random.Generator) -> Items:
    """Return daily totals."""
    day = round(steps_per_day)
    days = values.shape[1] // day
    totals = values[:, : days * day].reshape(len(values), days, day, -1).sum(2)
    return Items(np.moveaxis(totals, 1, 2), np.arange(len(values)))


@dataclass(frozen=True)
class View:
    """A representation of series; `fits` returns whether it applies to records of so many steps (a day)."""

    title: str
    meaning: str
    cut: Callable[[Array, float, int, np.random.Generator], Items]
    fits: Callable[[int, float], bool]


def _has_weeks(length: int, steps_per_day: float) -> bool:
    week = 7 * steps_per_day
    return week >= TAPS and abs(week - round(week)) < 1e-6 and length >= 2 * week


VIEWS: Mapping[str, View] = {
    "weeks": View("weeks", "weeks of the series", cut_weeks, _has_weeks),
    "series": View("whole series", "whole series", cut_series, lambda length, per_day: length >= TAPS),
    "signs": View(
        "signs of differences",
        "whole series, of which only the signs of the differences between neighbouring steps are shown",
        cut_signs,
        lambda length, per_day: length > TAPS,
    ),
    "days": View(
        "daily totals",
        "totals of the days",
        cut_days,
        lambda length, per_day: (
            per_day >= 2 and float(per_day).is_integer() and length // per_day >= 2 * TAPS
        ),
    ),
}


# ----------------------------------------------------------------------------------------------------- test


def compare_samples(
    real: Sample, made: Sample, view: str, steps_per_day: float, effort: Effort = FULL
) -> Accuracy | None:
    """Classify all items of both sides, each by a classifier that was not trained on its owner's items.

    Returns:
        None where the records are too short for the view, or a side has fewer than `FEWEST_OWNERS` owners.
    """
    chosen = VIEWS[view]
    owners = [int(side.codes.max(initial=-1)) + 1 for side in (real, made)]
    if min(owners) < FEWEST_OWNERS or not chosen.fits(real.values.shape[1], steps_per_day):
        return None
    rng = make_keyed_generator(effort.seed, 0, f"two-sample test {view}")
    count = int(np.clip(MOST_ITEMS // (len(real.values) + len(made.values)), 1, MOST_WEEKS))
    sides = real.values, copy_gaps(real.values, made.values)
    items = [chosen.cut(values, steps_per_day, count, rng) for values in sides]
    owner = [side.codes[each.series] for side, each in zip((real, made), items)]
    if min(len(np.unique(each)) for each in owner) < FEWEST_OWNERS:  # no week is measured of the others
        return None
    features = _compute_features([each.values for each in items], steps_per_day, effort)
    signs = np.repeat([1.0, -1.0], [len(each) for each in owner])
    scores = cross_validate(features, signs, np.concatenate([owner[0], owner[1] + owners[0]]), rng)
    return summarise(scores, signs, owner)


def _compute_features(sides: list[Array], steps_per_day: float, effort: Effort) -> Array:
    """Compute standardised MiniRocket features of both sides, with location and scale of each item: float32
    [m, F + 2 C].

    Values are divided by the standard deviation of their channel over both sides; of an item, its mean is
    taken for what is missing. Kernels do not see a constant that is added, so location and scale stand beside
    them and have `LEVEL_SHARE` of the features' squared length.
    """
    scales = np.array([_measure_scale([side[:, c] for side in sides]) for c in range(sides[0].shape[1])])
    filled = []
    for side in sides:
        side = np.asarray(side / scales.astype(side.dtype)[:, None], dtype=np.float32)
        if (missing := np.isnan(side)).any():
            counts = np.maximum((~missing).sum(2, keepdims=True), 1)
            side = np.where(missing, np.where(missing, 0, side).sum(2, keepdims=True) / counts, side)
        filled.append(side.astype(np.float32))
    length = filled[0].shape[2]
    stride = choose_stride(length, effort.places, steps_per_day)
    some = np.concatenate([side[:: max(1, 2 * len(side) // BIAS_ITEMS)] for side in filled])
    kernels = fit_minirocket(some, features=effort.features, stride=stride, seed=effort.seed)
    features = _standardise(np.concatenate([kernels.compute_features(side) for side in filled]))
    levels = [np.concatenate([side.mean(2), np.log(side.std(2) + 1e-3)], axis=1) for side in filled]
    own = _standardise(np.arcsinh(np.concatenate(levels)))
    return np.concatenate([features, own * math.sqrt(LEVEL_SHARE * features.shape[1] / own.shape[1])], axis=1)


def _measure_scale(sides: list[Array]) -> float:
    """Return the standard deviation of a channel's measured values on both sides, [m, l] each; 1 where they
    do not vary.
    """
    sample = np.concatenate([side.reshape(-1)[:: max(1, side.size // 1_000_000)] for side in sides])
    scale = 0.0 if np.isnan(sample).all() else float(np.nanstd(sample))
    return scale if scale > 0 else 1.0


def _standardise(features: Array) -> Array:
    """Scale columns to mean 0 and deviation 1; constant ones become 0."""
    spread = features.std(0)
    return ((features - features.mean(0)) / np.where(spread > 1e-6, spread, np.inf)).astype(np.float32)


def cross_validate(features: Array, signs: Array, owners: Array, rng: np.random.Generator) -> Array:
    """Return scores of all items, above 0 for the side +1, each from ridge regression on other owners' items:
    [m].

    Args:
        features: [m, F] standardised.
        signs: [m] +1 and -1.
        owners: [m] numbers; no owner is on both sides.
    """
    gram = (features @ features.T).astype(np.float64)
    fold = np.empty(len(signs), int)
    for sign in (1, -1):
        names, codes = np.unique(owners[signs == sign], return_inverse=True)
        fold[signs == sign] = (rng.permutation(len(names)) % FOLDS)[codes]
    scores = np.empty(len(signs))
    for part in range(FOLDS):
        scores[fold == part] = _predict(gram, fold != part, signs, owners)
    return scores


def _predict(gram: Array, chosen: Array, signs: Array, owners: Array) -> Array:
    """Return scores of the items that are not chosen, by ridge regression on those that are."""
    train, test = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    sign = signs[train]
    weight = np.where(sign > 0, 0.5 / (sign > 0).sum(), 0.5 / (sign < 0).sum())  # sides weigh alike, sum 1
    inner, outer = gram[np.ix_(train, train)], gram[np.ix_(test, train)]
    mean = inner @ weight
    offset = weight @ mean
    inner = inner - mean - mean[:, None] + offset
    outer = outer - mean - (outer @ weight)[:, None] + offset
    root = np.sqrt(weight * len(train))
    values, vectors = np.linalg.eigh(root[:, None] * inner * root)
    values = np.maximum(values, 0)
    turned = vectors.T @ (root * sign)
    strengths = STRENGTHS * max(values.sum() / len(train), 1e-12)
    errors = [
        _leave_owners_out(values, vectors, root * sign, owners[train], root, each) for each in strengths
    ]
    best = strengths[int(np.argmin(errors))]
    return outer @ (root * (vectors @ (turned / (values + best))))


def _leave_owners_out(
    values: Array, vectors: Array, target: Array, owners: Array, root: Array, strength: float
) -> float:
    """Return the sum of squared errors where all items of an owner are left out at once.

    With H the hat matrix and e the errors of the fit, those of a block left out are (I - H)_bb^-1 e_b. The
    intercept is the direction `root`, which the centred kernel leaves free.
    """
    share = strength / (values + strength)
    errors = (vectors * share) @ (vectors.T @ target) - root * (root @ target) / (root @ root)
    total = 0.0
    order = np.argsort(owners, kind="stable")
    for block in np.split(order, np.flatnonzero(np.diff(owners[order])) + 1):
        rows = vectors[block]
        left = (rows * share) @ rows.T - np.outer(root[block], root[block]) / (root @ root)
        total += float(np.square(np.linalg.solve(left + 1e-9 * np.eye(len(block)), errors[block])).sum())
    return total


def summarise(scores: Array, signs: Array, owners: list[Array]) -> Accuracy:
    """Return the balanced accuracy of scores [m] with its interval over owners, and the AUC."""
    sides = [scores[signs > 0], -scores[signs < 0]]
    shares = []
    for right, codes in zip(sides, owners):
        counts = np.bincount(codes)
        shares.append(np.bincount(codes, weights=right > 0)[counts > 0] / counts[counts > 0])
    found = [_bound_share(share) for share in shares]
    value = float(np.mean([share.mean() for share in shares]))
    below = math.hypot(*(share.mean() - low for share, (low, _) in zip(shares, found))) / 2
    above = math.hypot(*(high - share.mean() for share, (_, high) in zip(shares, found))) / 2
    return Accuracy(
        value=value,
        low=max(0.0, value - below),
        high=min(1.0, value + above),
        auc=compute_auc(sides[0], -sides[1]),
        items=len(scores),
        owners=(len(shares[0]), len(shares[1])),
    )


def _bound_share(shares: Array) -> tuple[float, float]:
    """Return the Wilson interval of the mean of owners' shares, with as many trials as their variance is
    worth.
    """
    mean, count = float(shares.mean()), len(shares)
    variance = float(shares.var(ddof=1)) if count > 1 else 0.0
    binomial = mean * (1 - mean)
    trials = count * max(1.0, binomial / variance) if variance > 0 else float(count)
    middle = (mean + QUANTILE**2 / (2 * trials)) / (1 + QUANTILE**2 / trials)
    half = (
        QUANTILE * math.sqrt(binomial / trials + QUANTILE**2 / (4 * trials**2)) / (1 + QUANTILE**2 / trials)
    )
    return middle - half, middle + half


def compute_auc(high: Array, low: Array) -> float:
    """Return the probability that a random number of `high` exceeds one of `low`, ties counting one half."""
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, "left") + np.searchsorted(ordered, high, "right")
    return float(below.mean() / (2 * len(low)))
