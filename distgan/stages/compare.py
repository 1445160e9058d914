"""Runs side by side: their report.json -> a table for the terminal, and compare.html."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distgan.errors import UserError
from distgan.evaluation import compare
from distgan.files import read_json, write_text
from distgan.runs import Run


def run(arguments: Sequence[str]) -> str:
    """`RUN RUN ... [--out FILE.html]`: folders that hold a report.json; the table, for a terminal.

    Raises:
        UserError: a report is missing, or the reports do not fit together.
    """
    parser = argparse.ArgumentParser(
        prog="distgan compare", description="Put runs of the same data side by side."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or those of --out")
    parser.add_argument("--out", type=Path, default=Path("compare.html"), help="the page (%(default)s)")
    options = parser.parse_args(arguments)
    if len(options.runs) < 2:
        raise UserError("distgan compare needs two runs or more, e.g. distgan compare runs/one runs/two")
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
    if not Run(folder).scores.exists():
        raise UserError(f"no report.json in {folder}; run distgan evaluate {folder} first")
    found: dict[str, Any] = read_json(Run(folder).scores)
    return found
