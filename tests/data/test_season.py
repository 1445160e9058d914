"""Location and scale of series that are measured in part, brought to those of the whole series."""

import numpy as np
import pytest
import torch

from distgan import config
from distgan.data.scaling import Scaler
from distgan.data.season import Season

LENGTH = 360


def make_homes(count: int, late: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return homes that use twice as much in the first half of the year, of which some begin in the second:
    as measured and whole, [n, L, 1] each.
    """
    rng = np.random.default_rng(seed)
    season = np.where(np.arange(LENGTH) < LENGTH // 2, 2.0, 1.0)[:, None]
    whole = rng.lognormal(0, 0.5, (count, 1, 1)) * season * rng.gamma(8, 1 / 8, (count, LENGTH, 1))
    values = whole.copy()
    values[rng.random(count) < late, : LENGTH // 2] = np.nan
    return values.astype(np.float32), whole.astype(np.float32)


def fit(values: np.ndarray) -> Scaler:
    owners = np.arange(len(values))
    return Scaler.fit([values], config.Scaling(), owners=owners).measure_season([values], owners)


def test_late_homes_count_as_whole_ones() -> None:
    values, whole = make_homes(300, 0.5)
    scaler, late = fit(values), np.isnan(values[:, 0, 0])
    truth, part = scaler.compute_attributes(whole), scaler.compute_attributes(values)
    found = scaler.complete_attributes(part, torch.from_numpy(~np.isnan(values)).float())
    assert found[~late] == pytest.approx(part[~late], rel=1e-3)
    for place in (0, 1):  # location and scale
        before, after = (np.log(each[late, 0, place] / truth[late, 0, place]) for each in (part, found))
        assert abs(after.mean()) < 0.05 < 0.3 < abs(before.mean())
        assert after.std() < 0.15


def test_restricting_undoes_completing_and_whole_series_stay() -> None:
    season = fit(make_homes(300, 0.5)[0]).season
    assert season is not None and len(season.means) == 4
    attributes = torch.rand(4, 1, 2) + 0.5
    mask = torch.ones(4, LENGTH, 1)
    mask[0, :100], mask[1, 200:], mask[2] = 0, 0, 0
    again = season.restrict(season.complete(attributes, mask), mask)
    assert torch.allclose(again, attributes, atol=1e-5)
    assert torch.allclose(season.complete(attributes, mask)[2:], attributes[2:], atol=1e-5)
    assert Season.from_dict({"means": season.means, "squares": season.squares}) == season


def test_a_scaler_keeps_its_season_in_its_file() -> None:
    scaler = fit(make_homes(300, 0.5)[0])
    assert scaler.season is not None and Scaler.from_dict(scaler.to_dict()) == scaler
    whole = fit(make_homes(300, 0.0)[0])
    assert whole.season is None and "season" not in whole.to_dict()
    assert fit(make_homes(100, 0.5)[0]).season is None  # of 50 owners or so, no two numbers for 20 each


def test_generated_parts_are_cut_at_the_bound_of_the_part() -> None:
    values, _ = make_homes(300, 0.5)
    owners = np.arange(len(values))
    bounds = config.Bounds(lower=0)
    scaler = Scaler.fit([values], config.Scaling(), bounds, owners).measure_season([values], owners)
    part = scaler.compute_attributes(values[np.isnan(values[:, 0, 0])][:1])
    mask = torch.ones(1, LENGTH, 1)
    mask[:, : LENGTH // 2] = 0
    shapes = torch.linspace(-1, 1, LENGTH)[torch.randperm(LENGTH)][None, :, None] ** 3
    whole = torch.from_numpy(scaler.complete_attributes(part, mask))
    seen = scaler.standardise(shapes, mask, whole) * mask
    lowest = scaler.restore_unbounded(seen[:, LENGTH // 2 :].numpy(), part).min()
    assert lowest == pytest.approx(0, abs=1e-4)  # 0 of the part, not of the whole


def test_a_home_with_many_whole_years_counts_as_one_home() -> None:
    values, _ = make_homes(300, 0.5)
    whole = np.flatnonzero(~np.isnan(values[:, 0, 0]))
    odd = np.where(np.arange(LENGTH) < LENGTH // 2, 1.0, 9.0)[None, :, None].astype(np.float32)
    once, often = (np.concatenate([values, np.repeat(odd, years, axis=0)]) for years in (1, 200))

    def measure(series: np.ndarray) -> np.ndarray:
        owners = np.minimum(np.arange(len(series)), len(values))  # all of the odd home's years are of one
        season = Scaler.fit([series], config.Scaling(), owners=owners).measure_season([series], owners).season
        assert season is not None
        return np.array(season.means)

    assert measure(often) == pytest.approx(measure(once), abs=1e-6)
    assert np.abs(measure(once) - measure(values)).max() < 4 / len(whole)  # one of so many homes
