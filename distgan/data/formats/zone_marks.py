"""UTC offsets and zone names beside times: what they mean for a column, with or without data.timezone."""

import re
import zoneinfo
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from distgan.data.formats.stamps import Parsed, Stamps
from distgan.data.zones import find_instants, format_offset, list_abbreviations
from distgan.errors import UserError

GERMAN = {"MEZ": "CET", "MESZ": "CEST", "WEZ": "WET", "WESZ": "WEST", "OEZ": "EET", "OESZ": "EEST"}
HEADER = re.compile(  # Time (UTC), HourUTC, utcTime
    r"(?i)(?:utc|gmt)\s*(?P<offset>[+-]\s?\d{1,2}(?::?\d\d)?)?(?:$|[^a-z0-9:+-]|(?:date|time|stamp|hour))"
)


def parse_offset(mark: str) -> timedelta | None:
    """Return the UTC offset that a mark such as `Z`, `UTC`, `+01` or `UTC-03:30` states; None of a name."""
    match = re.fullmatch(
        r"(?i)\(?(?:z|utc|gmt|ut)\)?|(?:utc|gmt|ut)? ?(?P<sign>[+-])(?P<h>\d{1,2})(?::?(?P<m>\d\d))?"
        r"(?::?(?P<s>\d\d))?",
        mark.strip(),
    )
    if match is None:
        return None
    offset = timedelta(hours=int(match["h"] or 0), minutes=int(match["m"] or 0), seconds=int(match["s"] or 0))
    return -offset if match["sign"] == "-" else offset


def settle_zones(parsed: Parsed, stamps: Stamps, zone: str | None) -> Parsed:
    """Return the times in UTC where offsets or names say how, for a `zone` to place them; else as the clock
    shows them.

    Without a zone (data.timezone), one offset for all is kept as written, and several are brought to UTC.

    Raises:
        UserError: some times have an offset and others none, or a name whose offset is not known.
    """
    if parsed.utc:
        return parsed
    if parsed.zones is None or not pc.any(pc.not_equal(parsed.zones, "")).as_py():
        return _settle_by_header(parsed, stamps, zone)
    encoded = parsed.zones.dictionary_encode()
    marks, codes = encoded.dictionary.to_pylist(), np.asarray(encoded.indices)
    known = {mark: parse_offset(mark) for mark in marks if mark}
    names = {mark for mark, offset in known.items() if offset is None}
    if names:
        return _settle_by_names(parsed, stamps, zone, marks, codes, known)
    if "" in marks:
        stamps.refuse_first(
            codes == marks.index(""), "has no UTC offset, as other times of the column have; write all alike"
        )
    too_far = np.array([abs(known[mark] or timedelta(0)) > timedelta(hours=15) for mark in marks])
    stamps.refuse_first(too_far[codes], "has no UTC offset of a place on Earth (up to 14 hours)")
    offsets = np.array([np.timedelta64(known[mark] or timedelta(0), "us") for mark in marks])
    instants = parsed.values - offsets[codes]
    different = sorted({known[mark] or timedelta(0) for mark in marks})
    if zone is not None:
        return Parsed(instants, utc=True, notes=parsed.notes)
    if len(different) == 1:
        said = f"times have the UTC offset {format_offset(different[0])} and are kept as written"
        said = said if different[0] else "times are in UTC"
        clock = name_clock(different[0])
        return Parsed(parsed.values, utc=not different[0], notes=[*parsed.notes, said], clock=clock)
    said = (
        f"times have {len(different)} UTC offsets, {format_offset(different[0])} to "
        f"{format_offset(different[-1])}, and are given in UTC; set data.timezone, e.g. to "
        "Europe/Berlin, for local standard time"
    )
    return Parsed(instants, utc=True, notes=[*parsed.notes, said])


def name_clock(offset: timedelta) -> str:
    """Return a clock's name: UTC, UTC+05:00."""
    return f"UTC{format_offset(offset)}" if offset else "UTC"


def _settle_by_header(parsed: Parsed, stamps: Stamps, zone: str | None) -> Parsed:
    """Return times without marks: a column named `Time (UTC)` holds UTC, as do all below a line `Time zone:
    UTC`; others hold what the clock showed.

    Raises:
        UserError: a line above the table states another place than `zone`.
    """
    match, stated = HEADER.search(stamps.column), stamps.where.zone
    if match is not None:
        offset, said = parse_offset((match["offset"] or "Z").replace(" ", "")), "column's name"
    else:
        offset, said = parse_offset(stated), "line above the table"
    if offset is None:
        places = {name.lower() for name in zoneinfo.available_timezones()} if "/" in stated else set()
        if zone is not None and stated.lower() in places - {zone.lower()}:
            raise UserError(
                f"{stamps.name}: a line above the table states the time zone {stated}, and data.timezone is "
                f"{zone}; set it to {stated}, or set data.skip_rows to leave that line out"
            )
        return parsed
    if zone is None:
        return replace(parsed, clock=name_clock(offset))
    name = repr(stamps.column if match is not None else stated)
    note = f"times are at UTC{format_offset(offset)}, as the {said} {name} says"
    return Parsed(parsed.values - np.timedelta64(offset, "us"), utc=True, notes=[*parsed.notes, note])


def _settle_by_names(
    parsed: Parsed,
    stamps: Stamps,
    zone: str | None,
    marks: list[str],
    codes: np.ndarray,
    known: dict[str, timedelta | None],
) -> Parsed:
    """Return times with names of zones: `CET`, `CEST`, `Europe/Paris`."""
    named = next(place for place, code in enumerate(codes) if known.get(marks[code], timedelta(0)) is None)
    mark = marks[codes[named]].strip("()")
    places = {name.lower(): name for name in zoneinfo.available_timezones()}
    place = places.get(mark.lower()) if "/" in mark else None
    if zone is None:
        example = place or "the place, e.g. Europe/Berlin"
        raise stamps.refuse(named, f"names the zone {mark}; set data.timezone to {example}")
    if place is not None:
        if place != zone or len(marks) > 1:
            raise stamps.refuse(
                named, f"names the zone {mark}, and data.timezone is {zone}; set it to {place}"
            )
        return Parsed(parsed.values, notes=parsed.notes)
    instants = _find_instants_of_names(parsed.values, stamps, zone, marks, codes, known)
    return Parsed(instants, utc=True, notes=parsed.notes)


def _find_instants_of_names(
    values: np.ndarray,
    stamps: Stamps,
    zone: str,
    marks: list[str],
    codes: np.ndarray,
    known: dict[str, timedelta | None],
) -> np.ndarray:
    """Return UTC of clock times whose abbreviations (CET, CEST) decide where the clock shows a time twice:
    datetime64[us] [n] -> [n].
    """
    years = pd.DatetimeIndex(values).year
    offsets_of = list_abbreviations(zone, range(int(years.min()), int(years.max()) + 1))
    early, late = find_instants(values, zone)
    instants = early.copy()
    for code, mark in enumerate(marks):
        here = codes == code
        if not mark:
            stamps.refuse_first(
                here & (early != late), f"stands twice on the clock of {zone} and names no zone"
            )
            continue
        offset = known[mark]
        if offset is None:
            short = mark.strip("()").upper()
            able = offsets_of.get(GERMAN.get(short, short), set())
            if len(able) != 1:
                raise stamps.refuse(
                    int(np.flatnonzero(here)[0]),
                    f"names the zone {mark}, which is not one of data.timezone {zone} in these years "
                    f"({', '.join(sorted(offsets_of))}); set data.timezone to where the times were read",
                )
            offset = next(iter(able))
        instants[here] = values[here] - np.timedelta64(offset, "us")
        stamps.refuse_first(
            here & (instants != early) & (instants != late),
            f"is not a time that {mark} holds at in {zone}; set data.timezone to a zone that has it",
        )
    return instants


def extract_zone_marks(texts: pa.Array) -> pa.Array:
    """Return the UTC offset at the end of each text, empty where there is none."""
    found = pc.extract_regex(texts, r"(?P<z>Z|[+-][0-9]{2}(?::?[0-9]{2}){0,2})$")
    return pc.fill_null(pc.struct_field(found, ["z"]), "")
