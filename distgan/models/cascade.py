"""A cascade: the multi-scale GAN makes the coarse course of a series, a local flow its steps.

    noise, condition ─ multi-scale generator ─ course of blocks of f steps ─ upsampler ─ series

As in cascaded diffusion (Ho et al., JMLR 2022), the two learn from the same batches and not from one another:
the GAN plays on the means of blocks of real series, and the upsampler learns the details of real series given
these means. A discriminator of 8,760 hours of a hundred homes hardly sees how hours follow one
another; the flow has every hour of every home as an example.

The discriminator sees means as they are generated, and not at the location and scale of their condition, as
it sees whole series: so the upsampler gets what was judged. Location and scale are given to the finished
series.

Shapes: B series, L steps, N coarse ones, f steps of each, C channels, Z noise, K condition.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from distgan import config, rng
from distgan.data.loader import Batch
from distgan.models import multiscale
from distgan.models.flow_matching import SCORED, UNIT_SHARE, UNIT_STEPS, draw_even_times, solve
from distgan.models.upsampler import (
    Upsampler,
    average_blocks,
    centre_blocks,
    cut_blocks,
    standardise_course,
)
from distgan.objectives.adversarial import (
    PLAIN,
    Adversarial,
    Arithmetic,
    Conditions,
    Rules,
    keep_as_generated,
)
from distgan.objectives.base import Phase
from distgan.objectives.losses import average_masked


class Sampler(nn.Module):
    """Generator, then the solver of the upsampler: (B, Z), (B, K) -> (B, L, C) in [-1, 1].

    The noise is the generator's, then one number for each reading.
    """

    def __init__(self, generator: multiscale.Generator, upsampler: Upsampler) -> None:
        super().__init__()
        self.generator, self.upsampler = generator, upsampler
        steps, channels = generator.shape
        self.length, self.details = upsampler.length, (steps, upsampler.factor, channels)
        self.noise_dim = generator.noise_dim + steps * upsampler.factor * channels
        self.solver_steps = upsampler.solver_steps

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        coarse_BZ, fine_BZ = noise_BZ.tensor_split([self.generator.noise_dim], dim=1)
        means_BNC = self.generator(coarse_BZ, condition_BK).float()
        course_BNC, deviation_B1C = standardise_course(means_BNC, torch.ones_like(means_BNC))
        first_B = torch.zeros(len(noise_BZ), dtype=torch.int64, device=noise_BZ.device)

        def find_velocity(x_BNfC: Tensor, time: float) -> Tensor:
            time_B = torch.full((len(x_BNfC),), time, device=x_BNfC.device)
            velocity_BNfC: Tensor = self.upsampler(x_BNfC, course_BNC, first_B, time_B, condition_BK)
            return velocity_BNfC

        x_BNfC = make_detail_noise(fine_BZ.float().unflatten(1, self.details))
        details_BNfC = solve(find_velocity, x_BNfC, "heun", self.solver_steps) * self.upsampler.deviation
        series_BNfC = means_BNC[:, :, None] + deviation_B1C[:, :, None] * details_BNfC
        return series_BNfC.flatten(1, 2)[:, : self.length].clamp(-1, 1).to(noise_BZ.dtype)


def make_detail_noise(noise_BNfC: Tensor) -> Tensor:
    """Return noise that sums to 0 over each block, of deviation 1."""
    factor = noise_BNfC.shape[2]
    return centre_blocks(noise_BNfC) * (factor / (factor - 1)) ** 0.5


def build(
    settings: config.Cascade, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Return generator and discriminator of block means, and the upsampler to `length` steps."""
    coarse = -(-length // settings.upsampler.factor)
    return {
        **multiscale.build_networks(settings, coarse, channels, condition_dim),
        "upsampler": Upsampler(length, channels, condition_dim, settings.upsampler),
    }


def join_sampler(networks: dict[str, nn.Module]) -> Sampler:
    return Sampler(networks["generator"], networks["upsampler"])  # type: ignore[arg-type]


def measure_details(series_BLC: Tensor, mask_BLC: Tensor, factor: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return details, coarse course and which blocks are measured: (B, N, f, C), (B, N, C), (B, N, C)."""
    means_BNC, whole_BNC = average_blocks(series_BLC.float(), mask_BLC, factor)
    course_BNC, deviation_B1C = standardise_course(means_BNC, whole_BNC)
    there_NfC = cut_blocks(torch.ones_like(mask_BLC[:1]), factor)  # the last block may have fewer steps
    blocks_BNfC = (cut_blocks(series_BLC.float(), factor) - means_BNC[:, :, None]) * there_NfC
    return blocks_BNfC / deviation_B1C[:, :, None] * whole_BNC[:, :, None], course_BNC, whole_BNC


def compute_detail_error(upsampler: Any, inputs: tuple[Tensor, ...], time_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared error of the velocity and which readings count, (B, N, f, C) and (B, N, 1, C).

    Args:
        inputs: noise and details (B, N, f, C) of deviation 1, course and measured blocks (B, N, C), first
            place (B,), condition (B, K).
    """
    noise_BNfC, details_BNfC, course_BNC, whole_BNC, first_B, condition_BK = inputs
    x_BNfC = torch.lerp(noise_BNfC, details_BNfC, time_B[:, None, None, None])
    velocity_BNfC = upsampler(x_BNfC, course_BNC, first_B, time_B, condition_BK)
    return (velocity_BNfC - (details_BNfC - noise_BNfC)).square(), whole_BNC[:, :, None]


def score_series(sampler: Sampler, series_BLC: Tensor, mask_BLC: Tensor, condition_BK: Tensor) -> Tensor:
    """Return minus the upsampler's loss of each series at fixed times and noises, by which training series
    may be recognised (Matsumoto et al. 2023): (B,).
    """
    upsampler, places, device = sampler.upsampler, torch.arange(SCORED), series_BLC.device
    noise_KNfC = rng.draw_keyed_normal(0, 0, "scored noise", places, sampler.details, device)
    noise_KNfC = make_detail_noise(noise_KNfC)
    details_BNfC, course_BNC, whole_BNC = measure_details(series_BLC, mask_BLC, upsampler.factor)
    details_BNfC, loss_B = details_BNfC / upsampler.deviation, torch.zeros(len(series_BLC), device=device)
    first_B = torch.zeros(len(series_BLC), dtype=torch.int64, device=device)
    for time, noise_NfC in zip(((places + 0.5) / SCORED).tolist(), noise_KNfC):
        inputs = noise_NfC.expand_as(details_BNfC), details_BNfC, course_BNC, whole_BNC, first_B, condition_BK
        error, counted = compute_detail_error(upsampler, inputs, torch.full_like(loss_B, time))
        loss_B += (error * counted).sum((1, 2, 3)) / counted.expand_as(error).sum((1, 2, 3)).clamp(min=1)
    return -loss_B / SCORED


class Game(Adversarial):
    """The plain game over block means, and E (v(x_t, u, t, c) - (d - n))² over details of measured blocks.

    An upsampler's batch has one window of each series, at a place of its own (`upsampler.window`), and one
    time; times follow one another evenly over the batch from a random start.
    """

    def __init__(
        self,
        networks: dict[str, nn.Module],
        conditions: Conditions,
        rules: Rules,
        arithmetic: Arithmetic = PLAIN,
    ) -> None:
        self.factor: int = rules.family.upsampler.factor  # type: ignore[union-attr]
        conditions = replace(conditions, standardise=keep_as_generated)
        rules = replace(rules, steps_per_day=max(1, rules.steps_per_day // self.factor))
        super().__init__(networks, conditions, rules, arithmetic)

    averaged = ("generator", "upsampler")

    def schedule(self) -> list[Phase]:
        return [*super().schedule(), Phase("upsampler", "upsampler", self.upsampler_loss)]

    def view(self, batch: Batch) -> Batch:
        """Return the block means of the batch."""
        means_BNC, whole_BNC = average_blocks(batch.series, batch.mask, self.factor)
        return replace(batch, series=means_BNC, mask=whole_BNC)

    def upsampler_loss(self, batch: Batch) -> dict[str, Tensor]:
        upsampler, device = self.networks["upsampler"], batch.series.device
        details_BnfC, course_BnC, whole_BnC, first_B = windows = self.cut_windows(batch)
        together = windows if batch.whole is None else self.cut_windows(batch.whole)
        if batch.step < UNIT_STEPS and batch.is_first_part:
            self.learn_deviation(together[0], together[2], batch.step)
        noise_BnfC = make_detail_noise(
            rng.draw_keyed_normal(
                self.seed, batch.step, "flow noise", batch.sample, tuple(details_BnfC.shape[1:]), device
            )
        )
        condition_BK = self.real_condition(batch).to(self.dtype)
        inputs = noise_BnfC, details_BnfC / upsampler.deviation, course_BnC, whole_BnC, first_B, condition_BK
        time_B = draw_even_times(self.seed, batch.step, batch.sample, device)
        error, counted = compute_detail_error(upsampler, inputs, time_B)
        count = self.across(batch.average_count(lambda part: together[2].sum()))
        loss = average_masked(error, counted, count * self.factor)
        return {"loss": loss, "u": loss.detach()}

    def cut_windows(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return a window of the details of each series, of its course and of which blocks are measured, and
        its first place: (B, n, f, C), (B, n, C), (B, n, C), (B,).
        """
        measured = measure_details(batch.series, batch.mask, self.factor)
        steps, device = measured[1].shape[1], batch.series.device
        size = min(self.family.upsampler.window or steps, steps)
        share_B = rng.draw_keyed_uniform(self.seed, batch.step, "window", batch.sample, (), device)
        first_B = (share_B * (steps - size + 1)).long()
        place_Bn = first_B[:, None] + torch.arange(size, device=device)
        series_B1 = torch.arange(len(place_Bn), device=device)[:, None]
        details_BnfC, course_BnC, whole_BnC = (values[series_B1, place_Bn] for values in measured)
        return details_BnfC, course_BnC, whole_BnC, first_B

    @torch.no_grad()
    def learn_deviation(self, details_BnfC: Tensor, whole_BnC: Tensor, step: int) -> None:
        """Move the variance of each channel's details to that of the global batch; that of a channel without
        a measured block in it stays.
        """
        count_C = self.across(whole_BnC.sum((0, 1)))
        mean_C = self.across(details_BnfC.square().sum((0, 1, 2))) / (self.factor * count_C).clamp(min=1e-6)
        variance = self.networks["upsampler"].variance
        moved_C = torch.lerp(variance, mean_C.to(variance.dtype), max(1 / (step + 1), UNIT_SHARE))
        variance.copy_(torch.where(count_C > 0, moved_C, variance))
