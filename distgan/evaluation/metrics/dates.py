"""Single days of the record: does the mean of all series differ on one, such as a holiday that real series
share?

Scores average over the record, so that a day of a year moves none of them. Here the means of every day, each
series at mean 0 and standard deviation 1, are compared by Welch's t-test over owners. Its level of 5 % is for
all days and channels together (Bonferroni), so that of 20 reports on real series about one names a day.

Shapes: n series, L steps, C channels, D days, O owners.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from distgan.evaluation.metrics.descriptors import Array, standardise
from distgan.evaluation.metrics.gaps import copy_gaps
from distgan.evaluation.metrics.plain_statistics import GROUP

FEWEST_DAYS = 14
LEVEL = 0.05  # of all tests together
SMALLEST = 0.1  # own standard deviations: a difference that is named, however sure


@dataclass(frozen=True)
class OddDays:
    """The days on which the means differ: their places in the record [k], and the day and channel that differ
    most, with synthetic less real there, in own standard deviations.
    """

    days: Array
    tested: int
    most: int
    channel: int
    gap: float


def find_odd_days(real: Array, synthetic: Array, owners: Array, steps_per_day: float) -> OddDays | None:
    """Find the days on which the mean of synthetic series is not that of real ones.

    Args:
        real, synthetic: [n, L, C], [m, L, C] in original units, NaN where missing.
        owners: [n] of the real series.

    Returns:
        None where no day is tested: steps that do not make days, fewer than `FEWEST_DAYS` of them, or fewer
        than `GROUP` owners or synthetic series that have measured one.
    """
    steps = round(steps_per_day)
    if steps < 1 or abs(steps - steps_per_day) > 1e-6 or real.shape[1] < FEWEST_DAYS * steps:
        return None
    made = copy_gaps(real, synthetic)
    sides = [
        _describe_days(values, codes, steps)
        for values, codes in ((real, np.unique(owners, return_inverse=True)[1]), (made, np.arange(len(made))))
    ]
    counts = np.minimum(sides[0][2], sides[1][2])  # [C, D]
    tested = counts >= GROUP
    if not tested.any():
        return None
    gaps = sides[1][0] - sides[0][0]
    errors = np.sqrt(sum(variance / np.maximum(count, 1) for _, variance, count in sides))
    reach = student.ppf(1 - LEVEL / 2 / tested.sum(), np.maximum(counts - 1, 1))
    odd = tested & (np.abs(gaps) > np.maximum(reach * errors, SMALLEST))
    channel, most = np.unravel_index(int(np.argmax(np.where(odd, np.abs(gaps), -1))), odd.shape)
    return OddDays(
        days=np.flatnonzero(odd.any(0)),
        tested=int(tested.any(0).sum()),
        most=int(most),
        channel=int(channel),
        gap=float(gaps[channel, most]),
    )


def _describe_days(values: Array, codes: Array, steps: int) -> tuple[Array, Array, Array]:
    """Return mean and variance over owners of each day's mean, and the owners that have measured half of it:
    [n, L, C], [n] -> three of [C, D].
    """
    days = values.shape[1] // steps
    standard = standardise(values)[0][..., : days * steps].reshape(len(values), -1, days, steps)
    measured = ~np.isnan(np.moveaxis(values, 1, 2)[..., : days * steps]).reshape(standard.shape)
    known = 2 * measured.sum(-1) >= steps
    means = np.where(known, standard.sum(-1, dtype=np.float64) / np.maximum(measured.sum(-1), 1), 0)
    sums, parts = (np.zeros((int(codes.max()) + 1, *known.shape[1:])) for _ in range(2))
    np.add.at(sums, codes, means)
    np.add.at(parts, codes, known)
    there, of_owner = parts > 0, sums / np.maximum(parts, 1)
    counts = there.sum(0)
    mean = np.where(there, of_owner, 0).sum(0) / np.maximum(counts, 1)
    squares = np.where(there, np.square(of_owner - mean), 0).sum(0)
    return mean, squares / np.maximum(counts - 1, 1), counts
