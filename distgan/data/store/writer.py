"""Write stores, complete or not at all, several shards at a time."""

import fcntl
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import zarr

from distgan.data.store.format import (
    FORMAT,
    PLAIN,
    Form,
    Layout,
    Sealed,
    compute_crc,
    compute_seal,
    digest_manifest,
    make_array,
    make_entry,
)
from distgan.data.store.metadata import Meta
from distgan.errors import UserError, writing
from distgan.files import whole_folder, write_json
from distgan.progress import format_exact
from distgan.run import MANIFEST, STORE_METADATA

AGAIN = "restore it from a copy, or remove it and run again what made it"


def write_shard(folder: Path, layout: Layout, form: Form, shard: int, values: np.ndarray) -> Sealed:
    """Write all rows of one shard of the array in `folder`, in this process or any other.

    Raises:
        UserError: the shard stands already (two writers), or values do not fit float16.
    """
    first, last = layout.find_span(shard)
    assert values.shape == (last - first, *layout.row_shape), f"{values.shape} for rows {first}..{last}"
    padded = np.full((layout.count_chunks(shard) * layout.chunk_rows, *layout.row_shape), np.nan, form.numpy)
    with np.errstate(over="ignore"):
        padded[: len(values)] = values
    error = _measure_rounding_error(values, padded[: len(values)]) if form.dtype == "float16" else 0.0
    path = folder / layout.name_file(shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(path, "xb") as file:
            if form.compressor == "none":
                seal = _write_plain(file, layout, shard, padded)
            else:
                packed = _pack(layout, form, values)
                seal = compute_crc(packed).hex()
                file.write(packed)
            size = file.tell()
    except FileExistsError:
        raise UserError(f"shard {path} is written twice; a shard has one writer") from None
    return Sealed(seal, size, error)


def _write_plain(file: io.BufferedWriter, layout: Layout, shard: int, padded: np.ndarray) -> str:
    crcs = []
    for chunk in padded.reshape(-1, layout.chunk_rows, *layout.row_shape):
        content = memoryview(chunk).cast("B")
        crcs.append(compute_crc(chunk.tobytes()))
        file.write(content)
        file.write(crcs[-1])
    file.write(layout.make_index(shard))
    return compute_seal(b"".join(crcs))


def _pack(layout: Layout, form: Form, values: np.ndarray) -> bytes:
    """Return the bytes of a packed shard, by Zarr: those of a one-shard array in memory."""
    kept: dict[str, Any] = {}
    array = make_array(zarr.storage.MemoryStore(kept), replace(layout, rows=len(values)), form)
    array[:] = values.astype(form.numpy)
    return bytes(kept[layout.name_file(0)].to_bytes())


def _measure_rounding_error(values: np.ndarray, stored: np.ndarray) -> float:
    """Return the largest error of float16, in the values' own units.

    Raises:
        UserError: a finite value becomes infinite.
    """
    measured = np.isfinite(values)
    if not np.isfinite(stored[measured]).all():
        raise UserError(
            f"values up to {format_exact(float(np.abs(values[measured]).max()))} do not fit "
            "data.store.dtype=float16 (65504 at most); use float32"
        )
    return float(np.abs(values[measured] - stored[measured].astype(np.float32)).max(initial=0.0))


class _ArrayWriter:
    """Writer of one array shard by shard: memory holds one shard, whatever the number of rows."""

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
        self._layout = self._layout.with_rows(rows)
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
        make_array(self._root, self._layout, self._form, self._name)
        return make_entry(self._layout, self._form, self.shards)


@contextmanager
def _hold_writer(path: Path) -> Iterator[None]:
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


class FolderWriter:
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
            held.enter_context(_hold_writer(self.path))
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

    def _make_entries(self) -> dict[str, Any]:
        return {name: array.close() for name, array in self._arrays.items()}

    def _finish(self) -> None:
        group = zarr.create_group(self._folder, zarr_format=3)
        arrays = self._make_entries()
        group.attrs.update(self._attributes)
        described = [STORE_METADATA, *(f"{name}/{STORE_METADATA}" for name in arrays)]
        manifest = {
            "format": FORMAT,
            "kind": self.kind,
            "arrays": arrays,
            "files": {name: compute_crc((self._folder / name).read_bytes()).hex() for name in described},
        }
        write_json(self._folder / MANIFEST, manifest | {"digest": digest_manifest(manifest)})


class _SeriesWriter(FolderWriter):
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

    def _make_entries(self) -> dict[str, Any]:
        entries = super()._make_entries()
        self._state_error(self._arrays["values"].shards)
        return entries


class ParallelStoreWriter(_SeriesWriter):
    """A store of a known number of rows, whose shards any number of threads or processes fill, each once.

    In this process call `fill(shard, values)`. Another process calls `write_shard(*writer.place, shard,
    values)` and hands what it returns to `accept`.
    """

    def __init__(
        self, path: Path, meta: Meta, rows: int, form: Form = PLAIN, layout: Layout | None = None
    ) -> None:
        super().__init__(path, meta, form)
        if rows < 1:
            raise UserError("nothing to write: a store needs at least one row")
        self.layout = layout or Layout.fit(self._row_shape, form.numpy.itemsize).with_rows(rows)
        self._sealed: dict[int, Sealed] = {}

    @property
    def place(self) -> tuple[Path, Layout, Form]:
        return self._folder / "values", self.layout, self.form

    def fill(self, shard: int, values: np.ndarray) -> None:
        """Write the rows `layout.find_span(shard)`."""
        self.accept(shard, write_shard(*self.place, shard, values))

    def accept(self, shard: int, sealed: Sealed) -> None:
        self._sealed[shard] = sealed

    def _make_entries(self) -> dict[str, Any]:
        absent = [shard for shard in range(self.layout.shards) if shard not in self._sealed]
        assert not absent, f"shards {absent} were never written"
        shards = [self._sealed[shard] for shard in range(self.layout.shards)]
        self._state_error(shards)
        make_array(self._folder, self.layout, self.form, "values")
        return {"values": make_entry(self.layout, self.form, shards)}
