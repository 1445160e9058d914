"""Whole series that were mixed, filtered or put in another order are found; honest ones of any meter pass."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import rankdata

from distgan.evaluation.attacks import battery, features, fragments
from distgan.evaluation.attacks.attack_data import Array, AttackData, Side
from distgan.evaluation.attacks.fragments import evidence, near, unordered, whitened
from distgan.evaluation.attacks.fragments.points import make_points
from distgan.evaluation.attacks.fragments.windows import Rows, collect_rows
from tests.leaks import fragment_leaks, leak_scenarios
from tests.leaks.leak_scenarios import Population

OWNERS, LENGTH, DAY = 200, 336, 24
UNORDERED = [
    "every third value replaced",
    "three members by turn",
    "four hours of six members by turn",
    "hours of a day in another order",
    "hours of other days",
    "scaled half days of other members",
]
WHITENED = [
    "four fifths of one member, one of another",
    "product of two members",
    "another's mean day",
    "another's amplitudes",
    "with a daily wave",
    "second differences",
    "differences over a day",
    "counters of a day",
    "noise of 30 % of every value",
]
KINDS = {**fragment_leaks.EXACT, **fragment_leaks.NEAR}


@pytest.fixture(scope="module")
def attack_data() -> AttackData:
    return Population.draw(OWNERS, LENGTH, seed=5).attack_data


def leaked(attack_data: AttackData, name: str) -> AttackData:
    """The attack data with four released series of a kind."""
    made = attack_data.synthetic.copy()
    made[:4] = KINDS[name](attack_data.members.series, 4, DAY, np.random.default_rng(0))
    return replace(attack_data, synthetic=made)


def find_whitened(rows: Rows) -> list[tuple[str, Array]]:
    return list(whitened.find_whitened(whitened.Spectra(rows)))


def count_sure(attack_data: AttackData, find: Callable[..., object]) -> float:
    """The most that a search proves, where it is one of 500."""
    rows = collect_rows(attack_data)
    looks = [near.judge_ratios(found, rows.side, np.random.default_rng(0)) for _, found in find(rows)]
    return max(evidence.measure_difference(look, rows.sizes, 500).sure for look in looks)


@pytest.mark.parametrize("name", UNORDERED)
def test_values_in_any_order_are_found(attack_data: AttackData, name: str) -> None:
    assert count_sure(leaked(attack_data, name), unordered.find_unordered) >= 3


@pytest.mark.parametrize("name", WHITENED)
def test_what_is_added_or_filtered_hides_no_member(attack_data: AttackData, name: str) -> None:
    assert count_sure(leaked(attack_data, name), find_whitened) >= 2


def test_blocks_are_found_in_the_readings_of_coarse_meters(attack_data: AttackData) -> None:
    """Single values are everybody's there; three in a row are not."""
    coarse = leak_scenarios.read_by_coarse_meters(attack_data)
    assert count_sure(leaked(coarse, "four hours of six members by turn"), unordered.find_unordered) >= 3
    rows = collect_rows(leaked(coarse, "hours of a day in another order"))
    assert not unordered.count_common(rows, unordered.Piece(1)).any()


def round_to(step: float) -> Callable[[Array], Array]:
    return lambda values: (np.round(values / step) * step).astype(np.float32)


def keep_peaks(values: Array) -> Array:
    return np.where(values > np.quantile(values, 0.9, axis=1, keepdims=True), np.round(values, 1), 0)


def share_weather(values: Array) -> Array:
    """All of one sky, with a little of their own."""
    time = np.arange(values.shape[1])
    sky = np.random.default_rng(7).gamma(2, 0.5, values.shape[1])
    shine = np.maximum(np.sin(2 * np.pi * (time % DAY - 6) / DAY), 0) * sky
    return round_to(0.001)(shine[None, :, None] * (1 + 0.05 * values))


METERS: dict[str, Callable[[AttackData], AttackData]] = {
    "floats": lambda data: data,
    "coarse": leak_scenarios.read_by_coarse_meters,
    "integers": lambda data: leak_scenarios.map_series(data, round_to(1)),
    "ten thousandths": lambda data: leak_scenarios.map_series(data, round_to(1e-4)),
    "few peaks": lambda data: leak_scenarios.map_series(data, keep_peaks),
    "switches": lambda data: leak_scenarios.map_series(
        data, lambda x: (x > np.median(x, 1, keepdims=True)) * np.float32(1)
    ),
    "weather": lambda data: leak_scenarios.map_series(data, share_weather),
}


@pytest.mark.parametrize("meters", METERS)
def test_honest_releases_of_any_meter_pass(meters: str) -> None:
    for seed in range(2):
        honest = METERS[meters](Population.draw(OWNERS, LENGTH, seed=seed).attack_data)
        assert count_sure(honest, unordered.find_unordered) <= 0
        assert count_sure(honest, find_whitened) <= 0


# ---------------------------------------------------------------------------------------------------- parts


def test_normal_scores_are_those_of_mean_ranks() -> None:
    values = np.random.default_rng(0).integers(0, 9, (5, 40)).astype(np.float32)
    expected = ndtri((rankdata(values, axis=1) - 0.5) / 40)
    np.testing.assert_allclose(whitened.to_normal_scores(values), expected, rtol=1e-5, atol=1e-6)
    assert (whitened.to_normal_scores(np.exp(values)) == whitened.to_normal_scores(values)).all()


def test_a_home_with_one_evening_tells_nothing() -> None:
    """Another that is empty but for an evening would be like it by chance."""
    rows = np.zeros((2, LENGTH), np.float32)
    rows[0, 100:104] = [2, 5, 3, 1]
    rows[1] = np.random.default_rng(0).gamma(2, 1, LENGTH)
    telling = np.abs(whitened.whiten(rows, np.arange(100))).any(axis=1)
    assert telling.tolist() == [False, True]


def test_a_mean_of_four_shows_each_and_noise_shows_none() -> None:
    rng = np.random.default_rng(0)
    real = whitened.to_unit(rng.standard_normal((300, 256)) + 1j * rng.standard_normal((300, 256)))
    made = real[:4].mean(axis=0, keepdims=True)
    ratios = whitened.compare(made / np.linalg.norm(made), real, np.arange(300))
    assert (ratios[:4] < 0.1).all() and (ratios[4:] > 0.5).all()


def test_codes_in_common_count_once() -> None:
    """Rows 0 and 1 are two members; the release has three values of the first, one of them twice."""
    real = np.arange(1, 65, dtype=np.float32).reshape(4, 16, 1)
    made = np.full((1, 16, 1), 900, np.float32)
    made[0, [1, 5, 7, 11], 0] = [3, 9, 3, -16]  # whatever their sign
    data = AttackData(Side.from_series(real[:2]), Side.from_series(real[2:]), real[:0], made, 8)
    assert unordered.count_common(collect_rows(data), unordered.Piece(1)).tolist() == [3, 0, 0, 0]


def test_a_channel_that_all_share_makes_nobody_one() -> None:
    """With the town's temperature as a channel all owners were one entity, and every copy passed."""
    attack_data = Population.draw(40, LENGTH, seed=5).attack_data
    town = np.random.default_rng(1).standard_normal((1, LENGTH, 1)).cumsum(axis=1).astype(np.float32)

    def add_town(values: Array) -> Array:
        return np.concatenate([values, np.broadcast_to(town, values.shape)], axis=2)

    copies = leak_scenarios.map_series(leaked(attack_data, "copies"), add_town)
    assert collect_rows(copies).sizes == (40, 40)
    measured, _, _ = fragments.search_exact(copies)
    assert measured is not None and measured.sure == 4
    gaps = copies.members.series.copy()
    gaps[:, 7, 0] = np.nan
    gappy = replace(copies, members=replace(copies.members, series=gaps))
    assert collect_rows(gappy).sizes == (40, 40)
    gaps[1] = gaps[0]
    assert collect_rows(gappy).sizes == (39, 40)


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**60])
def test_points_do_not_depend_on_the_unit(scale: float) -> None:
    """Nothing was compared where fourth powers left the range of single precision: above some 1e9."""
    rows = np.random.default_rng(0).gamma(2, 1, (20, 7 * DAY)).astype(np.float32)
    usual, other = (
        make_points(rows * np.float32(unit), DAY, DAY, most=1000, rng=np.random.default_rng(0))
        for unit in (1, scale)
    )
    assert len(usual.rows) > 100
    np.testing.assert_array_equal(usual.values, other.values)


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**60])
def test_features_of_the_shape_do_not_depend_on_the_unit(scale: float) -> None:
    rows = np.random.default_rng(0).gamma(2, 1, (20, 14 * DAY, 1)).astype(np.float32)
    rows[0] = 0.1  # flat
    usual, other = (features.describe(rows * np.float32(unit), DAY) for unit in (1, scale))
    np.testing.assert_allclose(usual[:, features.SIZES :], other[:, features.SIZES :], rtol=1e-5, atol=1e-6)
    assert np.isfinite(usual).all() and not usual[0, features.SIZES + 2 :].any()


def test_series_too_short_to_search_are_too_little_evidence(attack_data: AttackData) -> None:
    """Copies of five steps passed as if they had been searched."""
    short = leak_scenarios.map_series(leaked(attack_data, "copies"), lambda values: values[:, :5])
    chosen = [attack for attack in battery.BATTERY if attack.id in ("P1", "P2")]
    result = battery.run(short, chosen)
    assert result.outcome == "insufficient"
    assert {each.note for each in result.attacks} == {"series too short for a window"}


def test_without_non_members_of_their_own_nothing_is_judged(attack_data: AttackData) -> None:
    """The same homes on both sides."""
    same = replace(attack_data, non_members=attack_data.members)
    measured, _, note = fragments.search_exact(same)
    assert measured is None and "of their own" in note
