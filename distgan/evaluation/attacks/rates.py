"""Estimates with confidence intervals: of rates, of AUC, and of the gain of an attack over guessing.

Intervals are 95 %, two-sided. A release needs *every* upper bound below its limit, so what is above any
limit passes with a chance of 2.5 % at most, however many attacks there are (an intersection-union test:
Berger 1982). The other way round, many attacks make false alarms: where an alarm goes by lower bounds, it
goes by `sure`, which holds for all of a battery at once (Bonferroni).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from scipy.stats import beta, binom

from distgan.evaluation.attacks import tracing

ERROR = 0.05
TESTS = 40  # more than the intervals of a battery
NORMAL, NORMAL_SURE = (NormalDist().inv_cdf(1 - ERROR / tests / 2) for tests in (1, TESTS))


@dataclass(frozen=True)
class IntervalEstimate:
    """A statistic with its interval; `sure` is a lower bound that holds for all attacks at once."""

    value: float
    low: float
    high: float
    sure: float
    n: int  # owners behind it: members that were attacked
    others: int | None = None  # non-members that it was compared with, where they are another number

    def widen(self, error: float, n: int) -> "IntervalEstimate":
        """Return the estimate for n owners a side with ends no nearer than a standard error allows."""
        low, high = min(self.low, self.value - NORMAL * error), max(self.high, self.value + NORMAL * error)
        sure = min(self.sure, self.value - NORMAL_SURE * error)
        return IntervalEstimate(self.value, max(low, 0.0), min(high, 1.0), max(sure, 0.0), n, n)

    @staticmethod
    def from_exact(value: float, n: int) -> "IntervalEstimate":
        """Return a count or a bound, of which nothing is estimated."""
        return IntervalEstimate(value, value, value, value, n)


def bound_rate(hits: int, n: int, error: float = ERROR) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) interval of a rate; 0 of n bounds it by 1 − (error / 2)^(1/n)."""
    low = float(beta.ppf(error / 2, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - error / 2, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def estimate_rate(hits: int, n: int) -> IntervalEstimate:
    return IntervalEstimate(hits / n, *bound_rate(hits, n), bound_rate(hits, n, ERROR / TESTS)[0], n)


def estimate_auc(inside: np.ndarray, outside: np.ndarray) -> IntervalEstimate:
    """Estimate P(a member's score is above a non-member's)."""
    value, low, high = tracing.estimate_auc(inside, outside)
    return IntervalEstimate(value, low, high, widen_low(value, low), len(inside), len(outside))


def widen_low(value: float, low: float) -> float:
    """Return the lower end that holds for a whole battery, from that of one normal interval."""
    return value - (value - low) * NORMAL_SURE / NORMAL


def break_ties(
    inside: np.ndarray, outside: np.ndarray, rng: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ranks of both sides' scores together, 0 the lowest, equal scores in random order.

    An order that favours one side would be a finding: scores that say nothing are all equal.
    """
    scores = np.concatenate([inside, outside])
    lot = (rng or np.random.default_rng(0)).permutation(len(scores))
    ranks = np.empty(len(scores), np.int64)
    ranks[np.lexsort((lot, scores))] = np.arange(len(scores))
    return ranks[: len(inside)], ranks[len(inside) :]


def estimate_hits(
    inside: np.ndarray, outside: np.ndarray, false_rate: float, rng: np.random.Generator | None = None
) -> IntervalEstimate:
    """Estimate the true-positive rate at a false-positive rate: the members above the threshold that
    `false_rate` of the non-members pass (rounded down). Equal scores are put in random order.

    The interval counts the error of the threshold, which few non-members hardly fix. Upper end: at the next
    thresholds that surely no fewer than `false_rate` pass; the changes by threshold and by members are
    squared and added (MOVER, as in `estimate_residual_risk`). Lower ends: more non-members may really pass
    the threshold, up to a rate f'; at f an attacker who drops all but f / f' of the claims at random still
    finds that part of the members.
    """
    inside, outside = break_ties(inside, outside, rng)
    falling, n = np.sort(outside)[::-1], len(outside)

    def count_above(allowed: int) -> int:
        return int((inside > (falling[allowed] if allowed < n else -1)).sum())

    allowed = int(false_rate * n)
    found = estimate_rate(count_above(allowed), len(inside))
    looser = count_above(int(binom.ppf(1 - ERROR / 2, n, false_rate))) / len(inside)
    low, sure = (
        end * min(1.0, false_rate / bound_rate(allowed, n, error)[1])
        for end, error in ((found.low, ERROR), (found.sure, ERROR / TESTS))
    )
    high = min(1.0, found.value + math.hypot(looser - found.value, found.high - found.value))
    return replace(found, low=low, high=high, sure=sure, others=n)


def estimate_residual_risk(hits: int, n: int, control_hits: int, control_n: int) -> IntervalEstimate:
    """Return the gain of an attack on members over the same one on non-members: (r - c) / (1 - c), at least
    0.

    The statistic is Anonymeter's (Giomi et al. 2023). Its interval is that of two exact ones: r and c
    each have Clopper and Pearson's limits, and the changes that either limit makes are squared and added
    (MOVER: Zou and Donner 2008). No count makes it degenerate: at none or all of n the limits still stand
    off. Where every non-member is hit, 1 - c is 0: the value is 0, and the interval says how little is
    known.
    """

    def compute_risk(success: float, control: float) -> float:
        return (success - control) / (1 - control) if control < 1 else -math.inf if success < 1 else 0.0

    def compute_interval(error: float) -> tuple[float, float]:
        (least, most), (control_least, control_most) = (
            bound_rate(hits, n, error),
            bound_rate(control_hits, control_n, error),
        )
        if control == 1:
            return 0.0, compute_risk(most, control_least)
        below = math.hypot(value - compute_risk(least, control), value - compute_risk(success, control_most))
        above = math.hypot(compute_risk(most, control) - value, compute_risk(success, control_least) - value)
        return value - below, value + above

    success, control = hits / n, control_hits / control_n
    value = compute_risk(success, control)
    (low, high), (sure, _) = compute_interval(ERROR), compute_interval(ERROR / TESTS)
    value, low, high, sure = (min(max(each, 0.0), 1.0) for each in (value, low, high, sure))
    return IntervalEstimate(value, low, high, sure, n, control_n)


def bound_epsilon(guesses: int, right: int, entities: int, delta: float, error: float = ERROR) -> float:
    """Return the least ε of a mechanism of which so many guesses who is in (by a fair coin) are right.

    One training is enough: guesses of an (ε, δ)-private mechanism are right no more often than coins that
    fall right with probability e^ε / (1 + e^ε), up to a chance that grows with δ and all `entities` that
    could have been guessed (Steinke, Nasr and Jagielski 2023, Theorem 5.2).
    """

    def compute_chance(epsilon: float) -> float:
        p = 1 / (1 + math.exp(-epsilon))
        below = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, p)) / np.arange(1, right + 1)
        return float(binom.sf(right - 1, guesses, p) + 2 * entities * delta * below.max(initial=0.0))

    low, high = 0.0, 30.0
    if compute_chance(low) > error:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if compute_chance(middle) <= error else (low, middle)
    return low


def audit_epsilon(
    inside: np.ndarray,
    outside: np.ndarray,
    delta: float,
    guesses: Sequence[int],
    error: float,
    rng: np.random.Generator | None = None,
) -> float:
    """Return the best bound on ε from guessing that the highest scores are members'; each try has its part of
    the error. Equal numbers on both sides: a fair coin, which the split by owners has thrown. Equal scores
    are guessed at in random order.
    """
    size = min(len(inside), len(outside))
    ranks = np.concatenate(break_ties(inside[:size], outside[:size], rng))
    order = np.argsort(-ranks)
    tries = [number for number in guesses if number <= size]
    return max(
        (
            bound_epsilon(number, int((order[:number] < size).sum()), 2 * size, delta, error / len(tries))
            for number in tries
        ),
        default=0.0,
    )
