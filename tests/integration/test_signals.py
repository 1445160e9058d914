"""Signals leave nothing temporary; what was ignored stays ignored; handlers are given back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distgan import errors
from distgan.engine import trainer
from tests.helpers.commands import code_of
from tests.helpers.processes import PATIENCE
from tests.helpers.settings import ROOT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_leaves_nothing_temporary(number: signal.Signals, tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from distgan import errors, files
def work():
    with files.whole_folder(Path("store")) as folder, files.whole_file(Path("table.csv")) as table:
        (folder / "half").write_bytes(b"x")
        table.write_bytes(b"half")
        print("ready", flush=True)
        time.sleep(60)
sys.exit(errors.answer(work))
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # under nohup it is inherited as ignored
    )
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    child.send_signal(number)
    said = child.communicate(timeout=PATIENCE)[1].decode()
    assert child.returncode == (130 if number == signal.SIGINT else 75)
    assert said.count("\n") == 1 and said.startswith("distgan: "), said
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_signal_stays_ignored() -> None:
    code = """
import os, signal, sys
from distgan import errors
def work():
    os.kill(os.getpid(), signal.SIGHUP)
    print("went on")
sys.exit(errors.answer(work))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # as nohup starts it
    )
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr


def test_an_ignored_signal_stays_ignored_while_a_network_is_trained() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGUSR1)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        with trainer.catch_signals() as caught:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGUSR1)
        assert caught == [signal.SIGUSR1]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in errors.SIGNALS]
    assert code_of("--version") == 0
    assert [signal.getsignal(number) for number in errors.SIGNALS] == before
