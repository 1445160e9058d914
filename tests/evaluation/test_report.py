"""The report: whole, offline, free of ids, and honest about what is missing."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from distgan import config
from distgan.errors import UserError
from distgan.evaluation import results
from distgan.evaluation.plots import catalogue
from distgan.evaluation.report import verdict, writer
from distgan.evaluation.results import Facts, Findings, Report, Split
from distgan.pipeline.evaluate import describe_exported
from distgan.preflight import REPORT_SCHEMA
from tests.helpers.fidelity import judge_sets
from tests.helpers.reports import homes


class Page(HTMLParser):
    """Checks nesting, and collects what a browser would fetch."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.images: list[dict] = []
        self.ids: set[str] = set()
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id", ""))
        self.fetched += [found[name] for name in ("src", "href", "data") if found.get(name)]
        if tag == "img":
            self.images.append(found)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def test_the_page_is_whole_and_fetches_nothing(written):
    text = (written / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert all(address.startswith(("data:", "#")) for address in page.fetched)
    for script in page.scripts:
        text = text.replace(script, "")
    assert not re.search(r"https?://|@import|url\(", re.sub(r'src="data:[^"]*"', "", text))
    assert "default-src 'none'" in text  # so that the library inside may ask for nothing either
    assert {address[1:] for address in page.fetched if address.startswith("#")} <= page.ids
    assert len(page.images) >= 10 and all(len(image["alt"]) > 20 for image in page.images)
    assert (written / "report.html").stat().st_size < 6e6


def test_the_page_says_what_it_must(written):
    text = (written / "report.html").read_text()
    assert "demo &lt;run&gt;" in text
    for words in (
        "Aggregation is not a proof of anonymity",
        "Privacy attacks are not part of this report",
        "CC BY 4.0",
        "held-out real",
        "copier",
        "mean curve",
        "shuffled hours",
        "too many gaps",
        "1 January 2019",
        "(n = 12)",
        "1.2 to 3 times the true error",
        "the same numbers are in report.json",
    ):
        assert words in text, words


def test_the_json_has_a_schema_and_no_nan(written):
    content = json.loads((written / "report.json").read_text(), parse_constant=pytest.fail)
    assert content["schema"] == REPORT_SCHEMA
    assert content["facts"]["settings"]["rate"] is None
    assert content["privacy"] is None and content["utility"] is None
    assert len(content["headline"]) == 5 and all(number["text"] for number in content["headline"])
    assert [answer["short"] for answer in content["answers"]][1] == "Not tested"
    assert {row["name"] for row in content["fidelity"]["rows"]} == set(verdict.ROWS)


def test_a_report_is_read_back_as_it_was_written(written):
    content = json.loads((written / "report.json").read_text())
    assert Report.from_json(content, "demo").to_json() == content
    assert content["facts"]["splits"] == {"train": {"series": 12, "entities": 12, "owners": 4}}


def test_every_part_of_the_json_is_described(written):
    """A key of report.json is a field of a model: what is written besides is refused when it is read."""
    content = json.loads((written / "report.json").read_text())
    described = set(re.findall(r"\w+", results.__doc__))
    assert set(content) <= described, set(content) - described
    content["fidelity"]["rows"][0]["worth"] = 1
    with pytest.raises(UserError, match=r"demo has a damaged report \(fidelity\.rows\.0\.worth: "):
        Report.from_json(content, "demo")


def test_facts_have_no_place_for_an_id():
    with pytest.raises(TypeError):
        Facts("run", entities=["home 1"])  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def few() -> Findings:
    return Findings(fidelity=judge_sets(homes(2), homes(1, 1), homes(1, 2)))


def test_a_bare_report_of_few_series_is_written(few, tmp_path):
    writer.write_report(tmp_path / "a.html", tmp_path / "a.json", few, Facts("small"), catalogue.Drawings())
    assert "small" in (tmp_path / "a.html").read_text()
    assert "<script" not in (tmp_path / "a.html").read_text()  # nothing to draw: no library either
    report = Report.from_json(json.loads((tmp_path / "a.json").read_text()), "a")
    assert "| model |" in writer.format_markdown(report)


def test_the_page_says_how_many_windows_were_learned_from(few, tmp_path):
    splits = {"train": Split(95, 95, 10)}
    facts = Facts("cut", splits=splits, windows={"train": 1659, "held_out": 394})
    writer.write_report(tmp_path / "a.html", tmp_path / "a.json", few, facts, catalogue.Drawings())
    page = (tmp_path / "a.html").read_text()
    assert "Learned from 1,659 windows of 95 real series" in page
    assert "compared with 394 windows that were never trained on." in page


def test_a_place_that_cannot_be_written_is_one_line(few, tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "folder"
    with pytest.raises(UserError, match="cannot write"):
        writer.write_report(place / "a.html", place / "a.json", few, Facts("x"), catalogue.Drawings())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (1.0, "1"),
        (0.1234, "0.12"),
        (0.004321, "0.0043"),
        (0.000432, "0.00043"),
        (3e-5, "3.0e-05"),
        (-3e-5, "-3.0e-05"),
        (12.34, "12"),
        (43210.7, "43,211"),
    ],
)
def test_numbers_read_well(value, text):
    assert writer.format_number(value) == text


@pytest.mark.parametrize(
    ("ends", "limit", "text"),
    [
        ((0.62, 0.9961), 1.0, "0.62 to 0.996"),
        ((1.0004, 1.3), 1.0, "1.0004 to 1.3"),
        ((0.55, 0.6003), 0.6, "0.55 to 0.6003"),
        ((0.04999, 0.2), 0.05, "0.04999 to 0.20"),
        ((0.0, 0.0), 0.0, "0 to 0"),
        ((0.031, 0.034), None, "0.031 to 0.034"),
        ((None, 0.6), 0.6, ""),
    ],
)
def test_an_interval_shows_on_which_side_of_its_limit_it_ends(ends, limit, text):
    assert writer.format_interval(*ends, limit) == text


def test_what_is_promised_of_the_groups_and_how_tracing_went(written):
    text = (written / "report.html").read_text()
    for said in (
        "smallest groups<small>the quarter with the fewest</small>",
        "0.40 to 0.82",
        "not enough evidence",
        "(2, 1e-06)-differentially private",
        "<li>Covered: the bank.</li>",
        "For research only.",
        '<tr><th scope="row">0</th><td class="n">20</td>',  # numbered as in the bank
        '<tr><th scope="row">1</th><td class="n">18</td>',
    ):
        assert said in text
    assert json.loads((written / "report.json").read_text())["facts"]["groups"]["attacks"][0]["auc"] == 0.61


UTILITY = {
    "task": "the next day from the last week",
    "unit": "the naive error",
    "horizon": 24,
    "n": {"owners": 8, "series": 8, "samples": 80},
    "tone": "good",
    "sentence": "Synthetic series teach <nearly> as much.",
    "rows": [
        {"name": "real", "meaning": "trained on real series", "value": 0.6, "low": 0.5, "high": 0.7, "n": 8},
        {"name": "synthetic", "meaning": "on synthetic", "value": 0.66, "low": 0.6, "high": 0.7, "n": 8},
    ],
    "gaps": {"synthetic - real": {"value": 0.06, "low": 0.02, "high": 0.1}},
}
ATTACK = {
    "id": "P4",
    "title": "Membership <inference>",
    "statistic": "AUC",
    "source": "ours",
    "value": 0.71,
    "low": 0.66,
    "high": 0.76,
    "limit": 0.6,
    "outcome": "over",
    "n": 12,
    "groups": [{"name": "outliers", "n": 3, "value": 0.9, "low": None, "high": None}],
    "note": "",
}


@pytest.mark.parametrize(
    ("outcome", "short", "tone"),
    [
        ("pass", "Yes", "good"),
        ("over", "No", "bad"),
        ("insufficient", "Not enough evidence", "note"),
    ],
)
def test_utility_and_privacy_get_their_sections_and_numbers(few, tmp_path, outcome, short, tone):
    privacy = {
        "schema": "distgan.privacy/2",
        "outcome": outcome,
        "sentence": "P4 told <members>.",
        "attacks": [ATTACK],
        "others": [{**ATTACK, "id": "P9", "value": None, "outcome": "report", "note": "needs the networks"}],
        "claims": ["Not a proof."],
        "evidence": {"members": 12, "non_members": 12, "synthetic": 12, "needed": 3000},
    }
    results = Findings(fidelity=few.fidelity, utility=UTILITY, privacy=privacy)
    writer.write_report(
        tmp_path / "a.html", tmp_path / "a.json", results, Facts("small"), catalogue.Drawings()
    )
    text, content = (tmp_path / "a.html").read_text(), json.loads((tmp_path / "a.json").read_text())
    assert Page(text).open == []
    for words in (
        "P4 told &lt;members&gt;.",
        "Membership &lt;inference&gt;",
        "needs the networks",
        "outliers",
        "Not a proof.",
        "teach &lt;nearly&gt;",
        "+0.060",
    ):
        assert words in text, words
    assert "Privacy attacks are not part of this report" not in text
    answer = content["answers"][1]
    assert (answer["short"], answer["tone"]) == (short, tone)
    cards = {number["name"]: number["text"] for number in content["headline"]}
    assert cards["utility"] == "1.1 ×" and cards["privacy"] == "1 of 1"


def test_a_page_without_intervals_says_so(few, tmp_path):
    rows = [{**row, "low": None, "high": None} for row in UTILITY["rows"]]
    gaps = {"synthetic - real": {"value": 0.06, "low": None, "high": None}}
    useful = {**UTILITY, "rows": rows, "gaps": gaps}
    results = Findings(fidelity=few.fidelity, utility=useful)
    writer.write_report(
        tmp_path / "a.html", tmp_path / "a.json", results, Facts("small"), catalogue.Drawings()
    )
    text = (tmp_path / "a.html").read_text()
    assert "of one owner: no interval" in text and "+0.060." in text


def test_the_period_is_what_is_known_of_it():
    """Windows begin anywhere, and a source without times has no start, and its steps count as hours."""
    facts = Facts("run", start="2013-01-07T00:00:00", step_seconds=3600, length=336)
    periods = [facts, replace(facts, windows={"train": 4}), replace(facts, nominal=True)]
    found = [writer._format_period(each) for each in periods]
    assert found[:2] == ["336 steps of 1 h from 7 January 2013", "336 steps of 1 h"]
    assert found[2] == "336 steps; the source has no times, so a step counts as 1 h on this page"


def test_the_page_says_how_exported_series_differ():
    """Its statistics are of whole series on the trained days, which no export holds then."""
    assert describe_exported(config.Generate()) == ""
    text = describe_exported(config.Generate(start="2027-01-01", lengths="as_real"))
    assert text.startswith(
        "Exported series are moved to the year from 2027-01-01 and begin late or end early"
    )
