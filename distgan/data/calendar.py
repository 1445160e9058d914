"""Calendar features of time stamps: computed when needed, never stored."""

from calendar import isleap
from datetime import date

import numpy as np

from distgan.data.grid import DAY
from distgan.data.store.metadata import Axis

FEATURES = 6
ISO_YEAR = 364 * DAY  # seconds of 52 weeks


def compute_calendar_features(times: np.ndarray) -> np.ndarray:
    """Return hour of day, day of week and day of year as points on circles: datetime64[s] [L] -> float32 [L,
    6].

    Columns: sine and cosine of the time of day, of the time of week (from Monday 0:00), of the time of year.
    """
    seconds = times.astype("M8[s]")
    day = (seconds - seconds.astype("M8[D]")).astype(np.float64) / 86400
    weekday = (seconds.astype("M8[D]").astype(np.int64) + 3) % 7  # 1 January 1970 was a Thursday
    years = seconds.astype("M8[Y]")
    length = ((years + 1).astype("M8[D]") - years.astype("M8[D]")).astype(np.float64)
    passed = (seconds.astype("M8[D]") - years.astype("M8[D]")).astype(np.float64)
    turns = 2 * np.pi * np.stack([day, (weekday + day) / 7, (passed + day) / length], axis=1)
    return np.stack([np.sin(turns), np.cos(turns)], axis=2).reshape(len(times), FEATURES).astype(np.float32)


def list_steps_of_year(year: int, step: int, length: int, keep: bool) -> np.ndarray:
    """Return the times of a year's steps of `step` seconds: datetime64[s] [length].

    Where 29 February is to be kept, it is not-a-time in common years.
    """
    if not keep or isleap(year):
        return Axis(f"{year}-01-01T00:00:00", step, length, leap_days=keep).list_times()
    common = Axis(f"{year}-01-01T00:00:00", step, 365 * DAY // step).list_times()
    day, absent = DAY // step, np.full(DAY // step, np.datetime64("NaT", "s"))
    return np.concatenate([common[: 59 * day], absent, common[59 * day :]])


def find_first_monday(year: int) -> date:
    """Return the Monday of an ISO year's first week, from 29 December to 4 January."""
    return date.fromisocalendar(year, 1, 1)


def list_steps_of_iso_year(year: int, step: int) -> np.ndarray:
    """Return the times of the steps of `step` seconds of an ISO year's first 52 weeks: datetime64[s]
    [364 days / step].
    """
    return Axis(f"{find_first_monday(year)}T00:00:00", step, ISO_YEAR // step, leap_days=True).list_times()
