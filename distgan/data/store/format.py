"""The layout of the rows of an array in chunks and shards on disk."""

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec, GzipCodec, ZstdCodec

FORMAT = 1
CHUNK_ROWS = 256
SHARD_BYTES = 32 << 20  # larger reads through zarr are mapped and page-faulted afresh each time: 2.4x slower
CRC_BYTES = 4
INDEX_BYTES = 16  # offset and length of one chunk, both uint64
ABSENT = struct.pack("<QQ", 2**64 - 1, 2**64 - 1)  # an inner chunk wholly beyond the last row


def compute_crc(content: Any) -> bytes:
    """Return the crc32c as Zarr's codec writes it: 4 bytes, little-endian."""
    return struct.pack("<I", google_crc32c.value(content))


@dataclass(frozen=True)
class Form:
    """Form of values in the bytes of a chunk: half the width on request, or packed by a codec of Zarr's.

    Only the plain form is mapped into memory and read row by row; of a packed one a shard is decoded whole.
    """

    dtype: Literal["float32", "float16"] = "float32"
    compressor: Literal["none", "zstd", "gzip", "blosc"] = "none"

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(self.dtype).newbyteorder("<")

    def make_codecs(self) -> list[Any]:
        """Return the codecs of the Zarr array; a packed chunk carries its crc32c outside."""
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
    """Layout of the rows of one array in chunks and shards; all on disk but the values follows from it."""

    rows: int
    row_shape: tuple[int, ...]
    chunk_rows: int
    shard_chunks: int
    item_bytes: int = 4

    @classmethod
    def fit(cls, row_shape: tuple[int, ...], item_bytes: int = 4) -> Self:
        """Return a layout with chunks of 256 rows and shards of many chunks below 32 MiB; fewer rows where
        rows are very long.
        """
        row_bytes = item_bytes * int(np.prod(row_shape))
        chunk_rows = max(1, min(CHUNK_ROWS, SHARD_BYTES // row_bytes))
        stride = chunk_rows * row_bytes + CRC_BYTES + INDEX_BYTES
        return cls(0, row_shape, chunk_rows, max(1, (SHARD_BYTES - CRC_BYTES) // stride), item_bytes)

    def with_rows(self, rows: int) -> Self:
        """Return the layout of so many rows; a small store is not padded up to a whole chunk."""
        if rows < self.chunk_rows:
            return replace(self, rows=rows, chunk_rows=rows, shard_chunks=1)
        return replace(self, rows=rows)

    def divide(self, rows: int, parts: int, multiple: int = 1) -> Self:
        """Return the layout of so many rows in about `parts` shards, as far as shards of at most this
        layout's size and of a multiple of `multiple` rows allow.
        """
        wanted = -(-rows // parts)
        wanted += -wanted % multiple
        if wanted >= self.shard_rows:
            return self.with_rows(rows)
        if wanted < self.chunk_rows:
            return replace(self, rows=rows, chunk_rows=min(wanted, rows), shard_chunks=1)
        return replace(self, rows=rows, shard_chunks=wanted // self.chunk_rows)

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

    def count_chunks(self, shard: int) -> int:
        return min(self.shard_chunks, self.chunks - shard * self.shard_chunks)

    def find_span(self, shard: int) -> tuple[int, int]:
        """Return the first row of a shard, and the first of the next."""
        return shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.rows)

    def make_index(self, shard: int) -> bytes:
        """Return the last bytes of a plain shard, exactly."""
        present = self.count_chunks(shard)
        places = [struct.pack("<QQ", i * self.stride, self.stride) for i in range(present)]
        table = b"".join(places) + ABSENT * (self.shard_chunks - present)
        return table + compute_crc(table)

    def count_bytes(self, shard: int) -> int:
        """Return the bytes of a plain shard."""
        return self.count_chunks(shard) * self.stride + self.shard_chunks * INDEX_BYTES + CRC_BYTES

    def name_file(self, shard: int) -> str:
        """Return Zarr's name of a shard, e.g. c/0/0/0: only rows are divided."""
        return "/".join(["c", str(shard), *["0"] * len(self.row_shape)])


@dataclass(frozen=True)
class Sealed:
    """A written shard: a number that tells its content from any other's, its size, what float16 cost."""

    seal: str
    size: int
    error: float = 0.0


def compute_seal(crcs: bytes) -> str:
    """Return one number that tells a shard's content from others: the checksum of its chunks' checksums."""
    return compute_crc(crcs).hex()


def make_array(store: Any, layout: Layout, form: Form, name: str | None = None) -> zarr.Array:
    """Create the array of a layout in a store: in shards, NaN where nothing was written."""
    return zarr.create_array(
        store,
        name=name,
        shape=(layout.rows, *layout.row_shape),
        chunks=(layout.chunk_rows, *layout.row_shape),
        shards=(layout.shard_rows, *layout.row_shape),
        dtype=form.dtype,
        compressors=form.make_codecs(),
        fill_value=np.nan,
        config={"write_empty_chunks": True},
    )


def make_entry(layout: Layout, form: Form, shards: Sequence[Sealed]) -> dict[str, Any]:
    """Return what the manifest says of an array."""
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


def digest_manifest(manifest: dict[str, Any]) -> str:
    """Return a digest of the manifest itself, so that a damaged manifest is not taken for a damaged store."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
