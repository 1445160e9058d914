"""Distributions of values, load-duration curves, locations and scales."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from distgan.evaluation.metrics import descriptors as described
from distgan.evaluation.plots.rhythm import Curve, compute_band_of_curves, draw_band, pair_curves
from distgan.evaluation.plots.style import (
    LINE,
    Array,
    View,
    add_legend,
    apply_style,
    make_figure,
    reduce_measured,
)


def _prefers_log_axis(values: Array) -> bool:
    """Return whether a log axis shows more: nothing negative, and a long upper tail."""
    top, middle, bottom = np.percentile(values, [99.9, 50, 0])
    return bool(bottom >= 0 and top > 8 * max(middle, 1e-12))


def select_measured(series: Array, view: View) -> Array:
    values = view.read_channel(series)
    return values[~np.isnan(values)]


def compute_exceedance(name: str, series: Array, view: View) -> Curve:
    """Return the value that a series exceeds for a share of its time [%]."""
    curves = reduce_measured(np.nanquantile, view.read_channel(series), described.DURATION_LEVELS, axis=1).T
    return compute_band_of_curves(
        name, 100 * (1 - described.DURATION_LEVELS), curves[~np.isnan(curves).any(1)]
    )


@apply_style
def draw_duration(real: Array, synthetic: Array, view: View) -> Figure:
    """Draw load-duration curves: how often a value is exceeded, from the peaks to the base load."""
    figure, axes = make_figure(1, 2, 3.0, width_ratios=[3, 2])
    for curve in pair_curves(compute_exceedance, real, synthetic, view):
        for axis in axes.flat:
            draw_band(axis, curve)
    positive = select_measured(real, view)
    if _prefers_log_axis(positive):
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
    add_legend(axes[0, 0])
    return figure


def choose_bins(real: Array, synthetic: Array) -> tuple[Array, bool]:
    """Return edges of bins for all values of both sets, and whether they are logarithmic: flat, measured
    values.
    """
    both = np.concatenate([real, synthetic])
    if not _prefers_log_axis(real):
        return np.linspace(float(both.min()), float(both.max()), 90), False
    inside = both[both > 0]
    edges = np.geomspace(max(float(np.percentile(inside, 0.2)), 1e-6), float(inside.max()), 90)
    if np.array_equal(real, np.round(real)):
        edges = np.unique(np.append(np.floor(edges), 0)) + 0.5  # counts: whole numbers in every bin
    return edges, True


def compute_shares(some: Array, edges: Array, log: bool) -> Array:
    """Return the share of values in each bin [%], per factor of ten where bins are logarithmic."""
    shares = 100 * np.histogram(some, edges)[0] / max(len(some), 1)
    return shares / np.diff(np.log10(edges)) if log else shares


def compute_tail(name: str, some: Array) -> Curve:
    """Return the share of values above [%] by value."""
    ranks = np.unique(np.geomspace(1, len(some), 300).astype(int))
    return Curve(name, np.sort(some)[-ranks], 100 * ranks / len(some))


@apply_style
def draw_values(real: Array, synthetic: Array, view: View) -> Figure:
    """Draw the distribution of all values, and how often large ones are exceeded."""
    figure, axes = make_figure(1, 2, 2.9)
    bulk, tail = axes[0]
    sets = {"real": select_measured(real, view), "synthetic": select_measured(synthetic, view)}
    edges, log = choose_bins(*sets.values())
    bulk.set_xscale("log" if log else "linear")
    for name, some in sets.items():
        outside = 100 * float((some <= 0).mean())
        text = f"{name}, {outside:.1f} % at zero or below" if log and outside >= 0.05 else name
        bulk.stairs(compute_shares(some, edges, log), edges, label=text, lw=1.4, **LINE[name])
        curve = compute_tail(name, some)
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
    add_legend(bulk, loc="upper left")
    return figure


def _pair_sets(real: Array, synthetic: Array) -> list[tuple[str, Array]]:
    return [(name, series) for name, series in (("real", real), ("synthetic", synthetic)) if len(series)]


def compute_level_and_spread(name: str, series: Array, view: View) -> Curve:
    """Return mean and standard deviation of every series."""
    return Curve(name, *(p[:, 0] for p in described.standardise(series[..., [view.channel]])[1:]))


def is_all_positive(curves: Sequence[Curve]) -> bool:
    return min(float(np.nanmin(np.minimum(curve.x, curve.y))) for curve in curves) > 0


@apply_style
def draw_levels(real: Array, synthetic: Array, view: View) -> Figure:
    """Draw one point a series: its mean and how much it varies."""
    figure, axes = make_figure(1, 1, 3.6)
    axis = axes[0, 0]
    points = [compute_level_and_spread(name, series, view) for name, series in _pair_sets(real, synthetic)]
    for curve in points:
        axis.scatter(
            curve.x, curve.y, s=22, marker="o" if curve.name == "real" else "x", alpha=0.75,
            color=LINE[curve.name]["color"], label=curve.name, lw=1.0,
        )  # fmt: skip
    if is_all_positive(points):
        axis.set(xscale="log", yscale="log")
        for part in (axis.xaxis, axis.yaxis):
            part.set_major_locator(LogLocator(subs=(1, 2, 5)))
            part.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            part.set_minor_formatter(NullFormatter())
    axis.set(xlabel=f"mean of a series, {view.label}", ylabel="its standard deviation")
    axis.grid()
    add_legend(axis, loc="upper left")
    return figure
