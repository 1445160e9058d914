"""Files of the Monash repository: series that begin at their own times, attributes, missing values."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distgan import config
from distgan.data.ingest import Raw, read
from distgan.errors import UserError

VALUES = np.random.default_rng(0).gamma(2, size=(4, 96)).round(3) + 0.001
NAMED = ("series_name string", "start_timestamp date")


def text(*lines: str, attributes: tuple[str, ...] = NAMED, frequency: str = "half_hourly") -> str:
    head = ["# A data set", "@relation Homes", *(f"@attribute {each}" for each in attributes)]
    stated = [f"@frequency {frequency}"] if frequency else []
    return (
        "\n".join([*head, *stated, "@horizon 8", "@missing true", "@equallength false", "@data", *lines])
        + "\n"
    )


def cells(values: np.ndarray) -> str:
    return ",".join("?" if np.isnan(value) else f"{value:g}" for value in values)


def load(place: Path, content: str, **settings: Any) -> Raw:
    (place / "mine.tsf").write_text(content)
    return read(config.Data.model_validate({"source": str(place / "mine.tsf")} | settings))


def refuse(place: Path, content: str, said: str, **settings: Any) -> None:
    with pytest.raises(UserError, match=said) as error:
        load(place, content, **settings)
    assert "\n" not in str(error.value)


def test_series_begin_at_their_own_times(tmp_path: Path) -> None:
    gaps = VALUES.copy()
    gaps[0, 5] = np.nan
    found = load(
        tmp_path,
        text(f"T1:2013-01-01 00-00-00:{cells(gaps[0])}", f"T2:2013-01-01 01-00-00:{cells(gaps[1, :90])}"),
        max_missing=0.2,
    )
    assert found.owners == ["T1", "T2"] and found.meta.channels == ("value",)
    assert found.meta.axis.start == "2013-01-01T00:00:00" and found.meta.axis.step_seconds == 1800
    wanted = np.full((2, 96), np.nan)
    wanted[0], wanted[1, 2:92] = gaps[0], gaps[1, :90]
    np.testing.assert_array_equal(found.values[:, :, 0], wanted.astype(np.float32))


@pytest.mark.parametrize(
    ("frequency", "seconds"),
    [
        ("4_seconds", 4),
        ("minutely", 60),
        ("10_minutes", 600),
        ("hourly", 3600),
        ("daily", 86400),
        ("weekly", 604800),
    ],
)
def test_steps(tmp_path: Path, frequency: str, seconds: int) -> None:
    found = load(tmp_path, text(f"T1:2006-01-01 00-00-01:{cells(VALUES[0])}", frequency=frequency))
    assert found.meta.axis.step_seconds == seconds and found.meta.axis.start == "2006-01-01T00:00:01"


def test_without_times_series_begin_together(tmp_path: Path) -> None:
    lines = [f"T{number}:{cells(VALUES[number])}" for number in range(3)]
    found = load(tmp_path, text(*lines, attributes=NAMED[:1], frequency=""))
    assert found.meta.is_nominal and found.entities == ["T0", "T1", "T2"]
    np.testing.assert_array_equal(found.values[:, :, 0], VALUES[:3].astype(np.float32))


def test_other_attributes_describe_entities(tmp_path: Path) -> None:
    attributes = (NAMED[0], "state string", NAMED[1])
    lines = [
        f"T{number}:{'NSW' if number else 'VIC'}:2013-01-01 00-00-00:{cells(VALUES[number])}"
        for number in range(3)
    ]
    (tmp_path / "mine.tsf").write_text(text(*lines, attributes=attributes))
    from distgan.data.formats.sources import read_source

    found = read_source(config.Data(source=str(tmp_path / "mine.tsf")), tmp_path / "work")
    assert found.attributes == {"state": ["VIC", "NSW", "NSW"]}


def test_series_of_one_name_are_channels(tmp_path: Path) -> None:
    attributes = (NAMED[0], "variable string", NAMED[1])
    lines = [
        f"T{number // 2}:{'rh' if number % 2 else 'temp'}:2013-01-01 00-00-00:{cells(VALUES[number])}"
        for number in range(4)
    ]
    found = load(tmp_path, text(*lines, attributes=attributes))
    assert found.owners == ["T0", "T1"] and found.meta.channels == ("temp", "rh")
    np.testing.assert_array_equal(found.values[1, :, 1], VALUES[3].astype(np.float32))
    unknown = text(*lines, attributes=attributes).replace(":temp:", ":a:").replace(":rh:", ":b:")
    refuse(
        tmp_path, unknown.replace("variable", "note"), "several series are named 'T0'; set data.columns.id"
    )


def test_series_named_as_quantities_are_channels_of_one_owner(tmp_path: Path) -> None:
    lines = [f"{name}:2013-01-01 00-00-00:{cells(VALUES[0])}" for name in ("temperature", "humidity")]
    found = load(tmp_path, text(*lines))
    assert found.owners == ["mine"] and found.meta.channels == ("temperature", "humidity")
    assert load(tmp_path, text(*lines), columns={"id": "series_name"}).entities == ["temperature", "humidity"]


def test_series_of_one_household_are_not_several_owners(tmp_path: Path) -> None:
    attributes = (NAMED[0], "household_id string", NAMED[1])
    lines = [f"T{number}:H{number // 2}:2013-01-01 00-00-00:{cells(VALUES[number])}" for number in range(4)]
    content = text(*lines, attributes=attributes)
    refuse(tmp_path, content, "data.columns.id=household_id and data.columns.channel=series_name, or")
    owners = [f"household_id=H{number // 2}" for number in range(4)]
    assert load(tmp_path, content, columns={"id": "series_name"}).owners == owners


def test_the_attribute_by_which_series_of_a_station_differ_is_named(tmp_path: Path) -> None:
    """As in KDD Cup 2018: series, cities, stations, measurements."""
    attributes = (NAMED[0], "city string", "station string", "measurement string", NAMED[1])
    lines = [
        f"T{number}:Beijing:aq{number // 2}:{what}:2013-01-01 00-00-00:{cells(VALUES[number])}"
        for number, what in enumerate(["NO2", "PM10"] * 2)
    ]
    content = text(*lines, attributes=attributes)
    refuse(tmp_path, content, "data.columns.id=station and data.columns.channel=measurement, or")
    found = load(tmp_path, content, columns={"id": "station", "channel": "measurement"})
    assert found.owners == ["aq0", "aq1"] and found.meta.channels == ("NO2", "PM10")


def test_a_packed_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.writestr("homes.tsf", text(f"T1:2013-01-01 00-00-00:{cells(VALUES[0])}"))
    assert read(config.Data(source=str(tmp_path / "mine.zip"))).entities == ["T1"]


def test_codes_for_missing_values(tmp_path: Path) -> None:
    values = VALUES[0].copy()
    values[7] = -999
    found = load(tmp_path, text(f"T1:2013-01-01 00-00-00:{cells(values)}"), missing_values=[-999])
    assert np.flatnonzero(np.isnan(found.values[0, :, 0])).tolist() == [7]


def test_malformed_files_are_refused(tmp_path: Path) -> None:
    line = f"T1:2013-01-01 00-00-00:{cells(VALUES[0])}"
    refuse(tmp_path, text(line).replace("@data\n", ""), "has no line @data")
    refuse(tmp_path, text(line, attributes=()), "names no attributes")
    refuse(tmp_path, text(line, attributes=("series_name",)), "line 3: an @attribute has a name and a type")
    refuse(
        tmp_path, text(line, f"T2:{cells(VALUES[0])}"), "line 11: 2 parts between colons, and 2 attributes"
    )
    refuse(tmp_path, text(line.replace(":0", ":x0", 1) + ",1.5.2"), "line 10: value .* which is no number")
    refuse(
        tmp_path, text(line.replace("2013-01-01", "2013-02-31")), "line 10: '2013-02-31 00-00-00' is no time"
    )
    refuse(
        tmp_path,
        text(line, line.replace("00-00-00", "00-10-00").replace("T1", "T2")),
        "line 11: .*between the steps",
    )
    refuse(tmp_path, text(line, frequency="monthly"), "steps are monthly")
    refuse(tmp_path, text(line, frequency="10_moons"), "@frequency '10_moons' is not known")
    refuse(tmp_path, text(), "holds no series")
    refuse(tmp_path, text(line, line), "several series are named 'T1'")
    refuse(tmp_path, text(line), "'tariff' is no column", columns={"id": "tariff"})
