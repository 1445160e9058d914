"""No stage holds all series in memory: what it takes does not grow with their number.

A child process takes all stages, once on few series and once on many. Compared is what each stage took beyond
what the process had before it, in memory that no file backs.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distgan import config
from tests.helpers.runs import ENVIRONMENT
from tests.helpers.settings import ROOT, TINY

FEW, MANY, STEPS = 1500, 4500, 2400
DIFFERENCE = 4 * (MANY - FEW) * STEPS  # bytes of the series that are more
STAGES = ("prepare", "encode", "cluster", "bank", "generate", "evaluate")
SETTINGS = [
    *TINY,
    "data.reduce.factor=1",
    "data.units=kWh",
    "data.splits={train: 0.5, held_out: 0.4, reference: 0.1}",
    "encoder.patch=120",
    "encoder.steps=2",
    "model.patch=120",
    "train.steps=2",
    "generate.format=parquet",
    "generate.layout=list",
    "evaluate.max_series=30",
    "evaluate.pictures=false",
    "engine.host_memory_mib=64",
]


def make_series(place: Path, count: int) -> Path:
    """Hours of rhythm and noise."""
    rng, hours = np.random.default_rng(0), np.arange(STEPS, dtype=np.float32)
    days = np.sin(2 * np.pi / 24 * (hours + 24 * rng.random((count, 1), dtype=np.float32)))
    noise = rng.gamma(2, 0.1, (count, STEPS)).astype(np.float32)
    np.save(place, (1 + rng.random((count, 1), dtype=np.float32) * days + noise)[..., None])
    return place


def take_stages(folder: Path, count: int) -> dict[str, int]:
    source = make_series(folder / f"{count}.npy", count)
    program = [sys.executable, str(ROOT / "tests" / "integration" / "memory_program.py")]
    run, given = folder / f"run{count}", [*SETTINGS, f"data.source={source}", f"generate.count={count}"]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([*program, str(run), *given], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def growth(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Bytes by which each stage's memory grows from few series to many."""
    folder = tmp_path_factory.mktemp("memory")
    few, many = (take_stages(folder, count) for count in (FEW, MANY))
    assert set(STAGES) <= set(many) - {"everything"} == set(config.load(None, SETTINGS).stages)
    return {name: many[name] - few[name] for name in many}


@pytest.mark.slow
def test_reading_all_series_would_be_seen(growth: dict[str, int]) -> None:
    assert growth["everything"] > 0.9 * DIFFERENCE


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_does_not_hold_all_series(growth: dict[str, int], stage: str) -> None:
    assert growth[stage] < 0.4 * DIFFERENCE, {
        name: f"{size / DIFFERENCE:.2f}" for name, size in growth.items()
    }
