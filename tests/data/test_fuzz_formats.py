"""Mutated files of every format give the values that an independent reader gives, or one line.

A few of each kind by default; `-m slow`, or DISTGAN_FUZZ=4000, tries thousands.
"""

import gzip
import io
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import Raw, read
from distgan.errors import UserError

xarray = pytest.importorskip("xarray")
FEW, MANY = 12, int(os.environ.get("DISTGAN_FUZZ", "2000"))
HOMES, STEPS = 5, 40
VALUES = np.random.default_rng(0).gamma(2, size=(HOMES, STEPS)).round(3)
TIMES = pd.date_range("2013-01-01", periods=STEPS, freq="h", name="time")
NAMES = [f"h{i}" for i in range(HOMES)]
TABLE = pd.DataFrame(VALUES.T, index=TIMES, columns=NAMES)


def array_of(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)


def npz_of(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)["x"]


def parquet_of(path: Path) -> np.ndarray:
    found = pd.read_parquet(path)
    return found.to_numpy(np.float64).T


def table_of(content: bytes, **how: Any) -> pd.DataFrame:
    """Read the text of a wide table as pandas does; what is no UTF-8 is Latin-1."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return pd.read_csv(io.StringIO(text), index_col=0, **how)


def csv_of(path: Path) -> np.ndarray:
    return table_of(path.read_bytes()).to_numpy(np.float64).T


def decimal_comma_of(path: Path) -> np.ndarray:
    return table_of(path.read_bytes(), sep=";", decimal=",").to_numpy(np.float64).T


def long_of(path: Path) -> np.ndarray:
    rows = table_of(path.read_bytes()).reset_index()
    return rows.pivot(index="time", columns="id", values="kwh").to_numpy(np.float64).T


def gzip_of(path: Path) -> np.ndarray:
    return table_of(gzip.decompress(path.read_bytes())).to_numpy(np.float64).T


def zip_of(path: Path) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        return (
            pd.read_csv(io.BytesIO(archive.read(archive.namelist()[0])), index_col=0).to_numpy(np.float64).T
        )


def excel_of(path: Path) -> np.ndarray:
    return pd.read_excel(path, index_col=0, engine="openpyxl").to_numpy(np.float64).T


def netcdf_of(path: Path) -> np.ndarray:
    with xarray.open_dataset(path, engine="h5netcdf") as found:
        return found["kwh"].transpose("home", "time").values


def zarr_of(path: Path) -> np.ndarray:
    with xarray.open_zarr(path) as found:
        return found["kwh"].transpose("home", "time").values


def npy_bytes(**how: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(VALUES, **how))
    return buffer.getvalue()


def written(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def zipped() -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("homes.csv", TABLE.to_csv())

    return written(write)


def netcdf_bytes(place: Path) -> bytes:
    data = xarray.Dataset({"kwh": (("home", "time"), VALUES)}, coords={"home": NAMES, "time": TIMES})
    how = {"kwh": {"fletcher32": True, "chunksizes": (2, 40)}}
    data.to_netcdf(place / "made.nc", engine="h5netcdf", encoding=how)
    return (place / "made.nc").read_bytes()


def write_zarr(path: Path, version: int, **how: Any) -> None:
    """Write the readings with names and times as xarray does."""
    data = xarray.Dataset(
        {"kwh": (("home", "time"), VALUES)}, coords={"home": np.arange(HOMES), "time": TIMES}
    )
    how = {"kwh": {"chunks": (2, 20), **how}}
    data.to_zarr(path, mode="w", zarr_format=version, encoding=how)


LONG = TABLE.melt(ignore_index=False, var_name="id", value_name="kwh")
KINDS: dict[str, tuple[Callable[[Path], bytes], Callable[[Path], np.ndarray]]] = {
    "a.csv": (lambda place: TABLE.to_csv().encode(), csv_of),
    "b.csv": (lambda place: TABLE.to_csv(sep=";", decimal=",").encode(), decimal_comma_of),
    "long.csv": (lambda place: LONG.to_csv().encode(), long_of),
    "c.npy": (lambda place: npy_bytes(order="C"), array_of),
    "f.npy": (lambda place: npy_bytes(order="F", dtype=">f4"), array_of),
    "a.npz": (lambda place: written(lambda buffer: np.savez_compressed(buffer, x=VALUES)), npz_of),
    "a.parquet": (lambda place: written(TABLE.to_parquet), parquet_of),
    "a.csv.gz": (lambda place: gzip.compress(TABLE.to_csv().encode()), gzip_of),
    "a.zip": (lambda place: zipped(), zip_of),
    "a.xlsx": (lambda place: written(lambda buffer: TABLE.to_excel(buffer)), excel_of),
    "a.nc": (netcdf_bytes, netcdf_of),
}
FOLDERS: dict[str, Callable[[Path], None]] = {
    "v2.zarr": lambda path: write_zarr(path, 2),
    "v3.zarr": lambda path: write_zarr(path, 3),
    "sharded.zarr": lambda path: write_zarr(path, 3, shards=(4, 40)),
}


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, cut out, doubled, put in, or the end cut off; sometimes none."""
    found = bytearray(content)
    for _ in range(rng.integers(0, 4)):
        place = int(rng.integers(0, max(1, len(found))))
        action = rng.integers(0, 5)
        if action == 0 and found:
            found[min(place, len(found) - 1)] ^= 1 << int(rng.integers(0, 8))
        elif action == 1:
            del found[place : place + int(rng.integers(1, 9))]
        elif action == 2:
            found[place:place] = found[place : place + int(rng.integers(1, 9))]
        elif action == 3:
            found[place:place] = rng.integers(0, 256, int(rng.integers(1, 5)), dtype=np.uint8).tobytes()
        else:
            del found[place:]
    return bytes(found)


def store_or_line(path: Path) -> Raw | None:
    try:
        return read(config.Data(source=str(path), max_missing=0.99, unusable="drop"))
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return None


def readings(series: np.ndarray) -> bytes:
    """Return what was measured, in any order, since times may be sorted."""
    return np.sort(series[~np.isnan(series)]).tobytes()


def compare(name: str, path: Path, independent: Callable[[Path], np.ndarray]) -> bool:
    """Whether a store was made; its values then are those of the other reader, unless that one refuses."""
    raw = store_or_line(path)
    if raw is None:
        return False
    try:
        expected = independent(path).astype(np.float32)
    except Exception:  # what pandas or xarray refuses, we may read by a better rule only from undamaged parts
        expected = VALUES.astype(np.float32)
    if expected.ndim == 2 and raw.values.shape == (*expected.shape, 1):
        np.testing.assert_array_equal(raw.values[:, :, 0], expected, err_msg=name)
    else:  # left out, or other times: each series that is there has the readings of one of the other reader's
        rows = {readings(row) for row in expected.reshape(len(expected), -1)}
        for series in raw.values.reshape(len(raw.values), -1):
            assert readings(series) in rows, name
    return True


def mutated_folder(content: dict[str, bytes], path: Path, rng: np.random.Generator) -> None:
    """Write the files of a folder, one of them mutated or missing."""
    shutil.rmtree(path, ignore_errors=True)
    chosen = sorted(content)[int(rng.integers(0, len(content)))]
    lost = rng.integers(0, 10) == 0
    for name, what in content.items():
        if lost and name == chosen:
            continue
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(mutated(what, rng) if name == chosen else what)


def fuzz_folder(name: str, place: Path, count: int, seed: int) -> int:
    path, rng, stores = place / name, np.random.default_rng(seed), 0
    FOLDERS[name](path)
    content = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    for _ in range(count):
        mutated_folder(content, path, rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stores += compare(name, path, zarr_of)
    return stores


def fuzz(name: str, place: Path, count: int, seed: int) -> int:
    make, independent = KINDS[name]
    content, rng, stores = make(place), np.random.default_rng(seed), 0
    for _ in range(count):
        path = place / name
        path.write_bytes(mutated(content, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stores += compare(name, path, independent)
    return stores


@pytest.mark.parametrize("name", KINDS)
def test_an_undamaged_file_gives_its_values(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(KINDS[name][0](tmp_path))
    raw = store_or_line(tmp_path / name)
    assert raw is not None
    np.testing.assert_array_equal(raw.values[:, :, 0], VALUES.astype(np.float32))


@pytest.mark.parametrize("name", KINDS)
def test_a_few_mutated_files(tmp_path: Path, name: str) -> None:
    assert fuzz(name, tmp_path, FEW, seed=1) < FEW


@pytest.mark.parametrize("name", FOLDERS)
def test_an_undamaged_folder_gives_its_values(tmp_path: Path, name: str) -> None:
    FOLDERS[name](tmp_path / name)
    raw = store_or_line(tmp_path / name)
    assert raw is not None
    np.testing.assert_array_equal(raw.values[:, :, 0], VALUES.astype(np.float32))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_few_mutated_folders(tmp_path: Path, name: str) -> None:
    assert fuzz_folder(name, tmp_path, FEW, seed=1) < FEW


@pytest.mark.parametrize("name", ["kwh/0.1", "time/0", "home/0"])
@pytest.mark.parametrize("how", ["cut", "longer", "flipped"])
def test_a_damaged_chunk_is_named(tmp_path: Path, name: str, how: str) -> None:
    """Blosc does not compare a chunk's length with what it says, and reads memory beyond its end."""
    write_zarr(tmp_path / "a.zarr", 2)
    chunk = tmp_path / "a.zarr" / name
    content = chunk.read_bytes()
    flipped = content[:12] + b"\xff\xff\0\0" + content[16:]
    chunk.write_bytes({"cut": content[:-5], "longer": content + b"12", "flipped": flipped}[how])
    with pytest.raises(UserError, match=f"{name.split('/')[0]}.*damaged"):
        read(config.Data(source=str(tmp_path / "a.zarr")))


@pytest.mark.parametrize("name", ["kwh/c/1/0", "time/c/0", "home/c/0"])
def test_a_chunk_that_cannot_be_decoded_is_named(tmp_path: Path, name: str) -> None:
    write_zarr(tmp_path / "a.zarr", 3)
    chunk = tmp_path / "a.zarr" / name
    chunk.write_bytes(b"not compressed" + chunk.read_bytes())
    with pytest.raises(UserError, match=f"{name.split('/')[0]}.*damaged"):
        read(config.Data(source=str(tmp_path / "a.zarr")))


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_many_mutated_folders(tmp_path: Path, name: str) -> None:
    assert 0 < fuzz_folder(name, tmp_path, MANY, seed=2) < MANY


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_many_mutated_files(tmp_path: Path, name: str) -> None:
    assert 0 < fuzz(name, tmp_path, MANY, seed=2) < MANY
