"""Files and columns of exports that were misread, or refused without a way on: values, or what reads them."""

import re
from pathlib import Path

import h5py
import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from distgan import config
from distgan.data import ingest
from distgan.errors import UserError
from tests.helpers.exports import HOUR, compare, inspect, long, open_with, population, refused, wide
from tests.helpers.tables import load, load_text

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
    assert any("6 files hold 3 entities" in note for note in source.understood.notes)
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


def test_names_that_stand_twice_are_left_out_together(tmp_path: Path) -> None:
    table = population()
    rows = (f"{at:%Y-%m-%d %H:%M}," + ",".join(f"{x:.4f},W" for x in table.loc[at]) for at in table.index)
    text = "\n".join(["time,H1,Status,H2,Status,H3,Status", *rows]) + "\n"
    assert "leave all of this name out with data.columns.ignore=[Status]" in refused(text, tmp_path)
    compare(load_text(text, tmp_path, columns={"ignore": ["Status"]}), table)


@pytest.mark.parametrize("title", ['Name,JOHN DOE\nAddress,"1 MAIN ST, TOWN"\n\n', ""])
def test_words_of_two_parts_are_no_table_of_blanks(tmp_path: Path, title: str) -> None:
    table = population(homes=1)
    rows = (
        f"Electric usage,{at:%Y-%m-%d},{at:%H:%M},{at + pd.Timedelta('59min'):%H:%M},{x:.4f},"
        for at, x in table["H1"].items()
    )
    text = title + "\n".join(["TYPE,DATE,START TIME,END TIME,USAGE,NOTES", *rows]) + "\n"
    compare(
        load_text(text, tmp_path, columns={"ignore": ["TYPE", "NOTES"]}), table.set_axis(["USAGE"], axis=1)
    )


def test_bars_within_quoted_cells_are_no_separators(tmp_path: Path) -> None:
    table = population().set_axis([f"BZN|A{number}" for number in range(3)], axis=1)
    header = '"MTU (UTC)","Area","Load (MW)"'
    form = "%d/%m/%Y %H:%M:%S"
    text = long(table, lambda home, at, x: f'"{at:{form}} - {at + HOUR:{form}}","{home}","{x:.4f}"', header)
    compare(load_text(text, tmp_path), table)


@pytest.mark.parametrize("day", ["Mi, {:%d.%m.%Y %H:%M}", "mer. {:%d/%m/%Y %H:%M}", "Śr {:%Y-%m-%d %H:%M}"])
def test_days_of_the_week_in_any_language_stand_before_dates(tmp_path: Path, day: str) -> None:
    table = population()
    compare(load_text(wide(table, day.format, sep=";"), tmp_path), table)


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
        ("100,NEM13,202303010000,MDP1,Retailer\n250,6123456789,E1,E1,E1,,12345,KWH,30,\n", "a NEM13"),
        ("UNA:+.? 'UNB+UNOC:3+9900123:500+9900456:500+230301:1200+REF'UNH+1+MSCONS:D:04B'", "an EDIFACT"),
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
