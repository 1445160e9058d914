"""Runs side by side: their report.json -> a table for the terminal, and compare.html."""

from collections.abc import Sequence
from pathlib import Path

from distgan.arguments import parse_compare
from distgan.errors import UserError
from distgan.evaluation.report import comparison
from distgan.evaluation.results import Report
from distgan.files import read_record, write_text
from distgan.run import Run


def run(arguments: Sequence[str]) -> str:
    """`RUN RUN ... [--out FILE.html]`: folders that hold a report.json; the table, for a terminal.

    Raises:
        UserError: a report is missing, or the reports do not fit together.
    """
    options = parse_compare(arguments)
    reports = {name: open_report(folder, name) for name, folder in name_runs(options.runs).items()}
    comparison.refuse_unlike(reports)
    write_text(options.out, comparison.render(reports))
    return f"{comparison.format_markdown(reports)}\npage      {options.out}\n"


def name_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """A short name for each folder: its own, or its whole path where two have the same.

    Raises:
        UserError: a folder is given twice.
    """
    own = [folder.resolve().name for folder in folders]
    names = [str(folder) if own.count(name) > 1 else name for folder, name in zip(folders, own)]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name} is given twice; distgan compare wants different runs")
    return dict(zip(names, folders))


def open_report(folder: Path, name: str) -> Report:
    return Report.from_json(read_record(Run(folder).scores), name)
