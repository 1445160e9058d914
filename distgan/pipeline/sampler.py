"""Sample series from a generator: conditions, noise keyed by series, and the inverse of the scaling."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from distgan import config, rng
from distgan.anonymity.bank import Bank
from distgan.data.scaling import Scaler
from distgan.data.zeros import ZeroThresholds
from distgan.models import compute_noise_width
from distgan.pipeline.requested_attributes import plan_series


@dataclass(frozen=True)
class Sampler:
    """A run's generator with what every series to come is given: condition and attributes by row."""

    generator: nn.Module
    scaler: Scaler
    seed: int
    conditions: np.ndarray  # [count, K]
    attributes: np.ndarray  # [count, C, 2]
    device: torch.device
    zeros: ZeroThresholds | None = None  # what makes values exactly 0, besides bounds

    @classmethod
    def from_bank(
        cls,
        generator: nn.Module,
        scaler: Scaler,
        chosen: config.Generate,
        bank: Bank,
        allowed: np.ndarray | None = None,
    ) -> "Sampler":
        """Draw groups and attributes of all `generate.count` series, for a generator on its device."""
        plan = plan_series(chosen, bank, allowed)
        attributes = bank.draw_attributes(
            plan.groups, rng.make_keyed_generator(chosen.seed, 0, "levels"), plan.values
        )
        given = bank.make_conditions(plan.groups, attributes, plan.values)
        device = next(generator.parameters(), torch.empty(0)).device
        return cls(generator, scaler, chosen.seed, given, attributes, device)

    @torch.inference_mode()
    def draw(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scaled series and attributes of some rows: (n, L, C), (n, C, 2). Where thresholds decide on
        zeros, what is below the lower bound is not cut off yet.
        """
        width, samples = (compute_noise_width(self.generator),), torch.from_numpy(rows)
        noise = rng.draw_keyed_normal(self.seed, 0, "generation", samples, width, self.device)
        series = self.generator(noise, torch.from_numpy(self.conditions[rows]).to(self.device))
        attributes = torch.from_numpy(self.attributes[rows]).to(self.device)
        kept = self.zeros is not None
        series = self.scaler.standardise(series, torch.ones_like(series), attributes, keep_below=kept)
        return series.float().cpu().numpy(), self.attributes[rows]

    def generate(self, rows: np.ndarray, batch_size: int) -> np.ndarray:
        """Return the series of some rows in original units: [n] -> float32 [n, L, C]."""
        batches = (rows[first : first + batch_size] for first in range(0, len(rows), batch_size))
        return np.concatenate([self.restore(*self.draw(batch)) for batch in batches])

    def restore(self, scaled: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """Return sampled series in original units, with zeros and bounds applied: (n, L, C), (n, C, 2) ->
        float32 [n, L, C].
        """
        if self.zeros is None:
            return self.scaler.restore(scaled, attributes)
        values = self.scaler.restore_unbounded(scaled, attributes)
        return self.scaler.keep_within_bounds(self.zeros.apply(values, self.scaler.grid_step))
