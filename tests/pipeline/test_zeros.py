"""A run whose series are often exactly 0, and multiples of a step: what leaves it is, too."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import distgan
from distgan import config
from distgan.anonymity.bank import Bank
from distgan.commands import attacked_series
from distgan.data.store.reader import Store
from distgan.errors import UserError
from distgan.files import read_json
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.digests import ARTEFACTS
from distgan.pipeline.generate import regenerate
from distgan.pipeline.training_data import open_for_inference, open_series
from distgan.run import Run
from distgan.train import main, train
from tests.helpers.runs import copy
from tests.helpers.settings import TINY

HOMES, DAYS = 120, 14
PLAIN = [text for text in TINY if not text.startswith(("model.", "train.", "data.reduce"))]
ASKED = ["data.bounds={lower: 0, step: 0.1}", "data.splits={train: 0.8, held_out: 0.2, reference: 0}"]


def write_solar(place: Path, least: float = 0) -> Path:
    """Power of panels in tenths of a kW: nothing at night, or `least`."""
    rng = np.random.default_rng(0)
    clear = np.maximum(np.sin((np.arange(24) - 5.5) / 14 * np.pi), 0) * (np.arange(24) < 20)
    size = rng.uniform(3, 30, (HOMES, 1, 1))
    values = np.rint(size * clear * rng.uniform(0.2, 1, (HOMES, DAYS, 24)) * 10) / 10
    np.savez(
        place,
        x=(least + values).reshape(HOMES, -1, 1).astype(np.float32),
        ids=np.array([f"panel-{row}" for row in range(HOMES)]),
        t0="2013-03-01T00:00:00",
        freq="60min",
    )
    return place


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("zeros")
    own = [f"data.source={write_solar(folder / 'panels.npz')}", *ASKED, "model=pca_gmm", "generate.count=60"]
    stages = ["--stages", "prepare,encoder,encode,cluster,bank,gan,generate"]
    assert main(["--run-dir", str(folder / "run"), *PLAIN, *own, "generate.format=csv", *stages]) == 0
    return Run(folder / "run")


def test_what_leaves_has_the_zeros_and_steps_of_the_data(run: Run) -> None:
    made, real = (
        Store.open(run.synthetic).read_rows(np.arange(60)),
        open_series(run).read_rows(np.arange(HOMES)),
    )
    counts = np.rint(made * 10)
    np.testing.assert_array_equal(made, (counts / 10).astype(np.float32))
    assert made.min() == 0 and not np.signbit(made).any()
    share = (made == 0).mean()
    assert share == pytest.approx((real == 0).mean(), abs=0.03)
    night = (np.arange(made.shape[1]) % 24) < 4
    assert (made[:, night] == 0).all()
    text = pd.read_csv(run.synthetic.with_suffix(".csv"), dtype=str).iloc[:, 1:].to_numpy().ravel()
    assert max(len(cell.partition(".")[2]) for cell in text) == 1 and {"0"} < set(text)
    np.testing.assert_array_equal(distgan.load(run.folder).sample(60), made)


def test_the_same_zeros_come_again_and_are_bound_to_the_weights(run: Run, tmp_path: Path) -> None:
    settings = config.load(run.config)
    context = PipelineContext(settings, run, open_for_inference(settings))
    rows = np.array([3, 17, 41])
    again = regenerate(context, Bank.load(run.bank), rows)
    np.testing.assert_array_equal(again, Store.open(run.synthetic).read_rows(rows))
    assert "generated again and agree" in attacked_series.audit_generated(context)
    other = copy(run, tmp_path / "other")
    assert ARTEFACTS["generator"].digest(other) == ARTEFACTS["generator"].digest(run)
    other.zero_thresholds.write_text(other.zero_thresholds.read_text().replace("0.", "1.", 1))
    assert ARTEFACTS["generator"].digest(other) != ARTEFACTS["generator"].digest(run)


def test_what_is_kept_of_zeros_is_a_share_of_twenty_owners_or_more(run: Run) -> None:
    kept = read_json(run.scaler)["zeros"]
    owners = read_json(run.record("prepare"))["owners"]["train"]
    assert 1 <= np.size(kept["shares"]) <= owners / 20


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["data.zeros=match"], "zeros=match needs data.bounds.lower=0"),
        (
            ["data.zeros=match", "data.bounds.lower=0", "privacy.epsilon=4", "privacy.owners=100"],
            "data.zeros match is not accounted under privacy.epsilon",
        ),
        (["data.bounds={integer: true, step: 0.5}"], "integer rounds to whole numbers, and step 0.5 is none"),
        (["data.bounds={lower: 0.11, upper: 0.19, step: 0.1}"], "no multiple of step 0.1 lies between"),
        (["data.bounds={upper: 1.0e+9, step: 0.1}"], "more than 8,388,608 steps of 0.1 from 0"),
    ],
)
def test_what_cannot_be_is_refused(asked: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        config.load(None, [*ASKED[1:], *asked])
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("empty", "own", "said"),
    [
        (8, [], True),
        (HOMES, [], False),
        (8, ["data.zeros=as_generated"], False),
        (1, [], False),
    ],
)
def test_zeros_of_too_few_owners_are_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], empty: int, own: list[str], said: bool
) -> None:
    source = write_solar(tmp_path / "panels.npz", least=0.1)
    arrays = dict(np.load(source))
    arrays["x"][:empty, ::3] = 0
    np.savez(source, **arrays)
    given = [*PLAIN, f"data.source={source}", "data.bounds.lower=0", *own, "--stages", "prepare"]
    assert main(["--run-dir", str(tmp_path / "run"), *given]) == 0
    assert ("matches them only where 15 training owners" in capsys.readouterr().out) == said


def test_values_off_the_step_and_too_few_owners_are_refused(tmp_path: Path) -> None:
    source = write_solar(tmp_path / "panels.npz")
    common = ["--run-dir", str(tmp_path / "run"), *PLAIN, f"data.source={source}", "--stages", "prepare"]
    with pytest.raises(UserError, match=r"are not multiples of 0\.2, e\.g\. .* but data\.bounds\.step=0\.2"):
        train([*common, "data.bounds={lower: 0, step: 0.2}"])
    write_solar(source, least=0.1)
    few = ["data.bounds.lower=0", "data.zeros=match"]
    with pytest.raises(UserError, match=r"data\.zeros=match needs 20 training owners, 15 or more of them"):
        train([*common, *few])
