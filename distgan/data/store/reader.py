"""Read stores: series in rows, and what describes them; everything is checked against the manifest."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from distgan.data.store.format import FORMAT, Form, Layout, compute_crc, digest_manifest
from distgan.data.store.metadata import Meta
from distgan.data.store.rows import Rows
from distgan.data.store.writer import AGAIN
from distgan.errors import UserError, parsing
from distgan.files import read_json, read_record
from distgan.memory import HeapTrimmer
from distgan.run import MANIFEST, STORE_METADATA

MAPPED_BYTES = 256 << 20  # of shards that stay mapped in a walk over all series


def open_arrays(path: Path, kind: str) -> dict[str, Rows]:
    """Check a folder against its manifest and give its arrays."""
    if not path.is_dir():
        raise UserError(f"no store at {path}; it is not there or not a folder")
    if not (path / MANIFEST).exists():
        raise UserError(f"{path} has no manifest.json, so it is no complete distgan store; {AGAIN}")
    manifest = read_json(path / MANIFEST)
    if not isinstance(manifest, dict) or manifest.pop("digest", None) != digest_manifest(manifest):
        raise UserError(f"damaged store: {path / MANIFEST} fails its own checksum; {AGAIN}")
    with parsing(path / MANIFEST, AGAIN):
        if manifest["format"] != FORMAT:
            raise UserError(f"{path} has format {manifest['format']}; this version of distgan reads {FORMAT}")
        if manifest["kind"] != kind:
            raise UserError(f"{path} is a store of {manifest['kind']}, not of {kind}")
        for name, crc in manifest["files"].items():
            if not (path / name).is_file() or compute_crc((path / name).read_bytes()).hex() != crc:
                raise UserError(f"damaged store: {path / name} is missing or not what was written; {AGAIN}")
        return {name: _open_array(path / name, entry) for name, entry in manifest["arrays"].items()}


def count_rows(path: Path) -> int:
    """Return the number of series of a store, by its manifest."""
    place = path / MANIFEST
    with parsing(place, AGAIN):
        return int(read_record(place, "arrays")["arrays"]["values"]["rows"])


def _open_array(folder: Path, entry: dict[str, Any]) -> Rows:
    form = Form(entry.get("dtype", "float32"), entry.get("compressor", "none"))
    row_shape, item_bytes = tuple(entry["row_shape"]), form.numpy.itemsize
    layout = Layout(entry["rows"], row_shape, entry["chunk_rows"], entry["shard_chunks"], item_bytes)
    return Rows(folder, layout, form, entry)


class Store:
    """Series on disk: `Store.open(path).read_rows(indices)`."""

    def __init__(self, path: Path, values: Rows, meta: Meta) -> None:
        self.path, self.meta, self.values = path, meta, values
        self.num_series = len(values)
        self.length, self.channels = values.layout.row_shape

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return the store at `path`, whose manifest is checked.

        Raises:
            UserError: no store is there, or anything differs from its manifest.
        """
        path = Path(path)
        values = open_arrays(path, "series")["values"]
        with parsing(path / STORE_METADATA, AGAIN):
            meta = Meta.from_dict(read_json(path / STORE_METADATA)["attributes"]["distgan"])
        return cls(path, values, meta)

    def read_rows(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the series at `indices` [n] as float32 [n, L, C], NaN = missing; in `out` if given.

        Raises:
            UserError: a shard is damaged; names it.
        """
        return self.values.read(indices, out)

    def read_rows_once(self, indices: np.ndarray) -> np.ndarray:
        """Return rows as `read_rows` does, for walks over all series: memory holds few mapped shards after
        it.

        Raises:
            UserError: a shard is damaged; names it.
        """
        found = self.values.read(indices)
        self.values.release_beyond(MAPPED_BYTES)
        return found

    def find_shards(self, indices: np.ndarray) -> np.ndarray:
        """Return the shard in which each series lies."""
        return self.values.find_shards(indices)

    def iterate_blocks(self, size: int = 1024) -> Iterator[tuple[int, np.ndarray]]:
        """Yield all series in order: (first row, values [at most `size`, L, C])."""
        return self.values.iterate_blocks(size)

    def select_part(self, rows: np.ndarray, size: int = 1024) -> "Part":
        """Return some series in the order of `rows`, block by block, as often as it is iterated."""
        return Part(self, np.asarray(rows), size)

    def verify(self, on_shard: Callable[[int], None] = lambda shard: None) -> None:
        """Check every byte of every series.

        Raises:
            UserError: a shard is damaged; names it.
        """
        self.values.verify(on_shard)


class Readable(Protocol):
    """Protocol of what training reads: a store, or a view of one."""

    path: Path
    meta: Meta
    length: int
    channels: int
    num_series: int
    values: Rows

    def read_rows(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the series `indices` [n] as float32 [n, L, C], NaN where missing."""

    def find_shards(self, indices: np.ndarray) -> np.ndarray:
        """Return the shard that holds each series: [n]."""


@dataclass(frozen=True)
class Part:
    """Blocks [at most `size`, L, C] of some rows of a store; unlike a generator it can be walked again."""

    store: Readable
    rows: np.ndarray
    size: int

    def __iter__(self) -> Iterator[np.ndarray]:
        values, heap = self.store.values, HeapTrimmer()
        size = values.limit_rows(self.size)
        for first in range(0, len(self.rows), size):
            rows = self.rows[first : first + size]
            yield self.store.read_rows(rows)
            heap.count(4 * len(rows) * math.prod(values.layout.row_shape))
            values.release(
                [shard for shard in values.list_held() if shard != self.store.find_shards(rows[-1:])[0]]
            )
