"""Add your own GAN in 60 lines: two networks, and the trainer, checkpoints and losses of this package.

python own_gan.py [FOLDER]        # again goes on where it stopped; under torchrun, on several processes
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from distgan import config
from distgan.data.loader import Batch
from distgan.engine.trainer import fit
from distgan.engine.training import Job, Rate, Schedule
from distgan.objectives.adversarial import Adversarial, Arithmetic, Conditions, Rules
from distgan.parallel.optimized_network import Adam
from distgan.parallel.processes import Parallel
from distgan.run import Run

LENGTH, NOISE, BATCH, STEPS = 32, 8, 16, 60


class Generator(nn.Module):  # (B, Z), (B, K) -> (B, L, C)
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(NOISE, 64), nn.ReLU(), nn.Linear(64, LENGTH), nn.Tanh())

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        return self.body(noise_BZ)[..., None]


class Discriminator(nn.Module):  # (B, L, C), (B, K) -> logits (B, 1)
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(LENGTH, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))

    def forward(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        return self.body(series_BLC)


class Waves:  # yours: step s always gives the same batch; `distgan.data.loader.Loader` reads a store so
    def __init__(self, rank: int, world_size: int) -> None:
        self.sample = torch.arange(BATCH // world_size) + rank * (BATCH // world_size)

    def batches(self, first_step: int = 0) -> Iterator[Batch]:
        for step in range(first_step, STEPS):
            phase_B1 = (0.37 * (step * BATCH + self.sample))[:, None]
            series = 0.8 * torch.sin(torch.linspace(0, 12, LENGTH) + phase_B1)[..., None]
            yield Batch(series, torch.ones_like(series), self.sample, self.sample, step)


parallel = Parallel(config.Engine())
networks = {"generator": Generator(), "discriminator": Discriminator()}
trainees = {name: parallel.prepare(name, net, Adam(2e-3, beta1=0.5)) for name, net in networks.items()}
plain = {name: trainee.network for name, trainee in trainees.items()}
nothing, losses = (lambda batch: torch.zeros(len(batch.rows), 1)), config.Objective(loss="relativistic")
game = Adversarial(
    plain,
    conditions=Conditions(generated=nothing),
    rules=Rules(noise_dim=NOISE, settings=losses, seed=0),
    arithmetic=Arithmetic(across=parallel.mean),
)
schedule = Schedule(STEPS, BATCH, lambda step: {n: Rate(2e-3, 0.9) for n in networks}, lambda step: 0.9)
run = Run(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own_gan"))
trained = fit(
    game,
    trainees,
    Waves(parallel.rank, parallel.world_size),
    parallel,
    schedule,
    job=Job(run=run, stage="gan", seed=0),
)
print("samples", tuple(trained["generator"](torch.randn(4, NOISE), torch.zeros(4, 1)).shape))
parallel.close()
