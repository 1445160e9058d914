"""The variables of a Zarr group or a NetCDF file, and which of their dimensions is what.

That follows from names and coordinates, never from sizes: one dimension is time, one may be channels, the
others say whose series it is.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distgan import config
from distgan.data.formats.arrays import Index
from distgan.data.formats.cf import counts_from_moment
from distgan.data.formats.pieces import take_first_line
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

    def read_part(self, path: Path, index: Index) -> np.ndarray:
        """Return the stored numbers of a part.

        Raises:
            UserError: it is damaged.
        """
        try:
            return self.read(index)
        except UserError:
            raise
        except Exception as error:  # codecs raise what they like
            where = f", {self.dims[0]} {index[0].start}..{index[0].stop - 1}" if index else ""
            raise UserError(
                f"{path}: {self.name}{where}, cannot be decoded ({take_first_line(error)}); it is damaged"
            ) from None

    def read_whole(self, path: Path) -> np.ndarray:
        """Return all stored numbers.

        Raises:
            UserError: they are damaged.
        """
        return self.read_part(path, tuple(slice(0, size) for size in self.shape))


@dataclass(frozen=True)
class Container:
    """The variables of a group or a file, those with values and those that describe dimensions."""

    path: Path
    variables: dict[str, Variable]
    skipped: list[str] = field(default_factory=list)

    def find_coordinate(self, dim: str) -> Variable | None:
        """Return the variable that is named for a dimension and lies along it alone."""
        found = self.variables.get(dim)
        return found if found is not None and found.dims == (dim,) else None


@dataclass(frozen=True)
class Roles:
    """The role of each dimension."""

    time: str
    ids: tuple[str, ...]
    channel: str | None

    def order_dimensions(self, variable: Variable) -> list[int]:
        """Return the dimensions of a variable in the order ids, time, channel."""
        return [variable.dims.index(dim) for dim in (*self.ids, self.time, self.channel) if dim is not None]


def is_positional(variable: Variable) -> bool:
    """Return whether nothing names the dimensions of a variable."""
    return not variable.dims or not any(re.search(r"\w", dim or "") for dim in variable.dims)


def refuse_other(path: Path, variable: Variable) -> None:
    if len(variable.shape) not in (2, 3) or variable.dtype.kind not in "fiub" or 0 in variable.shape:
        raise UserError(
            f"{path} has shape {variable.shape} of {variable.dtype}; "
            "numbers [series, steps] or [series, steps, channels] are wanted"
        )


def choose_variables(container: Container, settings: config.Data) -> list[Variable]:
    """Return the variables that data.columns.values names, or all numbers that are no coordinates.

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
        left_out = (*settings.columns.ignore, *settings.columns.attributes, *_list_coordinates(container))
        found = [
            variable
            for name, variable in every.items()
            if name not in left_out and variable.dtype.kind in "fiub" and variable.dims
        ]
        found = [variable for variable in found if variable.dims != (variable.name,)]
        most = max((len(variable.dims) for variable in found), default=0)
        lone = [variable for variable in found if len(variable.dims) == 1 and most > 1]
        timely = [variable for variable in lone if _can_be_time(container, variable.dims[0], settings)]
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


def _list_coordinates(container: Container) -> set[str]:
    """Return the names that other variables name as their coordinates, bounds or flags."""
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


def find_roles(container: Container, chosen: list[Variable], settings: config.Data) -> Roles:
    """Return the role of each dimension of the chosen variables.

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
    timely = [named] if isinstance(named, str) else [d for d in dims if _can_be_time(container, d, settings)]
    if len(timely) != 1:
        found = "several could be" if timely else "none is called"
        raise UserError(
            f"{path} has the dimensions {shown}, of which {found} time; name it with data.columns.time"
        )
    rest = [dim for dim in dims if dim != timely[0]]
    wanted = settings.columns.id
    if wanted is not None:
        ids = _choose_id_dimensions(container, rest, wanted)
    else:
        ids = tuple(dim for dim in rest if dim.lower() not in CHANNEL_NAMES)
        if len(ids) > 1:
            raise UserError(
                f"{path} has the dimensions {shown}; name those that identify an entity with "
                f"data.columns.id, e.g. [{', '.join(ids)}]"
            )
    others = [dim for dim in rest if dim not in ids]
    if len(others) > 1 or (others and len(chosen) > 1):
        raise UserError(
            f"{path}: {', '.join(others)} cannot both be channels beside {len(chosen)} variables; choose one "
            "variable with data.columns.values, or add a dimension to data.columns.id"
        )
    return Roles(timely[0], ids, others[0] if others else None)


def _choose_id_dimensions(
    container: Container, rest: list[str], wanted: str | tuple[str, ...]
) -> tuple[str, ...]:
    found = []
    for name in (wanted,) if isinstance(wanted, str) else wanted:
        along = container.variables.get(name)
        dim = name if name in rest else along.dims[0] if along is not None and len(along.dims) == 1 else ""
        if dim not in rest:
            raise UserError(
                f"data.columns.id {name!r} is no dimension of {container.path}, nor a variable along one; it "
                f"has {', '.join(rest) or 'time alone'}"
            )
        found.append(dim)
    return tuple(found)


def _can_be_time(container: Container, dim: str, settings: config.Data) -> bool:
    if settings.columns.time is not None:
        return dim == settings.columns.time
    coordinate = container.find_coordinate(dim)
    if coordinate is None:
        return dim.lower() in TIME_NAMES
    says = coordinate.attributes
    if says.get("axis") == "T" or says.get("standard_name") == "time" or counts_from_moment(says):
        return True
    return dim.lower() in TIME_NAMES or coordinate.dtype.kind == "M"
