"""Synthetic and real series -> report.html and report.json: scores beside their floors, and pictures."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import distgan
from distgan import config, draws, privacy
from distgan.conditions import Bank
from distgan.data.store import SPLITS, Store, Table, private_table, read_table
from distgan.data.windows import Windows
from distgan.evaluation import fidelity, plots, report
from distgan.files import read_json
from distgan.parallel import Parallel
from distgan.runs import Run
from distgan.stages.bank import TRACING, promised
from distgan.stages.cluster import CHOICE
from distgan.stages.common import open_series, samples
from distgan.stages.prepare import Shape

DAY = 86400  # seconds
SHOWN = (
    "model.name",
    "model.patch",
    "objective.loss",
    "objective.penalty.kind",
    "train.steps",
    "train.batch_size",
)
TRAININGS = ("encoder", "gan")


def run(settings: config.Config, folder: Run, parallel: Parallel) -> dict[str, Any]:
    real = open_series(folder)
    synthetic = Store.open(folder.need(folder.synthetic, "generate"))
    table = read_table(private_table(folder.series))
    sets = {name: real.rows(compared(real, table, name, settings, folder)) for name in SPLITS}
    made = synthetic.rows(np.arange(synthetic.num_series))
    steps_per_day = DAY / real.meta.axis.step_seconds
    results = fidelity.evaluate(
        sets["train"],
        sets["holdout"],
        made,
        sets["reference"],
        steps_per_day=steps_per_day,
        seed=settings.evaluate.seed,
        max_series=settings.evaluate.max_series,
        owners={name: split.owners for name, split in splits(table).items()},
    )
    view = plots.View(
        real.meta.axis.times(), steps_per_day, real.meta.units, channel_name=real.meta.channels[0]
    )
    pictures: list[plots.Picture] = []
    if settings.evaluate.pictures:
        pictures = plots.pictures(sets["holdout"], made, view, seed=settings.evaluate.seed)
        pictures += pictures_of_training(folder)
    report.write(folder.report, folder.scores, results, facts(settings, folder, real, table), pictures)
    return {"summary": results["verdict"][0]["text"]}


def compared(
    real: Store | Windows, table: Table, split: str, settings: config.Config, folder: Run
) -> np.ndarray:
    """The series of a split; of windows, which can be millions, a random part that is enough for scores."""
    rows = samples(real, table, split, folder)
    if isinstance(real, Store) or len(rows) <= settings.evaluate.max_series:
        return rows
    rng = draws.generator(settings.evaluate.seed, 0, f"windows of {split}")
    return np.sort(rng.choice(rows, settings.evaluate.max_series, replace=False))


def splits(table: Table) -> dict[str, report.Split]:
    found = {}
    for name in ("train", "holdout", "reference"):
        rows = table.rows(name)
        entities, owners = (len(np.unique(np.asarray(ids)[rows])) for ids in (table.entities, table.owners))
        found[name] = report.Split(len(rows), entities, owners)
    return found


def facts(settings: config.Config, folder: Run, store: Store | Windows, table: Table) -> report.Facts:
    """What the report says of the run."""
    meta, provenance = store.meta, store.meta.provenance
    bank = Bank.load(folder.need(folder.bank, "bank"))
    records = {stage: folder.done(stage) or {} for stage in config.STAGES}
    tree = {name: value for name, value in settings.flat().items() if name in SHOWN}
    return report.Facts(
        name=folder.folder.name,
        source=str(provenance.get("source", "")),
        unit=meta.units,
        channels=meta.channels,
        start=meta.axis.start,
        step_seconds=meta.axis.step_seconds,
        length=meta.axis.length,
        splits=splits(table),
        left_out=Counter(records["prepare"].get("left_out", {})),
        groups=report.Groups(
            sizes=[int(size) for size in bank.sizes],
            effective=[float(members) for members in bank.effective],
            tracing_auc=[float(auc) for auc in bank.tracing_auc],
            floor=bank.floor,
            tracing_limit=settings.bank.max_tracing_auc,
            attacks=kept(folder.clusters / TRACING) or [],
            promise="" if bank.promise is None else f"The bank is {promised(bank)}.",
            covered=[] if bank.promise is None else [privacy.COVERED, privacy.NOT_COVERED],
            study=bank.settings.study,
        ),
        settings=tree,
        stages={stage: record["summary"] for stage, record in records.items() if "summary" in record},
        credit=str(provenance.get("credit", "")),
        version=distgan.__version__,
        identity=settings.identity,
    )


def kept(path: Path) -> Any:
    """What a file of the run says, or None: banks can be given away without their private files."""
    return read_json(path) if path.exists() else None


def picture_of_choice(folder: Run) -> list[plots.Picture]:
    """How the number of clusters was chosen, if it was."""
    choice = kept(folder.clusters / CHOICE)
    if choice is None:
        return []
    return [
        plots.Picture(
            "elbow",
            "How many clusters",
            f"{choice['count']} were chosen by the {choice['criterion']}; groups that were too small have "
            "joined "
            "others since.",
            "Inertia and mean silhouette over the number of clusters.",
            plots.elbow(**choice),
        )
    ]


def pictures_of_training(folder: Run) -> list[plots.Picture]:
    bank = Bank.load(folder.bank)
    auc = [float(value) for value in bank.tracing_auc]
    groups = plots.groups(
        bank.sizes.tolist(), floor=bank.floor, tracing=auc, limit=bank.settings.max_tracing_auc
    )
    lines = {
        stage: [json.loads(line) for line in folder.metrics(stage).read_text().splitlines()]
        for stage in TRAININGS
        if folder.metrics(stage).exists()
    }
    return [
        *picture_of_choice(folder),
        plots.Picture(
            "groups",
            "Groups behind the conditions",
            "Every released mean stands for a group; the line is the fewest entities allowed.",
            "Bars of the number of entities in each group, with the floor and the tracing bound.",
            groups,
        ),
        plots.Picture(
            "losses",
            "Training over time",
            "What each network minimised, and what was watched.",
            "Curves of the losses of the encoder and of the GAN over steps.",
            plots.losses(lines),
        ),
    ]


def describe(settings: config.Config, of: Shape) -> str:
    return f"scores the synthetic series against {of.holdout} held-out ones and writes the report"
