"""Members that were moved, warped, folded or put into a new home's series are found; honest releases pass."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from distgan.evaluation.attacks import fragments
from distgan.evaluation.attacks.attack_data import Array, AttackData, Side
from distgan.evaluation.attacks.fragments import (
    daily,
    elastic,
    evidence,
    exact,
    families,
    near,
    shifted,
    unordered,
    whitened,
    windows,
)
from distgan.evaluation.attacks.fragments.evidence import SearchResult
from distgan.evaluation.attacks.fragments.windows import Rows, collect_rows
from tests.evaluation.test_whole_series import METERS
from tests.leaks import hidden_leaks, leak_scenarios
from tests.leaks.leak_scenarios import Population

OWNERS, LENGTH, DAY = 200, 336, 24
TRIES = 500  # searches that one is the worst of

Find = Callable[[Rows], list[SearchResult]]


def judge(rows: Rows, found: Array) -> SearchResult:
    return near.judge_ratios(found, rows.side, np.random.default_rng(0))


def find_whitened(rows: Rows) -> list[SearchResult]:
    return [judge(rows, found) for _, found in whitened.find_whitened(whitened.Spectra(rows))]


def find_shifted(rows: Rows) -> list[SearchResult]:
    return [judge(rows, found) for _, found in shifted.find_shifted(whitened.Spectra(rows))]


def find_elastic(rows: Rows) -> list[SearchResult]:
    return [judge(rows, elastic.find_elastic(rows, np.random.default_rng(0))[0])]


def find_daily(rows: Rows) -> list[SearchResult]:
    return daily.find_daily(rows, np.random.default_rng(0))


def find_unordered(rows: Rows) -> list[SearchResult]:
    return [judge(rows, found) for _, found in unordered.find_unordered(rows)]


def find_half_days(rows: Rows) -> list[SearchResult]:
    return [near._search_half_days(rows, np.random.default_rng(0))]


def find_speeds(rows: Rows) -> list[SearchResult]:
    return near._search_speeds(rows, np.random.default_rng(0))[0]


def find_digits(rows: Rows) -> list[SearchResult]:
    (order,) = (family for family in families.list_families(rows) if family.name == "order")
    found = exact.search_family(rows, order, np.random.default_rng(0))
    return [each for each in found if "digits" in each.transform]


SEARCHES: dict[str, Find] = {
    "hastened by 3 %": find_elastic,
    "time warped by three hours": find_elastic,
    "moved, noise of 30 %": find_shifted,
    "half a step late, moved": find_shifted,
    "another's mean day, a day late": find_shifted,
    "hours of the day scaled, a day late": find_shifted,
    "half a new home's, a day late": find_shifted,
    "signs of every hour's own": find_whitened,
    "noisy days of random signs": find_elastic,
    "distances from the mean": find_whitened,
    "amplitudes with random phases": find_shifted,
    "on at the highest tenth": find_whitened,
    "values of each day sorted, with noise": find_daily,
    "noisy values of each day in a new home's order": find_daily,
    "daily totals in a new home": find_unordered,
    "totals of thirds of days in a new home": find_daily,
    "means over thirds of days": find_daily,
    "noisy half days of other members": find_half_days,
    "mean day, with noise": find_daily,
    "mean day, and a new home's deviations": find_daily,
    "means of two hours, twice as fast": find_speeds,
    "means of four hours, four times as fast": find_speeds,
    "every hour of the day of another member, scaled": find_unordered,
    "in the digits of a new home": find_digits,
}


@pytest.fixture(scope="module")
def attack_data() -> AttackData:
    return Population.draw(OWNERS, LENGTH, seed=5).attack_data


def leaked(attack_data: AttackData, name: str) -> AttackData:
    """The attack data with four released series of a kind."""
    made = attack_data.synthetic.copy()
    kind = {**hidden_leaks.NEAR, **hidden_leaks.NOT_FOUND}[name]
    made[:4] = kind(attack_data.members.series, 4, DAY, np.random.default_rng(0))
    return replace(attack_data, synthetic=made)


def count_sure(attack_data: AttackData, find: Find) -> float:
    rows = collect_rows(attack_data)
    sure = [evidence.measure_difference(each, rows.sizes, TRIES).sure for each in find(rows)]
    return max(sure, default=0.0)


@pytest.mark.parametrize("name", hidden_leaks.NEAR)
def test_what_hides_a_member_is_found(attack_data: AttackData, name: str) -> None:
    assert count_sure(leaked(attack_data, name), SEARCHES[name]) >= 2


@pytest.mark.parametrize("name", hidden_leaks.NOT_FOUND)
def test_kinds_that_pass_make_series(attack_data: AttackData, name: str) -> None:
    made = leaked(attack_data, name).synthetic
    assert made.shape == attack_data.synthetic.shape and made.dtype == np.float32
    assert np.isfinite(made).all() and (made[:4] != attack_data.synthetic[:4]).any(axis=(1, 2)).all()


@pytest.mark.parametrize("meters", METERS)
def test_honest_releases_of_any_meter_pass(meters: str) -> None:
    honest = METERS[meters](Population.draw(OWNERS, LENGTH, seed=1).attack_data)
    for find in dict.fromkeys(SEARCHES.values()):
        assert count_sure(honest, find) <= 0


def test_a_slow_copy_under_noise_is_found_in_some_releases(attack_data: AttackData) -> None:
    assert count_sure(leaked(attack_data, "slowed to half, with noise"), find_speeds) >= 2


def test_the_whole_search_states_what_was_searched(
    attack_data: AttackData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elastic, "PAIRS", 20 * 2 * OWNERS)
    _, groups, note = fragments.search_near(leaked(attack_data, "daily totals in a new home"))
    assert "10.0% of the series were searched for stretched ones" in note
    names = {name for name, _ in groups}
    assert names >= {"totals of days", "whitened, moved", "whitened, stretched", "half day"}


# ---------------------------------------------------------------------------------------------------- parts


def test_turned_spectra_are_those_of_turned_rows() -> None:
    rows = np.random.default_rng(0).gamma(2, 1, (3, LENGTH)).astype(np.float32)
    chosen = np.arange(LENGTH // 2)
    turns = (chosen + 1) / LENGTH
    usual = whitened.whiten(rows, chosen)
    for turn, change in (
        (whitened.delay, lambda values: np.roll(values, -1, axis=1)),
        (whitened.reverse, lambda values: values[:, ::-1]),
    ):
        expected = whitened.whiten(np.ascontiguousarray(change(rows)), chosen)
        np.testing.assert_allclose(turn(usual, turns), expected, atol=1e-3)


def test_rows_that_tell_nothing_are_no_reference() -> None:
    """Most of a grid's regions were flat: what the few others have in common was far beyond them."""
    entities = np.array([0, 0, 1, 2, 2])
    telling = np.array([False, True, False, True, True])
    compared = whitened.Compared.select(np.arange(5)[:, None], entities, telling)
    assert compared.known.tolist() == [0, 2] and compared.edges.tolist() == [0, 1]
    assert compared.entities.tolist() == [0, 2, 2] and not compared.is_enough
    flat = leak_scenarios.Population.draw(40, LENGTH, seed=1).attack_data
    few = replace(
        flat,
        members=Side.from_series(np.where(np.arange(40)[:, None, None] < 5, flat.members.series, 1)),
        non_members=Side.from_series(np.where(np.arange(40)[:, None, None] < 5, flat.non_members.series, 1)),
    )
    rows = collect_rows(few)
    assert not list(whitened.find_whitened(whitened.Spectra(rows)))
    assert not list(shifted.find_shifted(whitened.Spectra(rows)))
    assert np.isinf(elastic.find_elastic(rows, np.random.default_rng(0))[0]).all()


@pytest.mark.parametrize(("length", "count"), [(71, 0), (72, 1), (168, 5), (336, 12), (2190, 12)])
def test_parts_lie_in_the_row_at_every_lag(length: int, count: int) -> None:
    starts = elastic.place_parts(length)
    assert len(starts) == count
    if count:
        assert starts[0] >= elastic.LAG and starts[-1] + elastic.STEPS + elastic.LAG <= length


def test_days_are_averaged_and_sorted() -> None:
    rows = np.array([[3, 1, 2, 6, 5, 4, 9]], np.float32)
    assert windows.average_days(rows, 3).tolist() == [[2, 5]]
    assert daily.sort_days(rows, 3).tolist() == [[1, 2, 3, 4, 5, 6]]


def test_periods_are_averaged_over_what_is_known() -> None:
    rows = np.array([[3, 1, np.nan, 5, 1, np.nan, 9]], np.float32)
    assert daily.average_periods(rows, 3).tolist() == [[4, 1, 0]]
    assert daily.measure_step(np.array([[0, 0, 3, 1, np.nan], [2, 2, 2, 2, 2]], np.float32)).tolist() == [
        1.5,
        0,
    ]


def test_a_mean_day_of_a_switch_is_anybodys() -> None:
    """How often something was on at each hour of a week was the same in two homes by chance."""
    rows = collect_rows(METERS["switches"](Population.draw(1500, 168, seed=300).attack_data))
    made, real = (daily.average_periods(each, DAY) for each in (rows.synthetic, rows.real))
    found = [
        daily._compare(rows, (made, real), (DAY, DAY), np.random.default_rng(0), nothing)
        for nothing in (daily.NOTHING, daily.measure_resolution(rows.synthetic, made))
    ]
    assert [each.sure for each in found] == [1, 0]
