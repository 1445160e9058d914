"""clusters/ -> bank/: one condition per group, with the group's locations and scales; no id, no member's
value.

The members of each group are written to clusters/members.safetensors, which is private to the owner of the
data.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from distgan import config
from distgan.anonymity import faiss_backend, private_bank
from distgan.anonymity.attribute_slopes import state_slopes
from distgan.anonymity.bank import Bank, make_bank, sample_probe_rows
from distgan.anonymity.cells import summarise_groups
from distgan.anonymity.code_means import average_by_code
from distgan.anonymity.dp import bank as private_sums
from distgan.anonymity.dp import contributions
from distgan.anonymity.dp.accounting import make_budget
from distgan.anonymity.dp.bank import Sums
from distgan.anonymity.group_size import compute_minimum_group_size, count_released_numbers
from distgan.anonymity.groups import GroupedSeries, Members, count_effective_owners, merge_small_groups
from distgan.anonymity.projection import Projection
from distgan.anonymity.public_cells import PublicCells
from distgan.config.bounds import round_up
from distgan.errors import UserError
from distgan.evaluation.attacks import tracing
from distgan.evaluation.attacks.tracing import Sample
from distgan.files import read_record, write_json
from distgan.memory import HeapTrimmer
from distgan.pipeline.attribute_cells import (
    assign_by_attributes,
    count_numbers,
    find_training_cells,
    select_training_statics,
)
from distgan.pipeline.context import PipelineContext, Shape
from distgan.pipeline.encode import embed
from distgan.pipeline.private_ledger import make_query, open_ledger, select_head_facts
from distgan.pipeline.train_encoder import load_encoder
from distgan.pipeline.training_data import TrainingData, compute_loads, read_owners
from distgan.progress import format_count, say
from distgan.run import Run


def run(context: PipelineContext) -> dict[str, Any]:
    """Build and attack the bank on one process; return the record of the stage."""
    context.run.need(context.run.clusters, "cluster")
    clusters = context.run.cluster_files
    points, groups = np.load(clusters.points), np.load(clusters.groups)
    data = TrainingData.open(context.run)
    if context.settings.privacy.epsilon is not None:
        bank = build_private_bank(context.settings, context.run, data, points, groups)
    else:
        bank = build_plain_bank(context.settings, context.run, data, points, groups)
    attacks = run_tracing(context, data, bank)
    say("\n".join(tracing.format_lines(attacks)) or "inference not tried: too few held-out series")
    save_attacks(context.run, attacks)
    for name in [] if bank.statics is None else bank.statics.list_unstated():
        warning = (
            f"warning    no group states {name} of bank.by, since too few entities have each of its values, "
            "so no series can be requested by it; name it first in bank.by, or train with more entities"
        )
        say(warning, quiet=warning)
    summary = format_summary(bank, context.settings) + (
        f"; {format_guarantee(bank)}" if bank.guarantee else ""
    )
    return {"summary": summary} | (
        {"ledger": select_head_facts(bank.guarantee.head)} if bank.guarantee else {}
    )


def build_plain_bank(
    settings: config.Config, run: Run, data: TrainingData, points: np.ndarray, groups: np.ndarray
) -> Bank:
    """Write the bank of exact means, and the members of its groups; return the bank."""
    labels, loads = data.labels if settings.bank.by_label else None, compute_loads(data)
    owners = read_owners(data, run)
    cells, numbers = find_training_cells(settings, data, loads, owners), 0
    if cells is not None:
        labels, numbers = cells.cells, count_numbers(select_training_statics(settings, data))
    series = GroupedSeries(points, loads, groups, data.entity_codes, labels, numbers)
    merged = merge_small_groups(series, settings.bank, data.store.channels)
    series = replace(series, groups=merged.groups, entities=merged.entities)
    bank = make_bank(series, data.attributes, settings.bank, seed=settings.seed)
    bank = replace(bank, owners=count_effective_owners(merged, owners))
    if cells is not None:
        released = count_released_numbers(settings.bank.condition_dim, data.store.channels, numbers)
        fewest = compute_minimum_group_size(settings.bank, released)
        bank = replace(bank, statics=summarise_groups(cells, merged, owners, fewest))
        bank = state_slopes(bank, cells.values, data.attributes, merged, owners)
    merged.save(run.cluster_files.members)
    bank.save(run.bank)
    return bank


def build_private_bank(
    settings: config.Config, run: Run, data: TrainingData, points: np.ndarray, cells: np.ndarray
) -> Bank:
    """Return the bank under differential privacy. Noise is drawn once: after a failure or a kill the stage
    continues from the same noisy sums.
    """
    facts, ledger = read_private_facts(run), open_ledger(run)
    entities, budget = data.entity_codes, make_budget(settings, settings.encoder.latent_dim)
    first = np.unique(entities, return_index=True)[1]  # a row of every entity: they share point and cell

    def draw() -> dict[str, np.ndarray]:
        values = contributions.average_attributes(data.attributes, entities, settings.privacy)
        noisy = private_sums.sum_cells(points[first], values, cells[first], facts["cells"], budget)
        return noisy.to_tensors()

    projection = Projection.load(run.cluster_files.projection)
    query = make_query(
        run,
        "groups",
        budget,
        budget.sums_multiplier,
        directions=projection.directions.tolist(),
        centroids=facts["centroids"],
        **({"attributes": list(settings.bank.by)} if settings.bank.by else {}),
    )
    sums = Sums.from_tensors(ledger.draw(query, budget, draw))
    public = PublicCells.from_settings(settings, len(facts["centroids"]))
    bank = private_bank.make_private_bank(
        sums, np.array(facts["variances"]), settings.bank, budget, ledger.find_head(), public
    )
    keeps = private_bank.choose_cells(sums, settings.bank)
    groups = private_bank.find_groups(points, cells, keeps, bank, public)
    members = private_bank.assign_members(points, groups, entities, compute_loads(data), bank)
    members.save(run.cluster_files.members)
    bank.save(run.bank)
    return bank


def read_private_facts(run: Run) -> dict[str, Any]:
    """Return what the cluster stage has noted of a private partition."""
    facts = read_record(run.cluster_files.facts)
    if "cells" not in facts:
        raise UserError(
            f"{run.clusters} was not made under privacy.epsilon; run that stage again: "
            f"{run.format_command('cluster')}"
        )
    return facts


# ------------------------------------------------------------------------------------------ tracing, tried


def run_tracing(
    context: PipelineContext, data: TrainingData, bank: Bank, farthest: float = tracing.FARTHEST
) -> list[tracing.Attack]:
    """Run membership inference on the means of the bank, with the held-out and reference series as
    non-members.
    """
    members = Members.load(context.run.cluster_files.members)
    others = TrainingData.open(context.run, ("held_out", "reference"))
    if not others.num_series:
        return []
    points, beside = assign_non_members(context, others, members, bank)
    non_members, where, rows = average_by_entity(points, others.attributes, others.entity_codes, beside)
    inside, groups, first = average_by_entity(
        members.points, data.attributes, members.entities, members.groups
    )
    means = bank.conditions.astype(np.float64) * bank.scale + bank.centre
    averaged = mask_averaged_rows(context.settings, members)[first] if context.settings.bank.study else None
    return tracing.run_attack(
        Sample(inside, groups, averaged, read_owners(data, context.run)[first]),
        Sample(non_members, where, owners=read_owners(others, context.run)[rows]),
        tracing.stack_group_numbers(means, bank.attributes_mean, bank.attributes_std),
        limit=context.settings.bank.max_tracing_auc,
        farthest=farthest,
        seed=context.settings.seed,
    )


def assign_non_members(
    context: PipelineContext, others: TrainingData, members: Members, bank: Bank
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of non-members [n, K], and the group [n] that each would be in.

    Under differential privacy all series of an entity have one point and one group, made as members' are.
    Else a group is that of the member that is most like.
    """
    projection = Projection.load(context.run.cluster_files.projection)
    found = encode_series(context, others)
    if bank.guarantee is None:
        points = projection(found)
        if bank.statics is not None:
            values = bank.statics.read(select_training_statics(context.settings, others))
            own = bank.statics.read(select_training_statics(context.settings, TrainingData.open(context.run)))
            return points, assign_by_attributes(points, values, members, bank, own)
        return points, members.groups[faiss_backend.find_nearest_centroid(points, members.points)]
    codes = others.entity_codes
    points = contributions.make_entity_points(found, codes, projection.directions, bank.guarantee.clip)[codes]
    centroids = np.array(read_private_facts(context.run)["centroids"], np.float32)
    public = PublicCells.from_settings(context.settings, len(centroids))
    cells = public.find(
        select_training_statics(context.settings, others), contributions.find_nearest_cells(points, centroids)
    )
    keeps = private_bank.choose_cells(
        Sums.from_tensors(open_ledger(context.run).read("groups")), bank.settings
    )
    return points, private_bank.find_groups(points, cells, keeps, bank, public)


def encode_series(context: PipelineContext, data: TrainingData) -> np.ndarray:
    """Return the means of the latents of some series, not kept: [n, d]."""
    encoder = load_encoder(context.settings, context.run, data.store).to(context.parallel.device).eval()
    size, found, heap = context.settings.encoder.batch_size, [], HeapTrimmer()
    for first in range(0, data.num_series, size):
        series, mask = data.read_scaled(first, first + size)
        found.append(embed(encoder, series, mask, size, context.parallel.device)[0])
        heap.count(series.numel() * series.element_size())
    return np.concatenate(found)


def average_by_entity(
    points: np.ndarray, attributes: np.ndarray, entities: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each entity in each group the average of its series, the group, and the row of one of its
    series.
    """
    values = tracing.stack_entity_numbers(points, attributes)
    keys = groups * (int(entities.max()) + 1) + entities
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    return average_by_code(values, index), groups[first], first


def mask_averaged_rows(settings: config.Config, members: Members) -> np.ndarray:
    """Return the rows whose points the conditions average (probes take a few of each group): [n] bool."""
    averaged = np.ones(len(members.points), bool)
    if settings.bank.training == "probes":
        averaged[:] = False
        averaged[np.concatenate(sample_probe_rows(members, settings.bank, settings.seed))] = True
    return averaged


def save_attacks(run: Run, attacks: list[tracing.Attack]) -> None:
    """Save aggregates of attacks only; they are kept among the owner's files all the same."""
    path = run.cluster_files.tracing
    write_json(path, [{**asdict(each), "verdict": each.verdict} for each in attacks], private=True)


# --------------------------------------------------------------------------------------------------- summary


def format_summary(bank: Bank, settings: config.Config) -> str:
    fewest = f"{min(bank.sizes)} entities or more"
    if bank.guarantee is not None:
        fewest = f"about {fewest} (counted with noise)"
    text = (
        f"{format_count(bank.num_groups, 'condition')} of "
        f"{format_count(settings.bank.condition_dim, 'number')}, each of "
        f"{fewest}; membership inference AUC at most "
        f"{round_up(max(bank.tracing_auc), 2)} for a typical member (limit {settings.bank.max_tracing_auc})"
    )
    return f"{text}; for research only, never to be released" if settings.bank.study else text


def format_guarantee(bank: Bank) -> str:
    assert bank.guarantee is not None
    held = bank.guarantee
    weak = ", which is weak" if held.epsilon > 4 else ""
    return (
        f"({held.epsilon:g}, {held.delta:g})-differentially private{weak}: no attack on it succeeds above "
        "AUC "
        f"{round_up(held.tracing_bound, 2)}" + ("; REPEATABLE NOISE, for tests only" if held.insecure else "")
    )


def describe(settings: config.Config, shape: Shape) -> str:
    chosen = settings.bank
    numbers = format_count(chosen.condition_dim, "number")
    return f"averages each group into {numbers}; training on the {chosen.training}"
