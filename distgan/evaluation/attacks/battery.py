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
from distgan.evaluation.attacks.rates import IntervalEstimate
from distgan.evaluation.comparisons import WORDS, find_attack_word
from distgan.evaluation.results import AttackGroup, AttackResult, Evidence, Figure, Outcome, PrivacyResult
from distgan.progress import Progress, format_count

EVIDENCE = 3000  # 0 of so many bounds a rate at 0.12 %: what one in a thousand needs
MOST_PROVED = 1.0  # ε that attacks may prove, where none is promised

PASS: Final = "pass"
OVER: Final = "over"
INSUFFICIENT: Final = "insufficient"
REPORTED: Final = "report"
SKIPPED: Final = "skipped"
Rule = Literal["limit", "evidence", "alarm", "report"]

OURS = "this project's; no regulator fixes one"
FOUND_MORE = "members found minus non-members"  # a statistic that counts people
RISK = "EMA policy 0070 and Health Canada: re-identification risk of at most 0.09"


@dataclass(frozen=True)
class Finding:
    """The result of an attack: over all owners, by exposure, by value of an attribute; None where it was not
    tried, which is too little evidence for one that is `needed`. The note leaves with a release, so it
    describes nothing of few people; the detail may, and stays with the run.
    """

    measured: IntervalEstimate | None
    groups: Sequence[tuple[str, IntervalEstimate]] = ()
    note: str = ""
    limit: float | None = None  # where it depends on the bank
    needed: bool = False
    detail: str = ""
    by_value: Sequence[tuple[str, IntervalEstimate]] = ()


@dataclass(frozen=True)
class Attack:
    """One line of the battery.

    Attributes:
        rule: how the interval is compared with the limit (see the module); `evidence` requires the evidence
            whatever the result.
    """

    id: str
    title: str
    statistic: str
    limit: float | None
    source: str
    function: Callable[[AttackData], Finding]
    rule: Rule = "limit"


# ------------------------------------------------------------------------------------- attacks as lines of it


def _run_with_note(
    attack: Callable[[AttackData], tuple[IntervalEstimate, str]], attack_data: AttackData
) -> Finding:
    measured, note = attack(attack_data)
    return Finding(measured, note=note)


def _run_fragments(
    attack: Callable[[AttackData], fragments.Found],
    attack_data: AttackData,
) -> Finding:
    measured, groups, detail = attack(attack_data)
    if measured is None:
        return Finding(None, note=detail, needed=True)
    return Finding(measured, groups, detail=detail)


def _measure_auc(scores: str, attack_data: AttackData) -> Finding:
    own = getattr(attack_data, scores)
    measured, groups = membership.measure_auc(attack_data, own)
    return Finding(
        measured,
        groups,
        "" if attack_data.members.has_several else "one series an owner: user level",
        by_value=membership.measure_auc_by_value(attack_data, own),
    )


def _measure_found(scores: str, false_rate: float, attack_data: AttackData) -> Finding:
    return Finding(membership.measure_found(attack_data, getattr(attack_data, scores), false_rate))


def _measure_mean_auc(scores: str, attack_data: AttackData) -> Finding:
    if not attack_data.members.has_several:
        return Finding(None, note="every owner has one series: as P4 and P5")
    return Finding(membership.measure_mean_auc(attack_data, getattr(attack_data, scores)))


def _report_tracing(attack_data: AttackData) -> Finding:
    if not attack_data.traced:
        missing = attack_data.static_auc is not None
        return Finding(
            None, note="too few non-members of any group" if missing else "no bank", needed=missing
        )
    (_, everybody), *exposures = [
        (attack.exposure, membership.convert_tracing(attack)) for attack in attack_data.traced
    ]
    limit = attack_data.tracing_limit
    few = [each for each in exposures if limit is not None and _is_too_few(each[1], limit)]
    groups = [each for each in exposures if each not in few]
    return Finding(everybody, groups, limit=limit, by_value=few)


def _is_too_few(measured: IntervalEstimate, limit: float) -> bool:
    """Return whether an attack at chance (AUC 0.5) on so few owners would often reach over the limit: its
    interval is as wide, and it may lie an interval's half off.
    """
    return 0.5 + (measured.high - measured.low) > limit


def _report_static(attack_data: AttackData) -> Finding:
    if attack_data.static_auc is None:
        return Finding(None, note="no bank")
    note = "of the smallest group; the attacker knows a target's exact latent and the population's mean"
    bound = IntervalEstimate.from_exact(attack_data.static_auc, attack_data.members.num_owners)
    return Finding(bound, note=note, limit=attack_data.tracing_limit)


def _report_guarantee(attack_data: AttackData) -> Finding:
    if attack_data.guaranteed_auc is None or not attack_data.traced:
        return Finding(None, note="the bank is not differentially private")
    note = "no attack may certainly exceed the bound that follows from the noise"
    return replace(_report_tracing(attack_data), note=note, limit=attack_data.guaranteed_auc)


def _run_inference(attack_data: AttackData) -> Finding:
    secrets = inference.measure_inference(attack_data)
    if not secrets:
        return Finding(None, note="location, base load and peak are the same for most")
    name, worst = max(secrets, key=lambda secret: secret[1].high)
    return Finding(worst, secrets, f"worst secret: {name}")


def _run_white_box(attack_data: AttackData) -> Finding:
    if not attack_data.white_box:
        return Finding(None, note="no networks beside the synthetic series")
    groups = [
        (name, membership.measure_auc(attack_data, scores)[0])
        for name, scores in attack_data.white_box.items()
    ]
    return Finding(max(groups, key=lambda group: group[1].value)[1], groups, "these weights stay private")


def _run_audit(attack_data: AttackData) -> Finding:
    measured, groups = membership.audit(attack_data, [attack_data.nearness, attack_data.density])
    note = "the random split of the owners is the coin; no canaries were inserted"
    return Finding(measured, groups, note, limit=attack_data.epsilon)


AUC, FEW, FEWER = 0.60, 0.03, 0.01
NEAREST, DENSITY = "Nearest synthetic series", "Density ratio"
BATTERY = (
    Attack(
        "P1",
        "Copied windows",
        FOUND_MORE,
        0,
        OURS,
        partial(_run_fragments, fragments.search_exact),
        "alarm",
    ),
    Attack(
        "P2",
        "Near copies of windows",
        FOUND_MORE,
        0,
        OURS,
        partial(_run_fragments, fragments.search_near),
        "alarm",
    ),
    Attack(
        "P3",
        "Nearer to members than to non-members",
        "share of synthetic series",
        0.55,
        OURS,
        partial(_run_with_note, copies.measure_nearer_share),
        "alarm",
    ),
    Attack("P4", NEAREST, "AUC", AUC, OURS, partial(_measure_auc, "nearness")),
    Attack(
        "P4a",
        NEAREST,
        "true-positive rate at 1 % false positives",
        FEW,
        OURS,
        partial(_measure_found, "nearness", 0.01),
    ),
    Attack(
        "P4b",
        NEAREST,
        "true-positive rate at 0.1 % false positives",
        FEWER,
        OURS,
        partial(_measure_found, "nearness", 0.001),
        "evidence",
    ),
    Attack("P5", DENSITY, "AUC", AUC, OURS, partial(_measure_auc, "density")),
    Attack(
        "P5a",
        DENSITY,
        "true-positive rate at 1 % false positives",
        FEW,
        OURS,
        partial(_measure_found, "density", 0.01),
    ),
    Attack("P6", "Membership inference on the bank's means", "AUC", 0.65, OURS, _report_tracing),
    Attack("P6a", "Membership inference on the bank's means, by theory", "AUC", 0.65, OURS, _report_static),
    Attack(
        "P6b", "Membership inference against the noise's bound", "AUC", None, OURS, _report_guarantee, "alarm"
    ),
    Attack(
        "P7",
        "Linking two halves of a series",
        "residual risk",
        0.09,
        RISK,
        lambda attack_data: Finding(inference.measure_linkage(attack_data)),
    ),
    Attack("P8", "Inferring a secret", "residual risk", 0.09, RISK, _run_inference),
    Attack(
        "P8a",
        "Singling out",
        "residual risk",
        0.09,
        RISK,
        lambda attack_data: Finding(inference.measure_singling_out(attack_data)),
    ),
    Attack("P9", "With the networks at hand", "AUC", None, OURS, _run_white_box, "report"),
    Attack("P10", "Audit of one training", "proved epsilon", MOST_PROVED, OURS, _run_audit, "alarm"),
    Attack(
        "P11", "All series of an owner together", "AUC", AUC, OURS, partial(_measure_mean_auc, "nearness")
    ),
    Attack(
        "P11a",
        "All series of an owner together, density",
        "AUC",
        AUC,
        OURS,
        partial(_measure_mean_auc, "density"),
    ),
)

CLAIMS = (
    "Attacks that failed are no proof that none succeeds: aggregation and attacks do not prove anonymity.",
    "What was attacked is the synthetic series and the bank. The encoder, any discriminator, latents, "
    "clusters and the private tables were not cleared: they stay with the data's owner. Releases of other "
    "runs on the same people were attacked together with these only if they lie beside this one, with the "
    "same split.",
)


# -------------------------------------------------------------------------------------------- the verdict


def run(
    attack_data: AttackData,
    attacks: Sequence[Attack] = BATTERY,
    claims: Sequence[str] = CLAIMS,
    progress: Callable[[str], None] = lambda line: None,
    proof: str = "",
) -> PrivacyResult:
    """Run the attacks and return the result for the report and the gate: numbers only, none of a single
    person.

    Args:
        proof: what is proved of the series, if they are private end to end. Then no number of people is
            needed as evidence; with fewer, an attack counts where it is surely over its limit.
    """
    enough = min(attack_data.members.num_owners, attack_data.non_members.num_owners) >= EVIDENCE
    every = []
    with Progress("attacks", len(attacks), "attacks") as done:
        for attack in attacks:
            every.append(make_result(attack, attack.function(attack_data), enough, bool(proof)))
            done.advance()
            progress(format_line(every[-1]))
    found = [each for each in every if each.outcome not in (REPORTED, SKIPPED)]
    others = [each for each in every if each.outcome in (REPORTED, SKIPPED)]  # without a limit, or not tried
    outcomes = [each.outcome for each in found]
    outcome: Literal["pass", "over", "insufficient"]
    outcome = OVER if OVER in outcomes else INSUFFICIENT if INSUFFICIENT in outcomes else PASS
    evidence = Evidence(
        members=attack_data.members.num_owners,
        non_members=attack_data.non_members.num_owners,
        synthetic=len(attack_data.synthetic),
        needed=0 if proof else EVIDENCE,
    )
    return PrivacyResult(
        outcome=outcome,
        sentence=format_sentence(outcome, found, evidence, proof),
        proof=proof,
        attacks=found,
        others=others,
        claims=list(claims),
        evidence=evidence,
    )


def make_result(attack: Attack, found: Finding, enough: bool, proved: bool = False) -> AttackResult:
    """Return an attack's line of the result."""
    limit = attack.limit if found.limit is None else found.limit
    shown = [*found.groups, *found.by_value]
    return AttackResult(
        **dict(make_figure(found.measured)),
        id=attack.id,
        title=attack.title,
        statistic=attack.statistic,
        limit=limit,
        source=attack.source,
        outcome=judge_finding(attack.rule, found, limit, enough, proved),
        groups=[AttackGroup(**dict(make_figure(each)), name=name) for name, each in shown],
        note=found.note,
        detail=found.detail,
    )


def make_figure(measured: IntervalEstimate | None) -> Figure:
    """Return the measured numbers for the result; `n` is 0 where nothing was measured."""
    if measured is None:
        return Figure(n=0, value=None, low=None, high=None)
    return Figure(
        n=measured.n,
        non_members=measured.others,
        value=measured.value,
        low=measured.low,
        high=measured.high,
    )


def judge_finding(
    rule: Rule, found: Finding, limit: float | None, enough: bool, proved: bool = False
) -> Outcome:
    """Judge an attack over all owners and in every exposure; the worst counts. Of a value of an attribute,
    which few may have, and of an exposure of too few for the upper end to say anything, it counts where it
    is surely over.
    """
    if found.measured is None:
        return INSUFFICIENT if found.needed and not proved else SKIPPED
    if rule == "report" or limit is None:
        return REPORTED
    every = [found.measured, *(measured for _, measured in found.groups)]
    if any(measured.sure > limit for measured in (*every, *(part for _, part in found.by_value))):
        return OVER
    ends = [measured.sure if rule == "alarm" else measured.high for measured in every]
    if not all(end <= limit for end in ends):  # said so that NaN does not slip through
        if enough:
            return OVER
        return PASS if proved and all(measured.sure <= limit for measured in every) else INSUFFICIENT
    lacking = rule == "evidence" and not enough and not proved
    return INSUFFICIENT if lacking else PASS


def format_sentence(outcome: str, found: Sequence[AttackResult], evidence: Evidence, proof: str = "") -> str:
    """Return the verdict in plain words."""
    who = (
        f"{format_count(evidence.members, 'member')} against "
        f"{format_count(evidence.non_members, 'non-member')}"
    )
    if outcome == OVER:
        over = [f"{each.title.lower()} ({each.id})" for each in found if each.outcome == OVER]
        limits = "is over its limit" if len(over) == 1 else "are over their limits"
        return f"Not to be released: {len(over)} of {len(found)} measures {limits}: {', '.join(over)}."
    if outcome == INSUFFICIENT:
        return (
            f"Not enough evidence: {who}; {EVIDENCE:,} of each are needed to see a leak of one in a "
            "thousand. No measure is certainly over its limit."
        )
    return state_proof(proof, f", with {who}") if proof else state_pass(who)


def state_proof(proof: str, who: str = "") -> str:
    """Return a sentence on what is proved of the series, and that no attack contradicts it."""
    return f"The series are {proof}: that is proved. No attack is certainly over its limit{who}."


def state_pass(who: str) -> str:
    """Return a sentence on the meaning of a pass; `who` are the attacked members and non-members."""
    return f"No attack is over its limit, with {who}. That is evidence, not a proof."


def format_line(result: AttackResult) -> str:
    """Return a line for a terminal."""
    name = f"{result.id:<5} {result.title}"
    if result.value is None:
        return f"{name}: {result.note}"
    limit = "" if result.limit is None else f", limit {result.limit:g}"
    return (
        f"{name}: {result.statistic} {result.value:.3g} ({result.low:.3g} to {result.high:.3g}){limit}: "
        f"{WORDS[find_attack_word(result.outcome, result.high, result.limit)].text}"
    )
