"""Signed transforms of readings before scaling, and their inverses."""

from collections.abc import Callable

import numpy as np


def _apply_sqrt(values: np.ndarray, unit: float) -> np.ndarray:
    return np.copysign(np.sqrt(np.abs(values)), values)


def _apply_square(values: np.ndarray, unit: float) -> np.ndarray:
    return np.copysign(values * values, values)


def _apply_log1p(values: np.ndarray, unit: float) -> np.ndarray:
    return np.copysign(np.log1p(np.abs(values) / np.float32(unit)), values)


def _apply_expm1(values: np.ndarray, unit: float) -> np.ndarray:
    return np.copysign(np.expm1(np.abs(values)) * np.float32(unit), values)


def _is_constant(values: np.ndarray, unit: float) -> np.ndarray:
    return values.copy()


Transform = Callable[[np.ndarray, float], np.ndarray]
TRANSFORMS: dict[str, tuple[Transform, Transform]] = {  # odd functions and their inverses
    "none": (_is_constant, _is_constant),
    "sqrt": (_apply_sqrt, _apply_square),
    "log1p": (_apply_log1p, _apply_expm1),
}
