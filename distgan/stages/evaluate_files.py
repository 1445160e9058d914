"""Two files, of real and of synthetic series -> report.html and report.json, where nothing else is known."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import distgan
from distgan import config
from distgan.data import ingest
from distgan.data.splits import assign_splits
from distgan.data.store import SPLITS, Meta
from distgan.errors import UserError
from distgan.evaluation import fidelity, pictures, report
from distgan.evaluation.plots import view_of
from distgan.evaluation.verdict import COPIER, REAL
from distgan.files import read_json
from distgan.stages.evaluate import measured

UNKNOWN = (
    "How the synthetic series were made: by which model, from which real ones, and whether anything was "
    "averaged before.",
    "Which of the real series were learned from. The file of real ones was split by owner here: “training” "
    "series only make the copier and the other floors, the hold-out is the measure. A copy of a real series "
    "is noticed where that series fell into the training split.",
)
MEANINGS = {
    REAL: "other real series of the same file: what a perfect generator would reach",
    COPIER: "a part of the real series, copied: perfect at imitation, worthless as anonymisation",
}


def run(arguments: Sequence[str]) -> str:
    """`--real FILE --synthetic FILE [--out FOLDER] [key.sub=value ...]`; the report, for a terminal.

    Raises:
        UserError: a file cannot be read, or the two do not fit together.
    """
    options = parsed(arguments)
    settings = config.load(None, options.overrides)
    real, made = (
        ingest.read(settings.data.model_copy(update={"source": source}))
        for source in (options.real, options.synthetic)
    )
    refuse_unlike(options.real, real.meta, options.synthetic, made.meta)
    splits = assign_splits(real.owners, settings.data.splits, settings.seed)
    sets = {name: real.values[splits == name] for name in SPLITS}
    counts = {name: counted(real, splits == name) for name in SPLITS}
    owners = {name: split.owners for name, split in counts.items()}
    owner_of = {name: np.asarray(real.owners)[splits == name] for name in fidelity.TESTED}
    results = measured(sets, made.values, real.meta, settings.evaluate, owners, owner_of)
    for row in results["rows"]:
        row["meaning"] = MEANINGS.get(row["name"], row["meaning"])
    view = replace(view_of(real.meta, seed=settings.evaluate.seed), real="Real")
    drawn = pictures.drawn(sets["holdout"], made.values, view, settings.evaluate.real_curves)
    page, scores = options.out / "report.html", options.out / "report.json"
    known = facts(settings, options, real, made, counts)
    report.write(page, scores, results, known, drawn.pictures, first=drawn.first, explorer=drawn.explorer)
    return f"report    {page}\n\n{report.markdown(read_json(scores))}"


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="distgan evaluate", description="Judge a file of synthetic series by a file of real ones."
    )
    kinds = "CSV, Parquet, NPY, NPZ, folder or store, as data.source"
    parser.add_argument("--real", required=True, help=kinds)
    parser.add_argument("--synthetic", required=True, help="the same, with the same steps")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder of the report (%(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="settings of data and evaluate")
    return parser.parse_intermixed_args(arguments)


def refuse_unlike(real: str, one: Meta, synthetic: str, two: Meta) -> None:
    """
    Raises:
        UserError: steps, lengths, channels or times differ.
    """
    told = {
        "steps of {} s": (one.axis.step_seconds, two.axis.step_seconds),
        "series of {} steps": (one.axis.length, two.axis.length),
        "channels {}": (", ".join(one.channels), ", ".join(two.channels)),
        "times from {}": (one.axis.start, two.axis.start),
    }
    if one.nominal or two.nominal:
        del told["steps of {} s"], told["times from {}"]  # one of them says nothing about time
    if len(one.channels) == len(two.channels) == 1:
        del told["channels {}"]  # a name alone makes no difference
    for text, (here, there) in told.items():
        if here != there:
            raise UserError(
                f"{real} has {text.format(here)}, {synthetic} {text.format(there)}; "
                "both must have the same steps, length, channels and times"
            )


def counted(series: ingest.Raw, chosen: np.ndarray) -> report.Split:
    people, owners = (set(np.asarray(names)[chosen]) for names in (series.entities, series.owners))
    return report.Split(int(chosen.sum()), len(people), len(owners))


def facts(
    settings: config.Config,
    options: argparse.Namespace,
    real: ingest.Raw,
    made: ingest.Raw,
    counts: dict[str, report.Split],
) -> report.Facts:
    """What the two files say, and what they do not."""
    meta, timeless = (
        real.meta,
        [name for name, m in (("real", real.meta), ("synthetic", made.meta)) if m.nominal],
    )
    times = [f"Times of the {name} series: the file tells none." for name in timeless]
    left_out = {
        f"{name}, {why}": n
        for name, raw in (("real", real), ("synthetic", made))
        for why, n in raw.left_out.items()
    }
    return report.Facts(
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
