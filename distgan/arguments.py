"""What the commands are called with: parsers and checks that import nothing heavy, so that a mistake in a
call is answered at once.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from distgan import config
from distgan.errors import UserError, reading
from distgan.files import check_path, refuse_standing
from distgan.preflight import open_run, refuse_absent
from distgan.run import Run, is_store, labels_beside, readme_beside

EXPORTS = (".csv", ".parquet", ".zarr")


@dataclass(frozen=True)
class OfRun:
    """A run folder and the config that it holds, under the overrides."""

    settings: config.Config
    folder: Run


def parse_run(command: str, arguments: Sequence[str]) -> OfRun:
    """`RUN [key.sub=value ...]`.

    Raises:
        UserError: there is no run folder, or an override is wrong.
    """
    if not arguments or "=" in arguments[0]:
        raise UserError(
            f"distgan {command} needs a run folder, e.g. distgan {command} runs/demo {command}.seed=1"
        )
    folder = open_run(arguments[0], command)
    settings = config.load(folder.config, arguments[1:])
    return OfRun(settings.model_copy(update={"run_dir": str(folder.folder)}), folder)


def parse_generate(arguments: Sequence[str]) -> tuple[OfRun, Path | None]:
    """`RUN [--out PATH [--force]] [key.sub=value ...]`.

    Raises:
        UserError: there is no run folder, an override is wrong, or something stands at PATH.
    """
    parser = argparse.ArgumentParser(
        prog="distgan generate", description="Make synthetic series from a trained run."
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="run folder")
    parser.add_argument("--out", metavar="PATH", help="also write them here: .csv, .parquet or .zarr")
    parser.add_argument("--force", action="store_true", help="replace what stands at PATH")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="settings of generate")
    options = parser.parse_intermixed_args(arguments)
    given = parse_run("generate", [*([] if options.run is None else [options.run]), *options.overrides])
    if options.out is None:
        if options.force:
            raise UserError("--force needs --out PATH: it is about what stands there")
        return given, None
    place = check_path(options.out, "--out")
    _check_export(place, given.folder, options.force)
    return given, place


def _check_export(place: Path, folder: Run, force: bool) -> None:
    """
    Raises:
        UserError: the ending is unknown, or something stands there (or beside, of the same export) that is
            not to be replaced.
    """
    if place.suffix not in EXPORTS:
        raise UserError(f"--out {place} ends with {place.suffix!r}; it must be one of {', '.join(EXPORTS)}")
    for each in (
        place,
        readme_beside(place),
        labels_beside(place),
    ):
        with reading(each):
            if not os.path.lexists(each):
                continue
            if not force:
                raise UserError(f"--out: {each} stands already; choose another place or add --force")
            if os.path.realpath(each).startswith(os.path.realpath(folder.folder) + os.sep):
                raise UserError(f"--out: {each} is a part of the run; choose a place outside {folder.folder}")
            a_store = each.suffix == ".zarr" and is_store(each)
            if each.is_dir() and not a_store:
                raise UserError(f"--out: {each} is a folder and no store; --force replaces no such thing")
            if each.suffix == ".zarr" and not each.is_dir():
                raise UserError(f"--out: {each} is a file and no store; --force replaces no such thing")


def parse_evaluate_files(arguments: Sequence[str]) -> argparse.Namespace:
    """`--real FILE --synthetic FILE [--out FOLDER] [key.sub=value ...]`; `settings` are among the options.

    Raises:
        UserError: a file is absent, or an override is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="distgan evaluate", description="Judge a file of synthetic series by a file of real ones."
    )
    kinds = "CSV, Parquet, NPY, NPZ, folder or store, as data.source"
    parser.add_argument("--real", required=True, help=kinds)
    parser.add_argument("--synthetic", required=True, help="the same, with the same steps or --align")
    parser.add_argument(
        "--align",
        choices=("sum", "mean"),
        help="bring the shorter steps to the longer ones: sum of energies and counts, mean of powers",
    )
    parser.add_argument("--out", default="report", help="folder of the report (%(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="settings of data and evaluate")
    options = parser.parse_intermixed_args(arguments)
    options.settings = config.load(None, options.overrides)
    options.out = check_path(options.out, "--out")
    for source in (options.real, options.synthetic):
        refuse_absent(source)
    return options


def parse_denoise(arguments: Sequence[str]) -> tuple[Run, str, Path]:
    """`RUN SERIES OUT`.

    Raises:
        UserError: there is no such run or source, or something stands at OUT.
    """
    if len(arguments) != 3:
        raise UserError(
            "distgan denoise needs a run, series and a place, e.g. runs/nr_gan noisy.csv clean.csv"
        )
    place = check_path(arguments[2], "OUT of distgan denoise")
    if place.suffix not in EXPORTS:
        raise UserError(f"{place} ends with {place.suffix!r}; distgan denoise writes {', '.join(EXPORTS)}")
    refuse_standing(place)
    folder = open_run(arguments[0], "denoise")
    refuse_absent(arguments[1])
    return folder, arguments[1], place


def parse_release(arguments: Sequence[str]) -> tuple[Run, Path]:
    """`RUN [--to FOLDER]`.

    Raises:
        UserError: it is no finished run, or something stands at FOLDER.
    """
    if len(arguments) not in (1, 3) or list(arguments[1:2]) not in ([], ["--to"]):
        raise UserError("distgan release needs a run folder, e.g. distgan release runs/demo --to release/")
    folder = open_run(arguments[0], "release")
    place = check_path(arguments[2], "--to") if len(arguments) == 3 else folder.release_folder
    refuse_standing(place)
    folder.need(folder.synthetic, "generate")
    return folder, place


def parse_export(arguments: Sequence[str]) -> tuple[Run, Path | None]:
    """`RUN [FOLDER]`.

    Raises:
        UserError: there is no such folder, or something stands at FOLDER.
    """
    if len(arguments) not in (1, 2):
        raise UserError("distgan export needs a run folder, e.g. distgan export runs/demo weights/")
    folder = Run(check_path(arguments[0], "the run folder of distgan export"))
    if not folder.folder.is_dir():
        raise UserError(f"{folder.folder} is no run folder; train one with distgan train --config …")
    place = check_path(arguments[1], "the folder of distgan export") if len(arguments) == 2 else None
    refuse_standing(place or folder.exported)
    if not folder.checkpoints("gan").is_dir():
        raise UserError(
            f"no checkpoint in {folder.checkpoints('gan')}; train that run first, or wait for its first "
            "checkpoint"
        )
    return folder, place


def parse_plan(arguments: Sequence[str]) -> argparse.Namespace:
    """Options of `distgan plan`.

    Raises:
        UserError: a number means nothing, or not by itself.
    """
    parser = argparse.ArgumentParser(
        prog="distgan plan", description="Memory, time and cost of the gan stage, before a launch."
    )
    parser.add_argument("--config", help="YAML file; the shipped ones are in configs/")
    parser.add_argument("--devices", default="auto", help="e.g. 8xH100-80GB; auto measures this machine")
    parser.add_argument("--price", type=float, help="of a device-hour")
    parser.add_argument("--efficiency", type=float, help="share of the peak that matrix products alone reach")
    parser.add_argument("--length", type=int, help="steps of a series; by default the data are looked at")
    parser.add_argument("--channels", type=int, help="with --length; by default 1")
    parser.add_argument("--series", type=int, help="with --length: number of training series")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="settings over the config's")
    options = parser.parse_intermixed_args(arguments)
    _refuse_nonsense(options)
    return options


def _refuse_nonsense(options: argparse.Namespace) -> None:
    """
    Raises:
        UserError: a number of `distgan plan` means nothing, or not by itself.
    """
    names = ("length", "channels", "series", "price", "efficiency")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    for name, value in given.items():
        if not 0 < value < inf:
            raise UserError(f"--{name} {value} must be a number above 0; or leave it out")
        if name == "efficiency" and value > 1:
            raise UserError(f"--efficiency {value:g} must be a share of the peak, at most 1, e.g. 0.5")
        if name in ("channels", "series") and "length" not in given:
            raise UserError(f"--{name} {value} needs --length; without both, the data are looked at")


def parse_compare(arguments: Sequence[str]) -> argparse.Namespace:
    """`RUN RUN ... [--out FILE.html]`.

    Raises:
        UserError: there are fewer than two runs, or a report is missing.
    """
    parser = argparse.ArgumentParser(
        prog="distgan compare", description="Put runs of the same data side by side."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, or those of --out")
    parser.add_argument("--out", default="compare.html", help="the page (%(default)s)")
    options = parser.parse_args(arguments)
    options.out = check_path(options.out, "--out")
    options.runs = [check_path(text, "RUN of distgan compare") for text in options.runs]
    if len(options.runs) < 2:
        raise UserError("distgan compare needs two runs or more, e.g. distgan compare runs/one runs/two")
    for folder in options.runs:
        if not Run(folder).scores.exists():
            raise UserError(f"no {Run(folder).scores.name} in {folder}; run distgan evaluate {folder} first")
    return options
