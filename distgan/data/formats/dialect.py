"""How a text table is laid out: separator, title rows, the header, units rows, where the data begin."""

import csv
import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from distgan import config
from distgan.data.formats.advice import show_list
from distgan.data.formats.footers import end_of_rows, is_quoted_whole, refuse_footer
from distgan.data.formats.missing_cells import MISSING
from distgan.data.formats.number_format import classify_cell, is_number
from distgan.data.formats.other_texts import refuse_archive_of_series
from distgan.data.formats.text import refuse_not_utf8
from distgan.data.formats.titles import find_stated
from distgan.data.formats.units_rows import is_units, read_units
from distgan.errors import UserError

BLANKS = r"\s+"  # one or more, as pandas writes it
SEPARATORS = (",", ";", "\t", "|", BLANKS, "^", "~", "\x01")  # the last one is Hive's
HEAD_LINES, FEWEST_LINES, LINE_BYTES, SNIFFED_BYTES = 200, 24, 1 << 22, 1 << 17
LONG_LINES = 8  # that are looked at however long they are
BODY_ROWS = 8  # further down that show of which kind each column is
COMMENT = "#"


@dataclass(frozen=True)
class Dialect:
    """Rules by which the lines of a text table are read; `file` is UTF-8.

    Attributes:
        header: the header line as it stands, without its end; None where no line names the columns.
        start, stop: the bytes at which the data begin, in line `first_line`, and end.
        empty: the names of nameless columns without any cell (lines that end with a separator).
        dropped: columns that repeat a name which data.columns.ignore leaves out.
        stated: units and time zones that lines above the rows state (`find_stated`).
    """

    path: Path
    file: Path
    encoding: str
    separator: str
    names: tuple[str, ...]
    header_line: int | None
    header: bytes | None
    start: int
    stop: int
    first_line: int
    empty: tuple[str, ...]
    skipped: tuple[str, ...]
    units: tuple[tuple[str, str], ...]
    dropped: tuple[str, ...] = ()
    stated: tuple[tuple[str, str, int], ...] = ()

    @property
    def columns(self) -> list[str]:
        apart = {*self.empty, *self.dropped}
        return [name for name in self.names if name not in apart]

    @property
    def shown_separator(self) -> str:
        return {"\t": "tab", BLANKS: "blanks", " ": "one blank", "\x01": "Ctrl-A"}.get(
            self.separator, self.separator
        )


@dataclass(frozen=True)
class Row:
    """Cells of a line of the file, which has a number from 1, begins at a byte, and stands as `raw`."""

    cells: list[str]
    line: int
    start: int
    raw: bytes

    @property
    def filled(self) -> int:
        return sum(bool(cell) for cell in self.cells)


def find_dialect(path: Path, file: Path, encoding: str, settings: config.Data) -> Dialect:
    """Find out how the lines of `file`, the UTF-8 text of `path`, are read.

    Raises:
        UserError: it has no rows, one column, or no clear header; names the setting.
    """
    stop = end_of_rows(path, file, settings.skip_footer)
    lines = _read_head_lines(path, file, settings.skip_rows, stop)
    lines = [
        (number, start, _strip_comment(raw) if number == settings.header else raw)
        for number, start, raw in lines
    ]
    if len(lines) < 1 + (settings.header != "none"):
        raise UserError(f"{path} has no rows below its header")
    refuse_archive_of_series(path, [raw for _, _, raw in lines])
    separator = _find_separator(lines, settings)
    rows = _split_rows(lines, separator)
    width = _find_width(rows)
    if width < 2:
        raise _make_one_column_error(path, lines)
    named = next((place for place, row in enumerate(rows) if row.line == settings.header), None)
    kinds = _find_kinds(rows, width)
    first = _find_first_data_row(rows, kinds, 0 if named is None else named + 1)
    header, between, skipped = _find_header(rows, first, width, path, settings)
    if first is None or (header is not None and header >= first):
        marked = sum(raw.startswith(COMMENT.encode()) for _, _, raw in lines)
        said = f"; its {marked} lines that begin with {COMMENT} are comments: put quotes around their first "
        said += "cell if they are rows"
        raise UserError(f"{path} has no rows below its header{said if 2 * marked > len(lines) else ''}")
    if header is None:
        _refuse_commented_names(lines, rows[first], separator, path, settings)
    cells, dropped = _rename_repeats(rows, header, settings.columns.ignore, path)
    names, empty = _name_columns(cells, rows, header, first, width, path)
    below, above = ([rows[place].cells for place in part] for part in (between, skipped))
    units = read_units(below, above, names)
    refuse_footer(path, file, (rows[first].start, stop), kinds, partial(split_line, separator), classify_cell)
    return Dialect(
        path,
        file,
        encoding,
        separator,
        tuple(names),
        None if header is None else rows[header].line,
        None if header is None else rows[header].raw.rstrip(b"\r\n"),
        rows[first].start,
        stop,
        rows[first].line,
        tuple(empty),
        tuple(_format_row(rows[row]) for row in (*skipped, *between)),
        tuple(units.items()),
        tuple(dropped),
        find_stated([(number, raw) for number, _, raw in lines if number < rows[first].line], units),
    )


def _make_one_column_error(path: Path, lines: list[tuple[int, int, bytes]]) -> UserError:
    shown = lines[0][2].decode(errors="replace").strip()[:40]
    if is_quoted_whole(lines[-1][2], (",", ";", "\t", "|")):
        return UserError(
            f"{path}: each line stands in quotes as a whole ({shown!r}), so that it has one cell; "
            "export it once more, or remove the first and the last quote of each line "
            "(sed 's/^\"//; s/\"\\r*$//')"
        )
    return UserError(
        f"{path} has one column ({shown!r}); separate columns by , ; tab or |, or set data.separator"
    )


def _format_row(row: Row) -> str:
    return row.raw.decode(errors="replace").strip().rstrip(",;\t| ")[:80]


def _read_head_lines(path: Path, file: Path, skip: int, stop: int) -> list[tuple[int, int, bytes]]:
    """Return number, first byte and content of the first lines, without blank ones."""
    found: list[tuple[int, int, bytes]] = []
    place, number, size = 0, 0, 0
    with open(file, "rb") as stream:
        while (
            len(found) < LONG_LINES
            or (len(found) < FEWEST_LINES and size < LINE_BYTES // 4)
            or (len(found) < HEAD_LINES and size < SNIFFED_BYTES)
        ):
            raw = stream.readline(LINE_BYTES)
            if not raw or place >= stop:
                break
            number += 1
            start, place = place, place + len(raw)
            if number == 1 and raw.startswith(b"\xef\xbb\xbf"):
                raw, start = raw[3:], 3
            if number <= skip or not raw.strip():
                continue
            if b"\0" in raw:
                raise UserError(f"{path} is not text: it holds zero bytes; if it is text, set data.encoding")
            try:
                raw.decode()
            except UnicodeDecodeError as error:
                raise refuse_not_utf8(path, start + error.start) from None
            found.append((number, start, raw))
            size += len(raw)
    return found


# ----------------------------------------------------------------------------------------------- separators


def _split_rows(lines: list[tuple[int, int, bytes]], separator: str) -> list[Row]:
    """Return the cells of each line; a quoted cell may hold line ends."""
    texts = [raw.decode() for _, _, raw in lines]
    given = texts if separator != BLANKS else [text.strip() + "\n" for text in texts]
    mark = " " if separator == BLANKS else separator
    reader = csv.reader(given, delimiter=mark, skipinitialspace=separator != " ")
    found, before = [], 0
    try:
        for cells in reader:
            number, start, raw = lines[before]
            raw = b"".join(line for _, _, line in lines[before : reader.line_num])
            before = reader.line_num
            if cells and not raw.lstrip().startswith(COMMENT.encode()):
                found.append(Row([cell.strip() for cell in cells], number, start, raw))
    except csv.Error:
        return found
    return found


def split_line(separator: str, raw: bytes) -> list[str]:
    """Return the cells of one line; a comment has none."""
    rows = _split_rows([(1, 0, raw.decode(errors="replace").encode())], separator)
    return rows[0].cells if rows else []


def _find_separator(lines: list[tuple[int, int, bytes]], settings: config.Data) -> str:
    if settings.separator != "auto":
        return {"tab": "\t", "\\t": "\t"}.get(settings.separator, settings.separator)
    scores = {}
    for mark in SEPARATORS:
        rows = _split_rows(lines, mark)
        widths = Counter(len(row.cells) for row in rows)
        if not widths:
            continue
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
        if width < 2:
            continue
        cells = [cell for row in rows[-50:] if len(row.cells) == width for cell in row.cells[:50]]
        clean = sum(classify_cell(cell) != "text" for cell in cells) / max(1, len(cells))
        stray = sum(_has_other_mark(cell, mark) for cell in cells) / max(1, len(cells))
        even = count / len(rows)
        scores[mark] = (even >= 0.9, round(even - stray, 2), mark != BLANKS, round(clean, 2), width)
    if not scores:
        return ","
    return max(scores, key=lambda mark: scores[mark])


def _has_other_mark(cell: str, mark: str) -> bool:
    """Return whether a cell holds another separator, quotes, or, between blanks, a comma that is no decimal
    mark.
    """
    if '"' in cell or (mark == BLANKS and "," in cell and not is_number(cell)):
        return True
    return any(other in cell for other in ";\t|^~\x01" if other != mark)


def _find_width(rows: list[Row]) -> int:
    """Return the number of cells of most lines; of two widths that are as frequent, the wider."""
    widths = Counter(len(row.cells) for row in rows[len(rows) // 4 :])
    return max(widths.items(), key=lambda item: (item[1], item[0]))[0] if widths else 0


# --------------------------------------------------------------------------------------------- header, units


def _find_kinds(rows: list[Row], width: int) -> list[str]:
    """Return the kind of each column, by rows further down."""
    body = [row for row in rows[len(rows) // 2 :][:BODY_ROWS] if len(row.cells) == width] or rows[-1:]
    wanted = []
    for cells in zip(*(row.cells[: min(width, len(body[0].cells))] for row in body)):
        kinds = [classify_cell(cell) for cell in cells if cell not in MISSING]
        wanted.append("empty" if not kinds else max(dict.fromkeys(kinds), key=kinds.count))
    return wanted


def _find_first_data_row(rows: list[Row], wanted: list[str], begin: int) -> int | None:
    """Return the first row of data: not a title that holds a date, if a line below it names the columns."""
    found = later = _find_row_of_kinds(rows, wanted, begin)
    while later is not None and _has_no_number(rows[later], wanted):
        later = _find_row_of_kinds(rows, wanted, later + 1)
    if found is None or later is None:
        return found
    return later if any(_are_words(row, len(wanted)) for row in rows[found + 1 : later]) else found


def _has_no_number(row: Row, wanted: list[str]) -> bool:
    """Return whether words or nothing stand where other rows have numbers."""
    numbers = [column for column, kind in enumerate(wanted) if kind == "number"]
    cells = [classify_cell(row.cells[column]) for column in numbers if column < len(row.cells)]
    return bool(numbers) and all(kind == "text" for kind in cells)


def _are_words(row: Row, width: int) -> bool:
    return len(row.cells) == width and all(classify_cell(cell) in ("text", "empty") for cell in row.cells)


def _find_row_of_kinds(rows: list[Row], wanted: list[str], begin: int) -> int | None:
    """Return the first row whose cells are of the kinds that the rows further down have."""
    width = len(wanted)
    times = [column for column, name in enumerate(wanted) if name == "time"]
    numbers = [column for column, name in enumerate(wanted) if name == "number"]
    for place, row in list(enumerate(rows))[begin:]:
        found = [classify_cell(cell) for cell in row.cells] + ["empty"] * width
        if times and all(found[column] == "time" for column in times[:2]):
            return place
        if not times and numbers and row.filled and len(row.cells) >= 2:
            there = {found[column] for column in numbers}
            if "number" in there and not {"text", "time"} & there:
                return place
    return max(begin, 1) if len(rows) > max(begin, 1) else None


def _find_header(
    rows: list[Row], first: int | None, width: int, path: Path, settings: config.Data
) -> tuple[int | None, list[int], list[int]]:
    """Return the header's row, the rows between it and the data, and those before it."""
    top = len(rows) if first is None else first
    if settings.header == "none":
        return None, [], list(range(top))
    if settings.header != "auto":
        for place, row in enumerate(rows):
            if row.line == settings.header:
                return place, list(range(place + 1, top)), list(range(place))
        raise UserError(f"{path}: data.header={settings.header} is no line with cells among the first ones")
    several = [
        place for place in range(top) if rows[place].filled >= 2 or width == 2 == len(rows[place].cells)
    ]
    full = [place for place in several if abs(len(rows[place].cells) - width) <= 1]
    if not several:
        _refuse_other_separator(rows[:top], width, path)
        return None, [], list(range(top))
    if not full or (
        len(rows[full[0]].cells) != width and not _differs_by_empties(rows, full[0], first, width)
    ):
        bad = rows[full[0] if full else several[-1]]
        if len(bad.cells) < width:
            raise UserError(
                f"{path} line {bad.line}: the rows have more cells than the header has names ({width} and "
                f"{len(bad.cells)}); name each column (R's write.table leaves the first out: "
                "col.names=NA), or set data.header to the line of the names, or to none"
            )
        raise UserError(
            f"{path} line {bad.line} has {len(bad.cells)} names, and the rows {width} cells; the file is cut "
            "off or damaged there, or data.header is another line"
        )
    if len(full) == 1:
        place = full[0]
        return place, list(range(place + 1, top)), list(range(place))
    names = [place for place in full if not is_units(rows[place].cells)]
    complete = [place for place in names if rows[place].filled >= width - 1]
    exact = [place for place in complete if len(rows[place].cells) == width]
    complete = exact if len(exact) == 1 else complete
    if len(complete) != 1:
        lines = [str(rows[place].line) for place in full[:6]]
        shown = f"{', '.join(lines[:-1])} and {lines[-1]} may {'both' if len(lines) == 2 else 'all'}"
        raise UserError(
            f"{path}: lines {shown} name the columns; set data.header to the line that does, or write one "
            "line of names if they name them together"
        )
    place = complete[0]
    return place, list(range(place + 1, top)), list(range(place))


def _refuse_other_separator(rows: list[Row], width: int, path: Path) -> None:
    """
    Raises:
        UserError: a line above the rows has as many parts as they have cells, between other separators or
            within one pair of quotes.
    """
    for row in rows:
        if width > 2 and any(row.raw.count(mark) == width - 1 for mark in (b",", b";", b"\t", b"|")):
            raise UserError(
                f"{path} line {row.line} seems to name the {width} columns, between other separators "
                "than the rows have, or in quotes as a whole; write it as them, or set data.header=none"
            )


def _refuse_commented_names(
    lines: list[tuple[int, int, bytes]], row: Row, separator: str, path: Path, settings: config.Data
) -> None:
    """
    Raises:
        UserError: a comment above the first row has a word for each of its cells, and no setting calls
            columns by their numbers.
    """
    if settings.header == "none" or re.search(r"\bcolumn\d", repr(settings.columns)):
        return
    for number, _, raw in lines:
        names = split_line(separator, _strip_comment(raw)) if number < row.line else []
        words = {"text"} <= set(map(classify_cell, names)) <= {"text", "number"}
        if words and len(names) == len(row.cells):
            raise UserError(
                f"{path} line {number} is a comment, and seems to name the {len(names)} columns; set "
                f"data.header={number} if it does, or data.header=none"
            )


def _differs_by_empties(rows: list[Row], header: int, first: int | None, width: int) -> bool:
    """Return whether header and rows differ by an empty last cell alone."""
    if first is None:
        return False
    if len(rows[header].cells) > width:
        return rows[header].cells[-1] == ""
    return all(row.cells[-1] == "" for row in rows[first:] if len(row.cells) == width)


def _strip_comment(raw: bytes) -> bytes:
    """Return a line without marks of a comment at its beginning."""
    return re.sub(rb"^\s*#+\s*", b"", raw)


def _rename_repeats(
    rows: list[Row], header: int | None, ignored: tuple[str, ...], path: Path
) -> tuple[list[str], list[str]]:
    """Return the names in the header, and those of columns that repeat an ignored one, which are renamed.

    Raises:
        UserError: another name stands twice.
    """
    names = [] if header is None else list(rows[header].cells)
    dropped, seen = [], set[str]()
    for column, name in enumerate(names):
        if not name or name not in seen:
            seen.add(name)
            continue
        if name not in ignored:
            raise UserError(
                f"{path}: column {name!r} stands {names.count(name)} times; give columns different names, or "
                f"leave all of this name out with data.columns.ignore={show_list([name])}"
            )
        dropped.append(f"{name} (column {column + 1})")
        names[column] = dropped[-1]
        seen.add(dropped[-1])
    return names, dropped


def _name_columns(
    named: list[str], rows: list[Row], header: int | None, first: int, width: int, path: Path
) -> tuple[list[str], list[str]]:
    """Return a name for each cell of a row, and the names of those that nobody named and nothing fills."""
    names = [f"column{number}" for number in range(1, width + 1)] if header is None else named
    if len(names) == width + 1:
        names.pop()
    empty: list[str] = []
    names += [""] * (width - len(names))
    for column in range(width - 1, 0, -1):
        body = [row.cells[column] for row in rows[first:] if len(row.cells) > column]
        if (header is not None and names[column]) or any(body):
            break
        names[column] = f"(column {column + 1})"
        empty.append(names[column])
    if header is not None:  # margins and gaps of a sheet
        for column in range(width):
            if not names[column] and not any(row.cells[column : column + 1] != [""] for row in rows[first:]):
                names[column] = f"(column {column + 1})"
                empty.append(names[column])
    if names.count("") > 1:
        raise UserError(
            f"{path}: {names.count('')} columns have no name; name them or remove them, or set data.header "
            "to the line of the names, or to none"
        )
    return names, empty
