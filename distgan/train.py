"""The entry point of a training: read the config, open the run folder, run the stages.

    accelerate launch distgan/train.py --config configs/demo.yaml [key.sub=value ...]
    python -m distgan.train --config configs/demo.yaml

The same command resumes an interrupted run.
"""

import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # As a script, Python puts this folder first on its path, where our file names would hide other modules.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from collections.abc import Callable, Sequence
from typing import TypeVar

import rich_click as click

from distgan import command_line, errors
from distgan.command_line import FOLDER, STAGES, Command, config_option, output_options, overrides_argument
from distgan.files import private_files

Function = TypeVar("Function", bound=Callable[..., None])
CODES = (5, 6, 7, 8, 75)


def training_options(function: Function) -> Function:
    """Add the options that `distgan train` and `distgan prepare` share."""
    for option in reversed(
        (
            overrides_argument(
                "Settings that override those of the config, e.g. train.steps=2000 model=timegan."
            ),
            config_option(),
            click.option(
                "--run-dir", type=FOLDER, metavar="FOLDER", panel="Run",
                help="Run folder; overrides the config's run_dir. [default: run_dir, or runs/default]",
            ),
            click.option(
                "--dry-run", is_flag=True, panel="Run",
                help="Print the resolved config and what each stage would do; write nothing.",
            ),
            output_options(),
        )
    ):  # fmt: skip
        function = option(function)
    return function


@click.command(
    "train",
    cls=Command,
    context_settings=command_line.CONTEXT,
    no_args_is_help=True,
    examples=(
        "distgan train --config configs/demo.yaml",
        "distgan train --config configs/london.yaml data.source=homes.csv run_dir=runs/homes",
        "distgan train --config configs/demo.yaml --stages generate,evaluate generate.count=500",
        "accelerate launch distgan/train.py --config configs/big.yaml",
    ),
    codes=CODES,
)
@training_options
@click.option(
    "--stages", type=STAGES, metavar="NAMES", panel="Run",
    help="Only these stages, separated by commas: prepare, encoder, encode, cluster, bank, gan, generate, "
    "evaluate. [default: all]",
)  # fmt: skip
def command(
    overrides: Sequence[str], config: str | None, run_dir: str | None, dry_run: bool, stages: str | None
) -> None:
    """Run every stage: from the data to synthetic series and their report.

    Stages that are done already are skipped. Run the same command again to continue an interrupted run.
    """
    run_stages(overrides, config, run_dir, dry_run, stages)


def run_stages(
    overrides: Sequence[str], config: str | None, run_dir: str | None, dry_run: bool, stages: str | None
) -> None:
    """Run the stages that `stages` names ("gan,generate"; None: all), or with `dry_run` describe them.

    Raises:
        UserError: the call, the config or the data are wrong; or as the stages.
    """
    from distgan.arguments import load_settings, select_stage_names
    from distgan.config import STAGES
    from distgan.preflight import check_free, check_order, refuse_sweep
    from distgan.run import Run

    settings, names = load_settings(config, overrides, run_dir), select_stage_names(stages)
    run = Run(Path(settings.run_dir))
    refuse_sweep(run, "choose another run_dir=PATH, or continue the sweep with distgan sweep")
    check_order(settings, run, settings.stages if names == STAGES else names)
    if not dry_run:
        check_free(run)
    from distgan.pipeline import runner  # heavy: only once the config is known to be good

    if dry_run:
        runner.describe(settings, names)
    else:
        runner.run(settings, run, names, summarise=True)


def train(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv`, by default that of the process."""
    command_line.run(command, sys.argv[1:] if argv is None else argv, "distgan train")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    with private_files():
        return errors.answer(lambda: train(argv))


if __name__ == "__main__":
    sys.exit(main())
