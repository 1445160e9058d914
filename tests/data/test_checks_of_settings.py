"""Suspicions about clocks, limits and settings that do not fit the data."""

import numpy as np
import pytest

from distgan import config
from distgan.data.checks import fit
from tests.helpers.suspicions import HOMES, HOURS, look, serious

YEAR = 24 * 365


def year(homes: int = 20, steps_an_hour: int = 1) -> np.ndarray:
    hours = np.arange(YEAR * steps_an_hour) / steps_an_hour
    rng = np.random.default_rng(0)
    return (1.5 + np.sin(2 * np.pi * hours / 24) * rng.uniform(0.5, 1, (homes, 1))) * rng.gamma(
        9, 1 / 9, (homes, len(hours))
    )


@pytest.mark.parametrize(
    "hour", ["2013-03-31T01", "2013-03-31T02", "2013-03-10T02", "2013-09-29T02", "2013-10-06T02"]
)
@pytest.mark.parametrize("steps_an_hour", [1, 2])
def test_an_hour_that_is_missing_where_clocks_go_forward(hour: str, steps_an_hour: int) -> None:
    for gone in (np.nan, 0):
        values = year(steps_an_hour=steps_an_hour)
        place = (
            int((np.datetime64(hour) - np.datetime64("2013-01-01")) / np.timedelta64(1, "h")) * steps_an_hour
        )
        values[:, place : place + steps_an_hour] = gone
        found = look(values, start="2013-01-01T00:00:00", step=3600 // steps_an_hour)
        assert found["missing_hour"].severity == "warning" and f"{hour}:00:00" in found["missing_hour"].text


@pytest.mark.parametrize("hour", ["2013-03-31T23", "2013-04-01T00", "2013-03-10T23", "2013-10-06T23"])
@pytest.mark.parametrize("steps_an_hour", [1, 2])
def test_the_last_hour_is_missing_where_hours_are_counted_from_midnight(
    hour: str, steps_an_hour: int
) -> None:
    values = year(steps_an_hour=steps_an_hour)
    place = int((np.datetime64(hour) - np.datetime64("2013-01-01")) / np.timedelta64(1, "h")) * steps_an_hour
    values[:, place : place + steps_an_hour] = np.nan
    step = 3600 // steps_an_hour
    found = look(values, start="2013-01-01T00:00:00", step=step)
    assert found["last_hour"].severity == "error" and f"{hour}:00:00" in found["last_hour"].text
    accepted = serious(look(values, "data.accept=[last_hour]", start="2013-01-01T00:00:00", step=step))
    assert accepted <= {"periods"}
    values[:, place - 3 * steps_an_hour : place] = np.nan  # an outage that began before
    assert "last_hour" not in look(values, start="2013-01-01T00:00:00", step=step)
    other = year()
    other[:, 24 * 100 + 23] = np.nan  # a Thursday
    assert serious(look(other, start="2013-01-01T00:00:00")) == set()


@pytest.mark.parametrize("hour", ["2013-10-27T01", "2013-10-27T02", "2013-11-03T01", "2013-04-07T02"])
def test_an_hour_that_holds_twice_as_much_where_clocks_go_back(hour: str) -> None:
    values = year(60)
    place = int((np.datetime64(hour) - np.datetime64("2013-01-01")) / np.timedelta64(1, "h"))
    values[:, place] *= 2
    found = look(values, start="2013-01-01T00:00:00")
    assert found["doubled_hour"].severity == "error" and f"{hour}:00:00" in found["doubled_hour"].text


def test_other_nights_and_lone_gaps_are_no_clock_change() -> None:
    values = year()
    assert serious(look(values, start="2013-01-01T00:00:00")) == set()
    values[:, 24 * 100 + 2] = np.nan  # a Thursday
    values[:5, 24 * 89 + 1] = np.nan  # 31 March, of some series
    assert serious(look(values, start="2013-01-01T00:00:00")) == set()


@pytest.mark.parametrize("factor", [2, 4])
def test_steps_longer_than_the_axis(homes: np.ndarray, factor: int) -> None:
    sparse = np.full((HOMES, factor * HOURS), np.nan, np.float32)
    sparse[:, 1::factor] = homes
    found = look(sparse, step=3600 // factor)
    assert found["step"].severity == "error" and "resample.step=1h" in found["step"].advice
    repeated = np.repeat(homes, factor, axis=1)
    again = look(repeated, step=3600 // factor)
    assert f"factor={factor}" in again["repeated_values"].advice


def test_many_values_at_the_largest_suggest_a_bound(homes: np.ndarray) -> None:
    for limit, scale in ((100, 60), (1234564, 740000), (1, 0.6), (5, 3)):  # all digits of a limit
        found = look(np.minimum(homes * scale, limit))
        assert found["upper_limit"].advice == f"set data.bounds.upper={limit}"
        assert serious(look(np.minimum(homes * scale, limit), f"data.bounds.upper={limit}")) == set()
    assert f"exactly {limit}" in found["upper_limit"].shared  # of 20 series
    few = look(np.minimum(homes[:9], 1.2))["upper_limit"]
    assert "the limit of the meters" in few.advice and "1.2" not in few.text + few.shared + few.advice
    two = np.stack([homes, np.minimum(homes, 1.2)], axis=2)
    assert "(channel channel1)" in look(two)["upper_limit"].text
    own = np.minimum(homes, np.quantile(homes, 0.8, axis=1, keepdims=True))  # of each series another
    assert "upper_limit" not in look(own)


def test_a_coarse_step_is_suggested_and_a_fine_one_not(homes: np.ndarray) -> None:
    coarse = look((homes / 0.05).round() * 0.05)
    assert coarse["value_step"].advice == "set data.bounds.step=0.05"
    assert "value_step" not in look((homes * 1000).round(1))


def test_bounds_are_suggested_by_what_was_seen(homes: np.ndarray) -> None:
    counts = np.rint(50 * homes)
    found = look(counts, "data.bounds.lower=null")
    assert {name: each.severity for name, each in found.items()} == {"integer": "hint", "lower_limit": "hint"}
    assert look(counts, "data.bounds.integer=true") == {}
    homes[2, 5] = -0.2
    assert "negative" in serious(look(homes))


@pytest.mark.parametrize(
    ("overrides", "step", "names", "advice"),
    [
        (["data.units=kWh per 4 h", "data.reduce.factor=4"], 1800, {"units"}, "data.reduce.factor=8"),
        (["data.units=kWh per h"], 1800, {"units"}, "data.units='kWh per 30 min'"),
        (["data.units=kWh per 30 min"], 1800, set(), ""),
        (["data.units=people/hour"], 3600, set(), ""),
        (["data.units=kWh per day", "data.reduce.factor=24"], 3600, set(), ""),
        (["data.units=m per second"], 3600, {"units"}, ""),
        (["data.units=MW"], 1800, set(), ""),
    ],
)
def test_units_name_the_step(
    homes: np.ndarray, overrides: list[str], step: int, names: set[str], advice: str
) -> None:
    day = 86400 // (step * (4 if "data.reduce.factor=4" in overrides else 1))
    fitting = [f"model.patch={day}", f"encoder.patch={day}", f"model.discriminator.periods=[{day},{7 * day}]"]
    if "data.reduce.factor=24" in overrides:
        fitting[2] = "model.discriminator.periods=[7]"
    found = look(homes, *fitting, *overrides, step=step)
    assert serious(found) == names
    if names:
        assert advice in found["units"].advice


def test_a_config_for_hours_on_half_hours() -> None:
    """The units of 4 hours, patches and periods of weeks: 8 steps in one, and all of it fits again."""
    london = ["data.units=kWh per 4 h", "data.reduce.factor=4", "model.patch=42", "encoder.patch=42"]
    london += ["model.discriminator.periods=[6,42]"]
    values = year(steps_an_hour=2)
    found = look(values, *london, step=1800)
    assert {name for name, each in found.items() if each.severity == "error"} == {"units", "periods"}
    assert "data.reduce.factor=8 mends that" in found["periods"].advice
    assert look(values, *london, "data.reduce.factor=8", step=1800) == {}
    other = found["periods"].advice.partition(" set ")[2].split()
    assert look(values, *london, "data.units=kWh per 2 h", *other, step=1800) == {}


def test_days_have_weeks_and_the_advice_names_them() -> None:
    values = year(3)[:, :365]
    found = look(values, step=86400)  # the defaults, which are of hours
    assert found["periods"].severity == "warning"
    assert "a week has 7 steps of 1 d; model.discriminator.periods [24, 168] are" not in found["periods"].text
    assert "model.discriminator.periods [24] are no whole weeks" in found["periods"].text  # 168 is 24 weeks
    advice = found["periods"].advice.removeprefix("set ").split()
    assert advice == ["model.discriminator.periods=[7]", "model.patch=28", "encoder.patch=28"]
    assert look(values, *advice, step=86400) == {}
    assert look(values, "model.discriminator.periods=[7]", "model.patch=73", step=86400) == {}


@pytest.mark.parametrize("minutes", [5, 10, 15, 30, 120, 240])
def test_periods_and_patches_are_days_or_the_advice_makes_them_so(minutes: int) -> None:
    values = year(3)[:, : 60 * 24 * 28 // minutes if minutes >= 15 else 24 * 300]
    settings = ["model.patch=100", "encoder.patch=7", "model.discriminator.periods=[50,101]"]
    found = look(values, *settings, step=60 * minutes)
    assert found["periods"].severity == "error"
    advice = found["periods"].advice.removeprefix("set ").split()
    assert look(values, *advice, step=60 * minutes) == {}
    assert (
        look(values, *settings, "data.accept=[periods]", step=60 * minutes)["periods"].severity == "accepted"
    )


@pytest.mark.parametrize(
    ("units", "names", "stated"),
    [
        ("kWh", ["H1 (kW)", "H2 (kW)"], "kW"),
        ("kW", ["KWH/hh (per half hour)"], "KWH"),
        ("kWh per 30 min", ["power_kw"], "kw"),
        ("kWh", ["KWH/hh (per half hour)"], None),
        ("kWh", ["H1", "WH Smith"], None),
        ("kWh", ["A (kW)", "B (kWh)"], None),  # which are refused where they are entities
        ("people", ["H1 (kW)"], None),
        ("", ["H1 (kW)"], None),
    ],
)
def test_units_that_the_names_of_columns_contradict(units: str, names: list[str], stated: str | None) -> None:
    found = fit.check_stated_units(config.Data(units=units), names)
    assert found is None if stated is None else found is not None and found.text.endswith(f"states {stated}")


def test_sums_of_power_and_temperature_are_reported() -> None:
    values = np.random.default_rng(0).gamma(2, size=(20, 24 * 60))
    settings = ["data.units=kW", "data.reduce.factor=4", "model.patch=42", "encoder.patch=42"]
    found = look(values, *settings, "model.discriminator.periods=[6,42]")["units"]
    assert found.severity == "warning" and found.advice.startswith("set data.reduce.method=mean")
    for other in ("data.units=kWh", "data.reduce.method=mean", "data.reduce.factor=1"):
        assert "units" not in look(values, *settings, other)


@pytest.mark.parametrize(
    ("units", "names", "found"),
    [
        ("", ["home_1 [kWh]", "home_2 [kWh]"], "kWh"),
        ("", ["home_1 [kWh]", "home_2 [kW]"], ""),
        ("", ["home_1 [kWh]", "home_2"], ""),
        ("", ["home_1", "home_2"], ""),
        ("kWh", ["home_1 [kWh]", "home_2 [kWh]"], ""),
    ],
)
def test_a_unit_that_all_names_state(units: str, names: list[str], found: str) -> None:
    assert fit.find_named_unit(config.Data(units=units), names) == found


def test_values_beyond_a_set_bound_are_found_by_channel(homes: np.ndarray) -> None:
    two = np.stack([homes, homes - 5], axis=2)
    found = look(two, "data.bounds.lower=0")["lower_limit"]
    assert found.severity == "warning" and "below data.bounds.lower 0 (channel channel1)" in found.text
    assert found.advice.endswith("set data.bounds.lower=null")
    assert "lower_limit" not in look(homes, "data.bounds.lower=0")
    assert "above data.bounds.upper 0.1" in look(homes, "data.bounds.upper=0.1")["upper_limit"].text
    assert "upper_limit" not in look(homes, f"data.bounds.upper={homes.max() + 1}")
