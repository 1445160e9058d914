"""The transforms by which a release may repeat a member's values, compared exactly, as data.

Shapes: n rows, L steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from distgan.evaluation.attacks.attack_data import Array
from distgan.evaluation.attacks.fragments import hashes
from distgan.evaluation.attacks.fragments.windows import Rows

Change = Callable[[Array], Array]  # [n, L] -> [n · f, L'], the f rows of each one after the other


def keep(rows: Array) -> Array:
    return rows


def reverse(rows: Array) -> Array:
    return np.ascontiguousarray(rows[:, ::-1])


def negate(rows: Array) -> Array:
    return -rows


def reverse_and_negate(rows: Array) -> Array:
    return -rows[:, ::-1]


def take_differences(rows: Array) -> Array:
    return np.diff(rows, axis=1)


def take_digits(rows: Array, grid: float) -> Array:
    """Return what values are above the next lower multiple of `grid`."""
    return np.asarray(np.mod(rows, np.float64(grid)), np.float32)


def split_parity(rows: Array) -> Array:
    """Return the even and the odd steps as two rows: [n, L] -> [2n, L // 2]."""
    even = rows[:, : rows.shape[1] // 2 * 2].reshape(len(rows), -1, 2)
    return np.ascontiguousarray(even.transpose(0, 2, 1)).reshape(2 * len(rows), -1)


DIRECTIONS: Mapping[str, Change] = {
    "as it stands": keep,
    "reversed": reverse,
    "negated": negate,
    "reversed and negated": reverse_and_negate,
}
AS_IT_STANDS: Mapping[str, Change] = {"as it stands": keep}
HALVED: Mapping[str, Change] = {"as it stands": split_parity}


@dataclass(frozen=True)
class Family:
    """Ways of comparing that share the real side's fingerprints.

    Attributes:
        code: values -> a code a step.
        span: steps before a step that its code depends on.
        real, made: how real rows and, by name, released rows are changed before they are compared.
        numbers: values -> the numbers that the codes stand for, if differences of them mean something.
    """

    name: str
    code: Callable[[Array], Array]
    span: int = 0
    real: Change = keep
    made: Mapping[str, Change] = field(default_factory=lambda: AS_IT_STANDS)
    numbers: Change | None = None

    def format_name(self, transform: str) -> str:
        return self.name if transform == "as it stands" else f"{self.name}, {transform}"


def list_families(rows: Rows) -> list[Family]:
    """Return every family; the grids are the three decimal ones around the usual deviation of a row of each
    channel. Digits below them may be a whole series of their own.
    """
    order, span, channels = hashes.encode_order, hashes.LAGS[-1], rows.released.shape[1]
    grids = sorted({grid for c in range(channels) for grid in _choose_grids(rows.real[c::channels])})[::-1]
    digits = {f"in digits below {grid:g}": partial(take_digits, grid=grid) for grid in grids}
    found = [
        Family("values", hashes.encode_bits, made=DIRECTIONS, numbers=keep),
        Family("order", order, span, made={**DIRECTIONS, **digits}),
        Family("order against differences", order, span, real=take_differences),
        Family("order against sums", order, span, made={"as it stands": take_differences}),
        Family("every second value", hashes.encode_bits, real=split_parity, made=HALVED, numbers=keep),
        Family("order, slowed to half", order, span, made=HALVED),
        Family("order, hastened twice", order, span, real=split_parity),
    ]
    return found + [_make_grid_family(grid) for grid in grids]


def _choose_grids(real: Array) -> list[float]:
    """Return the decade of the rows' median deviation, a tenth and a hundredth of it; none of flat rows."""
    sample = real[:: max(1, len(real) // 1000)]
    sample = sample[~np.isnan(sample).all(axis=1)]
    deviations = np.nanstd(sample, axis=1, dtype=np.float64)
    deviations = deviations[deviations > 0]
    decade = 10.0 ** np.floor(np.log10(np.median(deviations))) if len(deviations) else 0.0
    return [decade / part for part in (1, 10, 100)] if decade else []


def _make_grid_family(grid: float) -> Family:
    def compute_code(values: Array) -> Array:
        return hashes.encode_grid(values, grid)

    def compute_numbers(values: Array) -> Array:
        return np.rint(values.astype(np.float64) / grid)

    return Family(f"values rounded to {grid:g}", compute_code, numbers=compute_numbers)
