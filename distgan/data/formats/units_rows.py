"""Rows of units, or of the widths of columns, below the names of columns."""

import re
from collections.abc import Sequence

UNIT = re.compile(
    r"\(.*\)|\[.*\]|[%°]?[A-Za-zµμΩ°%]{0,4}([/·*]?[A-Za-z]{1,8}[-\d²³]*){0,2}|-|[ymdhs:/. "
    r"-]+|float|int|string",
    re.I,
)
FORMAT = re.compile(r"\d{1,3}[snd]")  # width and type of a column, as the US Geological Survey writes them


def is_units(row: Sequence[str]) -> bool:
    """Return whether a row below the names holds units: bracketed, short, the same again, or empty; or widths
    and types, as 5s 15s 14n.
    """
    cells = [cell for cell in row[1:] if cell]
    if not cells or _are_formats(row):
        return True
    return (
        len(cells) < len(row) - 1
        or (
            all(UNIT.fullmatch(cell) for cell in cells)
            and (len(set(cells)) < len(cells) or row[0] == "" or len(cells) == 1)
        )
        or all(re.fullmatch(r"\(.*\)|\[.*\]", cell) for cell in cells)
    )


def _are_formats(row: Sequence[str]) -> bool:
    return all(FORMAT.fullmatch(cell) for cell in row)


def read_units(between: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, str]:
    """Return column -> unit by the first row of units between the names and the data."""
    for cells in between:
        if len(cells) >= 2 and is_units(cells) and not _are_formats(cells):
            return {name: cell.strip("()[]") for name, cell in zip(names, cells) if name and cell}
    return {}
