"""Cells of attributes under differential privacy: their values are public, so the cells are.

With noise, nothing may decide which values an attribute has except the settings: `privacy.categories` lists
them. An entity lies in one cell, that of its values (of its first series) and of its place among the public
cells of latents; a value that is not listed, or missing, is unknown. So one entity still adds to one cell
only, and the sums of all cells have the sensitivity of those without attributes.

Shapes: n series, A attributes, V combinations of values, k cells of latents, G groups.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from distgan import config
from distgan.anonymity.statics import AttributeColumn, encode_columns
from distgan.data.static_attributes import FALSE, TRUE, TRUTH, StaticAttribute
from distgan.errors import UserError


def make_public_column(name: str, categories: Sequence[str]) -> AttributeColumn:
    """Return the column of an attribute with these values: boolean if they are true and false, in any
    spelling.
    """
    if _are_truths(categories):
        return AttributeColumn(name=name, kind="boolean", categories=[FALSE, TRUE])
    return AttributeColumn(name=name, kind="categorical", categories=list(categories))


def _are_truths(categories: Sequence[str]) -> bool:
    return {_make_key(value) for value in categories} == {FALSE, TRUE} and len(categories) == 2


def translate_cells(
    attribute: StaticAttribute, categories: Sequence[str], as_written: bool = False
) -> StaticAttribute:
    """Return an attribute whose cells are listed values, or missing.

    How cells are written must not depend on other entities: the kind that was found from all cells decides
    whether `1` is written as 1, 1.0 or true, and `Yes` as Yes or true. So numbers are compared by value, and
    truths by meaning.

    Args:
        as_written: the settings say that the attribute is categorical, so that its cells are as written, and
            values that mean the same may be listed.

    Raises:
        UserError: two categories mean the same.
    """
    alike = find_alike(categories)
    if alike and not as_written:
        raise UserError(
            f"privacy.categories.{attribute.name} lists {alike[0]!r} and {alike[1]!r}, which a column of "
            "numbers or of truth values does not keep apart; list one of them, or set "
            f"data.attribute_kinds.{attribute.name}=categorical"
        )
    if _are_truths(categories):
        truths = [text if text in (TRUE, FALSE) else "" for text in map(_make_key, attribute.cells.tolist())]
        return StaticAttribute(attribute.name, "boolean", np.array(truths, dtype=str))
    known = {value if alike else _make_key(value): value for value in categories}
    texts = [known.get(cell if alike else _make_key(cell), "") for cell in attribute.cells.tolist()]
    return StaticAttribute(attribute.name, "categorical", np.array(texts, dtype=str))


def find_alike(categories: Sequence[str]) -> tuple[str, str] | None:
    """Return two values that mean the same number or truth, or None."""
    known: dict[str, str] = {}
    for value in categories:
        if (before := known.setdefault(_make_key(value), value)) != value:
            return before, value
    return None


def _make_key(text: str) -> str:
    """Return a text that is the same for all ways to write a number or a truth; 1 and 0 are truths, too."""
    try:
        number = float(text)
    except ValueError:
        return TRUTH.get(text.lower(), text)
    if not math.isfinite(number):
        return text
    plain = repr(number + 0.0)  # -0 is 0
    return TRUTH.get(plain, plain)


@dataclass(frozen=True)
class PublicCells:
    """All combinations of listed and unknown values, each with `latent_cells` cells of latents."""

    columns: tuple[AttributeColumn, ...]
    latent_cells: int

    @staticmethod
    def from_settings(settings: config.Config, latent_cells: int) -> "PublicCells":
        listed = settings.privacy.categories
        return PublicCells(
            tuple(make_public_column(name, listed[name]) for name in settings.bank.by), latent_cells
        )

    @property
    def number(self) -> int:
        """The number of all cells, V k."""
        return math.prod(column.width + 1 for column in self.columns) * self.latent_cells

    @property
    def listed(self) -> int:
        """The number of combinations without an unknown value."""
        return math.prod(column.width for column in self.columns)

    def list_values(self) -> np.ndarray:
        """Return the values of each combination, NaN where unknown: [V, A]."""
        found = list(product(*([*range(column.width), np.nan] for column in self.columns)))
        return np.array(found, np.float64).reshape(len(found), len(self.columns))

    def find(self, statics: Sequence[StaticAttribute], latent_cells: np.ndarray) -> np.ndarray:
        """Return the cells of series with these attributes and places: [n], [n] -> [n] int64."""
        found = np.zeros(len(latent_cells), np.int64)
        if self.columns:
            values = encode_columns(self.columns, statics)
            for place, column in enumerate(self.columns):
                own = np.where(np.isnan(values[:, place]), column.width, values[:, place]).astype(np.int64)
                found = found * (column.width + 1) + own
        return found * self.latent_cells + latent_cells

    def read_values(self, cells: np.ndarray) -> np.ndarray:
        """Return the values of cells: [n] -> [n, A]."""
        return self.list_values()[cells // self.latent_cells]


def share_first(statics: Sequence[StaticAttribute], entities: np.ndarray) -> tuple[StaticAttribute, ...]:
    """Return attributes of which all series of an entity have those of its first."""
    first, codes = np.unique(entities, return_index=True, return_inverse=True)[1:]
    return tuple(replace(each, cells=each.cells[first][codes]) for each in statics)


def count_mismatches(own: np.ndarray, stated: np.ndarray) -> np.ndarray:
    """Return how badly groups' values fit those of cells, an unknown value by half: [n, A], [G, A] -> [n,
    G].
    """
    one, other = own[:, None], stated[None]
    unknown = np.isnan(one) != np.isnan(other)
    differs = (one != other) & ~np.isnan(one) & ~np.isnan(other)
    return (differs + 0.5 * unknown).sum(axis=2)
