"""Times in several columns: year, month, day and smaller parts of them."""

import re
from collections.abc import Sequence

import pandas as pd

PARTS = ("year", "month", "day", "hour", "minute", "second")  # columns that make up a time together
LIMITS = ((1900, 2100), (1, 12), (1, 31), (0, 24), (0, 59), (0, 59))
SHORT = (  # as other names say them, where they stand side by side
    r"y|yr|yy|yyyy|year|jahr|ann[ée]e|an|a[nñ]o|anno|jaar|rok",
    r"m|mo|mon|mth|mnth|mm|month|monat|mois|mes|mese|maand",
    r"d|dy|dd|dom|day|tag|jour|d[ií]a|giorno|dag",
    r"h|hr|hh|hour|stunde|std|heure|hora|ora|uur",
    r"mi|mn|min|mm|minute|minuten?",
    r"s|ss|sec|second|sekunde",
)


def are_named_parts(names: Sequence[str]) -> bool:
    """Return whether columns are called year, month, day and perhaps hour, minute and second."""
    called = [str(name).strip().lower() for name in names]
    return len(called) >= 3 and called == list(PARTS[: len(called)])


def are_in_range(head: pd.DataFrame, names: Sequence[str]) -> bool:
    """Return whether columns hold the numbers of years, months, days and smaller parts, in this order."""
    if not 3 <= len(names) <= len(PARTS):
        return False
    for name, (low, high) in zip(names, LIMITS):
        numbers = pd.to_numeric(head[name], errors="coerce").dropna()
        if not len(numbers) or not numbers.between(low, high).all() or (numbers % 1 != 0).any():
            return False
    return True


def are_date_and_clock(head: pd.DataFrame, names: Sequence[str]) -> bool:
    """Return whether four columns hold year, month, day and a clock time, as 06:30 or 630."""
    if len(names) != 4 or not are_in_range(head, names[:3]):
        return False
    texts = head[names[3]].dropna().astype(str).str.strip()
    if texts.str.fullmatch(r"\d{1,2}:\d\d(:\d\d)?").all():
        return True
    numbers = pd.to_numeric(texts, errors="coerce")
    return bool((numbers.between(0, 2400) & (numbers % 100 < 60)).all())


def find_short_parts(head: pd.DataFrame, free: Sequence[str]) -> list[str]:
    """Return columns side by side that are called year, month, day and so on by other names (YEAR, MO, DY,
    HR); none if there are none.
    """
    called = [str(name).strip().lstrip("#").lower() for name in free]
    for start in range(len(free) - 2):
        many = 0
        while many < len(SHORT) and start + many < len(free):
            if not re.fullmatch(SHORT[many], called[start + many]):
                break
            many += 1
        if many >= 3 and are_in_range(head, free[start : start + many]):
            return list(free[start : start + many])
    return []


def find_nameless_parts(head: pd.DataFrame, free: Sequence[str]) -> list[str]:
    """Return columns side by side whose numbers may be years, months, days and hours, whatever their names;
    none if there are none.
    """
    for start in range(min(4, len(free) - 3)):
        many = 4 if are_in_range(head, free[start : start + 4]) else 3
        found = list(free[start : start + many])
        if are_in_range(head, found) and head[found[1]].nunique() + head[found[2]].nunique() > 3:
            return found
    return []


def is_joined_by_blanks(form: str | None) -> bool:
    """Return whether data.date_format reads several columns with blanks between, as year and day of the year
    are written.
    """
    return form is not None and "%j" in form
