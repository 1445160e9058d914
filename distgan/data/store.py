"""The store: series (or latents) in a sharded Zarr v3 array that never returns damaged or missing rows.

On disk it is standard Zarr, readable by any Zarr v3 library. Zarr itself answers a deleted shard with fill
values and reads shuffled rows hundreds of times slower than a memory map, so shards are written and read here
directly: a shard is a row of inner chunks, each followed by its crc32c, then an index (offset, length of each
chunk) with its own crc32c. A manifest beside the arrays lists every shard; it is checked when the store is
opened, and each chunk when it is first touched. The only home of zarr.
"""

import csv
import fcntl
import hashlib
import io
import json
import math
import os
import struct
from calendar import isleap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import google_crc32c
import numpy as np
import torch
import zarr
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec, GzipCodec, ZstdCodec

from distgan.csvtext import format_csv, unescape_cell
from distgan.errors import UserError, parsing, writing
from distgan.files import read_json, read_record, read_text, whole_folder, write_json, write_text

FORMAT = 1
CHUNK_ROWS = 256
SHARD_BYTES = 32 << 20  # larger reads through zarr are mapped and page-faulted afresh each time: 2.4x slower
CRC_BYTES = 4
INDEX_BYTES = 16  # offset and length of one chunk, both uint64
ABSENT = struct.pack("<QQ", 2**64 - 1, 2**64 - 1)  # an inner chunk wholly beyond the last row
AGAIN = "restore it from a copy, or remove it and run again what made it"


def _crc(content: Any) -> bytes:
    return struct.pack("<I", google_crc32c.value(content))


# ------------------------------------------------------------------------------------------- layout of shards


@dataclass(frozen=True)
class Form:
    """How values lie in the bytes of a chunk: half the width on request, or packed by a codec of Zarr's.

    Only the plain form is mapped into memory and read row by row; of a packed one a shard is decoded whole.
    """

    dtype: Literal["float32", "float16"] = "float32"
    compressor: Literal["none", "zstd", "gzip", "blosc"] = "none"

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(self.dtype).newbyteorder("<")

    def codecs(self) -> list[Any]:
        """What Zarr is told; a packed chunk carries its crc32c outside."""
        packers: dict[str, list[Any]] = {
            "none": [],
            "zstd": [ZstdCodec(level=1)],
            "gzip": [GzipCodec(level=1)],
            "blosc": [
                BloscCodec(typesize=self.numpy.itemsize, cname="zstd", clevel=1, shuffle=BloscShuffle.shuffle)
            ],
        }
        return [*packers[self.compressor], Crc32cCodec()]


PLAIN = Form()


@dataclass(frozen=True)
class Layout:
    """How the rows of one array lie in chunks and shards; all on disk but the values follows from it."""

    rows: int
    row_shape: tuple[int, ...]
    chunk_rows: int
    shard_chunks: int
    item_bytes: int = 4

    @classmethod
    def fit(cls, row_shape: tuple[int, ...], item_bytes: int = 4) -> Self:
        """Chunks of 256 rows and shards of many chunks below 32 MiB; fewer rows where rows are very long."""
        row_bytes = item_bytes * int(np.prod(row_shape))
        chunk_rows = max(1, min(CHUNK_ROWS, SHARD_BYTES // row_bytes))
        stride = chunk_rows * row_bytes + CRC_BYTES + INDEX_BYTES
        return cls(0, row_shape, chunk_rows, max(1, (SHARD_BYTES - CRC_BYTES) // stride), item_bytes)

    def holding(self, rows: int) -> Self:
        """The layout of so many rows; a small store is not padded up to a whole chunk."""
        if rows < self.chunk_rows:
            return replace(self, rows=rows, chunk_rows=rows, shard_chunks=1)
        return replace(self, rows=rows)

    @property
    def shard_rows(self) -> int:
        return self.chunk_rows * self.shard_chunks

    @property
    def shards(self) -> int:
        return -(-self.rows // self.shard_rows)

    @property
    def chunks(self) -> int:
        return -(-self.rows // self.chunk_rows)

    @cached_property
    def row_bytes(self) -> int:
        return self.item_bytes * int(np.prod(self.row_shape))

    @property
    def stride(self) -> int:
        """Bytes from one chunk to the next: its values and its crc32c."""
        return self.chunk_rows * self.row_bytes + CRC_BYTES

    def chunks_in(self, shard: int) -> int:
        return min(self.shard_chunks, self.chunks - shard * self.shard_chunks)

    def span(self, shard: int) -> tuple[int, int]:
        """First row of a shard, and the first of the next."""
        return shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.rows)

    def index(self, shard: int) -> bytes:
        """The last bytes of a plain shard, exactly."""
        present = self.chunks_in(shard)
        places = [struct.pack("<QQ", i * self.stride, self.stride) for i in range(present)]
        table = b"".join(places) + ABSENT * (self.shard_chunks - present)
        return table + _crc(table)

    def size(self, shard: int) -> int:
        """Bytes of a plain shard."""
        return self.chunks_in(shard) * self.stride + self.shard_chunks * INDEX_BYTES + CRC_BYTES

    def file(self, shard: int) -> str:
        """Zarr's name of a shard, e.g. c/0/0/0: only rows are divided."""
        return "/".join(["c", str(shard), *["0"] * len(self.row_shape)])


# --------------------------------------------------------------------------------------------- writing arrays


@dataclass(frozen=True)
class Sealed:
    """A written shard: a number that tells its content from any other's, its size, what float16 cost."""

    seal: str
    size: int
    error: float = 0.0


def write_shard(folder: Path, layout: Layout, form: Form, shard: int, values: np.ndarray) -> Sealed:
    """Write all rows of one shard of the array in `folder`, in this process or any other.

    Raises:
        UserError: the shard stands already (two writers), or values do not fit float16.
    """
    first, last = layout.span(shard)
    assert values.shape == (last - first, *layout.row_shape), f"{values.shape} for rows {first}..{last}"
    padded = np.full((layout.chunks_in(shard) * layout.chunk_rows, *layout.row_shape), np.nan, form.numpy)
    with np.errstate(over="ignore"):
        padded[: len(values)] = values
    error = _lost(values, padded[: len(values)]) if form.dtype == "float16" else 0.0
    path = folder / layout.file(shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(path, "xb") as file:
            if form.compressor == "none":
                seal = _write_plain(file, layout, shard, padded)
            else:
                packed = _pack(layout, form, values)
                seal = _crc(packed).hex()
                file.write(packed)
            size = file.tell()
    except FileExistsError:
        raise UserError(f"shard {path} is written twice; a shard has one writer") from None
    return Sealed(seal, size, error)


def _write_plain(file: io.BufferedWriter, layout: Layout, shard: int, padded: np.ndarray) -> str:
    crcs = []
    for chunk in padded.reshape(-1, layout.chunk_rows, *layout.row_shape):
        content = memoryview(chunk).cast("B")
        crcs.append(_crc(chunk.tobytes()))
        file.write(content)
        file.write(crcs[-1])
    file.write(layout.index(shard))
    return _seal(b"".join(crcs))


def _pack(layout: Layout, form: Form, values: np.ndarray) -> bytes:
    """The bytes of a packed shard, by Zarr: those of a one-shard array in memory."""
    kept: dict[str, Any] = {}
    array = _create(zarr.storage.MemoryStore(kept), replace(layout, rows=len(values)), form)
    array[:] = values.astype(form.numpy)
    return bytes(kept[layout.file(0)].to_bytes())


def _lost(values: np.ndarray, stored: np.ndarray) -> float:
    """The largest error of float16, in the values' own units.

    Raises:
        UserError: a finite value becomes infinite.
    """
    measured = np.isfinite(values)
    if not np.isfinite(stored[measured]).all():
        raise UserError(
            f"values up to {np.abs(values[measured]).max():g} do not fit data.store.dtype=float16 "
            "(65504 at most); use float32"
        )
    return float(np.abs(values[measured] - stored[measured].astype(np.float32)).max(initial=0.0))


def _seal(crcs: bytes) -> str:
    """One number for a shard's content: the checksum of its chunks' checksums. It tells two shards apart."""
    return _crc(crcs).hex()


def _create(store: Any, layout: Layout, form: Form, name: str | None = None) -> zarr.Array:
    return zarr.create_array(
        store,
        name=name,
        shape=(layout.rows, *layout.row_shape),
        chunks=(layout.chunk_rows, *layout.row_shape),
        shards=(layout.shard_rows, *layout.row_shape),
        dtype=form.dtype,
        compressors=form.codecs(),
        fill_value=np.nan,
        config={"write_empty_chunks": True},
    )


def _entry(layout: Layout, form: Form, shards: Sequence[Sealed]) -> dict[str, Any]:
    """What the manifest says of an array."""
    packed = {"sizes": [shard.size for shard in shards]} if form.compressor != "none" else {}
    return {
        "rows": layout.rows,
        "row_shape": list(layout.row_shape),
        "chunk_rows": layout.chunk_rows,
        "shard_chunks": layout.shard_chunks,
        "dtype": form.dtype,
        "compressor": form.compressor,
        "seals": [shard.seal for shard in shards],
        **packed,
    }


class _ArrayWriter:
    """Writes one array shard by shard: memory holds one shard, whatever the number of rows."""

    def __init__(self, folder: Path, name: str, row_shape: tuple[int, ...], form: Form) -> None:
        self._root, self._name, self._form = folder, name, form
        self._layout = Layout.fit(row_shape, form.numpy.itemsize)
        self._values = np.empty((self._layout.shard_rows, *row_shape), dtype=np.float32)
        self._filled = 0  # rows in memory
        self.shards: list[Sealed] = []

    def append(self, values: np.ndarray) -> None:
        first = 0
        while first < len(values):
            taken = min(len(values) - first, len(self._values) - self._filled)
            self._values[self._filled : self._filled + taken] = values[first : first + taken]
            self._filled += taken
            first += taken
            if self._filled == len(self._values):
                self._write()

    def _write(self) -> None:
        rows = len(self.shards) * self._layout.shard_rows + self._filled
        self._layout = self._layout.holding(rows)
        place = self._root / self._name
        part = self._values[: self._filled]
        self.shards.append(write_shard(place, self._layout, self._form, len(self.shards), part))
        self._filled = 0

    def close(self) -> dict[str, Any]:
        """End the last shard and describe the array to Zarr; returns its entry for the manifest."""
        if self._filled:
            self._write()
        if not self.shards:
            raise UserError("nothing to write: a store needs at least one row")
        _create(self._root, self._layout, self._form, self._name)
        return _entry(self._layout, self._form, self.shards)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the right to write the store at `path`.

    Raises:
        UserError: another live process, or another writer in this one, holds it.
    """
    lock = path.with_name(f".{path.name}.lock")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "ab+")  # noqa: SIM115 (held open: it is the lock)
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = lock.exists() and os.fstat(file.fileno()).st_ino == lock.stat().st_ino
        except BlockingIOError:
            ours = False
        if not ours:
            raise UserError(f"{path} is being written by another process; wait for it to end")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


class _FolderWriter:
    """A Zarr group of arrays and its manifest, written as a whole folder or not at all, by one at a time."""

    kind: str

    def __init__(
        self,
        path: Path,
        arrays: dict[str, tuple[int, ...]],
        attributes: dict[str, Any],
        form: Form = PLAIN,
    ) -> None:
        self.path, self.form = Path(path), form
        self._shapes, self._attributes = arrays, attributes
        self._arrays: dict[str, _ArrayWriter] = {}

    def __enter__(self) -> Self:
        with ExitStack() as held:
            held.enter_context(_alone(self.path))
            self._folder = held.enter_context(whole_folder(self.path))
            self._held = held.pop_all()
        self._arrays = {
            name: _ArrayWriter(self._folder, name, shape, self.form) for name, shape in self._shapes.items()
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        except BaseException as mistake:
            self._held.__exit__(type(mistake), mistake, mistake.__traceback__)
            raise
        self._held.__exit__(kind, error, trace)

    def _entries(self) -> dict[str, Any]:
        return {name: array.close() for name, array in self._arrays.items()}

    def _finish(self) -> None:
        group = zarr.create_group(self._folder, zarr_format=3)
        arrays = self._entries()
        group.attrs.update(self._attributes)
        described = ["zarr.json", *(f"{name}/zarr.json" for name in arrays)]
        manifest = {
            "format": FORMAT,
            "kind": self.kind,
            "arrays": arrays,
            "files": {name: _crc((self._folder / name).read_bytes()).hex() for name in described},
        }
        write_json(self._folder / "manifest.json", manifest | {"digest": _digest(manifest)})


def _digest(manifest: dict[str, Any]) -> str:
    """Of the manifest itself, so that a damaged manifest is not taken for a damaged store."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


# --------------------------------------------------------------------------------------------- reading arrays


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
        for shard in range(layout.shards):
            self._check_size(shard)

    def __len__(self) -> int:
        return self.layout.rows

    def read(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Rows at `indices` [n] -> float32 [n, *row_shape], into `out` if given.

        Raises:
            UserError: a shard is damaged; names it.
            IndexError: a row does not exist.
        """
        indices = self._checked(indices)
        if self._plain and self.layout.row_bytes >= 4096:
            return self._copied(indices, None, self.layout.row_shape, out)
        if out is None:
            out = np.empty((len(indices), *self.layout.row_shape), dtype=np.float32)
        assert out.dtype == np.float32 and out.flags.c_contiguous
        if self.layout.row_bytes >= 4096:  # copying a long row outweighs a turn of a Python loop
            for position, row in enumerate(self._each(indices)):
                out[position] = row
            return out
        chunks, places = np.divmod(indices, self.layout.chunk_rows)
        self._trust(chunks)
        order = np.argsort(chunks, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(chunks[order])) + 1) if len(order) else []:
            shard, chunk = divmod(int(chunks[group[0]]), self.layout.shard_chunks)
            out[group] = self._values(shard)[chunk][places[group]]
        return out

    def pieces(
        self, indices: np.ndarray, starts: np.ndarray, steps: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Some steps of each row from its start on: [n], [n] -> float32 [n, steps, …], into `out`."""
        indices, shape = self._checked(indices), (steps, *self.layout.row_shape[1:])
        assert not len(starts) or (starts.min() >= 0 and starts.max() + steps <= self.layout.row_shape[0])
        if self._plain:
            return self._copied(indices, starts, shape, out)
        if out is None:
            out = np.empty((len(indices), *shape), dtype=np.float32)
        for position, (row, start) in enumerate(zip(self._each(indices), starts.tolist())):
            out[position] = row[start : start + steps]
        return out

    def _copied(
        self, indices: np.ndarray, starts: np.ndarray | None, shape: tuple[int, ...], out: np.ndarray | None
    ) -> np.ndarray:
        """Stretches of plain rows, byte by byte: twice as fast as numpy's assignment of one row at a time."""
        layout, size = self.layout, 4 * math.prod(shape)
        chunks, places = np.divmod(indices, layout.chunk_rows)
        self._trust(chunks)
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
            view = self._views[shard] = memoryview(self._bytes(shard).reshape(-1).data)
        return view

    def _checked(self, indices: np.ndarray) -> np.ndarray:
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"rows {indices.min()}..{indices.max()} of {self.folder}, which has {len(self)}")
        return indices

    def _each(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Views of single rows, in the order asked for."""
        chunks, places = np.divmod(indices, self.layout.chunk_rows)
        self._trust(chunks)
        shards, chunks = np.divmod(chunks, self.layout.shard_chunks)
        for shard, chunk, place in zip(shards.tolist(), chunks.tolist(), places.tolist()):
            values = self._rows.get(shard)
            yield (self._values(shard) if values is None else values)[chunk, place]

    def blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        for first in range(0, len(self), size):
            yield first, self.read(np.arange(first, min(first + size, len(self))))

    def shard_of(self, indices: np.ndarray) -> np.ndarray:
        return np.asarray(indices) // self.layout.shard_rows

    def held(self) -> list[int]:
        """Shards that are mapped or decoded now."""
        return sorted({*self._raw, *self._rows})

    def release(self, shards: Sequence[int]) -> None:
        """Give back the memory of `shards`; they can be read again."""
        for shard in shards:
            self._views.pop(shard, None)
            self._raw.pop(shard, None)
            self._rows.pop(shard, None)

    def expect(self, shards: Sequence[int]) -> None:
        """Have the operating system read `shards` into its cache while others are worked on."""
        if not hasattr(os, "posix_fadvise"):
            return
        for shard in shards:
            with (
                suppress(OSError),
                open(self._path(shard), "rb") as file,
            ):  # what is wrong shows when it is read
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    def _values(self, shard: int) -> np.ndarray:
        values = self._rows.get(shard)
        if values is None:
            values = self._mapped(shard) if self.form.compressor == "none" else self._decoded(shard)
            self._rows[shard] = values
        return values

    def _mapped(self, shard: int) -> np.ndarray:
        raw, layout = self._bytes(shard), self.layout
        typed = raw.reshape(-1).view(self.form.numpy)
        inner = np.empty((1, *layout.row_shape), self.form.numpy).strides[1:]
        return np.lib.stride_tricks.as_strided(
            typed,
            (len(raw), layout.chunk_rows, *layout.row_shape),
            (layout.stride, layout.row_bytes, *inner),
            writeable=False,
        )

    def _decoded(self, shard: int) -> np.ndarray:
        content = self._content(shard)
        if _crc(content) != bytes.fromhex(self._seals[shard]):
            raise self._damaged(shard, "it fails its checksum")
        del content
        layout = self.layout
        first, last = layout.span(shard)
        padded = np.empty((layout.chunks_in(shard) * layout.chunk_rows, *layout.row_shape), self.form.numpy)
        try:
            padded[: last - first] = zarr.open_array(self.folder, mode="r")[first:last]
        except Exception as error:  # a codec's own refusals
            raise self._damaged(shard, f"it cannot be decoded ({type(error).__name__})") from None
        for oldest in list(self._rows)[: max(0, len(self._rows) + 1 - self.kept)]:
            self.release([oldest])
        return padded.reshape(-1, layout.chunk_rows, *layout.row_shape)

    def _content(self, shard: int) -> bytes:
        self._check_size(shard)
        try:
            return self._path(shard).read_bytes()
        except OSError as error:
            raise self._damaged(shard, (error.strerror or "unreadable").lower()) from None

    def _bytes(self, shard: int) -> np.ndarray:
        """Map a shard and check its index and seal; the chunks' own values are checked at first touch."""
        if shard in self._raw:
            return self._raw[shard]
        self._check_size(shard)
        layout = self.layout
        # torch maps without keeping a file descriptor, numpy keeps one a shard: 1024 shards would be the end
        path, size = str(self._path(shard)), layout.size(shard)
        content = torch.from_file(path, shared=False, size=size, dtype=torch.uint8).numpy()
        content.flags.writeable = False
        end = layout.chunks_in(shard) * layout.stride
        if content[end:].tobytes() != layout.index(shard):
            raise self._damaged(shard, "its index does not match")
        chunks = content[:end].reshape(-1, layout.stride)
        if _seal(chunks[:, -CRC_BYTES:].tobytes()) != self._seals[shard]:
            raise self._damaged(shard, "its checksums are not the manifest's")
        self._raw[shard] = chunks
        return chunks

    def _trust(self, chunks: np.ndarray) -> None:
        """Check the crc32c of those `chunks` that nobody has touched before."""
        if self.form.compressor != "none":  # a packed shard is checked as a whole, whenever it is decoded
            return
        trusted = self._trusted[chunks]
        if trusted.all():
            return
        fresh = chunks[~trusted]
        for chunk in np.unique(fresh).tolist():
            shard, place = divmod(chunk, self.layout.shard_chunks)
            raw = self._bytes(shard)[place]
            if _crc(raw[:-CRC_BYTES]) != raw[-CRC_BYTES:].tobytes():
                first = chunk * self.layout.chunk_rows
                last = min(first + self.layout.chunk_rows, len(self)) - 1
                raise self._damaged(shard, f"rows {first}..{last} fail their checksum")
            self._trusted[chunk] = True

    def verify(self, on_shard: Callable[[int], None] = lambda shard: None) -> None:
        """Check every chunk again, whether it was checked before or not; raises as `read`."""
        for shard in range(self.layout.shards):
            first = shard * self.layout.shard_chunks
            chunks = np.arange(first, first + self.layout.chunks_in(shard))
            held = shard in self._rows or shard in self._raw
            self.release([shard])
            self._trusted[chunks] = False
            self._trust(chunks)
            self._values(shard)
            if not held:
                self.release([shard])
            on_shard(shard)

    def _path(self, shard: int) -> Path:
        return self.folder / self.layout.file(shard)

    def _check_size(self, shard: int) -> None:
        try:
            size = os.stat(self._path(shard)).st_size
        except OSError as error:
            raise self._damaged(shard, (error.strerror or "unreadable").lower()) from None
        wanted = self._sizes[shard] if self._sizes else self.layout.size(shard)
        if size != wanted:
            raise self._damaged(shard, f"{size} bytes instead of {wanted}")

    def _damaged(self, shard: int, what: str) -> UserError:
        return UserError(f"damaged store: shard {self._path(shard)}: {what}; {AGAIN}")


def _open(path: Path, kind: str) -> dict[str, Rows]:
    """Check a folder against its manifest and give its arrays."""
    if not path.is_dir():
        raise UserError(f"no store at {path}; it is not there or not a folder")
    if not (path / "manifest.json").exists():
        raise UserError(f"{path} has no manifest.json, so it is no complete distgan store; {AGAIN}")
    manifest = read_json(path / "manifest.json")
    if not isinstance(manifest, dict) or manifest.pop("digest", None) != _digest(manifest):
        raise UserError(f"damaged store: {path / 'manifest.json'} fails its own checksum; {AGAIN}")
    with parsing(path / "manifest.json", AGAIN):
        if manifest["format"] != FORMAT:
            raise UserError(f"{path} has format {manifest['format']}; this version of distgan reads {FORMAT}")
        if manifest["kind"] != kind:
            raise UserError(f"{path} is a store of {manifest['kind']}, not of {kind}")
        for name, crc in manifest["files"].items():
            if not (path / name).is_file() or _crc((path / name).read_bytes()).hex() != crc:
                raise UserError(f"damaged store: {path / name} is missing or not what was written; {AGAIN}")
        return {name: _array(path / name, entry) for name, entry in manifest["arrays"].items()}


def _rows_of(path: Path) -> int:
    """Series of a store, by its manifest."""
    place = path / "manifest.json"
    with parsing(place, AGAIN):
        return int(read_record(place, "arrays")["arrays"]["values"]["rows"])


def _array(folder: Path, entry: dict[str, Any]) -> Rows:
    form = Form(entry.get("dtype", "float32"), entry.get("compressor", "none"))
    row_shape, item_bytes = tuple(entry["row_shape"]), form.numpy.itemsize
    layout = Layout(entry["rows"], row_shape, entry["chunk_rows"], entry["shard_chunks"], item_bytes)
    return Rows(folder, layout, form, entry)


# ----------------------------------------------------------------------------------------------------- series


@dataclass(frozen=True)
class Axis:
    """Regular local times: `length` stamps from `start` (ISO 8601, no offset), `step_seconds` apart.

    Without `leap_days` the calendar has no 29 February, as in a store of years cut to 365 days.
    """

    start: str
    step_seconds: int
    length: int
    leap_days: bool = False

    @property
    def steps_per_day(self) -> float:
        return 86400 / self.step_seconds

    def times(self) -> np.ndarray:
        """datetime64[s] [length]."""
        times = np.datetime64(self.start, "s") + self.step_seconds * np.arange(self.length).astype("m8[s]")
        if self.leap_days:
            return times
        for year in count(int(self.start[:4])):
            if np.datetime64(f"{year}-02-28") > times[-1]:
                return times
            if isleap(year):
                times[times >= np.datetime64(f"{year}-02-29", "s")] += np.timedelta64(1, "D")
        raise AssertionError


@dataclass(frozen=True)
class Meta:
    """What the numbers of a store mean (times, channels, units), their source, and how steps were merged."""

    axis: Axis
    channels: tuple[str, ...]
    units: str
    provenance: dict[str, Any]
    reduction: dict[str, Any]

    @property
    def nominal(self) -> bool:
        """Whether the source told no times, so that the axis only counts."""
        return str(self.provenance.get("clock", "")).startswith("nominal")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"channels": list(self.channels)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(
            **content | {"axis": Axis(**content["axis"]), "channels": tuple(content["channels"])},
        )


class _SeriesWriter(_FolderWriter):
    """The folder appears whole, on leaving; a second writer of the same store is refused while this one
    lives.
    """

    kind = "series"

    def __init__(self, path: Path, meta: Meta, form: Form = PLAIN) -> None:
        self._row_shape = (meta.axis.length, len(meta.channels))
        self.meta = meta
        super().__init__(path, {"values": self._row_shape}, {"distgan": meta.to_dict()}, form)

    def _state_error(self, shards: Sequence[Sealed]) -> None:
        """Say in the store what float16 cost; known only once all is written."""
        if self.form.dtype == "float16":
            lost = {"dtype": "float16", "largest_error": max(shard.error for shard in shards)}
            self.meta = replace(self.meta, provenance=self.meta.provenance | {"stored_as": lost})
            self._attributes = {"distgan": self.meta.to_dict()}


class StoreWriter(_SeriesWriter):
    """`with StoreWriter(path, meta) as store: store.append(values)`."""

    def append(self, values: np.ndarray) -> None:
        """Add series [n, L, C]; NaN = missing."""
        assert values.shape[1:] == self._row_shape, f"{values.shape[1:]} in a store of {self._row_shape}"
        self._arrays["values"].append(values)

    def _entries(self) -> dict[str, Any]:
        entries = super()._entries()
        self._state_error(self._arrays["values"].shards)
        return entries


class ParallelStoreWriter(_SeriesWriter):
    """A store of a known number of rows, whose shards any number of threads or processes fill, each once.

    In this process call `fill(shard, values)`. Another process calls `write_shard(*writer.place, shard,
    values)` and hands what it returns to `accept`.
    """

    def __init__(self, path: Path, meta: Meta, rows: int, form: Form = PLAIN) -> None:
        super().__init__(path, meta, form)
        if rows < 1:
            raise UserError("nothing to write: a store needs at least one row")
        self.layout = Layout.fit(self._row_shape, form.numpy.itemsize).holding(rows)
        self._sealed: dict[int, Sealed] = {}

    @property
    def place(self) -> tuple[Path, Layout, Form]:
        return self._folder / "values", self.layout, self.form

    def fill(self, shard: int, values: np.ndarray) -> None:
        """Write the rows `layout.span(shard)`."""
        self.accept(shard, write_shard(*self.place, shard, values))

    def accept(self, shard: int, sealed: Sealed) -> None:
        self._sealed[shard] = sealed

    def _entries(self) -> dict[str, Any]:
        absent = [shard for shard in range(self.layout.shards) if shard not in self._sealed]
        assert not absent, f"shards {absent} were never written"
        shards = [self._sealed[shard] for shard in range(self.layout.shards)]
        self._state_error(shards)
        _create(self._folder, self.layout, self.form, "values")
        return {"values": _entry(self.layout, self.form, shards)}


class Store:
    """Series on disk: `Store.open(path).rows(indices)`."""

    def __init__(self, path: Path, values: Rows, meta: Meta) -> None:
        self.path, self.meta, self.values = path, meta, values
        self.num_series = len(values)
        self.length, self.channels = values.layout.row_shape

    @property
    def whole_axis(self) -> Axis:
        """The times on which `starts` counts."""
        return self.meta.axis

    @classmethod
    def open(cls, path: Path) -> Self:
        """
        Raises:
            UserError: no store is there, or anything differs from its manifest.
        """
        path = Path(path)
        values = _open(path, "series")["values"]
        with parsing(path / "zarr.json", AGAIN):
            meta = Meta.from_dict(read_json(path / "zarr.json")["attributes"]["distgan"])
        return cls(path, values, meta)

    def rows(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Series at `indices` [n] -> float32 [n, L, C], NaN = missing; into `out` if given.

        Raises:
            UserError: a shard is damaged; names it.
        """
        return self.values.read(indices, out)

    def starts(self, indices: np.ndarray) -> np.ndarray:
        """The step of the store's axis at which each series begins: all at the first."""
        return np.zeros(len(indices), dtype=np.int64)

    def shard_of(self, indices: np.ndarray) -> np.ndarray:
        """The shard in which each series lies."""
        return self.values.shard_of(indices)

    def blocks(self, size: int = 1024) -> Iterator[tuple[int, np.ndarray]]:
        """All series in order: (first row, values [at most `size`, L, C])."""
        return self.values.blocks(size)

    def part(self, rows: np.ndarray, size: int = 1024) -> "Part":
        """Some series in the order of `rows`, block by block, as often as it is iterated."""
        return Part(self, np.asarray(rows), size)

    def verify(self, on_shard: Callable[[int], None] = lambda shard: None) -> None:
        """Check every byte of every series.

        Raises:
            UserError: a shard is damaged; names it.
        """
        self.values.verify(on_shard)


class Readable(Protocol):
    """What training reads: a store, or a view of one."""

    path: Path
    meta: Meta
    length: int
    channels: int
    num_series: int
    values: Rows

    @property
    def whole_axis(self) -> Axis: ...

    def rows(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...

    def starts(self, indices: np.ndarray) -> np.ndarray: ...

    def shard_of(self, indices: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Part:
    """Blocks [at most `size`, L, C] of some rows of a store; unlike a generator it can be walked again."""

    store: Readable
    rows: np.ndarray
    size: int

    def __iter__(self) -> Iterator[np.ndarray]:
        for first in range(0, len(self.rows), self.size):
            yield self.store.rows(self.rows[first : first + self.size])


def open_foreign(path: Path) -> zarr.Array:
    """A Zarr array (v2 or v3, any codec) that another tool wrote: numbers [n, L] or [n, L, C], by slices.

    Raises:
        UserError: it is no such array, or chunks are missing (Zarr would silently give fill values).
    """
    try:
        node = zarr.open(path, mode="r")
    except Exception as error:  # zarr raises a wide family here
        said = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{path} is not a readable Zarr array ({said})") from None
    if not isinstance(node, zarr.Array):
        raise UserError(f"{path} is a Zarr group; name one array in it, e.g. {path}/ARRAY")
    if node.ndim not in (2, 3) or node.dtype.kind not in "fiu":
        raise UserError(
            f"{path} has shape {node.shape} of {node.dtype}; "
            "numbers [series, steps] or [series, steps, channels] are wanted"
        )
    steps = node.shards or node.chunks
    if min(steps) < 1:
        raise UserError(f"{path} is not a readable Zarr array (its metadata name chunks of {steps})")
    chunks = int(np.prod([-(-size // step) for size, step in zip(node.shape, steps)]))
    found = sum(
        1
        for file in path.rglob("*")
        if file.is_file() and not _is_zarr_metadata(file) and file.stat().st_size
    )
    if found < chunks:
        raise UserError(
            f"{path} has {found} of its {chunks} chunk files; Zarr would invent the rest. Write it again in "
            "full (zarr's write_empty_chunks=True keeps chunks of fill values)"
        )
    return node


def _is_zarr_metadata(file: Path) -> bool:
    return file.name == "zarr.json" or file.name.startswith(".z")


# ---------------------------------------------------------------------------------------------------- latents


class LatentWriter(_FolderWriter):
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
        """
        Raises:
            UserError: no store of latents is there, or anything differs from its manifest.
        """
        arrays = _open(Path(path), "latents")
        return cls(Path(path), arrays["mean"], arrays["logvar"])

    def mean(self, rows: np.ndarray | None = None) -> np.ndarray:
        """float32 [n, d]; all rows by default."""
        return self._mean.read(np.arange(self.num_series) if rows is None else rows)

    def logvar(self, rows: np.ndarray | None = None) -> np.ndarray:
        """float32 [n, d]; all rows by default."""
        return self._logvar.read(np.arange(self.num_series) if rows is None else rows)

    def blocks(self, size: int = 65536) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(first row, mean, logvar), both [at most `size`, d]."""
        for (first, mean), (_, logvar) in zip(self._mean.blocks(size), self._logvar.blocks(size)):
            yield first, mean, logvar

    def verify(self) -> None:
        self._mean.verify()
        self._logvar.verify()


# ---------------------------------------------------------------------------------------------- private table

SPLITS = ("train", "holdout", "reference")
COLUMNS = ["row", "entity", "owner", "split"]  # and "label", where the source tells one


@dataclass(frozen=True)
class Table:
    """Who is behind each row of a store, and on which side of the split. Never part of a release, but for
    the labels: they are a public class of each series, such as an activity.
    """

    entities: np.ndarray
    owners: np.ndarray
    splits: np.ndarray
    labels: np.ndarray | None = None

    def rows(self, split: str) -> np.ndarray:
        """Row numbers (int64) of one split, ascending."""
        assert split in SPLITS, split
        return np.flatnonzero(self.splits == split)


def private_table(store_path: Path) -> Path:
    """series.zarr -> series.private.csv, beside the store and not inside it."""
    return store_path.with_name(f"{store_path.stem}.private.csv")


def write_table(
    path: Path,
    entities: Sequence[str],
    owners: Sequence[str],
    splits: Sequence[str],
    labels: Sequence[str] | None = None,
) -> None:
    """Write the table of a store, private."""
    more = {} if labels is None else {"label": [str(label) for label in labels]}
    rows = zip(range(len(entities)), entities, owners, splits, *more.values(), strict=True)
    write_text(path, format_csv([*COLUMNS, *more], rows), private=True)


def read_table(path: Path) -> Table:
    """
    Raises:
        UserError: it is missing, damaged, or a row has no known split.
    """
    if not path.exists():
        raise UserError(f"{path} is missing; it names the entity and split of each series")
    text = read_text(path)
    if text and not text.endswith("\n"):
        raise UserError(f"{path} ends in the middle of a line; it was cut off, {AGAIN}")
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"{path} is not a readable table ({error}); {AGAIN}") from None
    columns = lines[0] if lines else []
    if columns not in (COLUMNS, [*COLUMNS, "label"]):
        raise UserError(f"{path} must begin with the line {','.join(COLUMNS)} (and ,label where told)")
    for row, line in enumerate(lines[1:]):
        if len(line) != len(columns) or line[0] != str(row) or line[3] not in SPLITS:
            raise UserError(
                f"{path} line {row + 2}: expected {row},ENTITY,OWNER,{'|'.join(SPLITS)}, "
                f"found {','.join(line)[:80]}; {AGAIN}"
            )
    store = path.with_name(f"{path.name.removesuffix('.private.csv')}.zarr")
    if (store / "manifest.json").exists() and len(lines) - 1 != (rows := _rows_of(store)):
        raise UserError(f"{path} has {len(lines) - 1} rows and {store.name} has {rows}; {AGAIN}")
    values = list(zip(*lines[1:])) if len(lines) > 1 else [()] * len(columns)
    return Table(*(np.array([unescape_cell(cell) for cell in column], dtype=str) for column in values[1:]))
