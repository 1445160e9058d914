"""Ids, counters and times keep all their digits, or are refused: what float64 and spreadsheets round."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from distgan import config
from distgan.data.ingest import open_source, read
from distgan.errors import UserError
from tests.helpers.tables import EXPECTED, joined, load, load_text, long_rows, values

HOURS = pa.array(pd.date_range("2013-01-01", periods=4, freq="h"), pa.timestamp("us"))
BIG = 2**62


def write(place: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), place / "a.parquet")
    return place / "a.parquet"


def write_long(place: Path, ids: pa.Array, *, empty: bool = False) -> Path:
    """Two homes of four hours, and a row without any cell."""
    times, readings = pa.concat_arrays([HOURS, HOURS]), [*EXPECTED.ravel()]
    if empty:
        ids, times = (
            pa.concat_arrays([ids, pa.nulls(1, ids.type)]),
            pa.concat_arrays([times, pa.nulls(1, times.type)]),
        )
        readings.append(None)
    return write(place, home=ids, time=times, kwh=pa.array(readings, pa.float64()))


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()])
def test_ids_of_19_digits_stay_apart_beside_an_empty_row(tmp_path: Path, kind: pa.DataType) -> None:
    ids = pa.array([BIG + 1] * 4 + [BIG + 2] * 4, kind)
    source = load(write_long(tmp_path, ids, empty=True), tmp_path)
    assert source.entities == [str(BIG + 1), str(BIG + 2)]
    np.testing.assert_array_equal(values(source), EXPECTED)


def test_times_in_nanoseconds_stay_exact_beside_an_empty_row(tmp_path: Path) -> None:
    stamps = pd.date_range("2013-01-01", periods=4, freq="s").to_numpy().astype("M8[ns]").astype(np.int64)
    path = write(tmp_path, time=pa.array([*stamps, None], pa.int64()), a=[0.5, 1.5, 2.5, 3.5, None])
    source = load(path, tmp_path)
    assert source.meta.axis.step_seconds == 1 and source.meta.axis.start == "2013-01-01T00:00:00"
    np.testing.assert_array_equal(values(source), EXPECTED[:1])


def test_whole_readings_beside_missing_ones_are_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, time=HOURS, a=pa.array([1, None, 0, 3], pa.int16()), b=[1.5, 2.5, 3.5, 4.5])
    np.testing.assert_array_equal(values(load(path, tmp_path)), [[1, np.nan, 0, 3], [1.5, 2.5, 3.5, 4.5]])


@pytest.mark.parametrize(("kind", "limit"), [(pa.float64(), 2**53), (pa.float32(), 2**24)])
def test_ids_as_floats_are_read_while_they_are_exact(tmp_path: Path, kind: pa.DataType, limit: int) -> None:
    ids = pa.array([7.0] * 4 + [float(limit - 1)] * 4, kind)
    source = load(write_long(tmp_path, ids), tmp_path)
    assert source.entities == ["7", str(limit - 1)]
    ids = pa.array([7.0] * 4 + [float(limit)] * 4, kind)
    with pytest.raises(UserError, match=rf"column 'home': ids are floating-point .* {limit} may have lost"):
        load(write_long(tmp_path, ids), tmp_path)


def test_bytes_that_are_no_text_are_refused_in_every_row_group(tmp_path: Path) -> None:
    """Not only in those that the sample shows: other names would be other entities."""
    ids = pa.array([b"home"] * 4 + [b"hom\xe9"] * 4, pa.binary())
    path = write_long(tmp_path, ids)
    parquet.write_table(parquet.read_table(path), path, row_group_size=4)
    with pytest.raises(UserError, match=r"column 'home' holds bytes that are no text .*bytes.hex"):
        load(path, tmp_path)


def test_durations_are_no_readings(tmp_path: Path) -> None:
    spans = pa.array([1, 2, 3, 4], pa.duration("s"))
    with pytest.raises(UserError, match=r"column 'a' holds times; .*data.columns.ignore"):
        load(write(tmp_path, time=HOURS, a=spans, b=[1.5, 2.5, 3.5, 4.5]), tmp_path)


@pytest.mark.parametrize("short", ["5.41449E+17", "5,41449E+17", "5.4E+17", "5E+17", "5.41448860000001e+017"])
def test_ids_in_a_spreadsheets_short_form_are_refused(tmp_path: Path, short: str) -> None:
    rows = [[name.replace("a", short), *rest] for name, *rest in long_rows()]
    text = joined([["home", "time", "kwh"], *rows], ";")
    with pytest.raises(UserError, match=r"column 'home': .* has lost digits .*export all digits, as text"):
        load_text(text, tmp_path, columns={"id": "home"})
    wide = f"time;{short};b\n" + "".join(f"2013-01-01 0{hour}:00;{hour}.5;2.5\n" for hour in range(4))
    with pytest.raises(UserError, match="has lost digits"):
        load_text(wide, tmp_path, "wide.csv")


@pytest.mark.parametrize("name", ["12E3", "1e5", "E+17", "4E10"])
def test_ids_that_look_a_little_like_it_are_read(tmp_path: Path, name: str) -> None:
    rows = [[home.replace("a", name), *rest] for home, *rest in long_rows()]
    source = load_text(joined([["home", "time", "kwh"], *rows]), tmp_path, columns={"id": "home"})
    assert source.entities == [name, "b"]


def test_names_of_an_npz_may_be_bytes(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        x=np.stack([EXPECTED, EXPECTED + 1], axis=2),
        ids=np.array([b"a", b"b"]),
        channels=np.array([b"import", b"export"]),
        freq=np.bytes_(b"30min"),
        t0=np.bytes_(b"2013-01-01"),
    )
    source = load(tmp_path / "a.npz", tmp_path)
    assert source.entities == source.owners == ["a", "b"]
    assert source.meta.channels == ("import", "export") and source.meta.axis.step_seconds == 1800


def test_ids_of_an_npz_have_all_digits(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=EXPECTED, ids=np.array([BIG + 1, BIG + 2]))
    assert load(tmp_path / "a.npz", tmp_path).entities == [str(BIG + 1), str(BIG + 2)]
    np.savez(tmp_path / "b.npz", x=EXPECTED, ids=np.array([BIG + 1.0, 7.0]))
    with pytest.raises(UserError, match=r"ids: ids are floating-point numbers, and 4611686018427387904 may"):
        load(tmp_path / "b.npz", tmp_path)


@pytest.mark.parametrize("name", ["scale", "offset", "Scale", "fill_value", "missing_value", "nodata"])
def test_an_array_of_an_npz_that_scales_the_values_is_refused(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "a.npz", x=EXPECTED, **{name: 10.0})
    with pytest.raises(UserError, match=rf"array '{name}' may change what the values of x mean"):
        load(tmp_path / "a.npz", tmp_path)


def test_ids_along_a_dimension_are_exact_or_refused(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    times = pd.date_range("2013-01-01", periods=4, freq="h")
    for ids in ([7.0, 2.0**53 - 1], [7.0, 2.0**53]):
        table = xarray.DataArray(EXPECTED, {"home": ids, "time": times}, ("home", "time"), "kwh")
        table.to_netcdf(tmp_path / f"{ids[1]:.0f}.nc", engine="h5netcdf")
    assert load(tmp_path / f"{2**53 - 1}.nc", tmp_path).entities == ["7", str(2**53 - 1)]
    with pytest.raises(UserError, match=r"home: ids are floating-point numbers"):
        load(tmp_path / f"{2**53}.nc", tmp_path)


@pytest.mark.parametrize("write_it", ["npy", "parquet", "csv"])
def test_counters_of_17_digits_are_refused(tmp_path: Path, write_it: str) -> None:
    """Float64 makes every difference a multiple of 256 there."""
    counted = 2**60 + np.cumsum(np.arange(1, 9).reshape(2, 4), axis=1)
    if write_it == "npy":
        np.save(tmp_path / "a.npy", counted)
        path = tmp_path / "a.npy"
    elif write_it == "parquet":
        path = write(tmp_path, time=HOURS, H1=counted[0], H2=counted[1])
    else:
        path = tmp_path / "a.csv"
        pd.DataFrame({"time": HOURS.to_pandas(), "H1": counted[0], "H2": counted[1]}).to_csv(
            path, index=False
        )
    with pytest.raises(UserError, match=r"a counter reads 1.153e\+18, .* lose their last digits; write"):
        read(config.Data(source=str(path), registers="difference"))


def write_homes(place: Path, *ids: str) -> str:
    rows = [[name, *rest] for name in ids for _, *rest in long_rows("a")]
    (place / "a.csv").write_text(joined([["home", "time", "kwh"], *rows]), encoding="utf-8")
    return str(place / "a.csv")


@pytest.mark.parametrize(
    ("one", "other"), [("1001", "1001.0"), ("a b", "a\u00a0b"), ("ab", "a\u200bb"), ("\u00e9", "e\u0301")]
)
def test_ids_that_are_the_same_to_the_eye_are_refused(tmp_path: Path, one: str, other: str) -> None:
    """One home would count as two owners, with half of its readings each."""
    source = write_homes(tmp_path, one, other, "c")
    with pytest.raises(
        UserError, match=r"the ids .* seem to be one entity, .* as two owners; write them alike"
    ):
        read(config.Data(source=source, columns=config.Columns(id="home")))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [("A", "a", 1), ("0071", "71", 1), ("1001.1", "1001.0", 0), ("x1.0", "x1", 0), ("10", "1", 0)],
)
def test_ids_that_may_differ_are_read_and_counted(tmp_path: Path, one: str, other: str, alike: int) -> None:
    settings = config.Data(source=write_homes(tmp_path, one, other), columns=config.Columns(id="home"))
    found = open_source(settings, tmp_path / "work")
    assert found.entities == [one, other]
    notes = [note for note in found.source.understood.notes if "case or leading zeros" in note]
    assert [note[-3:] for note in notes] == [": 1"] * alike


def jittered(step: str, most: float, steps: int = 48) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """Times up to `most` seconds around steps, and readings."""
    rng = np.random.default_rng(0)
    late = rng.uniform(-most, most, steps)
    times = pd.date_range("2023-01-10", periods=steps, freq=step) + pd.to_timedelta(late.round(3), "s")
    return times, rng.gamma(2, size=(2, steps)).round(3)


@pytest.mark.parametrize(
    ("step", "most"), [("1h", 30), ("15min", 80), ("24h", 7200), ("1s", 0.08), ("1min", 2)]
)
@pytest.mark.parametrize("layout", ["wide", "long"])
def test_a_logger_that_drifts_around_its_steps_keeps_every_reading(
    tmp_path: Path, step: str, most: float, layout: str
) -> None:
    """Before, a reading two seconds early was merged with the one before, and its step was empty."""
    times, readings = jittered(step, most)
    table = pd.DataFrame({"time": times, "a": readings[0], "b": readings[1]})
    if layout == "long":
        table = table.melt("time", var_name="home", value_name="kwh")
    table.to_csv(tmp_path / "a.csv", index=False, date_format="%Y-%m-%d %H:%M:%S.%f")
    for method in ("mean", "sum"):
        source = load(tmp_path / "a.csv", tmp_path, resample={"step": step, "method": method})
        assert source.meta.axis.start == "2023-01-10T00:00:00"
        np.testing.assert_array_equal(values(source), readings.astype(np.float32))


def test_sums_of_drifting_steps_hold_whole_ones(tmp_path: Path) -> None:
    times, readings = jittered("1h", 30)
    pd.DataFrame({"time": times, "a": readings[0], "b": readings[1]}).to_csv(tmp_path / "a.csv", index=False)
    source = load(tmp_path / "a.csv", tmp_path, resample={"step": "4h", "method": "sum"})
    np.testing.assert_allclose(values(source), readings.reshape(2, 12, 4).sum(axis=2), rtol=1e-6)


@pytest.mark.parametrize("late", [5, 300, 3500])
def test_times_that_are_all_late_stay_in_their_steps(tmp_path: Path, late: int) -> None:
    times = pd.date_range("2023-01-10", periods=24, freq="h") + pd.to_timedelta(late, "s")
    pd.DataFrame({"time": times, "a": np.arange(24) % 5 + 0.5}).to_csv(tmp_path / "a.csv", index=False)
    source = load(tmp_path / "a.csv", tmp_path, resample={"step": "1h"})
    assert source.meta.axis.start == "2023-01-10T00:00:00"
    np.testing.assert_array_equal(values(source)[0], np.arange(24) % 5 + 0.5)
