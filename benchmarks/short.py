"""The length-24 protocol of TimeGAN on its stock and energy data: discriminative and predictive scores of
models of the zoo, beside what their authors and others published, a copier and classical models.

    python benchmarks/short.py --data FOLDER [--out runs/short]     # FOLDER/timegan_{stock,energy}_data.npz
    python benchmarks/short.py --data FOLDER --sets stock --models timegan --share 0.01 --out runs/look
    python benchmarks/short.py --data FOLDER --sets stock --make windows.npz      # for distgan train
    python benchmarks/short.py --smoke

As published: the rows in reverse order, each column brought to [0, 1] once over the whole record, all windows
of 24 rows, and the scores on as many generated windows. A row's recipe is a file of `configs/short/`, of
which this reads networks, losses, training and `data.scaling`: networks train on those windows directly,
without groups or conditions, which the protocol does not know, in the range [-1, 1], or in normal scores and
whitened where the config says so. `distgan train` on the same file trains with groups and conditions. A row
(set, model, seed) is kept in OUT/rows/*.json with its recipe and skipped when it is there; a training that
was cut off goes on from its checkpoint.

Discriminative: |accuracy - .5| of a GRU of int(C / 2) units (and of one of 32), 2,000 updates, a fifth of the
windows held out, mean of 5. Windows overlap, so that a copier is perfect. Predictive: mean absolute error of
the last channel one step ahead, 5,000 updates, mean of 2. Ours are PyTorch's GRUs with TensorFlow's start.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, finish, show
from scipy import stats
from torch import Tensor, nn

from distgan import config, models, rng
from distgan.data.joint_scaling import JointScaling
from distgan.data.loader import Batch
from distgan.data.shuffle import Shuffled
from distgan.engine.trainer import fit
from distgan.engine.training import Job
from distgan.evaluation.metrics.c2st import (
    STRONG_UNITS,
    Training,
    compute_discriminative,
    compute_predictive,
    count_hidden_units,
)
from distgan.files import read_json, write_json
from distgan.models import make_objective
from distgan.models.classical import Fitted
from distgan.objectives.adversarial import Conditions, Standardise
from distgan.parallel.preparation import prepare_network
from distgan.parallel.processes import Parallel
from distgan.pipeline.train_gan import make_first_adam, make_schedule
from distgan.run import Run

WINDOW = 24
SCORES = ("discriminative", "discriminative_32", "predictive")
CONFIGS = ROOT / "configs" / "short"  # MODEL_SET.yaml, else MODEL.yaml
CLASSICAL = ("pca_gmm", "gaussian", "bootstrap", "cluster_mean")
ROWS = {
    "stock": (
        "multiscale",
        "rectified_flow",
        "timevae",
        "tts_gan",
        "timegan",
        "crnn_gan",
        *CLASSICAL,
        "copy",
    ),
    "energy": ("copy", "pca_gmm", "multiscale", "rectified_flow"),
}
MODELS = tuple(dict.fromkeys(name for rows in ROWS.values() for name in rows))
SEEDS = {"stock": 3, "energy": 1}
LENGTHS = ("train.steps", "model.embedding_steps", "model.supervised_steps", "model.pretraining_steps")
PUBLISHED = {  # discriminative, predictive; the tables of the papers named, at length 24
    "stock": {
        "TimeGAN 2019": (0.102, 0.038),
        "C-RNN-GAN (TimeGAN's table)": (0.399, 0.038),
        "TimeVAE (Diffusion-TS's table)": (0.145, 0.039),
        "Diffusion-TS 2024": (0.067, 0.036),
        "ImagenTime 2024 (batch 32)": (0.037, 0.036),
    },
    "energy": {
        "TimeGAN 2019": (0.236, 0.273),
        "C-RNN-GAN (TimeGAN's table)": (0.499, 0.483),
        "TimeVAE (Diffusion-TS's table)": (0.499, 0.292),
        "Diffusion-TS 2024": (0.122, 0.250),
        "ImagenTime 2024 (batch 32)": (0.040, 0.250),
    },
}


# ------------------------------------------------------------------------------------------------ the windows


def windows(record: np.ndarray) -> np.ndarray:
    """[L, C] -> [L - 24 + 1, 24, C] float32 on [0, 1], rows in reverse order as published."""
    rows = record[::-1].astype(np.float64)
    low, high = rows.min(0), rows.max(0)
    scaled = ((rows - low) / (high - low + 1e-7)).astype(np.float32)
    return np.lib.stride_tricks.sliding_window_view(scaled, WINDOW, axis=0).transpose(0, 2, 1).copy()


def read(folder: Path | None, name: str) -> np.ndarray:
    if folder is None:  # smoke: a walk of a few channels
        return windows(np.random.default_rng(0).standard_normal((120, 3)).cumsum(0))
    with np.load(folder / f"timegan_{name}_data.npz", allow_pickle=False) as content:
        return windows(content["x"][0])


class Range:
    """[0, 1] as [-1, 1], which the published networks see: windows (B, 24, C) -> scaled (B, 24, C)."""

    def forth(self, windows_BLC: Tensor) -> Tensor:
        return 2 * windows_BLC - 1

    def back(self, scaled_BLC: Tensor) -> Tensor:
        return (scaled_BLC + 1) / 2

    def standardise(self, scaled_BLC: Tensor, mask: Tensor, condition_BK: Tensor) -> Tensor:
        return scaled_BLC


class Joint:
    """Windows in joint coordinates x on [-1, 1]: asinh(x) over its largest size."""

    def __init__(self, series: np.ndarray, scaling: config.Scaling) -> None:
        self.joint = JointScaling.fit(series, scaling)
        self.reach = self.joint.apply(torch.from_numpy(series)).abs().max().asinh()

    def forth(self, windows_BLC: Tensor) -> Tensor:
        return (self.joint.apply(windows_BLC).asinh() / self.reach).float()

    def back(self, scaled_BLC: Tensor) -> Tensor:
        return self.joint.invert((scaled_BLC.double() * self.reach).sinh()).float()

    def standardise(self, scaled_BLC: Tensor, mask: Tensor, condition_BK: Tensor) -> Tensor:
        """As they would come back: generated windows without what no window has."""
        scores_BLC = self.joint.invert_whitening((scaled_BLC.double() * self.reach).sinh())
        marginal = self.joint.marginal
        occurring = scores_BLC if marginal is None else marginal.to_readings(scores_BLC.detach())
        return (self.joint.replace_scores(scores_BLC, occurring, mask).asinh() / self.reach).float()


class Windows:
    """Batches of all windows in a random order, each once an epoch."""

    def __init__(self, scaled_BLC: Tensor, batch_size: int, seed: int) -> None:
        self.series, self.batch_size = scaled_BLC, batch_size
        self.order = Shuffled(len(scaled_BLC), seed)

    def iterate_batches(self, first_step: int = 0) -> Iterator[Batch]:
        sample = torch.arange(self.batch_size)
        step = first_step
        while True:
            rows = torch.from_numpy(self.order(step * self.batch_size + sample.numpy()))
            chosen = self.series[rows]
            yield Batch(chosen, torch.ones_like(chosen), rows, sample, step)
            step += 1


# ------------------------------------------------------------------------------------------------------ a row


def find_recipe(name: str, model: str) -> Path:
    """The config of a model for a set, or for both."""
    own = CONFIGS / f"{model}_{name}.yaml"
    return own if own.exists() else CONFIGS / f"{model}.yaml"


def settings_of(name: str, model: str, seed: int, share: float, overrides: list[str]) -> config.Config:
    """The recipe of a model for a set; `share` shortens all its trainings alike."""
    given = [f"seed={seed}", "engine.threads=1", *overrides]
    lengths = config.load(find_recipe(name, model), given).flatten()
    shortened = [f"{key}={max(1, round(share * lengths[key]))}" for key in LENGTHS if key in lengths]
    return config.load(find_recipe(name, model), [*given, *shortened])


def generated(series: np.ndarray, settings: config.Config, folder: Path) -> np.ndarray:
    """As many windows as there are real ones, on [0, 1], from a model that saw these."""
    torch.manual_seed(settings.seed)
    networks = models.build(settings, WINDOW, series.shape[2])
    scaling = settings.data.scaling
    coordinates = Joint(series, scaling) if scaling.learns_jointly else Range()
    scaled_BLC = coordinates.forth(torch.from_numpy(series))
    generator: nn.Module = networks["generator"]
    if isinstance(generator, Fitted):
        generator.fit(scaled_BLC, torch.ones_like(scaled_BLC), settings.seed)
    else:
        generator = trained(networks, scaled_BLC, settings, coordinates.standardise, folder)
    made_BLC = sampled(generator, len(series), settings, series.shape[2])
    return coordinates.back(made_BLC).numpy()


def trained(
    networks: dict[str, nn.Module],
    scaled_BLC: Tensor,
    settings: config.Config,
    standardise: Standardise,
    folder: Path,
) -> nn.Module:
    """The networks' sampler after their training, which goes on from where it was left in `folder`."""
    channels = scaled_BLC.shape[2]
    parallel = Parallel(settings.engine)
    plan = make_schedule(settings, tuple(networks))
    optimized_networks = {
        name: prepare_network(parallel, name, network, make_first_adam(settings, plan.rates(0)[name]))
        for name, network in networks.items()
    }
    objective = make_objective(
        settings,
        {name: optimized.network for name, optimized in optimized_networks.items()},
        conditions=Conditions(
            generated=lambda batch: no_condition(len(batch.rows), settings, channels), standardise=standardise
        ),
    )
    averages = fit(
        objective,
        optimized_networks,
        Windows(scaled_BLC, settings.train.batch_size, settings.seed),
        parallel,
        plan,
        job=Job(run=Run(folder), stage="gan", seed=settings.seed, facts={"identity": settings.identity}),
    )
    return models.join_sampler(settings, averages)


def no_condition(count: int, settings: config.Config, channels: int) -> Tensor:
    return torch.zeros(count, models.compute_condition_width(settings, channels))


@torch.inference_mode()
def sampled(generator: nn.Module, count: int, settings: config.Config, channels: int) -> Tensor:
    parts = []
    for first in range(0, count, 512):
        samples = torch.arange(first, min(first + 512, count))
        noise = rng.draw_keyed_normal(
            settings.seed, 0, "short", samples, (models.compute_noise_width(generator),)
        )
        parts.append(generator(noise, no_condition(len(samples), settings, channels)).float())
    return torch.cat(parts)


def scored(
    real: np.ndarray, made: np.ndarray, seed: int, steps: int, runs: tuple[int, int]
) -> dict[str, float]:
    """The three scores; `runs` of the discriminative and of the predictive networks."""
    units = count_hidden_units(real.shape[2])
    small = [
        compute_discriminative(real, made, Training(units, steps, 100 * seed + run)).value
        for run in range(runs[0])
    ]
    ahead = [
        compute_predictive(real, made, Training(units, 5 * steps // 2, 100 * seed + run)).value
        for run in range(runs[1])
    ]
    strong = compute_discriminative(real, made, Training(STRONG_UNITS, steps, seed)).value
    return dict(zip(SCORES, (float(np.mean(small)), strong, float(np.mean(ahead)))))


def row(name: str, model: str, seed: int, series: np.ndarray, options: argparse.Namespace) -> dict[str, Any]:
    """Train, sample and score, or what was kept of that."""
    folder = options.out / f"{name}-{model}-{seed}"
    place = options.out / "rows" / f"{folder.name}.json"
    settings = None if model == "copy" else settings_of(name, model, seed, options.share, options.overrides)
    recipe = settings.identity if settings else model
    if place.exists():
        kept: dict[str, Any] = read_json(place)
        if kept.get("recipe") != recipe:
            raise SystemExit(
                f"short.py: {place} is of other settings (--share, --set, or a recipe that has changed); "
                f"remove it and {folder}, or choose another --out"
            )
        return kept
    started = time.process_time()
    made = generated(series, settings, folder) if settings else series
    training = time.process_time() - started
    steps, runs = (20, (1, 1)) if options.smoke else (2000, (5, 2))
    found = {"set": name, "model": model, "seed": seed, **scored(series, made, seed, steps, runs)}
    found |= {"training_min": training / 60, "scoring_min": (time.process_time() - started - training) / 60}
    found["recipe"] = recipe
    write_json(place, found)
    return found


# ----------------------------------------------------------------------------------------------------- tables


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line a model: means over seeds, with half of the 95 % t-interval where there are several."""
    lines = []
    for model in dict.fromkeys(each["model"] for each in rows):
        own = [each for each in rows if each["model"] == model]
        line: dict[str, Any] = {"model": model, "seeds": len(own)}
        for score in SCORES:
            values = np.array([each[score] for each in own])
            line[score] = float(values.mean())
            if len(values) > 1:
                line[f"± {score[:4]}{score[-3:] if score[-1] == '2' else ''}"] = float(
                    stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
                )
        line["CPU min a row"] = float(np.mean([each["training_min"] + each["scoring_min"] for each in own]))
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="folder of timegan_stock_data.npz and timegan_energy_data.npz"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/short"))
    parser.add_argument("--sets", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    parser.add_argument("--models", nargs="+", choices=MODELS, help="by default those of each set")
    parser.add_argument("--seeds", type=int, help="by default 3 on stock and 1 on energy")
    parser.add_argument("--share", type=float, default=1.0, help="of each training's steps, for a quick look")
    parser.add_argument("--make", type=Path, help="only write the windows of one set to this NPZ")
    parser.add_argument("--smoke", action="store_true", help="tiny and quick, figures meaningless")
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], metavar="key.sub=value")
    options = parser.parse_args()
    if options.data is None and not options.smoke:
        parser.error("--data FOLDER is needed")
    if options.make is not None:
        if len(options.sets) != 1:
            parser.error("--make writes one set; name it with --sets")
        np.savez(options.make, x=read(options.data, options.sets[0]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        if options.smoke:
            options.out, options.data, options.seeds, options.share = Path(temporary), None, 1, 0.0004
            options.overrides = ["train.batch_size=8"]
        rows: list[dict[str, Any]] = []
        for name in options.sets:
            series = read(options.data, name)
            chosen = options.models or ROWS[name]
            for model in chosen:
                seeds = 1 if model == "copy" else options.seeds or SEEDS[name]
                rows += [row(name, model, seed, series, options) for seed in range(seeds)]
            show(f"{name}: {len(series)} windows", summary([each for each in rows if each["set"] == name]))
            published = [{"published": who, "DS": ds, "PS": ps} for who, (ds, ps) in PUBLISHED[name].items()]
            show(f"{name}: as published", published)
    finish(1, rows=rows)


if __name__ == "__main__":
    main()
