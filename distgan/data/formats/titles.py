"""What lines above the rows of a table state of all of it: the unit of its readings, the zone of times."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from distgan.data.formats.unit_columns import KNOWN_UNIT
from distgan.errors import UserError

UNIT = re.compile(
    r"\b(?:units?|uom|einheit|eenheid|unit[ée]|unit[àa]|unidad)(?: of measure\w*)?\"?\s*[:=;,\t]\s*\"?"
    r"([^\s\",;]+)",
    re.I,
)
ZONE = re.compile(
    r"\b(?:time ?zone|zeitzone|utc ?offset)\"?\s*[:=;,\t]\s*\"?"
    r"((?:utc|gmt)?[+-]\d{1,2}(?::?\d\d)?|[A-Z]{2,4}\b(?:[+-]\d+)?(?!\s*/|\s+standard)|[A-Z][a-z]+/[A-Za-z_/]+)",
    re.I,
)


def find_stated(
    lines: Sequence[tuple[int, bytes]], units: Mapping[str, str]
) -> tuple[tuple[str, str, int], ...]:
    """Return what numbered lines above the rows state, as `Unit: kWh` does: kind, value, number of the line.

    Args:
        units: column -> unit, of the row of units that may be the last of these lines.
    """
    known = [unit for unit in units.values() if KNOWN_UNIT.fullmatch(unit)]
    found = [("unit", unit, lines[-1][0]) for unit in dict.fromkeys(known)]
    for number, raw in lines:
        text = raw.decode(errors="replace")
        for kind, pattern in (("unit", UNIT), ("time zone", ZONE)):
            for match in pattern.finditer(text):
                if kind == "time zone" or KNOWN_UNIT.fullmatch(match[1]):
                    found.append((kind, match[1], number))
    return tuple(found)


def refuse_other_titles(files: Sequence[tuple[Path, tuple[tuple[str, str, int], ...]]]) -> None:
    """
    Args:
        files: of one data set, each with what its lines state.

    Raises:
        UserError: two files state different units or zones.
    """
    for kind in ("unit", "time zone"):
        known: tuple[Path, set[str]] | None = None
        for path, stated in files:
            values = {value for name, value, _ in stated if name == kind}
            if not values:
                continue
            known = known or (path, values)
            if values != known[1]:
                line = next(line for name, value, line in stated if name == kind)
                what = "readings in one unit" if kind == "unit" else "times in one zone"
                raise UserError(
                    f"{path} line {line} states the {kind} {', '.join(sorted(values))}, and {known[0]} "
                    f"{', '.join(sorted(known[1]))}; write all {what}, or, if they are, set "
                    f"data.skip_rows={line} to leave these lines out"
                )
