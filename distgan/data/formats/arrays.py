"""Series from arrays without names: NPY files, and what any array needs to become a source.

Rows are read from the file when they are asked for, never mapped, so that memory holds a block of them
whatever the size of the file; an array that is stored time first is transposed once, on disk.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from distgan import config
from distgan.data.formats.array_axis import make_axis
from distgan.data.formats.column_names import DAY, PARTS_OF_A_DAY
from distgan.data.formats.entity_columns import refuse_quantities_as_ids
from distgan.data.formats.pieces import Source, refuse_twice, take_first_line
from distgan.data.grid import choose_kind, to_kind
from distgan.data.ingest_cache import IngestCache, drop_pages, hash_file, read_mapped_rows
from distgan.data.store.metadata import Meta
from distgan.errors import UserError
from distgan.memory import scale_buffer

SLAB_BYTES = 32 << 20  # of an array in memory while it is transposed
YEARS = frozenset(  # steps of one to ten whole years, with and without leap days
    days * 24 * per_hour
    for years in range(1, 11)
    for days in {365 * years, 365 * years + years // 4, 365 * years + (years + 3) // 4}
    for per_hour in (1, 2, 4, 6, 12, 60)
)
ACCEPT_ROWS = "transposed"  # in data.accept: a year of rows are series all the same

Index = tuple[slice, ...]


@dataclass(frozen=True)
class Facts:
    """Facts about an array's series besides their values; None or empty where nothing is known."""

    ids: list[str] | None = None
    channels: list[str] | None = None
    owners: list[str] | None = None
    labels: list[str] | None = None
    freq: str = ""
    t0: str = ""


@dataclass(frozen=True)
class StoredArray:
    """An array in a file as plain numbers in C order, of which parts are read."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int  # bytes before the first number

    def read(self, index: Index) -> np.ndarray:
        """Return the part at `index`, which must lie in one piece in the file."""
        ranges = [piece.indices(size)[:2] for piece, size in zip(index, self.shape, strict=True)]
        sizes = [last - first for first, last in ranges]
        cut = next((axis for axis, size in enumerate(sizes) if size != 1), len(sizes))
        assert sizes[cut + 1 :] == list(self.shape[cut + 1 :]), f"{index} is not in one piece"
        strides = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        first = sum(start * stride for (start, _), stride in zip(ranges, strides))
        place = self.offset + first * self.dtype.itemsize
        found = np.fromfile(self.path, self.dtype, math.prod(sizes), offset=place)
        if len(found) < math.prod(sizes):
            raise UserError(f"{self.path} was cut off while it was read; copy it again")
        return found.reshape(sizes)


# ------------------------------------------------------------------------------------------------ NPY and NPZ


def read_npy(path: Path, settings: config.Data, work: IngestCache) -> Source:
    """Return the series [series, steps] or [series, steps, channels] of an NPY file.

    Raises:
        UserError: it is damaged, or holds no such numbers.
    """
    return read_array(path, path, settings, work, Facts())


def _open_npy(path: Path, named: Path) -> tuple[StoredArray, bool]:
    """Return the numbers of an NPY file, and whether its axes are stored in reverse (Fortran order)."""
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # checks the header and the length
    except Exception as error:  # numpy raises a wide family on damaged files
        if "object" in str(error).lower():
            raise UserError(
                f"{named} holds Python objects, which are not read; save numbers, e.g. "
                "np.save(file, np.stack(series).astype('float32'))"
            ) from None
        raise UserError(f"{named} is not a readable NPY array ({take_first_line(error)})") from None
    if not isinstance(mapped, np.memmap):
        raise UserError(f"{named} is not a readable NPY array (it holds an archive or a single number)")
    _refuse_other(mapped, named)
    behind = path.stat().st_size - mapped.offset - mapped.nbytes
    if behind:
        raise UserError(
            f"{named}: {behind} bytes follow the array of shape {mapped.shape}, as if several arrays were "
            "appended; save one array"
        )
    reverse = mapped.ndim > 1 and mapped.flags.f_contiguous and not mapped.flags.c_contiguous
    shape = mapped.shape[::-1] if reverse else mapped.shape
    return StoredArray(path, mapped.dtype, shape, int(mapped.offset)), reverse


def _refuse_other(values: Any, path: Path) -> None:
    if values.dtype.names:
        raise UserError(
            f"{path} holds records of {', '.join(values.dtype.names)}; save one array of numbers [series, "
            "steps, channels], e.g. with numpy.lib.recfunctions.structured_to_unstructured, or a table"
        )
    if values.dtype.kind not in "fiub" or values.ndim not in (2, 3) or 0 in values.shape:
        raise UserError(
            f"{path} holds {values.dtype} of shape {values.shape}; "
            "numbers [series, steps] or [series, steps, channels] are wanted"
        )


def read_array(path: Path, named: Path, settings: config.Data, work: IngestCache, facts: Facts) -> Source:
    """Return the series of the NPY file `path`, that messages call `named`.

    Raises:
        UserError: it is no array of numbers, what is known of it does not fit its shape, or it looks
            transposed.
    """
    stored, reverse = _open_npy(path, named)
    shape = stored.shape[::-1] if reverse else stored.shape
    time_first = settings.layout == "wide"
    _refuse_transposed(shape, named, settings)
    axes = ("time", "id", "channel") if time_first else ("id", "time", "channel")
    stored_axes = axes[: len(shape)][::-1] if reverse else axes[: len(shape)]
    sizes = dict(zip(stored_axes, stored.shape)) | ({} if len(shape) == 3 else {"channel": 1})
    count, length, depth = (sizes[axis] for axis in ("id", "time", "channel"))
    kind = choose_kind(settings.registers)
    read: Callable[[int, int], np.ndarray]
    if stored_axes[0] == "id":
        read = partial(_read_rows, stored, depth)
    else:
        matrix = work.make_matrix("values", (count, length, depth), kind)
        step = choose_steps(stored.shape, (1,) * len(shape), stored.dtype.itemsize)
        for index in iterate_parts(stored.shape, step):
            write_part(matrix, stored_axes, index, stored.read(index))
        read = partial(read_mapped_rows, matrix)
    block = partial(_read_numbers, read, list_missing_numbers(settings), kind)
    return _make_source(block, (count, length, depth), named, settings, facts)


def _read_rows(stored: StoredArray, depth: int, first: int, last: int) -> np.ndarray:
    found = stored.read((slice(first, last), *(slice(0, size) for size in stored.shape[1:])))
    return found.reshape(last - first, -1, depth)


def _read_numbers(
    read: Callable[[int, int], np.ndarray],
    missing: np.ndarray,
    kind: type[np.floating],
    first: int,
    last: int,
) -> np.ndarray:
    return mask_missing(read(first, last), missing, kind)


def list_missing_numbers(settings: config.Data) -> np.ndarray:
    """Return the numbers that mean missing (data.missing_values)."""
    return np.array([value for value in settings.missing_values if not isinstance(value, str)], np.float64)


def mask_missing(values: np.ndarray, missing: np.ndarray, kind: type[np.floating]) -> np.ndarray:
    """Return float32 or float64, NaN where a value is one of those that mean missing."""
    found = to_kind(values, kind)
    if len(missing):
        found[np.isin(values, missing) | np.isin(found, missing.astype(np.float32))] = np.nan
    return found


def _refuse_transposed(shape: tuple[int, ...], path: Path, settings: config.Data) -> None:
    """Refuse a year of rows without a year of columns: mostly [steps, series], as a table has it.

    Raises:
        UserError: the shape is of that kind.
    """
    if settings.layout != "auto" or ACCEPT_ROWS in settings.accept:
        return
    rows, columns = shape[:2]
    if rows in YEARS and columns not in YEARS and columns < rows:
        raise UserError(
            f"{path} has shape {shape}: {rows} rows are the steps of whole years, and rows should be series; "
            f"set data.layout=wide if its columns are the series, or data.accept=[{ACCEPT_ROWS}] if its rows "
            "are"
        )


def _make_source(
    block: Callable[[int, int], np.ndarray],
    shape: tuple[int, int, int],
    path: Path,
    settings: config.Data,
    facts: Facts,
) -> Source:
    """Return a source [n, L, C] and what is known about it."""
    count, length, depth = shape
    ids = facts.ids if facts.ids is not None else [str(row) for row in range(count)]
    channels = facts.channels if facts.channels is not None else name_channels(depth)
    lists = {"ids": (ids, count), "channels": (channels, depth), "owners": (facts.owners, count)}
    for name, (given, wanted) in (lists | {"labels": (facts.labels, count)}).items():
        if given is not None and len(given) != wanted:
            raise UserError(f"{path}: {len(given)} {name} for an array of shape {shape}; {wanted} wanted")
    refuse_twice(ids, f"{path}: id")
    if facts.owners is None and facts.ids is not None:
        advice = "save x as [series, steps, channels] with their names as channels, or an owner for each"
        refuse_quantities_as_ids(path, "ids", ids, advice)
    refuse_twice(channels, f"{path}: channel")
    axis, clock = make_axis(path, facts.freq, facts.t0, length, settings.timezone)
    if facts.freq and facts.channels is None and settings.columns.values is None:
        _refuse_parts_of_days(path, shape, axis.step_seconds)
    provenance = {"source": path.name, "clock": clock, "sha256": hash_file(path)}
    meta = Meta(axis, tuple(channels), settings.units, provenance, {})
    return Source(block, ids, list(facts.owners or ids), meta, facts.labels)


def _refuse_parts_of_days(path: Path, shape: tuple[int, int, int], step: int) -> None:
    """
    Raises:
        UserError: channels without names are as many as steps of a day, or the hours of steps of a day.
    """
    depth = shape[2]
    if depth in PARTS_OF_A_DAY and (depth * step == DAY or step == DAY):
        raise UserError(
            f"{path} has shape {shape}: {depth} channels without names may be the parts of a day, and the "
            "steps days; save [series, steps] (numpy: x.reshape(len(x), -1)), name the channels in an array "
            "channels, or set data.columns.values=[channel0,channel1,…]"
        )


def name_channels(depth: int) -> list[str]:
    return ["value"] if depth == 1 else [f"channel{i}" for i in range(depth)]


# ------------------------------------------------------------------------------------- parts of larger arrays


def choose_steps(shape: tuple[int, ...], chunks: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return sizes of parts of at most SLAB_BYTES of whole chunks, grown from the last axis to the first."""
    steps = [min(chunk, size) for chunk, size in zip(chunks, shape)]
    for axis in reversed(range(len(shape))):
        room = scale_buffer(SLAB_BYTES) // max(1, itemsize * math.prod(steps))
        steps[axis] = min(shape[axis], max(1, room) * steps[axis])
        if steps[axis] < shape[axis]:
            break
    return tuple(steps)


def iterate_parts(shape: tuple[int, ...], steps: tuple[int, ...]) -> Iterator[Index]:
    """Yield the slices that cover an array, in order."""
    starts = (range(0, size, step) for size, step in zip(shape, steps))
    for first in product(*starts):
        yield tuple(slice(start, min(start + step, size)) for start, step, size in zip(first, steps, shape))


def write_part(matrix: np.memmap, axes: tuple[str, ...], index: Index, values: np.ndarray) -> None:
    """Write a part, stored with these axes, to its place in a matrix [id, time, channel] on disk."""
    place = dict(zip(axes, index)) | ({} if "channel" in axes else {"channel": slice(0, 1)})
    order = [axes.index(axis) for axis in ("id", "time", "channel") if axis in axes]
    target = tuple(place[axis] for axis in ("id", "time", "channel"))
    found = to_kind(np.transpose(values, order), matrix.dtype.type)
    matrix[target] = found if found.ndim == 3 else found[:, :, None]
    drop_pages(matrix)
