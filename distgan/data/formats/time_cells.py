"""Cells of the columns of times as text: a date and a clock joined, year, month, day and smaller parts."""

import numpy as np
import pandas as pd

from distgan.data.formats.hour_labels import simplify_hours
from distgan.data.formats.time_parts import is_joined_by_blanks

SAMPLE = 50  # different cells of a column that are read to find out what it holds
MIDNIGHT = r"(?i)[T ](0{1,2}:00(:00([.,]0+)?)?|12:00(:00)? ?AM)$"


def format_cells(values: pd.Series) -> pd.Series:
    """Return cells as they were written; whole numbers without a point, NaN where empty."""
    missing = values.isna()
    if pd.api.types.is_float_dtype(values):
        whole = missing.all() or (np.mod(values[~missing], 1) == 0).all()
        texts = values.astype("Int64").astype(str) if whole else values.map(lambda value: repr(float(value)))
    else:
        texts = values.astype(str)
    return texts.where(~missing)


def sample_cells(values: pd.Series) -> list[str]:
    """Return the first `SAMPLE` different cells of a column as text, without missing ones."""
    there = values.dropna()
    if not len(there):
        return []
    different = there.unique()[:SAMPLE]
    if all(isinstance(cell, str) for cell in different):
        return [cell.strip() for cell in different]
    return format_cells(pd.Series(different, name=values.name)).tolist()


def join_written_times(frame: pd.DataFrame, columns: list[str]) -> pd.Series:
    """Return the times of all rows as one text each, NaN where a part is missing."""
    places, texts = encode_times(frame, columns)
    return pd.Series([*texts, None], dtype=object).iloc[places].set_axis(frame.index)


def encode_times(
    frame: pd.DataFrame, columns: list[str], form: str | None = None
) -> tuple[np.ndarray, list[str]]:
    """Return the times of all rows: the place of each in the different texts (int32 [rows], -1 where a part
    is missing), and these texts in order of first appearance.

    A date and a clock time are joined by a blank; year, month, day and smaller parts by their marks, unless
    data.date_format (`form`) has the day of the year.
    """
    parts = [pd.factorize(frame[name]) for name in columns]
    codes, missing = np.zeros(len(frame), np.int64), np.zeros(len(frame), bool)
    for part, unique in parts:
        codes = codes * (len(unique) + 1) + part + 1
        missing |= part < 0
    places = np.full(len(frame), -1, np.int32)
    places[~missing], kept = pd.factorize(codes[~missing])
    texts: list[pd.Series] = []
    for name, (_, unique) in reversed(list(zip(columns, parts))):
        kept, rest = np.divmod(kept, len(unique) + 1)
        cells = format_cells(pd.Series(unique, name=name)).str.strip()
        texts.insert(0, cells.iloc[rest - 1].reset_index(drop=True))
    return places, _join_texts(texts, is_joined_by_blanks(form)).tolist()


def _join_texts(texts: list[pd.Series], by_blanks: bool) -> pd.Series:
    if len(texts) == 1:
        return texts[0]
    if by_blanks:
        return texts[0].str.cat(texts[1:], sep=" ")
    if len(texts) == 2:
        date = texts[0].str.replace(MIDNIGHT, "", regex=True)
        return date + " " + simplify_hours(texts[1].str.replace(r"^0 days ", "", regex=True))
    joined = texts[0] + "-" + texts[1] + "-" + texts[2]
    for place, text in enumerate(texts[3:]):
        joined = joined + (" " if place == 0 else ":") + simplify_hours(text).str.zfill(2)
    return joined
