"""The networks that learn from real series under differential privacy: ledger, owners of a step, gradient.

Only `privacy.end_to_end` comes here. The weights of a finished training are found again by their digest.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from distgan import config
from distgan.anonymity.dp import accounting
from distgan.anonymity.dp.accounting import make_budget, make_plan
from distgan.anonymity.dp.gradients import NoisyGradient, OwnerLoss, OwnersOfStep, PoissonSampling
from distgan.anonymity.dp.lattice import Stream
from distgan.anonymity.dp.ledger import TRAINING, Query
from distgan.anonymity.dp.mechanism import Spending
from distgan.anonymity.dp.training_ledger import TrainingLedger
from distgan.data.owner_loader import OwnerBatching, OwnerLoader, compute_owner_keys
from distgan.errors import Mismatch
from distgan.objectives.base import Phase
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.private_ledger import digest_weights, open_ledger, refuse_unprotected, select_head_facts
from distgan.pipeline.training_data import TrainingData, fingerprint_inputs, read_entities

STAGES = {"encoder": "encoder", "discriminator": "gan", "generator": "gan"}  # where a part is trained
NETWORKS = {"encoder": "vae", "discriminator": "discriminator", "generator": "generator"}


@dataclass(frozen=True)
class PrivateTraining:
    """A training on real series, as far as its owners, its noise and its line go.

    Attributes:
        name: of the part of the budget: encoder, discriminator or generator.
        batch_size: owners that a step takes on average.
        inputs: files, besides series and split, that the training reads.
    """

    context: PipelineContext
    data: TrainingData
    name: str
    batch_size: int
    inputs: tuple[Path, ...] = ()

    @property
    def spending(self) -> Spending:
        return make_plan(self.context.settings).parts[self.name]

    def open_ledger(self) -> TrainingLedger:
        """Open the ledger at this training's query, which names data, settings and noise."""
        settings, run = self.context.settings, self.context.run
        chosen = {
            "identity": settings.identities[STAGES[self.name]],
            "spending": vars(self.spending),
            "privacy": settings.privacy.describe(),
        }
        digest = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
        data = hashlib.sha256(fingerprint_inputs(run, *self.inputs).encode()).hexdigest()
        spending = self.spending
        query = Query(
            self.name, spending.multiplier, data, digest, spending.rate, spending.steps, kind=TRAINING
        )
        return TrainingLedger(open_ledger(run), query)

    def is_finished(self, weights: Path) -> bool:
        """Return whether the ledger says that it is done, and its weights are there.

        Raises:
            Mismatch: other weights are there.
        """

        def check() -> bool:
            known = self.open_ledger().find_result()
            if known is None or not weights.exists():
                return False
            if known != digest_weights(weights):
                raise Mismatch(
                    f"{weights} are not the weights that the privacy ledger records; restore them, or choose "
                    "another run_dir and count both"
                )
            return True

        return self.context.parallel.run_on_main(check)

    def begin(self, network: nn.Module) -> Stream:
        """Spend all steps, or go on with those that are spent.

        Raises:
            UserError: as `refuse_unprotected`, or the grid is too coarse for so many weights.
            Mismatch: as `TrainingLedger.begin`.
        """
        settings = self.context.settings
        refuse_unprotected(settings, self.context.run, self.data)
        numbers = sum(weight.numel() for weight in network.parameters())
        budget = make_budget(settings, settings.encoder.latent_dim)
        accounting.refuse_gap(self.name, numbers, self.spending, (budget.epsilon, budget.delta))
        return Stream(
            bytes.fromhex(self.context.parallel.run_on_main(lambda: self.open_ledger().begin(budget).hex()))
        )

    def make_loader(self, stream: Stream) -> OwnerLoader:
        """Return batches of the owners that the stream's coins take."""
        names, chosen, parallel = (
            read_entities(self.data, self.context.run),
            self.context.settings,
            self.context.parallel,
        )
        take = PoissonSampling(stream, self.spending.rate, len(names))
        batching = OwnerBatching(
            self.batch_size,
            chosen.privacy.series_per_owner,
            chosen.seed,
            take,
            parallel.rank,
            parallel.world_size,
        )
        data = self.data
        return OwnerLoader(
            data.store, data.rows, data.scaler, data.entity_codes, compute_owner_keys(names), batching
        )

    def add_noise(
        self, phases: list[Phase], networks: Mapping[str, nn.Module], loss: OwnerLoss, stream: Stream
    ) -> list[Phase]:
        """Return the phases, with the noisy gradient for the network that reads real series."""
        chosen, network = self.context.settings.privacy, NETWORKS[self.name]
        gradient = NoisyGradient(
            networks[network],
            loss,
            self.spending,
            chosen.gradient_clip,
            OwnersOfStep(self.batch_size, chosen.series_per_owner, self.context.settings.engine.micro_batch),
            (stream, self.context.parallel),
        )
        return [replace(phase, gradient=gradient) if phase.network == network else phase for phase in phases]

    def finish(self, weights: Path) -> dict[str, Any]:
        """Note the weights and remove the key; what the stage's record says of the ledger."""

        def close() -> dict[str, Any]:
            self.open_ledger().finish(digest_weights(weights))
            return {"ledger": select_head_facts(open_ledger(self.context.run).find_head())}

        return self.context.parallel.run_on_main(close)

    def describe(self) -> str:
        """Return a part of the stage's summary."""
        spending = self.spending
        return (
            f"private: {spending.steps:,} steps of about {self.batch_size} owners, noise "
            f"{spending.multiplier:.3g} times the clipping length"
        )


def describe_spending(settings: config.Config, name: str) -> str:
    """Return what a training is going to spend, as a part of what its stage does; "" where nothing is
    spent.
    """
    if not settings.privacy.end_to_end:
        return ""
    plan = make_plan(settings)
    part = plan.parts[name]
    return (
        f"; private: sampling rate {part.rate:.3g}, noise {part.multiplier:.3g} clipping lengths, epsilon "
        f"{plan.spend_alone()[name]:.3g} by itself, {plan.total:.3g} of {plan.epsilon:g} for the whole run"
    )
