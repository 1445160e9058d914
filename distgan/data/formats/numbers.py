"""Cells of a piece -> numbers, and what they show about decimal and thousands marks."""

from typing import Any

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.advice import show_list
from distgan.data.formats.folded import FEWEST_COLUMNS
from distgan.data.formats.number_format import (
    ENDLESS,
    NumberFormat,
    add_numbers,
    add_texts,
    describe_cell,
    guess,
    is_number,
    list_marks,
    make_evidence,
    stack_columns,
)
from distgan.data.formats.pieces import Piece
from distgan.errors import UserError

FIRST_ROWS = 500  # of a piece whose text is looked at first


def read_numbers(
    piece: Piece,
    frame: pd.DataFrame,
    names: tuple[str, ...],
    settings: config.Data,
    marks: NumberFormat | None,
    base: NumberFormat,
) -> tuple[np.ndarray, dict[str, Any], NumberFormat]:
    """Return the readings of a piece, float64 [rows, columns], the evidence of their marks, and the marks by
    which they were read.

    Args:
        marks: how the whole table writes numbers, once that is known.
        base: the marks that pandas was given.

    Raises:
        UserError: a cell is no number in any marks, or in those that are settled.
    """
    evidence = make_evidence()
    strict = settings.thousands == "auto"
    kinds = dict(zip(frame.columns, frame.dtypes))
    plain = [name for name in names if _is_numeric(piece, frame, name, kinds[name])]
    numeric = set(plain)
    texts = [name for name in names if name not in numeric]
    numbers = _gather_columns(frame, plain, one_by_one=piece.as_written is not None)
    cells = _stack_cells(frame, texts, settings) if texts else pd.Series(dtype="str")
    if marks is None:
        if len(cells):
            add_texts(evidence, texts, cells, list_marks(settings), strict)
        if piece.as_written is not None and numbers.size:
            doubtful = add_numbers(evidence, plain, numbers, base.decimal, strict)
            if doubtful:
                _add_as_written(evidence, piece, doubtful, settings)
    way = marks or guess(evidence, list_marks(settings))
    if not texts:
        return _mask_missing(numbers, settings), evidence, way
    converted = _convert_cells(piece, texts, cells, way, settled=marks is not None)
    if not plain:
        return _mask_missing(converted, settings), evidence, way
    both = np.concatenate([numbers, converted], axis=1)
    place = {name: column for column, name in enumerate([*plain, *texts])}
    return _mask_missing(both[:, [place[name] for name in names]], settings), evidence, way


def _gather_columns(frame: pd.DataFrame, names: list[str], one_by_one: bool) -> np.ndarray:
    """Return columns of numbers: float64 [rows, columns]. What is parsed from text lies column by column in
    memory, and is gathered so; what comes from Arrow, or from rows of thousands of cells, is one block.
    """
    if not one_by_one or len(names) >= FEWEST_COLUMNS // 2:
        return frame[names].to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = np.empty((len(names), len(frame))).T
    for column, name in enumerate(names):
        numbers[:, column] = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers


def _is_numeric(piece: Piece, frame: pd.DataFrame, name: str, kind: Any) -> bool:
    if isinstance(kind, np.dtype) and kind.kind in "iuf":
        return True
    if pd.api.types.is_datetime64_any_dtype(kind) or pd.api.types.is_timedelta64_dtype(kind):
        raise UserError(
            f"{piece.file}: column {name!r} holds times; the values of a series are numbers (set "
            "data.columns.time, or data.columns.ignore)"
        )
    if pd.api.types.is_bool_dtype(kind) and piece.as_written is not None and len(frame):
        raise UserError(
            f"{piece.file} line {piece.find_line(0)}, column {name!r} holds true and false, not numbers; "
            f"write 1 and 0, or set data.columns.ignore={show_list([name])}"
        )
    return bool(pd.api.types.is_numeric_dtype(kind))


def _stack_cells(frame: pd.DataFrame, names: list[str], settings: config.Data) -> pd.Series:
    """Return stacked text columns; marks that mean missing, as missing."""
    cells = stack_columns(frame, names)
    meant = [str(mark) for mark in settings.missing_values if isinstance(mark, str)]
    return cells.mask(cells.isin(meant)) if meant else cells


def _add_as_written(evidence: dict[str, Any], piece: Piece, names: list[str], settings: config.Data) -> None:
    """Look at the text of columns that read as numbers and may yet have thousands marks."""
    assert piece.as_written is not None
    ways = [marks for marks in list_marks(settings) if marks.thousands in (".", ",")]
    ways = [marks for marks in ways if marks.key not in evidence["fails"]]
    if not ways:
        return
    for rows in (FIRST_ROWS, None):
        seen: dict[str, Any] = make_evidence()
        frame = piece.as_written(tuple(names), rows)
        add_texts(seen, names, stack_columns(frame, names), ways, settings.thousands == "auto")
        if len(seen["fails"]) == len(ways):
            evidence["fails"].update(seen["fails"])
            return
        if rows is None or len(frame) < rows:
            break
    for key in ("fails", "doubt"):
        evidence[key] = seen[key] | evidence[key]
    for key in ("proof", "mixed"):
        evidence[key] += [mark for mark in seen[key] if mark not in evidence[key]]


def _convert_cells(
    piece: Piece, names: list[str], cells: pd.Series, marks: NumberFormat, settled: bool
) -> np.ndarray:
    """Return stacked cells as numbers: float64 [rows, columns].

    Until the marks are settled, a cell that is a number in other marks is left to `decide_marks`.

    Raises:
        UserError: a cell is no number.
    """
    rows = len(cells) // len(names)
    values = marks.parse(cells)
    bad = np.flatnonzero(np.isnan(values) & cells.notna().to_numpy())
    if len(bad):
        endless = cells.iloc[bad].str.fullmatch(ENDLESS).to_numpy(dtype=bool)
        below = cells.iloc[bad].str.startswith("-").to_numpy(dtype=bool)
        values[bad[endless]] = np.where(below[endless], -np.inf, np.inf)
        bad = bad[~endless]
    if not settled:
        bad = bad[[not is_number(cells.iloc[place]) for place in bad.tolist()]]
    if len(bad):
        place = int(bad[np.argmin(bad % rows)])
        cell, row, name = str(cells.iloc[place]), place % rows, names[place // rows]
        raise UserError(
            f"{piece.file} line {piece.find_line(row)}, column {name!r}: "
            f"{cell!r} {describe_cell(cell, marks)}"
        )
    return values.reshape(len(names), rows).T


def _mask_missing(values: np.ndarray, settings: config.Data) -> np.ndarray:
    """Return the values with numbers of data.missing_values as NaN."""
    for mark in settings.missing_values:
        try:
            number = float(mark)
        except ValueError:
            continue
        if (values == number).any():
            values = np.where(values == number, np.nan, values)
    return values
