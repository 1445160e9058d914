"""Pictures of any series, of losses, groups and counts; bytes that depend on nothing else."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from distgan.evaluation.plots import catalogue, interactive, population, rhythm, style, training
from distgan.evaluation.plots import values as values_module
from distgan.evaluation.plots.series import draw_carpets, draw_preview, draw_sizes, label_week_axis
from distgan.evaluation.plots.values import draw_levels
from tests.helpers.reports import HOURS, homes, view


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
    assert interactive.plot_explorer(real, synthetic, view(steps, step_seconds))
    assert len({picture.name for picture in made}) == len(made) >= 6
    assert all(isinstance(picture.figure, Figure) for picture in made)
    assert made[0].make_data_uri().startswith("data:image/png;base64,iVBOR")


@pytest.mark.parametrize(
    ("steps", "step_seconds", "days"), [(156, 7 * 86400, 0), (14, 86400, 14), (168, 3600, 7), (60, 3600, 3)]
)
def test_axes_of_long_steps_have_few_ticks(caplog, steps, step_seconds, days):
    """Three years of weeks had a tick a day, and the terminal a line of matplotlib for each attempt."""
    figure, axes = style.make_figure(1, 1, 2)
    label_week_axis(axes[0, 0], view(steps, step_seconds).times)
    style.render(figure, "png")
    ticks = len(axes[0, 0].get_xticks())
    assert ticks == days if days else 3 <= ticks <= 8
    assert not caplog.records


def test_pictures_of_negative_values_and_constants():
    real, synthetic = homes(5) - 3, np.zeros_like(homes(4))
    assert catalogue.select_pictures(real, synthetic, view())


def test_the_same_picture_has_the_same_bytes():
    one, two = (style.render(draw_levels(homes(5), homes(5, 1), view()), "svg") for _ in range(2))
    assert one == two


def test_losses_draws_numbers_and_leaves_out_clocks():
    lines = [
        {"step": i, "d": 1 / i, "g": float("nan"), "series_per_second": 9.0, "note": "x"} for i in range(1, 9)
    ]
    figure = training.draw_losses({"gan": lines, "encoder": []})
    assert [axis.get_title("left") for axis in figure.axes if axis.get_visible()] == ["gan · d"]
    assert isinstance(training.draw_losses({}), Figure)


def test_losses_of_every_network_are_drawn():
    """Of a report's usual lines; with twelve panels at most the generator had none."""
    encoder = ("loss", "mse", "kl", "gradient_norm")
    shown = ("loss", "d", "real", "fake", "spread", "accuracy", "penalty", "gradient_norm")
    names = [*(f"discriminator/{name}" for name in shown), "generator/loss", "generator/g"]
    lines = [
        {"step": step, "discriminator/skipped": step - 1, "generator/skipped": 0} | dict.fromkeys(names, step)
        for step in (1, 2)
    ]
    records = {"encoder": [dict.fromkeys(encoder, step) | {"step": step} for step in (1, 2)], "gan": lines}
    wanted = [f"encoder · {name.replace('_', ' ')}" for name in encoder]
    wanted += [f"gan · {name.replace('_', ' ')}" for name in ("discriminator/skipped", *names)]
    figure = training.draw_losses(records)
    assert [axis.get_title("left") for axis in figure.axes if axis.get_visible()] == wanted
    assert len(interactive.plot_losses(records)) == len(wanted)


def test_the_elbow_and_the_map_draw():
    figure = population.draw_elbow([2, 4, 8], [9.0, 4.0, 3.0], [0.2, 0.5, 0.3], "silhouette", 4)
    assert len(figure.axes) == 2
    points, labels = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60) % 4
    assert "4 groups" in population.draw_latent_map(points, labels, np.zeros((4, 3)), explained=0.7).axes[
        0
    ].get_title("left")
    assert population.draw_latent_map(points[:, :1], labels, np.zeros((4, 1))).axes


def test_a_map_of_many_latents_states_how_many_are_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(population, "MOST_DOTS", 20)
    points, labels = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60) % 4
    axis = population.draw_latent_map(points, labels, np.zeros((4, 3))).axes[0]
    assert axis.get_title("left") == "20 of 60 latents, 4 groups"
    assert len(axis.collections[0].get_offsets()) == 20


def test_groups_and_sample_sheet_draw():
    assert len(population.draw_groups([5, 9], minimum_size=4, tracing=[0.6, 0.55], limit=0.65).axes) == 2
    assert len(population.draw_groups([5, 9], minimum_size=4).axes) == 1
    assert len(draw_preview(homes(3), view()).axes) == 6


def test_hours_of_the_day_are_those_of_the_clock():
    """Of a record that begins at 6:00, with a peak at 19:00."""
    times = view().times + np.timedelta64(6, "h")
    peaks = ((np.arange(HOURS) + 6) % 24 == 19).astype("f4")[None, :, None].repeat(3, axis=0)
    look = replace(view(), times=times)
    day = draw_sizes(peaks, peaks, look).axes[4].lines[0]
    assert day.get_xdata()[np.argmax(day.get_ydata())] == 19
    image = draw_carpets(peaks, peaks, look).axes[0].images[0].get_array()
    assert image.shape[0] == 24 and np.nanargmax(np.nanmean(image, axis=1)) == 19
    assert np.isnan(image[:6, 0]).all() or np.ma.getmaskarray(image)[:6, 0].all()


def test_counts_are_binned_by_whole_numbers():
    counts = np.random.default_rng(0).geometric(0.01, (5, HOURS, 1)).astype("f4") - 1
    bars = values_module.draw_values(counts, counts, view()).axes[0].patches
    edges = bars[0].get_data().edges
    assert np.array_equal(edges % 1, np.full(len(edges), 0.5)) and np.all(np.diff(edges) >= 1)


def test_sums_of_few_real_series_are_not_shown_where_single_ones_may_not_be():
    """A sum is of as many real as synthetic series, so that of one synthetic series would show a real one."""
    steps = 24 * 14
    real, look = homes(catalogue.FEWEST, 2, steps), view(steps)
    for count, shown in ((1, False), (catalogue.FEWEST - 1, False), (catalogue.FEWEST, True)):
        found = catalogue.select_pictures(real, homes(count, 3, steps), look, real_curves=False)
        names = {picture.name for picture in found}
        assert ("total" in names) == ("weekdays" in names) == shown and "profiles" in names


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
        interactive.plot_explorer(series[:0], series, view())["series"]["synthetic"],
        style.pick_rows(series, 3, 0, "synthetic"),
    ):
        parts = np.frombuffer(base64.b64decode(packed["values"]), "<u2").astype(float)
        parts[parts == 65535] = np.nan
        values = packed["low"] + parts / 65534 * (packed["high"] - packed["low"])
        np.testing.assert_allclose(values, series[row, :, 0], atol=np.nanmax(series) / 60000)


@pytest.mark.parametrize(
    ("steps", "step_seconds", "expected"),
    [
        (24 * 28, 3600, ("daily mean", "same week", "days before; peaks are days and weeks", "day")),
        (24 * 10, 3600, ("", "the first 200 steps", "days before; peaks are days and weeks", "day")),
        (365, 86400, ("", "one and the same week", "so many days before; peaks are weeks", "at week")),
        (720, 10, ("", "the first 200 steps", "so many minutes before.", "")),
        (150, 60, ("", "all steps", "so many hours before.", "")),
    ],
)  # fmt: skip
def test_captions_say_what_is_drawn(steps, step_seconds, expected):
    """Of records shorter than a day too, which have no daily means and no distance in days."""
    look, few = view(steps, step_seconds), homes(4, 1, steps)
    captions = {each.name: each.caption for each in catalogue.select_pictures(few, few, look)}
    found = [captions[name] for name in ("samples", "weeks", "autocorrelation", "spectrum")]
    assert all(part in caption for part, caption in zip(expected, found))
    assert [("daily" in found[0]), ("Peaks" in found[3])] == [bool(expected[0]), bool(expected[3])]
    assert expected[1] in catalogue.draw_headline(few, few, look).caption


def test_short_records_have_named_periods_and_distances():
    look = view(720, 10)  # two hours
    marks = rhythm.list_marks(rhythm.compute_power("real", homes(2, 1, 720), look).x)
    assert [name for name, _ in marks] == ["1 h", "10 min", "1 min"]
    curve = rhythm.compute_correlation("real", homes(2, 1, 720), look)
    assert np.isclose(curve.x[0], 1 / 6) and rhythm.choose_unit(look)[0] == "minutes"
    assert rhythm.draw_autocorrelation(homes(2), homes(2), look).axes[0].get_xlabel() == "distance [minutes]"
