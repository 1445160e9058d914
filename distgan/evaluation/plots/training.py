"""Losses over the steps of a training."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from distgan.evaluation.plots.rhythm import Curve
from distgan.evaluation.plots.style import FAINT, INK, Array, apply_style, make_figure

NOT_LOSSES = frozenset(
    [
        *(
            "step",
            "series",
            "time",
            "seconds",
            "elapsed",
            "eta",
            "rank",
            "stage",
            "data",
            "data_share",
            "data_wait",
        ),
        *("series_per_second", "steps_per_second", "peak_memory_gib", "memory_gib"),
    ]
)


COUNTS = ("skipped", "frozen")  # that are drawn where they are not 0 throughout


def _collect_curves(records: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Collect every number reported more than once that is no clock: name -> [2, lines], steps and values."""
    found: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, value in record.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and name not in NOT_LOSSES and "step" in record and math.isfinite(value):
                found.setdefault(name, []).append((float(record["step"]), float(value)))
    curves = {name: np.array(pairs).T for name, pairs in found.items() if len(pairs) > 1}
    return {name: curve for name, curve in curves.items() if not name.endswith(COUNTS) or curve[1].any()}


def collect_losses(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Curve]:
    """Collect numbers of each stage over steps: stage -> lines of its metrics.jsonl."""
    return [
        Curve(f"{stage} · {name.replace('_', ' ')}", *curve)
        for stage, lines in records.items()
        for name, curve in _collect_curves(lines).items()
    ]


@apply_style
def draw_losses(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw training over time, a panel for each number of each stage: stage -> lines of its metrics.jsonl."""
    panels = collect_losses(records)
    columns = min(3, max(len(panels), 1))
    rows = max(1, math.ceil(len(panels) / columns))
    figure, axes = make_figure(rows, columns, 0.3 + 1.75 * rows)
    for axis, curve in zip(axes.flat, panels):
        axis.plot(curve.x, curve.y, color=FAINT, lw=0.8)
        width = max(1, len(curve.y) // 20)
        padded = np.pad(curve.y, (width // 2, width - 1 - width // 2), mode="edge")
        axis.plot(curve.x, np.convolve(padded, np.ones(width) / width, "valid"), color=INK, lw=1.3)
        axis.set_title(curve.name)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(4))
        axis.grid()
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.supxlabel("step", fontsize=8.5, color=INK)
    return figure
