"""Augmentation: the same to real, mask and generated; differentiable; keyed by the sample; off by default."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from distgan import config, models
from distgan.data.augmentation import draw_augmentation, make_no_augmentation
from distgan.data.loader import Batch
from distgan.data.store.metadata import Axis
from distgan.errors import UserError
from distgan.models import make_objective
from distgan.objectives.adversarial import Adversarial, Conditions, Rules
from distgan.pipeline.train_gan import count_steps_per_day

ALL = {"day_shift": True, "week_shift": True, "jitter": 0.3, "cutout": 0.4, "crop": 0.4}
EACH = [{name: value} for name, value in ALL.items()] + [ALL]
L, DAY = 24 * 28, 24
SAMPLES = torch.arange(400)


def drawn(change: dict[str, float], samples: Tensor = SAMPLES, step: int = 3):  # type: ignore[no-untyped-def]
    return draw_augmentation(config.Augment(probability=0.5, **change), 0, step, samples, L, DAY)


def series(samples: Tensor = SAMPLES) -> Tensor:
    return torch.randn(len(samples), L, 2, generator=torch.Generator().manual_seed(0))


def test_off_by_default_and_never_certain() -> None:
    assert not config.load().objective.augment.on
    with pytest.raises(UserError, match="probability"):
        config.load(None, ["objective.augment.probability=1.0"])
    values = series()
    assert torch.equal(make_no_augmentation(SAMPLES, L).apply(values), values)


@pytest.mark.parametrize("change", EACH, ids=lambda change: "+".join(change))
def test_about_the_asked_share_is_changed_and_the_rest_is_not(change: dict[str, float]) -> None:
    values = series()
    same = (drawn(change).apply(values) == values).flatten(1).all(dim=1).float().mean()
    alone = 0.5 if len(change) == 1 else 0.5**5
    assert abs(same - alone) < 0.1


def test_shifts_are_whole_days_and_weeks() -> None:
    step_BLC = torch.arange(L).float()[None, :, None].expand(400, L, 1)
    for name, period in (("day_shift", DAY), ("week_shift", 7 * DAY)):
        turned = drawn({name: True}).apply(step_BLC)
        by = (step_BLC - turned)[:, :, 0] % L
        assert (by == by[:, :1]).all() and (by[:, 0] % period == 0).all()
        assert set((by[:, 0] / period).tolist()) == set(range(L // period))


def test_jitter_cutout_and_crop_stay_within_their_limits() -> None:
    ones = torch.ones(400, L, 1)
    factor = drawn({"jitter": 0.3}).apply(ones)
    assert (factor == factor[:, :1]).all() and 0.7 <= factor.min() < 0.75 and 1.25 < factor.max() <= 1.3
    for name in ("cutout", "crop"):
        augmentation = drawn({name: 0.4})
        blank = 1 - augmentation.apply(ones).mean(dim=(1, 2))
        assert blank.max() <= 0.4 + 1e-6 and blank.max() > 0.3
        assert torch.equal(augmentation.apply(ones), augmentation.mask(ones))


@pytest.mark.parametrize("change", EACH, ids=lambda change: "+".join(change))
def test_draws_belong_to_the_sample_whatever_the_number_of_processes(change: dict[str, float]) -> None:
    values = series()
    whole = drawn(change).apply(values)
    parts = [drawn(change, part).apply(values[part]) for part in SAMPLES.chunk(4)]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(drawn(change, step=4).apply(values), whole)


def test_it_is_differentiable() -> None:
    augmentation = draw_augmentation(config.Augment(probability=0.5, **ALL), 0, 3, SAMPLES[:6], 48, 3)
    values = torch.randn(6, 48, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(augmentation.apply, values)


class Watched(nn.Module):
    """A discriminator that keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Tensor] = []
        self.weight = nn.Parameter(torch.ones(L, 2))

    def forward(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        self.shown.append(series_BLC.detach().clone())
        return (series_BLC * self.weight).sum(dim=(1, 2))[:, None] / L


class Drawing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(L, 2))

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        return self.weight * (2 + noise_BZ[:, :1, None])


def objective(augment: dict[str, float]) -> tuple[Adversarial, Watched, Drawing]:
    critic, generator = Watched(), Drawing()
    settings = config.Objective(augment=config.Augment(probability=0.9, **augment))
    game = Adversarial(
        {"generator": generator, "discriminator": critic},
        conditions=Conditions(generated=lambda batch: torch.zeros(len(batch.rows), 1)),
        rules=Rules(noise_dim=1, settings=settings, seed=0, steps_per_day=DAY),
    )
    return game, critic, generator


def batch() -> Batch:
    mask = torch.ones(8, L, 2)
    mask[:, 100:150] = 0
    rows = torch.arange(8)
    return Batch(series(rows) * mask, mask, rows, rows, 5)


def test_the_discriminator_sees_real_and_generated_changed_alike_and_gaps_betray_nothing() -> None:
    game, critic, generator = objective(ALL)
    game.discriminator_loss(batch())["loss"].backward()
    real, fake = critic.shown[0].chunk(2)
    expected = draw_augmentation(game.settings.augment, 0, 5, batch().sample, L, DAY)
    assert torch.equal(real, expected.apply(batch().series))
    assert torch.equal(real == 0, fake == 0) and (real == 0).float().mean() > 0.1
    critic.shown.clear()
    game.generator_loss(batch())["loss"].backward()
    shown_fake, shown_real = critic.shown
    assert torch.equal(shown_real, real) and torch.equal(shown_fake == 0, fake == 0)
    assert generator.weight.grad is not None and generator.weight.grad.abs().sum() > 0


def test_feature_matching_compares_what_the_discriminator_sees() -> None:
    own = [
        "model=crnn_gan",
        "model.width=4",
        "objective.augment.jitter=0.9",
        "objective.augment.probability=.9",
    ]
    settings = config.load(None, own)
    networks = models.build(settings, L, 2)
    played = make_objective(
        settings, networks, conditions=Conditions(generated=lambda batch: torch.zeros(8, 10))
    )
    shown = []
    networks["discriminator"].compute_features = lambda series: shown.append(series) or series.mean(1)
    networks["discriminator"].judge = lambda features: features[:, :1]
    played.generator_loss(batch())
    drawn = draw_augmentation(settings.objective.augment, 0, 5, batch().sample, L, 24)
    assert torch.equal(shown[1], drawn.apply(batch().series))


def test_off_changes_no_loss() -> None:
    off, on = objective({}), objective({"jitter": 0.3})
    plain = replace(batch())
    first = off[0].discriminator_loss(plain)["loss"]
    off[0].settings.augment.model_copy()
    assert torch.equal(off[1].shown[0][:8], plain.series)
    assert not torch.equal(first, on[0].discriminator_loss(plain)["loss"])


@pytest.mark.parametrize(
    ("override", "axis", "words"),
    [
        ("day_shift", Axis("2019-01-01", 7 * 3600, 100), "do not divide a day"),
        ("week_shift", Axis("2019-01-01", 3600, 300), "needs series of two weeks"),
    ],
)
def test_shifts_that_do_not_fit_are_one_line(override: str, axis: Axis, words: str) -> None:
    with pytest.raises(UserError, match=words):
        count_steps_per_day(config.load(None, [f"objective.augment.{override}=true"]), axis)
    assert count_steps_per_day(config.load(), axis) >= 1
