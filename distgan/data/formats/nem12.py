"""NEM12 files, in which Australian meter data are exchanged, as a table with a row for each register and day.

A file nests its records: 200 (a register of a meter: NMI, suffix, unit, length of intervals), below it 300
(the values of a day, and how they were obtained) and 400 (how those of parts of a day were). 900 ends it.
Times are market time (UTC+10) all year. Source: MDFF Specification NEM12 & NEM13 (AEMO).
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path

from distgan.errors import UserError, writing

ACCEPT_SUBSTITUTED = "substituted"  # in data.accept: values that were not measured are readings
HEAD = re.compile(rb"\s*(\xef\xbb\xbf)?(100,\"?NEM12|200,\w{10,11},([^,\n]*,){6}\s*(5|15|30)\b)", re.I)
MINUTES = (5, 15, 30)
DAY = 1440
THOUSAND = {"": Decimal("0.001"), "k": Decimal(1), "m": Decimal(1000)}
UNITS = {  # as written in small letters -> the unit of the table, and the factor
    f"{prefix}{unit.lower()}": (f"k{unit}", factor)
    for unit in ("Wh", "varh", "VAh", "W", "var", "VA")
    for prefix, factor in THOUSAND.items()
} | {
    f"{prefix}{unit.lower()}": (unit, factor * 1000)
    for unit in ("V", "A", "pf")
    for prefix, factor in THOUSAND.items()
}
MEASURED, NULL, VARIABLE, ESTIMATED = "A", "N", "V", "SFE"
CLOCK = "market time of the NEM, UTC+10 all year"


@dataclass
class Register:
    """A register of a meter: its 200 record, and its days."""

    line: int
    nmi: str
    suffix: str
    unit: str
    factor: Decimal
    minutes: int
    days: dict[str, "Day"] = field(default_factory=dict)


@dataclass
class Day:
    """The values of a day as written, and the flag of each."""

    line: int
    cells: list[str]
    flags: list[str]
    updated: str


@dataclass
class Counts:
    """Values by how they were obtained."""

    all: int = 0
    null: int = 0
    estimated: int = 0


def is_nem12(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a NEM12 file."""
    return HEAD.match(head) is not None


def write_nem12_as_text(path: Path, target: Path, keep_substituted: bool) -> dict[str, str | list[str]]:
    """Write a row for each register and day to a table with tabs; return the unit and notes on the values.

    Args:
        keep_substituted: values that were estimated or substituted are readings, else missing.

    Raises:
        UserError: a record is malformed, or the file is cut off; names the line.
    """
    lengths, units = _survey(path)
    longest, counts = max(lengths), Counts()
    names = [f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(0, DAY, longest)]
    with writing(target), open(target, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(["nmi", "register", "date", *names])
        for register in _iterate_registers(path):
            label = register.suffix if len(units) == 1 else f"{register.suffix} ({register.unit})"
            for date, day in register.days.items():
                values = _read_values(path, register, day, counts, keep_substituted)
                written = _merge(path, register, values, longest)
                rows.writerow([register.nmi, label, f"{date[:4]}-{date[4:6]}-{date[6:]}", *written])
    if not counts.all:
        raise UserError(f"{path} holds no values (300 records); export it again")
    notes = [f"a step is named by its beginning, in {CLOCK}"]
    if counts.estimated:
        missing = f"missing (data.accept=[{ACCEPT_SUBSTITUTED}] keeps them)"
        notes.append(
            f"{counts.estimated:,} of {counts.all:,} values are substituted or estimated (flags S, F, E): "
            + ("kept" if keep_substituted else missing)
        )
    if counts.null:
        notes.append(f"{counts.null:,} of {counts.all:,} values are null (flag N), and missing")
    if len(lengths) > 1:
        short = " and ".join(str(length) for length in sorted(lengths - {longest}))
        notes.append(f"intervals of {short} min are added up to {longest} min")
    return {"units": units.pop() if len(units) == 1 else "", "clock": CLOCK, "notes": notes}


# ------------------------------------------------------------------------------------------------ records


def _iterate_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the cells of each record.

    Raises:
        UserError: the file does not end with a 900 record, or goes on behind it, or is no text.
    """
    last = ""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            for cells in rows:
                if not any(cell.strip() for cell in cells):
                    continue
                last = cells[0].strip()
                yield rows.line_num, [cell.strip() for cell in cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a readable NEM12 file ({error})") from None
    if last != "900":
        raise UserError(
            f"{path} does not end with a 900 record: it is cut off; export it again, or add a line 900 "
            "if it is whole"
        )


def _survey(path: Path) -> tuple[set[int], set[str]]:
    """Return the lengths of intervals and the units in a file; raises as `_read_register`."""
    lengths, units = set(), set()
    for line, cells in _iterate_records(path):
        if cells[0] == "200":
            register = _read_register(path, line, cells)
            lengths.add(register.minutes)
            units.add(register.unit)
    if not lengths:
        raise UserError(f"{path} holds no meter (200 records); export it again")
    return lengths, units


def _iterate_registers(path: Path) -> Iterator[Register]:
    """Yield each register with its days.

    Raises:
        UserError: a record is malformed, out of place or of an unknown kind; names the line.
    """
    register: Register | None = None
    day: Day | None = None
    for line, cells in _iterate_records(path):
        kind = cells[0]
        if kind == "200":
            if register is not None:
                yield register
            register, day = _read_register(path, line, cells), None
        elif kind == "300":
            if register is None:
                raise _make_error(path, line, "values (300) stand before the meter that they are of (200)")
            day = _read_day(path, line, cells, register)
        elif kind == "400":
            if register is None or day is None:
                raise _make_error(path, line, "flags (400) stand before the day that they are of (300)")
            _read_flags(path, line, cells, day)
        elif kind not in ("100", "500", "900"):
            raise _make_error(path, line, f"{kind[:12]!r} is no kind of record of NEM12 (100 to 500, 900)")
    if register is not None:
        yield register


def _read_register(path: Path, line: int, cells: list[str]) -> Register:
    if len(cells) < 9 or not re.fullmatch(r"\w{10,11}", cells[1]) or not cells[4]:
        raise _make_error(
            path, line, "a 200 record needs an NMI of 10 letters or digits, a suffix, a unit and a length"
        )
    if cells[7].lower() not in UNITS:
        raise _make_error(path, line, f"unit {cells[7]!r} is not known; known are {', '.join(UNITS)}")
    if not cells[8].isdigit() or int(cells[8]) not in MINUTES:
        raise _make_error(path, line, f"intervals of {cells[8]!r} min are not known; known are 5, 15 and 30")
    unit, factor = UNITS[cells[7].lower()]
    return Register(line, cells[1][:10], cells[4], unit, factor, int(cells[8]))


def _read_day(path: Path, line: int, cells: list[str], register: Register) -> Day:
    """Add the values of a day to its register; of a day that stands twice, those that were updated later."""
    many = DAY // register.minutes
    if len(cells) < many + 3:
        raise _make_error(
            path,
            line,
            f"a day in steps of {register.minutes} min has {many} values and a flag, and here are "
            f"{len(cells) - 2} cells",
        )
    date, flag = cells[1], cells[many + 2].upper()
    if not re.fullmatch(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", date):
        raise _make_error(path, line, f"{date!r} is no date (20130131)")
    if flag[:1] not in (MEASURED, NULL, VARIABLE, *ESTIMATED):
        raise _make_error(path, line, f"{flag!r} is no flag of quality (A, E, F, N, S or V)")
    updated = cells[many + 5] if len(cells) > many + 5 else ""
    day = Day(line, cells[2 : many + 2], [flag[:1]] * many, updated)
    known = register.days.get(date)
    if known is not None and known.cells != day.cells and known.updated == updated:
        raise _make_error(
            path,
            line,
            f"{date} of register {register.suffix} stands in line {known.line}, too, with other values; "
            "delete one of both",
        )
    if known is None or known.updated <= updated:
        register.days[date] = day
    return day


def _read_flags(path: Path, line: int, cells: list[str], day: Day) -> None:
    """Set the flags of some values of a day."""
    numbers = cells[1:3]
    if len(cells) < 4 or not all(cell.isdigit() for cell in numbers):
        raise _make_error(path, line, "a 400 record needs the first and the last interval, and a flag")
    first, last = map(int, numbers)
    flag = cells[3].upper()[:1]
    if not 1 <= first <= last <= len(day.flags) or flag not in (MEASURED, NULL, *ESTIMATED):
        raise _make_error(
            path, line, f"intervals {first} to {last} with the flag {cells[3]!r} are not of this day"
        )
    day.flags[first - 1 : last] = [flag] * (last - first + 1)


# ------------------------------------------------------------------------------------------------- values


def _read_values(
    path: Path, register: Register, day: Day, counts: Counts, keep: bool
) -> list[Decimal | None]:
    """Return the values of a day in the unit of the table, None for missing ones."""
    if VARIABLE in day.flags:
        number = day.flags.index(VARIABLE) + 1
        raise _make_error(
            path, day.line, f"the flag V says that 400 records follow, and none is for interval {number}"
        )
    found: list[Decimal | None] = []
    for number, (cell, flag) in enumerate(zip(day.cells, day.flags), start=1):
        counts.all += 1
        counts.null += flag == NULL
        counts.estimated += flag in ESTIMATED
        if flag == NULL or (flag in ESTIMATED and not keep):
            found.append(None)
            continue
        try:
            value = Decimal(cell)
        except InvalidOperation:
            value = Decimal("nan")
        if not value.is_finite():
            raise _make_error(path, day.line, f"interval {number} holds {cell!r}, which is no number")
        found.append(value * register.factor if register.factor != 1 else value)
    return found


def _merge(path: Path, register: Register, values: list[Decimal | None], longest: int) -> list[str]:
    """Return the values as text, of energy added up to longer intervals; "" where one of them is missing."""
    factor = longest // register.minutes
    if factor > 1 and not register.unit.endswith("h"):
        raise _make_error(
            path,
            register.line,
            f"a register in {register.unit} has intervals of {register.minutes} min, and others have "
            f"{longest} min; give files of one length",
        )
    groups = [values[place : place + factor] for place in range(0, len(values), factor)]
    known = [[value for value in group if value is not None] for group in groups]
    return [format(sum(group, Decimal(0)), "f") if len(group) == factor else "" for group in known]


def _make_error(path: Path, line: int, what: str) -> UserError:
    return UserError(f"{path} line {line}: {what}")
