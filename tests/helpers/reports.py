"""Households for reports, and the page of one."""

import numpy as np

from distgan.evaluation.plots import style

HOURS = 24 * 35


def homes(count: int, seed: int = 0, steps: int = HOURS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    day = 1 + 0.8 * np.sin(2 * np.pi * np.arange(steps) / 24)
    return (rng.lognormal(0, 0.5, (count, 1)) * day * rng.gamma(4, 0.25, (count, steps)))[..., None].astype(
        "f4"
    )


def view(steps: int = HOURS, step_seconds: int = 3600) -> style.View:
    times = np.datetime64("2019-01-01T00:00:00") + np.arange(steps) * np.timedelta64(step_seconds, "s")
    return style.View(times, 86400 / step_seconds, "kWh", 0, "load")
