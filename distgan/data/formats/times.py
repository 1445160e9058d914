"""Times as written -> instants: one form for a whole column, decided by all of it, or a refusal in one line.

`read_times` is given every different stamp of a table. It finds how dates and clock times are written, which
number is the day, and what UTC offsets say. What the column does not decide is refused with the setting that
does: data.date_format, data.time_unit or data.timezone.
"""

import re
import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from distgan import config
from distgan.data.formats.centuries import refuse_split_centuries
from distgan.data.formats.clock_times import compute_clock_seconds
from distgan.data.formats.date_order import choose_days, refuse_exchanged_days
from distgan.data.formats.intervals import Halves, mark_odd_widths, split_intervals
from distgan.data.formats.month_names import find_languages, to_english
from distgan.data.formats.stamps import DAY, Parsed, Stamps, Where
from distgan.data.formats.time_cells import encode_times, join_written_times
from distgan.data.formats.time_columns import are_times, find_time_columns
from distgan.data.formats.time_numbers import (
    are_compact_dates,
    are_numbers,
    is_day_count,
    place_periods,
    read_day_codes,
    read_days,
    read_epoch,
)
from distgan.data.formats.time_patterns import MONTHLY, ORDERS, Fields, read_fields, tidy
from distgan.data.formats.zone_marks import extract_zone_marks, settle_zones
from distgan.data.grid import parse_seconds
from distgan.errors import UserError

__all__ = [
    "Times",
    "Where",
    "are_times",
    "encode_times",
    "find_time_columns",
    "join_written_times",
    "read_times",
]


@dataclass(frozen=True)
class Times:
    """The times of the stamps of a column.

    Attributes:
        values: datetime64[us] [n], UTC where `utc`, else as the clock of the source showed them.
        notes: what was understood that is not plain from the stamps.
        clock: as of `Parsed`.
    """

    values: np.ndarray
    utc: bool
    notes: list[str] = field(default_factory=list)
    clock: str = ""


def read_times(texts: list[str], column: str, settings: config.Data, where: Where) -> Times:
    """Return the times of the different stamps of a whole column, in the same order.

    With data.timezone, stamps with UTC offsets or zone names become UTC, for the zone to place; others stay
    local. A date and a clock column come joined by a blank.

    Raises:
        UserError: a stamp is no time, the column does not decide between two readings, or there are fractions
            of a second and no data.resample.step.
    """
    if settings.date_locale is not None:
        texts = to_english(texts, settings.date_locale)
    stamps = Stamps(texts, column, where)
    if not texts:
        raise UserError(f"{stamps.name} holds no times")
    parsed = _parse(stamps, settings)
    refuse_exchanged_days(parsed.values, stamps)
    parsed = settle_zones(parsed, stamps, settings.timezone)
    split = parsed.values != parsed.values.astype("M8[s]")
    if settings.resample.step is None:
        stamps.refuse_first(
            split,
            "has a fraction of a second, and steps are whole seconds; set data.resample.step, e.g. to 1s",
        )
    return Times(parsed.values, parsed.utc, parsed.notes, parsed.clock)


def _parse(stamps: Stamps, settings: config.Data) -> Parsed:
    form = settings.date_format
    if form is not None and "%" in form:
        return _read_by_format(form, stamps)
    plain = _read_plain(stamps.texts) if form in (None, "ymd") and settings.time_unit is None else None
    if plain is not None:
        return Parsed(plain)
    texts = tidy(stamps.texts)
    if form is not None and is_day_count(form):
        return read_days(texts, form, stamps)
    if form is not None and form.startswith("daycode:"):
        return read_day_codes(texts, form, settings.timezone, stamps)
    numbers = are_numbers(texts)
    if settings.time_unit is not None and not numbers:
        odd = ~np.array([are_numbers(texts[place : place + 1]) for place in range(len(texts))])
        stamps.refuse_first(odd, "is not a number; data.time_unit is for numbers since 1970; leave it out")
    if numbers and (settings.time_unit is not None or not are_compact_dates(texts)):
        return read_epoch(texts, settings.time_unit, stamps)
    return _read_text(texts, form, settings.timezone, stamps)


PLAIN = r"^(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?$"


def _read_plain(texts: list[str]) -> np.ndarray | None:
    """Return datetime64[us] of stamps that are all ISO 8601 of one form, without offsets; None of others."""
    cells = pa.array(texts, pa.string())
    if (
        len({len(text) for text in texts[:100]}) != 1
        or not pc.all(pc.match_substring_regex(cells, PLAIN)).as_py()
    ):
        return None
    try:
        return pd.to_datetime(pd.Series(texts), format="ISO8601").to_numpy().astype("M8[us]")
    except ValueError:  # such as 31 February: named by those who read field by field
        return None


def _read_by_format(form: str, stamps: Stamps) -> Parsed:
    """Read by a strptime format, and 24:00 as the next day's 00:00."""
    if not re.search("%[YyGcxDs]", form):
        raise UserError(f"data.date_format {form!r} has no year; write e.g. '%d/%m/%Y %H:%M'")
    texts = pc.utf8_trim_whitespace(pa.array(stamps.texts, pa.string()))
    late = "%H" in form
    midnight = r"\b24(:?00(?::?00(?:\.0+)?)?)?( ?(?:Z|[+-][0-9:]+))?$"
    ends = np.asarray(pc.match_substring_regex(texts, midnight)) if late else np.zeros(len(texts), bool)
    found = _parse_by_strptime(texts, form)
    again = ends & np.isnat(found)
    if again.any():
        turned = _parse_by_strptime(pc.replace_substring_regex(texts, midnight, r"00\1\2"), form)
        found = np.where(again, turned + np.timedelta64(1, "D"), found)
    stamps.refuse_first(
        np.isnat(found), f"does not fit data.date_format {form!r}; correct it, or leave the setting out"
    )
    if re.search("%[yDx]", form):
        refuse_split_centuries(found, stamps)
    if "%z" not in form:
        return Parsed(found)
    zones = extract_zone_marks(texts)
    if pc.any(pc.equal(zones, "")).as_py():
        return Parsed(found, utc=True)
    offsets = settle_zones(Parsed(np.zeros(len(found), "M8[us]"), zones=zones), stamps, "UTC").values
    return Parsed(found - offsets.astype("m8[us]"), zones=zones)


def _parse_by_strptime(texts: pa.Array, form: str) -> np.ndarray:
    """Return datetime64[us], UTC where the format reads offsets; NaT where it does not fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            series = pd.Series(texts.to_pylist(), dtype=str)
            found = pd.to_datetime(series, format=form, errors="coerce", utc="%z" in form)
        except (ValueError, re.error) as error:
            raise UserError(f"data.date_format {form!r} is no strptime format ({error})") from None
    found = found.dt.tz_localize(None) if found.dt.tz is not None else found
    return found.to_numpy().astype("M8[us]")


# ------------------------------------------------------------------------------------------------------- text


def _read_text(texts: pa.Array, form: str | None, zone: str | None, stamps: Stamps) -> Parsed:
    fields = read_fields(texts)
    whole = fields is not None and bool(fields.matched.all())
    for halves in split_intervals(texts):
        if whole and not halves.ends_are_clocks:
            continue
        start = read_fields(halves.start)
        if start is None or not start.matched.all():
            continue
        parsed = _read_interval(halves, start, form, stamps, also_offset=whole)
        if parsed is not None:
            return parsed
    if fields is None or not whole:
        raise _make_error(texts, fields, stamps)
    if form is not None and form.startswith("periods:"):
        return _read_periods(fields, form, zone, stamps)
    return _convert_fields(fields, form, stamps)


def _convert_fields(fields: Fields, asked: str | None, stamps: Stamps) -> Parsed:
    parsed = Parsed(np.empty(0, "M8[us]"), zones=fields.texts["z"])
    seconds, fraction = compute_clock_seconds(fields, stamps, parsed)
    days = choose_days(fields, seconds, asked, stamps, parsed)
    parsed.values = days.astype("M8[us]") + (seconds * 1_000_000 + fraction)
    return parsed


def _read_interval(
    halves: Halves, start: Fields, asked: str | None, stamps: Stamps, also_offset: bool
) -> Parsed | None:
    """Return the starts of intervals; None where the second half is a UTC offset, or no end."""
    if asked is not None and asked not in ORDERS:
        return None
    durations = halves.parse_durations()
    if durations is not None:
        parsed = _convert_fields(start, asked, stamps)
        ends = parsed.values + durations * np.timedelta64(1, "s")
    elif halves.ends_are_clocks:
        parsed = _convert_fields(start, asked, stamps)
        day = parsed.values.astype("M8[D]")
        joined = pc.binary_join_element_wise("2000-01-01", halves.end, " ")
        clocks = read_fields(joined)
        if clocks is None or not clocks.matched.all():
            return None
        ends = day + (_convert_fields(clocks, None, stamps).values - np.datetime64("2000-01-01", "us"))
        ends = np.where(ends <= parsed.values, ends + np.timedelta64(1, "D"), ends)
        widths = np.unique(ends - parsed.values)
        if also_offset and (len(widths) > 1 or len(np.unique(parsed.values - day)) < 2):
            return None  # 00:00-05:00 is a time with its offset
    else:
        last = read_fields(halves.end)
        if last is None or not last.matched.all() or last.kind != start.kind or not _are_alike(start, last):
            return None
        parsed, ends = _read_both_ends(start, last, asked, stamps)
    stamps.refuse_first(
        mark_odd_widths(parsed.values, ends),
        "is an interval of another length than the others, and no other begins where it ends; correct it",
    )
    width = int(np.median((ends - parsed.values).astype(np.int64))) // 1_000_000
    parsed.notes.append(f"intervals of {width} s stand for the time at which they begin")
    return parsed


def _are_alike(start: Fields, last: Fields) -> bool:
    return "none" in (start.clock, last.clock) or start.clock == last.clock


def _read_both_ends(
    start: Fields, last: Fields, asked: str | None, stamps: Stamps
) -> tuple[Parsed, np.ndarray]:
    """Return starts, and ends read in the same order of day and month."""
    many, line_of = len(stamps.texts), stamps.where.line_of
    twice = Stamps(
        stamps.texts * 2, stamps.column, Where(stamps.where.path, lambda place: line_of(place % many))
    )
    joined = Fields(
        start.kind,
        np.concatenate([start.matched, last.matched]),
        {key: np.concatenate([start.dates[key], last.dates[key]]) for key in start.dates},
        start.clock if start.clock != "none" else last.clock,
        {key: pa.concat_arrays([start.texts[key], last.texts[key]]) for key in start.texts},
    )
    parsed = _convert_fields(joined, asked, twice)
    ends = parsed.values[many:]
    zones = start.texts["z"]
    if pc.all(pc.equal(zones, "")).as_py():  # 00:00 - 01:00 UTC
        zones = last.texts["z"]
    return Parsed(parsed.values[:many], zones=zones, notes=parsed.notes), ends


def _read_periods(fields: Fields, form: str, zone: str | None, stamps: Stamps) -> Parsed:
    """Return dates with the number of the period of the day, from 1."""
    step = parse_seconds(form.removeprefix("periods:"))
    if not step or DAY % step:
        raise UserError(
            f"data.date_format {form!r} names no length of a period that divides a day; write periods:30min"
        )
    if fields.clock != "digits":
        raise stamps.refuse(0, "does not end in the number of a period; leave data.date_format out")
    parsed = Parsed(np.empty(0, "M8[us]"))
    number = np.array([int(text or 0) for text in fields.texts["H"].to_pylist()])
    days = choose_days(fields, number, None, stamps, parsed)
    found = place_periods(days, number, step, zone, stamps)
    found.notes = [*parsed.notes, *found.notes]
    return found


def _make_error(texts: pa.Array, fields: Fields | None, stamps: Stamps) -> UserError:
    """Say which stamp is no time, or is written unlike the others."""
    bad = 0 if fields is None else int(np.flatnonzero(~fields.matched)[0])
    if fields is not None and not fields.matched.any():
        fields = None
    text = texts[bad].as_py()
    form = "set data.date_format to the strptime format of all times, e.g. '%d/%m/%Y %H:%M'"
    if MONTHLY.fullmatch(text):
        return stamps.refuse(
            bad,
            "names no day: months and years differ in length, and a series has steps of equal length; give "
            "daily or hourly readings, or the values alone as an NPY array, whose steps are only counted",
        )
    languages = find_languages(stamps.texts)
    if languages:
        return stamps.refuse(bad, f"names its month in another language; set data.date_locale={languages[0]}")
    own = read_fields(texts[bad : bad + 1])
    if fields is not None and own is not None and own.matched.all():
        usual = stamps.texts[int(np.flatnonzero(fields.matched)[0])]
        return stamps.refuse(bad, f"is written in another form than {usual!r}; write all times in one form")
    if re.search(r"\d.*[^\W\d_]{3,}.*\d", text) and fields is None:
        return stamps.refuse(
            bad,
            "is not a time with an English month name; set data.date_locale to its language, write months as "
            f"numbers, or {form}",
        )
    if fields is None:
        return stamps.refuse(bad, f"is not a time in a known form; {form}")
    return stamps.refuse(bad, "is not a time; correct it")
