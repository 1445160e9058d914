"""Running again resumes: what is done is skipped, what changed or was deleted is made again."""

import json
import shutil
from pathlib import Path

import pytest

from distgan import cli, config
from distgan.data.store.private_table import find_private_table
from distgan.files import read_tensors, write_tensors
from distgan.run import Run
from distgan.train import main
from tests.helpers.runs import FINISHED, arguments, copy


def test_running_again_skips_everything(
    run: Run, homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = copy(run, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (again.series, again.gan / "generator.safetensors")}
    assert main(arguments(homes_csv, again.folder, *FINISHED)) == 0
    assert capsys.readouterr().out.count("done already") == len(config.STAGES)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    uncut = [*FINISHED, "engine.micro_batch=5"]  # batches of 8, which nothing cuts any more
    assert main(arguments(homes_csv, again.folder, *uncut)) == 0


def test_longer_training_goes_on_from_the_last_step(run: Run, homes_csv: Path, tmp_path: Path) -> None:
    longer = copy(run, tmp_path / "run")
    assert main(arguments(homes_csv, longer.folder, "train.steps=25", "--stages", "gan")) == 0
    assert json.loads(longer.metrics("gan").read_text().splitlines()[-1])["step"] == 25


def test_an_encoder_cut_off_after_its_last_step_is_finished(
    run: Run, homes_csv: Path, tmp_path: Path
) -> None:
    """Its last checkpoint stands, and the training has nothing more to tell."""
    again = copy(run, tmp_path / "run")
    again.record("encoder").unlink()
    command = arguments(homes_csv, again.folder, "--stages", "encoder")
    assert main(command) == 0
    assert again.read_record("encoder")["summary"] == run.read_record("encoder")["summary"]
    again.record("encoder").unlink()
    again.metrics("encoder").unlink()
    assert main(command) == 0
    assert again.read_record("encoder")["summary"] == "12 steps"


def test_a_stage_that_runs_makes_all_later_ones_due(
    run: Run, homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No report of older series stands beside newer ones as if it were theirs."""
    longer = copy(run, tmp_path / "run")
    command = arguments(homes_csv, longer.folder, "train.steps=25", "evaluate.pictures=false")
    assert main([*command, "--stages", "gan"]) == 0
    assert main([*command, "--stages", "evaluate"]) == 2
    message = capsys.readouterr().err
    assert "--stages generate" in message and message.count("\n") == 1
    assert main(command) == 0
    assert capsys.readouterr().out.count("done already") == 6
    assert all(longer.read_record(stage) for stage in config.STAGES)


@pytest.mark.parametrize(
    ("lost", "stage"),
    [
        ("series.zarr", "prepare"),
        ("encoder", "encoder"),
        ("latents.zarr", "encode"),
        ("clusters", "cluster"),
        ("clusters/members.safetensors", "bank"),
        ("gan", "gan"),
        ("synthetic.zarr", "generate"),
        ("synthetic.csv", "generate"),
    ],
)
def test_what_was_deleted_is_made_again(
    run: Run, homes_csv: Path, tmp_path: Path, lost: str, stage: str
) -> None:
    again = copy(run, tmp_path / "run")
    place = again.folder / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert main(arguments(homes_csv, again.folder, *FINISHED, "--stages", stage)) == 0
    assert place.exists() and again.read_record(stage) and not again.read_record("evaluate")


def test_a_run_without_its_real_series_still_generates(
    run: Run, homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also after the whole command was given again, which has nothing to read any more."""
    source = tmp_path / "homes.csv"
    shutil.copy(homes_csv, source)
    bare = Run(tmp_path / "run")
    command = arguments(source, bare.folder, "train.steps=5", "evaluate.pictures=false")
    assert main([*command, "--stages", "prepare,encoder,encode,cluster,bank,gan"]) == 0
    source.unlink()
    shutil.rmtree(bare.series)
    find_private_table(bare.series).unlink()
    assert main(command) == 2
    assert "homes.csv does not exist" in capsys.readouterr().err
    assert cli.run_command(["generate", str(bare.folder), "generate.format=parquet"]) is None
    assert cli.run_command(["generate", str(bare.folder), "generate.format=csv"]) is None
    assert [bare.synthetic.with_suffix(kind).exists() for kind in (".csv", ".parquet")] == [True, False]


def test_a_training_never_goes_on_with_other_series_or_conditions(
    run: Run, homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when a source was replaced and its store made again: the old people's weights are not these's."""
    again = copy(run, tmp_path / "run")
    members = again.clusters / "members.safetensors"
    held = read_tensors(members)
    write_tensors(members, {**held, "loads": held["loads"][::-1].copy()})
    command = arguments(homes_csv, again.folder, "train.steps=25", "--stages", "gan")
    assert main(command) == 2
    message = capsys.readouterr().err
    assert "gan/checkpoints was trained on other series or conditions" in message and message.count("\n") == 1
    shutil.rmtree(again.checkpoints("gan"))
    assert main(command) == 0
    advised = copy(run, tmp_path / "advised")
    command = arguments(homes_csv, advised.folder, "train.steps=25", "--stages", "gan")
    assert main([*command, "data.credit=Homes of Our Town"]) == 0  # words about them make no difference
