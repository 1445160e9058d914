"""Settings of generated values: a range, whole numbers, multiples of a step."""

import math
from fractions import Fraction

from pydantic import model_validator

from distgan.config.base import Section, key
from distgan.progress import format_exact

MOST_STEPS = 1 << 23  # of a float32, beyond which neighbouring multiples are one number


class Bounds(Section):
    lower: float | None = key(None, "lower bound of generated values (0 for loads and counts)")
    upper: float | None = key(None, "upper bound of generated values (100 for percentages)")
    integer: bool = key(False, "round generated values to whole numbers")
    step: float | None = key(
        None,
        "round generated values to whole multiples of this number, e.g. 0.001 for a meter that counts Wh, "
        "in kWh",
        gt=0,
    )

    @model_validator(mode="after")
    def _order(self) -> "Bounds":
        lower, upper, step = self.lower, self.upper, self.grid_step
        if lower is not None and upper is not None and not lower < upper:
            raise ValueError(f"lower {format_exact(lower)} is not below upper {format_exact(upper)}")
        if self.integer and self.step is not None and not float(self.step).is_integer():
            raise ValueError(
                f"integer rounds to whole numbers, and step {format_exact(self.step)} is none; leave one "
                "of them out"
            )
        if step is None:
            return self
        if lower is not None and upper is not None and count_from(lower, step) > count_to(upper, step):
            what = "whole number" if self.step is None else f"multiple of step {format_exact(step)}"
            raise ValueError(
                f"no {what} lies between lower {format_exact(lower)} and upper {format_exact(upper)}"
            )
        for name, bound in (("lower", lower), ("upper", upper)):
            if bound is not None and abs(bound) > MOST_STEPS * step:
                raise ValueError(
                    f"{name} {format_exact(bound)} is more than {MOST_STEPS:,} steps of {format_exact(step)} "
                    "from 0, which float32 cannot hold; use a larger step"
                )
        return self

    @property
    def grid_step(self) -> float | None:
        """The step whose multiples values are; None where they may be any number."""
        return choose_grid_step(self.step, self.integer)


def choose_grid_step(step: float | None, integer: bool) -> float | None:
    """Return the step whose multiples values are, 1 for whole numbers; None where they may be any number."""
    return step if step is not None else 1.0 if integer else None


def read_decimal(number: float) -> Fraction:
    """Return the decimal number as it is written: 0.1 is 1/10."""
    return Fraction(repr(float(number)))


def count_from(bound: float, step: float) -> int:
    """Return the number of the least multiple of `step` at or above `bound`."""
    return math.ceil(read_decimal(bound) / read_decimal(step))


def count_to(bound: float, step: float) -> int:
    """Return the number of the largest multiple of `step` at or below `bound`."""
    return math.floor(read_decimal(bound) / read_decimal(step))


def round_down(number: float) -> str:
    """Return a positive number with one digit, never above it: 1.7e-4 -> 1e-04."""
    exponent = math.floor(math.log10(number))
    return f"{math.floor(round(number / 10**exponent, 9))}e{exponent:03d}"


def round_up(bound: float, digits: int) -> str:
    """Return an upper bound with so many digits after the point, never below it: 0.6233 -> 0.63."""
    return f"{math.ceil(round(bound * 10**digits, 6)) / 10**digits:.{digits}f}"
