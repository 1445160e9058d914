"""Side discriminators, whose input is a whole series: folded by a period into a picture, as a spectrogram, or
as summaries by fixed convolution kernels.

Shapes: B series, L steps, C channels, K condition or kernels, D features, N = B·C single channels; R and W
rows and columns of a picture; T taps, P places, F shares, Q quantiles.
"""

import math
from itertools import combinations, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distgan.models.layers import Conv2d, Linear
from distgan.objectives.series_features import LEVELS, find_quantiles
from distgan.rng import make_keyed_generator

TAPS = 9
TRIPLES = tuple(combinations(range(TAPS), 3))  # the taps that weigh 2; the others weigh -1: 84 kernels
NORM = (3 * 4 + 6) ** 0.5  # of a kernel's weights
MOST_PLACES = 512  # at which the outputs of a dilation are read, approximately
SOFTNESS = (0.02, 0.3)  # widths of thresholds; white noise of deviation 1 has outputs of deviation 1
SPREAD_STEPS = (0.754878, 0.618034)  # of low-discrepancy sequences of softness and level
SPREAD = 8.0  # shares and quantiles differ by about an eighth between series


class PictureDiscriminator(nn.Module):
    """Three strided convolutions over a picture of the series, averaged: (B, C, R, W), (B, K) -> (B, 4 ·
    channels).

    Args:
        size: rows and columns of the picture, whose positions get learned embeddings. Without them the
            average hardly depends on the hour, the day or the frequency of a feature.
        condition_dim: numbers of the condition that shift the first features; 0 for none.
    """

    def __init__(
        self, in_channels: int, channels: int, size: tuple[int, int] | None = None, condition_dim: int = 0
    ) -> None:
        super().__init__()
        self.condition = Linear(condition_dim, channels, bias=False) if condition_dim else None
        self.rows = self.columns = None
        if size is not None:
            rows, columns = (-(-number // 2) for number in size)  # the first convolution halves both
            self.rows = nn.Parameter(0.3 * torch.randn(channels, rows, 1))
            self.columns = nn.Parameter(0.3 * torch.randn(channels, 1, columns))
        widths = (in_channels, channels, 2 * channels, 4 * channels)
        kernels = (5, 3, 3)
        self.convolutions = nn.ModuleList(
            Conv2d(a, b, kernel, stride=2, padding=kernel // 2)
            for (a, b), kernel in zip(pairwise(widths), kernels)
        )

    def forward(self, picture_BCRW: Tensor, condition_BK: Tensor) -> Tensor:
        first, *others = self.convolutions
        features_BDRW = F.leaky_relu(self.shift(first(picture_BCRW), condition_BK), 0.2)
        for convolution in others:
            features_BDRW = F.leaky_relu(convolution(features_BDRW), 0.2)
        return features_BDRW.mean((2, 3))

    def shift(self, features_BDRW: Tensor, condition_BK: Tensor) -> Tensor:
        """Add the embeddings of the condition and of the positions, where there are any."""
        dtype = features_BDRW.dtype
        if self.condition is not None:
            features_BDRW = features_BDRW + self.condition(condition_BK.to(dtype))[..., None, None]
        if self.rows is not None and self.columns is not None:
            features_BDRW = features_BDRW + (self.rows + self.columns).to(dtype)
        return features_BDRW


def fold_periods(series_BLC: Tensor, period: int) -> Tensor:
    """Return the series as a picture, one period in each row (HiFi-GAN): (B, L, C) -> (B, C, ⌈L/period⌉,
    period).
    """
    missing = -series_BLC.shape[1] % period
    padded_BCL = F.pad(series_BLC.transpose(1, 2), (0, missing))
    return padded_BCL.unflatten(2, (-1, period))


def compute_spectrogram(series_BLC: Tensor, window: int) -> Tensor:
    """Return ln(1 + |short-time Fourier transform|), hop a quarter window: (B, L, C) -> (B, C, window/2 + 1,
    frames).
    """
    signal = series_BLC.float().transpose(1, 2).flatten(0, 1)  # no half-precision FFT
    hann = torch.hann_window(window, device=signal.device)
    spectrum = torch.stft(signal, window, window // 4, window=hann, pad_mode="constant", return_complex=True)
    magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-6).sqrt()
    return magnitude.log1p().unflatten(0, (series_BLC.shape[0], -1)).to(series_BLC.dtype)


def choose_dilations(length: int) -> list[int]:
    """Return the powers of 2 with which a kernel fits into the series."""
    return [1 << power for power in range(length.bit_length()) if (TAPS - 1) << power < length]


def choose_stride(length: int, period: int) -> int:
    """Return about length / MOST_PLACES, without a common factor with `period`, so that every phase is
    read.
    """
    stride = max(1, round(length / MOST_PLACES))
    while stride > 1 and math.gcd(stride, period) > 1:
        stride += 1
    return stride


class RandomKernels(nn.Module):
    """Shares of places at which fixed convolutions of a series exceed thresholds: (B, L, C) -> (B, F).

    The kernels are those of MiniRocket (Dempster, Schmidt and Webb 2021): for each dilation a random choice
    of the 84. Their outputs depend on recurrence at distances from one step to an eighth of the series.
    Features that are fixed cannot be forgotten in the game (Sauer et al. 2021). A share is the mean of a
    sigmoid in units of the threshold's softness. The finest thresholds resolve the texture of quiet nights,
    although peaks are a hundred times as high. Thresholds are learned.

    Args:
        kernels: number of kernels for each dilation.
        period: steps; all of its phases are read.
    """

    weights: Tensor
    softness: Tensor

    def __init__(self, length: int, channels: int, kernels: int, period: int) -> None:
        super().__init__()
        self.dilations, self.stride = choose_dilations(length), choose_stride(length, period)
        shape = len(self.dilations), kernels
        rng = make_keyed_generator(0, 0, "random kernels")
        numbers = np.concatenate([rng.permutation(len(TRIPLES))[:kernels] for _ in self.dilations])
        weights = torch.full((len(numbers), TAPS), -1.0)
        weights.scatter_(1, torch.tensor(TRIPLES)[torch.from_numpy(numbers)], 2.0)
        self.register_buffer("weights", (weights / NORM).reshape(*shape, TAPS), persistent=False)
        softness, level = (torch.arange(len(numbers)) * step % 1 for step in SPREAD_STEPS)
        softness = SOFTNESS[0] * (SOFTNESS[1] / SOFTNESS[0]) ** softness
        self.register_buffer("softness", softness.reshape(*shape, 1), persistent=False)
        threshold = torch.special.ndtri(0.1 + 0.8 * level) * softness / SOFTNESS[1]
        self.thresholds = nn.Parameter(threshold.reshape(*shape, 1))
        self.width = len(numbers) * channels

    def forward(self, series_BLC: Tensor) -> Tensor:
        x_NL = series_BLC.float().transpose(1, 2).flatten(0, 1)
        shares = []
        parts = (part.to(x_NL.dtype) for part in (self.weights, self.thresholds, self.softness))
        for weights_KT, threshold_K1, softness_K1, dilation in zip(*parts, self.dilations):
            last = x_NL.shape[1] - (TAPS - 1) * dilation
            taps = [x_NL[:, tap * dilation : tap * dilation + last : self.stride] for tap in range(TAPS)]
            output_NKP = weights_KT @ torch.stack(taps, dim=1)
            shares.append(torch.sigmoid((output_NKP - threshold_K1) / softness_K1).mean(2))
        return torch.cat(shares, dim=1).unflatten(0, (len(series_BLC), -1)).flatten(1)


class SummaryDiscriminator(nn.Module):
    """Features of shares of random kernels, of quantiles of the readings and of the condition: (B, L, C), (B,
    K) -> (B, D).

    The condition holds location over scale, so quantiles together with it determine the base load.
    """

    def __init__(self, kernels: RandomKernels, channels: int, condition_dim: int, width: int) -> None:
        super().__init__()
        self.kernels = kernels
        self.middle = nn.Parameter(torch.full((kernels.width,), 0.5))
        self.shares = Linear(kernels.width, width)
        self.levels = Linear(len(LEVELS) * channels + condition_dim, width)
        self.both = Linear(2 * width, width)

    def forward(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        x_NL = series_BLC.float().transpose(1, 2).flatten(0, 1)
        levels_BQ = find_quantiles(x_NL, LEVELS).unflatten(0, (len(series_BLC), -1)).flatten(1)
        given_BQ = torch.cat([SPREAD * levels_BQ, condition_BK.float()], dim=1)
        shares_BF = SPREAD * (self.kernels(series_BLC) - self.middle)
        hidden_BD = torch.cat([F.silu(self.shares(shares_BF)), F.silu(self.levels(given_BQ))], dim=1)
        return F.silu(self.both(hidden_BD)).to(series_BLC.dtype)
