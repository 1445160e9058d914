"""Time stamps as they come, and the regular axis that series need: order, gaps, zones, resampling."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distgan.data.store import Axis
from distgan.errors import UserError

DAY = 86400


@dataclass(frozen=True)
class Grid:
    """A regular axis, and how many whole stamps of it nobody read."""

    axis: Axis
    filled: int

    def places(self, times: np.ndarray) -> np.ndarray:
        """The step of the axis that each time lies in."""
        elapsed = (times - np.datetime64(self.axis.start, "s")).astype(np.int64)
        return elapsed // self.axis.step_seconds


def common_step(times: np.ndarray) -> int:
    """Return the most common difference of rising `times`, in seconds."""
    steps, counts = np.unique(np.diff(times.astype("M8[s]")).astype(np.int64), return_counts=True)
    return int(steps[np.argmax(counts)])


def off_grid(times: np.ndarray, step: int) -> np.ndarray:
    """Return which times lie beside the grid of `step` seconds that holds the most of them: bool [n]."""
    phases = times.astype("M8[s]").astype(np.int64) % step
    values, counts = np.unique(phases, return_counts=True)
    return np.asarray(phases != values[np.argmax(counts)])


def regular(times: np.ndarray, source: str) -> Grid:
    """The regular axis of rising `times`.

    Raises:
        UserError: the stamps lie on no regular grid.
    """
    if len(times) < 2:
        raise UserError(f"{source} has {len(times)} time; two at least make a series")
    elapsed = (times - times[0]).astype(np.int64)
    step = Counter(np.diff(elapsed).tolist()).most_common(1)[0][0]
    off = np.flatnonzero(elapsed % step)
    if len(off):
        raise UserError(
            f"{source}: times are not equally spaced: {times[off[0]]} is no multiple of {step} s "
            f"after {times[0]}; resample it to a regular step (data.resample.step)"
        )
    length = int(elapsed[-1] // step) + 1
    if length > 2 * len(times):
        widest = int(np.argmax(np.diff(elapsed)))
        raise UserError(
            f"{source}: {length - len(times)} of {length} stamps are missing, most between {times[widest]} "
            f"and {times[widest + 1]}; check these dates"
        )
    return Grid(Axis(str(times[0]), int(step), length, leap_days=True), length - len(times))


def resampled(times: np.ndarray, step: int, source: str) -> Grid:
    """An axis of the asked step, from the step that holds the first time to that of the last.

    Raises:
        UserError: most steps would be empty.
    """
    first, last = (int(time.astype(np.int64)) // step for time in (times.min(), times.max()))
    there, length = len(np.unique(times.astype(np.int64) // step)), last - first + 1
    if length < 2 or length > 2 * there:
        raise UserError(
            f"{source}: in steps of {step} s, readings fall into {there} of {length}; choose another "
            "data.resample.step"
        )
    start = str(np.datetime64(first * step, "s"))
    return Grid(Axis(start, step, length, leap_days=True), length - there)


def seconds_of(text: str) -> int | None:
    """`1h` -> 3600; None for what is no whole number of seconds (`10 Hz`, `1 trading day`, nothing)."""
    match = re.fullmatch(r"(\d{0,9})\s*(s|sec|min|t|h|d|w)", text.strip().lower())
    if not match:
        return None
    units = {"s": 1, "sec": 1, "min": 60, "t": 60, "h": 3600, "d": DAY, "w": 7 * DAY}
    return int(match[1] or 1) * units[match[2]] or None


def refuse_disorder(codes: np.ndarray, times: np.ndarray, lines: np.ndarray, names: Any, path: Path) -> None:
    """Readings must rise in time within each id; `codes` and `times` are grouped by id."""
    steps = np.diff(times).astype(np.int64)
    bad = np.flatnonzero((steps <= 0) & (codes[1:] == codes[:-1]))
    if not len(bad):
        return
    place = int(bad[0]) + 1
    who = f" of {names[codes[place]]!r}" if names is not None else ""
    same = np.flatnonzero((times == times[place]) & (codes == codes[place]))
    if len(same) < 2:
        raise UserError(
            f"{path} line {lines[place]}: time {times[place]}{who} comes after {times[place - 1]}; "
            "sort by time"
        )
    hint = "; it looks like the end of daylight saving time: set data.timezone, or export in UTC"
    moment = times[place].astype(object)
    autumn = moment.month in (3, 4, 9, 10, 11) and moment.hour <= 3
    raise UserError(
        f"{path}: time {times[place]}{who} stands twice, in lines {lines[same[0]]} and {lines[same[1]]}"
        + (hint if autumn else "; remove one")
    )


def float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which data.unusable then handles
        return values.astype(np.float32)


# ------------------------------------------------------------------------------------------------- time zones


def twofold(times: np.ndarray, zone: str) -> np.ndarray:
    """Which local times stand twice on the clock, at the end of daylight saving time."""
    unique, where = np.unique(times, return_inverse=True)
    index = pd.DatetimeIndex(unique)
    early, late = (_localized(index, np.full(len(index), summer), zone, None) for summer in (True, False))
    return np.asarray(early != late)[where]


def in_standard_time(times: np.ndarray, second: np.ndarray, zone: str, utc: bool, source: str) -> np.ndarray:
    """Local (or UTC) times -> the zone's standard time all year, so that no hour is missing or stands twice.

    Args:
        second: of times that stand twice on the clock, which are the later ones.

    Raises:
        UserError: a local time does not exist in the zone (a clock put forward skips it).
    """
    instants = pd.DatetimeIndex(times)
    if not utc:
        instants = _localized(instants, ~second, zone, source).tz_localize(None)
    moment = pd.Timestamp(instants[0], tz="UTC").tz_convert(zone)
    standard = moment.utcoffset() - moment.dst()
    return (instants + standard).to_numpy().astype("M8[s]")


def _localized(
    index: pd.DatetimeIndex, summer: np.ndarray, zone: str, source: str | None
) -> pd.DatetimeIndex:
    """UTC of local times. Without `source`, times that do not exist are taken as the next that does."""
    missing: Any = "shift_forward" if source is None else "NaT"
    found = index.tz_localize(zone, ambiguous=summer, nonexistent=missing).tz_convert("UTC")
    if source is not None and found.isna().any():
        never = index[np.flatnonzero(found.isna())[0]]
        raise UserError(
            f"{source}: {never} does not exist in {zone}, where the clock is put forward then; "
            "are the times UTC or standard time? then leave data.timezone out"
        )
    return found
