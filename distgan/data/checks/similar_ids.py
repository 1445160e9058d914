"""Ids that are written in two ways: one owner must not count as two."""

import re
import unicodedata
from collections.abc import Callable, Sequence

from distgan.errors import UserError

INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")


def refuse_same_ids(ids: Sequence[str], source: str) -> list[str]:
    """Return what is to note of ids that are alike: they may be of one entity.

    Raises:
        UserError: two ids are the same but for what nobody sees, or the fraction of a whole number.
    """
    for one, other in _find_pairs(ids, _tidy):
        raise UserError(
            f"data.source {source}: the ids {one!r} and {other!r} seem to be one entity, written in two "
            "ways, and would count as two owners; write them alike"
        )
    alike = len(_find_pairs(ids, _loosen))
    said = "ids that differ from another in case or leading zeros alone, each an owner of its own"
    return [f"{said}: {alike:,}"] if alike else []


def _find_pairs(ids: Sequence[str], simplify: Callable[[str], str]) -> list[tuple[str, str]]:
    """Return ids that become the same, each with the first of them."""
    different = list(dict.fromkeys(ids))
    simple = list(map(simplify, different))
    if len(set(simple)) == len(different):
        return []
    first: dict[str, str] = {}
    pairs = [(first.setdefault(form, name), name) for form, name in zip(simple, different)]
    return [(one, other) for one, other in pairs if one != other]


def _tidy(name: str) -> str:
    """Return an id without invisible letters, with plain blanks and composed accents; 7 for 7.0."""
    if name.isascii() and "." not in name and name.split() == [name]:
        return name  # quickly, of a million ids
    plain = re.sub(r"\s+", " ", INVISIBLE.sub("", unicodedata.normalize("NFC", name))).strip()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", plain)


def _loosen(name: str) -> str:
    return (name.lstrip("0") or "0") if name.isdigit() else name.casefold()
