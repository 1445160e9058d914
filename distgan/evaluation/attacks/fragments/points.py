"""Windows as points at which near copies coincide, whatever their scale and offset.

Where a window begins must not depend on where it stands in its series. Windows begin at whole days, so
that days put together are met as they were taken, and are centred on the series' own peaks, which move
with what is copied (as local minima of hashes do in winnowing, Schleimer et al. 2003). A window is
standardised and its steps are averaged into at most 48, so that long windows are compared by their
course: noise and low-pass filters change that little. Shapes: n rows, L steps, w steps of a window, k
windows, D numbers of a point.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.stats import rankdata

from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.fragments.windows import VALUES_AT_ONCE, iterate_blocks

NUMBERS = 48  # of a point
KNOWN = 0.7  # share of its steps that a window must have
QUIET = 0.05  # of its row's deviation: a window that varies less, as of an empty home, tells of nobody
SAME = 1e-5  # of the largest value: what varies less is flat up to rounding
TELLING = 4.0  # steps that make a window's variance, at least: one peak alone is like any other;
PEAKED = 24  # and one in so many of a long window
FEWEST_LEVELS = 5  # distinct values: of as many steps a quarter, of an appliance two
MOST_STEPS_OF_LEVELS = 96
TIED = 0.2  # share of a window's steps that may stand on one value, where ranks are compared


@dataclass(frozen=True)
class Points:
    """Windows as points: [k, D] float32 of unit length, the row of each, [k], and the share that was
    drawn.
    """

    values: Array
    rows: Array
    share: float = 1.0


def make_points(
    rows: Array, steps: int, day: int, *, rank: bool = False, most: int, rng: np.random.Generator
) -> Points:
    """Make points of windows of so many steps of all rows; if there are more than `most`, a random choice of
    them.
    """
    found, owners = [np.empty((0, min(NUMBERS, steps)), np.float32)], [np.empty(0, np.int64)]
    expected = len(rows) * _expect_windows(rows.shape[1], steps, day)
    share = min(1.0, most / max(expected, 1))
    for span in iterate_blocks(rows):
        values, gaps = fill_gaps(rows[span])
        values = _bring_to_one(values)
        row, start = _list_places(values, steps, day)
        if share < 1:
            chosen = rng.random(len(row)) < share
            row, start = row[chosen], start[chosen]
        deviation = values.std(axis=1)
        views = sliding_window_view(values, steps, axis=1)
        missing = np.zeros((len(values), values.shape[1] + 1), np.int32)
        np.cumsum(gaps, axis=1, out=missing[:, 1:])
        known = missing[row, start + steps] - missing[row, start] <= (1 - KNOWN) * steps
        row, start = row[known], start[known]
        at_once = max(1, VALUES_AT_ONCE // steps)
        for first in range(0, len(row), at_once):
            who = row[first : first + at_once]
            windows = views[who, start[first : first + at_once]]
            tells = _select_informative(windows, deviation[who], rank)
            found.append(_embed_windows(windows[tells], rank))
            owners.append(who[tells] + span.start)
    order = rng.permutation(sum(map(len, owners)))  # equal points: the first found is anybody's
    return Points(np.concatenate(found)[order], np.concatenate(owners)[order], share)


def _bring_to_one(rows: Array) -> Array:
    """Divide each row by a power of two, so that its largest value is about one: the fourth powers of watts
    of a country and of amperes of a cell are no numbers of single precision.
    """
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    return np.ldexp(rows, -np.frexp(largest)[1])


def _expect_windows(length: int, steps: int, day: int) -> float:
    """Return the approximate number of windows of a row."""
    room = length - steps + 1
    return 1 + room / choose_stride(steps, day) + room / (2 * choose_peak_radius(steps, day))


def choose_stride(steps: int, day: int) -> int:
    """Return the steps between windows that begin at whole days: one day, or a quarter of a long window."""
    return day * max(1, steps // 4 // day)


def choose_peak_radius(steps: int, day: int) -> int:
    """Return the steps on either side in which a peak must be the highest."""
    return max(2, day // 2, steps // 8)


def _list_places(values: Array, steps: int, day: int) -> tuple[Array, Array]:
    """Return row and first step of every window: at whole days, and centred on peaks."""
    last = values.shape[1] - steps
    wanted = np.zeros((len(values), last + 1), bool)
    wanted[:, :: choose_stride(steps, day)] = True
    highest = (
        maximum_filter1d(values, 2 * choose_peak_radius(steps, day) + 1, axis=1, mode="nearest") == values
    )
    highest[:, 1:] &= values[:, 1:] > values[:, :-1]
    half = steps // 2
    wanted |= highest[:, half : half + last + 1]
    row, start = np.nonzero(wanted)
    return row, start


def _select_informative(windows: Array, deviation: Array, rank: bool) -> Array:
    """Return the windows that vary, in more than a few steps and between more than a few levels: [k, w], [k]
    -> [k].

    Ranks of a window that stands on one value for long are a picture of when it does so: the empty days of a
    week, which others have by chance. Such windows are left to `exact`, which compares orders by information.
    """
    centred = windows - windows.mean(axis=1, keepdims=True)
    squares = np.square(centred, out=centred)
    variance = squares.mean(axis=1)
    fourth = np.square(squares, out=squares).mean(axis=1)
    least = np.maximum(QUIET * deviation, SAME * np.abs(windows).max(axis=1))
    steps = windows.shape[1]
    effective = steps * variance**2 / np.maximum(fourth, 1e-30)
    telling = (np.sqrt(variance) > least) & (effective >= max(TELLING, steps / PEAKED))
    ordered = np.sort(windows[telling], axis=1)
    levels = 1 + (ordered[:, 1:] > ordered[:, :-1]).sum(axis=1)
    tells = levels >= max(FEWEST_LEVELS, min(steps, MOST_STEPS_OF_LEVELS) // 4)
    if rank:
        apart = max(1, math.ceil(TIED * steps))
        tells &= (ordered[:, apart:] > ordered[:, : steps - apart]).all(axis=1)
    telling[telling] = tells
    return telling


def _embed_windows(windows: Array, rank: bool) -> Array:
    """Transform [k, w] -> [k, D] centred, of unit length; of the ranks of the values, if wanted."""
    if rank and len(windows):
        windows = rankdata(windows, axis=1).astype(np.float32)
    windows = windows - windows.mean(axis=1, keepdims=True)
    steps = windows.shape[1]
    if steps > NUMBERS:
        edges = np.linspace(0, steps, NUMBERS + 1).astype(int)
        windows = np.add.reduceat(windows, edges[:-1], axis=1) / np.sqrt(np.diff(edges))
        windows = windows - windows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(windows, axis=1, keepdims=True)
    return (windows / np.maximum(length, 1e-20)).astype(np.float32)


def fill_gaps(rows: Array) -> tuple[Array, Array]:
    """Fill every gap on a straight line between its neighbours, 0 in an empty row; return rows and gaps."""
    gaps = np.isnan(rows)
    if not gaps.any():
        return rows, gaps
    filled, steps = rows.copy(), np.arange(rows.shape[1])
    for row in np.flatnonzero(gaps.any(axis=1)):
        known = ~gaps[row]
        filled[row] = np.interp(steps, steps[known], rows[row, known]) if known.any() else 0
    return filled, gaps


def smooth(rows: Array, steps: int) -> Array:
    """Average over so many steps, three at least, twice; a gap stays one."""
    values, gaps = fill_gaps(rows)
    width = max(3, steps)
    found = uniform_filter1d(uniform_filter1d(values, width, axis=1), width, axis=1)
    return np.where(gaps, np.float32(np.nan), found).astype(np.float32)
