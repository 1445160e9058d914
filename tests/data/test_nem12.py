"""NEM12 files: registers of a meter are channels of one owner, flags of quality are respected."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distgan import config
from distgan.data.ingest import Raw, open_source, read
from distgan.errors import UserError

RNG = np.random.default_rng(0)
VALUES = RNG.gamma(2, size=(8, 48)).round(3)
HEAD = "100,NEM12,202303010000,MDP1,Retailer"


def cell(value: float) -> str:
    return f"{value:g}"


def meter(nmi: str = "6123456789", suffix: str = "E1", unit: str = "KWH", minutes: int = 30) -> str:
    return f"200,{nmi},E1B1,{suffix},{suffix},N1,METER1,{unit},{minutes},"


def day(number: int, values: Any, flag: str = "A", updated: str = "20230310120000") -> str:
    return f"300,202303{number:02d},{','.join(map(cell, values))},{flag},,,{updated},"


def write(place: Path, *lines: str, name: str = "mine.csv", end: str = "900") -> Path:
    (place / name).write_text("\n".join([HEAD, *lines, end]) + "\n")
    return place / name


def load(path: Path, **settings: Any) -> Raw:
    return read(config.Data.model_validate({"source": str(path)} | settings))


def refuse(path: Path, said: str, **settings: Any) -> None:
    with pytest.raises(UserError, match=said) as error:
        load(path, **settings)
    assert "\n" not in str(error.value)


def days(first: int = 0, flag: str = "A") -> list[str]:
    return [day(number, VALUES[first + number - 1], flag) for number in (1, 2, 3, 4)]


def test_registers_of_a_meter_are_channels_of_one_owner(tmp_path: Path) -> None:
    found = load(write(tmp_path, meter(), *days(), meter(suffix="B1"), *days(4)))
    assert found.owners == ["6123456789"] and found.meta.channels == ("E1", "B1")
    wanted = VALUES.reshape(2, 192).T.astype(np.float32)
    np.testing.assert_array_equal(found.values[0], wanted)
    assert found.meta.axis.start == "2023-03-01T00:00:00" and found.meta.axis.step_seconds == 1800
    assert found.meta.units == "kWh" and "UTC+10" in found.meta.provenance["clock"]


def test_meters_are_owners_and_a_checksum_is_no_other_meter(tmp_path: Path) -> None:
    lines = [meter(), *days()[:2], meter(nmi="61234567893"), *days()[2:], meter(nmi="NAAA000001"), *days(4)]
    found = load(write(tmp_path, *lines))
    assert found.owners == ["6123456789", "NAAA000001"]
    np.testing.assert_array_equal(found.values[:, :, 0], VALUES.reshape(2, 192).astype(np.float32))


@pytest.mark.parametrize(
    ("unit", "shown", "factor"), [("Wh", "kWh", 1e-3), ("MWh", "kWh", 1e3), ("kW", "kW", 1)]
)
def test_units_are_converted_and_stated(tmp_path: Path, unit: str, shown: str, factor: float) -> None:
    found = load(write(tmp_path, meter(unit=unit), *days()))
    assert found.meta.units == shown
    np.testing.assert_allclose(found.values[0, :, 0], VALUES[:4].ravel() * factor, rtol=1e-6)


def test_registers_in_several_units_state_theirs(tmp_path: Path) -> None:
    found = load(write(tmp_path, meter(), *days(), meter(suffix="Q1", unit="kVArh"), *days(4)))
    assert found.meta.channels == ("E1 (kWh)", "Q1 (kvarh)") and found.meta.units == ""


@pytest.mark.parametrize("flag", ["S14", "F16", "E52"])
def test_values_that_were_not_measured_are_missing(tmp_path: Path, flag: str) -> None:
    path = write(tmp_path, meter(), *days()[:3], day(4, VALUES[3], flag))
    found = load(path, max_missing=0.5)
    assert np.isnan(found.values[0, 144:]).all() and not np.isnan(found.values[0, :144]).any()
    opened = open_source(config.Data(source=str(path), max_missing=0.5), tmp_path / "work")
    (note,) = [note for note in opened.source.understood.notes if "substituted" in note]
    assert note.startswith("48 of 192 values") and "data.accept=[substituted]" in note
    kept = load(path, accept=["substituted"])
    np.testing.assert_array_equal(kept.values[0, :, 0], VALUES[:4].ravel().astype(np.float32))


def test_null_values_are_missing_whatever_stands_there(tmp_path: Path) -> None:
    path = write(tmp_path, meter(), *days()[:3], day(4, np.zeros(48), "N"))
    for accept in ([], ["substituted"]):
        assert np.isnan(load(path, max_missing=0.5, accept=accept).values[0, 144:]).all()


def test_flags_of_parts_of_a_day(tmp_path: Path) -> None:
    parts = ["400,1,20,A,,", "400,21,24,S14,,", "400,25,48,A,,"]
    found = load(write(tmp_path, meter(), day(1, VALUES[0], "V"), *parts, *days()[1:]), max_missing=0.5)
    assert np.flatnonzero(np.isnan(found.values[0, :, 0])).tolist() == [20, 21, 22, 23]


def test_a_day_that_was_updated_counts_as_updated(tmp_path: Path) -> None:
    newer, older = day(2, VALUES[5], updated="20230401000000"), day(2, VALUES[6], updated="20230301000000")
    found = load(write(tmp_path, meter(), days()[0], newer, older, *days()[2:]))
    np.testing.assert_array_equal(found.values[0, 48:96, 0], VALUES[5].astype(np.float32))
    refuse(
        write(tmp_path, meter(), *days(), day(2, VALUES[5])), "line 7: 20230302 .* line 4, too, with other"
    )


def test_short_intervals_are_added_up_to_long_ones(tmp_path: Path) -> None:
    fine = RNG.gamma(2, size=(4, 288)).round(3)
    lines = [day(number, fine[number - 1]) for number in (1, 2, 3, 4)]
    found = load(write(tmp_path, meter(), *days(), meter(nmi="6000000001", minutes=5), *lines))
    assert found.meta.axis.step_seconds == 1800
    np.testing.assert_allclose(found.values[1, :, 0], fine.reshape(-1, 6).sum(axis=1), rtol=1e-6)
    alone = load(write(tmp_path, meter(minutes=5), *lines))
    assert alone.meta.axis.step_seconds == 300 and alone.values.shape == (1, 1152, 1)
    refuse(
        write(tmp_path, meter(), *days(), meter(suffix="W1", unit="kW", minutes=5), *lines),
        "kW has intervals of 5",
    )


def test_channels_are_chosen_and_steps_merged(tmp_path: Path) -> None:
    path = write(tmp_path, meter(), *days(), meter(suffix="B1"), *days(4))
    found = load(path, columns={"values": ["B1"]}, resample={"step": "1h", "method": "sum"})
    assert found.meta.channels == ("B1",)
    np.testing.assert_allclose(found.values[0, :, 0], VALUES[4:].reshape(-1, 2).sum(axis=1), rtol=1e-6)


def test_a_file_without_a_first_record_and_in_containers(tmp_path: Path) -> None:
    text = "\n".join([meter(), *days(), "900"])
    (tmp_path / "plain.csv").write_text(text)
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("inside.csv", text)
    for name in ("plain.csv", "packed.zip"):
        assert load(tmp_path / name).owners == ["6123456789"]


def test_a_folder_of_files(tmp_path: Path) -> None:
    for number, nmi in enumerate(("6000000001", "6000000002")):
        write(tmp_path, meter(nmi=nmi), *days(4 * number), name=f"{nmi}.csv")
    found = load(tmp_path)
    assert found.owners == ["6000000001", "6000000002"] and found.meta.units == "kWh"
    np.testing.assert_array_equal(found.values[:, :, 0], VALUES.reshape(2, 192).astype(np.float32))


def test_malformed_records_are_refused_with_their_line(tmp_path: Path) -> None:
    one = days()[0]
    refuse(write(tmp_path, meter(), *days(), end=""), "does not end with a 900 record")
    refuse(
        write(tmp_path, meter(), one.replace(",A,", ",", 1)),
        r"line 3: .*48 values and a flag|line 3: .*no flag",
    )
    refuse(write(tmp_path, meter(), one[:100]), "line 3: a day in steps of 30 min has 48 values")
    refuse(write(tmp_path, meter(), day(1, VALUES[0], "X")), "line 3: 'X' is no flag of quality")
    refuse(write(tmp_path, meter(), one.replace("20230301", "20231301", 1)), "line 3: '20231301' is no date")
    refuse(
        write(tmp_path, meter(), one.replace(f",{cell(VALUES[0, 3])},", ",abc,", 1)),
        "line 3: .*'abc'.*no number",
    )
    refuse(write(tmp_path, meter(), day(1, VALUES[0], "V")), "line 3: the flag V .* none is for interval 1")
    refuse(write(tmp_path, meter(), one, "400,40,60,A,,"), "line 4: intervals 40 to 60")
    refuse(write(tmp_path, meter(unit="FOO"), one), "line 2: unit 'FOO' is not known")
    refuse(write(tmp_path, meter(minutes=7), one), "line 2: intervals of '7' min")
    refuse(write(tmp_path, one, meter()), "line 2: values .* before the meter")
    refuse(write(tmp_path, meter(), "350,1,2"), "line 3: '350' is no kind of record")
    refuse(write(tmp_path), "holds no meter")
    refuse(write(tmp_path, meter(), *days()), "times are UTC.10 all year", timezone="Australia/Sydney")
