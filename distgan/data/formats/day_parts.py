"""Columns that say when within a day or an hour a row is, and are no ids."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from distgan.data.formats.advice import show_list
from distgan.data.formats.column_names import DAY, PARTS_OF_A_DAY
from distgan.data.formats.hour_labels import are_hour_labels
from distgan.errors import UserError

CLOCK = r"\d{1,2}[:.]\d\d([:.]\d\d(\.\d+)?)?(\s*[AaPp]\.?[Mm]\.?)?"
NUMBERED = re.compile(r"(?P<before>[^\d-]{0,8}?)0*(?P<number>\d{1,8})(?P<after>[^\d]{0,8})")  # 7, P07, 7h
PART_NAME = re.compile(
    r"(hour|period|interval|slot|minute|quarter|viertel|stunde|heure|hora|uur|(^|[^a-z])(h|hh|hr|he|hod|q|qh|sp|ptu|"
    r"mtu|min|mm|std|ora|ore)([^a-z]|$))"
)
ELAPSED = {"minutes": 1440, "seconds": DAY, "milliseconds": 1000 * DAY}  # of a day
FEWEST_ELAPSED = 8  # parts of a day
MOSTLY = 0.5  # share of different cells that are clock times, in a column of them with other words


def vary_within(head: pd.DataFrame, key: str | list[str], name: str) -> bool:
    """Return whether a column has several values at one date, as the quarter of a year has not."""
    return bool(head.groupby(key)[name].nunique().max() > 1)


def refuse_parts_of_hours(
    head: pd.DataFrame, times: pd.Series, clock: str, periods: list[str], path: Path
) -> None:
    """
    Args:
        times: date and hour of each row.

    Raises:
        UserError: a column numbers the quarters or minutes of the hours in `clock`.
    """
    for name in periods:
        if name != clock and head.groupby(times)[name].nunique().max() > 1:
            raise UserError(
                f"{path}: column {name!r} seems to number the parts of the hours in {clock!r}; write each "
                f"time in one column (2013-01-01 00:15), or set data.columns.ignore={show_list([name])} if "
                "it is no part of the time"
            )


def refuse_words_among_clocks(head: pd.DataFrame, names: list[str], path: Path) -> None:
    """
    Raises:
        UserError: a column beside dates holds clock times and other words, as lines of totals have.
    """
    for name in names:
        if not pd.api.types.is_string_dtype(head[name]):
            continue
        cells = [str(cell).strip() for cell in head[name].dropna().unique()[:200]]
        other = [cell for cell in cells if not re.fullmatch(CLOCK, cell)]
        if other and any(":" in cell for cell in cells) and len(other) < MOSTLY * len(cells):
            raise UserError(
                f"{path}: column {name!r} holds clock times, and also {other[0]!r}; correct these cells, or "
                f"delete the lines if they are totals; or set data.columns.id={name} if it identifies the "
                "entity"
            )


def is_name_of_parts(name: str) -> bool:
    """Return whether a column's name says that it holds hours, minutes or numbered periods."""
    return PART_NAME.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) is not None


def guess_period(numbers: pd.Series) -> str:
    """Return the likely length of numbered periods of a day, by the largest number."""
    largest = int(pd.to_numeric(numbers, errors="coerce").max())
    usual = next((usual for usual in PARTS_OF_A_DAY if usual - 1 <= largest <= usual + usual // 24), 48)
    return f"{1440 // usual}min" if usual > 24 else "1h"


def find_day_parts(cells: Sequence[str]) -> int:
    """Return into how many parts the different cells of a column number a day: 1 to 24 (or 23, or 25, where
    clocks change), P1 to P48, 00-01 to 23-24; 24 for clock times such as 0 to 2330, too; 0 where they number
    none.
    """
    if len(cells) in (23, 24, 25) and are_hour_labels(cells):
        return 24
    numbers = _number_cells(cells)
    if not numbers:
        return 0
    many, first = len(numbers), numbers[0]
    usual = next((usual for usual in PARTS_OF_A_DAY if abs(many - usual) in (0, usual // 24)), 0)
    if usual and first in (0, 1) and numbers == list(range(first, first + many)):
        return usual
    if many in PARTS_OF_A_DAY and all(number % 100 < 60 for number in numbers):
        step = DAY // many
        seconds = [number // 100 * 3600 + number % 100 * 60 for number in numbers]
        return 24 if seconds in [list(range(start, start + DAY, step)) for start in (0, step)] else 0
    return 0


def find_elapsed_unit(cells: Sequence[str]) -> str:
    """Return the unit in which the different cells of a column count from midnight through a day in even
    steps, as minutes 0, 15, … 1425; nothing where they do not.
    """
    numbers = _number_cells(cells)
    many = len(numbers)
    for unit, day in ELAPSED.items():
        step = day // max(1, many)
        even = many >= FEWEST_ELAPSED and step > 1 and day % many == 0
        if even and numbers in [list(range(start, start + day, step)) for start in (0, step)]:
            return unit
    return ""


def find_hour_parts(name: str, cells: Sequence[str]) -> int:
    """Return into how many parts the different cells of a column number an hour: minutes 0, 15, 30, 45, or 1
    to 4 in a column that is named for quarters or periods; 0 where they number none.
    """
    numbers = _number_cells(cells)
    many = len(numbers)
    if many < 2 or 60 % many:
        return 0
    step = 60 // many
    minutes = [list(range(first, first + 60, step)) for first in (0, step)]
    counted = [list(range(first, first + many)) for first in (0, 1)]
    fits = numbers in minutes or (numbers in counted and is_name_of_parts(name))
    return many if fits else 0


def _number_cells(cells: Sequence[str]) -> list[int]:
    """Return the rising numbers of cells that are alike but for them; nothing if they are not."""
    found = [NUMBERED.fullmatch(cell.strip()) for cell in cells]
    if not all(found) or len({(match["before"], match["after"]) for match in found if match}) != 1:
        return []
    return sorted(int(match["number"]) for match in found if match)
