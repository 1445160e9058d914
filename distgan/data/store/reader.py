"""Read stores: random access to rows; the checksum of a chunk is verified at its first use."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
import zarr

from distgan.data.store.format import (
    CRC_BYTES,
    FORMAT,
    PLAIN,
    Form,
    Layout,
    compute_crc,
    compute_seal,
    digest_manifest,
)
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.writer import AGAIN
from distgan.errors import UserError, parsing
from distgan.files import read_json, read_record
from distgan.memory import HeapTrimmer, scale_buffer
from distgan.run import MANIFEST, STORE_METADATA

BLOCK_BYTES = 64 << 20  # of a block of rows in memory, at most; one row may be more
MAPPED_BYTES = 256 << 20  # of shards that stay mapped in a walk over all series


class Rows:
    """Random access to the rows of one array, and to pieces of them; every chunk is checked at first touch.

    A plain shard is mapped into memory and its rows copied from there. A packed one is checked and decoded
    whole, and the last few of them are kept.
    """

    def __init__(self, folder: Path, layout: Layout, form: Form, entry: dict[str, Any]) -> None:
        self.folder, self.layout, self.form = folder, layout, form
        self._plain = form == PLAIN
        self.kept = 4  # packed shards decoded in memory
        self._seals, self._sizes = entry["seals"], entry.get("sizes")
        self._views: dict[int, memoryview] = {}  # of mapped bytes
        self._raw: dict[int, np.ndarray] = {}  # mapped bytes [chunks, stride]
        self._rows: dict[int, np.ndarray] = {}  # values [chunks, chunk_rows, *row_shape]
        self._trusted = np.zeros(layout.chunks, dtype=bool)
        self._sealed: set[int] = set()  # shards whose index and seal were right
        for shard in range(layout.shards):
            self._check_size(shard)

    def __len__(self) -> int:
        return self.layout.rows

    def read(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the rows at `indices` [n] as float32 [n, *row_shape], in `out` if given.

        Raises:
            UserError: a shard is damaged; names it.
            IndexError: a row does not exist.
        """
        indices = self._check_rows(indices)
        if self._plain and self.layout.row_bytes >= 4096:
            return self._copy_stretches(indices, None, self.layout.row_shape, out)
        if out is None:
            out = np.empty((len(indices), *self.layout.row_shape), dtype=np.float32)
        assert out.dtype == np.float32 and out.flags.c_contiguous
        if self.layout.row_bytes >= 4096:  # copying a long row outweighs a turn of a Python loop
            for position, row in enumerate(self._view_each(indices)):
                out[position] = row
            return out
        chunks, places = np.divmod(indices, self.layout.chunk_rows)
        self._check_chunks(chunks)
        order = np.argsort(chunks, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(chunks[order])) + 1) if len(order) else []:
            shard, chunk = divmod(int(chunks[group[0]]), self.layout.shard_chunks)
            out[group] = self._read_values(shard)[chunk][places[group]]
        return out

    def read_pieces(
        self, indices: np.ndarray, starts: np.ndarray, steps: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return some steps of each row from its start on: [n], [n] -> float32 [n, steps, …], into `out`."""
        indices, shape = self._check_rows(indices), (steps, *self.layout.row_shape[1:])
        assert not len(starts) or (starts.min() >= 0 and starts.max() + steps <= self.layout.row_shape[0])
        if self._plain:
            return self._copy_stretches(indices, starts, shape, out)
        if out is None:
            out = np.empty((len(indices), *shape), dtype=np.float32)
        for position, (row, start) in enumerate(zip(self._view_each(indices), starts.tolist())):
            out[position] = row[start : start + steps]
        return out

    def _copy_stretches(
        self, indices: np.ndarray, starts: np.ndarray | None, shape: tuple[int, ...], out: np.ndarray | None
    ) -> np.ndarray:
        """Copy stretches of plain rows by bytes: twice as fast as numpy's assignment of one row at a time."""
        layout, size = self.layout, 4 * math.prod(shape)
        chunks, places = np.divmod(indices, layout.chunk_rows)
        self._check_chunks(chunks)
        shards, chunks = np.divmod(chunks, layout.shard_chunks)
        firsts = chunks * layout.stride + places * layout.row_bytes
        if starts is not None:
            firsts += starts * (layout.row_bytes // layout.row_shape[0])
        views = self._views
        numbers, begins = shards.tolist(), firsts.tolist()
        try:
            parts = [views[shard][first : first + size] for shard, first in zip(numbers, begins)]
        except KeyError:  # a shard that is not mapped yet, or no more
            parts = [self._view(shard)[first : first + size] for shard, first in zip(numbers, begins)]
        if out is None:
            return np.frombuffer(bytearray().join(parts), "<f4").reshape(len(indices), *shape)
        assert out.dtype == np.float32 and out.flags.c_contiguous and out.shape == (len(indices), *shape)
        target = out.reshape(-1).data.cast("B") if len(parts) else memoryview(b"")
        for position, part in enumerate(parts):
            target[position * size : (position + 1) * size] = part
        return out

    def _view(self, shard: int) -> memoryview:
        view = self._views.get(shard)
        if view is None:
            view = self._views[shard] = memoryview(self._map_bytes(shard).reshape(-1).data)
        return view

    def _check_rows(self, indices: np.ndarray) -> np.ndarray:
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"rows {indices.min()}..{indices.max()} of {self.folder}, which has {len(self)}")
        return indices

    def _view_each(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Yield views of single rows, in the order asked for."""
        chunks, places = np.divmod(indices, self.layout.chunk_rows)
        self._check_chunks(chunks)
        shards, chunks = np.divmod(chunks, self.layout.shard_chunks)
        for shard, chunk, place in zip(shards.tolist(), chunks.tolist(), places.tolist()):
            values = self._rows.get(shard)
            yield (self._read_values(shard) if values is None else values)[chunk, place]

    def iterate_blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        size, heap = self.limit_rows(size), HeapTrimmer()
        for first in range(0, len(self), size):
            last = min(first + size, len(self))
            yield first, self.read(np.arange(first, last))
            heap.count(4 * (last - first) * math.prod(self.layout.row_shape))
            current = self.find_shards(np.array([last - 1]))[0]
            self.release([shard for shard in self.list_held() if shard < current])

    def limit_rows(self, most: int) -> int:
        """Return how many rows, at most `most`, a block in memory may hold."""
        return max(1, min(most, scale_buffer(BLOCK_BYTES) // (4 * math.prod(self.layout.row_shape))))

    def find_shards(self, indices: np.ndarray) -> np.ndarray:
        """Return the shard of each row."""
        return np.asarray(indices) // self.layout.shard_rows

    def list_held(self) -> list[int]:
        """Return the shards that are mapped or decoded now."""
        return sorted({*self._raw, *self._rows})

    def release(self, shards: Sequence[int]) -> None:
        """Give back the memory of `shards`; they can be read again."""
        for shard in shards:
            self._views.pop(shard, None)
            self._raw.pop(shard, None)
            self._rows.pop(shard, None)

    def release_beyond(self, most: int) -> None:
        """Give back the memory of shards, the first mapped first, until at most `most` bytes are held."""
        held = [*self._raw, *(shard for shard in self._rows if shard not in self._raw)]
        kept = most // max(1, self.layout.shard_rows * self.layout.row_bytes)
        self.release(held[: max(0, len(held) - kept)])

    def expect(self, shards: Sequence[int]) -> None:
        """Have the operating system read `shards` into its cache while others are worked on."""
        if not hasattr(os, "posix_fadvise"):
            return
        for shard in shards:
            # An error is ignored here and raised by the read that follows.
            with suppress(OSError), open(self._locate(shard), "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    def _read_values(self, shard: int) -> np.ndarray:
        values = self._rows.get(shard)
        if values is None:
            values = self._map_shard(shard) if self.form.compressor == "none" else self._decode_shard(shard)
            self._rows[shard] = values
        return values

    def _map_shard(self, shard: int) -> np.ndarray:
        raw, layout = self._map_bytes(shard), self.layout
        typed = raw.reshape(-1).view(self.form.numpy)
        inner = np.empty((1, *layout.row_shape), self.form.numpy).strides[1:]
        return np.lib.stride_tricks.as_strided(
            typed,
            (len(raw), layout.chunk_rows, *layout.row_shape),
            (layout.stride, layout.row_bytes, *inner),
            writeable=False,
        )

    def _decode_shard(self, shard: int) -> np.ndarray:
        content = self._read_content(shard)
        if compute_crc(content) != bytes.fromhex(self._seals[shard]):
            raise self._make_damaged_error(shard, "it fails its checksum")
        del content
        layout = self.layout
        first, last = layout.find_span(shard)
        padded = np.empty(
            (layout.count_chunks(shard) * layout.chunk_rows, *layout.row_shape), self.form.numpy
        )
        try:
            padded[: last - first] = zarr.open_array(self.folder, mode="r")[first:last]
        except Exception as error:  # a codec's own refusals
            raise self._make_damaged_error(shard, f"it cannot be decoded ({type(error).__name__})") from None
        for oldest in list(self._rows)[: max(0, len(self._rows) + 1 - self.kept)]:
            self.release([oldest])
        return padded.reshape(-1, layout.chunk_rows, *layout.row_shape)

    def _read_content(self, shard: int) -> bytes:
        self._check_size(shard)
        try:
            return self._locate(shard).read_bytes()
        except OSError as error:
            raise self._make_damaged_error(shard, (error.strerror or "unreadable").lower()) from None

    def _map_bytes(self, shard: int) -> np.ndarray:
        """Map a shard; check its index and seal the first time. The chunks' own values are checked at first
        touch.
        """
        if shard in self._raw:
            return self._raw[shard]
        self._check_size(shard)
        layout = self.layout
        # torch maps without keeping a file descriptor, numpy keeps one a shard: 1024 shards would be the end
        path, size = str(self._locate(shard)), layout.count_bytes(shard)
        content = torch.from_file(path, shared=False, size=size, dtype=torch.uint8).numpy()
        content.flags.writeable = False
        end = layout.count_chunks(shard) * layout.stride
        chunks = content[:end].reshape(-1, layout.stride)
        if shard not in self._sealed:
            if content[end:].tobytes() != layout.make_index(shard):
                raise self._make_damaged_error(shard, "its index does not match")
            if compute_seal(chunks[:, -CRC_BYTES:].tobytes()) != self._seals[shard]:
                raise self._make_damaged_error(shard, "its checksums are not the manifest's")
            self._sealed.add(shard)
        self._raw[shard] = chunks
        return chunks

    def _check_chunks(self, chunks: np.ndarray) -> None:
        """Check the crc32c of those `chunks` that nobody has touched before."""
        if self.form.compressor != "none":  # a packed shard is checked as a whole, whenever it is decoded
            return
        trusted = self._trusted[chunks]
        if trusted.all():
            return
        fresh = chunks[~trusted]
        for chunk in np.unique(fresh).tolist():
            shard, place = divmod(chunk, self.layout.shard_chunks)
            raw = self._map_bytes(shard)[place]
            if compute_crc(raw[:-CRC_BYTES]) != raw[-CRC_BYTES:].tobytes():
                first = chunk * self.layout.chunk_rows
                last = min(first + self.layout.chunk_rows, len(self)) - 1
                raise self._make_damaged_error(shard, f"rows {first}..{last} fail their checksum")
            self._trusted[chunk] = True

    def verify(self, on_shard: Callable[[int], None] = lambda shard: None) -> None:
        """Check every chunk again, whether it was checked before or not; raises as `read`."""
        for shard in range(self.layout.shards):
            first = shard * self.layout.shard_chunks
            chunks = np.arange(first, first + self.layout.count_chunks(shard))
            held = shard in self._rows or shard in self._raw
            self.release([shard])
            self._trusted[chunks] = False
            self._check_chunks(chunks)
            self._read_values(shard)
            if not held:
                self.release([shard])
            on_shard(shard)

    def _locate(self, shard: int) -> Path:
        return self.folder / self.layout.name_file(shard)

    def _check_size(self, shard: int) -> None:
        try:
            size = os.stat(self._locate(shard)).st_size
        except OSError as error:
            raise self._make_damaged_error(shard, (error.strerror or "unreadable").lower()) from None
        wanted = self._sizes[shard] if self._sizes else self.layout.count_bytes(shard)
        if size != wanted:
            raise self._make_damaged_error(shard, f"{size} bytes instead of {wanted}")

    def _make_damaged_error(self, shard: int, what: str) -> UserError:
        return UserError(f"damaged store: shard {self._locate(shard)}: {what}; {AGAIN}")


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

    @property
    def whole_axis(self) -> Axis:
        """The times on which `find_starts` counts."""
        return self.meta.axis

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

    def find_starts(self, indices: np.ndarray) -> np.ndarray:
        """Return the step of the store's axis at which each series begins: all at the first."""
        return np.zeros(len(indices), dtype=np.int64)

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

    @property
    def whole_axis(self) -> Axis: ...

    def read_rows(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the series `indices` [n] as float32 [n, L, C], NaN where missing."""

    def find_starts(self, indices: np.ndarray) -> np.ndarray:
        """Return the step of the whole axis at which each series begins: [n]."""

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
