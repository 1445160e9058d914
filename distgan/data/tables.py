"""From tables to series: wide, long, a row a day or a row an entity, in parts that fit into memory.

A sample from all over the file says how it is laid out; then each piece is parsed, in a thread or a process,
and kept on disk with its stamps as they were written. How numbers and times are written, and which of several
readings of a time counts, is decided once all pieces have been seen; where that shows that the sample misled,
they are read once more.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from distgan import config
from distgan.data.formats.column_parts import refuse_columns_of_parts
from distgan.data.formats.columns import convert_numbers, select_columns
from distgan.data.formats.csv_pieces import iterate_csv_pieces, read_sample
from distgan.data.formats.dialect import Dialect, find_dialect
from distgan.data.formats.layout import Table, find_table
from distgan.data.formats.long import Long
from distgan.data.formats.number_format import (
    NumberFormat,
    Place,
    add_texts,
    decide_marks,
    guess,
    is_number,
    list_marks,
    make_evidence,
    stack_columns,
)
from distgan.data.formats.parquet_pieces import list_parquet_pieces, sample_parquet
from distgan.data.formats.parts import Parsed
from distgan.data.formats.pieces import Piece, Source, refuse_twice, take_first_line
from distgan.data.formats.rows import Reading, read_rows
from distgan.data.formats.text import open_as_utf8
from distgan.data.formats.unclear_ids import refuse_parts_as_ids, refuse_unclear_ids
from distgan.data.formats.understood import Understood
from distgan.data.formats.wide import Wide
from distgan.data.ingest_cache import IngestCache, pack_texts
from distgan.data.workers import choose_processes, run_in_parallel

__all__ = [
    "Piece",
    "Sampled",
    "Source",
    "open_table",
    "open_text_table",
    "read_csv",
    "read_parquet",
    "read_table",
    "refuse_twice",
    "take_first_line",
]

FEW_COLUMNS, FEW_ROWS = 100, 50  # of a sample that show how numbers are written, to begin with


@dataclass
class Sampled:
    """A table before it is parsed: its pieces, rows from all over it, and how its text is laid out."""

    path: Path
    pieces: list[Piece]
    sample: pd.DataFrame
    dialect: Dialect | None = None
    per_file: bool = False
    again: Callable[[str], pd.DataFrame] | None = None  # the sample with another decimal mark


def read_csv(path: Path, settings: config.Data, work: IngestCache) -> Source:
    """Return the series of a text table."""
    return read_table(open_text_table(path, settings, work.folder), settings, work)


def open_text_table(path: Path, settings: config.Data, folder: Path) -> Sampled:
    """Return a text table before it is parsed; `folder` is for copies in UTF-8."""
    file, encoding = open_as_utf8(path, settings, folder)
    dialect = find_dialect(path, file, encoding, settings)
    again = partial(read_sample, dialect)
    return Sampled(path, list(iterate_csv_pieces(dialect)), read_sample(dialect), dialect, again=again)


def read_parquet(path: Path, settings: config.Data, work: IngestCache) -> Source:
    """Return the series of a Parquet table, read row group by row group."""
    return read_table(open_table(path, "parquet", settings, work.folder), settings, work)


def open_table(path: Path, kind: str, settings: config.Data, folder: Path) -> Sampled:
    """Return a table, text or parquet, before it is parsed; `folder` is for copies of text in UTF-8."""
    if kind == "parquet":
        pieces = list_parquet_pieces(path, folder)
        return Sampled(path, pieces, sample_parquet(path))
    return open_text_table(path, settings, folder)


# ---------------------------------------------------------------------------------------------------- parsing


def read_table(sampled: Sampled, settings: config.Data, work: IngestCache) -> Source:
    """Return the series of a table in pieces.

    Raises:
        UserError: it cannot be read, or in more than one way; names the place and the setting.
    """
    base = _guess_marks(sampled.sample, settings)
    sample = sampled.sample
    if base.decimal != "." and sampled.again is not None:
        sample = sampled.again(base.decimal)
    known = convert_numbers(sample)
    units = dict(sampled.dialect.units) if sampled.dialect else None
    table = find_table(sampled.path, known, settings, per_file=sampled.per_file, units=units)
    named = _name_entity(sampled, table)
    reading = _read_pieces(named, Reading(table, settings, base), work)
    if _may_be_long(sampled, table, settings) and _has_repeated_times(sampled.pieces, work):
        named = sampled
        table = find_table(sampled.path, known, settings, repeats=True)
        reading = _read_pieces(sampled, Reading(table, settings, base), work)
    understood = _describe_understood(sampled, reading, work)
    parsed = Parsed(sampled.path, named.pieces, work, reading, understood)
    if not table.by_entity:
        found = Wide(parsed).read_source()
        if settings.layout == "auto" and settings.columns.values is None:
            step, each = found.meta.axis.step_seconds, "data.layout=wide if each column is an entity"
            refuse_columns_of_parts(sampled.path, found.entities, step, each)
        return found
    long = Long(parsed)
    if not sampled.per_file and not table.is_single:
        refuse_parts_as_ids(long)
        if settings.layout == "auto":
            refuse_unclear_ids(long)
    found = long.read_source()
    if settings.layout == "auto" and table.layout == "long" and settings.columns.values is None:
        layout = "per_file" if sampled.per_file or table.is_single else "long"
        step, each = found.meta.axis.step_seconds, f"data.layout={layout} if each column is a channel"
        refuse_columns_of_parts(sampled.path, found.meta.channels, step, each)
    return found


def _name_entity(sampled: Sampled, table: Table) -> Sampled:
    """Return a table whose rows are all one entity's with the name of its file or folder as the entity."""
    if not table.is_single or sampled.per_file:
        return sampled
    return replace(sampled, pieces=[replace(piece, entity=sampled.path.stem) for piece in sampled.pieces])


def _may_be_long(sampled: Sampled, table: Table, settings: config.Data) -> bool:
    """Return whether the table is taken for one with a row for each time, without a setting that says so."""
    single = table.is_single and table.channel is None and table.layout == "long"
    return settings.layout == "auto" and not sampled.per_file and (table.layout == "wide" or single)


def _guess_marks(sample: pd.DataFrame, settings: config.Data) -> NumberFormat:
    """Return the likeliest way in which the table writes numbers, to begin with."""
    evidence, ways = make_evidence(), list_marks(settings)
    strings = select_columns(sample, pd.api.types.is_string_dtype)[:FEW_COLUMNS]
    if strings:
        cells = stack_columns(sample.head(FEW_ROWS), strings).dropna()
        numbers = cells[[is_number(cell) for cell in cells]]
        if len(numbers):
            add_texts(
                evidence, ["sample"], numbers.reset_index(drop=True), ways, settings.thousands == "auto"
            )
    return guess(evidence, ways)


def _read_pieces(sampled: Sampled, reading: Reading, work: IngestCache) -> Reading:
    """Parse all pieces and keep them, then those again whose numbers are written otherwise than thought."""
    _parse_pieces(sampled, reading, work)
    separator = sampled.dialect.separator if sampled.dialect else None
    found = {piece.name: work.read_facts(piece.name) for piece in sampled.pieces}
    places = [Place(piece.file, found[piece.name]["evidence"], piece.find_line) for piece in sampled.pieces]
    marks = decide_marks(places, reading.settings, separator)
    settled = replace(reading, marks=marks)
    _parse_pieces(sampled, settled, work)
    return settled


def _make_key(table: Table) -> str:
    return repr(table)


def _parse_pieces(sampled: Sampled, reading: Reading, work: IngestCache) -> None:
    todo = sampled.pieces
    keep = Keep(reading, work)
    if reading.marks is not None:
        todo = [piece for piece in todo if not keep.is_current(piece)]
        if not todo:
            return
    processes = choose_processes(reading.settings.processes, sum(piece.size for piece in todo))
    run_in_parallel(keep, todo, f"reading {sampled.path.name}", processes)


@dataclass(frozen=True)
class Keep:
    """Worker that parses a piece and keeps its part, unless an earlier reading has left it."""

    reading: Reading
    work: IngestCache

    def is_current(self, piece: Piece) -> bool:
        """Return whether the kept part of a piece was read in this way."""
        facts, marks = self.work.read_facts(piece.name), self.reading.marks
        return facts["table"] == _make_key(self.reading.table) and (
            marks is None or facts["marks"] == marks.key
        )

    def __call__(self, piece: Piece) -> None:
        there = self.work.has_part(piece.name)
        if there and self.is_current(piece):
            return
        facts, arrays = read_rows(piece, self.reading)
        if self.reading.marks is not None and there:
            facts["evidence"] = self.work.read_facts(piece.name)["evidence"]
        for key in ("stamps", "ids"):
            if key in facts:
                arrays[f"different_{key}"] = pack_texts(facts.pop(key))
        self.work.save(piece.name, facts | {"table": _make_key(self.reading.table)}, **arrays)


def _has_repeated_times(pieces: list[Piece], work: IngestCache) -> bool:
    """Return whether a time stands twice or more as a rule, as in tables of a row a reading."""
    rows, different = 0, set[str]()
    for piece in pieces:
        rows += work.read_facts(piece.name)["rows"]
        different.update(work.read_texts(piece.name, "different_stamps"))
    return len(different) < 0.45 * rows


def _describe_understood(sampled: Sampled, reading: Reading, work: IngestCache) -> Understood:
    table, dialect, marks = reading.table, sampled.dialect, reading.marks or reading.base
    facts = [work.read_facts(piece.name) for piece in sampled.pieces]
    found = Understood(
        layout=table.layout,
        time_columns=list(table.time),
        id_columns=list(table.ids),
        channel_column=table.channel,
        value_columns=list(table.values),
        ignored_columns=list(table.ignored),
        repeated_headers=sum(part["repeated_headers"] for part in facts),
        notes=list(table.notes),
    )
    if dialect is not None:
        found.encoding, found.separator = dialect.encoding, dialect.shown_separator
        found.header_line = dialect.header_line
        found.decimal, found.thousands = marks.decimal, marks.thousands or "none"
        found.skipped_rows, found.units_row = list(dialect.skipped), dict(dialect.units)
        found.stated_units = [value for kind, value, _ in dialect.stated if kind == "unit"]
        zones = {value for kind, value, _ in dialect.stated if kind == "time zone"}
        found.stated_zone = zones.pop() if len(zones) == 1 else ""
        if dialect.header_line is None:
            found.notes.append("no line names the columns: they are called column1, column2, …")
    if empty := sum(part["empty_rows"] for part in facts):
        found.notes.append(f"rows without any cell were left out: {empty:,}")
    return found
