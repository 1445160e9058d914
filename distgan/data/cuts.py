"""Cut series into years, or use them whole, and merge steps into longer ones."""

from calendar import isleap
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from distgan import config
from distgan.data.calendar import (
    ISO_YEAR,
    find_first_monday,
    list_steps_of_iso_year,
    list_steps_of_year,
)
from distgan.data.formats.sources import Source
from distgan.data.grid import DAY, to_float32
from distgan.data.store.metadata import Axis, Meta
from distgan.errors import UserError


@dataclass(frozen=True)
class Cut:
    """The part that is taken of every series: all of it, or one calendar year; then merged steps."""

    reduce: config.Reduce
    year: int | None = None
    there: np.ndarray | None = None  # which steps of the year the source has
    places: np.ndarray | None = None  # and where

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return [n, L', C] for [n, L, C] of the source."""
        if self.there is not None:
            year = np.full((len(values), len(self.there), values.shape[2]), np.nan, dtype=np.float32)
            year[:, self.there] = values[:, self.places]
            values = year
        return reduce_steps(values, self.reduce)


def plan_pieces(source: Source, settings: config.Data) -> tuple[list[Cut], Meta, int]:
    """Return what to take of every series, what that means, and how many years are incomplete."""
    meta, incomplete = source.meta, 0
    pieces = [Cut(settings.reduce)]
    if settings.cut != "whole":
        pieces, meta, incomplete = _cut_years(source, settings)
    return pieces, _reduce_meta(meta, settings.reduce), incomplete


def name_year(settings: config.Data) -> str:
    """Return what `data.cut` takes for a year."""
    return "ISO year" if settings.cut == "iso_years" else "calendar year"


def _cut_years(source: Source, settings: config.Data) -> tuple[list[Cut], Meta, int]:
    """Make a series of every year of which enough is there: from 1 January, of 365 days, or of 366 where
    29 February is kept (missing in common years); or of 52 ISO weeks from a Monday.
    """
    axis = source.meta.axis
    if DAY % axis.step_seconds:
        raise UserError(
            f"data.cut={settings.cut} needs a step that divides a day; {axis.step_seconds} s does not"
        )
    if settings.cut == "iso_years" and source.meta.is_nominal:
        raise UserError(f"data.cut=iso_years needs times, and {settings.source} has none; set data.cut=whole")
    times, list_times = axis.list_times(), _choose_calendar(settings, axis.step_seconds)
    first, last = (when.astype("M8[D]").item() for when in (times[0], times[-1]))
    found: list[Cut] = []
    incomplete = 0
    for year in range(first.isocalendar().year if settings.cut == "iso_years" else first.year, last.year + 1):
        calendar = list_times(year)
        places = np.searchsorted(times, calendar).clip(max=len(times) - 1)
        there = (times[places] == calendar) & ~np.isnat(calendar)
        if there.sum() < (1 - settings.max_missing) * np.count_nonzero(~np.isnat(calendar)):
            incomplete += 1
            continue
        found.append(Cut(settings.reduce, year, there, places[there]))
    if not found:
        raise UserError(
            f"{settings.source} has no complete {name_year(settings)} between {times[0]} and {times[-1]}; "
            "set data.cut=whole"
        )
    years = [cut.year for cut in found if cut.year is not None]
    provenance = source.meta.provenance | {"years": years}
    meta = replace(source.meta, axis=_choose_axis(settings, axis.step_seconds, years), provenance=provenance)
    return found, meta, incomplete


def _choose_calendar(settings: config.Data, step: int) -> Callable[[int], np.ndarray]:
    """Return what lists the times of the steps of a year."""
    if settings.cut == "iso_years":
        return partial(list_steps_of_iso_year, step=step)
    keep = settings.leap_days == "keep"
    return partial(list_steps_of_year, step=step, length=(366 if keep else 365) * DAY // step, keep=keep)


def _choose_axis(settings: config.Data, step: int, years: list[int]) -> Axis:
    """Return the axis of all years: of the first, or of the first leap year where 29 February is kept."""
    if settings.cut == "iso_years":
        return Axis(f"{find_first_monday(years[0])}T00:00:00", step, ISO_YEAR // step, leap_days=True)
    keep = settings.leap_days == "keep"
    first = next((year for year in years if not keep or isleap(year)), 2000)
    return Axis(f"{first}-01-01T00:00:00", step, (366 if keep else 365) * DAY // step, leap_days=keep)


def _reduce_meta(meta: Meta, settings: config.Reduce) -> Meta:
    factor, length = settings.factor, meta.axis.length
    if factor == 1:
        return meta
    if length % factor or length == factor:
        divisors = [d for d in range(2, length // 2 + 1) if length % d == 0]
        nearest = sorted(divisors, key=lambda divisor: abs(divisor - factor))[:2]
        use = " or ".join(map(str, nearest)) or "1"
        raise UserError(
            f"data.reduce.factor {factor} does not divide the {length} steps of a series; use {use}, or "
            "leave steps out at an end (data.axis)"
        )
    axis = replace(meta.axis, step_seconds=meta.axis.step_seconds * factor, length=length // factor)
    reduction: dict[str, Any] = {"factor": factor, "method": settings.method}
    if meta.reduction:
        reduction["before"] = meta.reduction
    return replace(meta, axis=axis, reduction=reduction)


def reduce_steps(values: np.ndarray, settings: config.Reduce) -> np.ndarray:
    """Sum or mean over `factor` steps; a merged step with a missing part is missing."""
    factor = settings.factor
    if factor == 1:
        return values
    parts = values.reshape(len(values), values.shape[1] // factor, factor, -1)
    merged = parts.sum(axis=2, dtype=np.float64)
    return to_float32(merged / factor if settings.method == "mean" else merged)
