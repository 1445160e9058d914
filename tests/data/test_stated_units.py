"""Units that a source states, beside the unit that data.units names."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import open_source
from distgan.errors import UserError
from distgan.pipeline.source_summary import find_suspicions

TIMES = pd.date_range("2013-01-01", periods=96, freq="h")
READINGS = np.random.default_rng(0).gamma(2, size=(2, 96)).round(3) + 0.001


def notice(source: Path, place: Path, *settings: str) -> list[str]:
    """Return what is noticed of units."""
    options = config.load(None, [f"data.source={source}", *settings])
    found = open_source(options.data, place / "work", survey=True)
    return [each.text + each.advice for each in find_suspicions(options, found) if each.name == "units"]


def write_table(place: Path, kind: str) -> Path:
    table = pd.DataFrame({"time": TIMES, "a": READINGS[0], "b": READINGS[1]})
    long = table.melt("time", var_name="home", value_name="use").assign(unit="Wh")
    text = {
        "title": "Unit: Wh\n" + table.to_csv(index=False),
        "row": table.to_csv(index=False).replace("time,a,b\n", "time,a,b\n,Wh,Wh\n"),
        "row above": ",Wh,Wh\n" + table.to_csv(index=False),
        "names": table.rename(columns={"a": "a [Wh]", "b": "b [Wh]"}).to_csv(index=False),
        "column": long.to_csv(index=False),
    }[kind]
    (place / "a.csv").write_text(text)
    return place / "a.csv"


@pytest.mark.parametrize("kind", ["title", "row", "row above", "names", "column"])
def test_another_unit_than_the_table_states_is_noticed(tmp_path: Path, kind: str) -> None:
    path = write_table(tmp_path, kind)
    said = notice(path, tmp_path, "data.units=kWh")
    assert said == ["data.units is 'kWh', and the source states Whcheck the unit, and set data.units"]
    assert notice(path, tmp_path, "data.units=Wh") == []
    assert notice(path, tmp_path) == ["the source states Whset data.units=Wh"]


def write_array(place: Path, *units: str) -> Path:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    homes = {
        f"H{row + 1}": xarray.DataArray(READINGS[row], {"time": TIMES}, ("time",), attrs={"units": unit})
        for row, unit in enumerate(units)
    }
    xarray.Dataset(homes).to_netcdf(place / "a.nc", engine="h5netcdf")
    return place / "a.nc"


def test_another_unit_than_an_array_states_is_noticed(tmp_path: Path) -> None:
    path = write_array(tmp_path, "Wh", "Wh")
    assert "the source states Wh" in notice(path, tmp_path, "data.layout=wide", "data.units=kWh")[0]
    assert notice(path, tmp_path, "data.layout=wide", "data.units=Wh") == []


def test_entities_in_different_units_are_refused_whatever_data_units_is(tmp_path: Path) -> None:
    path = write_array(tmp_path, "kWh", "Wh")
    for settings in ([], ["data.units=kWh"]):
        with pytest.raises(UserError, match=r"a\.nc: the variables have different units: H1 kWh, H2 Wh"):
            notice(path, tmp_path, "data.layout=wide", *settings)
    path = write_array(tmp_path, "kWh", "kilowatt hours")
    assert notice(path, tmp_path, "data.layout=wide", "data.units=kWh") == []


@pytest.mark.parametrize("between", [" ", "\n", "", " \r\n "])
def test_units_below_names_in_their_cells_are_read(tmp_path: Path, between: str) -> None:
    """As spreadsheets break names."""
    names = {"a": f"a{between}[kWh]", "b": f"b{between}[Wh]"}
    table = pd.DataFrame({"time": TIMES, "a": READINGS[0], "b": READINGS[1]}).rename(columns=names)
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match=r"the columns have different units \(kWh, Wh\)"):
        notice(tmp_path / "a.csv", tmp_path)


def write_columns(path: Path, names: list[str]) -> None:
    table = pd.DataFrame({name: READINGS[place % 2] + place for place, name in enumerate(names)})
    table.insert(0, "time", TIMES)
    table.to_csv(path, index=False)


@pytest.mark.parametrize("names", ["a [kWh],b [Wh],c", "a_kWh,b_Wh,c", "h1 [kWh],h2 [MWh],h3 [x],h4"])
def test_columns_without_a_unit_hide_no_mixture(tmp_path: Path, names: str) -> None:
    write_columns(tmp_path / "a.csv", names.split(","))
    with pytest.raises(UserError, match=r"the columns have different units \(kWh, M?Wh\)"):
        notice(tmp_path / "a.csv", tmp_path)


@pytest.mark.parametrize("names", ["a (kWh),b (kWh),c", "North (N),South (S),West (W)", "a [Wh],b,c,d"])
def test_columns_of_one_unit_or_of_letters_are_read(tmp_path: Path, names: str) -> None:
    write_columns(tmp_path / "a.csv", names.split(","))
    options = config.load(None, [f"data.source={tmp_path / 'a.csv'}"])
    assert open_source(options.data, tmp_path / "work").entities == names.split(",")


@pytest.mark.parametrize("name", ["multiplier", "scale_factor", "sign"])
def test_factors_that_change_within_an_entity_are_no_readings(tmp_path: Path, name: str) -> None:
    table = pd.DataFrame({"home": "a", "time": TIMES, "use": READINGS[0], name: [40] * 48 + [60] * 48})
    other = table.assign(home="b", use=READINGS[1])
    pd.concat([table, other]).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match=rf"column '{name}' says by which factor .*; multiply the readings"):
        open_source(config.Data(source=str(tmp_path / "a.csv")), tmp_path / "work")
    both = config.Data(source=str(tmp_path / "a.csv"), columns=config.Columns(values=("use", name)))
    assert open_source(both, tmp_path / "other").meta.channels == ("use", name)


def test_units_that_were_sold_are_readings(tmp_path: Path) -> None:
    table = pd.DataFrame({"store": "a", "time": TIMES, "units": READINGS[0], "revenue": READINGS[1]})
    pd.concat([table, table.assign(store="b")]).to_csv(tmp_path / "a.csv", index=False)
    found = open_source(config.Data(source=str(tmp_path / "a.csv")), tmp_path / "work")
    assert found.meta.channels == ("units", "revenue")


def write_homes(place: Path, **more: tuple[str, list[str]] | tuple[str, list[int]]) -> Path:
    """Write an array of two homes, with variables beside it."""
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    homes = xarray.Dataset({"use": (("home", "time"), READINGS), **more}, {"home": ["a", "b"], "time": TIMES})
    path = place / f"{len(list(place.glob('*.nc')))}.nc"
    homes.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize(("name", "cells"), [("unit", ["kWh", "Wh"]), ("multiplier", [1, 40])])
def test_units_and_factors_of_homes_in_an_array_are_refused_where_they_differ(
    tmp_path: Path, name: str, cells: list[str] | list[int]
) -> None:
    path = write_homes(tmp_path, **{name: ("home", cells)})
    with pytest.raises(UserError, match=rf"'{name}' says that readings of entities differ"):
        open_source(config.Data(source=str(path)), tmp_path / "work")
    found = open_source(
        config.Data(source=str(path), columns=config.Columns(ignore=(name,))), tmp_path / "other"
    )
    assert np.allclose(found.read_rows(0, 2)[:, :, 0], READINGS)
    same = write_homes(tmp_path, **{name: ("home", cells[:1] * 2)})
    assert open_source(config.Data(source=str(same)), tmp_path / "same").entities == ["a", "b"]


def test_flags_of_readings_in_an_array_are_not_passed_over(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    flags = xarray.DataArray(
        np.zeros((2, 96), np.int8), dims=("home", "time"), attrs={"flag_meanings": "good bad"}
    )
    use = xarray.DataArray(READINGS, dims=("home", "time"), attrs={"ancillary_variables": "use_qc error"})
    homes = xarray.Dataset(
        {"use": use, "use_qc": flags, "error": use * 0.1}, {"home": ["a", "b"], "time": TIMES}
    )
    homes.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(UserError, match=r"'use_qc' flags the readings of 'use', and is not read; make those"):
        open_source(config.Data(source=str(tmp_path / "a.nc")), tmp_path / "work")
    ignored = config.Data(source=str(tmp_path / "a.nc"), columns=config.Columns(ignore=("use_qc",)))
    assert open_source(ignored, tmp_path / "other").meta.channels == ("use",)


def test_units_that_differ_between_series_of_a_tsf_file_are_refused(tmp_path: Path) -> None:
    head = "@attribute series_name string\n@attribute unit string\n@frequency hourly\n@data\n"
    for units in (("kWh", "Wh"), ("kWh", "kWh")):
        lines = [f"{name}:{unit}:{','.join(map(str, row))}" for name, unit, row in zip("ab", units, READINGS)]
        (tmp_path / "a.tsf").write_text(head + "\n".join(lines) + "\n")
        settings = config.Data(source=str(tmp_path / "a.tsf"))
        if units[0] == units[1]:
            assert open_source(settings, tmp_path / "same").entities == ["a", "b"]
        else:
            with pytest.raises(UserError, match=r"'unit' says that readings of entities differ \(kWh, Wh\)"):
                open_source(settings, tmp_path / "work")
