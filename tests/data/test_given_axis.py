"""A given time axis: series are placed on it, and what one owner adds changes nothing that is public."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import Raw, read
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError
from tests.helpers.sources import frame, load, melted

AXIS = config.TimeAxis(start="2013-01-01", step="1h", length=48)
HOMES = frame(hours=48)
LONGER = frame(hours=48 + 30, start="2012-12-31")  # 24 hours before and 6 after


def write_npz(table: pd.DataFrame, path: Path) -> Path:
    values = table.to_numpy(np.float32).T[:, :, None]
    np.savez(path, x=values, ids=list(table), t0=str(table.index[0]), freq="1h")
    return path


def write_wide(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path)
    return path


def write_long(table: pd.DataFrame, path: Path) -> Path:
    melted(table).to_csv(path, index=False)
    return path


def write_transposed(table: pd.DataFrame, path: Path) -> Path:
    table.T.rename_axis("home").to_csv(path)
    return path


def write_days(table: pd.DataFrame, path: Path) -> Path:
    """A row for each home and day, a column for each hour."""
    long = melted(table)
    long["date"], long["hour"] = long["time"].dt.strftime("%Y-%m-%d"), long["time"].dt.strftime("%H:%M")
    days = long.pivot(index=["home", "date"], columns="hour", values="kwh")
    days.reset_index().to_csv(path, index=False)
    return path


def write_folder(table: pd.DataFrame, path: Path) -> Path:
    path.mkdir()
    for home in table:
        table[[home]].set_axis(["kwh"], axis=1).to_csv(path / f"{home}.csv")
    return path


def write_store(table: pd.DataFrame, path: Path) -> Path:
    axis = Axis(table.index[0].isoformat(), 3600, len(table), leap_days=True)
    with StoreWriter(path, Meta(axis, ("value",), "kWh", {"source": "homes"}, {})) as writer:
        writer.append(table.to_numpy(np.float32).T[:, :, None])
    return path


def write_netcdf(table: pd.DataFrame, path: Path) -> Path:
    xarray = pytest.importorskip("xarray")
    home = np.array(list(table))
    values = xarray.DataArray(table.to_numpy().T, {"home": home, "time": table.index}, ("home", "time"))
    values.to_dataset(name="load").to_netcdf(path)
    return path


WRITERS: dict[str, Callable[[pd.DataFrame, Path], Path]] = {
    "npz": write_npz,
    "wide.csv": write_wide,
    "long.csv": write_long,
    "transposed.csv": write_transposed,
    "days.csv": write_days,
    "folder": write_folder,
    "store.zarr": write_store,
    "nc": write_netcdf,
}
TABLES = [kind for kind in WRITERS if kind.endswith("csv") or kind == "folder"]


@pytest.mark.parametrize(
    ("kind", "resample"), [*((kind, None) for kind in WRITERS), *((kind, "1h") for kind in TABLES)]
)
def test_series_lie_on_the_axis_and_the_rest_is_left_out(
    tmp_path: Path, kind: str, resample: str | None
) -> None:
    path = WRITERS[kind](LONGER, tmp_path / f"homes.{kind}")
    raw = load(path, axis=AXIS, resample=config.Resample(step=resample), unusable="error")
    assert raw.meta.axis.list_times().tolist() == pd.date_range("2013-01-01", periods=48, freq="h").tolist()
    expected = LONGER.loc["2013-01-01":"2013-01-02"].to_numpy().T  # type: ignore[misc]
    np.testing.assert_allclose(raw.values[:, :, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("kind", WRITERS)
def test_steps_of_the_axis_that_nobody_read_are_missing(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](HOMES, tmp_path / f"homes.{kind}")
    longer = config.TimeAxis(start="2012-12-31T23:00", step="1h", length=50)
    raw = load(path, axis=longer, max_missing=0.1)
    assert raw.values.shape == (3, 50, 1) and np.isnan(raw.values[:, [0, 49]]).all()
    np.testing.assert_allclose(raw.values[:, 1:49, 0], HOMES.to_numpy().T, rtol=1e-6)


def without_added(raw: Raw) -> tuple[object, ...]:
    """What is public of a reading, and the series of those who were there before."""
    kept = [place for place, name in enumerate(raw.entities) if name.startswith("MAC")]
    values = raw.values[kept].tobytes()
    return (raw.meta.axis, raw.meta.channels, raw.meta.units, [raw.entities[place] for place in kept], values)


ADDED = {
    "earlier and later": pd.date_range("2012-12-20", periods=24 * 40, freq="h"),
    "only outside": pd.date_range("2015-05-01", periods=60, freq="h"),
    "one reading inside": pd.date_range("2012-12-25T01:00", periods=24 * 7, freq="h"),
    "uneven times outside": pd.DatetimeIndex(["2012-11-03T04:05:06", "2012-11-07T00:00:07"]),
    "from another century": pd.DatetimeIndex(["1950-01-01", "2013-01-01T00:00:00"]),
}


@pytest.mark.parametrize("resample", [None, "1h"])
@pytest.mark.parametrize("times", ADDED.values(), ids=list(ADDED))
def test_one_added_owner_changes_nothing_that_is_public(
    tmp_path: Path, times: pd.DatetimeIndex, resample: str | None
) -> None:
    before = write_long(HOMES, tmp_path / "homes.csv")
    added = pd.DataFrame({"home": "added", "time": times, "kwh": np.arange(len(times)) % 7 + 0.5})
    both = pd.concat([melted(HOMES), added])
    both.to_csv(tmp_path / "more.csv", index=False)
    settings = {"axis": AXIS, "resample": config.Resample(step=resample)}
    one, other = load(before, **settings), load(tmp_path / "more.csv", **settings)
    assert without_added(one) == without_added(other)
    if resample is None and len(times) > 900:  # without the axis, that owner decides over all others
        found = load(tmp_path / "more.csv", start_ragged=0.01)
        assert found.meta.axis != one.meta.axis


def test_those_with_too_few_readings_on_the_axis_are_left_out_and_counted(tmp_path: Path) -> None:
    late = pd.DataFrame({"home": "late", "time": ADDED["only outside"], "kwh": 1.0})
    pd.concat([melted(HOMES), late]).to_csv(tmp_path / "homes.csv", index=False)
    raw = load(tmp_path / "homes.csv", axis=AXIS)
    assert raw.entities == list(HOMES) and raw.left_out == {"too few readings on data.axis": 1}


@pytest.mark.parametrize("year", [2001, 2013])  # 2001 is that of series without times
def test_arrays_without_times_get_those_of_the_axis(tmp_path: Path, year: int) -> None:
    np.save(tmp_path / "homes.npy", HOMES.to_numpy().T)
    raw = load(tmp_path / "homes.npy", axis=config.TimeAxis(start=f"{year}-01-01", step="1h", length=48))
    assert raw.meta.axis.start == f"{year}-01-01T00:00:00" and raw.meta.axis.length == 48
    assert not raw.meta.is_nominal
    with pytest.raises(UserError, match=r"has no times and 48 steps, and data.axis.length is 47"):
        load(tmp_path / "homes.npy", axis=AXIS.model_copy(update={"length": 47}))


def test_long_series_of_an_array_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    table = frame(hours=24 * 50, homes=5, start="2012-12-01")
    path = write_npz(table, tmp_path / "homes.npz")
    raw = load(path, axis=AXIS)
    np.testing.assert_allclose(
        raw.values[:, :, 0],
        table.loc["2013-01-01":"2013-01-02"].to_numpy().T,  # type: ignore[misc]
        rtol=1e-6,
    )


def test_the_zone_counts_in_the_years_of_the_axis(tmp_path: Path) -> None:
    """Readings outside of the axis do not decide which standard time a zone has."""
    times = pd.date_range("2013-01-01", periods=48, freq="h", tz="UTC")
    home = pd.DataFrame({"home": "a", "time": times, "kwh": np.arange(48.0)})
    old = pd.DataFrame(
        {"home": "b", "time": pd.date_range("1960-01-01", periods=3, freq="YS", tz="UTC"), "kwh": 1.0}
    )
    pd.concat([home, old]).to_csv(tmp_path / "homes.csv", index=False)
    chosen = {"columns": config.Columns(id="home"), "timezone": "Asia/Singapore", "max_missing": 0.3}
    raw = load(tmp_path / "homes.csv", axis=AXIS, **chosen)
    assert np.isnan(raw.values[0, :8]).all() and raw.values[0, 8, 0] == 0  # UTC+8 since 1982


@pytest.mark.parametrize("kind", ["wide.csv", "long.csv"])
def test_readings_between_the_steps_are_refused_or_merged(tmp_path: Path, kind: str) -> None:
    halves = frame(hours=96)
    halves.index = pd.date_range("2013-01-01", periods=96, freq="30min", name="time")
    path = WRITERS[kind](halves, tmp_path / f"homes.{kind}")
    with pytest.raises(UserError, match=r"48 times with readings lie between .*data.resample.step=1h"):
        load(path, axis=AXIS)
    raw = load(path, axis=AXIS, resample=config.Resample(step="1h"))
    expected = halves.to_numpy().reshape(48, 2, 3).mean(axis=1).T
    np.testing.assert_allclose(raw.values[:, :, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("start", "step", "words"),
    [
        (
            "2014-01-01",
            "1h",
            "no time lies on data.axis, 2014-01-01T00:00:00 to 2014-01-02T23:00:00; the times",
        ),
        ("2013-01-01", "30min", "has steps of 1h, and data.axis.step is 30min"),
        ("2013-01-01T00:30", "1h", "lie between the steps of data.axis; correct data.axis.start"),
    ],
)
def test_an_axis_that_does_not_fit_an_array_is_refused_in_one_line(
    tmp_path: Path, start: str, step: str, words: str
) -> None:
    path = write_npz(HOMES, tmp_path / "homes.npz")
    with pytest.raises(UserError) as error:
        read(config.Data(source=str(path), axis=config.TimeAxis(start=start, step=step, length=48)))
    assert words in str(error.value) and "\n" not in str(error.value)
