"""The values of variables with named dimensions as rows [n, T, C], a slab at a time.

Packed integers and fill values are decoded as the CF conventions say.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from distgan.data.formats import arrays, cf
from distgan.data.formats.arrays import Index
from distgan.data.formats.variables import Roles, Variable
from distgan.data.ingest_cache import IngestCache, drop_pages, read_mapped_rows
from distgan.memory import scale_buffer


@dataclass(frozen=True)
class Layers:
    """The variables that hold the values of a container, and how they become [n, T, C].

    Attributes:
        entity_wise: each variable is one entity; else each is a channel, or one has a dimension of channels.
        missing: numbers that mean missing.
        kind: float32, or float64 of counters that will be differenced.
    """

    path: Path
    variables: list[Variable]
    roles: Roles
    entity_wise: bool
    missing: np.ndarray
    kind: type[np.floating]


def make_reader(
    layers: Layers, shape: tuple[int, int, int], work: IngestCache
) -> Callable[[int, int], np.ndarray]:
    """Return a reader of rows [n, T, C] of all variables: straight from the file where whole series lie
    together there, else from a transposed copy on disk.
    """
    row_bytes = np.dtype(layers.kind).itemsize * shape[1] * shape[2]
    ids = layers.roles.ids
    direct = not layers.entity_wise and all(
        len(ids) == 1
        and variable.dims[0] == ids[0]
        and variable.chunks[0] * row_bytes <= scale_buffer(arrays.SLAB_BYTES)
        for variable in layers.variables
    )
    if direct:
        return partial(_read_direct, layers)
    matrix = work.make_matrix("values", shape, layers.kind)
    for number in range(len(layers.variables)):
        _transpose(layers, number, matrix)
    return partial(read_mapped_rows, matrix)


def _decode_part(layers: Layers, variable: Variable, index: Index) -> np.ndarray:
    """Return a part, NaN = missing.

    Raises:
        UserError: it is damaged.
    """
    raw = variable.read_part(layers.path, index)
    values = cf.decode(raw, variable.attributes, f"{layers.path}: {variable.name}")
    return arrays.mask_missing(values, layers.missing, layers.kind)


def _read_direct(layers: Layers, first: int, last: int) -> np.ndarray:
    found = []
    for variable in layers.variables:
        index = (slice(first, last), *(slice(0, size) for size in variable.shape[1:]))
        values = _decode_part(layers, variable, index)
        values = np.transpose(values, layers.roles.order_dimensions(variable))
        found.append(values if values.ndim == 3 else values[:, :, None])
    return found[0] if len(found) == 1 else np.concatenate(found, axis=2)


def _transpose(layers: Layers, number: int, matrix: np.memmap) -> None:
    """Write a variable, a slab at a time, into its rows or channel of the matrix [n, T, C]."""
    variable, roles, entity_wise = layers.variables[number], layers.roles, layers.entity_wise
    sizes = dict(zip(variable.dims, variable.shape))
    target = matrix.reshape(*(sizes[dim] for dim in roles.ids), *matrix.shape[1:]) if roles.ids else matrix
    steps = arrays.choose_steps(variable.shape, variable.chunks, max(4, variable.dtype.itemsize))
    for index in arrays.iterate_parts(variable.shape, steps):
        where = dict(zip(variable.dims, index))
        values = _decode_part(layers, variable, index)
        values = np.transpose(values, roles.order_dimensions(variable))
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


def on_axis(
    read: Callable[[int, int], np.ndarray], places: np.ndarray | None, length: int, first: int, last: int
) -> np.ndarray:
    """Return rows [n, length, C] with each stored step at its place on a regular axis."""
    values = read(first, last)
    if places is None:
        return values
    found = np.full((len(values), length, values.shape[2]), np.nan, values.dtype)
    found[:, places] = values
    return found
