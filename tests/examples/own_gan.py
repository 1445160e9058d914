"""Your own GAN family in one file: its settings, its networks, its game. Every command of distgan takes it.

distgan train --config mine.yaml model=own_gan.py model.width=32       # in the folder of this file
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from distgan import config
from distgan.objectives.adversarial import Adversarial
from distgan.objectives.base import Phase


class OwnGan(
    config.Family
):  # the keys of `model`; class variables state what else than the plain case it can
    noise_dim: int = config.key(16, "numbers of noise for a series", ge=1)
    width: int = config.key(64, "hidden units of each network", ge=1)
    discriminator_updates: int = config.key(1, "updates of the discriminator for one of the generator", ge=1)


class Generator(nn.Module):  # noise (B, Z), condition (B, K) -> series (B, L, C) in [-1, 1]
    def __init__(self, settings: OwnGan, length: int, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.noise_dim, self.shape = settings.noise_dim, (length, channels)
        self.hidden = nn.Linear(settings.noise_dim + condition_dim, settings.width)
        self.out = nn.Linear(settings.width, length * channels)

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        hidden = self.hidden(torch.cat([noise_BZ, condition_BK], dim=1)).relu()
        return self.out(hidden).tanh().unflatten(1, self.shape)


class Discriminator(nn.Module):  # series (B, L, C), condition (B, K) -> logits (B, 1)
    def __init__(self, settings: OwnGan, length: int, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(length * channels + condition_dim, settings.width)
        self.out = nn.Linear(settings.width, 1)

    def forward(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        seen = torch.cat([series_BLC.flatten(1), condition_BK], dim=1)
        return self.out(nn.functional.leaky_relu(self.hidden(seen), 0.2))


def build(
    settings: OwnGan, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:

    sizes = (settings, length, channels, condition_dim)
    return {"generator": Generator(*sizes), "discriminator": Discriminator(*sizes)}


class Game(Adversarial):  # leave it out for the plain game: both networks are updated at every step
    def schedule(self) -> list[Phase]:
        discriminator, generator = super().schedule()
        return [discriminator, replace(generator, every=self.family.discriminator_updates)]
