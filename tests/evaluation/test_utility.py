"""Utility: forecasters trained on synthetic series and tested on real ones, where the answer is known."""

import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from distgan.evaluation.metrics import utility
from distgan.evaluation.metrics.intervals import estimate_interval
from distgan.evaluation.results import Interval, Utility, UtilityRow
from tests.helpers.fidelity import homes

PER_DAY = 24.0


def found(
    train: np.ndarray, held_out: np.ndarray, synthetic: np.ndarray, **more
) -> tuple[Utility, dict[str, UtilityRow]]:
    results = utility.evaluate(train, held_out, synthetic, steps_per_day=PER_DAY, **more)
    json.dumps(results.to_json(), allow_nan=False)
    return results, {row.name: row for row in results.rows}


def test_samples_are_weeks_and_the_days_after_them():
    series = homes(2, days=20)
    task = utility.choose_task(480, PER_DAY)
    seen, true, naive, owner = utility.make_samples(series, task)
    assert len(seen) == 2 * 13 and owner.tolist() == [0] * 13 + [1] * 13
    week, day = series[1, 72 : 72 + 168, 0], series[1, 72 + 168 : 72 + 192, 0]
    spread = series[1].std()
    np.testing.assert_allclose(seen[16, :168], (week - week.mean()) / spread, atol=1e-4)
    np.testing.assert_allclose(true[16], (day - week.mean()) / spread, atol=1e-4)
    np.testing.assert_allclose(naive[16], seen[16, :24])
    assert seen[16, 168:175].tolist() == [0, 0, 0, 1, 0, 0, 0]  # day 10 of the record: 10 mod 7


def test_samples_leave_out_days_with_gaps_and_fill_those_in_weeks():
    series = homes(1, days=20)
    series[0, 24 * 9 + 3] = np.nan
    task = utility.choose_task(480, PER_DAY)
    seen, true, _, _ = utility.make_samples(series, task)
    assert len(seen) == 12 and np.isfinite(seen).all() and np.isfinite(true).all()
    assert not len(utility.make_samples(np.ones((2, 480, 1), np.float32), task)[0])


def test_series_that_repeat_every_week_have_no_relative_error():
    """A lamp on a timer: the naive forecast is right to the last digit, and no ratio to it says anything."""
    train, held_out = homes(12, seed=1, days=28), homes(8, seed=2, days=28)
    task = utility.choose_task(held_out.shape[1], PER_DAY)
    expected = utility.measure_error(train, held_out, task)
    lamp = np.tile(held_out[:1, :168], (1, 4, 1)) + np.float32(1e-7)
    with_lamp = np.concatenate([held_out, lamp])
    assert utility.measure_error(train, with_lamp, task) == pytest.approx(expected)
    test = utility.make_held_out_weeks(with_lamp, task, np.r_[np.arange(8), 0], 0)  # of an owner with others
    assert len(test.base) == 8
    assert utility.make_held_out_weeks(lamp, task, None, 0) is None


def test_quiet_weeks_do_not_drown_the_others():
    """Homes that are now and then empty: a forecaster of such homes beats the naive forecast for others."""
    rng = np.random.default_rng(0)

    def holidays(seed: int) -> np.ndarray:
        series = homes(30, seed=seed)
        for home in series:
            for week in rng.choice(len(home) // 168, 2, replace=False):
                away = home[168 * week : 168 * (week + 1)]
                away[:] = 0.01 * away
        return series

    rows = found(holidays(1), holidays(2), holidays(3))[1]
    assert rows[utility.REAL].value < 0.95


def test_errors_are_those_of_a_ridge_written_out():
    train, held_out = homes(10, seed=1), homes(4, seed=2)
    task = utility.choose_task(train.shape[1], PER_DAY)
    inputs, targets, _, _ = utility.make_samples(train, task)
    ridge = Ridge(utility.ALPHA).fit(inputs, targets)
    seen, true, naive, owner = utility.make_samples(held_out, task)
    errors = [
        np.abs(ridge.predict(seen[owner == i]) - true[owner == i]).mean()
        / np.abs(naive[owner == i] - true[owner == i]).mean()
        for i in range(4)
    ]
    rows = found(train, held_out, homes(10, seed=3))[1]
    assert rows[utility.REAL].value == pytest.approx(np.mean(errors), rel=1e-4)
    assert rows[utility.NAIVE].value == 1


def test_a_true_sampler_is_as_useful_as_real_series_and_baselines_are_not():
    results, rows = found(homes(40, seed=1), homes(20, seed=2), homes(40, seed=3))
    assert abs(results.gaps["synthetic - real"].value) < 0.02
    assert rows[utility.SYNTHETIC].value < 0.85
    assert rows["shuffled hours"].value > rows[utility.SYNTHETIC].value + 0.1
    assert results.tone == "good"
    for row in rows.values():
        assert row.low <= row.value <= row.high
    assert "copier" not in rows


def test_white_noise_teaches_nothing_and_is_called_out():
    noise = np.random.default_rng(0).gamma(4, 0.25, (40, 42 * 24, 1)).astype(np.float32)
    results, _ = found(homes(40, seed=1), homes(20, seed=2), noise)
    gap = results.gaps["synthetic - real"]
    assert gap.low > 0 and results.tone == "bad"


@pytest.mark.parametrize(
    ("real", "gap", "low", "tone"),
    [
        (1.0, 0.1, 0.05, "note"),  # nothing to lose
        (0.99, 0.02, -0.01, "note"),  # more than there is, by chance
        (0.6, 0.1, 0.02, "warn"),
        (0.6, 0.3, 0.2, "bad"),
        (0.6, 0.02, 0.01, "good"),
    ],
)
def test_only_a_sure_loss_is_a_problem(real, gap, low, tone):
    assert utility.choose_tone(Interval(value=gap, low=low, high=2 * gap - low), 1 - real) == tone


def test_a_true_sampler_of_what_cannot_be_forecast_is_not_blamed():
    """Of a random walk the step before is all that can be known."""
    rng = np.random.default_rng(0)
    steps = [np.cumsum(rng.standard_normal((n, 240, 1)), 1).astype(np.float32) for n in (40, 20, 40)]
    results = utility.evaluate(*steps, steps_per_day=1)
    real = next(row.value for row in results.rows if row.name == utility.REAL)
    assert real > 0.99 and results.tone in ("good", "note")


@pytest.mark.parametrize(("real", "made"), [(12, 40), (40, 12)])
def test_forecasters_that_are_compared_learn_from_equally_many_series(monkeypatch, real, made):
    """More series of one process teach more, and were called better than real ones for it."""
    seen = []

    def count_series(values, task):
        seen.append(len(values))
        return make_samples(values, task)

    make_samples = utility.make_samples
    monkeypatch.setattr(utility, "make_samples", count_series)
    _, rows = found(homes(real, seed=1), homes(20, seed=2), homes(made, seed=3))
    assert seen[:5] == [20, 12, 12, 12, made]  # held out, real, synthetic, both
    assert set(seen[5:]) == {12} and len(seen) == len(rows) + 1


def test_more_true_series_help_where_real_ones_are_few():
    results, rows = found(homes(1, seed=1, days=30), homes(20, seed=2, days=30), homes(60, seed=3, days=30))
    assert results.gaps["gain"].low > 0
    assert rows[utility.BOTH].value < rows[utility.REAL].value


def test_intervals_are_over_owners():
    train, held_out, synthetic = homes(20, seed=1), homes(24, seed=2), homes(20, seed=3)
    many, _ = found(train, held_out, synthetic)
    few, _ = found(train, held_out, synthetic, held_out_owners=np.repeat([0, 1, 2], 8))
    assert (many.n.owners, few.n.owners) == (24, 3)
    assert few.n.samples == many.n.samples
    one, rows = found(train, held_out, synthetic, held_out_owners=np.zeros(24, int))
    assert rows[utility.SYNTHETIC].low is None and one.tone == "note"
    assert "one owner: no interval" in one.sentence


@pytest.mark.parametrize("owners", [2, 4, 12])
def test_an_interval_over_owners_covers_what_it_says(owners):
    drawn = np.random.default_rng(0).standard_normal((2000, owners))
    found = np.array([estimate_interval(each) for each in drawn])
    assert np.mean((found[:, 0] <= 0) & (found[:, 1] >= 0)) == pytest.approx(0.95, abs=0.02)
    counts = np.random.default_rng(1).integers(20, 60, (2000, owners))
    found = np.array([estimate_interval(each * n, n) for each, n in zip(drawn, counts)])
    assert np.mean((found[:, 0] <= 0) & (found[:, 1] >= 0)) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("days", "per_day", "channels", "horizon"),
    [
        (42, 24.0, 3, 24),
        (42, 1.0, 1, 1),  # daily values: the next from seven
        (5, 24.0, 1, 1),  # too short for weeks
        (42, 86400 * 250.0, 1, 1),  # an ECG
        (42, 1 / 30.4, 2, 1),  # months
    ],
)
def test_any_series_have_a_task(days, per_day, channels, horizon):
    sets = [homes(n, seed=n, days=days, channels=channels) for n in (9, 5, 12)]
    sets[0][0, :50] = np.nan
    results = utility.evaluate(*sets, steps_per_day=per_day)
    assert results.horizon == horizon
    assert all(np.isfinite(row.value) for row in results.rows)
    json.dumps(results.to_json(), allow_nan=False)


def test_there_is_no_task_in_a_few_steps_nor_in_constants():
    sets = [homes(n, seed=n)[:, :8] for n in (9, 5, 12)]
    assert utility.evaluate(*sets, steps_per_day=24) is None
    flat = [np.ones((n, 480, 1), np.float32) for n in (9, 5, 12)]
    assert utility.evaluate(*flat, steps_per_day=24) is None
    results, rows = found(flat[0], homes(5), flat[2])
    assert utility.REAL not in rows and results.tone == "note"
