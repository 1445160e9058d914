"""Training series -> encoder/: a VAE that embeds a series in a few numbers."""

from typing import Any

import torch

from distgan import config
from distgan.data.store.reader import Readable
from distgan.engine.trainer import Batches, fit
from distgan.engine.training import Job, Rate, Schedule
from distgan.files import read_lines
from distgan.models.layers import checkpoint_activations
from distgan.models.vae import VAE, Encoder
from distgan.objectives.hidden_ranges import Hiding
from distgan.objectives.owner_games import OwnerVAE
from distgan.objectives.schedules import anneal_cosine
from distgan.objectives.vae import VariationalAutoencoder
from distgan.parallel.optimized_network import Adam, OptimizedNetwork
from distgan.parallel.preparation import prepare_network
from distgan.pipeline.context import PipelineContext, Shape
from distgan.pipeline.private_training import PrivateTraining, describe_spending
from distgan.pipeline.public_weights import fill_networks, take_public_weights
from distgan.pipeline.training_data import TrainingData, fingerprint_inputs, load_network, save_network
from distgan.run import Run

BETA2 = 0.99
FOUND = "trained before: the weights that the privacy ledger records"


def run(context: PipelineContext) -> dict[str, Any]:
    """Train the VAE, with or without noise; return the record of the stage."""
    settings, weights, data = context.settings, context.run.encoder_weights, TrainingData.open(context.run)
    torch.manual_seed(settings.seed)
    network, size = VAE(data.store.length, data.store.channels, settings.encoder), settings.encoder.batch_size
    private = None
    if settings.privacy.end_to_end:
        private = PrivateTraining(context, data, "encoder", size, take_public_weights(context))
        if private.is_finished(weights):
            return {"summary": FOUND, **private.finish(weights)}
    objective, batches, optimized = (
        prepare_plain(context, network, data)
        if private is None
        else prepare_private(context, network, private)
    )
    micro_batch = context.parallel.compute_micro_batch(size, "encoder.batch_size")
    schedule = make_schedule(settings, micro_batch)
    trained = fit(objective, {"vae": optimized}, batches, context.parallel, schedule, job=make_job(context))
    context.parallel.run_on_main(lambda: save_network(trained["vae"], weights))
    steps = f"{settings.encoder.steps} steps"
    if private is None:
        return {"summary": f"{steps}{read_last_error(context.run)}"}
    return {"summary": f"{steps}; {private.describe()}", **private.finish(weights)}


def make_job(context: PipelineContext) -> Job:
    """Return the run and the identity of this training, for the loop."""
    facts = {
        "identity": context.settings.identities["encoder"],
        "inputs": fingerprint_inputs(context.run),
        "config": context.settings.model_dump(mode="json"),
    }
    return Job(run=context.run, stage="encoder", seed=context.settings.seed, facts=facts)


def find_hiding(chosen: config.Data) -> Hiding | None:
    """Return how ends are hidden where series begin late or end early; None where none do, and for windows,
    which are whole but for gaps.
    """
    if chosen.start_ragged is None or chosen.windows.length is not None:
        return None
    return Hiding(chosen.start_ragged, own_scale=chosen.scaling.scope == "series")


def prepare_encoder(context: PipelineContext, network: VAE) -> OptimizedNetwork:
    if context.settings.engine.checkpoint_activations:
        checkpoint_activations([network])
    rate = context.settings.encoder.learning_rate
    return prepare_network(context.parallel, "vae", network, Adam(rate, beta1=0.9, beta2=BETA2))


def prepare_plain(
    context: PipelineContext, network: VAE, data: TrainingData
) -> tuple[VariationalAutoencoder, Batches, OptimizedNetwork]:
    """Return the loss without noise, its batches and the network."""
    optimized = prepare_encoder(context, network)
    objective = VariationalAutoencoder(
        {"vae": optimized.network},
        context.settings.encoder,
        context.settings.seed,
        across=context.parallel.average,
        dtype=context.parallel.dtype,
        hiding=find_hiding(context.settings.data),
    )
    batches = data.make_loader(context.settings.encoder.batch_size, context.settings, context.parallel)
    return objective, batches, optimized


def prepare_private(
    context: PipelineContext, network: VAE, private: PrivateTraining
) -> tuple[VariationalAutoencoder, Batches, OptimizedNetwork]:
    """Spend the encoder's part of the budget, and return its loss by owners with noise."""
    fill_networks(context, {"vae": network})
    stream, optimized = private.begin(network), prepare_encoder(context, network)
    objective = OwnerVAE(
        {"vae": optimized.network},
        context.settings.encoder,
        context.settings.seed,
        hiding=find_hiding(context.settings.data),
    )
    objective.phases = private.add_noise(objective.phases, objective.networks, objective, stream)
    return objective, private.make_loader(stream), optimized


def read_last_error(run: Run) -> str:
    """Return the last line of the training; it may have been written before an interruption."""
    lines = read_lines(run.metrics("encoder"))
    error = lines[-1]["vae/mse"] if lines else None
    return "" if error is None else f"; the reconstruction's mean squared error is {error:.4f}"


def make_schedule(settings: config.Config, micro_batch: int = 0) -> Schedule:
    """Return lengths and rates: the learning rate falls to a tenth along half a cosine."""
    chosen = settings.encoder

    def find_rates(step: int) -> dict[str, Rate]:
        return {
            "vae": Rate(
                anneal_cosine(step, chosen.steps, chosen.learning_rate, chosen.learning_rate / 10), BETA2
            )
        }

    return Schedule(
        steps=chosen.steps,
        batch_size=chosen.batch_size,
        rates=find_rates,
        clip=1.0,
        report_every=settings.train.report_every,
        checkpoint_every=settings.train.checkpoint_every,
        keep_last=settings.train.keep_last,
        keep_every=settings.train.keep_every,
        micro_batch=micro_batch,
        max_skips=settings.train.max_skips,
        max_rollbacks=settings.train.max_rollbacks,
    )


def load_vae(settings: config.Config, run: Run, store: Readable) -> VAE:
    """Return the trained encoder and decoder of a run, for series of `store`.

    Raises:
        UserError: the run has no trained encoder.
    """
    network = VAE(store.length, store.channels, settings.encoder)
    return load_network(network, run.need(run.encoder_weights, "encoder"))


def load_encoder(settings: config.Config, run: Run, store: Readable) -> Encoder:
    """Return the encoder half of the VAE; raises as `load_vae`."""
    return load_vae(settings, run, store).encoder


def describe(settings: config.Config, shape: Shape) -> str:
    network = VAE(shape.length, shape.channels, settings.encoder)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    text = f"trains a VAE of {parameters:,} parameters for {settings.encoder.steps:,} steps"
    return text + describe_spending(settings, "encoder")
