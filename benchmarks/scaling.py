"""Weak scaling: two processes that train together against two that train alone, side by side.

    python benchmarks/scaling.py            # default 2190 shapes, one thread a process
    python benchmarks/scaling.py --smoke    # tiny networks, to see that it runs

A machine's two cores do not give twice one core's speed, so the measure is what two independent processes
reach together at the same time. Three pairs of processes stand ready and take short turns (A B C A B C), so
that a machine's better and worse moments meet all; a pair's share is the median over rounds. A turn's first
and last step are not counted: then the other process may not be at work, and one alone is faster. Prints a
table and one last JSON line with `efficiency_ddp` and `efficiency_zero2`, by the clock, and the same in CPU
seconds: other jobs do not disturb those, but waiting for the other process is not in them.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from distgan.parallel.preparation import prepare_network

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

LENGTH, SERIES = 2190, 4  # steps of a series; series per process and step
PATIENCE = timedelta(minutes=10)
ENGINES = {"alone": [], "ddp": [], "zero2": ["engine.zero=2"]}
TINY = ["model.generator.width=16", "model.discriminator.width=16", "model.discriminator.side_channels=2"]


def work(engine: str, name: str, port: int, smoke: bool) -> None:
    """One process: train as often as the starter says, and tell it series per second of each turn."""
    import torch

    from distgan.parallel.processes import Parallel

    settings = settings_of(engine, smoke)
    parallel = Parallel(settings.engine)
    name += str(parallel.rank) if parallel.world_size > 1 else ""
    series = torch.randn(SERIES, 240 if smoke else LENGTH, 1)
    training, step = training_of(settings, parallel, series.shape[1]), 0
    store_client = store(port, master=False)
    store_client.set(f"{name} ready", "")
    for turn in itertools.count():
        if (steps := int(store_client.get(f"{engine} {turn}"))) == 0:
            break
        at = []
        for number in range(steps):
            if number in (1, steps - 1):
                at.append((time.perf_counter(), time.process_time()))
            training.advance(batch_of(series, parallel, step))
            step += 1
        speeds = [SERIES * (steps - 2) / (late - early) for early, late in zip(*at, strict=True)]
        store_client.set(f"{name} {turn}", json.dumps(speeds))
    parallel.close()


def settings_of(engine: str, smoke: bool) -> Any:
    from distgan import config

    return config.load(
        None, ["model.patch=6", "engine.threads=1", *ENGINES[engine], *(TINY if smoke else [])]
    )


def training_of(settings: Any, parallel: Any, length: int) -> Any:
    """The default game on made-up conditions."""
    import torch

    from distgan.engine.training import Job, Rate, Schedule, Training
    from distgan.models import multiscale
    from distgan.objectives.adversarial import Adversarial, Arithmetic, Conditions, Rules
    from distgan.parallel.optimized_network import Adam
    from distgan.run import Run

    torch.manual_seed(0)
    networks = multiscale.build(settings.model, length, 1, 8)
    noise_dim = int(networks["generator"].noise_dim)  # type: ignore[arg-type]
    optimized_networks = {
        name: prepare_network(parallel, name, network, Adam(2e-4)) for name, network in networks.items()
    }
    objective = Adversarial(
        {name: optimized.network for name, optimized in optimized_networks.items()},
        conditions=Conditions(generated=lambda batch: torch.zeros(len(batch.rows), 8)),
        rules=Rules(settings.objective, seed=0, noise_dim=noise_dim, family=settings.model),
        arithmetic=Arithmetic(parallel.average, processes=parallel.world_size),
    )
    rates = {name: Rate(2e-4, 0.99) for name in optimized_networks}
    schedule = Schedule(1 << 30, SERIES * parallel.world_size, lambda step: rates, checkpoint_every=0)
    return Training(
        objective, optimized_networks, parallel, schedule, Job(Run(Path("/nonexistent")), "gan", 0)
    )


def batch_of(series: Any, parallel: Any, step: int) -> Any:
    import torch

    from distgan.data.loader import Batch

    sample = torch.arange(SERIES) + SERIES * parallel.rank
    return Batch(series, torch.ones_like(series), sample, sample, step)


# ------------------------------------------------------------------------------------------------ turns


def store(port: int, master: bool) -> Any:
    """What the starter and its processes write to each other."""
    from torch.distributed import TCPStore

    return TCPStore("127.0.0.1", port, is_master=master, timeout=PATIENCE, wait_for_workers=False)


class Pair:
    """Two processes of one kind that wait for their turn."""

    def __init__(self, engine: str, store_client: Any, smoke: bool) -> None:
        self.engine, self.store_client, self.turn = engine, store_client, 0
        ours = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        environment = {name: value for name, value in os.environ.items() if name not in ours}
        environment |= {"OMP_NUM_THREADS": "1"}
        program = [
            __file__,
            "--work",
            engine,
            "--port",
            str(store_client.port),
            *(["--smoke"] if smoke else []),
        ]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        self.names = [f"{engine}{rank}" for rank in (0, 1)]
        commands = [[*launcher, *program, "--name", engine]]
        if engine == "alone":
            commands = [[*program, "--name", name] for name in self.names]
        self.running = [subprocess.Popen([sys.executable, *command], env=environment) for command in commands]
        store_client.wait([f"{name} ready" for name in self.names], PATIENCE)

    def take(self, steps: int) -> dict[str, float]:
        """Series per second of both together in a turn of `steps`, by the clock and by their CPU time."""
        self.store_client.set(f"{self.engine} {self.turn}", str(steps))
        found = [json.loads(self.store_client.get(f"{name} {self.turn}")) for name in self.names]
        self.turn += 1
        return dict(zip(("clock", "cpu"), map(sum, zip(*found, strict=True)), strict=True))

    def end(self) -> None:
        self.store_client.set(f"{self.engine} {self.turn}", "0")
        assert all(process.wait() == 0 for process in self.running)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--steps", type=int, default=6, help="of a turn, with the two that do not count")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--work", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.name, options.port, options.smoke)
        return
    import torch

    rounds = 2 if options.smoke else options.rounds
    store_client = store(0, master=True)
    pairs = {engine: Pair(engine, store_client, options.smoke) for engine in ENGINES}
    for pair in pairs.values():
        pair.take(3)  # the first steps are slow
    found = [{engine: pair.take(options.steps) for engine, pair in pairs.items()} for _ in range(rounds)]
    for pair in pairs.values():
        pair.end()
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
