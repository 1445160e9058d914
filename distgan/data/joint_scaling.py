"""Scaling that is learned from the whole training set, beyond location and scale: normal scores of each
channel's readings, then partial whitening of whole series. Both are undone on output.

Learned numbers are of people: every knot of a table has `bank.min_members` owners behind it, and no owner
has more than that share, 1 / bank.min_members, of the series behind a covariance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from distgan import config
from distgan.data.normal_scores import NormalScores
from distgan.data.whitening import Whitening, refuse_size


@dataclass(frozen=True, eq=False)
class JointScaling:
    marginal: NormalScores | None
    whitening: Whitening | None

    @classmethod
    def fit(
        cls, series: np.ndarray, settings: config.Scaling, owners: np.ndarray | None = None, least: int = 1
    ) -> Self:
        """Learn from standardised series [n, L, C], NaN where missing.

        Args:
            owners: [n] a number 0 .. E-1 for the owner of each; by default each has its own.
            least: owners behind every knot of a table.

        Raises:
            UserError: series are too long or too few for a covariance, or nothing varies.
        """
        owners = np.arange(len(series)) if owners is None else owners
        marginal, whitening = None, None
        scores = torch.from_numpy(series)
        if settings.marginal == "normal_scores":
            marginal = NormalScores.fit(series, owners, least)
            scores = marginal.to_scores(scores)
        if settings.whitening:
            refuse_size(settings.whitening, *series.shape)
            whitening = Whitening.fit(scores, settings.whitening)
        return cls(marginal, whitening)

    def apply(self, series_BLC: Tensor) -> Tensor:
        """Return the joint coordinates of standardised series; NaN stays NaN: (B, L, C) -> float64."""
        scores = series_BLC.double() if self.marginal is None else self.marginal.to_scores(series_BLC)
        return scores if self.whitening is None else self.whitening.whiten(scores)

    def invert(self, coordinates_BLC: Tensor) -> Tensor:
        """Return the standardised series of joint coordinates without gaps: (B, L, C) -> float64."""
        scores = self.invert_whitening(coordinates_BLC)
        return scores if self.marginal is None else self.marginal.to_readings(scores)

    def invert_whitening(self, coordinates_BLC: Tensor) -> Tensor:
        """Return the scores of joint coordinates: (B, L, C) -> float64."""
        coordinates_BLC = coordinates_BLC.double()
        return coordinates_BLC if self.whitening is None else self.whitening.colour(coordinates_BLC)

    def replace_scores(self, scores_BLC: Tensor, series_BLC: Tensor, mask: Tensor) -> Tensor:
        """Return the joint coordinates of changed series, with the gradient of the scores that they had; what
        is not measured enters as the mean of its place: (B, L, C) three times -> float64.
        """
        if self.marginal is not None:
            found = self.marginal.to_scores(series_BLC)
            series_BLC = scores_BLC + (found - scores_BLC).detach()
        if self.whitening is None:
            return series_BLC
        missing = mask == 0
        whitened = self.whitening.whiten(torch.where(missing, torch.nan, series_BLC))
        return torch.where(missing, 0.0, whitened)

    def to(self, device: torch.device | str) -> "JointScaling":
        return JointScaling(
            None if self.marginal is None else self.marginal.to(device),
            None if self.whitening is None else self.whitening.to(device),
        )

    @property
    def length_is_fixed(self) -> bool:
        return self.whitening is not None

    def to_tensors(self) -> dict[str, Tensor]:
        parts = (part for part in (self.marginal, self.whitening) if part is not None)
        return {name: value for part in parts for name, value in part.to_tensors().items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Return the scaling that `to_tensors` described.

        Raises:
            KeyError: a part is missing.
        """
        kinds = {name.partition(".")[0] for name in tensors}
        return cls(
            NormalScores.from_tensors(tensors) if "marginal" in kinds else None,
            Whitening.from_tensors(tensors) if "whitening" in kinds else None,
        )
