"""What is written in a rarer way is read by the setting that a refusal names."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import Raw, read
from distgan.errors import UserError

STEPS = 72
TIMES = pd.date_range("2013-02-26 12:00", periods=STEPS, freq="h")
READINGS = np.random.default_rng(0).gamma(2, size=(STEPS, 2)).round(3) + 0.001
ISO = [f"{time:%Y-%m-%d %H:%M}" for time in TIMES]
MONTHS = {
    "de": ("Februar", "März"),
    "fr": ("févr.", "mars"),
    "it": ("febbraio", "marzo"),
    "nl": ("feb", "mrt"),
    "pl": ("lutego", "marca"),
    "pt": ("Fev", "Mar"),
    "fi": ("helmikuuta", "maaliskuuta"),
}


def table(stamps: list[str], name: str = "time", form: str = "{:.3f}") -> str:
    rows = (";".join([stamp, *(form.format(value) for value in row)]) for stamp, row in zip(stamps, READINGS))
    return "\n".join([f"{name};H1;H2", *rows]) + "\n"


def long_table() -> str:
    rows = (
        f"{home},{time},{value:.3f}"
        for home, column in zip("ab", READINGS.T)
        for time, value in zip(ISO, column)
    )
    return "\n".join(["id,time,kwh", *rows]) + "\n"


def load(text: str, place: Path, **settings: Any) -> Raw:
    (place / "table.csv").write_text(text, encoding="utf-8")
    return read(config.Data.model_validate({"source": str(place / "table.csv")} | settings))


def assert_read(found: Raw, readings: np.ndarray = READINGS) -> None:
    assert found.meta.axis.list_times()[0] == np.datetime64("2013-02-26T12:00")
    np.testing.assert_array_equal(found.values[:, :, 0], readings.T.astype(np.float32))


@pytest.mark.parametrize("language", MONTHS)
def test_months_of_another_language(tmp_path: Path, language: str) -> None:
    stamps = [f"{time.day}. {MONTHS[language][time.month - 2]} {time:%Y %H:%M}" for time in TIMES]
    with pytest.raises(UserError, match=r"set data.date_locale=[a-z]{2}"):
        load(table(stamps), tmp_path)
    assert_read(load(table(stamps), tmp_path, date_locale=language))


def test_months_in_spanish_with_prepositions(tmp_path: Path) -> None:
    names = ("febrero", "marzo")
    stamps = [f"{time.day} de {names[time.month - 2]} de {time:%Y %H:%M}" for time in TIMES]
    assert_read(load(table(stamps), tmp_path, date_locale="es"))


def test_a_wrong_language_is_refused(tmp_path: Path) -> None:
    stamps = [f"{time.day}. {MONTHS['fi'][time.month - 2]} {time:%Y %H:%M}" for time in TIMES]
    with pytest.raises(UserError, match="date_locale=fi"):
        load(table(stamps), tmp_path, date_locale="de")


def test_a_table_with_a_column_of_dates_in_words_and_one_of_clock_times(tmp_path: Path) -> None:
    stamps = [f"{time.day} {MONTHS['fr'][time.month - 2]} {time:%Y;%H:%M}" for time in TIMES]
    assert_read(
        load(table(stamps, "jour;heure"), tmp_path, date_locale="fr", columns={"time": ("jour", "heure")})
    )


FOOTERS = {
    "Total;123.4;55\n": 1,
    "\nSource: Statistik Austria\n": 1,
    "Total;1;2\nMean;1;2\n\n(c) 2013\n": 3,
    "Summe 2013\n": 1,
}


@pytest.mark.parametrize("footer", FOOTERS)
def test_lines_below_a_table(tmp_path: Path, footer: str) -> None:
    with pytest.raises(UserError, match=rf"set data.skip_footer={FOOTERS[footer]} "):
        load(table(ISO) + footer, tmp_path)
    assert_read(load(table(ISO) + footer, tmp_path, skip_footer=FOOTERS[footer]))


@pytest.mark.parametrize("footer", ["Total,,999\n", "(144 rows)\n"])
def test_lines_below_a_long_table(tmp_path: Path, footer: str) -> None:
    with pytest.raises(UserError, match=r"set data.skip_footer=1"):
        load(long_table() + footer, tmp_path)
    assert_read(load(long_table() + footer, tmp_path, skip_footer=1))


@pytest.mark.parametrize("end", ["2013-03-01 12", "2013-03-01 12:00;1"])
def test_a_file_that_is_cut_off_has_no_footer(tmp_path: Path, end: str) -> None:
    with pytest.raises(UserError, match="cut off"):
        load(table(ISO) + end, tmp_path)


def test_a_footer_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"73 lines.*data.skip_footer leaves out 99"):
        load(table(ISO), tmp_path, skip_footer=99)


COUNTS = {"excel": (25569, 6), "matlab": (719529, 8), "julian": (2440587.5, 6), "mjd": (40587, 5)}
COUNTS["days:1900-01-01"] = (25567, 7)


@pytest.mark.parametrize("form", COUNTS)
@pytest.mark.parametrize("name", ["time", "day"])
def test_times_that_are_numbers_of_days(tmp_path: Path, form: str, name: str) -> None:
    first, decimals = COUNTS[form]
    days = (TIMES - pd.Timestamp(0)) / pd.Timedelta("1D") + first
    text = table([f"{day:.{decimals}f}" for day in days], name)
    with pytest.raises(UserError, match=form.split(":")[0]):
        load(text, tmp_path)
    assert_read(load(text, tmp_path, date_format=form))


def test_days_since_a_date_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no date"):
        load(
            table([f"{41331 + hour / 24:.6f}" for hour in range(STEPS)]),
            tmp_path,
            date_format="days:1900-02-31",
        )


def test_lines_in_quotes_as_a_whole(tmp_path: Path) -> None:
    text = "".join(f'"{line}"\n' for line in table(ISO).splitlines())
    with pytest.raises(UserError, match="each line stands in quotes as a whole"):
        load(text, tmp_path)


def test_the_minus_sign_of_typography(tmp_path: Path) -> None:
    text = table(ISO, form="\u2212{:.3f}")
    assert_read(load(text, tmp_path), -READINGS)
    assert_read(load(text.replace(".", ","), tmp_path), -READINGS)


def test_thousands_as_written_in_india(tmp_path: Path) -> None:
    cells = ["12,34,567", "1,23,456.5", "99", "5,000", "1,00,00,000", "1,234,567"] * (STEPS // 6)
    expected = np.array([1234567, 123456.5, 99, 5000, 10000000, 1234567] * (STEPS // 6), np.float32)
    text = "time;H1;H2\n" + "".join(f"{time};{cell};1.25\n" for time, cell in zip(ISO, cells))
    found = load(text, tmp_path, unusable="drop")
    np.testing.assert_array_equal(found.values[0, :, 0], expected)
