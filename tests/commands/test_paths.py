"""Whatever lies where a command reads or writes is one line, and nothing of others is replaced."""

import os
import shutil
from pathlib import Path

import pytest

from distgan import files
from distgan.config import load
from distgan.data.store.reader import Store
from distgan.run import Run
from tests.helpers.commands import refused

PATHS = {"empty": ("", "empty"), "NUL": ("a\0b", "NUL"), "long": ("x" * 300, "too long")}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--config", "PATH"],
        ["train", "--run-dir", "PATH", "seed=1"],
        ["generate", "PATH"],
        ["evaluate", "PATH"],
        ["evaluate", "--real", "PATH", "--synthetic", "PATH"],
        ["release", "PATH"],
        ["export", "PATH"],
        ["denoise", "PATH", "a.csv", "b.csv"],
        ["denoise", "a", "b.csv", "PATH"],
        ["compare", "PATH", "PATH"],
        ["compare", "a", "b", "--out", "PATH"],
        ["inspect", "PATH"],
        ["plan", "--config", "PATH"],
        ["sweep", "--config", "PATH"],
    ],
    ids=lambda arguments: "-".join(arguments[:2]),
)
def test_a_path_that_can_be_none_is_one_line(
    path: str,
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    text, words = PATHS[path]
    refused(capsys, *(text if each == "PATH" else each for each in arguments), words=words)
    assert list(tmp_path.iterdir()) == []


def test_an_export_replaces_only_what_it_may(
    stored: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write_text(stored.config, load(None, [f"run_dir={stored.folder}"]).to_yaml())
    (tmp_path / "old.csv").write_text("mine")
    (tmp_path / "old.labels.csv").write_text("mine")
    (tmp_path / "folder.zarr").mkdir()
    shutil.copytree(stored.series, tmp_path / "other.zarr")  # real series of another run
    (tmp_path / "file.zarr").write_text("mine")
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "gone")
    for place, force, words in (
        ("old.csv", False, "add --force"),
        ("old.parquet", False, "old.labels.csv exists already"),
        ("dangling.csv", False, "add --force"),
        ("new.txt", False, "must end with one of .csv, .parquet, .zarr"),
        ("new", True, "must end with one of .csv, .parquet, .zarr, e.g."),
        ("old.csv/new.csv", False, "old.csv is a file, not a folder; choose another path"),
        ("folder.zarr", True, "is a folder that distgan did not write"),
        ("file.zarr", True, "is a file, and a .zarr store is a folder"),
        ("run/series.zarr", True, "is part of the run"),
        ("old.csv", True, "old.csv is no earlier export (there is no old.README.txt beside it)"),
        ("other.zarr", True, "is no earlier export"),
    ):
        options = ["--out", str(tmp_path / place), *(["--force"] if force else [])]
        refused(capsys, "generate", str(stored.folder), *options, words=words)
    refused(capsys, "generate", str(stored.folder), "--force", words="--force needs --out")
    assert (tmp_path / "old.csv").read_text() == "mine" and Store.open(stored.series).num_series == 6


def test_a_source_that_may_never_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    refused(capsys, "train", f"data.source={tmp_path}/pipe.csv", words="is a pipe")
    refused(capsys, "train", f"data.source={tmp_path}", words="is a pipe")
    refused(capsys, "train", "data.source=/dev/zero", words="is a device")
    refused(capsys, "evaluate", "--real", f"{tmp_path}/pipe.csv", "--synthetic", "x", words="is a pipe")
