"""The training loop: any objective, any number of processes, exact resume.

A step is one round of all phases that are due. It depends on (seed, step) and the state alone, so a run that
was stopped or killed and resumed ends with the same bits as an uninterrupted one.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, Protocol

from torch import nn

from distgan.engine.telemetry import Telemetry
from distgan.engine.training import Job, Schedule, SpoiledError, Training
from distgan.errors import SIGNALS, Stopped
from distgan.objectives.base import Objective
from distgan.parallel.optimized_network import OptimizedNetwork
from distgan.parallel.processes import Parallel

STOPPING = (*SIGNALS, signal.SIGINT)


class Batches(Protocol):
    """The interface of a loader: step s always gives the same batch, or this process's part of it."""

    def iterate_batches(self, first_step: int = 0) -> Iterator[Any]:
        """Yield endless batches from `first_step` on; a batch has `to(device, non_blocking)` and `step`."""


def fit(
    objective: Objective,
    optimized_networks: Mapping[str, OptimizedNetwork],
    loader: Batches,
    parallel: Parallel,
    schedule: Schedule,
    job: Job,
) -> dict[str, nn.Module]:
    """Train until `schedule.steps`, or until `job.select` ends it, from the newest checkpoint of the run if
    there is one.

    Returns:
        The plain networks by name, averaged where there is an average, in evaluation mode: those of the last
        step. `job.select` has the weights of the best one.

    Raises:
        Stopped: SIGTERM, SIGINT, SIGHUP or SIGUSR1 reached a process; all is saved.
        Diverged: losses or gradients are not finite beyond max_skips and max_rollbacks.
        LostProcess: another process died or fell silent.
        UserError: the checkpoints are damaged, of another run, or beyond `schedule.steps`.
    """
    training = Training(objective, optimized_networks, parallel, schedule, job)
    with parallel.watch_peers(), catch_signals() as caught:
        training.resume()
        while not training.is_finished:
            try:
                telemetry = Telemetry(
                    job.run,
                    job.stage,
                    parallel,
                    step=training.step,
                    steps=schedule.steps,
                    batch_size=schedule.batch_size,
                )
                telemetry.describe(job.facts)
                train_to_end(training, telemetry, loader, caught, job)
            except SpoiledError as spoiled:
                training.roll_back(spoiled)
        training.finish_saving()
        stop_if_asked(training, caught)  # after the last step, or of a training that was finished before
        return training.collect_networks()


def train_to_end(
    training: Training,
    telemetry: Telemetry,
    loader: Batches,
    caught: list[int],
    job: Job,
) -> None:
    """Train until the end.

    Raises:
        SpoiledError: too many steps in a row were skipped.
        Stopped: a signal came.
    """
    batches = loader.iterate_batches(training.step)
    try:
        while not training.is_finished:
            with telemetry.measure_time("data"):
                batch = next(batches).to(training.parallel.device, non_blocking=True)
            telemetry.add(training.advance(batch))
            telemetry.count_step()
            report_if_due(training, telemetry, job)
            stop_if_asked(training, caught)
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()
        telemetry.close()


def report_if_due(training: Training, telemetry: Telemetry, job: Job) -> None:
    """Report after a step: the line, the pictures and the checkpoint, each when it is due; all at the end."""
    step, schedule, selecting = training.step, training.schedule, training.is_selecting
    saving, reporting = training.is_due(schedule.checkpoint_every), training.is_due(schedule.report_every)
    on_cpu = training.parallel.device.type == "cpu"  # where reading a value costs nothing
    if saving or reporting or selecting or on_cpu:
        training.check_finite()
    if selecting:
        with telemetry.measure_time("aside"):
            telemetry.add(training.select())
        saving, reporting = saving or training.is_finished, reporting or training.is_finished
    if reporting:
        metrics = telemetry.report(step)
        training.collapse_monitor.check(step, metrics)
        if job.on_report is not None:
            job.on_report(step, metrics)
    with telemetry.measure_time("aside"):
        if job.on_sample is not None and training.is_due(schedule.sample_every):
            telemetry.log_figures(step, job.on_sample(step, training.collect_networks()))
            training.train_mode()
        if saving:
            training.save()


def stop_if_asked(training: Training, caught: list[int]) -> None:
    """Stop all processes after the same step, whichever of them the signal reached.

    Raises:
        Stopped: a signal came.
    """
    number = training.parallel.find_largest(caught[0] if caught else 0)
    if number:
        training.save()
        training.finish_saving()
        kept = "everything is saved"
        if training.saved != training.step:
            kept = f"as its steps are being skipped, the checkpoint of step {training.saved} is kept"
        raise Stopped(
            f"stopped at step {training.step} by {signal.Signals(number).name}, and {kept}; run the same "
            "command again to continue"
        )


@contextlib.contextmanager
def catch_signals() -> Iterator[list[int]]:
    """Yield a list that signals are added to while the block runs; a second Ctrl-C interrupts immediately. A
    signal that is ignored (SIGHUP under nohup) stays ignored.
    """
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():  # Python lets only the main thread listen
        yield caught
        return
    before = {
        number: signal.signal(number, note) or signal.SIG_DFL  # None: a handler that is not Python's
        for number in STOPPING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
