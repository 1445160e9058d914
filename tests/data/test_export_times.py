"""Times as exports write them: intervals in two columns, hours as labels, days in rows."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.helpers.exports import HOUR, compare, long, open_with, population, refused, wide
from tests.helpers.tables import load, load_text

# ------------------------------------------------------------------------------------------------- intervals


INTERVALS: dict[str, tuple[str, Callable[[pd.Timestamp], str]]] = {
    "SMARD": ("Datum von,Datum bis", lambda at: f"{at:%d.%m.%Y %H:%M},{at + HOUR:%d.%m.%Y %H:%M}"),
    "end first": ("bis,von", lambda at: f"{at + HOUR:%Y-%m-%d %H:%M},{at:%Y-%m-%d %H:%M}"),
    "one date": ("Datum,Anfang,Ende", lambda at: f"{at:%d.%m.%Y},{at:%H:%M},{at + HOUR:%H:%M}"),
    "last minute": (
        "DATE,START TIME,END TIME",
        lambda at: f"{at:%Y-%m-%d},{at:%H:%M},{at + pd.Timedelta('59min'):%H:%M}",
    ),
    "offsets": (
        "from,to",
        lambda at: f"{at:%Y-%m-%dT%H:%M:%S}.000+01:00,{at + HOUR:%Y-%m-%dT%H:%M:%S}.000+01:00",
    ),
    "two dates, two clocks": (
        "Van (datum),Van (tijdstip),Tot (datum),Tot (tijdstip)",
        lambda at: f"{at:%d-%m-%Y,%H:%M:%S},{at + HOUR:%d-%m-%Y,%H:%M:%S}",
    ),
    "epoch": ("start,end", lambda at: f"{int(at.timestamp())},{int(at.timestamp()) + 3600}"),
}


@pytest.mark.parametrize("name", INTERVALS)
def test_start_and_end_in_two_columns_are_the_start(tmp_path: Path, name: str) -> None:
    table = population()
    header, stamps = INTERVALS[name]
    source = load_text(wide(table, stamps, header), tmp_path)
    compare(source, table)
    assert any("stand for the time at which they begin" in note for note in source.understood.notes)


def test_starts_and_ends_of_typed_tables(tmp_path: Path) -> None:
    table = population()
    stamped = table.rename_axis("period_start").reset_index()
    stamped.insert(1, "period_end", stamped["period_start"] + HOUR)
    stamped.to_parquet(tmp_path / "a.parquet")
    compare(load(tmp_path / "a.parquet", tmp_path), table)


@pytest.mark.parametrize("shift", ["1D", "90min", "0min", "-1h"])
def test_a_second_time_that_ends_no_interval_is_refused_with_settings_that_read_the_first(
    tmp_path: Path, shift: str
) -> None:
    table = population()
    text = wide(
        table, lambda at: f"{at:%Y-%m-%d %H:%M},{at + pd.Timedelta(shift):%Y-%m-%d %H:%M}", "start,end"
    )
    message = refused(text, tmp_path)
    named = re.search(r"set (data\.columns\.time=\S+) and (data\.columns\.ignore=.*)$", message)
    assert named, message
    source = open_with(tmp_path, f"{named[1]} {named[2]}").source
    compare(source, table)


def test_of_a_utc_and_a_local_time_the_refusal_reads_utc(tmp_path: Path) -> None:
    table = population()
    text = wide(
        table,
        lambda at: f"{at + HOUR:%Y-%m-%d %H:%M},{at:%Y-%m-%dT%H:%MZ}",
        "cet_cest_timestamp,utc_timestamp",
    )
    message = refused(text, tmp_path)
    assert "data.columns.time=utc_timestamp and data.columns.ignore=[cet_cest_timestamp]" in message
    columns = {"time": "utc_timestamp", "ignore": ["cet_cest_timestamp"]}
    compare(load_text(text, tmp_path, columns=columns), table)


# ------------------------------------------------------------------------------------------ hours of the day


LABELS: dict[str, Callable[[int], str]] = {
    "HE": lambda hour: f"HE{hour + 1:02d}",
    "hour": lambda hour: f"Hour {hour + 1}",
    "h": lambda hour: f"{hour}h",
    "Uhr": lambda hour: f"{hour:02d} Uhr",
    "range": lambda hour: f"{hour:02d}-{hour + 1:02d}",
    "range over midnight": lambda hour: f"{hour} - {(hour + 1) % 24}",
    "Nord Pool": lambda hour: f"{hour:02d}\u00a0-\u00a0{(hour + 1) % 24:02d}",
    "points": lambda hour: f"{hour:02d}.00.00",
}


@pytest.mark.parametrize("name", LABELS)
def test_hours_as_labels_are_times_and_never_entities(tmp_path: Path, name: str) -> None:
    table = population()
    label = LABELS[name]
    compare(
        load_text(wide(table, lambda at: f"{at:%d/%m/%Y},{label(at.hour)}", "Date,Hour"), tmp_path), table
    )


def test_readings_with_decimals_are_no_hours(tmp_path: Path) -> None:
    table = population("1D", homes=2, days=30).set_axis(["Hours of sun", "Hours of rain"], axis=1)
    compare(load_text(wide(table, lambda at: f"{at:%Y-%m-%d}"), tmp_path), table)


def test_hours_2a_and_2b_are_the_two_passes_of_an_hour(tmp_path: Path) -> None:
    table = population(start="2023-10-20")
    local = table.index.tz_localize("Etc/GMT-1").tz_convert("Europe/Berlin")
    twice = {at: f"2{'A' if at.dst() else 'B'}" for at in local if f"{at:%m-%d %H}" == "10-29 02"}
    stamps = dict(zip(table.index, (f"{at:%Y-%m-%d},{twice.get(at, f'{at:%H}')}" for at in local)))
    text = wide(table, stamps.__getitem__, "Datum,Stunde")
    assert "end of daylight saving time: set data.timezone" in refused(text, tmp_path)
    source = load_text(text, tmp_path, timezone="Europe/Berlin")
    compare(source, table)


def test_homes_that_are_named_like_hours_stay_homes(tmp_path: Path) -> None:
    table = population("1D", homes=24, days=30)
    text = long(table, lambda home, at, x: f"{home},{at:%Y-%m-%d},{x:.4f}", "home,date,kwh")
    compare(load_text(text, tmp_path), table)


@pytest.mark.parametrize("name", ["INT{}", "kW_{:02d}", "E{}", "Wert {}", "{}. Stunde"])
def test_numbered_columns_of_any_name_beside_dates_may_be_parts_of_the_day(tmp_path: Path, name: str) -> None:
    table = population()
    names = [name.format(hour) for hour in range(1, 25)]
    text = _a_row_a_day(table, names)
    assert "set data.layout=day_wide, or wide or long" in refused(text, tmp_path)
    compare(load_text(text, tmp_path, layout="day_wide"), table)


@pytest.mark.parametrize("name", ["{:02d}:00 kWh", "{:02d}:00 (kWh)", "kWh {:02d}:00", "{:02d}:00 [MW]"])
def test_clock_times_with_units_are_columns_of_a_day(tmp_path: Path, name: str) -> None:
    table = population()
    compare(load_text(_a_row_a_day(table, [name.format(hour) for hour in range(24)]), tmp_path), table)


def _a_row_a_day(table: pd.DataFrame, names: list[str], more: str = "") -> str:
    rows = [
        f"{home},{day},{','.join(f'{x:.4f}' for x in values)}{more}"
        for home in table
        for day, values in table[home].groupby(table.index.date)
    ]
    return "\n".join([f"id,date,{','.join(names)}", *rows]) + "\n"


def test_days_of_25_hours_are_refused_with_two_ways_on(tmp_path: Path) -> None:
    table = population()
    text = _a_row_a_day(table, [f"H{hour:02d}" for hour in range(1, 26)], more=",")
    for layout in ("auto", "day_wide"):
        message = refused(text, tmp_path, layout=layout)
        assert "25 parts of a day" in message and "data.date_format=periods:60min" in message
        assert "data.layout=day_wide and data.columns.ignore=[H25]" in message
    compare(load_text(text, tmp_path, layout="day_wide", columns={"ignore": ["H25"]}), table)
    autumn = population(start="2023-10-20")
    local = autumn.index.tz_localize("Etc/GMT-1").tz_convert("Europe/Madrid")[1:-1]
    autumn = autumn[1:-1]
    place = dict(zip(autumn.index, pd.Series(local.date).groupby(local.date).cumcount() + 1))
    at_local = dict(zip(autumn.index, local))
    assert at_local[autumn.index[0]].hour != 0 or place[autumn.index[0]] == 1
    offset = local[0].hour
    first = local[0].date()
    hours = {at: place[at] + (offset if at_local[at].date() == first else 0) for at in autumn.index}
    text = long(
        autumn, lambda home, at, x: f"{home},{at_local[at].date()},{hours[at]},{x:.4f}", "id,date,hour,kwh"
    )
    settings = {
        "columns": {"time": ["date", "hour"]},
        "date_format": "periods:60min",
        "timezone": "Europe/Madrid",
    }
    compare(load_text(text, tmp_path, **settings), autumn)


def test_hours_3a_and_3b_are_the_parts_of_a_day_of_25_hours(tmp_path: Path) -> None:
    table = population(homes=1)
    names = ["Hour 1", "Hour 2", "Hour 3A", "Hour 3B", *(f"Hour {hour}" for hour in range(4, 25))]
    rows = [
        f"{day}," + ",".join([*(f"{x:.4f}" for x in part[:3]), "", *(f"{x:.4f}" for x in part[3:])])
        for day, part in table["H1"].groupby(table.index.date)
    ]
    text = "\n".join([f"Delivery day,{','.join(names)}", *rows]) + "\n"
    for layout in ("auto", "day_wide"):
        assert "data.layout=day_wide and data.columns.ignore=\"['Hour 3B']\"" in refused(
            text, tmp_path, layout=layout
        )
    source = load_text(text, tmp_path, layout="day_wide", columns={"ignore": ["Hour 3B"]})
    np.testing.assert_allclose(source.block(0, 1)[0, :, 0], table["H1"], rtol=1e-6)


def test_channels_of_transposed_tables(tmp_path: Path) -> None:
    table = population()
    times = ",".join(f"{at:%Y-%m-%d %H:%M}" for at in table.index)
    rows = [
        f"{home},{kind}," + ",".join(f"{factor * x:.5f}" for x in table[home])
        for home in table
        for kind, factor in (("import", 1), ("export", 0.5))
    ]
    text = "\n".join([f"id,kind,{times}", *rows]) + "\n"
    assert "data.columns.channel=kind" in refused(text, tmp_path)
    source = load_text(text, tmp_path, columns={"channel": "kind"})
    assert source.meta.channels == ("import", "export") and source.entities == list(table)
    found = source.block(0, 3)
    np.testing.assert_allclose(found[:, :, 0], table.to_numpy().T, rtol=1e-6)
    np.testing.assert_allclose(found[:, :, 1], 0.5 * table.to_numpy().T, rtol=1e-5)
