"""What tests share: small populations of series with a daily rhythm, and a config that trains on them in
seconds.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]

TINY = [
    "data.reduce.factor=2",
    "encoder.patch=12",
    "encoder.width=16",
    "encoder.depth=1",
    "encoder.latent_dim=4",
    "encoder.steps=12",
    "encoder.batch_size=8",
    "encoder.heads=2",
    "bank.condition_dim=2",
    "bank.min_members=15",
    "model.patch=12",
    "model.generator.width=16",
    "model.generator.noise_dim=4",
    "model.generator.token_noise_dim=2",
    "model.generator.scales=[{ratio: 1, depth: 1, heads: 2}, {ratio: 2, depth: 1, heads: 2}]",
    "model.discriminator.width=16",
    "model.discriminator.scales=[{ratio: 1, depth: 1, heads: 2}]",
    "model.discriminator.periods=[12]",
    "model.discriminator.spectra=[24]",
    "model.discriminator.side_channels=2",
    "train.steps=20",
    "train.batch_size=8",
    "train.report_every=5",
    "train.sample_every=10",
    "train.checkpoint_every=5",
    "generate.count=12",
    "engine.threads=1",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests for a GPU say why they do not run where there is none."""
    for item in items:
        if item.get_closest_marker("gpu") is not None and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch finds none"))


def population(homes: int = 60, hours: int = 24 * 28, seed: int = 0) -> pd.DataFrame:
    """Hourly kWh of homes with a daily rhythm of their own, a column a home, and a few missing readings."""
    rng = np.random.default_rng(seed)
    time = np.arange(hours)
    level = rng.lognormal(0, 0.4, homes)
    phase = rng.uniform(0, 6, homes)
    rhythm = 1.2 + np.sin(2 * np.pi * (time[:, None] - phase) / 24) * rng.uniform(0.3, 1, homes)
    values = level * rhythm * rng.gamma(8, 1 / 8, (hours, homes))
    values[rng.random(values.shape) < 0.002] = np.nan
    table = pd.DataFrame(values.round(4), columns=[f"home-{home:03d}" for home in range(homes)])
    table.insert(0, "timestamp", pd.date_range("2013-01-07", periods=hours, freq="h"))
    return table


@pytest.fixture(scope="session")
def homes_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("homes") / "homes.csv"
    population().to_csv(path, index=False)
    return path
