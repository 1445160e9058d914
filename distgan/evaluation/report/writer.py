"""The report of a run: one HTML page that opens offline, and the same facts as JSON (`results.Report`)."""

import datetime
import functools
import html
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from distgan.evaluation.attribute_results import ByAttribute
from distgan.evaluation.comparisons import WORDS, find_attack_word, find_release_word
from distgan.evaluation.plots import interactive
from distgan.evaluation.plots.catalogue import Drawings
from distgan.evaluation.plots.style import Picture
from distgan.evaluation.report import overall_chart
from distgan.evaluation.report.answers import answer_good, answer_safe, list_cards, list_overall
from distgan.evaluation.report.tables import align_table, format_interval, format_number, make_table
from distgan.evaluation.report.terms import TERMS, Explainer
from distgan.evaluation.report.verdict import COPIER, MEAN_CURVE, MODEL, REAL, SHUFFLED, list_titles
from distgan.evaluation.results import Facts, Findings, Report
from distgan.files import write_json, write_text

BRIEF = (  # the scores that a terminal shows
    "minirocket",
    "load_figures",
    "value_distance",
    "spread_distance",
    "ramp_distance",
    "acf_short",
    "spectrum",
    "daily_profile",
    "weekly_profile",
    "diversity",
    "vendi",
    "copies",
)
BESIDE = (REAL, COPIER, MEAN_CURVE, SHUFFLED, "PCA+GMM")  # and the rows
RULES = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"
)


def write_report(html_path: Path, json_path: Path, findings: Findings, facts: Facts, drawn: Drawings) -> None:
    """Write `report.html` and `report.json`; utility and privacy, if any, get sections of the page.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    made = facts.made or datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    report = Report(
        **dict(findings),
        facts=replace(facts, made=made),
        answers=[answer_good(findings), answer_safe(findings, facts)],
        overall=list_overall(findings.fidelity.paired),
        headline=list_cards(findings),
        pictures=[picture.name for picture in drawn.pictures],
    )
    content = report.to_json()
    text = render(Report.from_json(content, str(json_path)), drawn)
    write_json(json_path, content)
    write_text(html_path, text)


def render(report: Report, drawn: Drawings) -> str:
    """Return the page of a report."""
    live = {f"live-{p.name}-{place}": item for p in drawn.pictures for place, item in enumerate(p.live, 1)}
    return load_template("report.html.jinja").render(
        content=report,
        facts=report.facts,
        results=report.fidelity,
        pictures=drawn.pictures,
        first=drawn.first,
        live=live,
        explorer=drawn.explorer,
        bokeh=Markup(interactive.load_script()) if live or drawn.explorer else "",
        table=make_table(report.fidelity),
        rows=report.fidelity.rows,
        chart=overall_chart.make_chart(report.overall),
        period=_format_period(report.facts),
        rules=Markup(RULES),
        explain=Explainer(),
    )


@functools.cache
def load_template(name: str, folder: Path = Path(__file__).parent) -> jinja2.Template:
    """Return a template of a folder, by default this one.

    Filters: `number`, `uri`, `inside` (a script element's JSON), `titles` (scores in words). Globals: `words`
    (the wording of every verdict), `terms`, `interval`, and the names of three rows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": format_number,
        "uri": Picture.make_data_uri,
        "inside": _escape_script,
        "titles": list_titles,
    }
    environment.globals |= {
        "words": WORDS,
        "find_attack_word": find_attack_word,
        "terms": TERMS,
        "interval": format_interval,
        "find_release_word": find_release_word,
        "model": MODEL,
        "real": REAL,
        "copier": COPIER,
    }
    return environment.get_template(name)


def _escape_script(content: Any) -> Markup:
    return Markup(json.dumps(content).replace("<", "\\u003c"))


def _format_step(seconds: float) -> str:
    for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {name}"
    return f"{seconds:g} s"


def _format_period(facts: Facts) -> str:
    """Format `8,760 steps of 1 h from 1 January 2019`; windows begin anywhere, and nominal steps have the
    length that scores and pictures take them for.
    """
    if not facts.length:
        return ""
    step = _format_step(facts.step_seconds)
    if facts.nominal:
        return f"{facts.length:,} steps; the source has no times, so a step counts as {step} on this page"
    start = "" if facts.windows else facts.start
    try:
        day = datetime.datetime.fromisoformat(start)
        start = f"{day.day} {day:%B %Y}" + (f", {day:%H:%M}" if day.hour or day.minute else "")
    except ValueError:
        pass
    return f"{facts.length:,} steps of {step}" + (f" from {start}" if start else "")


def format_recovery(by: ByAttribute) -> list[list[str]]:
    """Return the rows of a table: how well a classifier finds each attribute."""
    rows = [["attribute, by a classifier", "real → real", "real → synthetic", "synthetic → real", "chance"]]
    for each in by.attributes:
        found = each.recovered
        if found is None:
            rows.append([each.name, by.explain_missing(each), "", "", ""])
            continue
        values = (found.real_on_real, found.real_on_synthetic, found.synthetic_on_real, found.chance)
        rows.append([each.name, *(format_number(value) for value in values)])
    return rows


def format_markdown(report: Report) -> str:
    """Return the verdict, the overall scores and a few scores for a terminal."""
    table = report.fidelity
    beside = [row.name for row in table.rows if row.name in BESIDE]
    lines = [line for line in make_table(table) if line.name in BRIEF]
    cells = [["score", MODEL, *beside, "the model is"]]
    for line in lines:
        values = {cell.row: format_number(cell.value) for cell in line.cells}
        names = [line.title, *(values[name] for name in (MODEL, *beside))]
        cells.append([*names, WORDS[line.standing].text if line.standing else ""])
    overall = [["overall, 1 is real", "score", "95 % interval", "the model is"]]
    for each in report.overall:
        against = WORDS[each.against.verdict].text if each.against else ""
        overall.append([each.row, format_number(each.value), format_interval(each.low, each.high), against])
    sentences = [f"- {sentence.text}" for sentence in table.verdict]
    answers = [f"{answer.question} **{answer.short}.** {answer.text}" for answer in report.answers]
    parts = [
        *answers,
        "",
        *(align_table(overall) if report.overall else []),
        "",
        *align_table(cells),
        "",
        *sentences,
        *(["", *align_table(format_recovery(report.attributes))] if report.attributes else []),
    ]
    return html.unescape("\n".join([*parts, ""]))
