"""Time zones: local or UTC times -> the zone's standard time all year, by the zone database.

Standard time is winter time, the smallest UTC offset of the year, whatever the database calls it: in
Europe/Dublin and Africa/Casablanca it calls summer time standard and winter time daylight saving.
"""

import zoneinfo
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from distgan.errors import UserError


def mark_repeated(times: np.ndarray, zone: str) -> np.ndarray:
    """Return which local times stand twice on the clock, where it is put back: bool [n]."""
    unique, where = np.unique(times, return_inverse=True)
    early, late = find_instants(unique, zone)
    return np.asarray(early != late)[where]


def mark_skipped(times: np.ndarray, zone: str) -> np.ndarray:
    """Return which local times the clock skips, where it is put forward: bool [n]."""
    unique, where = np.unique(times, return_inverse=True)
    found = pd.DatetimeIndex(unique).tz_localize(
        zone, ambiguous=np.ones(len(unique), bool), nonexistent="NaT"
    )
    return np.asarray(found.isna())[where]


def find_instants(times: np.ndarray, zone: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the UTC times that local times may be, the earlier and the later, alike but for repeated hours:
    datetime64[us] [n] each. A skipped time counts as the end of the skipped hour.
    """
    index = pd.DatetimeIndex(times)
    early, late = (_localise(index, np.full(len(index), first), zone) for first in (True, False))
    return early, late


def _localise(index: pd.DatetimeIndex, first: np.ndarray, zone: str) -> np.ndarray:
    forward: Any = "shift_forward"
    found = index.tz_localize(zone, ambiguous=first, nonexistent=forward)
    return found.tz_convert("UTC").tz_localize(None).to_numpy().astype("M8[us]")


NONE_SEEN = np.empty((0, 2), np.int64)


def mark_second_pass(
    times: np.ndarray, keys: np.ndarray, seen: np.ndarray, zone: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return which local times are read after the clock was put back, where an hour stands twice on it.

    The order of each key's rows tells: the second pass begins where its clock goes back within the hour.
    Where it never does, as when rows are sorted by the clock, the second of two equal times is of that pass,
    and what follows it alone, too, if other rows of the day are in the order of time.
    Of an hour that stands once only, all times are of the first pass.

    Args:
        times: datetime64[us] [n], in the order of the file. keys: whose each is, int64 [n].
        seen: keys and times of repeated hours in earlier parts of the file, int64 [m, 2].

    Returns:
        bool [n], and `seen` with those of this part.

    Raises:
        UserError: the rows of the day are in no such order.
    """
    second = np.zeros(len(times), dtype=bool)
    doubtful = np.flatnonzero(mark_repeated(times, zone))
    if not len(doubtful):
        return second, seen
    marks = np.stack([keys[doubtful], times[doubtful].astype("M8[us]").astype(np.int64)], axis=1)
    every = np.concatenate([seen, marks])
    passes = _find_passes(every)
    second[doubtful] = passes["second"].to_numpy()[len(seen) :]
    bad = doubtful[passes["unclear"].to_numpy()[len(seen) :]].tolist()
    days = passes.loc[passes["second"], ["key", "day", "back"]].groupby(["key", "day"]).max().reset_index()
    if len(days):
        bad += _select_falling(times, keys, second, days, zone)
    if bad:
        raise UserError(
            f"{pd.Timestamp(times[bad[0]])} is on a day on which {zone} puts the clock back, and the rows of "
            "this day do not tell the passes of the repeated hour apart; sort the rows as they were read and "
            "remove repeated ones, or export the times in UTC"
        )
    return second, every


DAY_US = 86_400_000_000


def _find_passes(rows: np.ndarray) -> pd.DataFrame:
    """Return for keys and times within repeated hours (int64 [n, 2], in file order): whether each is of the
    second pass, whether the order leaves that unclear, and whether its clock has gone back.
    """
    table = pd.DataFrame({"key": rows[:, 0], "time": rows[:, 1], "day": rows[:, 1] // DAY_US})
    groups = [table["key"], table["day"]]
    step = table.groupby(groups, sort=False)["time"].diff()
    backs = (step < 0).groupby(groups, sort=False).cumsum()
    count = table.groupby(["key", "time"], sort=False).cumcount()
    equals = (count > 0).groupby(groups, sort=False).cumsum()
    alone = ~table.duplicated(["key", "time"], keep=False)
    last = ~table.duplicated(["key", "day"], keep="last")  # its equal may stand in the next part
    equal_steps = (step == 0).groupby(groups, sort=False).cumsum()
    table["back"] = backs > 0
    by_time = table.groupby("day", sort=False)["back"].transform("any")  # rows of others are in this order
    late = alone & last & (backs == 0) & (equals > 0) & by_time
    table["second"] = table["back"] | (count > 0) | late
    lost = alone & ~last & (backs == 0) & (equals > 0)
    table["unclear"] = (backs > 1) | (count > 1) | (table["back"] & (equal_steps > 0)) | lost
    return table


def _select_falling(
    times: np.ndarray, keys: np.ndarray, second: np.ndarray, days: pd.DataFrame, zone: str
) -> list[int]:
    """Return the rows that fall in time on days of repeated hours (by the clock, if it never goes back)."""
    rows = pd.DataFrame({"key": keys, "day": times.astype("M8[us]").astype(np.int64) // DAY_US})
    back = rows.merge(days, "left", ["key", "day"])["back"]
    chosen = np.flatnonzero(back.notna())
    early, late = find_instants(times[chosen], zone)
    instants = np.where(second[chosen], late, early)
    when = pd.Series(np.where(back.iloc[chosen].astype(bool), instants, times[chosen].astype("M8[us]")))
    steps = when.groupby([rows["key"].to_numpy()[chosen], rows["day"].to_numpy()[chosen]]).diff()
    return chosen[np.asarray(steps < pd.Timedelta(0))].tolist()


@lru_cache
def _list_offsets(zone: str, year: int) -> tuple[timedelta, ...]:
    """Return the UTC offset at noon of each day of a year."""
    place = zoneinfo.ZoneInfo(zone)
    days = (datetime(year, 1, 1, 12, tzinfo=UTC) + timedelta(days=day) for day in range(365))
    return tuple(day.astimezone(place).utcoffset() or timedelta(0) for day in days)


def find_standard_offset(
    zone: str, first: np.datetime64, last: np.datetime64
) -> tuple[timedelta, str | None]:
    """Return the UTC offset of the zone's standard time from `first` to `last`, and a note if it changed.

    One offset holds for all of the data, so that no hour is missing or stands twice: that of the most years.
    """
    years = range(
        *(int(time.astype("M8[Y]").astype(int)) + 1970 + end for time, end in ((first, 0), (last, 1)))
    )
    each = {year: min(_list_offsets(zone, year)) for year in years}
    counts = list(each.values())
    offset = max(dict.fromkeys(counts), key=counts.count)
    if len(set(counts)) == 1:
        return offset, None
    changed = next(year for year in years if each[year] != offset)
    return offset, (
        f"{zone} had another standard time in {changed} (UTC{format_offset(each[changed])}); all times of "
        f"the data are given at UTC{format_offset(offset)}"
    )


def format_offset(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def list_abbreviations(zone: str, years: range) -> dict[str, set[timedelta]]:
    """Return the offsets that each abbreviation of the zone (`CET`, `CEST`) stands for in these years."""
    place, found = zoneinfo.ZoneInfo(zone), dict[str, set[timedelta]]()
    for year in years:
        for day in range(365):
            moment = (datetime(year, 1, 1, 12, tzinfo=UTC) + timedelta(days=day)).astimezone(place)
            found.setdefault(str(moment.tzname()).upper(), set()).add(moment.utcoffset() or timedelta(0))
    return found


def to_standard_time(
    times: np.ndarray,
    second: np.ndarray,
    zone: str,
    utc: bool,
    source: str,
    span: tuple[np.datetime64, np.datetime64] | None = None,
) -> np.ndarray:
    """Return local (or UTC) times as the zone's standard time all year: datetime64[s] [n].

    Args:
        times: datetime64[us] [n].
        second: which of repeated local times are the later ones, bool [n].
        span: the first and the last time of all the data, where `times` are a part of them.

    Raises:
        UserError: a local time does not exist in the zone (a clock put forward skips it).
    """
    first, last = (times.min(), times.max()) if span is None else span
    offset, _ = find_standard_offset(zone, first, last)
    pairs = times.astype("M8[us]").astype(np.int64) * 2 + (second & (not utc))
    unique, where = np.unique(pairs, return_inverse=True)
    instants = (unique // 2).astype("M8[us]")
    if not utc:
        skipped = mark_skipped(instants, zone)
        if skipped.any():
            never = pd.Timestamp(instants[np.flatnonzero(skipped)[0]])
            raise UserError(
                f"{source}: {never} does not exist in {zone}, where the clock is put forward then; if the "
                "times are standard time all year or UTC, leave data.timezone out; if the hour is filled in, "
                "remove it"
            )
        instants = _localise(pd.DatetimeIndex(instants), unique % 2 == 0, zone)
    return (instants + np.timedelta64(offset)).astype("M8[s]")[where]
