"""Training batches: one infinite order of the training series, of which every process takes its part.

Step s is the same batch in every run, for every number of processes, and after any resume, at no cost. What
fits into memory is truly permuted; of a larger store, a buffer of shards at a time (shuffle.py).
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from distgan.data.scaling import Attributes, Scaler
from distgan.data.shuffle import Buffered, Fill, Shuffle, Shuffled
from distgan.data.store.reader import Readable
from distgan.errors import UserError, format_nearest_multiples

Made = TypeVar("Made")

AHEAD = 2  # batches made while one is trained on


@dataclass
class Batch:
    """One process's part of one global batch.

    `rows`, `sample` and `attributes` stay on the CPU, where random numbers are drawn by them, so that a step
    waits for no device.

    Attributes:
        series: [B, L, C] float32, scaled, 0 where missing.
        mask: [B, L, C] float32, 1 where measured.
        rows: [B] int64, index into the training list.
        sample: [B] int64, consecutive positions in the global batch.
        attributes: [B, C, 2] float32, location and scale of each whole series before scaling.
        whole: of a micro-batch, the process's part that it was split from.
    """

    series: Tensor
    mask: Tensor
    rows: Tensor
    sample: Tensor
    step: int
    attributes: Tensor | None = None
    whole: "Batch | None" = None

    @property
    def is_first_part(self) -> bool:
        """True of one part a step, however many micro-batches it has."""
        return self.whole is None or bool(self.sample[0] == self.whole.sample[0])

    def split(self, size: int) -> list["Batch"]:
        """Return micro-batches of `size` series."""
        names = self._list_tensors()
        parts = zip(*(getattr(self, name).split(size) for name in names), strict=True)
        return [replace(self, **dict(zip(names, part)), whole=self) for part in parts]

    def take(self, places: Tensor) -> "Batch":
        """Return the series at some places, repeated where a place is: [n] int64."""
        return replace(self, **{name: getattr(self, name)[places] for name in self._list_tensors()})

    def _list_tensors(self) -> list[str]:
        optional = [] if self.attributes is None else ["attributes"]
        return ["series", "mask", "rows", "sample", *optional]

    def average_count(self, count: Callable[["Batch"], Tensor]) -> Tensor:
        """Return `count` of the process's part, as a mean over its micro-batches: a sum divided by it (and by
        its mean over processes) has the mean over micro-batches (and processes) that one large batch would.
        """
        return (
            count(self)
            if self.whole is None
            else count(self.whole) * len(self.sample) / len(self.whole.sample)
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        series, mask = (each.to(device, non_blocking=non_blocking) for each in (self.series, self.mask))
        return replace(self, series=series, mask=mask)


@dataclass(frozen=True)
class Batching:
    """The way series go into batches: `batch_size` over all processes, in an order drawn from `seed`.

    Attributes:
        buffer_shards: shards in memory at a time, shuffled together; by default all series are permuted.
    """

    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    buffer_shards: int | None = None


def pin(tensor: Tensor) -> Tensor:
    """Return a tensor of the CPU in memory that a GPU copies from while others work; as it is without a GPU.

    torch's pinned allocator recycles this memory, and knows when a copy has ended.
    """
    return tensor.pin_memory() if torch.cuda.is_available() else tensor


def make_ahead(make: Callable[[int], Made], first_step: int) -> Iterator[Made]:
    """Yield make(first_step), make(first_step + 1), … without end; a thread makes the next `AHEAD`."""
    reader = ThreadPoolExecutor(1, thread_name_prefix="loader")
    try:
        ahead = deque(reader.submit(make, first_step + i) for i in range(AHEAD))
        for step in count(first_step + AHEAD):
            made = ahead.popleft().result()
            ahead.append(reader.submit(make, step))
            yield made
    finally:
        reader.shutdown(cancel_futures=True)


class Loader:
    """Scaled, masked batches of the series of a store, or of its windows, that stand in `rows` (the training
    list).

    Raises:
        UserError: there are no rows, or batch_size (global) does not divide among the processes.
    """

    def __init__(self, store: Readable, rows: np.ndarray, scaler: Scaler, *, batching: Batching) -> None:
        batch_size, world_size = batching.batch_size, batching.world_size
        if len(rows) == 0:
            raise UserError(f"no training series in {store.path}; data.splits.train leaves none")
        if batch_size % world_size:
            raise UserError(
                f"batch_size {batch_size} is not a multiple of {world_size} processes; use "
                f"{format_nearest_multiples(batch_size, world_size)}"
            )
        assert 0 <= batching.rank < world_size
        self.num_series = len(rows)
        self._store, self._rows, self._scaler = store, np.asarray(rows), scaler
        self._attributes = Attributes(scaler, len(rows), store.channels)
        self._batch_size = batch_size
        share = batch_size // world_size
        self._sample = np.arange(batching.rank * share, (batching.rank + 1) * share)
        self._order: Shuffle = Shuffled(len(rows), batching.seed)
        if batching.buffer_shards is not None:
            self._order = Buffered(store.find_shards(self._rows), batching.buffer_shards, batching.seed)
            store.values.kept = 2 * batching.buffer_shards  # a batch may straddle two fillings
        self._filled: tuple[Fill, ...] = ()

    def iterate_batches(self, first_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of steps first_step, first_step + 1, … without end; a thread makes two ahead."""
        return make_ahead(self.make_batch, first_step)

    def make_batch(self, step: int) -> Batch:
        """Return this process's part of the batch of `step`: always the same."""
        positions = step * self._batch_size + self._sample
        self._fill_buffer(positions)
        rows = self._order(positions)
        values = self._store.read_rows(self._rows[rows])
        attributes = self._attributes.look_up(rows, values)
        self._scaler.scale(values, attributes, out=values)
        series = torch.from_numpy(values)
        if np.isnan(np.add.reduce(values, axis=None)):  # much cheaper than to look at each value
            mask = torch.isnan(series).logical_not_().to(torch.float32)
            torch.nan_to_num_(series, nan=0.0, posinf=torch.inf, neginf=-torch.inf)
        else:
            mask = torch.ones_like(series)
        series, mask = pin(series), pin(mask)
        sample = torch.from_numpy(self._sample.copy())
        known = torch.from_numpy(self._scaler.complete_attributes(attributes, mask))
        return Batch(series, mask, torch.from_numpy(rows), sample, step, known)

    def _fill_buffer(self, positions: np.ndarray) -> None:
        """Release the shards of the buffer's last filling when a new one starts, and announce the next."""
        if not isinstance(self._order, Buffered):
            return
        ends = {self._order.find_fill(int(position)) for position in (positions[0], positions[-1])}
        needed = tuple(sorted(ends))
        if needed == self._filled:
            return
        upcoming = self._order.find_next(needed[-1]).shards
        wanted = {shard for fill in needed for shard in fill.shards}
        self._store.values.release([shard for shard in self._store.values.list_held() if shard not in wanted])
        self._store.values.expect([shard for shard in upcoming if shard not in wanted])
        self._filled = needed
