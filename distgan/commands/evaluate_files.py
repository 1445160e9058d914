"""Two files, of real and of synthetic series -> report.html and report.json, where nothing else is known."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

import distgan
from distgan import config
from distgan.arguments import FilePair
from distgan.command_line import Result
from distgan.csvtext import unescape_cell
from distgan.data import ingest
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
from distgan.pipeline.evaluate import compute_scores
from distgan.run import Run

ALIGN = (
    "; --align sum (energies, counts) or --align mean (powers, temperatures) brings them to the longer steps"
)
UNKNOWN = (
    "How the synthetic series were made: by which model, from which real series, and whether real series "
    "were averaged first.",
    "Which of the real series the generator was trained on. The real file was split by owner here: the "
    "“training” part is used for the copier and the other baselines only, and the held-out part is the "
    "reference. A copied real series is detected only if it is in the training part.",
)
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
    real, made = (
        ingest.read(settings.data.model_copy(update={"source": source}))
        for source in (options.real, options.synthetic)
    )
    if options.align is not None:
        real, made = aligned(options, settings.data, real, made)
    refuse_unlike(options.real, real.meta, options.synthetic, made.meta)
    splits = assign_splits(real.owners, settings.data.splits, settings.seed)
    sets = {name: real.values[splits == name] for name in SPLITS}
    counts = {name: count_series(real, splits == name) for name in SPLITS}
    compared = fidelity.Sets(
        **sets,
        synthetic=made.values,
        owners={name: split.owners for name, split in counts.items()},
        owner_of={name: np.asarray(real.owners)[splits == name] for name in fidelity.TESTED},
    )
    found = explain_rows(compute_scores(compared, real.meta, settings.evaluate))
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
    writer.write(page, scores, found, known, drawn)
    content = read_json(scores)
    text = writer.format_markdown(Report.from_json(content, str(scores)))
    return Result(f"report    {page}\n\n{text}", content)


def explain_rows(found: Findings) -> Findings:
    """Say of the rows of real series what they are where both sides come from files."""
    rows = [
        row.model_copy(update={"meaning": MEANINGS.get(row.name, row.meaning)}) for row in found.fidelity.rows
    ]
    return found.model_copy(update={"fidelity": found.fidelity.model_copy(update={"rows": rows})})


def aligned(
    options: FilePair, data: config.Data, real: ingest.Raw, made: ingest.Raw
) -> tuple[ingest.Raw, ingest.Raw]:
    """Return both series in the longer of their steps, by sums or means as --align says.

    Raises:
        UserError: the longer steps are no multiple of the shorter ones.
    """
    many = ratio(real.meta, made.meta)
    if min(many.numerator, many.denominator) > 1:
        raise UserError(
            f"--align: steps of {real.meta.axis.step_seconds} s in {options.real} and of "
            f"{made.meta.axis.step_seconds} s in {options.synthetic} do not divide each other; bring both to "
            "one step with data.resample.step=…"
        )
    if many == 1:
        return real, made
    finer = options.real if many > 1 else options.synthetic
    factor = data.reduce.factor * max(many.numerator, many.denominator)
    assert options.align is not None
    reduce = config.Reduce(factor=factor, method=options.align)
    read = ingest.read(data.model_copy(update={"source": finer, "reduce": reduce}))
    return (read, made) if many > 1 else (real, read)


def ratio(real: Meta, made: Meta) -> Fraction:
    """Return how many steps of `real` make one of `made`. Where one says nothing about time, the lengths
    decide.
    """
    if real.nominal or made.nominal:
        return Fraction(real.axis.length, made.axis.length)
    return Fraction(made.axis.step_seconds, real.axis.step_seconds)


def refuse_unlike(real: str, one: Meta, synthetic: str, two: Meta) -> None:
    """
    Raises:
        UserError: steps, lengths, channels or times differ.
    """
    compared = {
        "steps of {} s": (one.axis.step_seconds, two.axis.step_seconds),
        "series of {} steps": (one.axis.length, two.axis.length),
        "channels {}": (", ".join(one.channels), ", ".join(two.channels)),
        "times from {}": (one.axis.start, two.axis.start),
    }
    if one.nominal or two.nominal:
        del compared["steps of {} s"], compared["times from {}"]  # one of them says nothing about time
    if [unescape_cell(name) for name in one.channels] == [unescape_cell(name) for name in two.channels]:
        del compared["channels {}"]  # as a table holds them
    elif len(one.channels) == len(two.channels) == 1:
        del compared["channels {}"]  # a name alone makes no difference
    for text, (here, there) in compared.items():
        if here != there:
            raise UserError(
                f"{real} has {text.format(here)}, {synthetic} {text.format(there)}; "
                "both must have the same steps, length, channels and times"
                + (ALIGN if ratio(one, two) != 1 else "")
            )


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
    """What the two files say, and what they do not."""
    meta, timeless = (
        real.meta,
        [name for name, m in (("real", real.meta), ("synthetic", made.meta)) if m.nominal],
    )
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
        splits=counts,
        left_out=left_out,
        unknown=[*UNKNOWN, *times],
        real_curves=settings.evaluate.real_curves,
        version=distgan.__version__,
    )
