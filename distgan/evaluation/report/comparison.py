"""Reports of the same data side by side: a column a run, the floors beside."""

import math
from collections.abc import Mapping
from typing import Any

from distgan.errors import UserError
from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.report.verdict import MODEL, REAL
from distgan.evaluation.report.writer import (
    BESIDE,
    SCHEMA,
    STANDING,
    align_table,
    format_number,
    load_template,
    make_table,
    place_on_scale,
)

Reports = Mapping[str, Mapping[str, Any]]  # name of a run -> content of its report.json
DATA = ("source", "unit", "channels", "start", "step_seconds", "length", "splits")


def refuse_unlike(reports: Reports) -> None:
    """
    Raises:
        UserError: reports of another format, of other data, or judged in another way.
    """
    for name, content in reports.items():
        if content.get("schema") != SCHEMA:
            raise UserError(
                f"{name} has a report of format {content.get('schema')}, not {SCHEMA}; run distgan "
                f"evaluate {name} again"
            )
    (first, one), *others = reports.items()
    for name, other in others:
        if why := _unlike(one, other):
            raise UserError(f"{first} and {name} cannot be compared: {why}")


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Why two reports cannot be compared, or nothing."""
    for key in DATA:
        here, there = one["facts"][key], other["facts"][key]
        if here != there:
            return f"they are of other data, {key} {here} against {there}"
    here, there = (content["fidelity"]["n"]["compared"] for content in (one, other))
    if here != there:
        return (
            f"{here} series at a time were compared against {there}, on which scores depend; generate as "
            "many in both (generate.count) and evaluate again"
        )
    if not _same_floors(one, other):
        return "their floors differ; evaluate both with the same evaluate settings and version"
    return ""


def _same_floors(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """To the last digits, which another machine may change."""
    rows = [
        {row["name"]: row["values"] for row in content["fidelity"]["rows"] if row["name"] != MODEL}
        for content in (one, other)
    ]
    pairs = [(values, rows[1].get(name, {})) for name, values in rows[0].items()]
    return rows[0].keys() == rows[1].keys() and all(
        here.keys() == there.keys() and all(_close(here[name], there[name]) for name in here)
        for here, there in pairs
    )


def _close(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and math.isclose(one, other, rel_tol=1e-3))


def make_lines(reports: Reports) -> list[dict[str, Any]]:
    """A line a score: its description, a cell for each run with its standing, and one for each floor."""
    tables = {name: {line["name"]: line for line in make_table(c["fidelity"])} for name, c in reports.items()}
    made = []
    for line in next(iter(tables.values())).values():
        runs = [_cell(tables[name].get(line["name"]), name) for name in reports]
        floors = [cell for cell in line["cells"] if cell["row"] in BESIDE]
        best = min(
            (BY_NAME[line["name"]].loss(c["value"]) for c in runs if c["value"] is not None), default=None
        )
        for cell in runs:
            cell["best"] = cell["value"] is not None and BY_NAME[line["name"]].loss(cell["value"]) == best
        made.append(
            {**line, "runs": runs, "floors": floors, "scale": place_on_scale(line["name"], [*runs, *floors])}
        )
    return made


def _cell(line: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    if line is None:
        return {"row": name, "value": None, "noise": None, "standing": None}
    return {
        **next(cell for cell in line["cells"] if cell["row"] == MODEL),
        "row": name,
        "standing": line["standing"],
    }


def find_differences(reports: Reports) -> dict[str, list[Any]]:
    """Settings that are not the same in all runs: dotted key -> a value for each."""
    trees = [content["facts"]["settings"] for content in reports.values()]
    found = {key: [tree.get(key) for tree in trees] for tree in trees for key in tree}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}


def format_markdown(reports: Reports) -> str:
    """The table for a terminal; the best run of each score is bold."""
    made = make_lines(reports)
    floors = [cell["row"] for cell in made[0]["floors"]] if made else []
    cells = [["score", *reports, *floors]]
    for line in made:
        runs = [
            f"**{format_number(c['value'])}**" if c["best"] else format_number(c["value"])
            for c in line["runs"]
        ]
        cells.append([line["title"], *runs, *(format_number(cell["value"]) for cell in line["floors"])])
    answers = [
        f"- {name}: {' '.join(a['question'] + ' ' + a['short'] + '.' for a in content['answers'])}"
        for name, content in reports.items()
    ]
    return "\n".join([*align_table(cells), "", *answers]) + "\n"


def render(reports: Reports) -> str:
    """The page."""
    made = make_lines(reports)
    return load_template("compare.html.jinja").render(
        reports=reports,
        lines=made,
        floors=[cell["row"] for cell in made[0]["floors"]] if made else [],
        differences=find_differences(reports),
        facts=next(iter(reports.values()))["facts"],
        standing=STANDING,
        real=REAL,
    )
