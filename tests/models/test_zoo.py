"""Every family of the zoo: one table of truths for all of them. Run under torchrun, this file is the two
processes' own program.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import distgan
from distgan import config, models
from distgan.data.loader import Batch
from distgan.data.store.reader import Store
from distgan.engine import checkpoint
from distgan.errors import UserError
from distgan.models import make_objective
from distgan.models.recurrent import uniform
from distgan.models.timegan import Game as TimeGAN
from distgan.objectives.losses import of_global_means
from distgan.parallel.processes import Parallel
from distgan.run import Run
from distgan.train import main
from tests.helpers.settings import TINY
from tests.helpers.zoo import (
    CHANNELS,
    GENERATORS,
    LABELS,
    LENGTH,
    SEED,
    SMALL,
    STEPS,
    TRAINED,
    a_batch,
    built,
    condition_of,
    noise_and_condition,
    one_of_two,
    play,
    ready,
    small,
    train,
    trained_on,
)


@pytest.fixture(scope="module")
def alone() -> Parallel:
    return Parallel(config.Engine(threads=1))


# ------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("channels", [1, 3, 28])
@pytest.mark.parametrize("length", [24, 100, 2190])
def test_any_length_and_channels(name: str, length: int, channels: int) -> None:
    if length == 2190 and channels == 3:
        pytest.skip("the corners suffice at a year")
    generator = ready(name, length, channels)
    with torch.no_grad():
        series = generator(*noise_and_condition(generator, 2, channels))
    assert series.shape == (2, length, channels) and series.dtype == torch.float32
    assert torch.isfinite(series).all()


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("channels", [1, 28])
@pytest.mark.parametrize("length", [24, 2190])
def test_a_discriminator_takes_any_length_and_channels(name: str, length: int, channels: int) -> None:
    networks, batch = built(small(name), length, channels), a_batch(2, length, channels)
    condition = one_of_two(batch) if name in ("nr_gan", *LABELS) else condition_of(batch)
    series = batch.series
    if name == "timegan":  # whose discriminator looks at latents, and at labels where there are some
        condition = series.new_empty(2, 0)
        series = networks["autoencoder"].embed(series, condition)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.no_grad():
            logits = networks["discriminator"].eval()(series.to(dtype), condition.to(dtype))
        assert len(logits) == 2 and torch.isfinite(logits).all()


@pytest.mark.parametrize("name", GENERATORS)
def test_half_precision_comes_back_as_it_went_in(name: str) -> None:
    generator = ready(name, 24, 3)
    noise, condition = noise_and_condition(generator, 2, channels=3)
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
    networks = built(settings, 48, channels)
    objective = play(settings, networks)
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


@pytest.mark.parametrize("name", ["tts_gan", "tts_cgan", "timegan", "crnn_gan"])
def test_networks_that_are_called_in_parts_hold_no_parameter_themselves(name: str) -> None:
    """Stage 3 of ZeRO gathers a module's own parameters when it is called, which `features` does not do."""
    networks = built(small(name), 24, CHANNELS)
    parts = ["discriminator"] if name.startswith("tts") else list(networks)
    assert [key for part in parts for key, _ in networks[part].named_parameters(recurse=False)] == []


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


# ------------------------------------------------------------------------------------------------- the games


def test_a_curved_mean_has_the_global_gradient() -> None:
    """Two processes' gradients of a root average to the gradient of the root of their mean."""
    parts = [torch.tensor(1.0, requires_grad=True), torch.tensor(9.0, requires_grad=True)]
    everywhere = torch.tensor(5.0)
    values = [of_global_means(torch.sqrt, part, lambda mean: everywhere) for part in parts]
    assert sum(value.item() for value in values) / 2 == pytest.approx(5**0.5)
    for value, part in zip(values, parts):
        value.backward()
        assert part.grad is not None and part.grad.item() == pytest.approx(0.5 / 5**0.5)


def timegan(*more: str) -> TimeGAN:
    torch.manual_seed(0)
    settings = small("timegan", *more)
    objective = make_objective(settings, models.build(settings, 10, 2, labels=3), condition_of)
    assert isinstance(objective, TimeGAN)
    return objective


def whole_batch(count: int = 4, length: int = 10, channels: int = 2) -> Batch:
    batch = a_batch(count, length, channels)
    return Batch(torch.tanh(batch.series), torch.ones_like(batch.mask), batch.rows, batch.sample, 0)


def test_timegan_losses_by_hand() -> None:
    """Each formula of the source written out again, on values in [0, 1]."""
    objective, batch = timegan("model.gamma=0.5"), whole_batch()
    auto, generator, critic = (objective.networks[k] for k in ("autoencoder", "generator", "discriminator"))
    x = (batch.series + 1) / 2
    label = condition_of(batch)[:, -3:]  # the static feature
    steps = label[:, None].expand(-1, 10, -1)
    h = auto.embedder(torch.cat([x, steps], 2)).sigmoid()
    recovered = auto.recovery(h).sigmoid()
    s = ((h[:, 1:] - generator.supervisor(h).sigmoid()[:, :-1]) ** 2).mean()
    e0 = 10 * ((x - recovered) ** 2).mean().sqrt()
    assert objective.embedding_loss(batch)["loss"].item() == pytest.approx(e0.item(), rel=1e-4)
    assert objective.supervised_loss(batch)["loss"].item() == pytest.approx(s.item(), rel=1e-4)
    joint = objective.autoencoder_loss(batch)["loss"].item()
    assert joint == pytest.approx((e0 + 0.1 * s).item(), rel=1e-4)

    def entropy(latent: Tensor, label: float) -> Tensor:
        share = critic.stack(torch.cat([latent, steps], 2)).sigmoid()
        return -(share.log() if label else (1 - share).log()).mean()

    raw, supervised = objective.fakes(batch, label, "discriminator noise")
    d = entropy(h, 1) + entropy(supervised, 0) + 0.5 * entropy(raw, 0)
    assert objective.discriminator_loss(batch)["loss"].item() == pytest.approx(d.item(), rel=1e-4)
    raw, supervised = objective.fakes(batch, label, "generator noise")
    fake = auto.recovery(supervised).sigmoid()
    deviation = [(y.var(0, unbiased=False) + 1e-6).sqrt() for y in (fake, x)]
    v = (deviation[0] - deviation[1]).abs().mean() + (fake.mean(0) - x.mean(0)).abs().mean()
    g = entropy(supervised, 1) + 0.5 * entropy(raw, 1) + 100 * s.sqrt() + 100 * v
    assert objective.generator_loss(batch)["loss"].item() == pytest.approx(g.item(), rel=1e-4)


def test_timegan_has_three_parts_and_two_generator_updates_for_one() -> None:
    phases = timegan().phases
    due = [[phase.name for phase in phases if phase.due(step)] for step in range(6)]
    joint = ["generator", "autoencoder"]
    assert due[:3] == [["embedding"], ["embedding"], ["supervised"]]
    assert due[3:] == [[*joint, "discriminator"], joint, [*joint, "discriminator"]]
    rests = phases[-1].skip
    assert rests is not None and rests({"loss": 0.15}) and not rests({"loss": 0.16})
    assert not rests({"loss": float("nan")})  # a loss that is no number must reach the check of the loop


def test_a_network_that_rests_keeps_its_weights(alone: Parallel, tmp_path: Path) -> None:
    train("timegan", alone, tmp_path, more=("model.critic_floor=100",))
    torch.manual_seed(SEED)
    before = models.build(small("timegan"), LENGTH, CHANNELS)["discriminator"].state_dict()
    after = checkpoint.load(Run(tmp_path).checkpoints("gan"), STEPS).state["discriminator"]
    assert all(torch.equal(before[key], value) for key, value in after.items())
    lines = [json.loads(line) for line in Run(tmp_path).metrics("gan").read_text().splitlines()]
    assert [line.get("discriminator/frozen") for line in lines] == [None, None, None, 1, None, 1]


def test_crnn_gan_by_hand() -> None:
    torch.manual_seed(0)
    settings = small("crnn_gan", "objective.loss=nonsaturating", "objective.penalty.kind=none")
    objective = make_objective(settings, models.build(settings, 10, 2), condition_of)
    batch = whole_batch()
    pretraining, critic, generator = objective.phases
    fake = objective.networks["generator"](objective.noise(batch, "generator noise"), None)
    features = objective.networks["discriminator"].features
    matched = ((features(fake) - features(batch.series)) ** 2).mean().item()
    assert generator.loss(batch)["loss"].item() == pytest.approx(matched, rel=1e-4)
    error = ((fake - batch.series) ** 2).mean().item()
    assert pretraining.loss(batch)["loss"].item() == pytest.approx(error, rel=1e-4)
    other = objective.networks["generator"](objective.noise(batch, "discriminator noise"), None)
    logits = objective.networks["discriminator"](other, None)
    values = critic.loss(batch)
    assert values["generator_entropy"].item() == pytest.approx(
        -logits.sigmoid().log().mean().item(), rel=1e-4
    )
    assert values["critic_entropy"].item() == pytest.approx(values["d"].item() / 2, rel=1e-4)
    ahead = {"critic_entropy": 0.4, "generator_entropy": 0.6}
    behind = {"critic_entropy": 0.6, "generator_entropy": 0.4}
    even = {"critic_entropy": 0.6, "generator_entropy": 0.6}
    assert [critic.skip(state) for state in (ahead, behind, even)] == [True, False, False]
    assert [generator.skip(state) for state in (ahead, behind, even)] == [False, True, False]
    assert (pretraining.stop, critic.start, generator.start) == (2, 2, 2)


def test_every_family_gives_the_noise_its_law() -> None:
    assert uniform(torch.tensor([-8.0, 0.0, 8.0])).tolist() == pytest.approx([0, 0.5, 1])


# ----------------------------------------------------------------------------- a few series, learned by heart


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
    made = learned("mlp_gan", 1500, batch, 3e-3, "objective.penalty.weight=0.05")
    distance = torch.cdist(made.flatten(1), batch.series[:2].flatten(1))
    assert distance.amin(1).median() < 0.5  # the shapes are 2.2 apart
    share = (distance[:, 0] < distance[:, 1]).float().mean()
    assert 0.2 < share < 0.8


BY_HEART = {  # steps of training and settings beside the common ones
    "multiscale": (
        900,
        "model.generator.width=32",
        "model.generator.scales=[{ratio: 1, depth: 1}, {ratio: 2, depth: 1}]",
        "model.discriminator.width=32",
        "model.discriminator.scales=[{ratio: 1, depth: 1}, {ratio: 4, depth: 1}]",
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
    noise = torch.randn(400, models.noise_width(sampler))
    with torch.no_grad():
        made = sampler(noise, condition_of(batch)[:1].expand(400, -1))
    return torch.cdist(made.flatten(1), shapes)


@pytest.mark.parametrize("name", BY_HEART)
def test_both_of_two_shapes_are_learned_by_heart(name: str) -> None:
    """Nearly every series is near one shape or the other, as none is before training. The shapes are 2.4
    apart; their mean is 1.2 from either, a flat line 1.7.
    """
    (shapes, batch), (steps, *own) = waves(16), BY_HEART[name]
    untrained = distances(trained_on(name, 0, batch, 2e-3, *own), shapes, batch)
    assert untrained.amin(1).quantile(0.1) > 1.3
    more = [*own, "objective.penalty.fraction=1"]
    distance = distances(trained_on(name, steps, batch, 2e-3, *more, betas=(0.0, 0.99)), shapes, batch)
    assert distance.amin(1).quantile(0.9) < 1
    near = (distance < 1).float().mean(0)
    assert near.min() > 0.2, near.tolist()


def test_timegan_learns_means_and_deviations_by_heart() -> None:
    batch = patterns(16)
    steps = ["model.embedding_steps=80", "model.supervised_steps=20"]
    made = learned("timegan", 200, batch, 2e-2, *steps, "model.width=8")
    assert (made.mean(0) - batch.series.mean(0)).abs().mean() < 0.15
    assert (made.std(0) / batch.series.std(0)).sub(1).abs().mean() < 0.5


# --------------------------------------------------------------------------------------------- the classical


def fitted(name: str, series: Tensor, *more: str) -> nn.Module:
    settings = small(name, *more)
    generator = models.build(settings, *series.shape[1:])["generator"]
    generator.fit(series, torch.ones_like(series), 0)
    return generator


def test_pca_gmm_has_the_mean_and_covariance_of_its_series() -> None:
    torch.manual_seed(0)
    mix = torch.randn(3, 8)
    series = (torch.randn(400, 3) @ mix + 2)[..., None]
    generator = fitted("pca_gmm", series, "model.components=3", "model.mixtures=2")
    made = generator(*noise_and_condition(generator, 4000))[..., 0]
    assert (made.mean(0) - series[..., 0].mean(0)).abs().max() < 0.2
    error = torch.cov(made.T) - torch.cov(series[..., 0].T)
    assert error.norm() < 0.15 * torch.cov(series[..., 0].T).norm()


def test_gaussian_has_the_mean_and_spectrum_of_its_series() -> None:
    torch.manual_seed(0)
    times = torch.arange(24.0)
    phase = 6.28 * torch.rand(300, 1)
    wave = torch.sin(6.28 / 8 * times + phase)
    series = torch.stack([wave, 0.5 * wave], dim=2) + torch.tensor([3.0, 1.0]) + 0.1 * torch.randn(300, 24, 2)
    generator = fitted("gaussian", series)
    made = generator(*noise_and_condition(generator, 2000))
    assert (made.mean((0, 1)) - series.mean((0, 1))).abs().max() < 0.1
    power = [torch.fft.rfft(x - x.mean(0), dim=1).abs().square().mean(0) for x in (made, series)]
    assert power[0].argmax(0).tolist() == [3, 3]
    assert (power[0] - power[1]).norm() < 0.1 * power[1].norm()
    assert torch.corrcoef(made[:, 0].T)[0, 1] > 0.8  # channels move together


def test_bootstrap_joins_real_pieces_and_cluster_mean_averages_neighbours() -> None:
    torch.manual_seed(0)
    series = torch.cat([torch.randn(20, 12, 1) + 10, torch.randn(20, 12, 1) - 10])
    boot = fitted("bootstrap", series, "model.block=4")
    pieces = boot(*noise_and_condition(boot, 5)).unflatten(1, (3, 4))
    for place in range(3):
        real = series.unflatten(1, (3, 4))[:, place]
        assert all((real == piece).all((1, 2)).any() for piece in pieces[:, place])
    mean = fitted("cluster_mean", series, "model.clusters=2", "model.members=3")
    made = mean(*noise_and_condition(mean, 200))
    assert made.abs().amin() > 7  # never across clusters
    assert 0.3 < (made.mean((1, 2)) > 0).float().mean() < 0.7
    assert made.std(0).mean() < 12


# --------------------------------------------------------------------------------------------- the whole way


@pytest.fixture(scope="module")
def banked(homes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run up to its bank, which does not depend on the model."""
    folder = tmp_path_factory.mktemp("zoo") / "run"
    common = [f"data.source={homes_csv}", *(text for text in TINY if not text.startswith("model."))]
    stages = ["--stages", "prepare,encoder,encode,cluster,bank"]
    assert main(["--run-dir", str(folder), *common, *stages]) == 0
    return folder, common


@pytest.mark.parametrize("name", [name for name in GENERATORS if name not in ("multiscale", *LABELS)])
def test_trained_generated_and_loaded(banked: tuple[Path, list[str]], tmp_path: Path, name: str) -> None:
    """The stages as users run them; then the same series from Python, in original units."""
    shutil.copytree(banked[0], tmp_path / "run")
    own = [f"model.{setting}" for setting in SMALL.get(name, [])]
    settings = [*banked[1], f"model={name}", *own, "train.steps=4", "train.sample_every=2"]
    folder = str(tmp_path / "run")
    assert main(["--run-dir", folder, *settings, "--stages", "gan,generate"]) == 0
    saved = Run(tmp_path / "run").config
    saved.write_text(saved.read_text().replace("precision: fp32", "precision: fp16"))  # as of a GPU
    run = distgan.load(folder)
    made = run.sample(12)
    stored = Store.open(Run(tmp_path / "run").synthetic).rows(np.arange(12))
    assert made.shape == (12, 336, 1) and len(run.times()) == 336 and np.isfinite(made).all()
    np.testing.assert_allclose(made, stored, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(run.sample(12, seed=1), made)
    with pytest.raises(UserError, match=r"generate\.count"):
        run.sample(0)
    if config.FAMILIES[name].any_length:
        assert run.sample(3, length=400).shape == (3, 400, 1) and len(run.times(400)) == 400
    else:
        with pytest.raises(UserError, match=f"model {name} has weights for each of its 336 steps"):
            run.sample(3, length=400)


def test_loading_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run folder"):
        distgan.load(tmp_path)


if __name__ == "__main__":
    processes = Parallel(config.Engine())
    for family in TRAINED:
        train(family, processes, Path(sys.argv[1]) / family)
    processes.close()
