"""Cells of the attributes' joint distribution, none smaller than the minimum group size.

The rule, in the order of `bank.by`:
1. Values of a categorical attribute that fewer training entities have than the minimum group size become
   `other`; while `other` has too few, the rarest of the kept values joins it.
2. The training series are divided by the first attribute. Values with enough entities get a cell each.
   Series with other values, or none, go together into a cell in which the attribute is unknown; while that
   has too few entities, the smallest of the others joins it. Numbers are cut into at most three ranges, each
   with three times the minimum group size; series without the number are a cell of their own, or go with the
   largest range.
3. Each cell is divided by the next attribute in the same way.

What is stated of numbers counts owners: an owner may have several entities, as the years of a home, and the
ends of a range or a group's mean must not be those of few people.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distgan import config
from distgan.anonymity.group_size import MARGIN
from distgan.anonymity.groups import TOLERANCE, Members, cap_weights, count_effective_members
from distgan.anonymity.statics import OTHER, AttributeColumn, GroupAttributes, encode_columns
from distgan.data.static_attributes import StaticAttribute, count_entities
from distgan.errors import UserError

RANGES = 3  # of a number
RANGE_STEPS = 128  # a stated range ends at multiples of a power of two, at most this fraction of its width


@dataclass(frozen=True)
class Cells:
    """The cell of each training series, and its attributes as its cell has them.

    Attributes:
        cells: [n] int64, 0 .. cells - 1.
        values: [n, A], NaN where the cell leaves an attribute unknown.
    """

    columns: tuple[AttributeColumn, ...]
    cells: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class CountedEntities:
    """The training entities: the entity, the load and the owner of each series [n], and the minimum number in
    a group.
    """

    entities: np.ndarray
    loads: np.ndarray
    owners: np.ndarray
    fewest: int
    settings: config.Bank

    def count(self, rows: np.ndarray) -> float:
        """Return the number of entities of equal load that the series `rows` count as in one group."""
        codes = np.unique(self.entities[rows], return_inverse=True)[1]
        if not len(codes):
            return 0.0
        weights = cap_weights(np.bincount(codes, weights=self.loads[rows]), self.settings.max_share)
        return 0.0 if weights is None else count_effective_members(weights)

    def are_enough(self, rows: np.ndarray, times: float = 1.0) -> bool:
        """Return whether the series `rows` make a group of so many `times` the minimum size."""
        return self.count(rows) >= times * self.fewest * (1 - TOLERANCE)


def find_cells(statics: Sequence[StaticAttribute], counted: CountedEntities) -> Cells:
    """Return the cells of training series by the attributes `statics`, in their order.

    Raises:
        UserError: an attribute has too few entities with different values.
    """
    columns = tuple(fit_column(each, counted.entities, counted.owners, counted.fewest) for each in statics)
    values = encode_columns(columns, statics)
    cells = np.full(len(values), -1, np.int64)
    for number, rows in enumerate(_divide(columns, values, np.arange(len(values)), 0, counted)):
        cells[rows] = number
    return Cells(columns, cells, values)


def fit_column(
    attribute: StaticAttribute, entities: np.ndarray, owners: np.ndarray, fewest: int
) -> AttributeColumn:
    """Return the categories of an attribute that enough entities have, or the range of a number that enough
    owners reach on either side, rounded.

    Raises:
        UserError: too few entities have one.
    """
    name, kind = attribute.name, attribute.kind
    remedy = f"leave {name!r} out of bank.by, or add entities"
    if attribute.is_number:
        lowest, highest = find_extremes(attribute.parse_numbers(), owners)
        if len(lowest) < 2 * fewest:
            raise UserError(
                f"attribute {name!r} is known of {len(lowest)} training owners, fewer than twice the "
                f"minimum group size of {fewest}; {remedy}"
            )
        low, high = _round_inward(float(lowest[fewest - 1]), float(highest[-fewest]))
        return AttributeColumn(name=name, kind=kind, low=low, high=high)
    counts = count_entities(attribute, entities)
    kept = [value for value, count in counts.items() if count >= fewest and value != OTHER]
    common, rare = len(kept), [value for value in counts if value not in kept]
    while rare and kept and _count_common(attribute, entities, rare) < fewest:
        rare.append(kept.pop())  # the rarest of those kept
    categories = sorted(kept) + ([OTHER] if rare else [])
    if len(categories) < 2 or (kind == "boolean" and rare):
        raise UserError(
            f"attribute {name!r} has {common} values that at least {fewest} training entities have (the "
            f"minimum group size), and groups by it need two; {remedy}, or see bank.condition_dim and "
            "bank.min_members"
        )
    return AttributeColumn(name=name, kind=kind, categories=categories)


def _round_inward(low: float, high: float) -> tuple[float, float]:
    """Return the ends of a range at multiples of a power of two, so that neither is the number of one owner;
    as many owners are at or beyond them. Whole numbers of a short range stay as they are.
    """
    if not low < high:
        return low, high
    step = 2.0 ** math.floor(math.log2((high - low) / RANGE_STEPS))
    return math.ceil(low / step) * step, math.floor(high / step) * step


def find_extremes(numbers: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest numbers of the owners who have any, ascending: [n], [n] -> [E]
    twice.
    """
    known = ~np.isnan(numbers)
    codes = np.unique(owners[known], return_inverse=True)[1]
    lowest = np.full(int(codes.max(initial=-1)) + 1, np.inf)
    highest = -lowest
    np.minimum.at(lowest, codes, numbers[known])
    np.maximum.at(highest, codes, numbers[known])
    return np.sort(lowest), np.sort(highest)


def _count_common(attribute: StaticAttribute, entities: np.ndarray, values: list[str]) -> int:
    return len(np.unique(entities[np.isin(attribute.cells, values)]))


def _divide(
    columns: Sequence[AttributeColumn],
    values: np.ndarray,
    rows: np.ndarray,
    place: int,
    counted: CountedEntities,
) -> list[np.ndarray]:
    """Divide `rows` by the attributes from `place` on into a list of parts. Write NaN into `values` where a
    part mixes categories.
    """
    if place == len(columns):
        return [rows]
    own = values[rows, place]
    if columns[place].is_number:
        parts = _cut(rows, own, counted)
    else:
        parts = [rows[own == code] for code in range(columns[place].width)]
        kept = [part for part in parts if len(part) and counted.are_enough(part)]
        pool = np.setdiff1d(rows, np.concatenate([*kept, rows[:0]]))
        while len(pool) and kept and not counted.are_enough(pool):
            smallest = min(range(len(kept)), key=lambda number: counted.count(kept[number]))
            pool = np.sort(np.concatenate([pool, kept.pop(smallest)]))
        values[pool, place] = np.nan
        parts = [*kept, *([pool] if len(pool) else [])]
    return [cell for part in parts for cell in _divide(columns, values, part, place + 1, counted)]


def _cut(rows: np.ndarray, own: np.ndarray, counted: CountedEntities) -> list[np.ndarray]:
    """Cut `rows` at quantiles of their numbers into as many ranges, up to three, as all have three times the
    minimum group size; those without a number are a part of their own, or go with the largest.
    """
    known, unknown = rows[~np.isnan(own)], rows[np.isnan(own)]
    if not len(known):
        return [rows]
    parts = _find_ranges(known, own[~np.isnan(own)], counted)
    if counted.are_enough(unknown):
        return [*parts, unknown]
    largest = max(range(len(parts)), key=lambda number: len(parts[number]))
    parts[largest] = np.sort(np.concatenate([parts[largest], unknown]))
    return parts


def _find_ranges(rows: np.ndarray, numbers: np.ndarray, counted: CountedEntities) -> list[np.ndarray]:
    for ranges in range(RANGES, 1, -1):
        edges = np.unique(np.quantile(numbers, np.arange(1, ranges) / ranges))
        bins = np.searchsorted(edges, numbers, side="left")
        parts = [rows[bins == number] for number in np.unique(bins)]
        if all(counted.are_enough(part, MARGIN) for part in parts):
            return parts
    return [rows]


def summarise_groups(found: Cells, members: Members, owners: np.ndarray, fewest: int) -> GroupAttributes:
    """Return the stated attributes of groups within cells: the category that all members have; mean and
    deviation of a number by the members' weights, where as many owners [n] as a group needs have one.
    """
    shape = (members.num_groups, len(found.columns))
    values, deviations, sizes = np.full(shape, np.nan), np.zeros(shape), np.zeros(shape[0], np.int64)
    for group in range(shape[0]):
        rows = np.flatnonzero(members.groups == group)
        sizes[group] = len(np.unique(members.entities[rows]))
        for place, column in enumerate(found.columns):
            own = found.values[rows, place]
            if not column.is_number:
                values[group, place] = own[0] if (own == own[0]).all() else np.nan
                continue
            there = rows[~np.isnan(own)]
            if not len(there):
                continue
            weights = members.weights[there] / members.weights[there].sum()
            codes = np.unique(owners[there], return_inverse=True)[1]
            if count_effective_members(np.bincount(codes, weights=weights)) < fewest * (1 - TOLERANCE):
                continue
            numbers = np.clip(found.values[there, place], column.low, column.high)
            mean = float(weights @ numbers)
            values[group, place] = np.clip(mean, column.low, column.high)
            deviations[group, place] = float(np.sqrt(weights @ (numbers - mean) ** 2))
    return GroupAttributes(found.columns, values, deviations, sizes)
