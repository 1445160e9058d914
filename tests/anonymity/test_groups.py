"""Groups hold enough distinct owners, and no owner carries more than the largest share."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from distgan.anonymity.bank import Bank
from distgan.anonymity.groups import (
    GroupedSeries,
    cap_weights,
    count_effective_members,
    count_effective_owners,
    merge_small_groups,
)
from distgan.anonymity.manifest import find_violations
from distgan.errors import UserError
from tests.helpers.groups import SLACK, bank_of, household_data, make_bank_of, members_of, settings_of_bank

loads_of_a_group = st.lists(
    st.one_of(st.floats(0, 1e9, allow_nan=False), st.sampled_from([0.0, 1.0, 1e-12, 1e12])),
    min_size=1,
    max_size=80,
).map(np.array)


@given(loads=loads_of_a_group, max_share=st.sampled_from([0.05, 0.15, 0.2, 1 / 3, 0.5, 1.0]))
@hypothesis_settings(max_examples=300, deadline=None)
def test_no_entity_carries_more_than_its_share(loads: np.ndarray, max_share: float) -> None:
    weights = cap_weights(loads, max_share)
    bearing = np.count_nonzero(loads > 1e-30 * loads.max())
    if weights is None:
        assert 0 < bearing < 1 / max_share + 1e-9  # too few carry a load for any weights to fit
        return
    assert weights.sum() == pytest.approx(1)
    assert weights.min() > 0
    carried = weights * loads
    assert carried.max() <= max_share * carried.sum() * SLACK


@given(loads=loads_of_a_group)
@hypothesis_settings(max_examples=100, deadline=None)
def test_weights_are_lowered_no_more_than_needed(loads: np.ndarray) -> None:
    seven = max(loads.max(), 1.0) * np.geomspace(0.01, 1, 7)  # enough for shares of .15
    loads = np.append(loads, seven)
    weights = cap_weights(loads, 0.15)
    assert weights is not None
    carried = weights * loads
    lowered = weights < weights.max() * (1 - 1e-9)
    if lowered.any():  # all who are lowered end exactly at the limit
        np.testing.assert_allclose(carried[lowered] / carried.sum(), 0.15, rtol=1e-6)
    else:
        assert loads.max() <= 0.15 * loads.sum() * (1 + 1e-6)


def test_water_filling_agrees_with_bisection() -> None:
    loads = np.random.default_rng(0).lognormal(0, 2.5, 60)
    low, high = 0.0, float(loads.max())
    for _ in range(200):
        level = (low + high) / 2
        filled = np.minimum(loads, level)
        low, high = (level, high) if level <= 0.15 * filled.sum() else (low, level)
    expected = np.minimum(1, low / loads)
    np.testing.assert_allclose(cap_weights(loads, 0.15), expected / expected.sum(), rtol=1e-9)


def test_effective_members_of_equal_weights_is_their_number() -> None:
    assert count_effective_members(np.full(50, 1 / 50)) == pytest.approx(50)
    assert count_effective_members(np.array([0.9, 0.1])) < 1.3


def test_whoever_owns_most_of_a_group_makes_it_one_of_few() -> None:
    members = members_of()
    everyone = np.arange(len(members.groups))
    counts = np.bincount(members.groups)
    assert count_effective_owners(members, members.entities) == tuple(bank_of().effective)
    rich = np.where((members.groups == 0) & (everyone % 4 > 0), -1, everyone)  # three quarters of group 0
    held, *others = count_effective_owners(members, np.unique(rich, return_inverse=True)[1])
    assert held == 1 and counts[0] > 40
    assert tuple(others) == count_effective_owners(members, members.entities)[1:]


def test_merged_groups_stay_as_they_are() -> None:
    members = members_of(groups=30, n=900)
    again = merge_small_groups(
        GroupedSeries(members.points, members.loads, members.groups, entities=members.entities),
        settings_of_bank(),
        1,
    )
    np.testing.assert_array_equal(members.groups, again.groups)
    np.testing.assert_array_equal(members.weights, again.weights)


def test_a_dominated_group_joins_its_nearest_neighbour() -> None:
    data = household_data(n=300, groups=3)
    data["points"] += np.float32(100) * (data["groups"] == 2)[:, None]
    data["loads"][data["groups"] == 1] = 0
    data["loads"][np.flatnonzero(data["groups"] == 1)[0]] = 1e6  # alone with a load: no weights can help
    bank = make_bank_of(data, settings_of_bank())
    assert sorted(bank.sizes) == sorted([np.sum(data["groups"] == 2), np.sum(data["groups"] != 2)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 20}, "20 entities are fewer than the 21"),
        ({"n": 0}, "no latents"),
    ],
)
def test_too_few_entities_are_one_clear_error(changes: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bank_of(**changes)


@given(count=st.integers(0, 10**7), seed=st.integers(0, 1000), groups=st.integers(1, 12))
@hypothesis_settings(max_examples=60, deadline=None)
def test_allocation_is_in_proportion(count: int, seed: int, groups: int) -> None:
    bank = bank_of(seed=seed % 3, groups=groups)
    given_out = bank.allocate(count)
    exact = count * bank.sizes / bank.sizes.sum()
    assert given_out.sum() == count
    assert np.all(given_out >= np.floor(exact - 1e-6))
    assert np.all(given_out <= np.ceil(exact + 1e-6))


def test_windows_are_allocated_as_there_are_windows(tmp_path: Path) -> None:
    """Of twenty weeks of each of 60 homes one is a holiday: groups of as many homes, but not of as many
    weeks.
    """
    data = household_data(n=1200) | {"groups": np.tile(np.arange(20) == 0, 60).astype(int)}
    bank = make_bank_of(data | {"entities": np.repeat(np.arange(60), 20)}, settings_of_bank())
    np.testing.assert_array_equal(bank.sizes, [60, 60])
    np.testing.assert_array_equal(bank.allocate(1000), [950, 50])
    bank.save(tmp_path / "bank")
    assert find_violations(tmp_path / "bank") == [] and Bank.load(tmp_path / "bank").shares == (0.95, 0.05)
    place = tmp_path / "bank" / "manifest.json"
    whole = place.read_text()
    for forged in ('"share": 0.5', '"share": -0.05', '"share": null'):
        place.write_text(whole.replace('"share": 0.05', forged))
        assert any("share" in text for text in find_violations(tmp_path / "bank"))


def test_allocating_as_many_as_there_are_entities_gives_the_sizes() -> None:
    bank = bank_of()
    np.testing.assert_array_equal(bank.allocate(int(bank.sizes.sum())), bank.sizes)
