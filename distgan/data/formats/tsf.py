"""Files of the Monash Time Series Forecasting Repository (.tsf): a line a series, its attributes and values.

Lines `@attribute NAME TYPE` name what stands before the values, between colons; the one of the type date is
the time of the first value. `@frequency` is the step, `?` a missing value. Source: Godahewa et al. 2021,
arXiv:2105.06643.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.advice import show_name
from distgan.data.formats.array_axis import make_axis
from distgan.data.formats.arrays import list_missing_numbers, mask_missing
from distgan.data.formats.column_names import CHANNEL_NAME, is_entity_name
from distgan.data.formats.columns import list_named_columns, make_tuple, refuse_unknown
from distgan.data.formats.entity_columns import describe_channel, holds_channels
from distgan.data.formats.pieces import Source
from distgan.data.formats.understood import Understood
from distgan.data.formats.unit_columns import refuse_mixed_attributes
from distgan.data.grid import DAY, choose_kind, format_duration
from distgan.data.ingest_cache import IngestCache, drop_pages, hash_file, read_mapped_rows
from distgan.data.store.metadata import Meta
from distgan.errors import UserError

STEPS = {"secondly": 1, "minutely": 60, "half_hourly": 1800, "hourly": 3600, "daily": DAY, "weekly": 7 * DAY}
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": DAY, "week": 7 * DAY}
UNEQUAL = ("monthly", "quarterly", "yearly")
TIME = r"\d{4}-\d\d-\d\d([ T]\d\d[-:]\d\d([-:]\d\d)?)?"
JOINED = " / "  # between the parts of an id of several attributes


@dataclass(frozen=True)
class Head:
    """What lines above the values say: names and types of attributes, and the step."""

    attributes: tuple[tuple[str, str], ...]
    frequency: str

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.attributes]

    @property
    def start(self) -> int | None:
        """The place of the attribute that is the time of the first value."""
        return next((place for place, (_, kind) in enumerate(self.attributes) if kind == "date"), None)


@dataclass(frozen=True)
class Roles:
    """The entity and channel of each series, by number, and the names of both."""

    entities: list[str]
    channels: list[str]
    places: list[tuple[int, int]]
    notes: list[str]


def read_tsf(path: Path, settings: config.Data, work: IngestCache) -> Source:
    """Return the series of a file, from the first time of all to the last.

    Raises:
        UserError: a line is malformed (named), steps differ in length, or it is not clear whose series are.
    """
    head = _read_head(path)
    cells = pd.DataFrame(
        [[line, text.count(",") + 1, *attributes] for line, attributes, text in _iterate_series(path, head)],
        columns=["(line)", "(values)", *head.names],
    )
    if cells.empty:
        raise UserError(f"{path} holds no series behind its line @data")
    step, first, starts = _find_starts(path, head, cells)
    length = int((starts + cells["(values)"].to_numpy()).max())
    roles = _find_roles(path, cells[head.names].drop(columns=_list_dates(head)), settings)
    kind, missing = choose_kind(settings.registers), list_missing_numbers(settings)
    values = work.make_matrix("values", (len(roles.entities), length, len(roles.channels)), kind)
    for number, (line, _, text) in enumerate(_iterate_series(path, head)):
        found = mask_missing(_read_values(path, line, text), missing, kind)
        entity, channel = roles.places[number]
        values[entity, starts[number] : starts[number] + len(found), channel] = found
        drop_pages(values)
    axis, clock = make_axis(path, step, first, length, settings.timezone)
    provenance = {"source": path.name, "clock": clock, "sha256": hash_file(path)}
    meta = Meta(axis, tuple(roles.channels), settings.units, provenance, {})
    block = partial(read_mapped_rows, values)
    attributes = _list_attributes(cells, head, roles, settings)
    asked = settings.columns.attributes
    refuse_mixed_attributes(path, attributes, asked, utc=False, zone=settings.timezone)
    understood = Understood(layout="tsf", attributes=list(attributes), notes=roles.notes)
    entities = roles.entities
    return Source(block, entities, list(entities), meta, attributes=attributes, understood=understood)


# ------------------------------------------------------------------------------------------------ lines


def _iterate_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that say anything, and their numbers."""
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig").strip()
            except UnicodeDecodeError:
                line = raw.decode("latin-1").strip()
            if line and not line.startswith("#"):
                yield number, line


def _read_head(path: Path) -> Head:
    attributes: list[tuple[str, str]] = []
    frequency = ""
    for number, line in _iterate_lines(path):
        if not line.startswith("@"):
            break
        word, *rest = line[1:].split()
        if word.lower() == "data":
            if not attributes:
                raise UserError(f"{path} names no attributes (@attribute series_name string) above @data")
            return Head(tuple(attributes), frequency)
        if word.lower() == "attribute":
            if len(rest) != 2 or rest[1].lower() not in ("string", "numeric", "date"):
                raise UserError(
                    f"{path} line {number}: an @attribute has a name and a type: string, numeric or date"
                )
            attributes.append((rest[0], rest[1].lower()))
        elif word.lower() == "frequency" and rest:
            frequency = rest[0].lower()
    raise UserError(f"{path} has no line @data, behind which the series of a .tsf file stand")


def _iterate_series(path: Path, head: Head) -> Iterator[tuple[int, list[str], str]]:
    """Yield the line, the attributes and the values, as text, of each series.

    Raises:
        UserError: a line has fewer or more parts than attributes are named.
    """
    behind = False
    for number, line in _iterate_lines(path):
        if not behind:
            behind = line.lower().split()[0] == "@data"
            continue
        parts = line.split(":")
        if len(parts) != len(head.attributes) + 1:
            raise UserError(
                f"{path} line {number}: {len(parts)} parts between colons, and {len(head.attributes)} "
                "attributes and the values are named above"
            )
        yield number, [part.strip() for part in parts[:-1]], parts[-1]


def _read_values(path: Path, line: int, text: str) -> np.ndarray:
    cells = [cell.strip() for cell in text.split(",")]
    try:
        return np.array(["nan" if cell == "?" else cell for cell in cells], np.float64)
    except ValueError:
        for place, cell in enumerate(cells, start=1):
            if cell != "?" and not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan", cell, re.I):
                raise UserError(
                    f"{path} line {line}: value {place} is {cell[:20]!r}, which is no number; ? is missing"
                ) from None
        raise


# ------------------------------------------------------------------------------------------------ times


def _find_starts(path: Path, head: Head, cells: pd.DataFrame) -> tuple[str, str, np.ndarray]:
    """Return the step, the first time of all (both "" if the file says nothing of times), and the step at
    which each series begins.
    """
    if head.frequency in UNEQUAL:
        raise UserError(
            f"{path}: its steps are {head.frequency}, and months differ in length; a series has steps of "
            "equal length; give daily or hourly readings, or the values alone as an NPY array, whose steps "
            "are only counted"
        )
    seconds = _parse_frequency(path, head.frequency)
    if seconds is None or head.start is None:
        return "", "", np.zeros(len(cells), np.int64)
    written = cells[head.names[head.start]]
    for line, cell in zip(cells["(line)"], written):
        if not re.fullmatch(TIME, cell):
            raise UserError(f"{path} line {line}: {cell[:30]!r} is no time; write 2013-01-01 00-00-00")
    plain = written.str.replace(r"(?<=[ T]\d\d)-|(?<=\d\d[-:]\d\d)-(?=\d\d$)", ":", regex=True)
    times = pd.to_datetime(plain, format="ISO8601", errors="coerce").to_numpy().astype("M8[s]")
    if np.isnat(times).any():
        line, cell = cells["(line)"][int(np.isnat(times).argmax())], written[int(np.isnat(times).argmax())]
        raise UserError(f"{path} line {line}: {cell[:30]!r} is no time; write 2013-01-01 00-00-00")
    elapsed = (times - times.min()).astype(np.int64)
    beside = elapsed % seconds != 0
    if beside.any():
        raise UserError(
            f"{path} line {cells['(line)'][int(beside.argmax())]}: the series begins at "
            f"{times[int(beside.argmax())]}, between the steps of the first ({times.min()}, every "
            f"{format_duration(seconds)})"
        )
    return format_duration(seconds), str(times.min()), elapsed // seconds


def _parse_frequency(path: Path, text: str) -> int | None:
    """Return the seconds of a step; None where nothing is said."""
    if not text or text in STEPS:
        return STEPS.get(text)
    match = re.fullmatch(r"(\d{1,6})_?([a-z]+?)s?", text)
    if match is None or match[2] not in UNITS or not int(match[1]):
        raise UserError(
            f"{path}: @frequency {text!r} is not known; known are {', '.join(STEPS)}, and as 10_minutes"
        )
    return int(match[1]) * UNITS[match[2]]


# ------------------------------------------------------------------------------------------------ whose


def _list_dates(head: Head) -> list[str]:
    return [name for name, kind in head.attributes if kind == "date"]


def _find_roles(path: Path, frame: pd.DataFrame, settings: config.Data) -> Roles:
    """Return whose each series is, and of which channel, by its attributes.

    Raises:
        UserError: that is not clear; names the settings that decide.
    """
    for setting, names in list_named_columns(settings).items():
        if setting != "ignore":
            refuse_unknown(path, setting, names, frame)
    ids, channel, notes = make_tuple(settings.columns.id), settings.columns.channel, list[str]()
    if frame.empty or not len(frame.columns):
        raise UserError(f"{path} names no attribute but the time; one has to name the series")
    if not ids:
        named = [name for name in frame.columns if name.lower() in ("series_name", "name", "id", "series")]
        ids = ((named or list(frame.columns))[0],)
        _refuse_other_entities(path, frame, ids[0])
        if channel is None and len(frame) > 1 and holds_channels(frame[ids[0]]):
            channel = ids[0]
            ids = ()
            notes.append(describe_channel(channel))
        elif channel is None and not frame[ids[0]].is_unique:
            channel = _find_channel(frame, ids[0])
    entities = _join(frame, ids) if ids else [path.stem] * len(frame)
    channels = [str(cell) for cell in frame[channel]] if channel is not None else ["value"] * len(frame)
    pairs = list(zip(entities, channels))
    if len(set(pairs)) < len(pairs):
        twice = next(pair for pair in pairs if pairs.count(pair) > 1)
        raise UserError(
            f"{path}: several series are named {twice[0]!r}; set data.columns.id to all attributes that "
            f"identify an entity ({', '.join(frame.columns)}), or data.columns.channel to the one that "
            "names the channel"
        )
    rows, columns = list(dict.fromkeys(entities)), list(dict.fromkeys(channels))
    row, column = ({name: place for place, name in enumerate(names)} for names in (rows, columns))
    return Roles(rows, columns, [(row[one], column[other]) for one, other in pairs], notes)


def _refuse_other_entities(path: Path, frame: pd.DataFrame, name: str) -> None:
    """
    Raises:
        UserError: another attribute is named as one of entities, of which some have several series.
    """
    for other in frame.columns:
        if other != name and is_entity_name(other) and 1 < frame[other].nunique() < frame[name].nunique():
            apart = [each for each in frame.columns if not frame[[other, each]].duplicated().any()]
            channel = min(apart or [name], key=lambda each: frame[each].nunique())
            raise UserError(
                f"{path}: several series have one {other!r}, which may be their entity; set "
                f"data.columns.id={show_name(other)} and data.columns.channel={show_name(channel)}, or "
                f"data.columns.id={show_name(name)} if each series is an entity's"
            )


def _find_channel(frame: pd.DataFrame, name: str) -> str | None:
    """Return the attribute by which series of one name differ, if it names channels."""
    for other in frame.columns:
        named = CHANNEL_NAME.search(other.lower()) is not None or holds_channels(frame[other])
        if other != name and named and not frame[[name, other]].duplicated().any():
            return str(other)
    return None


def _join(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    return [JOINED.join(map(str, row)) for row in frame[list(names)].itertuples(index=False, name=None)]


def _list_attributes(
    cells: pd.DataFrame, head: Head, roles: Roles, settings: config.Data
) -> dict[str, list[str]]:
    """Return the other attributes of each entity, of which all its series have the same."""
    used = {
        *make_tuple(settings.columns.id),
        settings.columns.channel,
        *settings.columns.ignore,
        *_list_dates(head),
    }
    found: dict[str, list[str]] = {}
    for name in head.names:
        known: dict[int, set[str]] = {}
        for (entity, _), cell in zip(roles.places, cells[name]):
            known.setdefault(entity, set()).add(cell)
        texts = [next(iter(each)) for each in known.values()]
        if name in used or any(len(each) > 1 for each in known.values()) or texts == roles.entities:
            continue
        found[name] = ["" if text == "?" else text for text in texts]
    return found
