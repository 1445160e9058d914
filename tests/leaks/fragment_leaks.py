"""Releases made of fragments of members' readings, as data: the fragment attack must find them.

Every kind makes some released series from the members': [n, L, C], how many, steps of a day, rng ->
[count, L, C]. What is made in whole days begins at whole days, unless it says otherwise.
"""

from collections.abc import Callable

import numpy as np

Array = np.ndarray
Rng = np.random.Generator
Kind = Callable[[Array, int, int, Rng], Array]
Change = Callable[[Array, int, Rng], Array]  # of copied series: [k, L, C], steps of a day, rng


def copy_members(change: Change) -> Kind:
    """Return a leak in which each series is another member's, changed."""

    def leak(members: Array, count: int, day: int, rng: Rng) -> Array:
        whom = rng.choice(len(members), count, replace=count > len(members))
        return change(members[whom], day, rng).astype(np.float32)

    return leak


def copy_part(first: float, last: float) -> Kind:
    """Return a leak of a member's readings from one part of the length to another. The rest is another
    member's, shuffled in time step by step and so no copy.
    """

    def leak(members: Array, count: int, day: int, rng: Rng) -> Array:
        copied, rest = (members[rng.integers(len(members), size=count)] for _ in range(2))
        made = rng.permuted(rest, axis=1)
        steps = slice(round(first * members.shape[1]), round(last * members.shape[1]))
        made[:, steps] = copied[:, steps]
        return made

    return leak


def copy_half_quarters(members: Array, count: int, day: int, rng: Rng) -> Array:
    """Copy the first half of every quarter from a member."""
    copied, rest = (members[rng.integers(len(members), size=count)] for _ in range(2))
    quarter = members.shape[1] // 4
    copies = np.arange(members.shape[1]) % quarter < quarter // 2
    return np.where(copies[:, None], copied, rng.permuted(rest, axis=1))


def make_mosaic(steps_of: Callable[[int], int], offset: bool = False) -> Kind:
    """Return a leak of blocks of so many steps, each of another member and time; at any offset, if wanted."""

    def leak(members: Array, count: int, day: int, rng: Rng) -> Array:
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

    return leak


def copy_one_day(day: int) -> int:
    return day


def copy_quarter_day(day: int) -> int:
    return max(6, day // 4)


def add_noise(part: float) -> Change:
    """Return a change that adds noise of so large a part of each series' deviation."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        size = part * np.nanstd(copied, axis=1, keepdims=True)
        return copied + size * rng.standard_normal(copied.shape, dtype=np.float32)

    return change


def copy_noisy_days(members: Array, count: int, day: int, rng: Rng) -> Array:
    """Copy days of other members, each scaled and with 5 % of noise."""
    made = make_mosaic(copy_one_day)(members, count, day, rng)
    scale = np.repeat(rng.uniform(0.7, 1.4, (count, -(-made.shape[1] // day), 1)), day, axis=1)
    return add_noise(0.05)(made * scale[:, : made.shape[1]].astype(np.float32), day, rng)


def copy_scaled_half_days(members: Array, count: int, day: int, rng: Rng) -> Array:
    """Copy half days of other members, each scaled."""
    made = make_mosaic(lambda day: day // 2)(members, count, day, rng)
    scale = np.repeat(rng.uniform(0.7, 1.4, (count, -(-made.shape[1] * 2 // day), 1)), day // 2, axis=1)
    return (made * scale[:, : made.shape[1]]).astype(np.float32)


def to_ranks(copied: Array, day: int, rng: Rng) -> Array:
    """Replace every value by its rank in its series, over the length."""
    return copied.argsort(axis=1).argsort(axis=1) / copied.shape[1]


def smooth(steps_of: Callable[[int], int]) -> Change:
    """Return a change that takes running means over so many steps."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        width = steps_of(day)
        padded = np.pad(copied, ((0, 0), (width // 2, width - 1 - width // 2), (0, 0)), "edge")
        return np.lib.stride_tricks.sliding_window_view(padded, width, axis=1).mean(axis=-1)

    return change


def shuffle_days(copied: Array, day: int, rng: Rng) -> Array:
    """Put the days of a member in another order."""
    whole = copied.shape[1] // day
    made = copied.copy()
    days = copied[:, : whole * day].reshape(len(copied), whole, day, -1)
    for row, series in enumerate(days):
        made[row, : whole * day] = series[rng.permutation(whole)].reshape(whole * day, -1)
    return made


def rotate_days(copied: Array, day: int, rng: Rng) -> Array:
    """Turn every day by a third of it."""
    whole = copied.shape[1] // day * day
    made = copied.copy()
    days = copied[:, :whole].reshape(len(copied), -1, day, copied.shape[2])
    made[:, :whole] = np.roll(days, day // 3, axis=2).reshape(len(copied), whole, -1)
    return made


def add_gaps(part: float) -> Change:
    """Return a change that removes so many values at random places."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        return np.where(rng.random(copied.shape) < part, np.float32(np.nan), copied)

    return change


def smooth_seams(members: Array, count: int, day: int, rng: Rng) -> Array:
    """Join days of other members by a straight line from an eighth of a day before each seam to one after
    it.
    """
    days = make_mosaic(copy_one_day)(members, count, day, rng)
    made, width = days.copy(), max(1, day // 8)
    part = np.linspace(0, 1, 2 * width, dtype=np.float32)[None, :, None]
    for seam in range(day, days.shape[1] - width, day):
        before, after = days[:, seam - width - 1, None], days[:, seam + width - 1, None]
        made[:, seam - width : seam + width] = before * (1 - part) + after * part
    return made


def add_trend(copied: Array, day: int, rng: Rng) -> Array:
    """Add a straight line of one deviation from the first to the last step, up or down."""
    size = copied.std(axis=1, keepdims=True) * rng.choice([-1, 1], (len(copied), 1, 1))
    return copied + size * np.linspace(-0.5, 0.5, copied.shape[1])[:, None]


def stretch(part: float) -> Change:
    """Return a change that slows time by this part, on straight lines between the readings."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        place = np.arange(copied.shape[1]) / (1 + part)
        low = place.astype(np.int64)
        weight = (place - low)[:, None]
        return (1 - weight) * copied[:, low] + weight * copied[:, np.minimum(low + 1, copied.shape[1] - 1)]

    return change


def replace_every(steps: int) -> Change:
    """Return a change that replaces every so many steps a value by one from another time of the series."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        made = copied.copy()
        made[:, ::steps] = rng.permuted(copied, axis=1)[:, ::steps]
        return made

    return change


def quantise(levels: int) -> Change:
    """Return a change to so many evenly spaced levels between the least and the greatest value of each
    series.
    """

    def change(copied: Array, day: int, rng: Rng) -> Array:
        low, high = copied.min(axis=1, keepdims=True), copied.max(axis=1, keepdims=True)
        unit = np.maximum(high - low, 1e-12) / (levels - 1)
        return np.round((copied - low) / unit) * unit + low

    return change


def mix_members(part: float) -> Kind:
    """Return a leak of so large a part of one member's values, the rest of another's."""

    def leak(members: Array, count: int, day: int, rng: Rng) -> Array:
        first, second = (members[rng.integers(len(members), size=count)] for _ in range(2))
        return (part * first + (1 - part) * second).astype(np.float32)

    return leak


def combine_two(combine: Callable[[Array, Array], Array]) -> Kind:
    """Return a leak that combines the series of two members, step by step or as wholes: [k, L, C] twice ->
    [k, L, C].
    """

    def leak(members: Array, count: int, day: int, rng: Rng) -> Array:
        first, second = (members[rng.integers(len(members), size=count)] for _ in range(2))
        return combine(first, second).astype(np.float32)

    return leak


def keep_phases(copied: Array, other: Array) -> Array:
    """Give a series the amplitudes of another's frequencies."""
    own, amplitudes = np.fft.rfft(copied, axis=1), np.abs(np.fft.rfft(other, axis=1))
    turned = own / np.maximum(np.abs(own), 1e-12) * amplitudes
    return np.fft.irfft(turned, n=copied.shape[1], axis=1)


def swap_mean_days(members: Array, count: int, day: int, rng: Rng) -> Array:
    """Take what a member has beyond its mean day, and the mean day of another."""
    copied, other = (members[rng.integers(len(members), size=count)] for _ in range(2))
    return (copied - repeat_mean_day(copied, day) + repeat_mean_day(other, day)).astype(np.float32)


def repeat_mean_day(series: Array, day: int) -> Array:
    """Return the mean of each step of the day, over the length."""
    length = series.shape[1]
    padded = np.pad(series, ((0, 0), (0, -length % day), (0, 0)), constant_values=np.nan)
    days = padded.reshape(len(series), -1, day, series.shape[2])
    return np.tile(np.nanmean(days, axis=1), (1, days.shape[1], 1))[:, :length]


def add_daily_wave(copied: Array, day: int, rng: Rng) -> Array:
    """Add a wave of a day with the deviation of the series, at any hour."""
    hour = rng.uniform(0, day, (len(copied), 1, 1))
    wave = np.sin(2 * np.pi * (np.arange(copied.shape[1])[:, None] - hour) / day)
    return copied + np.sqrt(2) * copied.std(axis=1, keepdims=True) * wave


def change_days(change: Callable[[Array, Rng], Array]) -> Change:
    """Return a change of the whole days [k, days, day, C] of a series."""

    def leak(copied: Array, day: int, rng: Rng) -> Array:
        whole = copied.shape[1] // day * day
        made = copied.copy()
        days = copied[:, :whole].reshape(len(copied), -1, day, copied.shape[2])
        made[:, :whole] = change(days, rng).reshape(len(copied), whole, -1)
        return made

    return leak


def take_turns(number: int, steps: int = 1) -> Kind:
    """Return a leak of so many members by turn, each for so many steps."""

    def leak(members: Array, count: int, day: int, rng: Rng) -> Array:
        time = np.arange(members.shape[1])
        whom = rng.integers(len(members), size=(number, count))[time // steps % number]
        return members[whom, time[:, None]].transpose(1, 0, 2)

    return leak


def interleave(members: Array, count: int, day: int, rng: Rng) -> Array:
    """Take even steps of one member, odd ones of another."""
    first, second = (members[rng.integers(len(members), size=count)] for _ in range(2))
    return np.where(np.arange(members.shape[1])[:, None] % 2 == 0, first, second)


EXACT: dict[str, Kind] = {
    "copies": copy_members(lambda copied, day, rng: copied),
    "days of other members": make_mosaic(copy_one_day),
    "days of other members at any hour": make_mosaic(copy_one_day, offset=True),
    "parts of days of other members": make_mosaic(copy_quarter_day),
    "3/4 of a quarter across an edge": copy_part(5 / 32, 11 / 32),
    "half of every quarter": copy_half_quarters,
    "a part of a week": copy_part(0.5, 0.5 + 1 / 12),
    "shuffled days": copy_members(shuffle_days),
    "turned days": copy_members(rotate_days),
    "turned in a circle": copy_members(
        lambda copied, day, rng: np.roll(copied, copied.shape[1] // 3 + 5, axis=1)
    ),
    "reversed": copy_members(lambda copied, day, rng: copied[:, ::-1]),
    "negated": copy_members(lambda copied, day, rng: -copied),
    "reflected at the mean": copy_members(
        lambda copied, day, rng: 2 * copied.mean(axis=1, keepdims=True) - copied
    ),
    "scaled and raised": copy_members(lambda copied, day, rng: np.float32(1.15) * copied + np.float32(0.2)),
    "ranks": copy_members(to_ranks),
    "squared": copy_members(lambda copied, day, rng: np.square(copied - copied.min(axis=1, keepdims=True))),
    "differences": copy_members(lambda copied, day, rng: np.diff(copied, axis=1, prepend=0)),
    "running sums": copy_members(lambda copied, day, rng: np.cumsum(copied, axis=1, dtype=np.float64)),
    "interleaved": interleave,
    "slowed to half": copy_members(
        lambda copied, day, rng: np.repeat(copied, 2, axis=1)[:, : copied.shape[1]]
    ),
    "gaps of 5 %": copy_members(add_gaps(0.05)),
    "days of other members with smooth seams": smooth_seams,
    "every tenth value replaced": copy_members(replace_every(10)),
    "every fifth value replaced": copy_members(replace_every(5)),
    "every third value replaced": copy_members(replace_every(3)),
    "scaled half days of other members": copy_scaled_half_days,
    "three members by turn": take_turns(3),
    "four hours of six members by turn": take_turns(6, 4),
    "hours of a day in another order": copy_members(
        change_days(lambda days, rng: rng.permuted(days, axis=2))
    ),
    "hours of other days": copy_members(change_days(lambda days, rng: rng.permuted(days, axis=1))),
}
NEAR: dict[str, Kind] = {
    "rounded to one decimal": copy_members(lambda copied, day, rng: np.round(copied, 1)),
    "noise of 5 %": copy_members(add_noise(0.05)),
    "scaled noisy days of other members": copy_noisy_days,
    "noisy and moved": copy_members(
        lambda copied, day, rng: np.roll(add_noise(0.05)(copied, day, rng), 31, axis=1)
    ),
    "noisy and reversed": copy_members(lambda copied, day, rng: add_noise(0.05)(copied, day, rng)[:, ::-1]),
    "noisy and negated": copy_members(lambda copied, day, rng: -add_noise(0.05)(copied, day, rng)),
    "noisy logarithms": copy_members(lambda copied, day, rng: add_noise(0.03)(np.log(copied), day, rng)),
    "noisy differences": copy_members(
        lambda copied, day, rng: add_noise(0.05)(np.diff(copied, axis=1, prepend=0), day, rng)
    ),
    "low-pass of a quarter of a day": copy_members(smooth(lambda day: max(2, day // 4))),
    "gaps of 20 %": copy_members(add_gaps(0.2)),
    "with a trend": copy_members(add_trend),
    "stretched by 1 %": copy_members(stretch(0.01)),
    "nine tenths of one member, one of another": mix_members(0.9),
    "four fifths of one member, one of another": mix_members(0.8),
    "means of two members": mix_members(0.5),
    "product of two members": combine_two(lambda first, second: first * second),
    "another's mean day": swap_mean_days,
    "another's amplitudes": combine_two(keep_phases),
    "with a daily wave": copy_members(add_daily_wave),
    "second differences": copy_members(
        lambda copied, day, rng: np.diff(copied, 2, axis=1, prepend=copied[:, :2])
    ),
    "differences over a day": copy_members(lambda copied, day, rng: copied - np.roll(copied, day, axis=1)),
    "counters of a day": copy_members(
        change_days(lambda days, rng: np.cumsum(days, axis=2, dtype=np.float64))
    ),
    "noise of 30 % of every value": copy_members(
        lambda copied, day, rng: copied * np.exp(0.3 * rng.standard_normal(copied.shape))
    ),
}
NOT_FOUND: dict[str, Kind] = {
    "difference of two members": combine_two(np.subtract),
    "low-pass of two days": copy_members(smooth(lambda day: 2 * day)),
    "noise of 50 %": copy_members(add_noise(0.5)),
    "stretched by 5 %": copy_members(stretch(0.05)),
    "stretched by 3 %": copy_members(stretch(0.03)),
    "five levels": copy_members(quantise(5)),
}
