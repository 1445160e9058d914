"""Times as written are read exactly, or refused with the setting that decides; never a third outcome."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.errors import UserError
from tests.helpers.times import FORMS, YEAR, load, same


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
        start = pd.Timestamp("1999-12-01") + pd.Timedelta(hours=24 * int(rng.integers(10_500)))
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


def test_years_of_two_digits_over_the_turn_of_the_century() -> None:
    times = pd.date_range("1999-12-20", periods=600, freq="h")
    same(load([time.strftime("%d/%m/%y %H:%M") for time in times]), times)
    same(load([time.strftime("%y-%m-%d %H:%M") for time in times], date_format="ymd"), times)


@pytest.mark.parametrize("year", ["30", "45", "68"])
def test_years_of_two_digits_that_may_be_of_two_centuries_are_refused(year: str) -> None:
    texts = [f"{day:02}/03/{year} 00:00" for day in range(1, 29)]
    with pytest.raises(UserError, match=f"which is 20{year} by POSIX and 19{year} by Excel"):
        load(texts, date_format="dmy")
    same(load(texts, date_format="%d/%m/%y %H:%M"), pd.date_range(f"20{year}-03-01", periods=28))


def test_years_of_two_digits_that_fall_into_two_centuries_are_refused() -> None:
    texts = [f"{day:02}/12/68" for day in range(20, 32)] + [f"{day:02}/01/69" for day in range(1, 20)]
    with pytest.raises(UserError, match="of the year 2068 as %y has it, and others are of 1969"):
        load(texts, date_format="%d/%m/%y")


def test_seconds_since_another_moment_are_not_read_as_those_since_1970() -> None:
    times = pd.date_range("2013-01-01", periods=48, freq="h")
    texts = [str(int((time - pd.Timestamp("1904-01-01")).total_seconds())) for time in times]
    with pytest.raises(UserError, match=r"is a number of unknown unit; set data\.time_unit=s"):
        load(texts)
    same(load(texts, time_unit="s"), times + (pd.Timestamp("1970-01-01") - pd.Timestamp("1904-01-01")))


EARLY = pd.date_range("2023-01-10", periods=4, freq="h")


@pytest.mark.parametrize(
    ("since", "per_second", "unit"),
    [
        ("2000-01-01", 1, "s"),  # ZigBee
        ("2001-01-01", 1, "s"),  # Apple
        ("2001-01-01", 1000, "ms"),
        ("0001-01-01", 10**7, "ns"),  # .NET
    ],
)
def test_counts_of_another_beginning_are_no_times_of_before_1996(
    since: str, per_second: int, unit: str
) -> None:
    elapsed = (EARLY.to_numpy().astype("M8[s]") - np.datetime64(since, "s")).astype(np.int64)
    texts = [str(each * per_second) for each in elapsed.tolist()]
    with pytest.raises(
        UserError, match=rf"may be {unit} since 1970, in 199\d, or .*set data.time_unit={unit} if"
    ):
        load(texts)
    load(texts, time_unit=unit)
    later = [str(int(time.timestamp())) for time in EARLY]
    same(load(later), EARLY)


@pytest.mark.parametrize(("per_second", "unit"), [(1, "s"), (1000, "ms")])
def test_counts_since_1960_are_no_times_that_are_still_to_come(per_second: int, unit: str) -> None:
    elapsed = (EARLY.to_numpy().astype("M8[s]") - np.datetime64("1960-01-01", "s")).astype(np.int64)
    texts = [str(each * per_second) for each in elapsed.tolist()]
    with pytest.raises(UserError, match=r"in 2033, or .* since 1960 \(2023\), as SAS and Stata count"):
        load(texts)
    same(load(texts, time_unit=unit), EARLY + pd.Timedelta(days=3653))


@pytest.mark.parametrize(("per_second", "unit"), [(1, "s"), (1000, "ms")])
@pytest.mark.parametrize("name", ["gps_time", "GPS", "time_gps"])
def test_counts_of_gps_are_no_times_since_1970(per_second: int, unit: str, name: str) -> None:
    elapsed = (EARLY.to_numpy().astype("M8[s]") - np.datetime64("1980-01-06", "s")).astype(np.int64) + 18
    texts = [str(each * per_second) for each in elapsed.tolist()]
    with pytest.raises(UserError, match=rf"may be {unit} since 1970, in 2013, or .* since 1980 .*\(2023\)"):
        load(texts, column=name)
    load(texts, time_unit=unit, column=name)
    load(texts, column="epoch")
    since_1970 = [str(int(time.timestamp()) * per_second) for time in EARLY]  # as GPS counts, of 2033
    same(load(since_1970, column=name), EARLY)


def test_dates_without_century_are_no_times_that_are_still_to_come() -> None:
    days = pd.date_range("2023-03-01", periods=20, freq="D")
    texts = [f"{day:%y%m%d%H%M}" for day in days]
    with pytest.raises(UserError, match=r"in 2042, .* a date without its century \(%y%m%d%H%M\)"):
        load(texts)
    same(load(texts, date_format="%y%m%d%H%M"), days)


def exchange_days(times: pd.DatetimeIndex) -> list[str]:
    """Return stamps as a program writes them that reads 02/01 as 1 February, and 13/01 as 13 January."""
    turned = [each.replace(month=each.day, day=each.month) if each.day <= 12 else each for each in times]
    return [f"{each:%Y-%m-%d %H:%M}" for each in turned]


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_year_with_exchanged_days_and_months_is_refused(newest_first: bool) -> None:
    times = pd.date_range("2023-01-01", "2023-12-31 12:00", freq="12h")
    stamps = exchange_days(times)
    assert sorted(stamps) == [f"{each:%Y-%m-%d %H:%M}" for each in times]  # no stamp is missing
    with pytest.raises(UserError, match=r"2023-0[12]-\d\d for 2023-.*: a program has read days as months"):
        load(stamps[::-1] if newest_first else stamps)
    same(load(sorted(stamps)), times)


def test_rows_in_another_order_are_no_exchanged_days() -> None:
    times = pd.date_range("2023-01-01", periods=365, freq="D")
    mixed = pd.DatetimeIndex(np.random.default_rng(0).permutation(times))
    by_day = times[np.argsort(times.day, kind="stable")]
    for order in (mixed, by_day, times[::-1]):
        same(load([f"{each:%Y-%m-%d}" for each in order]), order)
