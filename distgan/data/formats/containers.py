"""What a file is by its first bytes, and files in containers: gzip, bzip2, zstd, lz4, xz, zip, tar, Excel,
NEM12.

Containers are unpacked into the work place, a block at a time; what comes out is a file or a folder that
other readers read. Messages then name the container and the file in it.
"""

import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from distgan import config
from distgan.data.formats.nem12 import ACCEPT_SUBSTITUTED, is_nem12, write_nem12_as_text
from distgan.data.formats.other_texts import refuse_other_text
from distgan.data.formats.pieces import Source, take_first_line
from distgan.data.formats.xlsx import write_sheet_as_text
from distgan.errors import UserError, writing
from distgan.files import read_json, write_json

BLOCK = 1 << 20
BOMB_BYTES, BOMB_RATIO = 1 << 30, 1000  # no table shrinks so far; more is an attack or a mistake
MOST_MEMBERS = 100_000
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)  # not of a file
MAGIC = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"PAR1": "parquet",
    b"\x93NUMPY": "npy",
    b"\x89HDF\r\n\x1a\n": "netcdf",
    b"CDF\x01": "netcdf",
    b"CDF\x02": "netcdf",
}
REFUSED = {
    b"\xd0\xcf\x11\xe0": "an old Excel file (.xls); save it as .xlsx or CSV",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it and give the file or folder",
    b"Rar!": "a RAR archive; unpack it and give the file or folder",
    b"ARROW1": "an Arrow (Feather) file; save it as Parquet",
    b"MATLAB 5.0": "a MATLAB file; save an NPY, NPZ or CSV file",
    b"%PDF": "a PDF document; give the table itself",
    b"\x80\x04": "a Python pickle, which is not read since it can run any program; save NPZ or Parquet",
    b"\x80\x05": "a Python pickle, which is not read since it can run any program; save NPZ or Parquet",
    b"RDX": "an R data file; save it as CSV or Parquet",
    b"SQLite format 3": "an SQLite database; export the table as CSV or Parquet",
    b"CDF\x05": "a NetCDF file of 64-bit data (CDF-5); convert it with nccopy -k nc4",
    b"ORC": "an ORC file; save it as Parquet",
    b"Obj\x01": "an Avro file; save it as Parquet",
}
STREAMS = ("gzip", "bz2", "zstd", "lz4", "xz")
SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".zstd": "zstd", ".lz4": "lz4", ".xz": "xz"}
ARCHIVES = ("zip", "tar")
TEXTS = (".csv", ".txt", ".tsv", ".dat", ".asc")
KINDS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".parq": "parquet",
    ".npy": "npy",
    ".npz": "npz",
    ".nc": "netcdf",
    ".nc4": "netcdf",
    ".cdf": "netcdf",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".zip": "zip",
    ".tar": "tar",
    ".tsf": "tsf",
} | SUFFIXES


def detect_kind(path: Path) -> str:
    """Return the kind of a file: text, parquet, npy, npz, netcdf, tsf, nem12, xlsx, or a container (STREAMS,
    ARCHIVES).

    The first bytes decide, where they say anything; then the suffix.

    Raises:
        UserError: it is empty, or of a kind that is not read; says what to do.
    """
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        raise UserError(f"data.source {path} is empty")
    for mark, what in REFUSED.items():
        if head.startswith(mark):
            raise UserError(f"{path} is {what}")
    if head[257:262] == b"ustar":
        return "tar"
    suffix = path.suffix.lower()
    found = next((kind for mark, kind in MAGIC.items() if head.startswith(mark)), None)
    if found == "zip":
        return KINDS[suffix] if KINDS.get(suffix) in ("npz", "xlsx") else _detect_kind_of_zip(path)
    if found is not None:
        return found
    if is_nem12(head):
        return "nem12"
    refuse_other_text(path, head)
    if suffix in KINDS:
        return KINDS[suffix]  # whose reader will say what is wrong
    if suffix in TEXTS or _is_text(head):
        return "text"
    known = ", ".join((*TEXTS[:3], *list(KINDS)[:12], "and any of these in .gz, .zst, .bz2, .xz"))
    raise UserError(f"data.source {path}: unknown kind {suffix!r}; known are {known}")


def _is_text(head: bytes) -> bool:
    """Return whether the bytes are printable, in UTF-8 but for a cut character at the end, or in another
    encoding with letters of one byte, or marked as UTF-16; of more than one line.
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        text = head[: max(1, len(head) - 3)].decode("utf-8") if len(head) > 500 else head.decode("utf-8")
    except UnicodeDecodeError:  # letters of one byte, as latin-1: who reads the text asks for the encoding
        return b"\n" in head and all(byte >= 32 or byte in b"\r\n\t\f" for byte in head)
    return "\n" in text and all(letter.isprintable() or letter in "\r\n\t" for letter in text)


def _detect_kind_of_zip(path: Path) -> str:
    names = _list_members_of_zip(path)
    if "[Content_Types].xml" in names and any(name.startswith("xl/") for name in names):
        return "xlsx"
    if "mimetype" in names and "content.xml" in names:
        raise UserError(f"{path} is an OpenDocument file; save it as .xlsx or CSV")
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def _list_members_of_zip(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception as error:  # zipfile raises a wide family on damaged files
        raise UserError(
            f"{path} is not a readable zip archive ({take_first_line(error)}); copy or fetch it again"
        ) from None


# -------------------------------------------------------------------------------------------------- unpacking


@dataclass(frozen=True)
class Unpacked:
    """A file or folder that can be read, how to read it, and what it came from (None: it is as it was)."""

    path: Path
    settings: config.Data
    packed: Path | None = None
    stated: dict[str, Any] = field(default_factory=dict)  # units, clock and notes of the content

    def describe(self, source: Source) -> None:
        """Add to a source what its file says of units and times, and how it was read."""
        units = source.meta.units or self.stated.get("units", "")
        source.meta = replace(source.meta, units=units)
        if "clock" in self.stated:
            source.meta.provenance["clock"] = self.stated["clock"]
        source.understood.notes += [
            note for note in self.stated.get("notes", ()) if note not in source.understood.notes
        ]

    @contextmanager
    def rename_in_messages(self) -> Iterator[None]:
        """Name the container in messages, not the place where it was unpacked."""
        try:
            yield
        except UserError as error:
            if self.packed is None:
                raise
            inside = "" if self.path.is_dir() else f" ({self.path.name})"
            error.args = (str(error).replace(str(self.path), f"{self.packed}{inside}"),)
            raise error from None


def unpack(path: Path, settings: config.Data, place: Path) -> Unpacked:
    """Return the content of a file, unpacked into `place` where it is a container; in one more container,
    once more.

    Raises:
        UserError: it is damaged, encrypted, too large unpacked, or of a kind that is not read; or data.sheet
            is set and it is no workbook.
    """
    found, kinds = Unpacked(path, settings), set()
    for depth in range(3):
        if found.path.is_dir():
            return found
        with found.rename_in_messages():
            kind = detect_kind(found.path)
        if kind not in (*STREAMS, *ARCHIVES, "xlsx", "nem12"):
            if settings.sheet is not None and "xlsx" not in kinds:
                raise UserError(
                    f"data.sheet={settings.sheet} names a sheet, and {path} has none; leave it out"
                )
            return found
        kinds.add(kind)
        with found.rename_in_messages():
            target = place / "unpacked" / str(depth)
            found = _unpack_once(found, kind, target, packed=found.packed or path)
    raise UserError(f"{path} holds containers in containers, more than two deep; unpack it")


def _unpack_once(found: Unpacked, kind: str, target: Path, packed: Path) -> Unpacked:
    source, settings = found.path, found.settings
    done = target / "done.json"
    state = {"from": str(source), "size": source.stat().st_size, "time": source.stat().st_mtime_ns}
    state["sheet"] = settings.sheet or ""
    state["accept"] = list(settings.accept)
    inside, stated = target / "content", target / "stated.json"
    if kind == "xlsx":
        settings = settings.model_copy(update={"separator": "\t", "encoding": "auto"})
    if kind == "nem12":
        settings = _describe_table(source, settings)
    if not (done.exists() and read_json(done) == state):
        shutil.rmtree(target, ignore_errors=True)
        with writing(inside):
            inside.mkdir(parents=True)
            if kind == "xlsx":
                write_sheet_as_text(source, inside / f"{source.stem}.tsv", settings.sheet)
            elif kind == "nem12":
                keep = ACCEPT_SUBSTITUTED in settings.accept
                write_json(stated, write_nem12_as_text(source, inside / f"{source.stem}.tsv", keep))
            elif kind in ARCHIVES:
                _unpack_archive(source, kind, inside)
            else:
                _unpack_stream(source, kind, inside / _strip_suffix(source))
            write_json(done, state)
    said = read_json(stated) if kind == "nem12" else {}
    return Unpacked(_find_lone_file(inside), settings, packed, said)


def _describe_table(path: Path, settings: config.Data) -> config.Data:
    """Return the settings by which the table of a NEM12 file is read.

    Raises:
        UserError: a time zone is set, and the times are of another.
    """
    if settings.timezone not in (None, "Etc/GMT-10"):
        raise UserError(
            f"{path} is a NEM12 file, whose times are UTC+10 all year; leave out "
            f"data.timezone={settings.timezone}"
        )
    columns = settings.columns.model_copy(update={"id": "nmi", "channel": "register", "time": "date"})
    how = {"separator": "\t", "encoding": "auto", "decimal": ".", "thousands": "none", "header": "auto"}
    return settings.model_copy(
        update=how | {"layout": "day_wide", "columns": columns, "date_format": None, "timezone": None}
    )


def _strip_suffix(path: Path) -> str:
    """Return `homes.csv` for `homes.csv.gz`."""
    name = path.name
    if path.suffix.lower() in SUFFIXES:
        name = path.stem
    elif path.suffix.lower() == ".tgz":
        name = f"{path.stem}.tar"
    return name if "." in name else f"{name}.csv"


def _find_lone_file(folder: Path) -> Path:
    """Return the one file in a folder, however deep, or the folder."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return files[0] if len(files) == 1 else folder


def _unpack_stream(source: Path, kind: str, target: Path) -> None:
    try:
        with open(source, "rb") as packed, open(target, "wb") as file:
            stream = _describe_unpacking(packed, kind)
            copy_within(stream, file, source.stat().st_size, source)
    except (UserError, OSError) as error:
        if isinstance(error, UserError) or error.errno in OF_THE_DISK:
            raise
        raise _make_damaged_error(source, kind, error) from None
    except (EOFError, lzma.LZMAError, pa.ArrowException) as error:
        raise _make_damaged_error(source, kind, error) from None


def _describe_unpacking(packed: IO[bytes], kind: str) -> Any:
    return lzma.open(packed) if kind == "xz" else pa.CompressedInputStream(packed, kind)


def _make_damaged_error(source: Path, kind: str, error: Exception) -> UserError:
    return UserError(
        f"{source} is cut off or damaged: {kind} cannot unpack it ({take_first_line(error)}); copy or fetch "
        "it again"
    )


def copy_within(source: IO[bytes], target: IO[bytes], packed_bytes: int, path: Path) -> None:
    """Copy a block at a time.

    Raises:
        UserError: it grows beyond what a table can.
    """
    most, total = max(BOMB_BYTES, BOMB_RATIO * packed_bytes), 0
    while block := source.read(BLOCK):
        total += len(block)
        if total > most:
            raise UserError(
                f"{path} has {packed_bytes:,} bytes and unpacks to more than {most:,}; if that is meant, "
                "unpack it and give the file"
            )
        target.write(block)


# --------------------------------------------------------------------------------------------------- archives


def _unpack_archive(source: Path, kind: str, folder: Path) -> None:
    try:
        if kind == "zip":
            _unpack_zip(source, folder)
        else:
            _unpack_tar(source, folder)
    except UserError:
        raise
    except OSError as error:
        if error.errno in OF_THE_DISK:
            raise
        raise _make_damaged_error(source, kind, error) from None
    except Exception as error:  # zipfile and tarfile raise a wide family on damaged files
        raise _make_damaged_error(source, kind, error) from None


def _unpack_zip(source: Path, folder: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            if member.flag_bits & 1:
                raise UserError(f"{source}: {member.filename} is encrypted; unpack it and give the file")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise UserError(f"{source}: {member.filename} is a link; unpack it and give the file")
        _write_members(
            source,
            folder,
            [(member.filename, member.file_size, _open_zipped(archive, member)) for member in members],
        )


def _open_zipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(member)


def _unpack_tar(source: Path, folder: Path) -> None:
    with tarfile.open(source, "r:") as archive:
        members = [member for member in archive.getmembers() if not member.isdir()]
        for member in members:
            if not member.isfile():
                raise UserError(f"{source}: {member.name} is a link or a device; unpack it and give the file")
        _write_members(
            source,
            folder,
            [(member.name, member.size, _open_tarred(archive, member)) for member in members],
        )


def _open_tarred(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def open_member() -> IO[bytes]:
        found = archive.extractfile(member)
        assert found is not None  # a plain file
        return found

    return open_member


def _write_members(
    source: Path, folder: Path, members: list[tuple[str, int, Callable[[], IO[bytes]]]]
) -> None:
    """Write members below the folder.

    Raises:
        UserError: they are too many or too large, or one would land outside.
    """
    if len(members) > MOST_MEMBERS:
        raise UserError(f"{source} holds {len(members):,} files; unpack it and give the folder")
    packed, total = source.stat().st_size, sum(size for _, size, _ in members)
    if total > max(BOMB_BYTES, BOMB_RATIO * packed):
        raise UserError(
            f"{source} has {packed:,} bytes and unpacks to {total:,}; if that is meant, unpack it and give "
            "the folder"
        )
    kept = [member for member in members if "__MACOSX" not in member[0]]
    if not kept:
        raise UserError(f"{source} holds no files")
    for name, _, opened in kept:
        place = PurePosixPath(name.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
            raise UserError(f"{source}: the name {name!r} leads out of the archive; unpack it by other means")
        target = folder.joinpath(*place.parts)
        if target.exists():
            raise UserError(f"{source}: the name {name!r} stands twice; unpack it by other means")
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened() as stream, open(target, "wb") as file:
            copy_within(stream, file, packed, source)
