"""The surprise of a window: its improbability in bits under a simple model of all real values.

A step's surprise is the least of these: how rare its code is, how rare it is after the code before it, and,
of numbers, how rare the difference to the one before is, and the difference of two differences. So zeros,
plateaus, the few levels of an appliance and smooth curves on a coarse grid tell little, and a reading with
all its digits much. A code that repeats the one before it tells nothing: entities differ in how quiet they
are, so a run of zeros is far likelier in some of them than over all. Shapes: n rows, T codes.
"""

import numpy as np

from distgan.evaluation.attacks.fragments.hashes import BASE, mix

Array = np.ndarray

MOST_SAMPLED = 2**21  # steps whose frequencies are counted
ENOUGH = 20  # times that a code must have been seen for what follows it to be judged
TIMES = (1, 2)  # that numbers are differenced
FINEST = 1e-6  # of the values' deviation: differences are counted on a grid of this


class Surprise:
    """Frequencies of codes, of pairs in a row, and of differences, in a sample of rows."""

    def __init__(self, codes: Array, numbers: Array | None) -> None:
        self.total = codes.size
        self.codes = np.unique(codes, return_counts=True)
        self.pairs = np.unique(_encode_pairs(codes), return_counts=True)
        self.grid = 0.0
        if numbers is not None:
            known = numbers[np.isfinite(numbers)]
            self.grid = FINEST * float(known.std(dtype=np.float64)) if len(known) else 0.0
        if self.grid:
            assert numbers is not None
            self.differences = [
                np.unique(self._take_differences(numbers, times), return_counts=True) for times in TIMES
            ]

    def _take_differences(self, numbers: Array, times: int) -> Array:
        cells = np.rint(np.diff(np.nan_to_num(numbers).astype(np.float64), times, axis=1) / self.grid)
        return np.clip(cells, -(2.0**62), 2.0**62).astype(np.int64)

    def compute_bits(self, codes: Array, numbers: Array | None) -> Array:
        """Return the surprise of every step: [n, T] codes and numbers -> [n, T] float64."""
        seen = _count(self.codes, codes)
        bits = np.log2(self.total / seen)
        before = seen[:, :-1]
        follows = np.log2(np.maximum(before / _count(self.pairs, _encode_pairs(codes)), 1))
        later = bits[:, 1:]
        enough = 1 if numbers is None else ENOUGH  # of orders there are few, and rare ones follow rare ones
        later[...] = np.where(before >= enough, np.minimum(later, follows), later)
        if self.grid and numbers is not None:
            for times, table in zip(TIMES, self.differences):
                rare = np.log2(self.total / _count(table, self._take_differences(numbers, times)))
                np.minimum(bits[:, times:], rare, out=bits[:, times:])
        later[codes[:, 1:] == codes[:, :-1]] = 0
        return bits


def _encode_pairs(codes: Array) -> Array:
    return mix(codes[:, :-1]) * BASE + codes[:, 1:]


def _count(table: tuple[Array, Array], codes: Array) -> Array:
    """Return how often each code was seen; 1, if never."""
    known, counts = table
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[place] == codes, counts[place], 1)
