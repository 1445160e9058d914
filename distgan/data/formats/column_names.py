"""What the names of columns say: ids, channels, times of the day."""

import re
from collections.abc import Container, Sequence
from itertools import pairwise

DAY = 86400
ID_NAME = re.compile(
    r"(^|[^a-z])(u?id|uuid|lclid|dataid|mpan|mprn|nmi|esiid|ean|gsrn|cups|prm|pdl|pod|icp|z[aä]e?hlpunkt|"
    r"m[ae]lo|mac|serial|entity|name|(meter|household|house|home|customer|"
    r"client|consumer|sensor|station|device|site|building|user|subject|patient|person|account|series|node|"
    r"unit_?id|zone|area|item|location|region|plant|vehicle|bidding_?zone)s?(_?(id|no|nr|number|name|code))?)([^a-z]|$)|[a-z]_?id$"
)
NO_ID = re.compile(r"(humid|grid|solid|liquid|valid|void)$")
CHANNEL_NAME = re.compile(
    r"(^|[^a-z])(category|channel|variable|parameter|measure|measurement|metric|quantity|register|kind|type|"
    r"field|appliance|attribute|feature|indicator|element)s?([^a-z]|$)"
)
FLOW_NAME = re.compile(  # of a column of registers or directions of one meter
    r"(^|[^a-z])(direction|flow|flow_?dir(ection)?|register|obis|channel|phase|tariff?|richtung|energierichtung|sentido)s?"
    r"(_?(id|no|nr|number|name|code|type|suffix))?([^a-z]|$)"
)
FLAG_NAME = re.compile(  # of a column that says how good readings are, or how they came about
    r"(^|[^a-z])(quality|qual|qc|qf|flags?|status|state|(in)?valid|validity|est|estimated?|dst|error_?codes?|fault|alarm|"
    r"ok|good|missing|gap|imputed|interpolated|substituted|suspect|outlier|anomaly|approval|"
    r"(meter|data|value|record)?_?read(ing)?_?type|(reason|quality|status|event)_?code)([^a-z]|$)"
)
OWNER_NAME = re.compile(  # of a column that says who is behind an entity
    r"(?:owner|household|home|house|customer|client|consumer|user|subject|patient|person|participant|account|haushalt|"
    r"kunden?|mpan|mprn|nmi|esiid|ean|gsrn|cups|prm|pdl|pod|icp|z[aä]e?hlpunkt|m[ae]lo|"  # supply points
    r"(?:premise|dwelling|residence|property|apartment)(?=s?[ _.-]?(?:id|uid|no|nr|number)))s?"
    r"(?P<id>[ _.-]?(?:id|uid|no|nr|num|number|nummer|name|code|key|ref))?",
    re.I,
)
SERIES_CHANNEL = re.compile(r"(.+-\d{6,}) (.+)")  # as `export` names a column of series of several channels
CLOCK_NAME = re.compile(
    r"(?:[a-z_ ]*?)(\d{1,2})(?:[:h.](\d\d)(?::00)?(?:\s*-\s*\d{1,2}[:h.]\d\d(?::00)?)?|(?=\s*[ap]\.?m))"
    r"\s*([ap]\.?m\.?)?"
    r"(?:\s*[(\[]?[kMG]?V?Wh?[)\]]?)?",
    re.I,
)
HALF_DAY_HOUR = re.compile(r"\b(\d{1,2})(:\d\d)?\s*([ap])\.?m\b\.?", re.I)  # 12 AM, 1:30 p.m.
NUMBERED_NAME = re.compile(r"(?P<before>[^\d]*?)[_ .-]?0*(?P<number>\d{1,3})(?P<after>[^\d]*)", re.I)
COMPACT_CLOCK = re.compile(r"([A-Za-z_ .-]*)([01]\d|2[0-4])([0-5]\d)([A-Za-z_ .-]*)")  # 0030, 2400, kWh_0030
PARTS_OF_A_DAY = (24, 48, 96, 144, 288)


def is_entity_name(name: str) -> bool:
    """Return whether a column's name says that it holds ids; a name with a number is of one entity."""
    if re.search(r"\d", name):
        return False
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    return (bool(ID_NAME.search(plain)) or bool(ID_NAME.search(name.lower()))) and not NO_ID.search(
        name.lower()
    )


def match_owner_name(name: str) -> re.Match[str] | None:
    """Return a match where a name says that its cells are people, households or customers; its group `id` is
    there if it says that they are ids.
    """
    return OWNER_NAME.fullmatch(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()))


def is_flow_name(name: str) -> bool:
    """Return whether a column's name says that it holds directions, registers or channels of a meter."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return FLOW_NAME.search(plain) is not None


def is_flag_name(name: str) -> bool:
    """Return whether a column's name says that it holds quality flags of the readings beside it."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace(" ", "_")
    return FLAG_NAME.search(plain) is not None


def parse_clock(name: str) -> int | None:
    """Return the seconds after midnight that a column's name says, as 0:30, 13h00 or 1 PM; else None."""
    found = CLOCK_NAME.fullmatch(str(name).strip())
    if not found:
        return None
    hour, minute = int(found[1]), int(found[2] or 0)
    if found[3]:
        hour = hour % 12 + (12 if found[3].lower().startswith("p") else 0)
    return hour * 3600 + minute * 60 if hour <= 24 and minute < 60 else None


def find_numbered_clocks(names: Sequence[str], asked: Container[str]) -> dict[str, int]:
    """Return the columns that are numbered through a day: from 0 by the start of each step, from 1 by its
    number; with their seconds after midnight. Columns that a setting names are `asked`.
    """
    compact = _find_compact_clocks(names)
    if compact:
        return compact
    numbers = _number_names([name for name in names if name not in asked])
    counted = sorted(numbers.values())
    if len(counted) < 2 or counted != list(range(counted[0], counted[0] + len(counted))) or counted[0] > 1:
        return {}
    step = DAY // len(counted)
    if DAY % len(counted) or step % 60:  # 25 parts are a day of 25 hours
        return {}
    return {name: (number - counted[0]) * step for name, number in numbers.items()}


def find_parts_of_long_day(names: Sequence[str], asked: Container[str]) -> tuple[list[str], str]:
    """Return the columns that are numbered through a day of 25 hours, and the length of a part; else none."""
    free = [name for name in names if name not in asked]
    twice = [name for name in free if re.search(r"\d\s?[AB]$", name)]
    plain = {re.sub(r"(?<=\d)\s?A$", "", name): name for name in free}  # Hour 3A, Hour 3B
    numbers = {plain[name]: number for name, number in _number_names(list(plain)).items()}
    if len(twice) == 2 and sorted(numbers.values()) == list(range(1, 25)):
        return [*numbers, next(name for name in twice if name not in numbers)], "60min"
    for usual in PARTS_OF_A_DAY:
        many = usual + usual // 24
        if sorted(numbers.values()) == list(range(1, many + 1)):
            return list(numbers), f"{DAY // usual // 60}min"
    return [], ""


def _number_names(names: Sequence[str]) -> dict[str, int]:
    """Return the numbers of the columns that are named alike but for them, of the form that most have; names
    that say entities count none.
    """
    forms: dict[tuple[str, str], dict[str, int]] = {}
    for name in names:
        match = NUMBERED_NAME.fullmatch(re.sub(r"(?<=\d)\s?A$", "", name.strip()))
        if match is not None and not is_entity_name(match["before"].strip(" _.-")):
            form = (match["before"].lower(), match["after"].lower())
            forms.setdefault(form, {})[name] = int(match["number"])
    return max(forms.values(), key=len, default={})


def _find_compact_clocks(names: Sequence[str]) -> dict[str, int]:
    """Return the columns 0000, 0030, … or 0030, …, 2400 of a whole day, with their seconds after midnight.
    They may be named alike before and after the clock time.
    """
    forms: dict[tuple[str, str], dict[str, int]] = {}
    for name in names:
        at = COMPACT_CLOCK.fullmatch(name.strip())
        if at is not None:
            forms.setdefault((at[1], at[4]), {})[name] = int(at[2]) * 3600 + int(at[3]) * 60
    for found in forms.values():
        step = DAY // len(found)
        whole = [list(range(first, first + DAY, step)) for first in (0, step)]
        if len(found) in PARTS_OF_A_DAY and sorted(found.values()) in whole:
            return found
    return {}


def find_unreadable_clocks(names: Sequence[str]) -> list[str]:
    """Return columns of a form that is not read whose numbers run through a day: 00h00m, TU_0030_0100, or
    1 AM to 2 AM.
    """
    forms: dict[str, list[str]] = {}
    plain = {name: re.sub(HALF_DAY_HOUR, _count_from_midnight, name) for name in names}
    for name in names:
        forms.setdefault(re.sub(r"\d+", "0", plain[name]), []).append(name)
    for found in forms.values():
        numbers = [[int(part) for part in re.findall(r"\d+", plain[name])] for name in found]
        rising = all(before < after for before, after in pairwise(numbers))
        if len(found) in PARTS_OF_A_DAY and rising:
            first, last = numbers[0][0], numbers[-1][0]
            if first in (0, 1, 5, 10, 15, 30, 100) and last in (23, 24, 2300, 2330, 2345, 2350, 2355, 2400):
                return found
    return []


def _count_from_midnight(hour: re.Match[str]) -> str:
    """Return an hour of a clock of 12 hours as one of 24."""
    return f"{int(hour[1]) % 12 + 12 * (hour[3].lower() == 'p')}{hour[2] or ''}"


def select_even_clocks(clocks: dict[str, int]) -> dict[str, int]:
    """Return times of day at even distances, in any order; midnight at the end of rising ones is 24:00.
    Nothing if distances are uneven.
    """
    seconds = list(clocks.values())
    if len(seconds) > 1 and seconds[-1] == 0 and seconds[:-1] == sorted(seconds[:-1]):
        seconds[-1] = DAY
    steps = {after - before for before, after in pairwise(sorted(seconds))}
    if len(steps) != 1 or min(steps) <= 0 or DAY % min(steps):
        return {}
    return dict(zip(clocks, seconds))
