"""The near search: is a window of the release nearer to one real owner than to any other, and is that owner a
member?

Every window of the release is looked up among the windows of all owners, members and non-members alike
(`points`, FAISS). What counts is the ratio of the distance to the nearest owner and to the next: a copy
is far nearer to one owner than to all others (the ratio test of Lowe 2004), while a window that many have
is as near to the next, so common shapes do not count. An owner's score is the least ratio of all its
windows.

The search does not know the sides, so among the owners with the least ratios members and non-members are
alike frequent unless the release tells of its members. One or few owners are a leak where ratios as small
as theirs are not to be expected of so many non-members, by the power law of those.

Why not a matrix profile (stumpy): it compares one series with one other, in L² steps a pair; 10,000 x 20,000
pairs of 2190 steps are 10^15, and numba would be one more heavy library.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2, poisson

from distgan.anonymity import faiss_backend
from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.fragments.evidence import FALSE_ALARMS, SearchResult
from distgan.evaluation.attacks.fragments.points import Points, make_points, smooth
from distgan.evaluation.attacks.fragments.windows import (
    FEWEST_STEPS,
    MIXED,
    Rows,
    average_days,
    list_window_lengths,
)
from distgan.evaluation.attacks.rates import bound_rate
from distgan.progress import Progress

MOST_REAL, MOST_MADE = 300_000, 150_000  # windows that are compared, of a length
NEIGHBOURS = 8
FEWEST_RANKED = 16  # steps of a window of ranks
FEWEST_IN_HALF = 12  # steps of half a day, which is searched as it stands
SPEEDS = (2, 3, 4)  # steps of one interval in one of another
MOST_AT_SPEEDS = 100_000  # windows that are compared, of either side
CHOICE = 0.01  # error of the intervals by which the number of owners is chosen
FIRST = (16, 32, 64, 128, 256, 512)  # owners with the least ratios, of which sides are counted
TAIL = 0.05  # of the non-members, whose ratios make the power law; at least so many:
FEWEST_IN_TAIL = 10
# The largest exponent that is believed: ratios crowd near 1 where windows are long, and some homes are odd.
STEEPEST = 12.0
SURE = 0.01  # error of the power law's exponent
DEPARTURE = 0.05  # error with which the least few are taken for another law than the tail's
MOST_SURE = 12  # members that are tried one after another
NOTHING = 0.04  # a distance below which windows are as good as equal: those `exact` judges by information
LEAST = 1e-30  # a ratio of which the logarithm is taken
SAME = 0.999  # a ratio of which nothing is said: as near to the next owner


@dataclass(frozen=True)
class Way:
    """One transform: the changes of real rows and of released rows, and the least number of days."""

    name: str
    real: Callable[[Array, int], Array]
    made: Callable[[Array, int], Array]
    rank: bool = False
    fewest_days: float = 0.0


def _keep(rows: Array, day: int) -> Array:
    return rows


def _take_differences(rows: Array, day: int) -> Array:
    return np.diff(rows, axis=1)


def _smooth_half_days(rows: Array, day: int) -> Array:
    return smooth(rows, day // 2)


def _smooth_two_days(rows: Array, day: int) -> Array:
    return smooth(rows, 2 * day)


WAYS = (
    Way("scaled, noisy", _keep, _keep),
    Way("negated", _keep, lambda rows, day: -rows),
    Way("reversed", _keep, lambda rows, day: np.ascontiguousarray(rows[:, ::-1])),
    Way("monotone", _keep, _keep, rank=True),
    Way("low-pass", _smooth_half_days, _smooth_half_days, fewest_days=3),
    Way("strong low-pass", _smooth_two_days, _smooth_two_days, fewest_days=14),
    Way("differences", _take_differences, _keep),
    Way("sums", _keep, _take_differences),
)


def find_near(rows: Rows, rng: np.random.Generator) -> tuple[list[SearchResult], float]:
    """Search every transform: return a result for each window length, and the least share of windows that was
    drawn.
    """
    results: list[SearchResult] = []
    searched = 1.0
    lengths = list_window_lengths(rows.length, rows.day)
    indexed: dict[tuple[object, bool, int], Points] = {}
    with Progress("near copies", len(lengths) * len(WAYS), "searches") as progress:
        for name, steps in lengths.items():
            indexed.clear()
            for way in WAYS:
                progress.advance()
                if steps < max(way.fewest_days * rows.day, FEWEST_RANKED if way.rank else 0):
                    continue
                released = way.made(rows.synthetic, rows.day)
                window = min(steps, rows.length - (way.real is _take_differences), released.shape[1])
                key = (way.real, way.rank, window)
                if key not in indexed:
                    real = way.real(rows.real, rows.day)
                    indexed[key] = _make_points(real, window, rows.day, way, MOST_REAL, rng)
                made = _make_points(released, window, rows.day, way, MOST_MADE, rng)
                searched = min(searched, made.share, indexed[key].share)
                ratios = compute_owner_ratios(made, indexed[key], rows)
                results.append(replace(judge_ratios(ratios, rows.side, rng), transform=way.name, length=name))
    if rows.day // 2 >= FEWEST_IN_HALF:
        results.append(_search_half_days(rows, rng))
    at_speeds, drawn = _search_speeds(rows, rng)
    return results + at_speeds, min(searched, drawn)


def _search_half_days(rows: Rows, rng: np.random.Generator) -> SearchResult:
    """Search windows of half a day as they stand: so short ones are many, and tell little each."""
    half = rows.day // 2
    real = make_points(rows.real, half, half, most=MOST_REAL, rng=rng)
    made = make_points(rows.synthetic, half, half, most=MOST_MADE, rng=rng)
    result = judge_ratios(compute_owner_ratios(made, real, rows), rows.side, rng)
    return replace(result, transform=WAYS[0].name, length="half day")


def _search_speeds(rows: Rows, rng: np.random.Generator) -> tuple[list[SearchResult], float]:
    """Search windows of a quarter of the series for those of another interval, a few steps of which were
    averaged into one or made of one; return the results, and the least share of windows that was drawn.
    """
    steps = rows.length // 4
    if steps < FEWEST_STEPS:
        return [], 1.0

    def make(values: Array) -> Points:
        return make_points(values, steps, rows.day, most=MOST_AT_SPEEDS, rng=rng)

    results = []
    real, made = make(rows.real), make(rows.synthetic)
    for speed in SPEEDS:
        hastened = made, make(average_days(rows.real, speed))
        slowed = make(average_days(rows.synthetic, speed)), real
        for name, (released, known) in (("hastened", hastened), ("slowed", slowed)):
            result = judge_ratios(compute_owner_ratios(released, known, rows), rows.side, rng)
            results.append(replace(result, transform=f"{name} {speed} times", length="quarter"))
    return results, min(real.share, made.share)


def _make_points(rows: Array, steps: int, day: int, way: Way, most: int, rng: np.random.Generator) -> Points:
    return make_points(rows, steps, day, rank=way.rank, most=most, rng=rng)


def compute_owner_ratios(made: Points, real: Points, rows: Rows, nothing: Array | float = NOTHING) -> Array:
    """Return each entity's least ratio of distances, infinity where it is nobody's nearest: [E]. Distances
    below `nothing`, of all released points or of each, are as good as none.
    """
    found = np.full(len(rows.side), np.inf)
    if not len(made.values) or not len(real.values):
        return found
    count = min(NEIGHBOURS, len(real.values))
    distance, place = faiss_backend.find_nearest(made.values, real.values, count)
    entity = np.where(place < 0, -1, rows.entities[real.rows[place]])
    other = entity != entity[:, :1]
    next_one = np.where(other.any(axis=1), other.argmax(axis=1), count - 1)
    beyond = distance[np.arange(len(distance)), next_one]
    beyond = np.where(np.isfinite(beyond), beyond, 2.0)  # no two points of unit length are farther apart
    ratio = np.maximum(distance[:, 0], nothing) / np.maximum(beyond, nothing)
    known = entity[:, 0] >= 0
    np.minimum.at(found, entity[known, 0], ratio[known])
    return found


def judge_ratios(ratios: Array, side: Array, rng: np.random.Generator) -> SearchResult:
    """Return the result for the owners with the least ratios: so many that they prove most. Ties are in
    random order.
    """
    telling = (side < MIXED) & (ratios < SAME)
    sure = count_sure(ratios[telling & (side == 0)], ratios[telling & (side == 1)], int((side == 0).sum()))
    members = side[telling][np.lexsort((rng.random(int(telling.sum())), ratios[telling]))] == 0
    share = float((side == 0).sum() / max((side < MIXED).sum(), 1))
    tried = [(int(members[:first].sum()), first) for first in FIRST if first <= len(members)]
    found, first = max(tried, key=lambda each: _count_excess(each[0], each[1], share), default=(0, 0))
    if sure > _count_excess(found, first, share):
        return SearchResult("", "", (sure, 0), sure)
    return SearchResult("", "", (found, first - found), sure)


def _count_excess(found: int, first: int, share: float) -> float:
    """Return the members above what chance explains among the first owners, at the lower end of the
    interval.
    """
    return first * (bound_rate(found, first, CHOICE)[0] - share)


def count_sure(members: Array, others: Array, number: int) -> int:
    """Count members whose ratios are too small for chance, by the power law of the non-members' least ratios.

    P(ratio < r) falls as r^α; α is Hill's (1975), at the lower end of its interval. Where the last few lie
    farther out than those before let expect (chance repeats some windows of coarse meters), the law of these
    few counts. The j-th least of the members' is beyond chance, if j or more so small are expected too
    rarely.
    """
    others = np.sort(others)
    tail = max(FEWEST_IN_TAIL, round(TAIL * len(others)))
    if len(others) <= tail:
        return 0
    least = np.sort(members)[:MOST_SURE]
    least = least[least < others[0]]
    sizes = [tail]
    usual = _fit_exponent(others, tail)
    for size in (FEWEST_IN_TAIL << doubled for doubled in range(tail.bit_length())):
        if size < tail and _fit_exponent(others, size) * _bound_exponent(1 - DEPARTURE, size) < usual:
            sizes.append(size)
    expected = number / len(others) * np.max([_expect_below(least, others, size) for size in sizes], axis=0)
    chance = poisson.sf(np.arange(len(least)), expected)
    beyond = np.flatnonzero(chance < FALSE_ALARMS / 10 / MOST_SURE)
    return int(beyond[-1]) + 1 if len(beyond) else 0


def _fit_exponent(others: Array, tail: int) -> float:
    """Return the exponent of the power law of so many least ones of [n] sorted ratios (Hill 1975)."""
    logs = np.log(others[tail] / np.maximum(others[:tail], LEAST))
    return tail / max(float(logs.sum()), 1e-9)


def _bound_exponent(quantile: float, tail: int) -> float:
    """Return a quantile of the true exponent of so many ratios, in estimated ones."""
    return float(chi2.ppf(quantile, 2 * tail)) / (2 * tail)


def _expect_below(least: Array, others: Array, tail: int) -> Array:
    """Return the number of non-members expected below each ratio, by the law of their `tail` least."""
    edge = others[tail]
    exponent = min(_fit_exponent(others, tail) * _bound_exponent(SURE, tail), STEEPEST)
    expected: Array = tail * (np.minimum(least, edge) / edge) ** exponent
    return expected
