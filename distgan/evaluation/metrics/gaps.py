"""Compare series with gaps to whole ones: only measured steps count, and both sets get the same gaps.

Real series begin late, end early or have gaps; synthetic ones are whole as they are compared. Statistics
leave missing values out, but a set that is whole would still be distinguished from one that is not: by its
number of readings, by what takes the place of missing ones in a transform, or because part of a year is not
the year.
So a set whose gaps are fewer than half of the real one's gets those of the real one, row by row in turn,
before it is compared. A set with about as many gaps of its own stays as it is.

Shapes: n series, L steps, C channels; NaN where missing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ALIKE = 0.5  # of the share of missing values in the real set: from here on gaps are a set's own


def copy_gaps(real: Array, made: Array) -> Array:
    """Return series without gaps with the gaps of real ones, in turn: [n, L, C], [m, L, C] -> [m, L, C]."""
    return apply_gaps(np.isnan(real), made)


def apply_gaps(gaps: Array, made: Array) -> Array:
    """Return the same for known gaps, bool [n, L, C]."""
    if not len(gaps) or np.isnan(made).mean() >= ALIKE * gaps.mean():
        return made
    return np.where(gaps[np.arange(len(made)) % len(gaps)], np.float32(np.nan), made)


def average_known(values: Array) -> Array:
    """Return the mean over series of what each of them has, NaN where none has it: [n, …] -> float64 […]."""
    known = ~np.isnan(values)
    if known.all():
        return np.asarray(values.mean(0, dtype=np.float64))
    counts = known.sum(0)
    sums = np.where(known, values, 0).sum(0, dtype=np.float64)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
