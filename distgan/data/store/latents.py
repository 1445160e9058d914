"""Mean and log-variance of the latent of every series."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from distgan.data.store.reader import open_arrays
from distgan.data.store.rows import Rows
from distgan.data.store.writer import FolderWriter

FEWEST_PARTS = 64  # of latents that are written part by part: for as many processes, where batches suffice
MOST_BATCHES = 1024  # in a part: what an interruption costs at most


def count_part_rows(num_series: int, batch_size: int) -> int:
    """Return how many series a part has: whole batches, the same ones whatever the number of processes."""
    batches = -(-num_series // batch_size)
    return batch_size * min(MOST_BATCHES, -(-batches // FEWEST_PARTS))


class LatentWriter(FolderWriter):
    """`with LatentWriter(path, dim) as latents: latents.append(mean, logvar)`."""

    kind = "latents"

    def __init__(self, path: Path, dim: int) -> None:
        super().__init__(path, {"mean": (dim,), "logvar": (dim,)}, {})

    def append(self, mean: np.ndarray, logvar: np.ndarray) -> None:
        """Add latents, both [n, d], in the order of the store's rows."""
        assert mean.shape == logvar.shape, f"{mean.shape} and {logvar.shape}"
        self._arrays["mean"].append(mean)
        self._arrays["logvar"].append(logvar)


class LatentStore:
    """Mean and log-variance of every series' latent."""

    def __init__(self, path: Path, mean: Rows, logvar: Rows) -> None:
        self.path, self._mean, self._logvar = path, mean, logvar
        self.num_series = len(mean)
        (self.dim,) = mean.layout.row_shape

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return the latents stored at `path`.

        Raises:
            UserError: no store of latents is there, or anything differs from its manifest.
        """
        arrays = open_arrays(Path(path), "latents")
        return cls(Path(path), arrays["mean"], arrays["logvar"])

    def read_mean(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return float32 [n, d]; all rows by default."""
        return self._mean.read(np.arange(self.num_series) if rows is None else rows)

    def read_logvar(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return float32 [n, d]; all rows by default."""
        return self._logvar.read(np.arange(self.num_series) if rows is None else rows)

    def iterate_blocks(self, size: int = 65536) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield (first row, mean, logvar), both [at most `size`, d]."""
        for (first, mean), (_, logvar) in zip(
            self._mean.iterate_blocks(size), self._logvar.iterate_blocks(size)
        ):
            yield first, mean, logvar

    def verify(self) -> None:
        """Verify every checksum; raises as `Rows.verify`."""
        self._mean.verify()
        self._logvar.verify()
