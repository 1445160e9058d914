"""Settings of sweeps: a space in a file, and trials that take seconds."""

from pathlib import Path
from typing import Any

import yaml

from distgan import config
from tests.helpers.settings import TINY

RATE = {"train.generator_rate": {"loguniform": [1e-4, 2e-3]}}


def settings(tmp_path: Path, space: dict[str, Any], *overrides: str, **chosen: Any) -> config.Config:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"sweep": {"space": space, **chosen}}, sort_keys=False))
    return config.load(path, overrides)


def overrides(homes: Path, *more: str) -> list[str]:
    return [f"data.source={homes}", *TINY, "generate.count=8", *more]
