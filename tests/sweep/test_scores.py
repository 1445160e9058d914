"""Scores of trials, and the best of them."""

import json
from pathlib import Path

import pytest

from distgan.errors import UserError
from distgan.evaluation.comparisons import PairedComparisons
from distgan.evaluation.report.verdict import MODEL, REAL
from distgan.evaluation.results import (
    Counts,
    Evidence,
    Facts,
    Groups,
    PrivacyResult,
    Report,
    Row,
    ScoreTable,
)
from distgan.run import Run
from distgan.sweep import results, scores
from distgan.sweep.files import SweepFiles
from distgan.sweep.trial import Evaluation


def report(
    run: Run,
    model: dict[str, float],
    real: dict[str, float],
    noise: float = 0.0,
    privacy: dict[str, str] | None = None,
) -> Run:
    """A report with the given values; scores left out do not exist for the data."""
    run.folder.mkdir(parents=True, exist_ok=True)
    every = dict.fromkeys(scores.BY_NAME)
    noises = {REAL: dict.fromkeys(every, noise)}
    rows = [
        Row(name=name, meaning="", n=9, values={**every, **values}, noise=noises[REAL], noise_to=noises)
        for name, values in ((MODEL, model), (REAL, real))
    ]
    counts = Counts(**dict.fromkeys(Counts.model_fields, 9))
    measured = {"n": counts, "owners": {}, "real_row": "", "scores": [], "rows": rows, "lags": {}}
    measured["paired"] = PairedComparisons(owners=9, needed=6, scores=0, overall=[], rows=[])
    table = ScoreTable(**measured, standing={}, blind_to_copier=[], verdict=[])
    facts = Facts("trial", groups=Groups([20, 20], [20.0, 20.0], [0.55, 0.61], 15, 0.65))
    attacks = None
    if privacy is not None:
        evidence = Evidence(members=9, non_members=9, synthetic=9, needed=3000)
        attacks = PrivacyResult(**privacy, attacks=[], others=[], claims=[], evidence=evidence)
    shown = {"facts": facts, "answers": [], "overall": [], "headline": [], "pictures": []}
    run.scores.write_text(json.dumps(Report(fidelity=table, privacy=attacks, **shown).to_json()))
    return run


def test_fidelity_is_the_mean_share_beside_the_bar(tmp_path: Path) -> None:
    real = {"spectrum": 1.0, "acf_short": 0.2, "copies": 0.0}
    run = report(Run(tmp_path), {"spectrum": 3.0, "acf_short": 0.2, "copies": 0.0}, real)
    assert scores.read_objectives(run, ["fidelity"])["fidelity"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    run = report(Run(tmp_path), {"spectrum": 3.0, "acf_short": 0.0, "copies": 0.0}, real, noise=1.0)
    found = scores.read_objectives(run, ["fidelity", "spectrum", "tracing"])
    assert found == pytest.approx({"fidelity": (3 / 6 + 0) / 2, "spectrum": 3.0, "tracing": 0.61})


def test_a_score_that_no_trial_can_have_differs_from_one_that_a_trial_lacks(tmp_path: Path) -> None:
    run = report(Run(tmp_path), {}, {"spectrum": 1.0})
    with pytest.raises(scores.NoValue, match="channels has no value for these data"):
        scores.read_objectives(run, ["channels"])
    with pytest.raises(UserError, match="spectrum has no value for this trial") as one:
        scores.read_objectives(run, ["spectrum"])
    assert not isinstance(one.value, scores.NoValue)
    for lines, there in (("", "none"), ('{"step": 5, "generator/loss": null}\n', r"metrics\.generator/loss")):
        run.metrics("gan").parent.mkdir(exist_ok=True)
        run.metrics("gan").write_text(lines)
        with pytest.raises(scores.NoValue, match=f"metrics.generator/los is not written .*{there}$"):
            scores.read_objectives(run, ["metrics.generator/los"])


def test_copies_fail_the_gate_and_count_as_worst(tmp_path: Path) -> None:
    values = {"spectrum": 0.1, "nearness": 1.0}
    assert (
        scores.find_privacy_failure(report(Run(tmp_path), {**values, "copies": 0.0}, {"nearness": 0.9})) == ""
    )
    why = scores.find_privacy_failure(report(Run(tmp_path), {**values, "copies": 0.25}, {"nearness": 0.9}))
    assert "25.0% near copies" in why
    assert "0.50 times as far" in scores.find_privacy_failure(
        report(Run(tmp_path), {"nearness": 0.5}, {"nearness": 0.9})
    )
    verdict = {"outcome": "over", "sentence": "P4 is over its limit."}
    clean = {**values, "copies": 0.0}
    assert (
        scores.find_privacy_failure(report(Run(tmp_path), clean, {"nearness": 0.9}, privacy=verdict))
        == verdict["sentence"]
    )
    few = {"outcome": "insufficient", "sentence": "Too few to tell."}
    assert scores.find_privacy_failure(report(Run(tmp_path), clean, {"nearness": 0.9}, privacy=few)) == ""
    assert Evaluation(5, {"spectrum": 0.1}, why).counted == {"spectrum": scores.WORST}


def result(number: int, one: float, two: float, step: int = 9, gate: str = "") -> results.Result:
    evaluation = Evaluation(step, {"fidelity": one, "tracing": two}, gate)
    return results.Result(number, Path(str(number)), {}, [evaluation], "ended")


def test_the_best_is_whole_and_counts_and_the_front_is_unbeaten() -> None:
    found = [
        result(1, 0.5, 0.6),
        result(2, 0.4, 0.7),
        result(3, 0.3, 0.5, step=3),
        result(4, 0.1, 0.1, gate="copies"),
        result(5, 0.5, 0.7),
    ]
    assert results.find_best(found, ["fidelity"], 9).number == 2
    assert results.find_best(found[2:4], ["fidelity"], 9).number == 3
    with pytest.raises(UserError, match=r"no trial .* valid score \(copies\)"):
        results.find_best(found[3:4], ["fidelity"], 9)
    assert [one.number for one in results.find_pareto_front(found, ["fidelity", "tracing"])] == [3]
    assert [
        one.number for one in results.find_pareto_front([*found[:2], found[4]], ["fidelity", "tracing"])
    ] == [
        1,
        2,
    ]


def test_a_torn_line_and_the_time_between_two_calls_do_not_count(tmp_path: Path) -> None:
    events = [("", "begun", 0), ("a", "running", 10), ("", "begun", 500), ("a", "ended", 507)]
    lines = [json.dumps({"trial": name, "state": state, "time": when}) for name, state, when in events]
    SweepFiles(tmp_path).states.write_text("\n".join(lines) + '\n{"trial": "a", "sta')
    assert results.sum_seconds(Run(tmp_path)) == 17
    results.record_state(Run(tmp_path), "a", "stopped")  # on a line of its own
    assert results._read_states(Run(tmp_path)) == {"": "begun", "a": "stopped"}
