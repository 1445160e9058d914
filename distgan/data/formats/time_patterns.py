"""How dates, clock times and UTC offsets are written: regular expressions, and the numbers they hold.

A stamp is a date, then optionally a clock time, AM or PM, and a zone. The date decides the *kind*, which all
stamps of a column share; its numbers `a`, `b`, `c` are day, month and year in an order that
`date_order` settles for the whole column.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NAME = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?[.,]? ?)?"
NTH = "(?:st|nd|rd|th)?"
ORDERS = {"dmy": "cba", "mdy": "cab", "ymd": "abc"}  # which group is the year, the month and the day

ZONE = (
    r"(?: ?(?P<z>Z|(?:UTC|GMT|UT)? ?[+-][0-9]{1,2}(?::?[0-9]{2}){0,2}|\(?[A-Z]{2,5}\)?"
    r"|[A-Z][A-Z]+/[A-Z_/+0-9-]+)(?: ?(?:\[[^\]]*\]|\([^)]*\)))?)?"
)
AM_PM = r"(?: ?(?P<p>[ap])\.? ?m\b\.?)?"
FRACTION = "(?:[.,:](?P<f>[0-9]{1,9}))?"
CLOCKS = {
    "none": r"(?P<H>)(?P<M>)(?P<S>)(?P<f>)(?P<p>)(?: ?(?P<z>Z|UTC|GMT|[+-][0-9]{2}:[0-9]{2}))?",
    "colons": r"(?: ?[T_@,;] ?| - | at | |:)(?P<H>[0-9]{1,2}):(?P<M>[0-9]{2})(?::(?P<S>[0-9]{2})"
    + FRACTION
    + ")?"
    + AM_PM
    + ZONE,
    "points": r"(?: ?[T_@,;] ?| - | |-)(?P<H>[0-9]{1,2})\.(?P<M>[0-9]{2})(?:\.(?P<S>[0-9]{2})"
    + FRACTION
    + ")?"
    + AM_PM
    + ZONE,
    "letters": r"(?: ?[T_@,;] ?| - | )(?P<H>[0-9]{1,2}) ?h ?(?:(?P<M>[0-9]{2})(?: ?m(?:in)?)?"
    r"(?: ?(?P<S>[0-9]{2}) ?s?)?(?P<f>))?(?P<p>)" + ZONE,
    "dashes": r"(?:[T_ ])(?P<H>[0-9]{2})-(?P<M>[0-9]{2})-(?P<S>[0-9]{2})" + FRACTION + "(?P<p>)" + ZONE,
    "digits": r"(?: ?[T_@,;] ?| - | )?(?P<H>[0-9]{1,6})(?P<M>)(?P<S>)(?:[.,](?P<f>[0-9]{1,9}))?"
    + AM_PM
    + ZONE,
}


@dataclass(frozen=True)
class DateKind:
    """One way to write a date: its expression with groups a, b, c, and the orders it may mean."""

    expression: str
    orders: tuple[str, ...]
    rest: str = "(?:[^0-9].*)?"  # what may follow: by default no further digit

    @property
    def pattern(self) -> str:
        return f"(?i)^{WEEKDAY}{self.expression}(?P<rest>{self.rest})$"


def _iterate_date_kinds() -> Iterator[DateKind]:
    two, year = "[0-9]{1,2}", "[0-9]{4}"
    for mark in ("-", "/", r"\.", " ", "_"):
        between = f" ?{mark} ?" if mark != " " else " "
        yield DateKind(f"(?P<a>{year}){between}(?P<b>{two}){between}(?P<c>{two})", ("ymd",))
        yield DateKind(f"(?P<a>{two}){between}(?P<b>{two}){between}(?P<c>{year})", ("dmy", "mdy"))
        yield DateKind(f"(?P<a>{two}){between}(?P<b>{two}){between}(?P<c>[0-9]{{2}})", ("dmy", "mdy", "ymd"))
    yield DateKind("(?P<a>[0-9]{4})(?P<b>[0-9]{2})(?P<c>[0-9]{2})", ("ymd",), rest=".*")
    yield DateKind(f"(?P<a>{two}){NTH}[-/. ]*(?P<b>{NAME})[-/., ]*(?P<c>{year})", ("dmy",))
    yield DateKind(f"(?P<a>{two}){NTH}[-/. ]*(?P<b>{NAME})[-/., ]*(?P<c>[0-9]{{2}})", ("dmy", "ymd"))
    yield DateKind(f"(?P<a>{NAME})[-/. ]*(?P<b>{two}){NTH}[-/., ]+(?P<c>{year})", ("mdy",))
    yield DateKind(f"(?P<a>{year})[-/. ]*(?P<b>{NAME})[-/. ]*(?P<c>{two})", ("ymd",))
    yield DateKind("(?P<a>[0-9]{4})-?W(?P<b>[0-9]{2})-?(?P<c>[1-7])", ("week",))
    yield DateKind("(?P<a>[0-9]{4})-(?P<b>[0-9]{3})(?P<c>)", ("ordinal",))


DATE_KINDS = tuple(_iterate_date_kinds())
MONTHLY = re.compile(  # a month, a quarter or a year without a day
    rf"(?i)(?:[0-9]{{4}}[-/. ]?(?:M|Q)?[0-9]{{1,2}}|{NAME}[-/. ]*[0-9]{{4}}|[0-9]{{1,2}}[-/.][0-9]{{4}}"
    r"|Q[1-4][-/. ]*[0-9]{4}|[12][0-9]{3})"
)


@dataclass(frozen=True)
class Fields:
    """The numbers of all stamps of a column, each an array [n]; void where `matched` is false."""

    kind: DateKind
    matched: np.ndarray  # bool
    dates: dict[str, np.ndarray]  # a, b, c: int64
    clock: str  # the kind of the clock times that are there
    texts: dict[str, pa.Array]  # H, M, S, f, p, z as written, empty where absent


def tidy(texts: list[str]) -> pa.Array:
    """Return stamps with single blanks and plain minus signs, without quotes: date, clock, zone."""
    found = pa.array(texts, pa.string())
    found = pc.replace_substring_regex(found, "[\\s\u00a0\u2000-\u200b\u202f\u3000]+", " ")
    found = pc.replace_substring_regex(found, "\u2212", "-")
    found = pc.utf8_trim(found, " '\"")
    clock = "[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?:[.][0-9]+)?"
    moved = {  # ctime and date(1); a clock time before its date
        rf"(?i)^({WEEKDAY}{NAME} [0-9]{{1,2}}) ({clock})( [A-Z]{{2,5}}| [+-][0-9]{{2}}:?[0-9]{{2}})? "
        r"([0-9]{4})$": r"\1 \4 \2\3",
        rf"(?i)^({clock}(?: ?[AP]\.?M\b\.?)?)[ ,]+([^ :]*[0-9][^:]*)$": r"\2 \1",
        r"^[^\W\d_]{2,10}[.,]{0,2} ([0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{1,4}\b)": r"\1",  # Mi, 01.03.2023
        r"^([0-9]{8}):([0-9]{4})$": r"\1 \2",
    }
    for pattern, order in moved.items():
        if len(texts) and re.match(pattern, found[0].as_py()):
            found = pc.replace_substring_regex(found, pattern.replace(r"[^\W\d_]", r"\pL"), order)
    return found


def read_fields(stamps: pa.Array) -> Fields | None:
    """Return the fields of the kind that fits the most stamps; None if no stamp is of any kind."""
    best: Fields | None = None
    shown = _sample(stamps)
    for kind in DATE_KINDS:
        pattern = _compile_pattern(kind.pattern)
        if not any(pattern.match(text) for text in shown):
            continue
        found = _read_fields_of(kind, stamps)
        if found is not None and (best is None or found.matched.sum() > best.matched.sum()):
            best = found
        if best is not None and best.matched.all():
            break
    return best


def _sample(texts: pa.Array) -> list[str]:
    places = sorted({*range(min(len(texts), 20)), len(texts) // 2, len(texts) - 1} - {-1})
    return [texts[place].as_py() for place in places]


@lru_cache
def _compile_pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _read_fields_of(kind: DateKind, stamps: pa.Array) -> Fields | None:
    dates, dated = _match_groups(stamps, kind.pattern)
    if not dated.any():
        return None
    rest = dates.pop("rest")
    clock_of: dict[str, tuple[dict[str, pa.Array], np.ndarray]] = {}
    empty, bare = _match_groups(rest, f"(?i)^{CLOCKS['none']}$")
    shown = [] if bare.all() else [text for text in _sample(rest) if text]
    wholes = {name: f"(?i)^{pattern}$" for name, pattern in CLOCKS.items() if name != "none"}
    likely = [name for name in wholes if any(_compile_pattern(wholes[name]).match(text) for text in shown)]
    for name in likely or (wholes if not bare.all() else ()):
        clock_of[name] = _match_groups(rest, wholes[name])
    name = max(clock_of, key=lambda name: clock_of[name][1].sum(), default="none")
    fields, there = clock_of.get(name, (empty, bare))
    if not (there & dated).any():
        name, fields, there = "none", empty, bare
    elif (bare & dated & ~there).any():  # midnight is often written without its clock time
        fields = {key: pc.if_else(pa.array(bare & ~there), empty[key], fields[key]) for key in fields}
        there = there | bare
    numbers = {key: _parse_number(value) for key, value in dates.items()}
    matched = dated & there
    if name == "none":  # a date with a clock of another kind is not of this kind
        matched = matched & bare
    return Fields(kind, matched, numbers, name, fields)


def _match_groups(texts: pa.Array, pattern: str) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Return the named groups' content, empty where nothing matches; and which texts match: bool [n]."""
    found = pc.extract_regex(texts, pattern)
    matched = np.asarray(pc.is_valid(found))
    names = [field.name for field in found.type]
    columns = {name: pc.fill_null(pc.struct_field(found, [name]), "") for name in names}
    return columns, matched


def _parse_number(texts: pa.Array) -> np.ndarray:
    """Return int64 of digits; months by name count from 1; nothing is 0."""
    if pc.any(pc.match_substring_regex(texts, "[A-Za-z]")).as_py():
        short = pc.utf8_lower(pc.utf8_slice_codeunits(texts, 0, 3))
        return np.asarray(pc.fill_null(pc.index_in(short, pa.array(MONTHS)), -1)).astype(np.int64) + 1
    return to_int(texts)


def to_int(texts: pa.Array) -> np.ndarray:
    """Return int64 of texts of digits; empty ones are 0."""
    return np.asarray(pc.cast(pc.if_else(pc.equal(texts, ""), "0", texts), pa.int64()))
