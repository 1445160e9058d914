"""clusters/ -> bank/: one condition a group, with the group's levels and spreads. No id, no member's value.

Who stands behind each condition goes to clusters/members.safetensors, which is private to the data's owner.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from distgan import clustering, conditions, config, privacy
from distgan.conditions import Bank, Members, Projection
from distgan.evaluation import tracing
from distgan.files import read_record, write_json
from distgan.parallel import Parallel
from distgan.runs import Run
from distgan.stages.common import TrainingData, latents_digest, owners_of
from distgan.stages.encoder import load_encoder
from distgan.stages.prepare import Shape

TRACING = "tracing.json"


def run(settings: config.Config, folder: Run, parallel: Parallel) -> dict[str, Any]:
    clusters = folder.need(folder.clusters, "cluster")
    points, groups = np.load(clusters / "points.npy"), np.load(clusters / "groups.npy")
    data = TrainingData.open(folder)
    if settings.privacy.epsilon is not None:
        bank = private(settings, folder, data, points, groups)
    else:
        bank = plain(settings, folder, data, points, groups)
    attacks = traced(settings, folder, parallel, data, bank)
    print("\n".join(tracing.lines(attacks)) or "tracing   not tried: too few held-out series", flush=True)
    save_attacks(folder, attacks)
    return {"summary": said(bank, settings) + (f"; {promised(bank)}" if bank.promise else "")}


def plain(
    settings: config.Config, folder: Run, data: TrainingData, points: np.ndarray, groups: np.ndarray
) -> Bank:
    labels = data.labels if settings.bank.by_label else None
    settled = conditions.settle(
        points, loads(data), groups, settings.bank, data.store.channels, data.entity_codes, labels
    )
    bank = conditions.make_bank(
        points,
        data.attributes,
        settled.loads,
        settled.groups,
        settings.bank,
        settled.entities,
        settings.seed,
        labels,
    )
    bank = replace(bank, owners=conditions.effective_owners(settled, owners_of(data, folder)))
    settled.save(folder.clusters / "members.safetensors")
    bank.save(folder.bank)
    return bank


def private(
    settings: config.Config, folder: Run, data: TrainingData, points: np.ndarray, cells: np.ndarray
) -> Bank:
    """The bank under differential privacy. Noise is drawn once: what fails after that, or is cut off, goes on
    from the same noisy sums.
    """
    ledger, entities = privacy.Ledger(folder.ledger), data.entity_codes
    noisy = folder.clusters / "sums.safetensors"
    facts = read_record(folder.clusters / "clusters.json", "cells")
    latent_dim, num_entities = settings.encoder.latent_dim, int(entities.max()) + 1
    budget = privacy.Budget.of(settings.privacy, latent_dim, num_entities)
    first = np.unique(entities, return_index=True)[1]  # a row of every entity: they share point and cell
    source = latents_digest(folder)
    if not ledger.kept("groups", noisy, source):
        with ledger.spending("groups", budget, budget.sums_multiplier, source):
            values = privacy.attribute_means(data.attributes, entities, settings.privacy)
            sums = privacy.noisy_sums(points[first], values, cells[first], facts["cells"], budget)
            sums.save(noisy)
    sums = privacy.Sums.load(noisy)
    bank, keeps = conditions.private_bank(sums, np.array(facts["variances"]), settings.bank, budget)
    members = conditions.private_members(points, cells, keeps, entities, loads(data), bank)
    members.save(folder.clusters / "members.safetensors")
    bank.save(folder.bank)
    return bank


# ------------------------------------------------------------------------------------------ tracing, tried


def traced(
    settings: config.Config,
    folder: Run,
    parallel: Parallel,
    data: TrainingData,
    bank: Bank,
    farthest: float = tracing.FARTHEST,
) -> list[tracing.Attack]:
    """The tracing attack on the bank, with the held-out and reference series as strangers."""
    members = Members.load(folder.clusters / "members.safetensors")
    others = TrainingData.open(folder, ("holdout", "reference"))
    if not others.num_series:
        return []
    points, beside = placed(settings, folder, parallel, others, members, bank)
    strangers, where, _ = by_entity(points, others.attributes, others.entity_codes, beside)
    inside, groups, first = by_entity(members.points, data.attributes, members.entities, members.groups)
    means = bank.conditions.astype(np.float64) * bank.scale + bank.centre
    return tracing.attack(
        inside,
        groups,
        strangers,
        where,
        tracing.released_numbers(means, bank.attributes_mean, bank.attributes_std),
        limit=settings.bank.max_tracing_auc,
        averaged=in_means(settings, folder, bank, members)[first] if settings.bank.study else None,
        farthest=farthest,
        seed=settings.seed,
    )


def placed(
    settings: config.Config,
    folder: Run,
    parallel: Parallel,
    others: TrainingData,
    members: Members,
    bank: Bank,
) -> tuple[np.ndarray, np.ndarray]:
    """Narrow points of strangers [n, K], and the group [n] of the member that each is most like."""
    projection = Projection.load(folder.clusters / "projection.safetensors")
    points = projection(latents(settings, folder, parallel, others))
    if bank.promise is not None:
        points = privacy.entity_means(points, np.arange(len(points)), bank.promise.clip)
    return points, members.groups[clustering.nearest(points, members.points)]


@torch.inference_mode()
def latents(settings: config.Config, folder: Run, parallel: Parallel, data: TrainingData) -> np.ndarray:
    """Means of the latents of some series, not kept: [n, d]."""
    encoder = load_encoder(settings, folder, data.store).to(parallel.device).eval()
    size, found = settings.encoder.batch_size, []
    for first in range(0, data.num_series, size):
        series, mask = data.scaled(first, first + size)
        found.append(encoder(series.to(parallel.device), mask.to(parallel.device))[0].cpu().numpy())
    return np.concatenate(found)


def by_entity(
    points: np.ndarray, attributes: np.ndarray, entities: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Own numbers of each entity in each group, its series averaged; the group; a row of each."""
    values = tracing.own_numbers(points, attributes)
    keys = groups * (int(entities.max()) + 1) + entities
    _, first, index, sizes = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(index, weights=column) / sizes for column in values.T], axis=1)
    return means, groups[first], first


def in_means(settings: config.Config, folder: Run, bank: Bank, members: Members) -> np.ndarray:
    """Whose points a study's conditions really average: [n] bool."""
    averaged = np.ones(len(members.points), bool)
    if settings.bank.training == "probes":
        averaged[:] = False
        averaged[np.concatenate(conditions.probe_rows(members, settings.bank, settings.seed))] = True
    return averaged


def save_attacks(folder: Run, attacks: list[tracing.Attack]) -> None:
    """Aggregates only; kept among the owner's files all the same."""
    path = folder.clusters / TRACING
    write_json(path, [{**asdict(each), "verdict": each.verdict} for each in attacks], private=True)


# --------------------------------------------------------------------------------------------------- summary


def said(bank: Bank, settings: config.Config) -> str:
    told = (
        f"{bank.num_groups} conditions of {settings.bank.condition_dim} numbers, each of {min(bank.sizes)} "
        f"entities or more; tracing AUC at most {max(bank.tracing_auc):.2f} (limit "
        f"{settings.bank.max_tracing_auc})"
    )
    return f"{told}; for study only, never to be released" if settings.bank.study else told


def promised(bank: Bank) -> str:
    assert bank.promise is not None
    held = bank.promise
    weak = ", which is weak" if held.epsilon > 4 else ""
    return (
        f"({held.epsilon:g}, {held.delta:.0e})-differentially private{weak}: no attack on it succeeds above "
        "AUC "
        f"{held.tracing_bound:.2f}" + ("; REPEATABLE NOISE, for tests only" if held.insecure else "")
    )


def loads(data: TrainingData) -> np.ndarray:
    """Each training series' total of absolute values, missing ones left out: (n,)."""
    blocks = data.store.part(data.rows)
    return np.concatenate([np.nansum(np.abs(block), axis=(1, 2), dtype=np.float64) for block in blocks])


def describe(settings: config.Config, of: Shape) -> str:
    chosen = settings.bank
    return f"averages each group into {chosen.condition_dim} numbers; training on the {chosen.training}"
