"""Hours that are missing or doubled at a change of clock: signs of local times without a zone."""

from dataclasses import dataclass

import numpy as np

from distgan.data.store.metadata import Axis, Meta

HOUR = 3600
MOST_YEARS = 8
HOURS = range(5)  # of the night, of which one may be skipped or repeated
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
    """A clock hour that looks wrong: which, and how."""

    hour: np.datetime64
    doubled: bool  # else missing


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
        looks = {day: self._find_changed_hour(night) for day, night in self._nights.items()}
        best: list[Change] = []
        for zone in ZONES:
            changes = []
            for doubled, sunday, hour in (
                (False, zone.forward, zone.skipped),
                (True, zone.back, zone.repeated),
            ):
                nights = [(day, looks[day]) for day in looks if _is_sunday(day, sunday)]
                wrong = [day for day, look in nights if look == (hour, doubled)]
                if wrong and len(wrong) >= 0.8 * len(nights):
                    changes += [Change(_list_hours(day)[hour], doubled) for day in wrong]
            best = max(best, changes, key=len)
        return best

    def _find_changed_hour(self, night: "_Night") -> tuple[int, bool] | None:
        """Return the one hour of a night that is missing (False) or doubled (True), compared with other
        weeks.
        """
        counts, sums = self._counts[night.places], self._sums[night.places]  # [3 weeks, hours, steps an hour]
        counts, sums = counts.mean(axis=2), sums.sum(axis=2)
        own, around = counts[0], counts[1:].mean(axis=0)
        usual = around > 0.3 * self._series
        missing = usual & (own <= 0.01 * self._series)
        if missing.sum() == 1 and (own[~missing] > 0.5 * around[~missing]).all():
            return int(np.argmax(missing)), False
        with np.errstate(all="ignore"):
            ratios = sums[0] / sums[1:].mean(axis=0)
        doubled = usual & (ratios > 1.6) & (ratios < 2.5)
        if doubled.sum() == 1 and self._series >= 10 and (np.abs(ratios[~doubled] - 1) < 0.35).all():
            return int(np.argmax(doubled)), True
        return None


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
    """Return the first hours of a day: datetime64[s] [hours]."""
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
