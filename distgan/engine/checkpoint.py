"""Checkpoints whose damage is detected: `step-N/` with safetensors files and a manifest of checksums.

A checkpoint is written to a temporary folder, synced and renamed, so that a killed writer leaves earlier ones
unchanged. safetensors, like torch.save, does not notice a flipped bit: every byte read here is first checked
against the manifest's crc32c, and the manifest against its own. Tensors and JSON only: none of it is
executed.
"""

import contextlib
import errno
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import safetensors.torch
from torch import Tensor

from distgan.errors import UserError, writing
from distgan.files import whole_folder
from distgan.run import MANIFEST, list_steps

log = logging.getLogger(__name__)

FORMAT = 1
UNREADABLE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)
TensorFiles = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Checkpoint:
    """The state from which a run continues after `step` updates."""

    step: int
    state: TensorFiles  # file name without its ending -> tensor name -> tensor, on the CPU
    facts: dict[str, Any]


def locate(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint of a step in a run's folder of checkpoints."""
    return folder / f"step-{step}"


def name_tensor_file(name: str) -> str:
    return f"{name}.safetensors"


class Damaged(Exception):
    """A checkpoint is not what was written."""


def save(
    folder: Path,
    step: int,
    state: Mapping[str, Mapping[str, Tensor]],
    facts: Mapping[str, Any],
    keep_last: int = 2,
    keep_every: int = 0,
) -> Path:
    """Write `folder/step-N` and then remove all but the `keep_last` newest complete ones (two at least) and
    those at multiples of `keep_every` steps.

    One process calls this. `state` has one safetensors file a key; `facts` are JSON.

    Raises:
        DiskFull: no space; earlier checkpoints are kept.
        UserError: the place cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(folder)
    target = locate(folder, step)
    with whole_folder(target) as temporary:
        files = {
            name_tensor_file(name): _write_tensors(temporary, name, state[name]) for name in sorted(state)
        }
        plain = json.loads(json.dumps(dict(facts)))  # as it will be read: text keys, lists
        content = {"format": FORMAT, "step": step, "facts": plain, "files": files}
        (temporary / MANIFEST).write_bytes(_seal_json(content))
    _remove_old(folder, step, keep_last, keep_every)
    return target


class Writer:
    """A writer of checkpoints, one after another.

    With `background`, a thread writes a copy in CPU memory while training goes on; the next `save` or
    `finish` raises its error.
    """

    def __init__(self, background: bool) -> None:
        self.thread = ThreadPoolExecutor(1) if background else None
        self.pending: Future[Path] | None = None

    def save(self, folder: Path, step: int, state: Mapping[str, Mapping[str, Tensor]], *rest: Any) -> None:
        """Write a checkpoint; arguments as of `save` above."""
        self.finish()
        if self.thread is None:
            save(folder, step, state, *rest)
            return
        copy = {
            name: {key: tensor.detach().to("cpu", copy=True) for key, tensor in file.items()}
            for name, file in state.items()
        }
        self.pending = self.thread.submit(save, folder, step, copy, *rest)

    def finish(self) -> None:
        """Wait until all is written.

        Raises:
            DiskFull, UserError: as `save`.
        """
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()


def load_latest(folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, with the files that are `wanted`; None where there is none
    at all.

    A damaged one is named in a warning and the one before it is taken.

    Raises:
        UserError: there are checkpoints and all are damaged; training does not start anew over them. Or one
            cannot be read for a reason that says nothing of its content: it may be whole.
    """
    problems: list[str] = []
    for step in sorted(list_steps(folder), reverse=True):
        try:
            found = _read_checkpoint(locate(folder, step), step, wanted)
        except MemoryError:
            raise
        except Exception as error:  # whatever a damaged file makes of a reader
            if isinstance(error, OSError) and error.errno in UNREADABLE:
                raise UserError(
                    f"cannot read checkpoint {locate(folder, step)}: {error.strerror}; make it readable, and "
                    "run the same command again"
                ) from error
            problems.append(_explain(error))
            log.warning(
                "checkpoint %s is damaged: %s; trying the one before", locate(folder, step), problems[-1]
            )
            continue
        return found
    if problems:
        raise UserError(
            f"all {len(problems)} checkpoints in {folder} are damaged (the newest: "
            f"{problems[0]}); restore one from a backup, or remove that folder to train from the "
            "start"
        )
    return None


def load(folder: Path, step: int) -> Checkpoint:
    """Return the checkpoint of a step, every byte of it verified.

    Raises:
        UserError: `folder/step-N` is missing or damaged.
    """
    try:
        return _read_checkpoint(locate(folder, step), step)
    except Exception as error:
        raise UserError(f"checkpoint {locate(folder, step)} is damaged: {_explain(error)}") from error


def _write_tensors(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Write one file; its size and checksum are of the bytes in memory, whatever a disk makes of them."""
    copies = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in tensors.items()}
    content = safetensors.torch.save(copies)
    (folder / name_tensor_file(name)).write_bytes(content)
    return {"size": len(content), "crc32c": google_crc32c.value(content)}


def _seal_json(content: Mapping[str, Any]) -> bytes:
    """Return JSON in one fixed form with its own checksum, so that any flipped bit is detected."""
    text = json.dumps(content, sort_keys=True)
    seal = google_crc32c.value(text.encode())
    return (json.dumps({**content, "seal": seal}, sort_keys=True, indent=1) + "\n").encode()


def _read_manifest(folder: Path, step: int) -> dict[str, Any]:
    """Return the content of a checkpoint's manifest.

    Raises:
        Damaged, OSError, ValueError: it is missing, or is not what was written.
    """
    raw = (folder / MANIFEST).read_bytes()
    try:
        content = json.loads(raw)
        content.pop("seal")
        whole = _seal_json(content) == raw
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise Damaged(f"{MANIFEST} does not match its own checksum")
    if content["format"] != FORMAT:
        raise Damaged(f"{MANIFEST} has format {content['format']}, this version reads {FORMAT}")
    if content["step"] != step:
        raise Damaged(f"{MANIFEST} is of step {content['step']}")
    return content


def _read_checkpoint(
    folder: Path, step: int, wanted: Callable[[str], bool] = lambda name: True
) -> Checkpoint:
    manifest = _read_manifest(folder, step)
    files = {Path(name).stem: name for name in manifest["files"]}
    state = {
        stem: _read_file(folder, name, manifest["files"][name])
        for stem, name in files.items()
        if wanted(stem)
    }
    return Checkpoint(step, state, manifest["facts"])


def _read_file(folder: Path, name: str, facts: Mapping[str, int]) -> dict[str, Tensor]:
    if Path(name).name != name:
        raise Damaged(f"{MANIFEST} names a file elsewhere: {name}")
    content = (folder / name).read_bytes()  # verified and parsed from memory: it cannot change in between
    if len(content) != facts["size"]:
        raise Damaged(f"{name} has {len(content):,} bytes, {facts['size']:,} were written")
    if google_crc32c.value(content) != facts["crc32c"]:
        raise Damaged(f"{name} does not match its checksum")
    return safetensors.torch.load(content)


def _looks_complete(folder: Path, step: int) -> bool:
    """Return whether the manifest is sealed and every file has its size, without reading all."""
    try:
        files = _read_manifest(folder, step)["files"]
        return all((folder / name).stat().st_size == facts["size"] for name, facts in files.items())
    except Exception:
        return False


def _remove_old(folder: Path, saved: int, keep_last: int, keep_every: int) -> None:
    """Keep the newest complete ones. Those beyond `saved` were damaged when this run resumed before them."""
    kept = 0
    for step in reversed(list_steps(folder)):
        if step <= saved and kept < max(2, keep_last):
            kept += _looks_complete(locate(folder, step), step)
        elif step > saved or not keep_every or step % keep_every:
            _remove(locate(folder, step))


def _remove(checkpoint: Path) -> None:
    """Rename first, so that a killed removal leaves a temporary folder and never half a checkpoint."""
    litter = checkpoint.with_name(f".{checkpoint.name}.{uuid.uuid4().hex[:8]}.tmp")
    with contextlib.suppress(OSError):  # what cannot be removed costs space, not the training
        os.rename(checkpoint, litter)
        shutil.rmtree(litter, ignore_errors=True)


def _remove_unfinished(folder: Path) -> None:
    """Remove temporary folders of killed writers and removals."""
    for litter in folder.glob(".step-*.tmp"):
        shutil.rmtree(litter, ignore_errors=True)


def _explain(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{Path(error.filename).name} is missing"
    return " ".join(str(error).split()) or type(error).__name__
