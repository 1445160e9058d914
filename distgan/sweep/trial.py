"""One trial: a run of the whole pipeline with other values, scored at a few steps on the way.

A trial trains to its next evaluation, generates and evaluates as any run does, and continues from its
checkpoint: what it scores is what `train.py` scores with the same config and that many steps. All it needs to
go on after a kill stands in its folder.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from distgan import config
from distgan.engine import checkpoint
from distgan.errors import DiskFull, Diverged, LostProcess, NcclFailure, Stopped, UserError
from distgan.files import read_record, write_json, write_text
from distgan.run import Run, list_steps
from distgan.sweep import scores
from distgan.sweep.files import TrialFiles, locate_origin

LATER = ("gan", "generate", "evaluate")  # stages that every trial makes itself


@dataclass(frozen=True)
class Evaluation:
    """Scores of a trial after so many steps: losses by objective, and why they do not count, if so."""

    step: int
    scores: dict[str, float]
    gate: str = ""
    seconds: float = 0.0  # of this trial's training and scoring since the evaluation before
    hopeless: bool = False  # no other trial can score, either

    @property
    def lost(self) -> bool:
        """True where there is nothing to go on with."""
        return scores.WORST in self.scores.values()

    @property
    def counted(self) -> dict[str, float]:
        """The losses that the search goes by."""
        return dict.fromkeys(self.scores, scores.WORST) if self.gate else self.scores


def make_failed_evaluation(step: int, objectives: Sequence[str], why: str) -> Evaluation:
    """Return an evaluation of values that cannot be trained."""
    return Evaluation(step, dict.fromkeys(objectives, scores.WORST), why)


def list_evaluation_steps(settings: config.Config) -> list[int]:
    """Return the steps at which a trial is scored; the last is the end of its training."""
    chosen, end = settings.sweep, settings.train.steps
    first = chosen.interval or max(1, end // 9)
    if chosen.scheduler == "none" and chosen.interval is None:
        return [end]
    if chosen.scheduler == "asha":
        powers = (first * chosen.reduction**power for power in range(64))
        return [*takewhile(lambda step: step < end, powers), end]
    return [*range(first, end, first), end]


def list_shared_stages(settings: config.Config) -> tuple[str, ...]:
    """Return the stages that no searched key touches: made once, and read by all trials."""
    searched = {name.partition(".")[0] for name in settings.sweep.space}
    return tuple(
        takewhile(
            lambda stage: stage not in LATER and not searched & set(config.DEPENDS.get(stage, ())),
            config.STAGES,
        )
    )


def make_shared(settings: config.Config, shared: Run) -> None:
    """Run the stages that no searched key touches, of the config itself."""
    from distgan.pipeline import runner  # and torch, which a plan of a sweep does without

    shared.records.mkdir(parents=True, exist_ok=True)
    if names := list_shared_stages(settings):
        own = settings.with_values({}).model_copy(update={"run_dir": str(shared.folder)})
        runner.run(own, shared, names)


def is_active(dimension: config.Dimension, values: Mapping[str, Any]) -> bool:
    """Return whether a searched key counts, by its `when` and the drawn values."""
    return all(values.get(other) in allowed for other, allowed in dimension.when.items())


def select_active_values(drawn: Mapping[str, Any], settings: config.Config) -> dict[str, Any]:
    """Return the drawn values that count: those whose `when` holds."""
    fixed, kept = settings.flatten(), dict[str, Any]()
    for name, dimension in settings.sweep.space.items():
        if is_active(dimension, {**fixed, **kept}):
            kept[name] = drawn[name]
    return kept


class Trial:
    """A trial and its folder, a run's folder with a record beside."""

    def __init__(self, folder: Path) -> None:
        self.run, self.files = Run(folder), TrialFiles(folder)

    def open(self, settings: config.Config, values: Mapping[str, Any], shared: Run) -> None:
        """Make the folder ready: the shared stages as links, the config and the record. Once is enough."""
        if not self.files.config.exists():
            link_stages(shared, self.run)
            self.set(settings)
        if not self.files.record.exists():
            self.write(values=dict(values), looks=[], started=time.time())

    def set(self, settings: config.Config) -> None:
        text = settings.model_copy(update={"run_dir": str(self.run.folder)}).to_yaml()
        write_text(self.files.config, text)

    @property
    def settings(self) -> config.Config:
        return config.load(self.files.config)

    @property
    def record(self) -> dict[str, Any]:
        return read_record(self.files.record, "looks", "values")

    def write(self, **facts: Any) -> None:
        """Write some facts to the record."""
        old = self.record if self.files.record.exists() else {}
        write_json(self.files.record, {**old, **facts})

    @property
    def evaluations(self) -> list[Evaluation]:
        return [Evaluation(**each) for each in self.record["looks"]]

    def keep(self, evaluation: Evaluation) -> None:
        self.write(looks=[vars(found) for found in [*self.evaluations, evaluation]])


def continue_trial(
    trial: Trial, steps: Sequence[int], objectives: Sequence[str], is_main: bool = True
) -> Iterator[Evaluation]:
    """Train to each of `steps` and score; evaluations in the record are yielded again, not repeated.

    All processes of a trial go on together; rank 0 keeps the record. A trial that diverges, or whose values
    cannot go together, ends with the worst score; one whose objective cannot have a value ends the sweep.

    Raises:
        UserError: nothing that the values are to blame for; the trial can be taken up again. Besides what
            other processes, signals and full disks do, that is every error of values that have trained
            before, such as a checkpoint that another version of the program does not take.
    """
    known = {each.step: each for each in trial.evaluations}
    trained = max(list_steps(trial.run.checkpoints("gan")), default=0)
    for step in steps:
        if step in known:
            yield known[step]
            if known[step].lost:
                return
            continue
        if step < trained:  # by the trial that this one has taken over
            continue
        started = time.monotonic()
        try:
            evaluation = train_and_score(trial, step, objectives)
        except (LostProcess, NcclFailure, DiskFull, Stopped):
            raise
        except UserError as error:
            if trained and not isinstance(error, Diverged | scores.NoValue):
                raise
            evaluation = make_failed_evaluation(step, objectives, str(error))
            evaluation = replace(evaluation, hopeless=isinstance(error, scores.NoValue))
        evaluation = replace(evaluation, seconds=round(time.monotonic() - started, 1))
        if is_main:
            trial.keep(evaluation)
        yield evaluation
        if evaluation.lost:
            return


def train_and_score(trial: Trial, step: int, objectives: Sequence[str]) -> Evaluation:
    """Run the pipeline up to `step`, as `train.py` goes it but for the pictures, and what its report says."""
    from distgan.pipeline import runner  # heavy

    settings = trial.settings
    length = settings.train.model_copy(update={"steps": step})
    report = settings.evaluate.model_copy(update={"pictures": False})  # ten times the time of the scores
    settings = settings.model_copy(update={"train": length, "evaluate": report})
    runner.run(settings, trial.run, config.STAGES)
    return Evaluation(
        step, scores.read_objectives(trial.run, objectives), scores.find_privacy_failure(trial.run)
    )


def link_stages(shared: Run, run: Run) -> None:
    """Give `run` the finished stages of `shared`, as links: they are read, never written."""
    here = os.path.relpath(shared.folder.resolve(), run.folder.resolve())
    own = (shared.records, shared.logs, shared.config, shared.lock_file)
    for path in shared.folder.iterdir():
        place = run.folder / path.name
        if path not in own and not place.is_symlink():
            place.symlink_to(Path(here) / path.name, target_is_directory=path.is_dir())
    shutil.copytree(shared.records, run.records, dirs_exist_ok=True)


def wait_until_free(run: Run) -> None:
    """Wait until the processes of a killed sweep let go of their trials, some seconds later."""
    with open(run.lock_file, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


# --------------------------------------------------------------------------------------------------- exchange


def offer_checkpoint(trial: Trial, step: int, place: Path) -> None:
    """Put the checkpoint of `step` where another trial can take it up: networks, optimisers, averages."""
    source = checkpoint.locate(trial.run.checkpoints("gan"), step)
    shutil.copytree(source, place / source.name)
    write_json(locate_origin(place), {"trial": trial.run.folder.name, "step": step})


def take_over_checkpoint(
    trial: Trial, settings: config.Config, values: Mapping[str, Any], place: Path
) -> None:
    """Go on from an offered checkpoint, with this trial's own values: what it trained itself is dropped.

    Every byte is held against the manifest on the way. A trial that meets its own newest state keeps it.

    Raises:
        UserError: the offer is damaged.
    """
    origin, name = read_record(locate_origin(place), "trial", "step"), trial.run.folder.name
    step = origin["step"]
    mine = list_steps(trial.run.checkpoints("gan"))
    if origin["trial"] == name and mine and mine[-1] == step:
        return
    found = checkpoint.load(place, step)
    shutil.rmtree(trial.run.gan, ignore_errors=True)
    for stage in LATER:
        trial.run.record(stage).unlink(missing_ok=True)
    facts = {**found.facts, "identity": settings.identity, "config": settings.model_dump(mode="json")}
    checkpoint.save(trial.run.checkpoints("gan"), step, found.state, facts)
    trial.run.config.unlink(missing_ok=True)
    trial.set(settings)
    kept = [vars(each) for each in trial.evaluations if each.step <= step]
    before = [change for change in trial.record.get("exchanges", []) if change["step"] < step]
    change = (
        [] if origin["trial"] == name else [{"step": step, "of": origin["trial"], "values": dict(values)}]
    )
    trial.write(looks=kept, values=dict(values), exchanges=[*before, *change])
