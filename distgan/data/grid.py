"""The regular time axis of series: step, order, gaps, resampling."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from distgan import config
from distgan.data.store.metadata import Axis
from distgan.errors import UserError

DAY = 86400


@dataclass(frozen=True)
class Grid:
    """A regular axis, and how many whole stamps of it nobody read."""

    axis: Axis
    filled: int

    def locate(self, times: np.ndarray) -> np.ndarray:
        """Return the step of the axis that each time lies in."""
        elapsed = (times - np.datetime64(self.axis.start, "s")).astype(np.int64)
        return elapsed // self.axis.step_seconds


def find_common_step(times: np.ndarray) -> int:
    """Return the most common difference of rising `times`, in seconds."""
    steps, counts = np.unique(np.diff(times.astype("M8[s]")).astype(np.int64), return_counts=True)
    return int(steps[np.argmax(counts)])


def mark_off_grid(times: np.ndarray, step: int) -> np.ndarray:
    """Return which times lie beside the grid of `step` seconds that holds the most of them: bool [n]."""
    phases = times.astype("M8[s]").astype(np.int64) % step
    values, counts = np.unique(phases, return_counts=True)
    return np.asarray(phases != values[np.argmax(counts)])


def find_calendar_months(times: np.ndarray) -> int | None:
    """Return the step in months of rising times that fall on one day of their months, on at least half of
    them; None of all others.
    """
    months = times.astype("M8[M]")
    inside, index = times - months.astype("M8[s]"), months.astype(np.int64)
    from_end = (months + 1).astype("M8[s]") - times
    if len(times) < 2 or (len(set(inside.tolist())) > 1 and len(set(from_end.tolist())) > 1):
        return None
    gaps, counts = np.unique(np.diff(index), return_counts=True)
    step = int(gaps[np.argmax(counts)])
    if step < 1 or ((index - index[0]) % step).any():
        return None
    return step if (index[-1] - index[0]) // step + 1 <= 2 * len(times) else None


def make_regular_grid(times: np.ndarray, source: str, typical: float = 0) -> Grid:
    """Return the regular axis of rising `times`: datetime64[s] [n].

    Args:
        typical: seconds between readings of one series, for the advice; 0 if unknown.

    Raises:
        UserError: the stamps lie on no regular grid, or on less than half of it.
    """
    if len(times) < 2:
        raise UserError(f"{source} has {len(times)} time; two at least make a series")
    elapsed = (times - times[0]).astype(np.int64)
    step = find_common_step(times)
    if mark_off_grid(times, step).any():
        raise UserError(f"{source}: {_describe_unequal(times, step, typical)}")
    length = int(elapsed[-1] // step) + 1
    if length > 2 * len(times):
        widest = int(np.argmax(np.diff(elapsed)))
        raise UserError(
            f"{source}: {length - len(times)} of {length} stamps are missing in steps of "
            f"{format_duration(step)}, most between {times[widest]} and {times[widest + 1]}; check the "
            "order of day and month there (data.date_format), or choose longer steps (data.resample.step); "
            "if each series was recorded in a period of its own, write all times from one common start"
        )
    return Grid(Axis(str(times[0]), step, length, leap_days=True), length - len(times))


def _describe_unequal(times: np.ndarray, step: int, typical: float) -> str:
    """Say how times that are not equally spaced lie, and which setting helps; `typical` seconds lie between
    readings of one series, where these are measured at times of their own.
    """
    months = find_calendar_months(times)
    if months is not None:
        what = "one month" if months == 1 else f"{months} months"
        return (
            f"times are {what} apart, from {times[0]} to {times[-1]}: months differ in length, and a series "
            "has steps of equal length; give daily or hourly readings, or the values alone as an NPY array, "
            "whose steps are only counted"
        )
    beside = mark_off_grid(times, step)
    first = int(np.flatnonzero(beside)[0])
    median = float(np.median(np.diff(times).astype(np.int64)))
    whole = find_closest_step(typical if typical >= 2 * median else median)
    advice = f"set data.resample.step={format_duration(whole)}, the nearest usual step"
    phases = times.astype(np.int64) % whole
    largest = int(np.minimum(phases, whole - phases).max())
    if 0 < largest <= whole // 10:
        return (
            f"times are not equally spaced: they lie up to {largest} s beside steps of "
            f"{format_duration(whole)}, first {times[first]}; {advice}"
        )
    return (
        f"times are not equally spaced: {times[first]} is no multiple of {step} s after the others, as "
        f"are {int(beside.sum())} of {len(times)} times; correct them, or {advice}"
    )


USUAL_STEPS = [
    *(1, 2, 5, 10, 15, 20, 30),
    *(60 * minutes for minutes in (1, 2, 3, 5, 6, 10, 12, 15, 20, 30)),
    *(3600 * hours for hours in (1, 2, 3, 4, 6, 8, 12)),
    *(DAY * days for days in (1, 7, 30, 91, 365)),
]


def find_closest_step(seconds: float) -> int:
    """Return the usual length of a step, by ratio, that is closest to `seconds`."""
    return min(USUAL_STEPS, key=lambda usual: max(usual / max(seconds, 1), seconds / usual))


def format_duration(seconds: int) -> str:
    """Write a number of seconds as data.resample.step takes it: `30min`."""
    for unit, length in (("d", DAY), ("h", 3600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def make_resampled_grid(times: np.ndarray, step: int, source: str) -> Grid:
    """Return an axis of the asked step, from the step that holds the first time to that of the last.

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


def snap_to_steps(times: np.ndarray, step: int) -> tuple[np.ndarray, int] | None:
    """Return times that lie a little before and a little after the steps of a logger, which make up steps of
    `step` seconds, at the nearest of them, datetime64[us] [n], and that step. None of all others: a step
    holds what follows its time.
    """
    elapsed = times.astype("M8[us]").astype(np.int64)
    for seconds in (step, *(usual for usual in USUAL_STEPS[::-1] if usual < step and step % usual == 0)):
        size = seconds * 1_000_000
        phases = elapsed % size
        early, beside = phases > size // 2, np.minimum(phases, size - phases)
        if early.any() and not early.all() and beside.max() <= size // 10:
            return ((elapsed + size // 2) // size * size).astype("M8[us]"), seconds
    return None


def make_axis(given: config.TimeAxis) -> Axis | None:
    """Return the axis that `data.axis` gives, or None where the data decide."""
    if given.start is None or given.length is None:
        return None
    return Axis(given.start, given.step_seconds, given.length, leap_days=True)


def mark_outside(times: np.ndarray, axis: Axis) -> np.ndarray:
    """Return which times lie before the first step of an axis or after the last one: bool [n]."""
    elapsed = (times - np.datetime64(axis.start, "s")).astype("m8[s]").astype(np.int64)
    return np.asarray((elapsed < 0) | (elapsed >= axis.length * axis.step_seconds))


def make_given_grid(
    times: np.ndarray, axis: Axis, measured: Callable[[], np.ndarray] | None, source: str
) -> tuple[Grid, np.ndarray]:
    """Return the grid of a given axis, and the times that it leaves out: those outside of it, and those
    between its steps at which nobody has a reading.

    Args:
        times: rising, datetime64[s] [n].
        measured: the times at which somebody has a reading; None where all readings in a step are merged.

    Raises:
        UserError: no time lies on the axis, or readings lie between its steps.
    """
    outside = mark_outside(times, axis)
    inside = times[~outside]
    if not len(inside):
        raise UserError(describe_miss(source, axis, times[0], times[-1]))
    elapsed = (inside - np.datetime64(axis.start, "s")).astype(np.int64)
    filled = axis.length - len(np.unique(elapsed // axis.step_seconds))
    beside = inside[elapsed % axis.step_seconds != 0] if measured is not None else inside[:0]
    if measured is not None and len(beside):
        read = np.intersect1d(beside, measured())
        if len(read):
            step = format_duration(axis.step_seconds)
            raise UserError(
                f"{source}: {len(read):,} times with readings lie between the steps of data.axis, the first "
                f"{read[0]}; set data.resample.step={step}, which merges the readings of a step, or correct "
                "data.axis.start or data.axis.step"
            )
    return Grid(axis, filled), np.union1d(times[outside], beside)


def describe_miss(source: str, axis: Axis, first: np.datetime64, last: np.datetime64) -> str:
    """Return the message that no reading lies on a given axis."""
    ends = axis.list_times()[[0, -1]]
    return (
        f"{source}: no time lies on data.axis, {ends[0]} to {ends[1]}; the times are {first} to {last}: "
        "correct data.axis.start, step or length"
    )


def parse_seconds(text: str) -> int | None:
    """Return the seconds of a text, 3600 for `1h`; None for what is no whole number of seconds (`10 Hz`, `1
    trading day`, nothing).
    """
    match = re.fullmatch(r"(\d{0,9})\s*(s|sec|min|t|h|d|w)", text.strip().lower())
    if not match:
        return None
    units = {"s": 1, "sec": 1, "min": 60, "t": 60, "h": 3600, "d": DAY, "w": 7 * DAY}
    return int(match[1] or 1) * units[match[2]] or None


def to_float32(values: np.ndarray) -> np.ndarray:
    return to_kind(values, np.float32)


def to_kind(values: np.ndarray, kind: type[np.floating]) -> np.ndarray:
    """Return values as float32 or float64."""
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which data.unusable then handles
        return values.astype(kind)


def choose_kind(registers: str) -> type[np.floating]:
    """Return the type of readings until counters are differenced (data.registers): 123456.789 kWh in float32
    is off by .008, more than many hours use.
    """
    return np.float64 if registers == "difference" else np.float32
