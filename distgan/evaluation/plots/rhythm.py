"""Daily and weekly profiles, autocorrelation and spectrum."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from distgan.evaluation.metrics import descriptors as described
from distgan.evaluation.metrics.gaps import average_known
from distgan.evaluation.plots.style import (
    FAINT,
    LINE,
    Array,
    View,
    add_legend,
    apply_style,
    make_figure,
    reduce_measured,
)


@dataclass(frozen=True)
class Curve:
    """A line over x, with the band that holds the middle 80 % of series where there is one: each [X]."""

    name: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None


Measured = Callable[[str, Array, View], Curve]


def pair_curves(measure: Measured, real: Array, synthetic: Array, view: View) -> list[Curve]:
    return [measure("real", real, view), measure("synthetic", synthetic, view)]


def compute_band_of_curves(name: str, x: Array, curves: Array) -> Curve:
    """Return the mean over series and their middle 80 %: curves [n, X]."""
    quantiles = np.nanpercentile if np.isnan(curves).any() else np.percentile  # faster
    low, high = reduce_measured(quantiles, curves, [10, 90], axis=0)
    return Curve(name, x, average_known(curves), low, high)


def draw_band(axis: Axes, curve: Curve) -> None:
    """Draw a curve over the band between its low and high ends."""
    style: dict[str, Any] = LINE[curve.name]
    assert curve.low is not None and curve.high is not None
    axis.fill_between(curve.x, curve.low, curve.high, color=style["color"], alpha=0.16, lw=0)
    axis.plot(curve.x, curve.y, label=f"{curve.name} (mean, middle 80 %)", **style)


def _fold_by_period(series: Array, view: View, period_days: float, bins: int) -> Array:
    """Return each series' mean standardised value by position in a calendar period: [n, bins]."""
    values = series[..., view.channel : view.channel + 1]
    standard = described.standardise(values)[0]
    seconds = view.times.astype("datetime64[s]").astype(np.int64)
    monday = np.int64(4 * 86400)  # 1970-01-05
    place = (seconds - monday) % round(period_days * 86400) / (period_days * 86400) * bins
    mask = ~np.isnan(np.moveaxis(values, 1, 2))
    return described.fold(standard, mask, np.floor(place + 1e-6).astype(int) % bins, bins)[:, 0]


def count_hours(view: View) -> int:
    """Return the bins of a mean day: one for each step, but at least 2 and at most 96."""
    return int(np.clip(round(view.steps_per_day), 2, 96))


def compute_mean_day(name: str, series: Array, view: View) -> Curve:
    """Return the mean day by hour, each series relative to its own mean and spread."""
    hours = count_hours(view)
    return compute_band_of_curves(
        name, np.arange(hours) * 24 / hours, _fold_by_period(series, view, 1, hours)
    )


def compute_mean_week(name: str, series: Array, view: View) -> Curve:
    """Return the mean week by days since Monday 0:00, likewise."""
    hours = count_hours(view)
    return compute_band_of_curves(
        name, np.arange(7 * hours) / hours, _fold_by_period(series, view, 7, 7 * hours)
    )


WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@apply_style
def draw_profiles(real: Array, synthetic: Array, view: View) -> Figure:
    """Draw the mean day and the mean week on the calendar, each series relative to its own mean and
    spread.
    """
    figure, axes = make_figure(1, 2, 2.9, width_ratios=[2, 3], sharey=True)
    for axis, measure in zip(axes[0], (compute_mean_day, compute_mean_week)):
        for curve in pair_curves(measure, real, synthetic, view):
            draw_band(axis, curve)
        axis.grid()
    axes[0, 0].set(title="Mean day", xlabel="hour of the day", ylabel="own standard deviations", xlim=(0, 24))
    axes[0, 0].set_xticks(range(0, 25, 6))
    axes[0, 1].set(title="Mean week", xlim=(0, 7))
    axes[0, 1].set_xticks(np.arange(7), [])
    axes[0, 1].set_xticks(np.arange(7) + 0.5, WEEKDAYS, minor=True)
    axes[0, 1].tick_params(axis="x", which="minor", length=0)
    add_legend(axes[0, 0])
    return figure


UNITS = (("days", 1.0), ("hours", 1 / 24), ("minutes", 1 / 1440), ("seconds", 1 / 86400))


def choose_unit(view: View) -> tuple[str, float]:
    """Return the unit of distances in an autocorrelation, and its days: the largest that is there twice."""
    lags = described.list_short_lags(len(view.times), view.steps_per_day)
    days = lags[-1] / view.steps_per_day if len(lags) else 0.0
    return next((unit for unit in UNITS if days >= 2 * unit[1]), UNITS[-1])


def compute_correlation(name: str, series: Array, view: View) -> Curve:
    """Return the autocorrelation by distance, in the unit of `choose_unit`."""
    values = series[..., view.channel : view.channel + 1]
    lags = described.list_short_lags(series.shape[1], view.steps_per_day)
    distances = lags / (view.steps_per_day * choose_unit(view)[1])
    return compute_band_of_curves(name, distances, described.compute_autocorrelation(values, lags)[:, 0])


def describe_correlation(series: Array, view: View) -> str:
    """Return the caption of an autocorrelation."""
    unit = choose_unit(view)[0]
    lags = described.list_short_lags(len(view.times), view.steps_per_day)
    peaks = [name for name, days in (("days", 1), ("weeks", 7)) if _is_seen(view, days, lags)]
    end = f"; peaks are {' and '.join(peaks)}." if peaks else "."
    return f"How strongly a value resembles the one so many {unit} before{end}"


def _is_seen(view: View, days: int, lags: Array) -> bool:
    return view.steps_per_day * days >= 2 and len(lags) > 0 and lags[-1] >= days * view.steps_per_day


@apply_style
def draw_autocorrelation(real: Array, synthetic: Array, view: View) -> Figure:
    """Draw how strongly a value resembles the one some time before, up to two weeks."""
    figure, axes = make_figure(1, 1, 2.7)
    axis = axes[0, 0]
    curves = pair_curves(compute_correlation, real, synthetic, view)
    for curve in curves:
        draw_band(axis, curve)
    axis.axhline(0, color=FAINT, lw=0.8)
    unit, farthest = choose_unit(view)[0], curves[0].x[-1]
    axis.set(xlabel=f"distance [{unit}]", ylabel="correlation", xlim=(0, farthest))
    if unit == "days" and farthest <= 31:
        axis.set_xticks(np.arange(0, math.floor(farthest) + 1))
    axis.grid()
    add_legend(axis, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.1)
    return figure


PERIODS = (
    ("year", 365.25), ("month", 30.44), ("week", 7.0), ("day", 1.0), ("12 h", 0.5), ("6 h", 0.25),
    ("1 h", 1 / 24), ("10 min", 1 / 144), ("1 min", 1 / 1440), ("10 s", 1 / 8640), ("1 s", 1 / 86400),
)  # fmt: skip


def compute_power(name: str, series: Array, view: View) -> Curve:
    """Return the mean power by cycles a day, as a share of each series' variance, in decibels."""
    length = series.shape[1]
    edges = np.unique(np.round(np.geomspace(1, length // 2 + 1, 220)).astype(int))
    centres = np.sqrt(edges[:-1] * (edges[1:] - 1).clip(1)) * view.steps_per_day / length
    standard = described.standardise(series[..., view.channel : view.channel + 1])[0][:, 0]
    shares = np.square(np.abs(np.fft.rfft(standard, axis=-1))).mean(0)
    shares = shares / max(shares[1:].sum(), 1e-12)
    level = np.add.reduceat(shares, edges[:-1])[: len(centres)] / np.diff(edges)
    return Curve(name, centres, 10 * np.log10(level + 1e-9))


def list_marks(frequencies: Array) -> list[tuple[str, float]]:
    """Return the named periods within a range of cycles a day, and their places."""
    low, high = frequencies[0] / 1.15, frequencies[-1] * 1.15
    return [(name, 1 / days) for name, days in PERIODS if low <= 1 / days <= high]


def describe_spectrum(series: Array, view: View) -> str:
    """Return the caption of a spectrum."""
    marked = {name for name, _ in list_marks(compute_power("real", series[:1], view).x)}
    rhythm = [name for name in ("day", "week") if name in marked]
    peaks = f"Peaks at {' and '.join(rhythm)} are the rhythm; the" if rhythm else "The"
    return f"Share of each series' variance by time scale. {peaks} slope is its roughness."


@apply_style
def draw_spectrum(real: Array, synthetic: Array, view: View) -> Figure:
    """Draw the share of variance by time scale, with the day and week lines marked."""
    figure, axes = make_figure(1, 1, 3.0)
    axis = axes[0, 0]
    for curve in pair_curves(compute_power, real, synthetic, view):
        axis.plot(curve.x, curve.y, label=curve.name, lw=1.1, color=LINE[curve.name]["color"])
    named = list_marks(curve.x)
    for name, place in named:
        strong = name in ("day", "week")
        axis.axvline(place, color="#666666" if strong else FAINT, lw=1.0 if strong else 0.7, ls=":", zorder=0)
    axis.set_xscale("log")
    axis.set_xlim(curve.x[0] / 1.15, curve.x[-1] * 1.15)
    axis.set_xticks([place for _, place in named], [name for name, _ in named])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set(xlabel="period (slow on the left)", ylabel="power, share of variance [dB]")
    axis.grid(axis="y")
    add_legend(axis, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.1)
    return figure
