"""A column of times as written, and the one-line refusals that name its path, line, column and cell."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from distgan.errors import UserError

DAY = 86400


@dataclass(frozen=True)
class Where:
    """The file that stamps come from, and the line of each, as the user counts lines."""

    path: Path
    line_of: Callable[[int], int]


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

    values: datetime64[us] [n], as the clock shows them, or UTC where `utc`. zones: the zone written at
    each, empty where none is written; None if no stamp has one. clock: "UTC+05:00", where the source says so
    and times are as the clock shows them.
    """

    values: np.ndarray
    utc: bool = False
    zones: pa.Array | None = None
    notes: list[str] = field(default_factory=list)
    clock: str = ""
