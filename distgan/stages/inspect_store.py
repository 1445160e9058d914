"""What a store of series holds, in a few lines."""

from pathlib import Path

import numpy as np

from distgan.data.store import Store


def describe(path: Path) -> str:
    """Read every value of the store once, a block at a time, checksums included.

    Raises:
        UserError: it is no store, or it is damaged.
    """
    store = Store.open(path)
    meta, axis = store.meta, store.meta.axis
    blocks = [_summary(block) for _, block in store.blocks()]
    counts, totals, lows, highs = (np.array(column) for column in zip(*blocks))
    size, measured = store.num_series * store.length * store.channels, int(counts.sum())
    times = axis.times()
    lines = [
        f"series     {store.num_series} of {store.length} steps",
        f"channels   {', '.join(meta.channels)}",
        f"time       {times[0]} to {times[-1]}, every {axis.step_seconds} s"
        + ("" if axis.leap_days else ", without 29 February"),
        f"units      {meta.units or 'not given'}",
        f"values     {np.nanmin(lows):g} to {np.nanmax(highs):g}, mean {totals.sum() / max(measured, 1):g}",
        f"missing    {1 - measured / size:.2%}",
    ]
    lines += [f"{name:<10} {value}" for name, value in {**meta.reduction, **meta.provenance}.items()]
    return "\n".join(lines)


def _summary(block: np.ndarray) -> tuple[int, float, float, float]:
    measured = block[~np.isnan(block)].astype(np.float64)
    if not len(measured):
        return 0, 0.0, np.nan, np.nan
    return len(measured), measured.sum(), measured.min(), measured.max()
