"""The stages, in order, and how a run goes through them: skip what is done, go on with what is not."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from distgan import config
from distgan.errors import UserError
from distgan.files import write_text
from distgan.parallel import Parallel
from distgan.runs import Run
from distgan.stages import bank, cluster, encode, encoder, evaluate, gan, generate, prepare

STAGES = {
    "prepare": prepare,
    "encoder": encoder,
    "encode": encode,
    "cluster": cluster,
    "bank": bank,
    "gan": gan,
    "generate": generate,
    "evaluate": evaluate,
}
TOGETHER = ("encoder", "encode", "cluster", "gan")  # every process takes part; the others are rank 0's


def run(settings: config.Config, folder: Run, names: tuple[str, ...]) -> None:
    """Take `names` in order. Done stages are skipped; an interrupted one goes on where it was.

    Raises:
        UserError: of any kind; what was complete stays.
    """
    names = had(settings, names)
    parallel = Parallel(settings.engine)
    try:
        with parallel.together(), opened(settings, folder, parallel):
            for name in names:
                take(name, settings, folder, parallel)
        if parallel.is_main and "evaluate" in names:
            print(f"report    {folder.report}\n\n{evaluate.told(folder)}", end="", flush=True)
    finally:
        parallel.close()


def had(settings: config.Config, names: tuple[str, ...]) -> tuple[str, ...]:
    """All stages that the model has, or those asked for.

    Raises:
        UserError: it has not all that were asked for.
    """
    if names == config.STAGES:
        return settings.stages
    for name in names:
        if name not in settings.stages:
            raise UserError(
                f"model {settings.model.name} filters series and has no stage {name}, only "
                f"{' and '.join(settings.stages)}; then: distgan denoise RUN SERIES OUT"
            )
    return names


def take(name: str, settings: config.Config, folder: Run, parallel: Parallel) -> None:
    """Run one stage unless its record says that it is done with these settings."""
    token = tokens(settings)[name]
    record = parallel.share(folder.done(name))
    if record is not None and record["token"] == token:
        if parallel.is_main:
            print(f"{name:<9} done already: {record['summary']}", flush=True)
        return
    started = time.monotonic()

    def work() -> dict[str, Any]:
        return STAGES[name].run(settings, folder, parallel)

    facts = work() if name in TOGETHER else parallel.on_main(work)
    seconds = time.monotonic() - started
    parallel.on_main(lambda: folder.finish(name, token=token, seconds=round(seconds, 1), **facts))
    if parallel.is_main:
        print(f"{name:<9} {facts['summary']}  ({seconds:.0f} s)", flush=True)


def tokens(settings: config.Config) -> dict[str, str]:
    """What a stage's record must hold to count as done: its identity, and lengths and outputs up to there."""
    own: dict[str, Any] = {
        "gan": settings.train.steps,
        "generate": settings.generate.model_dump(mode="json"),
        "evaluate": settings.evaluate.model_dump(mode="json"),
    }
    chain, so_far = {}, []
    for name, identity in settings.identities.items():
        so_far.append(own.get(name))
        content = json.dumps([identity, so_far], sort_keys=True)
        chain[name] = hashlib.sha256(content.encode()).hexdigest()[:16]
    return chain


@contextmanager
def opened(settings: config.Config, folder: Run, parallel: Parallel) -> Iterator[None]:
    """Hold the run folder, with the resolved config in it.

    Raises:
        UserError: the folder is in use, cannot be written, or belongs to another config.
    """

    def claim() -> None:
        if folder.config.exists():
            refuse_another(config.load(folder.config), settings, folder)
        write_text(folder.config, settings.to_yaml())

    with ExitStack() as held:
        parallel.on_main(lambda: held.enter_context(folder.lock()) and None)
        parallel.on_main(claim)
        yield


def refuse_another(saved: config.Config, settings: config.Config, folder: Run) -> None:
    """
    Raises:
        UserError: a stage that is done, or has begun, depends on a setting that is another now.
    """
    now = settings.identities
    for stage, identity in saved.identities.items():
        if identity != now[stage] and (folder.done(stage) or folder.checkpoints(stage).exists()):
            break
    else:
        return
    old, new = saved.flat(), settings.flat()
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name) and config.fixed(name)]
    raise UserError(
        f"{folder.folder} has a stage {stage} of another config ({changed[0]} was {old.get(changed[0])}, now "
        f"{new.get(changed[0])}; {len(changed)} differ); choose another run_dir=PATH or remove that folder"
    )


def describe(settings: config.Config, names: tuple[str, ...]) -> None:
    """Print the resolved config, what is already done, and what each stage would do; write nothing."""
    folder = Run(Path(settings.run_dir))
    print(settings.to_yaml())
    shape = prepare.shape(settings, folder)
    for name in had(settings, names):
        record = folder.done(name)
        done = "done already; " if record and record["token"] == tokens(settings)[name] else ""
        print(f"{name:<9} {done}{STAGES[name].describe(settings, shape)}")
