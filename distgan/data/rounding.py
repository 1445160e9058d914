"""Rounding of values in measured units to whole multiples of a step, within bounds."""

import numpy as np

from distgan.config.bounds import count_from, count_to, read_decimal


def round_to_multiples(
    values: np.ndarray, step: float, lower: float | None = None, upper: float | None = None
) -> np.ndarray:
    """Return the nearest whole multiples of `step` within the bounds, each the float32 that is written like
    the multiple itself (0.3, not 0.30000001): any shape; NaN stays NaN.

    A step is the decimal number that it is written as: 0.1 is 1/10. A number of steps k is exact in float64,
    and so is k times the numerator; the division then rounds once.
    """
    exact = read_decimal(step)
    counts = np.rint(np.asarray(values, np.float64) * exact.denominator / exact.numerator)
    if lower is not None:
        counts = np.maximum(counts, count_from(lower, step))
    if upper is not None:
        counts = np.minimum(counts, count_to(upper, step))
    return (counts * exact.numerator / exact.denominator).astype(np.float32) + np.float32(0)  # no -0
