"""All series of a release, in memory or on disk: an attack reads them block by block, or a sample of them.

Shapes: n series, L steps, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from distgan.data.store.reader import Store
from distgan.memory import scale_buffer

Array = np.ndarray

BLOCK_BYTES = 32 << 20  # of series in memory at a time


@dataclass(frozen=True)
class ReleasedSeries:
    """Series of several parts, one part after the other: arrays [n, L, C] float32 and stores."""

    parts: tuple[Array | Store, ...]

    @property
    def num_series(self) -> int:
        return sum(map(_count, self.parts))

    @property
    def shape(self) -> tuple[int, int]:
        """Steps and channels of a series."""
        first = self.parts[0]
        return (first.length, first.channels) if isinstance(first, Store) else first.shape[1:]

    @property
    def num_values(self) -> int:
        length, channels = self.shape
        return self.num_series * length * channels

    def read_rows(self, indices: Array) -> Array:
        """Return the series at ascending `indices` [n]: float32 [n, L, C].

        Raises:
            UserError: a store is damaged.
        """
        found = np.empty((len(indices), *self.shape), np.float32)
        first = 0
        for part in self.parts:
            begin, end = np.searchsorted(indices, [first, first + _count(part)])
            size = self._count_block_rows()
            for place in range(begin, end, size):
                span = slice(place, min(place + size, end))
                found[span] = _read(part, indices[span] - first)
            first += _count(part)
        return found

    def choose(self, most: int, rng: np.random.Generator) -> Array:
        """Return the numbers of a random choice of at most `most` series, ascending: [n]."""
        if self.num_series <= most:
            return np.arange(self.num_series)
        return np.sort(rng.choice(self.num_series, most, replace=False))

    def iterate_blocks(self, indices: Array | None = None) -> Iterator[tuple[Array, Array]]:
        """Yield all series, or those at ascending `indices`, in blocks of about 32 MiB: their numbers [n] and
        values [n, L, C].

        Raises:
            UserError: a store is damaged.
        """
        size, number = self._count_block_rows(), self.num_series if indices is None else len(indices)
        for first in range(0, number, size):
            last = min(first + size, number)
            chosen = np.arange(first, last) if indices is None else indices[first:last]
            yield chosen, self.read_rows(chosen)

    def _count_block_rows(self) -> int:
        length, channels = self.shape
        return max(1, scale_buffer(BLOCK_BYTES) // (4 * length * channels))


def describe_misses(number: int) -> str:
    """Return a sentence on what a sample of so many series misses: 0 of n bounds a share by 3 / n (with 95 %
    confidence).
    """
    return (
        f"Their intervals hold for a sample of {number:,}, which can miss what fewer than one in "
        f"{number // 3:,} of the series show"
    )


def _count(part: Array | Store) -> int:
    return part.num_series if isinstance(part, Store) else len(part)


def _read(part: Array | Store, rows: Array) -> Array:
    return part.read_rows_once(rows) if isinstance(part, Store) else part[rows]
