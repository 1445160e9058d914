"""One random population in many layouts: equal values, or a refusal that names a setting which reads it."""

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distgan import config
from distgan.data.ingest import Raw, read
from distgan.errors import UserError

HOMES, STEPS = 5, 96


@dataclass
class Layout:
    """How the population is written, and the settings that a refusal may name."""

    separator: str = ","
    decimal: str = "."
    thousands: str = ""
    time: str = "%Y-%m-%d %H:%M"
    zone: str | None = None
    shape: str = "wide"
    encoding: str = "utf-8"
    line: str = "\n"
    digits: int = 3
    scale: float = 1.0
    step: str = "1h"
    header: bool = True
    remedies: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in vars(self).items() if name != "remedies")
        return " ".join(shown)


def population(layout: Layout, seed: int) -> pd.DataFrame:
    """Readings as they will be written: [times, homes], a few missing."""
    rng = np.random.default_rng(seed)
    times = pd.date_range("2013-02-05", periods=STEPS, freq=layout.step)
    values = (layout.scale * rng.gamma(1.5, size=(STEPS, HOMES)) + 0.001).round(layout.digits)
    values[rng.random(values.shape) < 0.01] = np.nan
    return pd.DataFrame(values, times, [f"H{number:03d}" for number in range(HOMES)])


def number(value: float, layout: Layout) -> str:
    if np.isnan(value):
        return ""
    text = f"{value:,.{layout.digits}f}" if layout.thousands else f"{value:.{layout.digits}f}"
    return text.replace(",", "T").replace(".", layout.decimal).replace("T", layout.thousands)


def stamps(times: pd.DatetimeIndex, layout: Layout) -> list[str]:
    if layout.time == "epoch":
        return [str(int(time.timestamp())) for time in times]
    if layout.time == "interval":
        ends = times + pd.Timedelta(layout.step)
        return [f"{start:%d.%m.%Y %H:%M} - {end:%d.%m.%Y %H:%M}" for start, end in zip(times, ends)]
    shown = times if layout.zone is None else times.tz_localize(layout.zone)
    written = [time.strftime(layout.time) for time in shown]
    return [
        re.sub(r"([+-]\d\d)00$", r"\1:00", text) if layout.time.endswith("%z") else text for text in written
    ]


def rows_of(table: pd.DataFrame, layout: Layout) -> list[list[str]]:
    times, names = stamps(pd.DatetimeIndex(table.index), layout), list(table.columns)
    cells = [[number(value, layout) for value in row] for row in table.to_numpy()]
    pairs = list(itertools.product(range(len(times)), range(len(names))))
    if layout.shape == "wide":
        rows = [["time", *names], *([time, *row] for time, row in zip(times, cells))]
    elif layout.shape == "wide, time last":
        rows = [[*names, "time"], *([*row, time] for time, row in zip(times, cells))]
    elif layout.shape == "wide, units":
        rows = [
            ["time", *names],
            ["", *["kWh"] * len(names)],
            *([time, *row] for time, row in zip(times, cells)),
        ]
    elif layout.shape == "wide, title":
        rows = [["Readings of a year"], ["time", *names], *([time, *row] for time, row in zip(times, cells))]
    elif layout.shape == "long by id":
        pairs.sort(key=lambda pair: pair[1])
        rows = [
            ["meter", "time", "kwh"],
            *([names[home], times[step], cells[step][home]] for step, home in pairs),
        ]
    elif layout.shape == "long by time":
        rows = [
            ["time", "kwh", "meter"],
            *([times[step], cells[step][home], names[home]] for step, home in pairs),
        ]
    elif layout.shape == "long, tariff":
        rows = [
            ["tariff", "meter", "kwh", "time"],
            *([f"T{home % 2}", names[home], cells[step][home], times[step]] for step, home in pairs),
        ]
    elif layout.shape == "long, numbered":
        rows = [
            ["time", "meter", "kwh"],
            *([times[step], str(home), cells[step][home]] for step, home in pairs),
        ]
    elif layout.shape == "long, shuffled":
        order = np.random.default_rng(0).permutation(len(pairs)).tolist()
        rows = [["meter", "time", "kwh"]]
        rows += [
            [names[home], times[step], cells[step][home]] for step, home in (pairs[place] for place in order)
        ]
    elif layout.shape == "transposed":
        rows = [["meter", *times], *([name, *column] for name, column in zip(names, zip(*cells)))]
    else:
        assert layout.shape == "day_wide"
        days = range(0, len(times), 24)
        clocks = [time.split(" ")[1] for time in times[:24]]
        rows = [["meter", "date", *clocks]]
        for home, day in itertools.product(range(len(names)), days):
            values = [cells[step][home] for step in range(day, day + 24)]
            rows.append([names[home], times[day].split(" ")[0], *values])
    return rows if layout.header else rows[1:]


def write(table: pd.DataFrame, layout: Layout, path: Path) -> None:
    lines = []
    for row in rows_of(table, layout):
        quoted = [f'"{cell}"' if layout.separator in cell else cell for cell in row]
        lines.append(layout.separator.join(quoted))
    path.write_bytes((layout.line.join(lines) + layout.line).encode(layout.encoding))


def compare(raw: Raw, table: pd.DataFrame, layout: Layout) -> None:
    names = list(table.columns)
    if not layout.header and layout.shape.startswith("wide"):
        names = [f"column{number}" for number in range(2, HOMES + 2)]
    if layout.shape == "long, numbered":
        names = [str(number) for number in range(HOMES)]
    order = [raw.entities.index(name) for name in names]
    np.testing.assert_allclose(raw.values[order, :, 0], table.to_numpy().T, rtol=1e-6, err_msg=str(layout))
    step = int(pd.Timedelta(layout.step).total_seconds())
    assert (raw.meta.axis.start, raw.meta.axis.step_seconds) == ("2013-02-05T00:00:00", step), layout


SETTING = re.compile(r"data\.([a-z_.]+)(?:=('[^']*'|\[[^\]]*\]|[^\s,;:)]+))?")


def remedies(message: str) -> list[dict[str, Any]]:
    """The settings that a refusal names, each with the value that it gives."""
    found = []
    for key, value in SETTING.findall(message):
        if value:
            section, _, name = key.rstrip(".").partition(".")
            shown = value.strip("'")
            plain = shown.strip("[]").split(",") if shown.startswith("[") else shown
            found.append({section: {name: plain}} if name else {section: plain})
    return found


LAYOUTS: list[Layout] = [
    *(
        Layout(separator=mark, decimal=point)
        for mark in ",;\t|"
        for point in ".,"
        if not (mark == point == ",")
    ),
    *(Layout(separator=mark, shape="long by id") for mark in ",;\t| "[:4]),
    Layout(separator=" ", time="%Y-%m-%dT%H:%M", shape="long by id"),
    *(
        Layout(";", point, mark, scale=2000.0, digits=digits)
        for point, mark in ((",", "."), (".", ","), (",", " "), (".", "'"), (",", "\u00a0"), (",", "\u202f"))
        for digits in (0, 2)
    ),
    Layout(",", ".", ",", scale=2000.0, digits=1),
    Layout(",", ".", ",", scale=2000.0, digits=0, shape="long by time"),
    Layout(";", ",", digits=3, scale=3.0),
    Layout(";", ".", digits=3, scale=50.0),
    *(
        Layout(time=form, shape=shape)
        for shape in ("wide", "long by time")
        for form in (
            "%d/%m/%Y %H:%M",
            "%m/%d/%Y %H:%M",
            "%d.%m.%Y %H:%M",
            "%Y-%m-%dT%H:%M:%S",
            "%Y%m%d %H%M",
            "%m/%d/%Y %I:%M %p",
            "%d-%b-%y %H:%M",
            "epoch",
            "interval",
        )
    ),
    *(Layout(time="%Y-%m-%d %H:%M%z", zone=zone) for zone in ("UTC", "Etc/GMT-1", "America/Bogota")),
    *(
        Layout(shape=shape)
        for shape in (
            "wide, time last",
            "wide, units",
            "wide, title",
            "long by time",
            "long, tariff",
            "long, numbered",
            "long, shuffled",
            "transposed",
            "day_wide",
        )
    ),
    *(Layout(";", ",", shape=shape) for shape in ("long, tariff", "day_wide", "transposed", "wide, units")),
    *(Layout(encoding=name) for name in ("utf-8-sig", "utf-16", "utf-16-le")),
    *(Layout(line=end) for end in ("\r\n", "\r")),
    Layout(line="\r", shape="long by time"),
    *(Layout(step=step) for step in ("15min", "30min", "1d")),
    *(Layout(header=False, shape=shape) for shape in ("wide", "long by id", "long by time")),
    Layout(";", ",", header=False),
]


@pytest.mark.parametrize("place", range(len(LAYOUTS)))
def test_a_layout_is_read_back_or_refused_with_the_setting_that_reads_it(tmp_path: Path, place: int) -> None:
    layout = LAYOUTS[place]
    table = population(layout, place)
    path = tmp_path / "a.csv"
    write(table, layout, path)
    given: dict[str, Any] = {"source": str(path), "max_missing": 0.5}
    try:
        raw = read(config.Data.model_validate(given))
    except UserError as error:
        message = str(error)
    else:
        compare(raw, table, layout)
        return
    named = remedies(message)
    assert named, message
    reasons = []
    for remedy in named:
        try:
            raw = read(config.Data.model_validate(given | remedy))
            compare(raw, table, layout)
            return
        except (UserError, AssertionError, ValueError) as error:
            reasons.append(f"{remedy}: {error}")
    raise AssertionError(f"{layout}: {message}; none of its settings reads the values: {reasons}")


def test_there_are_forty_layouts() -> None:
    assert len({str(layout) for layout in LAYOUTS}) >= 40
