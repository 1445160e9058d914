"""What tests share: small populations of series with a daily rhythm, and a config that trains on them in
seconds.
"""

import os
from pathlib import Path

import pytest
import torch

from distgan import progress
from tests.helpers.households import population

os.environ.setdefault("OMP_NUM_THREADS", "1")

progress.FIRST = 3600.0  # tests compare what commands print, and lines of progress come by the clock


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests for a GPU say why they do not run where there is none."""
    for item in items:
        if item.get_closest_marker("gpu") is not None and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch finds none"))


@pytest.fixture(scope="session")
def homes_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("homes") / "homes.csv"
    population().to_csv(path, index=False)
    return path
