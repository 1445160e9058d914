"""What tests of data share: small parts, honest series."""

import numpy as np
import pytest

from distgan.data import ingest
from distgan.data.formats import csv_pieces
from tests.helpers.households import population
from tests.helpers.suspicions import HOMES, HOURS


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many parts of a file and many blocks of series."""
    monkeypatch.setattr(csv_pieces, "PIECE_BYTES", 4000)
    monkeypatch.setattr(ingest, "BLOCK_BYTES", 4000)


@pytest.fixture
def homes() -> np.ndarray:
    """Hourly kWh with a daily rhythm, nothing wrong: float32 [homes, hours]."""
    values = population(HOMES, HOURS).drop(columns="timestamp").to_numpy(np.float32).T
    return np.nan_to_num(values, nan=0.5)
