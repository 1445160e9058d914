"""What goes wrong outside: killed savers, dead and hung processes, a full disk; export."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distgan import cli, config
from distgan.engine import checkpoint
from distgan.errors import DiskFull, UserError
from distgan.files import whole_folder
from distgan.parallel.processes import Parallel
from distgan.run import Run
from tests.helpers.processes import PATIENCE, unlaunched
from tests.helpers.settings import ROOT
from tests.helpers.small_gan import last, train
from tests.integration import drill


def test_kills_while_saving_lose_nothing() -> None:
    assert drill.kills_while_saving(10, seed=1) == {"kills": 10, "lost": 0, "stale": 0}


def test_every_damage_is_noticed() -> None:
    assert drill.damaged_files(30, seed=1) == {"damages": 30, "unnoticed": 0}


def test_a_signal_at_a_random_moment_loses_no_step() -> None:
    assert drill.signals(1, seed=1, steps=100) == {
        "signals": 1,
        "other_codes": 0,
        "lost": 0,
        "same_weights": 1,
    }


@pytest.mark.slow
def test_killed_ranks_are_started_again_and_end_with_the_undisturbed_weights() -> None:
    found = drill.kills_of_a_rank(2, seed=1, steps=800)
    assert (found["kills"], found["in_training"]) == (2, 2)
    assert (found["exit_code"], found["same_weights"]) == (0, 1)


DIES = """
import os, sys
from pathlib import Path
from distgan.files import whole_folder

left, rename = int(sys.argv[2]), os.rename

def counted(*places):
    global left
    left -= 1
    rename(*places) if left >= 0 else os._exit(9)

os.rename = counted
with whole_folder(Path(sys.argv[1])) as new:
    (new / "new").touch()
"""


@pytest.mark.parametrize("renames", [0, 1])
def test_a_folder_survives_a_writer_killed_at_any_rename(tmp_path: Path, renames: int) -> None:
    """Even where the next writer fails."""
    place = tmp_path / "folder"
    place.mkdir()
    (place / "old").touch()
    done = subprocess.run([sys.executable, "-c", DIES, str(place), str(renames)], cwd=ROOT)
    assert done.returncode == 9
    with pytest.raises(KeyboardInterrupt), whole_folder(place):
        raise KeyboardInterrupt
    assert [path.name for path in place.iterdir()] == ["old"]
    with whole_folder(place) as new:
        (new / "new").touch()
    assert [path.name for path in place.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [place]


@contextmanager
def two_processes(folder: Path, timeout: int) -> Iterator[list["subprocess.Popen[str]"]]:
    """A training without a launcher that would end the other process itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    environment = {**os.environ, **shared, "OMP_NUM_THREADS": "1", "DRILL_TIMEOUT": str(timeout)}
    command = [sys.executable, str(Path(drill.__file__)), "--rank", str(folder), "100000"]
    processes = [
        subprocess.Popen(
            command,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        deadline = time.monotonic() + PATIENCE
        while not checkpoint.list_steps(Run(folder).checkpoints("gan")):
            assert time.monotonic() < deadline and all(p.poll() is None for p in processes)
            time.sleep(0.1)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize(("number", "timeout"), [(signal.SIGKILL, 10 * PATIENCE), (signal.SIGSTOP, 8)])
def test_a_lost_process_stops_the_other(tmp_path: Path, number: int, timeout: int) -> None:
    """A dead one long before the timeout, a hung one after it."""
    with two_processes(tmp_path, timeout) as (first, second):
        second.send_signal(number)
        _, words = first.communicate(timeout=PATIENCE)
    ours = [line for line in words.splitlines() if line.startswith("distgan:")]
    assert first.returncode == 8, words[-2000:]
    assert len(ours) == 1 and "process 0 of 2 lost process 1, which died or" in ours[0]
    assert "Traceback" not in words


@pytest.mark.slow
def test_a_signal_to_the_launcher_saves_everything(tmp_path: Path) -> None:
    """torchrun passes SIGTERM on and makes 1 of our 75."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    program = [str(Path(drill.__file__)), "--rank", str(tmp_path), "100000"]
    job = subprocess.Popen([*launcher, *program], env=unlaunched(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while not checkpoint.list_steps(Run(tmp_path).checkpoints("gan")):
        assert time.monotonic() < deadline and job.poll() is None
        time.sleep(0.1)
    job.terminate()
    _, words = job.communicate(timeout=PATIENCE)
    assert job.returncode == 1
    assert "by SIGTERM, and everything is saved; run the same command again" in words
    saved = checkpoint.load_latest(Run(tmp_path).checkpoints("gan"))
    assert saved is not None and f"stopped at step {saved.step} " in words


def may_make_networks() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", f"probe-{os.getpid()}"], capture_output=True).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", f"probe-{os.getpid()}"], check=True)
    return made


@pytest.mark.slow
def test_two_hosts_one_cut_off_and_brought_back(tmp_path: Path) -> None:
    if not may_make_networks():
        pytest.skip("network namespaces take root and iproute2")
    script = Path(drill.__file__).with_name("hosts.sh")
    environment = {**os.environ, "PYTHON": sys.executable}
    command = [str(script), str(tmp_path), "1500", "--cut"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line for line in done.stdout.splitlines() if line.startswith(("cut", "brought", "done"))] == [
        "cut off",
        "brought back",
        "done: 1500 steps on two hosts",
    ]
    assert re.search(r"process \d of 2 lost process", done.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_full_disk_is_one_line_and_costs_no_checkpoint(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)], capture_output=True
    ).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        parallel = Parallel(config.Engine(threads=1))
        train(parallel, place, steps=5)
        (place / "filler").write_bytes(bytes(max(0, shutil.disk_usage(place).free - 8192)))
        with pytest.raises(DiskFull, match="disk full while writing") as full:
            train(parallel, place, steps=10)
        assert full.value.exit_code == 7
        assert last(place).step == 5
        (place / "filler").unlink()
        train(parallel, place, steps=10)
        assert last(place).step == 10
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_export_is_plain_weights_without_the_optimiser(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"identity": "abc", "config": config.Config().model_dump(mode="json")}
    train(Parallel(config.Engine(threads=1)), tmp_path, steps=5, facts=facts)
    write_config(tmp_path)
    newest = Run(tmp_path).checkpoints("gan") / "step-5"
    damaged = newest / "generator.optimiser.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])  # not even looked at
    cli.run_command(["export", str(tmp_path), str(tmp_path / "out"), "--networks"])
    assert "critic, generator of step 5" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "generator.safetensors",
        "critic.safetensors",
        "config.yaml",
        "export.json",
    }
    average = load_file(newest / "generator.average.safetensors")
    exported = load_file(tmp_path / "out" / "generator.safetensors")
    assert set(average) == set(exported) and all(
        torch.equal(average[name], exported[name]) for name in average
    )
    with pytest.raises(UserError, match="is no run folder"):
        cli.run_command(["export", str(newest), "--networks"])
    write_config(tmp_path / "bare")
    with pytest.raises(UserError, match="holds no checkpoint"):
        cli.run_command(["export", str(tmp_path / "bare"), "--networks"])


def write_config(run: Path) -> None:
    run.mkdir(exist_ok=True)
    Run(run).config.write_text(config.Config().to_yaml())


def test_export_writes_over_nothing(tmp_path: Path) -> None:
    facts = {"identity": "abc", "config": config.Config().model_dump(mode="json")}
    train(Parallel(config.Engine(threads=1)), tmp_path / "run", steps=5, facts=facts)
    write_config(tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    for place in (tmp_path / "mine", tmp_path / "run" / "gan"):
        before = sorted(place.rglob("*"))
        with pytest.raises(UserError, match="exists already and is not overwritten"):
            cli.run_command(["export", str(tmp_path / "run"), str(place), "--networks"])
        assert sorted(place.rglob("*")) == before


def test_checkpoints_kept_for_good(tmp_path: Path) -> None:
    for step in range(1, 10):
        checkpoint.save(tmp_path, step, {"a": {"x": torch.zeros(1)}}, {}, keep_every=4)
    assert checkpoint.list_steps(tmp_path) == [4, 8, 9]
