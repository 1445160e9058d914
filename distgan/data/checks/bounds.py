"""Suggest bounds of generated values from the data: a lower bound, whole numbers, a step, an upper bound."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from distgan import config
from distgan.data.checks.survey import Channel
from distgan.data.zeros import LARGE_SHARE
from distgan.progress import format_exact

Severity = Literal["error", "warning", "hint", "accepted"]
Found = tuple[str, Severity, str, str, str]  # name, severity, text, the text for others, advice
FEWEST_SHARED = 15  # series behind a value that is named
RARE = 0.01
FEWEST_SAMPLED = 100  # values that show a step
SEEN = 1e-3  # of the usual value: a finer step is not worth a suggestion
VALUE_STEPS = (  # the largest that fits is suggested; 1 is data.bounds.integer
    *(scale * first for scale in (1000, 100, 10) for first in (5, 2, 1)),
    *(5, 2, 1, 0.5, 0.25, 0.2, 0.1, 0.05, 0.025, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001),
)


def suggest_bounds(labelled: Sequence[tuple[Channel, str]], data: config.Data) -> Iterator[Found]:
    """Suggest bounds of generated values: severity, texts and setting of what was noticed.

    A suggestion is 0, whole numbers or one of a few public steps; of values of the data only a largest one
    that many series share is named.

    Args:
        labelled: each channel, with what names it in a text.
    """
    channels = [each for each, _ in labelled if each.measured]
    if not channels:
        return
    unbounded = data.bounds.lower is None and all(channel.low >= 0 for channel in channels)
    if unbounded:
        text = "no value is below 0, and generated values may be"
        yield ("lower_limit", "hint", text, text, "set data.bounds.lower=0")
    averaged = data.reduce.factor > 1 and data.reduce.method == "mean"  # no multiples any more
    if data.bounds.grid_step is None and not averaged:
        yield from _suggest_step(channels)
    often = max(channel.zeros / channel.measured for channel in channels)
    if unbounded and often >= LARGE_SHARE and data.zeros != "as_generated":
        text = "1 % or more of the values are exactly 0, and generated series may have fewer zeros or more"
        advice = "set data.bounds.lower=0, so that data.zeros matches them where enough owners have some"
        yield ("zeros", "hint", text, text, advice)
    for channel, label in labelled:
        yield from _find_beyond(channel, label, data.bounds)
        sample = channel.sample
        below = float((sample < 0).mean()) if len(sample) else 0.0
        if (
            channel.low < 0
            and not any(code < 0 for code in channel.codes)
            and below < RARE
            and channel.compute_quantile(RARE) >= 0
        ):
            text = f"a few values are below 0{label}"
            yield ("negative", "warning", text, text, "correct them, or leave them empty")
        if data.bounds.upper is None:
            yield from _suggest_upper_limit(channel, label)


def _find_beyond(channel: Channel, label: str, bounds: config.Bounds) -> Iterator[Found]:
    """Find values beyond the bounds that are set, which hold for all channels."""
    for key, side, bound, sign, end in (
        ("lower", "below", bounds.lower, -1, channel.low),
        ("upper", "above", bounds.upper, 1, channel.high),
    ):
        if bound is None or not channel.measured or any(sign * (code - bound) > 0 for code in channel.codes):
            continue  # codes for missing values are reported as such
        if sign * (end - np.float32(bound)) > 0:
            limit = f"data.bounds.{key} {format_exact(bound)}"
            text = f"some values are {side} {limit}{label}, and generated ones cannot be"
            yield (f"{key}_limit", "warning", text, text, f"correct them, or set data.bounds.{key}=null")


def _suggest_step(channels: Sequence[Channel]) -> Iterator[Found]:
    """Suggest whole numbers, or another step that all values are multiples of."""
    step = find_value_step(channels)
    if step == 1:
        text = "all values are whole numbers, and generated values will not be"
        yield ("integer", "hint", text, text, "set data.bounds.integer=true")
    elif step is not None:
        text = f"all values are multiples of {format_exact(step)}, and generated values will not be"
        yield ("value_step", "hint", text, text, f"set data.bounds.step={format_exact(step)}")


def _suggest_upper_limit(channel: Channel, label: str) -> Iterator[Found]:
    """Suggest an upper limit where many values equal the largest one and few lie just below it."""
    limit = channel.highs.get(channel.high)
    if (
        limit is None
        or not channel.low < channel.high
        or limit.series < min(channel.series, max(3, channel.series / 5))
    ):
        return
    share, sample = limit.values / channel.measured, channel.sample
    near = channel.high - 0.02 * (channel.high - channel.low)
    below = float(((sample >= near) & (sample < channel.high)).mean())
    if share < 0.005 or share < 2 * below:
        return
    value = format_exact(channel.high)
    text = (
        f"{share:.1%} of the values are exactly {value}, the largest{label}, and generated values "
        "may be larger"
    )
    if limit.series < FEWEST_SHARED:
        text = text.replace(f"exactly {value}, ", "exactly ")
        yield ("upper_limit", "warning", text, text, "set data.bounds.upper to the limit of the meters")
    else:
        yield ("upper_limit", "warning", text, text, f"set data.bounds.upper={value}")


def is_whole(channel: Channel) -> bool:
    """Return whether all sampled values are whole numbers, of which there are more than a few."""
    return are_multiples(channel, 1.0)


def are_multiples(channel: Channel, step: float) -> bool:
    """Return whether all sampled values are multiples of a step, more than a few different ones, in numbers
    that float32 holds well enough to say so.
    """
    sample = channel.sample.astype(np.float64)
    if len(sample) < FEWEST_SAMPLED:
        return False
    rounding = 2 * np.finfo(np.float32).eps * np.abs(sample) / step
    off = np.abs(sample / step - np.rint(sample / step))
    return bool((off <= rounding).all() and rounding.max() < 0.05 and len(np.unique(sample)) > 10)


def find_value_step(channels: Sequence[Channel]) -> float | None:
    """Return the largest of a few public steps whose multiples all values are; None if there is none, or if
    it is less than a thousandth of the usual value of every channel, which nobody sees.
    """
    for step in VALUE_STEPS:
        if all(are_multiples(channel, step) for channel in channels):
            return float(step) if any(step >= SEEN * _find_usual(channel) for channel in channels) else None
    return None


def _find_usual(channel: Channel) -> float:
    """Return the median size of the sampled values that are not 0."""
    sizes = np.abs(channel.sample[channel.sample != 0].astype(np.float64))
    return float(np.median(sizes)) if len(sizes) else 0.0
