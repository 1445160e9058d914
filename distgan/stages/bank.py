"""clusters/ -> bank/: one condition a group, with the group's levels and spreads. No id, no member's value.

Who stands behind each condition goes to clusters/members.safetensors, which is private to the data's owner.
"""

from typing import Any

import numpy as np

from distgan import conditions, config
from distgan.parallel import Parallel
from distgan.runs import Run
from distgan.stages.common import TrainingData
from distgan.stages.prepare import Shape


def run(settings: config.Config, folder: Run, parallel: Parallel) -> dict[str, Any]:
    clusters = folder.need(folder.clusters, "cluster")
    points, groups = np.load(clusters / "points.npy"), np.load(clusters / "groups.npy")
    data = TrainingData.open(folder)
    settled = conditions.settle(
        points, loads(data), groups, settings.bank, data.store.channels, data.entity_codes
    )
    bank = conditions.make_bank(
        points, data.attributes, settled.loads, settled.groups, settings.bank, settled.entities
    )
    settled.save(clusters / "members.safetensors")
    bank.save(folder.bank)
    return {
        "summary": f"{bank.num_groups} conditions of {settings.bank.condition_dim} numbers, each of "
        f"{min(bank.sizes)} entities or more; tracing AUC at most {max(bank.tracing_auc):.2f} "
        f"(limit {settings.bank.max_tracing_auc})",
    }


def loads(data: TrainingData) -> np.ndarray:
    """Each training series' total of absolute values, missing ones left out: (n,)."""
    blocks = data.store.part(data.rows)
    return np.concatenate([np.nansum(np.abs(block), axis=(1, 2), dtype=np.float64) for block in blocks])


def describe(settings: config.Config, of: Shape) -> str:
    chosen = settings.bank
    return f"averages each group into {chosen.condition_dim} numbers; training on the {chosen.training}"
