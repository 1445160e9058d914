"""What the generator and the discriminator of a conditional GAN minimise.

Shapes: B series, L steps, C channels, Z noise, K condition, H logits, A numbers of location and scale, F
features.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from distgan import config, rng
from distgan.data.augmentation import draw_augmentation
from distgan.data.loader import Batch
from distgan.objectives.base import Phase
from distgan.objectives.derivatives import disable_dropout, twice_differentiable
from distgan.objectives.losses import (
    LOSSES,
    Across,
    average_masked,
    compute_mode_seeking,
    compute_moment_distance,
    identity,
)
from distgan.objectives.penalties import (
    compute_squared_slope,
    interpolate,
    penalise_difference,
    penalise_distance_to_norm,
    penalise_gradient,
)
from distgan.objectives.schedules import anneal_cosine
from distgan.objectives.series_features import Whitening, compute_energy_distance, measure_features

Condition = Callable[[Batch], Tensor]
Standardise = Callable[[Tensor, Tensor, Tensor], Tensor]
Relative = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def keep_as_generated(series_BLC: Tensor, mask: Tensor, condition_BK: Tensor) -> Tensor:
    """Return the series as they are, for a game that does not standardise."""
    return series_BLC


def keep_relative(series_BLC: Tensor, condition_BK: Tensor) -> tuple[Tensor, Tensor]:
    """Give a series no location and no scale."""
    return series_BLC, series_BLC.new_zeros(len(series_BLC), 0)


@dataclass(frozen=True)
class Conditions:
    """Conditions of each series of a batch.

    Attributes:
        generated: what each generated series is made from, (B, K).
        real: the condition of the real series; by default the same.
        standardise: generated series, mask, condition -> the series as they will be released, with the
            location and scale of the condition; by default as they are.
        attributes: of each attribute, in the order of a condition's end, how many numbers it has there, and
            whether it is a number; none where a condition ends with labels or with the group's mean.
        relative: series and condition -> the series in units of its root mean square, with its location, in
            the transformed domain, and what belongs to it (asinh_ratio, log_rms): (B, L, C), (B, A); by
            default as they are, and nothing.
    """

    generated: Condition
    real: Condition | None = None
    standardise: Standardise = keep_as_generated
    attributes: tuple[tuple[int, bool], ...] = ()
    relative: Relative = keep_relative


@dataclass(frozen=True)
class Rules:
    """Rules of what is minimised, and with which random numbers.

    Attributes:
        noise_dim: numbers of noise a series takes.
        steps_per_day: what augmentation calls a day.
        family: the settings of the model, for games that have rules of their own.
        expected_deviation: of scaled readings, known without a look at any; None where networks have it.
    """

    settings: config.Objective
    seed: int
    noise_dim: int
    burn_in_steps: int = 0
    steps_per_day: int = 24
    family: config.Section | None = None
    expected_deviation: float | None = None


@dataclass(frozen=True)
class Arithmetic:
    """Rules of how numbers are kept and averaged.

    Attributes:
        across: mean over processes.
        dtype: of the networks' arithmetic, but for the penalty, which is float32.
        processes: that hold parts of a global batch.
    """

    across: Across = identity
    dtype: torch.dtype = torch.float32
    processes: int = 1


PLAIN = Arithmetic()  # one process, float32


class Adversarial:
    """Two phases a step: the discriminator on real and generated series of one condition, then the generator.

    Args:
        networks: `generator` and `discriminator`, ready to be called.
    """

    averaged: tuple[str, ...] = ("generator",)

    def __init__(
        self,
        networks: dict[str, nn.Module],
        conditions: Conditions,
        rules: Rules,
        arithmetic: Arithmetic = PLAIN,
    ) -> None:
        self.networks: dict[str, Any] = networks  # some are called in parts: autoencoder.embed
        self.condition, self.standardise = conditions.generated, conditions.standardise
        self.real_condition = conditions.real or conditions.generated
        self.attributes, self.relative = conditions.attributes, conditions.relative
        self.settings, self.seed, self.noise_dim = rules.settings, rules.seed, rules.noise_dim
        self.burn_in_steps, self.steps_per_day = rules.burn_in_steps, rules.steps_per_day
        self.family: Any = rules.family
        self.whitening: Whitening | None = None  # of `objective.features`; without it they count as they are
        self.processes = arithmetic.processes
        self.across, self.dtype = arithmetic.across, arithmetic.dtype
        self.loss = LOSSES[rules.settings.loss]
        self.phases = self.schedule()

    def schedule(self) -> list[Phase]:
        """Return the updates of a step, in order."""
        return [
            Phase("discriminator", "discriminator", self.discriminator_loss),
            Phase("generator", "generator", self.generator_loss),
        ]

    def view(self, batch: Batch) -> Batch:
        """Return the batch as the two networks see it."""
        return batch

    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the discriminator's "loss", with the penalty, and what is shown of the update."""
        batch = self.view(batch)
        real_BK, fake_BK = self.real_condition(batch), self.condition(batch)
        penalised = self.count_penalised(batch)  # processes meet here: none has to wait for another's work
        with torch.no_grad():
            fake_BLC = self.generate(batch, fake_BK, "discriminator noise")
        batch, fake_BLC = self.augment(batch, fake_BLC)
        (real, fake), penalty = self.judge_and_penalise(batch, fake_BLC, (real_BK, fake_BK), penalised)
        loss = self.loss.discriminator(real, fake)
        shown = self.summarise_logits(loss.detach(), real.detach(), fake.detach())
        shown |= self.measure_health(batch.series, fake_BLC, real.detach(), fake.detach())
        if penalty is not None:
            loss = loss + self.compute_penalty_weight(batch.step) * penalty
            shown["penalty"] = penalty.detach()
        extra = self.compute_extra_losses(batch.series, real_BK)
        return {"loss": sum(extra.values(), loss), **shown, **_detach(extra)}

    @staticmethod
    def measure_health(real_BLC: Tensor, fake_BLC: Tensor, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Return how unlike the generated series are, next to the real ones (mean squared distance of pairs;
        0 when all are one; left out of a single series), and how often the discriminator ranks a pair
        correctly (a half by chance).
        """
        health = {"accuracy": (real.mean(1) > fake.mean(1)).float().mean()}
        if len(fake_BLC) < 2:
            return health

        def measure_distance(series_BLC: Tensor) -> Tensor:
            return series_BLC.float().var(0, correction=0).mean()

        spread = (measure_distance(fake_BLC) + 1e-12) / (measure_distance(real_BLC) + 1e-12)
        return {"spread": spread.sqrt(), **health}

    def summarise_logits(self, loss: Tensor, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Return what the discriminator's phase shows of its logits."""
        return {"d": loss, "real": real.mean(), "fake": fake.mean()}

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the generator's "loss" and what is shown of the update."""
        batch = self.view(batch)
        condition_BK = self.condition(batch)
        fake_BLC = self.generate(batch, condition_BK, "generator noise")
        seen, seen_fake_BLC = self.augment(batch, fake_BLC)
        fake = self.judge(seen_fake_BLC, condition_BK)
        real = fake
        real_BK = self.real_condition(batch) if self.loss.compares or self.settings.features else condition_BK
        if self.loss.compares:
            with torch.no_grad():
                real = self.judge(seen.series, real_BK)
        loss = self.loss.generator(real, fake)
        shown = {"g": loss.detach()}
        if self.loss.seeks_modes:
            other_BLC = self.generate(batch, condition_BK, "second noise")
            noise_BZ, other_BZ = (
                self.draw_noise(batch, f"{which} noise") for which in ("generator", "second")
            )
            series = fake_BLC.float(), other_BLC.float()
            loss = loss + compute_mode_seeking(*series, noise_BZ, other_BZ, across=self.across)
        extra = self.compute_extra_losses(seen_fake_BLC, condition_BK)
        if self.settings.moments:
            distance = compute_moment_distance(fake_BLC, batch.series, batch.mask, self.across)
            extra = {**extra, "moments": self.settings.moments * distance}
        if self.settings.features:
            distance = self.compute_feature_distance(batch, fake_BLC, (real_BK, condition_BK))
            extra = {**extra, "features": self.settings.features * distance}
        return {"loss": sum(extra.values(), loss), **shown, **_detach(extra)}

    def compute_feature_distance(
        self, batch: Batch, fake_BLC: Tensor, conditions: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Return the energy distance of features of generated series from those of real ones: a scalar.

        Args:
            conditions: of the real and of the generated series, (B, K) each.
        """
        real_BK, fake_BK = conditions
        fake = self.measure_features(fake_BLC, fake_BK)
        real = self.measure_features(batch.series, real_BK)
        places = batch.sample.to(fake_BLC.device, non_blocking=True)

        def gather(rows_BF: Tensor) -> Tensor:
            """Return the rows of the global batch."""
            placed = rows_BF.new_zeros(len(rows_BF) * self.processes, rows_BF.shape[1])
            return self.across(placed.index_copy(0, places, rows_BF)) * self.processes

        return compute_energy_distance(fake, real, gather, places)

    def measure_features(self, series_BLC: Tensor, condition_BK: Tensor) -> list[Tensor]:
        """Return whitened features of series and of their location and scale: (B, F) of each family."""
        relative_BLC, given_BA = self.relative(series_BLC, condition_BK)
        families = measure_features(series_BLC, relative_BLC, given_BA, self.steps_per_day)
        return families if self.whitening is None else self.whitening.apply(families)

    def compute_extra_losses(self, series_BLC: Tensor, condition_BK: Tensor) -> dict[str, Tensor]:
        """Return what a family adds to both losses, by name: of real series to the discriminator's, of
        generated ones to the generator's.
        """
        return {}

    def average(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the mean of x over what the mask has on all processes."""
        return average_masked(x, mask, self.across(mask.sum()))

    def draw_noise(self, batch: Batch, purpose: str) -> Tensor:
        shape, device = (self.noise_dim,), batch.series.device
        return rng.draw_keyed_normal(self.seed, batch.step, purpose, batch.sample, shape, device)

    def generate(self, batch: Batch, condition_BK: Tensor, purpose: str) -> Tensor:
        """Return generated series with the real ones' gaps, so that gaps distinguish nothing: (B, L, C)."""
        noise_BZ = self.draw_noise(batch, purpose)
        series_BLC = self.networks["generator"](noise_BZ.to(self.dtype), condition_BK.to(self.dtype))
        series_BLC = self.standardise(series_BLC, batch.mask, condition_BK)
        return series_BLC * batch.mask.to(series_BLC.dtype)

    def augment(self, batch: Batch, fake_BLC: Tensor) -> tuple[Batch, Tensor]:
        """Return the batch and the generated series, augmented in the same way."""
        settings = self.settings.augment
        if not settings.on:
            return batch, fake_BLC
        length = batch.series.shape[1]
        drawn = draw_augmentation(settings, self.seed, batch.step, batch.sample, length, self.steps_per_day)
        drawn = drawn.to(batch.series.device)
        seen = replace(batch, series=drawn.apply(batch.series), mask=drawn.mask(batch.mask))
        return seen, drawn.apply(fake_BLC)

    def judge(self, series_BLC: Tensor, condition_BK: Tensor) -> Tensor:
        """Return logits in float32: (B, L, C), (B, K) -> (B, H)."""
        logits = self.networks["discriminator"](series_BLC.to(self.dtype), condition_BK.to(self.dtype))
        return logits.float()

    def judge_and_penalise(
        self, batch: Batch, fake_BLC: Tensor, conditions: tuple[Tensor, Tensor], penalised: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
        """Return the logits of real and of generated series, (B, H) each, and the penalty, a scalar, or None.

        The finite difference takes the logits that the loss needs anyway, wherever a discriminator judges
        every series by itself and in float32: one pass of 2 B and the moved series.
        """
        settings = self.settings.penalty
        separable = self.dtype == torch.float32 and getattr(self.family, "by_owners", False)
        if not separable or settings.kind != "finite_difference":
            logits = self.judge(torch.cat([batch.series, fake_BLC]), torch.cat(conditions))
            real, fake = logits.chunk(2)
            if settings.kind == "none":
                return (real, fake), None
            return (real, fake), self.compute_penalty(batch, fake_BLC, *conditions, penalised)
        chosen, kept_B = self.choose_penalised(batch)
        directions = self.draw_directions(batch, batch.sample[chosen], batch.mask[chosen])
        both, conditions_BK = torch.cat([batch.series, fake_BLC]), torch.cat(conditions)

        def pick(values: Tensor) -> Tensor:
            """Return the chosen of the real half, then those of the other."""
            return values.unflatten(0, (2, -1))[:, chosen].flatten(0, 1)

        moved = pick(both).float() + settings.sigma * directions
        logits = self.judge(torch.cat([both, moved]), torch.cat([conditions_BK, pick(conditions_BK)]))
        logits, moved_logits = logits.split([len(both), len(moved)])
        real_B, fake_B = compute_squared_slope(pick(logits), moved_logits, settings.sigma).chunk(2)
        real, fake = logits.chunk(2)
        return (real, fake), ((real_B + fake_B) * kept_B).sum() / penalised

    def draw_directions(self, batch: Batch, samples: Tensor, mask: Tensor) -> Tensor:
        """Return where the finite difference moves the chosen real and generated series: (2 B, L, C)."""
        shape, device = tuple(mask.shape[1:]), mask.device
        drawn = [
            rng.draw_keyed_normal(self.seed, batch.step, way, samples, shape, device)
            for way in ("real direction", "fake direction")
        ]
        return torch.cat(drawn) * torch.cat([mask] * 2)

    def compute_penalty_weight(self, step: int) -> float:
        weight = self.settings.penalty.weight
        return anneal_cosine(step, self.burn_in_steps, 10 * weight, weight)

    def count_penalised(self, batch: Batch) -> Tensor:
        """Return how many series a process penalises, as a mean over processes; 0 in some small batches."""
        if self.settings.penalty.kind == "none":
            return torch.zeros((), device=batch.series.device)
        count = self.across(batch.average_count(lambda part: self.choose_penalised(part)[1].sum()))
        return count.clamp(min=1e-6)

    def compute_penalty(
        self, batch: Batch, fake_BLC: Tensor, real_BK: Tensor, fake_BK: Tensor, penalised: Tensor
    ) -> Tensor:
        """Return the mean penalty over this step's share of the global batch, at real and at generated
        series: a scalar.
        """
        chosen, kept_B = self.choose_penalised(batch)
        real, fake = batch.series[chosen], fake_BLC[chosen].float()
        conditions, mask = (real_BK[chosen], fake_BK[chosen]), batch.mask[chosen]
        with disable_dropout(self.networks["discriminator"]):
            penalties_B = self.compute_penalties(batch, batch.sample[chosen], real, fake, conditions, mask)
        return (penalties_B * kept_B).sum() / penalised

    def compute_penalties(
        self,
        batch: Batch,
        samples: Tensor,
        real: Tensor,
        fake: Tensor,
        conditions: tuple[Tensor, Tensor],
        mask: Tensor,
    ) -> Tensor:
        """Return one number for each chosen series, which stand at `samples` of the global batch."""
        network, settings, device = self.networks["discriminator"], self.settings.penalty, real.device
        if settings.kind == "interpolated":
            share_B = rng.draw_keyed_uniform(self.seed, batch.step, "interpolation", samples, (), device)
            with twice_differentiable():
                between = torch.lerp(conditions[1], conditions[0], share_B[:, None])
                series = interpolate(real, fake, share_B)
                return penalise_distance_to_norm(network, series, between, mask, settings.target)
        both, conditions_BK, both_mask = torch.cat([real, fake]), torch.cat(conditions), torch.cat([mask] * 2)
        if settings.kind == "exact":
            with twice_differentiable():
                values = penalise_gradient(network, both, conditions_BK, both_mask)
        else:
            direction = self.draw_directions(batch, samples, mask)
            values = penalise_difference(network, both, conditions_BK, direction, settings.sigma)
        real_B, fake_B = values.chunk(2)
        return real_B + fake_B

    def choose_penalised(self, batch: Batch) -> tuple[slice, Tensor]:
        """Return which series are penalised this step, and their weights: one in 1/fraction of the global
        batch, in turn.

        A process that holds none of them computes one and weighs it 0, so that all processes do the same
        work.
        """
        stride, size = round(1 / self.settings.penalty.fraction), len(batch.sample)
        first = (batch.step - int(batch.sample[0])) % stride
        count, device = len(range(first, size, stride)), batch.series.device
        if count:
            return slice(first, None, stride), torch.ones(count, device=device)
        return slice(0, 1), torch.zeros(1, device=device)


def _detach(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in values.items()}
