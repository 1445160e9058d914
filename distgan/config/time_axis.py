"""Settings of a time axis that is given, not found in the data."""

import re
from datetime import datetime, timedelta
from typing import Any

from pydantic import field_validator, model_validator

from distgan.config.base import Section, key

STEP = re.compile(r"([1-9]\d{0,5})\s*(s|min|h|d)")
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
START = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?")
PARTS = ("start", "step", "length")


class TimeAxis(Section):
    start: str | None = key(
        None,
        "first time of all series, e.g. 2013-01-01T00:00, by the clock that the data are read in (with "
        "data.timezone the zone's standard time); with step and length it makes the axis public: readings "
        "outside are left out. By default the axis is found in the data",
    )
    step: str | None = key(None, "length of a step of this axis, e.g. 30min or 1h")
    length: int | None = key(
        None, "number of steps of this axis (before data.cut and data.reduce)", ge=2, le=10**8
    )

    @field_validator("start", mode="before")
    @classmethod
    def _start(cls, start: Any) -> str | None:
        """Return the time as ISO 8601 to the second."""
        if start is None:
            return None
        text = str(start)
        try:
            if not START.fullmatch(text):
                raise ValueError
            return datetime.fromisoformat(text).isoformat(timespec="seconds")
        except ValueError:
            raise ValueError(
                f"{text!r:.40} is no time of an axis; write e.g. 2013-01-01 or 2013-01-01T00:30, without an "
                "offset from UTC"
            ) from None

    @field_validator("step")
    @classmethod
    def _step(cls, step: str | None) -> str | None:
        if step is not None:
            parse_step(step)
        return step

    @model_validator(mode="after")
    def _whole(self) -> "TimeAxis":
        missing = [name for name in PARTS if getattr(self, name) is None]
        if 0 < len(missing) < len(PARTS):
            raise ValueError(
                f"start, step and length make an axis together, and {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not set; set all three, or none"
            )
        if self.start is not None and self.length is not None:
            try:
                datetime.fromisoformat(self.start) + timedelta(seconds=self.length * self.step_seconds)
            except OverflowError:
                raise ValueError(
                    f"{self.length:,} steps of {self.step} from {self.start} end after the year 9999; lower "
                    "length"
                ) from None
        return self

    @property
    def is_given(self) -> bool:
        return self.start is not None

    @property
    def step_seconds(self) -> int:
        assert self.step is not None
        return parse_step(self.step)


def parse_step(text: str) -> int:
    """Return the seconds of `30min`.

    Raises:
        ValueError: it is no length of time.
    """
    found = STEP.fullmatch(text)
    if found is None:
        raise ValueError(f"step {text!r} is no length of time; write 30min, 1h or 1d")
    return int(found[1]) * SECONDS[found[2]]
