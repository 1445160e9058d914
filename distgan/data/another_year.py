"""Move series of one year to another: the day of the trained year that each day of the wanted year uses.

A wanted day is a trained day of the same weekday, as near in the season as there is one; a public holiday is
the holiday of the same name, or a Sunday where the trained year has none of that name, and no other day is a
holiday. Runs of whole weeks keep their order: only after 29 February, at holidays and at the ends of the year
does the distance change. Within a day, what people do follows the clock on the wall: where the zone's clock
is put forward on one of the two days and not on the other, the day is moved by that hour. Times are the
zone's standard time, as those of the data are.

Shapes: n series, C channels, L steps of a trained series, M steps of a moved one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.calendar import ISO_YEAR
from distgan.data.grid import DAY
from distgan.data.holidays import list_holidays
from distgan.data.store.metadata import Axis, Meta
from distgan.data.zones import find_standard_offset
from distgan.errors import UserError
from distgan.progress import format_count

YEARS = (365, 366)  # days of a series that can be moved
WRAPPED = 0.5  # days that a trained day counts as farther away where it lies beyond the end of the year
UNSTEADY = 0.25  # and where it does not follow the trained day before it
SUNDAY = 6


@dataclass(frozen=True)
class AnotherYear:
    """The axis of moved series, the step of a trained series that each of its steps is, [M], and what was
    assumed, in lines for a README.
    """

    axis: Axis
    steps: np.ndarray
    assumptions: tuple[str, ...]

    @classmethod
    def choose(
        cls, meta: Meta, start: str, zone: str | None = None, country: str | None = None
    ) -> "AnotherYear":
        """Move the year of `meta` to the one that begins on the date `start`.

        Args:
            zone: whose clock changes count; `meta` has its standard time.
            country: whose public holidays count, e.g. GB-ENG.

        Raises:
            UserError: the series have no calendar, or are not of one year.
        """
        refuse_other_series(meta)
        first, per_day = date.fromisoformat(start), DAY // meta.axis.step_seconds
        trained = meta.axis.list_times()
        before = trained[::per_day].astype("M8[D]")
        clock = trained[0] - before[0]
        after = np.arange(np.datetime64(first), np.datetime64(_year_later(first)))
        kinds = [describe_days(days, country) for days in (before, after)]
        days = match_days(before, after, kinds[0], kinds[1])
        axis = Axis(str(after[0] + clock), meta.axis.step_seconds, len(after) * per_day, leap_days=True)
        steps = (days[:, None] * per_day + np.arange(per_day)).ravel()
        moved, left, notes = 0, False, [describe_match(before, after, days, country)]
        if zone is not None:
            shift = shift_clocks(axis.list_times(), trained, steps, zone)
            whole = shift % meta.axis.step_seconds == 0
            moved = len(np.unique(np.flatnonzero(whole & (shift != 0)) // per_day))
            later = np.where(whole, shift // meta.axis.step_seconds, 0)
            steps, left = np.clip(steps + later, 0, len(trained) - 1), not whole.all()
        notes += [
            describe_clock(zone, moved, meta.axis.step_seconds if left else None),
            describe_holidays(country, kinds[1]),
        ]
        notes.append("Weather, prices and all that has dates of its own are those of the trained year.")
        return cls(axis, steps, tuple(notes))

    def move(self, values: np.ndarray) -> np.ndarray:
        """Move series [n, L, C] of the trained year to the wanted one: [n, M, C]."""
        return values[:, self.steps]

    def describe(self, meta: Meta) -> Meta:
        """Describe the moved series."""
        return replace(meta, axis=self.axis)


def refuse_other_series(meta: Meta) -> None:
    """
    Raises:
        UserError: the series have no calendar, or are not of one year.
    """
    axis, leave = meta.axis, "leave generate.start out"
    if meta.is_nominal:
        raise UserError(f"generate.start needs series with times, and the source of these has none; {leave}")
    if "windows" in meta.provenance:
        raise UserError(
            f"generate.start moves series of a year, and these are windows (data.windows); {leave}"
        )
    years = meta.provenance.get("years", [])
    if len(years) > 1 and axis.length * axis.step_seconds != ISO_YEAR:
        raise UserError(
            f"generate.start needs weekdays, and series of {min(years)} to {max(years)} stand on one axis "
            f"(data.cut=years), where a day has none; train on one year, or {leave}"
        )
    days = axis.length * axis.step_seconds / DAY
    if DAY % axis.step_seconds or days not in YEARS:
        raise UserError(
            f"generate.start moves series of a year (365 or 366 days), and these have {axis.length:,} steps "
            f"of {axis.step_seconds:,} s, {days:g} days; train on one calendar year "
            f"(data.axis, data.cut=years), or {leave}"
        )


def _year_later(first: date) -> date:
    """Return the same day of the next year; 1 March after 29 February."""
    if (first.month, first.day) == (2, 29):
        return date(first.year + 1, 3, 1)
    return first.replace(year=first.year + 1)


def describe_days(days: np.ndarray, country: str | None) -> list[str]:
    """Return the public holiday that each day is, "" for others: datetime64[D] [n] -> [n]."""
    if country is None:
        return [""] * len(days)
    names: Mapping[date, str] = list_holidays(
        country, [int(str(year)) for year in np.unique(days.astype("M8[Y]"))]
    )
    return [names.get(day, "") for day in days.astype(object)]


def match_days(before: np.ndarray, after: np.ndarray, holidays: list[str], wanted: list[str]) -> np.ndarray:
    """Return the trained day that each wanted day is: datetime64[D] [n], [m] and their holidays -> int64
    [m].
    """
    seasons, weekdays = find_seasons(before), find_weekdays(before)
    named, found = np.array(holidays), np.empty(len(after), np.int64)
    for place, (season, weekday) in enumerate(zip(find_seasons(after), find_weekdays(after))):
        name = wanted[place]
        fits = named == name if name else (weekdays == weekday) & (named == "")
        if not fits.any():
            fits = (weekdays == SUNDAY) & (named == "")
        straight = np.abs(seasons - season)
        distance = np.minimum(straight, 365 - straight + WRAPPED)
        steady = np.zeros(len(before))
        if place and found[place - 1] + 1 < len(before):
            steady[found[place - 1] + 1] = UNSTEADY
        found[place] = np.argmin(np.where(fits, distance - steady, np.inf))
    return found


def find_seasons(days: np.ndarray) -> np.ndarray:
    """Return the day of a year of 365 days: datetime64[D] [n] -> [n]. 29 February is half a day after the
    28th.
    """
    years = days.astype("M8[Y]")
    number = (days - years.astype("M8[D]")).astype(np.float64)
    leap = ((years + 1).astype("M8[D]") - years.astype("M8[D]")).astype(int) == 366
    return np.where(leap & (number == 59), 58.5, number - (leap & (number > 59)))


def find_weekdays(days: np.ndarray) -> np.ndarray:
    """Return Monday 0 to Sunday 6: datetime64[D] [n] -> [n]. 1 January 1970 was a Thursday."""
    found: np.ndarray = (days.astype(np.int64) + 3) % 7
    return found


def shift_clocks(wanted: np.ndarray, trained: np.ndarray, steps: np.ndarray, zone: str) -> np.ndarray:
    """Return how much later in standard time each wanted step lies in the trained year, s int64 [M]: the
    clock's difference between the two.
    """
    return find_summer_time(wanted, zone) - find_summer_time(trained, zone)[steps]


def find_summer_time(times: np.ndarray, zone: str) -> np.ndarray:
    """Return how far the zone's clock is ahead of standard time: datetime64[s] [n] in standard time -> s
    [n].
    """
    offset = np.timedelta64(int(find_standard_offset(zone, times[0], times[-1])[0].total_seconds()), "s")
    local = pd.DatetimeIndex(times - offset).tz_localize("UTC").tz_convert(zone).tz_localize(None)
    found: np.ndarray = (local.to_numpy().astype("M8[s]") - times).astype(np.int64)
    return found


def describe_match(before: np.ndarray, after: np.ndarray, days: np.ndarray, country: str | None) -> str:
    holiday = "" if country is None else " (a public holiday: of the same name, or a Sunday)"
    away = np.abs(find_seasons(before)[days] - find_seasons(after))
    farthest = format_count(int(np.ceil(np.minimum(away, 365 - away).max())), "day")
    return (
        f"{after[0]} to {after[-1]}: every day is a day of the trained year ({before[0]} to {before[-1]}) of "
        f"the same weekday{holiday}, {farthest} away in the season at most."
    )


def describe_clock(zone: str | None, moved: int, step: int | None = None) -> str:
    """Describe what becomes of clock changes: the number of days that they move; the `step`, in seconds, if
    some are no whole steps.
    """
    if zone is None:
        return "Clock changes are where the trained year has them: data.timezone names no zone."
    if step is not None:
        return f"Clock changes of {zone} are no whole steps of {step} s and are left as in the trained year."
    days = f"{format_count(moved, 'day')} {'is' if moved == 1 else 'are'} moved by its clock changes"
    return f"Times are the standard time of {zone}; {days}."


def describe_holidays(country: str | None, wanted: list[str]) -> str:
    if country is None:
        return "Public holidays are ignored: data.holidays names no country."
    count = sum(name != "" for name in wanted)
    return f"Public holidays are those of {country}, {format_count(count, 'day')}."


def find_year(meta: Meta, start: str | None, data: config.Data) -> AnotherYear | None:
    """Return the year that `generate.start` asks for, by the zone and holidays of the settings `data`; None
    where it asks for none.

    Raises:
        UserError: as `AnotherYear.choose`.
    """
    return None if start is None else AnotherYear.choose(meta, start, data.timezone, data.holidays)
