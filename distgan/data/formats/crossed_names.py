"""Names that are made of an entity and a quantity: h1_import, h1_export, h2_import, ('h2', 'export')."""

import ast
import re
from collections import Counter
from collections.abc import Callable, Sequence

MARK = r"[\s_.|/:;-]+"  # between the parts of a name
MOST_QUANTITIES = 64  # of an entity
FEWEST_SHARED = 0.5  # share of entities that have several quantities
SAMPLE = 2000  # names that are looked at first

Check = Callable[[Sequence[str], Sequence[str]], bool]


def split_levels(names: Sequence[str]) -> list[tuple[str, ...]] | None:
    """Return the levels of names that are tuples as text, as pandas writes columns of several levels; those
    that are the same everywhere are left out. None if a name is none.
    """
    found = []
    for name in names:
        if not (name.startswith("(") and name.endswith(")")):
            return None
        try:
            levels = ast.literal_eval(name)
        except (ValueError, SyntaxError):
            return None
        if not isinstance(levels, tuple):
            return None
        found.append(tuple(map(str, levels)))
    if len({len(levels) for levels in found}) != 1:
        return None
    kept = [level for level in zip(*found) if len(set(level)) > 1]
    return list(zip(*kept)) if kept else None


def are_crossed(names: Sequence[str], fit: Check) -> bool:
    """Return whether names say several quantities of several entities: one part of each is numbered, as h1
    and h2, and stands beside several other parts, as import and export; `fit` judges both.
    """
    if not any(re.search(r"\d", name) for name in names[:SAMPLE]):
        return False
    sample = names[:: max(1, len(names) // SAMPLE) | 1]
    for split in (_split_last, _split_first):
        if _split_names(sample, split) and (pairs := _split_names(names, split)):
            return any(_cross(pairs, entity, fit) for entity in (0, 1))
    return False


def are_crossed_levels(levels: Sequence[tuple[str, ...]]) -> bool:
    """Return whether levels of names repeat across each other, as entities and quantities do."""
    several = [Counter(level) for level in zip(*levels)]
    return len(several) > 1 and all(min(counts.values()) > 1 for counts in several)


def find_parts_of_names(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names that begin other names, each with what these add: Site 1 with IN and OUT, as a total
    stands beside its directions.
    """
    known, found = {name.strip() for name in names}, dict[str, list[str]]()
    for name in known:
        for mark in re.finditer(MARK, name):
            if name[: mark.start()] in known:
                found.setdefault(name[: mark.start()], []).append(name[mark.end() :])
                break
    return found


def _split_names(
    names: Sequence[str], split: Callable[[str], tuple[str, str] | None]
) -> list[tuple[str, str]]:
    """Return the two parts of each name; nothing where a name has one, or where a part is the same in all, or
    both parts have too many values.
    """
    found: list[tuple[str, str]] = []
    seen: tuple[set[str], set[str]] = (set(), set())
    for name in names:
        pair = split(name.strip())
        if pair is None:
            return []
        found.append(pair)
        for known, part in zip(seen, pair):
            known.add(part)
        if min(map(len, seen)) > MOST_QUANTITIES:
            return []
    return found if min(map(len, seen)) > 1 else []


def _split_last(name: str) -> tuple[str, str] | None:
    match = re.fullmatch(rf"(.*[^\s_.|/:;-]){MARK}(.+)", name)
    return (match[1], match[2]) if match else None


def _split_first(name: str) -> tuple[str, str] | None:
    match = re.fullmatch(rf"(.+?){MARK}(.+)", name)
    return (match[1], match[2]) if match else None


def _cross(pairs: Sequence[tuple[str, str]], entity: int, fit: Check) -> bool:
    of_entities: dict[str, set[str]] = {}
    for pair in pairs:
        of_entities.setdefault(pair[entity], set()).add(pair[1 - entity])
    quantities = sorted({pair[1 - entity] for pair in pairs})
    if len(of_entities) < 2 or not 2 <= len(quantities) <= MOST_QUANTITIES:
        return False
    shared = sum(len(found) > 1 for found in of_entities.values())
    entities = list(of_entities)
    numbered = any(re.search(r"\d", name) for name in entities)
    return shared >= FEWEST_SHARED * len(entities) and numbered and fit(entities, quantities)
