"""What reading a table costs for each reading, beside another checkout of this repository.

    python benchmarks/ingest.py --against ../before     # A B A B; ratios of CPU time, lower is better
    python benchmarks/ingest.py --survey                # with and without the look for what is suspicious
    python benchmarks/ingest.py --processes 2           # readings/s of one core and of more, pandas, polars
    python benchmarks/ingest.py --smoke                 # this checkout alone, small tables

Tables of random load-like readings, wide and long, as CSV and Parquet. Each is read in a process of its own;
the median over the pairs of CPU seconds (all threads) is compared, because a shared machine disturbs it less
than time. The last line is JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parents[1]
CHILD = """
import os, sys, tempfile, time
os.environ["OMP_NUM_THREADS"] = "1"
from pathlib import Path
from distgan import config
from distgan.data import ingest
import pandas, pyarrow.parquet
ingest.read(config.Data(source=sys.argv[2]))
with tempfile.TemporaryDirectory() as place:
    wall, cpu = time.perf_counter(), time.process_time()
    how = {"survey": True} if sys.argv[3] == "survey" else {}
    found = ingest.open_source(config.Data(source=sys.argv[1]), Path(place) / "work", **how)
    total = sum(float(found.read_rows(at, at + 1).sum()) for at in range(0, found.num_series, 97))
    print(time.perf_counter() - wall, time.process_time() - cpu, total)
"""

TIMED = """
import os, resource, sys, tempfile, time
from pathlib import Path
reader, source, processes = sys.argv[1], sys.argv[2], int(sys.argv[3])
if reader == "one core":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import pandas, polars
from distgan import config
from distgan.data import ingest
def read(place):
    if reader == "pandas":
        return len(pandas.read_csv(source))
    if reader == "polars":
        return len(polars.read_csv(source))
    count = processes if reader == "processes" else 1
    data = config.Data(source=source, processes=count)
    return ingest.open_source(data, Path(place), survey=True).num_series
def measure():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return [time.perf_counter(), *(each.ru_utime + each.ru_stime for each in used)]
with tempfile.TemporaryDirectory() as place:
    before = measure()
    read(place)
    after = measure()
print(*(late - early for early, late in zip(before, after)))
"""
READERS = ("one core", "one process", "processes", "pandas", "polars")


def write_large(folder: Path, size: int) -> dict[str, tuple[Path, int]]:
    """A wide and two long CSV files of about `size` bytes, each with its number of readings: half-hours of a
    year, or of a month where that gives fewer than ten homes.
    """
    steps = 17_520 if size >= 6e6 else 1440
    homes, few = size // (6 * steps), size // (36 * steps) + 1
    times = pd.date_range("2013-01-01", periods=steps, freq="30min").strftime("%Y-%m-%d %H:%M:%S")
    stamps = [text.encode() for text in times]
    rng = np.random.default_rng(0)
    found = {name: folder / name for name in ("wide.csv", "long.csv", "by_time.csv")}
    with open(found["wide.csv"], "wb") as file:
        file.write(",".join(["time", *(f"MAC{home:06d}" for home in range(homes))]).encode() + b"\n")
        for stamp in stamps:
            file.write(stamp + b"," + b",".join(_cells(rng, homes)) + b"\n")
    with open(found["long.csv"], "wb") as file:
        file.write(b"id,time,kwh\n")
        for home in range(few):
            cells = zip(stamps, _cells(rng, steps))
            file.write(b"".join(b"MAC%06d,%b,%b\n" % (home, stamp, cell) for stamp, cell in cells))
    with open(found["by_time.csv"], "wb") as file:
        file.write(b"id,time,kwh\n")
        for stamp in stamps:
            cells = enumerate(_cells(rng, few))
            file.write(b"".join(b"MAC%06d,%b,%b\n" % (home, stamp, cell) for home, cell in cells))
    many = {"wide.csv": homes * steps, "long.csv": few * steps, "by_time.csv": few * steps}
    return {name: (path, many[name]) for name, path in found.items()}


def _cells(rng: np.random.Generator, count: int) -> list[bytes]:
    """Readings of three decimals, as text."""
    thousandths = np.minimum(rng.gamma(1.5, 300, count), 9999).astype(int)
    return [b"%d.%03d" % divmod(number, 1000) for number in thousandths.tolist()]


def run_reader(reader: str, path: Path, processes: int) -> tuple[float, ...]:
    """Seconds by the clock, CPU seconds of the process that reads, and of its worker processes."""
    command = [sys.executable, "-c", TIMED, reader, str(path), str(processes)]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return tuple(map(float, done.stdout.split()[-3:]))


def summarise(turns: list[dict[str, tuple[float, ...]]], readings: int, processes: int) -> dict[str, float]:
    """Readings per second by the clock, CPU seconds, and gains over one core.

    By CPU time the gain lies between two bounds: nothing that the first process does overlaps with the work
    of others (`least`), or all work is shared evenly (`most`).
    """
    middle = {
        reader: [statistics.median(turn[reader][part] for turn in turns) for part in range(3)]
        for reader in READERS
    }
    best = {reader: min(turn[reader][0] for turn in turns) for reader in READERS}
    alone, (_, first, workers) = sum(middle["one core"][1:]), middle["processes"]
    return {
        **{f"{reader}, readings/s": round(readings / found[0]) for reader, found in middle.items()},
        **{f"{reader}, cpu_s": round(sum(found[1:]), 2) for reader, found in middle.items()},
        "first_process, cpu_s": round(first, 2),
        "gain_of_threads": round(middle["one core"][0] / middle["one process"][0], 2),
        "gain_of_processes": round(middle["one core"][0] / middle["processes"][0], 2),
        "gain_of_best": round(best["one core"] / best["processes"], 2),
        "gain_by_cpu, least": round(alone / (first + workers / processes), 2),
        "gain_by_cpu, most": round(alone * processes / (first + workers), 2),
    }


def compare_readers(options: argparse.Namespace) -> None:
    """Readings per second of each reader, in turns, and the gain over one core."""
    report: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
        tables = write_large(Path(folder), int(options.megabytes * 1e6))
        for name, (path, readings) in tables.items():
            turns = [
                {reader: run_reader(reader, path, options.processes) for reader in READERS}
                for _ in range(options.pairs)
            ]
            report[name] = {
                "megabytes": round(path.stat().st_size / 1e6),
                "million_readings": round(readings / 1e6, 1),
                **summarise(turns, readings, options.processes),
            }
            print(f"{name:14s}", report[name], flush=True)
    lowest = min(table["gain_of_processes"] for table in report.values())
    facts = {"processes": options.processes, "load": round(os.getloadavg()[0], 1), "cores": os.cpu_count()}
    print(json.dumps({"gain": lowest, "tables": report, **facts}))


def write_tables(folder: Path, homes: int, hours: int) -> dict[str, Path]:
    """The same kind of readings in each form; long tables have a tenth of the homes."""
    rng = np.random.default_rng(0)
    times = pd.date_range("2013-01-01", periods=hours, freq="h", name="time")
    names = [f"MAC{number:06d}" for number in range(homes)]
    wide = pd.DataFrame(rng.gamma(1.5, 0.3, (hours, homes)).round(3), times, names)
    few = wide.iloc[:, : max(2, homes // 4)]
    long = few.reset_index().melt("time", var_name="id", value_name="kwh")[["id", "time", "kwh"]]
    by_time = long.sort_values("time", kind="stable")
    found = {
        name: folder / name
        for name in ("wide.csv", "long.csv", "by_time.csv", "wide.parquet", "long.parquet", "series.npy")
    }
    wide.to_csv(found["wide.csv"])
    long.to_csv(found["long.csv"], index=False)
    by_time.to_csv(found["by_time.csv"], index=False)
    wide.to_parquet(found["wide.parquet"], row_group_size=max(100, hours // 8))
    long.to_parquet(found["long.parquet"], index=False, row_group_size=1 << 18)
    np.save(found["series.npy"], wide.to_numpy(np.float32).T)
    wide.iloc[:48, :3].to_csv(folder / "warm.csv")
    return found


def measure(tree: Path, table: Path, survey: bool = False) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and a sum of values of one reading."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    command = [
        sys.executable,
        "-c",
        CHILD,
        str(table),
        str(table.parent / "warm.csv"),
        "survey" if survey else "",
    ]
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=True)
    wall, cpu, total = map(float, done.stdout.split()[-3:])
    return wall, cpu, total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--survey", action="store_true", help="compare with and without suspicions")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--homes", type=int, default=1000)
    parser.add_argument("--hours", type=int, default=8760)
    parser.add_argument("--processes", type=int, help="compare one core with so many processes")
    parser.add_argument("--megabytes", type=float, default=1000, help="of each file for --processes")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.processes:
        return compare_readers(options)
    if options.smoke:
        options.homes, options.hours, options.pairs = 20, 240, 1
    trees = {"here": HERE} | ({"before": options.against.resolve()} if options.against else {})
    trees |= {"before": HERE} if options.survey else {}
    report: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
        for name, table in write_tables(Path(folder), options.homes, options.hours).items():
            seconds: dict[str, list[float]] = {tree: [] for tree in trees}
            totals = set()
            for _ in range(options.pairs):
                for tree, path in trees.items():
                    _, cpu, total = measure(path, table, options.survey and tree == "here")
                    seconds[tree].append(cpu)
                    totals.add(round(total, 1))
            assert len(totals) == 1, f"{name}: the checkouts read different values: {totals}"
            report[name] = {tree: round(statistics.median(found), 3) for tree, found in seconds.items()}
            report[name]["megabytes"] = round(table.stat().st_size / 1e6, 1)
            if "before" in trees:
                report[name]["ratio"] = round(report[name]["here"] / report[name]["before"], 3)
            print(f"{name:14s}", report[name], flush=True)
    total = sum(table["here"] for table in report.values())
    print(json.dumps({"cpu_s": round(total, 3), "tables": report}))


if __name__ == "__main__":
    main()
