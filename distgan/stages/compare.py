"""Runs side by side: their report.json -> a table for the terminal, and compare.html."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distgan.arguments import parse_compare
from distgan.errors import UserError
from distgan.evaluation import compare
from distgan.files import read_record, write_text
from distgan.runs import Run


def run(arguments: Sequence[str]) -> str:
    """`RUN RUN ... [--out FILE.html]`: folders that hold a report.json; the table, for a terminal.

    Raises:
        UserError: a report is missing, or the reports do not fit together.
    """
    options = parse_compare(arguments)
    reports = {name: opened(folder) for name, folder in named(options.runs).items()}
    compare.refuse_unlike(reports)
    write_text(options.out, compare.render(reports))
    return f"{compare.markdown(reports)}\npage      {options.out}\n"


def named(folders: Sequence[Path]) -> dict[str, Path]:
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


def opened(folder: Path) -> dict[str, Any]:
    return read_record(Run(folder).scores)
