"""Parsing in several processes gives what one gives: values, parts on disk, what was understood, errors."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data import ingest, tables, workers
from distgan.errors import LostProcess, UserError
from distgan.pipeline import source_summary
from tests.helpers.processes import PATIENCE, count_new_pages, end_at_part_3
from tests.helpers.sources import load, melted, table_of_days


def write_folder(table: pd.DataFrame, path: Path) -> None:
    path.mkdir()
    for home in table:
        table[[home]].set_axis(["kwh"], axis=1).to_csv(path / f"{home}.csv")


def write_thousands(table: pd.DataFrame, path: Path) -> None:
    """Thousands marks that the first half does not show, so that its parts are read once more."""
    scale = np.where(np.arange(len(table)) < len(table) // 2, 1, 1000)
    table.mul(scale, axis=0).map(lambda value: f"{value:,.2f}").to_csv(path, sep=";")


KINDS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "wide": lambda table, path: table.to_csv(path, sep=";", decimal=","),
    "long": lambda table, path: melted(table, "time").to_csv(path, index=False),
    "thousands": write_thousands,
    "folder": write_folder,
}


def contents(place: Path) -> dict[str, bytes]:
    return {str(file.relative_to(place)): file.read_bytes() for file in place.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_give_what_one_gives(tmp_path: Path, small_parts: None, kind: str) -> None:
    table = table_of_days().rename(columns=lambda home: f"MAC{home}")
    table.iloc[5:9, 1] = np.nan
    table.iloc[100:300, 2] = 1.5  # stuck
    KINDS[kind](table, tmp_path / "a.csv")
    found, seen = {}, {}
    for processes in (1, 2):
        settings = config.Data(source=str(tmp_path / "a.csv"), processes=processes)
        series = ingest.open_source(settings, tmp_path / str(processes), survey=True)
        values = series.read_rows(0, series.num_series)
        found[processes] = [series.entities, series.meta, series.source.understood, series.left_out]
        found[processes] += [source_summary.find_suspicions(config.Config(data=settings), series)]
        seen[processes] = contents(tmp_path / str(processes)) | {"values": values.tobytes()}
    assert found[1] == found[2]
    assert seen[1] == seen[2] and len(seen[1]) > 10


def test_the_first_mistake_by_order_of_the_file_is_named(tmp_path: Path, small_parts: None) -> None:
    melted(table_of_days(homes=20), "time").to_csv(tmp_path / "a.csv", index=False)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    for line in (9001, 6001, 2000):
        lines[line - 1] += "x"
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    for processes in (1, 2):
        with pytest.raises(UserError, match=r"line 2000, column 'kwh': .*x' is "):
            load(tmp_path / "a.csv", processes=processes)


def test_parts_of_several_processes_are_kept_for_one(
    tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table_of_days().to_csv(tmp_path / "a.csv")
    ingest.open_source(config.Data(source=str(tmp_path / "a.csv"), processes=2), tmp_path / "parts")
    monkeypatch.setattr(tables, "read_rows", lambda *_: pytest.fail("a part is read once more"))
    ingest.open_source(config.Data(source=str(tmp_path / "a.csv"), processes=1), tmp_path / "parts")


def leave_number(place: Path, part: int) -> None:
    (place / str(os.getpid())).touch()
    time.sleep(60)


START = """
import sys
from functools import partial
from pathlib import Path
from distgan.data.workers import run_in_parallel
from tests.data.test_workers import leave_number
run_in_parallel(partial(leave_number, Path(sys.argv[1])), range(4), "reading", processes=2)
"""


@pytest.mark.slow
def test_processes_end_when_the_first_one_is_killed(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", START, str(tmp_path)])
    deadline = time.monotonic() + PATIENCE
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    numbers = [int(path.name) for path in tmp_path.iterdir()]
    assert len(numbers) == 2 and first.pid not in numbers
    first.kill()
    first.wait()
    while any(is_running(number) for number in numbers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_running(number) for number in numbers)


def is_running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_killed_process_is_one_line() -> None:
    with pytest.raises(LostProcess, match=r"reading: one of 2 processes was killed, .* set data\.processes"):
        workers.run_in_parallel(end_at_part_3, range(6), "reading", processes=2)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_processes_keep_the_memory_that_a_part_has_freed() -> None:
    with workers.open_processes(1, "reading") as pool:
        assert pool.submit(count_new_pages, 0).result() < 1000  # of 36,864


@pytest.mark.parametrize(
    ("wanted", "mebibytes", "ranks", "expected"),
    [
        (None, 10, 1, 1),
        (None, 200, 1, 3),
        (None, 10_000, 1, 4),
        (None, 10_000, 2, 1),
        (3, 1, 2, 3),
        (1, 9, 1, 1),
    ],
)
def test_number_of_processes(
    monkeypatch: pytest.MonkeyPatch, wanted: int | None, mebibytes: int, ranks: int, expected: int
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    monkeypatch.setattr(workers, "count_cpus", lambda: 4)
    assert workers.choose_processes(wanted, mebibytes << 20) == expected


@pytest.mark.parametrize("ids", [["true", "false"], ["x1", "002"], ["007", "8"], ["1e3", "inf"], ["a ", "b"]])
def test_ids_stay_as_they_are_written(tmp_path: Path, ids: list[str]) -> None:
    table = table_of_days(homes=2).set_axis(ids, axis=1)
    melted(table).to_csv(tmp_path / "a.csv", index=False)
    raw = load(tmp_path / "a.csv", layout="long", columns={"id": "home"})
    assert sorted(raw.entities) == sorted(name.strip() for name in ids)


def test_facts_of_a_part_do_not_grow_with_its_stamps_and_ids(tmp_path: Path) -> None:
    """All facts stay in memory; stamps and ids lie beside them."""
    for hours in (240, 24_000):
        melted(table_of_days(hours, homes=9)).to_csv(tmp_path / f"{hours}.csv", index=False)
        source = str(tmp_path / f"{hours}.csv")
        ingest.open_source(config.Data(source=source, columns={"id": "home"}), tmp_path / str(hours))
    sizes = [(tmp_path / hours / "parts" / "000000.json").stat().st_size for hours in ("240", "24000")]
    assert sizes[1] < sizes[0] + 200
