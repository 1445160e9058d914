"""Windows are a view: right values at the right times, one entity a home, no disk, and open at once."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgan import config
from distgan.data import ingest
from distgan.data.loader import Batching, Loader
from distgan.data.scaling import Scaler
from distgan.data.store.format import Form
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.private_table import find_private_table, read_table
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.data.windows import Windows
from distgan.errors import UserError
from distgan.pipeline.training_data import TrainingData
from distgan.run import Run
from distgan.train import main
from tests.helpers.settings import ROOT, TINY

SHARED = ROOT.parent / "shared" / "data"


def store_of(path: Path, values: np.ndarray, form: Form | None = None) -> Store:
    names = tuple(f"c{i}" for i in range(values.shape[2]))
    meta = Meta(Axis("2019-01-01T00:00:00", 3600, values.shape[1], leap_days=True), names, "kWh", {}, {})
    with StoreWriter(path, meta, form or Form()) as writer:
        writer.append(values)
    return Store.open(path)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, np.ndarray]:
    values = np.random.default_rng(0).normal(size=(7, 50, 2)).astype(np.float32)
    values[2, 10:25] = np.nan
    return store_of(tmp_path_factory.mktemp("stores") / "a.zarr", values), values


@given(length=st.integers(2, 50), stride=st.integers(1, 60), seed=st.integers(0, 99))
def test_a_window_is_its_stretch_of_the_series(
    stored: tuple[Store, np.ndarray], length: int, stride: int, seed: int
) -> None:
    store, values = stored
    windows = Windows(store, length, stride)
    assert windows.num_series == 7 * len(range(0, 50 - length + 1, stride))
    order = np.random.default_rng(seed).permutation(windows.num_series)[:20]
    starts = windows.find_starts(order)
    expected = [values[row, start : start + length] for row, start in zip(windows.find_series(order), starts)]
    np.testing.assert_array_equal(windows.read_rows(order), expected)
    np.testing.assert_array_equal(np.sort(windows.list_windows(np.arange(7))), np.arange(windows.num_series))


@given(length=st.integers(2, 30), stride=st.integers(1, 40), seed=st.integers(0, 99))
def test_windows_with_gaps_or_one_value_alone_are_unusable(
    tmp_path_factory: pytest.TempPathFactory, length: int, stride: int, seed: int
) -> None:
    """Values of three kinds and many gaps, so that windows of all sorts occur."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 3, (6, 30, 2)).repeat(3, axis=1)[:, :30].astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    windows = Windows(store_of(tmp_path_factory.mktemp("flat") / "a.zarr", values), length, stride)
    cut = windows.read_rows(np.arange(windows.num_series))
    missing, results = np.isnan(cut).mean(axis=(1, 2)), ~np.isnan(cut)
    low = np.min(cut, axis=1, where=results, initial=np.inf)
    high = np.max(cut, axis=1, where=results, initial=-np.inf)
    expected = np.flatnonzero((missing > 0.4) | (low >= high).all(axis=1))  # one that rests is a shape
    np.testing.assert_array_equal(windows.find_unusable(np.arange(6), 0.4), expected)


@pytest.mark.parametrize("form", [Form("float16"), Form("float32", "zstd")], ids=str)
def test_windows_of_other_forms(tmp_path: Path, form: Form) -> None:
    values = np.random.default_rng(0).normal(size=(5, 50, 1)).astype(np.float16).astype(np.float32)
    windows = Windows(store_of(tmp_path / "a.zarr", values, form), 10, 7)
    np.testing.assert_array_equal(windows.read_rows(np.array([7, 0])), [values[1, 7:17], values[0, :10]])
    blocks = list(windows.select_part(np.arange(windows.num_series), 4))
    np.testing.assert_array_equal(np.concatenate(blocks)[7], values[1, 7:17])


def test_windows_longer_than_the_series_are_one_line(stored: tuple[Store, np.ndarray]) -> None:
    with pytest.raises(UserError, match=r"data\.windows\.length 51 is above the 50 steps"):
        Windows(stored[0], 51, 1)


def test_a_batch_holds_scaled_windows(stored: tuple[Store, np.ndarray]) -> None:
    windows = Windows(stored[0], 12, 5)
    scaler = Scaler.fit(windows.select_part(np.arange(windows.num_series)), config.Scaling())
    data = Loader(windows, np.arange(windows.num_series), scaler, batching=Batching(batch_size=6, seed=0))
    batch = data.make_batch(3)
    values = windows.read_rows(batch.rows.numpy())
    scaled = scaler.scale(values, scaler.compute_attributes(values))
    np.testing.assert_array_equal(batch.series.numpy(), np.nan_to_num(scaled))


def test_a_million_windows_of_half_hourly_london_cost_neither_memory_nor_disk(tmp_path: Path) -> None:
    source = SHARED / "lcl_london_2013_halfhourly.npz"
    if not source.exists():
        pytest.skip("lcl_london_2013_halfhourly.npz is not in ../shared/data")
    raw = ingest.read(config.Data(source=str(source), unusable="drop"))
    with StoreWriter(tmp_path / "series.zarr", raw.meta) as writer:
        writer.append(raw.values)
    before = {file: file.stat().st_size for file in tmp_path.rglob("*")}
    tracemalloc.start()
    windows = Windows(Store.open(tmp_path / "series.zarr"), 336, 3)
    rows = windows.list_windows(np.arange(windows.store.num_series))
    data = Loader(
        windows, rows, Scaler("none", "standard", 1.0, 1.0, None), batching=Batching(batch_size=64, seed=0)
    )
    batch = data.make_batch(0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) > 1_000_000 and batch.series.shape == (64, 336, 1)
    assert peak < 64 * 2**20, peak  # their values take 1.3 GB
    assert {file: file.stat().st_size for file in tmp_path.rglob("*")} == before


def test_a_run_on_windows_counts_homes_once(homes_csv: Path, tmp_path: Path) -> None:
    """All stages: 60 homes of 336 steps, cut into 37 windows of 48 each."""
    run = Run(tmp_path / "run")
    more = ["data.windows={length: 48, stride: 8}", "data.max_missing=0.02", "bank.max_share=0.2"]
    more += ["model.discriminator.spectra=[12]", "data.buffer_mib=1"]
    command = ["--run-dir", str(run.folder), f"data.source={homes_csv}", *TINY, *more, "train.steps=5"]
    assert main([*command, "evaluate.max_series=40"]) == 0
    data = TrainingData.open(run)
    table = read_table(find_private_table(run.series))
    homes = table.find_rows("train")
    assert len(homes) == 43 and 43 * 37 * 0.8 < data.num_series <= 43 * 37
    assert len(np.unique(data.entity_codes)) == 43
    assert set((data.rows // 37).tolist()) <= set(homes.tolist())  # splits are by owner
    missing = np.isnan(data.store.read_rows(data.rows)).mean(axis=(1, 2))
    assert missing.max() <= 0.02 and data.num_series < 43 * 37
    groups = np.load(run.clusters / "groups.npy")
    assert len(groups) == data.num_series
    manifest = json.loads((run.bank / "manifest.json").read_text())
    assert all(21 <= group["size"] <= 43 for group in manifest["groups"])  # entities, not windows
    made = Store.open(run.synthetic)
    assert (made.num_series, made.length) == (12, 48)
    assert sum(file.stat().st_size for file in run.series.rglob("*")) < 60 * 336 * 4 * 1.2 + 10_000
    results = json.loads(run.scores.read_text())
    train = results["facts"]["splits"]["train"]
    assert (train["owners"], results["facts"]["length"]) == (43, 48)
    assert {row["name"]: row["n"] for row in results["fidelity"]["rows"]}["copier"] == 40
    assert results["facts"]["windows"]["train"] == data.num_series  # not only those that are compared
    (run.folder / "series.windows.npy").unlink()
    with pytest.raises(UserError, match=r"no series\.windows\.npy in .*--stages prepare"):
        TrainingData.open(run)
    assert main([*command, "--stages", "prepare"]) == 0 and TrainingData.open(run).num_series
