"""`distgan inspect FILE`, the first lines of `prepare`, and what is refused before anything is trained."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import cli, config
from distgan.anonymity.groups import GroupedSeries, merge_small_groups
from distgan.data import ingest
from distgan.data.formats.understood import Understood
from distgan.data.splits import assign_splits
from distgan.data.store.reader import Store
from distgan.errors import UserError
from distgan.evaluation.report import writer
from distgan.evaluation.results import Facts
from distgan.pipeline import early_checks, prepare, source_summary
from distgan.run import Run
from distgan.train import train
from tests.helpers.households import population
from tests.helpers.settings import TINY

HOMES = 60


def write(path: Path, table: pd.DataFrame) -> Path:
    table.to_csv(path, index=False)
    return path


@pytest.fixture
def stuck_csv(tmp_path: Path) -> Path:
    table = population(HOMES, 24 * 28)
    table.iloc[100:340, 5] = 0.31
    return write(tmp_path / "homes.csv", table)


# ------------------------------------------------------------------------------------------------- inspect


def test_inspect_says_what_was_read(stuck_csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = population(HOMES, 24 * 28).drop(columns="timestamp").to_numpy().copy()
    values[100:340, 4] = 0.31
    cli.run_command(["inspect", str(stuck_csv)])
    said = capsys.readouterr().out
    for words in (
        "series     60 of 672 steps, of 60 owners (ids ho…, ho…, ho…)",
        "time       2013-01-07T00:00:00 to 2013-02-03T23:00:00, every 1 h",
        f"values     {np.nanmin(values):.6g} to {np.nanmax(values):.6g}, median",
        f"{np.isnan(values).mean():.2%} missing",
        "warning    stuck: 1 of 60 series repeat one value for 3 days or longer",
        "hint       lower_limit",
        "for the owner of the data only",
    ):
        assert words in said, (words, said)
    assert not re.search(r"home-\d", said)


def test_values_are_those_of_the_source_before_steps_are_merged(
    stuck_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.run_command(["inspect", str(stuck_csv), "data.units=kWh"])
    plain = capsys.readouterr().out
    cli.run_command(["inspect", str(stuck_csv), "data.units=kWh", "data.reduce.factor=2"])
    merged = capsys.readouterr().out
    (values,) = (line[11:] for line in plain.splitlines() if line.startswith("values "))
    assert f"values     before data.reduce: {values}\n" in merged


def test_inspect_as_json(stuck_csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run_command(["inspect", str(stuck_csv), "data.units=kWh per 4 h", "--json"])
    tree = json.loads(capsys.readouterr().out)
    assert (tree["series"], tree["steps"], tree["step_seconds"]) == (60, 672, 3600)
    assert tree["values"]["value"]["max"] > tree["values"]["value"]["median"] > 0
    assert {each["name"]: each["severity"] for each in tree["suspicions"]} == {
        "units": "error",
        "stuck": "warning",
        "lower_limit": "hint",
    }
    assert "home-0" not in json.dumps(tree)


def test_inspect_looks_at_what_prepare_would_refuse(tmp_path: Path) -> None:
    table = population(4, 24 * 7)
    table.iloc[1::2, 1:] = np.nan
    said = source_summary.examine(source_summary.parse([str(write(tmp_path / "gaps.csv", table))]))[0]
    assert "refused    no usable series" in said and "4 more than 5 % missing" in said
    assert "error      step: 4 of 4 series measure only one in 2 steps" in said


@pytest.mark.parametrize("arguments", [[], ["a.csv", "b.csv"], ["--odd"], ["a.csv", "--config"]])
def test_wrong_arguments_are_one_line(arguments: list[str]) -> None:
    with pytest.raises(UserError) as refused:
        cli.run_command(["inspect", *arguments])
    assert "\n" not in str(refused.value)


def test_inspect_of_an_array_and_of_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = population(20, 24 * 14).drop(columns="timestamp").to_numpy(np.float32).T
    np.savez(tmp_path / "a.npz", x=values[..., None], freq="1h", t0="2013-01-07T00:00:00")
    cli.run_command(["inspect", str(tmp_path / "a.npz")])
    assert "series     20 of 336 steps" in capsys.readouterr().out
    np.save(tmp_path / "a.npy", values)
    cli.run_command(["inspect", str(tmp_path / "a.npy"), "--json"])
    assert json.loads(capsys.readouterr().out)["clock"].startswith("nominal")
    cli.run_command(["inspect", str(tmp_path / "a.npy")])
    lines = capsys.readouterr().out.splitlines()
    assert "used       20 series of 336 steps" in lines
    assert any(
        line.startswith("time       stamps from 2001-01-01T00:00:00 count the steps") for line in lines
    )


def test_what_a_reader_understood_is_said() -> None:
    understood = Understood(
        layout="long",
        separator=";",
        header_line=2,
        decimal=",",
        time_columns=["time"],
        time_format="%d/%m/%Y",
        id_columns=["meter"],
        value_columns=["kwh", "kvar", "v", "a", "hz"],
        skipped_rows=["Title"],
        merged_duplicates=3,
        off_grid_ignored=1,
        notes=["two files were skipped"],
    )
    assert source_summary._format_understood(understood) == [
        "layout     long (separator ';', header line 2, decimal ',')",
        "columns    time: time; id: meter; values: kwh, kvar, v, a, … (5 in all)",
        "times      %d/%m/%Y",
        "rows       3 equal readings merged, 1 rows between steps ignored, 1 rows skipped",
        "note       two files were skipped",
    ]
    assert source_summary._format_understood(None) == []
    wide = Understood(layout="wide", value_columns=["home-1", "home-2"], units_row={"home-1": "kWh"})
    assert source_summary._format_understood(wide)[1:] == ["columns    values: ho…, ho…", "units row  kWh"]


# ------------------------------------------------------------------------------------------------- prepare


def test_prepare_shows_and_keeps_what_was_noticed(
    tmp_path: Path, stuck_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*TINY, f"data.source={stuck_csv}", f"run_dir={tmp_path / 'run'}"]
    train(["--stages", "prepare", *settings])
    said = capsys.readouterr().out
    assert "warning    stuck: 1 of 60 series" in said and said.index("stuck") < said.index("prepare ")
    run = Run(tmp_path / "run")
    noticed = Store.open(run.series).meta.provenance["noticed"]
    assert noticed == {"stuck": "1 of 60 series repeat one value for days"}
    record = run.read_record("prepare")
    assert record is not None
    assert [each["name"] for each in record["suspicions"]] == ["stuck", "lower_limit"]
    assert "text" not in record["suspicions"][0]


def test_the_report_has_a_section_on_the_data() -> None:
    each = {
        "name": "leading_zeros",
        "severity": "warning",
        "shared": "3 of 60 series",
        "advice": "set it",
    }
    template = writer.load_template("report.html.jinja")
    source = Path(str(template.filename)).read_text()
    section = source[source.index("{% if facts.noticed %}") : source.index("{% if facts.groups %}")]
    page = template.environment.from_string(section).render(facts=Facts("a", noticed=[each]))
    for words in ("What was noticed about the data", "leading zeros", "3 of 60 series", "set it"):
        assert words in page


@pytest.mark.parametrize("command", [["--dry-run"], ["--stages", "prepare"]])
def test_an_error_stops_before_anything_is_written(tmp_path: Path, command: list[str]) -> None:
    table = population(HOMES, 24 * 28)
    table.iloc[:, 1:] = table.iloc[:, 1:].mask(
        np.random.default_rng(0).random((24 * 28, HOMES)) < 0.02, -9999
    )
    source = write(tmp_path / "homes.csv", table)
    settings = [*TINY, f"data.source={source}", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(UserError, match=r"sentinel.*data\.missing_values=\[-9999\]"):
        train([*command, *settings])
    assert not (tmp_path / "run" / "series.zarr").exists()
    train([*command, *settings, "data.missing_values=[-9999]"])
    train([*command, *settings, "data.accept=[sentinel]", "run_dir=" + str(tmp_path / "other")])


# ----------------------------------------------------------------------------------------------- preflight

ONLY_BANK = [text for text in TINY if not text.startswith("data.reduce")]


def opened(path: Path, place: Path, *overrides: str) -> tuple[config.Config, ingest.Series, np.ndarray]:
    settings = config.load(None, [*ONLY_BANK, f"data.source={path}", "data.units=kWh", *overrides])
    found = ingest.open_source(settings.data, place, survey=True)
    return settings, found, assign_splits(found.owners, settings.data.splits, settings.seed)


def refusal(path: Path, place: Path, *overrides: str) -> str:
    """The refusal of a source with these settings, empty where there is none."""
    try:
        early_checks.refuse_early(*opened(path, place, *overrides))
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


def remedies(message: str) -> list[list[str]]:
    """The settings that a message offers, each remedy by itself."""
    return [
        found.split() for found in re.findall(r"(?:; | or )set ((?:[a-z_.]+=\S+ ?)+?)(?= or |$)", message)
    ]


@pytest.mark.parametrize(
    ("homes", "overrides", "offered"),
    [
        (27, [], {"bank.condition_dim", "data.splits.train"}),
        (36, ["bank.condition_dim=4"], {"bank.condition_dim", "data.splits.train"}),
        (60, ["bank.min_members=50"], {"data.splits.train", "bank.min_members"}),
        (12, ["seed=9"], set()),
    ],
)
def test_too_few_entities_are_refused_with_settings_that_work(
    tmp_path: Path, homes: int, overrides: list[str], offered: set[str]
) -> None:
    path = write(tmp_path / "homes.csv", population(homes, 24 * 7))
    message = refusal(path, tmp_path, *overrides)
    assert "fewer than the" in message and "add" in message
    found = remedies(message)
    assert offered <= {setting.partition("=")[0] for each in found for setting in each}, message
    for each in found:
        assert refusal(path, tmp_path, *overrides, *each) == "", each
    more = int(re.search(r"add about (\d+) more", message)[1])  # type: ignore[index]
    enough = write(tmp_path / "more.csv", population(homes + more, 24 * 7))
    assert refusal(enough, tmp_path, *overrides) == ""


def test_a_few_entities_with_most_of_the_load_are_refused(tmp_path: Path) -> None:
    table, forty = population(HOMES, 24 * 7), "bank.min_members=40"
    path = write(tmp_path / "homes.csv", table)
    assert refusal(path, tmp_path, forty) == ""
    _, found, splits = opened(path, tmp_path)
    names = [name for name, split in zip(found.entities, splits) if split == "train"]
    table[names[:5]] *= 10.0 ** np.arange(4, 9)  # five factories
    write(path, table)
    message = refusal(path, tmp_path, forty)
    trained = len(names)
    assert f"{trained} training entities count as {trained - 5}." in message
    assert "under bank.max_share 0.15, fewer than the 40" in message
    for each in remedies(message):
        assert refusal(path, tmp_path, forty, *each) == "", each
    assert {"bank.min_members=21"} <= {setting for each in remedies(message) for setting in each}


def test_what_the_bank_does_is_what_preflight_says(tmp_path: Path) -> None:
    """The same loads, weights and minimum size as `conditions.settle` uses at the end."""

    table = population(HOMES, 24 * 7)
    rng = np.random.default_rng(0)
    for spread in (0.0, 1.5, 2.5, 3.5, 5.0):
        scaled = table.copy()
        scaled.iloc[:, 1:] *= rng.lognormal(0, spread, HOMES)
        path = write(tmp_path / "homes.csv", scaled)
        settings, found, splits = opened(path, tmp_path)
        training = early_checks.Training.from_series(settings, found, splits)
        points = rng.normal(size=(len(training.loads), 2))
        try:
            groups = np.zeros(len(points), np.int64)
            merge_small_groups(
                GroupedSeries(points, training.loads, groups, entities=training.entities), settings.bank, 1
            )
            settled = True
        except UserError:
            settled = False
        assert settled == (refusal(path, tmp_path) == "")


@pytest.mark.parametrize(
    ("overrides", "words", "remedy"),
    [
        (["model.patch=500"], "model.patch is 500, but a series has only 168 steps", ["model.patch=168"]),
        (
            ["data.windows.length=500"],
            "data.windows.length is 500, but a series has only 168",
            ["data.windows.length=168"],
        ),
        (["clusters.count=70"], "clusters.count is 70, but there are only", ["clusters.count=30"]),
        (
            ["clusters.count=auto", "clusters.range=[2,90]"],
            "clusters.range ends at 90",
            ["clusters.range=[2,30]"],
        ),
        (["bank.by_label=true"], "has none", ["bank.by_label=false"]),
        (
            ["objective.augment.week_shift=true"],
            "needs series of two weeks or more",
            ["objective.augment.week_shift=false"],
        ),
        (["privacy.epsilon=0.01"], "privacy.epsilon 0.01 adds noise", ["privacy.epsilon=4"]),
    ],
)
def test_what_later_stages_would_refuse_is_refused_first(
    tmp_path: Path, overrides: list[str], words: str, remedy: list[str]
) -> None:
    path = write(tmp_path / "homes.csv", population(HOMES, 24 * 7))
    assert words in refusal(path, tmp_path, *overrides)
    assert refusal(path, tmp_path, *overrides, *remedy) == ""


def test_a_dry_run_refuses_what_training_would(tmp_path: Path) -> None:
    few = write(tmp_path / "few.csv", population(20, 24 * 7))
    with pytest.raises(UserError, match=r"\d+ training entities are fewer than the 21"):
        train(["--dry-run", *TINY, f"data.source={few}", f"run_dir={tmp_path / 'run'}"])
    homes = write(tmp_path / "homes.csv", population(HOMES, 24 * 7))
    common = [*TINY, f"data.source={homes}", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(UserError, match=r"batch_size 8 is not a multiple of engine\.micro_batch 3"):
        train(["--dry-run", *common, "engine.micro_batch=3"])
    train(["--dry-run", *common])
    assert not (tmp_path / "run").exists()
    shape = prepare.find_shape(config.load(None, common), Run(tmp_path / "run"))
    assert shape.train + shape.held_out + shape.reference == HOMES


def test_inspect_names_the_setting_for_series_that_end_early(tmp_path: Path) -> None:
    table = population(40, 24 * 7)
    table.iloc[100:, 5:] = np.nan
    said = source_summary.examine(source_summary.parse([str(write(tmp_path / "ends.csv", table))]))[0]
    assert "36 more than 5 % missing (data.max_missing; data.start_ragged keeps series that" in said
