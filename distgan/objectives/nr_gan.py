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

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from distgan import rng
from distgan.data.loader import Batch
from distgan.objectives.adversarial import Adversarial
from distgan.objectives.losses import masked_mean


class NoiseReduction(Adversarial):
    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        condition_BK = self.condition(batch)
        penalised = self.penalised(batch)
        with torch.no_grad():
            filtered_BLC = self.filtered(batch.series) * batch.mask
        real, fake = self.judge(torch.cat([batch.series, filtered_BLC]), torch.cat([condition_BK] * 2)).chunk(
            2
        )
        of_clean, of_noisy = self.over(batch, self.clean), self.over(batch, self.noisy)
        loss = of_clean(F.softplus(-real).mean(1)) + of_noisy(F.softplus(fake).mean(1))
        shown = {
            "d": loss.detach(),
            "real": of_clean(real.detach().mean(1)),
            "fake": of_noisy(fake.detach().mean(1)),
        }
        if self.settings.penalty.kind != "none":
            penalty = self.penalty(batch, filtered_BLC, condition_BK, condition_BK, penalised)
            loss = loss + self.penalty_weight(batch.step) * penalty
            shown["penalty"] = penalty.detach()
        return {"loss": loss, **shown}

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        filtered_BLC = self.filtered(batch.series) * batch.mask
        change_BLC = (filtered_BLC - batch.series).abs()
        verdict_B = F.softplus(-self.judge(filtered_BLC, self.condition(batch))).mean(1)
        fooled = self.over(batch, self.noisy)(verdict_B)
        of_clean = self.over(batch, self.clean_values)
        content = self.over(batch, self.noisy_values)(change_BLC)
        identity = of_clean(change_BLC)
        recombined = of_clean(self.recombined(batch, batch.series - filtered_BLC.detach()))
        loss = (
            fooled
            + self.family.content_weight * content
            + self.family.identity_weight * identity
            + self.family.recombined_weight * recombined
        )
        parts = {"content": content, "identity": identity, "recombined": recombined}
        return {"loss": loss, "g": fooled.detach(), **{name: part.detach() for name, part in parts.items()}}

    def clean(self, batch: Batch) -> Tensor:
        """1 for a clean series: (B,)."""
        return self.condition(batch)[:, 0]

    def noisy(self, batch: Batch) -> Tensor:
        return 1 - self.clean(batch)

    def clean_values(self, batch: Batch) -> Tensor:
        """1 where a clean series is measured: (B, L, C)."""
        return batch.mask * self.clean(batch)[:, None, None]

    def noisy_values(self, batch: Batch) -> Tensor:
        return batch.mask * self.noisy(batch)[:, None, None]

    def over(self, batch: Batch, which: Callable[[Batch], Tensor]) -> Callable[[Tensor], Tensor]:
        """The mean over what `which` marks in the global batch, of which this may be a part."""
        mask = which(batch)
        count = self.across(batch.mean_count(lambda part: which(part).sum()))
        return lambda x: masked_mean(x, mask, count)

    def filtered(self, series_BLC: Tensor) -> Tensor:
        """G(series) in float32."""
        series: Tensor = self.networks["generator"](series_BLC.to(self.dtype))
        return series.float()

    def recombined(self, batch: Batch, noise_BLC: Tensor) -> Tensor:
        """|G(g(x + a n)) - g x| for the clean series x, each with the noise of a noisy one: (B, L, C)."""
        device, clean_BLC = batch.series.device, self.clean_values(batch)
        loudness_B11 = (
            3 * rng.keyed_uniform(self.seed, batch.step, "loudness", batch.sample, (1, 1), device) - 1.5
        )
        noise_BLC = loudness_B11 * noise_BLC[pair_with_noisy(clean_BLC.amax((1, 2)))]
        both_BLC = (batch.series + noise_BLC) * clean_BLC
        gain_B1C = 1 / both_BLC.abs().amax(1, keepdim=True).clamp(min=1e-3)
        return (self.filtered(gain_B1C * both_BLC) - gain_B1C * batch.series).abs()


def pair_with_noisy(clean_B: Tensor) -> Tensor:
    """For each series a noisy one, in turn; itself where all are clean: (B,) -> (B,) int64."""
    noisy_first_B = torch.argsort((clean_B > 0).int(), stable=True)
    count = (clean_B == 0).sum()
    turn_B = (clean_B.cumsum(0).long() - 1).clamp(min=0)
    found_B = noisy_first_B[turn_B % count.clamp(min=1)]
    return torch.where(count > 0, found_B, torch.arange(len(clean_B), device=clean_B.device))
