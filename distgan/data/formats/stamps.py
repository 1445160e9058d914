"""A column of times as written, and the one-line refusals that name its path, line, column and cell."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from distgan.errors import UserError

FEWEST_LATE = 0.5  # share of dates whose midnight stands last
SORTED = 0.95  # share of the other times that rise
DAY = 86400


@dataclass(frozen=True)
class Where:
    """The file that stamps come from, the line of each, as the user counts lines, and the time zone that is
    stated above the table.
    """

    path: Path
    line_of: Callable[[int], int]
    zone: str = ""


@dataclass(frozen=True)
class Stamps:
    """The different stamps of a whole column, in order of first appearance."""

    texts: list[str]
    column: str
    where: Where

    def describe(self, place: int) -> str:
        """Return path, line, column and text of a stamp, to begin a message with."""
        line = self.where.line_of(place)
        return f"{self.where.path} line {line}, column {self.column!r}: {self.texts[place]!r}"

    def refuse(self, place: int, why: str) -> UserError:
        return UserError(f"{self.describe(place)} {why}")

    def refuse_first(self, bad: np.ndarray, why: str) -> None:
        """Raise for the first stamp that `bad` (bool [n]) marks, if any.

        Raises:
            UserError: a stamp is marked.
        """
        places = np.flatnonzero(bad)
        if len(places):
            raise self.refuse(int(places[0]), why)

    @property
    def name(self) -> str:
        """Return path and column, to begin a message about all stamps with."""
        return f"{self.where.path}: column {self.column!r}"


@dataclass
class Parsed:
    """Clock times of all stamps, and what is known of their zone.

    Attributes:
        values: datetime64[us] [n], as the clock shows them, or UTC where `utc`.
        zones: the zone written at each, empty where none is written; None if no stamp has one.
        clock: "UTC+05:00", where the source says so and times are as the clock shows them.
    """

    values: np.ndarray
    utc: bool = False
    zones: pa.Array | None = None
    notes: list[str] = field(default_factory=list)
    clock: str = ""


def refuse_late_midnights(moments: np.ndarray, where: Where) -> None:
    """
    Args:
        moments: datetime64[us] [n], the different times of a table in order of first appearance.

    Raises:
        UserError: the midnight of each date stands after its other times, so that it is the end of the day.
    """
    days = moments.astype("M8[D]")
    midnight = moments == days
    if not midnight.any() or midnight.all():
        return
    order = np.arange(len(moments))
    if np.count_nonzero(np.diff(moments).astype(np.int64) > 0) < len(moments) // 2:
        order = order[::-1]  # the latest rows stand first
    date, end = days[order], midnight[order]
    late = np.flatnonzero(end[1:] & ~end[:-1] & (date[1:] == date[:-1])) + 1
    rises = np.diff(np.delete(moments[order], late)).astype(np.int64) > 0
    most = len(late) >= max(2, FEWEST_LATE * len(np.unique(days))) and end.sum() - len(late) <= 1
    if most and rises.mean() > SORTED:
        raise UserError(
            f"{where.path}: midnight stands after the other times of its date on {len(late)} dates, the "
            f"first in line {where.line_of(int(order[late].min()))}, as if it ended the day: write it as "
            "24:00, or with the date of the next day; if it begins the day, sort the rows by time"
        )
