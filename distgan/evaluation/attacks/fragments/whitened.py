"""The whitened search: does a whole series of the release go with one real owner's against all others?

A series is brought to normal scores (which no increasing map of its values changes), and its spectrum to one
height (which no filter that leaves the phases changes). What is left is as good as noise of its own, so that
whole series of two owners are hardly correlated, and a copy is seen under much that was added to it: another
owner's readings, noise of half the deviation, another day's course, few levels.

Correlations, of either sign, are measured against those with the other owners: beyond the `REFERENCE`-th
highest of a released series they are as rare as of normal numbers. So a sum of a few members shows each of
them, and one of many shows none: an aggregate. Shapes: n rows, L steps, F frequencies, b rows of a block, E
entities.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.special import ndtri
from scipy.stats import rankdata

from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.fragments.pictures import KNOWN, fill_gaps
from distgan.evaluation.attacks.fragments.windows import Rows, iterate_blocks

FREQUENCIES = 256  # of a row, at most: a random choice of those it has
FEWEST_FREQUENCIES = 32
SMOOTHED = 32  # parts of the spectrum over which its height is averaged
FEWEST_TELLING, PART_TELLING = 32, 1 / 16  # steps that make a whitened row's variance: all, and of its length
REFERENCE = 5  # owners with the highest correlations, of which the last is what chance reaches
EXPONENT = 8  # of the power law that ratios then have by chance, as those of `near` have
AT_ONCE = 2**23  # correlations


@dataclass(frozen=True)
class Direction:
    """A change of the released rows, and how many steps it makes them late."""

    change: Callable[[Array], Array]
    late: int = 0


DIRECTIONS = {
    "whitened": Direction(lambda rows: rows),
    "whitened, a step late": Direction(lambda rows: rows, late=1),
    "whitened, reversed": Direction(lambda rows: np.ascontiguousarray(rows[:, ::-1])),
    "whitened, sums": Direction(lambda rows: np.diff(rows, axis=1, prepend=rows[:, :1])),
}


def find_whitened(rows: Rows) -> Iterator[tuple[str, Array]]:
    """Yield by direction each entity's least ratio, infinity where it is not among the nearest: [E]."""
    bins = rows.length // 2
    if bins < FEWEST_FREQUENCIES or len(rows.side) <= 2 * REFERENCE or not len(rows.synthetic):
        return
    chosen = np.sort(np.random.default_rng(0).permutation(bins)[:FREQUENCIES])  # of no one's knowledge
    spectra = whiten(rows.real, chosen)
    telling = np.abs(spectra).any(axis=1)
    common = spectra[telling].mean(axis=0) if telling.any() else np.zeros(len(chosen), np.complex64)
    spectra[telling] -= common  # what all have in common, as holidays
    order = np.argsort(rows.entities, kind="stable")
    real = to_unit(spectra)[order]
    edges = np.searchsorted(rows.entities[order], np.arange(len(rows.side)))
    for name, direction in DIRECTIONS.items():
        made = whiten(direction.change(rows.synthetic), chosen)
        made *= np.exp(2j * np.pi * direction.late * (chosen + 1) / rows.length).astype(np.complex64)
        yield name, compare(to_unit(made), real, edges)


def compare(made: Array, real: Array, edges: Array) -> Array:
    """Return each entity's least ratio of all released rows; real rows are in the order of their entities,
    which begin at `edges`: [m, 2F], [n, 2F], [E] -> [E].
    """
    found = np.full(len(edges), np.inf)
    usual = float(ndtri(1 - REFERENCE / len(edges)))
    for span in iterate_blocks(np.broadcast_to(np.float32(0), (len(made), len(real))), AT_ONCE):
        alike = np.abs(made[span] @ real.T)
        alike = np.maximum.reduceat(alike, edges, axis=1)
        highest = np.argpartition(-alike, REFERENCE - 1, axis=1)[:, :REFERENCE]
        values = np.take_along_axis(alike, highest, axis=1).astype(np.float64)
        least = values.min(axis=1, keepdims=True)
        known = least[:, 0] > 1e-6
        beyond = np.square(values[known] / least[known]) - 1
        ratios = np.exp(-(usual**2) / (2 * EXPONENT) * beyond)
        np.minimum.at(found, highest[known], ratios)
    return found


def whiten(rows: Array, chosen: Array) -> Array:
    """Return the chosen frequencies of the whitened rows, 0 of a row that tells too little: [n, L] -> [n, F]
    complex64.
    """
    found = np.zeros((len(rows), len(chosen)), np.complex64)
    for span in iterate_blocks(rows, AT_ONCE):
        values, gaps = fill_gaps(rows[span])
        spectra = np.fft.rfft(to_normal_scores(values), axis=1)[:, 1:]
        power = np.square(np.abs(spectra))
        width = max(9, 2 * (power.shape[1] // SMOOTHED) + 1)
        height = uniform_filter1d(power, width, axis=1, mode="nearest")
        height += 1e-3 * power.mean(axis=1, keepdims=True) + 1e-20
        spectra /= np.sqrt(height)
        spectra /= np.maximum(np.abs(spectra), 1)  # lines, as of the day, are brought down to the others
        tells = (gaps.mean(axis=1) <= 1 - KNOWN) & (count_telling(spectra, rows.shape[1]) >= _need(rows))
        found[span] = np.where(tells[:, None], spectra[:, chosen], 0)
    return found


def _need(rows: Array) -> float:
    return max(FEWEST_TELLING, PART_TELLING * rows.shape[1])


def count_telling(spectra: Array, length: int) -> Array:
    """Return how many steps make the variance of each row with these frequencies: [n, F] -> [n]. Of a home
    that is empty but for one evening these are few, and others have them by chance.
    """
    squares = np.square(np.fft.irfft(np.pad(spectra, ((0, 0), (1, 0))), length, axis=1))
    mean = squares.mean(axis=1)
    return np.asarray(length * mean**2 / np.maximum(np.square(squares).mean(axis=1), 1e-30))


def to_normal_scores(values: Array) -> Array:
    """Return what a normal number of the same rank in its row would be; equal values have their mean rank:
    [n, L] -> [n, L] float32.
    """
    ranks = rankdata(values, axis=1)
    return np.asarray(ndtri((ranks - 0.5) / values.shape[1]), np.float32)


def to_unit(spectra: Array) -> Array:
    """Return rows of unit length whose products are correlations: [n, F] complex -> [n, 2F] float32."""
    values = np.concatenate([spectra.real, spectra.imag], axis=1)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.float32(1e-9))
