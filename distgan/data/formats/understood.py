"""What a reader understood of a source: shown by `distgan inspect` and in the first lines of `prepare`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Understood:
    """How a source was read. Empty fields do not apply to the source, or are not known.

    Attributes:
        layout: wide, long, day_wide, folder, array, store, ….
        header_line: line of the column names, from 1; 0 where the table has no header.
        decimal, thousands: the marks in numbers, as written.
        time_format: how times are written, e.g. `%d/%m/%Y %H:%M`, `epoch seconds`.
        zone: the clock of the times, e.g. `UTC`, `Europe/London`, `as written`.
        merged_duplicates: readings that repeat an equal reading of the same entity and time.
        conflicting_duplicates: readings that disagree with another one of the same entity and time.
        off_grid: readings between two steps of the axis, which were left out.
        skipped_rows: rows that hold no reading (titles, units, totals).
        notes: further sentences.
    """

    layout: str = ""
    encoding: str = ""
    separator: str = ""
    header_line: int | None = None
    decimal: str = ""
    thousands: str = ""
    time_columns: tuple[str, ...] = ()
    time_format: str = ""
    zone: str = ""
    id_columns: tuple[str, ...] = ()
    value_columns: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    merged_duplicates: int = 0
    conflicting_duplicates: int = 0
    off_grid: int = 0
    skipped_rows: int = 0
    notes: tuple[str, ...] = ()
