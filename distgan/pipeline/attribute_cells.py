"""Assign series to groups by the attributes that `bank.by` names: cells of training series, and the group of
a non-member.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from distgan import config
from distgan.anonymity import faiss_backend
from distgan.anonymity.bank import Bank
from distgan.anonymity.cells import Cells, CountedEntities, find_cells
from distgan.anonymity.group_size import (
    compute_minimum_group_size,
    count_attribute_numbers,
    count_released_numbers,
)
from distgan.anonymity.groups import Members
from distgan.anonymity.public_cells import share_first, translate_cells
from distgan.data.static_attributes import StaticAttribute
from distgan.errors import UserError
from distgan.pipeline.training_data import TrainingData

LABEL = "label"  # the source's labels, as an attribute
FORBIDDEN = 1e6  # distance of a group that states another category
UNSTATED = 1.0  # of one that states none


def choose_statics(
    by: Sequence[str], statics: Iterable[StaticAttribute], labels: Sequence[str] | np.ndarray | None
) -> tuple[StaticAttribute, ...]:
    """Return the attributes that `bank.by` names, in its order.

    Raises:
        UserError: the series have no attribute of that name; says which they have.
    """
    known = {each.name: each for each in statics}
    if labels is not None and LABEL not in known:
        known[LABEL] = StaticAttribute(LABEL, "categorical", np.asarray(labels, dtype=str))
    for name in by:
        if name not in known:
            there = ", ".join(known) or "none; see data.attributes and data.columns.attributes"
            raise UserError(f"bank.by names {name!r}, but the attributes of the series are: {there}")
    return tuple(known[name] for name in by)


def select_training_statics(settings: config.Config, data: TrainingData) -> tuple[StaticAttribute, ...]:
    """Return the attributes of series that groups go by, none without bank.by. Raises as `choose_statics`.

    Under privacy.epsilon those that an entity has in its first series, as privacy.categories lists them.
    """
    found = translate(settings, choose_statics(settings.bank.by, data.statics, data.labels))
    return found if settings.privacy.epsilon is None else share_first(found, data.entity_codes)


def translate(settings: config.Config, statics: Iterable[StaticAttribute]) -> tuple[StaticAttribute, ...]:
    """Return attributes as privacy.categories lists their values; others as they are.

    Raises:
        UserError: as `translate_cells`.
    """
    listed, kinds = settings.privacy.categories, settings.data.attribute_kinds
    return tuple(
        translate_cells(each, listed[each.name], as_written=kinds.get(each.name) == "categorical")
        if each.name in listed
        else each
        for each in statics
    )


def count_numbers(statics: Iterable[StaticAttribute]) -> int:
    """Return the numbers that are released of each group for attributes."""
    return count_attribute_numbers(each.kind for each in statics)


def find_training_cells(
    settings: config.Config, data: TrainingData, loads: np.ndarray, owners: np.ndarray
) -> Cells | None:
    """Return the cells that groups never mix, or None without bank.by.

    Args:
        loads, owners: [n] of the training series.

    Raises:
        UserError: as `choose_statics` and `find_cells`.
    """
    if not settings.bank.by:
        return None
    statics = select_training_statics(settings, data)
    released = count_released_numbers(
        settings.bank.condition_dim, data.store.channels, count_numbers(statics)
    )
    fewest = compute_minimum_group_size(settings.bank, released)
    return find_cells(statics, CountedEntities(data.entity_codes, loads, owners, fewest, settings.bank))


def assign_by_attributes(
    points: np.ndarray, values: np.ndarray, members: Members, bank: Bank, own: np.ndarray
) -> np.ndarray:
    """Return the group that each non-member would be in: of the groups whose attributes fit best, that of the
    nearest member. [n, K], [n, A], members' values [m, A] -> [n] int64.
    """
    assert bank.statics is not None
    misfit = measure_misfit(values, members, bank, own)
    found = np.empty(len(points), np.int64)
    fits = misfit <= misfit.min(axis=1, keepdims=True) + 1e-9
    patterns, index = np.unique(fits, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        rows = np.flatnonzero(index.ravel() == number)
        inside = np.flatnonzero(pattern[members.groups])
        nearest = faiss_backend.find_nearest_centroid(points[rows], members.points[inside])
        found[rows] = members.groups[inside][nearest]
    return found


def measure_misfit(values: np.ndarray, members: Members, bank: Bank, own: np.ndarray) -> np.ndarray:
    """Return how badly each group's attributes fit those of series: [n, A] -> [n, G]. Numbers count by how
    far they lie outside of the range of the group's members.
    """
    assert bank.statics is not None
    stated, misfit = bank.statics.values, np.zeros((len(values), bank.num_groups))
    for place, column in enumerate(bank.statics.columns):
        given = values[:, place, None]
        if not column.is_number:
            other = (given != stated[None, :, place]) & ~np.isnan(given) & ~np.isnan(stated[None, :, place])
            unstated = np.isnan(stated[None, :, place]) & ~np.isnan(given)
            misfit += FORBIDDEN * other + UNSTATED * unstated
            continue
        span = max((column.high or 0) - (column.low or 0), 1e-9)
        for group in range(bank.num_groups):
            numbers = own[members.groups == group, place]
            numbers = numbers[~np.isnan(numbers)]
            if len(numbers):
                outside = np.maximum(numbers.min() - given[:, 0], given[:, 0] - numbers.max())
                misfit[:, group] += np.nan_to_num(np.maximum(outside, 0)) / span
    return misfit
