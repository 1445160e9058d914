"""From measured units to the networks' range and back: a transform, then each series' own location and scale.

Location and scale are kept as attributes: the networks see the shape, the attributes are modelled with the
condition and given back on output. Statistics are float64; series stay float32.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from distgan import config
from distgan.config.bounds import choose_grid_step, count_from, count_to, read_decimal
from distgan.data.season import Season
from distgan.errors import UserError


def _apply_sqrt(values: np.ndarray, unit: float) -> np.ndarray:
    return np.copysign(np.sqrt(np.abs(values)), values)


def _apply_square(values: np.ndarray, unit: float) -> np.ndarray:
    return np.copysign(values * values, values)


def _apply_log1p(values: np.ndarray, unit: float) -> np.ndarray:
    return np.copysign(np.log1p(np.abs(values) / np.float32(unit)), values)


def _apply_expm1(values: np.ndarray, unit: float) -> np.ndarray:
    return np.copysign(np.expm1(np.abs(values)) * np.float32(unit), values)


def _is_constant(values: np.ndarray, unit: float) -> np.ndarray:
    return values.copy()


Transform = Callable[[np.ndarray, float], np.ndarray]
TRANSFORMS: dict[str, tuple[Transform, Transform]] = {  # odd functions and their inverses
    "none": (_is_constant, _is_constant),
    "sqrt": (_apply_sqrt, _apply_square),
    "log1p": (_apply_log1p, _apply_expm1),
}


FLAT = 1e-3  # a generated shape of less scale is taken for flat, and not blown up to scale 1


@dataclass(frozen=True)
class Scaler:
    """Per series and channel: z = (t(x) - location) / scale, and for `standard` asinh(z) / asinh(bound).

    `unit` is the typical size of a value (log1p divides by it); `bound` the |z| that the training series
    reach, so that they fill [-1, 1]. asinh is linear near 0 and a logarithm far out: one wild series does
    not squeeze all others into a corner of the range.

    Generated series are cut off at `bound`, so it must not be one person's number: it is the next power
    of √2 at or above the largest |z| that a minimum number of owners reach (`_anonymise_bound`). The
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

    @classmethod
    def fit(
        cls,
        blocks: Iterable[np.ndarray],
        settings: config.Scaling,
        bounds: config.Bounds | None = None,
        owners: np.ndarray | None = None,
        least: int = 1,
    ) -> Self:
        """Learn `unit` and `bound` from the training series.

        Args:
            blocks: [n, L, C] each, NaN = missing; walked once or twice, so a list or
                `store.select_part(rows)`, not a generator.
            bounds: public limits of the values, which restored series keep.
            owners: a number 0 .. E-1 for the owner of each series, in the order of the blocks; by default
                each series has its own.
            least: owners that must reach the bound's |z| before it is rounded up.

        Raises:
            UserError: there are no measured values.
        """
        assert not isinstance(blocks, Iterator), (
            "blocks are walked twice; pass a list or store.select_part(rows)"
        )
        unit = 1.0
        if settings.transform == "log1p":
            unit = _compute_typical_size(blocks) if settings.unit is None else settings.unit
        scaler = cls(settings.transform, settings.method, unit, 1.0, None)
        if bounds is not None:
            scaler = replace(
                scaler,
                lower_bound=bounds.lower,
                upper_bound=bounds.upper,
                integer=bounds.integer,
                step=bounds.step,
            )
        if settings.method == "minmax":
            return scaler
        if settings.bound is not None:
            return replace(scaler, bound=settings.bound)
        largest = []
        for values in blocks:
            standardised = scaler._standardise_values(values, scaler.compute_attributes(values), None)
            largest.append(np.nanmax(np.abs(standardised), axis=(1, 2), initial=0.0))
        reached = np.concatenate(largest)
        if not 0 < reached.max(initial=0.0) < np.inf:
            raise UserError("the training series hold no varying finite values; nothing to scale by")
        bound = _anonymise_bound(reached, np.arange(len(reached)) if owners is None else owners, least)
        return replace(scaler, bound=bound)

    @property
    def _reach(self) -> float:
        """The value of asinh at `bound`: 1 on the networks' scale."""
        return float(np.arcsinh(self.bound))

    def compute_attributes(self, values: np.ndarray) -> np.ndarray:
        """Return the location and scale (> 0) of each series, in the transformed domain: [n, L, C] -> float32
        [n, C, 2].

        A series without values, or without variation, gets scale 1 and so scales to zeros.
        """
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

    def measure_season(self, blocks: Iterable[np.ndarray], owners: np.ndarray) -> Self:
        """Return the scaler that knows the course of whole series, where it can: blocks and owners as of
        `fit`.
        """
        if self.method != "standard":
            return self

        def standardise(values: np.ndarray) -> np.ndarray:
            return self._standardise_values(values, self.compute_attributes(values), None)

        return replace(self, season=Season.measure(blocks, owners, standardise))

    def scale(self, values: np.ndarray, attributes: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return [n, L, C] in measured units, attributes [n, C, 2], as float32 [n, L, C], in `out` if given
        (it may be `values`); NaN stays NaN.
        """
        scaled = self._standardise_values(values, attributes, out)
        if self.method == "standard":
            np.arcsinh(scaled, out=scaled)
            scaled /= np.float32(self._reach)
        return scaled

    def _standardise_values(
        self, values: np.ndarray, attributes: np.ndarray, out: np.ndarray | None
    ) -> np.ndarray:
        values = np.asarray(values, np.float32)
        if self.transform != "none":
            values = TRANSFORMS[self.transform][0](values, self.unit)
        standardised = np.subtract(values, attributes[:, None, :, 0].astype(np.float32), out=out)
        standardised /= attributes[:, None, :, 1].astype(np.float32)
        return standardised

    def restore(self, scaled: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """Return the inverse of `scale`; then only the bounds clip, and `integer` or `step` rounds."""
        return self.keep_within_bounds(self.restore_unbounded(scaled, attributes))

    def restore_unbounded(self, scaled: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """Return the inverse of `scale` alone: [n, L, C], [n, C, 2] -> float32 [n, L, C], measured units."""
        transformed = np.array(scaled, np.float32)
        if self.method == "standard":
            transformed *= np.float32(self._reach)
            np.sinh(transformed, out=transformed)
        transformed *= attributes[:, None, :, 1].astype(np.float32)
        transformed += attributes[:, None, :, 0].astype(np.float32)
        return TRANSFORMS[self.transform][1](transformed, self.unit)

    @property
    def grid_step(self) -> float | None:
        """The step whose multiples generated values are; None where they may be any number."""
        return choose_grid_step(self.step, self.integer)

    def keep_within_bounds(self, values: np.ndarray) -> np.ndarray:
        """Return values in measured units, any shape, as `data.bounds` wants them; NaN stays NaN."""
        lower, upper = self.lower_bound, self.upper_bound
        if self.grid_step is not None:
            return round_to_multiples(values, self.grid_step, lower, upper)
        if lower is not None:
            values = np.maximum(values, np.float32(lower))
        return values if upper is None else np.minimum(values, np.float32(upper))

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
        shapes_BLC, mask = shapes.float(), mask.float()
        shapes_BLC = _pass_gradient(shapes_BLC, shapes_BLC.clamp(-1, 1))
        if self.method == "standard":
            deviations_BLC = _standardise_shapes(torch.sinh(self._reach * shapes_BLC), mask)
            shapes_BLC = torch.asinh(deviations_BLC) / self._reach
        else:
            shapes_BLC = _fill_shapes(shapes_BLC, mask)
        lower, attributes = None if keep_below else self.lower_bound, attributes.float()
        if self.season is not None:
            attributes = self.season.restrict(attributes, mask)
        lowest_B1C = self._scale_bound(lower, -1, attributes)[:, None]
        highest_B1C = self._scale_bound(self.upper_bound, 1, attributes)[:, None]
        cut_BLC = torch.minimum(torch.maximum(shapes_BLC, lowest_B1C), highest_B1C)
        return _pass_gradient(shapes_BLC, cut_BLC).to(shapes.dtype)

    def _scale_bound(self, bound: float | None, end: int, attributes: Tensor) -> Tensor:
        """Return where a bound lies on the networks' scale, and `end` without one: (B, C, 2) -> (B, C)."""
        location, scale = attributes.unbind(-1)
        if bound is None:
            return torch.full_like(location, end)
        transformed = float(TRANSFORMS[self.transform][0](np.array(bound, np.float32), self.unit))
        place = (transformed - location) / scale
        if self.method == "standard":
            place = torch.asinh(place) / self._reach
        return place.clamp(-1, 1)

    def to_dict(self) -> dict[str, Any]:
        tree = asdict(self)
        return tree if self.season else {name: value for name, value in tree.items() if name != "season"}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        season = content.get("season")
        return cls(**content | {"season": None if season is None else Season.from_dict(season)})


def round_to_multiples(
    values: np.ndarray, step: float, lower: float | None = None, upper: float | None = None
) -> np.ndarray:
    """Return the nearest whole multiples of `step` within the bounds, each the float32 that is written like
    the multiple itself (0.3, not 0.30000001): any shape; NaN stays NaN.

    A step is the decimal number that it is written as: 0.1 is 1/10. A number of steps k is exact in float64,
    and so is k times the numerator; the division then rounds once.
    """
    exact = read_decimal(step)
    counts = np.rint(np.asarray(values, np.float64) * exact.denominator / exact.numerator)
    if lower is not None:
        counts = np.maximum(counts, count_from(lower, step))
    if upper is not None:
        counts = np.minimum(counts, count_to(upper, step))
    return (counts * exact.numerator / exact.denominator).astype(np.float32) + np.float32(0)  # no -0


def _pass_gradient(values: Tensor, changed: Tensor) -> Tensor:
    """Return what was changed, with the gradient of what was not."""
    return values + (changed - values).detach()


def _standardise_shapes(shapes_BLC: Tensor, mask: Tensor) -> Tensor:
    """Return shapes of mean 0 and deviation 1 over measured places."""
    count = mask.sum(1, keepdim=True).clamp(min=1)
    centred = shapes_BLC - (shapes_BLC * mask).sum(1, keepdim=True) / count
    variance = (centred.square() * mask).sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + FLAT**2)


def _fill_shapes(shapes_BLC: Tensor, mask: Tensor) -> Tensor:
    """Return shapes from -1 to 1 over measured places."""
    low = torch.where(mask > 0, shapes_BLC, 1).amin(1, keepdim=True)
    high = torch.where(mask > 0, shapes_BLC, -1).amax(1, keepdim=True)
    return (2 * shapes_BLC - low - high) / (high - low).clamp(min=FLAT)


def _anonymise_bound(reached: np.ndarray, owners: np.ndarray, least: int) -> float:
    """Return the largest |z| that at least `least` owners reach (all, where there are fewer), rounded up to a
    power of √2: of each series [n], [n] owners -> a number that no single owner decides.

    Owners whose series do not vary reach nothing and do not count.
    """
    of_owner = np.zeros(int(owners.max()) + 1)
    np.maximum.at(of_owner, owners, reached)
    ranked = np.sort(of_owner[of_owner > 0])[::-1]
    shared = float(ranked[min(least, len(ranked)) - 1])
    return float(2.0 ** (np.ceil(2 * np.log2(shared) - 1e-9) / 2))


def _compute_typical_size(blocks: Iterable[np.ndarray]) -> float:
    """Return the geometric mean of the sizes of all measured values but zeros."""
    total, count = 0.0, 0
    for values in blocks:
        sizes = np.abs(values[np.isfinite(values) & (values != 0)])
        total += float(np.log(sizes).sum(dtype=np.float64))
        count += sizes.size
    if not count:
        raise UserError("the training series hold no values but zeros; nothing to scale by")
    return float(np.exp(total / count))


class Attributes:
    """Locations and scales of the training series, computed when a series is first read, and then kept: 8
    bytes a series and channel, and no pass over the store.
    """

    def __init__(
        self, scaler: Scaler, num_series: int, channels: int, known: np.ndarray | None = None
    ) -> None:
        self._scaler = scaler
        self._known = np.full((num_series, channels, 2), np.nan, np.float32) if known is None else known

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
