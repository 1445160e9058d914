"""The examples run as they stand, and again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from tests.helpers.settings import ROOT

EXAMPLES = ROOT / "tests" / "examples"


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_notebook_runs(tmp_path: Path) -> None:
    cells = json.loads((EXAMPLES / "first_run.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert "(5, 336, 1) (5, 336, 1) kWh" in run(tmp_path, "-c", code)
    picture = matplotlib.image.imread(tmp_path / "runs" / "first_run" / "first_run.png")
    assert np.ptp(picture) == pytest.approx(1, abs=0.01)
