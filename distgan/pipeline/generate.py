"""bank/, gan/ and scaler.json -> synthetic series in original units and times. The real series are never
opened.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import distgan
from distgan import config
from distgan.anonymity.bank import Bank
from distgan.anonymity.statics import GroupAttributes
from distgan.data import export
from distgan.data.store.metadata import Meta
from distgan.data.store.staging import StagedShards
from distgan.files import read_bytes, refuse_full_disk, remove_folders, write_bytes
from distgan.pipeline.context import PipelineContext, Shape
from distgan.pipeline.digests import digest_inputs
from distgan.pipeline.early_checks import count_bytes, describe_many
from distgan.pipeline.output_transform import find_output_transform, write_output_store
from distgan.pipeline.requested_attributes import Plan, describe_request, plan_series
from distgan.pipeline.sampler import Sampler
from distgan.pipeline.train_gan import load_generator
from distgan.pipeline.training_data import find_credit, read_scaler
from distgan.pipeline.zeros import read_zero_thresholds
from distgan.preflight import make_series_token
from distgan.progress import Progress, format_count
from distgan.run import Run, locate_attributes, locate_labels, locate_readme

TABLES = (".csv", ".parquet")
EXTRAPOLATED = "extrapolated"  # column of the table of attributes
NAME = "synthetic"  # of exported series: synthetic-000000, …


def run(context: PipelineContext) -> dict[str, Any]:
    """Generate by all processes: each writes the shards that are its own, rank 0 joins and exports them."""
    parallel, chosen = context.parallel, context.settings.generate
    parallel.run_on_main(lambda: refuse_many(chosen.count, context.run))
    find_output_transform(context.settings, context.run)  # what cannot be is refused before the work
    if chosen.format != "zarr":
        refuse_layout(context.settings, context.run, f".{chosen.format}")
    bank = Bank.load(context.run.need(context.run.bank, "bank"))
    sampler = load_sampler(context, bank)
    staged = stage_shards(context)
    shards = range(staged.layout.shards)
    due = [shard for shard in shards[parallel.rank :: parallel.world_size] if not staged.is_complete(shard)]
    kept = len(shards) - int(parallel.sum_values(np.array([len(due)]))[0])
    spans = [staged.layout.find_span(shard) for shard in due]
    total = sum(last - first for first, last in spans)
    with Progress("generate", total, "series", parallel.is_main) as progress:
        for shard, (first, last) in zip(due, spans):
            staged.write(shard, sampler.generate(np.arange(first, last), chosen.batch_size))
            progress.advance(last - first)
    parallel.wait_for_all()
    place = parallel.run_on_main(lambda: str(finish(context.settings, context.run, bank, staged)))
    parallel.run_on_main(staged.remove)
    went_on = f"; {kept} of {len(shards)} shards were done before" if kept else ""
    return {"summary": f"{summarise(chosen, bank)}: {place}{went_on}"}


def refuse_unmet(settings: config.Config, run: Run) -> None:
    """Refuse a request that cannot be met before anything is written, so that series, config and records
    stay.

    Raises:
        DiskFull: the series do not fit on the disk.
        UserError: the groups of the run do not have the requested attributes, its series cannot have the
            requested year or lengths, or a table cannot have the layout.
    """
    refuse_many(settings.generate.count, run)
    plan_series(settings.generate, Bank.load(run.bank))
    find_output_transform(settings, run)
    if settings.generate.format != "zarr":
        refuse_layout(settings, run, f".{settings.generate.format}")


def refuse_many(count: int, run: Run) -> None:
    """
    Raises:
        DiskFull: so many series do not fit on the disk of the run, beside what is there.
    """
    meta = read_scaler(run)[1]
    needed = count_bytes(count, meta.axis.length, len(meta.channels))
    there = sum(path.stat().st_size for place in run.list_synthetic_staging() for path in place.rglob("*"))
    refuse_full_disk(run.folder, needed - there, describe_many(count, meta.axis.length))


def refuse_layout(settings: config.Config, run: Run, suffix: str) -> None:
    """
    Raises:
        UserError: a table of this kind of file cannot have generate.layout with these series.
    """
    channels = len(read_scaler(run)[1].channels)
    export.choose_layout(settings.generate.layout, suffix, channels, settings.generate.count)


def summarise(chosen: config.Generate, bank: Bank) -> str:
    """Return the number of series and conditions, and the requested attributes, as a line."""
    plan = plan_series(chosen, bank)
    there, used = bank.num_groups, len(np.unique(plan.groups))
    conditions = format_count(there, "condition") if used == there else f"{used} of {there} conditions"
    asked = describe_request(chosen)
    beyond = int(plan.extrapolated.sum())
    return (
        f"{chosen.count} synthetic series from {conditions}"
        + (f", {asked}" if asked else "")
        + (f", {beyond:,} of them of a combination that no group has" if beyond else "")
    )


def stage_shards(context: PipelineContext) -> StagedShards:
    """Open the staging folder of these series; shards of other weights or settings are removed."""
    run, chosen = context.run, context.settings.generate

    def choose() -> str:
        read = [make_series_token(context.settings), digest_inputs("generate", run)]
        key = hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:12]
        remove_folders(run.list_synthetic_staging(), run.synthetic_staging(key))
        return key

    place = run.synthetic_staging(context.parallel.run_on_main(choose))
    _, meta = read_scaler(run)
    shape = (meta.axis.length, len(meta.channels))
    return StagedShards(place, shape, chosen.count, min(chosen.batch_size, chosen.count))


def finish(settings: config.Config, run: Run, bank: Bank, staged: StagedShards) -> Path:
    """Join the shards to the store, and write labels and exports beside it; return the store or table that
    the user opens.
    """
    staged.join(run.synthetic, make_meta(settings, run))
    run.synthetic_attributes.unlink(missing_ok=True)  # of series that were made before
    write_tables(settings, bank, run.synthetic_labels, run.synthetic_attributes)
    place = run.synthetic
    for older in TABLES:  # of series that were made before
        export.remove(place.with_suffix(older))
    locate_readme(place).unlink(missing_ok=True)
    store = write_output_store(settings, run)
    if settings.generate.format != "zarr":
        place = place.with_suffix(f".{settings.generate.format}")
        made = export.export(store, place, NAME, settings.generate.layout)
        describe_export(made, settings, run)
        return place
    return store


def write_tables(settings: config.Config, bank: Bank, labels: Path, attributes: Path) -> None:
    """Write the label and the attributes of each series, where the bank has any; they follow from settings
    and bank.
    """
    plan = plan_series(settings.generate, bank)
    if bank.labels:
        cells = [[str(label)] for label in np.asarray(bank.labels)[plan.groups]]
        export.write_by_series(labels, NAME, ["label"], cells)
    if bank.statics is not None:
        header, rows = tabulate_attributes(plan, bank.statics, settings.generate)
        export.write_by_series(attributes, NAME, header, rows)


def export_to(settings: config.Config, run: Run, place: Path) -> str:
    """Write the run's synthetic series to `place`, with a README and labels beside it; a line for the user.

    Raises:
        UserError, DiskFull: the place cannot be written.
    """
    run.need(run.synthetic, "generate")
    made = export.export(write_output_store(settings, run), place, NAME, settings.generate.layout)
    export.remove_companions(place)
    if run.synthetic_labels.exists():
        write_bytes(locate_labels(place), read_bytes(run.synthetic_labels))
    if run.synthetic_attributes.exists():
        write_bytes(locate_attributes(place), read_bytes(run.synthetic_attributes))
    describe_export(made, settings, run)
    return f"export    {place} ({made.layout}; {locate_readme(place).name} says what is in it)"


def describe_export(made: export.Exported, settings: config.Config, run: Run) -> None:
    """Write the README of an export; what is known of the clock stands with the scaler."""
    _, meta = read_scaler(run)
    transform = find_output_transform(settings, run)
    count, clock = settings.generate.count, str(meta.provenance.get("clock", ""))
    more = [export.describe_labels(made.place)] if run.synthetic_labels.exists() else []
    more += [export.describe_attributes(made.place)] if run.synthetic_attributes.exists() else []
    if transform.year is not None:
        more += [f"Calendar  {line}" for line in transform.year.assumptions]
    more += [f"Lengths   {line}" for line in transform.describe_lengths()]
    export.write_readme(made, transform.describe(meta), count, clock, find_credit(settings, meta), more)


def tabulate_attributes(
    plan: Plan, statics: GroupAttributes, chosen: config.Generate
) -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of the table of attributes; with `generate.extrapolate`, its last column
    says which series no group stands for.
    """
    assert plan.values is not None
    columns = [
        [column.format(value) for value in plan.values[:, place]]
        for place, column in enumerate(statics.columns)
    ]
    header = list(statics.names)
    if chosen.extrapolate:
        header.append(EXTRAPOLATED if EXTRAPOLATED not in header else f"{EXTRAPOLATED} (generated)")
        columns.append(["true" if each else "false" for each in plan.extrapolated])
    return header, [list(row) for row in zip(*columns)]


def sample_series(
    context: PipelineContext, bank: Bank, allowed: np.ndarray | None = None, length: int | None = None
) -> np.ndarray:
    """Return all `generate.count` series in original units: float32 [n, L, C].

    Args:
        allowed: [G] bool, the groups that series may come from; by default all.
        length: steps of a series, if other than trained on.
    """
    chosen = context.settings.generate
    sampler = load_sampler(context, bank, allowed, length)
    return sampler.generate(np.arange(chosen.count), chosen.batch_size)


def regenerate(context: PipelineContext, bank: Bank, rows: np.ndarray) -> np.ndarray:
    """Generate some series of a run again, in original units: [n] row numbers -> float32 [n, L, C].

    Every series has its own random numbers, keyed by its number, so others need not be generated.
    """
    return load_sampler(context, bank).generate(rows, context.settings.generate.batch_size)


def load_sampler(
    context: PipelineContext, bank: Bank, allowed: np.ndarray | None = None, length: int | None = None
) -> Sampler:
    """Draw groups and attributes of all `generate.count` series, and load the run's generator."""
    generator = load_generator(context.settings, context.run, length).to(context.parallel.device).eval()
    sampler = Sampler.from_bank(
        generator, read_scaler(context.run)[0], context.settings.generate, bank, allowed
    )
    zeros = read_zero_thresholds(context.run)
    return replace(sampler, device=context.parallel.device, zeros=zeros)


def make_meta(settings: config.Config, run: Run) -> Meta:
    """Return the description of a run's synthetic series."""
    _, meta = read_scaler(run)
    return replace(meta, provenance=make_provenance(settings, meta))


def make_provenance(settings: config.Config, meta: Meta) -> dict[str, Any]:
    """Return the provenance of a synthetic store: version, identity of the run, credit, and what its times
    mean, which whoever reads the store as a source needs; no path, no id.
    """
    made = {"source": "synthetic", "maker": f"distgan {distgan.__version__}", "run": settings.identity}
    clock = {"clock": meta.provenance["clock"]} if "clock" in meta.provenance else {}
    return made | {"credit": find_credit(settings, meta)} | clock


def describe(settings: config.Config, shape: Shape) -> str:
    count = settings.generate.count
    return f"draws {count} series of {shape.length} x {shape.channels}, groups in proportion to their series"
