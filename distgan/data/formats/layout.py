"""What the columns of a table are: times, ids, readings, channels, attributes; found or refused by name."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.marks import ALMOST_NUMBER, SIGN, Marks, not_a_number, reads_as_number, stripped
from distgan.data.formats.times import find_time_columns, looks_like_times
from distgan.errors import UserError

DAY = 86400
ID_NAME = re.compile(
    r"(^|[^a-z])(u?id|uuid|lclid|dataid|mpan|nmi|esiid|mac|serial|entity|name|(meter|household|house|home|customer|"
    r"client|consumer|sensor|station|device|site|building|user|subject|patient|person|account|series|node|"
    r"unit_?id|zone|area|item|location|region|plant|vehicle|bidding_?zone)s?(_?(id|no|nr|number|name|code))?)([^a-z]|$)|[a-z]_?id$"
)
NO_ID = re.compile(r"(humid|grid|solid|liquid|valid|void)$")
CHANNEL_NAME = re.compile(
    r"(^|[^a-z])(category|channel|variable|parameter|measure|measurement|metric|quantity|register|kind|type|"
    r"field|appliance|attribute|feature|indicator|element)s?([^a-z]|$)"
)
COUNTER_NAME = re.compile(r"(|index|unnamed: 0|row|rows|row_?(id|no|nr|number)|id|no|nr|#|\d+)", re.I)
CLOCK_NAME = re.compile(
    r"(?:[a-z_ ]*?)(\d{1,2})[:h.](\d\d)(?::00)?(?:\s*-\s*\d{1,2}[:h.]\d\d(?::00)?)?\s*([ap]m)?", re.I
)
NUMBERED_NAME = re.compile(
    r"(?:h|hr|hour|hh|he|v|t|ph?|period|slot|interval|value|[kM]?Wh?|load|power|energy|usage|demand"
    r"|consumption)?[_ ]?0*(\d{1,3})",
    re.I,
)
COMPACT_CLOCK = re.compile(r"([01]\d|2[0-4])([0-5]\d)")  # 0030, 2400
PARTS_OF_A_DAY = (24, 48, 96, 144, 288)
SAMPLED_CELLS = 200  # different cells of a column that tell words from numbers
OUTER_COLUMNS = 16  # on each side of a table that are looked at first for times
MAY_REPEAT, NAMED_MAY_REPEAT = (
    0.02,
    0.3,
)  # share of readings of a sample that may stand twice, by a column's name


@dataclass(frozen=True)
class Table:
    """What the columns are.

    values: the columns with readings; in day_wide each is a time of day, `offsets` seconds after midnight; in
    transposed each is named by its time. texts: columns that must be the same in all rows of an entity.
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
        """Whether rows (rather than columns) say whose the readings are."""
        return self.layout != "wide"


def find_table(
    path: Path, frame: pd.DataFrame, settings: config.Data, *, per_file: bool = False, repeats: bool = False
) -> Table:
    """Say what the columns of a table are, by rows from all over it.

    Args:
        frame: sampled rows in the order of the file, numbers as numbers where they read as such.
        per_file: all rows are one entity's.
        repeats: it is known that times repeat, so the table is not wide.

    Raises:
        UserError: it cannot be told; names the setting that tells it.
    """
    for setting, names in _asked(settings).items():
        refuse_unknown(path, setting, names, frame)
    asked = settings.columns
    ignored = [name for name in frame.columns if name in asked.ignore or _is_counter(frame, name, settings)]
    finder = _Finder(path, frame.drop(columns=ignored), settings, tuple(frame.columns), tuple(ignored))
    if per_file:
        return finder.one_entity()
    if settings.layout == "transposed" or (settings.layout == "auto" and finder.times_are_names()):
        return finder.transposed()
    if settings.layout == "day_wide" or (settings.layout == "auto" and finder.clocks_are_names()):
        return finder.day_wide()
    hours = finder.hours_of_a_day()  # hr1 to hr24 are no clock times
    time = find_times(finder.frame.drop(columns=hours), settings, path)
    finder.refuse_nameless(time)
    if settings.layout == "auto":
        finder.refuse_numbered_day(time)
    layout = settings.layout if settings.layout != "auto" else finder.layout(time, repeats)
    return finder.long(time) if layout == "long" else finder.wide(time)


def refuse_unknown(path: Path, setting: str, names: tuple[str, ...], frame: pd.DataFrame) -> None:
    """
    Raises:
        UserError: a name that a setting gives is no column.
    """
    for name in names:
        if name not in frame.columns:
            shown = ", ".join(map(str, frame.columns[:6]))
            raise UserError(f"data.columns.{setting} {name!r} is no column of {path}; it has {shown}, …")


def _asked(settings: config.Data) -> dict[str, tuple[str, ...]]:
    columns = settings.columns
    known = {"id": listed(columns.id), "channel": listed(columns.channel), "time": listed(columns.time)}
    return known | {"attributes": columns.attributes, "ignore": columns.ignore}


def listed(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return one name, several or none as a tuple."""
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)


def _is_counter(frame: pd.DataFrame, name: str, settings: config.Data) -> bool:
    """Whether a column counts the rows, as an exported index does."""
    asked = {*listed(settings.columns.id), *listed(settings.columns.time), *(settings.columns.values or ())}
    if name in asked or not COUNTER_NAME.fullmatch(str(name)) or len(frame) < 3 or frame.shape[1] < 3:
        return False
    if not pd.api.types.is_integer_dtype(frame[name]):
        return False
    steps = np.diff(frame[name].to_numpy())
    return bool((steps == 1).mean() > 0.9 and (steps > 0).all())


def names_of(frame: pd.DataFrame, chosen: Callable[[Any], bool]) -> list[str]:
    """Return the columns whose type is chosen; types are asked once each."""
    kinds = frame.dtypes.tolist()
    known = {kind: chosen(kind) for kind in set(kinds)}
    return [name for name, kind in zip(frame.columns, kinds) if known[kind]]


def find_times(frame: pd.DataFrame, settings: config.Data, path: Path) -> tuple[str, ...]:
    """Return the time columns; of many columns of numbers, those at the ends are looked at first.

    Raises:
        UserError: no column holds times, or several do.
    """
    if frame.shape[1] > 2 * OUTER_COLUMNS:
        outer = {
            *frame.columns[:OUTER_COLUMNS],
            *frame.columns[-OUTER_COLUMNS:],
            *listed(settings.columns.time),
        }
        floats = set(names_of(frame, pd.api.types.is_float_dtype)) - {*listed(settings.columns.time)}
        whole = set(names_of(frame, pd.api.types.is_numeric_dtype)) - floats - outer
        try:
            return tuple(find_time_columns(frame.drop(columns=[*floats, *whole]), settings, path))
        except UserError:
            pass  # among the others, then
    return tuple(find_time_columns(frame, settings, path))


def with_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a sample whose text columns that read as numbers, in any marks, are numbers; those of digits
    alone, as typed tables keep ids such as 007, whole ones.
    """
    found = {}
    for name in names_of(frame, lambda kind: pd.api.types.is_string_dtype(kind)):
        cells = stripped(frame[name]).dropna()
        if len(cells):
            fits = np.array([reads_as_number(cell) for cell in cells.unique()[:SAMPLED_CELLS]])
            if fits.all() and not looks_like_times(cells, config.Data()):
                if cells.str.fullmatch(r"\d+").all():
                    codes = pd.factorize(frame[name])[0]
                    found[name] = pd.Series(codes, frame.index).astype("Int64").mask(frame[name].isna())
                else:
                    found[name] = pd.Series(np.nan, frame.index).mask(frame[name].notna(), 0.5)
        else:
            found[name] = pd.Series(np.nan, frame.index)
    return frame.assign(**found) if found else frame


def _is_text(column: pd.Series, name: str) -> bool:
    """Whether the cells are words; cells among them that are numbers may be ids, as may those of "
    "ids alone."""
    kind = column.dtype
    if pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind):
        return False  # true and false, too, are readings, though of a kind that a text table may not hold
    cells = pd.Series(stripped(column.astype("str")).dropna().unique()[:SAMPLED_CELLS])
    if not len(cells):
        return False
    numbers = np.mean([reads_as_number(cell) for cell in cells])
    return bool(numbers == 0 or numbers < 0.5 or (names_entities(name) and numbers < 0.9))


def names_entities(name: str) -> bool:
    """Return whether a column's name says that it holds ids; a name with a number is of one entity."""
    if re.search(r"\d", name):
        return False
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    return (bool(ID_NAME.search(plain)) or bool(ID_NAME.search(name.lower()))) and not NO_ID.search(
        name.lower()
    )


def clock_seconds(name: str) -> int | None:
    """Return the seconds after midnight that a column's name says, as 0:30 or 13h00; None for other names."""
    found = CLOCK_NAME.fullmatch(str(name).strip())
    if not found:
        return None
    hour, minute = int(found[1]), int(found[2])
    if found[3]:
        hour = hour % 12 + (12 if found[3].lower() == "pm" else 0)
    return hour * 3600 + minute * 60 if hour <= 24 and minute < 60 else None


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

    def times_are_names(self) -> bool:
        """Whether most columns are named by dates and times."""
        names = [name for name in self.frame.columns if re.search(r"\d{2,4}[-/.]\d", name)]
        if len(names) < 2 or len(names) < 0.5 * self.frame.shape[1]:
            return False
        return looks_like_times(pd.Series(names, dtype="str"), self.settings)

    def clocks_are_names(self) -> bool:
        """Whether there is a column for each time of the day, at even distances."""
        return len(self._clocks()) >= 4

    def _clocks(self) -> dict[str, int]:
        """The columns that are times of the day, with their seconds after midnight; the last may be 0:00."""
        found = {name: clock_seconds(name) for name in self.frame.columns}
        clocks = {name: seconds for name, seconds in found.items() if seconds is not None}
        if len(clocks) < 2 and self.settings.layout == "day_wide":
            clocks = self._numbered()
        return _rising(clocks)

    def _numbered(self) -> dict[str, int]:
        """Columns that are numbered through a day: from 0 by the start of each step, from 1 by its number."""
        compact = self._compact_clocks()
        if compact:
            return compact
        named = {name: NUMBERED_NAME.fullmatch(name.strip()) for name in self.frame.columns}
        asked = {*listed(self.columns.id), *listed(self.columns.time), *self.columns.attributes}
        numbers = {name: int(match[1]) for name, match in named.items() if match and name not in asked}
        counted = sorted(numbers.values())
        if (
            len(counted) < 2
            or counted != list(range(counted[0], counted[0] + len(counted)))
            or counted[0] > 1
        ):
            return {}
        if DAY % len(counted):
            return {}
        step = DAY // len(counted)
        return {name: (number - counted[0]) * step for name, number in numbers.items()}

    def _compact_clocks(self) -> dict[str, int]:
        """Columns 0000, 0030, … or 0030, …, 2400 of a whole day, with their seconds after midnight."""
        named = {name: COMPACT_CLOCK.fullmatch(name.strip()) for name in self.frame.columns}
        found = {name: int(at[1]) * 3600 + int(at[2]) * 60 for name, at in named.items() if at}
        if len(found) not in PARTS_OF_A_DAY:
            return {}
        step = DAY // len(found)
        whole = [list(range(first, first + DAY, step)) for first in (0, step)]
        return found if sorted(found.values()) in whole else {}

    def layout(self, time: tuple[str, ...], repeats: bool) -> str:
        """Long where rows say whose they are, wide where columns do."""
        if self.columns.id is not None or self.columns.channel is not None or repeats:
            return "long"
        rest = self._rest(time)
        stamps = self._stamps(time)
        if len(stamps) > 1 and stamps.nunique() <= 0.6 * len(stamps):
            fresh = stamps[~self.frame.duplicated()]  # a file may hold its rows twice
            if fresh.nunique() <= 0.6 * len(fresh):
                return "long"
        floats = set(names_of(self.frame, pd.api.types.is_float_dtype))
        for name in rest:
            if name in floats:
                continue
            column = self.frame[name]
            if name in self.columns.attributes or (self.columns.values and name in self.columns.values):
                continue
            text = _is_text(column, name)
            if not text and not (pd.api.types.is_integer_dtype(column) and names_entities(name)):
                continue
            recurs = column.nunique() <= 0.5 * column.notna().sum()
            if names_entities(name) and (recurs or text):
                return "long"
            if text:
                cell = str(column.dropna().iloc[0])
                if re.search(r"\d", cell) and (SIGN.search(cell) or ALMOST_NUMBER.fullmatch(cell.strip())):
                    raise UserError(
                        f"{self.path}, column {name!r}: {cell!r} {not_a_number(cell, Marks())}; or set "
                        f"data.columns.id={name} if it says whose the readings are"
                    )
                raise UserError(
                    f"{self.path}: column {name!r} holds words, not readings; set "
                    f"data.columns.id={name} if it says "
                    f"whose the readings are, or data.columns.ignore=[{name}]"
                )
        return "wide"

    def hours_of_a_day(self) -> list[str]:
        """The columns that are numbered as the parts of a day, if they are so many."""
        numbered = list(self._numbered())
        return numbered if len(numbered) in PARTS_OF_A_DAY else []

    def refuse_numbered_day(self, time: tuple[str, ...]) -> None:
        """
        Raises:
            UserError: columns that are numbered as the parts of a day stand beside dates without a time.
        """
        numbered = self.hours_of_a_day()
        if numbered and not self._stamps(time).str.contains(r":|T\d", regex=True).any():
            first, *_, last = numbered
            raise UserError(
                f"{self.path}: columns {first!r} to {last!r} may be {len(numbered)} parts of a day, or "
                f"{len(numbered)} entities or channels; set data.layout=day_wide, or wide or long"
            )

    def _rest(self, time: tuple[str, ...]) -> list[str]:
        return [name for name in self.frame.columns if name not in time]

    def _stamps(self, time: tuple[str, ...]) -> pd.Series:
        found = self.frame[time[0]].astype("str")
        for name in time[1:]:
            found = found + " " + self.frame[name].astype("str")
        return found

    def refuse_nameless(self, time: tuple[str, ...]) -> None:
        for position, name in enumerate(self.names, start=1):
            if not name and name not in time and name not in self.ignored:
                raise UserError(
                    f"{self.path}: column {position} has no name; name it or remove it, or set "
                    "data.header to the "
                    "line of the names"
                )

    # ------------------------------------------------------------------------------------------ the layouts

    def wide(self, time: tuple[str, ...]) -> Table:
        """A column an entity."""
        rest = [name for name in self._rest(time) if name not in self.columns.attributes]
        values = list(self.columns.values or rest)
        refuse_unknown(self.path, "values", tuple(values), self.frame)
        if not values:
            raise UserError(f"{self.path}: a wide table needs a time column and one column per entity")
        return self._table("wide", time, (), values)

    def one_entity(self) -> Table:
        """A file an entity: all rows are its own."""
        time = find_times(self.frame, self.settings, self.path)
        self.refuse_nameless(time)
        return self._of_entities(time, ())

    def long(self, time: tuple[str, ...]) -> Table:
        """A row a reading."""
        ids = listed(self.columns.id)
        channel = self.columns.channel
        if not ids:
            ids, channel = self._find_ids(time, channel)
        return self._of_entities(time, ids, channel)

    def _of_entities(self, time: tuple[str, ...], ids: tuple[str, ...], channel: str | None = None) -> Table:
        taken = {*time, *ids, channel}
        rest = [name for name in self.frame.columns if name not in taken]
        texts = [name for name in rest if name in self.columns.attributes]
        if self.columns.values and channel is None:
            values = list(self.columns.values)
            refuse_unknown(self.path, "values", tuple(values), self.frame)
        else:
            left = [name for name in rest if name not in texts]
            words = [name for name in left if _is_text(self.frame[name], name)]
            texts += words
            values = [name for name in left if name not in words]
            full = [name for name in values if self.frame[name].notna().any()]
            values = full if full and len(self.frame) > 100 else values
        if not values:
            raise UserError(f"{self.path}: a long table needs id, time and value columns; it has no values")
        return self._table("long", time, ids, values, channel, texts)

    def day_wide(self) -> Table:
        """A row an entity and day, a column for each time of the day."""
        clocks = self._clocks()
        if not clocks:
            raise UserError(
                f"{self.path}: data.layout=day_wide needs columns named by even times of the day "
                "(0:30, 1:00, … or "
                "h1, h2, …, h24)"
            )
        rest = self.frame.drop(columns=list(clocks))
        time = find_times(rest, self.settings, self.path)
        ids, channel = listed(self.columns.id), self.columns.channel
        described = [name for name in rest.columns if name not in time and rest[name].notna().any()]
        empty = [name for name in rest.columns if name not in time and name not in described]
        if not ids and described:
            finder = _Finder(self.path, rest[[*time, *described]], self.settings, self.names, self.ignored)
            ids, channel = finder._find_ids(time, channel)
        texts = [name for name in described if name not in ids and name != channel]
        table = self._table("day_wide", time, ids, list(clocks), channel, texts, tuple(clocks.values()))
        return table if not empty else _ignoring(table, empty)

    def transposed(self) -> Table:
        """A row an entity, a column a time."""
        names = [name for name in self.frame.columns if re.search(r"\d{2,4}[-/.]\d", name)]
        rest = [name for name in self.frame.columns if name not in names]
        if not names or not rest:
            raise UserError(
                f"{self.path}: data.layout=transposed needs an id column and columns named by times"
            )
        ids = listed(self.columns.id) or tuple(
            [name for name in rest if names_entities(name) and self.frame[name].is_unique][:1] or rest[:1]
        )
        texts = [name for name in rest if name not in ids]
        return self._table("transposed", (), ids, names, None, texts)

    def _table(
        self,
        layout: str,
        time: tuple[str, ...],
        ids: tuple[str, ...],
        values: list[str],
        channel: str | None = None,
        texts: list[str] | None = None,
        offsets: tuple[int, ...] = (),
    ) -> Table:
        used = {*time, *ids, *values, channel, *(texts or ())}
        ignored = tuple(name for name in self.names if name not in used)
        return Table(
            layout, self.names, time, ids, tuple(values), channel, tuple(texts or ()), ignored, offsets
        )

    # ------------------------------------------------------------------------------------------------- ids

    def _find_ids(self, time: tuple[str, ...], channel: str | None) -> tuple[tuple[str, ...], str | None]:
        """The column that says whose a reading is, and the one that says which channel, if there is one."""
        names = [name for name in self._rest(time) if name != channel and self.frame[name].notna().any()]
        asked = {*self.columns.attributes, *(self.columns.values or ())}
        names = [name for name in names if name not in asked]
        words = [name for name in names if _is_text(self.frame[name], name)]
        whole = [name for name in names if pd.api.types.is_integer_dtype(self.frame[name])]
        whole = [name for name in whole if names_entities(name) or not words]
        found = self._only(time, channel, [*words, *whole])
        if found:
            return (found,), channel
        if channel is None:
            for name in words:
                if CHANNEL_NAME.search(name.lower()) and (found := self._only(time, name, [*words, *whole])):
                    return (found,), name
        shown = ", ".join(repr(name) for name in (*words, *whole)) or "no column of words or whole numbers"
        raise UserError(
            f"{self.path}: which column says whose a reading is cannot be told ({shown}); set "
            "data.columns.id to it, or "
            "to several that do together, and data.columns.channel to one that says which channel; or set "
            "data.layout=wide if each column is an entity"
        )

    def _only(self, time: tuple[str, ...], channel: str | None, names: list[str]) -> str | None:
        """The one column by which, with time and channel, readings differ."""
        stamps = self._stamps(time)
        copies = self.frame.duplicated()
        valid = []
        for name in names:
            if name == channel:
                continue
            keys = [self.frame[name].astype("str"), stamps]
            keys += [self.frame[channel].astype("str")] if channel is not None else []
            repeated = pd.concat(keys, axis=1)[~copies].duplicated().mean()
            few = MAY_REPEAT + 1 / max(1, len(self.frame)) if not names_entities(name) else NAMED_MAY_REPEAT
            recurs = self.frame[name].nunique() <= 0.5 * len(self.frame) or len(self.frame) < 8
            if repeated <= few and (recurs or names_entities(name)):
                valid.append(name)
        finest = [name for name in valid if not any(self._follows(name, other, valid) for other in valid)]
        named = [name for name in finest if names_entities(name)]
        if len(finest) <= 1 or len(named) == 1:
            best = named or finest
            return best[0] if best else None
        return self._fullest(finest, stamps)

    def _follows(self, name: str, other: str, order: list[str]) -> bool:
        """Whether `other` says more: each of its values goes with one of `name`'s alone."""
        if name == other:
            return False
        few, many = self.frame[name].nunique(), self.frame[other].nunique()
        pairs = self.frame[[name, other]].astype("str").drop_duplicates()
        if len(pairs) != many:
            return False
        if few < many:
            return names_entities(other) or not names_entities(name)
        one, two = names_entities(name), names_entities(other)  # one to one: the named or the first
        return two if one != two else order.index(other) < order.index(name)

    def _fullest(self, names: list[str], stamps: pd.Series) -> str | None:
        """Of whole numbers that may all be ids, the one that divides the readings into full series."""
        rows, times = len(self.frame), stamps.nunique()
        runs = {
            name: int((self.frame[name].to_numpy()[1:] != self.frame[name].to_numpy()[:-1]).sum()) + 1
            for name in names
        }
        full = {name: rows / (self.frame[name].nunique() * times) for name in names}
        sorted_ = [name for name in names if runs[name] == self.frame[name].nunique() > 1]
        if len(sorted_) == 1:
            return sorted_[0]
        order = sorted(names, key=lambda name: -full[name])
        return order[0] if full[order[0]] >= 4 * full[order[1]] else None


def _ignoring(table: Table, names: list[str]) -> Table:
    return replace(table, texts=tuple(name for name in table.texts if name not in names))


def _rising(clocks: dict[str, int]) -> dict[str, int]:
    """Times of day that rise by even steps, midnight at the end as 24:00; nothing if they do not."""
    seconds = list(clocks.values())
    if len(seconds) > 1 and seconds[-1] == 0:
        seconds[-1] = DAY
    steps = {after - before for before, after in pairwise(seconds)}
    if len(steps) != 1 or min(steps) <= 0 or DAY % min(steps):
        return {}
    return dict(zip(clocks, seconds))
