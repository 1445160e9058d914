"""Single days: a holiday that synthetic series lack is found, and between real series there is none."""

import numpy as np
import pytest

from distgan.data.store.metadata import Axis, Meta
from distgan.evaluation.metrics.dates import find_odd_days
from distgan.evaluation.metrics.fidelity import Sets
from distgan.pipeline.evaluate import describe_odd_days, join_unseen

DAYS, HOLIDAY = 91, 24


def homes(count: int, seed: int, *, holiday: bool = True) -> np.ndarray:
    """Homes with skewed values, of four steps a day, that are half empty on a holiday: [n, L, 1]."""
    rng = np.random.default_rng(seed)
    values = rng.lognormal(0, 0.5, (count, 1)) * rng.gamma(2, 0.5, (count, 4 * DAYS))
    if holiday:
        values[:, 4 * HOLIDAY : 4 * HOLIDAY + 4] *= 0.3
    return values[..., None].astype(np.float32)


def test_a_lost_holiday_is_the_only_odd_day() -> None:
    real, made = homes(60, 1), homes(80, 2, holiday=False)
    real[:, 200:240] = np.nan  # ten days that nobody measured
    found = find_odd_days(real, made, np.arange(60), 4)
    assert found is not None and found.days.tolist() == [HOLIDAY] and found.most == HOLIDAY
    assert found.tested == DAYS - 10
    standard = [
        (x - np.nanmean(x, 1, keepdims=True)) / np.nanstd(x, 1, keepdims=True)
        for x in (np.where(np.isnan(real[0]), np.nan, made), real)
    ]
    days = [each[:, 4 * HOLIDAY : 4 * HOLIDAY + 4].mean() for each in standard]
    assert found.gap == pytest.approx(days[0] - days[1], abs=1e-3)


def test_between_real_series_days_are_odd_in_five_reports_of_a_hundred_at_most() -> None:
    odd = 0
    for seed in range(60):
        found = find_odd_days(homes(30, 2 * seed), homes(30, 2 * seed + 1), np.arange(30), 4)
        assert found is not None and found.tested == DAYS
        odd += len(found.days) > 0
    assert odd <= 7  # of 60, as 99 of 100 times at 5 %


def test_windows_of_few_owners_say_nothing() -> None:
    few = np.repeat(np.arange(10), 6)
    assert find_odd_days(homes(60, 1), homes(60, 2, holiday=False), few, 4) is None
    assert find_odd_days(homes(60, 1), homes(60, 2), np.arange(60), 4.5) is None
    assert find_odd_days(homes(60, 1)[:, :48], homes(60, 2)[:, :48], np.arange(60), 4) is None


@pytest.mark.parametrize(
    ("provenance", "named"),
    [
        ({}, "most on 25 December 2013, where synthetic series lie"),
        ({"clock": "nominal: no times"}, "most on day 25 of the record"),
        ({"years": [2012, 2013]}, "most on day 25 of the record"),
        ({"windows": {"length": 364, "stride": 4}}, ""),
    ],
)
def test_the_sentence_names_the_day(provenance: dict, named: str) -> None:
    meta = Meta(Axis("2013-12-01T00:00:00", 21600, 4 * DAYS), ("load",), "kWh", provenance, {})
    sets = Sets(homes(5, 0), homes(30, 1), homes(40, 2, holiday=False), homes(10, 3))
    said = describe_odd_days(join_unseen(sets), meta)
    assert [each.tone for each in said] == (["warn"] if named else [])
    assert all(named in each.text and each.text.startswith("On 1 of 91 days") for each in said)
