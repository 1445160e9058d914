"""The cascade: block means, the upsampler's loss by hand, missing readings, and details that it learns."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from distgan import models, rng
from distgan.data.loader import Batch
from distgan.models import make_objective
from distgan.models.cascade import Game, Sampler, join_sampler, make_detail_noise, score_series
from distgan.models.flow_matching import draw_even_times
from distgan.models.upsampler import average_blocks, centre_blocks, cut_blocks
from distgan.objectives.adversarial import Conditions
from distgan.pipeline.train_gan import make_schedule
from tests.helpers.zoo import a_batch, condition_of, noise_and_condition, small

FACTOR = 4


def cascade(length: int = 22, *more: str) -> Game:
    torch.manual_seed(0)
    settings = small("cascade", *more)
    objective = make_objective(settings, models.build(settings, length, 2), Conditions(condition_of))
    assert isinstance(objective, Game)
    return objective


def stir(network: torch.nn.Module) -> None:
    """Weights that were 0, random."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)


def make_sampler(length: int) -> Sampler:
    objective = cascade(length)
    stir(objective.networks["upsampler"])
    return join_sampler(objective.networks).eval()


@pytest.mark.parametrize("length", [24, 22])
def test_block_means_are_those_of_the_generator(length: int) -> None:
    sampler = make_sampler(length)
    sampler.upsampler.variance.fill_(0.01)  # so that nothing reaches the ends of [-1, 1]
    noise, condition = noise_and_condition(sampler, 5)
    with torch.no_grad():
        series = sampler(noise, condition)
        means = sampler.generator(noise[:, : sampler.generator.noise_dim], condition)
    assert series.shape == (5, length, 2) and series.abs().max() < 1
    whole = length // FACTOR
    blocks = cut_blocks(series, FACTOR)[:, :whole]
    assert torch.allclose(blocks.mean(2), means[:, :whole], atol=1e-5)
    assert blocks.std(2).mean() > 1e-3


def test_block_means_of_a_short_last_block_and_of_gaps() -> None:
    series = torch.arange(10.0)[None, :, None]
    mask = torch.ones_like(series)
    mask[0, 5] = 0
    means, whole = average_blocks(series * mask, mask, FACTOR)
    assert whole[0, :, 0].tolist() == [1, 0, 1]
    assert means[0, :, 0].tolist() == [1.5, 0, 8.5]


def test_loss_by_hand() -> None:
    objective, batch = cascade(22, "model.upsampler.window=0"), a_batch(6, 22, 2)
    upsampler = objective.networks["upsampler"]
    stir(upsampler)
    found = objective.upsampler_loss(batch)["loss"].item()
    error, count, squares = torch.zeros(()), 0, torch.zeros(2)
    details, courses, measured = torch.zeros(6, 6, FACTOR, 2), torch.zeros(6, 6, 2), torch.zeros(6, 6, 2)
    for i in range(6):
        for c in range(2):
            blocks = [batch.series[i, 4 * n : 4 * n + 4, c] for n in range(6)]
            known = [bool(batch.mask[i, 4 * n : 4 * n + 4, c].all()) for n in range(6)]
            means = torch.stack([b.mean() for b, k in zip(blocks, known) if k])
            for n, (block, is_known) in enumerate(zip(blocks, known)):
                if is_known:
                    deviation = means.std(correction=0)
                    courses[i, n, c] = (block.mean() - means.mean()) / deviation
                    measured[i, n, c] = 1
                    details[i, n, : len(block), c] = (block - block.mean()) / deviation
    counted = measured[:, :, None].expand_as(details).clone()
    squares = (details.square()).sum((0, 1, 2)) / counted.sum((0, 1, 2))
    details = details / squares.sqrt()
    noise = make_detail_noise(
        rng.draw_keyed_normal(objective.seed, 0, "flow noise", batch.sample, (6, FACTOR, 2))
    )
    t = draw_even_times(objective.seed, 0, batch.sample, batch.series.device)
    share = t[:, None, None, None]
    with torch.no_grad():
        x = (1 - share) * noise + share * details
        velocity = upsampler(x, courses, torch.zeros(6, dtype=torch.int64), t, condition_of(batch))
    error = ((velocity - (details - noise)).square() * counted).sum()
    count = counted.sum()
    assert found == pytest.approx((error / count).item(), rel=1e-4)


def test_noise_of_details_sums_to_0_and_has_deviation_1() -> None:
    torch.manual_seed(1)
    noise = make_detail_noise(torch.randn(50, 40, FACTOR, 2))
    assert noise.sum(2).abs().max() < 1e-5
    assert noise.std().item() == pytest.approx(1, rel=0.02)


def test_readings_of_a_block_with_a_gap_change_nothing() -> None:
    objective, batch = cascade(), a_batch(4, 22, 2)
    mask = batch.mask.clone()
    mask[:, 5] = 0
    losses = []
    for value in (0.0, 0.7):
        series = batch.series * mask
        series[:, 4] = value * mask[:, 4]
        given = replace(batch, series=series, mask=mask)
        losses.append([objective.upsampler_loss(given)["loss"], objective.view(given).series])
    assert torch.equal(losses[0][0], losses[1][0]) and torch.equal(losses[0][1], losses[1][1])


def test_micro_batches_have_the_loss_of_their_batch() -> None:
    objective, batch = cascade(), a_batch(8, 22, 2)
    whole = objective.upsampler_loss(batch)["loss"].item()
    variance = objective.networks["upsampler"].variance.clone()
    parts = [objective.upsampler_loss(part)["loss"].item() for part in batch.split(2)]
    assert sum(parts) / 4 == pytest.approx(whole, rel=1e-5)
    assert torch.allclose(objective.networks["upsampler"].variance, variance)


def test_discriminator_and_upsampler_get_the_same_means() -> None:
    """Nothing is standardised in between: what was judged is what becomes steps."""
    torch.manual_seed(0)
    settings = small("cascade")

    def double(series: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        return 2 * series

    networks = models.build(settings, 22, 2)
    conditions = Conditions(condition_of, standardise=double)
    objective, batch = make_objective(settings, networks, conditions), a_batch(4, 22, 2)
    seen = objective.view(batch)
    means, whole = average_blocks(batch.series, batch.mask, FACTOR)
    assert torch.equal(seen.series, means) and torch.equal(seen.mask, whole)
    condition = condition_of(batch)
    with torch.no_grad():
        judged = objective.generate(seen, condition, "generator noise")
        made = networks["generator"](objective.draw_noise(seen, "generator noise"), condition)
    assert torch.equal(judged, made * whole)


def make_ramps(count: int, step: int) -> Batch:
    """Series whose blocks rise, where the course is above its mean, and fall where it is below."""
    sample = torch.arange(count)
    course = rng.draw_keyed_normal(3, step, "course", sample, (24, 1, 1))
    ramp = torch.tensor([-1.5, -0.5, 0.5, 1.5])[:, None]
    series = (0.1 * course + 0.05 * torch.sign(course) * ramp).flatten(1, 2)
    return Batch(series, torch.ones_like(series), sample, sample, step)


def test_upsampler_learns_how_details_follow_from_the_course() -> None:
    settings = small("cascade", "model.upsampler.window=0", "model.upsampler.solver_steps=8")
    torch.manual_seed(0)
    networks = models.build(settings, 96, 1)
    objective = make_objective(settings, networks, Conditions(lambda b: torch.zeros(len(b.series), 6)))
    assert isinstance(objective, Game)
    upsampler = networks["upsampler"]
    optimizer = torch.optim.Adam(upsampler.parameters(), 1e-2)
    for step in range(200):
        loss = objective.upsampler_loss(make_ramps(16, step))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sampler = join_sampler(networks)
    noise = torch.randn(20, sampler.noise_dim)
    real = make_ramps(20, 1000).series
    means = average_blocks(real, torch.ones_like(real), FACTOR)[0]
    sampler.generator.forward = lambda noise, condition: means  # the course of real series
    with torch.no_grad():
        made = sampler(noise, torch.zeros(20, 6))
    details, wanted = (centre_blocks(cut_blocks(each, FACTOR)) for each in (made, real))
    assert torch.corrcoef(torch.stack([details.flatten(), wanted.flatten()]))[0, 1] > 0.7
    assert (details.std() / wanted.std()).item() == pytest.approx(1, abs=0.15)
    scores = score_series(sampler, real, torch.ones_like(real), torch.zeros(20, 6))
    reversed_ramps = real + 2 * (centre_blocks(cut_blocks(real, FACTOR)) * -1).flatten(1, 2)
    others = score_series(sampler, reversed_ramps, torch.ones_like(real), torch.zeros(20, 6))
    assert (scores > others).all()


def test_upsampler_has_a_rate_of_its_own() -> None:
    rates = make_schedule(
        small("cascade", "model.upsampler.rate=0.005"), ("generator", "discriminator", "upsampler")
    ).rates(0)
    assert rates["upsampler"].learning_rate == 0.005
    assert rates["generator"].learning_rate == 2e-4
