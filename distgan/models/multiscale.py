"""The multi-scale conditional transformer GAN: the default model.

A series is an image of height 1, cut into patches (a patch of 24 hours is a day). The generator transforms
the tokens in parallel branches (by default at full, half and quarter resolution), sums the branches, and maps
each token to location, scale and skewness of its readings. The noise of readings is stationary; its spectrum
and the soft minimum of the readings are functions of the style. The discriminator has branches over the
tokens, and side networks over the series folded by day and week, over its spectrogram, and over a summary of
the whole.

Shapes: B series, L steps, C channels, R = 3C, N tokens, D width, Z noise, T noise of all tokens, E noise of
all readings (fine_BE: of all finer tokens), K condition, S style, H logits.
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
    pool,
    upsample,
)
from distgan.models.readings import ColouredNoise, SlowNoise, SoftMinimum
from distgan.models.refinement import Refinement
from distgan.models.side_discriminators import (
    TAPS,
    PictureDiscriminator,
    RandomKernels,
    SummaryDiscriminator,
    compute_spectrogram,
    fold_periods,
)


class Branch(nn.Module):
    """One scale: pool, add its own positions, transform: (B, N, D), (B, S) -> (B, ⌈N/ratio⌉, D)."""

    def __init__(self, tokens: int, width: int, scale: config.Scale, style_dim: int = 0) -> None:
        super().__init__()
        self.ratio = scale.ratio
        self.position = make_positions(math.ceil(tokens / scale.ratio), width)
        self.transformer = Transformer(width, scale.depth, scale.heads, style_dim)

    def forward(self, tokens_BND: Tensor, style_BS: Tensor | None = None) -> Tensor:
        pooled = pool(tokens_BND, self.ratio)
        return self.transformer(pooled + self.position.to(pooled.dtype), style_BS)


class Generator(nn.Module):
    """(B, noise_dim), (B, K) -> (B, L, C) in [-1, 1].

    The noise is one vector for the series, a few numbers for each token, one for each reading, and with
    `refinement` a few for each finer token, in this order.
    """

    def __init__(
        self, length: int, channels: int, condition_dim: int, patch: int, settings: config.Generator
    ) -> None:
        super().__init__()
        width, tokens = settings.width, math.ceil(length / patch)
        self.token_shape, self.shape = (tokens, settings.token_noise_dim), (length, channels)
        fine, patch_width = settings.refinement, width
        self.parts = [settings.noise_dim, tokens * settings.token_noise_dim, length * channels]
        self.refinement = Refinement(tokens, width, width, fine) if fine.ratio > 1 else None
        if self.refinement is not None:
            patch, patch_width = patch // fine.ratio, fine.width
            self.parts.append(tokens * fine.ratio * fine.noise_dim)
        self.noise_dim = sum(self.parts)
        self.mapping = nn.Sequential(
            Linear(settings.noise_dim + condition_dim, width), nn.SiLU(), Linear(width, width), nn.SiLU()
        )
        self.lift = Linear(width, width)
        self.token_noise = (
            Linear(settings.token_noise_dim, width, bias=False) if settings.token_noise_dim else None
        )
        self.slow = SlowNoise(settings.token_noise_dim, settings.token_noise_scales)
        self.position = make_positions(tokens, width)
        self.branches = nn.ModuleList(Branch(tokens, width, scale, width) for scale in settings.scales)
        self.weights = nn.Parameter(torch.full((len(settings.scales),), 1 / len(settings.scales)))
        self.head = PatchHead(patch_width, length, 3 * channels, patch)
        lags = [lag for lag in settings.noise_lags if lag <= length // 2]
        self.colour = ColouredNoise(channels, lags, width) if lags else None
        self.minimum = SoftMinimum(channels, width) if settings.soft_minimum else None

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        whole_BZ, token_BT, reading_BE, *fine_BE = noise_BZ.split(self.parts, dim=1)
        style_BS = self.mapping(torch.cat([whole_BZ, condition_BK], dim=1))
        tokens_BND = self.lift(style_BS)[:, None] + self.position.to(noise_BZ.dtype)
        if self.token_noise is not None:
            tokens_BND = tokens_BND + self.token_noise(self.slow(token_BT.unflatten(1, self.token_shape)))
        n = tokens_BND.shape[1]
        scales = [upsample(branch(tokens_BND, style_BS), n) for branch in self.branches]
        merged_BND = sum(weight.to(noise_BZ.dtype) * view for weight, view in zip(self.weights, scales))
        if self.refinement is not None:
            merged_BND = self.refinement(merged_BND, *fine_BE, style_BS)
        reading_BLC = reading_BE.unflatten(1, self.shape)
        if self.colour is not None:
            reading_BLC = self.colour(reading_BLC, style_BS)
        series_BLC = sample_readings(self.head(merged_BND), reading_BLC)
        if self.minimum is not None:
            series_BLC = self.minimum(series_BLC, style_BS)
        return torch.tanh(series_BLC)


def sample_readings(moments_BLR: Tensor, noise_BLC: Tensor) -> Tensor:
    """Return the Hermite series of order 2 in each reading's own noise: location, scale and skewness (B, L,
    R), noise (B, L, C) -> (B, L, C).

    Without this noise a token's few numbers determine all of its readings, which are then more dependent than
    real ones.
    """
    location_BLC, scale_BLC, skewness_BLC = moments_BLR.chunk(3, dim=2)
    return location_BLC + scale_BLC * noise_BLC + skewness_BLC * (noise_BLC.square() - 1) / 2**0.5


class ProjectionHead(nn.Module):
    """A linear logit plus the projection on the condition (Miyato & Koyama 2018): (B, D), (B, K) -> (B,)."""

    def __init__(self, width: int, condition_dim: int) -> None:
        super().__init__()
        self.linear = Linear(width, 1)
        self.project = Linear(condition_dim, width, bias=False)

    def forward(self, features_BD: Tensor, condition_BK: Tensor) -> Tensor:
        projection_B = (features_BD * self.project(condition_BK)).mean(1)
        return self.linear(features_BD)[:, 0] + projection_B


class Discriminator(nn.Module):
    """(B, L, C), (B, K) -> logits (B, H): one for each branch, folded picture and spectrogram, and one for
    the summary.
    """

    def __init__(
        self, length: int, channels: int, condition_dim: int, patch: int, settings: config.Discriminator
    ) -> None:
        super().__init__()
        width, tokens = settings.width, math.ceil(length / patch)
        self.embed = PatchEmbedding(channels, patch, width)
        self.branches = nn.ModuleList(Branch(tokens, width, scale) for scale in settings.scales)
        self.norms = nn.ModuleList(RMSNorm(width) for _ in settings.scales)
        self.periods = [period for period in settings.periods if period <= length // 2]
        self.windows = [window for window in settings.spectra if window <= length]
        sizes = [(math.ceil(length / period), period) for period in self.periods]
        sizes += [(window // 2 + 1, length // (window // 4) + 1) for window in self.windows]
        if settings.picture_positions:
            pictures = [
                PictureDiscriminator(channels, settings.side_channels, size, condition_dim) for size in sizes
            ]
        else:
            pictures = [PictureDiscriminator(channels, settings.side_channels) for _ in sizes]
        self.side_networks = nn.ModuleList(pictures)
        widths = [width] * len(self.branches) + [4 * settings.side_channels] * len(sizes)
        self.summary = None
        if settings.random_kernels and length >= TAPS:
            kernels = RandomKernels(
                length, channels, settings.random_kernels, max(settings.periods, default=1)
            )
            self.summary = SummaryDiscriminator(kernels, channels, condition_dim, width)
            widths.append(width)
        self.verdicts = nn.ModuleList(ProjectionHead(features, condition_dim) for features in widths)

    def forward(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        tokens_BND = self.embed(series_BLC)
        features = [norm(branch(tokens_BND)).mean(1) for norm, branch in zip(self.norms, self.branches)]
        pictures = [fold_periods(series_BLC, period) for period in self.periods]
        pictures += [compute_spectrogram(series_BLC, window) for window in self.windows]
        features += [side(picture, condition_BK) for side, picture in zip(self.side_networks, pictures)]
        if self.summary is not None:
            features.append(self.summary(series_BLC, condition_BK))
        logits = [head(f, condition_BK) for head, f in zip(self.verdicts, features)]
        return torch.stack(logits, dim=1).float()


def build(
    settings: config.Multiscale, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Return the generator and the discriminator for series of `length` steps."""
    return build_networks(settings, length, channels, condition_dim)


def build_networks(
    settings: config.MultiscaleNetworks, length: int, channels: int, condition_dim: int
) -> dict[str, nn.Module]:
    shape = length, channels, condition_dim, settings.patch
    return {
        "generator": Generator(*shape, settings.generator),
        "discriminator": Discriminator(*shape, settings.discriminator),
    }
