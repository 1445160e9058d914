"""Releases that consist of fragments of members' readings: what the fragment attack must find, as data.

Every kind makes some released series from the members': [n, L, C], how many, steps of a day, rng ->
[count, L, C]. What is made in whole days begins at whole days, unless it says otherwise.
"""

from collections.abc import Callable

import numpy as np

Array = np.ndarray
Rng = np.random.Generator
Kind = Callable[[Array, int, int, Rng], Array]
Change = Callable[[Array, int, Rng], Array]  # of copied series: [k, L, C], steps of a day, rng


def of_members(change: Change) -> Kind:
    """Each series is another member's, changed."""

    def make(members: Array, count: int, day: int, rng: Rng) -> Array:
        whom = rng.choice(len(members), count, replace=count > len(members))
        return change(members[whom], day, rng).astype(np.float32)

    return make


def in_part(first: float, last: float) -> Kind:
    """A member's from one part of the length on to another, the rest of another member's order of days, which
    is shuffled in time step by step and so no copy.
    """

    def make(members: Array, count: int, day: int, rng: Rng) -> Array:
        copied, rest = (members[rng.integers(len(members), size=count)] for _ in range(2))
        made = rng.permuted(rest, axis=1)
        steps = slice(round(first * members.shape[1]), round(last * members.shape[1]))
        made[:, steps] = copied[:, steps]
        return made

    return make


def halves_of_quarters(members: Array, count: int, day: int, rng: Rng) -> Array:
    """The first half of every quarter is a member's."""
    copied, rest = (members[rng.integers(len(members), size=count)] for _ in range(2))
    quarter = members.shape[1] // 4
    copies = np.arange(members.shape[1]) % quarter < quarter // 2
    return np.where(copies[:, None], copied, rng.permuted(rest, axis=1))


def mosaic(steps_of: Callable[[int], int], offset: bool = False) -> Kind:
    """Blocks of so many steps, each of another member and time; at any offset, if wanted."""

    def make(members: Array, count: int, day: int, rng: Rng) -> Array:
        length, steps = members.shape[1], steps_of(day)
        made = np.empty((count, length, members.shape[2]), np.float32)
        for first in range(0, length, steps):
            size = min(steps, length - first)
            whom = rng.integers(len(members), size=count)
            last = length - size
            begin = (
                rng.integers(last + 1, size=count)
                if offset
                else rng.integers(last // steps + 1, size=count) * steps
            )
            made[:, first : first + size] = members[whom[:, None], begin[:, None] + np.arange(size)]
        return made

    return make


def one_day(day: int) -> int:
    return day


def quarter_day(day: int) -> int:
    return max(6, day // 4)


def with_noise(part: float) -> Change:
    """Noise of so large a part of each series' deviation."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        size = part * np.nanstd(copied, axis=1, keepdims=True)
        return copied + size * rng.standard_normal(copied.shape, dtype=np.float32)

    return change


def scaled_noisy_days(members: Array, count: int, day: int, rng: Rng) -> Array:
    """Days of other members, each scaled and with 5 % of noise."""
    made = mosaic(one_day)(members, count, day, rng)
    scale = np.repeat(rng.uniform(0.7, 1.4, (count, -(-made.shape[1] // day), 1)), day, axis=1)
    return with_noise(0.05)(made * scale[:, : made.shape[1]].astype(np.float32), day, rng)


def to_ranks(copied: Array, day: int, rng: Rng) -> Array:
    """The rank of every value in its series, over the length."""
    return copied.argsort(axis=1).argsort(axis=1) / copied.shape[1]


def low_pass(steps_of: Callable[[int], int]) -> Change:
    """Running means over so many steps."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        width = steps_of(day)
        padded = np.pad(copied, ((0, 0), (width // 2, width - 1 - width // 2), (0, 0)), "edge")
        return np.lib.stride_tricks.sliding_window_view(padded, width, axis=1).mean(axis=-1)

    return change


def shuffle_days(copied: Array, day: int, rng: Rng) -> Array:
    """The days of a member in another order."""
    whole = copied.shape[1] // day
    made = copied.copy()
    days = copied[:, : whole * day].reshape(len(copied), whole, day, -1)
    for row, series in enumerate(days):
        made[row, : whole * day] = series[rng.permutation(whole)].reshape(whole * day, -1)
    return made


def rotate_days(copied: Array, day: int, rng: Rng) -> Array:
    """Every day turned by a third of it."""
    whole = copied.shape[1] // day * day
    made = copied.copy()
    days = copied[:, :whole].reshape(len(copied), -1, day, copied.shape[2])
    made[:, :whole] = np.roll(days, day // 3, axis=2).reshape(len(copied), whole, -1)
    return made


def with_gaps(part: float) -> Change:
    """So many values missing, here and there."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        return np.where(rng.random(copied.shape) < part, np.float32(np.nan), copied)

    return change


def smooth_seams(members: Array, count: int, day: int, rng: Rng) -> Array:
    """Days of other members, on a straight line from an eighth of a day before each seam to one after it."""
    days = mosaic(one_day)(members, count, day, rng)
    made, width = days.copy(), max(1, day // 8)
    part = np.linspace(0, 1, 2 * width, dtype=np.float32)[None, :, None]
    for seam in range(day, days.shape[1] - width, day):
        before, after = days[:, seam - width - 1, None], days[:, seam + width - 1, None]
        made[:, seam - width : seam + width] = before * (1 - part) + after * part
    return made


def with_trend(copied: Array, day: int, rng: Rng) -> Array:
    """A straight line of one deviation from the first to the last step, up or down."""
    size = copied.std(axis=1, keepdims=True) * rng.choice([-1, 1], (len(copied), 1, 1))
    return copied + size * np.linspace(-0.5, 0.5, copied.shape[1])[:, None]


def stretch(part: float) -> Change:
    """Time runs slower by this part, on straight lines between the readings."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        place = np.arange(copied.shape[1]) / (1 + part)
        low = place.astype(np.int64)
        weight = (place - low)[:, None]
        return (1 - weight) * copied[:, low] + weight * copied[:, np.minimum(low + 1, copied.shape[1] - 1)]

    return change


def replace_every(steps: int) -> Change:
    """Every so many steps a value from another time of the series."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        made = copied.copy()
        made[:, ::steps] = rng.permuted(copied, axis=1)[:, ::steps]
        return made

    return change


def quantise(levels: int) -> Change:
    """So many levels, as far apart, between the least and the greatest value of each series."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        low, high = copied.min(axis=1, keepdims=True), copied.max(axis=1, keepdims=True)
        unit = np.maximum(high - low, 1e-12) / (levels - 1)
        return np.round((copied - low) / unit) * unit + low

    return change


def mix_with_another(part: float) -> Kind:
    """So large a part of one member's values, the rest of another's."""

    def make(members: Array, count: int, day: int, rng: Rng) -> Array:
        first, second = (members[rng.integers(len(members), size=count)] for _ in range(2))
        return (part * first + (1 - part) * second).astype(np.float32)

    return make


def mean_of_two(members: Array, count: int, day: int, rng: Rng) -> Array:
    """Means of two members, step by step: aggregated, and not claimed to be found."""
    first, second = (members[rng.integers(len(members), size=count)] for _ in range(2))
    return (first + second) / 2


def interleave(members: Array, count: int, day: int, rng: Rng) -> Array:
    """Even steps of one member, odd ones of another."""
    first, second = (members[rng.integers(len(members), size=count)] for _ in range(2))
    return np.where(np.arange(members.shape[1])[:, None] % 2 == 0, first, second)


EXACT: dict[str, Kind] = {
    "copies": of_members(lambda copied, day, rng: copied),
    "days of other members": mosaic(one_day),
    "days of other members at any hour": mosaic(one_day, offset=True),
    "parts of days of other members": mosaic(quarter_day),
    "3/4 of a quarter across an edge": in_part(5 / 32, 11 / 32),
    "half of every quarter": halves_of_quarters,
    "a part of a week": in_part(0.5, 0.5 + 1 / 12),
    "shuffled days": of_members(shuffle_days),
    "turned days": of_members(rotate_days),
    "turned in a circle": of_members(
        lambda copied, day, rng: np.roll(copied, copied.shape[1] // 3 + 5, axis=1)
    ),
    "reversed": of_members(lambda copied, day, rng: copied[:, ::-1]),
    "negated": of_members(lambda copied, day, rng: -copied),
    "reflected at the mean": of_members(
        lambda copied, day, rng: 2 * copied.mean(axis=1, keepdims=True) - copied
    ),
    "scaled and raised": of_members(lambda copied, day, rng: np.float32(1.15) * copied + np.float32(0.2)),
    "ranks": of_members(to_ranks),
    "squared": of_members(lambda copied, day, rng: np.square(copied - copied.min(axis=1, keepdims=True))),
    "differences": of_members(lambda copied, day, rng: np.diff(copied, axis=1, prepend=0)),
    "running sums": of_members(lambda copied, day, rng: np.cumsum(copied, axis=1, dtype=np.float64)),
    "interleaved": interleave,
    "slowed to half": of_members(lambda copied, day, rng: np.repeat(copied, 2, axis=1)[:, : copied.shape[1]]),
    "gaps of 5 %": of_members(with_gaps(0.05)),
    "days of other members with smooth seams": smooth_seams,
    "every tenth value replaced": of_members(replace_every(10)),
}
NEAR: dict[str, Kind] = {
    "rounded to one decimal": of_members(lambda copied, day, rng: np.round(copied, 1)),
    "noise of 5 %": of_members(with_noise(0.05)),
    "scaled noisy days of other members": scaled_noisy_days,
    "noisy and moved": of_members(
        lambda copied, day, rng: np.roll(with_noise(0.05)(copied, day, rng), 31, axis=1)
    ),
    "noisy and reversed": of_members(lambda copied, day, rng: with_noise(0.05)(copied, day, rng)[:, ::-1]),
    "noisy and negated": of_members(lambda copied, day, rng: -with_noise(0.05)(copied, day, rng)),
    "noisy logarithms": of_members(lambda copied, day, rng: with_noise(0.03)(np.log(copied), day, rng)),
    "noisy differences": of_members(
        lambda copied, day, rng: with_noise(0.05)(np.diff(copied, axis=1, prepend=0), day, rng)
    ),
    "low-pass of a quarter of a day": of_members(low_pass(lambda day: max(2, day // 4))),
    "gaps of 20 %": of_members(with_gaps(0.2)),
    "with a trend": of_members(with_trend),
    "stretched by 1 %": of_members(stretch(0.01)),
    "nine tenths of one member, one of another": mix_with_another(0.9),
}
NOT_FOUND: dict[str, Kind] = {
    "means of two members": mean_of_two,
    "low-pass of two days": of_members(low_pass(lambda day: 2 * day)),
    "noise of 50 %": of_members(with_noise(0.5)),
    "stretched by 5 %": of_members(stretch(0.05)),
    "five levels": of_members(quantise(5)),
    "four fifths of one member, one of another": mix_with_another(0.8),
    "every fifth value replaced": of_members(replace_every(5)),
}
