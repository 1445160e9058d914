"""A run of a year whose series leave in another one: files, times, a release, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import distgan
from distgan import cli, config
from distgan.commands import attacked_series, release
from distgan.data.another_year import AnotherYear
from distgan.data.store.reader import Store
from distgan.errors import UserError
from distgan.evaluation.results import AttackedCounts, Evidence, ReleasePrivacy, Verdict
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.run_summary import format_run_summary
from distgan.pipeline.training_data import open_for_inference
from distgan.run import Run
from distgan.train import main, train
from tests.helpers.runs import copy
from tests.helpers.settings import TINY

HOMES, DAYS = 40, 365
PLAIN = [
    *(text for text in TINY if not text.startswith(("model.", "train.", "data.reduce", "encoder.patch"))),
    *("encoder.patch=73", "data.splits={train: 0.8, held_out: 0.2, reference: 0}", "data.bounds.lower=0"),
    *("model=pca_gmm", "generate.count=12"),
]


def write_year(place: Path, days: int = DAYS) -> Path:
    """Daily energy of homes: more at weekends and in winter."""
    rng, day = np.random.default_rng(0), np.arange(days)
    week = 1 + 0.5 * ((day + 1) % 7 >= 5)  # 1 January 2013 was a Tuesday
    year = 1 + 0.3 * np.cos(2 * np.pi * day / 365)
    values = rng.uniform(4, 12, (HOMES, 1)) * week * year * rng.uniform(0.9, 1.1, (HOMES, days))
    ids = np.array([f"home-{row}" for row in range(HOMES)])
    np.savez(
        place, x=values[:, :, None].astype(np.float32), ids=ids, t0="2013-01-01T00:00:00", freq="1440min"
    )
    return place


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("years")
    source = write_year(folder / "homes.npz")
    stages = ["--stages", "prepare,encoder,encode,cluster,bank,gan,generate"]
    assert main(["--run-dir", str(folder / "run"), *PLAIN, f"data.source={source}", *stages]) == 0
    return Run(folder / "run")


def test_exports_and_samples_are_of_the_wanted_year(run: Run, tmp_path: Path) -> None:
    mine = copy(run, tmp_path / "run")
    trained = Store.open(mine.synthetic).read_rows(np.arange(12))
    asked = ["generate.start=2028-01-01", "generate.format=csv"]
    cli.run_command(["generate", str(mine.folder), *asked, "--out", str(tmp_path / "homes.csv")])
    np.testing.assert_array_equal(Store.open(mine.synthetic).read_rows(np.arange(12)), trained)
    moved, year = (
        Store.open(mine.synthetic_moved),
        AnotherYear.choose(Store.open(run.synthetic).meta, "2028-01-01"),
    )
    np.testing.assert_array_equal(moved.read_rows(np.arange(12)), year.move(trained))
    table = pd.read_csv(tmp_path / "homes.csv", parse_dates=["timestamp"])
    days = pd.date_range("2028-01-01", "2028-12-31")
    assert (table.timestamp == days).all() and len(days) == 366
    np.testing.assert_array_equal(table.iloc[:, 1:].to_numpy(np.float32).T, year.move(trained)[:, :, 0])
    weekend = table.iloc[:, 1:].mean(axis=1).groupby(days.day_of_week >= 5).mean()
    assert weekend[True] > 1.3 * weekend[False]
    text = (tmp_path / "homes.README.txt").read_text()
    assert "Times     2028-01-01T00:00:00 to 2028-12-31" in text and "of 366 steps" in text
    assert "Calendar  2028-01-01 to 2028-12-31: every day is a day of the trained year (2013-01-01 to" in text
    loaded = distgan.load(run.folder)
    np.testing.assert_array_equal(loaded.sample(12, start="2028-01-01"), year.move(trained))
    assert (loaded.times(start="2028-01-01") == days.to_numpy()).all() and len(loaded.times()) == 365
    with pytest.raises(UserError, match="start moves series of a year, and length asks for another length"):
        loaded.sample(3, start="2028-01-01", length=10)
    cli.run_command(["generate", str(mine.folder), "generate.start=null", "generate.format=zarr"])
    assert not mine.synthetic_moved.exists()


def test_a_year_is_made_again_where_its_holidays_are_others(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("holidays")
    mine = copy(run, tmp_path / "run")
    asked = ["generate", str(mine.folder), "generate.start=2027-01-01"]
    cli.run_command([*asked, "data.holidays=GB-ENG", "--json"])
    assert json.loads(capsys.readouterr().out)["store"] == str(mine.synthetic_moved)
    british, record = Store.open(mine.synthetic_moved).read_rows(np.arange(12)), mine.read_record("generate")
    assert "in the year from 2027-01-01" in str(record) and f"{mine.synthetic_moved}" in format_run_summary(
        config.load(mine.config), mine
    )
    before = mine.config.read_text()
    for wrong in ("data.holidays=XX", "generate.lengths=as_real"):  # the run is as it was
        with pytest.raises(UserError, match=r"does not know 'XX'|states no ranges"):
            cli.run_command([*asked, "data.holidays=GB-ENG", wrong])
        assert mine.config.read_text() == before and mine.read_record("generate") == record
    cli.run_command([*asked, "data.holidays=DE"])
    german = Store.open(mine.synthetic_moved).read_rows(np.arange(12))
    year = AnotherYear.choose(Store.open(mine.synthetic).meta, "2027-01-01", country="DE")
    np.testing.assert_array_equal(german, year.move(Store.open(mine.synthetic).read_rows(np.arange(12))))
    assert (german != british).any()
    shutil.rmtree(mine.synthetic_moved)  # what leaves is made again where it is gone
    cli.run_command(["generate", str(mine.folder)])
    np.testing.assert_array_equal(german, Store.open(mine.synthetic_moved).read_rows(np.arange(12)))


def test_a_release_is_a_choice_of_days_of_what_was_attacked(run: Run, tmp_path: Path) -> None:
    mine = copy(run, tmp_path / "run")
    cli.run_command(["generate", str(mine.folder), "generate.start=2027-01-01"])
    settings = config.load(mine.config)
    assert settings.generate.start == "2027-01-01"
    context = PipelineContext(settings, mine, open_for_inference(settings))
    attacked = Store.open(mine.synthetic)
    assert attacked.length == DAYS and "agree" in attacked_series.audit_generated(context)
    counts = AttackedCounts(candidate=12, earlier=0, sample=0, left_out=0)
    evidence = Evidence(members=0, non_members=0, synthetic=0, needed=0)
    privacy = ReleasePrivacy(
        outcome="pass", sentence="", attacks=[], others=[], claims=[], evidence=evidence, attacked=counts
    )
    words = {"exit_code": 0, "answer": "Yes", "sentence": "", "attacked": "", "checks": []}
    verdict = Verdict(**words, privacy=privacy, run="", made="", maker="")
    mine.synthetic_moved.rename(tmp_path / "aside")  # what leaves is made from what was attacked
    release.write_release(tmp_path / "out", verdict, settings, mine, release.digest_parts(mine))
    left = Store.open(tmp_path / "out" / "synthetic.zarr")
    year = AnotherYear.choose(attacked.meta, "2027-01-01")
    rows = np.arange(12)
    np.testing.assert_array_equal(left.read_rows(rows), year.move(attacked.read_rows(rows)))
    assert set(np.unique(left.read_rows(rows)[0])) <= set(np.unique(attacked.read_rows(rows)[0]))
    text = (tmp_path / "out" / "README.txt").read_text()
    assert "The calendar" in text and "The attacks used these series on the days of the trained year" in text


def test_what_cannot_be_moved_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    source = write_year(tmp_path / "short.npz", days=292)
    asked = ["--run-dir", str(tmp_path / "run"), *PLAIN, f"data.source={source}", "generate.start=2027-01-01"]
    with pytest.raises(UserError, match=r"generate\.start moves series of a year.* 292 days") as caught:
        train(asked)
    assert "\n" not in str(caught.value) and not Run(tmp_path / "run").encoder_weights.exists()
