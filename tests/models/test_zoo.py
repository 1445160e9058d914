"""Every family of the zoo: one table of truths for all of them."""

import json
from pathlib import Path

import pytest
import torch

from distgan import config, models
from distgan.engine import checkpoint
from distgan.models.recurrent import to_uniform
from distgan.models.upsampler import average_blocks
from distgan.parallel.processes import Parallel
from distgan.run import Run
from tests.helpers.zoo import (
    ALONE,
    CHANNELS,
    GENERATORS,
    LABELS,
    LENGTH,
    SEED,
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


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in ALONE])
@pytest.mark.parametrize("channels", [1, 28])
@pytest.mark.parametrize("length", [24, 2190])
def test_a_discriminator_takes_any_length_and_channels(name: str, length: int, channels: int) -> None:
    networks, batch = built(small(name), length, channels), a_batch(2, length, channels)
    condition = one_of_two(batch) if name in ("nr_gan", *LABELS) else condition_of(batch)
    series = batch.series
    if name == "cascade":  # whose discriminator looks at means of blocks
        series = average_blocks(series, batch.mask, 4)[0]
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


@pytest.mark.parametrize("name", TRAINED)
def test_only_some_families_have_no_discriminator(name: str) -> None:
    assert ("discriminator" in built(small(name), 24, CHANNELS)) == (name not in ALONE)


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


# ------------------------------------------------------------------------------------------------- the games


def test_every_family_gives_the_noise_its_law() -> None:
    assert to_uniform(torch.tensor([-8.0, 0.0, 8.0])).tolist() == pytest.approx([0, 0.5, 1])


# --------------------------------------------------------------------------------------------- the whole way


def test_a_network_that_rests_keeps_its_weights(alone: Parallel, tmp_path: Path) -> None:
    train("timegan", alone, tmp_path, more=("model.discriminator_threshold=100",))
    torch.manual_seed(SEED)
    before = models.build(small("timegan"), LENGTH, CHANNELS)["discriminator"].state_dict()
    after = checkpoint.load(Run(tmp_path).checkpoints("gan"), STEPS).state["discriminator"]
    assert all(torch.equal(before[key], value) for key, value in after.items())
    lines = [json.loads(line) for line in Run(tmp_path).metrics("gan").read_text().splitlines()]
    assert [line.get("discriminator/frozen") for line in lines] == [None, None, None, 1, None, 1]
