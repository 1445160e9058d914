"""The report in a real browser: offline, by keyboard, in the reader's colours, without script."""

import json
import shutil

import pytest

from tests.helpers.processes import PATIENCE
from tests.helpers.reports import HOURS

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
        page.set_default_timeout(1000 * PATIENCE)  # ms; other tests use the cores
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


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), pytest.param(390, "dark", marks=pytest.mark.slow)]
)
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
