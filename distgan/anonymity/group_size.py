"""How many owners must stand behind a released mean: the minimum group size, by the theory of tracing."""

import math
from statistics import NormalDist

from distgan import config


def tracing_auc(released: float, members: float) -> float:
    """Success of the best tracing attack on one mean: Φ(√(d/k)/√2), for d numbers released of k members.

    The attacker holds a target's exact numbers x and the population's mean μ, and scores ⟨x − μ, m − μ⟩ with
    the released mean m. For independent coordinates the score of a member is √(d/k) deviations above a
    stranger's, and two normal scores that far apart are ranked right with probability Φ(√(d/k)/√2). After
    the detection limits of Sankararaman et al. 2009 (Nature Genetics 41) and the inner-product attack of
    Dwork et al. 2015 (FOCS).
    """
    return NormalDist().cdf(math.sqrt(released / members) / math.sqrt(2))


def count_released_numbers(condition_dim: int, channels: int) -> int:
    """Numbers released per group: the condition; mean and deviation of level and of spread, per channel."""
    return condition_dim + 4 * channels


def minimum_group_size(settings: config.Bank, released: int) -> int:
    """Fewest entities behind one mean of `released` numbers d: `min_members`, or what `max_tracing_auc`
    asks for, which is 3.4 d at .65. A study has `min_members` alone.
    """
    if settings.study:
        return settings.min_members
    deviations = NormalDist().inv_cdf(settings.max_tracing_auc) * math.sqrt(2)
    fewest = max(1, math.ceil(released / deviations**2) - 1)
    while tracing_auc(released, fewest) > settings.max_tracing_auc:
        fewest += 1
    return max(settings.min_members, fewest)
