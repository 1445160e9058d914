"""P4, P5, P9, P10, P11: who was trained on? A score for every owner, higher for members if anything leaks."""

import numpy as np

from distgan.evaluation.attacks import rates, tracing
from distgan.evaluation.attacks.attack_data import Array, AttackData
from distgan.evaluation.attacks.rates import Measured

GUESSES = (30, 100, 300, 1000)  # of the audit
FEWEST = 20  # on either side, to say anything of an exposure

Scores = tuple[Array, Array]  # of the members and of the non-members, series by series
Exposed = list[tuple[str, Measured]]


def of_owners(attack_data: AttackData, scores: Scores) -> Scores:
    """Each owner's most telling series."""
    return attack_data.members.highest(scores[0]), attack_data.non_members.highest(scores[1])


def auc(attack_data: AttackData, scores: Scores) -> tuple[Measured, Exposed]:
    """Over all owners, and by exposure."""
    inside, outside = of_owners(attack_data, scores)
    exposed = [
        (name, rates.auc(inside[who], outside[whom]))
        for name, (who, whom) in attack_data.exposures.items()
        if min(who.sum(), whom.sum()) >= FEWEST
    ]
    return rates.auc(inside, outside), exposed


def found_at(attack_data: AttackData, scores: Scores, false_rate: float) -> Measured:
    return rates.hits_at(*of_owners(attack_data, scores), false_rate, attack_data.rng("ties of the scores"))


def over_all_series(attack_data: AttackData, scores: Scores) -> Measured:
    """P11: an owner's mean over all series or windows."""
    return rates.auc(attack_data.members.mean(scores[0]), attack_data.non_members.mean(scores[1]))


def audit(attack_data: AttackData, attacks: list[Scores]) -> tuple[Measured, Exposed]:
    """P10: the lower bound on ε that these attacks prove, over all owners and by exposure.

    In place of planted canaries stand the owners themselves: the random split was the coin, so that as many
    non-members as members are guessed from. One training is enough (Steinke et al. 2023).
    """
    size = attack_data.members.num_owners, attack_data.non_members.num_owners
    groups = {"all": tuple(np.ones(number, bool) for number in size), **attack_data.exposures}
    error = rates.ERROR / len(attacks) / len(groups)
    order = [attack_data.rng("audited members").permutation(number) for number in size]
    rng, proved = attack_data.rng("ties of the audit"), []
    for name, chosen in groups.items():
        picked = [places[keep[places]] for places, keep in zip(order, chosen)]
        bound = max(
            rates.audit(inside[picked[0]], outside[picked[1]], attack_data.delta, GUESSES, error, rng)
            for inside, outside in (of_owners(attack_data, scores) for scores in attacks)
        )
        proved.append((name, Measured.exactly(bound, min(map(len, picked)))))
    return proved[0][1], proved[1:]


def of_tracing(attack: tracing.Attack) -> Measured:
    """P6: the tracing attack on the bank, as any other."""
    sure = attack.auc - (attack.auc - attack.low) * rates.NORMAL_SURE / rates.NORMAL
    return Measured(attack.auc, attack.low, attack.high, sure, attack.entities, attack.non_members)
