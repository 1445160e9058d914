"""With a proof no number of people is needed, and an attack that is surely over its limit still stops it."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from distgan import config
from distgan.anonymity import dp
from distgan.anonymity.bank import Bank
from distgan.anonymity.manifest import DPGuarantee, LedgerHead
from distgan.commands.released_verdict import make_public_verdict
from distgan.errors import UserError
from distgan.evaluation.attacks import battery
from distgan.evaluation.attacks.attack_data import AttackData, Side
from distgan.evaluation.attacks.battery import Attack, Finding
from distgan.evaluation.attacks.rates import IntervalEstimate
from distgan.pipeline.attack import find_proof, state_guarantees, state_requests
from distgan.pipeline.prepare import advise_axis
from distgan.run import Run
from tests.commands.test_released_verdict import MEMBERS, judged
from tests.config.test_end_to_end import SOUND

LOW, WIDE, HIGH = (
    IntervalEstimate(value, value - half, value + half, sure, 1000)
    for value, half, sure in ((0.5, 0.02, 0.48), (0.58, 0.05, 0.52), (0.9, 0.01, 0.88))
)
UNKNOWN = IntervalEstimate(0.5, float("nan"), float("nan"), float("nan"), 1000)


@pytest.mark.parametrize(
    ("rule", "found", "enough", "outcome"),
    [
        ("limit", Finding(WIDE), False, "pass"),  # insufficient without a proof
        ("limit", Finding(WIDE), True, "over"),  # where there is evidence it counts as always
        ("limit", Finding(HIGH), False, "over"),
        ("limit", Finding(LOW, [("outliers", HIGH)]), False, "over"),
        ("evidence", Finding(LOW), False, "pass"),
        ("evidence", Finding(HIGH), False, "over"),
        ("alarm", Finding(HIGH), False, "over"),
        ("limit", Finding(UNKNOWN), False, "insufficient"),
        ("limit", Finding(None, needed=True), False, "skipped"),
    ],
)
def test_limits_hold_under_a_proof(rule: battery.Rule, found: Finding, enough: bool, outcome: str) -> None:
    assert battery.judge_finding(rule, found, 0.6, enough, proved=True) == outcome


def test_the_verdict_says_what_is_proved() -> None:
    series = np.random.default_rng(0).standard_normal((12, 48, 1)).astype(np.float32)
    few_data = AttackData(
        Side.from_series(series[:4]), Side.from_series(series[4:8]), series[:0], series[8:], 24
    )

    def attacks(found: Finding) -> Sequence[Attack]:
        return [Attack("P4", "An attack", "AUC", 0.6, "ours", lambda attack_data: found)]

    proof = "(4, 1e-06)-differentially private for every owner with all its series, added or removed"
    passed = battery.run(few_data, attacks(Finding(WIDE)), proof=proof)
    assert (passed.outcome, passed.evidence.needed, passed.proof) == ("pass", 0, proof)
    assert proof in passed.sentence and "evidence, not a proof" not in passed.sentence
    stopped = battery.run(few_data, attacks(Finding(HIGH)), proof=proof)
    assert stopped.outcome == "over" and "Not to be released" in stopped.sentence
    assert battery.run(few_data, attacks(Finding(WIDE))).outcome == "insufficient"


def test_only_a_sound_run_within_the_limit_has_a_proof() -> None:
    def proof(*more: str) -> str:
        return find_proof(config.load(None, [*SOUND, *more]))

    assert proof() == dp.state_proof(config.load(None, SOUND).privacy) != ""
    assert proof("privacy.epsilon=5") == ""
    assert proof("privacy.epsilon=5", "release.max_epsilon=6") != ""
    assert proof("privacy.insecure_seed=0") == ""
    assert find_proof(config.load(None, ["privacy.epsilon=1", "clusters.count=4"])) == ""


def test_a_release_under_a_proof_counts_nobody() -> None:
    verdict = judged()
    assert verdict.privacy is not None
    evidence = verdict.privacy.evidence.model_copy(update={"needed": 0})
    proof = {"proof": "(4, 1e-06)-differentially private", "evidence": evidence}
    public = make_public_verdict(
        verdict.model_copy(update={"privacy": verdict.privacy.model_copy(update=proof)}), private=True
    )
    assert public["sentence"].startswith("The series are (4, 1e-06)-differentially private: that is proved.")
    assert "members" not in public["sentence"] and f"{MEMBERS:,}" not in json.dumps(public)
    assert public["privacy"]["evidence"]["needed"] == 0


def test_claims_of_a_run_name_every_public_constant() -> None:
    claims = " ".join(dp.list_claims(config.load(None, SOUND), 4.0))
    for words in ("5000 for the number of owners", "length 1", "data.scaling.bound 6", "clipped at length 4"):
        assert words in claims
    assert "Proved: the synthetic series are (4, 1e-06)-differentially private" in claims
    alone = " ".join(dp.list_claims(config.load(None, BANK), 4.0))
    assert "Proved" not in alone and "Taken as given: the scaler and the encoder" in alone


def test_the_verdict_says_which_limit_was_raised_and_what_a_table_asks_for(run: Run) -> None:
    bank = Bank.load(run.bank)
    guarantee = DPGuarantee(
        epsilon=5.0,
        delta=1e-6,
        multiplier=1.0,
        tracing_bound=0.7,
        clip=2.0,
        insecure=False,
        ledger=LedgerHead(lines=1, digest="0" * 32),
    )
    private = replace(bank, guarantee=guarantee)

    def said(*more: str) -> str:
        return " ".join(state_guarantees(private, config.load(None, [*SOUND, *more])))

    assert "max_epsilon" not in said() and "max_epsilon" not in said("release.max_epsilon=3")
    assert "release.max_epsilon was raised to 6: by default only an epsilon of 4" in said(
        "release.max_epsilon=6"
    )
    wished = config.Config(generate=config.Generate(table="wanted.csv"))
    assert "must not be those of real people" in " ".join(state_requests(wished))
    assert state_requests(config.Config()) == []


def test_delta_is_stated_as_it_is_and_advice_never_above_the_limit() -> None:
    settings = config.load(None, [*SOUND, "privacy.delta=1.4e-6"])
    assert dp.state_proof(settings.privacy).startswith("(4, 1.4e-06)-differentially private")
    for owners, advice in ((600, "1e-04"), (320, "3e-04"), (1000, "1e-04"), (7000, "1e-05")):
        with pytest.raises(UserError, match=f"use {advice} or less"):
            config.load(None, [*SOUND, "privacy.delta=9e-3", f"privacy.owners={owners}"])
        assert float(advice) * owners <= 0.1 * (1 + 1e-12)


def test_repeatable_noise_is_no_proof() -> None:
    claims = dp.list_claims(config.load(None, [*SOUND, "privacy.insecure_seed=1"]), 4.0)
    assert len(claims) == 1 and "Nothing is promised: the noise can be repeated" in claims[0]


BANK = ["privacy.epsilon=1", "clusters.count=4"]


@pytest.mark.parametrize("private", [SOUND, BANK], ids=["run", "bank"])
def test_claims_say_whether_the_time_axis_was_given_or_found(private: list[str]) -> None:
    found = " ".join(dp.list_claims(config.load(None, private), 4.0))
    assert "time axis and channels of the source" in found and "data.axis" not in found
    axis = "data.axis={start: 2013-01-01, step: 30min, length: 17520}"
    given = " ".join(dp.list_claims(config.load(None, [*private, axis]), 4.0))
    assert "17,520 steps of 30min from 2013-01-01T00:00:00 (data.axis)" in given
    assert "the channels of the source" in given and "time axis and channels" not in given
    assert "axis" not in given[given.index("Taken as given") :]
    assert "was found in all series together" in advise_axis(config.load(None, private))[0]
    assert advise_axis(config.load(None, [*private, axis])) == advise_axis(config.load()) == []
