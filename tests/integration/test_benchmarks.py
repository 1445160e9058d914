"""Every benchmark runs, and ends with one JSON line that has the figures it promises."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from distgan import config
from tests.helpers.processes import PATIENCE
from tests.helpers.settings import ROOT

PROMISED = {
    "tts_gan_fork.py": ["speedup", "memory_ratio", "default_speedup", "speedup_without_penalty"],
    "penalty.py": ["finite_difference_cost"],
    "attention.py": ["fused_speedup"],
    "generation.py": ["series_per_cpu_second"],
    "plan.py": ["cases"],
    "throughput.py": ["series_per_second", "matmul_share", "peak_memory_gib"],
    "attacks.py": ["cpu_s", "leaks", "honest"],
    "slices.py": ["slices", "slices_refused"],
    "clustering.py": [],
    "chain.py": ["anonymous_gib", "flatness"],
    "zeros.py": ["real", "as_generated", "matched"],
    "attributes.py": ["groups", "minimum_group_size", "evening_ratio"],
    "ingest.py": ["cpu_s"],
    "loading.py": ["memmap_ratio", "step_time_ratio"],
    "memory.py": [],
    "evaluation.py": ["evaluation_seconds", "evaluation_peak_gib"],
    "denoise.py": ["series"],
    "short.py": [],
    "year.py": [],
    "judge.py": ["real_loads"],
    "block.py": ["compute_share"],
    "sweep.py": ["plain_trial_s", "sweep_trial_s", "overhead_ratio"],
    "scaling.py": ["efficiency_ddp", "efficiency_zero2"],
    "dp_audit.py": ["accounted"],
    "dp_cost.py": ["ratio"],
    "dp_utility.py": ["owners"],
    "gpu.py": ["passed"],
}
HELPERS = {"common.py", "steps.py", "households.py", "gpu_checks.py", "instruments.py", "recovery.py"}
LONG = {  # more than 20 s, or a second of its kind
    *("denoise.py", "attention.py", "block.py", "dp_audit.py", "dp_cost.py", "dp_utility.py"),
    *(
        "gpu.py",
        "plan.py",
        "evaluation.py",
        "sweep.py",
        "scaling.py",
        "penalty.py",
        "clustering.py",
        "memory.py",
    ),
    *(
        "ingest.py",
        "loading.py",
        "attacks.py",
        "slices.py",
        "short.py",
        "tts_gan_fork.py",
        "year.py",
        "chain.py",
        "attributes.py",
        "zeros.py",
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in PROMISED]
)
def test_a_benchmark_smokes(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), "--smoke"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert all(figures[figure] > 0 for figure in PROMISED[name])


def test_no_benchmark_is_left_out() -> None:
    assert {path.name for path in (ROOT / "benchmarks").glob("*.py")} == set(PROMISED) | HELPERS


def test_a_check_that_fails_is_a_row_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script of `make gpu`, with two of its groups and two that fail."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    gpu, checks = importlib.import_module("gpu"), importlib.import_module("gpu_checks")

    def fail() -> dict[str, float]:
        raise RuntimeError("CUDA error: an illegal\nmemory access")

    def broken(place: object) -> Iterator[object]:
        yield checks.attempt("broken", "one step", fail)
        raise ZeroDivisionError("outside")

    monkeypatch.setitem(checks.GROUPS, "broken", broken)
    page = tmp_path / "page.md"
    command = ["--device", "cpu", "--tiny", "--only", "broken,faiss,loading", "--out", str(page)]
    assert gpu.main(command) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["passed"], found["failed"]) == (2, 2)
    text = page.read_text()
    assert "- one step: RuntimeError: CUDA error: an illegal memory access" in text
    assert "- the group itself: ZeroDivisionError: outside" in text
    assert "| nearest centroids | ok |" in text and "| a store on disk to the device | ok |" in text
    assert gpu.main([*command[:4], "loading", "--out", str(page)]) == 0
    assert gpu.main([*command[:4], "faiss", "--out", str(page), "--minutes", "0"]) == 1
    assert "not begun in 0 min" in page.read_text()


def test_no_group_but_the_last_takes_all_the_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    gpu = importlib.import_module("gpu")
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    limits: dict[str, float] = {}
    monkeypatch.setattr(
        gpu, "run_alone", lambda name, options, folder, left: limits.update({name: left}) or []
    )
    gpu.run_all(gpu.read_options([]), tmp_path)
    *first, last = limits.values()
    assert list(limits)[:2] == ["no waiting", "families"] and list(limits)[-1] == "compile"
    assert set(first) == {240.0} and 470 < last <= 480


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165),
        ("an unknown one", None),
    ],
)
def test_a_gpu_is_found_in_the_data_sheets(
    name: str, teraflops: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    checks = importlib.import_module("gpu_checks")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    rate = checks.sheet_rate("bf16")
    assert rate == (None if teraflops is None else teraflops * 1e12)


def test_evened_windows_come_back_and_equal_columns_stay_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    short = importlib.import_module("short")
    walk = torch.from_numpy(np.random.default_rng(0).standard_normal((900, 24, 1)).cumsum(1) / 50)
    fine = 1e-3 * torch.from_numpy(np.random.default_rng(1).standard_normal((900, 24, 1)))
    windows = torch.cat([walk, walk + fine, walk], dim=2).float()
    evened = short.Joint(windows.numpy(), config.Scaling(whitening=0.5))
    transformed = evened.forth(windows)
    assert transformed.abs().max().item() == pytest.approx(1)
    assert torch.allclose(evened.back(transformed), windows, atol=1e-6)
    seen = (transformed[..., 1] - transformed[..., 0]).std() / transformed[..., 0].std()
    assert 5 * fine.std() / walk.std() < seen < 1  # small differences are seen, and stay the smaller ones

    noise = 0.2 * torch.from_numpy(np.random.default_rng(2).standard_normal(transformed.shape)).float()
    seen = evened.standardise(noise, torch.ones_like(noise), noise[:, 0])
    made = evened.back(seen)
    assert torch.allclose(made[..., 0], made[..., 2], atol=1e-6)
    assert torch.allclose(evened.forth(made), seen, atol=1e-5)  # the discriminator sees what is released


def test_normal_scores_come_back_as_readings_that_occur(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a light that is mostly out and a column of many values."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    short = importlib.import_module("short")
    rng = np.random.default_rng(0)
    light = 10.0 * rng.choice(4, (900, 24, 1), p=[0.77, 0.1, 0.08, 0.05])
    windows = torch.from_numpy(np.concatenate([light, rng.lognormal(size=(900, 24, 1))], 2)).float()
    evened = short.Joint(windows.numpy(), config.Scaling(whitening=0.5, marginal="normal_scores"))
    assert torch.equal(evened.back(evened.forth(windows)), windows)

    noise = (0.2 * torch.from_numpy(rng.standard_normal((900, 24, 2)))).float().requires_grad_()
    seen = evened.standardise(noise, torch.ones_like(noise), noise[:, 0])
    made = evened.back(seen.detach())
    assert set(made[..., 0].unique().tolist()) == {0.0, 10.0, 20.0, 30.0}
    assert torch.allclose(evened.forth(made), seen, atol=1e-5)  # the discriminator sees what is released
    seen.square().sum().backward()
    assert noise.grad is not None and noise.grad.abs().min() > 0


@pytest.mark.parametrize("name", ["stock", "energy"])
def test_recipes_of_the_short_protocol_are_configs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    short = importlib.import_module("short")
    for model in short.ROWS[name]:
        if model == "copy":
            continue
        whole = short.settings_of(name, model, 1, 1.0, [])
        part = short.settings_of(name, model, 1, 0.01, ["train.batch_size=64"])
        assert whole.model.name == model and whole.seed == 1 and whole.data.scaling.scope == "dataset"
        assert part.train.steps == max(1, round(0.01 * whole.train.steps)) and part.train.batch_size == 64
    evened = short.settings_of(name, "multiscale", 0, 1.0, []).data.scaling
    assert (evened.marginal == "normal_scores") == (name == "energy") and evened.whitening == 0.5


def test_recovery_loses_nothing_with_real_series_and_all_without_the_attribute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two features, of which one shows the value; 40 owners of two series, and one of unknown value."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    recovery = importlib.import_module("recovery")
    monkeypatch.setattr(recovery, "REPEATS", 2)
    rng = np.random.default_rng(0)

    def make(shown: bool) -> object:
        values = np.array(["a", "b"] * 40 + [""])
        features = rng.standard_normal((81, 2))
        features[:, 0] += 10 * (values == "b") * shown
        return recovery.Side(features, values, np.arange(81) // 2)

    real = {"train": make(True), "held_out": make(True)}
    kept, _ = recovery._keep_common(real, [make(True)])
    assert len(kept["train"].values) == 80 and set(kept["held_out"].values) == {"a", "b"}
    found = [
        {
            row["pair"]: row
            for row in recovery._compare(*recovery._keep_common(real, [make(shown), make(shown)]))
        }
        for shown in (True, False)
    ]
    with_it, without = (rows["synthetic → held-out"] for rows in found)
    assert with_it["accuracy"] == 1 and "lost" not in with_it
    assert 0.2 < without["lost"] < 0.8 and without["error of lost"] > 0
    assert found[0]["real → other training owners"]["accuracy"] == 1
    assert found[0]["normal features → held-out"]["accuracy"] == 1


def test_normal_features_have_the_means_of_values_and_the_covariance_within(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    recovery, rng = importlib.import_module("recovery"), np.random.default_rng(0)
    values = np.repeat(["a", "b"], 500)
    mixed = rng.standard_normal((1000, 2)) @ np.array([[2.0, 1.0], [0.0, 0.5]])
    side = recovery.Side(mixed + 5 * (values == "b")[:, None], values, np.arange(1000))
    drawn = recovery.draw_normal(side, 20000, rng)
    for value, mean in (("a", 0), ("b", 5)):
        own = drawn.features[drawn.values == value]
        assert np.allclose(own.mean(0), mean, atol=0.25)
        assert np.allclose(np.cov(own.T), [[4, 2], [2, 1.25]], atol=0.4)
