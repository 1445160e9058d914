"""`sweep.html`: the searched keys and the results, on one page that opens offline."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

from distgan import config
from distgan.data.store.reader import Store
from distgan.errors import UserError
from distgan.evaluation.plots.series import draw_preview
from distgan.evaluation.plots.style import (
    FAINT,
    OTHERS,
    REAL,
    SYNTHETIC,
    WIDTH,
    Picture,
    apply_style,
    make_view,
)
from distgan.evaluation.report.writer import format_number, load_template
from distgan.files import write_text
from distgan.pipeline.training_data import read_scaler
from distgan.run import Run
from distgan.sweep import results
from distgan.sweep.files import SweepFiles
from distgan.sweep.results import Result
from distgan.sweep.scores import WORST

SHOWN = 3  # trials with pictures of their samples
FEWEST = 8  # trials from which importance says anything


def write(root: Run, settings: config.Config) -> None:
    """Write the page for the trials as they stand.

    Raises:
        UserError: no trial has a score that counts, or the folder cannot be written.
    """
    objectives, steps = settings.sweep.objectives, settings.train.steps
    found = results.read_results(root, steps)
    best = results.find_best(found, objectives, steps)
    again = results.read_confirmations(root, objectives, steps)
    text = load_template("page.html.jinja", Path(__file__).parent).render(
        name=root.folder.name,
        settings=settings,
        results=found,
        best=best,
        objectives=objectives,
        steps=steps,
        keys=list(settings.sweep.space),
        again={
            label: {n: results.format_spread(losses[n]) for n in objectives}
            for label, losses in again.items()
        },
        seconds=results.sum_seconds(root),
        pictures=draw_pictures(found, best, settings),
    )
    write_text(SweepFiles(root.folder).page, text)


def draw_pictures(found: Sequence[Result], best: Result, settings: config.Config) -> list[Picture]:
    """Draw the pictures of a sweep's page that its trials allow."""
    objective, space = settings.sweep.objectives[0], settings.sweep.space
    counted = [result for result in found if result.find_loss(objective) < WORST]
    drawn = [
        Picture(
            "parallel",
            "Values and results",
            f"One line per trial, through its values to its last {objective}: dark is better, orange best; "
            "thin lines were stopped early.",
            "Parallel coordinates of the searched keys and the objective.",
            draw_parallel(counted, best, space, objective),
        ),
        Picture(
            "history",
            "The search over time",
            f"Left: {objective} of each trial at its evaluations. Right: of trials in their order, and the "
            "best so far.",
            "Curves of the objective over steps, and over trials.",
            draw_history(counted, best, objective),
        ),
    ]
    if (shares := compute_key_importance(counted, space, objective)) is not None:
        drawn.append(
            Picture(
                "importance",
                "What mattered",
                f"How much shuffling a key worsens a random forest's prediction of {objective} at the first "
                f"evaluation, of {len(counted)} trials. With so few it is only a hint.",
                "Bars of the importance of each key.",
                draw_bars(shares),
            )
        )
    if len(settings.sweep.objectives) > 1:
        drawn.append(
            Picture(
                "front",
                "The Pareto front",
                "Orange: no other trial is as good in both and better in one.",
                "Scatter of the two objectives with the front.",
                draw_front(found, settings.sweep.objectives),
            )
        )
    for result in sorted(counted, key=lambda result: result.find_loss(objective))[:SHOWN]:
        if (sheet := draw_samples(result)) is not None:
            title = f"Trial {result.number}: {objective} {format_number(result.find_loss(objective), 3)}"
            alt = f"Two synthetic series of trial {result.number}, whole and a week."
            drawn.append(Picture(f"trial-{result.number}", title, "Two synthetic series.", alt, sheet))
    return drawn


def draw_samples(result: Result) -> Figure | None:
    """Draw two synthetic series of a trial; None where it is too old or too young to have any."""
    run = Run(result.folder)
    try:
        store, (_, meta) = Store.open(run.need(run.synthetic, "generate")), read_scaler(run)
    except UserError:
        return None
    return draw_preview(store.read_rows(np.arange(min(2, store.num_series))), make_view(meta), count=2)


# ---------------------------------------------------------------------------------------------------- figures


@apply_style
def draw_parallel(
    found: Sequence[Result], best: Result, space: dict[str, config.Dimension], objective: str
) -> Figure:
    """Draw one axis a key, and the objective last."""
    columns = [Column(name, dimension) for name, dimension in space.items()]
    losses = [result.find_loss(objective) for result in found]
    low, high = min(losses), max(losses)
    shade = Normalize(low, high + 1e-12)
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axis = figure.subplots()
    for result in sorted(found, key=lambda result: -result.find_loss(objective)):
        heights = [column.compute_height(result.values.get(column.name)) for column in columns]
        heights.append((result.find_loss(objective) - low) / (high - low + 1e-12))
        chosen = result is best
        colour = SYNTHETIC if chosen else str(0.15 + 0.65 * float(shade(result.find_loss(objective))))
        width = 2.4 if chosen else 0.7 if result.state == "stopped" else 1.3
        axis.plot(range(len(heights)), heights, color=colour, lw=width, marker="o", ms=3)
    for place, column in enumerate(columns):
        _draw_ticks(axis, place, column.make_ticks())
    _draw_ticks(axis, len(columns), [(0.0, format_number(low, 3)), (1.0, format_number(high, 3))])
    names = [column.name.replace(".", ".\n") for column in columns]
    axis.set_xticks(range(len(columns) + 1), [*names, objective], fontsize=7.5)
    axis.set_yticks([])
    axis.spines[["left", "bottom"]].set_visible(False)
    return figure


def _draw_ticks(axis: Axes, place: int, ticks: Sequence[tuple[float, str]]) -> None:
    axis.axvline(place, color=FAINT, lw=0.8, zorder=0)
    for height, label in ticks:
        axis.annotate(
            label,
            (place, height),
            (5, 0),
            textcoords="offset points",
            fontsize=7,
            va="center",
            color="#666666",
            bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.6},
        )


class Column:
    """A searched key as a height from 0 to 1."""

    def __init__(self, name: str, dimension: config.Dimension) -> None:
        self.name, (self.way, self.found) = name, dimension.way
        self.listed = self.way in ("choice", "grid")
        self.labels = [results.format_value(value) if self.listed else f"{value:g}" for value in self.found]

    def compute_height(self, value: Any) -> float:
        """Return the height of a value; NaN where the key was not searched."""
        if value is None:
            return np.nan
        if self.listed:
            return self.labels.index(results.format_value(value)) / max(1, len(self.labels) - 1)
        low, high = self.found
        if self.way == "loguniform":
            return float(np.log(value / low) / np.log(high / low))
        return (value - low) / (high - low)

    def make_ticks(self) -> list[tuple[float, str]]:
        return list(zip(np.linspace(0, 1, len(self.labels)).tolist(), self.labels))


@apply_style
def draw_history(found: Sequence[Result], best: Result, objective: str) -> Figure:
    """Draw the scores of trials over steps, and the best so far over trials."""
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for result in found:
        steps = [evaluation.step for evaluation in result.evaluations if not evaluation.gate]
        losses = [evaluation.scores[objective] for evaluation in result.evaluations if not evaluation.gate]
        colour = SYNTHETIC if result is best else REAL
        left.plot(steps, losses, color=colour, marker="o", ms=3, lw=2 if result is best else 0.9)
    numbers = [result.number for result in found]
    losses = [result.find_loss(objective) for result in found]
    right.plot(numbers, losses, "o", color=REAL, ms=4)
    right.step(numbers, np.minimum.accumulate(losses), where="post", color=SYNTHETIC)
    left.set_xlabel("steps")
    left.set_ylabel(objective)
    right.set_xlabel("trial")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@apply_style
def draw_bars(shares: dict[str, float]) -> Figure:
    figure = Figure(figsize=(WIDTH, 0.6 + 0.3 * len(shares)), layout="constrained")
    axis = figure.subplots()
    names = sorted(shares, key=lambda name: shares[name])
    axis.barh(names, [shares[name] for name in names], color=OTHERS[0])
    axis.set_xlabel("share")
    return figure


@apply_style
def draw_front(found: Sequence[Result], objectives: Sequence[str]) -> Figure:
    """Draw the trials by two objectives, and the front of the best."""
    figure = Figure(figsize=(0.6 * WIDTH, 3.4), layout="constrained")
    axis = figure.subplots()
    kept = [result for result in found if max(result.losses.values(), default=WORST) < WORST]
    chosen = sorted(
        results.find_pareto_front(kept, objectives), key=lambda result: result.find_loss(objectives[0])
    )
    one, two = objectives
    axis.plot([r.find_loss(one) for r in kept], [r.find_loss(two) for r in kept], "o", color=REAL, ms=4)
    axis.step(
        [r.find_loss(one) for r in chosen],
        [r.find_loss(two) for r in chosen],
        "o-",
        where="post",
        color=SYNTHETIC,
    )
    for result in chosen:
        place = (result.find_loss(one), result.find_loss(two))
        axis.annotate(str(result.number), place, (4, 4), textcoords="offset points", fontsize=8)
    axis.set_xlabel(one)
    axis.set_ylabel(two)
    return figure


def compute_key_importance(
    found: Sequence[Result], space: dict[str, config.Dimension], objective: str
) -> dict[str, float] | None:
    """Return the share of each key, at the evaluation that every trial reached; None where there are too few
    trials.

    By permutation of a random forest's inputs; a key that was not searched in a trial is a value of its own.
    """
    counted = [result for result in found if not result.evaluations[0].gate]
    if len(counted) < FEWEST:
        return None
    columns = [Column(name, dimension) for name, dimension in space.items()]
    heights = pd.DataFrame(
        {c.name: [c.compute_height(r.values.get(c.name)) for r in counted] for c in columns}
    )
    losses = np.array([result.evaluations[0].scores[objective] for result in counted])
    inputs = heights.fillna(-1.0)
    forest = RandomForestRegressor(300, min_samples_leaf=2, random_state=0).fit(inputs, losses)
    found_shares = permutation_importance(
        forest, inputs, losses, n_repeats=20, random_state=0
    ).importances_mean
    shares = np.maximum(found_shares, 0)
    return dict(zip(heights.columns, (shares / max(shares.sum(), 1e-12)).tolist()))
