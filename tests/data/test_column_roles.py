"""Which column is an id, a label, a flag or a total: decided by the cells, or refused with the setting."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import Raw, open_source, read
from distgan.errors import UserError
from distgan.pipeline.source_summary import find_suspicions

STEPS = 96
TIMES = pd.date_range("2013-01-01", periods=STEPS, freq="h")
READINGS = np.random.default_rng(0).gamma(2, size=(STEPS, 3)).round(3) + 0.001
NIGHT = np.where(TIMES.hour < 7, "low", "high")


def wide(**more: Any) -> pd.DataFrame:
    table = pd.DataFrame(READINGS, columns=["H1", "H2", "H3"])
    table.insert(0, "time", TIMES.strftime("%Y-%m-%d %H:%M"))
    return table.assign(**more)


def load(table: pd.DataFrame, place: Path, **settings: Any) -> Raw:
    table.to_csv(place / "table.csv", index=False)
    return read(config.Data.model_validate({"source": str(place / "table.csv")} | settings))


@pytest.mark.parametrize("cells", ["UK", 7, NIGHT, np.repeat([1, 2], STEPS // 2)])
@pytest.mark.parametrize("name", ["region_id", "meter", "zone"])
def test_a_label_that_is_named_like_an_id_is_refused(tmp_path: Path, name: str, cells: Any) -> None:
    table = wide(**{name: cells})
    with pytest.raises(UserError, match=rf"set data.columns.id={name}(,| or) data.columns.ignore=\[{name}\]"):
        load(table, tmp_path)
    found = load(table, tmp_path, columns={"ignore": [name]})
    assert found.entities == ["H1", "H2", "H3"]
    np.testing.assert_array_equal(found.values[:, :, 0], READINGS.T.astype(np.float32))


def test_one_entity_with_channels_is_read_by_its_id(tmp_path: Path) -> None:
    found = load(wide(meter="M1"), tmp_path, columns={"id": "meter"})
    assert found.entities == ["M1"] and found.meta.channels == ("H1", "H2", "H3")
    np.testing.assert_array_equal(found.values[0], READINGS.astype(np.float32))


def test_ids_whose_times_repeat_are_ids(tmp_path: Path) -> None:
    later = TIMES + pd.Timedelta("24h")
    both = pd.concat([wide(meter="M1"), wide(meter="M2", time=later.strftime("%Y-%m-%d %H:%M"))])
    found = load(both, tmp_path, max_missing=0.5)
    assert found.entities == ["M1", "M2"] and found.meta.channels == ("H1", "H2", "H3")


@pytest.mark.parametrize("name", ["id", "date"])
def test_cells_that_stand_for_the_rows_below_are_refused(tmp_path: Path, name: str) -> None:
    """As a pivot table without repeated labels, or merged cells, give them."""
    times = pd.date_range("2013-01-01", periods=96, freq="h")
    homes = [
        pd.DataFrame({"id": f"M{home}", "date": times.date, "hour": times.hour, "kwh": READINGS[:96, home]})
        for home in range(2)
    ]
    table = pd.concat(homes)
    table[name] = table[name].where(table[name] != table[name].shift())
    with pytest.raises(UserError, match=rf"column '{name}' is empty in \d+ of the first 192 rows.*ffill"):
        load(table, tmp_path)
    assert load(table.ffill(), tmp_path).entities == ["M0", "M1"]


def test_counts_in_a_column_that_is_named_like_an_id_are_readings(tmp_path: Path) -> None:
    counts = np.random.default_rng(1).poisson(6, (STEPS, 3))
    table = wide().assign(H1=counts[:, 0], H2=counts[:, 1], H3=counts[:, 2])
    table.columns = pd.Index(["time", "Park", "Main Station", "Hill"])
    with pytest.raises(UserError, match=r"data.layout=wide"):
        load(table, tmp_path)
    found = load(table, tmp_path, layout="wide")
    np.testing.assert_array_equal(found.values[:, :, 0], counts.T)


def suspicious(table: pd.DataFrame, place: Path, **settings: Any) -> dict[str, str]:
    """Names and texts of what is an error."""
    table.to_csv(place / "table.csv", index=False)
    data = config.Data.model_validate({"source": str(place / "table.csv"), "max_missing": 0.5} | settings)
    chosen = config.Config(data=data)
    found = find_suspicions(chosen, open_source(data, place / "work", survey=True))
    return {each.name: each.text for each in found if each.severity == "error"}


def many(count: int = 6) -> pd.DataFrame:
    readings = np.random.default_rng(2).gamma(2, size=(STEPS, count)).round(3)
    return wide()[["time"]].join(pd.DataFrame(readings, columns=[f"H{number}" for number in range(count)]))


def long_with(**more: Any) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    homes = [
        wide()[["time", "H1"]].assign(id=f"M{n}", temp=rng.normal(9, 3, STEPS).round(1)) for n in range(4)
    ]
    return pd.concat(homes, ignore_index=True).assign(**more)


TOTALS = {
    "sum": lambda readings: readings.sum(axis=1).round(3),
    "mean": lambda readings: readings.mean(axis=1).round(3),
    "megawatts": lambda readings: readings.sum(axis=1) / 1000,
}


@pytest.mark.parametrize("kind", TOTALS)
@pytest.mark.parametrize("gaps", [0, 30])
def test_a_series_of_all_others_is_an_error_with_its_name(tmp_path: Path, kind: str, gaps: int) -> None:
    table = many()
    if kind != "mean":  # the mean of those that are there is no multiple of the sum
        table.loc[: gaps - 1, "H2"] = np.nan
    table = table.assign(Everyone=TOTALS[kind](table.drop(columns="time")))
    assert "data.columns.ignore=[Everyone]" in suspicious(table, tmp_path)["totals"]
    assert "totals" not in suspicious(table, tmp_path, columns={"ignore": ["Everyone"]})
    assert "totals" not in suspicious(table, tmp_path, accept=["totals"])


def test_a_channel_of_all_others_is_an_error_with_its_name(tmp_path: Path) -> None:
    table = long_with()
    table = table.assign(both=table["H1"] + table["temp"])
    assert "data.columns.ignore=[both]" in suspicious(table, tmp_path)["totals"]


def test_series_that_are_alike_are_no_totals(tmp_path: Path) -> None:
    table = many()
    scaled = table.assign(**{f"H{number}": table["H0"] * (number + 1) for number in range(6)})
    larger = table.assign(H3=1000 * table["H3"])
    assert not [
        found for each in (table, scaled, larger) for found in suspicious(each, tmp_path) if found == "totals"
    ]


@pytest.mark.parametrize(
    "name", ["Quality", "flag", "loadStatus", "qc_code", "Read Type", "ok", "is_imputed"]
)
def test_flags_beside_readings_are_an_error_with_their_name(tmp_path: Path, name: str) -> None:
    codes = np.random.default_rng(4).integers(0, 3, 4 * STEPS)
    for table in (many().assign(**{name: codes[:STEPS]}), long_with(**{name: codes})):
        setting = "\"['Read Type']\"" if " " in name else f"[{name}]"
        assert f"data.columns.ignore={setting}" in suspicious(table, tmp_path)["flags"]
        assert "flags" not in suspicious(table, tmp_path, columns={"ignore": [name]})


def test_words_that_flag_readings_are_refused_with_what_to_do_first(tmp_path: Path) -> None:
    marks = np.where(np.random.default_rng(4).random(4 * STEPS) < 0.1, "Estimated", "Actual")
    with pytest.raises(
        UserError, match=r"if it flags readings, empty those .* set data.columns.ignore=\[qual"
    ):
        load(long_with(quality=marks), tmp_path)


def test_readings_that_are_named_like_flags_are_readings(tmp_path: Path) -> None:
    assert "flags" not in suspicious(many().rename(columns={"H2": "quality"}), tmp_path)


def test_constant_numbers_of_entities_keep_all_their_digits(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": np.repeat(["A", "B", "C"], STEPS), "time": np.tile(TIMES, 3)})
    table["zip"] = np.repeat([400123456, 400123457, 400123458], STEPS)
    table["lat"] = np.repeat([51.5073519, 51.5073529, 51.0], STEPS)
    table["kWh"] = READINGS.T.ravel()
    table.to_csv(tmp_path / "long.csv", index=False)
    found = open_source(config.Data(source=str(tmp_path / "long.csv")), tmp_path / "work")
    assert found.source.attributes == {
        "zip": ["400123456", "400123457", "400123458"],
        "lat": ["51.5073519", "51.5073529", "51"],
    }


def test_an_id_that_begins_as_a_comment_is_refused(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": np.repeat(["A", "B", "#C"], STEPS), "time": np.tile(TIMES, 3)})
    table["kWh"] = READINGS.T.ravel()
    with pytest.raises(UserError, match=r"'#C,2013-01-01 00:00:00,.*' begins with #, as comments do"):
        load(table, tmp_path)
    text = (tmp_path / "table.csv").read_text().replace("#C", '"#C"')
    (tmp_path / "table.csv").write_text(text + "# 288 rows, of 3 homes\n")
    assert read(config.Data(source=str(tmp_path / "table.csv"))).entities == ["A", "B", "#C"]
    (tmp_path / "table.csv").write_text(
        text.replace('"#C"', "#C").replace("\nA", "\n#A").replace("\nB", "\n#B")
    )
    with pytest.raises(UserError, match=r"lines that begin with # are comments: put quotes"):
        read(config.Data(source=str(tmp_path / "table.csv")))


def test_readings_in_different_units_are_refused(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": np.repeat(["A", "B"], STEPS), "time": np.tile(TIMES, 2)})
    table = table.assign(value=READINGS[:, :2].T.ravel(), unit=np.repeat(["kWh", "Wh"], STEPS))
    with pytest.raises(UserError, match=r"'unit' says that readings of entities differ \(kWh, Wh\)"):
        load(table, tmp_path)
    assert load(table, tmp_path, columns={"attributes": ["unit"]}).entities == ["A", "B"]
    assert load(table.replace({"Wh": "KWH"}), tmp_path).entities == ["A", "B"]
    with pytest.raises(UserError, match=r"'UtcOffset' says that times of entities differ \(0, 1\)"):
        load(table.assign(unit="kWh", UtcOffset=np.repeat([0, 1], STEPS)), tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["A (kWh)", "B (Wh)", "C (kWh)"],
        ["A_kWh", "B_Wh", "C_kWh"],
        ["kWh A", "MW B", "kWh C"],
        ["A (W)", "B (Wh)", "C (W)"],
    ],
)
def test_columns_of_different_units_are_no_entities(tmp_path: Path, names: list[str]) -> None:
    table = wide().set_axis(["time", *names], axis=1)
    with pytest.raises(UserError, match=r"columns have different units .* data.columns.values"):
        load(table, tmp_path)
    assert load(table, tmp_path, columns={"values": names[:2]}).entities == names[:2]
    table = table.astype(object)
    table.loc[-1] = ["", "kWh", "MW", "kWh"]
    with pytest.raises(UserError, match=r"columns have different units \(kWh, MW\)"):
        load(table.sort_index().set_axis(["time", "H1", "H2", "H3"], axis=1), tmp_path)


def test_words_in_brackets_are_no_units(tmp_path: Path) -> None:
    names = ["Queen Street (A)", "Queen Street (W)", "Quay (C)"]
    assert load(wide().set_axis(["time", *names], axis=1), tmp_path).entities == names
    names = ["Queen Street (north)", "Queen Street (S)", "Quay W"]
    assert load(wide().set_axis(["time", *names], axis=1), tmp_path).entities == names


@pytest.mark.parametrize("form", ["Hr{0:02d}00", "kWh_{0:02d}00", "{0:02d}h00m", "TU_{0:02d}00_{1:02d}00"])
def test_columns_of_clock_times_in_other_words_are_no_channels(tmp_path: Path, form: str) -> None:
    names = [form.format(hour, hour + 1) for hour in range(24)]
    days = pd.DataFrame(READINGS[:, 0].reshape(4, 24), columns=names)
    days.insert(0, "date", pd.date_range("2013-01-01", periods=4).strftime("%Y-%m-%d"))
    table = pd.concat([days.assign(id=name) for name in ("A", "B")])
    with pytest.raises(UserError, match=r"may be 24 parts of a day, or 24 entities or channels; .*day_wide"):
        load(table, tmp_path)
    if form.endswith("}00") and "TU" not in form:
        found = load(table, tmp_path, layout="day_wide")
        np.testing.assert_array_equal(found.values[1, :, 0], READINGS[:, 0].astype(np.float32))
    else:
        assert load(table, tmp_path, layout="long", unusable="drop").meta.channels == tuple(names)


@pytest.mark.parametrize("name", ["DST", "is_est", "DstFlag"])
def test_marks_of_the_clock_and_of_estimates_are_flags(tmp_path: Path, name: str) -> None:
    table = wide(**{name: np.repeat([1, 0], STEPS // 2)})
    table.to_csv(tmp_path / "table.csv", index=False)
    settings = config.Config.model_validate({"data": {"source": str(tmp_path / "table.csv")}})
    found = open_source(settings.data, tmp_path / "work", survey=True)
    suspicions = {each.name: each for each in find_suspicions(settings, found)}
    assert suspicions["flags"].severity == "error" and name in suspicions["flags"].text


def test_a_code_for_missing_values_is_named_with_all_its_digits(tmp_path: Path) -> None:
    table = wide()
    table.loc[table.index % 9 == 4, "H2"] = -3.402823466385289e38
    table.to_csv(tmp_path / "table.csv", index=False)
    settings = config.Config.model_validate({"data": {"source": str(tmp_path / "table.csv")}})
    found = open_source(settings.data, tmp_path / "work", survey=True)
    (sentinel,) = [each for each in find_suspicions(settings, found) if each.name == "sentinel"]
    code = float(sentinel.advice.split("[")[1].rstrip("]"))
    found = open_source(
        settings.data.model_copy(update={"missing_values": (code,), "max_missing": 0.5}), tmp_path
    )
    assert np.isnan(found.read_rows(0, 3)[1, 4::9]).all() and found.num_series == 3


CLOCKS = [f"{minutes // 60}:{minutes % 60:02}" for minutes in range(0, 1440, 30)]


@pytest.mark.parametrize("order", [sorted(CLOCKS), CLOCKS[::-1]])
def test_columns_named_by_times_of_the_day_stand_in_any_order(tmp_path: Path, order: list[str]) -> None:
    days = pd.date_range("2013-01-01", periods=20).strftime("%Y-%m-%d")
    table = pd.DataFrame(np.random.default_rng(0).gamma(2, size=(20, 48)), columns=CLOCKS)
    table.insert(0, "date", days)
    found = load(table[["date", *order]], tmp_path)
    assert found.meta.axis.start == "2013-01-01T00:00:00" and found.meta.axis.step_seconds == 1800
    np.testing.assert_allclose(found.values[0, :, 0], table[CLOCKS].to_numpy().ravel(), rtol=1e-6)
    with pytest.raises(UserError, match="are 47 times of the day at uneven distances"):
        load(table.drop(columns="13:30"), tmp_path)


@pytest.mark.parametrize("cells", [("kWh", "Wh"), ("kWh", "°C")])
def test_units_that_change_within_an_entity_are_refused(tmp_path: Path, cells: tuple[str, str]) -> None:
    long = pd.DataFrame({"id": "M1", "time": wide()["time"], "value": READINGS[:, 0], "unit": cells[0]})
    table = pd.concat([long, long.assign(value=READINGS[:, 1], unit=cells[1], id="M1")])
    table.insert(1, "channel", np.repeat(["import", "export"], STEPS))
    with pytest.raises(UserError, match=r"column 'unit' says that readings .*in one unit, and then set data"):
        load(table, tmp_path)
    found = load(table, tmp_path, columns={"ignore": ["unit"]})
    np.testing.assert_array_equal(found.values[0], READINGS[:, :2].astype(np.float32))


@pytest.mark.parametrize("name", ["multiplier", "CT ratio", "Wandlerfaktor", "conversion_factor", "decimals"])
def test_factors_that_differ_between_entities_are_refused(tmp_path: Path, name: str) -> None:
    times = wide()["time"]
    homes = [
        pd.DataFrame({"id": f"M{home}", "time": times, "kwh": READINGS[:, home], name: home + 1})
        for home in range(3)
    ]
    with pytest.raises(
        UserError, match=rf"column '{name}' says that readings of entities differ \(1, 2, 3\)"
    ):
        load(pd.concat(homes), tmp_path)
    found = load(pd.concat(homes).rename(columns={name: "power_factor"}), tmp_path)
    np.testing.assert_array_equal(found.values[:, :, 0], READINGS[:, :3].T.astype(np.float32))


def long_with_zone(zone: str) -> pd.DataFrame:
    times = pd.date_range("2013-06-01", periods=STEPS, freq="h")
    homes = [
        pd.DataFrame({"id": f"M{home}", "time": times, "time_zone": zone, "kwh": READINGS[:, home]})
        for home in range(2)
    ]
    return pd.concat(homes)


@pytest.mark.parametrize(
    ("zone", "remedy"),
    [
        ("UTC", r"call the column of the times 'time \(UTC\)'"),
        ("+01:00", r"call the column of the times 'time \(UTC\+01:00\)'"),
        ("Europe/Berlin", "set data.timezone=Europe/Berlin"),
    ],
)
def test_a_column_that_states_another_zone_is_refused(tmp_path: Path, zone: str, remedy: str) -> None:
    table = long_with_zone(zone)
    with pytest.raises(UserError, match=rf"column 'time_zone' says that times are in .*; {remedy}"):
        load(table, tmp_path, timezone="Europe/Helsinki")
    assert load(table, tmp_path).meta.axis.start == "2013-06-01T00:00:00"
    ignored = load(table, tmp_path, timezone="Europe/Helsinki", columns={"ignore": ["time_zone"]})
    assert ignored.meta.axis.start == "2013-05-31T23:00:00"


@pytest.mark.parametrize("zone", ["Europe/Helsinki", "GMT", "EET", "EST"])
def test_a_column_that_states_the_zone_or_what_its_clocks_show_is_read(tmp_path: Path, zone: str) -> None:
    found = load(long_with_zone(zone), tmp_path, timezone="Europe/Helsinki")
    assert found.meta.axis.start == "2013-05-31T23:00:00"


@pytest.mark.parametrize("name", ["offset", "utc_offset", "UTCoffset", "GMT Offset", "tz"])
@pytest.mark.parametrize("cells", [(-5, -4), (60, 120), (3600, 7200), (-500, -400)])
def test_utc_offsets_beside_times_are_no_readings(tmp_path: Path, name: str, cells: tuple[int, int]) -> None:
    found = suspicious(wide(**{name: np.where(TIMES.day < 3, *cells)}), tmp_path)
    assert name in found["calendar"]
    for readings in (READINGS[:, 0] + 1, np.where(TIMES.day < 3, 3, 5)):  # not an hour apart
        assert "calendar" not in suspicious(wide(**{name: readings}), tmp_path, layout="wide")
