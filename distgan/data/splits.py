"""Splits by owner: a keyed hash of the owner's id, and nothing else, decides who is trained on and who is
held out.

So adding or removing one owner never moves another, on which differential privacy of what is made from the
training split rests. The sizes of the splits are those of independent draws, about n · share.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from distgan import config
from distgan.data.store.private_table import SPLITS, VALIDATION
from distgan.errors import UserError
from distgan.progress import format_count

RANGE = 1 << 64
MOST_SEEDS = 100  # that are tried for one to suggest


@dataclass(frozen=True)
class Cut:
    """Cut of the range of hashes: the shares above 0 in order, and where each ends."""

    shares: dict[str, float]
    ends: list[int]

    @classmethod
    def from_shares(cls, shares: config.Splits, validation: float) -> "Cut":
        """Cut by the three shares, and then the validation owners off the end of the training range."""
        wanted = {name: share for name in SPLITS if (share := getattr(shares, name)) > 0}
        ends = [round(total * RANGE) for total in accumulate(wanted.values())]
        ends[-1] = RANGE
        if validation == 0:
            return cls(wanted, ends)
        wanted["train"] -= validation
        order = {"train": wanted.pop("train"), VALIDATION: validation, **wanted}
        return cls(order, [ends[0] - round(validation * RANGE), *ends])

    def assign(self, names: Sequence[str], seed: int) -> list[str]:
        """Return the split of each owner."""
        splits = list(self.shares)
        return [splits[bisect_right(self.ends, _number(name, seed))] for name in names]

    def find_empty(self, sides: Sequence[str]) -> list[str]:
        """Return the splits that have a share and no owner."""
        return [name for name in self.shares if name not in sides]

    def name_key(self, split: str) -> str:
        """Return the setting of a split's share."""
        return f"data.{split}" if split == VALIDATION else f"data.splits.{split}"


def assign_splits(
    owners: Sequence[str],
    shares: config.Splits,
    seed: int,
    *,
    validation: float = 0.0,
    suggest: bool = True,
) -> np.ndarray:
    """Return `train`, `held_out`, `reference` or `validation` for each series: [n] str. An owner's series
    never part.

    Args:
        validation: share of all owners that is taken from the training share; no other owner moves.
        suggest: a seed that leaves no split empty, in the error; not where a split must not depend on the
            data (privacy.epsilon).

    Raises:
        UserError: a split with a share of owners gets none.
    """
    names = sorted(set(owners))
    cut = Cut.from_shares(shares, validation)
    sides = dict(zip(names, cut.assign(names, seed)))
    empty = cut.find_empty(list(sides.values()))
    if empty:
        raise UserError(_explain(names, cut, seed, empty, suggest))
    return np.array([sides[owner] for owner in owners])


def _number(name: str, seed: int) -> int:
    """Return a uniform number below 2^64 of an id under a key (BLAKE2b)."""
    key = str(seed).encode()
    digest = hashlib.blake2b(
        name.encode("utf-8", "surrogatepass"), digest_size=8, key=key, person=b"distgan split"
    )
    return int.from_bytes(digest.digest(), "big")


def _suggest_none(cut: Cut, split: str) -> str:
    """Return how to do without a split, whose share goes to the training split."""
    if split == VALIDATION:
        return f", or set {cut.name_key(split)}=0"
    if split == "train":
        return ""
    train = cut.shares["train"] + cut.shares[split]
    return f", or set {cut.name_key(split)}=0 {cut.name_key('train')}={train:g}"


def _explain(names: Sequence[str], cut: Cut, seed: int, empty: Sequence[str], suggest: bool) -> str:
    given = ", ".join(f"{name} {share:g}" for name, share in cut.shares.items())
    if len(names) < len(cut.shares):
        return (
            f"{format_count(len(names), 'owner')} of series cannot fill the splits {given}: each needs one "
            f"owner at least; give more series{_suggest_none(cut, empty[0])}"
        )
    text = (
        f"none of {len(names)} owners of series falls into {empty[0]} with data.splits {given} and seed "
        f"{seed}: a hash of the owner's id under the seed decides; "
    )
    better = _find_best_seed(names, cut) if suggest else None
    if better is None:
        return text + f"give more series, raise {cut.name_key(empty[0])}{_suggest_none(cut, empty[0])}"
    counts = cut.assign(names, better)
    listed = ", ".join(f"{counts.count(name)} to {name}" for name in cut.shares)
    return text + f"set seed={better} (which gives {listed}) or raise {cut.name_key(empty[0])}"


def _find_best_seed(names: Sequence[str], cut: Cut) -> int | None:
    """Return the seed of the first `MOST_SEEDS` whose counts are nearest to the shares; None if all leave one
    empty.
    """

    def measure_distance(seed: int) -> float:
        sides = cut.assign(names, seed)
        if cut.find_empty(sides):
            return float("inf")
        return sum(abs(sides.count(name) - share * len(names)) for name, share in cut.shares.items())

    found = min(range(MOST_SEEDS), key=measure_distance)
    return None if measure_distance(found) == float("inf") else found
