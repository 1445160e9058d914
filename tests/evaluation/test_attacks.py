"""Every planted leak fails the battery, an honest release passes; the statistics have known answers."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from distgan.evaluation.attacks import battery, features, inference, rates, tracing
from distgan.evaluation.attacks.attack_data import AttackData, Side, find_nearest_both_ways
from distgan.evaluation.attacks.battery import BATTERY, Attack, Finding
from distgan.evaluation.attacks.rates import IntervalEstimate
from tests.leaks import fragment_leaks, leak_scenarios
from tests.leaks.leak_scenarios import IN_BANK, IN_SERIES, Population

LENGTH = 168


@pytest.fixture(scope="module")
def many() -> Population:
    """As many as the evidence rule asks for."""
    return Population.draw(battery.EVIDENCE, LENGTH, seed=1)


@pytest.fixture(scope="module")
def few() -> Population:
    return Population.draw(300, LENGTH, seed=2)


def over(result: dict[str, object]) -> list[str]:
    return [attack.id for attack in result.attacks if attack.outcome == "over"]


def only(*ids: str) -> list[Attack]:
    return [attack for attack in BATTERY if attack.id in ids]


# ----------------------------------------------------------------------------------------------- the battery


def test_an_honest_release_passes(many: Population) -> None:
    result = battery.run(many.attack_data, [attack for attack in BATTERY if attack.id != "P2"])
    assert (result.outcome, over(result)) == ("pass", [])
    assert {attack.id for attack in result.attacks} >= {"P1", "P3", "P4b", "P5", "P6", "P7", "P8"}
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize("name", IN_SERIES)
def test_a_leak_in_the_series_fails_even_with_few_owners(few: Population, name: str) -> None:
    assert battery.run(IN_SERIES[name](few), only("P1", "P2", "P4")).outcome == "over"


@pytest.fixture(scope="module")
def fewer() -> Population:
    return Population.draw(120, LENGTH, seed=4)


FRAGMENTS = {**fragment_leaks.EXACT, **fragment_leaks.NEAR}


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("days of other members at any hour", "P1"),
        pytest.param("parts of days of other members", "P1", marks=pytest.mark.slow),
        ("reversed", "P1"),
        ("ranks", "P1"),
        pytest.param("noisy and negated", "P2", marks=pytest.mark.slow),
        ("scaled noisy days of other members", "P2"),
    ],
)
def test_fragments_of_members_fail(fewer: Population, name: str, by: str) -> None:
    """A sample of the kinds, in six of 120 series; without them the same attack finds nothing."""
    leak = leak_scenarios.insert_fragments(FRAGMENTS[name], 0.05)
    result = battery.run(leak(fewer), only(by))
    assert (result.outcome, over(result)) == ("over", [by])
    honest = battery.run(fewer.attack_data, only(by))
    assert over(honest) == []


@pytest.mark.parametrize("name", IN_BANK)
def test_a_leak_in_the_bank_fails(many: Population, name: str) -> None:
    assert battery.run(IN_BANK[name](many), only("P6", "P6a", "P6b")).outcome == "over"


def test_a_private_bank_with_all_its_noise_passes(many: Population) -> None:
    assert (
        battery.run(leak_scenarios.release_noisy_bank(many, 1.0), only("P6", "P6a", "P6b")).outcome == "pass"
    )


def test_a_memorising_generator_is_seen_by_many(few: Population) -> None:
    found = over(battery.run(IN_SERIES["a memorising generator"](few)))
    assert {"P1", "P2", "P4", "P5"} <= set(found)


def test_few_owners_are_too_little_evidence(few: Population) -> None:
    series = [attack for attack in BATTERY if not attack.id.startswith("P6")]
    result = battery.run(few.attack_data, series)
    assert (result.outcome, over(result)) == ("insufficient", [])
    assert "300 members against 300 non-members" in result.sentence


@pytest.mark.parametrize("lacking", ["members", "non_members"])
def test_evidence_is_needed_on_both_sides(
    few: Population, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(battery, "EVIDENCE", 300)
    exact = Finding(IntervalEstimate.from_exact(0.0, 300))
    attacks = [replace(BATTERY[0], rule="evidence", function=lambda attack_data: exact)]
    assert battery.run(few.attack_data, attacks).outcome == "pass"
    side = Side.from_series(getattr(few.attack_data, lacking).series[:299])
    assert battery.run(replace(few.attack_data, **{lacking: side}), attacks).outcome == "insufficient"


def test_what_an_attack_is_over_on(few: Population) -> None:
    """The upper end counts with enough evidence; the surely lower one without; alarms go by that alone."""
    wide, high = IntervalEstimate(0.55, 0.5, 0.62, 0.48, 100), IntervalEstimate(0.9, 0.85, 0.95, 0.8, 100)
    assert battery.judge_finding("limit", Finding(wide), 0.6, enough=True) == "over"
    assert battery.judge_finding("limit", Finding(wide), 0.6, enough=False) == "insufficient"
    assert battery.judge_finding("limit", Finding(high), 0.6, enough=False) == "over"
    assert battery.judge_finding("alarm", Finding(wide), 0.6, enough=True) == "pass"
    low = IntervalEstimate(0.5, 0.45, 0.55, 0.4, 100)
    assert battery.judge_finding("limit", Finding(low, [("outliers", high)]), 0.6, enough=True) == "over"
    assert battery.judge_finding("evidence", Finding(low), 0.6, enough=False) == "insufficient"
    assert battery.judge_finding("report", Finding(high), None, enough=True) == "report"
    unknown = IntervalEstimate(np.nan, np.nan, np.nan, np.nan, 100)
    assert battery.judge_finding("limit", Finding(unknown), 0.6, enough=True) == "over"
    assert battery.judge_finding("alarm", Finding(unknown), 0.6, enough=False) == "insufficient"
    assert battery.judge_finding("limit", Finding(None), 0.6, enough=True) == "skipped"
    assert battery.judge_finding("limit", Finding(None, needed=True), 0.6, enough=True) == "insufficient"


@pytest.mark.parametrize(
    ("auc", "half", "outcome"),
    [(0.6, 0.12, "pass"), (0.9, 0.12, "over"), (0.63, 0.04, "over"), (0.52, 0.04, "pass")],
)
def test_a_small_group_at_chance_is_no_leak_of_the_bank(
    many: Population, auc: float, half: float, outcome: str
) -> None:
    """40 members at chance reach over a limit of .65 in every third release; surely over it, they count."""
    everybody = tracing.Attack("all", "", 3000, 3000, 0.5, 0.485, 0.515, 0.65)
    smallest = tracing.Attack("smallest groups", "", 40, 54, auc, auc - half, auc + half, 0.65)
    found = battery.run(replace(many.attack_data, traced=[everybody, smallest]), only("P6")).attacks[0]
    assert (found.outcome, [each.name for each in found.groups]) == (outcome, ["smallest groups"])


def test_a_leak_among_those_with_one_value_is_seen(few: Population) -> None:
    """A tenth of the homes have solar panels, and synthetic series are near those alone."""
    attack_data, rng = few.attack_data, np.random.default_rng(0)
    sides = (attack_data.members, attack_data.non_members)
    solar = [np.arange(side.num_owners) % 10 == 0 for side in sides]
    by_value = {"solar true": (solar[0], solar[1]), "solar false": (~solar[0], ~solar[1])}
    honest = replace(attack_data, by_value=by_value)
    found = battery.run(honest, only("P4")).attacks[0]
    assert [group.name for group in found.groups][-2:] == ["solar true", "solar false"]
    assert found.groups[-2].n == solar[0].sum() and found.outcome != "over"

    made, copied = attack_data.synthetic.copy(), attack_data.members.series[solar[0]]
    made[: len(copied)] = copied * rng.lognormal(0, 0.05, copied.shape)
    leaky = replace(honest, synthetic=made)
    plain = battery.run(replace(leaky, by_value={}), only("P4")).attacks[0]
    found = battery.run(leaky, only("P4")).attacks[0]
    assert plain.value == found.value < 0.6  # over all homes it is lost
    assert (plain.outcome, found.outcome) == ("insufficient", "over")


def test_windows_of_an_owner_count_together() -> None:
    """Each owner in four windows, of which one is copied: owners are counted, and P11 is tried."""
    population = Population.draw(80, 4 * LENGTH, seed=3)
    attack_data, owners = population.attack_data, np.repeat(np.arange(80), 4)

    def cut(series: np.ndarray) -> np.ndarray:
        return series.reshape(-1, LENGTH, 1)

    made = cut(attack_data.synthetic).copy()
    made[:10] = cut(attack_data.members.series)[4:44:4]
    sides = [
        Side.from_series(cut(side.series), owners) for side in (attack_data.members, attack_data.non_members)
    ]
    leaky = AttackData(sides[0], sides[1], cut(attack_data.reference), made, 24)
    result = {attack.id: attack for attack in battery.run(leaky, only("P1", "P4", "P11")).attacks}
    assert (result["P1"].value, result["P1"].outcome) == (10, "over")  # owners, not windows
    assert result["P4"].n == result["P11"].n == 80


def test_gaps_channels_and_unequal_sets() -> None:
    """Two channels, missing values, no reference, sets of five sizes: a result, and no number of nobody."""
    rng = np.random.default_rng(0)
    members, non_members, made = (rng.gamma(2, 1, (n, 96, 2)).astype(np.float32) for n in (50, 30, 20))
    for series in (members, non_members):
        series[rng.random(series.shape) < 0.05] = np.nan
    members[3, :, 1] = np.nan
    result = battery.run(
        AttackData(Side.from_series(members), Side.from_series(non_members), members[:0], made, 24)
    )
    assert result.outcome == "insufficient"
    json.dumps(result.to_json(), allow_nan=False)
    copied = made.copy()
    copied[0] = features.fill_gaps(members[5:6])[0]
    found = battery.run(
        AttackData(Side.from_series(members), Side.from_series(non_members), members[:0], copied, 24),
        only("P1", "P2"),
    )
    assert over(found) == ["P1", "P2"]


def test_small_series_are_no_copies_of_one_another(few: Population) -> None:
    """One member is a thousandth as large as anyone else; a synthetic one is small, too, or is its copy."""
    attack_data = few.attack_data
    members, made = attack_data.members.series.copy(), attack_data.synthetic.copy()
    members[0] /= 1000
    made[0] /= 1000
    attack_data = replace(attack_data, members=replace(attack_data.members, series=members), synthetic=made)
    assert over(battery.run(attack_data, only("P1"))) == []
    made[0] = members[0]
    assert over(battery.run(replace(attack_data, synthetic=made), only("P1"))) == ["P1"]


@pytest.mark.parametrize("flat", [10, 300])
def test_flat_series_are_no_copies_of_one_another_and_hide_none(few: Population, flat: int) -> None:
    """Non-members equal to a member say nothing of how far non-members keep."""
    rng = np.random.default_rng(0)

    def flattened(series: np.ndarray) -> np.ndarray:
        found = series.copy()
        found[-flat:] = rng.lognormal(0, 1, (flat, 1, 1))
        return found

    attack_data = few.attack_data
    members, non_members = (
        replace(s, series=flattened(s.series)) for s in (attack_data.members, attack_data.non_members)
    )
    attack_data = replace(
        attack_data, members=members, non_members=non_members, synthetic=flattened(attack_data.synthetic)
    )
    honest = battery.run(attack_data, only("P1", "P2"))
    assert over(honest) == [] and not any("nan" in attack.note for attack in honest.attacks)
    if flat < 300:
        made = attack_data.synthetic.copy()
        made[:20] = members.series[:20]
        assert over(battery.run(replace(attack_data, synthetic=made), only("P1"))) == ["P1"]


@pytest.mark.parametrize("share", [0.02, 1])
@pytest.mark.parametrize("stretch", ["flat", "nearly flat", "missing"])
def test_empty_quarters_are_no_copies_of_one_another_and_hide_none(
    few: Population, stretch: str, share: float
) -> None:
    """Each quarter of so many series (three of all) is an empty home's, or not there, on every side."""
    rng = np.random.default_rng(0)

    def emptied(series: np.ndarray) -> np.ndarray:
        found = series.copy()
        for quarter in np.array_split(np.arange(LENGTH), 4)[: 3 if share == 1 else 4]:
            who = np.flatnonzero(rng.random(len(found)) < share)
            levels = np.repeat(rng.lognormal(-1, 0.5, (len(who), 1, 1)), len(quarter), axis=1)
            if stretch == "nearly flat":
                levels *= 1 + 0.01 * rng.standard_normal(levels.shape)
            found[np.ix_(who, quarter)] = np.nan if stretch == "missing" else levels
        return found

    attack_data = leak_scenarios.map_series(few.attack_data, emptied)
    assert over(battery.run(attack_data, only("P1"))) == []
    made = attack_data.synthetic.copy()
    made[:20, -LENGTH // 4 :] = few.attack_data.members.series[:20, -LENGTH // 4 :]
    members = attack_data.members.series.copy()
    members[:20, -LENGTH // 4 :] = made[:20, -LENGTH // 4 :]
    attack_data = replace(attack_data, members=replace(attack_data.members, series=members), synthetic=made)
    assert over(battery.run(attack_data, only("P1"))) == ["P1"]


@pytest.mark.parametrize("gaps", [0.05, 0.2])
def test_gaps_hide_no_copies(few: Population, gaps: float) -> None:
    """What the generator copied was whole; in what is attacked so much is missing."""
    rng, made = np.random.default_rng(0), few.attack_data.synthetic.copy()
    made[:20] = few.attack_data.members.series[:20]

    def holed(series: np.ndarray) -> np.ndarray:
        return np.where(rng.random(series.shape) < gaps, np.float32(np.nan), series)

    attack_data = leak_scenarios.map_series(few.attack_data, holed)
    assert over(battery.run(replace(attack_data, synthetic=few.attack_data.synthetic), only("P1"))) == []
    assert over(battery.run(replace(attack_data, synthetic=made), only("P1", "P2"))) != []


def test_one_smooth_curve_may_lie_near_by_chance() -> None:
    """Three numbers make a whole series: among so many, chance alone meets a member, but not twenty."""
    rng = np.random.default_rng(0)

    def smooth() -> np.ndarray:
        waves, phase, size = (rng.uniform(*span, (250, 1)) for span in ((2, 6), (0, 6.3), (0.2, 1)))
        return (1 + size * np.sin(waves * np.linspace(0, 6.3, 96) + phase))[..., None].astype(np.float32)

    for _ in range(2):
        members, non_members, made = smooth(), smooth(), smooth()
        attack_data = AttackData(
            Side.from_series(members), Side.from_series(non_members), members[:0], made, 24
        )
        assert over(battery.run(attack_data, only("P1", "P2"))) == []
        made[0] = members[0]  # value for value nobody comes by chance
        assert over(battery.run(attack_data, only("P1"))) == ["P1"]


def test_secrets_of_every_channel(few: Population) -> None:
    """The second channel tells its owner's use; a channel that is the same for all has no secret."""
    attack_data = leak_scenarios.add_channel(few.attack_data)
    assert battery.run(attack_data, only("P8")).attacks[0].value < 0.05
    made = attack_data.synthetic.copy()
    made[..., 1] = attack_data.members.series[..., 1]
    sizes = np.random.default_rng(0).lognormal(0, 1, (len(made), 1)).astype(np.float32)
    made[..., 0] = sizes * attack_data.members.series[..., 0]
    result = battery.run(replace(attack_data, synthetic=made), only("P8")).attacks[0]
    assert result.outcome == "over" and "of channel 2" in result.note

    def silent(series: np.ndarray) -> np.ndarray:
        return np.concatenate([series[..., :1], np.zeros_like(series[..., :1])], axis=2)

    result = battery.run(leak_scenarios.map_series(attack_data, silent), only("P8")).attacks[0]
    assert {group.name for group in result.groups} == {
        f"{secret} of channel 1" for secret in features.SECRETS
    }

    def rare(series: np.ndarray, seed: int) -> np.ndarray:
        others = np.random.default_rng(seed).random(len(series)) < 0.6
        return np.where(others[:, None, None] & (np.arange(2) == 1), np.float32(0), series)

    members = replace(attack_data.members, series=rare(attack_data.members.series, 1))
    non_members = replace(attack_data.non_members, series=rare(attack_data.non_members.series, 2))
    made[..., 1] = members.series[..., 1]
    meters = replace(attack_data, members=members, non_members=non_members, synthetic=made)
    result = battery.run(meters, only("P8")).attacks[0]
    assert result.outcome == "over" and "of channel 2" in result.note  # the second meter of some


def test_singling_out_counts_people_and_no_predicates(few: Population) -> None:
    result = battery.run(few.attack_data, only("P8a")).attacks[0]
    people = min(few.attack_data.members.num_owners, few.attack_data.non_members.num_owners)
    assert (result.n, result.non_members) == (people, people)


def test_the_interval_of_singling_out_counts_people() -> None:
    """10,000 predicates about 34 people: the interval of so many independent trials is a third as wide."""
    rng = np.random.default_rng(0)
    sides = tuple(rng.standard_normal((34, 10)) / 1.35 for _ in range(3))
    found = inference.measure_singling_out(
        SimpleNamespace(features=sides, make_rng=lambda name: np.random.default_rng(1))  # type: ignore[arg-type]
    )
    assert found.high - found.value > 0.035 and found.sure == 0
    alone = SimpleNamespace(features=(sides[0], sides[1], sides[0]), make_rng=lambda name: rng)
    leak = inference.measure_singling_out(alone)  # type: ignore[arg-type]
    assert leak.sure > 0.09  # copies single members out


# ------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    ("n", "percent"), [(100, 3.6), (300, 1.2), (1000, 0.37), (3000, 0.12), (10_000, 0.037)]
)
def test_no_hit_of_n_bounds_the_rate(n: int, percent: float) -> None:
    assert 100 * rates.estimate_rate(0, n).high == pytest.approx(percent, rel=0.03)


def test_intervals_of_rates_cover() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.binomial(200, 0.07, 200)
    covered = [low <= 0.07 <= high for low, high in (rates.bound_rate(hits, 200) for hits in drawn)]
    assert np.mean(covered) >= 0.93
    assert all(rates.estimate_rate(hits, 200).sure <= rates.estimate_rate(hits, 200).low for hits in drawn)


def test_residual_risk_as_anonymeter_has_it() -> None:
    """400 of 1000 against 100 of 1000: (0.4 - 0.1) / (1 - 0.1)."""
    found = rates.estimate_residual_risk(400, 1000, 100, 1000)
    assert found.value == pytest.approx(1 / 3)
    assert found.low < found.value < found.high
    assert rates.estimate_residual_risk(100, 1000, 400, 1000).value == 0
    assert rates.estimate_residual_risk(1000, 1000, 0, 1000).value == 1


@pytest.mark.parametrize(
    ("guesses", "right", "epsilon"),
    [(1000, 600, 0.30), (1000, 700, 0.73), (1000, 900, 2.02), (30, 30, 2.2), (100, 100, 3.47)],
)
def test_the_audit_proves_what_is_published(guesses: int, right: int, epsilon: float) -> None:
    assert rates.bound_epsilon(guesses, right, 1000, 1e-5) == pytest.approx(epsilon, abs=0.06)


def test_the_audit_never_proves_more_than_there_is() -> None:
    """Randomised response at ε = 1: right with e / (1 + e); in 19 of 20 audits the bound holds."""
    rng = np.random.default_rng(0)
    right = rng.binomial(300, np.e / (1 + np.e), 60)
    bounds = np.array([rates.bound_epsilon(300, int(each), 300, 1e-6) for each in right])
    assert np.mean(bounds <= 1) >= 0.9
    assert np.median(bounds) > 0.6
    exact, loose, void = (rates.bound_epsilon(300, 250, 300, delta) for delta in (0.0, 1e-3, 1.0))
    assert exact > loose > void == 0.0  # δ alone may explain that many right guesses


@pytest.mark.parametrize(("rate", "true"), [(0.01, 0.03), (0.001, 0.01)])
def test_the_true_positive_rate_is_in_its_interval(rate: float, true: float) -> None:
    """The interval counts the threshold's error: without it 11 and 12 % of intervals lie below the truth,
    and 15 and 36 % above.
    """
    rng = np.random.default_rng(0)
    apart = norm.isf(rate) - norm.isf(true)
    found = [
        rates.estimate_hits(rng.normal(apart, 1, 3000), rng.normal(0, 1, 3000), rate, rng) for _ in range(300)
    ]
    assert np.mean([each.high < true for each in found]) <= 0.04
    assert np.mean([each.low > true for each in found]) <= 0.04
    alike = [rates.estimate_hits(*rng.normal(0, 1, (2, 3000)), rate, rng) for _ in range(50)]
    assert np.mean([each.high <= true for each in alike]) >= 0.9  # no leak passes


def test_few_non_members_do_not_show_a_low_true_positive_rate() -> None:
    rng = np.random.default_rng(0)
    found = [rates.estimate_hits(*rng.normal(0, 1, (2, 34)), 0.01, rng) for _ in range(20)]
    assert all(each.high > 0.03 for each in found)
    distant = rates.estimate_hits(np.full(123, 2.0), np.arange(34.0), 0.01)
    assert distant.value == 0 and distant.low == 0 and distant.high > 0.02


def test_an_alarm_is_not_called_within_a_limit_that_its_interval_reaches_over() -> None:
    alarm = Attack("P3", "Nearer", "share", 0.55, "", lambda data: Finding(None), "alarm")
    wide, narrow = IntervalEstimate(0.58, 0.39, 0.76, 0.3, 34), IntervalEstimate(0.5, 0.48, 0.52, 0.46, 34)
    lines = [battery.format_line(battery.make_result(alarm, Finding(each), True)) for each in (wide, narrow)]
    assert lines[0].endswith("0.58 (0.39 to 0.76), limit 0.55: not surely over its limit")
    assert lines[1].endswith("0.5 (0.48 to 0.52), limit 0.55: within its limit")


def test_members_found_at_a_rate_of_false_alarms() -> None:
    non_members = np.arange(1000.0)
    found = rates.estimate_hits(np.array([995.5, 996.5, 1000.0, 10.0]), non_members, 0.003)
    assert found.value == 0.5  # above 996, which three non-members are: two of four


def test_few_non_members_say_little_of_rare_false_alarms() -> None:
    members = np.full(140, 1.0)
    assert rates.estimate_hits(members, np.zeros(40), 0.001).sure < 0.01
    assert rates.estimate_hits(members, np.zeros(3000), 0.001).sure > 0.15


# --------------------------------------------------------------------------------------------- what is shared


def test_neighbours_are_exact_both_ways() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((700, 40)), 1e3 + rng.standard_normal((90, 40))
    second[7] = first[600] + 1e-3
    found = find_nearest_both_ways(first, second)
    distance = np.linalg.norm(first[:, None] - second[None], axis=2)
    assert (found.there_place == distance.argmin(1))[np.r_[600]].all()
    assert np.allclose(found.there, distance.min(1), rtol=1e-4)
    assert np.allclose(found.back, distance.min(0), rtol=1e-4)


def test_features_of_a_known_series() -> None:
    hours = np.arange(24 * 28)
    wave = (2 + np.cos(2 * np.pi * (hours - 18) / 24))[None, :, None]
    result = dict(zip(features.NAMES, features.describe(wave, 24)[0]))
    assert result["location"] == pytest.approx(2, abs=1e-5)
    assert result["base load"] == pytest.approx(1, abs=0.05)
    assert result["size of the daily rhythm"] == pytest.approx(2**-0.5, abs=1e-3)
    assert result["second hour of the daily rhythm"] == pytest.approx(-1, abs=1e-3)
    assert result["size of the weekly rhythm"] == pytest.approx(0, abs=1e-3)
    assert result["correlation with the day before"] == pytest.approx(1, abs=1e-3)
    assert np.isfinite(features.describe(np.full((1, 48, 1), np.nan), 24)).all()
