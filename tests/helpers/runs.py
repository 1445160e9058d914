"""Whole runs that take seconds, and what they leave."""

import os
import shutil
from pathlib import Path

from safetensors.torch import load_file

from distgan.run import Run
from tests.helpers.settings import TINY

FINISHED = (
    "generate.format=csv",
    "evaluate.pictures=true",
    "train.sample_every=10",
    "engine.trackers=[tensorboard]",
)  # how the run of conftest.py differs from TINY
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}


def arguments(homes: Path, folder: Path, *more: str) -> list[str]:
    return ["--run-dir", str(folder), f"data.source={homes}", *TINY, *more]


def copy(run: Run, place: Path) -> Run:
    """Return the run's copy at a place, without the lock of whoever is in it."""
    shutil.copytree(run.folder, place, ignore=shutil.ignore_patterns(".lock"))
    return Run(place)


def weights(run: Run) -> dict:
    return load_file(run.gan / "generator.safetensors")
