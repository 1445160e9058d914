"""The utility of the synthetic series: a forecaster trained on them and tested on held-out real series.

The forecaster maps a week and the calendar to the next day: ridge regression, every week centred by
itself and scaled by the deviation of its whole series, so that homes of any size share it. (Scaled by its own
spread, a quiet week before a loud day weighs so much that a forecaster of real homes lost to the naive one.)
Where a day has no steps of its own, or the record is short, it maps seven steps to the next. Errors
are divided by those of the seasonal-naive forecast (the same time a week ago, or the step before): 1 is no
better than that, 0 is perfect.

Shapes: n series, L steps, C channels, W samples, P numbers seen, H steps predicted, T periods of H steps.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import Ridge

from distgan.anonymity.code_means import average_by_code
from distgan.evaluation import baselines
from distgan.evaluation.metrics.descriptors import Array
from distgan.evaluation.metrics.intervals import estimate_interval
from distgan.evaluation.report.verdict import COPIER, NOISY_COPIER, ROWS
from distgan.evaluation.results import Interval, Tone, Utility, UtilityCounts, UtilityErrors, UtilityRow
from distgan.progress import Progress
from distgan.rng import make_keyed_generator

WEEK = 7
MOST_STEPS = 96  # of a day that is predicted at once; finer series are predicted a step ahead
FEWEST_DAYS = 15
TRAINING_SAMPLES, SERIES = 20_000, 200  # at most: weeks that are learned from, series of a set
ALPHA = 10.0
SMALLEST_NAIVE = 0.01  # of the owners' median: series that repeat themselves have no relative error

NAIVE, REAL, SYNTHETIC, BOTH = "seasonal naive", "real", "synthetic", "real + synthetic"
MEANINGS = {
    NAIVE: "no training: the same time a week ago, or the step before; 1 by definition",
    REAL: "trained on real training series, as many as synthetic ones",
    SYNTHETIC: "trained on synthetic series alone, as many as real ones",
    BOTH: "trained on the same real series and on all synthetic ones: what these add",
}


@dataclass(frozen=True)
class Task:
    """A forecasting task: the horizon and the naive forecast."""

    horizon: int  # H
    lag: int  # of the naive forecast
    per_year: float  # periods of H steps

    @property
    def context(self) -> int:
        return WEEK * self.horizon

    def __str__(self) -> str:
        return "the next day" if self.horizon > 1 else "the next step"


def choose_task(length: int, steps_per_day: float) -> Task | None:
    """Choose the next day from a week, or the next step from seven; return None where the record is too
    short.
    """
    day = round(steps_per_day)
    if 2 <= day <= MOST_STEPS and length >= FEWEST_DAYS * day:
        return Task(day, WEEK * day, 365.25)
    return Task(1, 1, 365.25 * steps_per_day) if length >= WEEK + 2 else None


def make_samples(values: Array, task: Task) -> tuple[Array, Array, Array, Array]:
    """Make weeks and the days after them: [n, L, C] -> seen [W, P], true [W, H], naive [W, H], series [W].

    True and naive values are centred by the week before, like what is seen, and all are in spreads of the
    series. A gap in the week takes its mean; a day with a gap is no sample, nor is one after a week of which
    less than half is measured, nor any of a series that stands still.
    """
    n, length, channels = values.shape
    periods = length // task.horizon
    blocks = values[:, : periods * task.horizon].transpose(0, 2, 1).reshape(n * channels, periods, -1)
    starts = np.arange(periods - WEEK)
    weeks = blocks[:, starts[:, None] + np.arange(WEEK)].reshape(n * channels, len(starts), task.context)
    measured = ~np.isnan(weeks)
    counts = np.maximum(measured.sum(-1, keepdims=True), 1).astype(np.float32)
    middle = np.where(measured, weeks, 0).sum(-1, keepdims=True) / counts
    scale, usable = _measure_spread(blocks)
    true = (blocks[:, WEEK:] - middle) / scale
    seen = np.where(measured, weeks - middle, 0) / scale
    first = task.context - task.lag
    naive = seen[..., first : first + task.horizon]
    keep = usable & (measured.mean(-1) >= 0.5) & ~np.isnan(true).any(-1)
    calendar = np.broadcast_to(_encode_calendar(starts + WEEK, task), (n * channels, len(starts), WEEK + 2))
    series = np.repeat(np.arange(n), channels)[:, None] + np.zeros(len(starts), int)
    return np.concatenate([seen, calendar], -1)[keep], true[keep], naive[keep], series[keep]


def _measure_spread(blocks: Array) -> tuple[Array, Array]:
    """Return the deviation of each series, 1 for a constant one, and which vary: [n, T, H] -> [n, 1, 1], [n,
    1].
    """
    measured = ~np.isnan(blocks)
    counts = np.maximum(measured.sum((1, 2), keepdims=True), 1)
    mean = np.where(measured, blocks, 0).sum((1, 2), keepdims=True, dtype=np.float64) / counts
    squares = np.where(measured, blocks - mean, 0) ** 2
    deviation = np.sqrt(squares.sum((1, 2), keepdims=True, dtype=np.float64) / counts).astype(np.float32)
    varies = deviation > 1e-6 * np.abs(mean) + 1e-30
    return np.where(varies, deviation, np.float32(1)), varies[..., 0]


def _encode_calendar(period: Array, task: Task) -> Array:
    """Return the day of seven, one-hot, and the place in the year as an angle: [T] -> [T, 9]."""
    angle = 2 * np.pi * period / task.per_year
    return np.concatenate(
        [np.eye(WEEK)[period % WEEK], np.sin(angle)[:, None], np.cos(angle)[:, None]], 1
    ).astype(np.float32)


def _fit_forecaster(sets: list[Array], task: Task, seed: int) -> Ridge | None:
    """Fit a forecaster to all sets together, `SERIES` of each at most; return None where they hold no whole
    week and day.
    """
    seen, true = [], []
    for values in sets:
        inputs, targets, _, _ = make_samples(_choose_some(values, SERIES, seed), task)
        chosen = make_keyed_generator(seed, 0, "usefulness weeks").permutation(len(inputs))[:TRAINING_SAMPLES]
        seen.append(inputs[chosen])
        true.append(targets[chosen])
    if not sum(map(len, seen)):
        return None
    return Ridge(ALPHA).fit(np.concatenate(seen), np.concatenate(true))


def _choose_some(values: Array, most: int, seed: int) -> Array:
    """Return at most so many of the series, in their order, as float32."""
    rows = make_keyed_generator(seed, 0, "usefulness series").permutation(len(values))[:most]
    return np.asarray(values, dtype=np.float32)[np.sort(rows)]


def _average_by_owner(errors: Array, series: Array, owners: Array) -> Array:
    """Return the mean error of every owner that has samples: [W], [W], [n] -> [owners]."""
    return average_by_code(errors, np.unique(owners[series], return_inverse=True)[1])


@dataclass(frozen=True)
class HeldOutWeeks:
    """Held-out weeks and the days after them, and the naive forecast's error of every owner, [owners]."""

    task: Task
    seen: Array
    true: Array
    series: Array
    owners: Array
    base: Array

    def measure_errors(self, forecaster: Ridge) -> Array:
        """Return the errors of a forecaster over those of the naive forecast: [owners]."""
        wrong = np.abs(forecaster.predict(self.seen).reshape(self.true.shape) - self.true).mean(1)
        return _average_by_owner(wrong, self.series, self.owners) / self.base


def make_held_out_weeks(held_out: Array, task: Task, owners: Array | None, seed: int) -> HeldOutWeeks | None:
    """Make the test set of forecasters, without owners whose weeks are all alike (lamps, estimated meters);
    return None where held-out series hold no whole week and day, or every week is the same.
    """
    rows = np.sort(make_keyed_generator(seed, 0, "usefulness test").permutation(len(held_out))[:SERIES])
    owners = np.arange(len(held_out)) if owners is None else np.asarray(owners)
    seen, true, naive, series = make_samples(np.asarray(held_out, np.float32)[rows], task)
    if not len(seen):
        return None
    base = _average_by_owner(np.abs(true - naive).mean(1), series, owners[rows])
    if not base.any():
        return None
    known = base > SMALLEST_NAIVE * np.median(base[base > 0])
    keep = known[np.unique(owners[rows][series], return_inverse=True)[1]]
    return HeldOutWeeks(task, seen[keep], true[keep], series[keep], owners[rows], base[known])


def measure_error(made: Array, held_out: Array, task: Task, owners: Array | None = None) -> float | None:
    """Return the mean over owners of the relative error of a forecaster trained on `made`; None where series
    hold no whole week and day.
    """
    test, forecaster = make_held_out_weeks(held_out, task, owners, 0), _fit_forecaster([made], task, 0)
    return None if test is None or forecaster is None else float(test.measure_errors(forecaster).mean())


def evaluate(
    train: Array,
    held_out: Array,
    synthetic: Array,
    *,
    steps_per_day: float,
    held_out_owners: Array | None = None,
    seed: int = 0,
) -> Utility | None:
    """Return relative errors on held-out series by training set of the forecaster.

    Forecasters that are compared learn from equally many series, the smaller number of real and synthetic
    ones: more series of one kind teach more. Only "real + synthetic" has all synthetic ones on top. An error
    is an owner's mean absolute error, in standard deviations of its series, over that of the naive forecast.
    Owners weigh alike, without those whose weeks are all the same; 95 % t-intervals are over owners, and one
    owner has none. `gaps` are paired differences: `synthetic - real` is the price of not having the real
    series, `gain` is how much synthetic series reduce the error of real ones.

    Args:
        train, held_out, synthetic: [n, L, C] in original units, NaN where missing.
        held_out_owners: [n] the owner of each held-out series; by default every series has its own.

    Returns:
        None where series are too short or hold no whole week and day.
    """
    task = choose_task(train.shape[1], steps_per_day)
    if task is None:
        return None
    test = make_held_out_weeks(held_out, task, held_out_owners, seed)
    if test is None:
        return None
    count = min(len(train), len(synthetic))
    real, some = (_choose_some(values, count, seed) for values in (train, synthetic))
    sets = {REAL: [real], SYNTHETIC: [some], BOTH: [real, synthetic]}
    made = baselines.make_baselines(train, count, steps_per_day, seed)
    sets |= {
        name: [_choose_some(make(), count, seed)]
        for name, make in made.items()
        if name not in (COPIER, NOISY_COPIER)
    }
    errors = {NAIVE: test.base / test.base}
    with Progress("evaluate: forecasts", len(sets), "rows") as progress:
        for name, parts in sets.items():
            if (forecaster := _fit_forecaster(parts, task, seed)) is not None:
                errors[name] = test.measure_errors(forecaster)
            progress.advance()
    counts = UtilityCounts(owners=len(test.base), series=len(np.unique(test.series)), samples=len(test.seen))
    return _conclude(_summarise(errors, task, counts))


def _summarise(errors: dict[str, Array], task: Task, counts: UtilityCounts) -> UtilityErrors:
    """Return means and intervals of the owners' errors, by training set: [owners] each."""
    meanings = {name: MEANINGS.get(name) or f"trained on: {ROWS[name]}" for name in errors}
    pairs = (("synthetic - real", SYNTHETIC, REAL), ("gain", REAL, BOTH))
    return UtilityErrors(
        task=f"{task} of held-out series, by ridge regression on what came before and the calendar",
        unit="the seasonal-naive forecast's error",
        horizon=task.horizon,
        rows=[
            UtilityRow(name=name, meaning=meanings[name], n=counts.owners, **dict(_make_interval(each)))
            for name, each in errors.items()
        ],
        gaps={
            name: _make_interval(errors[one] - errors[two])
            for name, one, two in pairs
            if one in errors and two in errors
        },
        n=counts,
    )


def _make_interval(errors: Array) -> Interval:
    """Return the mean of the owners' errors with its interval: [owners]."""
    low, high = estimate_interval(errors) or (None, None)
    return Interval(
        value=round(float(errors.mean()), 6),
        low=None if low is None else round(low, 6),
        high=None if high is None else round(high, 6),
    )


def _conclude(found: UtilityErrors) -> Utility:
    """Add the finding in plain words."""
    rows = {row.name: row for row in found.rows}
    made, real = rows.get(SYNTHETIC), rows.get(REAL)
    if made is None or real is None:
        text = "Too few whole weeks to say what forecasting would gain."
        return Utility(**dict(found), tone="note", sentence=text)
    gap = found.gaps["synthetic - real"]
    text = (
        "Training the forecaster on synthetic instead of real series leaves "
        f"{made.value:.0%} instead of {real.value:.0%} of the naive forecast's error "
        f"(difference {100 * gap.value:+.1f} percentage points, {_format_interval(gap)})."
    )
    if real.value >= 1:
        text += " Real series themselves teach it no more than the naive forecast knows."
    return Utility(**dict(found), tone=choose_tone(gap, 1 - real.value), sentence=text)


def _format_interval(gap: Interval) -> str:
    if gap.low is None or gap.high is None:
        return "one owner: no interval"
    return f"95 % interval {100 * gap.low:+.1f} to {100 * gap.high:+.1f}"


def choose_tone(gap: Interval, useful: float) -> Tone:
    """Return the tone by the lost share of what real series teach: a problem only where the loss is sure."""
    if useful <= 0 or gap.low is None:
        return "note"
    lost = gap.value / useful
    if lost < 0.1:
        return "good"
    return "note" if gap.low <= 0 else "warn" if lost < 0.5 else "bad"
