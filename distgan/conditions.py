"""The bank: one released mean per group of entities. Where the anonymity rests.

What leaves the data owner's house for the generator are group means of narrow latents, with group statistics
of level and spread. Behind each stand at least `floor` effective entities, none with more than `max_share`
of the group's load, and no mean equals a latent. This is aggregation, not proof: `tracing_auc` says what an
attacker can still do.
"""

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as tensors_to_bytes
from torch import Tensor

from distgan import config, draws
from distgan.errors import UserError
from distgan.files import read_json, whole_folder, write_bytes, write_json

SCHEMA = 1
TENSORS = "bank.safetensors"
MANIFEST = "manifest.json"
TOLERANCE = 1e-12  # relative, of shares and effective members: float64's rounding, nothing more
NO_LOAD = 1e-30  # a load below this part of the group's largest is none
SAME_POINT = 1e-6  # a mean this near to a latent, in standard deviations of every coordinate, equals it
ROWS_AT_ONCE = 65_536


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
    asks for, which is 3.4 d at .65.
    """
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
        write_bytes(path, tensors_to_bytes(tensors | {"explained": np.array([self.explained])}))

    @staticmethod
    def load(path: Path) -> "Projection":
        tensors = _read_tensors(path)
        return Projection(tensors["centre"], tensors["directions"], float(tensors["explained"][0]))


def narrow(latents: np.ndarray, condition_dim: int) -> Projection:
    """The `condition_dim` directions in which latents [n, d] vary most, each with its largest entry positive.

    Raises:
        UserError: latents are narrower than the condition, not finite, or all the same.
    """
    num, dim = latents.shape
    if condition_dim > dim:
        raise UserError(f"bank.condition_dim {condition_dim} is above the latents' width {dim}; lower it")
    starts = range(0, num, ROWS_AT_ONCE)
    total = sum(np.asarray(latents[i : i + ROWS_AT_ONCE], np.float64).sum(axis=0) for i in starts)
    centre = np.asarray(total / max(num, 1)).astype(np.float32)
    if not np.isfinite(centre).all():
        raise UserError(
            "latents hold NaN or infinity; run the encoder again with a lower encoder.learning_rate"
        )
    scatter = np.zeros((dim, dim))
    for start in starts:
        centred = np.asarray(latents[start : start + ROWS_AT_ONCE], np.float64) - centre
        scatter += centred.T @ centred
    if not np.trace(scatter) > 0:
        raise UserError(
            "all latents are the same: the encoder has collapsed; train it longer or lower encoder.beta"
        )
    variances, vectors = np.linalg.eigh(scatter)
    directions = vectors[:, ::-1][:, :condition_dim]
    largest = directions[np.argmax(np.abs(directions), axis=0), np.arange(condition_dim)]
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    explained = float(variances[::-1][:condition_dim].sum() / variances.sum())
    return Projection(centre, np.ascontiguousarray(directions, dtype=np.float32), min(explained, 1.0))


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
        write_bytes(path, tensors_to_bytes({name: getattr(self, name) for name in self.__dataclass_fields__}))
        os.chmod(path, 0o600)

    @staticmethod
    def load(path: Path) -> "Members":
        return Members(**_read_tensors(path))


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
) -> Members:
    """Final groups and weights: each group keeps the floor in effective members, the share, and its own mean.

    A group that cannot is merged with the one whose mean is nearest, smallest first, until all can. Settled
    groups stay as they are.

    Args:
        points: [n, K] narrow latents.
        loads: [n] what each series carries of the total (e.g. kWh), none negative.
        groups: [n] integer group of each point.
        entities: [n] integer code of the entity behind each point; by default every point has its own.

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
        weights, effective = _weights(groups, entities, loads, settings.max_share)
        means = _weighted_sums(points, weights, groups)
        failing = (effective < fewest - TOLERANCE * fewest) | _equals_a_latent(points, means, groups)
        if not failing.any():
            return Members(points, groups, entities.astype(np.int64), loads, weights)
        if len(means) == 1:
            raise UserError(_hopeless(points, entities, effective[0], fewest, settings))
        groups = _merged(groups, means, failing, effective)


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


def _merged(groups: np.ndarray, means: np.ndarray, failing: np.ndarray, effective: np.ndarray) -> np.ndarray:
    """Each failing group joins the nearest one, smallest first; a group just joined is judged again later."""
    becomes = np.arange(len(means))
    joined = np.zeros(len(means), bool)
    for group in np.flatnonzero(failing)[np.argsort(effective[failing], kind="stable")]:
        if joined[group]:
            continue
        distance = np.sum((means - means[group]) ** 2, axis=1)
        distance[group] = np.inf
        target = int(np.argmin(distance))
        becomes[group] = becomes[target]
        joined[[group, target]] = True
    return becomes[groups]


# --------------------------------------------------------------------------------------------------- the bank


@dataclass(frozen=True)
class Bank:
    """All conditions, with what `generate` needs to draw from them. No ids, no value of any single entity.

    Level and spread of a series are kept as their ratio and the logarithm of the spread, per channel.
    """

    conditions: np.ndarray  # [G, K] float32, standardised by centre and scale
    sizes: np.ndarray  # [G] int64, distinct entities
    effective: np.ndarray  # [G] float64, 1/Σw²
    attributes_mean: np.ndarray  # [G, C, 2] float32, of (level / spread, log spread)
    attributes_std: np.ndarray  # [G, C, 2] float32
    centre: np.ndarray  # [K] float32, mean of all narrow latents
    scale: np.ndarray  # [K] float32, their deviation
    largest_share: np.ndarray  # [G] float64, of the weighted load, carried by one entity
    weights: tuple[np.ndarray, ...]  # per group: falling weights of its entities, without names
    settings: config.Bank

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

    def allocate(self, count: int) -> np.ndarray:
        """How many of `count` series each group gets, in proportion to its size: [G] int64.

        Largest remainder: every group gets its proportion rounded down or up, never more; ties go to the
        first.
        """
        total = int(self.sizes.sum())
        products = self.sizes.astype(object) * count  # Python's integers: exact at any size
        shares = np.array([product // total for product in products], np.int64)
        remainders = np.array([product % total for product in products], np.int64)
        first = np.argsort(-remainders, kind="stable")[: count - int(shares.sum())]
        shares[first] += 1
        return shares

    def draw_attributes(self, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Level and spread of new series: [n] groups -> [n, C, 2] float64.

        Spread is log-normal and level/spread normal, with the group's means and deviations.
        """
        mean, deviation = self.attributes_mean[groups], self.attributes_std[groups]
        drawn = mean + deviation * rng.standard_normal(mean.shape)
        spread = np.exp(drawn[..., 1].astype(np.float64))
        return np.stack([drawn[..., 0] * spread, spread], axis=-1)

    def save(self, folder: Path) -> None:
        """Tensors and a manifest, as a whole folder."""
        content = tensors_to_bytes({name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS})
        with whole_folder(folder) as temporary:
            (temporary / TENSORS).write_bytes(content)
            write_json(temporary / MANIFEST, self._manifest(hashlib.sha256(content).hexdigest()))

    def _manifest(self, checksum: str) -> dict[str, Any]:
        groups = zip(self.sizes, self.effective, self.largest_share, self.tracing_auc, self.weights)
        return {
            "schema": SCHEMA,
            "settings": self.settings.model_dump(mode="json"),
            "channels": self.attributes_mean.shape[1],
            "released": self.released,
            "floor": self.floor,
            "sha256": {TENSORS: checksum},
            "groups": [
                {
                    "size": int(size),
                    "effective": float(effective),
                    "largest_share": float(share),
                    "tracing_auc": float(auc),
                    "weights": _runs(weights),
                }
                for size, effective, share, auc, weights in groups
            ],
        }

    @staticmethod
    def load(folder: Path) -> "Bank":
        """
        Raises:
            UserError: the bank is missing, damaged, or breaks its own promises.
        """
        violations = verify(folder)
        if violations:
            raise UserError(f"the bank {folder} does not hold: {violations[0]}; run the bank stage again")
        manifest = _Manifest.model_validate(read_json(folder / MANIFEST))
        weights = tuple(_repeated(group.weights) for group in manifest.groups)
        shares = np.array([group.largest_share for group in manifest.groups])
        tensors = _read_tensors(folder / TENSORS)
        return Bank(**tensors, largest_share=shares, weights=weights, settings=manifest.settings)


def make_bank(
    points: np.ndarray,
    attributes: np.ndarray,
    loads: np.ndarray,
    groups: np.ndarray,
    settings: config.Bank,
    entities: np.ndarray | None = None,
) -> Bank:
    """The bank of `settle`d groups (settled here, if they are not yet).

    Args:
        points: [n, K] narrow latents.
        attributes: [n, C, 2] level and spread of each series; spread above 0.
        loads, groups, entities: as in `settle`.

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
    members = settle(points, loads, groups, settings, channels, entities)
    records = _Records.of(members.groups, members.entities, members.loads)
    record_weights = np.bincount(records.index, weights=members.weights)
    spans = [slice(*pair) for pair in zip(records.starts[:-1], records.starts[1:])]
    means = _weighted_sums(members.points, members.weights, members.groups)
    centre, scale = members.points.mean(axis=0, dtype=np.float64), _deviation(members.points)
    attributes_mean, attributes_std = _attribute_statistics(attributes, members)
    return Bank(
        conditions=((means - centre) / scale).astype(np.float32),
        sizes=np.diff(records.starts).astype(np.int64),
        effective=np.array([effective_members(record_weights[span]) for span in spans]),
        attributes_mean=attributes_mean.astype(np.float32),
        attributes_std=attributes_std.astype(np.float32),
        centre=centre.astype(np.float32),
        scale=scale.astype(np.float32),
        largest_share=np.array([_largest_share(records.loads[span], record_weights[span]) for span in spans]),
        weights=tuple(np.sort(record_weights[span])[::-1] for span in spans),
        settings=settings,
    )


def _largest_share(loads: np.ndarray, weights: np.ndarray) -> float:
    carried = loads * weights
    return float(carried.max() / carried.sum()) if carried.sum() > 0 else 0.0


def _attribute_statistics(attributes: np.ndarray, members: Members) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and deviation of (level / spread, log spread): [n, C, 2] -> [G, C, 2] each."""
    level, spread = attributes[..., 0], attributes[..., 1]
    values = np.stack([level / spread, np.log(spread)], axis=-1).reshape(len(attributes), -1)
    means = _weighted_sums(values, members.weights, members.groups)
    squares = _weighted_sums((values - means[members.groups]) ** 2, members.weights, members.groups)
    shape = (len(means), *attributes.shape[1:])
    return means.reshape(shape), np.sqrt(squares).reshape(shape)


def _runs(weights: np.ndarray) -> list[tuple[float, int]]:
    """Falling weights as (weight, how many entities have it)."""
    values, counts = np.unique(weights, return_counts=True)
    return [(float(value), int(count)) for value, count in zip(values[::-1], counts[::-1])]


def _repeated(runs: Sequence[tuple[float, int]]) -> np.ndarray:
    return np.repeat([weight for weight, _ in runs], [count for _, count in runs])


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return tensors_from_bytes(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except SafetensorError as error:
        raise UserError(f"{path} is not readable ({error}); it was damaged or is another file") from None


# ----------------------------------------------------------------------------------------------- verification

_TENSORS = {
    "conditions": ("float32", "GK"),
    "sizes": ("int64", "G"),
    "effective": ("float64", "G"),
    "attributes_mean": ("float32", "GC2"),
    "attributes_std": ("float32", "GC2"),
    "centre": ("float32", "K"),
    "scale": ("float32", "K"),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Group(_Strict):
    size: int
    effective: float
    largest_share: float
    tracing_auc: float
    weights: list[tuple[float, int]]


class _Manifest(_Strict):
    """All that a manifest may say: an unknown key is a violation, so there is no room for ids."""

    schema_version: Literal[1] = Field(alias="schema")
    settings: config.Bank
    channels: int
    released: int
    floor: int
    sha256: dict[str, str]
    groups: list[_Group]


def verify(folder: Path, required: config.Bank | None = None) -> list[str]:
    """What the bank in `folder` breaks of its promises, from its two files alone; nothing, if it holds.

    Args:
        required: limits that the bank must keep besides its own, e.g. a regulator's.
    """
    try:
        manifest = _Manifest.model_validate(read_json(folder / MANIFEST))
        tensors = _read_tensors(folder / TENSORS)
    except ValidationError as error:
        first = error.errors()[0]
        return [f"{MANIFEST}: {'.'.join(map(str, first['loc']))}: {first['msg']}"]
    except UserError as error:
        return [str(error)]
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in (MANIFEST, TENSORS))
    violations = [f"{name} does not belong in a bank" for name in strangers]
    if manifest.sha256 != {TENSORS: hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()}:
        violations.append(f"{TENSORS} does not have the manifest's sha256")
    misshapen = _misshapen(tensors, manifest)
    if misshapen:
        return violations + misshapen
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
    return violations


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
    """What one group's numbers break. Comparisons say what must hold, so that nothing odd slips through."""
    counts = [count for _, count in group.weights]
    weights = [weight for weight, _ in group.weights]
    if not (counts and min(counts) >= 1 and min(weights) > 0 and sum(counts) == group.size):
        return [f"the weights are not those of {group.size} entities"]
    total = math.fsum(weight * count for weight, count in group.weights)
    effective = 1 / math.fsum(weight**2 * count for weight, count in group.weights)
    auc = tracing_auc(manifest.released, effective)
    rules = {
        f"weights sum to {total:g}, not 1": abs(total - 1) <= 1e-6,
        f"its weights make {effective:g} effective members, and the manifest says {group.effective:g}": (
            math.isclose(effective, group.effective, rel_tol=1e-6)
        ),
        f"{effective:g} effective members are below the floor of {fewest}": effective >= fewest * (1 - 1e-6),
        f"one entity carries {group.largest_share:.4f} of the load, above {settings.max_share:g}": (
            0 <= group.largest_share <= settings.max_share * (1 + 10 * TOLERANCE)
        ),
        f"tracing succeeds at {auc:.4f}, and the manifest says {group.tracing_auc:.4f}": (
            math.isclose(auc, group.tracing_auc, rel_tol=1e-6)
        ),
        f"tracing succeeds at {auc:.4f}, above {settings.max_tracing_auc:g}": (
            auc <= settings.max_tracing_auc + 1e-6
        ),
    }
    return [text for text, holds in rules.items() if not holds]


# --------------------------------------------------------------------------------------------------- training


class Conditioner:
    """What each training series is conditioned on: rows [B] -> [B, K] float32, on the device of `rows`.

    "mean": its group's mean, as in the bank. "subset": the mean of a random part of its group, drawn afresh
    for every (seed, step, sample): the shortest part of a random order that keeps the bank's floor and share.
    The series itself is in that part by chance only.
    """

    def __init__(self, bank: Bank, members: Members, *, training: str = "mean", seed: int = 0) -> None:
        if bank.num_groups != members.num_groups:
            raise UserError(
                f"the bank has {bank.num_groups} groups and the members {members.num_groups}; "
                "run the bank stage again"
            )
        self.bank, self.training, self.seed = bank, training, seed
        self._fewest = bank.floor
        self._groups = torch.from_numpy(members.groups)
        self._table = torch.from_numpy(bank.conditions)
        if training == "subset":
            self._records = _Records.of(members.groups, members.entities, members.loads)
            index = self._records.index
            self._weights = np.bincount(index, weights=members.weights)
            sums = _weighted_sums(members.points, np.ones(len(index)), index)
            self._points = (sums / self._records.points[:, None] - bank.centre) / bank.scale

    def __call__(self, rows: Tensor, sample: Tensor, step: int) -> Tensor:
        """
        Args:
            rows: [B] int64, training rows.
            sample: [B] int64, positions in the global batch.
        """
        if self._table.device != rows.device:
            self._table, self._groups = self._table.to(rows.device), self._groups.to(rows.device)
        groups = self._groups[rows]
        if self.training == "mean":
            return self._table[groups]
        drawn = [
            self._mean(self.part(group, draws.generator(self.seed, step, "subset", position)))
            for group, position in zip(groups.tolist(), sample.tolist())
        ]
        return torch.from_numpy(np.stack(drawn)).to(rows.device)

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
