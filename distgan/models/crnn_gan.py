"""C-RNN-GAN (Mogren 2016): a recurrent GAN that plays its series step by step.

    uniform noise for each step ─ Linear, ReLU ─ 2 LSTM layers ─ Linear, Tanh ─ series
    series ─ 2 LSTM layers in both directions ─ a logit for each step ─ their mean

After the paper and its code, with differences: the discriminator walks in both directions, as the paper says
(the code by default in one); its logits are averaged, not their sigmoids, so that every loss here applies;
the output ends in a Tanh. Left out: the code's generator is also fed its own last output, at every step (and
the real one in pretraining), its weights decay, the discriminator's inputs have dropout, and songs have
metadata. 350 units and dropout .5 are the paper's. Unconditional: the condition is not read.

Shapes: B series, L steps, C channels, N noise of a step, W units, K condition.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from distgan import config
from distgan.models.layers import Linear
from distgan.models.recurrent import Recurrent, uniform

ANY_LENGTH = True  # noise comes step by step, and no weight belongs to a step


class Generator(nn.Module):
    """(B, L·N) -> (B, L, C) in [-1, 1]."""

    def __init__(self, length: int, channels: int, settings: config.CrnnGan) -> None:
        super().__init__()
        per_step = settings.noise_channels or channels
        self.shape, self.noise_dim = (length, per_step), length * per_step
        self.lift = Linear(per_step, settings.width)
        self.body = Recurrent(
            settings.width, settings.width, settings.layers, "lstm", dropout=settings.dropout
        )
        self.head = Linear(settings.width, channels)

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        lifted_BLW = F.relu(self.lift(uniform(noise_BZ).unflatten(1, self.shape)))
        return self.head(self.body(lifted_BLW)).tanh()


class Discriminator(nn.Module):
    """(B, L, C) -> logits (B, 1)."""

    def __init__(self, channels: int, settings: config.CrnnGan) -> None:
        super().__init__()
        self.body = Recurrent(
            channels, settings.width, settings.layers, "lstm", both_ways=True, dropout=settings.dropout
        )
        self.verdict = Linear(2 * settings.width, 1)

    def features(self, series_BLC: Tensor) -> Tensor:
        """What the verdict of each step looks at: (B, L, C) -> (B, L, 2 W)."""
        return self.body(series_BLC)

    def judge(self, features_BLW: Tensor) -> Tensor:
        return self.verdict(features_BLW).mean(1).float()

    def forward(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        return self.judge(self.features(series_BLC))


def build(
    settings: config.CrnnGan, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """The generator and the discriminator for series of `length` steps."""
    return {
        "generator": Generator(length, channels, settings),
        "discriminator": Discriminator(channels, settings),
    }
