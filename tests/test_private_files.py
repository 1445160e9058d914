"""What a run writes belongs to its owner alone; what is published has the user's umask."""

import os
import stat
from pathlib import Path

import pytest

from distgan import files
from distgan.data.store.private_table import find_private_table
from distgan.run import Run
from distgan.train import main
from tests.helpers.settings import TINY


def open_to_others(folder: Path) -> list[str]:
    """Files and folders below `folder`, and itself, that others may read or list."""
    return [
        f"{path} {stat.filemode(path.stat().st_mode)}"
        for path in (folder, *folder.rglob("*"))
        if path.stat().st_mode & 0o077
    ]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_what_prepare_writes_is_its_owners_alone(mask: int, tmp_path: Path, homes_csv: Path) -> None:
    before = os.umask(mask)
    try:
        run = Run(tmp_path / "run")
        assert (
            main(["--run-dir", str(run.folder), *TINY, f"data.source={homes_csv}", "--stages", "prepare"])
            == 0
        )
        assert open_to_others(run.folder) == []
        assert os.umask(mask) == mask  # the caller's is as it was
        run.series.chmod(0o755)
        find_private_table(run.series).chmod(0o644)
        for place in (run.release_verdict, run.release_ledger):  # as a copy of the folder may have them
            place.write_text("{}")
            place.chmod(0o644)
        assert (
            main(["--run-dir", str(run.folder), *TINY, f"data.source={homes_csv}", "--stages", "prepare"])
            == 0
        )
        assert open_to_others(run.folder) == []
    finally:
        os.umask(before)


def test_what_is_published_has_the_users_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with files.private_files(), files.whole_folder(tmp_path / "release") as place:
            files.write_text(place / "a" / "b.csv", "x")
            assert open_to_others(place) == []
            files.publish(place)
        assert stat.S_IMODE((tmp_path / "release").stat().st_mode) == 0o750
        assert stat.S_IMODE((tmp_path / "release" / "a" / "b.csv").stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_litter_of_a_killed_command_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".synthetic.csv.0123.tmp").write_text("half")
    (tmp_path / ".s.zarr.0123.tmp").mkdir()
    (tmp_path / "kept.tmp").write_text("mine")
    files.remove_litter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.tmp"]
