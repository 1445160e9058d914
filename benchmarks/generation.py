"""Series a second that a config's generator draws, in one pass and nothing else; or a trained run's stage.

python benchmarks/generation.py [--config configs/demo.yaml] [--length 8760] [--batch 32] [key.sub=value ...]
python benchmarks/generation.py --run RUN --count 20000 --pairs 3 [key.sub=value ...]

The second form runs the stage in turns with one and two processes of one thread each, on a copy of what the
stage reads, and compares the seconds of the stage (without the start of the processes), median over pairs.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import ROOT, alone, finish, measure, show


def case(path: Path | None, overrides: list[str], length: int, batch: int, repeats: int) -> dict[str, Any]:
    from distgan import config, models

    settings = config.load(path, overrides)
    generator = models.build(settings, length, 1)["generator"].eval()
    noise = torch.randn(batch, int(generator.noise_dim))  # type: ignore[arg-type]
    condition = torch.randn(batch, models.compute_condition_width(settings, 1))

    def draw() -> None:
        with torch.inference_mode():
            generator(noise, condition)

    found = measure(draw, repeats)
    return {**found, "series_per_cpu_s": batch / found["cpu_s"], "series_per_s": batch / found["wall_s"]}


NEEDED = ("config.yaml", "scaler.json", "bank", "gan", "done")  # what generation reads of a run


def stage_seconds(run: Path, processes: int, count: int, overrides: list[str]) -> float:
    """Generate `count` series of a run anew by so many processes; return the seconds of the stage."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    settings = ["--config", str(run / "config.yaml"), f"run_dir={run}", "--stages", "generate"]
    chosen = [f"generate.count={count}", "generate.format=zarr", *overrides]
    for made in run.glob("synthetic*"):
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    (run / "done" / "generate.json").unlink(missing_ok=True)
    subprocess.run(
        [sys.executable, *launch, str(ROOT / "distgan" / "train.py"), *settings, *chosen],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    return float(json.loads((run / "done" / "generate.json").read_text())["seconds"])


def compare_processes(run: Path, count: int, pairs: int, overrides: list[str]) -> None:
    """Series a second of one process and of two, in turns."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        copy.mkdir()
        for name in NEEDED:
            source = run / name
            shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy / name)
        for _ in range(pairs):
            for processes, found in seconds.items():
                found.append(stage_seconds(copy, processes, count, overrides))
                print(f"{processes} processes: {found[-1]:.1f} s", flush=True)
    ratios = [one / two for one, two in zip(seconds[1], seconds[2])]
    show(
        f"{count:,} series of {run.name}",
        [
            {
                "processes": processes,
                "s": statistics.median(found),
                "series/s": count / statistics.median(found),
            }
            for processes, found in seconds.items()
        ],
    )
    finish(1, speedup=statistics.median(ratios), lowest=min(ratios), highest=max(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path)
    parser.add_argument("--length", type=int, nargs="+", default=[2190, 8760])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--run", type=Path, help="a trained run, whose stage is measured")
    parser.add_argument("--count", type=int, default=20_000, help="series, with --run")
    parser.add_argument("--pairs", type=int, default=3, help="of one and two processes, with --run")
    parser.add_argument("--smoke", action="store_true", help="tiny and quick, figures meaningless")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    options = parser.parse_intermixed_args()
    if options.run is not None:
        compare_processes(options.run, options.count, options.pairs, options.overrides)
        return
    if options.smoke:
        options.length, options.batch, options.repeats = [96], 4, 1
    rows, work = [], (options.config, options.overrides)
    for length in options.length:
        shape = (length, options.batch, options.repeats)
        rows.append({"length": length, **alone(case, *work, *shape, threads=options.threads)})
    show(f"Drawing {options.batch} series at a time", rows)
    rates = {str(row["length"]): row["series_per_cpu_s"] for row in rows}
    finish(options.threads, series_per_cpu_second=rows[-1]["series_per_cpu_s"], by_length=rates)


if __name__ == "__main__":
    main()
