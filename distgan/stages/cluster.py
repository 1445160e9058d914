"""latents.zarr -> clusters/: the narrow part of the latents, and the group of every training series."""

from typing import Any

import numpy as np

from distgan import clustering, conditions, config
from distgan.data.store import LatentStore
from distgan.files import whole_folder, write_json
from distgan.parallel import Parallel
from distgan.runs import Run
from distgan.stages.common import TrainingData
from distgan.stages.prepare import Shape


def run(settings: config.Config, folder: Run, parallel: Parallel) -> dict[str, Any]:
    latents = LatentStore.open(folder.need(folder.latents, "encode")).mean()
    data = TrainingData.open(folder)
    entities = data.entity_codes
    floor = group_floor(settings, data.store.channels)
    projection = conditions.narrow(latents, settings.bank.condition_dim)
    points = projection(latents)
    count = settings.clusters.count or max(1, len(np.unique(entities)) // floor)
    found = clustering.kmeans(
        lambda: iter([points]),
        count,
        iterations=settings.clusters.iterations,
        restarts=settings.clusters.restarts,
        seed=settings.seed,
        spherical=settings.clusters.spherical,
    )
    groups = clustering.groups_of_at_least(points, found, entities, floor)
    facts = {"sizes": groups.sizes.tolist(), "floor": floor, "explained": projection.explained}
    with whole_folder(folder.clusters) as place:
        projection.save(place / "projection.safetensors")
        np.save(place / "points.npy", points)
        np.save(place / "groups.npy", groups.assignment)
        write_json(place / "clusters.json", facts | {"inertia": groups.inertia, "device": groups.device})
    return {
        "summary": f"{len(groups.sizes)} groups of {min(groups.sizes)} to {max(groups.sizes)} series from "
        f"{count} clusters, at least {floor} entities each; the narrow part keeps "
        f"{projection.explained:.0%} of the latents' variance",
        **facts,
    }


def group_floor(settings: config.Config, channels: int) -> int:
    """The fewest entities a group may have; every number released of it counts."""
    return conditions.floor(settings.bank, conditions.released_numbers(settings.bank.condition_dim, channels))


def describe(settings: config.Config, of: Shape) -> str:
    return f"groups {of.train} latents, at least {group_floor(settings, of.channels)} entities to a group"
