"""What a reader understood of a source, for people to check before anything is trained."""

from dataclasses import dataclass, field


@dataclass
class Understood:
    """The way a table was read and what was done to its readings; every field is optional."""

    layout: str = ""  # wide, long, day_wide or transposed
    encoding: str | None = None
    separator: str | None = None
    header_line: int | None = None  # from 1; None where no line names the columns
    decimal: str | None = None
    thousands: str | None = None
    time_columns: list[str] = field(default_factory=list)
    time_format: str = ""
    id_columns: list[str] = field(default_factory=list)
    channel_column: str | None = None
    value_columns: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    ignored_columns: list[str] = field(default_factory=list)
    skipped_rows: list[str] = field(default_factory=list)  # title and units rows, as written
    stated_zone: str = ""  # that lines above the table state
    stated_units: list[str] = field(default_factory=list)  # above the table, below names, in attributes
    units_row: dict[str, str] = field(default_factory=dict)  # column -> unit, as a units row says
    repeated_headers: int = 0  # header lines inside the table, as in files that were joined
    merged_duplicates: int = 0  # readings that stood twice with equal values
    conflicting_duplicates: int = 0  # readings that stood twice with different values
    off_grid_ignored: int = 0  # rows without a reading at times between the steps
    outside_ignored: int = 0  # rows at times outside of data.axis
    notes: list[str] = field(default_factory=list)
