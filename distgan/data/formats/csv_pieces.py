"""Text tables, parsed by pandas in pieces of bounded size that end with a line."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from distgan.data.formats.dialect import BLANKS, COMMENT, Dialect, split_line
from distgan.data.formats.folded import FEWEST_COLUMNS, parse_folded
from distgan.data.formats.missing_cells import MISSING
from distgan.data.formats.number_format import classify_cell
from distgan.data.formats.pieces import Piece, take_first_line
from distgan.data.formats.text import refuse_not_utf8
from distgan.errors import UserError

PIECE_BYTES = 16 << 20  # parsed at a time by each thread or process
SAMPLE_BLOCKS, SAMPLE_BYTES = 16, 1 << 15
HEADER_BYTES = 24  # by which a header line inside a table is looked for
NAMED_APART = 64  # columns up to which missing marks are given column by column
NO_VALUES = [*MISSING, *(f"{mark} " for mark in MISSING if mark)]


@dataclass(frozen=True)
class Cells:
    """Rules for the cells of a text table.

    Attributes:
        text: columns that are read as strings; the others are numbers where all their cells are.
        decimal: the decimal mark of numbers.
        rows: how many rows are read from the first on; by default all.
        words: columns of `text` that pandas finds to be strings by itself, and reads several times faster.
    """

    text: tuple[str, ...] = ()
    decimal: str = "."
    rows: int | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Span:
    """Bytes of a text table from the start of a line to the end of one."""

    dialect: Dialect
    start: int
    stop: int

    def read_content(self) -> tuple[bytes, int]:
        """Return the lines that hold rows, and how many header lines were left out among them."""
        with open(self.dialect.file, "rb") as file:
            file.seek(self.start)
            content = file.read(self.stop - self.start)
        if b"\0" in content:
            raise UserError(
                f"{self.dialect.path} holds zero bytes near line {self.find_line(0)}; it is damaged there"
            )
        if not self._has_extras(content):
            return content, 0
        lines = content.splitlines(keepends=True)
        rows = [line for line in lines if not self._is_extra(line)]
        self._refuse_rows_as_comments(lines)
        header = self.dialect.header
        repeated = 0 if header is None else sum(line.rstrip(b"\r\n") == header for line in lines)
        return b"".join(rows), repeated

    def _has_extras(self, content: bytes) -> bool:
        marks = [COMMENT.encode()]
        if self.dialect.header is not None:
            marks.append(self.dialect.header[:HEADER_BYTES])
        # first without the line end: cells seldom hold such bytes, so the search is several times faster
        return any(
            content.startswith(mark) or (mark in content and b"\n" + mark in content) for mark in marks
        )

    def _is_extra(self, line: bytes) -> bool:
        return line.startswith(COMMENT.encode()) or (
            self.dialect.header is not None and line.rstrip(b"\r\n") == self.dialect.header
        )

    def _refuse_rows_as_comments(self, lines: list[bytes]) -> None:
        """
        Raises:
            UserError: a comment has the cells of a row, as one whose id begins with #.
        """
        for line in lines:
            if not line.startswith(COMMENT.encode()) or line.rstrip(b"\r\n") == self.dialect.header:
                continue
            _, *cells = split_line(self.dialect.separator, line[1:]) or [""]
            kinds = [classify_cell(cell) for cell in cells]
            known = kinds.count("number") + kinds.count("time")
            if len(cells) == len(self.dialect.names) - 1 and 2 * known >= max(1, len(cells)):
                shown = line.decode(errors="replace").strip()[:60]
                raise UserError(
                    f"{self.dialect.path}: the line {shown!r} begins with {COMMENT}, as comments do, and has "
                    "the cells of a row; put quotes around its first cell if it is a row, or delete the line"
                )

    def find_line(self, row: int) -> int:
        """Return the line of a row, counted from 1 in the file; blank lines and comments hold no row."""
        number = count_lines_to(self.dialect, self.start)
        with open(self.dialect.file, "rb") as file:
            file.seek(self.start)
            while file.tell() < self.stop:
                line = file.readline()
                if line.strip() and not self._is_extra(line):
                    if row == 0:
                        break
                    row -= 1
                number += 1
        return number

    def read(self, text: tuple[str, ...] = (), decimal: str = ".") -> pd.DataFrame:
        """Return the rows; the columns of `text` as written, numbers with another decimal mark as text.

        Raises:
            UserError: a line has too few or too many cells, or is not UTF-8.
        """
        return self._read(Cells(text, decimal))

    def read_as_written(self, names: tuple[str, ...], rows: int | None) -> pd.DataFrame:
        """Return columns as strings, of the first `rows` if not of all. Raises as `read`."""
        return self._read(Cells(names, rows=rows))[list(names)]

    def _read(self, cells: "Cells") -> pd.DataFrame:
        content, repeated = self.read_content()
        words = self._find_words(content, cells.text)
        frame = self._parse(content, replace(cells, words=words))
        if not all(pd.api.types.is_string_dtype(frame[name]) for name in words):  # True and False, or no cell
            frame = self._parse(content, cells)
        names = self.dialect.names
        if len(frame) and frame.iloc[:, -1].isna().any():
            self._refuse_short_lines(content)
        for name in self.dialect.empty:
            if frame[name].notna().any():
                row = int(frame[name].notna().to_numpy().argmax())
                raise UserError(
                    f"{self.dialect.path} line {self.find_line(row)}: column {names.index(name) + 1} has no "
                    "name; name it or remove it"
                )
        if self.dialect.empty or self.dialect.dropped:
            frame = frame[self.dialect.columns]
        frame.attrs["repeated_headers"] = repeated
        return frame

    def _find_words(self, content: bytes, text: tuple[str, ...]) -> tuple[str, ...]:
        """Return those columns of `text` whose first cell is no number."""
        first = split_line(self.dialect.separator, content[: content.find(b"\n") + 1 or None])
        if len(first) != len(self.dialect.names):
            return ()
        kinds = {name: classify_cell(cell) for name, cell in zip(self.dialect.names, first) if name in text}
        return tuple(name for name, found in kinds.items() if found in ("time", "text"))

    def _parse(self, content: bytes, cells: "Cells") -> pd.DataFrame:
        names, path, text = list(self.dialect.names), self.dialect.path, cells.text
        missing: Any = NO_VALUES
        if text and len(names) <= NAMED_APART:  # an entity may be called NA
            missing = {name: [""] if name in text else NO_VALUES for name in names}
        separator = self.dialect.separator

        def parse(lines: bytes, columns: list[str]) -> pd.DataFrame:
            return pd.read_csv(
                io.BytesIO(lines),
                sep=separator,
                header=None,
                names=columns,
                dtype={name: str for name in columns if name in text and name not in cells.words},
                decimal=cells.decimal,
                encoding="utf-8",
                low_memory=False,
                skipinitialspace=separator != " ",
                skip_blank_lines=len(columns) > 1,  # one column alone has empty cells
                keep_default_na=False,
                na_values=missing,
                nrows=cells.rows,
            )

        try:
            folded = None
            if len(names) >= FEWEST_COLUMNS and cells.rows is None:
                folded = parse_folded(content, names, separator, text, parse)
            frame = parse(content, names) if folded is None else folded
        except UnicodeDecodeError as error:
            raise refuse_not_utf8(path, self.start + error.start) from None
        except pd.errors.EmptyDataError:
            return pd.DataFrame({name: pd.Series(dtype=str if name in text else float) for name in names})
        except (pd.errors.ParserError, ValueError, OverflowError) as error:
            raise UserError(f"{path} is not a readable table: {self._format_error(error)}") from None
        if not isinstance(frame.index, pd.RangeIndex):
            raise UserError(
                f"{path} line {self.find_line(0)}: the lines have more cells than the header has names "
                f"({len(names)}); set data.header to the line of the names, or to none"
            )
        return frame

    def _format_error(self, error: Exception) -> str:
        """Return pandas' message, with lines as the user counts them."""
        if opened := re.search(r"EOF inside string starting at row (\d+)", str(error)):
            return (
                f"the quote in line {self.find_line(int(opened[1]))} does not end there; delete it, or, if "
                "cells hold line ends, remove these or write the table as Parquet"
            )
        return re.sub(
            r"\bline (\d+)",
            lambda found: f"line {self.find_line(max(0, int(found[1]) - 1))}",
            take_first_line(error).replace("Error tokenizing data. C error: ", ""),
        )

    def _refuse_short_lines(self, content: bytes) -> None:
        """Refuse short lines, which pandas fills with missing values: a cut file must not pass for gaps."""
        separator, wanted = self.dialect.separator, len(self.dialect.columns)
        wanted += len(self.dialect.dropped)
        hint = ""
        if separator == BLANKS and b"  " in content:
            hint = "; if columns of fixed width have empty cells, write it as CSV (pandas: read_fwf, to_csv)"
        elif separator == BLANKS:
            hint = "; if cells may be empty, set data.separator=' ' for one blank between cells"
        mark = separator.encode()
        row = 0
        for line in content.splitlines():
            if not line.strip():
                continue
            cells = len(line.split()) if separator == BLANKS else line.count(mark) + 1
            if b'"' not in line and cells < wanted:
                raise UserError(
                    f"{self.dialect.path} line {self.find_line(row)} has {cells} of {wanted} cells; the file "
                    f"is cut off or damaged there{hint}"
                )
            row += 1

    def make_piece(self, number: int) -> Piece:
        """Return the span as a piece of a table."""
        return Piece(
            f"{number:06d}",
            self.read,
            partial(self.find_line, 0),
            self.dialect.path,
            None,
            self.find_line,
            self.read_as_written,
            self.stop - self.start,
        )


def count_lines_to(dialect: Dialect, place: int) -> int:
    """Return the number of the line that begins at a byte, from 1."""
    lines, place = dialect.first_line, place - dialect.start
    with open(dialect.file, "rb") as file:
        file.seek(dialect.start)
        while place > 0:
            block = file.read(min(1 << 20, place))
            if not block:
                break
            lines, place = lines + block.count(b"\n"), place - len(block)
    return lines


def iterate_csv_pieces(dialect: Dialect) -> Iterator[Piece]:
    """Yield pieces of about `PIECE_BYTES` that end with a line."""
    for number, (start, stop) in enumerate(_iterate_spans(dialect, PIECE_BYTES)):
        yield Span(dialect, start, stop).make_piece(number)


def _iterate_spans(dialect: Dialect, size: int) -> Iterator[tuple[int, int]]:
    start, end = dialect.start, dialect.stop
    with open(dialect.file, "rb") as file:
        while start < end:
            file.seek(min(start + size, end))
            file.readline()
            stop = min(file.tell(), end)
            yield start, stop
            start = stop


def sample_spans(dialect: Dialect) -> list[Span]:
    """Return spans all over the file: all of a small one, else blocks at even distances, both ends among
    them.
    """
    end = dialect.stop
    if end - dialect.start <= SAMPLE_BLOCKS * SAMPLE_BYTES:
        return [Span(dialect, dialect.start, end)]
    found, last = [], dialect.start
    with open(dialect.file, "rb") as file:
        for number in range(SAMPLE_BLOCKS):
            place = dialect.start + (end - SAMPLE_BYTES - dialect.start) * number // (SAMPLE_BLOCKS - 1)
            start = max(place, last)
            if start > dialect.start:
                file.seek(start - 1)
                file.readline()
                start = file.tell()
            file.seek(min(start + SAMPLE_BYTES, end))
            file.readline()
            if file.tell() > start and start < end:
                last = min(file.tell(), end)
                found.append(Span(dialect, start, last))
    return found


def read_sample(dialect: Dialect, decimal: str = ".") -> pd.DataFrame:
    """Return rows from all over the file, numbers with a decimal mark as numbers.

    Raises:
        UserError: a sampled line has too few or too many cells.
    """
    spans = sample_spans(dialect)
    if len(spans) == 1:
        return spans[0].read(decimal=decimal)
    names = dialect.columns
    content = b"".join(span.read_content()[0] for span in spans)
    try:
        return Span(dialect, spans[0].start, spans[0].stop)._parse(content, Cells(decimal=decimal))[names]
    except UserError:  # once more block by block, to name the right line
        return pd.concat([span.read(decimal=decimal) for span in spans], ignore_index=True)
