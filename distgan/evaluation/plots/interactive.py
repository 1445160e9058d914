"""The same pictures as interactive plots: values under the pointer, zoom, series to choose.

The only home of bokeh: its JavaScript, 1.3 MB, is part of its wheel (plotly's is 4.8 MB) and goes into the
page, so nothing is fetched. Every function gives items, each a plot of the page, as JSON. Colours are those
of the light page; its script puts the dark ones in their places.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distgan.evaluation.plots import rhythm, style, training
from distgan.evaluation.plots.rhythm import Curve
from distgan.evaluation.plots.series import choose_week
from distgan.evaluation.plots.style import Array, View
from distgan.evaluation.plots.values import (
    choose_bins,
    compute_exceedance,
    compute_level_and_spread,
    compute_shares,
    compute_tail,
    is_all_positive,
    select_measured,
)

Item = Mapping[str, Any]
INK, SOFT, LINE = "#1d2327", "#5a646b", "#dde2e5"  # the page's own
COLOUR = {"real": style.REAL, "synthetic": style.SYNTHETIC}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
NUMBER = "{0,0.[000]}"
CHOICES = 8  # series of each kind to choose from
MOST_VALUES = 800_000  # of all of them together, 2 bytes each


def load_script() -> str:
    """Return the library, to be included in a page."""
    from bokeh.resources import Resources

    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw).replace("</script", r"<\/script")


def make_item(plot: Any) -> Item:
    from bokeh.embed import json_item

    return json_item(plot)


# ------------------------------------------------------------------------------------------------ small parts


def _make_figure(title: str, x: str, y: str, *, height: int = 300, **options: Any) -> Any:
    """Return an empty plot in the page's style. No tool is active at first, so that a finger scrolls the
    page.
    """
    from bokeh.plotting import figure

    made: Any = figure(
        title=title or None, x_axis_label=x, y_axis_label=y, height=height, sizing_mode="stretch_width",
        tools="pan,box_zoom,reset", active_drag=None, toolbar_location="above",
        background_fill_color=None, border_fill_color=None, outline_line_color=None, **options,
    )  # fmt: skip
    made.toolbar.logo = None
    made.toolbar.autohide = False
    if made.title:
        made.title.update(text_color=INK, text_font=FONT, text_font_size="13px")
    for axis in made.axis:
        axis.update(
            axis_label_text_font_style="normal", axis_label_text_font=FONT, axis_label_text_font_size="12px",
            axis_label_text_color=SOFT, major_label_text_font=FONT, major_label_text_font_size="11px",
            major_label_text_color=SOFT, axis_line_color=LINE, major_tick_line_color=LINE,
            minor_tick_line_color=None,
        )  # fmt: skip
    made.grid.grid_line_color = LINE
    return made


def _make_clickable(plot: Any, location: str = "top_right") -> None:
    """Make the names of the legend hide their line when clicked."""
    plot.legend.update(
        location=location, orientation="horizontal", click_policy="mute", background_fill_color=None,
        padding=2, border_line_color=None, label_text_color=INK, label_text_font=FONT,
        label_text_font_size="12px",
    )  # fmt: skip


def _add_hover(
    plot: Any, on: Any, tips: Sequence[tuple[str, str]], mode: Any = "vline", **options: Any
) -> None:
    from bokeh.models import HoverTool

    tool = HoverTool(renderers=[on], tooltips=list(tips), mode=mode, visible=False, **options)
    plot.add_tools(tool)


def _to_floats(values: Array | None) -> Array:
    return np.asarray(values, dtype=np.float32)


def _plot_pair(plot: Any, curves: Sequence[Curve], x_tip: tuple[str, str], legend: str = "top_right") -> Any:
    """Plot real and synthetic lines over the same x, with their bands; one tip shows both values."""
    from bokeh.models import ColumnDataSource

    columns: dict[str, Array] = {"x": _to_floats(curves[0].x)}
    for curve in curves:
        columns[curve.name] = _to_floats(curve.y)
        if curve.low is not None:
            columns |= {
                f"{curve.name}_low": _to_floats(curve.low),
                f"{curve.name}_high": _to_floats(curve.high),
            }
    source = ColumnDataSource(columns)
    for curve in curves:
        colour, dash = COLOUR[curve.name], "solid" if curve.name == "real" else "dashed"
        if curve.low is not None:
            plot.varea("x", f"{curve.name}_low", f"{curve.name}_high", source=source, fill_color=colour,
                       fill_alpha=0.14, legend_label=curve.name)  # fmt: skip
        line = plot.line("x", curve.name, source=source, line_color=colour, line_width=2, line_dash=dash,
                         muted_alpha=0.1, legend_label=curve.name)  # fmt: skip
    _add_hover(plot, line, [x_tip, ("real", f"@real{NUMBER}"), ("synthetic", f"@synthetic{NUMBER}")])
    _make_clickable(plot, legend)
    return plot


# ------------------------------------------------------------------------------------------------ populations


def plot_profiles(real: Array, synthetic: Array, view: View) -> list[Item]:
    own = "own standard deviations"
    day = _make_figure("Mean day", "hour of the day", own)
    day.xaxis.ticker = list(range(0, 25, 6))
    week = _make_figure("Mean week", "", own)
    week.xaxis.ticker = list(range(7))
    week.xaxis.major_label_overrides = dict(enumerate(rhythm.WEEKDAYS))
    pairs = [
        rhythm.pair_curves(measure, real, synthetic, view)
        for measure in (rhythm.compute_mean_day, rhythm.compute_mean_week)
    ]
    tips = [("hour", "@x{0.0}"), ("days since Monday", "@x{0.00}")]
    return [
        make_item(_plot_pair(plot, curves, tip, "top_left"))
        for plot, curves, tip in zip((day, week), pairs, tips)
    ]


def plot_duration(real: Array, synthetic: Array, view: View) -> list[Item]:
    curves = rhythm.pair_curves(compute_exceedance, real, synthetic, view)
    plot = _make_figure("", "share of time the value is exceeded [%]", view.label)
    return [make_item(_plot_pair(plot, curves, ("exceeded", "@x{0.0[0]} % of the time")))]


def plot_autocorrelation(real: Array, synthetic: Array, view: View) -> list[Item]:
    unit = rhythm.choose_unit(view)[0]
    plot = _make_figure("", f"distance [{unit}]", "correlation")
    curves = rhythm.pair_curves(rhythm.compute_correlation, real, synthetic, view)
    return [make_item(_plot_pair(plot, curves, (unit, "@x{0.00}")))]


def plot_spectrum(real: Array, synthetic: Array, view: View) -> list[Item]:
    curves = rhythm.pair_curves(rhythm.compute_power, real, synthetic, view)
    plot = _make_figure("", "period (slow on the left)", "power, share of variance [dB]", x_axis_type="log")
    named = rhythm.list_marks(curves[0].x)
    plot.xaxis.ticker = [place for _, place in named]
    plot.xaxis.major_label_overrides = {place: name for name, place in named}
    return [make_item(_plot_pair(plot, curves, ("cycles a day", "@x{0.000}")))]


def plot_values(real: Array, synthetic: Array, view: View) -> list[Item]:
    sets = {"real": select_measured(real, view), "synthetic": select_measured(synthetic, view)}
    edges, log = choose_bins(*sets.values())
    centres = np.sqrt(edges[:-1] * edges[1:]) if log else (edges[:-1] + edges[1:]) / 2
    shares = [Curve(name, centres, compute_shares(some, edges, log)) for name, some in sets.items()]
    per = "factor of ten" if log else "bin"
    bulk = _make_figure("All values", view.label, f"share of values per {per} [%]",
                   x_axis_type="log" if log else "linear")  # fmt: skip
    tail = _make_figure("Large values", view.label, "share of values above [%]", y_axis_type="log")
    for name, some in sets.items():
        curve = compute_tail(name, some)
        line = tail.line(_to_floats(curve.x), _to_floats(curve.y), line_color=COLOUR[name], line_width=2,
                         line_dash="solid" if name == "real" else "dashed", legend_label=name)  # fmt: skip
        _add_hover(tail, line, [(name, f"@y{{0.0000}} % lie above @x{NUMBER}")], "mouse")
    _make_clickable(tail)
    return [make_item(_plot_pair(bulk, shares, (view.label, f"@x{NUMBER}"), "top_left")), make_item(tail)]


def plot_levels(real: Array, synthetic: Array, view: View) -> list[Item]:
    """Plot a point a series. Tips of synthetic points show their number in the file; those of real ones only
    the place.
    """
    curves = [
        compute_level_and_spread(name, series, view)
        for name, series in (("real", real), ("synthetic", synthetic))
        if len(series)
    ]
    kind = "log" if is_all_positive(curves) else "linear"
    plot = _make_figure("", f"mean of a series, {view.label}", "its standard deviation", height=380,
                   x_axis_type=kind, y_axis_type=kind)  # fmt: skip
    for curve in curves:
        marker = "circle" if curve.name == "real" else "x"
        points = plot.scatter(
            _to_floats(curve.x), _to_floats(curve.y), marker=marker, size=8, line_color=COLOUR[curve.name],
            fill_color=None, line_width=1.6, legend_label=curve.name,
        )  # fmt: skip
        which = "a held-out series" if curve.name == "real" else "number $index"
        where = f"mean @x{NUMBER}, deviation @y{NUMBER}"
        _add_hover(plot, points, [(curve.name, which), ("", where)], "mouse")
    _make_clickable(plot, "top_left")
    return [make_item(plot)]


def plot_losses(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Item]:
    """Plot training over time, as `training.draw_losses` draws it."""
    made = []
    for curve in training.collect_losses(records):
        plot = _make_figure(curve.name, "step", "", height=220)
        line = plot.line(_to_floats(curve.x), _to_floats(curve.y), line_color=SOFT, line_width=1.5)
        _add_hover(plot, line, [("step", "@x{0,0}"), ("", f"@y{NUMBER}")])
        made.append(make_item(plot))
    return made


# ------------------------------------------------------------------------------------------------- one series


def plot_explorer(real: Array, synthetic: Array, view: View) -> dict[str, Any]:
    """Plot whole series to choose from, with the two plots that show one: zoomed above, the record below.

    Args:
        real: held-out series that may be shown one by one; none to leave them out.
    """
    steps = min(len(view.times), MOST_VALUES // 4)
    count = min(CHOICES, MOST_VALUES // (2 * steps))
    seconds = view.times[:steps].astype("datetime64[s]").astype(np.int64)
    week = choose_week(view)
    chosen = {
        name: [
            _pack_values(view.read_channel(series)[row, :steps])
            for row in style.pick_rows(series, count, view.seed, name)
        ]
        for name, series in (("synthetic", synthetic), ("real", real))
    }
    return {
        "start": int(seconds[0]),
        "times": _make_text(seconds - seconds[0], "<u4"),
        "series": chosen,
        "week": [int(seconds[week.start]), int(seconds[min(week.stop, steps) - 1])],
        "days": steps / view.steps_per_day,
        "whole": steps == len(view.times),
        "plots": make_item(_plot_zoomed(view)),
    }


def _make_text(values: Array, kind: str) -> str:
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode()


def _pack_values(values: Array) -> dict[str, Any]:
    """Pack values as 16-bit parts of their range, 65535 where missing: [L]."""
    known = values[~np.isnan(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    parts = np.round((values - low) / max(high - low, 1e-12) * 65534)
    return {"low": low, "high": high, "values": _make_text(np.nan_to_num(parts, nan=65535), "<u2")}


def _plot_zoomed(view: View) -> Any:
    """Plot a few days, and the whole record with the window in it; the page fills both."""
    from bokeh.layouts import column
    from bokeh.models import ColumnDataSource, PanTool, Range1d, RangeTool

    def make_empty(part: str, label: str, height: int) -> Any:
        x, y = (Range1d(start=0, end=1, name=f"{part} {axis}") for axis in "xy")
        return _make_figure("", "", label, height=height, x_axis_type="datetime", x_range=x, y_range=y)

    near, far = make_empty("near", view.label, 300), make_empty("far", "", 110)
    near.toolbar.active_drag = near.select_one(PanTool)
    near.toolbar_location = far.toolbar_location = None
    far.yaxis.visible = False
    far.xaxis.ticker.desired_num_ticks = 4
    for name in ("real", "synthetic"):
        fine, coarse = (
            ColumnDataSource({"x": [], "y": []}, name=f"{name} {part}") for part in ("near", "far")
        )
        line = near.step("x", "y", source=fine, mode="after", line_color=COLOUR[name], line_width=1.6)
        far.line("x", "y", source=coarse, line_color=COLOUR[name], line_width=1)
        tips = [(name, f"@y{NUMBER}"), ("", "@x{%a %-d %b %Y %H:%M}")]
        _add_hover(near, line, tips, formatters={"@x": "datetime"})
    window = RangeTool(x_range=near.x_range)
    window.overlay.update(fill_color=SOFT, fill_alpha=0.15, line_color=SOFT)
    far.add_tools(window)
    return column(near, far, sizing_mode="stretch_width")
