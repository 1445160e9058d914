"""Series of the owners of a private step: nothing of an owner changes with who else is there."""

from typing import Any

import numpy as np
import torch

from distgan.data.owner_loader import OwnerBatching, OwnerLoader, compute_owner_keys
from distgan.data.scaling import Scaler

LENGTH = 24
SCALER = Scaler("none", "standard", 1.0, 6.0, None)


class Readings:
    """Series by place, with a few gaps; reads as a store does."""

    length, channels = LENGTH, 1

    def __init__(self, names: list[str], counts: list[int]) -> None:
        self.codes = np.repeat(np.arange(len(names)), counts)
        drawn = [np.random.default_rng([ord(name[0]), 7]) for name in names]
        own = [rng.gamma(2, 1, (count, LENGTH, 1)) for rng, count in zip(drawn, counts)]
        self.values = np.concatenate(own).astype(np.float32)
        self.values[:, 3] = np.nan

    def read_rows(self, indices: np.ndarray) -> np.ndarray:
        return self.values[indices]


def loader_of(names: list[str], counts: list[int], **changes: Any) -> OwnerLoader:
    readings = Readings(names, counts)
    taken = changes.pop("taken", np.arange(len(names)))
    batching = OwnerBatching(
        batch_size=6, series=changes.pop("series", 3), seed=1, take=lambda step: taken, **changes
    )
    rows = np.arange(len(readings.values))
    store: Any = readings
    return OwnerLoader(store, rows, SCALER, readings.codes, compute_owner_keys(names), batching)


def test_an_owners_part_is_the_same_to_the_bit_whoever_else_is_there() -> None:
    some, more = ["b", "d", "e"], ["a", "b", "c", "d", "e"]
    counts = {"a": 4, "b": 5, "c": 1, "d": 2, "e": 3}
    few, many = (loader_of(names, [counts[name] for name in names]) for names in (some, more))
    for step in (0, 9):
        one, other = few.make_batch(step).owners, many.make_batch(step).owners
        for name in some:
            here, there = (slice(3 * names.index(name), 3 * names.index(name) + 3) for names in (some, more))
            for part in ("series", "mask", "sample", "attributes"):
                assert torch.equal(getattr(one, part)[here], getattr(other, part)[there])
    first, second = (few.make_batch(step).owners.series for step in (0, 1))
    assert not torch.equal(first, second)  # other windows of them


def test_short_lists_begin_again_and_gaps_are_masked() -> None:
    part = loader_of(["a", "b"], [1, 2]).make_batch(0).owners
    assert part.series.shape == (6, LENGTH, 1)
    assert part.rows.tolist()[:3] == [0, 0, 0] and set(part.rows.tolist()[3:]) == {1, 2}
    assert (part.mask[:, 3] == 0).all() and (part.series[:, 3] == 0).all()
    assert part.mask.sum() == 6 * (LENGTH - 1)
    assert len(set(part.sample.tolist())) == 6


def test_processes_read_disjoint_owners_and_all_of_them() -> None:
    names, counts = ["a", "b", "c", "d", "e"], [2] * 5
    whole = loader_of(names, counts).make_batch(4)
    parts = [loader_of(names, counts, rank=rank, world_size=2).make_batch(4) for rank in range(2)]
    samples = [set(part.owners.sample.tolist()) for part in parts]
    assert samples[0].isdisjoint(samples[1]) and samples[0] | samples[1] == set(whole.owners.sample.tolist())
    assert [part.sample.tolist() for part in parts] == [[0, 1, 2], [3, 4, 5]]


def test_the_public_part_has_no_series_and_nobody_may_be_taken() -> None:
    batch = loader_of(["a", "b"], [1, 1], taken=np.array([], np.int64)).make_batch(2)
    assert len(batch.owners.sample) == 0 and batch.owners.series.shape == (0, LENGTH, 1)
    assert not batch.public.series.any() and (batch.public.rows == -1).all() and batch.public.mask.all()
    assert [len(part.sample) for part in batch.split(4)] == [4, 2]
    following = loader_of(["a", "b"], [1, 1]).iterate_batches(5)
    assert [next(following).step for _ in range(3)] == [5, 6, 7]
    following.close()


def test_keys_are_of_the_id_alone() -> None:
    assert compute_owner_keys(["x", "y"])[0] == compute_owner_keys(["x"])[0] != compute_owner_keys(["y"])[0]
    assert (compute_owner_keys([str(n) for n in range(100)]) >= 0).all()
