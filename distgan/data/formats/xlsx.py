"""One sheet of an Excel workbook as text. The only home of openpyxl."""

import csv
import datetime
import errno
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from distgan.data.formats.pieces import take_first_line
from distgan.errors import UserError, writing

FIRST_DAYS = (datetime.datetime(1900, 1, 1), datetime.datetime(1904, 1, 2))  # of both ways to count days


def write_sheet_as_text(path: Path, target: Path, wanted: str | None) -> None:
    """Write the cells of a sheet, as values, to a file with tabs between them.

    Raises:
        UserError: openpyxl is not installed, the workbook is damaged, several sheets could be meant
            (data.sheet decides), or a formula has no value.
    """
    try:
        import openpyxl
    except ImportError:
        raise UserError(
            f"{path} is an Excel file, which openpyxl reads; pip install 'distgan[formats]'"
        ) from None
    try:
        with open(path, "rb") as one, open(path, "rb") as other:
            values = openpyxl.load_workbook(one, read_only=True, data_only=True)
            formulas = openpyxl.load_workbook(other, read_only=True)
            name = _choose_sheet(path, values, wanted)
            width = _check(path, values[name], formulas[name])
            _write(values[name], width, target)
    except UserError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO):
            raise
        raise _make_damaged_error(path, error) from None
    except Exception as error:  # openpyxl and the parser below raise a wide family
        raise _make_damaged_error(path, error) from None


def _write(sheet: Any, width: int, target: Path) -> None:
    with writing(target), open(target, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        above: list[Any] = [None] * width
        for row in _iterate_rows(sheet):
            cells = [*row, *[None] * (width - len(row))][:width]
            before = [None, *cells]
            cells = [_find_midnight(*three) for three in zip(cells, above, before)]
            rows.writerow([_format_cell(cell) for cell in cells])
            above = cells


def _make_damaged_error(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not a readable Excel workbook ({take_first_line(error)}); save it again")


def _choose_sheet(path: Path, workbook: Any, wanted: str | None) -> str:
    sheets = {sheet.title: sheet for sheet in workbook.worksheets}
    if wanted is not None:
        if wanted not in sheets:
            raise UserError(f"data.sheet {wanted!r} is no sheet of {path}; it has {', '.join(sheets)}")
        return wanted
    filled = [name for name, sheet in sheets.items() if _is_filled(sheet) and sheet.sheet_state == "visible"]
    if not filled:
        raise UserError(f"{path} has no visible sheet with values; name one with data.sheet")
    tables = [name for name in filled if _has_columns(sheets[name])]
    if len(filled) > 1 and len(tables) == 1:
        return tables[0]  # the others hold remarks, one below the other
    if len(filled) > 1:
        raise UserError(
            f"{path} has the sheets {', '.join(filled)}; name the one that is wanted with data.sheet"
        )
    return filled[0]


def _is_filled(sheet: Any) -> bool:
    return any(cell is not None for row in sheet.iter_rows(values_only=True) for cell in row)


def _has_columns(sheet: Any) -> bool:
    """Return whether some row has more than one cell."""
    return any(sum(cell is not None for cell in row) > 1 for row in sheet.iter_rows(values_only=True))


def _iterate_rows(sheet: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a sheet, up to the last with a value."""
    empty: list[tuple[Any, ...]] = []
    for row in sheet.iter_rows(values_only=True):
        empty.append(row)
        if any(cell is not None for cell in row):
            yield from empty
            empty = []


def _check(path: Path, values: Any, formulas: Any) -> int:
    """Check the formulas of a sheet, which have the value that Excel saved with them; return the number of
    columns with values.
    """
    width = 0
    pairs = zip_longest(
        values.iter_rows(values_only=True), formulas.iter_rows(values_only=True), fillvalue=()
    )
    for number, (row, written) in enumerate(pairs, start=1):
        for column, (value, formula) in enumerate(zip_longest(row, written)):
            if value is not None:
                width = max(width, column + 1)
            elif formula is not None:
                raise UserError(
                    f"{path} sheet {values.title!r} row {number}, column {column + 1}: the formula "
                    f"{str(formula)[:40]} "
                    "was saved without its value; open the file in Excel and save it, or save values"
                )
    return width


def _find_midnight(cell: Any, above: Any, before: Any) -> Any:
    """Return a cell, or the midnight that ends a day below or beside clock times: Excel counts it as one day
    since its first, which reads as a date.
    """
    clocks = isinstance(above, datetime.time | datetime.timedelta) or isinstance(before, datetime.time)
    return datetime.timedelta(days=1) if clocks and cell in FIRST_DAYS else cell


def _format_cell(cell: Any) -> str:
    """Return a cell as a text table has it: numbers with all their digits, times to the second."""
    if cell is None:
        return ""
    if isinstance(cell, datetime.datetime):
        near = (cell + datetime.timedelta(milliseconds=500)).replace(microsecond=0)
        # Excel counts days as floats, which are off by microseconds.
        exact = abs(near - cell) <= datetime.timedelta(milliseconds=1)
        return (near if exact else cell).isoformat(sep=" ")
    if isinstance(cell, datetime.timedelta):
        minutes, seconds = divmod(round(cell.total_seconds()), 60)
        return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return repr(cell) if isinstance(cell, float) else str(cell)
