"""Public holidays of countries and their parts, by the library `holidays`."""

import re
from collections.abc import Mapping, Sequence
from datetime import date

from distgan.errors import UserError


def list_holidays(country: str, years: Sequence[int]) -> Mapping[date, str]:
    """Return the public holidays of a country (GB) or a part of one (GB-ENG), by date. A holiday that is
    moved to a working day has its own name on both days.

    Raises:
        UserError: the library is not installed, or does not know the country.
    """
    try:
        import holidays
    except ModuleNotFoundError:
        raise UserError(
            "data.holidays needs the library holidays, which is not installed; "
            "pip install 'distgan[calendar]'"
        ) from None
    name, _, part = country.partition("-")
    try:
        found = holidays.country_holidays(name, subdiv=part or None, years=list(years), language="en_US")
    except NotImplementedError:
        known = ", ".join(sorted(holidays.list_supported_countries().get(name, [])))
        remedy = f"parts of {name} are {known}" if known else "use a country's two letters, e.g. GB or DE-BY"
        raise UserError(f"data.holidays: the library holidays does not know {country!r}; {remedy}") from None
    return {day: re.sub(r"\s*\(.*?\)", "", text).strip() for day, text in found.items()}
