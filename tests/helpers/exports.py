"""Populations as portals, databases and spreadsheets export them, and what is read of them."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distgan.data import ingest
from distgan.data.checks.suspicions import Suspicion
from distgan.data.formats.pieces import Source
from distgan.errors import UserError
from distgan.pipeline import source_summary
from tests.helpers.tables import load_text

DAYS = 20
HOUR = pd.Timedelta("1h")


def population(freq: str = "1h", start: str = "2023-03-01", homes: int = 3, days: int = DAYS) -> pd.DataFrame:
    """Readings of three decimals, never whole: [times, homes]."""
    times = pd.date_range(start, pd.Timestamp(start) + pd.Timedelta(days=days), freq=freq, inclusive="left")
    values = np.random.default_rng(3).gamma(2, 0.3, (len(times), homes)).round(3) + 0.0001
    return pd.DataFrame(values, times, [f"H{number}" for number in range(1, homes + 1)])


def wide(
    table: pd.DataFrame, stamps: Callable[[pd.Timestamp], str], time: str = "time", sep: str = ","
) -> str:
    rows = (
        sep.join([stamps(at), *(f"{x:.4f}" for x in row)]) for at, row in zip(table.index, table.to_numpy())
    )
    return "\n".join([sep.join([time, *table.columns]), *rows]) + "\n"


def long(table: pd.DataFrame, cells: Callable[[str, pd.Timestamp, float], str], header: str) -> str:
    return (
        "\n".join([header, *(cells(home, at, x) for home in table for at, x in table[home].items())]) + "\n"
    )


def compare(source: Source, table: pd.DataFrame) -> None:
    found = source.block(0, len(source.entities))[:, :, 0]
    assert sorted(source.entities) == sorted(table.columns)
    order = [source.entities.index(home) for home in table]
    np.testing.assert_allclose(found[order], table.to_numpy().T, rtol=1e-6)
    assert source.meta.axis.start == str(table.index[0]).replace(" ", "T")
    assert source.meta.axis.step_seconds == int((table.index[1] - table.index[0]).total_seconds())


def refused(text: str | bytes, place: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        load_text(text, place, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def inspect(text: str, place: Path, *settings: str) -> dict[str, Suspicion]:
    (place / "a.csv").write_text(text)
    options = source_summary.parse([str(place / "a.csv"), *settings])
    found, _ = source_summary.open_leniently(options.settings, place / "work")
    return {each.name: each for each in source_summary.find_suspicions(options.settings, found)}


def open_with(place: Path, named: str) -> ingest.Series:
    """Open a.csv with settings as a shell takes them from a message."""
    options = source_summary.parse([str(place / "a.csv"), *shlex.split(named)])
    return ingest.open_source(options.settings.data, place / "again")
