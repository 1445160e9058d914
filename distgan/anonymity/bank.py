"""The bank: one released mean per group of entities, the basis of anonymity.

The generator is conditioned on group means of projected latents, with group statistics of location and scale.
Each group has at least `minimum_group_size` effective entities, none with more than `max_share` of the
group's load, and no mean equals a latent. This is aggregation, not a proof: `tracing_auc` is the success that
membership inference on the means can still have, by theory and on average over members: outliers are found
more often.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save as tensors_to_bytes
from scipy.special import ndtri
from torch import Tensor

from distgan import config
from distgan.anonymity.attributes import draw_ratio_and_log_rms, to_location_and_scale, to_ratio_and_log_rms
from distgan.anonymity.group_size import (
    compute_minimum_group_size,
    compute_tracing_auc,
    count_attribute_numbers,
    count_released_numbers,
)
from distgan.anonymity.groups import (
    GroupedSeries,
    GroupRecords,
    Members,
    compute_deviation,
    count_effective_members,
    count_lowered,
    find_largest_share,
    label_groups,
    merge_small_groups,
    round_down,
    sum_weighted,
)
from distgan.anonymity.manifest import MANIFEST, SCHEMA, TENSOR_FORMS, TENSORS, DPGuarantee, inspect_bank
from distgan.anonymity.statics import GroupAttributes
from distgan.errors import Mismatch, UserError
from distgan.files import read_tensors, whole_folder, write_json
from distgan.rng import make_keyed_generator

SMALLEST_VARIANCE = 1e-6  # of asinh_ratio and of log_rms: below it all series are taken as alike
FARTHEST = 3.0  # deviations from the median that a location or scale counts as, at most
QUARTILES = 1.349  # deviations of a normal distribution between its quartiles
SHARE_DIGITS, SHARE_UNITS = 2, 10**9  # of a group's share of the series: significant digits, whole numbers
SMALLEST_REST = 0.3  # of a group's deviation, that is left where numbers explain more


@dataclass(frozen=True)
class Bank:
    """All conditions, with what `generate` needs to draw from them. No ids, no value of any single entity.

    Location and scale of a series are kept as asinh_ratio and log_rms (attributes.py), per channel.
    """

    conditions: np.ndarray  # [G, K] float32, standardised by centre and scale
    sizes: np.ndarray  # [G] int64, distinct entities
    effective: np.ndarray  # [G] int64, 1/Σw² rounded down
    attributes_mean: np.ndarray  # [G, C, 2] float32, of (asinh_ratio, log_rms)
    attributes_std: np.ndarray  # [G, C, 2] float32
    centre: np.ndarray  # [K] float32, mean of all projected latents
    scale: np.ndarray  # [K] float32, their deviation
    largest_share: np.ndarray  # [G] float64, of the weighted load, carried by one entity, rounded up
    lowered: np.ndarray  # [G] int64, entities with less than full weight
    settings: config.Bank
    guarantee: "DPGuarantee | None" = None  # differential privacy, if the bank was made so
    labels: tuple[str, ...] = ()  # the public label of each group, if groups have one
    owners: tuple[int, ...] = ()  # effective owners of each group's entities, of which one may have several
    statics: GroupAttributes | None = None  # what groups state of their entities' attributes (bank.by)
    shares: tuple[float, ...] = ()  # of all series in each group, where entities have several in one

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.labels)))

    @cached_property
    def table(self) -> np.ndarray:
        """The networks' input of each group: its condition, and 1 at the place of its label (last): [G, K +
        labels] float32.
        """
        if not self.labels:
            return self.conditions
        at = np.asarray(self.labels)[:, None] == np.asarray(self.label_names)
        return np.concatenate([self.conditions, at.astype(np.float32)], axis=1)

    @property
    def appended(self) -> int:
        """The number of values that end a condition: one for each label, or those for the attributes."""
        return len(self.label_names) if self.statics is None else self.statics.width

    @property
    def num_groups(self) -> int:
        return len(self.sizes)

    @property
    def proportions(self) -> np.ndarray:
        """Whole numbers in whose proportion groups have series: [G] int64."""
        return np.rint(SHARE_UNITS * np.array(self.shares)).astype(np.int64) if self.shares else self.sizes

    @property
    def released(self) -> int:
        """Numbers released per group."""
        columns = () if self.statics is None else self.statics.columns
        numbers = count_attribute_numbers(column.kind for column in columns)
        return count_released_numbers(self.conditions.shape[1], self.attributes_mean.shape[1], numbers)

    @property
    def minimum_group_size(self) -> int:
        return compute_minimum_group_size(self.settings, self.released)

    @property
    def tracing_auc(self) -> np.ndarray:
        """The success of the best attack on each group's mean, on average over members: [G]."""
        return np.array([compute_tracing_auc(self.released, members) for members in self.effective])

    def allocate(
        self, count: int, among: np.ndarray | None = None, sizes: np.ndarray | None = None
    ) -> np.ndarray:
        """Return how many of `count` series each group gets, as `proportions` say, or `sizes` [G] of whole
        numbers: [G] int64. `among` [G] bool leaves some groups out.

        Largest remainder: every group gets its proportion rounded down or up, never more; ties go to the
        first.
        """
        sizes = self.proportions if sizes is None else sizes
        sizes = sizes if among is None else np.where(among, sizes, 0)
        total = int(sizes.sum())
        products = sizes.astype(object) * count  # Python's integers: exact at any size
        shares = np.array([product // total for product in products], np.int64)
        remainders = np.array([product % total for product in products], np.int64)
        first = np.argsort(-remainders, kind="stable")[: count - int(shares.sum())]
        shares[first] += 1
        return shares

    def compute_attributes(
        self, groups: np.ndarray, normal: np.ndarray, values: np.ndarray | None = None
    ) -> np.ndarray:
        """Return location and scale of new series, from standard normal numbers: [n], [n, C, 2] -> [n, C, 2]
        float64.

        Asinh_ratio and log_rms have the group's means and deviations; where numbers of the series are known
        (`values` [n, A]), they have the mean and the deviation that are left given those.
        """
        mean, deviation = self.attributes_mean[groups], self.attributes_std[groups]
        if self.statics is not None and values is not None:
            shift, explained = self.statics.shift_location_scale(groups, values, self.population[1])
            rest = np.maximum(deviation**2 - explained, (SMALLEST_REST * deviation) ** 2)
            mean, deviation = mean + shift, np.sqrt(rest)
        return to_location_and_scale(draw_ratio_and_log_rms(mean, deviation, normal))

    def draw_attributes(
        self, groups: np.ndarray, rng: np.random.Generator, values: np.ndarray | None = None
    ) -> np.ndarray:
        """Draw location and scale of a set of new series, whose attributes may be known: [n] groups, [n, A]
        -> [n, C, 2] float64.

        A Latin hypercube in every group: each number covers its distribution evenly, so that the totals of a
        few hundred series are right to a few per cent, where independent draws are off by the deviation of
        locations over the root of their number (London: 5 % with 200 homes).
        """
        shape = self.attributes_mean.shape[1:]
        normal = np.empty((len(groups), *shape))
        order = np.argsort(groups, kind="stable")
        for inside in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            cells = np.argsort(rng.random((len(inside), *shape)), axis=0)
            normal[inside] = ndtri((cells + rng.uniform(1e-9, 1 - 1e-9, cells.shape)) / len(inside))
        return self.compute_attributes(groups, normal, values)

    @cached_property
    def population(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of asinh_ratio and log_rms over all entities, from the groups' statistics: [C,
        2] each.
        """
        share = self.sizes[:, None, None] / self.sizes.sum()
        mean = (share * self.attributes_mean).sum(0)
        within = self.attributes_std.astype(np.float64) ** 2
        variance = (share * (within + (self.attributes_mean - mean) ** 2)).sum(0)
        return mean, np.sqrt(np.maximum(variance, SMALLEST_VARIANCE))

    def standardise_attributes(self, attributes: np.ndarray) -> np.ndarray:
        """Return location and scale as the networks get them: [n, C, 2] -> [n, 2C] float32, of mean 0 and
        deviation 1 over the population.
        """
        mean, deviation = self.population
        values = (to_ratio_and_log_rms(attributes) - mean) / deviation
        return values.reshape(len(values), -1).astype(np.float32)

    def read_attributes(self, given: Tensor) -> Tensor:
        """Return location and scale of conditions: (B, 2C + ...) -> (B, C, 2).

        The inverse of `standardise_attributes`.
        """
        mean, deviation = (
            torch.from_numpy(values.astype(np.float32)).to(given.device, non_blocking=True)
            for values in self.population
        )
        restored = given[:, : mean.numel()].float().unflatten(1, mean.shape) * deviation + mean
        asinh_ratio, log_rms = restored.unbind(-1)
        return torch.stack([log_rms.exp() * asinh_ratio.tanh(), log_rms.exp() / asinh_ratio.cosh()], dim=-1)

    def make_conditions(
        self, groups: np.ndarray, attributes: np.ndarray, values: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the networks' input for series of some groups with a location and scale of their own: [n],
        [n, C, 2] -> [n, 2C + K + appended] float32.

        Args:
            values: [n, A] of the attributes of each series; by default those of its group.
        """
        parts = [self.standardise_attributes(attributes), self.table[groups]]
        if self.statics is not None:
            parts.append(self.statics.encode(self.statics.values[groups] if values is None else values))
        return np.concatenate(parts, axis=1)

    def save(self, folder: Path) -> None:
        """Write tensors and a manifest, as a whole folder."""
        content = tensors_to_bytes({name: np.ascontiguousarray(getattr(self, name)) for name in TENSOR_FORMS})
        with whole_folder(folder) as temporary:
            (temporary / TENSORS).write_bytes(content)
            write_json(temporary / MANIFEST, self._make_manifest(hashlib.sha256(content).hexdigest()))

    def _make_manifest(self, checksum: str) -> dict[str, Any]:
        columns = [] if self.statics is None else [each.model_dump() for each in self.statics.columns]
        stated = [] if self.statics is None else self.statics.to_json()
        groups = zip(self.sizes, self.effective, self.lowered, self.largest_share, self.tracing_auc)
        return {
            "schema": SCHEMA,
            "study": self.settings.study,
            "settings": self.settings.model_dump(mode="json"),
            "channels": self.attributes_mean.shape[1],
            "released": self.released,
            "floor": self.minimum_group_size,
            "privacy": None if self.guarantee is None else self.guarantee.model_dump(mode="json"),
            "sha256": {TENSORS: checksum},
            **({"attributes": columns} if columns else {}),
            "groups": [
                {
                    "size": int(size),
                    "effective": int(effective),
                    "lowered": int(lowered),
                    "largest_share": float(share),
                    "tracing_auc": float(auc),
                    **({"label": self.labels[group]} if self.labels else {}),
                    **({"owners": self.owners[group]} if self.owners else {}),
                    **({"share": self.shares[group]} if self.shares else {}),
                    **({"attributes": stated[group]} if stated else {}),
                }
                for group, (size, effective, lowered, share, auc) in enumerate(groups)
            ],
        }

    @staticmethod
    def load(folder: Path) -> "Bank":
        """Load a bank. A research-only bank (`settings.study`) loads, too; a release refuses it.

        Raises:
            Mismatch: the bank is missing, damaged, or contradicts its own manifest.
        """
        manifest, violations = inspect_bank(folder, None)
        if violations or manifest is None:
            raise Mismatch(
                f"the bank {folder} breaks its own rules: {violations[0]}; remove that folder and run "
                "the same command again"
            )
        shares = np.array([group.largest_share for group in manifest.groups])
        lowered = np.array([group.lowered for group in manifest.groups])
        tensors, statics = read_tensors(folder / TENSORS), None
        if manifest.attributes is not None:
            stated = [group.attributes or {} for group in manifest.groups]
            statics = GroupAttributes.from_json(manifest.attributes, stated, tensors["sizes"])
        return Bank(
            **tensors,
            largest_share=shares,
            lowered=lowered,
            settings=manifest.settings,
            guarantee=manifest.privacy,
            labels=tuple(group.label for group in manifest.groups if group.label is not None),
            owners=tuple(group.owners for group in manifest.groups if group.owners is not None),
            statics=statics,
            shares=tuple(group.share for group in manifest.groups if group.share is not None),
        )


def make_bank(series: GroupedSeries, attributes: np.ndarray, settings: config.Bank, seed: int = 0) -> Bank:
    """Make the bank of groups; small ones are merged here if they are not yet.

    Args:
        attributes: [n, C, 2] location and scale of each series; scale above 0.
        seed: of the choice of probes, in a study of them.

    Raises:
        UserError: see `merge_small_groups`; or locations and scales are unusable.
    """
    attributes = np.asarray(attributes, np.float64)
    if attributes.ndim != 3 or attributes.shape[2] != 2 or len(attributes) != len(series.points):
        raise UserError(
            f"attributes have shape {attributes.shape}; location and scale must have shape "
            f"[{len(series.points)}, C, 2]"
        )
    if not np.isfinite(attributes).all() or (attributes[..., 1] <= 0).any():
        raise UserError(
            "locations and scales must be finite, and scales above 0; run the stage prepare again"
        )
    channels = attributes.shape[1]
    members = merge_small_groups(series, settings, channels)
    records = GroupRecords.from_points(members.groups, members.entities, members.loads)
    record_weights = np.bincount(records.index, weights=members.weights)
    spans = [slice(*pair) for pair in zip(records.starts[:-1], records.starts[1:])]
    means = _average_groups(members, settings, seed)
    effective = np.array([count_effective_members(record_weights[span]) for span in spans])
    if settings.training == "probes":
        effective = np.minimum(effective, settings.probes)
    centre, scale = members.points.mean(axis=0, dtype=np.float64), compute_deviation(members.points)
    attributes_mean, attributes_std = _compute_statistics(attributes, members)
    shares = np.array([find_largest_share(records.loads[span], record_weights[span]) for span in spans])
    return Bank(
        conditions=((means - centre) / scale).astype(np.float32),
        sizes=np.diff(records.starts).astype(np.int64),
        effective=np.array([round_down(each) for each in effective], np.int64),
        attributes_mean=attributes_mean.astype(np.float32),
        attributes_std=attributes_std.astype(np.float32),
        centre=centre.astype(np.float32),
        scale=scale.astype(np.float32),
        largest_share=_round_shares(shares, settings.max_share),
        lowered=np.array([count_lowered(record_weights[span]) for span in spans], np.int64),
        settings=settings,
        labels=tuple(map(str, label_groups(members.groups, series.labels)))
        if series.labels is not None and settings.by_label
        else (),
        shares=_state_shares(np.bincount(members.groups), np.diff(records.starts)),
    )


def _state_shares(series: np.ndarray, sizes: np.ndarray) -> tuple[float, ...]:
    """Return the share of all series in each group, rounded, from their numbers [G]; none where each entity
    has one in its group, as sizes say the same.
    """
    if (series == sizes).all():
        return ()
    return tuple(float(f"{each:.{SHARE_DIGITS}g}") for each in series / series.sum())


def _average_groups(members: Members, settings: config.Bank, seed: int) -> np.ndarray:
    """Return the mean of every group, or of its probes in a study of them: [G, K] float64."""
    if settings.training != "probes":
        return sum_weighted(members.points, members.weights, members.groups)
    rows = sample_probe_rows(members, settings, seed)
    return np.stack([members.points[row].mean(axis=0, dtype=np.float64) for row in rows])


def _round_shares(shares: np.ndarray, max_share: float) -> np.ndarray:
    """Round shares up to whole per cent, so that they reveal no load; at the limit where that was kept."""
    return np.minimum(np.ceil(shares * 100 - 1e-6) / 100, np.maximum(shares, max_share))


def sample_probe_rows(members: Members, settings: config.Bank, seed: int) -> list[np.ndarray]:
    """Choose the points behind every condition of a study of probes; with repeats where a group has fewer."""
    found = []
    for group in range(members.num_groups):
        inside = np.flatnonzero(members.groups == group)
        rng = make_keyed_generator(seed, 0, "bank probes", group)
        found.append(rng.choice(inside, settings.probes, replace=len(inside) < settings.probes))
    return found


def _compute_statistics(attributes: np.ndarray, members: Members) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted mean and deviation of asinh_ratio and log_rms: [n, C, 2] -> [G, C, 2] each.

    Values count as at most `FARTHEST` deviations from the median of all, deviations as quartiles show them: a
    single home that stood empty would widen its whole group otherwise.
    """
    values = to_ratio_and_log_rms(attributes).reshape(len(attributes), -1)
    lower, middle, upper = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    reach = FARTHEST * (upper - lower) / QUARTILES
    values = np.where(reach > 0, np.clip(values, middle - reach, middle + reach), values)
    means = sum_weighted(values, members.weights, members.groups)
    squares = sum_weighted((values - means[members.groups]) ** 2, members.weights, members.groups)
    shape = (len(means), *attributes.shape[1:])
    return means.reshape(shape), np.sqrt(squares).reshape(shape)
