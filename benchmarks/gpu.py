"""Everything that only a GPU can show, by one command: `make gpu`, in under 8 minutes on one GPU.

Steps without waiting, all families at fp32, bf16 and fp16 for a few steps and a resume, ZeRO 2 and 3 on one
device, faiss against NumPy, pinned loading, memory and time against `distgan plan`, the share of the peak
that big.yaml and the default at a year of hours reach, and compilation. A check that fails is a row, and the
exit code is 1. On a GPU each group is a process of its own, so that an error of the device stops no other,
and none but the last takes more than half of the time.

    python benchmarks/gpu.py [--device cuda] [--out PAGE.md] [--minutes 8] [--only GROUP,GROUP]
    python benchmarks/gpu.py --device cpu --tiny     # the same code, for the tests
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from common import ROOT, finish, machine
from gpu_checks import FAILED, GROUPS, OK, SKIPPED, Place, Row

RESULTS = ROOT / "benchmarks" / "results"
LEFT_OUT = ("parts_ms", "kernels")  # of the tables: shown below them


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes, and no check that takes long")
    parser.add_argument("--smoke", action="store_true", help="--device cpu --tiny, without a page")
    parser.add_argument("--out", type=Path, help="page [default: results/gpu_NAME_YYYYMM.md]")
    parser.add_argument("--minutes", type=float, default=8.0, help="what has not begun by then is not run")
    parser.add_argument("--only", default=",".join(GROUPS), help="groups, separated by commas")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # where a group's own process writes
    options = parser.parse_args(arguments)
    if options.smoke:
        options.device, options.tiny = "cpu", True
    if options.tiny:  # threads would only wait for one another
        os.environ["OMP_NUM_THREADS"] = "1"
    options.only = options.only.split(",")
    for name in options.only:
        if name not in GROUPS:
            parser.error(f"--only {name}: no such group; use {', '.join(GROUPS)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds no CUDA device; nvidia-smi shows "
            "the newest CUDA that the driver runs; use --device cpu --tiny to try the script"
        )
    return options


def run_group(name: str, place: Place) -> Iterator[Row]:
    """The rows of one group; an error outside its checks is a row."""
    try:
        yield from GROUPS[name](place)
    except Exception as error:
        yield Row(name, "the group itself", FAILED, note=f"{type(error).__name__}: {error}")


def run_alone(name: str, options: argparse.Namespace, folder: Path, left: float) -> list[Row]:
    """The rows of one group from a process of its own, and one more where it did not end well."""
    rows = folder / f"{name.replace(' ', '-')}.jsonl"
    command = [sys.executable, __file__, "--device", options.device, "--only", name, "--rows", str(rows)]
    started = time.perf_counter()
    try:
        done = subprocess.run([*command, *(["--tiny"] if options.tiny else [])], timeout=left)
        why = f"the process ended with {done.returncode}" if done.returncode else ""
    except subprocess.TimeoutExpired:
        why = f"stopped after {left:.0f} s"
    lines = rows.read_text().splitlines() if rows.exists() else []
    found = [Row(**json.loads(line)) for line in lines]
    if why:
        found.append(Row(name, "the group itself", FAILED, round(time.perf_counter() - started, 1), {}, why))
    return found


def run_all(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Every group in turn, until the time is over."""
    begun, rows = time.monotonic(), list[Row]()
    for name in options.only:
        left = 60 * options.minutes - (time.monotonic() - begun)
        if left <= 0:
            rows.append(Row(name, "the group itself", FAILED, note=f"not begun in {options.minutes:g} min"))
        elif options.device == "cpu":
            rows += run_group(name, Place(options.device, options.tiny, folder))
        else:
            most = left if name == options.only[-1] else 30 * options.minutes
            rows += run_alone(name, options, folder, min(left, most))
        print(f"{name}: {count(rows, name)}", flush=True)
    return rows


def count(rows: Sequence[Row], group: str | None = None) -> str:
    """`5 ok, 1 failed, 0 skipped`, of one group or of all."""
    outcomes = [row.outcome for row in rows if group in (None, row.group)]
    return ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in (OK, FAILED, SKIPPED))


# ------------------------------------------------------------------------------------------------- the page


def format_page(rows: Sequence[Row], facts: Mapping[str, Any], minutes: float) -> str:
    device = facts["gpu"] if facts["gpu"] != "none" else facts["cpu"]
    about = ", ".join(f"{name} {facts[name]}" for name in ("torch", "python", "distgan", "date"))
    parts = [
        f"# What only a GPU can show: {device}",
        f"`{facts['command']}`: {about}; {minutes:.1f} minutes. {count(rows)}.",
    ]
    for group in dict.fromkeys(row.group for row in rows):
        parts += [f"## {group}", *format_group([row for row in rows if row.group == group])]
    return "\n\n".join(parts) + "\n"


def format_group(rows: Sequence[Row]) -> Iterator[str]:
    """A table of the rows, and below it the longer figures and notes."""
    names = list(dict.fromkeys(name for row in rows for name in row.figures if name not in LEFT_OUT))
    lines = [f"| check | outcome | s | {' | '.join(names)} |", f"|---|---|---:|{'---:|' * len(names)}"]
    for row in rows:
        cells = [format_figure(row.figures.get(name, "")) for name in names]
        lines.append(f"| {row.name} | {row.outcome} | {row.seconds:.1f} | {' | '.join(cells)} |")
    yield "\n".join(lines if names else [line.replace("|  |", "|") for line in lines])
    notes = [f"- {row.name}: {row.note}" for row in rows if row.note]
    for row in rows:
        for name in LEFT_OUT:
            if name in row.figures:
                listed = ", ".join(f"{key} {value}" for key, value in row.figures[name].items())
                notes.append(f"- {row.name}, {name.replace('_', ' ')}: {listed}")
    if notes:
        yield "\n".join(notes)


def format_figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def page_of(facts: Mapping[str, Any]) -> Path:
    """benchmarks/results/gpu_h200_202612.md"""
    name = facts["gpu"] if facts["gpu"] != "none" else "cpu"
    short = re.sub(r"[^a-z0-9]+", "-", name.lower().removeprefix("nvidia ")).strip("-")
    return RESULTS / f"gpu_{short}_{time.strftime('%Y%m')}.md"


def main(arguments: Sequence[str] | None = None) -> int:
    options = read_options(arguments)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="distgan-gpu-") as folder:
        if options.rows is not None:  # one group of a run on a GPU
            with open(options.rows, "w", encoding="utf-8", buffering=1) as file:
                for row in run_group(options.only[0], Place(options.device, options.tiny, Path(folder))):
                    file.write(row.to_json() + "\n")
            return 0
        rows = run_all(options, Path(folder))
    facts = machine(torch.get_num_threads())
    page = format_page(rows, facts, (time.monotonic() - begun) / 60)
    if not options.smoke:
        place = options.out or page_of(facts)
        place.write_text(page, encoding="utf-8")
        print(f"\nwritten to {place}")
    print(page)
    failed = sum(row.outcome == FAILED for row in rows)
    passed = sum(row.outcome == OK for row in rows)
    finish(torch.get_num_threads(), passed=passed, failed=failed, skipped=len(rows) - passed - failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
