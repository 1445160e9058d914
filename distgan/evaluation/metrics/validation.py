"""The loss of generated series on a validation split, by which the step of a training is selected.

It is computed as the report computes it, against other owners: the validation series are cut into two halves
without a common owner, one the target, one the row of real series that sets the bar.
"""

import math
from dataclasses import dataclass

import numpy as np

from distgan.errors import UserError
from distgan.evaluation.metrics.descriptors import Array, Descriptors
from distgan.evaluation.metrics.fidelity import (
    average_scores,
    blank_scores,
    compute_shrinkage,
    estimate_difference_noise,
    estimate_noise,
    replace_nan,
    score_halves,
    split_sides,
)
from distgan.evaluation.metrics.measure import Measure
from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.report.verdict import MODEL, REAL, ROWS, compute_overall_loss
from distgan.evaluation.results import Row

FIDELITY = "fidelity"
FEWEST = 4  # validation series: two for the target, two for the bar


def check_score(name: str, setting: str) -> None:
    """Check that a score can select a step.

    Args:
        setting: the key that names the score, for the message.

    Raises:
        UserError: there is no such score, or networks must be trained for it.
    """
    usable = [FIDELITY, *(score for score, found in BY_NAME.items() if found.function is not None)]
    if name not in usable:
        raise UserError(f"{setting} {name!r} is not a score that can choose; use one of {', '.join(usable)}")


@dataclass(frozen=True)
class ScoredSet:
    """A set's scores against the target at one size, and on random halves of both."""

    series: int
    values: dict[str, float]
    halves: list[dict[str, float]]

    @classmethod
    def from_descriptors(cls, measure: Measure, described: Descriptors, size: int, seed: int) -> "ScoredSet":
        values = blank_scores() | average_scores(measure, described, size, seed)
        return cls(len(described), values, score_halves(measure, described, size, seed))

    def to_row(self, name: str, real: "ScoredSet", measure: Measure) -> Row:
        """Return the row of the report's table, with its errors to that of real series."""
        shrinkage = compute_shrinkage(len(measure.target))
        noise_to = replace_nan(estimate_difference_noise((self.halves, {}), (real.halves, {}), shrinkage))
        return Row(
            name=name,
            meaning=ROWS.get(name, ""),
            n=self.series,
            values=replace_nan(self.values),
            noise=replace_nan(estimate_noise(self.halves, {}, shrinkage)),
            noise_to={REAL: noise_to},
        )


class Validation:
    """The validation series, measured once; every evaluation scores new synthetic series against them.

    Args:
        train, real: [n, L, C] in original units, NaN where missing: training and validation series.
        owners: [n] of the validation series.
        count: synthetic series in an evaluation.

    Raises:
        UserError: fewer than `FEWEST` validation series.
    """

    def __init__(
        self, train: Array, real: Array, owners: Array, *, steps_per_day: float, count: int, seed: int
    ) -> None:
        if len(real) < FEWEST:
            raise UserError(
                f"train.select needs {FEWEST} validation series or more, and there are {len(real)}; raise "
                "data.validation, or set train.select.score=null"
            )
        target, others = split_sides(np.asarray(real, np.float32), seed, None, owners)
        owner, other_owner = split_sides(owners, seed, None, owners)
        self.seed, self.size = seed, min(len(target), len(others), count)
        self.measure = Measure(np.asarray(train, np.float32), target, steps_per_day, owner)
        described = self.measure.compute_descriptors(others, other_owner)
        self.real = ScoredSet.from_descriptors(self.measure, described, self.size, seed)
        self.bar = self.real.to_row(REAL, self.real, self.measure)

    def compute_loss(self, name: str, synthetic: Array) -> float:
        """Return the loss of [count, L, C] synthetic series in one score, 0 is best; NaN where it does not
        exist.
        """
        described = self.measure.compute_descriptors(np.asarray(synthetic, np.float32))
        scored = ScoredSet.from_descriptors(self.measure, described, self.size, self.seed)
        row = scored.to_row(MODEL, self.real, self.measure)
        if name == FIDELITY:
            found = compute_overall_loss(row, self.bar)
        else:
            value = row.values[name]
            found = None if value is None else BY_NAME[name].compute_loss(value)
        return math.nan if found is None else found
