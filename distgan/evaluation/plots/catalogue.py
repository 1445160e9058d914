"""The pictures of real beside synthetic series that a report shows, as data (`KINDS`), in their order."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from matplotlib.figure import Figure

from distgan.evaluation.plots import interactive, population, rhythm, values
from distgan.evaluation.plots.series import carpets, samples, sizes, weeks
from distgan.evaluation.plots.style import Array, Picture, View
from distgan.progress import Progress

FEWEST = 15  # real series in a population picture, where single ones may not be shown (15/15 rule)


def is_always_drawn(series: Array, view: View) -> bool:
    return True


def has_rhythm(series: Array, view: View) -> bool:
    """Several steps a day, and two weeks of them."""
    return view.steps_per_day >= 2 and series.shape[1] / view.steps_per_day >= 14


def has_days(series: Array, view: View) -> bool:
    """A rhythm, and days of a whole number of steps."""
    return has_rhythm(series, view) and abs(view.steps_per_day - round(view.steps_per_day)) <= 1e-6


@dataclass(frozen=True)
class Kind:
    """A picture of two sets of series.

    Attributes:
        single: whether single real series are seen in it: `shown` ones can be left out, `needed` ones not.
        suits: whether it makes sense for the series.
        live: the same as plots that answer the reader.
    """

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[Array, Array, View], Figure]
    format: Literal["svg", "png"] = "svg"
    single: Literal["none", "shown", "needed"] = "none"
    suits: Callable[[Array, View], bool] = is_always_drawn
    live: Callable[[Array, Array, View], list[interactive.Item]] | None = None

    def picture(self, real: Array, synthetic: Array, view: View) -> Picture:
        live = self.live(real, synthetic, view) if self.live else []
        figure = self.draw(real, synthetic, view)
        alt = self.alt if len(real) else f"{self.title}: synthetic series alone."
        return Picture(self.name, self.title, self.caption, alt, figure, self.format, live)


KINDS: tuple[Kind, ...] = (
    Kind(
        "samples", "Random series, the whole record",
        "Drawn at random, not chosen; sorted by level. Line: daily mean. Band: daily range.",
        "Random real series on the left and random synthetic series on the right, over the record.",
        samples, "png", "shown",
    ),
    Kind(
        "weeks", "The same week, step by step",
        "The series above in one and the same week.",
        "One week of the same random real and synthetic series.",
        weeks, "svg", "shown",
    ),
    Kind(
        "sizes", "A small, a middling and a large one",
        "Chosen by level alone: a fifth, a half and four fifths of the set use less. Record, one week, mean "
        "day.",
        "Real and synthetic series of three sizes: the record, a week, and the mean day of both.",
        sizes, "png", "shown", has_days,
    ),
    Kind(
        "carpets", "Every hour of the record",
        "A column is a day, a row an hour of the day. Brighter is more. Rhythm shows as level bands; copies "
        "of a day would show as vertical wallpaper.",
        "Heat maps of three real and three synthetic series by date and hour of the day.",
        carpets, "png", "shown", has_days,
    ),
    Kind(
        "profiles", "Mean day and mean week",
        "Each series relative to its own mean and spread; the band holds the middle 80 % of series.",
        "Mean daily and weekly profiles of real and synthetic series with bands.",
        rhythm.profiles, suits=has_rhythm, live=interactive.profiles,
    ),
    Kind(
        "duration", "Load-duration curve",
        "Values in falling order: peaks on the left, base load on the right.",
        "Load-duration curves of real and synthetic series, whole and zoomed on the peaks.",
        values.duration, live=interactive.duration,
    ),
    Kind(
        "autocorrelation", "Autocorrelation",
        "How strongly a value resembles the one so many days before; peaks are days and weeks.",
        "Mean autocorrelation of real and synthetic series up to two weeks.",
        rhythm.autocorrelation, live=interactive.autocorrelation,
    ),
    Kind(
        "spectrum", "Spectrum",
        "Share of each series' variance by time scale. Peaks at day and week are the rhythm; the slope is "
        "its roughness.",
        "Mean power spectrum of real and synthetic series with day and week marked.",
        rhythm.spectrum, live=interactive.spectrum,
    ),
    Kind(
        "values", "Distribution of values",
        "First all values, then how often large values are exceeded.",
        "Histograms and exceedance curves of real and synthetic values.",
        values.values, live=interactive.values,
    ),
    Kind(
        "levels", "Location and scale of series",
        "One point a series. The clouds should overlap; a clump is a generator that lost variety.",
        "Scatter plot of mean and standard deviation of every real and synthetic series.",
        values.levels, "svg", "shown", live=interactive.levels,
    ),
    Kind(
        "embedding", "All series at a glance",
        "Near points are series of similar shape, rhythm and level. Large t-SNE distances mean little.",
        "Two-dimensional maps of real and synthetic series by principal components and t-SNE.",
        population.embedding, "svg", "needed",
    ),
)  # fmt: skip


def select_pictures(real: Array, synthetic: Array, view: View, *, real_curves: bool = True) -> list[Picture]:
    """All pictures that make sense for the series, in the order of the report.

    Args:
        real: held-out series [n, L, C].
        real_curves: whether single real series are shown as they are; otherwise only what at least 15 of them
            have in common.
    """
    made = []
    with Progress("evaluate: pictures", len(KINDS), "kinds") as progress:
        for kind in KINDS:
            progress.advance()
            fits = kind.suits(real, view)
            if real_curves or (kind.single == "none" and len(real) >= FEWEST):
                shown = real
            elif kind.single == "shown":
                shown = real[:0]
            else:
                continue
            made += [kind.picture(shown, synthetic, view)] if fits else []
    return made


@dataclass(frozen=True)
class Drawings:
    """What a page shows of two sets of series."""

    pictures: list[Picture] = field(default_factory=list)
    first: Picture | None = None
    explorer: dict[str, Any] | None = None


def draw_all(real: Array, synthetic: Array, view: View, real_curves: bool) -> Drawings:
    """Everything; see `of`."""
    single = real if real_curves else real[:0]
    return Drawings(
        select_pictures(real, synthetic, view, real_curves=real_curves),
        draw_headline(single, synthetic, view),
        interactive.explorer(single, synthetic, view),
    )


def draw_headline(real: Array, synthetic: Array, view: View) -> Picture:
    """The small picture of the first screen: a week of a few series."""
    beside = "two real series on the left and two" if len(real) else "a few"
    alt = f"One week of {beside} synthetic series, drawn at random."
    return Picture(
        "first",
        "One week",
        "Drawn at random, not chosen.",
        alt,
        weeks(real, synthetic, view, count=2, width=5.4),
    )
