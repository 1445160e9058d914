"""The report: whole, offline, free of ids, and honest about what is missing."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from distgan.errors import UserError
from distgan.evaluation import fidelity, plots, report, usefulness, verdict

HOURS = 24 * 35


def homes(count: int, seed: int = 0, steps: int = HOURS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    day = 1 + 0.8 * np.sin(2 * np.pi * np.arange(steps) / 24)
    return (rng.lognormal(0, 0.5, (count, 1)) * day * rng.gamma(4, 0.25, (count, steps)))[..., None].astype(
        "f4"
    )


def view(steps: int = HOURS, step_seconds: int = 3600) -> plots.View:
    times = np.datetime64("2019-01-01T00:00:00") + np.arange(steps) * np.timedelta64(step_seconds, "s")
    return plots.View(times, 86400 / step_seconds, "kWh", 0, "load")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    real, synthetic = homes(8, 2), homes(12, 3)
    results = fidelity.evaluate(homes(12, 1), real, synthetic, steps_per_day=24)
    pictures = plots.pictures(real, synthetic, view())
    attack = {
        "exposure": "smallest groups",
        "meaning": "the quarter with the fewest",
        "verdict": "too few to tell",
    }
    attack |= {"entities": 9, "strangers": 12, "auc": 0.61, "low": 0.4, "high": 0.82, "limit": 0.65}
    promise = "The bank is (2, 1e-06)-differentially private."
    groups = report.Groups(
        [20, 18], [19.0, 17.5], [0.61, 0.63], 16, 0.65, [attack], promise, ["Covered: the bank."], study=True
    )
    facts = report.Facts(
        "demo <run>",
        start="2019-01-01T00:00:00",
        step_seconds=3600,
        length=HOURS,
        splits={"train": report.Split(12, 12, 4)},
        left_out={"too many gaps": 2},
        groups=groups,
        settings={"train.steps": 10, "rate": float("nan")},
        credit="Data: somebody, CC BY 4.0",
    )
    useful = usefulness.evaluate(homes(12, 1), real, synthetic, steps_per_day=24)
    report.write(folder / "report.html", folder / "report.json", results, facts, pictures, useful)
    return folder


class Page(HTMLParser):
    """Checks nesting, and collects what a browser would fetch."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.images: list[dict] = []
        self.ids: set[str] = set()

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


def test_the_page_is_whole_and_fetches_nothing(written):
    text = (written / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert all(address.startswith(("data:", "#")) for address in page.fetched)
    assert not re.search(r"<script|https?://|@import|url\(", re.sub(r'src="data:[^"]*"', "", text))
    assert {address[1:] for address in page.fetched if address.startswith("#")} <= page.ids
    assert len(page.images) >= 9 and all(len(image["alt"]) > 20 for image in page.images)
    assert len(text) < 3e6


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
    ):
        assert words in text, words


def test_the_json_has_a_schema_and_no_nan(written):
    content = json.loads((written / "report.json").read_text(), parse_constant=pytest.fail)
    assert content["schema"] == report.SCHEMA
    assert content["facts"]["settings"]["rate"] is None
    assert content["privacy"] is None
    assert {row["name"] for row in content["fidelity"]["rows"]} == set(verdict.ROWS)


def test_usefulness_stands_in_page_and_json(written):
    content = json.loads((written / "report.json").read_text())["usefulness"]
    text = html.unescape((written / "report.html").read_text())
    assert {"seasonal naive", "real", "synthetic", "real + synthetic"} <= {r["name"] for r in content["rows"]}
    assert content["verdict"]["text"] in text
    assert "Usefulness" in text and all(f"{row['value']:.3f}" in text for row in content["rows"])


def test_facts_have_no_place_for_an_id():
    with pytest.raises(TypeError):
        report.Facts("run", entities=["home 1"])  # type: ignore[call-arg]


def test_a_bare_report_of_few_series_is_written(tmp_path):
    results = fidelity.evaluate(homes(2), homes(1, 1), homes(1, 2), steps_per_day=24)
    report.write(tmp_path / "a.html", tmp_path / "a.json", results, report.Facts("small"), [])
    assert "small" in (tmp_path / "a.html").read_text()
    assert "| model |" in report.markdown(results)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "folder"
    results = fidelity.evaluate(homes(2), homes(1, 1), homes(1, 2), steps_per_day=24)
    with pytest.raises(UserError, match="cannot write"):
        report.write(place / "a.html", place / "a.json", results, report.Facts("x"), [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (1.0, "1"),
        (0.1234, "0.12"),
        (0.004321, "0.0043"),
        (12.34, "12"),
        (43210.7, "43,211"),
    ],
)
def test_numbers_read_well(value, text):
    assert report.number(value) == text


@pytest.mark.parametrize(
    ("count", "steps", "step_seconds", "channels"),
    [
        (1, 60, 3600, 1),  # two and a half days
        (2, 42, 86400, 1),  # daily values
        (5, 120, 2629800, 1),  # months
        (5, 4000, 900, 3),
        (5, 2000, 1, 1),
    ],
)
def test_pictures_of_any_series(count, steps, step_seconds, channels):
    real, synthetic = (np.repeat(homes(n, n, steps), channels, 2) for n in (count, count + 1))
    real[0, :3] = np.nan
    made = plots.pictures(real, synthetic, view(steps, step_seconds))
    assert len({picture.name for picture in made}) == len(made) >= 6
    assert all(isinstance(picture.figure, Figure) for picture in made)
    assert made[0].data_uri().startswith("data:image/png;base64,iVBOR")


def test_pictures_of_negative_values_and_constants():
    real, synthetic = homes(5) - 3, np.zeros_like(homes(4))
    assert plots.pictures(real, synthetic, view())


def test_the_same_picture_has_the_same_bytes():
    one, two = (plots.render(plots.levels(homes(5), homes(5, 1), view()), "svg") for _ in range(2))
    assert one == two


def test_losses_draws_numbers_and_leaves_out_clocks():
    lines = [
        {"step": i, "d": 1 / i, "g": float("nan"), "series_per_second": 9.0, "note": "x"} for i in range(1, 9)
    ]
    figure = plots.losses({"gan": lines, "encoder": []})
    assert [axis.get_title("left") for axis in figure.axes if axis.get_visible()] == ["gan · d"]
    assert isinstance(plots.losses({}), Figure)


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


def test_the_elbow_and_the_map_draw():
    figure = plots.elbow([2, 4, 8], [9.0, 4.0, 3.0], [0.2, 0.5, 0.3], "silhouette", 4)
    assert len(figure.axes) == 2
    points, labels = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60) % 4
    assert "4 groups" in plots.latent_map(points, labels, np.zeros((4, 3)), explained=0.7).axes[0].get_title(
        "left"
    )
    assert plots.latent_map(points[:, :1], labels, np.zeros((4, 1))).axes


def test_groups_and_sample_sheet_draw():
    assert len(plots.groups([5, 9], floor=4, tracing=[0.6, 0.55], limit=0.65).axes) == 2
    assert len(plots.groups([5, 9], floor=4).axes) == 1
    assert len(plots.sample_sheet(homes(3), view()).axes) == 6


def test_counts_are_binned_by_whole_numbers():
    counts = np.random.default_rng(0).geometric(0.01, (5, HOURS, 1)).astype("f4") - 1
    bars = plots.values(counts, counts, view()).axes[0].patches
    edges = bars[0].get_data().edges
    assert np.array_equal(edges % 1, np.full(len(edges), 0.5)) and np.all(np.diff(edges) >= 1)
