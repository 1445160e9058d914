"""The summary at the end of a run: answers of the report, places of files, and the next two commands."""

from pathlib import Path

from distgan import config
from distgan.files import quote_path, read_json
from distgan.pipeline.output_transform import find_output_store
from distgan.preflight import find_current
from distgan.run import Run

ANSWERS = 4  # of the report that are shown


def format_run_summary(settings: config.Config, run: Run) -> str:
    """Return about ten lines for the end of a run: the report's answers, places and the next commands."""
    lines = [
        f"{'run':<10}{run.folder}",
        *(f"{name:<10}{path}" for name, path in list_places(settings, run).items()),
    ]
    following = suggest_next(settings, run)
    lines += ["", f"{'next':<10}{following[0]}", *(f"{'':<10}{line}" for line in following[1:])]
    return "\n".join(["", *list_answers(settings, run), *lines])


def list_answers(settings: config.Config, run: Run) -> list[str]:
    """Return a line for each question that the report answers, where the run has a current one."""
    if "evaluate" not in settings.stages or find_current("evaluate", settings, run) is None:
        return []
    answers = read_json(run.scores).get("answers", [])
    lines = [
        f"{'verdict' if not number else '':<10}{a['question']} {a['short']}."
        for number, a in enumerate(answers)
    ]
    return [*lines[:ANSWERS], ""]


def list_places(settings: config.Config, run: Run) -> dict[str, Path]:
    """Return what a user looks for in a run, by name, where it is there; no report of earlier series."""
    found = {
        "series": find_output_store(run),
        "weights": run.generator_weights,
        "report": run.report,
        "curves": run.logs,
    }
    if find_current("evaluate", settings, run) is None:
        del found["report"]
    return {name: path for name, path in found.items() if path.exists()}


def suggest_next(settings: config.Config, run: Run) -> list[str]:
    """Return the two commands that a user most likely types next."""
    place = quote_path(run.folder)
    unfinished = next((name for name in settings.stages if find_current(name, settings, run) is None), None)
    if unfinished is not None:
        return [run.format_command(), f"distgan inspect {place}"]
    if "generate" not in settings.stages:
        return [f"distgan denoise {place} SERIES.csv filtered.csv", f"distgan export {place} --networks"]
    return [f"distgan release {place}", f"distgan generate {place} --out series.csv generate.count=1000"]
