"""Midnight at the end of a day: as 24:00, as the next day's 00:00, or with the wrong date."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan.errors import UserError
from tests.helpers.tables import load_text, values

ENDS = pd.date_range("2021-03-01 01:00", periods=24 * 6, freq="h")  # of hours
READINGS = np.random.default_rng(0).gamma(2, size=len(ENDS)).round(3) + 0.001
OLD = [f"{time - pd.Timedelta('1s'):%d.%m.%Y} {time:%H:%M}" for time in ENDS]


def table(stamps: list[str], order: int = 1, ids: tuple[str, ...] = ()) -> str:
    rows = [f"{stamp};{value:.3f}" for stamp, value in zip(stamps, READINGS)][::order]
    if ids:
        rows = [f"{name};{row}" for name in ids for row in rows]
    return "\n".join(["home;time;kW" if ids else "time;kW", *rows]) + "\n"


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("ids", [(), ("a", "b")])
def test_midnight_with_the_date_of_the_day_that_ends_is_refused(
    tmp_path: Path, order: int, ids: tuple[str, ...]
) -> None:
    line = 25 if order == 1 else 2
    with pytest.raises(UserError, match=f"6 dates, the first in line {line}, .*write it as 24:00"):
        load_text(table(OLD, order, ids), tmp_path)
    for stamps in (
        [stamp.replace(" 00:", " 24:") for stamp in OLD],
        [f"{time:%d.%m.%Y %H:%M}" for time in ENDS],
    ):
        source = load_text(table(stamps, order, ids), tmp_path)
        assert source.meta.axis.start == "2021-03-01T01:00:00"
        for found in np.atleast_2d(values(source)):
            np.testing.assert_array_equal(found, READINGS.astype(np.float32))


@pytest.mark.parametrize("order", [1, -1])
def test_midnight_that_begins_a_day_is_read_in_any_order(tmp_path: Path, order: int) -> None:
    starts = [f"{time - pd.Timedelta('1h'):%d.%m.%Y %H:%M}" for time in ENDS]
    source = load_text(table(starts, order), tmp_path)
    assert source.meta.axis.start == "2021-03-01T00:00:00"
    np.testing.assert_array_equal(values(source).ravel(), READINGS.astype(np.float32))


def test_one_row_out_of_order_is_read(tmp_path: Path) -> None:
    starts = [f"{time - pd.Timedelta('1h'):%d.%m.%Y %H:%M}" for time in ENDS]
    rows = table(starts).splitlines()
    rows.insert(49, rows.pop(25))
    found = values(load_text("\n".join(rows) + "\n", tmp_path))
    np.testing.assert_array_equal(found.ravel(), READINGS.astype(np.float32))
