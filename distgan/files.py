"""Files and folders that are either whole or absent: temporary name, sync to disk, rename. Text is UTF-8 in
any locale. Files that a command writes are readable by their owner alone, until `publish` changes their
modes.
"""

import contextlib
import glob
import json
import os
import shlex
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from distgan.errors import DiskFull, UserError, is_disk_full, reading, writing

if TYPE_CHECKING:
    import numpy as np

LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, of Linux
_user_umask: int | None = None  # while `private_files` has another


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Create files of the block with mode 0600 and folders with 0700, by whichever library."""
    global _user_umask
    before, outermost = os.umask(0o077), _user_umask is None
    if outermost:
        _user_umask = before
    try:
        yield
    finally:
        os.umask(before)
        if outermost:
            _user_umask = None


def publish(place: Path) -> None:
    """Give a file, or a folder with all that it holds, the modes that the user's umask asks for."""
    mask = _user_umask
    if mask is None:
        mask = os.umask(0o077)
        os.umask(mask)
    inside = place.rglob("*") if place.is_dir() else ()
    for path in (place, *inside):
        if not path.is_symlink():
            os.chmod(path, (0o777 if path.is_dir() else 0o666) & ~mask)


def make_private(place: Path) -> None:
    """Take other users' access to a file or folder away, if it is there and ours."""
    with contextlib.suppress(FileNotFoundError, PermissionError):  # not ours: its owner decides
        mode = stat.S_IMODE(place.stat().st_mode)
        if mode & 0o077:
            os.chmod(place, mode & 0o700)


def refuse_ending(place: Path, name: str, endings: Sequence[str]) -> None:
    """
    Raises:
        UserError: `place`, which a user gave as `name`, has none of the endings.
    """
    if place.suffix not in endings:
        like = place.parent / f"{place.stem or 'series'}{endings[0]}"
        which = endings[0] if len(endings) == 1 else f"one of {', '.join(endings)}"
        raise UserError(f"{name} {place} must end with {which}, e.g. {like}")


def refuse_full_disk(folder: Path, needed: int, what: str) -> None:
    """
    Raises:
        DiskFull: the disk of a folder, or of where it will be, has less than `needed` bytes left.
    """
    there = next((place for place in (folder, *folder.absolute().parents) if place.is_dir()), Path("/"))
    free = shutil.disk_usage(there).free
    if needed > free:
        raise DiskFull(
            f"{what} take {needed / 2**30:,.1f} GiB, and the disk of {folder} has {free / 2**30:,.1f} GiB "
            "left; lower the number, free some space, or use a folder on another disk"
        )


def quote_path(path: Path | str) -> str:
    """Return a path as a shell takes it, for a command that a user copies."""
    return shlex.quote(str(path))


def check_path(text: str, name: str) -> Path:
    """Return the path that a user gave as the setting or argument `name`.

    Raises:
        UserError: it is empty, holds NUL, or is longer than a file system takes.
    """
    if not text.strip():
        raise UserError(f"{name} is empty; give a path")
    if "\0" in text:
        raise UserError(
            f"{name} {text[:80]!a} contains a NUL character, which is not allowed in a path; "
            "choose another path"
        )
    try:
        parts = [len(os.fsencode(part)) for part in text.split("/")]
    except UnicodeEncodeError:
        raise UserError(
            f"{name} {text[:80]!a} contains characters that this file system does not allow; "
            "choose another path"
        ) from None
    if max(parts) > LONGEST_NAME or sum(parts) + len(parts) > LONGEST_PATH:
        raise UserError(
            f"{name} {text[:40]}… is too long: a path has at most {LONGEST_PATH} bytes and each name in it "
            f"{LONGEST_NAME}; choose a shorter one"
        )
    return Path(text)


def sync(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def whole_file(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write; on success the file is synced and renamed to `path`, on failure it is
    removed. A private one has mode 0600 from its first byte on.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{_shorten_name(path)}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o666))
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _shorten_name(path: Path) -> str:
    """Return as much of a name as leaves room for what a temporary name adds."""
    return os.fsdecode(os.fsencode(path.name)[: LONGEST_NAME - 20])


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a file so that a reader sees the old content or the new, never a part; a private one is readable
    by its owner alone (mode 0600), from its first byte on.
    """
    with whole_file(path, private=private) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write UTF-8 text as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"), private=private)


def append_text(path: Path, text: str) -> None:
    """Add to a file that grows by lines."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)


@contextlib.contextmanager
def open_ledger(path: Path, lines: Sequence[str]) -> Iterator[IO[str]]:
    """Yield a private file to write behind its whole `lines`, and sync it; a line cut off by a kill goes."""
    with writing(path), open(path, "a", encoding="utf-8", opener=_open_private) as file:
        file.truncate(sum(len(line.encode()) + 1 for line in lines))
        yield file
        file.flush()
        os.fsync(file.fileno())


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def split_whole_lines(text: str) -> list[str]:
    """Return the lines of a ledger; one that a kill cut off in the middle counts as not written."""
    return text[: text.rfind("\n") + 1].splitlines()


def write_json(path: Path, content: Any, *, private: bool = False) -> None:
    """Write JSON with sorted keys, so that equal content gives equal bytes; NaN is refused (not JSON)."""
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_text(path, text, private=private)


def read_bytes(path: Path, largest: int | None = None) -> bytes:
    """Read a file whole.

    Raises:
        UserError: it is missing, cannot be read, is a folder, pipe or device (which might never end), or has
            more than `largest` bytes.
    """
    with reading(path):
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = KINDS.get(stat.S_IFMT(mode), "something else")
            raise UserError(f"{path} is {kind}; a file is needed here")
        with open(path, "rb") as file:
            content = file.read() if largest is None else file.read(largest + 1)
    if largest is not None and len(content) > largest:
        raise UserError(
            f"{path} has more than {largest:,} bytes, too many for a file of this kind; check the path"
        )
    return content


KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_text(path: Path, largest: int | None = None) -> str:
    """Read a UTF-8 file whole, without a byte order mark.

    Raises:
        UserError: as `read_bytes`, or it is not UTF-8.
    """
    try:
        return read_bytes(path, largest).decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start + 1}); save it as UTF-8, or check the path"
        ) from None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        said = "too deep" if isinstance(error, RecursionError) else str(error)
        raise UserError(
            f"{path} is not valid JSON ({said}); restore it from a copy, or check the path"
        ) from None


def read_record(path: Path, *keys: str) -> dict[str, Any]:
    """Read a JSON object that holds at least `keys`.

    Raises:
        UserError: the file is missing, or is no such object.
    """
    found = read_json(path)
    if not isinstance(found, dict) or any(key not in found for key in keys):
        wanted = ", ".join(keys) or "an object"
        raise UserError(
            f"{path} is damaged, or was not written by distgan (it must hold {wanted}); restore "
            "it from a copy, or remove it and run the command that made it again"
        )
    return found


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a file that grows by lines; empty for a missing file; lines that a kill cut
    off are left out.
    """
    found = []
    for line in read_bytes(path).splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError, RecursionError):
            content = json.loads(line)
            found += [content] if isinstance(content, dict) else []
    return found


def write_tensors(path: Path, tensors: "dict[str, np.ndarray]", *, private: bool = False) -> None:
    """Write arrays by name, as safetensors, which takes what lies behind an array's first number: a view is
    copied before.
    """
    import numpy as np
    from safetensors.numpy import save as tensors_to_bytes

    whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    write_bytes(path, tensors_to_bytes(whole), private=private)


def read_tensors(path: Path) -> "dict[str, np.ndarray]":
    """Return the arrays of a safetensors file by name.

    Raises:
        UserError: the file is missing or is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as tensors_from_bytes

    content = read_bytes(path)
    try:
        return tensors_from_bytes(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is not readable ({error}); restore it from a copy, or check the path"
        ) from None


def find_temporary_folder() -> str:
    """Return the folder of temporary files: TMPDIR, or the system's where that is not set.

    Raises:
        UserError: TMPDIR cannot be written, or no folder can.
    """
    wanted = os.environ.get("TMPDIR", "")
    if wanted and not (os.path.isdir(wanted) and os.access(wanted, os.W_OK | os.X_OK)):
        raise UserError(
            f"TMPDIR {wanted} is no folder that can be written; set it to one with room for temporary files"
        )
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        raise UserError(
            "no folder of temporary files can be written; set TMPDIR to one with room for them"
        ) from None


@contextlib.contextmanager
def writing_temporary() -> Iterator[None]:
    """Turn errors in writing temporary files in the block into one-line errors that name TMPDIR.

    Raises:
        UserError: as `find_temporary_folder`.
        DiskFull: the folder has no room.
    """
    place = find_temporary_folder()
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise DiskFull(
            f"disk full while writing temporary files in {place}; set TMPDIR to a folder with more room, and "
            "run the same command again"
        ) from error


def remove_litter(folder: Path) -> None:
    """Remove temporary files of killed writers from `folder`; the caller holds its lock, so no writer is
    active.
    """
    for litter in folder.glob(".*.tmp"):
        if litter.is_dir() and not litter.is_symlink():
            shutil.rmtree(litter, ignore_errors=True)
        else:
            litter.unlink(missing_ok=True)


def remove_folders(places: Iterable[Path], keep: Path | None = None) -> None:
    """Remove the folders, all but one."""
    for place in places:
        if place != keep:
            shutil.rmtree(place)


def refuse_standing(place: Path) -> None:
    """
    Raises:
        UserError: `place` exists already.
    """
    with reading(place):
        if os.path.lexists(place):
            raise UserError(
                f"{place} exists already and is not overwritten; remove it, or choose another path"
            )
    refuse_unwritable(place)


def refuse_unwritable(place: Path) -> None:
    """
    Raises:
        UserError: nothing can be written at `place`: a file stands where its folder should, or the folder
            forbids it.
    """
    with reading(place):
        above = next(folder for folder in place.absolute().parents if os.path.lexists(folder))
        if not above.is_dir():
            raise UserError(f"cannot write {place}: {above} is a file, not a folder; choose another path")
        if not os.access(above, os.W_OK | os.X_OK):
            raise UserError(f"cannot write {place}: the folder {above} forbids it; choose another path")


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it is synced and renamed to `path`, replacing what stood
    there.

    On any failure `path` is as it was. After a kill it is the old folder or the new one, except between two
    renames, when the old one has another name: the next writer restores it and removes temporary files.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for litter in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            shutil.rmtree(litter, ignore_errors=True)
        _restore_aside(path)
        temporary = _make_litter_path(path)
        temporary.mkdir()
        try:
            yield temporary
            for folder, _, names in os.walk(temporary):
                for name in names:
                    sync(Path(folder) / name)
                sync(Path(folder))
            if path.exists():  # no portable call exchanges two folders
                os.rename(path, _make_aside_path(path))
            os.rename(temporary, path)
            sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            _restore_aside(path)


def _restore_aside(path: Path) -> None:
    """Restore a folder that was renamed if nothing replaced it, and remove it otherwise."""
    aside = _make_aside_path(path)
    if aside.exists() and path.exists():
        litter = aside.rename(_make_litter_path(path))  # of what is half removed nothing comes back
        shutil.rmtree(litter, ignore_errors=True)
    elif aside.exists():
        aside.rename(path)


def _make_aside_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.aside")


def _make_litter_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
