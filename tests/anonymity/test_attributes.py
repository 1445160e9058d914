"""Location and scale: drawn from the group's statistics, standardised for networks, undone on output."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distgan.anonymity.attributes import draw_ratio_and_log_rms, to_location_and_scale, to_ratio_and_log_rms
from tests.helpers.groups import bank_of, household_data, make_bank_of, settings_of_bank


def test_drawn_attributes_follow_the_group_and_the_generator() -> None:
    bank = bank_of(channels=2)
    groups = np.repeat(np.arange(bank.num_groups), 4000)
    drawn = bank.draw_attributes(groups, np.random.default_rng(1))
    assert drawn.shape == (len(groups), 2, 2)
    assert drawn[..., 1].min() > 0
    third = to_ratio_and_log_rms(drawn[groups == 2])
    np.testing.assert_allclose(third.mean(0), bank.attributes_mean[2], atol=0.02)
    np.testing.assert_allclose(third.std(0), bank.attributes_std[2], rtol=0.05)
    np.testing.assert_array_equal(drawn, bank.draw_attributes(groups, np.random.default_rng(1)))


def test_a_few_drawn_locations_cover_their_distribution_evenly() -> None:
    bank = bank_of()
    groups = np.arange(60) % bank.num_groups
    for seed in range(5):
        drawn = to_ratio_and_log_rms(bank.draw_attributes(groups, np.random.default_rng(seed)))
        for group in range(bank.num_groups):
            spread = bank.attributes_std[group]
            off = np.abs(drawn[groups == group].mean(0) - bank.attributes_mean[group])
            assert (off < 0.2 * spread).all()  # of independent draws the deviation alone is spread / √10


def test_one_home_that_stood_empty_does_not_widen_its_group() -> None:
    """A home a million times smaller than the others counts as one at three deviations from the median."""
    data = household_data(n=600)
    plain = make_bank_of(data, settings_of_bank())
    data["attributes"][0] *= 1e-6
    moved = make_bank_of(data, settings_of_bank())
    np.testing.assert_allclose(moved.attributes_std, plain.attributes_std, rtol=0.25)
    np.testing.assert_allclose(moved.attributes_mean, plain.attributes_mean, atol=0.25)
    ratios = to_ratio_and_log_rms(data["attributes"])
    assert ratios[..., 1].std() > 1.15 * np.delete(ratios, 0, axis=0)[..., 1].std()  # as it was counted


def test_networks_get_location_and_scale_in_units_of_the_population() -> None:
    data = household_data(n=3000, channels=2)
    bank = make_bank_of(data, settings_of_bank())
    standardised = bank.standardise_attributes(data["attributes"])
    assert standardised.shape == (3000, 4) and standardised.dtype == np.float32
    np.testing.assert_allclose(standardised.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(standardised.std(0), 1, atol=0.1)
    given = torch.from_numpy(bank.make_conditions(np.zeros(3000, np.int64), data["attributes"]))
    np.testing.assert_allclose(bank.read_attributes(given), data["attributes"], rtol=1e-4, atol=1e-5)
    alike = bank_of(channels=1)
    one = dataclasses.replace(alike, attributes_std=0 * alike.attributes_std)
    assert np.isfinite(one.standardise_attributes(np.ones((3, 1, 2)))).all()  # a population of one size


@pytest.mark.parametrize("deviation", [0.0, 0.05, 0.6, 2.0])
def test_drawn_scales_are_gamma_with_the_mean_and_deviation_asked_for(deviation: float) -> None:
    normal = np.random.default_rng(0).standard_normal((200_000, 2))
    mean = np.broadcast_to([1.5, -2.0], normal.shape)
    asinh_ratio, log_rms = draw_ratio_and_log_rms(mean, np.full(normal.shape, deviation), normal).T
    np.testing.assert_allclose([asinh_ratio.mean(), log_rms.mean()], [1.5, -2.0], atol=0.02)
    np.testing.assert_allclose([asinh_ratio.std(), log_rms.std()], deviation, rtol=0.01, atol=0.002)
    if deviation == 0.6:
        shape, _, scale = stats.gamma.fit(np.exp(log_rms[:5000]), floc=0)
        assert stats.kstest(np.exp(log_rms), stats.gamma(shape, scale=scale).cdf).statistic < 0.02
        assert stats.skew(log_rms) < -0.3  # a normal logarithm has none


@given(level=st.floats(-1e4, 1e4), spread=st.floats(1e-2, 1e4))
def test_asinh_ratio_and_log_rms_are_undone(level: float, spread: float) -> None:
    attributes = np.array([[level, spread]])
    again = to_location_and_scale(to_ratio_and_log_rms(attributes))
    np.testing.assert_allclose(again, attributes, rtol=1e-6, atol=1e-12 + 1e-9 * abs(level))
