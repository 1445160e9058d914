"""P7, P8: linking, inferring and singling out, the three risks of the European regulators' opinion 05/2014.

Each attack is run on members and, the same way, on non-members; what counts is the residual risk, success on
members that success on non-members does not explain. Formulas after Anonymeter (Giomi et al. 2023).
"""

import numpy as np

from distgan.evaluation.attacks import features, rates
from distgan.evaluation.attacks.attack_data import Array, AttackData, find_nearest_both_ways
from distgan.evaluation.attacks.rates import IntervalEstimate

CLOSE = 0.05  # a guess within 5 % is right
FEWEST = 10  # targets on either side whom the commonest guess is wrong for; of fewer a secret tells nothing
PREDICATES = 10_000  # tried to single somebody out
CLUES = 3  # features in each of them
SPLITS_AGAIN = 200  # of the people, for the error


def measure_linkage(attack_data: AttackData) -> IntervalEstimate:
    """Run P7: are two halves of a member's series nearest to the halves of the same synthetic series?

    The attacker has both halves apart, from two sources, and the released series as the bridge. Halves are
    compared as the run's encoder sees them, the other half missing (or by interpretable features).
    """
    made = _describe_halves(attack_data, attack_data.synthetic)
    hits = []
    for side in (attack_data.members, attack_data.non_members):
        one = np.unique(side.owners, return_index=True)[1]  # a series of each: more would nearly always hit
        halves = zip(_describe_halves(attack_data, side.series[one]), made)
        first, second = (find_nearest_both_ways(own, other).there_place for own, other in halves)
        hits.append(first == second)
    return measure_residual_risk(hits[0], hits[1])


def _describe_halves(attack_data: AttackData, series: Array) -> tuple[Array, Array]:
    half = series.shape[1] // 2
    if attack_data.embed is None:
        return attack_data.describe(series[:, :half]), attack_data.describe(series[:, half:])
    first, second = series.copy(), series.copy()
    first[:, half:], second[:, :half] = np.nan, np.nan
    return attack_data.embed_series(first), attack_data.embed_series(second)


def measure_inference(attack_data: AttackData) -> list[tuple[str, IntervalEstimate]]:
    """Run P8: guess how much a target uses, in each channel, from the synthetic series most like it in shape.

    Targets for whom the same guess for all is right (the nights of solar panels are 0) have no secret there.
    """
    width = len(features.NAMES)
    members, non_members, made = attack_data.features
    truth = [
        side.average(_describe_plain(attack_data, side.series))
        for side in (attack_data.members, attack_data.non_members)
    ]
    answers = _describe_plain(attack_data, attack_data.synthetic)
    shape = [place for place in range(made.shape[1]) if place % width >= features.SIZES]
    guesses = [
        answers[find_nearest_both_ways(side[:, shape], made[:, shape]).there_place]
        for side in (members, non_members)
    ]
    right = [_is_close(guess, real) for guess, real in zip(guesses, truth)]
    secret = [~_is_close(np.median(answers, axis=0), real) for real in truth]
    secrets = []
    for place in np.flatnonzero(np.minimum(*(having.sum(axis=0) for having in secret)) >= FEWEST):
        name, channel = features.NAMES[place % width], place // width
        if name in features.SECRETS:
            whose = f" of channel {channel + 1}" if made.shape[1] > width else ""
            found = measure_residual_risk(
                *(hits[having[:, place], place] for hits, having in zip(right, secret))
            )
            secrets.append((name + whose, found))
    return secrets


def _is_close(guess: Array, real: Array) -> Array:
    return np.abs(guess - real) <= CLOSE * np.abs(real)


def _describe_plain(attack_data: AttackData, series: Array) -> Array:
    return features.describe(series, attack_data.steps_per_day)


def measure_singling_out(attack_data: AttackData) -> IntervalEstimate:
    """Run P8a: predicates from single synthetic series that fit exactly one of the members.

    A predicate is a box around a synthetic series in a few features drawn for it, of a width that fits about
    one of so many; the control is as many non-members. Predicates share the people, so the interval is
    no narrower than random splits of the same people into two sides show.
    """
    members, non_members, made = attack_data.features
    size = min(len(members), len(non_members))
    rng = attack_data.make_rng("predicates")
    rows = rng.integers(len(made), size=PREDICATES)
    clues = rng.permuted(np.tile(np.arange(made.shape[1]), (PREDICATES, 1)), axis=1)[:, :CLUES]
    half = size ** (-1 / CLUES)  # in quartile distances, in which the density is about one half
    people = np.concatenate([side[rng.permutation(len(side))[:size]] for side in (members, non_members)])
    predicate, person = _find_fitting(people, made[rows], clues, half)

    def single_out(side: Array) -> Array:
        """Return which predicates fit one of the people of a side alone: [2 size] bool -> [P] bool."""
        return np.bincount(predicate[side[person]], minlength=PREDICATES) == 1

    def compute_risk(inside: Array) -> float:
        success, control = single_out(inside).mean(), single_out(~inside).mean()
        return float((success - control) / max(1 - control, 1 / PREDICATES))

    inside = np.arange(2 * size) < size
    found = measure_residual_risk(single_out(inside), single_out(~inside))
    again = attack_data.make_rng("people split again")
    error = float(np.std([compute_risk(again.permutation(inside)) for _ in range(SPLITS_AGAIN)]))
    return found.widen(error, n=size)  # people, not predicates


def _find_fitting(people: Array, centres: Array, clues: Array, half: float) -> tuple[Array, Array]:
    """Return the pairs of a box and a person in it: [E, D], [P, D], [P, clues] -> two arrays of places."""
    ranked = people.astype(np.float32).T.copy()
    fitting = []
    for centre, chosen in zip(centres, clues):
        places = np.flatnonzero(np.abs(ranked[chosen[0]] - centre[chosen[0]]) <= half)
        for clue in chosen[1:]:
            places = places[np.abs(ranked[clue, places] - centre[clue]) <= half]
        fitting.append(places)
    return np.repeat(np.arange(len(fitting)), [len(places) for places in fitting]), np.concatenate(fitting)


def measure_residual_risk(members: Array, non_members: Array) -> IntervalEstimate:
    """Return the residual risk from the hits on either side: [E] bool each."""
    return rates.estimate_residual_risk(
        int(members.sum()), len(members), int(non_members.sum()), len(non_members)
    )
