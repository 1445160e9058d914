"""The data of an attacker: real series of members and non-members, the attacker's reference series, the
synthetic series.

*Members* are owners whose series were trained on; *non-members* were held out before anything was fitted. An
attack guesses who is a member; the leak is its success on members beyond that on non-members. The unit is the
owner: all series or windows of an owner are one.

Shapes: n series, L steps, C channels, E owners, D numbers of a description. NaN where missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from distgan.anonymity.code_means import average_by_code
from distgan.evaluation.attacks import features, tracing
from distgan.evaluation.attacks.released import ReleasedSeries
from distgan.rng import make_keyed_generator

Array = np.ndarray
Embed = Callable[[Array], Array]  # [n, L, C] in original units, NaN where missing -> [n, D]

FARTHEST = 0.2  # of the owners that count as outliers: enough for an interval
SMALLEST = 0.25  # of the members, in the smallest groups
ROWS_AT_ONCE = 512
FIRST = 3  # by products, among which the nearest is found exactly
DIRECTIONS = 8  # of the descriptions in which densities are compared
TINY = 1e-9


@dataclass(frozen=True)
class Side:
    """Real series, a code 0 .. E-1 of the owner of each, and the group of the bank that each is in or would
    be in.
    """

    series: Array  # [n, L, C] float32
    owners: Array  # [n] int64
    groups: Array | None = None  # [n] int64

    @staticmethod
    def from_series(series: Array, owners: Array | None = None, groups: Array | None = None) -> "Side":
        codes = np.arange(len(series)) if owners is None else np.unique(owners, return_inverse=True)[1]
        return Side(np.asarray(series, np.float32), codes, groups)

    @property
    def num_owners(self) -> int:
        return int(self.owners.max()) + 1 if len(self.owners) else 0

    @property
    def has_several(self) -> bool:
        """True if an owner has more than one series."""
        return self.num_owners < len(self.owners)

    def take_highest(self, scores: Array) -> Array:
        """Return each owner's highest score: [n] -> [E]."""
        best = np.full(self.num_owners, -np.inf)
        np.maximum.at(best, self.owners, scores)
        return best

    def average(self, scores: Array) -> Array:
        """Return each owner's mean: [n] or [n, D] -> [E] or [E, D]."""
        return average_by_code(scores, self.owners)


@dataclass(frozen=True)
class Pair:
    """The nearest of each set in the other: distances and places."""

    there: Array  # [n] distance of each of the first to the nearest of the second
    there_place: Array
    back: Array  # [m] distance of each of the second to the nearest of the first


@dataclass(frozen=True)
class DescribedSeries:
    """Attributes as they leave, a text for each series of the members, the non-members and the release: [n],
    [m], [k].
    """

    members: Array
    non_members: Array
    released: Array


@dataclass(frozen=True)
class AttackData:
    """All data that an attack may use. Intermediate results that several attacks need are computed once.

    Attributes:
        reference: the attacker's own real series, of neither side; may be empty.
        synthetic: the released series, or a random sample of them.
        released: all released series, where `synthetic` is a sample.
        embed: the run's own encoder, which the attacker is taken to have; by default interpretable features.
        traced: the tracing attack on the bank, by exposure, as it was run.
        static_auc: the bound of the same attack from group sizes, worst group.
        tracing_limit: the limit of both AUCs.
        guaranteed_auc, epsilon, delta: the guarantee of a private bank; None without one.
        white_box: name -> scores of the members' and the non-members' series by the run's networks.
        by_value: name of an attribute's value -> the members and the non-members who have it, [E] bool each.
        described: attributes of real and released series, where the release has a table of them.
    """

    members: Side
    non_members: Side
    reference: Array
    synthetic: Array
    steps_per_day: float
    embed: Embed | None = None
    traced: Sequence[tracing.Attack] = ()
    static_auc: float | None = None
    tracing_limit: float = 0.65
    guaranteed_auc: float | None = None
    epsilon: float | None = None
    delta: float = 1e-6
    white_box: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    seed: int = 0
    released: ReleasedSeries | None = None
    by_value: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    described: DescribedSeries | None = None

    @property
    def release(self) -> ReleasedSeries:
        """All released series, for an exact search."""
        return ReleasedSeries((self.synthetic,)) if self.released is None else self.released

    def make_rng(self, purpose: str) -> np.random.Generator:
        return make_keyed_generator(self.seed, 0, purpose)

    # --------------------------------------------------------------------------------------- series as rows

    @cached_property
    def _scale(self) -> tuple[Array, Array]:
        """Mean and deviation of each channel of the synthetic series, the only ones an attacker surely
        has.
        """
        mean, deviation = (
            measure(self.synthetic, axis=(0, 1), dtype=np.float64) for measure in (np.nanmean, np.nanstd)
        )
        return np.asarray(mean, np.float32), np.asarray(np.where(deviation > 0, deviation, 1), np.float32)

    def to_rows(self, series: Array) -> Array:
        """Return [n, L, C] -> [n, L·C] in deviations of the channel; a gap has the series' own mean."""
        centre, scale = self._scale
        return ((features.fill_gaps(series) - centre) / scale).reshape(len(series), -1)

    def find_nearest(self, series: Array) -> Pair:
        """Return the nearest of synthetic and of real series [m, L, C], over what is measured of these."""
        missing = np.isnan(series).reshape(len(series), -1)
        measured = ~missing if missing.any() else None
        return find_nearest_both_ways(self.to_rows(self.synthetic), self.to_rows(series), measured)

    @cached_property
    def to_members(self) -> Pair:
        """Synthetic series and members' series."""
        return self.find_nearest(self.members.series)

    @cached_property
    def to_non_members(self) -> Pair:
        return self.find_nearest(self.non_members.series)

    # -------------------------------------------------------------------------------------------- described

    @cached_property
    def _feature_scale(self) -> tuple[Array, Array]:
        """Median and quartile distance of the synthetic series' features."""
        values = features.describe(self.synthetic, self.steps_per_day)
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        spread = np.where(high > low, high - low, np.maximum(values.std(axis=0), 1e-9))
        return middle, spread

    def describe(self, series: Array) -> Array:
        """Return interpretable features in quartile distances of the synthetic ones', clipped far out: [n,
        D].
        """
        middle, spread = self._feature_scale
        return np.clip((features.describe(series, self.steps_per_day) - middle) / spread, -10, 10)

    @cached_property
    def features(self) -> tuple[Array, Array, Array]:
        """Features of the owners of both sides, their series averaged, and of the synthetic series."""
        sides = [side.average(self.describe(side.series)) for side in (self.members, self.non_members)]
        return sides[0], sides[1], self.describe(self.synthetic)

    def embed_series(self, series: Array) -> Array:
        return self.describe(series) if self.embed is None else np.asarray(self.embed(series), np.float64)

    # ------------------------------------------------------------------------------------------------ scores

    @cached_property
    def nearness(self) -> tuple[Array, Array]:
        """Scores of both sides' series: minus the distance to the nearest synthetic one, the black box of
        GAN-Leaks (Chen et al. 2020).
        """
        return -self.to_members.back, -self.to_non_members.back

    @cached_property
    def density(self) -> tuple[Array, Array]:
        """log p_synthetic(x) − log p_reference(x), as in DOMIAS (van Breugel et al. 2023).

        Densities are those of the nearest neighbour, p ∝ distance^−D, in the principal directions of what the
        encoder (or interpretable features) says of a series. Without reference series, p_synthetic alone.
        """
        sides = [self.embed_series(side.series) for side in (self.members, self.non_members)]
        made = self.embed_series(self.synthetic)
        turn, centre = _whiten(made)
        inside, outside, made = ((values - centre) @ turn for values in (*sides, made))
        scores = [-np.log(find_nearest_both_ways(side, made).there + TINY) for side in (inside, outside)]
        if len(self.reference):
            own = (self.embed_series(self.reference) - centre) @ turn
            for score, side in zip(scores, (inside, outside)):
                score += np.log(find_nearest_both_ways(side, own).there + TINY)
        return scores[0], scores[1]

    # --------------------------------------------------------------------------------------------- exposures

    @cached_property
    def exposures(self) -> dict[str, tuple[Array, Array]]:
        """Owners who are more exposed than others: name -> members and non-members, [E] bool each."""
        members, non_members, _ = self.features
        far = [
            np.linalg.norm(side - np.median(non_members, axis=0), axis=1) for side in (members, non_members)
        ]
        edge = np.quantile(np.concatenate(far), 1 - FARTHEST)
        found = {"outliers": (far[0] >= edge, far[1] >= edge)}
        if self.members.groups is not None and self.non_members.groups is not None:
            sizes = np.bincount(self.members.groups)
            order = np.argsort(sizes, kind="stable")
            reached = np.cumsum(sizes[order]) >= SMALLEST * sizes.sum()
            small = np.zeros(max(len(sizes), int(self.non_members.groups.max()) + 1), bool)
            small[order[: int(np.argmax(reached)) + 1]] = True
            inside = self.members.take_highest(small[self.members.groups]) > 0
            outside = self.non_members.take_highest(small[self.non_members.groups]) > 0
            found["smallest groups"] = (inside, outside)
        return found


def find_nearest_both_ways(first: Array, second: Array, measured: Array | None = None) -> Pair:
    """Find nearest neighbours between two sets of rows [n, D], [m, D] by Euclidean distance, in blocks.

    Products of float32 choose, then the differences themselves are measured: products cancel near a copy.
    Where only some numbers of the second set are `measured`, [m, D] bool, a distance is the root of the mean
    square of their differences, times the root of D.
    """
    first, second = (np.ascontiguousarray(rows, np.float32) for rows in (first, second))
    weights = None
    if measured is not None:
        weights = measured * np.sqrt(measured.shape[1] / np.maximum(measured.sum(1, keepdims=True), 1))
        weights = weights.astype(np.float32)
        second = second * weights
    squares = np.einsum("md,md->m", second, second)
    there, places = np.full(len(first), np.inf), np.zeros(len(first), np.int64)
    back, back_places = np.full(len(second), np.inf), np.zeros(len(second), np.int64)
    if not (len(first) and len(second)):
        return Pair(there, places, back)
    for start in range(0, len(first), ROWS_AT_ONCE):
        block = first[start : start + ROWS_AT_ONCE]
        distances = squares - 2 * (block @ (second if weights is None else second * weights).T)
        distances += (
            np.einsum("nd,nd->n", block, block)[:, None]
            if weights is None
            else np.square(block) @ np.square(weights).T
        )
        span = slice(start, start + len(block))
        there[span], places[span] = _find_nearest(block, second, distances, weights)
        nearest = distances.argmin(axis=0)
        lowest = distances[nearest, np.arange(len(second))]
        better = lowest < back
        back[better], back_places[better] = lowest[better], nearest[better] + start
    for start in range(0, len(second), ROWS_AT_ONCE):
        span = slice(start, start + ROWS_AT_ONCE)
        nearest_rows = first[back_places[span]]
        if weights is not None:
            nearest_rows = nearest_rows * weights[span]
        back[span] = np.linalg.norm(nearest_rows - second[span], axis=1)
    return Pair(there, places, back)


def _whiten(values: Array) -> tuple[Array, Array]:
    """Return principal directions of [n, D] in which it has unit variance, [D, d], and the mean."""
    centre = values.mean(axis=0)
    _, sizes, vectors = np.linalg.svd((values - centre) / np.sqrt(len(values)), full_matrices=False)
    keep = (sizes > 1e-6 * max(sizes[0], TINY)) & (np.arange(len(sizes)) < DIRECTIONS)
    return vectors[keep].T / sizes[keep], centre


def _find_nearest(
    block: Array, others: Array, distances: Array, weights: Array | None
) -> tuple[Array, Array]:
    """Return distance and place of the nearest of `others`, exact among the first few by products."""
    count = min(FIRST, len(others))
    few = np.argpartition(distances, count - 1, axis=1)[:, :count]
    own = block[:, None] if weights is None else block[:, None] * weights[few]
    exact = np.linalg.norm(others[few] - own, axis=2)
    best = exact.argmin(axis=1)
    rows = np.arange(len(block))
    return exact[rows, best], few[rows, best]
