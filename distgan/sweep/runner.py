"""A search for better settings: `distgan sweep --config configs/sweep.yaml [key.sub=value ...]`.

What the searched keys do not touch is made once. Every trial is a run of the pipeline in a folder of its
own, scored on the way; Ray draws the values, stops or exchanges trials, and starts again those that die. In
the end the best and the config itself are trained on fresh seeds, and both are shown with their spread. The
same command again goes on where the last one stopped.
"""

import math
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from distgan import config
from distgan.errors import SIGNALS, Stopped, UserError, format_nearest_multiples, reading
from distgan.files import write_text
from distgan.preflight import NAMED, describe_changes, refuse_absent
from distgan.progress import say
from distgan.run import Run
from distgan.sweep.files import SweepFiles

STOPPED = "stopped by {}; run the same command again to continue"
BUDGETS = ("sweep.trials", "sweep.hours", "sweep.steps")  # may be raised when a sweep goes on


def sweep(settings: config.Config, dry_run: bool = False) -> None:
    """Search, or with `dry_run` print what would be done.

    Raises:
        UserError: nothing is to be searched, Ray is not installed, or as `run`.
    """
    if not settings.sweep.space:
        raise UserError("sweep.space is empty; name the keys to search, as configs/sweep.yaml does")
    from distgan.sweep import ray_session

    ray_session.require_ray()
    from distgan.sweep import scores, trial

    scores.check_objectives(settings.sweep.objectives, settings.evaluate)
    refuse_many_draws(settings, trial.list_shared_stages(settings))
    refuse_uneven_evaluations(settings, trial.list_evaluation_steps(settings))
    settings, root = resolve_source(settings), Run(Path(settings.run_dir))
    refuse_uneven_batches(settings, trial.list_shared_stages(settings))
    refuse_start(settings, root)
    if (late := warn_of_late_comparison(settings)) is not None:
        say(late)
    if dry_run:
        print(describe(settings, trial.list_evaluation_steps(settings), trial.list_shared_stages(settings)))
    else:
        run_sweep(settings, root)


def refuse_start(settings: config.Config, root: Run) -> None:
    """Refuse what the folder and the source alone show to be impossible.

    Raises:
        UserError: the folder is of a run, of another sweep or of fewer trials; or the source is absent.
    """
    with reading(root.folder):
        refuse_growth(settings, root)
        refuse_another_sweep(settings, root)
        if SweepFiles(root.folder).shared.read_record("prepare") is None:
            refuse_absent(settings.data.source)


def refuse_uneven_batches(settings: config.Config, shared: Sequence[str]) -> None:
    """
    Raises:
        UserError: a batch does not divide among the workers of a trial, so no trial could train.
    """
    workers, values = settings.sweep.resources.workers, settings.flatten()
    for key in ("train.batch_size", *(["encoder.batch_size"] if "encoder" not in shared else [])):
        if key not in settings.sweep.space and values[key] % workers:
            raise UserError(
                f"{key} {values[key]} is not a multiple of sweep.resources.workers {workers}; use "
                f"{format_nearest_multiples(values[key], workers)}"
            )


def warn_of_late_comparison(settings: config.Config) -> str | None:
    """Return a line for a scheduler that has nothing to compare before trials end."""
    chosen, steps = settings.sweep, settings.train.steps
    if chosen.scheduler == "none" or chosen.interval is None or chosen.interval < steps:
        return None
    return (
        f"warning: sweep.interval={chosen.interval} is not below train.steps={steps}, so {chosen.scheduler} "
        "compares no trials before they end"
    )


def refuse_many_draws(settings: config.Config, shared: Sequence[str]) -> None:
    """Refuse a search in which every trial, or every seed of the confirmation, would draw a private bank of
    its own.

    Raises:
        UserError: it would: ε is spent by each, and choosing one by its scores by real series spends more.
    """
    if settings.privacy.epsilon is None:
        return
    if settings.sweep.confirm:
        raise UserError(
            f"sweep.confirm={settings.sweep.confirm} trains again on so many fresh seeds, each with a bank "
            f"of its own, which would spend privacy.epsilon {settings.privacy.epsilon:g} again on the same "
            "people; set sweep.confirm=0, or leave privacy.epsilon out"
        )
    if "bank" not in shared:
        later = {*config.DEPENDS["gan"]}
        searched = next(name for name in settings.sweep.space if name.partition(".")[0] not in later)
        raise UserError(
            f"sweep.space searches {searched}, on which the bank depends, so every trial would "
            f"spend privacy.epsilon {settings.privacy.epsilon:g} again; search keys of "
            f"{', '.join(sorted(later))} only, or leave privacy.epsilon out"
        )


def refuse_uneven_evaluations(settings: config.Config, steps: Sequence[int]) -> None:
    """
    Raises:
        UserError: trials are scored at steps at which `train.select` evaluates nothing.
    """
    chosen = settings.train.select
    odd = [step for step in steps if step % chosen.every]
    if chosen.score is not None and odd:
        raise UserError(
            f"the sweep scores trials after {odd[0]} steps, and train.select evaluates every {chosen.every}; "
            f"set sweep.interval to a multiple of train.select.every, or train.select.every="
            f"{math.gcd(*steps)}"
        )


def run_sweep(settings: config.Config, root: Run) -> None:
    """Run the whole sweep in its folder, from wherever it stands.

    Raises:
        UserError: the folder is of another sweep or in use, Ray cannot start, or no trial has a score.
    """
    from distgan.sweep import confirmation, page, ray_session, results, trial

    with root.lock():
        refuse_growth(settings, root)
        claim_folder(settings, root)
        results.refuse_hopeless(root, settings.train.steps)
        if not is_finished(settings, root):
            trial.make_shared(settings, SweepFiles(root.folder).shared)
            with ray_session.prepare_environment(root, settings.sweep.address) as temporary:
                from distgan.sweep import ray_backend  # Ray reads the environment when it is imported

                with ray_backend.start_ray(settings.sweep, temporary), stop_in_order():
                    ray_backend.search_space(settings, root)
                    results.refuse_hopeless(root, settings.train.steps)
                    found = results.write_results(root, settings)
                    if names := confirmation.prepare_confirmation(settings, root, found):
                        ray_backend.confirm_best(settings, root, names)
            found_trials = len(results.read_results(root, settings.train.steps))
            root.finish("sweep", summary=f"{found_trials} trials", trials=settings.sweep.trials)
        results.write_results(root, settings)
        page.write(root, settings)
        place = SweepFiles(root.folder).page
        print(f"\n{results.format_summary(root, settings)}\nsweep     {place}", flush=True)


def resolve_source(settings: config.Config) -> config.Config:
    """Name the source by its absolute path, so that the sweep goes on from another working directory."""
    source = settings.data.source
    if source in NAMED or "://" in source:
        return settings
    absolute = str(Path(source).expanduser().resolve())
    return settings.model_copy(update={"data": settings.data.model_copy(update={"source": absolute})})


def is_finished(settings: config.Config, root: Run) -> bool:
    """Return whether the sweep has ended, with all the trials that are asked for now."""
    record = root.read_record("sweep")
    return record is not None and record.get("trials", settings.sweep.trials) >= settings.sweep.trials


def refuse_growth(settings: config.Config, root: Run) -> None:
    """
    Raises:
        UserError: more trials are asked for than before, and the search cannot take them up now.
    """
    if not root.config.exists():
        return
    before, chosen = config.load(root.config).sweep.trials, settings.sweep
    if chosen.trials <= before:
        return
    if chosen.scheduler == "pbt":
        raise UserError(
            f"sweep.scheduler=pbt exchanges within the {before} trials that it began with, and takes no "
            f"more; use sweep.trials={before}, or another run_dir=PATH"
        )
    if chosen.searcher == "tpe" and root.read_record("sweep") is None:
        raise UserError(
            f"sweep.searcher=tpe draws more trials once its first {before} have ended; run the command with "
            f"sweep.trials={before} first"
        )


def claim_folder(settings: config.Config, root: Run) -> None:
    """Keep the config in the folder.

    Raises:
        UserError: as `refuse_another_sweep`.
    """
    refuse_another_sweep(settings, root)
    write_text(root.config, settings.to_yaml())


def refuse_another_sweep(settings: config.Config, root: Run) -> None:
    """
    Raises:
        UserError: the folder is of a run, or of a sweep with another config.
    """
    is_run = any(root.record(stage).exists() for stage in config.STAGES)
    if is_run and not SweepFiles(root.folder).shared.records.exists():
        raise UserError(f"{root.folder} holds a run, not a sweep; choose another run_dir=PATH")
    if root.config.exists():
        old, new = _select_fixed_settings(config.load(root.config)), _select_fixed_settings(settings)
        changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if changed:
            raise UserError(
                f"{root.folder} belongs to another sweep ({describe_changes(changed, old, new)}); choose "
                "another run_dir=PATH"
            )


def _select_fixed_settings(settings: config.Config) -> dict[str, Any]:
    """Return what may not change between two calls of one sweep."""
    free = ("run_dir", "sweep.address", "sweep.retries", "sweep.resources.", "engine.", *BUDGETS)
    return {name: value for name, value in settings.flatten().items() if not name.startswith(free)}


@contextmanager
def stop_in_order() -> Iterator[None]:
    """End the block in order at a signal: Ray, which has its own handlers, stops, and its files are removed.

    Raises:
        Stopped: a signal came.
    """
    came: list[str] = []

    def stop(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number).name)
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # the end is not interrupted again
        raise KeyboardInterrupt  # Ray's compiled parts make a SystemError of every other exception

    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    except BaseException as error:
        if not came:
            raise
        raise Stopped(STOPPED.format(came[0])) from error
    else:
        if came:  # and was lost on the way: what the block has found is not whole
            raise Stopped(STOPPED.format(came[0]))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def describe(settings: config.Config, steps: Sequence[int], shared: Sequence[str]) -> str:
    """Return what a sweep would do, for --dry-run."""
    chosen = settings.sweep
    lines = [
        f"{chosen.trials} trials, searcher {chosen.searcher}, scheduler {chosen.scheduler}, "
        f"for {', '.join(chosen.objectives)}",
        f"made once: {', '.join(shared) or 'nothing'}",
        f"each trial is scored after {', '.join(f'{step:,}' for step in steps)} steps",
    ]
    for name, dimension in chosen.space.items():
        way, found = dimension.way
        lines.append(f"{name}: {way} of {', '.join(map(str, found))}")
    return "\n".join(lines)
