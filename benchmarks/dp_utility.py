"""What privacy of a whole run costs: fidelity of made households at ε = 1, 4, 8 and without privacy.

    python benchmarks/dp_utility.py --owners 5000 --epsilons 1 4 8 inf --folder runs/dp
    python benchmarks/dp_utility.py --owners 5000 --epsilons 1 4 --public 2000 --folder runs/dp
    python benchmarks/dp_utility.py --model multiscale --steps 300 --batch 250 --clip 0.1

A week of hourly readings a household, of three kinds with a rhythm, a level and noise of their own.
`overall` is the geometric mean of all scores over those of other real series (1 is perfect), as in the
report, with its interval of 95 %. Beside each: a Gaussian with the same ε spent on the mean and the
covariance of all series (`private Gaussian`), and the rows of every report. With `--public STEPS`, a run of
so many steps on households of another mix, without privacy, gives the weights that the private trainings
begin with (`privacy.public`), and `public weights` is that run as it is, judged on the private households.
Every run goes through the whole pipeline with noise from the operating system. The last line is JSON.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, show

HOURS = 168
OTHERS = 1250  # owners that are held out or for reference
SETTINGS = {
    "data": {"scaling": {"bound": 6.0}},
    "clusters": {"count": 6},
    "bank": {"condition_dim": 3, "min_members": 80},
    "encoder": {"patch": 24, "width": 24, "depth": 1, "latent_dim": 4, "steps": 150, "batch_size": 250},
    "train": {"max_rollbacks": 0, "ema_half_life": 8000, "sample_every": 100000},
    "generate": {"count": 1000},
    "evaluate": {"pictures": False},
}
MODELS = {
    "rectified_flow": {
        "model": {"name": "rectified_flow", "patch": 12, "width": 32, "depth": 1, "heads": 2},
        "train": {"generator_rate": 4e-3, "beta1": 0.9},
        "privacy": {"encoder_share": 0.1, "bank_share": 0.1},
    },
    "multiscale": {
        "model": {
            "name": "multiscale",
            "patch": 12,
            "generator": {
                "width": 32,
                "noise_dim": 16,
                "token_noise_dim": 4,
                "scales": [{"ratio": 1, "depth": 2, "heads": 2}],
            },
            "discriminator": {
                "width": 16,
                "scales": [{"ratio": 1, "depth": 1, "heads": 2}],
                "periods": [24],
                "spectra": [],
                "side_channels": 4,
            },
        },
        "objective": {"loss": "nonsaturating", "penalty": {"fraction": 1, "weight": 0.05}},
        "train": {"generator_rate": 1e-3, "discriminator_rate": 1e-3},
    },
}


MIX, PUBLIC_MIX = (0.5, 0.3, 0.2), (0.15, 0.25, 0.6)  # shares of the kinds of households
PUBLIC_SEED = 77


def make_population(owners: int, seed: int = 0, mix: tuple[float, ...] = MIX) -> np.ndarray:
    """Return readings of households of three kinds: float32 [owners, HOURS]."""
    rng, hours = np.random.default_rng(seed), np.arange(HOURS)
    kind = rng.choice(3, owners, p=mix)
    peaks = np.array([[8, 19], [13, 20], [2, 22]])[kind] + rng.normal(0, 0.7, (owners, 2))
    sizes = rng.gamma(4, 0.25, (owners, 2)) * np.array([[0.6, 1.0], [1.0, 0.7], [1.6, 0.3]])[kind]
    distance = (hours[None, None] - peaks[:, :, None] + 12) % 24 - 12
    shape = 0.4 + (sizes[:, :, None] * np.exp(-(distance**2) / 8)).sum(1)
    weekend = np.where(hours // 24 >= 5, rng.normal(1.25, 0.15, (owners, 1)), 1.0)
    noise = rng.gamma(6, 1 / 6, (owners, HOURS))
    slow = np.exp(0.15 * np.cumsum(rng.normal(0, 0.2, (owners, HOURS)), axis=1) * 0.5)
    return (rng.lognormal(0, 0.4, (owners, 1)) * shape * weekend * noise * slow).astype(np.float32)


def settings_of(epsilon: float, arguments: argparse.Namespace, source: Path) -> Any:
    """Return the config of a run; ε = inf trains as usual, with the same networks and steps."""
    from distgan import config

    total = arguments.owners + OTHERS
    tree = json.loads(json.dumps({**SETTINGS, **MODELS[arguments.model]}))
    tree["train"] |= {**SETTINGS["train"], "batch_size": arguments.batch, "steps": arguments.steps}
    if arguments.model == "rectified_flow":
        tree["train"]["burn_in_steps"] = arguments.steps  # the rate falls from four times its value
    shares = tree.pop("privacy", {})
    train = arguments.owners / total
    tree["data"] |= {
        "source": str(source),
        "splits": {"train": train, "held_out": 0.8 * (1 - train), "reference": 0.2 * (1 - train)},
    }
    tree["run_dir"] = str(arguments.folder / f"epsilon-{epsilon:g}")
    public = arguments.folder / "public"
    if arguments.public and source == public.with_suffix(".npy"):
        tree["run_dir"], tree["train"]["steps"] = str(public), arguments.public
        tree["train"]["burn_in_steps"] = min(arguments.public, tree["train"].get("burn_in_steps", 0))
        return config.from_tree(tree)
    if math.isfinite(epsilon):
        tree["run_dir"] += "-public" if arguments.public else ""
        tree["privacy"] = {
            "public": str(public) if arguments.public else None,
            "end_to_end": True,
            "epsilon": epsilon,
            "delta": 0.01 / arguments.owners,
            "owners": arguments.owners,
            "gradient_clip": arguments.clip,
            "log_rms_range": (-3.0, 3.0),
            **shares,
        }
    return config.from_tree(tree)


def private_gaussian(run: Any, settings: Any, epsilon: float) -> np.ndarray:
    """Draw from a normal distribution with noisy mean and covariance: the classical baseline, (ε, δ)-private.

    Of each series the scaled readings and its two attributes, clipped at a length; all of ε for the moments.
    """
    from distgan import config
    from distgan.anonymity.attributes import to_location_and_scale, to_ratio_and_log_rms
    from distgan.anonymity.dp.bank import Budget, sum_moments
    from distgan.pipeline.training_data import TrainingData

    data = TrainingData.open(run)
    series = data.read_scaled(0, data.num_series)[0].numpy()[:, :, 0]
    values = to_ratio_and_log_rms(data.attributes)[:, 0] / np.array([2.5, 3.0])
    records = np.concatenate([series, values], axis=1)
    radius = 0.5 * math.sqrt(records.shape[1])
    privacy = config.Privacy(
        epsilon=epsilon, delta=settings.privacy.delta, clip=radius, directions_share=0.999999
    )
    moments = sum_moments(records, Budget(privacy, records.shape[1]))
    mean, covariance = moments.compute_mean_and_covariance(radius)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    count = settings.generate.count
    drawn = mean + np.random.default_rng(1).standard_normal((count, len(mean))) @ root.T
    attributes = to_location_and_scale(drawn[:, None, -2:] * np.array([2.5, 3.0]))
    scaled = np.clip(drawn[:, :-2, None], -1, 1).astype(np.float32)
    return data.scaler.restore(scaled, attributes.astype(np.float32))


def score(run: Any, made: np.ndarray) -> Any:
    """Return the overall scores of some series against the run's real ones, as the report has them."""
    from distgan.data.store.private_table import SPLITS, read_table
    from distgan.evaluation.metrics import fidelity
    from distgan.pipeline.evaluate import count_splits
    from distgan.pipeline.training_data import number_owners, open_series, select_rows

    real, table = open_series(run), read_table(run.private_table)
    rows = {name: select_rows(real, table, name, run)[:1000] for name in SPLITS}
    sets = fidelity.Sets(
        **{name: real.read_rows(rows[name]) for name in SPLITS},
        synthetic=made,
        owners={name: split.owners for name, split in count_splits(table).items()},
        owner_of={name: number_owners(table, real, rows[name]) for name in fidelity.TESTED},
    )
    table_of_scores = fidelity.evaluate(sets, 24, seed=0, max_series=1000)
    return {each.row: each for each in table_of_scores.paired.overall}


def work(epsilon: float, arguments: argparse.Namespace, source: Path) -> list[dict[str, Any]]:
    """Train at one ε, and return the rows of the table."""
    from distgan import config
    from distgan.data.store.reader import Store
    from distgan.pipeline import runner
    from distgan.run import Run

    settings = settings_of(epsilon, arguments, source)
    run, started = Run(Path(settings.run_dir)), time.process_time()
    runner.run(settings, run, config.STAGES[:-1])
    seconds = time.process_time() - started
    found = score(run, Store.open(run.synthetic).read_rows(np.arange(settings.generate.count)))
    name = arguments.model + (" from public weights" if settings.privacy.public else "")
    rows = [row_of(epsilon, name, found["model"]) | {"cpu_s": seconds}]
    if math.isfinite(epsilon):
        made = private_gaussian(run, settings, epsilon)
        rows.append(row_of(epsilon, "private Gaussian", score(run, made)["model"]))
    else:
        rows += [row_of(epsilon, name, each) for name, each in found.items() if name != "model"]
    return rows


def work_on_public(arguments: argparse.Namespace) -> None:
    """Train on public households of another mix, without privacy."""
    from distgan import config
    from distgan.pipeline import runner
    from distgan.run import Run

    source = arguments.folder / "public.npy"
    np.save(source, make_population(arguments.owners + OTHERS, PUBLIC_SEED, PUBLIC_MIX))
    settings = settings_of(math.inf, arguments, source)
    runner.run(settings, Run(Path(settings.run_dir)), config.STAGES[:-1])


def score_public(arguments: argparse.Namespace, source: Path) -> dict[str, Any]:
    """Score the public run's own series against the private households."""
    from distgan.data.store.reader import Store
    from distgan.run import Run

    settings = settings_of(arguments.epsilons[0], arguments, source)
    store = Store.open(Run(arguments.folder / "public").synthetic)
    made = store.read_rows(np.arange(settings.generate.count))
    return row_of(0.0, "public weights", score(Run(Path(settings.run_dir)), made)["model"])


def row_of(epsilon: float, name: str, each: Any) -> dict[str, Any]:
    return {"epsilon": epsilon, "model": name, "overall": each.value, "low": each.low, "high": each.high}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--owners", type=int, default=5000)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[1.0, 4.0, 8.0, math.inf])
    parser.add_argument("--model", choices=MODELS, default="rectified_flow")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=500, help="owners, or series, of a step")
    parser.add_argument("--public", type=int, default=0, help="steps of a run on public households before")
    parser.add_argument("--clip", type=float, default=0.2, help="privacy.gradient_clip")
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that it works")
    parser.add_argument("--folder", type=Path, default=Path("runs/dp_utility"))
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.owners, arguments.steps, arguments.epsilons = 600, 2, [8.0]
        arguments.batch = 250
    arguments.folder.mkdir(parents=True, exist_ok=True)
    source = arguments.folder / "households.npy"
    np.save(source, make_population(arguments.owners + OTHERS))
    rows = []
    if arguments.public:
        work_on_public(arguments)
    for epsilon in arguments.epsilons:
        rows += work(epsilon, arguments, source)
        show(f"up to epsilon {epsilon:g}", rows)  # a run that is done is only scored again
    if arguments.public:
        rows.append(score_public(arguments, source))
    show(f"{arguments.owners:,} owners, {arguments.steps} steps", rows)
    finish(1, owners=arguments.owners, rows=[{**row, "epsilon": str(row["epsilon"])} for row in rows])


if __name__ == "__main__":
    main()
