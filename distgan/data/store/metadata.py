"""Metadata of a store: times, channels, units, source."""

from calendar import isleap
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, Self

import numpy as np

DAY = 86400  # seconds
NOMINAL = "nominal"  # begins what is known of the clock where the source has no times


@dataclass(frozen=True)
class Axis:
    """Regular local times: `length` stamps from `start` (ISO 8601, no offset), `step_seconds` apart.

    Without `leap_days` the calendar has no 29 February, as in a store of years cut to 365 days.
    """

    start: str
    step_seconds: int
    length: int
    leap_days: bool = False

    @property
    def steps_per_day(self) -> float:
        return 86400 / self.step_seconds

    def list_times(self) -> np.ndarray:
        """Return the times: datetime64[s] [length]."""
        times = np.datetime64(self.start, "s") + self.step_seconds * np.arange(self.length).astype("m8[s]")
        if self.leap_days:
            return times
        for year in count(int(self.start[:4])):
            if np.datetime64(f"{year}-02-28") > times[-1]:
                return times
            if isleap(year):
                times[times >= np.datetime64(f"{year}-02-29", "s")] += np.timedelta64(1, "D")
        raise AssertionError


@dataclass(frozen=True)
class Meta:
    """Meaning of the numbers of a store (times, channels, units), their source, and how steps were merged."""

    axis: Axis
    channels: tuple[str, ...]
    units: str
    provenance: dict[str, Any]
    reduction: dict[str, Any]

    @property
    def is_nominal(self) -> bool:
        """True where the source has no times, so that the axis only counts."""
        return str(self.provenance.get("clock", "")).startswith(NOMINAL)

    @property
    def has_common_days(self) -> bool:
        """True where the times of the day are known and all series begin at the same one: windows may not."""
        return not self.is_nominal and self.is_aligned(DAY)

    @property
    def has_common_weekdays(self) -> bool:
        """True where the days of the week are known, too, and the same for all series: those of several
        calendar years differ, those of ISO years do not.
        """
        several = len(self.provenance.get("years", ())) > 1
        whole_weeks = self.axis.length * self.axis.step_seconds % (7 * DAY) == 0
        return self.has_common_days and self.is_aligned(7 * DAY) and (whole_weeks or not several)

    def is_aligned(self, period: int) -> bool:
        """Return whether all series begin at the same place of a period of so many seconds."""
        windows = self.provenance.get("windows")
        return windows is None or windows["stride"] * self.axis.step_seconds % period == 0

    @property
    def unit_of_channels(self) -> str:
        """The unit of every channel; "" where several channels have a list of units."""
        lists = len(self.channels) > 1 and not {",", ";"}.isdisjoint(self.units)
        return "" if lists else self.units

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"channels": list(self.channels)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(
            **content | {"axis": Axis(**content["axis"]), "channels": tuple(content["channels"])},
        )
