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

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distgan import config
from distgan.data.loader import Batch
from distgan.models.layers import Linear
from distgan.models.recurrent import Recurrent, to_uniform
from distgan.objectives.adversarial import Adversarial
from distgan.objectives.base import Phase
from distgan.objectives.losses import LOSSES


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
        lifted_BLW = F.relu(self.lift(to_uniform(noise_BZ).unflatten(1, self.shape)))
        return self.head(self.body(lifted_BLW)).tanh()


class Discriminator(nn.Module):
    """(B, L, C) -> logits (B, 1)."""

    def __init__(self, channels: int, settings: config.CrnnGan) -> None:
        super().__init__()
        self.body = Recurrent(
            channels, settings.width, settings.layers, "lstm", both_ways=True, dropout=settings.dropout
        )
        self.verdict = Linear(2 * settings.width, 1)

    def compute_features(self, series_BLC: Tensor) -> Tensor:
        """Return the features of each step, the input of its logit: (B, L, C) -> (B, L, 2 W)."""
        return self.body(series_BLC)

    def judge(self, features_BLW: Tensor) -> Tensor:
        """Return the mean logit over steps, float32: (B, L, 2 W) -> (B, 1)."""
        return self.verdict(features_BLW).mean(1).float()

    def forward(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        return self.judge(self.compute_features(series_BLC))


def build(
    settings: config.CrnnGan, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Return the generator and the discriminator for series of `length` steps."""
    return {
        "generator": Generator(length, channels, settings),
        "discriminator": Discriminator(channels, settings),
    }


class Game(Adversarial):
    """The plain game with three rules of C-RNN-GAN's own.

    pretraining       the generator follows series by squared error, E(x - G(z))², for a number of steps; the
                      source feeds it the real step before each
    feature matching  E(R(x) - R(G(z)))², R the input of the discriminator's last layer, takes the place of
                      the generator's loss (Salimans et al. 2016)
    freezing          a network rests while its loss is below .7 of the other's. Compared are cross entropies
                      a verdict, whatever loss is minimised, so that both are ln 2 at chance. The source
                      compares the discriminator's sum of two with the generator's one, which at chance
                      already rests the generator (and by a line indented one level short it rests whichever
                      is ahead). Both are of this step's global batch: processes agree, and a resumed run has
                      nothing to remember.
    """

    def schedule(self) -> list[Phase]:
        first, share = self.family.pretraining_steps, self.family.freeze_below

        def is_critic_resting(values: Mapping[str, float]) -> bool:
            return values["discriminator_entropy"] < share * values["generator_entropy"]

        def is_generator_resting(values: Mapping[str, float]) -> bool:
            return values["generator_entropy"] < share * values["discriminator_entropy"]

        return [
            Phase("pretraining", "generator", self.pretraining_loss, stop=first),
            Phase(
                "discriminator", "discriminator", self.discriminator_loss, start=first, skip=is_critic_resting
            ),
            Phase("generator", "generator", self.generator_loss, start=first, skip=is_generator_resting),
        ]

    def pretraining_loss(self, batch: Batch) -> dict[str, Tensor]:
        fake_BLC = self.generate(batch, self.condition(batch), "generator noise").float()
        error = self.average((fake_BLC - batch.series).square(), batch.mask)
        return {"loss": error, "error": error.detach()}

    def summarise_logits(self, loss: Tensor, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return super().summarise_logits(loss, real, fake) | compute_cross_entropies(real, fake)

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the generator's "loss", of features if set, and the entropies that freezing compares."""
        condition_BK, discriminator = self.condition(batch), self.networks["discriminator"]
        fake_BLC = self.generate(batch, condition_BK, "generator noise")
        seen, seen_fake_BLC = self.augment(batch, fake_BLC)
        fake_features = discriminator.compute_features(seen_fake_BLC)
        with torch.no_grad():
            real_features = discriminator.compute_features(seen.series.to(self.dtype))
        real, fake = (discriminator.judge(features) for features in (real_features, fake_features))
        fooled = self.loss.generator(real, fake)
        loss = fooled
        if self.family.feature_matching:
            loss = (fake_features.float() - real_features.float()).square().mean()
        return {"loss": loss, "g": fooled.detach(), **compute_cross_entropies(real, fake.detach())}


def compute_cross_entropies(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Return what freezing compares: the mean cross entropy of a verdict, of either side."""
    plain = LOSSES["nonsaturating"]
    return {
        "discriminator_entropy": plain.discriminator(real, fake) / 2,
        "generator_entropy": plain.generator(real, fake),
    }
