"""What the machinery of a sweep costs a trial: the same trainings plainly, one after another, and as trials.

    python benchmarks/sweep.py [--config configs/sweep.yaml] [--trials 4] [--steps 200]

One trial runs at a time, on one core, so that both sides have the same processor. Plainly means one process a
training, by `train.py`, with the shared stages made beforehand, as the sweep makes them. The sweep adds
Ray's start, paid once, and what each trial waits for: a worker process, its report, the records.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import ROOT, finish, show

from distgan import config
from distgan.run import Run
from distgan.sweep import results
from distgan.sweep.files import SweepFiles
from distgan.sweep.trial import Trial, make_shared

SMALL = [
    "encoder.steps=4",
    "encoder.width=16",
    "encoder.depth=1",
    "model.generator.width=16",
    "model.discriminator.width=16",
    "generate.count=20",
]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "sweep.yaml")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--smoke", action="store_true", help="two trials of four steps of tiny networks")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[str]:
    """Overrides: one look, at the end; one trial at a time."""
    trials, steps = (2, 4) if options.smoke else (options.trials, options.steps)
    cores = len(os.sched_getaffinity(0))
    return [
        f"train.steps={steps}",
        f"sweep.trials={trials}",
        "sweep.scheduler=none",
        "sweep.confirm=0",
        f"sweep.resources.cpus={cores}",
        *(SMALL if options.smoke else []),
    ]


def run(*command: str) -> float:
    """Seconds of the clock."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - started


def as_sweep(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    settings = config.load(options.config, chosen(options)).model_copy(update={"run_dir": str(home)})
    home.mkdir()
    make_shared(settings, SweepFiles(home).shared)
    command = ["-m", "distgan.cli", "sweep", "--config", str(options.config), "--run-dir", str(home)]
    wall = run(*command, *chosen(options))
    found = results.read_results(Run(home), settings.train.steps)
    inside = sum(result.seconds for result in found)
    events = [json.loads(line) for line in SweepFiles(home).states.read_text().splitlines()]
    searching = events[-1]["time"] - events[0]["time"]
    return {
        "wall_s": wall,
        "inside_trials_s": inside,
        "between_trials_s": searching - inside,
        "start_and_end_s": wall - searching,
        "values": [result.values for result in found],
    }


def plainly(options: argparse.Namespace, home: Path, values: list[dict[str, Any]]) -> float:
    """The same values, a process each."""
    settings = config.load(options.config, chosen(options))
    wall = 0.0
    for number, each in enumerate(values):
        trial = Trial(home.with_name("plain") / str(number))
        trial.run.folder.mkdir(parents=True)
        trial.open(settings.with_values(each), each, Run(home / "shared"))
        wall += run("-m", "distgan.train", "--config", str(trial.files.config))
    return wall


def main() -> None:
    options = arguments()
    folder = Path(tempfile.mkdtemp(prefix="distgan-benchmark-"))
    try:
        swept = as_sweep(options, folder / "home")
        values = swept.pop("values")
        plain = plainly(options, folder / "home", values)
    finally:
        shutil.rmtree(folder)
    trials = len(values)
    rows = [
        {"what": "plain trainings, a process each", "all_s": plain, "trial_s": plain / trials},
        {
            "what": "sweep, start and end included",
            "all_s": swept["wall_s"],
            "trial_s": swept["wall_s"] / trials,
        },
        {"what": "  inside the trials", "all_s": swept["inside_trials_s"]},
        {"what": "  between and around them", "all_s": swept["between_trials_s"]},
        {"what": "  Ray's start and end, tables, page", "all_s": swept["start_and_end_s"]},
    ]
    for row in rows[2:]:
        row["trial_s"] = float(row["all_s"]) / trials  # type: ignore[arg-type]
    show(f"{trials} trainings one after another, seconds of the clock", rows)
    finish(
        1,
        trials=trials,
        plain_trial_s=plain / trials,
        sweep_trial_s=swept["wall_s"] / trials,
        between_trial_s=swept["between_trials_s"] / trials,
        once_s=swept["start_and_end_s"],
        overhead_ratio=swept["wall_s"] / plain,
    )


if __name__ == "__main__":
    main()
