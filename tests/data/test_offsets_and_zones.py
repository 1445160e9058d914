"""Offsets, names of zones and intervals in times as written."""

import re
from itertools import pairwise

import pandas as pd
import pytest

from tests.helpers.times import load, same, until


def test_one_offset_is_kept_as_the_clock_and_noted() -> None:
    times = pd.date_range("2013-01-01", periods=5, freq="h")
    found = load(times.strftime("%Y-%m-%d %H:%M-03:30").tolist())
    same(found, times)
    assert not found.utc and "UTC offset -03:30" in found.notes[0] and found.clock == "UTC-03:30"
    found = load(times.strftime("%Y-%m-%d %H:%M-0330").tolist(), timezone="America/St_Johns")
    same(found, times + pd.Timedelta("3h30min"))
    assert found.utc


@pytest.mark.parametrize("mark", ["+00", "+0000", "+00:00", "Z", " UTC", " GMT", "z", "-00:00"])
def test_marks_of_utc_are_utc(mark: str) -> None:
    times = pd.date_range("2013-01-07", periods=48, freq="h")
    for settings in ({}, {"timezone": "America/Chicago"}):
        found = load((times.strftime("%Y-%m-%d %H:%M:%S") + mark).tolist(), **settings)
        same(found, times)
        assert found.utc


ZONES = ["America/Chicago", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S%z", "%m/%d/%Y %I:%M %p %z", "%d %b %Y %H:%M:%S %z"])
def test_mixed_offsets_become_utc(zone: str, form: str) -> None:
    times = pd.date_range("2018-01-01 00:15", periods=1100, freq="8h", tz="UTC")
    texts = times.tz_convert(zone).strftime(form).tolist()
    short = [re.sub(r"([+-]\d\d)00$", r"\1", text) for text in texts]
    for written in (texts, short):
        found = load(written, timezone=zone)
        same(found, times.tz_localize(None))
        assert found.utc
    found = load(texts)
    if zone != "Asia/Kolkata":
        same(found, times.tz_localize(None))
        assert found.utc and "UTC offsets" in found.notes[-1]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Europe/London", "Australia/Sydney"])
def test_abbreviations_tell_the_passes_of_a_repeated_hour(zone: str) -> None:
    times = pd.date_range("2018-01-01", periods=2 * 8760, freq="30min", tz="UTC")
    local = times.tz_convert(zone)
    found = load(local.strftime("%Y-%m-%d %H:%M %Z").tolist(), timezone=zone)
    same(found, times.tz_localize(None))
    assert found.utc


def test_names_of_zones_that_stand_only_where_hours_repeat() -> None:
    """As ENTSO-E writes the end of daylight saving time."""
    times = pd.date_range("2014-10-25 22:00", periods=10, freq="h", tz="UTC")
    local = times.tz_convert("Europe/Brussels")
    texts = [f"{t:%d/%m/%Y %H:%M:%S}" + (f" ({t:%Z})" if t.hour == 2 else "") for t in local]
    same(load(texts, timezone="Europe/Brussels"), times.tz_localize(None))


@pytest.mark.parametrize("column", ["Time (UTC)", "time_utc", "UTC", "gmt_time"])
def test_a_column_that_is_named_for_utc_holds_utc(column: str) -> None:
    times = pd.date_range("2013-07-01", periods=48, freq="h")
    texts = times.strftime("%Y-%m-%d %H:%M").tolist()
    assert load(texts, column, timezone="Europe/Paris").utc
    assert not load(texts, "time", timezone="Europe/Paris").utc
    same(load(texts, "Time (UTC+02:00)", timezone="Europe/Paris"), times - pd.Timedelta("2h"))


def test_offsets_and_intervals_of_clock_times_are_distinguished() -> None:
    times = pd.date_range("2013-01-01", periods=48, freq="h")
    offset = load(times.strftime("%Y-%m-%d %H:%M-05:00").tolist())
    same(offset, times)
    assert "offset -05:00" in offset.notes[0]
    interval = load(until("%Y-%m-%d %H:%M", "-", "%H:%M")(times))
    same(interval, times)
    assert "intervals of 3600 s" in interval.notes[0]


@pytest.mark.parametrize("mark", ["UTC", "Z", "CET", "(CET)", "+01:00"])
def test_a_zone_at_the_end_of_an_interval_holds_for_its_start(mark: str) -> None:
    times = pd.date_range("2013-01-14", periods=48, freq="h")
    hours = 0 if mark in ("UTC", "Z") else 1
    for form in ("%Y-%m-%d %H:%M", "%H:%M"):
        texts = [f"{text} {mark}" for text in until("%Y-%m-%d %H:%M", " - ", form)(times)]
        found = load(texts, timezone="Europe/Paris")
        same(found, times - pd.Timedelta(hours=hours))
        assert found.utc


def test_intervals_with_names_of_zones_over_a_clock_change() -> None:
    local = pd.date_range("2014-10-25 22:00", periods=8, freq="h", tz="UTC").tz_convert("Europe/Berlin")
    texts = [f"{a:%d/%m/%Y %H:%M:%S (%Z)} - {b:%d/%m/%Y %H:%M:%S (%Z)}" for a, b in pairwise(local)]
    same(load(texts, timezone="Europe/Berlin"), local[:-1].tz_convert("UTC").tz_localize(None))


def test_intervals_over_a_clock_change() -> None:
    local = pd.date_range("2015-03-28 22:00", periods=8, freq="h", tz="UTC").tz_convert("Europe/Berlin")
    texts = [f"{a:%d.%m.%Y %H:%M} - {b:%d.%m.%Y %H:%M}" for a, b in pairwise(local)]
    same(load(texts, timezone="Europe/Berlin"), local[:-1].tz_localize(None))


@pytest.mark.parametrize("name", ["HourUTC", "Minutes5UTC", "DateTimeUtc", "utcTime", "UTCTime", "timeutc"])
def test_a_name_may_end_or_begin_in_utc(name: str) -> None:
    times = pd.date_range("2023-06-01", periods=48, freq="h")
    texts = times.strftime("%Y-%m-%d %H:%M").tolist()
    found = load(texts, column=name, timezone="Europe/Helsinki")
    same(found, times)
    assert found.utc
    assert load(texts, column=name).clock == "UTC"
    for other in ("outcome", "gmtOffset", "hour"):
        assert not load(texts, column=other, timezone="Europe/Helsinki").utc
