"""The entry: a config opens a run folder, and the stages fill it.

    accelerate launch distgan/train.py --config configs/demo.yaml [key.sub=value ...]
    python -m distgan.train --config configs/demo.yaml

The same command again goes on where the last one stopped.
"""

import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # As a script, Python puts this folder first on its path, where our file names would hide other modules.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from distgan import config, errors
from distgan.files import check_path, private_files
from distgan.preflight import check_free, check_order
from distgan.run import Run


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="distgan train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", help="YAML file; the shipped ones are in configs/")
    parser.add_argument("--run-dir", help="run folder, over the config's run_dir")
    parser.add_argument("--stages", help=f"only these, separated by commas: {','.join(config.STAGES)}")
    parser.add_argument("--dry-run", action="store_true", help="print config and stages; write nothing")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="settings over the config's")
    return parser.parse_intermixed_args(argv)


def settings_of(options: argparse.Namespace) -> config.Config:
    """
    Raises:
        UserError: the config or an override is wrong, or --run-dir is no path.
    """
    settings = config.load(options.config, options.overrides)
    if options.run_dir is None:
        return settings
    check_path(options.run_dir, "--run-dir")
    return settings.model_copy(update={"run_dir": options.run_dir})


def stage_names(text: str | None) -> tuple[str, ...]:
    """
    Raises:
        UserError: a name is no stage.
    """
    names = tuple(name.strip() for name in text.split(",")) if text is not None else config.STAGES
    for name in names:
        if name not in config.STAGES:
            raise errors.UserError(
                f"--stages {name!r} is no stage; the stages are {', '.join(config.STAGES)}"
            )
    return tuple(name for name in config.STAGES if name in names)


def train(argv: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if argv is None else argv
    options = arguments(given or ["--help"])
    settings, names = settings_of(options), stage_names(options.stages)
    folder = Run(Path(settings.run_dir))
    check_order(settings, folder, settings.stages if names == config.STAGES else names)
    if not options.dry_run:
        check_free(folder)
    from distgan.pipeline import runner  # heavy: only once the config is known to be good

    if options.dry_run:
        runner.describe(settings, names)
    else:
        runner.run(settings, folder, names)


def main(argv: Sequence[str] | None = None) -> int:
    with private_files():
        return errors.answer(lambda: train(argv))


if __name__ == "__main__":
    sys.exit(main())
