"""Search for a member's values in any order: single values, and three or four steps or days in a row,
anywhere.

Whoever takes every third hour of three members, or puts the hours of a day in another order, leaves no window
of a quarter of a day. What is left is that one series of the release has many numbers which one real owner
alone has. How many by chance, the owners themselves show: readings of coarse meters are everybody's and count
for nothing. Shapes: n rows, L steps, k codes of a row, E entities.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np

from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.features import fill_gaps
from distgan.evaluation.attacks.fragments import hashes
from distgan.evaluation.attacks.fragments.matching import sum_running
from distgan.evaluation.attacks.fragments.windows import (
    FEWEST_STEPS,
    Rows,
    average_days,
    iterate_blocks,
    split_channels,
    split_days,
)
from distgan.progress import Progress

GRID = 1e-4  # of the logarithms of ratios
PLACES = range(16, 26)  # log2 of the places of a table: at most 128 MiB
VALUES_AT_ONCE = 2**20
ROOM = 16  # places for each real value, where there are so many
EMPTY, SEVERAL = -1, -2  # of a place: nobody's, and that of more than one entity
EXPONENTIAL = 8  # common numbers that make the ratio e times less
HARDLY = 0.998  # the ratio of all who have one number in common, or none
FINE, SAMPLED = 0.25, 1000  # share of the codes that one entity alone must have, in so many rows; meters that
# are coarser show numbers of their own only of odd homes, and of another odd home the same ones
VARIED = 0.25  # of its row's deviation: steps that vary less are a standby's, and others have it too


@dataclass(frozen=True)
class Piece:
    """What is looked for: so many steps in a row, means of days, or the same hours of following days, as they
    stand or as ratios of each to the one before.
    """

    steps: int
    ratios: bool = False
    daily: bool = False
    hourly: bool = False

    def see(self, values: Array, day: int) -> Array:
        """Return the steps of rows: [n, L] -> [n, L']."""
        if self.hourly:
            return split_days(values, day).transpose(0, 2, 1).reshape(len(values), -1)
        return average_days(values, day) if self.daily else values


PIECES = {
    "values in any order": Piece(1),
    "three steps in any order": Piece(3),
    "four scaled steps in any order": Piece(4, ratios=True),
    "totals of four scaled days": Piece(4, ratios=True, daily=True),
    "an hour of four scaled days": Piece(4, ratios=True, hourly=True),
}


def find_unordered(rows: Rows) -> list[tuple[str, Array]]:
    """Return by name each entity's least ratio, from the most numbers that a released row has of it: [E]."""
    return [
        (name, np.minimum(HARDLY, np.exp((1 - count_common(rows, piece)) / EXPONENTIAL)))
        for name, piece in PIECES.items()
        if rows.length >= FEWEST_STEPS * (rows.day if piece.daily or piece.hourly else 1)
    ]


def count_common(rows: Rows, piece: Piece) -> Array:
    """Return the most codes that one released row and no other entity has, of those that begin with the same
    value one: [E].
    """
    table, codes = fill_table(rows, piece)
    most = np.zeros(len(rows.side), np.int64)
    if measure_own(rows, table, codes) < FINE:
        return most
    with Progress("values in any order", rows.released.num_series, "series") as progress:
        for _, series in rows.released.iterate_blocks():
            made = piece.see(split_channels(series), rows.day)
            for span in iterate_blocks(made, VALUES_AT_ONCE):
                entity = table[codes.locate(made[span])]
                row, step = np.nonzero(entity >= 0)
                pair = row * len(most) + entity[row, step]
                first = hashes.encode_bits(np.abs(made[span]))[row, step]
                once = np.unique(hashes.mix(pair.astype(np.uint64)) + first, return_index=True)[1]
                pairs, counts = np.unique(pair[once], return_counts=True)
                np.maximum.at(most, pairs % len(most), counts)
            progress.advance(len(series))
    return most


def measure_own(rows: Rows, table: Array, codes: "Codes") -> float:
    """Return the share of the real codes, of a sample, that their entity alone has."""
    sample = slice(None, None, max(1, len(rows.real) // SAMPLED))
    place = codes.locate(codes.piece.see(rows.real[sample], rows.day))
    return float((table[place] == rows.entities[sample, None]).sum() / max((place < codes.places).sum(), 1))


def fill_table(rows: Rows, piece: Piece) -> tuple[Array, "Codes"]:
    """Return the entity at each place of a table by codes, and how codes are placed. Codes that fall on one
    place by chance take it from each other, or lend it to the release: that is noise for all.
    """
    log2 = int(np.ceil(np.log2(max(ROOM * rows.real.size, 2))))
    codes = Codes(piece, min(max(log2, PLACES[0]), PLACES[-1]), rows.real.size)
    table = np.full(codes.places + 1, EMPTY, np.int32)
    for span in iterate_blocks(rows.real, VALUES_AT_ONCE):
        place = codes.locate(piece.see(rows.real[span], rows.day))
        entity = np.broadcast_to(rows.entities[span, None], place.shape)
        free = table[place] == EMPTY
        table[place[free]] = entity[free]
        table[place[table[place] != entity]] = SEVERAL
    table[-1] = SEVERAL
    return table, codes


class Codes:
    """Places in a table of the codes of all pieces of a row. The last place is that of what is missing, and
    of codes that are left out, so that there are no more than places.
    """

    def __init__(self, piece: Piece, log2: int, values: int) -> None:
        self.piece, self.places = piece, 1 << log2
        self.shift = np.uint64(64 - log2)
        self.kept = np.uint64(min(1.0, self.places / values) * (2**16 - 1))  # of the lowest 16 bits

    def locate(self, values: Array) -> Array:
        """Return the place of every code, of single values whatever their sign: [n, L] -> [n, k] int64."""
        steps = self.piece.steps
        codes, missing = self._encode(values), np.isnan(values)
        kept = (codes & np.uint64(2**16 - 1)) <= self.kept
        if self.piece.ratios:
            missing |= values <= 0
        kept &= sum_running(missing, steps) == 0
        if steps > 1:
            shifted = [values[:, back : values.shape[1] - steps + 1 + back] for back in range(steps)]
            deviation = fill_gaps(values[..., None])[..., 0].std(axis=1, keepdims=True, dtype=np.float64)
            kept &= reduce(np.maximum, shifted) - reduce(np.minimum, shifted) >= VARIED * deviation
        return np.where(kept, (codes >> self.shift).astype(np.int64), self.places)

    def _encode(self, values: Array) -> Array:
        steps = self.piece.steps
        if self.piece.ratios:
            logs = np.log(np.where(values > 0, values, np.float32(1)))
            return hashes.mix(
                hashes.hash_steps(hashes.mix(hashes.encode_grid(np.diff(logs, axis=1), GRID)), steps - 1)
            )
        codes = hashes.mix(hashes.encode_bits(np.abs(values) if steps == 1 else values))
        return codes if steps == 1 else hashes.mix(hashes.hash_steps(codes, steps))
