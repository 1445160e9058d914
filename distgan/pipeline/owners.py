"""Merge owners whose series are near copies of each other: they count as one owner, whatever their ids.

`prepare` merges such owners before it splits, so that twins never fall into training and held-out series, and
so that minimum group sizes and the evidence of a release count people. `release` looks again.
"""

from collections.abc import Sequence

import numpy as np

from distgan import config
from distgan.anonymity.copy_pairs import Population
from distgan.anonymity.near_copies import find_near_copies, merge_owners
from distgan.data.store.private_table import read_table
from distgan.data.store.reader import Store
from distgan.errors import Mismatch, UserError
from distgan.run import Run


def list_near_copies(store: Store, owners: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return the pairs of rows of different owners that are near copies: int64 [P, 2]."""
    codes = np.unique(np.asarray(owners, dtype=str), return_inverse=True)[1]
    population = Population(
        store.read_rows_once, codes, store.length, store.channels, store.meta.axis.steps_per_day
    )
    return find_near_copies(population)


def merge(
    settings: config.Config, store: Store, entities: Sequence[str], owners: Sequence[str]
) -> tuple[Sequence[str], Sequence[str], int]:
    """Give owners with near copies of one another's series one name.

    The merged owner has the first of the names in the alphabet, and its series count as one entity: a group
    of the minimum size then holds that many people, and nobody else is renamed or moved by the split.

    Under privacy.epsilon nothing is merged. One more owner could join two others into one and so change what
    they add to the sums, which the guarantee (one entity added or removed) does not cover; without a merge, a
    person under m names would be protected at m times epsilon only. So it is refused, and the owner of the
    data must name the owners.

    Returns:
        Entities, owners, and how many owners were merged into another.

    Raises:
        UserError: privacy.epsilon is set, and there are near copies.
    """
    pairs = list_near_copies(store, owners)
    if not len(pairs):
        return entities, owners, 0
    names = merge_owners(owners, pairs)
    merged = len(set(owners)) - len(set(names))
    if settings.privacy.epsilon is not None:
        raise UserError(
            f"{merged} of {len(set(owners))} owners have series that are near copies of another "
            "owner's. privacy.epsilon protects one owner, so a person under several ids would be "
            "protected less; give the series of one person one owner, or leave the copies out"
        )
    before: dict[str, set[str]] = {}
    for new, old in zip(names, owners):
        before.setdefault(new, set()).add(old)
    joined = [new if len(before[new]) > 1 else entity for entity, new in zip(entities, names, strict=True)]
    return joined, names, merged


def describe_merged(merged: int) -> str:
    """Return a part of a summary: how many owners count as another, if any; no ids."""
    if not merged:
        return ""
    verb = (
        "owner has series that are near copies" if merged == 1 else "owners have series that are near copies"
    )
    return f"; {merged} {verb} of another owner's and are counted as that owner"


def count_training_owners(run: Run) -> int:
    """Return how many owners the networks were trained on."""
    table = read_table(run.private_table)
    return len(set(np.asarray(table.owners)[table.find_rows("train")].tolist()))


def audit_owners(run: Run) -> str:
    """Look for near copies again in the stored series; returns what was verified.

    Raises:
        Mismatch: the private table counts owners apart whose series are near copies.
    """
    table = read_table(run.private_table)
    pairs = list_near_copies(Store.open(run.series), table.owners)
    if len(pairs):
        merged = len(set(table.owners)) - len(set(merge_owners(table.owners.tolist(), pairs)))
        raise Mismatch(
            f"{run.private_table} counts {merged} owners too many: their series are "
            "near copies of another owner's; train again in another run_dir, from the stage "
            "prepare on"
        )
    return f"owners: {len(set(table.owners)):,}, none with a near copy of another's series"
