"""Check the arguments of the commands. Nothing heavy is imported here, so that a mistake in a call is
reported at once.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Literal

from distgan import config
from distgan.csvtext import parse_csv
from distgan.errors import UserError, reading
from distgan.files import check_path, quote_path, read_text, refuse_ending, refuse_standing, refuse_unwritable
from distgan.preflight import CSV_TABLE, check_free, check_order, open_run, refuse_absent, refuse_filter
from distgan.run import Run, is_store, locate_attributes, locate_labels, locate_readme

EXPORTS = (".csv", ".parquet", ".zarr")
TABLE_PART = re.compile(r"part-\d{5,}\.parquet")  # of a large table, which is a folder
NO_REQUEST = ("generate.attributes={}", "generate.shares={}", "generate.table=null")
TASKS = ("classification",)


@dataclass(frozen=True)
class RunRequest:
    """A run folder and the config that it holds, under the overrides."""

    settings: config.Config
    run: Run


@dataclass(frozen=True)
class FilePair:
    """A file of real and one of synthetic series, and how they are compared.

    Attributes:
        training: file of the real series that the synthetic ones were learned from.
        all_held_out: no series of `real` was trained on.
    """

    settings: config.Config
    real: str
    synthetic: str
    out: Path
    align: Literal["sum", "mean"] | None = None
    training: str | None = None
    all_held_out: bool = False

    @property
    def is_unseen(self) -> bool:
        """True where it is stated that no series of `real` was trained on."""
        return self.all_held_out or self.training is not None


@dataclass(frozen=True)
class Inspection:
    """Subject of `distgan inspect`, and options that belong to one kind of it only."""

    positional: tuple[str, ...]
    config: str | None = None
    verify: bool = False
    picture: Path | None = None

    @property
    def path(self) -> Path:
        return Path(self.positional[0]).expanduser()


@dataclass(frozen=True)
class PlanRequest:
    """Subject of `distgan plan`. Without `length`, the shape of the series comes from the data."""

    settings: config.Config
    devices: str = "auto"
    price: float | None = None
    efficiency: float | None = None
    length: int | None = None
    channels: int | None = None
    series: int | None = None


def load_settings(path: str | None, overrides: Sequence[str], run_dir: str | None = None) -> config.Config:
    """Return the settings of a config file under the overrides, and under --run-dir.

    Raises:
        UserError: the config or an override is wrong, or --run-dir is no path.
    """
    settings = config.load(path, overrides)
    if run_dir is None:
        return settings
    check_path(run_dir, "--run-dir")
    return settings.model_copy(update={"run_dir": run_dir})


def select_stage_names(text: str | None) -> tuple[str, ...]:
    """Return the stages that --stages names, in the order of a run; all without it.

    Raises:
        UserError: a name is no stage.
    """
    names = tuple(name.strip() for name in text.split(",")) if text is not None else config.STAGES
    for name in names:
        if name not in config.STAGES:
            raise UserError(
                f"--stages: there is no stage {name!r}; the stages are {', '.join(config.STAGES)}"
            )
    return tuple(name for name in config.STAGES if name in names)


def open_run_request(command: str, place: str, overrides: Sequence[str]) -> RunRequest:
    """Return the run folder at `place` with its settings under the overrides.

    Raises:
        UserError: there is no run folder, or an override is wrong.
    """
    if "=" in place and not os.path.exists(place):
        raise UserError(
            f"distgan {command} needs a run folder before {place[:80]}, e.g. distgan {command} runs/demo"
        )
    run = open_run(place, command)
    settings = config.load(run.config, overrides)
    return RunRequest(settings.model_copy(update={"run_dir": str(run.folder)}), run)


def open_generate(
    run: str, overrides: Sequence[str], out: str | None, force: bool
) -> tuple[RunRequest, Path | None]:
    """Return the run that is to generate, and the place of --out, if there is one.

    Raises:
        UserError: as `open_run_request`, `check_export` and `check_stage`.
    """
    overrides = replace_requests(overrides)
    given = set_count_from_table(open_run_request("generate", run, overrides), overrides)
    place = check_export(out, given.run, force)
    check_stage("generate", given)
    return given, place


def replace_requests(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides of `generate`, so that a request by attributes, shares or a table replaces all
    three of an earlier call.
    """
    keys = tuple(each.partition("=")[0] + mark for each in NO_REQUEST for mark in "=.")
    return (*NO_REQUEST, *overrides) if any(each.startswith(keys) for each in overrides) else tuple(overrides)


def set_count_from_table(given: RunRequest, overrides: Sequence[str]) -> RunRequest:
    """Return the settings with a series for each row of `generate.table`, unless generate.count is given.

    Raises:
        UserError: the table is missing or cannot be read.
    """
    table = given.settings.generate.table
    if table is None or any(each.startswith("generate.count=") for each in overrides):
        return given
    refuse_absent(table, "generate.table", CSV_TABLE)
    path = Path(table).expanduser()
    rows = len(parse_csv(read_text(path), path)) - 1
    if rows < 1:
        raise UserError(f"generate.table {path} has no row below its header; write a row per wanted series")
    settings = given.settings.with_values({"generate.count": rows}, "generate.table")
    return RunRequest(settings.model_copy(update={"sweep": given.settings.sweep}), given.run)


def check_stage(stage: str, given: RunRequest) -> None:
    """Refuse a stage that is neither done nor the next one of a run.

    Raises:
        UserError: an earlier stage is not done, an override changes one, or another process uses the folder.
    """
    remedy = f"leave that override out, since the stages before {stage} were made without it"
    check_order(given.settings, given.run, (stage,), remedy)
    check_free(given.run)


def check_export(out: str | None, run: Run, force: bool) -> Path | None:
    """Return the place of --out, if there is one.

    Raises:
        UserError: the ending is unknown, or something is there already that may not be replaced.
    """
    if out is None:
        if force:
            raise UserError("--force needs --out PATH: it replaces an earlier export at PATH")
        return None
    place = check_path(out, "--out")
    _check_place(place, run, force)
    return place


def _check_place(place: Path, run: Run, force: bool) -> None:
    """
    Raises:
        UserError: the ending is unknown, or something is there (or beside it, of the same export) that may
            not be replaced.
    """
    refuse_ending(place, "--out", EXPORTS)
    refuse_unwritable(place)
    for each in (
        place,
        locate_readme(place),
        locate_labels(place),
        locate_attributes(place),
    ):
        with reading(each):
            if not os.path.lexists(each):
                continue
            if not force:
                raise UserError(f"--out: {each} exists already; choose another path or add --force")
            if Path(os.path.realpath(each)).is_relative_to(os.path.realpath(run.folder)):
                raise UserError(f"--out: {each} is part of the run; choose a path outside {run.folder}")
            a_store = each.suffix == ".zarr" and is_store(each)
            if each.is_dir() and not a_store and not _is_table_folder(each):
                raise UserError(
                    f"--out: {each} is a folder that distgan did not write; --force does not replace it, "
                    "choose another path"
                )
            if each.suffix == ".zarr" and not each.is_dir():
                raise UserError(
                    f"--out: {each} is a file, and a .zarr store is a folder; --force does not replace it, "
                    "choose another path"
                )
    exported = locate_readme(place).exists() or (place.is_dir() and _is_table_folder(place))
    if os.path.lexists(place) and not exported:
        raise UserError(
            f"--out: {place} is no earlier export (there is no {locate_readme(place).name} beside it); "
            "--force does not replace it, choose another path"
        )


def _is_table_folder(place: Path) -> bool:
    """Return whether a folder is the export of a large Parquet table: numbered files and nothing else."""
    names = [path.name for path in place.iterdir()]
    return place.suffix == ".parquet" and bool(names) and all(map(TABLE_PART.fullmatch, names))


@dataclass(frozen=True)
class TwoFiles:
    """The options of `distgan evaluate` that belong to two files, as they were given."""

    real: str | None = None
    synthetic: str | None = None
    training: str | None = None
    all_held_out: bool = False
    align: Literal["sum", "mean"] | None = None
    out: str | None = None


def open_evaluation(positional: Sequence[str], *, task: str | None, files: TwoFiles) -> RunRequest | FilePair:
    """Return the subject of `distgan evaluate`: a run, or two files.

    Raises:
        UserError: options of the two forms are mixed, or as `check_stage` and `open_files`.
    """
    if files.real is not None or files.synthetic is not None:
        if files.real is None or files.synthetic is None or task is not None:
            raise UserError(
                "distgan evaluate takes --real FILE together with --synthetic FILE, and no --task; "
                "e.g. distgan evaluate --real homes.csv --synthetic made.csv"
            )
        out = "report" if files.out is None else files.out
        pair = open_files(files.real, files.synthetic, positional, out=out, align=files.align)
        return _state_unseen(pair, files.training, files.all_held_out)
    if files != TwoFiles():
        raise UserError(
            "--align, --out, --training and --all-held-out belong to distgan evaluate --real FILE "
            "--synthetic FILE; the report of a run is written into the run folder"
        )
    if not positional or "=" in positional[0]:
        raise UserError(
            "distgan evaluate needs a run folder or two files, e.g. distgan evaluate runs/demo, or "
            "distgan evaluate --real homes.csv --synthetic made.csv"
        )
    if task is not None and task not in TASKS:
        raise UserError(f"--task {task!r} does not exist; there is {', '.join(TASKS)}")
    given = open_run_request("evaluate", positional[0], positional[1:])
    if task is None:
        check_stage("evaluate", given)
    return given


def _state_unseen(pair: FilePair, training: str | None, all_held_out: bool) -> FilePair:
    """Return the pair with what the options state of the real series.

    Raises:
        UserError: the file of --training is absent, or is that of --real.
    """
    if training is not None:
        refuse_absent(training, "--training")
        if os.path.realpath(training) == os.path.realpath(pair.real):
            raise UserError(
                f"--training {training} is the file of --real; series that were trained on cannot be held "
                "out, give other real series as --real, or leave --training out"
            )
    return replace(pair, training=training, all_held_out=all_held_out)


def open_files(
    real: str,
    synthetic: str,
    overrides: Sequence[str] = (),
    *,
    out: str = "report",
    align: Literal["sum", "mean"] | None = None,
) -> FilePair:
    """Return two files to compare.

    Raises:
        UserError: a file is absent, an override is wrong, or the report would replace that of a run.
    """
    settings, place = config.load(None, overrides), check_path(out, "--out")
    if Run(place).config.exists():
        raise UserError(f"--out {place} is a run folder, with a report of its own; choose another folder")
    refuse_unwritable(Run(place).report)
    for source, name in ((real, "--real"), (synthetic, "--synthetic")):
        refuse_absent(source, name)
    return FilePair(settings, real, synthetic, place, align)


def open_denoise(run: str, source: str, out: str) -> tuple[Run, str, Path]:
    """Return the run, the source and the place that `distgan denoise` was given.

    Raises:
        UserError: there is no such run or source, or something is at `out` already.
    """
    place = check_path(out, "OUT of distgan denoise")
    refuse_ending(place, "OUT of distgan denoise", EXPORTS)
    refuse_standing(place)
    folder = open_run(run, "denoise")
    refuse_absent(source, "SERIES of distgan denoise")
    return folder, source, place


def open_release(run: str, to: str | None) -> tuple[Run, Path]:
    """Return the run, and the folder that the release goes to.

    Raises:
        UserError: it is no finished run, or something is at `to` already.
    """
    folder = open_run(run, "release")
    place = check_path(to, "--to") if to is not None else folder.release_folder
    refuse_standing(place)
    refuse_filter(folder)
    folder.need(folder.synthetic, "generate")
    return folder, place


def open_export(run: str, out: str | None, private: bool, networks: bool) -> tuple[Run, Path | None]:
    """Return the run, and the folder that the weights go to, if it was given.

    Raises:
        UserError: there is no such run or no checkpoint, something is at `out` already, or the options
            exclude each other.
    """
    if private and networks:
        raise UserError("--networks and --private exclude each other; leave one of the two out")
    folder = open_run(run, "export")
    place = check_path(out, "FOLDER of distgan export") if out is not None else None
    refuse_standing(place or folder.exported)
    if networks and not folder.checkpoints("gan").is_dir():
        raise UserError(
            f"{folder.checkpoints('gan')} holds no checkpoint; run {folder.format_command()}, or wait "
            "for its first checkpoint"
        )
    return folder, place


def open_plan(path: str | None, overrides: Sequence[str], **options: float | str | None) -> PlanRequest:
    """Return the request of `distgan plan`; `options` are fields of `PlanRequest`.

    Raises:
        UserError: a number is impossible, or needs --length; or as `load_settings`.
    """
    _refuse_impossible(options)
    request = PlanRequest(load_settings(path, overrides), **options)  # type: ignore[arg-type]
    if request.length is None:
        check_order(request.settings, Run(Path(request.settings.run_dir)), ("prepare",))
    return request


def _refuse_impossible(options: dict[str, float | str | None]) -> None:
    """
    Raises:
        UserError: a number of `distgan plan` is impossible, or needs --length.
    """
    names = ("length", "channels", "series", "price", "efficiency")
    given = {name: value for name in names if (value := options.get(name)) is not None}
    for name, value in given.items():
        assert not isinstance(value, str)
        if not 0 < value < inf:
            raise UserError(f"--{name} {value} must be a number above 0; or leave it out")
        if name == "efficiency" and value > 1:
            raise UserError(f"--efficiency {value:g} must be a share of the peak, at most 1, e.g. 0.5")
        if name in ("channels", "series") and "length" not in given:
            raise UserError(f"--{name} {value} needs --length; without both, the shape comes from the data")


def open_comparison(runs: Sequence[str], out: str) -> tuple[list[Path], Path]:
    """Return the folders whose reports are compared, and the place of the page.

    Raises:
        UserError: there are fewer than two runs, a report is missing, or the page would replace one or
            something else than a page.
    """
    place = check_path(out, "--out")
    refuse_ending(place, "--out", (".html",))
    folders = [check_path(text, "RUN of distgan compare") for text in runs]
    if len(folders) < 2:
        raise UserError("distgan compare needs two runs or more, e.g. distgan compare runs/one runs/two")
    for folder, run in zip(folders, map(Run, folders)):
        if run.config.exists():
            refuse_filter(open_run(str(folder), "compare"))
        if not run.scores.exists():
            what = f"no {run.scores.name} in {folder}" if folder.is_dir() else f"there is no folder {folder}"
            runs_it = f"run distgan evaluate {quote_path(folder)} first"
            other = "give a run folder, or a folder that distgan evaluate --out wrote"
            raise UserError(f"{what}; {runs_it if run.config.exists() else other}")
    runs_pages = [(run.report, run.release_verdict.with_suffix(".html")) for run in map(Run, folders)]
    if place.resolve() in [page.resolve() for pages in runs_pages for page in pages]:
        raise UserError(f"--out {place} is a page of a run that is compared; choose another path")
    return folders, place


def open_inspection(
    positional: Sequence[str], *, config: str | None, verify: bool, picture: str | None
) -> Inspection:
    """Return the subject of `distgan inspect`.

    Raises:
        UserError: it is absent, or an option is of another kind of thing.
    """
    first, *rest = positional
    of_store = [name for name, given in (("--verify", verify), ("--picture", picture)) if given]
    if of_store and (rest or config is not None):
        raise UserError(
            f"distgan inspect takes {of_store[0]} of one store of series, e.g. distgan inspect "
            "runs/demo/series.zarr --verify; --config and settings are of a source"
        )
    place = None if picture is None else check_path(picture, "--picture")
    if place is not None:
        refuse_ending(place, "--picture", (".png",))
    refuse_absent(first, "PATH of distgan inspect")
    return Inspection(tuple(positional), config, verify, place)
