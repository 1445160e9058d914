"""The battery of privacy attacks: what it finds and what not, whether honest releases pass, what it costs.

    python benchmarks/attacks.py --quick     300 owners a side (3,000 for a bank), 336 steps, 1 %: minutes
    python benchmarks/attacks.py --table     3,000 owners a side: every kind of leak x share of the released
                                             series x length x seed, and 20 honest releases: many hours
    python benchmarks/attacks.py --cost      CPU seconds of each attack: 10,000 owners a side, 2190 steps

The table is made cell by cell; with --save each is a line of a file, and the same command goes on where it
stopped. A cell is tried with P1, and with P2 if that did not refuse it; honest releases with the whole
battery, every second one as coarse meters show it. A leak is missed if it is not refused. Noise of half
the deviation and the like are in the table, but not claimed to be found. Leaks of the bank are always
tried with `OWNERS_OF_BANKS` owners at least: tracing is a statistic of all owners together, and a tenth of
the promised noise raises its AUC by 0.05 (0.585 where 0.535 is promised), while its interval is about 0.8
/ sqrt(owners) wide to either side, 1.65 times that after the correction for many attacks. So it is refused
in 6 of 30 draws with 300 owners, in 23 of 30 with 1,000 and in 30 of 30 with 3,000. A release with fewer
owners than that is refused anyway, for too little evidence. One thread. The last line is JSON.
"""

import argparse
import json
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from common import alone, finish, show

from distgan.evaluation.attacks import battery
from tests.leaks import fragment_leaks, hidden_leaks, leak_scenarios
from tests.leaks.leak_scenarios import IN_BANK, IN_SERIES, Population

HONEST = "honest"
OWNERS_OF_BANKS = battery.EVIDENCE  # of each side, at least
SHARES, LENGTHS, SEEDS, RELEASES = [1.0, 0.1, 0.01, 0.001], [336, 2190, 8760], 3, 20
NOT_CLAIMED = {**fragment_leaks.NOT_FOUND, **hidden_leaks.NOT_FOUND}
KINDS = {**fragment_leaks.EXACT, **fragment_leaks.NEAR, **hidden_leaks.NEAR, **NOT_CLAIMED}


# ------------------------------------------------------------------------------------------------------- cost


def cost(owners: int, length: int) -> dict[str, Any]:
    """CPU and wall seconds of each attack, in the order of the battery."""
    attack_data = Population.draw(owners, length).attack_data
    spent, started = {}, (time.process_time(), time.perf_counter())
    whole = started
    for attack in battery.BATTERY:
        attack.function(attack_data)
        now = time.process_time(), time.perf_counter()
        spent[attack.id] = now[0] - started[0], now[1] - started[1]
        print(f"{attack.id}: {spent[attack.id][0]:.1f} CPU s", flush=True)
        started = now
    return {"attacks": spent, "cpu_s": now[0] - whole[0], "wall_s": now[1] - whole[1]}


def costs(owners: int, length: int) -> dict[str, Any]:
    found = alone(cost, owners, length)
    titles = {attack.id: f"{attack.title}: {attack.statistic}" for attack in battery.BATTERY}
    rows = [
        {"id": name, "attack": titles[name], "CPU s": cpu, "wall s": wall}
        for name, (cpu, wall) in found["attacks"].items()
    ]
    show(f"{owners:,} members, non-members and synthetic series of {length} steps", rows)
    memory, cpu = found["memory_gib"], found["cpu_s"]
    print(f"\nall: {cpu:.0f} CPU s, {found['wall_s']:.0f} s, {memory:.1f} GiB with the series themselves")
    return {"owners": owners, "length": length, "cpu_s": cpu, "wall_s": found["wall_s"], "memory_gib": memory}


# ------------------------------------------------------------------------------------------------------ table


Cell = tuple[str, float, int, int]  # kind, share of the released series, steps, seed


def list_cells(given: argparse.Namespace) -> list[Cell]:
    """Honest releases first, then leaks of all the series of other kinds, then fragments by kind and
    share.
    """
    cells: list[Cell] = []
    for length in given.lengths:
        cells += [(HONEST, 0.0, length, seed) for seed in range(given.honest)]
        for seed in range(given.seeds):
            if length == min(given.lengths):
                cells += [(kind, leak_scenarios.SHARE, length, seed) for kind in (*IN_SERIES, *IN_BANK)]
            cells += [(kind, share, length, seed) for kind in given.kinds for share in given.shares]
    return cells


make_population = lru_cache(1)(Population.draw)  # cells of one seed follow one another


def owners_of(kind: str, owners: int) -> int:
    """Return how many owners a side a kind is tried with: where `owners` have the power to show it, those."""
    return max(owners, OWNERS_OF_BANKS) if kind in IN_BANK else owners


def outcome_of(cell: Cell, owners: int, full: bool) -> list[str]:
    """The attacks that refuse one release."""
    kind, share, length, seed = cell
    population = make_population(owners_of(kind, owners), length, seed)
    chosen = [attack for attack in battery.BATTERY if attack.id in ("P1", "P2")]
    if kind == HONEST:
        attack_data = (
            leak_scenarios.read_by_coarse_meters(population.attack_data)
            if seed % 2
            else population.attack_data
        )
        chosen = list(battery.BATTERY) if full else chosen
    elif kind in IN_BANK:
        attack_data = IN_BANK[kind](population)
        chosen = [attack for attack in battery.BATTERY if attack.id.startswith("P6")]
    elif kind in IN_SERIES:
        attack_data = IN_SERIES[kind](population)
    else:
        attack_data = leak_scenarios.insert_fragments(KINDS[kind], share)(population)
    over = []
    for attack in chosen:
        result = battery.run(attack_data, [attack])
        over += [each.id for each in result.attacks if each.outcome == battery.OVER]
        if over and kind != HONEST:
            break
    return over


def made_cells(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every cell with its outcome: read from the file where it was made before."""
    path = Path(given.save) if given.save else None
    lines = path.read_text().splitlines() if path and path.exists() else []
    known = {tuple(row["cell"]): row for row in map(json.loads, lines) if row["owners"] == given.owners}
    cells = list_cells(given)
    for number, cell in enumerate(cells, 1):
        row = known.get(cell)
        if row is None:
            started = time.perf_counter()
            over = outcome_of(cell, given.owners, given.full)
            row = {"cell": list(cell), "owners": given.owners, "over": over}
            if path:
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            kind, share, length, seed = cell
            said = ", ".join(over) or "passes"
            spent = time.perf_counter() - started
            what = f"{kind}, {share:.1%} of {length} steps, seed {seed}"
            print(f"{number}/{len(cells)}  {what}: {said} ({spent:.0f} s)", flush=True)
        yield row


def table(given: argparse.Namespace) -> dict[str, Any]:
    """Refused of how many, by kind, share and length; what was missed."""
    counts: dict[tuple[str, float, int], list[list[str]]] = {}
    for row in made_cells(given):
        kind, share, length, _ = row["cell"]
        counts.setdefault((kind, share, length), []).append(row["over"])
    rows = []
    for (kind, share, length), found in counts.items():
        seen = sorted({name for over in found for name in over})
        rows.append(
            {
                "release": kind,
                "share": f"{share:.1%}",
                "steps": length,
                "owners": owners_of(kind, given.owners),
                "refused": f"{sum(map(bool, found))} of {len(found)}",
                "by": ", ".join(seen),
                "claimed": "no" if kind in NOT_CLAIMED else "" if kind == HONEST else "yes",
            }
        )
    show("members and non-members, as many of each, and synthetic series", rows)
    passed = {key: sum(not over for over in found) for key, found in counts.items()}
    claimed = [key for key in counts if key[0] != HONEST and key[0] not in NOT_CLAIMED]
    honest = [key for key in counts if key[0] == HONEST]
    return {
        "owners": given.owners,
        "leaks": sum(len(counts[key]) for key in claimed),
        "leaks_missed": sum(passed[key] for key in claimed),
        "honest": sum(len(counts[key]) for key in honest),
        "honest_refused": sum(len(counts[key]) - passed[key] for key in honest),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="a part of the table, in minutes (the default)")
    mode.add_argument("--table", action="store_true", help="the whole table")
    mode.add_argument("--cost", action="store_true", help="what each attack costs")
    mode.add_argument("--smoke", action="store_true", help="tiny, in seconds")
    parser.add_argument("--owners", type=int, help="of each side")
    parser.add_argument("--lengths", type=int, nargs="+", help="steps of a series")
    parser.add_argument("--shares", type=float, nargs="+", help="of the synthetic series that are fragments")
    parser.add_argument("--seeds", type=int, help="releases of each kind")
    parser.add_argument("--honest", type=int, help="honest releases of each length")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=None, help="of fragments")
    parser.add_argument("--save", help="a file of the cells made so far, to go on from")
    given = parser.parse_args()
    given.full = given.table
    small = given.smoke or not given.table
    kinds = ["copies", "scaled noisy days of other members"] if given.smoke else list(KINDS)
    given.kinds = given.kinds or kinds
    given.shares = given.shares or ([0.01] if small else SHARES)
    given.seeds = (1 if small else SEEDS) if given.seeds is None else given.seeds
    if given.cost:
        finish(1, **costs(given.owners or 10_000, (given.lengths or [2190])[0]))
        return
    given.honest = (1 if given.smoke else 4 if small else RELEASES) if given.honest is None else given.honest
    given.lengths = given.lengths or ([96] if given.smoke else [336] if small else LENGTHS)
    given.owners = given.owners or (100 if given.smoke else 300 if small else battery.EVIDENCE)
    finish(1, **{**(costs(100, 96) if given.smoke else {}), **table(given)})


if __name__ == "__main__":
    main()
