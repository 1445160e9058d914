"""Times as written are read exactly, or refused with the setting that decides; never a third outcome."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.formats.times import (
    Times,
    Where,
    encode_times,
    find_time_columns,
    looks_like_times,
    read_times,
    written_times,
)
from distgan.errors import UserError

Write = Callable[[pd.DatetimeIndex], list[str]]


def load(texts: list[str], column: str = "time", **settings: object) -> Times:
    where = Where(Path("a.csv"), lambda place: place + 2)
    return read_times(texts, column, config.Data(**settings), where)  # type: ignore[arg-type]


def same(found: Times, times: pd.DatetimeIndex) -> None:
    np.testing.assert_array_equal(found.values, times.to_numpy().astype("M8[us]"))


def pattern(form: str) -> Write:
    return lambda times: times.strftime(form).tolist()


def until(form: str, between: str, form_of_end: str | None = None) -> Write:
    """Intervals of the step of the times."""

    def write(times: pd.DatetimeIndex) -> list[str]:
        ends = times + (times[1] - times[0])
        pairs = zip(times.strftime(form), ends.strftime(form_of_end or form))
        return [f"{start}{between}{end}" for start, end in pairs]

    return write


def number(unit: str) -> Write:
    return lambda times: [str(time) for time in times.as_unit(unit).astype("int64")]


def ends_at_24(times: pd.DatetimeIndex) -> list[str]:
    days = (times - pd.Timedelta("1D")).strftime("%Y-%m-%d 24:00")
    return [
        day if time.hour + time.minute == 0 else f"{time:%Y-%m-%d %H:%M}" for day, time in zip(days, times)
    ]


FORMS: dict[str, Write] = {
    "iso": pattern("%Y-%m-%d %H:%M:%S"),
    "iso T": pattern("%Y-%m-%dT%H:%M"),
    "fraction of zeros": pattern("%Y-%m-%d %H:%M:%S.0000000"),
    "milliseconds Z": pattern("%Y-%m-%dT%H:%M:%S.000Z"),
    "basic": pattern("%Y%m%dT%H%M%S"),
    "compact with a blank": pattern("%Y%m%d %H%M"),
    "compact": pattern("%Y%m%d%H%M"),
    "compact to the second": pattern("%Y%m%d%H%M%S"),
    "slashes dmy": pattern("%d/%m/%Y %H:%M"),
    "points dmy": pattern("%d.%m.%Y %H:%M"),
    "dashes dmy": pattern("%d-%m-%Y %H:%M:%S"),
    "slashes mdy": pattern("%m/%d/%Y %H:%M"),
    "no leading zeros": lambda times: [f"{t.month}/{t.day}/{t.year} {t.hour}:{t.minute:02d}" for t in times],
    "am pm": pattern("%m/%d/%Y %I:%M %p"),
    "am pm dmy": pattern("%d/%m/%Y %I:%M:%S%p"),
    "a.m.": lambda times: [f"{t:%m/%d/%Y %I:%M} {'ap'[t.hour // 12]}.m." for t in times],
    "narrow blank": lambda times: [f"{t:%m/%d/%Y, %I:%M}\u202f{t:%p}" for t in times],
    "two-digit year dmy": pattern("%d/%m/%y %H:%M"),
    "two-digit year mdy": pattern("%m/%d/%y %H:%M"),
    "two-digit year ymd": pattern("%y-%m-%d %H:%M"),
    "month name, two digits": pattern("%d-%b-%y %H:%M"),
    "month name": pattern("%d %b %Y %H:%M"),
    "long month name": pattern("%B %d, %Y %I:%M %p"),
    "sas": pattern("%d%b%Y:%H:%M:%S"),
    "web log": pattern("%d/%b/%Y:%H:%M:%S +0000"),
    "mail": pattern("%a, %d %b %Y %H:%M:%S GMT"),
    "ctime": pattern("%a %b %d %H:%M:%S %Y"),
    "unix date": pattern("%a %b %d %H:%M:%S UTC %Y"),
    "ymd slashes": pattern("%Y/%m/%d %H:%M"),
    "db2": pattern("%Y-%m-%d-%H.%M.%S"),
    "file name": pattern("%Y-%m-%d_%H-%M-%S"),
    "ordinal date": pattern("%Y-%jT%H:%M"),
    "week date": pattern("%G-W%V-%u %H:%M"),
    "h for hour": pattern("%d.%m.%Y %Hh%M"),
    "points in the clock": pattern("%d.%m.%Y %H.%M"),
    "UTC": pattern("%Y-%m-%d %H:%M:%S UTC"),
    "UTC in brackets": pattern("%Y-%m-%d %H:%M (UTC)"),
    "+00": pattern("%Y-%m-%d %H:%M:%S+00"),
    "+0000": pattern("%Y-%m-%d %H:%M:%S +0000"),
    "-05": pattern("%Y-%m-%d %H:%M:%S-05"),
    "UTC+1": pattern("%Y-%m-%d %H:%M UTC+1"),
    "java": pattern("%Y-%m-%dT%H:%M+00:00[UTC]"),
    "clock first": pattern("%H:%M %d/%m/%Y"),
    "midnight without clock": lambda times: [
        f"{t:%d.%m.%Y}" if t.hour + t.minute == 0 else f"{t:%d.%m.%Y %H:%M}" for t in times
    ],
    "24:00": ends_at_24,
    "hhmm numbers": lambda times: [f"{t:%Y-%m-%d} {100 * t.hour + t.minute}" for t in times],
    "epoch s": number("s"),
    "epoch ms": number("ms"),
    "epoch us": number("us"),
    "epoch ns": number("ns"),
    "epoch with a point": lambda times: [f"{time}.0" for time in times.as_unit("s").astype("int64")],
    "spreadsheet": lambda times: [
        repr(round((t - pd.Timestamp("1899-12-30")) / pd.Timedelta("1D"), 8)) for t in times
    ],
    "interval": until("%d.%m.%Y %H:%M", " - "),
    "interval with an en dash": until("%Y-%m-%d %H:%M", " – "),
    "interval of clocks": until("%Y-%m-%d %H:%M", "-", "%H:%M"),
    "interval to": until("%d/%m/%Y %I:%M %p", " to "),
    "interval iso": until("%Y-%m-%dT%H:%M", "/"),
    "interval of pandas": lambda times: [f"[{t}, {t + (times[1] - times[0])})" for t in times],
    "interval with duration": lambda times: [
        f"{t:%Y-%m-%dT%H:%M}/PT{(times[1] - times[0]).seconds // 60}M" for t in times
    ],
}
YEAR = pd.date_range("2011-12-30 22:00", periods=2 * 24 * 64, freq="30min")  # 2012 is a leap year


@pytest.mark.parametrize("form", [form for form in FORMS if form != "spreadsheet"])
def test_forms_are_read_exactly(form: str) -> None:
    texts = FORMS[form](YEAR)
    same(load(texts), YEAR)
    shuffled = np.random.default_rng(0).permutation(len(YEAR))
    same(load([texts[place] for place in shuffled]), YEAR[shuffled])


SETTING = re.compile(r"data\.(date_format|time_unit)=([\w%:]+)")


@pytest.mark.parametrize("form", FORMS)
def test_any_times_are_read_exactly_or_refused_with_the_setting_that_reads_them(form: str) -> None:
    rng = np.random.default_rng(list(FORMS).index(form))
    for step in ("15min", "30min", "1h", "1D"):
        start = pd.Timestamp("1999-12-01") + pd.Timedelta(hours=24 * int(rng.integers(12_000)))
        if step != "1D" and rng.random() < 0.5:
            start += pd.Timedelta(step) * int(rng.integers(20))
        times = pd.date_range(start, periods=int(rng.integers(3, 300)), freq=step)
        if step == "1D" and form in ("interval with duration", "interval of clocks"):
            continue  # the test writes durations below a day alone
        texts = FORMS[form](times)
        try:
            same(load(texts), times)
        except UserError as error:
            named = SETTING.findall(str(error))
            assert named, error
            read = [load(texts, **{key: value}).values for key, value in named]
            assert any((values == times.to_numpy().astype("M8[us]")).all() for values in read), error


# ---------------------------------------------------------------------------------the order of day and month


def test_a_day_above_twelve_anywhere_decides() -> None:
    times = pd.date_range("2013-07-01", periods=13, freq="D")
    for form in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y"):
        same(load(times.strftime(form).tolist()), times)
    for form in ("%d.%m.%y", "%d-%b-%y"):  # or 13 July of 2001 to 2013; of a longer time no year comes first
        with pytest.raises(UserError, match=r"data.date_format=dmy.*data.date_format=ymd"):
            load(times.strftime(form).tolist())
        same(load(times.strftime(form).tolist(), date_format="dmy"), times)
        longer = pd.date_range("2013-07-01", periods=40, freq="D")
        same(load(longer.strftime(form).tolist()), longer)


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d/%m/%y"])
@pytest.mark.parametrize("freq", ["MS", "QS", "D"])
def test_months_or_days_are_ambiguous(form: str, freq: str) -> None:
    """Never 1, 2, 3 January where 1 January, February, March may be meant."""
    times = pd.date_range("2013-01-01", periods={"MS": 12, "QS": 4, "D": 12}[freq], freq=freq)
    texts = times.strftime(form).tolist()
    with pytest.raises(UserError, match=r"line 3.*'.*' may be .*data.date_format=dmy.*data.date_format=mdy"):
        load(texts)
    order = "mdy" if form.startswith("%m") else "dmy"
    same(load(texts, date_format=order), times)


def test_hours_of_a_few_days_decide_and_of_one_day_do_not() -> None:
    times = pd.date_range("2013-02-01", periods=48, freq="h")
    same(load(times.strftime("%d/%m/%Y %H:%M").tolist()), times)
    same(load(times.strftime("%m/%d/%Y %H:%M").tolist()), times)
    with pytest.raises(UserError, match="may be 2013-02-01 or 2013-01-02"):
        load(times[:24].strftime("%d/%m/%Y %H:%M").tolist())
    new_year = pd.date_range("2013-01-01", periods=24, freq="h")  # alike in both orders
    same(load(new_year.strftime("%d/%m/%Y %H:%M").tolist()), new_year)


def test_irregular_readings_of_a_week_decide() -> None:
    seconds = np.sort(np.random.default_rng(0).integers(0, 6 * 86400, 400))
    times = pd.DatetimeIndex(pd.Timestamp("2013-07-03") + pd.to_timedelta(np.unique(seconds), unit="s"))
    same(load(times.strftime("%d/%m/%Y %H:%M:%S").tolist()), times)


def test_dates_in_two_orders_are_refused() -> None:
    with pytest.raises(UserError, match=r"line 3.*'01/13/2013'.*in one order"):
        load(["13/01/2013", "01/13/2013", "14/01/2013", "15/01/2013"])


def test_an_order_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"not written in the order day, month, year.*data.date_format=ymd"):
        load(["2013/01/02 00:00", "2013/01/03 00:00"], date_format="dmy")
    with pytest.raises(UserError, match=r"line 3.*'13/02/2013'.*no date"):
        load(["12/02/2013", "13/02/2013"], date_format="mdy")


# ------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["2013-01-01 00:00", "soon"], r"a.csv line 3, column 'time': 'soon' is not a time"),
        (["2013-01-01", "2013-02-30"], r"line 3.*'2013-02-30' is no date"),
        (["2013-01-01 00:00", "2013-01-01 25:00"], r"line 3.*no clock time of a day"),
        (["2013-01-01 00:00", "2013-01-01 24:30"], r"line 3.*no clock time of a day"),
        (["2013-01-01 00:60", "2013-01-01 01:00"], r"line 2.*no clock time of a day"),
        (["2013-01-01 1:00 AM", "2013-01-01 13:00 PM"], r"line 3.*AM or PM"),
        (["2013-01-01 1:00 AM", "2013-01-01 2:00"], r"line 3.*neither AM nor PM"),
        (
            ["2013-01-01 00:00", "01/02/2013 00:00", "2013-01-02 00:00"],
            r"line 3.*another form than '2013-01-01",
        ),
        (["2013-01-01 00:00:00.5", "2013-01-01 01:00:00"], r"line 2.*fraction.*data.resample.step"),
        (["2013-01-01 00:00:00+00", "2013-01-01 01:00:00"], r"line 3.*no UTC offset"),
        (["2013-01-01 00:00:00+20", "2013-01-01 01:00:00+20"], r"line 2.*no UTC offset of a place"),
        (["2013-01-01 00:00 CET", "2013-01-01 01:00 CET"], r"names the zone CET; set data.timezone"),
        (["2013-01-01 00:00 Europe/Paris"], r"set data.timezone to Europe/Paris"),
        (["2013-01", "2013-02", "2013-03"], "names no day: months"),
        (["Jan 2013", "Feb 2013"], "names no day: months"),
        (["2013Q1", "2013Q2"], "names no day: months"),
        (["1. Mär 2013 00:00", "2. Mär 2013 00:00"], "data.date_locale=de"),
        (["1 янв 2013 00:00", "2 янв 2013 00:00"], "English month name"),
        (["0213-01-01", "0213-01-02"], "no date of the years 1900 to 2100"),
        (["41275.0", "41275.5"], "data.date_format=excel"),
        (["19501", "19502"], "data.date_format='daycode"),
        (["735235.5", "735236.5"], "MATLAB"),
        (["0", "3600", "7200"], "data.time_unit=s"),
        (["01012013", "02012013"], "%d%m%Y"),
        (["1.357E+12", "1.357E+12"], "lost digits"),
        (["2013-01-01 6", "2013-01-01 7"], r"data.date_format.*'%Y-%m-%d %H'.*'periods:1h'"),
        (["2013-01-01 0", "2013-01-01 24"], "has hour 24, and others hour 0"),
        (["2013-01-01 1", "2013-01-01 48"], "periods:30min"),
        (["2013-01-01 00:00 - 2013-01-01 01:00", "2013-01-01 03:00 - 2013-01-01 02:00"], "another length"),
        (["nothing", "at all"], "not a time in a known form; set data.date_format"),
    ],
)
def test_what_is_no_time_is_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load(texts)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        (["2013-01-01"], {"date_format": "%H:%M"}, "has no year"),
        (["2013-01-01"], {"date_format": "%Y-%Q"}, "no strptime format"),
        (["2013-01-01"], {"date_format": "%d/%m/%Y"}, "does not fit data.date_format"),
        (["2013-01-01"], {"time_unit": "s"}, "is not a number; data.time_unit"),
        (["1357000000000"], {"time_unit": "s"}, "in s since 1970"),
        (["41275.04", "41275.08"], {"date_format": "excel"}, "too few decimals"),
        (["20130101 soon"], {"date_format": "excel"}, "no day of 1900 to 2100"),
        (["19500"], {"date_format": "daycode:2009-01-01:30min"}, "period 0"),
        (["19549"], {"date_format": "daycode:2009-01-01:30min"}, "beyond 48.*data.timezone"),
        (["abc"], {"date_format": "daycode:2009-01-01:30min"}, "no day code"),
        (["19501"], {"date_format": "daycode:2009-01-01:7min"}, "step that divides a day"),
        (["2013-01-01 49"], {"date_format": "periods:30min"}, "beyond 48"),
        (["2013-01-01 00:00 EST"], {"timezone": "Europe/Berlin"}, "EST, which is not one of.*CEST, CET"),
        (["2013-01-01 00:00 CEST"], {"timezone": "Europe/Berlin"}, "not a time that CEST holds at"),
        (["2013-01-01 00:00 Asia/Tokyo"], {"timezone": "Europe/Berlin"}, "set it to Asia/Tokyo"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(texts: list[str], settings: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UserError, match=message):
        load(texts, **settings)


# --------------------------------------------------------------------------------------- what settings decide


def test_a_strptime_format_reads_what_it_says() -> None:
    times = pd.date_range("2013-01-01", periods=12, freq="D")
    same(load(times.strftime("%d%m%Y").tolist(), date_format="%d%m%Y"), times)
    same(load(times.strftime("%y%j").tolist(), date_format="%y%j"), times)
    texts = ["01/01/2013 23:30", "01/01/2013 24:00", "02/01/2013 00:30"]
    same(
        load(texts, date_format="%d/%m/%Y %H:%M"), pd.date_range("2013-01-01 23:30", periods=3, freq="30min")
    )
    offset = [f"{time:%d.%m.%Y %H:%M}+0200" for time in times]
    found = load(offset, date_format="%d.%m.%Y %H:%M%z")
    same(found, times)
    assert not found.utc
    found = load(offset, date_format="%d.%m.%Y %H:%M%z", timezone="Europe/Athens")
    same(found, times - pd.Timedelta("2h"))
    assert found.utc


@pytest.mark.parametrize("form", ["day first", "daycode", "daycode:2009-01-01", "periods:", "DMY"])
def test_unknown_forms_are_refused_with_the_config(form: str) -> None:
    with pytest.raises(ValueError, match="is no form of dates; write dmy"):
        config.Data(date_format=form)


def test_hours_that_count_from_one_begin_an_hour_earlier() -> None:
    times = pd.date_range("2013-01-01", periods=48, freq="h")
    ending = [f"{time:%Y-%m-%d} {time.hour + 1}" for time in times]
    found = load(ending)
    same(found, times)
    assert any("hour 1 begins at 00:00" in note for note in found.notes)
    same(load([f"{time:%Y-%m-%d} {time.hour}" for time in times]), times)
    same(load(ending[:20], date_format="periods:1h"), times[:20])


def test_numbered_periods_of_a_day() -> None:
    times = pd.date_range("2013-01-01", periods=96, freq="30min")
    texts = [f"{time:%d/%m/%Y} {2 * time.hour + time.minute // 30 + 1}" for time in times]
    same(load(texts, date_format="periods:30min"), times)


@pytest.mark.parametrize(("step", "digits"), [("1h", 2), ("30min", 2), ("15min", 2), ("5min", 3)])
def test_day_codes(step: str, digits: int) -> None:
    """Day 195 of CER's count is 14 July 2009; its period 1 begins at midnight."""
    times = pd.date_range("2009-07-14", periods=300, freq=step)
    days = (times.normalize() - pd.Timestamp("2008-12-31")).days
    periods = (times - times.normalize()) // pd.Timedelta(step) + 1
    texts = [f"{day}{period:0{digits}d}" for day, period in zip(days, periods)]
    assert texts[0] == "195" + "1".zfill(digits)
    same(load(texts, date_format=f"daycode:2009-01-01:{step}"), times)


def test_day_codes_of_a_clock_change_are_counted_from_local_midnight() -> None:
    """50 half-hours on 25 October 2009, 46 on 28 March 2010: in UTC nothing is missing."""
    for day, many in ((298, 50), (452, 46)):
        codes = [f"{day}{period:02d}" for period in range(1, many + 1)] + [f"{day + 1}01"]
        found = load(codes, date_format="daycode:2009-01-01:30min", timezone="Europe/Dublin")
        assert found.utc and (np.diff(found.values) == np.timedelta64(30, "m")).all()
        with pytest.raises(UserError, match="in Europe/Dublin; if every day has 48 periods"):
            usual = [f"{day}{period:02d}" for period in range(1, 49)]
            load(usual, date_format="daycode:2009-01-01:30min", timezone="Europe/Dublin")


def test_day_codes_as_cer_ships_them() -> None:
    path = Path(__file__).resolve().parents[3] / "shared" / "cases" / "cer_File1.txt"
    if not path.exists():
        pytest.skip("cer_File1.txt is not in ../shared/cases")
    codes = pd.read_csv(path, sep=" ", header=None, names=["meter", "code", "kwh"], dtype=str)[
        "code"
    ].unique()
    found = load(codes.tolist(), date_format="daycode:2009-01-01:30min")
    same(found, pd.date_range("2009-07-14", periods=48 * 28, freq="30min"))
    with pytest.raises(UserError, match="daycode"):
        load(codes.tolist())


def test_fractions_are_kept_for_resampling() -> None:
    resample = config.Resample(step="1s")
    found = load(["2013-01-01 00:00:00.25", "2013-01-01 00:00:01.5"], resample=resample)
    assert found.values.tolist() == [
        pd.Timestamp(text) for text in ("2013-01-01 00:00:00.25", "2013-01-01 00:00:01.5")
    ]
    found = load(["1357000000.25", "1357000001.5"], resample=resample)
    assert (found.values.astype(np.int64) == [1357000000250000, 1357000001500000]).all()
    with pytest.raises(UserError, match="fraction of a second"):
        load(["1357000000250", "1357000001500"], time_unit="ms")
    with pytest.raises(UserError, match="fraction of a second"):
        load(["2013-01-01 00:00:00.000000001", "2013-01-01 00:00:01.000000000"])


def test_a_time_unit_decides_small_numbers() -> None:
    found = load(["0", "3600", "7200"], time_unit="s")
    same(found, pd.date_range("1970-01-01", periods=3, freq="h"))
    assert found.utc


# ------------------------------------------------------------------------------------------offsets and zones


def test_one_offset_is_kept_as_the_clock_and_noted() -> None:
    times = pd.date_range("2013-01-01", periods=5, freq="h")
    found = load(times.strftime("%Y-%m-%d %H:%M-03:30").tolist())
    same(found, times)
    assert not found.utc and "UTC offset -03:30" in found.notes[0]
    found = load(times.strftime("%Y-%m-%d %H:%M-0330").tolist(), timezone="America/St_Johns")
    same(found, times + pd.Timedelta("3h30min"))
    assert found.utc


@pytest.mark.parametrize("mark", ["+00", "+0000", "+00:00", "Z", " UTC", " GMT", "z", "-00:00"])
def test_marks_of_utc_are_utc(mark: str) -> None:
    times = pd.date_range("2013-01-07", periods=48, freq="h")
    for settings in ({}, {"timezone": "America/Chicago"}):
        found = load((times.strftime("%Y-%m-%d %H:%M:%S") + mark).tolist(), **settings)
        same(found, times)
        assert found.utc


ZONES = ["America/Chicago", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S%z", "%m/%d/%Y %I:%M %p %z", "%d %b %Y %H:%M:%S %z"])
def test_mixed_offsets_become_utc(zone: str, form: str) -> None:
    times = pd.date_range("2018-01-01 00:15", periods=1100, freq="8h", tz="UTC")
    texts = times.tz_convert(zone).strftime(form).tolist()
    short = [re.sub(r"([+-]\d\d)00$", r"\1", text) for text in texts]
    for written in (texts, short):
        found = load(written, timezone=zone)
        same(found, times.tz_localize(None))
        assert found.utc
    found = load(texts)
    if zone != "Asia/Kolkata":
        same(found, times.tz_localize(None))
        assert found.utc and "UTC offsets" in found.notes[-1]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Europe/London", "Australia/Sydney"])
def test_abbreviations_tell_the_passes_of_a_repeated_hour(zone: str) -> None:
    times = pd.date_range("2018-01-01", periods=2 * 8760, freq="30min", tz="UTC")
    local = times.tz_convert(zone)
    found = load(local.strftime("%Y-%m-%d %H:%M %Z").tolist(), timezone=zone)
    same(found, times.tz_localize(None))
    assert found.utc


def test_names_of_zones_that_stand_only_where_hours_repeat() -> None:
    """As ENTSO-E writes the end of daylight saving time."""
    times = pd.date_range("2014-10-25 22:00", periods=10, freq="h", tz="UTC")
    local = times.tz_convert("Europe/Brussels")
    texts = [f"{t:%d/%m/%Y %H:%M:%S}" + (f" ({t:%Z})" if t.hour == 2 else "") for t in local]
    same(load(texts, timezone="Europe/Brussels"), times.tz_localize(None))


@pytest.mark.parametrize("column", ["Time (UTC)", "time_utc", "UTC", "gmt_time"])
def test_a_column_that_is_named_for_utc_holds_utc(column: str) -> None:
    times = pd.date_range("2013-07-01", periods=48, freq="h")
    texts = times.strftime("%Y-%m-%d %H:%M").tolist()
    assert load(texts, column, timezone="Europe/Paris").utc
    assert not load(texts, "time", timezone="Europe/Paris").utc
    same(load(texts, "Time (UTC+02:00)", timezone="Europe/Paris"), times - pd.Timedelta("2h"))


def test_offsets_and_intervals_of_clock_times_are_told_apart() -> None:
    times = pd.date_range("2013-01-01", periods=48, freq="h")
    offset = load(times.strftime("%Y-%m-%d %H:%M-05:00").tolist())
    same(offset, times)
    assert "offset -05:00" in offset.notes[0]
    interval = load(until("%Y-%m-%d %H:%M", "-", "%H:%M")(times))
    same(interval, times)
    assert "intervals of 3600 s" in interval.notes[0]


@pytest.mark.parametrize("mark", ["UTC", "Z", "CET", "(CET)", "+01:00"])
def test_a_zone_at_the_end_of_an_interval_holds_for_its_start(mark: str) -> None:
    times = pd.date_range("2013-01-14", periods=48, freq="h")
    hours = 0 if mark in ("UTC", "Z") else 1
    for form in ("%Y-%m-%d %H:%M", "%H:%M"):
        texts = [f"{text} {mark}" for text in until("%Y-%m-%d %H:%M", " - ", form)(times)]
        found = load(texts, timezone="Europe/Paris")
        same(found, times - pd.Timedelta(hours=hours))
        assert found.utc


def test_intervals_with_names_of_zones_over_a_clock_change() -> None:
    local = pd.date_range("2014-10-25 22:00", periods=8, freq="h", tz="UTC").tz_convert("Europe/Berlin")
    texts = [f"{a:%d/%m/%Y %H:%M:%S (%Z)} - {b:%d/%m/%Y %H:%M:%S (%Z)}" for a, b in pairwise(local)]
    same(load(texts, timezone="Europe/Berlin"), local[:-1].tz_convert("UTC").tz_localize(None))


def test_intervals_over_a_clock_change() -> None:
    local = pd.date_range("2015-03-28 22:00", periods=8, freq="h", tz="UTC").tz_convert("Europe/Berlin")
    texts = [f"{a:%d.%m.%Y %H:%M} - {b:%d.%m.%Y %H:%M}" for a, b in pairwise(local)]
    same(load(texts, timezone="Europe/Berlin"), local[:-1].tz_localize(None))


# ---------------------------------------------------------------------------------------------------- columns


def columns(table: dict, **settings: object) -> list[str]:  # type: ignore[type-arg]
    return find_time_columns(pd.DataFrame(table), config.Data(**settings), Path("a.csv"))  # type: ignore[arg-type]


STAMPS = pd.date_range("2013-01-01", periods=48, freq="h").strftime("%Y-%m-%d %H:%M").tolist()
DATES, HOURS = [text[:10] for text in STAMPS], [int(text[11:13]) for text in STAMPS]


def test_the_time_column_is_found() -> None:
    ids, values = ["0012"] * 48, np.arange(48) / 7
    assert columns({"id": ids, "when": STAMPS, "kwh": values}) == ["when"]
    assert columns({"kwh": values, "from": [f"{text} - {text}" for text in STAMPS]}) == ["from"]
    assert columns({"id": ids, "kwh": values, "epoch": 1357000000 + 3600 * np.arange(48)}) == ["epoch"]
    assert columns({"x": 1357000000 + 3600 * np.arange(48), "kwh": values}) == ["x"]
    assert columns({"a": [20130101 + day for day in range(28)], "kwh": values[:28]}) == ["a"]
    assert columns({"joined": ["2012-05-01"] * 48, "when": STAMPS, "kwh": values}) == ["when"]
    assert columns({"when": pd.to_datetime(STAMPS), "kwh": values}) == ["when"]
    assert columns({"a": STAMPS, "b": STAMPS, "kwh": values}, columns=config.Columns(time="b")) == ["b"]
    ignored = config.Columns(ignore=("a",))
    assert columns({"a": STAMPS, "b": STAMPS, "kwh": values}, columns=ignored) == ["b"]


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        ({"a": [1.5, 2.5], "b": [3, 4]}, {}, "no column reads as times.*data.columns.time"),
        ({"day": ["2013-01", "2013-02"], "b": [3, 4]}, {}, "'day' names months.*NPY"),
        ({"time": [41275.5, 41276.5], "b": [3, 4]}, {}, "'time' holds numbers.*data.date_format=excel"),
        ({"a": STAMPS, "b": STAMPS[::-1]}, {}, "'a' and 'b' both hold times.*data.columns.time.*ignore"),
        ({"a": STAMPS}, {"columns": config.Columns(time="t")}, "data.columns.time 't' is no column"),
        ({"a": STAMPS}, {"columns": config.Columns(time=("a", "t"))}, "data.columns.time 't' is no column"),
        (
            {"date": DATES, "settlement_period": HOURS, "kwh": HOURS},
            {},
            r"no hour|number the periods.*data.date_format=periods:30min|'settlement_period'",
        ),
    ],
)
def test_no_or_several_time_columns_are_one_line(table: dict, settings: dict, message: str) -> None:  # type: ignore[type-arg]
    if "settlement_period" in table:
        table = table | {"settlement_period": np.array(table["settlement_period"]) + 1}
    with pytest.raises(UserError, match=message):
        columns(table, **settings)


@pytest.mark.parametrize(
    ("name", "clock"),
    [
        ("time", [f"{hour:02d}:00" for hour in HOURS]),
        ("Clock Time", [f"{hour}:00-{hour}:59" for hour in HOURS]),
        ("from", [f"{hour:02d}:00:00" for hour in HOURS]),
        ("hour", HOURS),
        ("hour", [float(hour) for hour in HOURS]),
        ("HOUR_ENDING", [hour + 1 for hour in HOURS]),
        ("time(local)", [100 * hour for hour in HOURS]),
        ("hour", [str(hour) for hour in HOURS]),
        ("time", [f"{hour % 12 or 12}:00 {'AP'[hour // 12]}M" for hour in HOURS]),
    ],
)
@pytest.mark.parametrize("date", ["%Y-%m-%d", "%Y-%m-%d 00:00:00", "%d/%m/%Y", "%Y%m%d"])
def test_a_date_and_a_clock_column_are_one_time(name: str, clock: list, date: str) -> None:  # type: ignore[type-arg]
    times = pd.to_datetime(STAMPS)
    table = pd.DataFrame({name: clock, "date": times.strftime(date), "kwh": np.arange(48) / 7, "x": 1.5})
    found = find_time_columns(table, config.Data(), Path("a.csv"))
    assert found == ["date", name]
    same(load(encode_times(table, found)[1]), times)


def test_year_month_and_day_columns_are_one_time() -> None:
    times = pd.date_range("2013-03-01", periods=700, freq="h")
    table = pd.DataFrame({"No": np.arange(700), "year": times.year, "month": times.month, "day": times.day})
    table["hour"], table["PM2.5"] = times.hour, np.arange(700) / 7
    found = find_time_columns(table, config.Data(), Path("a.csv"))
    assert found == ["year", "month", "day", "hour"]
    same(load(encode_times(table, found)[1]), times)


def test_empty_times_stay_empty() -> None:
    days = ["2013-01-01", None, "2013-01-02", "2013-01-01", "2013-01-01"]
    table = pd.DataFrame({"date": days, "hour": [1.0, 2, 1, None, 1]})
    places, texts = encode_times(table, ["date", "hour"])
    assert places.tolist() == [0, -1, 1, -1, 0] and texts == ["2013-01-01 1", "2013-01-02 1"]
    written = written_times(table.set_index([[5, 6, 7, 8, 9]]), ["date", "hour"])
    assert written.isna().tolist() == [False, True, False, True, False] and written[7] == "2013-01-02 1"


def test_what_looks_like_times() -> None:
    settings = config.Data()
    for texts in (STAMPS, ["01/02/2013"], ["1-Jan-13"], ["20130101 0100"], ["2013-01-01T00:00Z"]):
        assert looks_like_times(pd.Series(texts), settings), texts
    for values in (
        ["0012", "0013"],
        ["MAC000002"],
        ["12.5", "1.75"],
        ["12:30", "12:45"],
        [1.5, 2],
        [True, False],
        [],
    ):
        assert not looks_like_times(pd.Series(values, dtype=object), settings), values
    assert looks_like_times(
        pd.Series([19501, 19502], name="time"), config.Data(date_format="daycode:2009-01-01:30min")
    )
    assert looks_like_times(pd.Series(["010113"], name="t"), config.Data(date_format="%d%m%y"))
