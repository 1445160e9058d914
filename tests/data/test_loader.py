"""One infinite order: the same for any number of processes and after any resume, once an epoch."""

import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from distgan import config
from distgan.data.loader import Batching, Loader
from distgan.data.scaling import Scaler
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError

ROWS = np.array([0, 2, 3, 5, 6, 7, 9, 11, 12, 13, 14])  # of 15: the training list


@pytest.fixture
def store(tmp_path: Path) -> Store:
    values = np.random.default_rng(0).normal(5, 2, (15, 24, 2)).astype(np.float32)
    values[::2, 3:6, 1] = np.nan
    meta = Meta(Axis("2019-01-01T00:00:00", 3600, 24), ("a", "b"), "kWh", {}, {})
    with StoreWriter(tmp_path / "series.zarr", meta) as writer:
        writer.append(values)
    return Store.open(tmp_path / "series.zarr")


def loader(store: Store, batch_size: int = 4, seed: int = 0, rank: int = 0, world_size: int = 1) -> Loader:
    scaler = Scaler.fit(store.select_part(ROWS), config.Scaling())
    return Loader(
        store,
        ROWS,
        scaler,
        batching=Batching(batch_size=batch_size, seed=seed, rank=rank, world_size=world_size),
    )


def order(batches: list) -> list[int]:  # type: ignore[type-arg]
    return torch.cat([batch.rows for batch in batches]).tolist()


@pytest.mark.parametrize("batch_size", [1, 4, 11, 30])
def test_each_epoch_holds_every_series_once(store: Store, batch_size: int) -> None:
    seen = order(list(islice(loader(store, batch_size).iterate_batches(), -(-44 // batch_size))))[:44]
    epochs = [seen[first : first + 11] for first in range(0, 44, 11)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_batch_is_the_scaled_series_and_its_mask(store: Store) -> None:
    data = loader(store)
    batch = next(data.iterate_batches())
    values = store.read_rows(ROWS[batch.rows.numpy()])
    scaled = data._scaler.scale(values, data._scaler.compute_attributes(values))
    np.testing.assert_array_equal(batch.mask.numpy(), (~np.isnan(values)).astype(np.float32))
    np.testing.assert_array_equal(batch.series.numpy(), np.nan_to_num(scaled))
    assert batch.series.dtype == batch.mask.dtype == torch.float32
    assert batch.sample.tolist() == [0, 1, 2, 3] and batch.step == 0
    assert (batch.mask == 0).any()


@pytest.mark.parametrize("first", [0, 1, 2, 3, 7, 1000])
def test_resuming_at_any_step_gives_the_same_batches(store: Store, first: int) -> None:
    expected = [loader(store).make_batch(step) for step in range(first, first + 3)]
    for batch, other in zip(loader(store).iterate_batches(first), expected):
        assert batch.step == other.step
        for name in ("series", "mask", "rows", "sample"):
            assert torch.equal(getattr(batch, name), getattr(other, name))


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_each_global_batch(store: Store, world_size: int) -> None:
    ranks = [loader(store, rank=rank, world_size=world_size).iterate_batches() for rank in range(world_size)]
    for whole, *parts in islice(zip(loader(store).iterate_batches(), *ranks), 8):
        for name in ("series", "mask", "rows", "sample"):
            joined = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(joined, getattr(whole, name))


def test_seeds_differ(store: Store) -> None:
    assert order([loader(store, 11, seed=0).make_batch(0)]) != order(
        [loader(store, 11, seed=1).make_batch(0)]
    )


def test_batches_are_not_overwritten_by_later_ones(store: Store) -> None:
    batches = list(islice(loader(store).iterate_batches(), 10))
    assert all(torch.equal(batch.series, loader(store).make_batch(batch.step).series) for batch in batches)


def loader_threads() -> int:
    return sum(thread.name.startswith("loader") for thread in threading.enumerate())


def test_the_thread_ends_with_the_iterator(store: Store) -> None:
    batches = loader(store).iterate_batches()
    next(batches)
    assert loader_threads() == 1
    batches.close()  # type: ignore[attr-defined]
    assert loader_threads() == 0


def test_an_error_in_the_thread_reaches_the_training(store: Store) -> None:
    shard = store.path / "values" / "c" / "0" / "0" / "0"
    data = loader(store)
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    data._store = Store.open(store.path)
    with pytest.raises(UserError, match="fail their checksum"):
        next(data.iterate_batches())
    assert loader_threads() == 0


@pytest.mark.parametrize(("batch_size", "world_size", "use"), [(96, 5, "95 or 100"), (3, 4, "use 4")])
def test_a_batch_that_does_not_divide_is_one_line(
    store: Store, batch_size: int, world_size: int, use: str
) -> None:
    with pytest.raises(UserError, match=f"batch_size {batch_size} is not a multiple of {world_size}.*{use}"):
        loader(store, batch_size, world_size=world_size)


def test_no_training_series_is_one_line(store: Store) -> None:
    scaler = Scaler("none", "minmax", 1.0, 1.0, None)
    with pytest.raises(UserError, match="no training series"):
        Loader(store, ROWS[:0], scaler, batching=Batching(batch_size=2, seed=0))


def test_to_moves_what_networks_see(store: Store) -> None:
    moved = loader(store).make_batch(3).to("meta")
    assert moved.step == 3
    assert moved.series.device.type == moved.mask.device.type == "meta"
    assert moved.rows.device.type == moved.sample.device.type == "cpu"  # random numbers are drawn by them
