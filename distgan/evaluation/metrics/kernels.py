"""Random convolutions over hours, days and weeks: untrained features for a strong classifier.

Kernels as in ROCKET (Dempster et al. 2020), their biases from quantiles of real series as in MiniRocket
(2021). The nine taps of a kernel lie in a row, at some dilation, or on a grid of 3 x 3 of the folded series:
three places of the day on three days or in three weeks running. Weights come from a fixed seed, nothing is
downloaded.

Shapes: n series, C channels, L steps, T outputs, K kernels of one pattern, O = 9 taps,
F features, E coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distgan.rng import make_keyed_generator

Array = NDArray[Any]

TAPS = 9
KERNELS = 24  # of one pattern
MOST_CHANNELS = 3  # that a kernel looks at
AT_ONCE = 32  # series
EMBEDDING_DIMS = 16
SMALLEST_SPREAD = 1e-6  # of a feature that varies


def list_patterns(length: int, steps_per_day: float) -> list[Array]:
    """Return the offsets of the taps, [O] steps each: rows at growing dilation, and grids of days and weeks
    that fit.
    """
    day = round(steps_per_day)
    folds = [(1, day), (day // 6, day), (1, 7 * day), (day, 7 * day)] if day >= 3 else []
    grids = [
        (inner * np.arange(3)[None, :] + outer * np.arange(3)[:, None]).ravel()
        for inner, outer in sorted(set(folds))
        if inner and 2 * (inner + outer) < length / 2
    ]
    dilations = (
        [4**power for power in range(8) if (TAPS - 1) * 4**power < length]
        if grids
        else [2**power for power in range(8) if (TAPS - 1) * 2**power < length]
    )
    return [dilation * np.arange(TAPS) for dilation in dilations] + grids or [np.arange(TAPS) % length]


@dataclass(frozen=True)
class Kernels:
    """Fitted kernels. `compute_features` returns two numbers for each: how often and how far its output
    exceeds its bias.
    """

    offsets: Sequence[Array]  # [O] of each pattern
    weights: Sequence[Tensor]  # [K, C O]
    biases: Sequence[Tensor]  # [K, 1]

    def compute_features(self, standard: Array, mask: Array) -> Array:
        """Compute features of standardised series and their mask of measured steps, [n, C, L] each -> [n, 2 K
        patterns] float32.

        Means go over the places where all taps are measured, so that scattered gaps say nothing.
        """
        blocks = [
            self._compute_block(
                torch.from_numpy(standard[first : first + AT_ONCE]), mask[first : first + AT_ONCE]
            )
            for first in range(0, len(standard), AT_ONCE)
        ]
        return np.concatenate(blocks) if blocks else np.zeros((0, 0), np.float32)

    def _compute_block(self, series_nCL: Tensor, mask: Array) -> Array:
        valid_nL = None if mask.all() else torch.from_numpy(mask.all(1))
        found = []
        for offsets, weights, biases in zip(self.offsets, self.weights, self.biases):
            above_nKT = _convolve(series_nCL, offsets, weights).sub_(biases).clamp_(min=0)
            count: Tensor | int = above_nKT.shape[-1]
            if valid_nL is not None:
                usable_nT = torch.stack([_shift(valid_nL, offset, offsets) for offset in offsets]).all(0)
                above_nKT.mul_(usable_nT[:, None])
                count = usable_nT.sum(-1, keepdim=True).clamp(min=1)
            excess_nK = above_nKT.sum(-1)
            found += [above_nKT.gt_(0).sum(-1) / count, excess_nK / count]
        return torch.cat(found, 1).numpy()


def _shift(series: Tensor, offset: int, offsets: Array) -> Tensor:
    return series[..., offset : series.shape[-1] - int(offsets.max()) + offset]


def _convolve(series_nCL: Tensor, offsets: Array, weights: Tensor) -> Tensor:
    taps_nCOT = torch.stack([_shift(series_nCL, int(offset), offsets) for offset in offsets], 2)
    return weights @ taps_nCOT.flatten(1, 2)


def fit_kernels(standard: Array, steps_per_day: float) -> Kernels:
    """Fit kernels to real series like these: [n, C, L] standardised, of which a few determine the biases."""
    _, channels, length = standard.shape
    rng = make_keyed_generator(0, 0, "evaluation kernels")
    sample = torch.from_numpy(standard[:: max(1, len(standard) // AT_ONCE)][:AT_ONCE])
    offsets, weights, biases = list_patterns(length, steps_per_day), [], []
    for places in offsets:
        one = torch.from_numpy(np.stack([_draw_weights(rng, channels) for _ in range(KERNELS)]))
        outputs = _convolve(sample, places, one).transpose(0, 1).flatten(1).numpy()
        levels = rng.uniform(0.1, 0.9, KERNELS)
        weights.append(one)
        biases.append(
            torch.tensor([[np.quantile(o, level)] for o, level in zip(outputs, levels)], dtype=torch.float32)
        )
    return Kernels(offsets, weights, biases)


def _draw_weights(rng: np.random.Generator, channels: int) -> Array:
    """Draw [C O] normal numbers on a few channels, with mean 0 in each and total length 1."""
    weights = rng.standard_normal((channels, TAPS))
    weights -= weights.mean(1, keepdims=True)
    used = rng.permutation(channels)[: rng.integers(1, MOST_CHANNELS + 1)]
    weights[np.setdiff1d(np.arange(channels), used)] = 0
    return (weights / np.linalg.norm(weights)).ravel().astype(np.float32)


@dataclass(frozen=True)
class Embedding:
    """A fixed encoder: the kernels' features along the principal directions of real series.

    The variances of the real series' coordinates sum to at most 1, so that a distance of 1 is large.
    """

    centre: Array  # [F]
    scale: Array  # [F]
    axes: Array  # [F, E]

    def standardise(self, features: Array) -> Array:
        return ((features - self.centre) / self.scale).astype(np.float32)

    def place(self, standard: Array) -> Array:
        return standard.astype(np.float64) @ self.axes


def fit_standard(features: Array) -> Embedding:
    """Fit the encoder without directions: it scales the features of real series, [n, F], to mean 0 and
    deviation 1.
    """
    spread = features.std(0)
    return Embedding(
        features.mean(0), np.where(spread > SMALLEST_SPREAD, spread, 1.0), np.zeros((features.shape[1], 0))
    )


def fit_embedding(features: Array) -> Embedding:
    """Fit the encoder to the features of real series, [n, F]."""
    blank = fit_standard(features)
    _, _, directions = np.linalg.svd(blank.standardise(features).astype(np.float64), full_matrices=False)
    total = np.sqrt(max(int((features.std(0) > SMALLEST_SPREAD).sum()), 1))
    return Embedding(blank.centre, blank.scale, directions[:EMBEDDING_DIMS].T / total)
