"""Rows of units, or of the widths of columns, below the names of columns."""

import re
from collections.abc import Sequence

from distgan.data.formats.unit_columns import KNOWN_UNIT

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


def read_units(
    between: Sequence[Sequence[str]], above: Sequence[Sequence[str]], names: Sequence[str]
) -> dict[str, str]:
    """Return column -> unit by the row with the most well-known units, else the first one that may have some.

    Args:
        between: rows between the names and the data.
        above: rows above the names, of which most cells have to be well-known units.
    """
    rows = [cells for cells in between if len(cells) >= 2 and is_units(cells) and not _are_formats(cells)]
    clear = [cells for cells in (*between, *above) if _are_known(cells, len(names))]
    best = max((*rows, *clear), key=_count_known, default=[])
    return {name: cell.strip("()[]") for name, cell in zip(names, best) if name and cell}


def _count_known(cells: Sequence[str]) -> int:
    return sum(KNOWN_UNIT.fullmatch(cell.strip("()[] ")) is not None for cell in cells)


def _are_known(cells: Sequence[str], width: int) -> bool:
    """Return whether half of a row's cells, and two at least, are well-known units."""
    return abs(len(cells) - width) <= 1 and _count_known(cells) >= max(2, sum(map(bool, cells[1:])) / 2)
