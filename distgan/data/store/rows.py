"""Random access to the rows of one stored array; the checksum of a chunk is verified at its first use."""

import errno
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from distgan.data.store.format import CRC_BYTES, PLAIN, Form, Layout, compute_crc, compute_seal
from distgan.data.store.writer import AGAIN
from distgan.errors import UserError
from distgan.memory import HeapTrimmer, scale_buffer

BLOCK_BYTES = 64 << 20  # of a block of rows in memory, at most; one row may be more
FEW_ROWS = 64 if hasattr(os, "preadv") else 0  # of a shard that is not mapped: so many are read from its file


class Rows:
    """Random access to the rows of one array, and to pieces of them; every chunk is checked at first touch.

    A plain shard is mapped into memory and its rows copied from there. Once it is released, few rows of it
    are read from its file. A packed one is checked and decoded whole, and the last few of them are kept.
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
        views, numbers, begins = self._views, shards.tolist(), firsts.tolist()
        try:
            parts = [views[shard][first : first + size] for shard, first in zip(numbers, begins)]
        except KeyError:  # a shard that is not mapped yet, or no more
            if out is None:
                out = np.empty((len(indices), *shape), np.float32)
            assert out.shape == (len(indices), *shape)
            self._read_stretches(shards, begins, size, _view_bytes(out))
            return out
        if out is None:
            return np.frombuffer(bytearray().join(parts), "<f4").reshape(len(indices), *shape)
        assert out.shape == (len(indices), *shape)
        target = _view_bytes(out)
        for position, part in enumerate(parts):
            target[position * size : (position + 1) * size] = part
        return out

    def _read_stretches(self, shards: np.ndarray, begins: list[int], size: int, target: memoryview) -> None:
        """Copy stretches of checked chunks, shard by shard: few of a shard that is not mapped from its file,
        which takes a tenth of the time of a map and its pages.
        """
        numbers = shards.tolist()
        order = np.argsort(shards, kind="stable").tolist()
        for shard, group in groupby(order, numbers.__getitem__):
            positions = list(group)
            if shard not in self._views and len(positions) <= FEW_ROWS:
                self._read_few(shard, [(begins[at], target[at * size : (at + 1) * size]) for at in positions])
                continue
            view = self._view(shard)
            for at in positions:
                target[at * size : (at + 1) * size] = view[begins[at] : begins[at] + size]

    def _read_few(self, shard: int, wanted: list[tuple[int, memoryview]]) -> None:
        """Read bytes of a shard from its file: from each place as many as its target holds."""
        try:
            file = os.open(f"{self.folder}/{self.layout.name_file(shard)}", os.O_RDONLY)
        except OSError as error:
            raise self._make_damaged_error(shard, (error.strerror or "unreadable").lower()) from None
        try:
            self._refuse_size(shard, os.fstat(file).st_size)
            for first, target in wanted:
                _read_whole(file, target, first)
        except OSError as error:
            raise self._make_damaged_error(shard, (error.strerror or "unreadable").lower()) from None
        finally:
            os.close(file)

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
        self._refuse_size(shard, size)

    def _refuse_size(self, shard: int, size: int) -> None:
        wanted = self._sizes[shard] if self._sizes else self.layout.count_bytes(shard)
        if size != wanted:
            raise self._make_damaged_error(shard, f"{size} bytes instead of {wanted}")

    def _make_damaged_error(self, shard: int, what: str) -> UserError:
        return UserError(f"damaged store: shard {self._locate(shard)}: {what}; {AGAIN}")


def _view_bytes(values: np.ndarray) -> memoryview:
    """Return the bytes of a contiguous array, to be written."""
    assert values.dtype == np.float32 and values.flags.c_contiguous
    return values.reshape(-1).data.cast("B") if values.size else memoryview(bytearray())


def _read_whole(file: int, target: memoryview, first: int) -> None:
    """Fill `target` with a file's bytes from `first` on.

    Raises:
        OSError: the file ends before.
    """
    while len(target):
        count = os.preadv(file, [target], first)
        if not count:
            raise OSError(errno.EIO, "it ends too early")
        target, first = target[count:], first + count
