"""Exact zeros as a kind of value of their own: their shares in the data, and the rule that gives generated
series the same shares.

Nights of solar panels and empty homes are exactly 0, and a network's output is 0 only where a bound cuts it
off: too often, or too rarely. `ZeroShares` are measured on the training series: the mean over owners of each
owner's share of exact zeros, by season (equal parts of a series) and part of the day. `ZeroThresholds` are
measured on series that the trained generator makes: below the threshold of its season and part of the day a
value is 0, and the thresholds are where the generated share is the real one (matched quantiles).

Anonymity: a share is a mean over all training owners, in which one of n owners counts 1 / n. There is at
most one share for 20 owners, so that by the theory of `group_size.compute_tracing_auc` the shares alone
identify a member with an AUC of at most Φ(√(1/20)/√2) = 0.563. Where fewer than `bank.min_members` owners
have any zero, the share is stated as 0.

Shapes: n series, L steps, C channels, E owners, S seasons, D parts of the day.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from distgan.data.store.metadata import Axis

LARGE_SHARE = 0.01  # of exact zeros among a channel's readings, from which on they are matched
OWNERS_AT_ONCE = 65_536  # whose shares are in memory, beside all counts
OWNERS_PER_SHARE = 20  # training owners for each share that is stated
DAY_PARTS = (24, 12, 8, 6, 4, 3, 2, 1)
SEASONS = (12, 6, 4, 3, 2, 1)
SEASON_DAYS = 14  # of a season, at least
DECIMALS = 4  # of a stated share
LARGEST = float(np.finfo(np.float32).max)  # a threshold that makes all values 0
LEAST_PART = 0.05  # of `small` that the least value above 0 has


@dataclass(frozen=True)
class ZeroGrid:
    """Which season and part of the day each step belongs to; both follow from the axis and the number of
    owners, not from values.
    """

    seasons: int
    day_parts: int
    length: int  # steps of a series as trained on; later steps belong to the last season
    steps_per_day: int
    first: int  # step of the day at which series begin

    @classmethod
    def choose(cls, axis: Axis, shares: int, *, has_days: bool, has_seasons: bool) -> Self:
        """Return the finest grid of at most `shares` cells.

        Args:
            has_days: all series begin at one time of the day, in steps that divide it.
            has_seasons: all series begin on one day.
        """
        steps = 86400 // axis.step_seconds if has_days and 86400 % axis.step_seconds == 0 else 1
        steps = steps if steps <= axis.length else 1
        parts = next(each for each in DAY_PARTS if steps % each == 0 and each <= max(1, shares))
        most = shares // parts if has_seasons and steps > 1 else 1
        longest = axis.length // (SEASON_DAYS * steps)
        seasons = next(each for each in SEASONS if each <= max(1, min(most, longest)))
        midnight = np.datetime64(axis.start, "s") - np.datetime64(axis.start, "D")
        first = int(midnight / np.timedelta64(axis.step_seconds, "s")) if steps > 1 else 0
        return cls(seasons, parts, axis.length, steps, first)

    def number_cells(self, length: int) -> np.ndarray:
        """Return the cell, season · D + part of the day, of each of `length` steps: int64 [length]."""
        steps = np.arange(length)
        season = np.minimum(steps * self.seasons // self.length, self.seasons - 1)
        part = (steps + self.first) % self.steps_per_day * self.day_parts // self.steps_per_day
        return season * self.day_parts + part


@dataclass(frozen=True)
class ZeroShares:
    """The share of exact zeros in each cell of the grid, [S · D, C]; NaN for channels that are left as they
    are generated.
    """

    grid: ZeroGrid
    shares: np.ndarray

    @classmethod
    def measure(
        cls, blocks: Iterable[np.ndarray], owners: np.ndarray, grid: ZeroGrid, *, least: int, always: bool
    ) -> "ZeroShares | None":
        """Measure the training series; None where no channel has a large share of zeros of enough owners.

        Args:
            blocks: [m, L, C] each, NaN = missing.
            owners: a number 0 .. E-1 for the owner of each series, in the order of the blocks.
            least: owners that must have a zero for a share of a cell's own.
            always: match channels with a small share of zeros, too.
        """
        cells, row = grid.number_cells(grid.length), 0
        zeros = measured = np.zeros((int(owners.max()) + 1, grid.seasons * grid.day_parts, 0))
        for values in blocks:
            if not measured.size:
                shape = (*measured.shape[:2], values.shape[2])
                zeros, measured = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
            who = owners[row : row + len(values)]
            row += len(values)
            for total, found in ((zeros, values == 0), (measured, ~np.isnan(values))):
                np.add.at(total, who, _sum_cells(found, cells, total.shape[1]))
        shares = _average_owners(zeros, measured)
        for channel in range(shares.shape[1]):  # cells with zeros of few owners have one share together
            few = (zeros[:, :, channel] > 0).sum(axis=0) < least
            rest = [each[:, few, channel].sum(axis=1) for each in (zeros, measured)]
            enough = (rest[0] > 0).sum() >= least
            shares[few, channel] = _average_owners(*rest) if enough else 0
        overall = zeros.sum(axis=(0, 1)) / np.maximum(measured.sum(axis=(0, 1)), 1)
        people = (zeros.sum(axis=1) > 0).sum(axis=0)
        matched = (people >= least) & (always | (overall >= LARGE_SHARE))
        shares[:, ~matched] = np.nan
        return cls(grid, np.round(shares, DECIMALS)) if matched.any() else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self.grid) | {"shares": _to_lists(self.shares)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        grid = {name: value for name, value in content.items() if name != "shares"}
        return cls(ZeroGrid(**grid), np.array(content["shares"], np.float64))


@dataclass(frozen=True)
class ZeroThresholds:
    """Up to `thresholds` a generated value is 0; what lies between a negative one and `small` is spread over
    0.05 to 1 times `small`, so that it is above 0: [S · D, C] each, in measured units, NaN where nothing is
    changed.
    """

    grid: ZeroGrid
    thresholds: np.ndarray
    small: np.ndarray

    @classmethod
    def leave_all(cls, grid: ZeroGrid, channels: int) -> Self:
        """Return thresholds that change nothing."""
        nothing = np.full((grid.seasons * grid.day_parts, channels), np.nan)
        return cls(grid, nothing, nothing)

    @classmethod
    def match(cls, shares: ZeroShares, values: np.ndarray) -> Self:
        """Find where the share of generated values [n, L, C] below is the share of real zeros.

        Values are as they are before bounds cut them off, so that those which the bound would make 0 have an
        order. `small` is the distance of a negative threshold from 0, and at most the size that 95 % of a
        cell's positive values exceed.
        """
        cells = shares.grid.number_cells(values.shape[1])
        thresholds, small = np.full_like(shares.shares, np.nan), np.full_like(shares.shares, np.nan)
        for cell, channel in np.argwhere(~np.isnan(shares.shares)):
            inside = np.sort(values[:, cells == cell, channel], axis=None).astype(np.float64)
            place = round(float(shares.shares[cell, channel]) * len(inside))
            if place == len(inside):
                thresholds[cell, channel], small[cell, channel] = LARGEST, 0.0
                continue
            lower = inside[place - 1] if place else inside[0] - 1e-6 * abs(inside[0])
            threshold = (lower + inside[place]) / 2 if place else min(lower, 0.0)
            thresholds[cell, channel] = threshold
            positive = inside[inside > 0]
            typical = positive[len(positive) // 20] if len(positive) else np.inf
            small[cell, channel] = min(max(-threshold, 0.0), typical)
        return cls(shares.grid, thresholds, small)

    def apply(self, values: np.ndarray, step: float | None = None) -> np.ndarray:
        """Return values [n, L, C], before bounds cut them off, with zeros; the others are above 0.

        Args:
            step: what values will be rounded to multiples of: others become at least one step.
        """
        cells = self.grid.number_cells(values.shape[1])
        threshold, small = self.thresholds[cells], self.small[cells]  # [L, C]
        with np.errstate(invalid="ignore"):  # NaN: a channel that is left alone
            is_zero, lifted = values <= threshold, (small > 0) & (values < small)
        part = (values - threshold) / np.where(small > 0, small - threshold, 1.0)
        found = np.where(lifted, small * (LEAST_PART + (1 - LEAST_PART) * part), values)
        found = found if step is None else np.maximum(found, step)
        return np.where(np.isnan(threshold), values, np.where(is_zero, 0.0, found)).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        lists = {"thresholds": _to_lists(self.thresholds), "small": _to_lists(self.small)}
        return asdict(self.grid) | lists

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        grid = {name: value for name, value in content.items() if name not in ("thresholds", "small")}
        found = (np.array(content[name], np.float64) for name in ("thresholds", "small"))
        return cls(ZeroGrid(**grid), *found)


def _average_owners(zeros: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return the mean over owners of each one's share of zeros, those without a reading left out: [E, …] ->
    […].
    """
    total, people = np.zeros(zeros.shape[1:]), np.zeros(zeros.shape[1:], np.int64)
    for first in range(0, len(zeros), OWNERS_AT_ONCE):
        some = slice(first, first + OWNERS_AT_ONCE)
        there = measured[some] > 0
        own = np.divide(zeros[some], measured[some], where=there, out=np.zeros(there.shape))
        total, people = total + own.sum(axis=0), people + there.sum(axis=0)
    return np.asarray(total / np.maximum(people, 1))


def _sum_cells(found: np.ndarray, cells: np.ndarray, count: int) -> np.ndarray:
    """Count those that are true in each cell: [m, L, C] bool, [L] -> int32 [m, count, C]."""
    order = np.argsort(cells, kind="stable")
    starts = np.searchsorted(cells[order], np.arange(count))
    return np.add.reduceat(found[:, order].astype(np.int32), starts, axis=1)


def _to_lists(table: np.ndarray) -> list[list[float | None]]:
    """Return a table for JSON, which has no NaN."""
    return [[None if np.isnan(each) else float(each) for each in row] for row in table]
