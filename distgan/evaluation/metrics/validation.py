"""One loss of generated series on a validation split: what chooses the step of a training.

It is computed as the report computes it, against other owners: the validation series are cut into two halves
without a common owner, one the target, one the row of real series that sets the bar.
"""

import math

import numpy as np

from distgan.errors import UserError
from distgan.evaluation.metrics.descriptors import Array
from distgan.evaluation.metrics.fidelity import Measure, compare_with_real, split_sides
from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.report.verdict import overall_loss

FIDELITY = "fidelity"
FEWEST = 4  # validation series: two for the target, two for the bar


def check_score(name: str, setting: str) -> None:
    """
    Args:
        setting: the key that names the score, for the message.

    Raises:
        UserError: there is no such score, or networks must be trained for it.
    """
    usable = [FIDELITY, *(score for score, found in BY_NAME.items() if found.function is not None)]
    if name not in usable:
        raise UserError(f"{setting} {name!r} is not a score that can choose; use one of {', '.join(usable)}")


class Validation:
    """The validation series, measured once; every evaluation scores new synthetic series against them.

    Args:
        train, real: [n, L, C] in original units, NaN where missing: training and validation series.
        owners: [n] of the validation series.

    Raises:
        UserError: fewer than `FEWEST` validation series.
    """

    def __init__(self, train: Array, real: Array, owners: Array, steps_per_day: float, seed: int) -> None:
        if len(real) < FEWEST:
            raise UserError(
                f"train.select needs {FEWEST} validation series or more, and there are {len(real)}; raise "
                "data.validation, or set train.select.score=null"
            )
        target, others = split_sides(np.asarray(real, np.float32), seed, None, owners)
        owner, other_owner = split_sides(owners, seed, None, owners)
        self.seed = seed
        self.measure = Measure(np.asarray(train, np.float32), target, steps_per_day, owner)
        self.others = self.measure.descriptors(others, other_owner)

    def loss(self, name: str, synthetic: Array) -> float:
        """The loss of [n, L, C] synthetic series in one score, 0 is best; NaN where it does not exist."""
        row, real = compare_with_real(self.measure, synthetic, self.others, self.seed)
        if name == FIDELITY:
            found = overall_loss(row, real)
        else:
            value = row.values[name]
            found = None if value is None else BY_NAME[name].loss(value)
        return math.nan if found is None else found
