"""Stamps that are intervals: `2015-01-01 00:00 - 2015-01-01 01:00`, `00:00-01:00`, `2015-01-01T00:00/PT1H`.

An interval stands for its start; its end is read only to see that it is one.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

CLOCK = r"[0-9]{1,2}[:.h][0-9]{2}(?:[:.][0-9]{2}(?:[.,][0-9]+)?)?(?: ?[AaPp]\.?[Mm]\.?)?"
MARK = r"| ?[Zz]| ?\(?[A-Za-z]{3,5}\)?| [+-][0-9]{2}:?[0-9]{2}"  # of a zone, after a clock time
SPLITS = (  # how the start of an interval is divided from its end
    rf"^(?P<start>.*[0-9].* ?{CLOCK}) ?(?:-|–|—|to|bis|/) ?(?P<end>{CLOCK})(?P<zone>{MARK})$",
    r"^(?P<start>.*[0-9].*?) (?:-|–|—|to|bis|until|~|/) (?P<end>.*[0-9].*)$",
    r"^(?P<start>.*[0-9].*?) ?(?:–|—|~|\.\.) ?(?P<end>.*[0-9].*)$",
    r"^(?P<start>[^/]*T[^/]*|[0-9-]{8,10})/(?P<end>P[0-9A-Z.]+|[^/]*[0-9T:-][^/]*)$",
    r"^[\[(](?P<start>[^,]*), ?(?P<end>[^,]*)[\])]$",
)


@dataclass(frozen=True)
class Halves:
    """The two sides of interval stamps, as written."""

    start: pa.Array
    end: pa.Array

    @property
    def ends_are_clocks(self) -> bool:
        return bool(pc.all(pc.match_substring_regex(self.end, f"^{CLOCK}$")).as_py())

    def parse_durations(self) -> np.ndarray | None:
        """Return seconds of ends that are ISO 8601 durations (`PT1H`): int64 [n]; None if any is not."""
        unique, where = np.unique(np.array(self.end.to_pylist()), return_inverse=True)
        if not all(re.fullmatch(r"P(?=[0-9T])(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?", text) for text in unique):
            return None
        return np.array([int(pd.Timedelta(text).total_seconds()) for text in unique])[where]


def split_intervals(stamps: pa.Array) -> list[Halves]:
    """Return the ways in which all stamps can be divided into start and end, most likely first."""
    found = []
    for pattern in SPLITS:
        if not re.match(pattern, stamps[0].as_py()):
            continue
        halves = pc.extract_regex(stamps, pattern)
        if pc.all(pc.is_valid(halves)).as_py():
            names = [field.name for field in halves.type]
            start, end = (pc.utf8_trim(pc.struct_field(halves, [name]), " '\"") for name in ("start", "end"))
            if "zone" in names:  # 00:00-01:00 UTC: of both
                start = pc.binary_join_element_wise(start, pc.struct_field(halves, ["zone"]), "")
            found.append(Halves(start, end))
    return found


def mark_odd_widths(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return which intervals neither have the usual width nor end where another begins: bool [n].

    Where months or clock changes make widths unequal, the next interval decides. Starts and ends are
    datetime64[us] [n].
    """
    widths = (ends - starts).astype(np.int64)
    values, counts = np.unique(widths, return_counts=True)
    usual = values[np.argmax(counts)]
    return np.asarray(((widths != usual) & ~np.isin(ends, starts)) | (usual <= 0))
