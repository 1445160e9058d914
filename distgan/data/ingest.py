"""From a user's file to series: read, check, cut into years, merge steps, leave out what cannot be used.

Everything that is dropped or filled is counted; an error is one line that names the place. Memory use does
not depend on the size of the source: a block of series is held at a time.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.attribute_tables import read_statics
from distgan.data.checks.series import find_ranges
from distgan.data.checks.similar_ids import refuse_same_ids
from distgan.data.checks.survey import Survey
from distgan.data.cleaning import clean_blocks
from distgan.data.cuts import Cut, name_year, plan_pieces
from distgan.data.formats.advice import show_without
from distgan.data.formats.given_axis import place_on_axis
from distgan.data.formats.sources import Source, read_source
from distgan.data.formats.unit_columns import names_units
from distgan.data.ingest_cache import open_cache_folder
from distgan.data.owners import group_by_owner
from distgan.data.static_attributes import StaticAttribute
from distgan.data.store.metadata import Meta
from distgan.data.workers import map_ahead, open_threads
from distgan.errors import UserError
from distgan.memory import scale_buffer

__all__ = ["Raw", "Series", "count_block_rows", "find_unusable", "open_source", "read"]

BLOCK_BYTES = 32 << 20  # of series in memory at a time
SCANNERS = 2  # threads that read blocks ahead
TILE_VALUES = 1 << 18  # summed together: they stay in the processor's cache
REASONS = ("infinite", "empty", "constant")


@dataclass
class Raw:
    """Series in memory: values float32 [m, L, C], NaN = missing, of the series `rows` [m] of all n; who is
    behind each of the n, and what is left out.
    """

    values: np.ndarray
    rows: np.ndarray
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
    loads: np.ndarray | None = None  # [n] sum of absolute values of each, where a survey was asked for
    survey: Survey | None = None  # of all series of the source
    statics: tuple[StaticAttribute, ...] = ()  # what is known of the entity of each

    @property
    def num_series(self) -> int:
        return len(self.chosen)

    def read_rows(self, first: int, last: int) -> np.ndarray:
        """Return series first..last: float32 [n, L, C]."""
        found = np.empty((last - first, self.meta.axis.length, len(self.meta.channels)), np.float32)
        wanted = self.chosen[first:last]
        step = count_block_rows(self.source)
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


def count_block_rows(source: Source) -> int:
    """Return how many series of the source fit into a block."""
    return max(1, scale_buffer(BLOCK_BYTES) // (4 * source.meta.axis.length * len(source.meta.channels)))


def read(
    settings: config.Data, choose: Callable[[Series], np.ndarray] | None = None, *, survey: bool = False
) -> Raw:
    """Read all usable series into memory, or those whose rising numbers `choose` returns; `survey`, and what
    is raised, as in `open_source`.
    """
    with open_cache_folder(None) as place:
        found = open_source(settings, place, survey=survey)
        rows = np.arange(found.num_series) if choose is None else choose(found)
        values = replace(found, chosen=found.chosen[rows]).read_rows(0, len(rows))
    return Raw(values, rows, found.entities, found.owners, found.meta, found.left_out)


def open_source(settings: config.Data, place: Path, *, flat: bool = False, survey: bool = False) -> Series:
    """Return the source's usable series, whole or cut into years, with merged steps.

    Args:
        place: where parsed parts are kept; a killed reading goes on there.
        flat: series that are constant or empty count as usable; nothing can be learned of them.
        survey: take statistics of all values in the same pass, and look for what is suspicious.

    Raises:
        UserError: the source is missing, unreadable, irregular or unusable; says where and what to do.
    """
    source = place_on_axis(read_source(settings, place), settings)
    source.understood.notes += refuse_same_ids(source.owners, settings.source)
    statics = read_statics(source, settings, place)
    group_by_owner(source, settings)
    source.understood.stated_units += _list_stated_units(source, settings)
    if settings.units:
        source.meta = replace(source.meta, units=settings.units)
    if settings.credit:
        provenance = source.meta.provenance | {"credit": settings.credit}
        source.meta = replace(source.meta, provenance=provenance)
    source.block = clean_blocks(source.block, source.meta, settings)
    pieces, meta, incomplete = plan_pieces(source, settings)
    surveyed = Survey(source.meta) if survey else None
    scanned = _scan_source(source, pieces, surveyed)
    if flat:
        scanned.whole[:, 1:] = scanned.flags[:, :, 1:] = False
    left_out: dict[str, int] = {}
    kept = np.arange(len(source.entities))
    if settings.labels is not None:
        kept = _select_labelled(source, settings, left_out)
    if settings.axis.is_given:
        kept = _leave_out_absent(scanned, kept, settings, left_out)
    kept = _leave_out_unusable(scanned.whole, kept, source, settings, left_out)
    if incomplete:
        left_out[f"of an incomplete {name_year(settings)}"] = incomplete * len(kept)
    chosen = [np.stack([np.full(len(kept), number), kept], axis=1) for number in range(len(pieces))]
    rows = np.concatenate(chosen)
    bad = _find_incomplete(scanned, rows, settings, left_out)
    # an empty or constant year of a good series is an outage: counted, like a missing year
    rule = settings.model_copy(update={"unusable": "drop"}) if settings.cut != "whole" else settings
    rows = rows[~bad]
    flags = scanned.flags[rows[:, 0], rows[:, 1]]
    kept = _leave_out_unusable(flags, np.arange(len(rows)), source, rule, left_out, rows[:, 1])
    rows = rows[kept]
    if not len(rows):
        raise _make_empty_error(source, settings, scanned.whole, left_out)
    by_year = settings.cut != "whole" and meta.provenance.get("entity") == "year"
    entities = [source.entities[row] + (f"/{pieces[piece].year}" if by_year else "") for piece, row in rows]
    owners = [source.owners[row] for _, row in rows]
    labels = None if source.labels is None else [source.labels[row] for _, row in rows]
    copies = _count_copies(scanned.digests[rows[:, 0], rows[:, 1]], owners)
    loads = scanned.loads[rows[:, 0], rows[:, 1]]
    found = Series(source, settings, pieces, rows, entities, owners, meta, left_out, labels, copies, loads)
    return replace(found, survey=surveyed, statics=tuple(each.take(rows[:, 1]) for each in statics))


def _list_stated_units(source: Source, settings: config.Data) -> list[str]:
    """Return the units that an array, or a column of units, states."""
    columns = [cells for name, cells in source.attributes.items() if names_units(name)]
    units = dict.fromkeys(unit for cells in columns for unit in cells if unit)
    own = source.meta.units  # of a table it is that of the settings
    return [*units, *([own] if own and own != settings.units else [])]


def _make_empty_error(
    source: Source, settings: config.Data, flags: np.ndarray, left_out: dict[str, int]
) -> UserError:
    """Return the error for a source of which no series is left, with the setting that keeps some."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "it holds none"
    endless = (
        "data.missing_values=[inf,-inf] (numbers beyond 3.4e38 count as infinite: change their unit), "
        if "infinite" in left_out
        else ""
    )
    pieces = (_advise_channels(source, flags, number) for number in range(len(REASONS)))
    advice = next((text for text in pieces if text), "")
    return UserError(
        f"no usable series in {settings.source}: {reasons}; "
        + (advice or f"see {endless}data.max_missing, data.start_ragged, data.unusable")
    )


def _find_incomplete(
    scanned: "Scan", rows: np.ndarray, settings: config.Data, left_out: dict[str, int]
) -> np.ndarray:
    """Return which series lack too many readings: bool [n].

    With data.start_ragged, what lies before the first and after the last reading counts against its share
    alone.
    """
    missing = scanned.missing[rows[:, 0], rows[:, 1]]
    if settings.start_ragged is None:
        bad = missing > settings.max_missing
        if bad.any():
            left_out[f"more than {100 * settings.max_missing:g} % missing"] = int(bad.sum())
        return bad
    short = 1 - missing < settings.start_ragged
    gaps = ~short & (scanned.inner[rows[:, 0], rows[:, 1]] > settings.max_missing)
    if short.any():
        left_out[f"less than {100 * settings.start_ragged:g} % measured"] = int(short.sum())
    if gaps.any():
        left_out[f"more than {100 * settings.max_missing:g} % missing between first and last"] = int(
            gaps.sum()
        )
    return np.asarray(short | gaps)


def _leave_out_absent(
    scanned: "Scan", kept: np.ndarray, settings: config.Data, left_out: dict[str, int]
) -> np.ndarray:
    """Return those of `kept` that have enough readings on the given axis; others were measured at other
    times, which is no fault.
    """
    pieces = [np.stack([np.full(len(kept), piece), kept], axis=1) for piece in range(len(scanned.missing))]
    absent = np.all([_find_incomplete(scanned, rows, settings, {}) for rows in pieces], axis=0)
    if absent.any():
        left_out["too few readings on data.axis"] = int(absent.sum())
    return kept[~absent]


def _count_copies(digests: np.ndarray, owners: list[str]) -> int:
    """Count series whose every value another owner has, too, but for the first owner of each."""
    held = pd.DataFrame({"digest": digests, "owner": owners}).drop_duplicates()
    return len(held) - held["digest"].nunique()


def _select_labelled(source: Source, settings: config.Data, left_out: dict[str, int]) -> np.ndarray:
    """Return the source's series that have one of the labels asked for.

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


# --------------------------------------------------------------------------------------------------- left out


@dataclass
class Scan:
    """What one pass over n series of the source, each cut into p pieces, finds.

    Attributes:
        whole: [n, 3, C] which channels are infinite, empty, constant.
        flags: [p, n, 3, C] the same of each piece.
        missing: [p, n] share of missing values.
        inner: [p, n] the same between the first and the last reading.
        digests: [p, n] uint64, the same of equal values.
        loads: [p, n] float64, sums of absolute values.
    """

    whole: np.ndarray
    flags: np.ndarray
    missing: np.ndarray
    inner: np.ndarray
    digests: np.ndarray
    loads: np.ndarray


def _scan_source(source: Source, pieces: list[Cut], survey: Survey | None = None) -> Scan:
    count, channels = len(source.entities), len(source.meta.channels)
    found = Scan(
        np.zeros((count, 3, channels), dtype=bool),
        np.zeros((len(pieces), count, 3, channels), dtype=bool),
        np.zeros((len(pieces), count)),
        np.zeros((len(pieces), count)),
        np.zeros((len(pieces), count), np.uint64),
        np.zeros((len(pieces), count)),
    )
    step = count_block_rows(source)
    spans = [slice(first, min(first + step, count)) for first in range(0, count, step)]
    with open_threads(SCANNERS) as pool:
        for block in map_ahead(pool, partial(_load_block, source, pieces), spans, ahead=1):
            rows, values = block.rows, block.values
            ranges = find_ranges(values) if survey is None else survey.add(rows.start, values)
            found.whole[rows] = ranges.find_unusable(values.shape[1])
            for number, piece in enumerate(block.pieces):
                inside = ranges if piece is values else find_ranges(piece)
                found.flags[number, rows] = inside.find_unusable(piece.shape[1])
                found.missing[number, rows] = inside.missing.sum(axis=1) / (piece.shape[1] * channels)
                if found.missing[number, rows].any():
                    found.inner[number, rows] = _measure_missing_inside(piece)
            found.digests[:, rows], found.loads[:, rows] = block.digests, block.loads
    return found


@dataclass(frozen=True)
class Block:
    """Series of the source, the same cut into pieces, and what tells equal ones and the sizes of them."""

    rows: slice
    values: np.ndarray  # [n, L, C]
    pieces: list[np.ndarray]  # [n, L', C] each
    digests: list[np.ndarray]  # [n] each
    loads: list[np.ndarray]


def _load_block(source: Source, cuts: list[Cut], rows: slice) -> Block:
    values = source.block(rows.start, rows.stop)
    pieces = [cut(values) for cut in cuts]
    return Block(
        rows,
        values,
        pieces,
        [digest_series(piece) for piece in pieces],
        [_sum_loads(piece) for piece in pieces],
    )


def _measure_missing_inside(values: np.ndarray) -> np.ndarray:
    """Return the share of missing values between the first and the last reading of each series: [n, L, C] ->
    [n].
    """
    missing = np.isnan(values)
    there = ~missing.all(axis=2)
    first = np.argmax(there, axis=1)
    last = values.shape[1] - np.argmax(there[:, ::-1], axis=1)
    steps = np.arange(values.shape[1])
    inside = (steps >= first[:, None]) & (steps < last[:, None])
    many = np.count_nonzero(missing & inside[:, :, None], axis=(1, 2))
    return many / np.maximum((last - first) * values.shape[2], 1)


def _sum_loads(values: np.ndarray) -> np.ndarray:
    """Return the sum of absolute values of each series, missing ones left out: [n, L, C] -> float64 [n]."""
    size = max(1, TILE_VALUES // max(1, values.shape[1] * values.shape[2]))
    sums = np.empty(len(values))
    for first in range(0, len(values), size):
        tile = np.abs(values[first : first + size])
        sums[first : first + size] = tile.sum(axis=(1, 2), dtype=np.float64)
    gaps = np.flatnonzero(np.isnan(sums))
    sums[gaps] = [np.nansum(np.abs(values[row]), dtype=np.float64) for row in gaps]
    return sums


def digest_series(values: np.ndarray) -> np.ndarray:
    """Return a number for each series that equal ones share, and by any likelihood no others: uint64 [n]."""
    found = []
    for series in values:
        plain = series + np.float32(0)  # one zero
        missing = np.isnan(plain)
        if missing.any():
            plain[missing] = np.nan  # one NaN
        found.append(hashlib.blake2b(np.ascontiguousarray(plain).data, digest_size=8).digest())
    return np.frombuffer(b"".join(found), np.uint64)


def find_unusable(values: np.ndarray) -> np.ndarray:
    """Return which channels hold infinities, no values, or one value alone: [n, L, C] -> [n, 3, C]."""
    return find_ranges(values).find_unusable(values.shape[1])


def _advise_channels(source: Source, flags: np.ndarray, number: int) -> str:
    """Return the setting that leaves out channels which are infinite, empty or constant (`number`) in every
    series; nothing where there are none. flags: [n, 3, C].
    """
    channels = source.meta.channels
    bad = [name for place, name in enumerate(channels) if len(flags) and flags[:, number, place].all()]
    if not 0 < len(bad) < len(channels):
        return ""
    columns = source.understood.value_columns if source.understood else []
    what = f"channel {bad[0]} is" if len(bad) == 1 else f"channels {', '.join(bad[:3])} are"
    return f"{what} {REASONS[number]} in every series: set {show_without(bad, channels, columns)}"


def _leave_out_unusable(
    flags: np.ndarray,
    kept: np.ndarray,
    source: Source,
    settings: config.Data,
    left_out: dict[str, int],
    series: np.ndarray | None = None,
) -> np.ndarray:
    """Refuse or drop what is unusable: flags [n, 3, C] -> those of `kept` that stay.

    Args:
        series: [n] the source's series behind each row of flags; by default the rows are those series.
    """
    for number, reason in enumerate(REASONS):
        bad = flags[kept, number].any(axis=1)
        if not bad.any():
            continue
        if settings.unusable == "error":
            first = int(kept[np.argmax(bad)])
            channel = source.meta.channels[int(np.argmax(flags[first, number]))]
            name = source.entities[first if series is None else int(series[first])]
            advice = _advise_channels(source, flags, number)
            raise UserError(
                f"{settings.source}: {bad.sum()} of {len(flags)} series are {reason}, the first "
                f"{name!r} (channel {channel}); {advice or 'correct them or set data.unusable=drop'}"
            )
        left_out[reason] = left_out.get(reason, 0) + int(bad.sum())
        kept = kept[~bad]
    return kept
