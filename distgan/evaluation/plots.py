"""Pictures of real beside synthetic series, drawn for the width of a report.

Every function returns a `matplotlib.figure.Figure` made without pyplot: no state is shared, no window is
opened. Blue is real and orange is synthetic, everywhere (Okabe and Ito's colours, safe for colour-blind
readers); where both share an axis the synthetic line is dashed. Arrays are [n, L, C] in original units, NaN
where missing.
"""

import base64
import functools
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec

import matplotlib
import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from distgan.data.store import Meta
from distgan.draws import generator
from distgan.evaluation import traits as described

Array = described.Array
REAL, SYNTHETIC = "#0072B2", "#D55E00"
LINE: dict[str, dict[str, Any]] = {
    "real": {"color": REAL, "ls": "-"},
    "synthetic": {"color": SYNTHETIC, "ls": "--"},
}
INK, FAINT = "#333333", "#BBBBBB"
OTHERS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WIDTH = 8.6  # inches: the text width of the report
SAME_WEEK = 0.11  # where in the record the zoomed week is taken: February, for a calendar year
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 8.5,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.titlelocation": "left",
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.3,
    "svg.fonttype": "none",
    "svg.hashsalt": "distgan",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
}
Parameters = ParamSpec("Parameters")


@dataclass(frozen=True)
class View:
    """How to read series: local time of each step [L], steps a day, unit, the channel that is drawn, the
    seed of every random choice, and what real series are called.
    """

    times: Array
    steps_per_day: float
    unit: str = ""
    channel: int = 0
    channel_name: str = "value"
    seed: int = 0
    real: str = "Real, never trained on"

    @property
    def label(self) -> str:
        if self.unit in ("", self.channel_name):
            return self.channel_name
        return f"{self.channel_name} [{self.unit}]"

    def of(self, series: Array) -> Array:
        """The drawn channel: [n, L, C] -> [n, L]."""
        return np.asarray(series)[..., self.channel]


def view_of(meta: Meta, *, unit: str | None = None, seed: int = 0) -> View:
    """How to read series of a store: their first channel, in their own unit unless another is given."""
    return View(
        meta.axis.times(),
        meta.axis.steps_per_day,
        meta.units if unit is None else unit,
        channel_name=meta.channels[0],
        seed=seed,
    )


@dataclass(frozen=True)
class Picture:
    """A figure with what a reader, or a screen reader, is told about it.

    Attributes:
        live: the same as plots that answer the reader (`interactive.item`); empty where there are none.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    format: Literal["svg", "png"] = "svg"
    live: Sequence[Mapping[str, Any]] = ()

    def data_uri(self) -> str:
        """The drawing as a `data:` address, to stand in a page that opens offline."""
        kind = "image/svg+xml" if self.format == "svg" else "image/png"
        return f"data:{kind};base64,{base64.b64encode(render(self.figure, self.format)).decode()}"


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    @functools.wraps(draw)
    def inside(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inside


def render(figure: Figure, kind: Literal["svg", "png"] = "png", dpi: int = 130) -> bytes:
    """The bytes of a figure; PNG with 256 colours, a third of the size of the full palette."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        if kind == "svg":
            figure.savefig(buffer, format="svg", metadata={"Date": None})
            return buffer.getvalue()
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(dpi)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        buffer, format="PNG", optimize=True
    )
    return buffer.getvalue()


# ---------------------------------------------------------------------------------------------- small helpers


def _figure(
    rows: int, columns: int, height: float, *, width: float = WIDTH, **options: Any
) -> tuple[Figure, Array]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, axes


def _legend(axis: Axes, **options: Any) -> None:
    axis.legend(**{"loc": "best", "handlelength": 2.2, **options})


def _months(axis: Axes, times: Array) -> None:
    """Calendar ticks that suit the record: hours, days, months or years."""
    locator = mdates.AutoDateLocator(minticks=3, maxticks=8)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, show_offset=False))
    axis.set_xlim(times[0], times[-1])


def pick(series: Array, count: int, seed: int, purpose: str) -> Array:
    """Rows of `count` random series, the smaller levels first: [n, L, C] -> [count]."""
    rows = generator(seed, 0, f"picture {purpose}").permutation(len(series))[:count]
    return rows[np.argsort(np.nan_to_num(_nan(np.nanmean, series[rows], axis=(1, 2))))]


def _days(values: Array, steps_per_day: float) -> Array | None:
    """Values by day, [L] -> [days, steps], where a day is a whole number of steps and there are three."""
    steps = round(steps_per_day)
    if steps < 2 or abs(steps - steps_per_day) > 1e-6 or len(values) < 3 * steps:
        return None
    days = len(values) // steps
    return values[: days * steps].reshape(days, steps)


def _nan(function: Callable[..., Any], values: Array, *args: Any, **options: Any) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing measured: stays missing
        return np.asarray(function(values, *args, **options))


def _from_zero(axis: Axes, values: Array) -> None:
    """Where nothing is negative the axis starts at zero, so that heights can be compared."""
    axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.grid(axis="y")
    if np.nanmin(np.append(values, 0)) >= 0:
        axis.set_ylim(bottom=0)


def _year(axis: Axes, values: Array, view: View, colour: str) -> None:
    """A whole record: each day's range as a band, its mean as a line."""
    days = _days(values, view.steps_per_day)
    if days is None or len(days) < 20:
        axis.plot(view.times, values, color=colour, lw=0.8)
        return
    start = view.times[:: round(view.steps_per_day)][: len(days)]
    low, mean, high = (_nan(function, days, axis=1) for function in (np.nanmin, np.nanmean, np.nanmax))
    axis.fill_between(start, low, high, color=colour, alpha=0.28, lw=0)
    axis.plot(start, mean, color=colour, lw=1.0)


def week_steps(view: View) -> slice:
    """The zoomed week: from a Monday (where days are known), the same for every series."""
    length, steps = len(view.times), round(7 * view.steps_per_day)
    if steps < 7 or steps * 2 > length:
        return slice(0, min(length, 200))
    start = int(SAME_WEEK * length)
    weekday = (view.times.astype("datetime64[D]").astype(int) + 3) % 7  # 1970-01-01 was a Thursday
    mondays = np.flatnonzero((weekday == 0) & (np.roll(weekday, 1) != 0))
    mondays = mondays[(mondays >= start) & (mondays + steps <= length)]
    start = int(mondays[0]) if len(mondays) else start
    return slice(start, min(start + steps, length))


def _week_axis(axis: Axes, times: Array, day: str | None = "%a\n%-d %b") -> None:
    """A tick a day, in a format of its own, or its initial."""

    def initial(place: float, _: int | None) -> str:
        return WEEKDAYS[mdates.num2date(place).weekday()][0]

    if times[-1] - times[0] > np.timedelta64(2, "D"):
        axis.xaxis.set_major_locator(mdates.DayLocator())
        axis.xaxis.set_major_formatter(mdates.DateFormatter(day) if day else FuncFormatter(initial))
        axis.grid(axis="x")
    else:
        _months(axis, times)
    axis.set_xlim(times[0], times[-1])


# ----------------------------------------------------------------------------------------------------- series


def _side_by_side(
    real: Array, synthetic: Array, view: View, count: int, height: float, **options: Any
) -> tuple[Figure, list[tuple[Axes, Array, str]]]:
    """A column of real and a column of synthetic axes, with the series and the colour of each: [L, C].

    Without real series both columns are synthetic.
    """
    halves = np.array_split(synthetic, 2)
    left, right = (real, synthetic) if len(real) else (halves[0], halves[1] if len(halves[1]) else halves[0])
    columns = [("real" if len(real) else "left", left), ("synthetic", right)]
    count = max(1, min(count, len(left), len(right)))
    figure, axes = _figure(count, 2, 0.5 + height * count, **options)
    cells = []
    for place, (name, series) in zip(axes.T, columns):
        title, colour = (view.real, REAL) if name == "real" else ("Synthetic", SYNTHETIC)
        place[0].set_title(title, color=colour, weight="bold")
        rows = pick(series, count, view.seed, name)
        cells += [(axis, series[row], colour) for axis, row in zip(place, rows)]
    return figure, cells


@styled
def samples(real: Array, synthetic: Array, view: View, *, count: int = 4) -> Figure:
    """Random series over the whole record: daily range and daily mean."""
    figure, cells = _side_by_side(real, synthetic, view, count, 1.35, sharex=True)
    for axis, values, colour in cells:
        _year(axis, values[:, view.channel], view, colour)
        _from_zero(axis, values[:, view.channel])
        _months(axis, view.times)
    figure.supylabel(view.label, fontsize=8.5, color=INK)
    return figure


@styled
def carpets(real: Array, synthetic: Array, view: View, *, count: int = 3) -> Figure:
    """Random series as carpets: a column a day, a row an hour. The eye finds rhythm and repetition."""
    figure, cells = _side_by_side(real, synthetic, view, count, 1.35, sharex=True, sharey=True)
    edges = mdates.date2num([view.times[0], view.times[-1]])
    for axis, values, _ in cells:
        days = _days(values[:, view.channel], view.steps_per_day)
        if days is None:
            days = values[:, view.channel][:, None]
        top, bottom = _nan(np.nanpercentile, days, [98.5, 1])
        image = axis.imshow(
            days.T, aspect="auto", origin="lower", cmap="cividis", vmin=bottom, vmax=top or 1,
            extent=(edges[0], edges[1], 0, 24), interpolation="antialiased",
        )  # fmt: skip
        bar = figure.colorbar(image, ax=axis, pad=0.01, aspect=12)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_visible(False)  # type: ignore[operator]
        axis.xaxis_date()
        _months(axis, view.times)
        axis.set_yticks([0, 6, 12, 18, 24])
    figure.supylabel("hour of the day", fontsize=8.5, color=INK)
    figure.supxlabel(f"colour: {view.label}, own scale for each series", fontsize=8.5, color=INK)
    return figure


@styled
def weeks(real: Array, synthetic: Array, view: View, *, count: int = 4, width: float = WIDTH) -> Figure:
    """The same week of random series (those of `samples`), step by step."""
    steps = week_steps(view)
    times = view.times[steps]
    figure, cells = _side_by_side(real, synthetic, view, count, 1.3, sharex=True, width=width)
    for axis, values, colour in cells:
        axis.plot(times, values[steps, view.channel], color=colour, lw=1.1, drawstyle="steps-post")
        _from_zero(axis, values[steps, view.channel])
        _week_axis(axis, times, "%a\n%-d %b" if width == WIDTH else "%a")
    figure.supylabel(view.label, fontsize=8.5, color=INK)
    return figure


SIZES = {"small": 0.2, "middling": 0.5, "large": 0.8}  # shares of the series that use less


@styled
def sizes(real: Array, synthetic: Array, view: View) -> Figure:
    """A small, a middling and a large series of either set: record, week and mean day.

    Chosen by level alone: the series whose mean is at the same place among its set's.
    """
    sets = [(view.real, REAL, real)] if len(real) else []
    sets.append(("Synthetic", SYNTHETIC, synthetic))
    ratios = [3, 2] * len(sets) + [2]
    figure, axes = _figure(len(SIZES), len(ratios), 0.4 + 1.45 * len(SIZES), width_ratios=ratios)
    steps, clock = week_steps(view), np.arange(_hours(view)) * 24 / _hours(view)
    for place, (name, colour, series) in enumerate(sets):
        values = view.of(series)
        order = np.argsort(np.nan_to_num(_nan(np.nanmean, values, axis=1)))
        for row, share in enumerate(SIZES.values()):
            chosen = values[order[round(share * (len(order) - 1))]]
            whole, week, day = axes[row, 2 * place], axes[row, 2 * place + 1], axes[row, -1]
            _year(whole, chosen, view, colour)
            _months(whole, view.times)
            week.plot(view.times[steps], chosen[steps], color=colour, drawstyle="steps-post", lw=1)
            _week_axis(week, view.times[steps], None)
            days = _days(chosen, view.steps_per_day)
            if days is not None:
                mean = _nan(np.nanmean, days, axis=0)
                day.step(np.append(clock, 24), np.append(mean, mean[-1]), color=colour, lw=1.4, where="post")
            _from_zero(whole, chosen)
            _from_zero(week, chosen[steps])
        axes[0, 2 * place].set_title(name, color=colour, weight="bold")
    axes[0, -1].set_title("Mean day")
    for axis, name in zip(axes[:, 0], SIZES):
        axis.set_ylabel(name)
    for axis in axes[:, -1]:
        _from_zero(axis, np.asarray([line.get_ydata() for line in axis.lines]).ravel())
        axis.set_xticks(range(0, 25, 12))
    figure.supylabel(view.label, fontsize=8.5, color=INK)
    return figure


@styled
def sample_sheet(series: Array, view: View, *, count: int = 4) -> Figure:
    """The first few series, record and week, for a look during training: [n, L, C]."""
    count = max(1, min(count, len(series)))
    figure, axes = _figure(count, 2, 0.4 + 1.25 * count, width_ratios=[3, 2])
    steps = week_steps(view)
    for (whole, week), values in zip(axes, view.of(series)):
        _year(whole, values, view, SYNTHETIC)
        _months(whole, view.times)
        week.plot(view.times[steps], values[steps], color=SYNTHETIC, drawstyle="steps-post", lw=1)
        _week_axis(week, view.times[steps])
    figure.supylabel(view.label, fontsize=8.5, color=INK)
    return figure


# ------------------------------------------------------------------------------------------------ populations


@dataclass(frozen=True)
class Curve:
    """A line over x, with the band that holds the middle 80 % of series where there is one: each [X]."""

    name: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None


Measured = Callable[[str, Array, View], Curve]


def both(measure: Measured, real: Array, synthetic: Array, view: View) -> list[Curve]:
    return [measure("real", real, view), measure("synthetic", synthetic, view)]


def _banded(name: str, x: Array, curves: Array) -> Curve:
    """Mean over series and their middle 80 %: curves [n, X]."""
    low, high = np.percentile(curves, [10, 90], axis=0)
    return Curve(name, x, curves.mean(0), low, high)


def _band(axis: Axes, curve: Curve) -> None:
    style: dict[str, Any] = LINE[curve.name]
    assert curve.low is not None and curve.high is not None
    axis.fill_between(curve.x, curve.low, curve.high, color=style["color"], alpha=0.16, lw=0)
    axis.plot(curve.x, curve.y, label=f"{curve.name} (mean, middle 80 %)", **style)


def _folded(series: Array, view: View, period_days: float, bins: int) -> Array:
    """Each series' mean standardised value by position in a calendar period: [n, bins]."""
    values = series[..., view.channel : view.channel + 1]
    standard = described.standardise(values)[0]
    seconds = view.times.astype("datetime64[s]").astype(np.int64)
    monday = np.int64(4 * 86400)  # 1970-01-05
    place = (seconds - monday) % round(period_days * 86400) / (period_days * 86400) * bins
    mask = ~np.isnan(np.moveaxis(values, 1, 2))
    return described.fold(standard, mask, np.floor(place + 1e-6).astype(int) % bins, bins)[:, 0]


def _hours(view: View) -> int:
    return int(np.clip(round(view.steps_per_day), 2, 96))


def mean_day(name: str, series: Array, view: View) -> Curve:
    """By hour of the day, each series relative to its own mean and spread."""
    hours = _hours(view)
    return _banded(name, np.arange(hours) * 24 / hours, _folded(series, view, 1, hours))


def mean_week(name: str, series: Array, view: View) -> Curve:
    """By days since Monday 0:00, likewise."""
    hours = _hours(view)
    return _banded(name, np.arange(7 * hours) / hours, _folded(series, view, 7, 7 * hours))


WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@styled
def profiles(real: Array, synthetic: Array, view: View) -> Figure:
    """Mean day and mean week on the calendar, each series relative to its own mean and spread."""
    figure, axes = _figure(1, 2, 2.9, width_ratios=[2, 3], sharey=True)
    for axis, measure in zip(axes[0], (mean_day, mean_week)):
        for curve in both(measure, real, synthetic, view):
            _band(axis, curve)
        axis.grid()
    axes[0, 0].set(title="Mean day", xlabel="hour of the day", ylabel="own standard deviations", xlim=(0, 24))
    axes[0, 0].set_xticks(range(0, 25, 6))
    axes[0, 1].set(title="Mean week", xlim=(0, 7))
    axes[0, 1].set_xticks(np.arange(7), [])
    axes[0, 1].set_xticks(np.arange(7) + 0.5, WEEKDAYS, minor=True)
    axes[0, 1].tick_params(axis="x", which="minor", length=0)
    _legend(axes[0, 0])
    return figure


def _positive(values: Array) -> bool:
    """Whether a log axis shows more: nothing negative, and a long upper tail."""
    top, middle, bottom = np.percentile(values, [99.9, 50, 0])
    return bool(bottom >= 0 and top > 8 * max(middle, 1e-12))


def measured(series: Array, view: View) -> Array:
    values = view.of(series)
    return values[~np.isnan(values)]


def exceedance(name: str, series: Array, view: View) -> Curve:
    """The value that a series exceeds for a share of its time [%]."""
    curves = _nan(np.nanquantile, view.of(series), described.DURATION_LEVELS, axis=1).T
    return _banded(name, 100 * (1 - described.DURATION_LEVELS), curves[~np.isnan(curves).any(1)])


@styled
def duration(real: Array, synthetic: Array, view: View) -> Figure:
    """Load-duration curves: how often a value is exceeded, from the peaks to the base load."""
    figure, axes = _figure(1, 2, 3.0, width_ratios=[3, 2])
    for curve in both(exceedance, real, synthetic, view):
        for axis in axes.flat:
            _band(axis, curve)
    positive = measured(real, view)
    if _positive(positive):
        axes[0, 0].set_yscale("symlog", linthresh=max(float(np.percentile(positive, 10)), 1e-6))
        axes[0, 0].yaxis.set_minor_formatter(NullFormatter())
        axes[0, 0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes[0, 0].set(
        title="Whole curve",
        xlabel="share of time the value is exceeded [%]",
        ylabel=view.label,
        xlim=(0, 100),
    )
    axes[0, 1].set(title="Peaks", xlabel="share of time [%]", xscale="symlog", xlim=(0, 10))
    axes[0, 1].set_xscale("symlog", linthresh=0.1)
    axes[0, 1].set_xticks([0, 0.1, 1, 10], ["0", "0.1", "1", "10"])
    for axis in axes.flat:
        axis.grid()
    _legend(axes[0, 0])
    return figure


def correlation(name: str, series: Array, view: View) -> Curve:
    """Autocorrelation by distance in days."""
    values = series[..., view.channel : view.channel + 1]
    lags = described.make_ruler(values, view.steps_per_day).short_lags
    return _banded(name, lags / view.steps_per_day, described.autocorrelation(values, lags)[:, 0])


@styled
def autocorrelation(real: Array, synthetic: Array, view: View) -> Figure:
    """How strongly a value resembles the one some time before, up to two weeks."""
    figure, axes = _figure(1, 1, 2.7)
    axis = axes[0, 0]
    curves = both(correlation, real, synthetic, view)
    for curve in curves:
        _band(axis, curve)
    axis.axhline(0, color=FAINT, lw=0.8)
    days = curves[0].x[-1]
    axis.set(xlabel="distance [days]", ylabel="correlation", xlim=(0, days))
    if 2 <= days <= 31:
        axis.set_xticks(np.arange(0, math.floor(days) + 1))
    axis.grid()
    _legend(axis, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.1)
    return figure


PERIODS = (("year", 365.25), ("month", 30.44), ("week", 7.0), ("day", 1.0), ("12 h", 0.5), ("6 h", 0.25))


def power(name: str, series: Array, view: View) -> Curve:
    """Mean power by cycles a day, as a share of each series' variance, in decibels."""
    length = series.shape[1]
    edges = np.unique(np.round(np.geomspace(1, length // 2 + 1, 220)).astype(int))
    centres = np.sqrt(edges[:-1] * (edges[1:] - 1).clip(1)) * view.steps_per_day / length
    standard = described.standardise(series[..., view.channel : view.channel + 1])[0][:, 0]
    shares = np.square(np.abs(np.fft.rfft(standard, axis=-1))).mean(0)
    shares = shares / max(shares[1:].sum(), 1e-12)
    level = np.add.reduceat(shares, edges[:-1])[: len(centres)] / np.diff(edges)
    return Curve(name, centres, 10 * np.log10(level + 1e-9))


def marks(frequencies: Array) -> list[tuple[str, float]]:
    """The named periods within a range of cycles a day, and their places."""
    low, high = frequencies[0] / 1.15, frequencies[-1] * 1.15
    return [(name, 1 / days) for name, days in PERIODS if low <= 1 / days <= high]


@styled
def spectrum(real: Array, synthetic: Array, view: View) -> Figure:
    """Share of variance by time scale, with the day and week lines marked."""
    figure, axes = _figure(1, 1, 3.0)
    axis = axes[0, 0]
    for curve in both(power, real, synthetic, view):
        axis.plot(curve.x, curve.y, label=curve.name, lw=1.1, color=LINE[curve.name]["color"])
    named = marks(curve.x)
    for name, place in named:
        strong = name in ("day", "week")
        axis.axvline(place, color="#666666" if strong else FAINT, lw=1.0 if strong else 0.7, ls=":", zorder=0)
    axis.set_xscale("log")
    axis.set_xlim(curve.x[0] / 1.15, curve.x[-1] * 1.15)
    axis.set_xticks([place for _, place in named], [name for name, _ in named])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set(xlabel="period (slow on the left)", ylabel="power, share of variance [dB]")
    axis.grid(axis="y")
    _legend(axis, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.1)
    return figure


def value_bins(real: Array, synthetic: Array) -> tuple[Array, bool]:
    """Edges of bins for all values of both sets, and whether they are logarithmic: flat, measured values."""
    both = np.concatenate([real, synthetic])
    if not _positive(real):
        return np.linspace(float(both.min()), float(both.max()), 90), False
    inside = both[both > 0]
    edges = np.geomspace(max(float(np.percentile(inside, 0.2)), 1e-6), float(inside.max()), 90)
    if np.array_equal(real, np.round(real)):
        edges = np.unique(np.append(np.floor(edges), 0)) + 0.5  # counts: whole numbers in every bin
    return edges, True


def value_shares(some: Array, edges: Array, log: bool) -> Array:
    """Share of values in each bin [%], per factor of ten where bins are logarithmic."""
    shares = 100 * np.histogram(some, edges)[0] / max(len(some), 1)
    return shares / np.diff(np.log10(edges)) if log else shares


def value_tail(name: str, some: Array) -> Curve:
    """Share of values above [%] by value."""
    ranks = np.unique(np.geomspace(1, len(some), 300).astype(int))
    return Curve(name, np.sort(some)[-ranks], 100 * ranks / len(some))


@styled
def values(real: Array, synthetic: Array, view: View) -> Figure:
    """Distribution of all values, and how often large ones are exceeded."""
    figure, axes = _figure(1, 2, 2.9)
    bulk, tail = axes[0]
    sets = {"real": measured(real, view), "synthetic": measured(synthetic, view)}
    edges, log = value_bins(*sets.values())
    bulk.set_xscale("log" if log else "linear")
    for name, some in sets.items():
        outside = 100 * float((some <= 0).mean())
        text = f"{name}, {outside:.1f} % at zero or below" if log and outside >= 0.05 else name
        bulk.stairs(value_shares(some, edges, log), edges, label=text, lw=1.4, **LINE[name])
        curve = value_tail(name, some)
        tail.plot(curve.x, curve.y, label=name, **LINE[name])
    bulk.set(
        title="All values",
        xlabel=view.label,
        ylabel=f"share of values per {'factor of ten' if log else 'bin'} [%]",
    )
    tail.set(title="Large values", xlabel=view.label, ylabel="share of values above [%]", yscale="log")
    tail.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g}"))
    for axis in axes.flat:
        axis.grid()
    bulk.set_ylim(top=1.28 * bulk.get_ylim()[1])
    _legend(bulk, loc="upper left")
    return figure


def _sets(real: Array, synthetic: Array) -> list[tuple[str, Array]]:
    return [(name, series) for name, series in (("real", real), ("synthetic", synthetic)) if len(series)]


def level_and_spread(name: str, series: Array, view: View) -> Curve:
    """Mean and standard deviation of every series."""
    return Curve(name, *(p[:, 0] for p in described.standardise(series[..., [view.channel]])[1:]))


def all_positive(curves: Sequence[Curve]) -> bool:
    return min(float(np.nanmin(np.minimum(curve.x, curve.y))) for curve in curves) > 0


@styled
def levels(real: Array, synthetic: Array, view: View) -> Figure:
    """One point a series: its mean and how much it varies."""
    figure, axes = _figure(1, 1, 3.6)
    axis = axes[0, 0]
    points = [level_and_spread(name, series, view) for name, series in _sets(real, synthetic)]
    for curve in points:
        axis.scatter(
            curve.x, curve.y, s=22, marker="o" if curve.name == "real" else "x", alpha=0.75,
            color=LINE[curve.name]["color"], label=curve.name, lw=1.0,
        )  # fmt: skip
    if all_positive(points):
        axis.set(xscale="log", yscale="log")
        for part in (axis.xaxis, axis.yaxis):
            part.set_major_locator(LogLocator(subs=(1, 2, 5)))
            part.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            part.set_minor_formatter(NullFormatter())
    axis.set(xlabel=f"mean of a series, {view.label}", ylabel="its standard deviation")
    axis.grid()
    _legend(axis, loc="upper left")
    return figure


@styled
def embedding(real: Array, synthetic: Array, view: View, *, most: int = 400) -> Figure:
    """Every series as a point: principal components of its traits, and t-SNE of the same."""
    from sklearn.manifold import TSNE  # here alone, and half a second to import

    def some(series: Array, name: str) -> Array:
        return series[np.sort(generator(view.seed, 0, f"embedding {name}").permutation(len(series))[:most])]

    real, synthetic = some(real, "real"), some(synthetic, "synthetic")
    ruler = described.make_ruler(real, view.steps_per_day)
    traits = described.describe(real, ruler)
    space = described.fit_space(traits)
    points = np.concatenate([space.place(traits), space.place(described.describe(synthetic, ruler))])
    flat = np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))
    panels = [("Principal components of traits", flat[:, :2])]
    if len(points) >= 12:
        perplexity = min(30.0, (len(points) - 1) / 4)
        shown = TSNE(2, perplexity=perplexity, init="pca", random_state=view.seed % 2**32).fit_transform(flat)
        panels.append(("t-SNE of the same", shown))
    figure, axes = _figure(1, len(panels), 3.7)
    for axis, (title, place) in zip(axes[0], panels):
        for part, name, marker in (
            (slice(len(real)), "real", "o"),
            (slice(len(real), None), "synthetic", "x"),
        ):
            axis.scatter(
                *place[part].T, s=20, marker=marker, alpha=0.7, color=LINE[name]["color"], label=name, lw=1.0
            )
        axis.set(title=title, xticks=[], yticks=[])
    _legend(axes[0, 0])
    return figure


# --------------------------------------------------------------------------------------------------- training


@styled
def groups(
    sizes: Sequence[float], *, floor: int, tracing: Sequence[float] | None = None, limit: float | None = None
) -> Figure:
    """Entities behind every released mean, with the floor; and how well a member could be traced in it."""
    order = np.argsort(sizes)[::-1]
    figure, axes = _figure(1, 2 if tracing is not None else 1, 2.7)
    place = np.arange(1, len(order) + 1)
    axes[0, 0].bar(place, np.asarray(sizes)[order], color="#6C8EAD", width=0.8)
    axes[0, 0].axhline(floor, color=INK, ls="--", lw=1)
    axes[0, 0].annotate(
        f"floor {floor}", (1, floor), (-2, 3), xycoords=("axes fraction", "data"), ha="right",
        textcoords="offset points", fontsize=8, bbox={"fc": "white", "ec": "none", "pad": 1},
    )  # fmt: skip
    axes[0, 0].set(xlabel="group, largest first", ylabel="entities in the group")
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].grid(axis="y")
    if tracing is not None:
        axis = axes[0, 1]
        axis.plot(place, np.asarray(tracing)[order], "o", color=INK, ms=4)
        if limit is not None:
            axis.axhline(limit, color="#A32020", ls="--", lw=1)
            axis.annotate("limit", (1, limit), (-2, 3), xycoords=("axes fraction", "data"), ha="right",
                          textcoords="offset points", fontsize=8, color="#A32020")  # fmt: skip
        axis.axhline(0.5, color=FAINT, lw=1)
        top = max([*tracing, limit or 0.5]) + 0.03
        axis.set(
            xlabel="group, largest first", ylabel="tracing attack, AUC (0.5 = guessing)", ylim=(0.48, top)
        )
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(axis="y")
    return figure


@styled
def elbow(
    counts: Sequence[int], inertia: Sequence[float], silhouette: Sequence[float], criterion: str, count: int
) -> Figure:
    """Inertia and silhouette of every number of clusters that was tried, with the one chosen."""
    figure, axes = _figure(1, 2, 2.7)
    curves = {"elbow": (inertia, "inertia over all latents"), "silhouette": (silhouette, "mean silhouette")}
    for axis, (name, (values, label)) in zip(axes[0], curves.items()):
        axis.plot(counts, values, "o-", color=REAL, ms=4)
        axis.axvline(count, color=INK, ls="--", lw=1)
        axis.set(xscale="log", xlabel="clusters", ylabel=label)
        axis.set_title(f"{count} chosen by the {criterion}" if name == criterion else "")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(axis="y")
    return figure


@styled
def latent_map(
    points: Array, labels: Array, centres: Array, *, explained: float | None = None, most: int = 5000
) -> Figure:
    """Latents and the means of their groups in the first two directions: [n, K], [n], [G, K]."""
    figure, axes = _figure(1, 1, 4.6)
    axis = axes[0, 0]
    if len(points) > most:
        shown = generator(0, 0, "map").choice(len(points), most, replace=False)
        points, labels = points[shown], labels[shown]
    x, y = (points[:, i] if points.shape[1] > i else np.zeros(len(points)) for i in (0, 1))
    palette = (REAL, SYNTHETIC, *OTHERS[:4])
    axis.scatter(x, y, s=7, c=[palette[int(label) % len(palette)] for label in labels], lw=0, alpha=0.5)
    u, v = (centres[:, i] if centres.shape[1] > i else np.zeros(len(centres)) for i in (0, 1))
    axis.plot(u, v, "o", color="white", mec=INK, ms=9)
    for number, place in enumerate(zip(u, v)):
        axis.annotate(str(number), place, ha="center", va="center", fontsize=6, color=INK)
    axis.set(xlabel="first direction", ylabel="second direction")
    axis.set_title(
        f"{len(points)} latents, {len(centres)} groups"
        + (f"; all directions of the condition keep {explained:.0%} of the variance" if explained else "")
    )
    return figure


NOT_LOSSES = frozenset(
    [
        *(
            "step",
            "series",
            "time",
            "seconds",
            "elapsed",
            "eta",
            "rank",
            "stage",
            "data",
            "data_share",
            "data_wait",
        ),
        *("series_per_second", "steps_per_second", "peak_memory_gib", "memory_gib"),
    ]
)


def _curves(records: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Every number reported more than once that is no clock: name -> [2, lines], steps and values."""
    found: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, value in record.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and name not in NOT_LOSSES and "step" in record and math.isfinite(value):
                found.setdefault(name, []).append((float(record["step"]), float(value)))
    return {name: np.array(pairs).T for name, pairs in found.items() if len(pairs) > 1}


def loss_curves(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Curve]:
    """Numbers of each stage over steps: stage -> lines of its metrics.jsonl."""
    return [
        Curve(f"{stage} · {name.replace('_', ' ')}", *curve)
        for stage, lines in records.items()
        for name, curve in _curves(lines).items()
    ]


@styled
def losses(records: Mapping[str, Sequence[Mapping[str, Any]]], *, most: int = 12) -> Figure:
    """Training over time, a panel for each number of each stage: stage -> lines of its metrics.jsonl."""
    panels = loss_curves(records)[:most]
    columns = min(3, max(len(panels), 1))
    rows = max(1, math.ceil(len(panels) / columns))
    figure, axes = _figure(rows, columns, 0.3 + 1.75 * rows)
    for axis, curve in zip(axes.flat, panels):
        axis.plot(curve.x, curve.y, color=FAINT, lw=0.8)
        width = max(1, len(curve.y) // 20)
        padded = np.pad(curve.y, (width // 2, width - 1 - width // 2), mode="edge")
        axis.plot(curve.x, np.convolve(padded, np.ones(width) / width, "valid"), color=INK, lw=1.3)
        axis.set_title(curve.name)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(4))
        axis.grid()
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.supxlabel("step", fontsize=8.5, color=INK)
    return figure
