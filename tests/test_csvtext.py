"""Text from a user's file in a CSV: one line a row, and nothing that a spreadsheet computes."""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgan.csvtext import CONTROLS, NUMBER, escape_cell, format_csv, parse_csv, unescape_cell
from distgan.data import export
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.private_table import read_table, write_table
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError

NASTY = st.text(alphabet="=+-@';\\nrtu0a1 \n\t\r5,\"\0\u2028\u202e\ud800＝", max_size=8)
DANGEROUS = ["=HYPERLINK(1)", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "'=1", "a;=1", "＝1", "-"]


@given(st.one_of(st.text(max_size=20), NASTY))
@settings(max_examples=300, deadline=None)
def test_an_escaped_cell_is_inert_and_comes_back(text: str) -> None:
    written = escape_cell(text)
    assert unescape_cell(written) == text
    assert not any(found for found in CONTROLS.findall(written) if found != "\\")
    written.encode("utf-8")
    for piece in written.split(";"):
        start = piece.strip()
        assert not start.startswith(("=", "@", "+", "-")) or NUMBER.fullmatch(piece), written


@pytest.mark.parametrize("text", DANGEROUS)
def test_what_a_spreadsheet_computes_is_escaped(text: str) -> None:
    assert escape_cell(text) != text and unescape_cell(escape_cell(text)) == text


@pytest.mark.parametrize("text", ["-5", "+3.2e4", "-0,5", " -1 %", "walking, slowly", "'tis", "a=b", "März"])
def test_numbers_and_plain_words_stay_as_they_are(text: str) -> None:
    assert escape_cell(text) == text


def test_labels_are_one_line_each_and_read_back(tmp_path: Path) -> None:
    labels = ["walking, slowly", 'say "x"', "two\nlines", "=HYPERLINK(0)", "-3", "", "cr\rlf"]
    place = tmp_path / "labels.csv"
    export.write_by_series(place, "made", ["label"], [[label] for label in labels])
    lines = place.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(labels) + 1
    with open(place, newline="", encoding="utf-8") as file:
        cells = [row[1] for row in csv.reader(file)][1:]
    assert [unescape_cell(cell) for cell in cells] == labels and "=HYPERLINK(0)" not in cells


def test_the_private_table_gives_names_back_whatever_they_hold(tmp_path: Path) -> None:
    names = ["=1+1", "a\nb", "c\\n", "x,y", "-5", "'=z"]
    write_table(tmp_path / "s.private.csv", names, names[::-1], ["train"] * 6, names)
    text = (tmp_path / "s.private.csv").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 7 and ",=1+1" not in text
    table = read_table(tmp_path / "s.private.csv")
    assert table.entities.tolist() == names and table.owners.tolist() == names[::-1]
    assert table.labels is not None and table.labels.tolist() == names


def test_an_export_has_safe_headers_and_the_very_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).lognormal(0, 8, (3, 24, 2)).astype(np.float32)
    values[1, 5, 0] = np.nan
    meta = Meta(Axis("2013-01-01T00:00:00", 3600, 24), ("a;=cmd", 'b "c", d'), "kWh", {}, {})
    with StoreWriter(tmp_path / "s.zarr", meta) as writer:
        writer.append(values)
    place = export.export(tmp_path / "s.zarr", tmp_path / "s.csv", "synthetic", "wide").place
    table = pd.read_csv(place, index_col="timestamp").astype(np.float32)
    np.testing.assert_array_equal(table.to_numpy().T.reshape(3, 2, 24).transpose(0, 2, 1), values)
    header = next(csv.reader(io.StringIO(place.read_text(encoding="utf-8"))))
    assert ";=" not in ",".join(header)


def test_rows_of_a_table_are_lines() -> None:
    assert format_csv(["id", "n"], [["=1", -1], ["b", 2.5]]) == "id,n\n'=1,-1\nb,2.5\n"


def test_a_blank_line_below_a_single_column_is_an_empty_cell() -> None:
    rows = parse_csv("ev\ntrue\n\nfalse\n\n\n", Path("wanted.csv"))
    assert rows == [["ev"], ["true"], [""], ["false"]]  # blank lines at the end belong to no row
    assert parse_csv("\nev,people\n\nyes,2\n", Path("wanted.csv")) == [["ev", "people"], ["yes", "2"]]
    with pytest.raises(UserError, match=r"wanted\.csv line 4 has 1 cell, and the header has 2"):
        parse_csv("ev,people\nyes,2\n\nno\n", Path("wanted.csv"))  # the line as an editor counts
