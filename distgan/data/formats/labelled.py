"""Series from arrays whose dimensions have names: the variables of a Zarr group or a NetCDF file.

What a dimension is follows from names and coordinates, never from sizes: one is time, one may be channels,
the others say whose series it is. Packed integers and fill values are decoded as the CF conventions say.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from distgan import config
from distgan.data.formats import arrays, cf
from distgan.data.formats.arrays import Index
from distgan.data.formats.pieces import Source, first_line_of, refuse_twice
from distgan.data.grid import regular
from distgan.data.ingest_cache import IngestCache, drop_pages, rows_of
from distgan.data.store.metadata import Axis, Meta
from distgan.data.zones import standard_offset
from distgan.errors import UserError

TIME_NAMES = (
    "time",
    "times",
    "t",
    "date",
    "datetime",
    "timestamp",
    "timestamps",
    "valid_time",
    "hour",
    "step",
)
CHANNEL_NAMES = ("channel", "channels", "variable", "variables", "feature", "features", "band", "component")
UTC = "UTC (CF time)"


@dataclass(frozen=True)
class Variable:
    """A stored array: raw numbers by parts, the names of its dimensions (none where nothing names them)."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    attributes: dict[str, Any]
    read: Callable[[Index], np.ndarray]

    def whole(self) -> np.ndarray:
        return self.read(tuple(slice(0, size) for size in self.shape))


@dataclass(frozen=True)
class Container:
    """The variables of a group or a file, those with values and those that describe dimensions."""

    path: Path
    variables: dict[str, Variable]
    skipped: list[str] = field(default_factory=list)

    def coordinate(self, dim: str) -> Variable | None:
        """The variable that is named for a dimension and lies along it alone."""
        found = self.variables.get(dim)
        return found if found is not None and found.dims == (dim,) else None


@dataclass(frozen=True)
class Roles:
    """Which dimension is what."""

    time: str
    ids: tuple[str, ...]
    channel: str | None


# ----------------------------------------------------------------------------------------------- from outside


def container_source(container: Container, settings: config.Data, work: IngestCache) -> Source:
    """The series of a group or a file with named dimensions.

    Raises:
        UserError: no or several dimensions could be time, variables do not fit each other, times are not
            regular, or values cannot be decoded; names the setting that decides.
    """
    chosen = chosen_variables(container, settings)
    roles = roles_of(container, chosen, settings)
    if not roles.ids and len(chosen) > 1 and settings.layout == "auto":
        raise UserError(
            f"{container.path}: the variables {_list(chosen)} have the dimension {roles.time!r} alone; set "
            "data.layout=wide if each is an entity, or data.layout=long if they are the channels of one"
        )
    sizes = dict(zip(chosen[0].dims, chosen[0].shape))
    times = _times(container, roles.time, sizes[roles.time], settings)
    entity_wise = not roles.ids and settings.layout == "wide"
    ids = [variable.name for variable in chosen] if entity_wise else _ids(container, roles, sizes, settings)
    channels = ["value"] if entity_wise else _channels(container, roles, chosen, sizes)
    refuse_twice(ids, f"{container.path}: id")
    refuse_twice(channels, f"{container.path}: channel")
    missing = arrays.missing_numbers(settings)
    shape = (len(ids), sizes[roles.time], len(channels))
    read = _reader(container.path, chosen, roles, shape, missing, work, entity_wise)
    block = partial(_on_axis, read, times.places, times.axis.length)
    provenance: dict[str, Any] = {"source": container.path.name, "clock": times.clock}
    if times.filled:
        provenance["missing_stamps"] = times.filled
    if container.skipped:
        provenance["skipped"] = container.skipped
    units = settings.units or _units(chosen, entity_wise)
    meta = Meta(times.axis, tuple(channels), units, provenance, {})
    return Source(block, ids, list(ids), meta)


def array_source(
    container: Container, variable: Variable, settings: config.Data, work: IngestCache
) -> Source:
    """One array without names of dimensions: [series, steps] or [series, steps, channels].

    Raises:
        UserError: it is none, or its values cannot be decoded.
    """
    refuse_other(container.path, variable)
    axes = ("time", "id") if settings.layout == "wide" else ("id", "time")
    dims = (*axes, "channel")[: len(variable.shape)]
    named = replace(variable, dims=dims)
    source = container_source(Container(container.path, {named.name: named}), settings, work)
    if len(variable.shape) == 2:
        source.meta = replace(source.meta, channels=("value",))
    return source


def refuse_other(path: Path, variable: Variable) -> None:
    if len(variable.shape) not in (2, 3) or variable.dtype.kind not in "fiub" or 0 in variable.shape:
        raise UserError(
            f"{path} has shape {variable.shape} of {variable.dtype}; "
            "numbers [series, steps] or [series, steps, channels] are wanted"
        )


# ----------------------------------------------------------------------------------- variables and dimensions


def chosen_variables(container: Container, settings: config.Data) -> list[Variable]:
    """Those that data.columns.values names, or all numbers that are no coordinates.

    Raises:
        UserError: there is none, or they have different dimensions.
    """
    every, path = container.variables, container.path
    wanted = settings.columns.values
    if wanted is not None:
        for name in wanted:
            if name not in every:
                raise UserError(
                    f"data.columns.values {name!r} is no variable of {path}; it has "
                    f"{', '.join(every) or 'none'}"
                )
        found = [every[name] for name in wanted]
    else:
        left_out = (*settings.columns.ignore, *settings.columns.attributes, *_coordinates(container))
        found = [
            variable
            for name, variable in every.items()
            if name not in left_out and variable.dtype.kind in "fiub" and variable.dims
        ]
        found = [variable for variable in found if variable.dims != (variable.name,)]
        most = max((len(variable.dims) for variable in found), default=0)
        lone = [variable for variable in found if len(variable.dims) == 1 and most > 1]
        timely = [variable for variable in lone if _could_be_time(container, variable.dims[0], settings)]
        found = [variable for variable in found if variable not in lone or variable in timely]
    if not found:
        raise UserError(
            f"{path} has no variable of numbers with a dimension of time; it has {', '.join(every)}"
        )
    for variable in found:
        if variable.dtype.kind not in "fiub":
            raise UserError(f"{path}: variable {variable.name!r} holds {variable.dtype}, no numbers")
    kinds = {frozenset(variable.dims) for variable in found}
    if len(kinds) > 1:
        shown = ", ".join(f"{variable.name}({', '.join(variable.dims)})" for variable in found[:6])
        raise UserError(
            f"{path}: variables have different dimensions: {shown}; name those that are wanted with "
            "data.columns.values"
        )
    for variable in found:
        if dict(zip(variable.dims, variable.shape)) != dict(zip(found[0].dims, found[0].shape)):
            raise UserError(
                f"{path}: {variable.name} has shape {variable.shape}, {found[0].name} {found[0].shape}"
            )
    return found


def _coordinates(container: Container) -> set[str]:
    """What other variables name as their coordinates, bounds or flags."""
    found: set[str] = set()
    for variable in container.variables.values():
        for key in (
            "coordinates",
            "bounds",
            "climatology",
            "grid_mapping",
            "ancillary_variables",
            "cell_measures",
        ):
            found |= set(str(variable.attributes.get(key, "")).replace(":", " ").split())
    return found


def roles_of(container: Container, chosen: list[Variable], settings: config.Data) -> Roles:
    """Which dimension of the chosen variables is what.

    Raises:
        UserError: that is not clear; names data.columns.time or data.columns.id.
    """
    path, dims = container.path, chosen[0].dims
    if "sample_dimension" in {key for each in container.variables.values() for key in each.attributes}:
        raise UserError(
            f"{path} holds series of different lengths one after the other (CF contiguous ragged arrays), "
            f"which "
            "are not read; write one row a series, or a long table (xarray's to_dataframe().to_parquet)"
        )
    shown = ", ".join(dims)
    named = settings.columns.time
    if named is not None and named not in dims:
        raise UserError(f"data.columns.time {named!r} is no dimension of {path}; it has {shown}")
    timely = (
        [named] if isinstance(named, str) else [d for d in dims if _could_be_time(container, d, settings)]
    )
    if len(timely) != 1:
        found = "several could be" if timely else "none is called"
        raise UserError(
            f"{path} has the dimensions {shown}, of which {found} time; name it with data.columns.time"
        )
    rest = [dim for dim in dims if dim != timely[0]]
    wanted = settings.columns.id
    if wanted is not None:
        ids = _id_dimensions(container, rest, wanted)
    else:
        ids = tuple(dim for dim in rest if dim.lower() not in CHANNEL_NAMES)
        if len(ids) > 1:
            raise UserError(
                f"{path} has the dimensions {shown}; name those that identify an entity with "
                f"data.columns.id, "
                f"e.g. [{', '.join(ids)}]"
            )
    others = [dim for dim in rest if dim not in ids]
    if len(others) > 1 or (others and len(chosen) > 1):
        raise UserError(
            f"{path}: {', '.join(others)} cannot both be channels beside {len(chosen)} variables; choose "
            f"one variable "
            "with data.columns.values, or add a dimension to data.columns.id"
        )
    return Roles(timely[0], ids, others[0] if others else None)


def _id_dimensions(container: Container, rest: list[str], wanted: str | tuple[str, ...]) -> tuple[str, ...]:
    found = []
    for name in (wanted,) if isinstance(wanted, str) else wanted:
        along = container.variables.get(name)
        dim = name if name in rest else along.dims[0] if along is not None and len(along.dims) == 1 else ""
        if dim not in rest:
            raise UserError(
                f"data.columns.id {name!r} is no dimension of {container.path}, nor a variable along one; "
                f"it has "
                f"{', '.join(rest) or 'time alone'}"
            )
        found.append(dim)
    return tuple(found)


def _could_be_time(container: Container, dim: str, settings: config.Data) -> bool:
    if settings.columns.time is not None:
        return dim == settings.columns.time
    coordinate = container.coordinate(dim)
    if coordinate is None:
        return dim.lower() in TIME_NAMES
    says = coordinate.attributes
    if (
        says.get("axis") == "T"
        or says.get("standard_name") == "time"
        or " since " in str(says.get("units", ""))
    ):
        return True
    return dim.lower() in TIME_NAMES or coordinate.dtype.kind == "M"


# ------------------------------------------------------------------------------------- names, units and times


def _ids(container: Container, roles: Roles, sizes: dict[str, int], settings: config.Data) -> list[str]:
    """A name for each series: of the coordinate of its dimension, or its number."""
    if not roles.ids:
        return [container.path.stem]
    wanted = settings.columns.id
    wanted = (wanted,) if isinstance(wanted, str) else wanted or roles.ids
    each = [_names(container, name, dim, sizes[dim]) for name, dim in zip(wanted, roles.ids)]
    names = each[0]
    for more in each[1:]:
        names = [f"{name}/{other}" for name in names for other in more]
    return names


def _names(container: Container, name: str, dim: str, size: int) -> list[str]:
    named = container.variables.get(name)
    found = named if named is not None and named.dims == (dim,) else _identifier(container, dim)
    if found is None:
        return [str(number) for number in range(size)]
    values = found.whole()
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.round(values)).all():
        values = values.astype(np.int64)
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]


def _identifier(container: Container, dim: str) -> Variable | None:
    """The variable that names the places along a dimension: marked so (CF's cf_role), or the only text."""
    along = [each for each in container.variables.values() if each.dims == (dim,)]
    marked = [each for each in along if each.attributes.get("cf_role") == "timeseries_id"]
    texts = [each for each in along if each.dtype.kind in "USOT"]
    if len(marked) == 1:
        return marked[0]
    return texts[0] if len(texts) == 1 else None


def _channels(container: Container, roles: Roles, chosen: list[Variable], sizes: dict[str, int]) -> list[str]:
    if roles.channel is None:
        return [variable.name for variable in chosen]
    if container.coordinate(roles.channel) is None and _identifier(container, roles.channel) is None:
        return arrays.default_channels(sizes[roles.channel])
    return _names(container, roles.channel, roles.channel, sizes[roles.channel])


def _units(chosen: list[Variable], entity_wise: bool) -> str:
    said = {variable.name: str(variable.attributes.get("units", "")).strip() for variable in chosen}
    different = set(said.values())
    if len(different) == 1:
        return different.pop()
    if entity_wise:
        raise UserError(
            f"the variables have different units: "
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


def _times(container: Container, dim: str, length: int, settings: config.Data) -> Times:
    """The axis that a time coordinate describes, or a nominal one where there is none.

    Raises:
        UserError: it cannot be read, or is not regular.
    """
    path, coordinate = container.path, container.coordinate(dim)
    if coordinate is None or _counts(coordinate, settings):
        said = "no times" if coordinate is None else f"{dim} 0, 1, 2, …"
        return Times(replace(arrays.NO_TIMES, length=length), f"nominal: the source says {said}")
    stamps = cf.stamps(coordinate.whole(), coordinate.attributes, f"{path}: {dim}", settings.time_unit)
    order = np.argsort(stamps, kind="stable")
    rising = stamps[order]
    same = np.flatnonzero(np.diff(rising) == np.timedelta64(0, "s"))
    if len(same):
        raise UserError(f"{path}: time {rising[same[0]]} of {dim} stands twice; write each time once")
    clock = UTC
    if settings.timezone is not None:
        offset, _ = standard_offset(settings.timezone, rising[0], rising[-1])
        rising = rising + np.timedelta64(int(offset.total_seconds()), "s")
        clock = f"standard time of {settings.timezone} all year"
    grid = regular(rising, str(path))
    places = np.empty(length, np.int64)
    places[order] = grid.places(rising)
    as_they_are = grid.axis.length == length and bool((places == np.arange(length)).all())
    return Times(grid.axis, clock, None if as_they_are else places, grid.filled)


def _counts(coordinate: Variable, settings: config.Data) -> bool:
    """Whether a coordinate only counts steps."""
    says = str(coordinate.attributes.get("units", ""))
    if coordinate.dtype.kind not in "fiu" or " since " in says or settings.time_unit is not None:
        return False
    values = coordinate.whole()
    return bool(np.isin(values[:1], (0, 1)).all() and (np.diff(values.astype(np.float64)) == 1).all())


# ------------------------------------------------------------------------------------------------- the values


def _reader(
    path: Path,
    chosen: list[Variable],
    roles: Roles,
    shape: tuple[int, int, int],
    missing: np.ndarray,
    work: IngestCache,
    entity_wise: bool,
) -> Callable[[int, int], np.ndarray]:
    """Rows [n, T, C] of all variables: straight from the file where whole series lie together there, else
    from a transposed copy on disk.
    """
    depth = shape[2]
    row_bytes = 4 * shape[1] * depth
    direct = not entity_wise and all(
        len(roles.ids) == 1
        and variable.dims[0] == roles.ids[0]
        and variable.chunks[0] * row_bytes <= arrays.SLAB_BYTES
        for variable in chosen
    )
    if direct:
        return partial(_direct, path, chosen, roles, missing)
    matrix = work.matrix("values", shape, np.nan)
    for number, variable in enumerate(chosen):
        _transpose(path, variable, roles, missing, matrix, (number, entity_wise))
    return partial(rows_of, matrix)


def _decoded(path: Path, variable: Variable, index: Index, missing: np.ndarray) -> np.ndarray:
    """A part as float32, NaN = missing.

    Raises:
        UserError: it is damaged.
    """
    try:
        raw = variable.read(index)
    except UserError:
        raise
    except Exception as error:  # codecs raise what they like
        first, last = index[0].start, index[0].stop - 1
        raise UserError(
            f"{path}: {variable.name}, {variable.dims[0]} {first}..{last}, cannot be decoded "
            f"({first_line_of(error)}); it is damaged"
        ) from None
    return arrays.without(cf.decode(raw, variable.attributes, f"{path}: {variable.name}"), missing)


def _direct(
    path: Path, chosen: list[Variable], roles: Roles, missing: np.ndarray, first: int, last: int
) -> np.ndarray:
    found = []
    for variable in chosen:
        index = (slice(first, last), *(slice(0, size) for size in variable.shape[1:]))
        values = _decoded(path, variable, index, missing)
        order = [
            variable.dims.index(dim) for dim in (*roles.ids, roles.time, roles.channel) if dim is not None
        ]
        values = np.transpose(values, order)
        found.append(values if values.ndim == 3 else values[:, :, None])
    return found[0] if len(found) == 1 else np.concatenate(found, axis=2)


def _transpose(
    path: Path,
    variable: Variable,
    roles: Roles,
    missing: np.ndarray,
    matrix: np.memmap,
    place: tuple[int, bool],
) -> None:
    """Write a variable, a slab at a time, into its rows or channel of the matrix [n, T, C]."""
    number, entity_wise = place
    sizes = dict(zip(variable.dims, variable.shape))
    target = matrix.reshape(*(sizes[dim] for dim in roles.ids), *matrix.shape[1:]) if roles.ids else matrix
    steps = arrays.steps_within(variable.shape, variable.chunks, max(4, variable.dtype.itemsize))
    for index in arrays.parts_of(variable.shape, steps):
        where = dict(zip(variable.dims, index))
        values = _decoded(path, variable, index, missing)
        order = [
            variable.dims.index(dim) for dim in (*roles.ids, roles.time, roles.channel) if dim is not None
        ]
        values = np.transpose(values, order)
        if not roles.ids:
            values = values[None]
        if roles.channel is None:
            values = values[..., None]
        row = slice(number, number + 1) if entity_wise else slice(0, 1)
        ids = tuple(where[dim] for dim in roles.ids) or (row,)
        channel = slice(0, 1) if entity_wise else slice(number, number + 1)
        depth = where[roles.channel] if roles.channel is not None else channel
        target[(*ids, where[roles.time], depth)] = values
        drop_pages(matrix)


def _on_axis(
    read: Callable[[int, int], np.ndarray], places: np.ndarray | None, length: int, first: int, last: int
) -> np.ndarray:
    values = read(first, last)
    if places is None:
        return values
    found = np.full((len(values), length, values.shape[2]), np.nan, np.float32)
    found[:, places] = values
    return found


def _list(variables: list[Variable]) -> str:
    names = [variable.name for variable in variables]
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def is_positional(variable: Variable) -> bool:
    """Whether nothing names the dimensions of a variable."""
    return not variable.dims or not any(re.search(r"\w", dim or "") for dim in variable.dims)
