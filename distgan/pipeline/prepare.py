"""Source -> series.zarr with its splits, and the scaler fitted on the training series alone."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from distgan import config
from distgan.config.bounds import MOST_STEPS
from distgan.data import ingest
from distgan.data.another_year import find_year
from distgan.data.checks.suspicions import Suspicion, refuse_suspicions
from distgan.data.ingest_cache import open_cache_folder
from distgan.data.lengths import Lengths, RangeRecorder
from distgan.data.rounding import round_to_multiples
from distgan.data.scaling import Scaler
from distgan.data.splits import assign_splits
from distgan.data.static_attributes import StaticAttribute
from distgan.data.store.format import Form
from distgan.data.store.metadata import Meta
from distgan.data.store.private_table import SPLITS, VALIDATION, read_table, write_table
from distgan.data.store.reader import Store
from distgan.data.store.writer import ParallelStoreWriter
from distgan.data.windows import Windows
from distgan.data.workers import run_in_parallel
from distgan.errors import UserError, writing
from distgan.pipeline import early_checks, source_summary
from distgan.pipeline.attribute_cells import choose_statics, count_numbers
from distgan.pipeline.context import PipelineContext, Shape
from distgan.pipeline.lengths import describe_lengths, measure_lengths
from distgan.pipeline.owners import describe_merged, merge
from distgan.pipeline.training_data import number_owners, open_series, select_rows, write_scaler
from distgan.pipeline.zeros import advise_zeros, measure_zeros
from distgan.progress import Progress, format_count, format_digits, format_exact, say
from distgan.run import Run


def run(context: PipelineContext) -> dict[str, Any]:
    """Read, check, split and store the source, and fit the scaler; return the record of the stage."""
    with open_cache_folder(context.run.series.with_name(".series.parts")) as place:
        found, splits, suspicions = examine(context.settings, place)
        refuse_suspicions(suspicions, context.settings.data.source)
        found.meta = add_suspicions(found.meta, suspicions)
        stored = write_store(found, context.run, context.settings.data.store)
    entities: Sequence[str] = found.entities
    owners: Sequence[str] = found.owners
    merged = 0
    if "bank" in context.settings.stages:
        entities, owners, merged = merge(context.settings, Store.open(context.run.series), entities, owners)
    if merged:
        found.entities, found.owners = list(entities), list(owners)
        splits = split_merged(context.settings, found, merged)
    write_table(context.run.private_table, entities, owners, list(splits), found.labels, found.statics)
    data, windows = cut_windows(context.settings, context.run, splits)
    find_year(data.meta, context.settings.generate.start, context.settings.data)
    lengths = fit_scaler(context.settings, context.run, data)
    surveyed = () if found.survey is None else found.survey.channels
    if hint := advise_zeros(context.settings, surveyed, context.run):
        say(hint)
    counts = {name: int((splits == name).sum()) for name in list_used_splits(context.settings)}
    people = {name: len({o for o, s in zip(owners, splits) if s == name}) for name in counts}
    left_out = "".join(f", {count} left out ({reason})" for reason, count in found.left_out.items() if count)
    length, channels = stored.axis.length, len(stored.channels)
    return {
        "summary": f"{found.num_series} series of {length} x {channels}: {counts['train']} to train on, "
        f"{counts['held_out']} held out, {counts['reference']} for reference"
        f"{describe_validation(counts.get(VALIDATION, 0))}, of {format_count(sum(people.values()), 'owner')}"
        f"{left_out}{windows}{describe_lengths(lengths)}{describe_merged(merged)}{describe_precision(stored)}",
        "series": counts,
        "owners": people,
        "left_out": found.left_out,
        "copies": found.copies,
        "suspicions": [each.to_dict() for each in suspicions],
        "merged_owners": merged,
        "least_owners": context.settings.bank.min_members,
    }


def split_merged(settings: config.Config, found: ingest.Series, merged: int) -> np.ndarray:
    """Return the split of each series once owners of near copies count as one: [n] str.

    Raises:
        UserError: the owners that are left are too few; says how many were merged.
    """
    try:
        splits = split_owners(settings, found.owners)
        early_checks.refuse_early(settings, found, splits)
    except UserError as error:
        raise UserError(
            f"{merged} owners have near copies of another owner's series and are counted as that "
            f"owner: {error}"
        ) from None
    return splits


def examine(settings: config.Config, place: Path) -> tuple[ingest.Series, np.ndarray, list[Suspicion]]:
    """Read the source; print how it was read and what is suspicious.

    Raises:
        UserError: as `read`.
    """
    found, splits = read_source(settings, place)
    suspicions = source_summary.find_suspicions(settings, found)
    warnings = [each for each in suspicions if each.severity in ("error", "warning")]
    say(
        "\n".join([*source_summary.describe(found, suspicions), *advise_axis(settings)]),
        quiet="\n".join(source_summary.format_suspicions(warnings)),
    )
    return found, splits, suspicions


def advise_axis(settings: config.Config) -> list[str]:
    """Return a line about a time axis that a private run takes as public though it was found in the data."""
    if settings.privacy.epsilon is None or settings.data.axis.is_given:
        return []
    return [
        "hint       privacy.epsilon takes the time axis as public, and it was found in all series together; "
        "data.axis.start, step and length give it, from prior knowledge"
    ]


def add_suspicions(meta: Meta, suspicions: Sequence[Suspicion]) -> Meta:
    """Return what the store says of itself, with what was noticed about its source, in counts alone."""
    if not suspicions:
        return meta
    noticed = {each.name: each.shared for each in suspicions if each.severity != "hint"}
    return replace(meta, provenance=meta.provenance | {"noticed": noticed})


def write_store(found: ingest.Series, run: Run, chosen: config.Storing) -> Meta:
    """Write the store, several shards at a time; return what it says of itself."""
    form = Form(chosen.dtype, chosen.compressor)
    with ParallelStoreWriter(run.series, found.meta, found.num_series, form) as writer:
        layout = writer.layout
        run_in_parallel(
            lambda shard: writer.fill(shard, found.read_rows(*layout.find_span(shard))),
            range(layout.shards),
            f"writing {run.series.name}",
        )
    return writer.meta


def cut_windows(settings: config.Config, run: Run, splits: np.ndarray) -> tuple[Store | Windows, str]:
    """Return the store, or its windows if they are asked for, of which those with too many gaps, or with one
    value alone, are left out.
    """
    store, chosen = Store.open(run.series), settings.data.windows
    if chosen.length is None:
        return store, ""
    windows = Windows(store, chosen.length, chosen.stride or chosen.length)
    bad = windows.find_unusable(np.arange(store.num_series), settings.data.max_missing)
    with writing(run.left_out_windows):
        np.save(run.left_out_windows, bad)
    if np.setdiff1d(windows.list_windows(np.flatnonzero(splits == "train")), bad).size == 0:
        raise UserError(
            f"no training window of {chosen.length} steps varies and has at most "
            f"{100 * settings.data.max_missing:g} % missing values; raise data.max_missing, or "
            "change data.windows"
        )
    summary = f"; {windows.num_series - len(bad)} windows of {windows.length} every {windows.stride} steps"
    return windows, summary + (f", {len(bad)} left out (too many missing, or constant)" if len(bad) else "")


def fit_scaler(settings: config.Config, run: Run, data: Store | Windows) -> Lengths | None:
    """Learn the scaler from the training split alone, a block at a time; return the stated ranges of series.

    Raises:
        UserError: nothing varies, values lie beyond `data.bounds`, or too few begin late or end early alike.
    """
    table = read_table(run.private_table)
    rows = select_rows(data, table, "train", run)
    bounds = settings.data.bounds
    recorded = RangeRecorder(data.select_part(rows))
    watched = BoundChecker(recorded, bounds, settings.data.store.dtype, len(rows))
    owners = number_owners(table, data, rows)
    scaler = Scaler.fit(watched, settings.data.scaling, bounds, owners, settings.bank.min_members)
    watched.refuse_beyond()
    private = settings.privacy.epsilon is not None
    if settings.data.start_ragged is not None and isinstance(data, Store) and not private:
        scaler = scaler.measure_season(data.select_part(rows), owners)
    more: dict[str, Any] = {}
    zeros = measure_zeros(settings, data, rows, owners)
    if zeros is not None:
        more["zeros"] = zeros.to_dict()
    statics = choose_statics(settings.bank.by, table.statics, table.labels) if settings.bank.by else ()
    lengths = measure_lengths(settings, data, recorded.list_ranges(), owners, count_numbers(statics))
    if lengths is not None:
        more["lengths"] = lengths.to_dict()
    if isinstance(data, Windows):
        more["windows"] = {"length": data.length, "stride": data.stride}
    write_scaler(run, scaler, data.meta, **more)
    return lengths


@dataclass
class BoundChecker:
    """Blocks [n, L, C] for a scaler; the first pass counts the values beyond the bounds.

    Rounding is no fault: 1e-6 of a series' largest size, and what `dtype` makes of the bound.
    """

    blocks: Iterable[np.ndarray]
    bounds: config.Bounds
    dtype: str
    series: int = 0
    measured: int = 0
    below: int = 0
    above: int = 0
    broken: int = 0  # values that are no multiples of the step
    reaching: int = 0  # values too far from 0 for float32 to hold the step
    lowest: float = np.inf
    highest: float = -np.inf
    fraction: float = 0.0  # one of them
    walked: bool = False

    def __iter__(self) -> Iterator[np.ndarray]:
        looking, self.walked = self.bounds != config.Bounds() and not self.walked, True
        with Progress("prepare: scaling", self.series, "series") as progress:
            for values in self.blocks:
                if looking:
                    self._survey_values(values)
                yield values
                progress.advance(len(values))

    def _survey_values(self, values: np.ndarray) -> None:
        there = ~np.isnan(values)
        size = 1e-6 * np.max(np.abs(values), axis=1, keepdims=True, where=there, initial=0)
        precision = float(np.finfo(self.dtype).eps)
        self.measured += int(there.sum())
        self.lowest = min(self.lowest, float(np.min(values, where=there, initial=np.inf)))
        self.highest = max(self.highest, float(np.max(values, where=there, initial=-np.inf)))
        lower, upper = self.bounds.lower, self.bounds.upper
        if lower is not None:
            self.below += int((values < lower - size - precision * abs(lower)).sum())
        if upper is not None:
            self.above += int((values > upper + size + precision * abs(upper)).sum())
        if (step := self.bounds.grid_step) is not None:
            broken = np.abs(values - round_to_multiples(values, step)) > size + precision * np.abs(values)
            self.broken += int(broken.sum())
            self.reaching += int((np.abs(values) > MOST_STEPS * step).sum())
            self.fraction = float(values[broken][0]) if broken.any() else self.fraction

    def refuse_beyond(self) -> None:
        """
        Raises:
            UserError: values lie beyond the bounds, at which generated series would be cut off, or are no
                multiples of the step, to which generated ones would be rounded.
        """
        if self.bounds != config.Bounds() and not self.walked:  # minmax learns nothing from them
            deque(self, maxlen=0)
        cut = "and generated series would be cut off there; "
        for count, key, bound, remedy in (
            (self.below, "lower", self.bounds.lower, "lower it"),
            (self.above, "upper", self.bounds.upper, "raise it"),
        ):
            if count:
                side = "below" if key == "lower" else "above"
                end = _round_out(self.lowest, -1) if key == "lower" else _round_out(self.highest, 1)
                raise UserError(
                    f"{100 * count / self.measured:.2g} % of the training values are {side} "
                    f"data.bounds.{key} {format_exact(bound)}, {end}, {cut}{remedy} to a public limit, or "
                    f"set data.bounds.{key}=null"
                )
        self._refuse_off_step()

    def _refuse_off_step(self) -> None:
        """
        Raises:
            UserError: values are no multiples of the step, or too large for float32 to hold it.
        """
        step, key = self.bounds.step, "integer=true"
        what = "whole numbers"
        if step is not None:
            what, key = f"multiples of {format_exact(step)}", f"step={format_exact(step)}"
        if self.broken:
            raise UserError(
                f"{100 * self.broken / self.measured:.2g} % of the training values are not {what}, e.g. "
                f"{format_exact(self.fraction)}, but data.bounds.{key} rounds generated values; leave it out"
            )
        if self.reaching:
            raise UserError(
                f"{100 * self.reaching / self.measured:.2g} % of the training values are more than "
                f"{MOST_STEPS:,} steps from 0, and float32 does not hold data.bounds.{key} there; use a "
                "larger step, or leave it out"
            )


def _round_out(value: float, way: int) -> str:
    """Return an extreme, rounded outward (1: up, -1: down) to two digits: the exact one is one owner's, and a
    bound at it would be, too.
    """
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else 1.0
    rounded = way * math.ceil(way * value / unit) * unit
    return f"the {'highest at most' if way > 0 else 'lowest at least'} {format_digits(rounded, 2)}"


def describe_precision(meta: Meta) -> str:
    stored = meta.provenance.get("stored_as")
    return f"; stored as float16, with an error of {stored['largest_error']:.2g} at most" if stored else ""


def list_used_splits(settings: config.Config) -> tuple[str, ...]:
    """Return the splits by name, with that of validation where there is one."""
    return (*SPLITS, VALIDATION) if settings.data.validation else SPLITS


def split_owners(settings: config.Config, owners: Sequence[str]) -> np.ndarray:
    """Return the split of each series by its owner: [n] str.

    Raises:
        UserError: a split with a share of owners gets none.
    """
    return assign_splits(
        owners,
        settings.data.splits,
        settings.seed,
        validation=settings.data.validation,
        suggest=settings.privacy.epsilon is None,
    )


def describe_validation(count: int) -> str:
    return f", {count} for validation" if count else ""


def read_source(settings: config.Config, place: Path) -> tuple[ingest.Series, np.ndarray]:
    """Return the source's series and the split of each; parsed parts are kept in `place` meanwhile.

    Raises:
        UserError: the source is unusable, a split would be left without enough series, or what is to be
            protected is not all that an owner has.
    """
    found = ingest.open_source(settings.data, place, survey=True)
    splits = split_owners(settings, found.owners)
    early_checks.refuse_early(settings, found, splits)
    return found, splits


def find_shape(settings: config.Config, run: Run) -> Shape:
    """Return the shape, from the store if there is one, else from the source.

    Raises:
        UserError: `prepare` would refuse the source.
    """
    if run.read_record("prepare") and run.series.exists():
        data, table = open_series(run), read_table(run.private_table)
        counts = [len(select_rows(data, table, name, run)) for name in (*SPLITS, VALIDATION)]
        labels = len(np.unique(table.labels)) if table.labels is not None else 0
        sizes = measure_statics(choose_statics(settings.bank.by, table.statics, table.labels))
        return Shape(counts[0], counts[1], counts[2], data.length, data.channels, labels, *sizes, counts[3])
    with open_cache_folder(None) as place:
        found, splits, suspicions = examine(settings, place)
    refuse_suspicions(suspicions, settings.data.source)
    length, channels = found.meta.axis.length, len(found.meta.channels)
    counts = [int((splits == name).sum()) for name in (*SPLITS, VALIDATION)]
    chosen = settings.data.windows
    if chosen.length is not None:
        each = (length - chosen.length) // (chosen.stride or chosen.length) + 1
        counts, length = [count * each for count in counts], chosen.length
    sizes = measure_statics(choose_statics(settings.bank.by, found.statics, found.labels))
    return Shape(
        counts[0], counts[1], counts[2], length, channels, len(set(found.labels or ())), *sizes, counts[3]
    )


def measure_statics(statics: Sequence[StaticAttribute]) -> tuple[int, int]:
    """Return the numbers that are released of a group for attributes, and those of a condition for them."""
    widths = [1 if each.is_number else len(set(each.cells[each.cells != ""])) for each in statics]
    return count_numbers(statics), sum(widths) + len(widths)


def describe(settings: config.Config, shape: Shape) -> str:
    return (
        f"reads {settings.data.source}: {shape.train} series to train on, {shape.held_out} held out, "
        f"{shape.reference} for reference{describe_validation(shape.validation)}, each "
        f"{shape.length} x {shape.channels}"
    )
