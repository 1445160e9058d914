"""Baselines of every table of scores: copies, the mean curve, shuffled series, and generators without a
network.

All are made from training series alone. Shapes: n series, L steps, C channels.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch

from distgan import config
from distgan.evaluation.metrics.descriptors import Array
from distgan.evaluation.report.verdict import (
    CLUSTER_MEAN,
    COPIER,
    GAUSSIAN,
    MEAN_CURVE,
    NOISY_COPIER,
    PCA_COPULA,
    PCA_GMM,
    SHUFFLED,
    SHUFFLED_DAYS,
    TEMPLATE_AR,
)
from distgan.models import classical
from distgan.rng import draw_keyed_normal, make_keyed_generator

NOISE = 0.05  # of the noisy copier, in spreads of each series
FITTED_SERIES = 1000  # that a classical generator is fitted to, at most
FEWEST_FITTED = 8
AT_ONCE = 256  # series drawn together

CLASSICAL = {
    GAUSSIAN: (classical.Gaussian, config.Gaussian()),
    PCA_GMM: (classical.PcaGmm, config.PcaGmm()),
    PCA_COPULA: (classical.PcaCopula, config.PcaCopula()),
    TEMPLATE_AR: (classical.TemplateAr, config.TemplateAr()),
    CLUSTER_MEAN: (classical.ClusterMean, config.ClusterMean()),
}


def make_baselines(
    train: Array, count: int, steps_per_day: float, seed: int
) -> dict[str, Callable[[], Array]]:
    """Return the functions that make the series of each baseline, by row: train [n, L, C] -> [n or count, L,
    C] each.

    Rows that the data have no room for are left out: days to shuffle, enough series to fit to.
    """
    day = round(steps_per_day)
    rows: dict[str, Callable[[], Array]] = {
        COPIER: lambda: train,
        NOISY_COPIER: lambda: add_noise(train, seed),
        MEAN_CURVE: lambda: np.repeat(compute_mean_curve(train)[None], count, axis=0),
        SHUFFLED: lambda: shuffle_blocks(train, 1, seed),
    }
    if 2 <= day <= train.shape[1] // 2:
        rows[SHUFFLED_DAYS] = lambda: shuffle_blocks(train, day, seed)
    if len(train) >= FEWEST_FITTED:
        rows |= {name: _make_classical(name, train, count, seed) for name in CLASSICAL}
    return rows


def add_noise(train: Array, seed: int) -> Array:
    noise = make_keyed_generator(seed, 0, "floor noise").standard_normal(train.shape, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a channel that is missing throughout stays missing
        spread = np.nanstd(train, axis=1, keepdims=True)
    return np.asarray(train + NOISE * spread * noise, dtype=np.float32)


def compute_mean_curve(train: Array) -> Array:
    """Return [n, L, C] -> [L, C]; a step that is missing everywhere stays missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(train, axis=0, dtype=np.float64), dtype=np.float32)


def shuffle_blocks(train: Array, block: int, seed: int) -> Array:
    """Shuffle every series in blocks of so many steps; the remainder at the end stays in place."""
    rng = make_keyed_generator(seed, 0, f"floor shuffled {block}")
    blocks = train.shape[1] // block
    order = np.arange(train.shape[1])
    result = np.empty_like(train)
    for row, series in enumerate(train):
        order[: blocks * block] = (block * rng.permutation(blocks)[:, None] + np.arange(block)).ravel()
        result[row] = series[order]
    return result


def measure_units(train: Array) -> Array:
    """Return the deviation of each channel, float32 [C]: in these units no channel stands out by its numbers
    alone, nor do fitted generators depend on the unit. A channel that does not vary counts as one of
    deviation 1.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a channel that is missing throughout
        deviations = np.nanstd(train, axis=(0, 1), dtype=np.float64)
    return np.where(deviations > 0, deviations, 1).astype(np.float32)


def _make_classical(name: str, train: Array, count: int, seed: int) -> Callable[[], Array]:
    """Return a function that draws `count` series from the classical generator of that name; a channel is at
    least 0 where its training values are.
    """

    def draw() -> Array:
        _, length, channels = train.shape
        family, settings = CLASSICAL[name]
        generator, units = family(length, channels, settings), measure_units(train)
        chosen = make_keyed_generator(seed, 0, "floor fitted").permutation(len(train))[:FITTED_SERIES]
        series = torch.from_numpy(np.asarray(train[np.sort(chosen)], dtype=np.float32) / units)
        generator.fit(series.nan_to_num(0), (~series.isnan()).float(), seed)
        parts = []
        for start in range(0, count, AT_ONCE):
            places = torch.arange(start, min(start + AT_ONCE, count))
            noise = draw_keyed_normal(seed, 0, f"floor {name}", places, (generator.noise_dim,))
            with torch.inference_mode():
                parts.append(generator(noise, torch.zeros(len(places), 0)).numpy())
        negative = (train < 0).any(axis=(0, 1))
        return np.maximum(np.concatenate(parts) * units, np.where(negative, -np.inf, 0).astype(np.float32))

    return draw
