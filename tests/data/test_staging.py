"""Stores that several processes write together, shard by shard, and go on with after an interruption."""

from pathlib import Path

import numpy as np
import pytest

from distgan.data.store.format import Layout
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.staging import StagedShards
from distgan.errors import UserError

META = Meta(Axis("2013-01-07T00:00:00", 3600, 48, leap_days=True), ("kWh",), "kWh", {}, {})


def draw(rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 48, 1)).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 5, 64, 300, 5000])
def test_joined_shards_are_the_store_of_all_rows(tmp_path: Path, rows: int) -> None:
    values = draw(rows)
    staged = StagedShards(tmp_path / "parts", (48, 1), rows, fewest_rows=4)
    for shard in reversed(range(staged.layout.shards)):
        staged.write(shard, values[slice(*staged.layout.find_span(shard))])
    staged.join(tmp_path / "s.zarr", META)
    found = Store.open(tmp_path / "s.zarr")
    np.testing.assert_array_equal(found.read_rows(np.arange(rows)), values)
    assert found.meta == META
    staged.remove()
    assert not (tmp_path / "parts").exists()
    np.testing.assert_array_equal(found.read_rows(np.arange(rows)), values)


def test_an_interrupted_writer_goes_on_with_what_is_whole(tmp_path: Path) -> None:
    values = draw(300)
    first = StagedShards(tmp_path / "parts", (48, 1), 300, fewest_rows=4)
    for shard in range(3):
        first.write(shard, values[slice(*first.layout.find_span(shard))])
    torn = tmp_path / "parts" / "values" / first.layout.name_file(1)
    torn.write_bytes(torn.read_bytes()[:-1])
    wrong = tmp_path / "parts" / "values" / first.layout.name_file(2)
    wrong.write_bytes(bytes([wrong.read_bytes()[0] ^ 1]) + wrong.read_bytes()[1:])
    again = StagedShards(tmp_path / "parts", (48, 1), 300, fewest_rows=4)
    due = [shard for shard in range(again.layout.shards) if not again.is_complete(shard)]
    assert due == list(range(1, again.layout.shards))
    with pytest.raises(UserError, match=r"shard-\d+\.json"):
        again.join(tmp_path / "s.zarr", META)
    for shard in due:
        again.write(shard, values[slice(*again.layout.find_span(shard))])
    again.join(tmp_path / "s.zarr", META)
    np.testing.assert_array_equal(Store.open(tmp_path / "s.zarr").read_rows(np.arange(300)), values)


@pytest.mark.parametrize("length", [48, 2190, 8760 * 300])
@pytest.mark.parametrize("rows", [1, 7, 200, 10_000, 1_000_000])
def test_divided_layouts_hold_every_row_once(rows: int, length: int) -> None:
    whole = Layout.fit((length, 1))
    layout = whole.divide(rows, 64, 32)
    spans = [layout.find_span(shard) for shard in range(layout.shards)]
    assert [first for first, _ in spans] == [0, *(last for _, last in spans[:-1])] and spans[-1][1] == rows
    assert layout.shard_rows <= max(whole.shard_rows, rows)
    if rows == 10_000 and length == 2190:
        assert layout.shards == 63  # of 160 rows, five batches
