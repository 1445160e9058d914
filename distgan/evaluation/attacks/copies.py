"""P3: the proximity attack. Are synthetic series nearer to members than to non-members?"""

import numpy as np

from distgan.evaluation.attacks.attack_data import Array, AttackData, Pair, Side
from distgan.evaluation.attacks.rates import NORMAL, NORMAL_SURE, IntervalEstimate

SPLITS_AGAIN = 400


def measure_nearer_share(attack_data: AttackData) -> tuple[IntervalEstimate, str]:
    """Measure P3: the share of synthetic series nearer to a member than to a non-member, of equal numbers.

    A few real series are nearest to many synthetic ones, so a share is less sure than its number of series
    says: its interval comes from parting the owners anew at random.
    """
    size = min(attack_data.members.num_owners, attack_data.non_members.num_owners)
    (inside, owner), (outside, other) = (
        _find_nearest(attack_data, side, pair, size)
        for side, pair in (
            (attack_data.members, attack_data.to_members),
            (attack_data.non_members, attack_data.to_non_members),
        )
    )
    coin = attack_data.make_rng("ties of the nearest").random(len(inside)) < 0.5
    closer = (inside < outside) | ((inside == outside) & coin)
    share = float(closer.mean())
    owners = np.where(closer, owner, attack_data.members.num_owners + other)
    weights = np.unique(owners, return_counts=True)[1]
    sides = attack_data.make_rng("splits again").random((SPLITS_AGAIN, len(weights))) < 0.5
    error = float((sides @ weights / weights.sum()).std())
    low, high, sure = share - NORMAL * error, share + NORMAL * error, share - NORMAL_SURE * error
    found = IntervalEstimate(share, max(low, 0.0), min(high, 1.0), max(sure, 0.0), size)
    return found, f"interval from {SPLITS_AGAIN} random re-splits"


def _find_nearest(attack_data: AttackData, side: Side, pair: Pair, size: int) -> tuple[Array, Array]:
    """Return the distance of each synthetic series to the nearest of `size` random owners, and that owner."""
    if side.num_owners == size:
        return pair.there, side.owners[pair.there_place]
    rows = np.flatnonzero(
        (attack_data.make_rng("as many owners").permutation(side.num_owners) < size)[side.owners]
    )
    fewer = attack_data.find_nearest(side.series[rows])
    return fewer.there, side.owners[rows[fewer.there_place]]
