"""Losses against hand-computed values, penalties against gradients that are known."""

import math

import pytest
import torch
from torch import Tensor

from distgan import config, models
from distgan.objectives.derivatives import twice_differentiable
from distgan.objectives.losses import (
    LOSSES,
    average_masked,
    compute_evidence_lower_bound,
    compute_mode_seeking,
    compute_moment_distance,
)
from distgan.objectives.penalties import (
    interpolate,
    penalise_difference,
    penalise_distance_to_norm,
    penalise_gradient,
)

REAL, FAKE = torch.tensor([[2.0], [0.0]]), torch.tensor([[-1.0], [1.0]])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def soft_label(logit: float, label: float) -> float:
    return softplus(logit) - label * logit


HAND = {
    "relativistic": ((softplus(-3) + softplus(1)) / 2, (softplus(3) + softplus(-1)) / 2),
    "hinge": ((0 + 1) / 2 + (0 + 2) / 2, -0.0),
    "standard": (
        (soft_label(2, 0.9) + soft_label(0, 0.9)) / 2 + (soft_label(-1, 0.1) + soft_label(1, 0.1)) / 2,
        (softplus(1) + softplus(-1)) / 2,
    ),
    "lsgan": (0.5 * ((1 + 1) / 2 + (1 + 1) / 2), (4 + 0) / 2),
    "nonsaturating": (
        (softplus(-2) + softplus(0)) / 2 + (softplus(-1) + softplus(1)) / 2,
        (softplus(1) + softplus(-1)) / 2,
    ),
    "wgangp": (0.0 - 1.0, 0.0),
    "wgangp-mode": (0.0 - 1.0, 0.0),
    "wgangp-eps": (0.0 - 1.0 + 1e-3 * 2.0, 0.0),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_by_hand(name: str) -> None:
    discriminator, generator = HAND[name]
    assert LOSSES[name].discriminator(REAL, FAKE).item() == pytest.approx(discriminator, abs=1e-6)
    assert LOSSES[name].generator(REAL, FAKE).item() == pytest.approx(generator, abs=1e-6)


def test_every_named_loss_exists() -> None:
    assert set(LOSSES) == set(config.LossName.__args__)


def linear(weight_LC: Tensor):
    return lambda series, condition: (series * weight_LC).sum((1, 2))[:, None]


def test_penalties_of_a_linear_discriminator_are_its_squared_norm() -> None:
    torch.manual_seed(0)
    weight, series, condition = torch.randn(50, 2), torch.randn(4, 50, 2), torch.zeros(4, 1)
    norm, mask = weight.square().sum().item(), torch.ones(4, 50, 2)
    assert penalise_gradient(linear(weight), series, condition, mask).tolist() == pytest.approx(
        [norm] * 4, rel=1e-5
    )
    directions = torch.randn(20000, 50, 2)
    estimate = penalise_difference(
        linear(weight), torch.zeros(20000, 50, 2), torch.zeros(20000, 1), directions, 0.005
    )
    assert estimate.mean().item() == pytest.approx(norm, rel=0.03)
    between = penalise_distance_to_norm(
        linear(weight), interpolate(series, -series, torch.rand(4)), condition, mask, target=2.0
    )
    assert between.tolist() == pytest.approx([(norm**0.5 / 2 - 1) ** 2] * 4, rel=1e-4)


def test_no_penalty_is_of_places_that_are_missing() -> None:
    torch.manual_seed(0)
    weight, series, condition = torch.randn(50, 1), torch.randn(3, 50, 1), torch.zeros(3, 1)
    mask = (torch.rand(3, 50, 1) < 0.5).float()
    norms = (weight * mask).square().sum((1, 2))
    torch.testing.assert_close(penalise_gradient(linear(weight), series, condition, mask), norms)
    between = penalise_distance_to_norm(
        linear(weight), interpolate(series, -series, torch.rand(3)), condition, mask, target=2.0
    )
    torch.testing.assert_close(between, (norms.sqrt() / 2 - 1).square())


def test_the_bound_weighs_a_latent_against_what_was_measured() -> None:
    """Half the values missing: the same error and divergence, of half as many values."""
    torch.manual_seed(0)
    series, wrong, latent = torch.zeros(4, 20, 1), torch.ones(4, 20, 1), torch.randn(4, 3)
    half = torch.ones(4, 20, 1)
    half[:, ::2] = 0

    def loss(mask: Tensor) -> float:
        values = compute_evidence_lower_bound(
            series, mask, wrong, latent, torch.zeros(4, 3), beta=1.0, free_bits=0.0
        )
        return float(values["loss"])

    divergence = 0.5 * latent.square().mean(0).sum().item()
    assert loss(torch.ones(4, 20, 1)) == pytest.approx(divergence / 20, rel=1e-4)
    assert loss(half) == pytest.approx(divergence / 10, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_difference_agrees_with_the_exact_penalty_on_the_real_network(dtype: torch.dtype) -> None:
    """Also for a network that trains in bfloat16: the penalty's own pass is float32 arithmetic."""
    torch.manual_seed(0)
    settings = config.load(None, ["model.discriminator.width=32", "model.discriminator.side_channels=4"])
    network = models.build(settings, 400, 1)["discriminator"]
    series, condition = 0.3 * torch.randn(2, 400, 1), torch.randn(2, 10)
    network(series.to(dtype), condition.to(dtype))
    with twice_differentiable():
        wanted = penalise_gradient(network, series, condition, torch.ones_like(series))
    copies = 400
    estimate = penalise_difference(
        network,
        series.to(dtype).float().repeat_interleave(copies, 0),
        condition.repeat_interleave(copies, 0),
        torch.randn(2 * copies, 400, 1),
        sigma=0.002,
    )
    assert estimate.view(2, copies).mean(1).tolist() == pytest.approx(wanted.tolist(), rel=0.25)


def test_exact_penalty_can_be_trained_on() -> None:
    torch.manual_seed(0)
    network = models.build(config.load(None, ["model.discriminator.width=32"]), 200, 1)["discriminator"]
    with twice_differentiable():
        series = torch.randn(2, 200, 1)
        penalise_gradient(network, series, torch.randn(2, 10), torch.ones_like(series)).mean().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(gradient.abs().sum() for gradient in gradients) > 0


def test_mode_seeking_punishes_like_series_of_unlike_noise() -> None:
    noise = torch.randn(2, 4, 8)
    alike = compute_mode_seeking(torch.zeros(4, 10, 1), torch.zeros(4, 10, 1) + 1e-4, *noise)
    unlike = compute_mode_seeking(torch.zeros(4, 10, 1), torch.ones(4, 10, 1), *noise)
    assert alike > 100 * unlike
    half = torch.full((4, 8), 0.5)  # series differ by .25 where noise differs by .5
    ratio = compute_mode_seeking(torch.zeros(4, 10, 1), torch.full((4, 10, 1), 0.25), half, 2 * half)
    assert ratio.item() == pytest.approx(1 / (0.25 / 0.5 + 1e-5))


def test_mode_seeking_of_two_halves_is_that_of_the_whole() -> None:
    """A ratio of global means, not a mean of ratios."""
    torch.manual_seed(0)
    fakes, noises = torch.randn(2, 4, 6, 1).requires_grad_(), torch.randn(2, 4, 8)
    whole = compute_mode_seeking(*fakes, *noises)
    (wanted,) = torch.autograd.grad(whole, fakes)
    means = torch.stack([(fakes[0] - fakes[1]).abs().mean(), (noises[0] - noises[1]).abs().mean()]).detach()
    parts = [
        compute_mode_seeking(*fakes[:, rows], *noises[:, rows], across=lambda _: means)
        for rows in (slice(0, 2), slice(2, 4))
    ]
    loss = (parts[0] + parts[1]) / 2
    assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
    torch.testing.assert_close(torch.autograd.grad(loss, fakes)[0], wanted)


def test_moment_distance_by_hand() -> None:
    """On [0, 1]: a reading of deviation .25 about .5, made .1 higher; another made half as wide."""
    real = torch.tensor([[-0.5, -0.5], [0.5, 0.5]])[..., None]
    fake = torch.tensor([[-0.3, -0.25], [0.7, 0.25]])[..., None]
    distance = compute_moment_distance(fake, real, torch.ones_like(real))
    assert distance.item() == pytest.approx((0.1 + 0.125) / 2, abs=1e-5)
    gap = torch.tensor([[1.0, 0], [1, 1]])[..., None]  # what is missing counts on neither side
    distance = compute_moment_distance(fake * gap, real * gap, gap)
    assert distance.item() == pytest.approx((0.1 + 0.125) / 2, abs=1e-3)


def test_moment_distance_of_two_halves_is_that_of_the_whole() -> None:
    torch.manual_seed(0)
    fake, real, mask = torch.randn(4, 6, 2).requires_grad_(), torch.randn(4, 6, 2), torch.ones(4, 6, 2)
    whole = compute_moment_distance(fake, real, mask)
    (wanted,) = torch.autograd.grad(whole, fake)
    scaled = [(x.detach() + 1) / 2 for x in (fake, real)]
    means = torch.stack([(x**power).mean(0) for x in scaled for power in (1, 2)])
    answers = iter([torch.full((6, 2), 2.0), means] * 2)  # of a mean over two processes, in order
    parts = [
        compute_moment_distance(fake[rows], real[rows], mask[rows], across=lambda _: next(answers))
        for rows in (slice(0, 2), slice(2, 4))
    ]
    loss = (parts[0] + parts[1]) / 2
    assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
    torch.testing.assert_close(torch.autograd.grad(loss, fake)[0], wanted)


def test_moment_distance_of_four_processes_of_which_one_measured_a_step() -> None:
    torch.manual_seed(0)
    mask = torch.ones(4, 3, 1)
    mask[1:, 0] = 0
    fake, real = torch.rand(4, 3, 1) * mask, torch.rand(4, 3, 1) * mask
    whole = compute_moment_distance(fake, real, mask)
    answers = [mask.sum(0) / 4, _average_powers(fake, real, mask)]  # of means over four processes, in order
    parts = []
    for each in range(4):
        own, given = slice(each, each + 1), iter(answers)
        parts.append(
            compute_moment_distance(fake[own], real[own], mask[own], lambda _, given=given: next(given))
        )
    assert sum(parts).item() / 4 == pytest.approx(whole.item(), rel=1e-5)


def _average_powers(fake: Tensor, real: Tensor, mask: Tensor) -> Tensor:
    """Return the means of x and of x² on [0, 1] over what is measured: (4, L, C)."""
    scaled = [(x + 1) / 2 * mask for x in (fake, real)]
    return torch.stack([x.pow(power).sum(0) / mask.sum(0) for x in scaled for power in (1, 2)])


def test_masked_mean_divides_by_the_global_count() -> None:
    x, mask = torch.arange(8.0).view(2, 4), torch.tensor([[1.0, 1, 1, 1], [0, 0, 1, 1]])
    whole = average_masked(x, mask)
    count = mask.sum() / 2  # as the mean over two processes with one row each
    parts = [average_masked(x[row], mask[row], count) for row in range(2)]
    assert sum(parts) / 2 == pytest.approx(whole.item())


def test_evidence_lower_bound_by_hand() -> None:
    series, mask = torch.zeros(2, 4, 1), torch.ones(2, 4, 1)
    terms = compute_evidence_lower_bound(
        series, mask, series + 0.5, torch.ones(2, 3), torch.zeros(2, 3), beta=2.0, free_bits=0.1
    )
    assert terms["mse"].item() == pytest.approx(0.25)
    assert terms["kl"].item() == pytest.approx(1.5)
    assert terms["loss"].item() == pytest.approx(0.5 * math.log(0.25) + 2 / 4 * 1.5, abs=1e-5)


def test_evidence_lower_bound_of_two_halves_is_that_of_the_whole() -> None:
    """Its logarithm and maximum must be of global means: the gradients of two processes average to one's."""
    torch.manual_seed(0)
    series, mask = torch.randn(4, 6, 1), (torch.rand(4, 6, 1) > 0.3).float()
    guess, mean = torch.randn(4, 6, 1).requires_grad_(), (0.5 * torch.randn(4, 3)).requires_grad_()

    def terms(rows: slice, across) -> dict[str, Tensor]:
        given = (series[rows], mask[rows], guess[rows], mean[rows], torch.zeros(4, 3)[rows])
        return compute_evidence_lower_bound(*given, beta=2.0, free_bits=0.1, across=across)

    whole = terms(slice(0, 4), lambda x: x)
    wanted = torch.autograd.grad(whole["loss"], (guess, mean))
    kl = 0.5 * mean.detach().square().mean(0)
    answers = iter([mask.sum() / 2, whole["mse"].detach(), kl] * 2)  # of a mean over two processes, in order
    parts = [terms(rows, lambda _: next(answers)) for rows in (slice(0, 2), slice(2, 4))]
    loss = (parts[0]["loss"] + parts[1]["loss"]) / 2
    assert loss.item() == pytest.approx(whole["loss"].item(), abs=1e-6)
    for ours, theirs in zip(torch.autograd.grad(loss, (guess, mean)), wanted):
        assert torch.allclose(ours, theirs, atol=1e-6)
