"""Tables in files of the test, and what is read from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distgan import config
from distgan.data.formats.pieces import Source
from distgan.data.formats.sources import read_source

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


def case(name: str) -> Path:
    if not (CASES / name).exists():
        pytest.skip(f"{name} is not in ../shared/cases")
    return CASES / name


def load(path: Path, place: Path, **settings: Any) -> Source:
    return read_source(config.Data.model_validate({"source": str(path)} | frozen(settings)), place / "work")


def frozen(settings: Any) -> Any:
    """Lists as the tuples that settings hold."""
    if isinstance(settings, dict):
        return {key: frozen(value) for key, value in settings.items()}
    return tuple(settings) if isinstance(settings, list) else settings


def load_text(text: str | bytes, place: Path, name: str = "a.csv", **settings: Any) -> Source:
    (place / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(place / name, place, **settings)


def values(source: Source) -> np.ndarray:
    """All series of one channel, [n, L], or of several, [n, L, C]."""
    found = source.block(0, len(source.entities))
    return found[:, :, 0] if found.shape[2] == 1 else found


def long_rows(homes: str = "ab", hours: int = 4) -> list[list[str]]:
    """id, time, kwh: the reading of home h at hour t is 10 h + t + 0.5."""
    return [
        [home, f"2013-01-01 {hour:02d}:00", f"{10 * number + hour}.5"]
        for number, home in enumerate(homes)
        for hour in range(hours)
    ]


EXPECTED = np.array([[0.5, 1.5, 2.5, 3.5], [10.5, 11.5, 12.5, 13.5]])


def joined(rows: list[list[str]], separator: str = ",") -> str:
    return "\n".join(separator.join(row) for row in rows) + "\n"


WIDE = "time,a,b\n" + "".join(f"2013-01-01 {hour:02d}:00,{hour}.5,{10 + hour}.5\n" for hour in range(4))
