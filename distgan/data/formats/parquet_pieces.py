"""Parquet tables, row group by row group."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet as parquet

from distgan.data.formats.pieces import Piece, first_line_of, refuse_twice
from distgan.errors import UserError

SAMPLE_GROUPS, SAMPLE_ROWS, SAMPLE_CELLS = 4, 8192, 1 << 18


def parquet_pieces(path: Path) -> Iterator[Piece]:
    """Yield a piece for each row group.

    Raises:
        UserError: the file is damaged or has no rows.
    """
    try:
        table = parquet.ParquetFile(path)
        groups, rows = table.num_row_groups, table.metadata.num_rows
    except Exception as error:  # pyarrow raises a wide family here
        raise UserError(f"{path} is not a readable Parquet file ({first_line_of(error)})") from None
    if rows == 0 or len(table.schema_arrow.names) < 2:
        raise UserError(
            f"{path} has {rows} rows and {len(table.schema_arrow.names)} columns; times and values are wanted"
        )
    line = 1
    for group in range(groups):
        yield Piece(f"{group:06d}", partial(_read_group, path, group), partial(int, line), path)
        line += table.metadata.row_group(group).num_rows


def sample_parquet(path: Path) -> pd.DataFrame:
    """Return the first rows of row groups all over the file; 0.5 stands for all numbers with fractions.

    Raises:
        UserError: as `parquet_pieces`.
    """
    pieces = list(parquet_pieces(path))
    try:
        table = parquet.ParquetFile(path)
        schema = table.schema_arrow
        telling = [field.name for field in schema if not pyarrow.types.is_floating(field.type)]
        whole = len(telling) == len(schema.names) or not telling
        count = min(SAMPLE_GROUPS, len(pieces))
        groups = sorted({(len(pieces) - 1) * number // max(1, count - 1) for number in range(count)})
        wanted = schema.names if whole else telling
        rows = max(64, min(SAMPLE_ROWS, SAMPLE_CELLS // len(wanted) // len(groups)))
        found = [
            next(table.iter_batches(batch_size=rows, row_groups=[group], columns=wanted)).to_pandas()
            for group in groups
        ]
    except Exception as error:  # as above
        raise UserError(f"{path} is not a readable Parquet file ({first_line_of(error)})") from None
    frame = pd.concat([_plain(frame, path) for frame in found], ignore_index=True)
    if whole:
        return frame
    floats = dict.fromkeys((name for name in schema.names if name not in set(telling)), 0.5)
    both = pd.concat([frame, pd.DataFrame(floats, frame.index)], axis=1)
    first = _plain(table.schema_arrow.empty_table().to_pandas(), path).columns
    return both[[str(name) for name in first]]


def _read_group(path: Path, group: int, text: tuple[str, ...] = (), decimal: str = ".") -> pd.DataFrame:
    try:
        frame = parquet.ParquetFile(path).read_row_group(group).to_pandas()
    except Exception as error:  # as above
        raise UserError(f"{path} is not a readable Parquet file ({first_line_of(error)})") from None
    return _plain(frame, path)


def _plain(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Index levels become columns; all names are strings."""
    if not isinstance(frame.index, pd.RangeIndex):  # an unnamed count of rows says nothing
        counted = frame.index.name is None and pd.api.types.is_integer_dtype(frame.index)
        frame = frame.reset_index(drop=counted)
    frame.columns = pd.Index([str(name) for name in frame.columns])
    refuse_twice(list(frame.columns), f"{path}: column")
    return frame.reset_index(drop=True)
