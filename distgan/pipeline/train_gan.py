"""Training series and bank/ -> gan/: the generator, and the discriminator of a family that has one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distgan import config, models, rng
from distgan.anonymity import manifest
from distgan.anonymity.bank import Bank
from distgan.anonymity.conditioning import Conditioner
from distgan.anonymity.dp.lattice import Stream
from distgan.anonymity.groups import Members
from distgan.data.loader import Batch
from distgan.data.static_attributes import StaticAttribute
from distgan.data.store.metadata import Axis
from distgan.engine.ema import compute_decay
from distgan.engine.selection import Selector
from distgan.engine.trainer import Batches, fit
from distgan.engine.training import Job, OnSample, Rate, Schedule
from distgan.errors import UserError
from distgan.models import compute_noise_width, make_objective
from distgan.models.layers import checkpoint_activations
from distgan.objectives.adversarial import Adversarial, Arithmetic, Conditions
from distgan.objectives.base import Objective
from distgan.objectives.schedules import anneal_cosine
from distgan.objectives.series_features import Whitening
from distgan.parallel.optimized_network import Adam
from distgan.parallel.preparation import prepare_network
from distgan.parallel.trackers import takes_pictures
from distgan.pipeline.attribute_cells import select_training_statics
from distgan.pipeline.context import PipelineContext, Shape
from distgan.pipeline.private_training import PrivateTraining, describe_spending
from distgan.pipeline.public_weights import fill_networks, take_public_weights
from distgan.pipeline.select_step import collect_choice, describe_choice, make_selector
from distgan.pipeline.train_encoder import FOUND
from distgan.pipeline.training_data import (
    TrainingData,
    fingerprint_inputs,
    load_network,
    read_scaler,
    save_network,
)
from distgan.pipeline.zeros import match_zeros
from distgan.planning import memory
from distgan.planning.compiling import choose_compile
from distgan.progress import say
from distgan.run import Run

PICTURED = 4  # series on a sheet of samples
DAY = 86400  # seconds
WHITENED = 1024  # series, at most, by which features are whitened
# Passes over the training series: with 109 homes, 300 were better than 600 and 900 (benchmarks/LOG.md).
MANY_PASSES = 400


def run(context: PipelineContext) -> dict[str, Any]:
    """Train the generator, and find its thresholds of zeros."""
    record = train(context)
    context.parallel.run_on_main(
        lambda: match_zeros(context, lambda: load_generator(context.settings, context.run))
    )
    return record


def train(context: PipelineContext) -> dict[str, Any]:
    """Train the networks of the family, or fit it; return the record of the stage."""
    settings, run, data = context.settings, context.run, TrainingData.open(context.run)
    torch.manual_seed(settings.seed)
    known = count_labels(settings, run)
    with context.parallel.build_networks():
        networks = models.build(settings, data.store.length, data.store.channels, known)
    if settings.model.fitted:
        return context.parallel.run_on_main(lambda: fit_at_once(networks["generator"], data, settings, run))
    if settings.engine.checkpoint_activations:
        checkpoint_activations(list(networks.values()))
    shape = data.store.length, data.store.channels
    memory.check_memory(settings, context.parallel, *shape)
    context.parallel.compiles = choose_compile(settings, context.parallel, *shape)
    selector = make_selector(context)
    private = find_private(context, data)
    if private is not None and private.is_finished(run.generator_weights):
        return {"summary": FOUND, **private.finish(run.generator_weights)}
    generator = train_networks(context, data, networks, private, selector)
    record = keep_generator(context, generator, selector)
    if private is None:
        return record
    steps = f"{settings.train.steps:,} steps; {private.describe()}"
    return {"summary": steps, **private.finish(run.generator_weights)}


def train_networks(
    context: PipelineContext,
    data: TrainingData,
    networks: dict[str, nn.Module],
    private: PrivateTraining | None,
    selector: Selector | None,
) -> nn.Module:
    """Train the networks to the end, with noise if `private`; return the generator of the last step."""
    settings, parallel = context.settings, context.parallel
    plan = make_schedule(settings, tuple(networks), parallel.compute_micro_batch(settings.train.batch_size))
    fill_networks(context, networks)
    stream = None if private is None else private.begin(networks[private.name])
    first_rates = plan.rates(0)
    optimized_networks = {
        name: prepare_network(parallel, name, network, make_first_adam(settings, first_rates[name]))
        for name, network in networks.items()
    }
    plain = {name: optimized.network for name, optimized in optimized_networks.items()}
    batches: Batches
    if private is not None and stream is not None:
        objective, batches = prepare_private(context, data, plain, (private, stream))
    else:
        conditions = make_training_conditions(settings, context.run, data)
        objective = make_objective(
            settings,
            plain,
            steps_per_day=count_steps_per_day(settings, data.store.meta.axis),
            arithmetic=Arithmetic(parallel.average, parallel.dtype, parallel.world_size),
            conditions=conditions,
        )
        objective.whitening = fit_whitening(settings, data, objective, parallel.device)
        batches = data.make_loader(settings.train.batch_size, settings, parallel)
    if parallel.is_main and (hint := warn_of_passes(settings, data.num_series)):
        say(hint)
    trained = fit(objective, optimized_networks, batches, parallel, plan, job=make_job(context, selector))
    return models.join_sampler(settings, trained)


def warn_of_passes(settings: config.Config, num_series: int) -> str:
    """Return a hint where training reads each of `num_series` series very often, else ""."""
    passes = settings.train.steps * settings.train.batch_size / max(1, num_series)
    if passes <= MANY_PASSES or settings.train.select.score is not None or settings.privacy.end_to_end:
        return ""  # noise covers what a private training could memorise, and no validation series may choose
    return (
        f"hint: train.steps={settings.train.steps} reads each of {num_series:,} training series "
        f"{passes:,.0f} times, and a generator may memorise them; compare with fewer steps, or set "
        "train.select"
    )


def keep_generator(
    context: PipelineContext, generator: nn.Module, selector: Selector | None
) -> dict[str, Any]:
    """Write the weights of the chosen step, or of the last; return what the stage's record says."""
    steps, batch_size = context.settings.train.steps, context.settings.train.batch_size
    if selector is not None:
        selector.fill(generator)
    context.parallel.run_on_main(lambda: save_network(generator, context.run.generator_weights))
    if selector is None:
        return {"summary": f"{steps:,} steps, {steps * batch_size:,} series seen"}
    done = selector.evaluations[-1].step
    return {
        "summary": f"{done:,} steps, {done * batch_size:,} series seen; {describe_choice(selector, steps)}",
        "selection": collect_choice(selector, steps),
    }


def make_job(context: PipelineContext, selector: Selector | None) -> Job:
    """Return the run, the identity and the callbacks of this training, for the loop."""
    inputs = fingerprint_inputs(context.run, *list_bank_files(context.run))
    return Job(
        run=context.run,
        stage="gan",
        seed=context.settings.seed,
        facts={
            "identity": context.settings.identity,
            "inputs": inputs,
            "config": context.settings.model_dump(mode="json"),
        },
        on_sample=draw_sample_sheets(context),
        select=selector,
    )


def list_bank_files(run: Run) -> tuple[Path, Path]:
    """Return what a training reads of the bank."""
    return run.bank / manifest.TENSORS, run.cluster_files.members


# ---------------------------------------------------------------------------------------- a private training


def find_private(context: PipelineContext, data: TrainingData) -> PrivateTraining | None:
    """Return the private training of the network that reads real series; None without
    `privacy.end_to_end`.
    """
    if not context.settings.privacy.end_to_end:
        return None
    size = context.settings.train.batch_size
    files = (*list_bank_files(context.run), *take_public_weights(context))
    return PrivateTraining(context, data, context.settings.model.private_network, size, files)


def prepare_private(
    context: PipelineContext,
    data: TrainingData,
    networks: dict[str, nn.Module],
    spent: tuple[PrivateTraining, Stream],
) -> tuple[Objective, Batches]:
    """Return the game, of which one network learns from noisy sums over owners, and its batches."""
    settings, (private, stream) = context.settings, spent
    conditioner = load_conditioner(settings, context.run)

    def make_public(batch: Batch) -> Tensor:
        return conditioner.make_public(batch.sample, batch.step).to(batch.series.device)

    given = make_training_conditions(settings, context.run, data)
    game = models.make_owner_game(
        settings,
        networks,
        replace(given, generated=make_public),
        paired=given.generated,
        steps_per_day=count_steps_per_day(settings, data.store.meta.axis),
    )
    game.phases = private.add_noise(game.phases, networks, game, stream)
    return game, private.make_loader(stream)


def count_steps_per_day(settings: config.Config, axis: Axis) -> int:
    """Return the whole steps of a day, at least 1.

    Raises:
        UserError: augmentation is to turn series by days, and a day is no whole number of steps, or the
            series hold no two of the shift's periods.
    """
    steps, chosen = DAY // axis.step_seconds, settings.objective.augment
    if DAY % axis.step_seconds and (chosen.day_shift or chosen.week_shift):
        raise UserError(
            f"objective.augment shifts by days, but steps of {axis.step_seconds} s do not divide "
            "a day; set objective.augment.day_shift and objective.augment.week_shift to false"
        )
    for name, wanted, period in (("day", chosen.day_shift, steps), ("week", chosen.week_shift, 7 * steps)):
        if wanted and axis.length < 2 * period:
            raise UserError(
                f"objective.augment.{name}_shift needs series of two {name}s or more, but they have "
                f"{axis.length} steps of {axis.step_seconds} s; set it to false"
            )
    return max(1, steps)


def fit_at_once(generator: Any, data: TrainingData, settings: config.Config, run: Run) -> dict[str, Any]:
    """Fit a fitted family: nothing is trained by steps."""
    generator.fit(*data.read_scaled(0, data.num_series), settings.seed)
    save_network(generator, run.generator_weights)
    return {"summary": f"{settings.model.name} fitted to {data.num_series} series"}


def make_first_adam(settings: config.Config, rate: Rate) -> Adam:
    return Adam(rate.learning_rate, settings.train.beta1, rate.beta2)


def make_schedule(settings: config.Config, networks: tuple[str, ...], micro_batch: int = 0) -> Schedule:
    """Return the lengths and rates; over the burn-in, rates fall from four times theirs and beta2 rises from
    .9.

    All networks but the discriminator have the generator's rate, where the family names no other.
    """
    chosen = settings.train
    final = dict.fromkeys(networks, chosen.generator_rate) | settings.model.own_rates
    if "discriminator" in final:
        final["discriminator"] = chosen.discriminator_rate

    def find_rates(step: int) -> dict[str, Rate]:
        beta2 = anneal_cosine(step, chosen.burn_in_steps, 0.9, chosen.beta2)
        return {
            name: Rate(anneal_cosine(step, chosen.burn_in_steps, 4 * rate, rate), beta2)
            for name, rate in final.items()
        }

    return Schedule(
        steps=chosen.steps,
        batch_size=chosen.batch_size,
        rates=find_rates,
        decay=lambda step: compute_decay(
            (step + 1) * chosen.batch_size, chosen.batch_size, chosen.ema_half_life
        ),
        clip=chosen.clip,
        report_every=chosen.report_every,
        sample_every=chosen.sample_every,
        checkpoint_every=chosen.checkpoint_every,
        keep_last=chosen.keep_last,
        keep_every=chosen.keep_every,
        micro_batch=micro_batch,
        max_skips=chosen.max_skips,
        max_rollbacks=chosen.max_rollbacks,
    )


def make_training_conditions(settings: config.Config, run: Run, data: TrainingData) -> Conditions:
    """Return what goes with each series of a batch, (B, K): `generated` is never a function of the series
    alone, `real` contains the location and scale of the real series, for the discriminator, or for what is
    learned of series given their own conditions; `standardise` gives generated series those of their
    condition.
    """
    if "bank" not in settings.stages:
        return Conditions(mark_clean_series(data, settings.data.source))
    conditioner = load_conditioner(settings, run, select_training_statics(settings, data))
    bank = conditioner.bank

    def draw_condition(batch: Batch) -> Tensor:
        found = conditioner.make_drawn(batch.rows, batch.sample, batch.step)
        return found.to(batch.series.device, non_blocking=True)

    def make_real_condition(batch: Batch) -> Tensor:
        assert batch.attributes is not None  # the loader gives them
        found = conditioner.make_real(batch.rows, batch.sample, batch.step, batch.attributes)
        return found.to(batch.series.device, non_blocking=True)

    def standardise(series: Tensor, mask: Tensor, given: Tensor) -> Tensor:
        return data.scaler.standardise(series, mask, bank.read_attributes(given))

    columns = () if bank.statics is None else bank.statics.columns
    attributes = tuple((column.width, column.is_number) for column in columns)

    def find_relative(series: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        count = 2 * bank.attributes_mean.shape[1]
        return data.scaler.make_relative(series, bank.read_attributes(given)), given[:, :count].float()

    return Conditions(draw_condition, make_real_condition, standardise, attributes, find_relative)


def fit_whitening(
    settings: config.Config, data: TrainingData, objective: Adversarial, device: torch.device
) -> Whitening | None:
    """Learn the whitening of `objective.features` from the first `WHITENED` series of the training's order,
    the same in every process; None where the term is not in use.
    """
    if not settings.objective.features:
        return None
    size = settings.train.batch_size
    loader, found = data.make_loader(size, settings), []
    for step in range(-(-min(WHITENED, data.num_series) // size)):
        batch = objective.view(loader.make_batch(step))
        found.append(objective.measure_features(batch.series, objective.real_condition(batch)))
    return Whitening.fit([torch.cat(family) for family in zip(*found)]).to(device)


def load_conditioner(
    settings: config.Config, run: Run, statics: Sequence[StaticAttribute] = ()
) -> Conditioner:
    """Load the conditions of the training series from the bank and its members."""
    bank = Bank.load(run.need(run.bank, "bank"))
    members = Members.load(run.need(run.cluster_files.members, "bank"))
    chosen = settings.bank.training
    return Conditioner(bank, members, training=chosen, seed=settings.seed, statics=statics)


def mark_clean_series(data: TrainingData, source: str) -> Callable[[Batch], Tensor]:
    """Return 1 for series with the label `clean`, 0 for all others: (B, 1).

    Raises:
        UserError: one of the two kinds is absent.
    """
    clean = np.asarray(data.labels if data.labels is not None else []) == "clean"
    if not 0 < clean.sum() < len(clean):
        raise UserError(
            f"{source} has {clean.sum()} training series labelled clean and "
            f"{len(clean) - clean.sum()} with another label; model nr_gan needs both kinds (array "
            "`label` of an NPZ)"
        )
    flags = torch.from_numpy(clean).float()[:, None]
    return lambda batch: flags[batch.rows].to(batch.series.device, non_blocking=True)


def draw_sample_sheets(context: PipelineContext) -> OnSample | None:
    """Return the function that draws samples while training, where the model makes series and a tracker takes
    pictures of them.
    """
    if "generate" not in context.settings.stages or not takes_pictures(context.settings.engine):
        return None
    return lambda step, networks: draw_sample_sheet(models.join_sampler(context.settings, networks), context)


@torch.inference_mode()
def draw_sample_sheet(generator: nn.Module, context: PipelineContext) -> dict[str, Any] | None:
    """Return a picture of a few samples of the averaged generator, in units of the scaled series."""
    if not context.parallel.is_main:
        return None
    from distgan.evaluation.plots import style  # matplotlib: a second to import, on the first process alone
    from distgan.evaluation.plots.series import draw_preview

    bank = Bank.load(context.run.bank)
    groups = np.arange(PICTURED) % len(bank.sizes)
    random = torch.Generator().manual_seed(context.settings.seed)
    noise = torch.randn(PICTURED, compute_noise_width(generator), generator=random)
    attributes = bank.draw_attributes(groups, rng.make_keyed_generator(context.settings.seed, 0, "levels"))
    conditions = torch.from_numpy(bank.make_conditions(groups, attributes))
    device = next(generator.parameters()).device  # the CPU's, if a GPU cannot hold the whole network
    scaler, meta = read_scaler(context.run)
    series = generator(noise.to(device), conditions.to(device)).float().cpu()
    standardised = scaler.standardise(series, torch.ones_like(series), torch.from_numpy(attributes))
    return {"samples": draw_preview(standardised.numpy(), style.make_view(meta, unit="scaled"))}


def load_generator(settings: config.Config, run: Run, length: int | None = None) -> nn.Module:
    """Return the generator of a trained run, built from its config and what the run says of the series; for
    series of another length, if one is given.

    Raises:
        UserError: the run has no trained generator, or its weights or its scaling are for one length alone.
    """
    scaler, meta = read_scaler(run)
    length = meta.axis.length if length is None else length
    if length != meta.axis.length and not settings.model.any_length:
        able = ", ".join(name for name, family in config.FAMILIES.items() if family.any_length)
        raise UserError(
            f"model {settings.model.name} has weights for each of its {meta.axis.length} steps "
            f"and cannot generate series of {length} steps; {able} can, or train on windows of "
            f"{length} (data.windows.length)"
        )
    if length != meta.axis.length and scaler.joint is not None and scaler.joint.length_is_fixed:
        raise UserError(
            f"data.scaling.whitening of {run.folder} is of all {meta.axis.length} steps, so no series of "
            f"{length} steps can be generated; train with data.scaling.whitening=0 for other lengths"
        )
    networks = models.build(settings, length, len(meta.channels), count_labels(settings, run))
    network = models.join_sampler(settings, networks)
    return load_network(network, run.need(run.generator_weights, "gan"))


def count_labels(settings: config.Config, run: Run) -> int:
    """Return how many numbers at the end of a condition stand for labels or attributes."""
    if not settings.bank.by_label and not settings.bank.by:
        return 0
    return Bank.load(run.need(run.bank, "bank")).appended


def describe(settings: config.Config, shape: Shape) -> str:
    """Return what the stage would do, for --dry-run."""
    known = shape.labels if settings.bank.by_label else shape.attribute_width
    networks = models.build(settings, shape.length, shape.channels, known)
    if settings.model.fitted:
        return f"fits {settings.model.name} to {shape.train} series, without gradients"
    sizes = [
        f"{'an' if name[0] in 'aeiou' else 'a'} {name} of {sum(p.numel() for p in network.parameters()):,}"
        for name, network in networks.items()
    ]
    length = f"{settings.train.steps:,} steps of {settings.train.batch_size}"
    spending = describe_spending(settings, settings.model.private_network)
    return f"trains {' and '.join(sizes)} parameters for {length}{spending}"
