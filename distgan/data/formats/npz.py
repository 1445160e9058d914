"""Series of NPZ files: an array of values, and arrays that say what they are.

Keys: x [n, L, C]; optional ids [n], channels [C], freq ("1h", "30min"), t0 (ISO 8601), label [n] (a class of
each, or its place in label_names), owner or subject [n] (who is behind each), and [n] arrays that
data.columns.attributes names.
"""

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distgan import config
from distgan.data.formats.arrays import SLAB_BYTES, Facts, read_array
from distgan.data.formats.column_names import match_owner_name
from distgan.data.formats.ids import format_float_ids, refuse_short_ids
from distgan.data.formats.pieces import Source, take_first_line
from distgan.data.ingest_cache import IngestCache
from distgan.errors import UserError, writing
from distgan.memory import scale_buffer

NPZ_KEYS = ("ids", "channels", "freq", "t0", "label", "label_names", "owner", "subject")
NPZ_VALUES = "x"
NPZ_MEANINGS = (
    "mask",
    "masks",
    "missing",
    "missing_mask",
    "scale",
    "scale_factor",
    "offset",
    "add_offset",
    "fill_value",
    "_fillvalue",
    "missing_value",
    "missing_values",
    "nodata",
    "no_data",
    "nan_value",
    "factor",
    "multiplier",
)
NPZ_LENGTHS = ("length", "lengths", "seq_len", "seq_lens", "sequence_length", "sequence_lengths")
NPZ_TIMES = ("time", "times", "timestamp", "timestamps", "date", "dates", "datetime", "datetimes")


def read_npz(path: Path, settings: config.Data, work: IngestCache) -> Source:
    """Return the series of an NPZ file.

    Raises:
        UserError: it is damaged, or holds no such arrays.
    """
    plain = work.folder / f"{NPZ_VALUES}.npy"
    try:
        with np.load(path, allow_pickle=False) as content:
            if NPZ_VALUES not in content.files:
                raise UserError(
                    f"{path} has no array {NPZ_VALUES}, only {', '.join(content.files) or 'nothing'}; "
                    f"save the series as np.savez(file, {NPZ_VALUES}=...), [series, steps] or "
                    "[series, steps, channels]"
                )
            arrays = {key: _read_plain_array(path, key, content) for key in NPZ_KEYS if key in content.files}
            attributes = _read_npz_attributes(path, content, settings)
            unread = [key for key in content.files if key not in (NPZ_VALUES, *arrays, *attributes)]
            owners = _read_stated_owners(path, unread, content, settings)
            _refuse_meanings(path, unread, settings)
            if "t0" not in arrays:
                _refuse_times(path, unread, settings)
            lengths = _read_lengths(path, unread, content, settings)
        with zipfile.ZipFile(path) as archive, archive.open(plain.name) as packed, writing(plain):
            unpacked = open(plain, "wb")  # noqa: SIM115
            with unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)  # checks the archive's own checksum
    except UserError:
        raise
    except Exception as error:  # numpy and zipfile raise a wide family on damaged files
        raise UserError(f"{path} is not a readable NPZ file ({take_first_line(error)})") from None
    source = read_array(plain, path, settings, work, _read_npz_facts(path, arrays))
    for name, ends in lengths.items():
        _refuse_padding(path, name, ends, source)
    for name, cells in attributes.items():
        if len(cells) != len(source.entities):
            raise UserError(
                f"{path}: attribute {name!r} has {len(cells)} values for {len(source.entities)} series; save "
                "one for each"
            )
    owners = {name: cells for name, cells in owners.items() if len(cells) == len(source.entities)}
    unread = [name for name in unread if name not in owners]
    source.attributes = attributes | owners
    source.understood.attributes = list(source.attributes)
    if unread:
        source.understood.notes.append(f"arrays that were not read: {', '.join(unread[:8])}")
    return source


def _list_named(names: Sequence[str], unread: Sequence[str], settings: config.Data) -> list[str]:
    """Return the unread arrays that have one of the names, in any case, and that nobody ignores."""
    return [key for key in unread if key.lower() in names and key not in settings.columns.ignore]


def _refuse_meanings(path: Path, unread: list[str], settings: config.Data) -> None:
    """
    Raises:
        UserError: an array is named for what it does to the values, and nobody ignores it.
    """
    for name in _list_named(NPZ_MEANINGS, unread, settings):
        raise UserError(
            f"{path}: array {name!r} may change what the values of {NPZ_VALUES} mean, and is not read; "
            f"apply it to {NPZ_VALUES} (missing values are NaN) and save that, or set "
            f"data.columns.ignore=[{name}]"
        )


def _refuse_times(path: Path, unread: list[str], settings: config.Data) -> None:
    """
    Raises:
        UserError: an array without `t0` is named for the times, and nobody ignores it.
    """
    for name in _list_named(NPZ_TIMES, unread, settings):
        raise UserError(
            f"{path}: array {name!r} seems to hold the times of {NPZ_VALUES}, and is not read; save the "
            "first time as t0='2013-01-01T00:00:00' and the step as freq='1h', or set "
            f"data.columns.ignore=[{name}]"
        )


def _read_lengths(
    path: Path, unread: list[str], content: Any, settings: config.Data
) -> dict[str, np.ndarray]:
    """Return the arrays that are named for the lengths of series, unless they are ignored."""
    names = _list_named(NPZ_LENGTHS, unread, settings)
    return {name: _read_plain_array(path, name, content) for name in names}


def _refuse_padding(path: Path, name: str, ends: np.ndarray, source: Source) -> None:
    """
    Raises:
        UserError: series hold values beyond the length that the array `name` says.
    """
    count, length = len(source.entities), source.meta.axis.length
    if ends.dtype.kind not in "iu" or ends.shape != (count,) or ends.min() < 0 or ends.max() > length:
        raise UserError(
            f"{path}: array {name!r} holds no lengths of the {count} series of {length} steps; correct it, "
            f"or set data.columns.ignore=[{name}]"
        )
    rows = max(1, scale_buffer(SLAB_BYTES) // (4 * length * len(source.meta.channels)))
    for first in range(0, count, rows):
        values = source.block(first, min(count, first + rows))
        beyond = np.arange(length) >= ends[first : first + rows, None]
        if not np.isnan(values[beyond]).all():
            raise UserError(
                f"{path}: array {name!r} says where series end, and {NPZ_VALUES} holds values beyond; make "
                f"them NaN, or set data.columns.ignore=[{name}]"
            )


def _read_npz_attributes(path: Path, content: Any, settings: config.Data) -> dict[str, list[str]]:
    """Return the arrays that `data.columns.attributes` names, as text, "" for NaN.

    Raises:
        UserError: there is no such array, or it has not one value per series.
    """
    found = {}
    for name in settings.columns.attributes:
        if name not in content.files or name == NPZ_VALUES:
            raise UserError(
                f"data.columns.attributes names {name!r}, which is no array of {path}; it has "
                f"{', '.join(each for each in content.files if each != NPZ_VALUES) or 'no other'}"
            )
        array = _read_plain_array(path, name, content)
        if array.ndim != 1:
            raise UserError(
                f"{path}: attribute {name!r} has shape {array.shape}; one value per series is wanted"
            )
        found[name] = ["" if str(each) == "nan" else _to_text(each) for each in array.tolist()]
    return found


def _read_stated_owners(
    path: Path, unread: list[str], content: Any, settings: config.Data
) -> dict[str, list[str]]:
    """Return the unread arrays that are named for households, patients and the like, unless they are ignored:
    a cell per series, as text.
    """
    names = [key for key in unread if match_owner_name(key) and key not in settings.columns.ignore]
    arrays = {name: _read_plain_array(path, name, content) for name in names}
    return {name: [_to_text(cell) for cell in array] for name, array in arrays.items() if array.ndim == 1}


def _read_plain_array(path: Path, key: str, content: Any) -> np.ndarray:
    """Return an array of an NPZ file.

    Raises:
        UserError: the array holds Python objects, as names taken from a pandas table do.
    """
    try:
        found: np.ndarray = content[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise UserError(
            f"{path}: {key} holds Python objects, which are not read; save it as text or numbers, e.g. "
            f"np.savez(file, {key}=np.array({key}, dtype=str), …)"
        ) from None
    return found


def _read_npz_facts(path: Path, arrays: dict[str, np.ndarray]) -> Facts:
    names = {key: [_to_text(name) for name in np.atleast_1d(array)] for key, array in arrays.items()}
    for key in ("ids", "owner", "subject"):
        if key in arrays and arrays[key].dtype.kind == "f":
            format_float_ids(np.atleast_1d(arrays[key]), f"{path}: {key}")
        refuse_short_ids(names.get(key, []), f"{path}: {key}")
    labels = names.get("label")
    if labels is not None and "label_names" in names and arrays["label"].dtype.kind in "iu":
        named = dict(enumerate(names["label_names"]))
        if unknown := set(arrays["label"].tolist()) - set(named):
            raise UserError(f"{path}: label {min(unknown)} has no place in the {len(named)} label_names")
        labels = [named[number] for number in arrays["label"].tolist()]
    return Facts(
        ids=names.get("ids"),
        channels=names.get("channels"),
        owners=names.get("owner", names.get("subject")),
        labels=labels,
        freq=" ".join(names.get("freq", [])),
        t0=" ".join(names.get("t0", [])),
    )


def _to_text(name: Any) -> str:
    """Return a name as text, as it was before np.bytes_ held it."""
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
