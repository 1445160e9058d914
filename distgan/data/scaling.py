"""From measured units to the networks' range and back: a transform, then each series' own location and scale.

Location and scale are kept as attributes: the networks see the shape; the attributes are modelled with the
condition and restored on output. With `scope: dataset` one location and scale of each channel holds for all
series. Normal scores and partial whitening may follow (`joint_scaling`). Statistics are float64; series stay
float32.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from distgan import config
from distgan.config.bounds import choose_grid_step
from distgan.data.joint_scaling import JointScaling
from distgan.data.rounding import clip_to_bounds, round_to_multiples
from distgan.data.scaling_statistics import (
    Blocks,
    anonymise_bound,
    choose_sample,
    compute_location_and_scale,
    compute_range,
    compute_typical_size,
    refuse_few_owners,
)
from distgan.data.season import Season
from distgan.data.shapes import fill_shapes, keep_gradient, standardise_shapes
from distgan.data.transforms import TRANSFORMS
from distgan.errors import UserError

NEAR_END = 1e-2  # of -1 and 1: what rounding of a location far from 0 makes of the ends of a range
LATER = ("scope", "locations", "scales")  # fields that older scaler.json files do not have


@dataclass(frozen=True)
class Scaler:
    """Per series and channel: z = (t(x) - location) / scale, then joint coordinates of z if there are any,
    and for them and for `standard` asinh(z) / asinh(bound).

    `unit` is the typical size of a value (log1p divides by it), in which every owner counts alike; `bound`
    the |z| that the training series reach, so that they fill [-1, 1]. asinh is linear near 0 and a logarithm
    far out: one wild series does not squeeze all others into a corner of the range.

    Generated series are cut off at `bound`, so it must not be one person's number: it is the next power
    of √2 at or above the largest |z| that a minimum number of owners reach (`anonymise_bound`). The
    extremes of fewer owners, and of held-out series, may lie beyond; the networks then see them a little
    outside [-1, 1].
    """

    transform: str
    method: str
    unit: float
    bound: float
    lower_bound: float | None
    upper_bound: float | None = None
    integer: bool = False
    step: float | None = None  # generated values are its whole multiples
    season: Season | None = None  # brings location and scale of a part to those of the whole series
    scope: str = "series"
    locations: tuple[float, ...] | None = None  # of each channel, with scope dataset
    scales: tuple[float, ...] | None = None
    joint: JointScaling | None = field(default=None, compare=False, repr=False)
    _moved: dict[torch.device, JointScaling] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    @classmethod
    def fit(
        cls,
        blocks: Blocks,
        settings: config.Scaling,
        bounds: config.Bounds | None = None,
        owners: np.ndarray | None = None,
        least: int = 1,
    ) -> Self:
        """Learn `unit` and `bound` from the training series, and what `scope`, `marginal` and `whitening` ask
        for; a sample of at most 2^24 readings decides on the last two (`choose_sample`).

        Args:
            blocks: [n, L, C] each, NaN = missing; walked up to five times, so a list or
                `store.select_part(rows)`, not a generator.
            bounds: public limits of the values, which restored series keep.
            owners: a number 0 .. E-1 for the owner of each series, in the order of the blocks; by default
                each series has its own.
            least: owners that must reach the bound's |z| before it is rounded up, and be behind all else.

        Raises:
            UserError: there are no measured values, owners are too few, or series too long for a covariance.
        """
        assert not isinstance(blocks, Iterator), (
            "blocks are walked twice; pass a list or store.select_part(rows)"
        )
        owners = np.arange(sum(map(len, blocks))) if owners is None else owners
        unit = 1.0
        if settings.transform == "log1p":
            unit = compute_typical_size(blocks, owners) if settings.unit is None else settings.unit
        scaler = cls(settings.transform, settings.method, unit, 1.0, None, scope=settings.scope)
        if bounds is not None:
            scaler = replace(
                scaler,
                lower_bound=bounds.lower,
                upper_bound=bounds.upper,
                integer=bounds.integer,
                step=bounds.step,
            )
        if settings.learns_jointly or settings.scope == "dataset":
            refuse_few_owners(settings, owners, least)
            scaler = scaler._fit_scope(blocks, owners, least)
            if settings.learns_jointly:
                return scaler._fit_joint(blocks, settings, owners, least)
        if settings.method == "minmax":
            return scaler
        if settings.bound is not None:
            return replace(scaler, bound=settings.bound)
        return scaler._fit_bound(blocks, owners, least)

    def _fit_scope(self, blocks: Blocks, owners: np.ndarray, least: int) -> Self:
        """Learn one location and scale of each channel, for scope dataset."""
        if self.scope == "series":
            return self
        transformed = _Transformed(blocks, self)
        if self.method == "minmax":
            locations, scales = compute_range(transformed, owners, least)
        else:
            locations, scales = compute_location_and_scale(transformed, owners)
        return replace(self, locations=locations, scales=scales)

    def _fit_joint(self, blocks: Blocks, settings: config.Scaling, owners: np.ndarray, least: int) -> Self:
        """Learn normal scores, a covariance and the bound of the coordinates from a sample of the series."""
        chosen: np.ndarray | None = None
        parts, first = [], 0
        for values in blocks:
            chosen = choose_sample(owners, values[0].size, least) if chosen is None else chosen
            inside = chosen[(chosen >= first) & (chosen < first + len(values))] - first
            if len(inside):
                some = np.asarray(values, np.float32)[inside]
                standardised = self._standardise_values(some, self.compute_attributes(some), None)
                parts.append(self._snap_ends(standardised))
            first += len(values)
        assert chosen is not None, "no blocks"
        series, whose = np.concatenate(parts), np.unique(owners[chosen], return_inverse=True)[1]
        joint = JointScaling.fit(series, settings, whose, least)
        if settings.bound is not None:
            return replace(self, joint=joint, bound=settings.bound)
        reached = np.concatenate(
            [
                np.nanmax(np.abs(joint.apply(torch.from_numpy(part)).numpy()), axis=(1, 2), initial=0.0)
                for part in np.array_split(series, -(-len(series) // 1024))
            ]
        )
        return replace(self, joint=joint, bound=anonymise_bound(reached, whose, least))

    def _fit_bound(self, blocks: Blocks, owners: np.ndarray, least: int) -> Self:
        scaler, largest = self, []
        for values in blocks:
            standardised = scaler._standardise_values(values, scaler.compute_attributes(values), None)
            largest.append(np.nanmax(np.abs(standardised), axis=(1, 2), initial=0.0))
        reached = np.concatenate(largest)
        if not 0 < reached.max(initial=0.0) < np.inf:
            raise UserError("the training series hold no varying finite values; nothing to scale by")
        return replace(scaler, bound=anonymise_bound(reached, owners, least))

    @property
    def knows_channels(self) -> bool:
        """True where each channel has learned numbers of its own, so that series must have these channels."""
        return self.locations is not None or self.joint is not None

    @property
    def _reach(self) -> float:
        """The value of asinh at `bound`: 1 on the networks' scale."""
        return float(np.arcsinh(self.bound))

    def compute_attributes(self, values: np.ndarray) -> np.ndarray:
        """Return the location and scale (> 0) of each series, in the transformed domain: [n, L, C] -> float32
        [n, C, 2].

        A series without values, or without variation, gets scale 1 and so scales to zeros. With scope dataset
        all series have the same.
        """
        if self.locations is not None and self.scales is not None:
            shared = np.stack([self.locations, self.scales], axis=-1).astype(np.float32)
            return np.repeat(shared[None], len(values), axis=0)
        transformed = TRANSFORMS[self.transform][0](np.asarray(values, np.float32), self.unit)
        measured = ~np.isnan(transformed)
        empty = ~measured.any(axis=1)
        if self.method == "minmax":
            low = np.where(empty, 0.0, np.min(transformed, axis=1, where=measured, initial=np.inf))
            high = np.where(empty, 0.0, np.max(transformed, axis=1, where=measured, initial=-np.inf))
            location, scale = (low + high) / 2, (high - low) / 2
        else:
            counts = np.maximum(measured.sum(axis=1), 1)
            transformed[~measured] = 0
            location = transformed.sum(axis=1, dtype=np.float64) / counts
            transformed -= location[:, None].astype(np.float32)
            transformed[~measured] = 0
            squares = np.einsum("nlc,nlc->nc", transformed, transformed, dtype=np.float64)
            scale = np.sqrt(squares / counts)
        scale = np.where(scale > 0, scale, 1.0)
        return np.stack([location, scale], axis=-1).astype(np.float32)

    def complete_attributes(self, attributes: np.ndarray, mask: Tensor) -> np.ndarray:
        """Return location and scale of the whole series behind those measured in part: [n, C, 2], (n, L, C)
        -> float32 [n, C, 2].
        """
        if self.season is None:
            return attributes
        return self.season.complete(torch.from_numpy(attributes), mask).numpy()

    def measure_season(self, blocks: Blocks, owners: np.ndarray) -> Self:
        """Return the scaler that knows the course of whole series, where it can: blocks and owners as of
        `fit`.
        """
        if self.method != "standard" or self.scope == "dataset":
            return self

        def standardise(values: np.ndarray) -> np.ndarray:
            return self._standardise_values(values, self.compute_attributes(values), None)

        return replace(self, season=Season.measure(blocks, owners, standardise))

    def scale(self, values: np.ndarray, attributes: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return [n, L, C] in measured units, attributes [n, C, 2], as float32 [n, L, C], in `out` if given
        (it may be `values`); NaN stays NaN.
        """
        scaled = self._standardise_values(values, attributes, out)
        if self.joint is not None:
            scaled[...] = self.joint.apply(torch.from_numpy(self._snap_ends(scaled))).numpy()
        if self.is_compressed:
            np.arcsinh(scaled, out=scaled)
            scaled /= np.float32(self._reach)
        return scaled

    @property
    def is_compressed(self) -> bool:
        """True where asinh follows; a range alone is linear."""
        return self.method == "standard" or self.joint is not None

    def _find_own(self, attributes: np.ndarray) -> np.ndarray:
        """Return the location and scale that series have: with scope dataset those of the scaler, exactly."""
        return attributes if self.locations is None else self.compute_attributes(attributes)

    def _standardise_values(
        self, values: np.ndarray, attributes: np.ndarray, out: np.ndarray | None
    ) -> np.ndarray:
        values = np.asarray(values, np.float32)
        if self.transform != "none":
            values = TRANSFORMS[self.transform][0](values, self.unit)
        attributes = self._find_own(attributes)
        standardised = np.subtract(values, attributes[:, None, :, 0].astype(np.float32), out=out)
        standardised /= attributes[:, None, :, 1].astype(np.float32)
        return standardised

    def _snap_ends(self, standardised: np.ndarray) -> np.ndarray:
        """Set the ends of each series' own range to -1 and 1, as generated series have them: rounding would
        make several values of each, with normal scores far apart. [n, L, C], changed in place.
        """
        if self.method == "minmax" and self.scope == "series":
            for end, find in ((-1, np.fmin), (1, np.fmax)):
                found = find.reduce(standardised, axis=1, keepdims=True)
                np.copyto(standardised, end, where=(standardised == found) & (np.abs(found - end) < NEAR_END))
        return standardised

    def restore(self, scaled: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """Return the inverse of `scale`; then only the bounds clip, and `integer` or `step` rounds."""
        return self.keep_within_bounds(self.restore_unbounded(scaled, attributes))

    def restore_unbounded(self, scaled: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """Return the inverse of `scale` alone: [n, L, C], [n, C, 2] -> float32 [n, L, C], measured units."""
        transformed, attributes = np.array(scaled, np.float32), self._find_own(attributes)
        if self.is_compressed:
            transformed *= np.float32(self._reach)
            np.sinh(transformed, out=transformed)
        if self.joint is not None:
            transformed = self.joint.invert(torch.from_numpy(transformed)).numpy().astype(np.float32)
        transformed *= attributes[:, None, :, 1].astype(np.float32)
        transformed += attributes[:, None, :, 0].astype(np.float32)
        return TRANSFORMS[self.transform][1](transformed, self.unit)

    @property
    def grid_step(self) -> float | None:
        """The step whose multiples generated values are; None where they may be any number."""
        return choose_grid_step(self.step, self.integer)

    def keep_within_bounds(self, values: np.ndarray) -> np.ndarray:
        """Return series in measured units, [n, L, C], as `data.bounds` wants them; NaN stays NaN."""
        lower, upper = self.lower_bound, self.upper_bound
        if self.grid_step is not None:
            return round_to_multiples(values, self.grid_step, lower, upper)
        return clip_to_bounds(values, lower, upper)

    def make_relative(self, shapes: Tensor, attributes: Tensor) -> Tensor:
        """Return scaled series with their location, in units of their root mean square and in the transformed
        domain; with joint coordinates, which have no such inverse here, as they are. Differentiable.

        Args:
            shapes: (B, L, C).
            attributes: (B, C, 2), location and scale.
        """
        if self.joint is not None:
            return shapes
        standard_BLC = shapes.float()
        if self.is_compressed:
            standard_BLC = torch.sinh(self._reach * standard_BLC)
        location, scale = (part[:, None] for part in self._take_shared(attributes.float()).unbind(-1))
        return (standard_BLC * scale + location) / torch.hypot(location, scale)

    def standardise(
        self, shapes: Tensor, mask: Tensor, attributes: Tensor, *, keep_below: bool = False
    ) -> Tensor:
        """Give generated shapes what scaled series have by construction: location 0 and scale 1 where they
        are measured, nowhere beyond the bounds or further out than any training value. So a restored series
        has exactly the location and scale that it was to get, but for what is cut off, and the discriminator
        sees it as it will be released. What is cut keeps its gradient. Scaled training series stay as they
        are.

        Args:
            shapes, mask: (B, L, C).
            attributes: (B, C, 2), the location and scale that each is to get, as a whole series.
            keep_below: do not cut what is below the lower bound, so that it keeps its order.
        """
        shapes_BLC, mask, attributes = shapes.float(), mask.float(), self._take_shared(attributes.float())
        shapes_BLC = keep_gradient(shapes_BLC, shapes_BLC.clamp(-1, 1))
        lower = None if keep_below else self.lower_bound
        if self.season is not None:
            attributes = self.season.restrict(attributes, mask)
        if self.joint is not None:
            return self._standardise_jointly(shapes_BLC, mask, attributes, lower).to(shapes.dtype)
        if self.method == "standard":
            deviations_BLC = self._give_location_and_scale(torch.sinh(self._reach * shapes_BLC), mask)
            shapes_BLC = torch.asinh(deviations_BLC) / self._reach
        else:
            shapes_BLC = self._give_location_and_scale(shapes_BLC, mask)
        lowest_B1C = self._scale_bound(lower, -1, attributes)[:, None]
        highest_B1C = self._scale_bound(self.upper_bound, 1, attributes)[:, None]
        cut_BLC = torch.minimum(torch.maximum(shapes_BLC, lowest_B1C), highest_B1C)
        return keep_gradient(shapes_BLC, cut_BLC).to(shapes.dtype)

    def _take_shared(self, attributes: Tensor) -> Tensor:
        """Return the location and scale that series have: with scope dataset those of the scaler."""
        if self.locations is None:
            return attributes
        shared = torch.from_numpy(self.compute_attributes(np.empty((1, 0))))
        return shared.to(attributes.device, non_blocking=True).expand_as(attributes)

    def _standardise_jointly(
        self, shapes_BLC: Tensor, mask: Tensor, attributes: Tensor, lower: float | None
    ) -> Tensor:
        """Do the work of `standardise` on standardised values, which the bounds are of, and return to joint
        coordinates.
        """
        joint = self._joint_on(shapes_BLC.device)
        scores_BLC = joint.invert_whitening(torch.sinh(self._reach * shapes_BLC))
        values_BLC = scores_BLC if joint.marginal is None else joint.marginal.to_readings(scores_BLC.detach())
        values_BLC = self._give_location_and_scale(values_BLC, mask)
        cut_BLC = values_BLC
        if lower is not None:
            cut_BLC = torch.maximum(cut_BLC, self._find_place(lower, attributes)[:, None])
        if self.upper_bound is not None:
            cut_BLC = torch.minimum(cut_BLC, self._find_place(self.upper_bound, attributes)[:, None])
        values_BLC = keep_gradient(values_BLC, cut_BLC)
        found_BLC = torch.asinh(joint.replace_scores(scores_BLC, values_BLC, mask)) / self._reach
        return keep_gradient(found_BLC, found_BLC.clamp(-1, 1))

    def _joint_on(self, device: torch.device) -> JointScaling:
        assert self.joint is not None
        if device not in self._moved:
            with torch.inference_mode(False):  # they may be kept for training
                self._moved[device] = self.joint.to(device)
        return self._moved[device]

    def _give_location_and_scale(self, values_BLC: Tensor, mask: Tensor) -> Tensor:
        """Give each series location 0 and scale 1, where they are its own."""
        if self.scope == "dataset":
            return values_BLC
        return (standardise_shapes if self.method == "standard" else fill_shapes)(values_BLC, mask)

    def _find_place(self, bound: float, attributes: Tensor) -> Tensor:
        """Return where a bound lies among standardised values: (B, C, 2) -> (B, C)."""
        location, scale = attributes.unbind(-1)
        transformed = float(TRANSFORMS[self.transform][0](np.array(bound, np.float32), self.unit))
        return (transformed - location) / scale

    def _scale_bound(self, bound: float | None, end: int, attributes: Tensor) -> Tensor:
        """Return where a bound lies on the networks' scale, and `end` without one: (B, C, 2) -> (B, C)."""
        if bound is None:
            return torch.full_like(attributes[..., 0], end)
        place = self._find_place(bound, attributes)
        if self.method == "standard":
            place = torch.asinh(place) / self._reach
        return place.clamp(-1, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers but those of `joint`, which are tensors."""
        content = {each.name: getattr(self, each.name) for each in fields(self) if each.compare}
        content["season"] = None if self.season is None else asdict(self.season)
        absent = {"season"} if self.season is None else set()
        absent |= set(LATER) if self.scope == "series" else set()
        return {name: value for name, value in content.items() if name not in absent}

    @classmethod
    def from_dict(cls, content: dict[str, Any], joint: JointScaling | None = None) -> Self:
        season = content.get("season")
        known = {"season": None if season is None else Season.from_dict(season), "joint": joint}
        listed = {name: tuple(content[name]) for name in LATER[1:] if content.get(name) is not None}
        return cls(**content | listed | known)


@dataclass(frozen=True)
class _Transformed:
    """Blocks in the transformed domain."""

    blocks: Blocks
    scaler: Scaler

    def __iter__(self) -> Iterator[np.ndarray]:
        forth = TRANSFORMS[self.scaler.transform][0]
        return (forth(np.asarray(values, np.float32), self.scaler.unit) for values in self.blocks)


class Attributes:
    """Locations and scales of the training series, computed when a series is first read, and then kept: 8
    bytes a series and channel, and no pass over the store.
    """

    def __init__(self, scaler: Scaler, num_series: int, channels: int) -> None:
        self._scaler = scaler
        self._known = np.full((num_series, channels, 2), np.nan, np.float32)

    def look_up(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return [n, C, 2] of the training series `rows` [n], with measured values `values` [n, L, C]."""
        found = self._known[rows]
        fresh = np.flatnonzero(np.isnan(found[:, 0, 1]))
        if len(fresh):
            found[fresh] = self._scaler.compute_attributes(
                values[fresh] if len(fresh) < len(rows) else values
            )
            self._known[rows[fresh]] = found[fresh]
        return found
