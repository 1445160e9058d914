"""The near search in what whole days tell, whatever their course: totals of days and of thirds of days, and
the values of each day in any order.

A release that keeps how much a member used on every day, and gives the days another's course, has no window
of a member. The days are those that series begin with. Shapes: n rows, L steps.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.fragments.evidence import SearchResult
from distgan.evaluation.attacks.fragments.near import compute_owner_ratios, judge_ratios
from distgan.evaluation.attacks.fragments.pictures import make_points
from distgan.evaluation.attacks.fragments.windows import FEWEST_STEPS, Rows, average_days, split_days

PARTS = 3  # of a day
MOST = 100_000  # windows that are compared, of a length
NOTHING = 0.002  # a distance below which windows are as good as equal: no exact search compares totals
LENGTHS = {"half": 2, "whole": 1}  # of the rows, in parts


def sort_days(rows: Array, day: int) -> Array:
    """Sort the values of every so many steps: [n, L] -> [n, L // day · day]."""
    return np.sort(split_days(rows, day), axis=2).reshape(len(rows), -1)


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
            if steps < FEWEST_STEPS:
                continue
            released, known = (make_points(each, steps, day, most=MOST, rng=rng) for each in (made, real))
            ratios = compute_owner_ratios(released, known, rows, NOTHING)
            result = judge_ratios(ratios, rows.side, rng)
            results.append(replace(result, transform=name, length=length))
    return results
