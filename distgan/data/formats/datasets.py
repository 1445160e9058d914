"""Many files that are one source: parts of one table, or one file an entity.

Read are folders as Spark and Hive write them (`key=value/`, part-*.parquet, _SUCCESS), numbered blocks
(block_0.csv, block_1.csv, …), files by month, and folders of one file a home. Which it is follows from the
content; where the content leaves it open, `data.layout` or `data.columns.id` decides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.column_names import is_flow_name
from distgan.data.formats.columns import convert_numbers, make_tuple
from distgan.data.formats.containers import Unpacked, detect_kind, unpack
from distgan.data.formats.entity_columns import refuse_files_of_channels
from distgan.data.formats.file_names import merge_dated
from distgan.data.formats.layout import find_table
from distgan.data.formats.members import Dataset, Member
from distgan.data.formats.parquet_pieces import has_no_rows
from distgan.data.formats.pieces import Piece, Source, refuse_twice
from distgan.data.formats.quantities import judge_names
from distgan.data.formats.time_columns import find_time_columns
from distgan.data.formats.time_pairs import find_end_of_intervals
from distgan.data.formats.titles import refuse_other_titles
from distgan.data.formats.unit_columns import read_units_of_names
from distgan.data.ingest_cache import IngestCache
from distgan.data.tables import Sampled, open_table, read_table
from distgan.errors import UserError

SAMPLED_FILES = 16
HANDED_OVER = 0.1  # share of the times of a file that the next one may repeat
TIME_KEYS = ("year", "month", "day", "date", "hour", "week", "quarter", "dt", "ds", "yyyymm")
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


# ----------------------------------------------------------------------------------------------- from outside


@dataclass(frozen=True)
class Part:
    """A file of a dataset, unpacked and sampled."""

    member: Member
    found: Unpacked
    table: Sampled

    @property
    def named(self) -> Path:
        return self.found.packed or self.found.path


def read_dataset(
    dataset: Dataset, settings: config.Data, place: Path, key: Callable[[Sequence[Path]], dict[str, Any]]
) -> Source:
    """Return the series of all files together.

    Args:
        key: what parsed parts of files depend on.

    Raises:
        UserError: a file is unreadable, files do not belong together, or how they do is not clear; names
            the file and the setting that decides.
    """
    files, empty = _unpack_files(dataset, settings, place)
    work = IngestCache(place / "parts", key([found.path for _, found in files]))
    parts = [_sample_file(number, member, found, work) for number, (member, found) in enumerate(files)]
    settings = parts[0].found.settings
    lone = len(parts) == 1 and not parts[0].member.keys and settings.layout != "per_file"
    order = Arrangement(settings) if lone else _arrange(dataset.root, parts, settings)
    source = read_table(_join_files(dataset.root, parts, order), order.settings, work)
    _report(source, len(parts), dataset.skipped, empty)
    units = sorted({part.found.stated["units"] for part in parts if part.found.stated})
    if len(units) > 1:
        raise UserError(
            f"{dataset.root}: its files are in different units ({', '.join(units)}); give those of one"
        )
    for part in parts:
        part.found.describe(source)
    if order.per_file and len(set(order.entities)) < len(parts):
        source.understood.notes.append(
            f"{len(parts)} files hold {len(set(order.entities))} entities: files whose names differ only by "
            "a date are one entity (data.layout=per_file reads each file as an entity)"
        )
    return source


def _report(source: Source, files: int, skipped: list[str], empty: list[str]) -> None:
    """Say with the source which files it was read from, and which were not read."""
    source.meta.provenance["files"] = files
    for name, what in (("skipped_files", skipped), ("empty_files", empty)):
        if what:
            source.meta.provenance[name] = what[:20]
            shown = ", ".join(what[:5]) + (", …" if len(what) > 5 else "")
            source.understood.notes.append(f"{len(what)} {name.replace('_', ' ')}: {shown}")


def _unpack_files(
    dataset: Dataset, settings: config.Data, place: Path
) -> tuple[list[tuple[Member, Unpacked]], list[str]]:
    """Return the files as they can be read, and the names of those that hold nothing."""
    files, empty = [], []
    for number, member in enumerate(dataset.members):
        inside = str(member.path.relative_to(dataset.root))
        if member.path.stat().st_size == 0:
            empty.append(inside)
            continue
        found = unpack(member.path, settings, place / "members" / f"{number:06d}")
        if found.path.is_dir():
            raise UserError(f"{member.path} holds several files, in a folder of others; unpack it")
        with found.rename_in_messages():
            if _has_no_rows(found.path):
                empty.append(inside)
                continue
        files.append((member, found))
    if not files:
        raise UserError(f"data.source {dataset.root}: all its {len(dataset.members)} files are empty")
    return files, empty


def _has_no_rows(path: Path) -> bool:
    """Return whether a table has nothing, or a header alone, as Spark writes for empty partitions."""
    if path.stat().st_size == 0:
        return True
    if detect_kind(path) == "parquet":
        return has_no_rows(path)
    with open(path, "rb") as file:
        start = file.read(1 << 16)
    return len(start) < 1 << 16 and len([line for line in start.splitlines() if line.strip()]) < 2


def _sample_file(number: int, member: Member, found: Unpacked, work: IngestCache) -> Part:
    kind = detect_kind(found.path)
    if kind not in ("text", "parquet"):
        raise UserError(
            f"{member.path} is {kind}, and the other files are tables; give a pattern, e.g. FOLDER/*.csv"
        )
    with found.rename_in_messages():
        return Part(
            member, found, open_table(found.path, kind, found.settings, work.folder / f"text{number:06d}")
        )


# ------------------------------------------------------------------------------------------------- the pieces


@dataclass(frozen=True)
class Arrangement:
    """Rule by which files go together: one an entity (named for each file), or all one table with these
    columns from the folders' names.
    """

    settings: config.Data
    entities: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def per_file(self) -> bool:
        return bool(self.entities)


def _join_files(root: Path, parts: list[Part], order: Arrangement) -> Sampled:
    """Return all files as one table."""
    refuse_other_titles([(part.named, part.table.dialect.stated) for part in parts if part.table.dialect])
    columns = list(parts[0].table.sample.columns)
    pieces = [
        _make_piece(piece, number, part, columns, order)
        for number, part in enumerate(parts)
        for piece in part.table.pieces
    ]
    sample = partial(_sample, parts, columns, order)
    return Sampled(root, pieces, sample(None), parts[0].table.dialect, order.per_file, sample)


def _sample(parts: list[Part], columns: list[str], order: Arrangement, decimal: str | None) -> pd.DataFrame:
    """Return rows of files all over the dataset; of the first alone where each file is an entity."""
    count = 1 if order.per_file else min(SAMPLED_FILES, len(parts))
    chosen = [parts[place] for place in np.linspace(0, len(parts) - 1, count).round().astype(int)]
    frames = []
    for part in chosen:
        again = part.table.again
        frame = part.table.sample if decimal is None or again is None else again(decimal)
        added = {key: part.member.keys[key] for key in order.keys}
        frames.append(frame[columns].assign(**added))
    return pd.concat(frames, ignore_index=True)


def _make_piece(piece: Piece, number: int, part: Part, columns: list[str], order: Arrangement) -> Piece:
    added = {key: part.member.keys[key] for key in order.keys}
    as_written = piece.as_written
    return replace(
        piece,
        name=f"{number:06d}.{piece.name}",
        read=partial(_read_columns, piece.read, part.found, columns, added),
        file=part.named,
        entity=order.entities[number] if order.per_file else None,
        as_written=None if as_written is None else partial(_read_as_written, as_written, added),
    )


def _read_columns(
    read: Callable[..., pd.DataFrame],
    found: Unpacked,
    columns: list[str],
    added: dict[str, str],
    text: Any = (),
    decimal: str = ".",
) -> pd.DataFrame:
    """Return a piece, its columns ordered as in the first file, with what its folders say as more columns."""
    with found.rename_in_messages():
        frame = read(text=tuple(name for name in text if name not in added), decimal=decimal)
    marks = dict(frame.attrs)
    frame = frame[columns].assign(**added) if added or list(frame.columns) != columns else frame
    frame.attrs.update(marks)
    return frame


def _read_as_written(
    read: Callable[[tuple[str, ...], int | None], pd.DataFrame],
    added: dict[str, str],
    names: tuple[str, ...],
    rows: int | None,
) -> pd.DataFrame:
    frame = read(tuple(name for name in names if name not in added), rows)
    return frame.assign(**{name: added[name] for name in names if name in added})


# -------------------------------------------------------------------------------------------- how they belong


def _arrange(root: Path, parts: list[Part], settings: config.Data) -> Arrangement:
    """Return how files go together, by the settings or else by what they hold.

    Raises:
        UserError: they do not, or in more than one way; names the setting that decides.
    """
    _refuse_other_columns(root, parts)
    if any(part.member.keys for part in parts):
        return _arrange_by_keys(root, parts, settings)
    names = [part.member.name for part in parts]
    if settings.layout == "per_file":
        refuse_twice(names, f"{root}: the name of a file")
        return Arrangement(settings, tuple(names))
    if settings.layout not in ("auto", "day_wide") or settings.columns.id is not None:
        return Arrangement(settings)
    samples = [convert_numbers(part.table.sample) for part in parts]
    time = _find_times(samples[0], settings, parts[0].named)
    if (column := _find_id_column(root, samples, time)) is not None:
        return Arrangement(add_id_column(settings, (column,)))
    dialect = parts[0].table.dialect
    units = dict(dialect.units) if dialect else None
    table = find_table(parts[0].named, samples[0], settings, units=units)
    if table.by_entity and not table.is_single:
        return Arrangement(settings)
    overlap = _has_overlap(samples, time)
    merged = merge_dated(names, lambda places: _has_overlap([samples[place] for place in places], time))
    if overlap or (table.is_single and len(set(merged)) == 1):
        refuse_twice(names, f"{root}: the name of a file")
        refuse_files_of_channels(root, merged)
        return Arrangement(_set_channel(settings, table.channel), tuple(merged))
    raise UserError(
        f"{root}: its {len(parts)} files have the same columns and begin at different times; set "
        "data.layout=wide if they are parts of one table, data.layout=per_file if each is an entity, or "
        "data.columns.id to the column that identifies the entity"
    )


def _find_times(sample: pd.DataFrame, settings: config.Data, path: Path) -> list[str]:
    """Return the time columns, of intervals those of their start."""
    pair = find_end_of_intervals(sample, settings, path)
    return find_time_columns(sample.drop(columns=[] if pair is None else list(pair[1])), settings, path)


def _refuse_other_name(part: Part, names: list[str], other: Part, first: list[str]) -> None:
    """
    Raises:
        UserError: the columns of two files differ in one name, or one file has no names.
    """
    if len(names) != len(first):
        return
    if part.table.dialect is not None and part.table.dialect.header is None:
        raise UserError(
            f"{part.named} has no line of column names, and the first file ({other.named}) has; write that "
            "line into all files"
        )
    pairs = [(name, known) for name, known in zip(names, first) if name != known]
    if len(pairs) == 1:
        name, known = pairs[0]
        units = read_units_of_names(pairs[0])
        change = "write all in one unit, and " if units[0].lower() != units[1].lower() else ""
        raise UserError(
            f"{part.named} calls column {names.index(name) + 1} {name!r}, and the first file "
            f"({other.named}) {known!r}; all files need the same names: {change}give that column one name "
            "(the name of a file is the id of its entity), or name the files that belong together by a "
            "pattern"
        )


def _refuse_other_columns(root: Path, parts: list[Part]) -> None:
    first = list(parts[0].table.sample.columns)
    for part in parts:
        names = list(part.table.sample.columns)
        if sorted(names) != sorted(first):
            _refuse_other_name(part, names, parts[0], first)
            more = [repr(name) for name in names if name not in first]
            less = [repr(name) for name in first if name not in names]
            raise UserError(
                f"{part.named} {_describe_columns('has', more)}{' and ' if more and less else ''}"
                f"{_describe_columns('lacks', less)}, unlike the first file ({parts[0].named}); all files "
                "need the same: name those that belong together by a pattern, e.g. "
                f"data.source='{root}/block_*.csv', or add the columns that are not there (empty cells are "
                "missing readings)"
            )


def _describe_columns(verb: str, names: list[str]) -> str:
    shown = ", ".join(names[:4]) + (f", … ({len(names)} in all)" if len(names) > 4 else "")
    return f"{verb} the column{'s' if len(names) > 1 else ''} {shown}" if names else ""


def _find_id_column(root: Path, samples: list[pd.DataFrame], time: list[str]) -> str | None:
    """Return the column with one value all over each file, and another in every other file.

    Raises:
        UserError: there are several.
    """
    found = []
    for name in samples[0].columns:
        if name in time or any(
            sample[name].isna().any() or sample[name].nunique() != 1 for sample in samples
        ):
            continue
        if len({sample[name].iloc[0] for sample in samples}) == len(samples):
            found.append(str(name))
    if len(found) > 1:
        raise UserError(
            f"{root}: the columns {', '.join(found)} each have one value per file; set data.columns.id "
            "to the one that identifies the entity"
        )
    return found[0] if found else None


def _has_overlap(samples: list[pd.DataFrame], time: list[str]) -> bool:
    """Return whether files have times in common, other than a few at the end of one file and the start of
    the next.
    """
    seen: dict[tuple[Any, ...], int] = {}
    ends: list[tuple[set[Any], set[Any]]] = []
    for number, sample in enumerate(samples):
        times = list(dict.fromkeys(sample[time].itertuples(index=False, name=None)))
        few = int(HANDED_OVER * len(times))
        head, tail = set(times[:few]), set(times[len(times) - few :])
        shared: dict[int, set[Any]] = {}
        for each in times:
            other = seen.setdefault(each, number)
            if other != number:
                shared.setdefault(other, set()).add(each)
        for other, common in shared.items():
            first, last = ends[other]
            if not common <= head & last and not common <= tail & first:
                return True
        ends.append((head, tail))
    return False


def _arrange_by_keys(root: Path, parts: list[Part], settings: config.Data) -> Arrangement:
    """Arrange folders named `key=value`: keys are ids, unless files have their own, or parts of the time."""
    names = list(parts[0].member.keys)
    for part in parts:
        keys = part.member.keys
        if list(keys) != names:
            raise UserError(
                f"{part.named}: its folders name {', '.join(keys) or 'no keys'}, those of the first file "
                f"{', '.join(names) or 'none'}; give one of the folders"
            )
        if NO_PARTITION in keys.values():
            raise UserError(f"{part.named}: a folder is named {NO_PARTITION}; rename it, or take it away")
    sample, wanted = convert_numbers(parts[0].table.sample), make_tuple(settings.columns.id)
    asked = (*wanted, *settings.columns.attributes)
    free = [key for key in names if key not in sample.columns]
    added = [key for key in free if key in asked or key.lower() not in TIME_KEYS]
    keys_left = [key for key in added if key not in (*wanted, settings.columns.channel)]
    if wanted or not added:
        return Arrangement(add_attribute_columns(settings, keys_left), keys=tuple(added))
    if settings.layout == "wide" or _has_own_ids(parts[0].named, sample, settings):
        return Arrangement(add_attribute_columns(settings, added), keys=tuple(added))
    if len(added) > 1:
        raise UserError(
            f"{root}: the folders name {', '.join(added)}; set data.columns.id to those that identify "
            "the entity"
        )
    key = added[0]
    cells = list(dict.fromkeys(part.member.keys[key] for part in parts))
    if len(cells) > 1 and (is_flow_name(key) or judge_names(cells) == "channels"):
        return Arrangement(_set_channel(settings, key), keys=tuple(added))
    return Arrangement(add_id_column(settings, tuple(added)), keys=tuple(added))


def _has_own_ids(path: Path, sample: pd.DataFrame, settings: config.Data) -> bool:
    """Return whether one file alone is a table of several entities' rows."""
    table = find_table(path, sample, settings)
    return table.layout == "long" and not table.is_single


def _set_channel(settings: config.Data, name: str | None) -> config.Data:
    """Return the settings with a column, or the key of folders, as the one that names the channel."""
    columns = settings.columns.model_copy(update={"channel": name})
    return settings if name is None else settings.model_copy(update={"columns": columns})


def add_id_column(settings: config.Data, names: tuple[str, ...]) -> config.Data:
    columns = settings.columns.model_copy(update={"id": names[0] if len(names) == 1 else names})
    return settings.model_copy(update={"columns": columns, "layout": "long"})


def add_attribute_columns(settings: config.Data, keys: list[str]) -> config.Data:
    more = tuple(key for key in keys if key not in settings.columns.attributes)
    columns = settings.columns.model_copy(update={"attributes": (*settings.columns.attributes, *more)})
    return settings.model_copy(update={"columns": columns})
