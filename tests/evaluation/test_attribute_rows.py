"""Rows of members in the released table of attributes are found; rows that were drawn are not."""

from dataclasses import replace

import numpy as np
import pytest

from distgan.evaluation.attacks import battery
from distgan.evaluation.attacks.attack_data import Array, AttackData, DescribedSeries, Side
from distgan.evaluation.attacks.fragments.attribute_rows import find_attribute_rows
from tests.leaks.leak_scenarios import Population

OWNERS, LENGTH = 60, 48


@pytest.fixture(scope="module")
def attack_data() -> AttackData:
    return Population.draw(OWNERS, LENGTH, seed=5).attack_data


def draw_rows(rng: np.random.Generator, count: int, step: float = 0.01) -> Array:
    return np.array([f"flat\x1f{step * round(area / step):g}" for area in rng.normal(80, 20, count)])


def judge(attack_data: AttackData, described: DescribedSeries) -> str:
    (first,) = battery.run(replace(attack_data, described=described), battery.BATTERY[:1]).attacks
    return first.outcome


@pytest.mark.parametrize("step", [0.01, 1])
def test_rows_of_members_are_over_the_limit(attack_data: AttackData, step: float) -> None:
    rng = np.random.default_rng(0)
    rows = DescribedSeries(*(draw_rows(rng, OWNERS, step) for _ in range(3)))
    assert judge(attack_data, rows) != battery.OVER
    if step < 1:
        assert judge(attack_data, replace(rows, released=rows.members[:30])) == battery.OVER
        assert judge(attack_data, replace(rows, released=rows.non_members[:30])) != battery.OVER


def test_a_row_of_several_owners_is_nobodys() -> None:
    series = np.zeros((4, 8, 1), np.float32)
    members, non_members = Side.from_series(series, np.array([0, 0, 1, 2])), Side.from_series(series)
    rows = DescribedSeries(np.array([*"aabc"]), np.array([*"cdee"]), np.array([*"abcde"]))
    attack_data = AttackData(members, non_members, series[:0], series, 24, described=rows)
    (found,) = find_attribute_rows(attack_data)
    assert found.found == (2, 1)  # a is one owner's in two series
    assert find_attribute_rows(replace(attack_data, described=None)) == []
