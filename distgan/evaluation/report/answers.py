"""The first screen of a report: quality, safety, the overall scores, and a few numbers."""

from collections.abc import Callable

from distgan.evaluation.comparisons import WORDS, Difference, PairedComparisons
from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.metrics.two_sample_table import TwoSampleTests
from distgan.evaluation.metrics.utility import REAL as TRAINED_ON_REAL
from distgan.evaluation.metrics.utility import SYNTHETIC as TRAINED_ON_SYNTHETIC
from distgan.evaluation.report import verdict
from distgan.evaluation.report.tables import Line, format_interval, format_number, make_table
from distgan.evaluation.report.verdict import FITTED, MODEL, REAL, SIMPLE, list_words
from distgan.evaluation.results import Answer, Card, Facts, Findings, OverallLine, ScoreTable, Utility

GOOD, SAFE = "Are they good?", "Is it safe to release them?"
HEADLINE = (  # the numbers of the first screen: of each line the first that there is
    ("tests", "minirocket", "acf_short"),
    ("spectrum", "value_distance"),
    ("diversity",),
    ("utility", "daily_profile", "ramp_distance"),
    ("privacy", "copies"),
)


def answer_good(findings: Findings) -> Answer:
    """Answer whether the series are good, in two sentences.

    `yes`: like real overall, better than both simple baselines, worse than none, not distinguished by the
        two-sample tests, and no finding is bad.
    `no`: worse than a generator without a network, not better than a simple baseline, easily distinguished by
        a two-sample test, or collapsed.
    `unknown`: too few held-out owners or synthetic series, unless a two-sample test, which needs fewer,
        distinguishes them easily. Everything else: `reservations`.
    """
    table = findings.fidelity
    paired, key = table.paired, _judge_quality(table, findings.tests)
    word = WORDS[key]
    if not _is_judged(paired):
        text = _count_owners(paired)
        text += f" {findings.tests.sentence}" if findings.tests is not None and key == "no" else ""
    else:
        text = f"{_describe_overall(paired)} {_describe_baselines(paired)}"
        why = [each.text for each in table.verdict if each.tone == "bad" and each.topic != "copies"]
        text += f" {why[0]}" if why and key != "yes" else ""
    return Answer(question=GOOD, verdict=key, tone=word.tone, short=word.text, text=text)


def _judge_quality(table: ScoreTable, tests: TwoSampleTests | None) -> str:
    paired, by_tests = table.paired, "real" if tests is None else tests.verdict
    if not _is_judged(paired):
        return "no" if by_tests == "baseline" else "unknown"
    worse = verdict.find_worse_baselines(paired)
    better = verdict.find_better_baselines(paired)
    simple = [row for row in SIMPLE if paired.find(row) is not None]
    if any(row in FITTED for row in worse) or any(row not in better for row in simple):
        return "no"
    if by_tests == "baseline" or verdict.has_collapsed(table.by_name[MODEL].values, paired):
        return "no"
    bad = any(sentence.tone == "bad" for sentence in table.verdict if sentence.topic != "copies")
    like = verdict.is_like_real(paired) and by_tests == "real"
    return "yes" if like and not worse and not bad else "reservations"


def _is_judged(paired: PairedComparisons) -> bool:
    """Return whether the synthetic series could be compared with a row of real ones."""
    found = paired.find(REAL)
    return found is not None and found.ratio is not None and found.ratio.verdict != "few"


def _count_owners(paired: PairedComparisons) -> str:
    if not paired.overall:
        return "There are too few held-out real series to compare with. Hold out more owners."
    more = (
        " Hold out more owners; of two files without training series, distgan evaluate --all-held-out "
        "compares all."
        if paired.owners < paired.needed
        else ""
    )
    return (
        f"Only {paired.lacking or 'few series'} can be compared; {paired.needed} are needed for any verdict. "
        f"The scores below are shown without one.{more}"
    )


def _describe_overall(paired: PairedComparisons) -> str:
    model, real = paired.find_overall(MODEL), paired.find(REAL)
    assert model is not None and real is not None and real.ratio is not None
    said = {
        "tie": "a tie with real series",
        "better": "better than real series",
        "worse": "worse than real series",
    }
    text = said[real.ratio.verdict]
    if real.ratio.verdict != "worse" and not verdict.is_like_real(paired):
        text += ", but worse than the training series, which are real, too"
    return (
        f"They are {format_number(model.value)} times as far from held-out real series as other real series "
        f"are (95 % interval {format_interval(model.low, model.high)}; 1 is perfect): {text}."
    )


def _describe_baselines(paired: PairedComparisons) -> str:
    """Describe the nearest baseline that holds no real series, and the synthetic series relative to it."""
    names = [row.row for row in paired.rows if row.row in (*FITTED, *SIMPLE)]
    scores = [score for name in names if (score := paired.find_overall(name)) is not None]
    if not scores:
        return "There is no baseline to compare with."
    best = min(scores, key=lambda score: score.value)
    row = paired.find(best.row)
    assert row is not None and row.ratio is not None
    said = {
        "better": "they are better",
        "tie": "that is a tie",
        "worse": "they are worse",
    }
    worse = [name for name in verdict.find_worse_baselines(paired) if name != best.row]
    text = (
        f"The best baseline that holds no real series, {best.row}, reaches {format_number(best.value)}; "
        f"{said[row.ratio.verdict]}"
    )
    return f"{text}. They are worse than {list_words(worse)}." if worse else f"{text}."


def answer_safe(findings: Findings, facts: Facts) -> Answer:
    """Answer whether the series are safe to release, by the attacks; without attacks they were not tested."""
    key, text = _judge_safety(findings, facts)
    return Answer(question=SAFE, verdict=key, tone=WORDS[key].tone, short=WORDS[key].text, text=text)


def _judge_safety(findings: Findings, facts: Facts) -> tuple[str, str]:
    if (privacy := findings.privacy) is not None:
        keys = {"pass": "yes", "over": "no", "insufficient": "unknown"}
        end = " The release check decides on the series that leave." if privacy.outcome == "pass" else ""
        key = keys[privacy.outcome]
        return key, privacy.sentence.removeprefix(f"{WORDS[key].text}: ") + end
    share = findings.fidelity.by_name[MODEL].values["copies"] or 0
    if share > 0:
        shown = verdict.format_share(share)
        whose = "real" if facts.unknown else "training"
        text = f"{shown} of them are near copies of {whose} series. A release would give those away."
        return "no", text
    text = "No near copy of a training series was found, but that shows little. No privacy attack was run."
    if facts.unknown:
        text = (
            "No privacy attack was run. It is not known which real series the synthetic ones were learned "
            "from."
        )
    return "untested", text


# --------------------------------------------------------------------------------------------- overall scores


def list_overall(paired: PairedComparisons) -> list[OverallLine]:
    """Return the overall score of every row, best first, with the synthetic series' verdict against it."""
    lines = []
    for score in sorted(paired.overall, key=lambda each: (each.value, each.row)):
        row = paired.find(score.row)
        ratio: Difference | None = None if row is None else row.ratio
        lines.append(OverallLine(**dict(score), against=ratio))
    return lines


# -------------------------------------------------------------------------------------------- a few numbers


def list_cards(findings: Findings) -> list[Card]:
    """Return the cards of `HEADLINE` that exist."""
    lines = {line.name: line for line in make_table(findings.fidelity)}
    found = []
    for names in HEADLINE:
        cards = (
            CARDS[name](findings) if name in CARDS else _make_score_card(lines.get(name)) for name in names
        )
        found += [card for card in cards if card is not None][:1]
    return found


def _make_score_card(line: Line | None) -> Card | None:
    """Return the model's value with that of real series, and the worst of the other rows."""
    if line is None:
        return None
    score, cells = BY_NAME[line.name], {cell.row: cell.value for cell in line.cells}
    losses = {
        row: score.compute_loss(value)
        for row, value in cells.items()
        if row not in (MODEL, REAL) and value is not None
    }
    worst = max(losses, key=lambda row: losses[row], default=None)
    context = [f"best {format_number(line.best)}", f"held-out real {format_number(cells.get(REAL))}"]
    context += [f"{worst} {format_number(cells[worst])}"] if worst else []
    return Card(
        name=line.name,
        title=line.title,
        value=cells[MODEL],
        text=format_number(cells[MODEL]),
        context=" · ".join(context),
        verdict=line.standing,
        scale=line.scale,
    )


def _make_utility_card(findings: Findings) -> Card | None:
    """Return how much larger the error of a model is that was trained on synthetic instead of real series."""
    utility: Utility | None = findings.utility
    errors = {} if utility is None else {row.name: row.value for row in utility.rows}
    made, real = errors.get(TRAINED_ON_SYNTHETIC), errors.get(TRAINED_ON_REAL)
    if made is None or not real:
        return None
    return Card(
        name="utility",
        title="Utility: forecast error",
        value=made / real,
        text=f"{format_number(made / real)} ×",
        context="of a forecaster that is trained on synthetic series, over one that is trained on real ones",
    )


def _make_privacy_card(findings: Findings) -> Card | None:
    if (privacy := findings.privacy) is None:
        return None
    over = sum(attack.outcome == "over" for attack in privacy.attacks)
    few = sum(attack.outcome == "insufficient" for attack in privacy.attacks)
    return Card(
        name="privacy",
        title="Privacy attacks over their limit",
        value=over,
        text=f"{over} of {len(privacy.attacks)}",
        context=f"{few} without enough evidence" if few else "no other is over its limit",
        verdict=privacy.outcome,
    )


def _make_tests_card(findings: Findings) -> Card | None:
    """Return the view of the two-sample tests whose accuracy is surest to be high, by the low end of its
    interval.
    """
    if (tests := findings.tests) is None:
        return None
    view = max(tests.views, key=lambda each: each.synthetic.low)
    beside = f" · two real sets {view.real.value:.0%}" if view.real is not None else ""
    return Card(
        name="tests",
        title=f"Two-sample test, {view.title}",
        value=view.synthetic.value,
        text=f"{view.synthetic.value:.0%}",
        context=f"{view.synthetic.low:.0%} to {view.synthetic.high:.0%} · 50 % is guessing{beside}",
        verdict=tests.verdict,
    )


CARDS: dict[str, Callable[[Findings], Card | None]] = {
    "tests": _make_tests_card,
    "utility": _make_utility_card,
    "privacy": _make_privacy_card,
}
