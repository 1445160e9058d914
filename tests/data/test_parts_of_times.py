"""Columns that hold parts of times: years, days, hours, numbered periods; they are no ids of entities."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import Raw, read
from distgan.errors import UserError
from tests.helpers.tables import load_text, values

TIMES = pd.date_range("2021-02-20", periods=24 * 12, freq="h")
READINGS = np.random.default_rng(0).gamma(2, size=(3, len(TIMES))).round(3) + 0.001
DAYS = pd.date_range("2020-01-01", periods=400)


def rows(header: str, row: Callable[[pd.Timestamp], str], times: pd.DatetimeIndex = TIMES) -> str:
    cells = (f"{row(time)},{value:.3f}" for time, value in zip(times, np.resize(READINGS, len(times))))
    return "\n".join([*([header] if header else []), *cells]) + "\n"


def hours(header: str, form: Callable[[int], str]) -> str:
    return rows(header, lambda time: f"{time:%Y-%m-%d},{form(time.hour)}")


NAMELESS = [f"column{number}" for number in range(1, 5)]


@pytest.mark.parametrize(
    ("text", "column", "time"),
    [
        (hours("date,h,load", str), "h", ["date", "h"]),
        (hours("date,Std,load", str), "Std", ["date", "Std"]),
        (hours("date,slot,load", lambda hour: f"{hour:02d}h"), "slot", ["date", "slot"]),
        (hours("date,t,load", lambda hour: str(100 * hour)), "t", ["date", "t"]),
        (hours("", str), "column2", ["column1", "column2"]),  # as Meteostat's bulk files
    ],
)
def test_hours_beside_dates_are_no_ids(tmp_path: Path, text: str, column: str, time: list[str]) -> None:
    shown = f"data.columns.time=\\[{','.join(time)}\\] if .*data.columns.id={column} if"
    with pytest.raises(UserError, match=f"column '{column}' has the 24 cells .* on each date.*{shown}"):
        load_text(text, tmp_path)
    source = load_text(text, tmp_path, columns={"time": time})
    assert source.meta.axis.start == "2021-02-20T00:00:00" and source.meta.axis.step_seconds == 3600
    np.testing.assert_array_equal(values(source)[0], READINGS[0].astype(np.float32))
    assert len(load_text(text, tmp_path, columns={"id": column}).entities) == 24


def test_hours_beside_several_columns_of_readings_are_no_ids(tmp_path: Path) -> None:
    lines = [
        f"{time:%Y-%m-%d},{time.hour},{','.join(map(str, cells))}"
        for time, cells in zip(TIMES, READINGS.T.round(3))
    ]
    text = "\n".join(["date,h,H1,H2,H3", *lines]) + "\n"
    with pytest.raises(UserError, match=r"data.columns.time=\[date,h\]"):
        load_text(text, tmp_path)
    found = values(load_text(text, tmp_path, columns={"time": ["date", "h"]}))
    np.testing.assert_array_equal(found, READINGS.astype(np.float32))


def test_numbered_half_hours_are_no_ids(tmp_path: Path) -> None:
    times = pd.date_range("2021-02-20", periods=48 * 6, freq="30min")
    text = rows(
        "date,pte,load", lambda time: f"{time:%Y-%m-%d},{2 * time.hour + time.minute // 30 + 1}", times
    )
    with pytest.raises(
        UserError, match=r"set data.columns.time=\[date,pte\] and data.date_format=periods:30"
    ):
        load_text(text, tmp_path)
    source = load_text(text, tmp_path, columns={"time": ["date", "pte"]}, date_format="periods:30min")
    assert source.meta.axis.step_seconds == 1800
    np.testing.assert_array_equal(values(source)[0], READINGS[0].astype(np.float32))


@pytest.mark.parametrize(("name", "number"), [("minute", lambda at: at), ("q", lambda at: at // 15 + 1)])
def test_parts_of_hours_are_no_ids(tmp_path: Path, name: str, number: Callable[[int], int]) -> None:
    times = pd.date_range("2021-02-20", periods=96, freq="15min")
    text = rows(f"time,{name},load", lambda time: f"{time:%Y-%m-%d %H}:00,{number(time.minute)}", times)
    with pytest.raises(UserError, match=r"in each hour, as minutes.*write each time in one column"):
        load_text(text, tmp_path)


@pytest.mark.parametrize(
    ("unit", "number"),
    [
        ("minutes", lambda minute: minute),
        ("minutes", lambda minute: minute + 30),
        ("seconds", lambda minute: 60 * minute),
        ("seconds", lambda minute: f"{60 * minute:05d}"),
        ("milliseconds", lambda minute: 60_000 * minute),
    ],
)
def test_time_since_midnight_is_no_id(tmp_path: Path, unit: str, number: Callable[[int], object]) -> None:
    times = pd.date_range("2021-02-20", periods=48 * 6, freq="30min")
    text = rows("date,m,load", lambda at: f"{at:%Y-%m-%d},{number(60 * at.hour + at.minute)}", times)
    with pytest.raises(UserError, match=rf"on each date, as {unit} after midnight have; write each time in"):
        load_text(text, tmp_path)
    assert len(load_text(text, tmp_path, columns={"id": "m"}).entities) == 48


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("hour", "{hour}"),
        ("time", "{hour:02d}:00"),
        ("", "{hour:02d}:00:00"),
        ("Std", "{hour:02d}h"),
        ("HHMM", "{hour}00"),
        ("minutes", "{minute}"),
    ],
)
def test_hours_beside_columns_of_dates_are_no_ids(tmp_path: Path, name: str, form: str) -> None:
    days = READINGS[0].reshape(-1, 24)
    lines = [",".join([name, *(f"{day:%Y-%m-%d}" for day in TIMES[::24])])]
    for hour in range(24):
        cells = [form.format(hour=hour, minute=60 * hour), *map("{:.3f}".format, days[:, hour])]
        lines.append(",".join(cells))
    text = "\n".join(lines) + "\n"
    with pytest.raises(UserError, match=r"as hours or .* named by dates; swap rows and columns"):
        load_text(text, tmp_path)
    if name:
        assert len(load_text(text, tmp_path, columns={"id": name}).entities) == 24
    homes = load_text(text.replace(f"{name},", "home,", 1), tmp_path) if name == "hour" else None
    assert homes is None or homes.entities == [str(home) for home in range(24)]


@pytest.mark.parametrize(
    "names",
    [
        ["00", "15", "30", "45"],
        [":00", ":15", ":30", ":45"],
        ["Q1", "Q2", "Q3", "Q4"],
        ["min 0", "min 30"],
        ["INT1", "INT2", "INT3", "INT4"],
        ["kwh_00", "kwh_15", "kwh_30", "kwh_45"],
        ["0-15", "15-30", "30-45", "45-60"],
        [f"Steps{minute:02d}" for minute in range(60)],  # Fitbit
    ],
    ids=lambda names: names[0],
)
@pytest.mark.parametrize("ids", ["", "id,"])
def test_parts_of_each_hour_are_no_entities(tmp_path: Path, names: list[str], ids: str) -> None:
    homes = ["a,", "b,"] if ids else [""]
    lines = [f"{ids}time,{','.join(names)}"]
    for home in homes:
        for hour, time in enumerate(TIMES):
            cells = [f"{READINGS[0, hour] + number:.3f}" for number in range(len(names))]
            lines.append(f"{home}{time:%Y-%m-%d %H:%M},{','.join(cells)}")
    text = "\n".join(lines) + "\n"
    with pytest.raises(UserError, match=r"seem to be the parts of each hour; write a row for each time"):
        load_text(text, tmp_path)
    found = load_text(text, tmp_path, layout="long" if ids else "wide")
    assert len(found.entities) * len(found.meta.channels) == len(homes) * len(names)


@pytest.mark.parametrize(
    "names",
    [
        [f"soil_{depth}cm" for depth in (10, 20, 30, 40, 50, 60)],
        ["soil_15", "soil_30", "soil_45", "soil_60"],
        ["depth 0-15 cm", "depth 15-30 cm", "depth 30-45 cm", "depth 45-60 cm"],
        ["zone00", "zone01", "zone02"],
    ],
    ids=lambda names: names[0],
)
def test_depths_and_zones_are_no_parts_of_hours(tmp_path: Path, names: list[str]) -> None:
    lines = [f"{home},{time:%Y-%m-%d %H:%M}{',0.5' * len(names)}" for home in "ab" for time in TIMES]
    text = "\n".join([f"id,time,{','.join(names)}", *lines]) + "\n"
    assert load_text(text, tmp_path, unusable="drop").meta.channels == tuple(names)


def test_sixty_entities_with_hourly_readings_are_read(tmp_path: Path) -> None:
    names = [f"m{home:03d}" for home in range(60)]
    lines = [f"{time:%Y-%m-%d %H:%M},{','.join(['0.5', *['1.5'] * 59])}" for time in TIMES]
    text = "\n".join([f"time,{','.join(names)}", *lines]) + "\n"
    assert load_text(text, tmp_path).entities == names


@pytest.mark.parametrize("form", ["{home}_{hour:02d}", "{home} {hour:02d}:00", "{home}.h{hour}"])
def test_hours_of_several_entities_as_columns_are_no_entities(tmp_path: Path, form: str) -> None:
    names = [form.format(home=home, hour=hour) for home in ("H1", "H2") for hour in range(24)]
    days = [READINGS[:2, first : first + 24].ravel() for first in range(0, len(TIMES), 24)]
    lines = [f"{TIMES[24 * day]:%Y-%m-%d},{','.join(map(str, cells))}" for day, cells in enumerate(days)]
    text = "\n".join([f"date,{','.join(names)}", *lines]) + "\n"
    with pytest.raises(UserError, match=r"seem to be the parts of each day, of several entities"):
        load_text(text, tmp_path)
    assert load_text(text, tmp_path, layout="wide").entities == names


@pytest.mark.parametrize("text", ["date,home,load\n", "date,x,load\n"])
def test_24_entities_with_daily_readings_are_read(tmp_path: Path, text: str) -> None:
    """By the name of their column, or since the rows of each follow one another."""
    order = [(home, day) for home in range(24) for day in range(12)]
    if "home" in text:
        order.sort(key=lambda pair: pair[1])
    for home, day in order:
        text += f"{DAYS[day]:%Y-%m-%d},{home},{READINGS.flat[home * 12 + day]:.3f}\n"
    source = load_text(text, tmp_path)
    assert source.entities == [str(home) for home in range(24)]
    right = READINGS.ravel()[: 24 * 12].reshape(24, 12).astype(np.float32)
    np.testing.assert_array_equal(values(source), right)


@pytest.mark.parametrize(
    ("header", "clock"),
    [
        ("YEAR,MO,DY,HR,T2M", lambda hour: str(hour)),  # NASA POWER
        ("Year,Month,Day,HR,load", lambda hour: str(hour + 1)),
        ("Year,Month,Day,Time,load", lambda hour: f"{hour:02d}:00"),
        ("Year,Month,Day,Time,load", lambda hour: str(100 * hour)),
        ("YEAR,MONTH,DAY,HE,load", lambda hour: f"HE{hour + 1:02d}"),
    ],
)
def test_year_month_day_and_a_clock_make_a_time(
    tmp_path: Path, header: str, clock: Callable[[int], str]
) -> None:
    text = rows(header, lambda time: f"{time.year},{time.month},{time.day},{clock(time.hour)}")
    source = load_text(text, tmp_path)
    assert source.meta.axis.start == "2021-02-20T00:00:00" and source.meta.axis.step_seconds == 3600
    np.testing.assert_array_equal(values(source)[0], READINGS[0].astype(np.float32))


def test_columns_without_names_are_read_as_parts_of_times(tmp_path: Path) -> None:
    text = rows("", lambda time: f"{time.year},{time.month},{time.day},{time.hour}")
    with pytest.raises(UserError, match=r"set data.columns.time=\[column1,column2,column3,column4\]"):
        load_text(text, tmp_path)
    source = load_text(text, tmp_path, columns={"time": NAMELESS})
    assert source.meta.axis.step_seconds == 3600
    np.testing.assert_array_equal(values(source)[0], READINGS[0].astype(np.float32))


def test_a_column_of_whole_times_goes_before_parts_of_dates(tmp_path: Path) -> None:
    """As weather records of Canada have both."""
    text = rows(
        "Date/Time (LST),Year,Month,Day,Temp",
        lambda time: f"{time:%Y-%m-%d %H:%M},{time.year},{time.month},{time.day}",
    )
    source = load_text(text, tmp_path, columns={"ignore": ["Year", "Month", "Day"]})
    np.testing.assert_array_equal(values(source)[0], READINGS[0].astype(np.float32))


def test_the_day_of_the_year_is_read_by_a_format(tmp_path: Path) -> None:
    text = rows("year,doy,hour,flow", lambda time: f"{time.year},{time.day_of_year},{time.hour}")
    time = {"time": ["year", "doy", "hour"]}
    with pytest.raises(UserError, match=r"names 3 columns; .*'%Y %j %H'"):
        load_text(text, tmp_path, columns=time)
    source = load_text(text, tmp_path, columns=time, date_format="%Y %j %H")
    assert source.meta.axis.start == "2021-02-20T00:00:00" and source.meta.axis.step_seconds == 3600
    np.testing.assert_array_equal(values(source)[0], READINGS[0].astype(np.float32))


def test_the_step_that_is_advised_is_that_of_one_series(tmp_path: Path) -> None:
    """Sensors that are read one after the other have steps of an hour each, and 7 s between them."""
    table = [
        f"{sensor},{time + pd.Timedelta(seconds=7 * sensor)},{READINGS[sensor, hour]:.3f}"
        for hour, time in enumerate(TIMES)
        for sensor in range(3)
    ]
    text = "\n".join(["sensor,time,value", *table]) + "\n"
    with pytest.raises(UserError, match=r"data.resample.step=1h"):
        load_text(text, tmp_path)
    found = values(load_text(text, tmp_path, resample={"step": "1h"}))
    np.testing.assert_array_equal(found, READINGS.astype(np.float32))


def write_days(path: Path, names: list[str], form: str = "%Y-%m-%d") -> list[str]:
    """Write a file for each entity, with a row for each day; return the entities."""
    path.mkdir()
    homes = [f"home {number}" for number in range(len(READINGS))]
    for home, series in zip(homes, READINGS):
        days = series.reshape(-1, 24)
        rows = [
            f"{TIMES[24 * day]:{form}},{','.join(map('{:.3f}'.format, cells))}"
            for day, cells in enumerate(days)
        ]
        (path / f"{home}.csv").write_text("\n".join([f"date,{','.join(names)}", *rows]) + "\n")
    return homes


def load(folder: Path, **settings: Any) -> Raw:
    return read(config.Data(source=str(folder), **settings))


def expect_hours(raw: Raw, homes: list[str]) -> None:
    assert raw.entities == homes and raw.meta.channels == ("value",)
    assert np.array_equal(raw.meta.axis.list_times(), TIMES.to_numpy().astype("M8[s]"))
    assert raw.values[:, :, 0] == pytest.approx(READINGS, abs=5e-4)


@pytest.mark.parametrize("layout", ["auto", "per_file", "day_wide"])
def test_files_of_one_entity_may_have_a_row_a_day(tmp_path: Path, layout: str) -> None:
    homes = write_days(tmp_path / "homes", [f"{hour}:00" for hour in range(24)])
    expect_hours(load(tmp_path / "homes", layout=layout), homes)


def test_numbered_hours_in_files_of_one_entity_are_no_channels(tmp_path: Path) -> None:
    names = [f"H{hour}" for hour in range(1, 25)]
    homes = write_days(tmp_path / "homes", names)
    for settings in ({}, {"layout": "per_file"}):
        with pytest.raises(UserError, match=r"may be 24 parts of a day, .*set data.layout=day_wide"):
            load(tmp_path / "homes", **settings)
    expect_hours(load(tmp_path / "homes", layout="day_wide"), homes)
    channels = load(tmp_path / "homes", layout="per_file", columns={"values": names})
    assert channels.meta.channels == tuple(names) and channels.meta.axis.step_seconds == 86400


@pytest.mark.parametrize("form", ["%d/%m/%Y 00:00:00", "%Y-%m-%dT00:00:00Z"])
def test_days_may_be_written_as_midnights_beside_numbered_hours(tmp_path: Path, form: str) -> None:
    days = READINGS[0].reshape(-1, 24)
    names = [f"H{hour}" for hour in range(1, 25)]
    rows = [f"{TIMES[24 * day]:{form}},{','.join(map(str, cells))}" for day, cells in enumerate(days)]
    text = "\n".join([f"date,{','.join(names)}", *rows]) + "\n"
    with pytest.raises(UserError, match=r"may be 24 parts of a day"):
        load_text(text, tmp_path)
    found = load_text(text, tmp_path, layout="day_wide")
    assert values(found)[0] == pytest.approx(READINGS[0], rel=1e-6)


@pytest.mark.parametrize("form", ["%Y%m%d%H", "%d.%m.%Y %H.%M", "unix"])
def test_hours_without_colons_show_that_rows_are_no_days(tmp_path: Path, form: str) -> None:
    names = [f"s{home}" for home in range(1, 25)]
    times = [str(int(time.timestamp())) if form == "unix" else f"{time:{form}}" for time in TIMES]
    rows = [f"{time},{','.join([f'{hour % 7 + 0.5}'] * 24)}" for hour, time in enumerate(times)]
    found = load_text("\n".join([f"time,{','.join(names)}", *rows]) + "\n", tmp_path)
    assert found.entities == names and found.meta.axis.step_seconds == 3600


def test_names_with_points_are_no_clock_times_beside_hours(tmp_path: Path) -> None:
    names = [f"1.{room}" for room in range(10, 40)]
    rows = [f"{time:%Y-%m-%d %H:%M},{','.join([f'{time.hour + 0.5}'] * 30)}" for time in TIMES]
    found = load_text("\n".join([f"time,{','.join(names)}", *rows]) + "\n", tmp_path)
    assert found.entities == names and np.array_equal(values(found)[0], TIMES.hour + 0.5)
