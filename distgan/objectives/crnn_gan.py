"""What C-RNN-GAN's networks minimise (Mogren 2016): a plain game with three rules of its own.

pretraining       the generator follows series by squared error, E(x - G(z))², for a number of steps; the
                  source feeds it the real step before each
feature matching  E(R(x) - R(G(z)))², R what the discriminator's last layer looks at, takes the place of the
                  generator's loss (Salimans et al. 2016)
freezing          a network rests while its loss is below .7 of the other's. Compared are cross entropies a
                  verdict, whatever loss is minimised, so that both are ln 2 at chance. The source compares
                  the discriminator's sum of two with the generator's one, which at chance already rests the
                  generator (and by a line indented one level short it rests whichever is ahead). Both are of
                  this step's global batch: processes agree, and a resumed run has nothing to remember.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from distgan.data.loader import Batch
from distgan.objectives.adversarial import Adversarial
from distgan.objectives.base import Phase
from distgan.objectives.losses import LOSSES


class CrnnGAN(Adversarial):
    def schedule(self) -> list[Phase]:
        first, share = self.family.pretraining_steps, self.family.freeze_below

        def critic_rests(values: Mapping[str, float]) -> bool:
            return values["critic_entropy"] < share * values["generator_entropy"]

        def generator_rests(values: Mapping[str, float]) -> bool:
            return values["generator_entropy"] < share * values["critic_entropy"]

        return [
            Phase("pretraining", "generator", self.pretraining_loss, stop=first),
            Phase("discriminator", "discriminator", self.discriminator_loss, start=first, skip=critic_rests),
            Phase("generator", "generator", self.generator_loss, start=first, skip=generator_rests),
        ]

    def pretraining_loss(self, batch: Batch) -> dict[str, Tensor]:
        fake_BLC = self.fake(batch, self.condition(batch), "generator noise").float()
        error = self.mean((fake_BLC - batch.series).square(), batch.mask)
        return {"loss": error, "error": error.detach()}

    def shown(self, loss: Tensor, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return super().shown(loss, real, fake) | cross_entropies(real, fake)

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        condition_BK, critic = self.condition(batch), self.networks["discriminator"]
        fake_BLC = self.fake(batch, condition_BK, "generator noise")
        seen, seen_fake_BLC = self.augmented(batch, fake_BLC)
        fake_features = critic.features(seen_fake_BLC)
        with torch.no_grad():
            real_features = critic.features(seen.series.to(self.dtype))
        real, fake = (critic.judge(features) for features in (real_features, fake_features))
        fooled = self.game.generator(real, fake)
        loss = fooled
        if self.family.feature_matching:
            loss = (fake_features.float() - real_features.float()).square().mean()
        return {"loss": loss, "g": fooled.detach(), **cross_entropies(real, fake.detach())}


def cross_entropies(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """What freezing compares: the mean cross entropy of a verdict, of either side."""
    plain = LOSSES["nonsaturating"]
    return {
        "critic_entropy": plain.discriminator(real, fake) / 2,
        "generator_entropy": plain.generator(real, fake),
    }
