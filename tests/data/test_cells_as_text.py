"""Cells such as ="00541", by which a spreadsheet keeps text, are read without the equals sign."""

from pathlib import Path

import numpy as np
import pytest

from distgan import config
from distgan.data.formats import text
from distgan.data.ingest import Raw, read

HOURS = np.arange("2023-03-06", "2023-03-08", dtype="M8[h]").astype("M8[m]").astype(str).tolist()
READINGS = np.random.default_rng(0).gamma(2, size=(len(HOURS), 3)).round(3)
IDS = ["00541", "00542", "00543"]


def load(lines: list[str], place: Path, encoding: str = "utf-8") -> Raw:
    (place / "a.csv").write_text("\n".join(lines), encoding=encoding)  # no line end after the last
    return read(config.Data(source=str(place / "a.csv")))


def write_long(form: str, separator: str) -> list[str]:
    rows = [["meter", "time", "kwh"]]
    for column, name in enumerate(IDS):
        rows += [
            [form.format(name), hour, str(value)] for hour, value in zip(HOURS, READINGS[:, column].tolist())
        ]
    return [separator.join(row) for row in rows]


@pytest.mark.parametrize("form", ['="{}"', '"=""{}"""', ' ="{}"'])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ids_as_text(tmp_path: Path, form: str, separator: str, encoding: str) -> None:
    found = load(write_long(form, separator), tmp_path, encoding)
    assert found.entities == IDS
    np.testing.assert_allclose(found.values[:, :, 0], READINGS.T, rtol=1e-6)


@pytest.mark.parametrize("part", ["names", "times", "readings"])
def test_names_times_and_readings_as_text(tmp_path: Path, part: str) -> None:
    def wrap(cell: str, of: str) -> str:
        return f'="{cell}"' if of == part else cell

    lines = [",".join(["time", *(wrap(name, "names") for name in IDS)])]
    for hour, row in zip(HOURS, READINGS.tolist()):
        lines.append(",".join([wrap(hour, "times"), *(wrap(str(value), "readings") for value in row)]))
    found = load(lines, tmp_path)
    assert found.entities == IDS
    np.testing.assert_allclose(found.values[:, :, 0], READINGS.T, rtol=1e-6)


def test_cells_at_the_ends_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 7)
    found = load(write_long('="{}"', ","), tmp_path)
    assert found.entities == IDS
    np.testing.assert_allclose(found.values[:, :, 0], READINGS.T, rtol=1e-6)
