"""A piece of a table -> arrays: stamps and ids as written, each once, where they stand, and the readings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.advice import show_list, show_name
from distgan.data.formats.column_names import is_flag_name
from distgan.data.formats.ids import format_float_ids, refuse_short_ids
from distgan.data.formats.layout import Table
from distgan.data.formats.number_format import NumberFormat
from distgan.data.formats.numbers import read_numbers
from distgan.data.formats.pieces import Piece
from distgan.data.formats.times import encode_times
from distgan.data.formats.unit_columns import names_units
from distgan.data.grid import choose_kind, to_kind
from distgan.errors import UserError

JOINED = " / "  # between the parts of an id of several columns
Facts = dict[str, Any]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Reading:
    """Rules by which pieces are read: the columns, the settings, and the marks (those of the sample, until
    all cells have been seen).
    """

    table: Table
    settings: config.Data
    base: NumberFormat
    marks: NumberFormat | None = None

    @property
    def decimal(self) -> str:
        return (self.marks or self.base).decimal


def read_rows(piece: Piece, reading: Reading) -> tuple[Facts, Arrays]:
    """Return what is to know of a piece and its arrays.

    Arrays: values [rows, columns] ([columns, rows] of a wide table); stamps int32 [rows], places in
    facts["stamps"]; ids and channels likewise; slots int16 [rows] places in `table.offsets`; row int32 [rows]
    of the piece where they are not counted from 0; constants float64 [ids, columns that do not vary].

    Raises:
        UserError: a row has no time or no id, or a cell is no number; names line and column.
    """
    table, settings = reading.table, reading.settings
    frame = piece.read(text=table.as_text, decimal=reading.decimal)
    if tuple(frame.columns) != table.names:
        raise UserError(
            f"{piece.file} has the columns {', '.join(map(str, frame.columns[:6]))}, and the first file "
            f"{', '.join(table.names[:6])}; all files need the same"
        )
    rows = np.arange(len(frame), dtype=np.int32)
    empty = _find_empty_rows(frame, table)
    if empty.any():
        frame, rows = frame[~empty], rows[~empty]
    base = reading.marks or reading.base
    values, evidence, used = read_numbers(
        _shift_lines(piece, rows), frame.reset_index(drop=True), table.values, settings, reading.marks, base
    )
    kind = choose_kind(settings.registers)
    facts: Facts = {
        "rows": len(frame),
        "marks": used.key,
        "evidence": evidence,
        "repeated_headers": int(frame.attrs.get("repeated_headers", 0)),
        "empty_rows": int(empty.sum()),
    }
    arrays: Arrays = {"rows": rows} if empty.any() else {}
    if table.layout != "transposed":
        facts["stamps"], arrays["stamps"] = _write_cells(
            frame, table.time, piece, rows, "time", settings.date_format
        )
    if not table.by_entity:
        return facts, arrays | {"values": np.ascontiguousarray(to_kind(values, kind).T)}
    if not table.ids:
        facts["ids"], arrays["ids"] = [piece.entity or piece.file.stem], np.zeros(len(frame), np.int32)
    else:
        facts["ids"], arrays["ids"] = _write_cells(frame, table.ids, piece, rows, "id")
    if table.channel is not None:
        facts["channels"], arrays["channels"] = _write_cells(frame, (table.channel,), piece, rows, "channel")
    facts["texts"] = _find_texts_of_ids(frame, table, piece, arrays["ids"], facts["ids"])
    facts["varying"] = _find_varying(values, arrays["ids"], len(facts["ids"]))
    if table.layout == "long" and not all(facts["varying"]):
        still = [column for column, varies in enumerate(facts["varying"]) if not varies]
        arrays["constants"] = _find_constants(values[:, still], arrays["ids"], len(facts["ids"]))
    return facts, _split_readings(arrays | {"values": to_kind(values, kind)}, facts, table, rows)


def _shift_lines(piece: Piece, rows: np.ndarray) -> Piece:
    """Return the piece with the lines of the rows that stay."""
    if not len(rows) or rows[-1] == len(rows) - 1:
        return piece
    from dataclasses import replace

    return replace(piece, line_of=lambda row: piece.find_line(int(rows[row])))


def _find_empty_rows(frame: pd.DataFrame, table: Table) -> np.ndarray:
    """Return the rows without any cell, as spreadsheets leave them below a table."""
    known = [*table.time, *table.ids]
    missing = np.zeros(len(frame), dtype=bool)
    if known and frame[known[0]].isna().any():
        missing = frame[known[0]].isna().to_numpy(copy=True)
        places = np.flatnonzero(missing)
        missing[places] = frame.iloc[places].isna().all(axis=1).to_numpy()
    return missing


def _write_cells(
    frame: pd.DataFrame,
    names: tuple[str, ...],
    piece: Piece,
    rows: np.ndarray,
    what: str,
    form: str | None = None,
) -> tuple[list[str], np.ndarray]:
    """Return each cell (or cells of several columns, joined) once as text, and which of them each row has."""
    for name in names:
        column = frame[name]
        blank = column.isna()
        if what == "time" and pd.api.types.is_bool_dtype(column):
            raise UserError(f"{piece.file}: column {name!r} holds no times; set data.columns.time")
        if blank.any():
            row = int(rows[int(np.flatnonzero(blank)[0])])
            raise UserError(
                f"{piece.file} line {piece.find_line(row)}: no {what} in column {name!r}; write it, or "
                "delete the line"
            )
    if what == "time":
        codes, texts = encode_times(frame, list(names), form)
        return _merge_texts(texts, codes)
    codes, found = pd.factorize(frame[names[0]])
    texts = _format_cells(found, frame[names[0]], piece)
    for name in names[1:]:
        more, others = pd.factorize(frame[name])
        pairs, places = np.unique(codes.astype(np.int64) * len(others) + more, return_inverse=True)
        written = _format_cells(others, frame[name], piece)
        texts = [
            f"{texts[pair // len(others)]}{JOINED}{written[pair % len(others)]}" for pair in pairs.tolist()
        ]
        codes = places
    return _merge_texts(texts, codes)


def _format_cells(cells: Any, column: pd.Series, piece: Piece) -> list[str]:
    """Return different cells of a column as written; numbers of typed columns without a needless fraction.

    Raises:
        UserError: ids have lost digits.
    """
    where = f"{piece.file}: column {column.name!r}"
    kind = column.cat.categories.dtype if isinstance(column.dtype, pd.CategoricalDtype) else column.dtype
    if pd.api.types.is_float_dtype(kind):
        return format_float_ids(np.asarray(cells, getattr(kind, "numpy_dtype", kind)), where)
    texts = [str(cell).strip() for cell in cells]
    refuse_short_ids(texts, where)
    return texts


def _merge_texts(texts: list[str], codes: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Merge texts that are the same but for blanks."""
    if len(set(texts)) == len(texts):
        return texts, codes.astype(np.int32)
    unique = list(dict.fromkeys(texts))
    place = {text: number for number, text in enumerate(unique)}
    return unique, np.array([place[text] for text in texts], np.int32)[codes]


def _find_texts_of_ids(
    frame: pd.DataFrame, table: Table, piece: Piece, codes: np.ndarray, ids: list[str]
) -> dict[str, list[str | None]]:
    """Return the one cell that each id has in each column of texts.

    Raises:
        UserError: an id has two.
    """
    found: dict[str, list[str | None]] = {}
    for name in table.texts:
        kinds, texts = pd.factorize(frame[name])
        first = np.full(len(ids), -1, np.int64)
        there = np.flatnonzero(kinds >= 0)
        first[codes[there][::-1]] = kinds[there][::-1]
        other = there[kinds[there] != first[codes[there]]]
        if len(other):
            row = int(other[0])
            raise _make_change_error(
                piece, name, piece.find_line(row), str(texts[kinds[row]]), str(texts[first[codes[row]]])
            )
        found[name] = [None if kind < 0 else str(texts[kind]).strip() for kind in first.tolist()]
    return found


def _make_change_error(piece: Piece, name: str, line: int, one: str, other: str) -> UserError:
    if names_units(name):
        return UserError(
            f"{piece.file} line {line}: column {name!r} says that readings of an entity differ ({one!r} "
            f"after {other!r}); write all readings of a channel in one unit, and then set "
            f"data.columns.ignore={show_list([name])}"
        )
    flags = ""
    if is_flag_name(name):
        flags = "if it flags readings, empty those that are no measurements, and "
    return UserError(
        f"{piece.file} line {line}: column {name!r} holds cells that change within an entity ({one!r} after "
        f"{other!r}); {flags}set data.columns.ignore={show_list([name])}, "
        f"data.columns.channel={show_name(name)} if it names the channel, or data.columns.id to all columns "
        "that identify the entity"
    )


def _find_varying(values: np.ndarray, codes: np.ndarray, ids: int) -> list[bool]:
    """Return which columns change within an id of the piece."""
    if not len(codes):
        return [False] * values.shape[1]
    for rows in (1000, len(values)):
        part, whose = values[:rows], codes[:rows]
        first = np.zeros(ids, np.int64)
        first[whose[::-1]] = np.arange(len(whose))[::-1]
        other = part[first[whose]]
        differ = ((part != other) & ~np.isnan(part) & ~np.isnan(other)).any(axis=0)
        if differ.all():
            break
    return [bool(flag) for flag in differ]


def _find_constants(values: np.ndarray, codes: np.ndarray, ids: int) -> np.ndarray:
    """Return the first reading of each id, in full precision, NaN where it has none: [ids, columns]."""
    found = np.full((ids, values.shape[1]), np.nan)
    for column, cells in enumerate(values.T):
        there = np.flatnonzero(~np.isnan(cells))[::-1]
        found[codes[there], column] = cells[there]
    return found


def _split_readings(arrays: Arrays, facts: Facts, table: Table, rows: np.ndarray) -> Arrays:
    """Return a row for each time, from rows with many times."""
    many = arrays["values"].shape[1]
    if table.layout == "day_wide":
        slots = np.tile(np.arange(many, dtype=np.int16), facts["rows"])
    elif table.layout == "transposed":
        facts["stamps"] = list(table.values)
        slots = None
        arrays["stamps"] = np.tile(np.arange(many, dtype=np.int32), facts["rows"])
    else:
        return arrays
    for key in ("stamps", "ids", "channels"):
        if key in arrays and len(arrays[key]) == facts["rows"]:
            arrays[key] = np.repeat(arrays[key], many)
    arrays["rows"] = np.repeat(rows, many)
    arrays["values"] = arrays["values"].reshape(-1, 1)
    facts["rows"] *= many
    facts["varying"] = [True]
    return arrays if slots is None else arrays | {"slots": slots}
