"""Results of a sweep so far, read from the trials' folders: the table, the best trial, the output files."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pandas as pd

from distgan import config
from distgan.errors import UserError, parsing, writing
from distgan.files import read_lines, read_record, write_bytes, write_text
from distgan.progress import say
from distgan.run import Run
from distgan.sweep.files import CONFIRM, SEARCH, SweepFiles
from distgan.sweep.scores import WORST
from distgan.sweep.trial import Evaluation

BEGUN = "begun"  # of the sweep itself, each time that its command is run
DEFAULT, BEST = "default", "best"  # what is trained again on fresh seeds


@dataclass(frozen=True)
class Result:
    """A trial as it stands: `state` is running, ended, stopped (early), failed or retried."""

    number: int
    folder: Path
    values: dict[str, Any]
    evaluations: list[Evaluation]
    state: str = "running"
    exchanges: list[dict[str, Any]] = field(default_factory=list)

    @property
    def step(self) -> int:
        return self.evaluations[-1].step if self.evaluations else 0

    @property
    def seconds(self) -> float:
        return sum(evaluation.seconds for evaluation in self.evaluations)

    @property
    def gate(self) -> str:
        return self.evaluations[-1].gate if self.evaluations else ""

    @property
    def losses(self) -> dict[str, float]:
        """Losses of the last evaluation, as the search counts them."""
        return self.evaluations[-1].counted if self.evaluations else {}

    def find_loss(self, objective: str) -> float:
        return self.losses.get(objective, WORST)


def read_results(root: Run, steps: int, part: str = SEARCH) -> list[Result]:
    """Return all trials in the order they began; `steps` is the length of a whole one."""
    states = _read_states(root)
    records = sorted(
        (
            (read_record(files.record, "started", "looks", "values"), files)
            for files in SweepFiles(root.folder).list_trials(part)
        ),
        key=lambda found: found[0]["started"],
    )
    results = []
    for number, (record, files) in enumerate(records, 1):
        with parsing(files.record):
            evaluations = [Evaluation(**each) for each in record["looks"]]
        state = states.get(files.folder.name, "running")
        if state == "ended" and evaluations and evaluations[-1].step < steps and not evaluations[-1].lost:
            state = "stopped"
        exchanges = record.get("exchanges", [])
        results.append(Result(number, files.folder, record["values"], evaluations, state, exchanges))
    return results


def refuse_hopeless(root: Run, steps: int) -> None:
    """
    Raises:
        UserError: a trial found that its objective can have no value in this sweep.
    """
    for evaluation in (
        evaluation
        for found in read_results(root, steps)
        for evaluation in found.evaluations
        if evaluation.hopeless
    ):
        raise UserError(f"{evaluation.gate}; start again in a new run_dir=PATH")


def record_state(root: Run, name: str, state: str) -> None:
    """Remember what became of the trial in folder `name`."""
    place = SweepFiles(root.folder).states
    torn = place.exists() and not place.read_bytes().endswith(b"\n")  # a line that a full disk cut off
    with writing(root.folder), open(place, "a", encoding="utf-8") as file:
        event = json.dumps({"trial": name, "state": state, "time": round(time.time(), 1)})
        file.write(("\n" if torn else "") + event + "\n")


def _read_states(root: Run) -> dict[str, str]:
    return {event["trial"]: event["state"] for event in read_lines(SweepFiles(root.folder).states)}


def sum_seconds(root: Run) -> float:
    """Return the clock's seconds spent on trials so far, without the time between two calls of the sweep."""
    events = read_lines(SweepFiles(root.folder).states)
    return sum(b["time"] - a["time"] for a, b in pairwise(events) if b["state"] != BEGUN)


# ------------------------------------------------------------------------------------------------ the verdict


def find_best(results: Sequence[Result], objectives: Sequence[str], steps: int) -> Result:
    """Return the trial that is least in the first objective, of whole trials if there are any.

    Raises:
        UserError: no trial has a score that counts.
    """
    scored = [result for result in results if result.evaluations and result.find_loss(objectives[0]) < WORST]
    if not scored:
        why = next((result.gate for result in results if result.gate), "none was scored")
        raise UserError(f"no trial of the sweep has a valid score ({why})")
    whole = [result for result in scored if result.step == steps]
    return min(whole or scored, key=lambda result: result.find_loss(objectives[0]))


def find_pareto_front(results: Sequence[Result], objectives: Sequence[str]) -> list[Result]:
    """Return the trials that no other dominates: is better in one objective and worse in none."""

    def is_better(one: Result, other: Result) -> bool:
        pairs = [(one.find_loss(name), other.find_loss(name)) for name in objectives]
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    scored = [result for result in results if result.evaluations and max(result.losses.values()) < WORST]
    return [result for result in scored if not any(is_better(other, result) for other in scored)]


def make_best_config(settings: config.Config, found: Result, run_dir: str) -> config.Config:
    """Return the config that reproduces the trial: its values, and the length at which it was scored."""
    own = settings.with_values(found.values)
    train = own.train.model_copy(update={"steps": found.step})
    return own.model_copy(update={"run_dir": run_dir, "train": train})


def format_yaml(own: config.Config, found: Result, objectives: Sequence[str]) -> str:
    """Return `best.yaml`, with a note of what it is worth."""
    scores = ", ".join(f"{name} {found.find_loss(name):.4g}" for name in objectives)
    lines = [
        f"# Trial {found.number} of a sweep: {scores} after {found.step:,} steps with seed {own.seed}.",
        "#   accelerate launch distgan/train.py --config best.yaml",
    ]
    if found.exchanges:
        lines.append(
            "# Its values changed on the way (exchanges in its trial.json). These are the last ones, which "
            "alone do not reproduce it; its networks stand in its folder."
        )
    tree = own.to_yaml().partition("\nsweep:\n")[0]
    return "\n".join([*lines, tree]) + "\n"


def format_spread(losses: Sequence[float]) -> str:
    """Return `0.412 ± 0.013 (0.40, 0.41, 0.43)`: mean, deviation and all."""
    if not losses:
        return "–"
    around = f" ± {stdev(losses):.3g}" if len(losses) > 1 else ""
    return f"{mean(losses):.4g}{around} ({', '.join(f'{loss:.4g}' for loss in losses)})"


# ------------------------------------------------------------------------------------------------------ files


def make_frame(results: Sequence[Result], objectives: Sequence[str]) -> pd.DataFrame:
    """Return a row for each evaluation: trial, state, values, losses as measured, and why they fail."""
    rows = [
        {
            "trial": result.number,
            "folder": result.folder.name,
            "state": result.state,
            "step": evaluation.step,
            **{name: evaluation.scores.get(name) for name in objectives},
            "gate": evaluation.gate,
            "seconds": evaluation.seconds,
            **result.values,
        }
        for result in results
        for evaluation in result.evaluations
    ]
    table = pd.DataFrame(rows)
    for name in table.columns:  # Parquet has one type per column: all numbers, or all text
        if not table[name].map(lambda value: isinstance(value, int | float)).all():
            table[name] = table[name].map(format_value)
    return table


def format_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def write_results(root: Run, settings: config.Config) -> Result:
    """Write `trials.parquet`, `best.yaml` and TensorBoard's table of hyper-parameters; return the best."""
    objectives, steps = settings.sweep.objectives, settings.train.steps
    results = read_results(root, steps)
    found = find_best(results, objectives, steps)
    files = SweepFiles(root.folder)
    write_bytes(files.table, make_frame(results, objectives).to_parquet(index=False))
    own = make_best_config(settings, found, str(root.folder / BEST))
    write_text(files.best, format_yaml(own, found, objectives))
    if "tensorboard" in settings.engine.trackers:
        write_hyper_parameters(results)
    return found


def write_hyper_parameters(results: Sequence[Result]) -> None:
    """Write each trial's values and its losses over evaluations, for `tensorboard --logdir RUN/trials`."""
    from torch.utils.tensorboard import SummaryWriter

    for result in results:
        place = Run(result.folder).logs / "sweep"
        if place.exists() or not result.evaluations or result.state == "running":
            continue
        values = {
            name: value if isinstance(value, int | float) else format_value(value)
            for name, value in result.values.items()
        }
        with SummaryWriter(str(place)) as writer:
            for evaluation in result.evaluations:
                for name, loss in evaluation.scores.items():
                    writer.add_scalar(f"objective/{name}", loss, evaluation.step)
            writer.add_hparams(values, {f"last/{n}": loss for n, loss in result.losses.items()}, run_name=".")


# ------------------------------------------------------------------------------------------------------ table


def format_table(results: Sequence[Result], objectives: Sequence[str], steps: int) -> str:
    """Return one line a trial, as wide as it must be."""
    keys = list(dict.fromkeys(name for result in results for name in result.values))
    rows = [["trial", "state", "step", *objectives, "s", *(_shorten_key(key, keys) for key in keys)]]
    for result in results:
        losses = [
            f"{result.evaluations[-1].scores[name]:.4g}" if result.evaluations else "" for name in objectives
        ]
        if result.gate:
            losses = ["fails" for _ in objectives]
        values = [_format_cell(result.values.get(key, "")) for key in keys]
        place = f"{result.step}/{steps}"
        rows.append([str(result.number), result.state, place, *losses, f"{result.seconds:.0f}", *values])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    )


def _shorten_key(key: str, keys: Sequence[str]) -> str:
    """Return the last word of a key, where no other key ends so."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in keys) == 1 else key


def _format_cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_line(result: Result, objectives: Sequence[str], steps: int) -> str:
    """Return `trial 3    running   step 333/1000  fidelity 0.51  generator_rate 0.0004 …`."""
    losses = " ".join(
        f"{name} {result.evaluations[-1].scores[name]:.4g}" for name in objectives if result.evaluations
    )
    keys = list(result.values)
    values = "  ".join(
        f"{_shorten_key(key, keys)} {_format_cell(value)}" for key, value in result.values.items()
    )
    parts = [f"trial {result.number:<3}", f"{result.state:<8}", f"step {result.step}/{steps}", losses, values]
    return "  ".join([*filter(None, parts), *([f"fails: {result.gate}"] if result.gate else [])])


class LiveTable:
    """The table in a terminal, drawn over itself; elsewhere a line for each trial that has something new."""

    def __init__(self) -> None:
        self.height = 0
        self.shown: dict[str, tuple[str, int]] = {}

    def show(self, results: Sequence[Result], objectives: Sequence[str], steps: int) -> None:
        if sys.stdout.isatty():
            text = format_table(results, objectives, steps)
            say((f"\x1b[{self.height}F\x1b[J" if self.height else "") + text)
            self.height = text.count("\n") + 1
            return
        for result in results:
            now = result.state, result.step
            if self.shown.get(result.folder.name) != now:
                self.shown[result.folder.name] = now
                say(format_line(result, objectives, steps))


def format_summary(root: Run, settings: config.Config) -> str:
    """Return the table, the best trial, and what fresh seeds say."""
    objectives, steps = settings.sweep.objectives, settings.train.steps
    results = read_results(root, steps)
    found = find_best(results, objectives, steps)
    lines = [format_table(results, objectives, steps), ""]
    lines.append(f"best      trial {found.number}: {SweepFiles(root.folder).best}")
    if len(objectives) > 1:
        numbers = ", ".join(str(result.number) for result in find_pareto_front(results, objectives))
        lines.append(f"front     trials {numbers}: no other trial is better in both objectives")
    again = read_confirmations(root, objectives, steps)
    for name in objectives:
        lines += [
            f"{label:<9} {name} on fresh seeds: {format_spread(losses[name])}"
            for label, losses in again.items()
        ]
    return "\n".join(lines)


def read_confirmations(root: Run, objectives: Sequence[str], steps: int) -> dict[str, dict[str, list[float]]]:
    """Return the losses on fresh seeds: best or default -> objective -> a loss a seed."""
    found: dict[str, dict[str, list[float]]] = {}
    for result in read_results(root, steps, CONFIRM):
        label = found.setdefault(result.folder.name.partition("-")[0], {name: [] for name in objectives})
        for name in objectives:
            if result.evaluations:
                label[name].append(result.evaluations[-1].scores[name])
    return dict(sorted(found.items()))
