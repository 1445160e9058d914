"""Zarr and NetCDF arrays with named dimensions give the values that xarray gives, or one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from distgan import config
from distgan.data.formats import arrays
from distgan.data.ingest import Raw, read
from distgan.errors import UserError

xarray = pytest.importorskip("xarray")
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
HOMES, STEPS = 6, 48


def load(source: Path, **settings: Any) -> Raw:
    return read(config.Data(source=str(source), **settings))


def case(name: str) -> Path:
    if not (CASES / name).exists():
        pytest.skip(f"{name} is not in ../shared/cases")
    return CASES / name


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).gamma(2, size=shape).round(2).astype(np.float32)


def dataset(order: tuple[str, ...] = ("home", "time"), steps: int = STEPS) -> Any:
    """Two variables of six homes in hours; values, then a gap."""
    power, heat = numbers(HOMES, steps), numbers(HOMES, steps) + 20
    power[2, 5:9] = np.nan
    coordinates = {
        "home": [f"MAC{i:03d}" for i in range(HOMES)],
        "time": np.datetime64("2013-01-01", "ns") + np.arange(steps) * np.timedelta64(1, "h"),
    }
    axes = ("home", "time")
    found = xarray.Dataset({"power": (axes, power), "heat": (axes, heat)}, coords=coordinates)
    found["power"].attrs["units"], found["heat"].attrs["units"] = "kW", "degC"
    return found.transpose(*order)


PACKING = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 5.0, "_FillValue": -32768}
WRITERS = {
    "zarr v3": lambda data, path, how: data.to_zarr(path, zarr_format=3, encoding=how),
    "zarr v2": lambda data, path, how: data.to_zarr(path, zarr_format=2, encoding=how),
    "netcdf 4": lambda data, path, how: data.to_netcdf(path, engine="h5netcdf", encoding=how),
    "netcdf 3": lambda data, path, how: data.to_netcdf(path, engine="scipy", encoding=how),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("order", [("home", "time"), ("time", "home")])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("writer", WRITERS)
def test_values_names_times_and_units_are_those_of_xarray(
    tmp_path: Path, writer: str, packed: bool, order: tuple[str, ...]
) -> None:
    data = dataset(order)
    path = tmp_path / ("a.zarr" if "zarr" in writer else "a.nc")
    WRITERS[writer](data, path, {"power": PACKING} if packed else {})
    raw = load(path, max_missing=0.5)
    opened = xarray.open_zarr(path, consolidated=False) if "zarr" in writer else xarray.open_dataset(path)
    assert raw.entities == [f"MAC{i:03d}" for i in range(HOMES)] == raw.owners
    by_name = dict(zip(raw.meta.channels, np.moveaxis(raw.values, 2, 0)))
    assert set(by_name) == {"power", "heat"} and np.isnan(by_name["power"]).sum() == 4
    for name, values in by_name.items():
        expected = opened[name].transpose("home", "time").values
        np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_array_equal(raw.meta.axis.list_times(), data.time.values.astype("M8[s]"))
    assert sorted(raw.meta.units.split(", ")) == ["heat: degC", "power: kW"]
    assert raw.meta.provenance["clock"].startswith("UTC")


def test_the_small_cases_have_their_right_values() -> None:
    with pytest.raises(UserError, match=r"1,680 of its 20,160 values were never written"):
        load(case("w1a_inner_missing.zarr"))
    raw = load(case("w2a_int16_v3.zarr"))
    stored = zarr.open_array(case("w2a_int16_v3.zarr"), mode="r")[:]
    assert (
        np.isnan(raw.values[:, :, 0]).tolist() == (stored == -9999).tolist() and (stored == -9999).sum() == 1
    )
    np.testing.assert_allclose(raw.values[stored != -9999, 0], stored[stored != -9999] * 0.01, rtol=1e-6)
    raw = load(case("w3a_time_home.zarr"))
    stored = zarr.open_array(case("w3a_time_home.zarr"), mode="r")[:]
    np.testing.assert_array_equal(raw.values[:, :, 0], stored.T)


@pytest.mark.parametrize("name", ["time", "Timestamp", "t", "valid_time"])
def test_time_is_found_by_name_wherever_it_stands(tmp_path: Path, name: str) -> None:
    values = numbers(STEPS, 2, HOMES)
    zarr.create_array(
        tmp_path / "a.zarr", shape=values.shape, dtype="f4", dimension_names=[name, "channel", "home"]
    )[:] = values
    raw = load(tmp_path / "a.zarr")
    np.testing.assert_array_equal(raw.values, values.transpose(2, 0, 1))


def test_version_2_names_dimensions_in_an_attribute(tmp_path: Path) -> None:
    values = numbers(STEPS, HOMES)
    array = zarr.create_array(tmp_path / "a.zarr", shape=values.shape, dtype="f4", zarr_format=2)
    array[:] = values
    array.attrs["_ARRAY_DIMENSIONS"] = ["time", "home"]
    np.testing.assert_array_equal(load(tmp_path / "a.zarr").values[:, :, 0], values.T)


@pytest.mark.parametrize(
    ("attributes", "stored", "right"),
    [
        ({"missing_value": -1}, [3, -1, 5], [3, np.nan, 5]),
        ({"_FillValue": -1, "missing_value": [-2, -3]}, [3, -1, -3], [3, np.nan, np.nan]),
        ({"_Unsigned": "true", "scale_factor": 0.5}, [-1, 2, 4], [32767.5, 1, 2]),
        ({"valid_range": [0, 100], "scale_factor": 0.1}, [101, 50, -1], [np.nan, 5, np.nan]),
        ({"valid_min": 2}, [1, 2, 3], [np.nan, 2, 3]),
        ({"valid_max": 2, "add_offset": 10}, [1, 2, 3], [11, 12, np.nan]),
    ],
)
def test_cf_attributes(
    tmp_path: Path, attributes: dict[str, Any], stored: list[int], right: list[float]
) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(2, 4), chunks=(1, 4), dtype="i2", fill_value=7)
    array[:] = [[*stored, 9], [*stored, 8]]
    array.attrs.update(attributes)
    raw = load(tmp_path / "a.zarr", max_missing=0.9)
    np.testing.assert_allclose(raw.values[0, :3, 0], right, rtol=1e-6)


def test_attributes_of_no_use_are_one_line(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(2, 4), dtype="i2")
    array[:] = 1
    array.attrs["scale_factor"] = "a lot"
    with pytest.raises(UserError, match=r"the attributes scale_factor='a lot' cannot be used"):
        load(tmp_path / "a.zarr")


# ------------------------------------------------------------------------------------ what was never written


def sharded(path: Path, fill: float, **more: Any) -> zarr.Array:
    return zarr.create_array(
        path, shape=(12, 40), chunks=(2, 10), shards=(6, 20), dtype="f4", fill_value=fill, **more
    )


@pytest.mark.parametrize("fill", [0.0, -1.0])
def test_inner_chunks_of_shards_that_were_never_written_are_refused(tmp_path: Path, fill: float) -> None:
    array, values = sharded(tmp_path / "a.zarr", fill), numbers(12, 40) + 1
    array[:4] = values[:4]
    array[6:] = values[6:]
    with pytest.raises(UserError, match=r"80 of its 480 values were never written"):
        load(tmp_path / "a.zarr")
    raw = load(tmp_path / "a.zarr", accept=("unwritten",), unusable="drop")
    np.testing.assert_array_equal(raw.values[:4, :, 0], values[:4])
    assert raw.left_out == {"constant": 2}
    array[4:6] = values[4:6]
    np.testing.assert_array_equal(load(tmp_path / "a.zarr").values[:, :, 0], values)


def test_whole_chunks_that_were_never_written_are_refused_whatever_their_keys(tmp_path: Path) -> None:
    for version, separator in ((2, "."), (2, "/"), (3, ".")):
        path = tmp_path / f"{version}{'dot' if separator == '.' else 'slash'}.zarr"
        array = zarr.create_array(
            path,
            shape=(4, 6),
            chunks=(2, 3),
            dtype="i4",
            zarr_format=version,
            chunk_key_encoding={"name": "v2" if version == 2 else "default", "separator": separator},
        )
        array[:2], array[2:, :3] = np.arange(12).reshape(2, 6) + 1, np.arange(6).reshape(2, 3) + 50
        with pytest.raises(UserError, match=r"6 of its 24 values were never written"):
            load(path)


def test_a_fill_value_that_means_missing_is_missing(tmp_path: Path) -> None:
    array, values = sharded(tmp_path / "nan.zarr", np.nan), numbers(12, 40) + 1
    array[:, :30] = values[:, :30]
    raw = load(tmp_path / "nan.zarr", max_missing=0.9)
    np.testing.assert_array_equal(raw.values[:, :30, 0], values[:, :30])
    assert np.isnan(raw.values[:, 30:]).all()
    array = sharded(tmp_path / "cf.zarr", -1, attributes={"_FillValue": -1.0})
    array[:, :30] = values[:, :30]
    raw = load(tmp_path / "cf.zarr", max_missing=0.9)
    assert np.isnan(raw.values[:, 30:]).all() and not np.isnan(raw.values[:, :30]).any()


def test_readings_equal_to_the_fill_value_stay_readings(tmp_path: Path) -> None:
    values = numbers(12, 40)
    values[:, 7] = 0
    sharded(tmp_path / "a.zarr", 0)[:] = values
    assert (load(tmp_path / "a.zarr").values[:, 7] == 0).all()


def test_netcdf_values_that_were_never_written(tmp_path: Path) -> None:
    h5netcdf = pytest.importorskip("h5netcdf")
    for name, fill in (("with", -1.0), ("without", None)):
        with h5netcdf.File(tmp_path / f"{name}.nc", "w") as file:
            file.dimensions = {"home": 4, "time": 20}
            stored = file.create_variable("kwh", ("home", "time"), "f4", chunks=(2, 10), fillvalue=fill)
            stored[:2] = numbers(2, 20)
            stored[2:, :10] = numbers(2, 10)
    raw = load(tmp_path / "with.nc", max_missing=0.9)
    assert np.isnan(raw.values[2:, 10:]).all() and not np.isnan(raw.values[:2]).any()


def test_a_damaged_chunk_is_one_line(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(8, 24), chunks=(4, 24), dtype="f4")[:] = numbers(8, 24) + 1
    chunk = tmp_path / "a.zarr" / "c" / "1" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"cannot be decoded .*; it is damaged"):
        load(tmp_path / "a.zarr")


# -------------------------------------------------------------------------------- dimensions, names and times


def test_dimensions_that_could_be_anything_are_refused_with_the_setting(tmp_path: Path) -> None:
    values = numbers(3, 4, STEPS)
    zarr.create_array(
        tmp_path / "a.zarr", shape=values.shape, dtype="f4", dimension_names=["lat", "lon", "time"]
    )[:] = values
    with pytest.raises(UserError, match=r"data\.columns\.id, e\.g\. \[lat, lon\]"):
        load(tmp_path / "a.zarr")
    raw = load(tmp_path / "a.zarr", columns=config.Columns(id=("lat", "lon")))
    assert raw.entities[:5] == ["0/0", "0/1", "0/2", "0/3", "1/0"]
    np.testing.assert_array_equal(raw.values[:, :, 0], values.reshape(12, STEPS))
    zarr.create_array(tmp_path / "b.zarr", shape=(3, 20), dtype="f4", dimension_names=["x", "y"])[:] = (
        numbers(3, 20)
    )
    with pytest.raises(UserError, match=r"none is called time; name it with data\.columns\.time"):
        load(tmp_path / "b.zarr")
    assert load(tmp_path / "b.zarr", columns=config.Columns(time="y")).values.shape == (3, 20, 1)


def test_variables_along_time_alone_are_channels_or_entities_as_asked(tmp_path: Path) -> None:
    data = xarray.Dataset({f"sensor{i}": ("time", numbers(STEPS) + i) for i in range(3)})
    data = data.assign_coords(time=dataset().time)
    data.to_zarr(tmp_path / "a.zarr", zarr_format=3)
    with pytest.raises(UserError, match=r"data\.layout=wide .* data\.layout=long"):
        load(tmp_path / "a.zarr")
    wide, long = load(tmp_path / "a.zarr", layout="wide"), load(tmp_path / "a.zarr", layout="long")
    assert wide.entities == ["sensor0", "sensor1", "sensor2"] and wide.values.shape == (3, STEPS, 1)
    assert long.meta.channels == ("sensor0", "sensor1", "sensor2") and long.values.shape == (1, STEPS, 3)
    np.testing.assert_array_equal(wide.values[:, :, 0].T, long.values[0])


def test_variables_of_other_dimensions_are_refused_or_chosen(tmp_path: Path) -> None:
    data = dataset()
    data["outside"] = ("time", numbers(STEPS))
    data["floor_area"] = ("home", numbers(HOMES))
    data.to_zarr(tmp_path / "a.zarr", zarr_format=3)
    with pytest.raises(UserError, match=r"different dimensions: .*outside\(time\).*data\.columns\.values"):
        load(tmp_path / "a.zarr")
    raw = load(tmp_path / "a.zarr", columns=config.Columns(values=("power",)), max_missing=0.5)
    assert raw.meta.channels == ("power",) and raw.meta.units == "kW"
    raw = load(tmp_path / "a.zarr" / "heat")
    assert raw.entities[1] == "MAC001" and raw.meta.axis.start == "2013-01-01T00:00:00"


def test_ids_come_from_the_variable_that_is_marked(tmp_path: Path) -> None:
    data = dataset().drop_vars("home")
    data["station_name"] = ("home", [f"S{i}" for i in range(HOMES)])
    data["station_name"].attrs["cf_role"] = "timeseries_id"
    data["city"] = ("home", [f"C{i}" for i in range(HOMES)])
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert load(tmp_path / "a.nc", max_missing=0.5).entities[0] == "S0"
    assert load(tmp_path / "a.nc", max_missing=0.5, columns=config.Columns(id="city")).entities[0] == "C0"


@pytest.mark.parametrize(
    ("values", "units", "right"),
    [
        ([0.0, 1 / 24, 2 / 24, 3 / 24], "days since 2013-01-01", "2013-01-01T00:00:00"),
        ([0, 60, 120, 180], "minutes since 2012-12-31 23:00:00 -01:00", "2013-01-01T00:00:00"),
        ([1356998400, 1357002000, 1357005600, 1357009200], "seconds since 1970-01-01", "2013-01-01T00:00:00"),
        ([0, 1, 2, 3], "Hours Since 2013-1-1 5:0", "2013-01-01T05:00:00"),
    ],
)
def test_times_count_from_a_moment(tmp_path: Path, values: list[float], units: str, right: str) -> None:
    data = xarray.Dataset({"kwh": (("home", "time"), numbers(2, 4))}, coords={"time": ("time", values)})
    data["time"].attrs["units"] = units
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    axis = load(tmp_path / "a.nc").meta.axis
    assert (axis.start, axis.step_seconds, axis.length) == (right, 3600, 4)


@pytest.mark.parametrize("units", ["hours since 01/02/2013", "hours since 1.2.2013", "hours from 2013-01-01"])
def test_moments_that_are_not_plain_are_refused(tmp_path: Path, units: str) -> None:
    data = xarray.Dataset({"kwh": (("home", "time"), numbers(2, 4))}, coords={"time": ("time", range(4))})
    data["time"].attrs["units"] = units
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(UserError, match=r"may be read in two ways|without units such as 'hours since 2013"):
        load(tmp_path / "a.nc")


@pytest.mark.parametrize("label", [0.0, 0.5, 1.0])  # begin, middle or end of the hour
def test_intervals_stand_for_the_time_at_which_they_begin(tmp_path: Path, label: float) -> None:
    hours = np.arange(4.0)
    data = xarray.Dataset({"kwh": (("home", "time"), numbers(2, 4))}, coords={"time": hours + label})
    data["time"].attrs |= {"units": "hours since 2013-01-01", "bounds": "time_bnds"}
    data["time_bnds"] = (("time", "nv"), np.stack([hours, hours + 1], axis=1))
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    axis = load(tmp_path / "a.nc").meta.axis
    assert (axis.start, axis.step_seconds, axis.length) == ("2013-01-01T00:00:00", 3600, 4)


def test_times_that_are_not_regular(tmp_path: Path) -> None:
    data = dataset().drop_isel(time=[5, 6])
    data.isel(time=slice(None, None, -1)).to_netcdf(tmp_path / "gap.nc", engine="h5netcdf")
    raw = load(tmp_path / "gap.nc", max_missing=0.5)
    assert raw.meta.axis.length == STEPS and raw.meta.provenance["missing_stamps"] == 2
    assert np.isnan(raw.values[:, 5:7]).all()
    np.testing.assert_array_equal(
        raw.values[0, 7:, list(raw.meta.channels).index("heat")], dataset()["heat"][0, 7:]
    )
    twice = xarray.concat([dataset(), dataset().isel(time=[3])], "time")
    twice.to_netcdf(tmp_path / "twice.nc", engine="h5netcdf")
    with pytest.raises(UserError, match="stands twice"):
        load(tmp_path / "twice.nc")


def test_epoch_numbers_without_units_need_the_setting(tmp_path: Path) -> None:
    seconds = 1356998400 + 1800 * np.arange(8)
    data = xarray.Dataset({"kwh": (("home", "time"), numbers(2, 8))}, coords={"time": ("time", seconds)})
    data.to_zarr(tmp_path / "a.zarr", zarr_format=3)
    with pytest.raises(UserError, match=r"set data\.time_unit"):
        load(tmp_path / "a.zarr")
    axis = load(tmp_path / "a.zarr", time_unit="s").meta.axis
    assert (axis.start, axis.step_seconds) == ("2013-01-01T00:00:00", 1800)


def test_a_zone_makes_utc_the_standard_time_of_the_place(tmp_path: Path) -> None:
    dataset().to_zarr(tmp_path / "a.zarr", zarr_format=3)
    axis = load(tmp_path / "a.zarr", timezone="Europe/Paris", max_missing=0.5).meta.axis
    assert axis.start == "2013-01-01T01:00:00"


def test_large_arrays_are_read_in_slabs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "SLAB_BYTES", 700)
    for order in (("home", "time"), ("time", "home")):
        path = tmp_path / f"{order[0]}.zarr"
        data = dataset(order)
        data.to_zarr(path, zarr_format=3, encoding={"heat": {"chunks": (5, 4)}})
        raw = load(path, max_missing=0.5)
        for number, name in enumerate(raw.meta.channels):
            np.testing.assert_array_equal(raw.values[:, :, number], data[name].transpose("home", "time"))


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "empty.zarr", mode="w")
    with pytest.raises(UserError, match="group without arrays"):
        load(tmp_path / "empty.zarr")
    group.create_array("a", shape=(3, 8), dtype="f4")[:] = 1
    with pytest.raises(UserError, match=r"do not name their dimensions; name one array in it"):
        load(tmp_path / "empty.zarr")
    shutil.copytree(tmp_path / "empty.zarr", tmp_path / "bad.zarr")
    facts = tmp_path / "bad.zarr" / "a" / "zarr.json"
    tree = json.loads(facts.read_text())
    tree["chunk_grid"]["configuration"]["chunk_shape"] = [0, 8]
    facts.write_text(json.dumps(tree))
    with pytest.raises(UserError, match="not a readable Zarr"):
        load(tmp_path / "bad.zarr" / "a")
    (tmp_path / "text.nc").write_text("no NetCDF at all")
    with pytest.raises(UserError, match="not a NetCDF file"):
        load(tmp_path / "text.nc")
    (tmp_path / "cut.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))
    with pytest.raises(UserError, match="not a readable NetCDF file"):
        load(tmp_path / "cut.nc")
