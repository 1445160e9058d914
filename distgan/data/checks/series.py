"""Checks of a single series. Every function is pure; `values` [m] are the measured ones, in order."""

from dataclasses import dataclass

import numpy as np

_EITHER_SIGN = (
    99.9, 777.0, 888.0, 999.0, 999.9, 999.99, 5555.0, 6999.0, 7777.0, 8888.0, 9999.0, 9999.9, 77777.0,
    88888.0, 99999.0, 999999.0, 9999999.0, 99999999.0, 32767.0, 2147483647.0, 1e20, 1e30, 3.4028235e38,
)  # fmt: skip
MISSING_CODES = np.array(
    [
        *_EITHER_SIGN,
        *(-code for code in _EITHER_SIGN),
        *(-999.25, -9999.25, -1.0, -2.0, -8.0, -9.0, -88.0, -99.0, -6666.0, -7999.0, -32768.0, -2147483648.0),
        *(32766.0, 65534.0, 65535.0, 16777215.0, 4294967295.0, 1e31, 9.969209968386869e36),  # NetCDF's last
    ],
    np.float32,
)
KNOWN_CODES = frozenset(MISSING_CODES.tolist())
_DIGITS = [
    *(int(digit * length) for digit in "123456789" for length in range(3, 16)),
    *((1 << bits) - below for bits in (15, 16, 24, 31, 32) for below in (0, 1)),
]
ODD_NUMBERS = np.array(  # of one digit alone (5555), or next to a power of two; a device may have scaled them
    [
        sign * number / 10**places
        for number in _DIGITS
        for places in range(len(str(number)))
        for sign in (-1, 1)
    ],
    np.float32,
)
ODD_CODES = frozenset(ODD_NUMBERS.tolist())
FEWEST_DISTINCT = 5  # other values; a device that is on or off has no missing codes
FEWEST_RISES = 24  # of a register; fewer rises in a row are chance
MOST_RESETS = 0.1  # of its rises
MOST_CODES = 4  # for missing values, in one channel
HUGE, HUGE_GAP = 1e15, 1e6  # of a code, and of its distance in spans of the others
STEP_FACTORS = (2, 3, 4, 6, 12)


@dataclass(frozen=True)
class Ranges:
    """Missing values, and the least and the largest of the others, of each series and channel: [n, C], or [n]
    of one channel. Where all are missing, low and high are NaN.
    """

    missing: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def select_channel(self, number: int) -> "Ranges":
        """Return those of one channel: [n]."""
        return Ranges(self.missing[:, number], self.low[:, number], self.high[:, number])

    @classmethod
    def join(cls, parts: list["Ranges"]) -> "Ranges":
        """Return the ranges of series that follow each other."""
        fields = ([getattr(part, name) for part in parts] for name in ("missing", "low", "high"))
        return cls(*(np.concatenate(field) for field in fields))

    def find_unusable(self, length: int) -> np.ndarray:
        """Return which channels hold infinities, no values, or one value alone: bool [n, 3, C]."""
        infinite = np.isinf(self.low) | np.isinf(self.high)
        return np.stack([infinite, self.missing == length, self.low == self.high], axis=1)


def find_ranges(values: np.ndarray) -> Ranges:
    """Return the ranges of series [n, L, C]; NaN is missing."""
    if values.shape[2] == 1:  # rows lie as they are reduced
        rows = values[:, :, 0]
        low, high = rows.min(axis=1)[:, None], rows.max(axis=1)[:, None]
    else:
        low, high = values.min(axis=1), values.max(axis=1)
    missing = np.zeros(low.shape, np.int64)
    gaps = np.flatnonzero(np.isnan(low).any(axis=1))
    if len(gaps):
        inside = values[gaps]
        missing[gaps] = np.count_nonzero(np.isnan(inside), axis=1)
        with np.errstate(invalid="ignore"):
            low[gaps], high[gaps] = np.fmin.reduce(inside, axis=1), np.fmax.reduce(inside, axis=1)
    return Ranges(missing, low, high)


@dataclass(frozen=True)
class Runs:
    """Longest stretches of one value: of another than zero, of zero between others, and at the two ends."""

    stuck: int
    zeros: int
    leading_zeros: int
    trailing_zeros: int


def find_runs(values: np.ndarray) -> Runs:
    """Return the longest runs of equal values, in measured steps."""
    if not len(values):
        return Runs(0, 0, 0, 0)
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = np.concatenate([[0], changes])
    lengths = np.diff(np.concatenate([starts, [len(values)]]))
    zero = values[starts] == 0
    inner = zero.copy()
    inner[[0, -1]] = False
    whole = len(starts) == 1
    return Runs(
        int(lengths[~zero].max(initial=0)),
        int(lengths[inner].max(initial=0)),
        int(lengths[0]) if zero[0] and not whole else 0,
        int(lengths[-1]) if zero[-1] and not whole else 0,
    )


# ----------------------------------------------------------------------------------- codes for missing values


def find_missing_codes(values: np.ndarray) -> list[tuple[float, int]]:
    """Return values that seem to stand for missing ones (-9999, 65535, …), each with its count."""
    found: list[tuple[float, int]] = []
    while len(values) and len(found) < MOST_CODES:
        code = next((c for c in (values.min(), values.max()) if _is_missing_code(c, values)), None)
        if code is None:
            break
        at = values == code
        found.append((float(code), int(at.sum())))
        values = values[~at]
    return found


def _is_missing_code(code: np.float32, values: np.ndarray) -> bool:
    """Return whether an extreme value stands apart from all others, and means missing elsewhere."""
    at = values == code
    rest, count = values[~at], int(at.sum())
    if len(np.unique(rest[:1000])) < FEWEST_DISTINCT and len(np.unique(rest)) < FEWEST_DISTINCT:
        return False
    low, high = float(rest.min()), float(rest.max())
    span, gap = high - low, low - float(code) if code < low else float(code) - high
    known, only_negative = float(code) in KNOWN_CODES, code < 0 <= low
    if known and only_negative:
        return True if code <= -99 else _is_small_code(at, values)
    if known and gap > 0.5 * span:
        return True
    if count >= 2 and abs(float(code)) >= HUGE and gap > HUGE_GAP * span:  # 9.99e37, whatever its digits
        return True
    if known and count >= 3 and gap > 0.05 * span:
        return gap > 3 * _measure_outer_percent(rest, above=bool(code > high))
    if only_negative and code == np.rint(code) and count >= 2 and abs(code) >= 10:
        return gap > 0.5 * span
    return bool(count >= 3 and gap > 3 * span and float(code) in ODD_CODES)


def _measure_outer_percent(values: np.ndarray, above: bool) -> float:
    """Return the width of the range that the largest (or least) percent of the values takes."""
    low, high = np.quantile(values, [0.01, 0.99])
    return float(values.max() - high) if above else float(low - values.min())


def _is_small_code(at: np.ndarray, values: np.ndarray) -> bool:
    """Return whether -1 or -9 among values of 0 and above is a code and not just the least of them: others
    are no whole numbers, or what was measured just before and after is far above it.
    """
    if at.sum() < 2:
        return False
    rest = values[~at]
    if (rest != np.rint(rest)).mean() > 0.1:
        return True
    edges = np.flatnonzero(at[1:] != at[:-1])
    beside = np.maximum(values[edges], values[edges + 1])  # of each pair the one that is no code
    return bool(len(beside) and np.median(rest) >= 5 and np.median(beside) >= 0.5 * np.median(rest))


# -------------------------------------------------------------------------------------------- thousands marks


@dataclass(frozen=True)
class Thousands:
    """Signs that a thousands mark of a series was read as a decimal mark (1.634 beside 964).

    Attributes:
        fractions: values with a fraction, all of them of three decimals, from 1 to below 1000; 0 where some
        are not. fits: they are nearer to the whole numbers beside them when they are multiplied by 1000.
        plain: all values are whole numbers, the largest from 100 to 999.
    """

    fractions: int = 0
    fits: bool = False
    plain: bool = False


def find_thousands(values: np.ndarray) -> Thousands:
    """Compare whole numbers with those that have a fraction."""
    sizes = np.abs(values.astype(np.float64))
    whole = sizes == np.rint(sizes)
    largest = sizes.max(initial=0)
    if whole.all():
        return Thousands(plain=bool(100 <= largest < 1000))
    fractions = sizes[~whole]
    thousandfold = 1000 * fractions
    nearest = np.rint(thousandfold)
    exact = np.abs(thousandfold - nearest) <= 2e-7 * thousandfold
    three = (nearest % 10 != 0).mean() >= 0.5  # 1.5 has one decimal; of thousands one in ten ends in 0
    if largest >= 1000 or fractions.min() < 1 or not exact.all() or not three:
        return Thousands()
    mixed = np.flatnonzero((whole[1:] != whole[:-1]) & (np.maximum(sizes[1:], sizes[:-1]) >= 100))
    mixed = mixed[np.minimum(sizes[mixed], sizes[mixed + 1]) > 0]  # 2 may be 2.000
    if not len(mixed):
        return Thousands(len(fractions))
    first, second = sizes[mixed], sizes[mixed + 1]
    integer, fraction = np.where(whole[mixed], first, second), np.where(whole[mixed], second, first)
    as_read = np.abs(np.log(integer / fraction))
    as_thousands = np.abs(np.log(integer / (1000 * fraction)))
    nearer = (as_thousands < as_read).mean() >= 0.8
    return Thousands(len(fractions), fits=True) if nearer else Thousands()


# -------------------------------------------------------------------------------------------------- registers


def find_register(values: np.ndarray) -> int | None:
    """Return how often a cumulative register starts again, None where the series is none.

    A register never falls, but for resets to near its lowest value (or never rises, where it counts down).
    """
    if len(values) < 2 * FEWEST_RISES:
        return None
    for counted in (values, -values):
        change = np.diff(counted)
        falls = np.flatnonzero(change < 0)
        rises = int((change > 0).sum())
        if rises < FEWEST_RISES or len(falls) > MOST_RESETS * rises:
            continue
        low = float(counted.min())
        landing = counted[falls + 1] - low <= 0.1 * (counted[falls] - low)
        if not len(falls) or landing.mean() >= 0.95:
            return len(falls)
    return None


# ------------------------------------------------------------------------------------------ spikes, and steps


def find_spikes(values: np.ndarray) -> int:
    """Return how many values lie ten times farther from the median than all but 0.1 % (or five) of them."""
    if len(values) < 50:
        return 0
    away = np.abs(values - np.median(values))
    left_out = max(5, len(values) // 1000)
    usual = float(np.partition(away, len(away) - left_out - 1)[len(away) - left_out - 1])
    return int((away > 10 * usual).sum()) if usual > 0 else 0


def find_longer_step(row: np.ndarray) -> int | None:
    """Return k where only one in k steps of a row [L] (NaN = missing) is measured, None where no k fits."""
    measured = ~np.isnan(row)
    for factor in sorted(STEP_FACTORS, reverse=True):
        if len(row) < 4 * factor:
            continue
        shares = [float(measured[phase::factor].mean()) for phase in range(factor)]
        if max(shares) >= 0.5 and sorted(shares)[-2] <= 0.02 * max(shares):
            return factor
    return None


def find_repetition(values: np.ndarray) -> int | None:
    """Return k where each value stands k times in a row, as in series brought to a shorter step."""
    equal = values[1:] == values[:-1]
    if len(equal) < 24 or equal.mean() < 0.45 or equal.mean() > 0.98:
        return None
    for factor in sorted(STEP_FACTORS, reverse=True):
        least = 1 - 1 / factor  # of neighbours that are equal, if each value stands `factor` times
        if not least - 0.02 <= equal.mean() <= least + 0.5 / factor:
            continue
        for phase in range(factor):
            between = np.zeros(len(equal), bool)
            between[phase::factor] = True  # from one value to the next
            if equal[~between].mean() >= 0.99 and equal[between].mean() <= 0.5:
                return factor
    return None
