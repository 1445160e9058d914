"""Differences of counters are exact, however large their readings: they are taken before float32."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from distgan import config
from distgan.data.cleaning import difference_counters
from distgan.data.ingest import read
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError

STEPS = 96
TIMES = pd.date_range("2013-01-01", periods=STEPS, freq="h")
USED = np.random.default_rng(0).integers(20, 900, size=(3, STEPS)).astype(np.float64)  # Wh
READINGS = 512_345_678 + np.cumsum(USED, axis=1)  # float32 has steps of 32 there
NAMES = ["H1", "H2", "H3"]


def write_wide(place: Path) -> Path:
    table = pd.DataFrame(READINGS.T.astype(int), columns=NAMES)
    table.insert(0, "time", TIMES)
    table.to_csv(place / "wide.csv", index=False)
    return place / "wide.csv"


def write_long(place: Path) -> Path:
    table = pd.DataFrame({"id": np.repeat(NAMES, STEPS), "time": np.tile(TIMES, 3), "Wh": READINGS.ravel()})
    table.to_parquet(place / "long.parquet")
    return place / "long.parquet"


def write_npy(place: Path) -> Path:
    np.save(place / "a.npy", READINGS)
    return place / "a.npy"


def write_npy_by_time(place: Path) -> Path:
    np.save(place / "a.npy", np.asfortranarray(READINGS))
    return place / "a.npy"


def write_zarr(place: Path) -> Path:
    zarr.save_array(place / "a.zarr", READINGS)
    return place / "a.zarr"


def write_netcdf(place: Path) -> Path:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    power = xarray.DataArray(READINGS.T, {"time": TIMES, "home": NAMES}, ("time", "home"), "energy")
    power.to_netcdf(place / "a.nc", engine="h5netcdf")
    return place / "a.nc"


@pytest.mark.parametrize(
    "write", [write_wide, write_long, write_npy, write_npy_by_time, write_zarr, write_netcdf]
)
def test_differences_of_large_readings_are_exact(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    settings: dict[str, Any] = {"source": str(write(tmp_path)), "registers": "difference"}
    found = read(config.Data.model_validate(settings))
    assert found.values.dtype == np.float32 and np.isnan(found.values[:, 0]).all()
    np.testing.assert_array_equal(found.values[:, 1:, 0], USED[:, 1:])


def test_codes_for_missing_and_longer_steps_of_counters(tmp_path: Path) -> None:
    table = pd.read_csv(write_wide(tmp_path))
    table.loc[10, "H2"] = 4_294_967_295
    table.to_csv(tmp_path / "wide.csv", index=False)
    settings: dict[str, Any] = {"source": str(tmp_path / "wide.csv"), "registers": "difference"}
    found = read(config.Data.model_validate(settings | {"missing_values": [4_294_967_295]}))
    wanted = USED[1].copy()
    wanted[[0, 10, 11]] = np.nan
    np.testing.assert_array_equal(found.values[1, :, 0], wanted)
    settings["resample"] = {"step": "2h", "method": "mean"}
    means = READINGS.reshape(3, -1, 2).mean(axis=2)
    found = read(config.Data.model_validate(settings | {"source": str(write_wide(tmp_path))}))
    np.testing.assert_array_equal(found.values[:, 1:, 0], np.diff(means, axis=1))


def test_counters_of_a_store_are_refused(tmp_path: Path) -> None:
    axis = Axis("2013-01-01T00:00:00", 3600, STEPS, leap_days=True)
    with StoreWriter(tmp_path / "series.zarr", Meta(axis, ("energy",), "Wh", {}, {})) as writer:
        writer.append(READINGS[:, :, None].astype(np.float32))
    settings = config.Data.model_validate(
        {"source": str(tmp_path / "series.zarr"), "registers": "difference"}
    )
    with pytest.raises(UserError, match="has rounded them"):
        read(settings)


COUNTED = 1000.0 + np.arange(12)  # used: 1 a step
WRONG_READINGS = {
    "a zero": ({5: 0.0}, {5, 6}),
    "zeros": ({5: 0.0, 6: 0.0, 7: 0.0}, {5, 8}),  # between, nothing was counted
    "a zero after a gap": ({4: np.nan, 5: 0.0}, {4, 5, 6}),
    "a code": ({5: 65535.0}, {5, 6}),
    "a code that lasts": ({5: 65535.0, 6: 65535.0}, {5, 7}),
}


@pytest.mark.parametrize("name", WRONG_READINGS)
@pytest.mark.parametrize("sign", [1, -1])
def test_wrong_readings_of_a_counter_are_no_use(name: str, sign: int) -> None:
    written, missing = WRONG_READINGS[name]
    values = COUNTED.copy()
    values[list(written)] = list(written.values())
    found = difference_counters(sign * values[None, :, None])[0, :, 0]
    assert set(np.flatnonzero(np.isnan(found)).tolist()) == {0, *missing}
    assert set(found[~np.isnan(found)].tolist()) <= {0.0, 1.0}


def test_a_counter_that_starts_again_grows_beyond_its_last_reading() -> None:
    values = np.concatenate([np.arange(5.0), np.arange(12.0)])
    found = difference_counters(values[None, :, None])[0, :, 0]
    np.testing.assert_array_equal(found, [np.nan, 1, 1, 1, 1, np.nan, *[1] * 11])


def test_steps_of_counters_are_whole_and_means(tmp_path: Path) -> None:
    table = pd.read_csv(write_wide(tmp_path)).astype({"H2": float})
    table.loc[11, "H2"] = np.nan
    table.to_csv(tmp_path / "wide.csv", index=False)
    settings: dict[str, Any] = {"source": str(tmp_path / "wide.csv"), "registers": "difference"}
    resample = {"step": "2h", "method": "mean"}
    found = read(config.Data.model_validate(settings | {"resample": resample, "max_missing": 0.1})).values
    assert np.flatnonzero(np.isnan(found[1, :, 0])).tolist() == [0, 5, 6]
    with pytest.raises(UserError, match="would add up readings of counters"):
        read(config.Data.model_validate(settings | {"resample": resample | {"method": "sum"}}))
