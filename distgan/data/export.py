"""A store of series as a table that other tools read, and its labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from distgan.csvtext import format_csv
from distgan.data.store import Store
from distgan.files import whole_file, write_text


def write_labels(place: Path, labels: Sequence[str]) -> None:
    """Write the label of every series, one a line, as a CSV table of one column."""
    write_text(place, format_csv(["label"], [[str(label)] for label in labels]))


def export(source: Path, place: Path, name: str) -> Path:
    """Write a store as a CSV or Parquet table, one column `name-000001` a series and channel; return its
    place. A CSV holds each float32 in the fewest digits that give it back.

    Raises:
        UserError, DiskFull: the store cannot be read or the table not be written.
    """
    store = Store.open(source)
    channels = store.meta.channels
    columns = {
        f"{name}-{row:06d}" + (f" {channel}" if len(channels) > 1 else ""): store.rows(np.array([row]))[
            0, :, c
        ]
        for row in range(store.num_series)
        for c, channel in enumerate(channels)
    }
    with whole_file(place) as temporary:
        _write_table(temporary, place.suffix, {"timestamp": store.meta.axis.times(), **columns})
    return place


def _write_table(path: Path, suffix: str, columns: dict[str, np.ndarray]) -> None:
    table = pa.table({key: pa.array(column, from_pandas=True) for key, column in columns.items()})
    if suffix == ".parquet":
        pa.parquet.write_table(table, path)
        return
    with open(path, "wb") as file:
        file.write(format_csv(table.column_names, []).encode("utf-8"))
        pa.csv.write_csv(table, file, pa.csv.WriteOptions(include_header=False, quoting_style="none"))
