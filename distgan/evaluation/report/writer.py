"""The report of a run: one HTML page that opens offline, and the same facts as JSON (`results.Report`)."""

import datetime
import functools
import html
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.metrics.utility import REAL as TRAINED_ON_REAL
from distgan.evaluation.metrics.utility import SYNTHETIC as TRAINED_ON_SYNTHETIC
from distgan.evaluation.plots import interactive
from distgan.evaluation.plots.catalogue import FEWEST, Drawings
from distgan.evaluation.plots.style import Picture
from distgan.evaluation.report.verdict import COPIER, MEAN_CURVE, MODEL, REAL, SHUFFLED
from distgan.evaluation.results import (
    Answer,
    Card,
    Facts,
    Findings,
    Mark,
    Report,
    ScoreMeaning,
    ScoreTable,
    Standing,
    Tone,
    Utility,
)
from distgan.files import write_json, write_text

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
STANDING: dict[Standing, tuple[str, str]] = {
    "real": ("like real", "no worse than the better of two real sets, within two cautious standard errors"),
    "between": ("between", "better than the worse floor, not as good as real series"),
    "floor": ("at the floor", "no better than the worse of mean curve and shuffled hours"),
}


@dataclass(frozen=True)
class Cell:
    """The value of a row in a score, with its standard error."""

    row: str
    value: float | None
    noise: float | None


class Line(ScoreMeaning):
    """A score of the table: what it is, a cell for each row, the model's standing, and the small drawing."""

    cells: list[Cell]
    standing: Standing | None
    blind: bool
    scale: list[Mark]


def write(html_path: Path, json_path: Path, findings: Findings, facts: Facts, drawn: Drawings) -> None:
    """Write `report.html` and `report.json`; utility and privacy, if any, get sections of the page.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    made = facts.made or datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    report = Report(
        **dict(findings),
        facts=replace(facts, made=made),
        answers=[_is_it_good(findings.fidelity), _is_it_safe(findings, facts)],
        headline=_headline(findings),
        pictures=[picture.name for picture in drawn.pictures],
    )
    content = report.to_json()
    text = render(Report.from_json(content, str(json_path)), drawn)
    write_json(json_path, content)
    write_text(html_path, text)


def render(report: Report, drawn: Drawings) -> str:
    """The page of a report."""
    live = {f"live-{p.name}-{place}": item for p in drawn.pictures for place, item in enumerate(p.live, 1)}
    return load_template("report.html.jinja").render(
        content=report,
        facts=report.facts,
        results=report.fidelity,
        pictures=drawn.pictures,
        first=drawn.first,
        live=live,
        explorer=drawn.explorer,
        bokeh=Markup(interactive.script()) if live or drawn.explorer else "",
        table=make_table(report.fidelity),
        rows=report.fidelity.rows,
        standing=STANDING,
        period=_period(report.facts),
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


def _is_it_good(table: ScoreTable) -> Answer:
    """By the worst of what the sentences say; the first of them sums the scores up."""
    first, *others = table.verdict
    tones = {sentence.tone for sentence in table.verdict}
    order: tuple[Tone, ...] = ("bad", "warn", "good")
    tone: Tone = next((tone for tone in order if tone in tones), "note")
    short = {"bad": "Not yet", "warn": "With reservations", "good": "Yes, by these scores", "note": "Unknown"}
    worst = [sentence.text for sentence in others if sentence.tone == tone in ("bad", "warn")]
    text = " ".join([first.text, *worst[:1]])
    return Answer(question="Are they good?", tone=tone, short=short[tone], text=text)


def _is_it_safe(findings: Findings, facts: Facts) -> Answer:
    tone, short, text = _judge_safety(findings, facts)
    return Answer(question="Is it safe to release them?", tone=tone, short=short, text=text)


def _judge_safety(findings: Findings, facts: Facts) -> tuple[Tone, str, str]:
    """Tone, a short answer, and why."""
    if (privacy := findings.privacy) is not None:
        shorts: dict[str, tuple[Tone, str]] = {
            "pass": ("good", "No attack went over its limit"),
            "over": ("bad", "No"),
            "insufficient": ("warn", "Not enough evidence"),
        }
        return *shorts[privacy.outcome], privacy.sentence
    share = findings.fidelity.by_name[MODEL].values["copies"] or 0
    if share > 0:
        return "bad", "No", f"{share:.1%} of them are near copies of training series."
    text = "No near copy of a training series was found, but that shows little: no attack was run."
    if facts.unknown:
        text = "No attack was run: it is not known which real series the synthetic ones were learned from."
    return "warn", "Not tested", text


def _headline(findings: Findings) -> list[Card]:
    """The numbers of `HEADLINE` that there are."""
    lines = {line.name: line for line in make_table(findings.fidelity)}
    found = []
    for names in HEADLINE:
        cards = (CARDS[name](findings) if name in CARDS else _score_card(lines.get(name)) for name in names)
        found += [card for card in cards if card is not None][:1]
    return found


def _score_card(line: Line | None) -> Card | None:
    """The model's value with what real series reach, and the worst of the other rows."""
    if line is None:
        return None
    score, cells = BY_NAME[line.name], {cell.row: cell.value for cell in line.cells}
    losses = {
        row: score.loss(value)
        for row, value in cells.items()
        if row not in (MODEL, REAL) and value is not None
    }
    worst = max(losses, key=lambda row: losses[row], default=None)
    context = [f"best {format_number(line.best)}", f"other real series {format_number(cells.get(REAL))}"]
    context += [f"{worst} {format_number(cells[worst])}"] if worst else []
    return Card(
        name=line.name,
        title=line.title,
        value=cells[MODEL],
        text=format_number(cells[MODEL]),
        context=" · ".join(context),
        standing=line.standing,
        scale=line.scale,
    )


def _utility_card(findings: Findings) -> Card | None:
    """How much more a model errs that was trained on synthetic instead of real series."""
    usefulness: Utility | None = findings.usefulness
    errors = {} if usefulness is None else {row.name: row.value for row in usefulness.rows}
    made, real = errors.get(TRAINED_ON_SYNTHETIC), errors.get(TRAINED_ON_REAL)
    if made is None or not real:
        return None
    return Card(
        name="usefulness",
        title="Usefulness",
        value=made / real,
        text=f"{format_number(made / real)} ×",
        context="the error of a forecaster that is trained on real series",
    )


def _privacy_card(findings: Findings) -> Card | None:
    if (privacy := findings.privacy) is None:
        return None
    over = sum(attack.outcome == "over" for attack in privacy.attacks)
    few = sum(attack.outcome == "insufficient" for attack in privacy.attacks)
    standings: dict[str, Standing | None] = {"pass": "real", "over": "floor", "insufficient": None}
    return Card(
        name="privacy",
        title="Privacy attacks",
        value=over,
        text=f"{over} of {len(privacy.attacks)}",
        context="attacks over their limit" + (f", {few} with too few entities to tell" if few else ""),
        standing=standings[privacy.outcome],
    )


CARDS: dict[str, Callable[[Findings], Card | None]] = {
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


def make_table(table: ScoreTable) -> list[Line]:
    """A line a score that exists for the data: its description, and a cell for each row."""
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
    """Places of the rows between best (0) and the worst of them (100), for the small drawing."""
    score = BY_NAME[name]
    losses = {cell.row: score.loss(cell.value) for cell in cells if cell.value is not None}
    if score.better == "nearer":
        losses = {row: min(loss, math.log(10)) for row, loss in losses.items()}  # a factor of ten is the end
    worst = max(losses.values(), default=0) or 1.0
    order = [row for row in losses if row not in (MODEL, REAL)] + [REAL, MODEL]  # drawn last: on top
    return [Mark(row=row, place=round(100 * losses[row] / worst, 1)) for row in order if row in losses]


def _period(facts: Facts) -> str:
    """`8,760 steps of 1 h from 1 January 2019`."""
    if not facts.length:
        return ""
    seconds = facts.step_seconds
    step = next(
        (
            f"{seconds / size:g} {name}"
            for name, size in (("d", 86400), ("h", 3600), ("min", 60))
            if seconds >= size
        ),
        f"{seconds:g} s",
    )
    start = facts.start
    try:
        day = datetime.datetime.fromisoformat(start)
        start = f"{day.day} {day:%B %Y}" + (f", {day:%H:%M}" if day.hour or day.minute else "")
    except ValueError:
        pass
    return f"{facts.length:,} steps of {step}" + (f" from {start}" if start else "")


def format_markdown(report: Report) -> str:
    """Verdict and a few scores for a terminal."""
    table = report.fidelity
    floors = [row.name for row in table.rows if row.name in BESIDE]
    lines = [line for line in make_table(table) if line.name in BRIEF]
    cells = [["score", MODEL, *floors, "the model is"]]
    for line in lines:
        values = {cell.row: format_number(cell.value) for cell in line.cells}
        names = [line.title, *(values[name] for name in (MODEL, *floors))]
        cells.append([*names, STANDING[line.standing][0] if line.standing else ""])
    sentences = [f"- {sentence.text}" for sentence in table.verdict]
    answers = [f"{answer.question} **{answer.short}.**" for answer in report.answers]
    return html.unescape("\n".join([*align_table(cells), "", *sentences, "", *answers, ""]))


def align_table(cells: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; the first row is its head, the first column text, the others numbers."""
    widths = [max(3, *(len(row[place]) for row in cells)) for place in range(len(cells[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [
        f"| {' | '.join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])} |"
        for row in [cells[0], rule, *cells[1:]]
    ]
