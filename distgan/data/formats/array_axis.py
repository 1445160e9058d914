"""The times of arrays that say when they begin and how long a step is."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from distgan.data.grid import parse_seconds
from distgan.data.store.metadata import Axis
from distgan.data.zones import find_standard_offset
from distgan.errors import UserError

NO_TIMES = Axis("2001-01-01T00:00:00", 3600, 0, leap_days=True)  # of sources that say nothing about time
START = re.compile(  # ISO 8601 as NumPy writes it, also to the hour, and what is said of its clock
    r"(?P<time>\d{4}-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d)?)?)?)?)([.,]0+)?"
    r"(?P<clock>Z|\s*[+-]\d\d(:?\d\d)?|\s*[(\[].*|\s+[A-Za-z].*|)"
)
UTC_OFFSET = re.compile(r"(?P<utc>Z|UTC|GMT)|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?")


def make_axis(path: Path, freq: str, t0: str, length: int, zone: str | None = None) -> tuple[Axis, str]:
    """Return the axis that `freq` and `t0` describe, and what is known of its clock; a nominal one where no
    `t0` says when the series begin. With a zone, times with a UTC offset become its standard time.

    Raises:
        UserError: there is a `t0`, but it or `freq` cannot be read.
    """
    step = parse_seconds(freq)
    if t0 and step is None:
        raise UserError(
            f"{path}: freq {freq!r} is no step of whole seconds (s, min, h, d or w); write 30min, 1h or 1d, "
            f"or leave out t0 {t0!r} for nominal times"
        )
    if step is None or not t0:
        said = f"freq {freq!r}, t0 {t0!r}" if freq or t0 else "no times"
        return replace(NO_TIMES, length=length), f"nominal: the source says {said}"
    start = START.fullmatch(t0.strip())
    try:
        stamp = np.datetime64(start["time"].replace(" ", "T"), "s") if start else None
    except ValueError:  # such as 31 February
        stamp = None
    if start is None or stamp is None:
        raise UserError(f"{path}: t0 {t0!r} is not a time; write 2013-01-01T00:00:00")
    clock = start["clock"].strip()
    offset = UTC_OFFSET.fullmatch(clock)
    if zone is not None and offset is not None:
        stamp = _place(stamp, offset, zone, step * length)
        clock = f"standard time of {zone} all year"
    return Axis(str(stamp), step, length, leap_days=True), clock or "as in the source"


def _place(stamp: np.datetime64, offset: re.Match[str], zone: str, seconds: int) -> np.datetime64:
    """Return a time with a UTC offset as the standard time of a zone."""
    if offset["sign"]:
        minutes = 60 * int(offset["hours"]) + int(offset["minutes"] or 0)
        stamp = stamp - np.timedelta64(minutes if offset["sign"] == "+" else -minutes, "m")
    standard, _ = find_standard_offset(zone, stamp, stamp + np.timedelta64(seconds, "s"))
    return stamp + np.timedelta64(standard // timedelta(seconds=1), "s")
