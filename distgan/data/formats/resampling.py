"""How many readings make a step whole, and the sum or mean of those that fall into one."""

import numpy as np
import pandas as pd

from distgan.data.grid import to_kind


class SamplingRates:
    """The number of readings that make a step whole, so that a sum leaves none out: learned from the time
    between the readings of each id.

    A reading that stands twice counts twice. Where fewer than two thirds of those times are the same, no
    number tells what is missing: every sum of uneven readings is of those that were measured.
    """

    def __init__(self, ids: int) -> None:
        self._total = np.zeros(ids, np.int64)
        self._last = np.full(ids, np.iinfo(np.int64).min)  # the latest time so far, in microseconds
        self._tallies: list[pd.Series] = []  # of (id, microseconds between), folded into one

    def learn(self, codes: np.ndarray, times: np.ndarray) -> None:
        """Take the readings of a part, in any order: whose [rows], datetime64[us] [rows]. An id's first
        reading of a part follows the last one of the parts before.
        """
        ids, stamps = np.unique(codes), times.astype("M8[us]").astype(np.int64)
        known = ids[self._last[ids] > np.iinfo(np.int64).min]
        codes, stamps = np.concatenate([known, codes]), np.concatenate([self._last[known], stamps])
        np.maximum.at(self._last, codes, stamps)
        order = np.lexsort((stamps, codes))
        whose, gaps = codes[order], np.diff(stamps[order])
        inside = (whose[1:] == whose[:-1]) & (gaps > 0)
        whose, gaps = whose[1:][inside], gaps[inside]
        if not len(gaps):
            return
        self._total += np.bincount(whose, minlength=len(self._total))
        found = pd.DataFrame({"id": whose, "gap": gaps}).value_counts()
        commonest = found.groupby(level="id").head(1)  # of each id; all would be as many as the readings
        self._tallies = [pd.concat([*self._tallies, commonest]).groupby(level=["id", "gap"]).sum()]

    def count_whole(self, step_seconds: int) -> np.ndarray:
        """Return the readings of each id that a step has at least if none is missing: int64 [ids]."""
        whole = np.ones(len(self._total), np.int64)
        for tallies in self._tallies:
            best = tallies.sort_values(kind="stable").groupby(level="id").tail(1)
            ids, gaps = (best.index.get_level_values(level).to_numpy() for level in ("id", "gap"))
            even = 3 * best.to_numpy() >= 2 * self._total[ids]
            whole[ids[even]] = np.maximum(step_seconds * 1_000_000 // gaps[even], 1)
        return whole


def compute_least(counts: np.ndarray, whole: np.ndarray | int) -> np.ndarray:
    """Return the measured readings that a step needs: as many as make it whole, or as any step of its series
    has, which may be read more seldom than others of its table. Counts [n, L, ...] -> [n, 1, ...].
    """
    return np.minimum(np.max(counts, axis=1, keepdims=True), whole).clip(min=1)


def merge_steps(
    readings: np.ndarray, places: np.ndarray, length: int, method: str, whole: int = 1
) -> np.ndarray:
    """Sum or mean of the readings that fall into each step: [n, rows], [rows] -> [n, length]. A sum with
    fewer than `whole` readings is missing, as an empty step is.
    """
    order = np.argsort(places, kind="stable")
    bins, starts = np.unique(places[order], return_index=True)
    measured = ~np.isnan(readings[:, order])
    sums = np.add.reduceat(np.where(measured, readings[:, order], 0).astype(np.float64), starts, axis=1)
    counts = np.add.reduceat(measured, starts, axis=1, dtype=np.int64)
    found = sums / np.maximum(counts, 1) if method == "mean" else sums
    values = np.full((len(readings), length), np.nan, dtype=readings.dtype)
    values[:, bins] = to_kind(
        np.where(counts >= compute_least(counts, whole), found, np.nan), readings.dtype.type
    )
    return values
