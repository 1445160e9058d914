"""What a GPU would be given, on a device that computes nothing: all in one place, and nothing read from it.

The whole step of every family runs on torch's meta device, as it does on a GPU. A tensor that is left on the
CPU, a number that is read and a copy that is waited for are found without a GPU.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distgan import config, models, rng
from distgan.data.loader import pin
from distgan.data.scaling import Scaler
from distgan.data.season import Season
from distgan.engine.ema import Average
from distgan.engine.training import Job, Schedule, Training
from distgan.errors import UserError
from distgan.models.vae import VAE
from distgan.objectives.adversarial import Arithmetic, Conditions
from distgan.objectives.base import Objective
from distgan.objectives.hidden_ranges import Hiding
from distgan.objectives.series_features import Whitening, measure_features
from distgan.objectives.vae import VariationalAutoencoder
from distgan.parallel import zero
from distgan.parallel.preparation import prepare_network
from distgan.parallel.processes import PRECISIONS
from distgan.pipeline import runner
from distgan.planning import memory
from distgan.planning.trace import ImaginaryProcesses
from distgan.run import Run
from tests.helpers import zoo
from tests.helpers.far_device import FAR, watch_device

SHALLOW = [
    f"model.{part}.scales=[{{ratio: {ratio}, depth: 1, heads: 4}}]"
    for part, ratio in (("generator", 1), ("discriminator", 2))
]


@pytest.fixture(autouse=True)
def fused_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Adam's fused step, which a GPU takes, be made on the meta device."""
    monkeypatch.setattr(sys.modules["torch.optim.adam"], "_device_dtype_check_for_fused", lambda *given: None)


def prepare(settings: config.Config, networks: dict[str, nn.Module], precision: str) -> tuple[Any, Any]:
    """The processes, of which there is one, and its networks with their optimizers."""
    parallel = ImaginaryProcesses(settings.engine, device=FAR.type)
    parallel.compiles, parallel.dtype = False, PRECISIONS[precision]
    return parallel, {name: prepare_network(parallel, name, net, zoo.ADAM) for name, net in networks.items()}


def watch_steps(objective: Objective, optimized: Any, parallel: Any, folder: Path) -> list[str]:
    """What is wrong with the second of two steps; the first may fill caches."""
    schedule = Schedule(9, zoo.GLOBAL_BATCH, lambda step: {}, lambda step: 0.5)
    job = Job(run=Run(folder), stage="gan", seed=0)
    training = Training(objective, optimized, parallel, schedule, job)
    with watch_device() as found:
        for step in range(2):
            found.clear()
            batch = zoo.a_batch(zoo.GLOBAL_BATCH, zoo.LENGTH, zoo.CHANNELS, step)
            training.advance(batch.to(FAR, non_blocking=True))
    return found


def make_game(name: str, precision: str, *more: str) -> tuple[Objective, dict[str, Any], Any]:
    settings = zoo.small(name, *(SHALLOW if name == "multiscale" else ()), *more)
    parallel, optimized = prepare(settings, zoo.built(settings, zoo.LENGTH, zoo.CHANNELS), precision)
    find = zoo.one_of_two if name in ("nr_gan", *zoo.LABELS) else zoo.condition_of
    objective = models.make_objective(
        settings,
        {key: each.network for key, each in optimized.items()},
        Conditions(lambda batch: find(batch).to(FAR, non_blocking=True)),
        Arithmetic(parallel.average, parallel.dtype),
        steps_per_day=4,
    )
    return objective, optimized, parallel


@pytest.mark.parametrize(
    ("name", "precision"), [("multiscale", "fp32"), *((name, "fp16") for name in zoo.TRAINED)]
)
def test_a_step_of_every_family_waits_for_nothing(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    game = make_game(name, precision)
    # A phase that may be left out is decided on by the host: of these families the one thing that it reads.
    monkeypatch.setattr(Training, "average_over_processes", lambda self, values: dict.fromkeys(values, 1.0))
    assert not watch_steps(*game, tmp_path)


@pytest.mark.parametrize(
    "more",
    [
        ["objective.penalty.kind=exact"],
        ["objective.penalty.kind=interpolated"],
        ["objective.penalty.kind=none", "objective.loss=hinge"],
        [f"objective.augment.{each}" for each in ("day_shift=true", "jitter=0.1", "cutout=0.2", "crop=0.2")],
        ["objective.loss=wgangp-mode", "objective.moments=1", "objective.features=1"],
    ],
    ids=["exact", "interpolated", "none", "augment", "terms"],
)
def test_a_step_of_every_game_waits_for_nothing(more: list[str], tmp_path: Path) -> None:
    assert not watch_steps(*make_game("mlp_gan", "fp16", *more), tmp_path)


@pytest.mark.parametrize("name", [name for name in zoo.TRAINED if name != "nr_gan"])
def test_sampling_waits_for_nothing(name: str) -> None:
    settings = zoo.small(name)
    networks = zoo.built(settings, zoo.LENGTH, zoo.CHANNELS)
    sampler = models.join_sampler(settings, networks).to(FAR).eval()
    width = models.compute_condition_width(settings, zoo.CHANNELS, zoo.LABELS.get(name, 0))
    noise = torch.empty(2, models.compute_noise_width(sampler), device=FAR)
    with watch_device() as found, torch.inference_mode():
        assert sampler(noise, torch.empty(2, width, device=FAR)).is_meta
    assert not found


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_step_of_the_encoder_waits_for_nothing(precision: str, tmp_path: Path) -> None:
    small = ["patch=5", "width=8", "depth=1", "decoder_depth=1", "heads=2", "latent_dim=8"]
    settings = config.load(None, [f"encoder.{each}" for each in small])
    network = VAE(zoo.LENGTH, zoo.CHANNELS, settings.encoder)
    parallel, optimized = prepare(settings, {"vae": network}, precision)
    objective = VariationalAutoencoder(
        {"vae": optimized["vae"].network}, settings.encoder, 0, parallel.average, parallel.dtype, Hiding(0.5)
    )
    assert not watch_steps(objective, optimized, parallel, tmp_path)


def test_features_of_a_year_wait_for_nothing() -> None:
    series, given = torch.empty(2, 700, 1, device=FAR), torch.empty(2, 2, device=FAR)
    whitening = Whitening.fit(
        measure_features(torch.rand(3, 700, 1), torch.rand(3, 700, 1), torch.rand(3, 2), 24)
    )
    whitening = whitening.to(FAR)
    with watch_device() as found:
        for _ in range(2):
            found.clear()
            whitening.apply(measure_features(series, series, given, 24))
    assert not found


SCALERS = {
    "standard": Scaler("log1p", "standard", 1.0, 4.0, 0.0, 9.0),
    "minmax": Scaler("none", "minmax", 1.0, 1.0, 0.0),
    "dataset": Scaler("none", "standard", 1.0, 4.0, 0.0, scope="dataset", locations=(0.5,), scales=(2.0,)),
    "season": Scaler("none", "standard", 1.0, 4.0, None, season=Season(((0.5,), (-0.5,)), ((1.2,), (0.8,)))),
}


def fit_jointly() -> Scaler:
    """A scaler with normal scores and whitening."""
    series = np.random.default_rng(0).gamma(2.0, size=(200, 6, 1)).astype(np.float32)
    keys = ["data.scaling.marginal=normal_scores", "data.scaling.whitening=0.5", "data.scaling.scope=dataset"]
    return Scaler.fit([series], config.load(None, keys).data.scaling, config.Bounds(lower=0.0))


@pytest.mark.parametrize("name", [*SCALERS, "joint"])
def test_giving_location_and_scale_waits_for_nothing(name: str) -> None:
    scaler = SCALERS[name] if name in SCALERS else fit_jointly()
    shapes = torch.empty(3, 6, 1, device=FAR, requires_grad=True)
    mask, attributes = torch.empty(3, 6, 1, device=FAR), torch.empty(3, 1, 2, device=FAR)
    with watch_device() as found:
        for _ in range(2):
            found.clear()
            made = scaler.standardise(shapes, mask, attributes)
            (made.sum() + scaler.make_relative(shapes, attributes).sum()).backward()
    assert not found


# ------------------------------------------------------------------------------ what these tests would see


def use_number(x: Tensor) -> Any:
    return float(x.sum())


def use_condition(x: Tensor) -> Any:
    return x if x.isnan().any() else 2 * x


def choose_by_mask(x: Tensor) -> Any:
    return x[x > 0]


def add_cpu(x: Tensor) -> Any:
    return x + torch.ones(3, 2)


@pytest.mark.parametrize("work", [use_number, use_condition, choose_by_mask, add_cpu])
def test_reading_from_the_device_is_an_error(work: Any) -> None:
    with watch_device(), pytest.raises((RuntimeError, NotImplementedError)):
        work(torch.empty(3, 2, device=FAR))


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda x: x @ torch.ones(2, 2), "on the CPU"),
        (lambda x: x[torch.tensor([0, 2])], "on the CPU"),
        (lambda x: x[[0, 2]], "waits for a copy of an index"),
        (lambda x: x + torch.tensor([1.0, 2.0], device=x.device), "waits for a copy of numbers"),
        (lambda x: x + torch.ones(3, 2).to(x.device), "waits for a copy of (3, 2)"),
        (lambda x: x.copy_(torch.ones(3, 2)), "waits for a copy of (3, 2)"),
    ],
)
def test_waiting_is_found(work: Any, words: str) -> None:
    with watch_device() as found:
        work(torch.empty(3, 2, device=FAR))
    assert len(found) == 1 and words in found[0]


def test_what_does_not_wait_is_not_found() -> None:
    with watch_device() as found:
        x = torch.ones(3, 2).to(FAR, non_blocking=True)
        x = torch.where(x > 0, x * torch.tensor(2.0), 0.0) + torch.arange(2, device=FAR)
        x[:, :1].add_(1)
    assert not found


def test_a_gpu_is_given_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its driver copies from other memory only after all work that it was given before."""
    asked: list[Any] = []
    make = torch.empty

    def spy(*shape: Any, pin_memory: bool = False, **given: Any) -> Tensor:
        asked.append(pin_memory)
        return make(*shape, **given)

    monkeypatch.setattr(torch, "empty", spy)
    monkeypatch.setattr(Tensor, "to", lambda self, *place, **given: self)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: asked.append("loader") or self)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for place in ("cuda", "cpu"):
        rng.draw_keyed_normal(0, 0, "noise", torch.arange(2), (3,), torch.device(place))
    pin(torch.ones(2))
    assert asked == [True, False, "loader"]


@pytest.mark.parametrize(
    ("device", "optimizer", "pinned"),
    [("cuda", "cpu", True), ("cuda", "nvme", False), ("cuda", "none", False), ("cpu", "cpu", False)],
)
def test_what_a_gpu_offloads_to_the_cpu_is_pinned(
    device: str, optimizer: str, pinned: bool, tmp_path: Path
) -> None:
    offload = {"optimizer": optimizer, "path": str(tmp_path) if optimizer == "nvme" else None}
    settings = config.Engine.model_validate({"zero": 3, "offload": {**offload, "parameters": "cpu"}})
    found = zero._make_engine_config(ImaginaryProcesses(settings, device=device), 3)["zero_optimization"]
    assert found["offload_optimizer"]["pin_memory"] == pinned
    assert found["offload_param"]["pin_memory"] == (device == "cuda")


def test_weights_of_averaged_recurrent_layers_are_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """As cuDNN wants them; `flatten_parameters` does it on a GPU alone. The average goes on in that piece."""

    def join(layer: nn.LSTM) -> None:
        weights = list(layer.parameters())
        joined = torch.cat([weight.data.flatten() for weight in weights])
        for weight, piece in zip(weights, joined.split([weight.numel() for weight in weights])):
            weight.data = piece.view_as(weight)

    network = nn.Sequential(nn.LSTM(2, 3))
    monkeypatch.setattr(nn.LSTM, "flatten_parameters", join)
    average = Average(network)
    for weight in network.parameters():
        weight.data.fill_(2.0)
    average.update(0.0)
    weights = list(average.network.parameters())
    assert len({weight.untyped_storage().data_ptr() for weight in weights}) == 1
    assert all(bool((weight == 2).all()) for weight in weights)


@pytest.mark.parametrize(("device", "times"), [("cuda", 1), ("cpu", 0)])
def test_memory_of_a_stage_is_given_back(device: str, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """faiss has its own, and the check before a training counts what is free."""
    released: list[None] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: released.append(None))
    ImaginaryProcesses(config.Engine(), device=device).release_memory()
    assert len(released) == times


def test_what_torch_keeps_for_itself_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder's training leaves blocks that the GAN's can use: the driver counts them as taken."""
    found = {"mem_get_info": (2 << 30, 8 << 30), "memory_reserved": 5 << 30, "memory_allocated": 1 << 30}
    for name, value in found.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert memory.find_available_memory(ImaginaryProcesses(config.Engine())) == 6.0


def test_a_full_gpu_is_no_internal_error() -> None:
    words = (
        "gan: the GPU's memory is full .Tried to allocate 2 GiB.; make engine.micro_batch or train.batch_size"
    )
    with pytest.raises(UserError, match=words), runner.explain_full_gpu("gan"):
        raise torch.cuda.OutOfMemoryError("Tried to\nallocate 2 GiB")
