"""The training loop: any objective, any number of processes, exact resume.

A step is one round of all phases that are due. What it does depends on (seed, step) and the state alone, so a
run that was stopped, or killed, and resumed ends with the bits of one that never was.
"""

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import distgan
from distgan import draws
from distgan.engine import checkpoint
from distgan.engine.ema import Average
from distgan.engine.telemetry import Telemetry
from distgan.errors import Diverged, Stopped, UserError
from distgan.objectives.base import Objective, Phase
from distgan.parallel import Parallel, Trainee
from distgan.runs import Run

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Batches(Protocol):
    """The loader, as far as the loop knows it: step s always gives the same batch, or this process's part."""

    def batches(self, first_step: int = 0) -> Iterator[Any]:
        """Endless batches from `first_step` on; a batch has `to(device, non_blocking)` and `step`."""


@dataclass(frozen=True)
class Rate:
    """Of one network's Adam, in one step."""

    learning_rate: float
    beta2: float


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and how often. Steps count from 0; `every` counts finished steps; 0 is never.

    Args:
        batch_size: series per step over all processes.
        rates: for each network, its rate in a step; a network left out keeps its own.
        decay: what averages keep of themselves in a step (see `ema.decay`).
        clip: largest gradient norm; 0 does not clip.
    """

    steps: int
    batch_size: int
    rates: Callable[[int], Mapping[str, Rate]]
    decay: Callable[[int], float] = lambda step: 0.0
    clip: float = 0.0
    report_every: int = 50
    sample_every: int = 0
    checkpoint_every: int = 200
    keep_last: int = 2


OnReport = Callable[[int, dict[str, float]], None]
OnSample = Callable[[int, dict[str, nn.Module]], Mapping[str, Any] | None]


def fit(
    objective: Objective,
    trainees: Mapping[str, Trainee],
    loader: Batches,
    parallel: Parallel,
    schedule: Schedule,
    *,
    run: Run,
    stage: str,
    seed: int,
    facts: Mapping[str, Any] | None = None,
    on_report: OnReport | None = None,
    on_sample: OnSample | None = None,
) -> dict[str, nn.Module]:
    """Train until `schedule.steps`, from the newest checkpoint of `run` if there is one.

    Args:
        facts: JSON kept in every checkpoint; if it has an "identity", a checkpoint of another one is refused.
        on_report: called on every process with the step and the means of its line.
        on_sample: called on every process with the networks to sample from; gives figures by name, or None.

    Returns:
        The plain networks by name, averaged where there is an average, in evaluation mode.

    Raises:
        Stopped: SIGTERM, SIGINT or SIGUSR1 reached a process; all is saved.
        Diverged: a loss or a gradient is not finite; the checkpoints are of before.
        UserError: the checkpoints are damaged, of another run, or beyond `schedule.steps`.
    """
    training = Training(
        objective, trainees, parallel, schedule, run.checkpoints(stage), seed, dict(facts or {})
    )
    training.resume()
    if training.step == schedule.steps:
        return training.networks()
    telemetry = Telemetry(
        run, stage, parallel, step=training.step, steps=schedule.steps, batch_size=schedule.batch_size
    )
    batches = loader.batches(training.step)
    try:
        with caught_signals() as caught:
            while training.step < schedule.steps:
                with telemetry.timed("data"):
                    batch = next(batches).to(parallel.device, non_blocking=True)
                telemetry.add(training.advance(batch))
                telemetry.stepped()
                report_if_due(training, telemetry, on_report, on_sample)
                stop_if_asked(training, caught)
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()
        telemetry.close()
    return training.networks()


def report_if_due(
    training: "Training", telemetry: Telemetry, on_report: OnReport | None, on_sample: OnSample | None
) -> None:
    """After a step: the line, the pictures and the checkpoint, each when it is due; all at the end."""
    step, schedule = training.step, training.schedule
    saving, reporting = training.due(schedule.checkpoint_every), training.due(schedule.report_every)
    if (
        saving or reporting or training.parallel.device.type == "cpu"
    ):  # reading a value costs nothing on a CPU
        training.check_finite()
    if reporting:
        metrics = telemetry.report(step)
        if on_report is not None:
            on_report(step, metrics)
    with telemetry.timed("aside"):
        if on_sample is not None and training.due(schedule.sample_every):
            telemetry.figures(step, on_sample(step, training.networks()))
            training.train_mode()
        if saving:
            training.save()


def stop_if_asked(training: "Training", caught: list[int]) -> None:
    """All processes stop after the same step, whichever of them the signal reached.

    Raises:
        Stopped: a signal came.
    """
    number = training.parallel.largest(caught[0] if caught else 0)
    if number:
        training.check_finite()
        training.save()
        raise Stopped(
            f"stopped at step {training.step} by {signal.Signals(number).name}, everything is saved; "
            "run the same command again to go on"
        )


@contextlib.contextmanager
def caught_signals() -> Iterator[list[int]]:
    """A list that signals are added to while the block runs; a second Ctrl-C interrupts at once."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():  # Python lets only the main thread listen
        yield caught
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Training:
    """The state of a training between two steps: networks, optimisers, averages, and the step they are at."""

    def __init__(
        self,
        objective: Objective,
        trainees: Mapping[str, Trainee],
        parallel: Parallel,
        schedule: Schedule,
        folder: Path,
        seed: int,
        facts: dict[str, Any],
    ) -> None:
        self.objective, self.trainees, self.parallel, self.schedule = objective, trainees, parallel, schedule
        self.folder, self.seed, self.facts = folder, seed, facts
        self.step, self.saved = 0, -1
        missing = {phase.network for phase in objective.phases} | set(objective.averaged)
        assert missing <= set(trainees), f"no trainee for {sorted(missing - set(trainees))}"
        self.averages = {name: Average(trainees[name].plain) for name in objective.averaged}
        # Where the first value that is not finite came up: step x phases + phase, kept on the device.
        self.first_bad = torch.full((), math.inf, dtype=torch.float64, device=parallel.device)
        self.train_mode()

    def advance(self, batch: Any) -> dict[str, Tensor]:
        """One step: every phase that is due, then the averages. Gives the scalars to show."""
        step = self.step
        assert batch.step == step, f"the loader gave batch {batch.step} at step {step}"
        shown: dict[str, Tensor] = {}
        for name, rate in self.schedule.rates(step).items():
            self.trainees[name].set_rate(rate.learning_rate, rate.beta2)
        for place, phase in enumerate(self.objective.phases):
            if phase.due(step):
                values, norm = self.update(phase, batch)
                self.note_if_bad(norm, step * len(self.objective.phases) + place)
                shown |= {f"{phase.name}/{name}": value for name, value in values.items()}
                shown[f"{phase.name}/gradient_norm"] = norm
        for trainee in self.trainees.values():
            trainee.align()
        for average in self.averages.values():
            average.update(self.schedule.decay(step))
        self.step += 1
        return shown

    def update(self, phase: Phase, batch: Any) -> tuple[Mapping[str, Tensor], Tensor]:
        """Minimise one phase's loss over its network while all others are frozen."""
        for name, trainee in self.trainees.items():
            trainee.require_gradients(name == phase.network)
        torch.manual_seed(draws.torch_seed(self.seed, self.step, f"phase {phase.name}", self.parallel.rank))
        values = phase.loss(batch)
        if phase.skip is not None:
            skipped = phase.skip(self.global_means(values))
            values = {**values, "skipped": torch.tensor(float(skipped), device=self.parallel.device)}
            if skipped:
                return values, torch.zeros((), device=self.parallel.device)
        norm = self.trainees[phase.network].minimise(values["loss"], self.schedule.clip)
        return values, norm

    def global_means(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """The scalars' means over processes, read from the device."""
        means = self.parallel.mean(torch.stack([value.detach().float() for value in values.values()]))
        return dict(zip(values, means.tolist(), strict=True))

    def note_if_bad(self, norm: Tensor, place: int) -> None:
        bad = torch.where(torch.isfinite(norm), math.inf, float(place))
        self.first_bad = torch.minimum(self.first_bad, bad.double())

    def check_finite(self) -> None:
        """
        Raises:
            Diverged: a loss or gradient of a step so far was not finite, on any process.
        """
        place = float(self.first_bad)  # the same on all processes: gradient norms are
        if math.isfinite(place):
            step, index = divmod(int(place), len(self.objective.phases))
            phase, good = self.objective.phases[index].name, checkpoint.steps(self.folder)
            raise Diverged(
                f"the loss or gradient of phase {phase} is not finite at step {step}"
                f" (last checkpoint: {f'step {good[-1]}' if good else 'none'}); "
                "lower the learning rate, or set train.clip, in a new run_dir"
            )

    def due(self, every: int) -> bool:
        """Whether the step just finished is the last, or one of each `every`."""
        return self.step == self.schedule.steps or (every > 0 and self.step % every == 0)

    def networks(self) -> dict[str, nn.Module]:
        """What to sample from, in evaluation mode."""
        plain = {name: trainee.plain for name, trainee in self.trainees.items()}
        averaged = {name: average.network for name, average in self.averages.items()}
        return {name: network.eval() for name, network in (plain | averaged).items()}

    def train_mode(self) -> None:
        for trainee in self.trainees.values():
            trainee.plain.train()

    def state(self) -> checkpoint.TensorFiles:
        """`generator` (weights as the network's state_dict), `generator.optimiser`, `generator.average`, …"""
        files: checkpoint.TensorFiles = {}
        for name, trainee in self.trainees.items():
            state = trainee.state()
            files |= {name: state["weights"], f"{name}.optimiser": state["optimiser"]}
        return files | {f"{name}.average": average.state() for name, average in self.averages.items()}

    def save(self) -> None:
        """One checkpoint for all processes, unless this step has one already."""
        if self.saved == self.step:
            return
        facts = self.facts | {
            "series": self.step * self.schedule.batch_size,
            "world_size": self.parallel.world_size,
            "distgan": distgan.__version__,
            "torch": torch.__version__,
        }
        state = self.state()
        self.parallel.on_main(
            lambda: str(checkpoint.save(self.folder, self.step, state, facts, self.schedule.keep_last))
        )
        self.saved = self.step

    def resume(self) -> None:
        """Go on from the newest whole checkpoint, if there is any.

        Raises:
            UserError: all are damaged, or the newest is of another run or beyond the last step.
        """
        found = checkpoint.load_latest(self.folder) if self.parallel.world_size == 1 else self.agreed()
        if found is not None:
            self.take(found)

    def agreed(self) -> checkpoint.Checkpoint | None:
        """Rank 0 finds the newest whole checkpoint; the others read and verify the same one."""
        found: list[checkpoint.Checkpoint | None] = []

        def choose() -> int | None:
            found.append(checkpoint.load_latest(self.folder))
            return None if found[0] is None else found[0].step

        step = self.parallel.on_main(choose)
        if self.parallel.is_main:
            return found[0]
        return None if step is None else checkpoint.load(self.folder, step)

    def take(self, saved: checkpoint.Checkpoint) -> None:
        ours, theirs = self.facts.get("identity"), saved.facts.get("identity")
        if ours is not None and theirs is not None and ours != theirs:
            raise UserError(
                f"{self.folder} is of other data, model or losses (identity {theirs}, now {ours}); "
                "choose another run_dir"
            )
        if saved.step > self.schedule.steps:
            raise UserError(
                f"{self.folder} stands at step {saved.step}, beyond the {self.schedule.steps} asked for; "
                "raise the number of steps or choose another run_dir"
            )
        try:
            for name, trainee in self.trainees.items():
                trainee.restore({"weights": saved.state[name], "optimiser": saved.state[f"{name}.optimiser"]})
            for name, average in self.averages.items():
                average.restore(saved.state[f"{name}.average"])
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.folder} is of other networks ({reason}); choose another run_dir"
            ) from error
        self.step = self.saved = saved.step
