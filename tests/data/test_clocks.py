"""Clocks and calendars of sources: daylight saving, offsets, leap days, fractions of a second, steps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from distgan import config
from distgan.data import cuts
from distgan.data.store.metadata import Axis
from distgan.errors import UserError
from tests.helpers.sources import load, melted, table_of_days


@pytest.mark.parametrize("kind", ["wide", "long by home", "long by time"])
@pytest.mark.parametrize(
    ("zone", "standard", "start", "freq"),
    [
        ("Europe/London", 0, "2013-10-20", "30min"),
        ("Europe/London", 0, "2013-03-24", "h"),
        ("America/New_York", -5, "2013-10-27", "h"),
    ],
)
def test_daylight_saving_is_undone(
    tmp_path: Path, small_parts: None, kind: str, zone: str, standard: int, start: str, freq: str
) -> None:
    """Weeks of local times, with an hour missing in spring or one twice in autumn."""
    table = table_of_days(500, 3, start, freq)
    local = (table.index - pd.Timedelta(hours=standard)).tz_localize("UTC").tz_convert(zone).tz_localize(None)
    written = table.set_axis(local.rename("time"))
    assert written.index.duplicated().any() == ("-10-" in start)
    if kind == "wide":
        written.to_csv(tmp_path / "a.csv")
    else:
        long = written.reset_index().melt("time", var_name="home", value_name="kwh")
        if kind == "long by time":  # in the order of true time
            long = long.iloc[np.arange(len(long)).reshape(3, -1).T.reshape(-1)]
        long[["home", "time", "kwh"]].to_csv(tmp_path / "a.csv", index=False)
    layout = "wide" if kind == "wide" else "long"
    raw = load(tmp_path / "a.csv", timezone=zone, layout=layout)
    np.testing.assert_allclose(raw.values[:, :, 0], table.to_numpy().T, rtol=1e-6)
    assert raw.meta.axis.list_times()[0] == table.index[0] and raw.meta.provenance["missing_stamps"] == 0
    assert zone in raw.meta.provenance["clock"]
    if "-10-" in start:
        with pytest.raises(UserError, match=r"data\.timezone|sort by time"):
            load(tmp_path / "a.csv", layout=layout)


def test_offsets_that_change_are_read_with_a_zone(tmp_path: Path) -> None:
    table = table_of_days(24 * 300, 2)
    table.set_axis(table.index.tz_localize("UTC").tz_convert("Europe/Berlin")).to_csv(
        tmp_path / "a.csv", index_label="time"
    )
    raw = load(tmp_path / "a.csv", timezone="Europe/Berlin")
    np.testing.assert_allclose(raw.values[:, :, 0], table.to_numpy().T, rtol=1e-6)
    assert raw.meta.axis.start == "2013-01-01T01:00:00"  # standard time of Berlin


def test_times_that_never_were_are_one_line(tmp_path: Path) -> None:
    table_of_days(24 * 300, 2).to_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"2013-03-31 01:00:00 does not exist in Europe/London"):
        load(tmp_path / "a.csv", timezone="Europe/London")
    with pytest.raises(UserError, match=r"'Europe/Lundon' is no time zone; Europe/London\?"):
        config.load(None, ["data.timezone=Europe/Lundon"])


def test_leap_days_are_kept_on_request(tmp_path: Path) -> None:
    table = table_of_days(24 * (365 + 366), 2, start="2011-01-01")
    table.to_csv(tmp_path / "a.csv")
    raw = load(tmp_path / "a.csv", cut="years", leap_days="keep")
    assert raw.values.shape == (4, 8784, 1)
    assert raw.meta.axis == Axis("2012-01-01T00:00:00", 3600, 8784, leap_days=True)
    np.testing.assert_allclose(raw.values[2:, :, 0], table.loc["2012"].to_numpy().T, rtol=1e-6)
    common = table.loc["2011"].to_numpy().T
    np.testing.assert_allclose(raw.values[:2, : 59 * 24, 0], common[:, : 59 * 24], rtol=1e-6)
    assert np.isnan(raw.values[:2, 59 * 24 : 60 * 24]).all()
    np.testing.assert_allclose(raw.values[:2, 60 * 24 :, 0], common[:, 59 * 24 :], rtol=1e-6)


@pytest.mark.parametrize("kind", ["wide", "long"])
@pytest.mark.parametrize("method", ["mean", "sum"])
def test_irregular_times_are_resampled_when_asked(
    tmp_path: Path, small_parts: None, kind: str, method: str
) -> None:
    """Uneven, unsorted and repeated stamps, with gaps."""
    rng = np.random.default_rng(0)
    minutes = rng.integers(0, 60 * 24 * 10, 3000)
    minutes[5] = minutes[6]
    times = pd.Timestamp("2013-01-01 00:07") + pd.to_timedelta(minutes, unit="min")
    table = pd.DataFrame(rng.gamma(2, size=(3000, 3)), index=times.rename("time"), columns=["a", "b", "c"])
    table.iloc[::7, 1] = np.nan
    (table if kind == "wide" else melted(table, "time").set_index("home")).to_csv(tmp_path / "a.csv")
    resample = config.Resample(step="2h", method=method)  # type: ignore[arg-type]
    raw = load(tmp_path / "a.csv", resample=resample, layout=kind, max_missing=0.5, duplicates=method)
    once = table.groupby(level=0).agg(method, **({"min_count": 1} if method == "sum" else {}))
    expected = getattr(once.resample("2h"), method)()
    counts = once.resample("2h").count()
    expected = expected.where(counts > 0)
    np.testing.assert_allclose(raw.values[:, :, 0], expected.to_numpy().T, rtol=1e-5)
    np.testing.assert_array_equal(raw.meta.axis.list_times(), expected.index.to_numpy().astype("M8[s]"))
    assert raw.meta.provenance["resampled"] == f"{method} over 2h"
    with pytest.raises(UserError):
        load(tmp_path / "a.csv", layout=kind)


@pytest.mark.parametrize("name", ["wide.csv", "long.csv", "wide.parquet", "long.parquet"])
@pytest.mark.parametrize("freq", ["500ms", "1010ms", "1500ms"])
def test_fractions_of_a_second_are_for_resampling_alone(
    tmp_path: Path, small_parts: None, name: str, freq: str
) -> None:
    """A reading belongs to the step that contains it."""
    table, path = table_of_days(300, 3, "1969-12-31 23:58", freq), tmp_path / name
    written = table if "wide" in name else melted(table, "time").set_index("home")
    written.to_csv(path) if path.suffix == ".csv" else written.to_parquet(path)
    with pytest.raises(UserError, match=r"has a fraction of a second, .* data\.resample\.step") as error:
        load(path, max_missing=0.6)
    assert "\n" not in str(error.value)
    raw = load(path, resample=config.Resample(step="3s", method="sum"))
    expected = table.resample("3s").sum()
    np.testing.assert_allclose(raw.values[:, :, 0], expected.to_numpy().T, rtol=1e-5)
    np.testing.assert_array_equal(raw.meta.axis.list_times(), expected.index.to_numpy().astype("M8[s]"))


@pytest.mark.parametrize("kind", ["wide", "long"])
def test_fractions_of_a_second_in_an_hour_that_stands_twice(
    tmp_path: Path, small_parts: None, kind: str
) -> None:
    """Readings of one second differ; only those an hour apart stand alike on the clock."""
    table = table_of_days(160, 2, "2013-10-26 23:30", "15min")
    again = table.set_axis((table.index + pd.Timedelta(milliseconds=250)).rename("time"))
    both = pd.concat([table, again]).sort_index()
    local = both.index.tz_localize("UTC").tz_convert("Europe/London").tz_localize(None)
    written = both.set_axis(local.rename("time"))
    (written if kind == "wide" else melted(written, "time").set_index("home")).to_csv(tmp_path / "a.csv")
    resample = config.Resample(step="30min", method="sum")
    raw = load(tmp_path / "a.csv", layout=kind, timezone="Europe/London", resample=resample)
    np.testing.assert_allclose(raw.values[:, :, 0], both.resample("30min").sum().to_numpy().T, rtol=1e-5)


@limits(deadline=None, max_examples=40)
@given(
    factor=st.sampled_from([2, 3, 4, 6]),
    method=st.sampled_from(["sum", "mean"]),
    rows=st.integers(1, 5),
    channels=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_merged_steps_are_numpys(factor: int, method: str, rows: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 24, channels)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    merged = cuts.reduce_steps(values, config.Reduce(factor=factor, method=method))  # type: ignore[arg-type]
    parts = values.astype(np.float64).reshape(rows, 24 // factor, factor, channels)
    np.testing.assert_allclose(merged, getattr(np, method)(parts, axis=2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [288, 3], ids=["one part", "a stamp a part"])
def test_half_of_an_hour_is_no_hour_however_a_table_is_cut(tmp_path: Path, rows: int) -> None:
    table = table_of_days(48, 3, freq="30min")
    long = melted(table, "time")
    long = long.sort_values("time", kind="stable").drop(index=long.index[long["time"] == table.index[7]][0])
    long.to_parquet(tmp_path / "a.parquet", row_group_size=rows)
    raw = load(tmp_path / "a.parquet", resample=config.Resample(step="1h", method="sum"), max_missing=0.5)
    assert np.flatnonzero(np.isnan(raw.values).any(axis=(0, 2))).tolist() == [3]
    assert np.isnan(raw.values).sum() == 1
