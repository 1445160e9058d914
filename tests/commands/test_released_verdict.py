"""What leaves with a release says nothing exact of the people behind it under epsilon, and never of a few."""

import copy
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
from distgan.anonymity.manifest import DPGuarantee, LedgerHead
from distgan.commands import released_verdict
from distgan.commands.attacked_series import describe_counts
from distgan.commands.released_verdict import make_public_manifest, make_public_verdict, round_count
from distgan.evaluation.attacks import battery, rates
from distgan.evaluation.attacks.battery import Attack, Found
from distgan.evaluation.attacks.rates import Measured
from distgan.evaluation.report.writer import load_template
from distgan.files import read_json

MEMBERS, OTHERS, SAMPLE = 6543, 6427, 5931
FACTS = {"candidate": 612, "earlier": 0, "sample": SAMPLE, "left_out": 0}
DETAIL = "as it stands, windows of a day: 2 members and 1 non-members found"
OUTLIERS = Measured(0.5372, 0.5183, 0.5561, 0.5, 328, 7)


def found_of(attack: Attack) -> Found:
    """What an attack might find: counts of few people, exact rates, exposures large and small."""
    if attack.statistic == battery.FOUND_MORE:
        look = Measured(3.0, -2.5, 7.3, -4.0, MEMBERS)
        return Found(look, [("day", look)], detail=DETAIL)
    if attack.id == "P6":
        measured = rates.auc(np.arange(MEMBERS) % 5003, np.arange(OTHERS) % 5003)
        return Found(measured, [("smallest groups", replace(measured, n=1637)), ("outliers", OUTLIERS)])
    return Found(rates.rate(31, MEMBERS))


def judged() -> dict[str, Any]:
    """A verdict that passed, as the gate makes it."""
    chosen = [attack for attack in battery.BATTERY if attack.id in ("P1", "P2", "P4a", "P6")]
    every = [battery.told(attack, found_of(attack), enough=True) for attack in chosen]
    evidence = {"members": MEMBERS, "strangers": OTHERS, "synthetic": 6543, "needed": 3000}
    sentence = battery.sentence("pass", every, evidence)
    return {
        "exit_code": 0,
        "sentence": sentence,
        "attacked": describe_counts(FACTS),
        "checks": [
            {"name": "the synthetic series", "holds": True, "text": "", "verified": ["series: 612, whole"]},
            {
                "name": "owners are people",
                "holds": True,
                "text": "",
                "verified": ["owners: 14,089, none with"],
            },
        ],
        "privacy": {
            "outcome": "pass",
            "sentence": sentence,
            "attacks": every,
            "others": [],
            "claims": [],
            "evidence": evidence,
            "attacked": FACTS,
        },
        "run": "0123456789abcdef",
        "made": "2026-01-01",
        "maker": "distgan",
    }


def numbers(text: str) -> set[float]:
    return {float(each.replace(",", "")) for each in re.findall(r"\d[\d,]*(?:\.\d+)?", text)}


def test_under_epsilon_no_exact_count_or_figure_leaves() -> None:
    """In the page, the JSON and every text: members, non-members, attacked series, sums of them and rates."""
    public = make_public_verdict(judged(), private=True)
    page = load_template("verdict.html.jinja").render(verdict=public)
    for text in (json.dumps(public), page):
        assert not numbers(text) & {MEMBERS, OTHERS, SAMPLE, 14_089, 1637, 328}
    assert "about 6,500 members against about 6,400 strangers" in public["sentence"]
    assert public["privacy"]["sentence"] == public["sentence"]
    assert "612 series to be released" in public["attacked"] and "about 5,900 more" in public["attacked"]
    assert [check["verified"] for check in public["checks"]] == [
        ["series: 612, whole"],
        ["owners: about 14,000, none with"],
    ]
    assert released_verdict.ROUNDED in page
    before = {each["id"]: each for each in judged()["privacy"]["attacks"]}
    for each in public["privacy"]["attacks"]:
        assert each["low"] <= before[each["id"]]["low"] and before[each["id"]]["high"] <= each["high"]
        for figure in (each, *each["groups"]):
            digits = [
                f"{figure[name]:.12g}".strip("-0.").replace(".", "") for name in ("value", "low", "high")
            ]
            assert max(map(len, digits)) <= 3, figure  # leading zeros of a small rate are stripped, too
    rate = next(each for each in public["privacy"]["attacks"] if each["id"] == "P4a")
    assert (rate["value"], rate["n"]) == (0.0047, 6500)


@pytest.mark.parametrize("private", [False, True])
def test_no_figure_of_few_people_leaves(private: bool) -> None:
    """The looks of the fragment attacks, what they found in words, and exposures with few on either side."""
    verdict = judged()
    kept = copy.deepcopy(verdict)
    public = make_public_verdict(verdict, private)
    assert verdict == kept  # the run's own copy says all
    attacks = {each["id"]: each for each in public["privacy"]["attacks"]}
    for name in ("P1", "P2"):
        assert DETAIL not in json.dumps(attacks[name]) and attacks[name]["groups"] == []
        assert [attacks[name][end] for end in ("low", "value", "high")] == [-10, 0, 10]
    assert [group["name"] for group in attacks["P6"]["groups"]] == ["smallest groups"]
    page = load_template("verdict.html.jinja").render(verdict=public)
    assert "2 members" not in page and "2 members" in load_template("verdict.html.jinja").render(verdict=kept)
    if not private:
        assert public["sentence"] == kept["sentence"] and attacks["P4a"]["n"] == MEMBERS
    few = {**kept["privacy"]["attacks"][3], "non_members": 9}
    hidden = released_verdict.make_public_attack(few, private)
    assert hidden["value"] is hidden["low"] is None and "fewer than 10" in hidden["note"]


def test_what_fragment_attacks_say_of_the_few_they_found_is_a_detail() -> None:
    """A note leaves, a detail does not."""
    attack = next(each for each in battery.BATTERY if each.id == "P1")
    found = battery._fragments(lambda scene: (OUTLIERS, [], DETAIL), None)  # type: ignore[arg-type]
    told = battery.told(attack, found, enough=True)
    assert (told["note"], told["detail"]) == ("", DETAIL)


def test_a_rounded_end_stays_within_the_limit_it_held() -> None:
    figure = {"value": 0.6012, "low": 0.5961, "high": 0.6049}
    released_verdict.round_interval(figure, 0.605, lambda number: -2)
    assert figure == {"value": 0.6, "low": 0.59, "high": 0.605}
    over = {"value": 0.6, "low": 0.6, "high": 0.6051}
    released_verdict.round_interval(over, 0.605, lambda number: -2)
    assert over["high"] == 0.61


@pytest.mark.parametrize(
    ("count", "rounded"),
    [(0, 0), (4, 0), (43, 40), (96, 100), (3049, 3000), (3050, 3100), (123_456, 120_000)],
)
def test_counts_keep_two_digits(count: int, rounded: int) -> None:
    assert round_count(count) == rounded


def test_numbers_in_texts_are_rounded_and_words_are_not() -> None:
    text = "owners: 6,543, of 14089; 0.83 times, sha256, v2, 17."
    expected = "owners: about 6,500, of about 14,000; 0.83 times, sha256, v2, about 20."
    assert released_verdict.round_numbers_in(text) == expected


@pytest.mark.parametrize("private", [False, True])
def test_a_released_manifest_has_no_digest_and_no_entitys_share(tmp_path: Path, private: bool) -> None:
    """Of tensors and a ledger that stay: whoever guesses them could check the guess."""
    rng = np.random.default_rng(0)
    attributes = np.stack([rng.normal(0, 1, (80, 1)), rng.uniform(1, 2, (80, 1))], axis=-1)
    loads = rng.uniform(1, 2, 80)
    bank = make_bank(
        rng.standard_normal((80, 2)), attributes, loads, np.arange(80) % 2, config.Bank(condition_dim=2)
    )
    if private:
        head = LedgerHead(lines=4, digest="a" * 32)
        promise = DPGuarantee(
            epsilon=2, delta=1e-6, multiplier=2, tracing_bound=0.7, clip=1, insecure=False, ledger=head
        )
        bank = replace(bank, promise=promise)
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
    distances, places = faiss_backend.nearest_few(points[:200], points, 2)
    np.testing.assert_array_equal(places[:, 0], np.arange(200))
    assert np.abs(distances[:, 0]).max() < 1e-2
    exact = np.sort(np.linalg.norm(points[:200, None] - points[None], axis=2), axis=1)[:, 1]
    assert (np.abs(distances[:, 1] - exact) < 1e-3).mean() > 0.5
    squares, _ = faiss_backend.find_neighbours(points, 1)
    np.testing.assert_allclose(np.sqrt(squares[:200, 0]), exact, rtol=1e-2)
