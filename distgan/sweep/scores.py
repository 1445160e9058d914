"""Objectives of a sweep, read from a run's report, and the conditions under which a trial does not count.

Every objective is a loss: 0 is best or far below, larger is worse.
"""

import math
from collections.abc import Sequence

from distgan import config
from distgan.errors import UserError
from distgan.evaluation.attacks import battery
from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.report import verdict
from distgan.evaluation.results import Report, Row
from distgan.files import read_lines, read_record
from distgan.run import Run

FIDELITY, TRACING, METRICS = "fidelity", "tracing", "metrics."
# The score of a trial that fails a privacy limit or cannot be trained; finite, as every searcher needs it.
WORST = 1e9


class NoValue(UserError):
    """An objective that no trial of the sweep can have a value for."""


def check_objectives(objectives: Sequence[str], chosen: config.Evaluate) -> None:
    """Check that each objective exists and is evaluated.

    Args:
        chosen: the settings of the evaluation.

    Raises:
        UserError: there is no such objective, it is not evaluated, or one is named twice.
    """
    if len(set(objectives)) < len(objectives):
        raise UserError(f"sweep.objectives names {objectives[0]} twice; name two scores, or one")
    for name in objectives:
        if name not in (FIDELITY, TRACING, *BY_NAME) and not name.startswith(METRICS):
            raise UserError(
                f"sweep.objectives {name!r} is unknown; use one of {FIDELITY}, {TRACING}, "
                f"{METRICS}NAME, {', '.join(BY_NAME)}"
            )
        if name in BY_NAME and BY_NAME[name].function is None:
            _check_trained(name, chosen)


def _check_trained(name: str, chosen: config.Evaluate) -> None:
    """
    Raises:
        UserError: the score is of networks that are not trained.
    """
    if chosen.recurrent_steps == 0:
        raise UserError(
            f"sweep.objectives {name} needs evaluate.recurrent_steps, e.g. evaluate.recurrent_steps=2000"
        )
    backbone = name.rpartition("_")[2] if name.endswith(("_cnn", "_transformer")) else "gru"
    if backbone not in chosen.backbones:
        raise UserError(
            f"sweep.objectives {name} needs evaluate.backbones with {backbone}, e.g. "
            f"evaluate.backbones=[{backbone}]"
        )


def read_objectives(run: Run, objectives: Sequence[str]) -> dict[str, float]:
    """Return the objectives of a run that has been evaluated.

    Raises:
        NoValue: one does not exist for these data, or is not written by this training.
        UserError: one is not finite.
    """
    report, chosen = read_report(run), read_selection(run)
    found = {name: chosen[name] if name in chosen else _read_one(name, report, run) for name in objectives}
    for name, value in found.items():
        if value is None or not math.isfinite(value):
            raise UserError(f"sweep.objectives {name} has no value for this trial")
    return {name: float(value) for name, value in found.items() if value is not None}


def read_selection(run: Run) -> dict[str, float | None]:
    """Return the loss on the validation split by the name of its score, where the run chose its step by one:
    a sweep compares trials by what chose within each, and the test series stay unseen.
    """
    chosen = (run.read_record("gan") or {}).get("selection")
    return {} if chosen is None else {chosen["score"]: chosen["loss"]}


def read_report(run: Run) -> Report:
    """Return the report of a run.

    Raises:
        UserError: there is none, or it is damaged.
    """
    return Report.from_json(read_record(run.need(run.scores, "evaluate")), str(run.folder))


def find_privacy_failure(run: Run) -> str:
    """Return why the run's series fail a point limit of privacy; empty where they fail none.

    Whether the evidence is enough to release anything is another question, and `release` asks it.
    """
    report = read_report(run)
    if report.privacy is not None and report.privacy.outcome == battery.OVER:
        return report.privacy.sentence
    rows = report.fidelity.by_name
    return verdict.explain_nearness(rows[verdict.MODEL], rows)


def _read_one(name: str, report: Report, run: Run) -> float | None:
    if name == TRACING:
        return None if report.facts.groups is None else max(report.facts.groups.tracing_auc, default=None)
    if name.startswith(METRICS):
        return _read_metric(name.removeprefix(METRICS), run)
    rows = report.fidelity.by_name
    if name == FIDELITY:
        if verdict.REAL not in rows:
            raise NoValue(
                f"sweep.objectives {name} needs two held-out series or more; raise data.splits.held_out"
            )
        return verdict.compute_overall_loss(rows[verdict.MODEL], rows[verdict.REAL])
    if all(row.values.get(name) is None for row in rows.values()):
        raise NoValue(f"sweep.objectives {name} has no value for these data; choose another")
    return _read_loss(rows[verdict.MODEL], name)


def _read_metric(name: str, run: Run) -> float | None:
    """Return the last value that training wrote; None where that was not finite."""
    lines = read_lines(run.metrics("gan"))
    last = lines[-1] if lines else {}
    if name not in last:
        there = ", ".join(METRICS + other for other in last) or "none"
        raise NoValue(f"sweep.objectives {METRICS}{name} is not written by this training; there are {there}")
    return last[name]


def _read_loss(row: Row, name: str) -> float | None:
    value = row.values[name]
    return None if value is None else BY_NAME[name].compute_loss(value)
