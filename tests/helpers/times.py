"""Times as they are written, and times as they are read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.times import (
    Times,
    Where,
    read_times,
)

Write = Callable[[pd.DatetimeIndex], list[str]]


def load(texts: list[str], column: str = "time", **settings: object) -> Times:
    where = Where(Path("a.csv"), lambda place: place + 2)
    return read_times(texts, column, config.Data(**settings), where)  # type: ignore[arg-type]


def same(found: Times, times: pd.DatetimeIndex) -> None:
    np.testing.assert_array_equal(found.values, times.to_numpy().astype("M8[us]"))


def pattern(form: str) -> Write:
    return lambda times: times.strftime(form).tolist()


def until(form: str, between: str, form_of_end: str | None = None) -> Write:
    """Intervals of the step of the times."""

    def write(times: pd.DatetimeIndex) -> list[str]:
        ends = times + (times[1] - times[0])
        pairs = zip(times.strftime(form), ends.strftime(form_of_end or form))
        return [f"{start}{between}{end}" for start, end in pairs]

    return write


def number(unit: str) -> Write:
    return lambda times: [str(time) for time in times.as_unit(unit).astype("int64")]


def ends_at_24(times: pd.DatetimeIndex) -> list[str]:
    days = (times - pd.Timedelta("1D")).strftime("%Y-%m-%d 24:00")
    return [
        day if time.hour + time.minute == 0 else f"{time:%Y-%m-%d %H:%M}" for day, time in zip(days, times)
    ]


FORMS: dict[str, Write] = {
    "iso": pattern("%Y-%m-%d %H:%M:%S"),
    "iso T": pattern("%Y-%m-%dT%H:%M"),
    "fraction of zeros": pattern("%Y-%m-%d %H:%M:%S.0000000"),
    "milliseconds Z": pattern("%Y-%m-%dT%H:%M:%S.000Z"),
    "basic": pattern("%Y%m%dT%H%M%S"),
    "compact with a blank": pattern("%Y%m%d %H%M"),
    "compact": pattern("%Y%m%d%H%M"),
    "compact to the second": pattern("%Y%m%d%H%M%S"),
    "slashes dmy": pattern("%d/%m/%Y %H:%M"),
    "points dmy": pattern("%d.%m.%Y %H:%M"),
    "dashes dmy": pattern("%d-%m-%Y %H:%M:%S"),
    "slashes mdy": pattern("%m/%d/%Y %H:%M"),
    "no leading zeros": lambda times: [f"{t.month}/{t.day}/{t.year} {t.hour}:{t.minute:02d}" for t in times],
    "am pm": pattern("%m/%d/%Y %I:%M %p"),
    "am pm dmy": pattern("%d/%m/%Y %I:%M:%S%p"),
    "a.m.": lambda times: [f"{t:%m/%d/%Y %I:%M} {'ap'[t.hour // 12]}.m." for t in times],
    "narrow blank": lambda times: [f"{t:%m/%d/%Y, %I:%M}\u202f{t:%p}" for t in times],
    "two-digit year dmy": pattern("%d/%m/%y %H:%M"),
    "two-digit year mdy": pattern("%m/%d/%y %H:%M"),
    "two-digit year ymd": pattern("%y-%m-%d %H:%M"),
    "month name, two digits": pattern("%d-%b-%y %H:%M"),
    "month name": pattern("%d %b %Y %H:%M"),
    "long month name": pattern("%B %d, %Y %I:%M %p"),
    "sas": pattern("%d%b%Y:%H:%M:%S"),
    "web log": pattern("%d/%b/%Y:%H:%M:%S +0000"),
    "mail": pattern("%a, %d %b %Y %H:%M:%S GMT"),
    "ctime": pattern("%a %b %d %H:%M:%S %Y"),
    "unix date": pattern("%a %b %d %H:%M:%S UTC %Y"),
    "ymd slashes": pattern("%Y/%m/%d %H:%M"),
    "db2": pattern("%Y-%m-%d-%H.%M.%S"),
    "file name": pattern("%Y-%m-%d_%H-%M-%S"),
    "ordinal date": pattern("%Y-%jT%H:%M"),
    "week date": pattern("%G-W%V-%u %H:%M"),
    "h for hour": pattern("%d.%m.%Y %Hh%M"),
    "points in the clock": pattern("%d.%m.%Y %H.%M"),
    "UTC": pattern("%Y-%m-%d %H:%M:%S UTC"),
    "UTC in brackets": pattern("%Y-%m-%d %H:%M (UTC)"),
    "+00": pattern("%Y-%m-%d %H:%M:%S+00"),
    "+0000": pattern("%Y-%m-%d %H:%M:%S +0000"),
    "-05": pattern("%Y-%m-%d %H:%M:%S-05"),
    "UTC+1": pattern("%Y-%m-%d %H:%M UTC+1"),
    "java": pattern("%Y-%m-%dT%H:%M+00:00[UTC]"),
    "clock first": pattern("%H:%M %d/%m/%Y"),
    "midnight without clock": lambda times: [
        f"{t:%d.%m.%Y}" if t.hour + t.minute == 0 else f"{t:%d.%m.%Y %H:%M}" for t in times
    ],
    "24:00": ends_at_24,
    "hhmm numbers": lambda times: [f"{t:%Y-%m-%d} {100 * t.hour + t.minute}" for t in times],
    "epoch s": number("s"),
    "epoch ms": number("ms"),
    "epoch us": number("us"),
    "epoch ns": number("ns"),
    "epoch with a point": lambda times: [f"{time}.0" for time in times.as_unit("s").astype("int64")],
    "spreadsheet": lambda times: [
        repr(round((t - pd.Timestamp("1899-12-30")) / pd.Timedelta("1D"), 8)) for t in times
    ],
    "interval": until("%d.%m.%Y %H:%M", " - "),
    "interval with an en dash": until("%Y-%m-%d %H:%M", " – "),
    "interval of clocks": until("%Y-%m-%d %H:%M", "-", "%H:%M"),
    "interval to": until("%d/%m/%Y %I:%M %p", " to "),
    "interval iso": until("%Y-%m-%dT%H:%M", "/"),
    "interval of pandas": lambda times: [f"[{t}, {t + (times[1] - times[0])})" for t in times],
    "interval with duration": lambda times: [
        f"{t:%Y-%m-%dT%H:%M}/PT{(times[1] - times[0]).seconds // 60}M" for t in times
    ],
}


YEAR = pd.date_range("2011-12-30 22:00", periods=2 * 24 * 64, freq="30min")  # 2012 is a leap year
