"""Series of one year in another: weekdays, 29 February, changes of the clock, holidays."""

from pathlib import Path

import numpy as np
import pytest

from distgan import config
from distgan.data.another_year import AnotherYear, find_year
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError
from distgan.pipeline.output_transform import OutputTransform

LONDON = "Europe/London"


def meta(start: str = "2013-01-01T00:00:00", step: int = 3600, days: int = 365, **provenance: object) -> Meta:
    return Meta(Axis(start, step, days * 86400 // step, leap_days=True), ("kWh",), "kWh", provenance, {})


def days_of(times: np.ndarray, per_day: int = 24) -> np.ndarray:
    return times[::per_day].astype("M8[D]")


def weekday(days: np.ndarray) -> np.ndarray:
    return (days.astype(int) + 3) % 7


@pytest.mark.parametrize(
    ("start", "count"),
    [("2027-01-01", 365), ("2028-01-01", 366), ("2027-07-01", 366), ("2028-02-29", 366), ("2014-03-01", 365)],
)
def test_weekdays_and_seasons_are_those_of_the_wanted_year(start: str, count: int) -> None:
    year = AnotherYear.choose(meta(), start)
    times, trained = year.axis.list_times(), meta().axis.list_times()
    wanted, source = days_of(times), days_of(trained)[year.steps[::24] // 24]
    assert str(times[0]) == f"{start}T00:00:00" and len(times) == len(year.steps) == 24 * count
    assert (np.diff(times) == np.timedelta64(1, "h")).all()
    np.testing.assert_array_equal(weekday(wanted), weekday(source))
    day = [days - days.astype("M8[Y]").astype("M8[D]") for days in (wanted, source)]
    away = np.abs((day[0] - day[1]).astype(int))
    assert np.minimum(away, 365 - away).max() <= 5
    np.testing.assert_array_equal(year.steps % 24, np.arange(len(times)) % 24)  # hours stay
    jumps = np.diff(year.steps[::24] // 24) != 1
    assert jumps.sum() <= 4  # whole weeks follow each other


def test_29_february_is_there_when_the_calendar_has_it() -> None:
    leap = AnotherYear.choose(meta(), "2028-01-01").axis.list_times()
    assert np.datetime64("2028-02-29") in leap.astype("M8[D]") and str(leap[-1]) == "2028-12-31T23:00:00"
    from_leap = AnotherYear.choose(meta("2024-01-01T00:00:00", days=366), "2027-01-01")
    assert len(from_leap.steps) == 8760 and from_leap.steps.max() <= 366 * 24 - 1
    without = Meta(Axis("2024-01-01T00:00:00", 3600, 8760, leap_days=False), ("kWh",), "", {}, {})
    year = AnotherYear.choose(without, "2027-01-01")
    source = days_of(without.axis.list_times())[year.steps[::24] // 24]
    np.testing.assert_array_equal(weekday(days_of(year.axis.list_times())), weekday(source))


@pytest.mark.parametrize(
    ("year", "winter", "summer"),
    [("2027", "03-27 10-31 12-24", "03-28 06-01 10-30"), ("2028", "03-25 10-29", "03-26 10-28")],
)
def test_the_clock_changes_when_it_does_in_the_wanted_year(year: str, winter: str, summer: str) -> None:
    """People get up at 7:00 on the wall: 7:00 standard time in winter, 6:00 in summer. In 2013 summer time is
    31 March to 27 October, in 2027 28 March to 31 October, in 2028 26 March to 29 October.
    """
    trained = meta().axis.list_times()
    early = (trained >= np.datetime64("2013-03-31T01:00")) & (trained < np.datetime64("2013-10-27T01:00"))
    morning = ((np.arange(8760) + early) % 24 == 7).astype(np.float32)[None, :, None]
    moved = AnotherYear.choose(meta(), f"{year}-01-01", LONDON)
    times = moved.axis.list_times()
    hour = {str(time)[5:10]: int(str(time)[11:13]) for time in times[moved.move(morning)[0, :, 0] == 1]}
    assert len(hour) == len(times) // 24
    assert [hour[day] for day in winter.split()] == [7] * len(winter.split())
    assert [hour[day] for day in summer.split()] == [6] * len(summer.split())
    assert "days are moved by its clock changes" in " ".join(moved.assumptions)


def test_without_a_zone_or_with_long_steps_the_clock_stays_and_the_page_says_so() -> None:
    plain = AnotherYear.choose(meta(), "2028-01-01")
    assert (plain.steps % 24 == np.arange(len(plain.steps)) % 24).all()
    assert "data.timezone names no zone" in " ".join(plain.assumptions)
    coarse = AnotherYear.choose(meta(step=14400), "2028-01-01", LONDON)
    assert (coarse.steps % 6 == np.arange(len(coarse.steps)) % 6).all()
    assert "are no whole steps of 14400 s" in " ".join(coarse.assumptions)
    half = AnotherYear.choose(meta(), "2028-01-01", "Australia/Lord_Howe")  # half an hour of summer time
    assert (half.steps % 24 == np.arange(len(half.steps)) % 24).all()
    assert "are no whole steps of 3600 s" in " ".join(half.assumptions)


def test_a_year_that_no_calendar_ends_is_refused() -> None:
    with pytest.raises(UserError, match="the year from 9999-01-01 ends after 9999-12-31") as caught:
        config.Config().with_values({"generate.start": "9999-01-01"}, "sample")
    assert "\n" not in str(caught.value)
    assert find_year(meta(), "9998-01-01", config.Data()) is not None


def test_holidays_are_holidays_and_no_other_day_is() -> None:
    pytest.importorskip("holidays")
    year = AnotherYear.choose(meta(), "2027-01-01", LONDON, "GB-ENG")
    noon = year.steps[12::24] // 24
    source = dict(
        zip(days_of(year.axis.list_times()).astype(str), days_of(meta().axis.list_times())[noon].astype(str))
    )
    same = {"01-01": "01-01", "12-25": "12-25", "12-26": "12-26", "03-26": "03-29", "08-30": "08-26"}
    for wanted, trained in same.items():
        assert source[f"2027-{wanted}"] == f"2013-{trained}"
    holidays = {
        "2013-01-01",
        "2013-03-29",
        "2013-04-01",
        "2013-05-06",
        "2013-05-27",
        "2013-08-26",
        "2013-12-25",
    }
    ordinary = [day for day, trained in source.items() if trained in holidays]
    assert len(ordinary) <= len(holidays) + 1  # 2027 has a day instead of Christmas Day, too
    with pytest.raises(UserError, match=r"does not know 'GB-XX'; parts of GB are .*ENG"):
        AnotherYear.choose(meta(), "2027-01-01", LONDON, "GB-XX")


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (meta(clock="nominal: one hour a step"), "needs series with times"),
        (meta(days=364), "have 8,736 steps of 3,600 s, 364 days"),
        (meta(days=730), "730 days; train on one calendar year"),
        (meta(windows={"length": 8760, "stride": 1}), "these are windows"),
        (meta(years=[2019, 2020, 2021]), "series of 2019 to 2021 stand on one axis"),
    ],
)
def test_what_has_no_calendar_or_is_no_year_is_refused(of: Meta, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        AnotherYear.choose(of, "2027-01-01")
    assert "\n" not in str(caught.value) and "leave generate.start out" in str(caught.value)


def test_a_store_is_moved_whole(tmp_path: Path) -> None:
    of = meta(step=14400)
    values = np.random.default_rng(0).random((5, 2190, 1)).astype(np.float32)
    with StoreWriter(tmp_path / "trained.zarr", of) as writer:
        writer.append(values)
    year = find_year(of, "2028-01-01", config.Data())
    assert year is not None and find_year(of, None, config.Data()) is None
    OutputTransform(year, None, 0, 0).write(tmp_path / "trained.zarr", tmp_path / "moved.zarr")
    moved = Store.open(tmp_path / "moved.zarr")
    assert moved.length == 2196 and str(moved.meta.axis.list_times()[-1]) == "2028-12-31T20:00:00"
    np.testing.assert_array_equal(moved.read_rows(np.arange(5)), values[:, year.steps])


def test_a_start_is_a_date() -> None:
    assert config.load(None, ["generate.start=2027-01-01"]).generate.start == "2027-01-01"
    with pytest.raises(
        UserError, match=r"generate\.start: .*'next year' is no date; write e\.g\. 2027-01-01"
    ):
        config.load(None, ["generate.start=next year"])
