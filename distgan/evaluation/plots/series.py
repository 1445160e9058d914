"""Whole series, weeks and carpets, real beside synthetic."""

from typing import Any

import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from distgan.evaluation.plots.rhythm import WEEKDAYS, count_hours
from distgan.evaluation.plots.style import (
    INK,
    REAL,
    SAME_WEEK,
    SYNTHETIC,
    WIDTH,
    Array,
    View,
    apply_style,
    fold_clock,
    fold_days,
    label_months,
    make_figure,
    pick_rows,
    reduce_measured,
    share_height,
    start_at_zero,
)

FEWEST_DAYS = 20  # of a record that is drawn by its days


def has_bands(view: View) -> bool:
    """Return whether a record is drawn by the mean and range of each day, not by its steps."""
    days = fold_days(np.arange(len(view.times)), view.steps_per_day)
    return days is not None and len(days) >= FEWEST_DAYS


def describe_samples(series: Array, view: View) -> str:
    """Return the caption of random series over the whole record."""
    lines = "Line: daily mean. Band: daily range. " if has_bands(view) else ""
    return f"Drawn at random, not chosen; sorted by mean. {lines}Each row has one axis."


def describe_weeks(series: Array, view: View) -> str:
    """Return the caption of a part of random series, step by step."""
    return f"The series above: {name_week(view)}. Each row has one axis."


def _draw_record(axis: Axes, values: Array, view: View, colour: str) -> None:
    """Draw a whole record: each day's range as a band, its mean as a line."""
    days = fold_days(values, view.steps_per_day)
    if days is None or not has_bands(view):
        axis.plot(view.times, values, color=colour, lw=0.8)
        return
    start = view.times[:: round(view.steps_per_day)][: len(days)]
    low, mean, high = (
        reduce_measured(function, days, axis=1) for function in (np.nanmin, np.nanmean, np.nanmax)
    )
    axis.fill_between(start, low, high, color=colour, alpha=0.28, lw=0)
    axis.plot(start, mean, color=colour, lw=1.0)


FIRST_STEPS = 200  # what is drawn instead of a week
MOST_DAYS = 21  # with a tick each


def has_week(view: View) -> bool:
    """Return whether `choose_week` is a week: there are two, of seven steps or more."""
    steps = round(7 * view.steps_per_day)
    return 7 <= steps <= len(view.times) / 2


def name_week(view: View) -> str:
    """Return in words what `choose_week` takes."""
    if has_week(view):
        return "one and the same week"
    return "all steps" if len(view.times) <= FIRST_STEPS else f"the first {FIRST_STEPS} steps"


def choose_week(view: View) -> slice:
    """Return the zoomed week: from a Monday (where days are known), the same for every series."""
    length, steps = len(view.times), round(7 * view.steps_per_day)
    if not has_week(view):
        return slice(0, min(length, FIRST_STEPS))
    start = int(SAME_WEEK * length)
    weekday = (view.times.astype("datetime64[D]").astype(int) + 3) % 7  # 1970-01-01 was a Thursday
    mondays = np.flatnonzero((weekday == 0) & (np.roll(weekday, 1) != 0))
    mondays = mondays[(mondays >= start) & (mondays + steps <= length)]
    start = int(mondays[0]) if len(mondays) else start
    return slice(start, min(start + steps, length))


def label_week_axis(axis: Axes, times: Array, day: str | None = "%a\n%-d %b") -> None:
    """Put a tick at every day of a few weeks, in a format of its own, or its initial; calendar ticks
    otherwise.
    """

    def format_initial(place: float, _: int | None) -> str:
        return WEEKDAYS[mdates.num2date(place).weekday()][0]

    if np.timedelta64(2, "D") < times[-1] - times[0] <= np.timedelta64(MOST_DAYS, "D"):
        axis.xaxis.set_major_locator(mdates.DayLocator())
        axis.xaxis.set_major_formatter(mdates.DateFormatter(day) if day else FuncFormatter(format_initial))
        axis.grid(axis="x")
    else:
        label_months(axis, times)
    axis.set_xlim(times[0], times[-1])


def _draw_side_by_side(
    real: Array, synthetic: Array, view: View, count: int, height: float, **options: Any
) -> tuple[Figure, list[tuple[Axes, Array, str]]]:
    """Draw a column of real and a column of synthetic axes, with the series and the colour of each: [L, C].

    Without real series both columns are synthetic.
    """
    halves = np.array_split(synthetic, 2)
    left, right = (real, synthetic) if len(real) else (halves[0], halves[1] if len(halves[1]) else halves[0])
    columns = [("real" if len(real) else "left", left), ("synthetic", right)]
    count = max(1, min(count, len(left), len(right)))
    figure, axes = make_figure(count, 2, 0.5 + height * count, **options)
    cells = []
    for place, (name, series) in zip(axes.T, columns):
        title, colour = (view.real, REAL) if name == "real" else ("Synthetic", SYNTHETIC)
        place[0].set_title(title, color=colour, weight="bold")
        rows = pick_rows(series, count, view.seed, name)
        cells += [(axis, series[row], colour) for axis, row in zip(place, rows)]
    return figure, cells


@apply_style
def draw_samples(real: Array, synthetic: Array, view: View, *, count: int = 4) -> Figure:
    """Draw random series over the whole record: daily range and daily mean."""
    figure, cells = _draw_side_by_side(real, synthetic, view, count, 1.35, sharex=True)
    for axis, values, colour in cells:
        _draw_record(axis, values[:, view.channel], view, colour)
        start_at_zero(axis, values[:, view.channel])
        label_months(axis, view.times)
    _share_rows(figure)
    figure.supylabel(view.label, fontsize=8.5, color=INK)
    return figure


def _share_rows(figure: Figure) -> None:
    """Give the axes of each row one y-axis: real on the left, synthetic on the right."""
    rows: dict[int, list[Axes]] = {}
    for axis in figure.axes:
        place = axis.get_subplotspec()
        assert place is not None
        rows.setdefault(place.rowspan.start, []).append(axis)
    for axes in rows.values():
        share_height(axes)


@apply_style
def draw_carpets(real: Array, synthetic: Array, view: View, *, count: int = 3) -> Figure:
    """Draw random series as carpets: a column a day, a row a time of the day; rhythm and repetition show."""
    figure, cells = _draw_side_by_side(real, synthetic, view, count, 1.35, sharex=True, sharey=True)
    first = float(mdates.date2num(view.times[0].astype("M8[D]")))
    ends = [reduce_measured(np.nanpercentile, values[:, view.channel], [1, 98.5]) for _, values, _ in cells]
    rows = len(cells) // 2  # a row holds a real and a synthetic series, and one scale
    for place, (axis, values, _) in enumerate(cells):
        days = fold_clock(values[:, view.channel], view)
        if days is None:
            days = values[:, view.channel][:, None]
        pair = np.array([ends[place % rows], ends[place % rows + rows]])
        bottom, top = np.nanmin(pair[:, 0]), np.nanmax(pair[:, 1])
        image = axis.imshow(
            days.T, aspect="auto", origin="lower", cmap="cividis",
            vmin=bottom, vmax=max(top, bottom + 1e-9), extent=(first, first + len(days), 0, 24),
            interpolation="antialiased",
        )  # fmt: skip
        bar = figure.colorbar(image, ax=axis, pad=0.01, aspect=12)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_visible(False)  # type: ignore[operator]
        axis.xaxis_date()
        label_months(axis, view.times)
        axis.set_yticks([0, 6, 12, 18, 24])
    figure.supylabel("hour of the day", fontsize=8.5, color=INK)
    figure.supxlabel(f"colour: {view.label}, one scale in each row", fontsize=8.5, color=INK)
    return figure


@apply_style
def draw_weeks(real: Array, synthetic: Array, view: View, *, count: int = 4, width: float = WIDTH) -> Figure:
    """Draw the same week of random series (those of `draw_samples`), step by step."""
    steps = choose_week(view)
    times = view.times[steps]
    figure, cells = _draw_side_by_side(real, synthetic, view, count, 1.3, sharex=True, width=width)
    for axis, values, colour in cells:
        axis.plot(times, values[steps, view.channel], color=colour, lw=1.1, drawstyle="steps-post")
        start_at_zero(axis, values[steps, view.channel])
        label_week_axis(axis, times, "%a\n%-d %b" if width == WIDTH else "%a")
    _share_rows(figure)
    figure.supylabel(view.label, fontsize=8.5, color=INK)
    return figure


SIZES = {"small": 0.2, "middling": 0.5, "large": 0.8}  # shares of the series that use less


@apply_style
def draw_sizes(real: Array, synthetic: Array, view: View) -> Figure:
    """Draw a small, a middling and a large series of either set: record, week and mean day.

    Chosen by level alone: the series whose mean is at the same place among its set's.
    """
    sets = [(view.real, REAL, real)] if len(real) else []
    sets.append(("Synthetic", SYNTHETIC, synthetic))
    ratios = [3, 2] * len(sets) + [2]
    figure, axes = make_figure(len(SIZES), len(ratios), 0.4 + 1.45 * len(SIZES), width_ratios=ratios)
    steps, clock = choose_week(view), np.arange(count_hours(view)) * 24 / count_hours(view)
    for place, (name, colour, series) in enumerate(sets):
        values = view.read_channel(series)
        order = np.argsort(np.nan_to_num(reduce_measured(np.nanmean, values, axis=1)))
        for row, share in enumerate(SIZES.values()):
            chosen = values[order[round(share * (len(order) - 1))]]
            whole, week, day = axes[row, 2 * place], axes[row, 2 * place + 1], axes[row, -1]
            _draw_record(whole, chosen, view, colour)
            label_months(whole, view.times)
            week.plot(view.times[steps], chosen[steps], color=colour, drawstyle="steps-post", lw=1)
            label_week_axis(week, view.times[steps], None)
            days = fold_clock(chosen, view)
            if days is not None:
                mean = reduce_measured(np.nanmean, days, axis=0)
                day.step(np.append(clock, 24), np.append(mean, mean[-1]), color=colour, lw=1.4, where="post")
            start_at_zero(whole, chosen)
            start_at_zero(week, chosen[steps])
        axes[0, 2 * place].set_title(name, color=colour, weight="bold")
    for row in axes:
        share_height(row[0:-1:2])
        share_height(row[1:-1:2])
    axes[0, -1].set_title("Mean day")
    for axis, name in zip(axes[:, 0], SIZES):
        axis.set_ylabel(name)
    for axis in axes[:, -1]:
        start_at_zero(axis, np.asarray([line.get_ydata() for line in axis.lines]).ravel())
        axis.set_xticks(range(0, 25, 12))
    figure.supylabel(view.label, fontsize=8.5, color=INK)
    return figure


@apply_style
def draw_preview(series: Array, view: View, *, count: int = 4) -> Figure:
    """Draw the first few series, record and week, for a look during training: [n, L, C]."""
    count = max(1, min(count, len(series)))
    figure, axes = make_figure(count, 2, 0.4 + 1.25 * count, width_ratios=[3, 2])
    steps = choose_week(view)
    for (whole, week), values in zip(axes, view.read_channel(series)):
        _draw_record(whole, values, view, SYNTHETIC)
        label_months(whole, view.times)
        week.plot(view.times[steps], values[steps], color=SYNTHETIC, drawstyle="steps-post", lw=1)
        label_week_axis(week, view.times[steps])
    figure.supylabel(view.label, fontsize=8.5, color=INK)
    return figure
