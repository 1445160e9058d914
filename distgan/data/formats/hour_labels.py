"""Hours of a day as labels: `HE01`, `3h`, `00-01`; `2A`, `2B` (or `02`, `02*`) where a clock is put back."""

import re
from collections.abc import Sequence

import pandas as pd

LABEL = re.compile(
    r"\s*(?:(?:he|hr|hour|h|std|stunde)[ ._]?0*(?P<named>\d{1,2})"  # HE01, hour 1
    r"|0*(?P<marked>\d{1,2}) ?(?:h|hr|hrs|hours?|uhr|std)\.?"  # 3h, 3 Uhr
    r"|(?P<first>\d{1,2})\s?[-\u2013]\s?(?P<last>\d{1,2})"  # 00-01
    r"|0?(?P<pass>[123])[abx*]"  # 2A, 2B; 2X; 02*
    r"|0*(?P<plain>\d{1,2}))\s*",
    re.I,
)


def are_hour_labels(texts: Sequence[str]) -> bool:
    """Return whether the different cells of a column are hours of a day, and more than numbers."""
    found = [LABEL.fullmatch(text) for text in texts]
    if len(found) < 2 or any(match is None or _read_hour(match) > 25 for match in found):
        return False
    return any(match and match["plain"] is None for match in found) and all(
        match is None or match["first"] is None or (int(match["last"]) - int(match["first"])) % 24 == 1
        for match in found
    )


def simplify_hours(texts: pd.Series) -> pd.Series:
    """Return labels as the number of the hour (the first of `00-01`); other texts as they are.

    `2A` and `2B` become the same hour, whose order tells the two passes, as on the clock.
    """
    unique = texts.unique().tolist()
    if not are_hour_labels(unique):
        return texts
    return texts.map({text: str(_read_hour(match)) for text in unique if (match := LABEL.fullmatch(text))})


def _read_hour(match: re.Match[str]) -> int:
    return int(next(found for key, found in match.groupdict().items() if found is not None and key != "last"))
