"""Fault drills: kill, cut and damage a training, and count what comes back. `make drill` runs all counts.

    python tests/drill.py            300 kills while saving, 20 kills of a random rank, 300 damaged files
    python tests/drill.py --smoke    a few of each, as the suite does

Prints a table and one last JSON line; exits with 1 if anything was lost.
"""

import argparse
import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from test_checkpoint import is_whole, state_of  # noqa: E402

from distgan.engine import checkpoint  # noqa: E402
from distgan.errors import answer  # noqa: E402
from distgan.runs import Run  # noqa: E402

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


def kills_of_a_rank(times: int, seed: int, steps: int = 400) -> dict[str, float]:
    """Two processes under torchrun with restarts; one at random is killed at a random moment, and again."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=fast()) as place:
        quiet, drilled = Path(place) / "quiet", Path(place) / "drilled"
        started = time.monotonic()
        job(quiet, steps, 0).wait()
        seconds = time.monotonic() - started
        process, done = job(drilled, steps, times + 5), 0
        while done < times and process.poll() is None:
            time.sleep(dice.uniform(1.0, max(3.0, 0.5 * seconds)))
            ranks = children(process.pid)
            if len(ranks) == 2 and process.poll() is None:
                os.kill(dice.choice(ranks), signal.SIGKILL)
                done += 1
        code = process.wait()
        same = code == 0 and equal(quiet, drilled)
    return {
        "kills": done,
        "exit_code": code,
        "same_weights": int(same),
        "undisturbed_seconds": round(seconds, 1),
    }


def job(folder: Path, steps: int, restarts: int) -> "subprocess.Popen[bytes]":
    ours = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    program = [str(Path(__file__)), "--rank", str(folder), str(steps)]
    return subprocess.Popen(
        [*launcher, "--max_restarts", str(restarts), "--monitor_interval", "0.2", *program],
        env={**environment, "OMP_NUM_THREADS": "1"},
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


def rank(folder: Path, steps: int) -> None:
    """One process of the drilled training: the two-process GAN of the tests, a checkpoint every 20 steps."""
    import test_parallel as two

    from distgan import config
    from distgan.engine import loop
    from distgan.parallel import Parallel

    parallel = Parallel(config.Engine(threads=1, timeout=int(os.environ.get("DRILL_TIMEOUT", 30))))
    trainees = two.make(parallel, spectral=True)
    game = two.Game({name: trainee.network for name, trainee in trainees.items()})
    schedule = two.replace(two.schedule(), steps=steps, report_every=100, checkpoint_every=20)
    loader = two.Loader(parallel.rank, parallel.world_size, lambda step, series: time.sleep(0.01))
    loop.fit(game, trainees, loader, parallel, schedule, run=Run(folder), stage="gan", seed=two.SEED)
    parallel.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="a few of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rank", nargs=2, metavar=("FOLDER", "STEPS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        return answer(lambda: rank(Path(options.rank[0]), int(options.rank[1])))
    saves, ranks, damages = (10, 1, 30) if options.smoke else (300, 20, 300)
    import logging

    logging.disable(logging.WARNING)  # each damage is named in one
    found: dict[str, dict[str, float]] = {}
    for name, drill in {
        "kills while saving": lambda: kills_while_saving(saves, options.seed),
        "damaged files": lambda: damaged_files(damages, options.seed),
        "kills of a rank": lambda: kills_of_a_rank(ranks, options.seed, 100 if options.smoke else 400),
    }.items():
        found[name] = {key: float(value) for key, value in drill().items()}
        print(f"{name:<20}", "  ".join(f"{key} {value:g}" for key, value in found[name].items()), flush=True)
    saving, files, lives = found.values()
    well = saving["lost"] == saving["stale"] == files["unnoticed"] == 0 and lives["same_weights"] == 1
    print(json.dumps({"seed": options.seed, "passed": well, **found}))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
