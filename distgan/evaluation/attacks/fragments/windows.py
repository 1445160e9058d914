"""The real and the released series as rows, and the windows of the fragment attack.

A row is one channel of one series: a copied channel is then found whatever the others do, also where it
stands in another channel. Shapes: n rows, or series of C channels, L steps, w steps of a window,
E entities. NaN where missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from distgan.evaluation.attacks.attack_data import Array, AttackData
from distgan.evaluation.attacks.fragments import hashes
from distgan.evaluation.attacks.released import ReleasedSeries

FEWEST_STEPS = 6  # of a window: four hours a step makes a day of six
MOST_SHORT = 24  # steps of the shortest exact window, however fine the steps are
VALUES_AT_ONCE = 2**22
VALUES_HASHED = 2**21
MIXED = 2  # the side of an entity that has series on both sides


@dataclass(frozen=True)
class Rows:
    """All real rows and all released ones.

    Attributes:
        real, synthetic: [n, L], [m, L] float32; the synthetic ones may be a sample of the release.
        released: the whole release, as series.
        entities: [n] the entity behind each real row. Owners with an equal series, in all channels, are one.
        side: [E] of each entity: 0 member, 1 non-member, 2 both.
        day: steps of a day, at least 6.
    """

    real: Array
    synthetic: Array
    released: ReleasedSeries
    entities: Array
    side: Array
    day: int

    @property
    def length(self) -> int:
        return self.real.shape[1]

    @property
    def sizes(self) -> tuple[int, int]:
        """Entities that are members, and non-members."""
        return int((self.side == 0).sum()), int((self.side == 1).sum())


def collect_rows(attack_data: AttackData) -> Rows:
    """Return the rows of attack data."""
    sides = (attack_data.members, attack_data.non_members)
    real = np.concatenate([split_channels(side.series) for side in sides])
    channels = attack_data.synthetic.shape[2]
    owners = np.concatenate(
        [
            np.repeat(sides[0].owners, channels),
            np.repeat(sides[1].owners, channels) + sides[0].num_owners,
        ]
    )
    is_non_member = np.arange(sides[0].num_owners + sides[1].num_owners) >= sides[0].num_owners
    entity_of = _merge_equal_owners(real, owners[::channels], len(is_non_member))
    members = np.bincount(entity_of[~is_non_member], minlength=entity_of.max() + 1) > 0
    others = np.bincount(entity_of[is_non_member], minlength=entity_of.max() + 1) > 0
    side = np.where(members & others, MIXED, others.astype(np.int64))
    day = max(FEWEST_STEPS, round(attack_data.steps_per_day))
    day = min(day, real.shape[1])
    return Rows(
        real, split_channels(attack_data.synthetic), attack_data.release, entity_of[owners], side, day
    )


def split_channels(series: Array) -> Array:
    """Return the channels of a series one after the other: [n, L, C] -> [n·C, L] float32."""
    rows = np.moveaxis(np.asarray(series, np.float32), 2, 1)
    return np.ascontiguousarray(rows.reshape(-1, series.shape[1]))


def _merge_equal_owners(real: Array, owners: Array, count: int) -> Array:
    """Return the entity of each owner, [count]: owners with an equal series, in all channels in any order,
    are one, if a channel of it is complete and informative. One channel may be everybody's, as the weather.

    Args:
        real: [n·C, L], the channels of a series one after the other.
        owners: [n].
    """
    channels = len(real) // max(len(owners), 1)
    telling, keys = np.zeros(len(owners), bool), np.zeros(len(owners), np.uint64)
    step = max(1, VALUES_HASHED // max(channels * real.shape[1], 1))
    for first in range(0, len(owners), step):
        block = real[first * channels : (first + step) * channels]
        changes = (np.diff(block, axis=1) != 0).sum(axis=1)
        rows = ~np.isnan(block).any(axis=1) & (changes >= max(1, real.shape[1] // 8))
        mixed = hashes.mix(hashes.encode_bits(np.where(np.isnan(block), np.float32(np.nan), block)))
        own = slice(first, first + len(block) // channels)
        telling[own] = rows.reshape(-1, channels).any(axis=1)
        keys[own] = hashes.mix(hashes.hash_prefixes(mixed)[:, -1]).reshape(-1, channels).sum(axis=1)
    series = np.flatnonzero(telling)
    order = series[np.argsort(keys[series], kind="stable")]
    same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    pairs = owners[order[same]], owners[order[same + 1]]
    graph = coo_matrix((np.ones(len(same)), pairs), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def iterate_blocks(rows: Array, values: int = VALUES_AT_ONCE) -> Iterator[slice]:
    """Yield slices of the rows, of about so many values each, by default four million."""
    step = max(1, values // max(rows.shape[1], 1))
    return (slice(first, first + step) for first in range(0, len(rows), step))


def list_window_lengths(length: int, day: int) -> dict[str, int]:
    """Return name -> steps, from a day to the whole series; equal ones once."""
    wanted = {
        "day": day,
        "half week": round(3.5 * day),
        "week": 7 * day,
        "month": round(30.4 * day),
        "quarter": length // 4,
        "half": length // 2,
        "whole": length,
    }
    found: dict[str, int] = {}
    for name, steps in sorted(wanted.items(), key=lambda item: item[1]):
        if FEWEST_STEPS <= steps <= length and steps not in found.values():
            found[name] = steps
    return found


def average_days(rows: Array, day: int) -> Array:
    """Return the mean of every so many steps: [n, L] -> [n, L // day]."""
    return split_days(rows, day).mean(axis=2)


def split_days(rows: Array, day: int) -> Array:
    """Return the whole days of rows: [n, L] -> [n, L // day, day]."""
    return rows[:, : rows.shape[1] // day * day].reshape(len(rows), -1, day)


def choose_short_window(day: int) -> int:
    """Return the steps of the shortest window that is compared exactly: a quarter of a day, within bounds."""
    return min(max(day // 4, FEWEST_STEPS), MOST_SHORT)
