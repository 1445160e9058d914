"""TimeVAE (Desai et al. 2021, arXiv 2111.08095): a convolutional VAE whose decoder adds interpretable parts.

    series ─ convolutions of stride 2 ─ Linear ─ mean, log-variance ─ latent
    latent ─ level + trend + seasons + residual ─ series            residual: transposed convolutions ─ Linear

As in the published code: hidden layers of 50, 100 and 200 channels, kernels of 3, a latent of 8 numbers, the
reconstruction three times as heavy as the divergence, and neither trend nor seasons by default. Values are on
its scale of [0, 1]. Changed: the encoder sees which readings are measured, and the residual's last layer,
which joins every reading with every other, is left out of series of more than 2,048 readings, where it would
be most of the network. Unconditional: the condition is not read.

Shapes: B series, L steps, C channels, H hidden channels, Z latent, P powers of the trend, S seasons.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distgan import config
from distgan.data.loader import Batch
from distgan.models.layers import Conv1d, ConvTranspose1d, Linear
from distgan.models.vae import EncoderDecoder
from distgan.objectives.adversarial import Adversarial
from distgan.objectives.base import Phase

Network = Callable[..., Any]
MOST_JOINED = 2048  # readings of a series that the residual's last layer joins


def halve(length: int, times: int) -> int:
    """Return the steps that convolutions of stride 2 leave."""
    return -(-length // 2**times)


class Encoder(nn.Module):
    """Series (B, L, C) in [0, 1], mask (B, L, C) -> mean and log-variance, each (B, Z), float32."""

    def __init__(self, length: int, channels: int, settings: config.TimeVae) -> None:
        super().__init__()
        widths = [2 * channels, *settings.widths]
        self.convolutions = nn.ModuleList(
            Conv1d(before, after, 3, stride=2, padding=1) for before, after in pairwise(widths)
        )
        self.out = Linear(widths[-1] * halve(length, len(settings.widths)), 2 * settings.latent_dim)

    def forward(self, series_BLC: Tensor, mask_BLC: Tensor) -> tuple[Tensor, Tensor]:
        x_BHL = torch.cat([series_BLC * mask_BLC, mask_BLC], dim=2).transpose(1, 2)
        for convolution in self.convolutions:
            x_BHL = F.relu(convolution(x_BHL))
        mean_BZ, logvar_BZ = self.out(x_BHL.flatten(1)).float().chunk(2, dim=1)
        return mean_BZ, logvar_BZ.clamp(-12, 4)


class Level(nn.Module):
    """(B, Z) -> (B, 1, C): one number for each channel."""

    def __init__(self, latent_dim: int, channels: int) -> None:
        super().__init__()
        self.hidden, self.out = Linear(latent_dim, channels), Linear(channels, channels)

    def forward(self, latent_BZ: Tensor) -> Tensor:
        return self.out(F.relu(self.hidden(latent_BZ)))[:, None]


class Trend(nn.Module):
    """(B, Z) -> (B, L, C): a polynomial of t / L without a constant, for each channel."""

    def __init__(self, latent_dim: int, length: int, channels: int, degree: int) -> None:
        super().__init__()
        self.length, self.degree = length, degree
        self.hidden = Linear(latent_dim, channels * degree)
        self.out = Linear(channels * degree, channels * degree)

    def forward(self, latent_BZ: Tensor) -> Tensor:
        times_L = torch.arange(self.length, device=latent_BZ.device, dtype=torch.float32) / self.length
        powers_PL = torch.stack([times_L**power for power in range(1, self.degree + 1)])
        factors_BCP = self.out(F.relu(self.hidden(latent_BZ))).unflatten(1, (-1, self.degree))
        return (factors_BCP @ powers_PL.to(latent_BZ.dtype)).transpose(1, 2)


class Seasons(nn.Module):
    """(B, Z) -> (B, L, C): one number for each season of a cycle, for each channel."""

    def __init__(self, latent_dim: int, length: int, channels: int, season: config.Season) -> None:
        super().__init__()
        self.length, self.season = length, season
        self.out = Linear(latent_dim, channels * season.count)

    def forward(self, latent_BZ: Tensor) -> Tensor:
        values_BCS = self.out(latent_BZ).unflatten(1, (-1, self.season.count))
        steps_L = torch.arange(self.length, device=latent_BZ.device)
        return values_BCS[..., steps_L // self.season.steps % self.season.count].transpose(1, 2)


class Residual(nn.Module):
    """(B, Z) -> (B, L, C): the encoder in reverse."""

    def __init__(self, length: int, channels: int, settings: config.TimeVae) -> None:
        super().__init__()
        widths = [*reversed(settings.widths), channels]
        self.length, self.start = length, (widths[0], halve(length, len(settings.widths)))
        self.lift = Linear(settings.latent_dim, self.start[0] * self.start[1])
        self.convolutions = nn.ModuleList(
            ConvTranspose1d(before, after, 3, stride=2) for before, after in pairwise(widths)
        )
        steps = self.start[1] * 2 ** len(settings.widths)
        joined = length * channels <= MOST_JOINED
        self.join = Linear(steps * channels, length * channels) if joined else None

    def forward(self, latent_BZ: Tensor) -> Tensor:
        x_BHL = F.relu(self.lift(latent_BZ)).unflatten(1, self.start)
        for place, convolution in enumerate(self.convolutions, 1):
            x_BHL = convolution(x_BHL)[..., : 2 * x_BHL.shape[2]]
            if place < len(self.convolutions) or self.join is not None:
                x_BHL = F.relu(x_BHL)
        if self.join is None:
            return x_BHL[..., : self.length].transpose(1, 2)
        return self.join(x_BHL.transpose(1, 2).flatten(1)).unflatten(1, (self.length, -1))


class Decoder(nn.Module):
    """(B, Z) -> (B, L, C) on the scale of [0, 1]: the sum of the parts."""

    def __init__(self, length: int, channels: int, settings: config.TimeVae) -> None:
        super().__init__()
        parts: list[nn.Module] = [Level(settings.latent_dim, channels)]
        if settings.trend_degree:
            parts.append(Trend(settings.latent_dim, length, channels, settings.trend_degree))
        parts += [Seasons(settings.latent_dim, length, channels, season) for season in settings.seasons]
        self.parts = nn.ModuleList([*parts, Residual(length, channels, settings)])

    def forward(self, latent_BZ: Tensor) -> Tensor:
        return sum(part(latent_BZ) for part in self.parts)  # type: ignore[return-value]


class Autoencoder(EncoderDecoder):
    """Series, mask (B, L, C) each, noise (B, Z) -> reconstruction, mean, log-variance; series in [0, 1]."""

    def __init__(self, length: int, channels: int, settings: config.TimeVae) -> None:
        super().__init__(Encoder(length, channels, settings), Decoder(length, channels, settings))
        self.noise_dim = settings.latent_dim


class Sampler(nn.Module):
    """The decoder on latents of the prior: (B, Z), (B, K) -> (B, L, C) on the scale of [-1, 1]."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.decoder, self.noise_dim = autoencoder.decoder, autoencoder.noise_dim

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        return 2 * self.decoder(noise_BZ) - 1


def join_sampler(networks: dict[str, nn.Module]) -> Sampler:
    return Sampler(networks["generator"])  # type: ignore[arg-type]


def build(
    settings: config.TimeVae, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Return encoder and decoder as `generator`, for series of `length` steps; there is no discriminator."""
    return {"generator": Autoencoder(length, channels, settings)}


class Game(Adversarial):
    """No game: E [w (Σ (x - x̂)² + Σ_t (mean over channels of x - x̂)²) + KL] of a series, over measured
    readings, on the scale of [0, 1], w = `reconstruction_weight`.
    """

    scalars: Sequence[str] = ("loss", "error", "kl")

    def schedule(self) -> list[Phase]:
        return [Phase("vae", "generator", self.bound_loss)]

    def bound_loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.compute_owner_loss(self.networks["generator"], batch.step, *self.make_inputs(batch))

    def make_inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return series in [0, 1], masks and the noise of latents: (B, L, C) twice, (B, Z)."""
        return (batch.series + 1) / 2, batch.mask, self.draw_noise(batch, "latent noise")

    def compute_owner_loss(self, network: Network, step: int, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the mean loss of the series that are given, those of one owner or of all."""
        series_BLC, mask_BLC, noise_BZ = inputs
        given = series_BLC.to(self.dtype), mask_BLC.to(self.dtype), noise_BZ
        reconstruction_BLC, mean_BZ, logvar_BZ = network(*given)
        error_BLC = (reconstruction_BLC.float() - series_BLC) * mask_BLC
        mean_error_BL = error_BLC.sum(2) / mask_BLC.sum(2).clamp(min=1)
        error_B = error_BLC.square().sum((1, 2)) + mean_error_BL.square().sum(1)
        kl_B = 0.5 * (mean_BZ.square() + logvar_BZ.exp() - 1 - logvar_BZ).sum(1)
        loss = (self.family.reconstruction_weight * error_B + kl_B).mean()
        return {"loss": loss, "error": error_B.mean().detach(), "kl": kl_B.mean().detach()}


OwnerGame = Game  # its loss is of each series by itself
