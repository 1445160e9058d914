"""Sources larger than memory: parts give what the whole gives, name the same line, and survive a kill."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest

from distgan import config, progress
from distgan.data import ingest, tables
from distgan.data.formats import csv_pieces
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError
from distgan.progress import Progress
from distgan.train import main
from tests.helpers.processes import PATIENCE
from tests.helpers.settings import TINY
from tests.helpers.sources import load, melted, table_of_days

KINDS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "wide": lambda table, path: table.to_csv(path),
    "wide, commas": lambda table, path: table.to_csv(path, sep=";", decimal=","),
    "wide, windows": lambda table, path: table.to_csv(path, lineterminator="\r\n", encoding="utf-8-sig"),
    "long by home": lambda table, path: melted(table).to_csv(path, index=False),
    "long by time": lambda table, path: melted(table, "time").to_csv(path, index=False),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", ["whole", "years"])
def test_parts_give_what_the_whole_gives(tmp_path: Path, small_parts: None, kind: str, cut: str) -> None:
    table = (
        table_of_days(24 * 40)
        if cut == "whole"
        else table_of_days(366 * 3 + 200, start="2011-12-20", freq="D")
    )
    table.iloc[5:9, 1] = np.nan
    KINDS[kind](table, tmp_path / "a.csv")
    settings = {"cut": cut, "layout": "auto" if "wide" in kind or "time" in kind else "long"}
    raw = load(tmp_path / "a.csv", **settings)
    expected = table.to_numpy().T
    if cut == "years":
        days = table.index[~((table.index.month == 2) & (table.index.day == 29))]
        years = [table.loc[days[days.year == year]].to_numpy().T for year in (2012, 2013, 2014)]
        assert raw.meta.provenance["years"] == [2012, 2013, 2014]
        expected = np.concatenate(years)
    np.testing.assert_allclose(raw.values[:, :, 0], expected, rtol=1e-6)
    assert raw.entities == list(table.columns) * (len(expected) // 5)  # ids keep their zeros


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line.replace(",", ",soon", 1), "line 401, column '000': 'soon"),
        (lambda line: "then" + line[4:], "line 401, column 'time': 'then"),
        (lambda line: line + ",1", "line 401"),
        (lambda line: line[: line.rindex(",")], "line 401 has 5 of 6 cells"),
        (lambda line: line[line.index(",") :], "line 401: no time"),
    ],
)
def test_a_mistake_in_a_later_part_names_its_line(
    tmp_path: Path,
    small_parts: None,
    change: Callable[[str], str],
    message: str,
) -> None:
    table_of_days().to_csv(tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    lines[400] = change(lines[400])
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path / "a.csv")
    assert "\n" not in str(error.value)


def test_a_reading_that_stands_again_in_another_part_is_merged_or_a_conflict(
    tmp_path: Path, small_parts: None
) -> None:
    table = table_of_days()
    long = melted(table, "time")
    again = long.iloc[[7]]
    pd.concat([long, again]).to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_allclose(load(tmp_path / "a.csv").values[:, :, 0], table.to_numpy().T, rtol=1e-6)
    pd.concat([long, again.assign(kwh=again["kwh"] + 1)]).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(UserError, match=r"time 2013-01-01T01:00:00 .* lines 9 and 2402, .*data\.duplicates"):
        load(tmp_path / "b.csv")


def test_two_decimal_marks_in_different_parts_are_refused(tmp_path: Path, small_parts: None) -> None:
    table_of_days().to_csv(tmp_path / "a.csv", sep=";", decimal=",")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join(lines[:300] + [line.replace(",", ".") for line in lines[300:]]))
    with pytest.raises(UserError, match=r"line 302, .*is not a number written as the others are"):
        load(tmp_path / "a.csv")


# ------------------------------------------------------------------------------------------------- going on


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def prepare(source: Path, run: Path, slow: float = 0.0) -> None:
    """The prepare stage in parts of 20 kB, with a pause after each."""
    csv_pieces.PIECE_BYTES = 20_000
    parsed = tables.read_rows

    def slower(*args: object) -> object:
        time.sleep(slow)
        return parsed(*args)  # type: ignore[arg-type]

    tables.read_rows = slower  # type: ignore[assignment]
    os._exit(main(["--run-dir", str(run), f"data.source={source}", *TINY, "--stages", "prepare"]))


def test_ingest_killed_at_random_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    melted(table_of_days(24 * 20, 40)).to_csv(tmp_path / "a.csv", index=False)
    fork = multiprocessing.get_context("fork")
    whole = fork.Process(target=prepare, args=(tmp_path / "a.csv", tmp_path / "whole"))
    whole.start()
    whole.join(PATIENCE)
    assert whole.exitcode == 0
    chance, kills, most = random.Random(0), 0, 0
    for _ in range(4):
        process = fork.Process(target=prepare, args=(tmp_path / "a.csv", tmp_path / "killed", 0.02))
        process.start()
        parts = tmp_path / "killed" / ".series.parts" / "parts"
        wanted = most + chance.randrange(4)
        while process.is_alive() and len(list(parts.glob("0*.json"))) < wanted:
            time.sleep(0.002)
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGKILL)
            kills += 1
        process.join()
        most = max(most, len(list(parts.glob("0*.json"))))
    assert kills >= 2 and most >= 2  # parts were kept
    last = fork.Process(target=prepare, args=(tmp_path / "a.csv", tmp_path / "killed"))
    last.start()
    last.join(PATIENCE)
    assert last.exitcode == 0
    assert contents(tmp_path / "killed/series.zarr") == contents(tmp_path / "whole/series.zarr")
    tables_ = [(tmp_path / name / "series.private.csv").read_bytes() for name in ("killed", "whole")]
    assert tables_[0] == tables_[1]
    assert not list((tmp_path / "killed").glob(".series*"))


def test_parts_of_a_changed_file_are_thrown_away(tmp_path: Path, small_parts: None) -> None:
    place = tmp_path / "parts"
    for seed in (1.0, 2.0):
        table = table_of_days() * seed
        table.to_csv(tmp_path / "a.csv")
        found = ingest.open_source(config.Data(source=str(tmp_path / "a.csv")), place)
        np.testing.assert_allclose(found.read_rows(0, 5)[:, :, 0], table.to_numpy().T, rtol=1e-5)


def test_rows_in_any_stretch_are_those_of_the_whole(tmp_path: Path, small_parts: None) -> None:
    table_of_days(366 * 3, 9, "2012-01-01", "D").to_csv(tmp_path / "a.csv")
    found = ingest.open_source(config.Data(source=str(tmp_path / "a.csv"), cut="years"), tmp_path / "parts")
    whole = found.read_rows(0, found.num_series)
    for first, last in ((0, 1), (8, 10), (5, 27), (26, 27)):
        np.testing.assert_array_equal(found.read_rows(first, last), whole[first:last])


def test_parts_are_opened_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of more parts than a process may open files."""
    resource = pytest.importorskip("resource")
    table = pd.DataFrame(
        np.random.default_rng(0).integers(10, size=(4200, 60)),
        index=pd.date_range("2013-01-01", periods=4200, freq="h", name="time"),
        columns=[f"{home:03d}" for home in range(60)],
    )
    table.to_csv(tmp_path / "a.csv")
    monkeypatch.setattr(csv_pieces, "PIECE_BYTES", 42_000)  # each part large enough to be mapped
    found = ingest.open_source(config.Data(source=str(tmp_path / "a.csv")), tmp_path / "parts")
    assert len(list((tmp_path / "parts").rglob("*.values.npy"))) > 12
    limits_ = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 8, limits_[1]))
    try:
        values = found.read_rows(0, 60)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits_)
    np.testing.assert_array_equal(values[:, :, 0], table.to_numpy().T)


def test_long_work_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 12))
    monkeypatch.setattr(progress, "FIRST", 20.0)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    with Progress("reading a.csv", 4, "parts") as work:
        for _ in range(4):
            work.advance()
    assert "reading a.csv: 2 of 4 parts" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- other kinds of sources


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_folder_of_one_file_an_entity(tmp_path: Path, suffix: str) -> None:
    power, heat = table_of_days(), table_of_days() * 2
    for home in power:
        table = pd.DataFrame({"kwh": power[home], "heat": heat[home]})
        if home == "002":
            table = table.iloc[3:]
        getattr(table, f"to_{suffix}")(tmp_path / f"{home}.{suffix}")
    raw = load(tmp_path)
    power.iloc[:3, 2] = np.nan
    assert raw.entities == list(power) and raw.meta.channels == ("kwh", "heat")
    np.testing.assert_allclose(raw.values[:, :, 0], power.to_numpy().T, rtol=1e-6)


def test_mistakes_in_a_folder_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folder without tables"):
        load(tmp_path)
    table = table_of_days()
    for home in table:
        table[[home]].set_axis(["kwh"], axis=1).to_csv(tmp_path / f"{home}.csv")
    table[["003"]].set_axis(["gas"], axis=1).to_csv(tmp_path / "003.csv")
    with pytest.raises(
        UserError,
        match=r"003\.csv calls column 2 'gas', and the first file \(.*000\.csv\) 'kwh'; all files need",
    ):
        load(tmp_path)
    bad = table[["003"]].set_axis(["kwh"], axis=1).astype(object)
    bad.iloc[7, 0] = "x"
    bad.to_csv(tmp_path / "003.csv")
    with pytest.raises(UserError, match=r"003\.csv line 9, column 'kwh': 'x' is not a number"):
        load(tmp_path)


def test_parquet_by_row_groups(tmp_path: Path) -> None:
    table = table_of_days()
    table.to_parquet(tmp_path / "wide.parquet", row_group_size=50)
    melted(table, "time").to_parquet(tmp_path / "long.parquet", row_group_size=333)
    for name in ("wide", "long"):
        raw = load(tmp_path / f"{name}.parquet")
        np.testing.assert_allclose(raw.values[:, :, 0], table.to_numpy().T, rtol=1e-6)


def test_urls_are_fetched(tmp_path: Path) -> None:
    table = table_of_days()
    system = fsspec.filesystem("memory")
    with system.open("/data/a.csv", "wb") as file:
        file.write(table.to_csv().encode())
    for home in table:
        with system.open(f"/homes/{home}.csv", "wb") as file:
            file.write(table[[home]].set_axis(["kwh"], axis=1).to_csv().encode())
    table.to_csv(tmp_path / "b.csv")
    for url in ("memory://data/a.csv", "memory://homes", f"file://{tmp_path}/b.csv"):
        raw = load(url)
        assert raw.entities == list(table)
        np.testing.assert_allclose(raw.values[:, :, 0], table.to_numpy().T, rtol=1e-6)
    for url in ("memory://data/none.csv", "nonsense://a.csv", "s3://x/y.csv"):
        with pytest.raises(UserError) as error:
            load(url)
        assert "\n" not in str(error.value)


def test_arrays_are_mapped_and_foreign_zarr_is_read_by_blocks(tmp_path: Path, small_parts: None) -> None:
    import zarr

    values = np.random.default_rng(0).normal(size=(40, 48, 2))
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "a.npz", x=values)
    zarr.create_array(tmp_path / "a.zarr", shape=(40, 48, 2), chunks=(7, 48, 2), dtype="f8")[:] = values
    for name in ("a.npy", "a.npz", "a.zarr"):
        np.testing.assert_array_equal(load(tmp_path / name).values, values.astype(np.float32))


# ------------------------------------------------------------------------------- clocks and calendars


def test_half_hours_become_hours_and_then_steps_of_four(tmp_path: Path) -> None:
    table = table_of_days(48 * 30, 3, freq="30min")
    table.to_csv(tmp_path / "a.csv")
    hourly = load(tmp_path / "a.csv", reduce=config.Reduce(factor=2))
    with StoreWriter(tmp_path / "hourly.zarr", hourly.meta) as writer:
        writer.append(hourly.values)
    again = load(tmp_path / "hourly.zarr", reduce=config.Reduce(factor=4, method="mean"))
    expected = table.to_numpy().T.reshape(3, -1, 4, 2).sum(axis=3).mean(axis=2)
    np.testing.assert_allclose(again.values[:, :, 0], expected, rtol=1e-5)
    before = {"factor": 2, "method": "sum"}
    assert again.meta.reduction == {"factor": 4, "method": "mean", "before": before}
    assert again.meta.axis.step_seconds == 4 * 3600


@pytest.mark.parametrize(
    "more",
    [["data.store={dtype: float16}"], ["data.store={compressor: zstd}", "data.buffer_mib=1"]],
)
def test_stores_of_other_forms_are_made_by_config(
    homes_csv: Path, tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--run-dir", str(tmp_path), f"data.source={homes_csv}", *TINY, *more]
    assert main([*command, "--stages", "prepare,encoder,encode"]) == 0
    store = Store.open(tmp_path / "series.zarr")
    assert store.num_series == 60 and store.meta.provenance["sha256"]
    if "float16" in more[0]:
        assert 0 < store.meta.provenance["stored_as"]["largest_error"] < 0.01
        assert "stored as float16, with an error of 0.00" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"needs data\.buffer_mib"):
        config.load(None, ["data.store.compressor=zstd"])


def test_a_store_is_ingested_with_its_calendar(tmp_path: Path) -> None:
    meta = Meta(Axis("2019-01-01T00:00:00", 3600, 48), ("load",), "kWh", {"source": "x"}, {})
    with StoreWriter(tmp_path / "a.zarr", meta) as writer:
        writer.append(np.random.default_rng(0).normal(size=(3, 48, 1)).astype(np.float32))
    assert load(tmp_path / "a.zarr", units="MWh").meta.units == "MWh"
