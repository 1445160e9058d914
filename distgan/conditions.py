"""The bank: one released mean per group of entities. Where the anonymity rests.

What leaves the data owner's house for the generator are group means of narrow latents, with group statistics
of level and spread. Behind each stand at least `floor` effective entities, none with more than `max_share`
of the group's load, and no mean equals a latent. This is aggregation, not proof: `tracing_auc` says what an
attacker can still do.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.numpy import save as tensors_to_bytes
from scipy.special import ndtri
from torch import Tensor

from distgan import config, draws, levels
from distgan.anonymity.dp import contributions, mechanism
from distgan.anonymity.dp.bank import Budget, Sums
from distgan.anonymity.dp.ledger import Head
from distgan.errors import Mismatch, UserError
from distgan.files import read_json, read_tensors, whole_folder, write_json, write_tensors
from distgan.levels import level_and_spread, steadiness_and_size

Blocks = Callable[[], Iterator[np.ndarray]]
Reduce = Callable[[np.ndarray], np.ndarray]

SCHEMA = 3
TENSORS = "bank.safetensors"
MANIFEST = "manifest.json"
TOLERANCE = 1e-12  # relative, of shares and effective members: float64's rounding, nothing more
NO_LOAD = 1e-30  # a load below this part of the group's largest is none
SAME_POINT = 1e-6  # a mean this near to a latent, in standard deviations of every coordinate, equals it
ROWS_AT_ONCE = 65_536
SMALLEST_VARIANCE = 1e-6  # of steadiness and of size: below it all series are taken as alike


# ---------------------------------------------------------------------------------------- how many are enough


def tracing_auc(released: float, members: float) -> float:
    """Success of the best tracing attack on one mean: Φ(√(d/k)/√2), for d numbers released of k members.

    The attacker holds a target's exact numbers x and the population's mean μ, and scores ⟨x − μ, m − μ⟩ with
    the released mean m. For independent coordinates the score of a member is √(d/k) deviations above a
    stranger's, and two normal scores that far apart are ranked right with probability Φ(√(d/k)/√2). After
    the detection limits of Sankararaman et al. 2009 (Nature Genetics 41) and the inner-product attack of
    Dwork et al. 2015 (FOCS).
    """
    return NormalDist().cdf(math.sqrt(released / members) / math.sqrt(2))


def released_numbers(condition_dim: int, channels: int) -> int:
    """Numbers released per group: the condition; mean and deviation of level and of spread, per channel."""
    return condition_dim + 4 * channels


def floor(settings: config.Bank, released: int) -> int:
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


# --------------------------------------------------------------------------------- the narrow part of latents


@dataclass(frozen=True)
class Projection:
    """The latents' principal directions: latents [n, d] -> narrow points [n, K]."""

    centre: np.ndarray  # [d] float32
    directions: np.ndarray  # [d, K] float32, orthonormal
    explained: float  # share of the latents' variance along them

    def __call__(self, latents: np.ndarray) -> np.ndarray:
        """[n, d] -> [n, K] float32."""
        return ((latents - self.centre) @ self.directions).astype(np.float32)

    def save(self, path: Path) -> None:
        """Written for the owner of the data: it belongs to the encoder, not to the bank."""
        tensors = {"centre": self.centre, "directions": self.directions}
        write_tensors(path, tensors | {"explained": np.array([self.explained])})

    @staticmethod
    def load(path: Path) -> "Projection":
        tensors = read_tensors(path)
        return Projection(tensors["centre"], tensors["directions"], float(tensors["explained"][0]))


def narrow(
    latents: np.ndarray | Blocks, condition_dim: int, reduce: Reduce = lambda array: array
) -> Projection:
    """The `condition_dim` directions in which latents [n, d] vary most, each with its largest entry positive.

    Args:
        latents: all of them, or what gives this process' blocks anew at each call. Sums are of whole
            multiples of a grid, so the same blocks give the same directions on any number of processes.
        reduce: sums a float64 array over processes.

    Raises:
        UserError: latents are narrower than the condition, not finite, or all the same.
    """
    blocks = _rows_in_blocks(latents) if isinstance(latents, np.ndarray) else latents
    total, dim, exponent = _measured(blocks, condition_dim, reduce)
    room = exponent + math.ceil(math.log2(max(total, 1))) - 52  # as many bits as float64 adds without error
    sums = np.zeros(dim)
    for block in blocks():
        sums += np.rint(block / np.float64(2.0**room)).sum(axis=0)
    centre = (reduce(sums) * 2.0**room / max(total, 1)).astype(np.float32)
    grid = 2.0 ** (room + exponent + 2)  # moving can double a value; this one is of squares
    scatter = np.zeros((dim, dim))
    for block in blocks():
        centred = np.asarray(block, np.float64) - centre
        scatter += np.rint(centred.T @ centred / grid)
    scatter = reduce(scatter) * grid
    if not np.trace(scatter) > 0:
        raise UserError(
            "all latents are the same: the encoder has collapsed; train it longer or lower encoder.beta"
        )
    return Projection(centre, *principal(scatter, condition_dim))


def principal(scatter: np.ndarray, condition_dim: int) -> tuple[np.ndarray, float]:
    """The first directions of a scatter matrix [d, d] as [d, K] float32, and their share of its trace."""
    variances, vectors = np.linalg.eigh(scatter)
    directions = vectors[:, ::-1][:, :condition_dim]
    largest = directions[np.argmax(np.abs(directions), axis=0), np.arange(condition_dim)]
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    variances = np.maximum(variances[::-1], 0)  # noise can make small ones negative
    explained = float(variances[:condition_dim].sum() / max(variances.sum(), 1e-300))
    return np.ascontiguousarray(directions, dtype=np.float32), min(explained, 1.0)


def _rows_in_blocks(latents: np.ndarray) -> Blocks:
    starts = range(0, len(latents), ROWS_AT_ONCE)
    return lambda: (latents[start : start + ROWS_AT_ONCE] for start in starts)


def _measured(blocks: Blocks, condition_dim: int, reduce: Reduce) -> tuple[int, int, int]:
    """(points of all processes, their width, exponent of two above their largest value)."""
    seen, reach = np.zeros(4), np.zeros(300)
    for block in blocks():
        finite = np.isfinite(block)
        seen += len(block), finite.size - finite.sum(), 0, 0
        seen[2:] = block.shape[1], 1
        reach[np.frexp(np.abs(block[finite]).max(initial=0))[1] + 150] = 1
    total, broken, widths, holders = reduce(seen)
    if broken:
        raise UserError(
            "latents hold NaN or infinity; run the encoder again with a lower encoder.learning_rate"
        )
    dim = int(widths / max(holders, 1))
    if condition_dim > dim:
        raise UserError(f"bank.condition_dim {condition_dim} is above the latents' width {dim}; lower it")
    return int(total), dim, int(np.flatnonzero(reduce(reach)).max(initial=150)) - 150


# ----------------------------------------------------------------------------------------- weights and groups


def capped_weights(loads: np.ndarray, max_share: float) -> np.ndarray | None:
    """Weights of a group's mean under which no member carries more than `max_share` of the weighted load.

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


def effective_members(weights: np.ndarray) -> float:
    """1/Σw²: so many equal members would average as much noise away as these weights (sum 1) do."""
    return 1 / float(np.sum(np.square(weights)))


def effective_owners(members: "Members", owners: np.ndarray) -> tuple[int, ...]:
    """Effective members of each group, rounded down, where all points of one of `owners` [n] are one member:
    who has most of a group's entities makes it a group of few.
    """
    records = _Records.of(members.groups, owners, members.loads)
    weights = np.bincount(records.index, weights=members.weights)
    spans = zip(records.starts[:-1], records.starts[1:])
    return tuple(_whole(effective_members(weights[first:last])) for first, last in spans)


def _whole(effective: float) -> int:
    return math.floor(effective * (1 + 1e-9))


@dataclass(frozen=True)
class Members:
    """Who stands behind each condition. Private: it stays in the data owner's run folder, in no bank."""

    points: np.ndarray  # [n, K] float32, narrow latents
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
class _Records:
    """One record per (group, entity), sorted by group: an entity's points in a group are one member of it."""

    index: np.ndarray  # [n] the record of each point
    groups: np.ndarray  # [R]
    points: np.ndarray  # [R] how many points
    loads: np.ndarray  # [R]
    starts: np.ndarray  # [G + 1] first record of each group

    @staticmethod
    def of(groups: np.ndarray, entities: np.ndarray, loads: np.ndarray) -> "_Records":
        num_entities = int(entities.max()) + 1
        keys, index = np.unique(groups * num_entities + entities, return_inverse=True)
        record_groups = keys // num_entities
        starts = np.searchsorted(record_groups, np.arange(int(groups.max()) + 2))
        points, totals = np.bincount(index), np.bincount(index, weights=loads)
        return _Records(index, record_groups, points, totals, starts)


def settle(
    points: np.ndarray,
    loads: np.ndarray,
    groups: np.ndarray,
    settings: config.Bank,
    channels: int,
    entities: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> Members:
    """Final groups and weights: each group keeps the floor in effective members, the share, and its own mean.

    A group that cannot is merged with the one whose mean is nearest, smallest first, until all can. Settled
    groups stay as they are.

    Args:
        points: [n, K] narrow latents.
        loads: [n] what each series carries of the total (e.g. kWh), none negative.
        groups: [n] integer group of each point.
        entities: [n] integer code of the entity behind each point; by default every point has its own.
        labels: [n] public labels that groups must not mix; the given groups do not.

    Raises:
        UserError: even all points together do not make one such group; values are unusable.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    loads = np.asarray(loads, np.float64)
    entities = np.arange(len(points)) if entities is None else np.unique(entities, return_inverse=True)[1]
    _check_rows(points, loads, groups, entities, settings)
    fewest = floor(settings, released_numbers(points.shape[1], channels))
    while True:
        groups = np.unique(groups, return_inverse=True)[1].astype(np.int64)
        weights, effective = _weights(groups, entities, loads, 1.0 if settings.study else settings.max_share)
        means = _weighted_sums(points, weights, groups)
        failing = effective < fewest - TOLERANCE * fewest
        if not settings.study:
            failing |= _equals_a_latent(points, means, groups)
        if not failing.any():
            return Members(points, groups, entities.astype(np.int64), loads, weights)
        if len(means) == 1:
            raise UserError(_hopeless(points, entities, effective[0], fewest, settings))
        groups = _merged(groups, means, failing, effective, _of_groups(groups, labels))


def _check_rows(
    points: np.ndarray, loads: np.ndarray, groups: np.ndarray, entities: np.ndarray, settings: config.Bank
) -> None:
    lengths = {len(points), len(loads), len(groups), len(entities)}
    if len(lengths) > 1:
        raise UserError(
            f"{len(points)} points, {len(loads)} loads, {len(groups)} groups, {len(entities)} entities: "
            "one of each per series is needed; run the stages from encode again"
        )
    if not len(points):
        raise UserError("there are no latents to make a bank from; run the encode stage first")
    if points.shape[1] != settings.condition_dim:
        raise UserError(
            f"points have {points.shape[1]} numbers and bank.condition_dim is {settings.condition_dim}; "
            "run the cluster stage again"
        )
    if not np.isfinite(points).all():
        raise UserError("latents hold NaN or infinity; run the encoder again with a lower learning rate")
    if not np.isfinite(loads).all() or loads.min() < 0:
        raise UserError("loads hold NaN or negative values; a share of the total needs loads of 0 and above")


def _hopeless(
    points: np.ndarray, entities: np.ndarray, effective: float, fewest: int, settings: config.Bank
) -> str:
    num_entities = len(np.unique(entities))
    if num_entities < fewest:
        return (
            f"{num_entities} entities are fewer than the {fewest} that one released mean needs; bring more "
            "series, or lower bank.condition_dim or bank.min_members"
        )
    if effective < fewest:
        return (
            f"a few entities carry so much of the load that {num_entities} count as {effective:.1f} under "
            f"bank.max_share {settings.max_share:g}, below the {fewest} that one released mean needs; "
            "bring more series"
        )
    return (
        "the mean of all latents equals one entity's own latent: the encoder has collapsed; "
        "train it longer or lower encoder.beta"
    )


def _weights(
    groups: np.ndarray, entities: np.ndarray, loads: np.ndarray, max_share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the points [n] and effective members of the groups [G]; 0 where no weights fit the share."""
    records = _Records.of(groups, entities, loads)
    sizes = np.diff(records.starts)
    weights = 1 / sizes[records.groups]
    effective = sizes.astype(np.float64)
    largest = np.maximum.reduceat(records.loads, records.starts[:-1])
    totals = np.add.reduceat(records.loads, records.starts[:-1])
    for group in np.flatnonzero(largest > max_share * totals):
        span = slice(records.starts[group], records.starts[group + 1])
        capped = capped_weights(records.loads[span], max_share)
        if capped is not None:
            weights[span] = capped
        effective[group] = 0.0 if capped is None else effective_members(capped)
    return (weights / records.points)[records.index], effective


def _weighted_sums(values: np.ndarray, weights: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Σ w·value in each group: [n, K], [n], [n] -> [G, K] float64."""
    columns = [np.bincount(groups, weights=weights * column) for column in values.astype(np.float64).T]
    return np.stack(columns, axis=1)


def _deviation(points: np.ndarray) -> np.ndarray:
    """Standard deviation of every coordinate, 1 where it does not vary: [n, K] -> [K] float64."""
    deviation = points.std(axis=0, dtype=np.float64)
    return np.where(deviation > 0, deviation, 1.0)


def _equals_a_latent(points: np.ndarray, means: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Which means coincide with a member's own point: [n, K], [G, K], [n] -> [G] bool."""
    equal = np.zeros(len(means), bool)
    limit = SAME_POINT * _deviation(points)
    for start in range(0, len(points), ROWS_AT_ONCE):
        span = slice(start, start + ROWS_AT_ONCE)
        same = (np.abs(points[span] - means[groups[span]]) <= limit).all(axis=1)
        equal[groups[span][same]] = True
    return equal


def _of_groups(groups: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """The label of each group, of one member: [G] str; all the same where there are none."""
    first = np.unique(groups, return_index=True)[1]
    return np.full(len(first), "") if labels is None else np.asarray(labels)[first]


def _merged(
    groups: np.ndarray, means: np.ndarray, failing: np.ndarray, effective: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Each failing group joins the nearest one of its label, smallest first; a group just joined is judged
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
                f"all series labelled {str(labels[group])!r} together make no group that bank.min_members, "
                "max_share and max_tracing_auc allow; bring more series, or leave the label out (data.labels)"
            )
        target = int(np.argmin(distance))
        becomes[group] = becomes[target]
        joined[[group, target]] = True
    return becomes[groups]


# --------------------------------------------------------------------------------------------------- the bank


@dataclass(frozen=True)
class Bank:
    """All conditions, with what `generate` needs to draw from them. No ids, no value of any single entity.

    Level and spread of a series are kept as steadiness and size (levels.py), per channel.
    """

    conditions: np.ndarray  # [G, K] float32, standardised by centre and scale
    sizes: np.ndarray  # [G] int64, distinct entities
    effective: np.ndarray  # [G] int64, 1/Σw² rounded down
    attributes_mean: np.ndarray  # [G, C, 2] float32, of (steadiness, size)
    attributes_std: np.ndarray  # [G, C, 2] float32
    centre: np.ndarray  # [K] float32, mean of all narrow latents
    scale: np.ndarray  # [K] float32, their deviation
    largest_share: np.ndarray  # [G] float64, of the weighted load, carried by one entity, rounded up
    lowered: np.ndarray  # [G] int64, entities with less than full weight
    settings: config.Bank
    promise: "Promise | None" = None  # differential privacy, if the bank was made so
    labels: tuple[str, ...] = ()  # the public label of each group, if groups have one
    owners: tuple[int, ...] = ()  # effective owners of each group's entities, of which one may have several

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.labels)))

    @cached_property
    def table(self) -> np.ndarray:
        """What the networks are given of each group: its condition, and 1 at the place of its label (last):
        [G, K + labels] float32.
        """
        if not self.labels:
            return self.conditions
        at = np.asarray(self.labels)[:, None] == np.asarray(self.label_names)
        return np.concatenate([self.conditions, at.astype(np.float32)], axis=1)

    @property
    def num_groups(self) -> int:
        return len(self.sizes)

    @property
    def released(self) -> int:
        """Numbers released per group."""
        return released_numbers(self.conditions.shape[1], self.attributes_mean.shape[1])

    @property
    def floor(self) -> int:
        return floor(self.settings, self.released)

    @property
    def tracing_auc(self) -> np.ndarray:
        """[G] success of the best tracing attack on each group's mean."""
        return np.array([tracing_auc(self.released, members) for members in self.effective])

    def allocate(self, count: int, among: np.ndarray | None = None) -> np.ndarray:
        """How many of `count` series each group gets, in proportion to its size: [G] int64. `among` [G] bool
        leaves some groups out.

        Largest remainder: every group gets its proportion rounded down or up, never more; ties go to the
        first.
        """
        sizes = self.sizes if among is None else np.where(among, self.sizes, 0)
        total = int(sizes.sum())
        products = sizes.astype(object) * count  # Python's integers: exact at any size
        shares = np.array([product // total for product in products], np.int64)
        remainders = np.array([product % total for product in products], np.int64)
        first = np.argsort(-remainders, kind="stable")[: count - int(shares.sum())]
        shares[first] += 1
        return shares

    def attributes(self, groups: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Level and spread of new series, from standard normal numbers: [n], [n, C, 2] -> [n, C, 2] float64.

        Steadiness and size have the group's means and deviations.
        """
        mean, deviation = self.attributes_mean[groups], self.attributes_std[groups]
        return level_and_spread(levels.drawn(mean, deviation, normal))

    def draw_attributes(self, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Level and spread of a set of new series: [n] groups -> [n, C, 2] float64.

        A Latin hypercube in every group: each number covers its distribution evenly, so that the totals of a
        few hundred series are right to a few per cent, where independent draws are off by levels' deviation
        over the root of their number (London: 5 % with 200 homes).
        """
        shape = self.attributes_mean.shape[1:]
        normal = np.empty((len(groups), *shape))
        for group in np.unique(groups):
            inside = np.flatnonzero(groups == group)
            cells = np.argsort(rng.random((len(inside), *shape)), axis=0)
            normal[inside] = ndtri((cells + rng.uniform(1e-9, 1 - 1e-9, cells.shape)) / len(inside))
        return self.attributes(groups, normal)

    @cached_property
    def _population(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of steadiness and size over all entities, as the groups' statistics tell them:
        [C, 2] each.
        """
        share = self.sizes[:, None, None] / self.sizes.sum()
        mean = (share * self.attributes_mean).sum(0)
        within = self.attributes_std.astype(np.float64) ** 2
        variance = (share * (within + (self.attributes_mean - mean) ** 2)).sum(0)
        return mean, np.sqrt(np.maximum(variance, SMALLEST_VARIANCE))

    def told(self, attributes: np.ndarray) -> np.ndarray:
        """What the networks are given of a level and spread: [n, C, 2] -> [n, 2C] float32, of mean 0 and
        deviation 1 over the population.
        """
        mean, deviation = self._population
        values = (steadiness_and_size(attributes) - mean) / deviation
        return values.reshape(len(values), -1).astype(np.float32)

    def attributes_told(self, given: Tensor) -> Tensor:
        """The level and spread that conditions tell: (B, 2C + ...) -> (B, C, 2); the inverse of `told`."""
        mean, deviation = (
            torch.from_numpy(values.astype(np.float32)).to(given.device, non_blocking=True)
            for values in self._population
        )
        told = given[:, : mean.numel()].float().unflatten(1, mean.shape) * deviation + mean
        steadiness, size = told.unbind(-1)
        return torch.stack([size.exp() * steadiness.tanh(), size.exp() / steadiness.cosh()], dim=-1)

    def given(self, groups: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """What the networks are given of series of some groups with a level and spread of their own: [n],
        [n, C, 2] -> [n, 2C + K + labels] float32.
        """
        return np.concatenate([self.told(attributes), self.table[groups]], axis=1)

    def save(self, folder: Path) -> None:
        """Tensors and a manifest, as a whole folder."""
        content = tensors_to_bytes({name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS})
        with whole_folder(folder) as temporary:
            (temporary / TENSORS).write_bytes(content)
            write_json(temporary / MANIFEST, self._manifest(hashlib.sha256(content).hexdigest()))

    def _manifest(self, checksum: str) -> dict[str, Any]:
        groups = zip(self.sizes, self.effective, self.lowered, self.largest_share, self.tracing_auc)
        return {
            "schema": SCHEMA,
            "study": self.settings.study,
            "settings": self.settings.model_dump(mode="json"),
            "channels": self.attributes_mean.shape[1],
            "released": self.released,
            "floor": self.floor,
            "privacy": None if self.promise is None else self.promise.model_dump(mode="json"),
            "sha256": {TENSORS: checksum},
            "groups": [
                {
                    "size": int(size),
                    "effective": int(effective),
                    "lowered": int(lowered),
                    "largest_share": float(share),
                    "tracing_auc": float(auc),
                    **({"label": self.labels[group]} if self.labels else {}),
                    **({"owners": self.owners[group]} if self.owners else {}),
                }
                for group, (size, effective, lowered, share, auc) in enumerate(groups)
            ],
        }

    @staticmethod
    def load(folder: Path) -> "Bank":
        """
        A study's bank loads, too; `verify` refuses it.

        Raises:
            Mismatch: the bank is missing, damaged, or breaks its own promises.
        """
        manifest, violations = _inspected(folder, None)
        if violations or manifest is None:
            raise Mismatch(
                f"the bank {folder} does not hold: {violations[0]}; remove that folder and run the same "
                "command again"
            )
        shares = np.array([group.largest_share for group in manifest.groups])
        lowered = np.array([group.lowered for group in manifest.groups])
        return Bank(
            **read_tensors(folder / TENSORS),
            largest_share=shares,
            lowered=lowered,
            settings=manifest.settings,
            promise=manifest.privacy,
            labels=tuple(group.label for group in manifest.groups if group.label is not None),
            owners=tuple(group.owners for group in manifest.groups if group.owners is not None),
        )


def make_bank(
    points: np.ndarray,
    attributes: np.ndarray,
    loads: np.ndarray,
    groups: np.ndarray,
    settings: config.Bank,
    entities: np.ndarray | None = None,
    seed: int = 0,
    labels: np.ndarray | None = None,
) -> Bank:
    """The bank of `settle`d groups (settled here, if they are not yet).

    Args:
        points: [n, K] narrow latents.
        attributes: [n, C, 2] level and spread of each series; spread above 0.
        loads, groups, entities, labels: as in `settle`.
        seed: of the choice of probes, in a study of them.

    Raises:
        UserError: see `settle`; or levels and spreads are unusable.
    """
    attributes = np.asarray(attributes, np.float64)
    if attributes.ndim != 3 or attributes.shape[2] != 2 or len(attributes) != len(points):
        raise UserError(
            f"attributes have shape {attributes.shape}; level and spread are [{len(points)}, C, 2]"
        )
    if not np.isfinite(attributes).all() or (attributes[..., 1] <= 0).any():
        raise UserError("levels and spreads must be finite, and spreads above 0; run the prepare stage again")
    channels = attributes.shape[1]
    members = settle(points, loads, groups, settings, channels, entities, labels)
    records = _Records.of(members.groups, members.entities, members.loads)
    record_weights = np.bincount(records.index, weights=members.weights)
    spans = [slice(*pair) for pair in zip(records.starts[:-1], records.starts[1:])]
    means = _conditions(members, settings, seed)
    effective = np.array([effective_members(record_weights[span]) for span in spans])
    if settings.training == "probes":
        effective = np.minimum(effective, settings.probes)
    centre, scale = members.points.mean(axis=0, dtype=np.float64), _deviation(members.points)
    attributes_mean, attributes_std = _attribute_statistics(attributes, members)
    shares = np.array([_largest_share(records.loads[span], record_weights[span]) for span in spans])
    return Bank(
        conditions=((means - centre) / scale).astype(np.float32),
        sizes=np.diff(records.starts).astype(np.int64),
        effective=np.array([_whole(each) for each in effective], np.int64),
        attributes_mean=attributes_mean.astype(np.float32),
        attributes_std=attributes_std.astype(np.float32),
        centre=centre.astype(np.float32),
        scale=scale.astype(np.float32),
        largest_share=_coarse(shares, settings.max_share),
        lowered=np.array([_lowered(record_weights[span]) for span in spans], np.int64),
        settings=settings,
        labels=() if labels is None else tuple(map(str, _of_groups(members.groups, labels))),
    )


def _conditions(members: Members, settings: config.Bank, seed: int) -> np.ndarray:
    """The mean of every group, or of its probes in a study of them: [G, K] float64."""
    if settings.training != "probes":
        return _weighted_sums(members.points, members.weights, members.groups)
    rows = probe_rows(members, settings, seed)
    return np.stack([members.points[row].mean(axis=0, dtype=np.float64) for row in rows])


def _coarse(shares: np.ndarray, max_share: float) -> np.ndarray:
    """Shares rounded up to whole per cent, so that they tell no load; at the limit where that was kept."""
    return np.minimum(np.ceil(shares * 100 - 1e-6) / 100, np.maximum(shares, max_share))


def probe_rows(members: Members, settings: config.Bank, seed: int) -> list[np.ndarray]:
    """The points behind every condition of a study of probes; with repeats where a group has fewer."""
    found = []
    for group in range(members.num_groups):
        inside = np.flatnonzero(members.groups == group)
        rng = draws.generator(seed, 0, "bank probes", group)
        found.append(rng.choice(inside, settings.probes, replace=len(inside) < settings.probes))
    return found


def _lowered(weights: np.ndarray) -> int:
    """How many entities weigh less than the others."""
    return int(np.count_nonzero(weights < weights.max() * (1 - TOLERANCE)))


def _largest_share(loads: np.ndarray, weights: np.ndarray) -> float:
    carried = loads * weights
    return float(carried.max() / carried.sum()) if carried.sum() > 0 else 0.0


def _attribute_statistics(attributes: np.ndarray, members: Members) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and deviation of steadiness and size: [n, C, 2] -> [G, C, 2] each."""
    values = steadiness_and_size(attributes).reshape(len(attributes), -1)
    means = _weighted_sums(values, members.weights, members.groups)
    squares = _weighted_sums((values - means[members.groups]) ** 2, members.weights, members.groups)
    shape = (len(means), *attributes.shape[1:])
    return means.reshape(shape), np.sqrt(squares).reshape(shape)


# ----------------------------------------------------------------------------------------------- verification

_TENSORS = {
    "conditions": ("float32", "GK"),
    "sizes": ("int64", "G"),
    "effective": ("int64", "G"),
    "attributes_mean": ("float32", "GC2"),
    "attributes_std": ("float32", "GC2"),
    "centre": ("float32", "K"),
    "scale": ("float32", "K"),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Group(_Strict):
    size: int
    effective: int
    lowered: int
    largest_share: float
    tracing_auc: float
    label: str | None = None
    owners: int | None = None


class LedgerHead(_Strict):
    """Where the ledger of private releases ended when the bank was made: it may only have grown since."""

    lines: int = Field(ge=1)
    digest: str = Field(pattern="^[0-9a-f]{32}$")


class Promise(_Strict):
    """What a differentially private bank promises to every entity, and with how much noise."""

    mechanism: Literal["discrete Gaussian"] = "discrete Gaussian"
    epsilon: float
    delta: float
    multiplier: float  # of the noise of all releases together, in sensitivities
    tracing_bound: float  # AUC that no attack on the bank exceeds
    clip: float
    insecure: bool
    ledger: LedgerHead

    @property
    def head(self) -> Head:
        return Head(self.ledger.lines, self.ledger.digest)


class _Manifest(_Strict):
    """All that a manifest may say: an unknown key is a violation, so there is no room for ids."""

    schema_version: Literal[3] = Field(alias="schema")
    study: bool
    settings: config.Bank
    channels: int
    released: int
    floor: int
    privacy: Promise | None
    sha256: dict[str, str]
    groups: list[_Group]


def verify(folder: Path, required: config.Bank | None = None) -> list[str]:
    """What the bank in `folder` breaks of its promises, from its two files alone; nothing, if it holds.

    A study's bank and one with repeatable noise always break them.

    Args:
        required: limits that the bank must keep besides its own, e.g. a regulator's.
    """
    manifest, violations = _inspected(folder, required)
    if manifest is not None and manifest.study:
        violations.insert(
            0, f"it is for study only (bank.training {manifest.settings.training}): never release it"
        )
    if manifest is not None and manifest.privacy is not None and manifest.privacy.insecure:
        violations.insert(0, "its noise can be repeated (privacy.insecure_seed): nothing is private")
    return violations


def _inspected(folder: Path, required: config.Bank | None) -> tuple[_Manifest | None, list[str]]:
    try:
        manifest = _Manifest.model_validate(read_json(folder / MANIFEST))
        tensors = read_tensors(folder / TENSORS)
    except ValidationError as error:
        first = error.errors()[0]
        return None, [f"{MANIFEST}: {'.'.join(map(str, first['loc']))}: {first['msg']}"]
    except UserError as error:
        return None, [str(error)]
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in (MANIFEST, TENSORS))
    violations = [f"{name} does not belong in a bank" for name in strangers]
    if manifest.sha256 != {TENSORS: hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()}:
        violations.append(f"{TENSORS} does not have the manifest's sha256")
    if manifest.study != manifest.settings.study:
        violations.append(f"study is {manifest.study}, and bank.training {manifest.settings.training}")
    if len({group.label is None for group in manifest.groups}) > 1:
        violations.append("some groups have a label and some have none")
    if len({group.owners is None for group in manifest.groups}) > 1:
        violations.append("of some groups owners are counted and of some not")
    misshapen = _misshapen(tensors, manifest)
    if misshapen:
        return manifest, violations + misshapen
    if manifest.privacy is not None:
        violations += _broken_promise(manifest.privacy)
    for settings in [manifest.settings] if required is None else [manifest.settings, required]:
        fewest = floor(settings, manifest.released)
        if settings is manifest.settings and manifest.floor != fewest:
            violations.append(f"the floor is {fewest}, and the manifest says {manifest.floor}")
        for number, group in enumerate(manifest.groups):
            violations += [f"group {number}: {text}" for text in _breaches(group, fewest, manifest, settings)]
    for number, group in enumerate(manifest.groups):
        told = (group.size, group.effective)
        if told != (tensors["sizes"][number], tensors["effective"][number]):
            violations.append(f"group {number}: size or effective members differ from {TENSORS}")
    return manifest, violations


def _broken_promise(promise: Promise) -> list[str]:
    """A promise whose noise does not give its ε and δ, less the part of δ that the grid takes."""
    if not (promise.multiplier > 0 and promise.epsilon > 0):
        return ["the promise of privacy has no noise"]
    delta = mechanism.gaussian_delta(promise.epsilon, promise.multiplier)
    bound = mechanism.tracing_bound(promise.multiplier)
    found = []
    if not delta <= promise.delta * (1 - mechanism.RESERVE) * (1 + 1e-6):
        found.append(
            f"its noise gives delta {delta:.2g} at epsilon {promise.epsilon:g}, not {promise.delta:.2g}"
        )
    if not math.isclose(bound, promise.tracing_bound, rel_tol=1e-6):
        found.append(
            f"its noise bounds tracing at {bound:.4f}, and the manifest says {promise.tracing_bound:.4f}"
        )
    return found


def _misshapen(tensors: dict[str, np.ndarray], manifest: _Manifest) -> list[str]:
    """Tensors that are missing, unknown, not finite, or not of the type and shape the manifest implies."""
    if set(tensors) != set(_TENSORS):
        return [f"{TENSORS} holds {', '.join(sorted(tensors))}; a bank holds {', '.join(sorted(_TENSORS))}"]
    size = {
        "G": len(manifest.groups),
        "K": manifest.settings.condition_dim,
        "C": manifest.channels,
        "2": 2,
    }
    found = []
    for name, (dtype, letters) in _TENSORS.items():
        shape = tuple(size[letter] for letter in letters)
        if tensors[name].shape != shape or tensors[name].dtype != dtype:
            found.append(f"{name} is {tensors[name].dtype} {tensors[name].shape}, not {dtype} {shape}")
        elif not np.isfinite(tensors[name]).all():
            found.append(f"{name} holds NaN or infinity")
    released = released_numbers(manifest.settings.condition_dim, manifest.channels)
    if manifest.released != released:
        found.append(f"{released} numbers are released per group, and the manifest says {manifest.released}")
    return found if manifest.groups else [*found, "there are no groups"]


def _breaches(group: _Group, fewest: int, manifest: _Manifest, settings: config.Bank) -> list[str]:
    """What one group's numbers break. Comparisons say what must hold, so that nothing odd slips through.

    With weights of 1 and, for `lowered` entities, less, (Σw)²/Σw² lies between size − lowered and size.
    """
    if not 1 <= group.effective <= group.size:
        return [f"{group.effective} effective members of {group.size} entities cannot be"]
    auc = tracing_auc(manifest.released, group.effective)
    rules = {
        f"{group.effective} effective members are below the floor of {fewest}": group.effective >= fewest,
        f"{group.lowered} of {group.size} entities with a lowered weight cannot make {group.effective} "
        "effective members": (
            manifest.study or (group.lowered >= 0 and group.size - group.lowered <= group.effective)
        ),
        f"{group.lowered} lowered weights for a largest share of {group.largest_share:g} are not right": (
            group.lowered == 0 or group.largest_share >= settings.max_share - 0.01
        ),
        f"{group.owners} effective owners of {group.effective} effective members cannot be": (
            group.owners is None or 1 <= group.owners <= (group.size if manifest.study else group.effective)
        ),
        f"one entity carries {group.largest_share:.4f} of the load, above {settings.max_share:g}": (
            manifest.study or 0 <= group.largest_share <= settings.max_share * (1 + 10 * TOLERANCE)
        ),
        f"tracing succeeds at {auc:.4f}, and the manifest says {group.tracing_auc:.4f}": (
            math.isclose(auc, group.tracing_auc, rel_tol=1e-6)
        ),
        f"tracing succeeds at {auc:.4f}, above {settings.max_tracing_auc:g}": (
            manifest.study or auc <= settings.max_tracing_auc + 1e-6
        ),
    }
    return [text for text, holds in rules.items() if not holds]


# -------------------------------------------------------------------------------------- differential privacy


def kept_cells(sums: Sums, settings: config.Bank) -> np.ndarray:
    """Return which cells count enough entities after noise for a group: [k] bool.

    Enough is the minimum group size, and what `max_share` needs of entities that all weigh the same.

    Raises:
        UserError: no cell does.
    """
    channels, dim = sums.attributes.shape[1] // 4, sums.points.shape[1]
    fewest = max(
        floor(settings, released_numbers(dim, channels)), math.ceil(1 / settings.max_share - TOLERANCE)
    )
    sizes = np.floor(sums.counts)
    if not (sizes >= fewest).any():
        raise UserError(
            f"after noise the largest of {len(sizes)} groups counts {max(sizes):.0f} entities, below the "
            f"minimum of {fewest}; lower clusters.count, raise privacy.epsilon or bring more series"
        )
    return sizes >= fewest


def private_bank(
    sums: Sums, variances: np.ndarray, settings: config.Bank, budget: Budget, head: Head
) -> Bank:
    """Make the bank of the kept cells of noisy sums. Nothing here looks at the entities again.

    Weights are equal: what one entity can change is bounded by clipping and hidden by noise, not by its share
    of the load.

    Args:
        variances: [K], of the points along the directions, from the released moments.
        head: of the ledger, when the sums had been drawn.

    Raises:
        UserError: no cell is kept.
    """
    keeps = kept_cells(sums, settings)
    channels = sums.attributes.shape[1] // 4
    counts, sizes = sums.counts[keeps, None], np.floor(sums.counts[keeps]).astype(np.int64)
    means = contributions.clip_rows(sums.points[keeps] / counts, 1.0) * budget.radius
    centre = (means * counts).sum(axis=0) / counts.sum()
    values = np.clip(sums.attributes[keeps] / counts, -1, 1).reshape(-1, 2, channels, 2)
    low, high = contributions.ranges(budget.settings)
    half = (high - low) / 2
    deviation = np.sqrt(np.maximum(values[:, 1] - values[:, 0] ** 2, 0)) * half
    return Bank(
        conditions=((means - centre) / np.sqrt(variances)).astype(np.float32),
        sizes=sizes,
        effective=sizes,
        attributes_mean=(low + (values[:, 0] + 1) * half).astype(np.float32),
        attributes_std=deviation.astype(np.float32),
        centre=centre.astype(np.float32),
        scale=np.sqrt(variances).astype(np.float32),
        largest_share=1 / sizes,
        lowered=np.zeros(len(sizes), np.int64),
        settings=settings,
        promise=promise(budget, head),
    )


def promise(budget: Budget, head: Head) -> Promise:
    multiplier = mechanism.together([budget.directions_multiplier, budget.sums_multiplier])
    return Promise(
        epsilon=budget.epsilon,
        delta=budget.delta,
        multiplier=multiplier,
        tracing_bound=mechanism.tracing_bound(multiplier),
        clip=budget.radius,
        insecure=budget.settings.insecure_seed is not None,
        ledger=LedgerHead(lines=head.lines, digest=head.digest),
    )


def groups_of_cells(points: np.ndarray, cells: np.ndarray, keeps: np.ndarray, bank: Bank) -> np.ndarray:
    """Return the group that an entity trains on, or would: its cell's, or the nearest where that was left
    out.

    Args:
        points: [n, K] of each series its entity's point.
        cells: [n] in 0 .. k-1.
        keeps: [k] bool, see `kept_cells`.

    Returns: [n] int64.
    """
    groups = (np.cumsum(keeps) - 1)[cells]
    lost = np.flatnonzero(~keeps[cells])
    means = bank.conditions.astype(np.float64) * bank.scale + bank.centre
    groups[lost] = contributions.nearest_cells(points[lost], means)
    return groups


def private_members(
    points: np.ndarray, groups: np.ndarray, entities: np.ndarray, loads: np.ndarray, bank: Bank
) -> Members:
    """Return who trains on which condition, in `groups_of_cells`."""
    weights = 1 / np.bincount(groups, minlength=bank.num_groups)[groups]
    return Members(points, groups, entities.astype(np.int64), loads, weights)


# --------------------------------------------------------------------------------------------------- training


class Conditioner:
    """What networks are given with the training series of a batch: (B, 2C + K + labels) float32, twice.

    `real` stands beside a series of the data, with its own level and spread: only the discriminator sees it.
    `drawn` stands beside a generated one: level and spread drawn from its group, for every step anew. The
    condition proper is the same in both.

    "mean": its group's mean, as in the bank. "subset": the mean of a random part of its group, drawn afresh
    for every (seed, step, sample): the shortest part of a random order that keeps the bank's floor and share.
    The series itself is in that part by chance only. For study: "probes", the mean of a few members, as the
    seeds do; "leave_one_out", the mean of all others, which gives the left-out member away.
    """

    def __init__(self, bank: Bank, members: Members, *, training: str = "mean", seed: int = 0) -> None:
        if bank.num_groups != members.num_groups:
            raise UserError(
                f"the bank has {bank.num_groups} groups and the members {members.num_groups}; "
                "remove the folders bank and clusters, and run the same command again"
            )
        self.bank, self.training, self.seed = bank, training, seed
        self._fewest = bank.floor
        self._groups = members.groups
        if training != "mean":
            self._records = _Records.of(members.groups, members.entities, members.loads)
            index = self._records.index
            self._weights = np.bincount(index, weights=members.weights)
            sums = _weighted_sums(members.points, np.ones(len(index)), index)
            self._points = (sums / self._records.points[:, None] - bank.centre) / bank.scale

    def real(self, rows: Tensor, sample: Tensor, step: int, attributes: Tensor) -> Tensor:
        """
        Args:
            rows: [B] int64, training rows.
            sample: [B] int64, positions in the global batch.
            attributes: [B, C, 2] their level and spread.
        """
        return self._with(attributes.numpy(), rows, sample, step)

    def drawn(self, rows: Tensor, sample: Tensor, step: int) -> Tensor:
        """Arguments as of `real`."""
        shape = self.bank.attributes_mean.shape[1:]
        normal = draws.normal(self.seed, step, "levels", sample, shape).numpy()
        return self._with(self.bank.attributes(self._groups[rows.numpy()], normal), rows, sample, step)

    def _with(self, attributes: np.ndarray, rows: Tensor, sample: Tensor, step: int) -> Tensor:
        groups = self._groups[rows.numpy()]
        given = self.bank.given(groups, attributes)
        if self.training != "mean":
            means = [
                self._mean(self._part_of(row, group, draws.generator(self.seed, step, "subset", position)))
                for row, group, position in zip(rows.tolist(), groups.tolist(), sample.tolist())
            ]
            first = 2 * attributes.shape[1]
            given[:, first : first + self.bank.conditions.shape[1]] = np.stack(means)
        return torch.from_numpy(given)

    def _part_of(self, row: int, group: int, rng: np.random.Generator) -> np.ndarray:
        """The records that a series trains on: [m]."""
        if self.training == "subset":
            return self.part(group, rng)
        inside = np.arange(self._records.starts[group], self._records.starts[group + 1])
        if self.training == "probes":
            probes = self.bank.settings.probes
            return rng.choice(inside, probes, replace=len(inside) < probes)
        others = inside[inside != self._records.index[row]]  # leave one out
        return others if len(others) else inside

    def part(self, group: int, rng: np.random.Generator) -> np.ndarray:
        """The shortest part of a random order of a group that keeps floor and share: [m] records."""
        first, last = self._records.starts[group], self._records.starts[group + 1]
        size, limit = last - first, self.bank.settings.max_share * (1 + TOLERANCE)
        for count in (4 * self._fewest, size):  # a short beginning nearly always does; groups can be huge
            order = first + rng.choice(size, min(count, size), replace=False)
            weights, carried = self._weights[order], self._weights[order] * self._records.loads[order]
            effective = np.cumsum(weights) ** 2 / np.cumsum(weights**2)
            keeps = effective >= self._fewest * (1 - TOLERANCE)
            keeps &= np.maximum.accumulate(carried) <= limit * np.cumsum(carried)
            if keeps.any():
                return order[: int(np.argmax(keeps)) + 1]
        return np.arange(first, last)

    def _mean(self, part: np.ndarray) -> np.ndarray:
        weights = self._weights[part]
        return (weights @ self._points[part] / weights.sum()).astype(np.float32)
