"""Series of any source on the time axis that `data.axis` gives."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from distgan import config
from distgan.data.formats.pieces import Source
from distgan.data.grid import describe_miss, format_duration, make_axis, mark_outside
from distgan.data.store.metadata import Axis
from distgan.errors import UserError


def place_on_axis(source: Source, settings: config.Data) -> Source:
    """Return the source on the given axis: steps outside of it are left out, and others are missing. Tables
    come on it already.

    Raises:
        UserError: the source has other steps, none on the axis, or no times and another number of steps.
    """
    axis, found = make_axis(settings.axis), source.meta.axis
    if axis is None:
        return source
    if source.meta.is_nominal:
        return _name_times(source, axis, settings)
    if axis == found:
        return source
    if found.step_seconds != axis.step_seconds:
        raise UserError(
            f"{settings.source} has steps of {format_duration(found.step_seconds)}, and data.axis.step is "
            f"{settings.axis.step}; give the axis the steps of the source, and set data.reduce.factor for "
            "longer ones"
        )
    times = found.list_times()
    outside = mark_outside(times, axis)
    if outside.all():
        raise UserError(describe_miss(settings.source, axis, times[0], times[-1]))
    elapsed = (times - np.datetime64(axis.start, "s")).astype(np.int64)
    if (elapsed % axis.step_seconds)[~outside].any():
        raise UserError(
            f"{settings.source}: its times, from {times[0]} on, lie between the steps of data.axis; correct "
            "data.axis.start"
        )
    places = np.where(outside, -1, elapsed // axis.step_seconds)
    source.understood.notes.append(
        f"data.axis: {int(outside.sum()):,} of {len(times):,} steps of the source lie outside: left out"
    )
    moved = Moved(source.block, places, axis.length)
    return replace(source, block=moved, meta=replace(source.meta, axis=axis))


def _name_times(source: Source, axis: Axis, settings: config.Data) -> Source:
    """Return a source without times with those of the axis.

    Raises:
        UserError: it has another number of steps.
    """
    if source.meta.axis.length != axis.length:
        raise UserError(
            f"{settings.source} has no times and {source.meta.axis.length:,} steps, and data.axis.length is "
            f"{axis.length:,}; give both the same, or leave data.axis out"
        )
    provenance = source.meta.provenance | {"clock": "as data.axis gives it"}
    return replace(source, meta=replace(source.meta, axis=axis, provenance=provenance))


@dataclass(frozen=True)
class Moved:
    """Blocks of a source on another axis; of a source with longer series, a few series at a time.

    Attributes:
        places: [L] the step of the axis for each step of the source, -1 outside.
    """

    read: Callable[[int, int], np.ndarray]
    places: np.ndarray
    length: int

    def __call__(self, first: int, last: int) -> np.ndarray:
        """Return series first..last: [n, L', C]."""
        inside = self.places >= 0
        size = max(1, (last - first) * self.length // len(self.places))
        found = []
        for begin in range(first, last, size):
            values = self.read(begin, min(begin + size, last))
            part = np.full((len(values), self.length, values.shape[2]), np.nan, values.dtype)
            part[:, self.places[inside]] = values[:, inside]
            found.append(part)
        return found[0] if len(found) == 1 else np.concatenate(found)
