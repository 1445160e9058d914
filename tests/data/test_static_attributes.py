"""Attributes of entities: found in long tables, NPZ files and a second table, typed, and kept in private."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import cli, config, errors
from distgan.data import ingest
from distgan.data.static_attributes import find_kind, make_attribute
from distgan.data.store.private_table import read_table, write_table
from distgan.errors import UserError
from distgan.pipeline import source_summary

HOURS = 48


def long_table(path: Path, homes: int = 6, **columns: list[object]) -> Path:
    """Hourly readings of a few homes, a row a reading, with a constant column per keyword."""
    rng = np.random.default_rng(0)
    times = pd.date_range("2013-01-01", periods=HOURS, freq="h")
    parts = []
    for home in range(homes):
        part = pd.DataFrame({"home": f"H{home:03d}", "time": times, "kWh": rng.gamma(2, 1, HOURS).round(3)})
        for name, values in columns.items():
            part[name] = [values[home]] * HOURS
        parts.append(part)
    pd.concat(parts).to_csv(path, index=False)
    return path


def read(path: Path, *overrides: str) -> ingest.Series:
    settings = config.load(None, [f"data.source={path}", *overrides]).data
    return ingest.open_source(settings, path.parent / "parts", survey=True)


def cells(found: ingest.Series) -> dict[str, tuple[str, list[str]]]:
    return {each.name: (each.kind, each.cells.tolist()) for each in found.statics}


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["true", "False", ""], "boolean"),
        (["1", "0", "1"], "boolean"),
        (["yes", "no"], "boolean"),
        (["1.0", "0.0", ""], "boolean"),  # as pandas writes one with missing cells
        (["1", "2", ""], "integer"),
        (["1.0", "3.0"], "integer"),
        (["1.5", "2"], "float"),
        (["01", "02"], "categorical"),
        (["flat", "house"], "categorical"),
        (["nan", "1"], "categorical"),  # text here: make_attribute takes it for missing
        (["", ""], "categorical"),
    ],
)
def test_cells_decide_the_kind(texts: list[str], kind: str) -> None:
    assert find_kind(texts) == kind


def test_cells_have_one_form_and_a_stated_kind_is_kept() -> None:
    assert make_attribute("ev", ["Yes", "no", "NA"]).cells.tolist() == ["true", "false", ""]
    assert make_attribute("ev", ["1.0", "0.0", ""]).cells.tolist() == ["true", "false", ""]
    assert make_attribute("heating", ["none", "gas", "None", "n/a"]).cells.tolist() == ["none", "gas", "", ""]
    assert make_attribute("people", ["2", "NaN", "3.0"]).cells.tolist() == ["2", "", "3"]
    assert make_attribute("people", ["2", "3"], "categorical").kind == "categorical"
    with pytest.raises(
        UserError, match=r"attribute 'people' has the cell 'many', which is not a whole number"
    ):
        make_attribute("people", ["2", "many"], "integer")


def test_constant_columns_of_a_long_table_are_attributes(tmp_path: Path) -> None:
    path = long_table(
        tmp_path / "homes.csv", ev=["true", "false"] * 3, people=[1, 2, 3, 4, 5, None], kind=list("aabbab")
    )
    found = cells(read(path, "data.columns.id=home", "data.columns.attributes=[ev,people]"))
    assert found["ev"] == ("boolean", ["true", "false"] * 3)
    assert found["people"] == ("integer", ["1", "2", "3", "4", "5", ""])
    assert found["kind"] == ("categorical", list("aabbab"))


def test_a_second_table_is_joined_by_id_and_what_does_not_match_is_said(tmp_path: Path) -> None:
    path = long_table(tmp_path / "homes.csv")
    table = tmp_path / "attributes.csv"
    table.write_text("floor;who;area\n2;H001;80,5\n1;H000;71,25\n3;H900;60,0\n", encoding="utf-8")
    found = read(path, f"data.attributes={table}", "data.columns.id=home")
    assert cells(found)["floor"] == ("integer", ["1", "2", "", "", "", ""])
    assert cells(found)["area"] == ("float", ["71.25", "80.5", "", "", "", ""])
    (note,) = [text for text in found.source.understood.notes if "attributes.csv" in text]
    assert "2 of 6 series have a row; 4 have none, and" in note and "1 rows have an id of no series" in note
    assert "H900" not in "\n".join(source_summary.describe(found, []))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", r"no column \(a, b\) holds an id of the series"),
        ("home,ev\nH000,1\nH000,0\n", "1 ids have two rows that differ"),
    ],
)
def test_a_table_that_cannot_be_joined_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path, table = long_table(tmp_path / "homes.csv"), tmp_path / "attributes.csv"
    table.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read(path, f"data.attributes={table}", "data.columns.id=home")
    assert "\n" not in str(caught.value)


def test_a_name_in_both_tables_is_refused(tmp_path: Path) -> None:
    path, table = long_table(tmp_path / "homes.csv", kind=list("aabbab")), tmp_path / "attributes.csv"
    table.write_text("home,kind\nH000,a\nH001,b\n", encoding="utf-8")
    with pytest.raises(UserError, match="attribute 'kind' is also one of"):
        read(path, f"data.attributes={table}", "data.columns.id=home")


def test_arrays_of_an_npz_are_attributes(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((4, 24)).astype(np.float32)
    known = {"ev": np.array([True, False, True, False]), "area": np.array([1.5, np.nan, 2.0, 3.0])}
    np.savez(tmp_path / "x.npz", x=x, **known, odd=np.zeros((4, 2)), few=np.arange(3))
    path = tmp_path / "x.npz"
    found = cells(read(path, "data.columns.attributes=[ev,area]"))
    assert found == {
        "ev": ("boolean", ["true", "false", "true", "false"]),
        "area": ("float", ["1.5", "", "2.0", "3.0"]),
    }
    for name, message in (("no", "no array"), ("odd", "shape"), ("few", "3 values for 4 series")):
        with pytest.raises(UserError, match=message):
            read(path, f"data.columns.attributes=[{name}]")
    with pytest.raises(UserError, match=r"data\.attribute_kinds names 'evv', but the attributes are: ev"):
        read(path, "data.columns.attributes=[ev]", "data.attribute_kinds={evv: boolean}")


def test_the_private_table_gives_attributes_back(tmp_path: Path) -> None:
    statics = [make_attribute("=a:b\n,c", ["x", "", "=1+1"]), make_attribute("people", ["1", "2", ""])]
    place = tmp_path / "series.private.csv"
    for labels in (None, ["l", "m", "n"]):
        write_table(place, list("abc"), list("abc"), ["train"] * 3, labels, statics)
        table = read_table(place)
        assert (None if table.labels is None else table.labels.tolist()) == labels
        assert [(each.name, each.kind, each.cells.tolist()) for each in table.statics] == [
            (each.name, each.kind, each.cells.tolist()) for each in statics
        ]
    place.write_text(place.read_text(encoding="utf-8").replace("attribute:integer", "attribute:whole"))
    with pytest.raises(UserError, match="must begin with the line"):
        read_table(place)


def test_inspect_shows_common_values_and_rare_ones_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = ["flat"] * 16 + ["house"] * 20 + ["castle", "tent", ""]
    people = [str(1 + home % 5) for home in range(39)]
    x = np.random.default_rng(0).gamma(2, 1, (39, 24 * 14)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, kind=np.array(kinds), people=np.array(people))
    command = ["inspect", str(tmp_path / "x.npz"), "data.columns.attributes=[kind,people]"]
    assert errors.answer(lambda: cli.run_command(command)) == 0
    shown = capsys.readouterr().out
    assert "kind (categorical): house 20, flat 16, other 2 in 2 values; 1 missing" in shown
    assert "people (integer): 2 (15th lowest) to 4 (15th highest), median 3; 0 missing" in shown
    assert "castle" not in shown


@pytest.mark.parametrize("name", ["account", "meter_id", "MPAN"])
def test_inspect_shows_no_ids_of_an_attribute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    ids = [str(70_000 + home // 2) for home in range(40)]
    x = np.random.default_rng(0).gamma(2, 1, (40, 24 * 14)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, **{name: np.array(ids)})
    command = ["inspect", str(tmp_path / "x.npz"), f"data.columns.attributes=[{name}]"]
    assert errors.answer(lambda: cli.run_command(command)) == 0
    shown = capsys.readouterr().out
    assert f"{name} (id): 20 different values, not shown; 0 missing" in shown and "700" not in shown


def test_ids_of_several_columns_and_padded_ids_are_joined(tmp_path: Path) -> None:
    path = long_table(tmp_path / "long.csv")
    table = pd.read_csv(path, dtype=str).rename(columns={"home": "meter"}).assign(site="S")
    table.to_csv(path, index=False)
    meters = table["meter"].unique()
    about = pd.DataFrame({"site": "S", "meter": meters, "tank": range(len(meters))})
    about.to_csv(tmp_path / "about.csv", index=False)
    joined = [f"data.attributes={tmp_path / 'about.csv'}", "data.columns.id=[site,meter]"]
    found = read(path, *joined)
    assert found.entities[0] == f"S / {meters[0]}"
    assert cells(found)["tank"] == ("integer", [str(number) for number in range(len(meters))])
    about.assign(site=" S ", meter=about["meter"] + " ").to_csv(tmp_path / "about.csv", index=False)
    assert cells(read(path, *joined))["tank"][1] == [str(number) for number in range(len(meters))]
    about.assign(site="T").to_csv(tmp_path / "about.csv", index=False)
    with pytest.raises(UserError, match=r"no row of site, meter has an id of the series"):
        read(path, *joined)


NUMBERED = {"1": "yes", "2": "no", "3": "yes", "4": "no"}


@pytest.mark.parametrize(
    "table",
    [
        {"people": [4, 3, 2, 1], "id": [1, 2, 3, 4]},
        {"people": [4, 3, 2], "home_id": [1, 2, 3]},  # fewer ids than numbers of people
        {"people": [2, 2, 3, 1], "nr": [1, 2, 3, 4]},
        {"zone_id": [1, 1, 2, 2], "home_id": [1, 2, 3, 4]},
    ],
)
def test_numbers_of_people_are_no_ids(tmp_path: Path, table: dict[str, list[int]]) -> None:
    path = long_table(tmp_path / "homes.csv", homes=4, number=[1, 2, 3, 4])
    text = path.read_text()
    for home in range(4):
        text = text.replace(f"H{home:03d}", f"{home + 1}")
    path.write_text(text)
    frame = pd.DataFrame(table)
    name = frame.columns[-1]
    frame["ev"] = [NUMBERED[str(number)] for number in frame[name]]
    frame.to_csv(tmp_path / "about.csv", index=False)
    found = read(path, f"data.attributes={tmp_path / 'about.csv'}", "data.columns.id=home")
    right = ["true" if NUMBERED[str(number)] == "yes" else "false" for number in range(1, len(frame) + 1)]
    assert cells(found)["ev"][1][: len(frame)] == right


def test_two_columns_of_ids_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "homes.csv"
    table = pd.DataFrame(np.random.default_rng(0).gamma(2, size=(48, 3)), columns=["1", "2", "3"])
    table.insert(0, "time", pd.date_range("2013-01-01", periods=48, freq="h"))
    table.to_csv(path, index=False)
    (tmp_path / "about.csv").write_text("people,nr\n3,1\n1,2\n2,3\n")
    with pytest.raises(UserError, match="columns people, nr hold ids of the series alike; call the one"):
        read(path, f"data.attributes={tmp_path / 'about.csv'}")
