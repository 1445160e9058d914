"""A run whose series begin late: what is stated of them, what leaves, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import distgan
from distgan import cli, config
from distgan.commands import hub, release
from distgan.data.store.reader import Store
from distgan.errors import Mismatch, UserError
from distgan.evaluation.results import AttackedCounts, Evidence, ReleasePrivacy, Verdict
from distgan.files import read_json
from distgan.pipeline.digests import audit_chain
from distgan.pipeline.lengths import read_lengths
from distgan.pipeline.output_transform import OutputTransform
from distgan.run import Run
from distgan.train import main, train
from tests.helpers.runs import copy
from tests.helpers.settings import TINY

HOMES, DAYS, LATE = 80, 365, 182
PLAIN = [
    *(text for text in TINY if not text.startswith(("model.", "train.", "data.reduce", "encoder.patch"))),
    *("encoder.patch=73", "data.splits={train: 0.8, held_out: 0.2, reference: 0}", "data.bounds.lower=0"),
    *("model=pca_gmm", "generate.count=40", "data.start_ragged=0.4", "evaluate.pictures=false"),
]


def write_homes(place: Path, late: int = HOMES // 2) -> Path:
    """Write the daily energy of homes as a wide table; some begin within a week of the middle of the year."""
    rng, day = np.random.default_rng(0), np.arange(DAYS)
    values = rng.uniform(4, 12, (HOMES, 1)) * (1 + 0.3 * np.cos(2 * np.pi * day / DAYS))
    values = values * rng.uniform(0.9, 1.1, values.shape)
    for home in range(late):
        values[home, : LATE + home % 3 - 1] = np.nan
    table = pd.DataFrame(values.T.round(4), columns=[f"home-{home:03d}" for home in range(HOMES)])
    table.insert(0, "timestamp", pd.date_range("2013-01-01", periods=DAYS, freq="D"))
    table.to_csv(place, index=False)
    return place


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("lengths")
    source = write_homes(folder / "homes.csv")
    stages = ["--stages", "prepare,encoder,encode,cluster,bank,gan,generate"]
    assert main(["--run-dir", str(folder / "run"), *PLAIN, f"data.source={source}", *stages]) == 0
    return Run(folder / "run")


def count_late(values: np.ndarray) -> int:
    """Count series [n, L, C] that begin at the middle of the year; all others must be whole."""
    first = np.isnan(values[:, 0, 0])
    assert np.isnan(values[first, :LATE]).all() and not np.isnan(values[first, LATE:]).any()
    assert not np.isnan(values[~first]).any()
    return int(first.sum())


def test_ranges_are_stated_in_weeks_of_enough_owners(run: Run) -> None:
    stated = read_json(run.scaler)["lengths"]
    assert stated["ranges"] == [[0, 365], [182, 365]] and stated["owners"] >= 20
    assert 0.4 < stated["shares"][1] < 0.6 and sum(stated["shares"]) == pytest.approx(1)


def test_series_leave_with_lengths_as_real_and_stay_whole_for_report_and_attacks(
    run: Run, tmp_path: Path
) -> None:
    mine = copy(run, tmp_path / "run")
    whole = Store.open(mine.synthetic).read_rows(np.arange(40))
    assert not np.isnan(whole).any() and not mine.synthetic_moved.exists()
    asked = ["generate.lengths=as_real", "generate.format=parquet", "generate.layout=long"]
    for name in ("homes.csv", "homes.parquet", "homes.zarr"):
        cli.run_command(["generate", str(mine.folder), *asked, "--out", str(tmp_path / name), "--force"])
    np.testing.assert_array_equal(Store.open(mine.synthetic).read_rows(np.arange(40)), whole)
    left = Store.open(mine.synthetic_moved).read_rows(np.arange(40))
    share = read_json(run.scaler)["lengths"]["shares"][1]
    assert count_late(left) == pytest.approx(40 * share, abs=0.5)
    np.testing.assert_array_equal(left[~np.isnan(left)], whole[~np.isnan(left)])  # a part of what is attacked
    tables = pd.read_csv(tmp_path / "homes.csv"), pd.read_parquet(tmp_path / "homes.parquet")
    for table in tables:
        values = table[table.columns[-1]].to_numpy(np.float32).reshape(40, DAYS, 1)
        np.testing.assert_array_equal(values, left)
    np.testing.assert_array_equal(Store.open(tmp_path / "homes.zarr").read_rows(np.arange(40)), left)
    text = (tmp_path / "homes.README.txt").read_text()
    assert "series begin late or end early" in text and "owners or more share" in text
    cli.run_command(["generate", str(mine.folder), "generate.lengths=whole"])
    assert not mine.synthetic_moved.exists()


def test_samples_take_lengths_and_the_year(run: Run) -> None:
    loaded = distgan.load(run.folder)
    whole, left = loaded.sample(20, seed=1), loaded.sample(20, seed=1, lengths="as_real")
    assert 8 <= count_late(left) <= 12
    np.testing.assert_array_equal(left[~np.isnan(left)], whole[~np.isnan(left)])
    moved = loaded.sample(20, seed=1, lengths="as_real", start="2028-01-01")
    assert moved.shape[1] == 366 and count_late(moved) == count_late(left)
    with pytest.raises(UserError, match="lengths"):
        loaded.sample(5, lengths="unknown")
    with pytest.raises(UserError, match="length asks for another"):
        loaded.sample(5, lengths="as_real", length=100)


def test_a_release_holds_a_part_of_what_was_attacked(run: Run, tmp_path: Path) -> None:
    mine = copy(run, tmp_path / "run")
    cli.run_command(["generate", str(mine.folder), "generate.lengths=as_real"])
    counts = AttackedCounts(candidate=40, earlier=0, sample=0, left_out=0)
    evidence = Evidence(members=0, non_members=0, synthetic=0, needed=0)
    privacy = ReleasePrivacy(
        outcome="pass", sentence="", attacks=[], others=[], claims=[], evidence=evidence, attacked=counts
    )
    words = {"exit_code": 0, "answer": "Yes", "sentence": "", "attacked": "", "checks": []}
    verdict = Verdict(**words, privacy=privacy, run="", made="", maker="")
    judged = release.digest_parts(mine)
    release.write_release(tmp_path / "out", verdict, config.load(mine.config), mine, judged)
    left = Store.open(tmp_path / "out" / "synthetic.zarr").read_rows(np.arange(40))
    whole = Store.open(mine.synthetic).read_rows(np.arange(40))
    assert count_late(left) and (left[~np.isnan(left)] == whole[~np.isnan(left)]).all()
    text = (tmp_path / "out" / "README.txt").read_text()
    assert "Beginnings and ends" in text and "The attacks used whole series" in text


def test_a_folder_to_share_has_the_ranges_only_where_the_released_series_have(run: Run) -> None:
    settings = config.load(run.config)
    assert hub.list_lengths(settings, run) == {}
    asked = settings.with_values({"generate.lengths": "as_real"})
    assert hub.list_lengths(asked, run) == {"lengths": read_json(run.scaler)["lengths"]}


def test_series_leave_alike_in_blocks_of_any_size(run: Run) -> None:
    transform = OutputTransform(None, read_lengths(run), 30, seed=5)
    values = np.random.default_rng(0).random((30, DAYS, 1), dtype=np.float32)
    rows = np.arange(30)
    parts = [transform.apply(values[part], part) for part in np.array_split(rows, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), transform.apply(values, rows))


def test_ranges_are_bound_to_the_series(run: Run, tmp_path: Path) -> None:
    mine = copy(run, tmp_path / "run")
    settings = config.load(mine.config)
    assert any("scaler" in line for line in audit_chain(settings, mine))
    tree = read_json(mine.scaler)
    tree["lengths"]["ranges"][1] = [13, 365]
    mine.scaler.write_text(json.dumps(tree))
    with pytest.raises(Mismatch, match="scaler"):
        audit_chain(settings, mine)


def test_what_has_no_ranges_is_refused_in_one_line(tmp_path: Path) -> None:
    source = write_homes(tmp_path / "few.csv", late=10)
    plain = ["--run-dir", str(tmp_path / "run"), *PLAIN, f"data.source={source}"]
    for more, message in (
        ([], r"of \d+ training series \d+ begin late or end early, too few of them alike"),
        (["generate.lengths=unknown"], "generate.lengths"),
        (["data.windows.length=73"], r"data\.windows\.length cuts windows"),
        (["privacy.epsilon=1", "clusters.count=2", "privacy.insecure_seed=1"], "not accounted under privacy"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            train([*plain, "generate.lengths=as_real", *more])
        assert "\n" not in str(caught.value) and not Run(tmp_path / "run").encoder_weights.exists()
