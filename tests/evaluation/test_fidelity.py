"""Scores on cases whose answer is known."""

import json

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from distgan.errors import UserError
from distgan.evaluation.metrics import descriptors, fidelity
from distgan.evaluation.metrics.measure import Measure
from distgan.evaluation.metrics.nearest import Shapes, find_nearest
from distgan.evaluation.metrics.scores import SCORES, compute_copies
from distgan.evaluation.report import verdict
from distgan.evaluation.report.verdict import COPIER, MEAN_CURVE, MODEL, REAL, SHUFFLED
from distgan.evaluation.results import ScoreTable
from tests.helpers.fidelity import ALL_DRAWS, PER_DAY, average_over, homes, judge_sets, scores, values_of

APART = ("channels", "density", "repeats", "mmd")  # no best value for sets that share their series
APART += ("c2st", "minirocket")  # classifiers know a series that they were trained on with the other label
APART += ("load_figures",)  # a ratio, at least 1/20


def test_identical_sets_are_best_everywhere():
    target = homes(20)
    found = scores(target, target)
    for score in SCORES:
        if score.group == "copies" or score.name in APART:
            continue
        if np.isfinite(found.get(score.name, np.nan)):  # a record of six weeks has few long lags
            assert found[score.name] == pytest.approx(score.best, abs=1e-6), score.name


def test_a_shift_moves_values_by_what_it_is_and_rhythm_by_nothing():
    target = homes(20)
    scale = np.concatenate([target, homes(20, seed=99)]).std()
    found = scores(target, target + 2 * scale)
    assert found["value_distance"] == pytest.approx(2.0, rel=0.01)
    for name in ("ramp_distance", "acf_short", "spectrum", "daily_profile", "weekly_profile", "duration"):
        assert found[name] == pytest.approx(0, abs=1e-3), name


def test_scaling_every_series_changes_the_scale_but_no_rhythm():
    target = homes(20)
    found = scores(target, 3 * target)
    assert found["spread_distance"] > 1
    assert found["ramp_distance"] > 0.5
    assert found["daily_profile"] == pytest.approx(0, abs=1e-4)


def test_value_distance_is_the_wasserstein_distance():
    target, candidate = homes(10), homes(15, seed=1) ** 1.3
    scale = np.concatenate([target, homes(20, seed=99)]).std()
    truth = wasserstein_distance(target.ravel(), candidate.ravel()) / scale
    assert scores(target, candidate)["value_distance"] == pytest.approx(truth, rel=0.01)


def test_autocorrelation_is_that_of_numpy_and_survives_missing_values():
    series = homes(3)
    lags = np.array([1, 24, 100])
    found = descriptors.compute_autocorrelation(series, lags)[:, 0]
    z = (series[..., 0] - series[..., 0].mean(1, keepdims=True)) / series[..., 0].std(1, keepdims=True)
    truth = np.stack([(z[:, lag:] * z[:, :-lag]).mean(1) for lag in lags], 1)
    np.testing.assert_allclose(found, truth, atol=1e-4)
    holes = series.copy()
    holes[np.random.default_rng(0).random(holes.shape) < 0.1] = np.nan
    np.testing.assert_allclose(descriptors.compute_autocorrelation(holes, lags)[:, 0], truth, atol=0.06)


def test_white_noise_is_far_off_in_rhythm_and_structure_is_not():
    target = homes(20)
    rng = np.random.default_rng(0)
    noise = np.take_along_axis(
        target, rng.permuted(np.tile(np.arange(target.shape[1]), (20, 1)), axis=1)[..., None], 1
    )
    good, bad = scores(target, homes(20, seed=1)), scores(target, noise)
    assert bad["value_distance"] == pytest.approx(0, abs=1e-6)
    for name in ("acf_short", "spectrum", "lines", "daily_profile", "ramp_distance"):
        assert bad[name] > 4 * good[name], name


def test_line_and_band_powers_are_shares_of_variance():
    hours = np.arange(24 * 42)
    tone = (5 + np.sin(2 * np.pi * hours / 24))[None, :, None].astype(np.float32)
    found = descriptors.compute_descriptors(tone, descriptors.make_reference_grid(tone, PER_DAY))
    assert found.lines[0, 0, 0] == pytest.approx(1, abs=1e-3)  # day
    assert found.lines[0, 0, 1:] == pytest.approx(0, abs=1e-3)  # half day, week
    assert found.bands.sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("length", [96, 97])
def test_shares_of_variance_are_those_of_the_waves(length):
    """A wave of two steps, whose variance is its square, and one of eight, whose variance is half of that."""
    steps = np.arange(length)
    waves = np.cos(2 * np.pi * steps * (length // 8) / length)
    if length % 2 == 0:
        waves += 0.5 * (-1.0) ** steps
    tone = (5 + waves)[None, :, None].astype(np.float32)
    grid = descriptors.make_reference_grid(tone, PER_DAY)
    found = descriptors.compute_descriptors(tone, grid).bands[0, 0]
    share = found[np.flatnonzero(grid.bands <= length // 8)[-1]]
    assert share == pytest.approx(1 if length % 2 else 0.5 / (0.5 + 0.25), abs=1e-5)
    assert found.sum() == pytest.approx(1, abs=1e-5)


def test_nearest_sees_a_scaled_copy_with_a_percent_of_noise():
    train = homes(20)
    rng = np.random.default_rng(0)
    copy = 2 * train[:5] * rng.normal(1, 0.01, train[:5].shape)
    parts = [Shapes.of_series(values) for values in (copy, homes(5, seed=3), train)]
    assert find_nearest(parts[0], parts[2]).max() < 0.05
    assert find_nearest(parts[1], parts[2]).min() > 0.3
    assert find_nearest(parts[2], parts[2]).max() < 1e-3
    assert find_nearest(parts[2], parts[2], same=True).min() > 0.3


@pytest.fixture(scope="module")
def table() -> ScoreTable:
    return judge_sets(homes(40, seed=1), homes(14, seed=2), homes(60, seed=3), homes(12, seed=4))


def test_a_true_sampler_is_like_real_and_beats_the_baselines(table):
    standing = table.standing
    assert sum(kind == "real" for kind in standing.values()) >= 0.8 * len(standing)
    assert not [s for s in table.verdict if s.tone == "bad"]


def test_baselines_fail_where_they_must(table):
    values = {r.name: r.values for r in table.rows}
    assert values[MEAN_CURVE]["diversity"] == 0 and values[MEAN_CURVE]["repeats"] == 1
    assert values[MEAN_CURVE]["recall"] < 0.2
    assert values[SHUFFLED]["value_distance"] == values[COPIER]["value_distance"]
    for name in verdict.RHYTHM:
        assert values[SHUFFLED][name] > 3 * values[REAL][name], name
    for name in verdict.VARIETY[:2]:
        assert values[MEAN_CURVE][name] > 2 * values[REAL][name], name


def test_only_the_copy_scores_see_the_copier(table):
    assert values_of(table, COPIER)["copies"] == 1
    assert values_of(table, COPIER)["nearness"] == pytest.approx(0, abs=1e-3)
    assert values_of(table, REAL)["copies"] == values_of(table, MODEL)["copies"] == 0
    assert not {"copies", "nearness"} & set(table.blind_to_copier)
    assert {"value_distance", "spectrum", "coverage"} <= set(table.blind_to_copier)


def test_a_leaky_generator_is_called_out():
    train = homes(40, seed=1)
    leaky = np.concatenate([train[:3] * np.float32(1.01), homes(57, seed=3)])
    results = judge_sets(train, homes(14, seed=2), leaky)
    assert values_of(results, MODEL)["copies"] == pytest.approx(0.05, abs=0.03)
    assert any(s.tone == "bad" and "near copies" in s.text for s in results.verdict)


def test_a_collapsed_generator_is_called_out():
    few = np.repeat(homes(3, seed=3), 10, axis=0)
    results = judge_sets(homes(40, seed=1), homes(14, seed=2), few)
    assert any(s.tone == "bad" and "collapsed" in s.text for s in results.verdict)


def test_a_wild_series_does_not_make_a_set_like_real_by_its_own_noise():
    wild = homes(60, seed=3)
    wild[0] *= 3000
    with average_over(ALL_DRAWS):
        results = judge_sets(homes(40, seed=1), homes(14, seed=2), wild, homes(12, seed=4))
    assert {results.standing[name] for name in ("value_distance", "spread_distance")} <= {
        "between",
        "baseline",
    }


def test_without_a_reference_split_the_held_out_is_halved():
    held_out = homes(9)
    target, real = fidelity.split_sides(held_out, 0)
    assert (len(target), len(real)) == (5, 4)
    both = np.concatenate([target, real])
    assert {s.tobytes() for s in both} == {s.tobytes() for s in held_out}
    assert fidelity.split_sides(held_out, 0, homes(6, seed=1))[0] is held_out


def test_no_owner_is_the_target_and_the_real_row():
    held_out, owners = homes(28), np.array(list("dacb"))[np.arange(28) % 4]
    target, real = fidelity.split_sides(held_out, 0, owners=owners)
    who = fidelity.split_sides(owners, 0, owners=owners)
    assert (len(target), len(real)) == (14, 14) and not set(who[0]) & set(who[1])
    np.testing.assert_array_equal(target[5], held_out[owners == who[0][5]][5])
    uneven = np.repeat([0, 1, 2], [1, 2, 25])
    assert all(len(side) for side in fidelity.split_sides(uneven, 0, owners=uneven))
    assert [len(side) for side in fidelity.split_sides(held_out, 0, owners=np.zeros(28))] == [14, 14]
    for one, other in zip(
        fidelity.split_sides(owners, 3, owners=np.arange(28)[::-1]), fidelity.split_sides(owners, 3)
    ):
        np.testing.assert_array_equal(one, other)  # an owner a series: as if nobody owned any


def test_the_same_seed_gives_the_same_table():
    sets = homes(10, seed=1), homes(6, seed=2), homes(12, seed=3)
    one, two = (judge_sets(*sets, seed=5) for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("sizes", "days", "channels", "per_day"),
    [
        ((1, 1, 1), 42, 1, 24.0),
        ((2, 2, 1), 42, 1, 24.0),
        ((9, 5, 30), 42, 3, 24.0),
        ((9, 5, 30), 5, 1, 24.0),  # no week, no long lags
        ((9, 5, 30), 1, 1, 24.0),  # 24 values
        ((9, 5, 30), 42, 1, 1.0),  # daily values
        ((9, 5, 30), 42, 1, 1 / 30.4),  # monthly values
        ((9, 5, 30), 42, 1, 86400 * 250.0),  # an ECG
        ((9, 5, 30), 42, 1, 6.0),
    ],
)
def test_any_shape_gives_a_table_that_is_json(sizes, days, channels, per_day):
    train, held_out, synthetic = (homes(n, seed=n, days=days, channels=channels) for n in sizes)
    results = judge_sets(train, held_out, synthetic, steps_per_day=per_day)
    json.dumps(results.to_json(), allow_nan=False)
    assert values_of(results, MODEL)["value_distance"] is not None
    assert (values_of(results, MODEL)["channels"] is not None) == (channels > 1)
    assert results.n.synthetic == sizes[2]


def test_missing_and_constant_series_leave_every_score_defined():
    train, held_out, synthetic = homes(12, seed=1), homes(8, seed=2), homes(12, seed=3)
    train[0, 100:400] = np.nan
    held_out[:, 5] = np.nan
    train[:, 7] = np.nan  # the mean curve has a hole, too
    held_out[1] = np.nan
    synthetic[0] = 0.3
    results = judge_sets(train, held_out, synthetic)
    json.dumps(results.to_json(), allow_nan=False)
    for score in SCORES:
        if score.name not in ("channels", "months") and score.function is not None:
            assert values_of(results, MODEL)[score.name] is not None, score.name


def test_inputs_that_do_not_fit_are_one_line_errors():
    with pytest.raises(UserError, match="no held_out series"):
        judge_sets(homes(5), homes(0), homes(5))
    with pytest.raises(UserError, match="960 steps x 1 channels, but train series 1008 x 1"):
        judge_sets(homes(5), homes(5), homes(5, days=40))


def test_a_further_baseline_is_a_row():
    more = {"noisy copier": homes(5) * 1.01}
    results = judge_sets(homes(5), homes(5, seed=1), homes(5, seed=2), steps_per_day=24, baseline_sets=more)
    assert values_of(results, "noisy copier")["copies"] == 1


def test_every_series_of_a_set_is_searched_for_copies():
    """One copy among 200 series is 0.5 %, whatever part of them the other scores compare."""
    train, made = homes(30, seed=1, days=21), homes(200, seed=3, days=21)
    made[120] = 1.5 * train[4]
    measure = Measure(train, homes(12, seed=2, days=21), PER_DAY)
    described = measure.compute_descriptors(made)
    with average_over((1, 2)):
        found = fidelity.average_scores(measure, described, 12, seed=0)
    assert found["copies"] == pytest.approx(1 / 200)
    rest = np.delete(np.arange(200), 120)
    assert compute_copies(measure.target, described.take(rest), measure.grid) == 0


@pytest.mark.parametrize("count", [9, 16, 40, 150])
def test_halves_keep_the_proportion_of_the_sets_that_are_compared(monkeypatch, count):
    """Coverage by twice as many series is all but 1, and its spread says nothing of equal sets."""
    target, made = homes(20, seed=1, days=14), homes(count, seed=2, days=14)
    measure = Measure(homes(12, days=14), target, PER_DAY)
    pairs = []
    monkeypatch.setattr(
        Measure,
        "compute_scores",
        lambda self, candidate, target: pairs.append((len(candidate), len(target))) or {"load_figures": 1.0},
    )
    size = min(count, 20)
    fidelity.score_halves(measure, measure.compute_descriptors(made), size, seed=0)
    assert all(len(target) // 2 == wanted for _, wanted in pairs)
    assert all(abs(drawn - size / 2) <= 1 for drawn, _ in pairs)
    assert len(pairs) == fidelity.NOISE_DRAWS * min(max(count // size, 1), fidelity.NOISE_PARTS)


def test_real_series_as_the_real_row_are_as_new_to_the_feature_space_as_others():
    """The space of `--all-held-out` once was that of the real row: new series looked less diverse in it."""
    ratios = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        sets = rng.standard_normal((3, 16, 168, 1)).astype(np.float32)
        measure = Measure(sets[0], sets[1], PER_DAY, train_is_scored=True)
        real, made = (measure.compute_scores(measure.compute_descriptors(each)) for each in sets[[0, 2]])
        ratios.append(made["diversity"] / real["diversity"])
    assert abs(np.log(ratios).mean()) < 0.12


def test_a_series_as_near_to_unseen_ones_is_no_copy():
    """Heaters on one timer are alike in homes that never met; a copy of one is still nearer."""
    rng, hours = np.random.default_rng(0), np.arange(24 * 21)
    timer = 5.0 * (hours % 24 < 7)[None, :, None]
    train, target, made = (homes(n, seed=n, days=21) for n in (30, 31, 32))
    for each in (train, target, made):
        each[0] = timer + 0.5 * rng.standard_normal(timer.shape)
    measure = Measure(train, target, PER_DAY)
    described = measure.compute_descriptors(made)
    assert described.to_training[0] < 0.4 and compute_copies(measure.target, described, measure.grid) == 0
    made[0] = train[0] * (1 + 0.02 * rng.standard_normal(train[0].shape))
    found = compute_copies(measure.target, measure.compute_descriptors(made), measure.grid)
    assert found == pytest.approx(1 / 32)


def test_a_moved_weekday_is_seen_where_weekdays_are_compared():
    """Saturday and Monday are exchanged: the mean week hardly tells, beside how different homes are."""
    target, made = homes(20, seed=1), homes(20, seed=2)
    moved = made.reshape(20, 6, 7, 24, 1)[:, :, [5, 1, 2, 3, 4, 0, 6]].reshape(made.shape)
    right, wrong = scores(target, made), scores(target, moved)
    assert wrong["weekdays"] > 2 * right["weekdays"]
    assert wrong["weekdays"] - right["weekdays"] > 0.9 * (wrong["weekly_profile"] - right["weekly_profile"])
    assert wrong["daily_profile"] == pytest.approx(right["daily_profile"])


@pytest.mark.parametrize("zero", [0.0, 290.0])
def test_locations_are_seen_from_any_zero(zero):
    """Temperatures two deviations between places too warm, in Celsius and in Kelvin."""

    def measure_places(seed: int, warmer: float = 0.0) -> np.ndarray:
        rng, hours = np.random.default_rng(seed), np.arange(24 * 14)
        day = 5 * np.sin(2 * np.pi * hours / 24) + rng.standard_normal((40, len(hours)))
        return (zero + warmer + rng.standard_normal((40, 1)) + day)[..., None].astype(np.float32)

    assert scores(measure_places(1), measure_places(3, 2.0), measure_places(2))["c2st"] > 0.65


def test_changes_weigh_by_their_number():
    """Every second value of some series is missing: they have no changes, and say nothing about them."""
    target, made = homes(12, seed=1), homes(12, seed=2)
    target[:6, 1::2], made[:3, ::2] = np.nan, np.nan
    found = scores(target, made)["ramp_distance"]
    changes = [np.diff(each, axis=1) for each in (target, made)]
    sides = [each[~np.isnan(each)] for each in changes]
    real = np.diff(np.concatenate([target, homes(20, seed=99)]), axis=1)
    expected = wasserstein_distance(*sides) / np.nanstd(real)
    assert found == pytest.approx(expected, rel=0.02)


def test_real_series_that_baselines_are_made_of_are_no_copies_of_themselves():
    """With --all-held-out one half of the real series is training set and real row at once."""
    half, made = homes(12, seed=1, days=15), homes(12, seed=3, days=15)
    made[:6] = half[:6]
    with average_over((1, 4)):
        table = judge_sets(half, homes(12, seed=2, days=15), made, half)
    assert values_of(table, REAL)["copies"] == 0 and values_of(table, REAL)["nearness"] > 0.9
    assert values_of(table, MODEL)["copies"] == 0.5 and table.standing["copies"] == "baseline"
    assert "copies" not in table.blind_to_copier
