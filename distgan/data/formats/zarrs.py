"""Zarr arrays and groups (v2 or v3, any codec) that other tools wrote, as variables with named dimensions."""

import json
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from distgan import config
from distgan.data.formats import arrays, cf, labelled, variables
from distgan.data.formats.arrays import Index
from distgan.data.formats.pieces import Source, take_first_line
from distgan.data.formats.variables import Container, Variable
from distgan.data.ingest_cache import IngestCache
from distgan.errors import UserError
from distgan.files import writing_temporary
from distgan.run import STORE_METADATA

MARKS = (STORE_METADATA, ".zarray", ".zgroup")
CHUNK_NAME = re.compile(r"(c[/.])?\d+([/.]\d+)*")  # 0.1, 0/1, c/0/1
BLOSC_HEADER = 16  # bytes, of which 12 to 15 are the length of the chunk
ACCEPT_UNWRITTEN = "unwritten"  # in data.accept: values that were never written are the fill value


def is_zarr(path: Path) -> bool:
    return any((path / name).exists() for name in MARKS)


def read_zarr(path: Path, settings: config.Data, work: IngestCache) -> Source:
    """Return the series of an array, or of a group's arrays with named dimensions.

    Raises:
        UserError: it is no such thing, or values are missing that Zarr would invent.
    """
    node = _open_store(path)
    if isinstance(node, zarr.Array):
        return _read_array(path, node, settings, work)
    container = Container(path, dict(_iterate_variables(path, node)))
    if not container.variables:
        inside = ", ".join(sorted(name for name, _ in node.groups())) or "nothing"
        raise UserError(f"{path} is a Zarr group without arrays; it holds {inside}; name a group in it")
    if all(variables.is_positional(each) for each in container.variables.values()):
        raise UserError(
            f"{path} is a Zarr group whose arrays {', '.join(container.variables)} do not name their "
            f"dimensions; name one array in it, e.g. {path}/{next(iter(container.variables))}"
        )
    for variable in variables.choose_variables(container, settings):
        array = node[variable.name]
        assert isinstance(array, zarr.Array)
        _refuse_unwritten(path / variable.name, array, variable, settings)
    return labelled.read_container(container, settings, work)


def _read_array(path: Path, node: zarr.Array, settings: config.Data, work: IngestCache) -> Source:
    """Return the series of an array by itself; its neighbours describe its dimensions, if they have names."""
    variable = make_variable(path, node)
    variables.refuse_other(path, variable)
    _refuse_unwritten(path, node, variable, settings)
    if variables.is_positional(variable):
        return labelled.read_unnamed_array(Container(path, {}), variable, settings, work)
    beside: dict[str, Variable] = {}
    if is_zarr(path.parent):
        group = _open_store(path.parent)
        if isinstance(group, zarr.Group):
            beside = {
                name: each
                for name, each in _iterate_variables(path.parent, group)
                if len(each.dims) == 1 and set(each.dims) <= set(variable.dims)
            }
    container = Container(path, beside | {variable.name: variable})
    only = settings.columns.model_copy(update={"values": (variable.name,)})
    source = labelled.read_container(container, settings.model_copy(update={"columns": only}), work)
    if settings.columns.values is None and len(source.meta.channels) == 1:
        names = ("value",) if not beside else source.meta.channels
        source.meta = replace(source.meta, channels=names)
    return source


def _open_store(path: Path) -> zarr.Array | zarr.Group:
    try:
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Array) and min(node.shards or node.chunks, default=1) < 1:
            raise ValueError(f"its metadata name chunks of {node.shards or node.chunks}")
    except Exception as error:  # zarr raises a wide family here
        raise UserError(f"{path} is not a readable Zarr array or group ({take_first_line(error)})") from None
    assert isinstance(node, zarr.Array | zarr.Group)
    return node


def _iterate_variables(path: Path, group: zarr.Group) -> Iterator[tuple[str, Variable]]:
    try:
        found = sorted(group.arrays())
    except Exception as error:  # as above
        raise UserError(f"{path} is not a readable Zarr group ({take_first_line(error)})") from None
    for name, node in found:
        if node.ndim == 1:  # a coordinate
            _refuse_cut(path / name, node)
        yield name, make_variable(path / name, node)


def make_variable(path: Path, node: zarr.Array) -> Variable:
    """Return an array, with the names of dimensions of Zarr v3 (dimension_names) or xarray
    (_ARRAY_DIMENSIONS).
    """
    given: dict[str, Any] = dict(node.attrs)
    old_names = given.pop("_ARRAY_DIMENSIONS", None)
    names: Sequence[str | None] = getattr(node.metadata, "dimension_names", None) or old_names or ()
    dims = tuple(f"dim{axis}" if name is None else str(name) for axis, name in enumerate(names))
    if not any(names) or len(dims) != node.ndim or len(set(dims)) != len(dims):
        dims = ()
    if old_names is not None and node.metadata.zarr_format == 2:
        fill = node.fill_value  # in which xarray keeps CF's _FillValue, while 0 is Zarr's own default
        if fill is not None and node.dtype.kind in "fiu" and fill != 0 and "_FillValue" not in given:
            given["_FillValue"] = fill
    attributes = cf.decode_attributes(given, node.dtype)
    chunks = node.shards or node.chunks
    return Variable(path.name, dims, node.shape, node.dtype, chunks, attributes, partial(_read, node))


def _read(node: zarr.Array, index: Index) -> np.ndarray:
    return np.asarray(node[index])


def _refuse_cut(path: Path, node: zarr.Array) -> None:
    """Refuse a cut chunk of Blosc: the library does not compare the length that it states, and reads memory
    beyond the end.

    Raises:
        UserError: a chunk file has another length than it says.
    """
    last = node.compressors[-1] if node.compressors and not node.shards else None
    if not isinstance(last, zarr.codecs.BloscCodec) and getattr(last, "codec_id", "") != "blosc":
        return
    for file in path.rglob("*"):
        if not CHUNK_NAME.fullmatch(file.relative_to(path).as_posix()) or not file.is_file():
            continue
        with open(file, "rb") as chunk:
            header = chunk.read(BLOSC_HEADER)
        says, has = int.from_bytes(header[12:16], "little"), file.stat().st_size
        if len(header) < BLOSC_HEADER or says != has:
            raise UserError(
                f"{path}: the chunk {file.relative_to(path)} has {has:,} bytes and names {says:,}; it is "
                "damaged, copy or download the array again"
            )


# ------------------------------------------------------------------------------------- what was never written


def _refuse_unwritten(path: Path, node: zarr.Array, variable: Variable, settings: config.Data) -> None:
    """Refuse chunks that nobody wrote, also those inside shards, for which Zarr makes the fill value.

    Raises:
        UserError: there are such, and the fill value does not mean missing.
    """
    _refuse_cut(path, node)
    if _fill_is_missing(node, variable.attributes) or ACCEPT_UNWRITTEN in settings.accept:
        return
    chunks = math.prod(-(-size // step) for size, step in zip(variable.shape, variable.chunks))
    files = sum(1 for file in path.rglob("*") if file.is_file() and not _is_metadata(file))
    if files >= chunks and not node.shards:
        return
    unwritten = count_unwritten(path, variable)
    if unwritten:
        raise UserError(
            f"{path}: {unwritten:,} of its {math.prod(variable.shape):,} values were never written, and Zarr "
            f"would make each {node.fill_value}; write them (zarr's write_empty_chunks=True keeps chunks of "
            "one value), set _FillValue to that value if it means missing, or "
            f"data.accept=[{ACCEPT_UNWRITTEN}] if it is a reading"
        )


def _fill_is_missing(node: zarr.Array, attributes: Mapping[str, Any]) -> bool:
    fill = node.fill_value
    if fill is None:
        return False
    if node.dtype.kind == "f" and np.isnan(fill):
        return True
    return any(float(fill) == float(value) for value in cf.list_fill_values(attributes))


def count_unwritten(path: Path, variable: Variable) -> int:
    """Return how many values differ when the array is opened with another fill value: those that no chunk
    holds.
    """
    with writing_temporary(), tempfile.TemporaryDirectory(prefix="distgan-") as place:
        first, second = (_replace_fill(path, Path(place) / str(fill), fill) for fill in (0, 1))
        steps = arrays.choose_steps(variable.shape, variable.chunks, variable.dtype.itemsize)
        found = 0
        for index in arrays.iterate_parts(variable.shape, steps):
            try:
                one, other = np.asarray(first[index]), np.asarray(second[index])
            except Exception as error:  # codecs raise what they like
                raise UserError(
                    f"{path}: {index[0].start}..{index[0].stop - 1} cannot be decoded "
                    f"({take_first_line(error)}); it is "
                    "damaged"
                ) from None
            both_nan = (one != one) & (other != other)
            found += int(((one != other) & ~both_nan).sum())
    return found


def _replace_fill(path: Path, view: Path, fill: int) -> zarr.Array:
    """Return the same chunks under metadata with another fill value."""
    view.mkdir(parents=True)
    name = ".zarray" if (path / ".zarray").exists() else STORE_METADATA
    for entry in path.iterdir():
        if entry.name != name:
            (view / entry.name).symlink_to(entry.resolve())
    facts = json.loads((path / name).read_text(encoding="utf-8"))
    boolean = facts.get("data_type", facts.get("dtype")) in ("bool", "|b1")
    facts["fill_value"] = bool(fill) if boolean else fill
    (view / name).write_text(json.dumps(facts), encoding="utf-8")
    node = zarr.open(view, mode="r")
    assert isinstance(node, zarr.Array)
    return node


def _is_metadata(file: Path) -> bool:
    return file.name == STORE_METADATA or file.name.startswith(".z")
