"""Columns that are the quarters of each hour, or the hours of each day: no entities, and no channels."""

import re
from collections.abc import Sequence
from pathlib import Path

from distgan.data.formats.column_names import DAY, parse_clock, select_even_clocks
from distgan.data.formats.day_parts import find_day_parts
from distgan.errors import UserError

HOUR = 3600
NUMBERED = re.compile(r"(?P<before>\D*?)0*(?P<number>\d{1,2})(?P<after>\D{0,8})")  # :15, q1, m30
PARTS_OF_AN_HOUR = (2, 3, 4, 6, 12)  # 60 columns may be m00 to m59
MINUTES = ("", "m", "min", "minute", "minutes", "t")
MINUTES_OF_ROWS = (  # before sixty numbers, as wearables name them, too
    *("", "min", "minute", "minutes", "value", "values", "kwh", "wh", "kw", "w"),
    *("steps", "calories", "intensity", "mets", "hr", "heartrate"),
)
SPAN = re.compile(r"(?:m|min|minutes?)?[ _]?:?(\d{1,2})\s?(?:-|–|_|to|bis)\s?:?(\d{1,2})(?: ?min)?", re.I)
QUARTERS = (
    "q",
    "qh",
    "quarter",
    "quarter hour",
    "viertel",
    "viertelstunde",
    "quart",
    "interval",
    "int",
    "intvl",
    "qtr",
    "period",
    "slot",
)
LAST_PART = re.compile(r"(.*[^\s_.|/-])[\s_.|/-]+(\S+)", re.S)  # H1_00, H1 00:30
MOST_COLUMNS = 20_000


def refuse_columns_of_parts(path: Path, names: Sequence[str], step: int, what: str) -> None:
    """
    Args:
        names: columns that are read as entities, or as channels, in rows that are `step` seconds apart.
        what: the setting that says that they are, and the word for them.

    Raises:
        UserError: they are parts of the step of each row.
    """
    if len(names) < 2 or len(names) > MOST_COLUMNS:
        return
    parts = ""
    if step == HOUR and _number_parts_of_hours(names):
        parts = "each hour"
    elif step == DAY and _number_parts_of_days(names):
        parts = "each day, of several entities"
    if parts:
        raise UserError(
            f"{path}: columns {names[0]!r} to {names[-1]!r} seem to be the parts of {parts}; write a row for "
            f"each time (pandas: melt), or set {what}"
        )


def _number_parts_of_hours(names: Sequence[str]) -> bool:
    """Return whether names are the minutes 0, 15, 30, 45 (or 15 to 60), quarters 1 to 4, or 00-15 to 45-60.

    Minutes may stand behind any word if they are written as on a clock (kwh_00, kwh_15), since numbers of
    other things (depths in cm, say) have no such zeros.
    """
    many = len(names)
    if many not in (*PARTS_OF_AN_HOUR, 60):
        return False
    step = 60 // many
    spans = [SPAN.fullmatch(name.strip()) for name in names]
    if all(spans):
        pairs = sorted((int(span[1]), int(span[2])) for span in spans if span)
        return pairs in [[(at, at + wide) for at in range(0, 60, step)] for wide in (step, step - 1)]
    found = [NUMBERED.fullmatch(name.strip()) for name in names]
    forms = {(match["before"], match["after"]) for match in found if match}
    if not all(found) or len(forms) != 1:
        return False
    before = forms.pop()[0].strip(" _.:-").lower()
    numbers = sorted(int(match["number"]) for match in found if match)
    as_minutes = numbers in [list(range(first, first + 60, step)) for first in (0, step)]
    clock = as_minutes and numbers[0] == 0 and any(re.search(r"(?<!\d)00(?!\d)", name) for name in names)
    if many == 60:  # sixty of anything: m00 to m59 may be entities
        return clock and before in MINUTES_OF_ROWS
    if as_minutes and (before in MINUTES or clock):
        return True
    return before in QUARTERS and numbers in [list(range(first, first + many)) for first in (0, 1)]


def _number_parts_of_days(names: Sequence[str]) -> bool:
    """Return whether each of several first parts of names stands beside all parts of a day."""
    parts: dict[str, list[str]] = {}
    for name in names:
        match = LAST_PART.fullmatch(name.strip())
        if match is None:
            return False
        parts.setdefault(match[1], []).append(match[2])
    return len(parts) > 1 and all(_are_parts_of_a_day(each) for each in parts.values())


def _are_parts_of_a_day(parts: Sequence[str]) -> bool:
    clocks = {part: parse_clock(part) for part in parts}
    seconds = {part: clock for part, clock in clocks.items() if clock is not None and ":" in part}
    even = len(parts) > 3 and len(select_even_clocks(seconds)) == len(parts)
    return even or find_day_parts(sorted(set(parts))) > 0
