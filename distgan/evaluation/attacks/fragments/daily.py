"""The near search in what whole days tell, whatever their course: totals of days and of thirds of days, and
the values of each day in any order; and in what they have in common: the mean day and the mean week.

A release that keeps how much a member used on every day, and gives the days another's course, has no window
of a member, and neither has one that repeats a member's mean day. The days are those that series begin with.
Shapes: n rows, L steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.fragments.evidence import SearchResult
from distgan.evaluation.attacks.fragments.near import compute_owner_ratios, judge_ratios
from distgan.evaluation.attacks.fragments.points import SAME, make_points
from distgan.evaluation.attacks.fragments.windows import FEWEST_STEPS, Rows, average_days, split_days

PARTS = 3  # of a day
MOST = 100_000  # windows that are compared, of a length
NOTHING = 0.002  # a distance below which windows are as good as equal: no exact search compares totals
LENGTHS = {"half": 2, "whole": 1}  # of the rows, in parts
PERIODS = {"mean day": 1, "mean week": 7}  # days
FEWEST_PERIODS = 2  # in a row
TINY = 1e-30


def sort_days(rows: Array, day: int) -> Array:
    """Sort the values of every so many steps: [n, L] -> [n, L // day · day]."""
    return np.sort(split_days(rows, day), axis=2).reshape(len(rows), -1)


def average_periods(rows: Array, steps: int) -> Array:
    """Return the mean of each step of a period, of what is not missing: [n, L] -> [n, steps]."""
    periods = split_days(rows, steps)
    known = ~np.isnan(periods)
    sums = np.where(known, periods, 0).sum(axis=1, dtype=np.float64)
    return (sums / np.maximum(known.sum(axis=1), 1)).astype(np.float32)


def find_daily(rows: Rows, rng: np.random.Generator) -> list[SearchResult]:
    """Search what days tell: return a result for each of its kinds and window lengths."""
    part = rows.day // PARTS
    ways: dict[str, tuple[Callable[[Array], Array], int]] = {
        "totals of days": (lambda each: average_days(each, rows.day), 1),
        "values of each day": (lambda each: sort_days(each, rows.day), rows.day),
    }
    if part > 1:
        ways["totals of parts of days"] = (lambda each: average_days(each, part), PARTS)
    results = []
    for name, (change, day) in ways.items():
        real, made = change(rows.real), change(rows.synthetic)
        for length, parts in LENGTHS.items():
            steps = real.shape[1] // parts
            if steps >= FEWEST_STEPS:
                found = _compare(rows, (made, real), (steps, day), rng)
                results.append(replace(found, transform=name, length=length))
    for name, days in PERIODS.items():
        steps = days * rows.day
        if FEWEST_PERIODS * steps <= rows.length:
            means = [average_periods(each, steps) for each in (rows.synthetic, rows.real)]
            nothing = np.maximum(measure_resolution(rows.synthetic, means[0]), NOTHING)
            found = _compare(rows, means, (steps, steps), rng, nothing)
            results.append(replace(found, transform=name, length="whole"))
    return results


def measure_resolution(rows: Array, means: Array) -> Array:
    """Return how far two mean periods of a row are that differ by one step of a value, as standardised
    windows: [n, L], [n, steps] -> [n].
    """
    periods = rows.shape[1] // means.shape[1]
    centred = means - means.mean(axis=1, keepdims=True, dtype=np.float64)
    length = np.linalg.norm(centred, axis=1)
    return np.asarray(measure_step(rows) / periods / np.maximum(length, TINY))


def measure_step(rows: Array) -> Array:
    """Return the usual difference of a row's values that follow one another in size, as the step of a coarse
    meter: [n, L] -> [n], 0 of a constant row.
    """
    ordered = np.sort(rows, axis=1).astype(np.float64)
    steps = np.diff(ordered, axis=1)
    differ = steps > SAME * np.nanmax(np.abs(ordered), axis=1, initial=0, keepdims=True)
    return np.array([np.median(each[chosen]) if chosen.any() else 0 for each, chosen in zip(steps, differ)])


def _compare(
    rows: Rows,
    values: Sequence[Array],
    steps: tuple[int, int],
    rng: np.random.Generator,
    nothing: Array | float = NOTHING,
) -> SearchResult:
    """Compare windows of released and of real values, of so many steps each, that begin at so many steps. A
    distance below `nothing`, of each released row or of all, is as good as none.
    """
    released, known = (make_points(each, *steps, most=MOST, rng=rng) for each in values)
    least = nothing[released.rows] if isinstance(nothing, np.ndarray) else nothing
    return judge_ratios(compute_owner_ratios(released, known, rows, least), rows.side, rng)
