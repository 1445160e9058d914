"""Which columns hold the time, and what looks like times."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.formats.sources import read_source
from distgan.data.formats.times import (
    are_times,
    encode_times,
    find_time_columns,
    join_written_times,
)
from distgan.errors import UserError
from tests.helpers.times import load, same


def columns(table: dict, **settings: object) -> list[str]:  # type: ignore[type-arg]
    return find_time_columns(pd.DataFrame(table), config.Data(**settings), Path("a.csv"))  # type: ignore[arg-type]


STAMPS = pd.date_range("2013-01-01", periods=48, freq="h").strftime("%Y-%m-%d %H:%M").tolist()


DATES, HOURS = [text[:10] for text in STAMPS], [int(text[11:13]) for text in STAMPS]


def test_the_time_column_is_found() -> None:
    ids, values = ["0012"] * 48, np.arange(48) / 7
    assert columns({"id": ids, "when": STAMPS, "kwh": values}) == ["when"]
    assert columns({"kwh": values, "from": [f"{text} - {text}" for text in STAMPS]}) == ["from"]
    assert columns({"id": ids, "kwh": values, "epoch": 1357000000 + 3600 * np.arange(48)}) == ["epoch"]
    assert columns({"x": 1357000000 + 3600 * np.arange(48), "kwh": values}) == ["x"]
    assert columns({"a": [20130101 + day for day in range(28)], "kwh": values[:28]}) == ["a"]
    assert columns({"joined": ["2012-05-01"] * 48, "when": STAMPS, "kwh": values}) == ["when"]
    assert columns({"when": pd.to_datetime(STAMPS), "kwh": values}) == ["when"]
    assert columns({"a": STAMPS, "b": STAMPS, "kwh": values}, columns=config.Columns(time="b")) == ["b"]
    ignored = config.Columns(ignore=("a",))
    assert columns({"a": STAMPS, "b": STAMPS, "kwh": values}, columns=ignored) == ["b"]


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        ({"a": [1.5, 2.5], "b": [3, 4]}, {}, "no column reads as times.*data.columns.time"),
        ({"day": ["2013-01", "2013-02"], "b": [3, 4]}, {}, "'day' names months.*NPY"),
        ({"time": [41275.5, 41276.5], "b": [3, 4]}, {}, "'time' holds numbers.*data.date_format=excel"),
        ({"a": STAMPS, "b": STAMPS[::-1]}, {}, "'a' and 'b' both hold times.*data.columns.time.*ignore"),
        ({"a": STAMPS}, {"columns": config.Columns(time="t")}, "data.columns.time 't' is no column"),
        ({"a": STAMPS}, {"columns": config.Columns(time=("a", "t"))}, "data.columns.time 't' is no column"),
        (
            {"date": DATES, "settlement_period": HOURS, "kwh": HOURS},
            {},
            r"no hour|number the periods.*data.date_format=periods:30min|'settlement_period'",
        ),
    ],
)
def test_no_or_several_time_columns_are_one_line(table: dict, settings: dict, message: str) -> None:  # type: ignore[type-arg]
    if "settlement_period" in table:
        table = table | {"settlement_period": np.array(table["settlement_period"]) + 1}
    with pytest.raises(UserError, match=message):
        columns(table, **settings)


@pytest.mark.parametrize(
    ("name", "clock"),
    [
        ("time", [f"{hour:02d}:00" for hour in HOURS]),
        ("Clock Time", [f"{hour}:00-{hour}:59" for hour in HOURS]),
        ("from", [f"{hour:02d}:00:00" for hour in HOURS]),
        ("hour", HOURS),
        ("hour", [float(hour) for hour in HOURS]),
        ("HOUR_ENDING", [hour + 1 for hour in HOURS]),
        ("time(local)", [100 * hour for hour in HOURS]),
        ("hour", [str(hour) for hour in HOURS]),
        ("time", [f"{hour % 12 or 12}:00 {'AP'[hour // 12]}M" for hour in HOURS]),
    ],
)
@pytest.mark.parametrize("date", ["%Y-%m-%d", "%Y-%m-%d 00:00:00", "%d/%m/%Y", "%Y%m%d"])
def test_a_date_and_a_clock_column_are_one_time(name: str, clock: list, date: str) -> None:  # type: ignore[type-arg]
    times = pd.to_datetime(STAMPS)
    table = pd.DataFrame({name: clock, "date": times.strftime(date), "kwh": np.arange(48) / 7, "x": 1.5})
    found = find_time_columns(table, config.Data(), Path("a.csv"))
    assert found == ["date", name]
    same(load(encode_times(table, found)[1]), times)


def test_year_month_and_day_columns_are_one_time() -> None:
    times = pd.date_range("2013-03-01", periods=700, freq="h")
    table = pd.DataFrame({"No": np.arange(700), "year": times.year, "month": times.month, "day": times.day})
    table["hour"], table["PM2.5"] = times.hour, np.arange(700) / 7
    found = find_time_columns(table, config.Data(), Path("a.csv"))
    assert found == ["year", "month", "day", "hour"]
    same(load(encode_times(table, found)[1]), times)


def test_empty_times_stay_empty() -> None:
    days = ["2013-01-01", None, "2013-01-02", "2013-01-01", "2013-01-01"]
    table = pd.DataFrame({"date": days, "hour": [1.0, 2, 1, None, 1]})
    places, texts = encode_times(table, ["date", "hour"])
    assert places.tolist() == [0, -1, 1, -1, 0] and texts == ["2013-01-01 1", "2013-01-02 1"]
    written = join_written_times(table.set_index([[5, 6, 7, 8, 9]]), ["date", "hour"])
    assert written.isna().tolist() == [False, True, False, True, False] and written[7] == "2013-01-02 1"


def test_what_looks_like_times() -> None:
    settings = config.Data()
    for texts in (STAMPS, ["01/02/2013"], ["1-Jan-13"], ["20130101 0100"], ["2013-01-01T00:00Z"]):
        assert are_times(pd.Series(texts), settings), texts
    for values in (
        ["0012", "0013"],
        ["MAC000002"],
        ["12.5", "1.75"],
        ["12:30", "12:45"],
        [1.5, 2],
        [True, False],
        [],
    ):
        assert not are_times(pd.Series(values, dtype=object), settings), values
    assert are_times(
        pd.Series([19501, 19502], name="time"), config.Data(date_format="daycode:2009-01-01:30min")
    )
    assert are_times(pd.Series(["010113"], name="t"), config.Data(date_format="%d%m%y"))


@pytest.mark.parametrize("form", [" %m/%d  %H:%M:%S", "%d.%m. %H:%M", "%d-%b %H:%M", "%b %d %H:%M"])
def test_dates_without_a_year_are_one_line(form: str) -> None:
    """As EnergyPlus writes them."""
    times = pd.date_range("2013-01-06", periods=48, freq="h").strftime(form).tolist()
    with pytest.raises(
        UserError, match=r"the dates of column 'Date/Time' have no year \('.*'\): write whole"
    ):
        columns({"Date/Time": times, "kwh": np.arange(48) / 7})


@pytest.mark.parametrize("name", ["DeliveryInterval", "Quarter", "Minute"])
@pytest.mark.parametrize("entities", [1, 3])
def test_parts_of_hours_are_no_ids(name: str, entities: int) -> None:
    times = pd.DataFrame({"Date": DATES, "Hour": HOURS}).loc[np.repeat(np.arange(48), 4)]
    times[name] = np.tile(np.arange(4) * (15 if name == "Minute" else 1), 48)
    table = pd.concat([times.assign(site=f"S{number}") for number in range(entities)])
    table = table.assign(kwh=np.arange(len(table)) / 7).to_dict("list")
    with pytest.raises(UserError, match=rf"column '{name}' seems to number the parts of the hours in 'Hour'"):
        columns(table)
    with pytest.raises(UserError, match=rf"column '{name}' seems to number the periods of the days"):
        columns({key: cells for key, cells in table.items() if key != "Hour"})
    assert columns(table, columns=config.Columns(ignore=(name,))) == ["Date", "Hour"]


def test_the_quarter_of_a_year_is_no_part_of_a_day() -> None:
    quarters = [1 + (int(date[-2:]) > 1) for date in DATES]
    table = {"Date": DATES * 2, "Hour": HOURS * 2, "Quarter": quarters * 2, "kwh": np.arange(96) / 7}
    assert columns(table) == ["Date", "Hour"]
    del table["Hour"]
    assert columns(table) == ["Date"]


def test_words_among_clock_times_are_no_ids() -> None:
    clocks = [text[11:] for text in STAMPS]
    clocks[23] = clocks[47] = "Total"
    with pytest.raises(UserError, match=r"column 'time' holds clock times, and also 'Total'; correct these"):
        columns({"date": DATES, "time": clocks, "kwh": np.arange(48) / 7})


def write_days(place: Path, names: list[str]) -> Path:
    """Two homes of three days: home, date, a column an hour."""
    values = np.arange(2 * 3 * 24).reshape(6, 24) % 37 + 0.5
    table = pd.DataFrame(values, columns=names)
    table.insert(0, "home", ["H1"] * 3 + ["H2"] * 3)
    table.insert(1, "date", [f"2013-01-0{day}" for day in (1, 2, 3)] * 2)
    table.to_csv(place / "days.csv", index=False)
    return place / "days.csv"


def half_day(hour: int, form: str = "{} {}M") -> str:
    return form.format((hour - 1) % 12 + 1, "AP"[hour % 24 // 12])


@pytest.mark.parametrize("form", ["{} {}M", "{}{}M", "{} {}.M.", "{}:00 {}M", "{} {}M kWh", "Hour {} {}M"])
@pytest.mark.parametrize("first", [0, 1])
def test_hours_of_half_days_name_the_hours(tmp_path: Path, form: str, first: int) -> None:
    """Before, 12 AM to 11 PM were 24 channels of daily readings."""
    path = write_days(tmp_path, [half_day(hour, form) for hour in range(first, first + 24)])
    source = read_source(config.Data(source=str(path)), tmp_path / "work")
    assert source.entities == ["H1", "H2"] and source.meta.axis.step_seconds == 3600
    assert source.meta.axis.start == f"2013-01-01T0{first}:00:00"
    expected = np.arange(144).reshape(2, 72) % 37 + 0.5
    np.testing.assert_array_equal(source.block(0, 2)[:, :, 0], expected)


@pytest.mark.parametrize("between", [" - ", " to ", "-"])
def test_intervals_of_half_days_are_refused(tmp_path: Path, between: str) -> None:
    path = write_days(tmp_path, [f"{half_day(hour)}{between}{half_day(hour + 1)}" for hour in range(24)])
    with pytest.raises(UserError, match=r"may be 24 parts of a day, .*name them 00:00, 01:00, "):
        read_source(config.Data(source=str(path)), tmp_path / "work")
