"""The default GAN and the VAE, each loss a mean over owners of what an owner's own series give (DP-SGD).

The discriminator's update reads real series, each beside a generated one of its owner's group: all of it
is in the owner's term, so clipping and noise cover both. The generator's update reads no real series, nor
anything that was made from one without noise: conditions, gaps and noise are public, so it is
post-processing. A family with a loss of its own has an `OwnerGame` in its module, with the same interface.

Shapes: W series of an owner, L steps, C channels, K condition, H heads.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from distgan import rng
from distgan.anonymity.dp.gradients import OwnerLoss
from distgan.data.loader import Batch
from distgan.data.owner_loader import OwnerBatch
from distgan.objectives.adversarial import PLAIN, Adversarial, Arithmetic, Condition, Conditions, Rules
from distgan.objectives.base import Phase
from distgan.objectives.derivatives import twice_differentiable
from distgan.objectives.losses import compute_evidence_lower_bound
from distgan.objectives.vae import VariationalAutoencoder

Network = Callable[..., Any]


class GameByOwners(OwnerLoss, Protocol):
    """An `Objective` of which one network's loss is a mean over owners."""

    networks: dict[str, Any]
    phases: list[Phase]
    averaged: tuple[str, ...]


class OwnerGame(Adversarial):
    """`Adversarial` on `OwnerBatch`es: the generator's loss on the public part, the discriminator's by
    owners.

    Args:
        conditions: `real` of real series; `generated` of the public part, which has none.
        paired: of the generated series paired with a real one: a function of its owner and of public
            numbers.
    """

    scalars: Sequence[str] = ("loss", "d", "real", "fake", "penalty")

    def __init__(
        self,
        networks: dict[str, Any],
        conditions: Conditions,
        paired: Condition,
        rules: Rules,
        arithmetic: Arithmetic = PLAIN,
    ) -> None:
        super().__init__(networks, conditions, rules, arithmetic)
        assert not self.loss.compares, "the generator's loss would read real series"
        assert not self.settings.batch_terms, "the generator's loss would read real series"
        self.paired_condition = paired

    def generator_loss(self, batch: Any) -> dict[str, Tensor]:
        assert isinstance(batch, OwnerBatch)
        return super().generator_loss(batch.public)

    @torch.no_grad()
    def make_inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return real and generated series, their conditions, masks and the directions of the penalty: (B, …)
        each.

        Every random number is keyed by `batch.sample`, which is the owner's own.
        """
        real_BK, fake_BK = self.real_condition(batch), self.paired_condition(batch)
        fake_BLC = self.generate(batch, fake_BK, "discriminator noise")
        batch, fake_BLC = self.augment(batch, fake_BLC)
        directions: tuple[Tensor, ...] = ()
        if self.settings.penalty.kind == "finite_difference":
            directions = self.draw_directions(batch, batch.sample, batch.mask).chunk(2)
        return (batch.series, fake_BLC.float(), real_BK, fake_BK, batch.mask, *directions)

    def compute_owner_loss(self, network: Network, step: int, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the discriminator's loss on one owner's series and as many generated ones."""
        real_WLC, fake_WLC, real_WK, fake_WK, mask_WLC, *directions = inputs
        both, conditions = torch.cat([real_WLC, fake_WLC]), torch.cat([real_WK, fake_WK])
        logits_2WH, penalty = self.judge_with_penalty(
            network, both, conditions, torch.cat([mask_WLC] * 2), directions
        )
        real_WH, fake_WH = logits_2WH.chunk(2)
        loss = self.loss.discriminator(real_WH, fake_WH)
        return {
            "loss": loss + self.compute_penalty_weight(step) * penalty,
            "d": loss,
            "real": real_WH.mean(),
            "fake": fake_WH.mean(),
            "penalty": penalty,
        }

    def judge_with_penalty(
        self, network: Network, series: Tensor, conditions: Tensor, mask: Tensor, directions: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of real and generated series, (2W, H), and their penalty R1 + R2, a scalar.

        The finite difference takes the logits that the loss needs anyway: one pass of 4W series.
        """
        kind, sigma = self.settings.penalty.kind, self.settings.penalty.sigma
        if kind == "finite_difference":
            moved = series + sigma * torch.cat(directions)
            logits, there = network(torch.cat([series, moved]), torch.cat([conditions] * 2)).float().chunk(2)
            return logits, 2 * ((there - logits) / sigma).square().mean()
        logits = network(series, conditions).float()
        if kind == "none":
            return logits, torch.zeros_like(logits.sum())

        def compute_logits(series_LC: Tensor, condition_K: Tensor) -> Tensor:
            found: Tensor = network(series_LC[None], condition_K[None])[0]
            return found

        with twice_differentiable():
            slopes = vmap(jacrev(compute_logits))(series, conditions)  # (2W, H, L, C)
        return logits, 2 * (slopes * mask[:, None]).square().sum((-2, -1)).mean()


class OwnerVAE(VariationalAutoencoder):
    """The VAE's loss, each owner's reconstruction error and divergence by itself."""

    scalars: Sequence[str] = ("loss", "mse", "kl")

    def make_inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return series and masks, those that the encoder is given, and the noise of the latents: (B, …)
        each.
        """
        shape, device = (self.settings.latent_dim,), batch.series.device
        noise_BZ = rng.draw_keyed_normal(self.seed, batch.step, "latent", batch.sample, shape, device)
        return batch.series, batch.mask, *self.choose_seen(batch), noise_BZ

    def compute_owner_loss(self, network: Network, step: int, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the negative evidence lower bound of one owner's series."""
        series_WLC, mask_WLC, seen_WLC, seen_mask_WLC, noise_WZ = inputs
        reconstruction, mean, logvar = network(seen_WLC, seen_mask_WLC, noise_WZ)
        return compute_evidence_lower_bound(
            series_WLC,
            mask_WLC,
            reconstruction,
            mean,
            logvar,
            beta=self.settings.beta,
            free_bits=self.settings.free_bits,
        )
