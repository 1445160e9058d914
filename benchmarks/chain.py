"""The whole chain on made households, stage by stage, each in a process of its own: memory, time, release.

    python benchmarks/chain.py --series 10000 100000     memory and time per series of every stage
    python benchmarks/chain.py --series 1000 --synthetic 10000 200000
                                                         generation and report for so many synthetic series
    python benchmarks/chain.py --series 100000 --hours   years of 8760 hours (configs/london_hours.yaml)
    python benchmarks/chain.py --series 8000 --release   4,000 members and 4,000 non-members: does the default
                                                         pass the gate, and a model that stores readings not?

`configs/london.yaml` with its own model, 2190 steps a series unless --hours, some hundred training steps
(--steps). RssAnon is memory that cannot be given back to the system, as mapped files can; peaks are over all
processes of a stage. One thread. The last line is JSON: `anonymous_gib` is the largest of all stages,
`flatness` the largest ratio of a stage's CPU seconds per series between the last and the first number of
series, `release_exit` the gate's exit code. `planned_s` is what `distgan plan` gives a stage on this machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import ROOT, finish, show
from households import write_population

STAGES = ("prepare", "encoder", "encode", "cluster", "bank", "gan", "generate", "evaluate")
GIB = 2**20  # of the kB in /proc
TRAINED = 0.48
STEPS_A_DAY = {False: 6, True: 24}  # with --hours
SPLITS = f"{{train: {TRAINED}, held_out: 0.47, reference: 0.05}}"
TINY = [
    "model.generator.width=16",
    "model.discriminator.width=16",
    "encoder.width=16",
    "bank.condition_dim=2",
    "evaluate.pictures=false",
]


def watch(command: list[str]) -> dict[str, Any]:
    """Run a command; its exit code, CPU and wall seconds, and the peaks of RssAnon and RSS of it and its
    children, in GiB.
    """
    started, peaks = time.perf_counter(), {"RssAnon": 0.0, "VmRSS": 0.0}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            for name in peaks:
                peaks[name] = max(peaks[name], sum(_memory(each, name) for each in _family(process.pid)))
            time.sleep(0.05)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode()
    return {
        "exit": process.returncode,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.perf_counter() - started,
        "anonymous_gib": peaks["RssAnon"],
        "peak_gib": peaks["VmRSS"],
        "said": text,
    }


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _family(int(child)))]


def _memory(pid: int, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / GIB for line in lines if line.startswith(f"{name}:")), 0.0)


def settings_of(source: Path, series: int, given: argparse.Namespace) -> list[str]:
    """What differs from configs/london.yaml."""
    return [
        f"data.source={source}",
        "data.cut=whole",
        "data.reduce.factor=1",
        f"data.splits={SPLITS}",
        f"encoder.steps={given.steps}",
        f"train.steps={given.steps}",
        f"generate.count={series}",
        "generate.format=parquet",
        "engine.threads=1",
        *(TINY if given.smoke else []),
        *given.more,
    ]


def run_chain(series: int, given: argparse.Namespace, place: Path) -> list[dict[str, Any]]:
    """Every stage on so many series: a row each, the release last if it is asked for."""
    source, run = place / "homes.npz", place / "run"
    steps = STEPS_A_DAY[given.hours]
    write_population(source, series, steps=steps)
    settings, rows = settings_of(source, series, given), []
    program = [sys.executable, "-m", "distgan.cli"]
    recipe = ROOT / "configs" / ("london_hours.yaml" if given.hours else "london.yaml")
    config = ["--config", str(recipe), "--run-dir", str(run)]
    trained = str(round(TRAINED * series))
    shape = ["--length", str(365 * steps), "--series", trained]
    planned = plan_stages([*program, "plan", *config[:2], *shape, "--json", *settings])
    for stage in STAGES:
        found = watch([*program, "train", *config, "--stages", stage, *settings])
        rows.append({"series": series, "stage": stage, "planned_s": planned[stage], **found})
        print(
            f"{series} {stage}: exit {found['exit']}, {found['cpu_s']:.0f} CPU s, "
            f"{found['anonymous_gib']:.2f} GiB anonymous, {found['peak_gib']:.2f} GiB resident",
            flush=True,
        )
        if found["exit"]:
            raise SystemExit(f"{stage} failed:\n{found['said'][-2000:]}")
    for count in given.synthetic:
        for stage in ("generate", "evaluate"):
            found = watch(
                [*program, "train", *config, "--stages", stage, *settings, f"generate.count={count}"]
            )
            rows.append({"series": count, "stage": f"{stage} again", **found})
            print(f"{count} synthetic: {stage} exit {found['exit']}, {found['cpu_s']:.0f} CPU s", flush=True)
    if given.release:
        rows.append(
            {
                "series": series,
                "stage": "release",
                **watch([*program, "release", str(run), "--to", str(place / "out")]),
            }
        )
        print(rows[-1]["said"][-1500:], flush=True)
        rows.append(
            {
                "series": series,
                "stage": "release of copies",
                **release_copies(program, settings, place),
            }
        )
    return rows


def plan_stages(command: list[str]) -> dict[str, float]:
    """Return the seconds that `distgan plan` gives each stage on this machine."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return {row["stage"]: row["seconds"] for row in json.loads(text)["stages"]}


def release_copies(program: list[str], settings: list[str], place: Path) -> dict[str, Any]:
    """The same population with a model that joins pieces of real series, to the gate."""
    run, config = place / "copies", str(ROOT / "configs" / "london.yaml")
    model = "model={name: bootstrap, block: 42}"
    mine = [each for each in settings if not each.startswith("model.")]
    found = watch([*program, "train", "--config", config, "--run-dir", str(run), *mine, model])
    if found["exit"]:
        raise SystemExit(f"the model of copies failed:\n{found['said'][-2000:]}")
    return watch([*program, "release", str(run), "--to", str(place / "out of copies")])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, nargs="+", help="numbers of series (default 10000)")
    parser.add_argument("--steps", type=int, default=100, help="of the encoder's and of the GAN's training")
    parser.add_argument("--synthetic", type=int, nargs="*", default=[], help="numbers of synthetic series")
    parser.add_argument("--release", action="store_true", help="go to the gate, too")
    parser.add_argument("--hours", action="store_true", help="years of hours: 8760 steps")
    parser.add_argument("--smoke", action="store_true", help="tiny, in a minute")
    parser.add_argument("more", nargs="*", help="further settings, key=value")
    given = parser.parse_args()
    if given.hours and given.release:
        parser.error("--release is measured with configs/london.yaml; leave --hours out")
    numbers = given.series or [300 if given.smoke else 10_000]
    given.steps = 5 if given.smoke else given.steps
    rows = []
    for series in numbers:
        with tempfile.TemporaryDirectory() as folder:
            rows += run_chain(series, given, Path(folder))
    wanted = ("series", "stage", "exit", "cpu_s", "planned_s", "wall_s", "anonymous_gib", "peak_gib")
    show(
        f"stages on made households of {365 * STEPS_A_DAY[given.hours]} steps",
        [{name: row.get(name) for name in wanted} for row in rows],
    )
    each = {(row["series"], row["stage"]): row["cpu_s"] / row["series"] for row in rows}
    ratios = [each[numbers[-1], stage] / each[numbers[0], stage] for stage in STAGES]
    reports = [row["cpu_s"] for row in rows if row["stage"] == "evaluate again"]
    exits = [row["exit"] for row in rows if row["stage"] == "release"]
    copies = [row["exit"] for row in rows if row["stage"] == "release of copies"]
    finish(
        1,
        series=numbers,
        anonymous_gib=max(row["anonymous_gib"] for row in rows),
        flatness=max(ratios),
        report_ratio=reports[-1] / reports[0] if reports else None,
        release_exit=exits[-1] if exits else None,
        copies_exit=copies[-1] if copies else None,
    )


if __name__ == "__main__":
    main()
