"""Series as other tools read them: a table (wide or long, CSV or Parquet) or a store, and a text beside it
that says what the columns are. `fold_channels` undoes the wide layout when such a table is read back.
"""

import re
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

from distgan.csvtext import escape_cell, format_csv, unescape_cell
from distgan.data.store.metadata import Meta
from distgan.data.store.reader import Store
from distgan.data.tables import Source
from distgan.files import whole_file, whole_folder, write_text
from distgan.progress import Progress

ID, TIME = "id", "timestamp"
BLOCK_BYTES = 32 << 20  # of series in memory at a time, in a long table
WIDE_NAME = re.compile(r"(.+-\d{6,}) (.+)")  # of a column: the series, a blank, the channel


@dataclass(frozen=True)
class Exported:
    """A table or store that stands at `place`, and how it is laid out: wide, long or store."""

    place: Path
    layout: str
    name: str


def name_series(name: str, row: int) -> str:
    """Return the id of a series: `synthetic-000001`."""
    return f"{name}-{row:06d}"


def choose_layout(layout: str, meta: Meta) -> str:
    """Return wide or long: `auto` is wide for one channel and long for several."""
    return layout if layout != "auto" else "long" if len(meta.channels) > 1 else "wide"


def export(source: Path, place: Path, name: str, layout: str = "auto") -> Exported:
    """Write a store as `place` (.csv, .parquet or .zarr), replacing what stands there; whole or not at all.

    Wide tables have a row a step and a column a series (and channel: `synthetic-000001 kWh`), long ones a row
    a series and step, with the columns id, timestamp and one a channel. A CSV holds each float32 in the
    fewest digits that give it back; missing values are empty cells.

    Raises:
        UserError, DiskFull: the store cannot be read or the table not be written.
    """
    if place.suffix == ".zarr":
        with whole_folder(place) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
        return Exported(place, "store", name)
    store = Store.open(source)
    chosen = choose_layout(layout, store.meta)
    tables = {"wide": _wide_tables, "long": _long_tables}[chosen](store, name)
    with whole_file(place) as temporary:
        _write_tables(temporary, place.suffix, tables)
    return Exported(place, chosen, name)


def _wide_tables(store: Store, name: str) -> Iterator[pa.Table]:
    channels = store.meta.channels
    columns: dict[str, Any] = {TIME: store.meta.axis.times()}
    for first, block in store.blocks(256):
        for row, series in enumerate(block, first):
            for c, channel in enumerate(channels):
                more = f" {channel}" if len(channels) > 1 else ""
                columns[escape_cell(f"{name_series(name, row)}{more}")] = pa.array(
                    series[:, c].copy(), from_pandas=True
                )
    yield pa.table(columns)


def _long_tables(store: Store, name: str) -> Iterator[pa.Table]:
    meta = store.meta
    times = pa.array(meta.axis.times())
    headers = _long_headers(meta)
    with Progress("writing the table", store.num_series, "series") as progress:
        for first, block in store.blocks(max(1, BLOCK_BYTES // (4 * store.length * store.channels))):
            ids = [name_series(name, row) for row in range(first, first + len(block))]
            columns: list[Any] = [
                pa.array(np.repeat(ids, store.length)),
                pa.concat_arrays([times] * len(block)),
                *(pa.array(block[:, :, c].ravel(), from_pandas=True) for c in range(store.channels)),
            ]
            yield pa.table(columns, names=headers)
            progress.advance(len(block))


def _long_headers(meta: Meta) -> list[str]:
    """The columns of a long table; a channel that is called like another column gets a mark."""
    taken = (ID, TIME)
    named = [f"{name} (value)" if name.lower() in taken else name for name in meta.channels]
    return [*taken, *map(escape_cell, named)]


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


def write_labels(place: Path, labels: Sequence[str]) -> None:
    """Write the label of every series, one a line, as a CSV table of one column."""
    write_text(place, format_csv(["label"], [[str(label)] for label in labels]))


def readme_of(place: Path) -> Path:
    """synthetic.csv -> synthetic.README.txt."""
    return place.with_name(f"{place.stem}.README.txt")


def labels_of(place: Path) -> Path:
    """synthetic.csv -> synthetic.labels.csv."""
    return place.with_name(f"{place.stem}.labels.csv")


def write_readme(made: Exported, meta: Meta, count: int, clock: str, credit: str, labelled: bool) -> None:
    """Write what the columns, units and times of an export are, beside it.

    Args:
        clock: what is known of the zone; "" where nothing is.
        credit: whose data the series were learned from; "" to leave that out.
    """
    axis = meta.axis
    times = axis.times()
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
            *(f"{header}  a channel" for header in _long_headers(meta)[2:]),
        ],
        "store": ["values [series, steps, channels], float32, Zarr v3; missing values are NaN"],
    }[made.layout]
    lines = [
        f"{made.place.name}: {count} synthetic series of {axis.length} steps, {made.layout} layout",
        "",
        "Columns" if made.layout != "store" else "Array",
        *(f"- {line}" for line in columns),
        "- an empty cell is a missing value" if made.layout != "store" else "- rows are series, in order",
        "",
        f"Channels  {channels}",
        f"Units     {meta.units or 'not told by the source (data.units)'}",
        f"Times     {times[0]} to {times[-1]}, a step of {axis.step_seconds} s"
        + ("" if axis.leap_days else ", years of 365 days (no 29 February)"),
        f"Zone      {clock or 'as in the source'}",
    ]
    lines += (
        [f"Labels    {labels_of(made.place).name}, one a line, in the order of the series"]
        if labelled
        else []
    )
    lines += [f"Source    learned from: {credit}"] if credit else []
    text = "".join(f"{' '.join(line.splitlines())}\n" for line in lines)
    write_text(readme_of(made.place), text)


# ----------------------------------------------------------------------------------------------- reading back


def fold_channels(source: Source) -> Source:
    """Return a wide table that `export` wrote of several channels as series of these channels; any other
    source as it is. Such a table has a column for each series and channel, in order, named SERIES CHANNEL.
    """
    found = [WIDE_NAME.fullmatch(name) for name in source.entities]
    if len(source.meta.channels) != 1 or source.owners != source.entities or not all(found):
        return source
    pairs = [(match[1], match[2]) for match in found if match]
    channels = [channel for series, channel in pairs if series == pairs[0][0]]
    names = list(dict.fromkeys(series for series, _ in pairs))
    if len(channels) < 2 or pairs != [(series, channel) for series in names for channel in channels]:
        return source
    meta = replace(source.meta, channels=tuple(unescape_cell(channel) for channel in channels))
    block = partial(_folded_block, source.block, len(channels))
    return Source(block, names, list(names), meta, source.labels)


def _folded_block(block: Callable[[int, int], np.ndarray], depth: int, first: int, last: int) -> np.ndarray:
    values = block(first * depth, last * depth)  # [n * C, L, 1]
    return values.reshape(last - first, depth, -1).transpose(0, 2, 1).copy()
