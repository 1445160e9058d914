"""TimeVAE: the parts of its decoder, and its loss by hand."""

import pytest
import torch

from distgan import config, models
from distgan.models import make_objective
from distgan.models.timevae import MOST_JOINED, Encoder, Game, Residual, Seasons, Trend
from distgan.objectives.adversarial import Conditions
from tests.helpers.zoo import a_batch, condition_of, noise_and_condition, small, trained_on
from tests.models.test_learned_by_heart import patterns


def test_a_trend_is_a_polynomial_and_seasons_repeat() -> None:
    torch.manual_seed(0)
    latent = torch.randn(5, 3)
    with torch.no_grad():
        trend = Trend(3, 40, 2, degree=2)(latent)
        seasons = Seasons(3, 40, 2, config.Season(count=7, steps=2))(latent)
    assert trend.shape == seasons.shape == (5, 40, 2)
    assert trend[:, 0].abs().max() == 0 and trend[:, 1:].abs().max() > 0
    third_differences = trend.diff(dim=1).diff(dim=1).diff(dim=1)
    assert third_differences.abs().max() < 1e-5
    assert torch.equal(seasons[:, ::2], seasons[:, 1::2]) and torch.equal(seasons[:, :26], seasons[:, 14:])
    assert len(seasons[0, :, 0].unique()) == 7


def test_loss_by_hand() -> None:
    torch.manual_seed(0)
    settings = small("timevae", "model.reconstruction_weight=2")
    objective = make_objective(settings, models.build(settings, 20, 2), Conditions(condition_of))
    assert isinstance(objective, Game)
    batch, network = a_batch(6, 20, 2), objective.networks["generator"]
    x, mask = (batch.series + 1) / 2, batch.mask
    mean, logvar = network.encoder(x, mask)
    latent = mean + logvar.mul(0.5).exp() * objective.draw_noise(batch, "latent noise")
    error = (network.decoder(latent) - x) * mask
    squares = (error**2).sum() + ((error.sum(2) / mask.sum(2).clamp(min=1)) ** 2).sum()
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, logvar.mul(0.5).exp()), torch.distributions.Normal(0, 1)
    ).sum()
    found = objective.bound_loss(batch)
    assert found["loss"].item() == pytest.approx(((2 * squares + kl) / 6).item(), rel=1e-4)
    parts = [objective.bound_loss(part)["loss"].item() for part in batch.split(2)]
    assert sum(parts) / 3 == pytest.approx(found["loss"].item(), rel=1e-5)


def test_missing_readings_are_not_seen() -> None:
    batch = a_batch(4, 20, 2)
    encoder = Encoder(20, 2, config.TimeVae())
    with torch.no_grad():
        one, other = (encoder(batch.series + 7 * k * (1 - batch.mask), batch.mask) for k in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, other))


@pytest.mark.parametrize(("length", "joined"), [(MOST_JOINED // 2, True), (MOST_JOINED // 2 + 1, False)])
def test_last_layer_joins_the_readings_of_short_series_alone(length: int, joined: bool) -> None:
    residual = Residual(length, 2, config.TimeVae(widths=(4, 4)))
    assert residual(torch.zeros(3, 8)).shape == (3, length, 2)
    assert (residual.join is not None) == joined


def test_means_and_deviations_are_learned_by_heart() -> None:
    batch = patterns(16)
    more = ["model.widths=[16,16]", "model.reconstruction_weight=10"]
    sampler = trained_on("timevae", 300, batch, 1e-2, *more, betas=(0.9, 0.99))
    with torch.no_grad():
        made = sampler(*noise_and_condition(sampler, 400))
    assert (made.mean(0) - batch.series.mean(0)).abs().mean() < 0.15
    assert (made.std(0) - batch.series.std(0)).abs().mean() < 0.15
