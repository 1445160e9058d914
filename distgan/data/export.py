"""Export series for other tools: a table (wide or long, CSV or Parquet) or a store, and a README that
describes the columns. `fold_channels` undoes the wide layout when such a table is read back.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from distgan.config.training import MOST_COLUMNS
from distgan.csvtext import escape_cell, format_csv, unescape_cell
from distgan.data.formats.column_names import SERIES_CHANNEL
from distgan.data.store.metadata import NOMINAL, Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.tables import Source
from distgan.errors import UserError
from distgan.files import read_text, whole_file, whole_folder, write_text
from distgan.memory import scale_buffer
from distgan.progress import Progress, format_count
from distgan.run import locate_attributes, locate_labels, locate_readme

ID, TIME = "id", "timestamp"
BLOCK_BYTES = 32 << 20  # of values in memory at a time
LONG_BYTES = 8 << 20  # the same of a long table, whose rows have an id and a time beside each value
WIDE_BYTES = 128 << 20  # the same of a wide table, for each part of which all series are read
FILE_BYTES = 128 << 20  # of values in one file of a Parquet data set
WIDE_COLUMNS = 2000  # of a wide table, by default; allowed are MOST_COLUMNS


@dataclass(frozen=True)
class Exported:
    """A table or store that stands at `place`, and how it is laid out: wide, long or store."""

    place: Path
    layout: str
    name: str


def name_series(name: str, row: int) -> str:
    """Return the id of a series: `synthetic-000001`."""
    return f"{name}-{row:06d}"


def choose_layout(layout: str, suffix: str, channels: int, num_series: int) -> str:
    """Return wide, long or list: `auto` is wide for few series of one channel and long otherwise.

    Raises:
        UserError: a wide table would have more columns than readers take, or a CSV would hold lists.
    """
    columns = num_series * channels
    if layout == "list" and suffix != ".parquet":
        raise UserError("generate.layout=list needs generate.format=parquet: a CSV has no lists; choose long")
    if layout == "wide" and columns > MOST_COLUMNS:
        raise UserError(
            f"generate.layout=wide makes a table of {columns:,} columns, and readers take a few thousand "
            f"(at most {MOST_COLUMNS:,} here); choose generate.layout=long, or list with "
            "generate.format=parquet"
        )
    if layout != "auto":
        return layout
    return "wide" if channels == 1 and columns <= WIDE_COLUMNS else "long"


def export(source: Path, place: Path, name: str, layout: str = "auto") -> Exported:
    """Write a store as `place` (.csv, .parquet or .zarr), replacing what stands there; whole or not at all.

    Wide tables have a row per step and a column per series (and channel: `synthetic-000001 kWh`). Long ones
    have a row per series and step, with the columns id, timestamp and one per channel. List tables, of
    Parquet alone, have a row per series, with its id and a list of L values per channel. A CSV holds each
    float32 in the fewest digits that give it back; missing values are empty cells. Long and list Parquet of
    more than 128 MiB of values is a folder of files of about that size. Memory holds some 32 MiB of values,
    of wide tables some 128 MiB.

    Raises:
        UserError, DiskFull: the store cannot be read or the table not be written.
    """
    if place.suffix == ".zarr":
        with whole_folder(place) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
        return Exported(place, "store", name)
    store = Store.open(source)
    chosen = choose_layout(layout, place.suffix, store.channels, store.num_series)
    rows = (
        store.num_series if chosen == "wide" or place.suffix == ".csv" else _count_rows_in(store, FILE_BYTES)
    )
    make = {"wide": _iterate_wide_tables, "long": _iterate_long_tables, "list": _iterate_list_tables}[chosen]
    parts = [
        make(store, name, first, min(first + rows, store.num_series))
        for first in range(0, store.num_series, rows)
    ]
    if len(parts) == 1:
        with whole_file(place) as temporary:
            _write_tables(temporary, place.suffix, parts[0])
            if place.is_dir():  # of an earlier export, which was larger
                shutil.rmtree(place)
        return Exported(place, chosen, name)
    with whole_folder(place) as temporary:
        for number, tables in enumerate(parts):
            _write_tables(temporary / f"part-{number:05d}{place.suffix}", place.suffix, tables)
        if place.is_file():  # of an earlier export, which was smaller
            place.unlink()
    return Exported(place, chosen, name)


def remove(place: Path) -> None:
    """Remove an exported table, a file or a folder of files, if it is there."""
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def remove_companions(place: Path) -> None:
    """Remove the tables of labels and of attributes that the README of an earlier export at `place` names."""
    readme = locate_readme(place)
    named = read_text(readme) if readme.exists() else ""
    for line, companion in (
        (describe_labels(place), locate_labels(place)),
        (describe_attributes(place), locate_attributes(place)),
    ):
        if line in named:
            companion.unlink(missing_ok=True)


def _count_rows_in(store: Store, size: int) -> int:
    """Return the number of series whose values fill `size` bytes."""
    return max(1, size // (4 * store.length * store.channels))


def _iterate_blocks(
    store: Store, first: int, last: int, size: int = BLOCK_BYTES
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (row, values [n, L, C]) of the series first .. last, some 32 MiB at a time."""
    rows = _count_rows_in(store, scale_buffer(size))
    for row in range(first, last, rows):
        yield row, store.read_rows_once(np.arange(row, min(row + rows, last)))


def _iterate_wide_tables(store: Store, name: str, first: int, last: int) -> Iterator[pa.Table]:
    """Yield the rows of some steps of all series, of the next steps, and so on."""
    channels, times = store.meta.channels, store.meta.axis.list_times()
    marks = [f" {channel}" if len(channels) > 1 else "" for channel in channels]
    names = [escape_cell(f"{name_series(name, row)}{mark}") for row in range(first, last) for mark in marks]
    step = max(1, scale_buffer(WIDE_BYTES) // (4 * len(names)))
    with Progress("writing the table", store.length, "steps") as progress:
        for begin in range(0, store.length, step):
            steps = slice(begin, begin + step)
            values = np.concatenate(
                [block[:, steps].transpose(0, 2, 1) for _, block in _iterate_blocks(store, first, last)]
            )
            columns = values.reshape(len(names), -1)
            arrays = [pa.array(times[steps]), *(pa.array(column, from_pandas=True) for column in columns)]
            yield pa.table(arrays, names=[TIME, *names])
            progress.advance(columns.shape[1])


def _iterate_long_tables(store: Store, name: str, first: int, last: int) -> Iterator[pa.Table]:
    times = pa.array(store.meta.axis.list_times())
    headers = _name_long_columns(store.meta)
    with Progress("writing the table", last - first, "series") as progress:
        for start, block in _iterate_blocks(store, first, last, LONG_BYTES):
            ids = pa.array([name_series(name, row) for row in range(start, start + len(block))])
            columns: list[Any] = [
                ids.take(pa.array(np.repeat(np.arange(len(block), dtype=np.int32), store.length))),
                pa.concat_arrays([times] * len(block)),
                *(pa.array(block[:, :, c].ravel(), from_pandas=True) for c in range(store.channels)),
            ]
            yield pa.table(columns, names=headers)
            progress.advance(len(block))


def _iterate_list_tables(store: Store, name: str, first: int, last: int) -> Iterator[pa.Table]:
    headers = [header for header in _name_long_columns(store.meta) if header != TIME]
    for start, block in _iterate_blocks(store, first, last):
        offsets = np.arange(len(block) + 1, dtype=np.int32) * store.length
        columns: list[Any] = [pa.array([name_series(name, row) for row in range(start, start + len(block))])]
        for c in range(store.channels):
            values = pa.array(block[:, :, c].ravel(), from_pandas=True)
            columns.append(pa.ListArray.from_arrays(offsets, values))
        yield pa.table(columns, names=headers)


def _name_long_columns(meta: Meta) -> list[str]:
    """Return the columns of a long table; a channel that is called like another column gets a mark, also
    where the names differ in upper and lower case alone, which SQL takes for the same.
    """
    named = [ID, TIME]
    for name in map(escape_cell, meta.channels):
        taken = {other.lower() for other in named}
        while name.lower() in taken:
            name = f"{name} (value)"
        named.append(name)
    return named


def _write_tables(path: Path, suffix: str, tables: Iterator[pa.Table]) -> None:
    """Write one table after another, all of the same columns."""
    first = next(tables)
    if suffix == ".parquet":
        with pa.parquet.ParquetWriter(path, first.schema) as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)
        return
    with open(path, "wb") as file:
        _write_csv(file, first, tables)


def _write_csv(file: IO[bytes], first: pa.Table, tables: Iterator[pa.Table]) -> None:
    file.write(format_csv([unescape_cell(name) for name in first.column_names], []).encode("utf-8"))
    options = pa.csv.WriteOptions(include_header=False, quoting_style="none")  # ids, times and numbers
    for table in chain([first], tables):
        pa.csv.write_csv(table, file, options)


def write_by_series(place: Path, name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write labels or attributes of every series as a CSV table: its id, as in an export, and its row."""
    ids = (name_series(name, row) for row in range(len(rows)))
    write_text(place, format_csv([name_ids(header), *header], ([id, *row] for id, row in zip(ids, rows))))


def name_ids(header: Sequence[str]) -> str:
    """Return the name of the column of ids beside columns of these names."""
    return ID if ID not in header else f"{ID} (series)"


def describe_labels(place: Path) -> str:
    """Return the line of an export's README about its labels."""
    return f"Labels    {locate_labels(place).name}, a row per series"


def describe_attributes(place: Path) -> str:
    """Return the line of an export's README about its attributes."""
    return f"Attributes {locate_attributes(place).name}, a row per series"


def describe_times(axis: Axis, clock: str) -> str:
    """Return the first and the last time, and the step; nominal times only count the steps."""
    times = axis.list_times()
    if clock.startswith(NOMINAL):
        return f"none in the source: stamps from {times[0]}, {axis.step_seconds} s apart, count the steps"
    leap = "" if axis.leap_days else ", years of 365 days (no 29 February)"
    return f"{times[0]} to {times[-1]}, a step of {axis.step_seconds} s{leap}"


def describe_axis(meta: Meta) -> str:
    """Return what else the times of a README stand for: other windows, or other years."""
    if "windows" in meta.provenance:
        return "; those of the first window, and a series may be like any other one (data.windows)"
    years = meta.provenance.get("years", [])
    if len(years) > 1:
        return f"; series like those of {min(years)} to {max(years)} all stand on this one axis (data.cut)"
    return ""


def write_readme(
    made: Exported, meta: Meta, count: int, clock: str, credit: str, more: Sequence[str]
) -> None:
    """Write what the columns, units and times of an export are, beside it.

    Args:
        clock: what is known of the zone; "" where nothing is.
        credit: whose data the series were learned from; "" to leave that out.
        more: lines about other files of the export.
    """
    axis = meta.axis
    channels = ", ".join(escape_cell(channel) for channel in meta.channels)
    columns = {
        "wide": [
            f"{TIME}  the beginning of each step",
            f"{name_series(made.name, 0)} …  one column a series"
            + (" and channel, written SERIES CHANNEL" if len(meta.channels) > 1 else ""),
        ],
        "long": [
            f"{ID}  the series, {name_series(made.name, 0)} …",
            f"{TIME}  the beginning of each step",
            *(f"{header}  a channel" for header in _name_long_columns(meta)[2:]),
        ],
        "list": [
            f"{ID}  the series, {name_series(made.name, 0)} …",
            *(
                f"{header}  a list of {format_count(axis.length, 'value')}"
                for header in _name_long_columns(meta)[2:]
            ),
        ],
        "store": ["values [series, steps, channels], float32, Zarr v3; missing values are NaN"],
    }[made.layout]
    empty = "an empty cell" if made.place.suffix == ".csv" else "null"
    steps = format_count(axis.length, "step")
    lines = [
        f"{made.place.name}: {count:,} synthetic series of {steps}, {made.layout} layout",
        "",
        "Columns" if made.layout != "store" else "Array",
        *(f"- {line}" for line in columns),
        "- rows are series, in order" if made.layout == "store" else f"- {empty} is a missing value",
        "",
        f"Channels  {channels}",
        f"Units     {meta.units or 'not stated by the source (data.units)'}",
        f"Times     {describe_times(meta.axis, clock)}{describe_axis(meta)}",
        f"Zone      {clock or 'as in the source'}",
    ]
    lines += more
    lines += [f"Source    learned from: {credit}"] if credit else []
    lines += format_snippets(made)
    text = "".join(f"{' '.join(line.splitlines())}\n" for line in lines)
    write_text(locate_readme(made.place), text)


def format_snippets(made: Exported) -> list[str]:
    """Return how four libraries read the export, as lines of its README; a line each."""
    name, is_folder = made.place.name, made.place.is_dir()
    if made.layout == "store":
        return ["", "Reading", f'  zarr     zarr.open({_quote(name)})["values"]']
    files = f"{name}/*{made.place.suffix}" if is_folder else name
    quoted = "'" + files.replace("'", "''") + "'"
    if made.place.suffix == ".parquet":
        return [
            "",
            "Reading",
            f"  pandas   pandas.read_parquet({_quote(name)})",
            f"  polars   polars.scan_parquet({_quote(files)})",
            f"  DuckDB   SELECT * FROM {quoted}",
            f"  Spark    spark.read.parquet({_quote(name)})",
        ]
    return [  # types go by all rows: the first ones may be whole numbers or empty
        "",
        "Reading",
        f"  pandas   pandas.read_csv({_quote(name)})",
        f"  polars   polars.scan_csv({_quote(name)}, infer_schema_length=None)",
        f"  DuckDB   SELECT * FROM read_csv({quoted}, sample_size=-1)",
        f'  Spark    spark.read.option("header", True).option("inferSchema", True).csv({_quote(name)})',
    ]


def _quote(text: str) -> str:
    """Return a text as Python and Scala write it."""
    return json.dumps(text, ensure_ascii=False)


# ----------------------------------------------------------------------------------------------- reading back


def fold_channels(source: Source) -> Source:
    """Return a wide table that `export` wrote of several channels as series of these channels; any other
    source as it is. Such a table has a column for each series and channel, in order, named SERIES CHANNEL.
    """
    found = [SERIES_CHANNEL.fullmatch(name) for name in source.entities]
    if len(source.meta.channels) != 1 or source.owners != source.entities or not all(found):
        return source
    pairs = [(match[1], match[2]) for match in found if match]
    channels = [channel for series, channel in pairs if series == pairs[0][0]]
    names = list(dict.fromkeys(series for series, _ in pairs))
    if len(channels) < 2 or pairs != [(series, channel) for series in names for channel in channels]:
        return source
    meta = replace(source.meta, channels=tuple(unescape_cell(channel) for channel in channels))
    block = partial(_fold_block, source.block, len(channels))
    return Source(block, names, list(names), meta, source.labels)


def _fold_block(block: Callable[[int, int], np.ndarray], depth: int, first: int, last: int) -> np.ndarray:
    values = block(first * depth, last * depth)  # [n * C, L, 1]
    return values.reshape(last - first, depth, -1).transpose(0, 2, 1).copy()
