"""The regular axis: its step by the most common difference, and refusals that say which setting helps."""

import numpy as np
import pandas as pd
import pytest

from distgan.data.grid import (
    find_calendar_months,
    find_closest_step,
    format_duration,
    make_regular_grid,
    mark_off_grid,
    parse_seconds,
)
from distgan.errors import UserError


def seconds(times: pd.DatetimeIndex) -> np.ndarray:
    return times.to_numpy().astype("M8[s]")


HALF_HOURS = seconds(pd.date_range("2013-01-01 00:10", periods=200, freq="30min"))


def test_gaps_are_counted() -> None:
    there = np.delete(HALF_HOURS, [3, 4, 50])
    grid = make_regular_grid(there, "a.csv")
    assert (grid.axis.start, grid.axis.step_seconds, grid.axis.length) == ("2013-01-01T00:10:00", 1800, 200)
    assert grid.filled == 3
    assert grid.locate(there).tolist() == np.delete(np.arange(200), [3, 4, 50]).tolist()


@pytest.mark.parametrize("place", [0, 1, 77, 199])
def test_a_stamp_beside_the_grid_is_found_wherever_it_stands(place: int) -> None:
    times = HALF_HOURS.copy()
    times[place] += np.timedelta64(100, "s")
    assert np.flatnonzero(mark_off_grid(times, 1800)).tolist() == [place]
    with pytest.raises(UserError, match=str(times[place])):
        make_regular_grid(times, "a.csv")


@pytest.mark.parametrize("step", ["1min", "15min", "30min", "1h", "1D"])
def test_jitter_is_named_with_the_step_to_resample_to(step: str) -> None:
    times = pd.date_range("2013-01-01", periods=500, freq=step)
    late = np.random.default_rng(0).integers(0, 5, 500)
    with pytest.raises(UserError, match=r"up to \d s beside steps.*set data.resample.step=") as error:
        make_regular_grid(seconds(times + pd.to_timedelta(late, unit="s")), "a.csv")
    named = str(error.value).split("data.resample.step=")[1].split(",")[0]
    assert parse_seconds(named) == pd.Timedelta(step).total_seconds()


@pytest.mark.parametrize(
    ("freq", "what"), [("MS", "one month"), ("ME", "one month"), ("QS", "3 months"), ("YS", "12 months")]
)
def test_months_are_no_steps(freq: str, what: str) -> None:
    times = seconds(pd.date_range("2011-01-01", periods=24, freq=freq))
    with pytest.raises(UserError, match=f"times are {what} apart"):
        make_regular_grid(times, "a.csv")
    assert find_calendar_months(HALF_HOURS) is None


def test_most_stamps_missing_is_refused() -> None:
    times = np.append(HALF_HOURS, np.datetime64("2014-01-01T00:10:00"))
    with pytest.raises(
        UserError, match=r"stamps are missing in steps of 30min, most between 2013-01-05T03:40:00"
    ):
        make_regular_grid(times, "a.csv")


def test_steps_are_written_as_resample_reads_them() -> None:
    for length in (1, 30, 60, 900, 3600, 86400, 7 * 86400):
        assert parse_seconds(format_duration(length)) == length
    assert find_closest_step(1790.0) == 1800 and find_closest_step(0.0) == 1
