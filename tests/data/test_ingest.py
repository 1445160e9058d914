"""Any table becomes series with the right values at the right times, or one line that names the place."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import digest_series, open_source
from distgan.errors import UserError
from tests.helpers.sources import expect, frame, load

# ------------------------------------------------------------------------------------------- tables that work

WIDE: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "plain": lambda table, path: table.to_csv(path),
    "unnamed time": lambda table, path: table.rename_axis("").to_csv(path),
    "byte order mark": lambda table, path: table.to_csv(path, encoding="utf-8-sig"),
    "semicolons": lambda table, path: table.to_csv(path, sep=";"),
    "decimal commas": lambda table, path: table.to_csv(path, sep=";", decimal=","),
    "tabs": lambda table, path: table.to_csv(path, sep="\t"),
    "quotes": lambda table, path: table.to_csv(path, quoting=1),
    "windows lines": lambda table, path: table.to_csv(path, lineterminator="\r\n"),
    "day first": lambda table, path: table.to_csv(path, date_format="%d/%m/%Y %H:%M"),
    "dots": lambda table, path: table.to_csv(path, date_format="%d.%m.%Y %H:%M"),
    "month first": lambda table, path: table.to_csv(path, date_format="%m/%d/%Y %H:%M"),
    "utc offset": lambda table, path: table.tz_localize("UTC").to_csv(path),
    "time in the middle": lambda table, path: table.reset_index()[
        ["MAC000", "time", "MAC001", "MAC002"]
    ].to_csv(path, index=False),
}


@pytest.mark.parametrize("kind", WIDE)
def test_wide_tables(tmp_path: Path, kind: str) -> None:
    table = frame(hours=24 * 40)
    WIDE[kind](table, tmp_path / "homes.csv")
    expect(load(tmp_path / "homes.csv"), table)


def test_parquet(tmp_path: Path) -> None:
    table = frame()
    table.to_parquet(tmp_path / "index.parquet")
    table.reset_index().to_parquet(tmp_path / "column.parquet")
    expect(load(tmp_path / "index.parquet"), table)
    expect(load(tmp_path / "column.parquet"), table)


@pytest.mark.parametrize("by", ["id", "time"])
def test_long_tables_with_channels(tmp_path: Path, by: str) -> None:
    power, heat = frame(), frame() * 2
    long = pd.concat(
        [
            pd.DataFrame(
                {"id": home, "tstp": power.index, "kwh": power[home].values, "heat": heat[home].values}
            )
            for home in power
        ]
    )
    if by == "time":
        long = long.sort_values("tstp", kind="stable")
    long = long[~((long["id"] == "MAC001") & (long["tstp"] == power.index[5]))]  # a reading that is not there
    long.to_csv(tmp_path / "long.csv", index=False)
    raw = load(tmp_path / "long.csv", units="kWh")
    assert raw.meta.channels == ("kwh", "heat") and raw.meta.units == "kWh"
    assert raw.entities == ["MAC000", "MAC001", "MAC002"]
    power.iloc[5, 1] = np.nan
    np.testing.assert_allclose(raw.values[:, :, 0], power.to_numpy().T, rtol=1e-6)
    np.testing.assert_allclose(raw.values[1, 6:, 1], heat.iloc[6:, 1], rtol=1e-6)


def test_columns_by_name_and_a_long_table_of_one_home(tmp_path: Path) -> None:
    table = frame(homes=1)
    long = pd.DataFrame({"note": 1.5, "kwh": table["MAC000"].values, "home": "h", "when": table.index})
    long["note"] += np.arange(len(long))
    long.to_csv(tmp_path / "long.csv", index=False)
    raw = load(tmp_path / "long.csv", layout="long", entity="home", timestamp="when")
    assert raw.entities == ["h"] and raw.meta.channels == ("note", "kwh")


def test_missing_stamps_become_missing_values_and_are_counted(tmp_path: Path) -> None:
    table = frame(100)
    table.drop(table.index[[10, 11, 50]]).to_csv(tmp_path / "a.csv")
    raw = load(tmp_path / "a.csv")
    assert raw.values.shape == (3, 100, 1) and raw.meta.provenance["missing_stamps"] == 3
    assert np.flatnonzero(np.isnan(raw.values[0, :, 0])).tolist() == [10, 11, 50]


# ------------------------------------------------------------------------------------ mistakes, one line each


def cell(table: pd.DataFrame, row: int, column: int, value: object) -> pd.DataFrame:
    table = table.astype(object)
    table.iloc[row, column] = value
    return table


def stamps(table: pd.DataFrame, change: Callable[[list], list]) -> pd.DataFrame:  # type: ignore[type-arg]
    return table.set_axis(pd.Index(change([str(stamp) for stamp in table.index]), name="time"))


def text(content: str | bytes) -> Callable[[pd.DataFrame, Path], object]:
    return lambda table, path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def saved(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[pd.DataFrame, Path], object]:
    return lambda table, path: change(table).to_csv(path)


AUTUMN = pd.date_range("2013-10-26", periods=48, freq="h").strftime("%Y-%m-%d %H:%M").tolist()
TIME = r"stands twice, in lines 5 and 6"

MISTAKES: dict[str, tuple[Callable[[pd.DataFrame, Path], object], str]] = {
    "empty file": (text(""), "is empty"),
    "header only": (text("time,a,b\n"), "no rows below its header"),
    "one column": (text("a\n1\n"), "one column"),
    "zero bytes": (text(b"time,a\n\0\0\0,1\n"), "zero bytes"),
    "utf-16 without a mark": (
        text("time,a\n2013-01-01,1\n".encode("utf-16-le")),
        "not UTF-8.*data.encoding=utf-16-le",
    ),
    "latin-1": (text("time,Höhe\n2013-01-01,1\n".encode("latin-1")), "not UTF-8"),
    "no times": (text("a,b\n1,2\n3,4\n"), "no column reads as times"),
    "one time": (text("time,a\n2013-01-01,1\n"), "two at least"),
    "text cell": (saved(lambda t: cell(t, 15, 1, "abc")), r"line 17, column 'MAC001': 'abc' is not a number"),
    "thousands": (saved(lambda t: cell(t, 2, 0, "1.234,5")), r"line 4, column 'MAC000': '1.234,5' is not"),
    "text among decimal commas": (
        lambda t, path: cell(t, 15, 1, "abc").to_csv(path, sep=";", decimal=","),
        r"line 17, column 'MAC001': 'abc' is not a number",
    ),
    "two decimal marks": (
        text("t;a\n2013-01-01;1,5\n2013-01-02;1.234\n"),
        r"line 3, column 'a': '1.234' has a",
    ),
    "bad time": (
        saved(lambda t: stamps(t, lambda s: [*s[:7], "soon", *s[8:]])),
        r"line 9, column 'time': 'soon'",
    ),
    "no time": (saved(lambda t: stamps(t, lambda s: [*s[:7], "", *s[8:]])), r"line 9: no time"),
    "twice": (saved(lambda t: stamps(t, lambda s: [*s[:4], s[3], *s[5:]])), TIME),
    "clock change": (
        saved(lambda t: stamps(t, lambda s: [*AUTUMN[:26], AUTUMN[25], *AUTUMN[26:47]])),
        "stands twice.*daylight saving",
    ),
    "unequal": (
        saved(lambda t: stamps(t, lambda s: [*s[:5], s[5].replace(":00:", ":20:"), *s[6:]])),
        r"not equally spaced: 2013-01-01T05:20:00",
    ),
    "a year away": (
        saved(lambda t: stamps(t, lambda s: [*s[:-1], "2015-01-01 00:00"])),
        "stamps are missing",
    ),
    "same name": (saved(lambda t: t.set_axis(["a", "b", "a"], axis=1)), "'a' stands 2 times"),
    "no name": (saved(lambda t: t.set_axis(["a", "", "c"], axis=1)), "column 3 has no name"),
    "long line": (text("time,a,b\n2013-01-01,1,2\n2013-01-02,1,2,3\n"), "line 3"),
    "long lines": (text("time,a\n2013-01-01,1,2\n2013-01-02,1,3\n"), "more cells than the header"),
    "cut off": (text("time,a,b\n2013-01-01,1,2\n2013-01-02,1,3\n2013-01-03,5"), r"line 4 has 2 of 3 cells"),
    "constant": (saved(lambda t: t.assign(MAC001=2.5)), r"1 of 3 series are constant, the first 'MAC001'"),
    "all missing": (saved(lambda t: t.assign(MAC001=np.nan)), r"1 of 3 series are empty, the first 'MAC001'"),
    "infinite": (saved(lambda t: cell(t, 3, 2, "inf")), r"1 of 3 series are infinite, the first 'MAC002'"),
    "beyond float32": (saved(lambda t: cell(t, 3, 2, "1e39")), "infinite"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_in_a_table_are_one_line(tmp_path: Path, kind: str) -> None:
    make, message = MISTAKES[kind]
    make(frame(), tmp_path / "homes.csv")
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path / "homes.csv")
    assert "\n" not in str(error.value)


CLOCKS: dict[str, Callable[[pd.Series], pd.Series]] = {
    "time": lambda hours: hours.map("{:02d}:00".format),
    "Clock Time": lambda hours: hours.map("{0}:00-{0}:59".format),
    "from": lambda hours: hours.map("{:02d}:00:00".format),
    "hour": lambda hours: hours,
    "HOUR_ENDING": lambda hours: hours + 1,
    "time(local)": lambda hours: 100 * hours,
}


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
@pytest.mark.parametrize("first", ["date", "clock"])
def test_date_and_time_in_two_columns_are_joined(tmp_path: Path, clock: str, name: str, first: str) -> None:
    """Hours are no homes, and homes are no channels."""
    table = frame().reset_index(drop=True)
    times = pd.Series(pd.date_range("2013-01-01", periods=48, freq="h"))
    table.insert(0, "date", times.dt.strftime("%Y-%m-%d"))
    table.insert(int(first == "date"), clock, CLOCKS[clock](times.dt.hour))
    table.to_csv(tmp_path / name, index=False) if name == "a.csv" else table.to_parquet(tmp_path / name)
    expect(load(tmp_path / name), frame())


@pytest.mark.parametrize("name", ["id", "hour"])
def test_ids_that_are_small_numbers_stay_ids(tmp_path: Path, name: str) -> None:
    days = pd.date_range("2013-01-01", periods=20)
    rows = pd.MultiIndex.from_product([range(5), days], names=[name, "date"])
    values = np.random.default_rng(0).gamma(2, size=len(rows))
    pd.DataFrame({"kwh": values}, index=rows).to_csv(tmp_path / "a.csv")
    layout = "long" if name == "hour" else "auto"  # whoever says so means it
    assert load(tmp_path / "a.csv", layout=layout).entities == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timestamp": "when"}, "data.columns.time 'when' is no column"),
        ({"timestamp": "MAC001"}, "holds numbers that are no times; set data.time_unit"),
        ({"entity": "home"}, "data.columns.id 'home' is no column"),
        ({"reduce": config.Reduce(factor=5)}, "5 does not divide the 48 steps of a series; use 4 or 6"),
        ({"cut": "years"}, "no complete calendar year"),
        ({"cut": "iso_years"}, "no complete ISO year"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(tmp_path: Path, settings: dict, message: str) -> None:  # type: ignore[type-arg]
    frame().to_csv(tmp_path / "homes.csv")
    with pytest.raises(UserError, match=message):
        load(tmp_path / "homes.csv", **settings)


def test_a_long_table_names_readings_of_one_time_that_differ(tmp_path: Path) -> None:
    rows = [f"{home},2013-01-01 0{hour}:00,{hour}.5" for home in "ab" for hour in range(5)]
    rows.insert(8, rows[7].replace(".5", ".25"))
    (tmp_path / "long.csv").write_text("\n".join(["id,time,kwh", *rows]))
    with pytest.raises(UserError, match=r"2013-01-01T02:00:00 .* in lines 9 and 10.*data.duplicates"):
        load(tmp_path / "long.csv")


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    table = frame()
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "a.csv")
    expect(load(tmp_path / "a.csv"), table)
    table[::-1].to_csv(tmp_path / "b.csv")
    expect(load(tmp_path / "b.csv"), table)


def test_unusable_series_are_dropped_and_counted(tmp_path: Path) -> None:
    table = frame(homes=6)
    table["MAC001"] = 1.0
    table["MAC002"] = np.nan
    table.iloc[3, 3] = np.inf
    table.iloc[:24, 4] = np.nan
    table.to_csv(tmp_path / "a.csv")
    raw = load(tmp_path / "a.csv", unusable="drop")
    assert raw.entities == ["MAC000", "MAC005"]
    assert raw.left_out == {"infinite": 1, "empty": 1, "constant": 1, "more than 5 % missing": 1}
    table[:] = 1.0
    table.to_csv(tmp_path / "flat.csv")
    with pytest.raises(UserError, match=r"no usable series in .*: 6 constant"):
        load(tmp_path / "flat.csv", unusable="drop")


@pytest.mark.parametrize("name", ["none.csv", "a.xyz", "bad.npy", "bad.npz", "bad.parquet", "folder"])
def test_unreadable_sources_are_one_line(tmp_path: Path, name: str) -> None:
    if name == "folder":
        (tmp_path / name).mkdir()
    elif name != "none.csv":
        (tmp_path / name).write_bytes(b"not what the name says")
    with pytest.raises(UserError) as error:
        load(tmp_path / name)
    assert "\n" not in str(error.value)


# --------------------------------------------------------------------------------------- years, steps, splits


def test_series_that_are_copies_of_others_are_counted(tmp_path: Path) -> None:
    table = frame(homes=5)
    table.iloc[3, :2] = np.nan
    table["MAC002"] = table["MAC001"] = table["MAC000"]
    table.iloc[:, 3] = table.iloc[:, 4] + 1
    table.to_csv(tmp_path / "a.csv")
    np.savez(tmp_path / "a.npz", x=table.to_numpy().T, owner=["h", "h", "i", "j", "k"])
    for name, copies in (("a.csv", 2), ("a.npz", 1)):  # a home's own are its own affair
        assert open_source(config.Data(source=str(tmp_path / name)), tmp_path / "parts").copies == copies
    zeros = np.array([[0.0, 1.0, np.nan], [-0.0, 1.0, -np.nan], [0.0, 1.0, 0.0]], np.float32)
    assert len(np.unique(digest_series(zeros[:, :, None]))) == 2
