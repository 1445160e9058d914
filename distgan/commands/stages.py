"""`distgan generate RUN` and `distgan evaluate RUN`: one stage of a trained run, done again if it is due."""

from functools import partial
from pathlib import Path

from distgan.arguments import RunRequest
from distgan.command_line import Result
from distgan.files import read_json
from distgan.pipeline import evaluate as evaluating
from distgan.pipeline import runner
from distgan.pipeline.generate import export_to, refuse_layout
from distgan.pipeline.output_transform import find_output_store


def generate(given: RunRequest, place: Path | None) -> Result:
    """Make the run's synthetic series, and export them to `place`, if one is given.

    Raises:
        UserError: as the stage, or the place cannot be written.
    """
    settings, run = given.settings, given.run
    if run.bank.exists() and place is not None and place.suffix != ".zarr":
        refuse_layout(settings, run, place.suffix)  # before the series are made
    export = None if place is None else partial(export_to, settings, run, place)
    said = runner.run(settings, run, ("generate",), export=export)
    store = find_output_store(run)
    tree = {
        "series": settings.generate.count,
        "seed": settings.generate.seed,
        "store": str(store),
        "out": None if place is None else str(place),
    }
    return Result(said or f"series    {store}", tree)


def evaluate(given: RunRequest) -> Result:
    """Score the run's synthetic series and write the report.

    Raises:
        UserError: as the stage.
    """
    run = given.run
    runner.run(given.settings, run, ("evaluate",))
    text = f"report    {run.report}\n\n{evaluating.format_report(run)}"
    return Result(text, read_json(run.scores))
