"""A series store that several processes write together, and whose finished shards an interruption keeps.

Each process writes some shards into one staging folder. One process then joins them to a whole store. The
shards depend on the number of rows alone, so the store is the same whatever the number of processes. The
staging folder keeps them, as further names of the store's files, until `remove`: a kill at any moment before
loses none.
"""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from distgan.data.store.format import PLAIN, Form, Layout, Sealed, compute_crc
from distgan.data.store.metadata import Meta
from distgan.data.store.writer import ParallelStoreWriter, write_shard
from distgan.errors import UserError
from distgan.files import read_record, write_json

PARTS = 64  # shards to share among processes, where there are rows enough


def divide_rows(row_shape: tuple[int, int], rows: int, fewest_rows: int = 1, form: Form = PLAIN) -> Layout:
    """Return the layout in which processes share `rows` series; arguments as of `StagedShards`."""
    return Layout.fit(row_shape, form.numpy.itemsize).divide(rows, PARTS, fewest_rows)


class StagedShards:
    """Shards of a store of `rows` series in the folder `place`, absent or complete, each with a record.

    Args:
        row_shape: (L, C) of one series.
        fewest_rows: of a shard, and what the rows of a shard are a multiple of: a batch.
    """

    def __init__(
        self, place: Path, row_shape: tuple[int, int], rows: int, fewest_rows: int = 1, form: Form = PLAIN
    ) -> None:
        if rows < 1:
            raise UserError("nothing to write: a store needs at least one row")
        self.place, self.form = place, form
        self.layout = divide_rows(row_shape, rows, fewest_rows, form)

    def is_complete(self, shard: int) -> bool:
        """Return whether an earlier try has written this shard, and it is as it was written."""
        record, file = self._record(shard), self._values / self.layout.name_file(shard)
        try:
            noted = read_record(record, "seal", "size", "error", "crc")
            return (
                file.stat().st_size == noted["size"] and compute_crc(file.read_bytes()).hex() == noted["crc"]
            )
        except (UserError, FileNotFoundError):
            return False

    def write(self, shard: int, values: np.ndarray) -> None:
        """Write all rows of a shard: [n, L, C] float32, NaN = missing."""
        file = self._values / self.layout.name_file(shard)
        self._record(shard).unlink(missing_ok=True)
        file.unlink(missing_ok=True)  # of an interrupted try
        sealed = write_shard(self._values, self.layout, self.form, shard, values)
        noted = {"seal": sealed.seal, "size": sealed.size, "error": sealed.error}
        write_json(self._record(shard), noted | {"crc": compute_crc(file.read_bytes()).hex()})

    def join(self, path: Path, meta: Meta) -> None:
        """Make the store at `path` of all shards, replacing what stands there."""
        records = [self._read(shard) for shard in range(self.layout.shards)]
        with ParallelStoreWriter(path, meta, self.layout.rows, self.form, self.layout) as writer:
            for shard, sealed in enumerate(records):
                name = self.layout.name_file(shard)
                (writer.place[0] / name).parent.mkdir(parents=True, exist_ok=True)
                _share_file(self._values / name, writer.place[0] / name)
                writer.accept(shard, sealed)

    def remove(self) -> None:
        """Remove the staging folder: what the shards were for is done."""
        shutil.rmtree(self.place)

    def _read(self, shard: int) -> Sealed:
        noted: dict[str, Any] = read_record(self._record(shard), "seal", "size", "error")
        return Sealed(noted["seal"], noted["size"], noted["error"])

    @property
    def _values(self) -> Path:
        return self.place / "values"

    def _record(self, shard: int) -> Path:
        return self.place / f"shard-{shard:06d}.json"


def _share_file(file: Path, place: Path) -> None:
    """Give a file a second name; where the file system has no such names it gets another one instead."""
    try:
        os.link(file, place)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        os.rename(file, place)
