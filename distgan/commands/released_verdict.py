"""What of a verdict and of a bank's manifest may leave with the series; the run's own copies keep all.

From every release stay behind: what an attack says of the few it found, figures of fewer than `FEWEST`
people, the share of a group's load that one entity carries, and digests of files that do not leave. To one
who knows all other entities an exact count of those trained on tells whether the last one is among them; so
under privacy.epsilon counts and figures are rounded, too. A rounded count is no private one: the verdict is
not covered by epsilon, and says so.
"""

import math
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

from distgan.commands.attacked_series import describe_counts
from distgan.evaluation.attacks import battery
from distgan.evaluation.results import AttackedCounts, AttackResult, Evidence, Verdict

FEWEST = 10  # people behind a released figure
DIGITS = 2  # that are kept of a count or figure
OF_PUBLIC_THINGS = (  # checks whose numbers count groups, released series and attempts
    "the bank's manifest",
    "the ledger of releases",
    "the synthetic series",
    "series of the generator",
)
ROUNDED = (
    "Counts of people are rounded to two significant digits, and to tens at least; figures to two digits, "
    "ends of intervals outwards. This makes guesses harder to check, but epsilon does not cover it."
)
OF_ONE_ENTITY = ("largest_share", "lowered")  # of a group, in the manifest


def make_public_verdict(verdict: Verdict, private: bool) -> dict[str, Any]:
    """Return the verdict as it leaves, ready for JSON.

    Args:
        verdict: as `release.judge` makes it, of a release that passed.
        private: the bank is differentially private: round counts and figures.
    """
    public = verdict.to_json()
    result = public["privacy"]
    for kind in ("attacks", "others"):
        result[kind] = [make_public_attack(each, private) for each in result[kind]]
    if not private:
        return public
    evidence = result["evidence"]
    for name in ("members", "strangers", "synthetic"):
        evidence[name] = round_count(evidence[name])
    attacks = [AttackResult.model_validate(each) for each in result["attacks"]]
    result["sentence"] = battery.sentence(result["outcome"], attacks, Evidence(**evidence), about=True)
    result["attacked"]["sample"] = round_count(result["attacked"]["sample"])
    public["sentence"], public["rounded"] = result["sentence"], ROUNDED
    public["attacked"] = describe_counts(AttackedCounts(**result["attacked"]), about=True)
    for check in public["checks"]:
        if check["name"] not in OF_PUBLIC_THINGS:
            check["verified"] = [round_numbers_in(line) for line in check["verified"]]
    return public


def make_public_attack(attack: Mapping[str, Any], private: bool) -> dict[str, Any]:
    """Return one line of the battery's result as it leaves."""
    public = {name: value for name, value in attack.items() if name != "detail"}
    counts_people = attack["statistic"] == battery.FOUND_MORE
    groups = [] if counts_people else [group for group in attack["groups"] if not is_of_few(group)]
    public["groups"] = [dict(group) for group in groups]
    if attack["value"] is not None and is_of_few(attack):
        public |= {"value": None, "low": None, "high": None, "n": 0}
        public["note"] = f"of fewer than {FEWEST} people: not shown"
    for each in (public, *public["groups"]):
        limit = attack["limit"]
        if counts_people:
            round_interval(each, limit, lambda number: 1)
        elif private:
            round_interval(each, limit, lambda number: math.floor(math.log10(abs(number))) + 1 - DIGITS)
        if private:
            each["n"] = round_count(each["n"])
            each["non_members"] = None if each["non_members"] is None else round_count(each["non_members"])
    return public


def is_of_few(figure: Mapping[str, Any]) -> bool:
    """Whether fewer than `FEWEST` people of either side are behind a figure."""
    others = figure["non_members"]
    return bool(figure["n"] < FEWEST or (others is not None and others < FEWEST))


def round_interval(figure: dict[str, Any], limit: float | None, exponent_of: Callable[[float], int]) -> None:
    """Round value, low and high in place, to multiples of 10^exponent, the ends of the interval outwards.
    What held to its limit still does.
    """
    ways = {"value": ROUND_HALF_EVEN, "low": ROUND_FLOOR, "high": ROUND_CEILING}
    for name, way in ways.items():
        number = figure[name]
        if not number or not math.isfinite(number):  # none, or 0
            continue
        unit = Decimal(1).scaleb(exponent_of(number))
        rounded = float((Decimal(repr(float(number))) / unit).to_integral_value(way) * unit)
        if limit is not None and number <= limit < rounded and exponent_of(number) < 1:
            rounded = limit
        figure[name] = rounded + 0.0  # no -0


def round_count(count: int) -> int:
    """Round to two significant digits, and to tens at least."""
    unit = 10 ** max(1, len(str(abs(count))) - DIGITS)
    return (count + unit // 2) // unit * unit


def round_numbers_in(text: str) -> str:
    """Round every whole number of a text, and say "about"; decimals and parts of words are left."""

    def rounded(found: re.Match[str]) -> str:
        return f"about {round_count(int(found[0].replace(',', ''))):,}"

    return re.sub(r"(?<![\w.])(\d{1,3}(,\d{3})+|\d+)(?![.,]?\w)", rounded, text)


def make_public_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bank's manifest without digests of what stays, and without what is one entity's."""
    public = {name: value for name, value in manifest.items() if name != "sha256"}
    public["groups"] = [
        {name: value for name, value in group.items() if name not in OF_ONE_ENTITY}
        for group in manifest["groups"]
    ]
    if manifest["privacy"] is not None:
        public["privacy"] = {name: value for name, value in manifest["privacy"].items() if name != "ledger"}
    return public
