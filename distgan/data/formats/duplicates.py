"""Readings of one entity and time that stand more than once: equal ones are merged, others follow a rule."""

from dataclasses import dataclass
from typing import Any

import numpy as np

RULES = ("error", "first", "last", "mean", "sum")


@dataclass
class Tally:
    """Count of what was merged, and the first conflict: whose, when, and in which channel of rows."""

    merged: int = 0
    conflicting: int = 0
    first: Any = None

    def add(self, merged: int, conflicting: int, first: Any) -> None:
        """Count more of them."""
        self.merged += merged
        self.conflicting += conflicting
        if conflicting and self.first is None:
            self.first = first


def combine(stack: np.ndarray, rule: str) -> np.ndarray:
    """Return one reading of several, missing where all are: [k, ...] -> [...].

    Mean and sum are of the different readings; equal ones are one reading that was written twice.
    """
    if rule in ("error", "first", "last"):
        ordered = stack if rule != "last" else stack[::-1]
        place = np.argmax(~np.isnan(ordered), axis=0)
        return np.take_along_axis(ordered, place[None], axis=0)[0]
    ordered = np.sort(stack, axis=0)  # missing last
    fresh = ~np.isnan(ordered)
    fresh[1:] &= ordered[1:] != ordered[:-1]
    total = np.where(fresh, ordered, 0).sum(axis=0, dtype=np.float64)
    count = fresh.sum(axis=0)
    found = total / np.maximum(count, 1) if rule == "mean" else total
    return np.where(count > 0, found, np.nan).astype(stack.dtype)


def find_conflicts(stack: np.ndarray) -> np.ndarray:
    """Return where readings differ: [k, ...] -> bool [...]."""
    there = ~np.isnan(stack)
    low = np.min(stack, axis=0, where=there, initial=np.inf)
    high = np.max(stack, axis=0, where=there, initial=-np.inf)
    return there.any(axis=0) & (low != high)


def group_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a stable order by key, where each group of equal keys begins in it, and how many it has."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = (
        np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(keys) else np.empty(0, np.int64)
    )
    return order, starts, np.diff(np.append(starts, len(keys)))


def merge_groups(
    values: np.ndarray, order: np.ndarray, starts: np.ndarray, counts: np.ndarray, rule: str
) -> tuple[np.ndarray, int, np.ndarray]:
    """Return one reading for each group: values [rows, c] -> [groups, c]; how many rows were equal to
    others, and which groups are in conflict.
    """
    found = values[order[starts]]
    conflicting = np.zeros(len(starts), dtype=bool)
    merged = 0
    for size in np.unique(counts[counts > 1]).tolist():
        which = np.flatnonzero(counts == size)
        stack = values[order[starts[which][None] + np.arange(size)[:, None]]]
        found[which] = combine(stack, rule)
        differ = find_conflicts(stack).any(axis=tuple(range(1, stack.ndim - 1)))
        conflicting[which] = differ
        merged += (size - 1) * int((~differ).sum())
    return found, merged, conflicting
