"""Normal scores: each channel's readings as standard normal numbers of the same ranks, and back.

The table of a channel has knots in ascending order. A value that several owners share, such as zero, is an
atom: it stands for a range of scores and has their middle, so equal readings stay equal and come back
exactly. Other readings lie on straight lines between knots that are means over several owners, so no knot is
one person's reading. Beyond the outermost knots the map goes on in a straight line: it is monotone, and what
the training series reach is not a limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

ROUNDING = 4e-6  # of standardised readings: what float32 makes of them there and back
MOST_BINS = 512  # knots of readings that few owners share
PARTS = ("values", "lower", "middle", "upper")


@dataclass(frozen=True)
class ScoreTable:
    """Knots of one channel, float64 [K]: readings, ascending, and the range and middle of their scores.

    `lower` = `middle` = `upper` where a knot is no atom. The lowest and highest scores may be infinite.
    """

    values: Tensor
    lower: Tensor
    middle: Tensor
    upper: Tensor

    @classmethod
    def fit(cls, readings: np.ndarray, owners: np.ndarray, least: int) -> Self:
        """Learn the table of one channel.

        Args:
            readings: [n] measured values.
            owners: [n] a number 0 .. E-1 for the owner of each.
            least: owners that stand behind each knot at least.
        """
        values, codes, counts = np.unique(
            readings.astype(np.float64), return_inverse=True, return_counts=True
        )
        shared = _find_shared(codes, counts, owners, least)
        ends = torch.from_numpy(counts).double().cumsum(0) / len(readings)
        middles = ends - torch.from_numpy(counts) / (2 * len(readings))
        starts = torch.cat([ends.new_zeros(1), ends[:-1]])
        atoms = torch.from_numpy(values), *(torch.special.ndtri(x) for x in (starts, middles, ends))
        if shared.all() and len(shared):
            return cls(*atoms)
        knots, ranks = _average_rest(readings, owners, codes, shared, least)
        scores = torch.special.ndtri(torch.from_numpy(ranks))
        kept, rest = torch.from_numpy(shared), (torch.from_numpy(knots), scores, scores, scores)
        table = [torch.cat([part[kept], new]) for part, new in zip(atoms, rest)]
        if not len(table[0]):  # too few owners have readings: nothing is learned, and scores are readings
            return cls(*torch.zeros(4, 1, dtype=torch.float64))
        order = torch.argsort(table[0])
        return cls(*(part[order] for part in table))

    def to_scores(self, readings: Tensor) -> Tensor:
        """Return the scores of readings [n], float64."""
        last = len(self.values) - 1
        above = torch.searchsorted(self.values, readings.contiguous())  # the first knot at or above
        right, left = above.clamp(max=last), (above - 1).clamp(min=0)
        share = (readings - self.values[left]) / (self.values[right] - self.values[left])
        between = self.upper[left] + share * (self.lower[right] - self.upper[left])
        on_left, on_right = (self._is_near(readings, end) for end in (left, right))
        scores = torch.where(on_right, self.middle[right], between)
        scores = torch.where(on_left & (readings != self.values[right]), self.middle[left], scores)
        low, high = self._extend(0), self._extend(last)
        below = self.lower[0] + (readings - self.values[0]) / low
        below = torch.where(self.lower[0].isfinite(), below, self.middle[0])
        beyond = self.upper[last] + (readings - self.values[last]) / high
        beyond = torch.where(self.upper[last].isfinite(), beyond, self.middle[last])
        scores = torch.where(readings < self.values[0], below, scores)
        return torch.where(readings > self.values[last], beyond, scores)

    def to_readings(self, scores: Tensor) -> Tensor:
        """Return the readings of scores [n], float64."""
        last = len(self.values) - 1
        above = torch.searchsorted(self.upper, scores.contiguous())  # the first knot that ends at or above
        right, left = above.clamp(max=last), (above - 1).clamp(min=0)
        share = (scores - self.upper[left]) / (self.lower[right] - self.upper[left])
        between = self.values[left] + share * (self.values[right] - self.values[left])
        readings = torch.where(scores >= self.lower[right], self.values[right], between)
        below = self.values[0] + (scores - self.lower[0]) * self._extend(0)
        beyond = self.values[last] + (scores - self.upper[last]) * self._extend(last)
        readings = torch.where(scores < self.lower[0], below, readings)
        return torch.where(scores > self.upper[last], beyond, readings)

    def _is_near(self, readings: Tensor, knots: Tensor) -> Tensor:
        """Return which readings are at a knot but for rounding; elsewhere an atom's scores end abruptly."""
        values = self.values[knots]
        return (readings - values).abs() <= ROUNDING * values.abs().clamp(min=1)

    def _extend(self, end: int) -> Tensor:
        """Return the slope, readings per score, beyond one end: that of the outermost two knots."""
        if len(self.values) == 1:
            return torch.ones((), dtype=self.values.dtype, device=self.values.device)
        first, second = (0, 1) if end == 0 else (end - 1, end)
        return (self.values[second] - self.values[first]) / (self.middle[second] - self.middle[first])


def _find_shared(codes: np.ndarray, counts: np.ndarray, owners: np.ndarray, least: int) -> np.ndarray:
    """Return which distinct values at least `least` owners have: bool [V]."""
    if least == 1:
        return np.ones(len(counts), bool)
    candidates = (counts >= least)[codes]
    width = int(owners.max()) + 1
    pairs = np.unique(codes[candidates].astype(np.int64) * width + owners[candidates])
    shared: np.ndarray = np.bincount(pairs // width, minlength=len(counts)) >= least
    return shared


def _average_rest(
    readings: np.ndarray, owners: np.ndarray, codes: np.ndarray, shared: np.ndarray, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return knots of the readings that are no atoms, and their middle ranks in (0, 1): float64 [K] each.

    Bins of about equal numbers of readings do not cross an atom and have at least `least` owners; a knot is
    the mean over a bin's owners of each owner's mean. Readings without enough owners get no knot.
    """
    order = np.argsort(codes, kind="stable")
    below = np.searchsorted(codes[order], np.arange(len(shared)))  # readings below each value
    order = order[~shared[codes[order]]]
    place, runs = below[codes[order]], np.cumsum(shared)[codes[order]]
    wide = place * MOST_BINS // len(codes)
    changes = (np.diff(runs) != 0) | (np.diff(wide) != 0)
    narrow = np.concatenate([np.zeros(min(1, len(order)), np.int64), np.cumsum(changes)])
    bins = _join_bins(narrow, runs, owners[order], least)
    order, bins = order[bins >= 0], bins[bins >= 0]
    if not len(bins):
        return np.empty(0), np.empty(0)
    width = int(owners.max()) + 1
    pairs, index = np.unique(bins.astype(np.int64) * width + owners[order], return_inverse=True)
    own = np.bincount(index, weights=readings[order].astype(np.float64)) / np.bincount(index)
    knots = np.bincount(pairs // width, weights=own) / np.bincount(pairs // width)
    first = order[np.unique(bins, return_index=True)[1]]
    return knots, (below[codes[first]] + np.bincount(bins) / 2) / len(codes)


def _join_bins(bins: np.ndarray, runs: np.ndarray, owners: np.ndarray, least: int) -> np.ndarray:
    """Return bins [n], ascending, joined within each run until each has at least `least` owners; -1 where a
    run has too few.
    """
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    joined, last = np.full(len(bins), -1), -1
    found: np.ndarray = np.empty(0, owners.dtype)
    begin = run = -1
    for start, end in zip(starts, [*starts[1:], len(bins)]):
        if runs[start] != run:  # what is left of the run before is too little: its last bin takes it
            _give_to_last(joined, begin, int(start))
            begin, run, found = int(start), int(runs[start]), found[:0]
        found = np.union1d(found, owners[start:end])
        if len(found) >= least:
            last += 1
            joined[begin:end] = last
            begin, found = int(end), found[:0]
    _give_to_last(joined, begin, len(bins))
    return _drop_gaps(joined, runs)


def _give_to_last(joined: np.ndarray, begin: int, end: int) -> None:
    """Join the readings begin .. end to the bin before them; `_drop_gaps` takes back those of another run."""
    if 0 < begin < end:
        joined[begin:end] = joined[begin - 1]


def _drop_gaps(joined: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """Return bins without the readings that were joined to a bin of another run."""
    kept = joined >= 0
    first = np.zeros(int(joined.max(initial=-1)) + 1, np.int64)
    names, index = np.unique(joined[kept], return_index=True)
    first[names] = runs[kept][index]
    wrong = kept.copy()
    wrong[kept] = first[joined[kept]] != runs[kept]
    return np.where(wrong, -1, joined)


@dataclass(frozen=True)
class NormalScores:
    """The tables of all channels."""

    tables: tuple[ScoreTable, ...]

    @classmethod
    def fit(cls, series: np.ndarray, owners: np.ndarray, least: int) -> Self:
        """Learn from series [n, L, C], NaN where missing, of owners [n] 0 .. E-1."""
        tables = []
        for channel in range(series.shape[2]):
            column = series[:, :, channel]
            measured = ~np.isnan(column)
            whose = np.broadcast_to(owners[:, None], column.shape)[measured]
            tables.append(ScoreTable.fit(column[measured], whose, least))
        return cls(tuple(tables))

    def to_scores(self, series_BLC: Tensor) -> Tensor:
        """Return the scores of readings; NaN stays NaN: (B, L, C) -> float64 (B, L, C)."""
        columns = series_BLC.double().unbind(2)
        scores = torch.stack([table.to_scores(x) for table, x in zip(self.tables, columns)], dim=2)
        return torch.where(series_BLC.isnan(), torch.nan, scores)

    def to_readings(self, scores_BLC: Tensor) -> Tensor:
        """Return the inverse of `to_scores`: (B, L, C) -> float64 (B, L, C); NaN stays NaN."""
        columns = scores_BLC.double().unbind(2)
        readings = torch.stack([table.to_readings(x) for table, x in zip(self.tables, columns)], dim=2)
        return torch.where(scores_BLC.isnan(), torch.nan, readings)

    def to(self, device: torch.device | str) -> "NormalScores":
        moved = ({name: getattr(table, name).to(device) for name in PARTS} for table in self.tables)
        return NormalScores(tuple(ScoreTable(**parts) for parts in moved))

    def to_tensors(self) -> dict[str, Tensor]:
        return {
            f"marginal.{channel}.{name}": getattr(table, name)
            for channel, table in enumerate(self.tables)
            for name in PARTS
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Return the scores that `to_tensors` described.

        Raises:
            KeyError: a part is missing.
        """
        channels = len([name for name in tensors if name.startswith("marginal.")]) // len(PARTS)
        return cls(
            tuple(
                ScoreTable(**{name: tensors[f"marginal.{channel}.{name}"] for name in PARTS})
                for channel in range(channels)
            )
        )
