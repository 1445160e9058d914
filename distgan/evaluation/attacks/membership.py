"""P4, P5, P9, P10, P11: who was trained on? A score for every owner, higher for members if anything leaks."""

from collections.abc import Mapping

import numpy as np

from distgan.evaluation.attacks import rates, tracing
from distgan.evaluation.attacks.attack_data import Array, AttackData
from distgan.evaluation.attacks.rates import IntervalEstimate

GUESSES = (30, 100, 300, 1000)  # of the audit
FEWEST = 20  # on either side, to say anything of an exposure

Scores = tuple[Array, Array]  # of the members and of the non-members, series by series
Exposed = list[tuple[str, IntervalEstimate]]


def score_owners(attack_data: AttackData, scores: Scores) -> Scores:
    """Return each owner's highest score."""
    return attack_data.members.take_highest(scores[0]), attack_data.non_members.take_highest(scores[1])


def measure_auc(attack_data: AttackData, scores: Scores) -> tuple[IntervalEstimate, Exposed]:
    """Measure the AUC over all owners, and by exposure."""
    inside, outside = score_owners(attack_data, scores)
    return rates.estimate_auc(inside, outside), _measure_parts(attack_data.exposures, inside, outside)


def measure_auc_by_value(attack_data: AttackData, scores: Scores) -> Exposed:
    """Measure the AUC among the owners who have a value of an attribute, for each value."""
    return _measure_parts(attack_data.by_value, *score_owners(attack_data, scores))


def _measure_parts(parts: Mapping[str, tuple[Array, Array]], inside: Array, outside: Array) -> Exposed:
    return [
        (name, rates.estimate_auc(inside[who], outside[whom]))
        for name, (who, whom) in parts.items()
        if min(who.sum(), whom.sum()) >= FEWEST
    ]


def measure_found(attack_data: AttackData, scores: Scores, false_rate: float) -> IntervalEstimate:
    return rates.estimate_hits(
        *score_owners(attack_data, scores), false_rate, attack_data.make_rng("ties of the scores")
    )


def measure_mean_auc(attack_data: AttackData, scores: Scores) -> IntervalEstimate:
    """Measure P11: the AUC of an owner's mean over all series or windows."""
    return rates.estimate_auc(
        attack_data.members.average(scores[0]), attack_data.non_members.average(scores[1])
    )


def audit(attack_data: AttackData, attacks: list[Scores]) -> tuple[IntervalEstimate, Exposed]:
    """Measure P10: the lower bound on ε that these attacks prove, over all owners and by exposure.

    In place of planted canaries stand the owners themselves: the random split was the coin, so that as many
    non-members as members are guessed from. One training is enough (Steinke et al. 2023).
    """
    size = attack_data.members.num_owners, attack_data.non_members.num_owners
    groups = {"all": tuple(np.ones(number, bool) for number in size), **attack_data.exposures}
    error = rates.ERROR / len(attacks) / len(groups)
    order = [attack_data.make_rng("audited members").permutation(number) for number in size]
    rng, proved = attack_data.make_rng("ties of the audit"), []
    for name, chosen in groups.items():
        picked = [places[keep[places]] for places, keep in zip(order, chosen)]
        bound = max(
            rates.audit_epsilon(inside[picked[0]], outside[picked[1]], attack_data.delta, GUESSES, error, rng)
            for inside, outside in (score_owners(attack_data, scores) for scores in attacks)
        )
        proved.append((name, IntervalEstimate.from_exact(bound, min(map(len, picked)))))
    return proved[0][1], proved[1:]


def convert_tracing(attack: tracing.Attack) -> IntervalEstimate:
    """Return P6, the tracing attack on the bank, in the form of the other attacks."""
    sure = rates.widen_low(attack.auc, attack.low)
    return IntervalEstimate(attack.auc, attack.low, attack.high, sure, attack.members, attack.non_members)
