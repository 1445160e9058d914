"""The one infinite order of the training series: each once an epoch, a pure function of (seed, epoch).

Nothing here knows of processes: a rank takes its slice of every global batch, so the order is the same for
any number of them, and any step can be resumed at no cost.
"""

from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from distgan.rng import make_keyed_generator


class Shuffle(Protocol):
    num_series: int

    def __call__(self, positions: np.ndarray) -> np.ndarray: ...


def _split_by_epoch(positions: np.ndarray, num_series: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Return (epoch, which of `positions` lie in it, their places in the epoch), for each epoch."""
    epochs, places = np.divmod(positions, num_series)
    return [(epoch, epochs == epoch, places[epochs == epoch]) for epoch in np.unique(epochs).tolist()]


class Shuffled:
    """A true permutation an epoch, for what fits into memory."""

    def __init__(self, num_series: int, seed: int) -> None:
        self.num_series, self._seed = num_series, seed
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Return the index into the training list for places in the infinite order."""
        rows = np.empty_like(positions)
        for epoch, chosen, places in _split_by_epoch(positions, self.num_series):
            rows[chosen] = self._permutation(epoch)[places]
        return rows

    def _permute(self, epoch: int) -> np.ndarray:
        return make_keyed_generator(self._seed, epoch, "order").permutation(self.num_series)


class Fill(NamedTuple):
    """One filling of the buffer: which of which epoch, and the shards in it."""

    epoch: int
    number: int
    shards: tuple[int, ...]


class Buffered:
    """Shuffled shards, then shuffled rows of as many shards as the buffer holds, for what does not fit.

    Args:
        shards: [n] the shard in which each training series lies.
        buffer_shards: shards in memory at a time.
    """

    def __init__(self, shards: np.ndarray, buffer_shards: int, seed: int) -> None:
        self.num_series, self._seed, self._at_once = len(shards), seed, buffer_shards
        self._members = np.argsort(shards, kind="stable")
        self._names, counts = np.unique(shards, return_counts=True)
        self._ends = np.cumsum(counts)
        self._sizes = counts
        self._plan = lru_cache(maxsize=3)(self._deal)
        self._rows = lru_cache(maxsize=3)(self._shuffle)

    @property
    def fills(self) -> int:
        """Number of fillings of the buffer in an epoch."""
        return -(-len(self._names) // self._at_once)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Return the index into the training list for places in the infinite order."""
        rows = np.empty_like(positions)
        for epoch, chosen, places in _split_by_epoch(positions, self.num_series):
            _, ends = self._plan(epoch)
            numbers = np.searchsorted(ends, places, side="right")
            found = np.empty_like(places)
            for number in np.unique(numbers).tolist():
                here = numbers == number
                first = ends[number - 1] if number else 0
                found[here] = self._rows(epoch, number)[places[here] - first]
            rows[chosen] = found
        return rows

    def find_fill(self, position: int) -> Fill:
        """Return the filling of the buffer that a place in the infinite order belongs to."""
        epoch, place = divmod(position, self.num_series)
        return self._fill(epoch, int(np.searchsorted(self._plan(epoch)[1], place, side="right")))

    def find_next(self, fill: Fill) -> Fill:
        """Return the next filling."""
        last = fill.number + 1 == self.fills
        return self._fill(fill.epoch + 1, 0) if last else self._fill(fill.epoch, fill.number + 1)

    def _fill(self, epoch: int, number: int) -> Fill:
        return Fill(epoch, number, tuple(self._names[self._deal_shards(epoch, number)].tolist()))

    def _deal_shards(self, epoch: int, number: int) -> np.ndarray:
        return self._plan(epoch)[0][number * self._at_once : (number + 1) * self._at_once]

    def _deal(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the shards in this epoch's order, and the place at which each filling ends."""
        order = make_keyed_generator(self._seed, epoch, "order of shards").permutation(len(self._names))
        firsts = np.arange(0, len(order), self._at_once)
        return order, np.cumsum(np.add.reduceat(self._sizes[order], firsts))

    def _shuffle(self, epoch: int, number: int) -> np.ndarray:
        places = [
            self._members[self._ends[shard] - self._sizes[shard] : self._ends[shard]]
            for shard in self._deal_shards(epoch, number)
        ]
        rng = make_keyed_generator(self._seed, epoch, "order in the buffer", number)
        return rng.permutation(np.concatenate(places))
