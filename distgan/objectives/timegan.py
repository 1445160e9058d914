"""What TimeGAN's networks minimise, in three parts of the training (Yoon et al. 2019, as their code has it).

embedding    autoencoder    10 √E(x - x̃)²
supervised   generator      E(H_{t+1} - S(H)_t)²
joint        generator      U + γ U_e + 100 √S + 100 V, where S is the supervised loss and V the distance of
                            means and deviations of each step and channel
             autoencoder    10 √E(x - x̃)² + .1 S
             discriminator  U_real + U_fake + γ U_e, every other step, and left alone while at most .15

All values here are on the source's scale of [0, 1]. What is missing counts in no loss: a step of which a
channel is missing is hidden from the discriminator, in real and generated latents alike. Roots and distances
are of means over the global batch. Adam keeps one memory a network, where the source starts a new one a part:
what the supervised part did not touch of the generator takes some hundred larger steps at first, of up to six
times its rate.

Shapes: B series, L steps, C channels, H numbers of a latent, K condition, M labels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from distgan.data.loader import Batch
from distgan.models.layers import label_of
from distgan.objectives.adversarial import Adversarial
from distgan.objectives.base import Phase
from distgan.objectives.losses import moment_distance, of_global_means


class TimeGAN(Adversarial):
    def schedule(self) -> list[Phase]:
        first, second = self.family.embedding_steps, self.family.supervised_steps
        joint, floor = first + second, self.family.critic_floor
        return [
            Phase("embedding", "autoencoder", self.embedding_loss, stop=first),
            Phase("supervised", "generator", self.supervised_loss, start=first, stop=joint),
            Phase("generator", "generator", self.generator_loss, start=joint),
            Phase("autoencoder", "autoencoder", self.autoencoder_loss, start=joint),
            Phase(
                "discriminator",
                "discriminator",
                self.discriminator_loss,
                every=2,
                start=joint,
                skip=lambda values: values["loss"] <= floor,
            ),
        ]

    averaged = ("generator", "autoencoder")

    # ------------------------------------------------------------------------------------------- the losses

    def embedding_loss(self, batch: Batch) -> dict[str, Tensor]:
        error = self.reconstruction_error(batch, self.embed(batch, self.label(batch)))
        return {"loss": error, "reconstruction": error.detach()}

    def supervised_loss(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            latent_BLH = self.embed(batch, self.label(batch))
        error = self.step_error(batch, latent_BLH)
        return {"loss": error, "supervised": error.detach()}

    def autoencoder_loss(self, batch: Batch) -> dict[str, Tensor]:
        latent_BLH = self.embed(batch, self.label(batch))
        error = self.reconstruction_error(batch, latent_BLH)
        loss = error + 0.1 * self.step_error(batch, latent_BLH)
        return {"loss": loss, "reconstruction": error.detach()}

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        label_BM = self.label(batch)
        raw_BLH, supervised_BLH = self.fakes(batch, label_BM, "generator noise")
        with torch.no_grad():
            latent_BLH = self.embed(batch, label_BM)
        series_BLC = self.networks["autoencoder"].recover(supervised_BLH)
        fooled = self.verdict(batch, supervised_BLH, label_BM, 1.0)
        fooled = fooled + self.family.gamma * self.verdict(batch, raw_BLH, label_BM, 1.0)
        steps = self.root(self.step_error(batch, latent_BLH))
        moments = moment_distance(series_BLC, batch.series, batch.mask, self.across)
        loss = fooled + self.family.supervised_weight * steps + self.family.moment_weight * moments
        return {"loss": loss, "g": fooled.detach(), "moments": moments.detach()}

    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        label_BM = self.label(batch)
        with torch.no_grad():
            real_BLH = self.embed(batch, label_BM)
            raw_BLH, supervised_BLH = self.fakes(batch, label_BM, "discriminator noise")
        loss = self.verdict(batch, real_BLH, label_BM, 1.0)
        loss = loss + self.verdict(batch, supervised_BLH, label_BM, 0.0)
        loss = loss + self.family.gamma * self.verdict(batch, raw_BLH, label_BM, 0.0)
        return {"loss": loss, "d": loss.detach()}

    # ------------------------------------------------------------------------------------------ their parts

    def label(self, batch: Batch) -> Tensor:
        """The static features of a batch's series, which the generated ones share: (B, M). Where there are
        none, no condition is worked out.
        """
        labels = self.networks["autoencoder"].labels
        if not labels:
            return batch.series.new_empty(len(batch.series), 0)
        return label_of(self.real_condition(batch), labels)

    def embed(self, batch: Batch, label_BM: Tensor) -> Tensor:
        latent: Tensor = self.networks["autoencoder"].embed(batch.series.to(self.dtype), label_BM)
        return latent

    def fakes(self, batch: Batch, label_BM: Tensor, purpose: str) -> tuple[Tensor, Tensor]:
        """Latents before and behind the supervisor, each (B, L, H)."""
        generator = self.networks["generator"]
        raw_BLH = generator(self.noise(batch, purpose).to(self.dtype), label_BM)
        return raw_BLH, generator.supervise(raw_BLH)

    def reconstruction_error(self, batch: Batch, latent_BLH: Tensor) -> Tensor:
        """10 √E(x - x̃)²."""
        error = (self.networks["autoencoder"].recover(latent_BLH).float() - batch.series) / 2
        return 10 * self.root(self.mean(error.square(), batch.mask))

    def step_error(self, batch: Batch, latent_BLH: Tensor) -> Tensor:
        """E(H_{t+1} - S(H)_t)² over steps that are measured."""
        told_BLH = self.networks["generator"].supervise(latent_BLH)
        error_BL = (latent_BLH[:, 1:].float() - told_BLH[:, :-1].float()).square().mean(2)
        whole_BL = mask_whole_steps(batch)
        return self.mean(error_BL, whole_BL[:, 1:] * whole_BL[:, :-1])

    def verdict(self, batch: Batch, latent_BLH: Tensor, label_BM: Tensor, real: float) -> Tensor:
        """Binary cross entropy of the discriminator's logits over steps that are measured."""
        whole_BL = mask_whole_steps(batch)
        hidden_BLH = latent_BLH * whole_BL[..., None].to(latent_BLH.dtype)
        logits_BL = self.networks["discriminator"](hidden_BLH, label_BM)
        target_BL = torch.full_like(logits_BL, real)
        entropy_BL = F.binary_cross_entropy_with_logits(logits_BL, target_BL, reduction="none")
        return self.mean(entropy_BL, whole_BL)

    def root(self, mean: Tensor) -> Tensor:
        """The root of a mean over the global batch."""
        return of_global_means(lambda value: (value + 1e-12).sqrt(), mean, self.across)


def mask_whole_steps(batch: Batch) -> Tensor:
    """1 where all channels of a step are measured: (B, L)."""
    return batch.mask.amin(2)
