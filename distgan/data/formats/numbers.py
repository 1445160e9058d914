"""Cells of a piece -> numbers, and what they show about decimal and thousands marks."""

from typing import Any

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.marks import (
    Marks,
    add_numbers,
    add_texts,
    allowed,
    guess,
    no_evidence,
    not_a_number,
    stripped,
)
from distgan.data.formats.pieces import Piece
from distgan.errors import UserError

FIRST_ROWS = 500  # of a piece whose text is looked at first
SIGNS = {"%": "percent signs", "€": "currency signs", "$": "currency signs", "£": "currency signs", "¥": "currency signs"}


def read_numbers(
    piece: Piece, frame: pd.DataFrame, names: tuple[str, ...], settings: config.Data, marks: Marks | None, base: Marks
) -> tuple[np.ndarray, dict[str, Any], Marks]:
    """Return the readings of a piece, float64 [rows, columns], the evidence of their marks, and the marks by
    which they were read.

    Args:
        marks: how the whole table writes numbers, once that is known.
        base: the marks that pandas was given.

    Raises:
        UserError: a cell is no number in any way of writing them.
    """
    evidence = no_evidence()
    strict = settings.thousands == "auto"
    texts = [name for name in names if not _is_numeric(piece, frame[name])]
    plain = [name for name in names if name not in set(texts)]
    numbers = frame[plain].to_numpy(dtype=np.float64, na_value=np.nan) if plain else np.empty((len(frame), 0))
    cells = {name: _cells(piece, frame[name], settings) for name in texts}
    if marks is None:
        for name in texts:
            add_texts(evidence, name, cells[name], allowed(settings), strict)
        if piece.as_written is not None and plain and len(frame):
            doubtful = add_numbers(evidence, plain, numbers, base.decimal, strict)
            if doubtful:
                _add_as_written(evidence, piece, tuple(doubtful), settings)
    way = marks or guess(evidence, allowed(settings))
    if not texts:
        return _without_missing(numbers, settings), evidence, way
    values = np.empty((len(frame), len(names)))
    places = {name: place for place, name in enumerate(plain)}
    for column, name in enumerate(names):
        values[:, column] = (
            numbers[:, places[name]] if name in places else _converted(piece, name, cells[name], way)
        )
    return _without_missing(values, settings), evidence, way


def _is_numeric(piece: Piece, column: pd.Series) -> bool:
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        raise UserError(
            f"{piece.file}: column {column.name!r} holds times; the values of a series are numbers (set "
            "data.columns.time, or data.columns.ignore)"
        )
    if pd.api.types.is_bool_dtype(column) and piece.as_written is not None and len(column):
        raise UserError(
            f"{piece.file} line {piece.line(0)}, column {column.name!r}: {str(column.iloc[0])!r} is not a number; "
            "write 1 and 0"
        )
    return pd.api.types.is_numeric_dtype(column)


def _cells(piece: Piece, column: pd.Series, settings: config.Data) -> pd.Series:
    """A text column, stripped; marks that mean missing, as missing."""
    cells = stripped(column)
    meant = [str(mark) for mark in settings.missing_values if isinstance(mark, str)]
    return cells.mask(cells.isin(meant)) if meant else cells


def _add_as_written(
    evidence: dict[str, Any], piece: Piece, names: tuple[str, ...], settings: config.Data
) -> None:
    """Look at the text of columns that read as numbers and may yet have thousands marks."""
    assert piece.as_written is not None
    for rows in (FIRST_ROWS, None):
        seen: dict[str, Any] = no_evidence() | {"fails": dict(evidence["fails"])}
        frame = piece.as_written(names, rows)
        for name in names:
            add_texts(seen, name, stripped(frame[name]), allowed(settings), settings.thousands == "auto")
        rivals = [marks for marks in allowed(settings) if marks.thousands in (".", ",")]
        if all(marks.key in seen["fails"] for marks in rivals):
            break
    evidence.update(seen)


def _converted(piece: Piece, name: str, cells: pd.Series, marks: Marks) -> np.ndarray:
    values = marks.numbers(cells)
    bad = np.flatnonzero(np.isnan(values) & cells.notna().to_numpy())
    bad = [row for row in bad.tolist() if cells.iloc[row].lower().lstrip("+-") not in ("inf", "infinity")]
    if bad:
        raise bad_cell(piece, name, cells, bad[0], marks)
    for sign in (1.0, -1.0):
        shown = cells.str.fullmatch(r"(?i)\+?inf(inity)?" if sign > 0 else r"(?i)-inf(inity)?").fillna(False)
        values[shown.to_numpy(dtype=bool)] = sign * np.inf
    return values


def bad_cell(piece: Piece, name: str, cells: pd.Series, row: int, marks: Marks) -> UserError:
    """Return the error for a cell that is no number."""
    cell = str(cells.iloc[row])
    where = f"{piece.file} line {piece.line(row)}, column {name!r}: {cell!r}"
    for sign, what in SIGNS.items():
        if sign in cell:
            return UserError(f"{where} is not a number; write numbers without {what} (data.units names the unit)")
    return UserError(f"{where} {not_a_number(marks)}")


def _without_missing(values: np.ndarray, settings: config.Data) -> np.ndarray:
    """Numbers of data.missing_values become NaN."""
    for mark in settings.missing_values:
        try:
            number = float(mark)
        except ValueError:
            continue
        values[values == number] = np.nan
    return values
