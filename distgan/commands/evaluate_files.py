"""Two files, of real and of synthetic series -> report.html and report.json, where no run is known."""

from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import distgan
from distgan import config
from distgan.arguments import FilePair
from distgan.command_line import Result
from distgan.csvtext import unescape_cell
from distgan.data import ingest
from distgan.data.calendar import ISO_YEAR
from distgan.data.checks.suspicions import refuse_suspicions
from distgan.data.formats.zone_marks import parse_offset
from distgan.data.splits import assign_splits
from distgan.data.store.metadata import Meta
from distgan.data.store.private_table import SPLITS
from distgan.errors import UserError
from distgan.evaluation.metrics import fidelity
from distgan.evaluation.plots import catalogue
from distgan.evaluation.plots.style import make_view
from distgan.evaluation.report import writer
from distgan.evaluation.report.verdict import COPIER, REAL
from distgan.evaluation.results import Facts, Findings, Report, Split
from distgan.files import read_json
from distgan.memory import set_host_memory
from distgan.pipeline.evaluate import compute_scores, note_samples, sample_series
from distgan.pipeline.source_summary import find_suspicions
from distgan.progress import say
from distgan.run import Run

ALIGN = (
    "; --align sum (energies, counts) or --align mean (powers, temperatures) brings them to the longer steps"
)
REMEDIES = {  # by what differs
    "series of {} steps": "; cut both to one time axis (data.axis)",
    "times from {}": "; give both the same times (without generate.start a run exports those of its data)",
}
UNKNOWN = (
    "How the synthetic series were made: by which model, from which real series, and whether real series "
    "were averaged first.",
    "Which of the real series the generator was trained on. The real file was split by owner here: the "
    "“training” part is used for the copier and the other baselines only, and the held-out part is the "
    "reference. A copied real series is detected only if it is in the training part.",
)
STATED = (
    "Whether the real series were really not trained on: the command stated that all of them are held out."
)
OF_HALF = (
    "The baselines (“training” series among them) are made of one half of their owners; all rows are "
    "measured against the other half, and two-sample tests against both."
)
COPIES = (
    "“Training” series are {:,} real ones of the file here, of which baselines are made; copies of the "
    "others were not looked for."
)
RAGGED = "; set data.start_ragged if they begin late or end early"
MISREAD = (
    "sentinel",
    "thousands",
    "flags",
    "totals",
    "calendar",
    "doubled_hour",
)  # of what `inspect` notices
HALVES = config.Splits(train=0.5, held_out=0.5, reference=0)
MEANINGS = {
    REAL: "other real series of the same file: what a perfect generator would reach",
    COPIER: "a part of the real series, copied: perfect at imitation, worthless as anonymisation",
}


def run(options: FilePair) -> Result:
    """Compare the two files and write the report.

    Raises:
        UserError: a file cannot be read, or the two do not fit together.
    """
    settings = options.settings
    set_host_memory(settings.engine.host_memory_mib)
    real, made = read_series(options, is_real=True), read_series(options, is_real=False)
    if options.align is not None:
        real, made = align_steps(options, real, made)
    refuse_other_meaning(options.real, real.meta, options.synthetic, made.meta)
    refuse_unlike(options.real, real.meta, options.synthetic, made.meta)
    divided = divide_series(options, real)
    sets, counts = divided.sets, divided.counts
    compared = fidelity.Sets(
        **sets,
        synthetic=made.values,
        owners={name: split.owners for name, split in counts.items()},
        owner_of=divided.owner_of,
    )
    found = explain_rows(options, compute_scores(compared, real.meta, settings.evaluate))
    found = add_counts(found, divided, made)
    drawn = catalogue.Drawings()
    if settings.evaluate.pictures:
        view = replace(make_view(real.meta, seed=settings.evaluate.seed), real="Real")
        drawn = catalogue.draw_all(
            sets["held_out"],
            made.values,
            view,
            settings.evaluate.real_curves,
            compared.owner_of["held_out"],
        )
    page, scores = Run(options.out).report, Run(options.out).scores
    known = collect_facts(settings, options, real, made, counts)
    writer.write_report(page, scores, found, known, drawn)
    content = read_json(scores)
    text = writer.format_markdown(Report.from_json(content, str(scores)))
    return Result(f"report    {page}\n\n{text}", content)


@dataclass(frozen=True)
class DividedSeries:
    """The real series by split, the number of series in the files, and the owners of those not trained on."""

    sets: dict[str, np.ndarray]
    counts: dict[str, Split]
    owner_of: dict[str, np.ndarray]


def divide_series(options: FilePair, real: ingest.Raw) -> DividedSeries:
    """Divide the real series by the given split.

    With --training all are held out. With --all-held-out one half of the owners is the reference set, of
    which the baselines are made, and the other half is what all rows are measured against; two-sample tests
    use both halves. Without either, a keyed split by owner decides.

    Raises:
        UserError: the file of --training cannot be read or does not fit the real series.
    """
    settings = options.settings
    owners = np.asarray(real.owners)
    if options.training is not None:
        training = read_series(replace(options, real=options.training, all_held_out=True), is_real=True)
        refuse_other_meaning(options.training, training.meta, options.real, real.meta)
        refuse_unlike(options.training, training.meta, options.real, real.meta)
        everything = np.ones(len(owners), bool)
        counts = {
            "train": count_series(training, np.ones(len(training.owners), bool)),
            "held_out": count_series(real, everything),
            "reference": Split(0, 0, 0),
        }
        sets = {"train": training.values, "held_out": real.values, "reference": real.values[:0]}
        owner_of = {"held_out": owners[real.rows], "reference": owners[:0]}
        return DividedSeries(sets, counts, owner_of)
    shares = HALVES if options.all_held_out else settings.data.splits
    splits = assign_splits(real.owners, shares, settings.seed)
    chosen = splits[real.rows]
    sets = {name: real.values[chosen == name] for name in SPLITS}
    counts = {name: count_series(real, splits == name) for name in SPLITS}
    owner_of = {name: owners[real.rows[chosen == name]] for name in fidelity.TESTED}
    if options.all_held_out:  # nothing was trained on: the baselines are made of the reference set
        sets["reference"] = sets["train"]
        owner_of["reference"] = owners[real.rows[chosen == "train"]]
        counts["reference"], counts["train"] = counts["train"], Split(0, 0, 0)
    return DividedSeries(sets, counts, owner_of)


def read_series(options: FilePair, is_real: bool, reduce: config.Reduce | None = None) -> ingest.Raw:
    """Read the series of one of the files, or a random sample of them: of each split of the real file, and of
    the synthetic file, `evaluate.max_series` at most.

    Args:
        reduce: steps to merge, if other than in data.reduce.
    """
    settings = options.settings
    changes: dict[str, Any] = {"source": options.real if is_real else options.synthetic}
    if reduce is not None:
        changes["reduce"] = reduce

    def choose_rows(found: ingest.Series) -> np.ndarray:
        if is_real:
            refuse_misread(options, str(changes["source"]), found)
        if not is_real or found.num_series <= settings.evaluate.max_series:
            return sample_series(np.arange(found.num_series), "synthetic", settings.evaluate)
        if options.is_unseen:
            return sample_series(np.arange(found.num_series), "held_out", settings.evaluate)
        splits = assign_splits(found.owners, settings.data.splits, settings.seed)
        parts = [sample_series(np.flatnonzero(splits == name), name, settings.evaluate) for name in SPLITS]
        return np.sort(np.concatenate(parts))

    found = ingest.read(settings.data.model_copy(update=changes), choose_rows, survey=is_real)
    for why, count in found.left_out.items():
        if count:
            hint = RAGGED if "missing" in why and settings.data.start_ragged is None else ""
            say(f"left out   {count:,} {'real' if is_real else 'synthetic'} series: {why}{hint}")
    return found


def refuse_misread(options: FilePair, path: str, found: ingest.Series) -> None:
    """
    Raises:
        UserError: real values seem to mean something else than they say, and data.accept does not name it.
    """
    noticed = find_suspicions(options.settings, found)
    refuse_suspicions([each for each in noticed if each.name in MISREAD], path)


def add_counts(found: Findings, divided: "DividedSeries", made: ingest.Raw) -> Findings:
    """Add to the page how many series the files have, and, where not all are compared, how many are."""
    whole = {name: split.series for name, split in divided.counts.items()} | {"synthetic": len(made.owners)}
    compared = {name: len(series) for name, series in divided.sets.items()} | {"synthetic": len(made.values)}
    found = note_samples(found, compared, whole)
    number = found.fidelity.n.model_copy(update=whole)
    return found.model_copy(update={"fidelity": found.fidelity.model_copy(update={"n": number})})


def explain_rows(options: FilePair, found: Findings) -> Findings:
    """Describe the rows of real series, and among which ones copies were looked for."""
    known, table = options.training is not None, found.fidelity
    meanings = {REAL: MEANINGS[REAL]} if known else MEANINGS
    rows = [row.model_copy(update={"meaning": meanings.get(row.name, row.meaning)}) for row in table.rows]
    sentences = [
        each.model_copy(update={"text": f"{each.text} {COPIES.format(table.n.train)}"})
        if each.topic == "copies" and not known
        else each
        for each in table.verdict
    ]
    changes = {"rows": rows, "verdict": sentences}
    return found.model_copy(update={"fidelity": table.model_copy(update=changes)})


def align_steps(options: FilePair, real: ingest.Raw, made: ingest.Raw) -> tuple[ingest.Raw, ingest.Raw]:
    """Return both series in the longer of their steps, by sums or means as --align requires.

    Raises:
        UserError: the longer steps are no multiple of the shorter ones.
    """
    many = find_step_ratio(real.meta, made.meta)
    if min(many.numerator, many.denominator) > 1:
        raise UserError(
            f"--align: steps of {real.meta.axis.step_seconds} s in {options.real} and of "
            f"{made.meta.axis.step_seconds} s in {options.synthetic} do not divide each other; bring both to "
            "one step with data.resample.step=…"
        )
    if many == 1:
        return real, made
    factor = options.settings.data.reduce.factor * max(many.numerator, many.denominator)
    assert options.align is not None
    merged = read_series(options, many > 1, config.Reduce(factor=factor, method=options.align))
    return (merged, made) if many > 1 else (real, merged)


def find_step_ratio(real: Meta, made: Meta) -> Fraction:
    """Return how many steps of `real` make one of `made`. Where one has no times, the lengths decide."""
    if real.is_nominal or made.is_nominal:
        return Fraction(real.axis.length, made.axis.length)
    return Fraction(made.axis.step_seconds, real.axis.step_seconds)


def refuse_unlike(real: str, one: Meta, synthetic: str, two: Meta) -> None:
    """Refuse files that cannot be compared.

    Raises:
        UserError: steps, lengths, channels or times differ.
    """
    compared = {
        "steps of {} s": (one.axis.step_seconds, two.axis.step_seconds),
        "series of {} steps": (one.axis.length, two.axis.length),
        "channels {}": (", ".join(one.channels), ", ".join(two.channels)),
        "times from {}": (one.axis.start, two.axis.start),
    }
    if one.is_nominal or two.is_nominal:
        del compared["steps of {} s"], compared["times from {}"]  # one of them says nothing about time
    if is_iso_year(one) and is_iso_year(two):
        compared.pop("times from {}", None)  # weeks from a Monday, of whichever years
    if [unescape_cell(name) for name in one.channels] == [unescape_cell(name) for name in two.channels]:
        del compared["channels {}"]  # as a table holds them
    elif len(one.channels) == len(two.channels) == 1:
        del compared["channels {}"]  # a name alone makes no difference
    for text, (here, there) in compared.items():
        if here != there:
            raise UserError(
                f"{real} has {text.format(here)}, {synthetic} {text.format(there)}; "
                "both must have the same steps, length, channels and times"
                + (ALIGN if find_step_ratio(one, two) != 1 else REMEDIES.get(text, ""))
            )


def refuse_other_meaning(real: str, one: Meta, synthetic: str, two: Meta) -> None:
    """Refuse files whose numbers do not mean the same.

    Raises:
        UserError: units, or the clocks of their times, are known and differ.
    """
    if one.units and two.units and one.units != two.units:
        raise UserError(
            f"{real} has values in {one.units}, {synthetic} in {two.units}; convert one of them, or set "
            "data.units=UNIT if only the names differ"
        )
    clocks = [str(meta.provenance.get("clock", "")) for meta in (one, two)]
    offsets = [None if meta.is_nominal else find_offset(clock) for meta, clock in zip((one, two), clocks)]
    if None not in offsets and offsets[0] != offsets[1]:
        raise UserError(
            f"{real} has times in {clocks[0]}, {synthetic} in {clocks[1]}; bring both to one clock, e.g. "
            "with data.timezone=Europe/London"
        )


def is_iso_year(meta: Meta) -> bool:
    """Return whether series were cut into 52 weeks from a Monday (data.cut=iso_years)."""
    return bool(meta.provenance.get("years")) and meta.axis.length * meta.axis.step_seconds == ISO_YEAR


def find_offset(clock: str) -> timedelta | None:
    """Return how far a clock is ahead of UTC, where it says so (`UTC+05:00`, `Z`); else None."""
    return parse_offset(clock.partition(" (")[0])


def count_series(series: ingest.Raw, chosen: np.ndarray) -> Split:
    people, owners = (set(np.asarray(names)[chosen]) for names in (series.entities, series.owners))
    return Split(int(chosen.sum()), len(people), len(owners))


def collect_facts(
    settings: config.Config,
    options: FilePair,
    real: ingest.Raw,
    made: ingest.Raw,
    counts: dict[str, Split],
) -> Facts:
    """Collect what is known of the two files."""
    meta, timeless = (
        real.meta,
        [name for name, m in (("real", real.meta), ("synthetic", made.meta)) if m.is_nominal],
    )
    unknown = UNKNOWN
    if options.training is not None:
        unknown = (UNKNOWN[0], f"{STATED} The baselines are made of the series of --training.")
    elif options.all_held_out:
        unknown = (UNKNOWN[0], f"{STATED} {OF_HALF}")
    times = [f"Times of the {name} series: the file gives none." for name in timeless]
    left_out = {
        f"{name}, {why}": n
        for name, raw in (("real", real), ("synthetic", made))
        for why, n in raw.left_out.items()
    }
    return Facts(
        name=Path(options.synthetic).stem,
        source=Path(options.real).name,
        unit=meta.units,
        channels=meta.channels,
        start=meta.axis.start,
        step_seconds=meta.axis.step_seconds,
        length=meta.axis.length,
        nominal=meta.is_nominal,
        splits=counts,
        left_out=left_out,
        unknown=[*unknown, *times],
        real_curves=settings.evaluate.real_curves,
        version=distgan.__version__,
    )
