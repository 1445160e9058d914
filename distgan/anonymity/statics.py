"""Attributes of groups: the statements of a bank on the entities of a group, and their encoding for the
networks.

Of a categorical or boolean attribute a group states the one value that all its members have, or nothing; of a
number the mean and the deviation of its members. Networks are given a block of numbers: for each attribute a
one-hot vector or the standardised number, then for each attribute 1 where it is known and 0 where it is not,
and its other numbers are 0.

Shapes: n series, G groups, A attributes, C channels. A value is the index of a category or a number, NaN
where unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import BaseModel, ConfigDict

from distgan.config.data import AttributeKind
from distgan.config.training import AttributeValue
from distgan.data.static_attributes import StaticAttribute, normalise_cell
from distgan.errors import UserError

OTHER = "other"  # the category of rare values
SMALLEST_DEVIATION = 1e-9
SHOWN = 12  # categories in a message
FARTHEST = 3.0  # deviations from the group's mean that count, of numbers and of location and scale
LONGEST_NUMBER = 12  # characters of a number that is written in full; drawn ones have six digits


class AttributeColumn(BaseModel):
    """An attribute as a bank has it: its categories, or the range that the minimum group size of training
    entities reach at either end.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    kind: AttributeKind
    categories: list[str] = []
    low: float | None = None
    high: float | None = None
    slopes: list[tuple[float, float]] = []  # of a number: for each channel (attribute_slopes.py)

    @property
    def is_number(self) -> bool:
        return self.kind in ("integer", "float")

    @property
    def width(self) -> int:
        return 1 if self.is_number else len(self.categories)

    def encode(self, cells: np.ndarray) -> np.ndarray:
        """Return values of cells [n]; of a category that is not kept, that of the rare ones: [n] float64."""
        if self.is_number:
            return np.array([float(cell) if cell else np.nan for cell in cells], np.float64)
        codes = {name: float(code) for code, name in enumerate(self.categories)}
        rare = codes.get(OTHER, np.nan)
        return np.array([codes.get(cell, rare) if cell else np.nan for cell in cells], np.float64)

    def parse(self, wanted: AttributeValue) -> float:
        """Parse a value that a user requests.

        Raises:
            UserError: it is no number or no category of the groups.
        """
        text = str(wanted).strip()
        normal = normalise_cell(str(wanted).lower() if self.kind == "boolean" else text, self.kind)
        if self.is_number:
            if normal is None or not text:
                raise UserError(f"attribute {self.name!r} is {self.kind}, and {text[:40]!r} is none; e.g. "
                                f"{self.name}: {self.low or 0.0:g}")  # fmt: skip
            return float(normal)
        if normal in self.categories:
            return float(self.categories.index(normal))
        alike = [code for code, name in enumerate(self.categories) if name.lower() == (normal or "").lower()]
        if len(alike) != 1:  # none, or EV and ev for Ev
            known = ", ".join(self.categories[:SHOWN])
            raise UserError(
                f"attribute {self.name!r} has no value {text[:40]!r} in the groups; they have {known}"
            )
        return float(alike[0])

    def format(self, value: float) -> str:
        """Return a value as a cell: "" where it is unknown."""
        if np.isnan(value):
            return ""
        if not self.is_number:
            return self.categories[int(value)]
        if self.kind == "integer":
            return str(round(value))
        exact = repr(float(value))  # as it was asked for
        return exact if len(exact) <= LONGEST_NUMBER else f"{value:.6g}"


GroupValue = str | dict[str, float] | None  # in a manifest: a category, mean and deviation, or unknown


@dataclass(frozen=True)
class GroupAttributes:
    """The attributes of all groups of a bank."""

    columns: tuple[AttributeColumn, ...]
    values: np.ndarray  # [G, A] the category of every member, or the mean of a number
    deviations: np.ndarray  # [G, A] of numbers, 0 of others
    sizes: np.ndarray  # [G] entities

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def list_unstated(self) -> list[str]:
        """Return the names of the attributes that no group states."""
        return [name for name, own in zip(self.names, self.values.T) if np.isnan(own).all()]

    @property
    def width(self) -> int:
        """The number of values that a condition has for the attributes."""
        return sum(column.width for column in self.columns) + len(self.columns)

    @cached_property
    def numbers(self) -> np.ndarray:
        """True for the attributes that are numbers: [A] bool."""
        return np.array([column.is_number for column in self.columns])

    @cached_property
    def population(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each number over all groups that know it: [A], [A]; 0 and 1 of others."""
        centre, scale = np.zeros(len(self.columns)), np.ones(len(self.columns))
        for place in np.flatnonzero(self.numbers):
            known = ~np.isnan(self.values[:, place])
            if not known.any():
                continue
            share = self.sizes[known] / self.sizes[known].sum()
            means, deviations = self.values[known, place], self.deviations[known, place]
            centre[place] = share @ means
            variance = share @ (deviations**2 + (means - centre[place]) ** 2)
            scale[place] = max(float(np.sqrt(variance)), SMALLEST_DEVIATION)
        return centre, scale

    def combine(self, own: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Return what networks are given of series and their groups, [n, A] and [n]: categories as the group
        states them, numbers of the series' own, [n, A].

        A category that a group states and the series has not is unknown (under privacy.epsilon, where the
        series' own group was left out).
        """
        stated = self.values[groups]
        values = np.where(self.numbers & ~np.isnan(stated), own, stated)
        values[~self.numbers & ~np.isnan(stated) & (own != stated)] = np.nan
        return values

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return the networks' input of values: [n, A] -> float32 [n, width]."""
        centre, scale = self.population
        known, parts = ~np.isnan(values), []
        for place, column in enumerate(self.columns):
            own = np.where(known[:, place], values[:, place], 0.0)
            if column.is_number:
                part = (own[:, None] - centre[place]) / scale[place]
            else:
                part = own[:, None] == np.arange(column.width)
            parts.append(part * known[:, place, None])
        return np.concatenate([*parts, known], axis=1).astype(np.float32)

    def draw(self, groups: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Return values of new series of some groups, from standard normal numbers: [n], [n, A] -> [n, A].

        Numbers are normal with the group's mean and deviation, within the range that the bank states, and
        whole where the attribute is.
        """
        values = self.values[groups] + self.deviations[groups] * np.where(self.numbers, normal, 0.0)
        for place, column in enumerate(self.columns):
            if column.is_number:
                values[:, place] = np.clip(values[:, place], column.low, column.high)
            if column.kind == "integer":
                values[:, place] = np.rint(values[:, place])
        return values

    def shift_location_scale(
        self, groups: np.ndarray, values: np.ndarray, deviation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return by how much asinh_ratio and log_rms of series with these attributes differ from the means of
        their groups, and the variance that numbers explain within the groups: [n], [n, A], [C, 2] -> [n, C,
        2] twice.

        A number that is not known shifts nothing and explains nothing.

        Args:
            deviation: of asinh_ratio and log_rms over the population, the unit of the slopes.
        """
        shift, explained = np.zeros((2, len(groups), *deviation.shape))
        _, scale = self.population
        for place, column in enumerate(self.columns):
            if not column.slopes:
                continue
            slopes = np.array(column.slopes) * deviation
            number = (values[:, place] - self.values[groups, place]) / scale[place]
            known = ~np.isnan(number)
            shift += slopes * np.clip(np.where(known, number, 0), -FARTHEST, FARTHEST)[:, None, None]
            spread = np.where(known, self.deviations[groups, place] / scale[place], 0)
            explained += np.square(slopes * spread[:, None, None])
        return shift, explained

    def read(self, statics: Sequence[StaticAttribute]) -> np.ndarray:
        """Return the values of series whose attributes are known as cells, numbers within the range that the
        bank states: [n, A].

        Raises:
            UserError: an attribute is missing.
        """
        values = encode_columns(self.columns, statics)
        for place, column in enumerate(self.columns):
            if column.is_number:
                values[:, place] = np.clip(values[:, place], column.low, column.high)
        return values

    def to_json(self) -> list[dict[str, GroupValue]]:
        """Return the manifest's content for each group."""
        return [
            {column.name: self._format_value(group, place) for place, column in enumerate(self.columns)}
            for group in range(len(self.values))
        ]

    def _format_value(self, group: int, place: int) -> GroupValue:
        value, column = self.values[group, place], self.columns[place]
        if np.isnan(value):
            return None
        if column.is_number:
            return {"mean": float(value), "deviation": float(self.deviations[group, place])}
        return column.categories[int(value)]

    @staticmethod
    def from_json(
        columns: Sequence[AttributeColumn], groups: Sequence[Mapping[str, GroupValue]], sizes: np.ndarray
    ) -> "GroupAttributes":
        """Return the attributes that a manifest states; `find_violations` has checked it."""
        values = np.full((len(groups), len(columns)), np.nan)
        deviations = np.zeros_like(values)
        for row, group in enumerate(groups):
            for place, column in enumerate(columns):
                stated = group[column.name]
                if isinstance(stated, str):
                    values[row, place] = column.categories.index(stated)
                elif stated is not None:
                    values[row, place], deviations[row, place] = stated["mean"], stated["deviation"]
        return GroupAttributes(tuple(columns), values, deviations, np.asarray(sizes))


def encode_columns(columns: Sequence[AttributeColumn], statics: Sequence[StaticAttribute]) -> np.ndarray:
    """Return the values of attributes of n series: [n, A] float64.

    Raises:
        UserError: an attribute is missing.
    """
    found = {each.name: each for each in statics}
    for column in columns:
        if column.name not in found:
            raise UserError(
                f"the series have no attribute {column.name!r}, which bank.by names; run the stage "
                "prepare again"
            )
    return np.stack([column.encode(found[column.name].cells) for column in columns], axis=1)


def find_column_violations(columns: Sequence[AttributeColumn], channels: int) -> list[str]:
    """Return the violations in what is stated of attributes for the whole population."""
    return [
        f"attribute {column.name!r} has no slope for each channel"
        for column in columns
        if column.slopes and not (column.is_number and len(column.slopes) == channels)
    ]


def find_group_violations(columns: Sequence[AttributeColumn], group: Mapping[str, GroupValue]) -> list[str]:
    """Return the violations in one group's stated attributes: unknown names or categories, numbers out of
    range.
    """
    if set(group) != {column.name for column in columns}:
        return ["its attributes are not those of the bank"]
    found = []
    for column in columns:
        stated = group[column.name]
        if isinstance(stated, dict):
            mean, deviation = stated.get("mean"), stated.get("deviation")
            low, high = column.low, column.high
            within = None not in (mean, deviation, low, high) and len(stated) == 2 and column.is_number
            if not within or not (low <= mean <= high and deviation >= 0):  # type: ignore[operator]
                found.append(f"attribute {column.name!r} has no mean and deviation within its range")
        elif stated is not None and (column.is_number or stated not in column.categories):
            found.append(f"attribute {column.name!r} has an unknown category")
    return found
