"""Fragments of members' readings are found in every disguise; honest releases, coarse ones too, pass."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from distgan.evaluation.attacks import fragments, rates
from distgan.evaluation.attacks.attack_data import AttackData, Side
from distgan.evaluation.attacks.fragments import evidence, hashes
from distgan.evaluation.attacks.fragments.near import count_sure, judge_ratios
from distgan.evaluation.attacks.fragments.points import make_points
from distgan.evaluation.attacks.fragments.surprise import Surprise
from distgan.evaluation.attacks.fragments.windows import collect_rows, list_window_lengths
from distgan.evaluation.attacks.rates import IntervalEstimate
from tests.leaks import fragment_leaks, leak_scenarios
from tests.leaks.leak_scenarios import Population

OWNERS, LENGTH, DAY = 200, 336, 24
Attack = Callable[[AttackData], tuple[IntervalEstimate, list[tuple[str, IntervalEstimate]], str]]


@pytest.fixture(scope="module")
def attack_data() -> AttackData:
    return Population.draw(OWNERS, LENGTH, seed=5).attack_data


def leaked(attack_data: AttackData, kind: fragment_leaks.Kind, count: int = 4) -> AttackData:
    """The attack data with so many released series of a kind."""
    made = attack_data.synthetic.copy()
    made[:count] = kind(attack_data.members.series, count, DAY, np.random.default_rng(0))
    return replace(attack_data, synthetic=made)


def surely(attack: Attack, attack_data: AttackData) -> float:
    measured, groups, _ = attack(attack_data)
    return max([measured.sure, *(each.sure for _, each in groups)])


# --------------------------------------------------------------------------------------- what must be found


@pytest.mark.parametrize("kind", fragment_leaks.EXACT)
def test_values_that_stand_in_the_release_are_found(attack_data: AttackData, kind: str) -> None:
    """Four released series of 200."""
    assert surely(fragments.search_exact, leaked(attack_data, fragment_leaks.EXACT[kind])) >= 1


QUICK = ("scaled noisy days of other members", "noisy logarithms", "low-pass of a quarter of a day")


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in fragment_leaks.NEAR],
)
def test_near_copies_are_found(attack_data: AttackData, kind: str) -> None:
    assert surely(fragments.search_near, leaked(attack_data, fragment_leaks.NEAR[kind])) >= 1


@pytest.mark.parametrize("kind", ["copies", "days of other members", "reversed", "ranks"])
def test_one_series_of_hundreds_is_enough(attack_data: AttackData, kind: str) -> None:
    assert surely(fragments.search_exact, leaked(attack_data, fragment_leaks.EXACT[kind], 1)) >= 1


def test_one_day_is_enough(attack_data: AttackData) -> None:
    """A single member's 24 hours stand once in all the release, at another hour."""
    made = attack_data.synthetic.copy()
    made[7, 101:125] = attack_data.members.series[3, 50:74]
    measured, _, note = fragments.search_exact(replace(attack_data, synthetic=made))
    assert measured.sure == measured.value == 1 and "1 members and 0 non-members" in note


def test_rounded_days_are_found_in_a_channel_of_small_numbers() -> None:
    """Beside a channel whose readings are ten thousand times as large, which has grids of its own."""
    parts = [Population.draw(60, 96, seed).attack_data for seed in (5, 6)]

    def join(series: Callable[[AttackData], np.ndarray]) -> np.ndarray:
        return np.concatenate([1e4 * series(parts[0]), series(parts[1])], axis=2)

    members = join(lambda part: part.members.series)
    sides = Side.from_series(members), Side.from_series(join(lambda part: part.non_members.series))
    made = join(lambda part: part.synthetic)
    both = replace(parts[0], members=sides[0], non_members=sides[1], synthetic=made)
    assert fragments.search_exact(both)[0].sure == 0
    for row in range(4):
        made[row, 20:44, 1] = np.round(members[row, 40:64, 1], 1)
    assert fragments.search_exact(replace(both, synthetic=made))[0].sure >= 3


def test_one_channel_is_enough(attack_data: AttackData) -> None:
    """Also where it stands in another channel."""
    wide = [
        np.concatenate([side, side[::-1]], axis=2)
        for side in (attack_data.members.series, attack_data.non_members.series, attack_data.synthetic)
    ]
    made = wide[2].copy()
    made[0, :48, 1] = attack_data.members.series[9, 60:108, 0]
    two = AttackData(Side.from_series(wide[0]), Side.from_series(wide[1]), wide[1][:0], made, DAY)
    assert fragments.search_exact(two)[0].sure == 1


# ----------------------------------------------------------------------------------- what must not be found


def test_honest_series_are_no_copies(attack_data: AttackData) -> None:
    for attack in (fragments.search_exact, fragments.search_near):
        assert surely(attack, attack_data) <= 0


def test_honest_meters_pass_and_their_copies_do_not(attack_data: AttackData) -> None:
    coarse = leak_scenarios.read_by_coarse_meters(attack_data)
    for attack in (fragments.search_exact, fragments.search_near):
        assert surely(attack, coarse) <= 0
    assert (
        surely(fragments.search_exact, leaked(coarse, fragment_leaks.EXACT["days of other members"], 1)) >= 1
    )


def test_ranks_of_weeks_with_empty_days_are_not_compared() -> None:
    """Which days of a week are empty is nearly all that its ranks show, and others share it by chance."""
    rng = np.random.default_rng(0)
    full = rng.gamma(2, 1, (30, 7 * DAY)).astype(np.float32)
    empty = full.copy()
    empty[:, : 2 * DAY] = 0
    made = {rank: make_points(empty, 7 * DAY, DAY, rank=rank, most=1000, rng=rng) for rank in (False, True)}
    assert len(made[False].rows) >= 30 and len(made[True].rows) == 0
    assert len(make_points(full, 7 * DAY, DAY, rank=True, most=1000, rng=rng).rows) >= 30


def test_a_run_of_one_code_tells_nothing_whatever_others_do() -> None:
    """Half of the rows are all zeros and half are seldom zero twice: over all, zeros that stay are rarer than
    in a quiet row, so a month of them is no proof.
    """
    rng = np.random.default_rng(0)
    quiet, busy = np.zeros((40, 2000)), rng.poisson(0.7, (40, 2000))
    numbers = np.concatenate([quiet, busy])
    codes = numbers.astype(np.uint64)
    model = Surprise(codes, numbers)
    assert model.compute_bits(codes[:1, :730], numbers[:1, :730]).sum() < 5
    assert model.compute_bits(codes[-1:, :730], numbers[-1:, :730]).sum() > 200


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_a_release_of_one_value_copies_nobody(attack_data: AttackData, value: float) -> None:
    """Half of the real homes have empty weeks, too."""
    emptied = [side.series.copy() for side in (attack_data.members, attack_data.non_members)]
    for series in emptied:
        series[::2, :168] = value
    flat = np.full_like(attack_data.synthetic, value)
    bare = replace(
        attack_data,
        members=Side.from_series(emptied[0]),
        non_members=Side.from_series(emptied[1]),
        synthetic=flat,
    )
    assert (
        fragments.search_exact(bare)[0]
        == fragments.search_near(bare)[0]
        == IntervalEstimate(0, 0, 0, 0, OWNERS)
    )


def test_patterns_that_non_members_have_too_tell_nothing(attack_data: AttackData) -> None:
    """A week of one profile, value for value, in every tenth home of both sides and in the release."""
    profile = attack_data.reference[0, :168]
    sides = [side.series.copy() for side in (attack_data.members, attack_data.non_members)]
    for series in sides:
        series[::10, :168] = profile
    made = attack_data.synthetic.copy()
    made[:5, 50:218] = profile
    same = replace(
        attack_data,
        members=Side.from_series(sides[0]),
        non_members=Side.from_series(sides[1]),
        synthetic=made,
    )
    for attack in (fragments.search_exact, fragments.search_near):
        assert surely(attack, same) <= 0


def test_the_sides_are_judged_alike(attack_data: AttackData) -> None:
    """Copies of as many non-members excuse members'; of non-members alone they are none of members."""
    made = attack_data.synthetic.copy()
    made[:8] = attack_data.non_members.series[:8]
    for attack in (fragments.search_exact, fragments.search_near):
        assert surely(attack, replace(attack_data, synthetic=made)) <= 0
    made[8:16] = attack_data.members.series[:8]
    assert surely(fragments.search_exact, replace(attack_data, synthetic=made)) <= 0


def test_an_owner_counts_once_and_a_double_is_no_other_owner(attack_data: AttackData) -> None:
    """One home under two ids is one entity, and its copy is not excused by its double."""
    members = attack_data.members.series.copy()
    members[1] = members[0]
    made = attack_data.synthetic.copy()
    made[:3] = members[0]
    double = replace(attack_data, members=replace(attack_data.members, series=members), synthetic=made)
    assert collect_rows(double).sizes == (OWNERS - 1, OWNERS)
    assert fragments.search_exact(double)[0].sure == 1
    assert surely(fragments.search_near, double) >= 1


# ---------------------------------------------------------------------------------------------------- parts


def test_fingerprints_are_equal_where_windows_are() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 3, (5, 60)).astype(np.float32)
    codes = hashes.encode_bits(rows)
    found = hashes.hash_steps(hashes.mix(codes), 7)
    windows = np.lib.stride_tricks.sliding_window_view(rows, 7, axis=1).reshape(-1, 7)
    keys = found.reshape(-1)
    same = (windows[:, None] == windows[None]).all(axis=2)
    assert found.shape == (5, 54) and same.sum() > len(keys)
    assert ((keys[:, None] == keys[None]) == same).all()


def test_orders_are_the_same_under_increasing_maps_only() -> None:
    rows = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    codes = hashes.encode_order(rows)
    assert (hashes.encode_order(np.exp(rows)) == codes).all()
    assert (hashes.encode_order(-rows) != codes).all()


def test_lengths_go_from_a_day_to_the_whole() -> None:
    assert list(list_window_lengths(8760, 24).values()) == [24, 84, 168, 730, 2190, 4380, 8760]
    assert list(list_window_lengths(2190, 6).values()) == [6, 21, 42, 182, 548 - 1, 1095, 2190]
    assert list(list_window_lengths(96, 96).values()) == [24, 48, 96]


def test_the_difference_has_an_exact_interval() -> None:
    """Sixteen of sixteen, by lot, is one in 65,536; the interval of 10 against 10 holds 0."""
    look = evidence.SearchResult("", "", (16, 0))
    assert evidence.measure_difference(look, (100, 100), 1).sure > 0
    assert evidence.measure_difference(look, (100, 100), 1000).sure <= 0
    even = evidence.measure_difference(evidence.SearchResult("", "", (10, 10)), (100, 100), 1)
    assert even.low < 0 == even.value < even.high
    unequal = evidence.measure_difference(evidence.SearchResult("", "", (30, 10)), (300, 100), 1)
    assert unequal.value == pytest.approx(0) and unequal.low < 0 < unequal.high


def test_members_who_are_sure_one_by_one_count_whatever_chance_found_beside_them() -> None:
    found = evidence.measure_difference(evidence.SearchResult("", "", (3, 4), sure=2), (100, 100), 10)
    assert (found.value, found.low, found.sure) == (
        2,
        2,
        2,
    ) and found.high > 4  # not -1, outside its interval


def test_false_alarms_of_the_difference_are_as_rare_as_said() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.binomial(40, 0.5, 100_000)
    found = [evidence.SearchResult("", "", (int(hits), 40 - int(hits))) for hits in np.unique(drawn)]
    alarms = [evidence.measure_difference(each, (1, 1), 1).sure > 0 for each in found]
    rate = np.array(alarms)[np.unique(drawn, return_inverse=True)[1]].mean()
    assert rate <= evidence.FALSE_ALARMS


def test_equal_ratios_favour_nobody() -> None:
    """All as near, or nobody nearer to one than to another: sides fall as they would by lot."""
    rng, side = np.random.default_rng(0), np.repeat([0, 1], 500)
    look = judge_ratios(np.full(1000, 0.5), side, rng)
    assert evidence.measure_difference(look, (500, 500), 6).sure <= 0
    assert judge_ratios(np.ones(1000), side, rng).found == (0, 0)


def test_a_power_law_is_no_proof_of_copies() -> None:
    """Ratios of both sides from one heavy-tailed law: hardly ever sure; one far below all is."""
    rng = np.random.default_rng(0)
    draws = rng.random((200, 2, 300)) ** 0.25
    assert sum(count_sure(members, others, 300) for members, others in draws) == 0
    assert count_sure(np.append(draws[0, 0], 1e-4), draws[0, 1], 301) == 1


def test_a_few_that_lie_farther_out_on_both_sides_are_no_copies() -> None:
    """One in 200 windows of coarse meters is nearly repeated by chance; the bulk follows a steep law."""
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(100):
        draws = rng.random((2, 2500)) ** (1 / 13)
        odd = rng.random((2, 2500)) < 0.005
        draws[odd] *= rng.uniform(0.3, 1, odd.sum())
        alarms.append(count_sure(*draws, 2500))
    assert sum(map(bool, alarms)) <= 1
    planted = np.append(draws[0], [0.05, 0.05, 0.05])
    assert count_sure(planted, draws[1], 2503) >= 3


# --------------------------------------------------------------------------------- ties and exact intervals


def test_scores_that_say_nothing_prove_no_epsilon() -> None:
    """Ties were in the members' favour once: ε of 5.4 for nothing."""
    proved = [
        rates.audit_epsilon(
            np.zeros(1000), np.zeros(1000), 1e-6, (30, 100, 300, 1000), 0.05, np.random.default_rng(seed)
        )
        for seed in range(20)
    ]
    assert np.median(proved) == 0 and max(proved) < 1
    assert rates.audit_epsilon(np.ones(1000), np.zeros(1000), 1e-6, (30, 100, 300, 1000), 0.05) > 5


def test_ties_are_found_as_often_as_false_alarms_are_made() -> None:
    found = rates.estimate_hits(np.zeros(2000), np.zeros(2000), 0.05)
    assert found.value == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(("hits", "control"), [(0, 0), (0, 50), (100, 0), (100, 50), (50, 0), (100, 99)])
def test_residual_risks_have_an_interval_at_the_ends(hits: int, control: int) -> None:
    found = rates.estimate_residual_risk(hits, 100, control, 100)
    assert found.sure <= found.low <= found.value <= found.high
    assert found.high - found.low > 0.01 or (hits, control) == (0, 50)


def test_residual_risks_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    for success, control in ((0.01, 0.0), (0.3, 0.2), (0.99, 0.5), (0.08, 0.01)):
        truth = (success - control) / (1 - control)
        drawn = zip(rng.binomial(150, success, 300).tolist(), rng.binomial(150, control, 300).tolist())
        found = [rates.estimate_residual_risk(hit, 150, other, 150) for hit, other in drawn]
        assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.93
