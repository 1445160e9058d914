"""The battery of privacy attacks: what each costs, and whether planted leaks fail and honest releases pass.

    python benchmarks/attacks.py              10,000 members, strangers and synthetic series of 2190 steps
    python benchmarks/attacks.py --seeds 20   3,000 of each, 336 steps: the honest release and every leak

Attacks share work (distances, features), which the first that needs it pays for. A leak in the bank leaves
the series as they are, so only the bank is attacked again. One thread. The last line is JSON.
"""

import argparse
import time
from typing import Any

from common import alone, finish, show

from distgan.evaluation.attacks import battery
from distgan.evaluation.attacks.planted import IN_BANK, IN_SERIES, Population

HONEST = "honest"


def cost(owners: int, length: int) -> dict[str, Any]:
    """CPU and wall seconds of each attack, in the order of the battery."""
    scene = Population.of(owners, length).scene
    spent, started = {}, (time.process_time(), time.perf_counter())
    whole = started
    for attack in battery.BATTERY:
        attack.function(scene)
        now = time.process_time(), time.perf_counter()
        spent[attack.id] = now[0] - started[0], now[1] - started[1]
        started = now
    return {"attacks": spent, "cpu_s": now[0] - whole[0], "wall_s": now[1] - whole[1]}


def tried(seed: int, owners: int, length: int) -> dict[str, Any]:
    """Outcome and measures over their limits, of the honest release and of every leak."""
    population = Population.of(owners, length, seed)
    bank = [attack for attack in battery.BATTERY if attack.id.startswith("P6")]
    scenes = {HONEST: lambda population: population.scene, **IN_SERIES, **IN_BANK}
    found = {}
    for name, scene in scenes.items():
        result = battery.run(scene(population), bank if name in IN_BANK else battery.BATTERY)
        over = [attack["id"] for attack in result["attacks"] if attack["outcome"] == battery.OVER]
        found[name] = {"outcome": result["outcome"], "over": over}
    return {"found": found}


def costs(owners: int, length: int) -> dict[str, Any]:
    found = alone(cost, owners, length)
    titles = {attack.id: f"{attack.title}: {attack.statistic}" for attack in battery.BATTERY}
    rows = [
        {"id": name, "attack": titles[name], "CPU s": cpu, "wall s": wall}
        for name, (cpu, wall) in found["attacks"].items()
    ]
    show(f"{owners:,} members, strangers and synthetic series of {length} steps", rows)
    memory, cpu = found["memory_gib"], found["cpu_s"]
    print(f"\nall: {cpu:.0f} CPU s, {found['wall_s']:.0f} s, {memory:.1f} GiB with the series themselves")
    return {"owners": owners, "length": length, "cpu_s": cpu, "wall_s": found["wall_s"], "memory_gib": memory}


def counts(seeds: int, owners: int, length: int) -> dict[str, Any]:
    """How often each fails, and which measures saw it."""
    runs = []
    for seed in range(seeds):
        runs.append(alone(tried, seed, owners, length)["found"])
        outcomes = ", ".join(f"{name} {found['outcome']}" for name, found in runs[-1].items())
        print(f"seed {seed}: {outcomes}", flush=True)
    rows = []
    for name in runs[0]:
        seen = sorted({measure for run in runs for measure in run[name]["over"]})
        rows.append(
            {
                "release": name,
                "over": sum(run[name]["outcome"] == battery.OVER for run in runs),
                "of": seeds,
                "seen by (times)": ", ".join(
                    f"{measure} {sum(measure in run[name]['over'] for run in runs)}" for measure in seen
                ),
            }
        )
    show(f"{owners:,} members, strangers and synthetic series of {length} steps", rows)
    passed = sum(run[HONEST]["outcome"] == battery.PASS for run in runs)
    caught = sum(row["over"] for row in rows if row["release"] != HONEST)
    return {"seeds": seeds, "honest_passed": passed, "leaks_caught": caught, "leaks": seeds * (len(rows) - 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--owners", type=int, help="of each side; 10,000, or 3,000 with --seeds")
    parser.add_argument("--length", type=int, help="steps of a series; 2190, or 336 with --seeds")
    parser.add_argument("--seeds", type=int, help="count how often leaks fail and honest releases pass")
    parser.add_argument("--smoke", action="store_true", help="tiny, in seconds")
    given = parser.parse_args()
    if given.smoke:
        finish(1, **costs(100, 96), **counts(1, 100, 96))
    elif given.seeds:
        finish(1, **counts(given.seeds, given.owners or battery.EVIDENCE, given.length or 336))
    else:
        finish(1, **costs(given.owners or 10_000, given.length or 2190))


if __name__ == "__main__":
    main()
