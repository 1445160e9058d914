"""The `distgan` command.

distgan train     --config configs/demo.yaml [key.sub=value ...]   every stage, as distgan/train.py does
distgan prepare   --config configs/demo.yaml [key.sub=value ...]   read the source, split and scale it
distgan generate  RUN [key.sub=value ...]                          synthetic series from a trained run
distgan evaluate  RUN [key.sub=value ...]                          scores and report of a run
distgan evaluate  --real FILE --synthetic FILE [--out FOLDER]      the same of any two files
distgan compare   RUN RUN ... [--out FILE.html]                    reports of the same data side by side
distgan release   RUN [--to FOLDER]                                verdict; series only if all holds
distgan evaluate  RUN --task classification                        a classifier on real, synthetic, and both
distgan denoise   RUN SERIES OUT                                   filter series with a trained nr_gan
distgan sweep     --config configs/sweep.yaml [key.sub=value ...]  search for better settings with Ray Tune
distgan export    RUN [FOLDER]                                     plain weights of a run's newest checkpoint
distgan plan      --config configs/big.yaml --devices 8xH100-80GB    memory, time and cost before a launch
distgan inspect   FILE [--config CONFIG] [key=value ...] [--json]  what a source holds, what is suspicious
distgan inspect   STORE [--verify] [--picture FILE.png]            what a store of series holds
distgan inspect   RUN/bank                                         what a bank of conditions promises
distgan reference                                                  every setting, as a Markdown table
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from math import inf
from pathlib import Path

from distgan import __version__, config, errors
from distgan.errors import UserError
from distgan.runs import Run
from distgan.sweep import sweep
from distgan.train import train


def prepare(arguments: Sequence[str]) -> None:
    train([*arguments, "--stages", "prepare"])


def generate(arguments: Sequence[str]) -> None:
    _stage_of_run("generate", arguments)


def evaluate(arguments: Sequence[str]) -> None:
    split = [each.split("=", 1) if each.startswith("--task=") else [each] for each in arguments]
    arguments = list(chain.from_iterable(split))
    if "--task" in arguments:
        place = arguments.index("--task")
        evaluate_task(arguments[place + 1 : place + 2], [*arguments[:place], *arguments[place + 2 :]])
    elif any(argument.startswith("--") for argument in arguments):
        from distgan.stages import evaluate_files

        print(evaluate_files.run(arguments), end="")
    else:
        _stage_of_run("evaluate", arguments)


def compare(arguments: Sequence[str]) -> None:
    from distgan.stages import compare

    print(compare.run(arguments), end="")


def evaluate_task(task: Sequence[str], arguments: Sequence[str]) -> None:
    if list(task) != ["classification"]:
        raise UserError(f"--task {' '.join(task)!r} is no task; the one there is: classification")
    settings, folder = _run_of("evaluate", arguments)
    from distgan.stages.classify import classify

    print(classify(folder, settings))


def _stage_of_run(stage: str, arguments: Sequence[str]) -> None:
    settings, folder = _run_of(stage, arguments)
    from distgan import stages

    stages.run(settings, folder, (stage,))


def _run_of(stage: str, arguments: Sequence[str]) -> tuple[config.Config, Run]:
    """A run folder and the config that it holds, under the overrides."""
    if not arguments or "=" in arguments[0]:
        raise UserError(f"distgan {stage} needs a run folder, e.g. distgan {stage} runs/demo {stage}.seed=1")
    folder = Run(Path(arguments[0]))
    if not folder.config.exists():
        raise UserError(
            f"{folder.folder} is no run folder (no config.yaml); train one with distgan train --config …"
        )
    settings = config.load(folder.config, arguments[1:])
    return settings.model_copy(update={"run_dir": str(folder.folder)}), folder


def denoise(arguments: Sequence[str]) -> None:
    if len(arguments) != 3:
        raise UserError(
            "distgan denoise needs a run, series and a place, e.g. runs/nr_gan noisy.csv clean.csv"
        )
    from distgan.stages.denoise import denoise as filter_series

    print(filter_series(Run(Path(arguments[0])), arguments[1], Path(arguments[2])))


def release(arguments: Sequence[str]) -> None:
    if len(arguments) not in (1, 3) or arguments[1:2] not in ([], ["--to"]):
        raise UserError("distgan release needs a run folder, e.g. distgan release runs/demo --to release/")
    folder = Run(Path(arguments[0]))
    from distgan.stages.release import run

    print(run(folder, Path(arguments[2]) if len(arguments) == 3 else folder.folder / "release"))


def export(arguments: Sequence[str]) -> None:
    if len(arguments) not in (1, 2):
        raise UserError("distgan export needs a run folder, e.g. distgan export runs/demo weights/")
    folder = Run(Path(arguments[0]))
    if not folder.folder.is_dir():
        raise UserError(f"{folder.folder} is no run folder; train one with distgan train --config …")
    from distgan.engine.export import export as write

    print(write(folder, Path(arguments[1]) if len(arguments) == 2 else None))


def inspect(arguments: Sequence[str]) -> None:
    from distgan.stages import inspect_bank, inspect_source, inspect_store

    paths = [Path(argument) for argument in arguments]
    banks = [path for path in paths if inspect_bank.is_bank(path)]
    of_store = {"--verify", "--picture"} & {*arguments} or any(inspect_store.is_store(path) for path in paths)
    if len(arguments) == 1 and banks:
        print(inspect_bank.describe(banks[0]))
    elif not arguments or (of_store and not {"--json", "--config"} & {*arguments}):
        print(inspect_store.run(arguments))
    else:
        print(inspect_source.run(arguments))


def plan(arguments: Sequence[str]) -> None:
    options = _plan_options(arguments)
    settings = config.load(options.config, options.overrides)
    from distgan import plan as planner
    from distgan.parallel import Parallel
    from distgan.plan import devices

    number, device = devices.parse(options.devices, lambda: Parallel(settings.engine))
    if options.length:
        series = planner.Series(options.length, options.channels or 1, options.series or 0)
    else:
        from distgan.stages import prepare

        found = prepare.shape(settings, Run(Path(settings.run_dir)))
        series = planner.Series(found.length, found.channels, found.train)
    device = devices.given(device, options.efficiency)
    print(planner.told(settings, series, number, device, options.price))


def _plan_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="distgan plan", description="Memory, time and cost of the gan stage, before a launch."
    )
    parser.add_argument("--config", type=Path, help="YAML file; the shipped ones are in configs/")
    parser.add_argument("--devices", default="auto", help="e.g. 8xH100-80GB; auto measures this machine")
    parser.add_argument("--price", type=float, help="of a device-hour")
    parser.add_argument("--efficiency", type=float, help="share of the peak that matrix products alone reach")
    parser.add_argument("--length", type=int, help="steps of a series; by default the data are looked at")
    parser.add_argument("--channels", type=int, help="with --length; by default 1")
    parser.add_argument("--series", type=int, help="with --length: number of training series")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="settings over the config's")
    options = parser.parse_intermixed_args(arguments)
    refuse_nonsense(options)
    return options


def refuse_nonsense(options: argparse.Namespace) -> None:
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


def reference(arguments: Sequence[str]) -> None:
    print(config.reference_markdown(), end="")


VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": train,
    "prepare": prepare,
    "generate": generate,
    "evaluate": evaluate,
    "compare": compare,
    "release": release,
    "denoise": denoise,
    "sweep": sweep,
    "export": export,
    "plan": plan,
    "inspect": inspect,
    "reference": reference,
}


EXPLAINED = ("train", "prepare", "sweep", "plan", "compare")  # by their own parsers


def command(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__, end="")
    elif arguments[0] == "--version":
        print(f"distgan {__version__}")
    elif arguments[0] in VERBS and {"-h", "--help"} & {*arguments[1:]} and arguments[0] not in EXPLAINED:
        lines = (__doc__ or "").splitlines()
        print("\n".join(line for line in lines if line.startswith(f"distgan {arguments[0]} ")))
    elif arguments[0] in VERBS:
        VERBS[arguments[0]](arguments[1:])
    else:
        raise UserError(f"{arguments[0]!r} is no command; one of {', '.join(VERBS)}")


def main() -> int:
    return errors.answer(lambda: command(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
