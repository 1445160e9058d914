"""latents.zarr -> clusters/: the projected latents, and the group of every training series.

Every process streams its share of the latents in blocks and writes their projection to its own file, which
k-means reads at every pass; rank 0 then forms the groups from all projections. The folder is private to the
owner of the data.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from distgan import config
from distgan.anonymity import cluster_count, cluster_sizes, clustering, faiss_backend, group_size
from distgan.anonymity.cluster_count import Choice
from distgan.anonymity.clustering import Clustering, KMeans
from distgan.anonymity.dp import bank as private_sums
from distgan.anonymity.dp import contributions
from distgan.anonymity.dp.accounting import make_budget
from distgan.anonymity.dp.bank import Moments
from distgan.anonymity.projection import Projection, find_principal_directions, fit_projection
from distgan.anonymity.public_cells import PublicCells
from distgan.data.store.latents import LatentStore
from distgan.data.store.reader import Store
from distgan.errors import UserError, writing
from distgan.files import whole_folder, write_bytes, write_json
from distgan.parallel.processes import Parallel
from distgan.pipeline.attribute_cells import count_numbers, find_training_cells, select_training_statics
from distgan.pipeline.context import PipelineContext, Shape
from distgan.pipeline.private_ledger import make_query, open_ledger, refuse_unprotected, select_head_facts
from distgan.pipeline.training_data import TrainingData, compute_loads, read_owners
from distgan.progress import Progress, format_count
from distgan.rng import make_keyed_generator
from distgan.run import ClusterFiles, Run

FEWEST_ROWS, MOST_ROWS = 64, 8192  # of a block
BLOCKS = 64  # to share, where the latents suffice; the same ones whatever the number of processes
PRIOR_POINTS = 256  # drawn from the prior for each cell of a private partition
Facts = dict[str, Any]


@dataclass(frozen=True)
class Share:
    """The latents of one process: rows first .. end of all, and the file for their projection."""

    store: LatentStore
    first: int
    end: int
    size: int  # of a block
    file: Path

    @classmethod
    def from_run(cls, run: Run, parallel: Parallel) -> "Share":
        store = LatentStore.open(run.need(run.latents, "encode"))
        size = max(FEWEST_ROWS, min(MOST_ROWS, -(-store.num_series // BLOCKS)))
        blocks = -(-store.num_series // size)
        first, end = (
            min(blocks * rank // parallel.world_size * size, store.num_series)
            for rank in (parallel.rank, parallel.rank + 1)
        )
        return cls(store, first, end, size, run.projected_points(parallel.rank))

    def iterate_latents(self) -> Iterator[np.ndarray]:
        for first in range(self.first, self.end, self.size):
            yield self.store.read_mean(np.arange(first, min(first + self.size, self.end)))

    def write_projected(self, projection: Projection) -> None:
        """Write the projected part of every latent of this share; not by a map, which a full disk ends."""
        header = np.lib.format.header_data_from_array_1_0(np.empty((0, 0), np.float32))
        header["shape"] = (self.end - self.first, projection.directions.shape[1])
        with writing(self.file), open(self.file, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for block in self.iterate_latents():
                file.write(np.ascontiguousarray(projection(block), np.float32).data)

    def iterate_points(self) -> Iterator[np.ndarray]:
        if self.end > self.first:
            points = np.load(self.file, mmap_mode="r")
            for first in range(0, len(points), self.size):
                yield np.asarray(points[first : first + self.size])


def run(context: PipelineContext) -> Facts:
    """Project the latents and form groups; return the record of the stage."""
    if context.settings.privacy.epsilon is not None:
        return context.parallel.run_on_main(lambda: cluster_privately(context.settings, context.run))
    context.parallel.run_on_main(lambda: recreate_folder(context.run.cluster_work))
    try:
        facts = cluster_on_all(context)
    except BaseException:
        if context.parallel.is_main:  # the others are going down as well, and need it no more
            shutil.rmtree(context.run.cluster_work, ignore_errors=True)
        raise
    context.parallel.run_on_main(lambda: shutil.rmtree(context.run.cluster_work))
    return facts


def recreate_folder(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)


def cluster_on_all(context: PipelineContext) -> Facts:
    """Run k-means on all processes, then form groups of at least the minimum size."""
    share = Share.from_run(context.run, context.parallel)
    projection = fit_projection(
        share.iterate_latents, context.settings.bank.condition_dim, context.parallel.sum_values
    )
    share.write_projected(projection)
    device = choose_device(context.parallel)
    data = TrainingData.open(context.run)
    numbers = count_numbers(select_training_statics(context.settings, data))
    minimum_size = resolve_minimum_group_size(context.settings, data.store.channels, numbers)
    entities, labels = data.entity_codes, read_labels(data, context.settings, minimum_size)
    if context.settings.bank.by:
        labels = context.parallel.run_on_main(lambda: find_attribute_cells(context, data))
    fewest = choose_smallest_group(context.settings, entities, labels, minimum_size)
    people = People(entities, labels, minimum_size, fewest)
    count, choice = choose_cluster_count(context.settings, share, entities, fewest, device, context.parallel)
    found = run_kmeans(
        context.settings, share, count, device, context.parallel, context.settings.clusters.restarts
    )
    np.save(context.run.cluster_labels(context.parallel.rank), found.assignment)
    context.parallel.wait_for_all()
    return context.parallel.run_on_main(
        lambda: form_groups(
            context.settings,
            context.run,
            Outcome(projection, found, choice),
            people,
            context.parallel.world_size,
        )
    )


def choose_smallest_group(
    settings: config.Config, entities: np.ndarray, labels: np.ndarray | None, minimum_size: int
) -> int:
    """Return how many entities each group is to have: the minimum where the number of clusters is given, else
    more.
    """
    if settings.clusters.count is not None or settings.bank.study:
        return minimum_size
    every = [np.unique(entities)]
    if labels is not None:
        every = [np.unique(entities[labels == label]) for label in np.unique(labels)]
    smallest = min(map(len, every))
    return max(
        minimum_size,
        min(smallest, group_size.compute_target_group_size(minimum_size, len(np.unique(entities)))),
    )


def find_attribute_cells(context: PipelineContext, data: TrainingData) -> np.ndarray:
    """Return the cell of the attributes' joint distribution of each training series: [n] int64.

    Raises:
        UserError: as `find_training_cells`.
    """
    owners = read_owners(data, context.run)
    cells = find_training_cells(context.settings, data, compute_loads(data), owners)
    assert cells is not None
    return cells.cells


def read_labels(data: TrainingData, settings: config.Config, minimum_size: int) -> np.ndarray | None:
    """Return the label of each training series, where groups go by it: [n] str.

    Raises:
        UserError: the source has no labels, or one has too few entities for a group.
    """
    if not settings.bank.by_label:
        return None
    if data.labels is None:
        raise UserError(
            f"bank.by_label=true needs labels, but {settings.data.source} has none (array `label` "
            "of an NPZ); set bank.by_label=false"
        )
    for label in np.unique(data.labels):
        entities = len(np.unique(data.entity_codes[data.labels == label]))
        if entities < minimum_size and not settings.bank.study:
            raise UserError(
                f"label {str(label)!r} has {entities} training entities, fewer than the minimum group "
                f"size of {minimum_size}; add series, leave the label out (data.labels), or see "
                "bank.min_members and bank.max_tracing_auc"
            )
    return data.labels


def choose_device(parallel: Parallel) -> str:
    """Return the device on which this process clusters: its own GPU if faiss can use one, else the CPU."""
    wanted = f"cuda:{parallel.device.index or 0}" if parallel.device.type == "cuda" else "cpu"
    return wanted if faiss_backend.choose_device() != "cpu" else "cpu"


def choose_cluster_count(
    settings: config.Config,
    share: Share,
    entities: np.ndarray,
    minimum_size: int,
    device: str,
    parallel: Parallel,
) -> tuple[int, Choice | None]:
    """Return the k of k-means, and what it was chosen from, if it was."""
    chosen = settings.clusters
    if chosen.count is None:
        return max(1, len(np.unique(entities)) // minimum_size), None
    if chosen.count != "auto":
        return chosen.count, None
    low, high = chosen.range
    if high > len(entities):
        raise UserError(
            f"clusters.range ends at {high}, but there are only {len(entities)} latents; set its "
            f"end to {len(entities)} or less"
        )
    choice = cluster_count.choose_count(
        share.iterate_points,
        (low, high),
        chosen.criterion,
        search=KMeans(chosen.iterations, 1, settings.seed, chosen.spherical, device),
        reduce=parallel.sum_values,
        shown=parallel.is_main,
    )
    return choice.count, choice


def run_kmeans(
    settings: config.Config, share: Share, count: int, device: str, parallel: Parallel, restarts: int
) -> Clustering:
    """Cluster the projected latents of all processes, with a progress bar on rank 0."""
    chosen = settings.clusters
    with Progress("cluster", chosen.iterations, "passes", parallel.is_main) as progress:
        return clustering.run_kmeans(
            share.iterate_points,
            count,
            search=KMeans(chosen.iterations, restarts, settings.seed, chosen.spherical, device),
            reduce=parallel.sum_values,
            progress=lambda done, most: progress.advance(),
        )


@dataclass(frozen=True)
class People:
    """Whose series are grouped: the entity of each, its label if groups go by label, how many entities a
    group needs, and how many each is to have.
    """

    entities: np.ndarray
    labels: np.ndarray | None
    minimum_size: int
    fewest: int


@dataclass(frozen=True)
class Outcome:
    """Result that all processes found together."""

    projection: Projection
    clusters: Clustering
    choice: Choice | None


def form_groups(settings: config.Config, run: Run, outcome: Outcome, people: People, processes: int) -> Facts:
    """Form groups of enough entities on rank 0, from all projected parts, and write everything."""
    points, assignment = (
        np.concatenate([np.load(file) for rank in range(processes) if (file := place_of(rank)).exists()])
        for place_of in (run.projected_points, run.cluster_labels)
    )
    projection, found, choice = outcome.projection, outcome.clusters, outcome.choice
    minimum_size, fewest = people.minimum_size, 1 if settings.bank.study else people.fewest
    complete = replace(found, assignment=assignment)
    groups = form_groups_by_label(points, complete, people.entities, people.labels, fewest)
    facts = make_facts(groups, projection, minimum_size)
    save(run, projection, points, groups.assignment, choice, facts)
    auto = f" (by the {choice.criterion})" if choice else ""
    research = settings.bank.study
    sizes = " to ".join(map(str, sorted({min(groups.sizes), max(groups.sizes)})))
    each = "for research only: no minimum group size" if research else f"at least {fewest} entities each"
    return facts | {
        "summary": f"{format_count(len(groups.sizes), 'group')} of {sizes} series from "
        f"{format_count(len(found.sizes), 'cluster')}{auto}, {each}; merging added {groups.loss:.1%} of the "
        f"inertia; the projection keeps {projection.explained:.0%} of the latents' variance; "
        f"on {groups.device}{f' x {processes} processes' if processes > 1 else ''}",
    }


def form_groups_by_label(
    points: np.ndarray, found: Clustering, entities: np.ndarray, labels: np.ndarray | None, minimum_size: int
) -> Clustering:
    """Form groups of at least `minimum_size` entities; of series of one label each, if there are labels."""
    if labels is None:
        return (
            found
            if minimum_size == 1
            else cluster_sizes.dissolve_small_clusters(points, found, entities, minimum_size)
        )
    assignment, count, inertia, given_up = np.empty(len(points), np.int64), 0, 0.0, 0.0
    for label in np.unique(labels):
        inside = np.flatnonzero(labels == label)
        own = replace(found, assignment=np.unique(found.assignment[inside], return_inverse=True)[1])
        part = cluster_sizes.dissolve_small_clusters(points[inside], own, entities[inside], minimum_size)
        assignment[inside] = part.assignment + count
        count, inertia = count + len(part.sizes), inertia + part.inertia
        given_up += part.loss * cluster_sizes.compute_scatter(points[inside], found.spherical)
    loss = given_up / max(cluster_sizes.compute_scatter(points, found.spherical), 1e-300)
    sizes = np.bincount(assignment)
    return replace(found, assignment=assignment, sizes=sizes, inertia=inertia, loss=loss)


def make_facts(groups: Clustering, projection: Projection, minimum_size: int) -> Facts:
    return {
        "sizes": groups.sizes.tolist(),
        "floor": minimum_size,
        "explained": projection.explained,
        "inertia": groups.inertia,
        "loss": groups.loss,
        "device": groups.device,
    }


def save(
    run: Run,
    projection: Projection,
    points: np.ndarray,
    groups: np.ndarray,
    choice: Choice | None,
    facts: Facts,
) -> None:
    """Write the folder of clusters: projection, points, groups and facts."""
    with whole_folder(run.clusters) as place:
        files = ClusterFiles(place)
        projection.save(files.projection)
        np.save(files.points, points)
        np.save(files.groups, groups)
        write_json(files.facts, facts)
        if choice is not None:
            tried = {name: np.asarray(getattr(choice, name)).tolist() for name in choice.__dataclass_fields__}
            write_json(files.choice, tried)
            from distgan.evaluation.plots import population, style  # matplotlib: a second to import

            write_bytes(files.choice_picture, style.render(population.draw_elbow(**tried)))


# -------------------------------------------------------------------------------------- a private partition


def cluster_privately(settings: config.Config, run: Run) -> Facts:
    """Form groups under differential privacy: directions from a private release, cells that never saw the
    data.

    The cells are those of k-means on draws from a normal distribution with the released mean and variances,
    so they cost nothing more. Series of one entity go together, where the mean of their clipped latents lies.
    A stage that was cut off goes on from the moments that were drawn.
    """
    store = LatentStore.open(run.need(run.latents, "encode"))
    data = TrainingData.open(run)
    refuse_unprotected(settings, run, data)
    channels = Store.open(run.need(run.series, "prepare")).channels
    minimum_size = resolve_minimum_group_size(settings, channels, len(settings.bank.by))
    budget = make_budget(settings, store.dim)
    budget.check(minimum_size, channels)
    latents, ledger = store.read_mean(), open_ledger(run)

    def draw() -> dict[str, np.ndarray]:
        records = contributions.average_entities(latents, data.entity_codes, budget.radius)
        return private_sums.sum_moments(records, budget).to_tensors()

    query = make_query(run, "directions", budget, budget.directions_multiplier)
    moments = Moments.from_tensors(ledger.draw(query, budget, draw))
    budget.check_delta(moments.count)
    facts = save_private(settings, run, latents, data, moments)
    return facts | {
        "ledger": select_head_facts(ledger.find_head()),
        "summary": f"{facts['cells']} cells that do not depend on the data, in {settings.bank.condition_dim} "
        f"directions released privately; these keep {facts['explained']:.0%} of the latents' variance",
    }


def save_private(
    settings: config.Config, run: Run, latents: np.ndarray, data: TrainingData, moments: Moments
) -> Facts:
    """Save directions, cells and the cell of each point: after the noisy moments, no budget is spent.

    How many cells there are goes by the noisy count. Points are not moved to the mean: their length is
    bounded where they are.
    """
    channels = Store.open(run.series).channels
    minimum_size = resolve_minimum_group_size(settings, channels, len(settings.bank.by))
    radius = make_budget(settings, latents.shape[1]).radius
    mean, covariance = moments.compute_mean_and_covariance(radius)
    directions, explained = find_principal_directions(covariance, settings.bank.condition_dim)
    projection = Projection(np.zeros(len(directions), np.float32), directions, explained)
    variances = private_sums.compute_variances(covariance, directions)
    count, entities = settings.clusters.count, data.entity_codes
    public = PublicCells.from_settings(settings, latent_cells=1)
    if not isinstance(count, int):
        count = max(1, int(moments.count) // (2 * minimum_size * public.listed))
    public = replace(public, latent_cells=count)
    centroids = draw_partition(projection(mean[None])[0], variances, public.latent_cells, settings.seed)
    points = contributions.make_entity_points(latents, entities, directions, radius)
    found = public.find(
        select_training_statics(settings, data), contributions.find_nearest_cells(points, centroids)[entities]
    )
    facts = {
        "cells": public.number,
        "floor": minimum_size,
        "explained": explained,
        "variances": variances.tolist(),
        "centroids": centroids.tolist(),
    }
    save(run, projection, points[entities], found, None, facts)
    return facts


def draw_partition(mean: np.ndarray, variances: np.ndarray, cells: int, seed: int) -> np.ndarray:
    """Return the centroids of k-means on draws from N(mean, variances): [cells, K] float32."""
    rng = make_keyed_generator(seed, 0, "public partition")
    drawn = mean + rng.standard_normal((PRIOR_POINTS * cells, len(variances))) * np.sqrt(variances)
    found = clustering.run_kmeans(
        lambda: iter([drawn]), cells, search=KMeans(iterations=25, restarts=1, seed=seed, device="cpu")
    )
    return found.centroids


# ----------------------------------------------------------------------------------------------------- shared


def resolve_minimum_group_size(settings: config.Config, channels: int, attributes: int = 0) -> int:
    """Return the fewest entities a group may have; every number released of it counts."""
    released = group_size.count_released_numbers(settings.bank.condition_dim, channels, attributes)
    return group_size.compute_minimum_group_size(settings.bank, released)


def describe(settings: config.Config, shape: Shape) -> str:
    fewest = resolve_minimum_group_size(settings, shape.channels, shape.attribute_numbers)
    given = settings.clusters.count is not None or settings.data.windows.length is not None
    if given or settings.bank.study or settings.privacy.epsilon is not None:
        return f"groups {shape.train} latents, at least {fewest} entities to a group"
    return f"groups {shape.train} latents, {group_size.describe_margin(fewest, shape.train)}"
