"""Runs for the gate, and what it says of them."""

import html

from distgan import cli, errors
from distgan.files import read_json
from distgan.run import Run
from tests.helpers.settings import TINY

CREDIT = "Homes of Our Town, CC BY 4.0"


QUICK = [*TINY, "model=gaussian", "encoder.steps=3", f"data.credit={CREDIT}"]


UNNAMED = ["--stages", "prepare,encoder,encode,cluster,bank,gan,generate"]


def code(*arguments: object) -> int:
    return errors.answer(lambda: cli.run_command([str(each) for each in arguments]))


def verdict(run: Run) -> dict[str, object]:
    return read_json(run.folder / "release-verdict.json")


def refused(run: Run, expected: int) -> str:
    """The verdict's sentence of a release that ended with the code and wrote nothing else."""
    assert code("release", run.folder) == expected
    assert not (run.folder / "release").exists()
    found = verdict(run)
    assert found["exit_code"] == expected
    assert str(found["sentence"])[:60] in html.unescape((run.folder / "release-verdict.html").read_text())
    return str(found["sentence"])
