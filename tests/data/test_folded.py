"""Rows of thousands of cells are read as pandas reads them column by column."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.formats import csv_pieces, folded
from distgan.data.formats.csv_pieces import Span
from distgan.data.formats.dialect import find_dialect
from distgan.data.ingest import read

WIDTH, ROWS = 80, 9


def cells(seed: int, decimal: str) -> np.ndarray:
    """Readings, whole columns, empty ones, marks of missing values, blanks, words."""
    rng = np.random.default_rng(seed)
    found = np.array([[f"{value:.3f}" for value in row] for row in rng.gamma(2, size=(ROWS, WIDTH))], object)
    found[:, 5], found[:, 6] = [str(row) for row in range(ROWS)], [str(-row) for row in range(ROWS)]
    found[:, 7], found[2, 8], found[3, 9], found[0, 10] = "", "NA", "nan", ""
    found[4, 6], found[:, 12] = "", "true"
    found[:, 11], found[1, 13] = " word", "  1.5e3"
    return np.char.replace(found.astype(str), ".", decimal) if decimal != "." else found


def lines(table: np.ndarray, separator: str, end: str) -> bytes:
    head = separator.join(["time", *(f"H{number}" for number in range(WIDTH))])
    rows = [separator.join([f"2013-01-01 0{row}:00", *table[row]]) for row in range(ROWS)]
    return end.join([head, *rows, ""]).encode()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("text", [(), ("time",), ("time", "H11")])
@pytest.mark.parametrize(
    ("separator", "decimal", "end"), [(",", ".", "\n"), (";", ",", "\r\n"), ("\t", ".", "\n")]
)
def test_columns_are_those_of_pandas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, text: tuple[str, ...], separator: str,
    decimal: str, end: str,
) -> None:  # fmt: skip
    path = tmp_path / "wide.csv"
    path.write_bytes(lines(cells(seed, decimal), separator, end))
    dialect = find_dialect(path, path, "utf-8", config.Data(source=str(path)))
    span = Span(dialect, dialect.start, dialect.stop)
    expected = span.read(text=text, decimal=decimal)
    done = []
    inner = folded.parse_folded
    monkeypatch.setattr(csv_pieces, "FEWEST_COLUMNS", 2)
    monkeypatch.setattr(csv_pieces, "parse_folded", lambda *given: done.append(inner(*given)) or done[-1])
    found = span.read(text=text, decimal=decimal)
    assert done and done[0] is not None
    pd.testing.assert_frame_equal(found, expected)


def test_a_word_among_numbers_is_left_to_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = cells(0, ".")
    table[5, 20] = "broken"
    path = tmp_path / "wide.csv"
    path.write_bytes(lines(table, ",", "\n"))
    dialect = find_dialect(path, path, "utf-8", config.Data(source=str(path)))
    expected = Span(dialect, dialect.start, dialect.stop).read()
    monkeypatch.setattr(csv_pieces, "FEWEST_COLUMNS", 2)
    pd.testing.assert_frame_equal(Span(dialect, dialect.start, dialect.stop).read(), expected)


def test_a_table_of_thousands_of_columns(tmp_path: Path) -> None:
    values = np.random.default_rng(0).gamma(2, size=(30, folded.FEWEST_COLUMNS)).round(3) + 0.001
    times = pd.date_range("2013-01-01", periods=30, freq="h", name="time")
    table = pd.DataFrame(values, times, [f"H{number}" for number in range(values.shape[1])])
    table.insert(0, "row", range(30))
    table.reset_index()[["row", "time", *table.columns[1:]]].to_csv(tmp_path / "a.csv", index=False)
    found = read(config.Data(source=str(tmp_path / "a.csv")))
    assert found.entities == list(table.columns[1:])
    np.testing.assert_array_equal(found.values[:, :, 0], values.T.astype(np.float32))
