"""What every reader of tables gives: pieces that fit into memory, and in the end a source of series."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from distgan.data.formats.understood import Understood
from distgan.data.store.metadata import Meta
from distgan.errors import UserError


@dataclass
class Source:
    """Series of one source before any are left out; values are read a block of series at a time.

    Attributes:
        block: first, last -> float32 [last - first, L, C] (float64 of counters that will be differenced), NaN
            = missing.
        labels: a public class of each series, if the source has one.
        attributes: column -> value for each series.
    """

    block: Callable[[int, int], np.ndarray]
    entities: list[str]
    owners: list[str]
    meta: Meta
    labels: list[str] | None = None
    attributes: dict[str, list[str]] = field(default_factory=dict)
    understood: Understood = field(default_factory=Understood)


@dataclass(frozen=True)
class Piece:
    """A part of a table that fits into memory. A piece of text is pickled for the process that parses it.

    Attributes:
        read: text=columns, decimal=mark -> the rows, with the columns of `text` as strings as written, and
            numbers that are written with another decimal mark as strings, too. `frame.attrs` says what was
            left out: "repeated_headers".
        size: bytes of text; 0 of others.
    """

    name: str
    read: Callable[..., pd.DataFrame]
    first_line: Callable[[], int]  # of its first row, as the user counts lines; may have to look
    file: Path
    entity: str | None = None  # where the whole piece is one entity's
    line_of: Callable[[int], int] | None = None  # of a row, where rows and lines do not go together
    # Columns and rows, as text.
    as_written: Callable[[tuple[str, ...], int | None], pd.DataFrame] | None = None
    size: int = 0

    def find_line(self, row: int) -> int:
        """Return the line of a row of this piece, counted from 1 in its file."""
        return self.line_of(row) if self.line_of is not None else self.first_line() + int(row)


def refuse_twice(names: list[str], what: str) -> None:
    """
    Raises:
        UserError: a name stands twice.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{what} {name!r} stands {names.count(name)} times; names must differ")
        seen.add(name)


def take_first_line(error: BaseException) -> str:
    """Return the first line of a library's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
