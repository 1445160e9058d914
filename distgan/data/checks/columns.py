"""Columns without readings of their own: quality flags, parts of the times, sums or means of all others."""

from dataclasses import dataclass

import numpy as np

from distgan import config
from distgan.data.checks.calendar_columns import find_calendar_columns
from distgan.data.checks.mixed_quantities import find_mixed_quantities
from distgan.data.checks.survey import Survey
from distgan.data.formats.column_names import is_flag_name
from distgan.data.formats.pieces import Source

FLAG_VALUES = 16  # different ones of a flag, at most
MOST_LOOKED = 64  # series by whose names they may be flags
FEW_SERIES = 16  # in which channels are compared


@dataclass(frozen=True)
class OddColumns:
    """Series or channels, by name, that are no readings of their own."""

    flags: tuple[str, ...] = ()
    totals: tuple[str, ...] = ()
    calendar: tuple[str, ...] = ()
    channels: bool = False  # whether they are channels, else series
    unlike: tuple[str, ...] = ()  # two columns that are read as entities, and may be different quantities


def find_odd_columns(source: Source, survey: Survey, settings: config.Data) -> OddColumns:
    """Return the columns of a source that are no readings; none where settings name the values.

    Flags have a name that says so and few different whole numbers. A total is at every time the same multiple
    of the sum of all series (twice, if it is the sum of the others; their number, if it is their mean).
    """
    if settings.columns.values is not None:
        return OddColumns()
    channels = source.meta.channels
    if len(channels) > 1:
        block = source.block(0, min(FEW_SERIES, len(source.entities)))
        named = [number for number, name in enumerate(channels) if is_flag_name(name)]
        flags = [number for number in named if _are_few_whole_numbers(block[:, :, number])]
        flags = flags if len(flags) < len(channels) else []
        totals = _find_sums_of_channels(block) if len(channels) > 2 else []
        calendar = find_calendar_columns(channels, lambda number: block[0, :, number], source.meta.axis)
        flagged, summed, dated = (_select_names(channels, each) for each in (flags, totals, calendar))
        return OddColumns(flagged, summed, dated, channels=True)
    named = [row for row, name in enumerate(source.entities) if is_flag_name(name)]
    if len(named) == len(source.entities):
        named = []
    flags = [row for row in named[:MOST_LOOKED] if _are_few_whole_numbers(source.block(row, row + 1))]
    calendar = find_calendar_columns(
        source.entities, lambda row: source.block(row, row + 1)[0, :, 0], source.meta.axis
    )
    names, unlike = source.entities, None
    if settings.layout == "auto" and source.understood.layout == "wide":
        unlike = find_mixed_quantities(names, lambda row: source.block(row, row + 1)[0, :, 0])
    return OddColumns(
        _select_names(names, flags),
        _select_names(names, survey.sums.find_totals()),
        _select_names(names, calendar),
        unlike=unlike or (),
    )


def _select_names(names: list[str] | tuple[str, ...], chosen: list[int]) -> tuple[str, ...]:
    return tuple(names[number] for number in chosen)


def _are_few_whole_numbers(values: np.ndarray) -> bool:
    there = values[np.isfinite(values)]
    return bool(len(there)) and bool((there == np.rint(there)).all()) and len(np.unique(there)) <= FLAG_VALUES


def _find_sums_of_channels(values: np.ndarray) -> list[int]:
    """Return the numbers of the channels that are the sum of all others, from [n, L, C]."""
    whole = values[~np.isnan(values).any(axis=2)].astype(np.float64)  # [steps, C]
    if len(whole) < 16:
        return []
    found = []
    for channel in range(values.shape[2]):
        total = whole[:, channel]
        others = whole.sum(axis=1) - total
        used = np.delete(whole, channel, axis=1)
        several = (np.count_nonzero(used, axis=1) > 1).mean() > 0.1  # else it is the same as one of them
        close = np.abs(others - total) <= 2e-3 * np.abs(total) + 1e-6
        if several and (total != 0).mean() > 0.1 and close.mean() >= 0.98:
            found.append(channel)
    return found
