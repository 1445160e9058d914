"""clusters/ -> bank/: one condition a group, with the group's levels and spreads. No id, no member's value.

Who stands behind each condition goes to clusters/members.safetensors, which is private to the data's owner.
"""

from typing import Any

import numpy as np

from distgan import conditions, config, privacy
from distgan.conditions import Bank
from distgan.files import read_json
from distgan.parallel import Parallel
from distgan.runs import Run
from distgan.stages.common import TrainingData
from distgan.stages.prepare import Shape


def run(settings: config.Config, folder: Run, parallel: Parallel) -> dict[str, Any]:
    clusters = folder.need(folder.clusters, "cluster")
    points, groups = np.load(clusters / "points.npy"), np.load(clusters / "groups.npy")
    data = TrainingData.open(folder)
    if settings.privacy.epsilon is not None:
        bank = private(settings, folder, data, points, groups)
        return {"summary": f"{said(bank, settings)}; {promised(bank)}"}
    settled = conditions.settle(
        points, loads(data), groups, settings.bank, data.store.channels, data.entity_codes
    )
    bank = conditions.make_bank(
        points, data.attributes, settled.loads, settled.groups, settings.bank, settled.entities, settings.seed
    )
    settled.save(clusters / "members.safetensors")
    bank.save(folder.bank)
    return {"summary": said(bank, settings)}


def private(
    settings: config.Config, folder: Run, data: TrainingData, points: np.ndarray, cells: np.ndarray
) -> Bank:
    """The bank under differential privacy; drawn once, and taken again if its stage was cut off after."""
    ledger, entities = privacy.Ledger(folder.ledger), data.entity_codes
    if ledger.kept("groups", folder.bank):
        return Bank.load(folder.bank)
    facts = read_json(folder.clusters / "clusters.json")
    latent_dim, num_entities = settings.encoder.latent_dim, int(entities.max()) + 1
    budget = privacy.Budget.of(settings.privacy, latent_dim, num_entities)
    first = np.unique(entities, return_index=True)[1]  # a row of every entity: they share point and cell
    with ledger.spending("groups", budget, budget.sums_multiplier):
        values = privacy.attribute_means(data.attributes, entities, settings.privacy)
        sums = privacy.noisy_sums(points[first], values, cells[first], facts["cells"], budget)
        bank, keeps = conditions.private_bank(sums, np.array(facts["variances"]), settings.bank, budget)
        members = conditions.private_members(points, cells, keeps, entities, loads(data), bank)
        members.save(folder.clusters / "members.safetensors")
        bank.save(folder.bank)
    return bank


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
