"""The battery: every attack with its statistic and its limit, as data; and the verdict.

An attack is *over* its limit if the upper end of its 95 % interval is: what is not shown to be safe does not
pass. With fewer than `EVIDENCE` members or non-members that is *insufficient* evidence instead, unless even
the lower end, widened for all attacks together (Bonferroni), is over. `alarm` attacks go by that lower end
alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

from distgan.evaluation.attacks import copies, fragments, inference, membership
from distgan.evaluation.attacks.attack_data import AttackData
from distgan.evaluation.attacks.rates import Measured
from distgan.evaluation.comparisons import WORDS
from distgan.evaluation.results import AttackGroup, AttackResult, Evidence, Figure, Outcome, PrivacyResult
from distgan.progress import Progress

EVIDENCE = 3000  # 0 of so many bounds a rate at 0.12 %: what one in a thousand needs
MOST_PROVED = 1.0  # ε that attacks may prove, where none is promised

PASS: Final = "pass"
OVER: Final = "over"
INSUFFICIENT: Final = "insufficient"
TOLD: Final = "report"
SKIPPED: Final = "skipped"
Rule = Literal["limit", "evidence", "alarm", "report"]

OURS = "this project's; no regulator fixes one"
FOUND_MORE = "members found minus non-members"  # a statistic that counts people
RISK = "EMA policy 0070 and Health Canada: re-identification risk of at most 0.09"


@dataclass(frozen=True)
class Found:
    """What an attack gave: over all owners, by exposure; None where it was not tried, which is too little
    evidence for one that is `needed`. The note leaves with a release, so it says nothing of few people; the
    detail may, and stays with the run.
    """

    measured: Measured | None
    groups: Sequence[tuple[str, Measured]] = ()
    note: str = ""
    limit: float | None = None  # where it depends on the bank
    needed: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Attack:
    """One line of the battery. `rule`: see the module; `evidence` needs the evidence whatever comes out."""

    id: str
    title: str
    statistic: str
    limit: float | None
    source: str
    function: Callable[[AttackData], Found]
    rule: Rule = "limit"


# ------------------------------------------------------------------------------------- attacks as lines of it


def _note_attack(attack: Callable[[AttackData], tuple[Measured, str]], attack_data: AttackData) -> Found:
    measured, note = attack(attack_data)
    return Found(measured, note=note)


def _fragments(
    attack: Callable[[AttackData], tuple[Measured, list[tuple[str, Measured]], str]], attack_data: AttackData
) -> Found:
    measured, groups, detail = attack(attack_data)
    return Found(measured, groups, detail=detail)


def _auc(scores: str, attack_data: AttackData) -> Found:
    measured, groups = membership.auc(attack_data, getattr(attack_data, scores))
    return Found(
        measured, groups, "" if attack_data.members.has_several else "one series an owner: user level"
    )


def _found_at(scores: str, false_rate: float, attack_data: AttackData) -> Found:
    return Found(membership.found_at(attack_data, getattr(attack_data, scores), false_rate))


def _over_all_series(scores: str, attack_data: AttackData) -> Found:
    if not attack_data.members.has_several:
        return Found(None, note="every owner has one series: as P4 and P5")
    return Found(membership.over_all_series(attack_data, getattr(attack_data, scores)))


def _tracing(attack_data: AttackData) -> Found:
    if not attack_data.traced:
        missing = attack_data.static_auc is not None
        return Found(None, note="too few non-members of any group" if missing else "no bank", needed=missing)
    groups = [(attack.exposure, membership.of_tracing(attack)) for attack in attack_data.traced]
    return Found(groups[0][1], groups[1:], limit=attack_data.tracing_limit)


def _static(attack_data: AttackData) -> Found:
    if attack_data.static_auc is None:
        return Found(None, note="no bank")
    note = "of the smallest group; the attacker knows a target's exact latent and the population's mean"
    bound = Measured.exactly(attack_data.static_auc, attack_data.members.num_owners)
    return Found(bound, note=note, limit=attack_data.tracing_limit)


def _promise_limit(attack_data: AttackData) -> Found:
    if attack_data.guaranteed_auc is None or not attack_data.traced:
        return Found(None, note="the bank promises no differential privacy")
    note = "no attack may surely succeed above what the promised noise allows"
    return replace(_tracing(attack_data), note=note, limit=attack_data.guaranteed_auc)


def _inference(attack_data: AttackData) -> Found:
    secrets = inference.inference(attack_data)
    if not secrets:
        return Found(None, note="location, base load and peak are the same for most")
    name, worst = max(secrets, key=lambda secret: secret[1].high)
    return Found(worst, secrets, f"worst secret: {name}")


def _white_box(attack_data: AttackData) -> Found:
    if not attack_data.white_box:
        return Found(None, note="no networks beside the synthetic series")
    groups = [
        (name, membership.auc(attack_data, scores)[0]) for name, scores in attack_data.white_box.items()
    ]
    return Found(max(groups, key=lambda group: group[1].value)[1], groups, "these weights stay private")


def _audit(attack_data: AttackData) -> Found:
    measured, groups = membership.audit(attack_data, [attack_data.nearness, attack_data.density])
    note = "the random split of the owners is the coin; no canaries were inserted"
    return Found(measured, groups, note, limit=attack_data.epsilon)


AUC, FEW, FEWER = 0.60, 0.03, 0.01
NEAREST, DENSITY = "Nearest synthetic series", "Density ratio"
BATTERY = (
    Attack(
        "P1",
        "Copied windows",
        FOUND_MORE,
        0,
        OURS,
        partial(_fragments, fragments.search_exact),
        "alarm",
    ),
    Attack(
        "P2",
        "Near copies of windows",
        FOUND_MORE,
        0,
        OURS,
        partial(_fragments, fragments.search_near),
        "alarm",
    ),
    Attack(
        "P3",
        "Nearer to members than to non-members",
        "share of synthetic series",
        0.55,
        OURS,
        partial(_note_attack, copies.nearer_share),
        "alarm",
    ),
    Attack("P4", NEAREST, "AUC", AUC, OURS, partial(_auc, "nearness")),
    Attack(
        "P4a", NEAREST, "members found at 1 % false alarms", FEW, OURS, partial(_found_at, "nearness", 0.01)
    ),
    Attack(
        "P4b",
        NEAREST,
        "members found at 0.1 % false alarms",
        FEWER,
        OURS,
        partial(_found_at, "nearness", 0.001),
        "evidence",
    ),
    Attack("P5", DENSITY, "AUC", AUC, OURS, partial(_auc, "density")),
    Attack(
        "P5a", DENSITY, "members found at 1 % false alarms", FEW, OURS, partial(_found_at, "density", 0.01)
    ),
    Attack("P6", "Membership inference on the bank's means", "AUC", 0.65, OURS, _tracing),
    Attack("P6a", "Membership inference on the bank's means, by theory", "AUC", 0.65, OURS, _static),
    Attack(
        "P6b", "Membership inference against the promised noise", "AUC", None, OURS, _promise_limit, "alarm"
    ),
    Attack(
        "P7",
        "Linking two halves of a series",
        "residual risk",
        0.09,
        RISK,
        lambda attack_data: Found(inference.linkage(attack_data)),
    ),
    Attack("P8", "Inferring a secret", "residual risk", 0.09, RISK, _inference),
    Attack(
        "P8a",
        "Singling out",
        "residual risk",
        0.09,
        RISK,
        lambda attack_data: Found(inference.singling_out(attack_data)),
    ),
    Attack("P9", "With the networks at hand", "AUC", None, OURS, _white_box, "report"),
    Attack("P10", "Audit of one training", "proved epsilon", MOST_PROVED, OURS, _audit, "alarm"),
    Attack("P11", "All series of an owner together", "AUC", AUC, OURS, partial(_over_all_series, "nearness")),
    Attack(
        "P11a",
        "All series of an owner together, density",
        "AUC",
        AUC,
        OURS,
        partial(_over_all_series, "density"),
    ),
)

CLAIMS = (
    "Attacks that failed are no proof that none succeeds: aggregation and attacks do not prove anonymity.",
    "What was attacked is the synthetic series and the bank. Encoder, discriminator, latents, clusters and "
    "the private tables were not cleared: they stay with the data's owner.",
)


# -------------------------------------------------------------------------------------------- the verdict


def run(
    attack_data: AttackData,
    attacks: Sequence[Attack] = BATTERY,
    claims: Sequence[str] = CLAIMS,
    progress: Callable[[str], None] = lambda line: None,
) -> PrivacyResult:
    """Run the attacks; what the report shows and the gate goes by. Numbers only, of nobody alone."""
    enough = min(attack_data.members.num_owners, attack_data.non_members.num_owners) >= EVIDENCE
    every = []
    with Progress("attacks", len(attacks), "attacks") as done:
        for attack in attacks:
            every.append(make_result(attack, attack.function(attack_data), enough))
            done.advance()
            progress(line(every[-1]))
    found = [each for each in every if each.outcome not in (TOLD, SKIPPED)]
    outcomes = [each.outcome for each in found]
    outcome: Literal["pass", "over", "insufficient"]
    outcome = OVER if OVER in outcomes else INSUFFICIENT if INSUFFICIENT in outcomes else PASS
    evidence = Evidence(
        members=attack_data.members.num_owners,
        non_members=attack_data.non_members.num_owners,
        synthetic=len(attack_data.synthetic),
        needed=EVIDENCE,
    )
    return PrivacyResult(
        outcome=outcome,
        sentence=sentence(outcome, found, evidence),
        attacks=found,
        others=[each for each in every if each.outcome in (TOLD, SKIPPED)],  # without a limit, or not tried
        claims=list(claims),
        evidence=evidence,
    )


def make_result(attack: Attack, found: Found, enough: bool) -> AttackResult:
    """Return an attack's line of the result."""
    limit = attack.limit if found.limit is None else found.limit
    return AttackResult(
        **dict(figure(found.measured)),
        id=attack.id,
        title=attack.title,
        statistic=attack.statistic,
        limit=limit,
        source=attack.source,
        outcome=judged(attack.rule, found, limit, enough),
        groups=[AttackGroup(**dict(figure(each)), name=name) for name, each in found.groups],
        note=found.note,
        detail=found.detail,
    )


def figure(measured: Measured | None) -> Figure:
    """What was measured, for the result; where nothing was, `n` is 0."""
    if measured is None:
        return Figure(n=0, value=None, low=None, high=None)
    return Figure(
        n=measured.n,
        non_members=measured.others,
        value=measured.value,
        low=measured.low,
        high=measured.high,
    )


def judged(rule: Rule, found: Found, limit: float | None, enough: bool) -> Outcome:
    """Over all owners and in every exposure; the worst counts."""
    if found.measured is None:
        return INSUFFICIENT if found.needed else SKIPPED
    if rule == "report" or limit is None:
        return TOLD
    every = [found.measured, *(measured for _, measured in found.groups)]
    if any(measured.sure > limit for measured in every):
        return OVER
    ends = [measured.sure if rule == "alarm" else measured.high for measured in every]
    if not all(end <= limit for end in ends):  # said so that NaN does not slip through
        return OVER if enough else INSUFFICIENT
    return INSUFFICIENT if rule == "evidence" and not enough else PASS


def sentence(outcome: str, found: Sequence[AttackResult], evidence: Evidence) -> str:
    """Put the verdict in plain words."""
    who = f"{evidence.members:,} members against {evidence.non_members:,} non-members"
    if outcome == OVER:
        over = [f"{each.title.lower()} ({each.id})" for each in found if each.outcome == OVER]
        return f"Not to be released: {len(over)} of {len(found)} measures are over: {', '.join(over)}."
    if outcome == INSUFFICIENT:
        return (
            f"Not enough evidence: {who}; {EVIDENCE:,} of each are needed to see a leak of one in a "
            "thousand. No measure is surely over its limit."
        )
    return state_pass(who)


def state_pass(who: str) -> str:
    """Say what it means that nothing was over; `who` are the members and non-members that were attacked."""
    return f"No attack came over its limit, with {who}. That is evidence, not a proof."


def line(result: AttackResult) -> str:
    """For a terminal."""
    name = f"{result.id:<5} {result.title}"
    if result.value is None:
        return f"{name}: {result.note}"
    limit = "" if result.limit is None else f", limit {result.limit:g}"
    return (
        f"{name}: {result.statistic} {result.value:.3g} ({result.low:.3g} to {result.high:.3g}){limit}: "
        f"{WORDS[result.outcome].text}"
    )
