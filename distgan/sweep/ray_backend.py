"""Trials on the processors of one machine or of a Ray cluster: the only home of Ray and of Optuna.

Ray draws values, places trials, stops, exchanges and retries them. What a trial is and leaves behind stands
in `trial.py`; a trial that is started again finds its own folder, so nothing depends on Ray's memory of it.
This module must be imported after `ray_session.py` has set Ray's environment variables.
"""

import contextlib
import queue
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TextIO

import optuna
import ray
import ray.train
from ray import tune
from ray.train.torch import TorchTrainer
from ray.tune.logger import JsonLoggerCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch
from ray.util import queue as ray_queue

from distgan import config
from distgan.data.workers import count_cpus
from distgan.errors import SIGNALS, UserError
from distgan.files import private_files, read_record
from distgan.progress import say
from distgan.run import Run
from distgan.sweep import results
from distgan.sweep.files import CONFIRM, SweepFiles, locate_origin
from distgan.sweep.trial import (
    Evaluation,
    Trial,
    continue_trial,
    is_active,
    list_evaluation_steps,
    offer_checkpoint,
    wait_until_free,
)
from distgan.sweep.trial_setup import locate_trial, prepare_trial

EXPERIMENT = "search-"  # and the number of trials: Ray's own state of the search, in `ray/` of the sweep
STARTS = 3  # attempts
STORE_BYTES = 100 << 20  # of Ray's object store: trials exchange files, not objects
DRIVER_CPUS = 0.01  # of what waits for the workers of a trial; Ray refuses 0


@contextlib.contextmanager
def start_ray(chosen: config.Sweep, temporary: Path | None) -> Iterator[None]:
    """Start Ray on this machine alone, without a dashboard, or the cluster at `address`.

    Raises:
        UserError: there is no cluster at the address, or a trial does not fit into it.
    """
    alone: dict[str, Any] = {
        "address": "local",
        "num_cpus": count_cpus() + (chosen.resources.workers > 1),  # one more for those who wait
        "include_dashboard": False,
        "object_store_memory": STORE_BYTES,
        "_temp_dir": str(temporary),
    }
    _join_ray({"address": chosen.address} if temporary is None else alone)
    try:
        host = ray.util.get_node_ip_address()
        if temporary is not None and not (host == "::1" or host.startswith("127.")):
            raise UserError(
                f"Ray listens on {host} instead of the loopback address; start the sweep in a new process"
            )
        refuse_too_large(chosen, ray.cluster_resources())
        yield
    finally:
        ray.shutdown()


def _join_ray(how: Mapping[str, Any]) -> None:
    """Start Ray or join a cluster; try `STARTS` times if its processes exceed the timeout of Ray (30 s).

    Raises:
        UserError: it did not succeed.
    """
    for attempt in range(1, STARTS + 1):
        try:
            ray.init(**how, log_to_driver=False, configure_logging=False)
            return
        except Exception as error:  # Ray raises this very type, besides some of its own
            ray.shutdown()
            why = str(error).strip().partition("\n")[0] or type(error).__name__
            if "timed out during startup" in why and attempt < STARTS:
                say("Ray's processes did not start in time on this busy machine; starting them again")
                continue
            where = "on this machine" if how["address"] == "local" else f"at sweep.address {how['address']}"
            raise UserError(f"no Ray cluster {where}: {why}") from error


def refuse_too_large(chosen: config.Sweep, there: Mapping[str, float]) -> None:
    """Refuse what does not fit: Ray would wait for it for ever.

    Raises:
        UserError: not one trial fits; or of exchanging trials with several workers, not all.
    """
    wanted, fits = chosen.resources, count_trials_at_once(chosen.resources, there)
    if chosen.scheduler == "pbt" and wanted.workers > 1 and fits < chosen.trials:
        raise UserError(
            f"sweep.scheduler=pbt with {wanted.workers} workers runs all {chosen.trials} trials "
            f"at once, but only {fits} fit; use fewer trials, or one worker, so that trials take "
            "turns"
        )
    if fits == 0:
        raise UserError(
            f"sweep.resources: a trial needs {wanted.workers} x {wanted.cpus} CPUs and "
            f"{wanted.gpus:g} GPUs, but Ray has {there.get('CPU', 0):g} and "
            f"{there.get('GPU', 0):g}; set fewer workers, or less of each"
        )


def count_trials_at_once(wanted: config.Resources, there: Mapping[str, float]) -> int:
    waiting = DRIVER_CPUS if wanted.workers > 1 else 0.0
    fits = there.get("CPU", 0) / (wanted.workers * wanted.cpus + waiting)
    return int(min(fits, there.get("GPU", 0) / (wanted.workers * wanted.gpus) if wanted.gpus else fits))


# ---------------------------------------------------------------------------------------------- what Ray runs


def run_trial(drawn: dict[str, Any], folder: str) -> None:
    """Run a trial: Ray calls this for each, again after a failure and after a pause.

    Args:
        drawn: key -> value as drawn; or {"confirm": NAME} for a run of `confirm/`, whose config is there.
    """
    root = Run(Path(folder))
    settings = config.load(root.config)
    checkpoint = tune.get_checkpoint()
    trial, steps = prepare_trial(drawn, root, settings, tune.get_context().get_trial_id(), checkpoint)
    exchange = settings.sweep.scheduler == "pbt" and "confirm" not in drawn
    for evaluation in _iterate_evaluations(trial, steps, settings.sweep):
        metrics = {"step": evaluation.step, "hopeless": evaluation.hopeless, **evaluation.counted}
        if not exchange or evaluation.lost:  # what is lost has nothing to give
            tune.report(metrics)
        elif checkpoint is None or evaluation.step > _read_step(checkpoint):
            with tempfile.TemporaryDirectory(dir=trial.run.folder) as place:
                offer_checkpoint(trial, evaluation.step, Path(place))
                tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(place))


def _read_step(checkpoint: Any) -> int:
    with checkpoint.as_directory() as place:
        return read_record(locate_origin(Path(place)), "step")["step"]


def _iterate_evaluations(trial: Trial, steps: list[int], chosen: config.Sweep) -> Iterator[Evaluation]:
    """Yield the trial's evaluations, trained by this process or by a group of workers."""
    with private_files(), open(trial.files.console, "a", encoding="utf-8") as log:
        yield from _log_evaluations(log, trial, steps, chosen)


def _log_evaluations(
    log: TextIO, trial: Trial, steps: list[int], chosen: config.Sweep
) -> Iterator[Evaluation]:
    with contextlib.redirect_stdout(log):
        if chosen.resources.workers == 1:
            yield from continue_trial(trial, steps, chosen.objectives)
        else:
            yield from _train_group(trial, steps, chosen)


def _train_group(trial: Trial, steps: list[int], chosen: config.Sweep) -> Iterator[Evaluation]:
    """Train by workers that Ray Train starts, joins to a process group, and starts again if one dies."""
    found, wanted = ray_queue.Queue(actor_options={"num_cpus": 0}), chosen.resources
    trainer = TorchTrainer(
        run_worker,
        train_loop_config={
            "folder": str(trial.run.folder),
            "steps": steps,
            "objectives": chosen.objectives,
            "found": found,
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=wanted.workers,
            use_gpu=wanted.gpus > 0,
            resources_per_worker={"CPU": wanted.cpus, **({"GPU": wanted.gpus} if wanted.gpus else {})},
        ),
        run_config=ray.train.RunConfig(
            name="train",
            storage_path=str(trial.files.ray.resolve()),
            # Without a limit Ray waits for ever for room that is not there.
            failure_config=ray.train.FailureConfig(
                max_failures=chosen.retries,
                controller_failure_limit=2,  # type: ignore[call-arg]  # its types are of the version before
            ),
        ),
    )
    ended: queue.Queue[BaseException | None] = queue.Queue()

    def fit() -> None:
        try:
            trainer.fit()
            ended.put(None)
        except BaseException as error:
            ended.put(error)

    threading.Thread(target=fit, daemon=True).start()
    while ended.empty() or not found.empty():
        with contextlib.suppress(ray_queue.Empty):
            yield Evaluation(**found.get(timeout=1))
    if (error := ended.get()) is not None:
        raise error


def run_worker(job: Mapping[str, Any]) -> None:
    """Run one worker of a trial; the first tells what the trial scores."""
    is_main = ray.train.get_context().get_world_rank() == 0
    trial = Trial(Path(job["folder"]))
    if is_main:
        wait_until_free(trial.run)
    with private_files():
        _report_evaluations(trial, job, is_main)


def _report_evaluations(trial: Trial, job: Mapping[str, Any], is_main: bool) -> None:
    for evaluation in continue_trial(trial, job["steps"], job["objectives"], is_main):
        if is_main:
            job["found"].put(vars(evaluation))


# ------------------------------------------------------------------------------------------------- the search


def search_space(settings: config.Config, root: Run) -> None:
    """Run the trials until the budget is spent; again after an interruption, from where it was."""
    chosen, one = settings.sweep, len(settings.sweep.objectives) == 1
    results.record_state(root, "", results.BEGUN)
    spent = results.sum_seconds(root)
    searcher, earlier = _make_searcher(settings), 0
    if chosen.searcher == "tpe" and (before := find_smaller_search(root, chosen.trials)) is not None:
        searcher.restore_from_dir(str(before[1]))  # it has learned from these trials
        earlier = before[0]
    _fit(
        root,
        f"{EXPERIMENT}{chosen.trials}",
        chosen,
        tune.TuneConfig(
            metric=chosen.objectives[0] if one else None,
            mode="min" if one else None,
            num_samples=(chosen.trials - earlier) // chosen.grid_points,
            scheduler=_make_scheduler(settings),
            search_alg=searcher,
            time_budget_s=None if chosen.hours is None else max(1.0, 3600 * chosen.hours - spent),
        ),
        {} if chosen.searcher == "tpe" else {name: _make_domain(d) for name, d in chosen.space.items()},
        StepBudget(chosen.steps),
    )


def find_smaller_search(root: Run, trials: int) -> tuple[int, Path] | None:
    """Return the largest search of fewer trials that the sweep has made before: its trials, and Ray's folder
    of it.

    Random draws need none: the first of a longer search are those of a shorter one, and find their folders.
    """
    place = SweepFiles(root.folder.resolve()).ray
    found = {int(each.name.removeprefix(EXPERIMENT)): each for each in place.glob(f"{EXPERIMENT}*")}
    smaller = [number for number in found if number < trials]
    return (max(smaller), found[max(smaller)]) if smaller else None


def confirm_best(settings: config.Config, root: Run, names: list[str]) -> None:
    """Run the prepared runs `confirm/NAME` as trials that nothing stops."""
    shutil.rmtree(SweepFiles(root.folder).ray / CONFIRM, ignore_errors=True)
    _fit(
        root,
        CONFIRM,
        settings.sweep,
        tune.TuneConfig(),
        {"confirm": tune.grid_search(names)},
        StepBudget(None),
    )


def _fit(
    root: Run,
    name: str,
    chosen: config.Sweep,
    how: tune.TuneConfig,
    space: dict[str, Any],
    budget: tune.Stopper,
) -> None:
    trainable = tune.with_parameters(run_trial, folder=str(root.folder.resolve()))
    own, together = chosen.resources, chosen.resources.workers > 1
    wanted = {"cpu": DRIVER_CPUS} if together else {"cpu": own.cpus, "gpu": own.gpus}
    trainable = tune.with_resources(trainable, wanted)
    how.reuse_actors = not together
    how.trial_dirname_creator = _name_directory
    if together and not isinstance(how.search_alg, BasicVariantGenerator):
        how.max_concurrent_trials = count_trials_at_once(own, ray.cluster_resources())
    place = SweepFiles(root.folder.resolve()).ray
    TrialMonitor.root = root.folder
    TrialMonitor.handlers = {each: signal.getsignal(each) or signal.SIG_DFL for each in SIGNALS}
    if tune.Tuner.can_restore(str(place / name)):
        tuner = tune.Tuner.restore(str(place / name), trainable, resume_unfinished=True)
    else:
        run_config = tune.RunConfig(
            name=name,
            storage_path=str(place),
            failure_config=tune.FailureConfig(max_failures=chosen.retries),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=4),
            callbacks=[TrialMonitor(), JsonLoggerCallback()],
            stop=budget,
            verbose=0,
        )
        tuner = tune.Tuner(trainable, param_space=space, tune_config=how, run_config=run_config)
    tuner.fit()


def _name_directory(trial: Any) -> str:
    """Return the name of Ray's own folder of a trial; its default spells all values out."""
    return trial.trial_id


class StepBudget(tune.Stopper):
    """Budget that ends the search when all trials together have trained so many steps (None is no budget), or
    when no trial can score.
    """

    def __init__(self, steps: int | None) -> None:
        self.steps = steps
        self.trained: dict[str, int] = {}
        self.hopeless = False

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        self.trained[trial_id] = result["step"]
        self.hopeless |= result["hopeless"]
        return False

    def stop_all(self) -> bool:
        return self.hopeless or (self.steps is not None and sum(self.trained.values()) >= self.steps)


class TrialMonitor(tune.Callback):
    """Callback that writes down what becomes of each trial, and shows the table.

    Attributes:
        root: the sweep's folder. Of the class, since Ray pickles its callbacks, and the folder may have moved
            when they are restored.
        handlers: of signals, put back since Ray's own of SIGUSR1 ends a search as if its trials had ended.
    """

    root: ClassVar[Path]
    handlers: ClassVar[dict[signal.Signals, Any]] = {}

    def __init__(self) -> None:
        self.table = results.LiveTable()

    def setup(self, *given: Any, **info: Any) -> None:
        for number, handler in self.handlers.items():
            if threading.current_thread() is threading.main_thread():  # else Ray takes no signals, either
                signal.signal(number, handler)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.note(trial, "running")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        self.note(trial, "running")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.note(trial, "retried")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.note(trial, "ended")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.note(trial, "failed")

    def note(self, trial: Any, state: str) -> None:
        root = Run(self.root)
        settings = config.load(root.config)
        folder = locate_trial(trial.config, root, settings, trial.trial_id)
        results.record_state(root, folder.name, state)
        part = results.read_results(root, settings.train.steps, folder.parent.name)
        self.table.show(part, settings.sweep.objectives, settings.train.steps)


def _make_scheduler(settings: config.Config) -> TrialScheduler:
    chosen, steps = settings.sweep, list_evaluation_steps(settings)
    if chosen.scheduler == "asha" and len(steps) > 1:
        return ASHAScheduler(
            "step", max_t=steps[-1], grace_period=steps[0], reduction_factor=chosen.reduction
        )
    if chosen.scheduler == "pbt":
        mutations = {name: _make_domain(dimension) for name, dimension in chosen.space.items()}
        return PopulationBasedTraining("step", perturbation_interval=steps[0], hyperparam_mutations=mutations)
    return FIFOScheduler()


def _make_domain(dimension: config.Dimension) -> Any:
    way, found = dimension.way
    if way == "randint":
        return tune.randint(found[0], found[1] + 1)
    if way in ("choice", "grid"):
        return tune.choice(list(found)) if way == "choice" else tune.grid_search(list(found))
    return tune.loguniform(*found) if way == "loguniform" else tune.uniform(*found)


def _make_searcher(settings: config.Config) -> Any:
    chosen = settings.sweep
    if chosen.searcher == "random":
        # Of several workers' trials, only so many may begin as find room for their workers; 0 is no limit.
        several = chosen.resources.workers > 1
        fits = count_trials_at_once(chosen.resources, ray.cluster_resources()) if several else 0
        return BasicVariantGenerator(random_state=chosen.seed, max_concurrent=fits)
    names = list(chosen.objectives)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return OptunaSearch(
        space=partial(suggest_values, settings=settings),
        metric=names if len(names) > 1 else names[0],
        mode=["min"] * len(names) if len(names) > 1 else "min",
        # Optuna's own ten random draws would be most of a small sweep.
        sampler=optuna.samplers.TPESampler(
            seed=chosen.seed, n_startup_trials=min(10, max(2, chosen.trials // 3))
        ),
    )


def suggest_values(trial: Any, settings: config.Config) -> dict[str, Any]:
    """Return one draw by Optuna, key after key: a key whose `when` does not hold is not asked for."""
    fixed, drawn = settings.flatten(), dict[str, Any]()
    for name, dimension in settings.sweep.space.items():
        if not is_active(dimension, {**fixed, **drawn}):
            continue
        way, found = dimension.way
        if way == "choice":  # by place: Optuna's categories are plain values, ours may be lists
            drawn[name] = found[trial.suggest_categorical(f"{name}[]", list(range(len(found))))]
        elif way == "randint":
            drawn[name] = trial.suggest_int(name, *found)
        else:
            drawn[name] = trial.suggest_float(name, *found, log=way == "loguniform")
    return drawn
