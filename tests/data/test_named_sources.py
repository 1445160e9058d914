"""The recipes in configs/data read look-alikes in the layout that each publisher ships."""

import zipfile
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import Raw, read

RECIPES = Path(__file__).resolve().parents[2] / "configs" / "data"


def load(name: str, source: Path | str, *overrides: str) -> Raw:
    settings = config.load(RECIPES / f"{name}.yaml", [f"data.source='{source}'", *overrides])
    return read(settings.data)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).gamma(2, 0.2, size=shape).round(3)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_loads_and_says_whose_data_it_reads(path: Path) -> None:
    settings = config.load(path).data
    assert settings.credit and settings.units and settings.source != "auckland"
    assert f"load({path.stem!r}".replace("'", '"') in Path(__file__).read_text()


@pytest.mark.parametrize("kind", [pytest.param("zip", marks=pytest.mark.slow), "folder", "blocks"])
def test_low_carbon_london(tmp_path: Path, kind: str) -> None:
    end = "2014-01-02" if kind == "zip" else "2013-01-20"
    times = pd.date_range("2012-12-30", end, freq="30min", inclusive="left")
    values = numbers(3, len(times))
    blocks = []
    for home in range(3):
        rows = [f"MAC{home:06d},Std,{t:%Y-%m-%d %H:%M:%S}.0000000, {v} " for t, v in zip(times, values[home])]
        rows.insert(100, rows[99])  # a reading that stands twice
        rows.insert(300, f"MAC{home:06d},Std,2013-01-08 15:13:41.0000000,Null")
        rows[40] = rows[40].rsplit(",", 1)[0] + ",Null"
        blocks.append(rows)
    header = "LCLid,stdorToU,DateTime,KWH/hh (per half hour) "
    if kind == "blocks":
        header = "LCLid,tstp,energy(kWh/hh)"
        blocks = [[row.replace(",Std,", ",").replace(", ", ",").rstrip() for row in rows] for rows in blocks]
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "LCL-FullData.zip", "w") as archive:
            archive.writestr("CC_LCL-FullData.csv", "\n".join([header, *chain(*blocks)]) + "\n")
        source = tmp_path / "LCL-FullData.zip"
    else:
        source = tmp_path / "set"
        source.mkdir()
        for number, rows in enumerate(blocks):
            (source / f"block_{number}.csv").write_text("\n".join([header, *rows]) + "\n")
    raw = load("low_carbon_london", source, *([] if kind == "zip" else ["data.cut=whole"]))
    assert raw.entities == [f"MAC{i:06d}" for i in range(3)]
    if kind != "zip":
        assert np.isnan(raw.values[:, 40]).all() and np.isnan(raw.values).sum() == 3
        np.testing.assert_allclose(raw.values[:, 41:, 0], values[:, 41:], rtol=1e-6)
        return
    assert raw.values.shape == (3, 17520, 1)
    year = times.year == 2013
    np.testing.assert_allclose(raw.values[:, :, 0], values[:, year], rtol=1e-6)
    assert (raw.meta.axis.start, raw.meta.axis.step_seconds) == ("2013-01-01T00:00:00", 1800)
    assert raw.meta.provenance["credit"].endswith("CC BY 4.0")


def test_uci_electricity(tmp_path: Path) -> None:
    times = pd.date_range("2011-01-01 00:15", "2011-01-21 00:00", freq="15min")
    values = numbers(len(times), 4) * 100
    lines = ['"";' + ";".join(f'"MT_{i + 1:03d}"' for i in range(4))]
    for time, row in zip(times, values.round(2)):
        lines.append(f'"{time}";' + ";".join(f"{value:.12g}".replace(".", ",") for value in row))
    with zipfile.ZipFile(tmp_path / "LD2011_2014.txt.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("LD2011_2014.txt", "\r\n".join(lines) + "\r\n")
        archive.writestr("__MACOSX/._LD2011_2014.txt", b"\0\5\x16\7")
    raw = load("uci_electricity", tmp_path / "LD2011_2014.txt.zip", "data.cut=whole")
    assert raw.entities == ["MT_001", "MT_002", "MT_003", "MT_004"]
    assert (raw.meta.axis.start, raw.meta.axis.step_seconds) == ("2011-01-01T00:15:00", 900)
    np.testing.assert_allclose(raw.values[:, :, 0], values.round(2).T, rtol=1e-6)


def test_uci_household_power(tmp_path: Path) -> None:
    times = pd.date_range("2006-12-16 17:24", periods=4000, freq="1min")
    values = numbers(len(times), 7)
    names = "Global_active_power;Global_reactive_power;Voltage;Global_intensity;Sub_metering_1;Sub_metering_2"
    lines = [f"Date;Time;{names};Sub_metering_3"]
    for number, (time, row) in enumerate(zip(times, values)):
        cells = ["?"] * 6 + [""] if number in (50, 51) else [f"{value:.3f}" for value in row]
        lines.append(f"{time.day}/{time.month}/{time.year};{time:%H:%M:%S};" + ";".join(cells))
    (tmp_path / "household_power_consumption.txt").write_text("\n".join(lines) + "\n")
    raw = load("uci_household_power", tmp_path / "household_power_consumption.txt")
    assert raw.values.shape == (1, 4000, 1) and raw.meta.axis.step_seconds == 60
    assert raw.meta.axis.start == "2006-12-16T17:24:00"
    assert np.flatnonzero(np.isnan(raw.values[0, :, 0])).tolist() == [50, 51]
    np.testing.assert_allclose(raw.values[0, 52:, 0], values[52:, 0], rtol=1e-6)


def test_cer_ireland(tmp_path: Path) -> None:
    days = np.arange(195, 195 + 60)  # from 14 July 2009, before the clock is put back
    values = numbers(4, len(days) * 48)
    codes = [f"{day}{half:02d}" for day in days for half in range(1, 49)]
    for number in range(2):
        lines = [
            f"{1000 + home} {code} {value:.3f}"
            for home in (2 * number, 2 * number + 1)
            for code, value in zip(codes, values[home])
        ]
        (tmp_path / f"File{number + 1}.txt").write_text("\r\n".join(lines) + "\r\n")
    raw = load("cer_ireland", tmp_path / "File*.txt", "data.cut=whole")
    assert raw.entities == ["1000", "1001", "1002", "1003"]
    np.testing.assert_allclose(raw.values[:, :, 0], values, rtol=1e-6)
    start = pd.Timestamp("2009-07-14") - pd.Timedelta(
        "1h"
    )  # Irish summer time is an hour ahead of winter time
    assert pd.Timestamp(raw.meta.axis.start) == start and raw.meta.axis.step_seconds == 1800


def test_ausgrid_solar_home(tmp_path: Path) -> None:
    days = pd.date_range("2010-07-01", "2010-08-15")
    clocks = [f"{m // 60}:{m % 60:02d}" for m in range(30, 1440, 30)] + ["0:00"]
    header = [
        "Customer",
        "Generator Capacity",
        "Postcode",
        "Consumption Category",
        "date",
        *clocks,
        "Row Quality",
    ]
    values = numbers(3, len(days), 48)
    lines = ["Solar home half-hour data - 1 July 2010 to 30 June 2011" + "," * 52, ",".join(header)]
    for home in range(3):
        for place, day in enumerate(days):
            for kind, scale in (("GC", 1.0), ("GG", 2.0)):
                cells = ",".join(f"{value:.3f}" for value in values[home, place] * scale)
                facts = f"{home + 1},1.5,2{home:03d},{kind},{day.day}/{day:%m/%Y}"
                lines.append(f"{facts},{cells},")
    (tmp_path / "2010-2011.csv").write_text("\n".join(lines) + "\n")
    raw = load("ausgrid_solar_home", tmp_path / "2010-2011.csv")
    assert raw.entities == ["1", "2", "3"] and raw.meta.channels == ("GC",)
    np.testing.assert_allclose(raw.values[:, :, 0], values.reshape(3, -1), rtol=1e-5)
    both = load("ausgrid_solar_home", tmp_path / "2010-2011.csv", "data.columns.values=[GC, GG]")
    assert both.meta.channels == ("GC", "GG")
    np.testing.assert_allclose(both.values[:, :, 1], 2 * values.reshape(3, -1), rtol=1e-5)


def test_pecan_street(tmp_path: Path) -> None:
    times = pd.date_range("2018-10-28", "2018-11-10", freq="15min", tz="America/Chicago", inclusive="left")
    values, lines = numbers(3, len(times)), ["dataid,localminute,air1,use,grid"]
    for place, home in enumerate((661, 1642, 2335)):
        for time, value in zip(times, values[place]):
            offset = f"{time:%z}"[:3]
            lines.append(f"{home},{time:%Y-%m-%d %H:%M:%S}{offset},,{value},{value}")
    (tmp_path / "15minute_data_austin.csv").write_text("\n".join(lines) + "\n")
    raw = load("pecan_street", tmp_path / "15minute_data_austin.csv")
    assert raw.entities == ["661", "1642", "2335"] and raw.meta.channels == ("use",)
    np.testing.assert_allclose(raw.values[:, :, 0], values, rtol=1e-6)
    assert raw.meta.axis.start == "2018-10-27T23:00:00"  # 0:00 of summer time in winter time


def seconds(start: str, count: int, step: int) -> np.ndarray:
    jitter = np.random.default_rng(1).integers(0, step // 3, count)
    return int(pd.Timestamp(start, tz="UTC").timestamp()) + step * np.arange(count) + jitter


def expect_means(raw: Raw, name: str, stamps: np.ndarray, values: np.ndarray) -> None:
    """Means of 15 minutes, which pandas computes."""
    series = pd.Series(values, pd.to_datetime(stamps, unit="s")).resample("15min").mean()
    axis = pd.DatetimeIndex(raw.meta.axis.list_times())
    found = pd.Series(raw.values[raw.entities.index(name), :, 0], axis).dropna()
    np.testing.assert_allclose(found, series.reindex(found.index), rtol=1e-5)
    assert len(found) == len(series)


def test_refit(tmp_path: Path) -> None:
    every = {}
    for house in (1, 2, 10):
        stamps, values = seconds(f"2013-12-0{min(house, 3)}", 9000, 8), (numbers(9000) * 1000).astype(int)
        times = pd.to_datetime(stamps, unit="s")
        table = pd.DataFrame({"Time": times, "Unix": stamps, "Aggregate": values + house})
        for number in range(1, 10):
            table[f"Appliance{number}"] = number
        table.to_csv(tmp_path / f"CLEAN_House{house}.csv", index=False)
        every[f"CLEAN_House{house}"] = (stamps, values + house)
    raw = load("refit", tmp_path / "CLEAN_House*.csv", "data.max_missing=0.9")
    assert raw.entities == list(every) and raw.meta.channels == ("Aggregate",)
    for name, (stamps, values) in every.items():
        expect_means(raw, name, stamps, values)


def test_uk_dale(tmp_path: Path) -> None:
    every = {}
    for house in (1, 2):
        stamps, values = seconds("2013-02-01", 9000, 6), numbers(9000) * 1000
        folder = tmp_path / f"house_{house}"
        folder.mkdir()
        lines = [f"{stamp} {value:.2f}" for stamp, value in zip(stamps, values + house)]
        (folder / "channel_1.dat").write_text("\n".join(lines) + "\n")
        (folder / "channel_2.dat").write_text("1359676800 5\n1359676806 5\n")
        (folder / "labels.dat").write_text("1 aggregate\n2 boiler\n")
        every[f"house_{house}/channel_1"] = (stamps, values + house)
    raw = load("uk_dale", f"{tmp_path}/house_*/channel_1.dat")
    assert raw.entities == list(every)
    for name, (stamps, values) in every.items():
        expect_means(raw, name, stamps, values)


def test_entsoe_load(tmp_path: Path) -> None:
    times = pd.date_range("2015-01-01", periods=240, freq="h")
    values = (numbers(240, 3) * 1000).astype(int)
    lines = ['"Time (UTC)","BZN|AT","BZN|BE","BZN|DE-AT-LU"']
    for number, (time, row) in enumerate(zip(times, values)):
        end = time + pd.Timedelta("1h")
        cells = ["n/e" if number == 7 and place == 1 else str(value) for place, value in enumerate(row)]
        lines.append(f'"{time:%d.%m.%Y %H:%M} - {end:%d.%m.%Y %H:%M}",' + ",".join(f'"{c}"' for c in cells))
    (tmp_path / "load.csv").write_text("\n".join(lines) + "\n")
    raw = load("entsoe_load", tmp_path / "load.csv")
    assert (
        raw.entities == ["BZN|AT", "BZN|BE", "BZN|DE-AT-LU"] and raw.meta.axis.start == "2015-01-01T00:00:00"
    )
    assert np.argwhere(np.isnan(raw.values)).tolist() == [[1, 7, 0]]
    np.testing.assert_array_equal(raw.values[[0, 2], :, 0], values[:, [0, 2]].T)


def test_entsoe_monthly(tmp_path: Path) -> None:
    header = "DateTime\tResolutionCode\tAreaCode\tAreaTypeCode\tAreaName\tMapCode\tTotalLoadValue\tUpdateTime"
    hourly, quarterly = numbers(59 * 24) * 1000, numbers(59 * 96) * 1000
    for month, first, last in ((1, 0, 31), (2, 31, 59)):
        lines = [header]
        for code, step, values in (("FR", 60, hourly), ("DE", 15, quarterly)):
            many = 1440 // step
            for number in range(first * many, last * many):
                time = pd.Timestamp("2015-01-01") + number * pd.Timedelta(minutes=step)
                lines.append(
                    f"{time:%Y-%m-%d %H:%M:%S}.000\tPT{step}M\t10Y{code}\tCTY\t{code} CA\t{code}\t"
                    f"{values[number]:.2f}\t2020-07-31 12:00:00"
                )
        (tmp_path / f"2015_{month:02d}_ActualTotalLoad_6.1.A_r3.csv").write_text("\n".join(lines) + "\n")
    raw = load("entsoe_monthly", tmp_path / "*_ActualTotalLoad_6.1.A*.csv")
    assert len(raw.entities) == 2 and raw.values.shape == (2, 59 * 24, 1)
    by_code = {entity[-2:]: values[:, 0] for entity, values in zip(raw.entities, raw.values)}
    np.testing.assert_allclose(by_code["FR"], hourly.round(2), rtol=1e-5)
    np.testing.assert_allclose(by_code["DE"], quarterly.round(2).reshape(-1, 4).mean(1), rtol=1e-5)
