"""Every game learns a few series by heart."""

import pytest
import torch
from torch import Tensor, nn

from distgan import models
from distgan.data.loader import Batch
from tests.helpers.zoo import (
    condition_of,
    noise_and_condition,
    trained_on,
)


def learned(name: str, steps: int, batch: Batch, rate: float, *more: str) -> Tensor:
    """Series sampled after `steps` of training on one batch."""
    sampler = trained_on(name, steps, batch, rate, *more)
    with torch.no_grad():
        return sampler(*noise_and_condition(sampler, 200))


def patterns(count: int) -> Batch:
    """Two shapes, half of the series each, with a little scatter."""
    torch.manual_seed(1)
    shapes = 0.6 * torch.stack([torch.linspace(-1, 1, 8), torch.linspace(1, -1, 8)])
    series = shapes[torch.arange(count) % 2] + 0.05 * torch.randn(count, 8)
    index = torch.arange(count)
    return Batch(series[..., None], torch.ones(count, 8, 1), index, index, 0)


def test_mlp_gan_learns_two_shapes_by_heart() -> None:
    batch = patterns(16)

    def has_learned(sampler: nn.Module) -> bool:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(2)
            made = sampler(*noise_and_condition(sampler, 200))
        distance = torch.cdist(made.flatten(1), batch.series[:2].flatten(1))
        share = (distance[:, 0] < distance[:, 1]).float().mean()
        return bool(distance.amin(1).median() < 0.5 and 0.2 < share < 0.8)  # the shapes are 2.2 apart

    more = "objective.penalty.weight=0.05"
    assert has_learned(trained_on("mlp_gan", 1500, batch, 3e-3, more, until=has_learned))


BY_HEART = {  # steps of training and settings beside the common ones
    "multiscale": (
        3000,
        "model.generator.width=32",
        "model.generator.noise_lags=[]",
        "model.generator.soft_minimum=false",
        "model.generator.token_noise_scales=[0]",
        "model.generator.refinement={ratio: 2, width: 32, noise_dim: 2}",
        "objective.features=0",
        "model.generator.scales=[{ratio: 1, depth: 1}, {ratio: 2, depth: 1}]",
        "model.discriminator.width=32",
        "model.discriminator.scales=[{ratio: 1, depth: 1}]",
        "model.discriminator.periods=[]",
        "model.discriminator.spectra=[]",
        "model.patch=4",
        "objective.penalty.weight=0.05",
    ),
    "tts_gan": (1200, "model.patch=4", "objective.penalty.weight=0.1"),
    "tts_gan_fork": (700, "model.patch=4", "objective.penalty.weight=0.1"),
    "crnn_gan": (
        2000,
        "model.width=24",
        "model.layers=1",
        "model.noise_channels=4",
        "model.pretraining_steps=0",
        "model.feature_matching=false",
        "model.freeze_below=0",
        "objective.penalty.weight=0.2",
    ),
    "rectified_flow": (1500, "model.patch=4", "model.width=32", "model.solver_steps=8"),
}


def waves(count: int) -> tuple[Tensor, Batch]:
    """Two shapes, a slow and a quick wave, and series of them, half each, with a little scatter. The
    condition of all is the same.
    """
    torch.manual_seed(1)
    turn = 2 * torch.pi * torch.arange(16) / 16
    shapes = 0.6 * torch.stack([turn.cos(), -(2 * turn).cos()])
    index = torch.arange(count)
    series = shapes[index % 2] + 0.05 * torch.randn(count, 16)
    return shapes, Batch(series[..., None], torch.ones(count, 16, 1), torch.zeros_like(index), index, 0)


def distances(sampler: nn.Module, shapes: Tensor, batch: Batch) -> Tensor:
    """Of 400 sampled series from each shape: (400, 2)."""
    noise = torch.randn(400, models.compute_noise_width(sampler), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        made = sampler(noise, condition_of(batch)[:1].expand(400, -1))
    return torch.cdist(made.flatten(1), shapes)


QUICK = ("multiscale",)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BY_HEART]
)
def test_both_of_two_shapes_are_learned_by_heart(name: str) -> None:
    """Nearly every series is near one shape or the other, as none is before training. The shapes are 2.4
    apart; their mean is 1.2 from either, a flat line 1.7.
    """
    (shapes, batch), (steps, *own) = waves(16), BY_HEART[name]
    untrained = distances(trained_on(name, 0, batch, 2e-3, *own), shapes, batch)
    assert untrained.amin(1).quantile(0.1) > 1.3

    def has_learned(sampler: nn.Module) -> bool:
        distance = distances(sampler, shapes, batch)
        return bool(distance.amin(1).quantile(0.9) < 1 and (distance < 1).float().mean(0).min() > 0.2)

    more = [*own, "objective.penalty.fraction=1"]
    sampler = trained_on(name, steps, batch, 2e-3, *more, betas=(0.0, 0.99), until=has_learned)
    assert has_learned(sampler), f"not after {steps} steps"


def test_timegan_learns_means_and_deviations_by_heart() -> None:
    batch = patterns(16)
    steps = ["model.embedding_steps=80", "model.supervised_steps=20"]
    made = learned("timegan", 200, batch, 2e-2, *steps, "model.width=8")
    assert (made.mean(0) - batch.series.mean(0)).abs().mean() < 0.15
    assert (made.std(0) / batch.series.std(0)).sub(1).abs().mean() < 0.5
