"""Which column is an id, a label, a flag or a total: decided by the cells, or refused with the setting."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import Raw, read
from distgan.errors import UserError

STEPS = 96
TIMES = pd.date_range("2013-01-01", periods=STEPS, freq="h")
READINGS = np.random.default_rng(0).gamma(2, size=(STEPS, 3)).round(3) + 0.001
NIGHT = np.where(TIMES.hour < 7, "low", "high")


def wide(**more: Any) -> pd.DataFrame:
    table = pd.DataFrame(READINGS, columns=["H1", "H2", "H3"])
    table.insert(0, "time", TIMES.strftime("%Y-%m-%d %H:%M"))
    return table.assign(**more)


def load(table: pd.DataFrame, place: Path, **settings: Any) -> Raw:
    table.to_csv(place / "table.csv", index=False)
    return read(config.Data.model_validate({"source": str(place / "table.csv")} | settings))


@pytest.mark.parametrize("cells", ["UK", 7, NIGHT, np.repeat([1, 2], STEPS // 2)])
@pytest.mark.parametrize("name", ["region_id", "meter", "zone"])
def test_a_label_that_is_named_like_an_id_is_refused(tmp_path: Path, name: str, cells: Any) -> None:
    table = wide(**{name: cells})
    with pytest.raises(UserError, match=rf"set data.columns.id={name}, data.columns.ignore=\[{name}\]"):
        load(table, tmp_path)
    found = load(table, tmp_path, columns={"ignore": [name]})
    assert found.entities == ["H1", "H2", "H3"]
    np.testing.assert_array_equal(found.values[:, :, 0], READINGS.T.astype(np.float32))


def test_one_entity_with_channels_is_read_by_its_id(tmp_path: Path) -> None:
    found = load(wide(meter="M1"), tmp_path, columns={"id": "meter"})
    assert found.entities == ["M1"] and found.meta.channels == ("H1", "H2", "H3")
    np.testing.assert_array_equal(found.values[0], READINGS.astype(np.float32))


def test_ids_whose_times_repeat_are_ids(tmp_path: Path) -> None:
    later = TIMES + pd.Timedelta("24h")
    both = pd.concat([wide(meter="M1"), wide(meter="M2", time=later.strftime("%Y-%m-%d %H:%M"))])
    found = load(both, tmp_path, max_missing=0.5)
    assert found.entities == ["M1", "M2"] and found.meta.channels == ("H1", "H2", "H3")


def test_counts_in_a_column_that_is_named_like_an_id_are_readings(tmp_path: Path) -> None:
    counts = np.random.default_rng(1).poisson(6, (STEPS, 3))
    table = wide().assign(H1=counts[:, 0], H2=counts[:, 1], H3=counts[:, 2])
    table.columns = pd.Index(["time", "Park", "Main Station", "Hill"])
    with pytest.raises(UserError, match=r"data.layout=wide"):
        load(table, tmp_path)
    found = load(table, tmp_path, layout="wide")
    np.testing.assert_array_equal(found.values[:, :, 0], counts.T)
