"""What tables of all layouts share: the parts on disk, their stamps each once, and where these "
"lie in time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distgan.data.formats.duplicates import Tally
from distgan.data.formats.pieces import Piece
from distgan.data.formats.rows import Reading
from distgan.data.formats.stamps import refuse_late_midnights
from distgan.data.formats.times import Where, read_times
from distgan.data.formats.understood import Understood
from distgan.data.grid import (
    Grid,
    choose_kind,
    find_common_step,
    format_duration,
    make_axis,
    make_given_grid,
    make_regular_grid,
    make_resampled_grid,
    mark_off_grid,
    mark_outside,
    parse_seconds,
    snap_to_steps,
)
from distgan.data.ingest_cache import IngestCache
from distgan.data.store.metadata import Axis, Meta
from distgan.data.zones import find_standard_offset, mark_second_pass, to_standard_time
from distgan.errors import UserError


@dataclass
class Parsed:
    """A table whose pieces are parsed and kept: `work` holds a part for each piece, under its name."""

    path: Path
    pieces: list[Piece]
    work: IngestCache
    reading: Reading
    understood: Understood = field(default_factory=Understood)


class Parts:
    """The parts of a table and their times."""

    def __init__(self, parsed: Parsed) -> None:
        self.path, self.pieces, self.work = parsed.path, parsed.pieces, parsed.work
        self.table, self.settings = parsed.reading.table, parsed.reading.settings
        self.kind = choose_kind(self.settings.registers)  # of readings
        self.understood = parsed.understood
        self.tally = Tally()
        self.tracks = 1  # series and channels that have rows of their own
        self.names = [piece.name for piece in self.pieces]
        self.facts = [self.work.read_facts(name) for name in self.names]
        texts, self.stamps = self.merge_texts("stamps")
        if not texts:
            raise UserError(f"{self.path} has no rows with a time")
        column = " + ".join(self.table.time) or "times in the header"
        where = Where(self.path, self._find_line_of, self.understood.stated_zone)
        found = read_times(texts, column, self.settings, where)
        self.utc, self.clock = found.utc, found.clock
        self.time_notes = list(found.notes)
        self.understood.notes += found.notes
        self.moments = found.values.astype("M8[us]")  # of all different stamps
        refuse_late_midnights(self.moments, where)
        self.offsets = np.array(self.table.offsets, dtype="m8[s]")
        self._snap_moments()
        late = self.offsets.max() if len(self.offsets) else np.timedelta64(0, "s")
        self.span = self.moments.min(), self.moments.max() + late
        self.axis = make_axis(self.settings.axis)  # None where it is found
        self.years = self.span if self.axis is None else _find_ends(self.axis)  # whose standard time counts
        if self.settings.timezone is not None:
            note = find_standard_offset(self.settings.timezone, *self.years)[1]
            self.time_notes += [note] if note else []
            self.understood.notes += [note] if note else []

    def _snap_moments(self) -> None:
        """Bring times that lie around the steps of data.resample to the nearest step."""
        step = self.settings.resample.step
        seconds = parse_seconds(step) if step is not None and not len(self.offsets) else None
        snapped = None if seconds is None else snap_to_steps(self.moments, seconds)
        if snapped is not None:
            self.moments = snapped[0]
            own = format_duration(snapped[1])
            note = f"times lie up to a tenth of {own} before and after steps of {own}: each is of the nearest"
            self.understood.notes.append(note)

    def merge_texts(self, key: str) -> tuple[list[str], list[np.ndarray]]:
        """Return the different stamps (or ids) of all parts in order of appearance, and for each part the
        places of its own among them: int32 [m].
        """
        place_of: dict[str, int] = {}
        places = []
        for name in self.names:
            texts = self.work.read_texts(name, f"different_{key}")
            for text in texts:
                place_of.setdefault(text, len(place_of))
            places.append(np.fromiter(map(place_of.__getitem__, texts), np.int32, len(texts)))
        return list(place_of), places

    def _find_line_of(self, stamp: int) -> int:
        """Return the first line with a stamp, by its place."""
        for number, places in enumerate(self.stamps):
            found = np.flatnonzero(places == stamp)
            if len(found):
                if not self.table.time:
                    return 1
                codes = self.work.map_array(self.names[number], "stamps")
                return self.find_line(number, int(np.flatnonzero(codes == found[0])[0]))
        raise AssertionError(stamp)

    def find_line(self, number: int, row: int) -> int:
        """Return the line of a part's row, as the user counts lines."""
        found = self.work.map_array(self.names[number], "rows")[row] if self._has_rows(number) else row
        return self.pieces[number].find_line(int(found))

    def _has_rows(self, number: int) -> bool:
        return "rows" in self.facts[number]["crcs"]

    def read_times(self, number: int) -> np.ndarray:
        """Return the stamps of a part's rows, as read: datetime64[us]."""
        found = self.moments[self.stamps[number]][self.work.map_array(self.names[number], "stamps")]
        if len(self.offsets):
            found = found + self.offsets[self.work.map_array(self.names[number], "slots")]
        return found

    def mark_second_pass(
        self, times: np.ndarray, keys: np.ndarray, seen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return which times are of the second pass of a repeated hour, and the repeated hours seen so far.

        `seen` holds those of earlier parts, each a key and its time: int64 [n, 2].
        """
        zone = self.settings.timezone
        if zone is None or self.utc:
            return np.zeros(len(times), dtype=bool), seen
        try:
            return mark_second_pass(times, keys, seen, zone)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None

    def place_times(self, times: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return whole seconds, in the zone's standard time if a zone is given: datetime64[s]."""
        if self.settings.timezone is None:
            return times.astype("M8[s]")
        zone, source = self.settings.timezone, str(self.path)
        return to_standard_time(times, second, zone, self.utc, source, self.years)

    @property
    def resampling(self) -> bool:
        return self.settings.resample.step is not None

    @property
    def needs_whole_steps(self) -> bool:
        """True where a step of which readings are missing is missing: the mean of a counter follows which."""
        return self.settings.resample.method == "sum" or self.settings.registers == "difference"

    def make_grid(self, times: np.ndarray, measured: Callable[[], np.ndarray]) -> tuple[Grid, np.ndarray]:
        """Return the given axis, the regular one of all rising `times` or the resampled one, and the times
        that it leaves out: those outside, and those between its steps at which nobody has a reading.

        measured: the times at which somebody has one.
        """
        none = np.empty(0, "M8[s]")
        step = self.settings.resample.step
        if self.axis is not None:
            return make_given_grid(times, self.axis, None if self.resampling else measured, str(self.path))
        if step is not None:
            seconds = parse_seconds(step)
            assert seconds is not None, step  # the settings have been checked
            return make_resampled_grid(times, seconds, str(self.path)), none
        if len(times) > 2:
            beside = times[mark_off_grid(times, find_common_step(times))]
            if len(beside):
                none = np.setdiff1d(beside, measured())
        seconds = (self.span[1] - self.span[0]) / np.timedelta64(1, "s")
        typical = seconds * self.tracks / max(1, sum(facts["rows"] for facts in self.facts))
        return make_regular_grid(np.setdiff1d(times, none), str(self.path), typical), none

    def mark_outside(self, times: np.ndarray) -> np.ndarray:
        """Return which times lie outside of the given axis, none where there is none: bool [n]."""
        return np.zeros(len(times), bool) if self.axis is None else mark_outside(times, self.axis)

    def make_meta(self, grid: Grid, channels: tuple[str, ...]) -> Meta:
        """Return what the store says of the series."""
        zone = self.settings.timezone
        local = "UTC" if self.utc else self.clock or "as in the source"
        clock = local if zone is None else f"standard time of {zone} all year"
        provenance: dict[str, Any] = {"source": self.path.name, "clock": clock}
        provenance["missing_stamps"] = grid.filled
        if self.time_notes:
            provenance["times"] = "; ".join(self.time_notes)
        if self.settings.resample.step is not None:
            provenance["resampled"] = f"{self.settings.resample.method} over {self.settings.resample.step}"
        if self.tally.merged or self.tally.conflicting:
            provenance["duplicates"] = {
                "merged": self.tally.merged,
                "conflicting": self.tally.conflicting,
                "rule": self.settings.duplicates,
            }
        if self.understood.off_grid_ignored:
            provenance["off_grid_ignored"] = self.understood.off_grid_ignored
        self.understood.merged_duplicates = self.tally.merged
        self.understood.conflicting_duplicates = self.tally.conflicting
        return Meta(grid.axis, channels, self.settings.units, provenance, {})

    def _count_most_repeated(self) -> int:
        """Return the most readings of the hours that a clock repeats: one hour of every year."""
        rows = sum(facts["rows"] for facts in self.facts)
        hours = max(1, int((self.span[1] - self.span[0]) / np.timedelta64(1, "h")))
        years = hours // 8760 + 1
        return max(1, years * -(-rows // hours))

    def refuse_conflicts(self, time: np.datetime64, lines: list[int]) -> None:
        """
        Raises:
            UserError: readings of one entity and time differ, and no rule says which counts.
        """
        if not self.tally.conflicting or self.settings.duplicates != "error":
            return
        moment = time.astype("M8[s]").astype(object)
        autumn = moment.month in (3, 4, 9, 10, 11) and moment.hour <= 3 and self.settings.timezone is None
        autumn = autumn and (moment.weekday() >= 5 or moment.month == 9)  # clocks change at the weekend
        autumn = autumn and self.tally.conflicting <= self._count_most_repeated()
        hint = (
            "it looks like the end of daylight saving time: set data.timezone, or export in UTC; or "
            if autumn
            else ""
        )
        raise UserError(
            f"{self.path}: time {time.astype('M8[s]')} of one series stands twice, in lines "
            f"{' and '.join(map(str, lines[:2]))}, with different readings "
            f"({self.tally.conflicting} such cases); "
            f"{hint}set data.duplicates to first, last, mean or sum, or data.columns.id if rows are "
            "of different entities"
        )


def _find_ends(axis: Axis) -> tuple[np.datetime64, np.datetime64]:
    """Return the first and the last time of an axis."""
    first, last = axis.list_times()[[0, -1]]
    return first, last
