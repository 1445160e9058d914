"""Made household-years of electricity, for runs larger than any public set: homes that differ.

A home has a size, a daily pattern, a level, appliances, absences, and for some electric heating or a car. All
homes share one weather. The numbers are plausible orders of magnitude for Great Britain, chosen and not
fitted: 1,200 kWh a year and 700 more per person, 15 % with electric heating, 10 % with a car. Homes come in
blocks of 256 with random numbers of their own, so any part of a population can be made alone.

Shapes: H homes, D days, S steps a day. Values are kWh a step.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter

BLOCK = 256
HEATED, DRIVING = 0.15, 0.10  # shares of homes
# Bumps of activity (hour, width in hours, weight) on workdays and at weekends, by pattern of the household.
PATTERNS: dict[str, tuple[float, list[tuple[float, float, float]], list[tuple[float, float, float]]]] = {
    "out by day": (0.45, [(7.2, 1.0, 0.8), (19.0, 2.2, 1.9)], [(10.5, 2.5, 1.0), (18.5, 3.0, 1.5)]),
    "at home": (0.30, [(8.5, 1.5, 0.8), (12.8, 2.5, 1.0), (18.5, 2.5, 1.3)], [(9.5, 2, 0.9), (17.5, 4, 1.4)]),
    "late": (0.15, [(11.0, 2.0, 0.7), (22.0, 2.5, 1.9)], [(12.5, 2.5, 0.9), (22.0, 3.0, 1.7)]),
    "early": (0.10, [(5.2, 0.9, 1.1), (16.5, 2.2, 1.5)], [(7.0, 1.5, 0.9), (17.0, 3.0, 1.3)]),
}


def make_weather(seed: int, days: int) -> np.ndarray:
    """Daily mean temperature of a year that begins on 1 January, °C: [D]."""
    rng = np.random.Generator(np.random.Philox(key=[seed, 2**63]))
    yearly = 10.5 - 7 * np.cos(2 * np.pi * (np.arange(days) - 20) / 365)
    return yearly + lfilter([1], [1, -0.8], rng.normal(0, 1.5, days))


def make_block(
    seed: int, block: int, days: int = 365, steps: int = 6, shares: tuple[float, float] = (HEATED, DRIVING)
) -> tuple[np.ndarray, dict[str, Any]]:
    """Make 256 homes: values float32 [H, D·S], and what is known of each home, [H] arrays by name.

    Args:
        shares: of homes with electric heating and with a car.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, block]))
    people = rng.choice([1, 2, 3, 4, 5], BLOCK, p=[0.30, 0.35, 0.15, 0.14, 0.06])
    heated, car = rng.random(BLOCK) < shares[0], rng.random(BLOCK) < shares[1]
    active = (1200 + 700 * people) / 365 * rng.lognormal(0, 0.35, BLOCK)  # kWh a day
    base = active * rng.uniform(0.15, 0.45, BLOCK)
    present = _presence(rng, days)
    shapes, kind = _daily_shapes(rng, days, steps)
    season = 1 + rng.uniform(0.02, 0.3, (BLOCK, 1)) * np.cos(2 * np.pi * (np.arange(days) - 10) / 365)
    weeks = lfilter([1], [1, -0.6], rng.normal(0, 0.15, (BLOCK, days)), axis=1)
    daily = (active - base)[:, None] * season * np.exp(weeks) * present
    texture = rng.uniform(1.5, 9, (BLOCK, 1, 1))
    values = daily[:, :, None] * shapes * (rng.standard_gamma(texture, shapes.shape) / texture)
    values += base[:, None, None] / steps * rng.normal(1, 0.05, shapes.shape).clip(0.7, 1.3)
    values += heated[:, None, None] * _heating(rng, make_weather(seed, days), present, steps)
    values += car[:, None, None] * _charging(rng, present, steps)
    known = {"people": people, "heating": heated, "car": car, "pattern": kind}
    return values.reshape(BLOCK, days * steps).astype(np.float32).round(3), known


def _presence(rng: np.random.Generator, days: int) -> np.ndarray:
    """1 where somebody is at home, some hundredths on trips: [H, D]. A trip is more likely in summer."""
    present = np.ones((BLOCK, days), np.float32)
    likely = 1 + 2 * np.exp(-(((np.arange(days) - 215) / 30.0) ** 2))
    for _ in range(4):
        start = rng.choice(days, BLOCK, p=likely / likely.sum())
        length = np.where(rng.random(BLOCK) < 0.6, rng.integers(2, 17, BLOCK), 0)
        day = np.arange(days)
        away = (day >= start[:, None]) & (day < (start + length)[:, None])
        present[away] = 0.04
    return present


def _daily_shapes(rng: np.random.Generator, days: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of a day's activity in each step, [H, D, S], and the name of each home's pattern."""
    names = np.array(list(PATTERNS))
    kind = rng.choice(len(names), BLOCK, p=[PATTERNS[name][0] for name in names])
    hours = (np.arange(steps) + 0.5) * 24 / steps
    shift, width = rng.normal(0, 0.7, BLOCK), rng.lognormal(0, 0.2, BLOCK)
    found = np.empty((2, BLOCK, steps))
    for weekend in (0, 1):
        for number, name in enumerate(names):
            mine = kind == number
            found[weekend, mine] = 0.12
            for hour, spread, weight in PATTERNS[name][1 + weekend]:
                own = weight * rng.lognormal(0, 0.25, int(mine.sum()))
                off = (hours - hour - shift[mine, None] + 12) % 24 - 12
                found[weekend, mine] += own[:, None] * np.exp(
                    -0.5 * (off / np.maximum(spread * width[mine, None], 12 / steps)) ** 2
                )
    found /= found.sum(axis=2, keepdims=True)
    weekday = (np.arange(days) + 1) % 7  # 1 January 2013 is a Tuesday
    shapes = found[(weekday >= 5).astype(int)].transpose(1, 0, 2)
    return shapes, names[kind]


def _heating(rng: np.random.Generator, weather: np.ndarray, present: np.ndarray, steps: int) -> np.ndarray:
    """Electric heating, by degrees below 15.5 °C: [H, D, S]."""
    loss = rng.lognormal(0.1, 0.4, (BLOCK, 1)) * np.maximum(15.5 - weather, 0) * np.maximum(present, 0.3)
    hours = (np.arange(steps) + 0.5) * 24 / steps
    shape = 0.3 + np.exp(-0.5 * ((hours - 7) / 2.5) ** 2) + np.exp(-0.5 * ((hours - 19) / 3) ** 2)
    return loss[:, :, None] * (shape / shape.sum()) * rng.lognormal(0, 0.15, (BLOCK, len(weather), steps))


def _charging(rng: np.random.Generator, present: np.ndarray, steps: int) -> np.ndarray:
    """A car charged at 7 kW from some evenings on, until it is full: [H, D, S]."""
    days = present.shape[1]
    plugged = (rng.random((BLOCK, days)) < rng.uniform(0.2, 0.7, (BLOCK, 1))) & (present == 1)
    left = np.where(plugged, rng.lognormal(2.2, 0.5, (BLOCK, days)), 0)
    start = np.rint(rng.normal(19, 2, BLOCK) * steps / 24).astype(int).clip(0, steps - 1)
    found = np.zeros((BLOCK, days, steps))
    rows, most = np.arange(BLOCK), 7 * 24 / steps
    for step in range(steps):  # what is not full at midnight stays so
        taken = np.where((start + step < steps)[:, None], np.minimum(left, most), 0)
        found[rows, :, np.minimum(start + step, steps - 1)] += taken
        left = left - taken
    return found


def write_population(
    path: Path,
    homes: int,
    seed: int = 0,
    days: int = 365,
    steps: int = 6,
    shares: tuple[float, float] = (HEATED, DRIVING),
) -> None:
    """Write the first `homes` homes of a population as NPZ, a block at a time: `x` [homes, D·S] float32, and
    the attributes `ev`, `heat_pump` (electric heating) and `people` [homes].
    """
    known: dict[str, list[np.ndarray]] = {"car": [], "heating": [], "people": []}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, text in (("freq", f"{24 // steps}h"), ("t0", "2013-01-01")):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.array(text))
        with archive.open("x.npy", "w", force_zip64=True) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (homes, days * steps)}
            np.lib.format.write_array_header_2_0(file, header)
            for first in range(0, homes, BLOCK):
                values, about = make_block(seed, first // BLOCK, days, steps, shares)
                file.write(values[: homes - first].astype("<f4").tobytes())
                for name, arrays in known.items():
                    arrays.append(about[name][: homes - first])
        for name, own in (("ev", "car"), ("heat_pump", "heating"), ("people", "people")):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.concatenate(known[own]))
