"""Layouts of exports that were read wrongly or refused without a way on: right values, or what reads them.

Each is the kind of a layout that a portal, a database or a spreadsheet writes; the population is made here.
"""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from distgan import config
from distgan.data import ingest
from distgan.data.checks.suspicions import Suspicion
from distgan.data.formats.pieces import Source
from distgan.errors import UserError
from distgan.pipeline import source_summary
from tests.helpers.tables import load, load_text

DAYS = 20


def population(freq: str = "1h", start: str = "2023-03-01", homes: int = 3, days: int = DAYS) -> pd.DataFrame:
    """Readings of three decimals, never whole: [times, homes]."""
    times = pd.date_range(start, pd.Timestamp(start) + pd.Timedelta(days=days), freq=freq, inclusive="left")
    values = np.random.default_rng(3).gamma(2, 0.3, (len(times), homes)).round(3) + 0.0001
    return pd.DataFrame(values, times, [f"H{number}" for number in range(1, homes + 1)])


def wide(
    table: pd.DataFrame, stamps: Callable[[pd.Timestamp], str], time: str = "time", sep: str = ","
) -> str:
    rows = (
        sep.join([stamps(at), *(f"{x:.4f}" for x in row)]) for at, row in zip(table.index, table.to_numpy())
    )
    return "\n".join([sep.join([time, *table.columns]), *rows]) + "\n"


def long(table: pd.DataFrame, cells: Callable[[str, pd.Timestamp, float], str], header: str) -> str:
    return (
        "\n".join([header, *(cells(home, at, x) for home in table for at, x in table[home].items())]) + "\n"
    )


def compare(source: Source, table: pd.DataFrame) -> None:
    found = source.block(0, len(source.entities))[:, :, 0]
    assert sorted(source.entities) == sorted(table.columns)
    order = [source.entities.index(home) for home in table]
    np.testing.assert_allclose(found[order], table.to_numpy().T, rtol=1e-6)
    assert source.meta.axis.start == str(table.index[0]).replace(" ", "T")
    assert source.meta.axis.step_seconds == int((table.index[1] - table.index[0]).total_seconds())


def refused(text: str | bytes, place: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        load_text(text, place, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def inspect(text: str, place: Path, *settings: str) -> dict[str, Suspicion]:
    (place / "a.csv").write_text(text)
    options = source_summary.parse([str(place / "a.csv"), *settings])
    found, _ = source_summary.open_leniently(options.settings, place / "work")
    return {each.name: each for each in source_summary.look(options.settings, found)}


def open_with(place: Path, named: str) -> ingest.Series:
    """Open a.csv with settings as a shell takes them from a message."""
    options = source_summary.parse([str(place / "a.csv"), *shlex.split(named)])
    return ingest.opened(options.settings.data, place / "again")


# ------------------------------------------------------------------------------------------------- intervals


HOUR = pd.Timedelta("1h")
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
}


@pytest.mark.parametrize("name", LABELS)
def test_hours_as_labels_are_times_and_never_entities(tmp_path: Path, name: str) -> None:
    table = population()
    label = LABELS[name]
    compare(
        load_text(wide(table, lambda at: f"{at:%d/%m/%Y},{label(at.hour)}", "Date,Hour"), tmp_path), table
    )


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


# ----------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("name", ["{home}_{year}", "{year}-{home}", "{home} {year}-01", "{home}.{year}0101"])
def test_years_of_a_home_in_files_of_their_own_are_one_home(tmp_path: Path, name: str) -> None:
    table = population(start="2022-12-20")
    folder = tmp_path / "homes"
    folder.mkdir()
    for home in table:
        for year, part in table[home].groupby(table.index.year):
            part.rename("kwh").rename_axis("time").to_csv(folder / f"{name.format(home=home, year=year)}.csv")
    source = load(folder, tmp_path)
    compare(source, table)
    assert any("6 files are of 3 entities" in note for note in source.understood.notes)
    apart = load(folder, tmp_path, layout="per_file")
    assert len(apart.entities) == 6


def test_homes_whose_numbers_look_like_years_stay_apart(tmp_path: Path) -> None:
    table = population().set_axis(["house_2013", "house_2014", "house_2015"], axis=1)
    folder = tmp_path / "homes"
    folder.mkdir()
    for home in table:
        table[home].rename("kwh").rename_axis("time").to_csv(folder / f"{home}.csv")
    compare(load(folder, tmp_path), table)


# --------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("kind", ["list", "struct", "map"])
def test_nested_cells_of_parquet_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    table = population()
    nested = {
        "list": [[1.0, 2.0]] * len(table),
        "struct": [{"a": 1.0}] * len(table),
        "map": pa.array([[("a", 1.0)]] * len(table), pa.map_(pa.string(), pa.float64())),
    }[kind]
    both = {
        "time": table.index.to_numpy(),
        "H1": table["H1"],
        "H2": table["H2"],
        "H3": table["H3"],
        "more": nested,
    }
    parquet.write_table(pa.table(both), tmp_path / "a.parquet")
    with pytest.raises(
        UserError, match=r"column 'more' holds .* a cell is one value.*data.columns.ignore=\[more\]"
    ):
        load(tmp_path / "a.parquet", tmp_path)
    compare(load(tmp_path / "a.parquet", tmp_path, columns={"ignore": ["more"]}), table)


@pytest.mark.parametrize("status", ["{} status", "{}, Status", "Güte '{}'"])
def test_words_beside_every_reading_are_named_at_once(tmp_path: Path, status: str) -> None:
    table = population()
    names = ",".join(f'"{home}","{status.format(home)}"' for home in table)
    rows = (
        f"{at:%Y-%m-%d %H:%M}," + ",".join(f"{x:.4f},OK" for x in row)
        for at, row in zip(table.index, table.to_numpy())
    )
    message = refused("\n".join([f"time,{names}", *rows]) + "\n", tmp_path)
    named = re.search(r"set (data\.columns\.ignore=.*)$", message)
    assert named, message
    compare(open_with(tmp_path, named[1]).source, table)


@pytest.mark.parametrize("shape", ["wide", "long"])
def test_columns_that_repeat_the_calendar_are_an_error_with_their_names(tmp_path: Path, shape: str) -> None:
    table = population()
    parts = "hour,DayOfWeek,is_weekend"
    cells = {
        at: f"{at:%Y-%m-%d %H:%M},{at.hour},{at.day_of_week + 1},{int(at.day_of_week > 4)}"
        for at in table.index
    }
    if shape == "wide":
        text = wide(table, cells.__getitem__, f"time,{parts}")
    else:
        text = long(table, lambda home, at, x: f"{home},{cells[at]},{x:.4f}", f"id,time,{parts},kwh")
    found = inspect(text, tmp_path)["calendar"]
    assert found.severity == "error" and "data.columns.ignore=[hour,DayOfWeek,is_weekend]" in found.text
    source = load_text(text, tmp_path, columns={"ignore": parts.split(",")})
    compare(source, table)


def test_readings_that_are_named_like_the_calendar_are_readings(tmp_path: Path) -> None:
    table = population().set_axis(["day", "month", "hour"], axis=1)
    assert "calendar" not in inspect(wide(table, lambda at: f"{at:%Y-%m-%d %H:%M}"), tmp_path)


@pytest.mark.parametrize("name", ["rec", "record_no", "Seq", "__index_level_0__", "OBJECTID"])
def test_counts_of_rows_are_no_channels(tmp_path: Path, name: str) -> None:
    table = population()
    rows = long(table, lambda home, at, x: f"{home},{at:%Y-%m-%d %H:%M},{x:.4f}", "").split()
    text = long(
        table, lambda home, at, x: f"{home},{at:%Y-%m-%d %H:%M},{x:.4f}", f"{name},id,time,kwh"
    ).splitlines()
    assert rows
    counted = [text[0], *(f"{number},{row}" for number, row in enumerate(text[1:], start=1))]
    source = load_text("\n".join(counted) + "\n", tmp_path)
    assert source.meta.channels == ("kwh",)
    compare(source, table)


def test_ids_that_became_floats_are_ids(tmp_path: Path) -> None:
    table = population().set_axis(["101.0", "102.0", "107.0"], axis=1)
    text = long(table, lambda home, at, x: f"{home},{at:%Y-%m-%d %H:%M},{x:.4f}", "meter_id,time,kwh")
    compare(load_text(text, tmp_path), table)


def test_readings_that_differ_all_over_are_no_clock_change(tmp_path: Path) -> None:
    table = population(start="2023-10-28")  # a Saturday of autumn
    text = long(table, lambda home, at, x: f"{at:%Y-%m-%d %H:%M},{x:.4f}", "time,kwh")
    message = refused(text, tmp_path, layout="wide")
    assert "stands twice" in message and "daylight" not in message


# --------------------------------------------------------------------------------------------- other contents


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"time": "2023-03-01", "kwh": 1}\n', "JSON"),
        ('[{"time": "2023-03-01", "kwh": 1}]', "JSON"),
        ('<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"/>', "XML"),
        ("\ufeff<html><table><tr><td>time</td></tr></table></html>", r"a web page \(HTML\)"),
        ("<!DOCTYPE html>\n<html></html>", r"a web page \(HTML\)"),
        ("INSERT INTO readings VALUES\n('2023-03-01', 1.5);\n", "a dump of SQL"),
        ("100,NEM12,202303010000,MDP1,Retailer\n200,NMI1,E1,E1,E1,,12345,KWH,30,\n", "a NEM12"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.xls", "a"])
def test_texts_that_are_no_tables_are_refused_by_their_kind(
    tmp_path: Path, text: str, what: str, name: str
) -> None:
    with pytest.raises(UserError, match=f"is {what}.*; "):
        load_text(text, tmp_path, name)


def test_sums_below_a_table_without_a_time_are_a_footer(tmp_path: Path) -> None:
    table = population()
    text = wide(table, lambda at: f"{at:%Y-%m-%d %H:%M}") + ",101.5,102.5,103.5\n"
    assert "set data.skip_footer=1" in refused(text, tmp_path)
    compare(load_text(text, tmp_path, skip_footer=1), table)


def test_days_of_a_spreadsheet_with_decimal_commas(tmp_path: Path) -> None:
    table = population()
    days = {at: (at - pd.Timestamp("1899-12-30")) / pd.Timedelta("1D") for at in table.index}
    text = wide(table, lambda at: f"{days[at]:.6f}", sep=";").replace(".", ",")
    compare(load_text(text, tmp_path, date_format="excel"), table)


def test_german_names_of_zones(tmp_path: Path) -> None:
    table = population(start="2023-10-20")
    local = table.index.tz_localize("Etc/GMT-1").tz_convert("Europe/Berlin")
    names = {
        at: f"{there:%Y-%m-%d %H:%M} {'MESZ' if there.dst() else 'MEZ'}"
        for at, there in zip(table.index, local)
    }
    source = load_text(wide(table, names.__getitem__), tmp_path, timezone="Europe/Berlin")
    compare(source, table)


def test_a_sheet_of_remarks_is_no_choice(tmp_path: Path) -> None:
    table = population(days=3)
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["time", *table.columns])
    for at, row in zip(table.index, table.to_numpy().tolist()):
        sheet.append([at.to_pydatetime(), *row])
    remarks = book.create_sheet("README")
    for line in ("Loads of three homes", "kWh"):
        remarks.append([line])
    book.save(tmp_path / "a.xlsx")
    compare(load(tmp_path / "a.xlsx", tmp_path), table)


def test_arrays_of_objects_and_groups_are_refused_with_the_way_on(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((2, 9)), ids=np.array(["a", "b"], dtype=object))
    with pytest.raises(UserError, match=r"ids holds Python objects.*ids=np.array\(ids, dtype=str\)"):
        load(tmp_path / "a.npz", tmp_path)
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["north/power"] = np.ones((2, 9))
    with pytest.raises(UserError, match=r"in groups \(north\).*group='north'"):
        load(tmp_path / "a.nc", tmp_path)


def test_numbers_beyond_what_is_kept_are_said_to_be_so(tmp_path: Path) -> None:
    table = population() * 1e39
    (tmp_path / "a.csv").write_text(
        "\n".join(["time,H1", *(f"{at:%Y-%m-%d %H:%M},{x:.6e}" for at, x in table["H1"].items())])
    )
    with pytest.raises(UserError, match=r"numbers beyond 3\.4e38 count as infinite"):
        ingest.read(config.Data(source=str(tmp_path / "a.csv"), unusable="drop"))
