"""From tables to series: wide (a column an entity) or long (a row a reading), in parts that fit into memory.

A part is parsed in a thread and kept on disk with its stamps as they were written; which of several readings
of a date is right, and where the readings lie in time, is decided once all parts are there.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from distgan import config
from distgan.data.formats.times import Where, encode_times, find_time_columns, read_times
from distgan.data.grid import Grid, float32, refuse_disorder, regular, resampled, seconds_of
from distgan.data.store import Meta
from distgan.data.work import Work, forget, in_parallel
from distgan.data.zones import NONE_SEEN, mark_second_pass, standard_offset, to_standard_time
from distgan.errors import UserError

SEPARATORS = (",", ";", "\t", "|")
DECIMAL_COMMA = r"^\s*([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)\s*$"
PART_BYTES = 16 << 20  # of a CSV, parsed at a time by each thread
HEAD = 1000  # rows that tell which columns hold the times
NO_MARK, COMMA, POINT = 0, 1, 2  # how decimals are written


@dataclass
class Source:
    """Series of one source before any are left out; values are read a block of series at a time.

    block(first, last): float32 [last - first, L, C], NaN = missing. labels: a public class of each, if told.
    """

    block: Callable[[int, int], np.ndarray]
    entities: list[str]
    owners: list[str]
    meta: Meta
    labels: list[str] | None = None


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are, decided on its first lines."""

    names: list[str]
    times: list[str]  # one, or a date and a clock time
    entity: str | None  # of a long table

    @property
    def time(self) -> str:
        return " ".join(self.times)

    @property
    def values(self) -> list[str]:
        return [name for name in self.names if name not in (*self.times, self.entity)]


@dataclass(frozen=True)
class Piece:
    """A part of a table that fits into memory."""

    name: str
    read: Callable[..., pd.DataFrame]  # read(text=…): a column to leave as written
    first_line: Callable[[], int]  # of its first row, as the user counts lines; may have to look
    file: Path
    entity: str | None = None  # where the whole piece is one entity's


# ------------------------------------------------------------------------------------------------------ kinds


def csv_source(path: Path, settings: config.Data, work: Work) -> Source:
    header, separator = _csv_header(path)
    pieces = list(_csv_pieces(path, header, separator))
    return _source(path, pieces, settings, work)


def parquet_source(path: Path, settings: config.Data, work: Work) -> Source:
    """Row group by row group."""
    pieces = list(_parquet_pieces(path))
    return _source(path, pieces, settings, work)


def folder_source(path: Path, settings: config.Data, work: Work) -> Source:
    """One file an entity, named for it: a CSV or Parquet of times and values each."""
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in (*TEXTS, ".parquet"))
    if not files:
        raise UserError(
            f"data.source {path} is a folder without CSV or Parquet files, and no store: one file an entity "
            "is wanted"
        )
    stems = [file.stem for file in files]
    refuse_twice(stems, f"{path}: the name of a file")
    pieces = [_file_piece(number, file) for number, file in enumerate(files)]
    return _source(path, pieces, settings, work, per_file=True)


TEXTS = (".csv", ".txt", ".tsv")


def _file_piece(number: int, file: Path) -> Piece:
    def read(text: str | None = None) -> pd.DataFrame:
        if file.stat().st_size == 0:
            raise UserError(f"{file} is empty")
        if file.suffix.lower() == ".parquet":
            return pd.concat([piece.read() for piece in _parquet_pieces(file)], ignore_index=True)
        header, separator = _csv_header(file)
        return _parsed(file.read_bytes(), file, header, separator, 2)

    line = 1 if file.suffix.lower() == ".parquet" else 2
    return Piece(f"{number:06d}", read, lambda: line, file, file.stem)


def _csv_pieces(path: Path, header: list[str], separator: str) -> Iterator[Piece]:
    """Pieces of about PART_BYTES that end with a line."""
    with open(path, "rb") as file:
        first_line = file.readline()
        start, end = file.tell(), path.stat().st_size
        number = 0
        while start < end or number == 0:
            file.seek(min(start + PART_BYTES, end))
            file.readline()
            stop = file.tell()
            read = partial(_read_csv_piece, path, first_line, start, stop, header, separator)
            yield Piece(f"{number:06d}", read, partial(_line_at, path, start), path)
            start, number = stop, number + 1


def _read_csv_piece(
    path: Path,
    first_line: bytes,
    start: int,
    stop: int,
    header: list[str],
    separator: str,
    text: str | None = None,
) -> pd.DataFrame:
    with open(path, "rb") as file:
        file.seek(start)
        content = first_line + file.read(stop - start)
    try:
        return _parsed(content, path, header, separator, 2, text)
    except UserError:  # once more, to name the right line
        return _parsed(content, path, header, separator, _line_at(path, start), text)


def _line_at(path: Path, place: int) -> int:
    """The number of the line that begins at a byte, from 1."""
    lines = 1
    with open(path, "rb") as file:
        while place > 0:
            block = file.read(min(1 << 20, place))
            lines, place = lines + block.count(b"\n"), place - len(block)
    return lines


def _parquet_pieces(path: Path) -> Iterator[Piece]:
    try:
        table = parquet.ParquetFile(path)
        groups, rows = table.num_row_groups, table.metadata.num_rows
    except Exception as error:  # pyarrow raises a wide family here
        raise UserError(f"{path} is not a readable Parquet file ({first_line_of(error)})") from None
    if rows == 0 or len(table.schema_arrow.names) < 2:
        raise UserError(
            f"{path} has {rows} rows and {len(table.schema_arrow.names)} columns; times and values are wanted"
        )
    line = 1
    for group in range(groups):
        yield Piece(f"{group:06d}", partial(_read_group, path, group), partial(int, line), path)
        line += table.metadata.row_group(group).num_rows


def _read_group(path: Path, group: int, text: str | None = None) -> pd.DataFrame:
    try:
        frame = parquet.ParquetFile(path).read_row_group(group).to_pandas()
    except Exception as error:  # as above
        raise UserError(f"{path} is not a readable Parquet file ({first_line_of(error)})") from None
    if not isinstance(frame.index, pd.RangeIndex):  # an unnamed count of rows says nothing
        counted = frame.index.name is None and pd.api.types.is_integer_dtype(frame.index)
        frame = frame.reset_index(drop=counted)
    frame.columns = pd.Index([str(name) for name in frame.columns])
    refuse_twice(list(frame.columns), f"{path}: column")
    return frame.reset_index(drop=True)


def _csv_header(path: Path) -> tuple[list[str], str]:
    """Column names, and the separator that divides the first line the most and the second line alike."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = [file.readline(), file.readline()]
        if "\0" in lines[0] + lines[1]:
            raise UserError(f"{path} is not text: it holds zero bytes")
        rows = {mark: [next(csv.reader([line], delimiter=mark), []) for line in lines] for mark in SEPARATORS}
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path} has no readable header ({error})") from None
    if not lines[1].strip():
        raise UserError(f"{path} has no rows below its header")
    widths = {mark: (len(names), len(cells)) for mark, (names, cells) in rows.items()}
    mark = max(SEPARATORS, key=lambda mark: (widths[mark][0] == widths[mark][1] > 1, widths[mark][0]))
    header = [name.strip() for name in rows[mark][0]]
    if len(header) < 2:
        raise UserError(f"{path} has one column ({''.join(header)[:40]!r}); separate columns by , ; tab or |")
    refuse_twice([name for name in header if name], f"{path}: column")
    if header.count("") > 1:
        raise UserError(f"{path}: {header.count('')} columns have no name; name them or remove them")
    return header, mark


def _parsed(
    content: bytes, path: Path, header: list[str], separator: str, line: int, text: str | None = None
) -> pd.DataFrame:
    """Rows of a piece of a CSV, which begins with the file's header; its second line is the file's `line`."""
    parse = partial(_parse_csv, content, path, header, separator, line=line, text=text)
    frame = parse(decimal=".")
    mark = POINT if any(_has_fractions(frame[name]) for name in frame.columns) else NO_MARK
    if separator != "," and any(_has_decimal_comma(frame[name]) for name in _texts(frame) if name != text):
        frame, mark = _one_decimal_mark(parse(decimal=","), path, line), COMMA
    if len(frame) and frame.iloc[:, -1].isna().any():
        _refuse_short_lines(content, path, len(header), separator, line)
    frame.attrs["mark"] = mark
    return frame


def _has_fractions(column: pd.Series) -> bool:
    if not pd.api.types.is_float_dtype(column):
        return False
    values = column.to_numpy()
    return bool((np.isfinite(values) & (values != np.floor(values))).any())


def _parse_csv(
    content: bytes,
    path: Path,
    header: list[str],
    separator: str,
    decimal: str,
    line: int,
    text: str | None,
) -> pd.DataFrame:
    as_written: dict[str, Any] = {"header": 0, "names": header, "dtype": {text: str}} if text else {}
    try:
        frame = pd.read_csv(
            io.BytesIO(content),
            sep=separator,
            decimal=decimal,
            encoding="utf-8-sig",
            low_memory=False,
            skipinitialspace=True,
            **as_written,
        )
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({first_line_of(error)}); save it as UTF-8") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OverflowError) as error:
        said = re.sub(r"\bline (\d+)", lambda found: f"line {int(found[1]) + line - 2}", first_line_of(error))
        raise UserError(f"{path} is not a readable table: {said}") from None
    if not isinstance(frame.index, pd.RangeIndex) or frame.shape[1] != len(header):
        raise UserError(f"{path}: the lines have more cells than the header has names ({len(header)})")
    frame.columns = pd.Index(header)
    return frame


def _texts(frame: pd.DataFrame) -> Iterator[str]:
    return (name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name]))


def _has_decimal_comma(column: pd.Series) -> bool:
    return bool(column.astype(str).str.match(DECIMAL_COMMA).any())


def _one_decimal_mark(frame: pd.DataFrame, path: Path, line: int) -> pd.DataFrame:
    """Where commas mark decimals, text columns may hold no points: 1.234 may mean thousands."""
    for name in _texts(frame):
        cells = frame[name].astype("string")
        points = np.flatnonzero(cells.str.fullmatch(r"\s*[+-]?\d*\.\d+\s*").fillna(False))
        if len(points):
            raise UserError(
                f"{path} line {points[0] + line}, column {name!r}: {cells.iloc[points[0]]!r} has a point, "
                "other cells a comma; write one of them"
            )
        frame[name] = cells.str.replace(DECIMAL_COMMA, r"\1.\2", regex=True)
    return frame


def _refuse_short_lines(content: bytes, path: Path, columns: int, separator: str, line: int) -> None:
    """pandas fills short lines with missing values; a file that is cut off must not pass for gaps."""
    mark = separator.encode()
    for number, text in enumerate(content.splitlines(), start=line - 1):
        if text.strip() and b'"' not in text and text.count(mark) < columns - 1:
            raise UserError(
                f"{path} line {number} has {text.count(mark) + 1} of {columns} cells; "
                "the file is cut off or damaged there"
            )


# ------------------------------------------------------------------------------------------------ the columns


def _columns(path: Path, pieces: list[Piece], settings: config.Data, per_file: bool) -> Columns:
    """Decided on the first piece; whether a table is long, on the first and the last."""
    frame = pieces[0].read()
    names = list(frame.columns)
    times = find_time_columns(frame.head(HEAD), settings, pieces[0].file)
    for position, name in enumerate(names, start=1):
        if not name and name not in times:
            raise UserError(f"{path}: column {position} has no name; name it or remove it")
    if per_file:
        return Columns(names, times, None)
    layout = settings.layout
    if layout == "auto":  # in a long table each stamp stands once for every id
        parts = [frame] if len(pieces) == 1 else [frame, pieces[-1].read()]
        stamps = {text for part in parts for text in encode_times(part, times)[1]}
        layout = "long" if settings.entity or len(stamps) <= sum(map(len, parts)) / 2 else "wide"
    if layout == "wide":
        return Columns(names, times, None)
    rest = [name for name in names if name not in times]
    entity = settings.entity or rest[0]
    if entity not in rest:
        raise UserError(f"data.entity {entity!r} is no column of {path}; it has {', '.join(rest[:6])}")
    if len(rest) < 2:
        raise UserError(f"{path}: a long table needs id, time and value columns; it has no values")
    return Columns(names, times, entity)


# ---------------------------------------------------------------------------------------------------- parsing


def _source(
    path: Path, pieces: list[Piece], settings: config.Data, work: Work, per_file: bool = False
) -> Source:
    columns = _columns(path, pieces, settings, per_file)
    long = columns.entity is not None or per_file

    def keep(piece: Piece) -> None:
        if work.done(piece.name):
            return
        try:
            facts, arrays = _part(piece, columns, long, 0)
        except UserError:  # once more, to name the right line
            facts, arrays = _part(piece, columns, long, piece.first_line())
        work.save(piece.name, facts, **arrays)

    in_parallel(keep, pieces, len(pieces), f"reading {path.name}")
    parts = [piece.name for piece in pieces]
    _refuse_two_marks(path, [work.facts(name)["mark"] for name in parts])
    found = (
        _Long(path, parts, work, settings, columns) if long else _Wide(path, parts, work, settings, columns)
    )
    return found.source()


def _refuse_two_marks(path: Path, marks: list[int]) -> None:
    if {COMMA, POINT} <= set(marks):
        raise UserError(
            f"{path}: some lines write decimals with a comma, others with a point; write one of them"
        )


def _part(
    piece: Piece, columns: Columns, long: bool, first_line: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A parsed piece: stamps and ids as written, each once, and where they stand."""
    frame, path = piece.read(text=columns.entity), piece.file
    if list(frame.columns) != columns.names:
        raise UserError(
            f"{path} has the columns {', '.join(map(str, frame.columns[:6]))}, and the first file "
            f"{', '.join(columns.names[:6])}; all files need the same"
        )
    stamp_codes, stamps = encode_times(frame, columns.times)
    if (stamp_codes < 0).any():
        row = int(np.argmax(stamp_codes < 0))
        raise UserError(f"{path} line {row + first_line}: no time in column {columns.time!r}")
    numbers = _numbers(frame[columns.values], path, first_line)
    facts = {"rows": len(frame), "stamps": stamps, "mark": frame.attrs.get("mark", NO_MARK)}
    if not long:
        return facts, {"stamps": stamp_codes, "values": np.ascontiguousarray(numbers.T)}
    if piece.entity is not None:
        ids, id_codes = [piece.entity], np.zeros(len(frame), np.int32)
    else:
        ids, id_codes = _written_ids(frame[columns.entity], path, first_line)
    return facts | {"ids": ids}, {"stamps": stamp_codes, "ids": id_codes, "values": numbers}


def _written_ids(column: pd.Series, path: Path, first_line: int) -> tuple[list[str], np.ndarray]:
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0])
        raise UserError(f"{path} line {row + first_line}: no id in column {column.name!r}")
    codes, names = pd.factorize(column)
    return [str(name) for name in names], codes.astype(np.int32)


def _numbers(frame: pd.DataFrame, path: Path, first_line: int) -> np.ndarray:
    """float32 [rows, columns]; a cell that is no number is named."""
    for name in _texts(frame):
        column = frame[name]
        bad = np.flatnonzero(pd.to_numeric(column, errors="coerce").isna() & column.notna())
        if len(bad):
            raise UserError(
                f"{path} line {bad[0] + first_line}, column {name!r}: {column.iloc[bad[0]]!r} is not a "
                "number (write 1234.5; leave missing values empty)"
            )
        if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
            raise UserError(f"{path}: column {name!r} holds times; the values of a series are numbers")
        frame = frame.assign(**{name: pd.to_numeric(column, errors="coerce")})
    return float32(frame.to_numpy(dtype=np.float64, na_value=np.nan))


# ------------------------------------------------------------------------------------------- stamps and grids


class _Parts:
    """What both layouts share: the parts, their stamps each once, and where these lie in time."""

    def __init__(
        self, path: Path, parts: list[str], work: Work, settings: config.Data, columns: Columns
    ) -> None:
        self.path, self.parts, self.work, self.settings, self.columns = path, parts, work, settings, columns
        self.facts = [work.facts(name) for name in parts]
        counts = [facts["rows"] for facts in self.facts]
        self.first_lines = 2 + np.concatenate([[0], np.cumsum(counts[:-1])]).astype(np.int64)
        if path.suffix.lower() == ".parquet":
            self.first_lines -= 1
        texts = list(dict.fromkeys(stamp for facts in self.facts for stamp in facts["stamps"]))
        where = Where(path, lambda bad: self._line_of(texts[bad]))
        times = read_times(texts, columns.time, settings, where)
        self.utc, self.notes = times.utc, list(times.notes)
        self.time_of = dict(zip(texts, times.values.tolist()))
        self.span = times.values.min(), times.values.max()
        if settings.timezone is not None:
            _, note = standard_offset(settings.timezone, *self.span)
            self.notes += [note] if note else []

    def _line_of(self, text: str) -> int:
        """The first line with a stamp."""
        for number, facts in enumerate(self.facts):
            if text in facts["stamps"]:
                codes = self.work.array(self.parts[number], "stamps")
                row = int(np.flatnonzero(codes == facts["stamps"].index(text))[0])
                return int(self.first_lines[number]) + row
        raise AssertionError(text)

    def times(self, number: int) -> np.ndarray:
        """Stamps of a part's rows, as read: datetime64[us]."""
        unique = np.array([self.time_of[stamp] for stamp in self.facts[number]["stamps"]], "M8[us]")
        return unique[self.work.array(self.parts[number], "stamps")]

    def lines(self, number: int) -> np.ndarray:
        return self.first_lines[number] + np.arange(self.facts[number]["rows"])

    def seconds(self, times: np.ndarray, keys: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which times are of the second pass of a repeated hour, and the repeated hours seen so far."""
        zone = self.settings.timezone
        if zone is None or self.utc:
            return np.zeros(len(times), dtype=bool), seen
        try:
            return mark_second_pass(times, keys, seen, zone)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None

    def placed(self, times: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Whole seconds, in the zone's standard time if a zone is given: datetime64[s]."""
        if self.settings.timezone is None:
            return times.astype("M8[s]")
        zone, source = self.settings.timezone, str(self.path)
        return to_standard_time(times, second, zone, self.utc, source, self.span)

    def grid(self, times: np.ndarray) -> Grid:
        """The regular axis of all `times`, as they are or resampled."""
        step = self.settings.resample.step
        if step is None:
            return regular(times, str(self.path))
        seconds = seconds_of(step)
        assert seconds is not None, step  # config.py has checked it
        return resampled(times, seconds, str(self.path))

    def meta(self, grid: Grid, channels: tuple[str, ...]) -> Meta:
        zone = self.settings.timezone
        local = "UTC" if self.utc else "as in the source"
        clock = local if zone is None else f"standard time of {zone} all year"
        provenance: dict[str, Any] = {"source": self.path.name, "clock": clock}
        provenance["missing_stamps"] = grid.filled
        if self.notes:
            provenance["times"] = "; ".join(self.notes)
        if self.settings.resample.step is not None:
            provenance["resampled"] = f"{self.settings.resample.method} over {self.settings.resample.step}"
        return Meta(grid.axis, channels, self.settings.units, provenance, {})


class _Wide(_Parts):
    """One column an entity."""

    def source(self) -> Source:
        written = np.concatenate([self.times(number) for number in range(len(self.parts))])
        lines = np.concatenate([self.lines(number) for number in range(len(self.parts))])
        one = np.zeros(len(written), dtype=int)
        times = self.placed(written, self.seconds(written, one, NONE_SEEN)[0])
        if self.settings.resample.step is None:
            refuse_disorder(one, times, lines, None, self.path)
        grid = self.grid(times)
        places = grid.places(times)
        names, pace = self.columns.values, _Pace(1)
        if self.settings.resample.method == "sum":
            pace.learn(one, written)
        whole = int(pace.whole(grid.axis.step_seconds)[0])
        block = partial(self._block, grid, places, whole)
        return Source(block, names, list(names), self.meta(grid, ("value",)))

    def _block(self, grid: Grid, places: np.ndarray, whole: int, first: int, last: int) -> np.ndarray:
        readings = np.empty((last - first, len(places)), np.float32)
        for name, start, facts in zip(self.parts, self.first_lines - self.first_lines[0], self.facts):
            # one part open at a time: a process may open about a thousand files
            readings[:, start : start + facts["rows"]] = self.work.array(name, "values")[first:last]
        if self.settings.resample.step is not None:
            method = self.settings.resample.method
            return _merged(readings, places, grid.axis.length, method, whole)[:, :, None]
        values = np.full((last - first, grid.axis.length, 1), np.nan, dtype=np.float32)
        values[:, places, 0] = readings
        return values


class _Pace:
    """How many readings make a step whole, so that a sum leaves none out: learned from the time between the
    readings of each id.

    A reading that stands twice counts twice. Where fewer than two thirds of those times are the same, no
    number tells what is missing: every sum of uneven readings is of those that were measured.
    """

    def __init__(self, ids: int) -> None:
        self._total = np.zeros(ids, np.int64)
        self._last = np.full(ids, np.iinfo(np.int64).min)  # the latest time so far, in microseconds
        self._tallies: list[pd.Series] = []  # of (id, microseconds between), folded into one

    def learn(self, codes: np.ndarray, times: np.ndarray) -> None:
        """Readings of a part, in any order: whose [rows], datetime64[us] [rows]. An id's first reading of a
        part follows the last one of the parts before.
        """
        ids, stamps = np.unique(codes), times.astype("M8[us]").astype(np.int64)
        known = ids[self._last[ids] > np.iinfo(np.int64).min]
        codes, stamps = np.concatenate([known, codes]), np.concatenate([self._last[known], stamps])
        np.maximum.at(self._last, codes, stamps)
        order = np.lexsort((stamps, codes))
        whose, gaps = codes[order], np.diff(stamps[order])
        inside = (whose[1:] == whose[:-1]) & (gaps > 0)
        whose, gaps = whose[1:][inside], gaps[inside]
        if not len(gaps):
            return
        self._total += np.bincount(whose, minlength=len(self._total))
        found = pd.DataFrame({"id": whose, "gap": gaps}).value_counts()
        commonest = found.groupby(level="id").head(1)  # of each id; all would be as many as the readings
        self._tallies = [pd.concat([*self._tallies, commonest]).groupby(level=["id", "gap"]).sum()]

    def whole(self, step_seconds: int) -> np.ndarray:
        """Readings of each id that a step has at least if none is missing: int64 [ids]."""
        whole = np.ones(len(self._total), np.int64)
        for tallies in self._tallies:
            best = tallies.sort_values(kind="stable").groupby(level="id").tail(1)
            ids, gaps = (best.index.get_level_values(level).to_numpy() for level in ("id", "gap"))
            even = 3 * best.to_numpy() >= 2 * self._total[ids]
            whole[ids[even]] = np.maximum(step_seconds * 1_000_000 // gaps[even], 1)
        return whole


def _least(counts: np.ndarray, whole: np.ndarray | int) -> np.ndarray:
    """Measured readings that a step needs: as many as make it whole, or as any step of its series has, which
    may be read more seldom than others of its table. Counts [n, L, ...] -> [n, 1, ...].
    """
    return np.minimum(np.max(counts, axis=1, keepdims=True), whole).clip(min=1)


def _merged(readings: np.ndarray, places: np.ndarray, length: int, method: str, whole: int = 1) -> np.ndarray:
    """Sum or mean of the readings that fall into each step: [n, rows], [rows] -> [n, length]. A sum with
    fewer than `whole` readings is missing, as an empty step is.
    """
    order = np.argsort(places, kind="stable")
    bins, starts = np.unique(places[order], return_index=True)
    measured = ~np.isnan(readings[:, order])
    sums = np.add.reduceat(np.where(measured, readings[:, order], 0).astype(np.float64), starts, axis=1)
    counts = np.add.reduceat(measured, starts, axis=1, dtype=np.int64)
    found = sums / np.maximum(counts, 1) if method == "mean" else sums
    values = np.full((len(readings), length), np.nan, dtype=np.float32)
    values[:, bins] = float32(np.where(counts >= _least(counts, whole), found, np.nan))
    return values


class _Long(_Parts):
    """One row a reading: id, time, one column a channel. Readings are dealt into an array on disk."""

    def source(self) -> Source:
        names = list(dict.fromkeys(name for facts in self.facts for name in facts["ids"]))
        self.code_of = {name: code for code, name in enumerate(names)}
        grid = self.grid(self._all_stamps())
        channels = tuple(self.columns.values)
        shape = (len(names), grid.axis.length, len(channels))
        merging = self.settings.resample.step is not None
        values = self.work.matrix("values", shape, 0 if merging else np.nan)
        counts = self.work.matrix("counts", shape, 0) if merging else None
        self._last = np.zeros((len(names), 2), np.int64)  # of each id: the last time, and its line
        pace = _Pace(len(names))
        for number in range(len(self.parts)):
            self._deal(number, grid, names, values, counts)
            if merging and self.settings.resample.method == "sum":
                pace.learn(self._codes(number), self.times(number))
        block = partial(self._block, values, counts, pace.whole(grid.axis.step_seconds))
        return Source(block, names, list(names), self.meta(grid, channels))

    def _codes(self, number: int) -> np.ndarray:
        """Whose each reading of a part is."""
        unique = np.array([self.code_of[name] for name in self.facts[number]["ids"]])
        return unique[self.work.array(self.parts[number], "ids")]

    def _all_stamps(self) -> np.ndarray:
        """Every time at which anyone was read, once, rising; learns which are the later of two alike."""
        self._second: list[np.ndarray | None] = [None] * len(self.parts)
        if self.settings.timezone is None:
            return np.unique(np.array(list(self.time_of.values()), "M8[us]").astype("M8[s]"))
        found, seen = [], NONE_SEEN
        for number in range(len(self.parts)):
            times = self.times(number)
            second, seen = self.seconds(times, self._codes(number), seen)
            self._second[number] = np.flatnonzero(second)
            found.append(np.unique(self.placed(times, second)))
        return np.unique(np.concatenate(found))

    def _when(self, number: int) -> np.ndarray:
        """The times of a part's readings, as the axis has them."""
        times, later = self.times(number), self._second[number]
        second = np.zeros(len(times), dtype=bool)
        if later is not None:
            second[later] = True
        return self.placed(times, second)

    def _deal(
        self, number: int, grid: Grid, names: list[str], values: np.memmap, counts: np.memmap | None
    ) -> None:
        """Put a part's readings in their places."""
        times, codes, lines = self._when(number), self._codes(number), self.lines(number)
        readings = np.asarray(self.work.array(self.parts[number], "values"))
        places = grid.places(times)
        if counts is not None:
            measured = ~np.isnan(readings)
            np.add.at(values, (codes, places), np.where(measured, readings, 0))
            np.add.at(counts, (codes, places), measured.astype(np.float32))
            forget(counts)
        else:
            self._refuse_disorder(codes, times, lines, names)
            values[codes, places] = readings
        forget(values)

    def _refuse_disorder(
        self, codes: np.ndarray, times: np.ndarray, lines: np.ndarray, names: list[str]
    ) -> None:
        """Readings rise in time within each id, also from part to part."""
        there = np.unique(codes)
        before = there[self._last[there, 1] > 0]
        whose = np.concatenate([before, codes])
        order = np.argsort(whose, kind="stable")
        whose = whose[order]
        when = np.concatenate([self._last[before, 0].astype("M8[s]"), times])[order]
        line = np.concatenate([self._last[before, 1], lines])[order]
        refuse_disorder(whose, when, line, names, self.path)
        ends = np.append(np.flatnonzero(np.diff(whose)), len(whose) - 1)
        self._last[whose[ends]] = np.stack([when[ends].astype(np.int64), line[ends]], axis=1)

    def _block(
        self, values: np.memmap, counts: np.memmap | None, whole: np.ndarray, first: int, last: int
    ) -> np.ndarray:
        found = np.array(values[first:last])
        if counts is not None:
            many = np.array(counts[first:last])
            if self.settings.resample.method == "mean":
                found /= np.maximum(many, 1)
            found[many < _least(many, whole[first:last, None, None])] = np.nan
        return found


def refuse_twice(names: list[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{what} {name!r} stands {names.count(name)} times; names must differ")
        seen.add(name)


def first_line_of(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
