"""The order holds every series once an epoch, for any number of processes, from any step on."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distgan import config
from distgan.data.loader import Batching, Loader
from distgan.data.scaling import Scaler
from distgan.data.shuffle import Buffered, Shuffle, Shuffled
from distgan.data.store import format
from distgan.data.store import format as stores
from distgan.data.store.format import Form
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter

SHARDS = st.lists(st.integers(0, 9), min_size=1, max_size=60).map(np.array)


@st.composite
def orders(draw: st.DrawFn) -> Shuffle:
    shards, seed = draw(SHARDS), draw(st.integers(0, 2**32))
    at_once = draw(st.one_of(st.none(), st.integers(1, 11)))
    return Shuffled(len(shards), seed) if at_once is None else Buffered(shards, at_once, seed)


@given(order=orders(), epoch=st.integers(0, 10**9))
def test_each_epoch_holds_every_series_once(order: Shuffle, epoch: int) -> None:
    first = epoch * order.num_series
    seen = order(np.arange(first, first + order.num_series))
    np.testing.assert_array_equal(np.sort(seen), np.arange(order.num_series))


@given(
    order=orders(),
    step=st.integers(0, 10**6),
    worlds=st.tuples(st.sampled_from([1, 2, 3, 4, 6, 12]), st.sampled_from([1, 2, 3, 4, 6, 12])),
)
def test_ranks_of_any_world_share_each_batch_and_none_twice(
    order: Shuffle, step: int, worlds: tuple[int, int]
) -> None:
    """Training starts in one world, stops anywhere, goes on in another: the samples are the same."""
    batch = 12

    def seen(step: int, world: int) -> list[np.ndarray]:
        share = batch // world
        return [order(step * batch + np.arange(r * share, (r + 1) * share)) for r in range(world)]

    for at in (step, step + 1):
        one, other = (np.concatenate(seen(at, world)) for world in worlds)
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, order(at * batch + np.arange(batch)))


@given(shards=SHARDS, at_once=st.integers(1, 11), seed=st.integers(0, 99), epoch=st.integers(0, 5))
def test_a_filling_of_the_buffer_holds_few_shards(
    shards: np.ndarray, at_once: int, seed: int, epoch: int
) -> None:
    order = Buffered(shards, at_once, seed)
    positions = np.arange(epoch * len(shards), (epoch + 1) * len(shards))
    fills = [order.find_fill(position) for position in positions.tolist()]
    for row, fill in zip(order(positions), fills):
        assert shards[row] in fill.shards and len(fill.shards) <= at_once
    distinct = list(dict.fromkeys(fills))
    assert len(distinct) == order.fills
    assert sorted(shard for fill in distinct for shard in fill.shards) == sorted(set(shards.tolist()))
    assert [order.find_next(fill) for fill in distinct[:-1]] == distinct[1:]
    assert order.find_next(distinct[-1]) == order.find_fill((epoch + 1) * len(shards))


def test_rows_and_shards_move_between_epochs_and_seeds() -> None:
    shards = np.repeat(np.arange(8), 25)
    epochs = [tuple(Buffered(shards, 3, seed)(np.arange(200) + 200 * e)) for seed in (0, 1) for e in range(3)]
    assert len(set(epochs)) == 6
    rows = np.array(epochs[0])
    assert len(set(shards[rows[:30]].tolist())) == 3  # shards of a filling are mixed


@pytest.fixture(params=[Form(), Form("float16"), Form("float32", "zstd")], ids=str)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """20 shards of 8 rows."""
    monkeypatch.setattr(stores, "CHUNK_ROWS", 4)
    monkeypatch.setattr(stores, "SHARD_BYTES", 2 * (4 * 24 * request.param.numpy.itemsize + 20) + 4)
    values = np.random.default_rng(0).normal(5, 2, (157, 24, 1)).astype(np.float32)
    values[::5, 3:6] = np.nan
    meta = Meta(Axis("2019-01-01T00:00:00", 3600, 24), ("a",), "kWh", {}, {})
    with StoreWriter(tmp_path / "series.zarr", meta, request.param) as writer:
        writer.append(values)
    return Store.open(tmp_path / "series.zarr")


ROWS = np.setdiff1d(np.arange(157), np.arange(0, 157, 3))


def loader(store: Store, rank: int = 0, world_size: int = 1, buffer_shards: int | None = 3) -> Loader:
    scaler = Scaler("none", "standard", 1.0, 3.0, None)
    return Loader(
        store,
        ROWS,
        scaler,
        batching=Batching(
            batch_size=12, seed=1, rank=rank, world_size=world_size, buffer_shards=buffer_shards
        ),
    )


def test_a_buffered_loader_holds_its_buffer_and_no_more(store: Store) -> None:
    assert store.values.layout.shards == 20
    data, seen = loader(store), []
    for batch in islice(data.iterate_batches(), 40):
        seen += batch.rows.tolist()
        assert len(store.values.list_held()) <= 2 * 3 + 1
    for epoch in range(4):
        assert sorted(seen[epoch * len(ROWS) : (epoch + 1) * len(ROWS)]) == list(range(len(ROWS)))


@settings(deadline=None, max_examples=12)
@given(first=st.integers(0, 500), world_size=st.sampled_from([1, 2, 4]))
def test_a_buffered_loader_resumes_anywhere_in_any_world(first: int, world_size: int) -> None:
    store = test_a_buffered_loader_resumes_anywhere_in_any_world.store  # type: ignore[attr-defined]
    whole = loader(store).make_batch(first)
    parts = [next(loader(store, rank, world_size).iterate_batches(first)) for rank in range(world_size)]
    for name in ("series", "mask", "rows", "sample"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


@pytest.fixture(scope="module", autouse=True)
def _plain_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    values = np.random.default_rng(0).normal(5, 2, (157, 24, 1)).astype(np.float32)
    path = tmp_path_factory.mktemp("plain") / "series.zarr"
    before = format.CHUNK_ROWS, format.SHARD_BYTES
    format.CHUNK_ROWS, format.SHARD_BYTES = 4, 812
    try:
        meta = Meta(Axis("2019-01-01T00:00:00", 3600, 24), ("a",), "kWh", {}, {})
        with StoreWriter(path, meta) as writer:
            writer.append(values)
    finally:
        format.CHUNK_ROWS, format.SHARD_BYTES = before
    test_a_buffered_loader_resumes_anywhere_in_any_world.store = Store.open(path)  # type: ignore[attr-defined]


def test_attributes_are_learned_once_and_as_those_of_the_whole(store: Store) -> None:
    lazy = loader(store, buffer_shards=None)
    scaler = lazy._scaler
    whole = scaler.compute_attributes(store.read_rows(ROWS))
    for step in range(30):
        batch = lazy.make_batch(step)
        assert batch.attributes is not None
        np.testing.assert_array_equal(batch.attributes.numpy(), whole[batch.rows.numpy()])
    np.testing.assert_array_equal(lazy._attributes._known, whole)


def test_the_buffer_is_a_number_of_shards(tmp_path: Path) -> None:
    from distgan.pipeline.training_data import TrainingData

    meta = Meta(Axis("2019-01-01T00:00:00", 3600, 2190), ("a",), "", {}, {})
    with StoreWriter(tmp_path / "a.zarr", meta) as writer:
        writer.append(np.zeros((300, 2190, 1), np.float32))
    data = TrainingData(
        Store.open(tmp_path / "a.zarr"),
        np.arange(300),
        np.arange(300),
        Scaler("none", "standard", 1, 1, None),
    )
    layout = data.store.values.layout
    shard_mib = layout.shard_rows * layout.row_bytes / 2**20
    assert data.count_buffer_shards(None) is None and data.count_buffer_shards(1) == 1
    assert data.count_buffer_shards(300) == int(300 / shard_mib)
    assert config.load(None, ["data.buffer_mib=300"]).data.buffer_mib == 300
