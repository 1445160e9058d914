"""Years and merged steps: what is left out, what is summed, what is missing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.commands import evaluate_files
from distgan.data.store.metadata import Axis
from distgan.errors import UserError
from tests.helpers.sources import frame, load


def test_years_leave_out_29_february_and_incomplete_years(tmp_path: Path) -> None:
    table = frame(24 * (365 + 366 + 31), 2, start="2019-01-01")
    table.to_csv(tmp_path / "a.csv")
    raw = load(tmp_path / "a.csv", cut="years")
    assert raw.values.shape == (4, 8760, 1) and raw.left_out == {"of an incomplete calendar year": 2}
    assert raw.entities == raw.owners == ["MAC000", "MAC001"] * 2  # a home's years are one home's
    leap = table.loc["2020"]
    leap = leap[~((leap.index.month == 2) & (leap.index.day == 29))]
    np.testing.assert_allclose(raw.values[2:, :, 0], leap.to_numpy().T, rtol=1e-6)
    assert raw.meta.axis == Axis("2019-01-01T00:00:00", 3600, 8760, leap_days=False)


def test_iso_years_begin_on_a_monday_and_have_52_weeks(tmp_path: Path) -> None:
    """2019 begins a day before 1 January, 2020 has a 53rd week, which is left out; 2021 is cut off."""
    table = frame(24 * (365 + 366 + 60), 2, start="2019-01-01")
    table.to_csv(tmp_path / "a.csv")
    raw = load(tmp_path / "a.csv", cut="iso_years")
    assert raw.values.shape == (4, 364 * 24, 1) and raw.left_out == {"of an incomplete ISO year": 2}
    assert raw.entities == ["MAC000", "MAC001"] * 2 and raw.meta.provenance["years"] == [2019, 2020]
    assert raw.meta.axis == Axis("2018-12-31T00:00:00", 3600, 364 * 24, leap_days=True)
    assert np.isnan(raw.values[:2, :24]).all() and not np.isnan(raw.values[:2, 24:]).any()
    later = table.loc["2019-12-30":"2020-12-27"].to_numpy().T
    np.testing.assert_allclose(raw.values[2:, :, 0], later, rtol=1e-6)


def test_iso_years_of_any_years_can_be_compared(tmp_path: Path) -> None:
    metas = []
    for name, year in (("a.csv", 2018), ("b.csv", 2021)):
        times = pd.date_range(f"{year}-01-01", f"{year + 2}-01-10", freq="6h")
        table = pd.DataFrame(
            {"time": times, "H1": np.arange(len(times)) % 28, "H2": np.arange(len(times)) % 30}
        )
        table.to_csv(tmp_path / name, index=False)
        metas.append(load(tmp_path / name, cut="iso_years").meta)
    assert metas[0].axis.start != metas[1].axis.start
    evaluate_files.refuse_unlike("a", metas[0], "b", metas[1])
    whole = [load(tmp_path / name).meta for name in ("a.csv", "b.csv")]
    with pytest.raises(UserError, match=r"has series of|has times from"):
        evaluate_files.refuse_unlike("a", whole[0], "b", whole[1])
    with pytest.raises(ValueError, match="leap_days=keep is for calendar years"):
        load(tmp_path / "a.csv", cut="iso_years", leap_days="keep")


@pytest.mark.parametrize(
    ("start", "steps", "advice"),
    [("2024-01-01", 96, "give both the same times"), ("2023-01-01", 72, "one time axis (data.axis)")],
)
def test_files_of_other_times_are_refused_with_what_to_do(
    tmp_path: Path, start: str, steps: int, advice: str
) -> None:
    frame(96, 2, start="2023-01-01").to_csv(tmp_path / "a.csv")
    frame(steps, 2, start=start).to_csv(tmp_path / "b.csv")
    metas = [load(tmp_path / name).meta for name in ("a.csv", "b.csv")]
    with pytest.raises(UserError) as refused:
        evaluate_files.refuse_unlike("a", metas[0], "b", metas[1])
    assert advice in str(refused.value)


def test_iso_years_need_times(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((3, 24 * 800)).astype(np.float32))
    with pytest.raises(
        UserError, match=r"data\.cut=iso_years needs times, and .* has none; set data\.cut=whole"
    ):
        load(tmp_path / "a.npy", cut="iso_years")


@pytest.mark.parametrize("method", ["sum", "mean"])
def test_merged_steps_are_sums_or_means_and_missing_where_a_part_is(tmp_path: Path, method: str) -> None:
    table = frame(400)
    table.iloc[6, 0] = np.nan
    table.to_csv(tmp_path / "a.csv")
    raw = load(tmp_path / "a.csv", reduce=config.Reduce(factor=4, method=method))
    merged = table.to_numpy().T.reshape(3, 100, 4)
    np.testing.assert_allclose(raw.values[:, :, 0], getattr(merged, method)(2), rtol=1e-6)
    assert np.isnan(raw.values[0, 1, 0]) and np.isnan(raw.values).sum() == 1
    assert raw.meta.axis.step_seconds == 14400 and raw.meta.reduction == {"factor": 4, "method": method}


@pytest.mark.parametrize("kind", ["wide", "long", "long, and no such rows"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_resampled_sum_with_a_missing_part_is_missing(tmp_path: Path, kind: str, channels: int) -> None:
    """Never half of it: also at the ends of an axis, and of a series that is read more seldom than others."""
    table = pd.DataFrame(
        np.arange(3.0 * 96).reshape(96, 3) % 11 + 1,
        pd.date_range("2013-01-01", periods=96, freq="30min"),
        list("abc"),
    )
    table.iloc[1::2, 2] = np.nan  # hourly
    expected = table.resample("1h").sum()
    table.iloc[[7, 20, 21], 0] = np.nan
    table = table.iloc[1:]  # the first hour is half an hour
    expected.iloc[[0, 3, 10], 0] = np.nan
    expected.iloc[0, 1:] = np.nan
    if kind == "wide":
        table.to_csv(tmp_path / "a.csv", index_label="time")
    else:
        long = table.rename_axis("time").reset_index().melt("time", var_name="home", value_name="kwh")
        long = long if kind == "long" else long.dropna()
        long = long.sample(frac=1, random_state=0)[["home", "time", "kwh"]]
        long = long.assign(heat=2 * long["kwh"]) if channels == 2 else long
        long.to_csv(tmp_path / "a.csv", index=False)
    resample = config.Resample(step="1h", method="sum")
    raw = load(tmp_path / "a.csv", layout=kind.partition(",")[0], resample=resample, max_missing=0.2)
    found = {name: raw.values[row, :, 0] for row, name in enumerate(raw.entities)}
    for name in table:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
    mean = load(
        tmp_path / "a.csv",
        layout=kind.partition(",")[0],
        resample=config.Resample(step="1h"),
        max_missing=0.2,
    )
    assert np.isnan(mean.values[mean.entities.index("a")]).sum() == raw.values.shape[2]  # the empty hour
