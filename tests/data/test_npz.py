"""What an NPZ file says beside its values is read, or refused; nothing that changes them is passed over."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distgan import config
from distgan.data.ingest import Raw, read
from distgan.errors import UserError

VALUES = np.random.default_rng(0).gamma(2, size=(3, 48, 1)).astype(np.float32)


def load(place: Path, arrays: dict[str, Any], **settings: Any) -> Raw:
    np.savez(place / "a.npz", **({"x": VALUES} | arrays))
    return read(config.Data.model_validate({"source": str(place / "a.npz")} | settings))


@pytest.mark.parametrize(
    ("first", "start", "clock"),
    [
        (np.datetime64("2013-01-01T06", "h"), "2013-01-01T06:00:00", "as in the source"),
        (np.datetime64("2013-01-01T06:30", "ns"), "2013-01-01T06:30:00", "as in the source"),
        ("2013-01-01T06 UTC", "2013-01-01T06:00:00", "UTC"),
        ("2013-01-01T06:00-05:00", "2013-01-01T06:00:00", "-05:00"),
        ("2013-01-01T06:00:00 local (Asia/Shanghai)", "2013-01-01T06:00:00", "local (Asia/Shanghai)"),
    ],
)
def test_the_first_time_is_read_whole(tmp_path: Path, first: Any, start: str, clock: str) -> None:
    meta = load(tmp_path, {"freq": "1h", "t0": first}).meta
    assert (meta.axis.start, meta.provenance["clock"]) == (start, clock)


@pytest.mark.parametrize(
    "first",
    [1356998400, "20130101", "2013-01-01 1:30", "2013-01-01T00:00:00.5", "2013-02-30", "2013-01-01T24:00"],
)
def test_a_first_time_in_another_form_is_refused(tmp_path: Path, first: Any) -> None:
    with pytest.raises(UserError, match="is not a time; write 2013-01-01T00:00:00"):
        load(tmp_path, {"freq": "1h", "t0": first})


@pytest.mark.parametrize(
    ("first", "start"),
    [
        ("2013-06-01T00:00:00+00:00", "2013-05-31T19:00:00"),
        ("2013-06-01T00:00Z", "2013-05-31T19:00:00"),
        ("2013-06-01T00:00+02:00", "2013-05-31T17:00:00"),
        ("2013-06-01T00:00", "2013-06-01T00:00:00"),  # of an unknown clock, which has even steps
    ],
)
def test_times_with_offsets_become_the_standard_time_of_the_zone(
    tmp_path: Path, first: str, start: str
) -> None:
    found = load(tmp_path, {"freq": "1h", "t0": first}, timezone="America/New_York")
    assert found.meta.axis.start == start
    np.testing.assert_array_equal(found.values, VALUES)


@pytest.mark.parametrize("name", ["time", "timestamps"])
def test_an_array_of_times_is_not_passed_over(tmp_path: Path, name: str) -> None:
    times = np.datetime64("2013-01-01T00:00:00") + np.arange(48) * np.timedelta64(3600, "s")
    with pytest.raises(UserError, match=f"array '{name}' seems to hold the times of x"):
        load(tmp_path, {name: times})
    assert load(tmp_path, {name: times, "freq": "1h", "t0": times[0]}).meta.axis.start[:4] == "2013"
    assert load(tmp_path, {name: times}, columns={"ignore": [name]}).meta.is_nominal


@pytest.mark.parametrize("name", ["length", "lengths"])
def test_values_beyond_the_lengths_of_series_are_refused(tmp_path: Path, name: str) -> None:
    padded, ends = VALUES.copy(), np.array([48, 46, 48])
    padded[1, 46:] = 0
    with pytest.raises(UserError, match=f"array '{name}' says where series end, and x holds values beyond"):
        load(tmp_path, {"x": padded, name: ends})
    with pytest.raises(UserError, match=f"array '{name}' holds no lengths of the 3 series of 48 steps"):
        load(tmp_path, {"x": padded, name: ends[:2]})
    padded[1, 46:] = np.nan
    np.testing.assert_array_equal(load(tmp_path, {"x": padded, name: ends}).values, padded)


@pytest.mark.parametrize("freq", ["1h", "1d"])
def test_channels_that_may_be_the_hours_of_days_are_refused(tmp_path: Path, freq: str) -> None:
    days = np.random.default_rng(0).gamma(2, size=(3, 14, 24))
    with pytest.raises(UserError, match=r"24 channels without names may be the parts of a day"):
        load(tmp_path, {"x": days, "freq": freq})
    names = [f"sensor {number}" for number in range(24)]
    assert load(tmp_path, {"x": days, "freq": freq, "channels": names}).meta.channels == tuple(names)
    found = load(tmp_path, {"x": days.reshape(3, -1), "freq": "1h"})
    np.testing.assert_array_equal(found.values[:, :, 0], days.reshape(3, -1).astype(np.float32))
