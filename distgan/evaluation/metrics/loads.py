"""Figures for network planners: all series together, their peak, ramps, weekdays and weekends.

For values that are never negative, with several steps a day. Figures are means per series, and both sides
have the same number of series, since the peak of a sum depends on it (diversity: not all peak at once).
Shapes: n series, L steps.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from distgan.evaluation.metrics.descriptors import Array
from distgan.evaluation.metrics.plain_statistics import DIGITS, GROUP
from distgan.evaluation.typed_json import JsonResult
from distgan.progress import format_digits
from distgan.rng import make_keyed_generator

DRAWS = 20  # of as many series from the larger set
OF_HOURS, OF_WEEKDAYS = ("hour",), ("weekday", "weekend")  # figures of a known time
OF_SUMS = ("admd", "coincidence", "factor", "ramp_sum")  # figures that depend on the number of series


class LoadFigure(JsonResult):
    """A figure of all series together, real and synthetic."""

    title: str
    meaning: str
    unit: str
    real: float
    synthetic: float


class LoadFigures(JsonResult):
    """The table of loads; `count` series of either side are aggregated. `channel` is "" for an only one."""

    count: int
    unit: str
    rows: list[LoadFigure]
    sentence: str
    channel: str = ""

    def name_channel(self, channel: str) -> Self:
        """Return the same table, which states whose of several channels it is."""
        sentence = f"Of the channel {channel}: {self.sentence}"
        return self.model_copy(update={"channel": channel, "sentence": sentence})


@dataclass(frozen=True)
class Calendar:
    """The local times of all series [L]; whether the times of the day are known, and the weekdays."""

    times: Array
    has_hours: bool = True
    has_weekdays: bool = True

    @property
    def weekend(self) -> Array:
        return is_weekend(self.times)

    @property
    def hours(self) -> Array:
        """The hour of the day of each step, [L]."""
        return (self.times - self.times.astype("M8[D]")).astype("m8[s]").astype(float) / 3600


def describe_loads(
    real: Array, synthetic: Array, calendar: Calendar, unit: str, *, owners: int, anonymous: bool
) -> LoadFigures | None:
    """Compute figures of all series together, without those of a time that is unknown.

    Args:
        real, synthetic: [n, L], [m, L], NaN where missing; at each step all are at the same time of the day.
        owners: of the real series.
        anonymous: give no figure of fewer than `GROUP` real owners, and round all.

    Returns:
        None where there are too few series or owners.
    """
    count = min(len(real), len(synthetic))
    if count < 2 or (anonymous and (owners < GROUP or count < GROUP)):
        return None
    weekend, hours = calendar.weekend, calendar.hours
    sides = [_average_figures(some, count, weekend, hours) for some in (real, synthetic)]
    unknown = {*(() if calendar.has_hours else OF_HOURS), *(() if calendar.has_weekdays else OF_WEEKDAYS)}
    digits = DIGITS if anonymous else 4
    rows = [
        LoadFigure(
            title=title,
            meaning=meaning,
            unit=unit if of_value else own,
            real=_round(sides[0][name], digits),
            synthetic=_round(sides[1][name], digits),
        )
        for name, title, meaning, own, of_value in FIGURES
        if name not in unknown and all(np.isfinite(side[name]) for side in sides)
    ]
    found = {row.title: row for row in rows}
    peak = found[FIGURES[1][1]]
    shown = f" {unit}" if unit else ""
    sentence = (
        f"{count:,} series together reach a highest demand per series of "
        f"{format_digits(peak.synthetic, 3)}{shown} (synthetic) and "
        f"{format_digits(peak.real, 3)}{shown} (real)."
    )
    return LoadFigures(count=count, unit=unit, rows=rows, sentence=sentence)


FIGURES: Sequence[tuple[str, str, str, str, bool]] = (
    ("mean", "mean", "of all series and steps", "", True),
    (
        "admd",
        "after-diversity maximum demand",
        "the highest value of the sum of all series, divided by their number: what a shared line must carry "
        "for each",
        "",
        True,
    ),
    ("single", "mean of the single peaks", "what each line would need if none were shared", "", True),
    (
        "coincidence",
        "coincidence factor",
        "after-diversity maximum demand over the mean of the single peaks: 1 if all peak at once",
        "",
        False,
    ),
    ("factor", "load factor of the sum", "its mean over its highest value", "", False),
    ("hour", "hour of the highest mean demand", "over the mean day of all series", "h", False),
    ("ramp_sum", "steepest rise of the sum", "from one step to the next, per series", "", True),
    ("ramp", "99 % ramp of single series", "change to the next step, either way, that 1 % exceed", "", True),
    ("weekday", "mean on weekdays", "", "", True),
    ("weekend", "mean on weekends", "", "", True),
)  # fmt: skip


def _average_figures(values: Array, count: int, weekend: Array, hours: Array) -> dict[str, float]:
    """Compute the figures of all series, and average those of a sum over draws of `count` series.

    An hour of the day has no mean, and a figure of single series needs no draws.
    """
    every = _measure_figures(values, weekend, hours)
    if len(values) <= count:
        return every
    rng = make_keyed_generator(0, 0, "load figures")
    found = [
        _measure_figures(values[rng.permutation(len(values))[:count]], weekend, hours) for _ in range(DRAWS)
    ]
    return every | {name: float(np.mean([each[name] for each in found])) for name in OF_SUMS}


def _measure_figures(values: Array, weekend: Array, hours: Array) -> dict[str, float]:
    """Compute all figures of one set: [n, L]."""
    total = compute_mean_demand(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a series that is missing throughout
        single = np.nanmean(np.nanmax(values, axis=1))
        ramps = np.abs(np.diff(values, axis=1))
        ramp = np.nanquantile(ramps, 0.99) if np.isfinite(ramps).any() else np.nan
        peak, mean = np.nanmax(total), np.nanmean(total)
        places, codes = np.unique(hours, return_inverse=True)
        day = [np.nanmean(total[codes == code]) for code in range(len(places))]
        return {
            "mean": float(mean),
            "admd": float(peak),
            "single": float(single),
            "coincidence": float(peak / single) if single > 0 else np.nan,
            "factor": float(mean / peak) if peak > 0 else np.nan,
            "hour": float(places[int(np.nanargmax(day))]),
            "ramp_sum": float(np.nanmax(np.diff(total))),
            "ramp": float(ramp),
            "weekday": float(np.nanmean(total[~weekend])),
            "weekend": float(np.nanmean(total[weekend])),
        }


def compute_mean_demand(values: Array) -> Array:
    """Return the mean over measured series at each step, that is the total demand per series: [n, L] ->
    [L].
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=0, dtype=np.float64))


def is_weekend(times: Array) -> Array:
    """Return whether each local time is on a Saturday or Sunday: [L]."""
    return np.asarray((times.astype("datetime64[D]").astype(int) + 3) % 7 >= 5)  # 1970-01-01 was a Thursday


def _round(value: float, digits: int) -> float:
    return float(f"{value:.{digits - 1}e}")
