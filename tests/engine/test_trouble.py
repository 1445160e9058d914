"""Steps that are skipped: what is saved, and at which rates training goes on."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distgan import config
from distgan.engine import checkpoint, training
from distgan.errors import Stopped
from distgan.parallel.optimized_network import OptimizedNetwork
from distgan.parallel.processes import Parallel
from distgan.run import Run
from tests.helpers.small_gan import Loader, last, rates, train


@pytest.fixture
def usual_signal() -> Iterator[None]:
    """As at a terminal: a job in the background may inherit it as ignored."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_stopped_amid_skipped_steps_it_rolls_back_as_if_never_stopped(
    tmp_path: Path, usual_signal: None
) -> None:
    parallel = Parallel(config.Engine(threads=1))

    def make_loader(folder: Path, stop_at: int) -> Loader:
        def spoil(step: int, series: Tensor) -> None:
            """Spoil steps 8 to 13 until the first rollback."""
            if 8 <= step < 14 and not (Run(folder).checkpoints("gan") / training.ROLLBACKS).exists():
                series[1, 2] = float("inf")
                if step == stop_at:
                    os.kill(os.getpid(), signal.SIGTERM)

        return Loader(spoil)

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(parallel, whole, loader=make_loader(whole, -1), max_skips=4)
    with pytest.raises(Stopped, match=r"stopped at step 11 by SIGTERM, .*checkpoint of step 5 is kept"):
        train(parallel, stopped, loader=make_loader(stopped, 10), max_skips=4)
    assert checkpoint.list_steps(Run(stopped).checkpoints("gan")) == [5]
    train(parallel, stopped, loader=make_loader(stopped, -1), max_skips=4)
    ours, theirs = last(stopped), last(whole)
    assert ours.step == theirs.step == 20
    for name, tensors in theirs.state.items():
        assert all(torch.equal(value, ours.state[name][key]) for key, value in tensors.items()), name


def test_a_rollback_halves_the_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    seen: list[float] = []

    def spoil(step: int, series: Tensor) -> None:
        """Spoil steps from 8 on until the first rollback, to step 5."""
        steps.append(step)
        if step >= 8 and steps.count(5) < 2:
            series[1, 2] = float("inf")

    def note(network: OptimizedNetwork, rate: float, beta2: float) -> None:
        seen.append(rate)
        set_rate(network, rate, beta2)

    set_rate = OptimizedNetwork.set_rate
    monkeypatch.setattr(OptimizedNetwork, "set_rate", note)
    train(Parallel(config.Engine(threads=1)), tmp_path, steps=12, loader=Loader(spoil), max_skips=3)
    before, after = [*range(11)], [*range(5, 12)]
    expected = [rates(step)["critic"].learning_rate for step in before + after]
    assert seen == [*expected[:11], *(0.5 * rate for rate in expected[11:])]
