"""The parts of a verdict and of a bank's manifest that are released with the series; the run's own copies are
complete.

From every release stay behind: what an attack says of the few it found, figures of fewer than `FEWEST`
people, the share of a group's load that one entity carries, categories that no group states, and digests of
files that do not leave. To one who knows all other entities an exact count of those trained on tells whether
the last one is among them, and so does a rounded one at an edge. Under privacy.epsilon no count of people and
no success of an attack leaves at all, nor which attacks could be tried: what is said of the evidence is the
public number that every release needs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from distgan.commands.attacked_series import describe_counts
from distgan.evaluation.attacks import battery
from distgan.evaluation.results import AttackedCounts, Verdict

FEWEST = 10  # people behind a released figure
OF_PUBLIC_THINGS = (  # checks whose numbers count groups, released series and attempts
    "the bank's manifest",
    "the ledger of releases",
    "the synthetic series",
    "series of the generator",
)
LEFT_OUT = (
    "Counts of people, the success of the attacks and which of them could be tried are left out: they are "
    "functions of the real series without noise. That every attack stayed within its limit is one, too, and "
    "epsilon does not cover it."
)
NO_FIGURES = "figures are left out, and whether it could be tried"
OF_PEOPLE = ("value", "low", "high", "n", "non_members")  # figures of an attack
IF_TRACED = ("P6", "P6b")  # attacks whose limit is that of the battery unless they were tried
OF_ONE_ENTITY = ("largest_share", "lowered")  # of a group, in the manifest


def make_public_verdict(verdict: Verdict, private: bool) -> dict[str, Any]:
    """Return the verdict as it leaves, ready for JSON.

    Args:
        verdict: as `release.judge` makes it, of a release that passed.
        private: the bank is differentially private: leave out what counts people or depends on them.
    """
    public = verdict.to_json()
    result = public["privacy"]
    if private:
        result["attacks"], result["others"] = list_as_within(result)
    for kind in ("attacks", "others"):
        result[kind] = [make_public_attack(each, private) for each in result[kind]]
    if not private:
        return public
    needed = result["evidence"]["needed"]
    result["evidence"] = dict.fromkeys(result["evidence"]) | {"needed": needed}
    who = f"at least {needed:,} members against as many non-members"
    proof = result["proof"]
    result["sentence"] = battery.state_proof(proof) if proof else battery.state_pass(who)
    result["attacked"]["sample"] = None
    public["sentence"], public["left_out"] = result["sentence"], LEFT_OUT
    public["attacked"] = describe_counts(AttackedCounts(**result["attacked"]))
    for check in public["checks"]:
        if check["name"] not in OF_PUBLIC_THINGS:
            check["verified"] = []
    return public


def list_as_within(result: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the attacks with a limit as within it, and those without one, in the order of the battery.

    Whether an attack could be tried is a function of the series: P11 is, if one owner has several, and P6 if
    a group has enough non-members. So one that could not is listed as those that passed, since it is within
    its limit as well.
    """
    order = {attack.id: place for place, attack in enumerate(battery.BATTERY)}
    every = sorted([*result["attacks"], *result["others"]], key=lambda each: order[each["id"]])
    judged, others = [], []
    for each in every:
        attack = battery.BATTERY[order[each["id"]]]
        if attack.rule == "report":
            others.append({**each, "outcome": battery.REPORTED})
        else:
            limit = attack.limit if attack.id in IF_TRACED else each["limit"]
            judged.append({**each, "outcome": battery.PASS, "limit": limit})
    return judged, others


def make_public_attack(attack: Mapping[str, Any], private: bool) -> dict[str, Any]:
    """Return one line of the battery's result as it leaves."""
    public = {name: value for name, value in attack.items() if name != "detail"}
    if private:
        return {**public, **dict.fromkeys(OF_PEOPLE), "groups": [], "note": NO_FIGURES}
    counts_people = attack["statistic"] == battery.FOUND_MORE
    groups = [] if counts_people else [group for group in attack["groups"] if not is_of_few(group)]
    public["groups"] = [dict(group) for group in groups]
    if attack["value"] is not None and is_of_few(attack):
        public |= {"value": None, "low": None, "high": None, "n": 0}
        public["note"] = f"of fewer than {FEWEST} people: not shown"
    return public


def is_of_few(figure: Mapping[str, Any]) -> bool:
    """Return whether fewer than `FEWEST` people of either side are behind a figure."""
    others = figure["non_members"]
    return bool(figure["n"] < FEWEST or (others is not None and others < FEWEST))


def make_public_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bank's manifest without digests of what stays, and without what is one entity's."""
    public = {name: value for name, value in manifest.items() if name != "sha256"}
    public["groups"] = [
        {name: value for name, value in group.items() if name not in OF_ONE_ENTITY}
        for group in manifest["groups"]
    ]
    if manifest["privacy"] is None and manifest.get("attributes"):
        public["attributes"] = [select_stated(each, manifest["groups"]) for each in manifest["attributes"]]
    if manifest["privacy"] is not None:
        public["privacy"] = {name: value for name, value in manifest["privacy"].items() if name != "ledger"}
    return public


def select_stated(column: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an attribute with the categories that groups state: the others are of enough entities, which may
    be series of few owners.
    """
    stated = [group["attributes"][column["name"]] for group in groups]
    return {**column, "categories": [each for each in column["categories"] if each in stated]}
