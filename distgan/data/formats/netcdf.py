"""NetCDF files, classic or on HDF5, as variables with named dimensions."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from distgan import config
from distgan.data.formats import cf, labelled, variables
from distgan.data.formats.arrays import Index
from distgan.data.formats.pieces import Source, take_first_line
from distgan.data.formats.variables import Container, Variable
from distgan.data.formats.zarrs import ACCEPT_UNWRITTEN
from distgan.data.ingest_cache import IngestCache
from distgan.errors import UserError

ENGINES = {b"\x89HDF\r\n\x1a\n": "h5netcdf", b"CDF\x01": "scipy", b"CDF\x02": "scipy"}
# what the NetCDF library writes where nobody wrote: NC_FILL_FLOAT, NC_FILL_INT, … (netcdf.h)
FILLS: dict[str, float] = {
    "f4": 9.969209968386869e36,
    "f8": 9.969209968386869e36,
    "i2": -32767,
    "i4": -2147483647,
}


def read_netcdf(path: Path, settings: config.Data, work: IngestCache) -> Source:
    """Return the series of a file's variables.

    Raises:
        UserError: it is no readable NetCDF file, or values are missing that the library would invent.
    """
    with open(path, "rb") as file:
        magic = file.read(8)
    engine = next((name for mark, name in ENGINES.items() if magic.startswith(mark)), None)
    if engine is None:
        raise UserError(f"{path} is not a NetCDF file of version 3 or 4; it begins with {magic[:4]!r}")
    xarray = cf.import_xarray()
    try:
        if engine == "h5netcdf":
            _check_readable(path)
        found = xarray.open_dataset(
            path, engine=engine, decode_cf=False, mask_and_scale=False, decode_times=False, cache=False
        )
        container = Container(path, dict(_iterate_variables(found)))
    except Exception as error:  # the libraries raise a wide family on damaged files
        raise UserError(f"{path} is not a readable NetCDF file ({take_first_line(error)})") from None
    if engine == "h5netcdf" and not container.variables:
        _refuse_groups(path)
    if engine == "h5netcdf":
        for variable in variables.choose_variables(container, settings):
            _refuse_unwritten(path, variable, settings)
    return labelled.read_container(container, settings, work)


def _refuse_groups(path: Path) -> None:
    """
    Raises:
        UserError: the variables lie in groups, of which the file's own is empty.
    """
    import h5py

    with h5py.File(path, "r") as file:
        groups = [name for name, item in file.items() if isinstance(item, h5py.Group)]
        of_pandas = [name for name in groups if "pandas_type" in file[name].attrs or "axis0" in file[name]]
    if of_pandas:
        raise UserError(
            f"{path} holds tables as pandas writes them in HDF5 ({', '.join(of_pandas[:6])}), which are not "
            f"read; save one as Parquet: pandas.read_hdf(file, {of_pandas[0]!r}).to_parquet(other)"
        )
    if groups:
        raise UserError(
            f"{path} holds its variables in groups ({', '.join(groups[:6])}), and only those outside of "
            f"groups are read; write one group to a file of its own, e.g. with xarray: "
            f"xarray.open_dataset(file, group={groups[0]!r}).to_netcdf(other)"
        )


def _check_readable(path: Path) -> None:
    """Open the file once, since h5netcdf leaves noise behind where that fails."""
    import h5py

    with h5py.File(path, "r") as file:
        file.visit(lambda name: None)


def _iterate_variables(dataset: Any) -> Iterator[tuple[str, Variable]]:
    for name, variable in dataset.variables.items():
        if variable.dtype == "S1" and variable.ndim > 1:  # letters, as NetCDF 3 stores text
            variable = cf.join_letters(variable)
        attributes = cf.decode_attributes(variable.attrs, variable.dtype)
        chunks = variable.encoding.get("chunksizes") or (1,) * variable.ndim
        fill = FILLS.get(variable.dtype.newbyteorder("=").str[1:])
        if fill is not None and "_FillValue" not in attributes and variable.ndim > 1:
            attributes["_FillValue"] = variable.dtype.type(fill)
        dims = tuple(str(dim) for dim in variable.dims)
        read = partial(_read, variable)
        yield (
            str(name),
            Variable(str(name), dims, variable.shape, variable.dtype, tuple(chunks), attributes, read),
        )


def _read(variable: Any, index: Index) -> np.ndarray:
    return np.asarray(variable[index].values)


def _refuse_unwritten(path: Path, variable: Variable, settings: config.Data) -> None:
    """Refuse chunks that nobody wrote, for which HDF5 makes the fill value.

    Raises:
        UserError: there are such, and no fill value of the variable means missing.
    """
    if cf.list_fill_values(variable.attributes) or ACCEPT_UNWRITTEN in settings.accept:
        return
    import h5py  # h5netcdf reads through it

    with h5py.File(path, "r") as file:
        stored = file[variable.name]
        if stored.chunks is None:
            there, wanted = int(stored.id.get_storage_size() > 0), 1
        else:
            there = stored.id.get_num_chunks()
            wanted = math.prod(-(-size // step) for size, step in zip(stored.shape, stored.chunks))
    if there < wanted:
        raise UserError(
            f"{path}: {wanted - there} of the {wanted} chunks of {variable.name} were never written, and "
            f"HDF5 would invent their values; write them, or set data.accept=[{ACCEPT_UNWRITTEN}] if its "
            "fill value is a reading"
        )
