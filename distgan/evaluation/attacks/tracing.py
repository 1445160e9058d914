"""Membership inference on released means ("tracing"): who is behind a mean?

The attacker knows a target's own numbers, whichever group it would be in, and non-members of that group. The
score is the inner product of the target's and of the released mean's distance from the non-members' mean,
both in units in which non-members vary alike (Dwork et al. 2015; the best linear test for normal numbers). A
leak of a few members is hidden among thousands of others, so success is also reported for small groups and
outliers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from distgan.anonymity.attributes import to_ratio_and_log_rms
from distgan.evaluation.comparisons import WORDS
from distgan.progress import format_count

FEWEST_NON_MEMBERS = 4  # of a group, half of whom the attacker knows; groups with fewer are not attacked
SMALLEST_QUARTER, FARTHEST = 0.25, 0.05
RIDGE = 1e-3  # of the non-members' mean variance
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Attack:
    """The attack on one kind of entity: AUC with its 95 % interval, 0.5 is guessing.

    Attributes:
        members, non_members: owners of the entities, on whom the interval is based.
    """

    exposure: str
    meaning: str
    members: int
    non_members: int
    auc: float
    low: float
    high: float
    limit: float

    @property
    def verdict(self) -> str:
        if self.low > self.limit:
            return WORDS["over"].text
        return WORDS["pass" if self.high <= self.limit else "insufficient"].text


def stack_entity_numbers(points: np.ndarray, attributes: np.ndarray) -> np.ndarray:
    """Return one entity's numbers in the form that is released of a group: [n, K], [n, C, 2] -> [n, K + 4C].

    Condition; asinh_ratio and log_rms; their squares, since deviations are released, too.
    """
    values = to_ratio_and_log_rms(attributes).reshape(len(points), -1)
    return np.concatenate([points, values, values**2], axis=1).astype(np.float64)


def stack_group_numbers(means: np.ndarray, attributes_mean: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Return the released means in the same form: [G, K], [G, C, 2], [G, C, 2] -> [G, K + 4C]."""
    first, spread = (
        array.reshape(len(means), -1).astype(np.float64) for array in (attributes_mean, deviations)
    )
    return np.concatenate([means, first, spread**2 + first**2], axis=1)


@dataclass(frozen=True)
class Sample:
    """Entities: the numbers of each, [n, D], and the group that each is in, or would be in, [n].

    Attributes:
        averaged: [n] bool, who is really in the group's mean, if not all.
        owners: [n] of whom each is; by default each of another.
    """

    numbers: np.ndarray
    groups: np.ndarray
    averaged: np.ndarray | None = None
    owners: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "Sample":
        averaged, owners = (None if each is None else each[rows] for each in (self.averaged, self.owners))
        return Sample(self.numbers[rows], self.groups[rows], averaged, owners)

    def list_owners(self) -> np.ndarray:
        return np.arange(len(self.numbers)) if self.owners is None else self.owners


def run_attack(
    members: Sample,
    non_members: Sample,
    released: np.ndarray,
    *,
    limit: float,
    farthest: float = FARTHEST,
    seed: int = 0,
) -> list[Attack]:
    """Run the attack by exposure; return nothing if there are too few non-members for any group.

    Args:
        non_members: of entities that are in no group.
        released: [G, D].
        farthest: share of the members that counts as outliers.
    """
    scores = _score_sides(members, non_members, released, seed)
    if scores is None:
        return []
    inside, outside, far_in, far_out = scores
    known, others = np.isfinite(inside), np.isfinite(outside)
    small = _find_smallest(members.groups, len(released))
    edge = np.quantile(far_in[known], 1 - farthest)
    far_non_members = others & (far_out >= min(edge, np.quantile(far_out[others], 1 - farthest)))
    exposures = [
        ("all", "every entity behind a released mean", known, others),
        (
            "smallest groups",
            "the quarter of the groups with the fewest",
            known & small[members.groups],
            others & small[non_members.groups],  # scores of other groups have other scales
        ),
        (
            "outliers",
            f"the {farthest:.0%} farthest from their groups",
            known & (far_in >= edge),
            far_non_members,
        ),
    ]
    if members.averaged is not None:
        exposures.insert(1, ("averaged", "entities really in the mean", known & members.averaged, others))
    own, other = members.list_owners(), non_members.list_owners()
    return [
        Attack(
            name,
            meaning,
            len(np.unique(own[who])),
            len(np.unique(other[whom])),
            *estimate_auc(inside[who], outside[whom], own[who], other[whom]),
            limit,
        )
        for name, meaning, who, whom in exposures
        if who.any() and whom.any()
    ]


def _score_sides(
    members: Sample, non_members: Sample, released: np.ndarray, seed: int
) -> tuple[np.ndarray, ...] | None:
    """Return scores of members and non-members, and the distance of each from its group; NaN where not
    attacked.

    Half of the non-members are the attacker's own, then the other half; nobody is scored by a mean that an
    entity of the same owner is in.
    """
    number, count = len(released), len(non_members.numbers)
    held = np.bincount(non_members.groups, minlength=number)
    usable = held >= FEWEST_NON_MEMBERS
    if not usable.any():
        return None
    order = np.random.default_rng(seed).permutation(count)
    half = _halve_owners(non_members, order, np.flatnonzero(usable))
    for group in np.flatnonzero(usable):
        usable[group] = len(np.unique(half[non_members.groups == group])) == 2
    if not usable.any():
        return None
    inside, far_in = np.zeros((2, len(members.numbers))), np.zeros((2, len(members.numbers)))
    outside, far_out = np.full(count, np.nan), np.full(count, np.nan)
    for turn in (0, 1):
        known = non_members.take(usable[non_members.groups] & (half == turn))
        centres = _average_groups(known.numbers, known.groups, number)
        turned = _fit_whitening(known.numbers - centres[known.groups])
        inside[turn], far_in[turn] = _score(members, centres, released, turned)
        scored = usable[non_members.groups] & (half != turn)
        outside[scored], far_out[scored] = _score(non_members.take(scored), centres, released, turned)
    lost = ~usable[members.groups]
    inside, far_in = inside.mean(axis=0), far_in.mean(axis=0)
    inside[lost] = far_in[lost] = np.nan
    return inside, outside, far_in, far_out


def _halve_owners(non_members: Sample, order: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the half of each non-member, 0 or 1: a group's owners alternate, in a random order."""
    half = np.zeros(len(order), int)
    owners = np.unique(non_members.list_owners(), return_inverse=True)[1]
    known: dict[int, int] = {}
    for group in groups:
        turn = 0
        for row in order[non_members.groups[order] == group].tolist():
            if owners[row] not in known:
                known[owners[row]] = turn
                turn = 1 - turn
            half[row] = known[owners[row]]
    return half


def _average_groups(values: np.ndarray, groups: np.ndarray, number: int) -> np.ndarray:
    sizes = np.maximum(np.bincount(groups, minlength=number), 1)
    sums = [np.bincount(groups, weights=column, minlength=number) for column in values.T]
    return np.stack(sums, axis=1) / sizes[:, None]


def _fit_whitening(centred: np.ndarray) -> np.ndarray:
    """Return a matrix that gives centred rows [n, D] unit variance in every direction: [D, D]."""
    scale = np.maximum(centred.std(axis=0), 1e-12)
    variances, vectors = np.linalg.eigh(np.cov(centred.T / scale[:, None], ddof=0).reshape(2 * (len(scale),)))
    ridge = RIDGE * max(float(variances.mean()), 1e-12)
    return (vectors / np.sqrt(np.maximum(variances, 0) + ridge)) / scale[:, None]


def _score(
    sample: Sample, centres: np.ndarray, released: np.ndarray, turned: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    directions = (released - centres) @ turned
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    distance = (sample.numbers - centres[sample.groups]) @ turned
    return np.sum(distance * directions[sample.groups], axis=1), np.linalg.norm(distance, axis=1)


def _find_smallest(groups: np.ndarray, number: int) -> np.ndarray:
    """Return whether each group is of the quarter with the fewest entities, one at least: [G]."""
    order = np.argsort(np.bincount(groups, minlength=number), kind="stable")
    small = np.zeros(number, bool)
    small[order[: max(1, int(SMALLEST_QUARTER * number))]] = True
    return small


def estimate_auc(
    inside: np.ndarray,
    outside: np.ndarray,
    owners: np.ndarray | None = None,
    other_owners: np.ndarray | None = None,
) -> tuple[float, float, float]:
    """Return P(inside > outside) and its 95 % interval (DeLong et al. 1988), by owners where several scores
    are of one (Obuchowski 1997): no owner is on both sides.
    """
    n, m = len(inside), len(outside)
    joint = rankdata(np.concatenate([inside, outside]))
    above = (joint[:n] - rankdata(inside)) / m  # share of non-members below each member
    below = (joint[n:] - rankdata(outside)) / n  # share of members below each non-member
    auc = float(above.mean())
    sums = _sum_by_owner(above - above.mean(), owners), _sum_by_owner(below - below.mean(), other_owners)
    variance = sum(
        np.square(each).sum() / size**2 * len(each) / max(len(each) - 1, 1)
        for each, size in zip(sums, (n, m))
    )
    # with a single one or none that differs nothing is known of the error: never less than one wrong in all
    least = 1 / (4 * min(map(len, sums)) ** 2)
    error = NORMAL_95 * float(np.sqrt(max(variance, least)))
    return auc, max(0.0, auc - error), min(1.0, auc + error)


def _sum_by_owner(values: np.ndarray, owners: np.ndarray | None) -> np.ndarray:
    if owners is None:
        return values
    return np.bincount(np.unique(owners, return_inverse=True)[1], weights=values)


def format_lines(attacks: Sequence[Attack]) -> list[str]:
    """Return lines for a terminal, one for each attack."""
    return [
        f"inference {each.exposure}: AUC {each.auc:.2f} ({each.low:.2f} to {each.high:.2f}) of "
        f"{format_count(each.members, 'member')} "
        f"against {format_count(each.non_members, 'non-member')}, limit {each.limit:g}: {each.verdict}"
        for each in attacks
    ]
