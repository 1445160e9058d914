"""The store: series (or latents) in a sharded Zarr v3 array that never returns damaged or missing rows.

On disk it is standard Zarr, readable by any Zarr v3 library. Zarr itself answers a deleted shard with fill
values and reads shuffled rows hundreds of times slower than a memory map, so shards are written and read here
directly: a shard is a row of inner chunks, each followed by its crc32c, then an index (offset, length of each
chunk) with its own crc32c. A manifest beside the arrays lists every shard; it is checked when the store is
opened, and each chunk when it is first touched. The only home of zarr.
"""

import csv
import hashlib
import io
import json
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import google_crc32c
import numpy as np
import torch
import zarr
from zarr.codecs import Crc32cCodec

from distgan.errors import UserError, writing
from distgan.files import read_json, whole_folder, write_json, write_text

FORMAT = 1
CHUNK_ROWS = 256
SHARD_BYTES = 32 << 20  # larger reads through zarr are mapped and page-faulted afresh each time: 2.4x slower
CRC_BYTES = 4
INDEX_BYTES = 16  # offset and length of one chunk, both uint64
ABSENT = struct.pack("<QQ", 2**64 - 1, 2**64 - 1)  # an inner chunk wholly beyond the last row
AGAIN = "restore it from a copy, or make it again"


def _crc(content: Any) -> bytes:
    return struct.pack("<I", google_crc32c.value(content))


# ------------------------------------------------------------------------------------------- layout of shards


@dataclass(frozen=True)
class Layout:
    """How the rows of one array lie in chunks and shards; all on disk but the values follows from it."""

    rows: int
    row_shape: tuple[int, ...]
    chunk_rows: int
    shard_chunks: int

    @classmethod
    def fit(cls, row_shape: tuple[int, ...]) -> Self:
        """Chunks of 256 rows and shards of many chunks below 32 MiB; fewer rows where rows are very long."""
        row_bytes = 4 * int(np.prod(row_shape))
        chunk_rows = max(1, min(CHUNK_ROWS, SHARD_BYTES // row_bytes))
        stride = chunk_rows * row_bytes + CRC_BYTES + INDEX_BYTES
        return cls(0, row_shape, chunk_rows, max(1, (SHARD_BYTES - CRC_BYTES) // stride))

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
        return 4 * int(np.prod(self.row_shape))

    @property
    def stride(self) -> int:
        """Bytes from one chunk to the next: its values and its crc32c."""
        return self.chunk_rows * self.row_bytes + CRC_BYTES

    def chunks_in(self, shard: int) -> int:
        return min(self.shard_chunks, self.chunks - shard * self.shard_chunks)

    def index(self, shard: int) -> bytes:
        """The last bytes of a shard, exactly."""
        present = self.chunks_in(shard)
        places = [struct.pack("<QQ", i * self.stride, self.stride) for i in range(present)]
        table = b"".join(places) + ABSENT * (self.shard_chunks - present)
        return table + _crc(table)

    def size(self, shard: int) -> int:
        return self.chunks_in(shard) * self.stride + self.shard_chunks * INDEX_BYTES + CRC_BYTES

    def file(self, shard: int) -> str:
        """Zarr's name of a shard, e.g. c/0/0/0: only rows are divided."""
        return "/".join(["c", str(shard), *["0"] * len(self.row_shape)])


# --------------------------------------------------------------------------------------------- writing arrays


class _ArrayWriter:
    """Writes one array chunk by chunk: memory holds one chunk, whatever the number of rows."""

    def __init__(self, folder: Path, name: str, row_shape: tuple[int, ...]) -> None:
        self._root, self._name = folder, name
        self._layout = Layout.fit(row_shape)
        self._chunk = np.empty((self._layout.chunk_rows, *row_shape), dtype="<f4")
        self._filled = 0  # rows in the chunk
        self._written = 0  # chunks on disk
        self._crcs: list[list[bytes]] = []  # of each shard's chunks
        self._files = ExitStack()
        self._shard: io.BufferedWriter | None = None

    def append(self, values: np.ndarray) -> None:
        first = 0
        while first < len(values):
            taken = min(len(values) - first, len(self._chunk) - self._filled)
            self._chunk[self._filled : self._filled + taken] = values[first : first + taken]
            self._filled += taken
            first += taken
            if self._filled == len(self._chunk):
                self._write_chunk()

    def _write_chunk(self) -> None:
        if self._written % self._layout.shard_chunks == 0:
            path = self._root / self._name / self._layout.file(len(self._crcs))
            path.parent.mkdir(parents=True)
            self._shard = self._files.enter_context(open(path, "wb"))  # noqa: SIM115
            self._crcs.append([])
        assert self._shard is not None
        content = self._chunk.tobytes()
        self._crcs[-1].append(_crc(content))
        self._shard.write(content)
        self._shard.write(self._crcs[-1][-1])
        self._written += 1
        self._filled = 0
        if self._written % self._layout.shard_chunks == 0:
            self._end_shard(self._written * self._layout.chunk_rows)

    def _end_shard(self, rows: int) -> None:
        layout = Layout(rows, self._layout.row_shape, self._layout.chunk_rows, self._layout.shard_chunks)
        assert self._shard is not None
        self._shard.write(layout.index(len(self._crcs) - 1))
        self._files.close()

    def close(self) -> dict[str, Any]:
        """End the last shard and describe the array to Zarr; returns its entry for the manifest."""
        if not self._written and not self._filled:
            raise UserError("nothing to write: a store needs at least one row")
        if not self._written:  # a small store: no padding up to a whole chunk
            self._chunk = self._chunk[: self._filled]
            self._layout = Layout(0, self._layout.row_shape, self._filled, 1)
        rows = self._written * self._layout.chunk_rows + self._filled
        if self._filled:
            self._chunk[self._filled :] = np.nan
            self._write_chunk()
        if self._written % self._layout.shard_chunks:
            self._end_shard(rows)
        layout = Layout(rows, self._layout.row_shape, self._layout.chunk_rows, self._layout.shard_chunks)
        _describe(self._root, self._name, layout)
        return {
            "rows": rows,
            "row_shape": list(layout.row_shape),
            "chunk_rows": layout.chunk_rows,
            "shard_chunks": layout.shard_chunks,
            "seals": [_seal(b"".join(crcs)) for crcs in self._crcs],
        }

    def abandon(self) -> None:
        self._files.close()


def _seal(crcs: bytes) -> str:
    """One number for a shard's content: the checksum of its chunks' checksums. It tells two shards apart."""
    return _crc(crcs).hex()


def _describe(root: Path, name: str, layout: Layout) -> None:
    zarr.create_array(
        root,
        name=name,
        shape=(layout.rows, *layout.row_shape),
        chunks=(layout.chunk_rows, *layout.row_shape),
        shards=(layout.shard_rows, *layout.row_shape),
        dtype="float32",
        compressors=[Crc32cCodec()],
        fill_value=np.nan,
        config={"write_empty_chunks": True},
    )


class _FolderWriter:
    """A Zarr group of arrays and its manifest, written as a whole folder or not at all."""

    kind: str

    def __init__(self, path: Path, arrays: dict[str, tuple[int, ...]], attributes: dict[str, Any]) -> None:
        self.path = Path(path)
        self._shapes, self._attributes = arrays, attributes
        self._arrays: dict[str, _ArrayWriter] = {}

    def __enter__(self) -> Self:
        self._whole = whole_folder(self.path)
        self._folder = self._whole.__enter__()
        self._arrays = {name: _ArrayWriter(self._folder, name, shape) for name, shape in self._shapes.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        except BaseException as mistake:
            for array in self._arrays.values():
                array.abandon()
            self._whole.__exit__(type(mistake), mistake, mistake.__traceback__)
            raise
        for array in self._arrays.values():
            array.abandon()
        self._whole.__exit__(kind, error, trace)

    def _finish(self) -> None:
        zarr.create_group(self._folder, zarr_format=3, attributes=self._attributes)
        arrays = {name: array.close() for name, array in self._arrays.items()}
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
    """Random access to the rows of one array by memory map; a chunk's crc32c is checked at first touch."""

    def __init__(self, folder: Path, layout: Layout, seals: Sequence[str]) -> None:
        self.folder, self.layout = folder, layout
        self._seals = seals
        self._shards: list[np.ndarray | None] = [None] * layout.shards  # raw bytes [chunks, stride]
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
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"rows {indices.min()}..{indices.max()} of {self.folder}, which has {len(self)}")
        if out is None:
            out = np.empty((len(indices), *self.layout.row_shape), dtype=np.float32)
        assert out.dtype == np.float32 and out.flags.c_contiguous
        chunks, places = np.divmod(indices, self.layout.chunk_rows)
        self._trust(chunks)
        if self.layout.row_bytes >= 4096:  # copying a long row outweighs a turn of a Python loop
            self._copy_rows(chunks, places, out)
            return out
        order = np.argsort(chunks, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(chunks[order])) + 1) if len(order) else []:
            out[group] = self._chunk(chunks[group[0]])[places[group]]
        return out

    def _copy_rows(self, chunks: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        target = out.reshape(len(out), -1).view(np.uint8)
        firsts = places * self.layout.row_bytes
        for position, (chunk, first) in enumerate(zip(chunks.tolist(), firsts.tolist())):
            target[position] = self._raw(chunk)[first : first + self.layout.row_bytes]

    def blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        for first in range(0, len(self), size):
            yield first, self.read(np.arange(first, min(first + size, len(self))))

    def _chunk(self, chunk: int) -> np.ndarray:
        """Values of one chunk: [chunk_rows, *row_shape], a view of the file."""
        return self._raw(chunk)[:-CRC_BYTES].view("<f4").reshape(-1, *self.layout.row_shape)

    def _raw(self, chunk: int) -> np.ndarray:
        shard, place = divmod(chunk, self.layout.shard_chunks)
        mapped = self._shards[shard]
        if mapped is None:
            mapped = self._shards[shard] = self._map(shard)
        return mapped[place]

    def _map(self, shard: int) -> np.ndarray:
        """Map a shard and check its index and seal; the chunks' own values are checked at first touch."""
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
        return chunks

    def _trust(self, chunks: np.ndarray) -> None:
        """Check the crc32c of those `chunks` that nobody has touched before."""
        for chunk in np.unique(chunks[~self._trusted[chunks]]).tolist():
            raw = self._raw(chunk)
            if _crc(raw[:-CRC_BYTES]) != raw[-CRC_BYTES:].tobytes():
                first = chunk * self.layout.chunk_rows
                last = min(first + self.layout.chunk_rows, len(self)) - 1
                raise self._damaged(
                    chunk // self.layout.shard_chunks, f"rows {first}..{last} fail their checksum"
                )
            self._trusted[chunk] = True

    def verify(self) -> None:
        """Check every chunk not checked before; raises as `read`."""
        for chunk in range(self.layout.chunks):
            self._trust(np.array([chunk]))

    def _path(self, shard: int) -> Path:
        return self.folder / self.layout.file(shard)

    def _check_size(self, shard: int) -> None:
        try:
            size = os.stat(self._path(shard)).st_size
        except OSError as error:
            raise self._damaged(shard, (error.strerror or "unreadable").lower()) from None
        if size != self.layout.size(shard):
            raise self._damaged(shard, f"{size} bytes instead of {self.layout.size(shard)}")

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
    if manifest["format"] != FORMAT:
        raise UserError(f"{path} has format {manifest['format']}; this version of distgan reads {FORMAT}")
    if manifest["kind"] != kind:
        raise UserError(f"{path} is a store of {manifest['kind']}, not of {kind}")
    for name, crc in manifest["files"].items():
        if not (path / name).is_file() or _crc((path / name).read_bytes()).hex() != crc:
            raise UserError(f"damaged store: {path / name} is missing or not what was written; {AGAIN}")
    return {
        name: Rows(
            path / name,
            Layout(entry["rows"], tuple(entry["row_shape"]), entry["chunk_rows"], entry["shard_chunks"]),
            entry["seals"],
        )
        for name, entry in manifest["arrays"].items()
    }


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

    def times(self) -> np.ndarray:
        """datetime64[s] [length]."""
        times = np.datetime64(self.start, "s") + self.step_seconds * np.arange(self.length).astype("m8[s]")
        if self.leap_days:
            return times
        for year in count(int(self.start[:4])):
            if np.datetime64(f"{year}-02-28") > times[-1]:
                return times
            if year % 4 == 0 and (year % 100 or year % 400 == 0):
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

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"channels": list(self.channels)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(
            **content | {"axis": Axis(**content["axis"]), "channels": tuple(content["channels"])},
        )


class StoreWriter(_FolderWriter):
    """`with StoreWriter(path, meta) as store: store.append(values)`. The folder appears whole, on leaving."""

    kind = "series"

    def __init__(self, path: Path, meta: Meta) -> None:
        self._row_shape = (meta.axis.length, len(meta.channels))
        super().__init__(path, {"values": self._row_shape}, {"distgan": meta.to_dict()})

    def append(self, values: np.ndarray) -> None:
        """Add series [n, L, C]; NaN = missing."""
        assert values.shape[1:] == self._row_shape, f"{values.shape[1:]} in a store of {self._row_shape}"
        self._arrays["values"].append(values)


class Store:
    """Series on disk: `Store.open(path).rows(indices)`."""

    def __init__(self, path: Path, values: Rows, meta: Meta) -> None:
        self.path, self.meta, self._values = path, meta, values
        self.num_series = len(values)
        self.length, self.channels = values.layout.row_shape

    @classmethod
    def open(cls, path: Path) -> Self:
        """
        Raises:
            UserError: no store is there, or anything differs from its manifest.
        """
        path = Path(path)
        values = _open(path, "series")["values"]
        meta = Meta.from_dict(read_json(path / "zarr.json")["attributes"]["distgan"])
        return cls(path, values, meta)

    def rows(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Series at `indices` [n] -> float32 [n, L, C], NaN = missing; into `out` if given.

        Raises:
            UserError: a shard is damaged; names it.
        """
        return self._values.read(indices, out)

    def blocks(self, size: int = 1024) -> Iterator[tuple[int, np.ndarray]]:
        """All series in order: (first row, values [at most `size`, L, C])."""
        return self._values.blocks(size)

    def part(self, rows: np.ndarray, size: int = 1024) -> "Part":
        """Some series in the order of `rows`, block by block, as often as it is iterated."""
        return Part(self, np.asarray(rows), size)

    def verify(self) -> None:
        """Check every byte of every series.

        Raises:
            UserError: a shard is damaged; names it.
        """
        self._values.verify()


@dataclass(frozen=True)
class Part:
    """Blocks [at most `size`, L, C] of some rows of a store; unlike a generator it can be walked again."""

    store: Store
    rows: np.ndarray
    size: int

    def __iter__(self) -> Iterator[np.ndarray]:
        for first in range(0, len(self.rows), self.size):
            yield self.store.rows(self.rows[first : first + self.size])


def read_foreign(path: Path) -> np.ndarray:
    """Values of a Zarr array (v2 or v3, any codec) that another tool wrote: float32 [n, L] or [n, L, C].

    Raises:
        UserError: it is no such array, or chunks are missing (Zarr would silently give fill values).
    """
    try:
        node = zarr.open(path, mode="r")
    except Exception as error:  # zarr raises a wide family here
        raise UserError(f"{path} is not a readable Zarr array ({str(error).splitlines()[0][:120]})") from None
    if not isinstance(node, zarr.Array):
        raise UserError(f"{path} is a Zarr group; name one array in it, e.g. {path}/ARRAY")
    if node.ndim not in (2, 3) or node.dtype.kind not in "fiu":
        raise UserError(
            f"{path} has shape {node.shape} of {node.dtype}; "
            "numbers [series, steps] or [series, steps, channels] are wanted"
        )
    chunks = int(np.prod([-(-size // step) for size, step in zip(node.shape, node.shards or node.chunks)]))
    found = sum(1 for file in path.rglob("*") if file.is_file() and not _is_zarr_metadata(file))
    if found < chunks:
        raise UserError(
            f"{path} has {found} of its {chunks} chunk files; Zarr would invent the rest. Write it again in "
            "full (zarr's write_empty_chunks=True keeps chunks of fill values)"
        )
    return np.asarray(node[:], dtype=np.float32)


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
COLUMNS = ["row", "entity", "owner", "split"]


@dataclass(frozen=True)
class Table:
    """Who is behind each row of a store, and on which side of the split. Never part of a release."""

    entities: np.ndarray
    owners: np.ndarray
    splits: np.ndarray

    def rows(self, split: str) -> np.ndarray:
        """Row numbers (int64) of one split, ascending."""
        assert split in SPLITS, split
        return np.flatnonzero(self.splits == split)


def private_table(store_path: Path) -> Path:
    """series.zarr -> series.private.csv, beside the store and not inside it."""
    return store_path.with_name(f"{store_path.stem}.private.csv")


def write_table(path: Path, entities: Sequence[str], owners: Sequence[str], splits: Sequence[str]) -> None:
    """Write the table of a store, readable by its owner alone (mode 0600)."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(zip(range(len(entities)), entities, owners, splits, strict=True))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = os.umask(0o077)  # from the first byte on: the temporary file too
        try:
            write_text(path, text.getvalue())
        finally:
            os.umask(mask)


def read_table(path: Path) -> Table:
    """
    Raises:
        UserError: it is missing, damaged, or a row has no known split.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; it names the entity and split of each series") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a readable table ({error}); make it again") from None
    if not lines or lines[0] != COLUMNS:
        raise UserError(f"{path} must begin with the line {','.join(COLUMNS)}")
    for row, line in enumerate(lines[1:]):
        if len(line) != len(COLUMNS) or line[0] != str(row) or line[3] not in SPLITS:
            raise UserError(
                f"{path} line {row + 2}: expected {row},ENTITY,OWNER,{'|'.join(SPLITS)}, "
                f"found {','.join(line)}"
            )
    columns = list(zip(*lines[1:])) if len(lines) > 1 else [()] * len(COLUMNS)
    return Table(*(np.array(column, dtype=str) for column in columns[1:]))
