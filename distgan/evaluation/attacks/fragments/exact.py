"""The exact search: is a window of a member in the release, value for value, at any offset?

Windows are compared by fingerprints of all offsets of all rows: of the values as they stand, on coarser
grids, and of the order of the values, which no increasing map changes (scaled, raised, rank-mapped and
monotonely distorted copies are found exactly, too); of the release as it is, reversed in time, negated;
of differences and sums; of every second step.

A window that several real entities have tells of none of them. One that is so poor in information that chance
may repeat it proves nothing alone: its surprise must be beyond log2 of the pairs of windows compared. Shapes:
k windows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.fragments.evidence import SearchResult, count_sides
from distgan.evaluation.attacks.fragments.families import Family, list_families
from distgan.evaluation.attacks.fragments.matching import Matches, match_windows, visit_rows
from distgan.evaluation.attacks.fragments.surprise import MOST_SAMPLED, Surprise
from distgan.evaluation.attacks.fragments.windows import MIXED, Rows, choose_short_window, list_window_lengths

FEWEST_ORDERED = 16  # steps of a window of orders
MOST_MATCHES = 4_000_000  # windows that are followed to longer lengths
MOST_HOLDERS = 3  # entities, all on one side, that may share a window that proves a copy
PRUDENCE = 1.5  # the model of the first order knows no hour of the day
BEYOND = 2.0  # times the surprise of windows that the release shares with non-members: the model's own test
MARGIN = 20.0  # bits beyond log2 of the pairs compared: one in a million


def find_exact(rows: Rows, rng: np.random.Generator) -> list[SearchResult]:
    """Search every family: return a result for each of its transforms and window lengths."""
    return [result for family in list_families(rows) for result in search_family(rows, family, rng)]


def search_family(rows: Rows, family: Family, rng: np.random.Generator) -> list[SearchResult]:
    """Search one family in windows of every length, beginning with the shortest that does not match too
    often.
    """
    lengths = list_lengths(rows, family)
    if not lengths or not rows.released.num_series:
        return []
    steps = list(lengths.values())
    for place in range(len(steps)):
        most = MOST_MATCHES if place + 1 < len(steps) else None
        matched = match_windows(family, rows.real, rows.released, steps[place:], most)
        if matched is not None:
            break
    assert matched is not None
    real, made = matched
    if not len(real.rows):
        return [SearchResult(family.format_name(way), name, (0, 0)) for way in made for name in lengths]
    model = _fit_surprise(rows, family, rng)
    results = []
    for transform, found in made.items():
        seen = [_count_held(rows, family, model, (real, found), length) for length in lengths.values()]
        by_chance = max(float(each.bits[each.side == 1].max(initial=0)) for each in seen)
        need = max(_compute_needed_bits(rows, family), BEYOND * by_chance)
        results += [
            _evaluate_windows(rows, each, need, (family.format_name(transform), name))
            for name, each in zip(lengths, seen)
        ]
    return results


def list_lengths(rows: Rows, family: Family) -> dict[str, int]:
    """Return name -> steps of the windows that a family is tried in, ascending."""
    longest = min(
        family.real(rows.real[:1]).shape[1],
        *(change(rows.synthetic[:1]).shape[1] for change in family.made.values()),
    )
    least = FEWEST_ORDERED if family.span else 0
    named = {"part of a day": choose_short_window(rows.day), **list_window_lengths(rows.length, rows.day)}
    found = {steps: name for name, steps in named.items() if least <= steps <= longest}
    return {name: steps for steps, name in found.items()}


@dataclass(frozen=True)
class HeldWindows:
    """Windows of one length that are in the release and in few real entities, all of one side: by window the
    entity, the number of entities, the side and the surprise in bits, [k] each.
    """

    entity: Array
    holders: Array
    side: Array
    bits: Array


def _count_held(
    rows: Rows, family: Family, model: Surprise, matches: tuple[Matches, Mapping[int, Array]], steps: int
) -> HeldWindows:
    real, made = matches
    if steps not in real.keys:
        return HeldWindows(*(np.empty(0, np.int64) for _ in range(4)))
    keys = real.keys[steps]
    hit = np.flatnonzero((keys != 0) & np.isin(keys, made[steps]))
    entity = rows.entities[real.rows[hit] // len(family.real(rows.real[:1]))]
    holders, side = _count_holders(keys[hit], entity, rows.side)
    few = (holders <= MOST_HOLDERS) & (side < MIXED)
    return HeldWindows(
        entity[few], holders[few], side[few], _measure_surprise(rows, family, model, real, hit[few], steps)
    )


def _evaluate_windows(rows: Rows, held: HeldWindows, need: float, names: tuple[str, str]) -> SearchResult:
    """Count the entities that alone have a window of the release, and the members that surely have one."""
    sure = held.entity[(held.side == 0) & (held.bits >= need)]
    return SearchResult(*names, count_sides(rows.side, held.entity[held.holders == 1]), len(np.unique(sure)))


def _count_holders(keys: Array, entity: Array, sides: Array) -> tuple[Array, Array]:
    """Return the number of entities with each window, and their side, 2 if both: [k], [k] -> [k], [k]."""
    _, group = np.unique(keys, return_inverse=True)
    number = int(group.max(initial=-1)) + 1
    window, who = np.divmod(np.unique(group * len(sides) + entity), len(sides))
    holders = np.bincount(window, minlength=number)
    side = sides[who]
    least, most = np.full(number, MIXED), np.zeros(number, np.int64)
    np.minimum.at(least, window, side)
    np.maximum.at(most, window, side)
    return holders[group], np.where(least == most, least, MIXED)[group]


def _compute_needed_bits(rows: Rows, family: Family) -> float:
    """Return the surprise beyond which no window of the release equals a real one by chance, however many are
    compared.
    """
    pairs = np.log2(rows.real.size) + np.log2(rows.released.num_values * len(family.made))
    return float(PRUDENCE * pairs + MARGIN)


def _fit_surprise(rows: Rows, family: Family, rng: np.random.Generator) -> Surprise:
    """Count the family's codes in random real rows."""
    count = max(1, min(len(rows.real), MOST_SAMPLED // rows.length))
    values = family.real(rows.real[np.sort(rng.permutation(len(rows.real))[:count])])
    return Surprise(family.code(values), family.numbers(values) if family.numbers else None)


def _find_common(rows: Rows, family: Family, real: Matches, steps: int) -> Array:
    """Return the shortest windows that both sides or many entities have, as places among the matches."""
    entity = rows.entities[real.rows // len(family.real(rows.real[:1]))]
    holders, side = _count_holders(real.keys[steps], entity, rows.side)
    return np.flatnonzero((holders > MOST_HOLDERS) | (side == MIXED))


def _measure_surprise(
    rows: Rows, family: Family, model: Surprise, real: Matches, which: Array, steps: int
) -> Array:
    """Return the surprise of these real windows: places among the matches [k] -> [k] bits.

    Steps inside a shorter window that is common tell nothing: a week of a standard profile with one step
    more, which by chance is also one member's, is no copy of that member.
    """
    found, inner = np.zeros(len(which)), steps - family.span
    shortest = min(real.keys)
    common = _find_common(rows, family, real, shortest)
    common = common[np.isin(real.rows[common], real.rows[which])]
    places = np.concatenate([which, common])
    start = real.starts[places]

    def fill(values: Array, local: Array, mine: Array) -> None:
        bits = model.compute_bits(family.code(values), family.numbers(values) if family.numbers else None)
        edges = np.zeros((len(bits), bits.shape[1] + 1), np.int32)
        known = mine >= len(which)
        np.add.at(edges, (local[known], start[mine[known]]), 1)
        np.add.at(edges, (local[known], start[mine[known]] + shortest - family.span), -1)
        bits[np.cumsum(edges, axis=1)[:, :-1] > 0] = 0
        total = np.zeros((len(bits), bits.shape[1] + 1))
        np.cumsum(bits, axis=1, out=total[:, 1:])
        where, own = local[~known], mine[~known]
        found[own] = total[where, start[own] + inner] - total[where, start[own]]

    visit_rows(family.real, rows.real, real.rows[places], fill)
    return found
