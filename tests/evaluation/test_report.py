"""The report: whole, offline, free of ids, and honest about what is missing."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from distgan.errors import UserError
from distgan.evaluation.attacks import battery
from distgan.evaluation.attacks.attack_data import Scene, Side
from distgan.evaluation.metrics import fidelity, utility
from distgan.evaluation.plots import catalogue, interactive, population, style, training
from distgan.evaluation.plots import values as values_module
from distgan.evaluation.plots.series import sample_sheet
from distgan.evaluation.plots.values import levels
from distgan.evaluation.report import verdict, writer

HOURS = 24 * 35


def homes(count: int, seed: int = 0, steps: int = HOURS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    day = 1 + 0.8 * np.sin(2 * np.pi * np.arange(steps) / 24)
    return (rng.lognormal(0, 0.5, (count, 1)) * day * rng.gamma(4, 0.25, (count, steps)))[..., None].astype(
        "f4"
    )


def view(steps: int = HOURS, step_seconds: int = 3600) -> style.View:
    times = np.datetime64("2019-01-01T00:00:00") + np.arange(steps) * np.timedelta64(step_seconds, "s")
    return style.View(times, 86400 / step_seconds, "kWh", 0, "load")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    real, synthetic = homes(8, 2), homes(12, 3)
    results = fidelity.evaluate(homes(12, 1), real, synthetic, steps_per_day=24)
    drawn = catalogue.draw_all(real, synthetic, view(), real_curves=True)
    attack = {
        "exposure": "smallest groups",
        "meaning": "the quarter with the fewest",
        "verdict": "too few to tell",
    }
    attack |= {"entities": 9, "strangers": 12, "auc": 0.61, "low": 0.4, "high": 0.82, "limit": 0.65}
    promise = "The bank is (2, 1e-06)-differentially private."
    groups = writer.Groups(
        [20, 18], [19.0, 17.5], [0.61, 0.63], 16, 0.65, [attack], promise, ["Covered: the bank."], study=True
    )
    facts = writer.Facts(
        "demo <run>",
        start="2019-01-01T00:00:00",
        step_seconds=3600,
        length=HOURS,
        splits={"train": writer.Split(12, 12, 4)},
        left_out={"too many gaps": 2},
        groups=groups,
        settings={"train.steps": 10, "rate": float("nan")},
        credit="Data: somebody, CC BY 4.0",
    )
    page, scores, shown = folder / "report.html", folder / "report.json", drawn.pictures
    writer.write(page, scores, results, facts, shown, first=drawn.first, explorer=drawn.explorer)
    return folder


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
    made = catalogue.select_pictures(real, synthetic, view(steps, step_seconds))
    assert interactive.explorer(real, synthetic, view(steps, step_seconds))
    assert len({picture.name for picture in made}) == len(made) >= 6
    assert all(isinstance(picture.figure, Figure) for picture in made)
    assert made[0].data_uri().startswith("data:image/png;base64,iVBOR")


def test_pictures_of_negative_values_and_constants():
    real, synthetic = homes(5) - 3, np.zeros_like(homes(4))
    assert catalogue.select_pictures(real, synthetic, view())


def test_the_same_picture_has_the_same_bytes():
    one, two = (style.render(levels(homes(5), homes(5, 1), view()), "svg") for _ in range(2))
    assert one == two


def test_losses_draws_numbers_and_leaves_out_clocks():
    lines = [
        {"step": i, "d": 1 / i, "g": float("nan"), "series_per_second": 9.0, "note": "x"} for i in range(1, 9)
    ]
    figure = training.losses({"gan": lines, "encoder": []})
    assert [axis.get_title("left") for axis in figure.axes if axis.get_visible()] == ["gan · d"]
    assert isinstance(training.losses({}), Figure)


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
    figure = population.elbow([2, 4, 8], [9.0, 4.0, 3.0], [0.2, 0.5, 0.3], "silhouette", 4)
    assert len(figure.axes) == 2
    points, labels = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60) % 4
    assert "4 groups" in population.latent_map(points, labels, np.zeros((4, 3)), explained=0.7).axes[
        0
    ].get_title("left")
    assert population.latent_map(points[:, :1], labels, np.zeros((4, 1))).axes


def test_groups_and_sample_sheet_draw():
    assert len(population.groups([5, 9], floor=4, tracing=[0.6, 0.55], limit=0.65).axes) == 2
    assert len(population.groups([5, 9], floor=4).axes) == 1
    assert len(sample_sheet(homes(3), view()).axes) == 6


def test_counts_are_binned_by_whole_numbers():
    counts = np.random.default_rng(0).geometric(0.01, (5, HOURS, 1)).astype("f4") - 1
    bars = values_module.values(counts, counts, view()).axes[0].patches
    edges = bars[0].get_data().edges
    assert np.array_equal(edges % 1, np.full(len(edges), 0.5)) and np.all(np.diff(edges) >= 1)


def test_nothing_on_the_page_depends_on_real_series_that_may_not_be_shown():
    steps, few = 24 * 14, catalogue.FEWEST - 1
    real, synthetic, look = homes(few, 2, steps), homes(4, 3, steps), view(steps)
    one, two = (
        catalogue.draw_all(series, synthetic, look, real_curves=False) for series in (real, real[::-1] * 3)
    )
    assert one.explorer["series"]["real"] == [] and len(one.explorer["series"]["synthetic"]) == 4
    assert [picture.name for picture in one.pictures] == ["samples", "weeks", "sizes", "carpets", "levels"]
    for here, there in zip([one.first, *one.pictures], [two.first, *two.pictures]):
        assert style.render(here.figure, dpi=40) == style.render(there.figure, dpi=40), here.name
        assert "held-out" not in json.dumps(here.live)


def test_enough_real_series_are_shown_together_where_single_ones_may_not():
    steps = 24 * 14
    made = catalogue.select_pictures(
        homes(catalogue.FEWEST, 2, steps), homes(4, 3, steps), view(steps), real_curves=False
    )
    names = [picture.name for picture in made]
    assert "profiles" in names and "spectrum" in names and "embedding" not in names


def test_the_series_to_choose_from_are_the_series():
    series = homes(3)
    series[0, 5] = np.nan
    for packed, row in zip(
        interactive.explorer(series[:0], series, view())["series"]["synthetic"],
        style.pick_rows(series, 3, 0, "synthetic"),
    ):
        parts = np.frombuffer(base64.b64decode(packed["values"]), "<u2").astype(float)
        parts[parts == 65535] = np.nan
        values = packed["low"] + parts / 65534 * (packed["high"] - packed["low"])
        np.testing.assert_allclose(values, series[row, :, 0], atol=np.nanmax(series) / 60000)


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


# ------------------------------------------------------------------------------------------ in a real browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, written):
    """Opens the report offline; afterwards nothing may have been fetched, and nothing complained of."""
    complaints: list[str] = []
    contexts = []

    def look(width: int, scheme: str, script: bool = True):
        contexts.append(
            browser.new_context(
                viewport={"width": width, "height": 844},
                color_scheme=scheme,
                offline=True,
                java_script_enabled=script,
            )
        )
        page = contexts[-1].new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request", lambda r: None if r.url.startswith(("file:", "data:")) else complaints.append(r.url)
        )
        page.goto((written / "report.html").as_uri())
        return page

    yield look
    for context in contexts:
        context.close()
    assert complaints == []


INK = """plots => plots.map(plot => [...plot.shadowRoot.querySelectorAll('*')].flatMap(function deep(node) {
    const inside = node.shadowRoot ? [...node.shadowRoot.querySelectorAll('*')].flatMap(deep) : [];
    return node.tagName === 'CANVAS' ? [node, ...inside] : inside;
}).reduce((most, canvas) => {
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return Math.max(most, new Set(new Uint32Array(pixels.buffer)).size);
}, 0))"""  # colours on the canvases of each plot


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_draws_every_plot_offline_and_nothing_is_wider_than_the_screen(
    opened, written, width, scheme
):
    page = opened(width, scheme)
    items = json.loads(page.locator("#live-items").text_content())
    places = ", ".join(f"#{place} > *" for place in [*items, "explorer-plots"])
    page.wait_for_function(f"document.querySelectorAll('{places}').length === {len(items) + 1}")
    page.wait_for_timeout(500)
    colours = page.locator(places).evaluate_all(INK)
    assert len(colours) == len(items) + 1 >= 8 and min(colours) > 5, colours
    assert page.evaluate("document.documentElement.scrollWidth") == width
    first = page.locator(".answers").bounding_box()
    assert first["y"] + first["height"] < 844  # the verdict is on the first screen
    assert page.locator(".has-live img").first.is_hidden()
    page.emulate_media(media="print")
    assert page.locator(".has-live img").first.is_visible() and page.locator(".live").first.is_hidden()


def test_a_week_and_a_series_are_chosen_by_keyboard(opened):
    page = opened(1280, "light")
    shown = """name => Bokeh.documents.map(d => d.get_model_by_name(name)).find(found => found)"""
    page.wait_for_function(
        "typeof Bokeh !== 'undefined' && Bokeh.documents.some(d => d.get_model_by_name('near x'))"
    )
    page.wait_for_function(f"({shown})('near x').end > 1e9")

    def span():
        return page.evaluate(f"(({shown})('near x').end - ({shown})('near x').start) / 864e5")

    def values(name):
        return page.evaluate(f"Array.from(({shown})('{name} near').data.y)")

    assert span() == pytest.approx(7, abs=0.1) and values("real") == [] and len(values("synthetic")) == HOURS
    page.locator("[data-span=day]").focus()
    page.keyboard.press("Enter")
    assert span() == pytest.approx(1)
    before = page.evaluate(f"({shown})('near x').start")
    page.locator("[data-move='1']").focus()
    page.keyboard.press("Space")
    assert page.evaluate(f"({shown})('near x').start") == pytest.approx(before + 864e5)
    one = values("synthetic")
    page.locator("select[name=synthetic]").focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.querySelector('select[name=synthetic]').value === '1'")
    assert values("synthetic") != one
    page.locator("select[name=real]").select_option("0")
    assert len(values("real")) == HOURS


def test_colours_follow_the_readers_scheme(opened):
    page = opened(1280, "light")
    ask = "Bokeh.documents.map(d => JSON.stringify(d.to_json())).join('').includes('#56B4E9')"
    page.wait_for_function("typeof Bokeh !== 'undefined' && Bokeh.documents.length > 8")
    assert not page.evaluate(ask)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(ask)


def test_without_script_the_still_pictures_stand(opened):
    page = opened(390, "light", script=False)
    assert page.locator(".has-live img").first.is_visible() and page.locator("#closer").is_hidden()
