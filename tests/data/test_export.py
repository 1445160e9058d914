"""What leaves as a table comes back with equal values: wide and long, CSV and Parquet."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import cli, config, errors
from distgan.arguments import check_export, open_files
from distgan.commands import evaluate_files
from distgan.csvtext import unescape_cell
from distgan.data import export, ingest
from distgan.data.export import fold_channels
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.data.tables import Source
from distgan.run import Run, locate_attributes, locate_labels, locate_readme

CHANNELS = {1: ("kWh",), 3: ("temp in", "wind", "=cmd(0)")}


def store(path: Path, channels: tuple[str, ...], series: int = 30, length: int = 24 * 14) -> np.ndarray:
    """Write a store of hourly series with every kind of float32 and a few gaps; its values."""
    rng = np.random.default_rng(0)
    values = rng.lognormal(0, 6, (series, length, len(channels))).astype(np.float32)
    values[2, 5:9, 0] = np.nan
    values[3, 7] = [1e-30, 16777217, 0.1][: len(channels)]
    meta = Meta(Axis("2013-01-07T00:00:00", 3600, length, leap_days=True), channels, "kWh", {}, {})
    with StoreWriter(path, meta) as writer:
        writer.append(values)
    return values


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("layout", ["wide", "long", "auto"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_a_table_comes_back_with_equal_values(
    tmp_path: Path, channels: int, layout: str, suffix: str
) -> None:
    values = store(tmp_path / "s.zarr", CHANNELS[channels])
    made = export.export(tmp_path / "s.zarr", tmp_path / f"out{suffix}", "synthetic", layout)
    assert made.layout == (layout if layout != "auto" else "long" if channels > 1 else "wide")
    found = ingest.read(config.Data(source=str(made.place), unusable="drop"))
    np.testing.assert_array_equal(found.values, values)
    assert found.entities == [f"synthetic-{row:06d}" for row in range(30)]
    if channels > 1:
        assert tuple(map(unescape_cell, found.meta.channels)) == CHANNELS[channels]
    assert (found.meta.axis.start, found.meta.axis.step_seconds) == ("2013-01-07T00:00:00", 3600)


READERS = {
    "pandas": lambda place, files: pd.read_parquet(place),
    "polars": lambda place, files: pytest.importorskip("polars").scan_parquet(files).collect().to_pandas(),
    "duckdb": lambda place, files: pytest.importorskip("duckdb").sql(f"SELECT * FROM '{files}'").df(),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("layout", ["long", "list"])
@pytest.mark.parametrize("size", [1 << 30, 30_000])
def test_parquet_is_read_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, layout: str, reader: str
) -> None:
    values = store(tmp_path / "s.zarr", CHANNELS[3])
    monkeypatch.setattr(export, "FILE_BYTES", size)
    made = export.export(tmp_path / "s.zarr", tmp_path / "out.parquet", "synthetic", layout)
    files = sorted(made.place.glob("part-*.parquet")) if made.place.is_dir() else [made.place]
    assert len(files) == (1 if size == 1 << 30 else 5)  # 336 steps of 3 channels: 4,032 bytes a series
    name = f"{made.place}/*.parquet" if made.place.is_dir() else str(made.place)
    table = READERS[reader](made.place, name).sort_values(["id", "timestamp"][: 2 if layout == "long" else 1])
    columns = [table[column] for column in ("temp in", "wind", "'=cmd(0)")]
    if layout == "list":
        columns = [column.explode() for column in columns]
    found = np.stack([column.to_numpy(np.float32, na_value=np.nan) for column in columns], axis=1)
    np.testing.assert_array_equal(found.reshape(values.shape), values)


def test_a_smaller_export_replaces_a_folder_and_a_larger_one_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path / "s.zarr", CHANNELS[3])
    for size in (1 << 30, 30_000, 1 << 30):
        monkeypatch.setattr(export, "FILE_BYTES", size)
        made = export.export(tmp_path / "s.zarr", tmp_path / "out.parquet", "synthetic", "long")
        assert made.place.is_dir() == (size == 30_000)
        assert len(pd.read_parquet(made.place)) == 30 * 336
    export.remove(made.place)
    export.remove(made.place)
    assert not made.place.exists()


@pytest.mark.parametrize("sizes", [(30_000, 1 << 30), (1 << 30, 30_000)])
def test_an_earlier_export_stays_where_the_next_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int]
) -> None:
    def fail(*given: object) -> None:
        raise OSError(28, "No space left on device")

    store(tmp_path / "s.zarr", CHANNELS[3])
    place = tmp_path / "out.parquet"
    monkeypatch.setattr(export, "FILE_BYTES", sizes[0])
    export.export(tmp_path / "s.zarr", place, "synthetic", "long")
    monkeypatch.setattr(export, "FILE_BYTES", sizes[1])
    monkeypatch.setattr(export, "_write_tables", fail)
    with pytest.raises(errors.DiskFull):
        export.export(tmp_path / "s.zarr", place, "synthetic", "long")
    assert len(pd.read_parquet(place)) == 30 * 336


def test_a_table_of_too_many_columns_is_refused_and_not_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path / "s.zarr", CHANNELS[1])
    monkeypatch.setattr(export, "WIDE_COLUMNS", 29)
    monkeypatch.setattr(export, "MOST_COLUMNS", 29)
    assert export.export(tmp_path / "s.zarr", tmp_path / "out.csv", "synthetic").layout == "long"
    with pytest.raises(errors.UserError, match=r"30 columns.*generate\.layout=long"):
        export.export(tmp_path / "s.zarr", tmp_path / "out.csv", "synthetic", "wide")
    with pytest.raises(errors.UserError, match=r"list needs generate\.format=parquet"):
        export.export(tmp_path / "s.zarr", tmp_path / "out.csv", "synthetic", "list")


READ = {
    "pandas": lambda line: eval(line, {"pandas": pd}),
    "polars": lambda line: eval(line, {"polars": pytest.importorskip("polars")}).collect().to_pandas(),
    "DuckDB": lambda line: pytest.importorskip("duckdb").sql(line).df(),
}


@pytest.mark.parametrize("library", READ)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_snippets_of_the_readme_run_and_give_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, library: str
) -> None:
    """Also of a name with quotes, of channels that SQL takes for one, of values that are whole numbers or
    missing for long.
    """
    values = np.zeros((30, 1000, 3), np.float32)
    values[:22, :, 1] = np.nan
    values[22:] = np.random.default_rng(0).random((8, 1000, 3), dtype=np.float32)
    meta = Meta(Axis("2013-01-07T00:00:00", 3600, 1000, leap_days=True), ("Temp", "temp", "ID"), "", {}, {})
    with StoreWriter(tmp_path / "s.zarr", meta) as writer:
        writer.append(values)
    made = export.export(tmp_path / "s.zarr", tmp_path / f"it's{suffix}", "synthetic", "long")
    export.write_readme(made, meta, 30, "", "", [])
    lines = [line.split(None, 1) for line in locate_readme(made.place).read_text().splitlines()]
    (line,) = [rest[0] for name, *rest in filter(None, lines) if name == library]
    monkeypatch.chdir(tmp_path)
    table = READ[library](line)
    assert list(table.columns) == ["id", "timestamp", "Temp", "temp (value)", "ID (value)"]
    order = np.lexsort((table["timestamp"], table["id"]))
    found = table.iloc[order, 2:].to_numpy(np.float32, na_value=np.nan)
    np.testing.assert_array_equal(found.reshape(values.shape), values)


def test_a_wide_table_is_written_some_steps_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = store(tmp_path / "s.zarr", CHANNELS[3])
    monkeypatch.setattr(export, "WIDE_BYTES", 90 * 4 * 100)
    tables = list(export._iterate_wide_tables(Store.open(tmp_path / "s.zarr"), "synthetic", 0, 30))
    assert [len(table) for table in tables] == [100, 100, 100, 36]
    made = export.export(tmp_path / "s.zarr", tmp_path / "out.parquet", "synthetic", "wide")
    found = pd.read_parquet(made.place).iloc[:, 1:].to_numpy(np.float32)
    np.testing.assert_array_equal(found.reshape(336, 30, 3).transpose(1, 0, 2), values)


def test_an_earlier_export_in_a_folder_is_replaced_on_request_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path / "s.zarr", CHANNELS[3])
    monkeypatch.setattr(export, "FILE_BYTES", 30_000)
    made = export.export(tmp_path / "s.zarr", tmp_path / "out.parquet", "synthetic", "long")
    assert check_export(str(made.place), Run(tmp_path / "run"), force=True) == made.place
    (made.place / "notes.txt").write_text("mine")
    with pytest.raises(errors.UserError, match="a folder that distgan did not write"):
        check_export(str(made.place), Run(tmp_path / "run"), force=True)


def test_a_long_table_in_other_hands(tmp_path: Path) -> None:
    values = store(tmp_path / "s.zarr", CHANNELS[3])
    export.export(tmp_path / "s.zarr", tmp_path / "out.csv", "synthetic", "long")
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table.columns) == ["id", "timestamp", "temp in", "wind", "'=cmd(0)"]
    np.testing.assert_array_equal(table.iloc[:, 2:].to_numpy(np.float32).reshape(values.shape), values)


def test_columns_that_are_no_channels_of_series_stay_as_they_are() -> None:
    meta = Meta(Axis("2013-01-07T00:00:00", 3600, 2), ("value",), "", {}, {})
    for names in (
        ["a-000001 x", "a-000002 x"],
        ["a-000001 x", "a-000001 y", "a-000002 x"],
        ["a-000001 x", "a-000001 y", "a-000002 y", "a-000002 x"],
        ["a-000001 x", "a-000001 x"],
        ["home 1", "home 2"],
    ):
        source = Source(lambda first, last: np.zeros((last - first, 2, 1)), names, list(names), meta)
        if len(set(names)) == len(names):
            assert fold_channels(source) is source


def test_the_readme_says_columns_units_and_times(tmp_path: Path) -> None:
    store(tmp_path / "s.zarr", CHANNELS[3])
    meta = Store.open(tmp_path / "s.zarr").meta
    made = export.export(tmp_path / "s.zarr", tmp_path / "out.csv", "synthetic")
    export.write_readme(
        made,
        meta,
        30,
        "local time (Europe/London)",
        "Homes,\nall of them",
        [export.describe_labels(made.place)],
    )
    text = (tmp_path / "out.README.txt").read_text(encoding="utf-8")
    for words in (
        "temp in",
        "kWh",
        "2013-01-07T00:00:00",
        "3600 s",
        "Europe/London",
        "out.labels.csv",
        "long",
    ):
        assert words in text, text
    assert "Homes, all of them\n" in text
    assert "an empty cell is a missing value" in text and "first window" not in text
    made = export.export(tmp_path / "s.zarr", tmp_path / "out.parquet", "synthetic")
    for known, words in (
        ({"windows": {"length": 3, "stride": 3}}, "; those of the first window, and a series may be like"),
        ({"years": [2012, 2014]}, "; series like those of 2012 to 2014 all stand on this one axis"),
    ):
        export.write_readme(made, replace(meta, provenance=known), 30, "UTC", "", [])
        text = (tmp_path / "out.README.txt").read_text(encoding="utf-8")
        assert words in text and "null is a missing value" in text


# --------------------------------------------------------------------------------------------- evaluate


def hourly(path: Path, step: int, scale: float = 1.0) -> Path:
    """Homes' loads as CSV, summed over `step` hours."""
    rng = np.random.default_rng(step)
    hours = np.arange(24 * 28)
    rhythm = 1.2 + np.sin(2 * np.pi * hours[:, None] / 24 + rng.uniform(0, 1, 40))
    values = (scale * rhythm * rng.gamma(8, 1 / 8, (len(hours), 40))).reshape(-1, step, 40).sum(1)
    table = pd.DataFrame(values, columns=[f"home-{home}" for home in range(40)])
    table.insert(0, "timestamp", pd.date_range("2013-01-07", periods=len(values), freq=f"{step}h"))
    table.to_csv(path, index=False)
    return path


def test_steps_are_aligned_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real, made = hourly(tmp_path / "real.csv", 1), hourly(tmp_path / "made.csv", 4)
    arguments = ["--real", str(real), "--synthetic", str(made), "--out", str(tmp_path / "report")]
    assert errors.answer(lambda: cli.run_command(["evaluate", *arguments])) == 2
    said = capsys.readouterr().err
    assert "--align sum" in said and said.count("\n") == 1
    options = open_files(str(real), str(made), align="sum")
    both = [ingest.read(config.Data(source=str(path))) for path in (real, made)]
    one, two = evaluate_files.align_steps(options, both[0], both[1])
    evaluate_files.refuse_unlike("a", one.meta, "b", two.meta)
    np.testing.assert_allclose(one.values, both[0].values.reshape(40, -1, 4, 1).sum(2), rtol=1e-5)
    options = open_files(str(real), str(made), align="mean")
    two, one = evaluate_files.align_steps(options, both[1], both[0])
    other = open_files(str(made), str(real), align="mean")
    two, one = evaluate_files.align_steps(other, both[1], both[0])
    np.testing.assert_allclose(one.values, both[0].values.reshape(40, -1, 4, 1).mean(2), rtol=1e-5)


def test_steps_that_do_not_divide_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real, made = hourly(tmp_path / "real.csv", 2), hourly(tmp_path / "made.csv", 3)
    arguments = ["evaluate", "--real", str(real), "--synthetic", str(made), "--align", "sum"]
    assert errors.answer(lambda: cli.run_command(arguments)) == 2
    assert "do not divide each other" in capsys.readouterr().err


def test_a_readme_states_no_times_that_the_source_does_not_have(tmp_path: Path) -> None:
    axis = Axis("2001-01-01T00:00:00", 3600, 100)
    assert export.describe_times(axis, "as in the source").startswith("2001-01-01T00:00:00 to 2001-01-05")
    assert export.describe_times(axis, "nominal: one hour a step").startswith("none in the source: ")


def test_tables_beside_an_earlier_export_do_not_outlive_it(tmp_path: Path) -> None:
    """Labels and attributes go with the series that they describe; a file that no README names stays."""
    place = tmp_path / "made.csv"
    for companion in (locate_labels(place), locate_attributes(place)):
        companion.write_text("x\n")
    export.remove_companions(place)
    store(tmp_path / "s.zarr", CHANNELS[1], series=5)
    made = export.export(tmp_path / "s.zarr", place, "synthetic")
    meta = Store.open(tmp_path / "s.zarr").meta
    export.write_readme(made, meta, 5, "", "", [export.describe_attributes(place)])
    export.remove_companions(place)
    assert locate_labels(place).exists() and not locate_attributes(place).exists()
