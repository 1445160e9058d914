"""A table in a container gives the values of the table; a damaged or dangerous container gives one line."""

import bz2
import datetime
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from distgan import config
from distgan.data.formats import containers
from distgan.data.ingest import Raw, read
from distgan.errors import UserError


def load(source: Path, **settings: Any) -> Raw:
    return read(config.Data(source=str(source), **settings))


def frame(hours: int = 60, homes: int = 4) -> pd.DataFrame:
    times = pd.date_range("2013-01-01", periods=hours, freq="h", name="time")
    values = np.random.default_rng(0).gamma(2, size=(hours, homes)).round(3)
    return pd.DataFrame(values, index=times, columns=[f"MAC{i:03d}" for i in range(homes)])


def expect(raw: Raw, table: pd.DataFrame) -> None:
    assert raw.entities == list(table.columns)
    np.testing.assert_allclose(raw.values[:, :, 0], table.to_numpy().T, rtol=1e-6)
    np.testing.assert_array_equal(raw.meta.axis.list_times(), table.index.to_numpy().astype("M8[s]"))


def by_arrow(kind: str) -> Callable[[bytes], bytes]:
    def compress(content: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, kind) as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()

    return compress


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": by_arrow("zstd"),
    "lz4": by_arrow("lz4"),
}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("named", [True, False])
def test_packed_tables(tmp_path: Path, suffix: str, named: bool) -> None:
    table = frame()
    path = tmp_path / (f"homes.csv.{suffix}" if named else "homes.csv")
    path.write_bytes(PACK[suffix](table.to_csv().encode()))
    raw = load(path)
    expect(raw, table)
    assert raw.meta.provenance["source"] == path.name and len(raw.meta.provenance["sha256"]) == 64


@pytest.mark.parametrize("suffix", PACK)
def test_a_stream_that_is_cut_off_or_damaged_is_one_line(tmp_path: Path, suffix: str) -> None:
    content = PACK[suffix](frame(500).to_csv().encode())
    path = tmp_path / f"homes.csv.{suffix}"
    damages = [content[: len(content) // 2], content[:-2]]
    if suffix not in ("zst", "lz4"):  # Arrow writes these without a checksum
        damages.append(content[:99] + b"??????" + content[105:])
    for damaged in damages:
        path.write_bytes(damaged)
        with pytest.raises(UserError) as error:
            load(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
        assert "cut off or damaged" in str(error.value)


@pytest.mark.parametrize("suffix", ["gz", "zst", "bz2", "xz"])
def test_streams_one_after_the_other_are_one_table(tmp_path: Path, suffix: str) -> None:
    text = frame().to_csv().encode()
    parts = PACK[suffix](text[:500]) + PACK[suffix](text[500:])
    (tmp_path / f"homes.csv.{suffix}").write_bytes(parts)
    expect(load(tmp_path / f"homes.csv.{suffix}"), frame())


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_archives_of_one_table(tmp_path: Path) -> None:
    table, text = frame(), frame().to_csv().encode()
    path = zipped(
        tmp_path / "a.zip", {"deep/er/homes.csv": text, "__MACOSX/._homes.csv": b"x", "empty/": b""}
    )
    expect(load(path), table)
    expect(load(zipped(tmp_path / "b.zip", {"homes.csv.gz": gzip.compress(text)})), table)
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    expect(load(zipped(tmp_path / "c.zip", {"homes.parquet": buffer.getvalue()})), table)
    for name, mode in (("d.tar", "w"), ("e.tar.gz", "w:gz"), ("f.tgz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:  # type: ignore[call-overload]
            member = tarfile.TarInfo("data/homes.csv")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
        expect(load(tmp_path / name), table)


def test_an_archive_of_a_file_an_entity(tmp_path: Path) -> None:
    table = frame()
    members = {f"set/{home}.csv": table[[home]].set_axis(["kwh"], axis=1).to_csv().encode() for home in table}
    raw = load(zipped(tmp_path / "a.zip", members | {"set/README.txt": b"what this is"}))
    expect(raw, table)
    assert raw.meta.provenance["skipped_files"] == ["set/README.txt"]


def test_an_archive_of_a_zarr_store(tmp_path: Path) -> None:
    import zarr

    values = np.random.default_rng(0).random((6, 24), np.float32) + 1
    zarr.create_array(tmp_path / "a.zarr", shape=(6, 24), dtype="f4")[:] = values
    files = [file for file in (tmp_path / "a.zarr").rglob("*") if file.is_file()]
    members = {str(file.relative_to(tmp_path)): file.read_bytes() for file in files}
    np.testing.assert_array_equal(load(zipped(tmp_path / "a.zip", members)).values[:, :, 0], values)


def test_dangerous_archives_are_refused(tmp_path: Path) -> None:
    for name in ("../../out.csv", "/out.csv", "a/../../out.csv", "..\\out.csv", "C:/out.csv"):
        with pytest.raises(UserError, match="leads out of the archive"):
            load(zipped(tmp_path / "a.zip", {name: b"time,a\n", "b.csv": b"x"}))
    assert not list(tmp_path.rglob("out.csv"))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("homes.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    with pytest.raises(UserError, match="is a link or a device"):
        load(tmp_path / "a.tar")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        info = zipfile.ZipInfo("homes.csv")
        info.external_attr = 0o120777 << 16
        packed.writestr(info, "/etc/hostname")
    with pytest.raises(UserError, match="is a link"):
        load(tmp_path / "b.zip")


@pytest.mark.parametrize("kind", ["gz", "zst", "bz2", "xz", "zip"])
def test_what_grows_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(containers, "BOMB_BYTES", 1 << 16)
    monkeypatch.setattr(containers, "BOMB_RATIO", 50)
    zeros = bytes(1 << 20)
    path = tmp_path / f"a.csv.{kind}"
    if kind == "zip":
        zipped(path, {"a.csv": zeros})
    else:
        path.write_bytes(PACK[kind](zeros))
    with pytest.raises(UserError, match="unpacks to"):
        load(path)


def test_containers_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"homes.csv": frame().to_csv().encode()})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"a\.zip is not a readable zip archive"):
        load(path)
    place = content.rfind(b"PK\x01\x02")
    locked = bytearray(content)
    locked[6] |= 1
    locked[place + 8] |= 1
    path.write_bytes(locked)
    with pytest.raises(UserError, match=r"homes\.csv is encrypted"):
        load(path)
    flipped = bytearray(content)
    flipped[200] ^= 255
    path.write_bytes(flipped)
    with pytest.raises(UserError, match="cut off or damaged"):
        load(path)
    with pytest.raises(UserError, match="holds no files"):
        load(zipped(tmp_path / "none.zip", {}))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(UserError, match=r"/a\.csv\.gz \(a\.csv\) is empty"):
        load(tmp_path / "a.csv.gz")
    content = gzip.compress(frame().to_csv().encode())
    for _ in range(3):
        content = gzip.compress(content)
    (tmp_path / "b.csv.gz").write_bytes(content)
    with pytest.raises(UserError, match="containers in containers"):
        load(tmp_path / "b.csv.gz")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "save it as .xlsx or CSV"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(60), "unpack it"),
        ("a.feather", b"ARROW1\0\0", "save it as Parquet"),
        ("a.mat", b"MATLAB 5.0 MAT-file", "save an NPY"),
        ("a.pkl", b"\x80\x04\x95", "pickle"),
        ("a.bin", bytes(range(256)), "unknown kind '.bin'"),
        ("a.xls", "Périmètre\tDate\nFrance\t2020-01-01\n".encode("latin-1"), "not UTF-8.*data.encoding"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (
            "a.txt",
            b"# Monash\n" * 90 + b"@relation nn5\n@data\nT1:2020-01-01 00-00-00:1,2,3\n",
            "name it .tsf",
        ),
        ("a.arff", b"@RELATION a\n@ATTRIBUTE b NUMERIC\n@DATA\n1,2\n3,4\n", "archive of"),
    ],
)
def test_files_of_other_kinds_are_refused_with_the_remedy(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        load(tmp_path / name)


def test_messages_name_the_container_and_the_file_in_it(tmp_path: Path) -> None:
    table = frame().astype(object)
    table.iloc[7, 1] = "x"
    path = zipped(tmp_path / "a.zip", {"homes.csv": table.to_csv().encode()})
    with pytest.raises(
        UserError, match=r"a\.zip \(homes\.csv\) line 9, column 'MAC001': 'x' is not a number"
    ):
        load(path)


# -------------------------------------------------------------------------------------------------- workbooks

openpyxl = pytest.importorskip("openpyxl")


def test_workbooks(tmp_path: Path) -> None:
    table = frame()
    table.to_excel(tmp_path / "a.xlsx")
    expect(load(tmp_path / "a.xlsx"), table)
    (tmp_path / "a.xlsx").rename(tmp_path / "b.dat")
    expect(load(tmp_path / "b.dat"), table)


def test_a_workbook_of_several_sheets_needs_the_setting(tmp_path: Path) -> None:
    table = frame()
    with pd.ExcelWriter(tmp_path / "a.xlsx") as writer:
        table.to_excel(writer, sheet_name="loads")
        (table * 2).to_excel(writer, sheet_name="twice")
        pd.DataFrame().to_excel(writer, sheet_name="nothing")
    with pytest.raises(UserError, match=r"has the sheets loads, twice; .*data\.sheet"):
        load(tmp_path / "a.xlsx")
    expect(load(tmp_path / "a.xlsx", sheet="twice"), table * 2)
    with pytest.raises(UserError, match=r"data\.sheet 'none' is no sheet .* loads, twice, nothing"):
        load(tmp_path / "a.xlsx", sheet="none")


def test_a_sheet_of_what_has_none_is_refused(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"data.sheet=June names a sheet, and .*a.csv has none; leave it out"):
        load(tmp_path / "a.csv", sheet="June")


def test_cells_keep_their_digits_and_gaps(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["time", "a", "b", None])
    for hour in range(30):
        time = datetime.datetime(2013, 1, 1) + datetime.timedelta(hours=hour)
        sheet.append([time, 0.1 + hour / 3, None if hour == 4 else hour, None])
    sheet.append([None, None])
    book.save(tmp_path / "a.xlsx")
    raw = load(tmp_path / "a.xlsx", max_missing=0.5)
    np.testing.assert_array_equal(raw.values[0, :, 0], (0.1 + np.arange(30) / 3).astype(np.float32))
    assert np.flatnonzero(np.isnan(raw.values[1, :, 0])).tolist() == [4] and raw.values[1, 5, 0] == 5


@pytest.mark.parametrize("form", ["hh:mm", "[h]:mm:ss"])
@pytest.mark.parametrize("epoch", [openpyxl.utils.datetime.WINDOWS_EPOCH, openpyxl.utils.datetime.MAC_EPOCH])
def test_midnight_at_the_end_of_a_day_is_no_date(tmp_path: Path, form: str, epoch: datetime.datetime) -> None:
    """Excel holds 24:00 as one whole day."""
    table, book = frame(48), openpyxl.Workbook()
    book.epoch = epoch
    sheet = book.active
    sheet.append(["date", "time", *table])
    for at, cells in zip(table.index, table.to_numpy().tolist()):
        sheet.append([at.to_pydatetime().date(), (at.hour + 1) / 24, *cells])
        sheet.cell(sheet.max_row, 2).number_format = form
    book.save(tmp_path / "a.xlsx")
    expect(load(tmp_path / "a.xlsx"), table.set_axis(table.index + pd.Timedelta("1h")))
    days = openpyxl.Workbook()
    days.epoch = epoch
    days.active.append(["date", *[(hour + 1) / 24 for hour in range(24)]])
    for column in range(2, 26):
        days.active.cell(1, column).number_format = form
    for first in range(0, 48, 24):
        cells = table.iloc[first : first + 24, 0].tolist()
        days.active.append([table.index[first].to_pydatetime(), *cells])
    days.save(tmp_path / "b.xlsx")
    found = load(tmp_path / "b.xlsx")
    assert found.meta.axis.start == "2013-01-01T01:00:00" and found.meta.axis.step_seconds == 3600
    np.testing.assert_allclose(found.values[0, :, 0], table.iloc[:, 0], rtol=1e-6)


def test_formulas_without_values_and_damaged_workbooks_are_one_line(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["time", "a"], ["2013-01-01 00:00", 1], ["2013-01-01 01:00", "=B2*2"]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(UserError, match=r"row 3, column 2: the formula =B2\*2 was saved without its value"):
        load(tmp_path / "a.xlsx")
    content = (tmp_path / "a.xlsx").read_bytes()
    (tmp_path / "a.xlsx").write_bytes(content[:-200])
    with pytest.raises(UserError, match="not a readable Excel workbook"):
        load(tmp_path / "a.xlsx")
