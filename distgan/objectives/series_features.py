"""Differentiable features of whole series, for a term that matches their moments over a batch.

A discriminator whose slope is penalised hardly sees small readings, such as a base load at night, or the
texture of neighbouring steps. These features measure both directly. All are functions of one series, float32.

Shapes: B series, L steps, C channels, N = B·C single channels, F features, Q quantiles, K kernels.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)  # of readings
CHANGES = (0.03, 0.1, 0.3, 1.0, 2.0)  # sizes of differences, in the root mean square of readings
BANDS = 24  # of the spectrum, evenly spaced in log frequency
LINES = 6  # multiples of a day's and of a week's frequency
SEGMENTS = 26  # of the whole record: fortnights, for a year
TAPS = 9  # of a kernel
KERNELS = tuple(itertools.combinations(range(TAPS), 3))[::21]  # 4 of 84: the taps that weigh 2
THRESHOLDS = (-0.4, 0.4)  # of a kernel's output, in its root mean square
SOFTNESS = 0.3  # width of a threshold, in the same unit
SMALL = 1e-6


def measure_features(series_BLC: Tensor, steps_per_day: int) -> list[Tensor]:
    """Return the families of features of each series: (B, L, C) -> tensors (B, F), one a family."""
    x_NL = series_BLC.float().transpose(1, 2).flatten(0, 1)
    lags = [lag for lag in find_lags(steps_per_day) if lag < x_NL.shape[1] // 2] or [1]
    families = [
        find_quantiles(x_NL, LEVELS),
        torch.cat([measure_changes(x_NL, lag) for lag in lags], dim=1),
        measure_spectrum(x_NL, steps_per_day),
        average_segments(x_NL),
        measure_kernels(x_NL, lags[:3]),
    ]
    week = 7 * steps_per_day
    if x_NL.shape[1] >= 2 * week:
        families.append(average_periods(x_NL, week))
    return [family.unflatten(0, (len(series_BLC), -1)).flatten(1) for family in families]


def find_lags(steps_per_day: int) -> list[int]:
    """Return the lags, in steps, of differences and of kernels: short ones, a day and a week."""
    return sorted({1, 2, steps_per_day, 7 * steps_per_day})


def find_quantiles(x_NL: Tensor, levels: Sequence[float]) -> Tensor:
    """Return quantiles of each row by its sorted values: (N, L) -> (N, Q)."""
    ordered = x_NL.sort(dim=1).values
    places = torch.tensor([min(int(level * x_NL.shape[1]), x_NL.shape[1] - 1) for level in levels])
    return ordered[:, places.to(x_NL.device)]


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
    weights = weigh_frequencies(x_NL.shape[1], steps_per_day)
    spectrum_NS = torch.fft.rfft(x_NL - x_NL.mean(1, keepdim=True), dim=1)[:, 1:]
    power_NS = (spectrum_NS.real.square() + spectrum_NS.imag.square()) / x_NL.shape[1]
    return (power_NS @ torch.from_numpy(weights).to(x_NL.device) + SMALL).log()


@lru_cache(maxsize=8)
def weigh_frequencies(length: int, steps_per_day: int) -> np.ndarray:
    """Return the weights of frequencies 1 … L/2 cycles a record in the mean of each band or line: [S, F]."""
    frequency = np.arange(1, length // 2 + 1)
    groups = (np.log(frequency) / max(np.log(frequency[-1]), SMALL) * BANDS).astype(int).clip(max=BANDS - 1)
    periods = [period / k for period in (7 * steps_per_day, steps_per_day) for k in range(1, LINES + 1)]
    for number, period in enumerate(periods):
        place = round(length / period)
        if 2 <= place <= length // 2 and period > 2:
            groups[place - 1] = BANDS + number
    inside = groups[:, None] == np.unique(groups)
    return (inside / inside.sum(0)).astype(np.float32)


def average_segments(x_NL: Tensor) -> Tensor:
    """Return the means of consecutive parts of the record: (N, L) -> (N, SEGMENTS) or fewer."""
    return F.adaptive_avg_pool1d(x_NL[:, None], min(SEGMENTS, x_NL.shape[1]))[:, 0]


def average_periods(x_NL: Tensor, period: int) -> Tensor:
    """Return the mean curve of a period, over all whole ones: (N, L) -> (N, period)."""
    whole = x_NL.shape[1] // period
    return x_NL[:, : whole * period].unflatten(1, (whole, period)).mean(1)


def measure_kernels(x_NL: Tensor, dilations: Sequence[int]) -> Tensor:
    """Return soft shares of steps at which a kernel's output is above thresholds: (N, L) -> (N, F).

    The proportion of positive values of MiniRocket (Dempster et al. 2021), with a ramp in place of the step.
    A kernel has nine weights, -1 but for three of 2: its output is three times the sum of those three steps
    less the sum of all nine.
    """
    found = []
    for dilation in dilations:
        reach = x_NL.shape[1] - (TAPS - 1) * dilation
        if reach < TAPS:
            continue
        taps = [x_NL[:, tap * dilation : tap * dilation + reach] for tap in range(TAPS)]
        total_NL = torch.stack(taps).sum(0)
        for first, second, third in KERNELS:
            output_NL = 3 * (taps[first] + taps[second] + taps[third]) - total_NL
            scaled_NL = output_NL / (SOFTNESS * compute_root_mean_square(output_NL))
            found += [(scaled_NL + 0.5 - level / SOFTNESS).clamp(0, 1).mean(1) for level in THRESHOLDS]
    return torch.stack(found, dim=1) if found else x_NL.new_zeros(len(x_NL), 1)


def compute_feature_distance(
    fake: Sequence[Tensor],
    real: Sequence[Tensor],
    combine: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor],
) -> Tensor:
    """Return the mean over families of E ρ((μ̂ - μ) / σ) + E ρ(ln σ̂ / σ), ρ(d) = √(1 + d²) - 1, of a batch's
    features.

    `combine` applies a function to global means, as `apply_to_global_means` does.
    """
    sizes = [family.shape[1] for family in fake]
    stacked = torch.stack([torch.cat(list(each), dim=1) for each in (fake, real)]).double()  # (2, B, F)

    def measure_distance(means_4F: Tensor) -> Tensor:
        mean_f, mean_r, square_f, square_r = means_4F
        sigma_f, sigma_r = (
            (square - mean.square()).clamp(min=0).add(SMALL).sqrt()
            for mean, square in ((mean_f, square_f), (mean_r, square_r))
        )
        means = compute_pseudo_huber((mean_f - mean_r) / sigma_r)
        sigmas = compute_pseudo_huber((sigma_f / sigma_r).log())
        parts = [part.mean() for part in (means + sigmas).split(sizes)]
        return torch.stack(parts).mean()

    return combine(measure_distance, torch.cat([stacked.mean(1), stacked.square().mean(1)])).float()


def compute_pseudo_huber(d: Tensor) -> Tensor:
    """Return √(1 + d²) - 1: quadratic near 0, linear far out."""
    return (1 + d.square()).sqrt() - 1
