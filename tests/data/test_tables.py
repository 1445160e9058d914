"""Tables as published and exported: right values, or one line that names the setting which reads them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import read
from distgan.errors import UserError
from tests.helpers.tables import (
    EXPECTED,
    WIDE,
    case,
    joined,
    load,
    load_text,
    long_rows,
    values,
)

# ---------------------------------------------------------------------------------------- cases as published


def test_low_carbon_london_as_published(tmp_path: Path) -> None:
    source = load(case("lcl_official.csv"), tmp_path)
    assert source.entities == [f"MAC{number:06d}" for number in range(2, 8)]
    assert source.meta.channels == ("KWH/hh (per half hour)",) and source.meta.axis.step_seconds == 1800
    assert source.meta.axis.start == "2012-10-12T00:00:00"
    assert source.attributes == {"stdorToU": ["ToU", "Std", "Std", "Std", "Std", "ToU"]}
    table = pd.read_csv(case("lcl_official.csv"), na_values=["Null ", " Null "], skipinitialspace=True)
    table["DateTime"] = pd.to_datetime(table["DateTime"])
    table = table.rename(columns={table.columns[3]: "kwh"})
    table["kwh"] = pd.to_numeric(table["kwh"], errors="coerce")
    on_grid = table[(table["DateTime"].dt.minute % 30 == 0) & (table["DateTime"].dt.second == 0)]
    right = on_grid.drop_duplicates().pivot(index="LCLid", columns="DateTime", values="kwh")
    np.testing.assert_allclose(values(source), right.to_numpy(), rtol=1e-6)
    understood = source.understood
    assert (understood.merged_duplicates, understood.conflicting_duplicates) == (6, 0)
    assert understood.off_grid_ignored == len(table) - len(on_grid) > 0


def test_points_that_may_be_thousands_are_refused_and_read_as_told(tmp_path: Path) -> None:
    path = case("e1_semicolon_point_thousands.csv")
    with pytest.raises(
        UserError, match=r"line 2, column 'm000': '1\.634'.*data.decimal='\.' or data.thousands='\.'"
    ):
        load(path, tmp_path)
    assert values(load(path, tmp_path, thousands="."))[:3, 0].tolist() == [1634, 964, 926]
    np.testing.assert_allclose(values(load(path, tmp_path, decimal="."))[:2, 0], [1.634, 964], rtol=1e-6)


def test_sensors_sorted_by_time_are_twenty_entities(tmp_path: Path) -> None:
    path = case("sensors_long_by_time.csv")
    source = load(path, tmp_path, resample={"step": "1h"})
    assert sorted(source.entities) == [str(number) for number in range(101, 121)]
    assert source.meta.channels == ("temp", "rh")
    table = pd.read_csv(path, parse_dates=["time"]).set_index("time")
    right = table[table["sensor"] == 107].resample("1h")["rh"].mean()
    found = source.block(0, 20)[source.entities.index("107"), :, 1]
    series = pd.Series(found, source.meta.axis.list_times()).reindex(right.index)
    np.testing.assert_allclose(series, right, rtol=1e-5)


def test_a_table_without_a_header_is_read(tmp_path: Path) -> None:
    source = load(case("no_header_long.csv"), tmp_path)
    table = pd.read_csv(case("no_header_long.csv"), header=None)
    assert source.entities == list(dict.fromkeys(table[0])) and len(source.entities) == 20
    np.testing.assert_allclose(values(source).ravel(), table[2], rtol=1e-6)


@pytest.mark.parametrize(
    ("rule", "right"), [("first", min), ("last", None), ("mean", np.mean), ("sum", np.sum)]
)
def test_conflicting_duplicates_are_refused_or_resolved_and_counted(
    tmp_path: Path, rule: str, right: Any
) -> None:
    path = case("conflicting_duplicate.csv")
    table = pd.read_csv(path)
    both = table[(table["id"] == "H003") & (table["time"] == "2013-01-09 05:00:00")]["kwh"].tolist()
    assert len(both) == 2 and both[0] != both[1]
    for settings in ({}, {"resample": {"step": "2h"}}):
        with pytest.raises(
            UserError, match=r"2013-01-09T05:00:00 .*lines 2071 and 2072.*data.duplicates to first"
        ):
            load(path, tmp_path, **settings)
    source = load(path, tmp_path, duplicates=rule)
    step = source.meta.axis.list_times().tolist().index(pd.Timestamp("2013-01-09 05:00").to_pydatetime())
    wanted = {"first": both[0], "last": both[1], "mean": np.mean(both), "sum": sum(both)}[rule]
    np.testing.assert_allclose(values(source)[source.entities.index("H003"), step], wanted, rtol=1e-6)
    assert source.understood.conflicting_duplicates == 1
    assert source.meta.provenance["duplicates"] == {"merged": 0, "conflicting": 1, "rule": rule}


def test_uci_electricity_as_published(tmp_path: Path) -> None:
    path = case("LD2011_2014.txt")
    source = load(path, tmp_path)
    table = pd.read_csv(path, sep=";", decimal=",", index_col=0)
    assert source.entities == list(table.columns) and source.meta.axis.step_seconds == 900
    np.testing.assert_allclose(values(source), table.to_numpy().T, rtol=1e-6)


def test_ausgrid_as_published(tmp_path: Path) -> None:
    path = case("ausgrid_2010-2011.csv")
    source = load(path, tmp_path)
    assert len(source.entities) == 30 and source.meta.channels == ("GC", "GG", "CL")
    assert source.understood.layout == "day_wide" and source.understood.skipped_rows[0].startswith(
        "Solar home"
    )
    assert (source.meta.axis.start, source.meta.axis.step_seconds) == ("2010-07-01T00:30:00", 1800)
    table = pd.read_csv(path, skiprows=1)
    rows = table[(table["Customer"] == 4) & (table["Consumption Category"] == "CL")]
    right = rows.iloc[:, 5:53].to_numpy(float).ravel()
    found = source.block(0, 30)[source.entities.index("4"), :, 2]
    np.testing.assert_allclose(found[: len(right)], right, rtol=1e-6)
    assert source.attributes["Postcode"][3] == "2009"
    chosen = load(path, tmp_path, columns={"values": ["GG", "GC"]})
    assert chosen.meta.channels == ("GG", "GC") and not np.isnan(chosen.block(0, 30)).any()


def test_cer_as_published(tmp_path: Path) -> None:
    path = case("cer_File1.txt")
    settings = {"date_format": "daycode:2009-01-01:30min", "columns": {"time": "column2"}}
    source = load(path, tmp_path, **settings)
    assert len(source.entities) == 30 and source.entities[0] == "1000"
    assert (source.meta.axis.start, source.meta.axis.step_seconds) == ("2009-07-14T00:00:00", 1800)
    np.testing.assert_allclose(values(source)[0, :4], [0.051, 0.059, 0.081, 0.019], rtol=1e-6)


# --------------------------------------------------------------------------------------------- their siblings


def test_the_id_may_stand_in_any_column_and_keep_its_zeros(tmp_path: Path) -> None:
    rows = [[f"00{'ab'.index(home) + 7}", time, kwh] for home, time, kwh in long_rows()]
    for order in ([0, 1, 2], [1, 0, 2], [1, 2, 0], [2, 0, 1]):
        names = ["meter", "time", "kwh"]
        text = joined([[row[place] for place in order] for row in [names, *rows]])
        source = load_text(text, tmp_path)
        assert source.entities == ["007", "008"], order
        np.testing.assert_array_equal(values(source), EXPECTED)


def test_an_id_may_be_called_na(tmp_path: Path) -> None:
    rows = [["NA" if home == "a" else "None", time, kwh] for home, time, kwh in long_rows()]
    assert load_text(
        joined([["country", "time", "load"], *rows]), tmp_path, columns={"id": "country"}
    ).entities == [
        "NA",
        "None",
    ]


def test_several_columns_make_an_id(tmp_path: Path) -> None:
    rows = [
        [site, meter, f"2013-01-01 {hour:02d}:00", f"{hour}.5"]
        for site in "xy"
        for meter in "12"
        for hour in range(4)
    ]
    text = joined([["site", "meter", "time", "kwh"], *rows])
    with pytest.raises(UserError, match=r"set data.columns.id"):
        load_text(text, tmp_path)
    source = load_text(text, tmp_path, columns={"id": ["site", "meter"]})
    assert source.entities == ["x / 1", "x / 2", "y / 1", "y / 2"]


def test_a_column_may_say_the_channel(tmp_path: Path) -> None:
    rows = [
        [*row[:2], kind, str(float(row[2]) * factor)]
        for row in long_rows()
        for kind, factor in (("load", 1), ("pv", 2))
    ]
    source = load_text(joined([["home", "time", "variable", "reading"], *rows]), tmp_path)
    assert source.meta.channels == ("load", "pv") and source.entities == ["a", "b"]
    np.testing.assert_array_equal(source.block(0, 2)[:, :, 1], 2 * EXPECTED)
    only = load_text(
        joined([["home", "time", "variable", "reading"], *rows]),
        tmp_path,
        columns={"values": ["pv"], "channel": "variable"},
    )
    np.testing.assert_array_equal(values(only), 2 * EXPECTED)


def test_columns_that_never_change_within_an_entity_are_attributes(tmp_path: Path) -> None:
    rows = [[*row, {"a": "3", "b": "5"}[row[0]], {"a": "flat", "b": "house"}[row[0]]] for row in long_rows()]
    source = load_text(joined([["home", "time", "kwh", "rooms", "kind of home"], *rows]), tmp_path)
    assert source.meta.channels == ("kwh",)
    assert source.attributes == {"rooms": ["3", "5"], "kind of home": ["flat", "house"]}


def test_words_that_change_are_refused_with_the_setting_that_helps(tmp_path: Path) -> None:
    rows = [[*row, "ok" if number % 3 else "late"] for number, row in enumerate(long_rows())]
    text = joined([["home", "time", "kwh", "state"], *rows])
    with pytest.raises(UserError, match=r"data.columns.ignore=\[state\]"):
        load_text(text, tmp_path)
    source = load_text(text, tmp_path, columns={"ignore": ["state"]})
    np.testing.assert_array_equal(values(source), EXPECTED)
    assert source.understood.ignored_columns == ["state"]


TITLES: dict[str, str] = {
    "title": "Readings of 2013\n{}",
    "title with cells": "Readings of 2013,,\n{}",
    "two titles and a blank line": "Readings\nfrom the meters\n\n{}",
    "comment": "# exported, by hand, today\n{}",
}


@pytest.mark.parametrize("kind", TITLES)
def test_title_rows_are_skipped(tmp_path: Path, kind: str) -> None:
    text = joined([["home", "time", "kwh"], *long_rows()])
    np.testing.assert_array_equal(values(load_text(TITLES[kind].format(text), tmp_path)), EXPECTED)


UNITS = {
    "kWh": WIDE.replace("a,b\n", "a,b\n,kWh,kWh\n"),
    "in brackets": WIDE.replace("a,b\n", "a,b\n(UTC),[kWh],[kWh]\n"),
    "and a title": "Meters\n" + WIDE.replace("a,b\n", "a,b\n,kWh,kWh\n"),
    "header given": WIDE.replace("a,b\n", "a,b\nwhen,first,second\n"),
}


@pytest.mark.parametrize("kind", UNITS)
def test_units_rows_are_skipped_and_kept(tmp_path: Path, kind: str) -> None:
    settings: dict[str, Any] = {}
    if kind == "header given":
        with pytest.raises(UserError, match=r"lines 1 and 2 may both name the columns; set data.header"):
            load_text(UNITS[kind], tmp_path)
        settings = {"header": 1}
    source = load_text(UNITS[kind], tmp_path, **settings)
    assert source.entities == ["a", "b"]
    np.testing.assert_array_equal(values(source), EXPECTED)
    if kind == "kWh":
        assert source.understood.units_row == {"a": "kWh", "b": "kWh"}


def test_skip_rows_and_header_count_lines_of_the_file(tmp_path: Path) -> None:
    text = "x,y,z\nx,y,z\n" + WIDE
    source = load_text(text, tmp_path, skip_rows=2)
    np.testing.assert_array_equal(values(source), EXPECTED)
    assert load_text(text, tmp_path, header=3).entities == ["a", "b"]
    none = load_text("".join(WIDE.splitlines(keepends=True)[1:]), tmp_path, header="none")
    assert none.entities == ["column2", "column3"]
    np.testing.assert_array_equal(values(none), EXPECTED)


def test_header_lines_inside_joined_files_are_left_out_and_counted(tmp_path: Path) -> None:
    head, *rows = WIDE.splitlines(keepends=True)
    source = load_text(head + rows[0] + rows[1] + head + rows[2] + "# note\n\n" + rows[3], tmp_path)
    np.testing.assert_array_equal(values(source), EXPECTED)
    assert source.understood.repeated_headers == 1


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    head, *rows = WIDE.splitlines(keepends=True)
    text = "Title\n\n" + head + rows[0] + "\n# note\n" + rows[1] + rows[2].replace("2.5,", "two,") + rows[3]
    with pytest.raises(UserError, match=r"line 8, column 'a': 'two' is not a number"):
        load_text(text, tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("tail", ["", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ends_of_lines_and_encodings(tmp_path: Path, end: str, tail: str, encoding: str) -> None:
    lines = [line + tail for line in WIDE.splitlines()]
    source = load_text((end.join(lines) + end).encode(encoding), tmp_path)
    assert source.entities == ["a", "b"]
    np.testing.assert_array_equal(values(source), EXPECTED)


def test_trailing_separators_in_rows_alone(tmp_path: Path) -> None:
    head, *rows = WIDE.splitlines()
    source = load_text("\n".join([head, *(row + "," for row in rows)]) + "\n", tmp_path)
    assert source.entities == ["a", "b"]
    np.testing.assert_array_equal(values(source), EXPECTED)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16-le"])
def test_other_encodings_are_refused_and_read_when_named(tmp_path: Path, encoding: str) -> None:
    content = WIDE.replace(",a,", ",Höhe,").encode(encoding)
    with pytest.raises(UserError, match=r"data.encoding"):
        load_text(content, tmp_path)
    source = load_text(content, tmp_path, encoding=encoding)
    assert source.entities == ["Höhe", "b"]
    np.testing.assert_array_equal(values(source), EXPECTED)
    with pytest.raises(ValueError, match=r"no encoding"):
        config.Data(encoding="klingon")


# ------------------------------------------------------------------------------------- other shapes of tables


def test_a_row_an_entity_and_a_column_a_time(tmp_path: Path) -> None:
    times = [f"2013-01-01 {hour:02d}:00" for hour in range(4)]
    rows = [["meter", *times], *(["ab"[n], *map(str, EXPECTED[n])] for n in range(2))]
    source = load_text(joined(rows), tmp_path)
    assert source.entities == ["a", "b"] and source.understood.layout == "transposed"
    np.testing.assert_array_equal(values(source), EXPECTED)


@pytest.mark.parametrize(
    "form",
    [
        lambda day: f"{day.month}/{day.day}/{day:%y}",  # as Johns Hopkins wrote cases of COVID-19
        lambda day: f"{day.day}.{day.month}.{day.year}",
        lambda day: f"{day:%d %b %Y}",
        lambda day: f"{day:%Y%m%d}",
    ],
)
def test_every_column_that_is_named_by_a_date_holds_readings(
    tmp_path: Path, form: Callable[[pd.Timestamp], str]
) -> None:
    days = pd.date_range("2019-01-01", periods=60)
    readings = np.random.default_rng(0).integers(0, 99, (2, len(days)))
    rows = [["home", "PM2.5", *map(form, days)], *([f"H{n}", str(n), *map(str, readings[n])] for n in (0, 1))]
    source = load_text(joined(rows), tmp_path)
    assert source.attributes == {"PM2.5": ["0", "1"]} and source.meta.axis.start == "2019-01-01T00:00:00"
    np.testing.assert_array_equal(values(source), readings)


DAY_NAMES: dict[str, Callable[[int], str]] = {
    "0:00": lambda step: f"{step * 6}:00",
    "06:00 to 0:00": lambda step: f"{(step + 1) * 6 % 24:02d}:00",
    "to 24:00": lambda step: f"{(step + 1) * 6:02d}:00",
    "h1": lambda step: f"h{step + 1}",
    "numbers from 0": lambda step: str(step),
}


@pytest.mark.parametrize("kind", DAY_NAMES)
def test_a_row_a_day(tmp_path: Path, kind: str) -> None:
    rows = [["home", "date", *(DAY_NAMES[kind](step) for step in range(4))]]
    rows += [
        [home, f"2013-01-0{day + 1}", *(f"{10 * n + 4 * day + step}.5" for step in range(4))]
        for n, home in enumerate("ab")
        for day in range(2)
    ]
    source = load_text(joined(rows), tmp_path, layout="day_wide")
    assert source.entities == ["a", "b"]
    expected = np.arange(8) + 0.5
    np.testing.assert_array_equal(values(source), [expected, expected + 10])
    late = kind in ("06:00 to 0:00", "to 24:00")
    assert source.meta.axis.start == f"2013-01-01T{'06' if late else '00'}:00:00"
    assert source.meta.axis.step_seconds == 6 * 3600


def test_a_wide_table_of_many_pieces_is_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distgan.data.formats.csv_pieces.PIECE_BYTES", 3000)
    times = pd.date_range("2013-01-01", periods=500, freq="h", name="time")
    table = pd.DataFrame(np.random.default_rng(0).gamma(2, size=(500, 4)).round(3), times, list("abcd"))
    table.to_csv(tmp_path / "wide.csv")
    np.testing.assert_allclose(values(load(tmp_path / "wide.csv", tmp_path)), table.to_numpy().T, rtol=1e-6)
    long = table.reset_index().melt("time", var_name="home", value_name="kwh")
    for name, frame in (("id", long), ("time", long.sort_values("time", kind="stable"))):
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        found = load(tmp_path / f"{name}.csv", tmp_path)
        assert found.entities == list("abcd")
        np.testing.assert_allclose(values(found), table.to_numpy().T, rtol=1e-6)


def test_series_that_begin_late_or_end_early(tmp_path: Path) -> None:
    times = pd.date_range("2013-01-01", periods=100, freq="h", name="time")
    table = pd.DataFrame(np.random.default_rng(0).gamma(2, size=(100, 4)), times, list("abcd"))
    table.iloc[:40, 1] = np.nan  # begins late
    table.iloc[20:, 2] = np.nan  # ends too early
    table.iloc[30:60, 3] = np.nan  # a gap
    table.to_csv(tmp_path / "a.csv")
    assert read(config.Data(source=str(tmp_path / "a.csv"))).entities == ["a"]
    raw = read(config.Data(source=str(tmp_path / "a.csv"), start_ragged=0.5))
    assert raw.entities == ["a", "b"] and np.isnan(raw.values[1, :40, 0]).all()
    assert raw.left_out == {"less than 50 % measured": 1, "more than 5 % missing between first and last": 1}


# ------------------------------------------------------------------------------------------------- settings


def test_former_names_of_settings(tmp_path: Path) -> None:
    given = config.Data.model_validate({"timestamp": "when", "entity": "home"})
    assert (given.columns.time, given.columns.id) == ("when", "home")
    with pytest.raises(ValueError, match=r"timestamp 'when' and columns.time 'then' differ"):
        config.Data.model_validate({"timestamp": "when", "columns": {"time": "then"}})
    with pytest.raises(ValueError, match=r"one mark has one meaning"):
        config.Data(decimal=".", thousands=".")
    with pytest.raises(ValueError, match=r"columns.id and columns.ignore both name 'a'"):
        config.Data.model_validate({"columns": {"id": "a", "ignore": ("a",)}})


def test_columns_by_name(tmp_path: Path) -> None:
    rows = [[*row, "7", f"{float(row[2]) * 3}"] for row in long_rows()]
    text = joined([["home", "time", "kwh", "junk", "heat"], *rows])
    source = load_text(text, tmp_path, columns={"values": ["heat", "kwh"]})
    assert source.meta.channels == ("heat", "kwh")
    np.testing.assert_array_equal(source.block(0, 2)[:, :, 0], 3 * EXPECTED)
    with pytest.raises(
        UserError, match=r"data.columns.values 'gas' is no column of .*a\.csv; it has home, time"
    ):
        load_text(text, tmp_path, columns={"values": ["gas"]})


def wide_with(name: str, cells: list[str]) -> str:
    head, *rows = WIDE.splitlines()
    return "\n".join([f"{head},{name}", *(f"{row},{cell}" for row, cell in zip(rows, cells))]) + "\n"


@pytest.mark.parametrize("cells", [["kWh"] * 4, ["ok", "bad", "ok", "bad"], ["", "changed", "", ""]])
@pytest.mark.parametrize("name", ["unit", "quality", "remark"])
def test_words_beside_a_wide_table_make_no_ids(tmp_path: Path, name: str, cells: list[str]) -> None:
    text = wide_with(name, cells)
    with pytest.raises(UserError, match=rf"column '{name}' holds words.*data.columns.ignore=\[{name}\]"):
        load_text(text, tmp_path)
    source = load_text(text, tmp_path, columns={"ignore": [name]})
    assert source.entities == ["a", "b"]
    np.testing.assert_array_equal(values(source), EXPECTED)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "row", "index"])
def test_an_exported_count_of_rows_is_no_series(tmp_path: Path, name: str) -> None:
    head, *rows = WIDE.splitlines()
    text = "\n".join([f"{name},{head}", *(f"{number},{row}" for number, row in enumerate(rows))]) + "\n"
    source = load_text(text, tmp_path)
    assert source.entities == ["a", "b"] and source.understood.ignored_columns == [name]


@pytest.mark.parametrize("name", ["H", "HR", "Hour "])
def test_numbered_columns_beside_dates_are_hours_or_entities(tmp_path: Path, name: str) -> None:
    numbers = np.arange(72).reshape(3, 24) + 0.5
    rows = [["date", *(f"{name}{hour}" for hour in range(1, 25))]]
    rows += [[f"2013-01-0{day + 1}", *map(str, numbers[day])] for day in range(3)]
    with pytest.raises(UserError, match=r"set data.layout=day_wide, or wide or long"):
        load_text(joined(rows), tmp_path)
    hourly = load_text(joined(rows), tmp_path, layout="day_wide")
    assert hourly.entities == ["a"] and hourly.meta.axis.step_seconds == 3600
    np.testing.assert_array_equal(values(hourly)[0], numbers.ravel())
    daily = load_text(joined(rows), tmp_path, layout="wide")
    assert len(daily.entities) == 24
    np.testing.assert_array_equal(values(daily), numbers.T)


def test_a_file_that_holds_its_rows_twice(tmp_path: Path) -> None:
    source = load_text(WIDE + WIDE, tmp_path)
    np.testing.assert_array_equal(values(source), EXPECTED)
    assert (source.understood.merged_duplicates, source.understood.repeated_headers) == (4, 1)


@pytest.mark.parametrize("cut", ["1.2", "1.", "1", "-"])
def test_a_file_that_ends_within_a_number_is_refused(tmp_path: Path, cut: str) -> None:
    times = pd.date_range("2013-01-01", periods=60, freq="h").strftime("%Y-%m-%d %H:%M")
    rows = [f"{time},{place % 7 + 0.125:.3f},{place % 5 + 0.25:.3f}" for place, time in enumerate(times)]
    text = "\n".join(["time,H1,H2", *rows])
    path = tmp_path / "cut.csv"
    path.write_text(text[: -len("4.250")] + cut)
    with pytest.raises(UserError, match=f"ends in '{cut}', without an end of the line"):
        load(path, tmp_path)
    for whole in (text, text + "\n", text[: -len("4.250")]):  # the last reading is missing
        path.write_text(whole)
        assert load(path, tmp_path).meta.axis.length == 60


@pytest.mark.parametrize("header", ["time;H1;H2", "time\tH1\tH2", '"time,H1,H2"'])
def test_names_between_other_separators_than_the_rows_are_refused(tmp_path: Path, header: str) -> None:
    times = pd.date_range("2013-01-01", periods=60, freq="h").strftime("%Y-%m-%d %H:%M")
    rows = [f"{time},{place % 7 + 0.125:.3f},{place % 5 + 0.25:.3f}" for place, time in enumerate(times)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(UserError, match="line 1 seems to name the 3 columns, between other separators"):
        load(path, tmp_path)
    path.write_text("\n".join(["Homes of Our Town", *rows]) + "\n")
    assert load(path, tmp_path).meta.axis.length == 60
