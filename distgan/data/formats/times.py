"""Times as they are written: which columns hold them, and what they say."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from distgan import config
from distgan.errors import UserError


@dataclass(frozen=True)
class Where:
    """Where stamps stand: the file, and the line of the i-th."""

    path: Path
    line_of: Callable[[int], int]


@dataclass(frozen=True)
class Times:
    """values: datetime64[us], as read; utc: whether they are UTC."""

    values: np.ndarray
    utc: bool
    notes: list[str] = field(default_factory=list)


def looks_like_times(values: pd.Series, settings: config.Data) -> bool:
    """Return whether most values read as times."""
    head = values.dropna().head(20)
    if pd.api.types.is_datetime64_any_dtype(head):
        return True
    if pd.api.types.is_numeric_dtype(head) or not head.astype(str).str.contains(r"\d[-/.:]\d").any():
        return False  # 0012 is an id
    return bool(pd.to_datetime(head, errors="coerce", format="mixed", utc=True).notna().mean() > 0.5)


def find_time_columns(head: pd.DataFrame, settings: config.Data, path: Path) -> list[str]:
    """Return the column of times.

    Raises:
        UserError: none reads as times.
    """
    asked = settings.columns.time
    if asked is not None:
        return [asked] if isinstance(asked, str) else list(asked)
    for name in sorted(head.columns, key=lambda name: not pd.api.types.is_datetime64_any_dtype(head[name])):
        if looks_like_times(head[name], settings):
            return [str(name)]
    raise UserError(f"{path}: no column reads as times (2013-01-01 00:00); name one with data.columns.time")


def read_times(texts: list[str], column: str, settings: config.Data, where: Where) -> Times:
    """Return the times of stamps as written, each once, over the whole file."""
    written = pd.Series(texts, name=column)
    day_first = re.match(r"\s*\d{1,2}[/.-]\d{1,2}[/.-]\d{4}", texts[0]) is not None
    candidates = [_stamps(written, order, settings) for order in ((False, True) if day_first else (False,))]
    readable = [stamps for stamps in candidates if not isinstance(stamps, Exception)]
    if not readable:
        parsed = pd.to_datetime(written, errors="coerce", format="mixed", utc=True)
        bad = np.flatnonzero(parsed.isna())
        if not len(bad):
            raise UserError(f"{where.path}: column {column!r} mixes UTC offsets or kinds of times")
        raise UserError(
            f"{where.path} line {where.line_of(int(bad[0]))}, column {column!r}: {texts[bad[0]]!r} is not a time"
        )
    found = min(readable, key=lambda stamps: len(np.unique(np.diff(np.unique(stamps)))))
    return Times(found, settings.timezone is not None and _has_offset(texts[0]))


def _stamps(column: pd.Series, day_first: bool, settings: config.Data) -> np.ndarray | Exception:
    year_first = re.match(r"\s*\d{4}-", str(column.iloc[0])) is not None
    utc = settings.timezone is not None and _has_offset(str(column.iloc[0]))
    try:
        with warnings.catch_warnings():  # where pandas would guess the order anew for each row
            warnings.simplefilter("error", UserWarning)
            form = "ISO8601" if year_first else None
            parsed = pd.to_datetime(column, dayfirst=day_first, format=form, utc=utc)
        parsed = parsed.dt.tz_localize(None) if parsed.dt.tz is not None else parsed
    except (ValueError, AttributeError, OverflowError, UserWarning) as error:
        return error
    return parsed.to_numpy().astype("M8[us]")


def _has_offset(text: str) -> bool:
    return re.search(r"\d\s*(Z|[+-]\d\d:?\d\d)$", text.strip()) is not None


def written_times(frame: pd.DataFrame, columns: list[str]) -> pd.Series:
    """Return the times of all rows as one text each, NaN where a part is missing."""
    found = frame[columns[0]].astype("str")
    for name in columns[1:]:
        found = found + " " + frame[name].astype("str")
    return found
