"""Series that begin late or end early are judged where they are measured; gaps distinguish nobody."""

import numpy as np
import pytest

from benchmarks import instruments
from distgan.evaluation.attacks.attack_data import AttackData, Side
from distgan.evaluation.metrics.classification import Encoder, LabelledSeries, classify
from distgan.evaluation.metrics.descriptors import compute_descriptors, make_reference_grid
from distgan.evaluation.metrics.gaps import average_known, copy_gaps
from distgan.evaluation.metrics.measure import Measure
from distgan.evaluation.metrics.nearest import Shapes, find_nearest
from distgan.evaluation.metrics.two_sample import Effort, Sample, compare_samples, cut_weeks
from distgan.evaluation.metrics.utility import choose_task, make_samples
from tests.helpers.fidelity import PER_DAY, homes

HALF = 21 * 24  # of 42 days


def begin_late(series: np.ndarray, first: int = HALF) -> np.ndarray:
    """Return the series, of which every other one begins at a step."""
    late = series.copy()
    late[::2, :first] = np.nan
    return late


def with_season(count: int, seed: int) -> np.ndarray:
    """Return homes that use three times as much in the first half of the record as in the second."""
    return homes(count, seed=seed) * np.where(np.arange(42 * 24) < HALF, 3, 1)[None, :, None].astype(
        np.float32
    )


@pytest.fixture(scope="module")
def found() -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Scores against real series that begin late: of other real ones, of whole ones of the same population,
    and of whole ones where gaps were scored as readings of the mean.
    """
    target = begin_late(with_season(40, 1))
    measure = Measure(begin_late(with_season(30, 2)), target, PER_DAY)
    others, made = begin_late(with_season(40, 3)), with_season(40, 4)
    filled = np.where(np.isnan(target), np.nanmean(target, axis=1, keepdims=True), target)
    naive = Measure(filled[:30], filled, PER_DAY)
    return (
        measure.compute_scores(measure.compute_descriptors(others)),
        measure.compute_scores(measure.compute_descriptors(made)),
        naive.compute_scores(naive.compute_descriptors(made)),
    )


def test_whole_series_of_the_right_kind_score_as_other_real_ones(found):
    real, made, naive = found
    nearly = {
        "value_distance": 0.1, "value_gap": 0.05, "level_distance": 0.25, "spread_distance": 0.25,
        "duration": 0.05, "skew": 0.4, "kurtosis": 0.5, "acf_short": 0.02, "spectrum": 1.0, "lines": 0.5,
        "daily_profile": 0.06, "weekly_profile": 0.08, "season": 0.06, "ramp_distance": 0.1,
    }  # fmt: skip
    for name, limit in nearly.items():
        assert made[name] < limit, name
        assert made[name] < real[name] + limit / 2, name
    for name in ("c2st", "minirocket"):
        assert abs(made[name] - 0.5) < 0.12 and abs(real[name] - 0.5) < 0.12, name
    assert made["coverage"] > 0.8 and 0.8 < made["diversity"] < 1.25
    assert (
        naive["season"] > 5 * made["season"] and naive["context_fid"] > 10 * made["context_fid"]
    )  # it is hard


def test_two_sample_tests_see_no_difference_by_what_is_missing():
    real, made = begin_late(with_season(40, 5)), with_season(40, 6)
    effort = Effort(features=504, places=200)
    for view in ("weeks", "series"):
        accuracy = compare_samples(Sample(real), Sample(made), view, PER_DAY, effort)
        assert accuracy is not None and accuracy.low < 0.5 + 0.03, view


def test_a_classifier_learns_as_much_from_whole_series_as_from_real_ones():
    """The labels differ in the swing of a day, under a season of which real series show one half."""
    time = np.arange(2 * HALF)

    def draw(count: int, seed: int, first: int) -> LabelledSeries:
        rng, labels = np.random.default_rng(seed), np.repeat(["flat", "round"], count // 2)
        swing = np.where(labels == "round", 1.0, 0.7)[:, None] * np.sin(2 * np.pi * time / PER_DAY)
        season = np.where(time < HALF, 3, 0)
        series = (swing + season + 0.9 * rng.standard_normal(swing.shape))[..., None].astype(np.float32)
        series[:, :first] = np.nan
        return LabelledSeries(series, labels, np.arange(count))

    found = classify(draw(60, 1, HALF), [draw(60, 2, 0)], draw(60, 3, HALF)).rows
    assert found["synthetic"].value > 0.9 and found["real"].value > 0.9  # without the gaps it is .5
    assert found["gain"].value > -0.03


def test_features_of_a_classifier_do_not_depend_on_the_unit():
    series = np.random.default_rng(0).gamma(2, 1, (12, 48, 2)).astype(np.float32)
    nano = (series * 2.0**-40).astype(np.float32)  # 1e-12
    np.testing.assert_allclose(Encoder.fit(series)(series), Encoder.fit(nano)(nano), rtol=1e-5, atol=1e-6)


def test_load_figures_of_whole_series_are_those_of_what_real_ones_show():
    train, real = (begin_late(with_season(40, seed)) for seed in (2, 1))
    reference = instruments.fit_reference(Sample(real), train, PER_DAY, features=False)
    whole, late = (
        instruments.read_instruments(reference, made, ())
        for made in (with_season(40, 3), begin_late(with_season(40, 3)))
    )
    np.testing.assert_equal(whole.ratios, late.ratios)
    assert whole.loads < 1.5


def test_weeks_that_are_mostly_missing_are_no_items():
    series = begin_late(homes(6), first=27 * 24 - 10)
    items = cut_weeks(series, PER_DAY, 6, np.random.default_rng(0))
    assert (np.isnan(items.values).mean(axis=(1, 2)) <= 0.5).all()
    counts = np.bincount(items.series)
    assert counts[1::2].tolist() == [6] * 3 and (counts[::2] == 2).all()  # of week 3, 80 % is missing


def test_curves_go_over_the_series_that_have_them():
    whole = homes(8, days=112)
    late = whole.copy()
    late[::2, : 56 * 24] = np.nan
    grid = make_reference_grid(whole, PER_DAY)
    described = compute_descriptors(late, grid)
    assert np.isnan(described.season[::2, 0, :26]).all() and not np.isnan(described.season[1::2]).any()
    kept = compute_descriptors(whole[1::2], grid)
    assert average_known(described.season)[0, :26] == pytest.approx(kept.season.mean(0)[0, :26], abs=1e-6)
    far = np.flatnonzero(grid.long_lags > 56 * 24)
    assert len(far) and np.isnan(described.acf_long[::2][..., far]).all()  # no pair is so far apart


def test_channels_correlate_over_steps_that_both_have():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((5, 1000)).astype(np.float32)
    both = np.stack([one, one + 0.1 * rng.standard_normal(one.shape).astype(np.float32)], axis=2)
    both[:, :600, 1] = np.nan
    grid = make_reference_grid(both, PER_DAY)
    assert compute_descriptors(both, grid).channels == pytest.approx(1, abs=0.1)


def test_a_copy_is_found_by_the_part_that_was_measured():
    whole = homes(20)
    train = begin_late(whole)
    rng = np.random.default_rng(1)
    copies = homes(5, seed=9)
    copies[:, HALF:] = whole[:10:2, HALF:] * rng.normal(
        1, 0.01, (5, HALF, 1)
    )  # what comes before was invented
    near = find_nearest(Shapes.of_series(copies), Shapes.of_series(train))
    far = find_nearest(Shapes.of_series(homes(5, seed=8)), Shapes.of_series(train))
    assert near.max() < 0.1 < 0.3 < far.min()
    blank = np.full_like(whole[:1], np.nan)
    assert find_nearest(Shapes.of_series(blank), Shapes.of_series(train)) == pytest.approx(2**0.5)


def test_gaps_are_copied_in_turn_and_never_onto_gaps():
    real, made = begin_late(homes(3)), homes(7, seed=1)
    given = copy_gaps(real, made)
    assert (np.isnan(given) == np.isnan(real)[[0, 1, 2, 0, 1, 2, 0]]).all()
    assert copy_gaps(real, given[:4]) is not None and copy_gaps(homes(2), made) is made
    assert copy_gaps(begin_late(homes(3), 48), begin_late(made)) == pytest.approx(
        begin_late(made), nan_ok=True
    )


def test_forecasts_begin_after_a_week_of_which_half_is_measured():
    task = choose_task(42 * 24, PER_DAY)
    series = homes(2)
    seen = len(make_samples(series, task)[0])
    series[0, : 10 * 24] = np.nan  # days 0 to 9: the first sample of 7 days with 4 of them is day 14
    assert seen - len(make_samples(series, task)[0]) == 14 - 7


def test_attacks_measure_nearness_where_members_are_measured():
    members, others = begin_late(homes(30)), begin_late(homes(30, seed=1))
    leaked = homes(30)  # whole series behind members that begin late
    data = AttackData(Side.from_series(members), Side.from_series(others), homes(0), leaked, PER_DAY)
    inside, outside = data.nearness
    assert inside == pytest.approx(0, abs=1e-3) and outside.max() < -0.1
