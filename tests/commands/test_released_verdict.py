"""What leaves with a release counts nobody under epsilon, and never says anything of a few."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distgan import config
from distgan.anonymity import faiss_backend
from distgan.anonymity.bank import make_bank
from distgan.anonymity.groups import GroupedSeries
from distgan.anonymity.manifest import DPGuarantee, LedgerHead
from distgan.commands import released_verdict
from distgan.commands.attacked_series import describe_counts
from distgan.commands.released_verdict import make_public_manifest, make_public_verdict
from distgan.evaluation.attacks import battery, rates
from distgan.evaluation.attacks.battery import Attack, Finding
from distgan.evaluation.attacks.rates import IntervalEstimate
from distgan.evaluation.report.terms import Explainer
from distgan.evaluation.report.writer import load_template
from distgan.evaluation.results import AttackedCounts, CheckResult, Evidence, ReleasePrivacy, Verdict
from distgan.files import read_json

MEMBERS, OTHERS, SAMPLE = 6543, 6427, 5931
FACTS = AttackedCounts(candidate=612, earlier=0, sample=SAMPLE, left_out=0)
DETAIL = "as it stands, windows of a day: 2 members and 1 non-members found"
OUTLIERS = IntervalEstimate(0.5372, 0.5183, 0.5561, 0.5, 328, 7)


def draw(content: dict) -> str:
    """The page of a verdict."""
    return load_template("verdict.html.jinja").render(verdict=content, explain=Explainer())


def found_of(attack: Attack) -> Finding:
    """What an attack might find: counts of few people, exact rates, exposures large and small."""
    if attack.statistic == battery.FOUND_MORE:
        look = IntervalEstimate(3.0, -2.5, 7.3, -4.0, MEMBERS)
        return Finding(look, [("day", look)], detail=DETAIL)
    if attack.id == "P6":
        measured = rates.estimate_auc(np.arange(MEMBERS) % 5003, np.arange(OTHERS) % 5003)
        return Finding(measured, [("smallest groups", replace(measured, n=1637)), ("outliers", OUTLIERS)])
    return Finding(rates.estimate_rate(31, MEMBERS))


def judged() -> Verdict:
    """A verdict that passed, as the gate makes it."""
    chosen = [attack for attack in battery.BATTERY if attack.id in ("P1", "P2", "P4a", "P6")]
    every = [battery.make_result(attack, found_of(attack), enough=True) for attack in chosen]
    evidence = Evidence(members=MEMBERS, non_members=OTHERS, synthetic=6543, needed=3000)
    sentence = battery.format_sentence("pass", every, evidence)
    verified = {
        "the synthetic series": "series: 612, whole",
        "owners are people": "owners: 14,089, none with",
    }
    checks = [CheckResult(name=name, holds=True, text="", verified=[line]) for name, line in verified.items()]
    return Verdict(
        exit_code=0,
        answer="Yes",
        sentence=sentence,
        attacked=describe_counts(FACTS),
        checks=checks,
        privacy=ReleasePrivacy(
            outcome="pass",
            sentence=sentence,
            attacks=every,
            others=[],
            claims=[],
            evidence=evidence,
            attacked=FACTS,
        ),
        run="0123456789abcdef",
        made="2026-01-01",
        maker="distgan",
    )


def other_people() -> Verdict:
    """The verdict of a database with one member more, one non-member more, and other results."""
    text = json.dumps(judged().to_json())
    for count in (MEMBERS, OTHERS, SAMPLE, 1637, 328):
        text = re.sub(rf"\b{count}\b", str(count + 1), text).replace(f"{count:,}", f"{count + 1:,}")
    other: dict[str, Any] = json.loads(text.replace("14,089", "14,090"))
    for attack in other["privacy"]["attacks"]:
        attack |= {"value": 0.5, "low": 0.25, "high": 0.75, "note": "worst of all", "groups": []}
    return Verdict.model_validate(other)


def test_under_epsilon_all_that_leaves_is_the_same_for_another_database() -> None:
    """In the page, the JSON and every text: counts of people, sums of them, rates and notes."""
    assert other_people() != judged()
    public, other = (make_public_verdict(each, private=True) for each in (judged(), other_people()))
    assert json.dumps(public) == json.dumps(other)
    page = draw(public)
    assert page == draw(other)
    assert "at least 3,000 members against as many non-members" in public["sentence"]
    assert public["privacy"]["sentence"] == public["sentence"]
    assert (
        "612 series to be released" in public["attacked"] and "a sample from the same" in public["attacked"]
    )
    assert [check["verified"] for check in public["checks"]] == [["series: 612, whole"], []]
    assert released_verdict.LEFT_OUT in page
    assert {each["outcome"] for each in public["privacy"]["attacks"]} == {"pass"}
    assert [each["limit"] for each in public["privacy"]["attacks"]] == [0, 0, 0.03, 0.65]


def test_under_epsilon_nobody_sees_which_attacks_could_be_tried() -> None:
    """P11 can, as soon as one owner has several series; P6 and P6b with enough non-members of a group."""

    def judge_whole(tried: bool) -> dict[str, Any]:
        every = []
        for attack in battery.BATTERY:
            found = Finding(rates.estimate_rate(0, MEMBERS), limit=0.7 if attack.id == "P6b" else None)
            if not tried and attack.id in ("P6", "P6b", "P8", "P11", "P11a"):
                found = Finding(None, note="every owner has one series: as P4 and P5")
            every.append(battery.make_result(attack, found, enough=True))
        parts = {
            "attacks": [each for each in every if each.outcome not in ("report", "skipped")],
            "others": [each for each in every if each.outcome in ("report", "skipped")],
        }
        verdict = judged()
        privacy = verdict.privacy
        assert privacy is not None
        return make_public_verdict(
            verdict.model_copy(update={"privacy": privacy.model_copy(update=parts)}), private=True
        )

    with_all, with_few = judge_whole(True), judge_whole(False)
    assert json.dumps(with_all) == json.dumps(with_few)
    assert [each["id"] for each in with_all["privacy"]["others"]] == ["P9"]


def test_no_figure_of_few_people_leaves() -> None:
    """The looks of the fragment attacks, what they found in words, and exposures with few on either side."""
    verdict = judged()
    kept = verdict.to_json()
    public = make_public_verdict(verdict, private=False)
    assert verdict.to_json() == kept  # the run's own copy says all
    attacks = {each["id"]: each for each in public["privacy"]["attacks"]}
    for name in ("P1", "P2"):
        assert DETAIL not in json.dumps(attacks[name]) and attacks[name]["groups"] == []
    assert [group["name"] for group in attacks["P6"]["groups"]] == ["smallest groups"]
    page = draw(public)
    assert "2 members" not in page and "2 members" in draw(kept)
    assert public["sentence"] == kept["sentence"] and attacks["P4a"]["n"] == MEMBERS
    few = {**kept["privacy"]["attacks"][3], "non_members": 9}
    hidden = released_verdict.make_public_attack(few, private=False)
    assert hidden["value"] is hidden["low"] is None and "fewer than 10" in hidden["note"]


def test_what_fragment_attacks_say_of_the_few_they_found_is_a_detail() -> None:
    """A note leaves, a detail does not."""
    attack = next(each for each in battery.BATTERY if each.id == "P1")
    found = battery._run_fragments(lambda attack_data: (OUTLIERS, [], DETAIL), None)  # type: ignore[arg-type]
    result = battery.make_result(attack, found, enough=True)
    assert (result.note, result.detail) == ("", DETAIL)


@pytest.mark.parametrize("private", [False, True])
def test_a_released_manifest_has_no_digest_and_no_entitys_share(tmp_path: Path, private: bool) -> None:
    """Of tensors and a ledger that stay: whoever guesses them could check the guess."""
    rng = np.random.default_rng(0)
    attributes = np.stack([rng.normal(0, 1, (80, 1)), rng.uniform(1, 2, (80, 1))], axis=-1)
    loads = rng.uniform(1, 2, 80)
    bank = make_bank(
        GroupedSeries(rng.standard_normal((80, 2)), loads, np.arange(80) % 2),
        attributes,
        config.Bank(condition_dim=2),
    )
    if private:
        head = LedgerHead(lines=4, digest="a" * 32)
        guarantee = DPGuarantee(
            epsilon=2, delta=1e-6, multiplier=2, tracing_bound=0.7, clip=1, insecure=False, ledger=head
        )
        bank = replace(bank, guarantee=guarantee)
    bank.save(tmp_path / "bank")
    held = read_json(tmp_path / "bank" / "manifest.json")
    public = make_public_manifest(held)
    assert not re.search(r"[0-9a-f]{32}", json.dumps(public))
    assert re.search(r"[0-9a-f]{32}", json.dumps(held))
    assert [group["size"] for group in public["groups"]] == [40, 40]
    assert not {"largest_share", "lowered"} & set(public["groups"][0])
    assert (public["privacy"] is not None) == private


def test_both_searches_of_points_find_what_all_distances_say() -> None:
    """Up to what is exhaustive; with lists, nearly always, and a point's copy always."""
    rng = np.random.default_rng(2)
    points = rng.standard_normal((6000, 4)).astype(np.float32)
    distances, places = faiss_backend.find_nearest(points[:200], points, 2)
    np.testing.assert_array_equal(places[:, 0], np.arange(200))
    assert np.abs(distances[:, 0]).max() < 1e-2
    exact = np.sort(np.linalg.norm(points[:200, None] - points[None], axis=2), axis=1)[:, 1]
    assert (np.abs(distances[:, 1] - exact) < 1e-3).mean() > 0.5
    squares, _ = faiss_backend.find_neighbours(points, 1)
    np.testing.assert_allclose(np.sqrt(squares[:200, 0]), exact, rtol=1e-2)
