"""The ways to start a training, as typed: a script, accelerate launch, two processes; killed and resumed."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distgan import cli, config
from distgan.data.store.private_table import find_private_table
from distgan.data.store.reader import Store
from distgan.run import Run
from distgan.train import main
from tests.helpers.processes import PATIENCE
from tests.helpers.runs import ENVIRONMENT, arguments, copy, weights
from tests.helpers.settings import ROOT


@pytest.mark.slow
def test_two_processes_go_the_whole_way_at_stage_3(homes_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    more = ("engine.zero=3", "engine.micro_batch=2", "engine.checkpoint_activations=true")
    command = [*launcher, "distgan/train.py", *arguments(homes_csv, tmp_path / "run", *more)]
    done = subprocess.run(
        command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = Run(tmp_path / "run")
    assert all(made.read_record(stage) for stage in config.STAGES)
    assert np.isfinite(Store.open(made.synthetic).read_rows(np.arange(12))).all()
    # The same folder goes on without DeepSpeed and with one process.
    assert main(arguments(homes_csv, made.folder, "train.steps=24")) == 0


def test_generate_needs_no_real_series(run: Run, tmp_path: Path) -> None:
    alone = copy(run, tmp_path / "run")
    shutil.rmtree(alone.series)
    shutil.rmtree(alone.latents)
    shutil.rmtree(alone.clusters)
    find_private_table(alone.series).unlink()
    cli.run_command(["generate", str(alone.folder), "generate.count=5", "generate.seed=3"])
    store = Store.open(alone.synthetic)
    assert (store.num_series, store.length) == (5, 336)


def launched(*command: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=ENVIRONMENT,
        **options,
    )


def test_the_entry_works_as_a_script_uninstalled_and_from_elsewhere(homes_csv: Path, tmp_path: Path) -> None:
    """-P and -S keep an installed distgan off the path of the launched script."""
    script = str(ROOT / "distgan" / "train.py")
    config_file = str(ROOT / "configs" / "demo.yaml")
    code = (
        "import sys, runpy\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        f"sys.path[0] = {str(ROOT / 'distgan')!r}\n"
        f"sys.argv = [{script!r}, '--config', {config_file!r}, '--dry-run']\n"
        f"sys.argv += ['data.source={homes_csv}', 'data.cut=whole']\n"
        f"runpy.run_path({script!r}, run_name='__main__')\n"
    )
    done = launched("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "43 series to train on" in done.stdout


def test_accelerate_launch_as_typed_from_another_directory(homes_csv: Path, tmp_path: Path) -> None:
    launch = [
        "-m",
        "accelerate.commands.accelerate_cli",
        "launch",
        "--quiet",
        str(ROOT / "distgan" / "train.py"),
    ]
    done = launched(*launch, *arguments(homes_csv, tmp_path / "run", "--stages", "prepare"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "60 series of 336 x 1" in done.stdout


def test_a_killed_run_ends_with_the_weights_of_one_never_killed(
    run: Run, homes_csv: Path, tmp_path: Path
) -> None:
    """kill -9 in the middle of the gan stage, then the same command again."""
    killed = copy(run, tmp_path / "run")
    shutil.rmtree(killed.gan)
    for stage in ("gan", "generate", "evaluate"):
        killed.record(stage).unlink()
    command = ["-m", "distgan.train", *arguments(homes_csv, killed.folder, "--stages", "gan")]
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + PATIENCE
    while not (killed.checkpoints("gan") / "step-10").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert killed.read_record("gan") is None
    done = launched(*command, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    before, after = weights(run), weights(killed)
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(homes_csv: Path, tmp_path: Path) -> None:
    """One cluster, as two optima of k-means lie close; a wide penalty, which does not divide rounding."""
    run, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    stages = ["--stages", ",".join(config.STAGES[:6]), "clusters.count=1", "objective.penalty.sigma=0.05"]
    assert main(arguments(homes_csv, run.folder, *stages)) == 0
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "distgan.train"]
    done = launched(*launch, *arguments(homes_csv, two.folder, *stages), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads(two.record("gan").read_text())["summary"] == run.read_record("gan")["summary"]
    one_bank, two_bank = (load_file(each.bank / "bank.safetensors") for each in (run, two))
    assert all(torch.allclose(one_bank[name], two_bank[name], atol=1e-5) for name in one_bank)
    before, after = weights(run), weights(two)
    worst = max(float(abs(before[name] - after[name]).max()) for name in before)
    assert worst < 1e-5, worst
