"""Ranges of series: which are measured, which are released, and which are drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgan.data.lengths import OWNERS_PER_RANGE, Lengths, RangeRecorder, choose_step, measure_ranges
from distgan.data.store.metadata import Axis

YEAR, WEEK = 8760, 168
KINDS = [(0, YEAR), (4400, YEAR), (4500, YEAR), (0, 7000), (2000, 6000)]


def test_ranges_go_from_the_first_to_the_last_step_of_any_channel():
    values = np.ones((5, 10, 2), np.float32)
    values[1, :3], values[2, 7:], values[3, :4, 0], values[4] = np.nan, np.nan, np.nan, np.nan
    values[1, 5] = np.nan  # a gap inside
    assert measure_ranges(values).tolist() == [[0, 10], [3, 10], [0, 7], [0, 10], [0, 10]]


def test_ranges_are_recorded_once_whoever_walks():
    values = np.ones((6, 10, 1), np.float32)
    values[4, :2] = np.nan
    blocks = RangeRecorder([values[:3], values[3:]])
    for _ in range(2):
        assert sum(len(block) for block in blocks) == 6
    assert blocks.list_ranges()[4].tolist() == [2, 10] and len(blocks.list_ranges()) == 6
    assert len(RangeRecorder([values]).list_ranges()) == 6


@pytest.mark.parametrize(
    ("axis", "has_times", "step"),
    [
        (Axis("2013-01-01T00:00:00", 3600, YEAR), True, WEEK),
        (Axis("2013-01-01T00:00:00", 14400, 2190), True, 42),
        (Axis("2013-01-01T00:00:00", 86400, 365), True, 7),
        (Axis("2013-01-01T00:00:00", 3600, YEAR), False, 168),  # a 52nd
        (Axis("2013-01-01T00:00:00", 1, 2000), True, 38),
        (Axis("2013-01-01T00:00:00", 3600, 24), True, 1),
    ],
)
def test_the_grid_is_weeks_where_there_are_some(axis, has_times, step):
    assert choose_step(axis, has_times=has_times) == step


def measure(
    ranges: list[tuple[int, int]], owners: np.ndarray | None = None, least: int = 20
) -> Lengths | None:
    owners = np.arange(len(ranges)) if owners is None else owners
    return Lengths.measure(np.array(ranges), owners, YEAR, WEEK, least)


def test_ranges_of_enough_owners_are_stated_to_the_week_and_others_more_roughly():
    july, august = 26 * WEEK, 30 * WEEK
    late = [(july + day, YEAR) for day in range(-40, 40, 2)]  # 40 owners within half a week
    scattered = [(august + 24 * day, YEAR) for day in range(-15, 15)]  # 30 over a month
    alone = [(51 * WEEK, YEAR - 5)]
    found = measure(late + scattered + alone + [(0, YEAR)] * 129)
    assert found is not None and found.ranges[0].tolist() == [0, YEAR]
    assert found.ranges[:, 1].tolist() == [YEAR] * 3 and july in found.ranges[:, 0]
    begins = dict(zip(found.ranges[:, 0].tolist(), found.shares.tolist()))
    assert (
        begins[july] == 0.2 and 0.65 <= begins[0] <= 0.66
    )  # 129 and the one alone, and one of a month's ends
    other = next(begin for begin in begins if begin not in (0, july))
    assert (
        abs(other - august) <= 4 * WEEK
        and other % (2 * WEEK) == 0
        and begins[other] == pytest.approx(0.8 - begins[0])
    )


def test_an_owner_counts_once_however_many_series_it_has():
    ranges = [(26 * WEEK, YEAR)] * 40 + [(0, YEAR)] * 60
    one = np.concatenate([np.zeros(40, int), np.arange(1, 61)])
    assert measure(ranges, one) is None
    four = np.concatenate([np.repeat(np.arange(20), 2), np.arange(20, 80)])
    found = measure(ranges, four)
    assert found is not None and found.shares.tolist() == [0.75, 0.25]


def test_few_whole_series_count_as_the_longest_range():
    found = measure([(10 * WEEK, YEAR)] * 50 + [(30 * WEEK, YEAR)] * 50 + [(0, YEAR)] * 5)
    assert found is not None and found.ranges[:, 0].tolist() == [10 * WEEK, 30 * WEEK]
    assert found.shares.tolist() == [0.5238, 0.4762]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(-300, 300)), min_size=20, max_size=150),
    st.integers(1, 30),
    st.integers(20, 90),
    st.randoms(use_true_random=False),
)
def test_no_range_has_fewer_owners_than_the_minimum(pairs, least, people, random):
    ranges = np.array([(max(0, a + by), min(YEAR, b + by)) for (a, b), by in pairs])
    owners = np.unique([random.randrange(people) for _ in pairs], return_inverse=True)[1]
    found = Lengths.measure(ranges, owners, YEAR, WEEK, least)
    if found is None:
        return
    most = max(least, OWNERS_PER_RANGE)
    assert found.owners == most and len(np.unique(owners)) >= most
    assert (found.shares * (owners.max() + 1) >= 0).all() and found.shares.sum() == pytest.approx(1, abs=0.01)
    assert (found.ranges[:, 0] < found.ranges[:, 1]).all() and found.ranges.max() <= YEAR
    for begin, end in found.ranges[(found.ranges != (0, YEAR)).any(axis=1)].tolist():
        behind = []  # owners of series that are so far away as the grid allows, by its step
        for grid in (WEEK * 2**power for power in range(8)):
            near = np.abs(ranges - (begin, end)).max(axis=1) <= grid / 2
            behind.append(len(np.unique(owners[near])) if begin % grid == 0 == (YEAR - end) % grid else 0)
        assert max(behind) >= most


def test_draws_have_the_shares_and_follow_from_count_and_seed():
    found = measure([(26 * WEEK, YEAR)] * 40 + [(0, YEAR)] * 60)
    assert found is not None
    drawn = found.draw(50, 3)
    assert (drawn[:, 0] > 0).sum() == 20 and (drawn == found.draw(50, 3)).all()
    assert (drawn != found.draw(50, 4)).any()
    again = Lengths.from_dict(found.to_dict())
    assert (again.draw(50, 3) == drawn).all() and again.owners == 20


def test_values_outside_the_range_are_missing_and_the_others_stay():
    found = Lengths(365, 7, 20, np.array([[0, 365], [14, 365], [0, 140]]), np.array([0.5, 0.3, 0.2]))
    values = np.random.default_rng(0).random((3, 366, 2), dtype=np.float32)
    made = found.apply(values, found.ranges)
    assert not np.isnan(made[0]).any()  # the last of 366 days, too
    assert np.isnan(made[1, :14]).all() and not np.isnan(made[1, 14:]).any()
    assert np.isnan(made[2, 140:]).all() and (made[2, :140] == values[2, :140]).all()
