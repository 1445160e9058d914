"""Sweeps with Ray that are killed, crash and go on."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import yaml

from distgan import config
from distgan.engine import checkpoint
from distgan.errors import UserError
from distgan.files import read_json
from distgan.run import Run
from distgan.sweep import results, scores
from distgan.sweep.files import SweepFiles
from tests.helpers.processes import PATIENCE
from tests.helpers.settings import ROOT
from tests.helpers.sweeps import RATE, overrides


class Sweep:
    """A sweep as its user calls it, in a process of its own."""

    def __init__(self, homes: Path, folder: Path, space: dict[str, Any], *more: str, **chosen: Any) -> None:
        folder.mkdir()
        self.home = folder / "home"
        path = folder / "sweep.yaml"
        path.write_text(yaml.safe_dump({"sweep": {"space": space, "confirm": 0, **chosen}}))
        self.command = [sys.executable, "-m", "distgan.cli", "sweep", "--config", str(path)]
        self.command += ["--run-dir", str(self.home), *overrides(homes, *more)]
        self.process: subprocess.Popen[str] | None = None

    started: ClassVar[list[subprocess.Popen[str]]] = []

    def start(self) -> "Sweep":
        own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
        self.process = subprocess.Popen(
            self.command,
            cwd=self.home.parent,
            env={**os.environ, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(self.process)
        return self

    def end(self) -> str:
        assert self.process is not None
        out, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, out[-5000:]
        return out

    @property
    def results(self) -> list[results.Result]:
        return results.read_results(Run(self.home), self.steps)

    @cached_property
    def steps(self) -> int:
        """Steps of a whole trial; read once, since polls ask often, and the trials need the processor."""
        return config.load(self.home / "config.yaml").train.steps

    def training(self) -> Iterator[tuple[Path, int]]:
        """Folder and process of every trial that is in the middle of its training, until there are none."""
        for lock in sorted(self.home.glob("trials/*/.lock")):
            words, trial = lock.read_text().split(), Run(lock.parent)
            alive = words and Path(f"/proc/{words[1]}").exists()  # not the note of a trial that was killed
            if alive and any(trial.checkpoints("gan").glob("step-*")) and trial.read_record("gan") is None:
                yield lock.parent, int(words[1])

    def wait_for(self, seen: Any, seconds: float = PATIENCE) -> Any:
        end = time.monotonic() + seconds
        while not (found := seen()):
            assert self.process is not None and self.process.poll() is None, self.end()
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.2)
        return found


def listening(parent: int) -> list[str]:
    """Addresses at which the process and all that it started listen."""
    psutil = pytest.importorskip("psutil")
    family = [psutil.Process(parent), *psutil.Process(parent).children(recursive=True)]
    found = []
    for process in family:
        with contextlib.suppress(psutil.Error):
            found += [c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    return found


@pytest.fixture(scope="module", autouse=True)
def no_sweep_left() -> Iterator[None]:
    """What a failed test has left running ends with the file; Ray's processes end with their driver."""
    yield
    for process in Sweep.started:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def two_trials(homes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, str, set[str]]:
    """A sweep of two trials that ended, what it printed, and where it listened in the middle."""
    pytest.importorskip("ray")
    space = {**RATE, "objective.loss": {"choice": ["relativistic", "hinge"]}}
    folder = tmp_path_factory.mktemp("two-trials") / "sweep"
    run = Sweep(homes_csv, folder, space, "engine.trackers=[tensorboard]", trials=2, interval=10).start()
    run.wait_for(lambda: list(run.training()))
    assert run.process is not None
    addresses = set(listening(run.process.pid))
    temporary = Path(read_json(run.home / "ray" / "temporary.json")["folder"])
    printed = run.end()
    assert not temporary.exists()
    return run, printed, addresses


def test_two_trials_end_to_end(two_trials: tuple[Sweep, str, set[str]]) -> None:
    run, printed, addresses = two_trials
    assert len(addresses) >= 1 and all(ip in ("::1", "::ffff:127.0.0.1", "127.0.0.1") for ip in addresses)
    assert "trial 1" in printed and "best      trial" in printed
    ends = {(found.state, found.step) for found in run.results}
    assert ("ended", 20) in ends <= {("ended", 20), ("stopped", 10)}  # the second may be the worse one
    table = pd.read_parquet(run.home / "trials.parquet")
    assert set(table["step"]) == {10, 20} and {"fidelity", *RATE, "objective.loss"} <= set(table.columns)
    page = (run.home / "sweep.html").read_text()
    assert page.count("<figure>") == 4 and "http://" not in page.replace("http://www.w3.org", "")
    assert list(run.home.glob("trials/*/logs/gan/events*")) and list(
        run.home.glob("trials/*/logs/sweep/events*")
    )


@pytest.mark.slow
def test_the_best_config_trained_plainly_has_the_best_score(
    two_trials: tuple[Sweep, str, set[str]], tmp_path: Path
) -> None:
    """From the start and to the last digit; and the same sweep again makes nothing."""
    run = two_trials[0]
    command = [sys.executable, "-m", "distgan.train", "--config", str(run.home / "best.yaml")]
    again = subprocess.run(
        [*command, f"run_dir={tmp_path / 'again'}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    best = results.find_best(run.results, ["fidelity"], 20).find_loss("fidelity")
    assert scores.read_objectives(Run(tmp_path / "again"), ["fidelity"])["fidelity"] == best
    assert run.start().end().count("made") == 0


JOINS = """
import os, subprocess, sys
from pathlib import Path
from distgan import config
from distgan.run import Run
from distgan.sweep import ray_session
with ray_session.prepare_environment(Run(Path(sys.argv[1])), None) as temporary:
    import ray
    from distgan.sweep import ray_backend
    with ray_backend.start_ray(config.Sweep(), temporary):
        join = [sys.executable, "-c", f"import ray; ray.init({ray.get_runtime_context().gcs_address!r})"]
        theirs = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN_PATH"}
        others = ({"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"})
        for its in (os.environ, *({**theirs, **other} for other in others)):
            code = subprocess.run(join, env=its, capture_output=True).returncode
            print("refused" if code else "joined")
"""


@pytest.mark.slow
def test_only_who_has_the_token_may_join(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    driver = subprocess.run(  # of its own: ray reads its environment when it is imported
        [sys.executable, "-c", JOINS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert driver.stdout.split() == ["joined", "refused", "refused"], driver.stderr


@pytest.mark.slow
def test_a_sweep_for_what_has_no_value_ends_at_its_first_evaluation(homes_csv: Path, tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"trials": 4, "interval": 10, "objectives": ["metrics.nosuchthing"]}
    run = Sweep(homes_csv, tmp_path / "sweep", RATE, **chosen)
    for _ in range(2):  # the same command again says the same
        process = run.start().process
        assert process is not None
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2 and "metrics.nosuchthing is not written" in out.splitlines()[-1]
        assert len(run.results) < 4 and all(found.step <= 10 for found in run.results)


@pytest.mark.slow
def test_killed_trials_and_a_killed_driver_lose_nothing(homes_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    run = Sweep(
        homes_csv, tmp_path / "sweep", RATE, "train.steps=40", trials=3, scheduler="none", retries=1
    ).start()
    victim, first = run.wait_for(lambda: list(run.training()))[0]
    os.kill(first, signal.SIGKILL)
    _, second = run.wait_for(lambda: [one for one in run.training() if one[0] == victim and one[1] != first])[
        0
    ]
    os.kill(second, signal.SIGKILL)
    run.wait_for(lambda: any(found.state == "failed" for found in run.results))
    run.wait_for(lambda: any(found.state == "ended" for found in run.results))
    done = next(found for found in run.results if found.state == "ended")
    stood = (done.folder / "done" / "gan.json").stat().st_mtime_ns
    time.sleep(3)  # of what happened in the last second a killed driver may forget (TUNE_GLOBAL_CHECKPOINT_S)
    assert run.process is not None
    run.process.kill()
    run.process.wait()
    run.start().end()
    states = {found.folder.name: (found.state, found.step) for found in run.results}
    assert states.pop(victim.name)[0] == "failed"
    assert list(states.values()) == [("ended", 40), ("ended", 40)]
    assert (done.folder / "done" / "gan.json").stat().st_mtime_ns == stood
    events = [json.loads(line) for line in SweepFiles(run.home).states.read_text().splitlines()]
    assert "retried" in [event["state"] for event in events if event["trial"] == victim.name]


@pytest.mark.slow
def test_a_signal_stops_a_sweep_in_order(homes_csv: Path, tmp_path: Path) -> None:
    """It reaches the process inside Ray's compiled parts, where it waits for its trials."""
    pytest.importorskip("ray")
    run = Sweep(homes_csv, tmp_path / "sweep", RATE, "train.steps=400", trials=1, scheduler="none")
    for number in (signal.SIGTERM, signal.SIGUSR1):
        run.start().wait_for(lambda: list(run.training()))
        temporary = Path(read_json(run.home / "ray" / "temporary.json")["folder"])
        assert run.process is not None
        run.process.send_signal(number)
        out, _ = run.process.communicate(timeout=PATIENCE)
        assert run.process.returncode == 75, out[-5000:]
        assert f"stopped by {number.name}; run the same command again to continue" in out
        assert "Traceback" not in out and not temporary.exists()


@pytest.mark.slow
def test_a_killed_sweep_moves_goes_on_and_takes_more_trials(
    homes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another path, another working directory, with relative paths, and under a long TMPDIR."""
    pytest.importorskip("ray")
    psutil = pytest.importorskip("psutil")
    long = tmp_path / ("t" * 90)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    data = tmp_path / "homes.csv"
    data.write_bytes(homes_csv.read_bytes())
    one_by_one = {"cpus": len(os.sched_getaffinity(0))}
    chosen: dict[str, Any] = {"trials": 2, "scheduler": "none", "resources": one_by_one}
    run = Sweep(data, tmp_path / "sweep", RATE, **chosen).start()
    run.wait_for(lambda: list(run.training()))
    run.wait_for(lambda: any(found.state == "ended" for found in run.results))
    done = next(found for found in run.results if found.state == "ended").folder.name
    time.sleep(3)
    assert run.process is not None
    started = psutil.Process(run.process.pid).children(recursive=True)
    run.process.kill()
    run.process.wait()
    psutil.wait_procs(started, timeout=PATIENCE)  # Ray's workers end some seconds after their driver

    (tmp_path / "elsewhere").mkdir()
    run.home.rename(tmp_path / "elsewhere" / "moved")
    old, run.home = run.home, tmp_path / "elsewhere" / "moved"
    stood = (run.home / "trials" / done / "done" / "gan.json").stat().st_mtime_ns
    run.command[run.command.index("--config") + 1] = "../sweep/sweep.yaml"
    run.command[run.command.index("--run-dir") + 1] = "moved"
    run.command[run.command.index(f"data.source={data}")] = "data.source=../homes.csv"
    printed = run.start().end()
    assert "is too long for the names of Ray's sockets" in printed and not old.exists()
    assert [(found.state, found.step) for found in run.results] == [("ended", 20)] * 2
    assert (run.home / "trials" / done / "done" / "gan.json").stat().st_mtime_ns == stood

    names = {found.folder.name for found in run.results}
    run.command.append("sweep.trials=3")
    run.start().end()
    assert len(run.results) == 3 and names < {found.folder.name for found in run.results}
    assert (run.home / "trials" / done / "done" / "gan.json").stat().st_mtime_ns == stood
    assert run.start().end().count("made") == 0  # the same command again makes nothing


@pytest.mark.slow
def test_weaker_trials_take_over_the_better_ones_training(homes_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    space = {"train.generator_rate": {"loguniform": [1e-6, 1e-2]}}
    run = Sweep(homes_csv, tmp_path / "sweep", space, trials=3, scheduler="pbt", interval=5).start()
    run.end()
    assert [found.step for found in run.results] == [20, 20, 20]
    names = {found.folder.name for found in run.results}
    exchanges = [(found, change) for found in run.results for change in found.exchanges]
    assert exchanges
    for found, change in exchanges:
        assert change["of"] in names - {found.folder.name}
        # What it had trained after that step itself is gone; what it scores later, it has trained since.
        assert [evaluation.step for evaluation in found.evaluations] == sorted(
            {evaluation.step for evaluation in found.evaluations}
        )


@pytest.mark.slow
def test_two_objectives_by_tpe_give_a_front_and_fresh_seeds(homes_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    chosen = {"objectives": ["fidelity", "spectrum"], "searcher": "tpe", "scheduler": "none"}
    run = Sweep(homes_csv, tmp_path / "sweep", RATE, "train.steps=5", trials=3, **chosen)
    run.command.append("sweep.confirm=1")
    out = run.start().end()
    assert "front     trials" in out
    assert "best      spectrum on fresh seeds" in out and "default   fidelity on fresh seeds" in out
    assert [found.state for found in run.results] == ["ended"] * 3
    seeds = {config.load(path).seed for path in run.home.glob("confirm/*/config.yaml")}
    assert seeds == {1} and len(list(run.home.glob("confirm/*/report.json"))) == 2


@pytest.mark.slow
def test_a_trial_of_two_workers_is_one_training(homes_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    workers = {"workers": 2, "cpus": 1}
    space = {"train.generator_rate": {"choice": [1e-3]}}
    run = Sweep(homes_csv, tmp_path / "two", space, "train.steps=6", trials=1, interval=3, resources=workers)
    run.start().end()
    (found,) = run.results
    assert [evaluation.step for evaluation in found.evaluations] == [3, 6]
    saved = checkpoint.load(Run(found.folder).checkpoints("gan"), 6)
    assert saved.facts["world_size"] == 2


@pytest.mark.parametrize("slow_starts", [2, 3])
def test_ray_that_starts_too_slowly_is_started_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], slow_starts: int
) -> None:
    """Ray gives its own processes 30 s and raises a plain Exception; the third failure is one line."""
    ray = pytest.importorskip("ray")
    from distgan.sweep import ray_backend

    said = "The current node timed out during startup. This could happen because\nof a second line"
    left = [Exception(said)] * slow_starts

    def init(**how: Any) -> None:
        if left:
            raise left.pop()

    monkeypatch.setattr(ray, "init", init)
    if slow_starts == ray_backend.STARTS:
        with pytest.raises(UserError, match=r"^no Ray cluster on this machine: .* happen because$"):
            ray_backend._join_ray({"address": "local"})
    else:
        ray_backend._join_ray({"address": "local"})
    assert not left and capsys.readouterr().out.count("starting them again") == 2


def test_every_failure_of_ray_to_join_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    from distgan.sweep import ray_backend

    def init(**how: Any) -> None:
        raise ray.exceptions.AuthenticationError("Token authentication failed")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(UserError, match=r"no Ray cluster at sweep.address auto: Token authentication failed"):
        ray_backend._join_ray({"address": "auto"})


def test_a_trial_that_fits_nowhere_is_refused_at_once() -> None:
    pytest.importorskip("ray")
    from distgan.sweep import ray_backend

    with pytest.raises(UserError, match=r"a trial needs 64 x 4 CPUs and 0 GPUs, but Ray has 2 and 0"):
        ray_backend.refuse_too_large(
            config.Sweep(resources=config.Resources(workers=64, cpus=4)), {"CPU": 2.0}
        )
    pairs = config.Sweep(scheduler="pbt", trials=4, resources=config.Resources(workers=2))
    with pytest.raises(UserError, match=r"runs all 4 trials at once, but only 2 fit"):
        ray_backend.refuse_too_large(pairs, {"CPU": 5.0})
    assert ray_backend.count_trials_at_once(config.Resources(workers=2, cpus=1), {"CPU": 5.0}) == 2
    assert ray_backend.count_trials_at_once(config.Resources(gpus=0.25), {"CPU": 16.0, "GPU": 2.0}) == 8
