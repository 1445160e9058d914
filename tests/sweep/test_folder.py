"""The folder of a sweep is of no run, and what a sweep cannot begin with is refused before Ray starts."""

from pathlib import Path
from typing import Any

import pytest

import distgan
from distgan import cli, errors
from distgan.errors import UserError
from distgan.run import Run
from distgan.sweep import runner, scores
from tests.helpers.sweeps import RATE, settings

LABEL = "is the folder of a sweep, not of a run"


@pytest.fixture
def home(tmp_path: Path) -> Run:
    """A sweep that has begun."""
    home = Run(tmp_path / "home")
    home.folder.mkdir()
    Run(home.shared).records.mkdir(parents=True)
    runner.claim_folder(settings(tmp_path, RATE), home)
    return home


@pytest.mark.parametrize(
    "command",
    [["train", "--run-dir"], ["prepare", "--run-dir"], ["inspect"], ["generate"], ["evaluate"], ["release"]],
)
def test_no_run_takes_the_folder_of_a_sweep(
    home: Run, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """A training in it replaced its config, and the sweep could not go on."""
    kept = home.config.read_text()
    assert errors.answer(lambda: cli.run_command([*command, str(home.folder)])) == 2
    assert LABEL in capsys.readouterr().err and home.config.read_text() == kept
    with pytest.raises(UserError, match=LABEL):
        distgan.load(home.folder)


def test_no_sweep_takes_the_folder_of_a_run(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.finish("prepare", summary="done")
    with pytest.raises(UserError, match="holds a run, not a sweep; choose another run_dir=PATH"):
        runner.claim_folder(settings(tmp_path, RATE), run)
    assert not run.config.exists()


@pytest.mark.parametrize(
    ("overrides", "chosen", "words"),
    [
        (["data.source=absent.csv"], {}, r"data\.source .*absent\.csv does not exist"),
        (
            ["train.batch_size=8"],
            {"resources": {"workers": 3}},
            r"train\.batch_size 8 is not a multiple of sweep\.resources\.workers 3; use 6 or 9",
        ),
        (["train.batch_size=2"], {"resources": {"workers": 3}}, "workers 3; use 3"),
        ([], {"objectives": ["fidelity", "fidelity"], "scheduler": "none"}, "names fidelity twice"),
    ],
)
def test_a_sweep_that_cannot_begin_is_refused_at_once(
    tmp_path: Path, overrides: list[str], chosen: dict[str, Any], words: str
) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=words):
        runner.sweep(settings(tmp_path, RATE, f"run_dir={tmp_path / 'new'}", *overrides, **chosen), True)


def test_batches_of_shared_stages_and_searched_ones_are_not_of_the_workers(tmp_path: Path) -> None:
    own = settings(tmp_path, RATE, "encoder.batch_size=7", "train.batch_size=6", resources={"workers": 3})
    runner.refuse_uneven_batches(own, ["prepare", "encoder"])
    with pytest.raises(UserError, match=r"encoder\.batch_size 7"):
        runner.refuse_uneven_batches(own, ["prepare"])
    space = {"train.batch_size": {"choice": [6, 9]}}
    searched = settings(tmp_path, space, "train.batch_size=8", resources={"workers": 3})
    runner.refuse_uneven_batches(searched, ["prepare", "encoder"])


def test_a_scheduler_that_compares_nothing_is_named(tmp_path: Path) -> None:
    late = settings(tmp_path, RATE, "train.steps=60", scheduler="asha", interval=60)
    assert "asha compares no trials before they end" in (runner.warn_of_late_comparison(late) or "")
    for chosen in ({"interval": 59}, {}, {"interval": 99, "scheduler": "none"}):
        assert runner.warn_of_late_comparison(settings(tmp_path, RATE, "train.steps=60", **chosen)) is None
    scores.check_objectives(["fidelity", "tracing"], late.evaluate)
