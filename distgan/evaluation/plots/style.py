"""Colours, sizes and text alternatives that all figures share."""

import base64
import functools
import io
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
from matplotlib.ticker import MaxNLocator
from PIL import Image

from distgan.data.store.metadata import DAY, Meta
from distgan.evaluation.metrics import descriptors as described
from distgan.rng import make_keyed_generator

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
    """The way to read series: local time of each step [L], steps a day, unit, the channel that is drawn, the
    seed of every random choice, and the name of real series.
    """

    times: Array
    steps_per_day: float
    unit: str = ""
    channel: int = 0
    channel_name: str = "value"
    seed: int = 0
    real: str = "Real, never trained on"
    is_aligned: bool = True  # all series begin at the same time of the day
    has_weekdays: bool = True  # and on one known day of the week

    @property
    def label(self) -> str:
        if self.unit in ("", self.channel_name):
            return self.channel_name
        return f"{self.channel_name} [{self.unit}]"

    def read_channel(self, series: Array) -> Array:
        """Return the drawn channel: [n, L, C] -> [n, L]."""
        return np.asarray(series)[..., self.channel]


def make_view(meta: Meta, *, unit: str | None = None, seed: int = 0) -> View:
    """Return the view of a store's series: their first channel, in their own unit unless another is given."""
    return View(
        meta.axis.list_times(),
        meta.axis.steps_per_day,
        meta.unit_of_channels if unit is None else unit,
        channel_name=meta.channels[0],
        seed=seed,
        is_aligned=meta.is_aligned(DAY),
        has_weekdays=meta.has_common_weekdays,
    )


@dataclass(frozen=True)
class Picture:
    """A figure with its description for a reader, or a screen reader.

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

    def make_data_uri(self) -> str:
        """Return the drawing as a `data:` address, to be included in a page that opens offline."""
        kind = "image/svg+xml" if self.format == "svg" else "image/png"
        return f"data:{kind};base64,{base64.b64encode(render(self.figure, self.format)).decode()}"


def apply_style(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    @functools.wraps(draw)
    def draw_in_style(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return draw_in_style


def render(figure: Figure, kind: Literal["svg", "png"] = "png", dpi: int = 130) -> bytes:
    """Return the bytes of a figure; PNG with 256 colours, a third of the size of the full palette."""
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


def make_figure(
    rows: int, columns: int, height: float, *, width: float = WIDTH, **options: Any
) -> tuple[Figure, Array]:
    """Return a figure and its axes [rows, columns]; `height` and `width` in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, axes


def add_legend(axis: Axes, **options: Any) -> None:
    """Add a legend where it hides least."""
    axis.legend(**{"loc": "best", "handlelength": 2.2, **options})


def label_months(axis: Axes, times: Array) -> None:
    """Set calendar ticks that suit the record: hours, days, months or years."""
    locator = mdates.AutoDateLocator(minticks=3, maxticks=8)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, show_offset=False))
    axis.set_xlim(times[0], times[-1])


def pick_rows(series: Array, count: int, seed: int, purpose: str) -> Array:
    """Choose the rows of `count` random series, the smaller levels first: [n, L, C] -> [count]."""
    rows = make_keyed_generator(seed, 0, f"picture {purpose}").permutation(len(series))[:count]
    return rows[np.argsort(np.nan_to_num(reduce_measured(np.nanmean, series[rows], axis=(1, 2))))]


def fold_clock(values: Array, view: View) -> Array | None:
    """Return values by day and time of the day, as `fold_days`; the first day has no values before the
    record begins.
    """
    midnight = view.times[0].astype("M8[D]")
    share = (view.times[0] - midnight) / np.timedelta64(1, "D")
    before = np.full(int(share * view.steps_per_day + 1e-6), np.nan)
    return fold_days(np.concatenate([before, values]), view.steps_per_day)


def fold_days(values: Array, steps_per_day: float) -> Array | None:
    """Return values by 24 hours from the first step on, [L] -> [days, steps], where a day is a whole number
    of steps and there are three.
    """
    steps = round(steps_per_day)
    if steps < 2 or abs(steps - steps_per_day) > 1e-6 or len(values) < 3 * steps:
        return None
    days = len(values) // steps
    return values[: days * steps].reshape(days, steps)


def reduce_measured(function: Callable[..., Any], values: Array, *args: Any, **options: Any) -> Array:
    """Apply one of numpy's nan-functions, without a warning where nothing is measured; NaN there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(function(values, *args, **options))


def share_height(axes: Sequence[Axes]) -> None:
    """Set one range of all axes that holds every value, so that real and synthetic can be compared."""
    ends = [axis.get_ylim() for axis in axes]
    for axis in axes:
        axis.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))


def start_at_zero(axis: Axes, values: Array) -> None:
    """Start the axis at zero where nothing is negative, so that heights can be compared."""
    axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.grid(axis="y")
    if np.nanmin(np.append(values, 0)) >= 0:
        axis.set_ylim(bottom=0)
