"""One pass over a source, a block of series at a time: statistics of the values, and what looks wrong in
them.

Cheap tests on all values, and on a few hundred places of each series, choose the series that are looked at
closely. Memory holds tallies and a sample of values, whatever the number of series.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from distgan.data.checks import series
from distgan.data.checks.clock import ClockChanges
from distgan.data.checks.sums import Sums
from distgan.data.store.metadata import Meta

TILE_VALUES = 1 << 18  # looked at together: they stay in the processor's cache
PLACES = 256  # of a series that the first tests look at
SAMPLE_VALUES = 1 << 18  # of a channel, for quantiles
STUCK_DAYS = 3
FEWEST_STUCK = 24  # steps
MOST_LIMITS = 1 << 14  # different largest values that are counted
EXAMPLES = 3


@dataclass
class Tally:
    """Count of the series and values that something concerns; its longest run; a few numbers of series."""

    series: int = 0
    values: int = 0
    longest: int = 0
    examples: list[int] = field(default_factory=list)

    def add(self, row: int, values: int = 0, longest: int = 0) -> None:
        self.series += 1
        self.values += values
        self.longest = max(self.longest, longest)
        if len(self.examples) < EXAMPLES:
            self.examples.append(row)


@dataclass
class Limit:
    """Series whose largest (or least) value is the same, and how often that value stands in them."""

    series: int = 0
    values: int = 0


@dataclass
class Channel:
    """Counts of one channel."""

    series: int = 0
    values: int = 0  # steps of all series
    measured: int = 0
    zeros: int = 0
    low: float = np.inf
    high: float = -np.inf
    found: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    codes: dict[float, Tally] = field(default_factory=lambda: defaultdict(Tally))
    factors: Counter[tuple[str, int]] = field(default_factory=Counter)
    highs: dict[float, Limit] = field(default_factory=dict)
    samples: list[np.ndarray] = field(default_factory=list)
    sampled: int = 0
    keep_every: int = 1

    @property
    def sample(self) -> np.ndarray:
        """Some measured values, spread over the series and their steps."""
        return np.concatenate(self.samples) if self.samples else np.empty(0, np.float32)

    def offer(self, values: np.ndarray) -> None:
        """Keep every so many of these values [m]; every second of all that are kept where they become too
        many.
        """
        kept = values[:: self.keep_every]
        self.samples.append(kept)
        self.sampled += len(kept)
        if self.sampled > SAMPLE_VALUES:
            self.samples = [self.sample[::2]]
            self.sampled, self.keep_every = len(self.samples[0]), 2 * self.keep_every

    def compute_quantile(self, share: float) -> float:
        sample = self.sample
        return float(np.quantile(sample, share)) if len(sample) else float("nan")


@dataclass(frozen=True)
class Measured:
    """Measures of rows of one channel: pairs of neighbours at the sampled places [n, 2 places] (all the first
    ones, then all the second ones), which may hold a long run [n], and the number of zeros.
    """

    pairs: np.ndarray
    stuck: np.ndarray
    zeros: int

    @classmethod
    def join(cls, parts: list["Measured"]) -> "Measured":
        """Return what was taken of rows that follow each other."""
        pairs, stuck = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("pairs", "stuck")
        )
        return cls(pairs, stuck, sum(part.zeros for part in parts))


class Survey:
    """Statistics of one pass over a source. `add` takes the blocks of series in order."""

    def __init__(self, meta: Meta) -> None:
        axis = meta.axis
        self.meta = meta
        days = 1 if meta.is_nominal else axis.steps_per_day
        self.stuck = max(FEWEST_STUCK, round(STUCK_DAYS * days), axis.length // 20 if meta.is_nominal else 0)
        self.channels = [Channel() for _ in meta.channels]
        self.clock = ClockChanges(meta)
        self.sums = Sums(axis.length)
        rng = np.random.default_rng(0)
        last = max(1, axis.length - 1)
        self._places = np.sort(rng.choice(last, min(PLACES, last), replace=False))
        following = np.minimum(self._places + 1, axis.length - 1)
        self._pairs = np.concatenate([self._places, following])

    def add(self, first: int, values: np.ndarray) -> series.Ranges:
        """Take float32 [n, L, C], series `first` and those after it; return their ranges."""
        self.clock.add(values)
        if len(self.channels) == 1:
            self.sums.add(values)
        size = max(1, TILE_VALUES // max(1, values.shape[1]))
        many = max(size, TILE_VALUES // len(self._pairs))  # whose sampled places are tested together
        found = []
        with np.errstate(all="ignore"):
            for begin in range(0, len(values), many):
                block = values[begin : begin + many]
                tiles = [self._measure(block[at : at + size]) for at in range(0, len(block), size)]
                ranges = series.Ranges.join([tile[0] for tile in tiles])
                found.append(ranges)
                for number, channel in enumerate(self.channels):
                    measured = Measured.join([tile[1][number] for tile in tiles])
                    rows = block[:, :, number]
                    self._survey_channel(
                        channel, first + begin, rows, ranges.select_channel(number), measured
                    )
        return series.Ranges.join(found)

    def _measure(self, tile: np.ndarray) -> tuple[series.Ranges, list["Measured"]]:
        """Measure what needs all values of some series, [n, L, C], while they are in the CPU's cache."""
        ranges, found = series.find_ranges(tile), []
        for number in range(tile.shape[2]):
            rows, of_rows = np.ascontiguousarray(tile[:, :, number]), ranges.select_channel(number)
            around = (of_rows.low <= 0) & (of_rows.high >= 0)  # others hold no zero
            zeros = (
                int(np.count_nonzero((rows if around.all() else rows[around]) == 0)) if around.any() else 0
            )
            pairs, stuck = np.take(rows, self._pairs, axis=1), self._seem_stuck(rows, of_rows.missing)
            found.append(Measured(pairs, stuck, zeros))
        return ranges, found

    def _survey_channel(
        self, channel: Channel, first: int, rows: np.ndarray, ranges: series.Ranges, measured: "Measured"
    ) -> None:
        """Survey rows [n, L] of one channel: count all, then look closely at those that a test chooses."""
        missing, low, high = ranges.missing, ranges.low, ranges.high
        channel.series += len(rows)
        channel.values += rows.size
        channel.measured += rows.size - int(missing.sum())
        channel.zeros += measured.zeros
        channel.low = float(np.fmin(channel.low, np.fmin.reduce(low)))
        channel.high = float(np.fmax(channel.high, np.fmax.reduce(high)))
        here = measured.pairs[:, : len(self._places)]
        channel.offer(here[np.isfinite(here)])
        self._count_limits(channel, rows, here, high)
        close = self._select_candidates(measured, ranges)
        for gappy in np.flatnonzero((missing > 0) & (missing < rows.shape[1])):
            self._look_at_gaps(channel, first + int(gappy), rows[gappy])
        varies = (low < high) & np.isfinite(low) & np.isfinite(high)
        for flat in np.flatnonzero(low == high):
            channel.found["constant"].add(first + int(flat))
        for row, tests in close:
            if varies[row]:
                self._look_closely(channel, first + row, rows[row], tests)

    @staticmethod
    def _count_limits(channel: Channel, rows: np.ndarray, here: np.ndarray, high: np.ndarray) -> None:
        """Count how often the largest value stands in each row, where sampled places hold it already."""
        often = np.ones(len(rows), np.int64)
        common = (here == high[:, None]).any(axis=1)
        often[common] = np.count_nonzero(rows[common] == high[common, None], axis=1)
        for value, count in zip(high.tolist(), often.tolist()):
            if value in channel.highs or len(channel.highs) < MOST_LIMITS:
                limit = channel.highs.setdefault(value, Limit())
                limit.series += 1
                limit.values += count

    def _select_candidates(
        self, measured: "Measured", ranges: series.Ranges
    ) -> Iterator[tuple[int, set[str]]]:
        """Yield rows to look at closely, each with the names of the tests that its sampled places ask for."""
        here, after = np.split(measured.pairs, 2, axis=1)
        low, high = ranges.low, ranges.high
        rises, falls = np.count_nonzero(after > here, axis=1), np.count_nonzero(after < here, axis=1)
        same = np.count_nonzero(after == here, axis=1)
        fewer, more = np.minimum(rises, falls), np.maximum(rises, falls)
        pairs = np.maximum(rises + falls + same, 1)
        ordered, each = np.sort(here, axis=1), np.arange(len(here))  # NaN at the end
        there = np.count_nonzero(~np.isnan(here), axis=1)
        last = np.maximum(there - 1, 0)
        middle, outer = ordered[each, last // 2], last // 50  # a spike may be among the places
        reach = np.fmax(ordered[each, last - outer] - middle, middle - ordered[each, outer])
        away = np.fmax(high - middle, middle - low)
        known = np.isin(low, series.MISSING_CODES) | np.isin(high, series.MISSING_CODES)
        lone = ~((here < 0) & (here != low[:, None])).any(axis=1)
        negative = (low < 0) & (low == np.rint(low)) & lone
        odd = np.isin(low, series.ODD_NUMBERS) | np.isin(high, series.ODD_NUMBERS)
        small = (high < 1000) & ((high >= 100) | (np.fmin(np.abs(low), np.abs(high)) >= 1))
        tests = {
            "register": (more >= 3) & (fewer <= 0.15 * more),
            "codes": known | negative | odd | (np.fmax(np.abs(low), np.abs(high)) >= series.HUGE),
            "spikes": away > 9 * reach,
            "runs": measured.stuck,
            "thousands": small & (high == high),
            "repetition": (same >= 0.4 * pairs) & (same <= 0.98 * pairs),
        }
        marked = np.stack(list(tests.values()))
        names = list(tests)
        for row in np.flatnonzero(marked.any(axis=0)):
            yield int(row), {names[test] for test in np.flatnonzero(marked[:, row])}

    def _seem_stuck(self, rows: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Return which rows may hold a run of `stuck` equal values: some stretch of half of that has equal
        ends and middle (or does not tell, for missing values), or begins or ends with zeros.
        """
        stretch = self.stuck // 2
        if rows.shape[1] < self.stuck:
            return np.zeros(len(rows), bool)
        count = rows.shape[1] // stretch
        views = [
            rows[:, offset::stretch][:, :count] for offset in (0, stretch // 3, stretch // 2, stretch - 1)
        ]
        equal = (views[0] == views[3]) & (views[0] == views[1])
        found = equal.any(axis=1)
        found[found] = (equal[found] & (views[0][found] == views[2][found])).any(axis=1)
        if (gappy := np.flatnonzero(missing)).size:  # decide by those that are there
            parts = [view[gappy] for view in views]
            unknown = np.isnan(parts).any(axis=0)
            equal = unknown & (np.fmin.reduce(parts) == np.fmax.reduce(parts))
            found[gappy] |= equal.any(axis=1)
        return found

    def _look_at_gaps(self, channel: Channel, number: int, row: np.ndarray) -> None:
        there = np.flatnonzero(~np.isnan(row))
        before, behind = int(there[0]), len(row) - 1 - int(there[-1])
        if before >= self.stuck:
            channel.found["late_start"].add(number, before, before)
        if behind >= self.stuck:
            channel.found["early_end"].add(number, behind, behind)
        if len(there) <= 0.6 * len(row) and (factor := series.find_longer_step(row)) is not None:
            channel.found["step"].add(number)
            channel.factors["step", factor] += 1

    def _look_closely(self, channel: Channel, number: int, row: np.ndarray, tests: set[str]) -> None:
        values = row[~np.isnan(row)]
        found = channel.found
        if "codes" in tests:
            for code, count in series.find_missing_codes(values):
                channel.codes[code].add(number, count)
                values = values[values != np.float32(code)]
        if "spikes" in tests and (spikes := series.find_spikes(values)):
            found["spikes"].add(number, spikes)
        if "register" in tests and (resets := series.find_register(values)) is not None:
            found["register"].add(number, resets)
        if "thousands" in tests:
            self._take_thousands(found, number, series.find_thousands(values))
        if "repetition" in tests and (factor := series.find_repetition(values)) is not None:
            found["repeated_values"].add(number)
            channel.factors["repeated_values", factor] += 1
        if "runs" in tests:
            self._take_runs(found, number, series.find_runs(values))

    @staticmethod
    def _take_thousands(found: dict[str, Tally], number: int, thousands: series.Thousands) -> None:
        if thousands.fits:
            found["thousands"].add(number, thousands.fractions)
        elif thousands.fractions:
            found["thousands_alone"].add(number, thousands.fractions)
        elif thousands.plain:
            found["plain"].add(number)

    def _take_runs(self, found: dict[str, Tally], number: int, runs: series.Runs) -> None:
        lengths = {
            "stuck": runs.stuck,
            "zero_runs": runs.zeros,
            "leading_zeros": runs.leading_zeros,
            "trailing_zeros": runs.trailing_zeros,
        }
        for name, length in lengths.items():
            joined = name not in ("leading_zeros", "trailing_zeros") or length > 2 * runs.zeros
            if length >= self.stuck and joined:
                found[name].add(number, length, length)
