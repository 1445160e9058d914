"""The whitened search at every lag: a whole series moved in time, under noise or what was added to it.

To move a series, to reverse it or to change all its signs leaves the heights of its frequencies. They choose
for each released series the few real ones that may be behind it, and are compared for themselves; with these
few the series is correlated at all lags. Shapes as in `whitened`.
"""

from collections.abc import Iterator

import numpy as np
from scipy.special import ndtri

from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.fragments.whitened import (
    AT_ONCE,
    REFERENCE,
    Compared,
    Spectra,
    cap,
    keep,
    leave_own,
    lower_ratios,
    scale_rows,
    to_normal_scores,
    to_unit,
)
from distgan.evaluation.attacks.fragments.windows import iterate_blocks

CANDIDATES = 64  # real rows that a released one is correlated with, those of the most similar heights
LEAST_POWER = 0.1  # added to the power of a frequency, whose logarithm is its height
HEIGHTS = {"heights of frequencies, of values": keep, "heights of frequencies": to_normal_scores}
DIRECTIONS = ("moved", "moved and reversed")


def find_shifted(spectra: Spectra) -> Iterator[tuple[str, Array]]:
    """Yield each entity's least ratio by the heights of frequencies, and by correlations at all lags: [E]."""
    for name, view in HEIGHTS.items():
        real, made = spectra.of_real(view), spectra.of_made(view)
        if not real.is_enough:
            return
        heights = _take_heights(real.values)
        centre = heights.mean(axis=0)
        released = (_take_heights(made) - centre) * made.any(axis=1, keepdims=True)
        ratios, candidates = _compare_heights(scale_rows(released), scale_rows(heights - centre), real.edges)
        yield name, spectra.spread(real, ratios)
    alone, released = _to_complex_unit(leave_own(real.values)), _to_complex_unit(cap(made))
    for direction in DIRECTIONS:
        near = alone.conj() if direction == "moved" else alone
        yield f"whitened, {direction}", _correlate(released, near, candidates, spectra, real)


def _take_heights(spectra: Array) -> Array:
    return np.log(np.square(np.abs(spectra)) + np.float32(LEAST_POWER))


def _to_complex_unit(spectra: Array) -> Array:
    values = to_unit(spectra)
    half = values.shape[1] // 2
    return values[:, :half] + np.complex64(1j) * values[:, half:]


def _compare_heights(made: Array, real: Array, edges: Array) -> tuple[Array, Array]:
    """Return each entity's least ratio, and the real rows that are most similar to each released one: [m, F],
    [n, F], [e] -> [e], [m, k].
    """
    found, candidates = np.full(len(edges), np.inf), []
    usual = float(ndtri(1 - REFERENCE / len(edges)))
    count = min(CANDIDATES, len(real))
    for span in iterate_blocks(np.broadcast_to(np.float32(0), (len(made), len(real))), AT_ONCE):
        alike = made[span] @ real.T
        candidates.append(np.argpartition(-alike, count - 1, axis=1)[:, :count])
        lower_ratios(found, np.maximum.reduceat(alike, edges, axis=1), np.arange(len(edges)), usual)
    return found, np.concatenate(candidates)


def _correlate(made: Array, real: Array, candidates: Array, spectra: Spectra, compared: Compared) -> Array:
    """Return each entity's least ratio by the highest correlation, at any lag and of either sign, of each
    released row with its candidates: [m, F], [n, F], [m, k] -> [E].
    """
    found = np.full(len(spectra.rows.side), np.inf)
    count, length = candidates.shape[1], spectra.rows.length
    usual = float(ndtri(1 - REFERENCE / (2 * count * length)))
    for span in iterate_blocks(np.broadcast_to(np.float32(0), (len(made), 2 * count * length))):
        products = np.zeros((len(made[span]), count, length // 2 + 1), np.complex64)
        products[..., spectra.chosen + 1] = made[span, None] * real[candidates[span]]
        alike = np.abs(np.fft.irfft(products, length, axis=2)).max(axis=2)
        lower_ratios(found, alike, compared.entities[candidates[span]], usual)
    return found
