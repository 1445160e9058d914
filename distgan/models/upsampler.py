"""A local rectified flow that makes the steps of a series out of its coarse course: hours out of four hours.

    u      means of blocks of f steps, standardised over the series: its coarse course
    d      the series, standardised by the same mean and deviation, minus its block's mean: its details
    x_t  = (1 - t) noise + t d / deviation of d
    x_t, u, places in periods ─ blocks: dilated convolution, gains from the whole, gated layer ─ velocity

Details and noise sum to 0 over each block, so block means are kept exactly. The network is the same at every
place of the series but for embeddings of the place within each period (a day, a week): what it learns of one
week it knows of all. Convolutions reach to the steps nearby and to those of other periods; gains from means
over the whole series give all parts one texture.

Shapes: B series, N coarse steps, f steps of each, C channels, D width, S style, K condition, Q features of a
coarse step.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distgan import config
from distgan.models.flow_matching import (
    TIME_FEATURES,
    compute_deviation,
    compute_time_features,
    estimate_linearly,
)
from distgan.models.layers import Conv1d, Linear, RMSNorm

KERNEL = 5  # taps of a convolution


class PooledBlock(nn.Module):
    """Dilated depthwise convolution, gains from style and from means over all places, gated linear layer.

    (B, N, D), (B, S) -> (B, N, D); the block adds nothing at first.
    """

    def __init__(self, width: int, dilation: int, style_dim: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.near = Conv1d(
            width, width, KERNEL, padding=KERNEL // 2 * dilation, dilation=dilation, groups=width
        )
        self.gains = Linear(style_dim + 2 * width, 2 * width)
        nn.init.zeros_(self.gains.weight)
        self.up, self.down = Linear(width, 4 * width), Linear(2 * width, width)
        nn.init.zeros_(self.down.weight)

    def forward(self, x_BND: Tensor, style_BS: Tensor) -> Tensor:
        near_BND = self.near(self.norm(x_BND).transpose(1, 2)).transpose(1, 2)
        power_BD = (near_BND.float().square().mean(1) + 1e-6).sqrt().to(x_BND.dtype)
        gains_B2D = self.gains(torch.cat([style_BS, near_BND.mean(1), power_BD], dim=1))
        gain_B1D, shift_B1D = gains_B2D[:, None].chunk(2, dim=2)
        gate, value = self.up(torch.addcmul(near_BND + shift_B1D, near_BND, gain_B1D)).chunk(2, dim=2)
        return x_BND + self.down(F.silu(gate) * value)


class Upsampler(nn.Module):
    """The velocity of details: x_t (B, N, f, C), coarse course (B, N, C), first place (B,), t (B,), condition
    (B, K) -> (B, N, f, C), float32.

    `variance` is of details, learned in the first steps; `length` and the solver are for sampling.
    """

    variance: Tensor

    def __init__(self, length: int, channels: int, condition_dim: int, settings: config.Upsampler) -> None:
        super().__init__()
        width, self.factor, self.periods = settings.width, settings.factor, settings.periods
        self.length, self.solver_steps = length, settings.solver_steps
        self.embed = Conv1d((settings.factor + 1) * channels, width, 3, padding=1)
        self.places = nn.ParameterList(0.1 * torch.randn(period, width) for period in settings.periods)
        self.style = nn.Sequential(
            Linear(TIME_FEATURES + condition_dim, width), nn.SiLU(), Linear(width, width), nn.SiLU()
        )
        self.blocks = nn.ModuleList(
            PooledBlock(width, dilation, width) for dilation in list_dilations(settings)
        )
        self.norm, self.head = RMSNorm(width), Linear(width, settings.factor * channels)
        nn.init.zeros_(self.head.weight)
        self.register_buffer("variance", torch.ones(channels))

    def forward(
        self, x_BNfC: Tensor, coarse_BNC: Tensor, first_B: Tensor, time_B: Tensor, condition_BK: Tensor
    ) -> Tensor:
        dtype, size_B111 = condition_BK.dtype, compute_deviation(time_B)[..., None]
        seen_BNQ = torch.cat([(x_BNfC / size_B111).flatten(2), coarse_BNC], dim=2).to(dtype)
        style_BS = self.style(torch.cat([compute_time_features(time_B).to(dtype), condition_BK], dim=1))
        x_BND = self.embed(seen_BNQ.transpose(1, 2)).transpose(1, 2)
        place_BN = first_B[:, None] + torch.arange(x_BND.shape[1], device=first_B.device)
        for period, table in zip(self.periods, self.places):
            x_BND = x_BND + table.to(dtype)[place_BN % period]
        for block in self.blocks:
            x_BND = block(x_BND, style_BS)
        rest_BNfC = self.head(self.norm(x_BND)).unflatten(2, x_BNfC.shape[2:]).float() / size_B111
        linear_BNfC = estimate_linearly(x_BNfC.flatten(2), time_B).unflatten(2, x_BNfC.shape[2:])
        return linear_BNfC + centre_blocks(rest_BNfC)

    @property
    def deviation(self) -> Tensor:
        """The deviation of details, (C,)."""
        return self.variance.float().clamp(min=1e-8).sqrt()


def list_dilations(settings: config.Upsampler) -> list[int]:
    """Return the dilation of every block: 1 and, in turn, each period."""
    periods = settings.periods or (1,)
    return [1 if place % 2 == 0 else periods[place // 2 % len(periods)] for place in range(settings.depth)]


def centre_blocks(x_BNfC: Tensor) -> Tensor:
    """Return values minus the mean of their block."""
    return x_BNfC - x_BNfC.mean(2, keepdim=True)


def cut_blocks(series_BLC: Tensor, factor: int) -> Tensor:
    """Return blocks of `factor` steps, the last filled with zeros: (B, L, C) -> (B, ⌈L/f⌉, f, C)."""
    return F.pad(series_BLC, (0, 0, 0, -series_BLC.shape[1] % factor)).unflatten(1, (-1, factor))


def average_blocks(series_BLC: Tensor, mask_BLC: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Return the mean of each block of `factor` steps and whether all of its steps are measured; a mean of
    others is 0: (B, L, C) twice -> (B, ⌈L/f⌉, C) twice.
    """
    steps = cut_blocks(torch.ones_like(mask_BLC[:1]), factor).sum(2)  # the last block may have fewer
    whole_BNC = (cut_blocks(mask_BLC, factor).sum(2) == steps).to(series_BLC.dtype)
    return cut_blocks(series_BLC, factor).sum(2) / steps * whole_BNC, whole_BNC


def standardise_course(means_BNC: Tensor, whole_BNC: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coarse course, of mean 0 and deviation 1 over its measured blocks, and the deviation that it
    had, 1 where nothing varies: (B, N, C) twice -> (B, N, C), (B, 1, C).
    """
    count_B1C = whole_BNC.sum(1, keepdim=True).clamp(min=1)
    mean_B1C = (means_BNC * whole_BNC).sum(1, keepdim=True) / count_B1C
    around_BNC = (means_BNC - mean_B1C) * whole_BNC
    deviation_B1C = (around_BNC.square().sum(1, keepdim=True) / count_B1C).sqrt()
    deviation_B1C = torch.where(deviation_B1C > 1e-6, deviation_B1C, 1.0)
    return around_BNC / deviation_B1C, deviation_B1C
