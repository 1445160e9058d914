"""P1, P2, P3: does a synthetic series repeat a member's?

A copy lies closer than a fifth of what all but one in a hundred strangers keep from the members: one is a
leak, unless strangers are copied, too, or series are of so few numbers that a stranger may come as near.
Closer than half, quiet homes and smooth curves also come by chance: there, so many members must be met that
chance does not explain it.

P1 and P2 look at whole series, at every quarter of their length and, of several channels, at each alone. The
look that finds most counts, and what chance may explain is widened for the number of looks (Bonferroni).
"""

from collections.abc import Callable
from dataclasses import replace

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
QUARTERS = "first", "second", "third", "last"
FEWEST = 24  # steps of a quarter: fewer are alike by chance
QUIET = 0.1  # of its series' deviation: a stretch that varies less, as of an empty home, tells of nobody
KNOWN = 0.5  # of what either has, that two series with gaps must share to be compared
ROWS_AT_ONCE = 128
SPLITS_AGAIN = 400


# ----------------------------------------------------------------------------------------- what is looked at


Part = tuple[str, slice, slice]  # its name, steps and channels
Look = Callable[[Scene, int], tuple[Measured, str]]  # at a scene, one of so many looks


def parts(length: int, channels: int) -> list[Part]:
    """The whole series, the quarters of its length, and each of several channels alone. A quarter has so many
    steps as are quick to transform: 540 of 547, a prime.
    """
    every = slice(None)
    found = [("whole series", every, every)]
    quarter = length // len(QUARTERS)
    if quarter >= FEWEST:
        quick = next(steps for steps in range(quarter, 0, -1) if fft.next_fast_len(steps) == steps)
        starts = (length * place // len(QUARTERS) for place in range(len(QUARTERS)))
        found += [(f"{name} quarter", slice(at, at + quick), every) for name, at in zip(QUARTERS, starts)]
    if channels > 1:
        found += [(f"channel {place + 1}", every, slice(place, place + 1)) for place in range(channels)]
    return found


def worst(look: Look, scene: Scene) -> tuple[Measured, str]:
    """The part of the series of which most is found; the first, which is the whole, if all find as much."""
    every = parts(*scene.synthetic.shape[1:])
    found = []
    for name, steps, channels in every:
        seen = scene if name == every[0][0] else only(scene, steps, channels)
        measured, note = look(seen, len(every))
        found.append((measured, f"{name}: {note}"))
    return max(found, key=lambda told: told[0].value)


def only(scene: Scene, steps: slice, channels: slice) -> Scene:
    """The scene with a part of every series; what is quiet there is a gap."""

    def cut(series: Array) -> Array:
        part = series[:, steps, channels]
        told, whole = filled(part), filled(series[..., channels])
        least = QUIET * whole.std(axis=1, keepdims=True) + SAME * np.abs(whole).max(axis=1, keepdims=True)
        return np.where(told.std(axis=1, keepdims=True) > least, part, np.float32(np.nan))

    members, strangers = (replace(side, series=cut(side.series)) for side in (scene.members, scene.strangers))
    return replace(scene, members=members, strangers=strangers, synthetic=cut(scene.synthetic))


# --------------------------------------------------------------------------------------------- as they stand


Nearest = tuple[Array, Array]  # of each series: distance, in what strangers keep, and place


def near(scene: Scene) -> tuple[Measured, str]:
    """P1: copies as they stand, up to noise, of a whole series or of a part.

    Each series is measured in its own size: in a population of sizes far apart, all that is small is near.
    """
    return worst(_near, scene)


def _near(scene: Scene, looks: int) -> tuple[Measured, str]:
    made, members, strangers = scene.synthetic, scene.members.series, scene.strangers.series
    between = nearest(strangers, members)[0]
    edge = kept(between, SAME * np.sqrt(members[0].size))
    inside, outside = nearest(made, members, edge), nearest(made, strangers, edge)
    found = copied(scene, inside, outside, between / edge, looks, verbatim=True)
    return found, f"the nearest is {inside[0].min():.2f} times as far as strangers come"


def nearest(first: Array, second: Array, edge: float = 1.0) -> Nearest:
    """Of each of the first the nearest of the second: chosen with gaps filled, measured without them."""
    place = both_ways(own_size(first), own_size(second)).there_place
    return apart(first, second[place]) / edge, place


def apart(first: Array, second: Array) -> Array:
    """Distances of pairs of series in their own sizes, over the places that both have, scaled up to all:
    [n, L, C] twice -> [n]; infinite where they share too few.
    """
    known = ~np.isnan(first) & ~np.isnan(second)
    shared = known.sum(axis=(1, 2))
    most = np.maximum(*((~np.isnan(each)).sum(axis=(1, 2)) for each in (first, second)))
    one, other = (own_size(np.where(known, each, np.float32(np.nan))) for each in (first, second))
    distance = np.linalg.norm((one - other) * known.reshape(len(known), -1), axis=1)
    scaled = distance * np.sqrt(first[0].size / np.maximum(shared, 1))
    return np.where((shared > 0) & (shared >= KNOWN * most), scaled, np.inf)


def kept(distances: Array, rounding: float) -> float:
    """What all but one in a hundred strangers keep from the members: of those who are no member's equal, as
    flat series are of one another; above 0.
    """
    unequal = distances[(distances > rounding) & np.isfinite(distances)]
    return float(np.quantile(unequal, QUANTILE)) if len(unequal) else rounding


def own_size(series: Array) -> Array:
    """[n, L, C] -> [n, L·C], every channel of a series over its own root mean square."""
    values = filled(series)
    size = np.sqrt(np.square(values).mean(axis=1, keepdims=True))
    return (values / np.maximum(size, 1e-12)).reshape(len(values), -1)


def copied(
    scene: Scene, inside: Nearest, outside: Nearest, between: Array, looks: int, verbatim: bool = False
) -> Measured:
    """Members whom a synthetic series comes too near to, above what chance explains, in one of so many looks;
    `between` is how near strangers come to members, 1 that of one in a hundred. Where smooth series come that
    near by chance, `verbatim` looks nearer still, where none would: one copy is too many there.
    """
    sides = ((scene.members, inside), (scene.strangers, outside))
    share = scene.members.num_owners / (scene.members.num_owners + scene.strangers.num_owners)
    most, error = 0.0, ERROR / 2 / looks
    edges = [(COPY, False), (NEAR, True)]
    if verbatim:
        edges.append((_beyond_chance(between, len(scene.synthetic), error), False))
    for edge, one_is_chance in edges:
        members, strangers = (owners_hit(side, *nearest, edge) for side, nearest in sides)
        met = len(scene.synthetic) * reached(between, edge)
        by_chance = one_is_chance or strangers > 0 or met > error
        allowed = float(binom.ppf(1 - error, members + strangers, share)) if by_chance else 0.0
        most = max(most, members - allowed)
    return Measured.exactly(most, scene.members.num_owners)


def _beyond_chance(between: Array, tries: int, error: float) -> float:
    """So near that none of so many synthetic series would come by chance; or no nearer than `COPY` helps."""
    for halvings in range(20):
        edge = COPY / 2**halvings
        if tries * reached(between, edge) <= error:
            return edge
    return COPY


def reached(between: Array, edge: float) -> float:
    """The share of strangers so near to a member, or what is to be expected of more of them: it grows as
    distance^d, with the d that a hundredth and a tenth tell.
    """
    between = between[np.isfinite(between)]
    if not len(between):
        return 1.0
    tenth = np.quantile(between, 10 * QUANTILE)
    dimensions = np.log(10) / np.log(tenth) if tenth > 1 else 0.0
    return max(float((between < edge).mean()), QUANTILE * edge**dimensions)


def owners_hit(side: Side, distance: Array, place: Array, edge: float) -> int:
    return len(np.unique(side.owners[place[distance < edge]]))


# ------------------------------------------------------------------------------------------- over all shifts


def shifted(scene: Scene) -> tuple[Measured, str]:
    """P2: copies moved in time, scaled or raised, of a whole series or of a part: the best correlation over
    all shifts.
    """
    return worst(_shifted, scene)


def _shifted(scene: Scene, looks: int) -> tuple[Measured, str]:
    made, members, strangers = (
        Spectra.of(series) for series in (scene.synthetic, scene.members.series, scene.strangers.series)
    )
    chosen = scene.rng("strangers' likeness").permutation(len(scene.strangers.series))[:STRANGERS]
    between = alike(strangers.take(chosen), members)[0]
    edge = kept(between, SAME_SHAPE)
    (inside, place), (outside, other) = alike(made, members), alike(made, strangers)
    best, best_stranger = (1 - distance.min() ** 2 / 2 for distance in (inside, outside))
    note = f"best correlation over shifts {best:.3f} with a member, {best_stranger:.3f} with a stranger"
    found = copied(scene, (inside / edge, place), (outside / edge, other), between / edge, looks)
    return found, note


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
