"""Meters of a household, or stays of a patient, have one owner where a source says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data import ingest

HOURS = pd.date_range("2023-03-06", periods=48, freq="h")
READINGS = np.random.default_rng(0).gamma(2, size=(4, len(HOURS))).round(3)
METERS = ["m0", "m1", "m2", "m3"]
HOMES = ["7", "7", "8", "9"]
OWNERS = ["household_id=7", "household_id=7", "m2", "m3"]


def long(**columns: list[str]) -> pd.DataFrame:
    """Four meters, with a cell of each further column for each."""
    meters = [
        pd.DataFrame({name: cells[number] for name, cells in columns.items()}, index=HOURS).assign(
            meter_id=METERS[number], time=HOURS.strftime("%Y-%m-%d %H:%M"), kwh=READINGS[number]
        )
        for number in range(4)
    ]
    return pd.concat(meters)


def open_file(path: Path, **settings: Any) -> ingest.Series:
    data = config.Data.model_validate({"source": str(path)} | settings)
    found = ingest.open_source(data, path.parent / "work")
    np.testing.assert_allclose(found.read_rows(0, 4)[:, :, 0], READINGS, rtol=1e-6)
    return found


def open_table(table: pd.DataFrame, place: Path, **settings: Any) -> ingest.Series:
    table.to_csv(place / "a.csv", index=False)
    return open_file(place / "a.csv", **settings)


@pytest.mark.parametrize(
    "name",
    [
        "household_id",
        "HouseholdId",
        "customer",
        "PatientNo",
        "Subject ID",
        "home",
        "premise_id",
        "Dwelling No",
        "MPAN",
        "NMI",
        "EAN-code",
        "PodId",
    ],
)
def test_meters_with_the_same_household_have_one_owner(tmp_path: Path, name: str) -> None:
    found = open_table(long(**{name: HOMES}), tmp_path)
    assert found.entities == METERS and found.owners == [f"{name}=7", f"{name}=7", "m2", "m3"]
    note = next(note for note in found.source.understood.notes if "have one owner" in note)
    assert "4 entities, 3 owners; data.columns.attributes=" in note and "\n" not in note


def test_a_column_of_attributes_only_describes(tmp_path: Path) -> None:
    columns = {"attributes": ("household_id",)}
    assert open_table(long(household_id=HOMES), tmp_path, columns=columns).owners == METERS


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("house", ["flat", "flat", "detached", "flat"]),  # a kind
        ("customer_type", ["1", "1", "2", "2"]),
        ("dwelling", ["1-storey", "1-storey", "2-storey", "flat 3"]),
        ("region", ["7", "7", "8", "9"]),
        ("household_id", ["5", "6", "7", "8"]),  # one meter each
    ],
)
def test_what_describes_entities_makes_no_owner(tmp_path: Path, name: str, cells: list[str]) -> None:
    assert open_table(long(**{name: cells}), tmp_path).owners == METERS


def test_the_widest_of_several_columns_counts(tmp_path: Path) -> None:
    """As stays of admissions of patients."""
    table = long(subject_id=["1", "1", "1", "2"], home=["x1", "x1", "x2", "x3"])
    assert open_table(table, tmp_path).owners == ["subject_id=1"] * 3 + ["m3"]


def test_meters_without_a_household_are_owners(tmp_path: Path) -> None:
    found = open_table(long(household_id=["", "h7", "h7", ""]), tmp_path)
    assert found.owners == ["m0", "household_id=h7", "household_id=h7", "m3"]


def test_an_id_of_household_and_meter_has_the_household_as_owner(tmp_path: Path) -> None:
    table = long(household_id=HOMES)
    table["meter_id"] = table["meter_id"].map({"m0": "a", "m1": "b", "m2": "a", "m3": "a"})
    found = open_table(table, tmp_path, columns={"id": ("household_id", "meter_id")})
    assert found.entities == ["7 / a", "7 / b", "8 / a", "9 / a"]
    assert found.owners == ["household_id=7", "household_id=7", "8 / a", "9 / a"]


def test_a_table_of_attributes_may_state_the_household(tmp_path: Path) -> None:
    about = pd.DataFrame({"meter_id": METERS, "household_id": HOMES, "people": ["2", "2", "1", "3"]})
    about.to_csv(tmp_path / "about.csv", index=False)
    assert open_table(long(), tmp_path, attributes=str(tmp_path / "about.csv")).owners == OWNERS


@pytest.mark.parametrize("cells", [HOMES, np.array([7, 7, 8, 9]), np.array(HOMES, dtype=bytes)])
def test_an_array_of_an_npz_may_state_the_household(tmp_path: Path, cells: Any) -> None:
    np.savez(tmp_path / "a.npz", x=READINGS, ids=METERS, household_id=cells)
    assert open_file(tmp_path / "a.npz").owners == OWNERS
    assert open_file(tmp_path / "a.npz", columns={"ignore": ("household_id",)}).owners == METERS
    np.savez(tmp_path / "b.npz", x=READINGS, ids=METERS, household_id=[7, 7], owner=["a", "b", "c", "c"])
    assert open_file(tmp_path / "b.npz").owners == ["a", "b", "c", "c"]


def test_a_variable_along_the_meters_may_state_the_household(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    arrays = {"kwh": (("meter", "time"), READINGS), "household_id": ("meter", [7, 7, 8, 9])}
    table = xarray.Dataset(arrays, {"meter": METERS, "time": HOURS})
    table.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert open_file(tmp_path / "a.nc").owners == OWNERS
    table.to_zarr(tmp_path / "a.zarr", zarr_format=2)
    assert open_file(tmp_path / "a.zarr").owners == OWNERS
