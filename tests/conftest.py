"""What tests of all folders share: a table of homes, a finished run, a store of few series."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings as property_settings

from distgan import files, progress
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.private_table import find_private_table, write_table
from distgan.data.store.writer import StoreWriter
from distgan.run import Run
from distgan.train import main
from tests.helpers.fidelity import FEW_DRAWS, average_over
from tests.helpers.households import population
from tests.helpers.runs import FINISHED, arguments
from tests.helpers.sharing import make_once

os.environ.setdefault("OMP_NUM_THREADS", "1")

property_settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
property_settings.load_profile("untimed")

progress.FIRST = 3600.0  # tests compare what commands print, and lines of progress come by the clock


# Modules that take long, or that wait for processes: they start first, so that all workers end together.
LONG = (
    "integration/test_zero.py",
    "models/test_learned_by_heart.py",
    "integration/",
    "commands/",
    "pipeline/",
    "sweep/",
    "evaluation/",
    "planning/",
    "models/",
    "data/test_windows.py",
    "data/test_workers.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long modules first; tests for a GPU say why they do not run where there is none."""
    tests = Path(__file__).parent

    def turn(item: pytest.Item) -> int:
        place = item.path.relative_to(tests).as_posix()
        return next((turn for turn, long in enumerate(LONG) if place.startswith(long)), len(LONG))

    items.sort(key=turn)
    for item in items:
        if item.get_closest_marker("gpu") is not None and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch finds none"))


@pytest.fixture(autouse=True, scope="module")
def draws_of_scores() -> Iterator[None]:
    """Average scores over few draws; tests that need those of a report ask for `ALL_DRAWS`."""
    with average_over(FEW_DRAWS):
        yield


@pytest.fixture(scope="session")
def homes_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 60 homes and four weeks; the same path for all workers, since configs name it."""

    def make(folder: Path) -> None:
        population().to_csv(folder / "homes.csv", index=False)

    return make_once(tmp_path_factory, "homes", make) / "homes.csv"


@pytest.fixture(scope="session")
def run(homes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run; tests that change it work on a copy."""

    def make(folder: Path) -> None:
        with average_over(FEW_DRAWS):
            assert main(arguments(homes_csv, folder / "run", *FINISHED)) == 0

    return Run(make_once(tmp_path_factory, "finished-run", make) / "run")


@pytest.fixture
def stored(tmp_path: Path) -> Run:
    """A run folder that holds a store of six series, their table and a scaler."""
    run = Run(tmp_path / "run")
    meta = Meta(Axis("2013-01-01T00:00:00", 3600, 24), ("kWh",), "kWh", {}, {})
    with StoreWriter(run.series, meta) as writer:
        writer.append(np.ones((6, 24, 1), np.float32))
    names = [f"home-{number}" for number in range(6)]
    write_table(find_private_table(run.series), names, names, ["train"] * 6)
    scaler = {"transform": "none", "method": "standard", "unit": 1.0, "bound": 2.0, "lower_bound": None}
    files.write_json(run.scaler, {"scaler": scaler, "meta": meta.to_dict()})
    return run
