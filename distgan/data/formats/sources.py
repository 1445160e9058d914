"""From `data.source` to series: which reader fits a file, a folder or a URL."""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from distgan import config
from distgan.data.export import fold_channels
from distgan.data.formats.arrays import read_npy
from distgan.data.formats.auckland import read_auckland
from distgan.data.formats.containers import detect_kind, unpack
from distgan.data.formats.datasets import read_dataset
from distgan.data.formats.members import Dataset
from distgan.data.formats.netcdf import read_netcdf
from distgan.data.formats.npz import read_npz
from distgan.data.formats.pieces import Source, take_first_line
from distgan.data.formats.tsf import read_tsf
from distgan.data.formats.zarrs import is_zarr, read_zarr
from distgan.data.grid import parse_seconds
from distgan.data.ingest_cache import IngestCache, hashing
from distgan.data.store.private_table import find_private_table, read_table
from distgan.data.store.reader import Store
from distgan.data.tables import read_csv, read_parquet
from distgan.errors import UserError, writing
from distgan.preflight import is_pattern, match_files, refuse_absent
from distgan.run import is_store

DEMO = "auckland"


def read_source(settings: config.Data, place: Path) -> Source:
    """Return the series of `data.source`; what has to be unpacked, transposed or parsed goes to `place`.

    Raises:
        UserError: it is missing, unreadable or ambiguous; names the place and the setting that decides.
    """
    if settings.source == DEMO:
        return read_auckland()
    _refuse_sums_of_counters(settings)
    refuse_absent(settings.source)
    path = _fetch_source(settings.source, place)
    if is_pattern(settings.source):
        dataset = Dataset.from_pattern(path, match_files(settings.source))
        return read_dataset(dataset, settings, place, partial(_make_key, settings))
    if not path.is_file():
        return _unpack(path, settings, place)
    with hashing(path) as digest:
        source = _unpack(path, settings, place)
        source.meta.provenance.update(source=path.name, sha256=digest.result())
    return source


def _unpack(path: Path, settings: config.Data, place: Path) -> Source:
    found = unpack(path, settings, place)
    with found.rename_in_messages():
        source = _read(found.path, found.settings, place)
    found.describe(source)
    _refuse_resampling(source, settings)
    return source


def _read(path: Path, settings: config.Data, place: Path) -> Source:
    if path.is_dir():
        return _read_folder(path, settings, place)
    kind, work = detect_kind(path), IngestCache(place / "parts", _make_key(settings, [path]))
    source = FILES[kind](path, settings, work)
    if kind in ("npy", "npz", "tsf"):
        return choose_channels(source, settings)
    return fold_channels(source) if kind in ("text", "parquet") else source


def choose_channels(source: Source, settings: config.Data) -> Source:
    """Return the channels of an array or a store that data.columns.values names, in this order, or else those
    that data.columns.ignore does not. A single channel is read whatever a single setting calls it.

    Raises:
        UserError: there is no such channel, or none is left.
    """
    names, wanted = source.meta.channels, settings.columns.values
    if wanted is None:
        chosen = [name for name in names if name not in settings.columns.ignore]
    elif len(names) == len(wanted) == 1:
        chosen = list(names)
    else:
        chosen = list(wanted)
    if unknown := [name for name in chosen if name not in names]:
        raise UserError(
            f"data.columns.values {unknown[0]!r} is no channel of {settings.source}; it has "
            f"{', '.join(map(repr, names))}"
        )
    if not chosen:
        raise UserError(f"data.columns.ignore leaves no channel of {settings.source}; leave one out of it")
    if chosen == list(names):
        return source
    block, places = source.block, [names.index(name) for name in chosen]
    meta = replace(source.meta, channels=tuple(chosen))
    return replace(source, block=lambda first, last: block(first, last)[:, :, places], meta=meta)


FILES: dict[str, Callable[[Path, config.Data, IngestCache], Source]] = {
    "text": read_csv,
    "parquet": read_parquet,
    "npy": read_npy,
    "npz": read_npz,
    "netcdf": read_netcdf,
    "tsf": read_tsf,
}


def _refuse_resampling(source: Source, settings: config.Data) -> None:
    """
    Raises:
        UserError: data.resample.step is set for an array or a store, whose steps are even already.
    """
    step, axis = settings.resample.step, source.meta.axis
    if step is None or "resampled" in source.meta.provenance:
        return
    seconds = parse_seconds(step) or 0
    if seconds == axis.step_seconds and not source.meta.is_nominal:
        return
    factor, rest = divmod(seconds, axis.step_seconds)
    advice = (
        f"set data.reduce.factor={factor} data.reduce.method={settings.resample.method} instead"
        if factor > 1 and not rest and not source.meta.is_nominal
        else "leave it out; data.reduce.factor merges whole steps"
    )
    raise UserError(
        f"data.resample.step={step} is for tables, and {settings.source} has steps of {axis.step_seconds} s "
        f"already; {advice}"
    )


def _read_folder(path: Path, settings: config.Data, place: Path) -> Source:
    if is_store(path):
        _refuse_registers(path, settings)
        return choose_channels(store_source(path), settings)
    if is_zarr(path):
        return read_zarr(
            path, settings, IngestCache(place / "parts", _make_key(settings, sorted(path.iterdir())))
        )
    inside = [folder for folder in path.iterdir() if folder.is_dir() and is_zarr(folder)]
    if inside and not any(file.is_file() for file in path.iterdir()):  # unpacked from an archive
        return _read_folder(inside[0], settings, place)
    return read_dataset(Dataset.from_folder(path), settings, place, partial(_make_key, settings))


def _refuse_sums_of_counters(settings: config.Data) -> None:
    """
    Raises:
        UserError: readings of counters are to be added up before they are differenced.
    """
    resample = settings.resample
    if settings.registers == "difference" and resample.step is not None and resample.method == "sum":
        raise UserError(
            "data.resample.method=sum would add up readings of counters (data.registers=difference); leave "
            "data.resample out and set data.reduce.factor, which sums their differences, or set "
            "data.resample.method=mean if readings are uneven"
        )


def _refuse_registers(path: Path, settings: config.Data) -> None:
    """
    Raises:
        UserError: counters of a store are to be differenced, which rounds their readings before that.
    """
    if settings.registers == "difference":
        raise UserError(
            f"data.registers=difference needs readings as they were written, and the store {path} has "
            "rounded them (float32 holds 7 digits); give the source that the store was made from"
        )


def _make_key(settings: config.Data, files: Sequence[Path]) -> dict[str, Any]:
    """Return what parsed parts depend on: the files, and how they are read."""
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    how = settings.model_dump(
        mode="json", exclude={"splits", "windows", "store", "scaling", "accept", "bounds", "processes"}
    )
    return {"files": stats, "how": how}


def _fetch_source(source: str, place: Path) -> Path:
    """Return the source as a path on this machine; a URL (s3://, https://, memory://) is fetched first.

    Raises:
        UserError: it cannot be fetched.
    """
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+(::|://)", source):
        return Path(source).expanduser()
    if source.startswith("file://"):
        return Path(source.removeprefix("file://"))
    target = place / "fetched"
    try:
        system, remote = fsspec.core.url_to_fs(source)
        files = system.find(remote) if system.isdir(remote) else [remote]
        root = target / Path(remote.rstrip("/")).name
        for file in files:
            inside = file.removeprefix(system._strip_protocol(remote)).lstrip("/")
            _fetch_file(system, file, root / inside if inside else root)
    except UserError:
        raise
    except Exception as error:  # every protocol has a family of its own
        raise UserError(f"data.source {source} cannot be fetched ({take_first_line(error)})") from None
    return root


def _fetch_file(system: Any, remote: str, target: Path) -> None:
    """Fetch one file, a block at a time, unless this version of it is there already."""
    version = target.with_name(f".{target.name}.version")
    now = f"{system.size(remote)} {system.ukey(remote)}"
    if target.exists() and version.exists() and version.read_text(encoding="utf-8") == now:
        return
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        with system.open(remote, "rb") as source, open(part, "wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        part.replace(target)
        version.write_text(now, encoding="utf-8")


def store_source(path: Path) -> Source:
    """Return the series of a distgan store, with entities and labels of its private table if there is one."""
    store = Store.open(path)
    table = find_private_table(path)
    block = partial(_store_block, store)
    if not table.exists():
        names = [str(row) for row in range(store.num_series)]
        return Source(block, names, list(names), store.meta)
    people = read_table(table)
    labels = None if people.labels is None else people.labels.tolist()
    if len(people.entities) != store.num_series:
        raise UserError(f"{table} has {len(people.entities)} rows but {path} has {store.num_series}")
    attributes = {each.name: each.cells.tolist() for each in people.statics}
    entities, owners = people.entities.tolist(), people.owners.tolist()
    return Source(block, entities, owners, store.meta, labels, attributes)


def _store_block(store: Store, first: int, last: int) -> np.ndarray:
    return store.read_rows_once(np.arange(first, last))
