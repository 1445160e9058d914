"""Plain statistics of real and synthetic values side by side; no figure is the value of one person.

Shapes: n series, L steps, C channels. Values are in original units, NaN where missing.
"""

from collections.abc import Sequence

import numpy as np

from distgan.evaluation.metrics.descriptors import Array
from distgan.evaluation.typed_json import JsonResult
from distgan.progress import format_digits

GROUP = 15  # owners behind a figure of real series, where no single one may be shown (15/15 rule)
QUANTILES = {"1 %": 0.01, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "99 %": 0.99, "99.9 %": 0.999}
DIGITS = 3  # significant ones of a real figure, where no single value may be shown
EXTREME_DIGITS = 2


class Statistic(JsonResult):
    """One line: `real` is None where too few owners are behind it."""

    title: str
    real: float | None
    synthetic: float | None
    share: bool = False  # 0 to 1: missing ones of all values, zeros of those that are not


class ChannelStatistics(JsonResult):
    """The lines of one channel."""

    channel: str
    rows: list[Statistic]


class PlainStatistics(JsonResult):
    """The table, of held-out real series and of synthetic ones.

    Attributes:
        anonymous: whether every real figure has at least `group` owners behind it and is rounded. Otherwise
            they are exact, as on pages that show single real series anyway.
        sentence: the tails in words.
    """

    unit: str
    real_series: int
    real_owners: int
    synthetic_series: int
    anonymous: bool
    group: int = GROUP
    channels: list[ChannelStatistics]
    sentence: str


def describe_values(
    real: Array, synthetic: Array, owners: Array, channels: Sequence[str], unit: str, *, anonymous: bool
) -> PlainStatistics:
    """Compute the table of plain statistics.

    Args:
        real, synthetic: [n, L, C], [m, L, C].
        owners: [n] of the real series.
        anonymous: give no real figure that is one person's: an extreme is the one that `GROUP` owners reach,
            a quantile needs `GROUP` owners with values on either side of it, and all are rounded.
    """
    codes = np.unique(owners, return_inverse=True)[1]
    tables = [
        ChannelStatistics(
            channel=name, rows=_describe_channel(real[..., c], synthetic[..., c], codes, anonymous)
        )
        for c, name in enumerate(channels)
    ]
    return PlainStatistics(
        unit=unit,
        real_series=len(real),
        real_owners=int(codes.max()) + 1 if len(codes) else 0,
        synthetic_series=len(synthetic),
        anonymous=anonymous,
        channels=tables,
        sentence=_describe_tails(tables, unit, anonymous),
    )


def _describe_channel(real: Array, synthetic: Array, codes: Array, anonymous: bool) -> list[Statistic]:
    """Return the lines of one channel: [n, L], [m, L], [n]."""
    values, whose = _select_measured(real, codes)
    made = synthetic[np.isfinite(synthetic)]
    lowest, highest = (
        Statistic(
            title=_name_extreme(largest, anonymous),
            real=_find_extreme(real, codes, largest, anonymous),
            synthetic=_find_like_extreme(synthetic, len(real), largest, anonymous),
        )
        for largest in (False, True)
    )
    quantiles = [
        Statistic(
            title=title,
            real=_compute_quantile(values, whose, level, anonymous),
            synthetic=_round_number(np.quantile(made, level)) if len(made) else None,
        )
        for title, level in QUANTILES.items()
    ]
    means = {
        "mean": (values, made),
        "zeros": (values == 0, made == 0),
        "missing": (np.isnan(real), np.isnan(synthetic)),
    }
    shown = not anonymous or len(np.unique(whose)) >= GROUP
    rest = [
        Statistic(
            title=title,
            real=_average(own, DIGITS if anonymous else None) if shown else None,
            synthetic=_average(other),
            share=own.dtype == bool,
        )
        for title, (own, other) in means.items()
    ]
    return [lowest, *quantiles, highest, *rest]


def _name_extreme(largest: bool, anonymous: bool) -> str:
    if anonymous:
        return f"{'high' if largest else 'low'} value that {GROUP} reach"
    return "maximum" if largest else "minimum"


def _find_like_extreme(synthetic: Array, count: int, largest: bool, anonymous: bool) -> float | None:
    """Return the extreme of synthetic series; the one that `GROUP` of them reach, of as many as real ones."""
    like = synthetic[:count] if anonymous else synthetic
    return _find_extreme(like, np.arange(len(like)), largest, anonymous)


def _average(values: Array, digits: int | None = None) -> float | None:
    """Return the mean, or the share of true flags, rounded; None of nothing."""
    return _round_number(values.mean(), digits) if values.size else None


def clip_extremes(real: Array, owners: Array) -> Array:
    """Return the series clipped to values that `GROUP` owners reach, so that no picture of all values ends at
    the value of one person: [n, L, C], [n] -> [n, L, C].
    """
    codes = np.unique(owners, return_inverse=True)[1]
    clipped = np.array(real, copy=True)
    for c in range(real.shape[2]):
        low, high = (_find_extreme(real[..., c], codes, largest, True) for largest in (False, True))
        if low is not None and high is not None:
            np.clip(clipped[..., c], low, max(low, high), out=clipped[..., c])
    return clipped


def _select_measured(real: Array, codes: Array) -> tuple[Array, Array]:
    """Return measured values and the owner of each: [n, L], [n] -> [V], [V]."""
    there = np.isfinite(real)
    return real[there].astype(np.float64), np.broadcast_to(codes[:, None], real.shape)[there]


def _find_extreme(values: Array, codes: Array, largest: bool, anonymous: bool) -> float | None:
    """Return the extreme of all values, or the one that `GROUP` owners reach, rounded; None for fewer
    owners.
    """
    signed = np.where(np.isfinite(values), values if largest else -values, -np.inf).max(1, initial=-np.inf)
    best = np.full(int(codes.max()) + 1 if len(codes) else 0, -np.inf)
    np.maximum.at(best, codes, signed)
    best = np.sort(best[np.isfinite(best)])[::-1]
    place = GROUP - 1 if anonymous else 0
    if len(best) <= place:
        return None
    value = float(best[place]) if largest else -float(best[place])
    return _round_number(value, EXTREME_DIGITS if anonymous else None)


def _compute_quantile(values: Array, whose: Array, level: float, anonymous: bool) -> float | None:
    """Return a quantile; None where fewer than `GROUP` owners have values on either side of it."""
    if not len(values):
        return None
    value = float(np.quantile(values, level))
    if anonymous:
        sides = (whose[values <= value], whose[values >= value])
        if min(len(np.unique(side)) for side in sides) < GROUP:
            return None
    return _round_number(value, DIGITS if anonymous else None)


def _round_number(value: float, digits: int | None = None) -> float:
    """Round to so many significant digits, 6 by default."""
    return float(f"{float(value):.{(digits or 6) - 1}e}")


def _describe_tails(tables: Sequence[ChannelStatistics], unit: str, anonymous: bool) -> str:
    """Describe the largest values and the zeros in words: of the first channel, which is named if there are
    others.
    """
    by_title = {row.title: row for row in tables[0].rows}
    high = by_title[_name_extreme(True, anonymous)]
    several = len(tables) > 1
    unit = f" {unit}" if unit else ""
    if high.real is None:
        return f"Real extremes are not shown: fewer than {GROUP} owners are behind them."
    if high.synthetic is None:
        return ""
    name = f"Largest value that {GROUP} series reach" if anonymous else "Largest value"
    name += f" of the channel {tables[0].channel}" if several else ""
    made, real = format_digits(high.synthetic, 3), format_digits(high.real, 3)
    text = f"{name}: synthetic {made}{unit}, real {real}{unit}"
    zeros = by_title["zeros"]
    if zeros.real is not None and zeros.synthetic is not None and max(zeros.real, zeros.synthetic) > 0.001:
        text += f". Exactly zero: {zeros.synthetic:.1%} of synthetic values, {zeros.real:.1%} of real ones"
        text += " of this channel" if several else ""
    return f"{text}."
