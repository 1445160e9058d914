"""The files of a folder or a pattern: tables, and what beside them is none."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from distgan.data.formats.containers import ARCHIVES, KINDS, STREAMS, TEXTS, detect_kind
from distgan.errors import UserError

NOT_DATA = re.compile(
    r"[._~]|(read.?me|licen[cs]e|copying|change.?log|thumbs\.db|desktop\.ini|metadata|.*\.(md|pdf|crc|html?|docx?|"
    r"json|xml|ya?ml|png|jpe?g|py|ipynb|log|sha1|sha256|sha512|md5|dvc|bak|old|orig|tmp|swp|part|partial|"
    r"filepart|crdownload|download)$|.*~$|#.*#$)",
    re.IGNORECASE,
)

LOGS = {"_delta_log": "Delta Lake", ".hoodie": "Hudi", ".metadata.json": "Iceberg"}  # of tables in folders


@dataclass(frozen=True)
class Member:
    """A file of a dataset: its name without suffixes, and what its folders say (`key=value/`)."""

    path: Path
    name: str
    keys: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """Files of one source, and those beside them that are not."""

    root: Path
    members: list[Member]
    skipped: list[str]

    @classmethod
    def from_folder(cls, root: Path) -> "Dataset":
        """Return all tables in a folder and the folders in it.

        Raises:
            UserError: there are none, or a log says which of them count.
        """
        files = [file for file in root.rglob("*") if file.is_file()]
        _refuse_logs(root, files)
        return cls._make(root, sorted(files, key=split_name), every=False)

    @classmethod
    def from_pattern(cls, pattern: Path, files: Sequence[Path]) -> "Dataset":
        """Return all files that a pattern of names matches."""
        fixed = [part for part in pattern.parts if not re.search(r"[*?\[]", part)]
        root = Path(*pattern.parts[: len(fixed)]) if fixed else Path(".")
        while not all(file.is_relative_to(root) for file in files):
            root = root.parent
        return cls._make(root, sorted((file for file in files if file.is_file()), key=split_name), every=True)

    @classmethod
    def _make(cls, root: Path, files: list[Path], every: bool) -> "Dataset":
        members, skipped = [], []
        for file in files:
            inside = file.relative_to(root)
            if _is_table(inside, file, every):
                folders = [part.partition("=") for part in inside.parts[:-1] if "=" in part]
                keys = {unquote(key): unquote(value) for key, _, value in folders}
                members.append(Member(file, _strip_suffixes(inside), keys))
            else:
                skipped.append(str(inside))
        if not members:
            raise UserError(
                f"data.source {root} is a folder without tables (CSV, Excel or Parquet files, also packed), "
                f"and no store; it holds {', '.join(skipped[:5]) or 'nothing'}"
            )
        stems = Counter(Path(member.name).name for member in members)
        if max(stems.values()) == 1:  # folders are part of a name only where names alone are not different
            members = [replace(member, name=Path(member.name).name) for member in members]
        return cls(root, members, skipped)


def _refuse_logs(root: Path, files: Sequence[Path]) -> None:
    """
    Raises:
        UserError: a log in the folder says which of its files count; others hold rows that were deleted.
    """
    for file in files:
        inside = file.relative_to(root)
        for log, what in LOGS.items():
            if log in inside.parts[:-1] or (inside.name.endswith(log) and "metadata" in inside.parts[:-1]):
                raise UserError(
                    f"data.source {root} is a table of {what}, whose log ({inside}) says which files count, "
                    "and others may hold rows that were deleted or replaced; write its present rows to a "
                    "Parquet file, or name the files that count by a pattern"
                )


def split_name(path: Path) -> list[tuple[int, int | str]]:
    """Return a key that sorts block_2 before block_10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts if part]


def _strip_suffixes(inside: Path) -> str:
    """Return a path in a folder without the suffixes of tables and containers."""
    name = inside.name
    for _ in range(3):
        suffix = Path(name).suffix.lower()
        if suffix and (suffix in TEXTS or suffix in KINDS):
            name = name[: -len(suffix)]
    return str(inside.with_name(name or inside.name))


def _is_table(inside: Path, file: Path, every: bool) -> bool:
    parts = inside.parts
    hidden = any(NOT_DATA.match(part) for part in parts[-1:]) or any(part[0] in "._" for part in parts[:-1])
    if hidden and not every:
        return False
    suffix = file.suffix.lower()
    if suffix in (*TEXTS, ".tgz") or KINDS.get(suffix) in ("parquet", "xlsx", *STREAMS, *ARCHIVES):
        return True
    if suffix in KINDS or file.stat().st_size == 0:
        return False
    try:
        return detect_kind(file) in ("text", "parquet", "nem12")
    except UserError:
        return False
