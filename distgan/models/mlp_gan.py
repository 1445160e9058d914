"""The plain GAN (Goodfellow et al. 2014) of two perceptrons: the smallest example of a model here.

    noise ─ Linear ─ LeakyReLU ─ Linear ─ Tanh ─ series        series ─ Linear ─ LeakyReLU ─ Linear ─ logit

As in the tutorial on digits that it follows (64 → 256 → 784 and 784 → 128 → 1, slope .1), for series of any
length and number of channels: a digit is a series of 784 pixels. Unconditional: the condition is not read.

Shapes: B series, L steps, C channels, Z noise, K condition.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from distgan import config
from distgan.models.layers import Linear

SLOPE = 0.1


class Generator(nn.Module):
    """(B, Z) -> (B, L, C) in [-1, 1]."""

    def __init__(self, length: int, channels: int, settings: config.MlpGan) -> None:
        super().__init__()
        self.noise_dim, self.shape = settings.noise_dim, (length, channels)
        self.hidden = Linear(settings.noise_dim, settings.width)
        self.out = Linear(settings.width, length * channels)

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        return self.out(F.leaky_relu(self.hidden(noise_BZ), SLOPE)).tanh().unflatten(1, self.shape)


class Discriminator(nn.Module):
    """(B, L, C) -> logits (B, 1)."""

    def __init__(self, length: int, channels: int, settings: config.MlpGan) -> None:
        super().__init__()
        self.hidden = Linear(length * channels, settings.critic_width)
        self.out = Linear(settings.critic_width, 1)

    def forward(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        return self.out(F.leaky_relu(self.hidden(series_BLC.flatten(1)), SLOPE)).float()


def build(
    settings: config.MlpGan, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Return the generator and the discriminator for series of `length` steps."""
    return {
        "generator": Generator(length, channels, settings),
        "discriminator": Discriminator(length, channels, settings),
    }
