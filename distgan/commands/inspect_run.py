"""`distgan inspect RUN`: which stages of a run are done, where things are, and what to do next."""

from distgan import config
from distgan.command_line import Result
from distgan.errors import parsing
from distgan.files import quote_path
from distgan.pipeline.run_summary import list_places, suggest_next
from distgan.preflight import find_current
from distgan.run import Run


def run(run: Run) -> Result:
    """Describe a run folder.

    Raises:
        UserError: its config or a record is damaged.
    """
    settings = config.load(run.config)
    stages, lines = (
        {},
        [f"run        {run.folder}: model {settings.model.name}, source {settings.data.source}"],
    )
    for name in settings.stages:
        record = run.read_record(name)
        done = record is not None and find_current(name, settings, run) is not None
        with parsing(run.record(name)):
            summary = str(record["summary"]) if record is not None and "summary" in record else ""
        stages[name] = {"done": done, "summary": summary}
        lines.append(f"{name:<10} {summary if done else 'not done'}")
    if run.report.exists() and find_current("evaluate", settings, run) is None:
        lines.append(
            f"note       {run.report} is of earlier series or settings; run distgan evaluate "
            f"{quote_path(run.folder)}"
        )
    places = list_places(settings, run)
    lines += [f"{name:<10} {path}" for name, path in places.items()]
    following = suggest_next(settings, run)
    lines += ["next       " + following[0], *(f"           {line}" for line in following[1:])]
    tree = {
        "run": str(run.folder),
        "model": settings.model.name,
        "stages": stages,
        "places": {name: str(path) for name, path in places.items()},
        "next": following,
    }
    return Result("\n".join(lines), tree)
