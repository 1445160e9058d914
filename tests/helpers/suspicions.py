"""Honest series, and the suspicions about changed ones."""

from dataclasses import replace

import numpy as np

from distgan import config
from distgan.data.checks.survey import Survey
from distgan.data.checks.suspicions import SourceFacts, Suspicion, list_suspicions
from distgan.data.cleaning import clean_blocks
from distgan.data.store.metadata import Axis, Meta

HOMES, HOURS, DAY = 20, 24 * 28, 24


QUIET = ("data.bounds.lower=0", "model.patch=24", "encoder.patch=24")


def look(
    values: np.ndarray,
    *overrides: str,
    start: str = "2013-01-07T00:00:00",
    step: int = 3600,
    block: int = 7,
) -> dict[str, Suspicion]:
    """Suspicions by name about series [n, L] or [n, L, C], read in blocks after settings have acted."""
    values = values[..., None] if values.ndim == 2 else values
    settings = config.load(None, [*QUIET, *overrides])
    channels = tuple(f"channel{number}" for number in range(values.shape[2]))
    source = Meta(Axis(start, step, values.shape[1], leap_days=True), channels, "", {}, {})
    read = clean_blocks(lambda first, last: values[first:last].astype(np.float32), source, settings.data)
    survey = Survey(source)
    for first in range(0, len(values), block):
        survey.add(first, read(first, min(first + block, len(values))))
    factor = settings.data.reduce.factor
    meta = replace(
        source, axis=replace(source.axis, step_seconds=step * factor, length=values.shape[1] // factor)
    )
    names = [f"private-{number}" for number in range(len(values))]
    found = list_suspicions(SourceFacts(survey, source, meta, settings, names))
    assert len({each.name for each in found}) == len(found) and {each.name for each in found} <= {
        *config.SUSPICIONS
    }
    return {each.name: each for each in found}


def serious(found: dict[str, Suspicion]) -> set[str]:
    return {name for name, each in found.items() if each.severity in ("error", "warning")}
