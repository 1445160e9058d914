"""Files and folders that are either whole or absent: temporary name, sync to disk, rename."""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as tensors_to_bytes

from distgan.errors import UserError, writing


def sync(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a file so that a reader sees the old content or the new, never a part; a private one is readable
    by its owner alone (mode 0600), from its first byte on.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb", opener=_for_owner if private else None) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    write_bytes(path, text.encode(), private=private)


def write_json(path: Path, content: Any, *, private: bool = False) -> None:
    """JSON with sorted keys, so that equal content gives equal bytes; NaN is refused (not JSON)."""
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_text(path, text, private=private)


def read_json(path: Path) -> Any:
    """
    Raises:
        UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable JSON ({error}); it was damaged or is another file") from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file that grows by lines; none of no file nor of lines that a kill tore."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def write_tensors(path: Path, tensors: dict[str, np.ndarray], *, private: bool = False) -> None:
    """Arrays by name, as safetensors, which takes what lies behind an array's first number: a view is copied
    before.
    """
    whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    write_bytes(path, tensors_to_bytes(whole), private=private)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """
    Raises:
        UserError: the file is missing or is not safetensors.
    """
    try:
        return tensors_from_bytes(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except SafetensorError as error:
        raise UserError(f"{path} is not readable ({error}); it was damaged or is another file") from None


def refuse_standing(place: Path) -> None:
    """
    Raises:
        UserError: something stands at `place`, where a command of the user would write.
    """
    if place.exists():
        raise UserError(
            f"{place} stands already, and nothing is written over; remove it first or choose another place"
        )


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it is synced and renamed to `path`, replacing what stood
    there.

    On any failure `path` is as it was. After a kill it is the old folder or the new one, but between two
    renames, when the old one has stepped aside: the next writer puts it back first, and removes litter.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for litter in path.parent.glob(f".{path.name}.*.tmp"):
            shutil.rmtree(litter, ignore_errors=True)
        _settle(path)
        temporary = _litter(path)
        temporary.mkdir()
        try:
            yield temporary
            for folder, _, names in os.walk(temporary):
                for name in names:
                    sync(Path(folder) / name)
                sync(Path(folder))
            if path.exists():  # no portable call exchanges two folders
                os.rename(path, _aside(path))
            os.rename(temporary, path)
            sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            _settle(path)


def _settle(path: Path) -> None:
    """A folder that stepped aside comes back where nothing took its place, and is removed where something
    did.
    """
    aside = _aside(path)
    if aside.exists() and path.exists():
        litter = aside.rename(_litter(path))  # of what is half removed nothing comes back
        shutil.rmtree(litter, ignore_errors=True)
    elif aside.exists():
        aside.rename(path)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.aside")


def _litter(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
