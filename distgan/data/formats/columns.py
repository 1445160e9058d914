"""What the cells of columns say: words, numbers, counters, times; and names that settings give."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.advice import show_list
from distgan.data.formats.column_names import is_entity_name
from distgan.data.formats.number_format import is_number, strip_cells
from distgan.data.formats.times import Where, are_times, find_time_columns, read_times
from distgan.errors import UserError

COUNTER_NAME = re.compile(
    r"(|index|unnamed: 0(\.\d+)?|rows"
    r"|(row|rec|record|line|seq|sequence|object|obs)[_ ]?(id|no|nr|num|number)?"
    r"|fid|rownum|instant|idx|id|no|nr|#|\d+|level_0|__index_level_\d+__)",
    re.I,
)
SAMPLED_CELLS = 200  # different cells of a column that tell words from numbers
SHORTEST_DAY = np.timedelta64(23, "h")
OUTER_COLUMNS = 16  # on each side of a table that are looked at first for times


def refuse_unknown(path: Path, setting: str, names: tuple[str, ...], frame: pd.DataFrame) -> None:
    """
    Raises:
        UserError: a name that a setting gives is no column.
    """
    for name in names:
        if name not in frame.columns:
            shown = ", ".join(map(str, frame.columns[:6]))
            raise UserError(f"data.columns.{setting} {name!r} is no column of {path}; it has {shown}, …")


def refuse_nested(path: Path, frame: pd.DataFrame) -> None:
    """
    Raises:
        UserError: the cells of a column hold more than one value each.
    """
    for name in select_columns(frame, pd.api.types.is_object_dtype):
        first = next(iter(frame[name].dropna().head(1)), None)
        if isinstance(first, dict):
            what, how = "structures", "one column for each field"
        elif isinstance(first, (list, tuple, np.ndarray)):
            what, how = "lists", "a row a reading (pandas: explode)"
        else:
            continue
        raise UserError(
            f"{path}: column {name!r} holds {what}, and a cell is one value; write {how}, or set "
            f"data.columns.ignore={show_list([name])}"
        )


def list_named_columns(settings: config.Data) -> dict[str, tuple[str, ...]]:
    """Return the columns that each setting names."""
    columns = settings.columns
    known = {
        "id": make_tuple(columns.id),
        "channel": make_tuple(columns.channel),
        "time": make_tuple(columns.time),
    }
    return known | {"attributes": columns.attributes, "ignore": columns.ignore}


def make_tuple(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return one name, several or none as a tuple."""
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)


def is_counter(frame: pd.DataFrame, name: str, settings: config.Data) -> bool:
    """Return whether a column counts the rows, as an exported index does."""
    asked = {
        *make_tuple(settings.columns.id),
        *make_tuple(settings.columns.time),
        *(settings.columns.values or ()),
    }
    if name in asked or not COUNTER_NAME.fullmatch(str(name)) or len(frame) < 3 or frame.shape[1] < 3:
        return False
    if not pd.api.types.is_integer_dtype(frame[name]):
        return False
    steps = np.diff(frame[name].to_numpy())
    return bool((steps == 1).mean() > 0.9 and (steps > 0).all())


def select_columns(frame: pd.DataFrame, chosen: Callable[[Any], bool]) -> list[str]:
    """Return the columns whose type is chosen; types are asked once each."""
    kinds = frame.dtypes.tolist()
    known = {kind: chosen(kind) for kind in set(kinds)}
    return [name for name, kind in zip(frame.columns, kinds) if known[kind]]


def find_times(frame: pd.DataFrame, settings: config.Data, path: Path) -> tuple[str, ...]:
    """Return the time columns; of many columns of numbers, those at the ends are looked at first.

    Raises:
        UserError: no column holds times, or several do.
    """
    if frame.shape[1] > 2 * OUTER_COLUMNS:
        outer = {
            *frame.columns[:OUTER_COLUMNS],
            *frame.columns[-OUTER_COLUMNS:],
            *make_tuple(settings.columns.time),
        }
        floats = set(select_columns(frame, pd.api.types.is_float_dtype)) - {
            *make_tuple(settings.columns.time)
        }
        whole = set(select_columns(frame, pd.api.types.is_numeric_dtype)) - floats - outer
        try:
            return tuple(find_time_columns(frame.drop(columns=[*floats, *whole]), settings, path))
        except UserError:
            pass  # among the others, then
    return tuple(find_time_columns(frame, settings, path))


def convert_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a sample whose text columns that read as numbers, in any marks, are numbers; those of digits
    alone, as typed tables keep ids such as 007, whole ones.
    """
    found = {}
    for name in select_columns(frame, lambda kind: pd.api.types.is_string_dtype(kind)):
        cells = strip_cells(frame[name]).dropna()
        if len(cells):
            fits = np.array([is_number(cell) for cell in cells.unique()[:SAMPLED_CELLS]])
            if fits.all() and not are_times(cells, config.Data()):
                if cells.str.fullmatch(r"\d+").all():
                    codes = pd.factorize(frame[name])[0]
                    found[name] = pd.Series(codes, frame.index).astype("Int64").mask(frame[name].isna())
                else:
                    found[name] = pd.Series(np.nan, frame.index).mask(frame[name].notna(), 0.5)
        else:
            found[name] = pd.Series(np.nan, frame.index)
    return frame.assign(**found) if found else frame


def is_text(column: pd.Series, name: str) -> bool:
    """Return whether the cells are words; cells among them that are numbers may be ids, as may those of
    ids alone.
    """
    kind = column.dtype
    if pd.api.types.is_numeric_dtype(kind) or getattr(kind, "kind", "") in "mM":
        return False  # true and false, too, are readings, though of a kind that a text table may not hold
    cells = pd.Series(strip_cells(column.astype("str")).dropna().unique()[:SAMPLED_CELLS])
    if not len(cells):
        return False
    numbers = np.mean([is_number(cell) for cell in cells])
    return bool(numbers == 0 or numbers < 0.5 or (is_entity_name(name) and numbers < 0.9))


def join_times(frame: pd.DataFrame, time: tuple[str, ...]) -> pd.Series:
    """Return the cells of the time columns as text, those of several columns joined by a blank."""
    found = frame[time[0]].astype("str")
    for name in time[1:]:
        found = found + " " + frame[name].astype("str")
    return found


def are_days(
    frame: pd.DataFrame,
    time: tuple[str, ...],
    settings: config.Data,
    path: Path,
    shortest: np.timedelta64 = SHORTEST_DAY,
) -> bool:
    """Return whether the times of rows are a day or more apart, but for a change of clocks, or `shortest`."""
    cells = join_times(frame, time)
    try:
        found = read_times(cells.unique().tolist(), time[0], settings, Where(path, int)).values
    except UserError:  # is raised again, with its line, by who reads the whole column
        return not cells.str.contains(r":|T\d", regex=True).any()
    steps = np.diff(np.unique(found))
    return bool(len(steps) == 0 or steps.min() >= shortest)
