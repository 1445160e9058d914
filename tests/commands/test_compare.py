"""Two files judged alone, and runs side by side."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import cli, config
from distgan.arguments import open_files
from distgan.commands import evaluate_files
from distgan.data import ingest
from distgan.errors import UserError
from distgan.evaluation.plots.catalogue import Drawings
from distgan.evaluation.report import comparison, writer
from distgan.evaluation.report.verdict import COPIER, MODEL
from distgan.evaluation.results import Facts, Findings, Report
from tests.helpers.fidelity import judge_sets
from tests.helpers.households import population

DAYS = 14


def table(
    place: Path, homes: int, seed: int, *, hours: int = 24 * DAYS, start: str = "2013-01-07", step: str = "h"
):
    frame = population(homes, hours, seed)
    frame["timestamp"] = pd.date_range(start, periods=hours, freq=step)
    frame.to_csv(place, index=False)
    return place


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("two")
    real, made = table(place / "real.csv", 20, 0), table(place / "made.csv", 9, 1)
    arguments = ["--real", str(real), "--synthetic", str(made), "--out", str(place / "out")]
    cli.run_command(["evaluate", *arguments, "data.units=kWh", "evaluate.real_curves=false"])
    return place


def test_two_files_get_a_report_that_says_what_is_not_known(judged: Path) -> None:
    content = json.loads((judged / "out" / "report.json").read_text())
    facts, n = content["facts"], content["fidelity"]["n"]
    assert (n["train"], n["held_out"], n["reference"], n["synthetic"]) == (13, 6, 1, 9)
    assert facts["unit"] == "kWh" and facts["groups"] is None and len(facts["unknown"]) == 2
    assert facts["splits"]["train"] == {"series": 13, "entities": 13, "owners": 13}
    copies = [each["text"] for each in content["fidelity"]["verdict"] if each["topic"] == "copies"]
    assert len(copies) == 1 and "are 13 real ones of the file here" in copies[0]  # not what was trained on
    text = (judged / "out" / "report.html").read_text()
    assert "What is not known" in text and "never trained on" not in text
    assert not list((judged / "out").rglob("*.zarr"))
    assert "home-0" not in text + json.dumps(content)


def write_offset(place: Path, mark: str, column: str = "timestamp") -> str:
    frame = population(6, 24 * DAYS, 0)
    frame["timestamp"] = pd.date_range("2013-01-07", periods=len(frame), freq="h").strftime(f"%FT%T{mark}")
    frame.rename(columns={"timestamp": column}).to_csv(place, index=False)
    return str(place)


def write_units(place: Path, units: str) -> str:
    frame = population(6, 24 * DAYS, 0).drop(columns="timestamp")
    times = pd.date_range("2013-01-07", periods=24 * DAYS, freq="h")
    xarray = pytest.importorskip("xarray")
    data = xarray.Dataset(
        {"load": (("home", "time"), frame.to_numpy().T, {"units": units})},
        coords={"home": list(frame.columns), "time": times},
    )
    data.to_netcdf(place, engine="h5netcdf")
    return str(place)


def test_files_whose_numbers_mean_something_else_are_refused(tmp_path: Path) -> None:
    kilo, plain = write_units(tmp_path / "a.nc", "kWh"), write_units(tmp_path / "b.nc", "Wh")
    with pytest.raises(UserError, match=r"a\.nc has values in kWh, .*b\.nc in Wh; convert one"):
        evaluate_files.run(open_files(kilo, plain, out=str(tmp_path / "out")))
    utc, there = write_offset(tmp_path / "utc.csv", "Z"), write_offset(tmp_path / "there.csv", "+05:00")
    head = write_offset(tmp_path / "head.csv", "", "time (UTC+05:00)")
    for real, made in ((utc, there), (utc, head), (kilo, there)):
        with pytest.raises(UserError, match=r"has times in UTC.* in UTC\+05:00; bring both to one clock"):
            evaluate_files.run(open_files(real, made, out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()
    read = [ingest.read(config.Data(source=path)).meta for path in (utc, kilo, there, head)]
    for one, two in (read[:2], read[2:]):
        evaluate_files.refuse_other_meaning("a", one, "b", two)  # of one clock


def test_real_values_that_mean_something_else_are_refused(judged: Path, tmp_path: Path) -> None:
    """As `prepare` refuses them: codes for missing values, sums of all others, flags."""
    plain = pd.read_csv(judged / "real.csv")
    homes = list(plain.columns[1:])
    coded = plain.copy()
    coded.loc[5:9, homes[:2]] = -9999
    tables = {
        "sentinel": coded,
        "totals": plain.assign(total=plain[homes].sum(axis=1)),
        "flags": plain.assign(quality=np.arange(len(plain)) % 2),
    }
    for name, frame in tables.items():
        path = tmp_path / f"{name}.csv"
        frame.to_csv(path, index=False)
        files = [str(path), str(judged / "made.csv")]
        options = open_files(*files, out=str(tmp_path / "out"))
        with pytest.raises(UserError, match=rf"{name}\.csv: {name}: .*set data.accept=\[{name}\]"):
            evaluate_files.read_series(options, is_real=True)
        assert len(evaluate_files.read_series(options, is_real=False).entities) == 9
        accepted = open_files(*files, [f"data.accept=[{name}]"], out=str(tmp_path / "out"))
        assert len(evaluate_files.read_series(accepted, is_real=True).entities) == frame.shape[1] - 1
    turned = open_files(str(judged / "made.csv"), str(tmp_path / "sentinel.csv"), out=str(tmp_path / "out"))
    assert np.nanmin(evaluate_files.read_series(turned, is_real=False).values) == -9999  # what is judged


def test_two_files_are_scored_as_their_arrays_are(judged: Path) -> None:
    """Known answer: the same series straight into `fidelity.evaluate`, with the split that was made."""
    frames = [
        pd.read_csv(judged / name).iloc[:, 1:].to_numpy("f4").T[..., None]
        for name in ("real.csv", "made.csv")
    ]
    splits = evaluate_files.assign_splits(
        [f"home-{i:03d}" for i in range(20)], evaluate_files.config.Splits(), 0
    )
    real = {name: frames[0][splits == name] for name in ("train", "held_out", "reference")}
    expected = judge_sets(real["train"], real["held_out"], frames[1], real["reference"], steps_per_day=24)
    found = json.loads((judged / "out" / "report.json").read_text())["fidelity"]
    for one, two in zip(found["rows"], expected.rows):
        assert one["values"] == pytest.approx(two.values, abs=1e-5, nan_ok=True), one["name"]


def test_arrays_without_times_stand_beside_a_table(judged: Path, tmp_path: Path) -> None:
    values = pd.read_csv(judged / "made.csv").iloc[:, 1:].to_numpy("f4").T
    np.save(tmp_path / "made.npy", values)
    files = [str(judged / "real.csv"), str(tmp_path / "made.npy")]
    options = open_files(*files, ["evaluate.pictures=false"], out=str(tmp_path / "out"))
    assert "| Spectrum" in evaluate_files.run(options).text
    unknown = json.loads((tmp_path / "out" / "report.json").read_text())["facts"]["unknown"]
    assert unknown[-1] == "Times of the synthetic series: the file gives none."


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"hours": 24 * 10}, "has series of 336 steps, .*other.csv series of 240 steps"),
        ({"step": "30min"}, "has steps of 3600 s, .*other.csv steps of 1800 s"),
        ({"start": "2014-01-06"}, "has times from 2013-01-07T00:00:00, .*other.csv times from 2014-01-06"),
    ],
)
def test_files_that_do_not_fit_are_one_line(judged: Path, tmp_path: Path, other: dict, words: str) -> None:
    made = table(tmp_path / "other.csv", 4, 1, **other)
    with pytest.raises(UserError, match=words):
        evaluate_files.run(open_files(str(judged / "real.csv"), str(made), out=str(tmp_path)))
    assert not (tmp_path / "report.json").exists()


def test_a_file_in_the_place_of_the_report_is_refused_before_the_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(UserError, match=r"report\.html: .*out is a file, not a folder"):
        open_files("absent.csv", "absent.csv", out=str(tmp_path / "out"))


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on the same data: one honest, one that copies a training series for each of its own."""
    place = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    day = 1 + np.sin(2 * np.pi * np.arange(24 * DAYS) / 24)
    series = (rng.lognormal(0, 0.4, (30, 1)) * day * rng.gamma(8, 1 / 8, (30, 24 * DAYS)))[..., None].astype(
        "f4"
    )
    train, held_out, honest = series[:10], series[10:20], series[20:]
    for name, made, steps in (("honest", honest, 100), ("copier", train, 200)):
        results = judge_sets(train, held_out, made)
        facts = Facts(name, length=24 * DAYS, settings={"train.steps": steps, "model.name": "multiscale"})
        page, scores = place / name / "report.html", place / name / "report.json"
        writer.write_report(page, scores, Findings(fidelity=results), facts, Drawings())
    return place


@pytest.fixture
def runs(reported: Path, tmp_path: Path) -> list[Path]:
    return [Path(shutil.copytree(reported / name, tmp_path / name)) for name in ("honest", "copier")]


def test_runs_stand_side_by_side(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.run_command(["compare", *map(str, runs), "--out", str(tmp_path / "both.html")])
    printed = capsys.readouterr().out.splitlines()
    head = [cell.strip() for cell in printed[0].strip("|").split("|")]
    assert head[:3] == ["score", "honest", "copier"] and "held-out real" in head
    copies = next(line for line in printed if line.startswith("| Near copies of training"))
    assert [cell.strip() for cell in copies.strip("|").split("|")][1:3] == ["**0**", "1"]
    text = (tmp_path / "both.html").read_text()
    assert "<td>100</td><td>200</td>" in text and "model.name" not in text
    assert "http" not in text.replace("http-equiv", "") and "<script" not in text


def test_a_comparison_as_json_holds_the_reports(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "both.html"
    cli.run_command(["compare", *map(str, runs), "--out", str(page), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["page"] == str(page)
    assert found["runs"] == {run.name: json.loads((run / "report.json").read_text()) for run in runs}


def test_the_same_numbers_as_in_the_reports(runs: list[Path]) -> None:
    contents = {run.name: json.loads((run / "report.json").read_text()) for run in runs}
    reports = {name: Report.from_json(content, name) for name, content in contents.items()}
    for line in comparison.make_lines(reports):
        for cell, content in zip(line.runs, contents.values()):
            row = next(row for row in content["fidelity"]["rows"] if row["name"] == MODEL)
            assert cell.value == row["values"][line.name]
        floor = next(row for row in content["fidelity"]["rows"] if row["name"] == COPIER)
        assert floor["values"][line.name] == next(c for c in line.baselines if c.row == COPIER).value


def change(run: Path, edit) -> None:
    content = json.loads((run / "report.json").read_text())
    edit(content)
    (run / "report.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda c: c.update(schema="distgan.report/3"),
            "copier has a report of format distgan.report/3, not distgan.report/5; run distgan evaluate",
        ),
        (lambda c: c["facts"].update(length=8760), "other data, length 336 against 8760"),
        (
            lambda c: c["facts"]["splits"].update(train={"series": 13, "entities": 13, "owners": 9}),
            r"other data, splits none against \(train 13 of 9 owners\)$",
        ),
        (lambda c: c["fidelity"]["n"].update(compared=3), "5 series at a time were compared against 3"),
        (lambda c: c["fidelity"]["rows"][2]["values"].update(spectrum=9), "their baselines differ"),
    ],
)
def test_reports_that_cannot_be_compared_are_one_line(
    runs: list[Path], tmp_path: Path, edit, words: str
) -> None:
    change(runs[1], edit)
    with pytest.raises(UserError, match=words):
        cli.run_command(["compare", *map(str, runs), "--out", str(tmp_path / "both.html")])
    assert not (tmp_path / "both.html").exists()


def test_compare_wants_two_different_runs_with_reports(runs: list[Path], tmp_path: Path) -> None:
    for given, words in (
        (runs[:1], "needs two runs or more"),
        ([runs[0], runs[0]], "given twice"),
        ([runs[0], tmp_path / "none"], f"there is no folder {tmp_path / 'none'}; give a run folder"),
    ):
        with pytest.raises(UserError, match=words):
            cli.run_command(["compare", *map(str, given)])


def test_an_export_has_no_report_to_compare(runs: list[Path], tmp_path: Path) -> None:
    for name in ("config.yaml", "model.safetensors"):
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match="is an export, which has no stages"):
        cli.run_command(["compare", str(runs[0]), str(tmp_path)])


def test_no_page_replaces_data_or_the_report_of_a_run(runs: list[Path], tmp_path: Path) -> None:
    mine = tmp_path / "homes.csv"
    mine.write_text("time,H1")
    for out, words in (
        (mine, "must end with .html"),
        (runs[0] / "report.html", "is a page of a run that is compared"),
    ):
        with pytest.raises(UserError, match=words):
            cli.run_command(["compare", *map(str, runs), "--out", str(out)])
    assert mine.read_text() == "time,H1"
    (tmp_path / "config.yaml").write_text("seed: 1")
    with pytest.raises(UserError, match="is a run folder, with a report of its own"):
        open_files(str(mine), str(mine), out=str(tmp_path))


def test_a_report_of_earlier_series_is_said_to_be(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs[0] / "config.yaml").write_text("seed: 1")  # of a run whose stages are due
    cli.run_command(["compare", *map(str, runs), "--out", str(tmp_path / "both.html")])
    said = capsys.readouterr().out
    assert f"the report of {runs[0]} is of earlier series" in said and f"report of {runs[1]}" not in said


def test_of_large_files_a_sample_is_read_and_stated(judged: Path, tmp_path: Path) -> None:
    """Of each split and of the synthetic file at most six are read; the counts are those of the files."""
    files = [str(judged / "real.csv"), str(judged / "made.csv")]
    chosen = ["evaluate.max_series=6", "evaluate.pictures=false"]
    options = open_files(*files, chosen, out=str(tmp_path / "out"))
    assert len(evaluate_files.read_series(options, is_real=True).values) == 6 + 6 + 1
    assert len(evaluate_files.read_series(options, is_real=False).values) == 6
    content = evaluate_files.run(options).tree
    n = content["fidelity"]["n"]
    assert (n["train"], n["held_out"], n["reference"], n["synthetic"]) == (13, 6, 1, 9)
    assert content["facts"]["splits"]["train"]["series"] == 13
    said = [sentence["text"] for sentence in content["fidelity"]["verdict"]]
    wanted = "The scores compare 6 of the 13 training series and 6 of the 9 synthetic series, drawn at random"
    assert any(text.startswith(wanted) for text in said)
