"""Times that are numbers: seconds since 1970, days of a spreadsheet, day codes, dates without marks."""

import re
from time import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from distgan.data.formats.stamps import DAY, Parsed, Stamps
from distgan.data.grid import parse_seconds
from distgan.data.zones import find_instants
from distgan.errors import UserError

NUMBER = r"^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$"
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
FIRST, LAST = 315_532_800, 4_102_444_800  # 1980 and 2100, in seconds: what a stamp may mean
PLAUSIBLE = 2_524_608_000  # 2050: seconds since 1904, as LabVIEW counts them, would be later
EARLIEST = -2_208_988_800  # 1900
RECENT = 820_454_400  # 1996: counts since 2000 or 2001, and .NET's ticks, would all be earlier
WRITTEN = 1_795_996_800  # December 2026: a clock that says an earlier time is wrong
MOST_AHEAD = 366 * DAY  # seconds that a time may lie ahead: those of measurements do not
SINCE_1960 = -315_619_200
SINCE_1980 = 315_964_800  # 6 January, from which GPS counts, without leap seconds
GPS = re.compile(r"(?<![a-z])gps|gps(?![a-z])", re.I)
DATE_OF_TEN = r"\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-4])[0-5]\d"  # 2303011530
COMPACT = (8, 10, 12, 14)  # digits of a date alone, with hour, minute, second
PARTS = r"^\+?(?P<whole>-?[0-9]+)(?:\.(?P<part>[0-9]*))?"
SPREADSHEET = (20_000, 80_000)  # days of 1954 to 2119 since 1899-12-30
DAY_COUNTS = {"excel": 25_569.0, "matlab": 719_529.0, "julian": 2_440_587.5, "mjd": 40_587.0}  # of 1970-01-01


def are_numbers(texts: pa.Array) -> bool:
    return len(texts) > 0 and pc.all(pc.match_substring_regex(texts, NUMBER)).as_py()


def are_compact_dates(texts: pa.Array) -> bool:
    """Return whether all are digits of a date of 1900 to 2100, year first, alone or with a clock time."""
    lengths = pc.unique(pc.utf8_length(texts)).to_pylist()
    if len(lengths) != 1 or lengths[0] not in COMPACT:
        return False
    clock = ("", "([01][0-9]|2[0-4])", "[0-5][0-9]", "[0-5][0-9]")[: lengths[0] // 2 - 3]
    pattern = "^(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])" + "".join(clock) + "$"
    return bool(pc.all(pc.match_substring_regex(texts, pattern)).as_py())


def find_unit(numbers: np.ndarray) -> str | None:
    """Return the unit in which all numbers, since 1970, are times of 1980 to 2050; None if there is none."""
    low, high = float(numbers.min()), float(numbers.max())
    for unit, factor in PER_SECOND.items():
        if low >= FIRST * factor and high <= PLAUSIBLE * factor:
            return unit
    return None


def read_epoch(texts: pa.Array, unit: str | None, stamps: Stamps) -> Parsed:
    """Read numbers since 1970-01-01 UTC.

    Raises:
        UserError: the numbers are of no plausible size and no unit is given, or they have lost digits.
    """
    plain = pc.match_substring_regex(texts, "[eE]")
    stamps.refuse_first(
        np.asarray(plain), "has lost digits in a spreadsheet's short form; export all digits of the times"
    )
    whole, part = (pc.struct_field(pc.extract_regex(texts, PARTS), [name]) for name in ("whole", "part"))
    numbers = np.asarray(pc.cast(whole, pa.float64()))
    found = unit or find_unit(numbers)
    if found is None:
        raise _explain_numbers(numbers, stamps)
    as_gps = float(numbers.max()) / PER_SECOND[found] + SINCE_1980
    if unit is None and GPS.search(stamps.column) and as_gps <= max(time(), WRITTEN):
        raise _explain_gps(float(numbers[0]), found, stamps)
    if unit is None and float(numbers.max()) < RECENT * PER_SECOND[found]:
        raise _explain_early(float(numbers[0]), found, stamps)
    if unit is None and float(numbers.max()) > (max(time(), WRITTEN) + MOST_AHEAD) * PER_SECOND[found]:
        raise _explain_late(int(np.argmax(numbers)), float(numbers.max()), found, stamps)
    stamps.refuse_first(
        (numbers < EARLIEST * PER_SECOND[found]) | (numbers > LAST * PER_SECOND[found]),
        f"is no time of the years 1900 to 2100 in {found} since 1970 (data.time_unit); set another unit",
    )
    scale = 1_000_000 // PER_SECOND[found] if found != "ns" else 0
    digits = len("1000000") - len(str(PER_SECOND[found])) if found != "ns" else 0  # of a fraction, to us
    values = np.asarray(pc.cast(whole, pa.int64()))
    if found == "ns":
        fine = values // 1000 + (values % 1000 != 0)
    else:
        padded = pc.utf8_slice_codeunits(pc.utf8_rpad(part, digits, "0"), 0, digits) if digits else None
        below = np.asarray(pc.cast(padded, pa.int64())) if padded is not None else np.zeros_like(values)
        negative = np.asarray(pc.starts_with(texts, "-"))
        fine = values * scale + np.where(negative, -below, below)
    notes = [f"times are numbers of {found} since 1970-01-01 UTC"]
    return Parsed(fine.astype("M8[us]"), utc=True, notes=notes)


def _explain_early(number: float, unit: str, stamps: Stamps) -> UserError:
    """Say what times of before 1996 may be instead: counts of another beginning."""
    seconds = number / PER_SECOND[unit]
    year = np.datetime64(int(seconds), "s").astype("M8[Y]")
    other = "100 ns since the year 1 (.NET ticks)"
    if unit != "ns":
        later = np.datetime64(int(seconds) + 946_684_800, "s").astype("M8[Y]")
        other = f"{unit} since 2000 or 2001 ({later} or {later + 1})"
    return stamps.refuse(
        0,
        f"may be {unit} since 1970, in {year}, or {other}; set data.time_unit={unit} if it is of {year}, "
        "else write the times as text",
    )


def _explain_gps(number: float, unit: str, stamps: Stamps) -> UserError:
    """Say what numbers in a column that is named for GPS may be."""
    seconds = int(number / PER_SECOND[unit])
    year, later = (np.datetime64(each, "s").astype("M8[Y]") for each in (seconds, seconds + SINCE_1980))
    return stamps.refuse(
        0,
        f"may be {unit} since 1970, in {year}, or {unit} since 1980 without leap seconds ({later}), as GPS "
        f"counts; set data.time_unit={unit} if it is of {year}, else write the times as text",
    )


def _explain_late(place: int, number: float, unit: str, stamps: Stamps) -> UserError:
    """Say what times that are still to come may be instead: counts of another beginning, or dates."""
    seconds = int(number / PER_SECOND[unit])
    year = np.datetime64(seconds, "s").astype("M8[Y]")
    earlier = np.datetime64(seconds + SINCE_1960, "s").astype("M8[Y]")
    text = stamps.texts[place].strip()
    date = " or a date without its century (%y%m%d%H%M)" if re.fullmatch(DATE_OF_TEN, text) else ""
    return stamps.refuse(
        place,
        f"may be {unit} since 1970, in {year}, or {unit} since 1960 ({earlier}), as SAS and Stata count"
        f"{',' if date else ''}{date}; set data.time_unit={unit} if it is of {year}, "
        f"{'data.date_format for a date, ' if date else ''}else write the times as text",
    )


def _explain_numbers(numbers: np.ndarray, stamps: Stamps) -> UserError:
    """Say what numbers that are no times since 1970 may be, and how to have them read."""
    low, high = float(numbers.min()), float(numbers.max())
    if low >= 1900 and high <= 2101:
        return stamps.refuse(
            0, "names a year without month and day; give daily or hourly readings with their dates"
        )
    if low < 2_000_000 and high < 2_000_000 and low >= 700_000:
        return stamps.refuse(
            0, "seems to be a number of days as MATLAB counts them; set data.date_format=matlab if it is"
        )
    if low >= 2_415_000 and high <= 2_490_000:
        return stamps.refuse(0, "seems to be a Julian day; set data.date_format=julian if it is")
    if SPREADSHEET[0] // 2 <= low and high <= SPREADSHEET[1]:
        return stamps.refuse(
            0,
            "may be a day of a spreadsheet or a day code; set data.date_format=excel for days since "
            "1899-12-30, mjd for modified Julian days, days:1900-01-01 for days since a date, or e.g. "
            "data.date_format='daycode:2009-01-01:30min' for day number and half hour",
        )
    return stamps.refuse(
        0,
        "is a number of unknown unit; set data.time_unit=s, ms, us or ns for times since 1970-01-01 UTC, "
        "data.date_format for another form (%d%m%Y, %y%m%d, excel, days:1900-01-01, "
        "daycode:2009-01-01:30min), or name "
        "another column with data.columns.time",
    )


def is_day_count(form: str) -> bool:
    """Return whether data.date_format says that times are numbers of days."""
    return form in DAY_COUNTS or form.startswith("days:")


def read_days(texts: pa.Array, form: str, stamps: Stamps) -> Parsed:
    """Read numbers of days with the time as their fraction, to the whole second.

    Args:
        form: a key of `DAY_COUNTS`, or days:DATE.

    Raises:
        UserError: a stamp is no such number, or has too few decimals for a second; the date is none.
    """
    if form in DAY_COUNTS:
        epoch = DAY_COUNTS[form]
    else:
        origin = pd.to_datetime(form.removeprefix("days:"), errors="coerce")
        if pd.isna(origin):
            raise UserError(f"data.date_format {form!r} names no date; write e.g. days:1900-01-01")
        epoch = -float((origin - pd.Timestamp(0)).days)
    texts = pc.replace_substring(texts, ",", ".")
    numbers = pd.to_numeric(pd.Series(texts.to_pylist()), errors="coerce").to_numpy(np.float64)
    seconds = (numbers - epoch) * DAY
    stamps.refuse_first(
        ~((seconds >= EARLIEST) & (seconds <= LAST)),
        f"is no day of 1900 to 2100 as data.date_format={form} counts them; correct it, or leave "
        "data.date_format out",
    )
    longest = max(len(text.partition(".")[2]) for text in texts.to_pylist())
    if longest >= 5:
        exact = np.abs(seconds - np.round(seconds)) <= max(DAY * 10.0**-longest, 1e-4)
    else:
        exact = numbers * 16 % 1 == 0  # 0.0625 days are 1.5 hours; other short fractions were rounded
    stamps.refuse_first(
        ~exact, "has too few decimals to be a time to the second; export at least 5, or the times as text"
    )
    return Parsed(np.round(seconds).astype("M8[s]").astype("M8[us]"))


# ---------------------------------------------------------------------------------------- numbered periods


def read_day_codes(texts: pa.Array, form: str, zone: str | None, stamps: Stamps) -> Parsed:
    """Read day numbers with the number of the period in their last digits, as `19501`: day 195, period 1.

    Raises:
        UserError: the setting or a stamp has another form, or a period lies beyond its day.
    """
    match = re.fullmatch(r"daycode:(\d{4}-\d\d-\d\d):(\w+)", form)
    origin = pd.to_datetime(match[1], errors="coerce") if match else pd.NaT
    step = parse_seconds(match[2]) if match else None
    if pd.isna(origin) or not step or DAY % step:
        raise UserError(
            f"data.date_format {form!r} is no day code; write daycode:DATE:STEP with the date of day 1 and a "
            "step that divides a day, e.g. daycode:2009-01-01:30min"
        )
    digits = max(2, len(str(DAY // step)))
    whole = np.asarray(pc.match_substring_regex(texts, rf"^[0-9]{{{digits + 1},9}}$"))
    stamps.refuse_first(~whole, f"is no day code: a day number and {digits} digits of the period are wanted")
    codes = np.asarray(pc.cast(texts, pa.int64()))
    days = np.datetime64(origin.date(), "D") + (codes // 10**digits - 1)
    stamps.refuse_first(codes < 10**digits, "is day 0; day numbers begin at 1")
    return place_periods(days, codes % 10**digits, step, zone, stamps)


def place_periods(
    days: np.ndarray, number: np.ndarray, step: int, zone: str | None, stamps: Stamps
) -> Parsed:
    """Return where numbered periods of days begin; period 1 begins at midnight.

    With a zone, periods are counted in real time from local midnight (23 to 25 hours a day), and the times
    are UTC; without, a day has 24 hours.

    Args:
        days: datetime64[D] [n]. number: of the period, from 1, [n]. step: its length in seconds.

    Raises:
        UserError: a period is beyond the end of its day, or a long day lacks its last periods.
    """
    usual = DAY // step
    stamps.refuse_first(number < 1, "has period 0; periods count from 1")
    if zone is None:
        stamps.refuse_first(
            number > usual,
            f"has a period beyond {usual}, as a day has when the clock is put back; set data.timezone, e.g. "
            "to Europe/Dublin: periods are then counted from local midnight",
        )
        starts = days.astype("M8[us]") + (number - 1) * np.timedelta64(step, "s")
        return Parsed(starts, notes=[f"periods of {step} s are counted from midnight, 1 to {usual}"])
    unique, where = np.unique(days, return_inverse=True)
    midnight, _ = find_instants(unique.astype("M8[us]"), zone)
    following, _ = find_instants((unique + 1).astype("M8[us]"), zone)
    lengths = (following - midnight).astype("m8[s]").astype(np.int64) // step
    advice = f"in {zone}; if every day has {usual} periods of clock time, leave data.timezone out"
    stamps.refuse_first(number > lengths[where], f"lies beyond the end of its day {advice}")
    last = np.zeros(len(unique), np.int64)
    np.maximum.at(last, where, number)
    stamps.refuse_first(
        (lengths[where] > usual) & (last[where] == usual),
        f"lies on a day on which the clock is put back, and periods above {usual} are missing {advice}",
    )
    starts = midnight[where] + (number - 1) * np.timedelta64(step, "s")
    return Parsed(starts, utc=True, notes=[f"periods of {step} s are counted from local midnight in {zone}"])
