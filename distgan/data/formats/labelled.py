"""Series from arrays whose dimensions have names: the variables of a Zarr group or a NetCDF file."""

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from distgan import config
from distgan.data.formats import arrays, cf
from distgan.data.formats.array_axis import NO_TIMES
from distgan.data.formats.column_names import is_flag_name, match_owner_name
from distgan.data.formats.entity_columns import refuse_quantities_as_ids
from distgan.data.formats.ids import format_float_ids
from distgan.data.formats.pieces import Source, refuse_twice
from distgan.data.formats.slabs import Layers, make_reader, on_axis
from distgan.data.formats.understood import Understood
from distgan.data.formats.unit_columns import KNOWN_UNIT, names_units, refuse_mixed_attributes
from distgan.data.formats.variables import (
    Container,
    Roles,
    Variable,
    choose_variables,
    find_roles,
    refuse_other,
)
from distgan.data.grid import choose_kind, make_regular_grid
from distgan.data.ingest_cache import IngestCache
from distgan.data.store.metadata import Axis, Meta
from distgan.data.zones import find_standard_offset
from distgan.errors import UserError

UTC = "UTC (CF time)"


def read_container(container: Container, settings: config.Data, work: IngestCache) -> Source:
    """Return the series of a group or a file with named dimensions.

    Raises:
        UserError: no or several dimensions could be time, variables do not fit each other, times are not
            regular, or values cannot be decoded; names the setting that decides.
    """
    chosen = choose_variables(container, settings)
    roles = find_roles(container, chosen, settings)
    if not roles.ids and len(chosen) > 1 and settings.layout == "auto":
        raise UserError(
            f"{container.path}: the variables {_format_list(chosen)} have the dimension {roles.time!r} "
            "alone; set data.layout=wide if each is an entity, or data.layout=long if they are the channels "
            "of one"
        )
    sizes = dict(zip(chosen[0].dims, chosen[0].shape))
    times = _read_times(container, roles.time, sizes[roles.time], settings)
    entity_wise = not roles.ids and settings.layout == "wide"
    ids = (
        [variable.name for variable in chosen]
        if entity_wise
        else _name_series(container, roles, sizes, settings)
    )
    if roles.ids and settings.columns.id is None:
        advice = f"rename the dimension to channel, or set data.columns.id={roles.ids[0]} if each is one"
        refuse_quantities_as_ids(container.path, f"the names along {roles.ids[0]}", ids, advice)
    channels = ["value"] if entity_wise else _name_channels(container, roles, chosen, sizes)
    refuse_twice(ids, f"{container.path}: id")
    refuse_twice(channels, f"{container.path}: channel")
    missing, kind = arrays.list_missing_numbers(settings), choose_kind(settings.registers)
    layers = Layers(container.path, chosen, roles, entity_wise, missing, kind)
    shape = (len(ids), sizes[roles.time], len(channels))
    read = make_reader(layers, shape, work)
    block = partial(on_axis, read, times.places, times.axis.length)
    provenance: dict[str, Any] = {"source": container.path.name, "clock": times.clock}
    if times.filled:
        provenance["missing_stamps"] = times.filled
    if container.skipped:
        provenance["skipped"] = container.skipped
    stated = _join_units(container.path, chosen, entity_wise, settings.units)
    meta = Meta(times.axis, tuple(channels), settings.units or stated, provenance, {})
    understood = Understood(stated_units=[stated] if stated and ": " not in stated else [])
    _refuse_flags(container, chosen, settings)
    along = {} if entity_wise else _read_along_ids(container, roles)
    asked = (*settings.columns.attributes, *settings.columns.ignore)
    refuse_mixed_attributes(container.path, along, asked, utc=True, zone=None)
    owners = {name: cells for name, cells in along.items() if match_owner_name(name)}
    return Source(block, ids, list(ids), meta, attributes=owners, understood=understood)


def read_unnamed_array(
    container: Container, variable: Variable, settings: config.Data, work: IngestCache
) -> Source:
    """Return the series of one array without names of dimensions: [series, steps] or [series, steps,
    channels].

    Raises:
        UserError: it is none, or its values cannot be decoded.
    """
    refuse_other(container.path, variable)
    axes = ("time", "id") if settings.layout == "wide" else ("id", "time")
    dims = (*axes, "channel")[: len(variable.shape)]
    named = replace(variable, dims=dims)
    source = read_container(Container(container.path, {named.name: named}), settings, work)
    if len(variable.shape) == 2:
        source.meta = replace(source.meta, channels=("value",))
    return source


# ------------------------------------------------------------------------------------- names, units and times


def _name_series(
    container: Container, roles: Roles, sizes: dict[str, int], settings: config.Data
) -> list[str]:
    """Return a name for each series: of the coordinate of its dimension, or its number."""
    if not roles.ids:
        return [container.path.stem]
    wanted = settings.columns.id
    wanted = (wanted,) if isinstance(wanted, str) else wanted or roles.ids
    each = [_read_names(container, name, dim, sizes[dim]) for name, dim in zip(wanted, roles.ids)]
    names = each[0]
    for more in each[1:]:
        names = [f"{name}/{other}" for name in names for other in more]
    return names


def _read_names(container: Container, name: str, dim: str, size: int) -> list[str]:
    named = container.variables.get(name)
    found = named if named is not None and named.dims == (dim,) else _find_identifier(container, dim)
    if found is None:
        return [str(number) for number in range(size)]
    values = found.read_whole(container.path)
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.round(values)).all():
        return format_float_ids(values, f"{container.path}: {found.name}")
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]


def _read_along_ids(container: Container, roles: Roles) -> dict[str, list[str]]:
    """Return the variables along the dimension of ids that are named for households, patients and the like,
    or for units and factors: a cell per series, as text.
    """
    return {
        name: _read_names(container, name, dim, len(variable.read_whole(container.path)))
        for dim in roles.ids[:1]
        for name, variable in container.variables.items()
        if len(roles.ids) == 1
        and variable.dims == (dim,)
        and (match_owner_name(name) or (names_units(name) and name != dim))
    }


def _refuse_flags(container: Container, chosen: list[Variable], settings: config.Data) -> None:
    """
    Raises:
        UserError: a variable names another one that flags each of its readings.
    """
    for variable in chosen:
        for name in str(variable.attributes.get("ancillary_variables", "")).split():
            flags = container.variables.get(name)
            if flags is None or flags in chosen or name in settings.columns.ignore:
                continue
            if set(flags.dims) == set(variable.dims) and _holds_flags(flags):
                raise UserError(
                    f"{container.path}: variable {name!r} flags the readings of {variable.name!r}, and is "
                    "not read; make those that it marks as bad missing (xarray: where), and then set "
                    f"data.columns.ignore=[{name}]"
                )


def _holds_flags(variable: Variable) -> bool:
    marked = {"flag_values", "flag_masks", "flag_meanings"} & set(variable.attributes)
    status = str(variable.attributes.get("standard_name", "")).endswith(("status_flag", "quality_flag"))
    return bool(marked) or status or (variable.dtype.kind in "iub" and is_flag_name(variable.name))


def _find_identifier(container: Container, dim: str) -> Variable | None:
    """Return the variable that names the places along a dimension: marked so (CF's cf_role), or the only
    text.
    """
    along = [each for each in container.variables.values() if each.dims == (dim,)]
    marked = [each for each in along if each.attributes.get("cf_role") == "timeseries_id"]
    texts = [each for each in along if each.dtype.kind in "USOT"]
    if len(marked) == 1:
        return marked[0]
    return texts[0] if len(texts) == 1 else None


def _name_channels(
    container: Container, roles: Roles, chosen: list[Variable], sizes: dict[str, int]
) -> list[str]:
    if roles.channel is None:
        return [variable.name for variable in chosen]
    if (
        container.find_coordinate(roles.channel) is None
        and _find_identifier(container, roles.channel) is None
    ):
        return arrays.name_channels(sizes[roles.channel])
    return _read_names(container, roles.channel, roles.channel, sizes[roles.channel])


def _join_units(path: Path, chosen: list[Variable], entity_wise: bool, asked: str) -> str:
    """Return the units that variables state. data.units (`asked`) decides between names of them that are not
    known.

    Raises:
        UserError: variables that are entities have different ones.
    """
    said = {variable.name: str(variable.attributes.get("units", "")).strip() for variable in chosen}
    different = set(said.values())
    if len(different) == 1:
        return different.pop()
    if entity_wise and not (asked and not all(map(KNOWN_UNIT.fullmatch, different))):
        raise UserError(
            f"{path}: the variables have different units: "
            f"{', '.join(f'{name} {unit}' for name, unit in said.items())}; "
            "choose those of one unit with data.columns.values"
        )
    return ", ".join(f"{name}: {unit or '?'}" for name, unit in said.items())


@dataclass(frozen=True)
class Times:
    """A regular axis, the place on it of each stored step (None: as they are), and how many nobody stored."""

    axis: Axis
    clock: str
    places: np.ndarray | None = None
    filled: int = 0


def _read_times(container: Container, dim: str, length: int, settings: config.Data) -> Times:
    """Return the axis that a time coordinate describes, or a nominal one where there is none.

    Raises:
        UserError: it cannot be read, or is not regular.
    """
    path, coordinate = container.path, container.find_coordinate(dim)
    if coordinate is None or _is_count(path, coordinate, settings):
        said = "no times" if coordinate is None else f"{dim} 0, 1, 2, …"
        return Times(replace(NO_TIMES, length=length), f"nominal: the source says {said}")
    stamps = cf.decode_times(
        coordinate.read_whole(path), coordinate.attributes, f"{path}: {dim}", settings.time_unit
    )
    begins = _read_begins(container, coordinate, len(stamps), settings)
    stamps = stamps if begins is None else begins
    order = np.argsort(stamps, kind="stable")
    rising = stamps[order]
    same = np.flatnonzero(np.diff(rising) == np.timedelta64(0, "s"))
    if len(same):
        raise UserError(f"{path}: time {rising[same[0]]} of {dim} stands twice; write each time once")
    clock = UTC
    if settings.timezone is not None:
        offset, _ = find_standard_offset(settings.timezone, rising[0], rising[-1])
        rising = rising + np.timedelta64(int(offset.total_seconds()), "s")
        clock = f"standard time of {settings.timezone} all year"
    grid = make_regular_grid(rising, str(path))
    places = np.empty(length, np.int64)
    places[order] = grid.locate(rising)
    as_they_are = grid.axis.length == length and bool((places == np.arange(length)).all())
    return Times(grid.axis, clock, None if as_they_are else places, grid.filled)


def _read_begins(
    container: Container, coordinate: Variable, length: int, settings: config.Data
) -> np.ndarray | None:
    """Return when the intervals begin that the CF attribute `bounds` names, or None where it names none."""
    bounds = container.variables.get(str(coordinate.attributes.get("bounds", "")))
    if bounds is None or bounds.shape != (length, 2):
        return None
    attributes = {**coordinate.attributes, **bounds.attributes}
    where = f"{container.path}: {bounds.name}"
    ends = cf.decode_times(bounds.read_whole(container.path).ravel(), attributes, where, settings.time_unit)
    return np.asarray(ends.reshape(length, 2).min(axis=1))


def _is_count(path: Path, coordinate: Variable, settings: config.Data) -> bool:
    """Return whether a coordinate only counts steps."""
    dated = re.search(r"\d", str(coordinate.attributes.get("units", ""))) is not None
    if coordinate.dtype.kind not in "fiu" or dated or settings.time_unit is not None:
        return False
    values = coordinate.read_whole(path)
    return bool(np.isin(values[:1], (0, 1)).all() and (np.diff(values.astype(np.float64)) == 1).all())


def _format_list(variables: list[Variable]) -> str:
    names = [variable.name for variable in variables]
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
