"""P1, P2, P3: does a synthetic series repeat a member's?

A near copy lies closer than half of what all but one in a hundred strangers keep from the members. Strangers
show how often that happens by chance: more copies of members than of strangers are a leak.
"""

import numpy as np
from scipy import fft
from scipy.stats import binom

from distgan.evaluation.attacks.features import filled
from distgan.evaluation.attacks.rates import ERROR, NORMAL, NORMAL_SURE, Measured
from distgan.evaluation.attacks.scene import Array, Pair, Scene, Side, both_ways

NEAR, QUANTILE = 0.5, 0.01  # half of the strangers' distance that one in a hundred is below
BINS = 600  # lowest frequencies that choose candidates
CANDIDATES = 50
STRANGERS = 1000  # whose distances make the threshold of P2, at most
ROWS_AT_ONCE = 128
SPLITS_AGAIN = 400


def near(scene: Scene) -> tuple[Measured, str]:
    """P1: copies as they stand, up to noise."""
    edge = NEAR * float(np.quantile(scene.between.there, QUANTILE))
    members, strangers = scene.to_members, scene.to_strangers
    copied = copied_owners(scene.members, members.there < edge, members.there_place)
    by_chance = copied_owners(scene.strangers, strangers.there < edge, strangers.there_place)
    least = members.there.min() / max(strangers.there.min(), 1e-12)
    return excess(scene, copied, by_chance), f"the nearest copy is {least:.2f} times as far as a stranger's"


def shifted(scene: Scene) -> tuple[Measured, str]:
    """P2: copies moved in time, scaled or raised: the best correlation over all shifts."""
    made, members, strangers = (
        Spectra.of(series) for series in (scene.synthetic, scene.members.series, scene.strangers.series)
    )
    chosen = scene.rng("strangers' likeness").permutation(len(scene.strangers.series))[:STRANGERS]
    edge = NEAR * float(np.quantile(alike(strangers.take(chosen), members)[0], QUANTILE))
    (inside, place), (outside, other) = alike(made, members), alike(made, strangers)
    copied = copied_owners(scene.members, inside < edge, place)
    by_chance = copied_owners(scene.strangers, outside < edge, other)
    best, best_stranger = (1 - distance.min() ** 2 / 2 for distance in (inside, outside))
    note = f"best correlation over shifts {best:.3f} with a member, {best_stranger:.3f} with a stranger"
    return excess(scene, copied, by_chance), note


def copied_owners(side: Side, hits: Array, places: Array) -> int:
    """How many owners a synthetic series comes too near to."""
    return len(np.unique(side.owners[places[hits]]))


def excess(scene: Scene, copied: int, by_chance: int) -> Measured:
    """Copied members above what chance explains: all, if no stranger is copied."""
    sizes = scene.members.num_owners, scene.strangers.num_owners
    allowed = 0.0
    if by_chance:  # of all copied, as many members as a share of the owners gives, with chance
        allowed = float(binom.ppf(1 - ERROR / 2, copied + by_chance, sizes[0] / sum(sizes)))
    return Measured.exactly(max(0.0, copied - allowed), sizes[0])


# ------------------------------------------------------------------------------------------- over all shifts


class Spectra:
    """Fourier transforms of standardised series, all channels together: [n, F, C] complex64."""

    def __init__(self, transforms: Array, length: int) -> None:
        self.transforms, self.length = transforms, length
        sizes = np.abs(transforms[:, 1 : BINS + 1]).reshape(len(transforms), -1)
        self.sizes = sizes / np.maximum(np.linalg.norm(sizes, axis=1, keepdims=True), 1e-12)

    @classmethod
    def of(cls, series: Array) -> "Spectra":
        values = filled(series)
        values = values - values.mean(axis=1, keepdims=True)
        scale = np.sqrt(np.square(values).sum(axis=(1, 2), keepdims=True))
        return cls(fft.rfft(values / np.maximum(scale, 1e-12), axis=1), series.shape[1])

    def take(self, rows: Array) -> "Spectra":
        return Spectra(self.transforms[rows], self.length)


def alike(first: Spectra, second: Spectra) -> tuple[Array, Array]:
    """For each of the first the most like of the second over all shifts in a circle: √(2 (1 − r)), place.

    The sizes of the lowest frequencies, which no shift changes, choose candidates; the correlation at every
    shift, which is the inverse transform of the product of two transforms, decides.
    """
    distance, place = np.empty(len(first.sizes)), np.empty(len(first.sizes), np.int64)
    count = min(CANDIDATES, len(second.sizes))
    for start in range(0, len(distance), ROWS_AT_ONCE):
        span = slice(start, start + ROWS_AT_ONCE)
        likeness = first.sizes[span] @ second.sizes.T
        few = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        products = np.einsum("nfc,nkfc->nkf", first.transforms[span], second.transforms[few].conj())
        best = fft.irfft(products, n=first.length, axis=2).max(axis=2)
        chosen = best.argmax(axis=1)
        rows = np.arange(len(few))
        distance[span] = np.sqrt(np.maximum(2 - 2 * best[rows, chosen], 0))
        place[span] = few[rows, chosen]
    return distance, place


# ---------------------------------------------------------------------------------------- which is nearer


def nearer_share(scene: Scene) -> tuple[Measured, str]:
    """P3: the share of synthetic series that are nearer to a member than to a stranger, of equal numbers.

    A few real series are nearest to many synthetic ones, so a share is less sure than its number of series
    says: its interval comes from parting the owners anew at random.
    """
    size = min(scene.members.num_owners, scene.strangers.num_owners)
    (inside, owner), (outside, other) = (
        _nearest_of(scene, side, pair, size)
        for side, pair in ((scene.members, scene.to_members), (scene.strangers, scene.to_strangers))
    )
    closer = inside < outside
    share = float(closer.mean())
    owners = np.where(closer, owner, scene.members.num_owners + other)
    weights = np.unique(owners, return_counts=True)[1]
    sides = scene.rng("splits again").random((SPLITS_AGAIN, len(weights))) < 0.5
    error = float((sides @ weights / weights.sum()).std())
    low, high, sure = share - NORMAL * error, share + NORMAL * error, share - NORMAL_SURE * error
    found = Measured(share, max(low, 0.0), min(high, 1.0), max(sure, 0.0), size)
    return found, f"interval from {SPLITS_AGAIN} random re-splits"


def _nearest_of(scene: Scene, side: Side, pair: Pair, size: int) -> tuple[Array, Array]:
    """Of each synthetic series the distance to the nearest of `size` random owners, and that owner."""
    if side.num_owners == size:
        return pair.there, side.owners[pair.there_place]
    rows = np.flatnonzero((scene.rng("as many owners").permutation(side.num_owners) < size)[side.owners])
    fewer = both_ways(scene.rows(scene.synthetic), scene.rows(side.series[rows]))
    return fewer.there, side.owners[rows[fewer.there_place]]
