"""Leak scenarios that test the battery: an artificial population, a release of it without leaks, and releases
with leaks.

Every home has eight numbers of its own (size, rhythms, noise), drawn from one distribution; its series is a
draw given those. A release without leaks holds new homes only, so nothing of a member is in it. Each leak
scenario is a known or likely mistake; the battery must refuse every one of them, and pass the release without
leaks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from distgan.anonymity import clustering, faiss_backend
from distgan.anonymity.clustering import KMeans
from distgan.anonymity.dp import mechanism
from distgan.evaluation.attacks import tracing
from distgan.evaluation.attacks.attack_data import Array, AttackData, Side
from distgan.evaluation.attacks.released import ReleasedSeries
from distgan.evaluation.attacks.tracing import Sample
from distgan.rng import make_keyed_generator
from tests.leaks.fragment_leaks import Kind

NUMBERS = 8  # of a home
STEPS_PER_DAY = 24
SHARE = 0.01  # of the synthetic series that a leak replaces
GROUPS = 10
CANARIES, FAR = 40, 6.0  # homes that are unlike all others, in deviations
WIDE = 256  # numbers of a wide latent, as the upstream fork's
PROBES = 4
EPSILON, DELTA, TOO_LITTLE = 0.5, 1e-6, 0.1  # of the promise, and the part of its noise that is drawn


def draw_homes(count: int, rng: np.random.Generator) -> Array:
    """Draw [count, 8] standard normal numbers."""
    return rng.standard_normal((count, NUMBERS))


def draw_series(numbers: Array, length: int, rng: np.random.Generator) -> Array:
    """Draw a series for each home: [n, 8] -> [n, length, 1] float32, positive, hourly."""
    size, day, night, week, hour, weekday, noise, memory = numbers.T[:, :, None]
    time = np.arange(length)[None]
    daily = np.exp(0.3 * day - 0.5) * np.sin(2 * np.pi * (time - 8 - 2 * hour) / STEPS_PER_DAY)
    halved = 0.3 * np.exp(0.3 * night) * np.sin(4 * np.pi * (time - 2 * hour) / STEPS_PER_DAY)
    weekly = 0.2 * week * np.sin(2 * np.pi * (time - 24 * weekday) / (7 * STEPS_PER_DAY))
    left = rng.standard_normal((len(numbers), length), dtype=np.float32)
    keep = 0.5 + 0.4 * np.tanh(memory)
    for step in range(1, length):
        left[:, step] = keep[:, 0] * left[:, step - 1] + np.sqrt(1 - keep[:, 0] ** 2) * left[:, step]
    values = np.exp(0.4 * size + daily + halved + weekly + 0.4 * np.exp(0.2 * noise) * left)
    return values[..., None].astype(np.float32)


@dataclass(frozen=True)
class Population:
    """The artificial homes of every side, and synthetic series of new homes, without leaks."""

    members: Array  # [n, 8]
    non_members: Array
    attack_data: AttackData  # the honest release

    @staticmethod
    def draw(owners: int = 3000, length: int = 336, seed: int = 0) -> "Population":
        rng = make_keyed_generator(seed, 0, "made population")
        made = [draw_homes(count, rng) for count in (owners, owners, owners // 3, owners)]
        drawn = [draw_series(numbers, length, rng) for numbers in made]
        attack_data = AttackData(
            members=Side.from_series(drawn[0]),
            non_members=Side.from_series(drawn[1]),
            reference=drawn[2],
            synthetic=drawn[3],
            steps_per_day=STEPS_PER_DAY,
            seed=seed,
        )
        return Population(made[0], made[1], with_bank(attack_data, made[0], made[1], GROUPS))


def map_series(attack_data: AttackData, change: Callable[[Array], Array]) -> AttackData:
    """Return the attack data with all its series changed: members', non-members', the attacker's,
    synthetic.
    """
    members, non_members = (
        replace(side, series=change(side.series)) for side in (attack_data.members, attack_data.non_members)
    )
    released = attack_data.released
    if released is not None:
        released = ReleasedSeries(tuple(change(block) for _, block in released.iterate_blocks()))
    return replace(
        attack_data,
        released=released,
        members=members,
        non_members=non_members,
        reference=change(attack_data.reference),
        synthetic=change(attack_data.synthetic),
    )


def with_bank(
    attack_data: AttackData, members: Array, non_members: Array, groups: int, heavy: Array | None = None
) -> AttackData:
    """Add a bank of k-means on the homes' numbers, with its attack; `heavy` members dominate their group."""
    search = KMeans(iterations=10, restarts=1, seed=attack_data.seed)
    found = clustering.run_kmeans(lambda: iter([members]), groups, search=search)
    inside = found.assignment
    beside = faiss_backend.find_nearest_centroid(non_members, found.centroids)
    weights = np.ones(len(members))
    if heavy is not None:
        weights[heavy] = len(members)
    weights /= np.bincount(inside, weights=weights)[inside]
    means = np.stack([np.bincount(inside, weights=weights * column) for column in members.T], axis=1)
    effective = 1 / np.bincount(inside, weights=weights**2)
    return replace(
        attack_data,
        members=replace(attack_data.members, groups=inside),
        non_members=replace(attack_data.non_members, groups=beside),
        traced=run_tracing(Sample(members, inside), Sample(non_members, beside), means, attack_data),
        static_auc=bound_tracing_auc(NUMBERS, float(effective.min())),
    )


def bound_tracing_auc(released: int, members: float) -> float:
    """Return Φ(√(d/k)/√2) of the tracing attack on a mean of k latents: as of normal noise √(k/d) wide."""
    return mechanism.compute_tracing_bound((members / released) ** 0.5)


def run_tracing(
    members: Sample, non_members: Sample, means: Array, attack_data: AttackData
) -> list[tracing.Attack]:
    limit = attack_data.tracing_limit
    return tracing.run_attack(members, non_members, means, limit=limit, farthest=0.2, seed=attack_data.seed)


# ------------------------------------------------------------------------------------------------------ leaks


Change = Callable[[Array, np.random.Generator], Array]


def copy_some(change: Change, first: float = 0, last: float = 1) -> Callable[[Population], AttackData]:
    """Return a leak in which one in a hundred synthetic series is a member's, changed, over all or a part of
    its length.
    """

    def leak(population: Population) -> AttackData:
        attack_data, rng = population.attack_data, population.attack_data.make_rng("planted copies")
        made = attack_data.synthetic.copy()
        count = round(SHARE * len(made))
        whom = rng.choice(len(attack_data.members.series), count, replace=False)
        steps = slice(round(first * made.shape[1]), round(last * made.shape[1]))
        made[:count, steps] = change(attack_data.members.series[whom], rng)[:, steps]
        return replace(attack_data, synthetic=made)

    return leak


def add_channel(attack_data: AttackData) -> AttackData:
    """Add a second channel to every series, of a home of its own."""
    rng = attack_data.make_rng("second channel")

    def widen(values: Array) -> Array:
        return np.concatenate(
            [values, draw_series(draw_homes(len(values), rng), values.shape[1], rng)], axis=2
        )

    return map_series(attack_data, widen)


def copy_one_channel(population: Population) -> AttackData:
    """Copy a member's second channel to one in a hundred synthetic series of two channels."""
    attack_data = add_channel(population.attack_data)
    made = attack_data.synthetic.copy()
    copied = copy_some(lambda copied, rng: copied)(replace(population, attack_data=attack_data)).synthetic
    made[..., 1] = copied[..., 1]
    return replace(attack_data, synthetic=made)


def add_noise(part: float) -> Change:
    """Return a change that adds noise of so large a part of each series' deviation."""

    def change(copied: Array, rng: np.random.Generator) -> Array:
        size = part * copied.std(axis=1, keepdims=True)
        return copied + size * rng.standard_normal(copied.shape, dtype=np.float32)

    return change


def release_memorised(population: Population) -> AttackData:
    """Release series of a generator that returns its training series with 1 % of noise."""
    attack_data = population.attack_data
    rng = attack_data.make_rng("memorised")
    whom = rng.integers(len(attack_data.members.series), size=len(attack_data.synthetic))
    return replace(attack_data, synthetic=add_noise(0.01)(attack_data.members.series[whom], rng))


def release_singletons(population: Population) -> AttackData:
    """Release many clusters without a minimum size: some groups are one home."""
    return with_bank(
        population.attack_data, population.members, population.non_members, len(population.members) // 5
    )


def release_canaries(population: Population) -> AttackData:
    """Release groups dominated by homes unlike all others: no limit on one entity's share."""
    members = population.members.copy()
    rng = population.attack_data.make_rng("canaries")
    whom = rng.choice(len(members), CANARIES, replace=False)
    directions = rng.standard_normal((CANARIES, NUMBERS))
    members[whom] = FAR * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return with_bank(population.attack_data, members, population.non_members, GROUPS, heavy=whom)


def release_wide_probes(population: Population) -> AttackData:
    """Release conditions as the upstream fork does: the mean of four latents as wide as the series."""
    attack_data = population.attack_data
    members, non_members = (
        side.series[:, :WIDE, 0].astype(np.float64) for side in (attack_data.members, attack_data.non_members)
    )
    inside, beside = attack_data.members.groups, attack_data.non_members.groups
    assert inside is not None and beside is not None
    rng = attack_data.make_rng("probes")
    probes = [rng.choice(np.flatnonzero(inside == group), PROBES) for group in range(int(inside.max()) + 1)]
    averaged = np.isin(np.arange(len(members)), np.concatenate(probes))
    means = np.stack([members[rows].mean(axis=0) for rows in probes])
    attacks = run_tracing(Sample(members, inside, averaged), Sample(non_members, beside), means, attack_data)
    return replace(attack_data, traced=attacks, static_auc=bound_tracing_auc(WIDE, PROBES))


def release_noisy_bank(population: Population, noise: float) -> AttackData:
    """Release a bank of groups of 30 that promises ε = 0.5, with `noise` times the noise that this takes."""
    multiplier = mechanism.compute_multiplier(EPSILON, DELTA)
    promised = mechanism.compute_tracing_bound(multiplier)
    attack_data, members, non_members = population.attack_data, population.members, population.non_members
    number = len(members) // 30
    inside, beside = (np.arange(len(side)) % number for side in (members, non_members))
    sums = np.stack([np.bincount(inside, weights=column) for column in members.T], axis=1)
    drawn = attack_data.make_rng("noise of the bank").standard_normal(sums.shape)
    radius = np.sqrt(NUMBERS)  # a home's numbers are about so long
    means = (sums + noise * multiplier * radius * drawn) / np.bincount(inside)[:, None]
    attacks = run_tracing(Sample(members, inside), Sample(non_members, beside), means, attack_data)
    return replace(
        attack_data,
        traced=attacks,
        epsilon=EPSILON,
        guaranteed_auc=promised,
        static_auc=bound_tracing_auc(NUMBERS, 30),
    )


def read_by_coarse_meters(attack_data: AttackData) -> AttackData:
    """Return the attack data as coarse meters measure them: steps of 0.001, quiet nights on two levels of
    standby in 40 % of the homes, and 10 % of the days empty, with zeros.
    """
    rng = attack_data.make_rng("meters")

    def read(series: Array) -> Array:
        length = series.shape[1]
        quiet = rng.random((len(series), 1, 1)) < 0.4
        night = (np.arange(length) % STEPS_PER_DAY < STEPS_PER_DAY // 4)[None, :, None]
        standby = 0.003 + 0.001 * rng.integers(0, 2, series.shape)
        days = rng.random((len(series), -(-length // STEPS_PER_DAY), 1)) < 0.1
        empty = np.repeat(days, STEPS_PER_DAY, axis=1)[:, :length]
        values = np.where(empty, 0, np.where(quiet & night, standby, 0.2 * series))
        return np.round(values, 3).astype(np.float32)

    return map_series(attack_data, read)


def insert_fragments(kind: Kind, share: float = SHARE) -> Callable[[Population], AttackData]:
    """Return a leak in which a share of the synthetic series, one at least, are fragments of members'
    series.
    """

    def leak(population: Population) -> AttackData:
        attack_data, rng = population.attack_data, population.attack_data.make_rng("planted fragments")
        made = attack_data.synthetic.copy()
        count = max(1, round(share * len(made)))
        made[:count] = kind(attack_data.members.series, count, STEPS_PER_DAY, rng)
        return replace(attack_data, synthetic=made)

    return leak


Leak = Callable[[Population], AttackData]
IN_SERIES: dict[str, Leak] = {
    "1 % copies": copy_some(lambda copied, rng: copied),
    "1 % scaled copies": copy_some(lambda copied, rng: np.float32(1.15) * copied),
    "1 % shifted copies": copy_some(lambda copied, rng: np.roll(copied, STEPS_PER_DAY, axis=1)),
    "1 % noisy copies": copy_some(add_noise(0.05)),
    "1 % copies of half a series": copy_some(lambda copied, rng: copied, 0, 0.5),
    "1 % copies of a quarter of a series": copy_some(lambda copied, rng: copied, 0.5, 0.75),
    "1 % copies of one channel": copy_one_channel,
    "a memorising generator": release_memorised,
}
IN_BANK: dict[str, Leak] = {
    "singleton groups": release_singletons,
    "four wide probes": release_wide_probes,
    "too little noise for the promise": lambda population: release_noisy_bank(population, TOO_LITTLE),
    "canaries carry their groups": release_canaries,
}
