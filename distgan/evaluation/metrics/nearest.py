"""The nearest neighbour of each series by its shape, over the steps that both have measured.

Shapes: n, m series, L steps, C channels, D = L C values.
"""

from dataclasses import dataclass

import numpy as np

from distgan.evaluation.metrics.descriptors import Array, standardise

OVERLAP = 0.5  # of the measured steps of two series, at which they are compared
UNRELATED = 2**0.5  # distance of series without correlation
BLOCK = 256  # series whose distances are in memory together


@dataclass(frozen=True)
class Shapes:
    """Standardised series [n, C, L], 0 where missing, and where they are measured; None: everywhere."""

    values: Array
    mask: Array | None

    @classmethod
    def of_series(cls, series: Array) -> "Shapes":
        """Standardise series [n, L, C]."""
        missing = np.isnan(np.moveaxis(series, 1, 2))
        return cls(standardise(series)[0], ~missing if missing.any() else None)

    def flatten(self) -> tuple[Array, Array]:
        """Return values and mask as float32 rows: [n, C L] twice."""
        rows = self.values.reshape(len(self.values), -1).astype(np.float32)
        mask = np.ones_like(rows) if self.mask is None else self.mask.reshape(rows.shape).astype(np.float32)
        return rows, mask


def find_nearest(candidates: Shapes, others: Shapes, *, same: bool = False) -> Array:
    """Return the distance from each series to the nearest of `others`: [n].

    It is sqrt(2 (1 - r)), r the correlation over all channels and the steps that both have measured, which
    must be half of those that the one with fewer has. Where no other shares as many, it is that of unrelated
    series, sqrt(2); where there is no other, inf. `same` leaves out each series itself.
    """
    if candidates.mask is not None or others.mask is not None:
        return _find_nearest_measured(candidates, others, same=same)
    unit, bank = _normalise_rows(candidates.values), _normalise_rows(others.values)
    result = np.full(len(unit), np.inf)
    if len(bank) <= int(same):
        return result
    for first in range(0, len(unit), BLOCK):
        products = unit[first : first + BLOCK] @ bank.T
        if same:
            products[np.arange(len(products)), np.arange(first, first + len(products))] = -np.inf
        best = products.argmax(1)
        gaps = unit[first : first + BLOCK] - bank[best]  # the difference itself: 1 - r cancels near a copy
        result[first : first + BLOCK] = np.sqrt(np.square(gaps).sum(1))
    return result


def _find_nearest_measured(candidates: Shapes, others: Shapes, *, same: bool) -> Array:
    """Do the same for series that are missing in part."""
    (rows, there), (bank, known) = candidates.flatten(), others.flatten()
    result = np.full(len(rows), np.inf)
    if len(bank) <= int(same):
        return result
    squares, measured = np.square(bank), known.sum(1)
    for first in range(0, len(rows), BLOCK):
        some, mask = rows[first : first + BLOCK], there[first : first + BLOCK]
        both = mask @ known.T
        counts, one, two = np.maximum(both, 1), some @ known.T, mask @ bank.T  # and sums over common steps
        variances = (np.square(some) @ known.T - one**2 / counts, mask @ squares.T - two**2 / counts)
        lengths = np.sqrt(np.maximum(variances[0] * variances[1], 0))
        correlation = (some @ bank.T - one * two / counts) / np.maximum(lengths, 1e-12)
        fewest = OVERLAP * np.minimum(mask.sum(1)[:, None], measured)
        correlation[(both < np.maximum(fewest, 1)) | (lengths <= 1e-6 * counts)] = -np.inf
        if same:
            correlation[np.arange(len(some)), np.arange(first, first + len(some))] = -np.inf
        best = correlation.argmax(1)
        common = mask * known[best]
        gaps = _normalise_common(some, common) - _normalise_common(bank[best], common)
        found = np.isfinite(correlation[np.arange(len(some)), best])
        result[first : first + BLOCK] = np.where(found, np.sqrt(np.square(gaps).sum(1)), UNRELATED)
    return result


def _normalise_common(rows: Array, common: Array) -> Array:
    """Scale rows to mean 0 and length 1 over their common steps: [n, D] twice -> [n, D]."""
    means = (rows * common).sum(1, keepdims=True) / np.maximum(common.sum(1, keepdims=True), 1)
    return _normalise_rows((rows - means) * common)


def _normalise_rows(standard: Array) -> Array:
    flat = standard.reshape(len(standard), -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
