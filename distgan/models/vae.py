"""The VAE that embeds series: encoder and decoder.

Shapes: B series, L steps, C channels, N tokens, D width, Z latent.
"""

import math

import torch
from torch import Tensor, nn

from distgan import config
from distgan.models.layers import (
    Linear,
    PatchEmbedding,
    PatchHead,
    RMSNorm,
    Transformer,
    make_positions,
    pad_to,
)


class Encoder(nn.Module):
    """(B, L, C), (B, L, C) -> mean and log-variance, each (B, Z). The mask is 1 where readings were measured;
    tokens are weighted by their measured share.
    """

    def __init__(self, length: int, channels: int, settings: config.Encoder) -> None:
        super().__init__()
        self.patch = settings.patch
        self.embed = PatchEmbedding(2 * channels, settings.patch, settings.width)
        self.position = make_positions(math.ceil(length / settings.patch), settings.width)
        self.transformer = Transformer(settings.width, settings.depth, settings.heads)
        self.norm = RMSNorm(settings.width)
        self.out = Linear(settings.width, 2 * settings.latent_dim)

    def forward(self, series_BLC: Tensor, mask_BLC: Tensor) -> tuple[Tensor, Tensor]:
        tokens_BND = self.embed(torch.cat([series_BLC * mask_BLC, mask_BLC], dim=2))
        tokens_BND = self.transformer(tokens_BND + self.position.to(tokens_BND.dtype))
        measured_BN = pad_to(mask_BLC, self.patch).unflatten(1, (-1, self.patch)).mean((2, 3))
        weights_BN = measured_BN / measured_BN.sum(1, keepdim=True).clamp(min=1e-3)
        pooled_BD = (self.norm(tokens_BND) * weights_BN[:, :, None]).sum(1)
        mean_BZ, logvar_BZ = self.out(pooled_BD).float().chunk(2, dim=1)
        return mean_BZ, logvar_BZ.clamp(-12, 4)


class Decoder(nn.Module):
    """(B, Z) -> (B, L, C)."""

    def __init__(self, length: int, channels: int, settings: config.Encoder) -> None:
        super().__init__()
        self.lift = Linear(settings.latent_dim, settings.width)
        self.position = make_positions(math.ceil(length / settings.patch), settings.width)
        self.transformer = Transformer(
            settings.width, settings.decoder_depth, settings.heads, style_dim=settings.latent_dim
        )
        self.head = PatchHead(settings.width, length, channels, settings.patch)

    def forward(self, latent_BZ: Tensor) -> Tensor:
        tokens_BND = self.lift(latent_BZ)[:, None] + self.position.to(latent_BZ.dtype)
        return torch.tanh(self.head(self.transformer(tokens_BND, latent_BZ)))


class EncoderDecoder(nn.Module):
    """Encoder and decoder as one network: series, mask (B, L, C) each, noise (B, Z) -> reconstruction from a
    latent that is drawn with the noise, its mean and its log-variance.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(
        self, series_BLC: Tensor, mask_BLC: Tensor, noise_BZ: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean_BZ, logvar_BZ = self.encoder(series_BLC, mask_BLC)
        latent_BZ = mean_BZ + (0.5 * logvar_BZ).exp() * noise_BZ
        return self.decoder(latent_BZ.to(series_BLC.dtype)), mean_BZ, logvar_BZ


class VAE(EncoderDecoder):
    """The network of the stage `encoder`."""

    encoder: Encoder

    def __init__(self, length: int, channels: int, settings: config.Encoder) -> None:
        super().__init__(Encoder(length, channels, settings), Decoder(length, channels, settings))
