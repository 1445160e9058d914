"""Cells of CSV files that no reader and no spreadsheet takes for anything but text, and back.

Ids, labels and channels come from a user's file, and their author may be anybody. Two things are escaped,
both in a way that can be undone:

- control characters (line ends, NUL, direction marks, lone surrogates) become `\\n`, `\\t`, `\\u202e`, …, and
  a backslash becomes two, so that every row is one line;
- text that a spreadsheet would compute (it begins with = + - @, also behind blanks, apostrophes or a `;`,
  which some spreadsheets take for the separator) gets an apostrophe before it. Numbers stay as they are.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from distgan.errors import UserError

CONTROLS = re.compile(
    "[\\\\\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
ESCAPES = re.compile(r"\\(\\|n|r|t|u[0-9a-f]{4})")
LONG = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
FORMULA = re.compile(r"(^|;)(?=[\s']*[=+\-@\uff1d\uff0b\uff0d\uff20])([^;]*)")  # also full-width signs
GUARDED = re.compile(r"(^|;)'(?=[\s']*[=+\-@\uff1d\uff0b\uff0d\uff20])([^;]*)")
NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*%?\s*")


def escape_cell(text: str) -> str:
    """Return the text of a cell as it is written; `unescape_cell` gives it back."""
    plain = CONTROLS.sub(lambda found: SHORT.get(found[0], f"\\u{ord(found[0]):04x}"), text)
    return FORMULA.sub(_guard, plain)


def unescape_cell(text: str) -> str:
    """Return the text that `escape_cell` was given."""
    plain = GUARDED.sub(lambda found: found[1] + found[2], text)
    return ESCAPES.sub(lambda found: LONG.get(found[1]) or chr(int(found[1][1:], 16)), plain)


def _guard(found: re.Match[str]) -> str:
    return found[0] if NUMBER.fullmatch(found[2]) else f"{found[1]}'{found[2]}"


def parse_csv(text: str, path: Path) -> list[list[str]]:
    """Return the rows of a CSV table, its header first; cells that `format_csv` escaped are as they were.

    Raises:
        UserError: it is no table, or a row has another number of cells than the header.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff").rstrip("\r\n"), newline=""), strict=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if not row and rows and len(rows[0]) == 1:
                row = [""]  # a blank line below a single column is an empty cell
            if row:
                rows.append(row)
                _refuse_width(row, rows[0], f"{path} line {reader.line_num}")
    except csv.Error as error:
        raise UserError(f"{path} is not a readable CSV table ({error})") from None
    return [[unescape_cell(cell) for cell in row] for row in rows]


def _refuse_width(row: list[str], header: list[str], where: str) -> None:
    if len(row) != len(header):
        raise UserError(
            f"{where} has {len(row)} cell{'' if len(row) == 1 else 's'}, and the header has {len(header)}; "
            "write as many with commas between them"
        )


def format_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a CSV table as text, one line a row; cells that are text are escaped."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([escape_cell(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue()
