"""Evidence of the owners found among members and among non-members: the difference and its exact interval.

Which owners were trained on is decided by lot, and nothing in the search knows the sides. If the release
says nothing of its members, each owner found is therefore a member with the members' share of all owners,
whatever the search compares, samples or misses (a permutation test). Given a + b owners found, a is at
most as spread as a binomial number of that share, so that Clopper and Pearson's interval is exact or too
wide.
"""

from dataclasses import dataclass

import numpy as np

from distgan.evaluation.attacks.rates import IntervalEstimate, bound_rate

Array = np.ndarray

FALSE_ALARMS = 0.001  # chance that an honest release is refused by any search of a fragment attack


@dataclass(frozen=True)
class SearchResult:
    """The owners found by one search: under one transform, in windows of one length.

    Attributes:
        found: [members, non-members] found.
        sure: members of whom one alone is a leak, since chance does not explain it.
    """

    transform: str
    length: str
    found: tuple[int, int]
    sure: int = 0


def count_sides(side: Array, entities: Array) -> tuple[int, int]:
    """Count distinct entities of each side: [E] sides, any entities -> (members, non-members)."""
    distinct = np.unique(side[np.unique(entities)], return_counts=True)
    counts = dict(zip(distinct[0].tolist(), distinct[1].tolist()))
    return counts.get(0, 0), counts.get(1, 0)


def measure_difference(result: SearchResult, sizes: tuple[int, int], searches: int) -> IntervalEstimate:
    """Return the members found minus the non-members expected among as many, with the exact interval; at
    least those of whom one alone is a leak.

    Args:
        sizes: members and non-members that were searched.
        searches: how many searches this one may be the worst of (Bonferroni).
    """
    members, others = result.found
    number, ratio = members + others, sizes[0] / max(sizes[1], 1)

    def subtract(share: float) -> float:
        return number * (share - (1 - share) * ratio)

    if not number:
        return IntervalEstimate.from_exact(float(result.sure), sizes[0])
    low, high = (subtract(share) for share in bound_rate(members, number))
    surely = subtract(bound_rate(members, number, 2 * FALSE_ALARMS / max(searches, 1))[0])
    value = members - others * ratio
    if result.sure:  # each of them stands for itself
        value, low, high, surely = (max(each, float(result.sure)) for each in (value, low, high, surely))
    return IntervalEstimate(value, low, high, surely, sizes[0])
