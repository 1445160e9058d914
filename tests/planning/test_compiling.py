"""`engine.compile`: whole networks are compiled, and `auto` chooses it where it pays."""

from pathlib import Path

import pytest
import torch

from distgan import config, models
from distgan.errors import UserError
from distgan.models import compute_condition_width, compute_noise_width
from distgan.parallel.processes import Parallel
from distgan.planning import compiling
from distgan.planning.trace import ImaginaryProcesses

LENGTH = 168
SMALL = [
    "model.generator.width=8",
    "model.generator.noise_lags=[1,24]",
    "model.generator.soft_minimum=true",
    "model.discriminator.width=8",
    "model.discriminator.picture_positions=true",
    "model.discriminator.random_kernels=3",
    "engine.threads=1",
]


def choose(monkeypatch: pytest.MonkeyPatch, *overrides: str, compiler: str | None = "g++") -> bool:
    monkeypatch.setattr(compiling, "find_compiler", lambda: compiler)
    settings = config.load(None, [*SMALL, "train.batch_size=4", *overrides])
    parallel = Parallel(settings.engine)
    try:
        return compiling.choose_compile(settings, parallel, LENGTH, 1)
    finally:
        parallel.close()


def test_auto_follows_from_the_length_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not choose(monkeypatch, "engine.compile=auto", "train.steps=100")
    assert choose(monkeypatch, "engine.compile=auto", "train.steps=100000000")


@pytest.mark.parametrize(
    "excluded",
    ["engine.zero=1", "objective.penalty.kind=exact", "model.name=mlp_gan", "engine.discriminator_zero=1"],
)
def test_auto_stays_off_where_compiling_is_not_supported(
    monkeypatch: pytest.MonkeyPatch, excluded: str
) -> None:
    small = [] if "mlp_gan" not in excluded else ["model={name: mlp_gan}"]
    monkeypatch.setattr(compiling, "find_compiler", lambda: "g++")
    asked = ["engine.compile=auto", "train.steps=100000000", "engine.threads=1", *(small or [excluded])]
    settings = config.load(None, asked)
    parallel = Parallel(config.Engine(threads=1))
    try:
        assert not compiling.choose_compile(settings, parallel, LENGTH, 1)
    finally:
        parallel.close()


def test_without_a_compiler_auto_stays_off_and_true_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "train.steps=100000000"
    assert not choose(monkeypatch, "engine.compile=auto", long, compiler=None)
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler on a CPU, .* install g\+\+"):
        choose(monkeypatch, "engine.compile=true", long, compiler=None)


@pytest.mark.parametrize(
    ("compiler", "headers", "words"),
    [(None, True, "a C compiler on a GPU, .* install gcc"), ("gcc", False, r"Python\.h does .* python3-dev")],
)
def test_what_compiles_for_a_gpu_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiler: str | None, headers: bool, words: str
) -> None:
    """Triton would end the training at its first kernel."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: compiler if name == "gcc" else None)
    monkeypatch.setattr(compiling.sysconfig, "get_path", lambda name: str(tmp_path))
    if headers:
        (tmp_path / "Python.h").touch()
    long = "train.steps=100000000"
    for asked in ("true", "auto"):
        settings = config.load(None, [*SMALL, "train.batch_size=4", f"engine.compile={asked}", long])
        parallel = ImaginaryProcesses(settings.engine)
        if asked == "true":
            with pytest.raises(UserError, match=words):
                compiling.choose_compile(settings, parallel, LENGTH, 1)
        else:
            assert not compiling.choose_compile(settings, parallel, LENGTH, 1)
    (tmp_path / "Python.h").touch()
    monkeypatch.setenv("CC", "cc")
    assert compiling.choose_compile(settings, parallel, LENGTH, 1)


def test_networks_are_one_graph_each() -> None:
    """A break of the graph leaves the code around it uncompiled: with one in each norm little was gained."""
    settings = config.load(None, [*SMALL, "model.patch=24"])
    networks, width = models.build(settings, LENGTH, 1), compute_condition_width(settings, 1)
    noise = torch.randn(2, compute_noise_width(networks["generator"]))
    for name, given in (("generator", noise), ("discriminator", torch.randn(2, LENGTH, 1))):
        found = torch._dynamo.explain(networks[name])(given, torch.randn(2, width))
        assert found.graph_count == 1, (name, found.break_reasons)
