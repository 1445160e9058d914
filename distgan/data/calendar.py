"""Steps of calendar years and of ISO years."""

from calendar import isleap
from datetime import date

import numpy as np

from distgan.data.grid import DAY
from distgan.data.store.metadata import Axis

ISO_YEAR = 364 * DAY  # seconds of 52 weeks


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
