"""P3: are synthetic series nearer to members than to non-members?"""

import numpy as np

from distgan.evaluation.attacks.attack_data import Array, Pair, Scene, Side, both_ways
from distgan.evaluation.attacks.rates import NORMAL, NORMAL_SURE, Measured

SPLITS_AGAIN = 400


def nearer_share(scene: Scene) -> tuple[Measured, str]:
    """P3: the share of synthetic series that are nearer to a member than to a non-member, of equal numbers.

    A few real series are nearest to many synthetic ones, so a share is less sure than its number of series
    says: its interval comes from parting the owners anew at random.
    """
    size = min(scene.members.num_owners, scene.non_members.num_owners)
    (inside, owner), (outside, other) = (
        _nearest_of(scene, side, pair, size)
        for side, pair in ((scene.members, scene.to_members), (scene.non_members, scene.to_non_members))
    )
    coin = scene.rng("ties of the nearest").random(len(inside)) < 0.5
    closer = (inside < outside) | ((inside == outside) & coin)
    share = float(closer.mean())
    owners = np.where(closer, owner, scene.members.num_owners + other)
    weights = np.unique(owners, return_counts=True)[1]
    sides = scene.rng("splits again").random((SPLITS_AGAIN, len(weights))) < 0.5
    error = float((sides @ weights / weights.sum()).std())
    low, high, sure = share - NORMAL * error, share + NORMAL * error, share - NORMAL_SURE * error
    found = Measured(share, max(low, 0.0), min(high, 1.0), max(sure, 0.0), size)
    return found, f"interval from {SPLITS_AGAIN} random re-splits"


def _nearest_of(scene: Scene, side: Side, pair: Pair, size: int) -> tuple[Array, Array]:
    """Of each synthetic series the distance to the nearest of `size` random owners, and that owner."""
    if side.num_owners == size:
        return pair.there, side.owners[pair.there_place]
    rows = np.flatnonzero((scene.rng("as many owners").permutation(side.num_owners) < size)[side.owners])
    fewer = both_ways(scene.rows(scene.synthetic), scene.rows(side.series[rows]))
    return fewer.there, side.owners[rows[fewer.there_place]]
