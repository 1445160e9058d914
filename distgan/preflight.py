"""Checks of a command before anything heavy is imported: paths, run folders, sources."""

import glob
import hashlib
import json
import os
import re
import shlex
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distgan import config
from distgan.config.validation_errors import show
from distgan.errors import UserError, reading
from distgan.files import KINDS, check_path
from distgan.run import HubFolder, Run, list_steps

NAMED = ("auckland",)  # sources that are no path
REPORT_SCHEMA = "distgan.report/5"
TRAIN = "train one with distgan train --config CONFIG.yaml"
SERIES = (
    "a table (CSV, Excel, Parquet; compressed ones too), an array (NPY, NPZ, Zarr, NetCDF), a folder, a "
    "pattern of files (PATH/*.csv), a store or a URL"
)
CSV_TABLE = "a CSV table with commas between its cells"
ATTRIBUTES_TABLE = "a table (CSV, Excel, Parquet; compressed ones too) with a row per entity"
FEW = 3  # settings that a command in a message repeats
OTHER_FOLDER = "choose another run_dir=PATH, or remove that folder"


PATTERN = re.compile(r"[*?\[]")  # of a source that is a pattern of files


def is_pattern(source: str) -> bool:
    """Return whether a source names no path that is there, but a pattern of files."""
    return PATTERN.search(source) is not None and not Path(source).expanduser().exists()


def match_files(pattern: str) -> list[Path]:
    """Return the files whose names a pattern matches, in order."""
    return [Path(name) for name in sorted(glob.iglob(str(Path(pattern).expanduser()), recursive=True))]


def refuse_absent(source: str, name: str = "data.source", wanted: str = SERIES) -> None:
    """
    Args:
        wanted: what the setting takes.

    Raises:
        UserError: a source on this machine is not there, or is a pipe or a device, which may never end.
    """
    if source in NAMED or "://" in source:
        return
    path = check_path(source, name).expanduser()
    with reading(path):
        if is_pattern(source):
            found = match_files(source)
            if not found:
                raise UserError(f"{name} {source}: no file matches this pattern; check it with ls")
        elif not path.exists():
            raise UserError(f"{name} {source} does not exist; give {wanted}")
        else:
            found = [path, *(path.iterdir() if path.is_dir() else ())]
        for each in found:
            mode = os.stat(each).st_mode if each.exists() else stat.S_IFREG
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                kind = KINDS.get(stat.S_IFMT(mode), "something else")
                raise UserError(f"{name} {each} is {kind}; give {wanted}")


def open_run(text: str, command: str) -> Run:
    """Return the run folder that a command was given.

    Raises:
        UserError: it is no path, or no run folder.
    """
    folder = check_path(text, f"the run folder of distgan {command}")
    with reading(folder):
        refuse_no_run(Run(folder))
    return Run(folder)


def refuse_no_run(run: Run, remedy: str = TRAIN) -> None:
    """
    Raises:
        UserError: the folder holds no run's config, or a sweep, or an export where a run is wanted; `remedy`
            says how to make one.
    """
    if not run.config.exists():
        raise UserError(f"{run.folder} is no run folder (it has no config.yaml); {remedy}")
    if not isinstance(run, HubFolder) and HubFolder(run.folder).generator_weights.exists():
        raise UserError(
            f"{run.folder} is an export, which has no stages; sample from it with distgan.load in Python, or "
            "give the folder of its run"
        )
    refuse_sweep(run, "its trials are runs, in the folder trials")


def refuse_sweep(run: Run, remedy: str) -> None:
    """
    Raises:
        UserError: the folder is of a sweep: a run in it would replace the config that the sweep needs.
    """
    if Run(run.shared).records.is_dir():
        raise UserError(f"{run.folder} is the folder of a sweep, not of a run; {remedy}")


def refuse_filter(run: Run) -> None:
    """
    Raises:
        UserError: the run's model filters series, so it has no synthetic ones.
    """
    model = config.load(run.config).model
    if model.filters:
        raise UserError(
            f"{run.folder} holds a {model.name}, which filters series and does not generate any; "
            "use distgan denoise RUN SERIES OUT"
        )


def find_current(name: str, settings: config.Config, run: Run) -> dict[str, Any] | None:
    """Return a stage's record, or None where it is not done with these settings."""
    record = run.read_record(name)
    return record if record is not None and record.get("token") == make_tokens(settings)[name] else None


def make_tokens(settings: config.Config) -> dict[str, str]:
    """Return for each stage the token that the record of a finished stage holds: its identity, and lengths
    and outputs of the stages up to it.
    """
    chosen = settings.generate.model_dump(mode="json")
    if chosen["start"] is None:  # without effect: series of before this setting stay valid
        del chosen["start"]
    if chosen["lengths"] == "whole":
        del chosen["lengths"]
    own: dict[str, Any] = {
        "gan": settings.train.steps,
        "generate": [chosen, digest_table(settings.generate.table), *_list_written(settings)],
        "evaluate": [REPORT_SCHEMA, settings.evaluate.model_dump(mode="json")],
    }
    chain, so_far = {}, []
    for name, identity in settings.identities.items():
        so_far.append(own.get(name))
        content = json.dumps([identity, so_far], sort_keys=True)
        chain[name] = hashlib.sha256(content.encode()).hexdigest()[:16]
    return chain


def make_series_token(settings: config.Config) -> str:
    """Return the token of all that the values of generated series depend on: the generator's token and the
    settings of `generate`, except those of exports.
    """
    chosen = settings.generate.model_dump(mode="json", exclude={"format", "layout", "start", "lengths"})
    content = [make_tokens(settings)["gan"], chosen, digest_table(settings.generate.table)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _list_written(settings: config.Config) -> list[dict[str, str]]:
    """Return the settings of `data` that no training depends on, but what `generate` writes does; those that
    are not set are left out, so series of before stay valid.
    """
    written = {"credit": settings.data.credit}
    if settings.generate.start is not None:
        written["holidays"] = settings.data.holidays
    return [{name: value} for name, value in written.items() if value is not None]


def digest_table(path: str | None) -> str:
    """Return the digest of `generate.table`; "" where there is none."""
    place = None if path is None else Path(path).expanduser()
    if place is None or not place.is_file():
        return ""
    with reading(place):
        return hashlib.sha256(place.read_bytes()).hexdigest()


def check_earlier(name: str, settings: config.Config, run: Run) -> None:
    """
    Raises:
        UserError: a stage before `name` is not done with these settings.
    """
    for earlier in settings.stages[: settings.stages.index(name)]:
        if find_current(earlier, settings, run) is None:
            how = format_remedy(earlier, settings, run)
            raise UserError(
                f"stage {name} needs stage {earlier}, which is not done in {run.folder} with these "
                f"settings; run that stage first: {how}"
            )


def format_remedy(stage: str, settings: config.Config, run: Run) -> str:
    """Return how to run a stage with these settings: by the run's own config and the few that are others now,
    or as a part of the command at hand.
    """
    if not run.config.exists():
        return f"--stages {stage}"
    old, new = config.load(run.config).flatten(), settings.flatten()
    changed = [name for name in new if name != "run_dir" and old.get(name) != new[name]]
    if len(changed) > FEW or set(old) - set(new):
        return f"--stages {stage}"
    values = [shlex.quote(f"{name}={json.dumps(new[name])}") for name in changed]
    return " ".join([run.format_command(stage), *values])


def refuse_another(
    saved: config.Config, settings: config.Config, run: Run, remedy: str = OTHER_FOLDER
) -> None:
    """Refuse other settings than those of a stage that is done or has begun.

    Args:
        remedy: what the user can do, as the command has it.

    Raises:
        UserError: a stage that is done, or has begun, depends on a setting that is another now.
    """
    now = settings.identities
    for stage, identity in saved.identities.items():
        if identity != now[stage] and (run.read_record(stage) or run.checkpoints(stage).exists()):
            break
    else:
        return
    old, new = saved.flatten(), settings.flatten()
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    planned = [name for name in changed if name.startswith("train.")]  # of a run that is private end to end
    changed = [name for name in changed if config.is_fixed(name)] or planned or changed
    raise UserError(
        f"{run.folder} holds the stage {stage} of another config ({describe_changes(changed, old, new)}); "
        f"{remedy}"
    )


def describe_changes(changed: Sequence[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the first setting that differs, as YAML writes it, and how many do."""
    was, now = (tree.get(changed[0]) for tree in (old, new))
    number = "1 setting differs" if len(changed) == 1 else f"{len(changed)} settings differ"
    return f"{changed[0]} was {_show(was)}, now {_show(now)}; {number}"


def _show(value: Any) -> str:
    return value if isinstance(value, str) and value else show(value)


def refuse_fewer_steps(settings: config.Config, run: Run) -> None:
    """Refuse before anything is written: the stage itself would refuse with its record already gone.

    Raises:
        UserError: the GAN is beyond train.steps.
    """
    folder = run.checkpoints("gan")
    reached = max(list_steps(folder), default=0)
    if reached > settings.train.steps:
        raise UserError(
            f"{folder} is at step {reached}, and train.steps={settings.train.steps} is below; use "
            f"train.steps={reached} or more, or choose another run_dir"
        )


def check_order(settings: config.Config, run: Run, names: Sequence[str], remedy: str = OTHER_FOLDER) -> None:
    """Refuse what the run folder alone shows to be impossible for the stages `names`.

    Raises:
        UserError: the folder is of another config or trained beyond train.steps, the source is absent, or a
            stage before the first one has not been done.
    """
    with reading(run.folder):
        if run.config.exists():
            refuse_another(config.load(run.config), settings, run, remedy)
        refuse_fewer_steps(settings, run)
        first = next((name for name in names if name in settings.stages), None)
        if first == "prepare" and not run.record(first).exists():
            refuse_absent(settings.data.source)
        if first is not None:
            check_earlier(first, settings, run)


def check_free(run: Run) -> None:
    """
    Raises:
        UserError: another process works in the run folder.
    """
    alone = os.environ.get("WORLD_SIZE", "1") == "1"  # processes of one launch would meet each other here
    if alone and run.folder.is_dir():
        run.lock().close()
