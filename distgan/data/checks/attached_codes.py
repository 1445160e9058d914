"""Codes behind readings (`250,1`: 250 of quality 1) that were read as their decimals."""

from collections.abc import Iterator, Sequence

import numpy as np

from distgan.data.checks.bounds import Found
from distgan.data.checks.survey import Channel

FEWEST_READINGS, FEWEST_WHOLE = 200, 20  # readings of a sample, and different numbers before the mark
MOST_CODES = 3  # different ones
LARGEST = 1e5  # of which float32 keeps a decimal


def suggest_attached_codes(labelled: Sequence[tuple[Channel, str]]) -> Iterator[Found]:
    """Yield what was noticed of channels whose single decimals take few values and never 0, as no measured
    tenths do; numbers that all end in 5 may be middles of intervals.
    """
    for channel, label in labelled:
        values = np.abs(channel.sample.astype(np.float64))
        if len(values) < FEWEST_READINGS or values.max() >= LARGEST:
            continue
        tenths = np.rint(values * 10)
        if (np.abs(values * 10 - tenths) > 0.02).any() or len(np.unique(tenths // 10)) < FEWEST_WHOLE:
            continue
        codes = np.unique(tenths % 10).astype(int).tolist()
        if 0 in codes or len(codes) > MOST_CODES or codes == [5]:
            continue
        text = (
            f"all readings{label} have one decimal, which is {' or '.join(map(str, codes))} and never 0: it "
            "seems to be a code behind the reading (250,1)"
        )
        yield "attached_codes", "error", text, text, "write the code in a column of its own"
