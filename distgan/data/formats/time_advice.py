"""What a table without a column of times may have instead, and which setting reads it."""

import re
from collections.abc import Callable
from itertools import pairwise

import pandas as pd

from distgan.data.formats.advice import show_list
from distgan.data.formats.month_names import find_languages, to_english
from distgan.data.formats.time_cells import sample_cells
from distgan.data.formats.time_numbers import NUMBER, are_numbers
from distgan.data.formats.time_parts import PARTS, find_nameless_parts
from distgan.data.formats.time_patterns import MONTHLY, read_fields, tidy

TIME_NAME = re.compile(
    r"(?i)(^|[^a-z])(date|time|timestamp|datetime|tstp|ts|epoch|unix|utc|when|datum|zeit|day|localminute|datenum|serial|jd|mjd|julian)([^a-z]|$)"
    r"|time$|date$|timestamp|datetime"
)
NO_YEAR = re.compile(  # 01/21  24:00:00, as EnergyPlus writes it; 06-Mar 00:00
    r"(\d{1,2}[./-]\d{1,2}\.?|\d{1,2}[ -][A-Za-z]{3}\.?|[A-Za-z]{3}\.?[ -]\d{1,2})[ T]+"
    r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?"
)


def advise_times(head: pd.DataFrame, free: list[str]) -> str:
    """Return what the columns `free` may hold instead of times, and which setting reads it."""
    if parts := find_nameless_parts(head, free):
        return (
            f"if columns {parts[0]!r} to {parts[-1]!r} hold {', '.join(PARTS[: len(parts)])}, set "
            f"data.columns.time={show_list(parts)}"
        )
    columns = [(name, texts) for name in free if (texts := sample_cells(head[name]))]
    for advise in ADVICE:
        for name, texts in columns:
            if (said := advise(name, texts)) is not None:
                return said
    return (
        "name one with data.columns.time, and say how it is written with data.date_format or data.time_unit; "
        "or, without times, give the readings alone as an NPY array [series, steps], whose steps are counted"
    )


def _advise_months(name: str, texts: list[str]) -> str | None:
    if not all(MONTHLY.fullmatch(text) and not re.match(NUMBER, text) for text in texts):
        return None
    return (
        f"column {name!r} names months, quarters or years ({texts[0]!r}), of unequal length, and "
        "a series has equal steps; give daily or hourly readings, or the values alone as an "
        "NPY array, whose steps are only counted"
    )


def _advise_numbers(name: str, texts: list[str]) -> str | None:
    if not (TIME_NAME.search(str(name)) and are_numbers(tidy(texts))):
        return None
    return (
        f"column {name!r} holds numbers ({texts[0]}): set data.columns.time={name}, and "
        "data.date_format=excel for a spreadsheet's days, matlab, julian, mjd or days:1900-01-01 for other "
        "days, daycode:2009-01-01:30min for day codes, a strptime format such as %d%m%Y, or data.time_unit "
        "for times since 1970"
    )


def _advise_dates_without_year(name: str, texts: list[str]) -> str | None:
    if not all(NO_YEAR.fullmatch(text) for text in texts):
        return None
    return (
        f"the dates of column {name!r} have no year ({texts[0]!r}): write whole dates, as 2013-01-01 "
        "01:00 (of a simulated year those of a year without a leap day)"
    )


def _advise_known_language(name: str, texts: list[str]) -> str | None:
    languages = find_languages(texts)
    if not (languages and read_fields(tidy(to_english(texts, languages[0])))):
        return None
    return (
        f"column {name!r} names months in another language ({texts[0]!r}): set "
        f"data.date_locale={languages[0]}"
    )


def _advise_day_codes(name: str, texts: list[str]) -> str | None:
    """Numbers may be the day and, in two digits, the period from 1 to 50, one after the other."""
    codes = [int(text) for text in texts if re.fullmatch(r"\d{3,6}", text)]
    if len(codes) < len(texts) or len(codes) < 3 or not all(1 <= code % 100 <= 50 for code in codes):
        return None
    if sum(later - code == 1 for code, later in pairwise(codes)) < 0.9 * (len(codes) - 1):
        return None
    return (
        f"column {name!r} counts up as codes of day and period do ({texts[0]}): if it holds them, "
        f"set data.columns.time={name} and data.date_format=daycode:2009-01-01:30min (the first day "
        "and the length of a period)"
    )


def _advise_unknown_language(name: str, texts: list[str]) -> str | None:
    if not all(re.search(r"\d.*[^\W\d_]{3,}.*\d", text) for text in texts):
        return None
    return (
        f"if column {name!r} names months in another language ({texts[0]!r}), set "
        "data.date_locale to it, or write months as numbers"
    )


ADVICE: tuple[Callable[[str, list[str]], str | None], ...] = (  # the first that fits any column is given
    _advise_months,
    _advise_numbers,
    _advise_dates_without_year,
    _advise_known_language,
    _advise_day_codes,
    _advise_unknown_language,
)
