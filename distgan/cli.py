"""The `distgan` command: one thin function per sub-command.

Each function checks its call (`arguments`, which imports nothing heavy), then imports what does the work.
"""

import sys
from collections.abc import Sequence
from typing import Any, Literal

import rich_click as click

from distgan import __version__, command_line, errors
from distgan.command_line import (
    CONTEXT,
    FILE,
    FOLDER,
    Group,
    Result,
    argument,
    config_option,
    output_options,
    overrides_argument,
    run_argument,
)
from distgan.files import private_files
from distgan.train import CODES as OF_TRAINING
from distgan.train import command as train_command
from distgan.train import run_stages, training_options


@click.group("distgan", cls=Group, context_settings=CONTEXT, no_args_is_help=True)
@click.version_option(__version__, prog_name="distgan", message="%(prog)s %(version)s")
def distgan() -> None:
    """Train generators of long time series on many devices, and release anonymous series.

    Every setting of a config can be overridden on the command line as KEY.SUB=VALUE. Print all settings with
    distgan reference.
    """


distgan.add_command(train_command)


@distgan.command(
    no_args_is_help=True,
    examples=(
        "distgan prepare --config configs/demo.yaml",
        "distgan prepare --config configs/london.yaml data.source=homes.csv",
    ),
    codes=OF_TRAINING,
)
@training_options
def prepare(overrides: Sequence[str], config: str | None, run_dir: str | None, dry_run: bool) -> None:
    """Read the source, split it by owner and scale it: the first stage of a run."""
    run_stages(overrides, config, run_dir, dry_run, "prepare")


@distgan.command(
    examples=(
        "distgan generate runs/demo",
        "distgan generate runs/demo --out made.csv generate.count=1000 generate.seed=1",
    ),
    codes=(5, 7, 75),
)
@run_argument()
@overrides_argument("Settings that override those of the run, e.g. generate.count=1000.")
@click.option(
    "--out", type=FILE, metavar="PATH",
    help="Also write the series here: .csv, .parquet or .zarr. [default: the run folder only]",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an earlier export at PATH.")
@output_options(as_json=True)
def generate(run: str, overrides: Sequence[str], out: str | None, force: bool) -> Result:
    """Generate synthetic series with a trained run, in original units and times."""
    from distgan.arguments import open_generate

    given, place = open_generate(run, overrides, out, force)
    from distgan.commands import stages

    return stages.generate(given, place)


@distgan.command(
    examples=(
        "distgan evaluate runs/demo",
        "distgan evaluate --real homes.csv --synthetic made.csv --out report",
        "distgan evaluate runs/wrist --task classification",
    ),
    codes=(5, 7, 75),
)
@argument(
    "target", nargs=-1, type=FOLDER, metavar="[RUN] [KEY.SUB=VALUE]...",
    help="Run folder, and settings that override those of the run; for two files, settings of data and "
    "evaluate.",
)  # fmt: skip
@click.option(
    "--task", metavar="NAME", panel="For a run",
    help="classification: train a classifier on real, on synthetic and on both. [default: scores and report]",
)  # fmt: skip
@click.option(
    "--real", type=FILE, metavar="FILE", panel="For two files",
    help="Real series: anything that data.source takes.",
)  # fmt: skip
@click.option(
    "--synthetic", type=FILE, metavar="FILE", panel="For two files",
    help="Synthetic series, with the same steps or --align.",
)  # fmt: skip
@click.option(
    "--all-held-out", is_flag=True, panel="For two files",
    help="No series of --real was trained on, so all are held out. [default: a part, split by owner]",
)  # fmt: skip
@click.option(
    "--training", type=FILE, metavar="FILE", panel="For two files",
    help="Real series that the generator was trained on: baselines are made from them, the synthetic series "
    "are searched for copies of them, and all series of --real are held out. [default: none known]",
)  # fmt: skip
@click.option(
    "--align", type=click.Choice(["sum", "mean"]), panel="For two files",
    help="Convert the shorter steps to the longer ones: sum for energies and counts, mean for powers and "
    "temperatures. [default: refuse different steps]",
)  # fmt: skip
@click.option(
    "--out", type=FOLDER, metavar="FOLDER", panel="For two files",
    help="Folder of the report. [default: report]",
)  # fmt: skip
@output_options(as_json=True)
def evaluate(target: Sequence[str], task: str | None, **options: Any) -> Result:
    """Score synthetic series of a run, or of a file, beside baselines and write a report."""
    from distgan.arguments import FilePair, TwoFiles, open_evaluation

    given = open_evaluation(target, task=task, files=TwoFiles(**options))
    if isinstance(given, FilePair):
        from distgan.commands import evaluate_files

        return evaluate_files.run(given)
    if task is not None:
        from distgan.commands import classify

        return classify.run(given)
    from distgan.commands import stages

    return stages.evaluate(given)


@distgan.command(
    examples=("distgan compare runs/one runs/two", "distgan compare runs/one runs/two --out both.html"),
    codes=(7,),
)
@argument(
    "runs", nargs=-1, required=True, type=FOLDER, metavar="RUN RUN...",
    help="Run folders, or folders of distgan evaluate --out.",
)  # fmt: skip
@click.option(
    "--out", type=FILE, metavar="FILE", default="compare.html",
    help="The page to write. [default: compare.html]",
)  # fmt: skip
@output_options(as_json=True)
def compare(runs: Sequence[str], out: str) -> Result:
    """Compare the reports of runs on the same data side by side."""
    from distgan.arguments import open_comparison

    folders, place = open_comparison(runs, out)
    from distgan.commands import compare

    return compare.run(folders, place)


@distgan.command(
    examples=("distgan release runs/demo", "distgan release runs/london --to london-2013/"),
    codes=(3, 4, 5, 7, 75),
)
@run_argument()
@click.option(
    "--to", type=FOLDER, metavar="FOLDER",
    help="Folder of the release; it must not exist. [default: RUN/release]",
)  # fmt: skip
@output_options(as_json=True)
def release(run: str, to: str | None) -> Result:
    """Verify and attack the synthetic series of a run, and copy them out only if every check passes.

    The verdict is written to RUN/release-verdict.html and .json in any case.
    """
    from distgan.arguments import open_release

    folder, place = open_release(run, to)
    from distgan.commands import release

    return release.decide(folder, place)


@distgan.command(
    examples=("distgan denoise runs/nr_gan noisy.csv filtered.csv",),
    codes=(7, 75),
)
@run_argument()
@argument("source", type=FILE, metavar="SERIES", help="Series to filter: anything that data.source takes.")
@argument("out", type=FILE, metavar="OUT", help="File to write: .csv, .parquet or .zarr.")
@output_options(as_json=True)
def denoise(run: str, source: str, out: str) -> Result:
    """Filter series with a trained nr_gan. Filtered series are as private as the originals.

    They keep their order; ids are not written.
    """
    from distgan.arguments import open_denoise

    folder, source, place = open_denoise(run, source, out)
    from distgan.commands import denoise

    return denoise.run(folder, source, place)


@distgan.command(
    examples=(
        "distgan sweep --config configs/sweep.yaml",
        "distgan sweep --config configs/sweep.yaml --dry-run sweep.trials=4",
    ),
    codes=(5, 6, 7, 8, 75),
)
@overrides_argument("Settings that override those of the config, e.g. sweep.trials=4.")
@config_option(required=True)
@click.option(
    "--run-dir", type=FOLDER, metavar="FOLDER", panel="Run",
    help="Folder of the sweep; overrides the config's run_dir. [default: run_dir]",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, panel="Run", help="Print what would be done; write nothing.")
@output_options()
def sweep(overrides: Sequence[str], config: str, run_dir: str | None, dry_run: bool) -> None:
    """Search for better settings with Ray Tune. The config needs a section sweep."""
    from distgan.arguments import load_settings

    settings = load_settings(config, overrides, run_dir)
    from distgan.sweep.runner import sweep

    sweep(settings, dry_run)


@distgan.command(
    examples=(
        "distgan export runs/demo shared/",
        "distgan export runs/demo shared/ --private",
        "distgan export runs/demo weights/ --networks",
    ),
    codes=(3, 4, 5, 7),
)
@run_argument()
@argument(
    "out", type=FOLDER, metavar="[FOLDER]", required=False,
    help="Folder to write; it must not exist. [default: RUN/export]",
)  # fmt: skip
@click.option(
    "--private",
    is_flag=True,
    help="Export for yourself alone, without a verdict of distgan release; the card says so.",
)
@click.option(
    "--networks",
    is_flag=True,
    help="Write instead the networks of the newest checkpoint as safetensors files, also of an unfinished "
    "training. They were trained with real series at hand: do not publish them.",
)
@output_options(as_json=True)
def export(run: str, out: str | None, private: bool, networks: bool) -> Result:
    """Write the generator in the format of the Hugging Face Hub, with a model card, for distgan.load.

    Without --private or --networks, only a generator whose series have passed distgan release is exported.
    """
    from distgan.arguments import open_export

    folder, place = open_export(run, out, private, networks)
    from distgan.commands import export, hub

    return export.run(folder, place) if networks else hub.export(folder, place, private)


@distgan.command(
    examples=(
        "distgan plan --config configs/big.yaml --devices 8xH100-80GB --price 2.5",
        "distgan plan --config configs/demo.yaml --length 8760 --series 100000",
    ),
    codes=(),
)
@overrides_argument("Settings that override those of the config.")
@config_option()
@click.option(
    "--devices", metavar="NxNAME", default="auto",
    help="Devices to plan for, e.g. 8xH100-80GB; auto measures this machine. [default: auto]",
)  # fmt: skip
@click.option(
    "--price", type=float, metavar="NUMBER", help="Price of a device-hour. [default: no cost is shown]"
)
@click.option(
    "--efficiency", type=float, metavar="SHARE",
    help="Share of the peak that matrix products reach, up to 1. [default: of the device table, or measured]",
)  # fmt: skip
@click.option("--length", type=int, metavar="STEPS", help="Steps of a series. [default: read from the data]")
@click.option("--channels", type=int, metavar="NUMBER", help="Channels, with --length. [default: 1]")
@click.option(
    "--series", type=int, metavar="NUMBER", help="Training series, with --length. [default: unknown]"
)
@output_options(as_json=True)
def plan(config: str | None, overrides: Sequence[str], **options: Any) -> Result:
    """Estimate memory, time and cost of every stage before a launch, and recommend settings."""
    from distgan.arguments import open_plan

    request = open_plan(config, overrides, **options)
    from distgan.commands import plan

    return plan.run(request)


@distgan.command(
    examples=(
        "distgan inspect homes.csv",
        "distgan inspect homes.csv --config configs/london.yaml data.units=kWh --json",
        "distgan inspect runs/demo",
        "distgan inspect runs/demo/series.zarr --verify --picture series.png",
        "distgan inspect runs/demo/bank",
        "distgan inspect runs/demo/export",
    ),
    codes=(5,),
)
@argument(
    "target", nargs=-1, required=True, type=FILE, metavar="PATH [KEY.SUB=VALUE]...",
    help="A source of series (anything that data.source takes), a run folder, a store, RUN/bank, or an "
    "export; and, for a source, settings such as data.units=kWh.",
)  # fmt: skip
@click.option(
    "--config", type=FILE, metavar="FILE", panel="For a source",
    help="YAML file that says how to read the source. [default: none]",
)  # fmt: skip
@click.option("--verify", is_flag=True, panel="For a store", help="Also check the checksum of every chunk.")
@click.option(
    "--picture", type=FILE, metavar="FILE", panel="For a store",
    help="Where to draw a few series: a .png file. [default: beside the store]",
)  # fmt: skip
@output_options(as_json=True)
def inspect(target: Sequence[str], **options: Any) -> Result:
    """Describe a source of series, with suspicions about it, or a run, a store, a bank, or an export."""
    from distgan.arguments import open_inspection

    request = open_inspection(target, **options)
    from distgan.commands import inspect

    return inspect.run(request)


@distgan.command(examples=("distgan reference", "distgan reference > REFERENCE.md"))
@output_options(as_json=True)
def reference() -> Result:
    """Print every setting with its type, default and meaning as a Markdown table, or as JSON Schema."""
    from distgan import config

    return Result(config.format_reference(), config.Config.model_json_schema())


@distgan.command(
    examples=(
        'eval "$(distgan completion bash)"     # in ~/.bashrc',
        'eval "$(distgan completion zsh)"      # in ~/.zshrc',
        "distgan completion fish > ~/.config/fish/completions/distgan.fish",
    )
)
@argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="bash|zsh|fish", help="Your shell.")
def completion(shell: Literal["bash", "zsh", "fish"]) -> Result:
    """Print the script that completes commands, options, settings and paths in a shell."""
    return Result(command_line.make_completion_script(distgan, shell))


def run_command(arguments: Sequence[str]) -> None:
    """Run `distgan` with these arguments.

    Raises:
        UserError: the arguments are wrong, or as the command.
    """
    command_line.run(distgan, arguments, "distgan")


def main() -> int:
    """Run `distgan` with the arguments of the process and return the exit code."""
    if command_line.is_completing():
        return command_line.complete(distgan)
    with private_files():
        return errors.answer(lambda: run_command(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
