"""What the encoder minimises: reconstruction and KL, together with its decoder."""

import torch
from torch import Tensor, nn

from distgan import config, rng
from distgan.data.loader import Batch
from distgan.objectives.base import Phase
from distgan.objectives.hidden_ranges import Hiding, hide_ranges
from distgan.objectives.losses import Across, compute_evidence_lower_bound, identity


class VariationalAutoencoder:
    """One phase a step: the negative evidence lower bound over the `vae` network (encoder and decoder).

    Args:
        hiding: how ends are hidden from the encoder, where series begin late or end early. None: nothing is.
    """

    def __init__(
        self,
        networks: dict[str, nn.Module],
        settings: config.Encoder,
        seed: int,
        across: Across = identity,
        dtype: torch.dtype = torch.float32,
        hiding: Hiding | None = None,
    ) -> None:
        self.networks, self.settings, self.seed, self.hiding = networks, settings, seed, hiding
        self.across, self.dtype = across, dtype
        self.phases = [Phase("vae", "vae", self.loss)]
        self.averaged = ()

    def choose_seen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the series and the mask that the encoder is given: (B, L, C) twice."""
        if self.hiding is None:
            return batch.series, batch.mask
        return hide_ranges(batch, self.seed, self.hiding)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        shape, device = (self.settings.latent_dim,), batch.series.device
        noise_BZ = rng.draw_keyed_normal(self.seed, batch.step, "latent", batch.sample, shape, device)
        series, mask = (each.to(self.dtype) for each in self.choose_seen(batch))
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
