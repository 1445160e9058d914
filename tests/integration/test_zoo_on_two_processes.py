"""Every family of the zoo trains on two processes as on one."""

import json
from pathlib import Path

import pytest
import torch

from distgan import config
from distgan.engine import checkpoint
from distgan.parallel.processes import Parallel
from distgan.run import Run
from tests.helpers.zoo import STEPS, TRAINED, train


@pytest.fixture(scope="module")
def alone() -> Parallel:
    return Parallel(config.Engine(threads=1))


def curves(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in Run(folder).metrics("gan").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key.endswith(("loss", "norm"))} for line in lines]


@pytest.mark.parametrize("name", TRAINED)
def test_two_processes_train_as_one(name: str, alone: Parallel, two: Path, tmp_path: Path) -> None:
    train(name, alone, tmp_path)
    for mine, theirs in zip(curves(tmp_path), curves(two / "zoo" / name), strict=True):
        assert mine == pytest.approx(theirs, rel=2e-3, abs=2e-4)
    ours, others = (
        checkpoint.load(Run(folder).checkpoints("gan"), STEPS).state
        for folder in (tmp_path, two / "zoo" / name)
    )
    averages = [file for file in ours if file.endswith(".average")]
    for file in averages:
        for key, value in ours[file].items():
            torch.testing.assert_close(others[file][key], value, atol=1e-4, rtol=0)
