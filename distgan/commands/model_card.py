"""The model card of an exported generator: README.md with a front matter that huggingface_hub reads."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from distgan import config
from distgan.commands.released_verdict import make_public_verdict
from distgan.data.checks.fit import format_step
from distgan.data.store.metadata import Meta
from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.report.verdict import MODEL, REAL
from distgan.evaluation.results import Report, Verdict

TAGS = ["distgan", "time-series", "synthetic-data"]
OVERALL = "overall_score"
SHOWN = ("value_distance", "duration", "acf_short", "acf_long", "daily_profile", "diversity", "c2st")
NOT_JUDGED = (
    "This folder was written by `distgan export RUN FOLDER --private`: **no gate has judged it, and it must "
    "not be published.** It may give away people whose series it was trained on."
)
ATTACKED = "The gate attacked series: a released set, and a sample of this generator."
LIMITS = (
    "No attack with a limit used the weights themselves; whoever has them can generate any number of series.",
    "Attacks that were not tried, and attackers who know more, are not covered. That nobody can ever learn "
    "anything about a person behind the data is not promised.",
    "Series are drawn from groups of people. They say nothing of single people, of groups below the minimum "
    "size, or of times outside the training period.",
    "Scores compare with held-out real series of the same source. Another population was not tested.",
)


@dataclass(frozen=True)
class Card:
    """The content of the card: settings and description of the model; `verdict` is None for a private export,
    `report` is None where no scores may or can be shown.
    """

    settings: config.Config
    meta: Meta
    facts: dict[str, Any]
    verdict: Verdict | None
    report: Report | None


def format_card(card: Card) -> str:
    """Return the whole page."""
    sections = [describe(card), USE, describe_data(card), list_scores(card), describe_privacy(card)]
    known = LIMITS if card.verdict is None else (ATTACKED, *LIMITS)
    limits = "\n".join(f"- {line}" for line in known)
    return "\n\n".join([format_front_matter(card), *sections, f"## Limits\n\n{limits}"]) + "\n"


def format_front_matter(card: Card) -> str:
    """Return YAML between lines of three dashes; every value is written as JSON, which is YAML too."""
    name = f"distgan-{card.settings.model.name}"
    content: dict[str, Any] = {
        "library_name": "distgan",
        "tags": [
            *TAGS,
            card.settings.model.kind,
            *(["private"] if card.verdict is None else []),
        ],
        "license": "other",
        "license_name": "see-data-credit",
    }
    if metrics := list(find_metrics(card)):
        result = {
            "task": {"type": "time-series-generation", "name": "Generation of time series"},
            "dataset": {"type": "held-out", "name": "held-out owners of the training data"},
            "metrics": metrics,
        }
        content["model-index"] = [{"name": name, "results": [result]}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()]
    return "\n".join(["---", *lines, "---"])


def find_metrics(card: Card) -> Iterator[dict[str, Any]]:
    """Return the scores of the synthetic series in the form of the front matter."""
    if card.report is None:
        return
    rows = card.report.fidelity.by_name
    if MODEL not in rows:
        return
    for line in card.report.overall:
        if line.row == MODEL:
            yield {"type": OVERALL, "name": "Overall score (1: like other real series)", "value": line.value}
    for name in SHOWN:
        value = rows[MODEL].values.get(name)
        if name in BY_NAME and value is not None:
            yield {"type": name, "name": BY_NAME[name].title, "value": value}


def describe(card: Card) -> str:
    facts, channels = card.facts, len(card.meta.channels)
    unit = f" in {card.meta.units}" if card.meta.units else ""
    step = "" if card.meta.is_nominal else f" of {format_step(card.meta.axis.step_seconds)}"
    return (
        f"# Generator of synthetic time series ({card.settings.model.name})\n\n"
        f"Generates series of {facts['length']:,} steps{step}"
        f"{f' with {channels} channels' if channels > 1 else ''}{unit}. {facts['parameters']:,} parameters, "
        f"float32. Made by distgan {facts['distgan_version']}."
    )


USE = """## Use

```python
import distgan

run = distgan.load("FOLDER")  # this folder
series = run.sample(100, seed=1)  # float32 [100, steps, channels] in original units
times = run.times()  # datetime64 [steps]
```"""


def describe_data(card: Card) -> str:
    credit = card.meta.provenance.get("credit", "")
    whose = (
        f"The real data: {credit}" if credit else "The owner of the real data is not named (`data.credit`)."
    )
    clock = card.meta.provenance.get("clock")
    return f"## Data\n\n{whose}\n\nNo real series is in this folder." + (f" Clock: {clock}." if clock else "")


def list_scores(card: Card) -> str:
    """Return a table of the scores beside those of other real series."""
    if card.report is None:
        why = (
            "They are functions of the real series without noise, which `privacy.epsilon` does not cover."
            if card.settings.privacy.epsilon is not None
            else "The run has no report of its weights and series as they are now."
        )
        return f"## Scores\n\nNone are given. {why}"
    rows = card.report.fidelity.by_name
    likewise = {line.row: line.value for line in card.report.overall}
    lines = ["| score | this model | other real series | best |", "|---|---:|---:|---:|"]
    for found in find_metrics(card):
        name, real = str(found["type"]), rows.get(REAL)
        value = likewise.get(REAL) if name == OVERALL else None if real is None else real.values.get(name)
        best = BY_NAME[name].best if name in BY_NAME else 1
        other = f"{value:.3g}" if value is not None else ""
        lines.append(f"| {found['name']} | {found['value']:.3g} | {other} | {best:g} |")
    said = [sentence.text for sentence in card.report.fidelity.verdict]
    return "## Scores\n\n" + "\n".join(lines) + "".join(f"\n\n{text}" for text in said)


def describe_privacy(card: Card) -> str:
    """Return the public part of the verdict of the gate."""
    if card.verdict is None:
        return f"## Privacy\n\n{NOT_JUDGED}"
    public = make_public_verdict(card.verdict, private=card.settings.privacy.epsilon is not None)
    lines = [public["sentence"], *public["privacy"]["claims"]]
    lines += [public[name] for name in ("attacked", "left_out") if public.get(name)]
    listed = "\n".join(f"- {line}" for line in lines)
    passed = f"The gate (`distgan release`) let this model's series pass on {public['made']}:"
    return f"## Privacy\n\n{passed}\n\n{listed}"
