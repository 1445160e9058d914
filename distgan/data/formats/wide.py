"""Wide tables: one column an entity."""

from functools import partial

import numpy as np

from distgan.data.formats.duplicates import group_keys, merge_groups
from distgan.data.formats.ids import refuse_short_ids
from distgan.data.formats.parts import Parts
from distgan.data.formats.pieces import Source
from distgan.data.formats.resampling import SamplingRates, merge_steps
from distgan.data.formats.unit_columns import refuse_mixed_columns
from distgan.data.grid import Grid
from distgan.data.zones import NONE_SEEN

SERIES = 256  # compared at a time where rows stand twice


class Wide(Parts):
    """One column an entity: each part holds [entities, rows]."""

    def read_source(self) -> Source:
        """Return the series of the table's columns.

        Raises:
            UserError: the times are not regular, or rows of one time differ.
        """
        if self.settings.columns.values is None:
            refuse_mixed_columns(self.path, self.table.values, self.understood.units_row)
        written = np.concatenate([self.read_times(number) for number in range(len(self.names))])
        one = np.zeros(len(written), dtype=np.int64)
        second = self.mark_second_pass(written, one, NONE_SEEN)[0]
        placed = self.place_times(written, second)
        self.starts = np.concatenate([[0], np.cumsum([facts["rows"] for facts in self.facts])])
        exact = placed.astype("M8[us]") + (written - written.astype("M8[s]"))
        grid, ignored = self.make_grid(np.unique(placed), lambda: np.unique(placed[self._find_measured()]))
        self.kept = np.flatnonzero(~np.isin(placed, ignored)) if len(ignored) else np.arange(len(placed))
        self.understood.outside_ignored = int(self.mark_outside(placed).sum())
        self.understood.off_grid_ignored = len(placed) - len(self.kept) - self.understood.outside_ignored
        self.groups = group_keys(exact[self.kept].astype(np.int64))
        self._count_duplicates(exact)
        first = self.kept[self.groups[0][self.groups[1]]]  # one row of each time, rising
        places, rates = grid.locate(placed[first]), SamplingRates(1)
        if self.needs_whole_steps:
            rates.learn(np.zeros(len(first), dtype=np.int64), exact[first])
        whole = int(rates.count_whole(grid.axis.step_seconds)[0])
        names = list(self.table.values)
        refuse_short_ids(names, f"{self.path}: column")
        return Source(
            partial(self._read_block, grid, places, whole),
            names,
            list(names),
            self.make_meta(grid, ("value",)),
            understood=self.understood,
        )

    def _read_series(self, first: int, last: int) -> np.ndarray:
        """Return all rows of some series: [n, rows]."""
        found = np.empty((last - first, self.starts[-1]), self.kind)
        for name, start, facts in zip(self.names, self.starts, self.facts):
            # one part open at a time: a process may open about a thousand files
            found[:, start : start + facts["rows"]] = self.work.map_array(name, "values")[first:last]
        return found

    def _find_measured(self) -> np.ndarray:
        """Return which rows have a reading of anyone."""
        found = [~np.isnan(self.work.map_array(name, "values")).all(axis=0) for name in self.names]
        return np.concatenate(found)

    def _count_duplicates(self, exact: np.ndarray) -> None:
        order, starts, counts = self.groups
        twice = counts > 1
        if not twice.any():
            return
        rows = self.kept[order[np.repeat(starts[twice], counts[twice]) + _count_within(counts[twice])]]
        keys = group_keys(exact[rows].astype(np.int64))
        conflicting = np.zeros(int(twice.sum()), dtype=bool)
        for begin in range(0, len(self.table.values), SERIES):
            values = self._read_rows(rows, begin, min(begin + SERIES, len(self.table.values)))
            conflicting |= merge_groups(values, *keys, self.settings.duplicates)[2]
        size = counts[twice] - 1
        bad = int(np.argmax(conflicting))
        self.tally.add(int(size[~conflicting].sum()), int(conflicting.sum()), bad)
        if conflicting.any():
            both = self.kept[order[starts[twice][bad] : starts[twice][bad] + 2]]
            self.refuse_conflicts(exact[both[0]], [self._find_line(int(row)) for row in both])

    def _find_line(self, row: int) -> int:
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.find_line(number, row - int(self.starts[number]))

    def _read_rows(self, rows: np.ndarray, first: int, last: int) -> np.ndarray:
        """Return some rows of some series: [rows, n]."""
        found = np.empty((len(rows), last - first), self.kind)
        for name, start, stop in zip(self.names, self.starts, self.starts[1:]):
            inside = np.flatnonzero((rows >= start) & (rows < stop))
            if len(inside):
                found[inside] = self.work.map_array(name, "values")[first:last][:, rows[inside] - start].T
        return found

    def _read_block(self, grid: Grid, places: np.ndarray, whole: int, first: int, last: int) -> np.ndarray:
        readings = self._read_series(first, last)
        order, starts, counts = self.groups
        if (counts > 1).any():
            readings = merge_groups(
                readings[:, self.kept].T, order, starts, counts, self.settings.duplicates
            )[0].T
        elif not np.array_equal(order, np.arange(len(readings[0]))):
            readings = readings[:, self.kept[order]]
        if self.resampling:
            method = self.settings.resample.method
            return merge_steps(readings, places, grid.axis.length, method, whole)[:, :, None]
        if np.array_equal(places, np.arange(grid.axis.length)):
            return readings[:, :, None]
        values = np.full((last - first, grid.axis.length, 1), np.nan, dtype=self.kind)
        values[:, places, 0] = readings
        return values


def _count_within(counts: np.ndarray) -> np.ndarray:
    """Return 0, 1, … within each group."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
