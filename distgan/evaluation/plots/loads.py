"""Loads: the sum of all series, and the mean day on weekdays and at weekends, both sets on one axis."""

import numpy as np
from matplotlib.figure import Figure

from distgan.evaluation.metrics.entity_loads import are_loads
from distgan.evaluation.metrics.loads import compute_mean_demand, is_weekend
from distgan.evaluation.plots.series import choose_week, label_week_axis
from distgan.evaluation.plots.style import (
    LINE,
    Array,
    View,
    add_legend,
    apply_style,
    fold_days,
    label_months,
    make_figure,
    reduce_measured,
    start_at_zero,
)


def is_load(series: Array, view: View) -> bool:
    """Return whether series are loads that can be added up."""
    return bool(len(series)) and view.is_aligned and are_loads(view.read_channel(series), view.steps_per_day)


def has_weekdays(series: Array, view: View) -> bool:
    """Return whether series are loads with known weekdays."""
    return view.has_weekdays and is_load(series, view)


def _match_counts(real: Array, synthetic: Array, view: View) -> dict[str, Array]:
    """Return the first series of either set, as many of each: the peak of a sum depends on their number."""
    count = min(len(real), len(synthetic))
    return {"real": view.read_channel(real[:count]), "synthetic": view.read_channel(synthetic[:count])}


@apply_style
def draw_total(real: Array, synthetic: Array, view: View) -> Figure:
    """Draw the sum of all series per series: daily means over the record, and one week step by step."""
    figure, axes = make_figure(1, 2, 2.9, width_ratios=[3, 2], sharey=True)
    whole, week = axes[0]
    steps = choose_week(view)
    for name, series in _match_counts(real, synthetic, view).items():
        demand = compute_mean_demand(series)
        days = fold_days(demand, view.steps_per_day)
        assert days is not None  # `is_load`
        start = view.times[:: round(view.steps_per_day)][: len(days)]
        low, mean, high = (
            reduce_measured(function, days, axis=1) for function in (np.nanmin, np.nanmean, np.nanmax)
        )
        whole.fill_between(start, low, high, color=LINE[name]["color"], alpha=0.2, lw=0)
        whole.plot(start, mean, label=f"{name} (daily mean and range)", **LINE[name])
        week.plot(view.times[steps], demand[steps], drawstyle="steps-post", **LINE[name])
    label_months(whole, view.times)
    label_week_axis(week, view.times[steps], None)
    for axis in (whole, week):
        start_at_zero(axis, np.zeros(1))
    whole.set(title="Whole record", ylabel=f"{view.label}, per series")
    week.set_title("One week")
    whole.set_ylim(top=1.15 * whole.get_ylim()[1])
    add_legend(whole, loc="upper center", ncols=2)
    return figure


@apply_style
def draw_weekdays(real: Array, synthetic: Array, view: View) -> Figure:
    """Draw the mean day of all series on weekdays and at weekends, in the series' unit."""
    figure, axes = make_figure(1, 2, 2.7, sharey=True)
    weekend = is_weekend(view.times)
    seconds = (view.times - view.times.astype("datetime64[D]")).astype("timedelta64[s]").astype(int)
    clock, place = np.unique(seconds, return_inverse=True)
    for name, series in _match_counts(real, synthetic, view).items():
        demand = compute_mean_demand(series)
        for axis, chosen in zip(axes[0], (~weekend, weekend)):
            day = np.array(
                [reduce_measured(np.nanmean, demand[chosen & (place == p)]) for p in range(len(clock))]
            )
            line = np.append(day, day[-1])
            axis.step(np.append(clock / 3600, 24), line, where="post", label=name, **LINE[name])
    for axis, title in zip(axes[0], ("Weekdays", "Weekends")):
        axis.set(title=title, xlabel="hour of the day", xlim=(0, 24))
        axis.set_xticks(range(0, 25, 6))
        start_at_zero(axis, np.zeros(1))
    axes[0, 0].set_ylabel(f"{view.label}, per series")
    add_legend(axes[0, 0], loc="upper left")
    return figure
