"""Parquet tables, row group by row group; of large row groups, a few rows at a time from a copy on disk.

Parquet keeps a row group column by column, so that a few rows of many columns cannot be read without all of
it: such groups are first copied, some columns at a time, to Arrow files whose batches are rows.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from distgan.data.formats.column_names import is_entity_name
from distgan.data.formats.pieces import Piece, refuse_twice, take_first_line
from distgan.errors import UserError, writing
from distgan.memory import scale_buffer

SAMPLE_GROUPS, SAMPLE_ROWS, SAMPLE_CELLS = 4, 8192, 1 << 18
EXACT = {  # kinds that pandas would make floats of where cells are missing
    **{kind: pd.Int64Dtype() for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())},
    **{kind: pd.UInt64Dtype() for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())},
}
GROUP_BYTES = 64 << 20  # of a row group that is read as a whole
FEW_COLUMNS = 64  # that can be read a few rows at a time


def list_parquet_pieces(path: Path, folder: Path) -> list[Piece]:
    """Return a piece for each row group, or several of a large one, with copies in `folder`.

    Raises:
        UserError: the file is damaged or has no rows.
    """
    table = _open_file(path)
    rows, columns = table.metadata.num_rows, len(table.schema_arrow.names)
    if rows == 0 or columns < 2:
        raise UserError(f"{path} has {rows} rows and {columns} columns; times and values are wanted")
    pieces, line = [], 1
    for group in range(table.num_row_groups):
        count = table.metadata.row_group(group).num_rows
        size = max(table.metadata.row_group(group).total_byte_size, 8 * count * columns)
        step = max(1, count * scale_buffer(GROUP_BYTES) // max(1, size))
        if step >= count:
            read = partial(_read_group, path, group)
            pieces.append(Piece(f"{group:06d}", read, partial(int, line), path))
        else:
            copies = _copy_group(path, group, step, folder)
            for number, first in enumerate(range(0, count, step)):
                read = partial(_read_batch, path, copies, number)
                name = f"{group:06d}.{number:06d}"
                pieces.append(Piece(name, read, partial(int, line + first), path))
        line += count
    return pieces


def sample_parquet(path: Path) -> pd.DataFrame:
    """Return the first rows of row groups all over the file; 0.5 stands for all numbers with fractions.

    Raises:
        UserError: as `list_parquet_pieces`.
    """
    try:
        return _sample_file(path)
    except UserError:
        raise
    except Exception as error:  # pyarrow raises a wide family here
        raise _make_damaged_error(path, error) from None


def _sample_file(path: Path) -> pd.DataFrame:
    table = _open_file(path)
    schema = table.schema_arrow
    telling = [
        field.name for field in schema if not pa.types.is_floating(field.type) or is_entity_name(field.name)
    ]
    whole = len(telling) == len(schema.names) or not telling
    count = min(SAMPLE_GROUPS, table.num_row_groups)
    chosen = sorted({(table.num_row_groups - 1) * number // max(1, count - 1) for number in range(count)})
    wanted = schema.names if whole else telling
    rows = max(64, min(SAMPLE_ROWS, SAMPLE_CELLS // len(wanted) // len(chosen)))
    found = [
        _make_frame(next(table.iter_batches(batch_size=rows, row_groups=[group], columns=wanted)), path)
        for group in chosen
    ]
    frame = pd.concat(found, ignore_index=True)
    if whole:
        return frame
    floats = dict.fromkeys((name for name in schema.names if name not in set(telling)), 0.5)
    both = pd.concat([frame, pd.DataFrame(floats, frame.index)], axis=1)
    first = _make_frame(schema.empty_table(), path).columns
    return both[[str(name) for name in first]]


def has_no_rows(path: Path) -> bool:
    """Return whether a Parquet file holds columns alone.

    Raises:
        UserError: the file is damaged.
    """
    return bool(_open_file(path).metadata.num_rows == 0)


def _open_file(path: Path) -> parquet.ParquetFile:
    try:
        table = parquet.ParquetFile(path, buffer_size=1 << 16)
        _ = [(field.name, field.type) for field in table.schema_arrow]  # names in damaged files are no text
    except Exception as error:  # pyarrow raises a wide family here
        raise _make_damaged_error(path, error) from None
    return table


def _make_damaged_error(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not a readable Parquet file ({take_first_line(error)})")


def _read_group(path: Path, group: int, text: tuple[str, ...] = (), decimal: str = ".") -> pd.DataFrame:
    try:
        return _make_frame(_open_file(path).read_row_group(group), path, text)
    except UserError:
        raise
    except Exception as error:  # as above
        raise _make_damaged_error(path, error) from None


# ------------------------------------------------------------------------------------------- large row groups


def _copy_group(path: Path, group: int, step: int, folder: Path) -> list[Path]:
    """Write Arrow files of the group's columns, some in each, in batches of `step` rows."""
    table = _open_file(path)
    columns, rows = table.metadata.num_columns, table.metadata.row_group(group).num_rows
    many = columns if columns <= FEW_COLUMNS else max(1, scale_buffer(GROUP_BYTES) // (8 * rows))
    copies = []
    for number, first in enumerate(range(0, columns, many)):
        copy = folder / f"{path.stem}.{group:06d}.{number:06d}.arrow"
        if not copy.exists():
            _copy(path, group, np.arange(first, min(first + many, columns)), step, copy)
        copies.append(copy)
    return copies


def _copy(path: Path, group: int, places: np.ndarray, step: int, copy: Path) -> None:
    whole = copy.with_suffix(".tmp")
    table = _open_file(path)
    names = [table.metadata.row_group(group).column(int(place)).path_in_schema for place in places]
    try:
        batches = table.iter_batches(batch_size=step, row_groups=[group], columns=names, use_threads=False)
        first = next(batches)
        with writing(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            with pa.OSFile(str(whole), "wb") as sink, pa.ipc.new_file(sink, first.schema) as file:
                file.write_batch(first)
                for number, batch in enumerate(batches, start=1):
                    left = table.metadata.row_group(group).num_rows - number * step
                    assert batch.num_rows == min(step, left), f"{batch.num_rows} rows in batch {number}"
                    file.write_batch(batch)
            whole.replace(copy)
    except (UserError, OSError):
        raise
    except Exception as error:  # as above
        raise _make_damaged_error(path, error) from None


def _read_batch(
    path: Path, copies: list[Path], number: int, text: tuple[str, ...] = (), decimal: str = "."
) -> pd.DataFrame:
    tables = []
    for copy in copies:
        with pa.OSFile(str(copy), "rb") as source:
            tables.append(pa.Table.from_batches([pa.ipc.open_file(source).get_batch(number)]))
    fields = [field for table in tables for field in table.schema]
    arrays = [column for table in tables for column in table.columns]
    schema = pa.schema(fields, metadata=tables[0].schema.metadata)
    return _make_frame(pa.Table.from_arrays(arrays, schema=schema), path, text)


def _make_frame(cells: pa.Table | pa.RecordBatch, path: Path, text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return cells as a table. Whole numbers stay whole beside missing ones: float64 has 15 digits, and ids
    that differ in the last of 18 would become the same.
    """
    missing = {column.type for column in cells.columns if column.null_count}
    kinds = {kind: exact for kind, exact in EXACT.items() if kind in missing}
    return _flatten_index(cells.to_pandas(types_mapper=kinds.get if kinds else None), path, text)


def _flatten_index(frame: pd.DataFrame, path: Path, text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Index levels become columns; all names are strings, and so are bytes that hold text, as those of the
    columns `text` must.
    """
    if not isinstance(frame.index, pd.RangeIndex):  # an unnamed count of rows says nothing
        counted = frame.index.name is None and pd.api.types.is_integer_dtype(frame.index)
        frame = frame.reset_index(drop=counted)
    frame.columns = pd.Index([str(name) for name in frame.columns])
    refuse_twice(list(frame.columns), f"{path}: column")
    texts = {
        name: _decode_texts(frame[name], f"{path}: column {name!r}" if name in text else "")
        for name in frame.columns
        if frame[name].dtype == object or isinstance(frame[name].dtype, pd.CategoricalDtype)
    }
    return frame.assign(**texts).reset_index(drop=True)


def _decode_texts(column: pd.Series, where: str) -> pd.Series:
    """Return a column of bytes as text, as Spark and Impala write text without its mark; any other as it
    is.

    Raises:
        UserError: the bytes are no text, and it is wanted: `where` names the column.
    """
    errors = "strict" if where else "backslashreplace"
    try:
        if isinstance(column.dtype, pd.CategoricalDtype):
            names = column.cat.categories
            coded = len(names) > 0 and isinstance(names[0], bytes)
            return (
                column.cat.rename_categories([name.decode(errors=errors) for name in names])
                if coded
                else column
            )
        there = column.dropna()
        if len(there) and isinstance(there.iloc[0], bytes):
            return column.map(lambda cell: cell.decode(errors=errors) if isinstance(cell, bytes) else cell)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where} holds bytes that are no text ({error.object[:8]!r}); write text or numbers, e.g. "
            "bytes.hex() of each"
        ) from None
    return column
