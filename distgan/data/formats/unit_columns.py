"""What a table says of its readings and times beside them: units, factors, zones that differ by entity."""

import re
import zoneinfo
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from distgan.data.formats.advice import show_list
from distgan.data.formats.zone_marks import name_clock, parse_offset
from distgan.errors import UserError

FACTOR_NAME = re.compile(  # a power or load factor is a quantity
    r"(^|[^a-z])(multiplier|multiplikator|multiplicateur|exponent|decimals|decimal[_ ]places"
    r"|(scale|scaling|conversion|multiplication|meter|transformer|[cvp]t)[_ ]?(factor|ratio))([^a-z]|$)"
    r"|^(factor|facteur|(wandler|umrechnungs|z[aä]e?hler|multiplikations|skalierungs)?_?faktor)([^a-z]|$)"
    r"|^(sign|vorzeichen)$"
)
UNIT_NAME = re.compile(r"(^|[^a-z])(units?|uom|einheit|currency|scale)([^a-z]|$)")
ZONE_NAME = re.compile(r"(^|[^a-z])(tz|time_?zone|(utc|gmt|tz)_?offset)([^a-z]|$)")
UNIT_IN_NAME = re.compile(r".*[(\[]\s*([^()\[\]]*?)\s*[)\]]\s*", re.S)  # also below the name
UNIT_BESIDE_NAME = re.compile(  # H1_kWh, Wh H2: of energy and power, which are no names
    r"(?:(?P<first>[kmgt]?(?:wh|vah|varh)|[kmgt](?:w|va|var))[ _.-]\S.*"
    r"|.*\S[ _.-](?P<last>[kmgt]?(?:wh|vah|varh)|[kmgt](?:w|va|var)))",
    re.I,
)
LETTERS = ("W", "V", "A", "C", "F", "K", "°")  # units, if other names end in clear ones
KNOWN_UNIT = re.compile(  # of two letters or more: (A), (N) and (W) are as often names
    r"[kmgt]?(wh?|va|var|vah|varh|hz|pa|bar|hpa|jh?)(/h|/m[2²])?|°\s?[cfk]|deg\.?\s?[cfk]|%|ppm|lux|lx"
    r"|deg(rees?)?|[mcdk]?m[23²³]?(/(s|h|min))?|km/h|mph|[mk]?l(/(s|h|min))?|kg(/h)?|(eur|usd|gbp|[€$£])/[km]wh",
    re.I,
)


def refuse_mixed_attributes(
    path: Path, attributes: Mapping[str, Sequence[str]], asked: Collection[str], utc: bool, zone: str | None
) -> None:
    """
    Args:
        attributes: column -> its cell for each entity.
        asked: columns that the settings name as attributes.
        utc: the times say their offsets, so that no column has to.
        zone: of local times, as data.timezone says.

    Raises:
        UserError: a column says that entities have readings or times of different kinds, or times of another
            zone.
    """
    for name, cells in attributes.items():
        units = names_units(name)
        if name in asked or not (units or (ZONE_NAME.search(_to_words(name)) and not utc)):
            continue
        different = _list_different(cells)
        if len(different) == 1 and not units:
            _refuse_other_zone(path, name, different[0], zone)
        if len(different) < 2:
            continue
        what, remedy = (
            ("readings", "write all readings in one unit")
            if units
            else ("times", "write all times with their offsets, or in UTC")
        )
        raise UserError(
            f"{path}: column {name!r} says that {what} of entities differ ({', '.join(different[:4])}); "
            f"{remedy}, or set data.columns.attributes={show_list([name])} if it only describes the entities"
        )


def _refuse_other_zone(path: Path, name: str, stated: str, zone: str | None) -> None:
    """
    Raises:
        UserError: a column states a UTC offset or another place, and times are taken as those of `zone`. GMT,
            CET and the like may be what its clocks show.
    """
    if zone is None or stated == zone or stated.upper() == "GMT":
        return
    offset = parse_offset(stated)
    if offset is None and not ("/" in stated and stated in zoneinfo.available_timezones()):
        return
    remedy = f"set data.timezone={stated}"
    if offset is not None:
        remedy = f"call the column of the times 'time ({name_clock(offset)})', or leave data.timezone out"
    raise UserError(
        f"{path}: column {name!r} says that times are in {stated}, and data.timezone is {zone}; {remedy}, or "
        f"set data.columns.ignore={show_list([name])} if times are in {zone}"
    )


def names_units(name: str) -> bool:
    """Return whether a column's name says that it holds units or factors of the readings beside it."""
    return names_factors(name) or UNIT_NAME.search(_to_words(name)) is not None


def names_factors(name: str) -> bool:
    """Return whether a column's name says that it holds factors of the readings beside it."""
    return FACTOR_NAME.search(_to_words(name)) is not None


def refuse_changing_factors(path: Path, names: Sequence[str]) -> None:
    """
    Args:
        names: columns of readings; two or more.

    Raises:
        UserError: one of several holds factors, which change within an entity, as when a meter is exchanged.
    """
    factors = [name for name in names if names_factors(name)]
    if 0 < len(factors) < len(names):
        raise UserError(
            f"{path}: column {factors[0]!r} says by which factor readings are multiplied, and changes within "
            f"an entity; multiply the readings, and then set data.columns.ignore={show_list(factors)}, or "
            "name all columns of readings in data.columns.values if it holds readings"
        )


def _to_words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def refuse_mixed_columns(path: Path, names: Sequence[str], units_row: Mapping[str, str]) -> None:
    """
    Args:
        names: columns of a table with a column an entity.
        units_row: column -> what the row below the names says.

    Raises:
        UserError: the columns have different units, in that row or at the end of their names.
    """
    written = read_units_of_names(names)
    beside = [(match["first"] or match["last"]) if match else "" for match in map(_match_beside, names)]
    for found in ([units_row.get(name, "") for name in names], written, beside):
        units = [unit if unit in LETTERS or KNOWN_UNIT.fullmatch(unit) else "" for unit in found]
        if not all(units):  # letters may be names then
            units = [unit for unit in units if len(unit) > 1]
        different = _list_different(units)
        if len(different) > 1 and 2 * len(units) >= len(names):
            raise UserError(
                f"{path}: the columns have different units ({', '.join(different[:4])}), and each column is "
                "read as an entity; choose those of one unit with data.columns.values, or set "
                "data.layout=per_file if they are channels of one entity"
            )


def read_units_of_names(names: Sequence[str]) -> list[str]:
    """Return what stands in brackets at the end of each name, if it may be a unit, else nothing."""
    ends = [match[1] if match else "" for match in map(UNIT_IN_NAME.fullmatch, names)]
    clear = any(len(unit) > 1 and KNOWN_UNIT.fullmatch(unit) for unit in ends)
    return [unit if len(unit) > 1 or unit == "%" or (clear and unit in LETTERS) else "" for unit in ends]


def _match_beside(name: str) -> re.Match[str] | None:
    return UNIT_BESIDE_NAME.fullmatch(name.strip())


def _list_different(units: Sequence[str]) -> list[str]:
    """Return units that are different: kWh and KWH are the same, mW and MW are not."""
    found: dict[str, str] = {}
    for unit in units:
        if unit:
            found.setdefault(unit[0] + unit[1:].lower() if unit[0] in "mM" else unit.lower(), unit)
    return list(found.values())
