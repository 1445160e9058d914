"""What the columns of a table are: times, ids, readings, channels, attributes; found or refused by name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.advice import show_list, show_name
from distgan.data.formats.column_names import (
    PARTS_OF_A_DAY,
    find_numbered_clocks,
    find_parts_of_long_day,
    find_unreadable_clocks,
    is_entity_name,
    parse_clock,
    select_even_clocks,
)
from distgan.data.formats.columns import (
    are_days,
    find_times,
    is_counter,
    is_text,
    join_times,
    list_named_columns,
    make_tuple,
    refuse_nested,
    refuse_unknown,
    select_columns,
)
from distgan.data.formats.entity_columns import (
    are_channels,
    describe_channel,
    describe_channels,
    describe_entities,
    holds_channels,
)
from distgan.data.formats.ids import IdFinder
from distgan.data.formats.number_format import SIGN, NumberFormat, describe_cell, is_almost_number
from distgan.data.formats.time_pairs import find_end_of_intervals
from distgan.data.formats.times import are_times
from distgan.errors import UserError

MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
DATED_NAME = re.compile(  # of a column: 2013-01-01, 1/1/13, 20130101, 1 Jan 2013, Jan 1, 2013
    r"\d{2,4}[-/.]\d|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    r"|^(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])(\d\d|\d{4}|\d{6})?$"
    rf"|^\d{{1,2}}[ -]?{MONTH}[ -]?(\d\d){{1,2}}\b|^{MONTH} ?\d{{1,2}},? \d{{4}}\b",
    re.I,
)
DOTTED_CLOCK = re.compile(r"\d[.hH]\d\d$")
FEWEST_CLOCKS = 4  # columns named by times of the day that make a table of days


@dataclass(frozen=True)
class Table:
    """The columns of a table by their use.

    Attributes:
        values: the columns with readings. In day_wide each is a time of day, `offsets` seconds after
            midnight; in transposed each is named by its time.
        texts: columns that must be the same in all rows of an entity.
    """

    layout: str
    names: tuple[str, ...]
    time: tuple[str, ...]
    ids: tuple[str, ...]
    values: tuple[str, ...]
    channel: str | None = None
    texts: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    offsets: tuple[int, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def as_text(self) -> tuple[str, ...]:
        """The columns to read as written."""
        channel = () if self.channel is None else (self.channel,)
        return (*self.time, *self.ids, *channel, *self.texts)

    @property
    def by_entity(self) -> bool:
        """True where rows (rather than columns) identify the entity of a reading."""
        return self.layout != "wide"

    @property
    def is_single(self) -> bool:
        """True where all rows are of one entity, which no column names."""
        return self.by_entity and not self.ids


def find_table(
    path: Path,
    frame: pd.DataFrame,
    settings: config.Data,
    *,
    per_file: bool = False,
    repeats: bool = False,
    units: Mapping[str, str] | None = None,
) -> Table:
    """Find the roles of a table's columns, by rows from all over it.

    Args:
        frame: sampled rows in the order of the file, numbers as numbers where they read as such.
        per_file: all rows are one entity's.
        repeats: it is known that times repeat, so the table is not wide.
        units: column -> unit, as a row of units says.

    Raises:
        UserError: the roles are not clear; names the setting that decides.
    """
    for setting, names in list_named_columns(settings).items():
        refuse_unknown(path, setting, names, frame)
    asked = settings.columns
    ignored = [name for name in frame.columns if name in asked.ignore or is_counter(frame, name, settings)]
    refuse_nested(path, frame.drop(columns=ignored))
    pair = find_end_of_intervals(frame.drop(columns=ignored), settings, path)
    notes: tuple[str, ...] = ()
    if pair is not None:
        ignored += pair[1]
        notes = (f"intervals from {pair[0]!r} to {pair[1][-1]!r} stand for the time at which they begin",)
    finder = _Finder(path, frame.drop(columns=ignored), settings, tuple(frame.columns), tuple(ignored))
    table = _choose_layout(finder, settings, per_file, repeats)
    if table.layout == "wide" and settings.layout == "auto":
        table = finder.make_single_of_quantities(table, units or {})
    return replace(table, notes=notes + table.notes)


def _choose_layout(finder: "_Finder", settings: config.Data, per_file: bool, repeats: bool) -> Table:
    """Return the columns of the layout that is set, or else that shows."""
    if per_file or settings.layout == "per_file":
        return finder.make_day_wide(single=True) if finder.holds_days() else finder.make_single()
    if settings.layout == "transposed" or (settings.layout == "auto" and finder.has_times_as_names()):
        return finder.make_transposed()
    if settings.layout == "day_wide" or (settings.layout == "auto" and finder.has_clocks_as_names()):
        return finder.make_day_wide()
    hours = finder.find_hours()  # hr1 to hr24 are no clock times
    time = find_times(finder.frame.drop(columns=hours), settings, finder.path)
    finder.refuse_nameless(time)
    if settings.layout == "auto":
        finder.refuse_numbered_day(time)
    layout = settings.layout if settings.layout != "auto" else finder.choose_layout(time, repeats)
    return finder.make_long(time) if layout == "long" else finder.make_wide(time)


class _Finder:
    """Rows of a table and what the settings say of its columns."""

    def __init__(
        self,
        path: Path,
        frame: pd.DataFrame,
        settings: config.Data,
        names: tuple[str, ...],
        ignored: tuple[str, ...],
    ) -> None:
        self.path, self.frame, self.settings = path, frame, settings
        self.names, self.ignored = names, ignored
        self.columns = settings.columns

    # ---------------------------------------------------------------------------------------- which layout

    def _list_dated(self) -> list[str]:
        """Return the columns that are named by dates."""
        return [name for name in self.frame.columns if DATED_NAME.search(name)]

    def has_times_as_names(self) -> bool:
        """Return whether most columns are named by dates and times."""
        names = self._list_dated()
        if len(names) < 2 or len(names) < 0.5 * self.frame.shape[1]:
            return False
        return are_times(pd.Series(names, dtype="str", name="time"), self.settings)

    def holds_days(self) -> bool:
        """Return whether each row of a table of one entity is a day."""
        return self.settings.layout == "day_wide" or self.has_clocks_as_names()

    def has_clocks_as_names(self) -> bool:
        """Return whether there is a column for each time of the day, at even distances; 1.10 to 1.49 are
        names of entities where rows are closer to each other.
        """
        clocks = self._find_clocks()
        if len(clocks) < FEWEST_CLOCKS or not all(DOTTED_CLOCK.search(name) for name in clocks):
            return len(clocks) >= FEWEST_CLOCKS
        rest = self.frame.drop(columns=list(clocks))
        time = find_times(rest, self.settings, self.path)
        last = np.timedelta64(min(max(clocks.values()), 23 * 3600), "s")
        return are_days(rest, time, self.settings, self.path, last)

    def _find_clocks(self) -> dict[str, int]:
        """Return the columns that are times of the day, by seconds after midnight; the last may be 0:00."""
        clocks = self._list_clocks()
        if len(clocks) < 2 and self.settings.layout == "day_wide":
            clocks = self._find_numbered()
        return select_even_clocks(clocks)

    def _list_clocks(self) -> dict[str, int]:
        found = {name: parse_clock(name) for name in self.frame.columns}
        return {name: seconds for name, seconds in found.items() if seconds is not None}

    def _find_numbered(self) -> dict[str, int]:
        return find_numbered_clocks(list(self.frame.columns), self._find_asked())

    def _find_asked(self) -> set[str]:
        return {*make_tuple(self.columns.id), *make_tuple(self.columns.time), *self.columns.attributes}

    def choose_layout(self, time: tuple[str, ...], repeats: bool) -> str:
        """Return long where rows identify the entity, wide where columns do."""
        if self.columns.id is not None or self.columns.channel is not None or repeats:
            return "long"
        rest = self._list_rest(time)
        stamps = join_times(self.frame, time)
        if len(stamps) > 1 and stamps.nunique() <= 0.6 * len(stamps):
            fresh = stamps[~self.frame.duplicated()]  # a file may hold its rows twice
            if fresh.nunique() <= 0.6 * len(fresh):
                return "long"
        floats = set(select_columns(self.frame, pd.api.types.is_float_dtype))
        for name in rest:
            if name in floats:
                continue
            column = self.frame[name]
            if name in self.columns.attributes or (self.columns.values and name in self.columns.values):
                continue
            text = is_text(column, name)
            if not text and not (pd.api.types.is_integer_dtype(column) and is_entity_name(name)):
                continue
            recurs = column.nunique() <= 0.5 * column.notna().sum()
            if is_entity_name(name) and (recurs or text):
                return "long"
            if text:
                cell = str(column.dropna().iloc[0])
                if re.search(r"\d", cell) and (SIGN.search(cell) or is_almost_number(cell)):
                    raise UserError(
                        f"{self.path}, column {name!r}: {cell!r} {describe_cell(cell, NumberFormat())}; "
                        f"or set data.columns.id={show_name(name)} if it identifies the entity"
                    )
                raise self._make_words_error(name, rest)
        return "wide"

    def _make_words_error(self, name: str, rest: list[str]) -> UserError:
        """Say that a column of a wide table holds words, and which others do."""
        words = [other for other in rest if is_text(self.frame[other], other)]
        more = f" (and {len(words) - 1} more)" if len(words) > 1 else ""
        as_id = f"data.columns.id={show_name(name)} if it identifies the entity, or "
        return UserError(
            f"{self.path}: column {name!r}{more} holds words, not readings; set "
            f"{as_id if len(words) < 3 else ''}data.columns.ignore={show_list(words)}"
        )

    def find_hours(self) -> list[str]:
        """Return the columns that are numbered as the parts of a day, if they are so many."""
        numbered = list(self._find_numbered())
        return numbered if len(numbered) in PARTS_OF_A_DAY else []

    def refuse_numbered_day(self, time: tuple[str, ...], else_set: str = "wide or long") -> None:
        """
        Args:
            else_set: the settings that say that the columns are no parts of a day.

        Raises:
            UserError: columns that are numbered as the parts of a day, or named by times of the day, stand
                beside dates without a time.
        """
        numbered = self.find_hours()
        self._refuse_long_day()
        clocks = [name for name in self._list_clocks() if name not in time]
        unreadable = [] if numbered else find_unreadable_clocks(self._list_rest(time))
        several = len(clocks) >= FEWEST_CLOCKS or numbered or unreadable
        if not several or not are_days(self.frame, time, self.settings, self.path):
            return
        if len(clocks) >= FEWEST_CLOCKS:
            raise UserError(
                f"{self.path}: columns {clocks[0]!r} to {clocks[-1]!r} are {len(clocks)} times of the day at "
                "uneven distances, or repeated; add the columns that are not there, or set data.layout=wide "
                "or long if they are entities or channels"
            )
        if numbered or unreadable:
            first, *_, last = numbered or unreadable
            many = len(numbered or unreadable)
            day = "name them 00:00, 01:00, … and " if unreadable else ""
            raise UserError(
                f"{self.path}: columns {first!r} to {last!r} may be {many} parts of a day, or "
                f"{many} entities or channels; {day}set data.layout=day_wide, or {else_set}"
            )

    def _refuse_long_day(self) -> None:
        """
        Raises:
            UserError: columns are numbered through a day of 25 hours, in which the clock is put back.
        """
        numbered, step = find_parts_of_long_day(list(self.frame.columns), self._find_asked())
        if numbered:
            late = numbered[len(numbered) * 24 // 25 :]
            raise UserError(
                f"{self.path}: columns {numbered[0]!r} to {numbered[-1]!r} are the {len(numbered)} parts of "
                "a day on which a clock is put back; write a row a reading with the date and the number "
                f"(pandas: melt) and set data.date_format=periods:{step} and data.timezone; or, if those "
                "beyond a usual day are always empty, data.layout=day_wide and "
                f"data.columns.ignore={show_list(late)}"
            )

    def _list_rest(self, time: tuple[str, ...]) -> list[str]:
        return [name for name in self.frame.columns if name not in time]

    def refuse_nameless(self, time: tuple[str, ...]) -> None:
        for position, name in enumerate(self.names, start=1):
            if not name and name not in time and name not in self.ignored:
                raise UserError(
                    f"{self.path}: column {position} has no name; name it or remove it, or set data.header "
                    "to the line of the names"
                )

    # ------------------------------------------------------------------------------------------ the layouts

    def make_wide(self, time: tuple[str, ...]) -> Table:
        """Return a table with a column for each entity."""
        rest = [name for name in self._list_rest(time) if name not in self.columns.attributes]
        values = list(self.columns.values or rest)
        refuse_unknown(self.path, "values", tuple(values), self.frame)
        if not values:
            raise UserError(f"{self.path}: a wide table needs a time column and one column per entity")
        return self._ignore_rest(Table("wide", self.names, time, (), tuple(values)))

    def make_single(self) -> Table:
        """Return a table of one entity: all rows of the file are its own."""
        time = find_times(self.frame, self.settings, self.path)
        self.refuse_nameless(time)
        if self.columns.values is None:
            self.refuse_numbered_day(time, "name them in data.columns.values if they are channels")
        return self._make_long_table(time, (), self.columns.channel)

    def make_single_of_quantities(self, table: Table, units: Mapping[str, str]) -> Table:
        """Return a wide table as it is, or with its columns as channels of one entity if they are quantities.

        Raises:
            UserError: names do not show which; names the settings that decide.
        """
        if not are_channels(self.path, table.values, units):
            return replace(table, notes=describe_entities(table.values))
        single = self._make_long_table(table.time, ())
        return replace(single, notes=(describe_channels(single.values),))

    def make_long(self, time: tuple[str, ...]) -> Table:
        """Return a table with a row for each reading."""
        ids = make_tuple(self.columns.id)
        channel = self.columns.channel
        if not ids:
            ids, channel = IdFinder(self.path, self.frame, self.columns, time).find(channel)
        return self._make_long_table(time, ids, channel)

    def _make_long_table(
        self, time: tuple[str, ...], ids: tuple[str, ...], channel: str | None = None
    ) -> Table:
        taken = {*time, *ids, channel}
        rest = [name for name in self.frame.columns if name not in taken]
        texts = [name for name in rest if name in self.columns.attributes]
        if self.columns.values and channel is None:
            values = list(self.columns.values)
            refuse_unknown(self.path, "values", tuple(values), self.frame)
        else:
            left = [name for name in rest if name not in texts]
            words = [name for name in left if is_text(self.frame[name], name)]
            texts += words
            values = [name for name in left if name not in words]
            full = [name for name in values if self.frame[name].notna().any()]
            values = full if full and len(self.frame) > 100 else values
        if not values:
            raise UserError(f"{self.path}: a long table needs id, time and value columns; it has no values")
        notes: tuple[str, ...] = ()
        if channel is not None and not ids and self.columns.channel is None:
            notes = (describe_channel(channel),)
        table = Table("long", self.names, time, ids, tuple(values), channel, tuple(texts))
        return self._ignore_rest(replace(table, notes=notes))

    def _refuse_numbers_of_days(self, described: list[str]) -> None:
        """
        Raises:
            UserError: columns beside the times of the day hold fractions that change, as sums of the days.
        """
        asked = {*self._find_asked(), self.columns.channel}
        sums = []
        for name in select_columns(self.frame[described], pd.api.types.is_float_dtype):
            cells = self.frame[name].dropna()
            changes = cells.nunique() > max(3, 0.5 * len(cells))
            if name not in asked and changes and (cells % 1 != 0).any():
                sums.append(name)
        if sums:
            raise UserError(
                f"{self.path}: column {sums[0]!r} holds numbers and is no time of the day; leave it out with "
                f"data.columns.ignore={show_list(sums)}, or keep it with data.columns.attributes if it "
                "describes the entity"
            )

    def make_day_wide(self, single: bool = False) -> Table:
        """Return a table with a row for each entity and day, and a column for each time of the day; `single`
        if all rows are of one entity.
        """
        clocks = self._find_clocks()
        self._refuse_long_day()
        if not clocks:
            raise UserError(
                f"{self.path}: data.layout=day_wide needs columns named by even times of the day (0:30, "
                "1:00, … or h1, h2, …, h24)"
            )
        rest = self.frame.drop(columns=list(clocks))
        time = find_times(rest, self.settings, self.path)
        ids, channel = () if single else make_tuple(self.columns.id), self.columns.channel
        described = [name for name in rest.columns if name not in time and rest[name].notna().any()]
        self._refuse_numbers_of_days(described)
        if not ids and described and not single:
            rows = rest[[*time, *described]]
            ids, channel = IdFinder(self.path, rows, self.columns, time).find(channel)
        texts = [name for name in described if name not in ids and name != channel]
        table = Table("day_wide", self.names, time, ids, tuple(clocks), channel, tuple(texts))
        return self._ignore_rest(replace(table, offsets=tuple(clocks.values())))

    def make_transposed(self) -> Table:
        """Return a table with a row for each entity and a column for each time."""
        names = self._list_dated()
        rest = [name for name in self.frame.columns if name not in names]
        if not names or not rest:
            raise UserError(
                f"{self.path}: data.layout=transposed needs an id column and columns named by times"
            )
        ids = make_tuple(self.columns.id) or tuple(
            [name for name in rest if is_entity_name(name) and self.frame[name].is_unique][:1] or rest[:1]
        )
        channel = self.columns.channel
        notes: tuple[str, ...] = ()
        if not make_tuple(self.columns.id) and channel is None and holds_channels(self.frame[ids[0]]):
            channel, notes = ids[0], (describe_channel(ids[0]),)
            ids = ()
        texts = [name for name in rest if name not in ids and name != channel]
        table = Table("transposed", self.names, (), ids, tuple(names), channel, tuple(texts))
        return self._ignore_rest(replace(table, notes=notes))

    def _ignore_rest(self, table: Table) -> Table:
        """Return the table with the columns that it does not use as ignored ones."""
        used = {*table.time, *table.ids, *table.values, table.channel, *table.texts}
        return replace(table, ignored=tuple(name for name in self.names if name not in used))
