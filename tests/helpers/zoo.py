"""Every family of the zoo, small: its settings, networks, batches and trainings."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distgan import config, models, rng
from distgan.data.loader import Batch
from distgan.engine import trainer, training
from distgan.engine.training import Job
from distgan.models import make_objective
from distgan.objectives.adversarial import Arithmetic, Conditions
from distgan.parallel.optimized_network import Adam
from distgan.parallel.preparation import prepare_network
from distgan.parallel.processes import Parallel
from distgan.run import Run

GENERATOR = ["generator.width=16", "generator.noise_dim=6", "generator.token_noise_dim=2"]


NO_DROPOUT = [
    "dropout=0.0",
    "discriminator_dropout=0.0",
]  # processes drop differently; all else they do alike


SMALL = {
    "multiscale": [
        *GENERATOR,
        "generator.noise_lags=[1,3]",
        "generator.soft_minimum=true",
        "generator.token_noise_scales=[0,2]",
        "generator.refinement={ratio: 2, width: 8, noise_dim: 2}",
        "discriminator.width=16",
        "discriminator.side_channels=2",
    ],
    "cascade": [
        *GENERATOR,
        "discriminator.width=16",
        "discriminator.side_channels=2",
        "patch=2",
        "upsampler={factor: 4, width: 8, depth: 2, periods: [3], window: 3, solver_steps: 2}",
    ],
    "tts_gan_fork": ["depth=1", "discriminator_depth=2", *NO_DROPOUT],
    "mlp_gan": ["noise_dim=4", "width=16", "discriminator_width=16"],
    "tts_gan": ["depth=1", "discriminator_depth=1", "noise_dim=6", "attention_dropout=0.0", *NO_DROPOUT],
    "timegan": ["width=6", "layers=2", "embedding_steps=2", "supervised_steps=1"],
    "crnn_gan": ["width=6", "layers=2", "dropout=0.0", "pretraining_steps=2"],
    "nr_gan": ["frame=16", "width=4"],
    "rectified_flow": ["patch=8", "width=16", "depth=1", "heads=2", "solver_steps=2"],
    "timevae": ["widths=[4,6]", "latent_dim=3", "trend_degree=2", "seasons=[{count: 7, steps: 2}]"],
}


SMALL["tts_cgan"] = [*SMALL["tts_gan"], "label_width=3"]


TRAINED = tuple(SMALL)  # by gradients


ALONE = ("rectified_flow", "timevae")  # trained without a discriminator


GENERATORS = tuple(name for name, family in config.FAMILIES.items() if family.stages == config.STAGES)


LABELS = {"tts_cgan": 2}


ADAM = Adam(2e-3, beta1=0.5, epsilon=1e-3)  # an epsilon that drowns rounding


LENGTH, CHANNELS, GLOBAL_BATCH, STEPS, SEED = 20, 2, 8, 6, 7


def small(name: str, *more: str) -> config.Config:
    own = [f"model.{setting}" for setting in SMALL.get(name, [])]
    common = ["bank.condition_dim=4", "train.steps=6", "model.name=" + name]
    labelled = ["bank.by_label=true"] if name in LABELS else []
    beside = ["objective.moments=1", "objective.features=1"] if name == "multiscale" else []
    return config.load(None, [*common, *labelled, *beside, *own, *more])


def built(settings: config.Config, length: int, channels: int) -> dict[str, nn.Module]:
    return models.build(settings, length, channels, LABELS.get(settings.model.name, 0))


def ready(name: str, length: int, channels: int) -> nn.Module:
    """The network that samples; a classical one fitted to a few series."""
    networks = built(small(name), length, channels)
    if hasattr(networks["generator"], "fit"):
        batch = a_batch(12, length, channels)
        networks["generator"].fit(batch.series, batch.mask, SEED)
    return models.join_sampler(small(name), networks).eval()


def noise_and_condition(generator: nn.Module, count: int, channels: int = CHANNELS) -> tuple[Tensor, Tensor]:
    return torch.randn(count, models.compute_noise_width(generator)), torch.randn(count, 2 * channels + 4)


def a_batch(count: int, length: int, channels: int, step: int = 0, first: int = 0) -> Batch:
    """Waves with gaps, whatever the number of processes: sample i of step s is always the same."""
    sample = torch.arange(first, first + count)
    phase = rng.draw_keyed_uniform(SEED, step, "phase", sample, (1, channels))
    series = 0.8 * torch.sin(torch.linspace(0, 6, length)[None, :, None] + 6 * phase)
    mask = (rng.draw_keyed_uniform(SEED, step, "gaps", sample, (length, channels)) > 0.05).float()
    return Batch(series * mask, mask, sample % 5, sample, step)


def condition_of(batch: Batch) -> Tensor:
    """Location and scale of every channel, and four numbers of the group."""
    numbers = 2 * batch.series.shape[2] + 4
    return torch.stack([batch.rows % (1 + k) for k in range(numbers)], dim=1).float() - 1


def one_of_two(batch: Batch) -> Tensor:
    """Labels; for nr_gan, whether a series is clean."""
    even = (batch.sample % 2).float()
    return torch.stack([even, 1 - even], dim=1)


def play(settings: config.Config, networks: dict[str, nn.Module], *more: Any) -> Any:
    condition = one_of_two if settings.model.name in ("nr_gan", *LABELS) else condition_of
    return make_objective(settings, networks, Conditions(condition), *more)


class Loader:
    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.share, self.rank = GLOBAL_BATCH // world_size, rank

    def iterate_batches(self, first_step: int = 0) -> Iterator[Batch]:
        step = first_step
        while True:
            yield a_batch(self.share, LENGTH, CHANNELS, step, self.rank * self.share)
            step += 1


def train(
    name: str, parallel: Parallel, folder: Path, steps: int = STEPS, more: tuple[str, ...] = ()
) -> dict[str, nn.Module]:
    """A few steps of a family as the stage does them, without the stages before it."""
    settings = small(name, *more)
    torch.manual_seed(SEED)
    networks = built(settings, LENGTH, CHANNELS)
    optimized_networks = {
        key: prepare_network(parallel, key, network, ADAM) for key, network in networks.items()
    }
    objective = play(
        settings,
        {key: t.network for key, t in optimized_networks.items()},
        Arithmetic(parallel.average, processes=parallel.world_size),
    )
    schedule = training.Schedule(steps, GLOBAL_BATCH, lambda step: {}, lambda step: 0.5, report_every=1)
    loader = Loader(parallel.rank, parallel.world_size)
    run = Run(folder)
    return trainer.fit(
        objective, optimized_networks, loader, parallel, schedule, job=Job(run=run, stage="gan", seed=SEED)
    )


def trained_on(
    name: str,
    steps: int,
    batch: Batch,
    rate: float,
    *more: str,
    betas: tuple[float, float] = (0.5, 0.9),
    until: Callable[[nn.Module], bool] | None = None,
) -> nn.Module:
    """Return what samples after `steps` of training on one batch, or as soon as `until` holds for it (asked
    every 50 steps).
    """
    settings = small(name, f"train.steps={max(steps, 1)}", *more)
    torch.manual_seed(settings.seed)
    length, channels = batch.series.shape[1:]
    networks = built(settings, length, channels)
    objective = play(settings, networks)
    adams = {key: torch.optim.Adam(net.parameters(), rate, betas=betas) for key, net in networks.items()}
    for step in range(steps):
        if until is not None and step % 50 == 49:
            if until(models.join_sampler(settings, networks).eval()):
                break
            for network in networks.values():
                network.train()
        now = Batch(batch.series, batch.mask, batch.rows, batch.sample, step)
        for phase in objective.phases:
            if phase.is_due(step):
                adams[phase.network].zero_grad()
                phase.loss(now)["loss"].backward()
                adams[phase.network].step()
    return models.join_sampler(settings, networks).eval()
