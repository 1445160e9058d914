"""Finer tokens out of coarse ones: weeks into days, so that one kernel writes the course of every day.

Without them a token of a week writes its 168 readings by a kernel that is the same in every week. Series then
repeat their weeks more closely than real ones do, and only the overlap of kernels joins the readings of two
tokens.

Shapes: B series, N coarse tokens, M = r N finer ones, D and W their widths, T noise of a finer one, S style.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distgan import config
from distgan.models.layers import Conv1d, Linear, RMSNorm, upsample

LAYER_SCALE = 0.1  # of a block's output, at first


class LocalBlock(nn.Module):
    """Gated convolution over three neighbours (Dauphin et al. 2017), pre-normed with the style's gains.

    (B, M, W), (B, S) -> (B, M, W). It enters with LayerScale (Touvron et al. 2021).
    """

    def __init__(self, width: int, style_dim: int) -> None:
        super().__init__()
        hidden = -(-4 * width // 3 // 8) * 8
        self.norm = RMSNorm(width)
        self.modulation = Linear(style_dim, width)
        nn.init.zeros_(self.modulation.weight)
        self.up = Conv1d(width, 2 * hidden, 3, padding=1)
        self.down = Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), LAYER_SCALE))

    def forward(self, x_BMW: Tensor, style_BS: Tensor) -> Tensor:
        gain_B1W = 1 + self.modulation(style_BS)[:, None]
        normal_BWM = self.norm(x_BMW, gain_B1W).transpose(1, 2)
        gate, value = self.up(normal_BWM).transpose(1, 2).chunk(2, dim=-1)
        return torch.addcmul(x_BMW, self.scale.to(x_BMW.dtype), self.down(F.silu(gate) * value))


class Refinement(nn.Module):
    """Interpolate tokens to `ratio` times as many, give each its noise, mix neighbours.

    One linear map serves all finer tokens; each place within a coarse token (a day of the week) adds one of
    its own, which is 0 at first. (B, N, D), (B, N r T), (B, S) -> (B, N r, W).
    """

    def __init__(self, tokens: int, width: int, style_dim: int, settings: config.Refinement) -> None:
        super().__init__()
        self.ratio = settings.ratio
        self.noise_shape = tokens * settings.ratio, settings.noise_dim
        self.shared = nn.Parameter(torch.randn(settings.width, width) / width**0.5)
        self.own = nn.Parameter(torch.zeros(settings.ratio, settings.width, width))
        self.bias = nn.Parameter(torch.zeros(settings.ratio, settings.width))
        self.noise = Linear(settings.noise_dim, settings.width, bias=False) if settings.noise_dim else None
        self.blocks = nn.ModuleList(LocalBlock(settings.width, style_dim) for _ in range(settings.depth))

    def forward(self, tokens_BND: Tensor, noise_BE: Tensor, style_BS: Tensor) -> Tensor:
        fine_BNRD = upsample(tokens_BND, self.noise_shape[0]).unflatten(1, (-1, self.ratio))
        weight_RWD = (self.shared + self.own).to(tokens_BND.dtype)
        mapped_BNRW = torch.einsum("bnrd,rwd->bnrw", fine_BNRD, weight_RWD) + self.bias.to(tokens_BND.dtype)
        x_BMW = mapped_BNRW.flatten(1, 2)
        if self.noise is not None:
            x_BMW = x_BMW + self.noise(noise_BE.unflatten(1, self.noise_shape))
        for block in self.blocks:
            x_BMW = block(x_BMW, style_BS)
        return x_BMW
