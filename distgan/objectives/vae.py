"""What the encoder minimises: reconstruction and KL, together with its decoder."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from distgan import config, rng
from distgan.data.loader import Batch
from distgan.objectives.base import Phase
from distgan.objectives.losses import compute_evidence_lower_bound


class VariationalAutoencoder:
    """One phase a step: the negative evidence lower bound over the `vae` network (encoder and decoder)."""

    def __init__(
        self,
        networks: dict[str, nn.Module],
        settings: config.Encoder,
        seed: int,
        across: Callable[[Tensor], Tensor] = lambda count: count,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.networks, self.settings, self.seed = networks, settings, seed
        self.across, self.dtype = across, dtype
        self.phases = [Phase("vae", "vae", self.loss)]
        self.averaged = ()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        shape, device = (self.settings.latent_dim,), batch.series.device
        noise_BZ = rng.draw_keyed_normal(self.seed, batch.step, "latent", batch.sample, shape, device)
        series, mask = batch.series.to(self.dtype), batch.mask.to(self.dtype)
        reconstruction, mean, logvar = self.networks["vae"](series, mask, noise_BZ)
        return compute_evidence_lower_bound(
            batch.series,
            batch.mask,
            reconstruction,
            mean,
            logvar,
            beta=self.settings.beta,
            free_bits=self.settings.free_bits,
            count=self.across(batch.average_count(lambda part: part.mask.sum())),
            across=self.across,
        )
