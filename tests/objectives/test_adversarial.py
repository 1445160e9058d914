"""The plain game: the penalty takes the logits that the loss needs anyway, and stays what it was."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from distgan import config, models
from distgan.data.loader import Batch
from distgan.objectives.adversarial import Adversarial, Conditions, Rules

KEYS = [
    "model.patch=16",
    "model.generator.width=16",
    "model.discriminator.width=16",
    "model.discriminator.side_channels=2",
    "objective.penalty.sigma=0.05",
]


def batch_of(count: int) -> Batch:
    torch.manual_seed(1)
    mask = torch.ones(count, 96, 1)
    mask[0, :40] = 0
    places = torch.arange(count)
    return Batch(0.2 * torch.randn(count, 96, 1) * mask, mask, places, places, step=0)


def loss_and_gradients(family: object, batch: Batch, augment: bool) -> tuple[dict[str, Tensor], list[Tensor]]:
    settings = config.load(None, [*KEYS, f"objective.augment.jitter={0.2 if augment else 0}"])
    torch.manual_seed(0)
    networks = models.build(settings, 96, 1)
    condition = torch.randn(len(batch.sample), models.compute_condition_width(settings, 1))
    rules = Rules(settings.objective, 0, models.compute_noise_width(networks["generator"]), family=family)  # type: ignore[arg-type]
    game = Adversarial(networks, Conditions(lambda part: condition[part.sample]), rules)
    values = game.discriminator_loss(batch)
    values["loss"].backward()
    weights = networks["discriminator"].parameters()
    return {**values}, [weight.grad for weight in weights if weight.grad is not None]


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("count", [8, 3])
def test_one_pass_for_loss_and_penalty_gives_what_two_give(count: int, augment: bool) -> None:
    batch = batch_of(count)
    one, two = (
        loss_and_gradients(SimpleNamespace(by_owners=by_owners), batch, augment)
        for by_owners in (True, False)
    )
    assert one[0].keys() == two[0].keys() and one[0]["penalty"] > 0
    for name in one[0]:
        torch.testing.assert_close(one[0][name], two[0][name], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(*(each[1] for each in (one, two)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def make_plain_game() -> Adversarial:
    """A game whose penalty weighs 2 and takes a quarter of the batch, with a burn-in of 10 steps."""
    settings = config.load(None, [*KEYS, "objective.penalty.weight=2", "objective.penalty.fraction=0.25"])
    return Adversarial({}, Conditions(lambda part: part.rows), Rules(settings.objective, 0, 4, 10))


def test_the_penalty_weighs_ten_times_as_much_at_first() -> None:
    weights = [make_plain_game().compute_penalty_weight(step) for step in (0, 5, 10, 1000)]
    assert weights == pytest.approx([20, 11, 2, 2])


@pytest.mark.parametrize("step", range(5))
def test_processes_penalise_what_one_would(step: int) -> None:
    """One series in four of the global batch, in turn; a process without any weighs one by 0."""
    game, batch = make_plain_game(), replace(batch_of(8), step=step)
    for parts in ([batch], [batch.take(torch.arange(first, first + 2)) for first in (0, 2, 4, 6)]):
        found = []
        for part in parts:
            chosen, weights = game.choose_penalised(part)
            assert len(part.sample[chosen]) == len(weights) >= 1
            found += part.sample[chosen][weights > 0].tolist()
        assert found == [place for place in range(8) if place % 4 == step % 4]


def test_a_single_series_has_no_spread() -> None:
    """Its variance is 0, whatever the generator makes: a ratio of 1 would hide a collapse."""
    real, logits = torch.randn(4, 96, 1), torch.tensor([[1.0]] * 4)
    alike = torch.ones(4, 96, 1)
    health = Adversarial.measure_health(real, alike, logits, logits - 1)
    assert float(health["spread"]) < 1e-5 and float(health["accuracy"]) == 1
    assert list(Adversarial.measure_health(real[:1], alike[:1], logits[:1], logits[:1])) == ["accuracy"]
