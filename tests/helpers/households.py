"""Small populations of series with a daily rhythm: as a table, as arrays, and as points of groups."""

import numpy as np
import pandas as pd


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
