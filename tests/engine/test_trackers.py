"""Trackers: each step once after a resume, nothing personal, and one line where a package is absent."""

import getpass
import importlib.util
import json
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distgan import config
from distgan.engine.telemetry import SHARED_SETTINGS, Telemetry, flatten
from distgan.parallel import trackers
from distgan.parallel.processes import Parallel
from distgan.run import Run
from distgan.train import main
from tests.helpers.runs import arguments
from tests.helpers.small_gan import lines, train

ABSENT = next((name for name in trackers.SERVICES if importlib.util.find_spec(name) is None), None)


def installed(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")


def parallel_with(*names: str, **more: Any) -> Parallel:
    return Parallel(config.Engine(threads=1, trackers=names, **more))


@pytest.mark.skipif(ABSENT is None, reason="every tracker is installed")
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_an_absent_package_is_one_line_before_anything_is_read(
    homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    command = arguments(homes_csv, tmp_path / "run", f"engine.trackers=[tensorboard,{ABSENT}]", *more)
    assert main(command) == 2
    message = capsys.readouterr().err
    assert message == (
        f"distgan: engine.trackers lists {ABSENT}, which is not installed; run pip install {ABSENT}, or set "
        "engine.trackers=[tensorboard]\n"
    )
    assert not (tmp_path / "run" / "series.zarr").exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[neptune]", "engine.trackers"),
        ("[wandb,wandb]", "trackers lists wandb twice"),
        ("wandb", "trackers"),
    ],
)
def test_a_wrong_list_is_one_line(value: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", f"engine.trackers={value}"]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1


def test_without_trackers_nothing_is_written_but_metrics(tmp_path: Path) -> None:
    train(parallel_with(), tmp_path, steps=8)
    assert not Run(tmp_path).logs.exists() and Run(tmp_path).metrics("gan").exists()


def test_tensorboard_gets_pictures_and_hides_what_was_cut_off(tmp_path: Path) -> None:
    """Three files within a second, written in this order and read in the order of their names."""
    run, parallel = Run(tmp_path), parallel_with("tensorboard")
    figure = matplotlib.figure.Figure(figsize=(1.2, 0.8), dpi=50)
    figure.add_subplot().plot([0, 1])
    for first, last, value in ((0, 6, 1.0), (3, 5, 2.0), (4, 8, 3.0)):
        output = Telemetry(run, "gan", parallel, step=first, steps=9, batch_size=1)
        for step in range(first + 1, last + 1):
            output.add({"g/loss": torch.tensor(value)})
            output.report(step)
            output.log_figures(step, {"samples": figure})
        output.close()
    events = EventAccumulator(str(run.logs / "gan"), size_guidance={"images": 0})
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("g/loss")]
    assert found == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 3), (6, 3), (7, 3), (8, 3)]
    pictures = events.Images("samples")
    assert [picture.step for picture in pictures] == list(range(1, 9))
    assert (pictures[0].width, pictures[0].height) == (60, 40)


def test_settings_that_are_sent_name_no_place_and_no_person() -> None:
    settings = config.load(None, ["data.source=/home/ann/meters.csv", "run_dir=/home/ann/run"])
    tree = settings.model_dump(mode="json")
    sent = flatten({name: tree[name] for name in SHARED_SETTINGS})
    assert sent["train.batch_size"] == settings.train.batch_size and sent["model.name"] == "multiscale"
    assert "/home/ann" not in json.dumps(sent)
    assert all(isinstance(value, bool | int | float | str) for value in sent.values())


@pytest.mark.parametrize(
    ("method", "place", "reached"),
    [("store_init_configuration", "settings", 1), ("log", "step 2", 2), ("finish", "the end", 5)],
)
def test_a_service_that_fails_is_left_out_and_training_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    place: str,
    reached: int,
) -> None:
    calls: list[str] = []

    def record(name: str) -> Callable[..., None]:
        def call(*given: object, **more: object) -> None:
            calls.append(name)
            if name == method:
                raise ConnectionError("the server is\ngone")

        return call

    names = ("store_init_configuration", "log", "finish")
    service = SimpleNamespace(tracker=SimpleNamespace(id="1"), **{name: record(name) for name in names})
    monkeypatch.setattr(trackers, "refuse_absent", lambda names: None)
    monkeypatch.setattr(trackers, "start_service", lambda *given: service)
    train(parallel_with("wandb"), tmp_path, steps=6, report_every=2)
    assert calls == ["store_init_configuration", "log", "log", "log", "finish"][:reached]
    (said,) = [found.getMessage() for found in caplog.records if found.levelname == "WARNING"]
    assert said.startswith(f"engine.trackers wandb failed at {place} (the server is gone) and gets nothing")
    assert [line["step"] for line in lines(tmp_path)] == [2, 4, 6]


def test_services_send_no_command_line_no_console_and_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default Comet sends the arguments of the program, what it prints, its code and the host; MLflow the
    user and the program's path.
    """

    class Config(dict):
        pass

    packages = {"comet_ml": SimpleNamespace(ExperimentConfig=Config)}
    monkeypatch.setattr(trackers, "import_module", packages.__getitem__)
    place = "run-gan", Path("/secret/run/logs/gan")
    given = trackers.SERVICES["comet_ml"].arguments(*place)["experiment_config"]
    assert {"log_code", "parse_args", "log_env_host", "log_git_patch", "auto_output_logging"} < given.keys()
    assert not any(given.values())
    tags = trackers.SERVICES["mlflow"].arguments(*place)["tags"]
    assert tags == {"mlflow.user": "distgan", "mlflow.source.name": "distgan"}


# ------------------------------------------------------------------------------- the real packages, offline


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No server: W&B writes beside the run, MLflow into a database."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("COMET_START_ONLINE", "false")
    monkeypatch.setenv("COMET_OFFLINE_DIRECTORY", str(tmp_path / "comet"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def train_in_two_parts(folder: Path, *names: str) -> None:
    """Until step 14 with the last checkpoint at 10, then to the end: steps 12 and 14 are done twice."""
    parallel = parallel_with(*names)
    facts = {"config": {"seed": 3, "data": {"source": "/home/ann/meters.csv"}, "train": {"steps": 20}}}

    def stop(step: int, metrics: dict[str, float]) -> None:
        if step == 14:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(parallel, folder, report_every=2, facts=facts, on_report=stop)
    train(parallel, folder, report_every=2, facts=facts)


def read_leveldb_log(content: bytes) -> Iterator[bytes]:
    """Records of W&B's offline file behind its header of 7 bytes: blocks of 32 KiB, of chunks with checksum,
    length and kind (1 whole, 2 first, 3 middle, 4 last), as LevelDB's log.
    """
    place, record = 0, b""
    while place + 7 <= len(content):
        left = 32768 - (place + 7) % 32768  # the header counts as part of the first block
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


@pytest.mark.slow
@installed("wandb")
def test_wandb_offline_has_each_step_once_and_nothing_personal(offline: Path) -> None:
    from wandb.proto.wandb_internal_pb2 import Record

    train_in_two_parts(offline / "run", "wandb")
    steps, ids, content = [], set(), b""
    for path in sorted((offline / "run").rglob("*.wandb")):
        content += path.read_bytes()
        for raw in read_leveldb_log(path.read_bytes()[7:]):
            record = Record.FromString(raw)
            if record.HasField("run"):
                ids.add(record.run.run_id)
            if record.HasField("history"):
                steps.append(record.history.step.num)
    assert steps == list(range(2, 21, 2)) and len(ids) == 1
    assert ids == {json.loads(Run(offline / "run").trackers("gan").read_text())["ids"]["wandb"]}
    for private in (b"ann/meters", b"test_trackers.py", b"pytest"):
        assert private not in content
    everything = b"".join(path.read_bytes() for path in (offline / "run").rglob("wandb-metadata.json"))
    assert everything == b""


@pytest.mark.slow
@installed("mlflow")
def test_mlflow_has_each_step_once_in_one_run(offline: Path) -> None:
    import mlflow

    train_in_two_parts(offline / "run", "mlflow")
    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'distgan'")
    (found,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(found.info.run_id, "g/loss")
    assert sorted(point.step for point in history) == list(range(2, 21, 2))
    assert found.info.status == "FINISHED" and found.info.run_name == "run-gan"
    assert found.data.params == {"seed": "3", "train.steps": "20"}
    for private in ("ann/meters", "test_trackers.py", "pytest", getpass.getuser()):
        assert private not in str(found.data.tags) + str(found.info.user_id), private


@pytest.mark.slow
@installed("mlflow")
def test_pictures_leave_for_a_service_only_if_asked(offline: Path) -> None:
    import mlflow

    figure = matplotlib.figure.Figure()
    figure.add_subplot().plot(np.arange(3))
    for asked in (False, True):
        parallel = parallel_with("mlflow", tracker_pictures=asked)
        output = Telemetry(Run(offline / str(asked)), "gan", parallel, step=0, steps=9, batch_size=1)
        output.log_figures(3, {"samples": figure})
        output.close()
    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'distgan'")
    kept = {
        found.info.run_name: [file.path for file in client.list_artifacts(found.info.run_id)]
        for found in client.search_runs([experiment.experiment_id])
    }
    assert kept == {"False-gan": [], "True-gan": ["samples-3.png"]}


@pytest.mark.slow
@installed("comet_ml")
def test_comet_offline_starts_and_goes_on(offline: Path) -> None:
    train_in_two_parts(offline / "run", "comet_ml")
    key = json.loads(Run(offline / "run").trackers("gan").read_text())["ids"]["comet_ml"]
    kept = [path for path in (offline / "comet").iterdir() if key in path.name]
    assert kept
    content = b"".join(read_archive(path) for path in kept)
    for private in ("ann/meters", "test_trackers.py", "pytest", "standard_output", socket.gethostname()):
        assert private.encode() not in content, private


def read_archive(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())
