"""Differentiable features of whole series, and the energy distance of their distributions.

A discriminator hardly penalises a wrong distribution, over homes, of figures such as base load, texture and
recurrence of weeks. These features measure them directly. Each family of them is a point for
each series; generated and real points are compared by their energy distance (Székely and Rizzo 2013), which
is 0 only if both have one distribution. All are functions of one series, float32.

Shapes: B series, W series of all processes, L steps, C channels, N = B·C single channels, F features, Q
quantiles, A numbers that are given, S frequencies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)  # of readings
DAILY_LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)  # of a figure of days, over the days
CHANGES = (0.03, 0.1, 0.3, 1.0, 2.0)  # sizes of differences, in the root mean square of readings
BANDS = 24  # of the spectrum, evenly spaced in log frequency
LINES = 6  # multiples of a day's and of a week's frequency
SEGMENTS = 26  # of the whole record: fortnights, for a year
WEEKS = 6  # longest lag of the recurrence of weeks
LIKE_DAYS = 7  # longest lag of the recurrence of days
SOFTNESS = 0.3  # width of a threshold, in the root mean square of what it divides
SMALL = 1e-6
LEAST_DEVIATION = 0.01  # of a family's largest: what hardly varies over real series weighs no more
RIDGE = 0.1  # added to each principal variance of the correlation of features, so that none counts too much


def measure_features(
    series_BLC: Tensor, relative_BLC: Tensor, given_BA: Tensor, steps_per_day: int
) -> list[Tensor]:
    """Return the families of features of each series: (B, L, C) -> tensors (B, F), one a family.

    Args:
        relative_BLC: the series with their location, in units of their root mean square: a base load is low
            or high there, and not in a series of mean 0.
        given_BA: numbers that belong to a series, as location and scale do; they stand in every family, so
            that the distance includes how features depend on them.
    """
    x_NL, y_NL = (each.float().transpose(1, 2).flatten(0, 1) for each in (series_BLC, relative_BLC))
    length, week = x_NL.shape[1], 7 * steps_per_day
    lags = [lag for lag in find_lags(steps_per_day) if lag < length // 2] or [1]
    families = [
        find_quantiles(x_NL, LEVELS),
        find_quantiles(y_NL, LEVELS),
        torch.cat([measure_changes(x_NL, lag) for lag in lags], dim=1),
        measure_spectrum(x_NL, steps_per_day),
        average_segments(x_NL),
    ]
    if length >= 2 * week:
        families += [average_periods(x_NL, week), measure_recurrence(x_NL, steps_per_day)]
        if steps_per_day > 1:
            families.append(describe_days(y_NL, steps_per_day))
    own = (family.unflatten(0, (len(series_BLC), -1)).flatten(1) for family in families)
    return [torch.cat([family, given_BA.float()], dim=1) for family in own]


def find_lags(steps_per_day: int) -> list[int]:
    """Return the lags, in steps, of differences and of kernels: short ones, a day and a week."""
    return sorted({1, 2, steps_per_day, 7 * steps_per_day})


def find_quantiles(x_NL: Tensor, levels: Sequence[float]) -> Tensor:
    """Return quantiles of each row by its sorted values: (N, L) -> (N, Q)."""
    ordered = x_NL.sort(dim=1).values
    places = torch.tensor([min(int(level * x_NL.shape[1]), x_NL.shape[1] - 1) for level in levels])
    return ordered[:, places.to(x_NL.device, non_blocking=True)]


def measure_changes(x_NL: Tensor, lag: int) -> Tensor:
    """Return E min(|x_t - x_(t-lag)| / τ, 1) for some sizes τ, and how often a change goes on in its
    direction, softly: (N, L) -> (N, F).
    """
    change_NL = x_NL[:, lag:] - x_NL[:, :-lag]
    relative_NL = change_NL.abs() / compute_root_mean_square(x_NL)
    shares = [(relative_NL / size).clamp(max=1).mean(1) for size in CHANGES]
    sign_NL = (change_NL / compute_root_mean_square(change_NL)).clamp(-SOFTNESS, SOFTNESS) / SOFTNESS
    return torch.stack([*shares, (sign_NL[:, lag:] * sign_NL[:, :-lag]).mean(1)], dim=1)


def compute_root_mean_square(x_NL: Tensor) -> Tensor:
    """Return each row's root mean square, without a gradient: (N, L) -> (N, 1)."""
    return x_NL.detach().square().mean(1, keepdim=True).add(SMALL**2).sqrt()


def measure_spectrum(x_NL: Tensor, steps_per_day: int) -> Tensor:
    """Return log mean power in bands, and at the lines of day and week: (N, L) -> (N, F)."""
    weights_SF = weigh_frequencies(x_NL.shape[1], steps_per_day, x_NL.device)
    spectrum_NS = torch.fft.rfft(x_NL - x_NL.mean(1, keepdim=True), dim=1)[:, 1:]
    power_NS = (spectrum_NS.real.square() + spectrum_NS.imag.square()) / x_NL.shape[1]
    return (power_NS @ weights_SF + SMALL).log()


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # they may be kept for training
def weigh_frequencies(length: int, steps_per_day: int, device: torch.device) -> Tensor:
    """Return the weights of frequencies 1 … L/2 cycles a record in the mean of each band or line: (S, F)."""
    frequency = np.arange(1, length // 2 + 1)
    groups = (np.log(frequency) / max(np.log(frequency[-1]), SMALL) * BANDS).astype(int).clip(max=BANDS - 1)
    periods = [period / k for period in (7 * steps_per_day, steps_per_day) for k in range(1, LINES + 1)]
    for number, period in enumerate(periods):
        place = round(length / period)
        if 2 <= place <= length // 2 and period > 2:
            groups[place - 1] = BANDS + number
    inside = groups[:, None] == np.unique(groups)
    return torch.from_numpy((inside / inside.sum(0)).astype(np.float32)).to(device)


def average_segments(x_NL: Tensor) -> Tensor:
    """Return the means of consecutive parts of the record: (N, L) -> (N, SEGMENTS) or fewer."""
    return F.adaptive_avg_pool1d(x_NL[:, None], min(SEGMENTS, x_NL.shape[1]))[:, 0]


def average_periods(x_NL: Tensor, period: int) -> Tensor:
    """Return the mean curve of a period, over all whole ones: (N, L) -> (N, period)."""
    whole = x_NL.shape[1] // period
    return x_NL[:, : whole * period].unflatten(1, (whole, period)).mean(1)


def measure_recurrence(x_NL: Tensor, steps_per_day: int) -> Tensor:
    """Return the autocorrelation of what a mean week leaves, over whole weeks: (N, L) -> (N, F).

    Lags are those within a day, around each of `LIKE_DAYS` days, and of up to `WEEKS` weeks.
    """
    week = 7 * steps_per_day
    whole = x_NL.shape[1] // week
    folded = x_NL[:, : whole * week].unflatten(1, (whole, week))
    rest_NM = (folded - folded.mean(1, keepdim=True)).flatten(1)
    rest_NM = rest_NM / (rest_NM.square().mean(1, keepdim=True) + SMALL).sqrt()
    spectrum = torch.fft.rfft(rest_NM, n=2 * rest_NM.shape[1], dim=1)
    power = spectrum.real.square() + spectrum.imag.square()
    correlation_NM = torch.fft.irfft(power, n=2 * rest_NM.shape[1], dim=1) / rest_NM.shape[1]
    lags = torch.tensor(find_recurrence_lags(steps_per_day, rest_NM.shape[1]))
    return correlation_NM[:, lags.to(x_NL.device, non_blocking=True)]


def find_recurrence_lags(steps_per_day: int, length: int) -> list[int]:
    """Return the lags of `measure_recurrence`, in steps, that are less than `length`."""
    lags = set(range(1, steps_per_day + 1))
    lags |= {day * steps_per_day + side for day in range(1, LIKE_DAYS + 1) for side in (-1, 0, 1)}
    lags |= {7 * week * steps_per_day for week in range(1, WEEKS + 1)}
    return sorted(lag for lag in lags if 0 < lag < length)


def describe_days(x_NL: Tensor, steps_per_day: int) -> Tensor:
    """Return how totals, least and largest readings and deviations of days are distributed over the days, and
    how much each changes to the next day and week: (N, L) -> (N, F).
    """
    days = x_NL.shape[1] // steps_per_day
    folded = x_NL[:, : days * steps_per_day].unflatten(1, (days, steps_per_day))
    deviation = (folded.var(2, correction=0) + SMALL).sqrt()
    found = []
    for figure_ND in (folded.mean(2), folded.amin(2), folded.amax(2), deviation):
        changes = [(figure_ND[:, lag:] - figure_ND[:, :-lag]).abs().mean(1, keepdim=True) for lag in (1, 7)]
        found += [find_quantiles(figure_ND, DAILY_LEVELS), *changes]
    return torch.cat(found, dim=1)


@dataclass(frozen=True)
class Whitening:
    """Linear maps of families of features to coordinates of about unit variance over real series.

    Without it the largest features would decide; with it a small one counts that two others determine, such
    as a base load given location and scale.

    Attributes:
        means: of each family, (F,).
        maps: of each family, (F, F).
    """

    means: tuple[Tensor, ...]
    maps: tuple[Tensor, ...]

    @classmethod
    def fit(cls, families: Sequence[Tensor]) -> "Whitening":
        """Learn from real series: (n, F) each."""
        means, maps = [], []
        for family in families:
            mean = family.double().mean(0)
            centred = family.double() - mean
            deviation = centred.square().mean(0).sqrt()
            deviation = deviation.clamp(min=max(SMALL, LEAST_DEVIATION * deviation.max().item()))
            scaled = centred / deviation
            variances, directions = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
            rotation = directions / (variances.clamp(min=0) + RIDGE).sqrt()
            means.append(mean.float())
            maps.append((rotation / deviation[:, None]).float())
        return cls(tuple(means), tuple(maps))

    def to(self, device: torch.device) -> "Whitening":
        """Return the maps on a device."""
        return Whitening(*(tuple(each.to(device) for each in part) for part in (self.means, self.maps)))

    def apply(self, families: Sequence[Tensor]) -> list[Tensor]:
        """Return the coordinates of each family: (B, F) each."""
        parts = zip(families, self.means, self.maps, strict=True)
        return [(family - mean) @ each for family, mean, each in parts]


def compute_energy_distance(
    fake: Sequence[Tensor], real: Sequence[Tensor], gather: Callable[[Tensor], Tensor], places: Tensor
) -> Tensor:
    """Return the mean over families of 2 E d(x̂, x) - E d(x̂, x̂') - E d(x, x'), a scalar, with the distance
    d(x, y) = ‖x - y‖₂ / √F + ‖x - y‖₁ / F.

    The first part depends on how features go together, the second on the spread of each of them, which is
    little among many. The last two means are over pairs of different series of the global batch, so that the
    estimate is unbiased; it may be negative. The mean of the processes' values, and of their gradients, is
    that of the global batch.

    Args:
        fake, real: features of this process's series, (B, F) each.
        gather: rows of this process (B, ·) to those of all processes (W, ·), without a gradient.
        places: where this process's rows stand among all, (B,) int64.
    """
    distances, sizes = [], [family.shape[1] for family in (*fake, *real)]
    gathered = gather(torch.cat([*fake, *real], dim=1).detach()).split(sizes, dim=1)  # at once: one message
    others, reals = gathered[: len(fake)], gathered[len(fake) :]
    for fake_BF, real_BF, others_WF, real_WF in zip(fake, real, others, reals, strict=True):
        unlike_BW = torch.ones(len(fake_BF), len(real_WF), device=fake_BF.device)
        unlike_BW.scatter_(1, places[:, None], 0.0)
        unlike_BW /= len(fake_BF) * max(len(real_WF) - 1, 1)
        across = _find_distances(fake_BF, real_WF).mean()
        within = (_find_distances(fake_BF, others_WF) * unlike_BW).sum()
        rest = (_find_distances(real_BF, real_WF) * unlike_BW).sum()
        both = 2 * within - within.detach()  # either series of a pair is moved, and counts once
        distances.append(2 * across - both - rest)
    return torch.stack(distances).mean()


def _find_distances(one_BF: Tensor, other_WF: Tensor) -> Tensor:
    """Return distances, exact for near points: (B, F), (W, F) -> (B, W)."""
    whole_BW = torch.cdist(one_BF, other_WF, compute_mode="donot_use_mm_for_euclid_dist")
    each_BW = torch.cdist(one_BF, other_WF, p=1.0)
    return whole_BW / one_BF.shape[1] ** 0.5 + each_BW / one_BF.shape[1]
