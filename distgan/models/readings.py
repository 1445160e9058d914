"""Noise of tokens at several time scales, coloured noise of readings, and their soft minimum.

Shapes: B series, N tokens, T noise of a token, L steps, C channels, F frequencies, K lags, S style or scales.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distgan.models.layers import Linear


class SlowNoise(nn.Module):
    """Independent noise of tokens to noise at several time scales: (B, N, T) -> (B, N, T).

    The numbers of a token are dealt evenly to the scales. Those of scale τ are smoothed by a Gaussian kernel
    of τ tokens (0 leaves them independent) and keep their variance.
    """

    def __init__(self, width: int, scales: Sequence[float]) -> None:
        super().__init__()
        self.scales = tuple(scales)
        ends = [width * place // len(scales) for place in range(len(scales) + 1)]
        self.sizes = [last - first for first, last in pairwise(ends)]

    def forward(self, noise_BNT: Tensor) -> Tensor:
        if not any(self.scales):
            return noise_BNT
        place_N = torch.arange(noise_BNT.shape[1], device=noise_BNT.device, dtype=torch.float32)
        squares_NN = (place_N[:, None] - place_N).square()
        parts = list(noise_BNT.split(self.sizes, dim=2))
        for index, scale in enumerate(self.scales):
            if scale:
                kernel_NN = torch.exp(squares_NN / (-2 * scale**2))
                unit_NN = kernel_NN / torch.linalg.vector_norm(kernel_NN, dim=1, keepdim=True)
                parts[index] = unit_NN.to(noise_BNT.dtype) @ parts[index]
        return torch.cat(parts, dim=2)


class ColouredNoise(nn.Module):
    """White noise to stationary noise of a series' own spectrum: (B, L, C), (B, S) -> (B, L, C).

    ln |H(f)| = Σ_k a_k cos(2π f k) over the lags k (Bloomfield 1973), a from the style and 0 at first; the
    filter has unit power, so the noise keeps its variance. Zero phase, circular, float32.
    """

    def __init__(self, channels: int, lags: Sequence[int], style_dim: int) -> None:
        super().__init__()
        self.channels, self.lags = channels, tuple(lags)
        self.amplitudes = Linear(style_dim, channels * len(lags))
        nn.init.zeros_(self.amplitudes.weight)

    def forward(self, noise_BLC: Tensor, style_BS: Tensor) -> Tensor:
        length, device = noise_BLC.shape[1], noise_BLC.device
        frequency_F = torch.arange(length // 2 + 1, device=device, dtype=torch.float32) / length
        lags_K = torch.tensor(self.lags, dtype=torch.float32)
        lag_K1 = lags_K.to(device, non_blocking=True)[:, None]
        amplitudes_BCK = self.amplitudes(style_BS).float().unflatten(1, (self.channels, -1))
        gain_BCF = torch.exp(amplitudes_BCK @ torch.cos(2 * torch.pi * lag_K1 * frequency_F))
        once_BCF = gain_BCF[..., :1]  # all others stand for two
        if length % 2 == 0:
            once_BCF = torch.cat([once_BCF, gain_BCF[..., -1:]], dim=2)
        power_BC1 = sum_squares(gain_BCF) * 2 / length - sum_squares(once_BCF) / length
        white_BCF = torch.fft.rfft(noise_BLC.float().transpose(1, 2), dim=2)
        filtered_BCF = white_BCF * (gain_BCF * power_BC1.rsqrt())
        return torch.fft.irfft(filtered_BCF, n=length, dim=2).transpose(1, 2).to(noise_BLC.dtype)


def sum_squares(x: Tensor) -> Tensor:
    """Return the sum of squares over the last dimension, which stays: (..., F) -> (..., 1)."""
    return x.square().sum(-1, keepdim=True)


class SoftMinimum(nn.Module):
    """m + ln(1 + e^(β (x - m))) / β, m and β from the style: (B, L, C), (B, S) -> (B, L, C).

    Readings below a series' own minimum become nearly equal; those far above keep their values. β is 1 at
    least: ln 2 / β is added at the minimum, and much of it would saturate the output, as one flat line.
    """

    def __init__(
        self, channels: int, style_dim: int, minimum: float = -0.15, sharpness: float = 20.0
    ) -> None:
        super().__init__()
        self.shape = Linear(style_dim, 2 * channels)
        nn.init.zeros_(self.shape.weight)
        self.start = minimum, math.log(sharpness)

    def forward(self, series_BLC: Tensor, style_BS: Tensor) -> Tensor:
        minimum_B1C, log_sharpness_B1C = self.shape(style_BS)[:, None].float().chunk(2, dim=2)
        minimum_B1C = minimum_B1C + self.start[0]
        sharpness_B1C = (log_sharpness_B1C + self.start[1]).clamp(min=0).exp()
        above_BLC = F.softplus(sharpness_B1C * (series_BLC.float() - minimum_B1C)) / sharpness_B1C
        return (minimum_B1C + above_BLC).to(series_BLC.dtype)
