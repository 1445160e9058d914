"""How long the whole verdict takes, and how much memory: fidelity with all baselines, and utility.

    python benchmarks/evaluation.py                # 10,000 synthetic series of 2190 steps, as many real
    python benchmarks/evaluation.py --rows 2000
    python benchmarks/evaluation.py --smoke        # seconds, figures meaningless

The populations are simulated: homes with rhythms of day, week and year, a level of their own, noise. Training
series and the reference split are as many, and `max_series` is raised so that all are compared. The last line
is JSON.
"""

import argparse
import time
from typing import Any

import numpy as np
from common import alone, finish, show

STEPS_PER_DAY = 6


def homes(count: int, length: int, seed: int) -> np.ndarray:
    """[n, L, 1] float32."""
    rng = np.random.default_rng(seed)
    day = np.arange(length, dtype=np.float32) / STEPS_PER_DAY
    week = 1 + 0.2 * (day // 1 % 7 >= 5)
    year = 1 + 0.3 * np.cos(2 * np.pi * day / 365)
    made = rng.gamma(4, 0.25, (count, length)).astype(np.float32)
    for home in made:
        rhythm = 1 + 0.7 * np.sin(2 * np.pi * (day - rng.normal(0.6, 0.06)))
        home *= rng.lognormal(0, 0.5) * rhythm * week * year
    return made[..., None]


def case(rows: int, length: int) -> dict[str, Any]:
    from distgan.evaluation.metrics import fidelity, utility

    names = ("train", "held_out", "reference", "synthetic")
    sets = {name: homes(rows, length, seed) for seed, name in enumerate(names)}
    started, used = time.perf_counter(), time.process_time()
    results = fidelity.evaluate(fidelity.Sets(**sets), STEPS_PER_DAY, max_series=rows)
    scored = time.perf_counter()
    sets.pop("reference")
    useful = utility.evaluate(**sets, steps_per_day=STEPS_PER_DAY)
    assert useful is not None
    like = sum(kind == "real" for kind in results.standing.values())
    return {
        "rows": rows,
        "length": length,
        "fidelity_s": scored - started,
        "usefulness_s": time.perf_counter() - scored,
        "cpu_s": time.process_time() - used,
        "like_real": f"{like} of {len(results.standing)}",
        "forecast": useful.tone,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000, help="held-out series, and synthetic ones")
    parser.add_argument("--length", type=int, default=2190)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true", help="a few series, to see that it runs")
    options = parser.parse_args()
    if options.smoke:
        options.rows, options.length = 30, 42 * STEPS_PER_DAY
    row = alone(case, options.rows, options.length, threads=options.threads)
    if "failed" in row:
        raise SystemExit(f"the run {row['failed']}")
    row["peak_gib"] = row["memory_gib"] + row["import_gib"]
    show("The whole verdict", [row])
    seconds = row["fidelity_s"] + row["usefulness_s"]
    finish(options.threads, evaluation_seconds=seconds, evaluation_peak_gib=row["peak_gib"], case=row)


if __name__ == "__main__":
    main()
