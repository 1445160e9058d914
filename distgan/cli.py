"""The `distgan` command.

distgan train     --config configs/demo.yaml [key.sub=value ...]   every stage, as distgan/train.py does
distgan prepare   --config configs/demo.yaml [key.sub=value ...]   read the source, split and scale it
distgan generate  RUN [--out PATH [--force]] [key.sub=value ...]   synthetic series from a trained run
distgan evaluate  RUN [key.sub=value ...]                          scores and report of a run
distgan evaluate  --real FILE --synthetic FILE [--out FOLDER] [--align sum|mean]   the same of any two files
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

import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from distgan import __version__, config, errors
from distgan.arguments import (
    OfRun,
    parse_compare,
    parse_denoise,
    parse_evaluate_files,
    parse_export,
    parse_generate,
    parse_plan,
    parse_release,
    parse_run,
)
from distgan.errors import UserError
from distgan.files import private_files
from distgan.preflight import check_free, check_order, refuse_absent
from distgan.run import Run, is_store


def train(arguments: Sequence[str]) -> None:
    from distgan.train import train as train_run

    train_run(arguments)


def prepare(arguments: Sequence[str]) -> None:
    train([*arguments, "--stages", "prepare"] if arguments else [])


def sweep(arguments: Sequence[str]) -> None:
    from distgan.sweep.runner import sweep as search

    search(arguments)


def generate(arguments: Sequence[str]) -> None:
    given, place = parse_generate(arguments)
    _run_stage("generate", given)
    if place is not None:
        from distgan.pipeline.generate import export_to

        print(export_to(given.settings, given.folder, place))


def evaluate(arguments: Sequence[str]) -> None:
    split = [each.split("=", 1) if each.startswith("--task=") else [each] for each in arguments]
    arguments = list(chain.from_iterable(split))
    if "--task" in arguments:
        place = arguments.index("--task")
        evaluate_task(arguments[place + 1 : place + 2], [*arguments[:place], *arguments[place + 2 :]])
    elif any(argument.startswith("--") for argument in arguments):
        parse_evaluate_files(arguments)
        from distgan.commands import evaluate_files

        print(evaluate_files.run(arguments), end="")
    else:
        _run_stage("evaluate", parse_run("evaluate", arguments))


def compare(arguments: Sequence[str]) -> None:
    parse_compare(arguments)
    from distgan.commands import compare

    print(compare.run(arguments), end="")


def evaluate_task(task: Sequence[str], arguments: Sequence[str]) -> None:
    if list(task) != ["classification"]:
        raise UserError(f"--task {' '.join(task)!r} is no task; the one there is: classification")
    given = parse_run("evaluate", arguments)
    from distgan.commands.classify import classify

    print(classify(given.folder, given.settings))


def _run_stage(stage: str, given: OfRun) -> None:
    check_order(given.settings, given.folder, (stage,))
    check_free(given.folder)
    from distgan.pipeline import runner

    runner.run(given.settings, given.folder, (stage,))


def denoise(arguments: Sequence[str]) -> None:
    folder, source, place = parse_denoise(arguments)
    from distgan.commands.denoise import denoise as filter_series

    print(filter_series(folder, source, place))


def release(arguments: Sequence[str]) -> None:
    folder, place = parse_release(arguments)
    from distgan.commands.release import run

    print(run(folder, place))


def export(arguments: Sequence[str]) -> None:
    folder, place = parse_export(arguments)
    from distgan.engine.export import export as write

    print(write(folder, place))


def inspect(arguments: Sequence[str]) -> None:
    if arguments and not arguments[0].startswith("-"):
        refuse_absent(arguments[0], "distgan inspect")
    from distgan.commands import inspect_bank, inspect_store
    from distgan.pipeline import source_summary

    paths = [Path(argument) for argument in arguments]
    banks = [path for path in paths if inspect_bank.is_bank(path)]
    of_store = {"--verify", "--picture"} & {*arguments} or any(is_store(path) for path in paths)
    if len(arguments) == 1 and banks:
        print(inspect_bank.describe(banks[0]))
    elif not arguments or (of_store and not {"--json", "--config"} & {*arguments}):
        print(inspect_store.run(arguments))
    else:
        print(source_summary.run(arguments))


def plan(arguments: Sequence[str]) -> None:
    options = parse_plan(arguments)
    settings = config.load(options.config, options.overrides)
    if not options.length:
        check_order(settings, Run(Path(settings.run_dir)), ("prepare",))
    from distgan.parallel.processes import Parallel
    from distgan.planning import devices
    from distgan.planning import report as planner

    number, device = devices.parse_device(options.devices, lambda: Parallel(settings.engine))
    if options.length:
        series = planner.Series(options.length, options.channels or 1, options.series or 0)
    else:
        from distgan.pipeline import prepare

        found = prepare.find_shape(settings, Run(Path(settings.run_dir)))
        series = planner.Series(found.length, found.channels, found.train)
    device = devices.with_efficiency(device, options.efficiency)
    print(planner.format_plan(settings, series, number, device, options.price))


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


EXPLAINED = ("train", "prepare", "generate", "sweep", "plan", "compare")  # by their own parsers


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
        raise UserError(f"{arguments[0][:80]!r} is no command; one of {', '.join(VERBS)}")


def main() -> int:
    with private_files():
        return errors.answer(lambda: command(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
