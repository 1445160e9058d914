"""Progress of long work: one live view on a terminal, plain lines at intervals elsewhere; --quiet and
--verbose.

Progress goes to standard error. Lines that belong to the record of a run (`say`) go to standard output.
"""

import logging
import os
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from distgan.errors import escape_controls

FIRST = 2.0  # seconds of work before the first plain line
BETWEEN = 20.0  # seconds between plain lines
OFTEN = 2.0  # the same under --verbose
WARNINGS = 3  # that the live view keeps
LEAST_WRITTEN, LARGEST_WRITTEN = 1e-6, 1e15  # numbers between them are written without an exponent


@dataclass
class _State:
    """The options of the command line, and the view that is open."""

    quiet: bool = False
    verbose: bool = False
    view: "View | None" = None


_state = _State()


def set_verbosity(quiet: bool | None = None, verbose: bool | None = None) -> None:
    """Set what --quiet and --verbose ask for; None leaves a setting as it is."""
    if quiet is not None:
        _state.quiet = quiet
    if verbose is not None:
        _state.verbose = verbose
        logging.getLogger("distgan").setLevel(logging.DEBUG if verbose else logging.NOTSET)
        if verbose:
            logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


def say(text: str, quiet: str = "") -> None:
    """Print a line of a run's record to standard output; under --quiet `quiet`, the warnings in it."""
    if shown := quiet if _state.quiet else text:
        print(escape_controls(shown), flush=True)


def has_terminal() -> bool:
    """Return whether standard error is a terminal that can show a live view."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def format_duration(seconds: float) -> str:
    """Return e.g. "45 s", "12 min", "3 h 05 min", "2 d 4 h"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def format_count(number: int, noun: str) -> str:
    """Return e.g. "1 group", "2 groups"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def format_exact(value: float | None) -> str:
    """Return a value of data, or a setting, with every digit that it has and no more, to be copied:
    1234564 and not 1.23456e+06, 8.48 for the float32 8.479999542236328; a dash for none.
    """
    if value is None:
        return "–"
    texts = [f"{value:.{digits}g}" for digits in range(6, 10)]
    with suppress(OverflowError):  # float32 ends at 3.4e38
        if _to_float32(value) == value:
            return _write_out(next(text for text in texts if _to_float32(float(text)) == value))
    return _write_out(repr(float(value)))


def format_digits(value: float | None, digits: int = 4) -> str:
    """Return a value to so many significant digits, and all of its whole part: 12346, 1.235, 0.001235; a dash
    for none.
    """
    if value is None:
        return "–"
    if abs(value) < 10**digits:
        return _write_out(f"{value:.{digits}g}")
    return f"{value:.0f}" if abs(value) < LARGEST_WRITTEN else f"{value:.{digits}g}"


def _to_float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _write_out(text: str) -> str:
    """Return a number without its exponent, where it is not very large or small."""
    size = abs(float(text))
    if "e" not in text or not LEAST_WRITTEN <= size < LARGEST_WRITTEN:
        return text.removesuffix(".0")
    return f"{Decimal(text):f}".removesuffix(".0")


def estimate_left(done: int, total: int, seconds: float) -> str:
    """Return how long the rest takes at the speed so far, e.g. "3 min left"; "" before anything is done."""
    return f"{format_duration(max(1.0, seconds / done * (total - done)))} left" if 0 < done < total else ""


# --------------------------------------------------------------------------------------------- the live view


class View:
    """View of a terminal: the stage, a bar for each piece of work, the last figures, the last warnings."""

    def __init__(self) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.text import Text

        console = Console(file=sys.stderr)
        self.header, self.figures, self.warnings = Text(style="bold"), Text(), Text(style="yellow")
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._last_warnings: list[str] = []

        def render() -> Any:
            lines = [line for line in (self.header, self.bars, self.figures, self.warnings) if line]
            return Group(*lines)

        self._live = Live(
            get_renderable=render,
            console=console,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            refresh_per_second=4,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.refresh()
        self._live.stop()

    def refresh(self) -> None:
        """Draw now; otherwise it is drawn four times a second."""
        self._live.refresh()

    def enter_stage(self, text: str) -> None:
        self.header.plain, self.figures.plain, self.warnings.plain = text, "", ""
        self._last_warnings.clear()

    def show_figures(self, text: str) -> None:
        self.figures.plain = text

    def show_warning(self, text: str) -> None:
        self._last_warnings = [*self._last_warnings, text][-WARNINGS:]
        self.warnings.plain = "\n".join(self._last_warnings)


@contextmanager
def open_view(shown: bool = True) -> Iterator[View | None]:
    """Show one live view while the block runs: all `Progress` inside adds its bar to it. A view that is open
    already is used; without a terminal, or under --quiet, there is none.
    """
    if _state.view is not None or not shown or _state.quiet or not has_terminal():
        yield _state.view
        return
    with View() as view:
        _state.view = view
        try:
            yield view
        finally:
            _state.view = None


def enter_stage(name: str, number: int, total: int) -> None:
    """Say which stage of a run begins: in the live view, or as a plain line of the run's record."""
    text = f"stage {number} of {total}: {name}"
    if _state.view is not None:
        _state.view.enter_stage(text)
    else:
        say(text)


def show_warning(text: str) -> None:
    """Keep a warning in sight, where there is a live view. The caller logs it."""
    if _state.view is not None:
        _state.view.show_warning(text)


class Progress:
    """`with Progress("encode", 5000, "series") as progress: progress.advance(32)`, on standard error.

    Without a terminal, work of less than `FIRST` seconds prints nothing; with `shown` false nothing does.

    Args:
        done: how much of `total` an earlier process has done.
        lines: whether plain lines are printed where there is no terminal.
    """

    def __init__(
        self, label: str, total: int, unit: str, shown: bool = True, *, done: int = 0, lines: bool = True
    ) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self.shown = shown and total > 0 and not _state.quiet
        self.lines = self.shown and lines
        self._first, self._began = done, time.monotonic()
        self._next = self._began + (OFTEN if _state.verbose else FIRST)
        self._own: Any = None  # a view that this work has opened for itself
        self._view: View | None = None
        self._task: Any = None

    def __enter__(self) -> Self:
        self._own = open_view(self.shown)
        view = self._own.__enter__()
        if view is not None and self.shown:
            self._view = view
            self._task = view.bars.add_task(
                self.label, total=self.total, completed=self.done, unit=self.unit, left=""
            )
        return self

    @property
    def left(self) -> str:
        """Time that the rest takes, e.g. "3 min left"."""
        new = self.done - self._first
        return estimate_left(new, self.total - self._first, time.monotonic() - self._began)

    def advance(self, number: int = 1) -> None:
        """Count `number` more units as done, and show it when a line is due."""
        self.done += number
        if self._view is not None:
            self._view.bars.update(self._task, advance=number, left=self.left)
        elif self.lines and (now := time.monotonic()) > self._next:
            left = estimate_left(self.done - self._first, self.total - self._first, now - self._began)
            text = f"{self.label}: {self.done:,} of {self.total:,} {self.unit}"
            print(f"{text}, about {left}" if left else text, file=sys.stderr, flush=True)
            self._next = now + (OFTEN if _state.verbose else BETWEEN)

    def show_figures(self, text: str) -> bool:
        """Show figures below the bar; return whether there is a live view to show them in."""
        if self._view is not None:
            self._view.show_figures(text)
        return self._view is not None

    def close(self) -> None:
        """Remove the bar. Closing it twice does no harm."""
        if self._view is not None:
            self._view.refresh()
            self._view.bars.remove_task(self._task)
            self._view.show_figures("")
            self._view = None
        if self._own is not None:
            self._own.__exit__(None, None, None)
            self._own = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
