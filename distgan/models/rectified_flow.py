"""Rectified flow (Liu et al., ICLR 2023; flow matching: Lipman et al., ICLR 2023): no discriminator.

    x_t = (1 - t) noise + t series ─ patches ─ + positions ─ transformer ─ overlapping patches ─ velocity
    t, condition ─ style of every block
    noise ─ solver of dx/dt = velocity(x, t, condition) from t = 0 to 1 ─ series

The network estimates E[series - noise | x_t]. Each channel has mean 0 and deviation 1 inside, as the noise
has; both are learned in the first steps and kept among the weights. With s the deviation of x_t, the network
sees x_t / s and gives s times what the best linear estimate leaves, which has deviation 1 at every t
(`flow_matching.py`). It also sees which readings are measured.

The condition of a series in training is its own: location, scale and attributes beside its group's mean.
Those of a generated series are drawn, as for every family.

Shapes: B series, L steps, C channels, N tokens, D width, S style, Z = L·C, K condition, T features of t, R
draws.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distgan import config, rng
from distgan.data.loader import Batch
from distgan.models.flow_matching import (
    SCORED,
    TIME_FEATURES,
    UNIT_SHARE,
    UNIT_STEPS,
    compute_deviation,
    compute_time_features,
    draw_even_times,
    estimate_linearly,
    solve,
)
from distgan.models.layers import Linear, PatchEmbedding, PatchHead, Transformer, make_positions
from distgan.objectives.adversarial import Adversarial, Conditions, Rules
from distgan.objectives.base import Phase
from distgan.objectives.losses import average_masked

Network = Callable[..., Tensor]


class Velocity(nn.Module):
    """x_t (B, L, C), mask (B, L, C), t (B,), condition (B, K) -> velocity (B, L, C), float32.

    `noise_dim` and `shape` are of the noise that a series starts from; the solver is for sampling.
    """

    centre: Tensor
    variance: Tensor

    def __init__(
        self, length: int, channels: int, condition_dim: int, settings: config.RectifiedFlow
    ) -> None:
        super().__init__()
        width, patch = settings.width, settings.patch
        self.shape, self.noise_dim = (length, channels), length * channels
        self.solver, self.solver_steps = settings.solver, settings.solver_steps
        self.embed = PatchEmbedding(2 * channels, patch, width)
        self.position = make_positions(math.ceil(length / patch), width)
        self.style = nn.Sequential(
            Linear(TIME_FEATURES + condition_dim, width), nn.SiLU(), Linear(width, width), nn.SiLU()
        )
        self.transformer = Transformer(width, settings.depth, settings.heads, width)
        self.head = PatchHead(width, length, channels, patch)
        self.register_buffer("centre", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x_BLC: Tensor, mask_BLC: Tensor, time_B: Tensor, condition_BK: Tensor) -> Tensor:
        dtype, size_B11 = condition_BK.dtype, compute_deviation(time_B)
        seen_BLC = torch.cat([x_BLC / size_B11 * mask_BLC, mask_BLC], dim=2).to(dtype)
        style_BS = self.style(torch.cat([compute_time_features(time_B).to(dtype), condition_BK], dim=1))
        tokens_BND = self.embed(seen_BLC) + self.position.to(dtype)
        rest_BLC = self.head(self.transformer(tokens_BND, style_BS)).float()
        return estimate_linearly(x_BLC, time_B) + rest_BLC / size_B11

    def to_units(self, series_BLC: Tensor) -> Tensor:
        """Return series of mean 0 and deviation 1 in each channel, float32."""
        return (series_BLC.float() - self.centre.float()) / self._deviation

    def from_units(self, series_BLC: Tensor) -> Tensor:
        return series_BLC * self._deviation + self.centre.float()

    @property
    def _deviation(self) -> Tensor:
        return self.variance.float().clamp(min=1e-8).sqrt()


class Sampler(nn.Module):
    """The solver: noise (B, L·C), condition (B, K) -> series (B, L, C) in [-1, 1]."""

    def __init__(self, velocity: Velocity) -> None:
        super().__init__()
        self.velocity, self.noise_dim = velocity, velocity.noise_dim

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        x_BLC = noise_BZ.float().unflatten(1, self.velocity.shape)
        mask_BLC = torch.ones_like(x_BLC)

        def find_velocity(x_BLC: Tensor, time: float) -> Tensor:
            time_B = torch.full((len(x_BLC),), time, device=x_BLC.device)
            velocity_BLC: Tensor = self.velocity(x_BLC, mask_BLC, time_B, condition_BK)
            return velocity_BLC

        x_BLC = solve(find_velocity, x_BLC, self.velocity.solver, self.velocity.solver_steps)
        return self.velocity.from_units(x_BLC).clamp(-1, 1).to(noise_BZ.dtype)


def join_sampler(networks: dict[str, nn.Module]) -> Sampler:
    return Sampler(networks["generator"])  # type: ignore[arg-type]


def build(
    settings: config.RectifiedFlow, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Return the velocity as `generator`, for series of `length` steps; there is no discriminator."""
    return {"generator": Velocity(length, channels, condition_dim, settings)}


def score_series(sampler: Sampler, series_BLC: Tensor, mask_BLC: Tensor, condition_BK: Tensor) -> Tensor:
    """Return minus the loss of each series at fixed times and noises, by which training series may be
    recognised (Matsumoto et al. 2023): (B,).
    """
    velocity, places = sampler.velocity, torch.arange(SCORED)
    shape, device = velocity.shape, series_BLC.device
    noise_KLC = rng.draw_keyed_normal(0, 0, "scored noise", places, shape, device)
    x_BLC, loss_B = velocity.to_units(series_BLC), torch.zeros(len(series_BLC), device=device)
    for time, noise_LC in zip(((places + 0.5) / SCORED).tolist(), noise_KLC):
        time_B = torch.full((len(x_BLC),), time, device=device)
        found_BLC = velocity(torch.lerp(noise_LC, x_BLC, time), mask_BLC, time_B, condition_BK)
        error_BLC = (found_BLC - (x_BLC - noise_LC)).square() * mask_BLC
        loss_B += error_BLC.sum((1, 2)) / mask_BLC.sum((1, 2)).clamp(min=1) / SCORED
    return -loss_B


def average_flow_error(network: Network, inputs: tuple[Tensor, ...], count: Tensor) -> Tensor:
    """Return the squared error of the velocity, summed over measured readings and divided by `count`; inputs
    as of `Game.make_inputs`.
    """
    series_BLC, noise_BRLC, time_BR, mask_BLC, condition_BK = inputs
    noise, time = noise_BRLC.flatten(0, 1), time_BR.flatten()
    series, mask, condition = (
        each.repeat_interleave(time_BR.shape[1], dim=0) for each in (series_BLC, mask_BLC, condition_BK)
    )
    velocity = network(torch.lerp(noise, series, time[:, None, None]), mask, time, condition)
    return average_masked((velocity - (series - noise)).square(), mask, count)


class Game(Adversarial):
    """No game: E (v(x_t, t, c) - (x - n))² over measured readings, in units of each channel's deviation.

    Each series is seen at `model.draws` pairs of a time and a noise. The times of a batch cover (0, 1)
    evenly, and those of a series are evenly apart.
    """

    def schedule(self) -> list[Phase]:
        return [Phase("flow", "generator", self.flow_loss)]

    def flow_loss(self, batch: Batch) -> dict[str, Tensor]:
        if batch.step < UNIT_STEPS and batch.is_first_part:
            self.learn_units(batch)
        inputs = self.make_inputs(batch)
        count = self.across(batch.average_count(lambda part: part.mask.sum()))
        loss = average_flow_error(self.networks["generator"], inputs, count * self.family.draws)
        return {"loss": loss}

    def make_inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return series in units, their noise, times, masks and conditions: (B, L, C), (B, R, L, C), (B, R),
        (B, L, C), (B, K).
        """
        device, shape = batch.series.device, (self.family.draws, *batch.series.shape[1:])
        noise_BRLC = rng.draw_keyed_normal(self.seed, batch.step, "flow noise", batch.sample, shape, device)
        apart_R = torch.arange(self.family.draws, device=device) / self.family.draws
        time_BR = (self.draw_times(batch)[:, None] + apart_R).frac()
        condition_BK = self.real_condition(batch).to(self.dtype)
        series_BLC = self.networks["generator"].to_units(batch.series)
        return series_BLC, noise_BRLC, time_BR, batch.mask, condition_BK

    def draw_times(self, batch: Batch) -> Tensor:
        """Return the first t of each series: (B,)."""
        return draw_even_times(self.seed, batch.step, batch.sample, batch.series.device)

    @torch.no_grad()
    def learn_units(self, batch: Batch) -> None:
        """Move each channel's mean, then its variance about that mean, to those of the global batch; those of
        a channel without a reading in the batch stay.
        """
        network, whole = self.networks["generator"], batch.whole or batch
        share = max(1 / (batch.step + 1), UNIT_SHARE)
        count_C = self.across(whole.mask.sum((0, 1)))
        for statistic, power in ((network.centre, 1), (network.variance, 2)):
            values_BLC = whole.series if power == 1 else (whole.series - network.centre.float()).square()
            mean_C = self.across((values_BLC * whole.mask).sum((0, 1))) / count_C.clamp(min=1e-6)
            moved_C = torch.lerp(statistic, mean_C.to(statistic.dtype), share)
            statistic.copy_(torch.where(count_C > 0, moved_C, statistic))


class OwnerGame(Game):
    """The same loss, of each owner's own series by themselves (`privacy.end_to_end`).

    The units are public: mean 0 and the deviation that scaling leads to expect, or those of public weights.
    Noise and times of a series are keyed by its owner alone.
    """

    scalars: Sequence[str] = ("loss", "error")

    def __init__(self, networks: dict[str, Any], conditions: Conditions, rules: Rules) -> None:
        super().__init__(networks, conditions, rules)
        if rules.expected_deviation is not None:
            networks["generator"].variance.fill_(rules.expected_deviation**2)

    def draw_times(self, batch: Batch) -> Tensor:
        return rng.draw_keyed_uniform(
            self.seed, batch.step, "flow times", batch.sample, (), batch.series.device
        )

    def compute_owner_loss(self, network: Network, step: int, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the mean loss of one owner's series, inputs (W, ...) as of `make_inputs`."""
        count = (inputs[3].sum() * self.family.draws).clamp(min=1)
        loss = average_flow_error(network, inputs, count)
        return {"loss": loss, "error": loss.detach()}
