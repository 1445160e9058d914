"""What a terminal shows of long work, and the plain lines elsewhere."""

import io
import re
import sys

import numpy as np
import pytest

from distgan import progress
from distgan.progress import Progress, estimate_left, format_duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal; in the test itself, since pytest replaces it after the set-up."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def shown(screen: Terminal) -> str:
    """All that was drawn, without the codes that move and colour."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


def test_one_view_shows_stage_bar_figures_and_warnings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = open_terminal(monkeypatch)
    with progress.open_view() as view:
        assert view is not None
        progress.enter_stage("gan", 6, 8)
        with Progress("gan", 40, "steps", done=10) as work:
            work.advance(5)
            assert work.show_figures("d 0.84  g -0.11")
            progress.show_warning("step 15: generated series are nearly all alike")
            view.refresh()
            text = shown(terminal)
        progress.say("a line of the record")
    assert "stage 6 of 8: gan" in text and "15/40 steps" in text and "left" in text
    assert "d 0.84  g -0.11" in text and "step 15: generated series are nearly all alike" in text
    assert capsys.readouterr().out == "a line of the record\n"  # which is no terminal here


def test_work_without_a_view_opens_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with Progress("writing", 4, "parts") as work:
        work.advance(3)
        assert work._view is not None
        work._view.refresh()
    assert "writing" in shown(terminal) and "3/4 parts" in shown(terminal)
    assert progress._state.view is None


@pytest.mark.parametrize("variable", ["dumb", ""])
def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = open_terminal(monkeypatch)
    monkeypatch.setenv("TERM", variable)
    with progress.open_view() as view:
        assert view is None
        progress.enter_stage("gan", 6, 8)
    assert terminal.getvalue() == "" and capsys.readouterr().out == "stage 6 of 8: gan\n"


def test_processes_that_show_nothing_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with progress.open_view(False), Progress("encode", 5, "series", False) as work:
        work.advance(5)
    assert terminal.getvalue() == ""


def test_plain_lines_come_after_two_seconds_and_then_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "FIRST", 2.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("attacks", 60, "attacks") as work:
        for _ in range(59):
            now[0] += 1.0
            work.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"attacks: {n} of 60 attacks, about {60 - n} s left" for n in (3, 24, 45)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (45, "45 s"),
        (99.6, "2 min"),
        (3599, "60 min"),
        (11100, "3 h 05 min"),
        (200000, "2 d 7 h"),
    ],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_the_time_left_follows_from_the_speed_so_far() -> None:
    assert estimate_left(0, 10, 5.0) == "" and estimate_left(10, 10, 5.0) == ""
    assert estimate_left(2, 10, 5.0) == "20 s left"
    assert estimate_left(9, 10, 0.1) == "1 s left"


@pytest.mark.parametrize(
    "number, text", [(0, "0 groups"), (1, "1 group"), (2, "2 groups"), (1200, "1,200 groups")]
)
def test_a_count_agrees_with_its_noun(number: int, text: str) -> None:
    assert progress.format_count(number, "group") == text


@pytest.mark.parametrize(
    ("value", "exact", "digits"),
    [
        (1234564.0, "1234564", "1234564"),  # not 1.23456e+06, which is another number
        (float(np.float32(8.48)), "8.48", "8.48"),
        (12345.6, "12345.6", "12346"),
        (0.001, "0.001", "0.001"),
        (0.1 + 0.2, "0.30000000000000004", "0.3"),
        (1e-5, "0.00001", "0.00001"),
        (16777216.0, "16777216", "16777216"),
        (-1070.4, "-1070.4", "-1070"),
        (0.0, "0", "0"),
        (1e-9, "1e-09", "1e-09"),
        (1e20, "1e+20", "1e+20"),
    ],
)
def test_numbers_keep_their_digits(value: float, exact: str, digits: str) -> None:
    assert progress.format_exact(value) == exact and float(exact) == pytest.approx(value, rel=1e-7)
    assert progress.format_digits(value) == digits
