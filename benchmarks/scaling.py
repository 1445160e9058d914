"""Weak scaling: two processes that train together against two that train alone, side by side.

    python benchmarks/scaling.py            # default 2190 shapes, one thread a process
    python benchmarks/scaling.py --smoke    # tiny networks, to see that it runs

A machine's two cores do not give twice one core's speed, so the measure is what two independent processes
reach together at the same time. All are run in turns (A B C A B C); the first steps are not counted. Prints a
table and one last JSON line with `efficiency_ddp` and `efficiency_zero2`, by the clock, and the same in CPU
seconds: other jobs do not disturb those, but waiting for the other process is not in them.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

LENGTH, SERIES = 2190, 4  # steps of a series; series per process and step
ENGINES = {"alone": [], "ddp": [], "zero2": ["engine.zero=2"]}
TINY = ["model.generator.width=16", "model.discriminator.width=16", "model.discriminator.side_channels=2"]


def work(engine: str, steps: int, smoke: bool) -> None:
    """One process: train and write seconds per step, without the first ones, as one line."""
    import torch

    from distgan import config
    from distgan.data.loader import Batch
    from distgan.engine.loop import Rate, Schedule, Training
    from distgan.models import multiscale
    from distgan.objectives.adversarial import Adversarial
    from distgan.parallel import Adam, Parallel

    length = 240 if smoke else LENGTH
    settings = config.load(
        None, ["model.patch=6", "engine.threads=1", *ENGINES[engine], *(TINY if smoke else [])]
    )
    assert isinstance(settings.model, config.Multiscale)
    parallel = Parallel(settings.engine)
    torch.manual_seed(0)
    networks = multiscale.build(settings.model, length, 1, 8)
    noise_dim = int(networks["generator"].noise_dim)  # type: ignore[arg-type]
    trainees = {name: parallel.prepare(name, network, Adam(2e-4)) for name, network in networks.items()}
    objective = Adversarial(
        {name: trainee.network for name, trainee in trainees.items()},
        noise_dim=noise_dim,
        condition=lambda batch: torch.zeros(len(batch.rows), 8),
        settings=settings.objective,
        seed=0,
        across=parallel.mean,
    )
    batch_size = SERIES * parallel.world_size
    schedule = Schedule(steps, batch_size, lambda step: {"generator": Rate(2e-4, 0.99)}, checkpoint_every=0)
    training = Training(objective, trainees, parallel, schedule, Path("/nonexistent"), 0, {})
    sample = torch.arange(SERIES) + SERIES * parallel.rank
    series = torch.randn(SERIES, length, 1)
    warm = max(1, steps // 5)
    for step in range(steps):
        if step == warm:
            parallel.barrier()
            started, used = time.perf_counter(), time.process_time()
        training.advance(Batch(series, torch.ones_like(series), sample, sample, step))
    done = SERIES * (steps - warm)
    clock, cpu = done / (time.perf_counter() - started), done / (time.process_time() - used)
    print(json.dumps({"clock": clock, "cpu": cpu}), flush=True)
    parallel.close()


def measure(engine: str, steps: int, smoke: bool) -> dict[str, float]:
    """Series per second of two processes together, by the clock and by their CPU time."""
    ours = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"OMP_NUM_THREADS": "1"}
    program = [str(Path(__file__)), "--work", engine, "--steps", str(steps), *(["--smoke"] if smoke else [])]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    commands = [[sys.executable, *program]] * 2 if engine == "alone" else [[*launcher, *program]]
    running = [subprocess.Popen(c, env=environment, stdout=subprocess.PIPE, text=True) for c in commands]
    output = "".join(process.communicate()[0] for process in running)
    told = re.findall(r'{"clock".*?}', output)  # two processes may write into one line
    assert len(told) == 2, f"{engine}: {[process.returncode for process in running]}, {output}"
    return {kind: sum(json.loads(each)[kind] for each in told) for kind in ("clock", "cpu")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", choices=ENGINES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.steps, options.smoke)
        return
    rounds = 1 if options.smoke else options.rounds
    found = [
        {engine: measure(engine, options.steps, options.smoke) for engine in ENGINES} for _ in range(rounds)
    ]
    import torch

    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, gloo")
    print(f"{'two processes':<16}{'series/s':>10}{'share':>8}{'series/CPU s':>14}{'share':>8}")
    facts: dict[str, float] = {}
    for engine in ENGINES:
        cells = ""
        for kind, name in (("clock", "efficiency"), ("cpu", "cpu_efficiency")):
            speed = statistics.median(turn[engine][kind] for turn in found)
            share = statistics.median(turn[engine][kind] / turn["alone"][kind] for turn in found)
            cells += f"{speed:>{10 if kind == 'clock' else 14}.2f}{share:>8.3f}"
            facts |= {} if engine == "alone" else {f"{name}_{engine}": round(share, 3)}
        print(f"{engine:<16}{cells}")
    print(json.dumps({"benchmark": "scaling", "smoke": options.smoke, "rounds": rounds, **facts}))


if __name__ == "__main__":
    main()
