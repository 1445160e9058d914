"""What can go wrong for a user, and the exit code each mistake or event ends with.

A message is one line: what is wrong, where, the rule, what to do next. The commands print it and nothing
else; anything that is not a `UserError` is a mistake of ours and keeps its traceback.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


class UserError(ValueError):
    """The input or the configuration is wrong."""

    exit_code = 2


class OverLimit(UserError):
    """What was to be released is over a limit, or of a kind that never may be."""

    exit_code = 3


class TooLittleEvidence(UserError):
    """Too few were held out to show that a release is safe."""

    exit_code = 4


class Mismatch(UserError):
    """A manifest or a ledger does not fit what it vouches for."""

    exit_code = 5


class Diverged(UserError):
    """Training went non-finite and could not be brought back."""

    exit_code = 6


class DiskFull(UserError):
    """A file could not be written for lack of space."""

    exit_code = 7


class Deserted(UserError):
    """Another process died or fell silent; the last checkpoint stands."""

    exit_code = 8


class Stopped(UserError):
    """A signal asked us to stop; everything is saved."""

    exit_code = 75


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into one-line errors.

    Raises:
        DiskFull: no space is left.
        UserError: the place is read-only, forbidden, or not a folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"disk full while writing {path}; free some space and run the same command again"
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENOENT):
            raise UserError(
                f"cannot write {path}: {error.strerror}; choose another place (run_dir=PATH of a run)"
            ) from error
        raise


def answer(main: Callable[[], None]) -> int:
    """Run `main` and give the exit code; a `UserError` becomes one line on standard error, other ranks'
    marked.
    """
    try:
        main()
    except UserError as error:
        rank = os.environ.get("RANK", "0")
        line = " ".join(str(error).split())
        print(f"distgan: {line}" if rank == "0" else f"distgan (process {rank}): {line}", file=sys.stderr)
        if isinstance(error, Deserted):
            leave(error.exit_code)  # threads of the broken process group would abort an orderly end
        return error.exit_code
    except KeyboardInterrupt:
        print("distgan: interrupted; the same command again goes on from what is saved", file=sys.stderr)
        return 130
    return 0


def leave(code: int) -> NoReturn:
    """End this process at once, with all lines written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
