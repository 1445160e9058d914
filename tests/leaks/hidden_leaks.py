"""Releases that hide members' readings better than `fragment_leaks` do, as data: moved, warped or folded,
days made anew around what a member used on each or on the mean day, of another interval, parts of a member in
the series or the last digits of a new home.

The kinds are made as those of `fragment_leaks`. A new home is one of the artificial population.
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from tests.leaks.fragment_leaks import (
    Array,
    Change,
    Kind,
    Rng,
    add_noise,
    change_days,
    copy_members,
    copy_noisy_days,
    make_mosaic,
    repeat_mean_day,
    swap_mean_days,
    take_turns,
)
from tests.leaks.leak_scenarios import draw_homes, draw_series

Join = Callable[[Array, Array, int, Rng], Array]  # copied and new homes' series, steps of a day, rng
MOVED = 31  # steps


def join_new_homes(join: Join) -> Kind:
    """Return a leak in which each series is made of a member's and a new home's."""

    def leak(members: Array, count: int, day: int, rng: Rng) -> Array:
        copied = members[rng.choice(len(members), count, replace=count > len(members))]
        new = draw_series(draw_homes(count, rng), members.shape[1], rng)
        return join(copied, new, day, rng).astype(np.float32)

    return leak


def then(kind: Kind, change: Change) -> Kind:
    """Return a leak whose series are changed afterwards."""

    def leak(members: Array, count: int, day: int, rng: Rng) -> Array:
        return change(kind(members, count, day, rng), day, rng).astype(np.float32)

    return leak


def move(steps: Callable[[int], int] = lambda day: MOVED) -> Change:
    return lambda copied, day, rng: np.roll(copied, steps(day), axis=1)


def chain(*changes: Change) -> Change:
    """Return a change by several, one after the other."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        for each in changes:
            copied = each(copied, day, rng)
        return copied

    return change


def centre(copied: Array) -> Array:
    return copied - copied.mean(axis=1, keepdims=True)


def warp_time(steps: float) -> Change:
    """Return a change of time that runs faster and slower by turn, by so many steps' deviation."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        late = gaussian_filter1d(rng.standard_normal(copied.shape[:2]), 2 * day, axis=1)
        last = copied.shape[1] - 1
        place = np.clip(np.arange(last + 1) + steps * late / late.std(axis=1, keepdims=True), 0, last - 1e-3)
        low = place.astype(np.int64)
        weight, row = (place - low)[..., None], np.arange(len(copied))[:, None]
        return (1 - weight) * copied[row, low] + weight * copied[row, low + 1]

    return change


def hasten(part: float) -> Change:
    """Return a change that makes time faster by this part; at its end a series begins again."""

    def change(copied: Array, day: int, rng: Rng) -> Array:
        place = np.arange(copied.shape[1]) * (1 + part) % (copied.shape[1] - 1)
        low = place.astype(np.int64)
        weight = (place - low)[:, None]
        return (1 - weight) * copied[:, low] + weight * copied[:, low + 1]

    return change


def negate_hours(copied: Array, day: int, rng: Rng) -> Array:
    """Give every step a sign of its own, around the mean."""
    return centre(copied) * rng.choice([-1, 1], copied.shape)


def randomise_phases(copied: Array, day: int, rng: Rng) -> Array:
    """Keep the amplitudes of all frequencies, with random phases."""
    amplitudes = np.abs(np.fft.rfft(copied, axis=1))
    phases = np.exp(2j * np.pi * rng.random(amplitudes.shape))
    return np.fft.irfft(amplitudes * phases, n=copied.shape[1], axis=1)


def swap_amplitudes(copied: Array, other: Array) -> Array:
    """Give a series the phases of another's frequencies."""
    phases = np.exp(1j * np.angle(np.fft.rfft(other, axis=1)))
    return np.fft.irfft(np.abs(np.fft.rfft(copied, axis=1)) * phases, n=copied.shape[1], axis=1)


def find_peaks(copied: Array, part: float) -> Array:
    """Return whether each value is among the highest part of its series."""
    return np.asarray(copied > np.quantile(copied, 1 - part, axis=1, keepdims=True))


def keep_totals(steps_of: Callable[[int], int]) -> Join:
    """Return a new home's series with the totals of a member over so many steps."""

    def join(copied: Array, new: Array, day: int, rng: Rng) -> Array:
        steps = steps_of(day)
        whole = new.shape[1] // steps * steps
        shape = (len(new), -1, steps, new.shape[2])
        own, other = copied[:, :whole].reshape(shape), new[:, :whole].reshape(shape)
        made = new.copy()
        scaled = other / other.mean(axis=2, keepdims=True) * own.mean(axis=2, keepdims=True)
        made[:, :whole] = scaled.reshape(len(new), whole, -1)
        return made

    return join


def keep_values_of_days(copied: Array, new: Array, day: int, rng: Rng) -> Array:
    """Put the values of each day of a member into the order of a new home's day."""
    whole = new.shape[1] // day * day
    shape = (len(new), -1, day, new.shape[2])
    order = new[:, :whole].reshape(shape).argsort(axis=2).argsort(axis=2)
    made = new.copy()
    values = np.take_along_axis(np.sort(copied[:, :whole].reshape(shape), axis=2), order, axis=2)
    made[:, :whole] = values.reshape(len(new), whole, -1)
    return made


def take_when(chosen: Callable[[Array, int], Array]) -> Join:
    """Return a member's values, with noise, at the chosen steps, and a new home's at others."""

    def join(copied: Array, new: Array, day: int, rng: Rng) -> Array:
        when = chosen(np.arange(copied.shape[1]), day)[:, None]
        return np.where(when, NOISE(copied, day, rng), new)

    return join


def repeat_fifths(copied: Array, day: int, rng: Rng) -> Array:
    """Repeat every fifth step."""
    return np.repeat(copied, np.where(np.arange(copied.shape[1]) % 5, 1, 2), axis=1)[:, : copied.shape[1]]


def average_parts(copied: Array, day: int, rng: Rng) -> Array:
    """Replace every third of a day by its mean."""
    steps = day // 3
    whole = copied.shape[1] // steps * steps
    made = copied.copy()
    means = copied[:, :whole].reshape(len(copied), -1, steps, copied.shape[2]).mean(axis=2)
    made[:, :whole] = np.repeat(means, steps, axis=1)
    return made


def average_steps(copied: Array, steps: int) -> Array:
    """Average so many steps into one; at its end a series begins again."""
    whole = copied.shape[1] // steps * steps
    means = copied[:, :whole].reshape(len(copied), -1, steps, copied.shape[2]).mean(axis=2)
    return np.tile(means, (1, steps + 1, 1))[:, : copied.shape[1]]


def slow(part: float) -> Change:
    """Return a change that makes time slower by this part, on straight lines between the readings."""
    return hasten(1 / (1 + part) - 1)


def take_hours_of_members(members: Array, count: int, day: int, rng: Rng) -> Array:
    """Take every hour of the day from another member, each scaled."""
    hour = np.arange(members.shape[1]) % day
    whom = rng.integers(len(members), size=(day, count))[hour]
    scale = rng.uniform(0.5, 2, (day, count))[hour]
    return (members[whom, np.arange(len(hour))[:, None]] * scale[..., None]).transpose(1, 0, 2)


def hide_in_digits(copied: Array, new: Array, day: int, rng: Rng) -> Array:
    """Write a member's values, scaled, behind the first decimal of a new home's."""
    return np.round(new, 1) + 0.09 * copied / copied.max(axis=1, keepdims=True)


def hide_in_last_digit(copied: Array, new: Array, day: int, rng: Rng) -> Array:
    """Make the third decimal of a new home's values even where a member's are below the median."""
    return 0.002 * np.round(new / 0.002) + 0.001 * find_peaks(copied, 0.5)


def move_peaks(copied: Array, new: Array, day: int, rng: Rng) -> Array:
    """Turn each day of a new home so that its peak is at the hour of the member's."""
    whole = new.shape[1] // day * day
    shape = (len(new), -1, day, new.shape[2])
    own, other = (each[:, :whole].reshape(shape) for each in (copied, new))
    late = own.argmax(axis=2, keepdims=True) - other.argmax(axis=2, keepdims=True)
    made = new.copy()
    turned = np.take_along_axis(other, (np.arange(day)[None, None, :, None] - late) % day, axis=2)
    made[:, :whole] = turned.reshape(len(new), whole, -1)
    return made


def exchange_days_and_hours(days: Array, rng: Rng) -> Array:
    """Put the first hours of all days in a row, then the second ones: [k, days, day, C]."""
    return days.transpose(0, 2, 1, 3).reshape(days.shape)


def project_members(number: int) -> Kind:
    """Return a leak of members in so many principal components of all members."""

    def leak(members: Array, count: int, day: int, rng: Rng) -> Array:
        rows = members.reshape(len(members), -1)
        mean = rows.mean(axis=0)
        axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:number]
        copied = rows[rng.choice(len(rows), count, replace=count > len(rows))] - mean
        return (mean + copied @ axes.T @ axes).reshape(count, *members.shape[1:]).astype(np.float32)

    return leak


NOISE = add_noise(0.05)
NEAR: dict[str, Kind] = {
    "hastened by 3 %": copy_members(hasten(0.03)),
    "time warped by three hours": copy_members(warp_time(3)),
    "moved, noise of 30 %": copy_members(chain(add_noise(0.3), move())),
    "half a step late, moved": copy_members(
        chain(lambda copied, day, rng: (copied + np.roll(copied, 1, axis=1)) / 2, move())
    ),
    "another's mean day, a day late": then(swap_mean_days, move(lambda day: day)),
    "hours of the day scaled, a day late": copy_members(
        chain(
            change_days(lambda days, rng: days * rng.uniform(0.3, 3, (len(days), 1, days.shape[2], 1))),
            move(lambda day: day),
        )
    ),
    "half a new home's, a day late": join_new_homes(
        lambda copied, new, day, rng: np.roll(copied, day, axis=1) + new
    ),
    "signs of every hour's own": copy_members(negate_hours),
    "noisy days of random signs": copy_members(
        chain(
            lambda copied, day, rng: centre(copied),
            change_days(lambda days, rng: days * rng.choice([-1, 1], (*days.shape[:2], 1, 1))),
            add_noise(0.1),
        )
    ),
    "distances from the mean": copy_members(lambda copied, day, rng: np.abs(centre(copied))),
    "amplitudes with random phases": copy_members(randomise_phases),
    "on at the highest tenth": copy_members(lambda copied, day, rng: find_peaks(copied, 0.1) * 1.0),
    "values of each day sorted, with noise": copy_members(
        chain(change_days(lambda days, rng: np.sort(days, axis=2)), NOISE)
    ),
    "noisy values of each day in a new home's order": then(join_new_homes(keep_values_of_days), NOISE),
    "daily totals in a new home": join_new_homes(keep_totals(lambda day: day)),
    "totals of thirds of days in a new home": join_new_homes(keep_totals(lambda day: day // 3)),
    "means over thirds of days": copy_members(average_parts),
    "noisy half days of other members": then(make_mosaic(lambda day: day // 2), NOISE),
    "mean day, with noise": copy_members(
        chain(lambda copied, day, rng: repeat_mean_day(copied, day), NOISE),
    ),
    "mean day, and a new home's deviations": join_new_homes(
        lambda copied, new, day, rng: new * repeat_mean_day(copied, day) / repeat_mean_day(new, day)
    ),
    "means of two hours, twice as fast": copy_members(lambda copied, day, rng: average_steps(copied, 2)),
    "means of four hours, four times as fast": copy_members(
        lambda copied, day, rng: average_steps(copied, 4)
    ),
    "every hour of the day of another member, scaled": take_hours_of_members,
    "in the digits of a new home": join_new_homes(hide_in_digits),
}
NOT_FOUND: dict[str, Kind] = {
    "noisy peaks in a new home": join_new_homes(
        lambda copied, new, day, rng: np.where(
            find_peaks(copied, 0.1),
            copied * np.exp(0.1 * rng.standard_normal(copied.shape)),
            np.minimum(new, np.quantile(copied, 0.9, axis=1, keepdims=True)),
        )
    ),
    "noisy half days in a new home": join_new_homes(take_when(lambda time, day: time // (day // 2) % 2 == 0)),
    "amplitudes with a new home's phases": join_new_homes(
        lambda copied, new, day, rng: swap_amplitudes(copied, new)
    ),
    "moved, noise of 50 %": copy_members(chain(add_noise(0.5), move())),
    "every fifth hour twice, with noise": copy_members(chain(repeat_fifths, NOISE)),
    "noise of 60 % of every value": copy_members(
        lambda copied, day, rng: copied * np.exp(0.6 * rng.standard_normal(copied.shape))
    ),
    "days in another order, noise of 40 %": copy_members(
        chain(change_days(lambda days, rng: days[:, rng.permutation(days.shape[1])]), add_noise(0.4))
    ),
    "on above the median, with noise": copy_members(
        chain(lambda copied, day, rng: find_peaks(copied, 0.5) * 1.0, add_noise(0.1))
    ),
    "medians of nine hours, with noise": copy_members(
        chain(lambda copied, day, rng: median_filter(copied, (1, 9, 1)), add_noise(0.1))
    ),
    "noisy evenings in a new home": join_new_homes(take_when(lambda time, day: time % day >= day * 3 // 4)),
    "every third hour in a new home, with noise": join_new_homes(take_when(lambda time, day: time % 3 == 0)),
    "three members by turn, with noise": then(take_turns(3), NOISE),
    "noisy quarter days of other members": then(make_mosaic(lambda day: day // 4), NOISE),
    "two members by half days, with noise": then(take_turns(2, 12), add_noise(0.1)),
    "days of other members, noise of 30 %": then(copy_noisy_days, add_noise(0.3)),
    "30 principal components of the members": project_members(30),
    "slowed to half, with noise": copy_members(chain(slow(1), NOISE)),
    "means of six hours, six times as fast": copy_members(lambda copied, day, rng: average_steps(copied, 6)),
    "in the last digit of a new home": join_new_homes(hide_in_last_digit),
    "hours of the peaks in a new home": join_new_homes(move_peaks),
    "days and hours exchanged, with noise": copy_members(chain(change_days(exchange_days_and_hours), NOISE)),
}
