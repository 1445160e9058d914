"""Attributes of entities beside their series, such as the kind of home, a car or the number of people.

An attribute has a kind: categorical, boolean, integer or float. Its cells are text in one form (`true` and
`false`, whole numbers without a fraction), and an empty cell is a missing value. Attributes are as private as
ids: they stand in the private table, and leave only as what groups of the minimum size have in common.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from distgan.config.data import AttributeKind
from distgan.data.formats.missing_cells import MISSING
from distgan.errors import UserError

TRUTH = dict.fromkeys(("true", "yes", "y", "t", "1", "1.0"), "true")
TRUTH |= dict.fromkeys(("false", "no", "n", "f", "0", "0.0"), "false")
TRUE, FALSE = "true", "false"
INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,14})")
NO_CELLS = frozenset(cell.lower() for cell in MISSING) - {"none"}  # in any case, but `none` may be a value
KIND_NAMES = {"boolean": "true or false", "integer": "a whole number", "float": "a number"}


@dataclass(frozen=True)
class StaticAttribute:
    """One attribute of n series: cells [n] str, "" where it is missing."""

    name: str
    kind: AttributeKind
    cells: np.ndarray

    @property
    def is_number(self) -> bool:
        return self.kind in ("integer", "float")

    def take(self, rows: np.ndarray) -> "StaticAttribute":
        return replace(self, cells=self.cells[rows])

    def parse_numbers(self) -> np.ndarray:
        """Return the cells as numbers, NaN where missing: [n] float64."""
        return np.array([float(cell) if cell else math.nan for cell in self.cells], np.float64)


def make_attribute(name: str, cells: Sequence[str], kind: AttributeKind | None = None) -> StaticAttribute:
    """Return an attribute from cells as written; without a kind, the cells decide it.

    Raises:
        UserError: a cell is not of the kind that is stated.
    """
    texts = ["" if is_missing(cell.strip()) else cell.strip() for cell in cells]
    chosen = kind or find_kind(texts)
    different = {text: normalise_cell(text, chosen) for text in set(texts)}
    for text, normal in different.items():
        if normal is None:
            raise UserError(
                f"attribute {name!r} has the cell {text[:40]!r}, which is not {KIND_NAMES[chosen]}; correct "
                f"data.attribute_kinds.{name}, which is {chosen}, or leave it out"
            )
    return StaticAttribute(name, chosen, np.array([different[text] for text in texts], dtype=str))


def is_missing(text: str) -> bool:
    """Return whether a cell is missing: `None` is, as Python writes it; `none` is a value (no heating)."""
    return text in MISSING or text.lower() in NO_CELLS


def find_kind(texts: Sequence[str]) -> AttributeKind:
    """Return the narrowest kind that all cells have: boolean, integer, float or else categorical."""
    present = {text.lower() for text in texts if text}
    truths = {TRUTH.get(text) for text in present}
    if truths == {TRUE, FALSE} or (present and present <= {TRUE, FALSE}):
        return "boolean"
    for kind in ("integer", "float"):
        if present and all(normalise_cell(text, kind) is not None for text in present):
            return kind  # type: ignore[return-value]
    return "categorical"


def normalise_cell(text: str, kind: AttributeKind) -> str | None:
    """Return a cell in the one form of its kind, or None where it is not of that kind."""
    if not text or kind == "categorical":
        return text
    if kind == "boolean":
        return TRUTH.get(text.lower())
    if INTEGER.fullmatch(text):
        return str(int(text)) if kind == "integer" else repr(float(text))
    if re.fullmatch(r"[+-]?0\d+", text):  # a code, such as a postal one
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    if kind == "float":
        return repr(number)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else None


def convert_cells(cells: pd.Series, kind: AttributeKind) -> pd.Series:
    """Return cells of one form as values of their kind: pandas' `boolean`, `Int64`, `Float64` or text, NA
    where a cell is empty.
    """
    there = cells.where(cells != "")
    if kind == "boolean":
        return there.map({TRUE: True, FALSE: False}).astype("boolean")
    if kind in ("integer", "float"):
        return pd.to_numeric(there).astype("Int64" if kind == "integer" else "Float64")
    return there


def count_entities(attribute: StaticAttribute, entities: np.ndarray) -> dict[str, int]:
    """Return how many entities have each value of an attribute, missing ones not counted, most first.

    Args:
        entities: [n] who is behind each cell.
    """
    there = attribute.cells != ""
    pairs = set(zip(attribute.cells[there].tolist(), entities[there].tolist()))
    counts = Counter(cell for cell, _ in pairs)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
