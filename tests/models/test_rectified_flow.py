"""Rectified flow: its loss by hand, times, units, and its solver where the flow is known."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from distgan import models, rng
from distgan.data.loader import Batch
from distgan.models import make_objective
from distgan.models.rectified_flow import Game, Sampler, Velocity, join_sampler, score_series
from distgan.objectives.adversarial import Conditions
from distgan.planning import stages
from distgan.planning.step_time import Series
from distgan.planning.trace import MATRIX
from tests.helpers.zoo import a_batch, condition_of, noise_and_condition, small, trained_on


def flow(*more: str) -> Game:
    torch.manual_seed(0)
    settings = small("rectified_flow", *more)
    objective = make_objective(settings, models.build(settings, 20, 2), Conditions(condition_of))
    assert isinstance(objective, Game)
    return objective


def silence(network: Velocity) -> Velocity:
    """A network that adds nothing to the best linear estimate."""
    torch.nn.init.zeros_(network.head.deconvolution.parametrizations.weight.original0)
    torch.nn.init.zeros_(network.head.deconvolution.bias)
    return network


def test_loss_by_hand() -> None:
    objective, batch = flow(), a_batch(6, 20, 2)
    found = objective.flow_loss(batch)["loss"].item()
    mask, n = batch.mask, batch.mask.sum((0, 1))
    mean = (batch.series * mask).sum((0, 1)) / n
    deviation = (((batch.series - mean) ** 2 * mask).sum((0, 1)) / n).sqrt()
    x = (batch.series - mean) / deviation
    noise = rng.draw_keyed_normal(objective.seed, 0, "flow noise", batch.sample, (20, 2))
    t = objective.draw_times(batch)[:, None, None]
    with torch.no_grad():
        velocity = objective.networks["generator"](
            (1 - t) * noise + t * x, mask, t[:, 0, 0], condition_of(batch)
        )
    error = (velocity - (x - noise)) ** 2
    assert found == pytest.approx(((error * mask).sum() / mask.sum()).item(), rel=1e-4)


def test_network_estimates_a_rest_of_deviation_1() -> None:
    """Series like the noise itself: the linear part alone has an error of 1 / s², the least there is."""
    network, count = silence(flow().networks["generator"]), 1000
    torch.manual_seed(1)
    x, noise = torch.randn(2, count, 20, 2)
    for time in (0.0, 0.3, 0.5, 1.0):
        mask, t = torch.ones_like(x), torch.full((count,), time)
        with torch.no_grad():
            velocity = network((1 - time) * noise + time * x, mask, t, torch.zeros(count, 8))
        size = time**2 + (1 - time) ** 2
        assert (velocity - (x - noise)).square().mean().item() == pytest.approx(1 / size, rel=0.02)


@pytest.mark.parametrize(("solver", "most"), [("euler", 0.15), ("heun", 0.01)])
def test_solver_ends_where_the_flow_of_normal_numbers_ends(solver: str, most: float) -> None:
    """Between normal numbers of one deviation x_t = s n, s = √(t² + (1 - t)²): every noise ends at itself."""
    network = silence(flow(f"model.solver={solver}", "model.solver_steps=20").networks["generator"])
    network.centre.copy_(torch.tensor([0.1, -0.2]))
    network.variance.copy_(torch.tensor([0.04, 0.01]))
    sampler = Sampler(network)
    noise, condition = noise_and_condition(sampler, 50)
    with torch.no_grad():
        made = sampler(noise, condition)
    factor, times = 1.0, [math.sin(math.pi * place / 40) ** 2 for place in range(21)]
    for start, end in pairwise(times):  # dx/dt = (2t - 1) / s² x multiplies x by the same in every series
        here, there = ((2 * t - 1) / (t**2 + (1 - t) ** 2) for t in (start, end))
        step = end - start
        factor *= 1 + step * here if solver == "euler" else 1 + step / 2 * (here + there * (1 + step * here))
    assert abs(factor - 1) < most
    scaled = factor * noise.unflatten(1, (20, 2)) * torch.tensor([0.2, 0.1]) + torch.tensor([0.1, -0.2])
    assert torch.allclose(made, scaled.clamp(-1, 1), atol=1e-5)


def test_times_cover_a_batch_evenly_and_depend_on_the_place_alone() -> None:
    objective, batch = flow(), a_batch(64, 20, 2, step=3)
    times = objective.draw_times(batch)
    assert times.sort().values.diff().max() < 3 / 64 and times.min() >= 0 and times.max() < 1
    parts = [objective.draw_times(part) for part in batch.split(16)]
    assert torch.equal(torch.cat(parts), times)
    assert not torch.equal(objective.draw_times(replace(batch, step=4)), times)


def test_units_follow_the_measured_readings() -> None:
    objective = flow()
    network = objective.networks["generator"]
    torch.manual_seed(2)
    spread = torch.tensor([0.1, 0.4])

    def draw(step: int) -> Batch:
        mask = (torch.rand(16, 20, 2) > 0.3).float()
        index = torch.arange(16)
        return Batch((0.3 + spread * torch.randn(16, 20, 2)) * mask, mask, index, index, step)

    for step in range(100):
        objective.learn_units(draw(step))
    assert network.centre.tolist() == pytest.approx([0.3, 0.3], abs=0.03)
    assert network.variance.sqrt().tolist() == pytest.approx(spread.tolist(), rel=0.05)
    before = network.variance.clone()
    objective.flow_loss(draw(100))
    assert torch.equal(network.variance, before)  # later batches change nothing


def test_micro_batches_have_the_loss_of_their_batch() -> None:
    objective, batch = flow(), a_batch(8, 20, 2)
    whole = objective.flow_loss(batch)["loss"].item()
    variance = objective.networks["generator"].variance.clone()
    parts = [objective.flow_loss(part)["loss"].item() for part in batch.split(2)]
    assert sum(parts) / 4 == pytest.approx(whole, rel=1e-5)
    assert torch.allclose(objective.networks["generator"].variance, variance)


def test_units_move_once_a_step_however_many_micro_batches_it_has() -> None:
    batches = [a_batch(8, 20, 2, step=step) for step in (0, 3)]
    whole, cut = flow(), flow()
    for batch in batches:
        whole.flow_loss(batch)
        for part in batch.split(2):
            cut.flow_loss(part)
    for name in ("centre", "variance"):
        found, wanted = (getattr(each.networks["generator"], name) for each in (cut, whole))
        assert torch.equal(found, wanted)


def test_units_of_a_channel_without_a_reading_in_the_batch_stay() -> None:
    objective, batch = flow(), a_batch(8, 20, 2)
    objective.learn_units(batch)
    network = objective.networks["generator"]
    before = network.centre.clone(), network.variance.clone()
    mask = batch.mask * torch.tensor([1.0, 0.0])
    objective.learn_units(replace(batch, step=3, mask=mask, series=2 * batch.series * mask))
    for now, then in zip((network.centre, network.variance), before):
        assert now[1] == then[1] and now[0] != then[0]


def test_missing_readings_are_not_seen() -> None:
    network, batch = flow().networks["generator"], a_batch(4, 20, 2)
    time, condition = torch.full((4,), 0.5), condition_of(batch)
    other = batch.series + 7 * (1 - batch.mask)

    def estimate(series: Tensor) -> Tensor:
        with torch.no_grad():
            return network(series, batch.mask, time, condition) * batch.mask

    assert torch.equal(estimate(batch.series), estimate(other))


def test_a_plan_counts_every_pass_of_the_solver() -> None:
    def count(*more: str) -> float:
        settings = small("rectified_flow", *more)
        return stages.trace_generator(settings, Series(24, 1), 2).sum_flops(MATRIX)

    one = count("model.solver=euler", "model.solver_steps=1")
    assert count("model.solver=euler", "model.solver_steps=3") == 3 * one
    assert count("model.solver=heun") == 4 * one


def test_steps_of_the_solver_change_no_weights() -> None:
    torch.manual_seed(0)
    few, many = (models.build(small("rectified_flow", f"model.solver_steps={n}"), 20, 2) for n in (1, 9))
    join_sampler(many).load_state_dict(join_sampler(few).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(few["generator"].buffers(), many["generator"].buffers()))


def test_score_of_a_series_is_minus_its_loss_and_finds_those_learned_by_heart() -> None:
    torch.manual_seed(3)
    shapes = torch.randn(24, 16, 1).tanh()
    index = torch.arange(8)
    batch = Batch(shapes[:8], torch.ones(8, 16, 1), index, index, 0)
    own = ["model.width=32", "model.patch=4", "bank.condition_dim=4"]
    sampler = trained_on("rectified_flow", 100, batch, 5e-3, *own, betas=(0.9, 0.99))
    assert isinstance(sampler, Sampler)
    condition = condition_of(Batch(shapes, shapes, torch.zeros(24).long(), torch.arange(24), 0))
    condition[:8] = condition_of(batch)
    mask = torch.ones(24, 16, 1)
    scores = score_series(sampler, shapes, mask, condition)
    assert scores[:8].mean() > scores[8:].mean() and scores.max() < 0
    gaps = mask.clone()
    gaps[:, 5:9] = 0
    one, other = (score_series(sampler, shapes + 9 * k * (1 - gaps), gaps, condition) for k in (0, 1))
    assert torch.equal(one, other)
