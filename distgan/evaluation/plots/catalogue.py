"""The pictures of real beside synthetic series that a report shows, as data (`KINDS`), in their order."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

from distgan.evaluation.metrics.plain_statistics import GROUP, clip_extremes
from distgan.evaluation.plots import interactive, loads, population, rhythm, values
from distgan.evaluation.plots.series import (
    describe_samples,
    describe_weeks,
    draw_carpets,
    draw_samples,
    draw_sizes,
    draw_weeks,
    name_week,
)
from distgan.evaluation.plots.style import Array, Picture, View
from distgan.progress import Progress

FEWEST = GROUP  # owners of real series in a population picture, where single ones may not be shown


def is_always_drawn(series: Array, view: View) -> bool:
    return True


def has_rhythm(series: Array, view: View) -> bool:
    """Return whether there are several steps a day, and two weeks of them."""
    return view.steps_per_day >= 2 and series.shape[1] / view.steps_per_day >= 14


def has_days(series: Array, view: View) -> bool:
    """Return whether there is a rhythm, with days of a whole number of steps."""
    return has_rhythm(series, view) and abs(view.steps_per_day - round(view.steps_per_day)) <= 1e-6


@dataclass(frozen=True)
class Kind:
    """A picture of two sets of series.

    Attributes:
        caption: what is seen, or a function of the series that says it.
        single: whether single real series are seen in it: `shown` ones can be left out, `needed` ones not.
        extremes: whether the largest and smallest values of all can be read from it.
        matched: whether only as many real series as there are synthetic ones are behind it.
        suits: whether it makes sense for the series.
        live: the same as plots that answer the reader.
    """

    name: str
    title: str
    caption: str | Callable[[Array, View], str]
    alt: str
    draw: Callable[[Array, Array, View], Figure]
    format: Literal["svg", "png"] = "svg"
    single: Literal["none", "shown", "needed"] = "none"
    suits: Callable[[Array, View], bool] = is_always_drawn
    live: Callable[[Array, Array, View], list[interactive.Item]] | None = None
    extremes: bool = False
    matched: bool = False

    def make_picture(self, real: Array, synthetic: Array, view: View) -> Picture:
        live = self.live(real, synthetic, view) if self.live else []
        figure = self.draw(real, synthetic, view)
        alt = self.alt if len(real) else f"{self.title}: synthetic series alone."
        caption = self.caption if isinstance(self.caption, str) else self.caption(synthetic, view)
        return Picture(self.name, self.title, caption, alt, figure, self.format, live)


KINDS: tuple[Kind, ...] = (
    Kind(
        "samples", "Random series, the whole record",
        describe_samples,
        "Random real series on the left and random synthetic series on the right, over the record.",
        draw_samples, "png", "shown",
    ),
    Kind(
        "weeks", "Step by step",
        describe_weeks,
        "A part of the same random real and synthetic series, step by step.",
        draw_weeks, "svg", "shown",
    ),
    Kind(
        "sizes", "A small, a middling and a large one",
        "Chosen by mean alone: a fifth, a half and four fifths of the set use less. Record, one week, mean "
        "day.",
        "Real and synthetic series of three sizes: the record, a week, and the mean day of both.",
        draw_sizes, "png", "shown", has_days,
    ),
    Kind(
        "carpets", "Every step of the record",
        "A column is a day, a row a time of the day. Brighter is more; each row of pictures has one scale. "
        "Rhythm shows as horizontal bands; repeated days would show as vertical stripes.",
        "Heat maps of three real and three synthetic series by date and hour of the day.",
        draw_carpets, "png", "shown", has_days,
    ),
    Kind(
        "profiles", "Mean day and mean week",
        "Each series relative to its own mean and standard deviation; the band holds the middle 80 % of "
        "series.",
        "Mean daily and weekly profiles of real and synthetic series with bands.",
        rhythm.draw_profiles, suits=has_rhythm, live=interactive.plot_profiles,
    ),
    Kind(
        "total", "All series together",
        "The sum of as many real as synthetic series, per series: what a shared line carries. Its highest "
        "value is the after-diversity maximum demand.",
        "The sum of all real and of all synthetic series over the record and in one week, on one axis.",
        loads.draw_total, suits=loads.is_load, matched=True,
    ),
    Kind(
        "weekdays", "Weekdays and weekends",
        "The mean day of all series together, in their own unit.",
        "Mean day of real and synthetic series on weekdays and at weekends, on one axis.",
        loads.draw_weekdays, suits=loads.has_weekdays, matched=True,
    ),
    Kind(
        "duration", "Load-duration curve",
        "Values in falling order: peaks on the left, base load on the right.",
        "Load-duration curves of real and synthetic series, whole and zoomed on the peaks.",
        values.draw_duration, live=interactive.plot_duration, extremes=True,
    ),
    Kind(
        "autocorrelation", "Autocorrelation",
        rhythm.describe_correlation,
        "Mean autocorrelation of real and synthetic series up to two weeks, if they are as long.",
        rhythm.draw_autocorrelation, live=interactive.plot_autocorrelation,
    ),
    Kind(
        "spectrum", "Spectrum",
        rhythm.describe_spectrum,
        "Mean power spectrum of real and synthetic series with named periods marked.",
        rhythm.draw_spectrum, live=interactive.plot_spectrum,
    ),
    Kind(
        "values", "Distribution of values",
        "First all values, then how often large values are exceeded.",
        "Histograms and exceedance curves of real and synthetic values.",
        values.draw_values, live=interactive.plot_values, extremes=True,
    ),
    Kind(
        "levels", "Location and scale of series",
        "One point for each series: its mean and its standard deviation. The clouds should overlap; a "
        "clump is a generator that lost variety.",
        "Scatter plot of mean and standard deviation of every real and synthetic series.",
        values.draw_levels, "svg", "shown", live=interactive.plot_levels,
    ),
    Kind(
        "embedding", "Series as points",
        "Near points are series of similar shape, rhythm and location. Large t-SNE distances mean little.",
        "Two-dimensional maps of real and synthetic series by principal components and t-SNE.",
        population.draw_embedding, "svg", "needed",
    ),
)  # fmt: skip


def select_pictures(
    real: Array, synthetic: Array, view: View, *, real_curves: bool = True, owners: Array | None = None
) -> list[Picture]:
    """Return all pictures that make sense for the series, in the order of the report.

    Args:
        real: held-out series [n, L, C].
        real_curves: whether single real series are shown as they are; otherwise only what at least 15 owners
            have in common, and no value beyond those that 15 owners reach.
        owners: [n] of the real series, by default one each.
    """
    owners = np.arange(len(real)) if owners is None else np.asarray(owners)
    enough = len(np.unique(owners)) >= FEWEST
    enough_matched = len(np.unique(owners[: len(synthetic)])) >= FEWEST
    clipped = clip_extremes(real, owners) if enough and not real_curves else real
    made = []
    with Progress("evaluate: pictures", len(KINDS), "kinds") as progress:
        for kind in KINDS:
            progress.advance()
            if not kind.suits(real, view):
                continue
            if real_curves or (kind.single == "none" and (enough_matched if kind.matched else enough)):
                made.append(kind.make_picture(clipped if kind.extremes else real, synthetic, view))
            elif kind.single == "shown":
                made.append(kind.make_picture(real[:0], synthetic, view))
    return made


@dataclass(frozen=True)
class Drawings:
    """The drawings of two sets of series on a page."""

    pictures: list[Picture] = field(default_factory=list)
    first: Picture | None = None
    explorer: dict[str, Any] | None = None


def draw_all(
    real: Array, synthetic: Array, view: View, real_curves: bool, owners: Array | None = None
) -> Drawings:
    """Draw all pictures; see `select_pictures`."""
    single = real if real_curves else real[:0]
    return Drawings(
        select_pictures(real, synthetic, view, real_curves=real_curves, owners=owners),
        draw_headline(single, synthetic, view),
        interactive.plot_explorer(single, synthetic, view),
    )


def draw_headline(real: Array, synthetic: Array, view: View) -> Picture:
    """Draw the small picture of the first screen: a week of a few series, or their first steps."""
    beside = "two real series on the left and two" if len(real) else "a few"
    part = name_week(view)
    alt = f"{part[0].upper()}{part[1:]} of {beside} synthetic series, drawn at random."
    return Picture(
        "first",
        "A few series",
        f"Drawn at random, not chosen: {part}.",
        alt,
        draw_weeks(real, synthetic, view, count=2, width=5.4),
    )
