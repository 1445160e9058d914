"""The report of a run: one HTML page that opens offline, and the same facts as JSON.

`Facts` has a field for everything the page says beside scores and pictures, and no field where an entity's
id could stand: counts, sizes and settings only.
"""

import datetime
import functools
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from distgan.evaluation.plots import Picture
from distgan.evaluation.scores import BY_NAME
from distgan.evaluation.verdict import COPIER, MODEL, REAL
from distgan.files import write_json, write_text

SCHEMA = "distgan.report/1"
HEADLINE = (
    "value_distance",
    "spread_distance",
    "ramp_distance",
    "acf_short",
    "spectrum",
    "daily_profile",
    "weekly_profile",
    "diversity",
    "critic",
    "copies",
)
GROUPS = {
    "values": "Values",
    "rhythm": "Rhythm",
    "diversity": "Diversity",
    "critics": "Critics",
    "copies": "Copies",
}
STANDING = {
    "real": ("like real", "no worse than the better of the two real sets, within two standard errors"),
    "between": ("between", "better than the worse floor, not as good as real series"),
    "floor": ("at the floor", "no better than the worse of mean curve and shuffled hours"),
}


@dataclass(frozen=True)
class Split:
    """How many series, entities and owners a split holds."""

    series: int
    entities: int
    owners: int


@dataclass(frozen=True)
class Groups:
    """The released means: entities behind each, effective number after weighting, tracing."""

    sizes: Sequence[int]
    effective: Sequence[float]
    tracing_auc: Sequence[float]
    floor: int
    tracing_limit: float
    attacks: Sequence[Mapping[str, Any]] = ()  # the tracing attack by exposure, as it was run
    promise: str = ""  # of differential privacy, in words
    covered: Sequence[str] = ()  # what the promise covers, and what not
    study: bool = False


@dataclass(frozen=True)
class Facts:
    """What was done, in numbers. Free text (`source`, `credit`, …) comes from the data's provenance.

    Attributes:
        left_out: reason -> number of series or columns that were not used.
        settings: dotted config key -> value, the few worth showing.
        stages: stage -> one line on what it did.
    """

    name: str
    source: str = ""
    unit: str = ""
    channels: Sequence[str] = ()
    start: str = ""
    step_seconds: float = 0
    length: int = 0
    entity: str = "entity"
    owner: str = "owner"
    splits: Mapping[str, Split] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    groups: Groups | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    credit: str = ""
    made: str = ""
    version: str = ""
    identity: str = ""


def finite(content: Any) -> Any:
    """The same content ready for JSON: NaN and infinities become None, numpy's numbers plain ones."""
    if isinstance(content, Mapping):
        return {str(key): finite(value) for key, value in content.items()}
    if hasattr(content, "tolist"):
        return finite(content.tolist())
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if content is None or isinstance(content, str | bool | int | float):
        return content
    return str(content)


def write(
    html_path: Path, json_path: Path, results: Mapping[str, Any], facts: Facts, pictures: Sequence[Picture]
) -> None:
    """Write `report.html` and `report.json`.

    Args:
        results: the answer of `fidelity.evaluate`.
        pictures: in the order of the page.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    made = facts.made or datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    content = {
        "schema": SCHEMA,
        "facts": {**asdict(facts), "made": made},
        "fidelity": results,
        "privacy": None,  # the attacks come with the release gate
        "pictures": [picture.name for picture in pictures],
    }
    page = render(finite(content), pictures)
    write_json(json_path, finite(content))
    write_text(html_path, page)


def render(content: Mapping[str, Any], pictures: Sequence[Picture]) -> str:
    """The page for the content of report.json."""
    results = content["fidelity"]
    return _template().render(
        content=content,
        facts=content["facts"],
        results=results,
        pictures=pictures,
        headline=[row for row in _table(results) if row["name"] in HEADLINE],
        table=_table(results),
        rows=results["rows"],
        groups=GROUPS,
        standing=STANDING,
        uncertain=COPIER,
        period=_period(content["facts"]),
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["uri"] = Picture.data_uri
    return environment.get_template("report.html.jinja")


def number(value: float | None, digits: int = 2) -> str:
    """A number as a reader wants it: two significant digits, no exponent for usual sizes; a dash for none."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 4)}f}"


def _table(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line a score that exists for the data: its description, and a cell for each row."""
    lines = []
    for score in results["scores"]:
        cells = [
            {"row": row["name"], "value": row["values"][score["name"]], "noise": row["noise"][score["name"]]}
            for row in results["rows"]
        ]
        if all(cell["value"] is None for cell in cells):
            continue
        lines.append(
            {
                **score,
                "cells": cells,
                "standing": results["standing"].get(score["name"]),
                "blind": score["name"] in results["blind_to_copier"],
                "scale": _scale(score["name"], cells),
            }
        )
    return lines


def _scale(name: str, cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Places of the rows between best (0) and the worst of them (100), for the small drawing."""
    score = BY_NAME[name]
    losses = {cell["row"]: score.loss(cell["value"]) for cell in cells if cell["value"] is not None}
    if score.better == "nearer":
        losses = {row: min(loss, math.log(10)) for row, loss in losses.items()}  # a factor of ten is the end
    worst = max(losses.values(), default=0) or 1.0
    order = [row for row in losses if row not in (MODEL, REAL)] + [REAL, MODEL]  # drawn last: on top
    return [{"row": row, "place": round(100 * losses[row] / worst, 1)} for row in order if row in losses]


def _period(facts: Mapping[str, Any]) -> str:
    """`8,760 steps of 1 h from 1 January 2019`."""
    if not facts["length"]:
        return ""
    seconds = facts["step_seconds"]
    step = next(
        (
            f"{seconds / size:g} {name}"
            for name, size in (("d", 86400), ("h", 3600), ("min", 60))
            if seconds >= size
        ),
        f"{seconds:g} s",
    )
    start = facts["start"]
    try:
        day = datetime.datetime.fromisoformat(start)
        start = f"{day.day} {day:%B %Y}" + (f", {day:%H:%M}" if day.hour or day.minute else "")
    except ValueError:
        pass
    return f"{facts['length']:,} steps of {step}" + (f" from {start}" if start else "")


def markdown(results: Mapping[str, Any]) -> str:
    """Verdict and scores for a terminal."""
    names = [row["name"] for row in results["rows"]]
    lines = [f"- {sentence['text']}" for sentence in results["verdict"]]
    lines += ["", f"| score | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    lines += [
        f"| {line['title']} | {' | '.join(number(cell['value']) for cell in line['cells'])} |"
        for line in _table(results)
    ]
    return html.unescape("\n".join(lines)) + "\n"
