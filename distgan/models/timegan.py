"""TimeGAN (Yoon et al., NeurIPS 2019): a recurrent GAN in the latent space of a recurrent autoencoder.

    series, label ─ embedder ─ H ─ recovery ─ series       H: a latent for each step, in [0, 1]
    uniform noise for each step, label ─ generator ─ Ê ─ supervisor ─ Ĥ ─ recovery ─ series
    H, Ĥ or Ê, label ─ discriminator ─ a logit for each step
    H ─ supervisor ─ H of the next step

Five stacks of GRU or LSTM with a linear head; all but the discriminator's end in a sigmoid. The source
works on values in [0, 1]: the embedder takes (x + 1) / 2 and the recovery gives 2 y - 1, and nothing is
scaled a second time, as it is there. One channel is a case like any other: one number of noise a step.
The label of a series, if the source has labels, is its static feature: the embedder, the generator and the
discriminator see it at every step, as the paper's do (its published code leaves static features out). It is
drawn with the group and not made up. The rest of the condition is not read.

`autoencoder` (embedder and recovery) and `generator` (with the supervisor) are trained each as one network.

Shapes: B series, L steps, C channels, H numbers of a latent, N noise of a step, K condition, M labels; I
inputs and O outputs of a stack.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distgan import config
from distgan.data.loader import Batch
from distgan.models.layers import Linear, select_label
from distgan.models.recurrent import Recurrent, to_uniform
from distgan.objectives.adversarial import Adversarial
from distgan.objectives.base import Phase
from distgan.objectives.losses import apply_to_global_means, compute_moment_distance


class Stack(nn.Module):
    """Recurrent layers and a linear head: (B, L, I) -> (B, L, O)."""

    def __init__(self, inputs: int, outputs: int, layers: int, settings: config.TimeGan) -> None:
        super().__init__()
        self.body = Recurrent(inputs, settings.width, layers, settings.cell)
        self.head = Linear(settings.width, outputs)

    def forward(self, x_BLI: Tensor) -> Tensor:
        return self.head(self.body(x_BLI))


def apply_each_step(x_BLI: Tensor, label_BM: Tensor) -> Tensor:
    """Put a series' label beside each of its steps: (B, L, I), (B, M) -> (B, L, I + M)."""
    label_BLM = label_BM[:, None].expand(-1, x_BLI.shape[1], -1)
    return torch.cat([x_BLI, label_BLM.to(x_BLI.dtype)], dim=2)


class Autoencoder(nn.Module):
    """Series to latents and back: (B, L, C), (B, M) -> (B, L, H) -> (B, L, C)."""

    def __init__(self, channels: int, labels: int, settings: config.TimeGan) -> None:
        super().__init__()
        self.labels = labels
        self.embedder = Stack(channels + labels, settings.width, settings.layers, settings)
        self.recovery = Stack(settings.width, channels, settings.layers, settings)

    def embed(self, series_BLC: Tensor, label_BM: Tensor) -> Tensor:
        return self.embedder(apply_each_step((series_BLC + 1) / 2, label_BM)).sigmoid()

    def recover(self, latent_BLH: Tensor) -> Tensor:
        return 2 * self.recovery(latent_BLH).sigmoid() - 1

    def forward(self, series_BLC: Tensor, label_BM: Tensor) -> Tensor:
        return self.recover(self.embed(series_BLC, label_BM))


class Generator(nn.Module):
    """Noise to latents: (B, L·N), (B, M) -> Ê (B, L, H), before the supervisor."""

    def __init__(self, length: int, channels: int, labels: int, settings: config.TimeGan) -> None:
        super().__init__()
        per_step = settings.noise_channels or channels
        self.shape, self.noise_dim = (length, per_step), length * per_step
        self.generator = Stack(per_step + labels, settings.width, settings.layers, settings)
        self.supervisor = Stack(settings.width, settings.width, settings.layers - 1, settings)

    def supervise(self, latent_BLH: Tensor) -> Tensor:
        """Return what the next step's latent should be, for each step: (B, L, H) -> (B, L, H)."""
        return self.supervisor(latent_BLH).sigmoid()

    def forward(self, noise_BZ: Tensor, label_BM: Tensor) -> Tensor:
        noise_BLN = to_uniform(noise_BZ).unflatten(1, self.shape)
        return self.generator(apply_each_step(noise_BLN, label_BM)).sigmoid()


class Discriminator(nn.Module):
    """Latents (B, L, H), (B, M) -> logits (B, L)."""

    def __init__(self, labels: int, settings: config.TimeGan) -> None:
        super().__init__()
        self.stack = Stack(settings.width + labels, 1, settings.layers, settings)

    def forward(self, latent_BLH: Tensor, label_BM: Tensor) -> Tensor:
        return self.stack(apply_each_step(latent_BLH, label_BM))[..., 0].float()


class Sampler(nn.Module):
    """Generator, supervisor and recovery as one: (B, L·N), (B, K) -> (B, L, C) in [-1, 1]."""

    def __init__(self, generator: Generator, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.generator, self.autoencoder = generator, autoencoder
        self.noise_dim = generator.noise_dim

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        label_BM = select_label(condition_BK, self.autoencoder.labels)
        return self.autoencoder.recover(self.generator.supervise(self.generator(noise_BZ, label_BM)))


def join_sampler(networks: dict[str, nn.Module]) -> Sampler:
    return Sampler(networks["generator"], networks["autoencoder"])  # type: ignore[arg-type]


def build(
    settings: config.TimeGan, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Return autoencoder, generator and discriminator for series of `length` steps."""
    return {
        "autoencoder": Autoencoder(channels, labels, settings),
        "generator": Generator(length, channels, labels, settings),
        "discriminator": Discriminator(labels, settings),
    }


class Game(Adversarial):
    """Three parts of the training (Yoon et al. 2019, as their code has it).

    embedding    autoencoder    10 √E(x - x̃)²
    supervised   generator      E(H_{t+1} - S(H)_t)²
    joint        generator      U + γ U_e + 100 √S + 100 V, where S is the supervised loss and V the distance
                                of means and deviations of each step and channel
                 autoencoder    10 √E(x - x̃)² + .1 S
                 discriminator  U_real + U_fake + γ U_e, every other step, and left alone while at most .15

    All values here are on the source's scale of [0, 1]. What is missing counts in no loss: a step of which a
    channel is missing is hidden from the discriminator, in real and generated latents alike. Roots and
    distances are of means over the global batch. Adam keeps one memory a network, where the source starts a
    new one a part: what the supervised part did not touch of the generator takes some hundred larger steps at
    first, of up to six times its rate.
    """

    def schedule(self) -> list[Phase]:
        first, second = self.family.embedding_steps, self.family.supervised_steps
        joint, threshold = first + second, self.family.discriminator_threshold
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
                skip=lambda values: values["loss"] <= threshold,
            ),
        ]

    averaged = ("generator", "autoencoder")

    # ------------------------------------------------------------------------------------------- the losses

    def embedding_loss(self, batch: Batch) -> dict[str, Tensor]:
        error = self.compute_reconstruction_error(batch, self.embed(batch, self.select_label(batch)))
        return {"loss": error, "reconstruction": error.detach()}

    def supervised_loss(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            latent_BLH = self.embed(batch, self.select_label(batch))
        error = self.compute_step_error(batch, latent_BLH)
        return {"loss": error, "supervised": error.detach()}

    def autoencoder_loss(self, batch: Batch) -> dict[str, Tensor]:
        latent_BLH = self.embed(batch, self.select_label(batch))
        error = self.compute_reconstruction_error(batch, latent_BLH)
        loss = error + 0.1 * self.compute_step_error(batch, latent_BLH)
        return {"loss": loss, "reconstruction": error.detach()}

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the generator's "loss": adversarial, supervised and moment terms."""
        label_BM = self.select_label(batch)
        raw_BLH, supervised_BLH = self.generate_latents(batch, label_BM, "generator noise")
        with torch.no_grad():
            latent_BLH = self.embed(batch, label_BM)
        series_BLC = self.networks["autoencoder"].recover(supervised_BLH)
        fooled = self.compute_verdict_loss(batch, supervised_BLH, label_BM, 1.0)
        fooled = fooled + self.family.gamma * self.compute_verdict_loss(batch, raw_BLH, label_BM, 1.0)
        steps = self.compute_root(self.compute_step_error(batch, latent_BLH))
        moments = compute_moment_distance(series_BLC, batch.series, batch.mask, self.across)
        loss = fooled + self.family.supervised_weight * steps + self.family.moment_weight * moments
        return {"loss": loss, "g": fooled.detach(), "moments": moments.detach()}

    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        label_BM = self.select_label(batch)
        with torch.no_grad():
            real_BLH = self.embed(batch, label_BM)
            raw_BLH, supervised_BLH = self.generate_latents(batch, label_BM, "discriminator noise")
        loss = self.compute_verdict_loss(batch, real_BLH, label_BM, 1.0)
        loss = loss + self.compute_verdict_loss(batch, supervised_BLH, label_BM, 0.0)
        loss = loss + self.family.gamma * self.compute_verdict_loss(batch, raw_BLH, label_BM, 0.0)
        return {"loss": loss, "d": loss.detach()}

    # ------------------------------------------------------------------------------------------ their parts

    def select_label(self, batch: Batch) -> Tensor:
        """Return the static features of a batch's series, which the generated ones share: (B, M). Where there
        are none, no condition is worked out.
        """
        labels = self.networks["autoencoder"].labels
        if not labels:
            return batch.series.new_empty(len(batch.series), 0)
        return select_label(self.real_condition(batch), labels)

    def embed(self, batch: Batch, label_BM: Tensor) -> Tensor:
        latent: Tensor = self.networks["autoencoder"].embed(batch.series.to(self.dtype), label_BM)
        return latent

    def generate_latents(self, batch: Batch, label_BM: Tensor, purpose: str) -> tuple[Tensor, Tensor]:
        """Return latents before and behind the supervisor, each (B, L, H)."""
        generator = self.networks["generator"]
        raw_BLH = generator(self.draw_noise(batch, purpose).to(self.dtype), label_BM)
        return raw_BLH, generator.supervise(raw_BLH)

    def compute_reconstruction_error(self, batch: Batch, latent_BLH: Tensor) -> Tensor:
        """Return 10 √E(x - x̃)²."""
        error = (self.networks["autoencoder"].recover(latent_BLH).float() - batch.series) / 2
        return 10 * self.compute_root(self.average(error.square(), batch.mask))

    def compute_step_error(self, batch: Batch, latent_BLH: Tensor) -> Tensor:
        """Return E(H_{t+1} - S(H)_t)² over steps that are measured."""
        next_BLH = self.networks["generator"].supervise(latent_BLH)
        error_BL = (latent_BLH[:, 1:].float() - next_BLH[:, :-1].float()).square().mean(2)
        whole_BL = mask_whole_steps(batch)
        return self.average(error_BL, whole_BL[:, 1:] * whole_BL[:, :-1])

    def compute_verdict_loss(self, batch: Batch, latent_BLH: Tensor, label_BM: Tensor, real: float) -> Tensor:
        """Return the binary cross entropy of the discriminator's logits over steps that are measured."""
        whole_BL = mask_whole_steps(batch)
        hidden_BLH = latent_BLH * whole_BL[..., None].to(latent_BLH.dtype)
        logits_BL = self.networks["discriminator"](hidden_BLH, label_BM)
        target_BL = torch.full_like(logits_BL, real)
        entropy_BL = F.binary_cross_entropy_with_logits(logits_BL, target_BL, reduction="none")
        return self.average(entropy_BL, whole_BL)

    def compute_root(self, mean: Tensor) -> Tensor:
        """Return the root of a mean over the global batch."""
        return apply_to_global_means(lambda value: (value + 1e-12).sqrt(), mean, self.across)


def mask_whole_steps(batch: Batch) -> Tensor:
    """Return 1 where all channels of a step are measured: (B, L)."""
    return batch.mask.amin(2)
