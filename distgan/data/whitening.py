"""Partial whitening (ZCA) of whole series: C^(-w/2) (x - mean), C the covariance of all L * C readings.

w = 1 makes every direction in which series differ count alike, w = 1/2 is half of the way: a direction in
which series differ a thousand times less than in another (close - open, next to the level) then differs a
thirtieth as much. A penalised discriminator sees it, and levels still stand out. The root is symmetric, so a
number stays near its step and channel. Directions in which no series differs are left out: channels that are
equal stay equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from distgan.errors import UserError

MOST_READINGS = 2048  # L * C: the matrix then has 32 MiB, and its decomposition takes seconds
SMALLEST = 1e-10  # of the largest variance: below it no series differs
PARTS = ("mean", "forth", "back", "unit")


def refuse_size(share: float, series: int, steps: int, channels: int) -> None:
    """
    Raises:
        UserError: series are too long for a covariance, or too few.
    """
    readings = steps * channels
    setting = f"data.scaling.whitening {share:g} takes the covariance of all {steps} x {channels}"
    if readings > MOST_READINGS:
        raise UserError(
            f"{setting} = {readings:,} readings of a series, and {MOST_READINGS:,} are the limit; set "
            f"data.windows.length={max(2, MOST_READINGS // channels)} or less, or data.scaling.whitening=0"
        )
    if series <= readings:
        raise UserError(
            f"{setting} = {readings:,} readings of a series, which needs more than {readings:,} training "
            f"series, and there are {series:,}; use shorter data.windows.length, a smaller "
            "data.windows.stride, or data.scaling.whitening=0"
        )


@dataclass(frozen=True)
class Whitening:
    """`forth` and `back` are C^(-w/2) and C^(w/2), float64 [D, D] with D = L * C; `unit` makes the deviation
    over all readings 1.
    """

    mean: Tensor
    forth: Tensor
    back: Tensor
    unit: Tensor

    @classmethod
    def fit(cls, series_BLC: Tensor, share: float) -> Self:
        """Learn from series, NaN where missing, which count as the mean of their place.

        Raises:
            UserError: no reading varies.
        """
        flat = fill_gaps(series_BLC.double().flatten(1))
        mean = flat.mean(0)
        variances, directions = torch.linalg.eigh(flat.T.cov())
        if not 0 < variances[-1] < torch.inf:
            raise UserError("the training series hold no varying finite values; nothing to scale by")
        kept = variances > SMALLEST * variances[-1]
        directions, root = directions[:, kept], variances[kept] ** (share / 2)
        forth, back = (directions / root) @ directions.T, (directions * root) @ directions.T
        return cls(mean, forth, back, ((flat - mean) @ forth).std())

    def whiten(self, series_BLC: Tensor) -> Tensor:
        """Return whitened series; a missing reading (NaN) enters as the mean of its place and stays NaN:
        (B, L, C) -> float64 (B, L, C).
        """
        flat = series_BLC.double().flatten(1) - self.mean
        whitened = flat.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf) @ self.forth / self.unit
        return torch.where(series_BLC.isnan(), torch.nan, whitened.view(series_BLC.shape))

    def colour(self, whitened_BLC: Tensor) -> Tensor:
        """Return the inverse of `whiten` for series without gaps: (B, L, C) -> float64 (B, L, C)."""
        flat = (whitened_BLC.double().flatten(1) * self.unit) @ self.back + self.mean
        return flat.view(whitened_BLC.shape)

    def to(self, device: torch.device | str) -> "Whitening":
        return Whitening(*(getattr(self, name).to(device) for name in PARTS))

    def to_tensors(self) -> dict[str, Tensor]:
        return {f"whitening.{name}": getattr(self, name) for name in PARTS}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Return the whitening that `to_tensors` described.

        Raises:
            KeyError: a part is missing.
        """
        return cls(*(tensors[f"whitening.{name}"] for name in PARTS))


def fill_gaps(flat_BD: Tensor) -> Tensor:
    """Return readings with the mean of their place where they are missing."""
    missing = flat_BD.isnan()
    return torch.where(missing, flat_BD.nanmean(0).nan_to_num(), flat_BD) if missing.any() else flat_BD
