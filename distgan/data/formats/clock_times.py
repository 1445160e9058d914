"""Seconds since midnight of clock times as written: 24-hour, AM/PM, 24:00, hour numbers, HHMM."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distgan.data.formats.stamps import Parsed, Stamps
from distgan.data.formats.time_patterns import Fields, to_int

HOUR = 3600


def compute_clock_seconds(fields: Fields, stamps: Stamps, parsed: Parsed) -> tuple[np.ndarray, np.ndarray]:
    """Return whole seconds since midnight (86400 for 24:00) and microseconds of the rest: int64 [n] each.

    Raises:
        UserError: a stamp has no such clock time, or hour numbers may count from 0 or from 1.
    """
    hour, minute, second = (to_int(fields.texts[key]) for key in "HMS")
    fraction = to_int(pc.utf8_slice_codeunits(pc.utf8_rpad(fields.texts["f"], 6, "0"), 0, 6))
    beyond = pc.utf8_slice_codeunits(fields.texts["f"], 6)  # nanoseconds: enough that they are not zero
    fraction = fraction + np.asarray(pc.match_substring_regex(beyond, "[1-9]")).astype(np.int64)
    there = np.asarray(pc.not_equal(fields.texts["H"], ""))
    half = pc.utf8_lower(fields.texts["p"])
    if pc.any(pc.not_equal(half, "")).as_py():
        hour = _convert_halves(hour, there, half, stamps)
    elif fields.clock == "digits":
        hour, minute, second = _parse_digits(fields.texts["H"], stamps, parsed)
    past = (hour > 24) | (minute > 59) | (second > 59) | ((hour == 24) & (minute + second + fraction > 0))
    stamps.refuse_first(past, "has no clock time of a day (00:00 to 24:00); correct it")
    if fields.clock != "none" and not there.all():
        parsed.notes.append("dates without a clock time are taken as 00:00")
    return hour * HOUR + minute * 60 + second, fraction


def _convert_halves(hour: np.ndarray, there: np.ndarray, half: pa.Array, stamps: Stamps) -> np.ndarray:
    """Return hours of 24 from hours with AM or PM."""
    given = np.asarray(pc.not_equal(half, ""))
    stamps.refuse_first(there & ~given, "has neither AM nor PM, as other times of the column have")
    stamps.refuse_first((hour > 12) & given, "is no time with AM or PM (hours 1 to 12)")
    return np.where(there, hour % 12 + 12 * np.asarray(pc.equal(half, "p")), 0)


def _parse_digits(
    texts: pa.Array, stamps: Stamps, parsed: Parsed
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hour, minute, second of clock times without marks: 0100, 010000, 100 (01:00), or hours."""
    number = to_int(texts)
    lengths = np.asarray(pc.utf8_length(texts))
    there = lengths > 0
    widest, none = int(lengths.max()), np.zeros_like(number)
    if widest <= 2 and number.max() <= 24:
        return _convert_hours(number, there, stamps, parsed), none, none
    if widest >= 5 and (lengths[there] == widest).all() | (number.max() >= 10_000):
        return number // 10_000, number // 100 % 100, number % 100
    if widest <= 4 and ((lengths[there] == 4).all() or number.max() >= 100):
        return number // 100, number % 100, none
    raise stamps.refuse(
        int(np.argmax(number)),
        "ends in a number that is no hour of the day; if it counts the periods of the day from 1, set "
        "data.date_format='periods:30min' with their length",
    )


def _convert_hours(number: np.ndarray, there: np.ndarray, stamps: Stamps, parsed: Parsed) -> np.ndarray:
    """Return hours 0 to 23 as they stand; of 1 to 24, hour h begins at h - 1 o'clock."""
    from_zero, to_24 = bool((number[there] == 0).any()), bool((number == 24).any())
    if from_zero and to_24:
        raise stamps.refuse(
            int(np.flatnonzero(number == 24)[0]),
            "has hour 24, and others hour 0; write hours 0 to 23, or 1 to 24 for the hours that end then",
        )
    if not from_zero and not to_24:
        raise stamps.refuse(
            int(np.flatnonzero(there)[0]),
            "has the number of an hour, and neither 0 nor 24 tells whether hours count from 0 or from 1; "
            "set data.date_format, e.g. '%Y-%m-%d %H' for hours from 0, or 'periods:1h' for hours from 1",
        )
    if to_24:
        parsed.notes.append("hours are numbered 1 to 24: hour 1 begins at 00:00")
        return np.where(there, number - 1, 0)
    return number
