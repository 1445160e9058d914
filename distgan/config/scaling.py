"""Settings of the way from measured values to the networks' range."""

import math
from typing import Literal

from distgan.config.base import Section, key

NORMAL_ASINH = 0.79571  # root mean square of asinh(z), z standard normal


class Scaling(Section):
    transform: Literal["none", "sqrt", "log1p"] = key(
        "none",
        "signed transform before scaling: sqrt for counts, log1p (of value / typical value) for heavy tails",
    )
    method: Literal["standard", "minmax"] = key(
        "standard",
        "location and scale of each series: mean and standard deviation (then asinh), or "
        "midpoint and half range",
    )
    scope: Literal["series", "dataset"] = key(
        "series",
        "series: location and scale of each series, modelled with its group and restored on output; dataset: "
        "one location and scale per channel over all training series, with equal weight for every owner, for "
        "windows whose location matters",
    )
    marginal: Literal["none", "normal_scores"] = key(
        "none",
        "normal_scores maps each channel's standardised readings to standard normal numbers of the same "
        "ranks: for skewed or flat channels, and for values that occur often",
    )
    whitening: float = key(
        0.0,
        "partial ZCA whitening of whole series by the covariance C of all their readings, C^(-whitening/2), "
        "for directions in which series differ little; 1 is full whitening; at most 2,048 readings per "
        "series",
        ge=0,
        le=1,
    )
    bound: float | None = key(
        None,
        "largest |value - location| / scale of method standard, or largest normal score or whitened value, "
        "at which generated series are cut off: a public number; by default learned from the training series",
        gt=0,
    )
    unit: float | None = key(
        None,
        "typical size of a value, by which log1p divides: a public number; by default learned from the "
        "training series",
        gt=0,
    )

    @property
    def expected_deviation(self) -> float:
        """The deviation of scaled readings that scope series leads to expect, without a look at any: with
        standard that of asinh of normal numbers, with minmax a quarter of the range.
        """
        if self.method == "minmax" or self.bound is None:
            return 0.5
        return NORMAL_ASINH / math.asinh(self.bound)

    @property
    def learns_jointly(self) -> bool:
        """True where readings are mapped by what all training series have in common."""
        return self.marginal != "none" or self.whitening > 0

    @property
    def learns_ends(self) -> bool:
        """True where the training series decide at which values the scaled range ends, so that enough owners
        must reach them.
        """
        if self.learns_jointly:
            return True
        return self.bound is None if self.method == "standard" else self.scope == "dataset"
