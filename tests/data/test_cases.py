"""Small inputs, row by row: what `inspect` understands of each, its values, what it suspects.

The layouts of single rows and their siblings are tried further in test_tables, test_times, test_zones and
test_labelled_arrays; here no row of the table may be without its right answer.
"""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from distgan import config
from distgan.data import ingest
from distgan.data.checks.suspicions import Suspicion
from distgan.errors import UserError
from distgan.pipeline import source_summary

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


def case(name: str) -> Path:
    if not (CASES / name).exists():
        pytest.skip(f"{name} is not in ../shared/cases")
    return CASES / name


def inspect(name: str, place: Path, *settings: str) -> tuple[ingest.Series, dict[str, Suspicion]]:
    """Open a case as `distgan inspect` does: its series and what is suspicious about them, by name."""
    options = source_summary.parse([str(case(name)), *(f"data.{each}" for each in settings)])
    found, refusal = source_summary.open_leniently(options.settings, place)
    assert not refusal, refusal
    return found, {each.name: each for each in source_summary.find_suspicions(options.settings, found)}


def columns(name: str, **how: Any) -> np.ndarray:
    """Return the readings of a wide case as pandas reads them: float64 [series, steps]."""
    return pd.read_csv(case(name), index_col=0, **how).to_numpy().T


def pivot(name: str, index: str, time: str, value: str, **how: Any) -> np.ndarray:
    """Return the readings of a long case as pandas reads them: float64 [series, steps]."""
    table = pd.read_csv(case(name), **how).drop_duplicates()
    table[time] = pd.to_datetime(table[time], utc=True)
    return table.pivot(index=index, columns=time, values=value).to_numpy()


SENTINELS = [-9999, -999]
RIGHT: dict[str, tuple[list[str], Any, tuple[str, int, int]]] = {
    # case: settings that its refusal names, values as another reader has them, start, step in s, series
    "e1_semicolon_point_thousands.csv": (
        ["thousands=."],
        lambda name: columns(name, sep=";", thousands="."),
        ("2021-03-01T00:00:00", 3600, 60),
    ),
    "postgres_plus00.csv": (
        ["timezone=America/Chicago"],
        columns,
        ("2013-01-06T18:00:00", 3600, 20),
    ),
    "dublin_winter.csv": (["timezone=Europe/Dublin"], columns, ("2013-01-07T00:00:00", 3600, 20)),
    "conflicting_duplicate.csv": (
        ["duplicates=last"],
        lambda name: (
            pd.read_csv(case(name))
            .drop_duplicates(["id", "time"], keep="last")
            .pivot(index="id", columns="time", values="kwh")
            .to_numpy()
        ),
        ("2013-01-07T00:00:00", 3600, 20),
    ),
    "no_header_long.csv": (
        [],
        lambda name: pivot(name, "id", "time", "kwh", header=None, names=["id", "time", "kwh"]),
        ("2013-01-07T00:00:00", 3600, 20),
    ),
    "pecan_across_dst.csv": (
        [],
        lambda name: pivot(name, "dataid", "localminute", "use"),
        ("2018-10-28T05:00:00", 900, 6),
    ),
    "us_ampm.csv": ([], columns, ("2013-01-07T00:00:00", 3600, 20)),
    "entsoe_interval.csv": ([], columns, ("2015-01-01T00:00:00", 3600, 25)),
    "LD2011_2014.txt": (
        ["unusable=drop"],
        lambda name: columns(name, sep=";", decimal=","),
        ("2011-01-01T00:15:00", 900, 40),
    ),
    "sentinel_-9999.csv": (
        ["missing_values=[-9999,-999]", "max_missing=0.2"],
        lambda name: columns(name, na_values=SENTINELS),
        ("2013-01-07T00:00:00", 3600, 20),
    ),
    "stuck_10_days.csv": ([], columns, ("2013-01-07T00:00:00", 3600, 20)),
    "b1_percent.csv": ([], columns, ("2021-03-01T00:00:00", 3600, 60)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_tables_have_the_values_that_pandas_reads(tmp_path: Path, name: str) -> None:
    settings, right, (start, step, count) = RIGHT[name]
    found, _ = inspect(name, tmp_path, *settings)
    axis = found.meta.axis
    assert (axis.start, axis.step_seconds, found.num_series) == (start, step, count)
    np.testing.assert_allclose(found.read_rows(0, count)[:, :, 0], right(name), rtol=1e-6)


REFUSED = {  # case: the cell that is named, and the setting that decides
    "e1_semicolon_point_thousands.csv": r"line 2, column 'm000': '1\.634'.*data\.thousands='\.'",
    "conflicting_duplicate.csv": r"lines 2071 and 2072.*data\.duplicates to first, last, mean or sum",
    "monthly_dmy.csv": r"line 3.*'01/02/2013'.*data\.date_format=dmy",
    "w1a_inner_missing.zarr": r"1,680 of its 20,160 values were never written.*data\.accept",
    "cer_File1.txt": r"data\.date_format.*daycode:2009-01-01:30min",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_only_the_owner_can_know_is_refused_with_the_setting(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=REFUSED[name]):
        inspect(name, tmp_path)


SUSPECTED = {  # case: severity, and the words that name the remedy
    "sentinel_-9999.csv": ("sentinel", "error", "data.missing_values=[-9999,-999]"),
    "stuck_10_days.csv": ("stuck", "warning", "1 of 20 series"),
    "b1_percent.csv": ("upper_limit", "warning", "data.bounds.upper=100"),
    "LD2011_2014.txt": ("leading_zeros", "warning", "data.edge_zeros=missing"),
    "lcl_official.csv": ("duplicates", "warning", "6 readings repeat an equal one, 0 disagree"),
}


@pytest.mark.parametrize("name", SUSPECTED)
def test_what_looks_wrong_is_told_before_anything_is_trained(tmp_path: Path, name: str) -> None:
    suspicion, severity, words = SUSPECTED[name]
    settings = ["unusable=drop"] if name == "LD2011_2014.txt" else []
    _, suspicions = inspect(name, tmp_path, *settings)
    assert (
        suspicions[suspicion].severity == severity
        and words in suspicions[suspicion].text + suspicions[suspicion].advice
    )


def test_leading_zeros_are_missing_on_request(tmp_path: Path) -> None:
    _, suspicions = inspect("LD2011_2014.txt", tmp_path)
    kept, _ = inspect("LD2011_2014.txt", tmp_path / "b", "edge_zeros=missing", "start_ragged=0.1")
    assert "leading_zeros" in suspicions
    right = columns("LD2011_2014.txt", sep=";", decimal=",")[
        [kept.source.entities.index(name) for name in kept.entities]
    ]
    values = kept.read_rows(0, kept.num_series)[:, :, 0]
    measured = ~np.isnan(values)
    np.testing.assert_allclose(values[measured], right[measured], rtol=1e-6)
    assert not right[~measured].any() and np.isnan(values[:, 0]).sum() >= 5


def test_low_carbon_london_by_its_own_config(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    path = case("lcl_official.csv")
    settings = config.load(
        str(root / "configs" / "data" / "low_carbon_london.yaml"), [f"data.source={path}", "data.cut=whole"]
    )
    found = ingest.open_source(settings.data, tmp_path)
    table = pd.read_csv(path, names=["id", "tariff", "time", "kwh"], skiprows=1).drop_duplicates()
    table["kwh"] = pd.to_numeric(table["kwh"], errors="coerce")  # `Null` is missing
    table["time"] = pd.to_datetime(table["time"])
    right = table.pivot(index="id", columns="time", values="kwh").to_numpy()
    assert (found.num_series, len(found.meta.channels), found.meta.axis.step_seconds) == (6, 1, 1800)
    assert found.source.attributes == {"stdorToU": ["ToU", "Std", "Std", "Std", "Std", "ToU"]}
    on_grid = ~np.isnan(right).all(axis=0)  # the stamp between two steps holds no reading
    np.testing.assert_allclose(found.read_rows(0, 6)[:, :, 0], right[:, on_grid], rtol=1e-6)
    assert found.source.understood.off_grid_ignored == 2


def test_irregular_sensors_are_entities_with_two_channels(tmp_path: Path) -> None:
    found, _ = inspect("sensors_long_by_time.csv", tmp_path, "resample.step=1h", "max_missing=0.5")
    assert found.num_series == 20 and found.meta.channels == ("temp", "rh")
    table = pd.read_csv(case("sensors_long_by_time.csv"), parse_dates=["time"])
    right = table[table["sensor"] == 101].set_index("time")["temp"].resample("1h").mean()
    row = found.read_rows(0, 20)[found.entities.index("101"), :, 0]
    held = pd.Series(row, found.meta.axis.list_times()).reindex(right.index)
    np.testing.assert_allclose(held, right, rtol=1e-5)


@pytest.mark.parametrize("channel", ["GC", "GG"])
def test_ausgrid_categories_are_channels(tmp_path: Path, channel: str) -> None:
    found, _ = inspect("ausgrid_2010-2011.csv", tmp_path, "layout=day_wide", f"columns.values=[{channel}]")
    table = pd.read_csv(case("ausgrid_2010-2011.csv"), skiprows=1)
    rows = table[table["Consumption Category"] == channel]
    right = rows.iloc[:, 5:53].to_numpy(float).reshape(30, -1)
    assert found.meta.channels == (channel,) and found.meta.axis.step_seconds == 1800
    np.testing.assert_allclose(found.read_rows(0, 30)[:, :, 0], right, rtol=1e-6)


def test_cer_by_its_own_config(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    path = case("cer_File1.txt")
    settings = config.load(
        str(root / "configs" / "data" / "cer_ireland.yaml"), [f"data.source={path}", "data.cut=whole"]
    )
    found = ingest.open_source(settings.data, tmp_path)
    table = pd.read_csv(path, sep=" ", header=None, names=["meter", "code", "kwh"])
    right = table.pivot(index="meter", columns="code", values="kwh").to_numpy()
    assert found.num_series == 30 and found.entities[0] == "1000"
    np.testing.assert_allclose(found.read_rows(0, 30)[:, :, 0], right, rtol=1e-6)


def test_arrays_are_decoded_and_turned_by_their_names(tmp_path: Path) -> None:
    found, _ = inspect("w2a_int16_v3.zarr", tmp_path)
    stored = zarr.open_array(case("w2a_int16_v3.zarr"), mode="r")[:].astype(float)
    right = np.where(stored == -9999, np.nan, stored * 0.01)
    np.testing.assert_allclose(found.read_rows(0, found.num_series)[:, :, 0], right, rtol=1e-6)
    found, _ = inspect("w3a_time_home.zarr", tmp_path / "b")
    stored = zarr.open_array(case("w3a_time_home.zarr"), mode="r")[:]
    np.testing.assert_array_equal(found.read_rows(0, found.num_series)[:, :, 0], stored.T)
    assert stored.shape == (336, 60) and found.num_series == 60


def test_every_row_of_the_table_is_tried_here() -> None:
    text = case("README.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|") and "." in line[:40]]
    named = {name.strip() for row in rows for name in row.split(",")}
    here = Path(__file__).read_text()
    assert len(named) == 20 and all(f'"{name}"' in here for name in named), named


# --------------------------------------------------------------------------------- siblings that were wrong


def _population() -> tuple[np.ndarray, pd.DatetimeIndex]:
    """Five homes of two weeks of hours, kWh of three decimals: float64 [5, 336], and the times."""
    values = np.random.default_rng(1).gamma(2, 0.3, size=(5, 336)).round(3)
    return values, pd.date_range("2013-01-07", periods=336, freq="1h")


def _written(values: np.ndarray, times: pd.DatetimeIndex, separator: str = ",", form: Any = "{:g}") -> str:
    write = form.format if isinstance(form, str) else form
    rows = [["time", *(f"H{home}" for home in range(len(values)))]]
    rows += [[f"{time:%Y-%m-%d %H:%M}", *map(write, column)] for time, column in zip(times, values.T)]
    return "\n".join(separator.join(row) for row in rows) + "\n"


def _open(text: str, place: Path, *settings: str) -> tuple[ingest.Series, dict[str, Suspicion]]:
    (place / "a.csv").write_text(text)
    options = source_summary.parse([str(place / "a.csv"), *(f"data.{each}" for each in settings)])
    found, _ = source_summary.open_leniently(options.settings, place / "work")
    return found, {each.name: each for each in source_summary.find_suspicions(options.settings, found)}


@pytest.mark.parametrize("separator", ["^", "~", "\x01"])
def test_rarer_separators_are_found(tmp_path: Path, separator: str) -> None:
    values, times = _population()
    found, _ = _open(_written(values, times, separator), tmp_path)
    np.testing.assert_allclose(found.read_rows(0, 5)[:, :, 0], values, rtol=1e-6)


@pytest.mark.parametrize(
    ("form", "cell", "what"),
    [
        ("{:.3f} kWh", r"0\.646 kWh", "is a number with a unit; write numbers without 'kWh'"),
        ("{:.3f}°C", r"0\.646°C", "is a number with a unit"),
        (lambda value: f"{value - 0.7:.3f}".replace("-", "\u2013"), "\u20130.054", "seems to be a negative"),
        (
            lambda value: f"({0.7 - value:.3f})" if value < 0.7 else f"{value - 0.7:.3f}",
            r"\(0\.054\)",
            "seems to be a negative number; write negative numbers as -1234.5",
        ),
        (lambda value: f"{value - 0.7:.3f}".replace("-", "- "), r"- 0\.054", "seems to be a negative"),
        ("'{:.3f}'", r"\\?'0\.646\\?'", "stands in quotes of another kind"),
        ("<{:.3f}", r"<0\.646", "is not a number"),
        (lambda value: f"1_{1000 * value:03.0f}", "1_646", "is not a number"),
        (lambda value: f"{value:.4E}".replace("E", "D"), r"6\.4600D-01", "is not a number"),
        (lambda value: hex(int(1000 * value)), "0x286", "is not a number"),
    ],
)
def test_cells_that_are_almost_numbers_are_named(tmp_path: Path, form: Any, cell: str, what: str) -> None:
    with pytest.raises(UserError, match=rf"column 'H0': ['\"]{cell}['\"] {what}"):
        _open(_written(*_population(), form=form), tmp_path)


@pytest.mark.parametrize(
    "mark", ["?", "*", "#VALUE!", "null!", "--", "-", ".", "n.a.", "(null)", "missing", "Bad Input", "k. A."]
)
def test_the_form_of_missing_values_that_is_named_reads(tmp_path: Path, mark: str) -> None:
    values, times = _population()
    text = _written(values, times).replace(f",{values[0, 3]:g},", f",{mark},", 1)
    with pytest.raises(UserError) as refusal:
        _open(text, tmp_path)
    named = re.search(r"(data\.missing_values=.*?) if it means missing", str(refusal.value))
    assert named is not None
    found, _ = _open(text, tmp_path, *(each.removeprefix("data.") for each in shlex.split(named[1])))
    right = np.where(np.arange(values.size).reshape(values.shape) == 3, np.nan, values)
    np.testing.assert_allclose(found.read_rows(0, 5)[:, :, 0], right, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "first"),
    [("{:02d}00", 0), ("{:02d}00", 1), ("kWh_{}", 0), ("HE{:02d}", 1), ("h{}", 1), ("load {}", 1)],
)
def test_numbered_parts_of_a_day_are_never_channels_of_daily_steps(
    tmp_path: Path, name: str, first: int
) -> None:
    values, times = _population()
    days = times[::24].strftime("%Y-%m-%d")
    rows = [["id", "date", *(name.format(hour) for hour in range(first, first + 24))]]
    for home, series in enumerate(values.reshape(5, 14, 24)):
        rows += [[f"H{home}", day, *map("{:g}".format, readings)] for day, readings in zip(days, series)]
    text = "\n".join(",".join(row) for row in rows) + "\n"
    with pytest.raises(UserError, match=r"data\.(layout=day_wide|columns\.time)"):
        _open(text, tmp_path)
    found, _ = _open(text, tmp_path, "layout=day_wide", "columns.time=date")
    assert found.meta.axis.step_seconds == 3600
    np.testing.assert_allclose(found.read_rows(0, 5)[:, :, 0], values, rtol=1e-6)


@pytest.mark.parametrize("places", [(0,), (0, 0), (2,), (0, 3, 7)])
def test_columns_without_name_and_cells_are_margins(tmp_path: Path, places: tuple[int, ...]) -> None:
    values, times = _population()
    rows = [line.split(",") for line in _written(values, times).splitlines()]
    for row in rows:
        for place in places:
            row.insert(place, "")
    found, _ = _open("\n".join(",".join(row) for row in rows) + "\n", tmp_path)
    np.testing.assert_allclose(found.read_rows(0, 5)[:, :, 0], values, rtol=1e-6)
    rows[300][places[0]] = "7"
    with pytest.raises(UserError, match=rf"line 301: column {places[0] + 1} has no name"):
        _open("\n".join(",".join(row) for row in rows) + "\n", tmp_path)


def test_a_code_with_decimals_is_a_sentinel(tmp_path: Path) -> None:
    values, times = _population()
    values[:, 40:44] = -999.25
    _, suspicions = _open(_written(values, times), tmp_path)
    assert (
        suspicions["sentinel"].severity == "error"
        and "missing_values=[-999.25]" in suspicions["sentinel"].advice
    )


def test_infinite_values_are_refused_with_the_setting_that_reads_them(tmp_path: Path) -> None:
    values, times = _population()
    values[:, 40] = np.inf
    with pytest.raises(UserError, match=r"5 infinite; see data\.missing_values=\[inf,-inf\]"):
        ingest.read(config.Data(source=str(_saved(_written(values, times), tmp_path)), unusable="drop"))
    found, _ = _open(_written(values, times), tmp_path, "missing_values=[inf,-inf]")
    right = np.where(np.isinf(values), np.nan, values)
    np.testing.assert_allclose(found.read_rows(0, 5)[:, :, 0], right, rtol=1e-6)


def _saved(text: str, place: Path) -> Path:
    (place / "a.csv").write_text(text)
    return place / "a.csv"
