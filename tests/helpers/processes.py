"""Programs of their own processes, started as users start them."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PATIENCE = 900  # seconds: who hangs is cut off, who shares a busy machine is not


def unlaunched() -> dict[str, str]:
    """The environment without what a launcher has set in it."""
    ours = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return {
        name: value for name, value in os.environ.items() if name not in ours and "TORCHELASTIC" not in name
    }


def launch(
    out: Path, *command: str, program: str, more: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """A file by a launcher."""
    return subprocess.run(
        [sys.executable, "-m", *command, program, str(out), *more],
        env={**unlaunched(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def end_at_part_3(part: int) -> None:
    """Kill the process that is given this part; here, as processes that are spawned import what they run."""
    if part == 3:
        os.kill(os.getpid(), signal.SIGKILL)


def count_new_pages(part: int) -> int:
    """How many pages this process takes from the system for 48 MiB that it has freed before, three times."""
    before = 0
    for again in range(4):
        block = bytearray(b"x") * (48 << 20)
        del block
        found = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        before = found if again == 0 else before
    return found - before
