"""Find the series that is the sum, or the mean, of all others, by a few steps that one pass keeps."""

import numpy as np

PLACES = 24
FEWEST_USED = 8  # places at which a series is measured and not zero
MOST_SERIES = 1 << 16  # that are compared; of more, none can be the sum without being far above all others
EVEN = 0.01  # standard deviation / mean of the ratio to the sum, over time
VARIES = 0.02  # the same of a series itself


class Sums:
    """Values of all series at a few steps, and their sums."""

    def __init__(self, length: int) -> None:
        rng = np.random.default_rng(1)
        self.places = np.sort(rng.choice(length, min(PLACES, length), replace=False))
        self._kept: list[np.ndarray] = []
        self._series = 0
        self._sum = np.zeros(len(self.places))

    def add(self, values: np.ndarray) -> None:
        """Take float32 [n, L, 1]."""
        here = values[:, self.places, 0]
        self._sum += np.nansum(here, axis=0, dtype=np.float64)
        if self._series < MOST_SERIES:
            self._kept.append(here)
        self._series += len(here)

    def find_totals(self) -> list[int]:
        """Return the series that are in a constant ratio to the sum of all, of which they are at most a half;
        none where many are, as copies are.
        """
        if self._series < 3 or not self._kept:
            return []
        here = np.concatenate(self._kept).astype(np.float64)
        used = np.isfinite(here) & (here != 0) & np.isfinite(self._sum)
        enough = np.count_nonzero(used, axis=1) >= min(FEWEST_USED, len(self.places))
        with np.errstate(all="ignore"):
            ratios = np.where(used, self._sum / np.where(used, here, 1), np.nan)
            sizes = np.where(used, here, np.nan)
            middle = np.nanmedian(ratios[enough], axis=1) if enough.any() else np.empty(0)
            spread = np.nanmean(np.abs(ratios[enough] / middle[:, None] - 1) < EVEN, axis=1)
            varies = np.nanstd(sizes[enough], axis=1) / np.abs(np.nanmean(sizes[enough], axis=1))
        even = (spread > 0.9) & (varies > VARIES) & (middle > 1.98)
        found: list[int] = np.flatnonzero(enough)[even].tolist()
        return found if len(found) <= max(1, self._series // 4) else []
