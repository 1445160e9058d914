"""Every benchmark runs, and ends with one JSON line that has the figures it promises."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

PROMISED = {
    "seed_baseline.py": ["speedup", "memory_ratio", "default_speedup", "speedup_without_penalty"],
    "penalty.py": ["finite_difference_cost"],
    "attention.py": ["fused_speedup"],
    "generation.py": ["series_per_cpu_second"],
    "plan.py": ["cases"],
    "throughput.py": ["series_per_second", "matmul_share", "peak_memory_gib"],
    "attacks.py": ["cpu_s", "leaks_caught"],
    "clustering.py": [],
    "loading.py": ["memmap_ratio", "step_time_ratio"],
    "memory.py": [],
    "evaluation.py": ["evaluation_seconds", "evaluation_peak_gib"],
    "denoise.py": ["series"],
    "short.py": [],
    "year.py": [],
    "block.py": ["compute_share"],
    "sweep.py": ["plain_trial_s", "sweep_trial_s", "overhead_ratio"],
    "scaling.py": ["efficiency_ddp", "efficiency_zero2"],
}
HELPERS = {"common.py", "steps.py"}
LONG = {  # more than 20 s
    *("sweep.py", "scaling.py", "penalty.py", "clustering.py", "memory.py"),
    *("loading.py", "attacks.py", "short.py", "seed_baseline.py", "year.py"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in PROMISED]
)
def test_a_benchmark_smokes(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), "--smoke"],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert all(figures[figure] > 0 for figure in PROMISED[name])


def test_no_benchmark_is_left_out() -> None:
    assert {path.name for path in (ROOT / "benchmarks").glob("*.py")} == set(PROMISED) | HELPERS
