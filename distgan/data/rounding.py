"""Bounds of values in measured units, and whole multiples of a step within them."""

import numpy as np

from distgan.config.bounds import count_from, count_to, read_decimal

FLOAT_ERROR = 1e-6  # of the largest value of a series: what float32 leaves of a difference that is 0


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


def clip_to_bounds(values: np.ndarray, lower: float | None, upper: float | None) -> np.ndarray:
    """Return series [n, L, C] that nowhere pass the bounds; NaN stays NaN.

    What differs from a bound by rounding alone is the bound. Values cut off in scaled units come back as
    0.0000001 otherwise, and are no exact zeros.
    """
    low, high = (None if bound is None else np.float32(bound) for bound in (lower, upper))
    values = values if low is None else np.maximum(values, low)
    values = values if high is None else np.minimum(values, high)
    largest = np.fmax.reduce(np.abs(values), axis=1, keepdims=True)
    error = FLOAT_ERROR * np.where(np.isfinite(largest), largest, 0)
    values = values if low is None else np.where(values <= low + error, low, values)
    return values if high is None else np.where(values >= high - error, high, values)
