"""Which of the numbers of a date is the day: decided by the whole column, or refused."""

import numpy as np

from distgan.data.formats.centuries import add_centuries, refuse_unclear_centuries
from distgan.data.formats.stamps import DAY, Parsed, Stamps
from distgan.data.formats.time_patterns import ORDERS, Fields
from distgan.data.grid import find_calendar_months, find_common_step
from distgan.errors import UserError

FIRST_YEAR, LAST_YEAR = 1900, 2100
FEWEST_STAMPS, FEWEST_FALLS = 24, 3  # that show exchanged days and months
WORDS = {"dmy": "day, month, year", "mdy": "month, day, year", "ymd": "year, month, day"}


def choose_days(
    fields: Fields, seconds: np.ndarray, asked: str | None, stamps: Stamps, parsed: Parsed
) -> np.ndarray:
    """Return the days of all stamps: datetime64[D] [n].

    Args:
        seconds: of the clock, [n].
        asked: the order of data.date_format, if it is one.

    Raises:
        UserError: a stamp is no date, or the column does not decide the order.
    """
    if asked is not None and asked not in fields.kind.orders:
        able = [order for order in fields.kind.orders if order in ORDERS]
        advice = f"set data.date_format={able[0]}" if able else "leave data.date_format out"
        raise stamps.refuse(0, f"is not written in the order {WORDS[asked]} (data.date_format); {advice}")
    orders = fields.kind.orders if asked is None else (asked,)
    readings = {order: _make_days(fields.dates, order) for order in orders}
    sound = {order: days for order, days in readings.items() if not np.isnat(days).any()}
    if not sound:
        raise _make_order_error(readings, stamps)
    if len({days.tobytes() for days in sound.values()}) > 1:
        likely = {order: days for order, days in sound.items() if _is_regular(days, seconds)}
        if len(likely) != 1:
            raise _raise_ambiguous(list(likely or sound), sound, stamps)
        sound = likely
        parsed.notes.append(f"dates read as {WORDS[next(iter(sound))]}: no other order gives regular times")
    order, days = next(iter(sound.items()))
    if order in ORDERS and _has_two_digits(fields.dates[ORDERS[order][0]]):
        refuse_unclear_centuries(days.astype("M8[Y]").astype(np.int64) + 1970, stamps, parsed)
    return days


def _has_two_digits(years: np.ndarray) -> bool:
    return bool(len(years) and years.max() < 100)


def refuse_exchanged_days(times: np.ndarray, stamps: Stamps) -> None:
    """
    Args:
        times: datetime64[us] of the different stamps, in order of first appearance, [n].

    Raises:
        UserError: the rows rise once day and month are exchanged in the dates in which both may be, as where
            a program has read 02/01 as 1 February and 13/01 as 13 January. A year of them has every date.
    """
    if len(times) < FEWEST_STAMPS:
        return
    steps = np.diff(times).astype(np.int64)
    falls = int((steps < 0).sum())
    if falls > len(steps) / 2:  # the newest first
        steps, falls = -steps, len(steps) - falls
        times = times[::-1]
    if falls < FEWEST_FALLS or (steps > 0).mean() <= 0.5:
        return
    days = times.astype("M8[D]")
    months = days.astype("M8[M]")
    month, day = months.astype(np.int64) % 12, (days - months.astype("M8[D]")).astype(np.int64)
    turned = (times.astype("M8[Y]").astype("M8[M]") + day).astype("M8[D]") + month + (times - days)
    other = np.where(day < 12, turned, times)
    if 10 * int((np.diff(other).astype(np.int64) < 0).sum()) <= falls:
        place = int(np.argmax(other != times))
        raise UserError(
            f"{stamps.name}: the times do not rise, and rise once day and month of all dates before the 13th "
            f"are exchanged ({str(times[place])[:10]} for {str(other[place])[:10]}): a program has read days "
            "as months; write the times again from their source, or sort the rows if they are right"
        )


def _make_days(dates: dict[str, np.ndarray], order: str) -> np.ndarray:
    """Return datetime64[D], NaT for what is no date of 1900 to 2100."""
    if order in ("week", "ordinal"):
        year = dates["a"]
        january = (year - 1970).astype("M8[Y]").astype("M8[D]")
        if order == "ordinal":
            days = january + (dates["b"] - 1)
            return _is_within(
                days, (days.astype("M8[Y]") == (year - 1970).astype("M8[Y]")) & (dates["b"] > 0)
            )
        fourth = january + 3  # 4 January always lies in week 1, and 1970-01-01 was a Thursday
        monday = fourth - (fourth.astype(np.int64) + 3) % 7
        days = monday + 7 * (dates["b"] - 1) + (dates["c"] - 1)
        thursday = days - (days.astype(np.int64) + 3) % 7 + 3
        own_year = thursday.astype("M8[Y]") == (year - 1970).astype("M8[Y]")
        return _is_within(days, own_year & (dates["b"] > 0))
    year, month, day = (dates[group] for group in ORDERS[order])
    if _has_two_digits(year):
        year = add_centuries(year)
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    days = months.astype("M8[D]") + (day - 1)
    return _is_within(days, (month >= 1) & (month <= 12) & (day >= 1) & (days.astype("M8[M]") == months))


def _is_within(days: np.ndarray, valid: np.ndarray) -> np.ndarray:
    years = days.astype("M8[Y]").astype(np.int64) + 1970
    return np.where(valid & (years >= FIRST_YEAR) & (years <= LAST_YEAR), days, np.datetime64("NaT"))


def _is_regular(days: np.ndarray, seconds: np.ndarray) -> bool:
    """Return whether times of this order look like readings of one population.

    Readings more often than daily are there on at least half of the days between the first and the last;
    others have a constant step, of which at least half is there, or step by months.
    """
    times = np.unique(days.astype("M8[s]") + seconds)
    different = np.unique(days)
    if len(times) > len(different):
        return int((different[-1] - different[0]).astype(np.int64)) + 1 <= 2 * len(different)
    if len(times) < 2:
        return True
    if find_calendar_months(times) is not None:
        return True
    elapsed = (times - times[0]).astype(np.int64)
    step = max(find_common_step(times), DAY)
    return not (elapsed % step).any() and elapsed[-1] // step + 1 <= 2 * len(times)


def _make_order_error(readings: dict[str, np.ndarray], stamps: Stamps) -> UserError:
    fewest = min(readings, key=lambda order: np.isnat(readings[order]).sum())
    bad = int(np.flatnonzero(np.isnat(readings[fewest]))[0])
    others = [order for order in readings if order != fewest and not np.isnat(readings[order][bad])]
    if others:
        return stamps.refuse(
            bad,
            f"is no date in the order {WORDS[fewest]}, which reads the most stamps, and other stamps are no "
            f"dates in the order {WORDS[others[0]]}; write all dates in one order",
        )
    if fewest not in WORDS:
        return stamps.refuse(bad, "is no such day of a year; correct this stamp")
    return stamps.refuse(
        bad,
        f"is no date of the years {FIRST_YEAR} to {LAST_YEAR} in the order {WORDS[fewest]}; correct it, or "
        "set data.date_format if all dates are in another order, e.g. '%Y-%d-%m %H:%M'",
    )


def _raise_ambiguous(orders: list[str], sound: dict[str, np.ndarray], stamps: Stamps) -> UserError:
    first, second = orders[:2] if len(orders) > 1 else list(sound)[:2]
    place = int(np.flatnonzero(sound[first] != sound[second])[0])
    return stamps.refuse(
        place,
        f"may be {sound[first][place]} or {sound[second][place]}, and the other times fit both; "
        f"set data.date_format={first} ({WORDS[first]}) or data.date_format={second} ({WORDS[second]})",
    )
