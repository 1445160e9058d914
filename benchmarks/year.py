"""The protocol of the year: recipes trained on whole years of the same homes, seed by seed, under one report.

    python benchmarks/year.py --data FOLDER            # FOLDER/lcl_london_2013_hourly.npz, hours of work
    python benchmarks/year.py --data FOLDER --recipes multiscale --seeds 1 --set train.steps=500
    python benchmarks/year.py --data FOLDER --on us_grid --seeds 1   # or london_hours, auckland
    python benchmarks/year.py --data FOLDER --instruments --runs runs/london   # minutes: the instruments
    python benchmarks/year.py --smoke

Fixed before anything was tuned by it. Homes are divided by household (70 % to train on, 20 % held out, 10 %
for reference), anew for every seed; each recipe trains for about the same CPU time (a quarter of an hour for
the GAN; the upstream fork's step is ten times as expensive) and makes 200 homes; every score compares them
with the held-out ones, beside other real homes and the report's baselines. A table gives every score's mean
and deviation over seeds. A family's figure is the mean over its scores of loss / (loss + bar), the bar being
the loss of other real homes and two standard errors: 0 is perfect, .5 at the bar, 1 hopeless.
Some divisions are harder than others, for all rows alike, so rows are compared seed by seed: a recipe beats a
row where its figure is lower by more than the differences' deviation over seeds. Totals are those of a
synthetic and of a held-out home over those of a training home. Runs are kept in OUT/RECIPE-SEED and go on
where they stopped.

With --instruments nothing is trained: classical generators are fitted to London homes in steps of four hours
and of one hour, and judged (as are the runs that --runs names) on homes that nothing was fitted to, by every
instrument of `judge.py`.

That is London in steps of four hours. On its 8760 hours, on the US grid's demand and on Auckland's
pedestrians, which need no file and so can be repeated by anyone, the default recipe stands alone.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import ROOT, finish, show
from judge import CLASSICAL, draw_classical, judge, print_readings, read_run, summarise

from distgan import config
from distgan.data.splits import assign_splits
from distgan.data.store.private_table import find_private_table, read_table
from distgan.data.store.reader import Store
from distgan.evaluation.metrics.two_sample import Sample
from distgan.evaluation.report import verdict
from distgan.evaluation.results import Report, ScoreTable
from distgan.files import read_json
from distgan.run import Run

LONDON = "lcl_london_2013_hourly.npz"
ENCODER = [  # conditions and groups are ours in the upstream fork's recipe, too: what is compared is the GAN
    "encoder.patch=42",
    "encoder.depth=2",
    "encoder.latent_dim=8",
    "encoder.steps=1000",
    "encoder.batch_size=32",
    "bank.condition_dim=4",
]
SPLITS = "data.splits={train: 0.7, held_out: 0.2, reference: 0.1}"
JUDGED = {"train": 0.55, "held_out": 0.25, "reference": 0.2}  # with --instruments
SERIES = 200  # of each generator there
STEPS = "train.steps=2000"
SETS: dict[str, tuple[str | None, dict[str, list[str]]]] = {  # file, recipes: config and settings
    "london": (
        LONDON,
        {
            "multiscale": ["london.yaml", STEPS, "data.reduce.factor=4"],
            "tts_gan_fork": ["tts_gan_fork.yaml", "train.steps=200", "train.batch_size=8", *ENCODER],
        },
    ),
    "london_hours": (LONDON, {"multiscale": ["london_hours.yaml", STEPS, "data.reduce.factor=1"]}),
    "us_grid": ("eia930_demand_2020_2024.npz", {"multiscale": ["us_grid.yaml", STEPS]}),
    "auckland": (None, {"multiscale": ["demo.yaml"]}),
}
HELD_OUT = "held out"
FAMILIES = ("values", "rhythm", "diversity", "two-sample tests")
SMOKE = [
    "data.cut=whole",
    "encoder.steps=2",
    "encoder.width=16",
    "train.steps=2",
    "train.batch_size=4",
    "generate.count=20",
    "evaluate.pictures=false",
]


def trained(recipe: list[str], seed: int, folder: Path, changes: list[str]) -> Run:
    """A finished run of a recipe, from wherever an earlier one was left."""
    own = [f"run_dir={folder}", f"seed={seed}", "generate.count=200", SPLITS, *changes]
    config, *settings = recipe
    command = [sys.executable, "-m", "distgan.train", "--config", str(ROOT / "configs" / config)]
    subprocess.run([*command, *settings, *own], check=True, cwd=ROOT)
    return Run(folder)


def made_up(place: Path) -> Path:
    """Three weeks of 60 homes."""
    rng = np.random.default_rng(0)
    hours = pd.date_range("2013-01-01", periods=504, freq="h")
    day = 1 + np.sin(2 * np.pi * np.arange(504) / 24)[:, None]
    homes = rng.gamma(4, 0.1, 60) * day * rng.gamma(4, 0.25, (504, 60))
    pd.DataFrame(homes, hours, [f"home-{i}" for i in range(60)]).to_csv(place, index_label="timestamp")
    return place


def families(table: ScoreTable) -> dict[str, dict[str, float | None]]:
    """How near every row is to real, by family; None where a family has no score."""
    rows = {row.name: row for row in table.rows}
    real = rows[verdict.REAL]
    return {
        name: {family: verdict.average_relative_losses(row, real, [family]) for family in FAMILIES}
        for name, row in rows.items()
    }


def totals_of(run: Run) -> dict[str, float]:
    """What a synthetic and what a held-out series amounts to on average, over a training one."""
    table = read_table(find_private_table(run.series))
    series, made = Store.open(run.series), Store.open(run.synthetic)
    trained_on = np.nanmean(series.read_rows(table.find_rows("train")))
    return {
        "model": float(np.nanmean(made.read_rows(np.arange(made.num_series))) / trained_on),
        HELD_OUT: float(np.nanmean(series.read_rows(table.find_rows("held_out"))) / trained_on),
    }


def format_values(values: list[float]) -> str:
    """Mean and deviation over seeds."""
    return f"{np.mean(values):.3g} ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else f"{values[0]:.3g}"


def read_homes(path: Path, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """London homes in merged steps, [n, L, 1], and the split of each; homes with 5 % missing are left out."""
    with np.load(path) as file:
        values, ids = file["x"].astype(np.float32), [str(name) for name in file["ids"]]
    steps = values.shape[1] // factor
    values = values[:, : steps * factor].reshape(len(values), steps, factor, 1).sum(2)
    splits = assign_splits(ids, config.Splits(**JUDGED), 0)
    usable = np.isnan(values).mean((1, 2)) <= 0.05
    return values[usable], splits[usable]


def print_instruments(path: Path, runs: list[Path]) -> None:
    """The table of instruments at 2190 and at 8760 steps, and of runs against their own held-out homes."""
    readings: dict[str, Any] = {}
    for factor, per_day in ((4, 6.0), (1, 24.0)):
        values, splits = read_homes(path, factor)
        train, real = values[splits == "train"], values[splits != "train"]
        sets = {name: draw_classical(name, train, SERIES, seed=0) for name in CLASSICAL}
        found = judge(Sample(real), train, sets, per_day, token=round(7 * per_day), first_weekday=1)
        title = f"{values.shape[1]} steps, {len(train)} homes fitted to, {len(real)} held out"
        print_readings(title, found, ("weeks", "series"))
        readings[str(values.shape[1])] = summarise(found)
    for folder in runs:
        found = judge(**read_run(folder))
        print_readings(folder.name, found, ("weeks", "series"))
        readings[folder.name] = summarise(found)
    finish(1, benchmark="year", instruments=readings)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder of the sets' files")
    parser.add_argument("--on", choices=SETS, default="london", help="the set of series")
    parser.add_argument("--recipes", nargs="+", help="by default all of the set")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes to every recipe")
    parser.add_argument("--out", type=Path, help="by default runs/year/SET")
    parser.add_argument("--instruments", action="store_true", help="judge classical generators and --runs")
    parser.add_argument("--runs", nargs="+", type=Path, default=[], help="run folders that are judged, too")
    parser.add_argument("--smoke", action="store_true", help="two steps of one recipe on made-up homes")
    options = parser.parse_args()
    if options.instruments:
        if options.data is None:
            parser.error(f"--instruments needs --data FOLDER of {LONDON}")
        return print_instruments(options.data / LONDON, options.runs)
    file, recipes = SETS[options.on]
    chosen, out, changes = options.recipes or list(recipes), options.out, options.set
    if unknown := set(chosen) - set(recipes):
        parser.error(f"{options.on} has no recipe {', '.join(unknown)}; it has {', '.join(recipes)}")
    if options.smoke:
        chosen, options.seeds, out = chosen[:1], 1, Path(tempfile.mkdtemp())
        changes = [f"data.source={made_up(out / 'homes.csv')}", *SMOKE]
    elif file is not None and options.data is None:
        parser.error(f"--data FOLDER of {file} is missing")
    elif file is not None:
        changes = [f"data.source={options.data / file}", *changes]
    out = out or Path("runs/year") / options.on
    rows: dict[str, list[dict[str, float | None]]] = defaultdict(list)
    near: dict[str, list[dict[str, float | None]]] = defaultdict(list)
    totals: dict[str, list[float]] = defaultdict(list)
    scores: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for recipe in chosen:
            run = trained(recipes[recipe], seed, out / f"{recipe}-{seed}", changes)
            content = read_json(run.scores)
            report = content["fidelity"]
            scores = report["scores"]
            first = recipe == chosen[0]  # baselines and real homes are the same for every recipe
            by_score = {row["name"]: row["values"] for row in report["rows"]}
            figures: list[tuple[dict[str, list[Any]], Mapping[str, Any]]]
            figures = [
                (rows, by_score),
                (near, families(Report.from_json(content, str(run.folder)).fidelity)),
                (totals, totals_of(run)),
            ]
            for kept, values_of in figures:
                for name, figure in values_of.items():
                    if name == "model" or first:
                        kept[recipe if name == "model" else name].append(figure)
    print_tables(chosen[0], scores, rows, near, totals)
    by_family = {
        name: {f: round(float(np.mean(values)), 3) for f in FAMILIES if (values := known(found, f))}
        for name, found in near.items()
    }
    shares = {name: [round(share, 4) for share in each] for name, each in totals.items()}
    finish(1, benchmark="year", smoke=options.smoke, seeds=options.seeds, totals=shares, families=by_family)


def print_tables(
    first: str,
    scores: list[dict[str, Any]],
    rows: dict[str, list[dict[str, float | None]]],
    near: dict[str, list[dict[str, float | None]]],
    totals: dict[str, list[float]],
) -> None:
    """What was kept of every row, seed by seed; the first recipe beside all others."""
    show(
        "every score, mean and deviation over seeds",
        [
            {"score": score["title"], "best": score["best"]}
            | {
                name: format_values(values)
                for name, each in rows.items()
                if (values := known(each, score["name"]))
            }
            for score in scores
            if known(rows[verdict.REAL], score["name"])
        ],
    )
    show(
        "families of scores: 0 perfect, .5 as other real homes, 1 hopeless",
        [
            {"row": name}
            | {family: format_values(values) for family in FAMILIES if (values := known(found, family))}
            for name, found in near.items()
        ],
    )
    show(
        f"by how much {first} is nearer, seed by seed",
        [
            {"row": name}
            | {
                family: format_values(nearer)
                for family in FAMILIES
                if (nearer := subtract(near[first], found, family))
            }
            for name, found in near.items()
            if name != first
        ],
    )
    show(
        "total over that of training series",
        [{"row": name, "share": format_values(each)} for name, each in totals.items()],
    )


def subtract(
    first: list[dict[str, float | None]], other: list[dict[str, float | None]], name: str
) -> list[float]:
    """By how much the first is lower, of each seed in which both have a figure."""
    pairs = [(a[name], b[name]) for a, b in zip(first, other)]
    return [b - a for a, b in pairs if a is not None and b is not None]


def known(rows: list[dict[str, float | None]], name: str) -> list[float]:
    return [value for row in rows if (value := row[name]) is not None]


if __name__ == "__main__":
    main()
