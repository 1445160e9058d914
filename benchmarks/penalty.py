"""What a gradient penalty costs: a whole training step with none, with finite differences, and with the exact
one (that at the first number of tokens only: it takes minutes).

python benchmarks/penalty.py [--smoke] [--tokens 365 548] [--width 128] [--batch 8]
"""

import argparse
from typing import Any

from common import alone, finish, measure, show

KINDS = {
    "none": ["objective.penalty.kind=none"],
    "finite difference, 1/4": ["objective.penalty.kind=finite_difference", "objective.penalty.fraction=0.25"],
    "finite difference, all": ["objective.penalty.kind=finite_difference", "objective.penalty.fraction=1.0"],
    "exact, 1/4": ["objective.penalty.kind=exact", "objective.penalty.fraction=0.25"],
    "exact, all": ["objective.penalty.kind=exact", "objective.penalty.fraction=1.0"],
}


def case(tokens: int, width: int, batch: int, repeats: int, overrides: list[str]) -> dict[str, Any]:
    from steps import stepper

    shape = [
        "model.patch=24",
        f"model.generator.width={width}",
        f"model.discriminator.width={width}",
        f"train.batch_size={batch}",
    ]
    return measure(stepper([*shape, *overrides], 24 * tokens), repeats)


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
        kinds = {k: v for k, v in KINDS.items() if tokens == options.tokens[0] or "exact" not in k}
        found = {
            kind: alone(
                case, tokens, options.width, options.batch, options.repeats, keys, threads=options.threads
            )
            for kind, keys in kinds.items()
        }
        base = found["none"]["cpu_s"]
        rows = [{"penalty": kind, **one, "times none": one["cpu_s"] / base} for kind, one in found.items()]
        show(f"One step at {tokens} tokens, width {options.width}, batch {options.batch}", rows)
        costs[str(tokens)] = found["finite difference, 1/4"]["cpu_s"] / base
        if "exact, all" in found:
            costs[f"{tokens}, exact"] = found["exact, all"]["cpu_s"] / base
    quarter = [cost for tokens, cost in costs.items() if "exact" not in tokens]
    finish(options.threads, finite_difference_cost=max(quarter), costs=costs)


if __name__ == "__main__":
    main()
