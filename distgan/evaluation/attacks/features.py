"""About twenty interpretable features of a series that an acquaintance may know or a bill may show.

Shapes: n series, L steps, C channels; NaN where missing.
"""

import numpy as np

NAMES = (
    "location",
    "deviation",
    "base load",
    "median",
    "peak",
    "load factor",
    "share near the base",
    "ramp",
    "size of the daily rhythm",
    "hour of the daily rhythm",
    "second hour of the daily rhythm",
    "size of the half-daily rhythm",
    "size of the weekly rhythm",
    "place in the week",
    "second place in the week",
    "first quarter",
    "second quarter",
    "third quarter",
    "correlation with the step before",
    "correlation with the day before",
)
SIZES = 5  # of these are in the series' unit; the others are of its shape
FLAT = 1e-7  # of the largest value: what deviates less does so by rounding, whatever the unit
SECRETS = ("location", "base load", "peak")  # what the inference attack guesses


def fill_gaps(series: np.ndarray) -> np.ndarray:
    """Return [n, L, C] float32 with every gap at its series' own mean (0 for an empty one)."""
    series = np.asarray(series, np.float32)
    missing = np.isnan(series)
    if not missing.any():
        return series
    counts = np.maximum((~missing).sum(axis=1, keepdims=True), 1)
    known = np.where(missing, np.float32(0), series)
    return np.where(missing, (known.sum(axis=1, keepdims=True) / counts).astype(np.float32), known)


def describe(series: np.ndarray, steps_per_day: float) -> np.ndarray:
    """Compute features: [n, L, C] in original units -> [n, C · 20] float64, channel by channel, ordered as
    `NAMES`.
    """
    values = fill_gaps(series)
    return np.concatenate(
        [_describe_channel(values[..., c], steps_per_day) for c in range(values.shape[2])], axis=1
    )


def _describe_channel(values_nL: np.ndarray, steps_per_day: float) -> np.ndarray:
    level = values_nL.mean(axis=1, dtype=np.float64)
    deviation = values_nL.std(axis=1, dtype=np.float64)
    unit = np.where(deviation > FLAT * np.abs(values_nL).max(axis=1), deviation, np.inf)
    base, median, peak = np.quantile(values_nL, [0.05, 0.5, 0.99], axis=1)
    centred = (values_nL - level[:, None].astype(np.float32)) / unit[:, None].astype(np.float32)
    near_base = (values_nL <= (base + 0.1 * (peak - base))[:, None]).mean(axis=1)
    day, half_day, week = (
        _measure_wave(centred, period) for period in (steps_per_day, steps_per_day / 2, 7 * steps_per_day)
    )
    quarters = [part.mean(axis=1) for part in np.array_split(centred, 4, axis=1)[:3]]
    columns = [level, deviation, base, median, peak]
    columns += [level / np.where(peak == 0, np.inf, np.abs(peak)), near_base]
    columns += [np.abs(np.diff(values_nL, axis=1)).mean(axis=1) / unit]
    columns += [*day, half_day[0], *week, *quarters]
    columns += [_correlate(centred, lag) for lag in (1, round(steps_per_day))]
    return np.stack(columns, axis=1)


def _measure_wave(centred_nL: np.ndarray, period: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the amplitude, and the place of the maximum (cosine and sine), of the wave of a period in
    steps.
    """
    angle = 2 * np.pi * np.arange(centred_nL.shape[1]) / max(period, 1e-9)
    wave = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    if not 2 < period <= centred_nL.shape[1]:
        wave[:] = 0  # the series cannot show it
    cosine, sine = (centred_nL @ wave / centred_nL.shape[1]).T.astype(np.float64)
    size = np.hypot(cosine, sine)
    return size, cosine / np.maximum(size, 1e-9), sine / np.maximum(size, 1e-9)


def _correlate(centred_nL: np.ndarray, lag: int) -> np.ndarray:
    length = centred_nL.shape[1]
    if not 0 < lag < length:
        return np.zeros(len(centred_nL))
    products = np.einsum("nl,nl->n", centred_nL[:, lag:], centred_nL[:, :-lag], dtype=np.float64)
    return products / (length - lag)
