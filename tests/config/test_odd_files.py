"""A config of any kind or size is read or refused in one line."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from distgan.config import DEEPEST, load
from distgan.errors import UserError
from tests.helpers.commands import refused


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(50 << 20)


CONFIGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "deep list": (lambda p: p.write_text("a: " + "[" * 5000), "nested deeper"),
    "deep mapping": (lambda p: p.write_text("".join(" " * i + "a:\n" for i in range(300))), "nested deeper"),
    "deep flow mapping": (lambda p: p.write_text("{a: " * 5000), "nested deeper"),
    "bomb": (lambda p: p.write_text("a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]\n"), "anchors"),
    "50 MB": (_sparse, "more than"),
    "digits": (lambda p: p.write_text("seed: " + "9" * 5000), "5000 digits"),
    "large number": (lambda p: p.write_text(f"train: {{steps: {2**70}}}"), "64 bits"),
    "infinite": (lambda p: p.write_text("train: {learning_rate: 1e999}\n"), "config"),
    "pipe": (_fifo, "is a pipe"),
    "folder": (lambda p: p.mkdir(), "is a folder"),
    "device": (lambda p: p.symlink_to("/dev/zero"), "is a device"),
    "loop": (lambda p: p.symlink_to(p), "symbolic links"),
    "dangling": (lambda p: p.symlink_to(p.with_name("gone")), "missing"),
    "latin-1": (lambda p: p.write_bytes("data: {units: °C}".encode("latin-1")), "UTF-8"),
    "binary": (lambda p: p.write_bytes(bytes(range(256)) * 10), "UTF-8"),
    "control characters": (lambda p: p.write_bytes(b"seed: \x01\x02"), "config"),
    "empty": (lambda p: p.write_text(" \n"), "is empty"),
    "list": (lambda p: p.write_text("- a\n- b\n"), "reads as"),
    "word": (lambda p: p.write_text("hello"), "reads as"),
    "number as key": (lambda p: p.write_text("1: 2\n"), "1"),
    "null as key": (lambda p: p.write_text("null: 2\n"), "config"),
    "nested number as key": (lambda p: p.write_text("train: {1: 2}\n"), "config"),
    "wrong tag": (lambda p: p.write_text("seed: !!timestamp abc\n"), "tag"),
    "python tag": (lambda p: p.write_text("seed: !!python/object/apply:os.getcwd []\n"), "python/object"),
    "binary tag": (lambda p: p.write_text("seed: !!binary é\n", encoding="utf-8"), "config"),
    "base of a list": (lambda p: p.write_text("base: [a]\n"), "there is no config"),
    "base with NUL": (lambda p: p.write_text('base: "a\\0b"\n'), "NUL"),
    "model of a list": (lambda p: p.write_text("model: {name: [1]}\n"), "model"),
    "half a character": (
        lambda p: p.write_text('run_dir: "\\ud800"\n'),
        "characters that this file system does not allow",
    ),
    "empty run_dir": (lambda p: p.write_text("run_dir: ''\n"), "run_dir is empty"),
    "blank run_dir": (lambda p: p.write_text("run_dir: '  '\n"), "run_dir is empty"),
    "long run_dir": (lambda p: p.write_text(f"run_dir: {'r' * 300}\n"), "too long"),
    "long path": (lambda p: p.write_text(f"run_dir: {'r/' * 3000}\n"), "too long"),
    "NUL in run_dir": (lambda p: p.write_text('run_dir: "a\\0b"\n'), "NUL"),
    "NUL in source": (lambda p: p.write_text('data: {source: "a\\0b.csv"}\n'), "NUL"),
    "long source": (lambda p: p.write_text(f"data: {{source: {'s' * 300}.csv}}\n"), "too long"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_of_any_kind_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, words = CONFIGS[name]
    path = tmp_path / "config.yaml"
    make(path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    refused(capsys, "train", "--config", str(path), "--dry-run", words=words)
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=" + "9" * 5000, "5000 digits"),
        ("data.units=" + "[" * 5000, "nested deeper"),
        (".".join("a" * 5000) + "=1", "so deep"),
        ("a" * 20000 + "=1", "unknown key"),
        ("data.units=[" + "1, " * 5000 + "1]", "data.units"),
        (f"train.steps={10**30}", "64 bits"),
        ("run_dir=", "run_dir"),
        ("=1", "is not of the form key.sub=value"),
    ],
)
def test_an_override_of_any_size_is_one_line(
    override: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, "train", "--dry-run", override, words=words)


def test_a_chain_of_bases_ends(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.yaml").write_text(f"base: {number + 1}.yaml\n")
    with pytest.raises(UserError, match="base spans more"):
        load(tmp_path / "0.yaml")
    assert DEEPEST > 10
