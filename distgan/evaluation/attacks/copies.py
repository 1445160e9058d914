"""P1, P2, P3: does a synthetic series repeat a member's?

A copy lies closer than a fifth of what all but one in a hundred strangers keep from the members: one is a
leak, unless strangers are copied, too. Closer than half, quiet homes and smooth curves also come by chance:
there, so many members must be met that chance does not explain it.
"""

import numpy as np
from scipy import fft
from scipy.stats import binom

from distgan.evaluation.attacks.features import filled
from distgan.evaluation.attacks.rates import ERROR, NORMAL, NORMAL_SURE, Measured
from distgan.evaluation.attacks.scene import Array, Pair, Scene, Side, both_ways

COPY, NEAR = 0.2, 0.5  # of the strangers' distance that one in a hundred is below
QUANTILE = 0.01
SAME, SAME_SHAPE = 1e-6, 1e-3  # what rounding alone parts: series of size 1, and √(2 (1 − r))
BINS = 600  # lowest frequencies that choose candidates
CANDIDATES = 50
STRANGERS = 1000  # whose distances make the threshold of P2, at most
ROWS_AT_ONCE = 128
SPLITS_AGAIN = 400


def near(scene: Scene) -> tuple[Measured, str]:
    """P1: copies as they stand, up to noise.

    Each series is measured in its own size: in a population of sizes far apart, all that is small is near.
    """
    made, inside, outside = (
        own_size(series) for series in (scene.synthetic, scene.members.series, scene.strangers.series)
    )
    edge = kept(both_ways(outside, inside).there, SAME * np.sqrt(inside.shape[1]))
    members, strangers = both_ways(made, inside), both_ways(made, outside)
    found = (members.there / edge, members.there_place), (strangers.there / edge, strangers.there_place)
    return copied(scene, *found), f"the nearest is {found[0][0].min():.2f} times as far as strangers come"


def kept(distances: Array, rounding: float) -> float:
    """What all but one in a hundred strangers keep from the members: of those who are no member's equal, as
    flat series are of one another; above 0.
    """
    apart = distances[distances > rounding]
    return float(np.quantile(apart, QUANTILE)) if len(apart) else rounding


def own_size(series: Array) -> Array:
    """[n, L, C] -> [n, L·C], every channel of a series over its own root mean square."""
    values = filled(series)
    size = np.sqrt(np.square(values).mean(axis=1, keepdims=True))
    return (values / np.maximum(size, 1e-12)).reshape(len(values), -1)


def shifted(scene: Scene) -> tuple[Measured, str]:
    """P2: copies moved in time, scaled or raised: the best correlation over all shifts."""
    made, members, strangers = (
        Spectra.of(series) for series in (scene.synthetic, scene.members.series, scene.strangers.series)
    )
    chosen = scene.rng("strangers' likeness").permutation(len(scene.strangers.series))[:STRANGERS]
    edge = kept(alike(strangers.take(chosen), members)[0], SAME_SHAPE)
    (inside, place), (outside, other) = alike(made, members), alike(made, strangers)
    best, best_stranger = (1 - distance.min() ** 2 / 2 for distance in (inside, outside))
    note = f"best correlation over shifts {best:.3f} with a member, {best_stranger:.3f} with a stranger"
    return copied(scene, (inside / edge, place), (outside / edge, other)), note


Nearest = tuple[Array, Array]  # of each synthetic series: distance, in what strangers keep, and place


def copied(scene: Scene, inside: Nearest, outside: Nearest) -> Measured:
    """Members whom a synthetic series comes too near to, above what chance explains."""
    sides = ((scene.members, inside), (scene.strangers, outside))
    share = scene.members.num_owners / (scene.members.num_owners + scene.strangers.num_owners)
    most = 0.0
    for edge, one_is_chance in ((COPY, False), (NEAR, True)):
        members, strangers = (owners_hit(side, *nearest, edge) for side, nearest in sides)
        by_chance = one_is_chance or strangers > 0
        allowed = float(binom.ppf(1 - ERROR / 2, members + strangers, share)) if by_chance else 0.0
        most = max(most, members - allowed)
    return Measured.exactly(most, scene.members.num_owners)


def owners_hit(side: Side, distance: Array, place: Array, edge: float) -> int:
    return len(np.unique(side.owners[place[distance < edge]]))


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
