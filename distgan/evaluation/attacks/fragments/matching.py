"""The common windows of real rows and a release, found by fingerprints without holding all of either.

The release is walked over block by block, so that its size costs time but no memory: what passes a filter of
the real fingerprints is kept, then joined exactly with the real windows; the release's rows that have any
such window are read a second time, for windows of all lengths. Shapes: n rows, L steps, k windows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.fragments import hashes
from distgan.evaluation.attacks.fragments.families import Change, Family
from distgan.evaluation.attacks.fragments.windows import iterate_blocks, split_channels
from distgan.evaluation.attacks.released import ReleasedSeries
from distgan.memory import measure_host_memory, scale_buffer
from distgan.progress import Progress

PLACES = range(16, 32)  # log2 of a filter's bits: at most 256 MiB, and a quarter of the buffers
PLACES_PER_KEY = 32
FACTORS = (np.uint64(1), hashes.BASE, hashes.compute_power(2))  # of a key: their highest bits are its places
MOST_PENDING = 4_000_000  # fingerprints that wait to be joined
IN_CACHE = 2**17  # values that are hashed at a time

Places = tuple[Array, Array, Array]  # row, first step and fingerprint of windows, [k] each


@dataclass(frozen=True)
class Matches:
    """Windows that are in both sets: row (as changed), first step and, by length, fingerprint; 0 where a
    window of that length does not fit or lacks a value.
    """

    rows: Array  # [k] int64
    starts: Array  # [k] int64
    keys: Mapping[int, Array]  # steps -> [k] uint64


class Filter:
    """A set of 64-bit keys with few false members and no false absence (Bloom 1970, three places a key)."""

    def __init__(self, keys: int) -> None:
        wanted = int(np.ceil(np.log2(max(keys, 1) * PLACES_PER_KEY)))
        log2 = min(max(wanted, PLACES[0]), PLACES[-1], int(np.log2(2 * measure_host_memory())))
        self.shift = np.uint64(64 - log2)
        self.places = np.zeros(1 << (log2 - 3), np.uint8)  # eight bits each

    def add(self, keys: Array) -> None:
        for factor in FACTORS:
            place = (keys * factor) >> self.shift
            bit = (place & np.uint64(7)).astype(np.uint8)
            for each in range(8):
                self.places[(place[bit == each] >> np.uint64(3)).astype(np.int64)] |= np.uint8(1 << each)

    def contains(self, keys: Array) -> Array:
        """Return whether each key may be in the set: uint64 of any shape -> bool."""
        found = self._is_in_table(keys)
        where = np.flatnonzero(found)  # few, so the other places cost little
        for factor in FACTORS[1:]:
            stands = self._is_in_table(keys.reshape(-1)[where] * factor)
            found.reshape(-1)[where[~stands]] = False
            where = where[stands]
        return found

    def _is_in_table(self, keys: Array) -> Array:
        place = keys >> self.shift
        byte = self.places[(place >> np.uint64(3)).astype(np.int64)]
        return (byte >> (place & np.uint64(7)).astype(np.uint8)) & np.uint8(1) > 0


def match_windows(
    family: Family, real: Array, released: ReleasedSeries, lengths: Sequence[int], most: int | None
) -> tuple[Matches, dict[str, Mapping[int, Array]]] | None:
    """Return the real windows of the first length that are in the changed release, with fingerprints of all
    lengths, and by transform and length the fingerprints that are in the release; None if there are more than
    `most` such real windows.
    """
    shared = _find_shared(family, real, released, lengths[0], most)
    if shared is None:
        return None
    (row, start, keys), touched = shared
    found = _hash_lengths(family, family.real, real, (row, start), lengths)
    wanted = {steps: np.unique(known[known != 0]) for steps, known in found.keys.items()}
    wanted[lengths[0]] = np.unique(keys)
    seen = {
        name: {steps: np.zeros(len(each), bool) for steps, each in wanted.items()} for name in family.made
    }
    table = Filter(len(wanted[lengths[0]]))
    table.add(wanted[lengths[0]])
    with Progress(f"{family.name}: longer windows", len(touched), "series") as progress:
        for _, series in released.iterate_blocks(touched):
            for name, change in family.made.items():
                for values in _change_rows(change, split_channels(series)):
                    _mark(family, values, table, wanted, seen[name])
            progress.advance(len(series))
    return found, {
        name: {steps: wanted[steps][flags] for steps, flags in each.items()} for name, each in seen.items()
    }


def _find_shared(
    family: Family, real: Array, released: ReleasedSeries, steps: int, most: int | None
) -> tuple[Places, Array] | None:
    """Return the real windows of so many steps that are in the changed release, and the series of the release
    that may have one, ascending; None if there are more than `most` such windows.
    """
    table = Filter(real.size)
    for *_, keys in _hash_windows(family, family.real, real, steps):
        table.add(keys)
    touched = np.zeros(released.num_series, bool)
    pending, waiting = [np.empty(0, np.uint64)], 0
    with Progress(f"{family.name}: windows of {steps} steps", len(touched), "series") as progress:
        for number, series in released.iterate_blocks():
            rows = split_channels(series)
            for change in family.made.values():
                for row, keys in _filter_windows(family, change, rows, steps, table):
                    touched[number[row // series.shape[2]]] = True
                    pending.append(np.unique(keys))
                    waiting += len(pending[-1])
            progress.advance(len(series))
            first = number[0] == 0 and len(series) < len(touched)
            if (first and most is not None) or waiting > scale_buffer(MOST_PENDING):
                joined = _join_windows(family, real, steps, np.unique(np.concatenate(pending)), most)
                if joined is None:
                    return None
                pending, waiting = [np.unique(joined[2])], 0
    found = _join_windows(family, real, steps, np.unique(np.concatenate(pending)), most)
    return None if found is None else (found, np.flatnonzero(touched))


def _join_windows(family: Family, real: Array, steps: int, wanted: Array, most: int | None) -> Places | None:
    """Return row, first step and fingerprint of the real windows with the fingerprints `wanted`, ascending;
    None if there are more than `most`.
    """
    kept = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint64))]
    table, count = Filter(len(wanted)), 0
    table.add(wanted)
    for row, start, keys in _hash_windows(family, family.real, real, steps, table) if len(wanted) else ():
        chosen = locate(keys, wanted)[1]
        count += int(chosen.sum())
        if most is not None and count > most:
            return None
        kept.append((row[chosen], start[chosen], keys[chosen]))
    row, start, keys = (np.concatenate(part) for part in zip(*kept))
    return row, start, keys


def locate(keys: Array, known: Array) -> tuple[Array, Array]:
    """Return the place of each key among the ascending `known`, and whether it is there: [k], [m] -> [k],
    [k].
    """
    if not len(known):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return place, known[place] == keys


def _change_rows(change: Change, rows: Array) -> Iterator[Array]:
    """Yield changed rows, as many at a time as stay in the processor's cache."""
    return (change(rows[span]) for span in iterate_blocks(rows, IN_CACHE))


def _hash_windows(
    family: Family, change: Change, rows: Array, steps: int, table: Filter | None = None
) -> Iterator[Places]:
    """Yield by blocks the row (as changed), first step and fingerprint of windows that may be in the
    table.
    """
    first = 0
    for values in _change_rows(change, rows):
        row, start, keys = _select_windows(family, values, steps, table)
        yield row + first, start, keys
        first += len(values)


def _filter_windows(
    family: Family, change: Change, rows: Array, steps: int, table: Filter
) -> Iterator[tuple[Array, Array]]:
    """Yield by blocks the row before the change and the fingerprint of the windows that may be in the
    table.
    """
    for span in iterate_blocks(rows, IN_CACHE):
        values = change(rows[span])
        row, _, keys = _select_windows(family, values, steps, table)
        if len(row):
            yield row // (len(values) // len(rows[span])) + span.start, keys


def _select_windows(family: Family, values: Array, steps: int, table: Filter | None) -> Places:
    """Return windows that lack no value, change in a third of their steps at least, and may be in the
    table.
    """
    codes, inner = family.code(values), steps - family.span
    keys = hashes.hash_steps(hashes.mix(codes), inner)
    chosen = np.ones(keys.shape, bool) if table is None else table.contains(keys)
    rows = np.flatnonzero(chosen.any(axis=1))
    here = codes[rows]
    chosen[rows] &= sum_running(np.isnan(values[rows]), steps) == 0
    chosen[rows] &= sum_running(here[:, 1:] != here[:, :-1], inner - 1) >= max(2, inner // 3)
    row, start = np.nonzero(chosen)
    return row, start, keys[chosen]


def _mark(
    family: Family, values: Array, table: Filter, wanted: Mapping[int, Array], seen: Mapping[int, Array]
) -> None:
    """Mark in `seen` which of the wanted fingerprints, by length from the shortest, are in these rows.

    A longer window equals a real one only if the shorter one that begins with it does.
    """
    lengths = list(wanted)
    row, start, keys = _select_windows(family, values, lengths[0], table)
    place, there = locate(keys, wanted[lengths[0]])
    seen[lengths[0]][place[there]] = True
    row, start = row[there], start[there]
    if not len(row):
        return
    rows, row = np.unique(row, return_inverse=True)
    prefixes, gaps = _hash_row_prefixes(family, values[rows])
    for steps in lengths[1:]:
        fits = start + steps <= values.shape[1]
        row, start = row[fits], start[fits]
        keys = _hash_at(prefixes, gaps, (row, start), steps, steps - family.span)
        place, there = locate(keys, wanted[steps])
        seen[steps][place[there]] = True
        row, start = row[there], start[there]


def sum_running(flags: Array, steps: int) -> Array:
    """Count the set flags among every `steps` in a row: [n, T] bool -> [n, T - steps + 1] int32."""
    total = np.zeros((len(flags), flags.shape[1] + 1), np.int32)
    np.cumsum(flags, axis=1, out=total[:, 1:])
    return total[:, steps:] - total[:, : total.shape[1] - steps]


def _hash_lengths(
    family: Family, change: Change, rows: Array, places: tuple[Array, Array], lengths: Sequence[int]
) -> Matches:
    """Return fingerprints of all lengths of the windows that begin at these (row, step) of the changed
    rows.
    """
    row, start = places
    keys = {steps: np.zeros(len(row), np.uint64) for steps in lengths}

    def fill(values: Array, local: Array, mine: Array) -> None:
        prefixes, gaps = _hash_row_prefixes(family, values)
        for steps, found in keys.items():
            fits = start[mine] + steps <= values.shape[1]
            places = local[fits], start[mine][fits]
            found[mine[fits]] = _hash_at(prefixes, gaps, places, steps, steps - family.span)

    visit_rows(change, rows, row, fill)
    return Matches(row, start, keys)


def _hash_row_prefixes(family: Family, values: Array) -> tuple[Array, Array]:
    """Hash the first steps of every row, and count the missing ones: [n, T + 1], [n, L + 1]."""
    gaps = np.zeros((len(values), values.shape[1] + 1), np.int32)
    np.cumsum(np.isnan(values), axis=1, out=gaps[:, 1:])
    return hashes.hash_prefixes(hashes.mix(family.code(values))), gaps


def _hash_at(prefixes: Array, gaps: Array, places: tuple[Array, Array], steps: int, inner: int) -> Array:
    """Return fingerprints of windows that begin at these (row, step); 0 where one lacks a value: [k]
    uint64.
    """
    row, start = places
    whole = gaps[row, start + steps] == gaps[row, start]
    key = prefixes[row, start + inner] - prefixes[row, start] * hashes.compute_power(inner)
    return np.where(whole, key, np.uint64(0))


def visit_rows(change: Change, rows: Array, row: Array, visit: Callable[[Array, Array, Array], None]) -> None:
    """Visit the wanted rows by blocks: `visit(changed values, [j] their row for each place, [j] which of the
    places they are)`; `row` is of changed rows, of which `change` makes several of one.
    """
    if not len(row):
        return
    factor = len(change(rows[:1]))
    wanted, place = np.unique(row // factor, return_inverse=True)
    order = np.argsort(place, kind="stable")
    edges = np.searchsorted(place[order], np.arange(len(wanted) + 1))
    for span in iterate_blocks(np.broadcast_to(np.float32(0), (len(wanted), rows.shape[1]))):
        chosen = wanted[span]
        mine = order[edges[span.start] : edges[span.start + len(chosen)]]
        visit(change(rows[chosen]), (place[mine] - span.start) * factor + row[mine] % factor, mine)
