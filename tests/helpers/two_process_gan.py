"""A small GAN that asks much of whoever synchronises it, for trainings by one process and by two."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from distgan import rng
from distgan.engine import trainer, training
from distgan.engine.training import Job
from distgan.objectives.base import Phase
from distgan.parallel.optimized_network import Adam, OptimizedNetwork
from distgan.parallel.preparation import prepare_network
from distgan.parallel.processes import Parallel
from distgan.run import Run

STEPS, GLOBAL_BATCH, LENGTH, NOISE, SEED = 10, 8, 12, 4, 3


@dataclass(frozen=True)
class Batch:
    series: Tensor
    sample: Tensor
    step: int

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        return replace(self, series=self.series.to(device), sample=self.sample.to(device))


@dataclass(frozen=True)
class Loader:
    """Waves of random phase; `trouble` is called before each batch."""

    rank: int = 0
    world_size: int = 1
    trouble: Callable[[int, Tensor], None] = lambda step, series: None

    def iterate_batches(self, first_step: int = 0) -> Iterator[Batch]:
        step = first_step
        while True:
            sample = torch.arange(GLOBAL_BATCH)[self.rank :: self.world_size]
            phase = rng.draw_keyed_uniform(SEED, step, "data", sample, (1,))
            series = torch.sin(torch.linspace(0, 6, LENGTH) + 6 * phase)
            self.trouble(step, series)
            yield Batch(series, sample, step)
            step += 1


class Critic(nn.Module):
    def __init__(self, spectral: bool) -> None:
        super().__init__()
        wrap: Any = spectral_norm if spectral else nn.Identity()
        self.body = nn.Sequential(wrap(nn.Linear(LENGTH, 16)), nn.Tanh(), nn.Linear(16, 16), nn.Tanh())
        self.head = nn.Linear(16, 1)
        self.unused = nn.Linear(3, 3)

    def forward(self, series: Tensor) -> Tensor:
        return self.head(self.body(series))


@dataclass(frozen=True)
class Game:
    """A GAN that asks much of whoever synchronises: four forwards of one backward, one of them by parts, an
    exact penalty by double backward, and parameters that no loss uses."""

    networks: dict[str, nn.Module]
    averaged: tuple[str, ...] = ("generator",)

    @property
    def phases(self) -> list[Phase]:
        return [
            Phase("d", "critic", self.critic_loss),
            Phase("d again", "critic", self.critic_loss, every=3, start=1),
            Phase("g", "generator", self.generator_loss),
        ]

    def fake(self, batch: Batch, purpose: str) -> Tensor:
        noise = rng.draw_keyed_normal(SEED, batch.step, purpose, batch.sample, (NOISE,))
        return self.networks["generator"](noise)

    def critic_loss(self, batch: Batch) -> dict[str, Tensor]:
        critic: Any = self.networks["critic"]
        fake = self.fake(batch, "critic").detach()
        hinge = nn.functional.softplus(critic(fake) - critic(batch.series)).mean()
        parts = critic.head(critic.body(0.5 * batch.series)).square().mean()
        series = batch.series.clone().requires_grad_()
        (slope,) = torch.autograd.grad(critic(series).sum(), series, create_graph=True)
        penalty = slope.square().sum(1).mean()
        return {"loss": hinge + 0.1 * parts + 0.5 * penalty, "penalty": penalty.detach()}

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        fake, real = (self.networks["critic"](x) for x in (self.fake(batch, "generator"), batch.series))
        return {"loss": nn.functional.softplus(real - fake).mean()}


def make(parallel: Parallel, spectral: bool) -> dict[str, OptimizedNetwork]:
    torch.manual_seed(SEED + parallel.rank)  # as if ranks were built differently: rank 0's weights are taken
    generator = nn.Sequential(nn.Linear(NOISE, 16), nn.ReLU(), nn.Linear(16, LENGTH))
    networks = {"generator": generator, "critic": Critic(spectral)}
    return {
        name: prepare_network(parallel, name, network, Adam(1e-2, 0.5, 0.9))
        for name, network in networks.items()
    }


def schedule(**changes: Any) -> training.Schedule:
    usual = training.Schedule(
        steps=STEPS, batch_size=GLOBAL_BATCH, rates=lambda step: {}, decay=lambda step: 0.9, clip=0.3
    )
    return replace(usual, report_every=1, checkpoint_every=100, max_skips=4, **changes)


def train(parallel: Parallel, folder: Path, spectral: bool, loader: Loader | None = None) -> Path:
    optimized_networks = make(parallel, spectral)
    game = Game({name: optimized.network for name, optimized in optimized_networks.items()})
    loader = loader or Loader(parallel.rank, parallel.world_size)
    trainer.fit(
        game,
        optimized_networks,
        loader,
        parallel,
        schedule(),
        job=Job(run=Run(folder), stage="gan", seed=SEED),
    )
    return folder


def curves(folder: Path) -> list[list[float]]:
    lines = [json.loads(line) for line in Run(folder).metrics("gan").read_text().splitlines()]
    return [[line[name] for name in ("d/loss", "d/penalty", "g/loss", "d/gradient_norm")] for line in lines]
