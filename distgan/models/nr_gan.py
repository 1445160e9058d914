"""NR-GAN (ICBSP 2019, doi 10.1145/3366174.3366186): a denoiser learned from noisy and clean series, no pairs.

    series ─ frames ─ Fourier ─ 2 convolutions over frequencies ─ Linear ─ gain, correction
                         └───────────────────────────────────────────── x ─── + ─ inverse Fourier ─ series
    series ─ frames ─ Fourier ─ 2 convolutions over frequencies ─ Linear ─ a logit for each frame

As in the paper: both networks work in the frequency domain, each two one-dimensional convolutions and a fully
connected layer. The discriminator's softmax of two classes is the sigmoid of one logit. Ours: frames under a
root-Hann window that overlap by half and add up to the series, so that any length can be filtered; beside
real and imaginary parts the networks see the logarithm of the size, in which noise between harmonics shows;
the filter's linear layer gives each frequency a gain and a correction, both small at first; channels
are filtered one by one with the same weights; a series' own mean does not enter the filter; and the input of
the discriminator is series of mean 0 and unit power, so that it can recognise noise by shape alone. The
authors published no code.

Shapes: B series, L steps, C channels, N frames (of all B·C), W steps of a frame, F = W/2 + 1, H features.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distgan import config, rng
from distgan.data.loader import Batch
from distgan.models.layers import Conv1d, Linear
from distgan.objectives.adversarial import Adversarial
from distgan.objectives.losses import average_masked

SLOPE = 0.2


def compute_spectra(series_BLC: Tensor, frame: int) -> Tensor:
    """Return the spectra of root-Hann frames, half a frame apart and half a frame beyond both ends: (B, L, C)
    -> (N, 2, F), real and imaginary parts, float32.
    """
    hop = frame // 2
    signal = series_BLC.float().transpose(1, 2).flatten(0, 1)
    padded = F.pad(signal, (hop, hop + -signal.shape[1] % hop))
    frames_NW = padded.unfold(1, frame, hop).flatten(0, 1) * make_window(frame, signal.device)
    return torch.view_as_real(torch.fft.rfft(frames_NW, norm="ortho")).transpose(1, 2)


def invert_spectra(spectra_N2F: Tensor, shape: tuple[int, int, int], frame: int) -> Tensor:
    """Return the inverse: (N, 2, F) -> (B, L, C). Squared windows half a frame apart sum to 1."""
    batch, length, channels = shape
    hop = frame // 2
    complex_NF = torch.view_as_complex(spectra_N2F.transpose(1, 2).contiguous())
    frames_NW = torch.fft.irfft(complex_NF, n=frame, norm="ortho") * make_window(frame, spectra_N2F.device)
    first, second = frames_NW.unflatten(0, (batch * channels, -1)).split(hop, dim=2)
    signal = (first[:, 1:] + second[:, :-1]).flatten(1)[:, :length]
    return signal.unflatten(0, (batch, channels)).transpose(1, 2)


def compute_features(spectra_N2F: Tensor) -> Tensor:
    """Return real and imaginary parts, and ⅓ ln(size + 10⁻²): (N, 2, F) -> (N, 3, F)."""
    size_N1F = spectra_N2F.square().sum(1, keepdim=True).add(1e-12).sqrt()
    return torch.cat([spectra_N2F, (size_N1F + 1e-2).log() / 3], dim=1)


def make_window(frame: int, device: torch.device) -> Tensor:
    return torch.hann_window(frame, device=device).sqrt()


def choose_frame(frame: int, length: int) -> int:
    """Return the frame, or the longest even one that the series have room for."""
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
        self.frame = choose_frame(settings.frame, length)
        self.body = Body(self.frame, 3 * (self.frame // 2 + 1), settings)
        nn.init.normal_(self.body.out.weight, std=1e-3)

    def forward(self, series_BLC: Tensor) -> Tensor:
        level_B1C = series_BLC.float().mean(1, keepdim=True)
        noisy_N2F = compute_spectra(series_BLC.float() - level_B1C, self.frame)
        output_N3F = self.body(compute_features(noisy_N2F).to(series_BLC.dtype)).unflatten(1, (3, -1)).float()
        gain_N1F, correction_N2F = output_N3F.split([1, 2], dim=1)
        b, length, c = series_BLC.shape
        filtered_N2F = noisy_N2F * (1 + gain_N1F) + correction_N2F
        return (level_B1C + invert_spectra(filtered_N2F, (b, length, c), self.frame)).to(series_BLC.dtype)


class Discriminator(nn.Module):
    """(B, L, C) -> logits (B, C·frames): whether each frame is of a clean series."""

    def __init__(self, length: int, settings: config.NrGan) -> None:
        super().__init__()
        self.frame = choose_frame(settings.frame, length)
        self.body = Body(self.frame, 1, settings)

    def forward(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        centred_BLC = series_BLC.float() - series_BLC.float().mean(1, keepdim=True)
        even_BLC = centred_BLC * torch.rsqrt(centred_BLC.square().mean(1, keepdim=True) + 1e-6)
        logits_N1 = self.body(compute_features(compute_spectra(even_BLC, self.frame)).to(series_BLC.dtype))
        return logits_N1.reshape(len(series_BLC), -1).float()


def build(
    settings: config.NrGan, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Return the filter (`generator`) and the discriminator; `length` bounds the frame alone."""
    return {"generator": Generator(length, settings), "discriminator": Discriminator(length, settings)}


class Game(Adversarial):
    """The discriminator tells clean series x from filtered ones G(y).

    discriminator  E_x softplus(-D(x)) + E_y softplus(D(G(y)))
    generator      E_y softplus(-D(G(y))) + content E_y|G(y) - y| + identity E_x|G(x) - x|
                   + recombined E|G(g(x + a n)) - g x|, n = y - G(y)

    The first three are the paper's kind; the last is ours: the noise n that was taken off one series is put
    on a clean one, which gives a pair to learn from although the data has none. a is drawn from -1.5 to 1.5,
    so that the filter learns noise of any amplitude, and the part of n that is signal is learned as noise of
    either sign; g brings the sum into the range that scaling would have given it. The condition of a batch is
    1 for a clean series and 0 for a noisy one. Pairs of both are formed within a process's part of the batch.
    """

    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the "loss": real clean series against filtered noisy ones."""
        condition_BK = self.condition(batch)
        penalised = self.count_penalised(batch)
        with torch.no_grad():
            filtered_BLC = self.filter_series(batch.series) * batch.mask
        real, fake = self.judge(torch.cat([batch.series, filtered_BLC]), torch.cat([condition_BK] * 2)).chunk(
            2
        )
        of_clean, of_noisy = (
            self.average_over(batch, self.mark_clean),
            self.average_over(batch, self.mark_noisy),
        )
        loss = of_clean(F.softplus(-real).mean(1)) + of_noisy(F.softplus(fake).mean(1))
        shown = {
            "d": loss.detach(),
            "real": of_clean(real.detach().mean(1)),
            "fake": of_noisy(fake.detach().mean(1)),
        }
        if self.settings.penalty.kind != "none":
            penalty = self.compute_penalty(batch, filtered_BLC, condition_BK, condition_BK, penalised)
            loss = loss + self.compute_penalty_weight(batch.step) * penalty
            shown["penalty"] = penalty.detach()
        return {"loss": loss, **shown}

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the filter's "loss": adversarial, content, identity and recombined terms."""
        filtered_BLC = self.filter_series(batch.series) * batch.mask
        change_BLC = (filtered_BLC - batch.series).abs()
        verdict_B = F.softplus(-self.judge(filtered_BLC, self.condition(batch))).mean(1)
        fooled = self.average_over(batch, self.mark_noisy)(verdict_B)
        of_clean = self.average_over(batch, self.mark_clean_values)
        content = self.average_over(batch, self.mark_noisy_values)(change_BLC)
        identity = of_clean(change_BLC)
        recombined = of_clean(self.measure_recombined(batch, batch.series - filtered_BLC.detach()))
        loss = (
            fooled
            + self.family.content_weight * content
            + self.family.identity_weight * identity
            + self.family.recombined_weight * recombined
        )
        parts = {"content": content, "identity": identity, "recombined": recombined}
        return {"loss": loss, "g": fooled.detach(), **{name: part.detach() for name, part in parts.items()}}

    def mark_clean(self, batch: Batch) -> Tensor:
        """Return 1 for a clean series: (B,)."""
        return self.condition(batch)[:, 0]

    def mark_noisy(self, batch: Batch) -> Tensor:
        return 1 - self.mark_clean(batch)

    def mark_clean_values(self, batch: Batch) -> Tensor:
        """Return 1 where a clean series is measured: (B, L, C)."""
        return batch.mask * self.mark_clean(batch)[:, None, None]

    def mark_noisy_values(self, batch: Batch) -> Tensor:
        return batch.mask * self.mark_noisy(batch)[:, None, None]

    def average_over(self, batch: Batch, which: Callable[[Batch], Tensor]) -> Callable[[Tensor], Tensor]:
        """Return the mean over what `which` marks in the global batch, of which this may be a part."""
        mask = which(batch)
        count = self.across(batch.average_count(lambda part: which(part).sum()))
        return lambda x: average_masked(x, mask, count)

    def filter_series(self, series_BLC: Tensor) -> Tensor:
        """Return G(series) in float32."""
        series: Tensor = self.networks["generator"](series_BLC.to(self.dtype))
        return series.float()

    def measure_recombined(self, batch: Batch, noise_BLC: Tensor) -> Tensor:
        """Return |G(g(x + a n)) - g x| for clean series x, each with the noise of a noisy one: (B, L, C)."""
        device, clean_BLC = batch.series.device, self.mark_clean_values(batch)
        loudness_B11 = (
            3 * rng.draw_keyed_uniform(self.seed, batch.step, "loudness", batch.sample, (1, 1), device) - 1.5
        )
        noise_BLC = loudness_B11 * noise_BLC[pair_with_noisy(clean_BLC.amax((1, 2)))]
        both_BLC = (batch.series + noise_BLC) * clean_BLC
        gain_B1C = 1 / both_BLC.abs().amax(1, keepdim=True).clamp(min=1e-3)
        return (self.filter_series(gain_B1C * both_BLC) - gain_B1C * batch.series).abs()


def pair_with_noisy(clean_B: Tensor) -> Tensor:
    """Return for each series a noisy one, in turn; itself where all are clean: (B,) -> (B,) int64."""
    noisy_first_B = torch.argsort((clean_B > 0).int(), stable=True)
    count = (clean_B == 0).sum()
    turn_B = (clean_B.cumsum(0).long() - 1).clamp(min=0)
    found_B = noisy_first_B[turn_B % count.clamp(min=1)]
    return torch.where(count > 0, found_B, torch.arange(len(clean_B), device=clean_B.device))
