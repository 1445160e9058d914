"""Lines above and below the rows of published tables: titles, comments, widths of columns, remarks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan.data.ingest import open_source
from distgan.errors import UserError
from tests.helpers.tables import frozen, load, load_text, values

TIMES = pd.date_range("2021-02-20", periods=120, freq="h")
READINGS = np.random.default_rng(0).gamma(2, size=(2, len(TIMES))).round(2) + 0.01
RIGHT = READINGS.astype(np.float32)


def lines(form: str, separator: str) -> list[str]:
    """Rows of a time in a form, and two readings."""
    return [
        separator.join([time.strftime(form), f"{one:.2f}", f"{two:.2f}"])
        for time, one, two in zip(TIMES, *READINGS)
    ]


def joined(*parts: list[str]) -> str:
    return "\n".join(line for part in parts for line in part) + "\n"


def test_widths_below_the_names_are_no_row(tmp_path: Path) -> None:
    """As the US Geological Survey writes tables."""
    rows = [f"USGS\t0164{site}\t{line}" for site in (6, 7) for line in lines("%Y-%m-%d %H:%M", "\t")]
    comments = ["# ------- WARNING -------", "#  TS_ID  Parameter", "#"]
    head = ["agency_cd\tsite_no\tdatetime\tflow\tstage", "5s\t15s\t20d\t14n\t14n"]
    source = load_text(joined(comments, head, rows), tmp_path, name="a.rdb")
    assert source.entities == ["01646", "01647"] and source.meta.channels == ("flow", "stage")
    assert source.understood is not None and source.understood.units_row == {}
    np.testing.assert_array_equal(values(source), np.stack([RIGHT.T, RIGHT.T]))


@pytest.mark.parametrize(
    ("title", "names", "begin"),
    [
        (["\\\\Hourly Report", "\\\\Created at 2021-03-01", "\\\\For 2021-02-20"], "Date,Market,Ontario", ""),
        (["Data,18-02-2021 10:00 UTC"], "Device,Time,Market,Ontario", "A1,"),
    ],
)
def test_dates_in_titles_are_no_rows(tmp_path: Path, title: list[str], names: str, begin: str) -> None:
    rows = [begin + line for line in lines("%Y-%m-%d %H:%M", ",")]
    ignored = {"ignore": ["Device"]} if begin else {}
    source = load_text(joined(title, [names], rows), tmp_path, columns=ignored)
    assert source.entities == ["Market", "Ontario"] and source.meta.axis.start == "2021-02-20T00:00:00"
    np.testing.assert_array_equal(values(source), RIGHT)


def test_a_row_of_words_at_the_top_stays_a_row(tmp_path: Path) -> None:
    """Where no line below it names the columns."""
    text = joined(["time,a,b", "2021-02-19 23:00,Bad,Bad"], lines("%Y-%m-%d %H:%M", ","))
    with pytest.raises(UserError, match=r"line 2, column 'a': 'Bad' is not a number"):
        load_text(text, tmp_path)
    found = values(load_text(text, tmp_path, missing_values=["Bad"]))
    assert np.isnan(found[:, 0]).all()
    np.testing.assert_array_equal(found[:, 1:], RIGHT)


def test_names_in_a_comment_are_read_by_the_number_of_the_line(tmp_path: Path) -> None:
    """As KNMI and NDBC write them."""
    head = ["# BRON: KNMI", "#YY MM DD hh  WDIR WSPD", "#yr mo dy hr  degT m/s"]
    text = joined(head, lines("%Y %m %d %H", " "))
    time = {"time": [f"column{number}" for number in range(1, 5)]}
    source = load_text(text, tmp_path, columns=time)
    assert source.entities == ["column5", "column6"]
    source = load_text(text, tmp_path, header=2)
    assert len(source.owners) == 1 and source.meta.channels == ("WDIR", "WSPD")
    assert source.meta.axis.start == "2021-02-20T00:00:00"
    np.testing.assert_array_equal(values(source), RIGHT.T[None])


@pytest.mark.parametrize("names", ["#time,import,export", "# time,T [C],RH [%]", "## time, 1, b"])
def test_names_in_a_comment_are_not_lost(tmp_path: Path, names: str) -> None:
    """Channels would become entities, called column2 and column3."""
    rows = lines("%Y-%m-%d %H:%M", ",")
    text = joined(["# made by hand"], [names], rows)
    with pytest.raises(
        UserError, match=r"line 2 is a comment, .*the 3 columns; set data.header=2 if it does"
    ):
        load_text(text, tmp_path)
    assert load_text(text, tmp_path, header="none").entities == ["column2", "column3"]
    source = load_text(joined(["# of 2021, by hand"], ["#" + rows[0]], rows), tmp_path)
    assert source.entities == ["column2", "column3"]
    np.testing.assert_array_equal(values(source), RIGHT)


MIXED = r"the columns have different units \(kWh, Wh\)"


@pytest.mark.parametrize(
    ("head", "header"),
    [
        (["time,a,b", ",Avg,Avg", ",kWh,Wh"], "auto"),
        (["time,a,b", ",Counter,Counter", "dd/MM/yyyy HH:mm,kWh,Wh"], 1),  # as SMA's loggers
        (["time,a,b", "TS,kWh,Wh", ",Min,Avg"], 1),  # as Campbell's
        ([",kWh,Wh", "time,a,b"], "auto"),
        (["time,[kWh],[Wh]", "time,a,b"], 2),
    ],
)
def test_the_row_of_units_is_the_one_with_units(tmp_path: Path, head: list[str], header: int | str) -> None:
    rows = lines("%Y-%m-%d %H:%M", ",")
    with pytest.raises(UserError, match=MIXED):
        load_text(joined(head, rows), tmp_path, header=header)
    same = [line.replace("Wh,Wh", "Wh,kWh").replace("[Wh]", "[kWh]") for line in head]
    source = load_text(joined(same, rows), tmp_path, header=header)
    assert source.understood.units_row.items() >= {"a": "kWh", "b": "kWh"}.items()
    np.testing.assert_array_equal(values(source), RIGHT)


def test_names_above_the_names_are_no_units(tmp_path: Path) -> None:
    head = ["Report,North,West", "time,a,b"]
    source = load_text(joined(head, lines("%Y-%m-%d %H:%M", ",")), tmp_path, header=2)
    assert source.understood.units_row == {} and source.entities == ["a", "b"]


SUMMER = pd.date_range("2023-06-01", periods=48, freq="h")


def in_summer(title: str) -> str:
    return f"{title}\ntime,a,b\n" + "".join(f"{time:%Y-%m-%d %H:%M},{time.hour}.5,1.5\n" for time in SUMMER)


@pytest.mark.parametrize(
    ("title", "start", "clock"),
    [
        ("Time zone: UTC", "2023-06-01T02:00:00", "UTC"),
        ("# Timezone: GMT", "2023-06-01T02:00:00", "UTC"),
        ("Time zone: UTC+01:00", "2023-06-01T01:00:00", "UTC+01:00"),
        ("UTC offset: -05:00", "2023-06-01T07:00:00", "UTC-05:00"),
        ("Time zone: GMT Standard Time", "2023-05-31T23:00:00", ""),  # as Windows calls London
        ("Time zone: CET/CEST", "2023-05-31T23:00:00", ""),
        ("Time zone: Europe/Helsinki", "2023-05-31T23:00:00", ""),
    ],
)
def test_a_zone_that_a_title_states_counts(tmp_path: Path, title: str, start: str, clock: str) -> None:
    source = load_text(in_summer(title), tmp_path, timezone="Europe/Helsinki")
    assert source.meta.axis.start == start
    source = load_text(in_summer(title), tmp_path)
    assert source.meta.axis.start == "2023-06-01T00:00:00"
    assert source.meta.provenance["clock"] == (clock or "as in the source")


def test_another_place_than_a_title_states_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"states the time zone Europe/Berlin, .*set it to Europe/Berlin, or"):
        load_text(in_summer("Time zone: Europe/Berlin"), tmp_path, timezone="Europe/Helsinki")


def test_names_in_several_lines_are_refused_with_the_remedy(tmp_path: Path) -> None:
    text = joined(["region,AT,DE", "variable,load,solar", "time,,"], lines("%Y-%m-%d %H:%M", ","))
    with pytest.raises(UserError, match=r"data.header to the line that does, or write one line of names"):
        load_text(text, tmp_path)


def test_a_remark_below_rows_that_begin_with_words_is_a_footer(tmp_path: Path) -> None:
    rows = [f"France\t{line}" for line in lines("%Y-%m-%d %H:%M", "\t")]
    text = joined(["Place\tDate\ta\tb"], rows, ["RTE is not liable for use of the data."])
    with pytest.raises(UserError, match=r"the last line, 122 .*set data.skip_footer=1"):
        load_text(text, tmp_path, columns={"ignore": ["Place"]})
    source = load_text(text, tmp_path, columns={"ignore": ["Place"]}, skip_footer=1)
    np.testing.assert_array_equal(values(source), RIGHT)
    with pytest.raises(UserError, match=r"line 122 has 1 of 4 cells; the file is cut off"):
        load_text(joined(["Place\tDate\ta\tb"], rows, ["Fran"]), tmp_path, columns={"ignore": ["Place"]})


def test_a_channel_that_is_constant_everywhere_is_named(tmp_path: Path) -> None:
    from distgan import config

    folder = tmp_path / "homes"
    folder.mkdir()
    for number, readings in enumerate(READINGS):
        rows = [f"{time:%Y-%m-%d %H:%M},{value:.2f},0" for time, value in zip(TIMES, readings)]
        (folder / f"home{number}x.csv").write_text(joined(["time,kWh,imputed"], rows))
    settings = {"source": str(folder)}
    for unusable in ("error", "drop"):
        given = config.Data.model_validate(settings | {"unusable": unusable})
        with pytest.raises(UserError, match=r"set data.columns.ignore=\[imputed\]"):
            open_source(given, tmp_path / unusable)
    given = config.Data.model_validate(settings | frozen({"columns": {"ignore": ["imputed"]}}))
    np.testing.assert_array_equal(open_source(given, tmp_path / "right").read_rows(0, 2)[:, :, 0], RIGHT)


# ------------------------------------------------------------------------- beside the times of a day

DAYS = pd.date_range("2021-02-22", periods=14)
OF_DAYS = np.random.default_rng(1).gamma(2, size=(len(DAYS), 24)).round(2) + 0.01
CLOCKS = ",".join(f"{hour}:00" for hour in range(24))


def days(name: str, cells: list[str]) -> str:
    rows = [
        f"{day:%Y-%m-%d},{cell}," + ",".join(f"{value:.2f}" for value in readings)
        for day, cell, readings in zip(DAYS, cells, OF_DAYS)
    ]
    return joined([f"Date,{name},{CLOCKS}"], rows)


@pytest.mark.parametrize(
    ("name", "cells", "said"),
    [
        ("Weekday", DAYS.day_name().tolist(), "every date stands once, so column 'Weekday'"),
        ("Total", [f"{row.sum():.2f}" for row in OF_DAYS], "column 'Total' holds numbers and is no time"),
    ],
)
def test_what_describes_days_is_no_id(tmp_path: Path, name: str, cells: list[str], said: str) -> None:
    with pytest.raises(UserError, match=rf"{said}.*data.columns.ignore=\[{name}\]"):
        load_text(days(name, cells), tmp_path)
    found = values(load_text(days(name, cells), tmp_path, columns={"ignore": [name]}))
    np.testing.assert_array_equal(found.ravel(), OF_DAYS.ravel().astype(np.float32))


@pytest.mark.parametrize(
    ("form", "one", "other"),
    [
        ("Unit: {}\ntime,value,more", "kWh", "Wh"),
        ("# Time zone: {}\ntime,value,more", "UTC+1", "UTC+2"),
        ("time,value,more\n,{0},{0}", "[kWh]", "[MWh]"),
    ],
)
def test_files_that_state_different_units_or_zones_are_refused(
    tmp_path: Path, form: str, one: str, other: str
) -> None:
    folder = tmp_path / "homes"
    folder.mkdir()
    for number, unit in enumerate((one, one, other)):
        text = joined([form.format(unit)], lines("%Y-%m-%d %H:%M", ","))
        (folder / f"home{'abc'[number]}.csv").write_text(text)
    with pytest.raises(UserError, match=r"homec\.csv line [12] states the (unit|time zone) .*homea\.csv"):
        load(folder, tmp_path)
    if not form.startswith("time"):
        source = load(folder, tmp_path, skip_rows=1)
        np.testing.assert_array_equal(values(source), np.stack([RIGHT.T] * 3))
    (folder / "homec.csv").unlink()
    assert load(folder, tmp_path).entities == ["homea", "homeb"]


def test_a_quote_that_does_not_end_is_named_by_its_line(tmp_path: Path) -> None:
    rows = lines("%Y-%m-%d %H:%M", ",")
    rows[30] = '"' + rows[30]
    with pytest.raises(UserError, match=r"the quote in line 32 does not end there; delete it, or, if cells"):
        load_text(joined(["time,a,b"], rows), tmp_path)
