"""Confidence intervals of a mean over owners: series of one owner are alike, so the sample size is the number
of owners.
"""

import numpy as np
from scipy.stats import t as student

from distgan.evaluation.metrics.descriptors import Array


def estimate_interval(totals: Array, counts: Array | None = None) -> tuple[float, float] | None:
    """Return the 95 % t-interval of Σ totals / Σ counts, to first order; by default of the mean: [owners]
    each.

    None for one owner, of whom nothing follows for others. (A bootstrap of three or four owners covers 80 %.)
    """
    owners = len(totals)
    if owners < 2:
        return None
    counts = np.ones(owners) if counts is None else counts
    value = totals.sum() / counts.sum()
    off = (totals - value * counts) / counts.mean()
    half = student.ppf(0.975, owners - 1) * np.sqrt(np.square(off).sum() / (owners * (owners - 1)))
    return float(value - half), float(value + half)
