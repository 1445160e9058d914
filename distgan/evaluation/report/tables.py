"""Numbers and tables in readable form, for pages and terminals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from distgan.evaluation.comparisons import Standing
from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.report.verdict import MODEL, REAL
from distgan.evaluation.results import Mark, ScoreMeaning, ScoreTable


@dataclass(frozen=True)
class Cell:
    """The value of a row in a score, with its standard error."""

    row: str
    value: float | None
    noise: float | None


class Line(ScoreMeaning):
    """A score of the table: its description, a cell for each row, the model's standing, and the small
    drawing.
    """

    cells: list[Cell]
    standing: Standing | None
    blind: bool
    scale: list[Mark]


def format_number(value: float | None, digits: int = 2) -> str:
    """Format a number for a reader: two significant digits, an exponent below 0.0001; a dash for none."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    if abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def format_beside(value: float | None, limit: float | None) -> str:
    """Format a number with the digits that show on which side of a limit it is: 0.998 beside 1, not 1.00."""
    if value is None or limit is None or value == limit:
        return format_number(value)
    texts = [format_number(value, digits) for digits in range(2, 7)]
    shown = [float(text.replace(",", "")) for text in texts]
    on_side = [
        text for text, number in zip(texts, shown) if number != limit and (number > limit) == (value > limit)
    ]
    return on_side[0] if on_side else texts[-1]


def format_interval(low: float | None, high: float | None, limit: float | None = 1.0) -> str:
    """Return `0.87 to 1.3`, or nothing where there is no interval; ends beside a limit, 1 for ratios."""
    if low is None or high is None:
        return ""
    return f"{format_beside(low, limit)} to {format_beside(high, limit)}"


def make_table(table: ScoreTable) -> list[Line]:
    """Return a line for each score that exists for the data: its description, and a cell for each row."""
    lines = []
    for score in table.scores:
        cells = [Cell(row.name, row.values[score.name], row.noise[score.name]) for row in table.rows]
        if all(cell.value is None for cell in cells):
            continue
        lines.append(
            Line(
                **dict(score),
                cells=cells,
                standing=table.standing.get(score.name),
                blind=score.name in table.blind_to_copier,
                scale=place_on_scale(score.name, cells),
            )
        )
    return lines


def place_on_scale(name: str, cells: Sequence[Cell]) -> list[Mark]:
    """Place the rows between best (0) and the worst of them (100), for the small drawing."""
    score = BY_NAME[name]
    losses = {cell.row: score.compute_loss(cell.value) for cell in cells if cell.value is not None}
    if score.better == "nearer":
        losses = {row: min(loss, math.log(10)) for row, loss in losses.items()}  # a factor of ten is the end
    worst = max(losses.values(), default=0) or 1.0
    order = [row for row in losses if row not in (MODEL, REAL)] + [REAL, MODEL]  # drawn last: on top
    return [Mark(row=row, place=round(100 * losses[row] / worst, 1)) for row in order if row in losses]


def align_table(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; the first row is its head, the first column text, the others
    numbers.
    """
    widths = [max(3, *(len(row[place]) for row in cells)) for place in range(len(cells[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [
        f"| {' | '.join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])} |"
        for row in [cells[0], rule, *cells[1:]]
    ]
