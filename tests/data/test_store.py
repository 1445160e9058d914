"""The store returns what was written, to us and to plain Zarr, or one line that names the damage."""

import multiprocessing
import os
import random
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr

from distgan.data.store import format, private_table, reader
from distgan.data.store import format as stores
from distgan.data.store import rows as stored_rows
from distgan.data.store.format import Form, Layout
from distgan.data.store.latents import LatentStore, LatentWriter
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.rows import Rows
from distgan.data.store.writer import ParallelStoreWriter, StoreWriter, write_shard
from distgan.errors import UserError
from distgan.pipeline.owners import list_near_copies
from tests.helpers.settings import ROOT


def meta(length: int, channels: int = 1) -> Meta:
    names = tuple(f"c{i}" for i in range(channels))
    return Meta(Axis("2019-01-01T00:00:00", 3600, length), names, "kWh", {"source": "test"}, {})


def series(rows: int, length: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(rows, length, channels)).astype(np.float32)
    values[::7, 1] = np.nan
    return values


def write(path: Path, values: np.ndarray, block: int = 100) -> Path:
    with StoreWriter(path, meta(*values.shape[1:])) as store:
        for first in range(0, len(values), block):
            store.append(values[first : first + block])
    return path


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunks and shards from few rows."""
    monkeypatch.setattr(stores, "CHUNK_ROWS", 8)
    monkeypatch.setattr(stores, "SHARD_BYTES", 8 * 1024)


SHAPES = [(1, 5, 1), (7, 30, 1), (8, 30, 1), (9, 30, 2), (203, 24, 3), (64, 24, 3), (5, 3000, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_come_back_to_us_and_to_plain_zarr(
    tmp_path: Path, small_shards: None, shape: tuple[int, int, int]
) -> None:
    values = series(*shape)
    store = Store.open(write(tmp_path / "series.zarr", values, block=5))
    assert (store.num_series, store.length, store.channels) == shape
    order = np.random.default_rng(1).permutation(len(values))
    np.testing.assert_array_equal(store.read_rows(order), values[order])
    np.testing.assert_array_equal(np.concatenate([block for _, block in store.iterate_blocks(3)]), values)
    np.testing.assert_array_equal(np.concatenate(list(store.select_part(order, 4))), values[order])
    group = zarr.open_group(tmp_path / "series.zarr", mode="r")
    np.testing.assert_array_equal(group["values"][:], values)
    assert group.attrs["distgan"]["units"] == "kWh"


def test_the_layout_of_years_has_whole_chunks_in_shards_below_32_mib() -> None:
    for length in (24, 2190, 8760, 17520, 61368):
        layout = Layout.fit((length, 1))
        size = layout.shard_chunks * (layout.stride + 16) + 4
        assert size <= format.SHARD_BYTES
        assert layout.chunk_rows == min(256, format.SHARD_BYTES // (4 * length))
    assert Layout.fit((20_000_000, 1)).shard_rows == 1


def test_meta_and_repeated_rows_and_out(tmp_path: Path) -> None:
    values = series(10, 24)
    store = Store.open(write(tmp_path / "a.zarr", values))
    assert store.meta == meta(24)
    out = np.empty((3, 24, 1), np.float32)
    assert store.read_rows(np.array([4, 4, 0]), out=out) is out
    np.testing.assert_array_equal(out, values[[4, 4, 0]])
    assert store.read_rows(np.array([], dtype=int)).shape == (0, 24, 1)
    for bad in ([10], [-1]):
        with pytest.raises(IndexError):
            store.read_rows(np.array(bad))


def test_many_shards_hold_no_file_descriptors(tmp_path: Path, small_shards: None) -> None:
    store = Store.open(write(tmp_path / "a.zarr", series(408, 128)))
    before = len(os.listdir("/proc/self/fd"))
    store.verify()
    assert store.values.layout.shards > 50
    assert len(os.listdir("/proc/self/fd")) <= before


def shards(path: Path) -> list[Path]:
    return sorted(
        file for file in path.rglob("*") if file.is_file() and file.parent.parent.parent.name == "c"
    )


def first_shard(path: Path) -> Path:
    return path / "values" / "c" / "0" / "0" / "0"


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << (place % 8)
    path.write_bytes(content)


def test_any_flipped_bit_of_any_file_is_refused(tmp_path: Path, small_shards: None) -> None:
    values = series(50, 30)
    whole = write(tmp_path / "whole.zarr", values)
    files = [file.relative_to(whole) for file in whole.rglob("*") if file.is_file()]
    chance = random.Random(0)
    for trial in range(150):
        damaged = tmp_path / f"{trial}.zarr"
        shutil.copytree(whole, damaged)
        file = damaged / chance.choice(files)
        flip(file, chance.randrange(file.stat().st_size))
        with pytest.raises(UserError) as error:
            Store.open(damaged).read_rows(np.arange(50))
        assert str(file) in str(error.value) or file.name == "manifest.json"
        assert "\n" not in str(error.value)


def delete(shard: Path) -> None:
    shard.unlink()


def empty(shard: Path) -> None:
    shard.write_bytes(b"")


def truncate(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-1])


def grow(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes() + b"\0")


def swap(shard: Path) -> None:
    other = shard.parents[2] / "1" / "0" / "0"
    first, second = shard.read_bytes(), other.read_bytes()
    shard.write_bytes(second)
    other.write_bytes(first)


@pytest.mark.parametrize("damage", [delete, empty, truncate, grow, swap])
def test_damaged_shards_are_named(tmp_path: Path, small_shards: None, damage) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path / "a.zarr", series(200, 30))
    damage(first_shard(path))
    with pytest.raises(UserError, match=r"values/c/0/0/0") as error:
        Store.open(path).verify()
    assert "\n" not in str(error.value)


def test_a_shard_lost_after_opening_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", series(20, 30))
    store = Store.open(path)
    delete(first_shard(path))
    with pytest.raises(UserError, match=r"values/c/0/0/0"):
        store.read_rows(np.arange(3))


def test_undamaged_rows_of_a_damaged_store_still_read(tmp_path: Path, small_shards: None) -> None:
    values = series(200, 30)
    path = write(tmp_path / "a.zarr", values)
    flip(first_shard(path), 0)
    store = Store.open(path)
    np.testing.assert_array_equal(store.read_rows(np.arange(8, 200)), values[8:])
    with pytest.raises(UserError, match=r"rows 0\.\.7 fail their checksum"):
        store.read_rows(np.array([5]))


def test_what_is_no_store_is_one_line(tmp_path: Path) -> None:
    latents = tmp_path / "latents.zarr"
    with LatentWriter(latents, 2) as writer:
        writer.append(np.zeros((3, 2)), np.zeros((3, 2)))
    (tmp_path / "folder").mkdir()
    for path, words in (
        (tmp_path / "none", "no store"),
        (tmp_path / "folder", "manifest"),
        (latents, "latents"),
    ):
        with pytest.raises(UserError, match=words):
            Store.open(path)


def test_a_failed_or_empty_writing_leaves_the_old_store(tmp_path: Path) -> None:
    values = series(5, 24)
    path = write(tmp_path / "a.zarr", values)
    with pytest.raises(RuntimeError), StoreWriter(path, meta(24)) as store:
        store.append(series(3, 24, seed=1))
        raise RuntimeError
    with pytest.raises(UserError, match="at least one row"), StoreWriter(path, meta(24)):
        pass
    np.testing.assert_array_equal(Store.open(path).read_rows(np.arange(5)), values)
    assert [item.name for item in tmp_path.iterdir()] == ["a.zarr"]


def test_equal_series_give_equal_bytes(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, series(30, 24), block) for name, block in (("a", 7), ("b", 30))]
    contents = [
        {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
        for path in paths
    ]
    assert contents[0] == contents[1]


def test_latents_come_back(tmp_path: Path, small_shards: None) -> None:
    mean, logvar = np.random.default_rng(0).normal(size=(2, 1000, 3)).astype(np.float32)
    with LatentWriter(tmp_path / "latents.zarr", 3) as writer:
        for first in range(0, 1000, 64):
            writer.append(mean[first : first + 64], logvar[first : first + 64])
    latents = LatentStore.open(tmp_path / "latents.zarr")
    assert (latents.num_series, latents.dim) == (1000, 3)
    np.testing.assert_array_equal(latents.read_mean(), mean)
    np.testing.assert_array_equal(latents.read_logvar(np.array([5, 999])), logvar[[5, 999]])
    for first, some_mean, some_logvar in latents.iterate_blocks(300):
        np.testing.assert_array_equal(some_mean, mean[first : first + 300])
        np.testing.assert_array_equal(some_logvar, logvar[first : first + 300])
    latents.verify()


def test_the_private_table_round_trips_and_is_private(tmp_path: Path) -> None:
    path = private_table.find_private_table(tmp_path / "series.zarr")
    assert path.name == "series.private.csv"
    private_table.write_table(path, ["a, b", 'c"d', "e"], ["o", "o", "p"], ["train", "train", "held_out"])
    table = private_table.read_table(path)
    assert table.entities.tolist() == ["a, b", 'c"d', "e"] and table.owners.tolist() == ["o", "o", "p"]
    assert table.find_rows("train").tolist() == [0, 1] and table.find_rows("reference").tolist() == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text", ["", "a,b\n", "row,entity,owner,split\n1,a,b,train\n", "row,entity,owner,split\n0,a\n"]
)
def test_a_damaged_private_table_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError):
        private_table.read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("axis", "last", "around"),
    [
        (Axis("2019-01-01T00:00:00", 3600, 8760), "2019-12-31T23", None),
        (Axis("2020-01-01T00:00:00", 3600, 8760), "2020-12-31T23", ("2020-02-28T23", "2020-03-01T00")),
        (Axis("2020-01-01T00:00:00", 14400, 2190), "2020-12-31T20", ("2020-02-28T20", "2020-03-01T00")),
        (
            Axis("2020-01-01T00:00:00", 3600, 8784, leap_days=True),
            "2020-12-31T23",
            ("2020-02-28T23", "2020-02-29T00"),
        ),
        (Axis("2019-06-01T00:00:00", 86400, 365 * 6), "2025-05-31T00", ("2024-02-28T00", "2024-03-01T00")),
        (Axis("2099-06-01T00:00:00", 86400, 365 * 2), "2101-05-31T00", ("2100-02-28T00", "2100-03-01T00")),
    ],
)
def test_times(axis: Axis, last: str, around: tuple[str, str] | None) -> None:
    times = axis.list_times()
    assert len(times) == axis.length and times[0] == np.datetime64(axis.start)
    assert times[-1] == np.datetime64(last, "s")
    if around:
        before, after = (np.datetime64(stamp, "s") for stamp in around)
        assert times[np.flatnonzero(times == before)[0] + 1] == after


def test_chunks_are_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(write(tmp_path / "a.zarr", series(20, 24)))
    store.read_rows(np.arange(20))
    monkeypatch.setattr(Rows, "_make_damaged_error", None)
    monkeypatch.setattr(stored_rows, "compute_crc", None)
    store.read_rows(np.arange(20))


# ------------------------------------------------------------------------------------- other forms of storing

FORMS = [
    Form("float16"),
    Form("float32", "zstd"),
    Form("float16", "zstd"),
    Form("float32", "gzip"),
    Form("float32", "blosc"),
]


def write_as(path: Path, values: np.ndarray, form: Form) -> Path:
    with StoreWriter(path, meta(*values.shape[1:]), form) as store:
        store.append(values)
    return path


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("shape", [(7, 30, 1), (203, 24, 3), (9, 3000, 1)])
def test_every_form_reads_back_to_us_and_to_plain_zarr(
    tmp_path: Path, small_shards: None, form: Form, shape: tuple[int, int, int]
) -> None:
    values = series(*shape)
    store = Store.open(write_as(tmp_path / "a.zarr", values, form))
    expected = values.astype(form.dtype).astype(np.float32)
    order = np.random.default_rng(1).permutation(len(values))
    np.testing.assert_array_equal(store.read_rows(order), expected[order])
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr" / "values", mode="r")[:], expected)
    store.verify()
    if form.dtype == "float16":
        worst = float(np.nanmax(np.abs(values - expected)))
        assert store.meta.provenance["stored_as"] == {"dtype": "float16", "largest_error": worst}


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_damage_of_every_form_is_named(tmp_path: Path, small_shards: None, form: Form) -> None:
    whole = write_as(tmp_path / "whole.zarr", series(100, 30), form)
    chance = random.Random(0)
    for trial in range(12):
        damaged = tmp_path / f"{trial}.zarr"
        shutil.copytree(whole, damaged)
        shard = chance.choice(shards(damaged))
        flip(shard, chance.randrange(shard.stat().st_size))
        with pytest.raises(UserError, match="damaged store") as error:
            Store.open(damaged).read_rows(np.arange(100))
        assert str(shard) in str(error.value)
    delete(first_shard(whole))
    with pytest.raises(UserError, match=r"values/c/0/0/0"):
        Store.open(whole)


def test_values_beyond_float16_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"values up to 70000 do not fit data\.store\.dtype=float16"):
        write_as(tmp_path / "a.zarr", np.full((2, 5, 1), 70000, np.float32), Form("float16"))
    assert list(tmp_path.iterdir()) == []


def test_packed_shards_in_memory_are_few(tmp_path: Path, small_shards: None) -> None:
    store = Store.open(write_as(tmp_path / "a.zarr", series(408, 128), Form("float32", "zstd")))
    store.read_rows(np.random.default_rng(0).permutation(408))
    assert store.values.layout.shards > 50 and len(store.values._rows) <= store.values.kept


# -------------------------------------------------------------------------------------------- several writers


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("form", [Form(), *FORMS[:2]], ids=str)
@pytest.mark.parametrize("rows", [3, 8, 203])
def test_shards_filled_in_any_order_by_many_are_the_store_of_one(
    tmp_path: Path, small_shards: None, form: Form, rows: int
) -> None:
    values = series(rows, 24, 3)
    write_as(tmp_path / "one.zarr", values, form)
    with ParallelStoreWriter(tmp_path / "many.zarr", meta(24, 3), rows, form) as store:
        spans = [store.layout.find_span(shard) for shard in range(store.layout.shards)]
        with ThreadPoolExecutor(4) as pool:
            order = np.random.default_rng(0).permutation(len(spans)).tolist()
            list(pool.map(lambda shard: store.fill(shard, values[slice(*spans[shard])]), order))
    assert contents(tmp_path / "one.zarr") == contents(tmp_path / "many.zarr")


def test_processes_fill_disjoint_shards(tmp_path: Path, small_shards: None) -> None:
    values = series(203, 24, 3)
    write(tmp_path / "one.zarr", values)
    with ParallelStoreWriter(tmp_path / "many.zarr", meta(24, 3), 203) as store:
        spans = [store.layout.find_span(shard) for shard in range(store.layout.shards)]
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            jobs = [
                pool.submit(write_shard, *store.place, shard, values[slice(*span)])
                for shard, span in enumerate(spans)
            ]
            for shard, job in enumerate(jobs):
                store.accept(shard, job.result())
    assert contents(tmp_path / "one.zarr") == contents(tmp_path / "many.zarr")


def test_a_shard_is_written_once_and_none_is_forgotten(tmp_path: Path, small_shards: None) -> None:
    values = series(203, 24, 3)
    with (
        pytest.raises(UserError, match="written twice"),
        ParallelStoreWriter(tmp_path / "a.zarr", meta(24, 3), 203) as store,
    ):
        store.fill(0, values[slice(*store.layout.find_span(0))])
        store.fill(0, values[slice(*store.layout.find_span(0))])
    with (
        pytest.raises(AssertionError, match="never written"),
        ParallelStoreWriter(tmp_path / "a.zarr", meta(24, 3), 203) as store,
    ):
        store.fill(0, values[slice(*store.layout.find_span(0))])
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_store_are_refused(tmp_path: Path) -> None:
    path, values = tmp_path / "a.zarr", series(5, 24)
    code = f"""
import sys
from pathlib import Path
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.writer import StoreWriter
from distgan.errors import answer
meta = Meta(Axis("2019-01-01T00:00:00", 3600, 24), ("c",), "", {{}}, {{}})
def main():
    with StoreWriter(Path({str(path)!r}), meta):
        pass
sys.exit(answer(main))
"""
    with StoreWriter(path, meta(24)) as store:
        store.append(values)
        with pytest.raises(UserError, match="is being written"), StoreWriter(path, meta(24)):
            pass
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
        assert other.returncode == 2 and "is being written by another process" in other.stderr
    np.testing.assert_array_equal(Store.open(path).read_rows(np.arange(5)), values)
    assert [item.name for item in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.usefixtures("small_shards")
def test_a_walk_holds_one_block_and_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = series(200, 30)
    store = Store.open(write(tmp_path / "a.zarr", values))
    monkeypatch.setattr(stored_rows, "BLOCK_BYTES", 4 * 30 * 5)
    found = []
    for first, block in store.iterate_blocks():
        assert first == 5 * len(found) and len(block) <= 5
        found.append(block)
        assert len(store.values.list_held()) <= 2
    np.testing.assert_array_equal(np.concatenate(found), values)
    rows = np.arange(0, 200, 3)
    parts = list(store.select_part(rows))
    assert max(map(len, parts)) <= 5
    np.testing.assert_array_equal(np.concatenate(parts), values[rows])


@pytest.mark.parametrize("length", [200, 1200])  # rows are copied from 4 KiB on
def test_a_walk_in_any_order_unmaps_shards(
    tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    values = series(90, length)
    store = Store.open(write(tmp_path / "a.zarr", values))
    shard_bytes = store.values.layout.shard_rows * store.values.layout.row_bytes
    monkeypatch.setattr(reader, "MAPPED_BYTES", 2 * shard_bytes)
    order = np.random.default_rng(1).permutation(90)
    for rows in np.array_split(order, 9):
        np.testing.assert_array_equal(store.read_rows_once(rows), values[rows])
        assert len(store.values.list_held()) <= 2 < store.values.layout.shards
    np.testing.assert_array_equal(store.read_rows(order), values[order])


def write_few_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, Store]:
    """Shards of six rows of 4.8 kB, all of them checked and released."""
    monkeypatch.setattr(stores, "CHUNK_ROWS", 3)
    monkeypatch.setattr(stores, "SHARD_BYTES", 32 * 1024)
    values = series(50, 1200)
    store = Store.open(write(path, values))
    assert store.values.layout.shard_rows == 6
    store.read_rows(np.arange(50))
    store.values.release(store.values.list_held())
    return values, store


@pytest.mark.parametrize("few", [0, 2, 64])
def test_few_rows_of_released_shards_come_from_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    values, store = write_few_rows(tmp_path / "a.zarr", monkeypatch)
    monkeypatch.setattr(stored_rows, "FEW_ROWS", few)
    wanted = np.array([49, 7, 0, 7, 6, 8, 9, 31, 11, 30])  # shards: one row, six of one, two of another
    np.testing.assert_array_equal(store.read_rows(wanted), values[wanted])
    assert store.values.list_held() == {0: [0, 1, 5, 8], 2: [1], 64: []}[few]
    out = np.zeros((10, 1200, 1), np.float32)
    assert store.read_rows(wanted, out) is out
    np.testing.assert_array_equal(out, values[wanted])
    store.values.release(store.values.list_held())
    starts = np.arange(10) * 100
    pieces = store.values.read_pieces(wanted, starts, 30)
    expected = [values[row, start : start + 30] for row, start in zip(wanted, starts)]
    np.testing.assert_array_equal(pieces, expected)


def test_damage_of_released_shards_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_few_rows(tmp_path / "a.zarr", monkeypatch)[1]
    place = first_shard(tmp_path / "a.zarr")
    os.truncate(place, 5000)
    with pytest.raises(UserError, match=r"values/c/0/0/0: 5000 bytes instead of \d+"):
        store.read_rows(np.array([1, 20]))
    place.unlink()
    with pytest.raises(UserError, match=r"values/c/0/0/0: no such file"):
        store.read_rows(np.array([1, 20]))
    monkeypatch.setattr(os, "preadv", lambda *_: 0)  # a file that was cut since its size was asked
    with pytest.raises(UserError, match=r"values/c/3/0/0: it ends too early"):
        store.read_rows(np.array([20]))


@pytest.mark.parametrize("form", [Form(), Form("float16", "zstd")])
def test_the_search_for_near_copies_unmaps_shards(
    tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    values = series(40, 200)
    with StoreWriter(tmp_path / "a.zarr", meta(200), form) as writer:
        writer.append(values)
    store = Store.open(tmp_path / "a.zarr")
    assert store.values.layout.shards > 2
    monkeypatch.setattr(reader, "MAPPED_BYTES", 1)
    list_near_copies(store, [str(row) for row in range(40)])
    assert store.values.list_held() == []
