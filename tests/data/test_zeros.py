"""Exact zeros: their shares by season and part of the day, and thresholds that give generated series them."""

import numpy as np
import pytest

from distgan.data import zeros
from distgan.data.store.metadata import Axis
from distgan.data.zeros import OWNERS_PER_SHARE, ZeroGrid, ZeroShares, ZeroThresholds

DAYS, HOURS = 56, 24
AXIS = Axis("2013-01-01T00:00:00", 3600, DAYS * HOURS)


def made(owners: int = 60, seed: int = 0) -> np.ndarray:
    """Solar power of homes, longer days towards the end, and every fifth home away for ten days."""
    rng = np.random.default_rng(seed)
    hour = np.arange(HOURS) + 0.5
    reach = np.linspace(3.5, 6.5, DAYS)[:, None]  # hours from noon
    clear = np.cos(np.clip((hour - 12) / reach, -1, 1) * np.pi / 2)
    values = clear * rng.uniform(0.3, 1, (owners, DAYS, HOURS)) * rng.uniform(0.5, 2, (owners, 1, 1))
    values[::5, 20:30] = 0
    values[values < 1e-3] = 0
    return values.reshape(owners, -1, 1).astype(np.float32)


def generated(values: np.ndarray, seed: int = 1) -> np.ndarray:
    """The same with noise, as a network makes it: no value is exactly 0, half of the nights are below 0."""
    noise = np.random.default_rng(seed).normal(0, 0.03, values.shape)
    return (values + noise).astype(np.float32)


def grid(shares: int = 1000) -> ZeroGrid:
    return ZeroGrid.choose(AXIS, shares, has_days=True, has_seasons=True)


def measured(values: np.ndarray, owners: np.ndarray | None = None, cells: int = 1000) -> ZeroShares:
    owners = np.arange(len(values)) if owners is None else owners
    found = ZeroShares.measure([values[:7], values[7:]], owners, grid(cells), least=5, always=False)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("shares", "seasons", "parts"),
    [(1000, 4, 24), (50, 2, 24), (25, 1, 24), (13, 1, 12), (5, 1, 4), (1, 1, 1)],
)
def test_the_grid_is_as_fine_as_owners_and_length_allow(shares: int, seasons: int, parts: int) -> None:
    found = grid(shares)
    assert (found.seasons, found.day_parts) == (seasons, parts)
    cells = found.number_cells(AXIS.length)
    assert np.bincount(cells).size == seasons * parts and np.bincount(cells).min() > 0


def test_the_parts_of_a_day_go_by_the_clock() -> None:
    late = Axis("2013-01-01T06:00:00", 1800, 48 * DAYS)
    cells = ZeroGrid.choose(late, 24, has_days=True, has_seasons=True).number_cells(48)
    assert cells[0] == cells[1] == 6 and cells[35] == 23 and cells[36] == 0
    for alone in ({"has_days": False, "has_seasons": True}, {"has_days": True, "has_seasons": False}):
        assert ZeroGrid.choose(late, 1000, **alone).seasons == 1
    assert ZeroGrid.choose(late, 1000, has_days=False, has_seasons=False).number_cells(100).max() == 0


def test_shares_are_means_over_owners_of_what_they_measured() -> None:
    values = made()
    values[3, :500] = np.nan
    owners = np.arange(60) // 2  # two series each
    found, cells = measured(values, owners), grid().number_cells(AXIS.length)
    for cell in (0, 30, 54):
        own = [
            np.nanmean(np.where(np.isnan(v), np.nan, v == 0)[:, cells == cell]) for v in np.split(values, 30)
        ]
        assert found.shares[cell, 0] == pytest.approx(np.mean(own), abs=1e-4)
    assert ZeroShares.from_dict(found.to_dict()).to_dict() == found.to_dict()


def test_no_share_rests_on_a_few_owners() -> None:
    """One owner moves a share by 1 / n at most, and zeros of fewer than the least are not stated."""
    values = made()
    changed = values.copy()
    changed[7] = 0
    moved = np.abs(measured(changed).shares - measured(values).shares)
    assert 0 < moved.max() <= 1 / 60 + 1e-4
    rare = 1 + made()
    rare[:4] = 0  # of four owners
    assert ZeroShares.measure([rare], np.arange(60), grid(), least=5, always=True) is None
    rare[:4, 336:] = 1 + made()[:4, 336:]  # zeros in the first season only
    rare[4, :24] = 0  # a fifth, in the first season
    found = ZeroShares.measure([rare], np.arange(60), grid(), least=5, always=True)
    assert found is not None and (found.shares > 0).sum() == HOURS
    rare[4, :24], rare[4, 400:410] = 1, 0  # no cell of five, but all together
    found = ZeroShares.measure([rare], np.arange(60), grid(), least=5, always=True)
    assert found is not None and len(np.unique(found.shares)) == 1 and found.shares.min() > 0


def test_channels_without_many_zeros_are_left_alone() -> None:
    both = np.concatenate([made(), 1 + made()], axis=2)
    shares = measured(both)
    assert np.isnan(shares.shares[:, 1]).all() and not np.isnan(shares.shares[:, 0]).any()
    noisy = generated(both)
    found = ZeroThresholds.match(shares, noisy).apply(noisy)
    np.testing.assert_array_equal(found[..., 1], noisy[..., 1])


@pytest.mark.parametrize("step", [None, 0.01])
def test_generated_series_have_the_shares_of_the_real_ones(step: float | None) -> None:
    values, other = made(), made(400, seed=5)
    shares = measured(values)
    thresholds = ZeroThresholds.match(shares, generated(made(400, seed=6), seed=7))
    thresholds = ZeroThresholds.from_dict(thresholds.to_dict())
    raw = generated(other)
    found = thresholds.apply(raw, step)
    cells = shares.grid.number_cells(AXIS.length)
    for cell in range(shares.grid.seasons * shares.grid.day_parts):
        share = (found[:, cells == cell] == 0).mean()
        assert share == pytest.approx(shares.shares[cell, 0], abs=0.02)
    assert found.min() == 0 and found[found > 0].min() >= (step or 1e-9)
    assert abs(found.mean() - np.maximum(raw, 0).mean()) < 0.01
    for cell in (8, 12):  # what is larger stays larger
        order = np.argsort(raw[:, cells == cell], axis=None)
        assert (np.diff(found[:, cells == cell].ravel()[order]) >= 0).all()


def test_too_many_zeros_become_small_values() -> None:
    """What a bound would cut off at 0, twice as often as in the data, is spread above 0."""
    rng = np.random.default_rng(0)
    real = np.where(rng.random((60, AXIS.length, 1)) < 0.1, 0, rng.gamma(2, 0.1, (60, AXIS.length, 1)))
    raw = rng.normal(0.2, 0.25, (300, AXIS.length, 1)).astype(np.float32)
    assert (raw <= 0).mean() > 0.2
    found = ZeroThresholds.match(measured(real.astype(np.float32), cells=1), raw).apply(raw)
    assert (found == 0).mean() == pytest.approx(0.1, abs=0.005) and found.min() == 0
    assert np.median(found[found > 0]) > 0.1


def test_a_share_alone_identifies_nobody() -> None:
    from distgan.anonymity.group_size import compute_tracing_auc

    assert compute_tracing_auc(1, OWNERS_PER_SHARE) < 0.57


def test_shares_do_not_depend_on_how_many_owners_are_averaged_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = made()
    values[::7, 100:400] = np.nan
    whole = measured(values, np.arange(len(values)) // 2).shares
    monkeypatch.setattr(zeros, "OWNERS_AT_ONCE", 7)
    np.testing.assert_array_equal(measured(values, np.arange(len(values)) // 2).shares, whole)
