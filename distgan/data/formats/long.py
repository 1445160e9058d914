"""Long tables: one row a reading (or a day, or an entity); readings are dealt into an array on disk."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from distgan.data.formats.duplicates import combine, group_keys, merge_groups
from distgan.data.formats.parts import Parsed, Parts
from distgan.data.formats.pieces import Source
from distgan.data.formats.resampling import SamplingRates, compute_least
from distgan.data.formats.unit_columns import refuse_changing_factors, refuse_mixed_attributes
from distgan.data.grid import Grid, to_kind
from distgan.data.ingest_cache import drop_pages, read_mapped_rows
from distgan.data.workers import map_ahead, open_threads
from distgan.data.zones import NONE_SEEN
from distgan.errors import UserError
from distgan.memory import scale_buffer

BLOCK_BYTES = 64 << 20  # of readings that are merged into steps at a time


@dataclass
class Dealt:
    """The array that readings go into: values [ids * steps * kinds, columns], a row for each id, step and
    kind of reading (value of the channel column); and readings that found another one in their place.
    """

    values: np.ndarray
    steps: int
    kinds: int
    late: list[tuple[np.ndarray, np.ndarray]]  # rows of `values`, readings


@dataclass(frozen=True)
class Readings:
    """Readings of a part, the row of the array of each, and how many lie between the steps of the axis, or
    outside of it.
    """

    rows: np.ndarray
    values: np.ndarray
    between: int
    outside: int
    distinct: bool  # known without a sort: the readings of each id follow one another, or all of each time


class Long(Parts):
    """Id, time, one column a channel, or one column of readings and one that says the channel."""

    def __init__(self, parsed: Parsed) -> None:
        super().__init__(parsed)
        self.ids, self._own_ids = self.merge_texts("ids")
        kinds = dict.fromkeys(name for facts in self.facts for name in facts.get("channels", ()))
        self.kinds = self._list_kinds(list(kinds))
        self.tracks = len(self.ids) * max(1, len(self.kinds))
        self.attributes = self._find_attributes()
        self.columns = self._find_changing_columns()
        asked = self.settings.columns.attributes
        refuse_mixed_attributes(self.path, self.attributes, asked, self.utc, self.settings.timezone)

    def read_source(self) -> Source:
        """Return a series for each id.

        Raises:
            UserError: the times are not regular, or readings of one time differ.
        """
        grid, self.ignored = self.make_grid(self._collect_stamps(), self._collect_times)
        channels = self._name_channels()
        shape = (len(self.ids), grid.axis.length, len(channels))
        values = self.work.make_matrix("values", shape, self.kind)
        flat = values.reshape(-1, len(self.columns))
        dealt = Dealt(flat, grid.axis.length, max(1, len(self.kinds)), [])
        if self.resampling:
            self._merge(grid, dealt, values)
        else:
            with open_threads(2) as pool:
                numbers = range(len(self.names))
                for part in map_ahead(pool, partial(self._place_readings, grid, dealt), numbers, ahead=2):
                    self._deal(part, dealt)
                    drop_pages(values)
            self._resolve_duplicates(grid, dealt)
        return Source(
            partial(read_mapped_rows, values),
            self.ids,
            list(self.ids),
            self.make_meta(grid, channels),
            attributes=self.attributes,
            understood=self.understood,
        )

    # ------------------------------------------------------------------------------------- what columns hold

    def _list_kinds(self, found: list[str]) -> list[str]:
        """Return the values of the channel column that are read."""
        asked = self.settings.columns.values
        if self.table.channel is None or asked is None:
            return found
        for name in asked:
            if name not in found:
                raise UserError(
                    f"data.columns.values {name!r} is no value of column {self.table.channel!r} of "
                    f"{self.path}; it has {', '.join(found[:6])}"
                )
        return list(asked)

    def _name_channels(self) -> tuple[str, ...]:
        names = [self.table.values[column] for column in self.columns]
        if self.table.layout != "long":
            return tuple(self.kinds) or ("value",)
        if not self.kinds:
            return tuple(names)
        return tuple(kind if len(names) == 1 else f"{kind} {name}" for kind in self.kinds for name in names)

    def _find_attributes(self) -> dict[str, list[str]]:
        """Return what each column of words says of each id.

        Raises:
            UserError: it says two things of one.
        """
        found: dict[str, list[str]] = {}
        for name in self.table.texts:
            known: dict[str, str] = {}
            for number, facts in enumerate(self.facts):
                for code, cell in zip(self._own_ids[number].tolist(), facts["texts"][name]):
                    entity = self.ids[code]
                    if cell is None:
                        continue
                    if known.setdefault(entity, cell) != cell:
                        raise UserError(
                            f"{self.path}: column {name!r} changes within an entity "
                            f"({known[entity]!r}, and {cell!r} from "
                            f"line {self.find_line(number, 0)} on); set data.columns.ignore=[{name}], or "
                            "data.columns.id to all columns that identify the entity"
                        )
            found[name] = [known.get(entity, "") for entity in self.ids]
        self.understood.attributes = list(found)
        return found

    def _find_changing_columns(self) -> list[int]:
        """Return the value columns; those that never change within an id, but from one to the next, are
        attributes.
        """
        if self.table.layout != "long":
            return [0]
        every = list(range(len(self.table.values)))
        still = [column for column in every if not any(facts["varying"][column] for facts in self.facts)]
        if self.settings.columns.values or len(still) == len(every):
            return every
        for column in still:
            first = self._find_constants(column)
            if first is not None and len(np.unique(first[~np.isnan(first)])) > 1:
                every.remove(column)
                name = self.table.values[column]
                self.attributes[name] = ["" if np.isnan(value) else _format_number(value) for value in first]
                self.understood.attributes.append(name)
                self.understood.notes.append(f"column {name!r} never changes within an entity: an attribute")
        changing = [self.table.values[column] for column in every if column not in still]
        refuse_changing_factors(self.path, changing)
        return every

    def _find_constants(self, column: int) -> np.ndarray | None:
        """Return the constant value of each id; None if one has two, or fewer than two readings each."""
        first = np.full(len(self.ids), np.nan)
        for number, facts in enumerate(self.facts):
            still = [other for other, varies in enumerate(facts["varying"]) if not varies]
            values = self.work.map_array(self.names[number], "constants")[:, still.index(column)]
            codes, there = self._own_ids[number], ~np.isnan(values)
            known = first[codes]
            if (there & ~np.isnan(known) & (known != values)).any():
                return None
            first[codes[there]] = values[there]
        readings = sum(facts["rows"] for facts in self.facts)
        return first if readings >= 2 * len(self.ids) else None

    # ------------------------------------------------------------------------------------------------- times

    def _read_codes(self, number: int) -> np.ndarray:
        """Return the id of each reading of a part, as a number."""
        return self._own_ids[number].astype(np.int64)[self.work.map_array(self.names[number], "ids")]

    def _read_tracks(self, number: int) -> np.ndarray:
        """Return the id and kind of each reading of a part, as a number; -1 where the kind is not read."""
        codes = self._read_codes(number)
        if not self.kinds:
            return codes
        place = {name: kind for kind, name in enumerate(self.kinds)}
        unique = np.array([place.get(name, -1) for name in self.facts[number]["channels"]], np.int64)
        kinds = unique[self.work.map_array(self.names[number], "channels")]
        return np.where(kinds < 0, -1, codes * len(self.kinds) + kinds)

    def _collect_stamps(self) -> np.ndarray:
        """Return every time of a reading, once, rising; find which are the later of two equal ones."""
        self._second: list[np.ndarray | None] = [None] * len(self.names)
        if self.settings.timezone is None and not len(self.offsets):
            return np.unique(self.moments.astype("M8[s]"))
        found, seen = [], NONE_SEEN
        for number in range(len(self.names)):
            times, tracks = self.read_times(number), self._read_tracks(number)
            second, seen = self.mark_second_pass(times, tracks, seen)
            placed = self.place_times(times, second)
            self._second[number] = np.flatnonzero(second)
            found.append(np.unique(placed))
        return np.unique(np.concatenate(found))

    def _read_times(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the times of a part's readings, as the axis has them, and with fractions of a second."""
        times = self.read_times(number)
        placed = self._convert_times(number, times)
        return placed, placed.astype("M8[us]") + (times - times.astype("M8[s]"))

    def _convert_times(self, number: int, times: np.ndarray) -> np.ndarray:
        """Return the times of a part's readings, as the axis has them."""
        later, second = self._second[number], np.zeros(len(times), dtype=bool)
        if later is not None:
            second[later] = True
        return self.place_times(times, second)

    def _read_values(self, number: int) -> np.ndarray:
        """Return the readings of a part: [rows, columns]."""
        values = np.asarray(self.work.map_array(self.names[number], "values"))
        return values if len(self.columns) == values.shape[1] else values[:, self.columns]

    def _collect_times(self) -> np.ndarray:
        """Return every time at which somebody has a reading."""
        found = [np.empty(0, "M8[s]")]
        for number in range(len(self.names)):
            there = ~np.isnan(self._read_values(number)).all(axis=1)
            found.append(np.unique(self._read_times(number)[0][there]))
        return np.unique(np.concatenate(found))

    # ------------------------------------------------------------------------------------- one reading a step

    def _place_readings(self, grid: Grid, dealt: Dealt, number: int) -> "Readings":
        """Find the places of a part's readings."""
        times = self._convert_times(number, self.read_times(number))
        tracks, readings = self._read_tracks(number), self._read_values(number)
        outside = self.mark_outside(times)
        keep, between = (tracks >= 0) & ~outside, 0
        if len(self.ignored):
            beside = np.isin(times, self.ignored) & ~outside
            between = int(beside.sum())
            keep &= ~beside
        if not keep.all():
            times, tracks, readings = times[keep], tracks[keep], readings[keep]
        places = grid.locate(times)
        rows, by_time = self._find_rows(tracks, places, dealt), places * (tracks.max(initial=0) + 1) + tracks
        distinct = bool((np.diff(rows) > 0).all() or (np.diff(by_time) > 0).all())
        return Readings(rows, readings, between, int(outside.sum()), distinct)

    def _deal(self, part: "Readings", dealt: Dealt) -> None:
        """Put a part's readings in their places; what finds a place taken by another reading is kept
        aside.
        """
        rows, readings = part.rows, part.values
        self.understood.off_grid_ignored += part.between
        self.understood.outside_ignored += part.outside
        if not part.distinct:
            order, starts, counts = group_keys(rows)
            if (counts > 1).any():
                twice = np.setdiff1d(order, order[starts], assume_unique=True)
                first = np.setdiff1d(np.arange(len(rows)), twice, assume_unique=True)
                self._put(rows[first], readings[first], dealt)
                for _ in range(int(counts.max()) - 1):  # what stands three times comes one after the other
                    unique = np.unique(rows[twice], return_index=True)[1]
                    self._put(rows[twice[unique]], readings[twice[unique]], dealt)
                    twice = np.delete(twice, unique)
                return
        self._put(rows, readings, dealt)

    def _find_rows(self, tracks: np.ndarray, places: np.ndarray, dealt: Dealt) -> np.ndarray:
        """Return the row of the array for each reading."""
        if dealt.kinds == 1:
            return tracks * dealt.steps + places
        return (tracks // dealt.kinds * dealt.steps + places) * dealt.kinds + tracks % dealt.kinds

    def _put(self, rows: np.ndarray, readings: np.ndarray, dealt: Dealt) -> None:
        """Write readings into different rows, unless they have others."""
        there = dealt.values[rows]
        taken = ~np.isnan(there)
        if not taken.any():
            dealt.values[rows] = readings
            return
        fresh = ~np.isnan(readings)
        differ = (taken & fresh & (there != readings)).any(axis=1)
        again = (taken & fresh).any(axis=1) & ~differ
        self.tally.add(int(again.sum()), int(differ.sum()), int(rows[np.argmax(differ)]))
        last = self.settings.duplicates == "last"
        dealt.values[rows] = np.where(fresh, readings, there) if last else np.where(taken, there, readings)
        if differ.any() and self.settings.duplicates in ("mean", "sum"):
            dealt.late.append((rows[differ], readings[differ]))

    def _resolve_duplicates(self, grid: Grid, dealt: Dealt) -> None:
        """Apply the rule to readings that differ.

        Raises:
            UserError: there are some, and no rule.
        """
        if self.tally.conflicting and self.settings.duplicates == "error":
            self._refuse(grid, self.tally.first, dealt)
        if not dealt.late:
            return
        rows = np.concatenate([rows for rows, _ in dealt.late])
        late = np.concatenate([readings for _, readings in dealt.late])
        order, starts, counts = group_keys(rows)
        for size in np.unique(counts).tolist():
            which = np.flatnonzero(counts == size)
            places = rows[order[starts[which]]]
            others = late[order[starts[which][None] + np.arange(size)[:, None]]]
            stack = np.concatenate([dealt.values[places][None], others])
            dealt.values[places] = combine(stack, self.settings.duplicates)

    def _refuse(self, grid: Grid, row: int, dealt: Dealt) -> None:
        track = row // dealt.kinds // dealt.steps * dealt.kinds + row % dealt.kinds
        place = row // dealt.kinds % dealt.steps
        time = np.datetime64(grid.axis.start, "s") + np.timedelta64(int(place) * grid.axis.step_seconds, "s")
        self.refuse_conflicts(time, self._find_lines(track, lambda when, exact: grid.locate(when) == place))

    def _find_lines(self, track: int, chosen) -> list[int]:  # type: ignore[no-untyped-def]
        """Return the first two lines of readings of a track at a time."""
        found: list[int] = []
        for number in range(len(self.names)):
            hits = np.flatnonzero((self._read_tracks(number) == track) & chosen(*self._read_times(number)))
            found += [self.find_line(number, int(hit)) for hit in hits[:2]]
            if len(found) >= 2:
                break
        return found[:2]

    # ---------------------------------------------------------------------------------- many readings a step

    def _merge(self, grid: Grid, dealt: Dealt, matrix: np.memmap) -> None:
        """Write sums or means over steps, for as many ids at a time as fit into a block."""
        rows = sum(facts["rows"] for facts in self.facts)
        per_id = 8 * grid.axis.length * matrix.shape[2] + 64 * rows // len(self.ids)
        size = max(1, scale_buffer(BLOCK_BYTES) // max(1, per_id))
        there = [set(self._find_codes(number)) for number in range(len(self.names))]
        for first in range(0, len(self.ids), size):
            last = min(first + size, len(self.ids))
            wanted = set(range(first, last))
            numbers = [number for number in range(len(self.names)) if there[number] & wanted]
            matrix[first:last] = self._merge_ids(numbers, first, last, grid, dealt)
            drop_pages(matrix)
        if self.tally.conflicting and self.settings.duplicates == "error":
            track, time = self.tally.first
            lines = self._find_lines(track, lambda when, exact: exact == time)
            self.refuse_conflicts(time, lines)

    def _find_codes(self, number: int) -> list[int]:
        return self._own_ids[number].tolist()

    def _merge_ids(self, numbers: list[int], first: int, last: int, grid: Grid, dealt: Dealt) -> np.ndarray:
        """Return the steps of some ids: [ids, steps, channels]."""
        tracks, times, exact, readings = self._gather_tracks(numbers, first * dealt.kinds, last * dealt.kinds)
        order = np.lexsort((exact, tracks))  # stable: rows of one time stay as they stand in the file
        tracks, times, exact, readings = tracks[order], times[order], exact[order], readings[order]
        fresh = np.append(True, (tracks[1:] != tracks[:-1]) | (exact[1:] != exact[:-1]))[: len(tracks)]
        starts = np.flatnonzero(fresh)
        counts = np.diff(np.append(starts, len(tracks)))
        if not fresh.all():
            rule = self.settings.duplicates
            readings, merged, differ = merge_groups(readings, np.arange(len(tracks)), starts, counts, rule)
            bad = starts[np.argmax(differ)]
            self.tally.add(merged, int(differ.sum()), (int(tracks[bad]), exact[bad]))
            tracks, times, exact = tracks[starts], times[starts], exact[starts]
        local, many = tracks - first * dealt.kinds, (last - first) * dealt.kinds
        rates = SamplingRates(many)
        if self.needs_whole_steps:
            rates.learn(local, exact)
        bins = local * dealt.steps + grid.locate(times)
        columns = [
            self._merge_channel(
                bins, readings[:, column], many, dealt.steps, rates.count_whole(grid.axis.step_seconds)
            )
            for column in range(readings.shape[1])
        ]
        found = np.stack(columns, axis=-1).reshape(last - first, dealt.kinds, dealt.steps, len(columns))
        return found.transpose(0, 2, 1, 3).reshape(last - first, dealt.steps, -1)

    def _gather_tracks(self, numbers: list[int], low: int, high: int) -> tuple[np.ndarray, ...]:
        """Return the tracks, times and readings of the tracks low..high, in the order of the file."""
        found: list[tuple[np.ndarray, ...]] = []
        for number in numbers:
            tracks = self._read_tracks(number)
            times, exact = self._read_times(number)
            asked, outside = (tracks >= low) & (tracks < high), self.mark_outside(times)
            self.understood.outside_ignored += int((asked & outside).sum())
            inside = np.flatnonzero(asked & ~outside)
            found.append((tracks[inside], times[inside], exact[inside], self._read_values(number)[inside]))
        return tuple(np.concatenate(arrays) for arrays in zip(*found))

    def _merge_channel(
        self, bins: np.ndarray, readings: np.ndarray, tracks: int, steps: int, whole: np.ndarray
    ) -> np.ndarray:
        """Return one channel's steps, missing where too few readings make them: [tracks, steps]."""
        there = ~np.isnan(readings)
        shape = (tracks, steps)
        counts = np.bincount(bins[there], minlength=tracks * steps).reshape(shape)
        sums = np.bincount(bins[there], readings[there].astype(np.float64), tracks * steps).reshape(shape)
        found = sums / np.maximum(counts, 1) if self.settings.resample.method == "mean" else sums
        return to_kind(np.where(counts >= compute_least(counts, whole[:, None]), found, np.nan), self.kind)


def _format_number(value: float) -> str:
    """Return a number as a table has it: whole ones without a point, all digits."""
    return str(int(value)) if value.is_integer() else repr(float(value))
