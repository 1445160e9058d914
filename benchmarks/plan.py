"""The plan against what happens: peak memory and seconds of a step, predicted and measured in one run.

Predicted is what `distgan plan --devices auto` says of one process: work and memory counted on the meta
device, rates measured here. Measured is the process's peak memory, libraries and all, and the best of a few
steps of the benchmarks' own stepper, in CPU seconds.

    python benchmarks/plan.py [--smoke] [--repeats 5]
"""

import argparse
import math
from typing import Any

from common import alone, finish, peak_gib, show

CASES = {  # name: (length, overrides)
    "default, 2190 steps, batch 8": (2190, ["train.batch_size=8"]),
    "default, a year, batch 8": (8760, ["train.batch_size=8"]),
    "width 256, a year, batch 4": (
        8760,
        ["model.generator.width=256", "model.discriminator.width=256", "train.batch_size=4"],
    ),
    "the same, recomputed": (
        8760,
        [
            "model.generator.width=256",
            "model.discriminator.width=256",
            "train.batch_size=4",
            "engine.checkpoint_activations=true",
        ],
    ),
    "patch 12, a year, batch 4": (8760, ["model.patch=12", "train.batch_size=4"]),
    "all penalised, a year, batch 4": (8760, ["objective.penalty.fraction=1.0", "train.batch_size=4"]),
    "no side critics, a year, batch 16": (
        8760,
        ["model.discriminator.periods=[]", "model.discriminator.spectra=[]", "train.batch_size=16"],
    ),
    "exact penalty, 2190 steps, batch 8": (2190, ["objective.penalty.kind=exact", "train.batch_size=8"]),
    "tts_gan_fork recipe, 2190 steps, batch 8": (
        2190,
        ["model=tts_gan_fork", "objective.loss=lsgan", "train.batch_size=8"],
    ),
}
SMOKE = {"tiny": (96, ["model.generator.width=16", "model.discriminator.width=16", "train.batch_size=4"])}


def case(length: int, overrides: list[str], repeats: int) -> dict[str, Any]:
    """One configuration: its steps first, while nothing of the process's memory is used and free again, then
    the plan.
    """
    import torch

    from distgan import config
    from distgan.parallel.processes import Parallel
    from distgan.planning import devices, memory, report

    settings = config.load(None, [*overrides, f"engine.threads={torch.get_num_threads()}"])
    taken = stepped(settings, length, repeats)
    peak = peak_gib()
    number, device = devices.parse_device("auto", lambda: Parallel(settings.engine))
    found = report.make_option(settings, report.Series(length, 1), number, device)
    batches = memory.BATCHES * 2 * 4 * settings.train.batch_size * length / memory.GIB  # of the loader
    return {
        "planned_gib": found.need.device - batches,
        "measured_gib": peak,
        "planned_s": found.step.seconds,
        "measured_s": taken,
        "for": found.step.bound,
    }


def stepped(settings: Any, length: int, repeats: int) -> float:
    """CPU seconds of the best of a few steps, as the rates are those of the best of a few tries."""
    from steps import Stepper

    from distgan.parallel.processes import Parallel
    from distgan.planning.devices import time_call

    train = Stepper(settings, length, Parallel(settings.engine))
    return time_call(train, train.parallel.device, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", help="cases whose name has this")
    parser.add_argument("--smoke", action="store_true", help="tiny and quick, figures meaningless")
    options = parser.parse_args()
    chosen = SMOKE if options.smoke else CASES
    rows = []
    for name, (length, overrides) in chosen.items():
        if options.only and options.only not in name:
            continue
        found = alone(case, length, overrides, options.repeats, threads=options.threads)
        memory, time = found["planned_gib"] / found["measured_gib"], found["planned_s"] / found["measured_s"]
        found = {key: value for key, value in found.items() if key not in ("memory_gib", "import_gib")}
        rows.append({"case": name, **found, "memory": memory, "time": time})
    show("Planned and measured; the last columns are their ratios", rows)
    finish(
        options.threads,
        memory_error=max(abs(math.log(row["memory"])) for row in rows),
        time_error=max(abs(math.log(row["time"])) for row in rows),
        within_10_percent_memory=sum(1 / 1.1 <= row["memory"] <= 1.1 for row in rows),
        within_25_percent_time=sum(0.75 <= row["time"] <= 1.25 for row in rows),
        cases=len(rows),
    )


if __name__ == "__main__":
    main()
