"""Columns that say when within a day or an hour a row is, and are no ids."""

import re
from pathlib import Path

import pandas as pd

from distgan.data.formats.advice import show_list
from distgan.errors import UserError

CLOCK = r"\d{1,2}[:.]\d\d([:.]\d\d(\.\d+)?)?(\s*[AaPp]\.?[Mm]\.?)?"
MOSTLY = 0.5  # share of different cells that are clock times, in a column of them with other words


def vary_within(head: pd.DataFrame, key: str, name: str) -> bool:
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
