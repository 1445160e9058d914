"""Where series begin and end: anonymous ranges of real series, and ranges drawn from them.

A range is the stretch from the first measured step to the last one. Ranges are rounded to a public grid
(weeks, where series have them). One that the minimum number of owners share is released, with its share of
the owners; others are rounded to a grid of twice the step, and again, until so many owners share them or
nothing is left out: rare ranges become whole series. If few owners have whole series, these count as the
longest range.

Anonymity: a share is a mean over all owners, in which one of n counts 1 / n, and every range has 20 owners or
more, so there are at most n / 20 shares. By the theory of `group_size.compute_tracing_auc` they identify a
member with an AUC of at most Φ(√(1/20)/√2) = 0.563.

Shapes: n series, L steps of a trained series, M of an exported one, C channels, R ranges.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from distgan.data.grid import DAY
from distgan.data.store.metadata import Axis
from distgan.rng import make_keyed_generator

OWNERS_PER_RANGE = 20  # at least
FEWEST_WEEKS = 8  # of series whose ranges are rounded to weeks
CELLS = 52  # of the grid of other series, about
DECIMALS = 4  # of a stated share


def choose_step(axis: Axis, *, has_times: bool) -> int:
    """Return the step of the grid that ranges are rounded to: a week, or a 52nd of series without weeks."""
    week = 7 * DAY
    if has_times and week % axis.step_seconds == 0 and axis.length * axis.step_seconds >= FEWEST_WEEKS * week:
        return week // axis.step_seconds
    return max(1, axis.length // CELLS)


def measure_ranges(values: np.ndarray) -> np.ndarray:
    """Return the range [begin, end) of each series, over all channels: [n, L, C], NaN = missing -> [n, 2];
    all of it for a series without values.
    """
    length = values.shape[1]
    found = np.tile([0, length], (len(values), 1))
    for row in np.flatnonzero(np.isnan(values[:, [0, -1]]).all(axis=2).any(axis=1)):
        there = np.flatnonzero(~np.isnan(values[row]).all(axis=1))
        if len(there):
            found[row] = there[0], there[-1] + 1
    return found


class RangeRecorder:
    """Blocks [n, L, C] that somebody else walks; the first time, the ranges of their series are kept."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self._blocks = blocks
        self._ranges: np.ndarray | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        found = []
        for values in self._blocks:
            if self._ranges is None:
                found.append(measure_ranges(values))
            yield values
        if self._ranges is None:
            self._ranges = np.concatenate(found)

    def list_ranges(self) -> np.ndarray:
        """Return the ranges: [n, 2]; blocks that nobody has walked are walked here."""
        if self._ranges is None:
            deque(self, maxlen=0)
        assert self._ranges is not None
        return self._ranges


@dataclass(frozen=True)
class Lengths:
    """The ranges [R, 2] that series may have, and the share of each, [R]; each has `owners` or more."""

    length: int  # steps of a whole series
    step: int  # of the grid
    owners: int
    ranges: np.ndarray
    shares: np.ndarray

    @classmethod
    def measure(
        cls, ranges: np.ndarray, owners: np.ndarray, length: int, step: int, least: int
    ) -> "Lengths | None":
        """Release the ranges of the training series; None where no range but the whole one has enough owners.

        Args:
            ranges: [n, 2] of each series.
            owners: [n] a number 0 .. E-1 for the owner of each.
            step: of the grid, in steps of the series.
            least: owners that a released range has; `OWNERS_PER_RANGE`, if that is more.
        """
        least = max(least, OWNERS_PER_RANGE)
        found, whole = _coarsen(ranges, owners, length, step, least), (0, length)
        assigned = np.array([found[row] for row in range(len(ranges))]).reshape(-1, 2)
        partial = sorted({pair for pair in found.values() if pair != whole})
        if not partial:
            return None
        is_whole = (assigned == whole).all(axis=1)
        if 0 < len(np.unique(owners[is_whole])) < least:
            assigned[is_whole] = max(partial, key=lambda pair: (pair[1] - pair[0], pair))
        kinds, codes = np.unique(assigned, axis=0, return_inverse=True)
        counts = np.zeros((int(owners.max()) + 1, len(kinds)))
        np.add.at(counts, (owners, codes.ravel()), 1)
        own = counts[counts.sum(axis=1) > 0]
        shares = (own / own.sum(axis=1, keepdims=True)).mean(axis=0)
        return cls(length, step, least, kinds, np.round(shares, DECIMALS))

    def draw(self, count: int, seed: int) -> np.ndarray:
        """Return the ranges of `count` series, in the stated shares as nearly as the number allows: [count,
        2].

        They depend on `count` and `seed` alone.
        """
        places = make_keyed_generator(seed, 0, "lengths").permutation(count)
        ends = np.cumsum(self.shares) / self.shares.sum()
        found = np.searchsorted(ends, (places + 0.5) / count, side="right")
        return self.ranges[np.minimum(found, len(self.ranges) - 1)]

    def apply(self, values: np.ndarray, ranges: np.ndarray) -> np.ndarray:
        """Return series that are missing outside their ranges: [n, M, C], [n, 2] -> [n, M, C].

        Of series in another year the last day is the last: a range that goes to the end goes to theirs.
        """
        length = values.shape[1]
        ends = np.where(ranges[:, 1] == self.length, length, np.minimum(ranges[:, 1], length))
        steps = np.arange(length)
        inside = (steps >= ranges[:, :1]) & (steps < ends[:, None])
        return np.where(inside[:, :, None], values, np.float32(np.nan))

    def to_dict(self) -> dict[str, Any]:
        plain = {"length": self.length, "step": self.step, "owners": self.owners}
        return {**plain, "ranges": self.ranges.tolist(), "shares": self.shares.tolist()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        ranges = np.array(content["ranges"], np.int64).reshape(-1, 2)
        shares = np.array(content["shares"], np.float64)
        if len(shares) != len(ranges) or not shares.sum() > 0:
            raise ValueError("ranges and shares of lengths do not belong together")
        return cls(int(content["length"]), int(content["step"]), int(content["owners"]), ranges, shares)


def _coarsen(
    ranges: np.ndarray, owners: np.ndarray, length: int, step: int, least: int
) -> dict[int, tuple[int, int]]:
    """Return the rounded range of each series that so many owners share, by its row; those of no such range
    are whole.
    """
    found: dict[int, tuple[int, int]] = {}
    left, grid = np.arange(len(ranges)), step
    while len(left) and grid <= 2 * length:
        begins = np.rint(ranges[left, 0] / grid).astype(np.int64) * grid
        ends = length - np.rint((length - ranges[left, 1]) / grid).astype(np.int64) * grid
        kinds, codes = np.unique(np.stack([begins, ends], axis=1), axis=0, return_inverse=True)
        codes, taken = codes.ravel(), np.zeros(len(left), bool)
        for code, (begin, end) in enumerate(kinds.tolist()):
            same = codes == code
            enough = len(np.unique(owners[left[same]])) >= least
            if begin < end and enough:
                found |= dict.fromkeys(left[same].tolist(), (begin, end))
                taken |= same
        left, grid = left[~taken], 2 * grid
    return found | dict.fromkeys(left.tolist(), (0, length))
