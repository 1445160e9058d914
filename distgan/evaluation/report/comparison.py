"""Reports of the same data side by side: a column for each run, the baselines beside."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distgan.errors import UserError
from distgan.evaluation.comparisons import Standing
from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.report.tables import (
    Cell,
    Line,
    align_table,
    format_interval,
    format_number,
    make_table,
    place_on_scale,
)
from distgan.evaluation.report.terms import Explainer
from distgan.evaluation.report.verdict import MODEL
from distgan.evaluation.report.writer import BESIDE, load_template
from distgan.evaluation.results import OverallLine, Report

Reports = Mapping[str, Report]  # by name of the run
DATA = ("source", "unit", "channels", "start", "step_seconds", "length", "splits")


@dataclass(frozen=True)
class RunCell(Cell):
    """The model of a run in a score; `best` of all runs."""

    standing: Standing | None
    best: bool


class ComparedLine(Line):
    """A score, with a cell for each run and one for each baseline."""

    runs: list[RunCell]
    baselines: list[Cell]


def refuse_unlike(reports: Reports) -> None:
    """Refuse reports that cannot be compared.

    Raises:
        UserError: reports of other data, or judged in another way.
    """
    (first, one), *others = reports.items()
    for name, other in others:
        if why := _explain_unlike(one, other):
            raise UserError(f"{first} and {name} cannot be compared: {why}")


def _explain_unlike(one: Report, other: Report) -> str:
    """Return why two reports cannot be compared, or an empty text."""
    for key in DATA:
        here, there = getattr(one.facts, key), getattr(other.facts, key)
        if here != there:
            return f"they are of other data, {key} {_name_fact(here)} against {_name_fact(there)}"
    sizes = one.fidelity.n.compared, other.fidelity.n.compared
    if sizes[0] != sizes[1]:
        return (
            f"{sizes[0]} series at a time were compared against {sizes[1]}, on which scores depend; generate "
            "as many in both (generate.count) and evaluate again"
        )
    if not _has_same_baselines(one, other):
        return "their baselines differ; evaluate both with the same evaluate settings and version"
    return ""


def _name_fact(fact: object) -> str:
    if isinstance(fact, Mapping) and fact:  # splits
        sizes = [f"{name} {split.series:,} of {split.owners:,}" for name, split in fact.items()]
        return f"({', '.join(sizes)} owners)"
    if isinstance(fact, (list, tuple)):
        return ", ".join(map(str, fact))
    return str(fact) if fact else "none"


def _has_same_baselines(one: Report, other: Report) -> bool:
    """Return whether the baselines agree, but for the last digits, which another machine may change."""
    rows = [
        {row.name: row.values for row in report.fidelity.rows if row.name != MODEL} for report in (one, other)
    ]
    pairs = [(values, rows[1].get(name, {})) for name, values in rows[0].items()]
    return rows[0].keys() == rows[1].keys() and all(
        here.keys() == there.keys() and all(_is_close(here[name], there[name]) for name in here)
        for here, there in pairs
    )


def _is_close(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and math.isclose(one, other, rel_tol=1e-3))


def make_lines(reports: Reports) -> list[ComparedLine]:
    """Make a line a score: its description, a cell for each run with its standing, and one for each
    baseline.
    """
    tables = {
        name: {line.name: line for line in make_table(report.fidelity)} for name, report in reports.items()
    }
    made = []
    for line in next(iter(tables.values())).values():
        runs = _make_run_cells(line.name, {name: table.get(line.name) for name, table in tables.items()})
        baselines = [cell for cell in line.cells if cell.row in BESIDE]
        own = dict(line) | {"scale": place_on_scale(line.name, [*runs, *baselines])}
        made.append(ComparedLine(**own, runs=runs, baselines=baselines))
    return made


def _make_run_cells(score: str, lines: Mapping[str, Line | None]) -> list[RunCell]:
    """Return the model's cell of each run; a run whose data have no such score has an empty one."""
    cells = {
        name: next(cell for cell in line.cells if cell.row == MODEL) if line else Cell(name, None, None)
        for name, line in lines.items()
    }
    losses = {
        name: BY_NAME[score].compute_loss(cell.value)
        for name, cell in cells.items()
        if cell.value is not None
    }
    best = min(losses.values(), default=None)
    return [
        RunCell(
            name,
            cell.value,
            cell.noise,
            line.standing if line else None,
            name in losses and losses[name] == best,
        )
        for (name, cell), line in zip(cells.items(), lines.values(), strict=True)
    ]


def find_overall(report: Report, row: str = MODEL) -> OverallLine | None:
    """Return the overall score of a row, where the report has one."""
    return next((line for line in report.overall if line.row == row), None)


def find_differences(reports: Reports) -> dict[str, list[Any]]:
    """Return settings that are not the same in all runs: dotted key -> a value for each."""
    trees = [report.facts.settings for report in reports.values()]
    found = {key: [tree.get(key) for tree in trees] for tree in trees for key in tree}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}


def format_markdown(reports: Reports) -> str:
    """Return the table for a terminal; the best run of each score is bold."""
    made = make_lines(reports)
    baselines = [cell.row for cell in made[0].baselines] if made else []
    cells = [["score", *reports, *baselines], _list_overall(reports, baselines)]
    for line in made:
        runs = [
            f"**{format_number(cell.value)}**" if cell.best else format_number(cell.value)
            for cell in line.runs
        ]
        cells.append([line.title, *runs, *(format_number(cell.value) for cell in line.baselines)])
    answers = [
        f"- {name}: {' '.join(f'{answer.question} {answer.short}.' for answer in report.answers)}"
        for name, report in reports.items()
    ]
    return "\n".join([*align_table(cells), "", *answers]) + "\n"


def _list_overall(reports: Reports, baselines: Sequence[str]) -> list[str]:
    """Return the first line of the table: the overall score of every run with its interval, and of the
    baselines.
    """
    first = next(iter(reports.values()))
    cells = ["overall, 1 is real"]
    for line in (find_overall(report) for report in reports.values()):
        cells.append("–" if line is None else _format_with_interval(line))
    for line in (find_overall(first, row) for row in baselines):
        cells.append("–" if line is None else format_number(line.value))
    return cells


def _format_with_interval(line: OverallLine) -> str:
    bounds = format_interval(line.low, line.high)
    return f"{format_number(line.value)} ({bounds})" if bounds else format_number(line.value)


def render(reports: Reports) -> str:
    """Return the page."""
    made = make_lines(reports)
    return load_template("compare.html.jinja").render(
        reports=reports,
        lines=made,
        baselines=[cell.row for cell in made[0].baselines] if made else [],
        differences=find_differences(reports),
        facts=next(iter(reports.values())).facts,
        overall={name: find_overall(report) for name, report in reports.items()},
        beside={row: find_overall(next(iter(reports.values())), row) for row in BESIDE},
        explain=Explainer(),
    )
