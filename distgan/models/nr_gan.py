"""NR-GAN (ICBSP 2019, doi 10.1145/3366174.3366186): a denoiser learned from noisy and clean series, no pairs.

    series ─ frames ─ Fourier ─ 2 convolutions over frequencies ─ Linear ─ gain, correction
                         └───────────────────────────────────────────── x ─── + ─ inverse Fourier ─ series
    series ─ frames ─ Fourier ─ 2 convolutions over frequencies ─ Linear ─ a logit for each frame

As in the paper: both networks work in the frequency domain, each two one-dimensional convolutions and a fully
connected layer. The discriminator's softmax of two classes is the sigmoid of one logit. Ours: frames under a
root-Hann window that overlap by half and add up to the series, so that any length can be filtered; beside
real and imaginary parts the networks see the logarithm of the size, in which noise between harmonics shows;
the filter's linear layer gives each frequency a gain and a correction, both small at first; channels
are filtered one by one with the same weights; a series' own level passes by the filter; and the discriminator
looks at series of mean 0 and unit power, so that only shape can betray the noise. The authors published no
code.

Shapes: B series, L steps, C channels, N frames (of all B·C), W steps of a frame, F = W/2 + 1, H features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distgan import config
from distgan.models.layers import Conv1d, Linear

SLOPE = 0.2


def spectra(series_BLC: Tensor, frame: int) -> Tensor:
    """Root-Hann frames, half a frame apart and half a frame beyond both ends: (B, L, C) -> (N, 2, F), real
    and imaginary parts, float32.
    """
    hop = frame // 2
    signal = series_BLC.float().transpose(1, 2).flatten(0, 1)
    padded = F.pad(signal, (hop, hop + -signal.shape[1] % hop))
    frames_NW = padded.unfold(1, frame, hop).flatten(0, 1) * window(frame, signal.device)
    return torch.view_as_real(torch.fft.rfft(frames_NW, norm="ortho")).transpose(1, 2)


def series(spectra_N2F: Tensor, shape: tuple[int, int, int], frame: int) -> Tensor:
    """The inverse: (N, 2, F) -> (B, L, C). Squared windows half a frame apart sum to 1."""
    batch, length, channels = shape
    hop = frame // 2
    complex_NF = torch.view_as_complex(spectra_N2F.transpose(1, 2).contiguous())
    frames_NW = torch.fft.irfft(complex_NF, n=frame, norm="ortho") * window(frame, spectra_N2F.device)
    first, second = frames_NW.unflatten(0, (batch * channels, -1)).split(hop, dim=2)
    signal = (first[:, 1:] + second[:, :-1]).flatten(1)[:, :length]
    return signal.unflatten(0, (batch, channels)).transpose(1, 2)


def features(spectra_N2F: Tensor) -> Tensor:
    """Real and imaginary parts, and ⅓ ln(size + 10⁻²): (N, 2, F) -> (N, 3, F)."""
    size_N1F = spectra_N2F.square().sum(1, keepdim=True).add(1e-12).sqrt()
    return torch.cat([spectra_N2F, (size_N1F + 1e-2).log() / 3], dim=1)


def window(frame: int, device: torch.device) -> Tensor:
    return torch.hann_window(frame, device=device).sqrt()


def even(frame: int, length: int) -> int:
    """The frame, or the longest even one that the series have room for."""
    return min(frame, length) // 2 * 2


class Body(nn.Module):
    """Two convolutions over frequencies and a linear layer: (N, 3, F) -> (N, outputs)."""

    def __init__(self, frame: int, outputs: int, settings: config.NrGan) -> None:
        super().__init__()
        width, kernel = settings.width, settings.kernel
        self.first = Conv1d(3, width, kernel, padding="same")
        self.second = Conv1d(width, width, kernel, padding="same")
        self.out = Linear(width * (frame // 2 + 1), outputs)

    def forward(self, features_N3F: Tensor) -> Tensor:
        hidden_NHF = F.leaky_relu(self.first(features_N3F), SLOPE)
        return self.out(F.leaky_relu(self.second(hidden_NHF), SLOPE).flatten(1))


class Generator(nn.Module):
    """Noisy to filtered series of any length: (B, L, C) -> (B, L, C)."""

    noise_dim = 0

    def __init__(self, length: int, settings: config.NrGan) -> None:
        super().__init__()
        self.frame = even(settings.frame, length)
        self.body = Body(self.frame, 3 * (self.frame // 2 + 1), settings)
        nn.init.normal_(self.body.out.weight, std=1e-3)

    def forward(self, series_BLC: Tensor) -> Tensor:
        level_B1C = series_BLC.float().mean(1, keepdim=True)
        noisy_N2F = spectra(series_BLC.float() - level_B1C, self.frame)
        told_N3F = self.body(features(noisy_N2F).to(series_BLC.dtype)).unflatten(1, (3, -1)).float()
        gain_N1F, correction_N2F = told_N3F.split([1, 2], dim=1)
        b, length, c = series_BLC.shape
        filtered_N2F = noisy_N2F * (1 + gain_N1F) + correction_N2F
        return (level_B1C + series(filtered_N2F, (b, length, c), self.frame)).to(series_BLC.dtype)


class Discriminator(nn.Module):
    """(B, L, C) -> logits (B, C·frames): whether each frame is of a clean series."""

    def __init__(self, length: int, settings: config.NrGan) -> None:
        super().__init__()
        self.frame = even(settings.frame, length)
        self.body = Body(self.frame, 1, settings)

    def forward(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        centred_BLC = series_BLC.float() - series_BLC.float().mean(1, keepdim=True)
        even_BLC = centred_BLC * torch.rsqrt(centred_BLC.square().mean(1, keepdim=True) + 1e-6)
        logits_N1 = self.body(features(spectra(even_BLC, self.frame)).to(series_BLC.dtype))
        return logits_N1.reshape(len(series_BLC), -1).float()


def build(
    settings: config.NrGan, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """The filter (`generator`) and the discriminator; `length` bounds the frame alone."""
    return {"generator": Generator(length, settings), "discriminator": Discriminator(length, settings)}
