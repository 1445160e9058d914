"""Clean the values of a source as the settings say: codes for missing values, zeros at the ends, counters.
Applied block by block, so that memory stays bounded.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from distgan import config
from distgan.data.grid import to_float32
from distgan.data.store.metadata import Meta
from distgan.errors import UserError

EDGE_DAYS = 3
FEWEST_EDGE = 24  # steps
EXACT = 2.0**53  # from here on float64 skips whole numbers
BACK = 0.9  # of the fall of a counter, up at one step: its reading was wrong
Block = Callable[[int, int], np.ndarray]


def count_edge_steps(meta: Meta) -> int:
    """Return from how many steps on unchanged values are more than chance: three days, or 24 steps."""
    if meta.is_nominal:
        return max(FEWEST_EDGE, meta.axis.length // 20)
    return max(FEWEST_EDGE, round(EDGE_DAYS * meta.axis.steps_per_day))


def clean_blocks(block: Block, meta: Meta, settings: config.Data) -> Block:
    """Return a reader of the same series with `data.missing_values`, `edge_zeros` and `registers` applied.

    Raises (the reader):
        UserError: a counter has too many digits.
    """
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
    if settings.registers != "difference":
        return to_float32(values)
    _refuse_inexact(values)
    return to_float32(difference_counters(values))


def _refuse_inexact(values: np.ndarray) -> None:
    """
    Raises:
        UserError: a reading of a counter is so large that its last digits are lost, and so differences are.
    """
    large = values[np.isfinite(values) & (np.abs(values) >= EXACT)]
    if len(large):
        raise UserError(
            f"data.registers=difference: a counter reads {large[0]:.4g}, and numbers from 9.0072e+15 on lose "
            "their last digits; write its readings in a larger unit or from a later zero, or, if that means "
            "missing, set data.missing_values"
        )


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
    wrong = _mark_wrong_readings(np.where(down[:, None], -values, values))
    change[change == 0] = 0  # no negative zeros
    change[change < 0] = np.nan
    change[:, 1:][wrong] = np.nan
    return change


def _mark_wrong_readings(counted: np.ndarray) -> np.ndarray:
    """Return which changes lead to or from a wrong reading of a rising counter, as a zero or a code that a
    logger wrote: [n, L, C] -> bool [n, L-1, C].

    A counter that starts again stays below its last reading. One that is back above it at one step never
    fell; one that falls back at one step to where it was before never rose, which is the same seen backwards.
    """
    return _mark_returns(counted) | _mark_returns(-counted[:, ::-1])[:, ::-1]


def _mark_returns(counted: np.ndarray) -> np.ndarray:
    """Return which changes lead back above the reading before the last fall, and are about as large."""
    change = np.diff(counted, axis=1)
    steps = np.arange(counted.shape[1], dtype=np.int32)[None, :, None]
    latest = np.maximum.accumulate(np.where(np.isnan(counted), 0, steps), axis=1)
    filled = np.take_along_axis(counted, latest, axis=1)  # the last reading where one is missing
    rise = np.diff(filled, axis=1, prepend=filled[:, :1])
    if not (rise < 0).any():
        return np.zeros(change.shape, bool)
    fall = np.maximum.accumulate(np.where(rise < 0, steps, 0), axis=1)  # the step of the last one; 0 for none
    level = np.take_along_axis(filled, np.maximum(fall - 1, 0), axis=1)[:, 1:]
    depth = -np.take_along_axis(rise, fall, axis=1)[:, 1:]
    crosses = (fall[:, 1:] > 0) & (filled[:, :-1] < level) & (filled[:, 1:] >= level)
    return np.asarray(crosses & (change >= BACK * depth))
