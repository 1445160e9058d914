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
from distgan.data.formats.columns import names_of, with_numbers
from distgan.data.formats.csv_pieces import csv_pieces, read_sample
from distgan.data.formats.dialect import Dialect, find_dialect
from distgan.data.formats.layout import Table, find_table
from distgan.data.formats.long import Long, refuse_unclear_ids
from distgan.data.formats.marks import (
    Marks,
    Place,
    add_texts,
    allowed,
    decide,
    guess,
    no_evidence,
    reads_as_number,
    stacked,
)
from distgan.data.formats.parquet_pieces import parquet_pieces, sample_parquet
from distgan.data.formats.parts import Parsed
from distgan.data.formats.pieces import Piece, Source, first_line_of, refuse_twice
from distgan.data.formats.rows import Reading, read_rows
from distgan.data.formats.text import open_as_utf8
from distgan.data.formats.understood import Understood
from distgan.data.formats.wide import Wide
from distgan.data.ingest_cache import IngestCache, pack_texts
from distgan.data.workers import choose_processes, run_in_parallel

__all__ = [
    "Piece",
    "Sampled",
    "Source",
    "csv_source",
    "first_line_of",
    "parquet_source",
    "read_table",
    "refuse_twice",
    "table_of",
    "text_table",
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


def csv_source(path: Path, settings: config.Data, work: IngestCache) -> Source:
    """Return the series of a text table."""
    return read_table(text_table(path, settings, work.folder), settings, work)


def text_table(path: Path, settings: config.Data, folder: Path) -> Sampled:
    """Return a text table before it is parsed; `folder` is for copies in UTF-8."""
    file, encoding = open_as_utf8(path, settings, folder)
    dialect = find_dialect(path, file, encoding, settings)
    again = partial(read_sample, dialect)
    return Sampled(path, list(csv_pieces(dialect)), read_sample(dialect), dialect, again=again)


def parquet_source(path: Path, settings: config.Data, work: IngestCache) -> Source:
    """Return the series of a Parquet table, read row group by row group."""
    return read_table(table_of(path, "parquet", settings, work.folder), settings, work)


def table_of(path: Path, kind: str, settings: config.Data, folder: Path) -> Sampled:
    """Return a table, text or parquet, before it is parsed; `folder` is for copies of text in UTF-8."""
    if kind == "parquet":
        pieces = parquet_pieces(path, folder)
        return Sampled(path, pieces, sample_parquet(path))
    return text_table(path, settings, folder)


# ---------------------------------------------------------------------------------------------------- parsing


def read_table(sampled: Sampled, settings: config.Data, work: IngestCache) -> Source:
    """Return the series of a table in pieces.

    Raises:
        UserError: it cannot be read, or in more than one way; names the place and the setting.
    """
    base = _first_marks(sampled.sample, settings)
    sample = sampled.sample
    if base.decimal != "." and sampled.again is not None:
        sample = sampled.again(base.decimal)
    known = with_numbers(sample)
    table = find_table(sampled.path, known, settings, per_file=sampled.per_file)
    reading = _read_pieces(sampled, Reading(table, settings, base), work)
    if table.layout == "wide" and settings.layout == "auto" and _times_repeat(sampled.pieces, work):
        table = find_table(sampled.path, known, settings, repeats=True)
        reading = _read_pieces(sampled, Reading(table, settings, base), work)
    understood = _describe_understood(sampled, reading, work)
    parsed = Parsed(sampled.path, sampled.pieces, work, reading, understood)
    if not table.by_entity:
        return Wide(parsed).source()
    long = Long(parsed)
    if settings.layout == "auto" and not sampled.per_file:
        refuse_unclear_ids(long)
    return long.source()


def _first_marks(sample: pd.DataFrame, settings: config.Data) -> Marks:
    """The likeliest way in which the table writes numbers, to begin with."""
    evidence, ways = no_evidence(), allowed(settings)
    strings = names_of(sample, pd.api.types.is_string_dtype)[:FEW_COLUMNS]
    if strings:
        cells = stacked(sample.head(FEW_ROWS), strings).dropna()
        numbers = cells[[reads_as_number(cell) for cell in cells]]
        if len(numbers):
            add_texts(
                evidence, ["sample"], numbers.reset_index(drop=True), ways, settings.thousands == "auto"
            )
    return guess(evidence, ways)


def _read_pieces(sampled: Sampled, reading: Reading, work: IngestCache) -> Reading:
    """Parse all pieces and keep them, then those again whose numbers are written otherwise than thought."""
    _parse(sampled, reading, work)
    separator = sampled.dialect.separator if sampled.dialect else None
    found = {piece.name: work.facts(piece.name) for piece in sampled.pieces}
    places = [Place(piece.file, found[piece.name]["evidence"], piece.line) for piece in sampled.pieces]
    marks = decide(places, reading.settings, separator)
    settled = replace(reading, marks=marks)
    _parse(sampled, settled, work)
    return settled


def _key(table: Table) -> str:
    return repr(table)


def _parse(sampled: Sampled, reading: Reading, work: IngestCache) -> None:
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
    """Parses a piece and keeps its part, unless an earlier reading has left it."""

    reading: Reading
    work: IngestCache

    def is_current(self, piece: Piece) -> bool:
        """Return whether the kept part of a piece was read in this way."""
        facts, marks = self.work.facts(piece.name), self.reading.marks
        return facts["table"] == _key(self.reading.table) and (marks is None or facts["marks"] == marks.key)

    def __call__(self, piece: Piece) -> None:
        there = self.work.done(piece.name)
        if there and self.is_current(piece):
            return
        facts, arrays = read_rows(piece, self.reading)
        if self.reading.marks is not None and there:
            facts["evidence"] = self.work.facts(piece.name)["evidence"]
        for key in ("stamps", "ids"):
            if key in facts:
                arrays[f"different_{key}"] = pack_texts(facts.pop(key))
        self.work.save(piece.name, facts | {"table": _key(self.reading.table)}, **arrays)


def _times_repeat(pieces: list[Piece], work: IngestCache) -> bool:
    """Whether a time stands twice or more as a rule, as in tables of a row a reading."""
    rows, different = 0, set[str]()
    for piece in pieces:
        rows += work.facts(piece.name)["rows"]
        different.update(work.texts(piece.name, "different_stamps"))
    return len(different) < 0.45 * rows


def _describe_understood(sampled: Sampled, reading: Reading, work: IngestCache) -> Understood:
    table, dialect, marks = reading.table, sampled.dialect, reading.marks or reading.base
    facts = [work.facts(piece.name) for piece in sampled.pieces]
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
        if dialect.header_line is None:
            found.notes.append("no line names the columns: they are called column1, column2, …")
    if empty := sum(part["empty_rows"] for part in facts):
        found.notes.append(f"{empty} rows without any cell were left out")
    return found
