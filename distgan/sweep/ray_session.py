"""The environment of Ray on one machine, set before Ray is imported: loopback, a token, a folder for
temporary files.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from distgan.errors import UserError
from distgan.files import find_temporary_folder, read_record, write_json
from distgan.progress import say
from distgan.run import Run
from distgan.sweep.files import SweepFiles

PREFIX = "distgan-ray-"
SOCKET_BYTES = 107  # of the name of a Unix socket, at most
# What Ray puts behind its temporary folder, at its longest: sessions are named by time and process.
RAY_SOCKET = "/session_2026-01-31_23-59-59_123456_4194304/sockets/plasma_store_12"
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # where TMPDIR is too long
ROOT = Path(__file__).resolve().parents[2]
ALWAYS = {
    "RAY_AUTH_MODE": "token",
    "TUNE_GLOBAL_CHECKPOINT_S": "1",  # seconds of decisions that a killed driver may forget
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths, and a family's file, are those of the working directory
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the sweep as it ends every other command
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",  # a group of workers imports torch before it answers
}


def require_ray() -> None:
    """
    Raises:
        UserError: Ray or Optuna is not installed, or is asked to go without its token.
    """
    for name in ("ray", "optuna"):
        if find_spec(name) is None:
            raise UserError(f"a sweep needs {name}; install it with pip install 'distgan[sweep]'")
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        raise UserError(
            f"RAY_AUTH_MODE={os.environ['RAY_AUTH_MODE']} lets anyone who reaches Ray's ports run "
            "code; unset it"
        )


@contextlib.contextmanager
def prepare_environment(root: Run, address: str | None) -> Iterator[Path | None]:
    """Set the environment that Ray reads when it is imported, and give the folder for its temporary files.

    A cluster has its own folder, token (RAY_AUTH_TOKEN_PATH) and addresses, and gets None.
    """
    usage = {"RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0")}
    if address is not None:
        with lend_environment({**ALWAYS, **usage}):
            yield None
        return
    with temporary_folder(SweepFiles(root.folder).temporary_note) as folder:
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="utf-8")
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on any system: Ray stays on loopback
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_AUTH_TOKEN": None,
            "RAY_ADDRESS": None,
            "PYTHONPATH": path,
        }
        with lend_environment({**ALWAYS, **usage, **own}):
            yield folder


@contextlib.contextmanager
def temporary_folder(note: Path) -> Iterator[Path]:
    """Yield a folder, removed at the end; by `note` the next sweep removes that of a killed one."""
    if note.exists():
        older = Path(str(read_record(note, "folder")["folder"]))
        if older.name.startswith(PREFIX):  # a note that somebody changed removes nothing else
            shutil.rmtree(older, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=choose_short_folder()))
    write_json(note, {"folder": str(folder)})
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        note.unlink(missing_ok=True)


def choose_short_folder() -> str:
    """Return where temporary files go, by default TMPDIR; another place where names of sockets in it would be
    too long, and say so.

    Raises:
        UserError: no place that is short enough can be written.
    """
    wanted = find_temporary_folder()
    if len(os.fsencode(name_longest_socket(wanted))) <= SOCKET_BYTES:
        return wanted
    for other in SHORT_FOLDERS:
        if os.path.isdir(other) and os.access(other, os.W_OK | os.X_OK):
            say(f"TMPDIR {wanted} is too long for the names of Ray's sockets; its files go to {other}")
            return other
    raise UserError(
        f"TMPDIR {wanted} is too long: the names of Ray's sockets would have more than {SOCKET_BYTES} bytes, "
        f"and {', '.join(SHORT_FOLDERS)} cannot be written; set TMPDIR to a folder with a short path"
    )


def name_longest_socket(folder: str) -> str:
    """Return the longest name of a socket that Ray makes for a sweep in a temporary folder."""
    return os.path.join(folder, PREFIX + 8 * "x") + RAY_SOCKET


@contextlib.contextmanager
def lend_environment(variables: dict[str, str | None]) -> Iterator[None]:
    """Set environment variables for a while; None takes one away."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        _set(variables)
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
