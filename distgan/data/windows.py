"""Windows: pieces of a chosen length and stride of the series of a store, as a view that costs no disk.

Window w of a store with k windows a series is number w % k of series w // k. Windows of one home overlap and
share their owner: splits and groups count the home, never its windows.
"""

from dataclasses import replace

import numpy as np

from distgan.data.store.metadata import Meta
from distgan.data.store.reader import Part, Store
from distgan.data.store.rows import Rows
from distgan.errors import UserError

CHECKED_VALUES = 2 << 20  # readings whose windows are looked at together


class Windows:
    """A store whose series are windows of another's; reads as `Store` does.

    Raises:
        UserError: the windows are longer than the series.
    """

    def __init__(self, store: Store, length: int, stride: int) -> None:
        if length > store.length:
            raise UserError(
                f"data.windows.length {length} is above the {store.length} steps of a series; use less"
            )
        self.store, self.length, self.stride = store, length, stride
        self.channels, self.path = store.channels, store.path
        self.values: Rows = store.values
        self.per_series = (store.length - length) // stride + 1
        self.num_series = store.num_series * self.per_series
        reading = {"length": length, "stride": stride}
        self.meta: Meta = replace(
            store.meta,
            axis=replace(store.meta.axis, length=length),
            provenance=store.meta.provenance | {"windows": reading},
        )

    def list_windows(self, rows: np.ndarray) -> np.ndarray:
        """Return all windows of some series of the store, series by series: [n] -> [n * per_series]."""
        return (np.asarray(rows, np.int64)[:, None] * self.per_series + np.arange(self.per_series)).reshape(
            -1
        )

    def find_series(self, windows: np.ndarray) -> np.ndarray:
        """Return the series behind each window."""
        return np.asarray(windows) // self.per_series

    def find_starts(self, windows: np.ndarray) -> np.ndarray:
        """Return the step of the series at which each window begins."""
        return np.asarray(windows) % self.per_series * self.stride

    def find_shards(self, windows: np.ndarray) -> np.ndarray:
        """Return the shard that holds each window."""
        return self.values.find_shards(self.find_series(windows))

    def read_rows(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the windows at `indices` [n] as float32 [n, length, C]; as `Store.read_rows`."""
        indices = np.asarray(indices, np.int64)
        return self.values.read_pieces(self.find_series(indices), self.find_starts(indices), self.length, out)

    def select_part(self, rows: np.ndarray, size: int = 1024) -> Part:
        """Return some windows as blocks that can be walked again."""
        return Part(self, np.asarray(rows), size)

    def find_unusable(self, rows: np.ndarray, max_missing: float) -> np.ndarray:
        """Return those windows of the series `rows` with a larger share of missing values, or in which no
        channel varies, which have no shape to learn from: window numbers, int64. A channel that rests for a
        while, as rain does, is part of the shape.
        """
        found = [np.empty(0, np.int64)]
        firsts = np.arange(self.per_series) * self.stride
        size = max(1, min(64, CHECKED_VALUES // (self.store.length * self.channels)))
        for first in range(0, len(rows), size):
            some = np.asarray(rows[first : first + size])
            values = self.store.read_rows_once(some)
            before = _sum_cumulatively(np.isnan(values).sum(axis=2))
            missing = before[:, firsts + self.length] - before[:, firsts]
            flat = _mark_flat(values, firsts, self.length).all(axis=2)
            bad = (missing > max_missing * self.length * self.channels) | flat
            found.append(self.list_windows(some).reshape(len(some), -1)[bad])
        return np.concatenate(found)


def _sum_cumulatively(counts: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0, 1, … L along axis 1: [n, L, …] -> [n, L + 1, …]."""
    return np.concatenate([np.zeros_like(counts[:, :1]), np.cumsum(counts, axis=1)], axis=1)


def _mark_flat(values: np.ndarray, firsts: np.ndarray, length: int) -> np.ndarray:
    """Return whether a channel's measured values within a window are all one, or none: [n, L, C] -> [n, w, C]
    bool.

    A value that differs from the measured one before it is a change; the window's first measured value is
    compared with what lies before the window, and does not count.
    """
    steps, measured = np.arange(values.shape[1])[:, None], ~np.isnan(values)
    latest = np.maximum.accumulate(np.where(measured, steps, -1), axis=1)
    earlier = np.concatenate([np.full_like(latest[:, :1], -1), latest[:, :-1]], axis=1)
    held = np.take_along_axis(values, np.maximum(earlier, 0), axis=1)
    changes = _sum_cumulatively((measured & (earlier >= 0) & (values != held)).astype(np.int32))
    coming = np.where(measured, steps, values.shape[1])
    coming = np.minimum.accumulate(coming[:, ::-1], axis=1)[:, ::-1]  # the first measured step from here on
    ends = (firsts + length)[:, None]
    behind = np.minimum(coming[:, firsts] + 1, ends)
    flat: np.ndarray = changes[:, firsts + length] == np.take_along_axis(changes, behind, axis=1)
    return flat
