"""The examples run as they stand, and again."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from conftest import ROOT

EXAMPLES = ROOT / "tests" / "examples"


def run(name: str, folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_your_own_gan_in_60_lines_trains_and_goes_on(tmp_path: Path) -> None:
    lines = [line for line in (EXAMPLES / "own_gan.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= 60
    assert "step 50/60" in (first := run("own_gan.py", tmp_path)) and "samples (4, 32, 1)" in first
    assert "step 50/60" not in run("own_gan.py", tmp_path)


def test_the_notebook_runs(tmp_path: Path) -> None:
    assert "(5, 336, 1) (5, 336, 1) kWh" in run("first_run.py", tmp_path)
    picture = matplotlib.image.imread(tmp_path / "first_run.png")
    assert np.ptp(picture) == pytest.approx(1, abs=0.01)
