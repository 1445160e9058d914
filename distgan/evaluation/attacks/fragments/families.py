"""In which ways a release may repeat a member's values: what is compared exactly, as data.

Shapes: n rows, L steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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


def difference(rows: Array) -> Array:
    return np.diff(rows, axis=1)


def every_second(rows: Array) -> Array:
    """The even and the odd steps as two rows: [n, L] -> [2n, L // 2]."""
    even = rows[:, : rows.shape[1] // 2 * 2].reshape(len(rows), -1, 2)
    return np.ascontiguousarray(even.transpose(0, 2, 1)).reshape(2 * len(rows), -1)


DIRECTIONS: Mapping[str, Change] = {
    "as it stands": keep,
    "reversed": reverse,
    "negated": negate,
    "reversed and negated": reverse_and_negate,
}
AS_IT_STANDS: Mapping[str, Change] = {"as it stands": keep}
HALVED: Mapping[str, Change] = {"as it stands": every_second}


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

    def name_of(self, transform: str) -> str:
        return self.name if transform == "as it stands" else f"{self.name}, {transform}"


def list_families(rows: Rows) -> list[Family]:
    """Return every family; the grids are the three decimal ones around a row's usual deviation."""
    order, span = hashes.code_order, hashes.LAGS[-1]
    found = [
        Family("values", hashes.code_bits, made=DIRECTIONS, numbers=keep),
        Family("order", order, span, made=DIRECTIONS),
        Family("order against differences", order, span, real=difference),
        Family("order against sums", order, span, made={"as it stands": difference}),
        Family("every second value", hashes.code_bits, real=every_second, made=HALVED, numbers=keep),
        Family("order, slowed to half", order, span, made=HALVED),
        Family("order, hastened twice", order, span, real=every_second),
    ]
    sample = rows.real[:: max(1, len(rows.real) // 1000)]
    sample = sample[~np.isnan(sample).all(axis=1)]
    deviations = np.nanstd(sample, axis=1)
    deviations = deviations[deviations > 0]
    if len(deviations):
        decade = 10.0 ** np.floor(np.log10(np.median(deviations)))
        found += [_on_grid(decade / part) for part in (1, 10, 100)]
    return found


def _on_grid(grid: float) -> Family:
    def code(values: Array) -> Array:
        return hashes.code_grid(values, grid)

    def numbers(values: Array) -> Array:
        return np.rint(values.astype(np.float64) / grid)

    return Family(f"values rounded to {grid:g}", code, numbers=numbers)
