"""Hours that are missing or doubled at a change of clock: signs of local times without a zone."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from distgan.data.store.metadata import Axis, Meta

HOUR = 3600
MOST_YEARS = 8
HOURS = (*range(5), 22, 23, 24)  # of the night, of which one may be skipped or repeated, and at its day's end
NIGHT = 5  # hours of the night
LAST = (23, 24)  # hours of the day, numbered by their start or their end
WEEK = 7 * 86400
Sunday = tuple[int, int]  # a month, and which Sunday of it; -1 is the last


@dataclass(frozen=True)
class Zone:
    """A zone where clocks go forward on one Sunday, from this hour, and back on another, to that hour."""

    forward: Sunday
    skipped: int
    back: Sunday
    repeated: int


ZONES = (
    Zone((3, -1), 1, (10, -1), 1),  # Britain, Ireland, Portugal
    Zone((3, -1), 2, (10, -1), 2),  # central Europe
    Zone((3, -1), 3, (10, -1), 3),  # eastern Europe
    Zone((3, 2), 2, (11, 1), 1),  # North America
    Zone((10, 1), 2, (4, 1), 2),  # Australia
    Zone((9, -1), 2, (4, 1), 2),  # New Zealand
)


@dataclass(frozen=True)
class Change:
    """A clock hour that looks wrong: which, and the suspicion."""

    hour: np.datetime64
    name: str


@dataclass(frozen=True)
class Meaning:
    """How serious a suspicion about clock hours is, what looks wrong, and the setting that acts."""

    severity: Literal["error", "warning"]
    what: str
    advice: str


MEANINGS = {
    "doubled_hour": Meaning(
        "error",
        "holds twice as much as a week before and after: times seem to be local, with daylight saving",
        "set data.timezone to the zone of the times, or data.duplicates=mean",
    ),
    "last_hour": Meaning(
        "error",
        "is missing in every series on a day on which clocks are put forward, and the hour that they skip is "
        "not: hours seem to be counted from midnight, and are read as hours of the clock",
        "set data.timezone to the zone, and data.date_format='periods:1h' with the length of a period; of a "
        "table with a row a day, write a row a reading first (pandas: melt)",
    ),
    "missing_hour": Meaning(
        "warning",
        "is missing in every series: times seem to be local, with daylight saving",
        "set data.timezone to the zone of the times",
    ),
}


class ClockChanges:
    """Counts and sums of all series in the nights in which clocks change somewhere, and a week before and
    after.
    """

    def __init__(self, meta: Meta) -> None:
        self.steps, self._nights = _find_places(meta)
        self._counts = np.zeros(len(self.steps), np.int64)  # of values that are there and not zero
        self._sums = np.zeros(len(self.steps))
        self._series = 0

    def add(self, values: np.ndarray) -> None:
        """Take float32 [n, L, C]."""
        if not len(self.steps):
            return
        nights = np.nan_to_num(values[:, self.steps], nan=0.0)
        self._counts += np.count_nonzero(nights, axis=(0, 2))
        self._sums += nights.sum(axis=(0, 2), dtype=np.float64)
        self._series += values.shape[0] * values.shape[2]

    def find_changes(self) -> list[Change]:
        """Return the hours of one zone's changes that no series has, or that hold twice what they hold a
        week before and after, in all years.
        """
        looks = {day: self._find_changed_hour(day, night) for day, night in self._nights.items()}
        best: list[Change] = []
        for zone in ZONES:
            changes = []
            for name, sunday, hours in (
                ("missing_hour", zone.forward, (zone.skipped,)),
                ("last_hour", zone.forward, LAST),
                ("doubled_hour", zone.back, (zone.repeated,)),
            ):
                nights = [looks[day] for day in looks if _is_sunday(day, sunday)]
                wrong = [look for look in nights if look and look.name == name and look.number in hours]
                if wrong and len(wrong) >= 0.8 * len(nights):
                    changes += [Change(look.hour, name) for look in wrong]
            best = max(best, changes, key=len)
        return best

    def _find_changed_hour(self, day: np.datetime64, night: "_Night") -> "_Look | None":
        """Return the one hour of a night that is missing or doubled, compared with other weeks."""
        counts, sums = self._counts[night.places], self._sums[night.places]  # [3 weeks, hours, steps an hour]
        counts, sums = counts.mean(axis=2), sums.sum(axis=2)
        own, around = counts[0], counts[1:].mean(axis=0)
        usual = around > 0.3 * self._series
        missing = usual & (own <= 0.01 * self._series)
        if missing.sum() == 1 and (own[~missing] > 0.5 * around[~missing]).all():
            place = int(np.argmax(missing))
            return _Look(day, HOURS[place], "missing_hour" if place < NIGHT else "last_hour")
        with np.errstate(all="ignore"):
            ratios = (sums[0] / sums[1:].mean(axis=0))[:NIGHT]
        doubled = usual[:NIGHT] & (ratios > 1.6) & (ratios < 2.5)
        if doubled.sum() == 1 and self._series >= 10 and (np.abs(ratios[~doubled] - 1) < 0.35).all():
            return _Look(day, HOURS[int(np.argmax(doubled))], "doubled_hour")
        return None


@dataclass(frozen=True)
class _Look:
    """What one night shows: the number of the hour that looks wrong, and the suspicion."""

    day: np.datetime64
    number: int
    name: str

    @property
    def hour(self) -> np.datetime64:
        return self.day.astype("M8[s]") + np.timedelta64(self.number * HOUR, "s")


@dataclass(frozen=True)
class _Night:
    """Places of a night in `ClockChanges.steps`: of this night, a week before, and a week after."""

    places: np.ndarray  # [3, hours, steps an hour]


def _find_places(meta: Meta) -> tuple[np.ndarray, dict[np.datetime64, _Night]]:
    """Return the steps of the axis to look at, ascending, and the nights that they belong to, by day."""
    axis, step = meta.axis, meta.axis.step_seconds
    if meta.is_nominal or step > HOUR or HOUR % step or not axis.leap_days:
        return np.empty(0, np.int64), {}
    found = {
        day: steps
        for day in _list_sundays(axis)
        if (steps := _find_steps(axis, _list_hours(day))) is not None
    }
    if not found:
        return np.empty(0, np.int64), {}
    every = np.unique(np.concatenate([steps.ravel() for steps in found.values()]))
    return every, {day: _Night(np.searchsorted(every, steps)) for day, steps in found.items()}


def _list_sundays(axis: Axis) -> list[np.datetime64]:
    """Return the Sundays on which clocks change somewhere, in the first years of an axis."""
    first, last = int(axis.start[:4]), int(str(axis.list_times()[-1])[:4])
    rules = {sunday for zone in ZONES for sunday in (zone.forward, zone.back)}
    years = range(first, min(last, first + MOST_YEARS) + 1)
    return sorted({_find_sunday(year, *rule) for year in years for rule in rules})


def _list_hours(day: np.datetime64) -> np.ndarray:
    """Return the hours of a day that are looked at: datetime64[s] [hours]."""
    return day.astype("M8[s]") + np.array(HOURS) * np.timedelta64(HOUR, "s")


def _is_sunday(day: np.datetime64, rule: Sunday) -> bool:
    return bool(day == _find_sunday(int(str(day)[:4]), *rule))


def _find_sunday(year: int, month: int, which: int) -> np.datetime64:
    """Return a Sunday of a month, counted from 1; -1 is the last one."""
    days = np.arange(f"{year}-{month:02d}", np.datetime64(f"{year}-{month:02d}", "M") + 1, dtype="M8[D]")
    sundays = days[(days.astype(np.int64) + 3) % 7 == 6]  # 1 January 1970 was a Thursday
    return np.datetime64(sundays[which - 1 if which > 0 else which])


def _find_steps(axis: Axis, hours: np.ndarray) -> np.ndarray | None:
    """Return the steps of these hours, and of the same a week before and after: [3, hours, steps an hour]."""
    inside = np.arange(HOUR // axis.step_seconds) * axis.step_seconds
    elapsed = (hours - np.datetime64(axis.start, "s")).astype(np.int64)
    seconds = elapsed[None, :, None] + np.array([0, -WEEK, WEEK])[:, None, None] + inside
    first = int(seconds.min() % axis.step_seconds)  # axes may begin at a quarter past
    steps = (seconds + (axis.step_seconds - first) % axis.step_seconds) // axis.step_seconds
    if steps.min() < 0 or steps.max() >= axis.length:
        return None
    found: np.ndarray = steps
    return found
