"""Years of two digits: which century they belong to, or a refusal where rules differ.

POSIX (strptime's %y) reads 69 to 99 as 1969 to 1999 and 00 to 68 as 2000 to 2068; Excel reads 30 to 99 as
1930 to 1999. So 30 to 68 are read only where data.date_format has %y, and then as POSIX has them.
"""

import numpy as np

from distgan.data.formats.stamps import Parsed, Stamps

PIVOT = 69  # of POSIX
EXCEL_PIVOT = 30


def add_centuries(years: np.ndarray) -> np.ndarray:
    """Return years of two digits as POSIX has them: [n] -> [n]."""
    return np.where(years < PIVOT, 2000 + years, 1900 + years)


def refuse_unclear_centuries(years: np.ndarray, stamps: Stamps, parsed: Parsed) -> None:
    """Note how years of two digits were read.

    Args:
        years: with their centuries, [n].

    Raises:
        UserError: a year may belong to two centuries.
    """
    unclear = np.flatnonzero((years >= 2000 + EXCEL_PIVOT) & (years < 2000 + PIVOT))
    if len(unclear):
        year = years[unclear[0]]
        raise stamps.refuse(
            int(unclear[0]),
            f"has a year of two digits, which is {year} by POSIX and {year - 100} by Excel; write years with "
            f"four digits, or set data.date_format to a format with %y, e.g. '%d/%m/%y %H:%M', for {year}",
        )
    first, last = years.min(), years.max()
    parsed.notes.append(f"years of two digits read as {first}" + (f" to {last}" if last > first else ""))


def refuse_split_centuries(times: np.ndarray, stamps: Stamps) -> None:
    """Refuse times read by %y that would follow each other more closely in other centuries: 68 is 2068 and
    69 is 1969.

    Args:
        times: datetime64 [n], none of them NaT.

    Raises:
        UserError: they do.
    """
    years = times.astype("M8[Y]").astype(np.int64) + 1970
    different = np.unique(years)
    if len(different) < 2 or different[-1] - different[0] > 99:
        return
    if np.diff(different).max() > different[0] + 100 - different[-1]:
        raise stamps.refuse(
            int(np.argmax(years)),
            f"is of the year {different[-1]} as %y has it, and others are of {different[0]}: years of two "
            "digits from 69 on are of the last century; write years with four digits",
        )
