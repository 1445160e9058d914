"""Columns whose values differ as different quantities do, and are read as entities all the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from distgan.data.formats.quantities import are_alike

MOST_LOOKED = 64  # columns
SCALE, VARIATION = 300, 20  # ratios of medians, and of relative variations, of different quantities
FEWEST = 16  # readings


@dataclass(frozen=True)
class Values:
    """The median of a series' absolute values, and the range of their middle half over it."""

    size: float
    variation: float


def find_mixed_quantities(names: Sequence[str], read: Callable[[int], np.ndarray]) -> tuple[str, str] | None:
    """Return two columns that seem to be different quantities, by their values; None where none are, or names
    differ by numbers alone, as ids do.

    Args:
        read: values of a column by its number: [L].
    """
    if not 1 < len(names) <= MOST_LOOKED or are_alike(names):
        return None
    found = {name: _describe(read(number)) for number, name in enumerate(names)}
    known = {name: each for name, each in found.items() if each is not None}
    if len(known) < 2:
        return None
    for key, most in (("size", SCALE), ("variation", VARIATION)):
        ordered = sorted(known, key=lambda name: getattr(known[name], key))
        low, high = ordered[0], ordered[-1]
        if getattr(known[high], key) > most * getattr(known[low], key):
            return low, high
    return None


def _describe(values: np.ndarray) -> Values | None:
    """Return what is compared of a series; None where it has few readings, or one value for most of them."""
    there = values[np.isfinite(values)].astype(np.float64)
    if len(there) < FEWEST:
        return None
    low, middle, high = np.quantile(np.abs(there), [0.25, 0.5, 0.75])
    if high <= low or middle <= 0:
        return None
    return Values(float(middle), float((high - low) / middle))
