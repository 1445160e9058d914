"""Which owner is trained on and which is held out: a keyed hash of the owner's id, and nothing else, decides.

So adding or removing one owner never moves another, on which differential privacy of what is made from the
training split rests. The sizes of the splits are those of independent draws, about n · share.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from distgan import config
from distgan.data.store.private_table import SPLITS
from distgan.errors import UserError

RANGE = 1 << 64
MOST_SEEDS = 100  # that are tried for one to suggest


def assign_splits(
    owners: Sequence[str], shares: config.Splits, seed: int, *, suggest: bool = True
) -> np.ndarray:
    """Return `train`, `held_out` or `reference` for each series: [n] str. An owner's series never part.

    Args:
        suggest: a seed that leaves no split empty, in the error; not where a split must not depend on the
        data (privacy.epsilon).

    Raises:
        UserError: a split with a share of owners gets none.
    """
    names = sorted(set(owners))
    sides = dict(zip(names, _sides(names, shares, seed)))
    empty = _empty(list(sides.values()), shares)
    if empty:
        raise UserError(_explain(names, shares, seed, empty, suggest))
    return np.array([sides[owner] for owner in owners])


def _sides(names: Sequence[str], shares: config.Splits, seed: int) -> list[str]:
    wanted = [getattr(shares, name) for name in SPLITS]
    last = max(place for place, share in enumerate(wanted) if share > 0)
    ends = [round(total * RANGE) for total in accumulate(wanted)]
    ends[last:] = [RANGE] * (len(ends) - last)
    return [SPLITS[bisect_right(ends, _number(name, seed))] for name in names]


def _number(name: str, seed: int) -> int:
    """Return a uniform number below 2^64 of an id under a key (BLAKE2b)."""
    key = str(seed).encode()
    digest = hashlib.blake2b(
        name.encode("utf-8", "surrogatepass"), digest_size=8, key=key, person=b"distgan split"
    )
    return int.from_bytes(digest.digest(), "big")


def _empty(sides: Sequence[str], shares: config.Splits) -> list[str]:
    """Return the splits that have a share and no owner."""
    return [name for name in SPLITS if getattr(shares, name) > 0 and name not in sides]


def _explain(
    names: Sequence[str], shares: config.Splits, seed: int, empty: Sequence[str], suggest: bool
) -> str:
    wanted = {name: getattr(shares, name) for name in SPLITS if getattr(shares, name) > 0}
    given = ", ".join(f"{name} {share:g}" for name, share in wanted.items())
    if len(names) < len(wanted):
        return (
            f"{len(names)} owners of series are too few for the splits {given}: each needs one owner at "
            f"least; "
            "give more series, or set a share of data.splits to 0"
        )
    text = (
        f"none of {len(names)} owners of series falls into {empty[0]} with data.splits {given} and seed "
        f"{seed}: a "
        "hash of the owner's id under the seed decides; "
    )
    better = _best_seed(names, shares) if suggest else None
    if better is None:
        return text + f"give more series, raise data.splits.{empty[0]}, or set it to 0"
    counts = _sides(names, shares, better)
    listed = ", ".join(f"{counts.count(name)} to {name}" for name in wanted)
    return text + f"set seed={better} (which gives {listed}) or raise data.splits.{empty[0]}"


def _best_seed(names: Sequence[str], shares: config.Splits) -> int | None:
    """Return the seed of the first `MOST_SEEDS` whose counts are nearest to the shares; None if all leave one
    empty.
    """

    def distance(seed: int) -> float:
        sides = _sides(names, shares, seed)
        if _empty(sides, shares):
            return float("inf")
        return sum(abs(sides.count(name) - getattr(shares, name) * len(names)) for name in SPLITS)

    found = min(range(MOST_SEEDS), key=distance)
    return None if distance(found) == float("inf") else found
