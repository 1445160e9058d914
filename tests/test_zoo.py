"""Every family of the zoo: one table of truths for all of them. Run under torchrun, this file is the two
processes' own program.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from distgan import config, draws, models
from distgan.data.loader import Batch
from distgan.engine import checkpoint, loop
from distgan.objectives import game
from distgan.parallel import Adam, Parallel
from distgan.runs import Run

GENERATOR = ["generator.width=16", "generator.noise_dim=6", "generator.token_noise_dim=2"]
NO_DROPOUT = ["dropout=0.0", "critic_dropout=0.0"]  # processes drop differently; all else they do alike
SMALL = {
    "multiscale": [*GENERATOR, "discriminator.width=16", "discriminator.side_channels=2"],
    "seed": ["depth=1", "critic_depth=2", *NO_DROPOUT],
    "mlp_gan": ["noise_dim=4", "width=16", "critic_width=16"],
    "tts_gan": ["depth=1", "critic_depth=1", "noise_dim=6", "attention_dropout=0.0", *NO_DROPOUT],
    "timegan": ["width=6", "layers=2", "embedding_steps=2", "supervised_steps=1"],
}
TRAINED = tuple(SMALL)  # by gradients, in a game
ADAM = Adam(2e-3, beta1=0.5, epsilon=1e-3)  # an epsilon that drowns rounding
LENGTH, CHANNELS, GLOBAL_BATCH, STEPS, SEED = 20, 2, 8, 6, 7


def small(name: str, *more: str) -> config.Config:
    own = [f"model.{setting}" for setting in SMALL.get(name, [])]
    common = ["bank.condition_dim=4", "train.steps=6", "model.name=" + name]
    return config.load(None, [*common, *own, *more])


def noise_and_condition(generator: nn.Module, count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, models.noise_numbers(generator)), torch.randn(count, 4)


def a_batch(count: int, length: int, channels: int, step: int = 0, first: int = 0) -> Batch:
    """Waves with gaps, whatever the number of processes: sample i of step s is always the same."""
    sample = torch.arange(first, first + count)
    phase = draws.uniform(SEED, step, "phase", sample, (1, channels))
    series = 0.8 * torch.sin(torch.linspace(0, 6, length)[None, :, None] + 6 * phase)
    mask = (draws.uniform(SEED, step, "gaps", sample, (length, channels)) > 0.05).float()
    return Batch(series * mask, mask, sample % 5, sample, step)


def condition_of(batch: Batch) -> Tensor:
    return torch.stack([batch.rows, batch.rows % 2, batch.rows % 3, batch.rows * 0], dim=1).float() - 1


class Loader:
    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.share, self.rank = GLOBAL_BATCH // world_size, rank

    def batches(self, first_step: int = 0) -> Iterator[Batch]:
        step = first_step
        while True:
            yield a_batch(self.share, LENGTH, CHANNELS, step, self.rank * self.share)
            step += 1


def train(name: str, parallel: Parallel, folder: Path, steps: int = STEPS) -> dict[str, nn.Module]:
    """A few steps of a family as the stage does them, without the stages before it."""
    settings = small(name)
    torch.manual_seed(SEED)
    networks = models.build(settings, LENGTH, CHANNELS)
    trainees = {key: parallel.prepare(key, network, ADAM) for key, network in networks.items()}
    objective = game(settings, {key: t.network for key, t in trainees.items()}, condition_of, parallel.mean)
    schedule = loop.Schedule(steps, GLOBAL_BATCH, lambda step: {}, lambda step: 0.5, report_every=1)
    loader = Loader(parallel.rank, parallel.world_size)
    run = Run(folder)
    return loop.fit(objective, trainees, loader, parallel, schedule, run=run, stage="gan", seed=SEED)


@pytest.fixture(scope="module")
def alone() -> Parallel:
    return Parallel(config.Engine(threads=1))


# ------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("channels", [1, 3, 28])
@pytest.mark.parametrize("length", [24, 100, 2190])
def test_any_length_and_channels(name: str, length: int, channels: int) -> None:
    if length == 2190 and channels == 3:
        pytest.skip("the corners suffice at a year")
    networks = models.build(small(name), length, channels)
    generator = models.sampler(small(name), networks).eval()
    with torch.no_grad():
        series = generator(*noise_and_condition(generator, 2))
    assert series.shape == (2, length, channels) and series.dtype == torch.float32
    assert torch.isfinite(series).all()


@pytest.mark.parametrize("name", models.MODELS)
def test_half_precision_comes_back_as_it_went_in(name: str) -> None:
    generator = models.sampler(small(name), models.build(small(name), 24, 3)).eval()
    noise, condition = noise_and_condition(generator, 2)
    series = generator(noise.bfloat16(), condition.bfloat16())
    assert series.dtype == torch.bfloat16 and torch.isfinite(series).all()


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_parameter_is_trained_and_gaps_do_no_harm(name: str, channels: int) -> None:
    """In some phase, every parameter of the phase's network has a gradient; a missing value is not a number
    nowhere.
    """
    torch.manual_seed(0)
    settings = small(name)
    networks = models.build(settings, 48, channels)
    objective = game(settings, networks, condition_of)
    for phase in objective.phases:
        for key, network in networks.items():
            network.requires_grad_(key == phase.network)
        values = phase.loss(a_batch(4, 48, channels))
        assert all(torch.isfinite(value) for value in values.values()), phase.name
        values["loss"].backward()
    idle = [
        f"{key}.{parameter}"
        for key, network in networks.items()
        for parameter, value in network.named_parameters()
        if value.grad is None
    ]
    assert idle == []


# ------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("name", TRAINED)
def test_stopped_and_resumed_is_never_stopped(name: str, alone: Parallel, tmp_path: Path) -> None:
    train(name, alone, tmp_path / "whole")
    train(name, alone, tmp_path / "parts", steps=3)
    train(name, alone, tmp_path / "parts")
    whole, parts = (checkpoint.load(Run(tmp_path / x).checkpoints("gan"), STEPS) for x in ("whole", "parts"))
    assert set(whole.state) == set(parts.state)
    for file, tensors in whole.state.items():
        assert all(torch.equal(parts.state[file][key], value) for key, value in tensors.items()), file


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All families trained by two processes, in one launch."""
    out = tmp_path_factory.mktemp("two")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__, str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def curves(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in Run(folder).metrics("gan").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key.endswith(("loss", "norm"))} for line in lines]


@pytest.mark.parametrize("name", TRAINED)
def test_two_processes_train_as_one(name: str, alone: Parallel, two: Path, tmp_path: Path) -> None:
    train(name, alone, tmp_path)
    for mine, theirs in zip(curves(tmp_path), curves(two / name), strict=True):
        assert mine == pytest.approx(theirs, rel=2e-3, abs=2e-4)
    ours, others = (
        checkpoint.load(Run(folder).checkpoints("gan"), STEPS).state for folder in (tmp_path, two / name)
    )
    averages = [file for file in ours if file.endswith(".average")]
    for file in averages:
        for key, value in ours[file].items():
            torch.testing.assert_close(others[file][key], value, atol=1e-4, rtol=0)


# ----------------------------------------------------------------------------------------- the whole way


if __name__ == "__main__":
    processes = Parallel(config.Engine())
    for family in TRAINED:
        train(family, processes, Path(sys.argv[1]) / family)
    processes.close()
