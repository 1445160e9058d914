"""Decimal and thousands marks of numbers in text: what the whole file proves, or a refusal.

`1.634` is 1634 or about one and a half. Each way to write numbers (`NumberFormat`) that fits every cell of
the file remains; where two of them read one cell differently, only the user can know.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.advice import show_list
from distgan.data.formats.missing_cells import MISSING
from distgan.errors import UserError

BLANKS = " \u00a0\u202f\u2009"  # plain, no-break, narrow no-break and thin
APOSTROPHES = "'\u2019"
MINUS = "\u2212"
SIGNED = f"[+{MINUS}-]?"


@dataclass(frozen=True)
class NumberFormat:
    """A way to write numbers; thousands is empty where thousands are not separated."""

    decimal: str = "."
    thousands: str = ""

    @property
    def key(self) -> str:
        return self.decimal + self.thousands

    def accepts(self, cell: str) -> bool:
        """Return whether a stripped cell is a number written this way."""
        return re.fullmatch(_make_pattern(self.decimal, self.thousands, False), cell) is not None

    def match(self, cells: pd.Series, strict: bool) -> np.ndarray:
        """Return which cells are numbers written this way: bool [n].

        strict: thousands are parted in every number that has them, so 1634 beside 1.634 does not fit.
        """
        found = cells.str.fullmatch(_make_pattern(self.decimal, self.thousands, strict))
        return found.fillna(False).to_numpy(dtype=bool)

    def parse(self, cells: pd.Series) -> np.ndarray:
        """Return float64 [n]; NaN where a cell is no number written this way."""
        fits = self.match(cells, strict=False)
        plain = cells.where(fits)
        if self.thousands:
            plain = plain.str.replace(f"[{_list_members(self.thousands)}]", "", regex=True)
        if plain.str.contains(MINUS, regex=False).any():
            plain = plain.str.replace(MINUS, "-", regex=False)
        if self.decimal != ".":
            plain = plain.str.replace(self.decimal, ".", regex=False)
        return pd.to_numeric(plain, errors="coerce").to_numpy(np.float64, copy=True, na_value=np.nan)


FORMATS = tuple(
    NumberFormat(decimal, thousands)
    for thousands in ("", " ", "'", ".", ",")
    for decimal in (".", ",")
    if decimal != thousands
)


def _list_members(mark: str) -> str:
    return re.escape({" ": BLANKS, "'": APOSTROPHES}.get(mark, mark))


LAKHS = r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}"  # 12,34,567, as written in India


@cache
def _make_pattern(decimal: str, thousands: str, strict: bool) -> str:
    whole = r"[0-9]+"
    if thousands:
        group = f"[{_list_members(thousands)}]"
        whole = (
            rf"(?:[0-9]{{1,3}}|[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}})+"
            + (f"|{LAKHS}" if thousands == "," else "")
            + ("" if strict else r"|[0-9]+")
            + ")"
        )
    point = re.escape(decimal)
    return rf"{SIGNED}(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?"


PROOF = {  # of thousands: a mark that stands twice, or before the decimal mark
    ",": rf"{SIGNED}(?:[1-9][0-9]{{0,2}}(?:(?:,[0-9]{{3}}){{2,}}(?:\.[0-9]*)?|,[0-9]{{3}}\.[0-9]*)"
    rf"|{LAKHS}(?:\.[0-9]*)?)",
    ".": SIGNED + r"[1-9][0-9]{0,2}(?:(?:\.[0-9]{3}){2,}(?:,[0-9]*)?|\.[0-9]{3},[0-9]*)",
}
DOUBTFUL = {mark: rf"{SIGNED}[1-9][0-9]{{0,2}}{re.escape(mark)}[0-9]{{3}}" for mark in (".", ",")}


PLAIN_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
ENDLESS = r"(?i)[+-]?inf(inity)?"
TIME = re.compile(
    r"\d[-/:]\d|\d\.\d+\.\d|\d[-\s]?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
    r"|\d\s*[ap]\.?m\b|\d{8}[T ]\d",
    re.I,
)
NUMBER = re.compile(rf"{SIGNED}[0-9.,{BLANKS}{APOSTROPHES}]*[0-9.,](?:[eE][+-]?[0-9]+)?")


def is_number(cell: str) -> bool:
    """Return whether a stripped cell is a number in any way of writing them."""
    if PLAIN_NUMBER.fullmatch(cell) is not None:
        return True
    return NUMBER.fullmatch(cell) is not None and any(marks.accepts(cell) for marks in FORMATS)


def classify_cell(cell: str) -> str:
    """Return what a cell reads as: empty, number, time or text."""
    if cell in MISSING:
        return "empty"
    if is_number(cell):
        return "number"
    return "time" if TIME.search(cell) and not re.match(r"[A-Za-z]{4,}", cell) else "text"


def strip_cells(column: pd.Series) -> pd.Series:
    """Return a text column without blanks around its cells, missing marks as missing."""
    cells = column.astype("str").str.strip()
    return cells.mask(cells.isin(MISSING))


def stack_columns(frame: pd.DataFrame, names: list[str]) -> pd.Series:
    """Return columns below each other, stripped: cell (row, column) is at column * rows + row."""
    return strip_cells(pd.concat([frame[name].astype("str") for name in names], ignore_index=True))


def list_marks(settings: config.Data) -> list[NumberFormat]:
    """Return the ways to write numbers that the settings leave open, the simplest first."""
    decimal, thousands = settings.decimal, settings.thousands
    found = [marks for marks in FORMATS if decimal in ("auto", marks.decimal)]
    if thousands != "auto":
        found = [marks for marks in found if marks.thousands == thousands.replace("none", "")]
    return found


# ------------------------------------------------------------------------------------------------- evidence


def make_evidence() -> dict[str, Any]:
    """Return what is known before any cell is seen.

    fails: way -> the first cell [row, column, text] that does not fit it. doubt: mark -> the first cell that
    may have it as a decimal or as a thousands mark. proof: marks that certainly part thousands. mixed: marks
    whose doubtful cells stand beside unparted numbers below 1000 in one column.
    """
    return {"fails": {}, "doubt": {}, "proof": [], "mixed": []}


def add_texts(
    evidence: dict[str, Any], names: list[str], cells: pd.Series, ways: list[NumberFormat], strict: bool
) -> None:
    """Add what stacked text columns of a piece show."""
    rows = len(cells) // len(names)
    places = np.flatnonzero(cells.notna() & ~cells.str.fullmatch(ENDLESS).fillna(False).astype(bool))
    if not len(places):
        return
    there = cells.iloc[places]

    def find_first(which: np.ndarray) -> list[Any]:
        """Return the marked cell that comes first in the file."""
        marked = places[which]
        place = int(marked[np.argmin(marked % rows)])
        return [place % rows, names[place // rows], cells.iloc[place]]

    for marks in ways:
        fits = marks.match(there, strict)
        if not fits.all():
            _note_first(evidence["fails"], marks.key, find_first(~fits))
    for mark in (".", ","):
        if not there.str.contains(mark, regex=False).any():
            continue
        if mark not in evidence["proof"] and there.str.fullmatch(PROOF[mark]).any():
            evidence["proof"].append(mark)
        doubtful = there.str.fullmatch(DOUBTFUL[mark]).to_numpy(dtype=bool)
        if doubtful.any():
            _note_first(evidence["doubt"], mark, find_first(doubtful))
            plain = there.str.fullmatch("[+-]?[0-9]{1,3}").to_numpy(dtype=bool)
            both = np.intersect1d(places[doubtful] // rows, places[plain] // rows)
            if len(both) and mark not in evidence["mixed"]:
                evidence["mixed"].append(mark)


def _note_first(known: dict[str, list[Any]], key: str, cell: list[Any]) -> None:
    if key not in known or cell[0] < known[key][0]:
        known[key] = cell


def add_numbers(
    evidence: dict[str, Any], names: list[str], values: np.ndarray, decimal: str, strict: bool
) -> list[str]:
    """Add what columns show that read as numbers with a decimal mark; return those whose text must be seen.

    values: float64 [n, columns]. A number below 1, or with a digit beyond the third after the mark, or 1000
    and more without marks, cannot be one with thousands marks.
    """
    for rows in (64, len(values)):  # the first rows prove it as a rule
        part = values[:rows]
        size = np.abs(part)
        with np.errstate(invalid="ignore"):
            fractions = np.isfinite(size) & (size != np.floor(size))
            thousandths = size * 1000
            small = fractions & (
                (size < 1) | (np.abs(thousandths - np.rint(thousandths)) > 1e-6 * thousandths)
            )
            large = np.isfinite(size) & (size >= 1000) if strict else np.zeros_like(small)
        for marks in FORMATS:
            if decimal not in (marks.decimal, marks.thousands):
                _note_first_number(evidence, marks, fractions, part, names)
            if marks.thousands:
                _note_first_number(evidence, marks, large, part, names)
            if marks.thousands == decimal:
                _note_first_number(evidence, marks, small, part, names)
        rivals = [marks for marks in FORMATS if marks.thousands == decimal]
        if all(marks.key in evidence["fails"] for marks in rivals) and fractions.any():
            return []
    if all(marks.key in evidence["fails"] for marks in rivals):
        return []
    return [name for name, found in zip(names, np.isfinite(values).any(axis=0)) if found]


def _note_first_number(
    evidence: dict[str, Any], marks: NumberFormat, which: np.ndarray, values: np.ndarray, names: list[str]
) -> None:
    if marks.key not in evidence["fails"] and which.any():
        row, column = np.unravel_index(int(np.argmax(which)), which.shape)
        evidence["fails"][marks.key] = [int(row), names[column], f"{values[row, column]:.12g}"]


# ------------------------------------------------------------------------------------------------- decision


@dataclass(frozen=True)
class Place:
    """Where evidence was found: of a piece, in the words of the user."""

    path: Path
    evidence: dict[str, Any]
    line: Any  # row -> line

    def describe(self, cell: list[Any]) -> str:
        return f"{self.path} line {self.line(cell[0])}, column {cell[1]!r}: {cell[2]!r}"


def guess(evidence: dict[str, Any], ways: list[NumberFormat]) -> NumberFormat:
    """Return the likeliest way to write numbers, to read them a first time."""
    fitting = [marks for marks in ways if marks.key not in evidence["fails"]]
    return fitting[0] if fitting else max(ways, key=lambda marks: evidence["fails"][marks.key][0])


def decide_marks(places: list[Place], settings: config.Data, separator: str | None) -> NumberFormat:
    """Return the way in which the whole table writes its numbers.

    Raises:
        UserError: two ways fit and differ, or no way fits every cell; names the cell and the setting.
    """
    ways = list_marks(settings)
    fitting = [marks for marks in ways if not any(marks.key in place.evidence["fails"] for place in places)]
    if settings.thousands not in ("auto", "none") and fitting:
        return fitting[0]
    proven = {mark for place in places for mark in place.evidence["proof"]}
    plain = [marks for marks in fitting if not marks.thousands]
    rivals = [marks for marks in fitting if marks.thousands in (".", ",")]
    if plain:
        for marks in rivals:
            _refuse_doubt(marks.thousands, plain, places, separator)
        return plain[0]
    loose = [marks for marks in fitting if marks.thousands in (" ", "'")]
    if loose:
        return loose[0]
    for marks in rivals:
        if marks.thousands in proven or settings.decimal != "auto":
            return marks
    _refuse_no_way(ways, rivals, places)
    raise AssertionError(fitting)


def _refuse_doubt(mark: str, plain: list[NumberFormat], places: list[Place], separator: str | None) -> None:
    """Refuse a mark before exactly three digits in every number that has it: thousands or decimals."""
    if not any(marks.decimal == mark for marks in plain):
        return
    mixed = any(mark in place.evidence["mixed"] for place in places)
    if separator == "," and mark == "." and not mixed:
        return  # where commas part cells, points part decimals, of which each number here has three
    for place in places:
        if mark in place.evidence["doubt"]:
            raise UserError(
                f"{place.describe(place.evidence['doubt'][mark])} may have a decimal or a thousands mark, as "
                f"every number of the file that has one; set data.decimal={mark!r} or data.thousands={mark!r}"
            )


def _refuse_no_way(ways: list[NumberFormat], rivals: list[NumberFormat], places: list[Place]) -> None:
    if rivals:  # it would fit, but nothing proves that the table is not of two hands
        mark = rivals[0].thousands
        other = "a point" if mark == "." else "a comma"
        for place in places:
            if mark in place.evidence["doubt"]:
                raise UserError(
                    f"{place.describe(place.evidence['doubt'][mark])} has {other}, other cells another mark; "
                    f"set data.thousands={mark!r} if it stands between thousands, or write one decimal mark"
                )
    best = max(ways, key=lambda marks: _count_fitting(marks, places))
    for place in places:
        if best.key in place.evidence["fails"]:
            cell = place.evidence["fails"][best.key]
            raise UserError(f"{place.describe(cell)} {describe_cell(str(cell[2]), best)}")


def _count_fitting(marks: NumberFormat, places: list[Place]) -> int:
    """Return the pieces and rows that a way of writing fits before the first cell that it does not."""
    for number, place in enumerate(places):
        if marks.key in place.evidence["fails"]:
            return (number << 40) + int(place.evidence["fails"][marks.key][0])
    return len(places) << 40


SIGNS = {"%": "percent", "€": "currency", "$": "currency", "£": "currency", "¥": "currency"}


SIGN = re.compile("[%€$£¥]")
ALMOST_NUMBER = re.compile(  # of another sign, other thousands, a unit, Fortran or base 16
    r"[(+\-\u2212\u2013<>\u2264\u2265~]?\s*\d[\d.,_\s'\u2019]*(?:\)|-|\s*[A-Za-zµΩ°/²³]{1,5}|[dD][+-]?\d+)?|0[xX][0-9A-Fa-f]+"
)


def is_almost_number(cell: str) -> bool:
    """Return whether a cell is a number but for a sign, a unit or the marks."""
    plain = cell.strip()
    return any(form.fullmatch(plain) for form in (ALMOST_NUMBER, UNIT, NEGATIVE, QUOTED))


UNIT = re.compile(r"\s*[(+\-]?[\d.,\s']*\d[.,]?\s*([A-Za-zµΩ°/²³]{1,5})\s*")
NEGATIVE = re.compile(
    r"\(\s*[\d.,\s']+\)|[\d.,\s']*\d[.,]?-|[-\u2212]\s+[\d.,\s']+|[\u2013\u2014]\s*[\d.,\s']+"
)
QUOTED = re.compile(r"(['\u2018\u2019`])[\d.,\s+-]*\d[.,]?['\u2018\u2019`]")


def describe_cell(cell: str, marks: NumberFormat) -> str:
    """Return what is to say of a cell that is not written as the others are."""
    for sign, what in SIGNS.items():
        if sign in cell:
            return f"is not a number; write numbers without {what} signs (data.units names the unit)"
    if (unit := UNIT.fullmatch(cell)) and not re.fullmatch("[dDeE]", unit[1]):
        return f"is a number with a unit; write numbers without {unit[1]!r} (data.units names the unit)"
    if NEGATIVE.fullmatch(cell):
        return "seems to be a negative number; write negative numbers as -1234.5"
    if QUOTED.fullmatch(cell):
        return "stands in quotes of another kind; remove them, or write double quotes"
    shown = f"1234{marks.decimal}5" if not marks.thousands else f"1{marks.thousands}234{marks.decimal}5"
    missing = "" if is_number(cell) else f"data.missing_values={show_list([cell])} if it means missing, "
    return (
        f"is not a number written as the others are ({shown}); correct it, or set {missing}"
        "data.decimal and data.thousands for its marks, or data.columns.ignore or "
        "data.columns.attributes for its column"
    )
