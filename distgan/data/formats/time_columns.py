"""Which column of a table, or which columns together, hold its times; and their cells as text."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.advice import show_list, show_name
from distgan.data.formats.day_parts import (
    CLOCK,
    guess_period,
    refuse_parts_of_hours,
    refuse_words_among_clocks,
    vary_within,
)
from distgan.data.formats.hour_labels import are_hour_labels
from distgan.data.formats.intervals import split_intervals
from distgan.data.formats.month_names import to_english
from distgan.data.formats.time_advice import TIME_NAME, advise_times
from distgan.data.formats.time_cells import MIDNIGHT, SAMPLE, format_cells, join_written_times, sample_cells
from distgan.data.formats.time_numbers import (
    NUMBER,
    SPREADSHEET,
    are_compact_dates,
    are_numbers,
    find_unit,
    is_day_count,
)
from distgan.data.formats.time_parts import (
    PARTS,
    are_date_and_clock,
    are_in_range,
    are_named_parts,
    find_short_parts,
    is_joined_by_blanks,
)
from distgan.data.formats.time_patterns import read_fields, tidy
from distgan.errors import UserError

CLOCK_NAME = re.compile(
    r"(^|[^a-z])(time|clock|hours?|hr|he|stunden?|uhrzeit|zeit|heures?|horas?|ora|ore|uur|godzina)([^a-z]|$)"
)
UTC_NAME = re.compile(r"(^|[^a-z])(utc|gmt)([^a-z]|$)")
PERIOD_NAME = re.compile(
    r"(period|interval|slot|half.?hour|viertelstunde|(^|[^a-z])(hh|sp|qh|ptu|mtu|quarter|minutes?)([^a-z]|$))"
)


class SeveralTimes(UserError):
    """Several columns hold times, or clock times beside one date; `columns` are the time columns of each way
    to read them.
    """

    def __init__(self, path: Path, columns: list[tuple[str, ...]]) -> None:
        self.columns = columns
        first, second = columns[0][-1], columns[1][-1]
        others = [name for names in columns[1:] for name in names if name not in columns[0]]
        time = show_name(first) if len(columns[0]) == 1 else show_list(columns[0])
        what = "times" if len(columns[0]) == 1 else "clock times"
        super().__init__(
            f"{path}: columns {first!r} and {second!r} both hold {what}; to read {first!r}, set "
            f"data.columns.time={time} and data.columns.ignore={show_list(others)}"
        )


def find_time_columns(head: pd.DataFrame, settings: config.Data, path: Path) -> list[str]:
    """Return the time column, or the columns that make up a time together, such as a date and a clock time.

    Args:
        head: the first rows of a table, with its columns' names.

    Raises:
        SeveralTimes: several columns hold times.
        UserError: no column holds times, or data.columns.time names none.
    """
    if settings.columns.time:
        return _check_stated_columns(head, settings, path)
    if settings.date_locale is not None:
        head = _translate_months(head, settings.date_locale)
    taken = _list_taken(settings)
    free = [name for name in head.columns if name not in taken]
    parts = [name for part in PARTS for name in free if str(name).strip().lower() == part]
    if are_named_parts(parts) and are_in_range(head, parts):
        whole = _complete_parts(head, parts, free, settings, path)
        if whole:
            return whole
    found = [name for name in free if are_times(head[name], settings)]
    found = found or [name for name in free if _are_numeric_times(head[name])]
    found = [name for name in found if head[name].nunique() > 1] or found
    if len(found) > 1:
        found = _drop_repeated_dates(head, _drop_clocks(head, found))
    if not found and (parts := find_short_parts(head, free)):
        return _complete_parts(head, parts, free, settings, path)
    if not found:
        raise UserError(f"{path}: no column reads as times (2013-01-01 00:00); {advise_times(head, free)}")
    if len(found) > 1:
        order = sorted(found, key=lambda name: UTC_NAME.search(mark_words(name)) is None)
        raise SeveralTimes(path, _pair_with_clocks(head, order, free))
    clock = _find_clock_beside(head, found[0], free, settings, path)
    return found if clock is None else [found[0], clock]


def _check_stated_columns(head: pd.DataFrame, settings: config.Data, path: Path) -> list[str]:
    """Return the columns that data.columns.time names.

    Raises:
        UserError: one is no column, or they hold no times.
    """
    asked = settings.columns.time or ()
    names = [asked] if isinstance(asked, str) else list(asked)
    for name in names:
        if name not in head.columns:
            shown = ", ".join(map(str, head.columns[:6]))
            raise UserError(f"data.columns.time {name!r} is no column of {path}; it has {shown}, …")
    joined = is_joined_by_blanks(settings.date_format)
    if len(names) > 2 and not (joined or are_in_range(head, names) or are_date_and_clock(head, names)):
        raise UserError(
            f"data.columns.time names {len(names)} columns; name one, a date and a clock column, or columns "
            f"that hold {', '.join(PARTS[:4])} and so on in this order, or set data.date_format to a "
            "strptime format of their cells with blanks between, e.g. '%Y %j %H'"
        )
    undecided = len(names) == 1 and settings.time_unit is None and settings.date_format is None
    if undecided and pd.api.types.is_float_dtype(head[names[0]]) and not _are_numeric_times(head[names[0]]):
        raise UserError(
            f"{path}: data.columns.time {names[0]!r} holds numbers that are no times; set data.time_unit or "
            "data.date_format, or name another column"
        )
    return names


def _translate_months(head: pd.DataFrame, language: str) -> pd.DataFrame:
    """Return the first rows with English month names where cells hold digits and words."""
    found = {}
    for name, kind in head.dtypes.items():
        if pd.api.types.is_string_dtype(kind) and any(
            re.search(r"\d", cell) for cell in sample_cells(head[name])
        ):
            there = head[name].notna()
            cells = head[name][there].astype("str")
            found[name] = head[name].mask(there, pd.Series(to_english(cells.tolist(), language), cells.index))
    return head.assign(**found) if found else head


def _list_taken(settings: config.Data) -> set[str]:
    """Return the columns that the settings say are something else."""
    columns = settings.columns
    ids = (columns.id,) if isinstance(columns.id, str) else columns.id or ()
    return {*ids, *columns.attributes, *columns.ignore, *(columns.values or ())}


def _complete_parts(
    head: pd.DataFrame, parts: list[str], free: list[str], settings: config.Data, path: Path
) -> list[str]:
    """Return year, month and day with the column of clock times beside them; nothing where dates repeat and
    another column holds dates with clock times.

    Raises:
        SeveralTimes: several columns hold clock times.
    """
    if len(parts) > 3 or not head.duplicated(parts).any():
        return parts
    others = [name for name in free if name not in parts]
    if any(are_times(head[name], settings) and not _are_dates(head[name]) for name in others):
        return []
    named = [name for name in others if CLOCK_NAME.search(mark_words(name))]
    clocks = [name for name in named if _are_clock_times(head[name]) and vary_within(head, parts, name)]
    if len(clocks) > 1:
        raise SeveralTimes(path, [(*parts, name) for name in clocks])
    return [*parts, *clocks]


def are_times(values: pd.Series, settings: config.Data) -> bool:
    """Return whether most values are dates, with or without a clock time, in the form of the settings."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return True
    named = TIME_NAME.search(str(values.name)) is not None
    form = settings.date_format or ""
    if not named and "%" not in form and _is_number_first(values):
        return False
    texts = sample_cells(values)
    if not texts:
        return False
    if settings.date_locale is not None:
        texts = to_english(texts, settings.date_locale)
    if "%" in form:
        try:
            found = pd.to_datetime(pd.Series(texts), format=form, errors="coerce", utc="%z" in form)
        except ValueError as error:
            raise UserError(f"data.date_format {form!r} is no strptime format ({error})") from None
        return bool(found.notna().mean() > 0.5)
    cells = tidy(texts)
    if are_numbers(cells):
        if is_day_count(form) or form.startswith("daycode:"):
            numbers = pd.to_numeric(pd.Series(texts))
            return named and bool(
                numbers.between(100 if form != "excel" else SPREADSHEET[0], 9_999_999).all()
            )
        return named and (settings.time_unit is not None or _are_numeric_times(values))
    if not any(re.search(r"\d.?\d", text) for text in texts):
        return False
    fields = read_fields(cells)
    if fields is not None and fields.matched.mean() > 0.5:  # a bad stamp among them is named later
        return True
    return any(
        (start := read_fields(halves.start)) is not None and start.matched.mean() > 0.5
        for halves in split_intervals(cells)
    )


def _is_number_first(values: pd.Series) -> bool:
    """Return whether a first cell begins with a number, which spares thousands of columns a full check."""
    if pd.api.types.is_numeric_dtype(values):
        return True
    first = next((cell for cell in values.head(SAMPLE) if isinstance(cell, str)), "")
    return re.match(NUMBER, first.strip()) is not None


def _are_numeric_times(values: pd.Series) -> bool:
    """Return whether values are numbers since 1970, or dates such as 20130101, that rise at times."""
    texts = sample_cells(values)
    cells = tidy(texts)
    if not texts or not are_numbers(cells) or pd.api.types.is_bool_dtype(values):
        return False
    if are_compact_dates(cells):
        return True
    numbers = pd.to_numeric(pd.Series(texts)).to_numpy(np.float64)
    return find_unit(numbers) is not None and len(texts) > 1


# ---------------------------------------------------------------------------------------- date and clock time


def _drop_repeated_dates(head: pd.DataFrame, found: list[str]) -> list[str]:
    """Leave out columns of dates that only repeat the day of another column's times."""
    days = {name: format_cells(head[name]).dropna().str.strip().str[:10] for name in found}
    whole = [name for name in found if not _are_dates(head[name])]
    if len(whole) != 1:
        return found
    rest = [name for name in found if name != whole[0] and not days[name].equals(days[whole[0]])]
    return [*whole, *rest]


def _drop_clocks(head: pd.DataFrame, found: list[str]) -> list[str]:
    """Leave out columns of clock times that may pass for dates, as 18.00.00 beside dates."""
    clocks = [name for name in found if CLOCK_NAME.search(mark_words(name)) and _are_clock_times(head[name])]
    rest = [name for name in found if name not in clocks]
    return rest if rest and all(_are_dates(head[name]) for name in rest) else found


def _pair_with_clocks(head: pd.DataFrame, dates: list[str], free: list[str]) -> list[tuple[str, ...]]:
    """Return the ways to read several columns of times, each with its clock where every date has one."""
    if all(_are_dates(head[name]) for name in dates):
        clocks = [name for name in free if name not in dates and _are_clock_times(head[name])]
        if len(clocks) == len(dates):
            order = [name for name in free if name in dates]
            pairs = dict(zip(order, clocks))
            return [(name, pairs[name]) for name in dates]
    return [(name,) for name in dates]


def mark_words(name: object) -> str:
    """Return a name in small letters, with marks between its words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(name)).lower()


def _are_dates(values: pd.Series) -> bool:
    """Return whether all times are midnight."""
    if pd.api.types.is_datetime64_any_dtype(values):
        there = values.dropna()
        return bool((there == there.dt.normalize()).all())
    fields = read_fields(tidy([re.sub(MIDNIGHT, "", text) for text in sample_cells(values)]))
    return fields is not None and bool(fields.matched.all()) and fields.clock == "none"


def _find_clock_beside(
    head: pd.DataFrame, date: str, free: list[str], settings: config.Data, path: Path
) -> str | None:
    """Return the column of clock times or hours that belongs to a column of dates; None if there is none."""
    if not _are_dates(head[date]):
        return None
    others = [name for name in free if name != date]
    clocks = [name for name in others if _are_clock_times(head[name])]
    periods = [name for name in others if _are_periods(head[name]) and vary_within(head, date, name)]
    if len(others) < 3 and settings.layout == "long" and not settings.columns.id:
        clocks = [
            name for name in clocks if not _are_numbers(head[name])
        ]  # the only column that can be the id
    if len(clocks) > 1:
        raise SeveralTimes(path, [(date, name) for name in clocks])
    if clocks and head.duplicated(date).any():
        times = join_written_times(head, [date, clocks[0]])
        refuse_parts_of_hours(head, times, clocks[0], periods, path)
        return clocks[0]
    if periods and head.duplicated(date).any() and not (settings.date_format or "").startswith("periods:"):
        raise UserError(
            f"{path}: column {periods[0]!r} seems to number the periods of the days of {date!r}; set "
            f"data.columns.time={show_list([date, periods[0]])} and "
            f"data.date_format=periods:{guess_period(head[periods[0]])} with their length"
        )
    if not clocks and head.duplicated(date).any():
        refuse_words_among_clocks(head, others, path)
    return periods[0] if periods and (settings.date_format or "").startswith("periods:") else None


def _are_numbers(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) or are_numbers(tidy(sample_cells(values)))


def _are_clock_times(values: pd.Series) -> bool:
    """Return whether values are clock times (00:00, 06:30:00, 6:00-6:59), or whole hours, as 6 or 600, in a
    column that is named for them.
    """
    named = CLOCK_NAME.search(mark_words(values.name)) is not None
    if pd.api.types.is_numeric_dtype(values) and not named:
        return False
    texts = sample_cells(values)
    if not texts:
        return False
    if not are_numbers(tidy(texts)):
        if named and are_hour_labels(texts):
            return True
        return all(re.fullmatch(rf"\s*(0 days )?{CLOCK}(\s*[-–]\s*{CLOCK})?\s*", text) for text in texts)
    found = pd.Series(pd.to_numeric(values, errors="coerce").dropna().unique())
    of_the_day = found.isin(range(25)).all() or (found.isin(range(2401)) & (found % 100 < 60)).all()
    return named and bool(of_the_day and len(found) > 1)


def _are_periods(values: pd.Series) -> bool:
    """Return whether values are numbers 1 to 48, or another count, in a column that is named for periods."""
    if PERIOD_NAME.search(str(values.name).lower()) is None:
        return False
    found = pd.to_numeric(values, errors="coerce").dropna().unique()
    whole = len(found) > 1 and (np.mod(found, 1) == 0).all()
    return bool(whole and found.min() >= 0 and found.max() <= 100)
