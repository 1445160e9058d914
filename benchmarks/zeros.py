"""Exact zeros of generated series with data.zeros=match and without, beside real ones.

    python benchmarks/zeros.py                          480 homes with solar panels, made, six weeks of hours
    python benchmarks/zeros.py --data LONDON.npz        lcl_london_2013_hourly.npz in windows of four weeks

Trains `--model` (pca_gmm: a minute; any family) and compares the share of exact zeros by hour of the day and
by series with the training series. Errors are means of absolute differences of shares. The last line is JSON.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, run_stages, show

from distgan import config
from distgan.anonymity.bank import Bank
from distgan.data.store.private_table import read_table
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.generate import load_sampler
from distgan.pipeline.training_data import open_for_inference, open_series, select_rows
from distgan.run import Run

HOUR = 24
SETTINGS = [
    *("data.units=kWh", "data.bounds={lower: 0, step: 0.001}", "data.zeros=match", "data.max_missing=0.05"),
    "data.splits={train: 0.7, held_out: 0.3, reference: 0.0}",
    *("encoder.patch=24", "encoder.width=48", "encoder.depth=2", "encoder.latent_dim=8"),
    *("encoder.steps=250", "encoder.batch_size=32", "bank.condition_dim=2", "engine.threads=1"),
]


def make_panels(homes: int, days: int, seed: int) -> np.ndarray:
    """Energy of solar panels from 15 February at 51.5° north, kWh: [H, D · 24, 1]. Weather is shared in part;
    inverters start at 0.6 % of a panel's power; 15 % of the homes are switched off for some days.
    """
    rng = np.random.default_rng(seed)
    day, hour = 45 + np.arange(days)[:, None], np.arange(HOUR) + 0.5
    tilt, angle = np.deg2rad(-23.44 * np.cos(2 * np.pi * (day + 10) / 365)), np.deg2rad(15 * (hour - 12))
    north = np.deg2rad(51.5)
    sun = np.maximum(np.sin(north) * np.sin(tilt) + np.cos(north) * np.cos(tilt) * np.cos(angle), 0) ** 1.2
    sky = np.clip(rng.beta(1.2, 1.2, days) * rng.lognormal(0, 0.25, (homes, days)), 0.03, 1)
    size, east = rng.lognormal(1.1, 0.4, (homes, 1, 1)), rng.normal(0, 0.25, (homes, 1, 1))
    values = size * sun * (1 + east * np.sin(angle)) * sky[:, :, None]
    values *= np.clip(rng.lognormal(0, 0.35, values.shape), 0, 1.2)
    values[values < 0.006 * size] = 0
    for home in np.flatnonzero(rng.random(homes) < 0.15):
        first = int(rng.integers(0, days))
        values[home, first : first + int(rng.integers(2, 10))] = 0
    return values.reshape(homes, -1, 1).round(3).astype(np.float32)


def train(place: Path, given: argparse.Namespace) -> Run:
    """Prepare, group and train in the folder `place`."""
    source, windows = given.data, ["data.windows={length: 672, stride: 672}"]
    if source is None:
        source, windows = place / "panels.npz", []
        values = make_panels(given.homes, given.days, given.seed)
        ids = np.array([f"home-{row}" for row in range(len(values))])
        np.savez(source, x=values, ids=ids, t0="2013-02-15T00:00:00", freq="60min")
    own = [f"data.source={source}", f"model={given.model}", *windows, *given.settings]
    small = ["encoder.steps=5"] if given.smoke else []
    place = place / "run"
    run_stages(place, "prepare,encoder,encode,cluster,bank,gan", [*SETTINGS, *own, *small])
    return Run(place)


def generate(run: Run, count: int) -> dict[str, np.ndarray]:
    """Series without thresholds of zeros, and with them: [n, L, C] each."""
    settings = config.load(run.config).with_values({"generate.count": count}, "zeros")
    context = PipelineContext(settings, run, open_for_inference(settings))
    sampler, rows = load_sampler(context, Bank.load(run.bank)), np.arange(count)
    plain = replace(sampler, zeros=None)
    size = settings.generate.batch_size
    return {"as generated": plain.generate(rows, size), "matched": sampler.generate(rows, size)}


def measure(series: np.ndarray) -> dict[str, Any]:
    """Shares of exact zeros: of all values, by hour [24], and by series in ascending order [100]."""
    zeros, there = series[:, :, 0] == 0, ~np.isnan(series[:, :, 0])
    hours = [zeros[:, hour::HOUR].sum() / there[:, hour::HOUR].sum() for hour in range(HOUR)]
    each = zeros.sum(axis=1) / there.sum(axis=1)
    quantiles = np.quantile(each, np.linspace(0.005, 0.995, 100))
    return {"share": zeros.sum() / there.sum(), "hours": np.array(hours), "series": quantiles}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="hours of homes as NPZ; by default panels are made")
    parser.add_argument("--model", default="pca_gmm")
    parser.add_argument("--homes", type=int, default=480)
    parser.add_argument("--days", type=int, default=42)
    parser.add_argument("--count", type=int, default=1000, help="generated series")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="tiny, figures meaningless")
    parser.add_argument("settings", nargs="*", help="further settings, key.sub=value")
    given = parser.parse_args()
    if given.smoke:
        given.homes, given.days, given.count = 120, 14, 40
    with tempfile.TemporaryDirectory() as folder:
        run = train(Path(folder), given)
        data, table = open_series(run), read_table(run.private_table)
        real = measure(data.read_rows(select_rows(data, table, "train", run)))
        made = {name: measure(values) for name, values in generate(run, given.count).items()}
    rows = []
    for name, found in {"training": real, **made}.items():
        errors = {f"by {key} ±": float(np.abs(found[key] - real[key]).mean()) for key in ("hours", "series")}
        rows.append({"series": name, "share of zeros": float(found["share"]), **errors})
    show("exact zeros", rows)
    finish(
        1,
        real=float(real["share"]),
        as_generated=float(made["as generated"]["share"]),
        matched=float(made["matched"]["share"]),
    )


if __name__ == "__main__":
    main()
