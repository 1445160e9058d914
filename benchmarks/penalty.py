"""What a gradient penalty costs: a whole training step with none, with finite differences, and with the exact
one (that at the first number of tokens only: it takes minutes). Steps of all kinds are timed in turns in one
process, and a kind's cost is the median of its times over those without penalty; memory is of a process each.

python benchmarks/penalty.py [--smoke] [--tokens 365 548] [--width 128] [--batch 8]
"""

import argparse
import statistics
from collections.abc import Callable
from operator import truediv
from typing import Any

from common import alone, finish, in_turns, measure, show

KINDS = {
    "none": ["objective.penalty.kind=none"],
    "finite difference, 1/4": ["objective.penalty.kind=finite_difference", "objective.penalty.fraction=0.25"],
    "finite difference, all": ["objective.penalty.kind=finite_difference", "objective.penalty.fraction=1.0"],
    "exact, 1/4": ["objective.penalty.kind=exact", "objective.penalty.fraction=0.25"],
    "exact, all": ["objective.penalty.kind=exact", "objective.penalty.fraction=1.0"],
}


def ready(tokens: int, width: int, batch: int, overrides: list[str]) -> Callable[[], Any]:
    from steps import stepper

    shape = [
        "model.patch=24",
        f"model.generator.width={width}",
        f"model.discriminator.width={width}",
        f"train.batch_size={batch}",
    ]
    return stepper([*shape, *overrides], 24 * tokens)


def held(*arguments: Any) -> dict[str, Any]:
    """Of a process that makes one step after another."""
    return measure(ready(*arguments), 1)


def timed(tokens: int, width: int, batch: int, repeats: int, kinds: list[str]) -> dict[str, Any]:
    """CPU seconds of a step of each kind, by round."""
    return {"seconds": in_turns({k: ready(tokens, width, batch, KINDS[k]) for k in kinds}, repeats)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[365, 548])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="tiny and quick, figures meaningless")
    options = parser.parse_args()
    if options.smoke:
        options.tokens, options.width, options.batch, options.repeats = [8], 16, 4, 1
    costs: dict[str, float] = {}
    for tokens in options.tokens:
        kinds = [kind for kind in KINDS if tokens == options.tokens[0] or "exact" not in kind]
        shape, threads = (tokens, options.width, options.batch), options.threads
        seconds = alone(timed, *shape, options.repeats, kinds, threads=threads)["seconds"]
        rows = []
        for kind in kinds:
            cost = statistics.median(map(truediv, seconds[kind], seconds["none"]))
            memory = alone(held, *shape, KINDS[kind], threads=threads)["memory_gib"]
            cpu_s = statistics.median(seconds[kind])
            rows.append({"penalty": kind, "cpu_s": cpu_s, "times none": cost, "memory_gib": memory})
            costs[f"{tokens}, {kind}"] = cost
        show(f"One step at {tokens} tokens, width {options.width}, batch {options.batch}", rows)
    quarter = [costs[f"{tokens}, finite difference, 1/4"] for tokens in options.tokens]
    finish(options.threads, finite_difference_cost=max(quarter), costs=costs)


if __name__ == "__main__":
    main()
