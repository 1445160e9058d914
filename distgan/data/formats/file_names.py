"""Names of files of one entity each, which may be its years, months or parts: `home1_2022.csv`,
`home1_2023.csv`, or `home1/2022.csv`, `home1/2023.csv`, or `home1_part1.csv`, `home1_part2.csv`.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath

MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)"
)
DAY_FIRST = r"(?:[0-2]?\d|3[01])[-_.](?:0?[1-9]|1[0-2])[-_.](?:19|20)\d\d"
YEAR_FIRST = (
    r"(?:19|20)\d\d(?:[-_]?(?:0[1-9]|1[0-2])(?:[-_]?(?:[0-2]\d|3[01])(?:[T_-]?\d{4,6}Z?)?)?"
    rf"|[-_]?[qQ][1-4]|[-_]?[wW]\d\d|[-_ ]?{MONTH})?"
)
ONE_DATE = rf"(?:{DAY_FIRST}|{MONTH}[-_ ]?(?:19|20)\d\d|{YEAR_FIRST})"
DATE = rf"{ONE_DATE}(?:(?:[-_. ]+|[-_. ]*(?:to|until|bis)[-_. ]*){ONE_DATE})?"  # or from one to another
PART = (
    r"(?:part|pt|teil|partie|parte|chunk)[-_. ]?\d{1,3}(?:[-_ ]?(?:of|von|de)[-_ ]?\d{1,3})?"
    r"|\d{1,3}[-_ ]?of[-_ ]?\d{1,3}"
)
PERIOD = rf"(?:{DATE}|{PART})"  # of the readings of one entity that a file holds
DATED = re.compile(
    rf"^(?P<before>{PERIOD})[-_. ]+(?P<rest>.+)$|^(?P<name>.+?)[-_. ]+(?:from[-_. ]+)?(?P<after>{PERIOD})$",
    re.I,
)


def merge_dated(names: Sequence[str], overlap: Callable[[list[int]], bool]) -> list[str]:
    """Return the entity of each file: its name, without its date or part where files differ by it alone.

    Args:
        overlap: whether files, by their places, have times in common; those are no parts of one series.
    """
    rests = [_strip_date(name) for name in names]
    groups: dict[str, list[int]] = {}
    for place, rest in enumerate(rests):
        if rest is not None:
            groups.setdefault(rest, []).append(place)
    merged = list(names)
    for rest, places in groups.items():
        if len(places) > 1 and rest not in names and not overlap(places):
            for place in places:
                merged[place] = rest
    return merged


def _strip_date(name: str) -> str | None:
    """Return a name without a date or part at one of its ends, or without folders that are; None where it
    has none.
    """
    path = PurePath(name)
    kept, dated = [], False
    for part in path.parts:  # home1/2023-01, 2023/home1, 2023/01/home1
        if re.fullmatch(PERIOD, part, re.I) or (dated and re.fullmatch(r"\d\d", part)):
            dated = True
        else:
            kept.append(part)
    if dated and kept:
        return str(PurePath(*kept))
    match = DATED.match(path.name)
    return None if match is None else str(path.with_name(match["rest"] or match["name"]))
