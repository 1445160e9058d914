"""What lets a sweep go on elsewhere, and with more trials; and what refuses."""

import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

from distgan import config
from distgan.errors import Stopped, UserError
from distgan.run import Run
from distgan.sweep import confirmation, ray_session, runner
from distgan.sweep.trial import Trial
from tests.helpers.sweeps import RATE, settings


@pytest.fixture
def long_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    long = tmp_path / ("t" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    return long


def test_a_long_tmpdir_gives_way_to_a_short_folder(
    long_tmpdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ray_session.choose_short_folder()
    assert place in ray_session.SHORT_FOLDERS
    assert len(ray_session.name_longest_socket(place)) <= ray_session.SOCKET_BYTES
    assert "is too long for the names of Ray's sockets" in capsys.readouterr().out


def test_without_a_short_folder_one_line_says_so(long_tmpdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_session, "SHORT_FOLDERS", ("/nowhere",))
    with pytest.raises(UserError, match="set TMPDIR to a folder with a short path"):
        ray_session.choose_short_folder()


def test_a_short_tmpdir_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/var/tmp")
    assert ray_session.choose_short_folder() == "/var/tmp"


def claimed(tmp_path: Path, **chosen: Any) -> tuple[Run, config.Config]:
    home = Run(tmp_path / "home")
    home.folder.mkdir()
    own = settings(tmp_path, RATE, "data.source=homes.csv", **chosen)
    runner.claim_folder(runner.resolve_source(own), home)
    return home, own


def test_a_source_is_the_same_from_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home, _ = claimed(tmp_path, trials=4)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    for same in (str(tmp_path / "homes.csv"), "../homes.csv", "../other/../homes.csv"):
        again = settings(tmp_path, RATE, f"data.source={same}", trials=4)
        runner.claim_folder(runner.resolve_source(again), home)
    other = settings(tmp_path, RATE, "data.source=homes.csv", trials=4)  # of this directory: another file
    with pytest.raises(UserError, match=r"belongs to another sweep \(data\.source was"):
        runner.claim_folder(runner.resolve_source(other), home)
    for kept in ("auckland", "https://example.org/homes.csv"):
        found = runner.resolve_source(config.load(None, [f"data.source={kept}"]))
        assert found.data.source == kept


def test_a_finished_sweep_takes_more_trials(tmp_path: Path) -> None:
    home, own = claimed(tmp_path, trials=4)
    home.finish("sweep", summary="4 trials", trials=4)
    more = settings(tmp_path, RATE, "data.source=homes.csv", trials=9)
    assert runner.is_finished(own, home) and not runner.is_finished(more, home)
    runner.refuse_growth(more, home)
    runner.claim_folder(runner.resolve_source(more), home)
    home.finish("sweep", summary="4 trials")  # as an earlier version wrote it
    assert runner.is_finished(more, home)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"scheduler": "pbt"}, "exchanges within the 4 trials that it began with"),
        ({"searcher": "tpe", "scheduler": "none"}, "once its first 4 have ended; run the command with"),
    ],
)
def test_searches_that_cannot_grow_now_say_so(tmp_path: Path, chosen: dict[str, Any], said: str) -> None:
    home, _ = claimed(tmp_path, trials=4, **chosen)
    more = settings(tmp_path, RATE, "data.source=homes.csv", trials=6, **chosen)
    with pytest.raises(UserError, match=said):
        runner.refuse_growth(more, home)


@pytest.mark.parametrize("lost", [KeyboardInterrupt, SystemError, None])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_stops_a_sweep_whatever_ray_makes_of_it(
    number: signal.Signals, lost: type[BaseException] | None
) -> None:
    """Ray's compiled parts raise another exception, or none."""
    ignored = signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored, as it then should be
    try:
        with (
            pytest.raises(Stopped, match=f"stopped by {number.name}; run the same command"),
            runner.stop_in_order(),
        ):
            try:
                signal.raise_signal(number)
            except KeyboardInterrupt:
                signal.raise_signal(number)  # a second one does not interrupt the end
                if lost is not None:
                    raise lost from None
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, ignored)


def test_errors_without_a_signal_pass() -> None:
    with pytest.raises(ZeroDivisionError), runner.stop_in_order():
        _ = 1 / 0


def test_a_confirmation_of_another_best_trial_is_removed(tmp_path: Path) -> None:
    home, own = claimed(tmp_path, trials=4)
    shared = Run(home.folder / "shared")
    shared.records.mkdir(parents=True)
    folder = home.folder / "confirm" / "best-seed-1"
    folder.mkdir(parents=True)
    Trial(folder).open(own, {"seed": 1}, shared)
    confirmation.remove_other(folder, own)
    assert folder.exists()
    confirmation.remove_other(folder, own.with_values({"train.generator_rate": 0.5}))
    assert not folder.exists()
