"""Synthetic loads judged by every instrument beside real ones: of runs, or of files.

    python benchmarks/judge.py runs/london runs/template_ar   # each against its held-out and reference series
    python benchmarks/judge.py runs/london --classical   # and generators fitted to the run's training series
    python benchmarks/judge.py --real homes.npy --train trained.npy --synthetic one.npy --steps-per-day 6
    python benchmarks/judge.py --smoke

Columns: C2ST is the balanced accuracy of a ridge classifier on MiniRocket features, cross-validated by owner
on all series of both sides (.5 is guessing), with its 95 % interval: on weeks, whole series, and with
`--views` on the signs of step-to-step differences and on daily totals. Loads: distance of 24 figures of each
load over that between real sets. Vendi: how many different loads there are, over the real ones'. catch22:
mean Kolmogorov-Smirnov distance of 22 features. Forecast: error of a next-day forecaster over that of one
trained on real series. The row `real` holds the training series: what a perfect generator reaches. Files are
arrays [series, steps] or [series, steps, 1] (.npy), or what data.source takes. The last line is JSON.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import finish, show
from instruments import Reading, fit_reference, has_catch22, read_instruments
from scipy.special import ndtri

from distgan import config
from distgan.anonymity import attributes
from distgan.data import ingest
from distgan.data.scaling import Scaler
from distgan.data.store.private_table import find_private_table, read_table
from distgan.data.store.reader import Store
from distgan.evaluation.metrics.two_sample import VIEWS, Accuracy, Effort, Sample
from distgan.models import classical
from distgan.rng import draw_keyed_normal
from distgan.run import Run

CLASSICAL: dict[str, Any] = {
    "template_ar": config.TemplateAr(),
    "pca_copula": config.PcaCopula(),
    "pca_gmm": config.PcaGmm(),
    "gaussian": config.Gaussian(),
    "bootstrap": config.Bootstrap(),
}
REAL = "real"
SHOWN = (
    "zeros",
    "any_zero",
    "base",
    "flat",
    "ramp",
    "night_change",
    "night_variation",
    "weeks",
    "low_run",
    "lag_step",
)


def judge(
    real: Sample, train: np.ndarray, sets: dict[str, np.ndarray], steps_per_day: float, **options: Any
) -> dict[str, Reading]:
    """Readings of the training series and of every set.

    Args:
        options: `views`, `token` (steps), `first_weekday`, `features` (of catch22) and `effort`.
    """
    views = options.get("views", ("weeks", "series"))
    effort = options.get("effort", Effort())
    reference = fit_reference(
        real,
        train,
        steps_per_day,
        first_weekday=options.get("first_weekday", 0),
        token=options.get("token", 0),
        features=options.get("features", has_catch22()),
    )
    found = {}
    for name, values in {REAL: train, **sets}.items():
        started = time.process_time()
        found[name] = read_instruments(reference, values, views, effort)
        print(f"{name}: {time.process_time() - started:.0f} CPU s", flush=True)
    return found


def read_run(folder: Path) -> dict[str, Any]:
    """The sets of a run, for `judge`."""
    run = Run(folder)
    series, made, table = (
        Store.open(run.series),
        Store.open(run.synthetic),
        read_table(find_private_table(run.series)),
    )
    rows = np.concatenate([table.find_rows("held_out"), table.find_rows("reference")])
    axis, settings = series.meta.axis, config.load(run.config)
    return {
        "real": Sample(series.read_rows(rows), np.asarray(table.owners)[rows]),
        "train": series.read_rows(table.find_rows("train")),
        "sets": {folder.name: made.read_rows(np.arange(made.num_series))},
        "steps_per_day": axis.steps_per_day,
        "first_weekday": first_weekday(axis.start),
        "token": getattr(settings.model, "patch", 0) or 0,
    }


def first_weekday(start: str) -> int:
    return int((np.datetime64(start, "D").astype(int) + 3) % 7)  # 1970-01-01 was a Thursday


def read_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Series [n, L, 1] of a file and their owners."""
    if path.suffix == ".npy":
        values = np.load(path).astype(np.float32)
        return (values if values.ndim == 3 else values[..., None]), np.arange(len(values))
    raw = ingest.read(config.load(None, [f"data.source={path}"]).data)
    return raw.values, np.asarray(raw.owners)[raw.rows]


def print_readings(title: str, found: dict[str, Reading], views: Sequence[str]) -> None:
    show(
        title,
        [
            {
                "set": name,
                "loads": reading.loads,
                "catch22": reading.catch22,
                "forecast": reading.forecast,
                **{f"C2ST {view}": format_accuracy(reading.accuracy[view]) for view in views},
                "Vendi": f"{reading.vendi:.1f} ({reading.vendi_ratio:.2f})",
                "seams": reading.seams,
                "peak of 50": reading.peak,
                "load factor": reading.load_factor,
            }
            for name, reading in found.items()
        ],
    )
    show(
        "means of load figures",
        [{"set": name, **{each: reading.figures[each] for each in SHOWN}} for name, reading in found.items()],
    )


def format_accuracy(found: Accuracy | None) -> str:
    return "" if found is None else f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f})"


def summarise(found: dict[str, Reading]) -> dict[str, dict[str, float]]:
    """The figures of the table, for the last line."""
    return {
        name: {
            **{view: round(each.value, 4) for view, each in reading.accuracy.items() if each is not None},
            **{
                key: round(float(getattr(reading, key)), 4)
                for key in (
                    "loads",
                    "catch22",
                    "forecast",
                    "vendi",
                    "vendi_ratio",
                    "seams",
                    "peak",
                    "load_factor",
                )
                if np.isfinite(getattr(reading, key))
            },
        }
        for name, reading in found.items()
    }


def draw_classical(name: str, train: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Series of a classical generator, as the pipeline makes them with all training series as one group:
    fitted to scaled series, given locations and scales drawn from the training series' distribution, clipped
    at 0.
    """
    settings = CLASSICAL[name]
    scaler = Scaler.fit([train], config.Scaling(), config.Bounds(lower=0))
    known = scaler.compute_attributes(train)
    series = torch.from_numpy(scaler.scale(train, known))
    generator = classical.FAMILIES[name](*train.shape[1:], settings)
    generator.fit(series.nan_to_num(0), (~series.isnan()).float(), seed)
    rng = np.random.default_rng(seed)
    numbers = attributes.to_ratio_and_log_rms(known)
    cells = np.argsort(rng.random((count, *numbers.shape[1:])), axis=0)
    normal = ndtri((cells + rng.uniform(1e-9, 1 - 1e-9, cells.shape)) / count)
    drawn = attributes.draw_ratio_and_log_rms(numbers.mean(0), numbers.std(0), normal)
    given = attributes.to_location_and_scale(drawn).astype(np.float32)
    noise = draw_keyed_normal(seed, 0, f"classical {name}", torch.arange(count), (generator.noise_dim,))
    with torch.inference_mode():
        shapes = torch.cat([generator(part, torch.zeros(len(part), 0)) for part in noise.split(50)])
        shapes = scaler.standardise(shapes, torch.ones_like(shapes), torch.from_numpy(given))
    return scaler.restore(shapes.numpy(), given)


def made_up(count: int, seed: int, noise: float = 0.5, weeks: int = 6) -> np.ndarray:
    """Make hourly loads: [count, 168 x weeks, 1]."""
    steps = 168 * weeks
    rng = np.random.default_rng(seed)
    day = 1 + 0.8 * np.sin(2 * np.pi * (np.arange(steps) + rng.normal(0, 2, (count, 1))) / 24)
    loads = rng.lognormal(0, 0.5, (count, 1)) * day * rng.gamma(1 / noise**2, noise**2, (count, steps))
    return loads[..., None].astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path, help="run folders, with series generated")
    parser.add_argument(
        "--classical",
        action="store_true",
        help=f"also {', '.join(CLASSICAL)}, fitted to the training series, as many as synthetic ones",
    )
    parser.add_argument("--real", type=Path, help="real series that nothing was fitted to")
    parser.add_argument("--train", type=Path, help="real series that the generators were fitted to")
    parser.add_argument("--synthetic", type=Path, nargs="+", default=[])
    parser.add_argument("--steps-per-day", type=float, default=24)
    parser.add_argument("--token", type=int, default=0, help="steps that a network writes at once, for seams")
    parser.add_argument("--views", default="weeks,series", help=f"of the series: {', '.join(VIEWS)}")
    parser.add_argument(
        "--quick", action="store_true", help="2,016 features at about 2,000 places, and no catch22"
    )
    parser.add_argument("--smoke", action="store_true", help="a few made loads, figures meaningless")
    options = parser.parse_args()
    views = options.views.split(",")
    if unknown := set(views) - set(VIEWS):
        parser.error(f"--views: there is no view {', '.join(unknown)}; there are {', '.join(VIEWS)}")
    chosen: dict[str, Any] = {"views": views, "effort": Effort(2016, 2000) if options.quick else Effort()}
    if options.quick:
        chosen["features"] = False
    readings: dict[str, dict[str, float]] = {}
    if options.smoke:
        real, train, made = (made_up(20, seed, noise, 2) for seed, noise in enumerate((0.5, 0.5, 0.7)))
        cases = [{"real": Sample(real), "train": train, "sets": {"made": made}}]
        cases[0] |= {"steps_per_day": 24.0, "token": 168}
        chosen["effort"] = Effort(504, 500)
    elif options.runs:
        cases = [read_run(folder) for folder in options.runs]
    elif options.real and options.train and options.synthetic:
        values, owners = read_file(options.real)
        sets = {path.stem: read_file(path)[0] for path in options.synthetic}
        cases = [{"real": Sample(values, owners), "train": read_file(options.train)[0], "sets": sets}]
        cases[0] |= {"steps_per_day": options.steps_per_day, "token": options.token}
    else:
        parser.error("give run folders, or --real, --train and --synthetic")
    for case in cases:
        title = ", ".join(case["sets"])
        if options.classical:
            count = len(next(iter(case["sets"].values())))
            case["sets"] |= {name: draw_classical(name, case["train"], count, seed=0) for name in CLASSICAL}
        found = judge(**case, **chosen)
        print_readings(title, found, views)
        several = len(cases) > 1
        for name, figures in summarise(found).items():
            readings[f"{title}: {name}" if several and name != title else name] = figures
    finish(
        1,
        benchmark="judge",
        smoke=options.smoke,
        readings=readings,
        real_loads=round(float(found[REAL].loads), 4),
    )


if __name__ == "__main__":
    main()
