"""The report of a run: one HTML page that opens offline, and the same facts as JSON.

`Facts` has a field for everything the page says beside scores and pictures, and no field where an entity's
id could stand: counts, sizes and settings only.

report.json (`SCHEMA`) holds
    schema      its name and version: another number where a field changed its meaning or went away
    facts       `Facts`, with the time it was made
    answers     the two of the first screen: {question, tone, short, text}; tone is good, warn, bad or note
    headline    the numbers of the first screen: {name, title, value, text, context, standing, scale}
    fidelity    `fidelity.evaluate`: n, owners, real_row (where it comes from), scores (what they mean), rows
                (values and noise by score, noise_to the two real rows), lags, standing, blind_to_copier,
                verdict (sentences)
    usefulness  forecasts by what they learned from: {task, unit, horizon, n, rows, gaps, tone, sentence}; or
                null
    privacy     the attacks: {schema, outcome, sentence, attacks, others, evidence, claims}; or null
    pictures    names of the pictures in the page
Numbers that do not exist are null.
"""

import datetime
import functools
import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.metrics.utility import REAL as TRAINED_ON_REAL
from distgan.evaluation.metrics.utility import SYNTHETIC as TRAINED_ON_SYNTHETIC
from distgan.evaluation.plots import interactive
from distgan.evaluation.plots.catalogue import FEWEST
from distgan.evaluation.plots.style import Picture
from distgan.evaluation.report.verdict import COPIER, MEAN_CURVE, MODEL, REAL, SHUFFLED
from distgan.files import write_json, write_text
from distgan.preflight import REPORT_SCHEMA

SCHEMA = REPORT_SCHEMA
HEADLINE = (  # the numbers of the first screen: of each line the first that there is
    ("critic", "acf_short"),
    ("spectrum", "value_distance"),
    ("diversity",),
    ("usefulness", "daily_profile", "ramp_distance"),
    ("privacy", "copies"),
)
BRIEF = (  # the scores that a terminal shows
    "critic",
    "value_distance",
    "spread_distance",
    "ramp_distance",
    "acf_short",
    "spectrum",
    "daily_profile",
    "weekly_profile",
    "diversity",
    "copies",
)
BESIDE = (REAL, COPIER, MEAN_CURVE, SHUFFLED, "PCA+GMM")  # and the rows
RULES = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"
)
STANDING = {
    "real": ("like real", "no worse than the better of two real sets, within two cautious standard errors"),
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
        windows: split -> number of windows that its series were cut into; empty where whole series are used.
        left_out: reason -> number of series or columns that were not used.
        settings: dotted config key -> value, the few worth showing.
        stages: stage -> one line on what it did.
        noticed: suspicions about the data, each with name, severity, shared and advice; counts alone.
        unknown: what nobody told of the synthetic series, a sentence each; empty for a run.
        real_curves: whether single held-out series are shown.
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
    windows: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    noticed: Sequence[Mapping[str, str]] = ()
    groups: Groups | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    unknown: Sequence[str] = ()
    real_curves: bool = True
    credit: str = ""
    made: str = ""
    version: str = ""
    identity: str = ""


def make_json_ready(content: Any) -> Any:
    """The same content ready for JSON: NaN and infinities become None, numpy's numbers plain ones."""
    if isinstance(content, Mapping):
        return {str(key): make_json_ready(value) for key, value in content.items()}
    if hasattr(content, "tolist"):
        return make_json_ready(content.tolist())
    if isinstance(content, list | tuple):
        return [make_json_ready(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if content is None or isinstance(content, str | bool | int | float):
        return content
    return str(content)


def write(
    html_path: Path,
    json_path: Path,
    results: Mapping[str, Any],
    facts: Facts,
    pictures: Sequence[Picture],
    *,
    first: Picture | None = None,
    explorer: Mapping[str, Any] | None = None,
) -> None:
    """Write `report.html` and `report.json`.

    Args:
        results: the answer of `fidelity.evaluate`; its `usefulness` and `privacy`, if any, get sections.
        pictures: in the order of the page.
        first: the small picture of the first screen.
        explorer: of `interactive.explorer`: series that the reader can choose.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    made = facts.made or datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    sections = {name: results.get(name) for name in ("usefulness", "privacy")}
    content = {
        "schema": SCHEMA,
        "facts": {**asdict(facts), "made": made},
        "fidelity": {name: value for name, value in results.items() if name not in sections},
        **sections,
        "pictures": [picture.name for picture in pictures],
    }
    content = make_json_ready(content)
    content |= {"answers": _answers(content), "headline": _headline(content)}
    text = render(content, pictures, first, explorer)
    write_json(json_path, content)
    write_text(html_path, text)


def render(
    content: Mapping[str, Any],
    pictures: Sequence[Picture],
    first: Picture | None = None,
    explorer: Mapping[str, Any] | None = None,
) -> str:
    """The page for the content of report.json."""
    results = content["fidelity"]
    live = {f"live-{p.name}-{place}": item for p in pictures for place, item in enumerate(p.live, 1)}
    return load_template("report.html.jinja").render(
        content=content,
        facts=content["facts"],
        results=results,
        pictures=pictures,
        first=first,
        live=live,
        explorer=explorer,
        bokeh=Markup(interactive.script()) if live or explorer else "",
        table=make_table(results),
        rows=results["rows"],
        standing=STANDING,
        period=_period(content["facts"]),
        fewest=FEWEST,
        rules=Markup(RULES),
    )


@functools.cache
def load_template(name: str, folder: Path = Path(__file__).parent) -> jinja2.Template:
    """A template of a folder, by default this one; `number`, `uri` and `inside` (a script element's JSON) are
    its filters.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": format_number, "uri": Picture.data_uri, "inside": _inline_script}
    return environment.get_template(name)


def _inline_script(content: Any) -> Markup:
    return Markup(json.dumps(content).replace("<", "\\u003c"))


# ------------------------------------------------------------------------------------------- the first screen


def _answers(content: Mapping[str, Any]) -> list[dict[str, str]]:
    """The two questions of a data owner."""
    return [_is_it_good(content["fidelity"]), _is_it_safe(content)]


def _is_it_good(results: Mapping[str, Any]) -> dict[str, str]:
    """By the worst of what the sentences say; the first of them sums the scores up."""
    sentences = results["verdict"]
    tones = {sentence["tone"] for sentence in sentences}
    tone = next((tone for tone in ("bad", "warn", "good") if tone in tones), "note")
    short = {"bad": "Not yet", "warn": "With reservations", "good": "Yes, by these scores", "note": "Unknown"}
    worst = [sentence["text"] for sentence in sentences[1:] if sentence["tone"] == tone in ("bad", "warn")]
    text = " ".join([sentences[0]["text"], *worst[:1]])
    return {"question": "Are they good?", "tone": tone, "short": short[tone], "text": text}


def _is_it_safe(content: Mapping[str, Any]) -> dict[str, str]:
    question, privacy = "Is it safe to release them?", content["privacy"]
    if privacy is not None:
        tone, short = {
            "pass": ("good", "No attack went over its limit"),
            "over": ("bad", "No"),
            "insufficient": ("warn", "Not enough evidence"),
        }[privacy["outcome"]]
        return {"question": question, "tone": tone, "short": short, "text": privacy["sentence"]}
    rows = {row["name"]: row["values"] for row in content["fidelity"]["rows"]}
    share = rows[MODEL]["copies"] or 0
    if share > 0:
        text = f"{share:.1%} of them are near copies of training series."
        return {"question": question, "tone": "bad", "short": "No", "text": text}
    text = "No near copy of a training series was found, but that shows little: no attack was run."
    if content["facts"]["unknown"]:
        text = "No attack was run: it is not known which real series the synthetic ones were learned from."
    return {"question": question, "tone": "warn", "short": "Not tested", "text": text}


def _headline(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The numbers of `HEADLINE` that there are."""
    lines = {line["name"]: line for line in make_table(content["fidelity"])}
    found = []
    for names in HEADLINE:
        cards = (
            CARDS[name](content[name]) if name in CARDS else _score_card(lines[name])
            for name in names
            if (content[name] if name in CARDS else name in lines)
        )
        found += [{"name": names[0], "standing": None, "scale": None, **card} for card in cards if card][:1]
    return found


def _score_card(line: Mapping[str, Any]) -> dict[str, Any]:
    """The model's value with what real series reach, and the worst of the other rows."""
    score, cells = BY_NAME[line["name"]], {cell["row"]: cell["value"] for cell in line["cells"]}
    worst = max(
        (row for row in cells if row not in (MODEL, REAL) and cells[row] is not None),
        key=lambda row: score.loss(cells[row]),
        default=None,
    )
    context = [f"best {format_number(line['best'])}", f"other real series {format_number(cells.get(REAL))}"]
    context += [f"{worst} {format_number(cells[worst])}"] if worst else []
    text = format_number(cells[MODEL])
    return {"name": line["name"], "title": line["title"], "value": cells[MODEL], "text": text,
            "context": " · ".join(context), "standing": line["standing"], "scale": line["scale"]}  # fmt: skip


def _utility_card(usefulness: Mapping[str, Any]) -> dict[str, Any] | None:
    """How much more a model errs that was trained on synthetic instead of real series."""
    errors = {row["name"]: row["value"] for row in usefulness["rows"]}
    if None in (made := errors.get(TRAINED_ON_SYNTHETIC), real := errors.get(TRAINED_ON_REAL)) or not real:
        return None
    return {"name": "usefulness", "title": "Usefulness", "value": made / real,
            "text": f"{format_number(made / real)} ×",
            "context": "the error of a forecaster that is trained on real series"}  # fmt: skip


def _privacy_card(privacy: Mapping[str, Any]) -> dict[str, Any]:
    over = sum(attack["outcome"] == "over" for attack in privacy["attacks"])
    few = sum(attack["outcome"] == "insufficient" for attack in privacy["attacks"])
    text = f"{over} of {len(privacy['attacks'])}"
    context = "attacks over their limit" + (f", {few} with too few entities to tell" if few else "")
    standing = {"pass": "real", "over": "floor", "insufficient": None}[privacy["outcome"]]
    return {"name": "privacy", "title": "Privacy attacks", "value": over, "text": text, "context": context,
            "standing": standing}  # fmt: skip


CARDS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any] | None]] = {
    "usefulness": _utility_card,
    "privacy": _privacy_card,
}


# ----------------------------------------------------------------------------------------- numbers and tables


def format_number(value: float | None, digits: int = 2) -> str:
    """A number as a reader wants it: two significant digits, an exponent below 0.0001; a dash for none."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    if abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def make_table(results: Mapping[str, Any]) -> list[dict[str, Any]]:
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
                "scale": place_on_scale(score["name"], cells),
            }
        )
    return lines


def place_on_scale(name: str, cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
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


def format_markdown(content: Mapping[str, Any]) -> str:
    """Verdict and a few scores for a terminal, from the content of report.json."""
    results = content["fidelity"]
    floors = [row["name"] for row in results["rows"] if row["name"] in BESIDE]
    lines = [line for line in make_table(results) if line["name"] in BRIEF]
    cells = [["score", MODEL, *floors, "the model is"]]
    for line in lines:
        values = {cell["row"]: format_number(cell["value"]) for cell in line["cells"]}
        names = [line["title"], *(values[name] for name in (MODEL, *floors))]
        cells.append([*names, STANDING[line["standing"]][0] if line["standing"] else ""])
    sentences = [f"- {sentence['text']}" for sentence in results["verdict"]]
    answers = [f"{answer['question']} **{answer['short']}.**" for answer in content["answers"]]
    return html.unescape("\n".join([*align_table(cells), "", *sentences, "", *answers, ""]))


def align_table(cells: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; the first row is its head, the first column text, the others numbers."""
    widths = [max(3, *(len(row[place]) for row in cells)) for place in range(len(cells[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [
        f"| {' | '.join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])} |"
        for row in [cells[0], rule, *cells[1:]]
    ]
