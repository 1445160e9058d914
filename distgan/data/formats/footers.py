"""Lines below the rows of a text table: totals, sources, remarks."""

import re
from collections.abc import Callable
from pathlib import Path

from distgan.errors import UserError

TAIL_BYTES = 1 << 16
DECIMALS = re.compile(r"[^.,]*[.,](\d+)\D*")
FEWEST_ALIKE, MOST_ALIKE = 50, 200  # lines before one that may be cut off
MOST_LINES = 20  # of a footer
SUMMARY = re.compile(
    r"(?i)\W*((grand |sub)?totals?|sums?|averages?|mean|sources?|notes?|copyright|end of|\d+ rows?)\b|\*|©"
)


def read_last_lines(file: Path, start: int, stop: int, many: int) -> list[tuple[int, bytes]]:
    """Return the first byte and the content of the last lines that are not blank, in order."""
    size = TAIL_BYTES
    while True:
        begin = max(start, stop - size)
        with open(file, "rb") as stream:
            stream.seek(begin)
            content = stream.read(stop - begin)
        lines, place = [], begin
        for raw in content.splitlines(keepends=True):
            lines.append((place, raw))
            place += len(raw)
        if begin > start:
            lines = lines[1:]  # it may begin in the middle
        filled = [(place, raw) for place, raw in lines if raw.strip()]
        if begin == start or len(filled) >= many:
            return filled[-many:] if many else []
        size *= 4


def end_of_rows(path: Path, file: Path, skip_footer: int) -> int:
    """Return the byte at which the footer of data.skip_footer lines begins, or the size of the file.

    Raises:
        UserError: the file has no more lines than that.
    """
    size = file.stat().st_size
    if not skip_footer:
        return size
    lines = read_last_lines(file, 0, size, skip_footer + 1)
    if len(lines) <= skip_footer:
        raise UserError(
            f"{path} has {len(lines)} lines, and data.skip_footer leaves out {skip_footer}; set it to less"
        )
    return lines[1][0]


def refuse_footer(
    path: Path,
    file: Path,
    rows: tuple[int, int],
    kinds: list[str],
    cells_of: Callable[[bytes], list[str]],
    kind: Callable[[str], str],
) -> None:
    """Refuse a table whose last lines are no rows.

    Args:
        rows: the bytes from the first row to the end.
        kinds: of the columns of the rows. cells_of: splits a line. kind: of a cell.

    Raises:
        UserError: the last lines are no rows of the table; says how many.
    """
    refuse_cut_number(path, read_last_lines(file, *rows, MOST_ALIKE), cells_of)
    lines = read_last_lines(file, *rows, MOST_LINES + 1)
    footer = 0
    for _, raw in reversed(lines):
        cells = cells_of(raw)
        if not cells or not _is_footer([kind(cell) for cell in cells], cells, kinds):
            break
        footer += 1
    if not 0 < footer <= MOST_LINES or footer == len(lines):
        return
    start, first = lines[-footer]
    which = f"the last {footer} lines, from line" if footer > 1 else "the last line,"
    shown = first.decode(errors="replace").strip()[:40]
    raise UserError(
        f"{path}: {which} {_count_lines_to(file, start)} ({shown!r}), cannot be read as rows of the "
        f"table; set data.skip_footer={footer} to leave them out, or correct them"
    )


def refuse_cut_number(
    path: Path, lines: list[tuple[int, bytes]], cells_of: Callable[[bytes], list[str]]
) -> None:
    """
    Raises:
        UserError: a file ends within a number: without an end of the line, and with fewer decimals than all
            lines before, which have the same number of them.
    """
    if len(lines) < FEWEST_ALIKE or lines[-1][1].endswith((b"\n", b"\r")):
        return
    last = [cells[-1].strip() for _, raw in lines if (cells := cells_of(raw))]
    decimals = [len(match[1]) if (match := DECIMALS.fullmatch(cell)) else 0 for cell in last]
    begun = re.fullmatch(r"[+-]?\d*[.,]?\d*", last[-1]) is not None and last[-1] != ""
    if begun and len(set(decimals[:-1])) == 1 and decimals[-1] < decimals[0]:
        raise UserError(
            f"{path} ends in {last[-1]!r}, without an end of the line, and all lines before have "
            f"{decimals[0]} decimals: it seems to be cut off; copy it again, or end the line if it is whole"
        )


def _count_lines_to(file: Path, place: int) -> int:
    """Return the number of the line that begins at a byte, from 1."""
    number = 1
    with open(file, "rb") as stream:
        while place > 0 and (block := stream.read(min(1 << 20, place))):
            number, place = number + block.count(b"\n"), place - len(block)
    return number


def _is_footer(found: list[str], cells: list[str], kinds: list[str]) -> bool:
    """Return whether words stand where all rows have a time, or alone where all rows have more cells."""
    times = [column for column, kind in enumerate(kinds) if kind == "time"]
    words = found[0] == "text" and kinds[0] != "text"
    filled = [column for column, kind in enumerate(found) if kind != "empty"]
    if times and times[0] < len(found) and found[times[0]] == "text" and (words or times[0] > 0):
        return True
    if times and times[0] < len(found) and found[times[0]] == "empty" and "number" in found:
        return True  # sums, with nothing where the time stands
    if filled and filled[0] == 0 and SUMMARY.match(cells[0]):
        return not times or times[0] >= len(found) or found[times[0]] != "time"
    remark = len(found) == 1 < len(kinds) - 1 and found[0] == "text" and len(cells[0].split()) >= 3
    return (words and len(filled) == 1 and len(kinds) > 1) or remark


def is_quoted_whole(raw: bytes, separators: tuple[str, ...]) -> bool:
    """Return whether a line stands in one pair of quotes that holds its separators."""
    text = raw.decode(errors="replace").strip()
    inside = text[1:-1].replace('""', "")
    return (
        len(text) > 2
        and text[0] == text[-1] == '"'
        and '"' not in inside
        and any(mark in inside for mark in separators)
    )
