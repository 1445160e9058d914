"""Does a window of a member stand in the release, value for value? Asked at every offset, as an attacker would.

Windows are compared by fingerprints of all offsets of all rows: of the values as they stand, on coarser grids,
and of the order of the values, which no increasing map changes (scaled, raised, rank-mapped and monotonely
distorted copies are found exactly, too); of the release as it is, reversed in time, negated; of differences
and sums; of every second step.

A window that several real entities have tells of none of them. One that is so poor in information that chance
may repeat it proves nothing alone: its surprise must be beyond log2 of the pairs of windows compared. Shapes:
k windows.
"""

import numpy as np

from distgan.evaluation.attacks.fragments.evidence import Look, count_sides
from distgan.evaluation.attacks.fragments.families import Family, list_families
from distgan.evaluation.attacks.fragments.matching import Matches, match_windows, visit_rows
from distgan.evaluation.attacks.fragments.surprise import MOST_SAMPLED, Surprise
from distgan.evaluation.attacks.fragments.windows import MIXED, Rows, short_window, window_lengths
from distgan.evaluation.attacks.scene import Array

FEWEST_ORDERED = 16  # steps of a window of orders
MOST_MATCHES = 4_000_000  # windows that are followed to longer lengths
MOST_HOLDERS = 3  # entities, all on one side, that may share a window that proves a copy
MARGIN = 20.0  # bits beyond log2 of the pairs compared: one in a million


def find_exact(rows: Rows, rng: np.random.Generator) -> list[Look]:
    """Search every family: a look for each of its transforms and window lengths."""
    return [look for family in list_families(rows) for look in search(rows, family, rng)]


def search(rows: Rows, family: Family, rng: np.random.Generator) -> list[Look]:
    """Look at one family in windows of every length, beginning with the shortest that does not match too often."""
    lengths = exact_lengths(rows, family)
    if not lengths:
        return []
    steps = list(lengths.values())
    for place in range(len(steps)):
        real, made = match_windows(family, rows.real, rows.synthetic, steps[place:])
        if len(real.rows) <= MOST_MATCHES:
            break
    model = _model(rows, family, rng) if len(real.rows) else None
    return [
        _look(rows, family, model, (real, found), (transform, name, length))
        for transform, found in made.items()
        for name, length in lengths.items()
    ]


def exact_lengths(rows: Rows, family: Family) -> dict[str, int]:
    """Name -> steps of the windows that a family is tried in, ascending."""
    longest = min(
        family.real(rows.real[:1]).shape[1],
        *(change(rows.synthetic[:1]).shape[1] for change in family.made.values()),
    )
    least = FEWEST_ORDERED if family.span else 0
    named = {"part of a day": short_window(rows.day), **window_lengths(rows.length, rows.day)}
    found = {steps: name for name, steps in named.items() if least <= steps <= longest}
    return {name: steps for steps, name in found.items()}


def _look(
    rows: Rows,
    family: Family,
    model: Surprise | None,
    matches: tuple[Matches, Matches],
    which: tuple[str, str, int],
) -> Look:
    """Count the entities whose windows of one length stand in the release and with no entity of the other side."""
    (real, made), (transform, name, steps) = matches, which
    title = family.name_of(transform)
    if model is None or steps not in real.keys:
        return Look(title, name, (0, 0))
    keys = real.keys[steps]
    hit = np.flatnonzero((keys != 0) & np.isin(keys, made.keys[steps]))
    factor = len(family.real(rows.real[:1]))
    entity = rows.entities[real.rows[hit] // factor]
    holders, side = _holders(keys[hit], entity, rows.side)
    found = count_sides(rows.side, entity[(holders == 1) & (side < MIXED)])
    few = hit[(holders <= MOST_HOLDERS) & (side < MIXED)]
    enough = _bits(rows, family, model, real, few, steps) >= _needed_bits(rows, family)
    sure = count_sides(rows.side, rows.entities[real.rows[few[enough]] // factor])
    return Look(title, name, found, 0 if sure[1] else sure[0])


def _holders(keys: Array, entity: Array, sides: Array) -> tuple[Array, Array]:
    """Of each window: how many entities have it, and their side, 2 if they are of both: [k], [k] -> [k], [k]."""
    _, group = np.unique(keys, return_inverse=True)
    number = int(group.max(initial=-1)) + 1
    pairs = np.unique(np.stack([group, entity]), axis=1)
    holders = np.bincount(pairs[0], minlength=number)
    side = sides[pairs[1]]
    least, most = np.full(number, MIXED), np.zeros(number, np.int64)
    np.minimum.at(least, pairs[0], side)
    np.maximum.at(most, pairs[0], side)
    return holders[group], np.where(least == most, least, MIXED)[group]


def _needed_bits(rows: Rows, family: Family) -> float:
    """Surprise beyond which no window of the release equals a real one by chance, however many are compared."""
    return float(np.log2(rows.real.size) + np.log2(rows.synthetic.size * len(family.made)) + MARGIN)


def _model(rows: Rows, family: Family, rng: np.random.Generator) -> Surprise:
    """Frequencies of the family's codes in random real rows."""
    count = max(1, min(len(rows.real), MOST_SAMPLED // rows.length))
    values = family.real(rows.real[np.sort(rng.permutation(len(rows.real))[:count])])
    return Surprise(family.code(values), values if family.numeric else None)


def _bits(rows: Rows, family: Family, model: Surprise, real: Matches, which: Array, steps: int) -> Array:
    """Surprise of these real windows: places among the matches [k] -> [k] bits."""
    found, inner = np.zeros(len(which)), steps - family.span
    start = real.starts[which]

    def fill(values: Array, local: Array, mine: Array) -> None:
        bits = model.bits(family.code(values), values if family.numeric else None)
        total = np.zeros((len(bits), bits.shape[1] + 1))
        np.cumsum(bits, axis=1, out=total[:, 1:])
        found[mine] = total[local, start[mine] + inner] - total[local, start[mine]]

    visit_rows(family.real, rows.real, real.rows[which], fill)
    return found
