"""Run the stages in order: skip finished ones, continue interrupted ones.

A stage that runs removes the records of all later ones, so that a record always describes outputs made from
the latest outputs of earlier stages.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from distgan import config
from distgan.errors import UserError
from distgan.files import make_private, private_files, remove_litter, write_text
from distgan.parallel.processes import Parallel
from distgan.parallel.trackers import refuse_absent as refuse_absent_trackers
from distgan.pipeline import digests
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.release_ledger import ReleaseLedger
from distgan.pipeline.run_summary import format_run_summary
from distgan.preflight import check_earlier, find_current, make_tokens, refuse_absent, refuse_another
from distgan.progress import enter_stage, open_view, say
from distgan.run import Run

STAGES = {  # the module of each, imported by the processes that run it, since some import plots or pandas
    "prepare": "distgan.pipeline.prepare",
    "encoder": "distgan.pipeline.train_encoder",
    "encode": "distgan.pipeline.encode",
    "cluster": "distgan.pipeline.cluster",
    "bank": "distgan.pipeline.build_bank",
    "gan": "distgan.pipeline.train_gan",
    "generate": "distgan.pipeline.generate",
    "evaluate": "distgan.pipeline.evaluate",
}
BATCHES = {  # settings that a stage's memory on a GPU follows from
    "encoder": "engine.micro_batch or encoder.batch_size",
    "encode": "encoder.batch_size",
    "gan": "engine.micro_batch or train.batch_size",
    "generate": "generate.batch_size",
}
OTHER_BATCHES = "encoder.batch_size or generate.batch_size"
TOGETHER = ("encoder", "encode", "cluster", "gan", "generate")  # by every process; the others by rank 0


def run(
    settings: config.Config,
    run: Run,
    names: tuple[str, ...],
    *,
    summarise: bool = False,
    export: Callable[[], str] | None = None,
) -> str:
    """Take `names` in order. Done stages are skipped; an interrupted one goes on where it was.

    Args:
        summarise: print at the end what came of it, where things are, and what to do next.
        export: done by rank 0 after the stages, while no other command can change the run.

    Returns:
        What `export` returned; "" without it.

    Raises:
        UserError: of any kind; what was complete stays.
    """
    names = select_stages(settings, names)
    parallel = Parallel(settings.engine)
    try:
        parallel.run_on_main(lambda: refuse_unmet_requests(settings, run, names))
        with private_files(), parallel.watch_peers(), open_run(PipelineContext(settings, run, parallel)):
            due = tuple(name for name in names if find_finished(name, settings, run) is None)
            check_trainings(settings, parallel.broadcast_value(due), parallel)
            with open_view(parallel.is_main):
                for name in names:
                    run_stage(name, PipelineContext(settings, run, parallel))
            said = "" if export is None else parallel.run_on_main(export)
        if parallel.is_main and summarise:
            print(format_run_summary(settings, run), flush=True)
        return said
    finally:
        parallel.close()


def check_trainings(settings: config.Config, names: tuple[str, ...], parallel: Parallel) -> None:
    """
    Raises:
        UserError: a batch of a training cannot be cut among the processes, or the model needs it whole;
            a tracker is not installed.
    """
    if "encoder" in names or ("gan" in names and not settings.model.fitted):
        refuse_absent_trackers(settings.engine.trackers)
    if "encoder" in names:
        parallel.compute_micro_batch(settings.encoder.batch_size, "encoder.batch_size")
    if "gan" in names and not settings.model.fitted:
        whole = parallel.compute_micro_batch(settings.train.batch_size) * parallel.world_size
        if settings.of_whole_batches and whole < settings.train.batch_size:
            who = (*settings.objective.batch_terms, f"model {settings.model.name}")[0]
            raise UserError(
                f"{who} needs the whole batch before an update, but "
                f"engine.micro_batch={settings.engine.micro_batch} splits it; leave "
                "engine.micro_batch out, or lower train.batch_size"
            )


def refuse_unmet_requests(settings: config.Config, run: Run, names: tuple[str, ...]) -> None:
    """
    Raises:
        UserError: the groups of the run exist, and they cannot give the series that `generate` requests.
    """
    due = "generate" in names and find_finished("generate", settings, run) is None
    if due and find_current("bank", settings, run) and run.bank.exists() and run.scaler.exists():
        import_module(STAGES["generate"]).refuse_unmet(settings, run)


def refuse_trainings(settings: config.Config, names: tuple[str, ...]) -> None:
    """
    Raises:
        UserError: this launch could not take `names`: its processes, their precision, batches or trackers.
    """
    parallel = Parallel(settings.engine)
    try:
        check_trainings(settings, names, parallel)
    finally:
        parallel.close()


def select_stages(settings: config.Config, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return all stages that the model has, or those asked for.

    Raises:
        UserError: it has not all that were asked for.
    """
    if names == config.STAGES:
        return settings.stages
    for name in names:
        if name not in settings.stages:
            raise UserError(
                f"model {settings.model.name} filters series and has no stage {name}; its stages are "
                f"{' and '.join(settings.stages)}, and then distgan denoise RUN SERIES OUT"
            )
    return names


def run_stage(name: str, context: PipelineContext) -> None:
    """Run one stage unless it is done with these settings and its output is there."""
    record = context.parallel.broadcast_value(find_finished(name, context.settings, context.run))
    if record is not None:
        if context.parallel.is_main:
            say(f"{name:<9} done already: {record.get('summary', '')}")
        return
    if context.parallel.is_main:
        stages = context.settings.stages
        enter_stage(name, stages.index(name) + 1, len(stages))
    context.parallel.run_on_main(lambda: begin_stage(name, context.settings, context.run))
    read, records = context.parallel.run_on_main(
        lambda: (digests.digest_inputs(name, context.run), digests.digest_records(name, context.run))
    )
    started = time.monotonic()

    def do_work() -> dict[str, Any]:
        return import_module(STAGES[name]).run(context)  # type: ignore[no-any-return]

    with explain_full_gpu(name):
        facts = do_work() if name in TOGETHER else context.parallel.run_on_main(do_work)
    context.parallel.release_memory()
    seconds, token = time.monotonic() - started, make_tokens(context.settings)[name]

    def finish() -> None:
        made = digests.digest_outputs(name, context.run)
        facts["digests"] = {"read": read, "made": made, "records": records}
        if name == "gan":
            facts["releases"] = ReleaseLedger.open(context.run).read_head()
        context.run.finish(name, token=token, seconds=round(seconds, 1), **facts)

    context.parallel.run_on_main(finish)
    if context.parallel.is_main:
        say(f"{name:<9} {facts['summary']}  ({seconds:.0f} s)")


@contextmanager
def explain_full_gpu(stage: str) -> Iterator[None]:
    """Name the settings to lower where a stage needs more memory than the GPU has.

    Raises:
        UserError: the block needed more than that.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        what = " ".join(str(error).split())[:200]
        raise UserError(
            f"{stage}: the GPU's memory is full ({what}); make {BATCHES.get(stage, OTHER_BATCHES)} smaller, "
            "or use a GPU that no other program uses"
        ) from error


def begin_stage(name: str, settings: config.Config, run: Run) -> None:
    """Remove the records of a stage and of all that depend on it.

    Raises:
        UserError: an earlier stage is not done with these settings, or the source is missing.
    """
    check_earlier(name, settings, run)
    if name == "prepare":  # whose source may be gone for good, while series are still to be generated
        refuse_absent(settings.data.source)
    for later in settings.stages[settings.stages.index(name) :]:
        run.record(later).unlink(missing_ok=True)


def find_finished(name: str, settings: config.Config, run: Run) -> dict[str, Any] | None:
    """Return the record as `find_current` does, and None where something that the stage makes is gone."""
    whole = all(path.exists() for path in list_outputs(name, settings, run))
    return find_current(name, settings, run) if whole else None


def list_outputs(name: str, settings: config.Config, run: Run) -> tuple[Path, ...]:
    """Return the outputs of a stage that later stages or the user read."""
    synthetic = run.synthetic
    windows = (run.left_out_windows,) if settings.data.windows.length else ()
    chosen = settings.generate
    moved = (run.synthetic_moved,) if chosen.start is not None or chosen.lengths != "whole" else ()
    joint = (run.scaler_tensors,) if settings.data.scaling.learns_jointly else ()
    return {
        "prepare": (run.series, run.private_table, run.scaler, *joint, *windows),
        "encoder": (run.encoder_weights,),
        "encode": (run.latents,),
        "cluster": (run.clusters,),
        "bank": (run.bank, run.cluster_files.members),
        "gan": (run.generator_weights,),
        "generate": (synthetic, *moved, synthetic.with_suffix(f".{chosen.format}")),
        "evaluate": (run.report, run.scores),
    }[name]


@contextmanager
def open_run(context: PipelineContext) -> Iterator[None]:
    """Hold the run folder, with the resolved config in it.

    Raises:
        UserError: the folder is in use, cannot be written, or belongs to another config.
    """

    def claim() -> None:
        if context.run.config.exists():
            refuse_another(config.load(context.run.config), context.settings, context.run)
        for place in context.run.private:
            make_private(place)
        remove_litter(context.run.folder)
        write_text(context.run.config, context.settings.to_yaml())

    with ExitStack() as held:
        context.parallel.run_on_main(lambda: held.enter_context(context.run.lock()) and None)
        context.parallel.run_on_main(claim)
        yield


def describe(settings: config.Config, names: tuple[str, ...]) -> None:
    """Print the resolved config, what is already done, and what each stage would do; write nothing."""
    run = Run(Path(settings.run_dir))
    print(settings.to_yaml())
    names = select_stages(settings, names)
    refuse_trainings(settings, names)
    shape = import_module(STAGES["prepare"]).find_shape(settings, run)
    for name in names:
        done = "done already; " if find_finished(name, settings, run) else ""
        print(f"{name:<9} {done}{import_module(STAGES[name]).describe(settings, shape)}")
