"""The upstream fork of TTS-GAN, a multi-scale GAN, as its authors wrote it, at any length and patch.

Kept: one large spectrally normalised Linear from noise and condition to every step, branches at full, half
and quarter resolution merged with fixed weights, a 1 x 1 "deconvolution" with spectral norm and Tanh,
attention scaled by the whole width, an unconditional discriminator of a local and a global encoder. Changed:
attention is fused (so it has no dropout of its own), and a length that is no multiple of the patch is padded.

Shapes: B series, L steps, C channels, N tokens, E width, Z noise, K condition.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from distgan import config
from distgan.models.layers import Linear, PatchEmbedding, attend, pool, upsample


class LayerNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(
            x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps
        )


class Block(nn.Module):
    """Pre-norm encoder block with dropout behind attention and feed-forward: (B, N, E) -> (B, N, E)."""

    def __init__(self, width: int, heads: int, dropout: float, attention_dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, nn.Dropout(attention_dropout)
        self.attention_norm, self.mlp_norm = LayerNorm(width), LayerNorm(width)
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.mlp = nn.Sequential(
            Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BNE: Tensor) -> Tensor:
        b, n, e = x_BNE.shape
        q, k, v = self.qkv(self.attention_norm(x_BNE)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropped = self.attention_dropout.p if self.attention_dropout.training else 0.0
        attended = attend(q, k, v, scale=e**-0.5, dropout=dropped)  # the source divides by the whole width
        x_BNE = x_BNE + self.dropout(self.out(attended.transpose(1, 2).reshape(b, n, e)))
        return x_BNE + self.dropout(self.mlp(self.mlp_norm(x_BNE)))


class Branch(nn.Module):
    """One scale of the generator: (B, L, E) -> (B, L, E)."""

    def __init__(self, length: int, width: int, ratio: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.position = nn.Parameter(torch.zeros(math.ceil(length / ratio), width))
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(depth)))

    def forward(self, x_BLE: Tensor) -> Tensor:
        pooled = pool(x_BLE, self.ratio)
        return upsample(self.blocks(pooled + self.position.to(pooled.dtype)), x_BLE.shape[1])


class Generator(nn.Module):
    """(B, Z), (B, K) -> (B, L, C) in [-1, 1]."""

    def __init__(self, length: int, channels: int, condition_dim: int, settings: config.TtsGanFork) -> None:
        super().__init__()
        self.noise_dim, self.shape = settings.noise_dim, (length, settings.width)
        self.lift = spectral_norm(Linear(settings.noise_dim + condition_dim, length * settings.width))
        branch_heads = ((1, 2 * settings.heads), (2, settings.heads), (4, max(1, settings.heads // 2)))
        self.branches = nn.ModuleList(
            Branch(length, settings.width, ratio, settings.depth, heads, settings.dropout)
            for ratio, heads in branch_heads
        )
        self.weights = (1.0, settings.medium_weight, settings.small_weight)
        self.head = spectral_norm(Linear(settings.width, channels))  # a 1 x 1 convolution over steps

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        lifted = F.leaky_relu(self.lift(torch.cat([noise_BZ, condition_BK], dim=1)), 0.2)
        x_BLE = lifted.unflatten(1, self.shape)
        merged_BLE = sum(weight * branch(x_BLE) for weight, branch in zip(self.weights, self.branches))
        return torch.tanh(self.head(merged_BLE))


class Tokens(nn.Module):
    """A start token and embedded patches, with learned positions: (B, L, C) -> (B, 1 + N, E)."""

    def __init__(self, length: int, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.embed = PatchEmbedding(channels, patch, width)
        self.start = nn.Parameter(torch.randn(1, width))
        self.position = nn.Parameter(torch.randn(1 + math.ceil(length / patch), width))

    def forward(self, series_BLC: Tensor) -> Tensor:
        tokens_BNE = self.embed(series_BLC)
        start = self.start.to(tokens_BNE.dtype).expand(len(tokens_BNE), 1, -1)
        return torch.cat([start, tokens_BNE], dim=1) + self.position.to(tokens_BNE.dtype)


class Discriminator(nn.Module):
    """(B, L, C) -> logits (B, 1). It never sees the condition (`multiscale` does)."""

    def __init__(self, length: int, channels: int, settings: config.TtsGanFork) -> None:
        super().__init__()
        width = settings.critic_width
        self.tokens = Tokens(length, channels, settings.patch, width)
        depths = (max(1, settings.critic_depth // 2), settings.critic_depth)  # local, global
        self.encoders = nn.ModuleList(
            nn.Sequential(*(Block(width, settings.heads, settings.critic_dropout) for _ in range(depth)))
            for depth in depths
        )
        self.verdicts = nn.ModuleList(nn.Sequential(LayerNorm(width), Linear(width, 1)) for _ in depths)

    def forward(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        tokens_BNE = self.tokens(series_BLC)
        logits = [
            verdict(encoder(tokens_BNE).mean(1)) for encoder, verdict in zip(self.encoders, self.verdicts)
        ]
        return torch.stack(logits).mean(0).float()


def build(
    settings: config.TtsGanFork, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Return the generator and the discriminator for series of `length` steps."""
    return {
        "generator": Generator(length, channels, condition_dim, settings),
        "discriminator": Discriminator(length, channels, settings),
    }
