"""The overall scores as bars of intervals on a logarithmic axis, as numbers for the page's drawing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from distgan.evaluation.results import OverallLine

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)


@dataclass(frozen=True)
class Bar:
    """A row of the chart; places in per cent of its width, `low` and `high` None without an interval."""

    line: OverallLine
    place: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Chart:
    """Bars, and the marks of the axis: text and place."""

    bars: list[Bar]
    ticks: list[tuple[str, float]]
    one: float


def make_chart(lines: Sequence[OverallLine]) -> Chart | None:
    """Place the lines on an axis from the lowest end to the highest; return None for no lines."""
    if not lines:
        return None
    ends = [end for line in lines for end in (line.low, line.high, line.value) if end is not None]
    low, high = math.log(min(*ends, 0.7)) - 0.05, math.log(max(*ends, 1.4)) + 0.05

    def place(value: float) -> float:
        return round(100 * (math.log(max(value, 1e-3)) - low) / (high - low), 2)

    bars = [
        Bar(
            line,
            place(line.value),
            None if line.low is None else place(line.low),
            None if line.high is None else place(line.high),
        )
        for line in lines
    ]
    ticks = [(f"{tick:g}", place(tick)) for tick in TICKS if low <= math.log(tick) <= high]
    return Chart(bars, ticks, place(1))
