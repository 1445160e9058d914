"""What NR-GAN's networks minimise: the discriminator tells clean series x from filtered ones G(y).

discriminator  E_x softplus(-D(x)) + E_y softplus(D(G(y)))
generator      E_y softplus(-D(G(y))) + content E_y|G(y) - y| + identity E_x|G(x) - x|
               + recombined E|G(g(x + a n)) - g x|, n = y - G(y)

The first three are the paper's kind; the last is ours: the noise n that was taken off one series is put on a
clean one, which gives a pair to learn from although the data has none. a is drawn from -1.5 to 1.5, so that
the filter meets any loudness, and what n still has of its own series cannot be told from noise; g brings the
sum into the range that scaling would have given it. The condition of a batch is 1 for a clean series and 0
for a noisy one. Clean and noisy series find each other within a process's part of the batch.

Shapes: B series, L steps, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from distgan import draws
from distgan.data.loader import Batch
from distgan.objectives.adversarial import Adversarial


class NoiseReduction(Adversarial):
    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        condition_BK = self.condition(batch)
        clean_B = condition_BK[:, 0]
        penalised = self.penalised(batch)
        with torch.no_grad():
            filtered_BLC = self.filtered(batch.series) * batch.mask
        real, fake = self.judge(torch.cat([batch.series, filtered_BLC]), torch.cat([condition_BK] * 2)).chunk(
            2
        )
        loss = self.mean(F.softplus(-real).mean(1), clean_B) + self.mean(
            F.softplus(fake).mean(1), 1 - clean_B
        )
        shown = {
            "d": loss.detach(),
            "real": self.mean(real.detach().mean(1), clean_B),
            "fake": self.mean(fake.detach().mean(1), 1 - clean_B),
        }
        if self.settings.penalty.kind != "none":
            penalty = self.penalty(batch, filtered_BLC, condition_BK, condition_BK, penalised)
            loss = loss + self.penalty_weight(batch.step) * penalty
            shown["penalty"] = penalty.detach()
        return {"loss": loss, **shown}

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        condition_BK = self.condition(batch)
        clean_B = condition_BK[:, 0]
        filtered_BLC = self.filtered(batch.series) * batch.mask
        fooled = self.mean(F.softplus(-self.judge(filtered_BLC, condition_BK)).mean(1), 1 - clean_B)
        change_BLC = (filtered_BLC - batch.series).abs()
        clean_BLC = batch.mask * clean_B[:, None, None]
        content = self.mean(change_BLC, batch.mask - clean_BLC)
        identity = self.mean(change_BLC, clean_BLC)
        recombined = self.recombined(batch, batch.series - filtered_BLC.detach(), clean_BLC)
        loss = (
            fooled
            + self.family.content_weight * content
            + self.family.identity_weight * identity
            + self.family.recombined_weight * recombined
        )
        parts = {"content": content, "identity": identity, "recombined": recombined}
        return {"loss": loss, "g": fooled.detach(), **{name: part.detach() for name, part in parts.items()}}

    def filtered(self, series_BLC: Tensor) -> Tensor:
        """G(series) in float32."""
        series: Tensor = self.networks["generator"](series_BLC.to(self.dtype))
        return series.float()

    def recombined(self, batch: Batch, noise_BLC: Tensor, clean_BLC: Tensor) -> Tensor:
        """E|G(g(x + a n)) - g x| over the clean series x, each with the noise of a noisy one."""
        device = batch.series.device
        loudness_B11 = (
            3 * draws.uniform(self.seed, batch.step, "loudness", batch.sample, (1, 1), device) - 1.5
        )
        noise_BLC = loudness_B11 * noise_BLC[partners(clean_BLC.amax((1, 2)))]
        both_BLC = (batch.series + noise_BLC) * clean_BLC
        gain_B1C = 1 / both_BLC.abs().amax(1, keepdim=True).clamp(min=1e-3)
        error_BLC = (self.filtered(gain_B1C * both_BLC) - gain_B1C * batch.series).abs()
        return self.mean(error_BLC, clean_BLC)


def partners(clean_B: Tensor) -> Tensor:
    """For each series a noisy one, in turn; itself where all are clean: (B,) -> (B,) int64."""
    noisy_first_B = torch.argsort((clean_B > 0).int(), stable=True)
    count = (clean_B == 0).sum()
    turn_B = (clean_B.cumsum(0).long() - 1).clamp(min=0)
    found_B = noisy_first_B[turn_B % count.clamp(min=1)]
    return torch.where(count > 0, found_B, torch.arange(len(clean_B), device=clean_B.device))
