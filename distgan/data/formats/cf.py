"""Values and times as the CF conventions pack them, decoded by xarray. The only home of xarray.

https://cfconventions.org: packed data (scale_factor, add_offset), missing data (_FillValue, missing_value,
valid_min, valid_max, valid_range), unsigned integers (_Unsigned), times (units "hours since 2013-01-01").
"""

import base64
import binascii
import re
import struct
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from distgan.data.formats.pieces import take_first_line
from distgan.errors import UserError

PACKED = ("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned")
VALID = ("valid_min", "valid_max", "valid_range")
CALENDARS = ("standard", "gregorian", "proleptic_gregorian", "none", "")
SINCE = re.compile(r"\s+since\s+", re.I)
OTHER_DATE = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,}|\d{1,2}[/.]")  # that begins with no year
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def import_xarray() -> Any:
    """Return the module xarray.

    Raises:
        UserError: it is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise UserError(
            "NetCDF files, and Zarr arrays with CF attributes or time coordinates, are read by xarray; "
            "pip install 'distgan[formats]'"
        ) from None
    warnings.filterwarnings("ignore", category=xarray.SerializationWarning)  # of several fill values, e.g.
    return xarray


def decode_attributes(given: Mapping[str, Any], dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return attributes as CF means them: xarray writes fill values of floats to Zarr v3 in base64."""
    found = dict(given)
    fill = found.get("_FillValue")
    if isinstance(fill, str) and dtype.kind == "f":
        try:
            found["_FillValue"] = struct.unpack("<d", base64.b64decode(fill))[0]
        except (binascii.Error, struct.error):
            found["_FillValue"] = fill  # a plain number as text, which decoding reads or refuses
    return found


def list_fill_values(attributes: Mapping[str, Any]) -> list[Any]:
    """Return the stored numbers that mean missing."""
    found: list[Any] = []
    for name in ("_FillValue", "missing_value"):
        if name in attributes:
            found += np.atleast_1d(attributes[name]).tolist()
    return found


def decode(raw: np.ndarray, attributes: Mapping[str, Any], where: str) -> np.ndarray:
    """Return values, NaN = missing, from stored numbers.

    Raises:
        UserError: an attribute is of no use.
    """
    packing = {name: attributes[name] for name in PACKED if name in attributes}
    valid = {name: attributes[name] for name in VALID if name in attributes}
    if not packing and not valid:
        return raw
    values = raw
    try:
        if packing:
            xarray = import_xarray()
            dims = tuple(f"d{axis}" for axis in range(raw.ndim))
            packed = xarray.Variable(dims, raw, packing)
            values = xarray.conventions.decode_cf_variable(where, packed, decode_times=False).values
        if valid:
            values = np.where(_mark_valid(raw, valid, packing), values, np.nan)
    except UserError:
        raise
    except Exception as error:  # what others wrote there
        said = ", ".join(f"{name}={value!r}" for name, value in (packing | valid).items())
        raise UserError(f"{where}: the attributes {said} cannot be used ({take_first_line(error)})") from None
    if values.dtype.kind not in "fiub":
        raise UserError(f"{where}: decoded by its attributes it is {values.dtype}, no numbers")
    return values


def join_letters(variable: Any) -> Any:
    """Return an xarray variable of letters [..., n] as one of texts [...]."""
    return import_xarray().conventions.decode_cf_variable("text", variable, decode_times=False)


def _mark_valid(raw: np.ndarray, valid: Mapping[str, Any], packing: Mapping[str, Any]) -> np.ndarray:
    """Return which stored numbers lie within the valid range, which CF gives in stored numbers."""
    stored = raw
    if str(packing.get("_Unsigned", "")).lower() == "true" and raw.dtype.kind == "i":
        stored = raw.view(f"u{raw.dtype.itemsize}")
    low, high = valid.get("valid_range", (valid.get("valid_min"), valid.get("valid_max")))
    found = np.ones(raw.shape, dtype=bool)
    if low is not None:
        found &= ~(stored < np.asarray(low))
    if high is not None:
        found &= ~(stored > np.asarray(high))
    return found


# ----------------------------------------------------------------------------------------------------- times


def decode_times(
    values: np.ndarray, attributes: Mapping[str, Any], where: str, unit: str | None
) -> np.ndarray:
    """Return a time coordinate as datetime64[s], UTC where it says how times count (CF).

    Args:
        unit: of numbers without CF units (data.time_unit), since 1970-01-01.

    Raises:
        UserError: it cannot be read, or has fractions of a second.
    """
    try:
        if values.dtype.kind in "fiu":
            found = _decode_moments(values, attributes, where, unit)
        elif values.dtype.kind == "M":
            found = values
        else:
            texts = [v.decode() if isinstance(v, bytes) else str(v) for v in values]
            read = pd.to_datetime(pd.Series(texts), format="ISO8601", utc=True)
            found = read.dt.tz_localize(None).to_numpy()
    except UserError:
        raise
    except Exception as error:  # calendars, units and texts of any kind
        if (calendar := str(attributes.get("calendar", "standard")).lower()) not in CALENDARS:
            raise UserError(
                f"{where} is of the calendar {calendar!r}, which is not read; convert it, e.g. with xarray: "
                "dataset.convert_calendar('standard')"
            ) from None
        raise UserError(f"{where} cannot be read as times ({take_first_line(error)})") from None
    if found.dtype.kind != "M" or np.isnat(found).any():
        calendar = attributes.get("calendar", "standard")
        raise UserError(
            f"{where} cannot be read as times of the calendar in use (calendar {calendar!r}, or a missing "
            "time); write times of the standard calendar"
        )
    fine = found.astype("M8[us]")
    whole = (fine + np.timedelta64(500, "ms")).astype("M8[s]")  # days as floats are off by microseconds
    off = np.flatnonzero(np.abs(fine - whole) > np.timedelta64(1, "ms"))
    if len(off):
        raise UserError(
            f"{where} has the time {fine[off[0]]}, with a fraction of a second; steps are whole seconds"
        )
    return whole


def counts_from_moment(attributes: Mapping[str, Any]) -> bool:
    """Return whether units say from when on numbers count: "hours since 2013-01-01"."""
    return bool(SINCE.search(str(attributes.get("units", ""))))


def _decode_moments(
    values: np.ndarray, attributes: Mapping[str, Any], where: str, unit: str | None
) -> np.ndarray:
    """Return the times of numbers that count from a moment."""
    if counts_from_moment(attributes):
        xarray = import_xarray()
        kept = {name: attributes[name] for name in ("units", "calendar", *PACKED) if name in attributes}
        length, moment = SINCE.split(str(attributes["units"]), maxsplit=1)
        if OTHER_DATE.match(moment):
            raise UserError(
                f"{where} counts {length.strip()} since {moment!r}, a date that may be read in two ways; "
                "write it as 2013-01-01 in the attribute units"
            )
        kept["units"] = f"{length.strip().lower()} since {moment}"
        coded = xarray.Variable(("time",), values, kept)
        return np.asarray(xarray.conventions.decode_cf_variable("time", coded, decode_times=True).values)
    if unit is None:
        raise UserError(
            f"{where} holds numbers without units such as 'hours since 2013-01-01'; set data.time_unit (s, "
            "ms, us or ns since 1970-01-01)"
        )
    if values.dtype.kind == "f":
        return np.round(values * (NANOSECONDS[unit] / 1000)).astype(np.int64).astype("M8[us]")
    return (values.astype(np.int64) * NANOSECONDS[unit] // 1000).astype("M8[us]")
