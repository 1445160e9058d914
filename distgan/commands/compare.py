"""Runs side by side: their report.json -> a table for the terminal, and compare.html."""

from collections.abc import Sequence
from pathlib import Path

from distgan import config
from distgan.command_line import Result
from distgan.errors import UserError
from distgan.evaluation.report import comparison
from distgan.evaluation.results import Report
from distgan.files import quote_path, read_record, write_text
from distgan.preflight import find_current
from distgan.run import Run


def run(folders: Sequence[Path], out: Path) -> Result:
    """Write the page `out`; return the table, for a terminal, and the reports by run.

    Raises:
        UserError: a report is damaged, a run's config too, or the reports do not fit together.
    """
    reports = {name: open_report(folder, name) for name, folder in name_runs(folders).items()}
    comparison.refuse_unlike(reports)
    write_text(out, comparison.render(reports))
    lines = [comparison.format_markdown(reports)]
    lines += [
        f"note      the report of {folder} is of earlier series or settings; distgan evaluate "
        f"{quote_path(folder)} makes it again"
        for folder in folders
        if is_earlier(folder)
    ]
    tree = {"page": str(out), "runs": {name: report.to_json() for name, report in reports.items()}}
    return Result("\n".join([*lines, f"page      {out}"]), tree)


def is_earlier(folder: Path) -> bool:
    """Return whether a report is of other series or settings than the run has now."""
    run = Run(folder)
    return run.config.exists() and find_current("evaluate", config.load(run.config), run) is None


def name_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """Return a short name for each folder: its own, or its whole path where two have the same.

    Raises:
        UserError: a folder is given twice.
    """
    own = [folder.resolve().name for folder in folders]
    names = [str(folder) if own.count(name) > 1 else name for folder, name in zip(folders, own)]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name} is given twice; distgan compare needs different runs")
    return dict(zip(names, folders))


def open_report(folder: Path, name: str) -> Report:
    return Report.from_json(read_record(Run(folder).scores), name)
