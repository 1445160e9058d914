"""Differences between two sets of series with intervals, and the overall score.

Every row of a table (synthetic series, held-out real series, each baseline) is scored against the same random
halves of the held-out owners. What those halves have in common (an unusual home among the held-out ones)
changes all rows alike and cancels in the difference of two rows. So the difference has a smaller error than
either value, and it is the difference that is judged:

    better  the whole 95 % interval of (loss of the synthetic series - loss of the other row) is below 0
    worse   the whole interval is above 0
    tie     neither, or a difference of less than 1 % of the larger loss
    few     fewer than `FEWEST_OWNERS` held-out owners or synthetic series

Halves are drawn without replacement (the variance of a mean of n/2 among n is s²/n, that of a mean of n, so
the deviation over halves is the standard error). A bootstrap with replacement would put copies of a series
into a set, and neighbours, recall and repeats would measure those. The interval is Student's t with as many
degrees of freedom as there are owners, less one: with seven owners it is 2.4, not 2, standard errors wide.
Fewer synthetic series than owners count in their place. Where none of 17 real series repeats another, one in
17 may: the error of real series in a share is at least one series.
On London's loads, real series as the model (56 splits, 7 to 36 owners) were never called better or worse
overall, and on 1 % of single scores. Simulated loads of three weeks from the same process as the model were
called worse overall in 5.5 % and better in 1.2 % of 325 tables of 30 owners, in 0 % and 0.3 % of 296 tables
of 10; single scores in 3 and 2 %.

**Overall score** of a row: the geometric mean over all scores but those that look for copies of

    (loss of the row + e) / (loss of held-out real series + e),   at most 10 and at least 1/10,

where e is the standard error of that loss over the choice of owners, and at least one series for scores
that are shares. A perfect generator gets about 1, since its series and other real series are equally far
from the held-out ones; 2 is twice as far. `e` keeps a score on which real series happen to be perfect from
deciding, and the limits keep any one score from outweighing the rest. Scores of networks that are trained
on the series (TimeGAN's) are not resampled and do not take part.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from distgan.evaluation.comparisons import (
    Comparison,
    Difference,
    OverallScore,
    PairedComparisons,
    RowComparison,
)
from distgan.evaluation.metrics.descriptors import Array
from distgan.evaluation.metrics.scores import BY_NAME, SCORES

FEWEST_OWNERS = 6  # a two-sided sign test of five pairs cannot reach 5 %: 2 / 2^5 = 6 %
FARTHEST = 10.0  # ratio that a single score can contribute to the overall score, at most
SHARES = ("coverage", "recall", "precision", "repeats", "c2st", "minirocket")  # whose unit is one series
EXACT = 1e-9  # of a loss that is not a share: what is added where real series have no error
SMALLEST = 0.01  # of the larger loss: a difference that is called one, however sure


@dataclass(frozen=True)
class ResampledLosses:
    """Losses of all rows: S scores in the order of `names`, K random halves.

    Attributes:
        losses: row -> [S] of all series; NaN where a score does not exist.
        halves: row -> [K, S] on the same halves of the held-out owners; K is 0 where sets are too small.
        errors: row -> [S] standard errors of scores that are not resampled, NaN elsewhere.
        shrinkage: standard error of all series over the spread of the halves.
        owners: held-out owners.
        synthetic: series of the row that is judged.
        compared: series of each set that are scored together.
    """

    names: tuple[str, ...]
    losses: Mapping[str, Array]
    halves: Mapping[str, Array]
    errors: Mapping[str, Array]
    shrinkage: float
    owners: int
    synthetic: int
    compared: int

    @property
    def evidence(self) -> int:
        """The number of independent draws on the smaller side."""
        return min(self.owners, self.synthetic)

    @property
    def reach(self) -> float:
        """Half the width of a 95 % interval, in standard errors."""
        return float(student.ppf(0.975, max(self.evidence - 1, 1)))

    @property
    def units(self) -> Array:
        """The least standard error of each score: one series of a share, [S]."""
        return np.array([1 / self.compared if name in SHARES else EXACT for name in self.names])


@dataclass(frozen=True)
class Ratios:
    """Logarithms of each score's ratio to the row of real series; NaN for scores that take no part.

    Attributes:
        whole: row -> [S] of all series.
        halves: row -> [K] means over scores on each half; 0 for the row of real series itself.
        real: [K] mean log losses of the row of real series on each half: what its own interval is of.
    """

    whole: Mapping[str, Array]
    halves: Mapping[str, Array]
    real: Array

    def average(self, row: str) -> float:
        """Return the mean over scores: the logarithm of the overall score."""
        whole = self.whole[row]
        return float(np.nanmean(whole)) if np.isfinite(whole).any() else math.nan


def compare_rows(resampled: ResampledLosses, model: str, real: str) -> PairedComparisons:
    """Compare the row `model` with every other, and score all rows overall relative to the row `real`.

    Without a row of real series there is no overall score.
    """
    ratios = _collect_ratios(resampled, real) if real in resampled.losses else None
    return PairedComparisons(
        owners=resampled.owners,
        synthetic=resampled.synthetic,
        needed=FEWEST_OWNERS,
        scores=0 if ratios is None else int(np.isfinite(ratios.whole[real]).sum()),
        overall=[] if ratios is None else [_summarise(row, ratios, real, resampled) for row in ratios.whole],
        rows=[_compare_row(model, row, real, ratios, resampled) for row in resampled.losses if row != model],
    )


def collect_losses(values: Mapping[str, float]) -> Array:
    """Return losses of a row's scores in the order of `SCORES`, NaN where one does not exist: [S]."""
    return np.array([score.compute_loss(values.get(score.name, math.nan)) for score in SCORES])


# ------------------------------------------------------------------------------------------------ differences


def _compare_row(
    model: str, other: str, real: str, ratios: Ratios | None, found: ResampledLosses
) -> RowComparison:
    """Compare two rows. Against real series the error is at most that of two rows of real series, or one
    series of a share; otherwise wild series in a set would widen the interval into a tie.
    """
    differences = found.losses[model] - found.losses[other]
    sizes = np.fmax(found.losses[model], found.losses[other])
    errors = np.hypot(found.errors[model], found.errors[other])
    if len(found.halves[model]) and len(found.halves[other]):
        spread = np.std(found.halves[model] - found.halves[other], axis=0, ddof=1)
        if other == real:
            most = math.sqrt(2) * np.std(found.halves[real], axis=0, ddof=1)
            spread = np.fmin(spread, np.fmax(most, found.units))
        errors = np.where(np.isnan(errors), found.shrinkage * spread, errors)
    scores = {
        name: _make_difference(
            float(value), found.reach * float(error), found.evidence, SMALLEST * float(size)
        )
        for name, value, error, size in zip(found.names, differences, errors, sizes)
        if math.isfinite(value)
    }
    ratio = None
    if ratios is not None:
        value = ratios.average(model) - ratios.average(other)
        pair = ratios.halves[model], ratios.halves[other]
        half = _compute_half_width(pair[0] - pair[1] if all(map(len, pair)) else np.zeros(0), found)
        if other == real:
            half = min(half, math.sqrt(2) * _compute_half_width(ratios.real, found))
        ratio = _exponentiate(_make_difference(value, half, found.evidence, SMALLEST))
    return RowComparison(row=other, ratio=ratio, scores=scores)


def _make_difference(value: float, half: float, evidence: int, smallest: float) -> Difference:
    """Return the difference with an interval of that half width, NaN where it is unknown; a difference not
    above `smallest` is a tie.
    """
    known = math.isfinite(half)
    verdict: Comparison = "better" if value < 0 else "worse"
    if not known or evidence < FEWEST_OWNERS:
        verdict = "few"
    elif abs(value) <= max(half, smallest, EXACT):
        verdict = "tie"
    low, high = (round(value - half, 6), round(value + half, 6)) if known else (None, None)
    return Difference(value=round(value, 6), low=low, high=high, verdict=verdict)


def _exponentiate(found: Difference) -> Difference:
    """Return the ratio of a difference of logarithms."""
    value, low, high = (
        None if x is None else round(math.exp(x), 4) for x in (found.value, found.low, found.high)
    )
    assert value is not None
    return Difference(value=value, low=low, high=high, verdict=found.verdict)


# ---------------------------------------------------------------------------------------------- overall score


def _collect_ratios(found: ResampledLosses, real: str) -> Ratios:
    unit, halves = found.units, found.halves[real]
    spread = found.shrinkage * np.std(halves, axis=0, ddof=1) if len(halves) > 1 else unit
    room = np.fmax(spread, unit)
    part = np.array([_is_averaged(name) for name in found.names])
    base = np.where(part, np.log(found.losses[real] + room), math.nan)
    base_halves = np.where(part, np.log(halves + room), math.nan)
    end = math.log(FARTHEST)
    return Ratios(
        whole={row: np.clip(np.log(each + room) - base, -end, end) for row, each in found.losses.items()},
        halves={
            row: _average_scores(np.clip(np.log(each + room) - base_halves, -end, end))
            if len(each)
            else np.zeros(0)
            for row, each in found.halves.items()
        },
        real=_average_scores(base_halves),
    )


def _is_averaged(name: str) -> bool:
    return BY_NAME[name].function is not None and BY_NAME[name].group != "copies"


def _average_scores(logs: Array) -> Array:
    """Return [K, S] -> [K]."""
    return np.nanmean(logs, axis=1) if len(logs) else np.zeros(0)


def _compute_half_width(draws: Array, found: ResampledLosses) -> float:
    """Return half the 95 % interval of the draws, [K]; NaN without draws."""
    return found.reach * found.shrinkage * float(np.std(draws, ddof=1)) if len(draws) > 1 else math.nan


def _summarise(row: str, ratios: Ratios, real: str, found: ResampledLosses) -> OverallScore:
    half = _compute_half_width(ratios.real if row == real else ratios.halves[row], found)
    interval = _exponentiate(_make_difference(ratios.average(row), half, found.evidence, SMALLEST))
    return OverallScore(row=row, value=interval.value, low=interval.low, high=interval.high)
