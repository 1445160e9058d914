"""Homes with attributes: a car charges in the evening, people raise the level, a few live in castles."""

from pathlib import Path

import numpy as np

HOURS = 24 * 14
EVENING = (np.arange(HOURS) % 24 >= 18) & (np.arange(HOURS) % 24 < 22)


def described(path: Path, homes: int = 240, seed: int = 0) -> Path:
    """Write hourly series of homes with `ev` (a third), `kind` (flat, house, five castles) and `people` (1 to
    5, some missing) as NPZ.
    """
    rng = np.random.default_rng(seed)
    ev, people = np.arange(homes) % 3 == 0, 1 + np.arange(homes) % 5
    kind = np.where(rng.random(homes) < 0.5, "flat", "house").astype("<U6")
    kind[:5] = "castle"
    level = 0.2 * people[:, None] * rng.lognormal(0, 0.1, (homes, 1))
    rhythm = 1 + 0.5 * np.sin(2 * np.pi * np.arange(HOURS) / 24)
    x = level * rhythm * rng.gamma(8, 1 / 8, (homes, HOURS)) + 2 * ev[:, None] * EVENING
    known = np.where(np.arange(homes) % 11 == 0, np.nan, people)
    np.savez(
        path,
        x=x.astype(np.float32),
        freq=np.array("1h"),
        t0=np.array("2013-01-07"),
        ids=np.array([f"home-{home:04d}" for home in range(homes)]),
        ev=ev,
        kind=kind,
        people=known,
    )
    return path
