"""The games of TimeGAN and C-RNN-GAN, by hand."""

import pytest
import torch
from torch import Tensor

from distgan import models
from distgan.data.loader import Batch
from distgan.models import make_objective
from distgan.models.timegan import Game as TimeGAN
from distgan.objectives.adversarial import Conditions
from distgan.objectives.losses import apply_to_global_means
from tests.helpers.zoo import (
    a_batch,
    condition_of,
    small,
)


def test_a_curved_mean_has_the_global_gradient() -> None:
    """Two processes' gradients of a root average to the gradient of the root of their mean."""
    parts = [torch.tensor(1.0, requires_grad=True), torch.tensor(9.0, requires_grad=True)]
    everywhere = torch.tensor(5.0)
    values = [apply_to_global_means(torch.sqrt, part, lambda mean: everywhere) for part in parts]
    assert sum(value.item() for value in values) / 2 == pytest.approx(5**0.5)
    for value, part in zip(values, parts):
        value.backward()
        assert part.grad is not None and part.grad.item() == pytest.approx(0.5 / 5**0.5)


def timegan(*more: str) -> TimeGAN:
    torch.manual_seed(0)
    settings = small("timegan", *more)
    objective = make_objective(
        settings, models.build(settings, 10, 2, labels=3), conditions=Conditions(generated=condition_of)
    )
    assert isinstance(objective, TimeGAN)
    return objective


def whole_batch(count: int = 4, length: int = 10, channels: int = 2) -> Batch:
    batch = a_batch(count, length, channels)
    return Batch(torch.tanh(batch.series), torch.ones_like(batch.mask), batch.rows, batch.sample, 0)


def test_timegan_losses_by_hand() -> None:
    """Each formula of the source written out again, on values in [0, 1]."""
    objective, batch = timegan("model.gamma=0.5"), whole_batch()
    auto, generator, critic = (objective.networks[k] for k in ("autoencoder", "generator", "discriminator"))
    x = (batch.series + 1) / 2
    label = condition_of(batch)[:, -3:]  # the static feature
    steps = label[:, None].expand(-1, 10, -1)
    h = auto.embedder(torch.cat([x, steps], 2)).sigmoid()
    recovered = auto.recovery(h).sigmoid()
    s = ((h[:, 1:] - generator.supervisor(h).sigmoid()[:, :-1]) ** 2).mean()
    e0 = 10 * ((x - recovered) ** 2).mean().sqrt()
    assert objective.embedding_loss(batch)["loss"].item() == pytest.approx(e0.item(), rel=1e-4)
    assert objective.supervised_loss(batch)["loss"].item() == pytest.approx(s.item(), rel=1e-4)
    joint = objective.autoencoder_loss(batch)["loss"].item()
    assert joint == pytest.approx((e0 + 0.1 * s).item(), rel=1e-4)

    def entropy(latent: Tensor, label: float) -> Tensor:
        share = critic.stack(torch.cat([latent, steps], 2)).sigmoid()
        return -(share.log() if label else (1 - share).log()).mean()

    raw, supervised = objective.generate_latents(batch, label, "discriminator noise")
    d = entropy(h, 1) + entropy(supervised, 0) + 0.5 * entropy(raw, 0)
    assert objective.discriminator_loss(batch)["loss"].item() == pytest.approx(d.item(), rel=1e-4)
    raw, supervised = objective.generate_latents(batch, label, "generator noise")
    fake = auto.recovery(supervised).sigmoid()
    deviation = [(y.var(0, unbiased=False) + 1e-6).sqrt() for y in (fake, x)]
    v = (deviation[0] - deviation[1]).abs().mean() + (fake.mean(0) - x.mean(0)).abs().mean()
    g = entropy(supervised, 1) + 0.5 * entropy(raw, 1) + 100 * s.sqrt() + 100 * v
    assert objective.generator_loss(batch)["loss"].item() == pytest.approx(g.item(), rel=1e-4)


def test_timegan_has_three_parts_and_two_generator_updates_for_one() -> None:
    phases = timegan().phases
    due = [[phase.name for phase in phases if phase.is_due(step)] for step in range(6)]
    joint = ["generator", "autoencoder"]
    assert due[:3] == [["embedding"], ["embedding"], ["supervised"]]
    assert due[3:] == [[*joint, "discriminator"], joint, [*joint, "discriminator"]]
    rests = phases[-1].skip
    assert rests is not None and rests({"loss": 0.15}) and not rests({"loss": 0.16})
    assert not rests({"loss": float("nan")})  # a loss that is no number must reach the check of the loop


def test_crnn_gan_by_hand() -> None:
    torch.manual_seed(0)
    settings = small("crnn_gan", "objective.loss=nonsaturating", "objective.penalty.kind=none")
    objective = make_objective(
        settings, models.build(settings, 10, 2), conditions=Conditions(generated=condition_of)
    )
    batch = whole_batch()
    pretraining, critic, generator = objective.phases
    fake = objective.networks["generator"](objective.draw_noise(batch, "generator noise"), None)
    features = objective.networks["discriminator"].compute_features
    matched = ((features(fake) - features(batch.series)) ** 2).mean().item()
    assert generator.loss(batch)["loss"].item() == pytest.approx(matched, rel=1e-4)
    error = ((fake - batch.series) ** 2).mean().item()
    assert pretraining.loss(batch)["loss"].item() == pytest.approx(error, rel=1e-4)
    other = objective.networks["generator"](objective.draw_noise(batch, "discriminator noise"), None)
    logits = objective.networks["discriminator"](other, None)
    values = critic.loss(batch)
    assert values["generator_entropy"].item() == pytest.approx(
        -logits.sigmoid().log().mean().item(), rel=1e-4
    )
    assert values["critic_entropy"].item() == pytest.approx(values["d"].item() / 2, rel=1e-4)
    ahead = {"critic_entropy": 0.4, "generator_entropy": 0.6}
    behind = {"critic_entropy": 0.6, "generator_entropy": 0.4}
    even = {"critic_entropy": 0.6, "generator_entropy": 0.6}
    assert [critic.skip(state) for state in (ahead, behind, even)] == [True, False, False]
    assert [generator.skip(state) for state in (ahead, behind, even)] == [False, True, False]
    assert (pretraining.stop, critic.start, generator.start) == (2, 2, 2)
