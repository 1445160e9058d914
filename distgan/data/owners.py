"""Owners of entities that a source states beside them: two meters of a household have one owner."""

import re
from collections import Counter
from collections.abc import Sequence

from distgan import config
from distgan.data.formats.advice import show_list
from distgan.data.formats.column_names import match_owner_name
from distgan.data.formats.columns import make_tuple
from distgan.data.formats.pieces import Source
from distgan.data.formats.rows import JOINED
from distgan.data.static_attributes import is_missing


def group_by_owner(source: Source, settings: config.Data) -> None:
    """Give entities that share a cell of a column that names households, customers or patients one owner.

    Owners that the source itself states stay. An entity that shares its cell with no other stays its own
    owner, so that nobody else decides its split. A column of `data.columns.attributes` only describes.
    """
    if source.owners != source.entities:
        return
    columns = {
        name: cells
        for name, cells in _list_columns(source, settings)
        if _names_owners(name, cells) and name not in settings.columns.attributes
    }
    shared = {name: cells for name, cells in columns.items() if max(_count(cells).values(), default=0) > 1}
    if not shared:
        return
    name = min(shared, key=lambda name: len(_count(shared[name])))
    counts = _count(shared[name])
    source.owners = [
        f"{name}={cell}" if counts[cell] > 1 else entity
        for entity, cell in zip(source.entities, shared[name])
    ]
    source.understood.notes.append(
        f"entities with the same cell of column {name!r} have one owner: {len(source.entities):,} entities, "
        f"{len(set(source.owners)):,} owners"
        + (
            f"; data.columns.attributes={show_list([name])} makes each an owner"
            if name in source.attributes
            else ""
        )
    )


def _list_columns(source: Source, settings: config.Data) -> list[tuple[str, list[str]]]:
    """Return the attributes of entities, and the columns that make up their ids."""
    ids = make_tuple(settings.columns.id)
    parts = [entity.split(JOINED) for entity in source.entities]
    if len(ids) < 2 or any(len(each) != len(ids) for each in parts):
        return list(source.attributes.items())
    return [*zip(ids, map(list, zip(*parts))), *source.attributes.items()]


def _names_owners(name: str, cells: Sequence[str]) -> bool:
    """Return whether a column names owners; without "id" in its name, its cells have digits, since `house`
    may also say of which kind a house is.
    """
    match = match_owner_name(name)
    if match is None:
        return False
    return match["id"] is not None or all(re.search(r"\d", cell) for cell in _count(cells))


def _count(cells: Sequence[str]) -> Counter[str]:
    return Counter(cell for cell in cells if not is_missing(cell))
