"""`data.attributes`: a table with a row per entity, joined to the series by id."""

from pathlib import Path

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.column_names import is_entity_name
from distgan.data.formats.columns import make_tuple
from distgan.data.formats.containers import detect_kind, unpack
from distgan.data.formats.pieces import Source
from distgan.data.formats.rows import JOINED
from distgan.data.static_attributes import StaticAttribute, make_attribute
from distgan.data.tables import open_table
from distgan.errors import UserError
from distgan.preflight import ATTRIBUTES_TABLE, refuse_absent

TABLES = ("text", "parquet")
SHOWN = 6  # names of columns in a message


def read_statics(source: Source, settings: config.Data, place: Path) -> tuple[StaticAttribute, ...]:
    """Return the attributes of the source's entities, its own and those of `data.attributes`.

    Raises:
        UserError: a table or a cell cannot be read, or data.attribute_kinds names no attribute.
    """
    join_attributes(source, settings, place)
    for name in settings.attribute_kinds:
        if name not in source.attributes:
            known = ", ".join(source.attributes) or "none"
            raise UserError(f"data.attribute_kinds names {name!r}, but the attributes are: {known}")
    return tuple(
        make_attribute(name, cells, settings.attribute_kinds.get(name))
        for name, cells in source.attributes.items()
    )


def join_attributes(source: Source, settings: config.Data, place: Path) -> None:
    """Add the columns of `data.attributes` to a source's attributes, and say what did not match.

    Raises:
        UserError: it is no table, no column holds ids of the series, a name stands in both tables, or an id
            has two different rows.
    """
    if settings.attributes is None:
        return
    refuse_absent(settings.attributes, "data.attributes", ATTRIBUTES_TABLE)
    path = Path(settings.attributes).expanduser()
    frame = read_cells(path, place / "attributes")
    ids = find_ids(path, frame, source.entities, settings)
    known = set(source.entities)
    names = join_ids(frame, ids, known)
    if not known & set(names):
        raise UserError(
            f"data.attributes {path}: no row of {', '.join(ids)} has an id of the series of "
            f"{settings.source}; write the ids as that source does (distgan inspect shows how they begin)"
        )
    rows = index_rows(path, frame, names)
    unknown, without = len(rows.keys() - known), sum(entity not in rows for entity in source.entities)
    for name in (name for name in frame.columns if name not in ids):
        if name in source.attributes:
            raise UserError(
                f"{path}: attribute {name!r} is also one of {settings.source}; rename one, or leave it out "
                "of one table (data.columns.ignore for the series' own)"
            )
        cells = frame[name].tolist()
        source.attributes[name] = [
            cells[rows[entity]] if entity in rows else "" for entity in source.entities
        ]
        source.understood.attributes.append(name)
    source.understood.notes.append(
        f"attributes of {path.name}: {len(known & rows.keys()):,} of {len(source.entities):,} series have "
        f"a row; {without:,} have none, and their attributes are missing; {unknown:,} rows have an id of no "
        "series"
    )


def read_cells(path: Path, place: Path) -> pd.DataFrame:
    """Return a table's cells as written, "" where empty; containers are unpacked to `place`.

    Raises:
        UserError: it is no table, or damaged.
    """
    found = unpack(path, config.Data(source=str(path)), place)
    kind = "a folder" if found.path.is_dir() else detect_kind(found.path)
    if kind not in TABLES:
        raise UserError(
            f"data.attributes {path} is no table but {kind}; write a CSV, Excel or Parquet table with a row "
            "per entity"
        )
    place.mkdir(parents=True, exist_ok=True)
    with found.rename_in_messages():
        sampled = open_table(found.path, kind, found.settings, place)
        names = tuple(str(name) for name in sampled.sample.columns)
        frames = [piece.read(text=names) for piece in sampled.pieces]
    frame = pd.concat(frames, ignore_index=True)
    texts = frame.astype("str").where(frame.notna(), "")
    return texts.apply(lambda cells: convert_decimal_commas(cells.str.strip()))


def convert_decimal_commas(column: pd.Series) -> pd.Series:
    """Return a column of numbers with decimal commas with points; any other column as it is.

    Cells such as 1,234 alone may have a thousands mark: they stay text.
    """
    there = column[column != ""]
    commas = there[there.str.contains(",")]
    numbers = there.str.fullmatch(r"[+-]?\d+(,\d+)?").all()
    if not len(commas) or not numbers or commas.str.fullmatch(r".+,\d{3}").all():
        return column
    return column.str.replace(",", ".")


def find_ids(path: Path, frame: pd.DataFrame, entities: list[str], settings: config.Data) -> tuple[str, ...]:
    """Return the columns that hold the ids of the series: data.columns.id where the table has it, else one
    that is named like an id if there is, whose cells are all different if there is, with the most ids.

    Raises:
        UserError: no column holds any, or several do alike: ids that are numbers are also numbers of people.
    """
    asked = make_tuple(settings.columns.id)
    if asked and all(name in frame.columns for name in asked):
        return asked
    known = set(entities)
    matches = {name: len(known & set(frame[name])) for name in frame.columns}
    found = [name for name, count in matches.items() if count]
    if not found:
        names = ", ".join(list(frame.columns)[:SHOWN])
        raise UserError(
            f"data.attributes {path}: no column ({names}) holds an id of the series of {settings.source}; "
            "one column must hold the ids as that source writes them (distgan inspect shows how they begin)"
        )
    rows = frame.drop_duplicates()
    for says in (is_entity_name, lambda name: not rows[name].duplicated().any()):
        found = [name for name in found if says(name)] or found
    most = max(matches[name] for name in found)
    best = [name for name in found if matches[name] == most]
    if len(best) > 1 and any(not frame[name].equals(frame[best[0]]) for name in best):
        raise UserError(
            f"data.attributes {path}: columns {', '.join(best[:SHOWN])} hold ids of the series alike; call "
            "the one that says whose the attributes are 'id'"
        )
    return (best[0],)


def join_ids(frame: pd.DataFrame, ids: tuple[str, ...], known: set[str]) -> pd.Series:
    """Return the id of each row. Those of several columns are joined as the series' are: by ` / ` in tables,
    by a slash in arrays.
    """
    for mark in (JOINED, "/"):
        names = frame[ids[0]].str.cat([frame[more] for more in ids[1:]], sep=mark)
        if known & set(names):
            break
    return names


def index_rows(path: Path, frame: pd.DataFrame, names: pd.Series) -> dict[str, int]:
    """Return the row of each id.

    Raises:
        UserError: an id has two rows that differ.
    """
    again = np.flatnonzero((names.duplicated(keep=False) & ~frame.duplicated(keep=False)).to_numpy())
    if len(again):
        twice = int(names[again].nunique())
        raise UserError(
            f"data.attributes {path}: {twice:,} ids have two rows that differ, the first in row "
            f"{int(again[0]) + 1}; write one row per entity"
        )
    found: dict[str, int] = {}
    for row, name in enumerate(names.tolist()):
        found.setdefault(name, row)
    return found
