"""Compare synthetic and real series for each value of an attribute: shares, load, scores, and how well a
classifier predicts the attribute from synthetic and from real series.

A value that fewer owners have, trained on or held out, than the minimum group size has no figures; real
figures are rounded. The classifier is that of `classification`; classes weigh alike, so that chance is one
over their number. Numbers are found by ridge regression, and the figure is the correlation with the truth.
Standard errors are over owners: series of one owner are alike.

Shapes: n series, L steps, C channels, F features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.preprocessing import StandardScaler

from distgan.evaluation.attribute_results import (
    AttributeResult,
    AttributeValueResult,
    ByAttribute,
    Recovery,
)
from distgan.evaluation.metrics.classification import ALPHAS, Encoder
from distgan.evaluation.metrics.descriptors import (
    Array,
    Descriptors,
    ReferenceGrid,
    compute_descriptors,
    make_reference_grid,
)
from distgan.evaluation.metrics.gaps import copy_gaps
from distgan.evaluation.metrics.scores import SCORES

SCORED = ("value_distance", "level_distance", "ramp_distance", "daily_profile", "acf_short", "spectrum")
EVENING = (18, 22)  # hours of the day
DIGITS = 3
FEWEST_CLASSES = 2


@dataclass(frozen=True)
class DescribedSeries:
    """Series [n, L, C] in measured units, NaN where missing, and the attributes of each as cells [n], ""
    where unknown; the owner of each [n].
    """

    series: Array
    cells: dict[str, Array]
    owners: Array

    def count_owners(self, chosen: Array) -> int:
        """Return the number of owners of some series: their places, or a flag for each of all."""
        return len(np.unique(self.owners[chosen]))

    def select(self, name: str, value: str | None = None) -> "DescribedSeries":
        """Return the series with a value of an attribute; by default those of which it is known."""
        cells = self.cells[name]
        return self.take(np.flatnonzero(cells != "" if value is None else cells == value))

    def take(self, rows: Array) -> "DescribedSeries":
        return DescribedSeries(
            self.series[rows], {name: own[rows] for name, own in self.cells.items()}, self.owners[rows]
        )

    def take_evenly(self, size: int) -> "DescribedSeries":
        """Return `size` of the series at even distances; all where there are fewer."""
        count = len(self.series)
        return self if size >= count else self.take(np.arange(size) * count // size)


@dataclass(frozen=True)
class Comparison:
    """Training, held-out and synthetic series with the same attributes. `numbers` names those that are
    numbers; a figure of real series needs `minimum` owners.
    """

    train: DescribedSeries
    held_out: DescribedSeries
    synthetic: DescribedSeries
    numbers: frozenset[str]
    minimum: int
    times: Array | None  # datetime64 [L]; None where they are unknown, or differ between series
    steps_per_day: float

    @cached_property
    def grid(self) -> ReferenceGrid:
        """What scores are read on, by the held-out series."""
        return make_reference_grid(self.held_out.series, self.steps_per_day)


def compare_by_attribute(sets: Comparison) -> ByAttribute:
    """Return the comparison for every attribute; synthetic series have the gaps of held-out ones."""
    made = copy_gaps(sets.held_out.series, sets.synthetic.series)
    sets = replace(sets, synthetic=replace(sets.synthetic, series=made))
    encoder = Encoder.fit(sets.train.series)
    features = {name: encoder(getattr(sets, name).series) for name in ("train", "held_out", "synthetic")}
    found = []
    for name in sets.train.cells:
        recover = correlate_numbers if name in sets.numbers else classify_values
        recovered = recover(sets, name, features)
        values = [] if name in sets.numbers else _compare_values(sets, name)
        found.append(
            AttributeResult.model_validate(
                {"name": name, "number": name in sets.numbers, "values": values, "recovered": recovered}
                | _describe_known(sets, name)
            )
        )
    return ByAttribute(minimum=sets.minimum, attributes=found, scores=list(SCORED))


def _describe_known(sets: Comparison, name: str) -> dict[str, float | None]:
    """Return the shares of series with a known attribute; for a number that enough owners have, also the
    means of both sides.
    """
    real, made = sets.train.cells[name], sets.synthetic.cells[name]
    means: dict[str, float | None] = {"mean_real": None, "mean_synthetic": None}
    enough = sets.train.count_owners(real != "") >= sets.minimum
    if name in sets.numbers and enough and (made != "").any():
        means = {
            "mean_real": _round(float(real[real != ""].astype(float).mean())),
            "mean_synthetic": _round(float(made[made != ""].astype(float).mean())),
        }
    shares = {"known_real": _round(float((real != "").mean()))}
    return {**shares, "known_synthetic": _round(float((made != "").mean())), **means}


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


# --------------------------------------------------------------------------------------------- value by value


def _compare_values(sets: Comparison, name: str) -> list[AttributeValueResult]:
    """Return the comparison for each value that enough owners have, trained on and held out."""
    made = sets.synthetic.select(name)
    real = sets.train.select(name)
    found = []
    for value in sorted({*real.cells[name].tolist(), *made.cells[name].tolist()}):
        parts = [side.select(name, value) for side in (sets.train, sets.held_out, sets.synthetic)]
        if min(len(np.unique(side.owners)) for side in parts[:2]) >= sets.minimum:
            shares = len(parts[0].series) / len(real.series), len(parts[2].series) / max(1, len(made.series))
            found.append(_compare_value(sets, value, parts, shares))
    return found


def _compare_value(
    sets: Comparison, value: str, parts: Sequence[DescribedSeries], shares: tuple[float, float]
) -> AttributeValueResult:
    """Return the comparison of the training, held-out and synthetic series with one value, whose shares of
    the training and of the synthetic series are known.

    As many training as synthetic series are scored: distances of larger sets are smaller.
    """
    train, held_out, made = parts
    size = min(len(train.series), len(made.series) or len(train.series))
    scored = train.take_evenly(size), held_out, made.take_evenly(size)
    known = [compute_descriptors(part.series, sets.grid) if len(part.series) else None for part in scored]
    evening = None if sets.times is None else _is_evening(sets.times)
    return AttributeValueResult(
        value=value,
        share_real=_round(shares[0]),
        share_synthetic=_round(shares[1]),
        held_out=len(np.unique(held_out.owners)),
        synthetic=len(made.series),
        mean_real=_average(held_out.series),
        mean_synthetic=_average(made.series),
        evening_real=None if evening is None else _average(held_out.series[:, evening]),
        evening_synthetic=None if evening is None else _average(made.series[:, evening]),
        scores=_score(known[1], known[2], sets.grid),
        scores_real=_score(known[1], known[0], sets.grid),
    )


def _score(
    target: Descriptors | None, candidate: Descriptors | None, grid: ReferenceGrid
) -> dict[str, float | None]:
    """Return the scores `SCORED` of one set against another; None where a set has no series."""
    functions = {each.name: each.function for each in SCORES if each.name in SCORED}
    if target is None or candidate is None:
        return dict.fromkeys(functions)
    return {name: _round(each(target, candidate, grid)) for name, each in functions.items() if each}


def _is_evening(times: Array) -> Array:
    """Return which steps begin in the evening, bool [L]; all of them where a step is half a day or longer."""
    hours = (times - times.astype("M8[D]")).astype("m8[s]").astype(np.int64) / 3600
    inside: Array = (hours >= EVENING[0]) & (hours < EVENING[1])
    return inside if len(np.unique(hours)) > 2 and inside.any() else np.ones(len(times), bool)


def _average(series: Array) -> float | None:
    """Return the mean of all measured values of the first channel."""
    values = series[..., 0]
    measured = values[~np.isnan(values)]
    return _round(float(measured.mean(dtype=np.float64))) if len(measured) else None


# ------------------------------------------------------------------------------------- found by a classifier


def classify_values(sets: Comparison, name: str, features: dict[str, Array]) -> Recovery | None:
    """Return the balanced accuracies of a classifier trained on real series, tested on held-out and on
    synthetic ones, and of one trained on synthetic series, tested on held-out ones; None where the sets share
    too few values.
    """
    sides: dict[str, DescribedSeries] = {which: getattr(sets, which) for which in features}
    cells = {which: side.cells[name] for which, side in sides.items()}
    common = [
        value
        for value in np.unique(cells["train"][cells["train"] != ""])
        if all(side.count_owners(cells[which] == value) >= sets.minimum for which, side in sides.items())
    ]
    if len(common) < FEWEST_CLASSES:
        return None
    rows = {which: np.flatnonzero(np.isin(own, common)) for which, own in cells.items()}
    scaler = StandardScaler().fit(features["train"][rows["train"]])

    def measure_accuracy(fitted: str, tested: str) -> tuple[float, float]:
        model = RidgeClassifierCV(ALPHAS, class_weight="balanced")
        model.fit(scaler.transform(features[fitted][rows[fitted]]), cells[fitted][rows[fitted]])
        chosen = rows[tested]
        predicted = model.predict(scaler.transform(features[tested][chosen]))
        return compute_balanced_accuracy(cells[tested][chosen], predicted, sides[tested].owners[chosen])

    return _measure_pairs(
        "balanced accuracy", 1 / len(common), measure_accuracy, [str(value) for value in common]
    )


def compute_balanced_accuracy(truth: Array, predicted: Array, owners: Array) -> tuple[float, float]:
    """Return the mean over classes of the share recognised correctly, and its standard error over owners:
    [n] each.
    """
    return average_over_classes(predicted == truth, truth, owners)


def average_over_classes(values: Array, truth: Array, owners: Array) -> tuple[float, float]:
    """Return the mean over classes of each class's mean value, and its standard error over owners: [n] each.

    An owner counts once, with the series of all classes that the owner has.
    """
    classes = np.unique(truth, return_inverse=True)[1]
    sizes = np.bincount(classes)
    means = np.bincount(classes, weights=values) / sizes
    off = (values - means[classes]) / sizes[classes]
    codes = np.unique(owners, return_inverse=True)[1]
    error = np.sqrt(np.square(np.bincount(codes, weights=off)).sum()) / len(sizes)
    return float(means.mean()), float(error)


def correlate_numbers(sets: Comparison, name: str, features: dict[str, Array]) -> Recovery | None:
    """Return the same for a number: correlations of a ridge regression's predictions with the true
    numbers.
    """
    sides: dict[str, DescribedSeries] = {which: getattr(sets, which) for which in features}
    cells = {which: side.cells[name] for which, side in sides.items()}
    rows = {which: np.flatnonzero(own != "") for which, own in cells.items()}
    numbers = {which: cells[which][rows[which]].astype(np.float64) for which in cells}
    owners = {which: side.count_owners(rows[which]) for which, side in sides.items()}
    if any(owners[which] < sets.minimum or np.ptp(own) == 0 for which, own in numbers.items()):
        return None
    scaler = StandardScaler().fit(features["train"][rows["train"]])

    def measure_correlation(fitted: str, tested: str) -> tuple[float, float]:
        model = RidgeCV(ALPHAS).fit(scaler.transform(features[fitted][rows[fitted]]), numbers[fitted])
        predicted = model.predict(scaler.transform(features[tested][rows[tested]]))
        found = float(np.corrcoef(predicted, numbers[tested])[0, 1]) if np.ptp(predicted) > 0 else 0.0
        return found, (1 - found**2) / np.sqrt(max(owners[tested] - 1, 1))

    return _measure_pairs("correlation", 0.0, measure_correlation, [])


def _measure_pairs(
    statistic: str,
    chance: float,
    measure: Callable[[str, str], tuple[float, float]],
    classes: Sequence[str],
) -> Recovery:
    """Return the results of `measure(fitted, tested)` for the three pairs of sets."""
    pairs = (("train", "held_out"), ("train", "synthetic"), ("synthetic", "held_out"))
    (real, real_error), (made, made_error), (back, back_error) = (measure(*pair) for pair in pairs)
    return Recovery(
        statistic=statistic,
        chance=chance,
        classes=list(classes),
        real_on_real=_round(real),
        real_on_synthetic=_round(made),
        synthetic_on_real=_round(back),
        errors=[_round(real_error), _round(made_error), _round(back_error)],
    )
