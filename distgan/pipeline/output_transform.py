"""The last step before series are exported or released: another year (`generate.start`) and missing ends
(`generate.lengths`).

The store `synthetic.zarr` keeps whole series on the days of the training series, which report and attacks
compare with. An output is a selection of its values that depends only on settings, calendar and the released
ranges.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distgan import config
from distgan.data import export
from distgan.data.another_year import AnotherYear, find_year
from distgan.data.lengths import Lengths
from distgan.data.store.metadata import Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.memory import scale_buffer
from distgan.pipeline.lengths import find_lengths
from distgan.pipeline.training_data import read_scaler
from distgan.progress import format_count
from distgan.run import Run

BLOCK_BYTES = 32 << 20  # of series in memory at a time


@dataclass(frozen=True)
class OutputTransform:
    """The year and the ranges of `count` exported series; None for the trained year, or whole series."""

    year: AnotherYear | None
    lengths: Lengths | None
    count: int
    seed: int

    @property
    def has_effect(self) -> bool:
        """True if exported series differ from those in `synthetic.zarr`."""
        return self.year is not None or self.lengths is not None

    def describe(self, meta: Meta) -> Meta:
        """Return the description of the exported series, from that of the store."""
        return meta if self.year is None else self.year.describe(meta)

    def describe_lengths(self) -> list[str]:
        """Return what a README says of the ranges: lines, none for whole series."""
        if self.lengths is None:
            return []
        ranges = self.lengths.draw(self.count, self.seed)
        partial = int((ranges != (0, self.lengths.length)).any(axis=1).sum())
        return [
            f"{partial:,} of {self.count:,} series begin late or end early, as real ones do: values outside "
            f"are missing. A range is one that {self.lengths.owners} owners or more share, rounded to "
            f"{format_count(self.lengths.step, 'step')} at the finest, and does not depend on a series' "
            "group or attributes.",
        ]

    def apply(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Transform series: [n, L, C], the `rows` [n] of all -> [n, M, C], NaN outside of the ranges."""
        values = values if self.year is None else self.year.move(values)
        if self.lengths is None:
            return values
        return self.lengths.apply(values, self.lengths.draw(self.count, self.seed)[rows])

    def write(self, source: Path, place: Path, meta: Meta | None = None) -> None:
        """Write the transformed series of the store `source` to `place`, whole or not at all.

        Args:
            meta: description of the series; by default the one that the store holds.
        """
        store = Store.open(source)
        size = max(1, scale_buffer(BLOCK_BYTES) // (4 * store.length * store.channels))
        with StoreWriter(place, self.describe(store.meta if meta is None else meta)) as writer:
            for first in range(0, store.num_series, size):
                rows = np.arange(first, min(first + size, store.num_series))
                writer.append(self.apply(store.read_rows_once(rows), rows))


def find_output_transform(settings: config.Config, run: Run) -> OutputTransform:
    """Return the transform of the run's exported series.

    Raises:
        UserError: the run's series cannot be moved to the wanted year, or have no ranges.
    """
    chosen = settings.generate
    year = find_year(read_scaler(run)[1], chosen.start, settings.data)
    return OutputTransform(year, find_lengths(chosen.lengths, run), chosen.count, chosen.seed)


def find_output_store(run: Run) -> Path:
    """Return the store of the transformed series if there is one, else that of the generated series."""
    return run.synthetic_moved if run.synthetic_moved.exists() else run.synthetic


def write_output_store(settings: config.Config, run: Run) -> Path:
    """Write the transformed series if they differ from the generated ones; return the store to export."""
    transform = find_output_transform(settings, run)
    if not transform.has_effect:
        export.remove(run.synthetic_moved)
        return run.synthetic
    transform.write(run.synthetic, run.synthetic_moved)
    return run.synthetic_moved
