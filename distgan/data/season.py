"""Estimate location and scale of the whole series from a part, for series that begin late or end early.

A home that is measured from July on has the mean of a summer and an autumn. Its location and scale stand in
the bank beside those of whole years, and series are generated as whole ones, so they are brought to what the
whole series would have if it had the course of the average whole one. With m_k and s_k the means of the
standardised values of whole series, and of their squares, in equal parts k of their length, and w_k the
measured share of each part, an average whole series has the mean a = Σ w_k m_k / Σ w_k and the deviation d =
√(Σ w_k s_k / Σ w_k − a²) where this one is measured, so

    whole scale = scale / d,    whole location = location − whole scale · a.

Anonymity: a mean is over owners of each owner's mean, so that one of n owners counts 1 / n, and there is at
most one number for 20 owners, as of zeros (`zeros.py`).

Shapes: n, B series, L steps, C channels, K parts.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

MOST_PARTS = 12
OWNERS_PER_NUMBER = 20
WHOLE = 0.95  # measured share of a series that counts as whole
DEVIATIONS = (0.5, 2.0)  # of part of a series, over that of the whole, at least and at most
FARTHEST = 2.0  # whole scales that the mean of a part is from the whole mean


@dataclass(frozen=True)
class Season:
    """Means over owners of standardised values of whole series and of their squares, by part: [K][C] each."""

    means: tuple[tuple[float, ...], ...]
    squares: tuple[tuple[float, ...], ...]

    @classmethod
    def measure(
        cls, blocks: Iterable[np.ndarray], owners: np.ndarray, standardise: Callable[[np.ndarray], np.ndarray]
    ) -> "Season | None":
        """Measure the whole series among the training series; None where their owners are too few, or none is
        in part.

        Args:
            blocks: [m, L, C] each, in measured units, NaN = missing.
            owners: a number 0 .. E-1 for the owner of each series, in the order of the blocks.
            standardise: series [m, L, C] -> with location 0 and scale 1.
        """
        found, whole, row = [], np.zeros(len(owners), bool), 0
        for values in blocks:
            missing = np.isnan(values)
            span = slice(row, row + len(values))
            whole[span] = missing.mean(axis=(1, 2)) <= 1 - WHOLE
            row += len(values)
            some = standardise(values[whole[span]])
            found.append(np.stack([_average_parts(some), _average_parts(np.square(some))]))
        table = np.concatenate(found, axis=1)  # [2, whole series, MOST_PARTS, C]
        people = len(np.unique(owners[whole]))
        most = people // (2 * OWNERS_PER_NUMBER * max(1, table.shape[3]))
        parts = max((each for each in (2, 3, 4, 6, 12) if each <= most), default=0)
        if whole.all() or not parts:
            return None
        averages = _average_owners(table, owners[whole]).reshape(2, parts, MOST_PARTS // parts, -1).mean(2)
        means = averages[0] - averages[0].mean(axis=0)
        squares = averages[1] / averages[1].mean(axis=0)
        return cls(*(tuple(map(tuple, each.tolist())) for each in (means, squares)))

    def describe_part(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the deviation, in whole scales, that an average whole series has where the mask
        is 1, 0 and 1 where it is nowhere: (B, L, C) -> (B, C) twice.
        """
        length, parts = mask.shape[1], len(self.means)
        steps = torch.arange(length, device=mask.device) * parts // length
        member_KL = (steps == torch.arange(parts, device=mask.device)[:, None]).float()
        shares_BKC = member_KL @ mask.float()
        shares_BKC = shares_BKC / shares_BKC.sum(1, keepdim=True).clamp(min=1)
        means, squares = (
            torch.tensor(each).to(mask.device, non_blocking=True) for each in (self.means, self.squares)
        )
        there = mask.amax(1)
        mean_BC = (shares_BKC * means).sum(1).clamp(-FARTHEST, FARTHEST) * there
        variance_BC = (shares_BKC * squares).sum(1) - mean_BC.square()
        deviation_BC = variance_BC.clamp(min=0).sqrt().clamp(*DEVIATIONS)
        return mean_BC, torch.where(there > 0, deviation_BC, 1)

    def complete(self, attributes: Tensor, mask: Tensor) -> Tensor:
        """Return location and scale of whole series for those of measured parts: (B, C, 2), (B, L, C) -> (B,
        C, 2).
        """
        mean, deviation = self.describe_part(mask)
        location, scale = attributes.unbind(-1)
        whole = scale / deviation
        return torch.stack([location - whole * mean, whole], dim=-1)

    def restrict(self, attributes: Tensor, mask: Tensor) -> Tensor:
        """Return the inverse of `complete`."""
        mean, deviation = self.describe_part(mask)
        location, scale = attributes.unbind(-1)
        return torch.stack([location + scale * mean, scale * deviation], dim=-1)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(*(tuple(map(tuple, content[name])) for name in ("means", "squares")))


def _average_owners(table: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Return the mean over owners of each owner's mean, those without a value left out: [2, n, K, C], [n] ->
    [2, K, C].
    """
    codes = np.unique(owners, return_inverse=True)[1]
    sums, counts = np.zeros((2, len(table), int(codes.max()) + 1, *table.shape[2:]))
    for kind, values in enumerate(table):
        np.add.at(sums[kind], codes, np.nan_to_num(values))
        np.add.at(counts[kind], codes, ~np.isnan(values))
    own = np.divide(sums, counts, where=counts > 0, out=np.full(sums.shape, np.nan))
    return np.asarray(np.nanmean(own, axis=1))


def _average_parts(values: np.ndarray) -> np.ndarray:
    """Return means over equal parts of the length: [m, L, C] -> [m, MOST_PARTS, C]; NaN for an empty part."""
    there = ~np.isnan(values)
    starts = -(-np.arange(MOST_PARTS) * values.shape[1] // MOST_PARTS)
    sums, counts = (
        np.add.reduceat(each, starts, axis=1, dtype=np.float64)
        for each in (np.where(there, values, 0), there)
    )
    return np.divide(sums, counts, where=counts > 0, out=np.full(sums.shape, np.nan))
