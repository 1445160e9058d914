"""Errors that a user can meet, with their exit codes.

A message is one line: what is wrong, where, the rule, what to do next. The commands print it and nothing
else. Any other exception is an internal error and keeps its traceback.
"""

import errno
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

log = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT)
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)  # a scheduler's, a closed terminal's, a scheduler's
EXIT_CODES = {
    0: "done",
    1: "internal error: please report it with the traceback",
    2: "wrong input, option or setting",
    3: "release refused: over a limit",
    4: "release refused: not enough evidence",
    5: "a manifest, ledger or checksum does not match",
    6: "training diverged",
    7: "disk full",
    8: "another process of the run died or stopped answering",
    75: "stopped by a signal; run the same command again to continue",
    130: "interrupted with Ctrl-C",
}
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but line ends and tabs
BROKEN_PIPE = 141  # as a shell counts a program that SIGPIPE ended


class UserError(ValueError):
    """The input or the configuration is wrong."""

    exit_code = 2


class OverLimit(UserError):
    """The release is over a limit, or of a kind that is never allowed."""

    exit_code = 3


class TooLittleEvidence(UserError):
    """Too few were held out to show that a release is safe."""

    exit_code = 4


class Mismatch(UserError):
    """A manifest, ledger or checksum does not match its files."""

    exit_code = 5


class Diverged(UserError):
    """Losses or gradients stayed non-finite after all rollbacks."""

    exit_code = 6


class DiskFull(UserError):
    """A file could not be written for lack of space."""

    exit_code = 7


class NcclFailure(UserError):
    """The GPUs of a launch cannot exchange tensors."""


class LostProcess(UserError):
    """Another process died or stopped responding; the last checkpoint is kept."""

    exit_code = 8


class Stopped(UserError):
    """A signal stopped the training; its state is saved."""

    exit_code = 75


class Interrupted(KeyboardInterrupt):
    """A signal ended a command. Like KeyboardInterrupt it is not caught by `except Exception`, so clean-up
    runs.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn errors of the operating system in reading `path` into one-line errors.

    Raises:
        UserError: the file is missing, forbidden, not a file, has an impossible name, or cannot be read.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{_shorten(path)} is missing") from None
    except OSError as error:
        raise UserError(f"cannot read {_shorten(path)}: {error.strerror or error}") from error
    except ValueError as error:  # NUL, or half a character
        raise UserError(f"cannot read {_shorten(path)}: {error}") from None


@contextmanager
def parsing(path: Path | str, remedy: str = "restore it from a copy") -> Iterator[None]:
    """Turn errors in parsing a damaged record, a file that distgan wrote, into a one-line error.

    Raises:
        UserError: the block raised KeyError, TypeError, ValueError, … while it took the record apart.
    """
    try:
        yield
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        what = f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
        raise UserError(f"{path} is damaged, or was not written by distgan ({what}); {remedy}") from None


def _shorten(path: Path | str) -> str:
    """Return a path as it fits into a line."""
    text = ascii(str(path))[1:-1] if "\0" in str(path) else str(path)
    return text if len(text) <= 200 else f"{text[:80]}…{text[-40:]}"


def is_disk_full(error: OSError) -> bool:
    """Return whether a write failed for lack of space. numpy gives no number when it has written a part of an
    array.
    """
    words = str(error)
    partly = error.errno is None and " requested and " in words and words.endswith(" written")
    return error.errno in FULL or partly


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the operating system in writing `path` into one-line errors.

    Raises:
        DiskFull: no space is left.
        UserError: the place is read-only, forbidden, or not a folder.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull(
                f"disk full while writing {path}; free some space and run the same command again"
            ) from error
        if error.errno in UNUSABLE:
            raise UserError(
                f"cannot write {_shorten(path)}: {error.strerror}; choose another path "
                "(of a run: run_dir=PATH)"
            ) from error
        raise


def is_memory_full(error: BaseException) -> bool:
    """Return whether the machine has not the memory that was asked for; torch raises a RuntimeError of its
    own.
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def describe_full_memory(error: BaseException) -> str:
    """Return what was asked for, and what to do about it."""
    asked = " ".join(str(error).split())
    asked = asked[asked.rfind("DefaultCPUAllocator") :] if "DefaultCPUAllocator" in asked else asked
    return (
        f"this machine has too little memory ({asked[:200] or 'none is left'}); lower the count, the batch "
        "size or the width that asks for so much, or engine.host_memory_mib, or use a machine with more"
    )


UNUSABLE = (  # errors of a place that cannot be read or written, whatever the program does
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOENT,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
    errno.ENXIO,
    errno.EFBIG,
    errno.EIO,
    errno.ESTALE,
)


def answer(main: Callable[[], None]) -> int:
    """Run `main` and return the exit code; a `UserError` becomes one line on standard error, other ranks'
    marked. SIGTERM, SIGHUP and SIGUSR1 end it in order, as Ctrl-C does: temporary files are removed.
    """
    _print_any_text()
    try:
        with _raise_on_signals():
            main()
            sys.stdout.flush()
    except UserError as error:
        log.debug("where the error was raised", exc_info=error)  # shown under --verbose
        _print_line(str(error))
        if isinstance(error, LostProcess | NcclFailure):
            leave(error.exit_code)  # threads of the broken process group would abort an orderly end
        return error.exit_code
    except Interrupted as error:
        _print_line(f"stopped by {error.name}; run the same command again to continue from what is saved")
        return Stopped.exit_code
    except KeyboardInterrupt:
        _print_line("interrupted; run the same command again to continue from what is saved")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: Python flushes at exit
        return BROKEN_PIPE
    except OSError as error:
        full = is_disk_full(error)
        if full and error.filename is None:  # what is written through an open file has no name
            why = error.strerror or error
            _print_line(f"disk full ({why}); free some space and run the same command again")
            return DiskFull.exit_code
        if not (full or error.errno in UNUSABLE) or error.filename is None:
            raise
        _print_line(f"cannot use {_shorten(os.fsdecode(error.filename))}: {error.strerror}")
        return DiskFull.exit_code if full else UserError.exit_code
    except (MemoryError, RuntimeError) as error:
        if not is_memory_full(error):
            raise
        log.debug("where memory was asked for", exc_info=error)
        _print_line(describe_full_memory(error))
        return UserError.exit_code
    return 0


def format_nearest_multiples(number: int, unit: int) -> str:
    """Return the multiples of `unit` next to a number that is none, for a message: `6 or 9`."""
    lower = number // unit * unit
    return f"{lower} or {lower + unit}" if lower else f"{unit}"


def escape_controls(text: str) -> str:
    """Return the text without what a terminal would obey: names come from a user's file, whose author may be
    anybody. Line ends and tabs stay.
    """
    return CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _print_line(text: str) -> None:
    rank, line = os.environ.get("RANK", "0"), escape_controls(" ".join(text.split()))
    print(f"distgan: {line}" if rank == "0" else f"distgan (process {rank}): {line}", file=sys.stderr)


def _print_any_text() -> None:
    """Print UTF-8 to files and pipes in any locale; a terminal gets escapes for characters that it cannot
    show.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):  # a stream of another kind, as in a notebook
            stream.reconfigure(  # type: ignore[union-attr]
                encoding=None if stream.isatty() else "utf-8", errors="backslashreplace"
            )


@contextmanager
def _raise_on_signals() -> Iterator[None]:
    """Raise `Interrupted` at a signal in the block, once: the clean-up is not interrupted again. A signal
    that is ignored (SIGHUP under nohup) stays ignored.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for each in listening:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    if threading.current_thread() is not threading.main_thread():  # Python lets only the main thread listen
        yield
        return
    listening = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in listening:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in listening:
            signal.signal(number, signal.SIG_DFL)


def leave(code: int) -> NoReturn:
    """End this process at once, with all lines written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
