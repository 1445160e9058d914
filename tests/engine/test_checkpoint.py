"""A checkpoint is whole or it is noticed: flips, cuts, missing files, kills in the middle of a save."""

import errno
import json
import logging
import os
import pickle
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from distgan.engine import checkpoint
from distgan.errors import DiskFull, UserError
from tests.helpers.checkpoints import is_whole, state_of
from tests.helpers.processes import PATIENCE


def save(folder: Path, step: int, keep_last: int = 2, size: int = 50) -> Path:
    return checkpoint.save(folder, step, state_of(step, size), {"step": step}, keep_last)


@pytest.fixture
def fast_folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: syncing a disk takes most of a save's time."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    state = {"a": {"x": torch.randn(3, 4), "half": torch.randn(2).bfloat16(), "n": torch.tensor(3)}, "b": {}}
    checkpoint.save(tmp_path, 7, state, {"identity": "abc", "rate": 1e-4, "list": (1, 2), 3: None})
    found = checkpoint.load_latest(tmp_path)
    assert found is not None and found.step == 7
    assert found.facts == {"identity": "abc", "rate": 1e-4, "list": [1, 2], "3": None}
    assert set(found.state) == {"a", "b"} and not found.state["b"]
    for name, tensor in state["a"].items():
        assert found.state["a"][name].dtype == tensor.dtype
        assert torch.equal(found.state["a"][name], tensor)


def test_a_writer_beside_the_training_saves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write, whole = threading.Event(), checkpoint.save

    def slow(*arguments: Any) -> Path:
        assert may_write.wait(PATIENCE)
        return whole(*arguments)

    monkeypatch.setattr(checkpoint, "save", slow)
    writer, state = checkpoint.Writer(background=True), state_of(1)
    writer.save(tmp_path, 1, state, {"step": 1})
    assert checkpoint.list_steps(tmp_path) == []  # the training goes on meanwhile, and changes its weights
    state["generator"]["weight"] += 1
    may_write.set()
    writer.save(tmp_path, 2, state_of(2), {"step": 2})  # after the one before
    writer.finish()
    assert checkpoint.list_steps(tmp_path) == [1, 2]
    assert is_whole(checkpoint.load(tmp_path, 1)) and is_whole(checkpoint.load(tmp_path, 2))


def test_an_error_of_the_background_writer_is_raised_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Path:
        raise DiskFull("no space")

    monkeypatch.setattr(checkpoint, "save", full)
    writer = checkpoint.Writer(background=True)
    writer.save(tmp_path, 1, state_of(1), {})
    with pytest.raises(DiskFull):
        writer.save(tmp_path, 2, state_of(2), {})
    writer.finish()


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.load_latest(tmp_path / "none") is None
    (tmp_path / ".step-3.1234.tmp").mkdir()
    assert checkpoint.load_latest(tmp_path) is None


def test_tied_and_strided_tensors_are_saved(tmp_path: Path) -> None:
    table = torch.randn(3, 4)
    checkpoint.save(tmp_path, 1, {"a": {"one": table, "other": table, "turned": table.T}}, {})
    found = checkpoint.load_latest(tmp_path)
    assert found is not None
    assert torch.equal(found.state["a"]["other"], table) and torch.equal(found.state["a"]["turned"], table.T)


@pytest.mark.parametrize(("keep_last", "left"), [(2, [40, 50]), (3, [30, 40, 50]), (1, [40, 50])])
def test_the_newest_are_kept(tmp_path: Path, keep_last: int, left: list[int]) -> None:
    for step in (10, 20, 30, 40, 50):
        save(tmp_path, step, keep_last)
    assert checkpoint.list_steps(tmp_path) == left


def test_purging_counts_only_complete_ones(tmp_path: Path) -> None:
    save(tmp_path, 10)
    (save(tmp_path, 20) / "generator.safetensors").unlink()
    save(tmp_path, 30)
    assert checkpoint.list_steps(tmp_path) == [10, 20, 30]
    save(tmp_path, 40)
    assert checkpoint.list_steps(tmp_path) == [30, 40]


def test_damaged_ones_of_a_lost_future_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, 10)
    flip(save(tmp_path, 20) / "generator.safetensors", 700)
    found = checkpoint.load_latest(tmp_path)
    assert found is not None and found.step == 10
    save(tmp_path, 15)
    assert checkpoint.list_steps(tmp_path) == [10, 15]


def test_litter_is_swept(tmp_path: Path) -> None:
    for name in (".step-3.abcd.tmp", ".step-9.abcd.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "generator.safetensors").write_bytes(b"half")
    save(tmp_path, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-5"]


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


def test_every_flip_and_cut_is_noticed(fast_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(fast_folder, 10)
    newest = save(fast_folder, 20)
    chance = random.Random(0)
    for path in sorted(newest.iterdir()):
        whole = path.read_bytes()
        damages = [("flip", chance.randrange(8 * len(whole))) for _ in range(40)]
        damages += [("cut", chance.randrange(len(whole))) for _ in range(10)] + [("cut", 0), ("grow", 1)]
        for kind, place in damages:
            if kind == "flip":
                flip(path, place)
            else:
                path.write_bytes(whole[:place] if kind == "cut" else whole + b"\n")
            caplog.clear()
            found = checkpoint.load_latest(fast_folder)
            assert found is not None and found.step == 10 and is_whole(found), (path.name, kind, place)
            assert path.name in caplog.text and "step-20" in caplog.text
            path.write_bytes(whole)
        path.unlink()
        assert is_whole(checkpoint.load_latest(fast_folder))
        assert f"{path.name} is missing" in caplog.text
        path.write_bytes(whole)
    found = checkpoint.load_latest(fast_folder)
    assert found is not None and found.step == 20


def test_all_damaged_is_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    for step in (10, 20):
        (save(tmp_path, step) / "manifest.json").unlink()
    with pytest.raises(
        UserError, match=r"all 2 checkpoints in .* are damaged .*manifest.json is missing"
    ) as e:
        checkpoint.load_latest(tmp_path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(PermissionError(errno.EACCES, "Permission denied"), UserError), (MemoryError(), MemoryError)],
)
def test_one_that_cannot_be_read_now_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    """Otherwise training would go on from the one before, and remove the whole one."""
    save(tmp_path, 10)
    newest, read = save(tmp_path, 20), Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path == newest / "generator.safetensors":
            raise error
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(kind) as found:
        checkpoint.load_latest(tmp_path)
    if kind is UserError:
        assert str(found.value).startswith(f"cannot read checkpoint {newest}: Permission denied; ")


def test_a_checkpoint_under_another_name_is_refused(tmp_path: Path) -> None:
    shutil.copytree(save(tmp_path, 10), tmp_path / "step-99")
    found = checkpoint.load_latest(tmp_path)
    assert found is not None and found.step == 10


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["manifest.json", "generator.safetensors", "elsewhere"])
def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, name: str) -> None:
    """A crafted file whose manifest agrees with it is still only tensors and JSON, inside its folder."""
    folder, canary = save(tmp_path / "checkpoints", 10), tmp_path / "canary"
    payload = pickle.dumps(Canary(canary))
    if name == "elsewhere":
        name = "../../elsewhere.safetensors"
    (folder / name).write_bytes(payload)
    if name != "manifest.json":
        manifest = json.loads((folder / "manifest.json").read_bytes())
        del manifest["seal"]
        manifest["files"][name] = {"size": len(payload), "crc32c": checkpoint.google_crc32c.value(payload)}
        (folder / "manifest.json").write_bytes(checkpoint._seal_json(manifest))
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load_latest(folder.parent)
    assert not canary.exists()


def test_a_full_disk_leaves_the_ones_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 10)

    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFull, match=r"disk full while writing .*step-20"):
        save(tmp_path, 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10"]


def test_ended_at_each_call_of_a_save(fast_folder: Path) -> None:
    """Whichever of a save's calls to the system is its last: before it and after it, all is whole."""
    place = 0
    while True:
        folder = fast_folder / str(place)
        for step in (1, 2):
            save(folder, step)
        child = os.fork()
        if child == 0:
            save_until(place, folder)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found = checkpoint.load_latest(folder)
        assert is_whole(found) and found is not None and found.step in (2, 3)
        assert (
            sum(checkpoint._looks_complete(folder / f"step-{s}", s) for s in checkpoint.list_steps(folder))
            >= 2
        )
        save(folder, 4)
        assert [path for path in folder.iterdir() if path.name.startswith(".")] == []
        if code == 0:
            break
        place += 1
    assert place > 10, "a save makes more calls than that: the test says nothing"


def save_until(place: int, folder: Path) -> None:
    """In a child: save step 3, and end at the call number `place`."""
    made = 0

    def ends(call: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made > place:
                os._exit(1)
            return call(*arguments, **options)

        return counted

    os.fsync, os.rename, os.mkdir, os.rmdir = map(ends, (os.fsync, os.rename, os.mkdir, os.rmdir))
    Path.write_bytes = ends(Path.write_bytes)  # type: ignore[method-assign]
    save(folder, 3)
    os._exit(0)


def test_a_checkpoint_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a loss of power: every file, their folder, then the name, then the folder that has the name."""
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(handle: int) -> None:
        order.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    def renamed(old: Path, new: Path) -> None:
        order.append(f"{Path(old).name} -> {Path(new).name}")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    save(tmp_path, 1)
    *files, inside, name, outside = order
    assert {Path(file).name for file in files} == {path.name for path in (tmp_path / "step-1").iterdir()}
    assert all(Path(file).parent == Path(inside) for file in files)
    assert name == f"{Path(inside).name} -> step-1" and Path(outside) == tmp_path


def test_killed_while_saving(fast_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """30 writers killed at random moments (more where the machine is busy): the newest that stands is always
    whole, and two are kept.
    """
    caplog.set_level(logging.WARNING)
    chance = random.Random(1)
    first = 1
    save(fast_folder, 0)
    for turn in range(1000):
        if turn >= 30 and first > 30:
            break
        child = os.fork()
        if child == 0:
            try:
                for step in range(first, first + 10_000):
                    save(fast_folder, step, size=20_000)
            finally:
                os._exit(1)
        time.sleep(chance.uniform(0.005, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = checkpoint.load_latest(fast_folder)
        assert is_whole(found) and found is not None and found.step >= first - 1
        assert first < 3 or len(checkpoint.list_steps(fast_folder)) >= 2
        first = found.step + 1
    assert first > 30, "the writers hardly wrote: the test says nothing"
    assert "damaged" not in caplog.text
