"""P3: are synthetic series nearer to members than to non-members?"""

import numpy as np

from distgan.evaluation.attacks.attack_data import Array, AttackData, Pair, Side, both_ways
from distgan.evaluation.attacks.rates import NORMAL, NORMAL_SURE, Measured

SPLITS_AGAIN = 400


def nearer_share(attack_data: AttackData) -> tuple[Measured, str]:
    """P3: the share of synthetic series that are nearer to a member than to a non-member, of equal numbers.

    A few real series are nearest to many synthetic ones, so a share is less sure than its number of series
    says: its interval comes from parting the owners anew at random.
    """
    size = min(attack_data.members.num_owners, attack_data.non_members.num_owners)
    (inside, owner), (outside, other) = (
        _nearest_of(attack_data, side, pair, size)
        for side, pair in (
            (attack_data.members, attack_data.to_members),
            (attack_data.non_members, attack_data.to_non_members),
        )
    )
    coin = attack_data.rng("ties of the nearest").random(len(inside)) < 0.5
    closer = (inside < outside) | ((inside == outside) & coin)
    share = float(closer.mean())
    owners = np.where(closer, owner, attack_data.members.num_owners + other)
    weights = np.unique(owners, return_counts=True)[1]
    sides = attack_data.rng("splits again").random((SPLITS_AGAIN, len(weights))) < 0.5
    error = float((sides @ weights / weights.sum()).std())
    low, high, sure = share - NORMAL * error, share + NORMAL * error, share - NORMAL_SURE * error
    found = Measured(share, max(low, 0.0), min(high, 1.0), max(sure, 0.0), size)
    return found, f"interval from {SPLITS_AGAIN} random re-splits"


def _nearest_of(attack_data: AttackData, side: Side, pair: Pair, size: int) -> tuple[Array, Array]:
    """Of each synthetic series the distance to the nearest of `size` random owners, and that owner."""
    if side.num_owners == size:
        return pair.there, side.owners[pair.there_place]
    rows = np.flatnonzero(
        (attack_data.rng("as many owners").permutation(side.num_owners) < size)[side.owners]
    )
    fewer = both_ways(attack_data.rows(attack_data.synthetic), attack_data.rows(side.series[rows]))
    return fewer.there, side.owners[rows[fewer.there_place]]
