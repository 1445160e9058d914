"""The report: whole, offline, free of ids, and honest about what is missing."""

import json
import re
from html.parser import HTMLParser

import pytest

from distgan.errors import UserError
from distgan.evaluation.attacks import battery
from distgan.evaluation.attacks.attack_data import Scene, Side
from distgan.evaluation.metrics import fidelity, utility
from distgan.evaluation.report import verdict, writer
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
        "real hold-out",
        "copier",
        "mean curve",
        "shuffled hours",
        "too many gaps",
        "1 January 2019",
        "(n = 12)",
        "1.2 to 3 times the true error",
        "two cautious standard errors",
    ):
        assert words in text, words


def test_the_json_has_a_schema_and_no_nan(written):
    content = json.loads((written / "report.json").read_text(), parse_constant=pytest.fail)
    assert content["schema"] == writer.SCHEMA
    assert content["facts"]["settings"]["rate"] is None
    assert content["privacy"] is None and content["usefulness"] is None
    assert len(content["headline"]) == 5 and all(number["text"] for number in content["headline"])
    assert [answer["short"] for answer in content["answers"]][1] == "Not tested"
    assert {row["name"] for row in content["fidelity"]["rows"]} == set(verdict.ROWS)


def test_every_part_of_the_json_is_described(written):
    content = json.loads((written / "report.json").read_text())
    described = set(re.findall(r"\w+", writer.__doc__))
    useful = utility.evaluate(homes(9), homes(5, 1), homes(9, 2), steps_per_day=24)
    sides = (Side.of(homes(9)), Side.of(homes(5, 1)))
    attacked = battery.run(Scene(*sides, homes(5, 3), homes(9, 2), 24), battery.BATTERY[:1])
    for part in (content, content["fidelity"], useful, attacked):
        assert set(part) <= described, set(part) - described


def test_facts_have_no_place_for_an_id():
    with pytest.raises(TypeError):
        writer.Facts("run", entities=["home 1"])  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def few() -> dict:
    return fidelity.evaluate(homes(2), homes(1, 1), homes(1, 2), steps_per_day=24)


def test_a_bare_report_of_few_series_is_written(few, tmp_path):
    writer.write(tmp_path / "a.html", tmp_path / "a.json", few, writer.Facts("small"), [])
    assert "small" in (tmp_path / "a.html").read_text()
    assert "<script" not in (tmp_path / "a.html").read_text()  # nothing to draw: no library either
    assert "| model |" in writer.format_markdown(json.loads((tmp_path / "a.json").read_text()))


def test_the_page_says_how_many_windows_were_learned_from(few, tmp_path):
    splits = {"train": writer.Split(95, 95, 10)}
    facts = writer.Facts("cut", splits=splits, windows={"train": 1659, "holdout": 394})
    writer.write(tmp_path / "a.html", tmp_path / "a.json", few, facts, [])
    assert (
        "Learned from 1,659 windows of 95 real series, judged against 1 of 394"
        in (tmp_path / "a.html").read_text()
    )


def test_a_place_that_cannot_be_written_is_one_line(few, tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "folder"
    with pytest.raises(UserError, match="cannot write"):
        writer.write(place / "a.html", place / "a.json", few, writer.Facts("x"), [])


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


def test_what_is_promised_of_the_groups_and_how_tracing_went(written):
    text = (written / "report.html").read_text()
    for said in (
        "smallest groups<small>the quarter with the fewest</small>",
        "0.40 to 0.82",
        "too few to tell",
        "(2, 1e-06)-differentially private",
        "<li>Covered: the bank.</li>",
        "For study only.",
    ):
        assert said in text
    assert json.loads((written / "report.json").read_text())["facts"]["groups"]["attacks"][0]["auc"] == 0.61


USEFULNESS = {
    "task": "the next day from the last week",
    "unit": "the naive error",
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
        ("pass", "No attack went over its limit", "good"),
        ("over", "No", "bad"),
        ("insufficient", "Not enough evidence", "warn"),
    ],
)
def test_usefulness_and_privacy_get_their_sections_and_numbers(few, tmp_path, outcome, short, tone):
    results = {**few, "usefulness": USEFULNESS}
    results["privacy"] = {
        "schema": "distgan.privacy/1",
        "outcome": outcome,
        "sentence": "P4 told <members>.",
        "attacks": [ATTACK],
        "others": [{**ATTACK, "id": "P9", "value": None, "note": "needs the networks"}],
        "claims": ["Not a proof."],
    }
    writer.write(tmp_path / "a.html", tmp_path / "a.json", results, writer.Facts("small"), [])
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
    assert cards["usefulness"] == "1.1 ×" and cards["privacy"] == "1 of 1"


def test_a_page_without_intervals_says_so(few, tmp_path):
    rows = [{**row, "low": None, "high": None} for row in USEFULNESS["rows"]]
    gaps = {"synthetic - real": {"value": 0.06, "low": None, "high": None}}
    results = {**few, "usefulness": {**USEFULNESS, "rows": rows, "gaps": gaps}}
    writer.write(tmp_path / "a.html", tmp_path / "a.json", results, writer.Facts("small"), [])
    text = (tmp_path / "a.html").read_text()
    assert "of one owner: no interval" in text and "+0.060." in text
