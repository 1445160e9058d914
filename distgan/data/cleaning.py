"""Clean the values of a source as the settings say: codes for missing values, zeros at the ends, counters.
Applied block by block, so that memory stays bounded.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from distgan import config
from distgan.data.grid import to_float32
from distgan.data.store.metadata import Meta

EDGE_DAYS = 3
FEWEST_EDGE = 24  # steps
Block = Callable[[int, int], np.ndarray]


def count_edge_steps(meta: Meta) -> int:
    """Return from how many steps on unchanged values are more than chance: three days, or 24 steps."""
    if meta.is_nominal:
        return max(FEWEST_EDGE, meta.axis.length // 20)
    return max(FEWEST_EDGE, round(EDGE_DAYS * meta.axis.steps_per_day))


def clean_blocks(block: Block, meta: Meta, settings: config.Data) -> Block:
    """Return a reader of the same series with `data.missing_values`, `edge_zeros` and `registers` applied."""
    codes = [value for value in settings.missing_values if not isinstance(value, str)]
    if not codes and settings.edge_zeros == "keep" and settings.registers == "keep":
        return block
    return partial(_clean, block, codes, count_edge_steps(meta), settings)


def _clean(
    block: Block, codes: Sequence[float], edge: int, settings: config.Data, first: int, last: int
) -> np.ndarray:
    values = np.array(block(first, last))  # a copy: a mapped source stays as it is
    if codes:
        values[np.isin(to_float32(values), np.array(codes, np.float32))] = np.nan
    if settings.edge_zeros == "missing":
        mask_edge_zeros(values, edge)
    return to_float32(difference_counters(values) if settings.registers == "difference" else values)


def mask_edge_zeros(values: np.ndarray, fewest: int) -> None:
    """Set runs of at least `fewest` zeros at the beginning and end of each series to NaN, in place: [n, L,
    C].

    Missing values before, after and among the zeros belong to the run.
    """
    for ordered in (values, values[:, ::-1]):
        other = (ordered != 0) & ~np.isnan(ordered)
        length = np.where(other.any(axis=1), other.argmax(axis=1), 0)  # [n, C]; a series of zeros stays
        inside = np.arange(ordered.shape[1])[None, :, None] < length[:, None]
        zeros = (inside & (ordered == 0)).sum(axis=1)
        ordered[inside & (zeros >= fewest)[:, None]] = np.nan


def difference_counters(values: np.ndarray) -> np.ndarray:
    """Return what counters [n, L, C] changed by since the step before: how far they rose, or fell, where they
    count down (fall more often than they rise); NaN at the first step and where one starts again.
    """
    change = np.full_like(values, np.nan)
    change[:, 1:] = np.diff(values, axis=1)
    down = np.count_nonzero(change < 0, axis=1) > np.count_nonzero(change > 0, axis=1)
    np.negative(change, out=change, where=np.broadcast_to(down[:, None], change.shape))
    change[change == 0] = 0  # no negative zeros
    change[change < 0] = np.nan
    return change
