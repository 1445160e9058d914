"""Parsed parts of a source, kept on disk during ingest, so that memory stays bounded and a killed reading
resumes. Each part is whole or absent.
"""

import hashlib
import json
import math
import mmap
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import google_crc32c
import numpy as np

from distgan.errors import writing
from distgan.files import read_json, write_json, writing_temporary

KEY = "key.json"  # of which source and way of reading the parts are


class IngestCache:
    """A folder of parts of one source, read in one way. Parts of another source or way are thrown away."""

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        self.folder = folder
        with writing(folder):
            if folder.exists() and not self._is_ours(key):
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            for litter in folder.glob("*.tmp"):
                litter.unlink()
            if not (folder / KEY).exists():
                write_json(folder / KEY, key)

    def _is_ours(self, key: dict[str, Any]) -> bool:
        path = self.folder / KEY
        return path.exists() and read_json(path) == json.loads(json.dumps(key))

    def has_part(self, name: str) -> bool:
        """Return whether a part is there and whole: its arrays have their checksums."""
        try:
            crcs = json.loads((self.folder / f"{name}.json").read_bytes())["crcs"]
            found = {key: _compute_crc(self.folder / f"{name}.{key}.npy") for key in crcs}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return False
        return bool(found == crcs)

    def save(self, name: str, facts: dict[str, Any], **arrays: np.ndarray) -> None:
        """Keep a part: its arrays, then what is to say of it, which marks it whole."""
        for key, array in arrays.items():
            self._write_whole(f"{name}.{key}.npy", partial(_save_array, array))
        crcs = {key: _compute_crc(self.folder / f"{name}.{key}.npy") for key in arrays}
        self._write_whole(f"{name}.json", partial(_write_json, json.dumps(facts | {"crcs": crcs}).encode()))

    def _write_whole(self, name: str, write: Callable[[IO[bytes]], None]) -> None:
        temporary = self.folder / f"{name}.{uuid.uuid4().hex[:8]}.tmp"
        with writing(self.folder):
            with open(temporary, "wb") as file:
                write(file)
            os.replace(temporary, self.folder / name)

    def read_facts(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.folder / f"{name}.json")
        return found

    def map_array(self, name: str, key: str) -> np.ndarray:
        """Return an array of a part, mapped: only what is touched is read."""
        path = self.folder / f"{name}.{key}.npy"
        return np.load(path, mmap_mode="r") if path.stat().st_size > 1 << 16 else np.load(path)

    def read_texts(self, name: str, key: str) -> list[str]:
        """Return the texts that `pack_texts` made an array of."""
        found: list[str] = json.loads(self.map_array(name, key).tobytes())
        return found

    def make_matrix(self, name: str, shape: tuple[int, ...], kind: type[np.floating]) -> np.memmap:
        """Return a new array of missing values on disk, larger than memory if need be."""
        path = self.folder / f"{name}.matrix"
        rows = max(1, (16 << 20) // (8 * int(np.prod(shape[1:]))))
        block = np.full((min(rows, shape[0]), *shape[1:]), np.nan, kind)
        with writing(self.folder), open(path, "wb") as file:
            for first in range(0, shape[0], rows):
                block[: min(rows, shape[0] - first)].tofile(file)
        return np.memmap(path, kind, "r+", shape=shape)


def pack_texts(texts: list[str]) -> np.ndarray:
    """Return texts as an array to keep, uint8 [bytes]: facts are read often, and stay in memory."""
    return np.frombuffer(json.dumps(texts, ensure_ascii=False).encode(errors="surrogatepass"), np.uint8)


def _compute_crc(path: Path) -> int:
    return int(google_crc32c.value(path.read_bytes()))


def _save_array(array: np.ndarray, file: IO[bytes]) -> None:
    np.save(file, array)


def _write_json(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


@contextmanager
def open_cache_folder(folder: Path | None) -> Iterator[Path]:
    """Yield `folder`, kept if the process is killed so that the next one goes on, and removed otherwise; or a
    temporary one.
    """
    if folder is None:
        with writing_temporary(), tempfile.TemporaryDirectory(prefix="distgan-") as temporary:
            yield Path(temporary)
        return
    try:
        yield folder
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def drop_pages(matrix: np.memmap) -> None:
    """Take a mapped array's pages out of this process's memory; the system writes them when it likes."""
    if hasattr(mmap, "MADV_DONTNEED"):
        matrix._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def read_mapped_rows(matrix: np.memmap, first: int, last: int) -> np.ndarray:
    """Return rows of an array on disk, read from the file: its pages would otherwise stay in memory."""
    size = math.prod(matrix.shape[1:])
    place = first * size * matrix.dtype.itemsize
    found = np.fromfile(str(matrix.filename), matrix.dtype, (last - first) * size, offset=place)
    return found.reshape(last - first, *matrix.shape[1:])


def hash_file(path: Path, stop: threading.Event | None = None) -> str:
    """Return that of a file's bytes; of those before `stop` is set."""
    found = hashlib.sha256()
    block = memoryview(bytearray(1 << 18))
    with open(path, "rb", buffering=0) as file:
        while (size := file.readinto(block)) and not (stop is not None and stop.is_set()):
            found.update(block[:size])
    return found.hexdigest()


@contextmanager
def hashing(path: Path) -> Iterator[Future[str]]:
    """Compute a file's SHA-256 in a thread beside the block; what is not done at its end is left."""
    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
        try:
            yield pool.submit(hash_file, path, stop)
        finally:
            stop.set()
