"""Many files that are one source: parts of one table, or one file an entity.

Read are folders as Spark and Hive write them (`key=value/`, part-*.parquet, _SUCCESS), numbered blocks
(block_0.csv, block_1.csv, …), files by month, and folders of one file a home. Which it is follows from the
content; where the content leaves it open, `data.layout` or `data.columns.id` decides.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pyarrow.parquet as parquet

from distgan import config
from distgan.data import tables
from distgan.data.formats.containers import (
    ARCHIVES,
    KINDS,
    STREAMS,
    TEXTS,
    Unpacked,
    kind_of,
    unpack,
)
from distgan.data.formats.pieces import Piece, Source, first_line_of, refuse_twice
from distgan.data.work import Work
from distgan.errors import UserError, writing

HEAD_BYTES, HEAD_ROWS = 1 << 18, 2000
NOT_DATA = re.compile(
    r"[._~]|(read.?me|licen[cs]e|copying|change.?log|thumbs\.db|desktop\.ini|metadata|.*\.(md|pdf|crc|html?|docx?|"
    r"json|xml|ya?ml|png|jpe?g|py|ipynb|log|sha256|md5)$)",
    re.IGNORECASE,
)
TIME_KEYS = ("year", "month", "day", "date", "hour", "week", "quarter", "dt", "ds", "yyyymm")
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


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
    def of_folder(cls, root: Path) -> "Dataset":
        """All tables in a folder and the folders in it.

        Raises:
            UserError: there are none.
        """
        files = [file for file in root.rglob("*") if file.is_file()]
        return cls._of(root, sorted(files, key=natural), every=False)

    @classmethod
    def of_pattern(cls, pattern: Path, files: Sequence[Path]) -> "Dataset":
        """All files that a pattern of names matches."""
        fixed = [part for part in pattern.parts if not re.search(r"[*?\[]", part)]
        root = Path(*pattern.parts[: len(fixed)]) if fixed else Path(".")
        while not all(file.is_relative_to(root) for file in files):
            root = root.parent
        return cls._of(root, sorted((file for file in files if file.is_file()), key=natural), every=True)

    @classmethod
    def _of(cls, root: Path, files: list[Path], every: bool) -> "Dataset":
        members, skipped = [], []
        for file in files:
            inside = file.relative_to(root)
            if _is_table(inside, file, every):
                folders = [part.partition("=") for part in inside.parts[:-1] if "=" in part]
                keys = {unquote(key): unquote(value) for key, _, value in folders}
                members.append(Member(file, _plain(inside), keys))
            else:
                skipped.append(str(inside))
        if not members:
            raise UserError(
                f"data.source {root} is a folder without tables (CSV, Excel or Parquet files, also "
                f"packed), and no "
                f"store; it holds {', '.join(skipped[:5]) or 'nothing'}"
            )
        stems = Counter(Path(member.name).name for member in members)
        if max(stems.values()) == 1:  # folders are part of a name only where names alone are not different
            members = [replace(member, name=Path(member.name).name) for member in members]
        return cls(root, members, skipped)


def natural(path: Path) -> list[tuple[int, int | str]]:
    """A key that sorts block_2 before block_10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts if part]


def _plain(inside: Path) -> str:
    """A path in a folder without the suffixes of tables and containers."""
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
        return kind_of(file) in ("text", "parquet")
    except UserError:
        return False


# -------------------------------------------------------------------------------------------- from outside


def dataset_source(
    dataset: Dataset, settings: config.Data, place: Path, key: Callable[[Sequence[Path]], dict[str, Any]]
) -> Source:
    """The series of all files together.

    Args:
        key: what parsed parts of files depend on.

    Raises:
        UserError: a file is unreadable, files do not belong together, or how they do is not clear; names
            the file and the setting that decides.
    """
    files, empty = _unpacked(dataset, settings, place)
    settings = files[0][1].settings if files else settings
    if not files:
        raise UserError(f"data.source {dataset.root}: all its {len(dataset.members)} files are empty")
    if len(files) == 1 and not files[0][0].keys and settings.layout != "per_file":
        found = files[0][1]
        work = Work(place / "parts", key([found.path]))
        with found.named():
            reader = tables.parquet_source if kind_of(found.path) == "parquet" else tables.csv_source
            source = reader(found.path, settings, work)
    else:
        work = Work(place / "parts", key([found.path for _, found in files]))
        heads = [_head(found, settings, place) for _, found in files]
        order = _arrange(dataset.root, [member for member, _ in files], heads, settings)
        pieces = [
            piece
            for number, ((member, found), head) in enumerate(zip(files, heads))
            for piece in _pieces(number, member, found, list(heads[0].columns), order)
        ]
        source = tables._source(dataset.root, pieces, order.settings, work, per_file=order.per_file)
    source.meta.provenance["files"] = len(files)
    if dataset.skipped:
        source.meta.provenance["skipped_files"] = dataset.skipped[:20]
    if empty:
        source.meta.provenance["empty_files"] = empty[:20]
    return source


def _unpacked(
    dataset: Dataset, settings: config.Data, place: Path
) -> tuple[list[tuple[Member, Unpacked]], list[str]]:
    """The files as they can be read, and the names of those that hold nothing."""
    files, empty = [], []
    for number, member in enumerate(dataset.members):
        if member.path.stat().st_size == 0:
            empty.append(str(member.path.relative_to(dataset.root)))
            continue
        found = unpack(member.path, settings, place / "members" / f"{number:06d}")
        if found.path.is_dir():
            raise UserError(f"{member.path} holds several files, in a folder of others; unpack it")
        if found.path.stat().st_size == 0 or _has_no_rows(found.path):
            empty.append(str(member.path.relative_to(dataset.root)))
            continue
        files.append((member, found))
    return files, empty


def _has_no_rows(path: Path) -> bool:
    """A table of nothing, or of a header alone, as Spark writes for empty partitions."""
    if kind_of(path) == "parquet":
        try:
            return bool(parquet.ParquetFile(path).metadata.num_rows == 0)
        except Exception as error:  # pyarrow raises a wide family here
            raise UserError(f"{path} is not a readable Parquet file ({first_line_of(error)})") from None
    with open(path, "rb") as file:
        head = file.read(1 << 16)
    return len(head) < 1 << 16 and len([line for line in head.splitlines() if line.strip()]) < 2


# ------------------------------------------------------------------------------------------------- the pieces


def table_pieces(path: Path) -> list[Piece]:
    """The pieces of one table."""
    if kind_of(path) == "parquet":
        return list(tables._parquet_pieces(path))
    header, separator = tables._csv_header(path)
    return list(tables._csv_pieces(path, header, separator))


def _head(found: Unpacked, settings: config.Data, place: Path) -> pd.DataFrame:
    """The first rows of a file, read as all of it will be."""
    path = found.path
    if kind_of(path) == "parquet":
        return _parquet_head(path)
    with open(path, "rb") as file:
        content = file.read(HEAD_BYTES)
    if len(content) == HEAD_BYTES:
        content = content[: content.rfind(b"\n") + 1] or content
    head = place / "head" / path.name
    with writing(head):
        head.parent.mkdir(parents=True, exist_ok=True)
        head.write_bytes(content)
    with Unpacked(head, settings, found.packed or path).named():
        return table_pieces(head)[0].read()


def _parquet_head(path: Path) -> pd.DataFrame:
    try:
        batch = next(parquet.ParquetFile(path).iter_batches(HEAD_ROWS))
        frame = batch.to_pandas()
    except Exception as error:  # pyarrow raises a wide family here
        raise UserError(f"{path} is not a readable Parquet file ({first_line_of(error)})") from None
    if not isinstance(frame.index, pd.RangeIndex):
        counted = frame.index.name is None and pd.api.types.is_integer_dtype(frame.index)
        frame = frame.reset_index(drop=counted)
    frame.columns = pd.Index([str(name) for name in frame.columns])
    return frame


@dataclass(frozen=True)
class Arrangement:
    """How files go together: one an entity, or all one table with these columns from the folders' names."""

    settings: config.Data
    per_file: bool = False
    keys: tuple[str, ...] = ()


def _pieces(
    number: int, member: Member, found: Unpacked, columns: list[str], order: Arrangement
) -> list[Piece]:
    added = {key: member.keys[key] for key in order.keys}
    entity = member.name if order.per_file else None
    return [
        replace(
            piece,
            name=f"{number:06d}.{piece.name}",
            read=partial(_read, piece, found, columns, added),
            file=found.packed or piece.file,
            entity=entity,
        )
        for piece in table_pieces(found.path)
    ]


def _read(
    piece: Piece, found: Unpacked, columns: list[str], added: dict[str, str], **how: Any
) -> pd.DataFrame:
    """A piece with its columns in the order of the first file's, and what its folders say as more columns."""
    with found.named():
        frame = piece.read(**how)
    marks = dict(frame.attrs)
    if list(frame.columns) != columns:
        _refuse_other_columns(list(frame.columns), columns, found.packed or found.path)
        frame = frame[columns]
    if added:
        frame = frame.assign(**added)
    frame.attrs.update(marks)
    return frame


def _refuse_other_columns(names: list[str], columns: list[str], path: Path) -> None:
    if sorted(names) != sorted(columns):
        raise UserError(
            f"{path} has the columns {', '.join(map(str, names[:6]))}, and the first file "
            f"{', '.join(columns[:6])}; all files need the same: name those that belong together by a "
            f"pattern, "
            "e.g. data.source='FOLDER/block_*.csv'"
        )


# ------------------------------------------------------------------------------------------ how they belong


def _arrange(
    root: Path, members: list[Member], heads: list[pd.DataFrame], settings: config.Data
) -> Arrangement:
    for member, head in zip(members, heads):
        _refuse_other_columns(list(head.columns), list(heads[0].columns), member.path)
    if any(member.keys for member in members):
        return _by_keys(root, members, heads, settings)
    if settings.layout == "per_file":
        refuse_twice([member.name for member in members], f"{root}: the name of a file")
        return Arrangement(settings, per_file=True)
    if settings.layout in ("wide", "long", "day_wide") or settings.entity or settings.columns.id:
        return Arrangement(settings)
    time = tables._time_column(heads[0], members[0].path, settings)
    if _repeats(heads[0], time):
        return Arrangement(settings)
    if (column := _id_column(root, heads, time)) is not None:
        return Arrangement(settings.model_copy(update={"layout": "long", "entity": column}))
    if _overlap(heads, time):
        refuse_twice([member.name for member in members], f"{root}: the name of a file")
        return Arrangement(settings, per_file=True)
    raise UserError(
        f"{root}: its {len(members)} files have the same columns and begin at different times; set "
        f"data.layout=wide if "
        "they are parts of one table, or data.layout=per_file if each is an entity"
    )


def _repeats(frame: pd.DataFrame, time: str) -> bool:
    """Whether each time stands in several rows, as in a long table."""
    return bool(frame[time].nunique() <= len(frame) / 2)


def _id_column(root: Path, heads: list[pd.DataFrame], time: str) -> str | None:
    """The column with one value in the first rows of every file, and different ones in different files.

    Raises:
        UserError: there are several.
    """
    found = []
    for name in heads[0].columns:
        if name == time or any(head[name].isna().any() or head[name].nunique() != 1 for head in heads):
            continue
        if len({head[name].iloc[0] for head in heads}) == len(heads):
            found.append(str(name))
    if len(found) > 1:
        raise UserError(
            f"{root}: the columns {', '.join(found)} each have one value a file; name the id column with "
            "data.columns.id"
        )
    return found[0] if found else None


def _overlap(heads: list[pd.DataFrame], time: str) -> bool:
    """Whether files begin at the same time, or within the first rows of one another."""
    firsts = [head[time].iloc[0] for head in heads]
    if len(set(firsts)) < len(firsts):
        return True
    seen = [set(head[time]) for head in heads]
    return any(
        first in other for number, first in enumerate(firsts) for other in seen[:number] + seen[number + 1 :]
    )


def _by_keys(
    root: Path, members: list[Member], heads: list[pd.DataFrame], settings: config.Data
) -> Arrangement:
    """Folders named `key=value`: keys are ids, unless the files have their own, or parts of the time."""
    names = list(members[0].keys)
    for member in members:
        if list(member.keys) != names:
            raise UserError(
                f"{member.path}: its folders name {', '.join(member.keys) or 'no keys'}, those of the "
                f"first file "
                f"{', '.join(names) or 'none'}; give one of the folders"
            )
        if NO_PARTITION in member.keys.values():
            raise UserError(
                f"{member.path} has no value for a key of its folders; leave this folder out, or name it"
            )
    columns = list(heads[0].columns)
    chosen = settings.columns.id
    wanted = (
        (chosen,) if isinstance(chosen, str) else chosen or ((settings.entity,) if settings.entity else ())
    )
    keys = [key for key in names if key not in columns and (key.lower() not in TIME_KEYS or key in wanted)]
    if wanted:
        return Arrangement(
            _with_attributes(settings, [key for key in keys if key not in wanted]), keys=tuple(keys)
        )
    if not keys:
        return Arrangement(settings)
    time = tables._time_column(heads[0], members[0].path, settings)
    if _repeats(heads[0], time):  # the files have ids of their own
        return Arrangement(_with_attributes(settings, keys), keys=tuple(keys))
    if len(keys) > 1:
        raise UserError(
            f"{root}: the folders name {', '.join(keys)}; name those that identify an entity with "
            f"data.columns.id"
        )
    return Arrangement(settings.model_copy(update={"layout": "long", "entity": keys[0]}), keys=tuple(keys))


def _with_attributes(settings: config.Data, keys: list[str]) -> config.Data:
    more = tuple(key for key in keys if key not in settings.columns.attributes)
    columns = settings.columns.model_copy(update={"attributes": (*settings.columns.attributes, *more)})
    return settings.model_copy(update={"columns": columns})
