"""Groups of at least the minimum size, with weights that limit the share of each member."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distgan import config
from distgan.anonymity.group_size import compute_minimum_group_size, count_released_numbers
from distgan.errors import UserError
from distgan.files import read_tensors, write_tensors

TOLERANCE = 1e-12  # relative, of shares and effective members: float64's rounding, nothing more
NO_LOAD = 1e-30  # a load below this part of the group's largest is none
SAME_POINT = 1e-6  # a mean this near to a latent, in standard deviations of every coordinate, equals it
ROWS_AT_ONCE = 65_536


def cap_weights(loads: np.ndarray, max_share: float) -> np.ndarray | None:
    """Return weights of a group's mean under which no member carries more than `max_share` of the weighted
    load.

    The largest loads are lowered to the highest common level t that fits, t = max_share · Σ min(load, t);
    members below it keep their weight. None where too few members carry a load for any weights to fit.

    Args:
        loads: [n], none negative. Without any load all weights are equal.

    Returns: [n] float64 with sum 1.
    """
    loads = np.where(loads > NO_LOAD * np.max(loads, initial=0), loads, 0.0)
    num = len(loads)
    if loads.max(initial=0) <= max_share * loads.sum() * (1 + TOLERANCE):
        return np.full(num, 1 / num)
    falling = np.sort(loads)[::-1]
    capped = np.arange(1, math.ceil(1 / max_share - TOLERANCE))  # so many can be at the level: m · share < 1
    capped = capped[capped <= num]
    tails = np.append(np.cumsum(falling[::-1])[::-1], 0.0)  # summed from the smallest up: nothing cancels
    rest = tails[capped]
    level = (1 - TOLERANCE) * max_share * rest / (1 - max_share * capped)
    next_load = np.append(falling, 0.0)[capped]
    fits = np.flatnonzero(next_load <= level * (1 + 2 * TOLERANCE))
    if not len(fits) or not level[fits[0]] > 0:
        return None
    weights = np.divide(level[fits[0]], loads, out=np.ones(num), where=loads > level[fits[0]])
    return weights / weights.sum()


def count_effective_members(weights: np.ndarray) -> float:
    """Return 1/Σw²: the number of equal members that average as much noise away as these weights (sum 1)
    do.
    """
    return 1 / float(np.sum(np.square(weights)))


def count_effective_owners(members: "Members", owners: np.ndarray) -> tuple[int, ...]:
    """Return effective members of each group, rounded down, where all points of one of `owners` [n] are one
    member: a group counts as small if most of its entities belong to one owner.
    """
    records = GroupRecords.from_points(members.groups, owners, members.loads)
    weights = np.bincount(records.index, weights=members.weights)
    spans = zip(records.starts[:-1], records.starts[1:])
    return tuple(round_down(count_effective_members(weights[first:last])) for first, last in spans)


def round_down(effective: float) -> int:
    """Return the whole number of effective members; float64's rounding costs none."""
    return math.floor(effective * (1 + 1e-9))


@dataclass(frozen=True)
class Members:
    """The entities behind each condition. Private: they stay in the data owner's run folder, in no bank."""

    points: np.ndarray  # [n, K] float32, projected latents
    groups: np.ndarray  # [n] int64, 0 .. G-1
    entities: np.ndarray  # [n] int64, 0 .. E-1
    loads: np.ndarray  # [n] float64
    weights: np.ndarray  # [n] float64, of each point in its group's mean; sum 1 in every group

    @property
    def num_groups(self) -> int:
        return int(self.groups.max()) + 1

    def save(self, path: Path) -> None:
        write_tensors(path, {name: getattr(self, name) for name in self.__dataclass_fields__}, private=True)

    @staticmethod
    def load(path: Path) -> "Members":
        return Members(**read_tensors(path))


@dataclass(frozen=True)
class GroupRecords:
    """One record per (group, entity), sorted by group: an entity's points in a group are one member of it."""

    index: np.ndarray  # [n] the record of each point
    groups: np.ndarray  # [R]
    points: np.ndarray  # [R] how many points
    loads: np.ndarray  # [R]
    starts: np.ndarray  # [G + 1] first record of each group

    @staticmethod
    def from_points(groups: np.ndarray, entities: np.ndarray, loads: np.ndarray) -> "GroupRecords":
        num_entities = int(entities.max()) + 1
        keys, index = np.unique(groups * num_entities + entities, return_inverse=True)
        record_groups = keys // num_entities
        starts = np.searchsorted(record_groups, np.arange(int(groups.max()) + 2))
        points, totals = np.bincount(index), np.bincount(index, weights=loads)
        return GroupRecords(index, record_groups, points, totals, starts)


@dataclass(frozen=True)
class GroupedSeries:
    """Series in groups that may still be too small.

    Attributes:
        points: [n, K] projected latents.
        loads: [n] what each series carries of the total (e.g. kWh), none negative.
        groups: [n] integer group of each point.
        entities: [n] integer code of the entity behind each point; by default every point has its own.
        labels: [n] labels or cells of attributes that groups must not mix; the given groups do not.
        attribute_numbers: released of each group for attributes.
    """

    points: np.ndarray
    loads: np.ndarray
    groups: np.ndarray
    entities: np.ndarray | None = None
    labels: np.ndarray | None = None
    attribute_numbers: int = 0


def merge_small_groups(series: GroupedSeries, settings: config.Bank, channels: int) -> Members:
    """Return final groups and weights: each group keeps the minimum size in effective members, the share, and
    its own mean.

    A group that cannot is merged with the one whose mean is nearest, smallest first, until all can. Groups
    that can stay as they are.

    Raises:
        UserError: even all points together do not make one such group; values are unusable.
    """
    points = np.ascontiguousarray(series.points, dtype=np.float32)
    loads, groups, entities = np.asarray(series.loads, np.float64), series.groups, series.entities
    entities = np.arange(len(points)) if entities is None else np.unique(entities, return_inverse=True)[1]
    _check_rows(points, loads, groups, entities, settings)
    released = count_released_numbers(points.shape[1], channels, series.attribute_numbers)
    fewest = compute_minimum_group_size(settings, released)
    while True:
        groups = np.unique(groups, return_inverse=True)[1].astype(np.int64)
        weights, effective = _compute_weights(
            groups, entities, loads, 1.0 if settings.study else settings.max_share
        )
        means = sum_weighted(points, weights, groups)
        failing = effective < fewest - TOLERANCE * fewest
        if not settings.study:
            failing |= _equals_a_latent(points, means, groups)
        if not failing.any():
            return Members(points, groups, entities.astype(np.int64), loads, weights)
        if len(means) == 1:
            raise UserError(_explain_impossible(entities, effective[0], fewest, settings))
        groups = _merge_failing_groups(groups, means, failing, effective, label_groups(groups, series.labels))


def _check_rows(
    points: np.ndarray, loads: np.ndarray, groups: np.ndarray, entities: np.ndarray, settings: config.Bank
) -> None:
    lengths = {len(points), len(loads), len(groups), len(entities)}
    if len(lengths) > 1:
        raise UserError(
            f"there are {len(points)} points, {len(loads)} loads, {len(groups)} groups and "
            f"{len(entities)} entities, but each series needs one of each; run the stages from "
            "encode on again"
        )
    if not len(points):
        raise UserError("there are no latents to make a bank from; run the stage encode first")
    if points.shape[1] != settings.condition_dim:
        raise UserError(
            f"points have {points.shape[1]} numbers, but bank.condition_dim is "
            f"{settings.condition_dim}; run the stage cluster again"
        )
    if not np.isfinite(points).all():
        raise UserError(
            "latents contain NaN or infinity; run the stage encoder again with a lower encoder.learning_rate"
        )
    if not np.isfinite(loads).all() or loads.min() < 0:
        raise UserError("loads contain NaN or negative values; shares of the total need loads of 0 or more")


def _explain_impossible(entities: np.ndarray, effective: float, fewest: int, settings: config.Bank) -> str:
    """Return why not even one group of all series meets the limits of `bank`."""
    num_entities = len(np.unique(entities))
    if num_entities < fewest:
        return (
            f"{num_entities} entities are fewer than the {fewest} that one released mean needs; add "
            "series, or lower bank.condition_dim or bank.min_members"
        )
    if effective < fewest:
        return (
            f"a few entities carry so much of the load that {num_entities} count as {effective:.1f} under "
            f"bank.max_share {settings.max_share:g}, below the {fewest} that one released mean needs; "
            "add series"
        )
    return (
        "the mean of all latents equals one entity's own latent: the encoder has collapsed; "
        "train it longer or lower encoder.beta"
    )


def _compute_weights(
    groups: np.ndarray, entities: np.ndarray, loads: np.ndarray, max_share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights of the points [n] and effective members of the groups [G]; 0 where no weights fit the
    share.
    """
    records = GroupRecords.from_points(groups, entities, loads)
    sizes = np.diff(records.starts)
    weights = 1 / sizes[records.groups]
    effective = sizes.astype(np.float64)
    largest = np.maximum.reduceat(records.loads, records.starts[:-1])
    totals = np.add.reduceat(records.loads, records.starts[:-1])
    for group in np.flatnonzero(largest > max_share * totals):
        span = slice(records.starts[group], records.starts[group + 1])
        capped = cap_weights(records.loads[span], max_share)
        if capped is not None:
            weights[span] = capped
        effective[group] = 0.0 if capped is None else count_effective_members(capped)
    return (weights / records.points)[records.index], effective


def sum_weighted(values: np.ndarray, weights: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return Σ w·value in each group: [n, K], [n], [n] -> [G, K] float64."""
    columns = [np.bincount(groups, weights=weights * column) for column in values.astype(np.float64).T]
    return np.stack(columns, axis=1)


def compute_deviation(points: np.ndarray) -> np.ndarray:
    """Return the standard deviation of every coordinate, 1 where it does not vary: [n, K] -> [K] float64."""
    deviation = points.std(axis=0, dtype=np.float64)
    return np.where(deviation > 0, deviation, 1.0)


def _equals_a_latent(points: np.ndarray, means: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return which means coincide with a member's own point: [n, K], [G, K], [n] -> [G] bool."""
    equal = np.zeros(len(means), bool)
    limit = SAME_POINT * compute_deviation(points)
    for start in range(0, len(points), ROWS_AT_ONCE):
        span = slice(start, start + ROWS_AT_ONCE)
        same = (np.abs(points[span] - means[groups[span]]) <= limit).all(axis=1)
        equal[groups[span][same]] = True
    return equal


def label_groups(groups: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Return the label of each group, of one member: [G] str; all the same where there are none."""
    first = np.unique(groups, return_index=True)[1]
    return np.full(len(first), "") if labels is None else np.asarray(labels)[first]


def _merge_failing_groups(
    groups: np.ndarray, means: np.ndarray, failing: np.ndarray, effective: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Merge each failing group with the nearest one of its label, smallest first; a merged group is judged
    again later.
    """
    becomes = np.arange(len(means))
    joined = np.zeros(len(means), bool)
    for group in np.flatnonzero(failing)[np.argsort(effective[failing], kind="stable")]:
        if joined[group]:
            continue
        distance = np.sum((means - means[group]) ** 2, axis=1)
        distance[(labels != labels[group]) | (np.arange(len(means)) == group)] = np.inf
        if np.isinf(distance).all():
            raise UserError(
                f"all series labelled {str(labels[group])!r} together are not enough for a group "
                "under bank.min_members, bank.max_share and bank.max_tracing_auc; add series, or "
                "leave the label out (data.labels)"
            )
        target = int(np.argmin(distance))
        becomes[group] = becomes[target]
        joined[[group, target]] = True
    return becomes[groups]


def count_lowered(weights: np.ndarray) -> int:
    """Count the entities that weigh less than the others."""
    return int(np.count_nonzero(weights < weights.max() * (1 - TOLERANCE)))


def find_largest_share(loads: np.ndarray, weights: np.ndarray) -> float:
    """Return the largest share of one member in a group's weighted load; 0 without any load."""
    carried = loads * weights
    return float(carried.max() / carried.sum()) if carried.sum() > 0 else 0.0
