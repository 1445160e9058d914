"""What a run refuses, in one line, with the exit code of its kind and nothing half-written."""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distgan import config, errors, preflight
from distgan.anonymity.projection import Projection
from distgan.data.ingest_cache import IngestCache
from distgan.data.store.reader import Store
from distgan.engine.telemetry import Telemetry
from distgan.errors import DiskFull
from distgan.parallel.processes import Parallel
from distgan.pipeline.cluster import Share
from distgan.run import Run
from distgan.train import main
from tests.helpers.runs import arguments, copy


def test_batches_are_checked_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts = ["engine.micro_batch=5", "encoder.batch_size=10", "train.batch_size=8"]
    unread = tmp_path / "unread.csv"
    unread.write_text("no series")
    assert main(arguments(unread, tmp_path / "run", *cuts)) == 2
    assert "train.batch_size 8 is not a multiple of engine.micro_batch 5" in capsys.readouterr().err
    assert main(["--run-dir", str(tmp_path / "run"), "model=timegan", "engine.micro_batch=16"]) == 2
    assert "timegan needs the whole batch" in capsys.readouterr().err
    for term in ("objective.moments", "objective.features"):
        assert main(["--run-dir", str(tmp_path / "run"), f"{term}=1", "engine.micro_batch=16"]) == 2
        assert f"{term} needs the whole batch" in capsys.readouterr().err


def test_a_folder_of_another_config_is_refused(
    run: Run, homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = copy(run, tmp_path / "run")
    assert main(arguments(homes_csv, mine.folder, "encoder.latent_dim=5")) == 2
    message = capsys.readouterr().err
    assert "encoder.latent_dim was 4, now 5" in message and message.count("\n") == 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.bounds.upper=5", "data.bounds.upper was null, now 5.0; 1 setting differs"),
        ("data.columns.ignore=[x, y]", "data.columns.ignore was [], now ['x', 'y']; 1 setting differs"),
        ("data.credit=Our Town", "data.credit was null, now Our Town; 1 setting differs"),
        ("data.units=kWh", "data.units was '', now kWh; 1 setting differs"),
        ("bank.by_label=true", "bank.by_label was false, now true; 1 setting differs"),
    ],
)
def test_a_setting_that_differs_is_written_as_in_a_config(override: str, words: str) -> None:
    old, new = config.load(None).flatten(), config.load(None, [override]).flatten()
    changed = [name for name in new if old.get(name) != new[name]]
    assert preflight.describe_changes(changed, old, new) == words


def test_settings_of_stages_still_to_come_may_change(homes_csv: Path, tmp_path: Path) -> None:
    """A mistake in a later stage does not cost the earlier ones."""
    stages = ["--stages", "prepare,encoder,encode,cluster"]
    assert main(arguments(homes_csv, tmp_path / "run", "clusters.count=100", *stages)) == 2
    assert main(arguments(homes_csv, tmp_path / "run", "clusters.count=2", *stages)) == 0
    assert main(arguments(homes_csv, tmp_path / "run", "clusters.count=1", *stages)) == 2


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("train.steps=3", "train.steps=20 or more"),
        ("generate.start=2027-01-01", "generate.start moves series of a year"),
        ("generate.attributes={ev: true}", "the groups of this run state none"),
        ("generate.lengths=as_real", "use generate.lengths=whole"),
    ],
)
def test_a_refused_wish_leaves_config_and_records(
    run: Run, homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wish: str, words: str
) -> None:
    mine = copy(run, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (mine.config, *mine.records.iterdir())}
    assert main(arguments(homes_csv, mine.folder, wish, "--stages", "gan,generate")) == 2
    assert words in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in (mine.config, *mine.records.iterdir())}


def test_the_named_command_has_the_steps_that_were_asked_for(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = copy(run, tmp_path / "run")
    given = ["--config", str(mine.config), "--run-dir", str(mine.folder), "train.steps=30"]
    assert main([*given, "--stages", "generate"]) == 2
    assert capsys.readouterr().err.endswith("--stages gan train.steps=30\n")


def test_a_folder_in_use_is_refused(
    run: Run, homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = copy(run, tmp_path / "run")
    with mine.lock():
        assert main(arguments(homes_csv, mine.folder)) == 2
    assert "in use by process" in capsys.readouterr().err


def test_a_stage_without_its_input_names_the_stage_to_run(
    homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(homes_csv, tmp_path / "run", "--stages", "gan")) == 2
    assert "--stages prepare" in capsys.readouterr().err


def test_dry_run_writes_nothing(homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(homes_csv, tmp_path / "run", "--dry-run")) == 0
    output = capsys.readouterr().out
    assert "43 series to train on" in output and "parameters for 20 steps" in output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["data.source=nowhere.csv"], "nowhere.csv"),
        (["encoder.patch=400"], "encoder.patch is 400, but a series has only 336 steps"),
        (["bank.min_members=50"], "43"),
        (["train.batch_size=0"], "train.batch_size"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_half_written(
    homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], words: str
) -> None:
    assert main(arguments(homes_csv, tmp_path / "run", *change)) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1, message
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_place_that_cannot_be_written_is_one_line(
    homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(arguments(homes_csv, tmp_path / "file" / "run")) == 2
    message = capsys.readouterr().err
    assert "cannot write" in message and message.count("\n") == 1


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 1 MiB; needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_ends_with_7_and_what_was_whole_stays(
    homes_csv: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(homes_csv, small_disk / "run")) == 7
    message = capsys.readouterr().err
    assert "disk full" in message and message.count("\n") == 1
    run = Run(small_disk / "run")
    assert run.read_record("prepare") is None or Store.open(run.series).num_series == 60


def test_a_disk_that_fills_while_training_is_one_line(small_disk: Path) -> None:
    """Metrics, TensorBoard's events and the end: none of them ends in a thread or hides the error."""
    output = Telemetry(Run(small_disk), "gan", Parallel(config.Engine()), step=0, steps=9, batch_size=1)
    output.add({"g/loss": torch.ones(())})
    output.report(1)
    with pytest.raises(OSError, match="No space"):
        (small_disk / "rest").write_bytes(bytes(2**20))
    with pytest.raises(DiskFull, match="disk full while writing"):
        for step in range(2, 400):
            output.add({"g/loss": torch.ones(())})
            output.report(step)
    with pytest.raises(DiskFull, match="disk full while writing"):
        output.close()


def test_arrays_on_a_full_disk_are_one_line(small_disk: Path) -> None:
    """numpy's error has no number after a part of an array; a mapped file would be a signal."""
    numbers = np.random.default_rng(0).random((50_000, 8), np.float32)
    with pytest.raises(DiskFull, match="disk full while writing"):
        IngestCache(small_disk / "cache", {}).save("part", {}, numbers=numbers)
    store = SimpleNamespace(read_mean=lambda rows: numbers[rows])
    share = Share(store, 0, len(numbers), 1000, small_disk / "points.npy")  # type: ignore[arg-type]
    with pytest.raises(DiskFull, match="disk full while writing"):
        share.write_projected(Projection(np.zeros(8, np.float32), np.eye(8, dtype=np.float32), 1.0))


def test_projected_points_are_read_as_they_were_written(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).random((250, 8), np.float32)
    projection = Projection(np.full(8, 0.5, np.float32), np.eye(8, 3, dtype=np.float32), 1.0)
    store = SimpleNamespace(read_mean=lambda rows: numbers[rows])
    share = Share(store, 50, 250, 64, tmp_path / "points.npy")  # type: ignore[arg-type]
    share.write_projected(projection)
    blocks = list(share.iterate_points())
    assert [len(block) for block in blocks] == [64, 64, 64, 8]
    np.testing.assert_array_equal(np.concatenate(blocks), projection(numbers[50:]))


@pytest.mark.parametrize(
    "more", [[], ["data.scaling.method=minmax"], ["data.scaling.transform=log1p", "data.windows.length=96"]]
)
def test_a_lower_bound_above_training_values_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    """As generated series would be cut off there; rounding, also to float16, is no such value."""
    values = 0.1 + np.random.default_rng(0).gamma(2, size=(60, 336)).round(2)
    values[:, 7] = 0.1  # 0.09998 as float16
    values[0, 50] = np.nan
    np.save(tmp_path / "a.npy", values)
    run = Run(tmp_path / "run")
    command = arguments(tmp_path / "a.npy", run.folder, "--stages", "prepare", "data.reduce.factor=1")
    command += ["data.store.dtype=float16", *more]
    assert main([*command, "data.scaling.lower_bound=0.5"]) == 2
    output = capsys.readouterr().err
    assert (
        "% of the training values are below data.bounds.lower 0.5, the lowest at least 0.099, and" in output
    )
    assert output.count("\n") == 1 and not run.read_record("prepare") and not run.scaler.exists()
    assert main([*command, "data.bounds.upper=3"]) == 2
    error, highest = capsys.readouterr().err, np.nanmax(values)  # of one series, so it is not named
    named = re.search(
        r"above data.bounds.upper 3, the highest at most (\d+), and .* to a public limit", error
    )
    assert named and highest <= float(named[1]) < highest + 1 and float(named[1]) != highest
    assert main([*command, "data.bounds.integer=true"]) == 2
    assert "% of the training values are not whole numbers, e.g. " in capsys.readouterr().err
    assert main([*command, "data.scaling.lower_bound=0.1"]) == 0
    assert run.read_record("prepare")


def test_more_series_than_the_disk_holds_are_refused_before_the_work(
    run: Run, homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the first stage of a training, and when a trained run is asked for more."""
    many = "generate.count=1000000000000"
    words = "generate.count: 1,000,000,000,000 series of"
    assert main(arguments(homes_csv, tmp_path / "new", many)) == DiskFull.exit_code
    output = capsys.readouterr()
    assert (
        words in output.err and "GiB left; lower the number" in output.err and "Traceback" not in output.err
    )
    assert not Run(tmp_path / "new").encoder.exists()
    mine = copy(run, tmp_path / "run")
    before = mine.config.read_text()
    assert main(["--config", str(mine.config), "--run-dir", str(mine.folder), many]) == DiskFull.exit_code
    assert words in capsys.readouterr().err
    assert mine.synthetic.exists() and mine.config.read_text() == before


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7.28 TiB for an array"),
        RuntimeError(
            "[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
        ),
    ],
)
def test_a_full_memory_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise error

    assert errors.answer(work) == 2
    line = capsys.readouterr().err
    assert "this machine has too little memory (" in line and "enforce" not in line and line.count("\n") == 1
    with pytest.raises(RuntimeError, match="of ours"):
        errors.answer(lambda: (_ for _ in ()).throw(RuntimeError("of ours")))
