"""The minimum group size keeps membership inference on released means below its limit."""

import numpy as np
import pytest

from distgan.anonymity.group_size import count_released_numbers, minimum_group_size, tracing_auc
from tests.helpers.groups import bank_of, settings_of_bank


@pytest.mark.parametrize(("released", "members"), [(12, 41), (16, 54), (128, 432), (2, 15)])
def test_minimum_group_size_is_the_smallest_that_keeps_tracing_below_its_limit(
    released: int, members: int
) -> None:
    settings = settings_of_bank()
    assert minimum_group_size(settings, released) == members
    assert tracing_auc(released, members) <= settings.max_tracing_auc
    if members > settings.min_members:
        assert tracing_auc(released, members - 1) > settings.max_tracing_auc


def test_minimum_group_size_is_never_below_min_members() -> None:
    assert minimum_group_size(settings_of_bank(min_members=100), 12) == 100
    assert minimum_group_size(settings_of_bank(max_tracing_auc=0.999), 12) == 15


def test_released_numbers_count_the_condition_and_the_attributes() -> None:
    assert count_released_numbers(8, 1) == 12
    assert bank_of(channels=3).released == 2 + 4 * 3


@pytest.mark.parametrize(("released", "members"), [(4, 15), (16, 15), (16, 125), (64, 30)])
def test_a_simulated_attack_succeeds_as_the_formula_says(released: int, members: int) -> None:
    """One target a trial: in the mean or not, scored by its inner product with the released mean."""
    rng = np.random.default_rng(0)
    trials = 4000
    others = rng.standard_normal((trials, released)) * np.sqrt((members - 1) / members**2)
    target, stranger = rng.standard_normal((2, trials, released))
    released_mean = others + target / members
    inside = np.sum(target * released_mean, axis=1)
    outside = np.sum(stranger * released_mean, axis=1)
    success = np.mean(inside[:, None] > outside[None, :])
    assert success == pytest.approx(tracing_auc(released, members), abs=0.03)
