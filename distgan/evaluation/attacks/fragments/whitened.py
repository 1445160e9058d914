"""The whitened search: does a whole series of the release go with one real owner's against all others?

A series is brought to normal scores (which no increasing map of its values changes), and its spectrum to one
height (which no filter that leaves the phases changes). What is left is as good as noise of its own, so that
whole series of two owners are hardly correlated, and a copy is seen under much that was added to it: another
owner's readings, noise of half the deviation, another day's course, few levels. Views of the scores show what
is left where values were folded, changed their signs, or stand at their peaks only.

Correlations, of either sign, are measured against those with the other owners: beyond the `REFERENCE`-th
highest of a released series they are as rare as of normal numbers. So a sum of a few members shows each of
them, and one of many shows none: an aggregate. Shapes: n rows, L steps, F frequencies, b rows of a block, E
entities.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.special import ndtri
from scipy.stats import rankdata

from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.fragments.points import KNOWN, SAME, fill_gaps
from distgan.evaluation.attacks.fragments.windows import Rows, iterate_blocks

FREQUENCIES = 256  # of a row, at most: a random choice of those it has
FEWEST_FREQUENCIES = 32
SMOOTHED = 32  # parts of the spectrum over which its height is averaged
FEWEST_TELLING, PART_TELLING = 32, 1 / 16  # steps that make a whitened row's variance: all, and of its length
REFERENCE = 5  # owners with the highest correlations, of which the last is what chance reaches
FEWEST_ENTITIES = 4 * REFERENCE  # of which rows tell something
EXPONENT = 8  # of the power law that ratios then have by chance, as those of `near` have
AT_ONCE = 2**23  # correlations
HIGHEST = 0.1  # of the values of a row, which are its peaks

View = Callable[[Array], Array]  # of rows without gaps
Turn = Callable[[Array, Array], Array]  # of spectra [n, F], with their frequencies in turns a step [F]


def keep(rows: Array) -> Array:
    return rows


def to_normal_scores(rows: Array) -> Array:
    """Return what a normal number of the same rank in its row would be; equal values have their mean rank:
    [n, L] -> [n, L] float32.
    """
    ranks = rankdata(rows, axis=1)
    return np.asarray(ndtri((ranks - 0.5) / rows.shape[1]), np.float32)


def take_peaks(rows: Array) -> Array:
    """Return the normal scores of the highest tenth, and one value, that of their mean rank, of others."""
    scores = to_normal_scores(rows)
    return np.where(scores > ndtri(1 - HIGHEST), scores, np.float32(ndtri((1 - HIGHEST) / 2)))


def fold(rows: Array) -> Array:
    """Return how far normal scores are from 0."""
    return np.abs(to_normal_scores(rows))


def _take_differences(rows: Array) -> Array:
    return np.diff(rows, axis=1, prepend=rows[:, :1])


def _leave(spectra: Array, turns: Array) -> Array:
    return spectra


def delay(spectra: Array, turns: Array) -> Array:
    """Return the spectra of rows that begin a step earlier."""
    return spectra * np.exp(2j * np.pi * turns).astype(np.complex64)


def reverse(spectra: Array, turns: Array) -> Array:
    """Return the spectra of the reversed rows."""
    return delay(spectra.conj(), turns)


@dataclass(frozen=True)
class Direction:
    """How real and released rows are seen, and how released rows are changed before they are whitened, and
    their spectra afterwards.
    """

    real: View = to_normal_scores
    made: View = to_normal_scores
    change: Callable[[Array], Array] = keep
    turn: Turn = _leave


DIRECTIONS = {
    "whitened": Direction(),
    "whitened, a step late": Direction(turn=delay),
    "whitened, reversed": Direction(turn=reverse),
    "whitened, sums": Direction(change=_take_differences),
    "whitened, peaks": Direction(real=take_peaks, made=take_peaks),
    "whitened, folded": Direction(real=fold),
    "whitened, whatever the signs": Direction(real=fold, made=fold),
}


@dataclass(frozen=True)
class Compared:
    """Values of the real rows that tell something, in the order of their entities, [n, F]: the entity of
    each, [n], the entities, [e], and where each begins, [e].
    """

    values: Array
    entities: Array
    known: Array
    edges: Array

    @staticmethod
    def select(values: Array, entities: Array, telling: Array) -> "Compared":
        """Take the telling rows of those in the order of their entities."""
        known, edges = np.unique(entities[telling], return_index=True)
        return Compared(values[telling], entities[telling], known, edges)

    @property
    def is_enough(self) -> bool:
        return len(self.known) >= FEWEST_ENTITIES


@dataclass(frozen=True)
class Spectra:
    """Whitened spectra of all rows at a random choice of frequencies, of no one's knowledge; each is kept."""

    rows: Rows
    kept: dict[object, Array] = field(default_factory=dict)

    @cached_property
    def chosen(self) -> Array:
        """Places of the frequencies, from that of one turn a row on: [F]."""
        return np.sort(np.random.default_rng(0).permutation(self.rows.length // 2)[:FREQUENCIES])

    @property
    def turns(self) -> Array:
        """The frequencies in turns a step, [F]."""
        return (self.chosen + 1) / self.rows.length

    @cached_property
    def order(self) -> Array:
        """Real rows in the order of their entities, [n]."""
        return np.argsort(self.rows.entities, kind="stable")

    def of_real(self, view: View = to_normal_scores) -> Compared:
        """Return the spectra of the real rows."""
        if ("real", view) not in self.kept:
            self.kept["real", view] = whiten(self.rows.real, self.chosen, view)[self.order]
        spectra = self.kept["real", view]
        return Compared.select(spectra, self.rows.entities[self.order], np.any(spectra, axis=1))

    def of_made(self, view: View = to_normal_scores, change: Callable[[Array], Array] = keep) -> Array:
        """Return the spectra of the released rows: [m, F] complex64."""
        if (view, change) not in self.kept:
            self.kept[view, change] = whiten(change(self.rows.synthetic), self.chosen, view)
        return self.kept[view, change]

    def spread(self, real: Compared, ratios: Array) -> Array:
        """Return the ratio of each entity, infinity of those that tell nothing: [e] -> [E]."""
        found = np.full(len(self.rows.side), np.inf)
        found[real.known] = ratios
        return found


def can_whiten(rows: Rows) -> bool:
    """Return whether rows are long enough to be whitened, and any are released."""
    return rows.length // 2 >= FEWEST_FREQUENCIES and len(rows.synthetic) > 0


def find_whitened(spectra: Spectra) -> Iterator[tuple[str, Array]]:
    """Yield by direction each entity's least ratio, infinity where it is not among the nearest: [E]."""
    for name, direction in DIRECTIONS.items():
        real = spectra.of_real(direction.real)
        if real.is_enough:
            made = direction.turn(cap(spectra.of_made(direction.made, direction.change)), spectra.turns)
            yield (
                name,
                spectra.spread(real, compare(to_unit(made), to_unit(leave_own(real.values)), real.edges)),
            )


def leave_own(spectra: Array) -> Array:
    """Return spectra without lines and without what all have in common, as holidays."""
    capped = cap(spectra)
    return np.asarray(capped - capped.mean(axis=0))


def compare(made: Array, real: Array, edges: Array) -> Array:
    """Return each entity's least ratio of all released rows; real rows are in the order of their entities,
    which begin at `edges`: [m, 2F], [n, 2F], [e] -> [e].
    """
    found = np.full(len(edges), np.inf)
    usual = float(ndtri(1 - REFERENCE / len(edges)))
    for span in iterate_blocks(np.broadcast_to(np.float32(0), (len(made), len(real))), AT_ONCE):
        alike = np.maximum.reduceat(np.abs(made[span] @ real.T), edges, axis=1)
        lower_ratios(found, alike, np.arange(len(edges)), usual)
    return found


def lower_ratios(found: Array, alike: Array, entities: Array, usual: float) -> None:
    """Lower each entity's least ratio, [E], by how far its likeness to released rows, [b, k], is beyond that
    of the `REFERENCE`-th; a normal number that is so rare is `usual`. `entities` are of the columns, [k], or
    of each place, [b, k].
    """
    highest = np.argpartition(-alike, REFERENCE - 1, axis=1)[:, :REFERENCE]
    values = np.take_along_axis(alike, highest, axis=1).astype(np.float64)
    least = values.min(axis=1, keepdims=True)
    known = least[:, 0] > 1e-6
    beyond = np.square(values[known] / least[known]) - 1
    ratios = np.exp(-(usual**2) / (2 * EXPONENT) * beyond)
    who = np.take_along_axis(np.broadcast_to(entities, alike.shape), highest, axis=1)
    np.minimum.at(found, who[known], ratios)


def whiten(rows: Array, chosen: Array, view: View = to_normal_scores) -> Array:
    """Return the chosen frequencies of the whitened rows, 0 of a row that tells too little: [n, L] -> [n, F]
    complex64.
    """
    found = np.zeros((len(rows), len(chosen)), np.complex64)
    for span in iterate_blocks(rows, AT_ONCE):
        values, gaps = fill_gaps(rows[span])
        seen = view(values)
        varies = np.ptp(seen, axis=1) > SAME * np.abs(seen).max(axis=1)  # else rounding makes a spectrum
        spectra = np.fft.rfft(seen, axis=1)[:, 1:]
        power = np.square(np.abs(spectra))
        width = max(9, 2 * (power.shape[1] // SMOOTHED) + 1)
        height = uniform_filter1d(power, width, axis=1, mode="nearest")
        height += 1e-3 * power.mean(axis=1, keepdims=True) + 1e-20
        spectra /= np.sqrt(height)
        telling = count_telling(cap(spectra), rows.shape[1])
        tells = varies & (gaps.mean(axis=1) <= 1 - KNOWN) & (telling >= _need(rows))
        found[span] = np.where(tells[:, None], spectra[:, chosen], 0)
    return found


def _need(rows: Array) -> float:
    return max(FEWEST_TELLING, PART_TELLING * rows.shape[1])


def cap(spectra: Array) -> Array:
    """Bring lines, as of the day, down to the other frequencies."""
    return spectra / np.maximum(np.abs(spectra), 1)


def count_telling(spectra: Array, length: int) -> Array:
    """Return how many steps make the variance of each row with these frequencies: [n, F] -> [n]. Of a home
    that is empty but for one evening these are few, and others have them by chance.
    """
    squares = np.square(np.fft.irfft(np.pad(spectra, ((0, 0), (1, 0))), length, axis=1))
    mean = squares.mean(axis=1)
    return np.asarray(length * mean**2 / np.maximum(np.square(squares).mean(axis=1), 1e-30))


def to_unit(spectra: Array) -> Array:
    """Return rows of unit length whose products are correlations: [n, F] complex -> [n, 2F] float32."""
    return scale_rows(np.concatenate([spectra.real, spectra.imag], axis=1))


def scale_rows(values: Array) -> Array:
    """Return rows, along the last axis, of unit length; zeros stay: any shape, float32."""
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), np.float32(1e-9)))
