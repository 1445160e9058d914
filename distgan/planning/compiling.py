"""Whether compiling the networks pays within a training (`engine.compile=auto`)."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from distgan import config
from distgan.errors import UserError
from distgan.parallel.processes import Parallel
from distgan.planning.trace import trace_step
from distgan.progress import say

# Floating-point operations of a training in a process, from which compiling pays. On a CPU core a step of
# configs/london.yaml (12 GFLOP) takes .1 s less, and compiling takes 74 s: 9e12 is even. On a GPU it is not
# measured: 100 s at 30 TFLOP/s.
PAYS = {"cpu": 1.5e13, "cuda": 3e15}


def choose_compile(settings: config.Config, parallel: Parallel, length: int, channels: int) -> bool:
    """Return whether to compile the networks for a training.

    The choice follows from the config, the length and the device alone, so that it is the same when a
    training goes on.

    Raises:
        UserError: `engine.compile` is true, and what compiles for the device is not installed.
    """
    wanted, device = settings.engine.compile, parallel.device.type
    if wanted is False:
        return False
    lacking = describe_lacking(device)
    if lacking is not None:
        if wanted == "auto":
            return False
        raise UserError(f"engine.compile=true needs {lacking}, or set engine.compile=false")
    if wanted is True:
        return True
    engine, kind = settings.engine, settings.objective.penalty.kind
    whole = engine.zero == 0 and not engine.discriminator_zero
    twice = kind in ("exact", "interpolated")
    if not settings.model.one_graph or twice or not whole or settings.privacy.end_to_end:
        return False
    series = max(1, settings.train.batch_size // parallel.world_size)
    work = trace_step(settings, length, channels, series)
    operations = float((work.flops * work.counts).sum()) * settings.train.steps
    pays = operations >= PAYS.get(device, PAYS["cuda"])
    if pays and parallel.is_main:
        say(f"engine.compile=auto: compiling pays within {settings.train.steps:,} steps; it takes minutes")
    return pays


def describe_lacking(device: str) -> str | None:
    """Return what torch.compile lacks on this machine, with the remedy, for a message; None for nothing."""
    if device == "cpu":
        missing = "a C++ compiler on a CPU, and none is found; install g++, name one in CXX"
        return None if find_compiler() else missing
    # Triton compiles a part of itself, against Python's headers, before its first kernel.
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "a C compiler on a GPU, and none is found; install gcc, name one in CC"
    headers = Path(sysconfig.get_path("include"), "Python.h")
    missing = f"Python's headers on a GPU, and {headers} does not exist; install python3-dev"
    return None if headers.exists() else missing


def find_compiler() -> str | None:
    """Return the path of the C++ compiler that torch.compile calls on a CPU, or None."""
    usual = "clang++" if sys.platform == "darwin" else "g++"
    return shutil.which(os.environ.get("CXX", usual))
