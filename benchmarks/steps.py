"""A training step of any config without a run folder: networks, objective and updates on made-up series."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import common  # noqa: F401 (puts the repository on the path)
import torch
from torch import nn

from distgan import config, models
from distgan.data.loader import Batch
from distgan.engine.ema import Average
from distgan.layers import checkpoint_activations
from distgan.objectives.adversarial import Adversarial
from distgan.objectives.base import Phase
from distgan.parallel import Adam, Parallel, Trainee


@dataclass
class Stepper:
    """Call it for one step; `parts` gives the work of a step by name, for a split of the time."""

    settings: config.Config
    length: int
    parallel: Parallel
    channels: int = 1
    step: int = 0
    networks: dict[str, nn.Module] = field(default_factory=dict)
    trainees: dict[str, Trainee] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        chosen = self.settings.train
        self.networks = models.build(self.settings, self.length, self.channels)
        if self.settings.engine.checkpoint_activations:
            checkpoint_activations(list(self.networks.values()))
        noise_dim = int(self.networks["generator"].noise_dim)  # type: ignore[arg-type]
        self.trainees = {n: self.parallel.prepare(n, net, Adam(2e-4)) for n, net in self.networks.items()}
        self.average = Average(self.networks["generator"])
        self.batch_size = chosen.batch_size // self.parallel.world_size
        device, shape = self.parallel.device, (self.batch_size, self.length, self.channels)
        self.series = 0.3 * torch.randn(shape, device=device)
        self.mask = torch.ones_like(self.series)
        condition = torch.randn(self.batch_size, self.settings.bank.condition_dim, device=device)
        self.objective = Adversarial(
            {name: trainee.network for name, trainee in self.trainees.items()},
            noise_dim=noise_dim,
            condition=lambda batch: condition,
            settings=self.settings.objective,
            seed=0,
            across=self.parallel.mean,
            dtype=self.parallel.dtype,
        )

    def batch(self) -> Batch:
        place = torch.arange(self.batch_size, device=self.series.device)
        first = self.parallel.rank * self.batch_size
        return Batch(self.series, self.mask, place, place + first, self.step)

    def phase(self, phase: Phase, batch: Batch) -> None:
        for name, trainee in self.trainees.items():
            trainee.require_gradients(name == phase.network)
        self.trainees[phase.network].minimise(phase.loss(batch)["loss"], self.settings.train.clip)

    def parts(self) -> dict[str, Callable[[], Any]]:
        """The work of one step, by name, in order."""
        batch = self.batch()
        work: dict[str, Callable[[], Any]] = {
            phase.name: lambda phase=phase: self.phase(phase, batch) for phase in self.objective.phases
        }
        work["average"] = lambda: self.average.update(0.999)
        return work

    def __call__(self) -> None:
        for work in self.parts().values():
            work()
        self.step += 1


def stepper(overrides: list[str], length: int, path: Any = None) -> Stepper:
    settings = config.load(path, [f"engine.threads={torch.get_num_threads()}", *overrides])
    return Stepper(settings, length, Parallel(settings.engine))
