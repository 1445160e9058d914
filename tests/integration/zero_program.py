"""The real networks under ZeRO: what one process and two processes train, and the two processes' own program:
one launch, many checks.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.parametrizations import spectral_norm

from distgan.engine.training import Job
from distgan.objectives.adversarial import Arithmetic, Conditions, Rules
from distgan.parallel import optimized_network
from distgan.parallel import processes as processes_module
from distgan.parallel.preparation import prepare_network

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


from distgan import config, rng
from distgan.data.loader import Batch
from distgan.engine import checkpoint, trainer, training
from distgan.models import layers, multiscale
from distgan.objectives.adversarial import Adversarial
from distgan.parallel import zero
from distgan.parallel.optimized_network import Adam, OptimizedNetwork
from distgan.parallel.processes import Parallel
from distgan.run import Run

STEPS, LONG, STOP, GLOBAL_BATCH, LENGTH, SEED, CONDITION = 4, 6, 3, 8, 48, 3, 2
SMALL = [
    "model.patch=6",
    "model.generator.width=16",
    "model.generator.noise_dim=4",
    "model.generator.token_noise_dim=2",
    "model.generator.scales=[{ratio: 1, depth: 1, heads: 2}, {ratio: 2, depth: 1, heads: 2}]",
    "model.discriminator.width=16",
    # Two logits: gradients of biases that cancel are then 0, not the rounding of thirds, which Adam blows up.
    "model.discriminator.scales=[{ratio: 2, depth: 1, heads: 2}]",
    "model.discriminator.periods=[]",
    "model.discriminator.spectra=[24]",
    "model.discriminator.side_channels=2",
    "engine.threads=1",
    "engine.timeout=300",
]
# A difference of 0.05, not 0.005: rounding of float32 enters the penalty divided by it.
RELATIVISTIC = [
    "objective.loss=relativistic",
    "objective.penalty.sigma=0.05",
    "objective.penalty.weight=0.01",
]
EXACT = ["objective.loss=wgangp", "objective.penalty.kind=interpolated", "objective.penalty.weight=0.1"]
GAMES = {"relativistic": RELATIVISTIC, "wgangp": EXACT, "spectral": RELATIVISTIC}
DISK = ["engine.offload.optimizer=nvme", f"engine.offload.path={tempfile.gettempdir()}"]
ENGINES = {
    "ddp": [],
    "zero1": ["engine.zero=1"],
    "zero2": ["engine.zero=2"],
    "zero3": ["engine.zero=3"],
    "mixed": ["engine.zero=3", "engine.discriminator_zero=1"],
    "offload": ["engine.zero=2", "engine.offload.optimizer=cpu"],
    "offload3": ["engine.zero=3", "engine.offload.optimizer=cpu", "engine.offload.parameters=cpu"],
    "disk2": ["engine.zero=2", *DISK],
    "disk3": ["engine.zero=3", *DISK],
    "micro": ["engine.zero=2", "engine.micro_batch=2"],
    "micro3": ["engine.zero=3", "engine.micro_batch=2"],
    "recompute3": ["engine.zero=3", "engine.discriminator_zero=2", "engine.checkpoint_activations=true"],
    "micro-ddp": ["engine.micro_batch=1"],
}


@dataclass(frozen=True)
class Loader:
    """Waves of random phase, with gaps; the global batch is the same for any number of processes."""

    rank: int
    world_size: int
    spoiled: tuple[int, ...] = ()

    def iterate_batches(self, first_step: int = 0) -> Iterator[Batch]:
        step = first_step
        share = GLOBAL_BATCH // self.world_size
        while True:
            sample = torch.arange(self.rank * share, (self.rank + 1) * share)
            phase = rng.draw_keyed_uniform(SEED, step, "data", sample, (1, 1))
            series = 0.4 * torch.sin(torch.linspace(0, 12, LENGTH)[None, :, None] + 6 * phase)
            series += 0.1 * rng.draw_keyed_normal(SEED, step, "noise", sample, (LENGTH, 1))
            mask = (rng.draw_keyed_uniform(SEED, step, "gaps", sample, (LENGTH, 1)) > 0.05).float()
            if step in self.spoiled and self.rank == self.world_size - 1:
                series[0, 0] = float("nan")
            yield Batch(series * mask, mask, sample, sample, step)
            step += 1


def settings_of(game: str, engine: str, *more: str) -> config.Config:
    extra = ["engine.gather_penalty=true"] if GAMES[game] is EXACT else []
    return config.load(None, [*SMALL, *GAMES[game], *ENGINES[engine], *extra, *more])


def make(
    parallel: Parallel, settings: config.Config, game: str
) -> tuple[Adversarial, dict[str, OptimizedNetwork]]:
    torch.manual_seed(SEED)
    assert isinstance(settings.model, config.Multiscale)
    with parallel.build_networks():
        networks = multiscale.build(settings.model, LENGTH, 1, CONDITION)
        if game == "spectral":
            for side in networks["discriminator"].side_networks:  # type: ignore[union-attr]
                spectral_norm(side.convolutions[0])
            spectral_norm(networks["discriminator"].embed.project)  # type: ignore[arg-type, union-attr]
    if settings.engine.checkpoint_activations:
        layers.checkpoint_activations(list(networks.values()))
    noise_dim = int(networks["generator"].noise_dim)  # type: ignore[arg-type]
    optimized_networks = {
        name: prepare_network(parallel, name, net, Adam(1e-3, 0.5, 0.9)) for name, net in networks.items()
    }
    objective = Adversarial(
        {name: optimized.network for name, optimized in optimized_networks.items()},
        conditions=Conditions(
            generated=lambda batch: torch.stack(
                [(batch.rows % 3).float(), torch.ones_like(batch.rows.float())], dim=1
            )
        ),
        rules=Rules(settings.objective, seed=SEED, noise_dim=noise_dim, family=settings.model),
        arithmetic=Arithmetic(parallel.average, parallel.dtype, parallel.world_size),
    )
    return objective, optimized_networks


def train(
    folder: Path,
    game: str,
    engine: str,
    *more: str,
    steps: int = STEPS,
    spoiled: tuple[int, ...] = (),
    **changes: Any,
) -> dict[str, torch.nn.Module]:
    settings = settings_of(game, engine, *more)
    parallel = Parallel(settings.engine)  # anew for other settings; one process group may serve all
    try:
        return train_with(parallel, settings, folder, game, steps, spoiled, changes)
    finally:
        parallel.close()


def train_with(
    parallel: Parallel,
    settings: config.Config,
    folder: Path,
    game: str,
    steps: int,
    spoiled: tuple[int, ...],
    changes: dict[str, Any],
) -> dict[str, torch.nn.Module]:
    objective, optimized_networks = make(parallel, settings, game)
    schedule = training.Schedule(
        steps,
        GLOBAL_BATCH,
        rates=lambda step: {name: training.Rate(1e-3 / (1 + 0.1 * step), 0.9) for name in optimized_networks},
        decay=lambda step: 0.9,
        clip=5.0,
        report_every=1,
        checkpoint_every=STEPS,
        micro_batch=parallel.compute_micro_batch(GLOBAL_BATCH),
    )
    loader = Loader(parallel.rank, parallel.world_size, spoiled)
    schedule = replace(schedule, **changes)
    return trainer.fit(
        objective,
        optimized_networks,
        loader,
        parallel,
        schedule,
        job=Job(run=Run(folder), stage="gan", seed=SEED),
    )


SHOWN = ("discriminator/loss", "generator/loss", "discriminator/penalty", "discriminator/gradient_norm")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Run(folder).metrics("gan").read_text().splitlines()]


def curves(folder: Path, names: tuple[str, ...] = SHOWN) -> np.ndarray:
    return np.array([[line[name] for name in names] for line in lines(folder)], dtype=float)


def saved(folder: Path, step: int) -> dict[str, dict[str, Tensor]]:
    return checkpoint.load(Run(folder).checkpoints("gan"), step).state


def same_bits(one: dict[str, dict[str, Tensor]], other: dict[str, dict[str, Tensor]]) -> bool:
    assert set(one) == set(other)
    return all(torch.equal(value, other[file][name]) for file in one for name, value in one[file].items())


# ------------------------------------------------------------------------------- the two processes' program

BACKENDS = ("ddp", "zero1", "zero2", "zero3")
QUICK_BACKENDS = ("ddp", "zero2", "zero3")  # stage 1 takes the path of stage 2
QUICK = {"relativistic": QUICK_BACKENDS, "wgangp": ("zero3",), "spectral": ("zero2",)}
PARITY = {
    "relativistic": (*BACKENDS, "micro", "disk2", "offload3", "disk3", "mixed", "micro-ddp"),
    "wgangp": (*BACKENDS, "recompute3"),
    "spectral": (*BACKENDS, "offload"),
}
STOPPED, QUICKLY_STOPPED = (*BACKENDS, "disk2"), ("zero3",)
SOME, QUICK_HALVES = ("ddp", "zero2", "zero3"), ("zero2",)
HALF = "engine.precision=bf16"
FP16 = "engine.precision=fp16"
SPOILED = 4


def program(out: Path, whole: bool) -> None:
    """Train everything that takes two processes, in one launch, for the tests to read; by default the quick
    part of the matrix.
    """
    parallel = Parallel(settings_of("relativistic", "ddp").engine)
    stopped, some = (STOPPED, SOME) if whole else (QUICKLY_STOPPED, QUICK_HALVES)
    for game, engines in (PARITY if whole else QUICK).items():
        zero.SMALL = (
            0 if game == "spectral" else 100_000
        )  # at stage 3, cut everything, or keep all of it whole
        for engine in engines:
            steps = LONG if game == "relativistic" and engine in stopped else STEPS
            train(out / f"{game}-{engine}", game, engine, steps=steps)
    for engine in stopped:
        for steps in (STOP, LONG):
            train(out / f"resumed-{engine}", "relativistic", engine, steps=steps)
    for engine in some:
        train(out / f"spoiled-{engine}", "relativistic", engine, steps=6, spoiled=(SPOILED,))
        train(out / f"bf16-{engine}", "spectral", engine, HALF, steps=3)
    walk(out / "walk")
    halves(out, some)
    found = {"held": held(), "built": built()}
    (out / f"found-{parallel.rank}.json").write_text(json.dumps(found))
    parallel.close()


def walk(folder: Path) -> None:
    """On from one process at stage 3: two at stage 2, two at stage 3."""
    train(folder, "relativistic", "zero2", steps=2)
    train(folder, "relativistic", "zero3", steps=3)


def built() -> dict[str, int]:
    """Numbers of a generator that this process holds before it is shared out, by back end."""
    found: dict[str, int] = {}
    for engine in ("zero2", "zero3"):
        settings = settings_of("relativistic", engine)
        assert isinstance(settings.model, config.Multiscale)
        with Parallel(settings.engine).build_networks():
            generator = multiscale.build(settings.model, LENGTH, 1, CONDITION)["generator"]
        found[engine] = sum(p.numel() for p in generator.parameters() if not p.is_meta)
    return found


def held() -> dict[str, dict[str, int]]:
    """Bytes that this process holds of a generator: weights, master copy and moments, by back end."""
    found: dict[str, dict[str, int]] = {}
    for engine in BACKENDS:
        settings = settings_of("relativistic", engine)
        parallel = Parallel(settings.engine)
        objective, optimized_networks = make(parallel, settings, "relativistic")
        loader = Loader(parallel.rank, parallel.world_size)
        batch = next(loader.iterate_batches())
        optimized_networks["discriminator"].require_gradients(False)
        optimized = optimized_networks["generator"]
        optimized.minimise(objective.generator_loss(batch)["loss"])
        found[engine] = optimized.count_held_bytes() | {"numbers": sum(np.prod(s) for s in shapes(optimized))}
        found[engine] = {name: int(value) for name, value in found[engine].items()}
    return found


def shapes(optimized: OptimizedNetwork) -> list[tuple[int, ...]]:
    return [tuple(getattr(p, "ds_shape", p.shape)) for p in optimized.trainable.values()]


def halves(out: Path, engines: tuple[str, ...]) -> None:
    """fp16 where a CPU is told that it can: a first scale that must overflow, and one that soon grows."""
    from deepspeed.accelerator import get_accelerator

    type(get_accelerator()).is_fp16_supported = lambda self: True  # type: ignore[method-assign]
    processes_module.supports_fp16 = lambda device: True  # type: ignore[assignment]
    for name, scale, window, stop in (("fp16", 30, 1000, 2), ("grown", 8, 2, 3)):
        optimized_network.FIRST_SCALE = zero.FIRST_SCALE = 2.0**scale
        optimized_network.SCALE_WINDOW = zero.SCALE_WINDOW = window
        for engine in engines:
            for steps in (stop, 2 * stop):
                train(out / f"{name}-resumed-{engine}", "relativistic", engine, FP16, steps=steps)
            train(out / f"{name}-{engine}", "relativistic", engine, FP16, steps=2 * stop)


def alone(
    folder: Path, engine: str, steps: int, game: str = "relativistic", *more: str, **options: Any
) -> Path:
    train(folder, game, engine, *more, steps=steps, **options)
    assert not torch.distributed.is_initialized() and "LOCAL_RANK" not in os.environ
    return folder


if __name__ == "__main__":
    program(Path(sys.argv[1]), whole="--whole" in sys.argv)
