"""A training step of any config without a run folder: networks, objective and updates on made-up series."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import common  # noqa: F401 (puts the repository on the path)
import torch
from torch import nn

from distgan import config, models
from distgan.data.loader import Batch
from distgan.engine.ema import make_average
from distgan.models import make_objective
from distgan.models.layers import checkpoint_activations
from distgan.objectives.adversarial import Arithmetic, Conditions
from distgan.objectives.base import Phase
from distgan.parallel.optimized_network import Adam, OptimizedNetwork
from distgan.parallel.preparation import prepare_network
from distgan.parallel.processes import Parallel


@dataclass
class Stepper:
    """Call it for one step; `parts` gives the work of a step by name, for a split of the time."""

    settings: config.Config
    length: int
    parallel: Parallel
    channels: int = 1
    step: int = 0
    networks: dict[str, nn.Module] = field(default_factory=dict)
    optimized_networks: dict[str, OptimizedNetwork] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        chosen = self.settings.train
        self.networks = models.build(self.settings, self.length, self.channels)
        if self.settings.engine.checkpoint_activations:
            checkpoint_activations(list(self.networks.values()))
        self.optimized_networks = {
            n: prepare_network(self.parallel, n, net, Adam(2e-4)) for n, net in self.networks.items()
        }
        self.batch_size = chosen.batch_size // self.parallel.world_size
        device, shape = self.parallel.device, (self.batch_size, self.length, self.channels)
        self.series = 0.3 * torch.randn(shape, device=device)
        self.mask = torch.ones_like(self.series)
        condition = torch.randn(
            self.batch_size, models.compute_condition_width(self.settings, self.channels), device=device
        )
        self.objective = make_objective(
            self.settings,
            {name: optimized.network for name, optimized in self.optimized_networks.items()},
            conditions=Conditions(generated=lambda batch: condition[: len(batch.sample)]),
            arithmetic=Arithmetic(self.parallel.average, self.parallel.dtype, self.parallel.world_size),
        )
        self.averages = [make_average(self.optimized_networks[name]) for name in self.objective.averaged]

    def batch(self) -> Batch:
        place = torch.arange(self.batch_size)
        first = self.parallel.rank * self.batch_size
        return Batch(self.series, self.mask, place, place + first, self.step)

    def phase(self, phase: Phase, batch: Batch) -> None:
        """One update: micro-batches forward and backward, then all processes' gradients and Adam."""
        for name, optimized in self.optimized_networks.items():
            optimized.require_gradients(name == phase.network)
        optimized, size = (
            self.optimized_networks[phase.network],
            self.parallel.compute_micro_batch(self.settings.train.batch_size),
        )
        parts = batch.split(size)
        for part in parts:
            optimized.backward(phase.loss(part)["loss"] / len(parts))
        optimized.step(self.settings.train.clip)

    def parts(self, batch: Batch | None = None) -> dict[str, Callable[[], Any]]:
        """The work of one step of the game itself, by name, in order."""
        batch = batch or self.batch()
        last = self.settings.train.steps - 1  # families with several parts of training end with the game
        work: dict[str, Callable[[], Any]] = {
            phase.name: lambda phase=phase: self.phase(phase, batch)
            for phase in self.objective.phases
            if phase.stop is None or phase.stop > last
        }
        work["average"] = lambda: [average.update(0.999) for average in self.averages]
        return work

    def __call__(self) -> None:
        for work in self.parts().values():
            work()
        self.step += 1


def stepper(overrides: list[str], length: int, path: Any = None) -> Stepper:
    settings = config.load(path, [f"engine.threads={torch.get_num_threads()}", *overrides])
    return Stepper(settings, length, Parallel(settings.engine))
