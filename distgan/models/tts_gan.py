"""TTS-GAN (Li et al., AIME 2022): a GAN of two transformer encoders. A series is an image of height 1.

    noise ─ Linear ─ + positions ─ 3 encoder blocks ─ 1 x 1 convolution, Tanh ─ series
    series ─ patches of W/N steps ─ + start token, positions ─ 3 encoder blocks ─ mean ─ logit

As in the published code: ten features a step, five heads, dropout .5, positions learned (zero at first in the
generator), attention divided by the root of the whole width, the start token averaged with the others and
not read alone. Changed: any length, channels and patch (padded where it does not divide), and a tanh at the
end. The discriminator normalises its embedding, so that its logit hardly depends on the size of the values;
without the tanh, generated stock windows reached 800 times the largest real value. Unconditional: the
condition is not read.

Shapes: B series, L steps, C channels, N tokens, E width, Z noise, K condition.
"""

import torch
from torch import Tensor, nn

from distgan import config
from distgan.models.layers import Linear
from distgan.models.tts_gan_fork import Block, LayerNorm, Tokens


class Generator(nn.Module):
    """(B, Z) -> (B, L, C) in [-1, 1]."""

    def __init__(self, length: int, channels: int, settings: config.TtsGan) -> None:
        super().__init__()
        width, chosen = settings.width, settings
        self.noise_dim, self.shape = chosen.noise_dim, (length, width)
        self.lift = Linear(chosen.noise_dim, length * width)
        self.position = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.Sequential(
            *(
                Block(width, chosen.heads, chosen.dropout, chosen.attention_dropout)
                for _ in range(chosen.depth)
            )
        )
        self.head = Linear(width, channels)  # a 1 x 1 convolution over steps

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        x_BLE = self.lift(noise_BZ).unflatten(1, self.shape)
        return self.head(self.blocks(x_BLE + self.position.to(x_BLE.dtype))).tanh()


class Discriminator(nn.Module):
    """(B, L, C) -> logits (B, 1)."""

    def __init__(self, length: int, channels: int, settings: config.TtsGan) -> None:
        super().__init__()
        width, chosen = settings.discriminator_width, settings
        self.tokens = Tokens(length, channels, chosen.patch, width)
        self.blocks = nn.Sequential(
            *(
                Block(width, chosen.heads, chosen.discriminator_dropout, chosen.attention_dropout)
                for _ in range(chosen.discriminator_depth)
            )
        )
        self.verdict = nn.Sequential(LayerNorm(width), Linear(width, 1))

    def compute_features(self, series_BLC: Tensor) -> Tensor:
        """Return the mean token, the input of the logit: (B, L, C) -> (B, E)."""
        return self.blocks(self.tokens(series_BLC)).mean(1)

    def forward(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        return self.verdict(self.compute_features(series_BLC)).float()


def build(
    settings: config.TtsGan, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Return the generator and the discriminator for series of `length` steps."""
    return {
        "generator": Generator(length, channels, settings),
        "discriminator": Discriminator(length, channels, settings),
    }
