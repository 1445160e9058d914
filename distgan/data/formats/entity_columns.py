"""Which columns are entities, and which are channels of one; refused where names leave it open.

An entity is an owner unless a source says otherwise, so the quantities of one person must not be read as
entities silently.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

import pandas as pd

from distgan.data.formats.advice import show_list, show_name
from distgan.data.formats.column_names import SERIES_CHANNEL, is_entity_name
from distgan.data.formats.quantities import (
    are_alike,
    are_quantities_of_entities,
    judge_names,
    list_quantities,
)
from distgan.errors import UserError

MOST_NOTED, FEW = 256, 16  # columns: fewer are noted whatever their names
COPY_WORDS = r"copy|kopie|copie|copia|kopia|backup|bak|old|orig|original|new|v\d+"
COPY = re.compile(  # the name of a file, after or before what says that it is another's copy
    r"(?:(?:copy of|kopie von|copie de|copia d[ei]) )?"
    rf"(?P<name>.+?)(?: ?\(\d+\)|[ _.-]+(?:{COPY_WORDS})(?: ?\(?\d+\)?)?|\.[a-z]{{2,7}}\.\d+)?",
    re.I,
)
MADE_DIFFERENT = re.compile(r"(?P<name>.+?)(?:\.\d{1,2}|_duplicated_\d+)")  # M1.1
NUMBERED_ENTITY = re.compile(  # in the name of a file
    r"(?<![a-z])(home|house|household|flat|building|customer|client|user|subject|patient|person|participant)s?"
    r"[-_ ]?\d+",
    re.I,
)


def are_channels(path: Path, names: Sequence[str], units: Mapping[str, str]) -> bool:
    """Return whether the columns of a table are quantities of one entity, by their names and units.

    Raises:
        UserError: some may be, or they are quantities of several entities; names the settings that decide.
    """
    if all(SERIES_CHANNEL.fullmatch(name) for name in names):
        return False  # an exported table, whose columns become channels later
    _refuse_names_made_different(path, names)
    found = judge_names(names, units)
    if found == "beside":
        beside = list_quantities(names)
        raise UserError(
            f"{path}: column {beside[0]!r} seems to be a quantity beside columns of entities, "
            f"and would count as one; set data.columns.ignore={show_list(beside)}, or data.layout=wide"
        )
    if found == "mixed":
        shown = ", ".join(map(str, names[:4])) + (", …" if len(names) > 4 else "")
        raise UserError(
            f"{path}: some of the columns ({shown}) seem to be different quantities, and not entities; set "
            "data.layout=per_file if all are channels of one entity, data.layout=wide if each is an "
            "entity, or write a table with a column for the entity and one for each quantity"
        )
    return found == "channels"


def _refuse_names_made_different(path: Path, names: Sequence[str]) -> None:
    """
    Raises:
        UserError: a name is another's with a number, as pandas, polars and R write a name that stood twice.
    """
    known = set(names)
    for name in names:
        match = MADE_DIFFERENT.fullmatch(name)
        if match is not None and match["name"] in known:
            raise UserError(
                f"{path}: columns {match['name']!r} and {name!r} seem to be one name that stood twice, and "
                "each would count as an entity; give columns different names, set "
                f"data.columns.ignore={show_list([name])} to leave one out, or data.layout=wide if each is "
                "an entity"
            )


def holds_channels(column: pd.Series) -> bool:
    """Return whether the cells of a column are quantities, or registers of a meter; single letters in a
    column that is named as ids are ids, as sites x and y.
    """
    names = list(column.dropna().astype("str").str.strip().unique())
    if is_entity_name(str(column.name)) and all(len(name) == 1 for name in names):
        return False
    return judge_names(names) == "channels"


def describe_channels(names: Sequence[str]) -> str:
    """Say that columns are read as channels of one entity."""
    return (
        f"the {len(names)} columns are read as channels of one entity, by their names; data.layout=wide "
        "reads each as an entity"
    )


def describe_channel(name: str) -> str:
    """Say that a column is read as one of channels."""
    return (
        f"the cells of column {name!r} are read as channels of one entity; data.columns.id={show_name(name)} "
        "reads each as an entity"
    )


def describe_entities(names: Sequence[str]) -> tuple[str, ...]:
    """Say that columns are read as entities, where their names do not show it."""
    exported = all(SERIES_CHANNEL.fullmatch(name) for name in names)
    if not 1 < len(names) <= MOST_NOTED or exported or (len(names) > FEW and are_alike(names)):
        return ()
    return (
        f"the {len(names)} columns are read as entities, each with an owner of its own; data.layout=per_file "
        "reads them as channels of one entity",
    )


def refuse_files_of_channels(root: Path, names: Sequence[str]) -> None:
    """
    Raises:
        UserError: files, of which each would be an entity, are named as the quantities of one.
    """
    _refuse_copies(root, names)
    whose: dict[str, str] = {}
    for name in dict.fromkeys(names):
        match = NUMBERED_ENTITY.search(name)
        other = whose.setdefault(match[0].lower(), name) if match else name
        if match and other != name:
            raise UserError(
                f"{root}: the files {other!r} and {name!r} both name {match[0]!r}, and each would count as "
                "an entity; write one table for each entity, or set data.layout=per_file if each file is one"
            )
    if are_quantities_of_entities(names):
        raise UserError(
            f"{root}: the names of its files ({', '.join(names[:4])}, …) say several quantities of each "
            "entity, and each would count as an entity; write one table for each entity, or set "
            "data.layout=per_file if each file is one"
        )
    different = list(dict.fromkeys(PurePath(name).name for name in names))
    if judge_names(different) == "channels":
        raise UserError(
            f"{root}: its files ({', '.join(different[:4])}) are named as quantities of one entity, and each "
            "would count as an entity; write one table with a column for each, or set data.layout=per_file "
            "if each is an entity"
        )


def _refuse_copies(root: Path, names: Sequence[str]) -> None:
    """
    Raises:
        UserError: the name of a file says that it is a copy, or a former version, of another.
    """
    known = {name.lower(): name for name in names}
    for name in names:
        match = COPY.fullmatch(name)
        original = known.get(match["name"].lower()) if match is not None else None
        if original is not None and original != name:
            raise UserError(
                f"{root}: the files {original!r} and {name!r} seem to be one and its copy or other version, "
                "and each would count as an entity; remove one, or set data.layout=per_file if each is an "
                "entity"
            )


def refuse_quantities_as_ids(path: Path, what: str, names: Sequence[str], advice: str) -> None:
    """
    Raises:
        UserError: the ids of an array are the names of quantities; `advice` says what to do.
    """
    shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
    if judge_names(names) == "channels":
        raise UserError(
            f"{path}: {what} ({shown}) are quantities of one entity, and each would count as one; {advice}"
        )
    if are_quantities_of_entities(names):
        raise UserError(
            f"{path}: {what} ({shown}) are several quantities of each entity, and each would count as an "
            f"entity; {advice}"
        )


def refuse_unclear_channel(path: Path, name: str, cells: Sequence[str]) -> None:
    """
    Raises:
        UserError: a column that was found to identify entities is named as one of channels.
    """
    shown = ", ".join(cells[:4]) + (", …" if len(cells) > 4 else "")
    raise UserError(
        f"{path}: column {name!r} ({shown}) may name the channel of a reading or its entity; set "
        f"data.columns.channel={show_name(name)} if all readings are of one entity, or "
        f"data.columns.id={show_name(name)}"
    )
