"""Means of rows by the code of their owner, entity or group."""

import numpy as np


def average_by_code(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the mean of the rows of every code, added in their order: [n] or [n, d], [n] -> [E] or [E, d]
    float64.

    Args:
        values: one number or one row of numbers each.
        codes: 0 to E - 1; each occurs.
    """
    columns = np.atleast_2d(values.T)  # [d, n]
    sums = np.stack([np.bincount(codes, weights=column) for column in columns], axis=1)
    return (sums / np.bincount(codes)[:, None]).reshape(len(sums), *values.shape[1:])
