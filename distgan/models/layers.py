"""The layers that the networks are built of.

Every layer computes in the dtype of its input: weights stay float32 and are cast where they are used (the
habit of EDM2), so one network serves a half-precision step and the float32 pass of the gradient penalty.

Shapes: B series, L steps, C channels, N tokens, M pooled ones, P steps a token, D width, H heads, Q vectors
of a head, S style, K condition.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from distgan.models.norms import normalise
from distgan.objectives.derivatives import is_twice_differentiable, twice_differentiable


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, dropout: float = 0.0) -> Tensor:
    """Return softmax attention, fused wherever that can be: (B, H, N, D) each -> (B, H, N, D).

    On the meta device, where a plan counts work and memory, torch itself would take the plain kernel.
    """
    if q.is_meta and not dropout and not is_twice_differentiable():
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        attended: Tensor = fused(q, k, v, scale=scale)[0]
        return attended
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scale)


def _make_kernel_contexts() -> tuple[Any, Any]:
    """Return the contexts of a block's forward pass and of its recomputation in backward (outside of it)."""
    return (
        contextlib.nullcontext(),
        twice_differentiable() if is_twice_differentiable() else contextlib.nullcontext(),
    )


def _cast(parameter: Tensor | None, like: Tensor) -> Tensor | None:
    return None if parameter is None else parameter.to(like.dtype)


def _initialise(weight: Tensor, bias: Tensor | None, gain: float = 1.0) -> None:
    """Set normal weights that keep the variance of their input, and no bias, which would dominate small
    inputs.
    """
    fan_in = weight[0].numel()
    nn.init.normal_(weight, std=gain / fan_in**0.5)
    if bias is not None:
        nn.init.zeros_(bias)


class Linear(nn.Linear):
    def reset_parameters(self) -> None:
        _initialise(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), _cast(self.bias, x))


def _cast_convolution(x: Tensor) -> Tensor:
    """Return what a convolution works on: on a CPU, float32 in place of half precision.

    The half-precision convolutions of CPUs (torch 2.13) at times read memory that nobody wrote and give NaN:
    about 1 call in 200 on small pictures. They are slower than float32 ones, too.
    """
    return x.float() if x.device.type == "cpu" else x


class Conv1d(nn.Conv1d):
    def reset_parameters(self) -> None:
        _initialise(self.weight, self.bias, gain=2**0.5)  # a rectifier follows

    def forward(self, x: Tensor) -> Tensor:
        y = _cast_convolution(x)
        weight, bias = self.weight.to(y.dtype), _cast(self.bias, y)
        return F.conv1d(y, weight, bias, self.stride, self.padding, self.dilation, self.groups).to(x.dtype)


class ConvTranspose1d(nn.ConvTranspose1d):
    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        y, stride, padding = _cast_convolution(x), self.stride[0], self.padding[0]
        bias, weight = _cast(self.bias, y), self.weight.to(y.dtype)
        return F.conv_transpose1d(y, weight, bias, stride, padding).to(x.dtype)  # type: ignore[arg-type]


class Conv2d(nn.Conv2d):
    def reset_parameters(self) -> None:
        _initialise(self.weight, self.bias, gain=2**0.5)  # a rectifier follows

    def forward(self, x: Tensor) -> Tensor:
        y = _cast_convolution(x)
        return F.conv2d(y, self.weight.to(y.dtype), _cast(self.bias, y), self.stride, self.padding).to(
            x.dtype
        )


class RMSNorm(nn.Module):
    """x / rms(x) * gain over the last dimension; the mean square is taken in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """Normalise; `gain`, (B, 1, D), multiplies the norm's own: one pass over x for both."""
        own = self.gain.to(x.dtype)
        return normalise(x, own if gain is None else own * gain)


def compute_rotary_angles(tokens: int, head_width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of rotary positions (Su et al. 2021): each (N, head_width // 2), float32."""
    rates = 10000.0 ** (
        -torch.arange(head_width // 2, device=device, dtype=torch.float32) / (head_width // 2)
    )
    angles = torch.arange(tokens, device=device, dtype=torch.float32)[:, None] * rates
    return angles.cos(), angles.sin()


def rotate(x_BNQHD: Tensor, gain_QD: Tensor) -> Tensor:
    """Multiply by a gain, then rotate pairs of features by the token's position; an odd last feature stays.

    (a, b) -> (g_a a cos - g_b b sin, g_a a sin + g_b b cos) with the gains in the cosines and sines, which
    are small: Q vectors a head (queries, keys), (B, N, Q, H, D), (Q, D) -> (B, N, Q, H, D).
    """
    width, half = x_BNQHD.shape[-1], x_BNQHD.shape[-1] // 2
    sizes = [half, half, width - 2 * half]
    angles = compute_rotary_angles(x_BNQHD.shape[1], width, x_BNQHD.device)
    cos_N1H, sin_N1H = (part[:, None].to(gain_QD.dtype) for part in angles)
    first, second, rest = gain_QD.split(sizes, dim=-1)
    still = rest.expand(len(cos_N1H), *rest.shape)
    stay = torch.cat([first * cos_N1H, second * cos_N1H, still], dim=-1)[:, :, None]
    cross = torch.cat([-second * sin_N1H, first * sin_N1H, 0 * still], dim=-1)[:, :, None]
    a, b, odd = x_BNQHD.split(sizes, dim=-1)
    return torch.addcmul(x_BNQHD * stay, torch.cat([b, a, odd], dim=-1), cross)


class Attention(nn.Module):
    """Multi-head self-attention with normalised queries and keys and rotary positions: (B, N, D) -> (B,
    N, D).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width, bias=False)
        self.query_norm = RMSNorm(width // heads)
        self.key_norm = RMSNorm(width // heads)
        self.out = Linear(width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        b, n, d = x_BND.shape
        both, v = self.qkv(x_BND).view(b, n, 3, self.heads, d // self.heads).split([2, 1], dim=2)
        gains_2D = torch.stack([self.query_norm.gain, self.key_norm.gain]).to(x_BND.dtype)
        q, k = rotate(normalise(both), gains_2D).transpose(1, 3).unbind(2)
        y_BHND = attend(q, k, v[:, :, 0].transpose(1, 2))
        return self.out(y_BHND.transpose(1, 2).reshape(b, n, d))


class SwiGLU(nn.Module):
    """Gated feed-forward (Shazeer 2020) with as many weights as a plain one of 4 D: (B, N, D) -> (B, N,
    D).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = -(-8 * width // 3 // 8) * 8  # 2/3 of 4 D, rounded up to a multiple of 8
        self.up = Linear(width, 2 * hidden)
        self.down = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class Block(nn.Module):
    """Pre-norm transformer block; with a style, AdaLN without shift (scale and gate, both 1 at first).

    (B, N, D), (B, S) -> (B, N, D). Branches enter with LayerScale (Touvron et al. 2021).
    """

    def __init__(self, width: int, heads: int, style_dim: int = 0, layer_scale: float = 0.1) -> None:
        super().__init__()
        self.attention_norm, self.attention = RMSNorm(width), Attention(width, heads)
        self.mlp_norm, self.mlp = RMSNorm(width), SwiGLU(width)
        self.attention_scale = nn.Parameter(torch.full((width,), layer_scale))
        self.mlp_scale = nn.Parameter(torch.full((width,), layer_scale))
        self.modulation = Linear(style_dim, 4 * width) if style_dim else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x_BND: Tensor, style_BS: Tensor | None = None) -> Tensor:
        enter_1, enter_2 = self.attention_scale.to(x_BND.dtype), self.mlp_scale.to(x_BND.dtype)
        scale_1 = scale_2 = None
        if self.modulation is not None and style_BS is not None:
            scale_1, gate_1, scale_2, gate_2 = (1 + self.modulation(style_BS)[:, None]).chunk(4, dim=-1)
            enter_1, enter_2 = enter_1 * gate_1, enter_2 * gate_2
        x_BND = torch.addcmul(x_BND, enter_1, self.attention(self.attention_norm(x_BND, scale_1)))
        return torch.addcmul(x_BND, enter_2, self.mlp(self.mlp_norm(x_BND, scale_2)))


class Transformer(nn.Module):
    """A stack of blocks; `checkpoint_activations` recomputes each block in backward to save memory."""

    def __init__(self, width: int, depth: int, heads: int, style_dim: int = 0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, style_dim) for _ in range(depth))
        self.checkpoint_activations = False

    def forward(self, x_BND: Tensor, style_BS: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            if self.checkpoint_activations and torch.is_grad_enabled():
                x_BND = checkpoint(
                    block, x_BND, style_BS, use_reentrant=False, context_fn=_make_kernel_contexts
                )
            else:
                x_BND = block(x_BND, style_BS)
        return x_BND


def pad_to(series_BLC: Tensor, multiple: int) -> Tensor:
    """Repeat the last step until the length is a multiple: (B, L, C) -> (B, ⌈L/m⌉·m, C)."""
    missing = -series_BLC.shape[1] % multiple
    if not missing:
        return series_BLC
    return torch.cat([series_BLC, series_BLC[:, -1:].expand(-1, missing, -1)], dim=1)


class PatchEmbedding(nn.Module):
    """Cuts of a series of any length into patches, each embedded: (B, L, C) -> (B, ⌈L/P⌉, D)."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.project = Linear(patch * channels, width)

    def forward(self, series_BLC: Tensor) -> Tensor:
        padded = pad_to(series_BLC, self.patch)
        b, length, c = padded.shape
        return self.project(padded.reshape(b, length // self.patch, self.patch * c))


class PatchHead(nn.Module):
    """Overlapping transposed convolution of tokens into a series: (B, N, D) -> (B, L, C).

    Neighbouring tokens overlap by half a patch on each side, so that no seam shows where patches meet. Each
    channel's kernel has a learned norm (Salimans & Kingma 2016), which sets its range.
    """

    def __init__(self, width: int, length: int, channels: int, patch: int) -> None:
        super().__init__()
        self.length = length
        self.norm = RMSNorm(width)
        deconvolution = ConvTranspose1d(width, channels, 2 * patch, stride=patch, padding=patch // 2)
        self.deconvolution = weight_norm(deconvolution, dim=1)
        norms = self.deconvolution.parametrizations.weight.original0
        nn.init.constant_(norms, (patch / width) ** 0.5)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        series_BCL = self.deconvolution(self.norm(tokens_BND).transpose(1, 2))[..., : self.length]
        return series_BCL.transpose(1, 2)


def pool(tokens_BND: Tensor, ratio: int) -> Tensor:
    """Average every `ratio` tokens, the last group being what is left: (B, N, D) -> (B, ⌈N/ratio⌉, D)."""
    if ratio == 1:
        return tokens_BND
    return F.avg_pool1d(tokens_BND.transpose(1, 2), ratio, ceil_mode=True).transpose(1, 2)


def upsample(tokens_BMD: Tensor, tokens: int) -> Tensor:
    """Interpolate linearly back to `tokens` tokens: (B, M, D) -> (B, N, D)."""
    if tokens_BMD.shape[1] == tokens:
        return tokens_BMD
    return F.interpolate(tokens_BMD.transpose(1, 2), size=tokens, mode="linear").transpose(1, 2)


def select_label(condition_BK: Tensor, labels: int) -> Tensor:
    """Return the label of a condition, its last M numbers: (B, K) -> (B, M)."""
    return condition_BK[:, condition_BK.shape[1] - labels :]


def make_positions(tokens: int, width: int) -> nn.Parameter:
    """Return learned positions, small at first: (N, D)."""
    return nn.Parameter(0.02 * torch.randn(tokens, width))


def checkpoint_activations(networks: Sequence[nn.Module]) -> None:
    """Switch every transformer of the networks to recomputing its blocks in backward."""
    for network in networks:
        for module in network.modules():
            if isinstance(module, Transformer):
                module.checkpoint_activations = True
