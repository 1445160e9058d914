"""Classical generators have the statistics of the series that they were fitted to."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distgan import models
from distgan.models import classical
from tests.helpers.zoo import (
    noise_and_condition,
    small,
)


def fitted(name: str, series: Tensor, *more: str) -> nn.Module:
    settings = small(name, *more)
    generator = models.build(settings, *series.shape[1:])["generator"]
    generator.fit(series, torch.ones_like(series), 0)
    return generator


def test_pca_gmm_has_the_mean_and_covariance_of_its_series() -> None:
    torch.manual_seed(0)
    mix = torch.randn(3, 8)
    series = (torch.randn(400, 3) @ mix + 2)[..., None]
    generator = fitted("pca_gmm", series, "model.components=3", "model.mixtures=2")
    made = generator(*noise_and_condition(generator, 4000))[..., 0]
    assert (made.mean(0) - series[..., 0].mean(0)).abs().max() < 0.2
    error = torch.cov(made.T) - torch.cov(series[..., 0].T)
    assert error.norm() < 0.15 * torch.cov(series[..., 0].T).norm()


def test_pca_copula_has_the_distributions_of_the_scores() -> None:
    torch.manual_seed(0)
    scores = torch.distributions.Exponential(1.0).sample((600, 2)) * torch.tensor([2.0, 1.0])  # no Gaussians
    axes = torch.linalg.qr(torch.randn(10, 2))[0].T
    series = (scores @ axes + 1)[..., None]
    generator = fitted("pca_copula", series, "model.components=2")
    made = (generator(*noise_and_condition(generator, 4000))[..., 0] - 1) @ axes.T
    for mine, real in zip(made.T, scores.T):
        for share in (0.05, 0.5, 0.95):
            assert (mine.quantile(share) - real.quantile(share)).abs() < 0.1 * real.std() + 0.1
        assert mine.min() > -0.5  # a Gaussian of this mean and deviation would be below -1
        assert mine.std() == pytest.approx(float(real.std()), rel=0.1)


@pytest.mark.parametrize("count", [40, 5000])
def test_kept_quantiles_have_the_mean_and_the_deviation_of_their_values(count: int) -> None:
    values = np.random.default_rng(0).lognormal(0, 1, (count, 1))
    quantiles = classical.compute_quantiles(values, min(classical.LEVELS, count))
    even = torch.special.ndtri((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000)
    drawn = classical.from_quantiles(torch.from_numpy(quantiles), even[:, None]).numpy()
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.002 * values.std())
    assert drawn.std() == pytest.approx(values.std(), rel=0.01)


def test_template_ar_has_the_curves_of_clusters_and_the_memory_of_their_noise() -> None:
    torch.manual_seed(0)
    times, count = torch.arange(240.0), 120
    shapes = torch.stack([3 * torch.sin(6.28 * times / 24), -3 * torch.sin(6.28 * times / 24)])
    noise = torch.distributions.Exponential(1.0).sample((count, 300)) - 1
    values = torch.zeros(count, 300)
    for step in range(1, 300):
        values[:, step] = 0.8 * values[:, step - 1] + 0.3 * noise[:, step]
    series = (shapes[torch.arange(count) % 3 // 2] + values[:, 60:])[..., None].repeat(1, 1, 2)
    generator = fitted("template_ar", series, "model.clusters=2", "model.order=4")
    made = generator(*noise_and_condition(generator, 900))
    one = (made[..., 0] @ shapes[0]) > 0
    assert one.float().mean() == pytest.approx(2 / 3, abs=0.06)
    assert (made[one][..., 0].mean(0) - shapes[0]).abs().max() < 0.3
    rest = made[one][..., 0] - made[one][..., 0].mean(0)
    assert rest.std() == pytest.approx(float(values[:, 60:].std()), rel=0.1)
    lag = (rest[:, 1:] * rest[:, :-1]).mean() / rest.square().mean()
    assert lag == pytest.approx(0.8, abs=0.04)
    whitened = rest[:, 1:] - 0.8 * rest[:, :-1]
    assert (whitened**3).mean() / whitened.std() ** 3 > 1  # innovations stay skewed: 2 for an exponential
    assert torch.corrcoef(made[one].flatten(0, 1).T)[0, 1] > 0.95  # channels that agree


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("template_ar", ["model.clusters=2"], 0.025),
        ("pca_gmm", ["model.components=1", "model.mixtures=2"], 0.025),
        ("template_ar", ["model.clusters=1"], 1),
        ("pca_gmm", ["model.components=8", "model.mixtures=1"], 1 / 8),
        ("pca_copula", ["model.components=1"], 0.5 / 40),
        ("pca_copula", ["model.components=1", "model.levels=2"], 1 / 4),
        ("pca_copula", ["model.components=8", "model.levels=2"], 1 / 8),
        ("gaussian", [], 1),
    ],
)
def test_the_smallest_part_of_a_generator_is_known(name: str, more: list[str], expected: float) -> None:
    """A home unlike all others is a cluster, a Gaussian, a direction or the end of a distribution of its
    own.
    """
    torch.manual_seed(0)
    series = torch.cat([0.1 * torch.randn(39, 24, 1), 50 + torch.randn(1, 24, 1)])
    generator = fitted(name, series, *more)
    assert models.find_smallest_share(generator) == pytest.approx(expected, abs=1e-6)
    assert models.find_smallest_share(nn.Linear(1, 1)) == 1


def test_gaussian_has_the_mean_and_spectrum_of_its_series() -> None:
    torch.manual_seed(0)
    times = torch.arange(24.0)
    phase = 6.28 * torch.rand(300, 1)
    wave = torch.sin(6.28 / 8 * times + phase)
    series = torch.stack([wave, 0.5 * wave], dim=2) + torch.tensor([3.0, 1.0]) + 0.1 * torch.randn(300, 24, 2)
    generator = fitted("gaussian", series)
    made = generator(*noise_and_condition(generator, 2000))
    assert (made.mean((0, 1)) - series.mean((0, 1))).abs().max() < 0.1
    power = [torch.fft.rfft(x - x.mean(0), dim=1).abs().square().mean(0) for x in (made, series)]
    assert power[0].argmax(0).tolist() == [3, 3]
    assert (power[0] - power[1]).norm() < 0.1 * power[1].norm()
    assert torch.corrcoef(made[:, 0].T)[0, 1] > 0.8  # channels move together


def test_bootstrap_joins_real_pieces_and_cluster_mean_averages_neighbours() -> None:
    torch.manual_seed(0)
    series = torch.cat([torch.randn(20, 12, 1) + 10, torch.randn(20, 12, 1) - 10])
    boot = fitted("bootstrap", series, "model.block=4")
    pieces = boot(*noise_and_condition(boot, 5)).unflatten(1, (3, 4))
    for place in range(3):
        real = series.unflatten(1, (3, 4))[:, place]
        assert all((real == piece).all((1, 2)).any() for piece in pieces[:, place])
    mean = fitted("cluster_mean", series, "model.clusters=2", "model.members=3")
    made = mean(*noise_and_condition(mean, 200))
    assert made.abs().amin() > 7  # never across clusters
    assert 0.3 < (made.mean((1, 2)) > 0).float().mean() < 0.7
    assert made.std(0).mean() < 12
