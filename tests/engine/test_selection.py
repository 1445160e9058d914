"""The step that is kept: the first best one, the same after a kill, and training as without a choice."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distgan import config
from distgan.engine.selection import SELECTED, Evaluation, Rule, Selector, find_best, is_over
from distgan.parallel.processes import Parallel
from tests.helpers.small_gan import BATCH, LENGTH, Loader, last, lines, train

EVERY = 4  # of 20 steps; checkpoints are every 5


@pytest.fixture(scope="module")
def parallel() -> Parallel:
    return Parallel(config.Engine(threads=1, trackers=()))


@torch.no_grad()
def measure_output(step: int, sampler: nn.Module) -> float:
    """A loss that depends on every weight and is best in the middle of the training."""
    assert not sampler.training
    made = sampler(torch.linspace(-1, 1, BATCH * LENGTH).reshape(BATCH, LENGTH))
    return abs(step - 11) + float(made.std())


def select(parallel: Parallel, patience: int = 0, score=measure_output) -> Selector:
    return Selector(Rule("size", EVERY, patience, lambda networks: networks["generator"], score), parallel)


def losses(selector: Selector) -> list[tuple[int, float | None]]:
    return [(found.step, found.loss) for found in selector.evaluations]


@pytest.fixture(scope="module")
def undisturbed(parallel: Parallel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Selector]:
    folder, selector = tmp_path_factory.mktemp("selected"), select(parallel)
    train(parallel, folder, select=selector)
    return folder, selector


def sequence(*values: float | None) -> list[Evaluation]:
    return [Evaluation(5 * number, value) for number, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("values", "best", "over"),
    [
        ((), None, False),
        ((3.0,), 5, False),
        ((3.0, 2.0, 2.0), 10, False),
        ((3.0, 2.0, 2.0, 2.5), 10, True),
        ((1.0, None, None), 5, True),
        ((None, None), None, True),
        ((None, 4.0, 3.0), 15, False),
    ],
)
def test_the_first_best_and_the_end(values: tuple[float | None, ...], best: int | None, over: bool) -> None:
    found = find_best(sequence(*values))
    assert (None if found is None else found.step) == best
    assert is_over(sequence(*values), patience=2) is over
    assert not is_over(sequence(*values), patience=0)


def test_a_choice_changes_no_bit_of_the_training(
    parallel: Parallel, undisturbed: tuple[Path, Selector], tmp_path: Path
) -> None:
    folder, selector = undisturbed
    train(parallel, tmp_path)
    with_choice, without = last(folder), last(tmp_path)
    assert set(with_choice.state) - set(without.state) == {SELECTED}
    for name, tensors in without.state.items():
        assert all(torch.equal(value, with_choice.state[name][key]) for key, value in tensors.items())
    assert [step for step, _ in losses(selector)] == [4, 8, 12, 16, 20]
    assert lines(folder)[1]["validation/size"] == pytest.approx(losses(selector)[1][1])


def test_the_kept_weights_are_those_of_the_best_step(
    parallel: Parallel, undisturbed: tuple[Path, Selector], tmp_path: Path
) -> None:
    """Against a training that ends there."""
    _, selector = undisturbed
    assert selector.best is not None and selector.best.step == 12
    there = train(parallel, tmp_path, steps=12)["generator"].state_dict()
    assert set(there) == set(selector.weights)
    assert all(torch.equal(there[name], value) for name, value in selector.weights.items())
    other = nn.Sequential(nn.Linear(LENGTH, 8), nn.Dropout(), nn.BatchNorm1d(8), nn.Linear(8, LENGTH))
    selector.fill(other)
    assert torch.equal(other[0].weight, there["0.weight"])


@pytest.mark.parametrize("place", [9, 13, 18])
def test_killed_between_evaluations_the_choice_is_the_same(
    parallel: Parallel, undisturbed: tuple[Path, Selector], tmp_path: Path, place: int
) -> None:
    """SIGKILL leaves the checkpoint of step 5, 10 or 15: behind the best evaluation, before it, after it."""

    class Killed(BaseException):
        pass

    def kill(step: int, series: Tensor) -> None:
        if step == place:
            raise Killed

    with pytest.raises(Killed):
        train(parallel, tmp_path, loader=Loader(kill), select=select(parallel))
    again, (folder, undisturbed_selector) = select(parallel), undisturbed
    train(parallel, tmp_path, select=again)
    assert losses(again) == losses(undisturbed_selector) and again.best is not None
    assert all(torch.equal(undisturbed_selector.weights[n], value) for n, value in again.weights.items())
    one, other = last(tmp_path).state, last(folder).state
    assert all(torch.equal(value, other[f][n]) for f, tensors in one.items() for n, value in tensors.items())


def test_training_ends_early_saved_and_stays_ended(parallel: Parallel, tmp_path: Path) -> None:
    calls: list[int] = []

    def worse(step: int, sampler: nn.Module) -> float:
        calls.append(step)
        return float(step)

    selector = select(parallel, patience=2, score=worse)
    train(parallel, tmp_path, select=selector)
    assert calls == [4, 8, 12] and selector.best is not None and selector.best.step == 4
    assert last(tmp_path).step == 12 and lines(tmp_path)[-1]["step"] == 12
    again = select(parallel, patience=2, score=worse)
    train(parallel, tmp_path, steps=40, select=again)
    assert calls == [4, 8, 12] and last(tmp_path).step == 12 and losses(again) == losses(selector)


def test_without_a_value_nothing_is_chosen(parallel: Parallel, tmp_path: Path) -> None:
    selector = select(parallel, score=lambda step, sampler: math.nan)
    train(parallel, tmp_path, select=selector)
    assert selector.best is None and not selector.weights and last(tmp_path).step == 20
    assert lines(tmp_path)[1]["validation/size"] is None
