"""Readings that stand twice: merged, resolved by a rule, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distgan.data.formats import csv_pieces
from distgan.errors import UserError
from tests.helpers.tables import EXPECTED, WIDE, joined, load_text, long_rows, values


def test_equal_duplicates_are_merged_and_counted(tmp_path: Path) -> None:
    rows = long_rows()
    text = joined([["home", "time", "kwh"], *rows, rows[2], rows[2], rows[7]])
    for settings in ({}, {"resample": {"step": "1h", "method": "sum"}}):
        source = load_text(text, tmp_path, **settings)
        np.testing.assert_array_equal(values(source), EXPECTED)
        assert source.understood.merged_duplicates == 3, settings
    wide = WIDE + WIDE.splitlines()[2] + "\n"
    source = load_text(wide, tmp_path)
    np.testing.assert_array_equal(values(source), EXPECTED)
    assert source.understood.merged_duplicates == 1


@pytest.mark.parametrize(("rule", "right"), [("first", 1.5), ("last", 4.0), ("mean", 2.75), ("sum", 5.5)])
@pytest.mark.parametrize("shape", ["long", "long by time", "wide"])
@pytest.mark.parametrize("step", [None, "1h"])
def test_rules_for_duplicates(tmp_path: Path, rule: str, right: float, shape: str, step: str | None) -> None:
    """Three readings of one hour, two of them equal: a mean and a sum are of the two that differ."""
    if shape == "wide":
        extra = ["2013-01-01 01:00,1.5,11.5\n", "2013-01-01 01:00,4.0,11.5\n"]
        text = WIDE + "".join(extra)
    else:
        rows = [*long_rows(), ["a", "2013-01-01 01:00", "1.5"], ["a", "2013-01-01 01:00", "4.0"]]
        rows = rows if shape == "long" else sorted(rows, key=lambda row: row[1])
        text = joined([["home", "time", "kwh"], *rows])
    settings: dict[str, Any] = {} if step is None else {"resample": {"step": step}}
    with pytest.raises(UserError, match=r"data.duplicates"):
        load_text(text, tmp_path, **settings)
    source = load_text(text, tmp_path, duplicates=rule, **settings)
    expected = EXPECTED.copy()
    expected[0, 1] = right
    np.testing.assert_allclose(values(source), expected)
    assert source.understood.conflicting_duplicates == 1


@pytest.mark.parametrize("step", [None, "1h"])
@pytest.mark.parametrize(("cells", "right"), [("1.5 4.0 1.5", 1.5), ("1.5 4.0 ,", 4.0), ("4.0 1.5 4.0", 4.0)])
def test_the_last_reading_is_the_one_that_stands_last_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: str, right: float, step: str | None
) -> None:
    """Also where it is equal to the first one, or missing, and stands in another part of the file."""
    monkeypatch.setattr(csv_pieces, "PIECE_BYTES", 60)
    settings: dict[str, Any] = {} if step is None else {"resample": {"step": step}}
    rows = [row for row in long_rows() if row[:2] != ["a", "2013-01-01 01:00"]]
    rows += [["a", "2013-01-01 01:00", cell.strip(",")] for cell in cells.split()]
    source = load_text(joined([["home", "time", "kwh"], *rows]), tmp_path, duplicates="last", **settings)
    expected = EXPECTED.copy()
    expected[0, 1] = right
    np.testing.assert_allclose(values(source), expected)


def test_a_reading_beside_a_missing_one_is_no_conflict(tmp_path: Path) -> None:
    rows = long_rows()
    rows[1][2] = ""
    text = joined([["home", "time", "kwh"], *rows, ["a", "2013-01-01 01:00", "1.5"]])
    np.testing.assert_array_equal(values(load_text(text, tmp_path)), EXPECTED)


def test_readings_between_the_steps(tmp_path: Path) -> None:
    rows = [*long_rows(), ["b", "2013-01-01 02:17", ""]]
    text = joined([["home", "time", "kwh"], *rows])
    source = load_text(text, tmp_path)
    np.testing.assert_array_equal(values(source), EXPECTED)
    assert source.understood.off_grid_ignored == 1 and source.meta.provenance["off_grid_ignored"] == 1
    with pytest.raises(UserError, match=r"data.resample.step"):
        load_text(text.replace("02:17,", "02:17,3.5"), tmp_path)
