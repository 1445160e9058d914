"""Tables of homes, and what is read from them."""

from pathlib import Path

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.ingest import Raw, read


def load(source: Path | str, **settings: object) -> Raw:
    return read(config.Data(source=str(source), **settings))  # type: ignore[arg-type]


def frame(hours: int = 48, homes: int = 3, start: str = "2013-01-01") -> pd.DataFrame:
    rng = np.random.default_rng(0)
    times = pd.date_range(start, periods=hours, freq="h", name="time")
    values = rng.gamma(2, size=(hours, homes)).round(3)
    return pd.DataFrame(values, index=times, columns=[f"MAC{i:03d}" for i in range(homes)])


def expect(raw: Raw, table: pd.DataFrame) -> None:
    assert raw.entities == raw.owners == list(table.columns)
    assert raw.values.dtype == np.float32 and raw.values.shape == (table.shape[1], len(table), 1)
    np.testing.assert_allclose(raw.values[:, :, 0], table.to_numpy().T, rtol=1e-6)
    np.testing.assert_array_equal(raw.meta.axis.list_times(), table.index.to_numpy().astype("M8[s]"))


def melted(table: pd.DataFrame, by: str = "home") -> pd.DataFrame:
    long = table.reset_index().melt("time", var_name="home", value_name="kwh")[["home", "time", "kwh"]]
    return long.sort_values(by, kind="stable")


def table_of_days(
    hours: int = 24 * 20, homes: int = 5, start: str = "2013-01-01", freq: str = "h"
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    times = pd.date_range(start, periods=hours, freq=freq, name="time")
    values = rng.gamma(2, size=(hours, homes)).round(3)
    return pd.DataFrame(values, index=times, columns=[f"{home:03d}" for home in range(homes)])
