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
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from distgan import config, progress
from distgan.data import ingest, tables
from distgan.data.formats import csv_pieces
from distgan.data.ingest import Raw, read
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError
from distgan.progress import Progress
from distgan.train import main
from tests.helpers.settings import TINY


def load(source: Path | str, **settings: object) -> Raw:
    return read(config.Data(source=str(source), **settings))  # type: ignore[arg-type]


def frame(hours: int = 24 * 20, homes: int = 5, start: str = "2013-01-01", freq: str = "h") -> pd.DataFrame:
    rng = np.random.default_rng(0)
    times = pd.date_range(start, periods=hours, freq=freq, name="time")
    values = rng.gamma(2, size=(hours, homes)).round(3)
    return pd.DataFrame(values, index=times, columns=[f"{home:03d}" for home in range(homes)])


def melted(table: pd.DataFrame, by: str = "home") -> pd.DataFrame:
    long = table.reset_index().melt("time", var_name="home", value_name="kwh")[["home", "time", "kwh"]]
    return long.sort_values(by, kind="stable")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many parts of a file and many blocks of series."""
    monkeypatch.setattr(csv_pieces, "PIECE_BYTES", 4000)
    monkeypatch.setattr(ingest, "BLOCK_BYTES", 4000)


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
    table = frame(24 * 40) if cut == "whole" else frame(366 * 3 + 200, start="2011-12-20", freq="D")
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
    frame().to_csv(tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    lines[400] = change(lines[400])
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path / "a.csv")
    assert "\n" not in str(error.value)


def test_a_reading_that_stands_again_in_another_part_is_merged_or_a_conflict(
    tmp_path: Path, small_parts: None
) -> None:
    table = frame()
    long = melted(table, "time")
    again = long.iloc[[7]]
    pd.concat([long, again]).to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_allclose(load(tmp_path / "a.csv").values[:, :, 0], table.to_numpy().T, rtol=1e-6)
    pd.concat([long, again.assign(kwh=again["kwh"] + 1)]).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(UserError, match=r"time 2013-01-01T01:00:00 .* lines 9 and 2402, .*data\.duplicates"):
        load(tmp_path / "b.csv")


def test_two_decimal_marks_in_different_parts_are_refused(tmp_path: Path, small_parts: None) -> None:
    frame().to_csv(tmp_path / "a.csv", sep=";", decimal=",")
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
    melted(frame(24 * 20, 40)).to_csv(tmp_path / "a.csv", index=False)
    fork = multiprocessing.get_context("fork")
    whole = fork.Process(target=prepare, args=(tmp_path / "a.csv", tmp_path / "whole"))
    whole.start()
    whole.join(60)
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
    last.join(60)
    assert last.exitcode == 0
    assert contents(tmp_path / "killed/series.zarr") == contents(tmp_path / "whole/series.zarr")
    tables_ = [(tmp_path / name / "series.private.csv").read_bytes() for name in ("killed", "whole")]
    assert tables_[0] == tables_[1]
    assert not list((tmp_path / "killed").glob(".series*"))


def test_parts_of_a_changed_file_are_thrown_away(tmp_path: Path, small_parts: None) -> None:
    place = tmp_path / "parts"
    for seed in (1.0, 2.0):
        table = frame() * seed
        table.to_csv(tmp_path / "a.csv")
        found = ingest.opened(config.Data(source=str(tmp_path / "a.csv")), place)
        np.testing.assert_allclose(found.rows(0, 5)[:, :, 0], table.to_numpy().T, rtol=1e-5)


def test_rows_in_any_stretch_are_those_of_the_whole(tmp_path: Path, small_parts: None) -> None:
    frame(366 * 3, 9, "2012-01-01", "D").to_csv(tmp_path / "a.csv")
    found = ingest.opened(config.Data(source=str(tmp_path / "a.csv"), cut="years"), tmp_path / "parts")
    whole = found.rows(0, found.num_series)
    for first, last in ((0, 1), (8, 10), (5, 27), (26, 27)):
        np.testing.assert_array_equal(found.rows(first, last), whole[first:last])


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
    found = ingest.opened(config.Data(source=str(tmp_path / "a.csv")), tmp_path / "parts")
    assert len(list((tmp_path / "parts").rglob("*.values.npy"))) > 12
    limits_ = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 8, limits_[1]))
    try:
        values = found.rows(0, 60)
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
    power, heat = frame(), frame() * 2
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
    table = frame()
    for home in table:
        table[[home]].set_axis(["kwh"], axis=1).to_csv(tmp_path / f"{home}.csv")
    table[["003"]].set_axis(["gas"], axis=1).to_csv(tmp_path / "003.csv")
    with pytest.raises(UserError, match=r"003\.csv has the columns time, gas, and the first file time, kwh"):
        load(tmp_path)
    bad = table[["003"]].set_axis(["kwh"], axis=1).astype(object)
    bad.iloc[7, 0] = "x"
    bad.to_csv(tmp_path / "003.csv")
    with pytest.raises(UserError, match=r"003\.csv line 9, column 'kwh': 'x' is not a number"):
        load(tmp_path)


def test_parquet_by_row_groups(tmp_path: Path) -> None:
    table = frame()
    table.to_parquet(tmp_path / "wide.parquet", row_group_size=50)
    melted(table, "time").to_parquet(tmp_path / "long.parquet", row_group_size=333)
    for name in ("wide", "long"):
        raw = load(tmp_path / f"{name}.parquet")
        np.testing.assert_allclose(raw.values[:, :, 0], table.to_numpy().T, rtol=1e-6)


def test_urls_are_fetched(tmp_path: Path) -> None:
    table = frame()
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


@pytest.mark.parametrize("kind", ["wide", "long by home", "long by time"])
@pytest.mark.parametrize(
    ("zone", "standard", "start", "freq"),
    [
        ("Europe/London", 0, "2013-10-20", "30min"),
        ("Europe/London", 0, "2013-03-24", "h"),
        ("America/New_York", -5, "2013-10-27", "h"),
    ],
)
def test_daylight_saving_is_undone(
    tmp_path: Path, small_parts: None, kind: str, zone: str, standard: int, start: str, freq: str
) -> None:
    """Weeks of local times, with an hour missing in spring or one twice in autumn."""
    table = frame(500, 3, start, freq)
    local = (table.index - pd.Timedelta(hours=standard)).tz_localize("UTC").tz_convert(zone).tz_localize(None)
    written = table.set_axis(local.rename("time"))
    assert written.index.duplicated().any() == ("-10-" in start)
    if kind == "wide":
        written.to_csv(tmp_path / "a.csv")
    else:
        long = written.reset_index().melt("time", var_name="home", value_name="kwh")
        if kind == "long by time":  # in the order of true time
            long = long.iloc[np.arange(len(long)).reshape(3, -1).T.reshape(-1)]
        long[["home", "time", "kwh"]].to_csv(tmp_path / "a.csv", index=False)
    layout = "wide" if kind == "wide" else "long"
    raw = load(tmp_path / "a.csv", timezone=zone, layout=layout)
    np.testing.assert_allclose(raw.values[:, :, 0], table.to_numpy().T, rtol=1e-6)
    assert raw.meta.axis.times()[0] == table.index[0] and raw.meta.provenance["missing_stamps"] == 0
    assert zone in raw.meta.provenance["clock"]
    if "-10-" in start:
        with pytest.raises(UserError, match=r"data\.timezone|sort by time"):
            load(tmp_path / "a.csv", layout=layout)


def test_offsets_that_change_are_read_with_a_zone(tmp_path: Path) -> None:
    table = frame(24 * 300, 2)
    table.set_axis(table.index.tz_localize("UTC").tz_convert("Europe/Berlin")).to_csv(
        tmp_path / "a.csv", index_label="time"
    )
    raw = load(tmp_path / "a.csv", timezone="Europe/Berlin")
    np.testing.assert_allclose(raw.values[:, :, 0], table.to_numpy().T, rtol=1e-6)
    assert raw.meta.axis.start == "2013-01-01T01:00:00"  # standard time of Berlin


def test_times_that_never_were_are_one_line(tmp_path: Path) -> None:
    frame(24 * 300, 2).to_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"2013-03-31 01:00:00 does not exist in Europe/London"):
        load(tmp_path / "a.csv", timezone="Europe/London")
    with pytest.raises(UserError, match=r"'Europe/Lundon' is no time zone; Europe/London\?"):
        config.load(None, ["data.timezone=Europe/Lundon"])


def test_leap_days_are_kept_on_request(tmp_path: Path) -> None:
    table = frame(24 * (365 + 366), 2, start="2011-01-01")
    table.to_csv(tmp_path / "a.csv")
    raw = load(tmp_path / "a.csv", cut="years", leap_days="keep")
    assert raw.values.shape == (4, 8784, 1)
    assert raw.meta.axis == Axis("2012-01-01T00:00:00", 3600, 8784, leap_days=True)
    np.testing.assert_allclose(raw.values[2:, :, 0], table.loc["2012"].to_numpy().T, rtol=1e-6)
    common = table.loc["2011"].to_numpy().T
    np.testing.assert_allclose(raw.values[:2, : 59 * 24, 0], common[:, : 59 * 24], rtol=1e-6)
    assert np.isnan(raw.values[:2, 59 * 24 : 60 * 24]).all()
    np.testing.assert_allclose(raw.values[:2, 60 * 24 :, 0], common[:, 59 * 24 :], rtol=1e-6)


@pytest.mark.parametrize("kind", ["wide", "long"])
@pytest.mark.parametrize("method", ["mean", "sum"])
def test_irregular_times_are_resampled_when_asked(
    tmp_path: Path, small_parts: None, kind: str, method: str
) -> None:
    """Uneven, unsorted and repeated stamps, with gaps."""
    rng = np.random.default_rng(0)
    minutes = rng.integers(0, 60 * 24 * 10, 3000)
    minutes[5] = minutes[6]
    times = pd.Timestamp("2013-01-01 00:07") + pd.to_timedelta(minutes, unit="min")
    table = pd.DataFrame(rng.gamma(2, size=(3000, 3)), index=times.rename("time"), columns=["a", "b", "c"])
    table.iloc[::7, 1] = np.nan
    (table if kind == "wide" else melted(table, "time").set_index("home")).to_csv(tmp_path / "a.csv")
    resample = config.Resample(step="2h", method=method)  # type: ignore[arg-type]
    raw = load(tmp_path / "a.csv", resample=resample, layout=kind, max_missing=0.5, duplicates=method)
    once = table.groupby(level=0).agg(method, **({"min_count": 1} if method == "sum" else {}))
    expected = getattr(once.resample("2h"), method)()
    counts = once.resample("2h").count()
    expected = expected.where(counts > 0)
    np.testing.assert_allclose(raw.values[:, :, 0], expected.to_numpy().T, rtol=1e-5)
    np.testing.assert_array_equal(raw.meta.axis.times(), expected.index.to_numpy().astype("M8[s]"))
    assert raw.meta.provenance["resampled"] == f"{method} over 2h"
    with pytest.raises(UserError):
        load(tmp_path / "a.csv", layout=kind)


@pytest.mark.parametrize("name", ["wide.csv", "long.csv", "wide.parquet", "long.parquet"])
@pytest.mark.parametrize("freq", ["500ms", "1010ms", "1500ms"])
def test_fractions_of_a_second_are_for_resampling_alone(
    tmp_path: Path, small_parts: None, name: str, freq: str
) -> None:
    """A reading belongs to the step that contains it."""
    table, path = frame(300, 3, "1969-12-31 23:58", freq), tmp_path / name
    written = table if "wide" in name else melted(table, "time").set_index("home")
    written.to_csv(path) if path.suffix == ".csv" else written.to_parquet(path)
    with pytest.raises(UserError, match=r"has a fraction of a second, .* data\.resample\.step") as error:
        load(path, max_missing=0.6)
    assert "\n" not in str(error.value)
    raw = load(path, resample=config.Resample(step="3s", method="sum"))
    expected = table.resample("3s").sum()
    np.testing.assert_allclose(raw.values[:, :, 0], expected.to_numpy().T, rtol=1e-5)
    np.testing.assert_array_equal(raw.meta.axis.times(), expected.index.to_numpy().astype("M8[s]"))


@pytest.mark.parametrize("kind", ["wide", "long"])
def test_fractions_of_a_second_in_an_hour_that_stands_twice(
    tmp_path: Path, small_parts: None, kind: str
) -> None:
    """Readings of one second differ; only those an hour apart stand alike on the clock."""
    table = frame(160, 2, "2013-10-26 23:30", "15min")
    again = table.set_axis((table.index + pd.Timedelta(milliseconds=250)).rename("time"))
    both = pd.concat([table, again]).sort_index()
    local = both.index.tz_localize("UTC").tz_convert("Europe/London").tz_localize(None)
    written = both.set_axis(local.rename("time"))
    (written if kind == "wide" else melted(written, "time").set_index("home")).to_csv(tmp_path / "a.csv")
    resample = config.Resample(step="30min", method="sum")
    raw = load(tmp_path / "a.csv", layout=kind, timezone="Europe/London", resample=resample)
    np.testing.assert_allclose(raw.values[:, :, 0], both.resample("30min").sum().to_numpy().T, rtol=1e-5)


@limits(deadline=None, max_examples=40)
@given(
    factor=st.sampled_from([2, 3, 4, 6]),
    method=st.sampled_from(["sum", "mean"]),
    rows=st.integers(1, 5),
    channels=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_merged_steps_are_numpys(factor: int, method: str, rows: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 24, channels)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    merged = ingest._merged(values, config.Reduce(factor=factor, method=method))  # type: ignore[arg-type]
    parts = values.astype(np.float64).reshape(rows, 24 // factor, factor, channels)
    np.testing.assert_allclose(merged, getattr(np, method)(parts, axis=2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [288, 3], ids=["one part", "a stamp a part"])
def test_half_of_an_hour_is_no_hour_however_a_table_is_cut(tmp_path: Path, rows: int) -> None:
    table = frame(48, 3, freq="30min")
    long = melted(table, "time")
    long = long.sort_values("time", kind="stable").drop(index=long.index[long["time"] == table.index[7]][0])
    long.to_parquet(tmp_path / "a.parquet", row_group_size=rows)
    raw = load(tmp_path / "a.parquet", resample=config.Resample(step="1h", method="sum"), max_missing=0.5)
    assert np.flatnonzero(np.isnan(raw.values).any(axis=(0, 2))).tolist() == [3]
    assert np.isnan(raw.values).sum() == 1


def test_half_hours_become_hours_and_then_steps_of_four(tmp_path: Path) -> None:
    table = frame(48 * 30, 3, freq="30min")
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
