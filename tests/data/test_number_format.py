"""Decimal and thousands marks: what the file proves is read, what it leaves open is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan.errors import UserError
from tests.helpers.tables import joined, load_text, long_rows, values

MARKS = {
    "1,234.5": (1234.5, 2.5),
    "1.234,5": (1234.5, 2.5),
    "1 234,5": (1234.5, 2.5),
    "1 234.5": (1234.5, 2.5),
    "1'234.5": (1234.5, 2.5),
    "1\u2019234.5": (1234.5, 2.5),
    "1\u00a0234,5": (1234.5, 2.5),
    "1\u202f234,5": (1234.5, 2.5),
    "1,234,567.0": (1234567.0, 2.5),
    "1.234.567,0": (1234567.0, 2.5),
    "12e2": (1200, 2.5),
}


@pytest.mark.parametrize("cell", MARKS)
def test_marks_that_the_file_proves(tmp_path: Path, cell: str) -> None:
    big, small = MARKS[cell]
    other = "2,5" if "," in cell.replace("1,234,5", "").replace("1,234.", "") else "2.5"
    text = f"time;a\n2013-01-01;{cell}\n2013-01-02;{other}\n2013-01-03;{cell}\n"
    np.testing.assert_allclose(values(load_text(text, tmp_path)), [[big, small, big]])


AMBIGUOUS = {
    "semicolons": ("time;a\n2013-01-01;1.634\n2013-01-02;964\n2013-01-03;1.250\n", [1634, 964, 1250], "."),
    "quoted commas": (
        'time,a\n2013-01-01,"1,634"\n2013-01-02,964\n2013-01-03,"1,250"\n',
        [1634, 964, 1250],
        ",",
    ),
    "tabs": ("time\ta\n2013-01-01\t12.634\n2013-01-02\t4\n2013-01-03\t1.250\n", [12634, 4, 1250], "."),
    "commas part cells": (
        "time,a\n2013-01-01,1.634\n2013-01-02,964\n2013-01-03,1.250\n",
        [1634, 964, 1250],
        ".",
    ),
    "far down": (
        "time;a\n"
        + "".join(
            f"{day:%Y-%m-%d};{500 + n}\n" for n, day in enumerate(pd.date_range("2013-01-01", periods=700))
        )
        + "2014-12-02;1.250\n",
        [*range(500, 1200), 1250],
        ".",
    ),
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_marks_that_the_file_leaves_open(tmp_path: Path, kind: str) -> None:
    text, right, mark = AMBIGUOUS[kind]
    if kind == "far down":  # 1000 and more stand without a mark there: a point is no mark of thousands
        found = values(load_text(text, tmp_path))[0]
        np.testing.assert_allclose(found[-1], 1.25)
        return
    with pytest.raises(UserError, match=r"data.decimal='\S' or data.thousands='\S'|set data.thousands='\S'"):
        load_text(text, tmp_path)
    np.testing.assert_array_equal(values(load_text(text, tmp_path, thousands=mark)), [right])
    decimals = [value / 1000 if value >= 1000 else value for value in right]
    np.testing.assert_allclose(values(load_text(text, tmp_path, decimal=mark)), [decimals])
    np.testing.assert_allclose(values(load_text(text, tmp_path, thousands="none")), [decimals])


def test_thousands_in_a_later_piece_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distgan.data.formats.csv_pieces.PIECE_BYTES", 4000)
    days = pd.date_range("2013-01-01", periods=900)
    cells = [f"{n},5" for n in range(899)] + ["1.234,5"]
    text = "time;a\n" + "".join(f"{day:%Y-%m-%d};{cell}\n" for day, cell in zip(days, cells))
    found = values(load_text(text, tmp_path))[0]
    np.testing.assert_allclose(found, [*(n + 0.5 for n in range(899)), 1234.5])


def test_marks_of_two_kinds_are_refused(tmp_path: Path) -> None:
    text = "t;a\n2013-01-01;1,5\n2013-01-02;1.25\n2013-01-03;2\n"
    with pytest.raises(UserError, match=r"line 3, column 'a': '1\.25' is not a number"):
        load_text(text, tmp_path)
    with pytest.raises(UserError, match=r"'1\.63' is not a number"):  # never 163
        load_text("t;a\n2013-01-01;1.63\n2013-01-02;2\n", tmp_path, thousands=".")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("12%", "percent signs"),
        ("€12", "currency signs"),
        ("$12.50", "currency signs"),
        ("?", "data.missing_values"),
        ("(5)", "seems to be a negative number"),
        ("12,34,56", "not a number"),
        ("0x1F", "not a number"),
        ("True", r"'True' is not a number.*data.missing_values="),
    ],
)
def test_cells_that_are_no_numbers(tmp_path: Path, cell: str, message: str) -> None:
    text = f"time;a;b\n2013-01-01;1.5;{cell}\n2013-01-02;2.5;7.25\n2013-01-03;3.5;8.25\n"
    with pytest.raises(UserError, match=message) as error:
        load_text(text, tmp_path)
    assert "column 'b'" in str(error.value)


def test_a_column_of_percentages_is_no_column_of_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"column 'a': '12%' is not a number; write numbers without percent"):
        load_text("time;a\n2013-01-01;12%\n2013-01-02;13%\n2013-01-03;12%\n", tmp_path)
    rows = [[*row[:2], str(number % 2 == 0)] for number, row in enumerate(long_rows())]
    with pytest.raises(
        UserError, match=r"line 2, column 'on' holds true and false.*write 1 and 0.*ignore=\"\['on'\]"
    ):
        load_text(joined([["home", "time", "on"], *rows]), tmp_path)


def test_values_that_mean_missing(tmp_path: Path) -> None:
    cells = ["1,5", "-9999", "?", "-9999,0", "2", "Null"]
    text = "time;a\n" + "".join(f"2013-01-{day:02d};{cell}\n" for day, cell in enumerate(cells, start=1))
    found = values(load_text(text, tmp_path, missing_values=[-9999, "?"]))
    np.testing.assert_array_equal(found, [[1.5, np.nan, np.nan, np.nan, 2, np.nan]])
