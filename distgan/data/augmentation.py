"""Differentiable augmentation of the input of the discriminator, real and generated series alike.

Each operation acts on a series with a probability below 1, so that the generator learns the undisturbed
population (as in "Training Generative Adversarial Networks with Limited Data"). Draws are keyed by (seed,
step, sample): a real series, its mask and the generated series of the same sample get the same ones.
Shapes: B series, L steps, C channels.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distgan import config, rng

PURPOSES = ("day shift", "week shift", "jitter", "cutout", "crop")


@dataclass(frozen=True)
class Augmentation:
    """Changes to each series of one batch.

    Attributes:
        shift: (B,) steps of a circular shift.
        factor: (B,) multiplies the amplitude.
        hole: (B, 2) first step and end of the stretch that is cut out.
        kept: (B, 2) first step and end of the stretch that is kept.
    """

    shift: Tensor
    factor: Tensor
    hole: Tensor
    kept: Tensor

    def to(self, device: torch.device) -> "Augmentation":
        return Augmentation(
            *(part.to(device, non_blocking=True) for part in (self.shift, self.factor, self.hole, self.kept))
        )

    def apply(self, series_BLC: Tensor) -> Tensor:
        """Return the series turned, made larger or smaller, and 0 where it is cut: (B, L, C) -> (B, L, C)."""
        turned_BLC = self._turn(series_BLC)
        return turned_BLC * self.factor.to(turned_BLC.dtype)[:, None, None] * self._crop(turned_BLC)

    def mask(self, mask_BLC: Tensor) -> Tensor:
        """Return the mask of what is still measured and seen."""
        turned_BLC = self._turn(mask_BLC)
        return turned_BLC * self._crop(turned_BLC)

    def _turn(self, values_BLC: Tensor) -> Tensor:
        length = values_BLC.shape[1]
        steps_BL = (torch.arange(length, device=values_BLC.device) - self.shift[:, None]) % length
        return torch.gather(values_BLC, 1, steps_BL[:, :, None].expand_as(values_BLC))

    def _crop(self, values_BLC: Tensor) -> Tensor:
        step_L = torch.arange(values_BLC.shape[1], device=values_BLC.device)
        hole_BL = (step_L >= self.hole[:, :1]) & (step_L < self.hole[:, 1:])
        kept_BL = (step_L >= self.kept[:, :1]) & (step_L < self.kept[:, 1:])
        return (kept_BL & ~hole_BL).to(values_BLC.dtype)[:, :, None]


def make_no_augmentation(samples: Tensor, length: int) -> Augmentation:
    """Return the augmentation that changes nothing."""
    zeros_B, ones_B = torch.zeros_like(samples), torch.ones(len(samples), device=samples.device)
    whole_B2 = torch.stack([zeros_B, torch.full_like(samples, length)], dim=1)
    return Augmentation(zeros_B, ones_B, torch.zeros_like(whole_B2), whole_B2)


def draw_augmentation(
    settings: config.Augment, seed: int, step: int, samples: Tensor, length: int, steps_per_day: int
) -> Augmentation:
    """Return the changes to the samples (B,) of a step's batch, on their device."""
    drawn = make_no_augmentation(samples, length)
    if settings.day_shift:
        days_B = _draw_shift(
            _draw_operation(settings, seed, step, samples, "day shift"), length, steps_per_day
        )
        drawn = replace(drawn, shift=days_B)
    if settings.week_shift:
        operation = _draw_operation(settings, seed, step, samples, "week shift")
        weeks_B = _draw_shift(operation, length, 7 * steps_per_day)
        drawn = replace(drawn, shift=drawn.shift + weeks_B)
    if settings.jitter:
        acts_B, share_B, _ = _draw_operation(settings, seed, step, samples, "jitter")
        drawn = replace(drawn, factor=1 + acts_B * settings.jitter * (2 * share_B - 1))
    if settings.cutout:
        acts_B, share_B, place_B = _draw_operation(settings, seed, step, samples, "cutout")
        width_B = (acts_B * share_B * settings.cutout * length).long()
        drawn = replace(drawn, hole=_draw_stretch(width_B, place_B, length))
    if settings.crop:
        acts_B, share_B, place_B = _draw_operation(settings, seed, step, samples, "crop")
        width_B = length - (acts_B * share_B * settings.crop * length).long()
        drawn = replace(drawn, kept=_draw_stretch(width_B, place_B, length))
    return drawn


def _draw_operation(
    settings: config.Augment, seed: int, step: int, samples: Tensor, purpose: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return whether an operation acts (0 or 1), and two uniform numbers for it: each (B,) float32."""
    assert purpose in PURPOSES
    numbers_B3 = rng.draw_keyed_uniform(seed, step, f"augmentation: {purpose}", samples, (3,))
    return (numbers_B3[:, 0] < settings.probability).float(), numbers_B3[:, 1], numbers_B3[:, 2]


def _draw_shift(operation: tuple[Tensor, Tensor, Tensor], length: int, period: int) -> Tensor:
    """Return whole periods, from one to all but one of those that a series holds: (B,) int64."""
    acts_B, share_B, _ = operation
    turns = length // period - 1
    assert turns >= 1, f"{length} steps hold no two periods of {period}"
    return acts_B.long() * (1 + (share_B * turns).long()) * period


def _draw_stretch(width_B: Tensor, place_B: Tensor, length: int) -> Tensor:
    """Return first step and end of stretches of a width, anywhere: (B,), (B,) -> (B, 2)."""
    first_B = (place_B * (length - width_B + 1)).long()
    return torch.stack([first_B, first_B + width_B], dim=1)
