"""Two time columns, the start and the end of an interval: the start is read, as of one cell with both."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.columns import find_times, join_times
from distgan.data.formats.time_columns import SeveralTimes, mark_words
from distgan.data.formats.times import Where, read_times
from distgan.errors import UserError

DAY = 86_400
END_NAME = re.compile(
    r"(^|[^a-z])(end|ends|ende|to|until|till|bis|stop|fin|hasta|thru|through|tot|til|do)([^a-z]|$)|end_?(time|date)"
)
SHARE_EVEN = 0.95  # of intervals that have the usual length: local times break some at clock changes


def find_end_of_intervals(
    frame: pd.DataFrame, settings: config.Data, path: Path
) -> tuple[str, tuple[str, ...]] | None:
    """Return the column of starts and those of ends, where a table has time columns for both; else None.

    An end is named like one, and lies behind its start by the same time everywhere, at most a step.
    """
    named = [name for name in frame.columns if END_NAME.search(mark_words(name))]
    if settings.columns.time is not None or not named:
        return None
    try:
        find_times(frame, settings, path)
    except SeveralTimes as several:
        ends = [way for way in several.columns if way[-1] in named or way[0] in named]
        starts = [way for way in several.columns if way not in ends]
        if len(ends) == len(starts) == 1 and _are_intervals(frame, starts[0], ends[0], settings):
            return starts[0][-1], tuple(name for name in ends[0] if name not in starts[0])
    except UserError:
        return None  # said again, by those who need the times
    return None


def _are_intervals(
    frame: pd.DataFrame, start: tuple[str, ...], end: tuple[str, ...], settings: config.Data
) -> bool:
    there = frame[[*dict.fromkeys((*start, *end))]].dropna()
    if len(there) < 2:
        return False
    try:
        first, last = (_parse_seconds(join_times(there, names), settings) for names in (start, end))
    except UserError:
        return False
    widths = last - first
    if start[0] == end[0]:
        widths = widths % DAY  # of one date
    usual = np.bincount(np.unique(widths, return_inverse=True)[1])
    width = int(np.unique(widths)[np.argmax(usual)])
    gaps = np.diff(np.unique(first))
    return bool(len(gaps) and 0 < width <= gaps.min() and usual.max() >= SHARE_EVEN * len(widths))


def _parse_seconds(texts: pd.Series, settings: config.Data) -> np.ndarray:
    """Return the seconds since 1970 of stamps, as written: int64 [n]."""
    codes, unique = pd.factorize(texts)
    plain = settings.model_copy(
        update={"timezone": None, "resample": settings.resample.model_copy(update={"step": "1s"})}
    )
    found = read_times([str(text) for text in unique], "time", plain, Where(Path(), lambda place: place))
    return np.asarray(found.values.astype("M8[s]").astype(np.int64)[codes])
