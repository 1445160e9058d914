"""The minimum group size: the number of owners behind a released mean, by the theory of membership inference
on means.
"""

import math
from collections.abc import Iterable
from statistics import NormalDist

from distgan import config
from distgan.config.data import AttributeKind

MARGIN = 3.0  # minimum sizes in a group that clustering aims for
FEWEST_GROUPS = 16  # that the margin must leave: few series keep groups of the minimum size


def compute_tracing_auc(released: float, members: float) -> float:
    """Return the success of the best tracing attack on one mean: Φ(√(d/k)/√2), for d numbers released of k
    members.

    The attacker holds a target's exact numbers x and the population's mean μ, and scores ⟨x − μ, m − μ⟩ with
    the released mean m. For independent coordinates the score of a member is √(d/k) deviations above a
    non-member's, and two normal scores that far apart are ranked right with probability Φ(√(d/k)/√2). This is
    an average over members: those far from the mean are found more often. After the detection limits of
    Sankararaman et al. 2009 (Nature Genetics 41) and the inner-product attack of Dwork et al. 2015 (FOCS).
    """
    return NormalDist().cdf(math.sqrt(released / members) / math.sqrt(2))


def count_released_numbers(condition_dim: int, channels: int, attributes: int = 0) -> int:
    """Count the numbers released per group: the condition; mean and deviation of location and of scale, per
    channel; those of `count_attribute_numbers`.
    """
    return condition_dim + 4 * channels + attributes


def count_attribute_numbers(kinds: Iterable[AttributeKind]) -> int:
    """Count the numbers released per group for attributes: one category each, or mean and deviation of a
    number.
    """
    return sum(2 if kind in ("integer", "float") else 1 for kind in kinds)


def compute_minimum_group_size(settings: config.Bank, released: int) -> int:
    """Return the fewest entities behind one mean of `released` numbers d: `min_members`, or what
    `max_tracing_auc` requires, which is 3.4 d at .65. A study has `min_members` alone.
    """
    if settings.study:
        return settings.min_members
    deviations = NormalDist().inv_cdf(settings.max_tracing_auc) * math.sqrt(2)
    fewest = max(1, math.ceil(released / deviations**2) - 1)
    while compute_tracing_auc(released, fewest) > settings.max_tracing_auc:
        fewest += 1
    return max(settings.min_members, fewest)


def compute_target_group_size(minimum: int, entities: int) -> int:
    """Return the least size of the groups that clustering aims for where no number of clusters is given.

    Groups of the minimum size stand at the limit of the tracing attack, so a release of them may be refused.
    Three times the minimum is the aim, and less where fewer than 16 groups would be left.
    """
    margin = min(MARGIN, max(1.0, entities / (FEWEST_GROUPS * minimum)))
    return int(margin * minimum)


def describe_margin(minimum: int, entities: int) -> str:
    """Describe what the default number of clusters means for a release."""
    target = compute_target_group_size(minimum, entities)
    if target >= MARGIN * minimum:
        return f"at least {target} entities to a group, {MARGIN:g} times the minimum of {minimum}"
    needed = math.ceil(FEWEST_GROUPS * minimum * MARGIN)
    return (
        f"at least {target} entities to a group, {target / minimum:.1f} times the minimum of {minimum}: a "
        f"release may be refused for membership inference (P6); {needed} entities, a smaller "
        "bank.condition_dim or fewer clusters (clusters.count) give a margin"
    )
