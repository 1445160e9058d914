"""Plain statistics and load figures: right, and nobody's own value where none may be shown."""

import numpy as np
import pytest

from distgan.data.store.metadata import Axis, Meta
from distgan.evaluation.metrics import entity_loads, loads, plain_statistics
from distgan.evaluation.plots import catalogue, series, style
from distgan.evaluation.plots import loads as plots_of_loads
from tests.helpers.reports import homes, view

DAYS = 21


def table(real: np.ndarray, synthetic: np.ndarray, *, anonymous: bool, owners: np.ndarray | None = None):
    owners = np.arange(len(real)) if owners is None else owners
    found = plain_statistics.describe_values(real, synthetic, owners, ["load"], "kWh", anonymous=anonymous)
    return found, {row.title: row for row in found.channels[0].rows}


def test_exact_statistics_are_those_of_numpy():
    real, synthetic = homes(8, 1), homes(9, 2)
    real[0, :100] = np.nan
    real[1, :50] = 0
    found, rows = table(real, synthetic, anonymous=False)
    values = real[np.isfinite(real)].astype(float)
    assert (rows["minimum"].real, rows["maximum"].real) == pytest.approx(
        (values.min(), values.max()), rel=1e-5
    )
    for title, level in plain_statistics.QUANTILES.items():
        assert rows[title].real == pytest.approx(np.quantile(values, level), rel=1e-5), title
    assert rows["mean"].synthetic == pytest.approx(synthetic.mean(), rel=1e-5)
    assert rows["zeros"].real == pytest.approx((values == 0).mean(), rel=1e-5)  # what is missing is no value
    assert rows["missing"].synthetic == 0
    assert rows["missing"].real == pytest.approx(100 / real.size, rel=1e-5)
    assert f"real {values.max():.3g} kWh" in found.sentence


def test_sentences_of_several_channels_name_the_one_they_are_of():
    real, synthetic = homes(8, 1), homes(9, 2)
    both = [np.concatenate([each, 100 + each], axis=2) for each in (real, synthetic)]
    found = plain_statistics.describe_values(*both, np.arange(8), ["load", "heat"], "", anonymous=False)
    assert found.sentence.startswith("Largest value of the channel load: synthetic ")
    assert f"real {real.max():.3g}" in found.sentence
    together = loads_of(real[..., 0], synthetic[..., 0]).name_channel("load")
    assert together.channel == "load" and together.sentence.startswith("Of the channel load: 8 series ")
    axis = Axis("2019-01-07T00:00:00", 3600, 24)
    for channels, units, unit in (
        (("load",), "kW, net", "kW, net"),
        (("load", "heat"), "kW", "kW"),
        (("load", "heat"), "kW, °C", ""),
    ):
        assert Meta(axis, channels, units, {}, {}).unit_of_channels == unit


def test_no_anonymous_figure_is_one_persons():
    """One owner with two series has all large values, another all small ones: neither is seen."""
    real, synthetic = homes(40, 1), homes(60, 2)
    real[:2] *= 1000
    real[2] -= 500
    owners = np.r_[0, 0, np.arange(1, 39)]
    found, rows = table(real, synthetic, anonymous=True, owners=owners)
    assert found.anonymous and "minimum" not in rows and "maximum" not in rows
    best = np.sort(real[2:].max((1, 2)))[::-1]  # of the other owners, one series each
    high = rows["high value that 15 reach"]
    assert high.real == pytest.approx(best[13], rel=0.05) and high.real not in real
    assert rows["low value that 15 reach"].real > -1
    assert rows["99.9 %"].real is None and rows["1 %"].real is None and rows["median"].real is not None
    assert not np.isin(np.float32(rows["median"].real), real)
    few, none = table(real[:10], synthetic, anonymous=True)
    assert all(row.real is None for row in none.values()) and "not shown" in few.sentence


def test_pictures_of_all_values_end_where_fifteen_owners_reach():
    real = homes(40, 1)
    real[0, 0] = 1e6
    clipped = plain_statistics.clip_extremes(real, np.arange(40))
    assert clipped.max() < 10 and clipped[5:].std() == pytest.approx(real[5:].std(), rel=0.1)
    names = {p.name for p in catalogue.select_pictures(real, homes(20, 2), view(), real_curves=False)}
    assert {"values", "total", "weekdays"} <= names and "embedding" not in names
    owners = np.arange(40) % 14  # forty series of fourteen owners are too few
    few = catalogue.select_pictures(real, homes(20, 2), view(), real_curves=False, owners=owners)
    assert "values" not in {p.name for p in few}


def loads_of(real: np.ndarray, made: np.ndarray, **options):
    times = np.datetime64("2019-01-07T00:00:00") + np.arange(real.shape[1]) * np.timedelta64(3600, "s")
    calendar = loads.Calendar(times, **options)
    return loads.describe_loads(real, made, calendar, "kWh", owners=len(real), anonymous=False)


def test_figures_of_loads_have_known_answers():
    """Two homes that peak at other hours: the sum peaks at half; everything is known by hand."""
    hours = np.arange(24 * DAYS)
    weekend = hours // 24 % 7 >= 5
    one = np.where(hours % 24 == 18, 4.0, 0.0) * np.where(weekend, 1, 0.5)
    two = np.where(hours % 24 == 19, 2.0, 0.0)
    found = {row.title: row for row in loads_of(np.stack([one, two]), np.stack([one, one])).rows}
    assert found["after-diversity maximum demand"].real == 2 and found["coincidence factor"].synthetic == 1
    assert found["coincidence factor"].real == pytest.approx(2 / 3, rel=1e-3)
    assert found["hour of the highest mean demand"].real == 18 or one.mean() < two.mean()
    assert found["steepest rise of the sum"].real == 2
    assert found["mean on weekends"].real == pytest.approx((4 + 2) / 48, rel=1e-3)
    assert found["mean on weekdays"].real == pytest.approx((2 + 2) / 48, rel=1e-3)
    assert found["mean"].real == pytest.approx((one.mean() + two.mean()) / 2, rel=1e-3)


def test_figures_of_single_series_are_of_all_of_them():
    """Half of the larger set peaks at 8, half at 20: no draw of them makes an hour in between."""
    hours = np.arange(24 * DAYS) % 24
    made = np.stack([np.where(hours == (8 if row % 2 else 20), 1.0 + 0.01 * row, 0.1) for row in range(30)])
    found = {row.title: row for row in loads_of(made[:2], made).rows}
    assert found["hour of the highest mean demand"].synthetic == 8
    assert found["mean"].synthetic == pytest.approx(made.mean(), rel=1e-3)
    assert found["mean of the single peaks"].synthetic == pytest.approx(made.max(1).mean(), rel=1e-3)


def test_a_sum_is_compared_with_a_sum_of_as_many():
    """Of the same homes, more of them on one side: the peak per series does not fall with their number."""
    real, made = homes(20, 1)[..., 0], homes(200, 2)[..., 0]
    found = loads_of(real, made)
    row = next(row for row in found.rows if row.title == "after-diversity maximum demand")
    alone = loads.compute_mean_demand(made).max()
    assert found.count == 20 and abs(row.synthetic / row.real - 1) < 0.35 and row.synthetic > alone


def test_what_is_no_load_gets_no_load_figures():
    series_of = homes(20, 1)[..., 0]
    assert entity_loads.are_loads(series_of, 24.0)
    assert not entity_loads.are_loads(series_of - 1, 24.0)  # temperatures
    assert not entity_loads.are_loads(series_of, 1.0) and not entity_loads.are_loads(series_of[:, :200], 24.0)
    calendar = loads.Calendar(view().times)
    assert loads.describe_loads(series_of, series_of, calendar, "", owners=14, anonymous=True) is None


def test_figures_of_unknown_times_are_left_out():
    """A source without times, or windows that begin on any day: hours and weekdays are nobody's."""
    real, timed = homes(20, 1)[..., 0], {"hour of the highest mean demand"}
    weekly = {"mean on weekdays", "mean on weekends"}

    def name(**options) -> set[str]:
        return {row.title for row in loads_of(real, real, **options).rows}

    assert name() >= timed | weekly
    assert name() - name(has_weekdays=False) == weekly
    assert name() - name(has_hours=False, has_weekdays=False) == timed | weekly


@pytest.mark.parametrize(
    ("provenance", "length", "aligned", "hours", "weekdays"),
    [
        ({}, 8760, True, True, True),
        ({"clock": "nominal: no times"}, 8760, True, False, False),
        ({"windows": {"length": 336, "stride": 168}}, 336, True, True, True),
        ({"windows": {"length": 336, "stride": 48}}, 336, True, True, False),
        ({"windows": {"length": 336, "stride": 100}}, 336, False, False, False),
        ({"years": [2012]}, 8760, True, True, True),
        ({"years": [2012, 2013]}, 8760, True, True, False),
        ({"years": [2012, 2013]}, 8736, True, True, True),  # ISO years begin on a Monday
    ],
)
def test_times_are_known_where_all_series_share_them(provenance, length, aligned, hours, weekdays):
    meta = Meta(Axis("2012-01-02T00:00:00", 3600, length), ("load",), "kWh", provenance, {})
    assert (meta.is_aligned(86400), meta.has_common_days, meta.has_common_weekdays) == (
        aligned,
        hours,
        weekdays,
    )
    seen = style.make_view(meta)
    load = homes(20, 1)
    assert plots_of_loads.is_load(load, seen) == aligned
    assert plots_of_loads.has_weekdays(load, seen) == weekdays


@pytest.mark.parametrize("draw", [series.draw_samples, series.draw_weeks, series.draw_sizes])
def test_real_and_synthetic_series_have_the_same_axes(draw):
    figure = draw(homes(12, 1), 7 * homes(12, 2), view())
    rows: dict[tuple[int, int], set] = {}
    for axis in figure.axes:
        place = axis.get_subplotspec()
        last = place.get_gridspec().ncols - 1
        if draw is series.draw_sizes and place.colspan.start == last:
            continue
        kind = place.colspan.start % 2 if draw is series.draw_sizes else 0  # record or week
        rows.setdefault((place.rowspan.start, kind), set()).add(axis.get_ylim())
    assert rows and all(len(limits) == 1 for limits in rows.values())
