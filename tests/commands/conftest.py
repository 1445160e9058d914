"""What tests of commands share: one run that the gate judges."""

from pathlib import Path

import pytest

from distgan.run import Run
from distgan.train import main
from tests.helpers.releases import QUICK, UNNAMED
from tests.helpers.runs import copy
from tests.helpers.sharing import make_once


@pytest.fixture(scope="session")
def run(homes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without networks to train; tests that change it work on a copy."""
    tiny = [text for text in QUICK if not text.startswith(("model.patch", "model.gen", "model.disc"))]
    settings = [f"data.source={homes_csv}", *tiny, *UNNAMED]

    def make(folder: Path) -> None:
        assert main(["--run-dir", str(folder / "run"), *settings]) == 0

    return Run(make_once(tmp_path_factory, "run-of-the-gate", make) / "run")


@pytest.fixture
def mine(run: Run, tmp_path: Path) -> Run:
    return copy(run, tmp_path / "run")
