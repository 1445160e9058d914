"""Fault drills: kill, cut and damage a training, and count what comes back. `make drill` runs all counts.

    python tests/integration/drill.py          300 kills while saving, 300 damaged files, 30 signals, 20 kills
    python tests/integration/drill.py --smoke  a few of each, as the suite does
    python tests/integration/drill.py ranks    one of saves, files, signals, ranks

Prints a table and one last JSON line; exits with 1 if anything was lost.
"""

import argparse
import ctypes
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from distgan import config
from distgan.engine import checkpoint, trainer
from distgan.engine.training import Job
from distgan.errors import answer
from distgan.parallel.processes import Parallel
from distgan.run import Run
from tests.helpers import processes
from tests.helpers import two_process_gan as two
from tests.helpers.checkpoints import is_whole, state_of

NUMBERS = 20_000  # of a tensor in a drilled checkpoint: about 250 kB a file
PR_SET_PDEATHSIG = 1


def fast() -> Path | None:
    """Memory, where there is such a place: syncing a disk takes most of a save's time."""
    return Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None


def kills_while_saving(times: int, seed: int) -> dict[str, int]:
    """A child saves one checkpoint after another until it is killed; what is found must be whole, and no more
    than one step older than the last that the child said was saved.
    """
    dice, lost, stale = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory(dir=fast()) as place:
        folder, step = Path(place) / "checkpoints", 0
        checkpoint.save(folder, step, state_of(step, NUMBERS), {"step": step})
        for _ in range(times):
            said = saved_until_killed(folder, step, dice.uniform(0.0, 0.08))
            found = checkpoint.load_latest(folder)
            lost += not is_whole(found)
            step = found.step if found is not None else 0
            stale += step < said
    return {"kills": times, "lost": lost, "stale": stale}


def saved_until_killed(folder: Path, step: int, seconds: float) -> int:
    """Fork a saver, kill it after `seconds`; the last step that it said was saved."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # no orphan goes on saving
        try:
            while True:
                step += 1
                checkpoint.save(folder, step, state_of(step, NUMBERS), {"step": step})
                os.write(writing, f"{step}\n".encode())
        finally:
            os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as said:
        lines = said.read().split()
    return int(lines[-1]) if lines else -1


def damaged_files(times: int, seed: int) -> dict[str, int]:
    """Flip a bit of, cut, or delete a file of the newest checkpoint: the one before must be taken."""
    dice, unnoticed = random.Random(seed), 0
    with tempfile.TemporaryDirectory(dir=fast()) as place:
        good = Path(place) / "good"
        for step in (1, 2):
            checkpoint.save(good, step, state_of(step, 500), {"step": step})
        for turn in range(times):
            folder = Path(place) / "bad"
            shutil.copytree(good, folder)
            damage(dice.choice(sorted((folder / "step-2").iterdir())), turn % 3, dice)
            found = checkpoint.load_latest(folder)
            unnoticed += found is None or found.step != 1 or not is_whole(found)
            shutil.rmtree(folder)
    return {"damages": times, "unnoticed": unnoticed}


def damage(path: Path, way: int, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if way == 0:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(content)
    elif way == 1:
        path.write_bytes(content[: dice.randrange(len(content))])
    else:
        path.unlink()


def signals(times: int, seed: int, steps: int) -> dict[str, int]:
    """A training is told to stop at random moments, and goes on: every step that it began is saved, and the
    weights at the end are those of a training that was left alone.
    """
    dice, other_codes, lost = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory(dir=fast()) as place:
        quiet, stopped, step = Path(place) / "quiet", Path(place) / "stopped", 0
        train_until(quiet, steps, None)
        for turn in range(times):
            number = (signal.SIGTERM, signal.SIGUSR1)[turn % 2]
            code, begun = train_until(stopped, steps, (number, dice.uniform(0.0, 0.15)))
            step, before = newest(stopped), step
            other_codes += code != 75
            lost += step != before + begun
        code, _ = train_until(stopped, steps, None)
        same = code == 0 and equal(quiet, stopped)
    return {"signals": times, "other_codes": other_codes, "lost": lost, "same_weights": int(same)}


def train_until(folder: Path, steps: int, asked: tuple[int, float] | None) -> tuple[int, int]:
    """Train in a forked process, send it a signal so many seconds after its first batch; the exit code, and
    how many steps it began.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1), os.dup2(silence, 2)
        begins = lambda step, series: os.write(writing, b".") and None  # noqa: E731
        os._exit(answer(lambda: rank(folder, steps, begins)))
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as steps_begun:
        begun = len(steps_begun.read(1))
        if asked is not None and begun:
            time.sleep(asked[1])
            os.kill(child, asked[0])
        while more := steps_begun.read(2**16):
            begun += len(more)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), begun


def newest(folder: Path) -> int:
    """The step of the newest checkpoint; 0 where there is none."""
    return max(checkpoint.list_steps(Run(folder).checkpoints("gan")), default=0)


def kills_of_a_rank(times: int, seed: int, steps: int) -> dict[str, float]:
    """Two processes under torchrun with restarts; one at random is killed at a random moment, and again.

    Four of five kills wait until the job is back, and count as `in_training`; the fifth may hit its start.
    """
    dice, in_training, reached = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory(dir=fast()) as place:
        quiet, drilled = Path(place) / "quiet", Path(place) / "drilled"
        started = time.monotonic()
        job(quiet, steps, 0).wait()
        seconds = time.monotonic() - started
        process, done = job(drilled, steps, times + 5), 0
        while done < times and process.poll() is None:
            back = newest(drilled) > reached
            if not back and done % 5 < 4:
                time.sleep(0.05)
                continue
            time.sleep(dice.uniform(0.0, 3.0))
            ranks = children(process.pid)
            if len(ranks) == 2 and process.poll() is None:
                os.kill(dice.choice(ranks), signal.SIGKILL)
                done += 1
                in_training += back
                reached = newest(drilled)
        code = process.wait()
        same = code == 0 and equal(quiet, drilled)
    return {
        "kills": done,
        "in_training": in_training,
        "exit_code": code,
        "same_weights": int(same),
        "undisturbed_seconds": round(seconds, 1),
        "seconds": round(time.monotonic() - started, 1),
    }


def job(folder: Path, steps: int, restarts: int) -> "subprocess.Popen[bytes]":
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    program = [str(Path(__file__)), "--rank", str(folder), str(steps)]
    return subprocess.Popen(
        [*launcher, "--max_restarts", str(restarts), "--monitor_interval", "0.2", *program],
        env={**processes.unlaunched(), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def children(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def equal(one: Path, other: Path) -> bool:
    found = [checkpoint.load_latest(Run(folder).checkpoints("gan")) for folder in (one, other)]
    assert found[0] is not None and found[1] is not None
    first, second = found[0].state, found[1].state
    return found[0].step == found[1].step and all(
        torch.equal(value, second[file][name]) for file in first for name, value in first[file].items()
    )


def naps(step: int, series: torch.Tensor) -> None:
    time.sleep(0.01)


def rank(folder: Path, steps: int, begins: Callable[[int, torch.Tensor], None] = naps) -> None:
    """One process of the drilled training: the GAN of the tests, a checkpoint every 20 steps."""
    parallel = Parallel(config.Engine(threads=1, timeout=int(os.environ.get("DRILL_TIMEOUT", 30))))
    optimized_networks = two.make(parallel, spectral=True)
    game = two.Game({name: optimized.network for name, optimized in optimized_networks.items()})
    schedule = replace(two.schedule(), steps=steps, report_every=100, checkpoint_every=20)
    loader = two.Loader(parallel.rank, parallel.world_size, begins)
    trainer.fit(
        game,
        optimized_networks,
        loader,
        parallel,
        schedule,
        job=Job(run=Run(folder), stage="gan", seed=two.SEED),
    )
    parallel.close()


def drills(smoke: bool, seed: int) -> dict[str, Callable[[], Mapping[str, float]]]:
    saves, files, asked, ranks = (10, 30, 3, 1) if smoke else (300, 300, 30, 20)
    return {
        "saves": lambda: kills_while_saving(saves, seed),
        "files": lambda: damaged_files(files, seed),
        "signals": lambda: signals(asked, seed, 200 if smoke else 2000),
        "ranks": lambda: kills_of_a_rank(ranks, seed, 500 if smoke else 3000),
    }


BAD = ("lost", "stale", "unnoticed", "other_codes", "exit_code")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="DRILL", help="saves, files, signals, ranks; or all")
    parser.add_argument("--smoke", action="store_true", help="a few of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rank", nargs=2, metavar=("FOLDER", "STEPS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        return answer(lambda: rank(Path(options.rank[0]), int(options.rank[1])))
    logging.disable(logging.WARNING)  # each damage is named in one
    chosen, found = drills(options.smoke, options.seed), {}
    for name in options.names or chosen:
        found[name] = dict(chosen[name]())
        print(f"{name:<8}", "  ".join(f"{key} {value:g}" for key, value in found[name].items()), flush=True)
    well = all(
        not any(figures.get(name) for name in BAD) and figures.get("same_weights", 1)
        for figures in found.values()
    )
    asked = {"ranks": 1 if options.smoke else 20}
    well &= all(found[name]["kills"] == times for name, times in asked.items() if name in found)
    print(json.dumps({"seed": options.seed, "passed": well, **found}))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
