"""Columns that repeat a part of the times, such as the hour or the day of the week, and are no readings."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from distgan.data.store.metadata import Axis

MOST_LOOKED = 16  # columns by whose names they may repeat the calendar
NAME = re.compile(r"\s*[A-Za-z_ ]{2,15}\s*")
FEWEST = 24  # steps with a value
OFFSET = re.compile(r"((utc|gmt|tz|zone|time_?zone|dst)_?)?offset|tz|utc|gmt|time_?zone|zone")
UNITS_OF_OFFSETS = (1, 60, 3600, 100)  # of hours, minutes, seconds, and as -0500

Part = Callable[[np.ndarray], np.ndarray]


def _count_since(unit: str, larger: str) -> Part:
    """Return the function that counts units from the beginning of the larger one: of times [L], int64 [L]."""
    return lambda times: (times.astype(f"M8[{unit}]") - times.astype(f"M8[{larger}]")).astype(np.int64)


def _find_weekday(times: np.ndarray) -> np.ndarray:
    return (times.astype("M8[D]").astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday


def _find_weekend(times: np.ndarray) -> np.ndarray:
    return (_find_weekday(times) >= 5).astype(np.int64)


PARTS: dict[
    str, tuple[str, Part, int]
] = {  # name -> how columns are called, the part, after which it repeats
    "year": (r"years?|yr|jahr", lambda times: times.astype("M8[Y]").astype(np.int64), 0),
    "quarter": (r"quarters?|qtr", lambda times: _count_since("M", "Y")(times) // 3, 4),
    "month": (r"months?|mon|monat", _count_since("M", "Y"), 12),
    "day": (r"(day|dom|day_?of_?month|tag)", _count_since("D", "M"), 0),
    "yearday": (r"(doy|day_?of_?year|yearday)", _count_since("D", "Y"), 0),
    "weekday": (r"(week_?day|dow|day_?of_?week|wday|wochentag|day)", _find_weekday, 7),
    "hour": (r"(hours?|hr|hod|hour_?of_?day|stunde)", _count_since("h", "D"), 24),
    "minute": (r"(minutes?|min)", _count_since("m", "h"), 60),
    "weekend": (r"(is_?)?(weekend|working_?day|work_?day|business_?day)", _find_weekend, 2),
}


def find_calendar_columns(
    names: Sequence[str], values_of: Callable[[int], np.ndarray], axis: Axis
) -> list[int]:
    """Return the columns that are named for a part of the times and hold it at each, up to a constant.

    Args:
        values_of: the values of a column, [steps].
    """
    found: list[int] = []
    for number, name in enumerate(names):
        if not NAME.fullmatch(name):
            continue  # quickly, of a million ids
        plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().strip()
        offset = re.fullmatch(OFFSET, plain.replace(" ", "_")) is not None
        parts = [(part, cycle) for called, part, cycle in PARTS.values() if re.fullmatch(called, plain)]
        if not (offset or 0 < len(parts) <= 2) or len(found) >= MOST_LOOKED:
            continue
        values, times = np.asarray(values_of(number), np.float64), axis.list_times()
        there = np.isfinite(values)
        if there.sum() < FEWEST or (values[there] != np.rint(values[there])).any():
            continue
        whole = np.rint(values[there]).astype(np.int64)
        if (offset and _are_offsets(whole)) or any(
            _is_calendar_part(whole, part(times[there]), cycle) for part, cycle in parts
        ):
            found.append(number)
    return found


def _is_calendar_part(values: np.ndarray, part: np.ndarray, cycle: int) -> bool:
    """Return whether values that change are those of a part of the calendar, shifted by a constant."""
    shift = values - part
    if cycle:
        shift = shift % cycle
    return len(np.unique(values)) > 1 and len(np.unique(shift)) == 1


def _are_offsets(values: np.ndarray) -> bool:
    """Return whether values are UTC offsets of winter and summer, an hour apart."""
    low, high = int(values.min()), int(values.max())
    return bool(
        set(np.unique(values).tolist()) == {low, high}
        and any(high - low == unit and -12 * unit <= low and high <= 14 * unit for unit in UNITS_OF_OFFSETS)
    )
