"""What the benchmarks share: a measured process, the machine's facts, a table and one last JSON line.

Speed is a ratio measured in one run. CPU seconds are of the process and its threads: on a shared machine they
say more than the clock. Every case runs in a fresh process, so that peak memory is its own.
"""

import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def machine(threads: int) -> dict[str, Any]:
    """What a figure must be read with."""
    import torch

    import distgan

    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "gpu": device,
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "distgan": distgan.__version__,
        "load": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", *sys.argv]),
    }


def peak_gib() -> float:
    """The most memory this process has held since `forget_peak`, in GiB.

    Not `ru_maxrss`: of a child, that begins at what its parent held.
    """
    return _status("VmHWM")


def forget_peak() -> float:
    """Count the peak from here on; what is held now, in GiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 2**20
    raise LookupError(name)


def measure(step: Callable[[], Any], repeats: int, warm_up: int = 1) -> dict[str, float]:
    """Median CPU and wall seconds of `step`, after `warm_up` calls that do not count."""
    for _ in range(warm_up):
        step()
    cpu, wall = [], []
    for _ in range(repeats):
        started = time.process_time(), time.perf_counter()
        step()
        cpu.append(time.process_time() - started[0])
        wall.append(time.perf_counter() - started[1])
    return {"cpu_s": statistics.median(cpu), "wall_s": statistics.median(wall)}


def in_turns(steps: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each step in each round (A B C A B C), so that a busy moment meets all; after one call
    of each that does not count.
    """
    found: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(repeats):
        for name, step in steps.items():
            found[name].append(measure(step, 1, warm_up=0)["cpu_s"])
    return found


def alone(work: Callable[..., dict[str, Any]], *arguments: Any, threads: int = 1) -> dict[str, Any]:
    """Run `work` in a fresh process and add the memory it took above what its imports hold.

    A case that runs out of memory or is killed gives {"failed": …}.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, work, arguments, threads))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        process.join()
        return {"failed": f"ended with {process.exitcode}"}
    finally:
        process.join()


def run_stages(place: Path, stages: str, settings: Sequence[str]) -> None:
    """Take the stages of a run at `place` by `configs/base.yaml` and settings, as a user does; what they
    print goes to standard error.
    """
    command = [sys.executable, "-m", "distgan.cli", "train", "--config", str(ROOT / "configs" / "base.yaml")]
    subprocess.run(
        [*command, "--run-dir", str(place), "--stages", stages, *settings],
        check=True,
        cwd=ROOT,
        stdout=sys.stderr,
    )


def _child(pipe: Any, work: Callable[..., dict[str, Any]], arguments: Sequence[Any], threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    before = forget_peak()
    found = work(*arguments)
    pipe.send({**found, "memory_gib": peak_gib() - before, "import_gib": before})


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table: one line a row, numbers to three digits."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, *([_cell(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    print(f"\n{title}")
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def finish(threads: int, **figures: Any) -> None:
    """The last line: figures and machine as one JSON object."""
    rounded = {
        name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()
    }
    print("\n" + json.dumps({**rounded, "machine": machine(threads)}))
