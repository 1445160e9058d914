"""Synthetic and real series -> report.html and report.json: scores beside their baselines, and pictures."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import distgan
from distgan import config
from distgan.anonymity import dp
from distgan.anonymity.bank import Bank
from distgan.data.store.metadata import DAY, Meta
from distgan.data.store.private_table import SPLITS, VALIDATION, Table, read_table
from distgan.data.store.reader import Store
from distgan.data.windows import Windows
from distgan.evaluation.metrics import (
    dates,
    entity_loads,
    fidelity,
    loads,
    plain_statistics,
    two_sample_table,
    utility,
)
from distgan.evaluation.metrics.gaps import copy_gaps
from distgan.evaluation.plots import catalogue, interactive, population, style, training
from distgan.evaluation.plots.style import make_view
from distgan.evaluation.report import writer
from distgan.evaluation.report.answers import answer_good
from distgan.evaluation.results import Facts, Findings, Groups, Report, Sentence, Split
from distgan.files import read_json, read_lines
from distgan.pipeline.attack import Target, run_attacks
from distgan.pipeline.attribute_report import compare_attributes
from distgan.pipeline.build_bank import format_guarantee
from distgan.pipeline.context import PipelineContext, Shape
from distgan.pipeline.training_data import find_credit, number_owners, open_series, select_rows
from distgan.rng import make_keyed_generator
from distgan.run import Run

SHOWN = (
    "model.name",
    "model.patch",
    "objective.loss",
    "objective.penalty.kind",
    "train.steps",
    "train.batch_size",
)
TRAININGS = ("encoder", "gan")


def run(context: PipelineContext) -> dict[str, Any]:
    """Score the synthetic series and write the report; return the record of the stage."""
    settings, run = context.settings, context.run
    real, table = open_series(run), read_table(run.private_table)
    synthetic = Store.open(run.need(run.synthetic, "generate"))
    whole = {name: select_rows(real, table, name, run) for name in SPLITS}
    whole["synthetic"] = np.arange(synthetic.num_series)
    rows = {name: sample_series(found, name, settings.evaluate) for name, found in whole.items()}
    sets = fidelity.Sets(
        **{name: real.read_rows(rows[name]) for name in SPLITS},
        synthetic=synthetic.read_rows(rows["synthetic"]),
        owners={name: split.owners for name, split in count_splits(table).items()},
        owner_of={name: number_owners(table, real, rows[name]) for name in fidelity.TESTED},
    )
    counts, sampled = ({name: len(each) for name, each in part.items()} for part in (whole, rows))
    found = note_samples(compute_scores(sets, real.meta, settings.evaluate), sampled, counts)
    series = {name: getattr(sets, name) for name in rows}
    found = found.model_copy(
        update={
            "fidelity": found.fidelity.model_copy(update={"n": found.fidelity.n.model_copy(update=counts)}),
            "privacy": run_attacks(
                context, most=settings.evaluate.max_series, target=Target.sample_of(context)
            ),
            "attributes": compare_attributes(run, settings, table, real, rows, series),
        }
    )
    windows = {name: counts[name] for name in SPLITS} if isinstance(real, Windows) else {}
    facts = collect_facts(settings, run, real.meta, table, windows)
    pictures = draw_pictures(context, sets, real.meta)
    writer.write_report(run.report, run.scores, found, facts, pictures)
    answer = answer_good(found)
    return {"summary": f"{answer.question} {answer.short}. {answer.text}"}


def draw_pictures(context: PipelineContext, sets: fidelity.Sets, meta: Meta) -> catalogue.Drawings:
    """Draw the pictures of series and of the training, none without `evaluate.pictures`."""
    chosen = context.settings.evaluate
    if not chosen.pictures:
        return catalogue.Drawings()
    view = make_view(meta, seed=chosen.seed)
    owners = sets.owner_of["held_out"]
    drawn = catalogue.draw_all(sets.held_out, sets.synthetic, view, chosen.real_curves, owners)
    drawn.pictures.extend(draw_training_pictures(context.run))
    return drawn


def compute_scores(sets: fidelity.Sets, meta: Meta, chosen: config.Evaluate) -> Findings:
    """Compute scores and utility of synthetic series beside real ones; the attacks are `run_attacks`."""
    steps_per_day = meta.axis.steps_per_day
    table = fidelity.evaluate(
        sets,
        steps_per_day,
        seed=chosen.seed,
        max_series=chosen.max_series,
        networks=fidelity.TrainedScores(chosen.recurrent_steps, chosen.backbones),
    )
    useful = utility.evaluate(
        sets.train,
        sets.held_out,
        sets.synthetic,
        steps_per_day=steps_per_day,
        seed=chosen.seed,
        held_out_owners=sets.owner_of["held_out"],
    )
    tests = two_sample_table.evaluate(join_unseen(sets), steps_per_day, chosen.seed)
    said = [Sentence(tone=each.tone, text=each.sentence) for each in (tests, useful) if each is not None]
    said += describe_odd_days(join_unseen(sets), meta)
    kept = [each for each in table.verdict if tests is None or each.topic != "classifier"]
    table = table.model_copy(update={"verdict": [*kept, *said]})
    return Findings(fidelity=table, tests=tests, utility=useful, **describe_plainly(sets, meta, chosen))


def describe_odd_days(sides: two_sample_table.Sides, meta: Meta) -> list[Sentence]:
    """Say on how many days the mean of synthetic series is not that of real ones, if on any; windows have no
    days in common.
    """
    if "windows" in meta.provenance:
        return []
    found = dates.find_odd_days(sides.real, sides.synthetic, sides.owners, meta.axis.steps_per_day)
    if found is None or not len(found.days):
        return []
    channel = f" of the channel {meta.channels[found.channel]}" if len(meta.channels) > 1 else ""
    text = (
        f"On {len(found.days)} of {found.tested} days the mean of all series differs significantly from that "
        f"of real ones never trained on; most on {name_day(meta, found.most)}, where "
        f"synthetic series{channel} lie {abs(found.gap):.2f} own standard deviations "
        f"{'higher' if found.gap > 0 else 'lower'}."
    )
    return [Sentence(tone="warn", text=text)]


def name_day(meta: Meta, place: int) -> str:
    """Return the date of a day of the record, or its number where series of several years, or no times, have
    none.
    """
    if meta.is_nominal or len(meta.provenance.get("years", ())) > 1:
        return f"day {place + 1} of the record"
    steps = round(meta.axis.steps_per_day)
    day = meta.axis.list_times()[place * steps + steps // 2].astype("M8[D]").item()
    return f"{day.day} {day:%B %Y}"


def join_unseen(sets: fidelity.Sets) -> two_sample_table.Sides:
    """Return all real series that were never trained on, beside the synthetic ones."""
    parts = {
        name: series
        for name in fidelity.TESTED
        if (series := getattr(sets, name)) is not None and len(series)
    }
    owners = [
        np.char.add(f"{name} ", np.asarray(sets.owner_of.get(name, np.arange(len(series)))).astype(str))
        for name, series in parts.items()  # owners are numbered within a split, and nobody is in two
    ]
    return two_sample_table.Sides(
        np.concatenate(list(parts.values())), np.concatenate(owners), sets.synthetic
    )


def describe_plainly(sets: fidelity.Sets, meta: Meta, chosen: config.Evaluate) -> dict[str, Any]:
    """Compute plain statistics and load figures of held-out real and synthetic series.

    If the page shows no single real series (`evaluate.real_curves`), no figure describes a single person.
    """
    owners = np.asarray(sets.owner_of.get("held_out", np.arange(len(sets.held_out))))
    anonymous = not chosen.real_curves
    compared = copy_gaps(sets.held_out, sets.synthetic)  # the sum of fewer series varies more
    values = plain_statistics.describe_values(
        sets.held_out, sets.synthetic, owners, meta.channels, meta.unit_of_channels, anonymous=anonymous
    )
    real, made = sets.held_out[..., 0], compared[..., 0]
    added = meta.is_aligned(DAY)  # otherwise a sum would be of other hours of each series
    if not added or not entity_loads.are_loads(real, meta.axis.steps_per_day):
        return {"plain": values, "loads": None}
    together = loads.describe_loads(
        real,
        made,
        loads.Calendar(meta.axis.list_times(), meta.has_common_days, meta.has_common_weekdays),
        meta.unit_of_channels,
        owners=len(np.unique(owners)),
        anonymous=anonymous,
    )
    if together is not None and len(meta.channels) > 1:
        together = together.name_channel(meta.channels[0])
    return {"plain": values, "loads": together}


SETS = {"train": "training", "held_out": "held-out", "reference": "reference", "synthetic": "synthetic"}


def note_samples(found: Findings, compared: Mapping[str, int], whole: Mapping[str, int]) -> Findings:
    """Say in the verdict of which sets only a sample was compared, if of any; numbers of series by set."""
    parts = [
        f"{compared[name]:,} of the {whole[name]:,} {title} series"
        for name, title in SETS.items()
        if compared[name] < whole[name]
    ]
    if not parts:
        return found
    listed = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    text = (
        f"The scores compare {listed}, drawn at random "
        "(evaluate.max_series, evaluate.seed); standard errors and intervals are those of this sample."
    )
    verdict = [*found.fidelity.verdict, Sentence(tone="note", text=text)]
    return found.model_copy(update={"fidelity": found.fidelity.model_copy(update={"verdict": verdict})})


def format_report(run: Run) -> str:
    """Return the report for a terminal, as Markdown."""
    return writer.format_markdown(Report.from_json(read_json(run.scores), str(run.folder)))


def sample_series(rows: np.ndarray, name: str, chosen: config.Evaluate) -> np.ndarray:
    """Return all series of a set, or a random part of more than are compared (maybe millions): [n] -> [m]."""
    if len(rows) <= chosen.max_series:
        return rows
    rng = make_keyed_generator(chosen.seed, 0, f"windows of {name}")
    return np.sort(rng.choice(rows, chosen.max_series, replace=False))


def count_splits(table: Table) -> dict[str, Split]:
    found = {}
    for name in (*SPLITS, VALIDATION):
        rows = table.find_rows(name)
        if name == VALIDATION and not len(rows):
            continue
        entities, owners = (len(np.unique(np.asarray(ids)[rows])) for ids in (table.entities, table.owners))
        found[name] = Split(len(rows), entities, owners)
    return found


def collect_facts(
    settings: config.Config, run: Run, meta: Meta, table: Table, windows: dict[str, int]
) -> Facts:
    """Return what the report says of the run."""
    bank = Bank.load(run.need(run.bank, "bank"))
    records = {stage: run.read_record(stage) or {} for stage in config.STAGES}
    tree = {name: value for name, value in settings.flatten().items() if name in SHOWN}
    return Facts(
        name=run.folder.name,
        source=str(meta.provenance.get("source", "")),
        unit=meta.units,
        channels=meta.channels,
        start=meta.axis.start,
        step_seconds=meta.axis.step_seconds,
        length=meta.axis.length,
        nominal=meta.is_nominal,
        splits=count_splits(table),
        windows=windows,
        left_out=Counter(records["prepare"].get("left_out", {})),
        noticed=records["prepare"].get("suspicions", []),
        groups=Groups(
            sizes=[int(size) for size in bank.sizes],
            effective=[float(members) for members in bank.effective],
            tracing_auc=[float(auc) for auc in bank.tracing_auc],
            minimum_size=bank.minimum_group_size,
            tracing_limit=settings.bank.max_tracing_auc,
            attacks=read_if_present(run.cluster_files.tracing) or [],
            guarantee="" if bank.guarantee is None else f"The bank is {format_guarantee(bank)}.",
            covered=[] if bank.guarantee is None else dp.list_claims(settings, bank.guarantee.clip),
            study=bank.settings.study,
        ),
        chosen=records["gan"].get("selection", {}).get("text", ""),
        exported=describe_exported(settings.generate),
        settings=tree,
        stages={stage: record["summary"] for stage, record in records.items() if "summary" in record},
        real_curves=settings.evaluate.real_curves,
        credit=find_credit(settings, meta),
        version=distgan.__version__,
        identity=settings.identity,
    )


def describe_exported(chosen: config.Generate) -> str:
    """Return how exported series differ from those that the report compares; "" where they do not."""
    changes = ["are moved to the year from " + chosen.start] if chosen.start is not None else []
    changes += ["begin late or end early as real ones do"] if chosen.lengths == "as_real" else []
    if not changes:
        return ""
    return f"Exported series {' and '.join(changes)}; here they are compared whole, on the trained days."


def read_if_present(path: Path) -> Any:
    """Return what a file of the run says, or None: banks can be given away without their private files."""
    return read_json(path) if path.exists() else None


def draw_cluster_choice(run: Run) -> list[style.Picture]:
    """Draw how the number of clusters was chosen, if it was."""
    choice = read_if_present(run.cluster_files.choice)
    if choice is None:
        return []
    return [
        style.Picture(
            "elbow",
            "How many clusters",
            f"{choice['count']} were chosen by the {choice['criterion']}; groups that were too small were "
            "merged with others.",
            "Inertia and mean silhouette over the number of clusters.",
            population.draw_elbow(**choice),
        )
    ]


def draw_training_pictures(run: Run) -> list[style.Picture]:
    """Draw the sizes of the groups and the losses of both trainings."""
    bank = Bank.load(run.bank)
    auc = [float(value) for value in bank.tracing_auc]
    groups = population.draw_groups(
        bank.sizes.tolist(),
        minimum_size=bank.minimum_group_size,
        tracing=auc,
        limit=bank.settings.max_tracing_auc,
    )
    lines = {stage: read_lines(run.metrics(stage)) for stage in TRAININGS if run.metrics(stage).exists()}
    return [
        *draw_cluster_choice(run),
        style.Picture(
            "groups",
            "Groups behind the conditions",
            "Every released mean stands for one group; the line marks the minimum group size.",
            "Bars of the number of entities in each group, with the minimum and the bound of membership "
            "inference.",
            groups,
        ),
        style.Picture(
            "losses",
            "Training over time",
            "What each network minimised, and what was monitored.",
            "Curves of the losses of the encoder and of the GAN over steps.",
            training.draw_losses(lines),
            live=interactive.plot_losses(lines),
        ),
    ]


def describe(settings: config.Config, shape: Shape) -> str:
    return f"scores the synthetic series against {shape.held_out} held-out ones and writes the report"
