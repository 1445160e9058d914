"""The whitened search in parts: a series that was stretched, warped in time, or changed part by part.

Parts of a released series are correlated with the same parts of real ones, each at a few steps before and
after and of either sign; how high the correlations are together is compared between owners. So each part may
have moved on its own, as where time runs faster, and each may have its own scale and sign. All parts of all
pairs cost much: of a large release a random choice of series is searched. Shapes: n rows, L steps, w steps of
a part, p parts, b rows of a block, E entities.
"""

import numpy as np
from scipy.special import ndtri

from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.fragments.whitened import (
    REFERENCE,
    Compared,
    cap,
    lower_ratios,
    scale_rows,
    whiten,
)
from distgan.evaluation.attacks.fragments.windows import Rows, iterate_blocks

STEPS = 48  # of a part
LAG = 12  # steps, at most
PARTS = 12
FEWEST_PARTS = 4
PAIRS = 2**23  # of rows, at most
AT_ONCE = 2**20  # correlations
POWER = 4  # of the correlations that are summed: a few high ones tell more than many middling ones


def find_elastic(rows: Rows, rng: np.random.Generator) -> tuple[Array, float]:
    """Return each entity's least ratio, [E], and the share of the released rows that was searched."""
    found = np.full(len(rows.side), np.inf)
    starts = place_parts(rows.length)
    if len(starts) < FEWEST_PARTS:
        return found, 1.0
    count = min(len(rows.synthetic), max(1, PAIRS // len(rows.real)))
    chosen = np.sort(rng.permutation(len(rows.synthetic))[:count])
    order = np.argsort(rows.entities, kind="stable")
    parts = take_parts(rows.real[order], starts, LAG)
    compared = Compared.select(parts, rows.entities[order], np.any(parts, axis=(1, 2)))
    if compared.is_enough:
        made = take_parts(rows.synthetic[chosen], starts, 0)
        found[compared.known] = _compare_parts(made, compared)
    return found, count / len(rows.synthetic)


def _compare_parts(made: Array, compared: Compared) -> Array:
    """Return each entity's least ratio: [m, p, w], [n, p, w'] -> [e]."""
    real = compared.values - compared.values.mean(axis=0)
    made = scale_rows(made)
    lengths, edges = _measure_lengths(real), compared.edges
    found = np.full(len(edges), np.inf)
    usual = float(ndtri(1 - REFERENCE / len(edges)))
    for span in iterate_blocks(np.broadcast_to(np.float32(0), (len(made), len(real))), AT_ONCE):
        alike = np.maximum.reduceat(_sum_parts(made[span], real, lengths), edges, axis=1)
        beyond = np.maximum(alike - np.median(alike, axis=1, keepdims=True), 0)
        lower_ratios(found, np.sqrt(beyond), np.arange(len(edges)), usual)
    return found


def place_parts(length: int) -> Array:
    """Return the first steps of the parts, which overlap by half at most: [p]."""
    room = length - STEPS - 2 * LAG
    count = min(PARTS, 1 + 2 * room // STEPS)
    return LAG + np.linspace(0, room, max(count, 1)).astype(int) if room >= 0 else np.empty(0, int)


def take_parts(rows: Array, starts: Array, beside: int) -> Array:
    """Return the parts of the whitened rows, with so many steps on either side: [n, L] -> [n, p, w']."""
    length = rows.shape[1]
    steps = starts[:, None] + np.arange(-beside, STEPS + beside)
    found = np.empty((len(rows), *steps.shape), np.float32)
    bins = np.arange(length // 2)
    for span in iterate_blocks(rows):
        spectra = np.pad(cap(whiten(rows[span], bins)), ((0, 0), (1, 0)))
        found[span] = np.fft.irfft(spectra, length, axis=1)[:, steps]
    return found


def _measure_lengths(real: Array) -> Array:
    """Return the length of each part at each lag: [n, p, w'] -> [2 LAG + 1, p, n]."""
    squares = np.zeros((*real.shape[:2], real.shape[2] + 1))
    np.cumsum(np.square(real), axis=2, out=squares[..., 1:])
    lengths = np.sqrt(np.maximum(squares[..., STEPS:] - squares[..., :-STEPS], 0))
    return np.maximum(lengths, 1e-6).transpose(2, 1, 0).astype(np.float32)


def _sum_parts(made: Array, real: Array, lengths: Array) -> Array:
    """Return the sum over parts of a power of the highest correlation: [b, p, w], [n, p, w'] -> [b, n]."""
    total = np.zeros((len(made), len(real)), np.float32)
    for part in range(real.shape[1]):
        own, other = np.ascontiguousarray(made[:, part]), np.ascontiguousarray(real[:, part])
        highest = np.zeros_like(total)
        for lag, length in enumerate(lengths[:, part]):
            products = own @ other[:, lag : lag + STEPS].T
            np.abs(products, out=products)
            products /= length
            np.maximum(highest, products, out=highest)
        total += highest**POWER
    return total
