"""The entity, owner and split of each row of a store; never part of a release."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np

from distgan.config.data import AttributeKind
from distgan.csvtext import format_csv, unescape_cell
from distgan.data.static_attributes import StaticAttribute
from distgan.data.store.reader import count_rows
from distgan.data.store.writer import AGAIN
from distgan.errors import UserError
from distgan.files import read_text, write_text
from distgan.run import is_store, locate_private_table, locate_store

SPLITS = ("train", "held_out", "reference")
VALIDATION = "validation"  # a part of the training share that only chooses a step (data.validation)
KNOWN = (*SPLITS, VALIDATION)
COLUMNS = ["row", "entity", "owner", "split"]  # then "label" and attributes, where the source has them
ATTRIBUTE = "attribute:"  # before kind and name, as in attribute:boolean:ev


@dataclass(frozen=True)
class Table:
    """The owner of each row of a store and its side of the split. Never part of a release, but for the
    labels: they are a public class of each series, such as an activity. Attributes are private.
    """

    entities: np.ndarray
    owners: np.ndarray
    splits: np.ndarray
    labels: np.ndarray | None = None
    statics: tuple[StaticAttribute, ...] = ()  # attributes of the entity of each row

    def find_rows(self, split: str) -> np.ndarray:
        """Return the row numbers (int64) of one split, ascending."""
        assert split in KNOWN, split
        return np.flatnonzero(self.splits == split)


def find_private_table(store_path: Path) -> Path:
    """Return the path of the table, series.private.csv for series.zarr: beside the store, not in it."""
    return locate_private_table(store_path)


def write_table(
    path: Path,
    entities: Sequence[str],
    owners: Sequence[str],
    splits: Sequence[str],
    labels: Sequence[str] | None = None,
    statics: Sequence[StaticAttribute] = (),
) -> None:
    """Write the table of a store, private."""
    more = {} if labels is None else {"label": [str(label) for label in labels]}
    more |= {f"{ATTRIBUTE}{each.kind}:{each.name}": each.cells.tolist() for each in statics}
    rows = zip(range(len(entities)), entities, owners, splits, *more.values(), strict=True)
    write_text(path, format_csv([*COLUMNS, *more], rows), private=True)


def read_table(path: Path) -> Table:
    """Return the private table of a store.

    Raises:
        UserError: it is missing, damaged, or a row has no known split.
    """
    if not path.exists():
        raise UserError(f"{path} is missing; it names the entity and split of each series")
    text = read_text(path)
    if text and not text.endswith("\n"):
        raise UserError(f"{path} ends in the middle of a line; it was cut off, {AGAIN}")
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"{path} is not a readable table ({error}); {AGAIN}") from None
    columns = [unescape_cell(cell) for cell in lines[0]] if lines else []
    own_columns = len(COLUMNS) + (columns[len(COLUMNS) :][:1] == ["label"])
    attributes = [_parse_attribute(column) for column in columns[own_columns:]]
    if columns[: len(COLUMNS)] != COLUMNS or None in attributes:
        raise UserError(
            f"{path} must begin with the line {','.join(COLUMNS)} (then ,label and ,{ATTRIBUTE}KIND:NAME "
            "where the source has them)"
        )
    for row, line in enumerate(lines[1:]):
        if len(line) != len(columns) or line[0] != str(row) or line[3] not in KNOWN:
            raise UserError(
                f"{path} line {row + 2}: expected {row},ENTITY,OWNER,{'|'.join(KNOWN)}, "
                f"found {','.join(line)[:80]}; {AGAIN}"
            )
    store = locate_store(path)
    if is_store(store) and len(lines) - 1 != (rows := count_rows(store)):
        raise UserError(f"{path} has {len(lines) - 1} rows and {store.name} has {rows}; {AGAIN}")
    values = list(zip(*lines[1:])) if len(lines) > 1 else [()] * len(columns)
    cells = [np.array([unescape_cell(cell) for cell in column], dtype=str) for column in values[1:]]
    statics = (
        StaticAttribute(*found, own) for found, own in zip(attributes, cells[own_columns - 1 :]) if found
    )
    labels = cells[3] if own_columns > len(COLUMNS) else None
    return Table(cells[0], cells[1], cells[2], labels, tuple(statics))


def _parse_attribute(column: str) -> tuple[str, AttributeKind] | None:
    """Return name and kind of an attribute from the name of its column, or None where it is none."""
    kind, colon, name = column.removeprefix(ATTRIBUTE).partition(":")
    if not (column.startswith(ATTRIBUTE) and colon and name) or kind not in get_args(AttributeKind):
        return None
    return name, cast(AttributeKind, kind)
