"""Which windows two sets of rows have in common, by fingerprints, without holding all of them.

Two passes: what passes a filter of the other side's fingerprints is kept, then joined exactly. Shapes: n
rows, L steps, k windows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.fragments import hashes
from distgan.evaluation.attacks.fragments.families import Change, Family
from distgan.evaluation.attacks.fragments.windows import row_blocks

PLACES = range(16, 29)  # log2 of a filter's size: at most 256 MiB
PLACES_PER_KEY = 8


@dataclass(frozen=True)
class Matches:
    """Windows that stand in the other set, too: row (as changed), first step and, by length, fingerprint; 0
    where a window of that length does not fit or lacks a value.
    """

    rows: Array  # [k] int64
    starts: Array  # [k] int64
    keys: Mapping[int, Array]  # steps -> [k] uint64


class Filter:
    """A set of 64-bit keys with few false members and no false absence (Bloom 1970, two places a key)."""

    def __init__(self, keys: int) -> None:
        wanted = int(np.ceil(np.log2(max(keys, 1) * PLACES_PER_KEY)))
        self.shift = np.uint64(64 - min(max(wanted, PLACES[0]), PLACES[-1]))
        self.places = np.zeros(1 << (64 - int(self.shift)), bool)

    def _at(self, keys: Array) -> tuple[Array, Array]:
        return keys >> self.shift, (keys * hashes.BASE) >> self.shift

    def add(self, keys: Array) -> None:
        for places in self._at(keys):
            self.places[places] = True

    def has(self, keys: Array) -> Array:
        first, second = self._at(keys)
        return self.places[first] & self.places[second]


def match_windows(
    family: Family, real: Array, synthetic: Array, lengths: Sequence[int]
) -> tuple[Matches, dict[str, Matches]]:
    """Return the windows of the first length that the changed sides share, with fingerprints of all lengths:
    of the real rows, and by transform of the released ones.
    """
    steps = lengths[0]
    table = Filter(real.size)
    for *_, keys in _hashed(family, family.real, real, steps):
        table.add(keys)
    kept = {name: _passing(family, change, synthetic, steps, table) for name, change in family.made.items()}
    wanted = np.unique(np.concatenate([keys for *_, keys in kept.values()]))
    table = Filter(len(wanted))
    table.add(wanted)
    row, start, keys = _passing(family, family.real, real, steps, table)
    chosen = np.isin(keys, wanted)
    shared = np.unique(keys[chosen])
    found = _lengthened(family, family.real, real, (row[chosen], start[chosen]), lengths)
    made = {}
    for name, (row, start, keys) in kept.items():
        chosen = np.isin(keys, shared)
        made[name] = _lengthened(family, family.made[name], synthetic, (row[chosen], start[chosen]), lengths)
    return found, made


def _passing(
    family: Family, change: Change, rows: Array, steps: int, table: Filter
) -> tuple[Array, Array, Array]:
    """Row, first step and fingerprint of the windows that pass the filter."""
    kept = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint64))]
    for row, start, keys in _hashed(family, change, rows, steps):
        chosen = table.has(keys)
        kept.append((row[chosen], start[chosen], keys[chosen]))
    row, start, keys = (np.concatenate(part) for part in zip(*kept))
    return row, start, keys


def _hashed(family: Family, change: Change, rows: Array, steps: int) -> Iterator[tuple[Array, Array, Array]]:
    """By blocks: row, first step and fingerprint of the windows that lack no value and change in a third of
    their steps at least.
    """
    first, inner = 0, steps - family.span
    for span in row_blocks(rows):
        values = change(rows[span])
        codes = family.code(values)
        whole = running_sum(np.isnan(values), steps) == 0
        whole &= running_sum(codes[:, 1:] != codes[:, :-1], inner - 1) >= max(2, inner // 3)
        keys = hashes.hash_windows(hashes.hash_prefixes(hashes.mix(codes)), inner)
        row, start = np.nonzero(whole)
        yield row + first, start, keys[whole]
        first += len(values)


def running_sum(flags: Array, steps: int) -> Array:
    """How many of every `steps` flags in a row are set: [n, T] bool -> [n, T - steps + 1] int32."""
    total = np.zeros((len(flags), flags.shape[1] + 1), np.int32)
    np.cumsum(flags, axis=1, out=total[:, 1:])
    return total[:, steps:] - total[:, : total.shape[1] - steps]


def _lengthened(
    family: Family, change: Change, rows: Array, places: tuple[Array, Array], lengths: Sequence[int]
) -> Matches:
    """Fingerprints of all lengths of the windows that begin at these (row, step) of the changed rows."""
    row, start = places
    keys = {steps: np.zeros(len(row), np.uint64) for steps in lengths}

    def fill(values: Array, local: Array, mine: Array) -> None:
        prefixes = hashes.hash_prefixes(hashes.mix(family.code(values)))
        gaps = np.zeros((len(values), values.shape[1] + 1), np.int32)
        np.cumsum(np.isnan(values), axis=1, out=gaps[:, 1:])
        for steps, found in keys.items():
            fits = start[mine] + steps <= values.shape[1]
            who, where, begin = mine[fits], local[fits], start[mine][fits]
            whole = gaps[where, begin + steps] == gaps[where, begin]
            inner = steps - family.span
            key = prefixes[where, begin + inner] - prefixes[where, begin] * hashes.power(inner)
            found[who] = np.where(whole, key, np.uint64(0))

    visit_rows(change, rows, row, fill)
    return Matches(row, start, keys)


def visit_rows(change: Change, rows: Array, row: Array, visit: Callable[[Array, Array, Array], None]) -> None:
    """By blocks of the rows that are wanted: `visit(changed values, [j] their row for each place, [j]
    which of the places they are)`; `row` is of changed rows, of which `change` makes several of one.
    """
    if not len(row):
        return
    factor = len(change(rows[:1]))
    wanted, place = np.unique(row // factor, return_inverse=True)
    order = np.argsort(place, kind="stable")
    edges = np.searchsorted(place[order], np.arange(len(wanted) + 1))
    for span in row_blocks(np.broadcast_to(np.float32(0), (len(wanted), rows.shape[1]))):
        chosen = wanted[span]
        mine = order[edges[span.start] : edges[span.start + len(chosen)]]
        visit(change(rows[chosen]), (place[mine] - span.start) * factor + row[mine] % factor, mine)
