"""Classical generators have the statistics of the series that they were fitted to."""

import torch
from torch import Tensor, nn

from distgan import models
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
