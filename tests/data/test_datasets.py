"""Folders and patterns of files are one table or one file an entity, or refused with the deciding setting."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from distgan import config
from distgan.data.formats import parquet_pieces
from distgan.data.ingest import Raw, read
from distgan.errors import UserError


def load(source: Path | str, **settings: Any) -> Raw:
    return read(config.Data(source=str(source), **settings))


def frame(hours: int = 48, homes: int = 6) -> pd.DataFrame:
    times = pd.date_range("2013-01-01", periods=hours, freq="h", name="time")
    values = np.random.default_rng(0).gamma(2, size=(hours, homes)).round(3)
    return pd.DataFrame(values, index=times, columns=[f"MAC{i:06d}" for i in range(homes)])


def melted(table: pd.DataFrame) -> pd.DataFrame:
    long = table.reset_index().melt("time", var_name="LCLid", value_name="kwh")
    return long[["LCLid", "time", "kwh"]]


def expect(raw: Raw, table: pd.DataFrame) -> None:
    assert sorted(raw.entities) == sorted(table.columns)
    found = pd.DataFrame(raw.values[:, :, 0].T, columns=raw.entities)[list(table.columns)]
    np.testing.assert_allclose(found.to_numpy(), table.to_numpy(), rtol=1e-6)
    np.testing.assert_array_equal(raw.meta.axis.list_times(), table.index.to_numpy().astype("M8[s]"))


def written(table: pd.DataFrame, path: Path, **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        table.to_parquet(path, index=how.get("index", False))
    else:
        table.to_csv(path, index=how.get("index", False))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "csv.gz"])
def test_numbered_blocks_are_one_long_table(tmp_path: Path, suffix: str) -> None:
    table = frame(homes=24)
    for number in range(12):  # two homes a block, as in the blocks of Low Carbon London
        written(melted(table.iloc[:, 2 * number : 2 * number + 2]), tmp_path / f"block_{number}.{suffix}")
    (tmp_path / "README.md").write_text("what this is")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    raw = load(tmp_path)
    expect(raw, table)
    assert raw.entities[:3] == ["MAC000000", "MAC000001", "MAC000002"]  # block_2 is before block_10
    assert raw.meta.provenance["files"] == 12
    assert sorted(raw.meta.provenance["skipped_files"]) == [".DS_Store", "README.md", "Thumbs.db"]


def test_a_home_that_lies_in_two_files(tmp_path: Path) -> None:
    long = melted(frame(homes=3)).sort_values("time", kind="stable")
    for number, part in enumerate(np.array_split(np.arange(len(long)), 4)):
        written(long.iloc[part], tmp_path / f"part{number}.csv")
    expect(load(tmp_path), frame(homes=3))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_folders_named_by_ids(tmp_path: Path, suffix: str) -> None:
    table = frame()
    for home in table:
        part = table[[home]].set_axis(["kwh"], axis=1).reset_index()
        written(part, tmp_path / f"LCLid={home}" / f"part-00000.{suffix}")
    (tmp_path / "_SUCCESS").write_bytes(b"")
    (tmp_path / "_metadata").write_bytes(b"PAR1")
    expect(load(tmp_path), table)


def test_ids_in_names_of_folders_are_text(tmp_path: Path) -> None:
    table = frame(homes=3).set_axis(["007", "a/b", "010"], axis=1)
    for home, name in zip(table, ("007", "a%2Fb", "010")):
        part = table[[home]].set_axis(["kwh"], axis=1).reset_index()
        written(part, tmp_path / f"id={name}" / "part-0.parquet")
    expect(load(tmp_path), table)


def test_spark_writes_years_months_and_empty_parts(tmp_path: Path) -> None:
    table = frame(hours=24 * 59, homes=3)
    long = melted(table)
    for (year, month), part in long.groupby([long["time"].dt.year, long["time"].dt.month]):
        folder = tmp_path / f"year={year}" / f"month={month:02d}"
        for number, piece in enumerate(np.array_split(np.arange(len(part)), 2)):
            written(part.iloc[piece], folder / f"part-{number:05d}-c000.snappy.parquet")
        written(part.iloc[:0], folder / "part-00002-c000.snappy.parquet")
    (tmp_path / "_SUCCESS").write_bytes(b"")
    raw = load(tmp_path)
    expect(raw, table)
    assert len(raw.meta.provenance["empty_files"]) == 2 and raw.meta.channels == ("kwh",)


def test_a_key_that_is_no_id_is_an_attribute_and_never_a_channel(tmp_path: Path) -> None:
    table = frame()
    for region, homes in ((1, table.columns[:3]), (2, table.columns[3:])):
        written(melted(table[homes]), tmp_path / f"region={region}" / "data.csv")
    raw = load(tmp_path)
    expect(raw, table)
    assert raw.meta.channels == ("kwh",)


def test_several_keys_need_the_setting(tmp_path: Path) -> None:
    table = frame(homes=4)
    for number, home in enumerate(table):
        part = table[[home]].set_axis(["kwh"], axis=1).reset_index()
        written(part, tmp_path / f"site={number // 2}" / f"meter={number % 2}" / "part-0.csv")
    with pytest.raises(UserError, match=r"the folders name site, meter; set data\.columns\.id"):
        load(tmp_path)
    raw = load(tmp_path, columns=config.Columns(id=("site", "meter")))
    np.testing.assert_allclose(raw.values[:, :, 0], table.to_numpy().T, rtol=1e-6)
    assert len(set(raw.entities)) == 4


def test_folders_of_different_keys_are_refused(tmp_path: Path) -> None:
    written(melted(frame()), tmp_path / "a=1" / "x.csv")
    written(melted(frame()), tmp_path / "b=1" / "x.csv")
    with pytest.raises(UserError, match="its folders name b, those of the first file a"):
        load(tmp_path)


def test_columns_may_come_in_another_order(tmp_path: Path) -> None:
    table = frame(homes=4)
    written(melted(table.iloc[:, :2]), tmp_path / "a.csv")
    written(melted(table.iloc[:, 2:])[["kwh", "LCLid", "time"]], tmp_path / "b.csv")
    expect(load(tmp_path), table)


def test_one_file_a_home_with_its_id_inside(tmp_path: Path) -> None:
    table = frame()
    for number, home in enumerate(table):
        written(melted(table[[home]]), tmp_path / f"{number}.csv")
    expect(load(tmp_path), table)
    by_number = melted(table).assign(LCLid=lambda long: long["LCLid"].str[3:].astype(int) + 661)
    for number, (_, part) in enumerate(by_number.groupby("LCLid")):
        written(part, tmp_path / "numbers" / f"{number}.csv")
    raw = load(tmp_path / "numbers")
    assert raw.entities == [str(661 + i) for i in range(6)] and raw.meta.channels == ("kwh",)


def test_one_file_a_home_without_ids(tmp_path: Path) -> None:
    table = frame()
    for number, home in enumerate(table):
        part = table[[home]].set_axis(["kwh"], axis=1).iloc[number:].reset_index()
        written(part, tmp_path / f"house_{number}" / f"{home}.csv")
        written(part, tmp_path / "twins" / f"house_{number}" / "channel_1.csv")
    raw = load(tmp_path / "twins", max_missing=0.5)
    assert raw.entities[:2] == ["house_0/channel_1", "house_1/channel_1"]
    raw = load(f"{tmp_path}/house_*/*.csv", max_missing=0.5)
    assert raw.entities == list(table)
    for number in range(6):
        np.testing.assert_allclose(raw.values[number, number:, 0], table.iloc[number:, number], rtol=1e-6)
        assert np.isnan(raw.values[number, :number]).all()


def test_months_of_a_wide_table_need_the_setting(tmp_path: Path) -> None:
    table = frame(hours=24 * 59)
    for month, part in table.groupby(table.index.month):
        written(part.reset_index(), tmp_path / f"2013-{month:02d}.csv")
    with pytest.raises(UserError, match=r"data\.layout=wide .* data\.layout=per_file .* data\.columns\.id"):
        load(tmp_path)
    expect(load(tmp_path, layout="wide"), table)
    raw = load(tmp_path, layout="per_file", max_missing=0.9)
    assert raw.entities == ["2013-01", "2013-02"] and len(raw.meta.channels) == 6


def test_a_pattern_names_the_files(tmp_path: Path) -> None:
    table = frame()
    written(melted(table.iloc[:, :3]), tmp_path / "block_0.csv")
    written(melted(table.iloc[:, 3:]), tmp_path / "block_1.csv")
    written(pd.DataFrame({"LCLid": list(table), "acorn": "A"}), tmp_path / "informations_households.csv")
    with pytest.raises(
        UserError, match=r"all files need the same: name those that belong together by a pattern"
    ):
        load(tmp_path)
    expect(load(tmp_path / "block_*.csv"), table)
    with pytest.raises(UserError, match="no file matches this pattern"):
        load(tmp_path / "none_*.csv")


def test_a_folder_of_one_table_is_that_table(tmp_path: Path) -> None:
    written(frame().reset_index(), tmp_path / "only" / "homes.csv")
    expect(load(tmp_path / "only"), frame())


def test_mistakes_name_the_file_and_the_line(tmp_path: Path) -> None:
    long = melted(frame()).astype(object)
    written(long.iloc[:144], tmp_path / "a.csv")
    long.iloc[150, 2] = "x"
    written(long.iloc[144:], tmp_path / "b.csv")
    with pytest.raises(UserError, match=r"b\.csv line 8, column 'kwh': 'x' is not a number"):
        load(tmp_path)
    (tmp_path / "b.csv").write_bytes(b"")
    (tmp_path / "a.csv").write_bytes(b"LCLid,time,kwh\n")
    with pytest.raises(UserError, match="all its 2 files are empty"):
        load(tmp_path)
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"LCLid,time,kwh\n" * 40)[:-9])
    with pytest.raises(UserError, match=r"c\.csv\.gz is cut off or damaged"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("meter 1", "meter 2", "need the same names: give that column one name"),
        ("kWh", "KWH", "need the same names: give that column one name"),
        ("energy (kWh)", "energy (Wh)", "write all in one unit, and give that column one name"),
        ("kWh", "", "has no line of column names, and the first file"),
    ],
)
def test_files_that_differ_in_one_name_are_refused_with_the_remedy(
    tmp_path: Path, one: str, other: str, said: str
) -> None:
    table = frame()
    for number, name in enumerate((one, other)):
        part = table.iloc[:, [number]].reset_index()
        part.columns = ["time", name]
        part.to_csv(tmp_path / f"{number}.csv", index=False, header=bool(name))
    with pytest.raises(UserError, match=rf"1\.csv .*{said}") as refusal:
        load(tmp_path)
    assert "\n" not in str(refusal.value)


def test_decimal_commas_in_files(tmp_path: Path) -> None:
    table = frame()
    for home in table:
        table[[home]].set_axis(["kwh"], axis=1).to_csv(tmp_path / f"{home}.csv", sep=";", decimal=",")
    expect(load(tmp_path), table)


@pytest.mark.parametrize("wide", [True, False])
def test_large_row_groups_are_read_a_few_rows_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wide: bool
) -> None:
    monkeypatch.setattr(parquet_pieces, "GROUP_BYTES", 5000)
    monkeypatch.setattr(parquet_pieces, "FEW_COLUMNS", 5)
    table = frame(homes=30)
    if wide:
        table.to_parquet(tmp_path / "a.parquet")  # times are an index, as pandas keeps them
    else:
        melted(table).to_parquet(tmp_path / "a.parquet", index=False)
    pieces = parquet_pieces.list_parquet_pieces(tmp_path / "a.parquet", tmp_path / "copies")
    assert len(pieces) > 2 and sum(len(piece.read()) for piece in pieces) == (48 if wide else 48 * 30)
    expect(load(tmp_path / "a.parquet"), table)


def test_a_folder_an_entity_with_a_file_a_month(tmp_path: Path) -> None:
    table = frame(hours=96, homes=3)
    for name in table:
        for number, month in enumerate(("2013-01", "2013-02")):
            part = table[[name]].iloc[48 * number : 48 * (number + 1)].rename(columns={name: "kwh"})
            written(part, tmp_path / str(name) / f"{month}.csv", index=True)
    expect(load(tmp_path), table)


@pytest.mark.parametrize("encoded", [False, True])
def test_text_that_parquet_holds_as_bytes_is_text(tmp_path: Path, encoded: bool) -> None:
    table = melted(frame())
    ids = pa.array([name.encode() for name in table["LCLid"]], pa.binary())
    columns = {"LCLid": ids.dictionary_encode() if encoded else ids}
    columns |= {name: pa.array(table[name]) for name in table.columns if name != "LCLid"}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    expect(load(tmp_path / "a.parquet"), frame())


def write_homes(place: Path, homes: int = 3) -> pd.DataFrame:
    table = frame(homes=homes)
    for name in table:
        written(table[[name]].set_axis(["kwh"], axis=1).reset_index(), place / f"{name}.csv")
    return table


@pytest.mark.parametrize(
    "name", ["{}.csv.bak", "{}.csv~", "#{}.csv#", "{}.bak", "{}.csv.part", "{}.csv.crdownload", "{}.csv.dvc"]
)
def test_backups_and_unfinished_downloads_are_no_entities(tmp_path: Path, name: str) -> None:
    table = write_homes(tmp_path)
    text = (tmp_path / "MAC000000.csv").read_text()
    (tmp_path / name.format("MAC000000")).write_text(text[: len(text) // 2].replace(",0", ",9"))
    found = load(tmp_path)
    expect(found, table)
    assert name.format("MAC000000") in str(found.meta.provenance)


@pytest.mark.parametrize(
    "name", ["{} (1)", "{} - Copy", "{}_copy 2", "Kopie von {}", "{}_old", "{}-v2", "{}.csv.1"]
)
@pytest.mark.parametrize("source", ["", "*"])
def test_copies_of_a_file_are_no_entities_silently(tmp_path: Path, name: str, source: str) -> None:
    table = write_homes(tmp_path)
    copy = name.format("MAC000000")
    text = (tmp_path / "MAC000000.csv").read_text()
    (tmp_path / (copy if copy.endswith(".1") else f"{copy}.csv")).write_text(text.replace(",0", ",9"))
    with pytest.raises(UserError, match=r"'MAC000000' and '.*' seem to be one and its copy.*per_file"):
        load(tmp_path / source)
    assert len(load(tmp_path / source, layout="per_file").entities) == 4
    (tmp_path / "MAC000000.csv").unlink()  # what no other file is called like is an entity
    assert len(load(tmp_path / source).entities) == len(table.columns)


@pytest.mark.parametrize(
    "log", ["_delta_log/0.json", ".hoodie/hoodie.properties", "metadata/v1.metadata.json"]
)
def test_files_of_which_a_log_says_which_count_are_refused(tmp_path: Path, log: str) -> None:
    """Rows that were deleted stay in files that no longer count."""
    table = frame()
    written(melted(table.iloc[:, :3]), tmp_path / "data" / "part-0.parquet")
    written(melted(table.iloc[:, 3:]), tmp_path / "data" / "part-1.parquet")
    (tmp_path / log).parent.mkdir()
    (tmp_path / log).write_text("{}")
    with pytest.raises(UserError, match=r"is a table of \w.*, whose log .* says which files count"):
        load(tmp_path)
    expect(load(tmp_path / "data" / "part-1*.parquet"), table.iloc[:, 3:])


DATED = [
    ("{home}_2022", "{home}_2023"),
    ("2022/{home}", "2023/{home}"),
    ("2022/12/{home}", "2023/01/{home}"),
    ("{home}_20221225_20230101", "{home}_20230101_20230107"),
    ("{home} 2022-12-25 to 2022-12-31", "{home} 2023-01-01 to 2023-01-07"),
    ("{home}_Dec_2022", "{home}_Jan_2023"),
    ("{home}_25.12.2022", "{home}_01.01.2023"),
    ("{home}_part1", "{home}_part2"),
    ("{home}/part-01", "{home}/part-02"),
    ("{home} Teil 1 von 2", "{home} Teil 2 von 2"),
    ("1of2/{home}", "2of2/{home}"),
]


@pytest.mark.parametrize("repeated", [0, 1])
@pytest.mark.parametrize(("first", "second"), DATED)
def test_files_of_two_periods_are_one_entity(tmp_path: Path, first: str, second: str, repeated: int) -> None:
    table = frame(hours=96, homes=2)
    for home in table.columns:
        one = table[[home]].rename(columns={home: "kwh"})
        written(one.iloc[: 48 + repeated], tmp_path / f"{first.format(home=home)}.csv", index=True)
        written(one.iloc[48:], tmp_path / f"{second.format(home=home)}.csv", index=True)
    expect(load(tmp_path), table)


def test_readings_that_two_files_disagree_on_are_refused(tmp_path: Path) -> None:
    table = frame(hours=96, homes=2)
    for home in table.columns:
        one = table[[home]].rename(columns={home: "kwh"})
        last = one.iloc[:49].copy()
        last.iloc[-1] = 0
        written(last, tmp_path / f"{home}_2022.csv", index=True)
        written(one.iloc[48:], tmp_path / f"{home}_2023.csv", index=True)
    with pytest.raises(UserError, match=r"stands twice, .* with different readings \(2 such cases\)"):
        load(tmp_path)


@pytest.mark.parametrize("names", [("2012-12", "2013-01"), ("part1", "part2")])
def test_parts_of_a_wide_table_that_meet_in_a_row_are_no_entities(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    table = frame(hours=96, homes=3)
    for name, rows in zip(names, (table.iloc[:49], table.iloc[48:])):
        written(rows, tmp_path / f"{name}.csv", index=True)
    with pytest.raises(UserError, match=r"begin at different times; set data.layout=wide if they are parts"):
        load(tmp_path)
    expect(load(tmp_path, layout="wide"), table)


def test_columns_that_a_file_lacks_are_named(tmp_path: Path) -> None:
    table = frame(hours=96, homes=12)
    written(table.iloc[:48, :10], tmp_path / "a.csv", index=True)
    written(table.iloc[48:, 1:], tmp_path / "b.csv", index=True)
    with pytest.raises(
        UserError, match=r"has the columns 'MAC000010', 'MAC000011' and lacks the column 'MAC"
    ):
        load(tmp_path, layout="wide")


def test_messages_about_two_columns_of_times_name_the_packed_file(tmp_path: Path) -> None:
    text = "time,a,other,b\n2013-01-01 00:00,1,2013-01-05 03:00,2\n2013-01-01 01:00,3,2013-01-07 09:00,4\n"
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(UserError, match=r"a\.csv\.gz .*columns 'time' and 'other' both hold times"):
        load(tmp_path / "a.csv.gz")
