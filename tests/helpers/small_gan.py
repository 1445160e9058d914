"""A small GAN with dropout and a third phase, for tests of the loop."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distgan import rng
from distgan.engine import checkpoint, trainer, training
from distgan.engine.ema import compute_decay
from distgan.engine.training import Job
from distgan.objectives.base import Phase
from distgan.parallel.optimized_network import Adam, OptimizedNetwork
from distgan.parallel.preparation import prepare_network
from distgan.parallel.processes import Parallel
from distgan.run import Run

STEPS, BATCH, LENGTH, SEED = 20, 4, 6, 5


@dataclass(frozen=True)
class Batch:
    series: Tensor
    step: int

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        return replace(self, series=self.series.to(device))


class Loader:
    """Random series keyed by the step; `trouble` is called before each batch."""

    def __init__(self, trouble: Callable[[int, Tensor], None] = lambda step, series: None) -> None:
        self.trouble, self.closed = trouble, False

    def iterate_batches(self, first_step: int = 0) -> Iterator[Batch]:
        step = first_step
        try:
            while True:
                series = torch.from_numpy(
                    rng.make_keyed_generator(SEED, step, "data").random((BATCH, LENGTH))
                ).float()
                self.trouble(step, series)
                yield Batch(series, step)
                step += 1
        finally:
            self.closed = True


@dataclass(frozen=True)
class Game:
    """A GAN whose networks have dropout, a critic that acts twice in even steps, and a late third phase."""

    networks: dict[str, nn.Module]
    averaged: tuple[str, ...] = ("generator",)

    @property
    def phases(self) -> list[Phase]:
        return [
            Phase("d", "critic", self.critic_loss),
            Phase("again", "critic", self.critic_loss, every=2),
            Phase("g", "generator", self.generator_loss),
            Phase("late", "generator", self.generator_loss, start=12, stop=15),
        ]

    def fake(self, batch: Batch) -> Tensor:
        return self.networks["generator"](batch.series.flip(0))

    def critic_loss(self, batch: Batch) -> dict[str, Tensor]:
        assert not any(p.requires_grad for p in self.networks["generator"].parameters())
        real, fake = self.networks["critic"](batch.series), self.networks["critic"](self.fake(batch))
        return {"loss": nn.functional.softplus(fake - real).mean(), "real": real.detach().mean()}

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        assert not any(p.requires_grad for p in self.networks["critic"].parameters())
        return {"loss": -self.networks["critic"](self.fake(batch)).mean()}


def make(parallel: Parallel) -> dict[str, OptimizedNetwork]:
    torch.manual_seed(0)

    def network(outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(LENGTH, 8), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, outputs))

    networks = {"generator": network(LENGTH), "critic": network(1)}
    return {name: prepare_network(parallel, name, network, Adam(1e-2)) for name, network in networks.items()}


def rates(step: int) -> dict[str, training.Rate]:
    return {"critic": training.Rate(1e-2 / (1 + step), 0.9 + 0.004 * step)}


def train(
    parallel: Parallel, folder: Path, steps: int = STEPS, loader: Loader | None = None, **options: Any
) -> dict[str, nn.Module]:
    optimized_networks = make(parallel)
    game = Game({name: optimized.network for name, optimized in optimized_networks.items()})
    fields = ("report_every", "sample_every", "checkpoint_every", "clip", "max_skips", "max_rollbacks")
    schedule = training.Schedule(
        steps,
        BATCH,
        rates,
        lambda step: compute_decay((step + 1) * BATCH, BATCH, 40),
        **{"report_every": 4, "checkpoint_every": 5}
        | {name: options.pop(name) for name in fields if name in options},
    )
    run = Run(folder)
    return trainer.fit(
        game,
        optimized_networks,
        loader or Loader(),
        parallel,
        schedule,
        job=Job(run=run, stage="gan", seed=SEED, **options),
    )


def last(folder: Path) -> checkpoint.Checkpoint:
    found = checkpoint.load_latest(Run(folder).checkpoints("gan"))
    assert found is not None
    return found


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Run(folder).metrics("gan").read_text().splitlines()]
