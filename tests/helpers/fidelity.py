"""Households with rhythms, and the scores of one set of them against another."""

import contextlib
import functools
from collections.abc import Iterator

import numpy as np
import pytest

from distgan.evaluation.metrics import fidelity
from distgan.evaluation.metrics.measure import Measure
from distgan.evaluation.results import Scores, ScoreTable

PER_DAY = 24.0
ALL_DRAWS = (fidelity.VALUE_DRAWS, fidelity.NOISE_DRAWS)
FEW_DRAWS = (3, 6)  # of scores, where a test needs no narrow interval


@contextlib.contextmanager
def average_over(draws: tuple[int, int]) -> Iterator[None]:
    """Average scores over so many draws, and take their noise from so many halves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity, "VALUE_DRAWS", draws[0])
        patch.setattr(fidelity, "NOISE_DRAWS", draws[1])
        yield


def homes(count: int, *, seed: int = 0, days: int = 42, channels: int = 1) -> np.ndarray:
    """Households with a rhythm of day and week, habits of their own, and noise: [n, L, C]."""
    rng = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    level = rng.lognormal(0, 0.5, (count, 1, channels))
    phase = rng.normal(0, 1.5, (count, 1, channels))
    day = 1 + 0.8 * np.sin(2 * np.pi * (hours[None, :, None] - 14 + phase) / 24)
    week = 1 + 0.3 * (hours // 24 % 7 >= 5)[None, :, None]
    return (level * day * week * rng.gamma(4, 0.25, (count, len(hours), channels))).astype(np.float32)


@functools.lru_cache(maxsize=4)
def _fit_measure(train: bytes, target: bytes, length: int, channels: int, owners: bytes | None) -> Measure:
    sets = (np.frombuffer(values, np.float32).reshape(-1, length, channels) for values in (train, target))
    return Measure(*sets, PER_DAY, None if owners is None else np.frombuffer(owners, np.int64))


def measure_against(
    target: np.ndarray, train: np.ndarray | None = None, owners: np.ndarray | None = None
) -> Measure:
    """Return what all candidates for a target are scored by: fitted once for the same values."""
    train = homes(20, seed=99, channels=target.shape[2]) if train is None else train
    who = None if owners is None else np.asarray(owners, np.int64).tobytes()
    return _fit_measure(
        train.astype(np.float32).tobytes(), target.astype(np.float32).tobytes(), *target.shape[1:], who
    )


def scores(target: np.ndarray, candidate: np.ndarray, train: np.ndarray | None = None) -> dict[str, float]:
    measure = measure_against(target, train)
    return measure.compute_scores(measure.compute_descriptors(candidate))


def judge_sets(*sets: np.ndarray, **more) -> ScoreTable:
    """Score training, held-out, synthetic and perhaps reference series [n, L, C]; hourly by default."""
    chosen = {name: more.pop(name) for name in ("owners", "owner_of") if name in more}
    return fidelity.evaluate(fidelity.Sets(*sets, **chosen), more.pop("steps_per_day", PER_DAY), **more)


def values_of(results: ScoreTable, name: str) -> Scores:
    return results.by_name[name].values
