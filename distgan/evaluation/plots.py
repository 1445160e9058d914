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
    """How to read series: local time of each step [L], steps a day, unit, the channel that is drawn."""

    times: Array
    steps_per_day: float
    unit: str = ""
    channel: int = 0
    channel_name: str = "value"

    @property
    def label(self) -> str:
        if self.unit in ("", self.channel_name):
            return self.channel_name
        return f"{self.channel_name} [{self.unit}]"

    def of(self, series: Array) -> Array:
        """The drawn channel: [n, L, C] -> [n, L]."""
        return np.asarray(series)[..., self.channel]


@dataclass(frozen=True)
class Picture:
    """A figure with what a reader, or a screen reader, is told about it."""

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    format: Literal["svg", "png"] = "svg"

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


def _figure(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, Array]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
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


def _week_steps(view: View) -> slice:
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


def _week_axis(axis: Axes, times: Array) -> None:
    if times[-1] - times[0] > np.timedelta64(2, "D"):
        axis.xaxis.set_major_locator(mdates.DayLocator())
        axis.xaxis.set_major_formatter(mdates.DateFormatter("%a\n%-d %b"))
        axis.grid(axis="x")
    else:
        _months(axis, times)
    axis.set_xlim(times[0], times[-1])


# ----------------------------------------------------------------------------------------------------- series


def _side_by_side(
    real: Array, synthetic: Array, count: int, seed: int, height: float, **options: Any
) -> tuple[Figure, list[tuple[Axes, Array, str, str]]]:
    """A column of real and a column of synthetic axes, with the series that belongs in each: [L, C]."""
    count = max(1, min(count, len(real), len(synthetic)))
    figure, axes = _figure(count, 2, 0.5 + height * count, **options)
    cells = []
    for column, (name, series, colour) in enumerate(
        (("real", real, REAL), ("synthetic", synthetic, SYNTHETIC))
    ):
        rows = pick(series, count, seed, name)
        cells += [(axes[i, column], series[row], name, colour) for i, row in enumerate(rows)]
        axes[0, column].set_title(
            "Real, never trained on" if name == "real" else "Synthetic", color=colour, weight="bold"
        )
    return figure, cells


@styled
def samples(real: Array, synthetic: Array, view: View, *, count: int = 4, seed: int = 0) -> Figure:
    """Random series over the whole record: daily range and daily mean."""
    figure, cells = _side_by_side(real, synthetic, count, seed, 1.35, sharex=True)
    for axis, values, _, colour in cells:
        _year(axis, values[:, view.channel], view, colour)
        _from_zero(axis, values[:, view.channel])
        _months(axis, view.times)
    figure.supylabel(view.label, fontsize=8.5, color=INK)
    return figure


@styled
def carpets(real: Array, synthetic: Array, view: View, *, count: int = 3, seed: int = 0) -> Figure:
    """Random series as carpets: a column a day, a row an hour. The eye finds rhythm and repetition."""
    figure, cells = _side_by_side(real, synthetic, count, seed, 1.35, sharex=True, sharey=True)
    edges = mdates.date2num([view.times[0], view.times[-1]])
    for axis, values, _, _ in cells:
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
def weeks(real: Array, synthetic: Array, view: View, *, count: int = 4, seed: int = 0) -> Figure:
    """The same week of random series (those of `samples`), step by step."""
    steps = _week_steps(view)
    times = view.times[steps]
    figure, cells = _side_by_side(real, synthetic, count, seed, 1.3, sharex=True)
    for axis, values, _, colour in cells:
        axis.plot(times, values[steps, view.channel], color=colour, lw=1.1, drawstyle="steps-post")
        _from_zero(axis, values[steps, view.channel])
        _week_axis(axis, times)
    figure.supylabel(view.label, fontsize=8.5, color=INK)
    return figure


@styled
def sample_sheet(series: Array, view: View, *, count: int = 4) -> Figure:
    """The first few series, record and week, for a look during training: [n, L, C]."""
    count = max(1, min(count, len(series)))
    figure, axes = _figure(count, 2, 0.4 + 1.25 * count, width_ratios=[3, 2])
    steps = _week_steps(view)
    for (whole, week), values in zip(axes, view.of(series)):
        _year(whole, values, view, SYNTHETIC)
        _months(whole, view.times)
        week.plot(view.times[steps], values[steps], color=SYNTHETIC, drawstyle="steps-post", lw=1)
        _week_axis(week, view.times[steps])
    figure.supylabel(view.label, fontsize=8.5, color=INK)
    return figure


# ------------------------------------------------------------------------------------------------ populations


def _band(axis: Axes, x: Array, curves: Array, name: str) -> None:
    """Mean over series, and the band that holds the middle 80 % of them: curves [n, X]."""
    low, high = np.percentile(curves, [10, 90], axis=0)
    style: dict[str, Any] = LINE[name]
    axis.fill_between(x, low, high, color=style["color"], alpha=0.16, lw=0)
    axis.plot(x, curves.mean(0), label=f"{name} (mean, middle 80 %)", **style)


def _folded(series: Array, view: View, period_days: float, bins: int) -> Array:
    """Each series' mean standardised value by position in a calendar period: [n, bins]."""
    values = series[..., view.channel : view.channel + 1]
    standard = described.standardise(values)[0]
    seconds = view.times.astype("datetime64[s]").astype(np.int64)
    monday = np.int64(4 * 86400)  # 1970-01-05
    place = (seconds - monday) % round(period_days * 86400) / (period_days * 86400) * bins
    mask = ~np.isnan(np.moveaxis(values, 1, 2))
    return described.fold(standard, mask, np.floor(place + 1e-6).astype(int) % bins, bins)[:, 0]


@styled
def profiles(real: Array, synthetic: Array, view: View) -> Figure:
    """Mean day and mean week on the calendar, each series relative to its own mean and spread."""
    figure, axes = _figure(1, 2, 2.9, width_ratios=[2, 3], sharey=True)
    hours = int(np.clip(round(view.steps_per_day), 2, 96))
    for name, series in (("real", real), ("synthetic", synthetic)):
        _band(axes[0, 0], np.arange(hours) * 24 / hours, _folded(series, view, 1, hours), name)
        _band(axes[0, 1], np.arange(7 * hours) / hours, _folded(series, view, 7, 7 * hours), name)
    axes[0, 0].set(title="Mean day", xlabel="hour of the day", ylabel="own standard deviations", xlim=(0, 24))
    axes[0, 0].set_xticks(range(0, 25, 6))
    axes[0, 1].set(title="Mean week", xlim=(0, 7))
    axes[0, 1].set_xticks(np.arange(7), [])
    axes[0, 1].set_xticks(np.arange(7) + 0.5, ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], minor=True)
    axes[0, 1].tick_params(axis="x", which="minor", length=0)
    for axis in axes.flat:
        axis.grid()
    _legend(axes[0, 0])
    return figure


def _positive(values: Array) -> bool:
    """Whether a log axis shows more: nothing negative, and a long upper tail."""
    top, middle, bottom = np.percentile(values, [99.9, 50, 0])
    return bool(bottom >= 0 and top > 8 * max(middle, 1e-12))


def _measured(series: Array, view: View) -> Array:
    values = view.of(series)
    return values[~np.isnan(values)]


@styled
def duration(real: Array, synthetic: Array, view: View) -> Figure:
    """Load-duration curves: how often a value is exceeded, from the peaks to the base load."""
    figure, axes = _figure(1, 2, 3.0, width_ratios=[3, 2])
    exceeded = 100 * (1 - described.DURATION_LEVELS)
    for name, series in (("real", real), ("synthetic", synthetic)):
        curves = _nan(np.nanquantile, view.of(series), described.DURATION_LEVELS, axis=1).T
        curves = curves[~np.isnan(curves).any(1)]
        for axis in axes.flat:
            _band(axis, exceeded, curves, name)
    if _positive(_measured(real, view)):
        positive = _measured(real, view)
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


@styled
def autocorrelation(real: Array, synthetic: Array, view: View) -> Figure:
    """How strongly a value resembles the one some time before, up to two weeks."""
    figure, axes = _figure(1, 1, 2.7)
    axis = axes[0, 0]
    for name, series in (("real", real), ("synthetic", synthetic)):
        values = series[..., view.channel : view.channel + 1]
        ruler = described.make_ruler(values, view.steps_per_day)
        curves = described.autocorrelation(values, ruler.short_lags)[:, 0]
        _band(axis, ruler.short_lags / view.steps_per_day, curves, name)
    axis.axhline(0, color=FAINT, lw=0.8)
    days = ruler.short_lags[-1] / view.steps_per_day
    axis.set(xlabel="distance [days]", ylabel="correlation", xlim=(0, days))
    if 2 <= days <= 31:
        axis.set_xticks(np.arange(0, math.floor(days) + 1))
    axis.grid()
    _legend(axis, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.1)
    return figure


PERIODS = (("year", 365.25), ("month", 30.44), ("week", 7.0), ("day", 1.0), ("12 h", 0.5), ("6 h", 0.25))


@styled
def spectrum(real: Array, synthetic: Array, view: View) -> Figure:
    """Share of variance by time scale, with the day and week lines marked."""
    figure, axes = _figure(1, 1, 3.0)
    axis = axes[0, 0]
    length = real.shape[1]
    edges = np.unique(np.round(np.geomspace(1, length // 2 + 1, 220)).astype(int))
    centres = np.sqrt(edges[:-1] * (edges[1:] - 1).clip(1)) * view.steps_per_day / length  # cycles per day
    for name, series in (("real", real), ("synthetic", synthetic)):
        standard = described.standardise(series[..., view.channel : view.channel + 1])[0][:, 0]
        power = np.square(np.abs(np.fft.rfft(standard, axis=-1))).mean(0)
        power = power / max(power[1:].sum(), 1e-12)
        level = np.add.reduceat(power, edges[:-1])[: len(centres)] / np.diff(edges)
        axis.plot(centres, 10 * np.log10(level + 1e-9), label=name, lw=1.1, color=LINE[name]["color"])
    low, high = centres[0] / 1.15, centres[-1] * 1.15
    marks = [(name, 1 / days) for name, days in PERIODS if low <= 1 / days <= high]
    for name, place in marks:
        strong = name in ("day", "week")
        axis.axvline(place, color="#666666" if strong else FAINT, lw=1.0 if strong else 0.7, ls=":", zorder=0)
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    axis.set_xticks([place for _, place in marks], [name for name, _ in marks])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set(xlabel="period (slow on the left)", ylabel="power, share of variance [dB]")
    axis.grid(axis="y")
    _legend(axis, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.1)
    return figure


@styled
def values(real: Array, synthetic: Array, view: View) -> Figure:
    """Distribution of all values, and how often large ones are exceeded."""
    figure, axes = _figure(1, 2, 2.9)
    bulk, tail = axes[0]
    sets = {"real": _measured(real, view), "synthetic": _measured(synthetic, view)}
    log = _positive(sets["real"])
    both = np.concatenate(list(sets.values()))
    if log:
        inside = both[both > 0]
        edges = np.geomspace(max(float(np.percentile(inside, 0.2)), 1e-6), float(inside.max()), 90)
        if np.array_equal(sets["real"], np.round(sets["real"])):
            edges = np.unique(np.append(np.floor(edges), 0)) + 0.5  # counts: whole numbers in every bin
        bulk.set_xscale("log")
    else:
        edges = np.linspace(float(both.min()), float(both.max()), 90)
    for name, some in sets.items():
        shares = 100 * np.histogram(some, edges)[0] / max(len(some), 1)
        shares = shares / np.diff(np.log10(edges)) if log else shares
        outside = 100 * float((some <= 0).mean())
        text = f"{name}, {outside:.1f} % at zero or below" if log and outside >= 0.05 else name
        bulk.stairs(shares, edges, label=text, lw=1.4, **LINE[name])
        ranks = np.unique(np.geomspace(1, len(some), 300).astype(int))
        tail.plot(np.sort(some)[-ranks], 100 * ranks / len(some), label=name, **LINE[name])
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


@styled
def levels(real: Array, synthetic: Array, view: View) -> Figure:
    """One point a series: its mean and how much it varies."""
    figure, axes = _figure(1, 1, 3.6)
    axis = axes[0, 0]
    points = []
    for name, series, marker in (("real", real, "o"), ("synthetic", synthetic, "x")):
        level, spread = (p[:, 0] for p in described.standardise(series[..., [view.channel]])[1:])
        points.append((level, spread))
        axis.scatter(
            level, spread, s=22, marker=marker, alpha=0.75, color=LINE[name]["color"], label=name, lw=1.0
        )
    lowest = min(float(np.nanmin(np.minimum(level, spread))) for level, spread in points)
    if lowest > 0:
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
def embedding(real: Array, synthetic: Array, view: View, *, seed: int = 0, most: int = 400) -> Figure:
    """Every series as a point: principal components of its traits, and t-SNE of the same."""
    from sklearn.manifold import TSNE  # here alone, and half a second to import

    def some(series: Array, name: str) -> Array:
        return series[np.sort(generator(seed, 0, f"embedding {name}").permutation(len(series))[:most])]

    real, synthetic = some(real, "real"), some(synthetic, "synthetic")
    ruler = described.make_ruler(real, view.steps_per_day)
    traits = described.describe(real, ruler)
    space = described.fit_space(traits)
    points = np.concatenate([space.place(traits), space.place(described.describe(synthetic, ruler))])
    flat = np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))
    panels = [("Principal components of traits", flat[:, :2])]
    if len(points) >= 12:
        perplexity = min(30.0, (len(points) - 1) / 4)
        shown = TSNE(2, perplexity=perplexity, init="pca", random_state=seed % 2**32).fit_transform(flat)
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


@styled
def losses(records: Mapping[str, Sequence[Mapping[str, Any]]], *, most: int = 12) -> Figure:
    """Training over time, a panel for each number of each stage: stage -> lines of its metrics.jsonl."""
    panels = [
        (stage, name, *curve) for stage, lines in records.items() for name, curve in _curves(lines).items()
    ][:most]
    columns = min(3, max(len(panels), 1))
    rows = max(1, math.ceil(len(panels) / columns))
    figure, axes = _figure(rows, columns, 0.3 + 1.75 * rows)
    for axis, (stage, name, steps, numbers) in zip(axes.flat, panels):
        axis.plot(steps, numbers, color=FAINT, lw=0.8)
        width = max(1, len(numbers) // 20)
        padded = np.pad(numbers, (width // 2, width - 1 - width // 2), mode="edge")
        axis.plot(steps, np.convolve(padded, np.ones(width) / width, "valid"), color=INK, lw=1.3)
        axis.set_title(f"{stage} · {name.replace('_', ' ')}")
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(4))
        axis.grid()
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.supxlabel("step", fontsize=8.5, color=INK)
    return figure


# ---------------------------------------------------------------------------------------------------- the set


def pictures(real: Array, synthetic: Array, view: View, *, seed: int = 0) -> list[Picture]:
    """All pictures of real beside synthetic that make sense for the data, in the order of the report.

    Args:
        real: held-out series [n, L, C]; the pictures show them as they are.
    """
    days = real.shape[1] / view.steps_per_day
    rhythm = view.steps_per_day >= 2 and days >= 14
    pair = (real, synthetic, view)
    made = [
        Picture(
            "samples", "Random series, the whole record",
            "Drawn at random, not chosen; sorted by level. Line: daily mean. Band: daily range.",
            "Random real series on the left and random synthetic series on the right, over the record.",
            samples(*pair, seed=seed), "png",
        ),
        Picture(
            "weeks", "The same week, step by step",
            "The series above in one and the same week.",
            "One week of the same random real and synthetic series.",
            weeks(*pair, seed=seed),
        ),
    ]  # fmt: skip
    if rhythm and _days(view.of(real)[0], view.steps_per_day) is not None:
        made.append(
            Picture(
                "carpets", "Every hour of the record",
                "A column is a day, a row an hour of the day. Brighter is more. Rhythm shows as level bands; "
                "copies of a day would show as vertical wallpaper.",
                "Heat maps of three real and three synthetic series by date and hour of the day.",
                carpets(*pair, seed=seed), "png",
            )
        )  # fmt: skip
    if rhythm:
        made.append(
            Picture(
                "profiles", "Mean day and mean week",
                "Each series relative to its own mean and spread; the band holds the middle 80 % of series.",
                "Mean daily and weekly profiles of real and synthetic series with bands.",
                profiles(*pair),
            )
        )  # fmt: skip
    made += [
        Picture(
            "duration", "Load-duration curve",
            "Values in falling order: peaks on the left, base load on the right.",
            "Load-duration curves of real and synthetic series, whole and zoomed on the peaks.",
            duration(*pair),
        ),
        Picture(
            "autocorrelation", "Autocorrelation",
            "How strongly a value resembles the one so many days before; peaks are days and weeks.",
            "Mean autocorrelation of real and synthetic series up to two weeks.",
            autocorrelation(*pair),
        ),
        Picture(
            "spectrum", "Spectrum",
            "Share of each series' variance by time scale. Peaks at day and week are the rhythm; "
            "the slope is its roughness.",
            "Mean power spectrum of real and synthetic series with day and week marked.",
            spectrum(*pair),
        ),
        Picture(
            "values", "Distribution of values",
            "Left: all values. Right: how often large values are exceeded.",
            "Histograms and exceedance curves of real and synthetic values.",
            values(*pair),
        ),
        Picture(
            "levels", "Level and spread of series",
            "One point a series. The clouds should overlap; a clump is a generator that lost variety.",
            "Scatter plot of mean and standard deviation of every real and synthetic series.",
            levels(*pair),
        ),
        Picture(
            "embedding", "All series at a glance",
            "Near points are series of similar shape, rhythm and level. Large t-SNE distances mean little.",
            "Two-dimensional maps of real and synthetic series by principal components and t-SNE.",
            embedding(*pair, seed=seed),
        ),
    ]  # fmt: skip
    return made
