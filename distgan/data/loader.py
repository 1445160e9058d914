"""Training batches: one infinite order of the training series, of which every process takes its part.

The order is the concatenation of one seeded permutation an epoch, so that step s is the same batch in every
run, for every number of processes, and after any resume, at no cost.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count

import numpy as np
import torch
from torch import Tensor

from distgan import draws
from distgan.data.scaling import Scaler
from distgan.data.store import Store
from distgan.errors import UserError

AHEAD = 2  # batches made while one is trained on


@dataclass
class Batch:
    """One process's part of one global batch.

    series: [B, L, C] float32, scaled, 0 where missing. mask: [B, L, C] float32, 1 = measured.
    rows: [B] int64, index into the training list. sample: [B] int64, position in the global batch.
    whole: of a micro-batch, the process's part that it was split from.
    """

    series: Tensor
    mask: Tensor
    rows: Tensor
    sample: Tensor
    step: int
    whole: "Batch | None" = None

    def split(self, size: int) -> list["Batch"]:
        """Micro-batches of `size` series."""
        parts = zip(*(t.split(size) for t in (self.series, self.mask, self.rows, self.sample)), strict=True)
        return [replace(self, series=s, mask=m, rows=r, sample=i, whole=self) for s, m, r, i in parts]

    def mean_count(self, count: Callable[["Batch"], Tensor]) -> Tensor:
        """`count` of the process's part, as a mean over its micro-batches: a sum divided by it (and by its
        mean over processes) has the mean over micro-batches (and processes) that one large batch would.
        """
        return (
            count(self)
            if self.whole is None
            else count(self.whole) * len(self.sample) / len(self.whole.sample)
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return Batch(move(self.series), move(self.mask), move(self.rows), move(self.sample), self.step)


class Loader:
    """Scaled, masked batches of the series of a store that stand in `rows` (the training list).

    Raises:
        UserError: there are no rows, or batch_size (global) does not divide among the processes.
    """

    def __init__(
        self,
        store: Store,
        rows: np.ndarray,
        scaler: Scaler,
        attributes: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if len(rows) == 0:
            raise UserError(f"no training series in {store.path}; data.splits.train leaves none")
        if batch_size % world_size:
            lower = batch_size // world_size * world_size
            choice = f"{lower} or {lower + world_size}" if lower else f"{world_size}"
            raise UserError(
                f"batch_size {batch_size} is not a multiple of {world_size} processes; use {choice}"
            )
        assert len(attributes) == len(rows) and 0 <= rank < world_size
        self.num_series = len(rows)
        self._store, self._rows, self._scaler, self._attributes = store, np.asarray(rows), scaler, attributes
        self._batch_size, self._seed = batch_size, seed
        share = batch_size // world_size
        self._sample = np.arange(rank * share, (rank + 1) * share)
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def batches(self, first_step: int = 0) -> Iterator[Batch]:
        """Batches of steps first_step, first_step + 1, … without end; a thread makes the next two."""
        reader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        try:
            ahead = deque(reader.submit(self.batch, first_step + i) for i in range(AHEAD))
            for step in count(first_step + AHEAD):
                batch = ahead.popleft().result()
                ahead.append(reader.submit(self.batch, step))
                yield batch
        finally:
            reader.shutdown(cancel_futures=True)

    def batch(self, step: int) -> Batch:
        """This process's part of the batch of `step`: always the same."""
        rows = self._order(step * self._batch_size + self._sample)
        # Fresh tensors: torch's pinned allocator recycles them itself, and knows when a copy has ended.
        series = torch.empty(
            (len(rows), self._store.length, self._store.channels), pin_memory=torch.cuda.is_available()
        )
        values = self._store.rows(self._rows[rows], out=series.numpy())
        mask = torch.empty_like(series, pin_memory=series.is_pinned())
        missing = np.isnan(values)
        np.logical_not(missing, out=mask.numpy())
        values[:] = self._scaler.scale(values, self._attributes[rows])
        values[missing] = 0
        return Batch(series, mask, torch.from_numpy(rows), torch.from_numpy(self._sample.copy()), step)

    def _order(self, positions: np.ndarray) -> np.ndarray:
        """Places in the infinite order -> index into the training list."""
        epochs, places = np.divmod(positions, self.num_series)
        rows = np.empty_like(positions)
        for epoch in np.unique(epochs).tolist():
            rows[epochs == epoch] = self._permutation(epoch)[places[epochs == epoch]]
        return rows

    def _permute(self, epoch: int) -> np.ndarray:
        return draws.generator(self._seed, epoch, "order").permutation(self.num_series)
