"""One network with its optimizer: clipping, losses that are not finite, gradients that are given."""

import pytest
import torch
from torch import nn

from distgan import config
from distgan.parallel.optimized_network import Adam, OptimizedNetwork
from distgan.parallel.preparation import prepare_network
from distgan.parallel.processes import Parallel


def make_network() -> OptimizedNetwork:
    """A linear layer without bias, whose loss below has the gradient (3, 4) times a factor."""
    parallel = Parallel(config.Engine(threads=1))
    return prepare_network(parallel, "network", nn.Linear(2, 1, bias=False), Adam(0.1))


@pytest.mark.parametrize(
    ("factor", "clip", "expected"),
    [(1.0, 1.0, (0.6, 0.8)), (0.1, 1.0, (0.3, 0.4)), (1.0, 0.0, (3.0, 4.0)), (1.0, 5.1, (3.0, 4.0))],
)
@pytest.mark.parametrize("given", [False, True])
def test_a_gradient_longer_than_the_clip_is_shortened_to_it(
    factor: float, clip: float, expected: tuple[float, float], given: bool
) -> None:
    optimized = make_network()
    slope = factor * torch.tensor([[3.0, 4.0]])
    if given:
        norm = optimized.apply({"weight": slope}, clip)
    else:
        norm = optimized.minimise(optimized.network(slope).sum(), clip)
    assert float(norm) == pytest.approx(5 * factor)  # before it was clipped
    assert optimized.views[0].flatten().tolist() == pytest.approx(expected, rel=1e-5)


def test_a_loss_that_is_not_finite_changes_nothing_though_its_gradient_is() -> None:
    optimized = make_network()
    before = [weight.clone() for weight in optimized.plain.parameters()]
    norm = optimized.minimise(optimized.network(torch.ones(3, 2)).mean() + torch.inf)
    assert not torch.isfinite(norm)
    assert all(map(torch.equal, before, optimized.plain.parameters()))
    assert torch.isfinite(optimized.minimise(optimized.network(torch.ones(3, 2)).mean()))
    assert not any(map(torch.equal, before, optimized.plain.parameters()))


def test_gradients_of_an_update_add_up_and_the_next_one_starts_anew() -> None:
    optimized = make_network()
    for _ in range(2):
        for part in (torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 3.0]])):
            optimized.backward(optimized.network(part).sum())
        assert float(optimized.step()) == pytest.approx(5.0)
