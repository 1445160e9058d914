"""Quantities and registers of one entity are channels of one owner; what names leave open is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.formats.quantities import judge_names
from distgan.data.ingest import Raw, open_source, read
from distgan.errors import UserError
from distgan.pipeline.source_summary import find_suspicions

STEPS = 96
TIMES = pd.date_range("2013-01-01", periods=STEPS, freq="h").strftime("%Y-%m-%d %H:%M")
READINGS = np.random.default_rng(0).gamma(2, size=(STEPS, 4)).round(3) + 0.001


def load(table: pd.DataFrame, place: Path, **settings: Any) -> Raw:
    table.to_csv(place / "mine.csv", index=False)
    return read(config.Data.model_validate({"source": str(place / "mine.csv")} | settings))


def wide(*names: str) -> pd.DataFrame:
    table = pd.DataFrame(READINGS[:, : len(names)], columns=list(names))
    table.insert(0, "time", TIMES)
    return table


def long(column: str, *cells: Any, **more: Any) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"time": TIMES, column: cell, "value": READINGS[:, number]} | more)
        for number, cell in enumerate(cells)
    ]
    return pd.concat(parts).sort_values("time", kind="stable")


CHANNELS = [
    ["temp", "pressure", "humidity"],
    ["temperature_2m", "relative_humidity_2m", "wind_speed_10m", "wind_speed_100m"],
    ["Date Temp", "RH_1", "RH_out", "Windspeed"],
    ["t [°C]", "rh [%]", "wind [m/s]"],
    ["speed (m/s)", "direction (deg)", "air (C)"],
    ["import", "export"],
    ["Bezug", "Einspeisung"],
    ["consumption", "production"],
    ["E1", "B1"],
    ["1-1:1.29.0", "1-1:2.29.0"],
    ["1.8.0 [kWh]", "2.8.0 [kWh]"],
    ["OBIS 1-0:1.8.0*255", "OBIS 1-0:2.8.0*255"],
    ["A+ (kWh)", "A- (kWh)"],
    ["1.8.1 kWh", "1.8.2 kWh"],
    ["use", "gen", "grid", "car1"],
    ["kitchen", "fridge", "tv"],
    ["channel_1", "channel_2", "channel_3"],
    ["L1", "L2", "L3"],
    ["HR", "SBP", "DBP", "SpO2"],
    ["Aggregate", "Appliance1", "Appliance2"],
    ["Consommation", "Prévision J-1", "Gaz", "Eolien"],
    ["Direkt verbraucht", "Energie aus Netz bezogen", "Energie ins Netz eingespeist"],
    ["Consumption (kWh)", "Estimated Cost Inc. Tax (p)"],
    ["acc_x", "acc_y", "acc_z"],
    ["x", "y", "z"],
    ["q10", "q50", "q90"],
    ["I", "II", "aVR", "V1"],
    ["Fp1", "Fp2", "C3", "O1"],
    ["electricity", "gas"],
    ["Bridge", "Bridge IN", "Bridge OUT"],
    ["Living Room", "Bedroom 1", "Bedroom 2"],
    ["open", "high", "low", "close"],
    ["mean", "min", "max"],
    ["L1_V", "L1_A", "L2_V", "L2_A"],
    ["fridge_1", "fridge_2", "tv_1"],
    ["('h1', 'import')", "('h1', 'export')"],
    ["Nuclear", "Wind onshore", "Wind offshore", "Gas"],
]
ENTITIES = [
    ["H1", "H2", "H3"],
    ["DE", "FR", "AT"],
    ["A", "B", "C"],
    ["P1", "P2", "P3"],
    ["V1", "V2", "V3"],
    ["C3", "C4", "P1"],
    ["B1", "B2", "B3"],
    ["B1 [kWh]", "B2 [kWh]", "B3 [kWh]"],
    ["1.8.0", "1.8.0_old"],
    ["L1", "L2", "L3", "L4"],
    ["M1", "M2 solar", "M3"],
    ["Library power", "Gym power", "Hall power"],
    ["temp_1", "temp_2", "temp_3"],
    ["Queen Street", "Quay", "High Street"],
    ["open", "closed"],
    ["block1_flat1", "block1_flat2", "block2_flat1", "block2_flat2"],
    ["Queen St North", "Queen St South", "King St North", "King St South"],
    ["('h1', 'kwh')", "('h2', 'kwh')"],
]
MIXED = [
    ["T1", "RH1", "T2", "RH2"],
    ["home1_import", "home1_export", "home2_import", "home2_export"],
    ["Main St", "Main St IN", "Quay", "Quay IN"],  # Eco-Counter
    ["Solar Farm A", "Solar Farm B", "Wind Farm C"],
    ["meter1_L1", "meter1_L2", "meter2_L1", "meter2_L2"],
    ["h1_kwh", "h1_temp", "h2_kwh", "h2_temp"],
    ["kwh.h1", "temp.h1", "kwh.h2", "temp.h2"],
    ["h1 kW", "h1 V", "h2 kW", "h2 V"],
    ["home1 total", "home1 hvac", "home2 total", "home2 hvac"],
    ["M1_E1", "M1_B1", "M2_E1", "M2_B1"],
    ["h1 1.8.0", "h1 2.8.0", "h2 1.8.0", "h2 2.8.0"],
    ["('h1', 'kwh')", "('h1', 'temp')", "('h2', 'kwh')", "('h2', 'temp')"],  # as pandas writes levels
]


@pytest.mark.parametrize("names", CHANNELS, ids=lambda names: names[0])
def test_columns_named_as_quantities_are_channels_of_one_owner(tmp_path: Path, names: list[str]) -> None:
    found = load(wide(*names), tmp_path)
    assert found.entities == found.owners == ["mine"] and found.meta.channels == tuple(names)
    np.testing.assert_array_equal(found.values[0], READINGS[:, : len(names)].astype(np.float32))
    assert load(wide(*names), tmp_path, layout="wide", columns={"values": names}).entities == names


@pytest.mark.parametrize("names", ENTITIES, ids=lambda names: names[0])
def test_columns_named_as_entities_are_entities(tmp_path: Path, names: list[str]) -> None:
    assert load(wide(*names), tmp_path).entities == names
    found = load(wide(*names), tmp_path, layout="per_file")
    assert found.entities == ["mine"] and found.meta.channels == tuple(names)


@pytest.mark.parametrize("names", MIXED, ids=lambda names: names[0])
def test_quantities_of_several_entities_are_refused_in_one_line(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(UserError, match=r"data.layout=per_file if all .*, data.layout=wide if each") as error:
        load(wide(*names), tmp_path)
    assert "\n" not in str(error.value)
    assert load(wide(*names), tmp_path, layout="wide").entities == names


def test_quantities_of_very_many_entities_are_refused(tmp_path: Path) -> None:
    names = [f"m{meter}_{flow}" for flow in ("in", "out") for meter in range(3000)]
    table = pd.DataFrame(np.resize(READINGS[:4], (4, len(names))), columns=names)
    table.insert(0, "time", TIMES[:4])
    with pytest.raises(UserError, match=r"some of the columns \(m0_in, m1_in, .* different quantities"):
        load(table, tmp_path)


@pytest.mark.parametrize("one", ["import", "kwh", "E1"])
def test_ids_that_say_an_entity_and_a_quantity_are_refused(tmp_path: Path, one: str) -> None:
    other = "B1" if one == "E1" else "voltage"
    ids = [f"h{home}_{name}" for home in (1, 2) for name in (one, other)]
    with pytest.raises(
        UserError, match=rf"ids in column 'id' \(h1_{one}, .*write the entity and the quantity"
    ):
        load(long("id", *ids), tmp_path)
    assert load(long("id", *ids), tmp_path, columns={"id": "id"}).entities == ids
    np.savez(tmp_path / "a.npz", x=READINGS.T, ids=ids)
    with pytest.raises(UserError, match=rf"ids \(h1_{one}, .*several quantities of each entity"):
        read(config.Data(source=str(tmp_path / "a.npz")))
    for name in ids:
        (tmp_path / "files").mkdir(exist_ok=True)
        wide("value").to_csv(tmp_path / "files" / f"{name}.csv", index=False)
    with pytest.raises(UserError, match=r"names of its files \(h1_.*data.layout=per_file"):
        read(config.Data(source=str(tmp_path / "files")))


def test_a_quantity_beside_entities_is_refused(tmp_path: Path) -> None:
    table = wide("H1", "H2", "H3", "temperature")
    with pytest.raises(UserError, match=r"data.columns.ignore=\[temperature\]"):
        load(table, tmp_path)
    assert load(table, tmp_path, columns={"ignore": ["temperature"]}).entities == ["H1", "H2", "H3"]


def test_a_row_of_units_shows_quantities(tmp_path: Path) -> None:
    table = wide("first", "second", "third").astype(object)
    table.loc[-1] = ["", "°C", "%", "m/s"]
    found = load(table.sort_index(), tmp_path)
    assert found.entities == ["mine"] and found.meta.channels == ("first", "second", "third")


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("direction", ("import", "export")),
        ("flow", ("E", "B")),
        ("register", ("001", "002")),
        ("Suffix", ("E1", "B1")),
        ("flowDirection", (1, 19)),
        ("Register", ("Afname Dag", "Afname Nacht", "Injectie Dag")),
        ("kind", ("consumption", "generation")),
        ("tariff", ("T1", "T2")),
        ("fuel", ("electricity", "gas")),
        ("OBIS code", ("1-1:1.29.0", "1-1:2.29.0")),
        ("entity_id", ("sensor.temperature", "sensor.humidity")),
        ("variable", ("temp", "rh", "wind_speed")),
        ("meter", ("Import", "Export")),
        ("CONSUMPTION_SURPLUSGENERATION", ("Consumption", "Surplus Generation")),
    ],
)
def test_a_column_of_registers_names_channels_of_one_owner(
    tmp_path: Path, column: str, cells: tuple[Any, ...]
) -> None:
    found = load(long(column, *cells), tmp_path)
    assert found.owners == ["mine"] and found.meta.channels == tuple(map(str, cells))
    np.testing.assert_array_equal(found.values[0], READINGS[:, : len(cells)].astype(np.float32))
    assert load(long(column, *cells), tmp_path, columns={"id": column}).entities == list(map(str, cells))
    asked = load(long(column, *cells), tmp_path, columns={"channel": column})
    assert asked.owners == ["mine"] and asked.meta.channels == found.meta.channels


def test_a_column_of_registers_beside_one_of_meters_names_channels(tmp_path: Path) -> None:
    one = load(long("direction", "import", "export", meter="M1"), tmp_path)
    assert one.entities == ["M1"] and one.meta.channels == ("import", "export")
    both = pd.concat([long("flow", "in", "out", meter=meter) for meter in ("M1", "M2")])
    found = load(both, tmp_path)
    assert found.entities == ["M1", "M2"] and found.meta.channels == ("in", "out")


def test_a_column_that_may_name_channels_or_entities_is_refused(tmp_path: Path) -> None:
    table = long("type", "a7", "b9")
    with pytest.raises(UserError, match=r"data.columns.channel=type if .* or data.columns.id=type$"):
        load(table, tmp_path)
    assert load(table, tmp_path, columns={"id": "type"}).entities == ["a7", "b9"]
    assert load(table, tmp_path, columns={"channel": "type"}).meta.channels == ("a7", "b9")


def test_rows_named_as_quantities_are_channels(tmp_path: Path) -> None:
    table = pd.DataFrame(READINGS[:, :2].T, columns=TIMES)
    table.insert(0, "what", ["temp", "humidity"])
    found = load(table, tmp_path)
    assert found.owners == ["mine"] and found.meta.channels == ("temp", "humidity")
    np.testing.assert_array_equal(found.values[0], READINGS[:, :2].astype(np.float32))


def test_days_of_registers_are_channels(tmp_path: Path) -> None:
    days = pd.DataFrame(READINGS[:, :2].T.reshape(8, 24), columns=[f"{hour}:00" for hour in range(24)])
    days.insert(0, "date", [f"2013-01-0{day}" for day in (1, 2, 3, 4)] * 2)
    found = load(days.assign(direction=np.repeat(["import", "export"], 4)), tmp_path)
    assert found.owners == ["mine"] and found.meta.channels == ("import", "export")
    np.testing.assert_array_equal(found.values[0], READINGS[:, :2].astype(np.float32))


def test_files_of_stations_are_entities_with_channels(tmp_path: Path) -> None:
    for name in ("north", "south"):
        wide("temp", "humidity").to_csv(tmp_path / f"{name}.csv", index=False)
    found = read(config.Data(source=str(tmp_path)))
    assert found.entities == ["north", "south"] and found.meta.channels == ("temp", "humidity")


def test_files_of_meters_with_registers_are_entities_with_channels(tmp_path: Path) -> None:
    for name in ("north", "south"):
        long("direction", "import", "export").to_csv(tmp_path / f"{name}.csv", index=False)
    found = read(config.Data(source=str(tmp_path)))
    assert found.entities == ["north", "south"] and found.meta.channels == ("import", "export")


def test_months_of_one_station_are_one_entity(tmp_path: Path) -> None:
    for month, part in ((1, slice(0, 48)), (2, slice(48, 96))):
        wide("temp", "humidity")[part].to_csv(tmp_path / f"station_2013-0{month}.csv", index=False)
    found = read(config.Data(source=str(tmp_path)))
    assert found.owners == ["station"] and found.values.shape == (1, STEPS, 2)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("temperature", "humidity"), "named as quantities of one entity"),
        (("channel_1", "channel_2"), "named as quantities of one entity"),
        (("home106_kitchen", "home106_hall"), "both name '(home106|subject1)'"),
        (("subject1_walk", "subject1_run", "subject2_run"), "both name '(home106|subject1)'"),
    ],
)
def test_files_of_one_entity_are_no_owners_silently(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    for name in names:
        wide("value").to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(UserError, match=f"{message}.*data.layout=per_file"):
        read(config.Data(source=str(tmp_path)))
    found = read(config.Data.model_validate({"source": str(tmp_path), "layout": "per_file"}))
    assert found.entities == sorted(names)


def test_devices_of_a_home_are_no_owners_silently(tmp_path: Path) -> None:
    """As Sense writes them: an id and a name for each device."""
    table = long("Device ID", "mains", "ab12", "cd34")
    table["Name"] = table["Device ID"].map({"mains": "Total Usage", "ab12": "Fridge", "cd34": "Dryer"})
    with pytest.raises(UserError, match=r"data.columns.ignore=\"\['Device ID'\]\""):
        load(table, tmp_path)
    found = load(table, tmp_path, columns={"ignore": ["Device ID"]})
    assert found.owners == ["mine"] and found.meta.channels == ("Total Usage", "Fridge", "Dryer")
    assert load(table, tmp_path, columns={"id": "Device ID"}).owners == ["mains", "ab12", "cd34"]


@pytest.mark.parametrize("name", ["EAN-code", "CUPS", "PRM", "Zählpunkt", "GSRN"])
def test_numbers_of_meters_are_ids(tmp_path: Path, name: str) -> None:
    parts = [long("Register", "Afname", "Injectie", **{name: f"54144882000000000{n}"}) for n in (1, 2)]
    found = load(pd.concat(parts), tmp_path)
    assert found.owners == ["541448820000000001", "541448820000000002"]
    assert found.meta.channels == ("Afname", "Injectie")


def test_advice_leaves_out_a_column_beside_one_of_kinds(tmp_path: Path) -> None:
    """As InfluxDB writes a number of the table beside each value."""
    table = long("_field", "power", "voltage").assign(table=7, home="h1")
    table["table"] = table["_field"].map({"power": 0, "voltage": 1})
    with pytest.raises(UserError, match=r"set data.columns.ignore=\[table\]"):
        load(table, tmp_path)
    assert load(table, tmp_path, columns={"ignore": ["table"]}).meta.channels == ("power", "voltage")


def test_folders_of_variables_are_channels(tmp_path: Path) -> None:
    for number, name in enumerate(("humidity", "temperature")):
        folder = tmp_path / "set" / f"variable={name}"
        folder.mkdir(parents=True)
        wide("a", "b")[["time", "ab"[number]]].set_axis(["time", "value"], axis=1).to_csv(
            folder / "part.csv", index=False
        )
    found = read(config.Data(source=str(tmp_path / "set")))
    assert found.owners == ["set"] and found.meta.channels == ("humidity", "temperature")
    np.testing.assert_array_equal(found.values[0], READINGS[:, :2].astype(np.float32))


def test_ids_of_arrays_that_are_quantities_are_refused(tmp_path: Path) -> None:
    names = np.array(["temperature", "humidity"])
    np.savez(tmp_path / "a.npz", x=READINGS[:, :2].T, ids=names)
    with pytest.raises(
        UserError, match=r"ids \(temperature, humidity\) are quantities .* or an owner for each"
    ):
        read(config.Data(source=str(tmp_path / "a.npz")))
    np.savez(tmp_path / "b.npz", x=READINGS[:, :2].T, ids=names, owner=np.array(["M1", "M1"]))
    assert read(config.Data(source=str(tmp_path / "b.npz"))).owners == ["M1", "M1"]


def test_dimensions_of_quantities_are_refused_with_both_ways(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    table = xarray.DataArray(
        READINGS[:, :2].T,
        dims=("sensor", "time"),
        coords={"sensor": ["temperature", "humidity"], "time": pd.to_datetime(TIMES)},
        name="value",
    )
    table.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(UserError, match=r"rename the dimension to channel, or set data.columns.id=sensor"):
        read(config.Data(source=str(tmp_path / "a.nc")))
    table.rename(sensor="channel").to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    found = read(config.Data(source=str(tmp_path / "b.nc")))
    assert found.owners == ["b"] and found.meta.channels == ("temperature", "humidity")
    asked = config.Data.model_validate({"source": str(tmp_path / "a.nc"), "columns": {"id": "sensor"}})
    assert read(asked).entities == ["temperature", "humidity"]


def suspect(table: pd.DataFrame, place: Path, **settings: Any) -> tuple[set[str], list[str]]:
    table.to_csv(place / "mine.csv", index=False)
    data = config.Data.model_validate({"source": str(place / "mine.csv")} | settings)
    found = open_source(data, place / "work", survey=True)
    suspicions = find_suspicions(config.Config(data=data), found)
    return {each.name for each in suspicions if each.severity == "error"}, found.source.understood.notes


def test_values_of_different_size_under_unknown_names_are_an_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    table = wide("HUFL", "LULL", "OT").assign(OT=rng.normal(1013, 2, STEPS).round(1))
    errors, _ = suspect(table, tmp_path)
    assert "entities" in errors
    assert "entities" not in suspect(table, tmp_path, layout="wide")[0]
    assert "entities" not in suspect(table, tmp_path, layout="per_file")[0]
    like = table.set_axis(["time", "H1", "H2", "H3"], axis=1)
    assert "entities" not in suspect(like, tmp_path)[0]


def test_columns_that_are_taken_for_entities_are_said_with_the_setting(tmp_path: Path) -> None:
    errors, notes = suspect(wide("Park", "Mill", "Hill"), tmp_path)
    assert "entities" not in errors
    assert [note for note in notes if "read as entities" in note and "data.layout=per_file" in note]
    many = pd.DataFrame(READINGS[:, [0] * 20], columns=[f"H{number}" for number in range(20)])
    assert not suspect(many.assign(time=TIMES), tmp_path)[1]
    _, notes = suspect(wide("temp", "humidity"), tmp_path)
    assert [note for note in notes if "channels of one entity" in note and "data.layout=wide" in note]


def test_rows_of_several_entities_without_a_name_stay_long(tmp_path: Path) -> None:
    """Times that repeat beyond the sampled rows show that rows are of several entities."""
    parts = [wide("temp", "humidity").assign(k=number) for number in (4, 7)]
    found = load(pd.concat(parts), tmp_path)
    assert found.entities == ["4", "7"] and found.meta.channels == ("temp", "humidity")


def test_names_alone_are_judged() -> None:
    assert judge_names(["temp"]) == "entities" and judge_names([]) == "entities"
    assert judge_names(["in", "out"]) == "channels"
    assert judge_names([f"home {n}" for n in range(300)]) == "entities"


@pytest.mark.parametrize("name", ["M1.1", "M1_duplicated_0"])
def test_a_name_that_stood_twice_is_no_second_entity(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"columns 'M1' and '{name}' seem to be one name that stood twice"):
        load(wide("M1", name, "M2"), tmp_path)
    assert load(wide("M1", name, "M2"), tmp_path, layout="wide").entities == ["M1", name, "M2"]
    assert load(wide("1.1", "1.2", "2.1"), tmp_path).entities == ["1.1", "1.2", "2.1"]
