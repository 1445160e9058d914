"""Local times become standard (winter) time all year: no hour missing, none twice, by the zone database."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import Raw, read
from distgan.data.zones import (
    NONE_SEEN,
    find_standard_offset,
    mark_repeated,
    mark_second_pass,
    mark_skipped,
    to_standard_time,
)
from distgan.errors import UserError

# zone, year, UTC offset of its winter in hours: as published, not as the zone database's dst() says
WINTER = [
    ("Europe/London", 2013, 0.0),
    ("Europe/Dublin", 2013, 0.0),  # winter time is its negative daylight saving time
    ("Africa/Casablanca", 2019, 0.0),  # likewise, in Ramadan
    ("Africa/Windhoek", 2012, 1.0),  # likewise, until 2017
    ("Europe/Berlin", 2020, 1.0),
    ("America/Chicago", 2018, -6.0),
    ("America/St_Johns", 2013, -3.5),
    ("America/Sao_Paulo", 2013, -3.0),
    ("America/Santiago", 2017, -4.0),
    ("America/Havana", 2015, -5.0),  # the clock is put back at 1:00, to midnight
    ("Australia/Lord_Howe", 2014, 10.5),  # by half an hour
    ("Australia/Sydney", 2014, 10.0),
    ("Pacific/Auckland", 2020, 12.0),
    ("Europe/Istanbul", 2013, 2.0),
    ("Asia/Kolkata", 2013, 5.5),
    ("Asia/Kathmandu", 2013, 5.75),
    ("America/Phoenix", 2013, -7.0),
    ("Asia/Tehran", 2013, 3.5),
    ("Etc/UTC", 2013, 0.0),
]


def local_times(zone: str, year: int, freq: str) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """A year of instants (UTC, naive) and what the clock of the zone shows then."""
    instants = pd.date_range(f"{year}-01-01 12:00", f"{year}-12-31 12:00", freq=freq)
    local = instants.tz_localize("UTC").tz_convert(zone).tz_localize(None)
    return instants, local.to_numpy().astype("M8[us]")


@pytest.mark.parametrize(("zone", "year", "hours"), WINTER)
def test_a_year_on_the_clock_is_a_year_of_winter_time(zone: str, year: int, hours: float) -> None:
    instants, clock = local_times(zone, year, "30min")
    second, _ = mark_second_pass(clock, np.zeros(len(clock), int), NONE_SEEN, zone)
    found = to_standard_time(clock, second, zone, False, "a.csv")
    expected = (instants + pd.Timedelta(hours=hours)).to_numpy().astype("M8[s]")
    np.testing.assert_array_equal(found, expected)
    utc = instants.to_numpy().astype("M8[us]")
    placed = to_standard_time(utc, np.zeros(len(utc), bool), zone, True, "a.csv")
    np.testing.assert_array_equal(placed, expected)
    assert find_standard_offset(zone, clock[0], clock[-1]) == (timedelta(hours=hours), None)


@pytest.mark.parametrize("zone", ["Europe/Dublin", "America/Chicago", "Australia/Lord_Howe"])
def test_parts_of_a_table_are_placed_like_the_whole(zone: str) -> None:
    """Parts that end within the repeated hour, and three meters that take turns."""
    _, clock = local_times(zone, 2014, "15min")
    times, keys = np.repeat(clock, 3), np.tile([0, 1, 2], len(clock))
    whole, _ = mark_second_pass(times, keys, NONE_SEEN, zone)
    seen, parts = NONE_SEEN, []
    for start in range(0, len(times), 2003):
        part, seen = mark_second_pass(times[start : start + 2003], keys[start : start + 2003], seen, zone)
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    span = times.min(), times.max()
    found = to_standard_time(times[-5:], whole[-5:], zone, False, "a.csv", span)
    np.testing.assert_array_equal(found, to_standard_time(times, whole, zone, False, "a.csv")[-5:])


def test_a_repeated_hour_that_stands_once_is_the_first() -> None:
    """Its second pass is missing, as it is in the file."""
    clock = pd.date_range("2013-10-27 00:00", periods=6, freq="h").to_numpy().astype("M8[us]")
    second, _ = mark_second_pass(clock, np.zeros(6, int), NONE_SEEN, "Europe/London")
    assert not second.any()
    found = to_standard_time(clock, second, "Europe/London", False, "a.csv")
    assert np.diff(found).astype(int).tolist() == [3600, 7200, 3600, 3600, 3600]


def test_order_tells_the_pass_also_where_a_reading_is_missing() -> None:
    instants = pd.date_range("2013-10-26 23:00", periods=20, freq="15min")
    clock = (
        instants.tz_localize("UTC").tz_convert("Europe/London").tz_localize(None).to_numpy().astype("M8[us]")
    )
    for lost in range(20):
        there = np.arange(20) != lost
        second, _ = mark_second_pass(clock[there], np.zeros(19, int), NONE_SEEN, "Europe/London")
        found = to_standard_time(clock[there], second, "Europe/London", False, "a.csv")
        np.testing.assert_array_equal(found, instants[there].to_numpy().astype("M8[s]"))


@pytest.mark.parametrize("freq", ["15min", "20min", "30min"])
def test_order_of_other_rows_tells_the_pass_of_a_reading_that_stands_alone(freq: str) -> None:
    """As 01:00, 01:00, 01:30, where the first 01:30 is missing."""
    instants = pd.date_range("2013-10-26 23:00", "2013-10-27 03:00", freq=freq)
    clock = on_the_clock("2013-10-26 23:00", len(instants), freq, "Europe/London")
    for lost in range(len(clock)):
        keys = np.repeat([0, 1], [len(clock), len(clock) - 1])
        times, right = (np.append(each, np.delete(each, lost)) for each in (clock, instants.to_numpy()))
        second, _ = mark_second_pass(times, keys, NONE_SEEN, "Europe/London")
        found = to_standard_time(times, second, "Europe/London", False, "a.csv")
        np.testing.assert_array_equal(found, right.astype("M8[s]"))


def on_the_clock(start: str, periods: int, freq: str, zone: str) -> np.ndarray:
    instants = pd.date_range(start, periods=periods, freq=freq, tz="UTC")
    return instants.tz_convert(zone).tz_localize(None).to_numpy().astype("M8[us]")


@pytest.mark.parametrize("freq", ["15min", "30min", "h"])
def test_rows_sorted_by_the_clock_stand_in_the_order_of_the_passes(freq: str) -> None:
    clock = on_the_clock("2013-10-26 12:00", 96, freq, "Europe/London")
    second, _ = mark_second_pass(clock, np.zeros(96, int), NONE_SEEN, "Europe/London")
    order = np.argsort(clock, kind="stable")
    for size in (96, 7, 1):  # however the file is cut
        seen, parts = NONE_SEEN, []
        for start in range(0, 96, size):
            rows = order[start : start + size]
            part, seen = mark_second_pass(clock[rows], np.zeros(len(rows), int), seen, "Europe/London")
            parts.append(part)
        np.testing.assert_array_equal(np.concatenate(parts), second[order])


@pytest.mark.parametrize("freq", ["15min", "30min", "h"])
def test_rows_out_of_order_do_not_tell_the_pass(freq: str) -> None:
    clock = on_the_clock("2013-10-26 12:00", 96, freq, "Europe/London")
    shuffled = np.random.default_rng(0).permutation(96)
    thrice = np.sort(np.append(np.arange(96), np.flatnonzero(mark_repeated(clock, "Europe/London"))[0]))
    for order in (np.arange(96)[::-1], shuffled, thrice):
        with pytest.raises(UserError, match=r"2013-10-2\d.*Europe/London puts the clock back.*sort the rows"):
            mark_second_pass(clock[order], np.zeros(len(order), int), NONE_SEEN, "Europe/London")
    rest = clock[~mark_repeated(clock, "Europe/London")][::-1]  # elsewhere order decides nothing
    assert not mark_second_pass(rest, np.zeros(len(rest), int), NONE_SEEN, "Europe/London")[0].any()


def test_a_time_without_its_equal_among_rows_sorted_by_the_clock_is_refused() -> None:
    clock = np.sort(on_the_clock("2013-10-26 22:00", 24, "15min", "Europe/London"))
    lost = np.flatnonzero(mark_repeated(clock, "Europe/London"))[3]
    with pytest.raises(UserError, match="do not tell the passes"):
        mark_second_pass(np.delete(clock, lost), np.zeros(23, int), NONE_SEEN, "Europe/London")


def test_an_hour_that_the_clock_skips_is_refused() -> None:
    clock = pd.date_range("2013-03-31 00:00", periods=4, freq="h").to_numpy().astype("M8[us]")
    assert mark_skipped(clock, "Europe/London").tolist() == [False, True, False, False]
    with pytest.raises(
        UserError, match=r"a.csv: 2013-03-31 01:00:00 does not exist in Europe/London.*leave data.tim"
    ):
        to_standard_time(clock, np.zeros(4, bool), "Europe/London", False, "a.csv")


def test_a_change_of_standard_time_is_noted_and_nothing_is_lost() -> None:
    """Istanbul has stayed on summer time since 2016; one offset holds for all years."""
    instants = pd.date_range("2015-01-01", "2018-12-31", freq="h")
    local = instants.tz_localize("UTC").tz_convert("Europe/Istanbul").tz_localize(None)
    clock = local.to_numpy().astype("M8[us]")
    second, _ = mark_second_pass(clock, np.zeros(len(clock), int), NONE_SEEN, "Europe/Istanbul")
    found = to_standard_time(clock, second, "Europe/Istanbul", False, "a.csv")
    assert (np.diff(found).astype(int) == 3600).all()
    offset, note = find_standard_offset("Europe/Istanbul", clock[0], clock[-1])
    assert note is not None and "had another standard time in 20" in note
    assert found[0] == np.datetime64(instants[0] + offset, "s")


# ------------------------------------------------------------------------------------------------whole files


def load(source: Path, **settings: object) -> Raw:
    return read(config.Data(source=str(source), **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["wide", "long by id", "long by time"])
@pytest.mark.parametrize("zone", ["Europe/Dublin", "America/Chicago", "Australia/Lord_Howe"])
def test_tables_in_local_time_keep_every_reading(tmp_path: Path, layout: str, zone: str) -> None:
    instants, clock = local_times(zone, 2013, "30min")
    values = np.random.default_rng(0).gamma(2, size=(len(clock), 3)).round(3)
    table = pd.DataFrame(values, columns=["a", "b", "c"]).assign(
        time=pd.Series(clock).dt.strftime("%d/%m/%Y %H:%M")
    )
    if layout != "wide":
        table["row"] = np.arange(len(table))
        table = table.melt(["time", "row"], var_name="id", value_name="kwh")
        table = table if layout == "long by id" else table.sort_values("row", kind="stable")
        table = table[["id", "time", "kwh"]]
    table.to_csv(tmp_path / "a.csv", index=False)
    raw = load(tmp_path / "a.csv", timezone=zone)
    np.testing.assert_allclose(raw.values[:, :, 0], values.T, rtol=1e-6)
    hours = {name: hours for name, _, hours in WINTER}[zone]
    expected = (instants + pd.Timedelta(hours=hours)).to_numpy().astype("M8[s]")
    np.testing.assert_array_equal(raw.meta.axis.list_times(), expected)


CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


def case(name: str) -> Path:
    if not (CASES / name).exists():
        pytest.skip(f"{name} is not in ../shared/cases")
    return CASES / name


@pytest.mark.parametrize(
    ("name", "settings", "start", "step", "length"),
    [
        ("postgres_plus00.csv", {}, "2013-01-07T00:00:00", 3600, 672),
        ("postgres_plus00.csv", {"timezone": "America/Chicago"}, "2013-01-06T18:00:00", 3600, 672),
        ("dublin_winter.csv", {"timezone": "Europe/Dublin"}, "2013-01-07T00:00:00", 3600, 504),
        ("pecan_across_dst.csv", {}, "2018-10-28T05:00:00", 900, 1344),
        ("pecan_across_dst.csv", {"timezone": "America/Chicago"}, "2018-10-27T23:00:00", 900, 1344),
        ("us_ampm.csv", {}, "2013-01-07T00:00:00", 3600, 672),
        ("entsoe_interval.csv", {}, "2015-01-01T00:00:00", 3600, 1440),
        ("entsoe_interval.csv", {"timezone": "Europe/Paris"}, "2015-01-01T01:00:00", 3600, 1440),
    ],
)
def test_published_layouts_of_times(name: str, settings: dict, start: str, step: int, length: int) -> None:  # type: ignore[type-arg]
    raw = load(case(name), **settings)
    axis = raw.meta.axis
    assert (axis.start, axis.step_seconds, axis.length) == (start, step, length)
    table = pd.read_csv(case(name))
    if name == "pecan_across_dst.csv":
        for entity, values in zip(raw.entities, raw.values):
            rows = table[table["dataid"].astype(str) == entity]
            np.testing.assert_allclose(values[:, 0], rows["use"], rtol=1e-6)
    else:
        np.testing.assert_allclose(raw.values[:, :, 0], table.iloc[:, 1:].to_numpy().T, rtol=1e-6)


def test_monthly_dates_are_never_days() -> None:
    with pytest.raises(UserError, match=r"line 3.*may be 2013-02-01 or 2013-01-02.*data.date_format=dmy"):
        load(case("monthly_dmy.csv"))
    with pytest.raises(UserError, match=r"times are one month apart.*steps of equal length.*NPY"):
        load(case("monthly_dmy.csv"), date_format="dmy")
