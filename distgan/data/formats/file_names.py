"""Names of files of one entity each, which may be its years or months: `home1_2022.csv`, `home1_2023.csv`,
or `home1/2022.csv`, `home1/2023.csv`.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath

DATE = r"(?:19|20)\d\d(?:[-_]?(?:0[1-9]|1[0-2])(?:[-_]?(?:[0-2]\d|3[01]))?|[-_]?[qQ][1-4])?"
DATED = re.compile(rf"^(?P<before>{DATE})[-_. ]+(?P<rest>.+)$|^(?P<name>.+?)[-_. ]+(?P<after>{DATE})$")


def merge_dated(names: Sequence[str], overlap: Callable[[list[int]], bool]) -> list[str]:
    """Return the entity of each file: its name, without its date where files differ by it alone.

    Args:
        overlap: whether files, by their places, have a time in common; those are no parts of one series.
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
    """Return a name without a date at one of its ends; None where it has none."""
    path = PurePath(name)
    if re.fullmatch(DATE, path.name) and len(path.parts) > 1:  # home1/2023-01
        return str(path.parent)
    match = DATED.match(path.name)
    return None if match is None else str(path.with_name(match["rest"] or match["name"]))
