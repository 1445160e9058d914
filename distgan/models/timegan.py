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

Shapes: B series, L steps, C channels, H numbers of a latent, N noise of a step, K condition, M labels.
"""

import torch
from torch import Tensor, nn

from distgan import config
from distgan.models.layers import Linear, label_of
from distgan.models.recurrent import Recurrent, uniform

ANY_LENGTH = True  # noise comes step by step, and no weight belongs to a step


class Stack(nn.Module):
    """Recurrent layers and a linear head: (B, L, I) -> (B, L, O)."""

    def __init__(self, inputs: int, outputs: int, layers: int, settings: config.TimeGan) -> None:
        super().__init__()
        self.body = Recurrent(inputs, settings.width, layers, settings.cell)
        self.head = Linear(settings.width, outputs)

    def forward(self, x_BLI: Tensor) -> Tensor:
        return self.head(self.body(x_BLI))


def apply_each_step(x_BLI: Tensor, label_BM: Tensor) -> Tensor:
    """A series' label beside each of its steps: (B, L, I), (B, M) -> (B, L, I + M)."""
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
        """What the next step's latent should be, for each step: (B, L, H) -> (B, L, H)."""
        return self.supervisor(latent_BLH).sigmoid()

    def forward(self, noise_BZ: Tensor, label_BM: Tensor) -> Tensor:
        noise_BLN = uniform(noise_BZ).unflatten(1, self.shape)
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
        label_BM = label_of(condition_BK, self.autoencoder.labels)
        return self.autoencoder.recover(self.generator.supervise(self.generator(noise_BZ, label_BM)))


def sampler(networks: dict[str, nn.Module]) -> Sampler:
    return Sampler(networks["generator"], networks["autoencoder"])  # type: ignore[arg-type]


def build(
    settings: config.TimeGan, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Autoencoder, generator and discriminator for series of `length` steps."""
    return {
        "autoencoder": Autoencoder(channels, labels, settings),
        "generator": Generator(length, channels, labels, settings),
        "discriminator": Discriminator(labels, settings),
    }
